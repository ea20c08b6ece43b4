"""The command line as its user meets it: output, files, exit codes, and one line for each mistake."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    monkeypatch.setattr("bfl_async.cli.opening._SANDBOX_SPEED", 200.0)  # a video takes a second
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
    *lines, last = [json.loads(line) for line in out.splitlines()]
    assert last["summary"]["saved"] == 24
    assert last["summary"]["ambiguous"] == 0
    assert sorted(line["index"] for line in lines) == list(range(24))
    for line in lines:
        assert line["state"] == "saved"
        assert line["prompt"] == f"prompt number {line['index']}, ünïcode ✨"
        with Image.open(line["file"]) as image:
            image.load()
    names = sorted(path.name for path in Path("out").iterdir())
    assert names[:24] == sorted(Path(line["file"]).name for line in lines)
    assert names[24:] == ["manifest.jsonl", "run.db"]
    assert "24 prompts" in err


def test_batch_reports_what_failed_and_goes_on(run: Run) -> None:
    """Moderated and failed prompts are outcomes; the exit code says that the batch is partial."""
    Path("prompts.txt").write_text("a cat\n[moderate-prompt] x\n[fail] y\n../../etc/passwd\n")
    code, out, _ = run("batch", "prompts.txt", "-o", "out", "--sandbox")
    by_index = {line["index"]: line for line in map(json.loads, out.splitlines()[:-1])}
    assert code == 3
    assert [by_index[n]["state"] for n in range(4)] == ["saved", "moderated", "failed", "saved"]
    assert by_index[1]["error"]["type"] == "TaskModeratedError"
    assert by_index[3]["file"] == os.path.join("out", "00003-etc-passwd.jpg")


@pytest.mark.slow
def test_the_same_batch_again_resumes_and_status_shows_it(run: Run) -> None:
    """Nothing is sent twice; `status` takes the folder or the ledger, and `--json`."""
    Path("prompts.txt").write_text("a cat\n[moderate-prompt] x\na dog\na cat\n")
    batch = ("batch", "prompts.txt", "-o", "out", "--sandbox")
    assert run(*batch)[0] == 3
    code, out, err = run(*batch)
    assert code == 3
    (last,) = (json.loads(line) for line in out.splitlines())
    assert (last["summary"]["saved"], last["summary"]["moderated"], last["summary"]["outcomes"]) == (3, 1, 0)
    assert "--retry-moderated" in err
    code, out, _ = run(*batch, "--retry-moderated")
    assert [json.loads(line)["index"] for line in out.splitlines()[:-1]] == [1]
    code, out, _ = run("status", "out")
    assert code == 0
    assert "4 requests, no run holds it" in out
    assert "3 saved, 1 moderated" in out
    assert "  entry 1 moderated: moderation refused" in out
    code, out, _ = run("status", "out/run.db", "--json")
    shown = json.loads(out)
    assert (shown["running"], shown["counts"]["saved"]) == (False, 3)
    assert shown["errors"][0]["index"] == 1
    assert run("status", "missing")[0] == 2


def test_batch_of_rows_with_columns_and_seeds(run: Run) -> None:
    """A prompt made of columns, a model a row, several images each."""
    Path("animals.csv").write_text(
        "animal,style,model,id\ncat,oil,flux-dev,one\ndog,ink,flux-2-klein-4b,two\n"
    )
    code, out, _ = run(
        "batch", "animals.csv", "--prompt", "a {animal} in {style}", "--repeat", "2", "--seed", "5",
        "--name", "{model}/{index}-{seed}.{ext}", "-o", "out", "--sandbox",
    )  # fmt: skip
    assert code == 0
    lines = sorted((json.loads(line) for line in out.splitlines()[:-1]), key=lambda line: line["index"])
    assert [(line["id"], line["prompt"], line["model"], line["seed"], line["file"]) for line in lines] == [
        ("one", "a cat in oil", "flux-dev", 5, "out/flux-dev/0-5.jpg"),
        ("one", "a cat in oil", "flux-dev", 6, "out/flux-dev/1-6.jpg"),
        ("two", "a dog in ink", "flux-2-klein-4b", 5, "out/flux-2-klein-4b/2-5.jpg"),
        ("two", "a dog in ink", "flux-2-klein-4b", 6, "out/flux-2-klein-4b/3-6.jpg"),
    ]


def test_dry_run_sends_and_writes_nothing(run: Run) -> None:
    """It needs no key; what the ledger has already is not counted as new."""
    Path("prompts.txt").write_text("a\nb\na\n")
    code, out, err = run("batch", "prompts.txt", "--dry-run", "-o", "out")
    assert code == 0
    assert json.loads(out)["plan"]["new"] == 3
    assert "nothing was sent" in err
    assert not Path("out").exists()
    assert run("batch", "prompts.txt", "-o", "out", "--sandbox")[0] == 0
    Path("prompts.txt").write_text("a\nb\na\na\n")
    assert json.loads(run("batch", "prompts.txt", "--dry-run", "-o", "out")[1])["plan"]["new"] == 1


def test_a_cost_that_is_too_high_or_unknown_stops_a_script(run: Run) -> None:
    """On a terminal it asks; here nobody can answer."""
    Path("prompts.txt").write_text("a\n")
    code, out, err = run("batch", "prompts.txt", "--max-cost", "0.001", "--sandbox", "-o", "out")
    assert (code, out) == (4, "")
    assert "--max-cost is 0.001 USD: nothing was sent" in err
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.skipif("BFL_PROMPTS" not in os.environ, reason="BFL_PROMPTS names no file of real prompts")
@pytest.mark.timeout(600)
def test_batch_of_real_prompts(run: Run) -> None:
    """A TSV of real prompts comes home whole: an image and a line of the manifest for each."""
    code, out, _ = run(
        "batch", os.environ["BFL_PROMPTS"], "-m", "flux-2-klein-4b", "--width", "256", "--height", "256",
        "-o", "out", "--sandbox",
    )  # fmt: skip
    *lines, last = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert last["summary"]["saved"] == len(lines) == len(list(Path("out").glob("*.jpg"))) > 1000
    listed = [json.loads(line) for line in Path("out/manifest.jsonl").read_text("utf-8").splitlines()]
    assert {line["prompt"] for line in listed} == {line["prompt"] for line in lines}


@pytest.mark.slow
def test_batch_stops_before_its_budget_is_passed(run: Run) -> None:
    """What does not fit stays queued, the exit code says so, and the same command goes on."""
    Path("prompts.txt").write_text("".join(f"cat {n}\n" for n in range(8)))
    code, out, err = run("batch", "prompts.txt", "--budget", "0.13", "--sandbox", "-o", "out")
    assert code == 4
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert (summary["saved"], summary["queued"], summary["credits_spent"]) == (3, 5, 12.0)
    assert "stopped: " in err
    assert "budget" in err
    code, out, _ = run("batch", "prompts.txt", "--budget", "0.20", "--sandbox", "-o", "out")
    assert (code, json.loads(out.splitlines()[-1])["summary"]["saved"]) == (0, 8)


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
    assert sorted(json.loads(line)["prompt"] for line in out.splitlines()[:-1]) == ["one", "two"]


def test_batch_reads_a_named_pipe_once(run: Run) -> None:
    """`batch <(command)`: a pipe cannot be read twice."""
    os.mkfifo("pipe")
    feeder = threading.Thread(target=lambda: Path("pipe").write_text("one\ntwo\n"))
    feeder.start()
    code, out, _ = run("batch", "pipe", "--sandbox", "-o", "out")
    feeder.join()
    assert code == 0
    assert len(out.splitlines()) == 3


@pytest.mark.slow
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
    assert json.loads(batch.stdout.readline())["state"] == "saved"
    batch.send_signal(signal.SIGINT)
    assert batch.wait(20) == 130
    assert batch.stderr is not None
    assert batch.stderr.read().splitlines()[-1] == "interrupted"
    for pipe in (batch.stdin, batch.stdout, batch.stderr):
        pipe.close()


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["generate", "a cat"], 4, "no API key: set BFL_API_KEY (create a key at https://dashboard.bfl.ai)"),
        (["generate", "a cat"], 4, "or add --sandbox to try without one"),
        (["credits"], 4, "no API key: "),
        (["submit", "a cat"], 4, "no API key: "),
        (["generate", "a cat", "--width", "1000", "--sandbox"], 2, "width: Input should be a multiple of 32"),
        (["generate", "a cat", "-m", "flux-nope", "--sandbox"], 2, "no model 'flux-nope' is known"),
        (["generate", "a cat", "-m", "flux-dv", "--sandbox"], 2, "is known: did you mean 'flux-dev'?"),
        (["generate", "a cat", "-m", "FLUX-2-PRO", "--sandbox"], 2, "did you mean 'flux-2-pro'?"),
        (["estimate", "a cat", "-m", "flux2-pro"], 2, "did you mean 'flux-2-pro'?"),
        (["submit", "a cat", "-m", "flux-klein-9b"], 2, "did you mean 'flux-2-klein-9b'?"),
        (
            ["generate", "a cat", "-m", "flux-nope", "--allow-unknown-models", "--sandbox"],
            2,
            "the server knows no model",
        ),
        (["generate", "a cat", "--set", "widht=512", "--sandbox"], 2, "widht: did you mean 'width'?"),
        (
            ["generate", "a", "cat", "--sandbox"],
            2,
            "unexpected extra argument (cat): put the prompt in quotes",
        ),
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
        (["batch", ".", "--sandbox"], 2, "'blank.txt' holds no prompt"),
        (["batch", "good.txt", "--sandbox", "-o", "file"], 2, "cannot write to the folder 'file'"),
        (["batch", "good.txt", "--dry-run", "-o", "file"], 2, "cannot write to the folder 'file'"),
        (
            ["batch", "good.txt", "--dry-run", "-o", "file/in/it"],
            2,
            "cannot write to the folder 'file/in/it'",
        ),
        (["batch", "good.txt", "--sandbox", "--width", "7"], 2, "width"),
        (["batch", "good.txt", "--sandbox", "--name", "../{index}"], 2, "name template"),
        (["batch", "good.txt", "--sandbox", "--prompt", "x"], 2, "holds no column"),
        (["batch", "good.txt", "--sandbox", "--column", "x"], 2, "FIELD=COLUMN"),
        (["batch", "-", "--sandbox", "--dry-run"], 2, "need a file"),
        (["batch", "good.txt", "--sandbox", "--ledger", "binary"], 1, "not a database"),
        (["status", "missing"], 2, "no ledger"),
        (["drop", "missing", "--queued"], 2, "no ledger"),
        (["gallery", "missing"], 2, "is not a folder"),
        (["again", "missing"], 2, "is not a file"),
        (["status", "."], 2, "no ledger 'run.db'"),
        (["status", "binary"], 1, "not a database"),
        (["credits", "--nope"], 2, "No such option"),
        (["models", "flux-2-por"], 2, "did you mean 'flux-2-pro'?"),
        (["batch", "good.txt", "--max-cost", "five"], 2, "'five' is not a number"),
        (["sandbox", "--port", "99999"], 2, "99999 is not from 0 to 65535"),
        (["sandbox", "--limit", "0"], 2, "0 is less than 1"),
        (["sandbox", "--speed", "0"], 2, "0.0 is not more than 0"),
        (["generate", "a cat", "--width", "5.5"], 2, "'5.5' is not a whole number"),
        (["submit", "a cat", "--sandbox"], 2, "run `bfl-async sandbox` in another shell"),
        (["generate", "-m", "flux-tools/erase-v1", "--no-prompt"], 2, "image: must be given"),
        (
            ["batch", "empty-cell.csv", "-m", "flux-2-pro"],
            2,
            "(line 2 of 'empty-cell.csv'): the prompt is missing",
        ),
        (
            ["batch", "empty-cell.csv", "-m", "flux-dev"],
            2,
            "(line 2 of 'empty-cell.csv'): the prompt is missing",
        ),
        (["nope"], 2, "No such command"),
        (["stats"], 2, "No such command 'stats': did you mean 'status'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line_and_an_exit_code(run: Run, argv: list[str], code: int, says: str) -> None:
    """What happened and what to do; no traceback, no warning with a code line, nothing half-written."""
    Path("file").write_text("")
    Path("empty.txt").write_text("")
    Path("blank.txt").write_text("\n  \n")
    Path("good.txt").write_text("a cat\n")
    Path("empty-cell.csv").write_text("prompt,seed\n,7\n")
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
        (
            {"BFL_API_KEY": "'quoted'", "BFL_BASE_URL": "nonsense"},
            ["credits"],
            2,
            "BFL_BASE_URL (8 characters) is not a URL",
        ),
        ({"BFL_API_KEY": "k", "BFL_BASE_URL": "http://api.example"}, ["credits"], 2, "unencrypted"),
        ({"BFL_API_KEY": "k", "BFL_BASE_URL": "http://127.0.0.1:9"}, ["credits"], 1, "nothing was sent"),
        ({"BFL_API_KEY": "bad\nkey"}, ["credits"], 4, "BFL_API_KEY holds characters"),
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
def server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[str]]:
    """The sandbox as a process of its own, and the variables that it prints set; its speed is the parameter."""
    speed = getattr(request, "param", 20)
    process = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox", "--speed", str(speed), "--limit", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        name, _, value = process.stdout.readline().strip().removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
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
    assert run("credits") == (0, "10000\n", "")
    assert server.stderr is not None
    page = f"{os.environ['BFL_BASE_URL']}/sandbox"
    assert any(line.split()[-1] == page for line in server.stderr), (
        "asyncio's debug mode has lines of its own"
    )
    assert run("credits", "--json")[1] == '{"schema": 1, "credits": 10000.0}\n'
    code, out, _ = run("generate", "a cat", "--json", "-o", "cat")
    assert code == 0
    task_id = json.loads(out)["task_id"]
    code, out, _ = run("result", task_id, "-o", "again")
    assert (code, out) == (0, "again.jpg\n")
    assert Path("again.jpg").read_bytes() == Path("cat.jpg").read_bytes()
    kept = [path.read_text() for path in (Path(os.environ["XDG_CACHE_HOME"]) / "bfl-async").iterdir()]
    assert any("flux-pro-1.1" in json.loads(text)["models"] for text in kept), "the next run knows its times"
    code, _, err = run("result", task_id, "--polling-url", "https://evil.example/x")
    assert code == 1
    assert "refused to poll" in err
    monkeypatch.setenv("BFL_API_KEY", "wrong")
    code, _, err = run("generate", "a cat")
    assert code == 4
    assert "check BFL_API_KEY" in err
    Path("prompts.txt").write_text("x\n" * 100)
    code, out, err = run("batch", "prompts.txt")
    assert code == 4
    (summary,) = out.splitlines()
    assert json.loads(summary)["summary"]["queued"] == 100, "a wrong key stops the batch, and fails nothing"
    assert "run the same again" in err


class MalformedKey(BaseHTTPRequestHandler):
    """A server that answers each submit as the API answers a malformed key."""

    submits = 0

    def do_POST(self) -> None:
        type(self).submits += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"detail": "Invalid API key format"}'
        self.send_response(422)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def test_malformed_key_stops_a_batch_and_fails_no_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 422 about the key counts as a 403 does: exit code 4, and all rows stay queued."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), MalformedKey)
    monkeypatch.setattr(MalformedKey, "submits", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("BFL_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("BFL_API_KEY", "a-key-of-another-service")
        Path("prompts.txt").write_text("x\n" * 100)
        code, out, err = run("batch", "prompts.txt", "--limit", "1")
        (summary,) = out.splitlines()
        assert (code, json.loads(summary)["summary"]["queued"]) == (4, 100)
        assert "check BFL_API_KEY" in err
        assert "run the same again" in err
        assert MalformedKey.submits == 1
        assert run("generate", "a cat")[0] == 4
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_two_runs_on_one_machine_share_the_limit(run: Run, server: subprocess.Popen[str]) -> None:
    """Two terminals do not fight over the account's slots: the server has nothing to refuse."""
    Path("prompts.txt").write_text("x\n" * 20)
    command = [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", "--limit", "3", "-o"]
    batches = [
        subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for folder in ("one", "two")
    ]
    for batch in batches:
        out, _ = batch.communicate(timeout=50)
        assert (batch.returncode, len(out.splitlines())) == (0, 21)  # the last is the summary
    with urllib.request.urlopen(os.environ["BFL_BASE_URL"] + "/sandbox/statistics") as reply:
        counts = json.load(reply)
    assert (counts["accepted"], counts["refused_429"], counts["peak_active"]) == (40, 0, 3)
    code, _, err = run("generate", "a cat", "-o", "cat")
    assert (code, err) == (0, "")


@pytest.mark.slow
def test_a_run_that_waits_for_the_slots_of_a_killed_one_says_so(
    server: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Its lease runs out within a minute; until then nothing moves, and that has a reason."""
    folders = [tmp_path / name for name in ("killed", "waiting")]
    for folder in folders:
        folder.mkdir()
    killed = start_batch(folders[0])
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    waiting = start_batch(folders[1])
    assert waiting.stderr is not None
    try:
        line = waiting.stderr.readline()
    finally:
        waiting.kill()
        waiting.communicate()
    assert line.startswith("waiting for a slot: ")


def test_a_state_folder_that_cannot_be_written_is_a_warning(
    run: Run, server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image comes all the same."""
    Path("file").write_text("in the way of a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").absolute()))
    code, out, err = run("generate", "a cat", "-o", "cat")
    assert (code, out) == (0, "cat.jpg\n")
    assert err.startswith("warning: other runs on this machine cannot be seen")
    assert len(err.splitlines()) == 1


SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


def start_batch(folder: Path, *, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A batch of 500 prompts against the server."""
    (folder / "prompts.txt").write_text("x\n" * 500)
    return subprocess.Popen(
        # The server's own limit, so that the first rows are those that it accepts.
        [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", "-m", "flux-2-pro", "--limit", "3"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def resume(folder: Path) -> dict[str, int]:
    """Run the batch of `start_batch` again, to its end; return its summary."""
    done = subprocess.run(
        [sys.executable, "-m", "bfl_async", "batch", "prompts.txt", "-m", "flux-2-pro"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
    )
    summary: dict[str, int] = json.loads(done.stdout.splitlines()[-1])["summary"]
    return summary


def accepted() -> int:
    """How many tasks the server has accepted."""
    with urllib.request.urlopen(os.environ["BFL_BASE_URL"] + "/sandbox/statistics") as reply:
        return int(json.load(reply)["accepted"])


@pytest.mark.parametrize(("number", "code", "says"), SIGNALS)
@pytest.mark.slow
def test_first_signal_stops_a_batch_and_brings_home_what_runs(
    server: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int, says: str
) -> None:
    """Ctrl-C or SIGTERM: nothing more is sent, each task that was paid is saved, and named should a kill follow."""
    batch = start_batch(tmp_path)
    assert batch.stdout is not None
    assert batch.stderr is not None
    first = batch.stdout.readline()
    batch.send_signal(number)
    out, err = batch.stdout.read(), batch.stderr.read()  # not communicate(): lines may be buffered here
    assert batch.wait(10) == code
    for pipe in (batch.stdout, batch.stderr):
        pipe.close()
    *outcomes, last = [json.loads(line) for line in (first + out).splitlines()]
    assert accepted() == len(outcomes) == last["summary"]["saved"] < 10
    assert last["summary"]["submitting"] == last["summary"]["submitted"] == last["summary"]["ready"] == 0
    assert all((tmp_path / outcome["file"]).exists() for outcome in outcomes)
    assert "stopping: nothing more is sent" in err
    assert "the same command again sends them" in err
    assert f"{len(outcomes)} prompts in " in err
    assert "Traceback" not in err
    assert err.rstrip().endswith(says)


@pytest.mark.parametrize("server", [1], indirect=True)
@pytest.mark.parametrize(("number", "code", "says"), SIGNALS)
@pytest.mark.slow
def test_second_signal_leaves_at_once_and_the_next_run_brings_home_what_goes_on(
    server: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int, says: str
) -> None:
    """Who does not want to wait for what runs is told so; the same command again fetches it, and pays nothing."""
    batch = start_batch(tmp_path)
    while accepted() < 3:
        assert batch.poll() is None
    batch.send_signal(number)
    assert batch.stderr is not None
    while "stopping" not in batch.stderr.readline():
        assert batch.poll() is None
    batch.send_signal(number)
    out, err = batch.communicate(timeout=8)
    assert batch.returncode == code
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert summary["submitted"] + summary["saved"] == 3
    assert summary["ambiguous"] == summary["submitting"] == 0
    assert "3 still at the server" in err
    assert "Traceback" not in err
    assert err.rstrip().endswith(says)
    (tmp_path / "prompts.txt").write_text("x\n" * 3)
    with closing(sqlite3.connect(tmp_path / "out" / "run.db")) as ledger, ledger:
        ledger.execute("DELETE FROM entries WHERE state = 'queued'")
    ledger.close()
    again = resume(tmp_path)
    assert again["saved"] == 3
    assert accepted() == 3, "nothing was sent twice"


@pytest.mark.parametrize("server", [1], indirect=True)
def test_interrupted_generate_names_its_task(server: subprocess.Popen[str], tmp_path: Path) -> None:
    """One image: the first signal leaves, and the task is named."""
    command = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "generate", "a cat", "-m", "flux-2-pro", "-o", "out/a cat.png"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while accepted() < 1:
        assert command.poll() is None
    command.send_signal(signal.SIGTERM)
    out, err = command.communicate(timeout=8)
    assert (command.returncode, out) == (143, "")
    # asyncio's debug mode has its own words before them.
    assert [line.split(":")[0] for line in err.splitlines() if not line.startswith("Executing <")] == [
        "paid and not saved; fetch it with", "terminated"
    ]  # fmt: skip
    assert "-o 'out/a cat.png'" in err


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
