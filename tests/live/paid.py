"""Checks that pay. The prompts have the sandbox's words in brackets, which say nothing to the API."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from bfl_async import ImageRequest, Result, TaskHandle, TaskModeratedError, request
from bfl_async.models.headers import image_size, kind_of
from bfl_async.models.pricing import estimate, quote_of
from bfl_async.types import Reply
from bfl_async.wire.replies import expiry_of
from tests.live.visit import (
    CHEAPEST,
    SIDE_PX,
    WAIT_S,
    Check,
    Delivered,
    Facts,
    Visit,
    object_of,
    said,
    small,
)
from tests.media import png

# Of them, those whose prompts are upsampled unless the request turns it off.
_UPSAMPLED = ("flux-2-pro",)
# One more than the newest page allows an account, which is 24; the guide has 12.
LIMIT_TASKS = 25
# No larger image has the price of its first two megapixels, and a larger one takes longer: the tasks are to be active
# together.
_LIMIT_SIDE_PX = 1408
# Not a whole number of megapixels.
_ODD_PX = (1280, 1024)
# A name that can never be found (RFC 2606).
_NOWHERE = "https://bfl-async.invalid/delivery"
_AT_FIRST_S = 30.0


async def one_image(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Generate, and fetch."""
    (wanted,) = requests
    before = await visit.bfl.credits()
    result = await visit.bfl.generate(wanted, timeout=WAIT_S)
    data = await result.read()
    after = await visit.bfl.credits()
    is_rewritten = result.prompt != getattr(wanted, "prompt", None)
    return {
        "the image's size is what was asked for": image_size(data) == (SIDE_PX, SIDE_PX),
        "a cost is stated": result.cost is not None,
        "the cost is the estimate's": result.cost == estimate(wanted).credits,
        "the balance fell by the cost at once": result.cost is not None and math.isclose(before - after, result.cost),
        "a seed is told": result.seed is not None,
        "the prompt is rewritten just where upsampling is on": is_rewritten == (wanted.model in _UPSAMPLED),
    }  # fmt: skip


async def a_price(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Generate, and see what it costs."""
    (wanted,) = requests
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    result = await handle.result(timeout=WAIT_S)
    expected = estimate(wanted).credits
    return {
        "credits by the catalog": "unknown" if expected is None else expected,
        **_credits(handle, result),
        "kind of image": kind_of(await result.read()),
    }


def _credits(handle: TaskHandle, result: Result) -> Facts:
    receipt = {} if handle.submit_reply is None else object_of(handle.submit_reply)
    return {
        "credits by the receipt": _rounded(receipt.get("cost")),
        "credits in the end": _rounded(result.cost),
    }


def _rounded(credits: object) -> object:
    """Credits without the noise of float sums."""
    return round(credits, 6) if isinstance(credits, float) else credits


async def odd_megapixels(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Generate with a size that is not a whole number of megapixels, and see which rounding the cost has."""
    (wanted,) = requests
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    result = await handle.result(timeout=WAIT_S)
    quote = quote_of(wanted)
    words: dict[object, str] = {quote.credits: "fractional", quote.most: "rounded up to a whole megapixel"}
    receipt = {} if handle.submit_reply is None else object_of(handle.submit_reply)
    return {
        **_credits(handle, result),
        "megapixels are": words.get(_rounded(result.cost), "counted in another way"),
        "the receipt's output_mp": receipt.get("output_mp"),
    }


async def odd_input(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """The same of an input image."""
    (wanted,) = requests
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    result = await handle.result(timeout=WAIT_S)
    receipt = {} if handle.submit_reply is None else object_of(handle.submit_reply)
    return {**_credits(handle, result), "the receipt's input_mp": receipt.get("input_mp")}


async def a_moderated_prompt(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Send what moderation should refuse at its strictest, and see whether it is charged."""
    (wanted,) = requests
    before = await visit.bfl.credits()
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    facts: dict[str, object] = {"it was refused": False}
    try:
        await handle.result(timeout=WAIT_S)
    except TaskModeratedError as exc:
        facts = {"it was refused": True, "stage": exc.stage, "reasons are told": bool(exc.reasons)}
    end = {} if handle.poll_reply is None else object_of(handle.poll_reply)
    await asyncio.sleep(visit.lag_s)
    facts["the cost in its last poll"] = end.get("cost", "none stated")
    facts["credits that it took"] = round(before - await visit.bfl.credits(), 4)
    return facts


async def a_task_at_close_range(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Ask for one task at once, from elsewhere, with another key, and again after its end."""
    (wanted,) = requests
    loop = asyncio.get_running_loop()
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    own_path = f"/v1/get_result?id={handle.task_id}"
    # A receipt without a polling URL is a difference of its own.
    url = handle.polling_url or own_path
    began_at, missing = loop.time(), 0
    while (await visit.ask(url, "right", None)).status_code == 404 and loop.time() - began_at < _AT_FIRST_S:
        missing += 1
        await asyncio.sleep(0.1)
    missing_s = loop.time() - began_at if missing else 0.0
    result = await handle.result(timeout=WAIT_S)
    # The end of a signed URL is told in whole seconds.
    await asyncio.sleep(1.1)
    again = await visit.ask(url, "right", None)
    second_url = _sample(object_of(again))
    moved_s = (expiry_of(second_url) or 0.0) - (result.expires_at or 0.0)
    old = await visit.recorder.download(result.url, timeout=WAIT_S)
    return {
        "seconds for which it was not found": round(missing_s, 1),
        "asked for by its id at the base URL": said(await visit.ask(own_path, "right", None)),
        "asked for with an unknown key": said(await visit.ask(url, "unknown", None)),
        "another poll gives": "the same URL" if second_url == result.url else "a URL that is signed anew",
        "which ends": "later" if moved_s > 0 else "at the same moment",
        "the older URL still gives": old.status_code,
        "a URL lasts about": f"{_signed_minutes(result):.0f} minutes",
    }


def _sample(data: object) -> str:
    found = data.get("result") if isinstance(data, dict) else None
    return str(found.get("sample", "")) if isinstance(found, dict) else ""


def _signed_minutes(result: Result) -> float:
    """Minutes from the server's own date in the last poll to the end of the URL that it gave."""
    if result.expires_at is None or result.reply is None:
        return math.nan
    return (result.expires_at - _date(result.reply.headers.get("date", ""))) / 60


def _date(text: str) -> float:
    return parsedate_to_datetime(text).timestamp() if text else math.nan


async def a_webhook_that_leads_nowhere(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Name a webhook that cannot be reached, and see whether the answer names a polling URL all the same."""
    (wanted,) = requests
    handle = await visit.bfl.submit(wanted, timeout=WAIT_S)
    receipt = {} if handle.submit_reply is None else object_of(handle.submit_reply)
    result = await handle.result(timeout=WAIT_S)
    return {
        "the answer to its submit has": ", ".join(sorted(receipt)),
        "its status is": receipt.get("status"),
        "its end was found by": "the polling URL" if handle.polling_url else "its id",
        "a cost is stated": result.cost is not None,
    }


async def an_end_by_webhook(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Learn of the end from the server."""
    (wanted,) = requests
    result = await visit.bfl.generate(wanted, timeout=WAIT_S)
    # A submit that is repeated names the same webhook.
    body = visit.recorder.bodies[-1]
    first = visit.deliveries[0] if visit.deliveries else Delivered({}, b"{}")
    data = object_of(Reply(200, first.headers, first.body))
    return {
        "what proves a delivery": ", ".join(_proofs(first, str(body.get("webhook_secret")))) or "nothing",
        "a delivery has": ", ".join(sorted(data)),
        "its status is": data.get("status"),
        "a seed is told": result.seed is not None,
    }


def _proofs(delivery: Delivered, secret: str) -> Iterator[str]:
    """Yield each header that only who knows the secret can have made, in whatever scheme."""
    digest = hmac.new(secret.encode(), delivery.body, hashlib.sha256).digest()
    forms = {
        secret: "the secret",
        digest.hex(): "HMAC-SHA256 of the body, in hex",
        base64.b64encode(digest).decode(): "HMAC-SHA256 of the body, in base64",
    }
    for name, value in sorted(delivery.headers.items()):
        for form, words in forms.items():
            if form in value:
                yield f"{name.lower()}: {words}"


async def more_than_the_limit(visit: Visit, requests: tuple[ImageRequest, ...]) -> Facts:
    """Send more at a time than an account may have active. After the first 429 nothing more is sent."""
    bfl = visit.bfl
    handles = [bfl.submit_nowait(each) for each in requests]
    async with asyncio.timeout(WAIT_S):
        while waiting := [handle for handle in handles if _is_waiting(handle)]:
            if bfl.statistics().refused_429:
                for handle in waiting:
                    handle.withdraw()  # one that is on its way is asked again in a moment
            await asyncio.sleep(0.005)
        ends = await asyncio.gather(*handles, return_exceptions=True)
    accepted = [end for handle, end in zip(handles, ends, strict=True) if handle.task_id is not None]
    refusals = [reply for reply in visit.recorder.replies if reply.status_code == 429]
    return {
        "one too many is answered": said(refusals[0]) if refusals else "as all others",
        "with a Retry-After": bool(refusals) and "retry-after" in refusals[0].headers,
        "tasks that were accepted": len(accepted),
        "no answer was lost": bfl.statistics().ambiguous == 0,
        "all that was accepted came home": not any(isinstance(end, BaseException) for end in accepted),
    }


def _is_waiting(handle: TaskHandle) -> bool:
    return handle.task_id is None and not handle.done()


def _odd(model: str) -> ImageRequest:
    return request(model, prompt="a wooden boat on a lake", **{"width": _ODD_PX[0], "height": _ODD_PX[1]})


_PRICED = (
    small("flux-2-klein-9b", "a red chair"),
    small("flux-2-klein-9b-preview", "a red chair"),
    small("flux-2-pro-preview", "a red chair"),
    small("flux-2-flex", "a red chair"),
    small("flux-dev", "a red chair"),
    request("flux-3-image-klein", prompt="a red chair", resolution="1k"),
    request("flux-3-image", prompt="a red chair", resolution="768sq"),
    request("flux-pro-1.0-expand", image=png(SIDE_PX, SIDE_PX), top=64),
    request("flux-tools/deblur-v1", image=png(SIDE_PX, SIDE_PX)),
)

# The cheapest first, so that what is left goes to as many as possible.
PAID = (
    *(
        Check(f"one image of {model}", (small(model, "a red cube on a table"),), one_image)
        for model in (CHEAPEST, "flux-2-pro", "flux-pro-1.1")
    ),
    Check("a task at close range", (small(CHEAPEST, "a green cone"),), a_task_at_close_range),
    Check(
        "a moderated prompt",
        (small(CHEAPEST, "a nude person, explicit [moderate-prompt]", safety_tolerance=0),),
        a_moderated_prompt,
    ),
    Check(
        "a webhook that leads nowhere",
        (small(CHEAPEST, "a blue ball", webhook_url=_NOWHERE),),
        a_webhook_that_leads_nowhere,
    ),
    Check("an end by webhook", (small(CHEAPEST, "a blue ball"),), an_end_by_webhook, webhook=True),
    *(
        Check(f"odd megapixels of {model}", (_odd(model),), odd_megapixels)
        for model in (CHEAPEST, "flux-2-pro")
    ),
    Check(
        "odd megapixels of an input image",
        (small(CHEAPEST, "the same in blue", input_image=png(*_ODD_PX)),),
        odd_input,
    ),
    *(Check(f"the price of {each.model}", (each,), a_price) for each in _PRICED),
    Check(
        "more than the limit",
        tuple(
            request(
                CHEAPEST,
                prompt=f"a grey square, number {n}",
                **{"width": _LIMIT_SIDE_PX, "height": _LIMIT_SIDE_PX},
            )
            for n in range(LIMIT_TASKS)
        ),
        more_than_the_limit,
        slots=LIMIT_TASKS,
        # Longer than it takes to send them all on a busy machine.
        service_s=2.0,
    ),
)
