"""The checks, by name: `nox -s lint types layers tests docs`. They run in the active environment.

`tests-3.12` and `tests-3.13` make an environment of their own. Arguments after `--` go to pytest, so this runs the slow
tests there: `nox -s tests-3.13 -- -m 'slow and not alone'`, then `nox -s tests-3.13 -- -m 'slow and alone' -n 0`.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import nox

OTHER_PYTHONS = ("3.12", "3.13")

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


@nox.session(name="tests-uvloop")
def tests_uvloop(session: nox.Session) -> None:
    """The tests that run a loop, on uvloop, without those that need looptime's clock."""
    folders = (
        *("batch", "client", "engine", "integrations", "ledger", "limiter", "results", "runtime", "sandbox"),
        *("sync", "transport", "webhooks"),
    )
    session.run(
        *("python", "-m", "pytest", "tests/integration", "tests/contract"),
        *(f"tests/unit/{folder}" for folder in folders),
        *("-m", "not slow and not live and not release and not looptime", *session.posargs),
        env={"BFL_TEST_LOOP": "uvloop"},
    )


def output_of(*command: str) -> str:
    """Return what a program prints, or nothing if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def find_python(version: str) -> str | None:
    """Return the path of an interpreter: the one on PATH, otherwise the newest that pyenv has."""
    show_path = ("-c", "import sys; print(sys.executable)")
    # A shim of pyenv is on PATH but fails unless its version is the active one.
    if path := output_of(f"python{version}", *show_path):
        return path
    names = output_of("pyenv", "versions", "--bare").split()
    patches = [int(name.rpartition(".")[2]) for name in names if re.fullmatch(rf"{version}\.\d+", name)]
    if not patches:
        return None
    prefix = output_of("pyenv", "prefix", f"{version}.{max(patches)}")
    return output_of(f"{prefix}/bin/python", *show_path) or None


def add_tests_on(version: str) -> None:
    """Add the session of another version of Python."""
    python = find_python(version)

    @nox.session(name=f"tests-{version}", python=python, venv_backend="uv|virtualenv" if python else "none")
    def tests_on(session: nox.Session) -> None:
        """The tests in an environment of their own, with another Python."""
        if python is None:
            session.skip(f"there is no Python {version} on PATH or in pyenv")
        session.install("-e", ".[all]", "-r", "requirements-dev.txt")
        session.run("python", "-m", "pytest", *session.posargs)


for version in OTHER_PYTHONS:
    add_tests_on(version)


@nox.session
def release(session: nox.Session) -> None:
    """Wheel and sdist: built, looked into, installed alone in fresh environments, and checked by type checkers."""
    session.run("python", "-m", "pytest", "tests/release", "-m", "release", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation's site, in site/; a warning is an error."""
    session.run("zensical", "build", "--clean", "--strict")
