"""The tables of a book in SQLite, and the counts of its pools.

The invariant: within a step `Pool.taken` and `Pool.queued` are the numbers of leases and tickets that name the pool.
They are not stored. Each step counts them once (`read_pools`), and from then on each row that is added or dropped here
changes them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import cast

from bfl_async.limiter.learning import PoolRule
from bfl_async.limiter.liveness import is_alive, this_process
from bfl_async.limiter.search import Search


class LeaseState(IntEnum):
    """The column `told` of a lease; `book.lua` has the same numbers, as `n`."""

    # In: `_grant_all`, for a ticket that there is room for. Out: fetched by its owner's next step; dropped if that does
    # not come within `FETCH_S`, for the owner sleeps and others wait.
    GRANTED = 0
    # In: fetched, or followed (`take`, a confirmed task, a lease that ran out and is kept). Out: dropped when its task
    # ends, when its last owner leaves it, or when no owner kept it in time. Without an owner it is held by time alone.
    HELD = 1
    # In: the task has ended and other processes still follow it. It has no pools, so it counts nothing. Out: dropped
    # after `ENDED_S`, by when each of them has said that it keeps the lease, and was answered that it has ended.
    ENDED = 2


# How long a step waits for the step of another process. After that it has failed, and is made again.
_LOCKED_S = 5.0

_TABLES = """
CREATE TABLE IF NOT EXISTS book (epoch TEXT NOT NULL, arrivals INTEGER NOT NULL, now REAL NOT NULL);
CREATE TABLE IF NOT EXISTS pools (
  name TEXT PRIMARY KEY, most INTEGER, working INTEGER, quiet_s REAL, probing INTEGER, paused_until REAL,
  raise_at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS searches (name TEXT PRIMARY KEY, found INTEGER NOT NULL, state TEXT) WITHOUT ROWID;
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


@dataclass(eq=False, slots=True)
class Pool(PoolRule):
    """A row of `pools`, and the counts of its leases and tickets."""

    # The moment of the next raise; 0: none is due.
    raise_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of `leases`. Its column `owner` holds all sessions that follow the task."""

    owners: list[str]
    state: LeaseState
    pools: list[str]
    ends_at: float

    @property
    def has_ended(self) -> bool:
        """Whether its task has ended, and the row only says so to those that follow it."""
        return self.state is LeaseState.ENDED


class Tables:
    """The open file. What changes rows must be called within a transaction."""

    def __init__(self, path: Path) -> None:
        self.db: sqlite3.Connection = sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)
        try:
            self.db.execute("PRAGMA journal_mode=TRUNCATE")
            # Never synced: the file holds nothing that outlives the processes.
            self.db.execute("PRAGMA synchronous=OFF")
            # Two processes that open a new file make its tables one after the other.
            self.db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                self.db.execute(statement)
            self.db.execute("COMMIT")
        except BaseException:
            self.db.close()
            raise
        # Valid within a step: read at its beginning, and written at its end.
        self.pools: dict[str, Pool] = {}

    # --- any table ------------------------------------------------------------------------------------

    def number(self, sql: str, *values: str | float) -> int:
        """Return the one number that a query gives; 0 if it gives no row."""
        row = self.db.execute(sql, values).fetchone()
        return 0 if row is None else int(row[0])

    def rows(self, sql: str, *values: str | float) -> list[tuple[str, ...]]:
        """Return all rows of a query. They are read at once, so the caller may change the table."""
        with closing(self.db.execute(sql, values)) as cursor:
            return cursor.fetchall()

    # --- pools ----------------------------------------------------------------------------------------

    def read_pools(self, limits: Mapping[str, int], discovers: Sequence[str]) -> None:
        """Read the pools, add those of `limits` that are missing, and count."""
        rows = self.db.execute(
            "SELECT name, most, working, quiet_s, probing, paused_until, raise_at FROM pools"
        )
        self.pools = {
            name: Pool(limit, working, quiet_s, bool(probing), paused_until, raise_at=raise_at)
            for name, limit, working, quiet_s, probing, paused_until, raise_at in rows
        }
        for text, number in self.db.execute("SELECT pools, count(*) FROM leases GROUP BY pools"):
            for pool in self.of(as_names(text)):
                pool.taken += number
        for text, number in self.db.execute("SELECT pools, count(*) FROM tickets GROUP BY pools"):
            for pool in self.of(as_names(text)):
                pool.queued += number
        for name, state in self.db.execute("SELECT name, state FROM searches WHERE state IS NOT NULL"):
            # A release that knows no searches may have dropped the pool.
            if name in self.pools:
                self.pools[name].search = Search(**json.loads(state))
        # No stored row names these yet: they count the leases and tickets that come from now on.
        for name, limit in limits.items():
            if name not in self.pools:
                self.pools[name] = Pool(limit, limit)
                if name in discovers:
                    self.discover(name, limit)

    def discover(self, name: str, start: int) -> None:
        """Find out a pool's limit, from where an earlier search has ended."""
        found = self.number("SELECT found FROM searches WHERE name = ?", name)
        self.pools[name].discover(found or start)

    def write_pools(self) -> None:
        """Store what the rules of the pools have learnt."""
        # A table of its own: earlier releases write all columns of `pools`, and know no others.
        self.db.execute("UPDATE searches SET state = NULL")
        self.db.executemany(
            "INSERT OR REPLACE INTO searches VALUES (?, ?, ?)",
            [
                (name, pool.limit, json.dumps(asdict(pool.search)))
                for name, pool in self.pools.items()
                if pool.search is not None
            ],
        )
        self.db.executemany(
            "INSERT OR REPLACE INTO pools VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (name, pool.limit, pool.working, pool.quiet_s, pool.probing, pool.paused_until, pool.raise_at)
                for name, pool in self.pools.items()
            ],
        )

    def of(self, names: Iterable[str]) -> list[Pool]:
        """Return the pools of these names that have a limit."""
        return [self.pools[name] for name in names if name in self.pools]

    # --- leases ---------------------------------------------------------------------------------------

    def add_lease(
        self,
        name: str,
        owner: str,
        pools: Sequence[str],
        ends_at: float,
        *,
        state: LeaseState = LeaseState.HELD,
        arrival: int = 0,
    ) -> None:
        """Add a lease, which takes a slot in each of its pools."""
        # Only the pools that have a limit now are stored. One that gets a limit later counts from then on.
        known = [pool for pool in pools if pool in self.pools]
        self.db.execute(
            "INSERT INTO leases (id, owner, told, pools, arrival, ends_at) VALUES (?, ?, ?, ?, ?, ?)",
            (name, owner, state, as_text(known), arrival, ends_at),
        )
        for pool in self.of(known):
            pool.taken += 1

    def lease(self, name: str) -> Lease | None:
        """Return the lease of this id."""
        row = self.db.execute(
            "SELECT owner, told, pools, ends_at FROM leases WHERE id = ?", (name,)
        ).fetchone()
        return None if row is None else Lease(as_names(row[0]), LeaseState(row[1]), as_names(row[2]), row[3])

    def set_lease(self, name: str, owners: Sequence[str], pools: Sequence[str], ends_at: float) -> None:
        """Change a lease. The caller counts a slot in each pool that is new to it."""
        self.db.execute(
            "UPDATE leases SET owner = ?, told = ?, pools = ?, ends_at = ? WHERE id = ?",
            (as_text(owners), LeaseState.HELD, as_text(pools), ends_at, name),
        )

    def drop_lease(self, name: str) -> None:
        """Remove a lease, and free its slots."""
        # Nothing happens when it is gone: an end may be said twice, by two processes that follow the task.
        lease = self.lease(name)
        if lease is not None:
            self.db.execute("DELETE FROM leases WHERE id = ?", (name,))
            for pool in self.of(lease.pools):
                pool.taken -= 1

    # --- tickets --------------------------------------------------------------------------------------

    def add_ticket(self, name: str, owner: str, pools: Sequence[str], priority: int, arrival: int) -> int:
        """Let a request wait, and return its arrival. `arrival` 0: behind all."""
        if arrival == 0:
            self.db.execute("UPDATE book SET arrivals = arrivals + 1")
            arrival = self.number("SELECT arrivals FROM book")
        else:
            # The number of another book may be higher than any that this one has given.
            self.db.execute("UPDATE book SET arrivals = max(arrivals, ?)", (arrival,))
        known = [pool for pool in pools if pool in self.pools]
        self.db.execute(
            "INSERT INTO tickets VALUES (?, ?, ?, ?, ?)", (name, owner, as_text(known), priority, arrival)
        )
        for pool in self.of(known):
            pool.queued += 1
        return arrival

    def has_ticket(self, name: str) -> bool:
        """Return whether a request of this id waits."""
        return self.number("SELECT count(*) FROM tickets WHERE id = ?", name) > 0

    def drop_ticket(self, name: str) -> None:
        """Let a request wait no longer."""
        # Its own pools and not the caller's: they are what it was counted in.
        rows = self.rows("SELECT pools FROM tickets WHERE id = ?", name)
        if rows:
            self.db.execute("DELETE FROM tickets WHERE id = ?", (name,))
            for pool in self.of(as_names(rows[0][0])):
                pool.queued -= 1

    def head(self, pools: str) -> tuple[int, int, str, str] | None:
        """Return priority, arrival, id and owner of the first ticket for exactly these pools."""
        row = self.db.execute(
            "SELECT priority, arrival, id, owner FROM tickets WHERE pools = ? ORDER BY priority, arrival LIMIT 1",
            (pools,),
        ).fetchone()
        return cast("tuple[int, int, str, str] | None", row)

    # --- sessions -------------------------------------------------------------------------------------

    def drop_session(self, session: str) -> None:
        """Forget its place in the line; slots that it has stay taken to their time, as the server may count them."""
        for (name,) in self.rows("SELECT id FROM tickets WHERE owner = ?", session):
            self.drop_ticket(name)
        # Grants that it has not fetched: nothing was sent for them.
        for (name,) in self.rows("SELECT id FROM leases WHERE owner = ? AND told = 0", session):
            self.drop_lease(name)
        self.db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def is_here(self, session: str) -> bool:
        """Return whether a process is known, and has not died."""
        return self.number("SELECT count(*) FROM sessions WHERE id = ?", session) > 0

    def dead_sessions(self) -> list[str]:
        """Return the sessions of this machine whose processes are gone."""
        # Only of this machine: whether a process of another one lives cannot be known here, and its time runs out.
        machine, mine, _ = this_process()
        rows = self.rows("SELECT id, pid, started FROM sessions WHERE machine = ?", machine)
        return [
            session for session, pid, started in rows if int(pid) != mine and not is_alive(int(pid), started)
        ]


def as_text(names: Sequence[str]) -> str:
    """Return names as one value of a column."""
    return "\x1f".join(names)


def as_names(text: str) -> list[str]:
    """Return the names in a value of a column."""
    return text.split("\x1f") if text else []
