"""What the first bytes of a file say of its kind and size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

# Marks of a JPEG, chunks of a PNG, and boxes of an mp4 that are looked at: whoever made the file chose their number.
MOST_STEPS = 10_000


_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"qt  ": "video/quicktime",
    b"crx ": "image/x-canon-cr3",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
}


# Of images whose other brands say how they are encoded.
_IMAGE_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})


_VIDEO_BRANDS = frozenset(
    {
        b"isom",
        b"mp41",
        b"mp42",
        b"mp71",
        b"avc1",
        b"hvc1",
        b"M4V ",
        b"M4VP",
        b"M4VH",
        b"dash",
        b"MSNV",
        b"f4v ",
    }
    | {b"iso%d" % number for number in range(2, 10)}
)


_MOST_BRANDS = 64


JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"
"""How a JPEG XL in a container begins. One without begins with its bare codestream."""


def kind_of(data: bytes) -> str | None:
    """Return the media type by a file's first bytes; None for one that is not known."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if data.startswith((b"\xff\x0a", JXL_BOX)):
        return "image/jxl"
    return _kind_of_brands(data) if data[4:8] == b"ftyp" else None


def _kind_of_brands(data: bytes) -> str | None:
    """The container is the same for photos, films and music; the brands say which it is, the main one first."""
    main = data[8:12]
    end = min(int.from_bytes(data[:4]), len(data), 16 + 4 * _MOST_BRANDS)
    others = [data[at : at + 4] for at in range(16, end - 3, 4)]
    if main in _BRANDS:
        return _BRANDS[main]
    if main in _IMAGE_BRANDS:
        found = [_BRANDS[brand] for brand in others if brand in _BRANDS]
        return next((kind for kind in found if kind in ("image/avif", "image/heic")), "image/heif")
    return "video/mp4" if _VIDEO_BRANDS.intersection((main, *others)) else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return an image's width and height in px from its header; None when that cannot be read."""
    kind = kind_of(data)
    size = {"image/png": _png_size, "image/jpeg": _jpeg_size, "image/webp": _webp_size}.get(kind or "")
    found = None if size is None else size(data)
    return found if found is not None and min(found) > 0 else None


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24 or data[8:16] != b"\0\0\0\rIHDR":
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # tables and extensions between the SOFn marks


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(MOST_STEPS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        mark = data[at + 1]
        if mark == 0xFF:  # padding
            at += 1
        elif mark == 0x01 or 0xD0 <= mark <= 0xD8:  # marks without a length
            at += 2
        elif mark in (0xD9, 0xDA):  # the end, or the picture itself, and no frame before it
            return None
        elif 0xC0 <= mark <= 0xCF and mark not in _NO_FRAME:
            if at + 9 > len(data):
                return None
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        else:
            length = int.from_bytes(data[at + 2 : at + 4])
            if length < 2:
                return None
            at += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 ":
            if len(data) < 30 or data[23:26] != b"\x9d\x01\x2a":
                return None
            width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            if len(data) < 25 or data[20] != 0x2F:
                return None
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(data) >= 30:
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def is_turned(data: bytes) -> bool:
    """True for an image that is shown on its side: its tags say so, and its width and height are exchanged then."""
    match kind_of(data):
        case "image/jpeg":
            tags = _jpeg_tags(data)
        case "image/png":
            tags = _png_tags(data)
        case _:
            tags = b""
    return _orientation(tags) in range(5, 9)


def _jpeg_tags(data: bytes) -> bytes:
    at = 2
    for _ in range(MOST_STEPS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in (0xD9, 0xDA):
            break
        length = int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + max(2, length)
    return b""


def _png_tags(data: bytes) -> bytes:
    at = 8
    for _ in range(MOST_STEPS):
        if at + 8 > len(data) or data[at + 4 : at + 8] == b"IDAT":
            break
        length = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _orientation(tags: bytes) -> int:
    """The orientation in a block of EXIF; 0 where it has none."""
    order: Literal["little", "big"] = "little" if tags[:2] == b"II" else "big"
    at = int.from_bytes(tags[4:8], order)
    count = int.from_bytes(tags[at : at + 2], order)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tags) - 11), 12):
        if int.from_bytes(tags[entry : entry + 2], order) == 0x0112:
            return int.from_bytes(tags[entry + 8 : entry + 10], order)
    return 0


class VideoFacts(NamedTuple):
    """What an mp4's header says."""

    width: int
    height: int
    seconds: float


def video_facts(data: bytes) -> VideoFacts | None:
    """Return an mp4's size in px and its length from its `moov` box; None when that cannot be read."""
    seconds = 0.0
    width = height = 0
    for kind, box in _boxes(data, 0, len(data)):
        if kind != b"moov":
            continue
        for inner, (begin, end) in _boxes(data, *box):
            if inner == b"mvhd":
                seconds = _mvhd_seconds(data[begin:end])
            elif inner == b"trak":
                for leaf, (start, stop) in _boxes(data, begin, end):
                    if leaf == b"tkhd" and stop - start >= 84 and not width:
                        width = int.from_bytes(data[stop - 8 : stop - 6])  # 16.16 fixed point
                        height = int.from_bytes(data[stop - 4 : stop - 2])
    return VideoFacts(width, height, seconds) if seconds > 0 and width and height else None


def _mvhd_seconds(box: bytes) -> float:
    if box[:1] == b"\x01":
        scale, length = box[20:24], box[24:32]
    else:
        scale, length = box[12:16], box[16:20]
    ticks = int.from_bytes(scale)
    return int.from_bytes(length) / ticks if ticks and len(length) in (4, 8) else 0.0


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """The boxes of an mp4 between two offsets: each one's type, and where its content begins and ends."""
    for _ in range(MOST_STEPS):
        if at + 8 > end:
            return
        size, kind, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        yield kind, (at + head, at + size)
        at += size
