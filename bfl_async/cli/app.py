"""The commands. Each parses its arguments, runs one coroutine, and prints what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bfl_async import __version__
from bfl_async.cli.files import check_folder, folder_of, read_prompts, result_name

if TYPE_CHECKING:
    from bfl_async import AsyncBFL, TaskHandle
    from bfl_async.result import Result

DEFAULT_MODEL = "flux-pro-1.1"
_SANDBOX_SPEED = 10.0
_FORMATS = {".png": "png", ".webp": "webp"}  # what a file's suffix asks for; jpeg is the API's default

EXIT_FAILED, EXIT_USAGE, EXIT_PARTIAL, EXIT_ACCOUNT, EXIT_MODERATED = 1, 2, 3, 4, 5
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


def invoke(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    # The library warns of tasks that go on when a client closes; here a line of the command's own says so.
    logging.getLogger("bfl_async").addHandler(logging.NullHandler())
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = lambda message, *_: say(f"warning: {message}")
            code = cli.main(list(argv), prog_name="bfl-async", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to say, also not at the interpreter's end.
        _discard_stdout()
        return EXIT_FAILED
    except OSError as exc:
        _discard_stdout()
        say(f"error: cannot write the output: {exc.strerror or type(exc).__name__}")
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


def _discard_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Write one line to stderr."""
    click.echo(" ".join(text.split()), err=True)


def run_command(work: Callable[[], Coroutine[object, object, int]]) -> int:
    """Run a coroutine; turn its error into one line and an exit code."""
    from bfl_async.errors import BFLError

    try:
        return asyncio.run(_until_terminated(work()))
    except BFLError as exc:
        say(f"error: {exc}")
        return exit_code_of(exc)


async def _until_terminated(work: Coroutine[object, object, int]) -> int:
    """Run the work; SIGTERM ends it as Ctrl-C does, so that what goes on is named."""
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        this.cancel()

    with contextlib.suppress(NotImplementedError):  # no such signals there
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if not terminated:
            raise
        say("terminated")
        return EXIT_TERMINATED
    finally:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGTERM)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of an error."""
    from bfl_async import errors

    if isinstance(error, errors.ConfigError | errors.InvalidRequestError):
        return EXIT_USAGE
    if isinstance(error, errors.AuthenticationError | errors.InsufficientCreditsError):
        return EXIT_ACCOUNT
    if isinstance(error, errors.TaskModeratedError):
        return EXIT_MODERATED
    return EXIT_FAILED


async def open_client(stack: AsyncExitStack, *, sandbox: bool, limit: int | None = None) -> AsyncBFL:
    """Open a client, against an embedded sandbox if asked for."""
    from bfl_async import AsyncBFL

    account = limit if limit is not None else 12
    if not sandbox:
        return await stack.enter_async_context(AsyncBFL(limits=account))
    from bfl_async.sandbox import Sandbox

    server = await stack.enter_async_context(Sandbox(limit=account, speed=_SANDBOX_SPEED))
    return await stack.enter_async_context(AsyncBFL(server.key, base_url=server.url, limits=account))


sandbox_option = click.option(
    "--sandbox", is_flag=True, help="Use an embedded fake server for this run: no key, no cost."
)
model_option = click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, metavar="MODEL")


def field_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that are fields of a request."""
    for option in (
        click.option("--width", type=int, help="px"),
        click.option("--height", type=int, help="px"),
        click.option("--seed", type=int),
        click.option("--steps", type=int),
        click.option("--guidance", type=float),
        click.option("--safety-tolerance", type=int, help="0 is the strictest"),
        click.option("--output-format", type=click.Choice(["jpeg", "png", "webp"])),
    ):
        command = option(command)
    return command


def given(fields: dict[str, object]) -> dict[str, object]:
    """The fields that were asked for: what is left out is not sent."""
    return {name: value for name, value in fields.items() if value is not None}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bfl-async")
def cli() -> None:
    """Generate images with the Black Forest Labs FLUX API.

    The key is read from BFL_API_KEY, the host from BFL_BASE_URL. With --sandbox neither is needed.

    Exit codes: 0 done, 1 failed, 2 wrong usage or invalid request, 3 a part of a batch failed, 4 the key or the
    credits, 5 moderated, 130 and 143 interrupted.
    """


@cli.command()
@click.argument("prompt")
@model_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder to write to.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name.")
@field_options
@sandbox_option
def generate(
    prompt: str,
    model: str,
    output: Path | None,
    timeout: float | None,
    as_json: bool,
    sandbox: bool,
    **fields: object,
) -> int:
    """Generate one image and save it.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async generate "a cat" -m flux-2-pro --width 1024 --height 1024 --json
    """

    async def work() -> int:
        from bfl_async.models import request

        if output is not None and fields["output_format"] is None:
            fields["output_format"] = _FORMATS.get(output.suffix.lower())
        wanted = request(model, prompt=prompt, **given(fields))
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
            await save_and_print(result, output, as_json=as_json, prompt=prompt)
        return 0

    return run_command(work)


@cli.command()
@click.argument("file", metavar="FILE|-")
@model_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
              help="Folder for the images.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Active tasks at a time.  [default: 12]")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for each image."
)
@field_options
@sandbox_option
def batch(
    file: str,
    model: str,
    output: Path,
    limit: int | None,
    timeout: float | None,
    sandbox: bool,
    **fields: object,
) -> int:
    """Generate an image for each line of FILE (- is standard input).

    Prints a JSON line for each outcome to stdout, and the progress to stderr.

    \b
    Examples:
      bfl-async batch prompts.txt -o out
      grep cat prompts.txt | bfl-async batch - -m flux-dev --seed 1 -o cats
    """

    async def work() -> int:
        from bfl_async.cli.run_batch import run_batch
        from bfl_async.models import request

        request(model, prompt="", **given(fields))  # the options are checked before anything is read or paid
        prompts = read_prompts(file)
        check_folder(output)
        async with AsyncExitStack() as stack:
            left = name_what_is_left(stack, sandbox=sandbox)
            bfl = await open_client(stack, sandbox=sandbox, limit=limit)
            return await run_batch(
                bfl,
                prompts,
                output,
                lambda prompt: request(model, prompt=prompt, **given(fields)),
                left,
                timeout=timeout,
            )

    return run_command(work)


@cli.command("result")
@click.argument("task_id")
@click.option("--polling-url", help="As it was printed; without it the base URL's own is asked.")
@click.option("-m", "--model", default=None, metavar="MODEL")
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
      bfl-async result TASK_ID --polling-url https://api.eu4.bfl.ai/v1/get_result?id=TASK_ID -o cat.jpg
    """

    async def work() -> int:
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
    """Print the account's balance in credits (1 credit = 0.01 USD).

    \b
    Examples:
      bfl-async credits
      bfl-async credits --json
    """

    async def work() -> int:
        async with AsyncExitStack() as stack:
            bfl = await open_client(stack, sandbox=sandbox)
            balance = await bfl.credits()
        click.echo(json.dumps({"credits": balance}) if as_json else f"{balance:g}")
        return 0

    return run_command(work)


@cli.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0: a free one.", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=12, show_default=True, help="Active tasks.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="Service times are divided by it.")  # fmt: skip
def sandbox_command(port: int, limit: int, speed: float) -> int:
    """Run the fake server until Ctrl-C, and print the variables that point at it.

    \b
    Examples:
      bfl-async sandbox --port 8080 --speed 10
      bfl-async sandbox > sandbox.env &   # then: set -a; . ./sandbox.env
    """

    async def work() -> int:
        from bfl_async.sandbox import Sandbox

        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            async with Sandbox(port=port, limit=limit, speed=speed) as server:
                click.echo(f"BFL_BASE_URL={server.url}\nBFL_API_KEY={server.key}")
                sys.stdout.flush()
                say(f"the sandbox listens on {server.url}; stop it with Ctrl-C")
                await stopped.wait()
        except OSError as exc:
            say(f"error: cannot listen on port {port}: {exc.strerror}; choose another with --port")
            return EXIT_FAILED
        return 0

    return run_command(work)


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
        click.echo(str(path))
        return
    shown = {
        "file": str(path),
        "task_id": result.task_id,
        "model": result.model,
        "prompt": prompt if prompt is not None else result.prompt,
        "seed": result.seed,
        "cost": result.cost,
        "duration": result.duration,
    }
    click.echo(json.dumps(shown, ensure_ascii=False))


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


def say_how_to_attach(task_id: str, polling_url: str | None, model: str | None) -> None:
    """Say how a task that goes on is brought home."""
    from shlex import quote

    url = f" --polling-url {quote(polling_url)}" if polling_url else ""
    name = f" -m {quote(model)}" if model else ""
    say(f"paid and not saved; fetch it with: bfl-async result {quote(task_id)}{name}{url}")
