"""What is tried at the API: each check takes a client and says what came of it, as facts that can be compared.

The prompts have the sandbox's words in brackets, which say nothing to the API.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bfl_async import AsyncBFL, BFLError, ImageRequest, TaskHandle, TaskModeratedError, request
from bfl_async.models.headers import image_size
from bfl_async.models.pricing import estimate

BUDGET_USD = 1.0
SIDE_PX = 256
CHEAP = ("flux-2-klein-4b", "flux-2-pro", "flux-pro-1.1")
CHEAPEST = CHEAP[0]
# Of them, those whose prompts are upsampled unless the request turns it off.
UPSAMPLED = ("flux-2-pro",)
LIMIT_TASKS = 30  # more than an account may have active: 12 by the guide, 24 by the newest page
WAIT_S = 120.0  # for one end; the sandbox takes less than a second

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Check:
    """One thing to try.

    Attributes:
        requests: What it sends at the most.
        work: Sends it, and returns what came of it.
        slots: What the client believes it has.
        webhook: The client is told of ends by deliveries.
    """

    name: str
    requests: tuple[ImageRequest, ...]
    work: Callable[[AsyncBFL, tuple[ImageRequest, ...]], Awaitable[Facts]] = field(repr=False)
    slots: int = 12
    webhook: bool = False

    @property
    def usd(self) -> float:
        """What it may cost."""
        costs = [estimate(each).usd for each in self.requests]
        assert None not in costs, f"{self.name}: the price of a model is not known"
        return math.fsum(cost for cost in costs if cost is not None)


def small(model: str, prompt: str, **fields: object) -> ImageRequest:
    """A request for a small image."""
    return request(model, prompt=prompt, width=SIDE_PX, height=SIDE_PX, **fields)


async def one_image(bfl: AsyncBFL, requests: tuple[ImageRequest, ...]) -> Facts:
    """Generate, and fetch."""
    (wanted,) = requests
    before = await bfl.credits()
    result = await bfl.generate(wanted, timeout=WAIT_S)
    data = await result.read()
    after = await bfl.credits()
    is_rewritten = result.prompt != getattr(wanted, "prompt", None)
    return {
        "the image's size is what was asked for": image_size(data) == (SIDE_PX, SIDE_PX),
        "a cost is stated": result.cost is not None,
        "the cost is the estimate's": result.cost == estimate(wanted).credits,
        "the balance fell by the cost at once": result.cost is not None and math.isclose(before - after, result.cost),
        "a seed is told": result.seed is not None,
        "the prompt is rewritten just where upsampling is on": is_rewritten == (wanted.model in UPSAMPLED),
    }  # fmt: skip


async def a_moderated_prompt(bfl: AsyncBFL, requests: tuple[ImageRequest, ...]) -> Facts:
    """Send what moderation should refuse at its strictest."""
    (wanted,) = requests
    handle = await bfl.submit(wanted, timeout=WAIT_S)
    try:
        await handle.result(timeout=WAIT_S)
    except TaskModeratedError as exc:
        return {"it was refused": True, "stage": exc.stage, "reasons are told": bool(exc.reasons)}
    return {"it was refused": False}


async def more_than_the_limit(bfl: AsyncBFL, requests: tuple[ImageRequest, ...]) -> Facts:
    """Send more at a time than an account may have active. After the first 429 nothing more is sent."""
    handles = [bfl.submit_nowait(each) for each in requests]
    async with asyncio.timeout(WAIT_S):
        while waiting := [handle for handle in handles if _is_waiting(handle)]:
            if bfl.statistics().refused_429:
                for handle in waiting:
                    handle.withdraw()  # one that is on its way is asked again in a moment
            await asyncio.sleep(0.005)
        ends = await asyncio.gather(*handles, return_exceptions=True)
    accepted = [end for handle, end in zip(handles, ends, strict=True) if handle.task_id is not None]
    return {
        "one too many is answered 429": bfl.statistics().refused_429 > 0,
        "no answer was lost": bfl.statistics().ambiguous == 0,
        "all that was accepted came home": not any(isinstance(end, BaseException) for end in accepted),
    }


def _is_waiting(handle: TaskHandle) -> bool:
    return handle.task_id is None and not handle.done()


async def an_end_by_webhook(bfl: AsyncBFL, requests: tuple[ImageRequest, ...]) -> Facts:
    """Be told of the end by the server."""
    (wanted,) = requests
    try:
        result = await bfl.generate(wanted, timeout=WAIT_S)
    except BFLError as exc:
        return {"it ended with": type(exc).__name__}
    return {"it ended with": "a result", "a seed is told": result.seed is not None}


CHECKS = (
    *(Check(f"one image of {model}", (small(model, "a red cube on a table"),), one_image) for model in CHEAP),
    Check(
        "a moderated prompt",
        (small(CHEAPEST, "a nude person, explicit [moderate-prompt]", safety_tolerance=0),),
        a_moderated_prompt,
    ),
    Check(
        "more than the limit",
        tuple(small(CHEAPEST, f"a grey square, number {n}") for n in range(LIMIT_TASKS)),
        more_than_the_limit,
        slots=LIMIT_TASKS,
    ),
    Check("an end by webhook", (small(CHEAPEST, "a blue ball"),), an_end_by_webhook, webhook=True),
)
