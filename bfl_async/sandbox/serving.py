"""The routes of the API and its image host, and what they answer: in the shapes of the recorded API.

Each answer is decided in one step without an await (`_decide_submit`, `_decide_poll`), so that what it tells and what
the account counts cannot differ.
"""

import asyncio
import base64
import hashlib
import ssl
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
from aiohttp import web

from bfl_async.sandbox import answers, control, orders, rules
from bfl_async.sandbox.accounting import Account, Accounting
from bfl_async.sandbox.answers import json_response
from bfl_async.sandbox.clock import Clock
from bfl_async.sandbox.described import DescribedAPI, understand
from bfl_async.sandbox.faults import ENDS, REFUSALS
from bfl_async.sandbox.foreign import ForeignHost
from bfl_async.sandbox.models import MODELS, Order
from bfl_async.sandbox.pictures import draw
from bfl_async.sandbox.rate import PollWindow
from bfl_async.sandbox.rules import Json
from bfl_async.sandbox.signing import Signer
from bfl_async.sandbox.tasks import IN_FLIGHT, SandboxTask, media_type_of, progress_of, share_of
from bfl_async.sandbox.utilities import ROUTES, Utilities
from bfl_async.sandbox.video import make_mp4

_NOT_FOUND = "Task not found"
# Eight input images of 20 MB in base64.
_REQUEST_MAX_BYTES = 256 * 1024 * 1024
_THREADS = 8
_DRAFT_CACHE = "draft_cache.bin"
_UPSCALE = "flux-tools/video-upscale-v1"
# Recorded with every answer of the API.
_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
# Recorded with a receipt, and not with a refusal.
_RECEIPT = {**_TRANSPORT, "Accept-Ranges": "bytes"}


class Served(Account, control.Controlled, Protocol):
    """What is read of a sandbox here, anew for each answer: most of it may be set at run time."""

    key: str
    revoked: bool
    submit_rtt_s: float
    poll_rtt_s: float
    result_ttl_s: float | None
    rewrite_prompts: bool
    webhook_polling_url: bool
    utilities: Utilities
    described: DescribedAPI | None

    @property
    def url(self) -> str: ...

    @property
    def foreign(self) -> ForeignHost: ...


class Serving:
    """Answers what is asked over HTTP.

    Args:
        sandbox: Whose settings and faults count.
        accounts: Its tasks.
        signer: Of the results' URLs.
        polls_per_s: Polls answered in one second before 429.
        second_host: Its address and what it serves https with; None: there is none.
    """

    def __init__(
        self,
        sandbox: Served,
        accounts: Accounting,
        clock: Clock,
        signer: Signer,
        *,
        polls_per_s: int,
        second_host: tuple[str, ssl.SSLContext | None] | None,
    ) -> None:
        self._sandbox = sandbox
        self._accounts = accounts
        self._clock = clock
        self._signer = signer
        self._window = PollWindow(polls_per_s)
        # Threads of its own for drawing: a program under test may have filled the default ones with calls that wait.
        self._threads = anyio.CapacityLimiter(_THREADS)
        # Set when the sandbox closes.
        self._ended_hangs = asyncio.Event()
        self.foreign: ForeignHost | None = None
        if second_host is not None:
            self.foreign = ForeignHost(self._foreign_blob, *second_host)

    def application(self, host_names: Collection[str]) -> web.Application:
        """Make the application of all routes.

        Args:
            host_names: Names under which the sandbox may be asked.
        """
        app = web.Application(
            client_max_size=_REQUEST_MAX_BYTES, middlewares=[control.check_host(host_names)]
        )
        for method, path in ROUTES:
            app.router.add_route(method, path, self._answer_utility)
        app.router.add_post("/v1/{model:.+}", self._answer_submit)
        app.router.add_get("/v1/get_result", self._answer_poll)
        app.router.add_get("/v1/credits", self._answer_credits)
        app.router.add_get("/results/{id}/{file}", self._answer_download)
        if (api := self._sandbox.described) is not None:
            app.router.add_get("/openapi.json", api.answer)
        control.add_routes(app, self._sandbox)
        app.router.add_route("*", "/{path:.*}", self._answer_unknown)
        app.on_response_prepare.append(answers.spare_browsers)
        return app

    def close(self) -> None:
        """End the answers that hang."""
        self._ended_hangs.set()

    def delivery_of(self, task: SandboxTask) -> dict[str, Json]:
        """What a webhook is told of an ended task: what a poll would be."""
        now = self._clock.now()
        if task.seen_at is None:
            # A timer may fire a tick early.
            task.seen_at = max(now, task.ready_at)
        return self._status_of(task.id, task, now)[1]

    def _scene(self, path: str) -> answers.Scene:
        foreign_url = "" if self.foreign is None else self.foreign.url
        return answers.Scene(path, foreign_url, self._ended_hangs, self._sandbox.speed)

    async def _answer_submit(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        half_s = self._sandbox.submit_rtt_s / self._sandbox.speed / 2
        if half_s > 0:
            await asyncio.sleep(half_s)
        content_type = request.content_type if "Content-Type" in request.headers else None
        response = self._decide_submit(
            request.match_info["model"], request.headers.get("x-key"), raw, content_type
        )
        if half_s > 0:
            await asyncio.sleep(half_s)
        return response

    def _decide_submit(
        self, name: str, key: str | None, raw: bytes, content_type: str | None
    ) -> web.StreamResponse:
        scripted = self._sandbox.faults.next_scripted()
        if isinstance(scripted, int):
            return self._refuse(scripted, REFUSALS[scripted])
        fault = self._sandbox.faults.draw("submit before", scripted)
        if fault == "submit-429":
            return self._refuse(429, REFUSALS[429])
        if fault is not None:
            nobody = _receipt(str(uuid.UUID(int=0)), self._sandbox.url, None, None, None)
            return answers.submit_fault(fault, nobody, self._scene(""))
        task = self._take(name, key, raw, content_type)
        if isinstance(task, web.Response):
            return task
        if isinstance(scripted, str) and scripted in ENDS:
            task.ends_as, task.details = scripted, None
        receipt = self._receipt_of(task)
        fault = self._sandbox.faults.draw("submit after", scripted)
        if fault is not None:
            return answers.submit_fault(fault, receipt, self._scene(""))
        return self._reply(200, receipt, _RECEIPT)

    def _take(
        self, name: str, key: str | None, raw: bytes, content_type: str | None
    ) -> SandboxTask | web.Response:
        """Accept a task, or say why it is refused."""
        api = self._sandbox.described
        model = (MODELS if api is None else api.models).get(name)
        # Routes come before keys: a path that is not one of the API's is a 404 whatever the key (inferred: GET /v1/
        # answers 404 without one).
        if model is None:
            return self._refuse(404, "Not Found")
        if (refusal := self._key_refusal(key)) is not None:
            return self._refuse(*refusal)
        try:
            body = rules.parse(raw, content_type)
            fields, order = understand(api, model, body, self._look_up)
        except rules.RulesBroken as exc:
            return self._refuse(exc.status, exc.detail)
        if self._sandbox.credits < model.cost(order):
            # Not recorded; these are the words of other test doubles.
            return self._refuse(402, "Insufficient credits")
        if not self._accounts.has_slot(model.pool):
            # Neither this body nor a Retry-After beside it was recorded: the words are the documentation's.
            return self._refuse(429, "Too many active tasks")
        return self._accounts.accept(model, body, fields, order, len(raw))

    def _receipt_of(self, task: SandboxTask) -> dict[str, Json]:
        polled_at = (
            self._sandbox.url if self._sandbox.faults.draw("receipt") is None else self._sandbox.foreign.url
        )
        order = task.order
        # As recorded: flux-dev tells no size when it tells no cost. What video tells was not recorded:
        # here no size, as megapixels alone say nothing about it.
        told = task.cost_told and task.facts.family != "video"
        receipt = _receipt(
            task.id,
            polled_at,
            task.cost if task.cost_told else None,
            round(order.input_mp, 2) if told else None,
            round(order.output_mp, 2) if told else None,
        )
        if task.webhook is not None:
            # The schema's AsyncWebhookResponse has no polling URL. Two versions of an SDK expect one.
            if not self._sandbox.webhook_polling_url:
                receipt.pop("polling_url")
            receipt.update(status=IN_FLIGHT, webhook_url=task.webhook.url)
        return receipt

    def _look_up(self, fields: dict[str, Json]) -> Order | None:
        """The order of the draft that a body names, if it names one.

        How the API refuses an unknown draft or finetune was not recorded.

        Raises:
            RulesBroken: It names a draft or a finetune that is none of this sandbox's.
        """
        finetune_id = fields.get("finetune_id")
        if isinstance(finetune_id, str) and not self._sandbox.utilities.knows(finetune_id):
            raise orders.refusal("no such finetune", finetune_id, "finetune_id")
        draft_cache = fields.get("draft_cache")
        if not isinstance(draft_cache, str):
            return None
        try:
            parts = urlsplit(draft_cache)
        except ValueError:
            # It is not an address.
            parts = urlsplit("")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        task = self._accounts.tasks.get(parts.path.removeprefix("/results/").removesuffix(f"/{_DRAFT_CACHE}"))
        if task is None or self._url_fault(parts.path, query) is not None:
            raise orders.refusal("no such draft, or it has expired", draft_cache, "draft_cache")
        return task.order

    def _refuse(self, status: int, detail: Json) -> web.Response:
        self._accounts.counts.refused[status] += 1
        return self._reply(status, {"detail": detail})

    def _reply(self, status: int, body: Json, headers: Mapping[str, str] = _TRANSPORT) -> web.Response:
        """An answer of the API's front door, with the headers it adds to these."""
        date = datetime.fromtimestamp(self._clock.date(self._clock.now()), UTC)
        mark = f"{self._accounts.counts.accepted:016x}"
        own = {"X-Azure-Ref": f"{date:%Y%m%dT%H%M%SZ}-sandbox{mark}", "X-Cache": "CONFIG_NOCACHE"}
        return json_response(status, body, {**headers, **own})

    async def _answer_poll(self, request: web.Request) -> web.StreamResponse:
        task_id = request.query.get("id")
        half_s = self._sandbox.poll_rtt_s / self._sandbox.speed / 2
        if half_s > 0:
            await asyncio.sleep(half_s)
        response = self._decide_poll(task_id, request.path_qs)
        if half_s > 0:
            await asyncio.sleep(half_s)
        return response

    def _decide_poll(self, task_id: str | None, path: str) -> web.StreamResponse:
        now = self._clock.now()
        self._accounts.counts.polls += 1
        within_rate, headers = self._window.count(now, self._clock.date(now))
        headers |= _TRANSPORT
        if not within_rate:
            self._accounts.counts.polls_429 += 1
            # Not recorded, neither the body nor the headers.
            return json_response(429, {"detail": "Too many requests"}, headers)
        if task_id is None:
            missing: Json = {
                "type": "missing",
                "loc": ["query", "id"],
                "msg": "Field required",
                "input": None,
            }
            return json_response(422, {"detail": [missing]}, headers)
        if self._sandbox.revoked:
            return json_response(403, {"detail": answers.AUTHENTICATION_REFUSED}, headers)
        self._accounts.end_due()
        task = self._accounts.tasks.get(task_id)
        if task is not None:
            task.polls += 1
        fault = self._sandbox.faults.draw("poll")
        if fault is None and task is not None and not task.ended:
            fault = self._sandbox.faults.draw("poll in flight")
        true = answers.PollAnswer(*self._status_of(task_id, task, now), headers)
        if fault is None:
            response: web.StreamResponse = json_response(true.status, true.body, headers)
            told = True
        else:
            response, told = answers.poll_fault(fault, true, self._scene(path))
        if told and task is not None and task.ended and task.seen_at is None:
            # The task may have ended between two looks at the clock.
            task.seen_at = max(now, task.ready_at)
        return response

    def _status_of(self, task_id: str, task: SandboxTask | None, now: float) -> tuple[int, dict[str, Json]]:
        """The HTTP code and the body that tell how a task stands."""
        if task is None or task.status == _NOT_FOUND:
            return 404, answers.poll_body(task_id, _NOT_FOUND)
        if not task.ended:
            word = task.facts.status_in_flight(share_of(task, now))
            return 200, answers.poll_body(task_id, word, progress=progress_of(task, now))
        body = answers.poll_body(
            task_id,
            task.status,
            result=self._result(task) if task.status == "Ready" else None,
            details=task.details,
        )
        # An end that is not charged states its cost as well. The schema allows a settled cost for every task, and no
        # recording of such an end is newer than it.
        if not task.cost_told or task.given_back:
            body["cost"] = task.cost
        return 200, body

    def _result(self, task: SandboxTask) -> dict[str, Json]:
        start, end = self._clock.date(task.accepted_at), self._clock.date(task.computed_at)
        output_format = task.output_format
        prompt = self._told_prompt(task)
        sample = self._result_url(task, f"sample.{output_format}", media_type_of(output_format))
        match task.facts.family:
            case "flux1":
                return {
                    "sample": sample,
                    "prompt": prompt,
                    "seed": task.seed,
                    "start_time": start,
                    "end_time": end,
                    "duration": end - start,
                }
            case "flux2":
                return {"start_time": start, "prompt": prompt, "seed": task.seed, "sample": sample}
            case "flux3-image":
                return {"sample": sample, "prompt": prompt, "duration": end - start}
        if task.model == _UPSCALE:
            # Captured in August 2026; the duration is that of the processing.
            return {"sample": sample, "duration": end - start, "prompt": prompt, "seed": task.seed}
        if task.order.draft:
            cache = self._result_url(task, _DRAFT_CACHE, "application/octet-stream")
            return {"sample": sample, "draft_cache": cache}
        return {"sample": sample}

    def _told_prompt(self, task: SandboxTask) -> str:
        # Recorded with FLUX.2 [max] and [pro]: what was drawn is told, and not what was asked for.
        rewritten = task.order.upsampled and self._sandbox.rewrite_prompts
        return f"Rewritten by the sandbox: {task.prompt}" if rewritten else task.prompt

    def _result_url(self, task: SandboxTask, file: str, media_type: str) -> str:
        ttl_s = task.facts.result_ttl_s if self._sandbox.result_ttl_s is None else self._sandbox.result_ttl_s
        # The first answer carries the URL that was signed at the end (recorded, December 2025); each later one carries
        # a URL that is signed anew (captured, August 2026).
        now = self._clock.now()
        is_first = task.seen_at is None or now <= task.seen_at
        expiry = self._clock.date(task.computed_at if is_first else now) + ttl_s
        host_url = (
            self._sandbox.url if self._sandbox.faults.draw("result") is None else self._sandbox.foreign.url
        )
        return host_url + self._signer.signed(f"/results/{task.id}/{file}", expiry, media_type)

    def _url_fault(self, path: str, query: Mapping[str, str]) -> str | None:
        """Why a result's URL is not good, if it is not."""
        return self._signer.fault(path, query, self._clock.date(self._clock.now()))

    async def _answer_download(self, request: web.Request) -> web.StreamResponse:
        if "x-key" in request.headers:
            self._accounts.counts.downloads_with_key += 1
        if (reason := self._url_fault(request.path, request.query)) is not None:
            return answers.blob_refused(reason)
        task = self._accounts.tasks.get(request.match_info["id"])
        if task is None:
            return answers.blob_error(404, "BlobNotFound", "The specified blob does not exist.")
        blob = answers.ranged(await self._blob(task, request.match_info["file"]), request)
        if blob.status not in (200, 206):
            return blob
        fault = self._sandbox.faults.draw("image")
        if fault is not None:
            return answers.image_fault(fault, blob, self._scene(request.path_qs))
        self._accounts.counts.downloads += 1
        return blob

    async def _foreign_blob(self, task_id: str, file: str) -> web.Response | None:
        task = self._accounts.tasks.get(task_id)
        return None if task is None else await self._blob(task, file)

    async def _blob(self, task: SandboxTask, file: str) -> web.Response:
        """A file of a task, as the image host sends it; a 500 that says so if Pillow is missing."""
        if file == _DRAFT_CACHE:
            content, media_type = f"draft {task.id}".encode(), "application/octet-stream"
        else:
            media_type = media_type_of(task.output_format)
            try:
                content = await anyio.to_thread.run_sync(_make, task, limiter=self._threads)
            except ImportError as exc:
                return web.Response(status=500, text=str(exc))
        modified = datetime.fromtimestamp(self._clock.date(task.computed_at), UTC)
        date = f"{modified:%a, %d %b %Y %H:%M:%S GMT}"
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=1200",
            "Content-Md5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "Etag": f'"0x{task.id[:8].upper()}"',
            "Last-Modified": date,
            "Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
            "X-Ms-Blob-Type": "BlockBlob",
            "X-Ms-Creation-Time": date,
            "X-Ms-Lease-State": "available",
            "X-Ms-Lease-Status": "unlocked",
            "X-Ms-Server-Encrypted": "true",
            "X-Ms-Version": "2024-11-04",
        }
        return web.Response(body=content, content_type=media_type, headers=headers)

    def _key_refusal(self, key: str | None) -> tuple[int, str] | None:
        """The status and the text for a key that is refused, if it is."""
        if key is None:
            # What third-party clients expect of a missing key.
            return 403, "Not authenticated"
        if key == self._sandbox.key and not self._sandbox.revoked:
            return None
        if key != self._sandbox.key and not answers.is_key(key, like=self._sandbox.key):
            # Captured, August 2026.
            return 422, "Invalid API key format"
        # Recorded, August 2025.
        return 403, answers.AUTHENTICATION_REFUSED

    async def _answer_credits(self, request: web.Request) -> web.Response:
        if (refusal := self._key_refusal(request.headers.get("x-key"))) is not None:
            return self._reply(refusal[0], {"detail": refusal[1]})
        return self._reply(200, {"credits": self._sandbox.credits})

    async def _answer_utility(self, request: web.Request) -> web.Response:
        if (refusal := self._key_refusal(request.headers.get("x-key"))) is not None:
            return self._reply(refusal[0], {"detail": refusal[1]})
        resource = request.match_info.route.resource
        status, body = self._sandbox.utilities.answer(
            "" if resource is None else resource.canonical,
            request.query,
            request.match_info.get("slug", ""),
            await request.read(),
            request.content_type if "Content-Type" in request.headers else None,
            self._clock.date(self._clock.now()),
        )
        return self._reply(status, body)

    async def _answer_unknown(self, request: web.Request) -> web.Response:
        del request  # every unknown path gets the same answer
        return self._reply(404, {"detail": "Not Found"})


def _receipt(
    task_id: str, url: str, cost: float | None, input_mp: float | None, output_mp: float | None
) -> dict[str, Json]:
    return {
        "id": task_id,
        "polling_url": f"{url}/v1/get_result?id={task_id}",
        "cost": cost,
        "input_mp": input_mp,
        "output_mp": output_mp,
    }


def _make(task: SandboxTask) -> bytes:
    """Draw the result and encode it. Takes a while: call it in a thread.

    Raises:
        ImportError: Pillow is not installed.
    """
    is_video = task.output_format == "mp4"
    card = draw(
        task,
        width=task.width,
        height=task.height,
        output_format="jpeg" if is_video else task.output_format,
    )
    if not is_video:
        return card
    return make_mp4(card, width=task.width, height=task.height, seconds=task.order.seconds)
