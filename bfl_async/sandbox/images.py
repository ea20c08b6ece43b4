"""The size of an input image, from its header: PNG, JPEG or WebP, in base64 or as a data URL.

Nothing is fetched: an image given by its URL has no size here.
"""

import binascii
import re
import struct
from typing import NamedTuple

MAX_BYTES = 20 * 1000 * 1000  # documented as 20 MB; whether a MB is 10**6 or 2**20 bytes is not

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACES = re.compile(r"\s+")


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int

    @property
    def px(self) -> int:
        """The area."""
        return self.width * self.height


class ImageBroken(Exception):
    """Not an image that the API would take; the text says why."""


def is_url(text: str) -> bool:
    """Whether the text names a place from which the API would fetch the file."""
    return text[:8].lower().startswith(("http://", "https://"))


def decode(text: str) -> bytes:
    """The bytes of a file that came inside of the body.

    Args:
        text: Base64, or a data URL.
    Raises:
        ImageBroken: It is no base64, or too large.
    """
    match = _DATA_URL.match(text)
    if match is not None:
        text = text[match.end() :]
    if len(text) * 3 // 4 > MAX_BYTES + len(text) // 64:  # lines of base64 end with a line break
        raise ImageBroken("the file exceeds 20 MB")
    if "\n" in text or " " in text:
        text = _SPACES.sub("", text)
    try:
        # Several times as fast as the base64 module; the whole server waits meanwhile.
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as exc:  # also what says that there are characters beyond ASCII
        raise ImageBroken("it is neither a URL nor base64") from exc
    if len(raw) > MAX_BYTES:
        raise ImageBroken("the file exceeds 20 MB")
    return raw


def size_of(raw: bytes) -> Size:
    """The size that the header of a PNG, JPEG or WebP file tells.

    Raises:
        ImageBroken: It is none of them, is cut off before its size, or has no pixels.
    """
    try:
        size = _png(raw) or _webp(raw) or _jpeg(raw)
    except (struct.error, IndexError) as exc:
        raise ImageBroken("the image is cut off") from exc
    if size is None or not size.px:
        raise ImageBroken("it is no PNG, JPEG or WebP image")
    return size


def _png(raw: bytes) -> Size | None:
    if raw[:8] != b"\x89PNG\r\n\x1a\n" or raw[12:16] != b"IHDR":
        return None
    return Size(*struct.unpack_from(">II", raw, 16))


def _webp(raw: bytes) -> Size | None:
    if raw[:4] != b"RIFF" or raw[8:12] != b"WEBP":
        return None
    match raw[12:16]:
        case b"VP8 ":  # lossy: a key frame's start code, then 14 bits each and 2 of scaling
            if raw[23:26] != b"\x9d\x01\x2a":
                return None
            width, height = struct.unpack_from("<HH", raw, 26)
            return Size(width & 0x3FFF, height & 0x3FFF)
        case b"VP8L":  # lossless: a signature byte, then 14 bits each, one less than the size
            if raw[20] != 0x2F:
                return None
            (bits,) = struct.unpack_from("<I", raw, 21)
            return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":  # extended: 24 bits each, one less than the size
            width, height = raw[24:27], raw[27:30]
            if len(height) < 3:
                raise ImageBroken("the image is cut off")
            return Size(int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1)
    return None


_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those among them that start no frame


def _jpeg(raw: bytes) -> Size | None:
    if raw[:2] != b"\xff\xd8":
        return None
    at = 2
    while raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            at += 2
        elif marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", raw, at + 5)
            return Size(width, height)
        else:
            (length,) = struct.unpack_from(">H", raw, at + 2)
            at += 2 + max(2, length)
    return None
