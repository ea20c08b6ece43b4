"""The command group."""

from __future__ import annotations

import click
import click.shell_completion

from bfl_async._version import __version__
from bfl_async.cli.exit_codes import ExitCode
from bfl_async.runtime.near import close_to
from bfl_async.runtime.text import printable

NAME = "bfl-async"


class _Group(click.Group):
    """The group of all commands. A command that is misspelt is answered with the one that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            near = close_to(args[0], self.commands) if args else None
            if near is None or ctx.resilient_parsing:
                raise
            words = f"No such command '{printable(args[0])}': did you mean '{near}'?"
            raise click.UsageError(words, ctx) from exc


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {code.meaning}" for code in ExitCode),
)
@click.version_option(__version__, prog_name=NAME)
def cli() -> None:
    """Generate images with the Black Forest Labs FLUX API.

    The key is read from BFL_API_KEY, or is the one that `login` has stored; the host from BFL_BASE_URL. With --sandbox
    neither is needed.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async batch prompts.txt -m flux-dev -o out
    """
