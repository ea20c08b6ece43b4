"""What reaches stdout and stderr: data, words, and whether they may be coloured or redrawn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import click

SCHEMA = 1  # of all JSON that the commands print; docs/reference/json.md is its contract
_DUMB = ("dumb", "unknown")
_NO = ("", "0", "false")


def json_of(facts: Mapping[str, object]) -> str:
    """Return facts as one JSON object that names its schema."""
    return json.dumps({"schema": SCHEMA, **facts}, ensure_ascii=False)


def print_json(facts: Mapping[str, object]) -> None:
    """Print facts as a line of JSON to stdout."""
    click.echo(json_of(facts))


def say(text: str) -> None:
    """Write one line to stderr. Where nobody reads it any more, the work goes on without words."""
    try:
        click.echo(" ".join(text.split()), err=True)
    except BrokenPipeError:
        discard(sys.stderr)


def wants_color() -> bool | None:
    """What the environment says of colours; None: nothing, so that a terminal has them and a file has not.

    An empty variable is none. Where NO_COLOR and FORCE_COLOR are set, there are no colours.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") in _DUMB else None


def can_redraw(stream: TextIO) -> bool:
    """True for a terminal whose lines may be drawn anew; a dumb one cannot, and a CI's log keeps every drawing."""
    is_ci = os.environ.get("CI", "").lower() not in _NO
    return stream.isatty() and os.environ.get("TERM") not in _DUMB and not is_ci


def discard(stream: TextIO) -> None:
    """Let what is still written to a stream vanish: its reader has gone. Also what it holds at the program's end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
