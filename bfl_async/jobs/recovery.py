"""Has jobs brought again: those of dead workers, and queued records that no job stands for any more.

All of it happens in one transaction a step, of which one worker does the next: see `recover_in_turn`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from bfl_async.jobs.database import Connection, fetch, transaction  # isort: skip
import procrastinate
from procrastinate import exceptions, types

_log = logging.getLogger("bfl_async")


QUEUE = "bfl_async"
TASK: Final = "bfl_async.generate"
# The priority of jobs that are brought again, higher first; others have 0.
NEXT = 50
# Queued records that one step of the recovery looks at. Each takes some microseconds.
_STEP = 10_000
# How long a worker may have had a job that it does not work on. Longer than any rest of a delivery.
_FORGOTTEN_S = 300.0


async def recover(app: procrastinate.App, stalled_s: float) -> int:
    """Have jobs brought again whose worker has given no sign of life for so long; return how many.

    Workers do it by themselves. Every record that is not at its end gets a job where none stands for it any more:
    whether its job was deleted, cancelled, or ended by a worker that does not know it.

    Raises:
        LedgerError: The database cannot be used.
    Cancellation: Jobs may have been brought again already; call it again.
    """
    count = seen = 0
    while True:
        async with transaction(app) as connection:
            await fetch(connection, "SELECT FROM bfl_jobs.recovery FOR UPDATE")
            found, seen = await _recover_step(app, connection, stalled_s, seen)
        count += found
        if seen == 0:
            return count


async def recover_in_turn(app: procrastinate.App, stalled_s: float, every_s: float) -> None:
    """Do the next step of the recovery, unless a worker did one in the last `every_s` or is at it.

    Raises:
        LedgerError: The database cannot be used.
    """
    async with transaction(app) as connection:
        # A moment that lies ahead was written before the server's clock was set back.
        rows = await fetch(
            connection,
            """
            UPDATE bfl_jobs.recovery SET began_at = clock_timestamp()
            WHERE only_row = (
                SELECT only_row FROM bfl_jobs.recovery
                WHERE began_at < clock_timestamp() - make_interval(secs => %(every_s)s)
                    OR began_at > clock_timestamp()
                FOR UPDATE SKIP LOCKED)
            RETURNING seen
            """,
            every_s=every_s * 0.9,
        )
        if rows:
            _, seen = await _recover_step(app, connection, stalled_s, rows[0]["seen"])
            await fetch(connection, "UPDATE bfl_jobs.recovery SET seen = %(seen)s RETURNING seen", seen=seen)


async def _recover_step(
    app: procrastinate.App, connection: Connection, stalled_s: float, seen: int
) -> tuple[int, int]:
    """Bring jobs of dead workers again, and find queued records without a job.

    Args:
        seen: The id up to which queued records were looked at.
    Returns:
        How many jobs were brought again, and the next `seen`; 0: the last queued record was reached.
    """
    stalled = list(await app.job_manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=stalled_s))
    for job in stalled:
        # It may have ended meanwhile.
        with suppress(exceptions.ConnectorException):
            await app.job_manager.retry_job(job, priority=NEXT)
    step = await fetch(
        connection,
        """
        SELECT count(*) AS count, max(id) AS last FROM (
            SELECT id FROM bfl_jobs.records WHERE state = 'queued' AND id > %(seen)s ORDER BY id LIMIT %(most)s
        ) AS step
        """,
        seen=seen,
        most=_STEP,
    )
    last = step[0]["last"] if step[0]["last"] is not None else seen
    lost = await _find_lost(connection, stalled_s, seen, last)
    if lost:
        await _replace_jobs(app, connection, lost)
    return len(stalled) + len(lost), last if step[0]["count"] == _STEP else 0


async def _find_lost(connection: Connection, stalled_s: float, seen: int, last: int) -> list[dict[str, Any]]:
    """Return the records, queued ones of this step and all in flight, for which no job stands and no lease runs."""
    return await fetch(
        connection,
        """
        SELECT id, job, (SELECT status FROM procrastinate_jobs WHERE id = records.job) AS status
        FROM bfl_jobs.records
        WHERE ((state = 'queued' AND id > %(seen)s AND id <= %(last)s) OR state IN ('submitting', 'submitted'))
            AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
            AND NOT EXISTS (
                SELECT FROM procrastinate_jobs AS jobs
                WHERE jobs.id = records.job AND queue_name = %(queue)s AND (status = 'todo' OR (
                    status = 'doing' AND EXISTS (
                        SELECT FROM procrastinate_events AS events
                        WHERE job_id = jobs.id AND at > now() - make_interval(secs => %(forgotten_s)s)))))
        ORDER BY id
        """,
        seen=seen,
        last=last,
        queue=QUEUE,
        forgotten_s=_FORGOTTEN_S + stalled_s,
    )


async def _replace_jobs(app: procrastinate.App, connection: Connection, lost: list[dict[str, Any]]) -> None:
    failed = sum(row["status"] == "failed" for row in lost)
    if failed:
        _log.warning(
            "%d jobs were marked as failed by another worker of procrastinate and are brought again: does one "
            "work on all queues? Give it its own queues, or bfl_async a database of its own",
            failed,
        )
    await bring_again(app, connection, [row["id"] for row in lost], priority=NEXT)
    # Else each round of a worker that fails our jobs would leave a row for each of them.
    await fetch(
        connection,
        "DELETE FROM procrastinate_jobs WHERE id = ANY(%(jobs)s) AND status NOT IN ('todo', 'doing') RETURNING id",
        jobs=[row["job"] for row in lost],
    )


async def bring_again(
    app: procrastinate.App, connection: Connection, ids: Sequence[int], *, priority: int = 0
) -> list[int]:
    """Make new jobs for records."""
    made = await bring(app, connection, [{"record": record} for record in ids], priority)
    await fetch(
        connection,
        """
        UPDATE bfl_jobs.records SET job = made.job
        FROM unnest(%(ids)s::bigint[], %(jobs)s::bigint[]) AS made (id, job)
        WHERE records.id = made.id RETURNING records.id
        """,
        ids=list(ids),
        jobs=made,
    )
    return list(ids)


async def bring(
    app: procrastinate.App, connection: Connection, arguments: Sequence[types.JSONDict], priority: int = 0
) -> list[int]:
    if not arguments:
        return []
    deferrer = app.configure_task(TASK, queue=QUEUE, priority=priority, connection=connection)
    return await deferrer.batch_defer_async(*arguments)
