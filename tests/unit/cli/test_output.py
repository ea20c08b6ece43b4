"""What the commands print: every line is one, and nothing in it acts on a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys

import click
import pytest

from bfl_async.cli.display import render
from bfl_async.cli.output import (
    json_of,
    log_in_words,
    open_missing_streams,
    print_json,
    print_line,
    say,
    say_error,
)
from bfl_async.cli.snapshot import Snapshot
from tests.nasty import NASTY, RAW


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_line_is_one_and_acts_on_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Words, data, JSON, mistakes and the log."""
    say(text)
    print_line(text)
    print_json({"x": text, text: 1})
    say_error(click.ClickException(text))
    say_error(click.UsageError(text, click.Context(click.Command("x"))))
    with log_in_words():
        last = logging.lastResort
        assert last is not None
        last.handle(logging.makeLogRecord({"msg": text, "args": (), "levelno": logging.WARNING}))
    out, err = capsys.readouterr()
    assert (out.count("\n"), err.count("\n")) == (2, 7)
    assert RAW.search(out + err) is None
    assert "\t" not in out + err
    assert len(err) < 20_000


def test_json_is_ascii_and_says_what_it_was_given() -> None:
    """Whatever the text, reading the line gives the same object."""
    for text in NASTY:
        line = json_of({"x": text})
        assert line.isascii()
        assert RAW.search(line) is None
        assert json.loads(line) == {"schema": 1, "x": text}


def test_display_acts_on_nothing() -> None:
    """Notes and errors of the display of a batch."""
    from rich.console import Console

    counts = dict.fromkeys(("saved", "ready", "failed", "moderated", "ambiguous"), 0)
    for text in NASTY:
        shown = Snapshot(counts, 9, 1, 2, 3.0, None, 5.0, note=text)
        console = Console(file=io.StringIO(), width=100, no_color=True)
        with console.capture() as captured:
            console.print(render(shown, 1.0, (text, text), 100))
        assert RAW.search(captured.get()) is None


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "koi8-r"])
def test_no_text_fails_to_be_encoded(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a code page does not have is escaped."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    open_missing_streams()
    for text in [*NASTY[:-1], "a fox \U0001f98a für Łódź"]:
        say(text)
        print_line(text)
        print_json({"x": text})
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue().decode(encoding)


def test_missing_streams_are_opened_on_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the number belongs to somebody else."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_missing_streams()
    opened = (sys.stdin, sys.stdout, sys.stderr)
    say("x")
    print_line("x")
    print_json({})
    assert sys.stdin.read() == ""
    assert not any(stream.isatty() for stream in opened)
    for stream in opened:
        stream.close()
