"""What `doctor` finds out about the host, the proxy and the clock."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from bfl_async._config import (
    Timeouts,
    is_loopback,
)
from bfl_async._version import __version__
from bfl_async.cli.findings import CHECK_S, Finding, Place, reason_of, run_blocking, within_check_time
from bfl_async.errors import (
    ConfigError,
    TransportError,
)
from bfl_async.transport.certificates import environment_ssl_context
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.transport.proxies import environment_proxy, proxy_source

_SKEW_WARN_S = 30.0  # `Date` counts whole seconds; a result's end is minutes away


_SKEW_FAIL_S = 300.0  # half of a result's ten minutes; certificates are judged by the clock as well


async def examine_host(place: Place) -> tuple[Finding, Finding]:
    """The host, step by step, and the clock by the date of its reply. Nothing is sent with the key."""
    unknown = Finding("clock", "warn", "not compared, as the host was not reached")
    base_url = place.base_url
    if base_url is None:
        return place.url_finding or Finding("host", "FAIL", "no base URL"), unknown
    dates: list[tuple[str | None, float]] = []
    host = await within_check_time("host", lambda: _host(base_url, dates), "FAIL")
    if not dates:
        return host, unknown
    return host, clock_finding(*dates[-1])


async def _host(base_url: str, dates: list[tuple[str | None, float]]) -> Finding:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        proxy = await run_blocking(lambda: environment_proxy(parts.scheme, host))
    except ConfigError as exc:
        return Finding("host", "FAIL", str(exc), "correct or unset it")
    steps = []
    if proxy is None:
        found = await _connect(host, port, tls=parts.scheme == "https")
        if isinstance(found, Finding):
            return found
        steps.append(found)
    else:
        steps.append(f"{host} through the proxy {_host_of(proxy)}")
    transport = HTTPTransport(
        key="none",
        base_url=base_url,
        timeouts=Timeouts(connect=CHECK_S, reply=CHECK_S),
        connections=2,
        agent=user_agent(__version__),
    )
    await transport.open()
    try:
        for _ in range(2):  # the second on the connection of the first: one round trip
            began = time.monotonic()
            reply = await transport.download(f"{base_url}/v1/credits", timeout=CHECK_S)
            rtt_s = time.monotonic() - began
            dates.append((reply.headers.get("date"), time.time() - rtt_s / 2))
    except TransportError as exc:
        todo = (
            "check the proxy's address and whether it lets this host through" if proxy else "try again later"
        )
        return Finding("host", "FAIL", str(exc), todo)
    finally:
        await transport.aclose()
    steps.append(f"round trip {_ms(rtt_s)}")
    if reply.status_code >= 500:
        return Finding(
            "host", "warn", f"{', '.join(steps)}; it answers {reply.status_code}", "try again later"
        )
    return Finding("host", "ok", ", ".join(steps))


async def _connect(host: str, port: int, *, tls: bool) -> str | Finding:
    """Look up, connect, and make TLS, each on its own, so that the step that fails is named."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(CHECK_S * 0.6):
            addresses = await run_blocking(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError:
        return Finding("host", "FAIL", f"the name {host} is not answered", "check the network and its DNS")
    except (OSError, UnicodeError) as exc:
        todo = "check BFL_BASE_URL, the network and its DNS"
        return Finding("host", "FAIL", f"the name {host} cannot be found ({reason_of(exc)})", todo)
    looked_up = time.monotonic()
    try:
        # By name and not by one of the addresses: another may be the one that works.
        async with asyncio.timeout(CHECK_S * 0.6):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        todo = "check firewall and proxy settings"
        return Finding("host", "FAIL", f"{host}:{port} does not answer a connection", todo)
    except OSError as exc:
        todo = "check that the server runs" if is_loopback(host) else "check firewall and proxy settings"
        return Finding("host", "FAIL", f"no connection to {host}:{port} ({_os_reason(exc)})", todo)
    connected = time.monotonic()
    count = len({address[4][0] for address in addresses})
    where = f"{host} ({count} address{'es' if count > 1 else ''})"
    steps = f"{where} found in {_ms(looked_up - began)}, connected in {_ms(connected - looked_up)}"
    if not tls:
        writer.close()
        return steps
    found = await _start_tls(writer, host, port)
    return found if isinstance(found, Finding) else f"{steps}, {found}"


async def _start_tls(writer: asyncio.StreamWriter, host: str, port: int) -> str | Finding:
    """Make TLS on a connection, and close it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(CHECK_S * 0.6):
            context = await run_blocking(lambda: environment_ssl_context() or ssl.create_default_context())
            await writer.start_tls(context, server_hostname=host)
        return f"TLS in {_ms(time.monotonic() - began)}"
    except ConfigError as exc:
        return Finding("host", "FAIL", str(exc))
    except ssl.SSLCertVerificationError as exc:
        trusted = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        todo = (
            f"check the clock, the certificates of {' and '.join(trusted) or 'this machine'}, "
            "and whether a proxy looks into TLS"
        )
        return Finding("host", "FAIL", f"the certificate of {host} is refused ({exc.verify_message})", todo)
    except (OSError, TimeoutError) as exc:  # an SSLError is an OSError
        reason = exc.reason if isinstance(exc, ssl.SSLError) else reason_of(exc)
        return Finding(
            "host", "FAIL", f"no TLS with {host}:{port} ({reason})", "check BFL_BASE_URL and any proxy"
        )
    finally:
        writer.close()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _os_reason(exc: OSError) -> str:
    """asyncio's own words repeat the address; the system's are enough."""
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else reason_of(exc)


def clock_finding(date: str | None, ours: float) -> Finding:
    """Compare the date of a reply with our clock at that moment."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return Finding("clock", "warn", "not compared: the reply has no date")
    skew_s = ours - theirs - 0.5  # whole seconds, cut: half a second too small on average
    if abs(skew_s) < _SKEW_WARN_S:
        return Finding("clock", "ok", f"within {max(1, round(abs(skew_s)))} s of the server's")
    what = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the server's"
    return Finding(
        "clock", "FAIL" if abs(skew_s) >= _SKEW_FAIL_S else "warn", what, "set it, or switch NTP on"
    )


def _host_of(proxy: str) -> str:
    """Return a proxy's host and port: its URL may hold a password."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def proxy_finding(base_url: str | None) -> Finding:
    """Name the environment's proxy for the API, or why there is none."""
    if base_url is None:
        return Finding("proxy", "ok", "not looked for without a host")
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    source = proxy_source(parts.scheme)
    try:
        proxy = environment_proxy(parts.scheme, host)
    except ConfigError as exc:
        return Finding("proxy", "FAIL", str(exc), "correct or unset it")
    if proxy is not None:
        return Finding("proxy", "ok", f"{_host_of(proxy)} for {host}, from {source}")
    if source is None:
        return Finding("proxy", "ok", f"none for {host}")
    if is_loopback(host):
        return Finding("proxy", "ok", f"none for {host}: {source} is not used for this machine itself")
    return Finding("proxy", "ok", f"none for {host}: no_proxy exempts it from {source}")
