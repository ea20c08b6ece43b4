"""The sessions of a transport: connectors, name lookups, certificates.

Submits must not meet a stale keep-alive: connections idle for 15 s are dropped, below the usual 60 s and more of
servers and load balancers. aiohttp's `trust_env` costs two thread hops per request and would send passwords of
`~/.netrc` along, so the sessions have it off; see `proxies.py`.

Downloads have connections of their own, so that an image host that does not answer starves neither submits nor polls.
Names are looked up in threads of our own.
"""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable

import aiohttp

from bfl_async.runtime.threads import Threads
from bfl_async.transport.certificates import environment_ssl_context, names_certificates
from bfl_async.transport.failures import LeadsInsideError
from bfl_async.transport.guard import is_public
from bfl_async.transport.options import check_session

# Invariant 2: a submit uses a connection idle for less than this.
KEEPALIVE_S = 15.0
_NAME_THREADS = 4
# How long the closing waits for a name lookup that hangs.
_CLOSE_NAMES_S = 1.0


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
            raise LeadsInsideError(f"{found[0]['host']} is no public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


class Sessions:
    """The session of the calls that carry the key, and the one of downloads.

    Args:
        given: The caller's, used for both and never closed here.
        may_lead_inside: Says whether a host may have addresses that are not public.
    """

    def __init__(self, given: aiohttp.ClientSession | None, may_lead_inside: Callable[[str], bool]) -> None:
        self._given = given
        self._may_lead_inside = may_lead_inside
        # Written by open() only; None until then.
        self.keyed: aiohttp.ClientSession | None = given
        self.downloads: aiohttp.ClientSession | None = given
        # One per session: a name that cannot be looked up delays none of the other's.
        self._names: list[_LookupLoop] = []

    async def open(self, *, https: bool) -> None:
        """Make the sessions, or check the caller's.

        Args:
            https: The base URL needs certificates.
        """
        if self.keyed is not None:
            check_session(self.keyed)
            return
        tls: ssl.SSLContext | None = None
        if https and names_certificates():
            tls = await _tls_of_environment()
        self.keyed = _new_session(tls, self._resolver())
        inner = self._resolver() or aiohttp.DefaultResolver()
        self.downloads = _new_session(tls, _PublicNames(inner, self._may_lead_inside))

    async def aclose(self) -> None:
        """Close the sessions, unless they are the caller's."""
        if self._given is None:
            for session in (self.keyed, self.downloads):
                if session is not None:
                    await session.close()
        for names in self._names:
            await names.threads.aclose(_CLOSE_NAMES_S)

    def __del__(self) -> None:
        # Of a client that was not closed, which has its own warning: aiohttp's would name a session that the program
        # has never seen. Without the attribute, the constructor failed.
        if getattr(self, "_given", self) is None:
            for session in (self.keyed, self.downloads):
                if session is not None and not session.closed:
                    connector = session.connector
                    session.detach()
                    if connector is not None:
                        connector._close()

    def is_looking_up(self, host: str) -> bool:
        """True while the name of a host is being looked up."""
        return any(names.pending[host] > 0 for names in self._names)

    def _resolver(self) -> aiohttp.abc.AbstractResolver | None:
        if aiohttp.DefaultResolver is not aiohttp.ThreadedResolver:
            # aiodns is installed: aiohttp's own default, which needs no threads.
            return None
        names = _LookupLoop()
        self._names.append(names)
        # The resolver uses the two methods of a loop that _LookupLoop has, and no others.
        return aiohttp.ThreadedResolver(names)  # type: ignore[arg-type]  # not a whole event loop


def connections_of(session: aiohttp.ClientSession) -> int:
    """Return how many connections to one host a session makes at a time; 0 if it has no limit."""
    connector = session.connector
    if connector is None:
        return 0
    limits = [limit for limit in (connector.limit, connector.limit_per_host) if limit > 0]
    return min(limits, default=0)


def _new_session(
    tls: ssl.SSLContext | None, resolver: aiohttp.abc.AbstractResolver | None
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


async def _tls_of_environment() -> ssl.SSLContext | None:
    """Read the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, in a thread."""
    threads = Threads("bfl-tls", 1)
    try:
        return await threads.run(environment_ssl_context)
    finally:
        await threads.aclose(_CLOSE_NAMES_S)
