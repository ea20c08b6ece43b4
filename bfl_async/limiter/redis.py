"""The limiter of many processes, on any number of machines, that reach one Redis.

A step is one call of one Lua script (`book.lua`), with Redis's own clock. A process is woken through a channel of its
own, on a second connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from bfl_async._config import Limits
from bfl_async._tasks import new_task
from bfl_async.errors import ConfigError
from bfl_async.limiter._shared import (
    ENDED_S,
    FETCH_S,
    Batch,
    SharedLimiter,
    StepReply,
    Store,
    StoreAwayError,
    end_task,
    is_being_cancelled,
)
from bfl_async.types import PoolStatistics

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

_log = logging.getLogger("bfl_async")

_CONNECT_S = 2.0
_REPLY_S = 5.0
_GRACE_S = 3.0  # a book that was lost grants nothing for so long: longer than the pause between two connects
_LISTEN_AGAIN_S = 0.5


class RedisLimiter(SharedLimiter):
    """Shares an account's limit between processes on any number of machines, through one Redis.

    ```python
    async with RedisLimiter("redis://localhost", limits=12) as limiter, AsyncBFL(limiter=limiter) as bfl:
        ...
    ```

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        limits: An int is the account's limit. The last process to open sets it for all; None: as it is, else 12.
        lease_s: So long the slots of a process that died, or that stood still, stay taken.
        away: While Redis cannot be reached nothing new is granted, and what runs goes on. "wait": requests wait
            until it is back; "fail": those that wait fail at once, with `LimiterError`.
        namespace: Begins all keys. Limiters of one account with different namespaces know nothing of each other.
    Raises:
        ConfigError: A value is wrong; at the opening, that the extra `redis` is not installed.
    """

    def __init__(
        self,
        url: str,
        limits: int | Limits | None = 12,
        *,
        lease_s: float = 60.0,
        away: Literal["wait", "fail"] = "wait",
        namespace: str = "bfl-async",
    ) -> None:
        self._host = host_of(url)
        if not namespace or not namespace.isprintable() or set(namespace) & set("{}"):
            raise ConfigError(f"namespace must be printable text without braces, not {namespace!r}")
        self._url = url  # it may hold a password: never shown
        self._namespace = namespace
        super().__init__(limits, lease_s=lease_s, away=away)

    def _where(self) -> str:
        return f"Redis on {self._host}"

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        return _RedisStore(self._url, f"{self._namespace}:{{{account}}}", session, wake)


class _RedisStore:
    """The book in Redis."""

    def __init__(self, url: str, base: str, session: str, wake: Callable[[], None]) -> None:
        self._steps = connect(url, reply_s=_REPLY_S)
        self._wakes = connect(url, reply_s=None)
        self._base = base
        self._channel = f"{base}:w:{session}"
        self._wake = wake
        self._script: AsyncScript = self._steps.register_script(
            files("bfl_async.limiter").joinpath("book.lua").read_text("utf-8")
        )
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def step(self, batch: Batch) -> StepReply:
        """Call the script; see `Store.step`."""
        from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

        if self._listener is None:
            self._listener = new_task(
                # After a cut there is nothing to wait for: the step tells what is wrong. A lost message is found
                # by the steps that time brings.
                listen(self._wakes, self._channel, heard=self._heard, cut=self._listening.set)
            )
            # Nothing is granted to a process that does not listen.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    await self._listening.wait()
        said = json.dumps(
            {
                "session": batch.session,
                "seq": batch.seq,
                "full": batch.full,
                "epoch": batch.epoch,
                "new_epoch": uuid.uuid4().hex,
                "limits": batch.limits,
                "lease_s": batch.lease_s,
                "fetch_s": FETCH_S,
                "ended_s": ENDED_S,
                "grace_s": _GRACE_S,
                "ops": batch.ops,
            },
            separators=(",", ":"),
        )
        try:
            async with asyncio.timeout(_CONNECT_S + _REPLY_S):
                answer = await self._script(keys=[self._base], args=[said])
        except (RedisError, OSError, TimeoutError) as exc:
            hopeless = isinstance(exc, AuthenticationError | AuthorizationError) or type(exc) is ResponseError
            raise StoreAwayError(f"{type(exc).__name__}: {exc}", hopeless=hopeless) from exc
        reply = json.loads(answer)
        return StepReply(
            epoch=reply["epoch"],
            resync=reply["resync"],
            # An empty table of Lua is an object in JSON.
            grants=[(name, int(arrival)) for name, arrival in reply["grants"] or ()],
            arrivals=[(name, int(arrival)) for name, arrival in reply["arrivals"] or ()],
            lost=list(reply["lost"]),
            pools={name: PoolStatistics(*map(int, numbers)) for name, *numbers in reply["pools"]},
            next_s=reply["next_s"] if reply["next_s"] >= 0 else None,
            ended=list(reply["ended"]),
        )

    def _heard(self, _: str | None) -> None:
        # The first one says that we are heard. What came before that moment is looked for as well.
        self._listening.set()
        self._wake()

    async def aclose(self) -> None:
        """End the listener and the connections."""
        if self._listener is not None:
            await end_task(self._listener)
        await close_quietly(self._steps.aclose)
        await close_quietly(self._wakes.aclose)


def host_of(url: str) -> str:
    """The host of a Redis URL, which may be shown: the URL may hold a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss", "unix"):
            return parts.hostname or "a socket"
    except (ValueError, TypeError, AttributeError):
        pass
    raise ConfigError("the url of Redis must begin with redis://, rediss:// or unix://")


def connect(url: str, *, reply_s: float | None) -> Redis:
    """A client, not yet connected; it waits `reply_s` for a reply, None: without end."""
    if find_spec("redis") is None:
        raise ConfigError("Redis needs redis-py: pip install 'bfl-async[redis]'")
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # No repeats beneath us: a lost reply is answered with a full batch. RESP2, as pools of
    # redis-py 8.1 may not replace connections that the server closed when they speak RESP3.
    try:
        return Redis.from_url(
            url, protocol=2, decode_responses=True, encoding_errors="replace", retry=Retry(NoBackoff(), 0),
            socket_keepalive=True, socket_connect_timeout=_CONNECT_S, socket_timeout=reply_s,
        )  # fmt: skip
    except ValueError as exc:
        raise ConfigError("the url of Redis cannot be read") from exc


async def listen(
    redis: Redis, channel: str, *, heard: Callable[[str | None], None], cut: Callable[[], None]
) -> None:
    """Hear a channel until cancelled, and again after each cut; `heard(None)` says that it is subscribed."""
    from redis.exceptions import RedisError

    # What it waits for may swallow the cancellation that is to end this.
    while not is_being_cancelled():
        listening = redis.pubsub()
        try:
            await listening.subscribe(channel)
            while not is_being_cancelled():
                message = await listening.get_message(timeout=None)
                if message is not None:
                    heard(message["data"] if message["type"] == "message" else None)
        except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as exc:
            if is_being_cancelled():
                raise
            cut()
            _log.debug(
                "a channel of Redis was cut (%s)",
                type(exc).__name__,
                extra={"bfl_channel": channel, "bfl_error": type(exc).__name__},
            )
        finally:
            await close_quietly(listening.aclose)
        await asyncio.sleep(_LISTEN_AGAIN_S)


async def close_quietly(close: Callable[[], object]) -> None:
    """Close a connection that may be broken."""
    from redis.exceptions import RedisError

    try:
        closing = close()
        if asyncio.iscoroutine(closing):
            await closing
    except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as exc:
        if is_being_cancelled():
            raise
        _log.debug(
            "a connection to Redis did not close well (%s)",
            type(exc).__name__,
            extra={"bfl_error": type(exc).__name__},
        )
