"""Rows of a ledger to values and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from bfl_async.types.common import JSON
from bfl_async.types.entries import EntryState, Fact, LedgerEntry, NewEntry

if TYPE_CHECKING:
    pass

_READ_BYTES = 4 * 1024 * 1024  # of requests that are read at a time, whatever their number


# Keys per SELECT: older releases of SQLite take at most 999 parameters.
_FOUND_AT_ONCE = 500


COLUMNS = "id, key, state, model, fields, name, task_id, polling_url, cost, file, result, error"


# How the names of the ledger's own notes begin.
_OWN = "ledger."


# The note of the newest generation of the reserve that is in the ledger.
TAKEN = "ledger.reserve_taken"


# The note that tells this ledger from any other.
ID = "ledger.id"


# The note that holds what removed entries have cost, in credits.
REMOVED_CREDITS = "removed_credits"


def new_row(entry: NewEntry, now: float) -> dict[str, Fact]:
    saved = entry.saved or {}
    return {
        "key": entry.key,
        "state": (EntryState.QUEUED if entry.saved is None else EntryState.SAVED).value,
        "model": entry.model,
        "fields": entry.fields,
        "name": entry.name,
        "at": now,
        "listed": entry.saved is not None,
        "ended_at": None if entry.saved is None else now,
        **{name: storable(saved.get(name)) for name in ("task_id", "cost", "file", "result")},
    }


def storable(value: Fact) -> Fact:
    """Text that SQLite can hold: file names may be no Unicode."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def read_rows(
    db: sqlite3.Connection, states: Sequence[EntryState], after: int, most: int, *, unlisted: bool = False
) -> list[LedgerEntry]:
    marks = ", ".join("?" * len(states))
    where, values = f"state IN ({marks})", tuple(states)
    if unlisted:
        where, values = "state = 'saved' AND listed = 0", ()  # in the words of its index
    cursor = db.execute(
        f"SELECT {COLUMNS} FROM entries WHERE {where} AND id > ? ORDER BY id LIMIT ?",
        (*values, after, most),
    )
    found: list[LedgerEntry] = []
    size = 0
    for row in cursor:
        found.append(entry_of_row(row))
        size += len(row[4])
        if size >= _READ_BYTES:
            break
    cursor.close()
    return found


def entry_of_row(row: Sequence[object]) -> LedgerEntry:
    entry_id, key, state, model, fields, name, task_id, polling_url, cost, file, result, error = row
    return LedgerEntry(
        id=cast("int", entry_id),
        key=cast("str", key),
        state=EntryState(cast("str", state)),
        model=cast("str", model),
        fields=cast("Mapping[str, JSON]", json.loads(cast("str", fields))),
        name=cast("str | None", name),
        task_id=cast("str | None", task_id),
        polling_url=cast("str | None", polling_url),
        cost=cast("float | None", cost),
        file=cast("str | None", file),
        result=cast("Mapping[str, JSON] | None", json.loads(result) if isinstance(result, str) else None),
        error=cast("str | None", error),
    )


def find(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, tuple[int, EntryState]]:
    """Return the id and state of each of these keys that is there."""
    found: dict[str, tuple[int, EntryState]] = {}
    for start in range(0, len(keys), _FOUND_AT_ONCE):
        some = keys[start : start + _FOUND_AT_ONCE]
        marks = ", ".join("?" * len(some))
        for key, entry_id, state in db.execute(
            f"SELECT key, id, state FROM entries WHERE key IN ({marks})", tuple(some)
        ):
            found[key] = (entry_id, EntryState(state))
    return found


def counts_of_rows(db: sqlite3.Connection) -> dict[EntryState, int]:
    counts = dict.fromkeys(EntryState, 0)
    for state, count in db.execute("SELECT state, count(*) FROM entries GROUP BY state"):
        counts[EntryState(state)] = count
    return counts


def ledger_id_of(db: sqlite3.Connection) -> str | None:
    return read_all_notes(db, own=True).get(ID)


def taken_names(db: sqlite3.Connection) -> int:
    """Return the newest generation of the reserve that the ledger has taken; 0 if it has taken none."""
    noted = read_all_notes(db, own=True).get(TAKEN, "")
    return int(noted) if noted.isdecimal() else 0


def read_all_notes(db: sqlite3.Connection, *, own: bool = False) -> dict[str, str]:
    """Return the batch's notes, or the ledger's own."""
    rows = db.execute("SELECT name, value FROM notes")
    return {name: value for name, value in rows if name.startswith(_OWN) == own}
