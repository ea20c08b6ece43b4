"""Answers that go wrong on the wire. Each is returned by a handler like any other response."""

import asyncio
import socket
import struct
import sys

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

_CUT_MAX_BYTES = (
    16 * 1024
)  # what is sent of a cut answer fits the socket's buffer, so that it goes out at once
_LOOK_S = (
    0.05  # aiohttp tells a handler that its client left only by cancelling all handlers: one has to look
)
_PIECES = 10
_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # closing then sends RST, and no FIN


class Reset(web.Response):
    """No answer: the connection is reset."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Reset the connection in place of sending the head."""
        _reset(request)
        raise ConnectionResetError("a fault: the connection was reset")


class Hang(web.Response):
    """No answer until the client leaves or the server closes."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self._closing = closing

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Wait in place of sending the head."""
        while request.transport is not None and not request.transport.is_closing():
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._closing.wait()
            except TimeoutError:
                continue
            break
        raise ConnectionResetError("a fault: the client left without an answer")


class Cut(web.Response):
    """An answer that announces its whole length, sends at most half of it, and resets the connection."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the head and a part of the body."""
        body = _body(self)
        if request.transport is not None:
            request.transport.write(_head(self, len(body)) + body[: min(len(body) // 2, _CUT_MAX_BYTES)])
        _reset(request)
        raise ConnectionResetError("a fault: the answer was cut off")


class Larger(web.Response):
    """An answer that sends more bytes than it announces, then closes the connection."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, the body and what is too much."""
        body = _body(self)
        if request.transport is not None:
            request.transport.write(_head(self, len(body)) + body + b"more than was announced")
            request.transport.close()
        raise ConnectionResetError("a fault: more was sent than announced")


class Slow(web.StreamResponse):
    """A whole answer, whose body comes in pieces over so many seconds."""

    def __init__(self, whole: web.Response, seconds: float) -> None:
        super().__init__(status=whole.status, headers=whole.headers)
        self._bytes = _body(whole)
        self._pause_s = seconds / _PIECES
        self.content_length = len(self._bytes)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body piece by piece."""
        size = len(self._bytes) // _PIECES + 1
        for start in range(0, len(self._bytes), size):
            await asyncio.sleep(self._pause_s)
            await self.write(self._bytes[start : start + size])
        await super().write_eof(data)


def _reset(request: BaseRequest) -> None:
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    request.transport.abort()


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _head(response: web.Response, announced_bytes: int) -> bytes:
    """The head by hand: aiohttp would not announce another length than it sends."""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name != "Content-Length"]
    lines += [f"Content-Length: {announced_bytes}", "", ""]
    return "\r\n".join(lines).encode()
