"""Fonts for the scripts that a prompt may have: Pillow's own for Latin, and for others those of this machine.

Which characters a font has is read from its file: Pillow does not tell, and draws boxes for those that it lacks. A font
is looked into only once a prompt has a character that no font before it has.
"""

import logging
import os
import stat
import struct
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

try:
    from PIL import ImageFont
except ImportError as _exc:
    raise ImportError("the sandbox draws with Pillow: pip install 'bfl-async[images]'") from _exc

_log = logging.getLogger("bfl_async.sandbox")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SUFFIXES = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_MOST_FILES = 4_000
_MOST_TABLES = 256
_MOST_OF_COLLECTION = 64
_MOST_CMAP_BYTES = 4 * 1024 * 1024
_MOST_SIZES = 64
# What makes a font a second choice for plain text.
_STYLES = (
    "bold",
    "italic",
    "oblique",
    "light",
    "thin",
    "black",
    "mono",
    "serif",
    "condensed",
    "math",
    "medium",
)
# A font whose letters are outlines can be drawn in any size; those of coloured pictures cannot.
_OUTLINES = frozenset({b"glyf", b"CFF ", b"CFF2"})


class Face:
    """One font of a file, or Pillow's own."""

    def __init__(self, path: str | None, index: int, has: Callable[[int], bool]) -> None:
        self._path = path
        self._index = index
        self._has = has
        self._sizes: dict[int, Font] = {}

    def has(self, text: str) -> bool:
        """Whether it has every character of a text."""
        return all(self._has(ord(character)) for character in text)

    def at(self, px: int) -> Font:
        """The font in a size."""
        font = self._sizes.get(px)
        if font is None:
            if len(self._sizes) >= _MOST_SIZES:
                self._sizes.clear()
            if self._path is None:
                font = ImageFont.load_default(size=px)
            else:
                font = ImageFont.truetype(self._path, px, index=self._index)
            self._sizes[px] = font
        return font


class Run(NamedTuple):
    """A piece of text in one face."""

    face: Face
    text: str


class Fonts:
    """Finds faces for texts.

    Args:
        folders: Where to look for fonts, with the folders within.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._found: list[Face] = [_built_in()]
        self._unread = _faces_in(folders)
        # Cards are drawn in several threads, and an iterator is one's at a time.
        self._lock = Lock()
        self._mentioned = False

    @property
    def built_in(self) -> Face:
        """Pillow's own, which is there in any case."""
        return self._found[0]

    def face_of(self, text: str) -> Face | None:
        """Return the first face that has every character of a text; None if no face has them all."""
        for face in self._faces():
            if face.has(text):
                return face
        return None

    def _faces(self) -> Iterator[Face]:
        at = 0
        while True:
            while at < len(self._found):
                yield self._found[at]
                at += 1
            with self._lock:
                # Another thread may have found one meanwhile.
                if at == len(self._found):
                    following = next(self._unread, None)
                    if following is None:
                        return
                    self._found.append(following)

    def showable(self, text: str) -> str:
        """Return the text as the fonts can show it; what none of them has is mentioned once, and stays.

        A letter with an accent that no font has loses the accent. What is not to be seen becomes a space, or nothing if
        it only joins its neighbours.
        """
        composed = unicodedata.normalize("NFC", text)
        if self.built_in.has(composed) and composed.isprintable():
            return composed
        shown: list[str] = []
        missing: list[str] = []
        known: dict[str, str] = {}
        for character in composed:
            if character not in known:
                known[character] = self._showable(character, missing)
            shown.append(known[character])
        if missing and not self._mentioned:
            self._mentioned = True
            scripts = ", ".join(dict.fromkeys(map(_script_of, missing[:20])))
            _log.warning(
                "no font of this machine shows %s: the sandbox's pictures have boxes there; install fonts for them, "
                "such as Noto (on Debian and Ubuntu fonts-noto-core and fonts-noto-cjk)",
                scripts,
            )
        return "".join(shown)

    def _showable(self, character: str, missing: list[str]) -> str:
        if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
            return ""
        if not character.isprintable():
            return " "
        if self.face_of(character) is not None:
            return character
        plain = "".join(
            each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each)
        )
        if plain != character and self.face_of(plain) is not None:
            return plain
        missing.append(character)
        return character

    def runs_of(self, text: str) -> list[Run]:
        """Return the text in as few faces as can be: one, if a face has all of it."""
        whole = self.face_of(text)
        if whole is not None:
            return [Run(whole, text)]
        runs: list[Run] = []
        for character in text:
            last = runs[-1] if runs else None
            # Words that follow each other stay in one run with the spaces between them: it is set as a whole.
            if last is not None and last.face.has(character):
                face = last.face
            else:
                face = self.face_of(character) or self.built_in
            if last is not None and last.face is face:
                runs[-1] = Run(face, last.text + character)
            else:
                runs.append(Run(face, character))
        return runs


@lru_cache(maxsize=1)
def system_fonts() -> Fonts:
    """Return the fonts of this machine, of which every card of the process is drawn."""
    return Fonts(font_folders())


def font_folders() -> list[Path]:
    """Return where this system keeps fonts."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    if os.name == "nt":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return [data / "fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]


def _script_of(character: str) -> str:
    """The name of a character's script, as its own name begins."""
    if not unicodedata.category(character).startswith("L"):
        return "some symbols"
    script = unicodedata.name(character, "some letters").split(" ")[0].split("-")[0]
    return script if script == "CJK" else script.capitalize()


# --- what a font file has -----------------------------------------------------------------------------------


def _built_in() -> Face:
    data = getattr(ImageFont.load_default(size=10), "font_bytes", None)
    if isinstance(data, bytes):
        for _, has in _read_fonts(_Bytes(data)):
            return Face(None, 0, has)
    return Face(None, 0, lambda code: 32 <= code < 127)


def _faces_in(folders: Sequence[Path]) -> Iterator[Face]:
    """Yield the faces of all font files, plain ones first."""
    paths: list[str] = []
    for folder in folders:
        for root, _, names in os.walk(folder):
            paths += [
                os.path.join(root, name) for name in names if os.path.splitext(name)[1].lower() in _SUFFIXES
            ]
            if len(paths) >= _MOST_FILES:
                break
    for path in sorted(paths[:_MOST_FILES], key=_rank_of):
        try:
            # A pipe would keep who opens it waiting.
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as file:
                found = [*_read_fonts(_File(file.fileno()))]
        except (OSError, ValueError, struct.error):
            # A file that is no font, or that may not be read, shows nothing.
            continue
        for index, has in found:
            yield Face(path, index, has)


def _rank_of(path: str) -> tuple[int, bool, str]:
    name = os.path.basename(path).lower()
    return sum(style in name for style in _STYLES), "sans" not in name, path


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, at: int, size: int) -> bytes:
        return self._data[at : at + size]


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, at: int, size: int) -> bytes:
        os.lseek(self._descriptor, at, os.SEEK_SET)
        return os.read(self._descriptor, size)


def _read_fonts(source: _Bytes | _File) -> Iterator[tuple[int, Callable[[int], bool]]]:
    """Yield each font of a file that can be drawn in any size: its index, and what says which characters it has.

    Raises:
        ValueError, struct.error: It is not a font, or is cut off.
    """
    starts = [0]
    if source.read(0, 4) == b"ttcf":
        (count,) = struct.unpack(">L", source.read(8, 4))
        count = min(count, _MOST_OF_COLLECTION)
        starts = [*struct.unpack(f">{count}L", source.read(12, 4 * count))]
    for index, start in enumerate(starts):
        (count,) = struct.unpack(">H", source.read(start + 4, 2))
        tables: dict[bytes, tuple[int, int]] = {}
        for number in range(min(count, _MOST_TABLES)):
            tag, _, at, size = struct.unpack(">4sLLL", source.read(start + 12 + 16 * number, 16))
            tables[tag] = at, size
        if b"cmap" in tables and _OUTLINES & tables.keys():
            at, size = tables[b"cmap"]
            yield index, _coverage(source.read(at, min(size, _MOST_CMAP_BYTES)))


def _coverage(cmap: bytes) -> Callable[[int], bool]:
    """Return what says whether a font has a character, from its table `cmap`. Source: OpenType 1.9.1, cmap."""
    (count,) = struct.unpack_from(">H", cmap, 2)
    by_format: dict[int, int] = {}
    for number in range(min(count, _MOST_TABLES)):
        platform, encoding, at = struct.unpack_from(">HHL", cmap, 4 + 8 * number)
        if platform == 0 or (platform == 3 and encoding in (1, 10)):
            by_format[struct.unpack_from(">H", cmap, at)[0]] = at
    if 12 in by_format:
        return _groups(cmap, by_format[12])
    if 4 in by_format:
        return _segments(cmap, by_format[4])
    raise ValueError("no table of Unicode characters")


def _groups(cmap: bytes, at: int) -> Callable[[int], bool]:
    """Format 12: groups of a first and a last character."""
    (count,) = struct.unpack_from(">L", cmap, at + 12)
    count = min(count, (len(cmap) - at - 16) // 12)
    numbers = struct.unpack_from(f">{3 * count}L", cmap, at + 16)
    firsts, lasts = numbers[0::3], numbers[1::3]

    def has(code: int) -> bool:
        place = bisect_left(lasts, code)
        return place < count and bool(firsts[place] <= code)

    return has


def _segments(cmap: bytes, at: int) -> Callable[[int], bool]:
    """Format 4: segments of a first and a last character, each with a rule that may give no glyph."""
    count = struct.unpack_from(">H", cmap, at + 6)[0] // 2
    lasts = struct.unpack_from(f">{count}H", cmap, at + 14)
    firsts = struct.unpack_from(f">{count}H", cmap, at + 16 + 2 * count)
    deltas = struct.unpack_from(f">{count}H", cmap, at + 16 + 4 * count)
    offsets_at = at + 16 + 6 * count
    offsets = struct.unpack_from(f">{count}H", cmap, offsets_at)

    def has(code: int) -> bool:
        place = bisect_left(lasts, code)
        if place >= count or not firsts[place] <= code < 0xFFFF:
            return False
        if not offsets[place]:
            return bool((code + deltas[place]) & 0xFFFF)
        glyph_at = offsets_at + 2 * place + offsets[place] + 2 * (code - firsts[place])
        return cmap[glyph_at : glyph_at + 2] not in (b"", b"\0", b"\0\0")

    return has
