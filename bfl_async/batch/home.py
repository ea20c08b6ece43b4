"""Whose a ledger is: entries of one API mean nothing to another, and the sandbox's images are not paid ones."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from bfl_async._config import is_loopback
from bfl_async.errors import ConfigError

# What a ledger notes for all servers on this machine.
_HERE = "this machine"


def home_of(base_url: str) -> str:
    """Return whom a base URL belongs to: regions are one API, and so are all servers on this machine."""
    host = urlsplit(base_url).hostname or ""
    if is_loopback(host):
        return _HERE
    return "bfl.ai" if host == "bfl.ai" or host.endswith(".bfl.ai") else host


def check_home(notes: Mapping[str, str], home: str, ledger: str) -> None:
    """Check that a ledger belongs to an API.

    Args:
        notes: The ledger's; a new one has none.
        ledger: Its name, for the message.
    Raises:
        ConfigError: It belongs to another one.
    """
    noted = notes.get("home", home)
    if noted != home:
        raise ConfigError(
            f"the ledger {ledger!r} was begun with {_in_words(noted)}, and this run uses {_in_words(home)}: choose "
            "another ledger and folder"
        )


def _in_words(home: str) -> str:
    return "the sandbox (or another server on this machine)" if home == _HERE else home
