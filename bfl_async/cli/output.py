"""What reaches stdout and stderr: data, words, and whether they may be coloured or redrawn.

All that the commands print goes through here. Nothing of it can move a cursor, end a line or fail to be encoded, and
a stream that is missing, or that cannot be written to, ends no work.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TextIO

import click

from bfl_async.runtime.text import escaped, printable

# What click says of numbers, and what a person is told.
_WORDS = (
    (re.compile(r"is not a valid integer(?: range)?"), "is not a whole number"),
    (re.compile(r"is not a valid float(?: range)?"), "is not a number"),
    (re.compile(r"is not in the range (\S+)<=x<=([^\s.]+)"), r"is not from \1 to \2"),
    (re.compile(r"is not in the range x>=([^\s.]+)"), r"is less than \1"),
    (re.compile(r"is not in the range x>([^\s=.]+)"), r"is not more than \1"),
)
SCHEMA = 1  # of all JSON that the commands print; docs/reference/json.md is its contract
_DUMB = ("dumb", "unknown")
_NO = ("", "0", "false")
# A line of words may hold a command to copy, with a URL in it.
_MAX_WORDS = 4_000
_STANDARD = ("stdin", "stdout", "stderr")


def open_missing_streams() -> None:
    """Open the null device in place of standard streams that are closed, and let no character fail to be encoded.

    Without this, the first files and sockets that a command opens would be its standard streams.
    """
    for number, name in enumerate(_STANDARD):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            stream = _open_null(number)
            setattr(sys, name, stream)
        if number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_null(number: int) -> TextIO:
    try:
        os.fstat(number)
    except OSError:
        # The lowest free number is not always this one: a test or an embedding program may have closed several.
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        return open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
    return open(os.devnull, "r" if number == 0 else "w", encoding="utf-8")


def json_text(value: object) -> str:
    """Return JSON in ASCII, without a character that a terminal could act on."""
    # The one control character that JSON does not escape.
    return json.dumps(value).replace("\x7f", "\\u007f")


def json_of(facts: Mapping[str, object]) -> str:
    """Return facts as one JSON object that names its schema."""
    return json_text({"schema": SCHEMA, **facts})


def print_json(facts: Mapping[str, object]) -> None:
    """Print facts as a line of JSON to stdout."""
    erase_line()
    click.echo(json_of(facts))


def print_line(text: str, *, bold: bool = False) -> None:
    """Print one line of data to stdout; what could act on a terminal is shown as an escape."""
    erase_line()
    line = escaped(text)
    click.echo(click.style(line, bold=True) if bold else line)


def print_marked(mark: str, color: str, text: str) -> None:
    """Print one line of data to stdout that begins with a coloured word."""
    click.echo(f"{click.style(mark, fg=color, bold=True)} {escaped(text)}")


def say(text: str) -> None:
    """Write one line to stderr. Where nobody can read it any more, the work goes on without words."""
    erase_line()
    try:
        click.echo(printable(text, _MAX_WORDS), err=True)
    except OSError:
        discard(sys.stderr)


# Whether stderr ends in a line that is drawn again. Written by draw_line and erase_line only.
_drawn = False
_TO_LINE_START = "\r\x1b[K"


def draw_line(text: str) -> None:
    """Draw a line on the terminal of stderr, in place of the one that was drawn last. Everything else erases it."""
    global _drawn
    _drawn = True
    with contextlib.suppress(OSError):
        click.echo(f"{_TO_LINE_START}{escaped(text)}", nl=False, err=True, color=True)


def erase_line() -> None:
    """Erase the line that was drawn last, if one was."""
    global _drawn
    if _drawn:
        _drawn = False
        with contextlib.suppress(OSError):
            click.echo(_TO_LINE_START, nl=False, err=True, color=True)


class SeveralProblems(click.ClickException):
    """A mistake whose message has one line per problem, each made safe to be shown."""


def say_error(error: click.ClickException) -> None:
    """Write a mistake in the command line to stderr, after the command's usage."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        # Its message is the help, with lines of its own.
        try:
            click.echo(error.format_message(), err=True)
        except OSError:
            discard(sys.stderr)
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        for line in error.ctx.get_usage().splitlines():
            say(line)
        say(f"Try '{error.ctx.command_path} -h' for help.")
        say("")
    name = "Error" if isinstance(error, click.UsageError) else "error"
    *lines, last = lines_of(error, name)
    for line in lines:
        say(line)
    say(last + _in_quotes(error))


def _in_quotes(error: click.ClickException) -> str:
    """Return what is to be added where a prompt was probably given as several words."""
    command = error.ctx.command if isinstance(error, click.UsageError) and error.ctx is not None else None
    takes_prompt = command is not None and any(each.name == "prompt" for each in command.params)
    is_one = error.message.startswith("Got unexpected extra argument")
    return ": put the prompt in quotes" if takes_prompt and is_one else ""


def lines_of(error: click.ClickException, name: str) -> list[str]:
    """Return an error in lines: one, unless it is about several rows, which have one each."""
    text = error.format_message()
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    if not isinstance(error, SeveralProblems):
        return [f"{name}: {text}"]
    first, *others = text.splitlines()
    return [f"{name}: {first}", *others]


@contextlib.contextmanager
def log_in_words() -> Iterator[None]:
    """Within: warnings of the log that nobody else takes are lines on stderr."""
    before, logging.lastResort = logging.lastResort, _Words(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = before


class _Words(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(record.getMessage())
            if record.exc_info and record.exc_info[0] is not None:
                for line in logging.Formatter().formatException(record.exc_info).splitlines():
                    say(line)
        except Exception:
            self.handleError(record)


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
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
