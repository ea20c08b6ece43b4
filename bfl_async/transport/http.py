"""The `Transport` over aiohttp: one session, timeouts by phase, the key set per request.

Design notes. aiohttp's `trust_env` costs two thread hops a request and would send passwords of `~/.netrc`
along; so the session has it off and the proxy of the environment is looked up here, once an origin.
Submits must not meet a stale keep-alive: connections idle for 15 s are dropped, below the usual 60 s and more
of servers and load balancers.

A key that comes from a function is asked for before each call, and not kept: who rotates keys knows best how long
one lasts. What fails then fails before anything is sent, and is an error of connecting.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import platform
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl
from multidict import CIMultiDict

from bfl_async._config import KeyFunction, Timeouts, check_key, is_loopback
from bfl_async.errors import ConfigError, ConnectError, ReplyTimeoutError, TransportError, UntrustedURLError
from bfl_async.transport.guard import KeyGuard, Origin, origin_of, without_query
from bfl_async.types import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

KEEPALIVE_S = 15.0  # invariant 2: a submit uses a connection idle for less than this
_POLL_REPLY_S = 10.0  # a poll can be repeated, so a silent one is given up early
_LARGE_BODY_BYTES = 2**20
_MAX_HOPS = 5
_LEAST_KEY_BYTES = 8  # a shorter one is a test's, and occurs in any text
_LEAST_HEADER_BYTES = 16  # a shorter value of a header is a word, and no secret
_MAX_REPLY_BYTES = 16 * 2**20  # of JSON
_MAX_DOWNLOAD_BYTES = 1 * 2**30
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_TARGETS = 1_024  # URLs that are kept ready, the newest: as many as a large account has tasks in flight


def user_agent(version: str) -> str:
    """Return the User-Agent of every call."""
    return f"bfl-async/{version} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


class _Target(NamedTuple):
    """A URL that the key may go to, parsed once: a task's polling URL is asked for with each of its polls."""

    url: yarl.URL
    proxy: str | None


class HTTPTransport:
    """The BFL API over aiohttp.

    Args:
        key: Sent as `x-key`, and only where `KeyGuard` allows; or a function that returns it.
        base_url: Without a slash at its end.
        connections: At most so many at a time; well above the number of slots, so that polls never wait
            for submits.
        session: The caller's; used as it is and never closed here.
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
        self._poll_headers = CIMultiDict({"User-Agent": agent, "Accept": "application/json"})
        self._poll_headers.update(headers or {})
        self._ask = key if callable(key) else None
        if isinstance(key, str):
            self._poll_headers["x-key"] = key
        self._submit_headers = CIMultiDict(self._poll_headers)
        self._submit_headers["Content-Type"] = "application/json"
        values = [value.encode() for value in (headers or {}).values()]
        self._secrets = [value for value in values if len(value) >= _LEAST_HEADER_BYTES]
        self._download_headers = CIMultiDict({"User-Agent": agent, "Accept": "*/*"})
        # For a submit `connect` covers the wait for a connection, the name lookup, TCP and TLS, and has an
        # exception of its own: a total that ended in that phase would leave unknown whether anything was sent.
        self._submit_phases = aiohttp.ClientTimeout(
            total=timeouts.connect + timeouts.reply, connect=timeouts.connect, sock_read=timeouts.reply
        )
        # A poll can be repeated, so one timer does for all its phases.
        poll_s = min(timeouts.reply, _POLL_REPLY_S)
        self._poll_phases = aiohttp.ClientTimeout(total=poll_s)
        # With the wait for the key, and each redirect followed.
        self.longest_poll_s: float = timeouts.connect + (_MAX_HOPS + 1) * poll_s
        self._connect_s = timeouts.connect
        self._connections = connections
        self._given = session
        self._session = session
        self._proxy = proxy
        self._proxies: dict[Origin, str | None] = {}  # written by _proxy_for only
        # That were sent the key; written by _new_target only.
        self._targets: OrderedDict[str, _Target] = OrderedDict()

    async def open(self) -> None:
        """Make the session."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, limit_per_host=0, keepalive_timeout=KEEPALIVE_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's."""
        if self._session is not None and self._given is None:
            await self._session.close()

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST to the base URL, once; see `Transport.submit`."""
        headers = self._submit_headers if self._ask is None else await self._with_key(self._submit_headers)
        url = self._base_url + path
        return await self._call(
            "POST", url, headers, self._submit_phases, _MAX_REPLY_BYTES, keyed=True, body=body
        )

    async def poll(self, url: str) -> Reply:
        """GET with the key, following at most 5 redirects, each one checked; see `Transport.poll`."""
        if url.startswith("/v1/"):
            url = self._base_url + url
        headers = self._poll_headers if self._ask is None else await self._with_key(self._poll_headers)
        return await self._follow(url, headers, self._poll_phases, _MAX_REPLY_BYTES, keyed=True)

    async def download(self, url: str, *, timeout: float) -> Reply:
        """GET without the key, following at most 5 redirects, each one checked; see `Transport.download`."""
        phases = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, self._connect_s))
        return await self._follow(url, self._download_headers, phases, _MAX_DOWNLOAD_BYTES, keyed=False)

    async def _with_key(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Ask for the key, and return the headers with it.

        Raises:
            ConnectError: The function failed, or took too long: nothing was sent.
            ConfigError: What it returned is no key.
        """
        assert self._ask is not None
        try:
            async with asyncio.timeout(self._connect_s):
                said = self._ask()
                raw: object = await said if inspect.isawaitable(said) else said
        except Exception as exc:
            reason = "took too long" if isinstance(exc, TimeoutError) else f"failed ({type(exc).__name__})"
            raise ConnectError(f"the api_key function {reason}: nothing was sent") from exc
        return CIMultiDict(
            headers, **{"x-key": check_key(raw, "the api_key function returned an empty text")}
        )

    async def _follow(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        max_bytes: int,
        *,
        keyed: bool,
    ) -> Reply:
        may_ask = self._may_carry_key if keyed else self._guard.may_download
        for _ in range(_MAX_HOPS + 1):
            if not may_ask(url):
                purpose = "polled: it is neither the base URL's nor BFL's" if keyed else "downloaded from"
                raise UntrustedURLError(
                    f"{without_query(url)} is not to be {purpose}; nothing was sent there"
                )
            reply = await self._call("GET", url, headers, timeout, max_bytes, keyed=keyed)
            target = reply.headers.get("location")
            if reply.status_code not in _REDIRECTS or not target:
                return reply
            try:
                url = urljoin(url, target)
            except ValueError:
                return reply
        raise TransportError(f"more than {_MAX_HOPS} redirects in a row, the last to {without_query(url)}")

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
        timeout: aiohttp.ClientTimeout,
        max_bytes: int,
        *,
        keyed: bool,
        body: bytes | None = None,
    ) -> Reply:
        session = self._session
        if session is None or session.closed:
            raise ConfigError("the aiohttp session is closed: give the client one that stays open")
        try:
            target = (self._targets.get(url) if keyed else None) or self._new_target(url, keyed=keyed)
            async with session.request(
                method,
                target.url,
                data=_payload(body),
                headers=headers,
                timeout=timeout,
                proxy=target.proxy,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                # A middleware of the caller's session might repeat a POST, which would pay twice.
                middlewares=() if method == "POST" else None,
            ) as response:
                content = await _read(response, max_bytes)
                if response.status >= 400:
                    content = self._masked(content, headers)
                return Reply(response.status, response.headers, content)
        except TransportError:
            raise
        except Exception as exc:
            ours = translate(exc, method, url)
            if ours is None:
                raise
        # Raised here, without the original as its cause: aiohttp's errors hold whole URLs, which may be signed,
        # and request headers, which hold the key.
        raise ours

    def _masked(self, content: bytes, headers: Mapping[str, str]) -> bytes:
        """An error reply without what it may repeat of ours: it would end up in a log."""
        key = headers.get("x-key", "").encode()
        for secret in (key, *self._secrets) if len(key) >= _LEAST_KEY_BYTES else self._secrets:
            content = content.replace(secret, b"[key]")
        return content

    def _proxy_for(self, url: str) -> str | None:
        """The proxy for a URL: ours, else the environment's (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).

        The caller's session has its own.
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
                self._proxies[origin] = None if proxy_bypass(origin.host) else getproxies().get(origin.scheme)
        return self._proxies[origin]


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body goes out in pieces: written at once it would hold up the loop."""
    return body if body is None or len(body) < _LARGE_BODY_BYTES else io.BytesIO(body)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    incoming = response.content
    chunks: list[bytes] = []
    size = 0
    while True:
        # A short reply has come whole by now, and there is nothing to wait for.
        chunk = incoming.read_nowait() if incoming.is_eof() else await incoming.readany()
        size += len(chunk)
        if size > max_bytes:
            response.close()
            raise TransportError(f"the reply is larger than {max_bytes} bytes")
        chunks.append(chunk)
        if incoming.at_eof():
            return b"".join(chunks)


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


def translate(exc: Exception, method: str, url: str) -> TransportError | None:
    """Return our error for one of aiohttp's; None for what is no error of the wire.

    The messages name the host, never a query.
    """
    host = _host(url)
    if isinstance(exc, _NOT_SENT):
        return ConnectError(f"no connection to {host}: {_reason(exc)}; nothing was sent")
    if isinstance(exc, TimeoutError | aiohttp.ServerTimeoutError):
        return ReplyTimeoutError(f"{host} did not finish its reply to the {method} in time")
    if isinstance(exc, aiohttp.ClientError | OSError | EOFError):
        return TransportError(f"the reply of {host} to the {method} broke off: {_reason(exc)}")
    if isinstance(exc, ValueError | AssertionError):  # aiohttp's parser and writer, met with garbage
        return TransportError(f"the reply of {host} cannot be read: {type(exc).__name__}")
    return None


def _host(url: str) -> str:
    origin = origin_of(url)
    return "a host" if origin is None else str(origin)


def _reason(exc: BaseException) -> str:
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name cannot be found"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"TLS failed ({type(exc).__name__})"
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return "it did not answer in time"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {exc.status}"
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return f"the proxy cannot be reached ({exc.strerror})"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__
