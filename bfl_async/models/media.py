"""Images and videos as input: what may be given, what is checked, and how it becomes text of a JSON body.

Pure functions over bytes, but for `load` and `size_of`, which read a `Path`. Sizes in px come from the files'
headers, by the standard library alone; nothing here decodes a picture, so a "bomb" costs nothing.

A `str` is never a path: in a web app it comes from a stranger, and would read the server's files.

Source of the bounds: BFL's Fill page and Python SDK, read 2025-11-14 (20 MB, 20 MP, sides of 256 px for
expand); FLUX 3 image as third parties describe it, read 2026-10-01 (16 MP, 20,000,000 characters, 256 px).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TypeAlias, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from bfl_async.models.headers import MOST_STEPS, VideoFacts, image_size, kind_of, video_facts
from bfl_async.models.input_files import FileWithin, MediaProblem, opened, shown_name, unreadable
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

MP = 1024 * 1024
"""Pixels of a megapixel, in the API's prices and bounds."""

_MB = 1024 * 1024
_HEAD_BYTES = 256 * 1024  # a JPEG's size may stand behind profiles and previews
_SLICE_BYTES = 384 * 1024  # of what is encoded at a time: a multiple of 3, and a head is within the first
_SLICE_CHARS = _SLICE_BYTES // 3 * 4
_MOOV_BYTES = 20 * _MB
_WHOLE_CHARS = 1_000_000  # base64 up to here is checked to its end when the request is made
_JUDGED_CHARS = 1_000  # shorter base64 that is no picture is a mistake; of longer ones the server judges


class PillowImage(Protocol):
    """What is used of a `PIL.Image.Image`."""

    @property
    def width(self) -> int:
        """px"""
        ...

    @property
    def height(self) -> int:
        """px"""
        ...

    def save(self, fp: BinaryIO, format: str | None = None) -> None:
        """Write the image."""
        ...


MediaSource: TypeAlias = str | bytes | Path | BinaryIO | PillowImage
"""What a field for an image or a video takes: an http(s) URL, a data URL or base64 as `str`; else the file."""


Media: TypeAlias = str | bytes | Path | FileWithin
"""What a request holds of it."""


@dataclass(slots=True, eq=False, repr=False, match_args=False)
class MediaRule:
    """The bounds of one field. Put into a field's annotation, it also checks what is given.

    Args:
        kind: What the bytes must be.
        max_bytes: Of the file.
        max_mp: Megapixels (1,048,576 px) of an image.
        min_side_px: Of an image's shorter side.
        max_chars: Of the base64 text.
    """

    kind: Literal["image", "video", "any"] = "image"
    max_bytes: int = 20 * _MB
    max_mp: int = 20
    min_side_px: int = 1
    max_chars: int | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: object) -> Media:
            try:
                return take(value, self)
            except MediaProblem as exc:
                raise PydanticCustomError("media", "{problem}", {"problem": str(exc)}) from None

        return core_schema.no_info_plain_validator_function(
            check,
            # Only for who dumps a request by himself: a request's body is made by `load`.
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: load(value, self), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return {"type": "string"}  # what is sent

    def text(self) -> str:
        """The bounds in words."""
        if self.kind == "any":
            return f"a file of at most {self.max_bytes // _MB} MB"
        if self.kind == "video":
            return f"mp4, at most {self.max_bytes // _MB} MB"
        least = f", sides from {self.min_side_px} px" if self.min_side_px > 1 else ""
        return f"jpeg, png or webp, at most {self.max_bytes // _MB} MB and {self.max_mp} MP{least}"


ANY_FILE = MediaRule("any", max_bytes=200 * _MB, max_mp=100_000)
"""Of a field that this release does not know: its bounds are the server's, and 200 MB keep a wrong file out of memory.
"""


# --- taking what is given ------------------------------------------------------------------------------------


def take(value: object, rule: MediaRule) -> Media:
    """Return what a request keeps of an input, checked as far as it is at hand.

    File objects and Pillow images become bytes; a `Path` stays one and is read at each sending.

    Raises:
        MediaProblem: It is none of what may be given, or out of bounds.
    """
    match value:
        case str():
            _check_text(value, rule, whole=len(value) <= _WHOLE_CHARS)
            return value
        case bytes() | bytearray() | memoryview():
            data = bytes(value)
            check_bytes(data, rule)
            return data
        case Path() | FileWithin():
            return value
    data = _bytes_of(value, rule)
    check_bytes(data, rule)
    return data


def is_readable(value: object) -> bool:
    """True for a Pillow image and a file object, whose bytes `take` reads."""
    return _is_pillow(value) or callable(getattr(value, "read", None))


def _is_pillow(value: object) -> bool:
    # Loaded if, and only if, the caller has an image of it.
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _bytes_of(value: object, rule: MediaRule) -> bytes:
    if _is_pillow(value):
        if rule.kind == "video":
            raise MediaProblem("is an image where a video is wanted")
        image = cast("PillowImage", value)
        _check_px((image.width, image.height), rule)  # before the work, not after it
        return _png_of(image)
    read = getattr(value, "read", None)
    if not callable(read):
        raise MediaProblem(
            f"is of type {type(value).__name__}: give a pathlib.Path, bytes, a binary file, a Pillow image, or a str "
            "that is an http(s) URL, a data URL or base64"
        )
    if inspect.iscoroutinefunction(read):
        raise MediaProblem(_ASYNC_FILE)
    try:
        data = read(rule.max_bytes + 1)
    except (OSError, ValueError) as exc:  # ValueError: it is closed
        raise MediaProblem(f"is a file that cannot be read: {printable(str(exc))}") from None
    if inspect.isawaitable(data):
        # It is not going to be awaited, and should not warn about it.
        for name in ("close", "cancel"):
            end = getattr(data, name, None)
            if callable(end):
                end()
        raise MediaProblem(_ASYNC_FILE)
    if not isinstance(data, bytes):
        raise MediaProblem(f"is a file that reads {type(data).__name__} and no bytes: open it with 'rb'")
    return data


_ASYNC_FILE = "is an asynchronous file, such as an upload: await its read(), and pass the bytes"


def _png_of(image: PillowImage) -> bytes:
    """PNG keeps every pixel, and the colour profile. A mode that it has no word for, such as CMYK, is the caller's to
    convert.

    The orientation of a photo is a tag, which not everything reads in a PNG. So the pixels are turned as it says.
    """
    buffer = io.BytesIO()
    try:
        image = _turned(image)
        image.save(buffer, format="PNG")
    # Pillow's plugins raise anything.
    except Exception as exc:
        if getattr(image, "fp", buffer) is None and not isinstance(exc, OSError):
            raise MediaProblem(
                "is a Pillow image that can no longer be read: open it again after verify() or close()"
            ) from None
        raise MediaProblem(
            f"is a Pillow image that cannot be written as PNG: {printable(str(exc)) or type(exc).__name__}"
        ) from None
    return buffer.getvalue()


def _turned(image: PillowImage) -> PillowImage:
    # Loaded, as the caller has an image of it.
    from PIL import ExifTags, ImageOps

    given = cast("Image", image)
    orientation = None
    # Tags that are broken say nothing.
    with contextlib.suppress(Exception):
        orientation = given.getexif().get(ExifTags.Base.Orientation)
    if orientation not in range(2, 9):
        return image
    turned = ImageOps.exif_transpose(given)
    return cast("PillowImage", turned)


def is_url(text: str) -> bool:
    """True for an http(s) URL, which the server fetches by itself."""
    return text[:8].lower().startswith(("http://", "https://"))


_DATA_URL = r"(?i)data:[^,]{0,200};base64,"


def _payload(text: str) -> str:
    """The base64 of a text that is no URL: without the head of a data URL, without line breaks.

    Raises:
        MediaProblem: It cannot be base64.
    """
    head = re.match(_DATA_URL, text)
    payload = text[head.end() :] if head is not None else text
    if not payload.isascii():
        raise MediaProblem(_NO_TEXT)
    if any(space in payload for space in "\n\r\t "):
        payload = "".join(payload.split())
    if not payload or len(payload) % 4:
        raise MediaProblem(_NO_TEXT)
    return payload


_NO_TEXT = "is neither an http(s) URL, nor a data URL, nor base64; a str is never a file's name: give pathlib.Path(...)"


def _check_text(text: str, rule: MediaRule, *, whole: bool) -> None:
    """Check a URL, data URL or base64; with `whole` to its end, else its head alone."""
    if is_url(text):
        if len(text) <= len("https://") or any(char.isspace() for char in text):
            raise MediaProblem("is not a URL that can be fetched")
        return
    payload = _payload(text)
    if rule.max_chars is not None and len(payload) > rule.max_chars:
        raise MediaProblem(f"has {len(payload):,} characters of base64, more than {rule.max_chars:,}")
    _check_length(len(payload) // 4 * 3 - payload.count("=", -2), rule)
    data = _decode(payload[:_SLICE_CHARS])
    if whole:
        for at in range(_SLICE_CHARS, len(payload), _SLICE_CHARS):
            _decode(payload[at : at + _SLICE_CHARS])
        if "=" in payload[:-2]:  # a padding that ends a slice, and not the text
            raise MediaProblem(_NO_TEXT)
    try:
        _check_kind(data, rule)
    except MediaProblem as exc:
        if kind_of(data) is None and len(payload) < _JUDGED_CHARS:
            raise MediaProblem(f"{_NO_TEXT}: as base64 it is no {_wanted(rule)}") from None
        if len(payload) < _JUDGED_CHARS or not isinstance(exc, _Unreadable):
            raise


def _decode(payload: str) -> bytes:
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except (binascii.Error, ValueError):
        raise MediaProblem(_NO_TEXT) from None


# --- checking bytes -------------------------------------------------------------------------------------------


def check_bytes(data: bytes, rule: MediaRule, *, length: int | None = None) -> None:
    """Check a file's size, type, and size in px.

    Args:
        length: Of the whole file, where `data` is its head alone.
    Raises:
        MediaProblem: Out of bounds, or unreadable.
    """
    length = len(data) if length is None else length
    _check_length(length, rule)
    if rule.max_chars is not None and (chars := (length + 2) // 3 * 4) > rule.max_chars:
        raise MediaProblem(f"has {chars:,} characters as base64, more than {rule.max_chars:,}")
    _check_kind(data, rule)


def _check_length(count: int, rule: MediaRule) -> None:
    if count == 0:
        raise MediaProblem("is empty")
    if count > rule.max_bytes:
        raise MediaProblem(f"has more than {rule.max_bytes // _MB} MB")


class _Unreadable(MediaProblem):
    """Of a type that this release does not know, or with a header that it cannot read."""


# What the API takes. A film in a QuickTime container has the same boxes, so the server judges of it.
_TAKEN = {
    "image": frozenset({"image/jpeg", "image/png", "image/webp"}),
    "video": frozenset({"video/mp4", "video/quicktime"}),
}


def _wanted(rule: MediaRule) -> str:
    return "mp4" if rule.kind == "video" else "JPEG, PNG or WebP"


def _check_kind(data: bytes, rule: MediaRule) -> None:
    if rule.kind == "any":
        return
    kind = kind_of(data)
    if kind is None:
        raise _Unreadable(f"is no {_wanted(rule)}")
    if kind not in _TAKEN[rule.kind]:
        convert = ": convert it first" if kind.startswith(f"{rule.kind}/") else ""
        raise MediaProblem(f"is no {_wanted(rule)} but {kind}{convert}")
    if rule.kind == "video":
        return
    size = image_size(data)
    if size is None:
        raise _Unreadable(f"is an {kind} whose header cannot be read")
    _check_px(size, rule)


def _check_px(size: tuple[int, int], rule: MediaRule) -> None:
    width, height = size
    if width * height > rule.max_mp * MP:
        raise MediaProblem(f"has {width} x {height} px, more than {rule.max_mp} MP")
    if min(size) < rule.min_side_px:
        raise MediaProblem(f"has {width} x {height} px: each side needs at least {rule.min_side_px} px")


# --- sending --------------------------------------------------------------------------------------------------


def load(value: Media, rule: MediaRule) -> str:
    """Return the text that stands in the JSON body; reads a `Path`. Blocks.

    A URL stays as it is, and so does a data URL of a video; images and files become plain base64. Work goes slice
    by slice: one call over 20 MB would hold the interpreter, and with it the event loop, for its whole length.

    Raises:
        MediaProblem: The file cannot be read, or is out of bounds.
    """
    if isinstance(value, str):
        if is_url(value):
            return value
        if len(value) > _WHOLE_CHARS:
            _check_text(value, rule, whole=True)
        return value if rule.kind == "video" and re.match(_DATA_URL, value) else _payload(value)
    slices = _slices(value) if isinstance(value, bytes) else _slices_of(value, rule)
    return "".join([base64.b64encode(piece).decode("ascii") for piece in slices])


def _slices(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(data), _SLICE_BYTES):
        yield view[at : at + _SLICE_BYTES]


def _slices_of(path: Path | FileWithin, rule: MediaRule) -> Iterator[bytes]:
    """A file's bytes, checked: its head before the first slice, its length as it is read."""
    with opened(path) as file:
        count = 0
        while True:
            try:
                piece = file.read(_SLICE_BYTES)
            except OSError as exc:
                raise MediaProblem(unreadable(path, exc)) from None
            try:
                if count == 0:
                    check_bytes(piece, rule, length=max(len(piece), os.fstat(file.fileno()).st_size))
                count += len(piece)
                _check_length(count, rule)
            except MediaProblem as exc:
                raise MediaProblem(f"{shown_name(path)} {exc}") from None
            if not piece:
                return
            yield piece


def head_of(value: Media) -> bytes:
    """Return the first bytes of an input, without reading all of it; b"" for a URL, or what cannot be read."""
    if isinstance(value, bytes):
        return value
    try:
        if not isinstance(value, str):
            with opened(value) as file:
                return file.read(_HEAD_BYTES)
        return b"" if is_url(value) else _decode(_payload(value)[:_SLICE_CHARS])
    except (MediaProblem, OSError):
        return b""


def size_of(value: Media) -> tuple[int, int] | None:
    """Return an image's size in px; None for a URL, or what cannot be read. Reads a `Path`'s head."""
    return image_size(head_of(value))


def facts_of(value: Media) -> VideoFacts | None:
    """Return what a video's header says; None for a URL, or what cannot be read.

    The header may stand at a file's end: a `Path` is read box by box, which costs a few small reads.
    """
    if isinstance(value, str | bytes):
        return video_facts(head_of(value))
    try:
        with opened(value) as file:
            for _ in range(MOST_STEPS):
                if len(head := file.read(16)) < 8:
                    return None
                size = int.from_bytes(head[:4])
                size = int.from_bytes(head[8:16]) if size == 1 else size
                file.seek(-len(head), os.SEEK_CUR)
                if head[4:8] == b"moov":
                    return video_facts(file.read(min(size or _MOOV_BYTES, _MOOV_BYTES)))
                if size < 8:
                    return None
                file.seek(size, os.SEEK_CUR)
    except (MediaProblem, OSError, ValueError, OverflowError):
        pass
    return None


def is_heavy(value: object) -> bool:
    """True for an input whose sending needs work that an event loop should not do."""
    if isinstance(value, Mapping):
        return any(is_heavy(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return any(is_heavy(item) for item in value)
    return isinstance(value, bytes | Path | FileWithin) or (
        isinstance(value, str) and len(value) > _WHOLE_CHARS
    )


def shown(value: object) -> str:
    """Return what a repr shows of an input: never its data, nor the query of a URL."""
    match value:
        case bytes():
            size = image_size(value)
            px = f", {size[0]} x {size[1]} px" if size is not None else ""
            return f"<{kind_of(value) or 'bytes'}, {len(value)} bytes{px}>"
        case Path():
            return repr(value)
        case FileWithin():
            return repr(value.path)
        case str():
            return (
                f"'{printable(value.partition('?')[0], 100)}'"
                if is_url(value)
                else f"<base64, {len(value)} characters>"
            )
        case tuple() | list():
            return f"[{', '.join(shown(item) for item in value)}]"
    return repr(value)
