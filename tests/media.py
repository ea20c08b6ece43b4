"""Small images and videos, made by hand: headers that are right, and as little behind them as can be."""

from __future__ import annotations

import base64
import struct
import zlib


def png(width: int, height: int, *, lines: int | None = None) -> bytes:
    """A black PNG of this size, one bit for each pixel; with `lines`, it ends after so many rows of them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * (height if lines is None else lines)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_text(width: int, height: int) -> str:
    """The same in base64, as it stands in a request."""
    return base64.b64encode(png(width, height)).decode()


def jpeg(width: int, height: int, *, before: bytes = b"", frame: int = 0xC0) -> bytes:
    """The marks of a JPEG up to its frame, and its end."""
    app0 = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    sof = b"\xff" + bytes([frame]) + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + app0 + before + sof + b"\xff\xd9"


def webp(width: int, height: int, kind: bytes) -> bytes:
    """A WebP's first chunk: "VP8 ", "VP8L" or "VP8X"."""
    match kind:
        case b"VP8 ":
            data = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
        case b"VP8L":
            data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5)
        case _:
            data = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp4(width: int, height: int, seconds: float, *, version: int = 0, moov_last: bool = False) -> bytes:
    """The boxes of an mp4 that say how large and how long it is, and some that say nothing."""

    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", 8 + len(data)) + kind + data

    ticks = round(seconds * 600)
    if version:
        mvhd = struct.pack(">B3xQQIQ", 1, 0, 0, 600, ticks) + bytes(80)
    else:
        mvhd = struct.pack(">B3xIIII", 0, 0, 0, 600, ticks) + bytes(80)
    tkhd = bytes(76) + struct.pack(">II", width << 16, height << 16)
    moov = box(b"moov", box(b"mvhd", mvhd) + box(b"trak", box(b"tkhd", tkhd)))
    mdat = box(b"mdat", bytes(1000))
    return box(b"ftyp", b"mp42\0\0\0\0mp42") + (mdat + moov if moov_last else moov + mdat)
