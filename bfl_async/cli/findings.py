"""A finding of `doctor`, and what is found out about the key."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from bfl_async._config import (
    resolve_base_url,
    resolve_key,
)
from bfl_async.cli.host_options import NO_HOST_OPTIONS, HostOptions, host_of_command
from bfl_async.errors import (
    ConfigError,
)
from bfl_async.runtime.text import printable

_MAX_LINE = 1_000


T = TypeVar("T")


Level = Literal["ok", "warn", "FAIL"]


CHECK_S = 5.0


_SHOWN_KEY_CHARS = 4


_TELLING_KEY_CHARS = 16  # of a shorter key nothing is shown: four characters would be much of it


@dataclass(frozen=True)
class Finding:
    """What one check found: `what` is so, `todo` is what to do about it."""

    name: str
    level: Level
    what: str
    todo: str = ""

    @property
    def text(self) -> str:
        """What was found and what to do, in one line."""
        return printable(f"{self.name}: {self.what}" + (f"; {self.todo}" if self.todo else ""), _MAX_LINE)

    def __str__(self) -> str:
        return f"{self.level:<4} {self.text}"


@dataclass(frozen=True)
class Place:
    """Where the API is, and the key for it; None: there is none that can be used."""

    base_url: str | None
    key: str | None
    key_finding: Finding
    url_finding: Finding | None  # why there is no base URL
    host: HostOptions = NO_HOST_OPTIONS


async def within_check_time(
    name: str, check: Callable[[], Awaitable[Finding]], level: Level = "warn"
) -> Finding:
    """Run a check; that it took too long, or broke, is a finding as well."""
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return Finding(name, level, f"no answer within {CHECK_S:g} s")
    except Exception as exc:
        # Whatever a strange machine raises: the other checks are of use all the same.
        return Finding(name, level, f"could not be checked ({reason_of(exc)})")


def reason_of(exc: BaseException) -> str:
    return getattr(exc, "strerror", None) or type(exc).__name__


async def run_blocking(work: Callable[[], T]) -> T:
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


def place_of() -> Place:
    base_url: str | None = None
    url_finding: Finding | None = None
    try:
        base_url = resolve_base_url(None, allow_http=False)
    except ConfigError as exc:
        url_finding = Finding("host", "FAIL", str(exc), "correct BFL_BASE_URL")
    host = NO_HOST_OPTIONS
    try:
        host = host_of_command()
    except ConfigError as exc:
        # Without its headers the host would answer something else.
        base_url, url_finding = None, Finding("host", "FAIL", str(exc), "correct or unset it")
    key: str | None = None
    try:
        key = resolve_key(None)
    except ConfigError as exc:
        return Place(base_url, None, Finding("key", "FAIL", str(exc)), url_finding)
    return Place(base_url, key, key_finding(key, base_url), url_finding, host)


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
