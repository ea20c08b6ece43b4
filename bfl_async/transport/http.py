"""The `Transport` over aiohttp: connections, timeouts by phase, the key set per request.

Design notes. aiohttp's `trust_env` costs two thread hops per request and would send passwords of `~/.netrc`
along; so the sessions have it off, and the proxy of the environment is looked up here, once per origin.
Submits must not meet a stale keep-alive: connections idle for 15 s are dropped, below the usual 60 s and more
of servers and load balancers.

Whether a submit was sent is what its body knows (see `_Body`), and not what the class of an exception suggests: the
same `ServerDisconnectedError` may come from a proxy that refused the tunnel, or after the request was read.

Downloads have connections of their own, so that an image host that does not answer starves neither submits nor polls.
Names are looked up in threads of our own, and time is bounded by `TimeLimit` instead of aiohttp's timeouts, which
would end a call whose answer arrived while the process was suspended.

A key that comes from a function is asked for before each call, and not kept: the program that rotates keys knows how
long one lasts. If the function fails, nothing was sent, and that counts as a failed connection.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
import platform
import re
import select
import socket
from collections import Counter, OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import yarl
from multidict import CIMultiDict

from bfl_async._config import (
    KeyFunction,
    Timeouts,
    check_key,
    check_session,
    environment_proxy,
    is_loopback,
)
from bfl_async.errors import (
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    ReplyTimeoutError,
    TransportError,
    UntrustedURLError,
)
from bfl_async.protocols.transport import Sink
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.secrets import SHOWN, Secret, conceal
from bfl_async.runtime.text import printable
from bfl_async.runtime.threads import Threads
from bfl_async.runtime.time import TimeLimit
from bfl_async.transport.certificates import environment_ssl_context, names_certificates
from bfl_async.transport.guard import KeyGuard, Origin, is_public, origin_of, without_query
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Reply
from bfl_async.wire.encoding import inflate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

KEEPALIVE_S = 15.0  # invariant 2: a submit uses a connection idle for less than this
# A poll can be repeated, so a silent one is given up early.
_POLL_REPLY_S = 10.0
# A download can be repeated as well: it may be silent for so long before its first byte, and so long until the next
# bytes. Where less time is left, for a third of that: two more attempts then fit in. A host that was given up is given
# half as much time again, since it may be slow and not silent.
_FIRST_BYTE_S, _NEXT_BYTES_S = 5.0, 10.0
_MIN_SILENCE_S = 1.0
_SILENCE_OF_TIMEOUT = 3
_SILENCE_GROWTH = 1.5
# Bytes that show that a download goes on; fewer are a trickle.
_MIN_PROGRESS_BYTES = 4_096
_MAX_GIVEN_UP = 1_024
# How long a sink may take for a piece. Disks that sleep, and those of other machines, may need some seconds.
_SINK_S = 60.0
# Downloads at a time, in connections of their own.
_DOWNLOADS = 64
_NAME_THREADS = 4
# How long the closing waits for a name lookup that hangs.
_CLOSE_NAMES_S = 1.0
_WRITE_BYTES = 2**16
_MAX_HOPS = 5
# A shorter key is a test's, and occurs in any text.
_LEAST_KEY_CHARS = 8
# A shorter value of a header is a word, and not a secret.
_LEAST_HEADER_CHARS = 16
# Of what the transport cannot tell apart: a submit or a call of `post`, a question of any kind.
_MAX_REPLY_BYTES = max(_bounds.ACCOUNT.max_bytes, _bounds.RECEIPT.max_bytes)
# A submit, poll and call of `get` ask for nothing else, so that a reply can be unpacked within its bound.
_ENCODINGS = "gzip, deflate"
# Held in memory, of a caller that gives no sink.
_MAX_DOWNLOAD_BYTES = 512 * 2**20
_NO_WAIT = nullcontext()
_NO_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_TARGETS = 1_024  # URLs that are kept ready, the newest: as many as a large account has tasks in flight


def user_agent(version: str) -> str:
    """Return the User-Agent of every call."""
    return f"bfl-async/{version} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


class _Target(NamedTuple):
    """A URL that the key may go to, parsed once: a task's polling URL is asked for with each of its polls."""

    url: yarl.URL
    proxy: str | None


class _Silence(NamedTuple):
    """Seconds until a GET is given up."""

    # For the first byte of the body; for the whole reply where `next_s` is None.
    first_s: float
    # For each further `_MIN_PROGRESS_BYTES` of the body.
    next_s: float | None

    @classmethod
    def of(cls, timeout: float, given_up_s: float) -> _Silence:
        """Return how long a download may be silent.

        Args:
            timeout: Seconds that are left.
            given_up_s: The silence after which this URL was given up before; 0.0 if it was not.
        """
        share_s = max(_MIN_SILENCE_S, timeout / _SILENCE_OF_TIMEOUT)
        first_s = max(min(_FIRST_BYTE_S, share_s), _SILENCE_GROWTH * given_up_s)
        if timeout - first_s < _MIN_SILENCE_S:
            # Too little is left for another attempt.
            first_s = timeout
        return cls(first_s, max(first_s, min(_NEXT_BYTES_S, share_s)))


class _Body(aiohttp.Payload):
    """The body of a submit, which knows whether its request left.

    aiohttp holds a request's headers back until the first piece of its body, and sends both in one write. So nothing
    has left before `write_with_length` is called: not while a name is looked up, a connection or a tunnel through a
    proxy is made, or a connection of the pool turns out to be closed.
    """

    def __init__(self, value: bytes, limit: TimeLimit, reply_s: float) -> None:
        super().__init__(value, content_type="application/json")
        self._bytes = value
        self._limit = limit
        self._reply_s = reply_s
        # True once aiohttp has made a request of it: from then on `left` can be relied on.
        self.prepared = False
        self.left = False

    @property
    def size(self) -> int:
        """Bytes in all."""
        self.prepared = True
        return len(self._bytes)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text."""
        return self._bytes.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it; see `write_with_length`."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send it, a large one in pieces: written at once it would hold up the loop."""
        transport = writer.transport
        if transport is not None and _is_hung_up(transport):
            # The loop had no turn yet to see it: it was blocked, or the process suspended.
            raise aiohttp.ClientConnectionResetError("the connection was closed")
        if transport is not None and not transport.is_closing():
            # The next call writes to the socket, without a wait between.
            self.left = True
            self._limit.restart(self._reply_s)
        body = memoryview(self._bytes)[:content_length]
        for start in range(0, max(1, len(body)), _WRITE_BYTES):
            await writer.write(body[start : start + _WRITE_BYTES])

    # Tests that replace aiohttp's requests (aioresponses) copy what a call was given, and compare it with the bytes
    # that were to be sent.
    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        return self._bytes == (other._bytes if isinstance(other, _Body) else other)

    __hash__ = object.__hash__


# What tells that the other side sends nothing more, whatever is left to read. Where the system has no such thing, the
# loop's own word has to do.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)


def _is_hung_up(transport: asyncio.BaseTransport) -> bool:
    sock = transport.get_extra_info("socket")
    if not _HUNG_UP or sock is None or (fd := sock.fileno()) < 0:
        return False
    look = select.poll()
    look.register(fd, _HUNG_UP)
    return bool(look.poll(0))


class _LookupLoop:
    """What aiohttp's resolver needs of a loop, with threads of our own in place of the default executor's.

    The program may have filled that one with work that waits for this client.
    """

    def __init__(self) -> None:
        self.threads = Threads("bfl-names", _NAME_THREADS)
        # Lookups that have not ended, by host name.
        self.pending: Counter[str] = Counter()

    async def getaddrinfo(
        self, host: str, port: int, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> object:
        self.pending[host] += 1
        try:
            return await self.threads.run(socket.getaddrinfo, host, port, family, type, proto, flags)
        finally:
            self.pending[host] -= 1

    async def getnameinfo(self, sockaddr: tuple[str, int], flags: int = 0) -> tuple[str, str]:
        return await self.threads.run(socket.getnameinfo, sockaddr, flags)


class _LeadsInsideError(OSError):
    """A public name has no public address."""


class _PublicNames(aiohttp.abc.AbstractResolver):
    """Finds only addresses that are public, of all hosts but those that may have others.

    The connection is made to one of these very addresses: a name cannot be changed between the check and the use.
    """

    def __init__(self, inner: aiohttp.abc.AbstractResolver, may_lead_inside: Callable[[str], bool]) -> None:
        self._inner = inner
        self._may_lead_inside = may_lead_inside

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self._may_lead_inside(host):
            return found
        public = [each for each in found if is_public(each["host"])]
        if found and not public:
            raise _LeadsInsideError(f"{found[0]['host']} is no public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


class HTTPTransport:
    """The BFL API over aiohttp.

    Args:
        key: Sent as `x-key`, and only where `KeyGuard` allows; or a function that returns it.
        base_url: Without a slash at its end.
        connections: Maximum number of polls at a time. Submits are not bounded here, as each has a slot, and downloads
            have connections of their own: neither waits for the other, nor for polls.
        session: The caller's; used as it is and never closed here. Its connector's own limits hold for all calls, so
            downloads leave half of the connections to the others.
        headers: Sent along wherever the key goes, and nowhere else: they may be secrets as well.
        proxy: Takes the place of the environment's proxies.
    """

    def __init__(
        self,
        *,
        key: str | KeyFunction,
        base_url: str,
        timeouts: Timeouts,
        connections: int,
        agent: str,
        session: aiohttp.ClientSession | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
    ) -> None:
        self._base_url = base_url
        self._guard = KeyGuard(base_url)
        self._poll_headers = CIMultiDict(
            {"User-Agent": agent, "Accept": "application/json", "Accept-Encoding": _ENCODINGS}
        )
        for name, value in (headers or {}).items():
            self._poll_headers[name] = Secret(value)
        self._ask = key if callable(key) else None
        if isinstance(key, str):
            self._poll_headers["x-key"] = Secret(key)
        self._submit_headers = CIMultiDict(self._poll_headers)
        self._submit_headers["Content-Type"] = "application/json"
        # What a reply may repeat, besides the key of its call.
        self._mask = _Mask([value for value in (headers or {}).values() if len(value) >= _LEAST_HEADER_CHARS])
        # Images and videos do not compress. What is inflated could be of any size.
        self._download_headers = CIMultiDict(
            {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        self._reply_s = timeouts.reply
        self._poll_s = min(timeouts.reply, _POLL_REPLY_S)
        # With the wait for the key, the wait behind other polls, and each redirect followed.
        self.longest_poll_s: float = timeouts.connect + (_MAX_HOPS + 2) * self._poll_s
        self._connect_s = timeouts.connect
        # In front of what shares the connections of the caller's session, so that the wait for one is no time that is
        # spent on connecting. Submits have none where the session is ours.
        self._submits: asyncio.Semaphore | None = None
        self._polls = asyncio.Semaphore(connections)
        self._downloads = asyncio.Semaphore(_DOWNLOADS)
        most = 0 if session is None else _connections_of(session)
        if most == 1:
            self._submits = self._polls = self._downloads = asyncio.Semaphore(1)
        elif most:
            self._downloads = asyncio.Semaphore(min(_DOWNLOADS, most // 2))
            self._submits = self._polls = asyncio.Semaphore(most - min(_DOWNLOADS, most // 2))
        self._given = session
        self._session = session
        self._download_session = session
        # Of submits and polls, and of downloads: a name that cannot be looked up holds up none of the other kind.
        self._names: list[_LookupLoop] = []
        self._proxy = None if proxy is None else Secret(proxy)
        self._proxies: dict[Origin, str | None] = {}  # written by _proxy_for only
        # That were sent the key; written by _new_target only.
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        # Silences after which downloads were given up, by URL, the newest last.
        self._given_up: OrderedDict[str, float] = OrderedDict()
        self._closed = False

    async def open(self) -> None:
        """Make the sessions.

        Raises:
            ConfigError: A variable of the environment names a proxy or certificates that cannot be used.
        """
        # Found now, and not with the first request: a proxy that cannot be used is a setting to correct.
        self._proxy_for(self._base_url)
        if self._session is not None:
            check_session(self._session)
            return
        tls: ssl.SSLContext | None = None
        if self._base_url.startswith("https:") and names_certificates():
            tls = await _tls_of_environment()
        self._session = self._new_session(tls, self._resolver())
        inner = self._resolver() or aiohttp.DefaultResolver()
        self._download_session = self._new_session(tls, _PublicNames(inner, self._may_lead_inside))

    def _may_lead_inside(self, host: str) -> bool:
        """True for the base URL's host, and for a proxy, which the user named."""
        proxies = [proxy for proxy in self._proxies.values() if proxy is not None]
        return self._guard.may_lead_inside(host) or any(urlsplit(proxy).hostname == host for proxy in proxies)

    def _new_session(
        self, tls: ssl.SSLContext | None, resolver: aiohttp.abc.AbstractResolver | None
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # No limit: submits are bounded by slots, polls and downloads by semaphores of their own.
            connector=aiohttp.TCPConnector(
                limit=0,
                limit_per_host=0,
                keepalive_timeout=KEEPALIVE_S,
                resolver=resolver,
                ssl=True if tls is None else tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    def _resolver(self) -> aiohttp.abc.AbstractResolver | None:
        if aiohttp.DefaultResolver is not aiohttp.ThreadedResolver:
            # aiodns is installed: aiohttp's own default, which needs no threads.
            return None
        names = _LookupLoop()
        self._names.append(names)
        # The resolver uses the two methods of a loop that _LookupLoop has, and no others.
        return aiohttp.ThreadedResolver(names)  # type: ignore[arg-type]  # not a whole event loop

    async def aclose(self) -> None:
        """Close the sessions, unless they are the caller's. Calls on their way end with `ClientClosedError`."""
        self._closed = True
        if self._given is None:
            for session in (self._session, self._download_session):
                if session is not None:
                    await session.close()
        for names in self._names:
            await names.threads.aclose(_CLOSE_NAMES_S)

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST to the base URL, once; see `Transport.submit`."""
        headers = self._submit_headers if self._ask is None else await self._with_key(self._submit_headers)
        limit = TimeLimit(self._connect_s)
        sent = _Body(body, limit, self._reply_s)
        async with self._submits or _NO_WAIT:
            return await self._call(
                "POST", self._base_url + path, headers, limit, _MAX_REPLY_BYTES, keyed=True, body=sent
            )

    async def poll(self, url: str) -> Reply:
        """GET with the key, following at most 5 redirects, each one checked; see `Transport.poll`."""
        if url.startswith("/v1/"):
            url = self._base_url + url
        headers = self._poll_headers if self._ask is None else await self._with_key(self._poll_headers)
        if self._polls.locked():
            await self._wait_behind_polls()
        else:
            # Returns at once.
            await self._polls.acquire()
        try:
            return await self._follow(url, headers, _Silence(self._poll_s, None), keyed=True)
        finally:
            self._polls.release()

    async def _wait_behind_polls(self) -> None:
        limit = TimeLimit(self._poll_s)
        try:
            async with limit:
                await self._polls.acquire()
        except TimeoutError:
            raise ReplyTimeoutError(
                "too many polls are waiting for their answers: nothing was sent"
            ) from None

    async def download(self, url: str, *, timeout: float) -> Reply:
        """GET without the key, following at most 5 redirects, each one checked; see `Transport.download`.

        A host that is silent for some seconds is given up before the timeout, so that there is time to try again.
        """
        return await self._download(url, None, timeout)

    async def download_to(self, url: str, sink: Sink, *, timeout: float) -> Reply:
        """As `download`, with the body going to the sink; see `StreamingTransport.download_to`."""
        return await self._download(url, sink, timeout)

    async def _download(self, url: str, sink: Sink | None, timeout: float) -> Reply:
        silence = _Silence.of(timeout, self._given_up.pop(url, 0.0))
        limit = TimeLimit(timeout)
        try:
            async with limit, self._downloads:
                return await self._follow(url, self._download_headers, silence, keyed=False, sink=sink)
        except ReplyTimeoutError:
            self._given_up[url] = silence.first_s
            if len(self._given_up) > _MAX_GIVEN_UP:
                self._given_up.popitem(last=False)
            raise
        except TimeoutError as exc:
            raise ReplyTimeoutError(
                f"{_host(url)} did not send all of the result in time{_after_stall(limit)}"
            ) from exc

    async def _with_key(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Ask for the key, and return the headers with it.

        Raises:
            ConnectError: The function failed, or took too long: nothing was sent.
            ConfigError: What it returned is no key.
        """
        assert self._ask is not None
        try:
            async with TimeLimit(self._connect_s) as limit:
                answer: object = self._ask()
                answer = conceal(await answer) if inspect.isawaitable(answer) else conceal(answer)
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # What it awaits, such as a refresh that it shares with others, was cancelled.
            raise ConnectError("the api_key function was cancelled: nothing was sent") from exc
        except Exception as exc:
            reason = "took too long" if limit.expired else f"failed ({type(exc).__name__})"
            raise ConnectError(f"the api_key function {reason}: nothing was sent") from exc
        return CIMultiDict(
            headers, **{"x-key": check_key(answer, "the api_key function returned an empty text")}
        )

    async def _follow(
        self,
        url: str,
        headers: Mapping[str, str],
        silence: _Silence,
        *,
        keyed: bool,
        sink: Sink | None = None,
    ) -> Reply:
        max_bytes = _MAX_REPLY_BYTES if keyed else _MAX_DOWNLOAD_BYTES
        may_ask = self._may_carry_key if keyed else self._guard.may_download
        for _ in range(_MAX_HOPS + 1):
            if not may_ask(url):
                raise UntrustedURLError(
                    f"refused to poll {printable(without_query(url))}: the host is neither the base URL's nor BFL's; "
                    "nothing was sent there"
                    if keyed
                    else f"refused to download from {printable(without_query(url))}; nothing was sent there"
                )
            reply = await self._call(
                "GET",
                url,
                headers,
                TimeLimit(silence.first_s),
                max_bytes,
                keyed=keyed,
                next_s=silence.next_s,
                sink=sink,
            )
            target = reply.headers.get("location")
            if reply.status_code not in _REDIRECTS or not target:
                return reply
            try:
                url = urljoin(url, target)
            except ValueError:
                return reply
        raise TransportError(
            f"more than {_MAX_HOPS} redirects in a row, the last to {printable(without_query(url))}"
        )

    def _may_carry_key(self, url: str) -> bool:
        return url in self._targets or self._guard.may_carry_key(url)

    def _new_target(self, url: str, *, keyed: bool) -> _Target:
        # The URL exactly as received: quoting it anew would break signatures.
        target = _Target(yarl.URL(url, encoded=True), self._proxy_for(url))
        if keyed:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.popitem(last=False)
            self._targets[url] = target
        return target

    async def _call(
        self,
        method: Literal["GET", "POST"],
        url: str,
        headers: Mapping[str, str],
        limit: TimeLimit,
        max_bytes: int,
        *,
        keyed: bool,
        body: _Body | None = None,
        next_s: float | None = None,
        sink: Sink | None = None,
    ) -> Reply:
        session = self._session if keyed else self._download_session
        if self._closed:
            raise _closed()
        if session is None or session.closed:
            raise ConfigError("the aiohttp session is closed: give the client one that stays open")
        failure: BaseException
        proxy: str | None = None
        try:
            target = (self._targets.get(url) if keyed else None) or self._new_target(url, keyed=keyed)
            proxy = target.proxy
            async with (
                limit,
                session.request(
                    method,
                    target.url,
                    data=body,
                    headers=headers,
                    # TimeLimit bounds the call.
                    timeout=_NO_TIMEOUTS,
                    proxy=proxy,
                    allow_redirects=False,
                    raise_for_status=False,
                    # A keyed reply is unpacked here, within its bound; a download is never unpacked.
                    auto_decompress=False,
                    # A middleware of the caller's session might repeat a POST, which would pay twice.
                    middlewares=() if method == "POST" else None,
                ) as response,
            ):
                if keyed:
                    return await self._read_reply(response, _max_bytes(response.status, url), limit, headers)
                if sink is not None:
                    if 200 <= response.status < 300:
                        await _pour(response, sink, limit, next_s)
                    return Reply(response.status, response.headers, b"")
                content = await _read(response, max_bytes, limit, next_s)
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

    def _error_of(
        self,
        failure: BaseException,
        method: Literal["GET", "POST"],
        url: str,
        proxy: str | None,
        limit: TimeLimit,
        body: _Body | None,
    ) -> BFLError:
        """Return our error for what went wrong in a call."""
        # Only a request that aiohttp really made can tell; a test that replaces aiohttp's requests leaves the class.
        unsent = body is not None and body.prepared and not body.left
        sent = body is not None and body.left
        if self._closed and not unsent:
            return _closed(may_be_done=sent)
        reason = _reason(failure)
        if limit.expired:
            origin = origin_of(proxy or url)
            looked_up = origin is not None and any(names.pending[origin.host] > 0 for names in self._names)
            reason = "its name could not be looked up in time" if looked_up else "it did not answer in time"
            reason += _after_stall(limit)
        if unsent:
            return ConnectError(
                f"no connection to {_host(url)}{_by_way_of(proxy)}: {reason}; nothing was sent"
            )
        if limit.expired:
            return ReplyTimeoutError(
                f"{_host(url)}{_by_way_of(proxy)} did not finish its reply to the {method} in time{_after_stall(limit)}"
            )
        if sent and isinstance(failure, _NOT_SENT):
            return TransportError(f"the reply of {_host(url)} to the {method} broke off: {reason}")
        return translate(failure, method, url, proxy) or TransportError(
            f"the call of {_host(url)} failed: {type(failure).__name__}"
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
        content = await _read(response, max_bytes, limit, None, cut=not is_good)
        encoding = response.headers.get("Content-Encoding", "")
        if encoding and content:
            try:
                content = inflate(content, encoding, max_bytes)
            except ValueError as exc:
                if is_good:
                    raise aiohttp.ClientPayloadError(str(exc)) from None
                content = b""
        if len(content) > max_bytes:
            if is_good:
                raise _too_large(response, max_bytes)
            content = content[:max_bytes]
        mask = self._mask.with_key(headers.get("x-key", ""))
        return Reply(response.status, mask.headers(response.headers), mask.body(content))

    def _proxy_for(self, url: str) -> str | None:
        """The proxy for a URL: ours, else the environment's (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).

        The caller's session has its own.

        Raises:
            ConfigError: A variable of the environment names one that cannot be used.
        """
        if self._given is not None:
            return None
        origin = origin_of(url)
        if origin is None:
            return None
        if origin not in self._proxies:
            if len(self._proxies) >= 1_000:
                self._proxies.clear()
            # What is on this machine stays on it: over plain http a proxy would read the key.
            if is_loopback(origin.host):
                self._proxies[origin] = None
            elif self._proxy is not None:
                self._proxies[origin] = self._proxy
            else:
                self._proxies[origin] = environment_proxy(origin.scheme, origin.host)
        return self._proxies[origin]


def _connections_of(session: aiohttp.ClientSession) -> int:
    """Return how many connections to one host a session makes at a time; 0 if it has no limit."""
    connector = session.connector
    if connector is None:
        return 0
    limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit > 0]
    return min(limits, default=0)


async def _tls_of_environment() -> ssl.SSLContext | None:
    """Read the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, in a thread."""
    threads = Threads("bfl-tls", 1)
    try:
        return await threads.run(environment_ssl_context)
    finally:
        await threads.aclose(_CLOSE_NAMES_S)


def _closed(*, may_be_done: bool = False) -> ClientClosedError:
    what = (
        "the POST was sent and may have been carried out" if may_be_done else "nothing is known of its answer"
    )
    return ClientClosedError(f"the client was closed before the server had answered this call: {what}")


def _max_bytes(status: int, url: str) -> int:
    """Return how much of a reply to a keyed call is read; see `_bounds`."""
    if not 200 <= status < 300:
        return _bounds.ERROR.max_bytes
    if "/get_result" in url:
        return _bounds.POLL.max_bytes
    return _bounds.CREDITS.max_bytes if url.endswith("/v1/credits") else _MAX_REPLY_BYTES


_SHOWN = SHOWN.encode()


class _Mask:
    """Takes secrets out of replies, escaped as JSON may escape them too.

    A server that repeats its request's headers does so by accident, so other codings are not looked for.

    Args:
        secrets: Texts of ASCII.
    """

    def __init__(self, secrets: list[str]) -> None:
        self._texts = [Secret(secret) for secret in secrets]
        self._plain = [secret.encode() for secret in secrets]
        # The mask of the newest call's key, since keys may rotate.
        self._keyed: _Mask | None = None

    def with_key(self, key: str) -> _Mask:
        """Return a mask for a call's key as well."""
        if len(key) < _LEAST_KEY_CHARS:
            return self
        if self._keyed is None or self._keyed._texts[0] != key:
            self._keyed = _Mask([key, *self._texts])
        return self._keyed

    def body(self, content: bytes) -> bytes:
        """Return a body without the secrets. Runs at the speed of C, in linear time."""
        for secret in self._plain:
            if secret in content:
                content = content.replace(secret, _SHOWN)
        if not any(mark in content for mark in _MARKS):
            return content
        # NUL bytes are between the characters in UTF-16 and UTF-32.
        flat = _unescaped(content.translate(None, b"\0").replace(b"\\/", b"/"))
        if flat is None:
            return b""
        found = [secret for secret in self._texts if secret in flat]
        # Without a secret the body stays as it came.
        return functools.reduce(_without, found, flat).encode("raw_unicode_escape") if found else content

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without the secrets."""
        if not any(secret in value for value in headers.values() for secret in self._texts):
            return headers
        masked: CIMultiDict[str] = CIMultiDict()
        for name, value in headers.items():
            masked.add(name, functools.reduce(_without, self._texts, value))
        return masked


# Without one of them, a printable character of ASCII is not escaped.
_MARKS = (b"\\u00", b"\\/", b"\0")
# What JSON does not have, and what the codec below does not take.
_BAD_ESCAPE = re.compile(rb"\\u(?![0-9A-Fa-f]{4})|\\U")
_MOST_BAD_ESCAPES = 5_000


def _unescaped(content: bytes) -> str | None:
    """Return a body with its escapes resolved, byte by byte otherwise; None for what is not a reply at all."""
    try:
        return content.decode("raw_unicode_escape")
    except UnicodeDecodeError:
        content = _BAD_ESCAPE.sub(b"", content, count=_MOST_BAD_ESCAPES)
    try:
        return content.decode("raw_unicode_escape")
    except UnicodeDecodeError:
        return None


def _without(text: str, secret: str) -> str:
    return text.replace(secret, SHOWN)


async def _read(
    response: aiohttp.ClientResponse,
    max_bytes: int,
    limit: TimeLimit,
    next_s: float | None,
    *,
    cut: bool = False,
) -> bytes:
    """Read a body as it comes, at most `max_bytes`; `cut`: return so much of a longer one."""
    incoming = response.content
    if incoming.is_eof():
        # A short reply has come whole by now, and there is nothing to wait for.
        content = incoming.read_nowait()
        if len(content) > max_bytes and not cut:
            raise _too_large(response, max_bytes)
        if incoming.at_eof() or len(content) > max_bytes:
            return content[:max_bytes]
        buffer = io.BytesIO(content)
        buffer.seek(0, io.SEEK_END)
    else:
        buffer = io.BytesIO()
    # A BytesIO grows in place and hands its buffer over without a copy, so that neither the loop nor the memory pays
    # for the size of a video.
    wanted = 0
    while not incoming.at_eof():
        chunk = await incoming.readany()
        if next_s is not None and buffer.tell() + len(chunk) >= wanted:
            limit.restart(next_s)
            wanted = buffer.tell() + len(chunk) + _MIN_PROGRESS_BYTES
        if buffer.tell() + len(chunk) > max_bytes:
            error = _too_large(response, max_bytes)
            if not cut:
                raise error
            buffer.write(chunk[: max_bytes - buffer.tell()])
            break
        buffer.write(chunk)
    return buffer.getvalue()


async def _pour(response: aiohttp.ClientResponse, sink: Sink, limit: TimeLimit, next_s: float | None) -> None:
    """Hand a body over piece by piece. The silence of the host counts, and not the time that the sink takes."""
    sink.begin(response.headers)
    incoming = response.content
    missing = _MIN_PROGRESS_BYTES
    while not incoming.at_eof():
        chunk = await incoming.readany()
        with limit.held(_SINK_S):
            await sink.write(chunk)
        missing -= len(chunk)
        if next_s is not None and missing <= 0:
            limit.restart(next_s)
            missing = _MIN_PROGRESS_BYTES


def _too_large(response: aiohttp.ClientResponse, max_bytes: int) -> TransportError:
    response.close()
    return TransportError(f"the reply is larger than {max_bytes} bytes")


# The first row that fits wins. Everything that aiohttp raises while it makes a connection is a ConnectError:
# nothing was sent. Whatever comes later leaves unknown what the server has.
_NOT_SENT = (
    aiohttp.ClientConnectorError,  # refused, name lookup, TLS, certificate, proxy
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def translate(exc: BaseException, method: str, url: str, proxy: str | None = None) -> TransportError | None:
    """Return our error for one of aiohttp's, judged by its class; None for what is no error of the wire.

    The messages name the host, never a query.
    """
    host = _host(url)
    if isinstance(exc, _NOT_SENT):
        return ConnectError(f"no connection to {host}{_by_way_of(proxy)}: {_reason(exc)}; nothing was sent")
    if isinstance(exc, TimeoutError | aiohttp.ServerTimeoutError):
        return ReplyTimeoutError(f"{host} did not finish its reply to the {method} in time")
    if isinstance(exc, aiohttp.ClientError | OSError | EOFError):
        return TransportError(f"the reply of {host} to the {method} broke off: {_reason(exc)}")
    if isinstance(exc, ValueError | AssertionError):  # aiohttp's parser and writer, met with garbage
        return TransportError(f"the reply of {host} cannot be read: {type(exc).__name__}")
    return None


def _host(url: str) -> str:
    origin = origin_of(url)
    return "a host" if origin is None else printable(str(origin))


def _by_way_of(proxy: str | None) -> str:
    """Name a proxy, without the user name and the password in its URL."""
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    port = "" if parts.port is None else f":{parts.port}"
    return f" through the proxy {parts.scheme}://{parts.hostname}{port}"


def _after_stall(limit: TimeLimit) -> str:
    if not limit.stalled_s:
        return ""
    return f" (this process was suspended, or its event loop blocked, for about {limit.stalled_s:.0f} s)"


def _reason(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientConnectorDNSError) and isinstance(exc.os_error, _LeadsInsideError):
        return (
            f"{exc.os_error}, and results do not come from inside a network (where that is right for you, give the "
            "client a session= of your own)"
        )
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name cannot be found"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return (
            f"its TLS certificate is not trusted ({type(exc).__name__}); where a proxy inspects TLS, let SSL_CERT_FILE "
            "name the file of its certificate"
        )
    if isinstance(exc, aiohttp.ClientConnectorSSLError):
        return f"TLS failed ({type(exc).__name__})"
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return "it did not answer in time"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {exc.status}"
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return f"the proxy cannot be reached ({exc.strerror})"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "the connection was closed"
    if isinstance(exc, asyncio.CancelledError):
        return "the connection was given up"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__
