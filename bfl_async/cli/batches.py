"""`batch`, `drop`, `status` and `gallery`."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async.cli.exit_codes import exit_code_of
from bfl_async.cli.fields import row_options
from bfl_async.cli.files import InputError, check_folder, is_pipe
from bfl_async.cli.opening import open_client, sandbox_option
from bfl_async.cli.output import (
    print_line,
    say,
)
from bfl_async.cli.root import cli
from bfl_async.cli.running import in_thread, in_thread_until_stopped, run_command

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.cli.rows import Rows


@cli.command()
@row_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the images, the manifest and the ledger.")  # fmt: skip
@click.option("--ledger", type=click.Path(path_type=Path), help="The run's record.  [default: OUTPUT/run.db]")
@click.option("--name", "name", metavar="TEMPLATE",
              help="The images' names, of index slug model seed task_id key ext.  "
              "[default: {index:05}-{slug}.{ext}]")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Active tasks at a time.  [default: 12]")
@click.option(
    "--retry-ambiguous", is_flag=True, help="Send again what may have been made: some is paid twice."
)
@click.option("--retry-failed", is_flag=True, help="Send failed ones again.")
@click.option("--retry-moderated", is_flag=True, help="Send moderated ones again.")
@click.option("--and-earlier", is_flag=True,
              help="Send also what an earlier input left in the ledger and FILE does not ask for.")  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="Check FILE, print what would be sent, its cost and time; send nothing."
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD",
              help="Ask first, or stop, if all that would be sent may cost more.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="USD",
              help="Stop before this run has spent more; the rest stays for the next.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True),
              help="Seconds to follow each task.  [default: 600]")  # fmt: skip
@sandbox_option
def batch(
    rows: Rows,
    output: Path,
    ledger: Path | None,
    name: str | None,
    limit: int | None,
    retry_ambiguous: bool,
    retry_failed: bool,
    retry_moderated: bool,
    and_earlier: bool,
    dry_run: bool,
    max_cost: float | None,
    budget: float | None,
    timeout: float | None,
    sandbox: bool,
) -> int:
    """Generate an image for each row of a file.

    FILE is text with a prompt a line, JSON, JSON lines, CSV or TSV; - is standard input. All of it is kept in a ledger:
    the same command again resumes, pays for nothing twice, and does nothing for what is done. Rows that are equal
    are as many images.

    Prints a JSON line for each outcome to stdout, a summary as the last, and the progress to stderr. Ctrl-C,
    SIGTERM, or the end of who reads stdout stops it: nothing more is sent, what runs is fetched and saved. Another
    signal leaves at once.

    \b
    Examples:
      bfl-async batch prompts.txt -o out
      bfl-async batch animals.csv --prompt "{animal} in {style}" --repeat 4 --seed 1 -o out
      bfl-async batch prompts.tsv --column prompt=Caption -m flux-dev --dry-run
      grep cat prompts.txt | bfl-async batch - -m flux-dev -o cats
    """

    async def work(interrupts: Interrupts) -> int:
        from bfl_async import Batch, Budget, Timeouts
        from bfl_async.batch.counting import reserved_names
        from bfl_async.batch.naming import DEFAULT_TEMPLATE, NameTemplate
        from bfl_async.cli.run_batch import (
            LedgerPlan,
            PlanOptions,
            check_cost,
            count_in_flight,
            in_words,
            make_plan,
            print_plan,
            run_batch,
            say_what_is_left,
        )
        from bfl_async.cli.show_status import LEDGER_NAME
        from bfl_async.errors import ConfigError
        from bfl_async.types.entries import EntryState

        where = ledger if ledger is not None else output / LEDGER_NAME
        try:
            # Checked before anything is read.
            NameTemplate(
                name if name is not None else DEFAULT_TEMPLATE, reserved=reserved_names(output, where)
            )
        except ConfigError as exc:
            raise InputError(f"--name: {exc}") from exc
        slots = limit if limit is not None else 12
        wanted = {
            EntryState.AMBIGUOUS: retry_ambiguous,
            EntryState.FAILED: retry_failed,
            EntryState.MODERATED: retry_moderated,
        }
        options = PlanOptions(tuple(state for state, is_wanted in wanted.items() if is_wanted), and_earlier)
        caps_usd = [] if budget is None else [budget]
        async with AsyncExitStack() as stack:
            planned = None
            if is_pipe(rows.name):
                if dry_run or max_cost is not None:
                    raise click.UsageError(
                        "--dry-run and --max-cost need a file: a pipe can be read only once"
                    )
                is_beside = False
            else:
                # Where somebody can be asked about the cost, the plan comes first.
                can_ask = max_cost is not None and sys.stdin.isatty()
                is_beside = not (dry_run or can_ask) and await in_thread(lambda: count_in_flight(where)) > 0

            async def check(planned: LedgerPlan) -> None:
                plan = planned.plan
                say_what_is_left(plan)
                if plan.total.count and plan.total.count != plan.new.count:
                    say(in_words(plan, slots))
                if max_cost is not None and await in_thread(lambda: check_cost(plan, max_cost)):
                    # The budget holds the bound also if the file changes from here on.
                    caps_usd.append(max_cost)

            async def plan_beside(opened: Batch) -> LedgerPlan:
                planned = await in_thread_until_stopped(
                    lambda is_stopped: make_plan(
                        rows, where, options, is_stopped, opened._shelf.spent, output
                    )
                )
                await check(planned)
                return planned

            if is_beside:
                caps_usd += [] if max_cost is None else [max_cost]
            elif not is_pipe(rows.name):
                planned = await in_thread_until_stopped(
                    lambda is_stopped: make_plan(rows, where, options, is_stopped, folder=output)
                )
                if dry_run:
                    print_plan(planned.plan, slots, rows.ignored)
                    return 0
                await check(planned)
            check_folder(output)
            timeouts = None if timeout is None else Timeouts(task=timeout)
            cap = Budget(usd=min(caps_usd)) if caps_usd else None
            bfl = await open_client(stack, sandbox=sandbox, limit=limit, timeouts=timeouts, budget=cap)
            run = Batch.open(
                where,
                bfl,
                save_to=output,
                name=name if name is not None else DEFAULT_TEMPLATE,
                retry_ambiguous=retry_ambiguous,
                retry_failed=retry_failed,
                retry_moderated=retry_moderated,
                and_earlier=and_earlier,
            )
            return await run_batch(
                bfl,
                run,
                rows,
                planned=planned,
                plan_beside=plan_beside if is_beside else None,
                interrupts=interrupts,
            )

    return run_command(work)


@cli.command()
@click.argument("run", metavar="LEDGER", type=click.Path(path_type=Path))
@click.option("--queued", is_flag=True, help="Those that were not sent yet.")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--moderated", is_flag=True, help="Those that moderation refused.")
@click.option(
    "--ambiguous", is_flag=True, help="Those that may have been made, and that cannot be looked up."
)
@click.option("--index", "indexes", multiple=True, type=click.IntRange(min=0), metavar="N",
              help="This one, as it is numbered in the output of batch; may be repeated.")  # fmt: skip
def drop(
    run: Path, queued: bool, failed: bool, moderated: bool, ambiguous: bool, indexes: tuple[int, ...]
) -> int:
    """Remove entries from a ledger.

    LEDGER is its file or the folder that holds it. What is removed is forgotten: a later batch that asks for the same
    row sends it. What it has cost stays in `status`. Images that are saved and tasks in flight cannot be removed.

    \b
    Examples:
      bfl-async drop out --queued
      bfl-async drop out/run.db --failed --moderated
    """
    from bfl_async.cli.show_status import ledger_of

    path = ledger_of(run)
    if not path.is_file():
        raise InputError(f"there is no ledger {str(path)!r}")

    async def work(_: Interrupts) -> int:
        from bfl_async.cli.drop_entries import drop_entries
        from bfl_async.types.entries import EntryState

        wanted = {
            EntryState.QUEUED: queued,
            EntryState.FAILED: failed,
            EntryState.MODERATED: moderated,
            EntryState.AMBIGUOUS: ambiguous,
        }
        states = [state for state, is_wanted in wanted.items() if is_wanted]
        if not (states or indexes):
            raise click.UsageError(
                "say what to remove: --queued, --failed, --moderated, --ambiguous or --index N"
            )
        return await drop_entries(path, states, indexes)

    return run_command(work)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path), default=Path("out"))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(run: Path, as_json: bool) -> int:
    """Show how far a batch is, also while it runs in another shell.

    RUN is its output folder or its ledger.

    \b
    Examples:
      bfl-async status out
      watch bfl-async status out
    """
    from bfl_async.cli.show_status import show_status
    from bfl_async.errors import BFLError

    try:
        return show_status(run, as_json=as_json)
    except BFLError as exc:
        say(f"error: {exc}")
        return exit_code_of(exc)


@cli.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page.  [default: FOLDER/gallery.html]"
)
def gallery(folder: Path, output: Path | None) -> int:
    """Write one HTML page that shows a folder of images.

    It tells what the folder's manifest.jsonl knows of them.

    \b
    Examples:
      bfl-async gallery out
      bfl-async gallery out -o shown.html
    """
    from bfl_async.cli.gallery import write_gallery

    print_line(str(write_gallery(folder, output)))
    return 0
