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
import errno
import json
import os
import queue
import secrets
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast
from urllib.parse import quote

from bfl_async._cancellation import shielded
from bfl_async.errors import ConfigError, LedgerError, LedgerLockedError, LedgerVersionError
from bfl_async.ledger.reserve import FACTS, Change, Reserve, read_reserve, reserve_path
from bfl_async.types import JSON, EntryState, Fact, LedgerEntry, NewEntry

if TYPE_CHECKING:
    from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

_T = TypeVar("_T")

APPLICATION_ID = 0x42464C61  # "BFLa"
_GROUP = 256  # changes a transaction
_LOOK_ROWS = 20_000  # that one read of who only looks goes through
_BUSY_S = 10.0  # for readers of the rollback journal, who hold a commit up
_READ_BYTES = 4 * 1024 * 1024  # of requests that are read at a time, whatever their number
_JOIN_S = 30.0
# Keys per SELECT: older releases of SQLite take at most 999 parameters.
_FOUND_AT_ONCE = 500
# The note that holds what removed entries have cost, in credits.
_REMOVED_CREDITS = "removed_credits"
# Looking for the holder of a lock takes the lock for a moment.
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.05
# SQLite's own locks are in the 512 bytes from 0x40000000 on.
_LOCK_BYTE = 0x40000000 + 1024
# What the systems answer for a lock that is held elsewhere.
_TAKEN_BY_OTHERS = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# How long to wait for the name of a ledger's holder, while that may be committing.
_LOOK_S = 1.0

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

_COLUMNS = "id, key, state, model, fields, name, task_id, polling_url, cost, file, result, error"

# What an entry forgets when it goes back to the queue. What was paid for it stays counted.
_FORGET = (
    ", cost_before = cost_before + coalesce(cost, 0), cost = NULL, task_id = NULL, polling_url = NULL"
    ", file = NULL, result = NULL, submitted_at = NULL, ready_at = NULL, ended_at = NULL"
)
_NOTE = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)"
# How the names of the ledger's own notes begin.
_OWN = "ledger."
# The note of the newest generation of the reserve that is in the ledger.
_TAKEN = "ledger.reserve_taken"
# The note that tells the run that opened the ledger last: its process, and a token.
_RUN = "ledger.run"
# The note that tells this ledger from any other.
_ID = "ledger.id"

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


class _Lock:
    """A lock of the operating system on the ledger's own file; see the module."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._file: _FileId | None = None

    def acquire(self, shown: str) -> None:
        """Take the lock; the file is made if it is missing, with mode 0600.

        Raises:
            LedgerLockedError: Another run has it.
            OSError: The file cannot be opened or locked.
        """
        for left in reversed(range(_LOCK_TRIES)):
            if self._try_acquire():
                return
            if left:
                time.sleep(_LOCK_PAUSE_S)
        holder = _noted_holder(self._path)
        raise LedgerLockedError(
            f"the ledger {shown!r} is held by another run (process {holder}): wait for it, or stop it"
        )

    def _try_acquire(self) -> bool:
        with _opening:
            if _file_id(self._path) in _held:
                return False
            fd = _open_file(self._path, os.O_RDWR | os.O_CREAT)
            file = _file_id(fd)
            try:
                # SQLite opens the file by its name: the name must still lead to the file that is locked.
                if not _lock(fd) or file != _file_id(self._path):
                    os.close(fd)
                    return False
            except OSError:
                os.close(fd)
                raise
            self._fd, self._file = fd, file
            _held.add(file)
            return True

    def release(self) -> None:
        """Give the lock back, once SQLite has closed the file. Idempotent."""
        with _opening:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
                _held.discard(self._file)


_FileId: TypeAlias = tuple[int, int]

# The files that are locked in this process. A descriptor of one of them must not even be opened here: closing it would
# release the locks that SQLite itself holds on that file, as POSIX has it.
_held: set[_FileId | None] = set()
_opening = threading.Lock()


def _file_id(file: Path | int) -> _FileId | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _open_file(path: Path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o600)


def _lock(fd: int) -> bool:
    """Lock a ledger for as long as the descriptor is open; False if another run has locked it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        if fcntl is None:  # pragma: no cover - Windows
            import msvcrt

            os.lseek(fd, _LOCK_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # typed for Windows only
        elif not _lock_open_file(fd):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_BYTE)
    except OSError as exc:
        if exc.errno in _TAKEN_BY_OTHERS:
            return False
        raise
    return True


def _lock_open_file(fd: int) -> bool:
    """Take the lock of Linux that belongs to the open file; False if the system has none such."""
    if fcntl is None or sys.platform != "linux":
        return False
    # struct flock: type, whence, start, length, and a process id that must be 0.
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTE, 1, 0)
    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_OFD_SETLK", 37), wanted)
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            # Linux before 3.15, or something that only looks like Linux.
            return False
        raise
    return True


def holder_of(path: Path) -> str | None:
    """Return the process that holds a ledger; None when no run does."""
    with _opening:
        try:
            if _file_id(path) in _held:
                return str(os.getpid())
            fd = _open_file(path, os.O_RDWR)
        except OSError:
            return None
        try:
            if _lock(fd):
                return None
        except OSError:
            return None
        finally:
            os.close(fd)
    return _noted_holder(path)


def _noted_holder(path: Path) -> str:
    """Return the process that a ledger names as its last run's, for people to read."""
    name = quote(str(path.absolute()))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=_LOOK_S)) as db:
            return (_notes(db, own=True).get(_RUN) or "unknown").partition(" ")[0]
    except sqlite3.Error:
        return "unknown"


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
        self._lock = _Lock(self._file)
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
        rows = [_new_row(entry, now) for entry in entries]

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
        given = {name: _storable(value) for name, value in (facts or {}).items()}
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
                total = float(_notes(db).get(_REMOVED_CREDITS, "0")) + credits
                db.execute(
                    "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)",
                    (_REMOVED_CREDITS, repr(total)),
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
        return await self._put(lambda db: _read(db, states, after, most, unlisted=unlisted))

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
        return await self._put(_counts)

    async def notes(self) -> Mapping[str, str]:
        """Return the facts of the ledger as a whole.

        Raises:
            LedgerError: They cannot be read.
        """
        return await self._put(_notes)

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
            self._tell([(opened, _ledger_error(exc, self.shown))])
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
            raise _ledger_error(exc, self.shown) from exc
        db = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None)
        try:
            prepare(db, self.shown)
            if self._file.stat().st_mode & 0o077:
                self._file.chmod(0o600)
            self._open_reserve(db)
        except BaseException as exc:
            db.close()
            raise _ledger_error(exc, self.shown) from exc
        return db

    def _open_reserve(self, db: sqlite3.Connection) -> None:
        """Take what an earlier run could not write, and secure the room for what this one may not be able to."""
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR IGNORE INTO notes (name, value) VALUES (?, ?)", (_ID, secrets.token_hex(8)))
        # From here on no earlier run can write, should it still be there.
        db.execute(_NOTE, (_RUN, self._token))
        db.execute("COMMIT")
        self._reserve.load(_ledger_id(db) or "", _taken(db))
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
            return [(done, _ledger_error(exc, self.shown))]
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
                db.execute(_NOTE, (_TAKEN, str(self._reserve.generation)))
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
        found = db.execute("SELECT value FROM notes WHERE name = ?", (_RUN,)).fetchone()
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
            self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Iterable[tuple[asyncio.Future[object], object]]) -> None:
    for done, answer in answers:
        if done.done():
            continue  # who waited was cancelled
        if isinstance(answer, LedgerError):
            done.set_exception(answer)
        else:
            done.set_result(answer)


def _new_row(entry: NewEntry, now: float) -> dict[str, Fact]:
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
        **{name: _storable(saved.get(name)) for name in ("task_id", "cost", "file", "result")},
    }


def _storable(value: Fact) -> Fact:
    """Text that SQLite can hold: file names may be no Unicode."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _is_damage(exc: BaseException) -> bool:
    """Return True if an error of SQLite says that a file is not, or no longer, a database."""
    return isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _ledger_error(exc: BaseException, shown: str) -> LedgerError:
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


def _version_of(db: sqlite3.Connection, shown: str, newest: int = len(MIGRATIONS)) -> int:
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
        version = _version_of(db, shown, len(migrations))
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
        raise _ledger_error(exc, shown) from exc


def _read(
    db: sqlite3.Connection, states: Sequence[EntryState], after: int, most: int, *, unlisted: bool = False
) -> list[LedgerEntry]:
    marks = ", ".join("?" * len(states))
    where, values = f"state IN ({marks})", tuple(states)
    if unlisted:
        where, values = "state = 'saved' AND listed = 0", ()  # in the words of its index
    cursor = db.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE {where} AND id > ? ORDER BY id LIMIT ?",
        (*values, after, most),
    )
    found: list[LedgerEntry] = []
    size = 0
    for row in cursor:
        found.append(_entry(row))
        size += len(row[4])
        if size >= _READ_BYTES:
            break
    cursor.close()
    return found


def _entry(row: Sequence[object]) -> LedgerEntry:
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


def _counts(db: sqlite3.Connection) -> dict[EntryState, int]:
    counts = dict.fromkeys(EntryState, 0)
    for state, count in db.execute("SELECT state, count(*) FROM entries GROUP BY state"):
        counts[EntryState(state)] = count
    return counts


def _ledger_id(db: sqlite3.Connection) -> str | None:
    return _notes(db, own=True).get(_ID)


def _taken(db: sqlite3.Connection) -> int:
    """Return the newest generation of the reserve that the ledger has taken; 0 if it has taken none."""
    noted = _notes(db, own=True).get(_TAKEN, "")
    return int(noted) if noted.isdecimal() else 0


def _notes(db: sqlite3.Connection, *, own: bool = False) -> dict[str, str]:
    """Return the batch's notes, or the ledger's own."""
    rows = db.execute("SELECT name, value FROM notes")
    return {name: value for name, value in rows if name.startswith(_OWN) == own}


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
    view = _reading(path, lambda db: _look(db, path, errors, holder))
    if view is None:
        raise LedgerError(f"there is no ledger {str(path)!r}")
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

    return _reading(Path(path), work) or 0


def read_notes(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """Return a ledger's notes, without its lock; none where there is no ledger. Blocks.

    Raises:
        LedgerError: It cannot be read.
    """
    return _reading(Path(path), _notes) or {}


def _reading(path: Path, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
    """Do work that only reads, without the lock; None if the ledger does not exist, or nothing is in it yet."""
    if not path.is_file():
        return None
    name = quote(str(path.absolute()))
    try:
        if holder_of(path) is None and _journal_of(path).exists():
            # A run that was killed left a journal to roll back, which who only reads may not do.
            with contextlib.closing(sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=_BUSY_S)) as db:
                db.execute("SELECT count(*) FROM sqlite_master")
        with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=_BUSY_S)) as db:
            return work(db) if _version_of(db, str(path)) else None
    except sqlite3.Error as exc:
        raise _ledger_error(exc, str(path)) from exc


def _journal_of(path: Path) -> Path:
    file = Path(os.path.realpath(path))
    return file.with_name(file.name + "-journal")


def _add_kept(db: sqlite3.Connection, path: Path, counts: dict[EntryState, int]) -> float:
    """Count entries by what the reserve has of them, where the ledger could not be written; return their cost."""
    try:
        generation, changes = read_reserve(reserve_path(Path(os.path.realpath(path))), _ledger_id(db) or "")
    except OSError:
        return 0.0
    if generation <= _taken(db):
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
    counts = _counts(db)
    kept_credits = _add_kept(db, path, counts)
    spent, unpriced, first_at, last_at = float(_notes(db).get(_REMOVED_CREDITS, "0")), 0, None, 0.0
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
        f"SELECT {_COLUMNS} FROM entries WHERE state IN ({marks}) ORDER BY ended_at DESC, id DESC LIMIT ?",
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
        errors=tuple(_entry(row) for row in bad),
    )
