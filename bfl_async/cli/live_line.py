"""The line that a terminal shows while a command waits for its images. Elsewhere nothing is shown."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from bfl_async.cli.output import can_redraw, draw_line, erase_line
from bfl_async.cli.reaching import Reaching
from bfl_async.runtime.text import printable
from bfl_async.status import TaskStatus
from bfl_async.types.lifecycle import State
from bfl_async.wire.replies import shown_status

_REFRESH_S = 0.2
_NARROWEST = 20
# A request that was granted a slot is out of the queue for a moment before it is sent.
_MOMENT_S = 1.0
_TRYING = "trying to reach the server"
# Where the terminal does not tell its width.
_USUAL_COLUMNS = 80


class Progressing(Protocol):
    """What is shown of a task: see `TaskHandle`."""

    @property
    def task_id(self) -> str | None: ...
    @property
    def state(self) -> State: ...
    @property
    def status(self) -> TaskStatus | str | None: ...
    @property
    def progress(self) -> float | None: ...
    @property
    def queue_position(self) -> int | None: ...


@asynccontextmanager
async def live_line(
    tasks: Sequence[Progressing], reaching: Reaching, *, verbose: bool
) -> AsyncIterator[None]:
    """Show how far tasks are while it is open, on a terminal that can redraw a line.

    Args:
        reaching: The observer of their client.
        verbose: Show their ids as well.
    """
    if not can_redraw(sys.stderr):
        yield
        return
    drawing = asyncio.create_task(_draw_always(tasks, reaching, verbose=verbose))
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        erase_line()


async def _draw_always(tasks: Sequence[Progressing], reaching: Reaching, *, verbose: bool) -> None:
    began_at = time.monotonic()
    while True:
        text = line_of(tasks, time.monotonic() - began_at, verbose=verbose, is_lost=reaching.is_lost)
        # The last column stays free: some terminals begin a new line once it is written.
        draw_line(printable(text, max(_NARROWEST, _columns() - 1)))
        await asyncio.sleep(_REFRESH_S)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def line_of(tasks: Sequence[Progressing], seconds: float, *, verbose: bool, is_lost: bool = False) -> str:
    """Return the words for tasks that have been waited for during so many seconds.

    Args:
        is_lost: The server gives no answers at present.
    """
    counts = Counter(_word(task, seconds, is_lost=is_lost) for task in tasks)
    words = list(counts) if len(tasks) == 1 else [f"{count} {word}" for word, count in counts.items()]
    parts = [", ".join(words), f"{seconds:.0f} s"]
    shares = [
        task.progress for task in tasks if task.state is not State.SETTLED and task.progress is not None
    ]
    if shares:
        parts.append(f"{100 * sum(shares) / len(shares):.0f} %")
    before = [place for task in tasks if (place := task.queue_position)]
    if before:
        parts.append(f"{min(before)} before {'it' if len(tasks) == 1 else 'them'} in the queue")
    if verbose:
        parts += [task.task_id for task in tasks if task.task_id is not None]
    return " · ".join(parts)


def _word(task: Progressing, seconds: float, *, is_lost: bool) -> str:
    match task.state:
        case State.QUEUED if task.queue_position is None and seconds >= _MOMENT_S:
            # It rests after an attempt that did not reach the server, or that the server could not answer.
            return _TRYING
        case State.SUBMITTED if is_lost:
            # What it was when an answer last came says nothing of now.
            return _TRYING
        case State.QUEUED:
            return "waiting for a free slot"
        case State.SUBMITTING:
            return "sending"
        case State.SETTLED:
            return "finished"
    if task.status in (None, TaskStatus.PENDING, TaskStatus.READY):
        return "generating"
    return shown_status(str(task.status)).lower()
