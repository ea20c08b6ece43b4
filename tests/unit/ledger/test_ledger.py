"""The ledger: durable, whole or not at all, and alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from bfl_async.errors import ConfigError, LedgerError, LedgerLockedError, LedgerVersionError
from bfl_async.ledger import SQLiteLedger, inspect_ledger
from bfl_async.ledger import lock as lock_module
from bfl_async.ledger.lock import holder_of
from bfl_async.ledger.schema import APPLICATION_ID, MIGRATIONS, has_wal_bug, prepare
from bfl_async.ledger.view import count_known
from bfl_async.types import EntryState, Fact, NewEntry


def entries(*keys: str) -> list[NewEntry]:
    """New entries of these keys."""
    return [NewEntry(key, "flux-dev", '{"prompt": "a cat"}') for key in keys]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SQLiteLedger]:
    """An open ledger."""
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    yield ledger
    await ledger.aclose()


async def test_a_key_is_added_once(ledger: SQLiteLedger) -> None:
    """The number of new ones is told, and ids follow the order."""
    assert await ledger.add(entries("a", "b")) == 2
    assert await ledger.add(entries("b", "c")) == 1
    rows = await ledger.read([EntryState.QUEUED], after=0, most=10)
    assert [(row.id, row.key) for row in rows] == [(1, "a"), (2, "b"), (3, "c")]
    assert rows[0].fields == {"prompt": "a cat"}


async def test_what_a_future_promised_is_there_after_a_reopening(tmp_path: Path) -> None:
    """State, facts and notes; ids that were reset are told."""
    first = SQLiteLedger(tmp_path / "run.db")
    await first.open()
    await first.add(entries("a", "b"))
    await first.change(1, EntryState.SUBMITTED, {"task_id": "t", "polling_url": "u", "cost": 2.5})
    await first.change(2, EntryState.SUBMITTING)
    await first.note({"home": "bfl.ai"})
    await first.aclose()
    second = SQLiteLedger(tmp_path / "run.db")
    await second.open()
    assert await second.reset(EntryState.SUBMITTING, EntryState.AMBIGUOUS, "killed") == [2]
    one, two = await second.read(list(EntryState), after=0, most=10)
    assert (one.state, one.task_id, one.polling_url, one.cost) == (EntryState.SUBMITTED, "t", "u", 2.5)
    assert (two.state, two.error) == (EntryState.AMBIGUOUS, "killed")
    assert (await second.notes())["home"] == "bfl.ai"
    assert (await second.counts())[EntryState.AMBIGUOUS] == 1
    await second.aclose()


async def test_a_retried_entry_forgets_its_task_and_keeps_what_it_cost(
    ledger: SQLiteLedger, tmp_path: Path
) -> None:
    """Two tries cost twice."""
    await ledger.add(entries("a"))
    await ledger.change(1, EntryState.FAILED, {"task_id": "t", "cost": 2.5})
    await ledger.reset(EntryState.FAILED, EntryState.QUEUED)
    (row,) = await ledger.read([EntryState.QUEUED], after=0, most=1)
    assert (row.task_id, row.cost) == (None, None)
    await ledger.change(1, EntryState.SAVED, {"task_id": "u", "cost": 2.0})
    assert inspect_ledger(tmp_path / "run.db").spent_credits == 4.5


async def test_one_run_holds_a_ledger(ledger: SQLiteLedger, tmp_path: Path) -> None:
    """The second is told whose it is, and comes in once the first has closed."""
    other = SQLiteLedger(tmp_path / "run.db")
    with pytest.raises(LedgerLockedError, match=f"process {os.getpid()}"):
        await other.open()
    assert inspect_ledger(tmp_path / "run.db").holder == str(os.getpid()), "who only looks is not kept out"
    await ledger.aclose()
    assert inspect_ledger(tmp_path / "run.db").holder is None
    third = SQLiteLedger(tmp_path / "run.db")
    await third.open()
    await third.aclose()


def _hard_link(path: Path, other: Path) -> Path:
    other.hardlink_to(path)
    return other


def _symbolic_link(path: Path, other: Path) -> Path:
    other.symlink_to(path)
    return other


def _linked_folder(path: Path, other: Path) -> Path:
    other.symlink_to(path.parent)
    return other / path.name


def _detour(path: Path, other: Path) -> Path:
    other.mkdir()
    return other / ".." / path.name


def _renamed(path: Path, other: Path) -> Path:
    return path.rename(other)


# In a process of its own: prints what opening a ledger says.
_OPEN = """
import asyncio, sys
from bfl_async.ledger import SQLiteLedger

async def main():
    ledger = SQLiteLedger(sys.argv[1])
    await ledger.open()
    await ledger.aclose()

try:
    asyncio.run(main())
except Exception as exc:
    print(type(exc).__name__, exc)
"""


def _open_elsewhere(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


@pytest.mark.parametrize("make", [_hard_link, _symbolic_link, _linked_folder, _detour, _renamed])
async def test_a_ledger_is_held_by_whatever_name_it_is_opened(
    make: Callable[[Path, Path], Path], ledger: SQLiteLedger, tmp_path: Path
) -> None:
    """In this process and in another; whatever else is tidied away; and the holder is named."""
    other = make(tmp_path / "run.db", tmp_path / "other")
    for path in tmp_path.iterdir():
        # SQLite's journals are part of the ledger.
        if path.name not in ("run.db", "other", "run.db-wal", "run.db-shm", "run.db-journal"):
            path.unlink()
    # By a hard link SQLite finds no write-ahead log, where the newest notes may be.
    holder = "unknown|" if make in (_hard_link, _renamed) else ""
    with pytest.raises(LedgerLockedError, match=f"process ({holder}{os.getpid()})"):
        await SQLiteLedger(other).open()
    assert f"LedgerLockedError the ledger {str(other)!r} is held" in _open_elsewhere(other)
    assert holder_of(other) == str(os.getpid())
    if make is _renamed:
        with contextlib.suppress(LedgerError):
            await ledger.add(entries("a"))
    else:
        assert await ledger.add(entries("a")) == 1
    await ledger.aclose()
    assert _open_elsewhere(other) == ""


async def test_looking_at_a_ledger_does_not_release_its_lock(ledger: SQLiteLedger, tmp_path: Path) -> None:
    """POSIX releases a process's locks on a file with any descriptor of it: neither ours nor SQLite's may go."""
    path = tmp_path / "run.db"
    await ledger.add(entries("a"))
    for _ in range(3):
        assert inspect_ledger(path).holder == str(os.getpid())
        assert count_known(path, ["a"]) == 1
        with pytest.raises(LedgerLockedError):
            await SQLiteLedger(path).open()
        path.read_bytes()
    assert "LedgerLockedError" in _open_elsewhere(path)


async def test_of_two_runs_that_no_lock_keeps_apart_the_first_writes_nothing_more(
    ledger: SQLiteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without working locks: what the first run cannot write, it cannot send either."""
    await ledger.add(entries("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr("bfl_async.ledger.lock._held", set())
        patch.setattr("bfl_async.ledger.lock._lock", lambda fd: True)
        second = SQLiteLedger(tmp_path / "run.db")
        await second.open()
    await second.change(1, EntryState.SUBMITTING)
    for state in (EntryState.SUBMITTING, EntryState.QUEUED, EntryState.SAVED):
        with pytest.raises(LedgerLockedError, match="taken over"):
            await ledger.change(1, state)
    assert [row.state for row in await second.read(list(EntryState), after=0, most=5)] == [
        EntryState.SUBMITTING,
        EntryState.QUEUED,
    ]
    await ledger.aclose()
    await second.aclose()


async def test_a_file_that_is_replaced_while_it_is_locked_is_not_taken_for_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock must be on the file that the name leads to when SQLite opens it."""
    path = tmp_path / "run.db"
    path.touch()
    replaced: list[Path] = []

    def lock(fd: int) -> bool:
        if not replaced:
            replaced.append(path.rename(tmp_path / "old"))
            path.touch()
        return real(fd)

    real = lock_module._lock
    monkeypatch.setattr(lock_module, "_lock", lock)
    ledger = SQLiteLedger(path)
    await ledger.open()
    assert "LedgerLockedError" in _open_elsewhere(path)
    assert "LedgerLockedError" not in _open_elsewhere(tmp_path / "old")
    await ledger.aclose()


async def test_polling_urls_are_for_the_owner_alone(ledger: SQLiteLedger, tmp_path: Path) -> None:
    """Also in a file that was made with another mode."""
    await ledger.add(entries("a"))
    assert stat.S_IMODE((tmp_path / "run.db").stat().st_mode) == 0o600
    (tmp_path / "open.db").touch(0o644)
    other = SQLiteLedger(tmp_path / "open.db")
    await other.open()
    await other.aclose()
    assert stat.S_IMODE((tmp_path / "open.db").stat().st_mode) == 0o600


async def test_many_changes_share_few_commits(ledger: SQLiteLedger) -> None:
    """A flush to the disk is what costs."""
    await ledger.add(entries(*map(str, range(1000))))
    statements: list[str] = []
    await ledger._put(lambda db: db.set_trace_callback(statements.append))
    last = [ledger.change(number, EntryState.SUBMITTING) for number in range(1, 1001)][-1]
    await last
    assert sum(statement.startswith("UPDATE") for statement in statements) == 1000
    assert statements.count("COMMIT") <= 12


async def test_a_change_that_cannot_be_written_costs_no_other(ledger: SQLiteLedger) -> None:
    """A group that fails is written one by one."""
    await ledger.add(entries("a", "b", "c"))
    bad = cast("dict[str, Fact]", {"error": object()})
    changes = [
        ledger.change(1, EntryState.SAVED),
        ledger.change(2, EntryState.FAILED, bad),
        ledger.change(3, EntryState.SAVED),
    ]
    with pytest.raises(LedgerError):
        await changes[1]
    await changes[0]
    await changes[2]
    states = [row.state for row in await ledger.read(list(EntryState), after=0, most=5)]
    assert states == [EntryState.SAVED, EntryState.QUEUED, EntryState.SAVED]


async def test_a_full_disk_is_an_error_and_what_was_written_stands(ledger: SQLiteLedger) -> None:
    """What could not be written is not there, and the ledger goes on when there is room again."""
    await ledger.add(entries("a"))

    def no_room(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")

    await ledger._put(no_room)
    large = [NewEntry(f"large {n}", "flux-dev", '{"prompt": "%s"}' % ("x" * 10_000)) for n in range(5)]
    with pytest.raises(LedgerError, match="full"):
        await ledger.add(large)
    assert sum((await ledger.counts()).values()) == 1
    await ledger._put(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await ledger.add(large) == 5


async def test_closing_writes_what_was_put_and_ends_the_thread(tmp_path: Path) -> None:
    """Also what nobody awaited; afterwards it refuses."""
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    ledger.add(entries("a"))
    ledger.change(1, EntryState.SAVED)
    await ledger.aclose()
    await ledger.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name == "bfl-async-ledger"]
    assert inspect_ledger(tmp_path / "run.db").counts[EntryState.SAVED] == 1
    with pytest.raises(LedgerError, match="closed"):
        await ledger.change(1, EntryState.FAILED)
    with pytest.raises(ConfigError, match="once"):
        await ledger.open()


async def test_a_forked_process_may_not_write(ledger: SQLiteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is in the parent."""
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(ConfigError, match="fork"):
        ledger.change(1, EntryState.SAVED)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), LedgerError, "not a database"),
        (lambda path: path.mkdir(), LedgerError, "directory"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE t (a)"), LedgerError, "not a ledger"),
    ],
    ids=["bytes", "folder", "foreign"],
)
async def test_what_is_no_ledger_is_left_alone(
    tmp_path: Path, make: object, error: type[LedgerError], says: str
) -> None:
    """The message says what it is; nothing is changed."""
    path = tmp_path / "run.db"
    made = make(path)  # type: ignore[operator] # each takes the path
    if isinstance(made, sqlite3.Cursor):
        made.connection.close()
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error, match=says):
        await SQLiteLedger(path).open()
    assert (path.read_bytes() if path.is_file() else b"") == before


async def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """By who writes and by who looks."""
    path = tmp_path / "run.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        db.execute("CREATE TABLE entries (of TEXT)")
    db.close()
    with pytest.raises(LedgerVersionError, match="upgrade"):
        await SQLiteLedger(path).open()
    with pytest.raises(LedgerVersionError):
        inspect_ledger(path)
    with pytest.raises(LedgerError, match="there is no ledger"):
        inspect_ledger(tmp_path / "missing.db")
    assert count_known(tmp_path / "missing.db", ["a"]) == 0


def _empty_database(path: Path) -> None:
    """Make a file that has SQLite's header and nothing else, as a journal mode leaves it."""
    db = sqlite3.connect(path)
    db.execute("VACUUM")
    db.close()
    assert path.stat().st_size


def _half_a_schema(path: Path) -> None:
    """Leave a schema in a file that a killed run had not committed: pages, and the journal that takes them back."""
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN');"
        "[db.execute(f'CREATE TABLE t{n} (a)') for n in range(200)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.stat().st_size
    assert path.with_name(path.name + "-journal").stat().st_size


@pytest.mark.parametrize("make", [Path.touch, _empty_database, _half_a_schema])
async def test_a_ledger_without_content_counts_as_none(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Whatever a kill or a full disk leaves of a beginning: all readers agree, and a run begins there."""
    path = tmp_path / "run.db"
    make(path)
    assert count_known(path, ["a"]) == 0
    with pytest.raises(LedgerError, match="there is no ledger"):
        inspect_ledger(path)
    ledger = SQLiteLedger(path)
    await ledger.open()
    assert await ledger.add(entries("a")) == 1
    await ledger.aclose()
    assert count_known(path, ["a"]) == 1


async def test_an_older_ledger_is_migrated_whole_or_not_at_all(tmp_path: Path) -> None:
    """Its entries stay; a step that fails leaves the old version."""
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    await ledger.add(entries("a", "b"))
    await ledger.aclose()
    db = sqlite3.connect(tmp_path / "run.db", isolation_level=None)
    steps = [*MIGRATIONS, ("ALTER TABLE entries ADD COLUMN colour TEXT", "UPDATE entries SET colour = 'red'")]
    with pytest.raises(LedgerError):
        prepare(db, "run.db", [*steps, ("ALTER TABLE nothing ADD COLUMN x",)])
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert "colour" not in {row[1] for row in db.execute("PRAGMA table_info(entries)")}
    prepare(db, "run.db", steps)
    assert db.execute("PRAGMA user_version").fetchone() == (len(steps),)
    assert db.execute("SELECT key, colour FROM entries").fetchall() == [("a", "red"), ("b", "red")]
    db.close()


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
        ((3, 54, 1), False),
    ],
)  # fmt: skip
def test_wal_is_used_only_where_it_cannot_lose_the_file(version: tuple[int, int, int], bug: bool) -> None:
    """The WAL-reset bug and its backported repairs."""
    assert has_wal_bug(version) is bug


async def test_large_requests_are_read_few_at_a_time(ledger: SQLiteLedger) -> None:
    """Memory holds some, whatever their number."""
    await ledger.add([NewEntry(str(n), "flux-dev", '{"image": "%s"}' % ("x" * 1_500_000)) for n in range(6)])
    assert len(await ledger.read([EntryState.QUEUED], after=0, most=100)) == 3
