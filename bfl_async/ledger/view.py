"""A ledger seen from outside: read only, also while a run writes it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from bfl_async.errors import LedgerError
from bfl_async.ledger.lock import holder_of
from bfl_async.ledger.reserve import read_reserve, reserve_path
from bfl_async.ledger.rows import (
    COLUMNS,
    REMOVED_CREDITS,
    counts_of_rows,
    entry_of_row,
    ledger_id_of,
    read_all_notes,
    taken_names,
)
from bfl_async.ledger.schema import BUSY_S, journal_of, ledger_error, version_of
from bfl_async.types.entries import EntryState, LedgerEntry

_T = TypeVar("_T")


if TYPE_CHECKING:
    pass

_LOOK_ROWS = 20_000  # that one read of who only looks goes through


@dataclass(frozen=True, slots=True)
class LedgerView:
    """A ledger for who only looks; the figures are of moments close to each other where a run goes on.

    Attributes:
        counts: Entries by state.
        spent_credits: What the entries have cost, earlier tries included.
        unpriced: Tasks whose cost the server did not state.
        holder: The process that runs it; None when none does.
        first_at: Unix time of the first submit; None before.
        last_at: Unix time of the last change that is told; None before.
        recent: Entries that ended within the 60 s before `last_at`.
        errors: The newest that did not come home, the newest first.
    """

    path: Path
    counts: Mapping[EntryState, int]
    spent_credits: float
    unpriced: int
    holder: str | None
    first_at: float | None
    last_at: float | None
    recent: int
    errors: tuple[LedgerEntry, ...] = field(default=(), repr=False)


_BAD_STATES = (EntryState.FAILED, EntryState.MODERATED, EntryState.AMBIGUOUS)


def inspect_ledger(path: str | os.PathLike[str], *, errors: int = 5) -> LedgerView:
    """Look at a ledger without its lock, also while a run goes on. Blocks for as long as the reading takes.

    Raises:
        LedgerVersionError: A newer release wrote it.
        LedgerError: It is missing, cannot be read, or is no ledger.
    """
    path = Path(path)
    holder = holder_of(path)
    view = open_reading(path, lambda db: _look(db, path, errors, holder))
    if view is None:
        raise LedgerError(
            f"there is no ledger {str(path)!r}: name the folder of a batch, or the ledger in it"
        )
    return view


def count_known(path: str | os.PathLike[str], keys: Iterable[str]) -> int:
    """Return how many of these keys a ledger holds; none where there is no ledger. Blocks.

    Raises:
        LedgerError: It cannot be read.
    """
    waiting = iter(keys)

    def work(db: sqlite3.Connection) -> int:
        known = 0
        while some := list(islice(waiting, 500)):
            marks = ", ".join("?" * len(some))
            (found,) = db.execute(f"SELECT count(*) FROM entries WHERE key IN ({marks})", some).fetchone()
            known += found
        return known

    return open_reading(Path(path), work) or 0


def read_notes(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """Return a ledger's notes, without its lock; none where there is no ledger. Blocks.

    Raises:
        LedgerError: It cannot be read.
    """
    return open_reading(Path(path), read_all_notes) or {}


def open_reading(path: Path, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
    """Do work that only reads, without the lock; None if the ledger does not exist, or nothing is in it yet."""
    if not path.is_file():
        return None
    name = quote(str(path.absolute()))
    try:
        if holder_of(path) is None and journal_of(path).exists():
            # A run that was killed left a journal to roll back, which who only reads may not do.
            with contextlib.closing(sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=BUSY_S)) as db:
                db.execute("SELECT count(*) FROM sqlite_master")
        with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=BUSY_S)) as db:
            return work(db) if version_of(db, str(path)) else None
    except sqlite3.Error as exc:
        raise ledger_error(exc, str(path)) from exc


def _add_kept(db: sqlite3.Connection, path: Path, counts: dict[EntryState, int]) -> float:
    """Count entries by what the reserve has of them, where the ledger could not be written; return their cost."""
    try:
        generation, changes = read_reserve(reserve_path(Path(os.path.realpath(path))), ledger_id_of(db) or "")
    except OSError:
        return 0.0
    if generation <= taken_names(db):
        return 0.0
    cost = 0.0
    for change in {change.entry_id: change for change in changes}.values():
        found = db.execute("SELECT state, cost FROM entries WHERE id = ?", (change.entry_id,)).fetchone()
        if found is None:
            continue
        counts[EntryState(found[0])] -= 1
        counts[change.state] += 1
        paid = change.facts.get("cost")
        if found[1] is None and isinstance(paid, int | float):
            cost += paid
    return cost


def _look(db: sqlite3.Connection, path: Path, errors: int, holder: str | None) -> LedgerView:
    counts = counts_of_rows(db)
    kept_credits = _add_kept(db, path, counts)
    spent, unpriced, first_at, last_at = float(read_all_notes(db).get(REMOVED_CREDITS, "0")), 0, None, 0.0
    (most,) = db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
    # Piece by piece: with a rollback journal, a commit waits for each read to end.
    for start in range(0, most, _LOOK_ROWS):
        credits, unknown, first, last = db.execute(
            "SELECT total(cost) + total(cost_before), total(task_id IS NOT NULL AND cost IS NULL), "
            "min(submitted_at), max(submitted_at) FROM entries WHERE id > ? AND id <= ?",
            (start, start + _LOOK_ROWS),
        ).fetchone()
        spent += credits
        unpriced += int(unknown)
        first_at = first if first_at is None else min(first_at, first or first_at)
        last_at = max(last_at, last or 0.0)
    (ended_at,) = db.execute("SELECT max(ended_at) FROM entries WHERE ended_at IS NOT NULL").fetchone()
    last_at = max(last_at, ended_at or 0.0)
    (recent,) = db.execute("SELECT count(*) FROM entries WHERE ended_at > ?", (last_at - 60.0,)).fetchone()
    marks = ", ".join("?" * len(_BAD_STATES))
    bad = db.execute(
        f"SELECT {COLUMNS} FROM entries WHERE state IN ({marks}) ORDER BY ended_at DESC, id DESC LIMIT ?",
        (*_BAD_STATES, errors),
    ).fetchall()
    return LedgerView(
        path=path,
        counts=counts,
        spent_credits=round(spent + kept_credits, 6),
        unpriced=unpriced,
        holder=holder,
        first_at=first_at,
        last_at=last_at or None,
        recent=recent,
        errors=tuple(entry_of_row(row) for row in bad),
    )
