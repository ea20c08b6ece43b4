"""The live display of a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bfl_async.cli.output import print_line
from bfl_async.cli.snapshot import Snapshot, done_of
from bfl_async.runtime.text import escaped, printable

_REFRESH_S = 0.25
# Images a minute are those of the last so many seconds.
_RATE_S = 60.0
_ERRORS = 3
# Columns of a terminal that has room for one error only.
_NARROW = 60


@asynccontextmanager
async def open_display(snapshot: Callable[[], Snapshot]) -> AsyncIterator[Display]:
    """Draw on stderr while it is open, and a last time at its end."""
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        display = Display(live, console, snapshot)
        drawing = asyncio.create_task(display.refresh_always())
        try:
            yield display
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
            with contextlib.suppress(OSError):
                await asyncio.shield(display.refresh())


@dataclass(slots=True)
class Pace:
    """Outcomes of the last minute."""

    _ends: deque[float] = field(default_factory=deque)

    def add(self) -> None:
        """Note one outcome."""
        self._ends.append(time.monotonic())

    def per_minute(self, seconds: float) -> float:
        """Return outcomes a minute, in a run that is so many seconds old."""
        now = time.monotonic()
        while self._ends and self._ends[0] < now - _RATE_S:
            self._ends.popleft()
        return len(self._ends) * 60.0 / max(1.0, min(_RATE_S, seconds))


class Display:
    """The display of a terminal. Drawn in a worker thread from a snapshot: rich takes milliseconds."""

    def __init__(self, live: Live, console: Console, snapshot: Callable[[], Snapshot]) -> None:
        self._live = live
        self._console = console
        self._snapshot = snapshot
        self._errors: deque[str] = deque(maxlen=_ERRORS)
        self._pace = Pace()
        # A thread of its own, whatever else threads are used for.
        self._thread = anyio.CapacityLimiter(1)

    def print_line(self, line: str) -> None:
        if sys.stdout.isatty():
            # The same terminal: drawn above the display, and left whole for copying.
            self._console.print(Text(escaped(line)), soft_wrap=True)
        else:
            print_line(line)

    def show(self, counts: Mapping[str, int], text: str, *, failed: bool) -> None:  # noqa: ARG002 - drawn by time
        self._pace.add()
        if failed:
            self._errors.append(printable(text))

    def say(self, text: str) -> None:
        pass

    async def refresh_always(self) -> None:
        """Draw, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(_REFRESH_S)

    async def refresh(self) -> None:
        """Draw once."""
        snapshot = self._snapshot()
        per_minute = self._pace.per_minute(snapshot.seconds)
        errors = tuple(self._errors)
        await anyio.to_thread.run_sync(self._draw, snapshot, per_minute, errors, limiter=self._thread)

    def _draw(self, snapshot: Snapshot, per_minute: float, errors: tuple[str, ...]) -> None:
        width = self._console.width
        with contextlib.suppress(OSError):  # a terminal that is gone ends no work
            self._live.update(render(snapshot, per_minute, errors, width), refresh=True)


def render(snapshot: Snapshot, per_minute: float, errors: tuple[str, ...], width: int) -> RenderableType:
    """Return what a terminal of so many columns shows."""
    counts = snapshot.counts
    done = done_of(counts)
    total = max(snapshot.total or 0, sum(counts.values()))
    share = f"{done:,}/{total:,}"
    bar_width = max(4, min(40, width - len(share) - 12))
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text("done ", style="bold"),
        ProgressBar(total=max(1, total), completed=done, width=bar_width),
        Text(f"{share}  {100 * done // max(1, total)} %"),
    )
    head.add_row(
        Text("slots", style="bold"),
        Text("■" * min(bar_width, snapshot.taken), style="green")
        + Text("□" * max(0, min(bar_width, snapshot.slots) - snapshot.taken), style="dim"),
        Text(f"{snapshot.taken}/{snapshot.slots}"),
    )
    lines: list[RenderableType] = [
        head,
        _states(snapshot, total),
        _facts(snapshot, per_minute, total),
    ]
    if snapshot.note:
        lines.append(Text(printable(snapshot.note), style="yellow", no_wrap=True, overflow="ellipsis"))
    # `Text`, not a string: a prompt must not be read as markup.
    lines.extend(
        Text(f"! {printable(error)}", style="red", no_wrap=True, overflow="ellipsis")
        for error in errors[-1 if width < _NARROW else -_ERRORS :]
    )
    return Group(*lines)


def _states(snapshot: Snapshot, total: int) -> Text:
    """Return how many entries are in each state."""
    counts = snapshot.counts
    running = snapshot.taken
    waiting = max(0, total - done_of(counts) - running - counts["ready"])
    parts = [
        (f"{counts['saved']:,} saved", "green"),
        (f"{running:,} running", ""),
        (f"{counts['ready']:,} downloading", "" if counts["ready"] else "dim"),
        (f"{waiting:,} waiting", ""),
        (f"{counts['failed']:,} failed", "red" if counts["failed"] else "dim"),
        (f"{counts['moderated']:,} moderated", "yellow" if counts["moderated"] else "dim"),
        (f"{counts['ambiguous']:,} ambiguous", "red" if counts["ambiguous"] else "dim"),
    ]
    return Text(" · ").join([Text(text, style=style) for text, style in parts])


def _facts(snapshot: Snapshot, per_minute: float, total: int) -> Text:
    """Return what the run has cost and how long it takes."""
    done = done_of(snapshot.counts)
    left_s = (total - done) / per_minute * 60.0 if per_minute else None
    money = [f"{snapshot.spent:,.6g} credits spent"]
    if snapshot.balance is not None:
        money.append(f"{snapshot.balance:,.6g} left")
    time_words = [f"{per_minute:.3g} a minute", f"{_clock(snapshot.seconds)} so far"]
    if left_s is not None and done < total:
        time_words.append(f"about {_clock(left_s)} to go")
    return Text(" · ").join([Text(text) for text in (*money, *time_words)])


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
