"""A table of records in PostgreSQL: what became of each job, durable before it matters.

It stands beside the engine's own tables and knows nothing of them. A record is claimed by the worker that works on
it, for a while that the worker prolongs as long as it lives (a lease), and under a token of that delivery's own. Every
later write names the token: who was taken for dead and was only slow finds that it writes nothing any more. So of
two deliveries of one job only one goes on, in whichever processes they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, Self, TypeAlias

from bfl_async.types.common import JSON
from bfl_async.types.entries import EntryState, Fact
from bfl_async.types.replies import Receipt

Row: TypeAlias = "Mapping[str, Any]"  # as psycopg gives it, checked in JobRecord.of
Ask: TypeAlias = Callable[..., Awaitable[Sequence[Row]]]  # (sql, **arguments)

OPEN = (EntryState.QUEUED, EntryState.SUBMITTING, EntryState.SUBMITTED)
"""States from which a delivery has something to do; all others are ends."""

MIGRATIONS: tuple[LiteralString, ...] = (
    """
    CREATE TABLE bfl_jobs.records (
        id bigint PRIMARY KEY,
        job bigint NOT NULL,
        name text UNIQUE,
        state text NOT NULL DEFAULT 'queued' CHECK (state IN (
            'queued', 'submitting', 'submitted', 'saved', 'moderated', 'failed', 'ambiguous')),
        model text NOT NULL,
        fields json NOT NULL,
        task_id text,
        polling_url text,
        cost double precision,
        file text,
        sha256 text,
        error text,
        created_at timestamptz NOT NULL DEFAULT now(),
        submitted_at timestamptz,
        ended_at timestamptz,
        claim text,
        worker text,
        claimed_until timestamptz
    );
    CREATE INDEX records_by_state ON bfl_jobs.records (state, id);
    """,
    """
    CREATE TABLE bfl_jobs.recovery (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        began_at timestamptz NOT NULL,
        seen bigint NOT NULL
    );
    INSERT INTO bfl_jobs.recovery (began_at, seen) VALUES ('-infinity', 0);
    """,
    """
    CREATE TABLE bfl_jobs.home (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        host text NOT NULL,
        account text
    );
    """,
    """
    ALTER TABLE bfl_jobs.records ADD COLUMN cost_before double precision NOT NULL DEFAULT 0;
    """,
)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job.

    Attributes:
        id: The job's id, as `defer` returned it.
        name: The caller's own id, where one was given.
        state: `queued submitting submitted saved moderated failed ambiguous`, as in a batch's ledger.
        cost: Credits of its task, 0 if it was moderated or failed and the server stated none. None: not known, or
            nothing was accepted.
        cost_before: Credits of earlier tasks of this job, which was sent again.
        file: What the storage returned.
        worker: Who works on it, or did last.
    """

    id: int
    name: str | None
    state: EntryState
    model: str
    fields: Mapping[str, JSON] = field(repr=False)
    task_id: str | None
    polling_url: str | None = field(repr=False)
    cost: float | None
    cost_before: float
    file: str | None
    sha256: str | None
    error: str | None
    worker: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None

    @property
    def ok(self) -> bool:
        """True when the image came home."""
        return self.state is EntryState.SAVED

    @classmethod
    def of(cls, row: Row) -> Self:
        """Make it of a row of the table."""
        facts = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**facts, "state": EntryState(row["state"])})


class Records:
    """The statements over the table. Each is one transaction: whole or not at all.

    Args:
        ask: Runs a statement and returns its rows; raises a `LedgerError` where it could not.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def home(self) -> tuple[str, str | None] | None:
        """Return the host and the account that the records belong to; None: no worker has said so yet."""
        rows = await self._ask("SELECT host, account FROM bfl_jobs.home")
        return (rows[0]["host"], rows[0]["account"]) if rows else None

    async def settle_home(self, host: str, account: str | None) -> tuple[str, str | None]:
        """Say whom the records belong to, unless it was said before; return the host and the account.

        Args:
            account: None: not known. The first worker that knows it says so for all.
        """
        rows = await self._ask(
            """
            INSERT INTO bfl_jobs.home AS known (host, account) VALUES (%(host)s, %(account)s)
            ON CONFLICT (only_row) DO UPDATE SET account = CASE
                WHEN known.host = EXCLUDED.host THEN COALESCE(known.account, EXCLUDED.account)
                ELSE known.account END
            RETURNING host, account
            """,
            host=host,
            account=account,
        )
        return rows[0]["host"], rows[0]["account"]

    async def claim(self, record_id: int, claim: str, worker: str, lease_s: float) -> JobRecord | None:
        """Take a record that is not at its end and that no living worker holds; None: not to be had.

        The row's lock decides between two who ask at once.
        """
        rows = await self._ask(
            """
            UPDATE bfl_jobs.records SET claim = %(claim)s, worker = %(worker)s,
                claimed_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            WHERE id = %(id)s AND state IN ('queued', 'submitting', 'submitted')
                AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
            RETURNING *
            """,
            id=record_id, claim=claim, worker=worker, lease_s=lease_s,
        )  # fmt: skip
        return JobRecord.of(rows[0]) if rows else None

    async def renew(self, claims: Iterable[str], lease_s: float) -> None:
        """Prolong what this worker holds."""
        await self._ask(
            """
            UPDATE bfl_jobs.records
            SET claimed_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            WHERE claim = ANY(%(claims)s) AND state IN ('queued', 'submitting', 'submitted') RETURNING id
            """,
            claims=list(claims), lease_s=lease_s,
        )  # fmt: skip

    async def submitting(self, record_id: int, claim: str) -> bool:
        """Note that it may be sent from now on; False: the claim was lost, and it must not be."""
        rows = await self._ask(
            """
            UPDATE bfl_jobs.records SET state = 'submitting', error = NULL
            WHERE id = %(id)s AND claim = %(claim)s AND state IN ('queued', 'submitting') RETURNING id
            """,
            id=record_id, claim=claim,
        )  # fmt: skip
        return bool(rows)

    async def queued(self, record_id: int, claim: str) -> None:
        """Note that nothing was sent, or nothing was taken: it will be sent again."""
        await self._ask(
            """
            UPDATE bfl_jobs.records SET state = 'queued'
            WHERE id = %(id)s AND claim = %(claim)s AND state = 'submitting' RETURNING id
            """,
            id=record_id, claim=claim,
        )  # fmt: skip

    async def submitted(self, record_id: int, claim: str, receipt: Receipt, lease_s: float) -> bool:
        """Note the task. It is believed also where another has called it ambiguous meanwhile: this one knows."""
        rows = await self._ask(
            """
            UPDATE bfl_jobs.records SET state = 'submitted', task_id = %(task_id)s, error = NULL,
                polling_url = %(polling_url)s, cost = %(cost)s, submitted_at = now(), ended_at = NULL,
                claim = %(claim)s, claimed_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
            WHERE id = %(id)s AND (state = 'ambiguous' OR (claim = %(claim)s AND state = 'submitting'))
            RETURNING id
            """,
            id=record_id, claim=claim, lease_s=lease_s, task_id=_text(receipt.task_id),
            polling_url=_text(receipt.polling_url), cost=receipt.cost,
        )  # fmt: skip
        return bool(rows)

    async def leave(
        self, record_id: int, claim: str, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> bool:
        """Give the record a state and facts, and the claim back; False: the claim was lost.

        Facts that are not named stay: `task_id polling_url cost file sha256 error`.
        """
        known = {name: None for name in ("task_id", "polling_url", "cost", "file", "sha256", "error")}
        values = {**known, **(facts or {})}
        rows = await self._ask(
            """
            UPDATE bfl_jobs.records SET state = %(state)s, claim = NULL, claimed_until = NULL,
                task_id = COALESCE(%(task_id)s, task_id), polling_url = COALESCE(%(polling_url)s, polling_url),
                cost = COALESCE(%(cost)s, cost), file = COALESCE(%(file)s, file),
                sha256 = COALESCE(%(sha256)s, sha256), error = %(error)s,
                ended_at = CASE WHEN %(ended)s THEN now() END
            WHERE id = %(id)s AND claim = %(claim)s RETURNING id
            """,
            id=record_id, claim=claim, state=state.value, ended=state not in OPEN,
            **{name: _text(value) if isinstance(value, str) else value for name, value in values.items()},
        )  # fmt: skip
        return bool(rows)

    async def add_cost(self, record_id: int, cost: float) -> None:
        """Note credits of a task that is not the record's: another one was sent in its place."""
        await self._ask(
            "UPDATE bfl_jobs.records SET cost_before = cost_before + %(cost)s WHERE id = %(id)s RETURNING id",
            id=record_id,
            cost=cost,
        )

    async def abandoned(self, most: int) -> Sequence[int]:
        """Return records that may have been sent and that no living worker holds, the oldest first."""
        rows = await self._ask(
            """
            SELECT id FROM bfl_jobs.records
            WHERE state IN ('submitting', 'submitted')
                AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
            ORDER BY submitted_at NULLS FIRST LIMIT %(most)s
            """,
            most=most,
        )
        return [row["id"] for row in rows]

    async def is_older(self, record_id: int, age_s: float) -> bool:
        """Return whether its task was accepted longer ago than that, by the database's clock."""
        rows = await self._ask(
            """
            SELECT id FROM bfl_jobs.records
            WHERE id = %(id)s AND submitted_at < now() - make_interval(secs => %(age_s)s)
            """,
            id=record_id,
            age_s=age_s,
        )
        return bool(rows)

    async def read(self, ids: Sequence[int]) -> list[JobRecord]:
        """Return those that there are, by id."""
        rows = await self._ask(
            "SELECT * FROM bfl_jobs.records WHERE id = ANY(%(ids)s) ORDER BY id", ids=list(ids)
        )
        return [JobRecord.of(row) for row in rows]

    async def list(self, states: Sequence[EntryState], most: int) -> list[JobRecord]:
        """Return the newest in these states, oldest first."""
        rows = await self._ask(
            "SELECT * FROM bfl_jobs.records WHERE state = ANY(%(states)s) ORDER BY id DESC LIMIT %(most)s",
            states=[state.value for state in states], most=most,
        )  # fmt: skip
        return [JobRecord.of(row) for row in reversed(rows)]

    async def counts(self) -> dict[EntryState, tuple[int, float]]:
        """Return how many records are in each state, and the credits that they cost."""
        rows = await self._ask(
            "SELECT state, count(*) AS count, COALESCE(sum(cost), 0) + sum(cost_before) AS cost "
            "FROM bfl_jobs.records GROUP BY state"
        )
        return {EntryState(row["state"]): (row["count"], row["cost"]) for row in rows}


def _text(text: str | None) -> str | None:
    """A text as PostgreSQL takes it: what a server sends may hold a NUL or half a character."""
    return None if text is None else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


__all__ = ["MIGRATIONS", "OPEN", "JobRecord", "Records"]
