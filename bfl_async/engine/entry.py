"""One request from its admission to its settlement; written by the engine alone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bfl_async.errors import BFLError, ConnectError, TaskRecord, TaskTimeoutError
from bfl_async.runtime.tasks import check_loop
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import Answered, Delivery, Ready, Reply, Settlement, Unsent
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


_READINGS = 32  # that a policy sees


class Entry:
    """One request on its way. Written by the scheduler, and by the poller of this entry; read by handles."""

    __slots__ = (
        "__weakref__",
        "abandoned",
        "accepted_at",
        "any_endpoint",
        "attached",
        "attempts",
        "began_at",
        "callbacks",
        "charged",
        "connecting",
        "cost",
        "deadline",
        "delivery",
        "expectation",
        "handle",
        "heard",
        "info",
        "is_bounded",
        "journal",
        "lease",
        "loop",
        "model",
        "outage_s",
        "poll_now",
        "poll_reply",
        "polling_url",
        "polls",
        "problem",
        "progress",
        "queued_at",
        "readers",
        "readings",
        "reported_at",
        "request",
        "request_id",
        "requeue_timer",
        "reserved",
        "result",
        "runner",
        "seen_at",
        "settlement",
        "size",
        "sleeper",
        "state",
        "status",
        "stopped",
        "submit_reply",
        "task_id",
        "watchers",
    )

    def __init__(
        self,
        request: Request | None,
        model: str | None,
        info: ModelInfo,
        deadline: float | None,
        outage_s: float | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.request: Request | None = request  # None for an attached task
        self.model: str | None = model
        self.info: ModelInfo = info
        # The caller's, on the loop's clock: nothing is sent after it.
        self.deadline: float | None = deadline
        # Without a deadline: seconds for which it is tried without a connection; None: `Timeouts.connect`.
        self.outage_s: float | None = outage_s
        # What is left of them, since a first attempt found no connection.
        self.connecting: TimeBudget | None = None
        self.lease: Lease
        self.journal: Journal | None = None  # of a durable batch: told before the POST and after its receipt
        self.state: State = State.QUEUED
        self.attached: bool = request is None
        # Whether `Limits.queue` holds for it.
        self.is_bounded: bool = True
        self.any_endpoint: bool = False  # a POST that may make no task
        self.attempts: int = 0
        self.requeue_timer: asyncio.TimerHandle | None = None
        self.problem: BFLError | None = None  # the last refusal or failed poll
        # From the receipt and the polls:
        self.task_id: str | None = None
        self.polling_url: str | None = None
        self.cost: float | None = None
        self.charged: float = 0.0  # what of the cost is in the statistics
        self.reserved: float = 0.0  # what of the budget it takes, in credits
        self.accepted_at: float = 0.0
        self.began_at: float = 0.0  # when the server had the submit: what polls and timings count from
        self.seen_at: float = 0.0  # what the newest answer says was so then
        self.size: int | None = None  # class of the image's size, see `size_of`
        self.polls: int = 0
        # The next poll is not to wait: a delivery said Ready and brought no result. Read and reset by the poller.
        self.poll_now: bool = False
        self.readings: list[Reading] = []  # of polls that found the task in flight
        self.status: TaskStatus | str | None = None
        self.progress: float | None = None
        # The newest of each, for who looks into what went on:
        self.submit_reply: Reply | None = None
        self.poll_reply: Reply | None = None
        # With a webhook:
        self.expectation: Expectation | None = None
        self.delivery: Delivery | None = None  # one that came before the submit's own answer
        self.runner: asyncio.Task[None] | None = None  # the coroutine that works on it
        # The end, assigned once by the scheduler:
        self.settlement: Settlement | None = None
        self.result: Result | None = None
        # Those who wait:
        self.abandoned: bool = False  # its only caller has left: nothing more is sent for it
        self.stopped: bool = False  # the same, and its caller still waits
        self.heard: bool = False  # somebody was given the settlement
        self.callbacks: dict[Callable[[Entry], None], None] = {}  # called once, at the settlement
        self.watchers: set[asyncio.Future[None]] = set()  # woken by any change
        self.readers: int = 0  # of updates(), waiting now
        self.sleeper: asyncio.Future[bool] | None = None  # the poller's sleep: True when its time is over
        self.handle: weakref.ref[object] | None = None
        # With an observer, written by the reporter:
        self.request_id: int = 0  # ties its events together
        self.queued_at: float = 0.0  # when it was admitted or attached
        self.reported_at: float = 0.0  # when its last step was told

    def check_loop(self) -> None:
        """Check that this is the client's event loop: a wait in another one would never be woken.

        A settled request changes no more, so it may be looked at anywhere.

        Raises:
            ConfigError: It is not.
        """
        if self.settlement is None:
            check_loop(self.loop, "the handle")

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

    def touch(self) -> None:
        """Wake whoever looks for a change."""
        for watcher in self.watchers:
            _wake(watcher)

    def extend_outage(self, seconds: float) -> None:
        """Let it be tried for so long without a connection, from the next attempt on."""
        self.outage_s = seconds
        self.connecting = None

    def note_reading(self, reading: Reading) -> None:
        """Keep the first readings of a long task's, and the newest."""
        self.readings.append(reading)
        if len(self.readings) > _READINGS:
            del self.readings[_READINGS // 4]

    def nudge_poller(self) -> None:
        """End the poller's sleep early, so that it plans anew."""
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(False)

    def notify_settled(self) -> None:
        """Tell all who wait that `settlement` stands."""
        self.touch()
        callbacks, self.callbacks = self.callbacks, {}
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # a bug in one must not keep the others waiting
                _log.exception("a callback failed by a bug", extra=self.facts())
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

    def timeout_error(self) -> BFLError:
        """Return the error for a caller whose timeout has ended."""
        if self.state is State.QUEUED and isinstance(self.problem, ConnectError):
            return self.problem.fresh()
        where = {
            State.QUEUED: "nothing was sent",
            State.SUBMITTING: "the submit is on its way and is not taken back",
        }.get(self.state, f"task {self.task_id} goes on and can be attached")
        error = TaskTimeoutError(
            f"the timeout ended while the request was {self.state.value}: {where}",
            task_id=self.task_id,
            status=None if self.status is None else hide(str(self.status), HiddenTexts.of(self.request)),
            state=self.state.value,
            polling_url=self.polling_url,
        )
        error.__cause__ = self.problem
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
            _wake(waiter)

        self.callbacks[settled] = None
        timer = None if deadline is None else loop.call_at(deadline, _wake, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if self.settlement is None:
                self.callbacks.pop(settled, None)
        if self.settlement is None:
            raise self.timeout_error()

    async def wait_changed(self, ready: Callable[[], bool], deadline: float | None = None) -> None:
        """Wait until `ready()`, looked at after each change.

        Raises:
            TaskTimeoutError, ConnectError: The deadline came first.
        """
        loop = asyncio.get_running_loop()
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.touch()

        timer = None if deadline is None else loop.call_at(deadline, expire)
        try:
            while not ready():
                if expired:
                    raise self.timeout_error()
                watcher: asyncio.Future[None] = loop.create_future()
                self.watchers.add(watcher)
                try:
                    await watcher
                finally:
                    self.watchers.discard(watcher)
        finally:
            if timer is not None:
                timer.cancel()


def log_ready_unheard(task_id: str | None, facts: Mapping[str, object] | None = None) -> None:
    """Log a paid result that no caller received; see `Entry.facts`."""
    _log.info(
        "task %s is Ready after its caller has left; attach() brings its result",
        task_id,
        extra={"bfl_task_id": task_id} if facts is None else facts,
    )


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
