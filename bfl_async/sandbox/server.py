"""The server: accounts for tasks and credits, and answers in the shapes of the recorded API.

No timer runs per task. A task's end is fixed when it is accepted; whoever asks next (a submit, a poll,
`statistics()`) first ends what has become due, taken from a heap by its time. So the count of active tasks
is right at every decision, and costs the same with twelve slots and with a thousand.

All moments are times of the event loop's clock. Those that leave the server as dates (`se`, `start_time`,
`end_time`) are counted from the date at the start, so that they move with the loop's clock also in tests
that bend it.
"""

import asyncio
import base64
import hashlib
import heapq
import hmac
import json
import math
import random
import time
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote

from aiohttp import web

from bfl_async.sandbox import drawing, rules
from bfl_async.sandbox.models import MEGAPIXEL_PX, MODELS, Draw, Model, draw
from bfl_async.sandbox.rate import PollWindow
from bfl_async.sandbox.rules import Json

ServiceTime = float | Callable[[str, int], float] | None

_IN_FLIGHT = "Pending"
_NOT_FOUND = "Task not found"
_NOT_ENDS = ("Pending", "Reasoning", "Generating")
_REQUEST_MAX_BYTES = 256 * 1024 * 1024  # eight input images of 20 MB in base64
_BODIES_MAX_BYTES = 64 * 1024 * 1024  # of bodies kept; the oldest are forgotten first
_REFERENCE_MP = 1.0  # what an input image is billed as: its true size would take decoding it


@dataclass(slots=True)
class SandboxTask:
    """One accepted task. Times are the loop's clock in seconds."""

    id: str
    model: str
    body: dict[str, Json]  # as it was sent; empty once forgotten
    accepted_at: float
    ready_at: float  # the end, whatever status it brings; inf: only `settle` ends it
    status: str  # "Pending", then the status it ended with
    cost: float  # credits, charged on acceptance
    polls: int = 0
    seen_at: float | None = None  # the server's decision in the first poll that saw the end
    prompt: str = ""
    seed: int = 0  # the asked one, or one made up
    width: int = 0  # px
    height: int = 0  # px
    output_format: str = "jpeg"
    computed_at: float = 0.0  # FLUX.1 uploads from here to `ready_at`; progress stands at 1.0 meanwhile
    ends_as: str = "Ready"  # the status it comes to by itself
    details: dict[str, Json] | None = None  # of the end

    @property
    def ended(self) -> bool:
        """Whether it has come to its end and holds no slot any more."""
        return self.status != _IN_FLIGHT


@dataclass(frozen=True, slots=True)
class SandboxStatistics:
    """Counts since the start; `active` is the count of this moment. `refused_*` count submits."""

    accepted: int
    active: int
    peak_active: int
    refused_429: int
    refused_402: int
    refused_403: int
    refused_404: int
    refused_422: int
    polls: int
    polls_429: int  # of `polls`, those refused for being too many in one second
    downloads: int
    credits_spent: float


@dataclass(slots=True)
class _Counts:
    accepted: int = 0
    peak_active: int = 0
    refused: Counter[int] = field(default_factory=Counter)  # submits by HTTP status
    polls: int = 0
    polls_429: int = 0
    downloads: int = 0
    credits_spent: float = 0.0


class Sandbox:
    """A fake of the FLUX image API on a real socket of this machine.

    Use it as an async context manager, or call `start()` and `aclose()`. It needs Pillow as soon as an
    image is downloaded.

    Three words in a prompt choose how its task ends: `[moderate-prompt]` (`Request Moderated`, after 0.5
    to 2 s or when the task would have ended if `service_s` makes that sooner), `[moderate-output]`
    (`Content Moderated`) and `[fail]` (`Error`).

    Args:
        key: The one that `x-key` must carry.
        limit: Active tasks of the account; may be set at run time.
        pools: Active tasks by pool, on top of `limit`; None: 6 for flux-kontext-max, 5 for video. A model
            belongs to the pool that bears its name.
        credits: The balance.
        speed: All service times and round trips are divided by it.
        seed: Fixes service times (drawn in the order of acceptance), ids and made-up seeds.
        service_s: Seconds from acceptance to the end: None for each model's own distribution, a number
            for all, a function of the model's name and the task's number (from 0, in the order of
            acceptance), `math.inf` for tasks that only `settle()` ends.
        submit_rtt_s: Artificial round trip of a submit: half of it passes before the server decides, half
            before it answers.
        poll_rtt_s: The same for a poll.
        result_ttl_s: Seconds that a result's URL is good for. `speed` does not touch it.
        polls_per_s: Polls answered in one second of real time before 429.
        retain: Ended tasks that are remembered, the newest first; may be set at run time.
        host: The address to listen on.
        port: 0: any free one.
    """

    def __init__(
        self,
        *,
        key: str = "sandbox-key",
        limit: int = 12,
        pools: dict[str, int] | None = None,
        credits: float = 10_000.0,
        speed: float = 1.0,
        seed: int = 0,
        service_s: ServiceTime = None,
        submit_rtt_s: float = 0.0,
        poll_rtt_s: float = 0.0,
        result_ttl_s: float = 600.0,
        polls_per_s: int = 1200,
        retain: int = 10_000,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.key = key
        self.limit = limit
        self.pools = {"flux-kontext-max": 6, "video": 5} if pools is None else dict(pools)
        self.credits = credits
        self.speed = speed
        self.service_s = service_s
        self.submit_rtt_s = submit_rtt_s
        self.poll_rtt_s = poll_rtt_s
        self.result_ttl_s = result_ttl_s
        self._window = PollWindow(polls_per_s)
        self.retain = retain
        self._host = host
        self._port = port
        # Two generators: the times then stay what they are when something else needs chance.
        self._time_rng = random.Random(seed)
        self._name_rng = random.Random(f"names {seed}")
        self._signing_key = hashlib.sha256(f"{seed} {key}".encode()).digest()

        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self._url: str | None = None
        self._date_at_zero = 0.0  # the date, in seconds, at which the loop's clock showed 0

        # Written by _accept, _end and _forget only, which keep them in step with each other.
        self._tasks: dict[str, SandboxTask] = {}
        self._due: list[tuple[float, str]] = []  # heap; an entry outlives its task when settle() ended it
        self._active = 0
        self._active_by_pool: Counter[str] = Counter()
        self._ended: deque[str] = deque()  # in the order of their ends
        self._bodies: OrderedDict[str, int] = OrderedDict()  # bytes by task, of those not forgotten
        self._bodies_bytes = 0

        self._counts = _Counts()
        self._accept_waiters: list[tuple[int, asyncio.Future[None]]] = []

    # ---- life

    async def start(self) -> None:
        """Bind the socket and listen.

        Raises:
            RuntimeError: It was started before.
            OSError: The port is taken.
        Cancellation: Nothing stays open.
        """
        if self._loop is not None:
            raise RuntimeError("a sandbox starts once")
        self._loop = asyncio.get_running_loop()
        self._date_at_zero = time.time() - self._loop.time()
        app = web.Application(client_max_size=_REQUEST_MAX_BYTES)
        app.router.add_post("/v1/{model:.+}", self._answer_submit)
        app.router.add_get("/v1/get_result", self._answer_poll)
        app.router.add_get("/v1/credits", self._answer_credits)
        app.router.add_get("/results/{id}/{file}", self._answer_download)
        app.router.add_get("/sandbox/statistics", self._answer_statistics)
        app.router.add_route("*", "/{path:.*}", self._answer_unknown)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port, backlog=4096).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        port = runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{port}"

    async def aclose(self) -> None:
        """Stop listening and close all connections. Idempotent; what was counted stays readable.

        Cancellation: Connections may stay open; call it again.
        """
        for count, waiter in self._accept_waiters:
            if not waiter.done():
                waiter.set_exception(
                    RuntimeError(f"the sandbox was closed before it had accepted {count} tasks")
                )
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return (
            f"<Sandbox {self._url or 'not started'} accepted={self._counts.accepted} active={self._active}>"
        )

    # ---- what a test reads and does

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        if self._url is None:
            raise RuntimeError("the sandbox has no URL before it is started")
        return self._url

    @property
    def tasks(self) -> dict[str, SandboxTask]:
        """The remembered tasks by id, in the order of acceptance, as they stand now."""
        self._end_due()
        return self._tasks

    def statistics(self) -> SandboxStatistics:
        """The counts as they stand now."""
        self._end_due()
        counts = self._counts
        return SandboxStatistics(
            accepted=counts.accepted,
            active=self._active,
            peak_active=counts.peak_active,
            refused_429=counts.refused[429],
            refused_402=counts.refused[402],
            refused_403=counts.refused[403],
            refused_404=counts.refused[404],
            refused_422=counts.refused[422],
            polls=counts.polls,
            polls_429=counts.polls_429,
            downloads=counts.downloads,
            credits_spent=counts.credits_spent,
        )

    def settle(
        self,
        task_id: str,
        status: str = "Ready",
        *,
        reasons: Iterable[str] = (),
        detail: str | None = None,
    ) -> None:
        """End a task now; the next poll sees it.

        Args:
            task_id: An active task.
            status: Any but the API's words for a task in flight.
            reasons: Of a moderation, for `details`.
            detail: Of an error, for `details`.
        Raises:
            KeyError: No such task is known.
            ValueError: It has ended already, or the status does not end a task.
        """
        task = self.tasks[task_id]
        if task.ended:
            raise ValueError(f"the task has ended already: {task.status}")
        if status in _NOT_ENDS:
            raise ValueError(f"{status!r} does not end a task")
        details: dict[str, Json] = {}
        if listed := list(reasons):
            details["Moderation Reasons"] = [*listed]
        if detail is not None:
            details["error"] = detail
        now = self._now()
        task.ready_at = now
        task.computed_at = min(task.computed_at, now)
        task.ends_as, task.details = status, details or None
        self._end(task)
        if len(self._due) > 2 * self._active + 64:  # mostly entries of settled tasks
            self._due = [entry for entry in self._due if self._is_active(entry[1])]
            heapq.heapify(self._due)

    async def wait_accepted(self, n: int) -> None:
        """Wait until `n` tasks in all have been accepted since the start.

        Raises:
            RuntimeError: The sandbox was closed before.
        Cancellation: Safe; nothing is kept.
        """
        if self._counts.accepted >= n:
            return
        if self._runner is None:
            raise RuntimeError("the sandbox is not running")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._accept_waiters.append((n, waiter))
        try:
            await waiter
        finally:
            self._accept_waiters = [entry for entry in self._accept_waiters if entry[1] is not waiter]

    # ---- tasks: synchronous, the owners of the shared state

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def _date(self, moment: float) -> float:
        return self._date_at_zero + moment

    def _is_active(self, task_id: str) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and not task.ended

    def _has_slot(self, model: str) -> bool:
        self._end_due()
        pool_limit = self.pools.get(model)
        return self._active < self.limit and (pool_limit is None or self._active_by_pool[model] < pool_limit)

    def _accept(
        self, model: Model, body: dict[str, Json], fields: dict[str, Json], cost: float, raw_bytes: int
    ) -> SandboxTask:
        now = self._now()
        prompt = fields.get("prompt")
        prompt = prompt if isinstance(prompt, str) else ""
        seed = fields.get("seed")
        # A made-up seed exceeds 32 bits: the API's are often the time in milliseconds.
        made_up_seed = self._name_rng.randrange(10**12, 2 * 10**12)
        width, height = _size(model, fields)
        output_format = fields.get("output_format")
        task = SandboxTask(
            id=str(uuid.UUID(int=self._name_rng.getrandbits(128), version=4)),
            model=model.name,
            body=body,
            accepted_at=now,
            ready_at=math.inf,
            status=_IN_FLIGHT,
            cost=cost,
            prompt=prompt,
            seed=seed if isinstance(seed, int) else made_up_seed,
            width=width,
            height=height,
            output_format=output_format if isinstance(output_format, str) else "jpeg",
        )
        self._plan_end(task, model, draw(model, self._time_rng))

        self._tasks[task.id] = task
        if task.ready_at < math.inf:
            heapq.heappush(self._due, (task.ready_at, task.id))
        self._active += 1
        self._active_by_pool[model.name] += 1
        self._bodies[task.id] = raw_bytes
        self._bodies_bytes += raw_bytes
        while self._bodies_bytes > _BODIES_MAX_BYTES and len(self._bodies) > 1:
            oldest, oldest_bytes = self._bodies.popitem(last=False)
            self._bodies_bytes -= oldest_bytes
            self._tasks[oldest].body = {}

        self.credits -= cost
        counts = self._counts
        counts.credits_spent += cost
        counts.accepted += 1
        counts.peak_active = max(counts.peak_active, self._active)
        for count, waiter in self._accept_waiters:
            if counts.accepted >= count and not waiter.done():
                waiter.set_result(None)
        return task

    def _plan_end(self, task: SandboxTask, model: Model, drawn: Draw) -> None:
        number = self._counts.accepted
        if self.service_s is None:
            service_s = drawn.service_s
        elif callable(self.service_s):
            service_s = self.service_s(model.name, number)
        else:
            service_s = self.service_s
        upload_s = min(drawn.upload_s, service_s / 2) if model.flux1 and service_s < math.inf else 0.0

        if "[moderate-prompt]" in task.prompt:
            task.ends_as = "Request Moderated"
            task.details = {"Moderation Reasons": ["Violence", "Self Harm"]}
            if self.service_s is None:
                service_s = drawn.moderation_s
            elif service_s < math.inf:  # inf: the test itself ends every task
                service_s = min(service_s, drawn.moderation_s)
        elif "[moderate-output]" in task.prompt:
            task.ends_as = "Content Moderated"
            task.details = {"Moderation Reasons": ["Derivative Works Filter"]}
        elif "[fail]" in task.prompt:
            task.ends_as = "Error"
            task.details = {"error": "the prompt asked for a failure"}
        task.ready_at = task.accepted_at + service_s / self.speed
        task.computed_at = task.ready_at - upload_s / self.speed

    def _end_due(self) -> None:
        now = self._now()
        while self._due and self._due[0][0] <= now:
            _, task_id = heapq.heappop(self._due)
            task = self._tasks.get(task_id)
            if task is not None and not task.ended:
                self._end(task)

    def _end(self, task: SandboxTask) -> None:
        task.status = task.ends_as
        self._active -= 1
        self._active_by_pool[task.model] -= 1
        self._ended.append(task.id)
        while len(self._ended) > self.retain:
            self._forget(self._ended.popleft())

    def _forget(self, task_id: str) -> None:
        del self._tasks[task_id]
        self._bodies_bytes -= self._bodies.pop(task_id, 0)

    # ---- answers

    async def _answer_submit(self, request: web.Request) -> web.Response:
        raw = await request.read()
        half_s = self.submit_rtt_s / self.speed / 2
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
    ) -> web.Response:
        if key != self.key:
            return self._refuse(403, _auth_error(key))
        model = MODELS.get(name)
        if model is None:
            return self._refuse(404, "Not Found")
        try:
            body = rules.parse(raw, content_type)
            fields = rules.check(name, body)
        except rules.RulesBroken as exc:
            return self._refuse(422, exc.detail)
        width, height = _size(model, fields)
        references = sum(1 for field_name in fields if field_name.startswith("input_image"))
        output_mp, input_mp = width * height / MEGAPIXEL_PX, references * _REFERENCE_MP
        cost = model.cost(output_mp, input_mp)
        if self.credits < cost:
            # Not recorded; these are the words of other test doubles.
            return self._refuse(402, "Insufficient credits")
        if not self._has_slot(name):
            # Neither this body nor a Retry-After beside it was recorded: the words are the documentation's.
            return self._refuse(429, "Too many active tasks")
        task = self._accept(model, body, fields, cost, len(raw))
        # As recorded: flux-dev tells no size when it tells no cost.
        told = model.cost_at_submit
        return self._reply(
            200,
            {
                "id": task.id,
                "polling_url": f"{self.url}/v1/get_result?id={task.id}",
                "cost": cost if told else None,
                "input_mp": input_mp if told else None,
                "output_mp": round(output_mp, 2) if told else None,
            },
        )

    def _refuse(self, status: int, detail: Json) -> web.Response:
        self._counts.refused[status] += 1
        return self._reply(status, {"detail": detail})

    def _reply(self, status: int, body: Json) -> web.Response:
        """An answer of the API's front door, with the headers it adds."""
        date = datetime.fromtimestamp(self._date(self._now()), UTC)
        mark = f"{self._counts.accepted:016x}"
        headers = {"X-Azure-Ref": f"{date:%Y%m%dT%H%M%SZ}-sandbox{mark}", "X-Cache": "CONFIG_NOCACHE"}
        return _json_response(status, body, headers)

    async def _answer_poll(self, request: web.Request) -> web.Response:
        task_id = request.query.get("id")
        half_s = self.poll_rtt_s / self.speed / 2
        if half_s > 0:
            await asyncio.sleep(half_s)
        response = self._decide_poll(task_id)
        if half_s > 0:
            await asyncio.sleep(half_s)
        return response

    def _decide_poll(self, task_id: str | None) -> web.Response:
        now = self._now()
        self._counts.polls += 1
        within_rate, headers = self._window.count(now, self._date(now))
        if not within_rate:
            self._counts.polls_429 += 1
            # Not recorded, neither the body nor the headers.
            return _json_response(429, {"detail": "Too many requests"}, headers)
        if task_id is None:
            missing: Json = {
                "type": "missing",
                "loc": ["query", "id"],
                "msg": "Field required",
                "input": None,
            }
            return _json_response(422, {"detail": [missing]}, headers)
        self._end_due()
        task = self._tasks.get(task_id)
        if task is None:
            return _json_response(404, _poll_body(task_id, _NOT_FOUND), headers)
        task.polls += 1
        if not task.ended:
            body = _poll_body(task_id, _IN_FLIGHT, progress=_progress(task, now))
            return _json_response(200, body, headers)
        if task.seen_at is None:
            task.seen_at = now
        if task.status == _NOT_FOUND:
            return _json_response(404, _poll_body(task_id, _NOT_FOUND), headers)
        body = _poll_body(
            task_id,
            task.status,
            result=self._result(task) if task.status == "Ready" else None,
            details=task.details,
        )
        if not MODELS[task.model].cost_at_submit:
            body["cost"] = task.cost
        return _json_response(200, body, headers)

    def _result(self, task: SandboxTask) -> dict[str, Json]:
        start, end = self._date(task.accepted_at), self._date(task.computed_at)
        sample = self._sample_url(task)
        if MODELS[task.model].flux1:
            return {
                "sample": sample,
                "prompt": task.prompt,
                "seed": task.seed,
                "start_time": start,
                "end_time": end,
                "duration": end - start,
            }
        return {"start_time": start, "prompt": task.prompt, "seed": task.seed, "sample": sample}

    def _sample_url(self, task: SandboxTask) -> str:
        path = f"/results/{task.id}/sample.{task.output_format}"
        expiry = datetime.fromtimestamp(int(self._date(task.computed_at) + self.result_ttl_s), UTC)
        query = {
            "se": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
            "sp": "r",
            "sv": "2024-11-04",
            "sr": "b",
            "rsct": f"image/{task.output_format}",
        }
        signature = self._sign(path, query)
        # Quoted as recorded: colons and the signature's characters, but not the slash of the media type.
        signed = "&".join(f"{name}={quote(value, safe='/')}" for name, value in query.items())
        return f"{self.url}{path}?{signed}&sig={quote(signature, safe='')}"

    def _sign(self, path: str, query: dict[str, str]) -> str:
        text = "\n".join([path, *(query.get(name, "") for name in ("se", "sp", "sv", "sr", "rsct"))])
        digest = hmac.digest(self._signing_key, text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.b64encode(digest).decode()

    async def _answer_download(self, request: web.Request) -> web.Response:
        query = {name: request.query.get(name, "") for name in ("se", "sp", "sv", "sr", "rsct", "sig")}
        signature = self._sign(request.path, query)
        if not hmac.compare_digest(signature.encode(), query["sig"].encode("utf-8", "surrogatepass")):
            return self._blob_error(403, "AuthenticationFailed", "Signature did not match.")
        date = self._date(self._now())
        # A right signature vouches for the form of the date.
        if date >= datetime.strptime(query["se"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp():
            reason = f"Signature not valid in the specified time frame: Expiry [{query['se']}]"
            return self._blob_error(403, "AuthenticationFailed", reason)
        task = self._tasks.get(request.match_info["id"])
        if task is None:
            return self._blob_error(404, "BlobNotFound", None)
        try:
            image = await asyncio.to_thread(
                drawing.draw_card,
                task.prompt,
                model=task.model,
                seed=task.seed,
                width=task.width,
                height=task.height,
                output_format=task.output_format,
            )
        except ImportError as exc:
            return web.Response(status=500, text=str(exc))
        self._counts.downloads += 1
        modified = datetime.fromtimestamp(self._date(task.computed_at), UTC)
        headers = {
            "Cache-Control": "max-age=1200",
            "Content-Md5": base64.b64encode(hashlib.md5(image, usedforsecurity=False).digest()).decode(),
            "Etag": f'"0x{task.id[:8].upper()}"',
            "Last-Modified": f"{modified:%a, %d %b %Y %H:%M:%S GMT}",
            "X-Ms-Blob-Type": "BlockBlob",
            "X-Ms-Version": "2024-11-04",
        }
        return web.Response(body=image, content_type=f"image/{task.output_format}", headers=headers)

    def _blob_error(self, status: int, code: str, reason: str | None) -> web.Response:
        """An error as the image host words it, in XML."""
        message = (
            "The specified blob does not exist."
            if reason is None
            else "Server failed to authenticate the request. Make sure the value of Authorization header is "
            "formed correctly including the signature."
        )
        detail = "" if reason is None else f"<AuthenticationErrorDetail>{reason}</AuthenticationErrorDetail>"
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
            f"<Message>{message}</Message>{detail}</Error>"
        )
        headers = {"X-Ms-Error-Code": code}
        return web.Response(
            status=status, body=text.encode(), content_type="application/xml", headers=headers
        )

    async def _answer_credits(self, request: web.Request) -> web.Response:
        key = request.headers.get("x-key")
        if key != self.key:
            return self._reply(403, {"detail": _auth_error(key)})
        return self._reply(200, {"credits": self.credits})

    async def _answer_statistics(self, request: web.Request) -> web.Response:
        body: dict[str, Json] = dict(asdict(self.statistics()))
        if request.query.get("tasks") == "1":
            body["tasks"] = [
                [
                    task.id,
                    task.model,
                    task.accepted_at,
                    task.ready_at if task.ready_at < math.inf else None,
                    task.seen_at,
                    task.polls,
                    task.status,
                ]
                for task in self._tasks.values()
            ]
        return _json_response(200, body, {})

    async def _answer_unknown(self, request: web.Request) -> web.Response:
        del request  # every unknown path gets the same answer
        return self._reply(404, {"detail": "Not Found"})


def _auth_error(key: str | None) -> str:
    # The second was recorded; the first is what third-party clients expect of a missing key.
    return "Not authenticated" if key is None else "Not authenticated - Invalid Authentication"


def _size(model: Model, fields: dict[str, Json]) -> tuple[int, int]:
    width, height = fields.get("width"), fields.get("height")
    return (
        width if isinstance(width, int) else model.default_width_px,
        height if isinstance(height, int) else model.default_height_px,
    )


def _progress(task: SandboxTask, now: float) -> float | None:
    """The share of the computing that is done, in tenths rounded down; None before the first tenth."""
    if not MODELS[task.model].flux1:
        return None
    if now >= task.computed_at:
        return 1.0
    if task.computed_at == math.inf:
        return None
    share = (now - task.accepted_at) / (task.computed_at - task.accepted_at)
    return int(share * 10) / 10 or None


def _poll_body(
    task_id: str,
    status: str,
    *,
    result: dict[str, Json] | None = None,
    progress: float | None = None,
    details: dict[str, Json] | None = None,
) -> dict[str, Json]:
    return {
        "id": task_id,
        "status": status,
        "result": result,
        "progress": progress,
        "details": details,
        "preview": None,
    }


def _json_response(status: int, body: Json, headers: dict[str, str]) -> web.Response:
    try:
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair in a prompt: only an escape can carry it
        raw = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=raw, content_type="application/json", headers=headers)
