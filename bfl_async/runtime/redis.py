"""Connections to Redis for the shared limiter and the relay.

Imported when one of them opens: redis-py is an extra, which may not be installed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from bfl_async.errors import ConfigError
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.secrets import Secret

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import NoPermissionError, RedisError
except ImportError as _exc:
    raise ConfigError("Redis needs redis-py: pip install 'bfl-async[redis]'") from _exc

_log = logging.getLogger("bfl_async")

# For one attempt to connect.
CONNECT_S = 2.0
# For the reply to one call.
REPLY_S = 5.0
# Between a cut and the next attempt to listen.
_LISTEN_AGAIN_S = 0.5


def connect(url: Secret, *, reply_s: float | None) -> Redis:
    """Return a client, not yet connected. It waits `reply_s` for a reply; None sets no bound."""
    # Apart from the URL, so that redis-py does not hold them as plain texts, which tracebacks may show.
    parts = urlsplit(url)
    login: dict[str, Secret] = {}
    if "@" in parts.netloc and not parts.netloc.endswith("@"):
        for name, value in (("username", parts.username), ("password", parts.password)):
            if value:
                login[name] = Secret(unquote(value))
        url = Secret(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    # No repeats beneath us: a lost reply is answered with a full batch. RESP2, as pools of
    # redis-py 8.1 may not replace connections that the server closed when they speak RESP3.
    try:
        return Redis.from_url(
            url, username=login.get("username"), password=login.get("password"), protocol=2, decode_responses=True,
            encoding_errors="replace", retry=Retry(NoBackoff(), 0), socket_keepalive=True,
            socket_connect_timeout=CONNECT_S, socket_timeout=reply_s,
        )  # fmt: skip
    except ValueError as exc:
        raise ConfigError("the url of Redis cannot be read") from exc


async def listen(
    redis: Redis,
    *channels: str,
    heard: Callable[[str | None], None],
    cut: Callable[[], None],
    refused: Callable[[Exception], None] | None = None,
) -> None:
    """Hear channels until cancelled, and again after each cut; `heard(None)` says that one is subscribed.

    `refused` is called before `cut` where the user of Redis has no right to them.
    """
    # What it waits for may swallow the cancellation that is to end this.
    while not is_cancelled():
        listening = redis.pubsub()
        try:
            await listening.subscribe(*channels)
            while not is_cancelled():
                message = await listening.get_message(timeout=None)
                if message is not None:
                    heard(message["data"] if message["type"] == "message" else None)
        except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as exc:
            # A cancellation that is not of this coroutine came from within redis-py: a cut like any other.
            if is_cancelled():
                raise
            if refused is not None and isinstance(exc, NoPermissionError):
                refused(exc)
            cut()
            _log.debug(
                "a channel of Redis was cut (%s)",
                type(exc).__name__,
                extra={"bfl_channel": channels[0], "bfl_error": type(exc).__name__},
            )
        finally:
            await close_quietly(listening.aclose)
        await asyncio.sleep(_LISTEN_AGAIN_S)


async def close_quietly(close: Callable[[], object]) -> None:
    """Close a connection that may be broken."""
    try:
        closing = close()
        if asyncio.iscoroutine(closing):
            await closing
    except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as exc:
        # What failed is of no use any more, and the rest of the closing must go on.
        if is_cancelled():
            raise
        _log.debug(
            "a connection to Redis did not close well (%s)",
            type(exc).__name__,
            extra={"bfl_error": type(exc).__name__},
        )
