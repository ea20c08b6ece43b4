"""How a command opens its client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import click

from bfl_async.cli.host_options import host_of_command, refuse_host_options

if TYPE_CHECKING:
    from bfl_async import AsyncBFL, Budget, Timeouts
    from bfl_async.cli.limit_option import Limit
    from bfl_async.protocols.observer import Observer

_Command = TypeVar("_Command", bound=Callable[..., object])


_SANDBOX_SPEED = 10.0


async def open_client(
    stack: AsyncExitStack,
    *,
    sandbox: bool,
    limit: Limit | None = None,
    timeouts: Timeouts | None = None,
    budget: Budget | None = None,
    submits: bool = True,
    redis: str | None = None,
    observer: Observer | None = None,
) -> AsyncBFL:
    """Open a client, against an embedded sandbox if asked for.

    Args:
        limit: Active tasks of the account; "discover": find it out. None: what those who share it were told, else 12.
        submits: Slots are needed; they are shared with all other runs of this user.
        redis: A Redis server through which slots are shared between machines instead.
        observer: Is told of each call. None: nobody is.
    """
    from bfl_async.cli import clients

    if sandbox:
        refuse_host_options()
        return await clients.open_sandboxed(
            stack, speed=_SANDBOX_SPEED, limit=limit, timeouts=timeouts, budget=budget, observer=observer
        )
    return await clients.open_shared(
        stack,
        limit=limit,
        timeouts=timeouts,
        budget=budget,
        submits=submits,
        redis=redis,
        host=host_of_command(),
        observer=observer,
    )


def sandbox_option(command: _Command) -> _Command:
    """Add the option for an embedded server."""
    return click.option(
        "--sandbox", is_flag=True, help="Use an embedded fake server for this run: no key, no cost."
    )(command)
