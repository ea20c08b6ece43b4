"""The commands. Each parses its arguments, runs one coroutine, and prints what came of it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import click.shell_completion

from bfl_async import __version__
from bfl_async.cli.catalog import estimate, models
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.fields import MODEL_NAME, field_options, make_request, model_option, row_options
from bfl_async.cli.files import InputError, check_folder, folder_of, is_pipe, read_prompt, result_name
from bfl_async.cli.jobs import enqueue, jobs, worker_command
from bfl_async.cli.output import (
    discard,
    json_text,
    log_in_words,
    open_missing_streams,
    print_json,
    print_line,
    say,
    say_error,
    wants_color,
)

if TYPE_CHECKING:
    from bfl_async import AsyncBFL, Budget, TaskHandle, Timeouts
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.cli.rows import Rows
    from bfl_async.result import Result
    from bfl_async.types import Limiter

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., object])

_SANDBOX_SPEED = 10.0
_NAME = "bfl-async"
_COMPLETE_VARIABLE = "_BFL_ASYNC_COMPLETE"  # what a shell asks with


def invoke(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    open_missing_streams()
    try:
        with log_in_words(), warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = lambda message, *_: say(f"warning: {message}")
            if instruction := os.environ.get(_COMPLETE_VARIABLE):
                return click.shell_completion.shell_complete(cli, {}, _NAME, _COMPLETE_VARIABLE, instruction)
            # In place of `cli.main`, which has an exit code of its own for a reader that has gone.
            with cli.make_context(_NAME, list(argv), color=wants_color()) as context:
                code = cli.invoke(context)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        say_error(exc)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)
        return ExitCode.READER_GONE
    except OSError as exc:
        discard(sys.stdout)
        say(f"error: cannot write the output: {exc.strerror or type(exc).__name__}")
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def run_command(work: Callable[[Interrupts], Coroutine[object, object, int]]) -> int:
    """Run a coroutine; turn its error, or the signal that ended it, into one line and an exit code."""
    import asyncio

    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.errors import BFLError

    interrupts = Interrupts()
    try:
        code = asyncio.run(interrupts.run(work(interrupts)))
    except BFLError as exc:
        say(f"error: {exc}")
        return exit_code_of(exc)
    except asyncio.CancelledError:
        if interrupts.exit_code is None:
            raise
        code = ExitCode.FAILED
    if interrupts.exit_code is None:
        return code
    if interrupts.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        say(interrupts.exit_code.name.lower())
    return interrupts.exit_code


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do what blocks in a thread of its own, which a signal leaves behind."""
    import anyio
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


async def in_thread_until_stopped(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Do work that blocks in a thread; a signal makes the function that it is given return True, which ends it."""
    import threading

    stopped = threading.Event()
    try:
        return await in_thread(lambda: work(stopped.is_set))
    finally:
        stopped.set()


async def open_client(
    stack: AsyncExitStack,
    *,
    sandbox: bool,
    limit: int | None = None,
    timeouts: Timeouts | None = None,
    budget: Budget | None = None,
    submits: bool = True,
    redis: str | None = None,
) -> AsyncBFL:
    """Open a client, against an embedded sandbox if asked for.

    Args:
        limit: Active tasks of the account; None: what those who share it were told, else 12.
        submits: Slots are needed; they are shared with all other runs of this user.
        redis: A Redis server through which slots are shared between machines instead.
    """
    from bfl_async import Adaptive, AsyncBFL, LimiterError

    account = limit if limit is not None else 12
    if sandbox:
        from bfl_async.sandbox import Sandbox

        server = await stack.enter_async_context(Sandbox(limit=account, speed=_SANDBOX_SPEED))
        return await stack.enter_async_context(
            AsyncBFL(server.key, base_url=server.url, limits=account, timeouts=timeouts, budget=budget)
        )
    from bfl_async._config import resolve_base_url
    from bfl_async.cli.cache import load_timings, save_timings

    base_url = resolve_base_url(None, allow_http=False)

    async def enter(limiter: Limiter | None) -> AsyncBFL:
        polling = Adaptive(timings=load_timings(base_url))
        return await stack.enter_async_context(
            AsyncBFL(limits=account, limiter=limiter, polling=polling, timeouts=timeouts, budget=budget)
        )

    bfl: AsyncBFL | None = None
    if redis is not None:
        from bfl_async.limiter import RedisLimiter

        bfl = await enter(await stack.enter_async_context(RedisLimiter(redis, limits=limit)))
    elif submits:
        from bfl_async.limiter import FileLimiter

        limiter = await stack.enter_async_context(FileLimiter(limits=limit))
        try:
            bfl = await enter(limiter)
        except LimiterError as exc:
            say(f"warning: other runs on this machine cannot be seen, and may take the same slots: {exc}")
    opened = bfl if bfl is not None else await enter(None)

    def keep_timings() -> None:
        if opened.statistics().ready:
            save_timings(base_url, opened.timings())

    stack.callback(keep_timings)
    return opened


def sandbox_option(command: _Command) -> _Command:
    """Add the option for an embedded server."""
    return click.option(
        "--sandbox", is_flag=True, help="Use an embedded fake server for this run: no key, no cost."
    )(command)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {code.meaning}" for code in ExitCode),
)
@click.version_option(__version__, prog_name=_NAME)
def cli() -> None:
    """Generate images with the Black Forest Labs FLUX API.

    The key is read from BFL_API_KEY, the host from BFL_BASE_URL. With --sandbox neither is needed.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async batch prompts.txt -m flux-dev -o out
    """


@cli.command()
@click.argument("prompt", required=False)
@model_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write to.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name.")
@field_options
@sandbox_option
def generate(
    prompt: str | None,
    model: str,
    output: Path | None,
    timeout: float | None,
    as_json: bool,
    sandbox: bool,
    set_fields: Sequence[str],
    fields: Mapping[str, object],
) -> int:
    """Generate one image or video and save it.

    A PROMPT of - is read from standard input.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async generate "make it night" -m flux-2-pro --set input_image=cat.jpg --json
    """

    async def work(_: Interrupts) -> int:
        asked = read_prompt() if prompt == "-" else prompt
        wanted = make_request(model, asked, set_fields, fields, output=output)
        check_folder(folder_of(output))
        async with AsyncExitStack() as stack:
            left = name_what_is_left(stack, sandbox=sandbox)
            bfl = await open_client(stack, sandbox=sandbox)
            handle = bfl.submit_nowait(wanted)
            try:
                result = await handle.result(timeout=timeout)
            except BaseException:
                if not handle.done():
                    left.append(handle)
                raise
            await save_and_print(result, output, as_json=as_json, prompt=asked)
        return 0

    return run_command(work)


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
        from bfl_async._naming import DEFAULT_TEMPLATE, NameTemplate
        from bfl_async.batch import reserved_names
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
        from bfl_async.types import EntryState

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
                    lambda is_stopped: make_plan(rows, where, options, is_stopped, opened._spent, output)
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
        from bfl_async.types import EntryState

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


@cli.command("result")
@click.argument("task_id")
@click.option("--polling-url", help="As it was printed; without it the base URL's own is asked.")
@click.option("-m", "--model", default=None, type=MODEL_NAME, metavar="MODEL")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write to.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name.")
@sandbox_option
def result_command(
    task_id: str,
    polling_url: str | None,
    model: str | None,
    output: Path | None,
    timeout: float | None,
    as_json: bool,
    sandbox: bool,
) -> int:
    """Wait for a task that was submitted before, and save its image.

    \b
    Examples:
      bfl-async result 4ca5b657-4b04-4afc-9c4b-7445c578d324
      bfl-async result TASK_ID --polling-url https://api.bfl.ai/v1/get_result?id=TASK_ID -o cat.jpg
    """

    async def work(_: Interrupts) -> int:
        check_folder(folder_of(output))
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox)
            found = await bfl.attach(task_id, polling_url=polling_url, model=model).result(timeout=timeout)
            await save_and_print(found, output, as_json=as_json, prompt=None)
        return 0

    return run_command(work)


@cli.command("credits")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@sandbox_option
def credits_command(as_json: bool, sandbox: bool) -> int:
    """Print the account's balance.

    It is in credits: 1 credit = 0.01 USD.

    \b
    Examples:
      bfl-async credits
      bfl-async credits --json
    """

    async def work(_: Interrupts) -> int:
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox, submits=False)
            balance = await bfl.credits()
        if as_json:
            print_json({"credits": balance})
        else:
            print_line(f"{balance:g}")
        return 0

    return run_command(work)


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


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@sandbox_option
def doctor(as_json: bool, sandbox: bool) -> int:
    """Check what generating needs, and say what to do.

    Looks at key, host, clock, proxy, credits, folders, versions and extras: a line each, `ok`, `warn` or `FAIL`.
    Exit code 0 unless one FAILs: 4 for key and credits alone, else 1. What --json prints has all versions, for a bug
    report, and of the key its last four characters.

    \b
    Examples:
      bfl-async doctor
      bfl-async doctor --json
    """
    import asyncio

    from bfl_async.cli.doctor import examine

    return asyncio.run(examine(as_json=as_json, sandbox=sandbox))


@cli.group("finetunes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@sandbox_option
@click.pass_context
def finetunes(context: click.Context, as_json: bool, sandbox: bool) -> int | None:
    """List the account's finetunes, show or delete one.

    \b
    Examples:
      bfl-async finetunes
      bfl-async finetunes show my-style
    """
    if context.invoked_subcommand is not None:
        return None

    async def work(_: Interrupts) -> int:
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox, submits=False)
            for found in await bfl.finetunes():
                if as_json:
                    print_json({"finetune_id": found.finetune_id, "details": found.details})
                else:
                    print_line(found.finetune_id)
        return 0

    return run_command(work)


@finetunes.command("show")
@click.argument("finetune_id", metavar="ID")
@sandbox_option
def show_finetune(finetune_id: str, sandbox: bool) -> int:
    """Print what is known of one finetune, as JSON.

    \b
    Examples:
      bfl-async finetunes show my-style
      bfl-async finetunes show my-style | jq .trigger_word
    """

    async def work(_: Interrupts) -> int:
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox, submits=False)
            found = await bfl.finetune_details(finetune_id)
        # The server's own object, under no schema.
        print_line(json_text(found.details))
        return 0

    return run_command(work)


@finetunes.command("delete")
@click.argument("finetune_id", metavar="ID")
@click.confirmation_option(prompt="Delete this finetune for good?", help="Do not ask.")
@sandbox_option
def delete_finetune(finetune_id: str, sandbox: bool) -> int:
    """Delete one finetune.

    It cannot be brought back.

    \b
    Examples:
      bfl-async finetunes delete my-style
      bfl-async finetunes delete my-style --yes
    """

    async def work(_: Interrupts) -> int:
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox, submits=False)
            deleted = await bfl.delete_finetune(finetune_id)
        say(deleted.message)
        return 0

    return run_command(work)


@cli.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0: a free one.", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=12, show_default=True, help="Active tasks.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="Service times are divided by it.")  # fmt: skip
def sandbox_command(port: int, limit: int, speed: float) -> int:
    """Run the fake server until Ctrl-C.

    Prints the variables that point at it.

    \b
    Examples:
      bfl-async sandbox --port 8080 --speed 10
      bfl-async sandbox > sandbox.env &   # then: set -a; . ./sandbox.env
    """

    async def work(interrupts: Interrupts) -> int:
        import asyncio

        from bfl_async.sandbox import Sandbox

        stopped = asyncio.Event()
        try:
            with interrupts.stopping_with(stopped.set, is_regular=True):
                async with Sandbox(port=port, limit=limit, speed=speed) as server:
                    print_line(f"BFL_BASE_URL={server.url}")
                    print_line(f"BFL_API_KEY={server.key}")
                    sys.stdout.flush()
                    say(f"the sandbox listens on {server.url}; stop it with Ctrl-C")
                    say(f"watch it, and turn its fault dials: {server.url}/sandbox")
                    await stopped.wait()
        except OSError as exc:
            say(f"error: cannot listen on port {port}: {exc.strerror}; choose another with --port")
            return ExitCode.FAILED
        return 0

    return run_command(work)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the script that completes this command in a shell.

    It completes commands, options, choices, names of models and files. It is asked each time, so that it knows the
    models of the release that is installed.

    \b
    Examples:
      source <(bfl-async completion bash)   # in ~/.bashrc; the same for zsh, after compinit
      bfl-async completion fish > ~/.config/fish/completions/bfl-async.fish
    """
    script = click.shell_completion.get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, _NAME, _COMPLETE_VARIABLE).source())
    return 0


cli.add_command(models)
cli.add_command(worker_command)
cli.add_command(enqueue)
cli.add_command(jobs)
cli.add_command(estimate)


async def save_and_print(result: Result, output: Path | None, *, as_json: bool, prompt: str | None) -> None:
    """Save a result, and print its file's name or a JSON object."""
    target = output if output is not None else Path()
    if target.is_dir():
        target /= result_name(result.model, result.task_id)
    try:
        path = await result.save(target)
    except BaseException:
        # The image is paid and stays on the server for minutes: name what brings it home.
        say_how_to_attach(result.task_id, result.polling_url, result.model)
        raise
    if not as_json:
        print_line(str(path))
        return
    print_json(
        {
            "file": str(path),
            "task_id": result.task_id,
            "model": result.model,
            "prompt": prompt if prompt is not None else result.prompt,
            "seed": result.seed,
            "cost": result.cost,
            "duration": result.duration,
        }
    )


def name_what_is_left(stack: AsyncExitStack, *, sandbox: bool) -> list[TaskHandle | Result]:
    """Return a list for tasks that go on and results that were not saved; each is named once the client has closed.

    Pushed before the client: closing it lets submits on their way end, and these are named as well.
    """
    left: list[TaskHandle | Result] = []

    def say_them() -> None:
        for each in left:
            if each.task_id is not None:
                say_how_to_attach(each.task_id, each.polling_url, each.model)

    if not sandbox:  # an embedded server ends with this run, and its tasks with it
        stack.callback(say_them)
    return left


def say_how_to_attach(task_id: str, polling_url: str | None, model: str | None, *, done: bool = True) -> None:
    """Say how a task that goes on is brought home; `done`: this command waits for it no longer."""
    from shlex import quote

    what = "paid and not saved; fetch it with" if done else "running; if this is killed, fetch it with"
    url = f" --polling-url {quote(polling_url)}" if polling_url else ""
    name = f" -m {quote(model)}" if model else ""
    say(f"{what}: bfl-async result {quote(task_id)}{name}{url}")
