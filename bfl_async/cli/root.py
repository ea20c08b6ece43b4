"""The command group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import click.shell_completion

from bfl_async._version import __version__
from bfl_async.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    pass

NAME = "bfl-async"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {code.meaning}" for code in ExitCode),
)
@click.version_option(__version__, prog_name=NAME)
def cli() -> None:
    """Generate images with the Black Forest Labs FLUX API.

    The key is read from BFL_API_KEY, the host from BFL_BASE_URL. With --sandbox neither is needed.

    \b
    Examples:
      bfl-async generate "a cat in the snow" -o cat.jpg
      bfl-async batch prompts.txt -m flux-dev -o out
    """
