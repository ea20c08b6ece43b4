"""The options of the commands for single images that are not about the request: waiting, saving, printing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import click

from bfl_async.cli.host_options import host_options
from bfl_async.cli.opening import sandbox_option
from bfl_async.cli.target import Target, target_options

_Command = TypeVar("_Command", bound=Callable[..., object])

# A typing mistake must not cost a fortune; many images are a batch.
_MOST = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say of a command's work besides its request.

    Attributes:
        target: Where the result goes.
        timeout: Seconds to wait for it. None sets no bound.
        as_json: Print a JSON object in place of the file's name.
        verbose: Show the task's id while waiting.
        sandbox: Use an embedded server.
        opens: Open each file with the system's viewer.
    """

    target: Target
    timeout: float | None
    as_json: bool
    verbose: bool
    sandbox: bool
    opens: bool

    @classmethod
    def by_default(cls, *, as_json: bool) -> Asked:
        """Return what is done for a result that nothing was asked for."""
        return cls(Target(), None, as_json, verbose=False, sandbox=False, opens=False)


def variations_option(command: _Command) -> _Command:
    """Add the option for several images of one request; the command gets their number as `count`."""
    return click.option(
        "-n", "--variations", "count", type=click.IntRange(1, _MOST), default=1, show_default=True, metavar="N",
        help="Images to make, each with a seed of its own; a seed that is given is that of the first.",
    )(command)  # fmt: skip


def asked_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options; the command gets them as `asked`."""

    @wraps(command)
    def with_asked(
        *,
        target: Target,
        timeout: float | None,
        as_json: bool,
        verbose: bool,
        sandbox: bool,
        opens: bool,
        **others: object,
    ) -> int:
        return command(asked=Asked(target, timeout, as_json, verbose, sandbox, opens), **others)

    made: Callable[..., int] = host_options(sandbox_option(with_asked))
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_OPTIONS: tuple[Callable[[Callable[..., int]], Callable[..., int]], ...] = (
    target_options,
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait for the image."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of the file's name."),
    click.option("--open", "opens", is_flag=True, help="Open the file with the system's viewer."),
    click.option("-v", "--verbose", is_flag=True, help="Show the task's id while waiting on a terminal."),
)
