"""The checks, by name: `nox -s lint types layers tests docs`. They run in the active environment."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "layers", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, the project file, and that generated files are what they should be."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("validate-pyproject", "pyproject.toml")
    session.run("python", "-m", "bfl_async.models._generate", "--check")
    session.run("python", "docs/generate.py", "--check")


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


@nox.session
def release(session: nox.Session) -> None:
    """Wheel and sdist: built, looked into, installed alone in fresh environments, and checked by type checkers."""
    session.run("python", "-m", "pytest", "tests/release", "-m", "release", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation's site, in site/; a warning is an error."""
    session.run("zensical", "build", "--clean", "--strict")
