"""The commands that tell of models and prices. They ask nobody: what they know is this release's catalog."""

from __future__ import annotations

import click

from bfl_async.cli.exit_codes import exit_code_of
from bfl_async.cli.fields import MODEL_NAME, GivenFields, field_options, make_request, model_option
from bfl_async.cli.output import say
from bfl_async.errors import BFLError


@click.command()
@click.argument("name", required=False, type=MODEL_NAME)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(name: str | None, as_json: bool) -> int:
    """List the models, or the fields of one.

    \b
    Examples:
      bfl-async models
      bfl-async models flux-2-pro --json
    """
    from bfl_async.cli import catalog_text

    if name is None:
        catalog_text.print_models(as_json=as_json)
    else:
        catalog_text.print_model(name, as_json=as_json)
    return 0


@click.command()
@click.argument("prompt", required=False)
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@field_options
def estimate(prompt: str | None, model: str, as_json: bool, fields: GivenFields) -> int:
    """Say what a request would cost, without sending it.

    1 credit = 0.01 USD. The server's own figure, which comes with its answer, may differ.

    \b
    Examples:
      bfl-async estimate -m flux-2-pro --width 2048 --height 1024 "a cat"
      bfl-async estimate -m flux-3-video --set mode=t2v --set duration=10 --set resolution=fhd "a cat runs"
    """
    from bfl_async.cli import catalog_text

    try:
        wanted = make_request(model, prompt, fields)
        catalog_text.print_estimate(wanted, as_json=as_json)
    except BFLError as exc:
        say(f"error: {exc}")
        return exit_code_of(exc)
    return 0
