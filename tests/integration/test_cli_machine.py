"""Machines that lack something: standard streams, a home, signal handlers, file descriptors, a file system's fsync."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

import pytest

import bfl_async
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
    (4, ("batch", "prompts.txt", "--max-cost", "0.0001", "-m", "flux-2-max", "--sandbox")),
    (2, ("batch", "bad.jsonl")),
    (2, ("status", ".")),
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


# --- a user without a home, a package in a zip, few descriptors ---------------------------------------------

NO_HOME = """
import os, pathlib
def no_user(*_):
    raise KeyError("getpwuid(): uid not found: 987654")
import pwd
pwd.getpwuid = no_user
for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"):
    os.environ.pop(name, None)
"""


@pytest.mark.slow
def test_user_without_a_home_is_told_what_to_set(folder: Path) -> None:
    """Whatever needs a home says so in a line; all else works, and no folder named ~ appears."""
    (folder / "argvs.json").write_text(
        json.dumps(
            [*(argv for _, argv in COMMANDS), ["generate", "x"], ["batch", "prompts.txt", "-o", "other"]]
        )
    )
    code = f"{NO_HOME}\nimport sys\nsys.argv[1:] = ['argvs.json', 'codes.json']\n{DRIVER}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    *codes, generate, batch = json.loads((folder / "codes.json").read_text())
    assert codes == [code for code, _ in COMMANDS], done.stderr
    assert (generate, batch) == (ExitCode.USAGE, ExitCode.USAGE), done.stderr
    assert done.stderr.count("set XDG_STATE_HOME") == 2
    assert "cache folder: this user has no home folder; set XDG_CACHE_HOME and XDG_STATE_HOME" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (folder / "~").exists()
    library = f"{NO_HOME}\nfrom bfl_async.limiter import FileLimiter\nFileLimiter('{folder}')\nFileLimiter()"
    done = run_text(folder, library)
    assert "ConfigError: this user has no home folder: set XDG_STATE_HOME to an absolute path" in done.stderr


def run_text(folder: Path, text: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.slow
def test_package_in_a_zip_has_all_of_its_data(folder: Path) -> None:
    """Gallery, sandbox page and the script for Redis; there are no other files of data."""
    root = Path(bfl_async.__file__).parent
    archive = folder / "package.zip"
    data = []
    with zipfile.ZipFile(archive, "w") as written:
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                written.write(path, path.relative_to(root.parent))
                data += [path.name] if path.suffix != ".py" else []
    assert sorted(data) == ["book.lua", "gallery.css", "gallery.js", "page.html", "py.typed"]
    (folder / "argvs.json").write_text(
        json.dumps([["batch", "prompts.txt", *KLEIN], ["gallery", "out"], ["models"]])
    )
    code = f"""
import sys
sys.argv[1:] = ['argvs.json', 'codes.json']
import bfl_async
assert bfl_async.__file__.startswith({str(archive)!r})
{DRIVER}
import asyncio, bfl_async.limiter.redis_store
from bfl_async.sandbox import Sandbox
from urllib.request import urlopen
async def page():
    async with Sandbox() as sandbox:
        text = await asyncio.to_thread(lambda: urlopen(sandbox.url + "/sandbox").read())
        assert b"<script>" in text
asyncio.run(page())
"""
    done = run_text(folder, code, PYTHONPATH=str(archive))
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "codes.json").read_text()) == [0, 0, 0], done.stderr
    assert "<script" in (folder / "out/gallery.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("most", [16, 24, 40])
def test_few_descriptors_lose_nothing_that_is_paid(folder: Path, most: int) -> None:
    """A run that cannot open another file says why, without a traceback; the next one brings the rest."""
    (folder / "prompts.txt").write_text("".join(f"cat {n}\n" for n in range(20)))
    server = "from bfl_async.cli import main; import sys; sys.exit(main(['sandbox', '--speed', '50']))"
    with subprocess.Popen(
        [sys.executable, "-c", server],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as sandbox:
        assert sandbox.stdout is not None
        asked = dict(
            sandbox.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(2)
        )
        try:
            few = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))\n"
            argv = ["batch", "prompts.txt", "-m", "flux-2-klein-4b"]
            first = run_python(folder, *argv, before=few, XDG_STATE_HOME=str(folder / "one"), **asked)
            assert "Traceback" not in first.stderr, first.stderr
            assert first.returncode in [*ExitCode]
            # Where the first could not give its slots back, another run would wait for the end of their leases.
            second = run_python(folder, *argv, "--retry-failed", XDG_STATE_HOME=str(folder / "two"), **asked)
            assert second.returncode == 0, (first.stderr, second.stderr)
            with urlopen(f"{asked['BFL_BASE_URL']}/sandbox/statistics") as reply:
                assert json.load(reply)["accepted"] == 20
        finally:
            sandbox.terminate()
    assert len(list((folder / "out").glob("*.jpg"))) == 20


@pytest.mark.slow
@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS", "ENOTSUP"])
def test_file_system_without_fsync_loses_nothing(folder: Path, code: str) -> None:
    """Images, manifest and gallery are written where flushing is not a function of the file system."""
    (folder / "argvs.json").write_text(
        json.dumps(
            [
                ["batch", "prompts.txt", *KLEIN],
                ["gallery", "out"],
                ["generate", "a fox", "-o", "fox.jpg", *KLEIN],
            ]
        )
    )
    before = f"import os, errno\ndef fsync(_): raise OSError(errno.{code}, 'no fsync')\nos.fsync = fsync\n"
    done = run_text(folder, f"{before}import sys\nsys.argv[1:] = ['argvs.json', 'codes.json']\n{DRIVER}")
    assert json.loads((folder / "codes.json").read_text()) == [0, 0, 0], done.stderr
    assert len(list((folder / "out").glob("*.jpg"))) == 1
    assert (folder / "fox.jpg").stat().st_size > 0
    assert (folder / "out/gallery.html").stat().st_size > 0
