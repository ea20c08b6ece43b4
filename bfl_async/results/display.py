"""How results look in a notebook: a card of facts with the picture, and a contact sheet of several.

No network is used here. What was saved is read from its file: a small image goes into the page as it is, a larger one
scaled down where Pillow is installed, and otherwise by its file's URL. What was not saved is shown by the URL that the
server has signed, while it lasts: the browser fetches it. Later the notebook holds
a URL that has ended.

Everything that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import html
import importlib
import io
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bfl_async.models.headers import image_size, kind_of
from bfl_async.models.media import is_url
from bfl_async.types.held import HeldImage

# Of an image that is put into the page as it is.
_MOST_BYTES = 2**20
# Of a larger one, for its size in px.
_HEAD_BYTES = 64 * 1024
# An image with more px is not decoded, for its memory.
_MOST_PX = 64_000_000
_CARD_PX = 384
_TILE_PX = 192
_PROMPT_CHARS = 500
_TILE_CHARS = 120
_FORMATS = ("JPEG", "PNG", "WEBP")
_GONE = "The URL of this picture has ended. A result that is saved keeps its picture."


class Source(NamedTuple):
    """Where the picture of a result is.

    Args:
        url: As the server has signed it; "" for none.
        expires_at: When the URL ends, in Unix seconds. None: it is not known, or the image itself came.
        file: Where the result was saved. None: it was not.
        held: The image, where it came with the answer to the submit.
    """

    url: str
    expires_at: float | None
    file: Path | None
    held: HeldImage | None


def card(
    source: Source,
    *,
    task_id: str,
    model: str | None,
    seed: int | None,
    prompt: str | None,
    cost: float | None,
) -> str:
    """Return the picture and the facts of a result as HTML."""
    size, picture = _picture(source, _CARD_PX)
    rows = {
        "model": model,
        "task": task_id,
        "size": None if size is None else f"{size[0]} x {size[1]} px",
        "seed": seed,
        "cost": None if cost is None else f"{cost:g} credits",
        "URL ends": None if source.expires_at is None else f"{_time(source.expires_at)} UTC",
        "saved to": source.file,
        "prompt": None if prompt is None else _cut(prompt, _PROMPT_CHARS),
    }
    cells = "".join(
        f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value is not None
    )
    return f"<div>{picture}<table>{cells}</table></div>"


def contact_sheet(tiles: Iterable[str], more: int) -> str:
    """Return tiles side by side.

    Args:
        tiles: Their HTML.
        more: How many are not shown.
    """
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    flow = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start"
    return f'<div style="{flow}">{"".join(tiles)}</div>{note}'


def tile(place: int | None, *words: str, source: Source | None = None) -> str:
    """Return one tile: a picture if there is a source, the place in the list, and some words, as HTML."""
    picture = "" if source is None else _picture(source, _TILE_PX)[1]
    texts = ["" if place is None else str(place), *(_cut(word, _TILE_CHARS) for word in words)]
    caption = " · ".join(html.escape(text) for text in texts if text)
    title = html.escape(_cut(" ".join(words), _PROMPT_CHARS))
    return (
        f'<figure style="margin:0;width:{_TILE_PX}px;overflow-wrap:anywhere" title="{title}">'
        f"{picture}<figcaption><small>{caption}</small></figcaption></figure>"
    )


def _time(moment: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _picture(source: Source, side_px: int) -> tuple[tuple[int, int] | None, str]:
    """Return an image's size in px if it is known, and the image or video as HTML; "" if none can be shown."""
    if source.file is not None:
        return _saved(source.file, side_px)
    if source.held is not None:
        data = source.held.data
        return image_size(data[:_HEAD_BYTES]), _embedded(data, None, side_px)
    lasts = source.expires_at is None or source.expires_at > time.time()
    return None, _element(source.url, side_px) if is_url(source.url) and lasts else ""


def _saved(file: Path, side_px: int) -> tuple[tuple[int, int] | None, str]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError:
        return None, ""
    return image_size(data[:_HEAD_BYTES]), _embedded(data, file, side_px)


def _embedded(data: bytes, file: Path | None, side_px: int) -> str:
    """Return an image or video as a part of the page; a large one scaled down, or by its file's URL."""
    kind = kind_of(data)
    if kind is None or not kind.startswith(("image/", "video/")):
        return ""
    is_video = kind.startswith("video/")
    # A tile of many is always made small: sixty large images would fill a notebook.
    if not is_video and (len(data) > _MOST_BYTES or side_px < _CARD_PX):
        scaled = _scaled(io.BytesIO(data) if file is None else file, side_px)
        if scaled:
            return _element(_data_url("image/webp", scaled), side_px)
    if len(data) <= _MOST_BYTES:
        return _element(_data_url(kind, data), side_px, is_video=is_video)
    return "" if file is None else _element(file.resolve().as_uri(), side_px, is_video=is_video)


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _element(url: str, side_px: int, *, is_video: bool | None = None) -> str:
    if is_video is None:
        is_video = url.partition("?")[0].lower().endswith((".mp4", ".mov", ".webm"))
    shown = f'style="max-width:{side_px}px;max-height:{side_px}px" src="{html.escape(url)}"'
    if is_video:
        return f'<video controls preload="metadata" {shown}></video>'
    return f'<img alt="{_GONE if is_url(url) else ""}" referrerpolicy="no-referrer" {shown}>'


def _scaled(source: Path | io.BytesIO, side_px: int) -> bytes:
    """Return an image scaled down, as WebP; nothing where Pillow is missing or cannot read it."""
    try:
        pillow, operations = importlib.import_module("PIL.Image"), importlib.import_module("PIL.ImageOps")
        with pillow.open(source, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PX:
                return b""
            # A JPEG is decoded at a fraction of its size. Two pixels per CSS px, for dense displays.
            opened.draft("RGB", (2 * side_px, 2 * side_px))
            opened.thumbnail((2 * side_px, 2 * side_px), reducing_gap=2.0)
            image = operations.exif_transpose(opened)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        data = io.BytesIO()
        image.save(data, "WEBP", quality=80)
    # Decoders raise anything, and a display must not fail.
    except Exception:
        return b""
    return data.getvalue()
