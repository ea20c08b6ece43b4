"""`TaskHandle`, and the entry behind it: the client's record of one request.

An entry is owned by the client. Callers come and go: they wait on the entry and change nothing about it.
Waiting is done on futures that hold no value: a wake-up lost to a cancelled waiter loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, NoReturn, Protocol

from bfl_async._config import check_timeout
from bfl_async._tasks import check_loop
from bfl_async._time import TimeBudget
from bfl_async._timings import Reading
from bfl_async._wire import HiddenTexts, hide, shown_status
from bfl_async.errors import BFLError, ConfigError, ConnectError, TaskRecord, TaskTimeoutError
from bfl_async.models import ModelInfo
from bfl_async.status import TaskStatus
from bfl_async.types import (
    Answered,
    Delivery,
    Expectation,
    Journal,
    Lease,
    Ready,
    Reply,
    Request,
    Settlement,
    State,
    Unsent,
    Update,
)

if TYPE_CHECKING:
    from bfl_async.result import Result

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
        self.handle: weakref.ref[TaskHandle] | None = None
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


class _Owner(Protocol):
    """What a handle asks of the client."""

    def withdraw(self, entry: Entry) -> bool: ...

    def position(self, entry: Entry) -> int | None: ...


class HandleFacts:
    """What a handle knows of its request, at this moment."""

    __slots__ = ("_entry",)

    _entry: Entry

    @property
    def task_id(self) -> str | None:
        """The server's id; None until the server has accepted the request."""
        return self._entry.task_id

    @property
    def polling_url(self) -> str | None:
        """The polling URL as received; None before, and where the server gave none."""
        return self._entry.polling_url

    @property
    def model(self) -> str | None:
        """The model's name; None for an attached task whose model was not given."""
        return self._entry.model

    @property
    def cost(self) -> float | None:
        """Credits, as far as the server has stated them."""
        return self._entry.cost

    @property
    def state(self) -> State:
        """Our own lifecycle: queued, submitting, submitted, settled."""
        return self._entry.state

    @property
    def status(self) -> TaskStatus | str | None:
        """The server's last word; None before the first poll."""
        return self._entry.status

    @property
    def progress(self) -> float | None:
        """The share done, 0 to 1; None where the model reports none."""
        return self._entry.progress

    @property
    def submit_reply(self) -> Reply | None:
        """The newest reply to the submit, a refusal included; None where none came, and for an attached task."""
        return self._entry.submit_reply

    @property
    def poll_reply(self) -> Reply | None:
        """The newest reply to a poll, whatever it is; None before the first."""
        return self._entry.poll_reply

    def done(self) -> bool:
        """True once there is a result or an error."""
        return self._entry.settlement is not None

    def to_dict(self) -> TaskRecord:
        """Return what another process needs: exactly the parameters of `AsyncBFL.attach`.

        Raises:
            ConfigError: The server has not accepted the request yet.
        """
        record = self._entry.record()
        if record is None:
            raise ConfigError("the request has no task yet: wait for handle.accepted() first")
        return record

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a handle belongs to its client and cannot be pickled or copied: pass handle.to_dict() on, and attach(**it)"
        )

    def __repr__(self) -> str:
        entry: Entry | None = getattr(self, "_entry", None)
        if entry is None:
            return "<TaskHandle>"
        status = None if entry.status is None else shown_status(entry.status)
        return f"<TaskHandle {entry.model} {entry.state.value} task_id={entry.task_id!r} status={status}>"


class TaskHandle(HandleFacts):
    """One request, followed by the client. Awaitable many times, from many coroutines.

    Awaiting it is waiting only: cancelling a waiter stops neither the task nor its cost, and frees no slot.
    Each waiter is raised an exception of its own. A failure that nobody awaits is logged once.
    """

    __slots__ = ("__weakref__", "_owner")

    def __init__(self, entry: Entry, owner: _Owner) -> None:
        self._entry = entry
        self._owner = owner
        entry.handle = weakref.ref(self)

    @property
    def queue_position(self) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._owner.position(self._entry)

    def __await__(self) -> Generator[object, None, Result]:
        return self.result().__await__()

    async def result(self, *, timeout: float | None = None) -> Result:
        """Wait for the result.

        Args:
            timeout: Seconds for this wait; None: not bounded by the caller.
        Raises:
            ConfigError: Called from another event loop or thread than the client's.
            TaskTimeoutError: The timeout ended; the task goes on.
            TaskModeratedError, TaskFailedError, TaskNotFoundError: How the task ended.
            RefusedError: The server refused the request: no task exists.
            AmbiguousSubmitError: The answer to the submit was lost: a task may exist.
            ConnectError: No connection could be made.
            ClientClosedError: The client was closed first.
        Cancellation: Ends this wait and nothing else.
        """
        self._entry.check_loop()
        await self._entry.wait_settled(_deadline(timeout))
        return self._entry.value()

    async def accepted(self) -> str:
        """Wait until the server has accepted the request; return the task id.

        Raises:
            RefusedError, AmbiguousSubmitError, ConnectError, ClientClosedError: As `result()`.
        Cancellation: Ends this wait and nothing else.
        """
        entry = self._entry
        entry.check_loop()
        await entry.wait_changed(lambda: entry.task_id is not None or entry.settlement is not None)
        if entry.task_id is None:
            entry.value()
            raise AssertionError("a request without a task has no result")  # pragma: no cover
        return entry.task_id

    def updates(self) -> Updates:
        """Return an async iterator over the changes, from the present state to the terminal one.

        A slow reader gets the newest state, not each one between. While it is read, polls are at most 1 s
        apart. It ends after the terminal update; the result is then there at once.
        """
        return Updates(self._entry)

    def withdraw(self) -> bool:
        """Take the request back if nothing was sent; True if so.

        A submitted task cannot be stopped: the API has no cancel. Who awaits a withdrawn handle is raised
        a `TaskError`.
        """
        self._entry.check_loop()
        return self._owner.withdraw(self._entry)

    def __del__(self) -> None:
        # A copy of the handle may have been made since; only the last one reports.
        if getattr(self, "_entry", None) is None:
            return
        if self._entry.handle is not None and self._entry.handle() in (None, self):
            self._entry.log_unheard()


class Updates:
    """Async iterator over the changes of one request; see `TaskHandle.updates`."""

    __slots__ = ("_ended", "_entry", "_last")

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._last: Update | None = None
        self._ended = False

    def __aiter__(self) -> Updates:
        return self

    async def __anext__(self) -> Update:
        """Wait for the next change.

        Cancellation: Ends this wait; the next call goes on where it was.
        """
        entry = self._entry
        entry.check_loop()
        if self._ended:
            raise StopAsyncIteration
        entry.readers += 1
        entry.nudge_poller()
        try:
            # Another coroutine that reads the same iterator may be given the terminal update meanwhile.
            await entry.wait_changed(lambda: self._ended or self._present() != self._last)
        finally:
            entry.readers -= 1
        if self._ended:
            raise StopAsyncIteration
        self._last = self._present()
        self._ended = self._last.state is State.SETTLED
        return self._last

    def _present(self) -> Update:
        entry = self._entry
        return Update(entry.state, entry.status, entry.progress, entry.task_id)


def _deadline(timeout: float | None) -> float | None:
    checked = check_timeout(timeout)
    return None if checked is None else asyncio.get_running_loop().time() + checked
