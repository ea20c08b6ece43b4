"""One request from its admission to its settlement; written by the engine alone."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bfl_async.errors import BFLError, ConnectError, TaskFailedError, TaskRecord, TaskTimeoutError
from bfl_async.runtime.bell import Bell, wake
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.runtime.tasks import check_loop
from bfl_async.types.held import is_own_id
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import Answered, Delivery, Failed, Moderated, Ready, Reply, Settlement, Unsent
from bfl_async.wire.redaction import HiddenTexts, hide

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Mapping

    from bfl_async.models import ModelInfo
    from bfl_async.polling.readings import Reading
    from bfl_async.protocols.ledger import Journal
    from bfl_async.protocols.limiter import Lease
    from bfl_async.protocols.transport import Request
    from bfl_async.protocols.webhook import Expectation
    from bfl_async.results.result import Result
    from bfl_async.runtime.time import TimeBudget
    from bfl_async.status import TaskStatus

_log = logging.getLogger("bfl_async")


# Maximum number of readings that a policy sees of one task.
_READINGS = 32


@dataclass(eq=False, repr=False, match_args=False, slots=True, weakref_slot=True)
class Entry:
    """One request on its way. Written by the engine alone; read by handles, streams and batches."""

    # What was asked for. `request` is None for an attached task.
    request: Request | None
    model: str | None
    info: ModelInfo
    # The caller's, on the loop's clock: nothing is sent after it.
    deadline: float | None = None
    # Without a deadline: seconds for which it is tried without a connection; None: `Timeouts.connect`.
    outage_s: float | None = None
    # Whether `Limits.queue` holds for it.
    is_bounded: bool = True
    # The POST may make no task.
    any_endpoint: bool = False
    # Of a durable batch: awaited before the POST and after its receipt.
    journal: Journal | None = None
    attached: bool = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False, default_factory=asyncio.get_running_loop)

    # The way to the server. Written by the scheduler's steps.
    state: State = State.QUEUED
    lease: Lease = field(init=False)
    attempts: int = 0
    # What is left for connecting, since a first attempt found no connection.
    connecting: TimeBudget | None = None
    requeue_timer: asyncio.TimerHandle | None = None
    # The coroutine that works on it.
    runner: asyncio.Task[None] | None = None
    # The last refusal or failed poll.
    problem: BFLError | None = None
    # Its only caller has left: nothing more is sent for it.
    abandoned: bool = False
    # Nothing more is sent for it, and its caller still waits.
    stopped: bool = False

    # The task, from the receipt and the polls. Times are the loop's.
    task_id: str | None = None
    polling_url: str | None = None
    accepted_at: float = 0.0
    # When the server had the submit: what polls and timings count from.
    began_at: float = 0.0
    # What the newest answer says was so then.
    seen_at: float = 0.0
    status: TaskStatus | str | None = None
    progress: float | None = None
    # Class of the image's size, see `size_of`.
    size: int | None = None
    polls: int = 0
    # How many of the newest polls brought no answer, one after the other. Written by the poller.
    failed_polls: int = 0
    # The next poll is not to wait. Read and reset by the poller.
    poll_now: bool = False
    # The poller's sleep: True when its time is over.
    sleeper: asyncio.Future[bool] | None = None
    # Of polls that found the task in flight.
    readings: list[Reading] = field(default_factory=list)
    # The newest reply of each kind, for who looks into what went on.
    submit_reply: Reply | None = None
    poll_reply: Reply | None = None
    # With a webhook: what is expected, and a delivery that came before the submit's own answer.
    expectation: Expectation | None = None
    delivery: Delivery | None = None

    # Money, in credits: what the server says it costs, what of that is in the statistics, what of the budget it takes.
    cost: float | None = None
    # What the newest answer about the task states, and not its receipt. Written by the poller.
    settled_cost: float | None = None
    charged: float = 0.0
    reserved: float = 0.0

    # The end, assigned once.
    settlement: Settlement | None = None
    result: Result | None = None

    # Those who wait. `changed` is rung at every change; the callbacks are called once, at the settlement.
    changed: Bell = field(default_factory=Bell)
    callbacks: OrderedSet[Callable[[Entry], None]] = field(default_factory=OrderedSet)
    # How many wait in updates() now.
    readers: int = 0
    # A caller was given the settlement, or has given up on it: no warning is logged.
    heard: bool = False
    handle: weakref.ref[object] | None = None

    # With an observer, written by the reporter: what ties its events together; when it was admitted or attached; the
    # moment of its last event.
    request_id: int = 0
    queued_at: float = 0.0
    reported_at: float = 0.0

    def __post_init__(self) -> None:
        self.attached = self.request is None

    @property
    def is_late(self) -> bool:
        """True once the caller's time is up, so that nothing may be sent for it any more."""
        return self.deadline is not None and self.loop.time() >= self.deadline

    def check_loop(self) -> None:
        """Check that this is the client's event loop: a wait in another one would never be woken.

        A settled request changes no more, so it may be looked at anywhere.

        Raises:
            ConfigError: It is not.
        """
        if self.settlement is None:
            check_loop(self.loop, "the handle")

    @property
    def is_free(self) -> bool:
        """True for a task that was moderated or failed, unless the server states a cost with its end.

        The receipt's cost is that of a result. Source: BFL help centre, "Why did my request fail?", 12 June 2026, for
        moderated ones; for failed ones, a reseller's capture of August 2026. A task that is not found may be paid.
        """
        settlement = self.settlement
        if isinstance(settlement, Failed) and not isinstance(settlement.error, TaskFailedError):
            return False
        return isinstance(settlement, Moderated | Failed) and self.settled_cost is None

    @property
    def paid(self) -> float | None:
        """What a ledger says that its task cost, in credits; None where that is not known."""
        return 0.0 if self.is_free else self.cost

    def record(self) -> TaskRecord | None:
        """What `attach` takes; None before the server has accepted the request."""
        if self.task_id is None:
            return None
        return {
            "task_id": self.task_id, "polling_url": self.polling_url, "model": self.model, "cost": self.cost
        }  # fmt: skip

    def facts(self) -> dict[str, object]:
        """Return the fields of a log record that concerns this request."""
        return {
            "bfl_request_id": self.request_id or None,
            "bfl_task_id": self.task_id,
            "bfl_model": self.model,
            "bfl_state": self.state.value,
        }

    def extend_outage(self, seconds: float) -> None:
        """Let it be tried for so long without a connection, from the next attempt on."""
        self.outage_s = seconds
        self.connecting = None

    def note_reading(self, reading: Reading) -> None:
        """Keep the first readings of a long task's, and the newest."""
        # Behind the first quarter, which stays, the oldest goes.
        self.readings.append(reading)
        if len(self.readings) > _READINGS:
            del self.readings[_READINGS // 4]

    def nudge_poller(self) -> None:
        """End the poller's sleep early, so that it plans anew."""
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(False)

    def poll_soon(self) -> None:
        """Let the next poll leave at once."""
        self.poll_now = True
        self.nudge_poller()

    def notify_settled(self) -> None:
        """Notify all waiters that `settlement` is set."""
        self.changed.ring()
        # Taken out first: a callback may add or remove others, and each is called once at most.
        callbacks, self.callbacks = self.callbacks, OrderedSet()
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                # A bug in one must not keep the others waiting.
                _log.exception("a callback failed by a bug", extra=self.facts())
        # A handle that still exists logs it itself, should it be dropped without having been awaited.
        if not self.heard and self.handle is not None and self.handle() is None:
            self.log_unheard()

    def log_unheard(self) -> None:
        """Log an end that no caller was given, once: a failure, or a result that is paid."""
        settlement = self.settlement
        if self.heard or settlement is None or isinstance(settlement, Answered):
            return
        self.heard = True
        if isinstance(settlement, Ready):
            self.log_ready_unheard()
            return
        if not (isinstance(settlement, Unsent) and settlement.withdrawn):
            error = settlement.error
            _log.warning(
                "a request failed and nobody awaited it: %s",
                error,
                extra={**self.facts(), "bfl_error": type(error).__name__},
            )

    def log_ready_unheard(self) -> None:
        """Log a paid result that no caller received."""
        log_ready_unheard(self.task_id, self.facts())

    def value(self) -> Result:
        """Return the result of a settled entry, or raise an error of one's own."""
        error = self.error()
        if error is not None:
            raise error
        assert self.result is not None
        return self.result

    def error(self) -> BFLError | None:
        """Return a settled entry's error, one of the caller's own; None when there is what was asked for."""
        self.heard = True
        settlement = self.settlement
        assert settlement is not None
        return None if isinstance(settlement, Ready | Answered) else settlement.error.fresh()

    def last_failure(self) -> str:
        """Return the end of a timeout's message: why there was no answer for long; empty where that is not so."""
        if self.problem is None:
            return ""
        if self.state is State.QUEUED:
            return f"; the last attempt: {self.problem}"
        if self.state is not State.SUBMITTED or not self.failed_polls:
            return ""
        which = "the last" if self.failed_polls < self.polls else "all"
        polls = f"{which} {self.failed_polls} polls" if self.failed_polls > 1 else "the last poll"
        return f"; {polls} failed: {self.problem}"

    def timeout_error(self) -> BFLError:
        """Return the error for a caller whose timeout has ended."""
        if self.state is State.QUEUED and isinstance(self.problem, ConnectError):
            return self.problem.fresh()
        where = {
            State.QUEUED: "nothing was sent",
            State.SUBMITTING: "the submit is on its way and is not taken back",
        }.get(self.state, f"task {self.task_id} goes on and can be attached")
        error = TaskTimeoutError(
            f"the timeout ended while the request was {self.state.value}: {where}{self.last_failure()}",
            task_id=self.task_id,
            status=None if self.status is None else hide(str(self.status), HiddenTexts.of(self.request)),
            state=self.state.value,
            polling_url=self.polling_url,
        )
        error.__cause__ = self.problem
        error.request_id = None if self.problem is None else self.problem.request_id
        return error

    async def wait_settled(self, deadline: float | None) -> None:
        """Wait for the settlement.

        Raises:
            TaskTimeoutError, ConnectError: The deadline came first.
        """
        if self.settlement is not None:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def settled(_: Entry) -> None:
            wake(waiter)

        self.callbacks.add(settled)
        timer = None if deadline is None else loop.call_at(deadline, wake, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if self.settlement is None:
                self.callbacks.discard(settled)
        if self.settlement is None:
            raise self.timeout_error()

    async def wait_changed(self, ready: Callable[[], bool], deadline: float | None = None) -> None:
        """Wait until `ready()`, looked at after each change.

        Raises:
            TaskTimeoutError, ConnectError: The deadline came first.
        """
        if not await self.changed.wait_until(ready, deadline):
            raise self.timeout_error()


def log_ready_unheard(task_id: str | None, facts: Mapping[str, object] | None = None) -> None:
    """Log a paid result that no caller received; see `Entry.facts`."""
    if task_id is not None and is_own_id(task_id):
        _log.warning(
            "the image of %s came with the answer after its caller has left: no server keeps it",
            task_id,
            extra={"bfl_task_id": task_id} if facts is None else facts,
        )
        return
    _log.info(
        "task %s is Ready after its caller has left; attach() brings its result",
        task_id,
        extra={"bfl_task_id": task_id} if facts is None else facts,
    )
