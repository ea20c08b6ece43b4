"""The stored key: where it is, who can read it, and to whom it goes."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.test_cli import Run, run, server

__all__ = ["run", "server"]  # the fixtures

KEY = "bfl_0123456789abcdefWXYZ"


class Ring(ModuleType):
    """The package `keyring` with a ring that works, or one that keeps nothing."""

    def __init__(self, *, keeps: bool = True) -> None:
        super().__init__("keyring")
        self.held: dict[tuple[str, str], str] = {}
        self.keeps = keeps

    def get_password(self, service_name: str, username: str) -> str | None:
        return self.held.get((service_name, username))

    def set_password(self, service_name: str, username: str, password: str) -> None:
        if self.keeps:
            self.held[service_name, username] = password

    def delete_password(self, service_name: str, username: str) -> None:
        del self.held[service_name, username]


class Broken(ModuleType):
    """One without a backend, each call of which fails."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("no backend")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a stored key, and without the package `keyring`."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setitem(sys.modules, "keyring", None)
    return folder / "bfl-async" / "keys.json"


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the next command read a text from standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("server", [200], indirect=True)
def test_stored_key_is_used_until_logout(
    run: Run, server: subprocess.Popen[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked whether it is right; the environment wins, and after a logout there is none."""
    key = os.environ["BFL_API_KEY"]
    monkeypatch.delenv("BFL_API_KEY")
    assert run("credits")[0] == 4
    type_in(monkeypatch, "wrong\n")
    code, out, err = run("login")
    assert (code, out, home.exists()) == (4, "", False)
    assert "wrong" not in err
    type_in(monkeypatch, f' "{key}"\r\n')
    code, out, err = run("login")
    assert (code, out) == (0, "")
    assert "the key is right: the account has 10000 credits" in err
    assert key not in err
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert run("credits")[:2] == (0, "10000\n")
    assert run("generate", "a cat", "-m", "flux-2-klein-4b", "-o", "cat.jpg")[0] == 0
    assert f"of '{home}'" in run("config")[1]
    monkeypatch.setenv("BFL_API_KEY", "another-key")
    assert run("credits")[0] == 4, "the environment wins"
    monkeypatch.delenv("BFL_API_KEY")
    assert "removed the key" in run("logout")[2]
    assert "no key is stored" in run("logout")[2]
    assert run("credits")[0] == 4
    assert key not in home.read_text()


def test_key_of_one_host_is_not_sent_to_another(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BFL's regions are one host."""
    type_in(monkeypatch, KEY)
    assert run("login", "--no-check")[0] == 0
    for region in ("eu", "us", "https://api.bfl.ai"):
        monkeypatch.setenv("BFL_BASE_URL", region)
        assert "ends in WXYZ" in run("config")[1]
    for other in ("https://gateway.example", "https://bfl.ai.example", "http://127.0.0.1:9"):
        monkeypatch.setenv("BFL_BASE_URL", other)
        assert "key   none" in run("config")[1]
        assert run("credits")[0] == 4, "nothing was sent"


def test_keyring_is_used_where_there_is_one(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file only if asked for; an earlier key is forgotten wherever it is."""
    ring = Ring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    type_in(monkeypatch, KEY)
    assert "stored in the system's keyring" in run("login", "--no-check")[2]
    assert list(ring.held.values()) == [KEY]
    assert not home.exists()
    assert "ends in WXYZ, of the system's keyring" in run("config")[1]
    type_in(monkeypatch, KEY)
    assert "which only you can read" in run("login", "--no-check", "--file")[2]
    assert ring.held == {}
    type_in(monkeypatch, KEY)
    assert run("login", "--no-check")[0] == 0
    assert json.loads(home.read_text()) == {}
    assert run("logout")[0] == 0
    assert ring.held == {}


@pytest.mark.parametrize("ring", [Ring(keeps=False), Broken("keyring")], ids=["forgets", "fails"])
def test_keyring_that_does_not_work_is_passed_over(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, ring: ModuleType
) -> None:
    """The file takes its place."""
    monkeypatch.setitem(sys.modules, "keyring", ring)
    type_in(monkeypatch, KEY)
    assert str(home) in run("login", "--no-check")[2]
    assert "ends in WXYZ" in run("config")[1]
    assert run("logout")[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no key was given"),
        ("  \n", "no key was given"),
        ("a key", "no API key has"),
        ("schlüssel", "no API key has"),
    ],
)
def test_what_is_no_key_is_not_stored(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    """Exit code 4."""
    type_in(monkeypatch, text)
    code, out, err = run("login", "--no-check")
    assert (code, out, home.exists()) == (4, "", False)
    assert says in err


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"https://api.bfl.ai": 3}'])
def test_file_that_cannot_be_read_is_as_none(run: Run, home: Path, text: str) -> None:
    """The message says what to do."""
    home.parent.mkdir(parents=True)
    home.write_text(text)
    code, _, err = run("credits")
    assert code == 4
    assert "run `bfl-async login`" in err
