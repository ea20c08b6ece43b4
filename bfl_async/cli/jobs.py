"""The commands over jobs in PostgreSQL: `enqueue`, `worker`, `jobs`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bfl_async.cli.fields import row_options
from bfl_async.cli.files import check_folder, is_pipe
from bfl_async.cli.output import print_json, print_line, say
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    import procrastinate

    from bfl_async.batch.requests import Given
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.cli.rows import Rows
    from bfl_async.jobs.records import JobRecord

_CHUNK = 500
_ERRORS_SHOWN = 10
_CONNECT_S = 10

_dsn_option = click.option(
    "--dsn", envvar="BFL_DATABASE_URL", metavar="URL",
    help="PostgreSQL, as postgresql://user@host/database.  [default: BFL_DATABASE_URL]",
)  # fmt: skip


@asynccontextmanager
async def _open_app(dsn: str | None) -> AsyncIterator[procrastinate.App]:
    """Open the database, and make its tables where they are missing."""
    if not dsn:
        raise click.UsageError("which database? set BFL_DATABASE_URL or give --dsn")
    try:
        from bfl_async.jobs.database import check_dsn, shown_problem
        from bfl_async.jobs.procrastinate import apply_schema
    except ImportError as exc:
        raise click.UsageError(str(exc)) from exc
    import procrastinate
    import psycopg

    from bfl_async.errors import LedgerError

    check_dsn(dsn)
    try:
        # Once by hand: a pool would try again and again, and say it each time.
        await (await psycopg.AsyncConnection.connect(dsn, connect_timeout=_CONNECT_S)).close()
    except psycopg.Error as exc:
        raise LedgerError(f"the database cannot be used: {shown_problem(exc)}") from exc
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        await apply_schema(app)
        yield app


@click.command()
@row_options
@_dsn_option
@click.option("--run", default="", metavar="NAME",
              help="Rows of another run are other rows: without it the same rows again add nothing.")  # fmt: skip
def enqueue(rows: Rows, dsn: str | None, run: str) -> int:
    """Put a job into the database for each row of a file.

    Workers generate the images. The rows of FILE (- is standard input) are read as `batch` reads them, and files that
    they name are read now. Prints a JSON line with index and job for each. The same command again adds only what is
    not there yet.

    \b
    Examples:
      bfl-async enqueue prompts.txt -m flux-dev
      bfl-async enqueue animals.csv --prompt "{animal} in {style}" --repeat 4 --run monday
    """
    from bfl_async.cli.running import in_thread, run_command

    async def work(_: Interrupts) -> int:
        from bfl_async.batch.requests import key_of
        from bfl_async.jobs.procrastinate import defer
        from bfl_async.runtime.files import Digests

        if not is_pipe(rows.name):
            await in_thread(lambda: sum(1 for _ in rows.check()))
        seen: dict[int, int] = {}
        digests = Digests()
        chunk: list[Given] = []
        done = 0
        async with _open_app(dsn) as app:

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
        say(f"{done} jobs are in the database; `bfl-async worker` works on them, `bfl-async jobs` shows them")
        return 0

    return run_command(work)


async def _each(rows: object) -> AsyncIterator[Given]:
    from collections.abc import AsyncIterable, Iterable

    if isinstance(rows, AsyncIterable):
        async for one in rows:
            yield one
    else:
        assert isinstance(rows, Iterable)
        for one in rows:
            yield one


@click.command("worker")
@_dsn_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the images; one that all machines see, or one each.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=12, show_default=True,
              help="Active tasks of the account: of this machine's workers together, with --redis of all.")  # fmt: skip
@click.option("--redis", envvar="BFL_REDIS_URL", metavar="URL",
              help="Share the limit with workers on other machines.  [env: BFL_REDIS_URL]")  # fmt: skip
@click.option("--jobs", "concurrency", type=click.IntRange(min=1),
              help="Jobs that it holds at a time, those that wait included.  [default: twice the limit]")  # fmt: skip
@click.option("--heartbeat", "heartbeat_s", type=click.FloatRange(min=0.1), default=10.0, show_default=True,
              help="Seconds between signs of life; after three without one its jobs are another's.")  # fmt: skip
@click.option("--no-listen", is_flag=True, help="For PgBouncer in transaction mode: look, do not listen.")
def worker_command(
    dsn: str | None,
    output: Path,
    limit: int,
    redis: str | None,
    concurrency: int | None,
    heartbeat_s: float,
    no_listen: bool,
) -> int:
    """Generate the images of jobs in the database, until a signal.

    As many workers as you like, on many machines. The first Ctrl-C or SIGTERM: what was sent is brought home, the
    rest goes back. The second leaves at once. A worker that is killed loses nothing: another one attaches its tasks.
    Exit code 1: the database is away, start it again.

    \b
    Examples:
      bfl-async worker -o /mnt/images --redis redis://db.internal
      BFL_DATABASE_URL=postgresql://bfl@db/bfl bfl-async worker
    """
    from bfl_async.cli.opening import open_client
    from bfl_async.cli.running import run_command

    async def work(_: Interrupts) -> int:
        check_folder(output)
        async with _open_app(dsn) as app, AsyncExitStack() as stack:
            from bfl_async.jobs.procrastinate import FolderStorage, worker

            bfl = await open_client(stack, sandbox=False, limit=limit, redis=redis)
            say(f"working with {limit} slots into {str(output)!r}; the first signal stops it")
            await worker(
                app,
                bfl,
                storage=FolderStorage(output),
                concurrency=concurrency,
                heartbeat_s=heartbeat_s,
                listen=not no_listen,
            )
        return 0

    return run_command(work)


@click.command()
@click.argument("ids", metavar="[JOB]...", nargs=-1, type=int)
@_dsn_option
@click.option("--retry", "retry", type=click.Choice(["ambiguous", "failed", "moderated"]), metavar="STATE",
              help="Send those again that are ambiguous, failed or moderated (of ambiguous ones some are "
                   "paid twice).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def jobs(ids: Sequence[int], dsn: str | None, retry: str | None, as_json: bool) -> int:
    """Show how many jobs are in each state, and the newest errors.

    Of JOBs that are named, a JSON line each.

    \b
    Examples:
      bfl-async jobs
      bfl-async jobs --retry failed
    """
    from bfl_async.cli.running import run_command

    async def work(_: Interrupts) -> int:
        from bfl_async.types.entries import EntryState

        async with _open_app(dsn) as app:
            from bfl_async.jobs.procrastinate import records_of, results, retry_jobs

            if retry is not None:
                again = await retry_jobs(app, EntryState(retry), ids or None)
                say(f"{len(again)} jobs are sent again")
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
        print_line(f"{sum(shown.values())} jobs: {parts or 'none'}; {credits_spent:g} credits")
        for each in errors:
            print_line(f"  {each.state.value} {each.id}: {printable(each.error or '')}")
        return 0

    return run_command(work)


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
