"""A ledger for a plan: looked at without its lock, in one connection, and empty where there is no file yet."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bfl_async.ledger.rows import counts_of_rows, find, read_all_notes, read_rows
from bfl_async.ledger.schema import MIGRATIONS
from bfl_async.ledger.view import open_reading
from bfl_async.types.entries import EntryState, LedgerEntry

_T = TypeVar("_T")


class LedgerReader:
    """What can be asked of a ledger; as `Ledger`, and blocking."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def read(self, states: Sequence[EntryState], *, after: int, most: int) -> list[LedgerEntry]:
        """See `Ledger.read`."""
        return read_rows(self._db, states, after, most)

    def find(self, keys: Sequence[str]) -> Mapping[str, tuple[int, EntryState]]:
        """See `Ledger.find`."""
        return find(self._db, keys)

    def counts(self) -> Mapping[EntryState, int]:
        """See `Ledger.counts`."""
        return counts_of_rows(self._db)

    def files(self, *, after: int, most: int) -> list[tuple[int, str]]:
        """Return the ids of saved entries behind `after` with the names of their images, by id."""
        rows = self._db.execute(
            "SELECT id, file FROM entries WHERE state = ? AND file IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
            (EntryState.SAVED, after, most),
        )
        return [(entry_id, name) for entry_id, name in rows]

    def notes(self) -> Mapping[str, str]:
        """See `Ledger.notes`."""
        return read_all_notes(self._db)


def read_ledger(path: str | os.PathLike[str], work: Callable[[LedgerReader], _T]) -> _T:
    """Do work that only reads a ledger, without its lock, also while a run goes on. Blocks.

    A file that is missing or empty is an empty ledger, as it is for a run.

    Raises:
        LedgerVersionError: A newer release wrote it.
        LedgerError: It cannot be read, or is not a ledger.
    """
    path = Path(path)
    if not _is_blank(path):
        # In a list, to tell a result of None from a file in which there is nothing yet.
        done = open_reading(path, lambda db: [work(LedgerReader(db))])
        if done is not None:
            return done[0]
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in (one for step in MIGRATIONS for one in step):
            db.execute(statement)
        return work(LedgerReader(db))


def _is_blank(path: Path) -> bool:
    try:
        facts = path.stat()
        return stat.S_ISREG(facts.st_mode) and facts.st_size == 0
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False


__all__ = ["LedgerReader", "read_ledger"]
