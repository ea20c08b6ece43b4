"""The database behind a procrastinate app: its connections, our tables, and errors as the package's own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

try:
    import procrastinate
    import psycopg
    from procrastinate import exceptions
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.rows import dict_row
except ImportError as _exc:
    raise ImportError("this needs the extra: pip install 'bfl-async[procrastinate]'") from _exc

from bfl_async.errors import ConfigError, LedgerError, LedgerVersionError
from bfl_async.jobs.records import MIGRATIONS, Records
from bfl_async.runtime.text import printable

# Of PostgreSQL's advisory locks: one at a time changes the schema, defers by id, or sends jobs again.
LOCK = 0x62666C

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def apply_schema(app: procrastinate.App) -> None:
    """Make the tables of procrastinate and of ours, or bring ours up to this release. May be repeated.

    Raises:
        LedgerVersionError: A newer release made them.
        LedgerError: The database cannot be used.
        ConfigError: The app is not open, or has another connector than `PsycopgConnector`.
    Cancellation: All of it is made or nothing.
    """
    async with transaction(app, lock=True) as connection:
        found = await fetch(connection, "SELECT to_regclass('procrastinate_jobs') IS NULL AS missing")
        if found[0]["missing"]:
            await app.schema_manager.apply_schema_async()
        await connection.execute("CREATE SCHEMA IF NOT EXISTS bfl_jobs")
        await connection.execute("CREATE TABLE IF NOT EXISTS bfl_jobs.version (number integer NOT NULL)")
        numbers = await fetch(connection, "SELECT number FROM bfl_jobs.version")
        number = numbers[0]["number"] if numbers else 0
        if number > len(MIGRATIONS):
            raise LedgerVersionError(f"the tables in bfl_jobs have version {number}: upgrade bfl-async")
        for migration in MIGRATIONS[number:]:
            await connection.execute(migration)
        await connection.execute("DELETE FROM bfl_jobs.version")
        await connection.execute("INSERT INTO bfl_jobs.version VALUES (%s)", (len(MIGRATIONS),))


def records_of(app: procrastinate.App) -> Records:
    """Return the table of records of an open app."""

    async def ask(sql: LiteralString, **arguments: object) -> Sequence[Mapping[str, Any]]:
        async with transaction(app) as connection:
            return await fetch(connection, sql, **arguments)

    return Records(ask)


@asynccontextmanager
async def transaction(app: procrastinate.App, *, lock: bool = False) -> AsyncIterator[Connection]:
    """A connection within a transaction; `lock`: one at a time does it.

    Raises:
        LedgerError: The database cannot be used.
        ConfigError: The app is not open, or has another connector than `PsycopgConnector`.
    """
    if not isinstance(app.connector, procrastinate.PsycopgConnector):
        raise ConfigError("the app needs a procrastinate.PsycopgConnector")
    try:
        async with app.connector.pool.connection() as connection:
            if lock:
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            yield connection
    except exceptions.AppNotOpen as exc:
        raise ConfigError("the app is not open: use `async with app.open_async()`") from exc
    except (psycopg.Error, exceptions.ConnectorException) as exc:
        raise LedgerError(f"the database cannot be used: {shown_problem(exc.__cause__ or exc)}") from exc


def check_dsn(dsn: object) -> None:
    """Check that a text names a database.

    Raises:
        ConfigError: It cannot be read. No part of it is shown, since a password may be anywhere in it.
    """
    if not _is_dsn(dsn):
        chars = f" ({len(dsn)} characters)" if isinstance(dsn, str) else ""
        raise ConfigError(
            f"the connection string{chars} cannot be read: use postgresql://user:password@host/database, with special "
            "characters percent-encoded"
        )


def _is_dsn(dsn: object) -> bool:
    # Apart from `check_dsn`, so that no frame that the error passes through holds the parts.
    if not isinstance(dsn, str):
        return False
    try:
        parts = conninfo_to_dict(dsn)
    except (psycopg.Error, ValueError):
        return False
    # In a URL whose password has an @ or a slash of its own, the rest of the password is read as one of these.
    return all(_NAME.fullmatch(str(parts.get(name) or "")) for name in ("host", "dbname", "port"))


# As hosts and databases are named, and folders of sockets.
_NAME = re.compile(r"[^@:?#\s]*|[0-9A-Fa-f:.,\[\]]+")


def shown_problem(exc: BaseException) -> str:
    """Return what a driver says is wrong, without what it repeats of a connection string."""
    if isinstance(exc, psycopg.ProgrammingError) and exc.sqlstate is None:
        return "its connection string cannot be read"
    return printable(str(exc), 300) or type(exc).__name__


async def fetch(connection: Connection, sql: LiteralString, **arguments: object) -> list[dict[str, Any]]:
    """Run a statement and return its rows."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, arguments or None)
        return await cursor.fetchall()


__all__ = [
    "LOCK",
    "Connection",
    "apply_schema",
    "check_dsn",
    "fetch",
    "records_of",
    "shown_problem",
    "transaction",
]
