"""Reads the body of a reply within its bounds: bytes in all, and the silence between them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import aiohttp

from bfl_async.protocols.transport import Sink
from bfl_async.runtime.time import TimeLimit
from bfl_async.transport.failures import too_large

# Bytes that show that a download goes on; fewer are a trickle.
_MIN_PROGRESS_BYTES = 4_096
# How long a sink may take for a piece. Disks that sleep, and those of other machines, may need some seconds.
_SINK_S = 60.0


async def read(
    response: aiohttp.ClientResponse,
    max_bytes: int,
    limit: TimeLimit,
    next_s: float | None,
    *,
    cut: bool = False,
    grow: Callable[[bytes], int] | None = None,
) -> bytes:
    """Read a body as it comes, at most `max_bytes`.

    Args:
        cut: Return so much of a longer one.
        grow: Returns the bound of a longer one, by what has come of it.
    """
    incoming = response.content
    if incoming.is_eof():
        # A short reply has come whole by now, and there is nothing to wait for.
        content = incoming.read_nowait()
        if len(content) > max_bytes and grow is not None:
            max_bytes = grow(content)
        if len(content) > max_bytes and not cut:
            raise too_large(response, max_bytes)
        if incoming.at_eof() or len(content) > max_bytes:
            return content[:max_bytes]
        buffer = io.BytesIO(content)
        buffer.seek(0, io.SEEK_END)
    else:
        buffer = io.BytesIO()
    # A BytesIO grows in place and hands its buffer over without a copy, so that neither the loop nor the memory pays
    # for the size of a video.
    wanted = 0
    while not incoming.at_eof():
        chunk = await incoming.readany()
        if next_s is not None and buffer.tell() + len(chunk) >= wanted:
            limit.restart(next_s)
            wanted = buffer.tell() + len(chunk) + _MIN_PROGRESS_BYTES
        if buffer.tell() + len(chunk) > max_bytes and grow is not None:
            max_bytes, grow = grow(buffer.getvalue()), None
        if buffer.tell() + len(chunk) > max_bytes:
            error = too_large(response, max_bytes)
            if not cut:
                raise error
            buffer.write(chunk[: max_bytes - buffer.tell()])
            break
        buffer.write(chunk)
    return buffer.getvalue()


async def pour(response: aiohttp.ClientResponse, sink: Sink, limit: TimeLimit, next_s: float | None) -> None:
    """Hand a body over piece by piece. The silence of the host counts, and not the time that the sink takes."""
    sink.begin(response.headers)
    incoming = response.content
    missing = _MIN_PROGRESS_BYTES
    while not incoming.at_eof():
        chunk = await incoming.readany()
        with limit.held(_SINK_S):
            await sink.write(chunk)
        missing -= len(chunk)
        if next_s is not None and missing <= 0:
            limit.restart(next_s)
            missing = _MIN_PROGRESS_BYTES


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body without its Content-Encoding, of which at most `max_bytes` + 1 bytes are made.

    Raises:
        ValueError: It is not what its header says, breaks off, or has an encoding that was not asked for.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    unpacked, is_whole = _unpack(body, encoding, max_bytes + 1)
    if len(unpacked) <= max_bytes and not is_whole:
        raise ValueError("it breaks off")
    return unpacked


def beginning_of(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the first bytes of a body that is not whole, without its Content-Encoding.

    Raises:
        ValueError: As `inflate`.
    """
    encoding = encoding.strip().lower()
    return body[:max_bytes] if encoding in ("", "identity") else _unpack(body, encoding, max_bytes)[0]


def _unpack(body: bytes, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """Return at most so many bytes, and whether they are all."""
    if encoding in ("gzip", "x-gzip"):
        wbits = 16 + zlib.MAX_WBITS
    elif encoding == "deflate":
        # Some servers leave out the header of zlib.
        wbits = zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS
    else:
        raise ValueError("an encoding that was not asked for")
    unpacking = zlib.decompressobj(wbits)
    try:
        return unpacking.decompress(body, max_bytes), unpacking.eof
    except zlib.error as exc:
        raise ValueError("not what its Content-Encoding says") from exc
