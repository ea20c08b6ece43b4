"""`generate`, `again` and `result`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async.cli.asked import Asked, asked_options, variations_option
from bfl_async.cli.fields import (
    MODEL_NAME,
    GivenFields,
    field_options,
    model_option,
    no_prompt_option,
    unknown_models_option,
)
from bfl_async.cli.host_options import host_options
from bfl_async.cli.input_images import image_option
from bfl_async.cli.root import cli
from bfl_async.cli.running import run_command

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts


@cli.command()
@click.argument("prompt", required=False)
@no_prompt_option
@model_option
@unknown_models_option
@image_option
@variations_option
@asked_options
@field_options
def generate(
    prompt: str | None,
    model: str,
    images: tuple[str, ...],
    count: int,
    asked: Asked,
    no_prompt: bool,
    fields: GivenFields,
) -> int:
    """Generate one image or video and save it.

    A PROMPT of - is read from standard input. The folder's manifest.jsonl gets a line with all that it takes to make
    the image again.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async generate "make it night" -m flux-2-pro --image cat.jpg -o night.jpg
      bfl-async generate "a cat in the snow" -n 4 -o snow.jpg
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_generate(
            prompt, model, fields, asked, images=images, count=count, no_prompt=no_prompt
        )

    return run_command(work)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("prompt", required=False)
@click.option(
    "-m",
    "--model",
    default=None,
    type=MODEL_NAME,
    metavar="MODEL",
    help="Another model than that of the image.",
)
@image_option
@variations_option
@unknown_models_option
@asked_options
@field_options
def again(
    file: Path,
    prompt: str | None,
    model: str | None,
    images: tuple[str, ...],
    count: int,
    asked: Asked,
    fields: GivenFields,
) -> int:
    """Make an image again, with changes.

    FILE is an image that `generate` or `batch` has made: the manifest.jsonl of its folder knows its model, fields and
    seed. A PROMPT and the options change what they name; all else stays, but with -n the seeds are new. The new image
    is saved beside the old one.

    \b
    Examples:
      bfl-async again cat.jpg
      bfl-async again cat.jpg "a dog in the snow" -o dog.jpg
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_again(file, prompt, model, fields, asked, images=images, count=count)

    return run_command(work)


def _refuse_sandbox(_: click.Context, __: click.Parameter, value: bool) -> None:
    """Refuse an option that the other commands for images have."""
    if value:
        raise click.UsageError(
            "a sandbox of this command would end with it, and so would its task: run `bfl-async sandbox` in another "
            "shell, and paste the two lines that it prints into this one"
        )


@cli.command()
@click.argument("prompt", required=False)
@no_prompt_option
@model_option
@unknown_models_option
@image_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the task's id.")
@click.option("--sandbox", is_flag=True, hidden=True, expose_value=False, callback=_refuse_sandbox)
@host_options
@field_options
def submit(
    prompt: str | None,
    model: str,
    images: tuple[str, ...],
    as_json: bool,
    no_prompt: bool,
    fields: GivenFields,
) -> int:
    """Send a request, print its task's id and do not wait.

    `result` fetches the image, within the ten minutes for which the server keeps it. A PROMPT of - is read from
    standard input.

    \b
    Examples:
      bfl-async submit "a cat in the snow"
      bfl-async submit "a cat in the snow" --json | bfl-async result - -o snowy.jpg
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_submit(
            prompt, model, fields, images=images, no_prompt=no_prompt, as_json=as_json
        )

    return run_command(work)


@cli.command("result")
@click.argument("task_id", metavar="TASK_ID|-")
@click.option("--polling-url", help="As it was printed; without it the base URL's own is asked.")
@click.option("-m", "--model", default=None, type=MODEL_NAME, metavar="MODEL")
@asked_options
def result_command(task_id: str, polling_url: str | None, model: str | None, asked: Asked) -> int:
    """Wait for a task that was submitted before, and save its image.

    A TASK_ID of - reads ids, or what `submit --json` prints, from standard input, one per line.

    \b
    Examples:
      bfl-async result 4ca5b657-4b04-4afc-9c4b-7445c578d324
      bfl-async result TASK_ID --polling-url https://api.bfl.ai/v1/get_result?id=TASK_ID -o cat.jpg
    """

    async def work(_: Interrupts) -> int:
        from bfl_async.cli import single

        return await single.run_result(task_id, asked, polling_url=polling_url, model=model)

    return run_command(work)
