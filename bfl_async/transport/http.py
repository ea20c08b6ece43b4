"""The `Transport` over aiohttp: headers with the key, redirects by hand, and what bounds calls at a time.

One call is made by `calls.py`. Downloads have connections and bounds of their own, so that an image host that does not
answer starves neither submits nor polls. `translate` and `KEEPALIVE_S` are imported to keep this public path of theirs.

A key that comes from a function is asked for before each call, and not kept: the program that rotates keys knows how
long one lasts. If the function fails, nothing was sent, and that counts as a failed connection.
"""

from __future__ import annotations

import asyncio
import inspect
import platform
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import NamedTuple
from urllib.parse import parse_qsl, urljoin

import aiohttp
from multidict import CIMultiDict

from bfl_async._config import KeyFunction, Timeouts, check_key
from bfl_async.errors import ConnectError, ReplyTimeoutError, TransportError, UntrustedURLError
from bfl_async.protocols.transport import Sink
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.secrets import Secret, conceal
from bfl_async.runtime.text import printable
from bfl_async.runtime.time import TimeLimit
from bfl_async.transport.body import Body
from bfl_async.transport.calls import Calls
from bfl_async.transport.failures import after_stall, host_of
from bfl_async.transport.failures import translate as translate
from bfl_async.transport.guard import KeyGuard, TrustedHost, without_query
from bfl_async.transport.mask import Mask
from bfl_async.transport.proxies import Proxies
from bfl_async.transport.sessions import KEEPALIVE_S as KEEPALIVE_S
from bfl_async.transport.sessions import Sessions, connections_of
from bfl_async.types.replies import Reply

# A poll can be repeated, so a silent one is given up early.
_POLL_REPLY_S = 10.0
# A download can be repeated as well: it may be silent for so long before its first byte, and so long until the next
# bytes. Where less time is left, for a third of that: two more attempts then fit in. A host that was given up is given
# half as much time again, since it may be slow and not silent.
_FIRST_BYTE_S, _NEXT_BYTES_S = 5.0, 10.0
_MIN_SILENCE_S = 1.0
_SILENCE_OF_TIMEOUT = 3
_SILENCE_GROWTH = 1.5
_MAX_GIVEN_UP = 1_024
# Downloads at a time, in connections of their own.
_DOWNLOADS = 64
_MAX_HOPS = 5
# A submit, poll and call of `get` ask for nothing else, so that a reply can be unpacked within its bound.
_ENCODINGS = "gzip, deflate"
# A shorter value of a header is a word, and not a secret.
_LEAST_HEADER_CHARS = 16
_NO_WAIT = nullcontext()
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def user_agent(version: str) -> str:
    """Return the User-Agent of every call."""
    return f"bfl-async/{version} python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


class _Silence(NamedTuple):
    """Seconds until a GET is given up."""

    # For the first byte of the body; for the whole reply where `next_s` is None.
    first_s: float
    # For the next bytes of the body, each time.
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
        query: Encoded parameters for the URL of each call to the base URL.
        trusted: Hosts that may be sent the key as well.
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
        query: str = "",
        trusted: Iterable[TrustedHost] = (),
    ) -> None:
        self._base_url = base_url
        self._query = query
        self._guard = KeyGuard(base_url, trusted)
        self._ask = key if callable(key) else None
        self._poll_headers = _keyed_headers(key, agent, headers or {})
        self._submit_headers = CIMultiDict(self._poll_headers)
        self._submit_headers["Content-Type"] = "application/json"
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
        most = 0 if session is None else connections_of(session)
        if most == 1:
            self._submits = self._polls = self._downloads = asyncio.Semaphore(1)
        elif most:
            self._downloads = asyncio.Semaphore(min(_DOWNLOADS, most // 2))
            self._submits = self._polls = asyncio.Semaphore(most - min(_DOWNLOADS, most // 2))
        self._proxies = Proxies(proxy, session_has_own=session is not None)
        self._sessions = Sessions(session, self._may_lead_inside)
        self._calls = Calls(self._sessions, self._proxies, _mask_of(headers or {}, query), self._guard)
        # Silences after which downloads were given up, by URL, the newest last.
        self._given_up: OrderedDict[str, float] = OrderedDict()

    async def open(self) -> None:
        """Make the sessions.

        Raises:
            ConfigError: A variable of the environment names a proxy or certificates that cannot be used.
        """
        # Found now, and not with the first request: a proxy that cannot be used is a setting to correct.
        self._proxies.find(self._base_url)
        await self._sessions.open(https=self._base_url.startswith("https:"))

    def _may_lead_inside(self, host: str) -> bool:
        """True for the base URL's host, and for a proxy, which the user named."""
        return self._guard.may_lead_inside(host) or self._proxies.includes(host)

    async def aclose(self) -> None:
        """Close the sessions, unless they are the caller's. Calls on their way end with `ClientClosedError`."""
        self._calls.close()
        await self._sessions.aclose()
        await self._calls.aclose()

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST to the base URL, once; see `Transport.submit`."""
        headers = self._submit_headers if self._ask is None else await self._with_key(self._submit_headers)
        limit = TimeLimit(self._connect_s)
        sent = Body(body, limit, self._reply_s)
        async with self._submits or _NO_WAIT:
            return await self._calls.call("POST", self._url_of(path), headers, limit, keyed=True, body=sent)

    def _url_of(self, path: str) -> str:
        url = self._base_url + path
        return f"{url}{'&' if '?' in path else '?'}{self._query}" if self._query else url

    async def poll(self, url: str) -> Reply:
        """GET with the key, following at most 5 redirects, each one checked; see `Transport.poll`."""
        if url.startswith("/v1/"):
            url = self._url_of(url)
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
                f"{host_of(url)} did not send all of the result in time{after_stall(limit)}"
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
        may_ask = self._guard.may_carry_key if keyed else self._guard.may_download
        for _ in range(_MAX_HOPS + 1):
            if not may_ask(url):
                raise self._refusal(url, keyed=keyed)
            reply = await self._calls.call(
                "GET",
                url,
                headers,
                TimeLimit(silence.first_s),
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

    def _refusal(self, url: str, *, keyed: bool) -> UntrustedURLError:
        shown = printable(without_query(url))
        if not keyed:
            return UntrustedURLError(f"refused to download from {shown}; nothing was sent there")
        whose = "neither the base URL's nor BFL's"
        if not self._guard.trusts_bfl:
            whose = "not the base URL's, and trusted_hosts= does not name it"
        return UntrustedURLError(f"refused to poll {shown}: the host is {whose}; nothing was sent there")


def _mask_of(headers: Mapping[str, str], query: str) -> Mask:
    """Return the mask of what a reply may repeat, besides the key of its call."""
    values = [*headers.values(), *(value for _, value in parse_qsl(query))]
    encoded = (part.partition("=")[2] for part in query.split("&"))
    return Mask([value for value in dict.fromkeys([*values, *encoded]) if len(value) >= _LEAST_HEADER_CHARS])


def _keyed_headers(key: str | KeyFunction, agent: str, extra: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of a poll; where a function returns the key, without it."""
    headers = CIMultiDict({"User-Agent": agent, "Accept": "application/json", "Accept-Encoding": _ENCODINGS})
    for name, value in extra.items():
        headers[name] = Secret(value)
    if isinstance(key, str):
        headers["x-key"] = Secret(key)
    return headers
