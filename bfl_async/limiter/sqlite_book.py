"""The book of an account in SQLite."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bfl_async.limiter.liveness import is_alive, this_process
from bfl_async.limiter.steps import ENDED_S, FETCH_S, Batch, Op, StepReply
from bfl_async.types.statistics import PoolStatistics

_NOT_TOLD, _TOLD, _ENDED = 0, 1, 2
"""Of a lease: its owner does not know it yet; it does; its task has ended, and it counts nothing."""


_YOUNG_NS = 50_000_000  # file systems tell times in steps of some ms: two writes may have the same


_LOCKED_S = 5.0


_FIRST_QUIET_S, _MAX_QUIET_S, _LEAST_PAUSE_S, _MAX_PAUSE_S = 2.0, 60.0, 0.05, 3600.0


VERSION = 1  # of the tables; another one has another file


_TABLES = """
CREATE TABLE IF NOT EXISTS book (epoch TEXT NOT NULL, arrivals INTEGER NOT NULL, now REAL NOT NULL);
CREATE TABLE IF NOT EXISTS pools (
  name TEXT PRIMARY KEY, most INTEGER, working INTEGER, quiet_s REAL, probing INTEGER, paused_until REAL,
  raise_at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, told INTEGER NOT NULL,
  pools TEXT NOT NULL, arrival INTEGER NOT NULL, ends_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS tickets (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, pools TEXT NOT NULL, priority INTEGER NOT NULL,
  arrival INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS line ON tickets (pools, priority, arrival, id);
CREATE TABLE IF NOT EXISTS sessions (
  id TEXT PRIMARY KEY, seq INTEGER NOT NULL, ends_at REAL NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
  started TEXT NOT NULL) WITHOUT ROWID;
"""


def open_book(path: Path, session: str) -> Book:
    """Open the book, or make it. One that is broken is made anew: nothing but a machine that crashed can do that."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(path)
    try:
        return Book(path, session)
    except sqlite3.OperationalError:
        raise  # locked, no rights, no space
    except sqlite3.DatabaseError:
        path.unlink()
        _make_private(path)
        return Book(path, session)


def _make_private(path: Path) -> None:
    """Make the file if it is missing, and let nobody else read it: who has a task's id can fetch its result.

    A file that exists is never opened here. Closing it would release the locks that this process holds on it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        with suppress(OSError):  # of another user, whose file it is to protect
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)


@dataclass(slots=True)
class _Pool:
    most: int
    working: int
    quiet_s: float = _FIRST_QUIET_S
    probing: bool = False
    paused_until: float = 0.0
    raise_at: float = 0.0
    taken: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class _Lease:
    """A row of `leases`. Its column `owner` holds all sessions that follow the task."""

    owners: list[str]
    told: int
    pools: list[str]
    ends_at: float


class Book:
    """The account's book, as `book.lua` has it for Redis: the operations stand in `_shared.py`."""

    def __init__(self, path: Path, session: str) -> None:
        self._me = session
        self._db = sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=TRUNCATE")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.close()
            raise
        self._path = path
        self._version = 0  # of the data, when this process saw it last
        self._written_ns = 0  # the file's time then; 0: too young to tell
        self._pools: dict[str, _Pool] = {}  # valid within a step
        self._now = 0.0
        self._batch: Batch | None = None
        self._lost: list[str] = []
        self._ended: list[str] = []
        self._arrivals: list[tuple[str, int]] = []

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def has_changed(self) -> bool:
        """Tell whether this process was granted something, without a write."""
        written_ns = self._path.stat().st_mtime_ns  # a look costs 0.2 ms without this
        if written_ns == self._written_ns:
            return False
        self._written_ns = written_ns if time.time_ns() - written_ns > _YOUNG_NS else 0
        version = self._number("PRAGMA data_version")
        if version == self._version:
            return False
        self._version = version
        return self._number("SELECT count(*) FROM leases WHERE owner = ? AND told = 0", self._me) > 0

    def somebody_died(self) -> bool:
        """Tell whether a process is gone whose session stands here."""
        return bool(self._dead_sessions())

    def step(self, batch: Batch, now: float) -> StepReply:
        """Make one step."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            reply = self._step(batch, now)
            # Read before the commit, while nobody else can write: no change falls between the two.
            self._version = self._number("PRAGMA data_version")
            self._db.execute("COMMIT")
            self._written_ns = 0
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        return reply

    # --- within a step --------------------------------------------------------------------------------

    def _number(self, sql: str, *values: str | float) -> int:
        row = self._db.execute(sql, values).fetchone()
        return 0 if row is None else int(row[0])

    def _rows(self, sql: str, *values: str | float) -> list[tuple[str, ...]]:
        with closing(self._db.execute(sql, values)) as cursor:
            return cursor.fetchall()

    def _step(self, batch: Batch, now: float) -> StepReply:
        self._now, self._batch, self._lost, self._ended, self._arrivals = now, batch, [], [], []
        book = self._rows("SELECT epoch, now FROM book")
        if book and float(book[0][1]) > now + 1.0:  # from before the machine started
            for table in ("book", "pools", "leases", "tickets", "sessions"):
                self._db.execute(f"DELETE FROM {table}")
            book = []
        epoch = book[0][0] if book else uuid.uuid4().hex
        if book:
            self._db.execute("UPDATE book SET now = ?", (now,))
        else:
            # Arrivals are numbered from the time, in microseconds. So a number that a lost book gave is before all
            # that this one gives, and a process that comes back with it is before those that come now.
            self._db.execute("INSERT INTO book VALUES (?, ?, ?)", (epoch, int(now * 1e6), now))
        self._read_pools()
        for name, limit in batch.limits.items():
            self._pools.setdefault(name, _Pool(limit, limit))
        self._let_time_pass()
        seen = self._rows("SELECT seq FROM sessions WHERE id = ?", self._me)
        resync = not batch.full and (not seen or int(seen[0][0]) != batch.seq - 1)
        if not resync:
            if batch.full:
                self._drop_session(self._me)
            self._db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, ends_at = excluded.ends_at",
                (self._me, batch.seq, now + batch.lease_s, *this_process()),
            )
            for op in batch.ops:
                self._apply(op)
        self._grant_all()
        grants: list[tuple[str, int]] = []
        if not resync:
            rows = self._rows(
                "SELECT id, arrival FROM leases WHERE owner = ? AND told = 0 ORDER BY number", self._me
            )
            grants = [(name, int(arrival)) for name, arrival in rows]
            self._db.execute(
                "UPDATE leases SET told = 1, ends_at = ? WHERE owner = ? AND told = 0",
                (now + batch.lease_s, self._me),
            )
        self._write_pools()
        ends = [pool.paused_until for pool in self._pools.values() if pool.paused_until > now]
        ends += [pool.raise_at for pool in self._pools.values() if pool.raise_at > now]
        for table in ("leases", "sessions"):
            ends += [float(row[0]) for row in self._rows(f"SELECT min(ends_at) FROM {table}") if row[0]]
        return StepReply(
            epoch=epoch,
            resync=resync,
            grants=grants,
            arrivals=self._arrivals,
            lost=self._lost,
            pools={
                name: PoolStatistics(pool.most, pool.working, pool.taken, pool.queued)
                for name, pool in self._pools.items()
            },
            next_s=max(0.0, min(ends) - now) if ends else None,
            ended=self._ended,
        )

    def _read_pools(self) -> None:
        rows = self._db.execute(
            "SELECT name, most, working, quiet_s, probing, paused_until, raise_at FROM pools"
        )
        self._pools = {
            name: _Pool(most, working, quiet_s, bool(probing), paused_until, raise_at)
            for name, most, working, quiet_s, probing, paused_until, raise_at in rows
        }
        for text, number in self._db.execute("SELECT pools, count(*) FROM leases GROUP BY pools"):
            for pool in self._of(_names(text)):
                pool.taken += number
        for text, number in self._db.execute("SELECT pools, count(*) FROM tickets GROUP BY pools"):
            for pool in self._of(_names(text)):
                pool.queued += number

    def _write_pools(self) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO pools VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (name, pool.most, pool.working, pool.quiet_s, pool.probing, pool.paused_until, pool.raise_at)
                for name, pool in self._pools.items()
            ],
        )

    def _of(self, names: Iterable[str]) -> list[_Pool]:
        return [self._pools[name] for name in names if name in self._pools]

    def _add_lease(
        self,
        name: str,
        owner: str,
        pools: Sequence[str],
        ends_at: float,
        *,
        told: int = _TOLD,
        arrival: int = 0,
    ) -> None:
        known = [pool for pool in pools if pool in self._pools]
        self._db.execute(
            "INSERT INTO leases (id, owner, told, pools, arrival, ends_at) VALUES (?, ?, ?, ?, ?, ?)",
            (name, owner, told, _text(known), arrival, ends_at),
        )
        for pool in self._of(known):
            pool.taken += 1

    def _lease(self, name: str) -> _Lease | None:
        row = self._db.execute(
            "SELECT owner, told, pools, ends_at FROM leases WHERE id = ?", (name,)
        ).fetchone()
        return None if row is None else _Lease(_names(row[0]), row[1], _names(row[2]), row[3])

    def _set_lease(
        self, name: str, owners: Sequence[str], pools: Sequence[str], ends_at: float, *, told: int = _TOLD
    ) -> None:
        self._db.execute(
            "UPDATE leases SET owner = ?, told = ?, pools = ?, ends_at = ? WHERE id = ?",
            (_text(owners), told, _text(pools), ends_at, name),
        )

    def _other_followers(self, lease: _Lease) -> list[str]:
        """The other processes that follow the task. One that died does not."""
        return [
            owner
            for owner in lease.owners
            if owner != self._me and self._number("SELECT count(*) FROM sessions WHERE id = ?", owner) > 0
        ]

    def _follow(self, name: str, lease: _Lease, pools: Sequence[str]) -> None:
        """Follow a task that is in the book: it takes one slot in each pool that any of its followers names."""
        owners = lease.owners if self._me in lease.owners else [*lease.owners, self._me]
        more = [pool for pool in pools if pool in self._pools and pool not in lease.pools]
        for pool in self._of(more):
            pool.taken += 1
        ends_at = max(lease.ends_at, self._later) if lease.owners else self._later
        self._set_lease(name, owners, [*lease.pools, *more], ends_at)

    def _drop_lease(self, name: str) -> None:
        lease = self._lease(name)
        if lease is not None:
            self._db.execute("DELETE FROM leases WHERE id = ?", (name,))
            for pool in self._of(lease.pools):
                pool.taken -= 1

    def _add_ticket(self, name: str, pools: Sequence[str], priority: int, arrival: int) -> None:
        if arrival == 0:
            self._db.execute("UPDATE book SET arrivals = arrivals + 1")
            arrival = self._number("SELECT arrivals FROM book")
        else:
            self._db.execute("UPDATE book SET arrivals = max(arrivals, ?)", (arrival,))
        known = [pool for pool in pools if pool in self._pools]
        self._db.execute(
            "INSERT INTO tickets VALUES (?, ?, ?, ?, ?)", (name, self._me, _text(known), priority, arrival)
        )
        for pool in self._of(known):
            pool.queued += 1
        self._arrivals.append((name, arrival))

    def _has_ticket(self, name: str) -> bool:
        return self._number("SELECT count(*) FROM tickets WHERE id = ?", name) > 0

    def _drop_ticket(self, name: str) -> None:
        rows = self._rows("SELECT pools FROM tickets WHERE id = ?", name)
        if rows:
            self._db.execute("DELETE FROM tickets WHERE id = ?", (name,))
            for pool in self._of(_names(rows[0][0])):
                pool.queued -= 1

    def _drop_session(self, session: str) -> None:
        """Forget its place in the line; slots that it has stay taken to their time, as the server may count them."""
        for (name,) in self._rows("SELECT id FROM tickets WHERE owner = ?", session):
            self._drop_ticket(name)
        for (name,) in self._rows("SELECT id FROM leases WHERE owner = ? AND told = 0", session):
            self._drop_lease(name)
        self._db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def _dead_sessions(self) -> list[str]:
        machine, mine, _ = this_process()
        rows = self._rows("SELECT id, pid, started FROM sessions WHERE machine = ?", machine)
        return [
            session for session, pid, started in rows if int(pid) != mine and not is_alive(int(pid), started)
        ]

    def _let_time_pass(self) -> None:
        for session in self._dead_sessions():
            self._drop_session(session)
        for name, owner, told in self._rows(
            "SELECT id, owner, told FROM leases WHERE ends_at <= ?", self._now
        ):
            # A grant that was not fetched: whoever waits there is asleep, and comes anew.
            if not told:
                self._drop_session(owner)
            self._drop_lease(name)
        for (session,) in self._rows("SELECT id FROM sessions WHERE ends_at <= ?", self._now):
            self._drop_session(session)
        for pool in self._pools.values():
            while 0 < pool.raise_at <= self._now:
                pool.working = min(pool.most, pool.working + 1)
                pool.probing = True
                pool.raise_at = pool.raise_at + pool.quiet_s if pool.working < pool.most else 0.0

    def _apply(self, op: Op) -> None:
        match op:
            case ["w", str(name), int(priority), int(arrival), list(pools)]:
                if self._lease(name) is None and not self._has_ticket(name):
                    self._add_ticket(name, pools, priority, arrival)
            case ["x", str(name)]:
                self._drop_ticket(name)
                if self._owns(name):
                    self._drop_lease(name)
            case ["r", str(name)]:
                self._end(name)
            case ["h", str(name), float() | int() as seconds, list(pools)]:
                self._hold(name, seconds, pools)
            case ["n", str(name), float() | int() as retry_after_s, int(priority), int(arrival), list(pools)]:
                self._refuse(name, retry_after_s, priority, arrival, pools)
            case ["c", str(name), str(task_id)]:
                self._confirm(name, task_id)
            case ["t", str(name), list(pools)]:
                lease = self._lease(name)
                if lease is None:
                    self._add_lease(name, self._me, pools, self._later)
                else:
                    self._follow(name, lease, pools)
            case ["k", str(name), list(pools)]:
                self._keep(name, pools)
            case ["o", list(names)]:
                self._keep_only(set(names))
            case ["l", dict(limits), int(unless_others)]:
                if not unless_others or self._number("SELECT count(*) FROM sessions") <= 1:
                    self._set_limits(limits)
            case ["e"]:
                self._drop_session(self._me)
            case _:  # pragma: no cover
                raise ValueError(f"no operation of the book: {op[0]}")

    @property
    def _later(self) -> float:
        assert self._batch is not None
        return self._now + self._batch.lease_s

    def _owns(self, name: str) -> bool:
        lease = self._lease(name)
        return lease is not None and lease.owners == [self._me]

    def _end(self, name: str) -> None:
        lease = self._lease(name)
        if lease is None or lease.told == _ENDED:
            return
        others = self._other_followers(lease)
        self._drop_lease(name)
        if others:
            # They are told when they next say that they keep it.
            self._add_lease(name, "", (), self._now + ENDED_S, told=_ENDED)

    def _hold(self, name: str, seconds: float, pools: Sequence[str]) -> None:
        assert self._batch is not None
        lease, ends_at = self._lease(name), self._now + seconds
        if lease is None:
            if self._batch.full:
                self._add_lease(name, "", pools, ends_at)
            return
        if lease.told == _ENDED or (lease.owners and self._me not in lease.owners):
            return
        others = self._other_followers(lease)
        # Should the others die, the slot stays taken for the time that was asked for.
        self._set_lease(name, others, lease.pools, max(lease.ends_at, ends_at) if others else ends_at)

    def _keep(self, name: str, pools: Sequence[str]) -> None:
        lease = self._lease(name)
        if lease is None:
            self._add_lease(name, self._me, pools, self._later)
            self._lost.append(name)
        elif lease.told == _ENDED:
            self._ended.append(name)
        elif lease.owners == [self._me]:
            self._db.execute("UPDATE leases SET ends_at = max(ends_at, ?) WHERE id = ?", (self._later, name))
        elif lease.told == _TOLD:
            self._follow(name, lease, pools)

    def _keep_only(self, kept: set[str]) -> None:
        for name, text in self._rows("SELECT id, owner FROM leases WHERE instr(owner, ?)", self._me):
            owners = _names(text)
            if name in kept or self._me not in owners:
                continue
            owners.remove(self._me)
            if owners:
                self._db.execute("UPDATE leases SET owner = ? WHERE id = ?", (_text(owners), name))
            else:
                self._drop_lease(name)

    def _refuse(
        self, name: str, retry_after_s: float, priority: int, arrival: int, pools: Sequence[str]
    ) -> None:
        lease = self._lease(name)
        if lease is None:
            if not self._has_ticket(name):
                self._add_ticket(name, pools, priority, arrival)
            return
        self._drop_lease(name)
        known = self._of(lease.pools)
        if known:
            pool = min(known, key=lambda each: each.most)
            refused_probe = pool.probing or pool.taken == 0
            pool.probing = False
            pool.working = max(1, min(pool.working, pool.taken))
            own_s = 0.0 if pool.taken else pool.quiet_s
            if own_s or retry_after_s >= 0:
                # The server's hint may lengthen our own pause; it never shortens it.
                pause_s = min(_MAX_PAUSE_S, max(_LEAST_PAUSE_S, own_s, retry_after_s))
                pool.paused_until = max(pool.paused_until, self._now + pause_s)
            if refused_probe:
                pool.quiet_s = min(_MAX_QUIET_S, 2 * pool.quiet_s)
            # Not within the pause, which tries nothing and so proves nothing.
            raise_at = max(self._now + pool.quiet_s, pool.paused_until)
            pool.raise_at = raise_at if pool.working < pool.most else 0.0
        self._add_ticket(name, pools, priority, arrival)

    def _confirm(self, name: str, task_id: str) -> None:
        lease = self._lease(name)
        if lease is None or self._me not in lease.owners:
            return
        for pool in self._of(lease.pools):
            if pool.probing and pool.taken >= pool.working:
                pool.probing, pool.quiet_s = False, _FIRST_QUIET_S
        if task_id == name:
            return
        self._drop_lease(name)
        task = self._lease(task_id)
        if task is None:
            self._add_lease(task_id, self._me, lease.pools, self._later)
        elif task.told != _ENDED:
            self._follow(task_id, task, lease.pools)

    def _set_limits(self, limits: Mapping[str, int]) -> None:
        for name, limit in limits.items():
            pool = self._pools.get(name)
            if pool is None or pool.most != limit:
                taken, queued = (0, 0) if pool is None else (pool.taken, pool.queued)
                self._pools[name] = _Pool(limit, limit, taken=taken, queued=queued)

    def _grant_all(self) -> None:
        """Grant what there is room for, best first, to whichever process it belongs."""
        lines = {text: self._head(text) for (text,) in self._rows("SELECT DISTINCT pools FROM tickets")}
        while True:
            fitting = [
                (head[0], head[1], text)
                for text, head in lines.items()
                if head is not None
                and all(
                    pool.taken < pool.working and self._now >= pool.paused_until
                    for pool in self._of(_names(text))
                )
            ]
            if not fitting:
                return
            _, arrival, text = min(fitting)
            head = lines[text]
            assert head is not None
            _, _, name, owner = head
            self._drop_ticket(name)
            self._add_lease(name, owner, _names(text), self._now + FETCH_S, told=_NOT_TOLD, arrival=arrival)
            lines[text] = self._head(text)

    def _head(self, pools: str) -> tuple[int, int, str, str] | None:
        row = self._db.execute(
            "SELECT priority, arrival, id, owner FROM tickets WHERE pools = ? ORDER BY priority, arrival LIMIT 1",
            (pools,),
        ).fetchone()
        return cast("tuple[int, int, str, str] | None", row)


def _text(names: Sequence[str]) -> str:
    return "\x1f".join(names)


def _names(text: str) -> list[str]:
    return text.split("\x1f") if text else []
