"""The tables of a ledger, their versions, and what SQLite may be asked."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bfl_async.errors import LedgerError, LedgerVersionError

if TYPE_CHECKING:
    pass

APPLICATION_ID = 0x42464C61  # "BFLa"


BUSY_S = 10.0  # for readers of the rollback journal, who hold a commit up


_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE entries (
          id INTEGER PRIMARY KEY,
          key TEXT NOT NULL UNIQUE,
          state TEXT NOT NULL,
          model TEXT NOT NULL,
          fields TEXT NOT NULL,
          name TEXT,
          task_id TEXT,
          polling_url TEXT,
          cost REAL,
          cost_before REAL NOT NULL DEFAULT 0,
          file TEXT,
          result TEXT,
          error TEXT,
          listed INTEGER NOT NULL DEFAULT 0,
          added_at REAL,
          submitted_at REAL,
          ready_at REAL,
          ended_at REAL
        )
        """,
        "CREATE INDEX entries_by_state ON entries (state)",
        "CREATE INDEX entries_unlisted ON entries (id) WHERE state = 'saved' AND listed = 0",
        "CREATE INDEX entries_by_end ON entries (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
"""What each version of the schema adds; the file's `user_version` is how many of them it has."""


def has_wal_bug(version: tuple[int, ...]) -> bool:
    """True for SQLite versions in which WAL can lose a file.

    Source: sqlite.org/wal.html, "the WAL-reset bug", read 2026-11-23.
    """
    if version >= (3, 51, 3) or version < (3, 7, 0):
        return False
    return not ((3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0))


def journal_mode() -> str:
    """Return the journal mode that is safe with this Python's SQLite: "wal" or "delete"."""
    return "delete" if has_wal_bug(sqlite3.sqlite_version_info[:3]) else "wal"


def _is_damage(exc: BaseException) -> bool:
    """Return True if an error of SQLite says that a file is not, or no longer, a database."""
    return isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def ledger_error(exc: BaseException, shown: str) -> LedgerError:
    if isinstance(exc, LedgerError):
        return exc
    reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    if _is_damage(exc):
        error = LedgerError(
            f"the ledger {shown!r} is damaged: {reason}; nothing is sent without it. Rename it, leave "
            "manifest.jsonl and the images where they are, and run the same again: rows whose image is listed there "
            "are not paid again, but tasks that were in flight are sent again"
        )
    elif (isinstance(exc, OSError) and exc.errno in _NO_ROOM) or "full" in reason:
        error = LedgerError(
            f"the ledger {shown!r} cannot be used: {reason}; nothing is sent without it, free some space and run the "
            "same again"
        )
    else:
        error = LedgerError(
            f"the ledger {shown!r} cannot be used: {reason}; nothing is sent without it, correct that and run the same "
            "again"
        )
    error.__cause__ = exc
    return error


def version_of(db: sqlite3.Connection, shown: str, newest: int = len(MIGRATIONS)) -> int:
    """Return the version of a file's schema; 0 if there is nothing in the file.

    Every function that opens a ledger asks this one, so that all of them judge a file alike. A file without content
    is not an error but a ledger that does not exist yet: a run that is killed as it begins leaves such a file, and so
    does a full disk. The schema itself is written in one transaction, so there is nothing in between.

    Raises:
        LedgerVersionError: A newer release wrote the file.
        LedgerError: It is not a ledger.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID:
        if tables or version or application:
            raise LedgerError(f"{shown!r} is an SQLite file, but not a ledger: choose another name")
        return 0
    if version > newest:
        raise LedgerVersionError(
            f"the ledger {shown!r} was written by a newer release (version {version}, this one knows {newest}): "
            "upgrade bfl-async"
        )
    return int(version)


def prepare(db: sqlite3.Connection, shown: str, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Set a connection up, and bring the file to the newest schema: whole, or not at all.

    Raises:
        LedgerVersionError: A newer release wrote the file.
        LedgerError: It is no ledger.
    """
    try:
        version = version_of(db, shown, len(migrations))
        mode = journal_mode()
        (got,) = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()
        if got != mode:
            raise LedgerError(f"the ledger {shown!r} cannot use the journal mode {mode!r}, but {got!r}")
        # EXTRA also flushes the folder, from which the rollback journal vanishes at a commit.
        db.execute(f"PRAGMA synchronous = {'FULL' if mode == 'wal' else 'EXTRA'}")
        db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache
        db.execute("PRAGMA cache_size = -8000")  # KB
        if version < len(migrations):
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement in [one for step in migrations[version:] for one in step]:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {len(migrations)}")
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
    except sqlite3.Error as exc:
        raise ledger_error(exc, shown) from exc


def journal_of(path: Path) -> Path:
    file = Path(os.path.realpath(path))
    return file.with_name(file.name + "-journal")
