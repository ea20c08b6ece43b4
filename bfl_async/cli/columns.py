"""Tables that fit a terminal: columns where they have room, otherwise one block of lines per row."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

_GAP = 2
# A cell of fewer columns breaks words; a table of which one would be narrower becomes blocks.
_MIN_COLUMN = 12
_INDENT = "  "


def stdout_columns() -> int | None:
    """Return how many columns a line of stdout may have; None where nothing says so, as in a pipe."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def text_lines(text: str, columns: int | None) -> list[str]:
    """Return a text in lines of at most so many columns; None is any number."""
    return [text] if columns is None else _wrapped(text, columns, later=_INDENT)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return a table as lines of at most so many columns; the head is the first, where there is one.

    Cells that are too long are wrapped, the first column excepted. Where that leaves too little, each row is its first
    cell with the others below it.

    Args:
        columns: None is any number: then each row is one line.
    """
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    if columns is not None:
        widths = _shrunk(widths, columns)
        if not any(widths):
            return _blocks(head, rows, columns)
    lines: list[str] = []
    for row in table:
        cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for number in range(max(1, *map(len, cells))):
            parts = [
                (cell[number] if number < len(cell) else "").ljust(width)
                for cell, width in zip(cells, widths, strict=True)
            ]
            lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _wrapped(text: str, width: int, *, later: str = "") -> list[str]:
    # Names and options have hyphens, and stay whole.
    return textwrap.wrap(text, max(1, width), subsequent_indent=later, break_on_hyphens=False)


def _shrunk(widths: Sequence[int], columns: int) -> list[int]:
    """Return widths that fit, the first one as it was; zeros where they cannot."""
    shrunk = list(widths)
    while sum(shrunk) + _GAP * (len(shrunk) - 1) > columns:
        widest = max(range(1, len(shrunk)), key=lambda column: shrunk[column], default=0)
        if not widest or shrunk[widest] <= _MIN_COLUMN:
            return [0] * len(shrunk)
        shrunk[widest] -= 1
    return shrunk


def _blocks(head: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    lines: list[str] = []
    for first, *others in rows:
        lines += _wrapped(first, columns, later=_INDENT)
        rest = "; ".join(f"{name}: {cell}" for name, cell in zip(head[1:], others, strict=True) if cell)
        lines += [f"{_INDENT}{line}" for line in _wrapped(rest, columns - len(_INDENT))]
    return lines
