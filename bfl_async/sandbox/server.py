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
import itertools
import math
import random
import time
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, urlsplit

import anyio
import anyio.to_thread
from aiohttp import web

from bfl_async.sandbox import answers, control, drawing, orders, rules
from bfl_async.sandbox.answers import json_response
from bfl_async.sandbox.faults import ENDS, REFUSALS, Faults, Setting
from bfl_async.sandbox.foreign import ForeignHost
from bfl_async.sandbox.models import MODELS, Draw, Model, Order, draw
from bfl_async.sandbox.rate import PollWindow
from bfl_async.sandbox.rules import Json
from bfl_async.sandbox.tasks import (
    IN_FLIGHT,
    SandboxStatistics,
    SandboxTask,
    TaskCounts,
    media_type_of,
    progress_of,
    share_of,
)
from bfl_async.sandbox.utilities import ROUTES, Utilities
from bfl_async.sandbox.video import make_mp4
from bfl_async.sandbox.webhooks import Webhooks, WebhookScheme, webhook_of

_NOT_ENDS = ("Pending", "Reasoning", "Generating")


ServiceTime = float | Callable[[str, int], float] | None

_NOT_FOUND = "Task not found"
_REQUEST_MAX_BYTES = 256 * 1024 * 1024  # eight input images of 20 MB in base64
_THREADS = 8
_BODIES_MAX_BYTES = 64 * 1024 * 1024  # of bodies kept; the oldest are forgotten first
_SIGNED = ("se", "sp", "sv", "sr", "rsct")  # what the signature of a result's URL covers beside the path
_DRAFT_CACHE = "draft_cache.bin"


class Sandbox:
    """A fake of the FLUX API on a real socket of this machine, with every endpoint that makes a task.

    Use it as an async context manager, or call `start()` and `aclose()`. It needs Pillow as soon as an
    image is downloaded.

    Three words in a prompt choose how its task ends: `[moderate-prompt]` (`Request Moderated`, after 0.5
    to 2 s or when the task would have ended if `service_s` makes that sooner), `[moderate-output]`
    (`Content Moderated`) and `[fail]` (`Error`). What goes wrong beside that is set by `faults`.

    Attributes:
        faults: The fault dials; may be turned at run time.
        revoked: Whether the key is refused with 403 everywhere; may be set at run time.
        foreign_active: Slots of the account that another client holds; they count in `limit` and not in
            the statistics; may be set at run time.

    `utilities` holds the finetunes that the account has and the usage of licensed models that it reported.

    Args:
        key: The one that `x-key` must carry.
        limit: Active tasks of the account; may be set at run time.
        pools: Active tasks by pool, on top of `limit`; None: 6 for flux-kontext-max, 5 for video. The
            models for video share the pool `video`; any other belongs to the pool that bears its name.
        credits: The balance; may be set at run time.
        speed: All service times and round trips are divided by it.
        seed: Fixes service times (drawn in the order of acceptance), ids and made-up seeds.
        service_s: Seconds from acceptance to the end: None for each model's own distribution, a number
            for all, a function of the model's name and the task's number (from 0, in the order of
            acceptance), `math.inf` for tasks that only `settle()` ends.
        submit_rtt_s: Artificial round trip of a submit: half of it passes before the server decides, half
            before it answers.
        poll_rtt_s: The same for a poll.
        result_ttl_s: Seconds that a result's URL is good for; None: each model's own, which is 600 for
            most. `speed` does not touch it.
        polls_per_s: Polls answered in one second of real time before 429.
        webhook_scheme: What proves a delivery: "secret" (`X-Webhook-Secret`), "signature" (`X-BFL-Signature`) or
            "both". Deliveries go to loopback addresses alone; one that is not taken with a 2xx is sent
            again after 1, 5 and 30 s, divided by `speed`.
        webhook_delay_s: Seconds from a task's end to its delivery, divided by `speed`.
        webhook_late_s: What the dial `webhook-late` adds to that, divided by `speed`.
        retain: Ended tasks that are remembered, the newest first; may be set at run time.
        faults: What the fault dials stand at; see `bfl_async.sandbox.faults.DIALS`.
        foreign: Whether there is a second host, which some faults point at.
        host: The address to listen on.
        port: 0: any free one.
        hosts: Names under which it is reached, such as that of a container. Requests for a host that is neither one
            of these, nor `host`, nor localhost, nor an address are refused with 421.
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
        result_ttl_s: float | None = None,
        polls_per_s: int = 1200,
        webhook_scheme: WebhookScheme = "secret",
        webhook_delay_s: float = 0.0,
        webhook_late_s: float = 5.0,
        retain: int = 10_000,
        faults: Mapping[str, Setting] | None = None,
        foreign: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Collection[str] = (),
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.key = key
        self.limit = limit
        self.pools: dict[str, int] = {"flux-kontext-max": 6, "video": 5} if pools is None else dict(pools)
        self.credits: float = credits
        self.speed = speed
        self.service_s = service_s
        self.submit_rtt_s = submit_rtt_s
        self.poll_rtt_s = poll_rtt_s
        self.result_ttl_s = result_ttl_s
        self.utilities: Utilities = Utilities()
        self._window = PollWindow(polls_per_s)
        self.retain = retain
        self.faults: Faults = Faults(faults or {}, seed=seed, foreign=foreign)
        self._webhooks = Webhooks(self.faults, scheme=webhook_scheme)
        self.webhook_delay_s = webhook_delay_s
        self.webhook_late_s = webhook_late_s
        self.revoked = False
        self.foreign_active = 0
        self._host = host
        self._host_names = frozenset(name.lower() for name in (host, *hosts))
        self._port = port
        # Two generators: the times then stay what they are when something else needs chance.
        self._time_rng = random.Random(seed)
        self._name_rng = random.Random(f"names {seed}")
        self._signing_key = hashlib.sha256(f"{seed} {key}".encode()).digest()

        # Threads of its own for drawing: a program under test may have filled the default ones with calls that wait.
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self._url: str | None = None
        self._foreign = ForeignHost(self._foreign_blob, host) if foreign else None
        self._ended_hangs = asyncio.Event()  # set when the sandbox closes
        self._date_at_zero = 0.0  # the date, in seconds, at which the loop's clock showed 0

        # Written by _accept, _end and _forget only, which keep them in step with each other.
        self._tasks: dict[str, SandboxTask] = {}
        self._due: list[tuple[float, str]] = []  # heap; an entry outlives its task when settle() ended it
        self._active = 0
        self._active_by_pool: Counter[str] = Counter()
        self._ended: deque[str] = deque()  # in the order of their ends
        self._bodies: OrderedDict[str, int] = OrderedDict()  # bytes by task, of those not forgotten
        self._bodies_bytes = 0

        self._counts = TaskCounts()
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
        app = web.Application(
            client_max_size=_REQUEST_MAX_BYTES, middlewares=[control.check_host(self._host_names)]
        )
        for method, path in ROUTES:
            app.router.add_route(method, path, self._answer_utility)
        app.router.add_post("/v1/{model:.+}", self._answer_submit)
        app.router.add_get("/v1/get_result", self._answer_poll)
        app.router.add_get("/v1/credits", self._answer_credits)
        app.router.add_get("/results/{id}/{file}", self._answer_download)
        control.add_routes(app, self)
        app.router.add_route("*", "/{path:.*}", self._answer_unknown)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port, backlog=4096).start()
            if self._foreign is not None:
                await self._foreign.start()
        except BaseException:
            await runner.cleanup()
            if self._foreign is not None:
                await self._foreign.aclose()
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
        self._ended_hangs.set()
        await self._webhooks.aclose()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._foreign is not None:
            await self._foreign.aclose()

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
        if not hasattr(self, "_counts"):
            # Its constructor failed.
            return "<Sandbox>"
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
    def foreign(self) -> ForeignHost:
        """The second host.

        Raises:
            RuntimeError: The sandbox was made with `foreign=False`.
        """
        if self._foreign is None:
            raise RuntimeError("the sandbox was made without a foreign host: leave foreign=False out")
        return self._foreign

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
            downloads_with_key=counts.downloads_with_key,
            credits_spent=counts.credits_spent,
            deliveries=self._webhooks.taken,
            deliveries_failed=self._webhooks.failed,
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

        A task whose time has come but whose end no poll has seen yet can be settled like an active one:
        nobody can know.

        Args:
            task_id: A task whose end was not seen yet.
            status: Any but the API's words for a task in flight.
            reasons: Of a moderation, for `details`.
            detail: Of an error, for `details`.
        Raises:
            KeyError: No such task is known.
            ValueError: It was settled or its end was seen already, or the status does not end a task.
        """
        task = self.tasks[task_id]
        if task.settled or task.seen_at is not None:
            raise ValueError(f"the task has ended already: {task.status}")
        if status in _NOT_ENDS:
            raise ValueError(f"{status!r} does not end a task")
        details: dict[str, Json] = {}
        if listed := list(reasons):
            details["Moderation Reasons"] = [*listed]
        if detail is not None:
            details["error"] = detail
        task.settled = True
        task.ends_as, task.details = status, details or None
        if task.ended:
            task.status = status
            return
        now = self._now()
        task.ready_at = now
        task.computed_at = min(task.computed_at, now)
        self._end(task)
        if len(self._due) > 2 * self._active + 64:  # mostly entries of settled tasks
            self._due = [entry for entry in self._due if self._is_active(entry[1])]
            heapq.heapify(self._due)

    def newest(self, count: int) -> list[SandboxTask]:
        """The newest remembered tasks as they stand now, the newest first."""
        return list(itertools.islice(reversed(self.tasks.values()), count))

    def progress(self, task: SandboxTask) -> float | None:
        """What a poll is told of a task's progress now; None where the model reports none."""
        return None if task.ended else progress_of(task, self._now())

    def age_s(self, task: SandboxTask) -> float:
        """Seconds since its acceptance, up to its end."""
        return min(self._now(), task.ready_at) - task.accepted_at

    def script(self, items: Iterable[str | int]) -> None:
        """Queue what happens to the next submits, in the order in which they arrive, one item for each.

        Args:
            items: A terminal status word: if it is accepted, the task ends so, at its normal time. An HTTP code
                (400, 402, 403, 404, 422, 429, 500, 502, 503, 504): it is refused so. The name of one of the
                submit's fault dials: that fault. The dials themselves are left alone meanwhile.
        Raises:
            ValueError: An item is none of these; nothing is queued then.
        """
        self.faults.script(items)

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

    def _has_slot(self, pool: str) -> bool:
        self._end_due()
        pool_limit = self.pools.get(pool)
        free = self._active + self.foreign_active < self.limit
        return free and (pool_limit is None or self._active_by_pool[pool] < pool_limit)

    def _accept(
        self, model: Model, body: dict[str, Json], fields: dict[str, Json], order: Order, raw_bytes: int
    ) -> SandboxTask:
        now = self._now()
        cost = model.cost(order)
        seed = fields.get("seed")
        # A made-up seed exceeds 32 bits: the API's are often the time in milliseconds.
        made_up_seed = self._name_rng.randrange(10**12, 2 * 10**12)
        task = SandboxTask(
            id=str(uuid.UUID(int=self._name_rng.getrandbits(128), version=4)),
            model=model.name,
            body=body,
            accepted_at=now,
            ready_at=math.inf,
            status=IN_FLIGHT,
            cost=cost,
            cost_told=model.cost_at_submit and order.length_known,
            order=order,
            prompt=order.prompt,
            seed=seed if isinstance(seed, int) else made_up_seed,
        )
        task.webhook = webhook_of(fields)
        self._plan_end(task, model, draw(model, self._time_rng))

        self._tasks[task.id] = task
        if task.ready_at < math.inf:
            heapq.heappush(self._due, (task.ready_at, task.id))
            if task.webhook is not None and self._loop is not None:  # nobody else may come to look
                self._loop.call_at(task.ready_at, self._end_due, task.ready_at)
        self._active += 1
        self._active_by_pool[model.pool] += 1
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

    def _end_due(self, at: float = 0.0) -> None:
        """End what has become due; by `at`, where a timer says so, which may fire a tick early."""
        now = max(self._now(), at)
        while self._due and self._due[0][0] <= now:
            _, task_id = heapq.heappop(self._due)
            task = self._tasks.get(task_id)
            if task is not None and not task.ended:
                self._end(task)

    def _end(self, task: SandboxTask) -> None:
        task.status = task.ends_as
        self._active -= 1
        self._active_by_pool[MODELS[task.model].pool] -= 1
        self._ended.append(task.id)
        if task.webhook is not None:
            delay_s, late_s = self.webhook_delay_s / self.speed, self.webhook_late_s / self.speed
            self._webhooks.send(
                task.webhook,
                lambda: self._delivery_of(task),
                delay_s=delay_s,
                late_s=late_s,
                speed=self.speed,
            )
        while len(self._ended) > self.retain:
            self._forget(self._ended.popleft())

    def _forget(self, task_id: str) -> None:
        del self._tasks[task_id]
        self._bodies_bytes -= self._bodies.pop(task_id, 0)

    def _delivery_of(self, task: SandboxTask) -> dict[str, Json]:
        """What a webhook is told of an ended task: what a poll would be."""
        now = self._now()
        if task.seen_at is None:
            task.seen_at = now
        return self._status_of(task.id, task, now)[1]

    # ---- answers

    def _scene(self, path: str) -> answers.Scene:
        foreign_url = "" if self._foreign is None else self._foreign.url
        return answers.Scene(path, foreign_url, self._ended_hangs, self.speed)

    async def _answer_submit(self, request: web.Request) -> web.StreamResponse:
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
    ) -> web.StreamResponse:
        scripted = self.faults.next_scripted()
        if isinstance(scripted, int):
            return self._refuse(scripted, REFUSALS[scripted])
        fault = self.faults.draw("submit before", scripted)
        if fault == "submit-429":
            return self._refuse(429, REFUSALS[429])
        if fault is not None:
            nobody = _receipt(str(uuid.UUID(int=0)), self.url, None, None, None)
            return answers.submit_fault(fault, nobody, self._scene(""))
        if key != self.key or self.revoked:
            return self._refuse(403, _auth_error(key))
        model = MODELS.get(name)
        if model is None:
            return self._refuse(404, "Not Found")
        try:
            body = rules.parse(raw, content_type)
            fields = rules.check(name, body)
            order = orders.take(model, fields, drafted=self._look_up(fields))
        except rules.RulesBroken as exc:
            return self._refuse(422, exc.detail)
        if self.credits < model.cost(order):
            # Not recorded; these are the words of other test doubles.
            return self._refuse(402, "Insufficient credits")
        if not self._has_slot(model.pool):
            # Neither this body nor a Retry-After beside it was recorded: the words are the documentation's.
            return self._refuse(429, "Too many active tasks")
        task = self._accept(model, body, fields, order, len(raw))
        if isinstance(scripted, str) and scripted in ENDS:
            task.ends_as, task.details = scripted, None
        polled_at = self.url if self.faults.draw("receipt") is None else self.foreign.url
        # As recorded: flux-dev tells no size when it tells no cost. What video tells was not recorded:
        # here no size, as megapixels alone say nothing about it.
        told = task.cost_told and model.family != "video"
        receipt = _receipt(
            task.id,
            polled_at,
            task.cost if task.cost_told else None,
            round(order.input_mp, 2) if told else None,
            round(order.output_mp, 2) if told else None,
        )
        if task.webhook is not None:
            # The polling URL is left out, as the schema's AsyncWebhookResponse has it.
            receipt.pop("polling_url")
            receipt.update(status=IN_FLIGHT, webhook_url=task.webhook.url)
        fault = self.faults.draw("submit after", scripted)
        if fault is not None:
            return answers.submit_fault(fault, receipt, self._scene(""))
        return self._reply(200, receipt)

    def _look_up(self, fields: dict[str, Json]) -> Order | None:
        """The order of the draft that a body names, if it names one.

        How the API refuses an unknown draft or finetune was not recorded.

        Raises:
            RulesBroken: It names a draft or a finetune that is none of this sandbox's.
        """
        finetune_id = fields.get("finetune_id")
        if isinstance(finetune_id, str) and not self.utilities.knows(finetune_id):
            raise orders.refusal("no such finetune", finetune_id, "finetune_id")
        draft_cache = fields.get("draft_cache")
        if not isinstance(draft_cache, str):
            return None
        try:
            parts = urlsplit(draft_cache)
        except ValueError:  # an address that is none
            parts = urlsplit("")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        task = self._tasks.get(parts.path.removeprefix("/results/").removesuffix(f"/{_DRAFT_CACHE}"))
        if task is None or self._url_fault(parts.path, query) is not None:
            raise orders.refusal("no such draft, or it has expired", draft_cache, "draft_cache")
        return task.order

    def _refuse(self, status: int, detail: Json) -> web.Response:
        self._counts.refused[status] += 1
        return self._reply(status, {"detail": detail})

    def _reply(self, status: int, body: Json) -> web.Response:
        """An answer of the API's front door, with the headers it adds."""
        date = datetime.fromtimestamp(self._date(self._now()), UTC)
        mark = f"{self._counts.accepted:016x}"
        headers = {"X-Azure-Ref": f"{date:%Y%m%dT%H%M%SZ}-sandbox{mark}", "X-Cache": "CONFIG_NOCACHE"}
        return json_response(status, body, headers)

    async def _answer_poll(self, request: web.Request) -> web.StreamResponse:
        task_id = request.query.get("id")
        half_s = self.poll_rtt_s / self.speed / 2
        if half_s > 0:
            await asyncio.sleep(half_s)
        response = self._decide_poll(task_id, request.path_qs)
        if half_s > 0:
            await asyncio.sleep(half_s)
        return response

    def _decide_poll(self, task_id: str | None, path: str) -> web.StreamResponse:
        now = self._now()
        self._counts.polls += 1
        within_rate, headers = self._window.count(now, self._date(now))
        if not within_rate:
            self._counts.polls_429 += 1
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
        if self.revoked:
            return json_response(403, {"detail": answers.AUTHENTICATION_REFUSED}, headers)
        self._end_due()
        task = self._tasks.get(task_id)
        if task is not None:
            task.polls += 1
        fault = self.faults.draw("poll")
        if fault is None and task is not None and not task.ended:
            fault = self.faults.draw("poll in flight")
        true = answers.PollAnswer(*self._status_of(task_id, task, now), headers)
        if fault is None:
            response: web.StreamResponse = json_response(true.status, true.body, headers)
            told = True
        else:
            response, told = answers.poll_fault(fault, true, self._scene(path))
        if told and task is not None and task.ended and task.seen_at is None:
            task.seen_at = now
        return response

    def _status_of(self, task_id: str, task: SandboxTask | None, now: float) -> tuple[int, dict[str, Json]]:
        """The HTTP code and the body that tell how a task stands."""
        if task is None or task.status == _NOT_FOUND:
            return 404, answers.poll_body(task_id, _NOT_FOUND)
        if not task.ended:
            word = MODELS[task.model].status_in_flight(share_of(task, now))
            return 200, answers.poll_body(task_id, word, progress=progress_of(task, now))
        body = answers.poll_body(
            task_id,
            task.status,
            result=self._result(task) if task.status == "Ready" else None,
            details=task.details,
        )
        if not task.cost_told:
            body["cost"] = task.cost
        return 200, body

    def _result(self, task: SandboxTask) -> dict[str, Json]:
        start, end = self._date(task.accepted_at), self._date(task.computed_at)
        output_format = task.output_format
        sample = self._result_url(task, f"sample.{output_format}", media_type_of(output_format))
        match MODELS[task.model].family:
            case "flux1":
                return {
                    "sample": sample,
                    "prompt": task.prompt,
                    "seed": task.seed,
                    "start_time": start,
                    "end_time": end,
                    "duration": end - start,
                }
            case "flux2":
                return {"start_time": start, "prompt": task.prompt, "seed": task.seed, "sample": sample}
            case "flux3-image":
                return {"sample": sample, "prompt": task.prompt, "duration": end - start}
        if task.order.draft:
            cache = self._result_url(task, _DRAFT_CACHE, "application/octet-stream")
            return {"sample": sample, "draft_cache": cache}
        return {"sample": sample}

    def _result_url(self, task: SandboxTask, file: str, media_type: str) -> str:
        path = f"/results/{task.id}/{file}"
        ttl_s = MODELS[task.model].result_ttl_s if self.result_ttl_s is None else self.result_ttl_s
        expiry = datetime.fromtimestamp(int(self._date(task.computed_at) + ttl_s), UTC)
        query = {
            "se": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
            "sp": "r",
            "sv": "2024-11-04",
            "sr": "b",
            "rsct": media_type,
        }
        signature = self._sign(path, query)
        # Quoted as recorded: colons and the signature's characters, but not the slash of the media type.
        signed = "&".join(f"{name}={quote(value, safe='/')}" for name, value in query.items())
        host_url = self.url if self.faults.draw("result") is None else self.foreign.url
        return f"{host_url}{path}?{signed}&sig={quote(signature, safe='')}"

    def _sign(self, path: str, query: Mapping[str, str]) -> str:
        text = "\n".join([path, *(query.get(name, "") for name in _SIGNED)])
        digest = hmac.digest(self._signing_key, text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.b64encode(digest).decode()

    def _url_fault(self, path: str, query: Mapping[str, str]) -> str | None:
        """Why a result's URL is not good, if it is not."""
        signature = self._sign(path, query)
        if not hmac.compare_digest(signature.encode(), query.get("sig", "").encode("utf-8", "surrogatepass")):
            return "Signature did not match."
        date = self._date(self._now())
        # A right signature vouches for the form of the date.
        if date >= datetime.strptime(query["se"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp():
            return f"Signature not valid in the specified time frame: Expiry [{query['se']}]"
        return None

    async def _answer_download(self, request: web.Request) -> web.StreamResponse:
        if "x-key" in request.headers:
            self._counts.downloads_with_key += 1
        if (reason := self._url_fault(request.path, request.query)) is not None:
            return answers.blob_refused(reason)
        task = self._tasks.get(request.match_info["id"])
        if task is None:
            return answers.blob_error(404, "BlobNotFound", "The specified blob does not exist.")
        blob = await self._blob(task, request.match_info["file"])
        if blob.status != 200:
            return blob
        fault = self.faults.draw("image")
        if fault is not None:
            return answers.image_fault(fault, blob, self._scene(request.path_qs))
        self._counts.downloads += 1
        return blob

    async def _foreign_blob(self, task_id: str, file: str) -> web.Response | None:
        task = self._tasks.get(task_id)
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
        modified = datetime.fromtimestamp(self._date(task.computed_at), UTC)
        headers = {
            "Cache-Control": "max-age=1200",
            "Content-Md5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "Etag": f'"0x{task.id[:8].upper()}"',
            "Last-Modified": f"{modified:%a, %d %b %Y %H:%M:%S GMT}",
            "X-Ms-Blob-Type": "BlockBlob",
            "X-Ms-Version": "2024-11-04",
        }
        return web.Response(body=content, content_type=media_type, headers=headers)

    async def _answer_credits(self, request: web.Request) -> web.Response:
        key = request.headers.get("x-key")
        if key != self.key or self.revoked:
            return self._reply(403, {"detail": _auth_error(key)})
        return self._reply(200, {"credits": self.credits})

    async def _answer_utility(self, request: web.Request) -> web.Response:
        key = request.headers.get("x-key")
        if key != self.key or self.revoked:
            return self._reply(403, {"detail": _auth_error(key)})
        resource = request.match_info.route.resource
        status, body = self.utilities.answer(
            "" if resource is None else resource.canonical,
            request.query,
            request.match_info.get("slug", ""),
            await request.read(),
            request.content_type if "Content-Type" in request.headers else None,
            self._date(self._now()),
        )
        return self._reply(status, body)

    async def _answer_unknown(self, request: web.Request) -> web.Response:
        del request  # every unknown path gets the same answer
        return self._reply(404, {"detail": "Not Found"})


def _auth_error(key: str | None) -> str:
    # The second was recorded; the first is what third-party clients expect of a missing key.
    return "Not authenticated" if key is None else answers.AUTHENTICATION_REFUSED


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
    """Draw the result and encode it. Takes a while: call it in a thread."""
    is_video = task.output_format == "mp4"
    card = drawing.draw_card(
        task.prompt,
        model=task.model,
        seed=task.seed,
        width=task.width,
        height=task.height,
        output_format="jpeg" if is_video else task.output_format,
    )
    if not is_video:
        return card
    return make_mp4(card, width=task.width, height=task.height, seconds=task.order.seconds)
