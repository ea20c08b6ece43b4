"""`models --update`: reads BFL's OpenAPI description, says what it has new, and keeps it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bfl_async._config import Timeouts, resolve_base_url
from bfl_async._version import __version__
from bfl_async.cli.output import print_json, print_line, say
from bfl_async.cli.running import run_command
from bfl_async.cli.stored_catalog import current_catalog, keep
from bfl_async.cli.words import counted
from bfl_async.errors import ConfigError, TransportError
from bfl_async.models.openapi import MAX_BYTES, read
from bfl_async.runtime.text import printable
from bfl_async.transport.http import HTTPTransport, user_agent

if TYPE_CHECKING:
    from bfl_async.cli.interrupts import Interrupts
    from bfl_async.models.compare import Difference

_FETCH_S = 30.0
_MAX_LINES = 200


def run_update(source: str, *, as_json: bool) -> int:
    """Read the description, print what changes, and keep it.

    Args:
        source: A file or an http(s) URL; "" is the base URL's `/openapi.json`.
    """

    async def work(_: Interrupts) -> int:
        where = source or f"{resolve_base_url(None, allow_http=False)}/openapi.json"
        is_url = where.lower().startswith(("http://", "https://"))
        data = await fetch(where) if is_url else _read_file(where)
        description = read(data, source=f"'{printable(where)}'")
        before = current_catalog()
        changes = before.changes(description)
        path = keep(data)
        _print(changes, current_catalog().described, as_json=as_json)
        say(f"{counted(len(description.models), 'model')} in the description, which is kept in {path}")
        return 0

    return run_command(work)


def _print(changes: list[Difference], described: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        listed = [{"model": one.model, "field": one.field or None, "change": one.what} for one in changes]
        print_json({"changes": listed, "described": list(described)})
        return
    for one in changes[:_MAX_LINES]:
        print_line(printable(str(one), 1_000))
    if len(changes) > _MAX_LINES:
        print_line(f"... and {len(changes) - _MAX_LINES} more")
    if not changes:
        print_line("nothing has changed")


def _read_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise ConfigError(f"'{printable(name)}' cannot be read: {reason}") from exc


class _Bounded:
    """Takes as much of a reply as a description may have."""

    def __init__(self) -> None:
        self.data = bytearray()

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take any reply: what it holds is judged when it is read."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ConfigError: There are more than a description may have.
        """
        self.data += chunk
        if len(self.data) > MAX_BYTES:
            raise ConfigError(f"the description has more than {MAX_BYTES // 2**20} MB")


async def fetch(url: str) -> bytes:
    """Return what a URL serves, within the bounds of a description. No key is sent.

    Raises:
        ConfigError: It is not a URL, or serves too much.
        TransportError, UntrustedURLError: It cannot be fetched.
    Cancellation: Ends the call.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ConfigError(f"'{printable(url)}' is not a URL")
    origin = resolve_base_url(f"{parts.scheme}://{parts.netloc}", allow_http=False)
    transport = HTTPTransport(
        key="none", base_url=origin, timeouts=Timeouts(), connections=1, agent=user_agent(__version__)
    )
    taken = _Bounded()
    await transport.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(transport.aclose)
        reply = await transport.download_to(url, taken, timeout=_FETCH_S)
    if not 200 <= reply.status_code < 300:
        raise TransportError(
            f"{printable(url.partition('?')[0])} answered {reply.status_code}: download the file, and pass its name"
        )
    return bytes(taken.data)
