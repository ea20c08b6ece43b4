"""How a stream looks in a notebook: a progress bar, redrawn in place while the stream works.

The stream reports each change. A bar is drawn at most ten times per second, and once per second between the changes for
the seconds that it shows. A stream that waits for its consumer, or has ended, is not drawn again.
"""

from __future__ import annotations

import asyncio
import html
import importlib
import uuid
from collections.abc import Callable
from typing import NamedTuple

_WIDTH_PX = 384
_LEAST_S = 0.1
_TICK_S = 1.0


class Progress(NamedTuple):
    """How far a stream is.

    Args:
        total: How many requests there are. None: its source does not tell, and was not read to its end.
        done: How many have an outcome, without those that were withdrawn.
        failed: How many of these have an error.
        in_flight: How many were sent and have no outcome yet.
        is_working: True while a request that was read has no outcome.
        is_over: True once no further outcome can come.
        seconds: How long the stream has been at work. None: it has not begun.
    """

    total: int | None
    done: int
    failed: int
    in_flight: int
    is_working: bool
    is_over: bool
    seconds: float | None


def in_words(now: Progress) -> str:
    """Return the progress as one line of text."""
    words = [f"{now.done:,} done" if now.total is None else f"{now.done:,} of {now.total:,} done"]
    if now.failed:
        words.append(f"{now.failed:,} failed")
    if now.is_over:
        if now.total is not None and now.done < now.total:
            words.append("stopped")
    elif now.in_flight:
        words.append(f"{now.in_flight:,} in flight")
    if now.seconds is not None:
        words.append(f"{now.seconds:.0f} s")
    return ", ".join(words)


def bar(now: Progress) -> str:
    """Return the progress as HTML."""
    most, value = (1, 1) if now.total == 0 else (now.total, now.done)
    if now.seconds is None:
        most, value = 1, 0
    # Without a value the browser draws a bar that moves: the end is not known.
    share = "" if most is None else f'max="{most}" value="{value}" '
    text = html.escape(in_words(now))
    return (
        f'<div><progress {share}style="width:{_WIDTH_PX}px;max-width:100%" aria-label="outcomes"></progress> '
        f"<small>{text}</small></div>"
    )


class LiveBar:
    """A progress bar in a cell's output. Used in the stream's event loop.

    Args:
        loop: The stream's.
        read: Returns how far the stream is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, read: Callable[[], Progress]) -> None:
        self._loop = loop
        self._read = read
        self._id = f"bfl-async-{uuid.uuid4().hex}"
        self._drawn = ""
        # Draws next. At most one is waiting.
        self._timer: asyncio.TimerHandle | None = None
        # True while the next drawing is for a change, and so comes soon.
        self._is_due = False

    def show(self) -> None:
        """Show the bar in the cell that runs, and follow the stream."""
        self.show_once(self._read())
        self.changed()

    def show_once(self, now: Progress) -> None:
        """Show the bar in the cell that runs. May be called in another thread, where the cell runs."""
        _publish(now, self._id, update=False)
        # Whatever was drawn meanwhile, before there was a bar in this cell, is drawn again.
        self._drawn = ""

    def changed(self, *, is_last: bool = False) -> None:
        """Draw soon; the last change at once."""
        if is_last:
            # A notebook that runs without a person drops what comes after the end of its cell.
            self._draw()
        elif not self._is_due:
            self._draw_after(_LEAST_S)
            self._is_due = True

    def _draw_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._draw)

    def _draw(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._is_due = None, False
        now = self._read()
        drawn = bar(now)
        if drawn != self._drawn:
            self._drawn = drawn
            _publish(now, self._id, update=True)
        if now.is_working and not now.is_over:
            self._draw_after(_TICK_S)


def _publish(now: Progress, display_id: str, *, update: bool) -> None:
    """Show a bar in a notebook, or in IPython's shell its words, once."""
    # The kernel may end while requests settle, and a display must not fail.
    try:
        shell = importlib.import_module("IPython").get_ipython()
        if update and getattr(shell, "kernel", None) is None:
            return
        importlib.import_module("IPython.display").publish_display_data(
            {"text/html": bar(now), "text/plain": in_words(now)},
            transient={"display_id": display_id},
            update=update,
        )
    except Exception:
        return
