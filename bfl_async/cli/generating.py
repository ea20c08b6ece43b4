"""`generate` and `result`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async.cli.fields import MODEL_NAME, GivenFields, field_options, model_option, no_prompt_option
from bfl_async.cli.host_options import host_options
from bfl_async.cli.opening import sandbox_option
from bfl_async.cli.root import cli
from bfl_async.cli.running import run_command
from bfl_async.cli.target import Target, target_options

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts


@cli.command()
@click.argument("prompt", required=False)
@no_prompt_option
@model_option
@target_options
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name.")
@click.option("-v", "--verbose", is_flag=True, help="Show the task's id while waiting on a terminal.")
@field_options
@host_options
@sandbox_option
def generate(
    prompt: str | None,
    model: str,
    target: Target,
    timeout: float | None,
    as_json: bool,
    verbose: bool,
    sandbox: bool,
    no_prompt: bool,
    fields: GivenFields,
) -> int:
    """Generate one image or video and save it.

    A PROMPT of - is read from standard input.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async generate "make it night" -m flux-2-pro --set input_image=cat.jpg --json
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_generate(
            prompt,
            model,
            fields,
            target,
            timeout=timeout,
            as_json=as_json,
            sandbox=sandbox,
            verbose=verbose,
            no_prompt=no_prompt,
        )

    return run_command(work)


@cli.command("result")
@click.argument("task_id")
@click.option("--polling-url", help="As it was printed; without it the base URL's own is asked.")
@click.option("-m", "--model", default=None, type=MODEL_NAME, metavar="MODEL")
@target_options
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name.")
@click.option("-v", "--verbose", is_flag=True, help="Show the task's id while waiting on a terminal.")
@host_options
@sandbox_option
def result_command(
    task_id: str,
    polling_url: str | None,
    model: str | None,
    target: Target,
    timeout: float | None,
    as_json: bool,
    verbose: bool,
    sandbox: bool,
) -> int:
    """Wait for a task that was submitted before, and save its image.

    \b
    Examples:
      bfl-async result 4ca5b657-4b04-4afc-9c4b-7445c578d324
      bfl-async result TASK_ID --polling-url https://api.bfl.ai/v1/get_result?id=TASK_ID -o cat.jpg
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_result(
            task_id,
            target,
            polling_url=polling_url,
            model=model,
            timeout=timeout,
            as_json=as_json,
            sandbox=sandbox,
            verbose=verbose,
        )

    return run_command(work)
