"""The batch's display: what it says at any width, with and without colours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bfl_async.cli.display import render
from bfl_async.cli.snapshot import Snapshot
from bfl_async.types import EntryState


def shown(width: int, *, no_color: bool = False, **counts: int) -> str:
    """The display as a terminal of that width has it."""
    snapshot = Snapshot(
        counts={**dict.fromkeys(EntryState, 0), **counts}, total=1632, taken=9, slots=12, spent=152.6,
        balance=9847.4, seconds=125.0, note="stopping",
    )  # fmt: skip
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, no_color=no_color, color_system="standard")
    errors = ("first", "[bold]a prompt[/bold] " + "x" * 300, "[red]last")
    console.print(render(snapshot, 142.0, errors, width))
    return file.getvalue()


def test_display_tells_counts_slots_money_time_and_the_last_errors() -> None:
    """Prompts are text, never markup."""
    text = shown(100, no_color=True, saved=800, failed=2, moderated=8, ambiguous=1, queued=812)
    for part in (
        "811/1,632", "49 %", "9/12", "800 saved", "9 running", "812 waiting", "2 failed", "8 moderated",
        "1 ambiguous", "152.6 credits spent", "9,847.4 left", "142 a minute", "2:05 so far", "about 5:46 to go",
        "stopping", "[bold]a prompt[/bold]", "[red]last",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_display_fits_its_terminal(width: int) -> None:
    """No line is longer than the terminal is wide; a narrow one has one error."""
    import re

    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown(width, saved=800).splitlines()]
    assert all(len(line) <= width for line in lines)
    assert sum(line.startswith("! ") for line in lines) == (1 if width < 60 else 3)


def test_no_color_means_no_color() -> None:
    """NO_COLOR leaves bold at the most."""
    assert "\x1b[31m" in shown(80, failed=1)
    assert "\x1b[3" not in shown(80, no_color=True, failed=1)
