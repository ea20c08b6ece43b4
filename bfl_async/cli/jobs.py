"""The commands over jobs in PostgreSQL: `enqueue`, `worker`, `jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bfl_async.cli.files import check_folder
from bfl_async.cli.host_options import host_options
from bfl_async.cli.limit_option import LIMIT, Limit
from bfl_async.cli.row_options import row_options
from bfl_async.cli.running import run_command

if TYPE_CHECKING:
    from bfl_async.cli.inputs import Inputs
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.cli.job_queue import JobQueue

_dsn_option = click.option(
    "--dsn", envvar="BFL_DATABASE_URL", metavar="URL",
    help="PostgreSQL, as postgresql://user@host/database.  [default: BFL_DATABASE_URL]",
)  # fmt: skip


def _open_queue(dsn: str | None) -> JobQueue:
    """Return the jobs of a database.

    Raises:
        click.UsageError: None is named, or the extra is not installed.
    """
    if not dsn:
        raise click.UsageError("no database: set BFL_DATABASE_URL or add --dsn")
    try:
        from bfl_async.cli.job_queue import JobQueue
    except ImportError as exc:
        raise click.UsageError(str(exc)) from exc
    return JobQueue(dsn)


@click.command()
@row_options
@_dsn_option
@click.option("--run", default="", metavar="NAME",
              help="Rows of another run are other rows: without it the same rows again add nothing.")  # fmt: skip
def enqueue(rows: Inputs, dsn: str | None, run: str) -> int:
    """Put a job into the database for each row of its input.

    Workers generate the images. Rows are read as `batch` reads them, and files that they name are read now. Prints a
    JSON line with index and job for each. The same command again adds only what is not there yet.

    \b
    Examples:
      bfl-async enqueue prompts.txt -m flux-dev
      bfl-async enqueue animals.csv --prompt "{animal} in {style}" --repeat 4 --run monday
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli.threads import in_thread

        if not rows.is_pipe:
            await in_thread(lambda: sum(1 for _ in rows.check()))
        return await _open_queue(dsn).put_rows(rows, run)

    return run_command(work)


@click.command("worker")
@_dsn_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the images; one that all machines see, or one each.")  # fmt: skip
@click.option("--limit", type=LIMIT, metavar="N|discover", default=12, show_default=True,
              help="Active tasks of the account, or `discover` to find it out: of this machine's workers together, "
              "with --redis of all.")  # fmt: skip
@click.option("--redis", envvar="BFL_REDIS_URL", metavar="URL",
              help="Share the limit with workers on other machines.  [env: BFL_REDIS_URL]")  # fmt: skip
@click.option("--jobs", "concurrency", type=click.IntRange(min=1),
              help="Most jobs that it holds at a time, waiting ones included.  [default: twice the limit]")  # fmt: skip
@click.option("--heartbeat", "heartbeat_s", type=click.FloatRange(min=0.1), default=10.0, show_default=True,
              help="Seconds between heartbeats; after three missed ones other workers take over its jobs.")  # fmt: skip
@click.option(
    "--no-listen",
    is_flag=True,
    help="Poll the database instead of listening; PgBouncer in transaction mode needs that.",
)
@host_options
def worker_command(
    dsn: str | None,
    output: Path,
    limit: Limit,
    redis: str | None,
    concurrency: int | None,
    heartbeat_s: float,
    no_listen: bool,
) -> int:
    """Generate the images of jobs in the database, until a signal.

    Run as many workers as you like, on many machines. The first Ctrl-C or SIGTERM finishes what was sent and gives
    the rest back; the second leaves at once. A killed worker loses nothing: another one follows its tasks. Exit code 1
    means that the database is unavailable: start the worker again.

    \b
    Examples:
      bfl-async worker -o /mnt/images --redis redis://db.internal
      BFL_DATABASE_URL=postgresql://bfl@db/bfl bfl-async worker
    """

    async def work(_: Interrupts) -> int:
        check_folder(output)
        return await _open_queue(dsn).work(
            output,
            limit=limit,
            redis=redis,
            concurrency=concurrency,
            heartbeat_s=heartbeat_s,
            listen=not no_listen,
        )

    return run_command(work)


@click.command()
@click.argument("ids", metavar="[JOB]...", nargs=-1, type=int)
@_dsn_option
@click.option("--retry", "retry", type=click.Choice(["ambiguous", "failed", "moderated"]), metavar="STATE",
              help="Send the jobs in this state again; some ambiguous ones may be paid twice.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def jobs(ids: Sequence[int], dsn: str | None, retry: str | None, as_json: bool) -> int:
    """Show how many jobs are in each state, and the newest errors.

    With JOB, print one JSON line for each.

    \b
    Examples:
      bfl-async jobs
      bfl-async jobs --retry failed
    """

    async def work(_: Interrupts) -> int:
        return await _open_queue(dsn).show(ids, retry=retry, as_json=as_json)

    return run_command(work)
