"""The clients of commands: one on an embedded sandbox, or one that shares its slots with other runs."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bfl_async import Adaptive, AsyncBFL, Budget, LimiterError, Limits, Timeouts
from bfl_async._config import resolve_base_url
from bfl_async.cli.cache import load_timings, save_timings
from bfl_async.cli.host_options import HostOptions, host_of_command
from bfl_async.cli.limit_option import Limit
from bfl_async.cli.output import say
from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.limiter import FileLimiter, RedisLimiter
from bfl_async.protocols.limiter import Limiter
from bfl_async.protocols.observer import Observer

# Active tasks of an account whose limit was not given.
_ACCOUNT = 12
# Source: BFL documentation of 2026, read 2026-09-25: most endpoints allow 24.
_TRUE_ACCOUNT = 24


def _limits_of(limit: Limit | None) -> Limits:
    return Limits(account=limit if limit is not None else _ACCOUNT)


async def open_sandboxed(
    stack: AsyncExitStack,
    *,
    speed: float,
    limit: Limit | None,
    timeouts: Timeouts | None,
    budget: Budget | None,
    observer: Observer | None,
) -> AsyncBFL:
    """Open a sandbox, and a client against it."""
    # Other runs need not wait for the server's modules.
    from bfl_async.sandbox import Sandbox

    # One that is searched for is that of most accounts.
    slots = _TRUE_ACCOUNT if limit == "discover" else limit if limit is not None else _ACCOUNT
    server = await stack.enter_async_context(Sandbox(limit=slots, speed=speed))
    return await stack.enter_async_context(
        AsyncBFL(
            server.key,
            base_url=server.url,
            limits=_limits_of(limit),
            timeouts=timeouts,
            budget=budget,
            catalog=current_catalog(),
            observer=observer,
        )
    )


async def open_shared(
    stack: AsyncExitStack,
    *,
    limit: Limit | None,
    timeouts: Timeouts | None,
    budget: Budget | None,
    submits: bool,
    redis: str | None,
    host: HostOptions,
    observer: Observer | None,
) -> AsyncBFL:
    """Open a client of the account, with what earlier runs have learnt; what this one learns is kept."""
    limits = _limits_of(limit)
    base_url = resolve_base_url(None, allow_http=False)

    async def enter(limiter: Limiter | None) -> AsyncBFL:
        polling = Adaptive(timings=load_timings(base_url))
        return await stack.enter_async_context(
            AsyncBFL(
                limits=limits,
                limiter=limiter,
                polling=polling,
                timeouts=timeouts,
                budget=budget,
                catalog=current_catalog(),
                observer=observer,
                default_headers=host.headers,
                query=host.query,
                trusted_hosts=host.trusted_hosts,
            )
        )

    shared = None if limit is None else limits
    bfl: AsyncBFL | None = None
    if redis is not None:
        bfl = await enter(await stack.enter_async_context(RedisLimiter(redis, limits=shared)))
    elif submits:
        limiter = await stack.enter_async_context(FileLimiter(limits=shared))
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


async def balance_of(key: str) -> float:
    """Return the credits of a key's account, which costs nothing.

    Raises:
        BFLError: The server does not take the key, or cannot be reached.
    """
    host = host_of_command()
    async with AsyncBFL(
        key, default_headers=host.headers, query=host.query, trusted_hosts=host.trusted_hosts
    ) as bfl:
        return await bfl.credits()
