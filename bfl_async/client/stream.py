"""`OutcomeStream`: many requests through one window, one outcome each.

Two objects, so that losing the stream can be noticed: the public one that the caller holds, and the state that
the pump (a coroutine of the client) and the entries' callbacks share. The pump reads the source lazily: never
more than `window` requests are read and not yet handed out, so a consumer that stops, stops the submits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self, TypeAlias, cast

from bfl_async import results
from bfl_async.client.handle import TaskHandle
from bfl_async.engine.entry import Entry, log_ready_unheard
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import BFLError, ClientClosedError, ConfigError, TaskError
from bfl_async.models import ImageRequest
from bfl_async.models.main_input import sendable_request
from bfl_async.results.outcome import Outcome
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.runtime.tasks import check_loop
from bfl_async.types.lifecycle import State

Source: TypeAlias = "Iterable[ImageRequest] | AsyncIterable[ImageRequest]"

_SOURCE_CLOSE_S = 1.0
_CANCELS = 5
_AT_A_TIME = 8  # requests of a source that need not be waited for


def _cut_off() -> ClientClosedError:
    return ClientClosedError("the client was closed before the stream had read its source")


class _Item:
    """One request of the source until its outcome stands."""

    __slots__ = ("entry", "index", "request", "timer")

    def __init__(self, index: int, request: object) -> None:
        self.index = index
        self.request = request
        self.entry: Entry | None = None
        self.timer: asyncio.TimerHandle | None = None


class _Core:
    """What pump, callbacks and consumers share; changed in synchronous steps on the loop."""

    def __init__(
        self,
        scheduler: Scheduler,
        source: object,
        *,
        ordered: bool,
        priority: int,
        window: int,
        timeout: float | None,
    ) -> None:
        self._scheduler = scheduler
        self._source = source
        self._ordered = ordered
        self._priority = priority
        self._window = window
        self._timeout = timeout
        self._read = 0
        self._handed_out = 0
        self._next_index = 0  # of ordered streams: the outcome that comes next
        self._early: dict[int, Outcome] = {}  # of ordered streams: outcomes that must wait for earlier ones
        self._ready: deque[Outcome] = deque()
        self._items: OrderedSet[_Item] = OrderedSet()  # read, without an outcome
        self._consumers: set[asyncio.Future[None]] = set()
        self._room: asyncio.Future[None] | None = None  # the pump's wait for the consumer
        self._pump: asyncio.Task[None] | None = None
        self._exhausted = False  # nothing more will be read
        self._error: BaseException | None = None  # raised after the outcomes of what was read
        self._stopped = False  # nothing more is sent; outcomes are still handed out
        self._left = False
        # How many requests there are; None: the source does not tell. A length that has to be computed, such as that of
        # a database query, is not looked at.
        self.total: int | None = len(source) if isinstance(source, list | tuple) else None
        self._done = self._failed = 0
        self._time = asyncio.get_running_loop().time
        # Of this clock: when the reading began, and the last outcome or the end.
        self._began: float | None = None
        self._changed_at = 0.0
        # Drawn in a notebook. Written when the stream is shown.
        self.live_bar: results.LiveBar | None = None

    # --- the pump ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read, once."""
        if self._pump is not None or self._left or self._stopped:
            return
        if self._scheduler.closing:
            self._exhausted = True
            self._error = self._error or _cut_off()
            return
        self._began = self._time()
        self._pump = self._scheduler.spawn(self._run())
        self._pump.add_done_callback(self._pump_ended)
        self._changed()

    async def _run(self) -> None:
        try:
            await self._read_source()
        except Exception as exc:  # the source's own error: raised to the consumer
            self._error = exc

    def _pump_ended(self, pump: asyncio.Task[None]) -> None:
        # A callback, since a coroutine that is cancelled before its first step never runs.
        self._exhausted = True
        if pump.cancelled() and not (self._left or self._stopped):
            if self._scheduler.closing:
                self._error = _cut_off()
            else:
                self._error = RuntimeError("the stream's source was cancelled")
        self._changed()
        self._wake_consumers()

    async def _read_source(self) -> None:
        if isinstance(self._source, AsyncIterable):
            incoming = cast("AsyncIterator[object]", aiter(self._source))
            try:
                await self._wait_room()
                async for request in incoming:
                    if self._is_over():
                        return
                    self._take(request)
                    await self._wait_room()
            finally:
                await _aclose(incoming)
        else:
            waiting = iter(cast("Iterable[object]", self._source))
            await self._wait_room()
            for request in waiting:
                if self._is_over():
                    return
                self._take(request)
                if self._read % _AT_A_TIME == 0:
                    await asyncio.sleep(0)  # what was granted is to leave before all of a wide window is read
                await self._wait_room()

    def _is_over(self) -> bool:
        """Return whether nothing more may be taken: looked at for each item, however the source is read.

        The source itself may have stopped the stream, or swallowed the cancellation that told it to end.
        """
        if self._left or self._stopped:
            return True
        if self._scheduler.closing:
            self._error = _cut_off()
            return True
        return False

    async def _wait_room(self) -> None:
        if self._room_left() > 0:
            return
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room  # there is only more room by the time that this goes on
        finally:
            self._room = None

    def _room_left(self) -> int:
        return self._window - (self._read - self._handed_out)

    def _take(self, request: object) -> None:
        item = _Item(self._read, request)
        self._read += 1
        self._items.add(item)
        loop = asyncio.get_running_loop()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        try:
            entry = self._scheduler.admit(
                sendable_request(request), priority=self._priority, deadline=deadline, bounded=False
            )
        except BFLError as exc:
            self._finish(item, Outcome(item.index, request, None, None, exc.fresh()))
            return
        except Exception as exc:  # a bug in a request class, or in a limiter from outside
            broken = TaskError(
                f"a bug ended this request ({type(exc).__name__}) before it was sent: nothing is paid"
            )
            broken.__cause__ = exc
            self._finish(item, Outcome(item.index, request, None, None, broken))
            return
        item.entry = entry
        if entry.settlement is not None:
            self._settled(item)
            return
        entry.callbacks.add(lambda _: self._settled(item))
        if deadline is not None:
            item.timer = loop.call_at(deadline, self._timed_out, item)

    # --- outcomes ---------------------------------------------------------------------------------------

    def _settled(self, item: _Item) -> None:
        entry = item.entry
        assert entry is not None
        if item in self._items:
            error = entry.error()
            self._finish(item, Outcome(item.index, item.request, entry.task_id, entry.result, error))

    def _timed_out(self, item: _Item) -> None:
        entry = item.entry
        assert entry is not None
        error = entry.timeout_error()
        self._finish(item, Outcome(item.index, item.request, entry.task_id, None, error))
        self._scheduler.leave(entry)

    def _finish(self, item: _Item, outcome: Outcome) -> None:
        self._items.remove(item)
        if item.timer is not None:
            item.timer.cancel()
        # What was withdrawn is not done.
        if not (self._left or (self._stopped and outcome.task_id is None)):
            self._done += 1
            self._failed += outcome.error is not None
        self._changed()
        if self._ordered:
            self._early[outcome.index] = outcome
            while (following := self._early.pop(self._next_index, None)) is not None:
                self._next_index += 1
                self._ready.append(following)
        else:
            self._ready.append(outcome)
        if self._consumers:
            # A turn of the loop later: the slot that was freed is used before a consumer may leave the stream.
            asyncio.get_running_loop().call_soon(self._wake_consumers)

    def _wake_consumers(self) -> None:
        # All of them: a woken one that was cancelled meanwhile must not be the only one that knew.
        for consumer in self._consumers:
            if not consumer.done():
                consumer.set_result(None)

    def _has_ended(self) -> bool:
        return self._left or (self._exhausted and not self._items)

    async def next(self) -> Outcome:
        """Return the next outcome."""
        while True:
            if self._ready:
                self._handed_out += 1
                room = self._room
                if room is not None and not room.done():
                    room.set_result(None)
                return self._ready.popleft()
            if self._has_ended():
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            consumer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._consumers.add(consumer)
            try:
                await consumer
            finally:
                self._consumers.discard(consumer)

    # --- the end ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Read and send nothing more; what is queued is withdrawn, which is its outcome."""
        if self._stopped or self._left:
            return
        self._stopped = True
        if self._pump is None:
            self._exhausted = True
        else:
            self._pump.cancel()
        for item in list(self._items):
            if item.entry is not None:
                self._scheduler.stop(item.entry)
        self._changed()
        self._wake_consumers()

    def leave(self) -> None:
        """Withdraw what is queued; what was sent is drained by the client."""
        if self._left:
            return
        self._left = True
        for outcome in (*self._ready, *self._early.values()):
            if outcome.result is not None:
                log_ready_unheard(outcome.task_id)
        self._ready.clear()
        self._early.clear()
        if self._pump is not None:
            self._pump.cancel()
        for item in list(self._items):
            if item.timer is not None:
                item.timer.cancel()
            if item.entry is not None:
                self._scheduler.leave(item.entry)
        self._changed()
        self._wake_consumers()

    async def wait_pump_ended(self) -> None:
        """Wait until nothing reads the source any more. A source may swallow a cancellation: it is said again."""
        pump = self._pump
        for _ in range(_CANCELS):
            if pump is None or pump.done() or pump is asyncio.current_task():
                return
            await asyncio.wait([pump], timeout=_SOURCE_CLOSE_S)
            pump.cancel()

    # --- what others see --------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._changed_at = self._time()
        if self.live_bar is not None:
            self.live_bar.changed(is_last=self._has_ended())

    def progress(self) -> results.Progress:
        """Return how far the stream is."""
        is_over = self._has_ended()
        until = self._changed_at if is_over else self._time()
        return results.Progress(
            self._read if self.total is None and (is_over or self._exhausted) else self.total,
            done=self._done,
            failed=self._failed,
            in_flight=len(self.in_flight()),
            is_working=bool(self._items),
            is_over=is_over,
            seconds=None if self._began is None else until - self._began,
        )

    def waiting(self) -> tuple[Outcome, ...]:
        """Outcomes that were not handed out."""
        return (*self._ready, *self._early.values())

    def in_flight(self) -> list[Entry]:
        """The entries that were sent and are not settled."""
        return [
            item.entry
            for item in self._items
            if item.entry is not None and item.entry.state in (State.SUBMITTING, State.SUBMITTED)
        ]


async def _aclose(source: AsyncIterator[object]) -> None:
    """Close an async generator: left open, the loop would finish it at a time of its own choice."""
    close = getattr(source, "aclose", None)
    if close is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SOURCE_CLOSE_S):
                await close()


class OutcomeStream:
    """Exactly one `Outcome` for each request of a source; an async iterator and an async context manager.

    A failing item never ends the stream. Leaving the `async with`, `aclose()` or losing the last reference
    withdraws what is queued; what was sent is drained by the client, and `in_flight` names it.

    Several coroutines may iterate one stream; each outcome goes to one of them. If the source raises, the
    outcomes of what was read come first, then its error.
    A notebook that displays a stream shows a progress bar.
    """

    def __init__(
        self,
        core: _Core,
        loop: asyncio.AbstractEventLoop,
        make_handle: Callable[[Entry], TaskHandle],
    ) -> None:
        self._core = core
        self._loop = loop
        self._make_handle = make_handle

    def _check_loop(self) -> None:
        # Of a loop that has ended nothing can be disturbed.
        if not self._loop.is_closed():
            check_loop(self._loop, "the stream")

    @property
    def in_flight(self) -> tuple[TaskHandle, ...]:
        """Handles of the requests that were sent and have no outcome yet."""
        return tuple(self._make_handle(entry) for entry in self._core.in_flight())

    @property
    def waiting(self) -> tuple[Outcome, ...]:
        """Outcomes that stand and were not handed out: what a consumer that stops would leave behind."""
        return self._core.waiting()

    def _repr_html_(self) -> str:
        """Return a progress bar for a notebook. Uses no network."""
        return results.bar(self._core.progress())

    def _ipython_display_(self) -> None:
        """Show a progress bar in a notebook, redrawn while the stream works."""
        self._check_loop()
        self._live_bar().show()

    def _live_bar(self) -> results.LiveBar:
        core = self._core
        core.live_bar = core.live_bar or results.LiveBar(self._loop, core.progress)
        return core.live_bar

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: it belongs to its client's event loop")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        """Wait for the next outcome.

        Raises:
            ClientClosedError: The client was closed before the source was read to its end.
        Cancellation: Ends this wait; no outcome is lost, the next call returns it.
        """
        self._check_loop()
        self._core.start()
        return await self._core.next()

    async def __aenter__(self) -> Self:
        self._check_loop()
        self._core.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def stop(self) -> None:
        """Read the source no further and send nothing more; go on iterating for what was sent. Idempotent.

        Requests that were read and not sent are withdrawn: their outcomes hold a `TaskError` without a task id,
        and nothing is paid for them.

        Raises:
            ConfigError: Called from another event loop or thread than the client's.
        """
        self._check_loop()
        self._core.stop()

    async def aclose(self) -> None:
        """Withdraw what is queued and stop reading the source. Idempotent.

        Cancellation: Ends the wait for the source to close; all else is done.
        """
        self._check_loop()
        self._core.leave()
        await self._core.wait_pump_ended()

    def __del__(self) -> None:
        # The last reference may be lost in any thread, and after the loop's end.
        core = getattr(self, "_core", None)
        if core is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(core.leave)


def open_stream(
    scheduler: Scheduler,
    source: object,
    *,
    ordered: bool,
    priority: int,
    window: int,
    timeout: float | None,
    make_handle: Callable[[Entry], TaskHandle],
) -> OutcomeStream:
    """Make a stream; it reads nothing before it is iterated or entered.

    Args:
        window: Requests that are read and not yet handed out, at most.
    """
    core = _Core(
        scheduler,
        source,
        ordered=ordered,
        priority=priority,
        window=window,
        timeout=timeout,
    )
    return OutcomeStream(core, asyncio.get_running_loop(), make_handle)


def check_many(requests: object) -> None:
    """Check that these can be the requests of a stream.

    Raises:
        ConfigError: They are one, or something else.
    """
    if isinstance(requests, str | bytes | Mapping | ImageRequest) or not isinstance(
        requests, Iterable | AsyncIterable
    ):
        raise ConfigError("stream takes an iterable of requests, such as [request('flux-dev', prompt=...)]")
