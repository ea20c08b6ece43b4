"""What all tests share.

`BFL_TEST_LOOP=uvloop` runs the tests on uvloop, except those marked with looptime, whose clock needs a loop of asyncio.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping

import pytest

from bfl_async import models

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests at the real API be asked for."""
    parser.addoption("--live", action="store_true", help="pay for images at the real API (with -m live)")


class _OnUvloop:
    """Runs asynchronous tests on uvloop. A plugin of its own, registered only if it is asked for."""

    def __init__(self) -> None:
        # Written by pytest_runtest_setup, read by _new_loop.
        self._needs_looptime = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note which loop the test needs. A mark may come with one of its parameters, so this is known only now."""
        self._needs_looptime = item.get_closest_marker("looptime") is not None

    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Name the one kind of loop that each test runs on."""
        return {"uvloop": self._new_loop}

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop() if self._needs_looptime else asyncio.new_event_loop()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from what collecting made: thousands of tests that live to the end.

    Else each full collection goes through all of it, and some tests make hundreds of them.
    """
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the event loop."""
    loop = os.environ.get("BFL_TEST_LOOP", "asyncio")
    if loop not in ("asyncio", "uvloop"):
        raise pytest.UsageError(f"BFL_TEST_LOOP must be asyncio or uvloop, not {loop!r}")
    if loop == "uvloop":
        import uvloop

        # For loops that are not made by pytest-asyncio: those of `asyncio.run` and of the synchronous client.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        config.pluginmanager.register(_OnUvloop())
    # Keeps looptime from making an event loop for each synchronous test, which would never be closed.
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _folders_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the command line, in processes of its own as well, from what the user keeps between runs."""
    for name in ("CACHE", "CONFIG", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = str(tmp_path_factory.mktemp(name.lower()))
    # readline gives a width to the workers of a run, in which lines would be broken that tests read.
    os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def _nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is warned of once a process: another test may have named it."""
    monkeypatch.setattr(models, "_warned", set())
