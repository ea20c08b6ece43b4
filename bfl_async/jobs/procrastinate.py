"""Batches that outgrow one machine: jobs in PostgreSQL, brought to workers by procrastinate, and paid once.

```python
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo="postgresql://..."))
async with app.open_async():
    await apply_schema(app)
    ids = await defer(app, requests)  # anywhere
    await worker(app, bfl, storage=FolderStorage("out"))  # on as many machines as you like
    for record in await results(app, ids): ...
```

procrastinate brings each job at least once; `delivery.py` and the table of records see to it that it is paid at most
once. Beside them this module only defers, runs procrastinate's worker, and has jobs of dead workers brought again.

Recovery is a coroutine of each worker, and no job: it waits for no place and for no slot, as the places may be full of
jobs that wait for slots which only it can free. It does two things. What may have been sent is taken over at once, by
its record alone; that needs no job of procrastinate's. What is queued gets a job again, whatever became of its old one.

A worker that stops gives no heartbeat to procrastinate, so its jobs are brought to others, who find them held: leases
are prolonged here, to the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

# First: it says which extra is missing.
from bfl_async.jobs.database import Connection, apply_schema, fetch, records_of, transaction  # isort: skip
import procrastinate
from procrastinate import jobs, retry

from bfl_async._config import ACCOUNT, account_hash, is_loopback
from bfl_async.batch.home import home_of
from bfl_async.batch.requests import sent_fields_of
from bfl_async.client.client import AsyncBFL
from bfl_async.errors import ConfigError, InvalidRequestError, LedgerError
from bfl_async.jobs.delivery import Deliverer, DeliverLater
from bfl_async.jobs.records import JobRecord
from bfl_async.jobs.recovery import NEXT, QUEUE, TASK, bring, bring_again, recover, recover_in_turn
from bfl_async.jobs.storage import FileStorage, FolderStorage, Storage
from bfl_async.limiter.redis import RedisLimiter
from bfl_async.models import ImageRequest
from bfl_async.models.main_input import sendable_request
from bfl_async.models.open_values import canonical_json
from bfl_async.runtime.cancellation import shielded
from bfl_async.runtime.tasks import new_task
from bfl_async.types.entries import EntryState

_log = logging.getLogger("bfl_async")

_RECOVER: Final = "bfl_async.recover"
_DELIVERER: Final = "bfl_async_deliverer"  # in the context of procrastinate's worker
_CHUNK = 500  # jobs that are deferred in one transaction
_ABANDON_S = 10.0  # for POSTs on their way, when a worker is cancelled for the second time
_LEAST_PLACES = 48  # of a worker, unless twice its limit is fewer
_BUG_S = 60.0  # before a job is brought again that ended with a bug


async def defer(
    app: procrastinate.App, requests: Iterable[ImageRequest], *, ids: Iterable[str] | None = None
) -> list[int]:
    """Put requests into the queue; return their jobs' ids, in order.

    Files that are given as paths are read here: another machine may not have them.

    Args:
        ids: The caller's own, one for each request. An id that is known already makes no second job: its job's id
            is returned. So the same call can be repeated until it succeeds.
    Raises:
        InvalidRequestError: An item is no request, or an id stands for another request already.
        ConfigError: There are not as many ids as requests.
        LedgerError: The database cannot be used; of each 500 requests all or none are deferred.
    Cancellation: Of each 500 requests all or none are deferred; with `ids` the same call can be repeated.
    """
    wanted = [sendable_request(one) for one in requests]
    names: list[str | None] = [None] * len(wanted) if ids is None else list(ids)
    if len(names) != len(wanted):
        raise ConfigError(f"defer: there are {len(wanted)} requests and {len(names)} ids")
    found: list[int] = []
    # A thread of this call's own: those of anyio's default limiter may all be taken by calls that wait for it.
    thread = anyio.CapacityLimiter(1)
    for at in range(0, len(wanted), _CHUNK):
        chunk = [
            (name, one.model, await anyio.to_thread.run_sync(_body, one, limiter=thread))
            for name, one in zip(names[at : at + _CHUNK], wanted[at : at + _CHUNK], strict=True)
        ]
        async with transaction(app, lock=ids is not None) as connection:
            found += await _defer(app, connection, chunk)
    return found


async def _defer(
    app: procrastinate.App, connection: Connection, chunk: Sequence[tuple[str | None, str, str]]
) -> list[int]:
    names = [name for name, _, _ in chunk if name is not None]
    rows = await fetch(
        connection,
        "SELECT name, id, model, fields::text AS fields FROM bfl_jobs.records WHERE name = ANY(%(names)s)",
        names=names,
    )
    known: dict[str, tuple[int | None, str, str]] = {
        row["name"]: (row["id"], row["model"], row["fields"]) for row in rows
    }
    new: list[tuple[str | None, str, str]] = []
    for name, model, fields in chunk:
        if name is None or name not in known:
            new.append((name, model, fields))
            if name is not None:
                known[name] = (None, model, fields)
        elif not _is_same(model, fields, *known[name][1:]):
            raise InvalidRequestError(f"the id {name!r} stands for another request already")
    job_ids = await bring(app, connection, [{} for _ in new])
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO bfl_jobs.records (id, job, name, model, fields) VALUES (%s, %s, %s, %s, %s)",
            [(job, job, *row) for job, row in zip(job_ids, new, strict=True)],
        )
    fresh = iter(job_ids)
    by_name = {name: row[0] for name, row in known.items() if row[0] is not None}
    found: list[int] = []
    for name, _, _ in chunk:
        job = by_name[name] if name in by_name else next(fresh)
        if name is not None:
            by_name[name] = job
        found.append(job)
    return found


async def results(app: procrastinate.App, ids: Iterable[int]) -> list[JobRecord]:
    """Return what is known of jobs, in the order of their ids; of those that have no record, nothing.

    Raises:
        LedgerError, ConfigError: The database cannot be used.
    Cancellation: Ends the call.
    """
    return await records_of(app).read(sorted(set(ids)))


async def retry_jobs(
    app: procrastinate.App, state: EntryState, ids: Iterable[int] | None = None
) -> list[int]:
    """Send jobs again that ended as ambiguous, failed or moderated; return their ids.

    Of ambiguous ones, and of failed ones whose result was lost, some are then paid twice.

    Args:
        ids: Only these; None: all in that state.
    Raises:
        ConfigError: The state is none of these.
        LedgerError: The database cannot be used.
    Cancellation: All of them are sent again, or none.
    """
    if state not in (EntryState.AMBIGUOUS, EntryState.FAILED, EntryState.MODERATED):
        raise ConfigError(f"jobs that are {state} are not sent again")
    async with transaction(app, lock=True) as connection:
        rows = await fetch(
            connection,
            """
            UPDATE bfl_jobs.records SET state = 'queued', error = NULL, ended_at = NULL, submitted_at = NULL,
                task_id = NULL, polling_url = NULL, claim = NULL, claimed_until = NULL,
                cost_before = cost_before + COALESCE(cost, 0), cost = NULL
            WHERE state = %(state)s AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s)) RETURNING id
            """,
            state=state.value,
            ids=None if ids is None else list(ids),
        )
        return await bring_again(app, connection, [row["id"] for row in rows])


async def worker(
    app: procrastinate.App,
    bfl: AsyncBFL,
    *,
    storage: Storage,
    concurrency: int | None = None,
    heartbeat_s: float = 10.0,
    listen: bool = True,
) -> None:
    """Work on jobs until it is cancelled. As many workers as you like, each in a process of its own.

    Args:
        app: An open app; `apply_schema` made its tables.
        bfl: An open client. Its limiter says how many tasks are active: this worker's share of the account's, or
            all of them with a limiter that the workers share.
        storage: Where images go; all workers should reach it.
        concurrency: Jobs at a time, waiting ones included; None: twice the slots, or this worker's share of that
            where the workers share their slots through Redis: it counts them once, at its start.
        heartbeat_s: How often the worker gives a sign of life. After three times as long without one its jobs are
            another's.
        listen: Wait for PostgreSQL's notifications beside looking from time to time; False behind PgBouncer in
            transaction mode.
    Raises:
        LedgerError: The database could not be used any more. Start the worker again.
        AuthenticationError: The server refuses the key. What was sent is left to other workers.
        ClientClosedError, ConfigError: The client or the app is not open here.
        ConfigError: The jobs belong to another host or account than the client's. Nothing was touched.
    Cancellation: What was not sent goes back to the queue, what was sent is brought home, then this returns. A
        second cancellation ends it at once; another worker then goes on.
    """
    lease_s = 3.0 * heartbeat_s
    deliverer = Deliverer(bfl, records_of(app), storage, lease_s=lease_s)
    await _settle_home(bfl, deliverer)
    _register_tasks(app)
    places = concurrency if concurrency is not None else await _usual_concurrency(app, bfl, lease_s)
    working = new_task(
        app.run_worker_async(
            queues=[QUEUE],
            concurrency=places,
            fetch_job_polling_interval=min(5.0, heartbeat_s),
            listen_notify=listen,
            # The record stays, and the queue's table does not grow.
            delete_jobs="successful",
            additional_context={_DELIVERER: deliverer},
            install_signal_handlers=False,
            update_heartbeat_interval=heartbeat_s,
            stalled_worker_timeout=lease_s,
        )
    )
    await _watch(app, working, deliverer, heartbeat_s)


async def _settle_home(bfl: AsyncBFL, deliverer: Deliverer) -> None:
    """Check that the jobs are this client's, and say so where no worker has yet.

    Raises:
        ConfigError: They belong to another host or account.
        AuthenticationError: The server refuses the key.
    """
    host, account = _home_of(bfl)
    _check_home(host, account, await deliverer.records.home())
    if not await deliverer.probe():
        assert deliverer.refusal is not None
        raise deliverer.refusal
    # Only a client whose key is good says whose the jobs are.
    _check_home(host, account, await deliverer.records.settle_home(host, account))


def _register_tasks(app: procrastinate.App) -> None:
    if TASK in app.tasks:
        return
    app.task(name=TASK, queue=QUEUE, pass_context=True, retry=_Again())(_generate)
    # procrastinate watches over its heartbeat and its listener only beside a periodic task. This one hardly runs;
    # it also takes the jobs that workers of earlier releases have left, whose recovery was a job.
    idle = app.task(name=_RECOVER, queue=QUEUE, pass_context=True, priority=NEXT)(_recover)
    app.periodic(cron="0 0 1 * *")(idle)


async def _usual_concurrency(app: procrastinate.App, bfl: AsyncBFL, lease_s: float) -> int:
    pool = bfl.statistics().pools.get(ACCOUNT)
    sharing = 1
    if isinstance(bfl._life.limiter, RedisLimiter):
        sharing += await _count_workers(app, lease_s)
    return _places(pool.limit if pool is not None else 12, sharing)


async def _watch(
    app: procrastinate.App, working: asyncio.Task[None], deliverer: Deliverer, heartbeat_s: float
) -> None:
    """Keep a worker's leases and recover others' jobs while it works; end it when something has ended.

    A cancellation stops the sending and waits for what was sent; a second one gives that up.
    """
    helpers = [
        new_task(_keep(deliverer, heartbeat_s)),
        new_task(_recover_always(app, deliverer, heartbeat_s)),
        new_task(deliverer.wait_refused()),
    ]
    try:
        await asyncio.wait([working, *helpers], return_when=asyncio.FIRST_COMPLETED)
        deliverer.stop()
        working.cancel()
        if deliverer.refusal is not None:
            # Nor can it follow what it has sent.
            deliverer.abandon()
        await _wait_ended(working, deliverer)
    except asyncio.CancelledError:
        deliverer.stop()
        working.cancel()
        try:
            # A cancelled anyio scope cancels once; only another cancellation of the task itself is a second one.
            with shielded():
                await _wait_ended(working, deliverer)
        except asyncio.CancelledError:
            deliverer.abandon()
            with shielded(), suppress(TimeoutError):
                async with asyncio.timeout(_ABANDON_S):
                    await _wait_ended(working, deliverer)
            raise
        raise
    finally:
        for each in (*helpers, working):
            each.cancel()
        with shielded():
            await asyncio.wait(helpers)
    _raise_why(working, helpers, deliverer)


def _raise_why(
    working: asyncio.Task[None], helpers: Sequence[asyncio.Task[None]], deliverer: Deliverer
) -> NoReturn:
    """Raise the reason for which a worker has ended that nobody cancelled."""
    for helper in helpers:
        if not helper.cancelled() and (bug := helper.exception()) is not None:
            raise bug
    if deliverer.refusal is not None:
        raise deliverer.refusal
    problem = None if working.cancelled() else working.exception()
    raise LedgerError("the database could not be used, so the worker has ended: start it again") from problem


async def _count_workers(app: procrastinate.App, alive_s: float) -> int:
    async with transaction(app) as connection:
        rows = await fetch(
            connection,
            "SELECT count(*) AS count FROM procrastinate_workers "
            "WHERE last_heartbeat > now() - make_interval(secs => %(alive_s)s)",
            alive_s=alive_s,
        )
    return int(rows[0]["count"])


def _places(limit: int, sharing: int) -> int:
    """Return how many jobs a worker holds: enough to keep its slots busy, also when some of the others have died.

    Args:
        limit: Slots that the workers share.
        sharing: How many workers share them.
    """
    return min(2 * limit, max(_LEAST_PLACES, math.ceil(2 * limit / sharing)))


def _home_of(bfl: AsyncBFL) -> tuple[str, str | None]:
    """Return the host and the account that a client works for. A function that returns keys names no account."""
    settings = bfl._life.settings
    host = home_of(settings.base_url)
    url = urlsplit(settings.base_url)
    if is_loopback(url.hostname or ""):
        # One machine may run several servers.
        host = f"{host}, port {url.port or (443 if url.scheme == 'https' else 80)}"
    name = settings.account if settings.account is not None else settings.key
    return host, account_hash(name, host) if isinstance(name, str) and name else None


def _check_home(host: str, account: str | None, known: tuple[str, str | None] | None) -> None:
    """Refuse to work on the jobs of another host or account.

    A worker with another base URL would ask the wrong server for tasks that are paid, and send what is queued there.

    Args:
        known: The host and the account that the jobs belong to; None: no worker has said so yet.
    Raises:
        ConfigError: They are others.
    """
    if known is None:
        return
    home, owner = known
    move = "to move them here, end all workers and run in the database: DELETE FROM bfl_jobs.home"
    if home != host:
        raise ConfigError(
            f"the jobs in this database belong to {home}, and this client talks to {host}; {move}"
        )
    if account is not None and owner is not None and owner != account:
        raise ConfigError(
            f"the jobs in this database belong to another account at {home}, named by its key or by "
            f"AsyncBFL(account=...); where only the key was renewed, or {move}"
        )


async def _wait_ended(working: asyncio.Task[None], deliverer: Deliverer) -> None:
    await asyncio.wait([working])
    await deliverer.wait_taken_over()


async def _generate(context: procrastinate.JobContext, record: int | None = None) -> None:
    deliverer: Deliverer = context.additional_context[_DELIVERER]
    job = record if record is not None else context.job.id
    assert job is not None
    try:
        state = await deliverer.deliver(job)
    except DeliverLater as later:
        if later.rest_s <= 0:
            raise
        # The place rests, and not the job: another worker may have what this one lacks.
        async with transaction(context.app) as connection:
            await bring_again(context.app, connection, [job], priority=NEXT)
        await deliverer.rest(later.rest_s)
        return
    if state is None:
        _log.warning("job %s has no record: nothing is done for it", job, extra={"bfl_job": job})


class _Again(retry.BaseRetryStrategy):
    """Every job that raised is brought again: one that is at its end returns."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision:
        seconds = _BUG_S
        if isinstance(exception, DeliverLater):
            seconds = exception.seconds
        elif isinstance(exception, asyncio.CancelledError):
            seconds = 0.0
        elif not isinstance(exception, LedgerError):
            _log.error("a job failed by a bug", exc_info=exception, extra={"bfl_job": job.id})
        return retry.RetryDecision(retry_in={"seconds": round(seconds)})


async def _keep(deliverer: Deliverer, heartbeat_s: float) -> None:
    """Prolong what this worker holds."""
    while True:
        with suppress(LedgerError):  # the worker itself ends where the database stays away
            await deliverer.renew()
        await asyncio.sleep(heartbeat_s)


async def _recover_always(app: procrastinate.App, deliverer: Deliverer, heartbeat_s: float) -> None:
    while True:
        steps = (
            deliverer.take_over,
            partial(recover_in_turn, app, deliverer.lease_s, heartbeat_s),
            deliverer.probe_if_polls_are_refused,
        )
        for step in steps:
            try:
                await step()
            except LedgerError as exc:
                # Where the database stays away, the worker itself ends.
                _log.warning("jobs of other workers are not recovered for now: %s", exc)
        await asyncio.sleep(heartbeat_s)


async def _recover(context: procrastinate.JobContext, timestamp: int) -> None:  # noqa: ARG001 - procrastinate's signature
    deliverer: Deliverer = context.additional_context[_DELIVERER]
    await recover(context.app, deliverer.lease_s)


def _body(wanted: ImageRequest) -> str:
    return json.dumps(sent_fields_of(wanted), sort_keys=True)


def _is_same(model: str, fields: str, other_model: str, other_fields: str) -> bool:
    """Return whether two requests are equal, as JSON sees their numbers."""
    if model != other_model or fields == other_fields:
        return model == other_model
    return canonical_json(json.loads(fields)) == canonical_json(json.loads(other_fields))


__all__ = [
    "QUEUE",
    "FileStorage",
    "FolderStorage",
    "JobRecord",
    "Storage",
    "apply_schema",
    "defer",
    "records_of",
    "recover",
    "results",
    "retry_jobs",
    "worker",
]  # fmt: skip
