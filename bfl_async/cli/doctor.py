"""The doctor: what stands between this machine and an image, a line a check.

Each check has 5 seconds and cannot raise: what it meets is its finding. Name lookups and file systems may hang where
nothing can cancel them; these run in daemon threads, which nobody waits for at the end.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from bfl_async import AsyncBFL
from bfl_async._config import DEFAULT_ACCOUNT, account_hash, state_folder
from bfl_async._config import cache_folder as limit_folder
from bfl_async._version import __version__
from bfl_async.cli.cache import cache_folder
from bfl_async.cli.doctor_catalog import catalog_finding
from bfl_async.cli.doctor_host import examine_host, proxy_finding
from bfl_async.cli.doctor_key import examine_key
from bfl_async.cli.exit_codes import ExitCode
from bfl_async.cli.findings import (
    CHECK_S,
    Finding,
    Level,
    Place,
    place_of,
    reason_of,
    run_blocking,
    within_check_time,
)
from bfl_async.cli.host_options import refuse_host_options
from bfl_async.cli.output import print_json, print_line, print_marked
from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    ConfigError,
    InsufficientCreditsError,
)
from bfl_async.ledger.schema import has_wal_bug
from bfl_async.limiter.file import found_limit
from bfl_async.limiter.memory import remembered_limit

_NOTHING_FOUND = (
    f"runs take {DEFAULT_ACCOUNT} active tasks; "
    "batch --limit discover finds out how many the account may have"
)
_ACCOUNT_CHECKS = ("key", "credits")
_COLORS: dict[Level, str] = {"ok": "green", "warn": "yellow", "FAIL": "red"}
_LITTLE_CREDIT = 10.0  # credits: a few images
_LITTLE_SPACE_BYTES = 2**30


def run_doctor(*, as_json: bool, sandbox: bool) -> int:
    """Run all checks, print a line each, and return the exit code."""
    if sandbox:
        refuse_host_options()
    return asyncio.run(examine(as_json=as_json, sandbox=sandbox))


async def examine(*, as_json: bool, sandbox: bool) -> int:
    """Run all checks, print a line each, and return the exit code."""
    async with AsyncExitStack() as stack:
        if sandbox:
            from bfl_async.sandbox import Sandbox

            server = await stack.enter_async_context(Sandbox())
            finding = Finding("key", "ok", "that of the embedded sandbox")
            place = Place(server.url, server.key, finding, None)
        else:
            place = place_of()
        findings = await findings_of(place)
        slots = await slots_of(place)
    code = exit_code_of_findings(findings)
    if as_json:
        print_json(
            {
                "ok": code == 0,
                "exit_code": code,
                "checks": [asdict(each) for each in findings],
                "slots": slots,
                "versions": versions(),
            }
        )
    else:
        for each in findings:
            print_marked(f"{each.level:<4}", _COLORS[each.level], each.text)
        print_line(f"     slots: {slots}")
    return code


def exit_code_of_findings(findings: list[Finding]) -> int:
    """0 unless a check failed; 4 when only the key or the credits did."""
    failed = {each.name for each in findings if each.level == "FAIL"}
    if not failed:
        return ExitCode.DONE
    return ExitCode.ACCOUNT if failed <= set(_ACCOUNT_CHECKS) else ExitCode.FAILED


async def findings_of(place: Place) -> list[Finding]:
    """Run the checks side by side; their order is that of the lines."""
    reached: asyncio.Future[tuple[Finding, Finding]] = asyncio.ensure_future(examine_host(place))

    async def credits_once_reached() -> Finding:
        host, _ = await asyncio.shield(reached)
        if host.level == "FAIL":
            return Finding("credits", "warn", "not asked, as the host was not reached")
        return await within_check_time("credits", lambda: _credits(place))

    async def key_once_reached() -> Finding:
        host, _ = await asyncio.shield(reached)
        if host.level == "FAIL":
            return place.key_finding
        return await within_check_time("key", lambda: examine_key(place))

    host_and_clock, key, rest = await asyncio.gather(
        reached,
        key_once_reached(),
        asyncio.gather(
            credits_once_reached(),
            within_check_time("proxy", lambda: run_blocking(lambda: proxy_finding(place.base_url))),
            within_check_time(
                "output folder",
                lambda: run_blocking(lambda: folder_finding("output folder", Path("out"))),
                "FAIL",
            ),
            within_check_time("cache folder", lambda: run_blocking(cache_finding)),
            within_check_time("catalog", lambda: run_blocking(catalog_finding)),
            within_check_time("sqlite", lambda: run_blocking(lambda: sqlite_finding(sqlite3.sqlite_version))),
            within_check_time("versions", lambda: run_blocking(versions_finding)),
            within_check_time("extras", lambda: run_blocking(extras_finding)),
        ),
    )
    return [key, *host_and_clock, *rest]


# --- key and host -------------------------------------------------------------------------------------------


async def _credits(place: Place) -> Finding:
    if place.key is None or place.base_url is None:
        return Finding("credits", "warn", "not asked without a key")
    try:
        host = place.host
        async with AsyncBFL(
            place.key,
            base_url=place.base_url,
            default_headers=host.headers,
            query=host.query,
            trusted_hosts=host.trusted_hosts,
        ) as bfl:
            balance = await bfl.credits()
    except AuthenticationError as exc:
        return Finding("credits", "FAIL", f"the key is refused ({exc.status_code})", "check BFL_API_KEY")
    except InsufficientCreditsError:
        return Finding("credits", "FAIL", "the account has no credits left (402)", "buy credits")
    except BFLError as exc:
        return Finding("credits", "warn", str(exc), "try again later")
    if balance <= 0:
        return Finding("credits", "FAIL", f"the account is empty ({balance:g})", "buy credits")
    if balance < _LITTLE_CREDIT:
        return Finding("credits", "warn", f"{balance:g} left, enough for a few images", "buy credits")
    return Finding("credits", "ok", f"{balance:g}")


# --- the machine --------------------------------------------------------------------------------------------


def cache_finding() -> Finding:
    """See whether what is learnt of the models' times can be kept."""
    folder = cache_folder()
    if folder is None:
        return Finding(
            "cache folder", "warn", "this user has no home folder", "set XDG_CACHE_HOME and XDG_STATE_HOME"
        )
    return folder_finding("cache folder", folder)


async def slots_of(place: Place) -> str:
    """Say how many active tasks a run takes, and how to find out how many the account may have."""
    if place.key is None or place.base_url is None:
        return _NOTHING_FOUND
    account = account_hash(place.key, place.base_url)
    shared, own = await asyncio.gather(
        _limit_in(lambda: found_limit(state_folder(), account)),
        _limit_in(lambda: None if (folder := limit_folder()) is None else remembered_limit(folder, account)),
    )
    found = []
    if shared is not None:
        found.append(f"a run with --limit discover found that {shared} tasks may be active")
    if own is not None and own != shared:
        found.append(f"a program that searched in one process found that {own} tasks may be active")
    return "; ".join(found) or _NOTHING_FOUND


async def _limit_in(look: Callable[[], int | None]) -> int | None:
    """Return what is kept of the account's limit; None where nothing is, or it cannot be read in time."""
    try:
        async with asyncio.timeout(CHECK_S):
            return await run_blocking(look)
    except (ConfigError, OSError, TimeoutError):
        return None


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
        return Finding(name, level, f"cannot write to {shown} ({reason_of(exc)})", todo)
    space = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_SPACE_BYTES:
        return Finding(name, "warn", f"{shown}: {space}", "make room: an image takes about 1 MiB")
    return Finding(name, "ok", f"{shown}, {space}")


def sqlite_finding(version: str) -> Finding:
    """Return the version of SQLite, and which journal ledgers have with it.

    Versions with the WAL-reset bug have a rollback journal, so that it does not matter.
    Source: SQLite, "The WAL-reset bug": in 3.7.0 to 3.51.2; fixed in 3.51.3, 3.50.7 and 3.44.6.
    """
    number = tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])
    if not has_wal_bug(number):
        return Finding("sqlite", "ok", version)
    return Finding("sqlite", "ok", f"{version}, with a rollback journal")


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
