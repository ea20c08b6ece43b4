"""What a user sets: limits, timeouts, key and host. All of it is checked before any I/O.

The environment is read here: `BFL_API_KEY`, `BFL_BASE_URL`, `XDG_STATE_HOME` and `XDG_CACHE_HOME`. What concerns
connections belongs to the transport: certificates in `certificates.py`, proxies (`HTTPS_PROXY` and its like) in
`proxies.py`. A value from the environment passes the same checks as an argument, and a message about it names its
variable.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from bfl_async.errors import ConfigError
from bfl_async.runtime.secrets import Secret, Unusable, conceal

ACCOUNT = "account"
"""The pool that every model is in."""

# Source: BFL integration guide of 2024, read 2026-09-25. The documentation of 2026 states 24 for most accounts.
DEFAULT_ACCOUNT = 12

DISCOVER = "discover"

DEFAULT_BASE_URL = "https://api.bfl.ai"

KeyFunction: TypeAlias = "Callable[[], str | Awaitable[str]]"
"""Returns the API key, or an awaitable of it; asked for at each call that carries the key."""

# Source: BFL integration guide, "regional endpoints", read 2026-09-25.
_REGIONS = {"eu": "https://api.eu.bfl.ai", "us": "https://api.us.bfl.ai"}

# Source: BFL errors page and skill pages, read 2026-09-25: 6 active tasks for flux-kontext-max, 5 for video.
_DEFAULT_POOLS = MappingProxyType({"flux-kontext-max": 6, "video": 5})


@dataclass(frozen=True)
class Limits:
    """How many tasks may be active at a time.

    Args:
        account: Active tasks of the whole account, at least 1. The API's guide states 12, its documentation of 2026
            states 24 for most accounts. "discover" finds it out: it starts with 12, or with what was found before,
            and now and then lets one more in while all slots are taken and requests wait.
        pools: Narrower limits for some models, by pool name, at least 1 each; the default is 6 for
            "flux-kontext-max" and 5 for "video". The catalog says which model is in which pool. What is given
            takes the place of the default: a pool that is not named then has no limit of its own.
        queue: At most so many requests wait for a slot; one more is refused with `QueueFullError`.
            None: no bound.
        unknown_s: Seconds for which a slot stays taken when its task can no longer be followed.
            None: twice the model's 99th percentile of the time from accepted to Ready, at least 10 s.
        overlap: Let the next submit leave a little before a slot is free, so that it arrives when one is: the
            share of such submits that may be refused for it, more than 0 and at most 0.5, such as 0.02. None:
            a submit leaves when a slot is free.
    Raises:
        ConfigError: A number is out of its range.
    """

    account: int | Literal["discover"] = DEFAULT_ACCOUNT
    pools: Mapping[str, int] = field(default_factory=lambda: dict(_DEFAULT_POOLS))
    queue: int | None = None
    unknown_s: float | None = None
    overlap: float | None = None

    def __post_init__(self) -> None:
        if not self.discovers:
            _check_count("account", self.account, least=1, words='or "discover", ')
        for name, limit in self.pools.items():
            _check_count(f"pools[{name!r}]", limit, least=1)
        if ACCOUNT in self.pools:
            raise ConfigError("Limits: the account's own limit is `account=`, not an entry of `pools`")
        if self.queue is not None:
            _check_count("queue", self.queue, least=0)
        if self.unknown_s is not None:
            _check_seconds("Limits", "unknown_s", self.unknown_s)
        if self.overlap is not None:
            share = _float_of(self.overlap)
            if share is None or not 0 < share <= 0.5:
                raise ConfigError(
                    f"Limits: overlap must be a share above 0 and up to 0.5, or None, not {short_text(self.overlap)}"
                )
        # A private copy: what the caller does to the dict afterwards changes nothing.
        object.__setattr__(self, "pools", dict(self.pools))

    @property
    def discovers(self) -> bool:
        """True if the limiter is to search for the account's limit."""
        return isinstance(self.account, str) and self.account == DISCOVER

    @property
    def first_account(self) -> int:
        """The account's limit, or the one with which finding it out begins."""
        return self.account if isinstance(self.account, int) else DEFAULT_ACCOUNT


@dataclass(frozen=True)
class Timeouts:
    """Seconds that one step may take.

    Args:
        connect: For making a connection. A request that was never sent is tried again for so long, where
            its caller gave no timeout.
        reply: For the whole reply to a submit, once connected. A poll waits for at most 10 s of it, as it
            can be repeated freely.
        task: For following a task from its acceptance. None: the catalog's, 600 for images, 3,600 for video.
        close: For submits on their way when the client is closed.
    Raises:
        ConfigError: A number is not positive, or not finite.
    """

    connect: float = 10.0
    reply: float = 60.0
    task: float | None = None
    close: float = 10.0

    def __post_init__(self) -> None:
        _check_seconds("Timeouts", "connect", self.connect)
        _check_seconds("Timeouts", "reply", self.reply)
        if self.task is not None:
            _check_seconds("Timeouts", "task", self.task)
        _check_seconds("Timeouts", "close", self.close)


@dataclass(frozen=True)
class Budget:
    """What a client may spend. A request that could pass the cap is refused before it is queued or sent.

    What is in flight or ambiguous counts with its estimate until the server states a cost. What was withdrawn or
    refused unsent gives its estimate back, and so does a task that was moderated or failed, unless the server states a
    cost with that end. Source: BFL help centre, "Why did my request fail?", 12 June 2026 (moderated ones are not
    charged); for failed ones, a reseller's capture of August 2026. Attached tasks do not count. Where a price hangs
    on an input image's size, the header of one given as a `Path` is read when the request is made.

    Args:
        usd: The cap, from the client's opening on.
        unknown_credits: What a request counts for whose price is not known, in credits (0.01 USD).
        on_unknown: "count" it so, or "refuse" it.
    Raises:
        ConfigError: A value is out of its range.
    """

    usd: float
    unknown_credits: float = 10.0
    on_unknown: Literal["count", "refuse"] = "count"

    def __post_init__(self) -> None:
        for name, value in (("usd", self.usd), ("unknown_credits", self.unknown_credits)):
            number = _float_of(value)
            if number is None or not 0 <= number < math.inf:
                raise ConfigError(f"Budget: {name} must be a number from 0 up, not {short_text(value)}")
        if self.on_unknown not in ("count", "refuse"):
            raise ConfigError(
                f"Budget: on_unknown must be 'count' or 'refuse', not {short_text(self.on_unknown)}"
            )


def _check_count(name: str, value: object, *, least: int, words: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"Limits: {name} must be a whole number from {least} up, {words}not {short_text(value)}"
        )


def _check_seconds(owner: str, name: str, value: float) -> None:
    seconds = _float_of(value)
    if seconds is None or not 0 < seconds < math.inf:
        raise ConfigError(f"{owner}: {name} must be a positive number of seconds, not {short_text(value)}")


def _float_of(value: object) -> float | None:
    """Return a number as a float, an infinite one if it is too large; None for NaN and for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(number) else number


_SHOWN_CHARS = 120


def short_text(value: object) -> str:
    """Return the repr of a value for a message, cut to a readable length."""
    try:
        text = repr(value)
    except ValueError:
        # Python writes no integer of more than 4,300 digits.
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def check_timeout(timeout: float | None) -> float | None:
    """Return a caller's timeout in seconds. None means no bound; so does any number too large for a float.

    Every public `timeout` goes through this function. What comes out is never negative, and can be added to a
    clock's time: it is a finite float or None. 0.0 means that the time is already up.

    Raises:
        ConfigError: The timeout is not a number.
    """
    if timeout is None:
        return None
    seconds = _float_of(timeout)
    if seconds is None:
        raise ConfigError(f"timeout must be a number of seconds or None, not {short_text(timeout)}")
    return None if seconds == math.inf else max(0.0, seconds)


def limits_from(limits: int | Limits) -> Limits:
    """Return `limits` as `Limits`; an int is the account's limit."""
    return limits if isinstance(limits, Limits) else Limits(account=limits)


class UnusableKeyError(ConfigError):
    """There is no API key, or it cannot be one. For the command line, which has an exit code for it."""


@contextlib.contextmanager
def key_source(source: Callable[[], str]) -> Iterator[None]:
    """Within: where neither an argument nor `BFL_API_KEY` gives a key, `source` returns it or raises an error."""
    global _key_source
    before, _key_source = _key_source, source
    try:
        yield
    finally:
        _key_source = before


# Written by key_source, read by resolve_key. It is the process's, since threads resolve keys as well.
_key_source: Callable[[], str] | None = None


def resolve_key(api_key: object) -> Secret:
    """Return the API key: the argument, else `BFL_API_KEY`; see `check_key`.

    Args:
        api_key: Concealed by the caller, whose frames an error passes through as well.

    Raises:
        ConfigError: There is none, or it cannot be a header's value.
    """
    if api_key is not None:
        return check_key(api_key, "the api_key argument is empty", source="api_key")
    given = os.environ.get("BFL_API_KEY", "")
    if _key_source is not None and not given.strip(" \t\r\n\"'"):
        return check_key(conceal(_key_source()), "the stored key is empty", source="the stored key")
    return check_key(conceal(given), "BFL_API_KEY is not set", source="BFL_API_KEY")


def check_key(raw: object, missing: str, *, source: str = "the API key") -> Secret:
    """Return a key without white space and quotes around it.

    Keys pasted with quotes or a line end are a common cause of 403 (gelasdev/ComfyUI-FLUX-BFL-API#16).

    Args:
        missing: What the error says of an empty one.
        source: Where the key comes from, for other errors.
    Raises:
        ConfigError: It is empty, not a text, or cannot be a header's value.
    """
    raw = conceal(raw)
    if not isinstance(raw, str):
        kind = raw.kind if isinstance(raw, Unusable) else type(raw).__name__
        raise UnusableKeyError(f"an API key is a text, not {kind}")
    key = Secret(raw.strip().strip("\"'").strip())
    if not key:
        raise UnusableKeyError(f"no API key: {missing}; set BFL_API_KEY or pass api_key=")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UnusableKeyError(f"{source} holds characters that no API key has: copy the key again")
    return key


def resolve_base_url(base_url: str | None, *, allow_http: bool) -> str:
    """Return the base URL: the argument, else `BFL_BASE_URL`, else the API's; without a slash or `/v1` at its end.

    Raises:
        ConfigError: It is not a URL, or plain http to a host that is not this machine.
    """
    source = "BFL_BASE_URL" if base_url is None else "base_url"
    raw = conceal(os.environ.get("BFL_BASE_URL", "") if base_url is None else base_url)
    if not isinstance(raw, str):
        kind = raw.kind if isinstance(raw, Unusable) else type(raw).__name__
        raise ConfigError(f"base_url takes a URL as a text, not {kind}")
    problem, url = _base_url_in(raw, allow_http=allow_http)
    if problem is not None:
        # The value is not shown: it may be the key, set in the wrong place.
        raise ConfigError(f"{source} ({len(raw)} characters) {problem}")
    return url


_NO_URL = "is not a URL: use https://host[:port], 'eu', 'us', or leave it out"


def _base_url_in(raw: str, *, allow_http: bool) -> tuple[str | None, str]:
    """Return what is wrong with a base URL, None if nothing is, and the URL."""
    url = raw.strip().strip("\"'").rstrip("/") or DEFAULT_BASE_URL
    # Every path of a call begins with `/v1`. Other SDKs have it in their base URLs, and so have the pages of hosts.
    url = _REGIONS.get(url, url).removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return _NO_URL, ""
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        return _NO_URL, ""
    if parts.username is not None or parts.query or parts.fragment or " " in url:
        return (
            "must hold nothing but scheme, host, port and path; parameters go into AsyncBFL(query={...})",
            "",
        )
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        return "would send the API key unencrypted: use https (or pass allow_http=True to AsyncBFL)", ""
    return None, url


def account_hash(account: str, base_url: str) -> str:
    """Return a name for an account that other processes can see: it tells neither key nor host.

    Args:
        account: The key, or the caller's own name for the account.
    """
    return hashlib.sha256(f"bfl-async\0{account}\0{base_url}".encode()).hexdigest()[:32]


def state_folder() -> Path:
    """Return the folder for what outlives a process and can be lost without harm.

    A relative `XDG_STATE_HOME` is ignored, as the XDG Base Directory Specification (0.8) demands. Runs in different
    working directories would not share their limits.

    Raises:
        ConfigError: There is neither an absolute `XDG_STATE_HOME` nor a home folder.
    """
    folder = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(folder):
        return Path(folder) / "bfl-async"
    try:
        return Path.home() / ".local" / "state" / "bfl-async"
    except RuntimeError as exc:
        raise ConfigError("this user has no home folder: set XDG_STATE_HOME to an absolute path") from exc


def cache_folder() -> Path | None:
    """Return the folder for what can be found out again; None if there is neither a home nor an `XDG_CACHE_HOME`.

    A relative `XDG_CACHE_HOME` is ignored, as in `state_folder`.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(folder):
        return Path(folder) / "bfl-async"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ".cache" / "bfl-async" if home.is_absolute() else None


def is_loopback(host: str) -> bool:
    """True when the host can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
