"""The API key of the command line: that of the environment, else one that `login` has stored."""

from __future__ import annotations

import click

from bfl_async._config import UnusableKeyError

# Source: BFL quick start, "API keys", read 2026-09-25.
_WHERE = "create a key at https://dashboard.bfl.ai"


def missing_key() -> str:
    """Raise the error of a command that has no key, in words of the shell.

    Raises:
        UnusableKeyError: Always.
    """
    ways = f"no API key: set BFL_API_KEY ({_WHERE})"
    context = click.get_current_context(silent=True)
    options = [] if context is None else [name for option in context.command.params for name in option.opts]
    if "--sandbox" in options:
        ways += ", or add --sandbox to try without one"
    raise UnusableKeyError(ways)
