"""The coroutines of a client: each one owned, and awaited at the end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine

from bfl_async.engine.entry import Entry
from bfl_async.runtime.tasks import new_task

_log = logging.getLogger("bfl_async")

# How often a coroutine is cancelled, and the seconds between. A stream's source may swallow a cancellation.
_CANCELS = 5
_CANCEL_S = 0.5


class Runners:
    """Starts, cancels and awaits background coroutines, with the entry that each of them works on.

    Args:
        interrupted: Told of an entry whose runner was cancelled before its first step: such a coroutine runs no line
            of its own, and so cannot say so itself.
    """

    def __init__(self, interrupted: Callable[[Entry], None]) -> None:
        self._interrupted = interrupted
        # Written by `start` and `_ended` only.
        self._running: dict[asyncio.Task[None], Entry | None] = {}

    def start(
        self,
        work: Coroutine[object, object, None],
        entry: Entry | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[None]:
        """Run a coroutine, from a later turn of the loop on.

        Args:
            entry: The one it works on; None for a stream's source.
            context: Variables that it sees; None copies those of the caller.
        """
        # Not `asyncio.create_task`: the step that calls this relies on the runner's first line coming later.
        runner = new_task(work, context=context)
        # The reference that keeps it alive: asyncio itself holds tasks only weakly.
        self._running[runner] = entry
        if entry is not None:
            entry.runner = runner
        runner.add_done_callback(self._ended)
        return runner

    def _ended(self, runner: asyncio.Task[None]) -> None:
        entry = self._running.pop(runner, None)
        # A request that was sent again has a newer runner by now.
        if entry is not None and entry.runner is runner:
            entry.runner = None
        if runner.cancelled():
            if entry is not None:
                self._interrupted(entry)
        # Read in any case: asyncio would report an exception that nobody looked at.
        elif (exc := runner.exception()) is not None:
            facts = None if entry is None else entry.facts()
            _log.error("a background coroutine failed by a bug", exc_info=exc, extra=facts)

    def __contains__(self, task: object) -> bool:
        """True for a coroutine that was started here and has not ended."""
        return task in self._running

    def cancel_sources(self) -> None:
        """End the streams' pumps: a source that is waited for might never come."""
        for runner, entry in list(self._running.items()):
            if entry is None:
                runner.cancel()

    def cancel_all(self) -> None:
        """Tell all to end, without a wait."""
        for runner in list(self._running):
            runner.cancel()

    async def end_all(self) -> None:
        """Cancel all and wait for them, some seconds at most."""
        # Said again and again, since what a coroutine waits for may swallow a cancellation. And bounded: a close that
        # never returns is worse than a coroutine that is left behind.
        for _ in range(_CANCELS):
            if not self._running:
                return
            self.cancel_all()
            await asyncio.wait(list(self._running), timeout=_CANCEL_S)
        if self._running:
            _log.error(
                "%d coroutines do not end when they are cancelled: a stream's source?",
                len(self._running),
                extra={"bfl_coroutines": len(self._running)},
            )
