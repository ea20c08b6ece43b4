"""Foreign text on a real terminal: of a server, of rows, file names, arguments and variables."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from bfl_async.cli.exit_codes import ExitCode
from tests.nasty import NASTY, RAW
from tests.terminal import all_written_to
from tests.web import free_socket, serving_aiohttp

SHORT = NASTY[:-1]
"""All but the long one, which takes its time in a request."""
# What a row may hold: NUL and halves of surrogate pairs are refused by name.
ROWS = [text for text in SHORT if "\0" not in text and text.encode("utf-8", "ignore").decode() == text]

# Runs commands one after the other in one process. What escapes from one is told apart from what it prints.
DRIVER = """
import json, sys, traceback
from bfl_async.cli import main
codes = []
for argv in json.load(open(sys.argv[1])):
    try:
        codes.append(main(argv))
    except SystemExit as exc:
        codes.append(exc.code)
    except BaseException:
        codes.append(traceback.format_exc())
    json.dump(codes, open(sys.argv[2], "w"))
"""

# What a display writes by itself: colours, the cursor hidden and shown, a line erased, a line up.
DRAWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A|1G)|\r")


class HostileServer:
    """Answers with the corpus in every place where a text may stand."""

    def __init__(self) -> None:
        self._texts = itertools.cycle(SHORT)
        self._accepted: dict[str, int] = {}
        self._endings: Iterator[Callable[[str], dict[str, object]]] = itertools.cycle(
            [
                lambda text: {"status": "Request Moderated", "details": {"Moderation Reasons": [text, text]}},
                lambda text: {"status": "Error", "details": {"error": text, text: text}},
                lambda text: {
                    "status": "Ready",
                    "result": {"sample": f"https://elsewhere.example/{text}", "prompt": text},
                },
            ]
        )

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/{name}", self.submit)
        app.router.add_get("/v1/get_result", self.poll)
        app.router.add_get("/v1/credits", self.refuse)
        app.router.add_get("/v1/my_finetunes", self.finetunes)
        app.router.add_get("/v1/finetune_details", self.details)
        app.router.add_post("/v1/delete_finetune", self.delete)
        return app

    async def submit(self, request: web.Request) -> web.Response:
        text = next(self._texts)
        if len(self._accepted) % 2:
            self._accepted[f"refused {len(self._accepted)}"] = 0
            return web.json_response(
                {"detail": [{"loc": ["body", text], "msg": text, "type": text}]}, status=422
            )
        self._accepted[text] = 0
        return web.json_response(
            {"id": text, "polling_url": f"http://{request.host}/v1/get_result?id={len(text)}"}
        )

    async def poll(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "", **next(self._endings)(next(self._texts))})

    async def refuse(self, request: web.Request) -> web.Response:
        return web.json_response({"detail": next(self._texts)}, status=403)

    async def finetunes(self, request: web.Request) -> web.Response:
        return web.json_response({"finetunes": SHORT})

    async def details(self, request: web.Request) -> web.Response:
        return web.json_response({"finetune_details": {text: text for text in SHORT}})

    async def delete(self, request: web.Request) -> web.Response:
        return web.json_response({"message": next(self._texts), "status": next(self._texts)})


def on_terminal(folder: Path, argvs: Sequence[Sequence[str]], **asked: str) -> tuple[str, list[object]]:
    """Run commands on a terminal; return what they wrote, and their exit codes or tracebacks."""
    (folder / "argvs.json").write_text(json.dumps(argvs))
    ours, theirs = pty.openpty()
    environ = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "HOME": str(folder), **asked}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, "argvs.json", "codes.json"],
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    ) as commands:  # fmt: skip
        os.close(theirs)
        written = all_written_to(ours)
        assert commands.wait(50) == 0, written[-2000:]
    codes = json.loads((folder / "codes.json").read_text())
    assert len(codes) == len(argvs)
    return written.decode("utf-8").replace("\r\n", "\n"), codes


def check_codes(argvs: Sequence[Sequence[str]], codes: Sequence[object]) -> None:
    """Every command ends with one of the table's codes."""
    wrong = [
        (argv, str(code)[-1000:]) for argv, code in zip(argvs, codes, strict=True) if code not in [*ExitCode]
    ]
    assert not wrong, "\n".join(f"{argv}: {code}" for argv, code in wrong)


def as_argument(text: str) -> str:
    """Return the text as a command would be given it: the system knows no NUL in one, and no half of a pair."""
    return os.fsdecode(text.replace("\0", "").encode("utf-8", "surrogatepass"))


def commands(folder: Path, texts: Sequence[str]) -> list[list[str]]:
    """Every command, with each of these texts wherever one can be given."""
    (folder / "bad.jsonl").write_text(
        "".join(json.dumps({"prompt": "x", text: text}) + "\n" for text in SHORT)
    )
    (folder / "bad.csv").write_bytes(
        ("prompt," + ",".join(f"column {text}" for text in SHORT) + "\n").encode("utf-8", "replace")
    )
    (folder / "manifest.jsonl").write_text(
        "".join(
            json.dumps({"file": text, "prompt": text, "error": text, "model": text}) + "\n" for text in NASTY
        )
        + "\x1b]0;not JSON\x07\n"
    )
    argvs = [["finetunes"], ["finetunes", "--json"], ["credits"], ["credits", "--json"], ["gallery", "."],
             ["batch", "bad.jsonl", "--dry-run"], ["batch", "bad.csv", "--dry-run"], ["doctor"], ["doctor", "--json"],
             ["jobs"], ["models"], ["models", "--json"]]  # fmt: skip
    for text in map(as_argument, texts):
        argvs += [
            ["generate", text, "-m", "flux-dev"], ["generate", text, "-m", "flux-dev", "--json"],
            ["generate", "x", "-m", text], ["generate", "x", "--set", f"{text}={text}"], ["generate", "x", "-o", text],
            ["generate", "x", "-m", "flux-dev", "-o", f"{text}/x"],
            ["batch", text], ["batch", f"{text}.csv"], ["batch", "bad.jsonl", "--dry-run", "--name", text],
            ["batch", "bad.jsonl", "--dry-run", "--column", f"{text}={text}"], ["batch", "bad.jsonl", "--prompt", text],
            ["status", text], ["status", text, "--json"], ["drop", text, "--failed"], ["drop", text],
            ["result", text, "--timeout", "1"], ["result", text, "--polling-url", f"https://x/{text}"],
            ["finetunes", "show", text], ["finetunes", "delete", text, "--yes"],
            ["models", text], ["models", text, "--json"], ["estimate", text, "-m", text], ["estimate", text, "--json"],
            ["gallery", text], ["gallery", ".", "-o", f"{text}.html"],
            ["jobs", "--dsn", text], ["worker", "--dsn", text], ["enqueue", "bad.jsonl", "--dsn", text],
            ["completion", text], ["sandbox", "--port", text], [text], ["generate", f"--{text}"],
        ]  # fmt: skip
    return argvs


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
async def test_no_command_lets_foreign_text_act_on_a_terminal(tmp_path: Path, part: int) -> None:
    """Words and JSON alike, whoever's text it is; and none of it ends a command with a traceback."""
    argvs = commands(tmp_path, SHORT[part::3])
    async with serving_aiohttp(HostileServer().app(), free_socket()) as url:
        asked = {
            "BFL_BASE_URL": url,
            "BFL_API_KEY": "a-key-of-no-account",
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        }
        written, codes = await asyncio.to_thread(on_terminal, tmp_path, argvs, **asked)
    check_codes(argvs, codes)
    raw = RAW.search(written)
    assert raw is None, repr(written[max(0, raw.start() - 200) : raw.end() + 50])
    assert "\\x1b" in written
    assert "\\u202e" in written


@pytest.mark.slow
@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
async def test_no_batch_lets_foreign_text_act_on_a_terminal(tmp_path: Path, term: str) -> None:
    """Prompts, ids, reasons and errors: as lines, on the display, and in what `status` tells afterwards."""
    rows = [{"prompt": f"{text} {number}", "id": text} for number in range(3) for text in ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = ["batch", "rows.jsonl", "-m", "flux-dev", "-o", "out", "--timeout", "5"]
    argvs = [batch, ["status", "out"], ["status", "out", "--json"], ["gallery", "out"], batch]
    async with serving_aiohttp(HostileServer().app(), free_socket()) as url:
        asked = {"BFL_BASE_URL": url, "BFL_API_KEY": "a-key-of-no-account", "TERM": term, "CI": ""}
        written, codes = await asyncio.to_thread(on_terminal, tmp_path, argvs, **asked)
    check_codes(argvs, codes)
    raw = RAW.search(DRAWN.sub("", written))
    assert raw is None, repr(written[max(0, raw.start() - 300) : raw.end() + 50])


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "ascii:strict", "utf-16", "koi8-r"])
async def test_no_code_page_ends_a_command(tmp_path: Path, encoding: str) -> None:
    """What cannot be written is escaped, into a pipe as well: each outcome of paid work is told."""
    rows = [{"prompt": text} for text in [*ROWS, "a fox \U0001f98a", "ein Fuchs für Łódź"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bfl_async", "batch", "rows.jsonl", "-m", "flux-2-klein-4b", "--sandbox"],
        cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, timeout=50,
    )  # fmt: skip
    name = encoding.partition(":")[0]
    assert b"Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.decode(name).splitlines()]
    assert done.returncode == 0, done.stderr.decode(name)
    assert sorted(line["prompt"] for line in lines[:-1]) == sorted(row["prompt"] for row in rows)
    assert lines[-1]["summary"]["saved"] == len(rows)
