"""How a command opens its client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import click
import click.shell_completion

from bfl_async.cli.output import (
    say,
)

if TYPE_CHECKING:
    from bfl_async import AsyncBFL, Budget, Timeouts
    from bfl_async.protocols.limiter import Limiter

_Command = TypeVar("_Command", bound=Callable[..., object])


_SANDBOX_SPEED = 10.0


async def open_client(
    stack: AsyncExitStack,
    *,
    sandbox: bool,
    limit: int | None = None,
    timeouts: Timeouts | None = None,
    budget: Budget | None = None,
    submits: bool = True,
    redis: str | None = None,
) -> AsyncBFL:
    """Open a client, against an embedded sandbox if asked for.

    Args:
        limit: Active tasks of the account; None: what those who share it were told, else 12.
        submits: Slots are needed; they are shared with all other runs of this user.
        redis: A Redis server through which slots are shared between machines instead.
    """
    from bfl_async import Adaptive, AsyncBFL, LimiterError

    account = limit if limit is not None else 12
    if sandbox:
        from bfl_async.sandbox import Sandbox

        server = await stack.enter_async_context(Sandbox(limit=account, speed=_SANDBOX_SPEED))
        return await stack.enter_async_context(
            AsyncBFL(server.key, base_url=server.url, limits=account, timeouts=timeouts, budget=budget)
        )
    from bfl_async._config import resolve_base_url
    from bfl_async.cli.cache import load_timings, save_timings

    base_url = resolve_base_url(None, allow_http=False)

    async def enter(limiter: Limiter | None) -> AsyncBFL:
        polling = Adaptive(timings=load_timings(base_url))
        return await stack.enter_async_context(
            AsyncBFL(limits=account, limiter=limiter, polling=polling, timeouts=timeouts, budget=budget)
        )

    bfl: AsyncBFL | None = None
    if redis is not None:
        from bfl_async.limiter import RedisLimiter

        bfl = await enter(await stack.enter_async_context(RedisLimiter(redis, limits=limit)))
    elif submits:
        from bfl_async.limiter import FileLimiter

        limiter = await stack.enter_async_context(FileLimiter(limits=limit))
        try:
            bfl = await enter(limiter)
        except LimiterError as exc:
            say(f"warning: other runs on this machine cannot be seen, and may take the same slots: {exc}")
    opened = bfl if bfl is not None else await enter(None)

    def keep_timings() -> None:
        if opened.statistics().ready:
            save_timings(base_url, opened.timings())

    stack.callback(keep_timings)
    return opened


def sandbox_option(command: _Command) -> _Command:
    """Add the option for an embedded server."""
    return click.option(
        "--sandbox", is_flag=True, help="Use an embedded fake server for this run: no key, no cost."
    )(command)
