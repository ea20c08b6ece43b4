"""`submit` sends, `result` fetches: in the shell, in a pipe, one or several."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_cli import Run, accepted, run, server
from tests.json_page import check

__all__ = ["run", "server"]  # the fixtures

KLEIN = ("-m", "flux-2-klein-4b")  # the quickest

pytestmark = pytest.mark.parametrize("server", [100], indirect=True)


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the next command read a text from standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_submit_prints_the_id_and_how_to_fetch_it(run: Run, server: subprocess.Popen[str]) -> None:
    """The id alone on stdout; the command on stderr works as it is shown."""
    code, out, err = run("submit", "a cat", *KLEIN)
    assert (code, accepted()) == (0, 1)
    said = [line for line in err.splitlines() if not line.startswith("Executing <")]
    assert len(said) == 1
    before, _, command = said[0].partition(": bfl-async ")
    assert before == "accepted; fetch it with"
    assert shlex.split(command)[:2] == ["result", out.strip()]
    assert run(*shlex.split(command), "-o", "cat.jpg")[:2] == (0, "cat.jpg\n")
    assert run("result", out.strip(), "-o", "again.jpg")[0] == 0, "the id alone is enough"
    assert Path("again.jpg").read_bytes() == Path("cat.jpg").read_bytes()


def test_result_reads_what_submit_prints(
    run: Run, server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record then has all fields, so that `again` can make it again."""
    _, out, _ = run("submit", "a cat", "--seed", "3", *KLEIN, "--json")
    check("submit", [out])
    pipe(monkeypatch, out)
    assert run("result", "-", "-o", "cat.jpg")[:2] == (0, "cat.jpg\n")
    line = json.loads(Path("manifest.jsonl").read_text())
    assert (line["prompt"], line["fields"]) == ("a cat", {"prompt": "a cat", "seed": 3})
    assert line["cost"] == json.loads(out)["cost"] == 1.4
    assert run("again", "cat.jpg")[:2] == (0, "cat-again.jpg\n")
    assert Path("cat-again.jpg").read_bytes() == Path("cat.jpg").read_bytes()


def test_result_fetches_several(
    run: Run, server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids and objects may be mixed; each has a file of its own."""
    first = run("submit", "a cat", *KLEIN)[1]
    second = run("submit", "a dog", *KLEIN, "--json")[1]
    pipe(monkeypatch, f"{first}\n{second}")
    code, out, _ = run("result", "-", "-o", "pet.jpg")
    assert (code, sorted(out.splitlines())) == (0, ["pet-1.jpg", "pet-2.jpg"])


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", [], "names no task"),
        ("{]", [], "line 1 of standard input is neither"),
        ('\n{"model": "x"}', [], "line 2 of standard input names no task"),
        ("some-id", ["-m", "flux-dev"], "are of one task"),
    ],
)
def test_what_names_no_task_is_one_line(
    run: Run,
    server: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    options: list[str],
    says: str,
) -> None:
    """Exit code 2."""
    pipe(monkeypatch, text)
    code, out, err = run("result", "-", *options)
    assert (code, out) == (2, "")
    assert says in err


def test_submit_refuses_what_generate_refuses(run: Run, server: subprocess.Popen[str]) -> None:
    """Nothing is sent."""
    assert run("submit")[0] == 2
    assert run("submit", " ")[0] == 2
    assert run("submit", "a cat", "--image", "missing.png")[0] == 2
    assert run("submit", "a cat", "-m", "flux-2-pro", "--set", "widht=3")[0] == 2
    assert accepted() == 0
