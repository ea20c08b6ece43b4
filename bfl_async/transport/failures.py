"""What went wrong in a call, as an error of ours.

The one table that maps aiohttp's exceptions is here. Messages name hosts, never queries, passwords or header values.
"""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import aiohttp

from bfl_async.errors import ClientClosedError, ConnectError, ReplyTimeoutError, TransportError
from bfl_async.runtime.text import printable
from bfl_async.runtime.time import TimeLimit
from bfl_async.transport.guard import origin_of


class LeadsInsideError(OSError):
    """A public name has no public address."""


# The first row that fits wins. Everything that aiohttp raises while it makes a connection is a ConnectError:
# nothing was sent. Whatever comes later leaves unknown what the server has.
NOT_SENT = (
    # Refused, name lookup, TLS, certificate, proxy.
    aiohttp.ClientConnectorError,
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
    host = host_of(url)
    if isinstance(exc, NOT_SENT):
        return ConnectError(f"no connection to {host}{by_way_of(proxy)}: {reason(exc)}; nothing was sent")
    if isinstance(exc, TimeoutError | aiohttp.ServerTimeoutError):
        return ReplyTimeoutError(f"{host} did not finish its reply to the {method} in time")
    if isinstance(exc, aiohttp.ClientError | OSError | EOFError):
        return TransportError(f"the reply of {host} to the {method} broke off: {reason(exc)}")
    if isinstance(exc, ValueError | AssertionError):
        # Raised by aiohttp's parser and writer for garbage.
        return TransportError(f"the reply of {host} cannot be read: {type(exc).__name__}")
    return None


def host_of(url: str) -> str:
    """Return the host that a message names, with its scheme and port."""
    origin = origin_of(url)
    return "a host" if origin is None else printable(str(origin))


def by_way_of(proxy: str | None) -> str:
    """Name a proxy, without the user name and the password in its URL."""
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    port = "" if parts.port is None else f":{parts.port}"
    return f" through the proxy {parts.scheme}://{parts.hostname}{port}"


def after_stall(limit: TimeLimit) -> str:
    """Return a remark where this process, and not the server, may have been the slow one."""
    if not limit.stalled_s:
        return ""
    return f" (this process was suspended, or its event loop blocked, for about {limit.stalled_s:.0f} s)"


def reason(exc: BaseException) -> str:
    """Return in a few words why a call failed."""
    if isinstance(exc, aiohttp.ClientConnectorDNSError) and isinstance(exc.os_error, LeadsInsideError):
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
        # asyncio's words repeat the address, and do not name the cause.
        if exc.errno is not None and exc.strerror.startswith("Connect call failed"):
            return os.strerror(exc.errno)
        return exc.strerror
    return type(exc).__name__


def closed(*, may_be_done: bool = False) -> ClientClosedError:
    """Return the error of a call that the closing ended."""
    what = (
        "the POST was sent and may have been carried out" if may_be_done else "nothing is known of its answer"
    )
    return ClientClosedError(f"the client was closed before the server had answered this call: {what}")


def too_large(response: aiohttp.ClientResponse, max_bytes: int) -> TransportError:
    """Return the error of a reply beyond its bound, and close its connection: the rest is not read."""
    response.close()
    return TransportError(f"the reply is larger than {max_bytes} bytes")
