"""`batch`, `drop`, `status` and `gallery`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from bfl_async.cli.exit_codes import exit_code_of
from bfl_async.cli.host_options import host_options
from bfl_async.cli.limit_option import LIMIT
from bfl_async.cli.opening import sandbox_option
from bfl_async.cli.output import print_line, say
from bfl_async.cli.root import cli
from bfl_async.cli.row_options import row_options
from bfl_async.cli.running import run_command
from bfl_async.errors import BFLError

if TYPE_CHECKING:
    from bfl_async.cli.inputs import Inputs
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.cli.limit_option import Limit


class BatchArguments(TypedDict):
    """What click passes to `batch`: the options by name, each in the type that its declaration makes."""

    rows: Inputs
    output: Path
    ledger: Path | None
    name: str | None
    limit: Limit | None
    retry_ambiguous: bool
    retry_failed: bool
    retry_moderated: bool
    retry_missing: bool
    and_earlier: bool
    dry_run: bool
    max_cost: float | None
    budget: float | None
    timeout: float | None
    as_json: bool
    quiet: bool
    sandbox: bool


@cli.command()
@row_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the images, the manifest and the ledger.")  # fmt: skip
@click.option("--ledger", type=click.Path(path_type=Path), help="The run's record.  [default: OUTPUT/run.db]")
@click.option("--name", "name", metavar="TEMPLATE",
              help="The images' names, of index slug model seed task_id key ext.  "
              "[default: {index:05}-{slug}.{ext}]")  # fmt: skip
@click.option("--limit", type=LIMIT, metavar="N|discover",
              help="Active tasks at a time, or `discover` to find out how many the account may have.  "
              "[default: 12]")  # fmt: skip
@click.option(
    "--retry-ambiguous", is_flag=True, help="Send again what may have been made; some may be paid twice."
)
@click.option("--retry-failed", is_flag=True, help="Send failed ones again.")
@click.option("--retry-moderated", is_flag=True, help="Send moderated ones again.")
@click.option("--retry-missing", is_flag=True,
              help="Make images again whose files are gone, and pay for them again.")  # fmt: skip
@click.option("--and-earlier", is_flag=True,
              help="Send also what an earlier input left in the ledger and this one does not ask for.")  # fmt: skip
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the input, print what would be sent, its cost and time; send nothing.",
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD",
              help="Ask first, or stop, if the run may cost more.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="USD",
              help="Stop before this run spends more; the rest stays for the next run.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True),
              help="Seconds to follow each task.  [default: 600]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON lines on a terminal as well; elsewhere they are the default.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress: only JSON lines and problems.")
@host_options
@sandbox_option
def batch(**options: Unpack[BatchArguments]) -> int:
    """Generate an image for each row of files.

    A file is text with one prompt per line, JSON, JSON lines, CSV or TSV; a folder stands for such files in it, and -
    is standard input. In text, lines that begin with # are comments, and --paragraphs makes one prompt of the lines
    between blank ones. --dry-run shows how the files are read.

    All rows are kept in a ledger: the same command again resumes, pays for nothing twice, and does nothing for what is
    done. Rows that are equal are as many images.

    A terminal shows the progress and the names of the files. Elsewhere, and with --json, stdout has a JSON line per
    outcome and a summary as the last; the progress goes to stderr. Ctrl-C, SIGTERM, or a closed stdout stops it:
    nothing more is sent, and what runs is fetched and saved. Another signal leaves at once.

    \b
    Examples:
      bfl-async batch prompts.txt -o out
      bfl-async batch animals.csv --prompt "{animal} in {style}" --repeat 4 --seed 1 -o out
      bfl-async batch stories.txt prompts/ --paragraphs -o stories
      bfl-async batch prompts.tsv --column prompt=Caption -m flux-dev --dry-run
      grep cat prompts.txt | bfl-async batch - -m flux-dev -o cats
    """

    async def work(interrupts: Interrupts) -> int:
        # Imported under the handlers of signals: it takes a while.
        from bfl_async.cli import batch_command

        given = batch_command.BatchOptions(**options)
        return await batch_command.generate_rows(given, interrupts)

    return run_command(work)


@cli.command()
@click.argument("run", metavar="LEDGER", type=click.Path(path_type=Path))
@click.option("--queued", is_flag=True, help="Those that were not sent yet.")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--moderated", is_flag=True, help="Those that moderation refused.")
@click.option("--ambiguous", is_flag=True, help="Those whose answer was lost: they may have been made.")
@click.option("--index", "indexes", multiple=True, type=click.IntRange(min=0), metavar="N",
              help="The entry with this number, as `batch` prints it; may be repeated.")  # fmt: skip
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
    from bfl_async.cli import drop_entries, show_status

    wanted = {"queued": queued, "failed": failed, "moderated": moderated, "ambiguous": ambiguous}
    path = show_status.existing_ledger(run)
    return run_command(lambda _: drop_entries.drop_entries(path, wanted, indexes))


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
@click.option("--ledger", type=click.Path(path_type=Path), help="The run's record.  [default: FOLDER/run.db]")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
def gallery(folder: Path, output: Path | None, ledger: Path | None, is_opened: bool) -> int:
    """Write one HTML page that shows a folder of images.

    It shows what the folder's manifest.jsonl lists, and from the run's record the rows that were moderated or failed,
    the fields of every row, and what the run has cost. Search, filter, see all details, copy them, and compare two.

    \b
    Examples:
      bfl-async gallery out
      bfl-async gallery out -o shown.html
    """
    from bfl_async.cli.gallery import write_gallery

    page = write_gallery(folder, output, ledger)
    print_line(str(page))
    # Absolute, so that no name is taken for an option.
    if is_opened and click.launch(str(page.absolute())):
        say(f"warning: no browser could be started for {str(page)!r}")
    return 0
