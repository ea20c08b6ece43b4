"""The API key of the command line: that of the environment, else one that `login` has stored.

A key is stored in the system's keyring if the package `keyring` is installed and has one, else in a file that its owner
alone can read. It is stored for a host: a key for BFL is never sent to the host of another BFL_BASE_URL.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

import click
import platformdirs

from bfl_async._config import UnusableKeyError, resolve_base_url
from bfl_async.errors import ConfigError
from bfl_async.runtime.files import open_private
from bfl_async.runtime.secrets import Secret

_SERVICE = "bfl-async"
# Source: BFL quick start, "API keys", read 2026-09-25.
_WHERE = "create a key at https://dashboard.bfl.ai"
_BFL = "https://api.bfl.ai"
_MAX_BYTES = 2**20


class _Keyring(Protocol):
    """What is used of the package `keyring`."""

    def get_password(self, service_name: str, username: str) -> str | None: ...
    def set_password(self, service_name: str, username: str, password: str) -> None: ...
    def delete_password(self, service_name: str, username: str) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that `login` has stored.

    Attributes:
        key: The key.
        place: Where it is, for people.
    """

    key: Secret
    place: str


def host_of_keys() -> str:
    """Return the host that a key belongs to, of all of BFL's regions the one name.

    Raises:
        ConfigError: BFL_BASE_URL cannot be used.
    """
    base_url = resolve_base_url(None, allow_http=False)
    parts = urlsplit(base_url)
    is_bfl = parts.scheme == "https" and f".{parts.hostname}".endswith(".bfl.ai")
    return _BFL if is_bfl else f"{parts.scheme}://{parts.netloc}"


def stored_key(host: str) -> StoredKey | None:
    """Return the key that is stored for a host; None if there is none, or it cannot be read."""
    ring = _keyring()
    # A backend may fail in any way of its own: a locked ring, a bus that is not there.
    with contextlib.suppress(Exception):
        key = None if ring is None else ring.get_password(_SERVICE, host)
        if key:
            return StoredKey(Secret(key), "the system's keyring")
    path = _path()
    found = _read(path).get(host) if path is not None else None
    return StoredKey(Secret(found), f"'{path}'") if found else None


def store_key(key: Secret, host: str, *, to_file: bool) -> str:
    """Store a key for a host, and forget an earlier one; return where it is, for people.

    Raises:
        ConfigError: It cannot be stored.
    """
    forget_key(host)
    ring = None if to_file else _keyring()
    with contextlib.suppress(Exception):
        if ring is not None:
            ring.set_password(_SERVICE, host, str(key))
            # Some backends take everything and keep nothing.
            if ring.get_password(_SERVICE, host) == key:
                return "the system's keyring"
    path = _path()
    if path is None:
        raise ConfigError("this user has no home folder: set XDG_CONFIG_HOME, or use BFL_API_KEY")
    _write(path, {**_read(path), host: str(key)})
    return f"'{path}', which only you can read"


def forget_key(host: str) -> bool:
    """Remove the keys that are stored for a host; return whether there was one.

    Raises:
        ConfigError: The file cannot be written.
    """
    found = False
    ring = _keyring()
    with contextlib.suppress(Exception):
        if ring is not None and ring.get_password(_SERVICE, host):
            ring.delete_password(_SERVICE, host)
            found = True
    path = _path()
    kept = _read(path) if path is not None else {}
    if path is not None and host in kept:
        _write(path, {name: key for name, key in kept.items() if name != host})
        found = True
    return found


def _keyring() -> _Keyring | None:
    try:
        return cast("_Keyring", importlib.import_module("keyring"))
    except Exception:  # it may be installed and broken
        return None


def _path() -> Path | None:
    try:
        folder = platformdirs.user_config_path("bfl-async", appauthor=False)
    except RuntimeError:
        return None
    # Without a home it begins with a literal `~`.
    return folder / "keys.json" if folder.is_absolute() else None


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: Secret(key) for name, key in kept.items() if isinstance(key, str)}


def _write(path: Path, keys: dict[str, str]) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(part, "xb", opener=open_private) as file:
            file.write(json.dumps({name: str(key) for name, key in keys.items()}).encode())
        os.replace(part, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigError(f"cannot write '{path}': {exc.strerror or type(exc).__name__}") from exc


def key_of_this_user() -> str:
    """Return the stored key, for a command that found none in the environment.

    Raises:
        UnusableKeyError: There is none. The message says how to get one, in words of the shell.
    """
    found = stored_key(host_of_keys())
    if found is not None:
        return found.key
    ways = [f"set BFL_API_KEY ({_WHERE})", "run `bfl-async login`"]
    context = click.get_current_context(silent=True)
    options = [] if context is None else [name for option in context.command.params for name in option.opts]
    if "--sandbox" in options:
        ways.append("add --sandbox to try without one")
    raise UnusableKeyError(f"no API key: {', '.join(ways[:-1])}, or {ways[-1]}")
