"""The sandbox: its settings, its life, and what a test reads of it and does to it.

`accounting` owns its tasks and slots, `serving` answers what is asked over HTTP.
"""

import itertools
import ssl
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from bfl_async.sandbox.accounting import Accounting, ServiceTime
from bfl_async.sandbox.clock import Clock
from bfl_async.sandbox.described import DescribedAPI
from bfl_async.sandbox.faults import Faults, Setting
from bfl_async.sandbox.foreign import ForeignHost
from bfl_async.sandbox.serving import Serving
from bfl_async.sandbox.signing import Signer
from bfl_async.sandbox.tasks import SandboxStatistics, SandboxTask, progress_of
from bfl_async.sandbox.utilities import Utilities
from bfl_async.sandbox.webhooks import Webhooks, WebhookScheme


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
        key: The one that `x-key` must carry. Another is refused with 403, one that is no key by its form with 422.
            If this one begins with `bfl_`, as BFL's do, that is part of the form.
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
        rewrite_prompts: Whether `prompt` in a result is another than the one that was sent where prompt upsampling is
            on, as it is by default with FLUX.2 [pro], [max] and [flex] and FLUX 3 image; may be set at run time.
        polls_per_s: Polls answered in one second of real time before 429.
        webhook_scheme: What proves a delivery: "secret" (`X-Webhook-Secret`), "signature" (`X-BFL-Signature`) or
            "both". Deliveries go to loopback addresses alone; one that is not taken with a 2xx is sent
            again after 1, 5 and 30 s, divided by `speed`.
        webhook_polling_url: Whether the answer to a submit with a webhook names a `polling_url` too. The schema's
            `AsyncWebhookResponse` leaves it out, and two SDKs expect it; may be set at run time.
        webhook_delay_s: Seconds from a task's end to its delivery, divided by `speed`.
        webhook_late_s: What the dial `webhook-late` adds to that, divided by `speed`.
        retain: Ended tasks that are remembered, the newest first; may be set at run time.
        faults: What the fault dials stand at; see `bfl_async.sandbox.faults.DIALS`.
        foreign: Whether there is a second host, which some faults point at.
        host: The address to listen on, or a name of this machine, such as localhost.
        tls: A server's context with its certificate: all of it is then served by https, the second host too. None: by
            http.
        port: 0: any free one.
        hosts: Names under which it is reached, such as that of a container. Requests for a host that is neither one
            of these, nor `host`, nor localhost, nor an address are refused with 421.
        openapi: BFL's OpenAPI file, or another. The models that it describes are served, and no others; bodies are
            checked against its schemas, and `/openapi.json` answers with it. None: the models that the sandbox knows.
    Raises:
        ValueError: `speed` is not positive, or `openapi` is a file that cannot be used.
    """

    key: str
    limit: int
    pools: dict[str, int]
    credits: float
    speed: float
    retain: int
    service_s: ServiceTime
    result_ttl_s: float | None
    submit_rtt_s: float
    poll_rtt_s: float
    rewrite_prompts: bool
    webhook_polling_url: bool
    webhook_delay_s: float
    webhook_late_s: float
    utilities: Utilities
    revoked: bool = False
    foreign_active: int = 0

    _runner: web.AppRunner | None = None
    _url: str | None = None

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
        rewrite_prompts: bool = True,
        polls_per_s: int = 1200,
        webhook_scheme: WebhookScheme = "secret",
        webhook_polling_url: bool = False,
        webhook_delay_s: float = 0.0,
        webhook_late_s: float = 5.0,
        retain: int = 10_000,
        faults: Mapping[str, Setting] | None = None,
        foreign: bool = True,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        hosts: Collection[str] = (),
        openapi: Path | str | None = None,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.key, self.limit, self.credits, self.speed, self.retain = key, limit, credits, speed, retain
        self.pools = {"flux-kontext-max": 6, "video": 5} if pools is None else dict(pools)
        self.service_s, self.result_ttl_s, self.utilities = service_s, result_ttl_s, Utilities()
        self.submit_rtt_s, self.poll_rtt_s = submit_rtt_s, poll_rtt_s
        self.rewrite_prompts, self.webhook_polling_url = rewrite_prompts, webhook_polling_url
        self.webhook_delay_s, self.webhook_late_s = webhook_delay_s, webhook_late_s
        self.described: DescribedAPI | None = None if openapi is None else DescribedAPI(openapi)
        self.faults: Faults = Faults(faults or {}, seed=seed, foreign=foreign)
        self._host, self._port, self._hosts, self._tls = host, port, tuple(hosts), tls
        self._webhooks = Webhooks(self.faults, scheme=webhook_scheme)
        self._clock = Clock()
        self._accounts = Accounting(self, self._clock, seed=seed, deliver=self._deliver)
        self._serving = Serving(
            self,
            self._accounts,
            self._clock,
            Signer(seed, key),
            polls_per_s=polls_per_s,
            second_host=(host, tls) if foreign else None,
        )

    # ---- life

    async def start(self) -> None:
        """Bind the socket and listen.

        Raises:
            RuntimeError: It was started before.
            OSError: The port is taken.
        Cancellation: Nothing stays open.
        """
        if self._clock.runs:
            raise RuntimeError("a sandbox starts once")
        self._clock.start()
        names = frozenset(name.lower() for name in (self._host, *self._hosts))
        foreign = self._serving.foreign
        app = self._serving.application(names)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            site = web.TCPSite(runner, self._host, self._port, backlog=4096, ssl_context=self._tls)
            await site.start()
            if foreign is not None:
                await foreign.start()
        except BaseException:
            await runner.cleanup()
            if foreign is not None:
                await foreign.aclose()
            raise
        self._runner = runner
        port = runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    async def aclose(self) -> None:
        """Stop listening and close all connections. Idempotent; what was counted stays readable.

        Cancellation: Connections may stay open; call it again.
        """
        self._accounts.close()
        self._serving.close()
        await self._webhooks.aclose()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        foreign = self._serving.foreign
        if foreign is not None:
            await foreign.aclose()

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
        if not hasattr(self, "_serving"):
            # Its constructor failed.
            return "<Sandbox>"
        accepted, active = self._accounts.counts.accepted, self._accounts.active
        return f"<Sandbox {self._url or 'not started'} accepted={accepted} active={active}>"

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
        foreign = self._serving.foreign
        if foreign is None:
            raise RuntimeError("the sandbox was made without a foreign host: leave foreign=False out")
        return foreign

    @property
    def tasks(self) -> dict[str, SandboxTask]:
        """The remembered tasks by id, in the order of acceptance, as they stand now."""
        self._accounts.end_due()
        return self._accounts.tasks

    def statistics(self) -> SandboxStatistics:
        """The counts as they stand now."""
        self._accounts.end_due()
        counts = self._accounts.counts
        return SandboxStatistics(
            accepted=counts.accepted,
            active=self._accounts.active,
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
        self._accounts.settle(task_id, status, reasons, detail)

    def newest(self, count: int) -> list[SandboxTask]:
        """The newest remembered tasks as they stand now, the newest first."""
        return list(itertools.islice(reversed(self.tasks.values()), count))

    def progress(self, task: SandboxTask) -> float | None:
        """What a poll is told of a task's progress now; None where the model reports none."""
        return None if task.ended else progress_of(task, self._clock.now())

    def age_s(self, task: SandboxTask) -> float:
        """Seconds since its acceptance, up to its end."""
        return min(self._clock.now(), task.ready_at) - task.accepted_at

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
        if self._accounts.counts.accepted >= n:
            return
        if self._runner is None:
            raise RuntimeError("the sandbox is not running")
        await self._accounts.wait_accepted(n)

    def _deliver(self, task: SandboxTask) -> None:
        """Send an ended task's webhook."""
        if task.webhook is not None:
            delay_s, late_s = self.webhook_delay_s / self.speed, self.webhook_late_s / self.speed
            self._webhooks.send(
                task.webhook,
                lambda: self._serving.delivery_of(task),
                delay_s=delay_s,
                late_s=late_s,
                speed=self.speed,
            )
