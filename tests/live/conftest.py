"""Says what the live suite may cost before it spends, and at its end what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from tests.live.checks import BUDGET_USD, CHECKS
from tests.live.report import Finding, report


@dataclass
class Found:
    """What was tried at the API, by check, and what that cost."""

    findings: dict[str, Finding] = field(default_factory=dict)
    spent_usd: float = 0.0


FOUND = pytest.StashKey[Found]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what is found."""
    config.stash[FOUND] = Found()


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
    """Print the one table."""
    found = config.stash[FOUND]
    if found.findings:
        terminalreporter.section("the API and the sandbox")
        for line in report(found.findings, found.spent_usd):
            terminalreporter.write_line(line)
