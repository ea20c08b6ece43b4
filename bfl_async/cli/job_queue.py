"""The work of `enqueue`, `worker` and `jobs` over one database. Importing it needs the extra `procrastinate`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import procrastinate
import psycopg

from bfl_async.batch.requests import Given, key_of
from bfl_async.cli.inputs import Inputs
from bfl_async.cli.limit_option import Limit
from bfl_async.cli.opening import open_client
from bfl_async.cli.output import print_json, print_line, say
from bfl_async.cli.threads import in_thread
from bfl_async.cli.words import counted, them
from bfl_async.errors import LedgerError
from bfl_async.jobs.database import check_dsn, shown_problem
from bfl_async.jobs.procrastinate import (
    FolderStorage,
    apply_schema,
    defer,
    records_of,
    results,
    retry_jobs,
    worker,
)
from bfl_async.jobs.records import JobRecord
from bfl_async.runtime.files import Digests
from bfl_async.runtime.text import printable
from bfl_async.types.entries import EntryState

_CHUNK = 500
_ERRORS_SHOWN = 10
_CONNECT_S = 10


class JobQueue:
    """The jobs of one database.

    Args:
        dsn: Where it is.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def put_rows(self, rows: Inputs, run: str) -> int:
        """Put a job into the database for each row; return the exit code."""
        seen: dict[int, int] = {}
        digests = Digests()
        chunk: list[Given] = []
        done = 0
        async with self._open() as app:

            async def put() -> int:
                # In a thread: files that rows name are read.
                ids = await in_thread(lambda: [f"{run}/{key_of(given, seen, digests)}" for given in chunk])
                requests = [given[1] if isinstance(given, tuple) else given for given in chunk]
                for index, job in enumerate(await defer(app, requests, ids=ids), done):
                    print_json({"index": index, "job": job})
                chunk.clear()
                return len(ids)

            async for given in _each(rows.read()):
                chunk.append(given)
                if len(chunk) >= _CHUNK:
                    done += await put()
            done += await put()
            sys.stdout.flush()
        say(
            f"{counted(done, 'job')} in the database; `bfl-async worker` generates {them(done)}, `bfl-async jobs` "
            f"shows {them(done)}"
        )
        return 0

    async def work(
        self,
        output: Path,
        *,
        limit: Limit,
        redis: str | None,
        concurrency: int | None,
        heartbeat_s: float,
        listen: bool,
    ) -> int:
        """Work on jobs until a signal; return the exit code."""
        async with self._open() as app, AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=False, limit=limit, redis=redis)
            slots = f"{limit} slots" if limit != "discover" else "as many slots as the account has"
            say(f"working with {slots} into {str(output)!r}; Ctrl-C stops it")
            await worker(
                app,
                bfl,
                storage=FolderStorage(output),
                concurrency=concurrency,
                heartbeat_s=heartbeat_s,
                listen=listen,
            )
        return 0

    async def show(self, ids: Sequence[int], *, retry: str | None, as_json: bool) -> int:
        """Print jobs, or how many are in each state, or send some again; return the exit code."""
        async with self._open() as app:
            if retry is not None:
                again = await retry_jobs(app, EntryState(retry), ids or None)
                say(f"{counted(len(again), 'job')} will be sent again")
                return 0
            if ids:
                for record in await results(app, ids):
                    print_json(_facts(record))
                return 0
            counts = await records_of(app).counts()
            bad = (EntryState.AMBIGUOUS, EntryState.FAILED, EntryState.MODERATED)
            errors = await records_of(app).list(bad, _ERRORS_SHOWN)
        shown = {state.value: counts.get(state, (0, 0.0))[0] for state in EntryState if state != "ready"}
        credits_spent = sum(cost for _, cost in counts.values())
        if as_json:
            print_json(
                {
                    "counts": shown,
                    "credits_spent": credits_spent,
                    "errors": [_facts(each) for each in errors],
                }
            )
            return 0
        parts = ", ".join(f"{count} {state}" for state, count in shown.items() if count)
        print_line(
            f"{counted(sum(shown.values()), 'job')}: {parts or 'none'}; {counted(credits_spent, 'credit')}"
        )
        for each in errors:
            print_line(f"  {each.state.value} {each.id}: {printable(each.error or '')}")
        return 0

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[procrastinate.App]:
        """Open the database, and make its tables where they are missing."""
        check_dsn(self._dsn)
        try:
            # Once by hand: a pool would try again and again, and say it each time.
            await (await psycopg.AsyncConnection.connect(self._dsn, connect_timeout=_CONNECT_S)).close()
        except psycopg.Error as exc:
            raise LedgerError(f"the database cannot be used: {shown_problem(exc)}") from exc
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self._dsn))
        async with app.open_async():
            await apply_schema(app)
            yield app


async def _each(rows: Iterator[Given] | AsyncIterator[Given]) -> AsyncIterator[Given]:
    if isinstance(rows, AsyncIterable):
        async for one in rows:
            yield one
    else:
        for one in rows:
            yield one


def _facts(record: JobRecord) -> dict[str, object]:
    moments = {
        name: None if at is None else at.isoformat()
        for name, at in (
            ("created_at", record.created_at),
            ("submitted_at", record.submitted_at),
            ("ended_at", record.ended_at),
        )
    }
    return {
        "job": record.id,
        "id": record.name,
        "state": record.state.value,
        "model": record.model,
        "prompt": record.fields.get("prompt"),
        "task_id": record.task_id,
        "cost": record.cost,
        "cost_before": record.cost_before,
        "file": record.file,
        "sha256": record.sha256,
        "error": record.error,
        "worker": record.worker,
        **moments,
    }
