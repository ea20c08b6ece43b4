"""`TaskHandle`, and the entry behind it: the client's record of one request.

An entry is owned by the client. Callers come and go: they wait on the entry and change nothing about it.
Waiting is done on futures that hold no value: a wake-up lost to a cancelled waiter loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Generator
from typing import TYPE_CHECKING, NoReturn, Protocol

from bfl_async._config import check_timeout
from bfl_async.engine.entry import Entry
from bfl_async.errors import ConfigError, TaskRecord
from bfl_async.status import TaskStatus
from bfl_async.types.lifecycle import State, Update
from bfl_async.types.replies import Reply
from bfl_async.wire.replies import shown_status

if TYPE_CHECKING:
    from bfl_async.results.result import Result

_log = logging.getLogger("bfl_async")


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
