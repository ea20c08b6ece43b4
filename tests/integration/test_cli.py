"""The command line as its user meets it: output, files, exit codes, and one line for each mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from bfl_async.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in an empty folder, without a key; return exit code, stdout, stderr."""
    monkeypatch.delenv("BFL_API_KEY", raising=False)
    monkeypatch.delenv("BFL_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(argv))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_generate_saves_an_image_of_the_asked_size(run: Run) -> None:
    """The file's name goes to stdout; `--json` prints an object."""
    code, out, err = run("generate", "a cat", "--width", "256", "--height", "320", "-o", "cat", "--sandbox")
    assert (code, out, err) == (0, "cat.jpg\n", "")
    with Image.open("cat.jpg") as image:
        image.load()
        assert image.size == (256, 320)
    Path("folder").mkdir()
    code, out, _ = run("generate", "a cat", "-o", "folder", "-m", "flux-2-klein-4b", "--json", "--sandbox")
    shown = json.loads(out)
    assert code == 0
    assert Path(shown["file"]).parent == Path("folder")
    assert Path(shown["file"]).exists()
    assert shown["model"] == "flux-2-klein-4b"
    assert shown["prompt"] == "a cat"


def test_batch_writes_an_image_and_a_json_line_for_each_prompt(run: Run) -> None:
    """24 prompts on 12 slots; nothing but JSON on stdout."""
    Path("prompts.txt").write_text("\n\n".join(f"prompt number {n}, ünïcode ✨" for n in range(24)), "utf-8")
    code, out, err = run(
        "batch", "prompts.txt", "-o", "out", "--sandbox", "--width", "256", "--height", "256"
    )
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(24))
    for line in lines:
        assert line["status"] == "ready"
        assert line["prompt"] == f"prompt number {line['index']}, ünïcode ✨"
        with Image.open(line["file"]) as image:
            image.load()
    assert len(list(Path("out").iterdir())) == 24
    assert "24 prompts" in err


def test_batch_reports_what_failed_and_goes_on(run: Run) -> None:
    """Moderated and failed prompts are outcomes; the exit code says that the batch is partial."""
    Path("prompts.txt").write_text("a cat\n[moderate-prompt] x\n[fail] y\n../../etc/passwd\n")
    code, out, _ = run("batch", "prompts.txt", "-o", "out", "--sandbox")
    by_index = {line["index"]: line for line in map(json.loads, out.splitlines())}
    assert code == 3
    assert [by_index[n]["status"] for n in range(4)] == ["ready", "moderated", "failed", "ready"]
    assert by_index[1]["error"]["type"] == "TaskModeratedError"
    assert by_index[3]["file"] == os.path.join("out", "00004-etc-passwd.jpg")


def test_batch_reads_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, read as it comes."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe, os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        def feed() -> None:
            pipe.write(b"one\n\ntwo\n")
            pipe.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        code, out, _ = run("batch", "-", "--sandbox", "-o", "out")
        feeder.join()
    assert code == 0
    assert sorted(json.loads(line)["prompt"] for line in out.splitlines()) == ["one", "two"]


def test_batch_reads_a_named_pipe_once(run: Run) -> None:
    """`batch <(command)`: a pipe cannot be read twice."""
    os.mkfifo("pipe")
    feeder = threading.Thread(target=lambda: Path("pipe").write_text("one\ntwo\n"))
    feeder.start()
    code, out, _ = run("batch", "pipe", "--sandbox", "-o", "out")
    feeder.join()
    assert code == 0
    assert len(out.splitlines()) == 2


def test_interrupt_while_standard_input_is_silent(tmp_path: Path) -> None:
    """Ctrl-C ends a batch that waits for its next line, without a word from the interpreter."""
    batch = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "batch", "-", "--sandbox"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert batch.stdin is not None
    assert batch.stdout is not None
    batch.stdin.write("a cat\n")
    batch.stdin.flush()
    assert json.loads(batch.stdout.readline())["status"] == "ready"
    batch.send_signal(signal.SIGINT)
    assert batch.wait(20) == 130
    assert batch.stderr is not None
    assert batch.stderr.read().splitlines()[-1] == "interrupted"
    for pipe in (batch.stdin, batch.stdout, batch.stderr):
        pipe.close()


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["generate", "a cat"], 2, "BFL_API_KEY"),
        (["generate", "a cat", "--width", "1000", "--sandbox"], 2, "width: Input should be a multiple of 32"),
        (["generate", "a cat", "-m", "flux-nope", "--sandbox"], 1, "no model 'flux-nope'"),
        (["generate", "a cat", "-m", "../x", "--sandbox"], 2, "not a model name"),
        (["generate", "a cat", "--steps", "20", "--sandbox"], 2, "no such field"),
        (["generate", "[moderate-output] x", "--sandbox"], 5, "moderation refused the output"),
        (["generate", "[fail] x", "--sandbox"], 1, "failed on the server"),
        (["generate", "a cat", "--timeout", "0.01", "--sandbox"], 1, "timeout"),
        (["generate", "a cat", "-o", "file/cat.jpg", "--sandbox"], 2, "cannot write to the folder 'file'"),
        (["batch", "empty.txt", "--sandbox"], 2, "holds no prompt"),
        (["batch", "blank.txt", "--sandbox"], 2, "holds no prompt"),
        (["batch", "binary", "--sandbox"], 2, "line 2 of 'binary' is not UTF-8 text"),
        (["batch", "missing.txt", "--sandbox"], 2, "cannot read 'missing.txt'"),
        (["batch", ".", "--sandbox"], 2, "cannot read '.'"),
        (["batch", "good.txt", "--sandbox", "-o", "file"], 2, "cannot write to the folder 'file'"),
        (["batch", "good.txt", "--sandbox", "--width", "7"], 2, "width"),
        (["credits", "--nope"], 2, "No such option"),
        (["nope"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line_and_an_exit_code(run: Run, argv: list[str], code: int, says: str) -> None:
    """What happened and what to do; no traceback, no warning with a code line, nothing half-written."""
    Path("file").write_text("")
    Path("empty.txt").write_text("")
    Path("blank.txt").write_text("\n  \n")
    Path("good.txt").write_text("a cat\n")
    Path("binary").write_bytes(b"good line\n\x00\xff\xfe\n")
    before = sorted(path.name for path in Path().rglob("*"))
    got, out, err = run(*argv)
    assert got == code
    assert says in err
    assert out == ""
    errors = [line for line in err.splitlines() if line.lower().startswith("error")]
    assert len(errors) == 1
    created = {path.name for path in Path().rglob("*")} - set(before)
    assert created <= {"out"}, "an empty output folder at the most"


@pytest.mark.parametrize(
    ("variables", "argv", "code", "says"),
    [
        ({"BFL_API_KEY": "'quoted'", "BFL_BASE_URL": "nonsense"}, ["credits"], 2, "is not a URL"),
        ({"BFL_API_KEY": "k", "BFL_BASE_URL": "http://api.example"}, ["credits"], 2, "unencrypted"),
        ({"BFL_API_KEY": "k", "BFL_BASE_URL": "http://127.0.0.1:9"}, ["credits"], 1, "nothing was sent"),
        ({"BFL_API_KEY": "bad\nkey"}, ["credits"], 2, "copy BFL_API_KEY again"),
    ],
)
def test_wrong_environment_is_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    argv: list[str],
    code: int,
    says: str,
) -> None:
    """Host and key mistakes."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    got, _, err = run(*argv)
    assert (got, says in err) == (code, True), err
    assert len(err.splitlines()) == 1


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    """The sandbox as a process of its own, and the variables that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox", "--speed", "20", "--limit", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def test_commands_against_a_server_in_another_process(
    run: Run, server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `sandbox` prints is what the other commands read; a wrong key is told, with exit code 4."""
    assert server.stdout is not None
    for _ in range(2):
        name, _, value = server.stdout.readline().strip().partition("=")
        monkeypatch.setenv(name, value)
    assert run("credits") == (0, "10000\n", "")
    assert run("credits", "--json")[1] == '{"credits": 10000.0}\n'
    code, out, _ = run("generate", "a cat", "--json", "-o", "cat")
    assert code == 0
    task_id = json.loads(out)["task_id"]
    code, out, _ = run("result", task_id, "-o", "again")
    assert (code, out) == (0, "again.jpg\n")
    assert Path("again.jpg").read_bytes() == Path("cat.jpg").read_bytes()
    code, _, err = run("result", task_id, "--polling-url", "https://evil.example/x")
    assert code == 1
    assert "not to be polled" in err
    monkeypatch.setenv("BFL_API_KEY", "wrong")
    code, _, err = run("generate", "a cat")
    assert code == 4
    assert "check BFL_API_KEY" in err
    Path("prompts.txt").write_text("x\n" * 100)
    code, out, err = run("batch", "prompts.txt")
    assert code == 4
    assert len(out.splitlines()) < 100, "a wrong key stops the batch"
    assert "stopped: " in err


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_batch_names_what_goes_on(
    server: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int, says: str
) -> None:
    """Ctrl-C or SIGTERM: how far it was, how to fetch what was paid, and an exit code."""
    assert server.stdout is not None
    variables = dict(server.stdout.readline().strip().split("=", 1) for _ in range(2))
    (tmp_path / "prompts.txt").write_text("x\n" * 500)
    batch = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", "-m", "flux-2-pro"],
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert batch.stdout is not None
    batch.stdout.readline()
    batch.send_signal(number)
    _, err = batch.communicate(timeout=30)
    assert batch.returncode == code
    assert "bfl-async result" in err
    assert " -m flux-2-pro " in err
    assert "prompts in " in err
    assert "Traceback" not in err
    assert err.rstrip().endswith(says)


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A full disk behind stdout is no traceback, and the image is still named."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bfl_async",
                "generate",
                "a cat",
                "--sandbox",
                "-o",
                str(tmp_path / "cat.png"),
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    # The last line: asyncio's debug mode has its own words before it.
    assert done.stderr.splitlines()[-1] == "error: cannot write the output: No space left on device"
    assert "Traceback" not in done.stderr
    with Image.open(tmp_path / "cat.png") as image:
        assert image.format == "PNG", "the suffix asks for the format"
