"""`BFL`: the client for code without asyncio, a blocking face of `AsyncBFL`.

```python
with BFL() as bfl:
    result = bfl.generate("flux-pro-1.1", prompt="a cat")
    result.save("cat.jpg")
```

The client's loop runs in one thread of its own, and each call waits for what it does there: so all that is promised
of `AsyncBFL` holds here as well, from several threads at a time, and where the calling thread has a loop of its
own (a notebook). Ctrl-C ends a wait as a cancellation does: what was not sent is withdrawn, what was sent is followed
to its end.

Each call hands over to that of `AsyncBFL`, and a test compares their names, parameters and defaults. Why the thread is
not anyio's blocking portal: that one cancels by scope, again and again until a coroutine ends, where the client is
written for asyncio's single cancellation; and a client that was forgotten must be closed without waiting, also when
the collector runs in that very thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import threading
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from bfl_async._client import AsyncBFL, check_many, typed, typed_nowait
from bfl_async._handle import HandleFacts
from bfl_async._secrets import conceal_arguments
from bfl_async._tasks import new_task
from bfl_async.download import closed_error
from bfl_async.errors import BFLError, ClientClosedError, ConfigError, TransportError
from bfl_async.models import ImageRequest
from bfl_async.result import ResultFacts
from bfl_async.types import ResultOrError, Update

if TYPE_CHECKING:
    from bfl_async._account import DeletedFinetune, Finetune, UsageReport
    from bfl_async._handle import TaskHandle as AsyncTaskHandle
    from bfl_async._stream import OutcomeStream as AsyncOutcomeStream
    from bfl_async.result import Result as AsyncResult
    from bfl_async.types import JSON, Estimate, Reply, Statistics
    from bfl_async.types import Outcome as AsyncOutcome

__all__ = ["BFL", "Outcome", "OutcomeStream", "Result", "TaskHandle"]

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_S = 0.5
"""The longest time that the main thread blocks before Python runs the handlers of signals."""


def _wait(event: threading.Event) -> None:
    """Wait for an event. Ctrl-C ends the wait, at the latest after `_LOOK_S`.

    Python runs the handlers of signals between two steps of the main thread. A signal that arrives after the last step
    before the thread blocks does not interrupt the wait: with no bound, its handler would run when the wait is over,
    which may be never. On Windows, and after `_thread.interrupt_main()`, nothing interrupts a wait at all.
    """
    longest_s = _LOOK_S if threading.current_thread() is threading.main_thread() else None
    while not event.wait(longest_s):
        pass


def _join(thread: threading.Thread) -> None:
    """Wait for a thread's end; see `_wait`."""
    longest_s = _LOOK_S if threading.current_thread() is threading.main_thread() else None
    while thread.is_alive():
        thread.join(longest_s)


class _LoopThread(threading.Thread):
    """A thread that runs one event loop until it is told to stop."""

    def __init__(self, on_end: Callable[[_LoopThread], None]) -> None:
        # A daemon: a program that forgot to close its client must be able to end.
        super().__init__(name="bfl-async", daemon=True)
        # Written by the thread before it sets `_ready`; None if no loop could be made.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._is_discarded = False
        self._on_end = on_end
        self._farewell: Callable[[], Awaitable[None]] | None = None

    def start(self) -> None:
        """Start the thread; return once its loop takes callbacks.

        Raises:
            OSError, RuntimeError: The system has no thread, or no file descriptor for a loop, left.
        """
        super().start()
        _wait(self._ready)
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """Run the loop. Called in the thread."""
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._ready.set()
                runner.run(self._serve())
        except BaseException as exc:
            if self._ready.is_set():
                raise
            self._error = exc
            self._ready.set()

    async def _serve(self) -> None:
        try:
            # Looked at after `_loop` was written, where `discard` writes first and looks then.
            if not self._is_discarded:
                await self._stopping.wait()
            if self._farewell is not None:
                await self._farewell()
        finally:
            self._on_end(self)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have a callback called in the loop. Callable from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(callback)

    def stop(self, farewell: Callable[[], Awaitable[None]] | None) -> None:
        """Let the loop await `farewell()` and end. Callable from any thread."""
        self._farewell = farewell
        self.call_soon(self._stopping.set)

    def discard(self) -> None:
        """Let the loop end, whether it has begun or not: whoever started it was interrupted."""
        self._is_discarded = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)


class _Portal:
    """The thread in which a client's loop runs, from the first `open()` or `close()` to the last.

    The thread runs while the client is open, and while a call of `open()` or `close()` is under way. Any number of
    threads may make such calls at the same time. The loop itself counts them, as each of its steps is carried through
    where Ctrl-C can end a caller between any two: the call that leaves nothing to do lets the loop end.
    """

    def __init__(self) -> None:
        # Guards all fields below. Held while something is handed to the loop, so that the loop makes every step that
        # was handed over before it ends, and no caller waits for a loop that has ended. Reentrant, as the collector
        # may run in between.
        self._lock = threading.RLock()
        # The thread that takes calls.
        self._thread: _LoopThread | None = None
        # The thread that was told to stop.
        self._ending: _LoopThread | None = None
        # Threads whose start was interrupted. They end by themselves.
        self._discarded: list[_LoopThread] = []
        # Calls that were handed over and have not ended: those of open(), and those of close().
        self._openers: set[_Call[object]] = set()
        self._closers: set[_Call[object]] = set()
        self._is_open = False
        self._is_closed = False
        # The process that `_thread` belongs to.
        self._pid = 0

    @property
    def is_running(self) -> bool:
        """True where calls can be made: false in a process that was forked from the client's."""
        return self._thread is not None and os.getpid() == self._pid

    @property
    def _is_here(self) -> bool:
        return threading.current_thread() in (self._thread, self._ending)

    def check_place(self) -> None:
        """Check that a blocking call may be made.

        Raises:
            ConfigError: Called in the loop's own thread, which would wait for itself, or after a fork.
        """
        if self._thread is not None and os.getpid() != self._pid:
            raise ConfigError("the client was opened before a fork: each process needs a client of its own")
        if self._is_here:
            raise ConfigError("a blocking call in the client's own thread would wait for itself for ever")

    # --- opening and closing ----------------------------------------------------------------------------

    def open(self, work: Callable[[], Awaitable[object]]) -> None:
        """Await `work()` in the loop, which is started if necessary; the client is open if it succeeds.

        Raises:
            ClientClosedError: The client was closed.
            ConfigError: See `check_place`.
        """
        call = _Call(work, on_end=lambda task: self._leave(call, self._openers, task))
        try:
            thread = self._admit(call, self._openers)
            if thread is None:
                raise ClientClosedError("the client is closed: make a new one")
            try:
                call.result()
            except Exception:
                if self._ending is thread:
                    _join(thread)
                raise
        except BaseException:
            call.future.cancel()
            raise

    def close(self, work: Callable[[], Awaitable[object]]) -> None:
        """Await `work()` in the loop, which closes the client; return once the thread has ended. Idempotent.

        Raises:
            ConfigError: See `check_place`.
        """
        call = _Call(work, on_end=lambda task: self._leave(call, self._closers, task))
        try:
            thread = self._admit(call, self._closers)
            if thread is not None:
                call.result()
                _join(thread)
            self._join()
        except BaseException:
            call.future.cancel()
            raise

    def _admit(self, call: _Call[object], users: set[_Call[object]]) -> _LoopThread | None:
        """Hand over a call of `open()` or `close()`, and return the thread; None if the client is closed."""
        self.check_place()
        with self._lock:
            if self._is_closed and (self._thread is None or users is self._openers):
                return None
            if self._thread is None:
                thread = _LoopThread(self._ended)
                try:
                    thread.start()
                    self._thread, self._pid = thread, os.getpid()
                except BaseException:
                    if self._thread is not thread:
                        thread.discard()
                        self._discarded.append(thread)
                    raise
            # In this order: after a Ctrl-C in between it is not counted, which does no harm.
            self._thread.call_soon(lambda: call.begin(self))
            users.add(call)
            return self._thread

    def _leave(
        self, call: _Call[object], users: set[_Call[object]], task: asyncio.Task[object] | None
    ) -> None:
        """Note the end of a call, and let the loop end if nothing needs it. Called in the loop."""
        with self._lock:
            users.discard(call)
            if task is not None and users is self._closers:
                self._is_open, self._is_closed = False, True
            elif task is not None and not (task.cancelled() or task.exception()):
                self._is_open = not self._is_closed
            if self._closers:
                return
            # A closed client is not kept for a call of open(), which could only fail.
            if self._is_closed or not (self._is_open or self._openers):
                self._end(None)

    def abandon(self, farewell: Callable[[], Awaitable[None]] | None) -> None:
        """Let the loop await `farewell()` and end, without waiting for it. Callable from any thread."""
        with self._lock:
            self._is_open, self._is_closed = False, True
            self._end(farewell)

    def _end(self, farewell: Callable[[], Awaitable[None]] | None) -> None:
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.stop(farewell)
            # In this order: the thread itself looks at both without the lock.
            self._ending = self._thread
            self._thread = None

    def _ended(self, thread: _LoopThread) -> None:
        """Note the end of a loop, which nobody may have asked for: SystemExit in a callback ends it as well."""
        with self._lock:
            if self._thread is thread:
                self._is_open, self._is_closed = False, True
                self._ending = thread
                self._thread = None

    def _join(self) -> None:
        """Wait for the end of the threads that were told to stop."""
        ending = self._ending
        if ending is not None:
            _join(ending)
        while self._discarded:
            _join(self._discarded[-1])
            self._discarded.pop()

    # --- calls ------------------------------------------------------------------------------------------

    def begin(self, call: _Call[T]) -> None:
        """Hand a call to the loop. Idempotent.

        Raises:
            ClientClosedError: The loop does not run.
            ConfigError: See `check_place`.
        """
        self.check_place()
        if not self.offer(call):
            raise ClientClosedError("the client is not open: use `with BFL() as bfl`, or open()")

    def offer(self, call: _Call[T]) -> bool:
        """Hand a call to the loop; False if no loop runs.

        Raises:
            ConfigError: Called in the loop's own thread.
        """
        if self.is_running:
            self.check_place()
        return self.post(lambda: call.begin(self))

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work()` in the loop, and return what it returns. Ctrl-C cancels it."""
        call = _Call(work)
        try:
            self.begin(call)
            return call.result()
        except BaseException:
            # Without effect where the call itself has raised.
            call.future.cancel()
            raise

    def run(self, step: Callable[[], T]) -> T:
        """Make one synchronous step in the loop; here, once there is no loop that it could disturb."""
        if self._is_here:
            return step()
        made: concurrent.futures.Future[T] = concurrent.futures.Future()

        def make() -> None:
            if not made.set_running_or_notify_cancel():
                return
            try:
                made.set_result(step())
            except BaseException as exc:
                made.set_exception(exc)

        if self.post(make):
            try:
                return made.result()
            except BaseException:
                made.cancel()
                raise
        self._join()
        return step()

    def post(self, step: Callable[[], object]) -> bool:
        """Have one synchronous step made in the loop, before the loop ends; False if no loop runs."""
        with self._lock:
            if self._thread is None or os.getpid() != self._pid:
                return False
            self._thread.call_soon(step)
            return True


class _Call(Generic[T]):
    """Work that is awaited in the loop, once, however often it is handed over.

    It exists before it is handed over: Ctrl-C may come between any two steps of a thread, and must find what to
    cancel, or what to wait for again.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        on_end: Callable[[asyncio.Task[T] | None], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._begun = False
        # Called in the loop with the ended task, before the caller goes on; with None if it was cancelled unbegun.
        self._on_end = on_end
        # Cancelling it cancels the work.
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._ended = threading.Event()
        self.future.add_done_callback(lambda _: self._ended.set())

    def begin(self, portal: _Portal) -> None:
        """Begin to await it. Called in the loop. Idempotent."""
        if self._begun:
            return
        self._begun = True
        if self.future.cancelled():
            self._on_end(None)
            return

        async def run() -> T:
            return await self._work()

        task = new_task(run())
        task.add_done_callback(self._settle)
        self.future.add_done_callback(lambda future: portal.post(task.cancel) if future.cancelled() else None)

    def _settle(self, task: asyncio.Task[T]) -> None:
        self._on_end(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() and task.cancelling():
            # The caller was interrupted, or the loop has ended.
            self.future.cancel()
        elif self.future.set_running_or_notify_cancel():
            # From here on it cannot be cancelled.
            if task.cancelled():
                # Nobody cancelled this call: something that it awaited was cancelled.
                error = TransportError("the call has failed: something that it waited for was cancelled")
            if error is None:
                self.future.set_result(task.result())
            else:
                self.future.set_exception(error)

    def result(self) -> T:
        """Wait for its end; return or raise what the work did."""
        _wait(self._ended)
        try:
            return self.future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosedError("the client was closed while this call waited") from None

    def wait(self) -> None:
        """Wait for its end, which may be the end of the loop; raise what the work did."""
        concurrent.futures.wait([self.future])
        if not self.future.cancelled():
            self.future.result()


class Result(ResultFacts):
    """One finished generation, whose bytes can be fetched while its client is open."""

    @classmethod
    def _of(cls, result: AsyncResult, portal: _Portal) -> Self:
        made = cls.__new__(cls)
        made.__dict__.update(result.__dict__, _source=(result, portal))
        return made

    def read(self, *, timeout: float | None = 60.0) -> bytes:
        """Download the image or video and return its bytes as they came; see `bfl_async.Result.read`."""
        return self._fetched(lambda result: result.read(timeout=timeout))

    def save(
        self, path: str | os.PathLike[str], *, timeout: float | None = 60.0, unchecked: bool = False
    ) -> Path:
        """Download and write to `path`; return the path written. See `bfl_async.Result.save`."""
        return self._note_saved(
            self._fetched(lambda result: result.save(path, timeout=timeout, unchecked=unchecked))
        )

    def _fetched(self, fetch: Callable[[AsyncResult], Awaitable[T]]) -> T:
        if self._source is None:  # after unpickling
            raise closed_error(self._record())
        result, portal = cast("tuple[AsyncResult, _Portal]", self._source)
        if not portal.is_running:
            raise closed_error(self._record())
        return portal.call(lambda: fetch(result))


@dataclass(frozen=True, slots=True)
class Outcome(ResultOrError[Result]):
    """One item of a stream: the request as it was given, with its result or its error."""

    index: int
    request: object = field(repr=False)  # it holds the prompt
    task_id: str | None
    result: Result | None
    error: BFLError | None

    @classmethod
    def _of(cls, outcome: AsyncOutcome, portal: _Portal) -> Self:
        result = None if outcome.result is None else Result._of(outcome.result, portal)
        return cls(outcome.index, outcome.request, outcome.task_id, result, outcome.error)


class TaskHandle(HandleFacts):
    """One request, followed by the client. Any number of threads may wait for it."""

    __slots__ = ("_handle", "_portal")

    def __init__(self, handle: AsyncTaskHandle, portal: _Portal) -> None:
        self._entry = handle._entry
        self._handle = handle
        self._portal = portal

    @property
    def queue_position(self) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._portal.run(lambda: self._handle.queue_position)

    def result(self, *, timeout: float | None = None) -> Result:
        """Wait for the result; see `bfl_async.TaskHandle.result`. Ctrl-C ends this wait and nothing else."""
        if self.done():  # also when the client is closed
            return Result._of(self._entry.value(), self._portal)
        return Result._of(self._portal.call(lambda: self._handle.result(timeout=timeout)), self._portal)

    def accepted(self) -> str:
        """Wait until the server has accepted the request; return the task id. See `bfl_async.TaskHandle.accepted`."""
        known = self.task_id
        return known if known is not None else self._portal.call(self._handle.accepted)

    def updates(self) -> Iterator[Update]:
        """Iterate over the changes, from the present state to the terminal one; see `bfl_async.TaskHandle.updates`."""
        changes = self._handle.updates()
        while (update := self._portal.call(lambda: anext(changes, None))) is not None:
            yield update

    def withdraw(self) -> bool:
        """Take the request back if nothing was sent; True if so. See `bfl_async.TaskHandle.withdraw`."""
        return self._portal.run(self._handle.withdraw)


class _End:
    """The end of a source."""


_END = _End()


class _Source:
    """A stream's source as the loop sees it: each item is asked of the thread that iterates the stream.

    So a generator runs where it was made, and may wait, read a database, or use the client itself.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        # Items that the loop waits for. The loop appends to it and the iterating thread takes from it, so that neither
        # ever overwrites what the other has written; both operations are atomic, also without the GIL.
        self.wanted: deque[asyncio.Future[ImageRequest | _End]] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImageRequest:
        wanted: asyncio.Future[ImageRequest | _End] = asyncio.get_running_loop().create_future()
        self.wanted.append(wanted)
        self._wake()
        item = await wanted
        if isinstance(item, _End):
            raise StopAsyncIteration
        return item


class _Read(NamedTuple):
    """What the source gave for the item that the loop waits for."""

    wanted: asyncio.Future[ImageRequest | _End]
    item: ImageRequest | _End | Exception

    def answer(self) -> None:
        """Give it to the loop. Called in the loop. Idempotent."""
        if self.wanted.done():
            return
        if isinstance(self.item, Exception):
            self.wanted.set_exception(self.item)
        else:
            self.wanted.set_result(self.item)


class OutcomeStream:
    """Exactly one `Outcome` for each request of a source; an iterator and a context manager.

    The source is read, lazily, in the thread that iterates. Several threads may iterate one stream; each outcome
    goes to one of them. Leaving the `with`, `close()` or losing the last reference withdraws what is queued.
    """

    def __init__(
        self,
        requests: Iterable[ImageRequest],
        begin: Callable[[_Source], AsyncOutcomeStream],
        portal: _Portal,
    ) -> None:
        self._requests = iter(requests)
        # Tells the thread that iterates to look again: an item is wanted, or the outcome has come. It holds no
        # fact, so that nothing is lost with a word that Ctrl-C swallows.
        self._news = threading.Event()
        self._source = _Source(self._news.set)
        self._portal = portal
        self._outcomes = portal.run(lambda: begin(self._source))
        self._awaited: _Call[AsyncOutcome | _End] | None = None
        self._read: _Read | None = None
        self._lock = threading.Lock()  # of who iterates

    @property
    def in_flight(self) -> tuple[TaskHandle, ...]:
        """Handles of the requests that were sent and have no outcome yet."""
        handles = self._portal.run(lambda: self._outcomes.in_flight)
        return tuple(TaskHandle(handle, self._portal) for handle in handles)

    @property
    def waiting(self) -> tuple[Outcome, ...]:
        """Outcomes that stand and were not handed out: what a consumer that stops would leave behind."""
        waiting = self._portal.run(lambda: self._outcomes.waiting)
        return tuple(Outcome._of(outcome, self._portal) for outcome in waiting)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome:
        """Wait for the next outcome, and give the stream the requests that it has room for meanwhile.

        Ctrl-C ends this wait; no outcome is lost, the next call returns it.
        """
        with self._lock:
            if self._awaited is None:
                self._awaited = self._ask()
            awaited = self._awaited
            if not awaited.future.done():
                self._portal.begin(awaited)
            while not awaited.future.done():
                if self._source.wanted:
                    self._answer(self._source.wanted[0])
                else:
                    _wait(self._news)
                    # Before the next look, which therefore misses nothing.
                    self._news.clear()
            try:
                found = awaited.result()
            except Exception:
                self._awaited = None
                raise
            if isinstance(found, _End):
                self._awaited = None
                raise StopIteration
            outcome = Outcome._of(found, self._portal)
            self._awaited = None
            return outcome

    def _ask(self) -> _Call[AsyncOutcome | _End]:
        outcomes, news = self._outcomes, self._news
        call = _Call(lambda: anext(outcomes, _END))
        call.future.add_done_callback(lambda _: news.set())
        return call

    def _answer(self, wanted: asyncio.Future[ImageRequest | _End]) -> None:
        """Read the source once, for the loop. Ctrl-C while the source is read leaves the item wanted."""
        if self._read is None or self._read.wanted is not wanted:
            try:
                self._read = _Read(wanted, _END if wanted.done() else next(self._requests, _END))
            except Exception as exc:
                # The source's own: raised when the outcomes of what was read are handed out.
                self._read = _Read(wanted, exc)
            except asyncio.CancelledError as exc:
                # Nobody can cancel this thread: something that the source waited for was cancelled.
                error = RuntimeError("the stream's source was cancelled")
                error.__cause__ = exc
                self._read = _Read(wanted, error)
        self._portal.post(self._read.answer)
        self._source.wanted.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Read the source no further and send nothing more; go on iterating for what was sent. Idempotent."""
        self._portal.run(self._outcomes.stop)

    def close(self) -> None:
        """Withdraw what is queued and stop reading the source. Idempotent, from any thread.

        Ctrl-C ends the wait for the source to close; all else is done.
        """
        call = _Call(self._outcomes.aclose)
        try:
            # A client that is closed, or closes meanwhile, has closed its streams.
            if self._portal.offer(call):
                call.wait()
        except BaseException:
            call.future.cancel()
            raise


def _parameters_of(
    init: Callable[Concatenate[AsyncBFL, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[BFL, P], None]]:
    """Give a constructor the parameters of the client's."""

    def give(made: Callable[..., None]) -> Callable[Concatenate[BFL, P], None]:
        return cast("Callable[Concatenate[BFL, P], None]", functools.wraps(init)(made))

    return give


class BFL:
    """The Black Forest Labs FLUX image API, for code without asyncio. Parameters and calls are those of `AsyncBFL`.

    Usable from any number of threads, which share its slots. It starts one thread when it is opened, and ends it
    when it is closed. There is no `session=`, and a stream takes iterables, not async ones.
    """

    _bfl: AsyncBFL
    _portal: _Portal
    _client: BFL | None  # of a view: what is opened and closed

    @_parameters_of(AsyncBFL.__init__)
    def __init__(self, *args: object, **kwargs: object) -> None:
        # An error passes through this frame, and tracebacks may show local variables.
        args, kwargs = conceal_arguments(args, kwargs)
        self._client = None
        # Held by the thread that opens it; others wait, and find it open.
        self._opening = threading.Lock()
        self._portal = _Portal()
        self._bfl = cast("Callable[..., AsyncBFL]", AsyncBFL)(*args, **kwargs)
        if self._bfl._session is not None:
            raise ConfigError("session= belongs to an event loop of your own: use AsyncBFL there")

    # --- opening and closing ----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Open the client, where a `with` does not fit. Idempotent.

        Raises:
            ClientClosedError: It was closed; a closed client stays closed.
            ConfigError: It is a view, which is opened with its client.
        """
        self._check_client("opened")
        self._portal.check_place()
        with self._opening:
            self._portal.open(self._bfl.open)
        return self

    def close(self, *, drain: float | None = 0.0) -> None:
        """Close the client and end its thread; see `AsyncBFL.aclose`. Idempotent, from any thread.

        Ctrl-C ends the drain; the closing is carried through, for at most `Timeouts.close`.

        Args:
            drain: Seconds to let queued and running requests end first; None: until they have.
        Raises:
            ConfigError: It is a view, which is closed with its client.
        """
        self._check_client("closed")
        self._portal.check_place()
        try:
            self._portal.close(lambda: self._bfl.aclose(drain=drain))
        except BaseException:
            try:
                self._portal.close(self._bfl.aclose)
            except BaseException:
                # A second Ctrl-C leaves at once.
                self._portal.abandon(None)
                raise
            raise

    def _check_client(self, verb: str) -> None:
        if self._client is not None:
            raise ConfigError(f"a view of with_options() is {verb} with its client")

    def __del__(self) -> None:
        # Nothing is waited for: at the interpreter's end the thread stands still.
        if "_bfl" in self.__dict__ and self._client is None and self._portal.is_running:
            warnings.warn(
                "a BFL client was not closed: use `with`, or call close()", ResourceWarning, stacklevel=2
            )
            self._portal.abandon(self._bfl.aclose)

    # --- one request ------------------------------------------------------------------------------------

    @typed_nowait
    def submit_nowait(
        self, request_or_model: ImageRequest | str, /, *, priority: int | None = None, **fields: object
    ) -> TaskHandle:
        """Queue one request and return its handle at once; see `AsyncBFL.submit_nowait`."""

        async def submit() -> AsyncTaskHandle:
            submit_nowait = cast("Callable[..., AsyncTaskHandle]", self._bfl.submit_nowait)
            return submit_nowait(request_or_model, priority=priority, **fields)

        return TaskHandle(self._portal.call(submit), self._portal)

    @typed
    def submit(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Send one request and return its handle once the server has accepted it; see `AsyncBFL.submit`."""
        submit = cast("Callable[..., Awaitable[AsyncTaskHandle]]", self._bfl.submit)
        handle = self._portal.call(
            lambda: submit(request_or_model, timeout=timeout, priority=priority, **fields)
        )
        return TaskHandle(handle, self._portal)

    @typed
    def generate(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        **fields: object,
    ) -> Result:
        """Send one request and return its result; see `AsyncBFL.generate`."""
        generate = cast("Callable[..., Awaitable[AsyncResult]]", self._bfl.generate)
        result = self._portal.call(
            lambda: generate(request_or_model, timeout=timeout, priority=priority, **fields)
        )
        return Result._of(result, self._portal)

    def attach(
        self,
        task_id: str,
        *,
        polling_url: str | None = None,
        model: str | None = None,
        cost: float | None = None,
    ) -> TaskHandle:
        """Follow a task of another process or an earlier run; see `AsyncBFL.attach`."""

        async def attach() -> AsyncTaskHandle:
            return self._bfl.attach(task_id, polling_url=polling_url, model=model, cost=cost)

        return TaskHandle(self._portal.call(attach), self._portal)

    # --- many requests ----------------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[ImageRequest],
        *,
        ordered: bool = False,
        priority: int | None = None,
        window: int | None = None,
        timeout: float | None = None,
    ) -> OutcomeStream:
        """Run many requests; yield exactly one `Outcome` for each, as they complete. See `AsyncBFL.stream`."""
        check_many(requests)
        if not isinstance(requests, Iterable):
            raise ConfigError("here a stream takes no async iterable: use AsyncBFL")

        def begin(source: _Source) -> AsyncOutcomeStream:
            return self._bfl.stream(
                source, ordered=ordered, priority=priority, window=window, timeout=timeout
            )

        return OutcomeStream(requests, begin, self._portal)

    @overload
    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: Literal[False] = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result]: ...

    @overload
    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result | BFLError]: ...

    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result] | list[Result | BFLError]:
        """Run requests together; return their results in input order. See `AsyncBFL.gather`."""
        taken = list(requests)
        found = self._portal.call(
            lambda: self._bfl.gather(
                taken, return_exceptions=return_exceptions, priority=priority, timeout=timeout
            )
        )
        return [one if isinstance(one, BFLError) else Result._of(one, self._portal) for one in found]

    # --- the account, the client --------------------------------------------------------------------------

    def credits(self) -> float:
        """Ask for the account's balance, in credits (1 credit = 0.01 USD); see `AsyncBFL.credits`."""
        return self._portal.call(self._bfl.credits)

    def finetunes(self) -> list[Finetune]:
        """Ask for the account's finetunes; see `AsyncBFL.finetunes`."""
        return self._portal.call(self._bfl.finetunes)

    def finetune_details(self, finetune_id: str) -> Finetune:
        """Ask what is known of one finetune; see `AsyncBFL.finetune_details`."""
        return self._portal.call(lambda: self._bfl.finetune_details(finetune_id))

    def delete_finetune(self, finetune_id: str) -> DeletedFinetune:
        """Delete a finetune; see `AsyncBFL.delete_finetune`."""
        return self._portal.call(lambda: self._bfl.delete_finetune(finetune_id))

    def report_usage(self, model_slug: str, generations: int = 1) -> UsageReport:
        """Report the use of a licensed model; see `AsyncBFL.report_usage`."""
        return self._portal.call(lambda: self._bfl.report_usage(model_slug, generations))

    def get(self, path: str, *, timeout: float | None = None) -> Reply:
        """Ask the API a question that this release has no method for; see `AsyncBFL.get`."""
        return self._portal.call(lambda: self._bfl.get(path, timeout=timeout))

    def post(
        self,
        path: str,
        *,
        json: Mapping[str, JSON] | None = None,
        timeout: float | None = None,
        priority: int | None = None,
    ) -> Reply:
        """POST to an endpoint that this release does not know; see `AsyncBFL.post`."""
        return self._portal.call(lambda: self._bfl.post(path, json=json, timeout=timeout, priority=priority))

    def estimate(self, request: ImageRequest) -> Estimate:
        """Return what a request will cost, as far as it can be known; see `AsyncBFL.estimate`."""
        return self._bfl.estimate(request)

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of queue, slots and counts; see `AsyncBFL.statistics`."""
        return self._portal.run(self._bfl.statistics)

    def timings(self) -> dict[str, JSON]:
        """Return what was learnt of the models' times; see `AsyncBFL.timings`."""
        return self._portal.run(self._bfl.timings)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is queued or in flight; True if so. See `AsyncBFL.drain`."""
        return self._portal.call(lambda: self._bfl.drain(timeout))

    def with_options(self, *, timeout: float | None = None, priority: int | None = None) -> BFL:
        """Return a view of this client whose calls have other defaults; see `AsyncBFL.with_options`."""
        view = object.__new__(BFL)
        view._client = self._client or self
        view._portal = self._portal
        view._bfl = self._bfl.with_options(timeout=timeout, priority=priority)
        return view

    def __repr__(self) -> str:
        if "_bfl" not in self.__dict__:
            # Its constructor failed.
            return "<BFL>"
        return self._portal.run(lambda: repr(self._bfl)).replace("AsyncBFL", "BFL")

    def __reduce__(self) -> NoReturn:
        self._bfl.__reduce__()
