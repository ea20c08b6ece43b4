"""The live display of a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
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
from bfl_async.cli.snapshot import Ended, Manner, Snapshot, done_of
from bfl_async.cli.words import counted
from bfl_async.runtime.text import escaped, printable

_REFRESH_S = 0.25
# Seconds over which images per minute are counted.
_RATE_S = 60.0
_ERRORS = 3
_ERROR_CHARS = 500
_DOT = " · "
# Columns of a terminal that has room for one error only.
_NARROW = 60


@asynccontextmanager
async def open_display(snapshot: Callable[[], Snapshot], manner: Manner) -> AsyncIterator[Display]:
    """Draw on stderr while it is open, and a last time at its end."""
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        display = Display(live, console, snapshot, manner)
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
        """Return outcomes per minute, in a run of this age in seconds."""
        now = time.monotonic()
        while self._ends and self._ends[0] < now - _RATE_S:
            self._ends.popleft()
        return len(self._ends) * 60.0 / max(1.0, min(_RATE_S, seconds))


class Display:
    """The display of a terminal. Drawn in a worker thread from a snapshot: rich takes milliseconds."""

    def __init__(
        self, live: Live, console: Console, snapshot: Callable[[], Snapshot], manner: Manner
    ) -> None:
        self._live = live
        self._manner = manner
        self._console = console
        self._snapshot = snapshot
        self._errors: deque[str] = deque(maxlen=_ERRORS)
        self._pace = Pace()
        # A thread of its own, whatever else threads are used for.
        self._thread = anyio.CapacityLimiter(1)

    def report(self, line: str, ended: Ended) -> None:
        self._pace.add()
        if self._manner.as_json:
            self._print_data(line)
            if ended.problem is not None:
                self._errors.append(str(ended))
        elif ended.problem is not None:
            # Between the names of files, where it can be read when all is over.
            self._print_above(str(ended), "yellow" if ended.state == "moderated" else "red")
        elif ended.file is not None:
            self._print_above(ended.file)

    def _print_data(self, line: str) -> None:
        if sys.stdout.isatty():
            # The same terminal.
            self._print_above(line)
        else:
            print_line(line)

    def _print_above(self, line: str, style: str = "") -> None:
        """Print a line above the display, whole, so that it can be copied."""
        self._console.print(Text(escaped(line), style=style), soft_wrap=True)

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
    if not snapshot.is_over:
        head.add_row(
            Text("slots", style="bold"),
            Text("■" * min(bar_width, snapshot.taken), style="green")
            + Text("□" * max(0, min(bar_width, snapshot.slots) - snapshot.taken), style="dim"),
            Text(f"{snapshot.taken}/{snapshot.slots}"),
        )
    lines: list[RenderableType] = [
        head,
        _flow(_states(snapshot, total), width),
        _flow([(text, "") for text in _facts(snapshot, per_minute, total)], width),
    ]
    if snapshot.note:
        lines.append(Text(printable(snapshot.note), style="yellow"))
    # `Text`, not a string: a prompt must not be read as markup. Wrapped, not cut: the advice is at the end.
    lines.extend(
        Text(f"! {printable(error, _ERROR_CHARS)}", style="red", overflow="fold")
        for error in errors[-1 if width < _NARROW else -_ERRORS :]
    )
    return Group(*lines)


def _flow(parts: Sequence[tuple[str, str]], width: int) -> Text:
    """Return texts with their styles in lines of at most so many columns, with dots between those of one line."""
    flowed, used = Text(), 0
    for text, style in parts:
        if used and used + len(_DOT) + len(text) > width:
            flowed.append("\n")
            used = 0
        elif used:
            flowed.append(_DOT)
            used += len(_DOT)
        flowed.append(text, style)
        used += len(text)
    return flowed


def _states(snapshot: Snapshot, total: int) -> list[tuple[str, str]]:
    """Return how many entries are in each state, with colours; what is zero is left out."""
    counts = snapshot.counts
    ready = counts.get("ready", 0)
    if snapshot.is_over:
        going = {
            "still at the server": counts.get("submitted", 0) + counts.get("submitting", 0) + ready,
            "not sent": counts.get("queued", 0),
        }
    else:
        waiting = max(0, total - done_of(counts) - snapshot.taken - ready)
        going = {"running": snapshot.taken, "downloading": ready, "waiting": waiting}
    parts = [
        (counts["saved"], "saved", "green"),
        *((count, what, "") for what, count in going.items()),
        (counts["failed"], "failed", "red"),
        (counts["moderated"], "moderated", "yellow"),
        (counts["ambiguous"], "ambiguous", "red"),
    ]
    return [(f"{count:,} {what}", style) for count, what, style in parts if count] or [("nothing yet", "dim")]


def _facts(snapshot: Snapshot, per_minute: float, total: int) -> list[str]:
    """Return what the run has cost and how long it takes."""
    done = done_of(snapshot.counts)
    facts = [f"{counted(snapshot.spent, 'credit')} spent"]
    if snapshot.balance is not None:
        facts.append(f"{snapshot.balance:,.6g} left")
    if snapshot.is_over:
        return [*facts, f"{_clock(snapshot.seconds)} in all"]
    facts += [f"{per_minute:.3g} per minute"] if per_minute else []
    facts.append(f"{_clock(snapshot.seconds)} so far")
    if per_minute and done < total:
        facts.append(f"about {_clock((total - done) / per_minute * 60.0)} to go")
    return facts


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
