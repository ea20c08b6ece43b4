"""The reserve of a ledger: what must be recorded has its room before, and is taken over in order, once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from bfl_async.errors import LedgerError
from bfl_async.ledger import SQLiteLedger, inspect_ledger
from bfl_async.ledger.reserve import reserve_path
from bfl_async.types import EntryState, LedgerEntry, NewEntry

SUBMITTING, SUBMITTED, READY, QUEUED = (
    EntryState.SUBMITTING, EntryState.SUBMITTED, EntryState.READY, EntryState.QUEUED
)  # fmt: skip
COUNT = 40
# What the rows grow by is more than the pages of a full ledger have room for.
URL = "https://api.bfl.ai/v1/get_result?id=" + "x" * 400


class Full:
    """A ledger whose file cannot grow between `begin` and `end`, as on a full disk."""

    def __init__(self, ledger: SQLiteLedger) -> None:
        self._is_full = False
        transact = ledger._transact

        def limited(db: sqlite3.Connection, group: list[Any]) -> list[Any]:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages if self._is_full else 1_000_000}")
            return transact(db, group)

        ledger._transact = limited  # type: ignore[method-assign] # the disk's part

    def begin(self) -> None:
        self._is_full = True

    def end(self) -> None:
        self._is_full = False


async def opened(path: Path, count: int = COUNT) -> SQLiteLedger:
    """Return an open ledger with so many entries that are marked."""
    ledger = SQLiteLedger(path)
    await ledger.open()
    await ledger.add([NewEntry(f"key {n}", "flux-dev", '{"prompt": "a cat"}') for n in range(count)])
    return ledger


async def entries(ledger: SQLiteLedger) -> list[LedgerEntry]:
    return await ledger.read(list(EntryState), after=0, most=1000)


async def mark_all(ledger: SQLiteLedger) -> None:
    for number in range(1, COUNT + 1):
        await ledger.change(number, SUBMITTING)


async def submit_all(ledger: SQLiteLedger, url: str = URL) -> None:
    for number in range(1, COUNT + 1):
        await ledger.change(number, SUBMITTED, {"task_id": f"task {number}", "polling_url": url, "cost": 2.5})


async def close_at_once(ledger: SQLiteLedger) -> None:
    """End a ledger as a kill does: nothing more is taken, and no file is removed."""
    ledger._reserve.close = lambda: None  # type: ignore[method-assign] # nothing is tidied
    ledger._take_kept = lambda db: None  # type: ignore[method-assign] # nor written
    await ledger.aclose()


@pytest.mark.parametrize("ends", ["closed", "killed", "with room again"])
async def test_what_a_full_disk_does_not_take_is_durable_all_the_same(ends: str, tmp_path: Path) -> None:
    """Each task that was accepted is in the ledger that the next run opens, in its last state."""
    ledger = await opened(tmp_path / "run.db")
    await mark_all(ledger)
    full = Full(ledger)
    full.begin()
    await submit_all(ledger)
    await ledger.change(3, READY, {"task_id": "task 3", "polling_url": URL, "ready_at": 5.0})
    await ledger.change(4, QUEUED)
    if ends == "with room again":
        full.end()
    await (close_at_once(ledger) if ends == "killed" else ledger.aclose())
    again = await opened(tmp_path / "run.db")
    found = {entry.id: entry for entry in await entries(again)}
    assert [entry.task_id for entry in found.values()] == [f"task {number}" for number in range(1, COUNT + 1)]
    assert all(entry.polling_url == URL and entry.cost == 2.5 for entry in found.values())
    assert (found[3].state, found[4].state, found[5].state) == (READY, QUEUED, SUBMITTED)
    await again.aclose()
    assert sorted(path.name for path in tmp_path.iterdir() if ".reserve" in path.name) == []


async def test_a_ledger_that_cannot_be_written_takes_no_mark(tmp_path: Path) -> None:
    """What cannot be sent is not marked; otherwise the run would go on spending on a full disk."""
    ledger = await opened(tmp_path / "run.db")
    await mark_all(ledger)
    full = Full(ledger)
    full.begin()
    await submit_all(ledger)
    with pytest.raises(LedgerError, match="full"):
        await ledger.change(1, SUBMITTING)
    full.end()
    await ledger.change(1, SUBMITTING)
    assert [entry.state for entry in await entries(ledger)] == [SUBMITTING, *[SUBMITTED] * (COUNT - 1)]
    await ledger.aclose()


async def test_a_change_is_taken_once_whenever_the_run_is_killed(tmp_path: Path) -> None:
    """A kill between the ledger's commit and the end of the reserve brings no old state back."""
    path = tmp_path / "run.db"
    ledger = await opened(path)
    await mark_all(ledger)
    full = Full(ledger)
    full.begin()
    await submit_all(ledger)
    kept = tmp_path / "kept"
    shutil.copy(reserve_path(path), kept)
    full.end()
    await ledger.change(2, EntryState.SAVED, {"file": "cat.jpg"})
    await ledger.aclose()
    shutil.copy(kept, tmp_path / "run.db.reserve")
    again = await opened(path)
    assert [entry.state for entry in await entries(again)][:3] == [SUBMITTED, EntryState.SAVED, SUBMITTED]
    await again.aclose()


async def test_a_full_reserve_says_so(tmp_path: Path) -> None:
    """A change that fits nowhere is an error, and what was kept before stays."""
    ledger = await opened(tmp_path / "run.db")
    await mark_all(ledger)
    full = Full(ledger)
    full.begin()
    with pytest.raises(LedgerError):
        await submit_all(ledger, URL + "y" * 5_000)
    last = len(ledger._reserve.changes)
    assert 0 < last < COUNT
    full.end()
    found = await entries(ledger)
    assert [entry.state for entry in found] == [SUBMITTED] * last + [SUBMITTING] * (COUNT - last)
    await ledger.aclose()


async def test_without_the_room_no_ledger_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is secured before anything can be sent."""
    await (await opened(tmp_path / "run.db")).aclose()

    def no_space(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(LedgerError, match="No space left"):
        patch.setattr("bfl_async.ledger.reserve._write", no_space)
        await SQLiteLedger(tmp_path / "run.db").open()
    assert not list(tmp_path.glob("*.reserve"))
    await (await opened(tmp_path / "run.db")).aclose()


async def test_status_shows_what_the_ledger_could_not_take(tmp_path: Path) -> None:
    """A tool that only reads counts and prices those entries as they are."""
    ledger = await opened(tmp_path / "run.db")
    await mark_all(ledger)
    full = Full(ledger)
    full.begin()
    await submit_all(ledger)
    await close_at_once(ledger)
    view = inspect_ledger(tmp_path / "run.db")
    assert (view.counts[SUBMITTED], view.counts[SUBMITTING]) == (COUNT, 0)
    assert view.spent_credits == COUNT * 2.5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 5000,
        b"no json\n[]\n{}\n7\nnull\n" * 3,
        b'["other", 9, 1, "failed", {}]\n',
        b'["ID", 9, 1, "failed", {"key = 1, task_id": "x"}]\n',
        b'["ID", 9, 1, "failed", {"task_id": ["x"]}]\n',
        b'["ID", 9, 1, "no state", {}]\n',
        b'["ID", 9, 1, "failed", {}]',
        b"[" * 100_000 + b"\n",
    ],
    ids=range(9),
)
async def test_what_is_not_a_record_of_this_ledger_changes_nothing(text: bytes, tmp_path: Path) -> None:
    """Another ledger's reserve, damage, a record that was cut off."""
    path = tmp_path / "run.db"
    ledger = await opened(path, 2)
    text = text.replace(b"ID", ledger._reserve._ledger_id.encode())
    await ledger.aclose()
    (tmp_path / "run.db.reserve").write_bytes(text)
    assert inspect_ledger(path).counts[QUEUED] == 2
    again = await opened(path, 2)
    assert [(entry.state, entry.task_id) for entry in await entries(again)] == [(QUEUED, None)] * 2
    await again.aclose()


async def test_the_reserve_is_for_the_owner_alone(tmp_path: Path) -> None:
    """It may hold polling URLs."""
    ledger = await opened(tmp_path / "run.db")
    reserve = reserve_path(tmp_path / "run.db")
    assert stat.S_IMODE(reserve.stat().st_mode) == 0o600
    assert json.dumps([]) not in reserve.read_text()
    await ledger.aclose()
