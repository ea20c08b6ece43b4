"""`sandbox` and `completion`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async.cli.exit_codes import ExitCode
from bfl_async.cli.output import (
    print_line,
    say,
)
from bfl_async.cli.root import NAME, cli
from bfl_async.cli.running import COMPLETE_VARIABLE, run_command

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts


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
    click.echo(script(cli, {}, NAME, COMPLETE_VARIABLE).source())
    return 0
