"""Machines that lack something: standard streams, a home, signal handlers, file descriptors, a file system's fsync."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bfl_async.cli.exit_codes import ExitCode
from tests.integration.test_cli_nasty import DRIVER

KLEIN = ("-m", "flux-2-klein-4b", "--sandbox")  # the quickest

# With a key, so that none ends for want of one; the address has no server.
ENVIRONMENT = {"BFL_API_KEY": "a-key-of-no-account", "BFL_BASE_URL": "http://127.0.0.1:1"}

COMMANDS: list[tuple[int, tuple[str, ...]]] = [
    (0, ("generate", "a cat", *KLEIN)),
    (2, ("generate", "-", *KLEIN)),
    (0, ("batch", "prompts.txt", *KLEIN)),
    (2, ("batch", "-", *KLEIN)),
    (0, ("batch", "prompts.txt", "--dry-run", *KLEIN)),
    (2, ("batch", "prompts.txt", "--max-cost", "0.0001", "-m", "flux-2-max", "--sandbox")),
    (2, ("batch", "bad.jsonl")),
    (1, ("status", ".")),
    (1, ("result", "a-task", "--sandbox", "--timeout", "0.1")),
    (0, ("credits", "--sandbox")),
    (130, ("finetunes", "delete", "x", "--sandbox")),
    (0, ("gallery", ".")),
    (1, ("doctor",)),
    (0, ("models",)),
    (1, ("jobs", "--dsn", "postgresql://127.0.0.1:1/x")),
    (0, ("--help",)),
    (2, ("no-such-command",)),
]
"""Each with its exit code where standard input is empty."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "bad.jsonl").write_text('{"no": "prompt"}\n')
    return tmp_path


def run_python(folder: Path, *argv: str, before: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process where something has been changed before."""
    code = f"{before}\nimport sys\nfrom bfl_async.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=folder, env={**os.environ, **ENVIRONMENT, **more}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_closed_standard_stream_ends_no_command(folder: Path, closed: tuple[int, ...]) -> None:
    """Each command ends with the same code as with streams on the null device, and says nothing of a bug."""
    streams = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    for code, argv in COMMANDS:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "bfl_async", *argv],
            cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=50,
        )  # fmt: skip
        assert "Traceback" not in done.stderr + done.stdout, (argv, done.stderr)
        assert "Exception ignored" not in done.stderr, (argv, done.stderr)
        assert done.returncode == code, (argv, done.stderr)
    assert len(list((folder / "out").glob("*.jpg"))) == 1


@pytest.mark.slow
def test_no_file_of_a_run_becomes_a_standard_stream(folder: Path) -> None:
    """The ledger is not written to by what prints to a number that was closed."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m bfl_async batch prompts.txt {' '.join(KLEIN)} 0<&- 1>&- 2>&-"],
        cwd=folder, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0
    assert len(list((folder / "out").glob("*.jpg"))) == 1
    assert (folder / "out/run.db").read_bytes().startswith(b"SQLite format 3")
    assert json.loads((folder / "out/manifest.jsonl").read_text())["state"] == "saved"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_under_the_output_ends_no_paid_work(folder: Path) -> None:
    """What was sent is saved; nothing more is sent, and the reason is told."""
    (folder / "prompts.txt").write_text("a cat\na dog\na fox\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", *KLEIN],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50,
        )  # fmt: skip
    assert done.returncode == ExitCode.FAILED
    assert "cannot write the output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    status = run_python(folder, "status", "out", "--json")
    counts = json.loads(status.stdout)["counts"]
    assert counts["submitted"] == counts["ready"] == counts["ambiguous"] == counts["failed"] == 0
    assert counts["saved"] == len(list((folder / "out").glob("*.jpg"))) > 0


# --- signals ----------------------------------------------------------------------------------------------

NO_HANDLERS = """
import asyncio
def refuse(*_):
    raise NotImplementedError
asyncio.SelectorEventLoop.add_signal_handler = refuse
asyncio.SelectorEventLoop.remove_signal_handler = refuse
"""


@pytest.mark.slow
def test_loop_without_signal_handlers_runs_every_command(folder: Path) -> None:
    """As on Windows: each ends as it does elsewhere."""
    (folder / "argvs.json").write_text(json.dumps([argv for _, argv in COMMANDS]))
    code = f"{NO_HANDLERS}\nimport sys\nsys.argv[1:] = ['argvs.json', 'codes.json']\n{DRIVER}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    codes = json.loads((folder / "codes.json").read_text())
    assert codes == [code for code, _ in COMMANDS], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("argv", "ready", "stopped"),
    [
        (("sandbox",), "the sandbox listens", (0, 0)),
        (("batch", "prompts.txt", "-m", "flux-pro-1.1", "--sandbox"), "saved", (130, 143)),
    ],
    ids=["sandbox", "batch"],
)
def test_loop_without_signal_handlers_is_stopped_by_signals(
    folder: Path, argv: Sequence[str], ready: str, stopped: tuple[int, int], number: signal.Signals
) -> None:
    """The first signal ends a sandbox, and lets a batch save what it has sent."""
    (folder / "prompts.txt").write_text("".join(f"cat {n}\n" for n in range(200)))
    code = f"{NO_HANDLERS}\nimport sys\nfrom bfl_async.cli import main\nsys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stderr is not None
        said = ""
        while ready not in said:
            said += command.stderr.readline()
        command.send_signal(number)
        began = time.monotonic()
        said += command.stderr.read()
        assert command.wait(30) == stopped[number is signal.SIGTERM]
    assert time.monotonic() - began < 20
    assert "Traceback" not in said
    if argv[0] == "batch":
        counts = json.loads(run_python(folder, "status", "out", "--json").stdout)["counts"]
        assert counts["submitted"] == counts["ready"] == counts["ambiguous"] == 0
        assert 0 < counts["saved"] < 200
