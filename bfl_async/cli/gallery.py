"""The gallery: one HTML page, with small previews in it, for a folder of images and its manifest.

What a manifest holds is not trusted. Prompts and all else reach the page as JSON in elements that are not run, and its
script makes text nodes of them; a Content-Security-Policy lets nothing run but that script, by its hash. A file's name
becomes a link only where the file lies in the folder, links included, and where it ends like an image or a video: a
browser would run the scripts of others. An image is decoded only up to a number of pixels.

The previews are most of the page's bytes. They are made by threads (Pillow gives up the interpreter's lock for its
work), written as they come and not kept, so that memory does not grow with them; the page's script reads a piece of
them once one of its images comes near the screen.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import html
import importlib.util
import io
import json
import math
import os
import re
import secrets
import stat
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

import click

from bfl_async.cli.files import InputError
from bfl_async.cli.output import can_redraw, say
from bfl_async.runtime.files import READ_FLAGS, flush_to_disk, open_private, remove_old_parts

Row = dict[str, str | float]
T = TypeVar("T")

MANIFEST = "manifest.jsonl"
PREVIEW_MAX_BYTES = 6 * 1024
_PREVIEW_STEPS = (
    (256, 60),
    (256, 35),
    (192, 35),
    (128, 30),
    (64, 20),
)  # px and quality, until it is small enough
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})
# What is linked: kinds of files in which no browser runs a script.
_LINKED = _SUFFIXES | {".heic", ".heif", ".jxl", ".bmp", ".tif", ".tiff", ".mp4", ".m4v", ".mov", ".webm"}
_MAX_PIXELS = 40_000_000
_NOT_LINKED = "not linked: its name does not end like an image or a video"
_MAX_LINE_BYTES = 2**22
_MAX_TEXT_CHARS = 20_000
_ROWS_A_PIECE = 500
_PREVIEWS_A_PIECE = 50  # gallery.js counts on it: the page names it in `data-piece`
_PROGRESS_S = 2.0
_MARK = b'<meta name="generator" content="bfl-async gallery">'
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_TEXTS = ("prompt", "model", "state", "error", "task_id", "sha256")


@dataclass(frozen=True)
class Manifest:
    """What a folder holds: its rows in order, and the numbers of the lines that could not be read."""

    rows: list[Row]
    unreadable: list[int]
    found: bool


def write_gallery(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a folder, whole or not at all, and return its name. Progress and warnings go to stderr.

    Raises:
        InputError: The folder cannot be read, or the page's name is not one to write to.
        OSError: The page could not be written.
    """
    manifest = read_folder(folder)
    if manifest.unreadable:
        lines = manifest.unreadable
        count = f"{len(lines)} lines" if len(lines) > 1 else "a line"
        say(
            f"warning: {count} of {MANIFEST} cannot be read and were left out, the first is number {lines[0]}"
        )
    if not manifest.rows:
        what = "names no images" if manifest.found else f"holds no images and no {MANIFEST}"
        say(f"warning: {str(folder)!r} {what}; the page is empty")
    target = _target(folder, output)
    embedded = importlib.util.find_spec("PIL") is not None
    if manifest.rows and not embedded:
        say(
            "warning: without Pillow the page loads the files themselves, which is slow for many: "
            "pip install 'bfl-async[images]'"
        )
    remove_old_parts(target.parent, f".{glob.escape(target.name[:100])}.*.part")
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb", opener=open_private) as file:
            _write_page(file, folder, target.parent, manifest.rows, embedded=embedded)
            file.flush()
            flush_to_disk(file.fileno())
        with contextlib.suppress(OSError):  # there is no page yet, or it is another user's
            # Whom the page was opened to may read the next one too.
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return target


def _target(folder: Path, output: Path | None) -> Path:
    """The page's name, checked before any work: it must not take the place of something else."""
    target = folder / "gallery.html" if output is None else output
    if target.is_dir():
        target /= "gallery.html"
    try:
        if target.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{str(target)!r} is not the name of a page: it must end in .html")
        if target.exists():
            with target.open("rb") as file:
                if _MARK not in file.read(1024):
                    raise InputError(
                        f"{str(target)!r} is not a gallery, and was not replaced: choose another name with -o"
                    )
        target.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(f"cannot write {str(target)!r}: {reason}; choose another name with -o") from exc
    return target


# --- what the folder holds ----------------------------------------------------------------------------------


def read_folder(folder: Path) -> Manifest:
    """Return the rows of a folder's manifest, or, where there is none, its images by name.

    Raises:
        InputError: The folder or its manifest cannot be read.
    """
    try:
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder: give the folder with the images")
        path = folder / MANIFEST
        if path.exists():
            if not path.is_file():
                raise InputError(f"{str(path)!r} is not a file")
            return _read_manifest(path)
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(f"cannot read {str(folder)!r}: {reason}") from exc
    images = [name for name in names if Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")]
    rows: list[Row] = [{"file": name, "state": "saved"} for name in sorted(images, key=_by_numbers)]
    return Manifest(rows, [], found=False)


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A key by which 2.jpg comes before 10.jpg."""
    return [(len(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name.lower())]


def _read_manifest(path: Path) -> Manifest:
    """Read it line by line. What a later run says of the same image, or of one that failed before, counts."""
    rows: dict[object, Row] = {}
    unreadable: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            row = row_of(line)
            if row is None:
                unreadable.append(number)
                continue
            request = (row.get("index"), row.get("prompt"), row.get("model"))
            rows.pop(request, None)
            rows[row.get("file") or (request if "index" in row else number)] = row
    ordered = sorted(rows.values(), key=lambda row: row.get("index", math.inf))
    return Manifest(ordered, unreadable, found=True)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; one that is too long is cut, its rest left out, so that it cannot fill the memory."""
    while line := file.readline(_MAX_LINE_BYTES):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_MAX_LINE_BYTES)
        yield line


def row_of(line: bytes) -> Row | None:
    """Return what the page needs of a manifest's line, by type and length; None when it is no JSON object."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or not ({"file", "prompt", "state", "error", "task_id"} & given.keys()):
        return None
    row: Row = {}
    for name in _TEXTS:
        value = given.get(name)
        if isinstance(value, dict):  # an error with its type
            value = value.get("message") or value.get("type")
        if isinstance(value, str) and value:
            row[name] = value[:_MAX_TEXT_CHARS]
    for name in ("index", "cost"):
        value = given.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
            row[name] = value  # NaN is not below anything
    seed = given.get("seed")
    if isinstance(seed, int | str) and not isinstance(seed, bool):
        row["seed"] = str(seed)[:40]  # text: JavaScript would round a large one
    file = given.get("file")
    if isinstance(file, str) and file:
        row["file"] = file[:_MAX_TEXT_CHARS]
    row.setdefault("state", "saved" if "file" in row else "failed")
    return row


def path_inside(name: str) -> Path | None:
    """Return a manifest's file name as a relative path, None where it might lead out of the folder."""
    if not name or len(name) > 1024 or name.startswith("/") or "\\" in name or _SCHEME.match(name):
        return None
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return None
    return Path(*parts)


# --- the page -----------------------------------------------------------------------------------------------


def _write_page(file: IO[bytes], folder: Path, beside: Path, rows: Sequence[Row], *, embedded: bool) -> None:
    """Write the page to a file that will lie in the folder `beside`."""
    package = files("bfl_async.cli")
    style = package.joinpath("gallery.css").read_text("utf-8")
    script = package.joinpath("gallery.js").read_text("utf-8")
    file.write(_head(_shown(folder.resolve().name or "images"), style, script))
    prefix = os.path.relpath(folder, beside)
    root = folder.resolve()
    images: list[Path | None] = []
    for piece in _pieces(rows, _ROWS_A_PIECE):
        shown = []
        for row in piece:
            each = {name: _shown(value) if isinstance(value, str) else value for name, value in row.items()}
            found: Path | None = None
            if "file" in row:
                path = path_inside(str(row["file"]))
                found, note = _find(root, path)
                if path is not None and found is not None:
                    each["href"] = _href(prefix, path)
                else:
                    each["note"] = note
            images.append(found)
            shown.append(each)
        file.write(_json_element("rows", shown))
    if embedded:
        with _Progress(len(images)) as progress:
            for piece_of_previews in _pieces(_previews(images), _PREVIEWS_A_PIECE):
                file.write(_json_element("previews", piece_of_previews))
                progress.add(len(piece_of_previews))
    file.write(f"<script>{script}</script>\n</body>\n</html>\n".encode())


# What every page has between its title and its rows.
_CONTROLS = """\
<p id="count" role="status" aria-live="polite">Loading…</p>
<form id="filters" role="search" aria-label="Filter the images">
<div class="wide"><label for="text">Search</label>
<input id="text" type="search" autocomplete="off" placeholder="prompt, seed, file, task"></div>
<div><label for="state">State</label> <select id="state"><option value="">all</option></select></div>
<div><label for="model">Model</label> <select id="model"><option value="">all</option></select></div>
<div><label for="sort">Sort by</label> <select id="sort">
<option value="order">order</option>
<option value="reversed">order, last first</option>
<option value="prompt">prompt</option>
<option value="model">model</option>
<option value="state">state</option>
<option value="cost">cost, highest first</option>
</select></div>
<button id="clear" type="reset">Clear</button>
</form>
</header>
<main>
<noscript><p class="empty">This page needs its script: allow JavaScript for it.</p></noscript>
<ul id="grid" role="list" aria-label="Images"></ul>
<p id="empty" class="empty" hidden>Nothing matches.</p>
<p id="rest" class="empty" hidden><button id="more" type="button">Show more</button></p>
</main>
<dialog id="details" aria-labelledby="place">
<div class="bar">
<p id="place" aria-live="polite"></p>
<button id="previous" type="button" aria-keyshortcuts="ArrowLeft">← Previous</button>
<button id="next" type="button" aria-keyshortcuts="ArrowRight">Next →</button>
<button id="close" type="button" aria-keyshortcuts="Escape">Close</button>
</div>
<div class="sheet">
<div id="picture"></div>
<dl id="facts"></dl>
</div>
</dialog>
"""


def _head(title: str, style: str, script: str) -> bytes:
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{_MARK.decode()}
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title} · gallery</title>
<style>{style}</style>
</head>
<body data-piece="{_PREVIEWS_A_PIECE}">
<header>
<h1>{title}</h1>
{_CONTROLS}""".encode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json_element(kind: str, value: object) -> bytes:
    """Data as an element that no browser runs. Escaped, `<` cannot end it, whatever a prompt holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" class="{kind}">{text}</script>\n'.encode()


def _shown(text: str) -> str:
    """Text that can be written: file names may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _href(prefix: str, path: Path) -> str:
    """A relative link; `./` before it, so that no name is read as a scheme."""
    return "./" + quote(os.fsencode((Path(prefix) / path).as_posix()))


def _find(root: Path, path: Path | None) -> tuple[Path | None, str]:
    """Return where a file of the folder is, or None and why it is not shown."""
    if path is None:
        return None, "not a file name inside the folder"
    try:
        found = (root / path).resolve()
        if not found.is_relative_to(root):
            return None, "not a file inside the folder: a link leads out of it"
        if not stat.S_ISREG(found.stat().st_mode):  # a pipe would keep who opens it waiting
            return None, "the file is not in the folder"
    except (OSError, ValueError, RuntimeError):
        return None, "the file is not in the folder"
    if path.suffix.lower() not in _LINKED:
        return None, _NOT_LINKED
    return found, ""


def _open_image(path: Path) -> IO[bytes]:
    """Open a file that `_find` has found, and not what has taken its place since."""
    return open(os.open(path, READ_FLAGS | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece


# --- previews -----------------------------------------------------------------------------------------------


def _previews(images: Iterable[Path | None]) -> Iterator[str]:
    """Previews in order, made by threads that are a few images ahead of who writes them."""
    workers = min(8, os.cpu_count() or 1)
    ahead: deque[Future[str]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bfl-async-preview")
    try:
        for image in images:
            ahead.append(pool.submit(preview, image))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def preview(path: Path | None) -> str:
    """Return a WebP of at most 256 px and `PREVIEW_MAX_BYTES` in base64; "" where none can be made."""
    if path is None:
        return ""
    from PIL import Image, ImageOps

    try:
        with _open_image(path) as file, Image.open(file, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                return ""
            opened.draft("RGB", (512, 512))  # a JPEG is decoded at a fraction of its size
            opened.thumbnail((256, 256), reducing_gap=2.0)
            image = ImageOps.exif_transpose(opened)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        for side_px, quality in _PREVIEW_STEPS:
            image.thumbnail((side_px, side_px))
            data = io.BytesIO()
            image.save(data, "WEBP", quality=quality, method=3)
            if data.tell() <= PREVIEW_MAX_BYTES:
                return base64.b64encode(data.getvalue()).decode()
    except Exception:
        # A broken or strange file is shown without a preview: whatever a decoder raises, the others are shown.
        return ""
    return ""


class _Progress:
    """How many previews are made: a bar on a terminal, else a line every few seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._said_at = time.monotonic()
        self._bar = (
            click.progressbar(length=total, label="previews", file=sys.stderr)
            if can_redraw(sys.stderr)
            else None
        )

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def add(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._said_at >= _PROGRESS_S:
            self._said_at = time.monotonic()
            say(f"previews: {self._done} of {self._total}")
