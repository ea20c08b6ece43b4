"""What all tests share."""

from __future__ import annotations

import asyncio
import os

import pytest

from bfl_async import models

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests at the real API be asked for."""
    parser.addoption("--live", action="store_true", help="pay for images at the real API (with -m live)")


def pytest_configure() -> None:
    """Keep looptime from making an event loop for each synchronous test, which nobody would close."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _folders_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the command line, in processes of its own as well, from what the user keeps between runs."""
    for name in ("CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(autouse=True)
def _nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is warned of once a process: another test may have named it."""
    monkeypatch.setattr(models, "_warned", set())
