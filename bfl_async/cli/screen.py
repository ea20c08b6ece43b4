"""The batch's progress on stderr: a bar on a terminal, else a plain line an outcome."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Screen(Protocol):
    """Shows how far a batch is, and prints its lines of data beside that."""

    def print_line(self, line: str) -> None:
        """Print a line of data to stdout."""
        ...

    def show(self, counts: Counter[str], text: str, *, failed: bool) -> None:
        """Show one more outcome."""
        ...


class _Lines:
    def print_line(self, line: str) -> None:
        click.echo(line)

    def show(self, counts: Counter[str], text: str, *, failed: bool) -> None:
        mark = "failed" if failed else "ready"
        click.echo(f"{sum(counts.values())} {mark}: {' '.join(text.split())[:160]}", err=True)


class _Bar:
    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress = progress
        self._bar = bar

    def print_line(self, line: str) -> None:
        if sys.stdout.isatty():
            from rich.text import Text

            # The same terminal: drawn above the bar, and left whole for copying.
            self._progress.console.print(Text(line), soft_wrap=True)
        else:
            click.echo(line)

    def show(self, counts: Counter[str], text: str, *, failed: bool) -> None:
        from rich.text import Text

        if failed:
            # `Text`, not a string: a prompt must not be read as markup.
            self._progress.console.print(Text(" ".join(text.split()), style="red"))
        parts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        self._progress.update(self._bar, completed=sum(counts.values()), description=parts)


@contextmanager
def open_screen() -> Iterator[Screen]:
    """Open what fits: a bar where stderr is a terminal that can draw, else lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines()
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.completed} done: {task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        redirect_stdout=False,
    ) as progress:
        yield _Bar(progress, progress.add_task("waiting", total=None))
