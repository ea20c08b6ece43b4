"""Writes what the code already knows: the commands from the click program, models and prices from the catalog, the
sandbox's fault dials, and the drawings of when polls are sent and of the package's layout.

python docs/generate.py            writes them
python docs/generate.py --check    says which are not what the code says
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from draw_layout import layout_picture

from bfl_async import Adaptive
from bfl_async.catalog import CATALOG, SOURCES, FieldInfo, ModelInfo, describe
from bfl_async.cli.app import cli
from bfl_async.cli.catalog_text import price_text
from bfl_async.cli.exit_codes import ExitCode
from bfl_async.models import request_classes
from bfl_async.models.catalog import Flat, PerMegapixel, PerMegapixelSecond, PerSecond
from bfl_async.polling.book import TimingsBook
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.sandbox import DIALS

DOCS = Path(__file__).parent

# --- commands -------------------------------------------------------------------------------------------


def cli_page() -> str:
    """`reference/cli.md`."""
    told, examples = _help(cli)
    lines = [
        "# Command line",
        *told,
        *examples,
        "`pip install 'bfl-async[cli]'` brings it. Results go to stdout, what is said about them to stderr. "
        "`bfl-async COMMAND --help` shows what stands here.",
        "## Exit codes",
        _table(("code", "meaning"), [(f"`{code}`", _escaped(code.meaning)) for code in ExitCode]),
    ]
    for command, path in _commands(cli, "bfl-async"):
        lines += _command(command, path)
    return "\n\n".join(lines) + "\n"


def _commands(group: click.Group, path: str) -> Iterator[tuple[click.Command, str]]:
    for name, command in sorted(group.commands.items()):
        yield command, f"{path} {name}"
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def _command(command: click.Command, path: str) -> list[str]:
    told, examples = _help(command)
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path.removeprefix('bfl-async ')}", f"```text\n{usage}\n```", *told]
    if options := [each for each in command.params if isinstance(each, click.Option) and not each.hidden]:
        rows = [_option(each, context) for each in options]
        lines.append(_table(("option", "meaning"), rows))
    return lines + examples


def _help(command: click.Command) -> tuple[list[str], list[str]]:
    """What a command's help says, in paragraphs, and the block of its examples, if it has any."""
    told, _, rest = (command.help or "").partition("\b\n")
    examples = [line.strip() for line in rest.strip().removeprefix("Examples:").strip().splitlines()]
    return _paragraphs(told), ["\n".join(("```text", *examples, "```"))] if examples else []


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    assert record is not None
    names, told = record
    return f"`{names}`", told


def _paragraphs(text: str) -> list[str]:
    return [_escaped(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]


# --- models ---------------------------------------------------------------------------------------------


def models_page() -> str:
    """`reference/models.md`."""
    rows = [
        (
            f"[`{row.name}`](#{_anchor(row.name)})",
            price_text(row),
            " ".join(row.source),
            ", ".join(row.pools),
            f"{row.median_s:g}",
            row.state + (f", use `{row.replaced_by}`" if row.replaced_by else ""),
        )
        for row in CATALOG.values()
    ]
    lines = [
        "# Models and prices",
        "What this release knows of each model. A name that is not here is sent as it is, with one warning: see "
        "[a newer model](../howto/new-models.md). A field that is not here goes into `extra_body`.",
        "Prices are in credits (1 credit = 0.01 USD), as published; what the server states with its reply counts. "
        '"Unknown": no price is published. "At least": two sources contradict each other; an estimate takes the lower '
        "one, and a budget the higher one. MP: 1,048,576 px.",
        "Every model counts in the account's pool, and in the pool that the table names. Seconds: the median from "
        "accepted to Ready that a client expects until it has measured its own.",
        'Sources of the prices, by the letters in the table. "Against that": it contradicts the letter before it.',
        _table(("letter", "source"), [(f"{letter}", text) for letter, text in SOURCES.items()]),
        _table(("model", "price in credits", "source", "pool", "seconds", "state"), rows),
    ]
    for row in CATALOG.values():
        lines += _model(row)
    return "\n\n".join(lines) + "\n"


def _model(row: ModelInfo) -> list[str]:
    fields = describe(row.name)
    classes = request_classes(row.name)
    with_modes = len(classes) > 1
    head = (*(("mode",) if with_modes else ()), "field", "type", "default", "bounds")
    table = [(*((f"`{each.mode}`",) if with_modes else ()), *_field(each)) for each in fields]
    told = [f"`bfl_async.{cls.__name__}`: {' '.join(_doc(cls))}" for cls in classes]
    return [f"## {row.name} {{ #{_anchor(row.name)} }}", *told, *_price(row), _table(head, table)]


def _doc(cls: type) -> list[str]:
    """The paragraphs of a class's docstring: what it does, and where its fields are from, if only a parent says so."""
    own, *inherited = [
        [" ".join(part.split()) for part in (each.__doc__ or "").split("\n\n")] for each in cls.__mro__
    ]
    if any(part.startswith("Source:") for part in own):
        return own
    return own + [part for parts in inherited for part in parts if part.startswith("Source:")][:1]


def _price(row: ModelInfo) -> list[str]:
    """Each price of a model with its source, where the table has a range; nothing without a price."""
    match row.price:
        case None:
            return []
        case Flat(_, by_resolution) if by_resolution is not None:
            told = _listed(by_resolution)
        case PerSecond(by_mode):
            told = "; ".join(f"{mode} a second: {_listed(rates)}" for mode, rates in by_mode.items())
        case PerMegapixelSecond(by_creativity, captured):
            told = "by `creativity`, for a MP and second: " + _listed(by_creativity)
            if captured is not None:
                told += f"; as captured: {_listed(captured)}"
        case PerMegapixel(_, _, highest) if highest is not None:
            told = f"{price_text(row)}; by the other source {highest[0]:g} + {highest[1]:g}"
        case _:
            told = price_text(row)
    return [f"Credits: {told}. Source: {_source(row)}."]


def _listed(prices: Mapping[Any, float]) -> str:
    return ", ".join(f"{name} {credits:g}" for name, credits in prices.items())


def _field(field: FieldInfo) -> tuple[str, str, str, str]:
    default = (
        "must be given"
        if field.required
        else ""
        if field.default is None
        else f"`{json.dumps(field.default)}`"
    )
    return f"`{field.name}`", f"`{field.type}`", default, field.bounds


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name)


def _source(row: ModelInfo) -> str:
    return "; ".join(SOURCES[letter] for letter in row.source)


# --- dials ----------------------------------------------------------------------------------------------


def dials_page() -> str:
    """`reference/dials.md`."""
    lines = [
        "# Fault dials",
        "What can go wrong at the sandbox, for `Sandbox(faults=...)`, `sandbox.faults.set(...)` and its page in the "
        "browser. Those of a submit can stand in a script as well. [Test your application](../howto/testing.md) tells "
        "how they are used.",
        _table(("dial", "what happens"), [(f"`{name}`", text) for name, text in DIALS.items()]),
    ]
    return "\n\n".join(lines) + "\n"


# --- when polls are sent --------------------------------------------------------------------------------

_MODEL = "flux-2-klein-4b"
_SHOWN_S = 3.0
_TASKS = 200
_POLL_S = 0.115  # a poll's round trip, as recorded


def polling_picture() -> str:
    """`explanation/polling.svg`: how likely a task ends when, and the polls of a fixed interval and of `Adaptive`."""
    row = CATALOG[_MODEL]
    width, left, right, base = 480, 95, 15, 150
    scale = (width - left - right) / _SHOWN_S

    def x(seconds: float) -> str:
        return f"{left + seconds * scale:.1f}"

    def density(seconds: float) -> float:
        z = (math.log(seconds) - math.log(row.median_s)) / row.sigma
        return math.exp(-z * z / 2) / seconds

    most = max(density(step / 100) for step in range(1, 301))
    curve = " ".join(
        f"{x(step / 100)},{base - 110 * density(step / 100) / most:.1f}" for step in range(1, 301, 3)
    )
    fixed = [0.5 * number for number in range(1, int(_SHOWN_S / 0.5) + 1)]
    rows = [("every 0.5 s", 190, fixed), ("Adaptive()", 230, _adaptive_polls())]
    marks = "".join(
        f'<text x="10" y="{y + 5}">{name}</text>'
        + "".join(f'<path d="M{x(at)} {y - 9}v18"/>' for at in polls if at <= _SHOWN_S)
        for name, y, polls in rows
    )
    axis = "".join(
        f'<text x="{x(second)}" y="{base + 18}" text-anchor="middle">{second} s</text>'
        for second in range(int(_SHOWN_S) + 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 250" role="img" '
        'font-family="sans-serif" font-size="14">'
        f"<title>When tasks of {_MODEL} end, and when polls are sent</title>"
        "<style>text{fill:#808890}path,polyline{stroke:#3a86d8;stroke-width:2;fill:none}line{stroke:#808890}</style>"
        f'<text x="10" y="{base - 50}">how likely it</text><text x="10" y="{base - 32}">ends then</text>'
        f'<polyline points="{curve}"/><line x1="{left}" x2="{width - right}" y1="{base}" y2="{base}"/>'
        f"{axis}{marks}</svg>\n"
    )


class _Middle(random.Random):
    """No jitter."""

    def random(self) -> float:
        return 0.5


def _adaptive_polls() -> list[float]:
    """Seconds at which `Adaptive` polls a task that does not end, once it has learnt the model's times."""
    timings, policy = _learnt(), Adaptive()
    readings: list[Reading] = []
    while not readings or readings[-1].elapsed_s < _SHOWN_S:
        at = readings[-1].elapsed_s if readings else 0.0
        at += policy.wait_s(at, readings, timings, _Middle()) + _POLL_S / 2
        readings.append(Reading(at, None, "Pending"))
    return [reading.elapsed_s for reading in readings]


def _learnt() -> Timings:
    row, book, rng = CATALOG[_MODEL], TimingsBook(), random.Random(1)
    book.round_trips.note_poll(_POLL_S)
    for _ in range(_TASKS):
        ended_s = row.median_s * math.exp(rng.gauss(0, row.sigma))
        book.observe(_MODEL, None, row.prior, [Reading(ended_s - 0.05, None, "Pending")], ended_s)
    return book.of(_MODEL, None, row.prior)


# --- both -----------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    listed = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in listed)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def pages() -> dict[Path, str]:
    """The files and their text."""
    return {
        DOCS / "reference" / "cli.md": cli_page(),
        DOCS / "reference" / "models.md": models_page(),
        DOCS / "reference" / "dials.md": dials_page(),
        DOCS / "explanation" / "polling.svg": polling_picture(),
        DOCS / "explanation" / "layout.svg": layout_picture(),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` compare them; return the exit code."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is not what the code says: run python docs/generate.py\n")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
