"""Wheel, sdist and environments to install them in. All commands are run without what this environment adds."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: tuple[str, ...] = tuple(PROJECT["optional-dependencies"])
VERSIONS = tuple(
    found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(r".*:: (3\.\d+)", line))
)
_OURS = re.compile(r"BFL_.*|PYTHONPATH|VIRTUAL_ENV|PYTEST_.*|COV_.*")


@dataclass(frozen=True)
class Dist:
    """What was built of the source tree."""

    wheel: Path
    sdist: Path

    def metadata(self) -> Message:
        """Return the wheel's."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return email.message_from_string(archive.read(name).decode())

    def requirements(self) -> list[str]:
        """Return what the wheel and all of its extras ask for, with its bounds."""
        found = [line.partition(";")[0].strip() for line in self.metadata().get_all("Requires-Dist", [])]
        return [line for line in found if not line.startswith("bfl-async")]


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def install(self, *what: str) -> None:
        """Install requirements, and check that they fit together."""
        uv("pip", "install", "-q", "--python", str(self.python), *what)
        uv("pip", "check", "-q", "--python", str(self.python))

    def run(
        self, *argv: str, cwd: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs; the environment is as after `activate`."""
        path = f"{self.python.parent}:{os.environ['PATH']}"
        program = shutil.which(argv[0], path=path)
        assert program is not None, argv[0]
        return run([program, *argv[1:]], cwd=cwd, variables={"PATH": path, **(variables or {})})


def make_environment(folder: Path, python: str, *what: str) -> Environment:
    """Make a virtual environment, and install requirements in it."""
    uv("venv", "-q", "--python", python, str(folder))
    made = Environment(folder)
    made.install(*what)
    return made


def uv(*argv: str) -> None:
    """Run uv."""
    done = run([sys.executable, "-m", "uv", *argv])
    assert done.returncode == 0, done.stderr


def run(
    argv: Sequence[str], *, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as a user's shell would, and return what it said."""
    clean = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
    return subprocess.run(
        argv, cwd=cwd, env={**clean, **(variables or {})}, capture_output=True, text=True, check=False
    )


def interpreter(version: str) -> str | None:
    """Return a Python of that version on this machine; None: there is none that starts."""
    on_path = shutil.which(f"python{version}")
    candidates = [
        *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"), reverse=True),
        *([Path(on_path)] if on_path is not None else []),
    ]
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if run([str(candidate), "-c", question]).stdout.strip() == version:
            return str(candidate)
    return None
