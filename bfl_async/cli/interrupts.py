"""SIGINT, SIGTERM, and a reader of the output that has gone: the first asks a command to stop, the second to leave.

A command that can finish what runs says so with `stopping_with`; any other is cancelled by the first signal,
which closes its client and names the tasks that go on. After the second signal the handlers are the system's own
again, so that a third ends the process whatever hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator

from bfl_async.cli.exit_codes import ExitCode

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class Interrupts:
    """What told one command to stop while it ran. Changed in the loop only."""

    def __init__(self) -> None:
        self.exit_code: ExitCode | None = None  # of what came first; None: nothing did
        self._count = 0
        self._stop: Callable[[], None] | None = None
        self._work: asyncio.Task[object] | None = None

    @contextlib.contextmanager
    def stopping_with(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within: the first signal calls `stop`, in the loop, in place of a cancellation."""
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None

    async def run(self, work: Coroutine[object, object, int]) -> int:
        """Run a command's work under these handlers.

        Raises:
            asyncio.CancelledError: A signal ended it.
        """
        loop = asyncio.get_running_loop()
        self._work = asyncio.current_task()
        with contextlib.suppress(NotImplementedError):  # no such signals there: Ctrl-C is the loop's own
            for number in _EXIT_CODES:
                loop.add_signal_handler(number, self.interrupt, _EXIT_CODES[number])
        try:
            return await work
        finally:
            self._restore()

    def interrupt(self, code: ExitCode) -> None:
        """Ask the command to stop, and to exit with this code; the second time, to leave at once."""
        assert self._work is not None
        self._count += 1
        if self.exit_code is None:
            self.exit_code = code
        if self._count == 1 and self._stop is not None:
            self._stop()
            return
        if self._count > 1:
            self._restore()
        self._work.cancel()

    def _restore(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # where run() could set none
            for number in _EXIT_CODES:
                loop.remove_signal_handler(number)
