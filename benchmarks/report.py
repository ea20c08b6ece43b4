"""What the benchmark prints and writes: the table, the page in `docs`, and the raw results."""

import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from string import Template

from benchmarks.clients import INTERVAL_S, OVERLAP
from benchmarks.expected import NAMES, Expected, Judged
from benchmarks.measure import ROUND_TRIPS, Run, Skipped, Summary
from benchmarks.official import REQUIREMENT

# The figures of the table, and the digits of each.
_COLUMNS = {
    "efficiency": 3, "lag_s": 3, "lag_p95_s": 2, "polls": 2, "cost_s": 3, "cpu_ms": 2, "cpu_vs_hand": 2,
    "peak_mb": 1, "refused": 0, "refused_early": 3, "back_after": 0,
}  # fmt: skip
_ABSENT = "-"


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and over several rounds their standard deviation."""
    if not all(math.isfinite(value) for value in values):
        return "never"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ±{statistics.stdev(values):.{digits}f}"


def aligned(lines: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return lines of cells as a table; the first line is its head, the first columns are texts."""
    head = lines[0]
    widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(len(head))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in chain((head, rule), lines[1:])
    )


def _cells(row: Summary) -> list[str]:
    return [
        spread(values, digits) if (values := row.figures.get(name)) else _ABSENT
        for name, digits in _COLUMNS.items()
    ]


def _tasks(row: Summary) -> str:
    rounds, tasks = len(row.runs), len(row.runs[0].rows)
    return f"{tasks:,}" if rounds == 1 else f"{rounds} x {tasks:,}"


def table(rows: Sequence[Summary]) -> str:
    """Return a row per scenario and client, and a line for each that was left out."""
    lines = [["scenario", "client", "tasks", *(NAMES[name] for name in _COLUMNS)]]
    lines += [[row.scenario.name, row.client.name, _tasks(row), *_cells(row)] for row in rows if row.runs]
    left_out = [f"left out: {row.scenario.name}, {row.client.name}: {row.why_skipped}"
                for row in rows if row.why_skipped is not None]  # fmt: skip
    return "\n".join([aligned(lines, texts=2), *left_out])


def verdict(judged: Sequence[Judged]) -> list[str]:
    """Return a line for each expected figure that was not reached."""
    return [
        f"not as expected: {each.expected}, measured {each.value:.3f}" for each in judged if not each.reached
    ]


def parameters(seed: int, rounds: int, *, one_by_one: bool) -> dict[str, str | int | float | bool]:
    """Return what a reader needs to repeat the run."""
    return {
        "seed": seed,
        "rounds": rounds,
        "slots": 12,
        "poll_interval_s": INTERVAL_S,
        "poll_round_trip_s": ROUND_TRIPS.poll_s,
        "submit_round_trip_s": ROUND_TRIPS.submit_s,
        "overlap": OVERLAP,
        "one_by_one": one_by_one,
        "python": platform.python_version(),
        "cores": os.cpu_count() or 0,
        **{name.replace("-", "_"): version(name) for name in ("bfl-async", "aiohttp", "requests")},
    }


def raw(run: Run | Skipped) -> dict[str, object]:
    """Return a run for the file of results, a row per task included."""
    if isinstance(run, Skipped):
        return {"scenario": run.scenario.name, "client": run.client.name, "skipped": run.why}
    return {
        "scenario": asdict(run.scenario),
        "client": run.client.name,
        "round": run.round,
        "seed": run.seed,
        "ideal_s": run.ideal_s,
        **run.measured._asdict(),
        "refused_429": run.refused_429,
        **run.figures(),
        "rows": [row._asdict() for row in run.rows],
    }


_PAGE = Template((Path(__file__).parent / "page.md").read_text("utf-8"))


def page(
    rows: Sequence[Summary], judged: Sequence[Judged], facts: dict[str, str | int | float | bool],
    *, date: str, command: str
) -> str:  # fmt: skip
    """Return `docs/benchmarks.md`."""
    head = ["scenario", "client", "tasks", *(NAMES[name] for name in _COLUMNS)]
    lines = [head, ["---", "---", *("--:" for _ in head[2:])]]
    lines += [[row.scenario.name, row.client.name, _tasks(row), *_cells(row)] for row in rows if row.runs]
    left_out = [
        f"- {row.scenario.name}, {row.client.name}: {row.why_skipped}"
        for row in rows
        if row.why_skipped is not None
    ]
    verdicts = [
        ["scenario", "client", "figure", "expected", "measured", "verdict"],
        ["---", "---", "---", "--:", "--:", "---"],
    ]
    verdicts += [
        [
            each.expected.scenario,
            each.expected.client,
            NAMES[each.expected.figure],
            f"{each.expected.sign} {each.expected.bound:g}",
            _shown(each),
            "" if each.reached else "**missed**",
        ]
        for each in judged
    ]
    return _PAGE.substitute(
        date=date,
        command=command,
        cores=facts["cores"],
        parameters=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()),
        official=REQUIREMENT,
        table=_markdown(lines),
        left_out="\nLeft out:\n\n" + "\n".join(left_out) + "\n" if left_out else "",
        judged=_markdown(verdicts) if judged else "No figure is expected of these parameters.",
    )


def _shown(each: Judged) -> str:
    expected: Expected = each.expected
    return spread([each.value], _COLUMNS.get(expected.figure, 2))


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
