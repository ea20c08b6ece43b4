"""Draws the layout of the package from its imports, for `explanation/layout.svg`; `docs/generate.py` writes the file.

A box is a folder, or a module of the top level. An arrow means that something in the upper box imports something in the
lower one. An import that follows from a path of arrows is left out, so that the arrows can be followed. The way is
Sugiyama's: every box gets a row below all that import it, a long arrow gets a place in each row that it passes, and
the places of a row are put in the order that crosses the fewest arrows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter

from benchmarks.house import FOLDER, PACKAGE, import_graph

# Old paths of what has moved, the entry point, and the version: they say nothing about the layout.
LEFT_OUT = frozenset({"__main__", "_version", "download", "result"})
# `types` shows names of the protocols too, resolved on first use; see the first contract in pyproject.toml.
SHOWN_ONLY = frozenset({("types", "polling"), ("types", "protocols"), ("types", "results")})
TITLES = {"__init__": "public names"}

_WIDTH, _ROW_PX, _BOX_PX, _CHAR_PX = 720, 52, 26, 8.2
_GAP_PX, _LINE_PX, _TOP_PX = 14, 16, 8

Graph = Mapping[str, frozenset[str]]


def folders() -> Graph:
    """Return what each folder or module of the top level imports of the others."""
    found: dict[str, set[str]] = {}
    for module, imported in import_graph().items():
        inner = found.setdefault(_folder_of(module), set())
        inner.update(_folder_of(each) for each in imported)
    return {
        folder: frozenset(each for each in others - {folder} - LEFT_OUT if (folder, each) not in SHOWN_ONLY)
        for folder, others in found.items()
        if folder not in LEFT_OUT
    }


def _folder_of(module: str) -> str:
    names = module.removeprefix(PACKAGE).strip(".").split(".")
    return names[0] or "__init__"


def rows(graph: Graph) -> list[list[str]]:
    """Return the boxes from top to bottom, each where its arrows are short."""
    users: dict[str, set[str]] = {name: set() for name in graph}
    for upper, lower in arrows(graph):
        users[lower].add(upper)
    needs = {name: {lower for lower in graph if name in users[lower]} for name in graph}

    @cache
    def row_of(name: str) -> int:
        return 1 + max(map(row_of, users[name]), default=-1)

    levels = {name: row_of(name) for name in graph}
    for name in sorted(graph, key=lambda each: -levels[each]):
        # One that needs more than it is needed stands just above the highest of what it needs.
        if len(needs[name]) > len(users[name]):
            levels[name] = min(levels[each] for each in needs[name]) - 1
    return [sorted(name for name in levels if levels[name] == row) for row in range(max(levels.values()) + 1)]


def arrows(graph: Graph) -> list[tuple[str, str]]:
    """Return the imports that do not follow from a path of others."""
    order = list(TopologicalSorter(graph).static_order())
    reached: dict[str, set[str]] = {}
    for name in order:
        reached[name] = set(graph[name]).union(*(reached[each] for each in graph[name]))
    return [
        (name, each)
        for name in sorted(graph)
        for each in sorted(graph[name])
        if not any(each in reached[other] for other in graph[name])
    ]


# A place in a row: a box by its name, or an arrow that passes, by its two ends and the row.
Place = str | tuple[str, str, int]


@dataclass
class _Drawing:
    """Rows of places, from top to bottom, and the chain of places of each arrow."""

    rows: list[list[Place]]
    chains: list[list[Place]]
    x: dict[Place, float] = field(default_factory=dict)

    def neighbours(self, step: int) -> dict[Place, list[Place]]:
        """Return for each place those that it is joined to in the row above (-1) or below (+1)."""
        found: dict[Place, list[Place]] = {}
        for chain in self.chains:
            for upper, lower in itertools.pairwise(chain):
                place, other = (lower, upper) if step < 0 else (upper, lower)
                found.setdefault(place, []).append(other)
        return found


def _lay_out(graph: Graph) -> _Drawing:
    boxes = rows(graph)
    row_of = {name: number for number, row in enumerate(boxes) for name in row}
    places: list[list[Place]] = [list(row) for row in boxes]
    chains: list[list[Place]] = []
    for upper, lower in arrows(graph):
        passed: list[Place] = [(upper, lower, row) for row in range(row_of[upper] + 1, row_of[lower])]
        for row, place in enumerate(passed, row_of[upper] + 1):
            places[row].append(place)
        chains.append([upper, *passed, lower])
    drawing = _Drawing(places, chains)
    _order(drawing)
    _place(drawing)
    return drawing


def _order(drawing: _Drawing) -> None:
    """Put each row in the order of the middles of what its places are joined to; keep the best of some sweeps."""
    above, below = drawing.neighbours(-1), drawing.neighbours(1)
    best, fewest = [list(row) for row in drawing.rows], _crossings(drawing)
    for sweep in range(24):
        joined = above if sweep % 2 == 0 else below
        for row in drawing.rows if sweep % 2 == 0 else reversed(drawing.rows):
            at = {place: number / len(each) for each in drawing.rows for number, place in enumerate(each)}
            row.sort(key=lambda place: _mean([at[each] for each in joined.get(place, [place])]))
        crossings = _crossings(drawing)
        if crossings < fewest:
            best, fewest = [list(row) for row in drawing.rows], crossings
    drawing.rows = best


def _crossings(drawing: _Drawing) -> int:
    at = {place: number for row in drawing.rows for number, place in enumerate(row)}
    below = drawing.neighbours(1)
    count = 0
    for row in drawing.rows:
        ends = [(at[place], at[each]) for place in row for each in below.get(place, [])]
        count += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
    return count


def _place(drawing: _Drawing) -> None:
    """Pull each place to the middle of what it is joined to, and push those of a row apart, some times over."""
    x, above, below = drawing.x, drawing.neighbours(-1), drawing.neighbours(1)
    joined = {
        # Long arrows pull harder, so that they are straight.
        place: [
            each for each in above.get(place, []) + below.get(place, []) for _ in range(_pull(place, each))
        ]
        for row in drawing.rows
        for place in row
    }
    for row in drawing.rows:
        for number, place in enumerate(row, 1):
            x[place] = _WIDTH * number / (len(row) + 1)
    for turn in range(200):
        for row in drawing.rows if turn % 2 == 0 else reversed(drawing.rows):
            wanted = [_mean([x[each] for each in joined[place]]) for place in row]
            for place, at in zip(row, _apart(row, wanted), strict=True):
                x[place] = at


def _pull(place: Place, other: Place) -> int:
    return 1 + 3 * (isinstance(place, tuple) + isinstance(other, tuple))


def _apart(row: Sequence[Place], wanted: Sequence[float]) -> list[float]:
    """Return places near the wanted ones that neither overlap nor leave the picture."""
    halves = [_width(place) / 2 for place in row]
    gaps = [left + right + _GAP_PX for left, right in itertools.pairwise(halves)]
    found = list(wanted)
    for _ in range(40):
        for number, gap in enumerate(gaps):
            lack = gap - (found[number + 1] - found[number])
            if lack > 0:
                found[number] -= lack / 2
                found[number + 1] += lack / 2
    # What is left over is put right from the edges inwards.
    low = 4.0
    for number, half in enumerate(halves):
        found[number] = max(found[number], low + half)
        low = found[number] + half + _GAP_PX
    high = _WIDTH - 4.0
    for number, half in reversed(list(enumerate(halves))):
        found[number] = min(found[number], high - half)
        high = found[number] - half - _GAP_PX
    return found


def _width(place: Place) -> float:
    if isinstance(place, tuple):
        return _LINE_PX
    return 20 + _CHAR_PX * len(TITLES.get(place, place))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def layout_picture() -> str:
    """`explanation/layout.svg`."""
    drawing = _lay_out(folders())
    left = min(at - _width(place) / 2 for place, at in drawing.x.items()) - 2
    right = max(at + _width(place) / 2 for place, at in drawing.x.items()) + 2
    y = {place: _TOP_PX + _ROW_PX * number for number, row in enumerate(drawing.rows) for place in row}
    height = 2 * _TOP_PX + _ROW_PX * (len(drawing.rows) - 1) + _BOX_PX
    lines = "".join(_arrow(chain, drawing.x, y) for chain in drawing.chains)
    boxes = "".join(
        _box(place, drawing.x[place], y[place])
        for row in drawing.rows
        for place in row
        if isinstance(place, str)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {right - left:.0f} {height}" role="img" '
        'font-family="ui-monospace,monospace" font-size="14">'
        "<title>The folders of bfl_async: an arrow leads from a folder to one that it imports</title>"
        "<style>.folder{fill:#2f6fb3}.module{fill:#66727e}text{fill:#fff;text-anchor:middle}"
        "path{stroke:#808890;stroke-width:1.5;fill:none}.head{fill:#808890;stroke:none}</style>"
        f"{lines}{boxes}</svg>\n"
    )


def _box(name: str, x: float, y: int) -> str:
    title, width = TITLES.get(name, name), _width(name)
    kind = "folder" if (FOLDER / name).is_dir() else "module"
    return (
        f'<rect class="{kind}" x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{_BOX_PX}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y + 18}">{title}</text>'
    )


def _arrow(chain: Sequence[Place], x: Mapping[Place, float], y: Mapping[Place, int]) -> str:
    """Draw one arrow: a curve between rows, straight down past the boxes of a row."""
    start, end = chain[0], chain[-1]
    path = f"M{x[start]:.0f} {y[start] + _BOX_PX}"
    before = x[start], y[start] + _BOX_PX
    for place in chain[1:]:
        at, top = x[place], y[place] - (6 if place is end else 0)
        half = (before[1] + top) / 2
        path += f"C{before[0]:.0f} {half:.0f} {at:.0f} {half:.0f} {at:.0f} {top}"
        if place is not end:
            path += f"V{y[place] + _BOX_PX}"
        before = at, y[place] + _BOX_PX
    tip = x[end], y[end]
    return f'<path d="{path}"/><path class="head" d="M{tip[0]:.0f} {tip[1]}l-4 -8h8z"/>'
