"""The gallery: one HTML page, with small previews in it, for a folder of images, its manifest and its ledger.

What these hold is not trusted. Prompts and all else reach the page as JSON in elements that are not run, and its
script makes text nodes of them; a Content-Security-Policy lets nothing run but that script, by its hash. A file's name
becomes a link only where the file lies in the folder, links included, and where it ends like an image or a video: a
browser would run the scripts of others. An image is decoded only up to a number of pixels.

The previews are most of the page's bytes. They are made by threads (Pillow gives up the interpreter's lock for its
work), written as they come and not kept, so that memory does not grow with them; the page's script reads a piece of
them once one of its images comes near the screen. Only the sizes of the images are kept, and come last.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import html
import importlib.util
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

from bfl_async.cli.files import InputError
from bfl_async.cli.gallery_rows import MANIFEST, SHOWN, VIDEOS, Holdings, Row, path_inside, read_folder
from bfl_async.cli.output import say
from bfl_async.cli.previews import Progress, make_previews, preview
from bfl_async.runtime.files import flush_to_disk, open_private, remove_old_parts

T = TypeVar("T")

_NOT_LINKED = "not linked: its name does not end like an image or a video"
_ROWS_A_PIECE = 500
# gallery.js counts on it: the page names it in `data-piece`.
_PREVIEWS_A_PIECE = 50
_MARK = b'<meta name="generator" content="bfl-async gallery">'
# What the page does not show of a row.
_OWN = frozenset({"key", "others"})


def write_gallery(folder: Path, output: Path | None = None, ledger: Path | None = None) -> Path:
    """Write the page of a folder, whole or not at all, and return its name. Progress and warnings go to stderr.

    Args:
        output: The page. None: `gallery.html` in the folder.
        ledger: The run's record. None: the one in the folder, if there is one.
    Raises:
        InputError: The folder or the ledger cannot be read, or the page's name is not one to write to.
        OSError: The page could not be written.
    """
    holdings = read_folder(folder, ledger)
    target = _target(folder, output)
    embedded = importlib.util.find_spec("PIL") is not None
    for warning in _warnings_of(holdings, folder, embedded=embedded):
        say(f"warning: {warning}")
    remove_old_parts(target.parent, f".{glob.escape(target.name[:100])}.*.part")
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb", opener=open_private) as file:
            _write_page(file, folder, target.parent, holdings, embedded=embedded)
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


def _warnings_of(holdings: Holdings, folder: Path, *, embedded: bool) -> Iterator[str]:
    if lines := holdings.unreadable:
        count = f"{len(lines)} lines" if len(lines) > 1 else "a line"
        yield f"{count} of {MANIFEST} cannot be read and were left out, the first is number {lines[0]}"
    if holdings.warning:
        yield f"{holdings.warning}; the page shows only what {MANIFEST} lists"
    if not holdings.rows:
        what = "names no images" if holdings.found else f"holds no images and no {MANIFEST}"
        yield f"{str(folder)!r} {what}; the page is empty"
    elif not embedded:
        yield (
            "without Pillow the page loads the files themselves, which is slow for many: "
            "pip install 'bfl-async[images]'"
        )


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


def _write_page(file: IO[bytes], folder: Path, beside: Path, holdings: Holdings, *, embedded: bool) -> None:
    """Write the page to a file that will lie in the folder `beside`."""
    package = files("bfl_async.cli")
    style = package.joinpath("gallery.css").read_text("utf-8")
    script = package.joinpath("gallery.js").read_text("utf-8")
    file.write(_head(_shown(folder.resolve().name or "images"), style, script))
    images = _write_rows(file, folder, beside, holdings.rows)
    if holdings.totals is not None:
        file.write(_json_element("totals", asdict(holdings.totals)))
    if embedded:
        sizes: list[tuple[int, int]] = []
        with Progress(len(images)) as progress:
            # Looked up here, where a test may set it.
            for piece in _pieces(make_previews(images, preview), _PREVIEWS_A_PIECE):
                file.write(_json_element("previews", [each.data for each in piece]))
                sizes += [(each.width, each.height) for each in piece]
                progress.add(len(piece))
        for some in _pieces(sizes, _ROWS_A_PIECE):
            file.write(_json_element("sizes", some))
    file.write(f"<script>{script}</script>\n</body>\n</html>\n".encode())


def _write_rows(file: IO[bytes], folder: Path, beside: Path, rows: Sequence[Row]) -> list[Path | None]:
    """Write the rows; return the file of each, None for one that is not shown."""
    prefix = os.path.relpath(folder, beside)
    root = folder.resolve()
    images: list[Path | None] = []
    for piece in _pieces(rows, _ROWS_A_PIECE):
        shown: list[Mapping[str, object]] = []
        for row in piece:
            each: dict[str, object] = {
                name: _shown(value) if isinstance(value, str) else value
                for name, value in row.items()
                if name not in _OWN
            }
            found: Path | None = None
            if "file" in row:
                path = path_inside(str(row["file"]))
                found, note, size = _find(root, path)
                if path is not None and found is not None:
                    each |= {"href": _href(prefix, path), "bytes": size}
                    if path.suffix.lower() in VIDEOS:
                        each["kind"] = "video"
                else:
                    each["note"] = note
            images.append(None if "kind" in each else found)
            shown.append(each)
        file.write(_json_element("rows", shown))
    return images


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
<option value="size">size, largest first</option>
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
<aside id="tray" aria-label="Compare" hidden>
<p id="picked" role="status"></p>
<button id="unpick" type="button">Cancel</button>
</aside>
<dialog id="details" aria-labelledby="place">
<div class="bar">
<h2 id="place" aria-live="polite"></h2>
<button id="previous" type="button" aria-label="Previous" aria-keyshortcuts="ArrowLeft">← <span>Previous</span></button>
<button id="next" type="button" aria-label="Next" aria-keyshortcuts="ArrowRight"><span>Next</span> →</button>
<button id="with" type="button">Compare</button>
<button id="close" type="button" aria-keyshortcuts="Escape">Close</button>
</div>
<div class="sheet">
<div id="picture"></div>
<div class="side">
<p class="all"><button id="all" type="button">Copy all fields</button> <span class="said" role="status"></span></p>
<dl id="facts"></dl>
</div>
</div>
</dialog>
<dialog id="both" aria-labelledby="both-title">
<div class="bar">
<h2 id="both-title">Compare</h2>
<button id="over" type="button" aria-pressed="false">One over the other</button>
<button id="swap" type="button">Swap</button>
<button id="leave" type="button" aria-keyshortcuts="Escape">Close</button>
</div>
<div class="pair" id="pair"></div>
<p class="slide" id="slide" hidden><label for="share">Show of the second</label>
<input id="share" type="range" min="0" max="100" value="50"></p>
<table>
<caption class="quiet">What differs comes first.</caption>
<thead><tr><th scope="col">Field</th><th scope="col">First</th><th scope="col">Second</th></tr></thead>
<tbody id="rows"></tbody>
</table>
</dialog>
"""


def _head(title: str, style: str, script: str) -> bytes:
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; media-src 'self' file:; style-src '{_hash(style)}'; "
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


def _find(root: Path, path: Path | None) -> tuple[Path | None, str, int]:
    """Return where a file of the folder is, or None and why it is not shown, and its bytes."""
    if path is None:
        return None, "not a file name inside the folder", 0
    try:
        found = (root / path).resolve()
        if not found.is_relative_to(root):
            return None, "not a file inside the folder: a link leads out of it", 0
        facts = found.stat()
        # A pipe would keep who opens it waiting.
        if not stat.S_ISREG(facts.st_mode):
            return None, "the file is not in the folder", 0
    except (OSError, ValueError, RuntimeError):
        return None, "the file is not in the folder", 0
    if path.suffix.lower() not in SHOWN:
        return None, _NOT_LINKED, 0
    return found, "", facts.st_size


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece
