"""The checks, by name: `nox -s lint types layers tests`. They run in the active environment."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "layers", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and the project file."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("validate-pyproject", "pyproject.toml")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over package, tests and benchmarks."""
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """A module imports only what stands beneath it."""
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, without the slow ones."""
    session.run("python", "-m", "pytest", *session.posargs)
