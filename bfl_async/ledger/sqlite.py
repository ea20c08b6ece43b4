"""The ledger in one SQLite file, written by one thread.

Durable and fast are had together by group commit: calls put their changes into a queue, the thread takes what is
there (at most 256), writes it in one transaction, and tells the loop of all of them in one step. While a commit
waits for the disk, the next group gathers. The thread is the ledger's own: an SQLite connection belongs to one
thread, and a change that was queued is written whoever is cancelled meanwhile.

SQLite 3.7.0 to 3.51.2 (fixed in 3.51.3, and in 3.50.7 and 3.44.6) can corrupt a file in WAL mode when two
connections write and checkpoint at the same moment. Only one of ours ever writes, but any tool may open the file;
so where the bug is, the old rollback journal is used. It costs some more disk flushes a group, and its readers hold
the writer up for as long as they read. Elsewhere it is WAL.

One run holds a ledger. Its lock is in the ledger's own file, so that it cannot be separated from what it protects: it
holds for every name of the file (symbolic and hard links), and there is no lock file that somebody may remove. The
system releases it with the process, however that ends. It covers one byte of the page at 1 GiB, which SQLite sets
aside for its own locks: it uses the first 512 bytes of that page and never reads or writes the page, on any system.
On Linux the lock belongs to the open file and not to the process, so that closing another descriptor of the file does
not release it. Where a system has no such locks, each transaction still finds out if another run has taken over: the
run that opened a ledger last has left its token there, and only that run may write.

Looking at a ledger needs no lock; that is `inspect_ledger`, which opens the file read-only.

What must be recorded after money was spent has its room before: see `reserve.py`.

The file's mode is 0600: a polling URL is a capability, and prompts are nobody else's business. No key is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from bfl_async.errors import ConfigError, LedgerError, LedgerLockedError
from bfl_async.ledger.lock import RUN, LedgerLock, resolve
from bfl_async.ledger.lock import holder_of as holder_of
from bfl_async.ledger.reserve import FACTS, Change, Reserve, reserve_path
from bfl_async.ledger.rows import (
    ID,
    REMOVED_CREDITS,
    TAKEN,
    counts_of_rows,
    find,
    ledger_id_of,
    new_row,
    read_all_notes,
    read_rows,
    storable,
    taken_names,
)
from bfl_async.ledger.schema import APPLICATION_ID as APPLICATION_ID
from bfl_async.ledger.schema import BUSY_S, ledger_error, prepare
from bfl_async.ledger.schema import MIGRATIONS as MIGRATIONS
from bfl_async.ledger.schema import has_wal_bug as has_wal_bug
from bfl_async.ledger.schema import journal_mode as journal_mode
from bfl_async.ledger.view import LedgerView as LedgerView
from bfl_async.ledger.view import count_known as count_known
from bfl_async.ledger.view import inspect_ledger as inspect_ledger
from bfl_async.runtime.cancellation import shielded
from bfl_async.types.entries import EntryState, Fact, LedgerEntry, NewEntry

if TYPE_CHECKING:
    pass

# What an entry forgets when it goes back to the queue. What was paid for it stays counted.
_FORGET = (
    ", cost_before = cost_before + coalesce(cost, 0), cost = NULL, task_id = NULL, polling_url = NULL"
    ", file = NULL, result = NULL, submitted_at = NULL, ready_at = NULL, ended_at = NULL"
)
_NOTE = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)"


_T = TypeVar("_T")

_GROUP = 256  # changes a transaction
_JOIN_S = 30.0


_Work: TypeAlias = Callable[[sqlite3.Connection], object]


class _Changing:
    """The work of one change. `sql` has the statements that were made before, by the names of their facts."""

    __slots__ = ("_sql", "change")

    def __init__(self, change: Change, sql: dict[tuple[str, ...], str]) -> None:
        self.change = change
        self._sql = sql

    def __call__(self, db: sqlite3.Connection) -> None:
        names = tuple(self.change.facts)
        sql = self._sql.get(names)
        if sql is None:
            sets = ", ".join(f"{name} = ?" for name in ("state", *names))
            sql = self._sql[names] = f"UPDATE entries SET {sets} WHERE id = ?"
        db.execute(sql, (self.change.state.value, *self.change.facts.values(), self.change.entry_id))


class SQLiteLedger:
    """Entries in one SQLite file. Opened in the running loop, and used from it alone.

    Args:
        path: The file; it and its folder are made when they are missing. Not on a network file system, whose
            locks and flushes often are none.
    Cancellation: Ends the wait; what was asked for is still done, in the ledger's thread.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        # Beside it SQLite keeps its journal, and this release its reserve: also where `path` is a symbolic link.
        self._file = Path(os.path.realpath(self.path))
        self._lock = LedgerLock(self._file)
        # Tells this run from any other that may open the ledger.
        self._token = f"{os.getpid()} {secrets.token_hex(8)}"
        self._queue: queue.SimpleQueue[tuple[_Work, asyncio.Future[object]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Done once the thread has ended, whatever it ended with.
        self._ended: asyncio.Future[object] | None = None
        self._pid = 0
        self._closed = False
        # Used by the thread alone.
        self._reserve = Reserve(reserve_path(self._file))
        self._sql: dict[tuple[str, ...], str] = {}  # of changes, by the names of their facts

    @property
    def shown(self) -> str:
        """What the ledger is called in messages."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"<SQLiteLedger {self.shown!r}>"

    # --- opening and closing ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Open for writing, alone.

        Raises:
            LedgerLockedError, LedgerVersionError, LedgerError: See `Ledger.open`.
            ConfigError: It was opened before.
        Cancellation: The opening ends in its thread; `aclose` waits for that.
        """
        if self._thread is not None:
            raise ConfigError("a ledger is opened once")
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        opened: asyncio.Future[object] = self._loop.create_future()
        opened.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._ended = self._loop.create_future()
        # A daemon, so that a program which forgets to close it can end; what was promised durable is so.
        self._thread = threading.Thread(
            target=self._work, args=(opened,), name="bfl-async-ledger", daemon=True
        )
        self._thread.start()
        try:
            await asyncio.shield(opened)
        except LedgerError:
            self._closed = True
            self._thread.join(_JOIN_S)
            raise

    async def aclose(self) -> None:
        """Write what is left, and end the thread. Idempotent, from any number of coroutines.

        Cancellation: The thread still ends by itself.
        """
        if self._thread is None or self._ended is None:
            return
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        if not self._ended.done():
            # The thread reports its end itself: a worker thread that waits for it may not be had.
            with shielded():
                await asyncio.wait([self._ended], timeout=_JOIN_S)
        if self._ended.done():
            # What is left of the thread is its return.
            self._thread.join(_JOIN_S)

    # --- changes: synchronous, in order -----------------------------------------------------------------

    def add(self, entries: Sequence[NewEntry]) -> asyncio.Future[int]:
        """Add those whose key is new; see `Ledger.add`."""
        now = time.time()
        rows = [new_row(entry, now) for entry in entries]

        def work(db: sqlite3.Connection) -> int:
            return db.executemany(
                "INSERT OR IGNORE INTO entries "
                "(key, state, model, fields, name, added_at, task_id, cost, file, result, listed, ended_at) VALUES "
                "(:key, :state, :model, :fields, :name, :at, :task_id, :cost, :file, :result, :listed, "
                ":ended_at)",
                rows,
            ).rowcount

        return self._put(work)

    def change(
        self, entry_id: int, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> asyncio.Future[None]:
        """Give an entry a state and facts; see `Ledger.change`."""
        given = {name: storable(value) for name, value in (facts or {}).items()}
        unknown = given.keys() - FACTS
        if unknown:
            raise ValueError(f"no facts of an entry: {', '.join(sorted(unknown))}")
        return self._put(_Changing(Change(entry_id, state, given), self._sql))

    def reset(self, state: EntryState, to: EntryState, error: str | None = None) -> asyncio.Future[list[int]]:
        """Move all entries of one state to another; see `Ledger.reset`."""
        forget = ""
        if to is EntryState.QUEUED:
            forget = _FORGET

        def work(db: sqlite3.Connection) -> list[int]:
            ids = [
                row[0] for row in db.execute("SELECT id FROM entries WHERE state = ? ORDER BY id", (state,))
            ]
            if ids:
                db.execute(
                    f"UPDATE entries SET state = ?, error = ?{forget} WHERE state = ?", (to, error, state)
                )
            return ids

        return self._put(work)

    def requeue(self, state: EntryState, ids: Sequence[int]) -> asyncio.Future[list[int]]:
        """Put these entries back into the queue; see `Ledger.requeue`."""
        chosen = list(ids)
        update = f"UPDATE entries SET state = 'queued', error = NULL{_FORGET} WHERE state = ? AND id = ?"

        def work(db: sqlite3.Connection) -> list[int]:
            return [entry_id for entry_id in chosen if db.execute(update, (state, entry_id)).rowcount]

        return self._put(work)

    def remove(self, states: Sequence[EntryState], ids: Sequence[int] | None = None) -> asyncio.Future[int]:
        """Remove entries in these states; see `Ledger.remove`."""
        marks = ", ".join("?" * len(states))
        chosen = None if ids is None else list(ids)

        def work(db: sqlite3.Connection) -> int:
            cases: list[tuple[str, tuple[object, ...]]] = [(f"state IN ({marks})", tuple(states))]
            if chosen is not None:
                cases = [(f"state IN ({marks}) AND id = ?", (*states, entry_id)) for entry_id in chosen]
            removed, credits = 0, 0.0
            for where, values in cases:
                (cost,) = db.execute(
                    f"SELECT total(cost) + total(cost_before) FROM entries WHERE {where}", values
                ).fetchone()
                credits += cost
                removed += db.execute(f"DELETE FROM entries WHERE {where}", values).rowcount
            if credits:
                total = float(read_all_notes(db).get(REMOVED_CREDITS, "0")) + credits
                db.execute(
                    "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)",
                    (REMOVED_CREDITS, repr(total)),
                )
            return removed

        return self._put(work)

    def note(self, facts: Mapping[str, str], listed: Sequence[int] = ()) -> asyncio.Future[None]:
        """Keep facts of the ledger as a whole; see `Ledger.note`."""
        rows = list(facts.items())
        ids = [(entry_id,) for entry_id in listed]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(_NOTE, rows)
            db.executemany("UPDATE entries SET listed = 1 WHERE id = ?", ids)

        return self._put(work)

    def unlist(self) -> asyncio.Future[None]:
        """Forget which entries stand in the manifest."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE entries SET listed = 0 WHERE state = 'saved'")

        return self._put(work)

    # --- reading ----------------------------------------------------------------------------------------

    async def read(
        self, states: Sequence[EntryState], *, after: int, most: int, unlisted: bool = False
    ) -> list[LedgerEntry]:
        """Return entries; see `Ledger.read`.

        Raises:
            LedgerError: They cannot be read.
        """
        return await self._put(lambda db: read_rows(db, states, after, most, unlisted=unlisted))

    async def find(self, keys: Sequence[str]) -> Mapping[str, tuple[int, EntryState]]:
        """Return the id and state of each of these keys that is there; see `Ledger.find`.

        Raises:
            LedgerError: They cannot be read.
        """
        return await self._put(lambda db: find(db, keys))

    async def counts(self) -> Mapping[EntryState, int]:
        """Count the entries by state.

        Raises:
            LedgerError: They cannot be read.
        """
        return await self._put(counts_of_rows)

    async def notes(self) -> Mapping[str, str]:
        """Return the facts of the ledger as a whole.

        Raises:
            LedgerError: They cannot be read.
        """
        return await self._put(read_all_notes)

    # --- the thread -------------------------------------------------------------------------------------

    def _put(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        loop = self._loop
        if loop is None:
            raise LedgerError(f"the ledger {self.shown!r} is not open")
        if os.getpid() != self._pid:
            raise ConfigError("the ledger was opened before a fork: each process needs one of its own")
        done: asyncio.Future[_T] = loop.create_future()
        if self._closed:
            done.set_exception(LedgerError(f"the ledger {self.shown!r} is closed"))
        else:
            self._queue.put((work, cast("asyncio.Future[object]", done)))
        return done

    def _work(self, opened: asyncio.Future[object]) -> None:
        assert self._ended is not None
        try:
            self._write(opened)
        finally:
            self._tell([(self._ended, None)])

    def _write(self, opened: asyncio.Future[object]) -> None:
        try:
            db = self._connect()
        except BaseException as exc:
            self._reserve.close()
            self._lock.release()
            self._tell([(opened, ledger_error(exc, self.shown))])
            return
        try:
            self._tell([(opened, None)])
            ended = False
            while not ended:
                group = []
                item = self._queue.get()
                while True:
                    if item is None:
                        ended = True
                        break
                    group.append(item)
                    if len(group) >= _GROUP:
                        break
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                if group:
                    self._tell(self._commit(db, group))
        finally:
            with contextlib.suppress(sqlite3.Error, LedgerError):
                self._take_kept(db)
            self._reserve.close()
            with contextlib.suppress(sqlite3.Error):
                db.close()
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # This makes the file, for its mode; SQLite gives its journals the same.
            self._lock.acquire(self.shown)
        except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
            raise ledger_error(exc, self.shown) from exc
        db = sqlite3.connect(self._file, timeout=BUSY_S, isolation_level=None)
        try:
            prepare(db, self.shown)
            if self._file.stat().st_mode & 0o077:
                self._file.chmod(0o600)
            self._open_reserve(db)
        except BaseException as exc:
            db.close()
            raise ledger_error(exc, self.shown) from exc
        return db

    def _open_reserve(self, db: sqlite3.Connection) -> None:
        """Take what an earlier run could not write, and secure the room for what this one may not be able to."""
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR IGNORE INTO notes (name, value) VALUES (?, ?)", (ID, secrets.token_hex(8)))
        # From here on no earlier run can write, should it still be there.
        db.execute(_NOTE, (RUN, self._token))
        db.execute("COMMIT")
        self._reserve.load(ledger_id_of(db) or "", taken_names(db))
        self._take_kept(db)
        self._reserve.open()

    def _commit(
        self, db: sqlite3.Connection, group: list[tuple[_Work, asyncio.Future[object]]]
    ) -> list[tuple[asyncio.Future[object], object]]:
        """Do a group's work in one transaction; where that fails, each alone: one bad row costs no other."""
        try:
            answers = self._transact(db, group)
        except Exception as exc:
            if len(group) > 1:
                return [answer for item in group for answer in self._commit(db, [item])]
            ((work, done),) = group
            if (
                isinstance(work, _Changing)
                and isinstance(exc, sqlite3.OperationalError)
                and self._keep(work.change)
            ):
                return [(done, None)]
            return [(done, ledger_error(exc, self.shown))]
        return answers

    def _transact(
        self, db: sqlite3.Connection, group: list[tuple[_Work, asyncio.Future[object]]]
    ) -> list[tuple[asyncio.Future[object], object]]:
        """Do work in one transaction, behind the changes that the reserve holds."""
        kept = self._reserve.changes
        try:
            db.execute("BEGIN IMMEDIATE")
            self._check_run(db)
            for change in kept:
                _Changing(change, self._sql)(db)
            if kept:
                db.execute(_NOTE, (TAKEN, str(self._reserve.generation)))
            answers = [(done, work(db)) for work, done in group]
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        if kept:
            self._reserve.note_taken()
        return answers

    def _check_run(self, db: sqlite3.Connection) -> None:
        """Check that no other run has opened the ledger since, where the lock could not prevent that."""
        found = db.execute("SELECT value FROM notes WHERE name = ?", (RUN,)).fetchone()
        if found != (self._token,):
            holder = "unknown" if found is None else str(found[0]).partition(" ")[0]
            raise LedgerLockedError(
                f"the ledger {self.shown!r} was taken over by another run (process {holder}): this one writes and "
                "sends nothing more"
            )

    def _take_kept(self, db: sqlite3.Connection) -> None:
        if self._reserve.changes:
            self._transact(db, [])

    def _keep(self, change: Change) -> bool:
        """Write a change into the reserve; False if it cannot be kept there.

        A mark is not kept: it must fail, so that nothing is sent while the ledger cannot be written.
        """
        if change.state is EntryState.SUBMITTING:
            return False
        try:
            self._reserve.keep(change)
        except (OSError, TypeError, ValueError):
            return False
        return True

    def _tell(self, answers: list[tuple[asyncio.Future[object], object]]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody waits
            self._loop.call_soon_threadsafe(resolve, answers)
