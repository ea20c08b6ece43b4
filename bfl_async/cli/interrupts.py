"""SIGINT, SIGTERM, and a reader of the output that has gone: the first asks a command to stop, the second to leave.

This is the one place that sets handlers of signals. Where the loop cannot (on Windows), the system's own are set.

A command that can finish what runs says so with `stopping_with`; any other is cancelled by the first signal,
which closes its client and names the tasks that go on. After the second signal the handlers are the system's own
again, so that a third ends the process whatever hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial

from bfl_async.cli.exit_codes import ExitCode
from bfl_async.cli.output import say

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class Interrupts:
    """What told one command to stop while it ran. Changed in the loop only."""

    def __init__(self) -> None:
        self.exit_code: ExitCode | None = None  # of what came first; None: nothing did
        self._count = 0
        self._stop: Callable[[], None] | None = None
        self._is_regular = False
        self._restore: Callable[[], None] = lambda: None
        self._work: asyncio.Task[object] | None = None

    @contextlib.contextmanager
    def stopping_with(self, stop: Callable[[], None], *, is_regular: bool = False) -> Iterator[None]:
        """Within: the first signal calls `stop`, in the loop, in place of a cancellation.

        Args:
            is_regular: A signal is how the command ends: the first one leaves its exit code as it is.
        """
        self._stop, self._is_regular = stop, is_regular
        try:
            yield
        finally:
            self._stop, self._is_regular = None, False

    async def run(self, work: Coroutine[object, object, int]) -> int:
        """Run a command's work under these handlers.

        Raises:
            asyncio.CancelledError: A signal ended it.
        """
        self._work = asyncio.current_task()
        self._restore = _handle_signals(
            {number: partial(self.interrupt, code) for number, code in _EXIT_CODES.items()}
        )
        try:
            return await work
        finally:
            self._restore()

    def interrupt(self, code: ExitCode) -> None:
        """Ask the command to stop, and to exit with this code; the second time, to leave at once."""
        assert self._work is not None
        self._count += 1
        if self.exit_code is None and not self._is_regular:
            self.exit_code = code
        if self._count == 1 and self._stop is not None:
            self._stop()
            return
        if self._count > 1:
            self._restore()
        self._work.cancel()


def _handle_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Callable[[], None]:
    """Call these in the running loop when a signal comes; return what sets the earlier handlers again.

    Outside of the main thread, where signals cannot be handled, this does nothing.
    """
    loop = asyncio.get_running_loop()
    restores: list[Callable[[], object]] = []
    for number, handler in handlers.items():
        try:
            loop.add_signal_handler(number, handler)
            restores.append(partial(loop.remove_signal_handler, number))
        except NotImplementedError:
            with contextlib.suppress(ValueError):  # not the main thread

                def handle(_number: int, _frame: object, handler: Callable[[], None] = handler) -> None:
                    loop.call_soon_threadsafe(handler)

                restores.append(partial(signal.signal, number, signal.signal(number, handle)))
        except (ValueError, RuntimeError):  # not the main thread
            pass

    def restore() -> None:
        while restores:
            restores.pop()()

    return restore


def run_interruptible(work: Callable[[Interrupts], Coroutine[object, object, int]]) -> int:
    """Run a command's work in a loop of its own; return its exit code, or that of the signal that ended it."""
    interrupts = Interrupts()
    try:
        code = asyncio.run(interrupts.run(work(interrupts)))
    except asyncio.CancelledError:
        if interrupts.exit_code is None:
            raise
        code = ExitCode.FAILED
    if interrupts.exit_code is None:
        return code
    if interrupts.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        say(interrupts.exit_code.name.lower())
    return interrupts.exit_code
