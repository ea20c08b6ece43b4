"""One call over aiohttp: the request as it is, its time, its reply within bounds, and whether it was sent.

Whether a submit was sent is what its body knows (see `body.py`), and not what the class of an exception suggests.
Time is bounded by `TimeLimit` instead of aiohttp's timeouts, which would end a call whose answer arrived while the
process was suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Literal, TypeVarTuple

import aiohttp
import yarl

from bfl_async.errors import (
    BFLError,
    ConfigError,
    ConnectError,
    ReplyTimeoutError,
    TransportError,
)
from bfl_async.protocols.transport import Sink
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.threads import Threads
from bfl_async.runtime.time import TimeLimit
from bfl_async.transport.body import Body
from bfl_async.transport.failures import (
    NOT_SENT,
    after_stall,
    by_way_of,
    closed,
    host_of,
    reason,
    too_large,
    translate,
)
from bfl_async.transport.guard import KeyGuard, origin_of
from bfl_async.transport.mask import Mask
from bfl_async.transport.proxies import Proxies
from bfl_async.transport.reading import beginning_of, inflate, pour, read
from bfl_async.transport.sessions import Sessions
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Reply
from bfl_async.wire.immediate import may_hold_image

Ts = TypeVarTuple("Ts")

# Of what the transport cannot tell apart: a submit or a call of `post`, a question of any kind. An answer to a POST
# that may hold an image has a bound of its own.
_MAX_REPLY_BYTES = max(_bounds.ACCOUNT.max_bytes, _bounds.RECEIPT.max_bytes)
# A larger reply is unpacked and masked in a thread, so that it does not hold up the loop.
_LARGE_BYTES = 256 * 2**10
_THREADS = 4
# For a thread that is at work when the transport is closed.
_CLOSE_S = 2.0
# Held in memory, of a caller that gives no sink.
_MAX_DOWNLOAD_BYTES = 512 * 2**20
_NO_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)


class Calls:
    """Makes calls over the sessions, until it is closed.

    Args:
        mask: Of the secrets that a reply may repeat, besides the key of its call.
        guard: Knows whether the base URL is BFL's own. Other hosts may answer a POST with an image, read further.
    """

    def __init__(self, sessions: Sessions, proxies: Proxies, mask: Mask, guard: KeyGuard) -> None:
        self._sessions = sessions
        self._proxies = proxies
        self._mask = mask
        self._guard = guard
        self._threads = Threads("bfl-replies", _THREADS)
        self._closed = False

    def close(self) -> None:
        """Begin no call, and end those on their way with `ClientClosedError` once the sessions are closed."""
        self._closed = True

    async def aclose(self) -> None:
        """End the threads."""
        await self._threads.aclose(_CLOSE_S)

    async def call(
        self,
        method: Literal["GET", "POST"],
        url: str,
        headers: Mapping[str, str],
        limit: TimeLimit,
        *,
        keyed: bool,
        body: Body | None = None,
        next_s: float | None = None,
        sink: Sink | None = None,
    ) -> Reply:
        """Make one call, without redirects.

        Args:
            limit: Bounds the call. It is restarted when the body has left, and with each part of a download.
            next_s: Seconds until further bytes of a download; None: the limit stays as it is.
            sink: Takes the body of a good reply.
        Raises:
            TransportError: No complete reply; `ConnectError` where nothing was sent.
            ClientClosedError, ConfigError: No call can be made.
        """
        session = self._usable_session(keyed=keyed)
        failure: BaseException
        proxy: str | None = None
        try:
            proxy = self._proxies.find(url)
            async with limit, _request(session, method, url, proxy, headers, body) as response:
                if keyed:
                    return await self._read_reply(response, _max_bytes(response.status, url), limit, headers)
                if sink is not None:
                    if 200 <= response.status < 300:
                        await pour(response, sink, limit, next_s)
                    return Reply(response.status, response.headers, b"")
                content = await read(response, _MAX_DOWNLOAD_BYTES, limit, next_s)
                return Reply(response.status, response.headers, content)
        except BFLError:
            # Of our own: a setting that cannot be used, a reply that is too large.
            raise
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # aiohttp cancels those that wait for a connection when a session is closed, for example.
            failure = exc
        except Exception as exc:
            failure = exc
        # Raised here, without the original as its cause: aiohttp's errors hold whole URLs, which may be signed,
        # and request headers, which hold the key.
        raise self._error_of(failure, method, url, proxy, limit, body)

    def _usable_session(self, *, keyed: bool) -> aiohttp.ClientSession:
        session = self._sessions.keyed if keyed else self._sessions.downloads
        if self._closed:
            raise closed()
        if session is None or session.closed:
            raise ConfigError("the aiohttp session is closed: give the client one that stays open")
        return session

    def _error_of(
        self,
        failure: BaseException,
        method: Literal["GET", "POST"],
        url: str,
        proxy: str | None,
        limit: TimeLimit,
        body: Body | None,
    ) -> BFLError:
        """Return our error for what went wrong in a call."""
        # Only a request that aiohttp really made can tell; a test that replaces aiohttp's requests leaves the class.
        unsent = body is not None and body.prepared and not body.left
        sent = body is not None and body.left
        if self._closed and not unsent:
            return closed(may_be_done=sent)
        why = reason(failure)
        if limit.expired:
            origin = origin_of(proxy or url)
            looked_up = origin is not None and self._sessions.is_looking_up(origin.host)
            why = "its name could not be looked up in time" if looked_up else "it did not answer in time"
            why += after_stall(limit)
        if unsent:
            return ConnectError(f"no connection to {host_of(url)}{by_way_of(proxy)}: {why}; nothing was sent")
        if limit.expired:
            return ReplyTimeoutError(
                f"{host_of(url)}{by_way_of(proxy)} did not finish its reply to the {method} in time{after_stall(limit)}"
            )
        if sent and isinstance(failure, NOT_SENT):
            return TransportError(f"the reply of {host_of(url)} to the {method} broke off: {why}")
        return translate(failure, method, url, proxy) or TransportError(
            f"the call of {host_of(url)} failed: {type(failure).__name__}"
        )

    async def _read_reply(
        self,
        response: aiohttp.ClientResponse,
        max_bytes: int,
        limit: TimeLimit,
        headers: Mapping[str, str],
    ) -> Reply:
        """Read a reply to a call with the key, without what it repeats of our secrets.

        One beyond the bound is cut where its status alone says what happened. It cannot be read anywhere else.
        """
        is_good = 200 <= response.status < 300
        encoding = response.headers.get("Content-Encoding", "")
        may_grow = not self._guard.is_bfl and is_good and response.method == "POST"
        grow = partial(_bound_of, encoding) if may_grow else None
        content = await read(response, max_bytes, limit, None, cut=not is_good, grow=grow)
        if grow is not None and (encoding or len(content) > max_bytes):
            max_bytes = grow(content)
        if encoding and content:
            try:
                content = await self._run(len(content), inflate, content, encoding, max_bytes)
            except ValueError as exc:
                if is_good:
                    raise aiohttp.ClientPayloadError(str(exc)) from None
                content = b""
        if len(content) > max_bytes:
            if is_good:
                raise too_large(response, max_bytes)
            content = content[:max_bytes]
        mask = self._mask.with_key(headers.get("x-key", ""))
        content = await self._run(len(content), mask.body, content)
        return Reply(response.status, mask.headers(response.headers), content)

    async def _run(self, size: int, work: Callable[[*Ts], bytes], *args: *Ts) -> bytes:
        """Do work on a reply of that size: at once on a small one, in a thread on a large one."""
        if size <= _LARGE_BYTES:
            return work(*args)
        return await self._threads.run(work, *args)


def _request(
    session: aiohttp.ClientSession,
    method: Literal["GET", "POST"],
    url: str,
    proxy: str | None,
    headers: Mapping[str, str],
    body: Body | None,
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return session.request(
        method,
        # The URL exactly as received: quoting it anew would break signatures.
        yarl.URL(url, encoded=True),
        data=body,
        headers=headers,
        # TimeLimit bounds the call.
        timeout=_NO_TIMEOUTS,
        proxy=proxy,
        allow_redirects=False,
        raise_for_status=False,
        # A keyed reply is unpacked by the caller, within its bound; a download is never unpacked.
        auto_decompress=False,
        # A middleware of the caller's session might repeat a POST, which would pay twice.
        middlewares=() if method == "POST" else None,
    )


def _bound_of(encoding: str, content: bytes) -> int:
    """Return how much is read of a good reply to a POST, which may hold an image."""
    try:
        beginning = beginning_of(content, encoding, _bounds.RECEIPT.max_bytes)
    except ValueError:
        return _MAX_REPLY_BYTES
    return _bounds.SUBMIT_BYTES if may_hold_image(beginning) else _MAX_REPLY_BYTES


def _max_bytes(status: int, url: str) -> int:
    """Return how much of a reply to a keyed call is read; see `types.bounds`."""
    if not 200 <= status < 300:
        return _bounds.ERROR.max_bytes
    if "/get_result" in url:
        return _bounds.POLL.max_bytes
    return _bounds.CREDITS.max_bytes if url.partition("?")[0].endswith("/v1/credits") else _MAX_REPLY_BYTES
