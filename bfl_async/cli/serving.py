"""`sandbox` and `completion`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import click
import click.shell_completion

from bfl_async.cli.exit_codes import ExitCode
from bfl_async.cli.output import (
    print_line,
    say,
)
from bfl_async.cli.root import NAME, cli
from bfl_async.cli.running import COMPLETE_VARIABLE, run_command
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    import ssl

    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.sandbox import Sandbox


class SandboxArguments(TypedDict):
    """What click passes to `sandbox`: the options by name, each in the type that its declaration makes."""

    port: int
    host: str
    key: str
    limit: int
    openapi: Path | None
    speed: float
    tls_cert: Path | None
    tls_key: Path | None
    webhook_scheme: Literal["secret", "signature", "both"]
    webhook_polling_url: bool
    submit_rtt: float
    poll_rtt: float
    rewrite_prompts: bool


_LOCAL = "127.0.0.1"
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_FILE = click.Path(dir_okay=False, path_type=Path)
_SECONDS = click.FloatRange(min=0, max=3_600)


@cli.command("sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="0 chooses a free port.", show_default=True
)
@click.option(
    "--host",
    default=_LOCAL,
    show_default=True,
    help="The address to listen on, or a name of this machine, such as localhost.",
)
@click.option("--key", default="sandbox-key", show_default=True, help="The API key that it accepts.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Most active tasks at a time.",
)
@click.option(
    "--openapi",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Serve the models that this OpenAPI description describes, checked against its schemas.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Divides service times and round trips: 10 is ten times as fast.",
)
@click.option("--tls-cert", type=_FILE, help="Serve https with this certificate, in PEM.")
@click.option("--tls-key", type=_FILE, help="The certificate's key, in PEM, if it is in a file of its own.")
@click.option(
    "--webhook-scheme",
    type=click.Choice(["secret", "signature", "both"]),
    default="secret",
    show_default=True,
    help="How webhook deliveries are signed: with X-Webhook-Secret, X-BFL-Signature or both.",
)
@click.option(
    "--webhook-polling-url",
    is_flag=True,
    help="Include a polling URL in the answer to a submit with a webhook as well.",
)
@click.option(
    "--submit-rtt",
    type=_SECONDS,
    default=0.0,
    show_default=True,
    help="Round trip of a submit, in seconds.",
)
@click.option(
    "--poll-rtt",
    type=_SECONDS,
    default=0.0,
    show_default=True,
    help="Round trip of a poll, in seconds.",
)
@click.option("--rewrite-prompts/--keep-prompts", default=True, show_default=True,
              help="Whether results have a rewritten prompt where prompt upsampling is on.")  # fmt: skip
def sandbox_command(**options: Unpack[SandboxArguments]) -> int:
    """Run the fake server until Ctrl-C.

    Prints two `export` lines: paste them into the shell whose commands should use it.

    \b
    Examples:
      bfl-async sandbox --port 8080 --speed 10
      bfl-async sandbox > sandbox.env &   # then: . ./sandbox.env
      bfl-async sandbox --host localhost --tls-cert cert.pem --tls-key key.pem
    """
    # What is printed is meant for a shell, and the host becomes part of a URL.
    for name, text, allowed in (("--key", options["key"], _KEY), ("--host", options["host"], _HOST)):
        if not allowed.fullmatch(text):
            raise click.UsageError(
                f"{name}: {printable(text, 60)!r} holds characters that do not belong there"
            )
    tls = _tls_of(options["tls_cert"], options["tls_key"])
    return run_command(lambda interrupts: _serve(options, tls, interrupts))


def _tls_of(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What https is served with; None: http is served.

    Raises:
        click.UsageError: The files are not a certificate and its key.
    """
    import ssl

    if cert is None:
        if key is not None:
            raise click.UsageError("--tls-key needs --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password given here, OpenSSL would ask for it on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as exc:
        problem = "are not a certificate in PEM and its key without a password"
        raise click.UsageError(f"--tls-cert and --tls-key {problem}: {exc}") from exc
    return context


def _sandbox_of(options: SandboxArguments, tls: ssl.SSLContext | None) -> Sandbox:
    """The server that the options describe.

    Raises:
        ValueError: The OpenAPI description cannot be used.
    """
    from bfl_async.sandbox import Sandbox

    return Sandbox(
        port=options["port"],
        host=options["host"],
        key=options["key"],
        limit=options["limit"],
        speed=options["speed"],
        tls=tls,
        openapi=options["openapi"],
        webhook_scheme=options["webhook_scheme"],
        webhook_polling_url=options["webhook_polling_url"],
        submit_rtt_s=options["submit_rtt"],
        poll_rtt_s=options["poll_rtt"],
        rewrite_prompts=options["rewrite_prompts"],
    )


async def _serve(options: SandboxArguments, tls: ssl.SSLContext | None, interrupts: Interrupts) -> int:
    # Other commands need not wait for the server's modules.
    import asyncio

    stopped = asyncio.Event()
    try:
        sandbox = _sandbox_of(options, tls)
    except ValueError as exc:
        say(f"error: {exc}")
        return ExitCode.USAGE
    try:
        with interrupts.stopping_with(stopped.set, is_regular=True):
            async with sandbox as server:
                print_line(f"export BFL_BASE_URL={server.url}")
                print_line(f"export BFL_API_KEY={server.key}")
                sys.stdout.flush()
                say(f"the sandbox listens on {server.url}; stop it with Ctrl-C")
                say(f"watch it, and turn its fault dials: {server.url}/sandbox")
                await stopped.wait()
    except OSError as exc:
        host = "" if options["host"] == _LOCAL else f"{options['host']}, "
        say(
            f"error: cannot listen on {host}port {options['port']}: {exc.strerror}; choose another with --port"
        )
        return ExitCode.FAILED
    return 0


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the script that completes this command in a shell.

    It completes commands, options, choices, names of models and files. The shell asks it each time, so that it
    knows the models of the installed release.

    \b
    Examples:
      source <(bfl-async completion bash)   # in ~/.bashrc; the same for zsh, after compinit
      bfl-async completion fish > ~/.config/fish/completions/bfl-async.fish
    """
    script = click.shell_completion.get_completion_class(shell)
    assert script is not None
    click.echo(script(cli, {}, NAME, COMPLETE_VARIABLE).source())
    return 0
