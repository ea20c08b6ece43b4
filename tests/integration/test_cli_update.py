"""`models --update`, and what the commands know from then on of models that the release does not have."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfl_async.cli import main
from bfl_async.cli.running import COMPLETE_VARIABLE
from bfl_async.cli.stored_catalog import stored_path
from tests.media import png
from tests.unit.models.test_catalog import FIELDS, HOSTILE, body_of, describe_api


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def description(tmp_path: Path) -> Path:
    file = tmp_path / "today.json"
    file.write_bytes(describe_api(body_of(FIELDS, "prompt")))
    return file


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        found = capfd.readouterr()
        return code, found.out, found.err

    return run


def test_an_update_names_what_is_new_and_keeps_it(run: Run, description: Path) -> None:
    """The same file again has nothing new."""
    code, out, err = run("models", "--update", description)
    assert (code, "flux-9: new model" in out.splitlines()) == (0, True)
    assert f"kept in {stored_path()}" in err
    code, out, _ = run("models")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("flux-9 "))
    assert line.split() == ["flux-9", "images", "unknown", "described"]
    assert "flux-9" not in run("models", "--update", description)[1]


def test_an_update_as_json_names_model_field_and_change(run: Run, description: Path) -> None:
    """For programs."""
    run("models", "--update", description)
    fields = {**FIELDS, "glow": {"type": "number"}}
    description.write_bytes(describe_api(body_of(fields, "prompt")))
    code, out, _ = run("models", "--update", description, "--json")
    told = json.loads(out)
    assert code == 0
    assert {"model": "flux-9", "field": "glow", "change": "new field"} in told["changes"]
    assert told["described"] == ["flux-9"]


def test_fields_help_and_completion_know_it(
    run: Run, description: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they know a model of the release."""
    run("models", "--update", description)
    code, out, _ = run("models", "flux-9", "--json")
    facts = json.loads(out)
    assert (code, facts["price"], facts["state"]) == (0, "unknown", "described")
    assert [field["name"] for field in facts["fields"]] == list(FIELDS)
    assert "file or URL" in run("models", "flux-9")[1]
    monkeypatch.setenv(COMPLETE_VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "bfl-async generate -m flux-9")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run()[1].splitlines() == ["plain,flux-9"]


def test_an_estimate_says_that_the_price_is_unknown(run: Run, description: Path) -> None:
    """And a field that does not fit is refused."""
    run("models", "--update", description)
    code, out, _ = run("estimate", "-m", "flux-9", "--set", "style=rich", "x")
    assert (code, out.startswith("unknown: no price")) == (0, True)
    code, _, err = run("estimate", "-m", "flux-9", "--set", "style=other", "x")
    assert code == 2
    assert "style: Input should be 'plain' or 'rich'" in err


def _catalog_check(run: Run) -> dict[str, str]:
    checks = json.loads(run("doctor", "--sandbox", "--json")[1])["checks"]
    found: dict[str, str] = next(check for check in checks if check["name"] == "catalog")
    return found


def test_doctor_names_the_models_that_the_release_does_not_know(run: Run, description: Path) -> None:
    """As long as there are any: their prices are unknown."""
    assert _catalog_check(run)["what"].endswith("no description is stored")
    run("models", "--update", description)
    found = _catalog_check(run)
    assert found["level"] == "warn"
    assert found["what"].endswith("stored 0 days ago knows 1 that this release does not: flux-9")
    description.write_bytes(describe_api(body_of(FIELDS), path="/v1/flux-pro-1.1"))
    run("models", "--update", description)
    found = _catalog_check(run)
    assert (found["level"], found["what"]) == (
        "ok", "this release has every model of a description stored 0 days ago",
    )  # fmt: skip


def test_doctor_warns_of_a_stored_description_that_is_broken(run: Run) -> None:
    """And says what repairs it."""
    path = stored_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    found = _catalog_check(run)
    assert (found["level"], found["todo"]) == ("warn", "run bfl-async models --update")


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_description_is_not_kept(run: Run, tmp_path: Path, case: str) -> None:
    """It is an error, and what was known stays."""
    file = tmp_path / "hostile.json"
    file.write_bytes(HOSTILE[case][0])
    code, out, err = run("models", "--update", file)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    path = stored_path()
    assert path is not None
    assert not path.exists()


def test_a_stored_description_that_is_broken_stops_nothing(run: Run) -> None:
    """It is a warning, and the release's models are there."""
    path = stored_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\0broken")
    code, out, err = run("models")
    assert code == 0
    assert "flux-pro-1.1 " in out
    assert "warning: " in err
    assert "models --update" in err


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_an_error(run: Run, name: str) -> None:
    """With exit code 2, as other wrong arguments."""
    code, _, err = run("models", "--update", name)
    assert code == 2
    assert "cannot be read" in err


def test_an_update_takes_no_model(run: Run, description: Path) -> None:
    """It reads all of them."""
    assert run("models", "flux-9", f"--update={description}")[0] == 2


# --- from a host ----------------------------------------------------------------------------------------------------


class _Host:
    """Serves one reply to every request, and notes what was asked."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self.asked: list[str] = []
        self.url = ""

    async def __aenter__(self) -> _Host:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._reply)
        writer.close()


def _reply(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def _update(host: _Host, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "bfl-async", "models", "--update", *arguments,
        env={**os.environ, "BFL_BASE_URL": host.url, "BFL_API_KEY": "the-key-of-the-account"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_description_is_fetched_from_the_host_without_the_key() -> None:
    """By default it is the base URL's own; another URL can be given."""
    async with _Host(_reply(describe_api(body_of(FIELDS)))) as host:
        code, out = await _update(host)
        assert code == 0, out
        assert "flux-9: new model" in out
        assert (await _update(host, f"{host.url}/v2/spec.json"))[0] == 0
    assert [request.split()[1] for request in host.asked] == ["/openapi.json", "/v2/spec.json"]
    assert "the-key-of-the-account" not in "".join(host.asked)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (_reply(b"no", "404 Not Found"), "answered 404"),
        (_reply(b"x" * 5_000_000), "more than 4 MB"),
        (_reply(b"<html></html>"), "is not JSON"),
    ],
)
async def test_what_a_host_serves_instead_is_an_error(reply: bytes, message: str) -> None:
    """Nothing is kept."""
    async with _Host(reply) as host:
        code, out = await _update(host)
    assert code != 0
    assert message in out
    path = stored_path()
    assert path is not None
    assert not path.exists()


def test_rows_take_files_for_it(run: Run, description: Path, tmp_path: Path) -> None:
    """A row may name the model: the user's own update made it known. A field that does not fit names its row."""
    run("models", "--update", description)
    (tmp_path / "a.png").write_bytes(png(64, 64))
    rows: list[dict[str, Any]] = [{"model": "flux-9", "prompt": "x", "start_video": "a.mp4", "width": 64}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run("batch", file, "--dry-run", "-o", tmp_path / "out")
    assert code == 2
    assert "a.mp4" in err
    file.write_text(json.dumps({"model": "flux-9", "prompt": "x", "width": 1}) + "\n")
    code, _, err = run("batch", file, "--dry-run", "-o", tmp_path / "out")
    assert code == 2
    assert "width" in err
