"""A PostgreSQL cluster of the tests' own, on a free port, in a temporary folder. Import its fixtures by name."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import procrastinate
import psycopg
import pytest

from bfl_async.integrations.procrastinate import apply_schema

_VERSIONS = Path("/usr/lib/postgresql")
_NOBODY = 65534  # PostgreSQL refuses to run as root


def _bin() -> Path | None:
    """The folder of the newest server's programs; None: there is none."""
    found = sorted(_VERSIONS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


def _run(*command: str | Path) -> None:
    other: dict[str, int] = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
    done = subprocess.run(
        command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **other
    )  # type: ignore[call-overload]  # mypy cannot see which of run's keywords a dict holds
    assert done.returncode == 0, done.stdout


class Cluster:
    """A server's data, and the server while it runs."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        data = folder / "data"
        _run(programs / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.url = f"postgresql://tests@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._control("-l", self._folder / "log", "-o", options + " -c fsync=off", "start")

    def crash(self) -> None:
        """End it at once, without a word to its clients."""
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str | Path) -> None:
        _run(self._programs / "pg_ctl", "-D", self._folder / "data", "-w", *words)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running cluster of one's own."""
    programs = _bin()
    if programs is None:
        pytest.skip("PostgreSQL's programs are missing: apt-get install -y postgresql")
    folder = Path(tempfile.mkdtemp(prefix="bfl-postgres-"))  # not pytest's, which root alone may enter
    try:
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        made = Cluster(programs, folder)
        made.start()
        try:
            yield made
        finally:
            made.crash()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a cluster that only this test session uses."""
    with cluster() as made:
        yield made.url


@pytest.fixture
def dsn(postgres: str) -> str:
    """The URL of an empty database."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres.rpartition("/")[0] + "/" + name


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[procrastinate.App]:
    """An open app on an empty database with all tables."""
    made = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with made.open_async():
        await apply_schema(made)
        yield made


__all__ = ["Cluster", "app", "cluster", "dsn", "postgres"]
