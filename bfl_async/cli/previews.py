"""Small previews of images for the gallery, made by threads. An image is decoded only up to a number of pixels."""

from __future__ import annotations

import base64
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

import click

from bfl_async.cli.output import can_redraw, say
from bfl_async.runtime.files import READ_FLAGS

PREVIEW_MAX_BYTES = 6 * 1024
# In px and quality, until it is small enough.
_PREVIEW_STEPS = ((256, 60), (256, 35), (192, 35), (128, 30), (64, 20))
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
_MAX_PIXELS = 40_000_000
_PROGRESS_S = 2.0
_ORIENTATION, _ON_A_SIDE = 0x0112, (5, 6, 7, 8)


class Preview(NamedTuple):
    """A preview, and the size of its image.

    Attributes:
        data: WebP in base64; "" where none could be made.
        width: In px, as the image is held upright; 0 if it is not known.
        height: In px; 0 if it is not known.
    """

    data: str = ""
    width: int = 0
    height: int = 0


def make_previews(images: Iterable[Path | None], make: Callable[[Path | None], Preview]) -> Iterator[Preview]:
    """Yield previews in order, made by threads that are a few images ahead of who writes them."""
    workers = min(8, os.cpu_count() or 1)
    ahead: deque[Future[Preview]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bfl-async-preview")
    try:
        for image in images:
            ahead.append(pool.submit(make, image))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def preview(path: Path | None) -> Preview:
    """Return a WebP of at most 256 px and `PREVIEW_MAX_BYTES`, and the image's size, as far as they can be had."""
    if path is None:
        return Preview()
    from PIL import Image, ImageOps

    width = height = 0
    try:
        with _open_image(path) as file, Image.open(file, formats=_FORMATS) as opened:
            width, height = opened.size
            if width * height > _MAX_PIXELS:
                return Preview("", width, height)
            # A JPEG is decoded at a fraction of its size.
            opened.draft("RGB", (512, 512))
            opened.thumbnail((256, 256), reducing_gap=2.0)
            # Only now: a PNG is decoded for it. A camera's note of how it was held; from 5 on, on a side.
            if opened.getexif().get(_ORIENTATION, 1) in _ON_A_SIDE:
                width, height = height, width
            image = ImageOps.exif_transpose(opened)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        for side_px, quality in _PREVIEW_STEPS:
            image.thumbnail((side_px, side_px))
            data = io.BytesIO()
            image.save(data, "WEBP", quality=quality, method=3)
            if data.tell() <= PREVIEW_MAX_BYTES:
                return Preview(base64.b64encode(data.getvalue()).decode(), width, height)
    except Exception:
        # A broken or strange file is shown without a preview: whatever a decoder raises, the others are shown.
        pass
    return Preview("", width, height)


def _open_image(path: Path) -> IO[bytes]:
    """Open a file that was found in the folder, and not what has taken its place since."""
    return open(os.open(path, READ_FLAGS | getattr(os, "O_NOFOLLOW", 0)), "rb")


class Progress:
    """How many previews are made: a bar on a terminal, else a line every few seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._said_at = time.monotonic()
        self._bar = (
            # Of 0 columns: it fits the terminal.
            click.progressbar(length=total, label="previews", file=sys.stderr, width=0)
            if can_redraw(sys.stderr)
            else None
        )

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def add(self, count: int) -> None:
        """Count previews that were written."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._said_at >= _PROGRESS_S:
            self._said_at = time.monotonic()
            say(f"previews: {self._done} of {self._total}")
