"""A batch's progress: a live display on a terminal, otherwise one plain line per outcome.

On a terminal, stdout has the names of the files. Where it is not a terminal, or where that is asked for, it has JSON
lines.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from bfl_async.cli.output import can_redraw, print_line, say
from bfl_async.cli.snapshot import Ended, Manner, Snapshot


class Screen(Protocol):
    """Shows how far a batch is, and prints its lines of data above that."""

    def report(self, line: str, ended: Ended) -> None:
        """Show one more outcome; the line is its JSON.

        Raises:
            OSError: stdout cannot be written to.
        """
        ...

    def say(self, text: str) -> None:
        """Say what is being waited for; a display has it from the snapshot's note."""
        ...


class _Lines:
    def __init__(self, manner: Manner) -> None:
        self._manner = manner

    def report(self, line: str, ended: Ended) -> None:
        manner = self._manner
        if manner.as_json:
            print_line(line)
        elif ended.file is not None and not manner.is_quiet:
            print_line(ended.file)
        # A person sees the file's name already.
        if ended.problem is not None or (manner.as_json and not manner.is_quiet):
            say(str(ended))

    def say(self, text: str) -> None:
        if not self._manner.is_quiet:
            say(text)


@asynccontextmanager
async def open_screen(
    snapshot: Callable[[], Snapshot], manner: Manner | None = None
) -> AsyncIterator[Screen]:
    """Open what fits: a display where stderr is a terminal that can draw, otherwise lines."""
    manner = manner or Manner()
    if manner.is_quiet or not can_redraw(sys.stderr):
        yield _Lines(manner)
        return
    # rich takes a while to import, and most runs of scripts draw nothing.
    from bfl_async.cli.display import open_display

    async with open_display(snapshot, manner) as display:
        yield display
