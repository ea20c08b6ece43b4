"""What an input file is: by its name, and by how it begins. What is not read is refused by name, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from bfl_async.cli.files import MAX_LINE_BYTES, InputError
from bfl_async.cli.table import CARRIAGE_RETURN
from bfl_async.runtime.text import printable

Kind: TypeAlias = Literal["text", "json", "jsonl", "csv", "tsv"]

_KINDS: dict[str, Kind] = {
    "": "text", ".txt": "text", ".text": "text", ".prompt": "text", ".prompts": "text", ".list": "text", ".lst": "text",
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
}  # fmt: skip

_SPREADSHEET = ("a spreadsheet", "save it as CSV")
_COMPRESSED = ("a compressed file", "unpack it first")
_PYTHON = ("an object or array of Python", "write it as JSON lines")
_TABLE = ("a table in a binary format", "write it as CSV or JSON lines")
_MARKUP = ("a page or document", "save its text with one prompt per line")
_MEDIA = ("an image or a video", "give a file with rows that name it")

# What files are that are not read, by their suffixes, and what to do with each.
_OTHERS: dict[str, tuple[str, str]] = {
    suffix: what
    for suffixes, what in {
        ".yaml .yml": ("YAML", "write it as JSON"),
        ".toml .ini .cfg": ("a file with settings", "write it as JSON"),
        ".xlsx .xls .xlsm .xlsb .ods .numbers": _SPREADSHEET,
        ".parquet .feather .arrow .orc .avro .h5 .hdf5": _TABLE,
        ".pkl .pickle .npy .npz .pt": _PYTHON,
        ".db .sqlite .sqlite3": ("a database", "write its rows as CSV or JSON lines"),
        ".gz .bz2 .xz .zst .zip .7z .tar .tgz": _COMPRESSED,
        ".htm .html .xml .md .rtf .pdf .doc .docx .odt": _MARKUP,
        ".png .jpg .jpeg .webp .gif .avif .heic .mp4 .mov": _MEDIA,
    }.items()
    for suffix in suffixes.split()
}

# How files begin that are not text, whatever their name says.
_SIGNATURES: tuple[tuple[bytes, tuple[str, str]], ...] = (
    (b"PK\x03\x04", ("a ZIP archive (as .xlsx, .ods and .npz are)", "save it as CSV or JSON lines")),
    (b"\xd0\xcf\x11\xe0", ("an Office document (as .xls is)", "save it as CSV")),
    (b"PAR1", _TABLE), (b"ARROW1", _TABLE), (b"Obj\x01", _TABLE), (b"\x89HDF", _TABLE),
    *((bytes((0x80, version)), _PYTHON) for version in (2, 3, 4, 5)), (b"\x93NUMPY", _PYTHON),
    (b"SQLite format 3\0", _OTHERS[".db"]),
    (b"\x1f\x8b", _COMPRESSED), (b"BZh", _COMPRESSED), (b"\xfd7zXZ", _COMPRESSED), (b"\x28\xb5\x2f\xfd", _COMPRESSED),
    (b"7z\xbc\xaf", _COMPRESSED),
    (b"%PDF-", _MARKUP), (b"\x89PNG", _MEDIA), (b"\xff\xd8\xff", _MEDIA), (b"GIF8", _MEDIA), (b"RIFF", _MEDIA),
)  # fmt: skip

# Control characters that no text has.
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")

# How texts begin that are not prompts. Looked at only where the format is a guess.
_LIKE_JSON = re.compile(r'\{\s*("|$)|\[\s*(["\[{]|$)')
_LIKE_YAML = re.compile(r"---\s*$|%YAML")
_LIKE_MARKUP = re.compile(r"<\?xml|<!doctype|<html|\{\\rtf", re.IGNORECASE)

_SPACE = re.compile(r"[ \t\n\r]*")


def format_of_suffix(suffix: str) -> Kind | None:
    """Return the format that a suffix says; None if it says none that is read."""
    return _KINDS.get(suffix.lower())


def kind_of(name: str) -> Kind:
    """Return the format that a file's name says. A name without a suffix, as that of a pipe, says text.

    Raises:
        InputError: The suffix says a format that is not read, or is unknown.
    """
    suffix = Path(name).suffix.lower()
    if (kind := _KINDS.get(suffix)) is not None:
        return kind
    if suffix in _OTHERS:
        what, advice = _OTHERS[suffix]
        raise InputError(f"'{printable(name)}' is named as {what}, which is not read: {advice}")
    raise InputError(
        f"the suffix '{printable(suffix, 40)}' of '{printable(name)}' says no format that is read: add --format text, "
        "json, jsonl, csv or tsv"
    )


def foreign_format(head: bytes, kind: Kind, *, is_guessed: bool) -> str | None:
    """Return what a file is, with advice, if its first line shows that it is not what it is taken for; else None.

    Args:
        is_guessed: Its name or nothing said that it is text.
    """
    if (encoding := _foreign_encoding(head)) is not None:
        return f"is {encoding} text: save it as UTF-8"
    for signature, (what, advice) in _SIGNATURES:
        if head.startswith(signature) and _is_binary(head):
            return f"is {what} and not text: {advice}"
    if kind == "text" and is_guessed:
        first = head.removeprefix(b"\xef\xbb\xbf").strip()[:1000].decode("utf-8", "replace")
        if _LIKE_JSON.match(first):
            return "looks like JSON: add --format json or --format jsonl, or --format text if each line is a prompt"
        if _LIKE_YAML.match(first):
            return "looks like YAML, which is not read: write it as JSON, or add --format text if each line is a prompt"
        if _LIKE_MARKUP.match(first):
            return f"is {_MARKUP[0]}: {_MARKUP[1]}"
    return None


def _is_binary(head: bytes) -> bool:
    if _BINARY.search(head):
        return True
    try:
        head.decode()
    except UnicodeDecodeError:
        return True
    # A document in PDF begins with a line of text.
    return head.startswith(b"%PDF-")


def _foreign_encoding(line: bytes) -> str | None:
    """Return the name of an encoding other than UTF-8 that the first line of a file shows; else None."""
    for mark, name in (
        (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")
    ):  # fmt: skip
        if line.startswith(mark):
            return name + (" (which PowerShell's > writes)" if name == "UTF-16" else "")
    head = line[:200]
    # English text in UTF-16 has every second byte 0, also without a mark.
    return "UTF-16" if len(head) >= 4 and head.count(0) >= len(head) * 0.4 else None


# --- JSON ---------------------------------------------------------------------------------------------------


class JSONProblem(Exception):
    """Text that is not JSON, or not JSON that is read.

    Attributes:
        line: Where, from 1 on, in the text.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class Element(NamedTuple):
    """An element of an array, and the line in which it begins, from 1 on."""

    value: object
    line: int


class Elements:
    """The elements of a JSON text: those of an array, or the one value that it is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        # The line of the character at `_counted`.
        self._line = 1
        self._counted = 0

    def __iter__(self) -> Iterator[Element]:
        """Yield one after another.

        Raises:
            JSONProblem: What follows is not JSON.
        """
        if not self._text.strip():
            return
        if self._peek() != "[":
            yield self._element()
            if self._peek():
                self._fail("more follows the first value; JSON lines are read with --format jsonl")
            return
        self._at += 1
        is_first = True
        while self._peek() != "]" or not is_first:
            yield self._element()
            is_first = False
            mark = self._peek()
            if mark == "]":
                break
            if mark != ",":
                self._fail("a comma or a closing bracket is missing" if mark else "its array is not closed")
            self._at += 1
        self._at += 1
        if self._peek():
            self._fail("more follows the end of its array")

    def _peek(self) -> str:
        """Return the next character that is not white space; "" at the end."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        return self._text[self._at : self._at + 1]

    def _element(self) -> Element:
        self._peek()
        line = self._line_of(self._at)
        value, self._at = _decoded(self._text, self._at, self._line_of, line)
        return Element(value, line)

    def _line_of(self, at: int) -> int:
        """Return the line of a character; each part of the text is counted once."""
        if at < self._counted:
            return self._line - self._text.count("\n", at, self._counted)
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def _fail(self, problem: str) -> None:
        raise JSONProblem(problem, self._line_of(self._at))


class _TwiceError(Exception):
    """A name that an object of JSON has twice."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _TwiceError(name)
            seen.add(name)
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def json_value(text: str) -> object:
    """Return the value of a line of JSON.

    Raises:
        JSONProblem: It is not one, or has a name twice.
    """
    text = text.strip(" \t\r\n")
    value, end = _decoded(text, 0, lambda _: 1, 1)
    if end < len(text):
        raise JSONProblem(_hint(text, f"Extra data at character {end + 1}"), 1)
    return value


def _decoded(text: str, at: int, line_of: Callable[[int], int], line: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except _TwiceError as exc:
        raise JSONProblem(f"it has '{printable(exc.args[0], 60)}' twice", line) from None
    except json.JSONDecodeError as exc:
        raise JSONProblem(_hint(text, exc.msg), line_of(exc.pos)) from None
    except RecursionError:
        raise JSONProblem("it is nested too deep", line) from None
    except ValueError as exc:
        # A number of thousands of digits.
        raise JSONProblem(printable(str(exc)), line) from None


def _hint(text: str, problem: str) -> str:
    return CARRIAGE_RETURN if "\r" in text.strip().replace("\r\n", "\n") else problem


def json_text(data: bytes) -> str:
    """Return the text of a file of JSON.

    Raises:
        JSONProblem: It is not UTF-8, or longer than what is read at once.
    """
    if len(data) > MAX_LINE_BYTES:
        raise JSONProblem(f"it is longer than {MAX_LINE_BYTES} bytes: write JSON lines", 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        problem = f"it is not UTF-8 text (0x{data[exc.start]:02x}; perhaps Windows-1252 or Latin-1): save it as UTF-8"
        raise JSONProblem(problem, data.count(b"\n", 0, exc.start) + 1) from None
