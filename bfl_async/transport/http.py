"""The `Transport` over aiohttp: one session, timeouts by phase, the key set per request.

Design notes. aiohttp's `trust_env` costs two thread hops a request and would send passwords of `~/.netrc`
along; so the session has it off and the proxy of the environment is looked up here, once an origin.
Submits must not meet a stale keep-alive: connections idle for 15 s are dropped, below the usual 60 s and more
of servers and load balancers.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl

from bfl_async._config import Timeouts
from bfl_async.errors import ConfigError, ConnectError, ReplyTimeoutError, TransportError, UntrustedURLError
from bfl_async.transport.guard import KeyGuard, origin_of, without_query
from bfl_async.types import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

KEEPALIVE_S = 15.0  # invariant 2: a submit uses a connection idle for less than this
_POLL_REPLY_S = 10.0  # a poll can be repeated, so a silent one is given up early
_LARGE_BODY_BYTES = 2**20
_MAX_HOPS = 5
_MAX_REPLY_BYTES = 16 * 2**20  # of JSON
_MAX_DOWNLOAD_BYTES = 1 * 2**30
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def user_agent(version: str) -> str:
    """Return the User-Agent of every call."""
    return f"bfl-async/{version} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


class HTTPTransport:
    """The BFL API over aiohttp.

    Args:
        key: Sent as `x-key`, and only where `KeyGuard` allows.
        base_url: Without a slash at its end.
        connections: At most so many at a time; well above the number of slots, so that polls never wait
            for submits.
        session: The caller's; used as it is and never closed here.
    """

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        timeouts: Timeouts,
        connections: int,
        agent: str,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._base_url = base_url
        self._guard = KeyGuard(base_url)
        self._headers = {"User-Agent": agent, "Accept": "application/json"}
        self._keyed = {**self._headers, "x-key": key}
        self._submit_headers = {**self._keyed, "Content-Type": "application/json"}
        self._download_headers = {"User-Agent": agent, "Accept": "*/*"}
        self._reply = self._phases(timeouts, timeouts.reply)
        self._poll = self._phases(timeouts, min(timeouts.reply, _POLL_REPLY_S))
        self._connect_s = timeouts.connect
        self._connections = connections
        self._given = session
        self._session = session
        self._proxies: dict[str, str | None] = {}  # by origin; written by _proxy_for only

    @staticmethod
    def _phases(timeouts: Timeouts, reply_s: float) -> aiohttp.ClientTimeout:
        # `connect` covers the wait for a connection, the name lookup, TCP and TLS, and has an exception of
        # its own: a total that could end in that phase would leave unknown whether anything was sent.
        return aiohttp.ClientTimeout(
            total=timeouts.connect + reply_s, connect=timeouts.connect, sock_read=reply_s
        )

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
        url = self._base_url + path
        return await self._call("POST", url, self._submit_headers, self._reply, _MAX_REPLY_BYTES, body)

    async def poll(self, url: str) -> Reply:
        """GET with the key, following at most 5 redirects, each one checked; see `Transport.poll`."""
        if url.startswith("/v1/"):
            url = self._base_url + url
        return await self._follow(url, self._keyed, self._poll, _MAX_REPLY_BYTES)

    async def download(self, url: str, *, timeout: float) -> Reply:
        """GET without the key, following at most 5 redirects, each one checked; see `Transport.download`."""
        phases = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, self._connect_s))
        return await self._follow(url, self._download_headers, phases, _MAX_DOWNLOAD_BYTES)

    async def _follow(
        self, url: str, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout, max_bytes: int
    ) -> Reply:
        keyed = headers is self._keyed
        for _ in range(_MAX_HOPS + 1):
            if not (self._guard.may_carry_key(url) if keyed else self._guard.may_download(url)):
                purpose = "polled: it is neither the base URL's nor BFL's" if keyed else "downloaded from"
                raise UntrustedURLError(
                    f"{without_query(url)} is not to be {purpose}; nothing was sent there"
                )
            reply = await self._call("GET", url, headers, timeout, max_bytes)
            target = reply.headers.get("location")
            if reply.status_code not in _REDIRECTS or not target:
                return reply
            try:
                url = urljoin(url, target)
            except ValueError:
                return reply
        raise TransportError(f"more than {_MAX_HOPS} redirects in a row, the last to {without_query(url)}")

    async def _call(
        self,
        method: Literal["GET", "POST"],
        url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        max_bytes: int,
        body: bytes | None = None,
    ) -> Reply:
        session = self._session
        if session is None or session.closed:
            raise ConfigError("the aiohttp session is closed: give the client one that stays open")
        with translated(method, url):
            async with session.request(
                method,
                yarl.URL(url, encoded=True),  # exactly as received: quoting anew would break signatures
                data=_payload(body),
                headers=headers,
                timeout=timeout,
                proxy=self._proxy_for(url),
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                return Reply(
                    response.status,
                    {name.lower(): value for name, value in response.headers.items()},
                    await _read(response, max_bytes),
                )

    def _proxy_for(self, url: str) -> str | None:
        """The environment's proxy for a URL (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); the caller's session has its own."""
        if self._given is not None:
            return None
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            if len(self._proxies) >= 1_000:
                self._proxies.clear()
            bypass = bool(parts.hostname and proxy_bypass(parts.hostname))
            self._proxies[origin] = None if bypass else getproxies().get(parts.scheme)
        return self._proxies[origin]


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body goes out in pieces: written at once it would hold up the loop."""
    return body if body is None or len(body) < _LARGE_BODY_BYTES else io.BytesIO(body)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    announced = response.content_length
    if announced is not None and announced <= 2**20 and "Content-Encoding" not in response.headers:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(2**16):
        size += len(chunk)
        if size > max_bytes:
            response.close()
            raise TransportError(f"the reply is larger than {max_bytes} bytes")
        chunks.append(chunk)
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


@contextlib.contextmanager
def translated(method: str, url: str) -> Iterator[None]:
    """Turn aiohttp's exceptions into ours. The messages name the host, never a query."""
    try:
        yield
    except TransportError:
        raise
    except _NOT_SENT as exc:
        raise ConnectError(f"no connection to {_host(url)}: {_reason(exc)}; nothing was sent") from exc
    except (TimeoutError, aiohttp.ServerTimeoutError) as exc:
        raise ReplyTimeoutError(f"{_host(url)} did not finish its reply to the {method} in time") from exc
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as exc:
        raise TransportError(f"the reply of {_host(url)} to the {method} broke off: {_reason(exc)}") from exc
    except (ValueError, AssertionError) as exc:  # aiohttp's parser and writer, met with garbage
        raise TransportError(f"the reply of {_host(url)} cannot be read: {type(exc).__name__}") from exc


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
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__
