"""The commands about models and prices. They know this release's catalog, and what `models --update` has stored."""

from __future__ import annotations

import click

from bfl_async.cli.exit_codes import exit_code_of
from bfl_async.cli.fields import (
    MODEL_NAME,
    GivenFields,
    field_options,
    model_option,
    no_prompt_option,
    unknown_models_option,
)
from bfl_async.cli.files import read_prompt
from bfl_async.cli.input_images import image_option, say_what_images_are_for
from bfl_async.cli.output import say
from bfl_async.errors import BFLError


@click.command()
@click.argument("name", required=False, type=MODEL_NAME)
@click.option(
    "--update",
    "source",
    is_flag=False,
    flag_value="",
    metavar="[FILE|URL]",
    help="Read BFL's OpenAPI description, list what is new, and keep it. Without a value: the host's own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(name: str | None, source: str | None, as_json: bool) -> int:
    """List the models, or the fields of one.

    With --update, models that are newer than this release are known from then on: their requests are checked by the
    description, and take files. Their prices stay unknown.

    \b
    Examples:
      bfl-async models
      bfl-async models flux-2-pro --json
      bfl-async models --update
    """
    if source is not None:
        if name is not None:
            raise click.UsageError("--update reads all models: give no NAME with it")
        from bfl_async.cli.update_catalog import run_update

        return run_update(source, as_json=as_json)
    from bfl_async.cli import catalog_text

    if name is None:
        catalog_text.print_models(as_json=as_json)
    else:
        catalog_text.print_model(name, as_json=as_json)
    return 0


@click.command()
@click.argument("prompt", required=False)
@no_prompt_option
@model_option
@unknown_models_option
@image_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@field_options
def estimate(
    prompt: str | None,
    model: str,
    images: tuple[str, ...],
    as_json: bool,
    no_prompt: bool,
    fields: GivenFields,
) -> int:
    """Estimate what a request would cost, without sending it.

    1 credit = 0.01 USD. The server's own figure, which comes with its answer, may differ.

    \b
    Examples:
      bfl-async estimate -m flux-2-pro --width 2048 --height 1024 "a cat"
      bfl-async estimate -m flux-3-video --set mode=t2v --set duration=10 --set resolution=fhd "a cat runs"
    """
    from bfl_async.cli import catalog_text, requesting

    try:
        asked = read_prompt() if prompt == "-" else prompt
        requesting.check_model(model)
        wanted = requesting.make_request(model, asked, fields, images=images, no_prompt=no_prompt)
        say_what_images_are_for(model, images)
        requesting.say_size(wanted)
        catalog_text.print_estimate(wanted, as_json=as_json)
    except BFLError as exc:
        say(f"error: {exc}")
        return exit_code_of(exc)
    return 0
