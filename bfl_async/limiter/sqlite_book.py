"""The book of an account in SQLite."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bfl_async.limiter.liveness import this_process
from bfl_async.limiter.sqlite_tables import Lease, LeaseState, Pool, Tables, as_names, as_text
from bfl_async.limiter.steps import ENDED_S, FETCH_S, Batch, Op, StepReply
from bfl_async.types.statistics import PoolStatistics

# File systems tell times in steps of some ms: two writes may have the same.
_YOUNG_NS = 50_000_000

# Of the tables; another one has another file.
VERSION = 1


def open_book(path: Path, session: str) -> Book:
    """Open the book, or make it. One that is broken is made anew: nothing but a machine that crashed can do that."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(path)
    try:
        return Book(path, session)
    except sqlite3.OperationalError:
        # Locked, no rights or no space: the file itself may be sound, and other processes may use it.
        raise
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
        # The file of another user is that user's to protect.
        with suppress(OSError):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)


class Book:
    """The account's book, as `book.lua` has it for Redis: `_shared.py` lists the operations."""

    def __init__(self, path: Path, session: str) -> None:
        self._me = session
        self._tables = Tables(path)
        self._path = path
        # Of the data, when this process saw it last.
        self._version = 0
        # The file's time then; 0: too young to tell.
        self._written_ns = 0
        # Of the step that is made.
        self._now = 0.0
        self._batch: Batch | None = None
        self._lost: list[str] = []
        self._ended: list[str] = []
        self._arrivals: list[tuple[str, int]] = []

    def close(self) -> None:
        """Close the file."""
        self._tables.db.close()

    def has_changed(self) -> bool:
        """Tell whether this process was granted something, without a write."""
        # The cheap question first: without it a look costs 0.2 ms, and a process that waits looks every 30 ms.
        written_ns = self._path.stat().st_mtime_ns
        if written_ns == self._written_ns:
            return False
        # A young time may belong to a write that is still to come, so it proves nothing the next time.
        self._written_ns = written_ns if time.time_ns() - written_ns > _YOUNG_NS else 0
        version = self._tables.number("PRAGMA data_version")
        if version == self._version:
            return False
        self._version = version
        return self._tables.number("SELECT count(*) FROM leases WHERE owner = ? AND told = 0", self._me) > 0

    def somebody_died(self) -> bool:
        """Tell whether a process is gone whose session stands here."""
        return bool(self._tables.dead_sessions())

    def step(self, batch: Batch, now: float) -> StepReply:
        """Make one step."""
        self._tables.db.execute("BEGIN IMMEDIATE")
        try:
            reply = self._step(batch, now)
            # Read before the commit, while nobody else can write: no change falls between the two.
            self._version = self._tables.number("PRAGMA data_version")
            self._tables.db.execute("COMMIT")
            self._written_ns = 0
        except BaseException:
            with suppress(sqlite3.Error):
                self._tables.db.execute("ROLLBACK")
            raise
        return reply

    # --- within a step --------------------------------------------------------------------------------

    def _step(self, batch: Batch, now: float) -> StepReply:
        self._now, self._batch, self._lost, self._ended, self._arrivals = now, batch, [], [], []
        epoch = self._open_epoch()
        self._tables.read_pools(batch.limits, batch.discovers)
        # Before the operations: a lease that ran out is gone for them.
        self._let_time_pass()
        resync = not self._follows_the_last(batch)
        if not resync:
            self._enter_session(batch)
            for op in batch.ops:
                self._apply(op)
        # Also after a batch that was refused: time alone may have made room for others.
        self._grant_all()
        grants = [] if resync else self._fetch_grants()
        self._tables.write_pools()
        return StepReply(
            epoch=epoch,
            resync=resync,
            grants=grants,
            arrivals=self._arrivals,
            lost=self._lost,
            pools={
                name: PoolStatistics(pool.limit, pool.working, pool.taken, pool.queued)
                for name, pool in self._tables.pools.items()
            },
            next_s=self._next_s(),
            ended=self._ended,
        )

    def _open_epoch(self) -> str:
        """Return the name of this book; a new one, if the book is empty or from before the machine started."""
        book = self._tables.rows("SELECT epoch, now FROM book")
        if book and float(book[0][1]) > self._now + 1.0:
            # The clock of the machine starts anew with it. Which limits were found holds on.
            self._tables.db.execute("UPDATE searches SET state = NULL")
            for table in ("book", "pools", "leases", "tickets", "sessions"):
                self._tables.db.execute(f"DELETE FROM {table}")
            book = []
        if book:
            self._tables.db.execute("UPDATE book SET now = ?", (self._now,))
            return book[0][0]
        epoch = uuid.uuid4().hex
        # Arrivals are numbered from the time, in microseconds. So a number that a lost book gave is before all
        # that this one gives, and a process that comes back with it is before those that come now.
        self._tables.db.execute("INSERT INTO book VALUES (?, ?, ?)", (epoch, int(self._now * 1e6), self._now))
        return epoch

    def _follows_the_last(self, batch: Batch) -> bool:
        """Return whether the book knows all that came before this batch. A full one tells it again."""
        if batch.full:
            return True
        seen = self._tables.rows("SELECT seq FROM sessions WHERE id = ?", self._me)
        return bool(seen) and int(seen[0][0]) == batch.seq - 1

    def _enter_session(self, batch: Batch) -> None:
        if batch.full:
            self._tables.drop_session(self._me)
        self._tables.db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, ends_at = excluded.ends_at",
            (self._me, batch.seq, self._later, *this_process()),
        )

    def _fetch_grants(self) -> list[tuple[str, int]]:
        """Return what was granted to this process since its last step. Each now lasts as long as any other lease."""
        rows = self._tables.rows(
            "SELECT id, arrival FROM leases WHERE owner = ? AND told = 0 ORDER BY number", self._me
        )
        self._tables.db.execute(
            "UPDATE leases SET told = 1, ends_at = ? WHERE owner = ? AND told = 0", (self._later, self._me)
        )
        return [(name, int(arrival)) for name, arrival in rows]

    def _next_s(self) -> float | None:
        """Return the seconds until time alone may change something."""
        pools = self._tables.pools.values()
        ends = [at for pool in pools for at in (pool.paused_until, pool.raise_at) if at > self._now]
        ends += [at for pool in pools if (at := pool.next_look(self._now)) is not None]
        for table in ("leases", "sessions"):
            ends += [
                float(row[0]) for row in self._tables.rows(f"SELECT min(ends_at) FROM {table}") if row[0]
            ]
        return max(0.0, min(ends) - self._now) if ends else None

    def _other_followers(self, lease: Lease) -> list[str]:
        """The other processes that follow the task. One that died does not."""
        return [owner for owner in lease.owners if owner != self._me and self._tables.is_here(owner)]

    def _follow(self, name: str, lease: Lease, pools: Sequence[str]) -> None:
        """Follow a task that is in the book: it takes one slot in each pool that any of its followers names."""
        owners = lease.owners if self._me in lease.owners else [*lease.owners, self._me]
        more = [pool for pool in pools if pool in self._tables.pools and pool not in lease.pools]
        for pool in self._tables.of(more):
            pool.taken += 1
        ends_at = max(lease.ends_at, self._later) if lease.owners else self._later
        self._tables.set_lease(name, owners, [*lease.pools, *more], ends_at)

    def _let_time_pass(self) -> None:
        # First: a process that died is not among the followers of its tasks, and gets no grant.
        for session in self._tables.dead_sessions():
            self._tables.drop_session(session)
        for name, owner, told in self._tables.rows(
            "SELECT id, owner, told FROM leases WHERE ends_at <= ?", self._now
        ):
            # A grant that was not fetched: whoever waits there is asleep, and comes anew.
            if not told:
                self._tables.drop_session(owner)
            self._tables.drop_lease(name)
        for (session,) in self._tables.rows("SELECT id FROM sessions WHERE ends_at <= ?", self._now):
            self._tables.drop_session(session)
        for pool in self._tables.pools.values():
            while 0 < pool.raise_at <= self._now:
                # Counted from the moment of the raise, not from now: no process may have made a step for a while.
                pool.raise_limit()
                pool.raise_at = pool.next_raise(pool.raise_at) or 0.0
            pool.look(self._now)

    def _apply(self, op: Op) -> None:
        match op:
            case ["w", str(name), int(priority), int(arrival), list(pools)]:
                if self._tables.lease(name) is None and not self._tables.has_ticket(name):
                    self._add_ticket(name, pools, priority, arrival)
            case ["x", str(name)]:
                self._tables.drop_ticket(name)
                # A grant that came in the same moment as the withdrawal.
                if self._owns(name):
                    self._tables.drop_lease(name)
            case ["r", str(name)]:
                self._end(name)
            case ["h", str(name), float() | int() as seconds, list(pools)]:
                self._hold(name, seconds, pools)
            case ["n", str(name), float() | int() as retry_after_s, int(priority), int(arrival), list(pools)]:
                self._refuse(name, retry_after_s, priority, arrival, pools)
            case ["c", str(name), str(task_id)]:
                self._confirm(name, task_id)
            case ["t", str(name), list(pools)]:
                lease = self._tables.lease(name)
                if lease is None:
                    self._tables.add_lease(name, self._me, pools, self._later)
                else:
                    self._follow(name, lease, pools)
            case ["k", str(name), list(pools)]:
                self._keep(name, pools)
            case ["o", list(names)]:
                self._keep_only(set(names))
            case ["l", dict(limits), int(unless_others)]:
                if not unless_others or self._tables.number("SELECT count(*) FROM sessions") <= 1:
                    self._set_limits(limits)
            case ["e"]:
                self._tables.drop_session(self._me)
            case _:  # pragma: no cover
                raise ValueError(f"no operation of the book: {op[0]}")

    @property
    def _later(self) -> float:
        assert self._batch is not None
        return self._now + self._batch.lease_s

    def _add_ticket(self, name: str, pools: Sequence[str], priority: int, arrival: int) -> None:
        arrival = self._tables.add_ticket(name, self._me, pools, priority, arrival)
        # The process says it again should the book be lost, and so keeps its place.
        self._arrivals.append((name, arrival))

    def _owns(self, name: str) -> bool:
        lease = self._tables.lease(name)
        return lease is not None and lease.owners == [self._me]

    def _end(self, name: str) -> None:
        lease = self._tables.lease(name)
        if lease is None or lease.has_ended:
            return
        others = self._other_followers(lease)
        self._tables.drop_lease(name)
        if others:
            # They are told when they next say that they keep it.
            self._tables.add_lease(name, "", (), self._now + ENDED_S, state=LeaseState.ENDED)

    def _hold(self, name: str, seconds: float, pools: Sequence[str]) -> None:
        assert self._batch is not None
        lease, ends_at = self._tables.lease(name), self._now + seconds
        if lease is None:
            # A full batch may come to a book that was lost. Otherwise the slot was freed before this came.
            if self._batch.full:
                self._tables.add_lease(name, "", pools, ends_at)
            return
        # Its task has ended, or only others follow it.
        if lease.has_ended or (lease.owners and self._me not in lease.owners):
            return
        others = self._other_followers(lease)
        # Should the others die, the slot stays taken for the time that was asked for.
        self._tables.set_lease(name, others, lease.pools, max(lease.ends_at, ends_at) if others else ends_at)

    def _keep(self, name: str, pools: Sequence[str]) -> None:
        lease = self._tables.lease(name)
        if lease is None:
            # It ran out while its task went on. The server counts the task in any case, so it may pass the limit.
            self._tables.add_lease(name, self._me, pools, self._later)
            self._lost.append(name)
        elif lease.has_ended:
            self._ended.append(name)
        elif lease.owners == [self._me]:
            self._tables.db.execute(
                "UPDATE leases SET ends_at = max(ends_at, ?) WHERE id = ?", (self._later, name)
            )
        elif lease.state is LeaseState.HELD:
            self._follow(name, lease, pools)

    def _keep_only(self, kept: set[str]) -> None:
        for name, text in self._tables.rows("SELECT id, owner FROM leases WHERE instr(owner, ?)", self._me):
            owners = as_names(text)
            if name in kept or self._me not in owners:
                continue
            # Granted to this process, or left by it, in a step whose reply was lost.
            owners.remove(self._me)
            if owners:
                self._tables.db.execute("UPDATE leases SET owner = ? WHERE id = ?", (as_text(owners), name))
            else:
                self._tables.drop_lease(name)

    def _refuse(
        self, name: str, retry_after_s: float, priority: int, arrival: int, pools: Sequence[str]
    ) -> None:
        lease = self._tables.lease(name)
        if lease is None:
            # It ran out, or this is said a second time. Nothing is learnt from that.
            if not self._tables.has_ticket(name):
                self._add_ticket(name, pools, priority, arrival)
            return
        # Before the rule, which counts what the server accepted.
        self._tables.drop_lease(name)
        known = self._tables.of(lease.pools)
        if known:
            # A 429 does not name its pool. The narrowest one is taken to be full.
            pool = min(known, key=lambda each: each.limit)
            pool.refused(self._now, None if retry_after_s < 0 else retry_after_s)
            pool.raise_at = pool.next_raise(self._now) or 0.0
        self._add_ticket(name, pools, priority, arrival)

    def _confirm(self, name: str, task_id: str) -> None:
        lease = self._tables.lease(name)
        if lease is None or self._me not in lease.owners:
            return
        for pool in self._tables.of(lease.pools):
            pool.confirmed()
            pool.accepted(self._now)
        if task_id == name:
            return
        # From here on the task's id names the lease, so that other processes can follow the task.
        self._tables.drop_lease(name)
        task = self._tables.lease(task_id)
        if task is None:
            self._tables.add_lease(task_id, self._me, lease.pools, self._later)
        elif not task.has_ended:
            self._follow(task_id, task, lease.pools)

    def _set_limits(self, limits: Mapping[str, int]) -> None:
        for name, limit in limits.items():
            pool = self._tables.pools.setdefault(name, Pool(limit, limit))
            assert self._batch is not None
            if name in self._batch.discovers:
                self._tables.discover(name, limit)
            else:
                pool.fix(limit)
            if pool.working == pool.limit:
                pool.raise_at = 0.0

    def _grant_all(self) -> None:
        """Grant what there is room for, best first, to whichever process it belongs."""
        # One line for each set of pools, as each pool in it must have room. A line whose pools are full is passed over.
        lines = {
            text: self._tables.head(text)
            for (text,) in self._tables.rows("SELECT DISTINCT pools FROM tickets")
        }
        while True:
            fitting = [
                (head[0], head[1], text)
                for text, head in lines.items()
                if head is not None and self._has_room(as_names(text))
            ]
            if not fitting:
                return
            _, arrival, text = min(fitting)
            head = lines[text]
            assert head is not None
            _, _, name, owner = head
            # Until the owner fetches it, it lasts only for a moment: a process that sleeps must not hold up the others.
            self._tables.drop_ticket(name)
            self._tables.add_lease(
                name, owner, as_names(text), self._now + FETCH_S, state=LeaseState.GRANTED, arrival=arrival
            )
            for pool in self._tables.of(as_names(text)):
                pool.granted()
            lines[text] = self._tables.head(text)

    def _has_room(self, names: Sequence[str]) -> bool:
        pools = self._tables.of(names)
        return all(pool.has_room(self._now, alone=len(pools) == 1) for pool in pools)
