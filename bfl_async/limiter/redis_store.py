"""The book of the shared limiter in Redis.

A step is one call of one Lua script (`book.lua`), with Redis's own clock. A process is woken through a channel of its
own, on a second connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import uuid
from collections.abc import Callable
from importlib.resources import files
from urllib.parse import urlsplit

# First: it says which extra is missing.
from bfl_async.runtime.redis import CONNECT_S, REPLY_S, close_quietly, connect, listen  # isort: skip
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from bfl_async.limiter.steps import ENDED_S, FETCH_S, Batch, StepReply, StoreAwayError
from bfl_async.runtime.secrets import Secret
from bfl_async.runtime.tasks import end_task, new_task
from bfl_async.runtime.text import printable
from bfl_async.types.statistics import PoolStatistics

_log = logging.getLogger("bfl_async")

# A first step sets up a connection and loads the script: six round trips.
_STEP_S = 12.0
# A grant is fetched after a message and a step, and behind a step that is under way.
_FETCH_ROUND_TRIPS, _MAX_FETCH_S = 3.0, 10.0
# A book that was lost grants nothing for so long: longer than the pause between two connects.
_GRACE_S = 3.0

# What a user of Redis needs, as ACL SETUSER takes it, next to the keys and the channels.
RIGHTS = "+@hash +@sortedset +@set +@list +@scripting +@pubsub +@connection +time +del +expire +info"


class RedisStore:
    """The book in Redis."""

    def __init__(self, url: Secret, base: str, session: str, wake: Callable[[], None]) -> None:
        self._url = url
        self._steps = connect(url, reply_s=REPLY_S)
        # Apart: a connection that is subscribed takes no other call, and a message may take any time to come.
        self._wakes = connect(url, reply_s=None)
        self._base = base
        # Its own, and the one on which all are called when the book is rebuilt.
        self._channels = (f"{base}:w:{session}", f"{base}:w")
        self._wake = wake
        # Called by its hash, and sent again to a server that does not have it.
        self._script: AsyncScript = self._steps.register_script(
            files("bfl_async.limiter").joinpath("book.lua").read_text("utf-8")
        )
        self._listener: asyncio.Task[None] | None = None
        # Set once the first attempt to listen has succeeded or failed.
        self._has_tried = asyncio.Event()
        # Written by the listener.
        self._hears = False
        self._refusal: Exception | None = None
        self._round_trip_s = 0.0
        self._has_warned = False
        # Until the first reply the URL itself may be wrong.
        self._has_answered = False

    async def step(self, batch: Batch) -> StepReply:
        """Call the script; see `Store.step`."""
        await self._listen()
        request = self._request(batch)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if self._refusal is not None:
                raise self._refusal
            async with asyncio.timeout(_STEP_S):
                answer = await self._script(keys=[self._base], args=[request])
        except (RedisError, OSError, TimeoutError) as exc:
            await self._drop_connections()
            away = _away(exc, self._base)
            # Only before the first reply: later the same error is an outage.
            if (
                not away.hopeless
                and not self._has_answered
                and (mistake := await _mistaken_scheme(self._url))
            ):
                away = StoreAwayError(mistake, hopeless=True)
            raise away from exc
        self._has_answered = True
        # The longest of late: one fast reply says little.
        self._round_trip_s = max(clock() - began, 0.8 * self._round_trip_s)
        reply = json.loads(answer)
        self._warn_of_evictions(reply.get("evicts"))
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

    def _request(self, batch: Batch) -> str:
        """Return a batch as the script reads it."""
        return json.dumps(
            {
                "session": batch.session,
                "seq": batch.seq,
                "full": batch.full,
                "epoch": batch.epoch,
                # The name of the book, if it is empty.
                "new_epoch": uuid.uuid4().hex,
                "limits": batch.limits,
                "discovers": batch.discovers,
                "lease_s": batch.lease_s,
                # A far process needs longer to fetch a grant, and must not lose its place by that.
                "fetch_s": min(_MAX_FETCH_S, max(FETCH_S, _FETCH_ROUND_TRIPS * self._round_trip_s)),
                "ended_s": ENDED_S,
                "grace_s": _GRACE_S,
                "listens": int(self._hears),
                "ops": batch.ops,
            },
            separators=(",", ":"),
        )

    async def _listen(self) -> None:
        """Start to listen, unless that is done: nothing is granted to a process that does not listen."""
        if self._listener is not None:
            return
        self._has_tried.clear()
        self._refusal = None
        self._listener = new_task(
            # After a cut there is nothing to wait for: the step tells what is wrong. A lost message is found
            # by the steps that time brings.
            listen(self._wakes, *self._channels, heard=self._heard, cut=self._cut, refused=self._refuse)
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._has_tried.wait()

    def _heard(self, _: str | None) -> None:
        # The first one says that we are heard. What came before that moment is looked for as well.
        self._hears = True
        self._has_tried.set()
        self._wake()

    def _cut(self) -> None:
        self._hears = False
        self._has_tried.set()

    def _refuse(self, error: Exception) -> None:
        self._refusal = error

    async def _drop_connections(self) -> None:
        """Look the name up again for the next step: what failed may lie in the server that the name led to."""
        if self._listener is not None:
            await end_task(self._listener)
            self._listener = None
            self._hears = False
        await close_quietly(self._steps.connection_pool.disconnect)
        await close_quietly(self._wakes.connection_pool.disconnect)

    def _warn_of_evictions(self, policy: str | None) -> None:
        if policy is None or self._has_warned:
            return
        self._has_warned = True
        _log.warning(
            "Redis may evict the limiter's keys (maxmemory-policy is %s): then nothing is granted for %g s, and slots "
            "of processes that died are forgotten. Set it to noeviction",
            printable(policy, 40),
            _GRACE_S,
            extra={"bfl_policy": printable(policy, 40)},
        )

    async def aclose(self) -> None:
        """End the listener and the connections."""
        if self._listener is not None:
            await end_task(self._listener)
        await close_quietly(self._steps.aclose)
        await close_quietly(self._wakes.aclose)


def _away(exc: Exception, base: str) -> StoreAwayError:
    """Say what is wrong, and whether waiting can help."""
    if isinstance(exc, NoPermissionError):
        namespace = base.rpartition(":")[0]
        return StoreAwayError(
            f"its user lacks rights ({printable(str(exc))}). Grant them: ACL SETUSER <user> ~{namespace}:* "
            f"&{namespace}:* {RIGHTS}",
            hopeless=True,
        )
    if isinstance(exc, MovedError | AskError | ClusterCrossSlotError | ClusterDownError):
        return StoreAwayError(
            f"it is a node of a Redis Cluster, which the limiter cannot follow: name a Redis that stands alone "
            f"({type(exc).__name__}: {printable(str(exc))})",
            hopeless=True,
        )
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreAwayError(
                f"its certificate cannot be verified: {cause.verify_message}", hopeless=True
            )
        # A handshake that was cut short may be an outage.
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            return StoreAwayError(f"TLS failed ({cause.reason or cause})", hopeless=True)
        cause = cause.__cause__ or cause.__context__
    hopeless = isinstance(exc, AuthenticationError | AuthorizationError) or type(exc) is ResponseError
    return StoreAwayError(f"{type(exc).__name__}: {printable(str(exc))}", hopeless=hopeless)


async def _mistaken_scheme(url: str) -> str | None:
    """Find out whether the port speaks TLS and the URL does not say so, or the other way round.

    Neither side answers what it cannot read, so that both look like an outage. Nothing secret is sent.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return None
    context = None
    if parts.scheme == "redis":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Only whether there is TLS matters here, not with whom.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname or "localhost", parts.port or 6379, ssl=context
            )
            if context is not None:
                return "that port speaks TLS: begin the url with rediss://"
            writer.write(b"PING\r\n")
            if (await reader.read(1)) in (b"+", b"-"):
                return "that port does not speak TLS: begin the url with redis://"
    except (OSError, TimeoutError, ValueError):
        pass
    finally:
        if writer is not None:
            writer.transport.abort()
    return None
