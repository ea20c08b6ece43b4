"""`credits`, finetunes and `doctor`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async.cli.host_options import host_options
from bfl_async.cli.opening import open_client, sandbox_option
from bfl_async.cli.output import (
    json_text,
    print_json,
    print_line,
    say,
)
from bfl_async.cli.root import cli
from bfl_async.cli.running import run_command

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts


@cli.command("credits")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@host_options
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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@host_options
@sandbox_option
def doctor(as_json: bool, sandbox: bool) -> int:
    """Check what generating needs, and say what to do.

    Checks key, host, clock, proxy, credits, folders, catalog, versions and extras: one line per check, with `ok`,
    `warn` or `FAIL`. Exit code 0 unless one fails: 4 for the key or the credits alone, otherwise 1. --json adds all
    versions for a bug report, and shows the last four characters of the key.

    \b
    Examples:
      bfl-async doctor
      bfl-async doctor --json
    """
    from bfl_async.cli.doctor import run_doctor

    return run_doctor(as_json=as_json, sandbox=sandbox)


@cli.group("finetunes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@host_options
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
@host_options
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
@host_options
@sandbox_option
def delete_finetune(finetune_id: str, sandbox: bool) -> int:
    """Delete one finetune.

    This cannot be undone.

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
