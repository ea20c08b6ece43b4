"""Terminals, pipes, and what the environment asks of them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bfl_async.cli.exit_codes import ExitCode
from tests.integration.test_cli import accepted, server, start_batch
from tests.terminal import all_written_to

__all__ = ["server"]  # the fixture

KLEIN = ("-m", "flux-2-klein-4b")  # the quickest
COLOR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")
REDRAWN = "\x1b[?25l"  # a display hides the cursor
ASKED = ("NO_COLOR", "FORCE_COLOR", "TERM", "CI")


def environment(**asked: str) -> dict[str, str]:
    """The environment of a plain terminal, and what is asked beside that."""
    kept = {name: value for name, value in os.environ.items() if name not in ASKED}
    return {**kept, "TERM": "xterm-256color", "COLUMNS": "80", **asked}


def on_terminal(folder: Path, *argv: str, **asked: str) -> str:
    """What a command writes to a terminal, to stdout and stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "bfl_async", *argv],
        cwd=folder, env=environment(**asked), stdin=theirs, stdout=theirs, stderr=theirs,
    ) as command:  # fmt: skip
        os.close(theirs)
        written = all_written_to(ours)
        assert command.wait(30) == 0
    return written.decode()


def in_pipe(folder: Path, *argv: str, **asked: str) -> tuple[str, str]:
    """What a command writes to stdout and stderr where neither is a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "bfl_async", *argv],
        cwd=folder, env=environment(**asked), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("asked", "is_styled"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_terminal_is_styled_unless_told_otherwise(
    tmp_path: Path, asked: dict[str, str], is_styled: bool
) -> None:
    """NO_COLOR, FORCE_COLOR and dumb terminals; an empty variable asks for nothing."""
    assert ("\x1b[" in on_terminal(tmp_path, "models", **asked)) == is_styled


@pytest.mark.parametrize(("asked", "is_colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_doctor_marks_what_is_well_in_green(tmp_path: Path, asked: dict[str, str], is_colored: bool) -> None:
    """And warnings in yellow; a pipe has the words alone."""
    written = on_terminal(tmp_path, "doctor", "--sandbox", **asked)
    assert ("\x1b[32m\x1b[1mok  \x1b[0m key: " in written) == is_colored
    assert re.search(r"ok  (\x1b\[0m)? sqlite: 3", written)
    plain, _ = in_pipe(tmp_path, "doctor", "--sandbox")
    assert "ok   key: " in plain
    assert "\x1b" not in plain


def test_pipe_is_plain_unless_told_otherwise(tmp_path: Path) -> None:
    """FORCE_COLOR is for those who page it."""
    assert "\x1b" not in in_pipe(tmp_path, "models")[0]
    assert "\x1b[1m" in in_pipe(tmp_path, "models", FORCE_COLOR="1")[0]


@pytest.mark.parametrize(
    ("asked", "is_redrawn", "is_colored"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"CI": "true"}, False, False),
    ],
)
@pytest.mark.slow
def test_batch_draws_where_a_terminal_can(
    tmp_path: Path, asked: dict[str, str], is_redrawn: bool, is_colored: bool
) -> None:
    """Elsewhere, and in a CI's log, a plain line an outcome."""
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    written = on_terminal(tmp_path, "batch", "prompts.txt", *KLEIN, "--sandbox", **asked)
    assert (REDRAWN in written) == is_redrawn
    assert bool(COLOR.search(written)) == is_colored
    assert ("\nout/00001-a-dog.jpg" in f"\n{written}") == (not is_redrawn)
    assert "2 prompts in " in written
    assert "{" not in written
    assert is_redrawn or "\x1b" not in written


@pytest.mark.parametrize("command", ["generate", "result"])
@pytest.mark.parametrize("server", [4], indirect=True)
def test_wait_for_an_image_is_shown_where_a_terminal_can(
    server: subprocess.Popen[str], tmp_path: Path, command: str
) -> None:
    """State and seconds, the task's id on demand; then the line is gone. Nothing in a pipe, a dumb terminal, a CI."""
    argv = [command, "a cat", *KLEIN]
    if command == "result":
        shown, err = in_pipe(tmp_path, "generate", "a cat", *KLEIN, "--json")
        assert err == ""
        argv = [command, json.loads(shown)["task_id"]]
    written = on_terminal(tmp_path, *argv, "-v", "-o", "a.jpg")
    frames = written.split("\r\x1b[K")
    assert frames[0] == ""
    assert any(re.search(r" · \d s", frame) for frame in frames)
    assert command == "result" or any(re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}$", frame) for frame in frames)
    assert frames[-1] == "a.jpg\r\n"
    for asked in ({"TERM": "dumb"}, {"CI": "1"}):
        assert on_terminal(tmp_path, *argv, "-o", "a.jpg", "--force", **asked) == "a.jpg\r\n"
    assert in_pipe(tmp_path, *argv, "-v", "-o", "b.jpg", FORCE_COLOR="1") == ("b.jpg\n", "")


def test_batch_in_a_pipe_never_draws(tmp_path: Path) -> None:
    """Also where colours are forced: stdout is JSON, stderr is lines."""
    (tmp_path / "prompts.txt").write_text("a cat\n")
    out, err = in_pipe(tmp_path, "batch", "prompts.txt", *KLEIN, "--sandbox", FORCE_COLOR="1")
    assert [*map(json.loads, out.splitlines())]
    assert "\x1b" not in out + err


@pytest.mark.slow
def test_reader_of_a_batch_that_goes_loses_nothing(server: subprocess.Popen[str], tmp_path: Path) -> None:
    """`batch | head -1`: nothing more is sent, each task that was paid is saved, and the same again goes on."""
    batch = start_batch(tmp_path)
    assert batch.stdout is not None
    assert batch.stderr is not None
    batch.stdout.readline()
    batch.stdout.close()
    err = batch.stderr.read()
    batch.stderr.close()
    assert batch.wait(10) == ExitCode.READER_GONE
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert "the same command again sends them" in err
    saved = len(list((tmp_path / "out").glob("*.jpg")))
    assert accepted() == saved == len((tmp_path / "out/manifest.jsonl").read_text().splitlines()) < 20
    shown, _ = in_pipe(tmp_path, "status", "out", "--json")
    counts = json.loads(shown)["counts"]
    assert (counts["saved"], counts["saved"] + counts["queued"]) == (saved, sum(counts.values()))


@pytest.mark.slow
def test_reader_of_words_and_data_that_goes_loses_nothing(
    server: subprocess.Popen[str], tmp_path: Path
) -> None:
    """`batch 2>&1 | head -1`: there is nobody left to tell, and it still comes home."""
    with start_batch(tmp_path, stderr=subprocess.STDOUT) as batch:
        assert batch.stdout is not None
        batch.stdout.readline()
        batch.stdout.close()
        assert batch.wait(20) == ExitCode.READER_GONE
    assert accepted() == len(list((tmp_path / "out").glob("*.jpg"))) < 20
