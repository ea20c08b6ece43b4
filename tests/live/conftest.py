"""Says what the live suite may cost before it spends, and at its end what it found."""

from __future__ import annotations

import math

import pytest

from tests.live.checks import BUDGET_USD, CHECKS

FOUND = pytest.StashKey[dict[str, list[str]]]()  # by check, of those that were tried at the API


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what is found."""
    config.stash[FOUND] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Print the estimate."""
    paying = [item for item in session.items if item.get_closest_marker("live") is not None]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if paying and session.config.getoption("--live") and reporter is not None:
        usd = math.fsum(check.usd for check in CHECKS)
        reporter.write_line(
            f"live: at most about {usd:.2f} USD by the catalog's prices; a budget of {BUDGET_USD:.2f} USD is held"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print where the API differs from the sandbox."""
    if found := config.stash[FOUND]:
        terminalreporter.section("where the API differs from the sandbox")
        for check, lines in found.items():
            for line in lines or ["nowhere"]:
                terminalreporter.write_line(f"{check}: {line}")
