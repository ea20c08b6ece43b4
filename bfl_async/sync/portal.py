"""The thread that runs the event loop, and calls into it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Awaitable, Callable
from typing import (
    TYPE_CHECKING,
    Generic,
    ParamSpec,
    TypeVar,
)

from bfl_async.errors import ClientClosedError, ConfigError, TransportError
from bfl_async.runtime.tasks import new_task

if TYPE_CHECKING:
    pass

HOW_TO_OPEN = "use `with BFL() as bfl`, or open()"

P = ParamSpec("P")


T = TypeVar("T")


_LOOK_S = 0.5
"""The longest time that the main thread blocks before Python runs the handlers of signals."""


def wait_for_end(event: threading.Event) -> None:
    """Wait for an event. Ctrl-C ends the wait, at the latest after `_LOOK_S`.

    Python runs the handlers of signals between two steps of the main thread. A signal that arrives after the last step
    before the thread blocks does not interrupt the wait: with no bound, its handler would run when the wait is over,
    which may be never. On Windows, and after `_thread.interrupt_main()`, nothing interrupts a wait at all.
    """
    longest_s = _LOOK_S if threading.current_thread() is threading.main_thread() else None
    while not event.wait(longest_s):
        pass


def _join(thread: threading.Thread) -> None:
    """Wait for a thread's end; see `wait_for_end`."""
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
        wait_for_end(self._ready)
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


class Portal:
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
        self._openers: set[Call[object]] = set()
        self._closers: set[Call[object]] = set()
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
        call = Call(work, on_end=lambda task: self._leave(call, self._openers, task))
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
        call = Call(work, on_end=lambda task: self._leave(call, self._closers, task))
        try:
            thread = self._admit(call, self._closers)
            if thread is not None:
                call.result()
                _join(thread)
            self._join()
        except BaseException:
            call.future.cancel()
            raise

    def _admit(self, call: Call[object], users: set[Call[object]]) -> _LoopThread | None:
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

    def _leave(self, call: Call[object], users: set[Call[object]], task: asyncio.Task[object] | None) -> None:
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

    def begin(self, call: Call[T]) -> None:
        """Hand a call to the loop. Idempotent.

        Raises:
            ClientClosedError: The loop does not run.
            ConfigError: See `check_place`.
        """
        self.check_place()
        if not self.offer(call):
            raise ClientClosedError(
                "the client is closed: make a new one"
                if self._is_closed
                else f"the client is not open: {HOW_TO_OPEN}"
            )

    def offer(self, call: Call[T]) -> bool:
        """Hand a call to the loop; False if no loop runs.

        Raises:
            ConfigError: Called in the loop's own thread.
        """
        if self.is_running:
            self.check_place()
        return self.post(lambda: call.begin(self))

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work()` in the loop, and return what it returns. Ctrl-C cancels it."""
        call = Call(work)
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


class Call(Generic[T]):
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

    def begin(self, portal: Portal) -> None:
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
        wait_for_end(self._ended)
        try:
            return self.future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosedError("the client was closed while this call waited") from None

    def wait(self) -> None:
        """Wait for its end, which may be the end of the loop; raise what the work did."""
        concurrent.futures.wait([self.future])
        if not self.future.cancelled():
            self.future.result()
