"""The body of a submit, which answers the question that money depends on: was the request sent?

The connection answers it, and not the class of an exception: the same `ServerDisconnectedError` may come from a proxy
that refused the tunnel, or after the request was read.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Self

import aiohttp

from bfl_async.runtime.time import TimeLimit

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_WRITE_BYTES = 2**16


class Body(aiohttp.Payload):
    """The body of a submit, which knows whether its request left.

    aiohttp holds a request's headers back until the first piece of its body, and sends both in one write. So nothing
    has left before `write_with_length` is called: not while a name is looked up, a connection or a tunnel through a
    proxy is made, or a connection of the pool turns out to be closed.
    """

    def __init__(self, value: bytes, limit: TimeLimit, reply_s: float) -> None:
        super().__init__(value, content_type="application/json")
        self._bytes = value
        self._limit = limit
        self._reply_s = reply_s
        # True once aiohttp has made a request of it: from then on `left` can be relied on.
        self.prepared: bool = False
        # True from the moment at which the first byte of the request may have left; never False again.
        self.left: bool = False

    @property
    def size(self) -> int:
        """Bytes in all."""
        self.prepared = True
        return len(self._bytes)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text."""
        return self._bytes.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it; see `write_with_length`."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send it, a large one in pieces: written at once it would hold up the loop."""
        transport = writer.transport
        if transport is not None and _is_hung_up(transport):
            # The loop had no turn yet to see it: it was blocked, or the process suspended.
            raise aiohttp.ClientConnectionResetError("the connection was closed")
        if transport is not None and not transport.is_closing():
            # The next call writes to the socket, without a wait between.
            self.left = True
            self._limit.restart(self._reply_s)
        body = memoryview(self._bytes)[:content_length]
        for start in range(0, max(1, len(body)), _WRITE_BYTES):
            await writer.write(body[start : start + _WRITE_BYTES])

    # Tests that replace aiohttp's requests (aioresponses) copy what a call was given, and compare it with the bytes
    # that were to be sent.
    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        return self._bytes == (other._bytes if isinstance(other, Body) else other)

    def __hash__(self) -> int:
        return object.__hash__(self)


# What tells that the other side sends nothing more, whatever is left to read. Where the system has no such thing, the
# loop's own word has to do.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)


def _is_hung_up(transport: asyncio.BaseTransport) -> bool:
    sock = transport.get_extra_info("socket")
    if not _HUNG_UP or sock is None or (fd := sock.fileno()) < 0:
        return False
    look = select.poll()
    look.register(fd, _HUNG_UP)
    return bool(look.poll(0))
