"""A batch's progress on stderr: a live display on a terminal, else a plain line an outcome."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from bfl_async.cli.output import can_redraw, print_line, say
from bfl_async.cli.snapshot import Snapshot, done_of
from bfl_async.runtime.text import printable

_MAX_SHOWN = 160


class Screen(Protocol):
    """Shows how far a batch is, and prints its lines of data beside that."""

    def print_line(self, line: str) -> None:
        """Print a line of data to stdout."""
        ...

    def show(self, counts: Mapping[str, int], text: str, *, failed: bool) -> None:
        """Show one more outcome."""
        ...

    def say(self, text: str) -> None:
        """Tell what is being waited for; a display has it from the snapshot's note."""
        ...


class _Lines:
    def print_line(self, line: str) -> None:
        print_line(line)

    def show(self, counts: Mapping[str, int], text: str, *, failed: bool) -> None:
        mark = "failed" if failed else "saved"
        say(f"{done_of(counts)} {mark}: {printable(text, _MAX_SHOWN)}")

    def say(self, text: str) -> None:
        say(text)


@asynccontextmanager
async def open_screen(snapshot: Callable[[], Snapshot]) -> AsyncIterator[Screen]:
    """Open what fits: a display where stderr is a terminal that can draw, else lines."""
    if not can_redraw(sys.stderr):
        yield _Lines()
        return
    # rich takes a while to import, and most runs of scripts draw nothing.
    from bfl_async.cli.display import open_display

    async with open_display(snapshot) as display:
        yield display
