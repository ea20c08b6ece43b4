"""The doctor: what stands between this machine and an image, a line a check.

Each check has 5 seconds and cannot raise: what it meets is its finding. Name lookups and file systems may hang where
nothing can cancel them; these run in daemon threads, which nobody waits for at the end.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sqlite3
import ssl
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from bfl_async import __version__
from bfl_async._config import (
    Timeouts,
    environment_proxy,
    environment_ssl_context,
    is_loopback,
    proxy_source,
    resolve_base_url,
    resolve_key,
)
from bfl_async._text import printable
from bfl_async.cli.cache import cache_folder
from bfl_async.cli.exit_codes import ExitCode
from bfl_async.cli.output import print_json, print_line
from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    ConfigError,
    InsufficientCreditsError,
    TransportError,
)
from bfl_async.ledger.sqlite import has_wal_bug

T = TypeVar("T")
Level = Literal["ok", "warn", "FAIL"]

CHECK_S = 5.0
_ACCOUNT_CHECKS = ("key", "credits")
_SKEW_WARN_S = 30.0  # `Date` counts whole seconds; a result's end is minutes away
_SKEW_FAIL_S = 300.0  # half of a result's ten minutes; certificates are judged by the clock as well
_LITTLE_CREDIT = 10.0  # credits: a few images
_LITTLE_SPACE_BYTES = 2**30
_SHOWN_KEY_CHARS = 4
_MAX_LINE = 1_000
_TELLING_KEY_CHARS = 16  # of a shorter key nothing is shown: four characters would be much of it


@dataclass(frozen=True)
class Finding:
    """What one check found: `what` is so, `todo` is what to do about it."""

    name: str
    level: Level
    what: str
    todo: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.what}" + (f"; {self.todo}" if self.todo else "")
        return f"{self.level:<4} {printable(text, _MAX_LINE)}"


@dataclass(frozen=True)
class _Place:
    """Where the API is, and the key for it; None: there is none that can be used."""

    base_url: str | None
    key: str | None
    key_finding: Finding
    url_finding: Finding | None  # why there is no base URL


async def examine(*, as_json: bool, sandbox: bool) -> int:
    """Run all checks, print a line each, and return the exit code."""
    async with AsyncExitStack() as stack:
        if sandbox:
            from bfl_async.sandbox import Sandbox

            server = await stack.enter_async_context(Sandbox())
            finding = Finding("key", "ok", "that of the embedded sandbox")
            place = _Place(server.url, server.key, finding, None)
        else:
            place = _place()
        findings = await findings_of(place)
    code = exit_code_of_findings(findings)
    if as_json:
        print_json(
            {
                "ok": code == 0,
                "exit_code": code,
                "checks": [asdict(each) for each in findings],
                "versions": versions(),
            }
        )
    else:
        for each in findings:
            print_line(str(each))
    return code


def exit_code_of_findings(findings: list[Finding]) -> int:
    """0 unless a check failed; 4 when only the key or the credits did."""
    failed = {each.name for each in findings if each.level == "FAIL"}
    if not failed:
        return ExitCode.DONE
    return ExitCode.ACCOUNT if failed <= set(_ACCOUNT_CHECKS) else ExitCode.FAILED


async def findings_of(place: _Place) -> list[Finding]:
    """Run the checks side by side; their order is that of the lines."""
    reached: asyncio.Future[tuple[Finding, Finding]] = asyncio.ensure_future(_host_and_clock(place))

    async def credits_once_reached() -> Finding:
        host, _ = await asyncio.shield(reached)
        if host.level == "FAIL":
            return Finding("credits", "warn", "not asked, as the host was not reached")
        return await _bounded("credits", lambda: _credits(place))

    host_and_clock, rest = await asyncio.gather(
        reached,
        asyncio.gather(
            credits_once_reached(),
            _bounded("proxy", lambda: _blocking(lambda: proxy_finding(place.base_url))),
            _bounded(
                "output folder",
                lambda: _blocking(lambda: folder_finding("output folder", Path("out"))),
                "FAIL",
            ),
            _bounded("cache folder", lambda: _blocking(cache_finding)),
            _bounded("sqlite", lambda: _blocking(lambda: sqlite_finding(sqlite3.sqlite_version))),
            _bounded("versions", lambda: _blocking(versions_finding)),
            _bounded("extras", lambda: _blocking(extras_finding)),
        ),
    )
    return [place.key_finding, *host_and_clock, *rest]


async def _bounded(name: str, check: Callable[[], Awaitable[Finding]], level: Level = "warn") -> Finding:
    """Run a check; that it took too long, or broke, is a finding as well."""
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return Finding(name, level, f"no answer within {CHECK_S:g} s")
    except Exception as exc:
        # Whatever a strange machine raises: the other checks are of use all the same.
        return Finding(name, level, f"could not be checked ({_reason(exc)})")


def _reason(exc: BaseException) -> str:
    return getattr(exc, "strerror", None) or type(exc).__name__


async def _blocking(work: Callable[[], T]) -> T:
    """Run what blocks in a daemon thread: one that hangs keeps neither the loop nor the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]  # None only where T allows it

    def run() -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = work()
        except Exception as exc:  # raised anew where it is awaited
            error = exc
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name="bfl-async-doctor", daemon=True).start()
    return await done


# --- key and host -------------------------------------------------------------------------------------------


def _place() -> _Place:
    base_url: str | None = None
    url_finding: Finding | None = None
    try:
        base_url = resolve_base_url(None, allow_http=False)
    except ConfigError as exc:
        url_finding = Finding("host", "FAIL", str(exc), "correct BFL_BASE_URL")
    key: str | None = None
    try:
        key = resolve_key(None)
    except ConfigError as exc:
        return _Place(base_url, None, Finding("key", "FAIL", str(exc)), url_finding)
    return _Place(base_url, key, key_finding(key, base_url), url_finding)


def key_finding(key: str, base_url: str | None) -> Finding:
    """Judge a key by its shape; of the key itself at most four characters are shown."""
    shown = f"present, {len(key)} characters"
    if len(key) >= _TELLING_KEY_CHARS:
        shown += f", the last are {key[-_SHOWN_KEY_CHARS:]!r}"
    host = urlsplit(base_url or "").hostname or ""
    if not host.endswith((".bfl.ai", ".bfl.ml")):
        return Finding("key", "ok", shown)  # a stand-in's keys may look as they like
    # Source: BFL quick start, "API keys", read 2026-09-25: bfl_...; older ones are UUIDs.
    if not (re.fullmatch(r"bfl_[A-Za-z0-9_-]{12,}", key) or _is_uuid(key)):
        return Finding(
            "key", "warn", f"{shown}; BFL's begin with bfl_ or are UUIDs", "compare BFL_API_KEY with the dashboard"
        )  # fmt: skip
    return Finding("key", "ok", shown)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


async def _host_and_clock(place: _Place) -> tuple[Finding, Finding]:
    """The host, step by step, and the clock by the date of its reply. Nothing is sent with the key."""
    unknown = Finding("clock", "warn", "not compared, as the host was not reached")
    base_url = place.base_url
    if base_url is None:
        return place.url_finding or Finding("host", "FAIL", "no base URL"), unknown
    dates: list[tuple[str | None, float]] = []
    host = await _bounded("host", lambda: _host(base_url, dates), "FAIL")
    if not dates:
        return host, unknown
    return host, clock_finding(*dates[-1])


async def _host(base_url: str, dates: list[tuple[str | None, float]]) -> Finding:
    from bfl_async.transport.http import HTTPTransport, user_agent

    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        proxy = await _blocking(lambda: environment_proxy(parts.scheme, host))
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
            addresses = await _blocking(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError:
        return Finding("host", "FAIL", f"the name {host} is not answered", "check the network and its DNS")
    except (OSError, UnicodeError) as exc:
        todo = "check BFL_BASE_URL, the network and its DNS"
        return Finding("host", "FAIL", f"the name {host} cannot be found ({_reason(exc)})", todo)
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
    try:
        if tls:
            async with asyncio.timeout(CHECK_S * 0.6):
                context = await _blocking(lambda: environment_ssl_context() or ssl.create_default_context())
                await writer.start_tls(context, server_hostname=host)
            steps += f", TLS in {_ms(time.monotonic() - connected)}"
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
        reason = exc.reason if isinstance(exc, ssl.SSLError) else _reason(exc)
        return Finding(
            "host", "FAIL", f"no TLS with {host}:{port} ({reason})", "check BFL_BASE_URL and any proxy"
        )
    finally:
        writer.close()
    return steps


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _os_reason(exc: OSError) -> str:
    """asyncio's own words repeat the address; the system's are enough."""
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else _reason(exc)


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


async def _credits(place: _Place) -> Finding:
    if place.key is None or place.base_url is None:
        return Finding("credits", "warn", "not asked without a key")
    from bfl_async import AsyncBFL

    try:
        async with AsyncBFL(place.key, base_url=place.base_url) as bfl:
            balance = await bfl.credits()
    except AuthenticationError as exc:
        return Finding("credits", "FAIL", f"the key is refused ({exc.status_code})", "check BFL_API_KEY")
    except InsufficientCreditsError:
        return Finding("credits", "FAIL", "the account has none left (402)", "buy credits")
    except BFLError as exc:
        return Finding("credits", "warn", str(exc), "try again later")
    if balance <= 0:
        return Finding("credits", "FAIL", f"the account is empty ({balance:g})", "buy credits")
    if balance < _LITTLE_CREDIT:
        return Finding("credits", "warn", f"{balance:g} left, a few images", "buy credits")
    return Finding("credits", "ok", f"{balance:g}")


# --- the machine --------------------------------------------------------------------------------------------


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


def cache_finding() -> Finding:
    """See whether what is learnt of the models' times can be kept."""
    folder = cache_folder()
    if folder is None:
        return Finding(
            "cache folder", "warn", "this user has no home folder", "set XDG_CACHE_HOME and XDG_STATE_HOME"
        )
    return folder_finding("cache folder", folder)


def folder_finding(name: str, folder: Path) -> Finding:
    """See whether files can be written to a folder, or to the one that it would be made in, and how much."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    shown = str(folder) if place == folder.absolute() else f"{folder} (to be made)"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".bfl-async-"):
            pass
        free = shutil.disk_usage(place).free
    except OSError as exc:
        todo = "choose another with -o" if name.startswith("output") else "set XDG_CACHE_HOME"
        level: Level = "FAIL" if name.startswith("output") else "warn"
        return Finding(name, level, f"cannot write to {shown} ({_reason(exc)})", todo)
    space = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_SPACE_BYTES:
        return Finding(name, "warn", f"{shown}: {space}", "make room: an image takes about 1 MiB")
    return Finding(name, "ok", f"{shown}, {space}")


def sqlite_finding(version: str) -> Finding:
    """Say how the ledger keeps clear of the WAL-reset bug where SQLite has it.

    Source: SQLite, "The WAL-reset bug": in 3.7.0 to 3.51.2; mended in 3.51.3, 3.50.7 and 3.44.6.
    """
    number = tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])
    if not has_wal_bug(number):
        return Finding("sqlite", "ok", version)
    return Finding(
        "sqlite", "ok", f"{version} has the WAL-reset bug: ledgers are kept with a rollback journal instead of a WAL"
    )  # fmt: skip


_REQUIREMENT = re.compile(
    r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?[^;]*(?:;\s*extra\s*==\s*['\"]([^'\"]+)['\"])?"
)


def _requirements() -> list[tuple[str, tuple[int, ...], str | None]]:
    """What the package's metadata asks for: name, least version, extra."""
    found = []
    for line in importlib.metadata.requires("bfl-async") or ():
        match = _REQUIREMENT.match(line)
        if match is not None:
            found.append((match[1], _numbers(match[2] or "0"), match[3]))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return what a bug report should say: system, Python, SQLite, this package, and what of its needs is there."""
    shown = {
        "bfl-async": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
    }
    for package, _, _ in _requirements():
        if (version := _version_of(package)) is not None:
            shown[package] = version
    return shown


def versions_finding() -> Finding:
    """Name the versions of Python, of this package and of what it stands on."""
    shown = [f"bfl-async {__version__}", f"Python {platform.python_version()}"]
    wrong = ["Python below 3.11"] if sys.version_info < (3, 11) else []
    for package, least, extra in _requirements():
        if extra is not None:
            continue
        version = _version_of(package)
        shown.append(f"{package} {version or 'missing'}")
        if version is None or _numbers(version) < least:
            wrong.append(f"{package} below {'.'.join(map(str, least))}")
    if wrong:
        todo = "install bfl-async anew: pip install -U bfl-async"
        return Finding("versions", "FAIL", f"{', '.join(shown)}: {', '.join(wrong)}", todo)
    return Finding("versions", "ok", ", ".join(shown))


def extras_finding() -> Finding:
    """Say which optional parts are there."""
    packages: dict[str, list[str]] = {}
    for package, least, extra in _requirements():
        if extra is not None and extra != "all":
            version = _version_of(package)
            missing = version is None or _numbers(version) < least
            packages.setdefault(extra, []).extend([package] if missing else [])
    present = [extra for extra, missing in packages.items() if not missing]
    absent = [extra for extra, missing in packages.items() if missing]
    if not absent:
        return Finding("extras", "ok", f"{', '.join(present) or 'none known'}")
    todo = f"for them: pip install 'bfl-async[{','.join(absent)}]'"
    return Finding("extras", "warn", f"{', '.join(present) or 'none'}; not there: {', '.join(absent)}", todo)
