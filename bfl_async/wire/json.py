"""JSON of a server, read leniently."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple, cast

from pydantic_core import from_json

from bfl_async.types import bounds as _bounds
from bfl_async.types.bounds import MAX_DEPTH, Bounds, is_within
from bfl_async.types.common import JSON


class Content(NamedTuple):
    """What a reply's body holds."""

    # The object. None if the body holds another value, breaks off, or is beyond the bounds.
    data: Mapping[str, JSON] | None
    # Whether the body is JSON without any flaw: the API itself answered, not a gateway in front of it.
    is_json: bool


_NOTHING = Content(None, False)


# Only so much is read by a second parser, to find out whether it is JSON that the first one does not take.
_SECOND_PARSE_BYTES = 4 * 2**10


def read_body(body: bytes, bounds: Bounds) -> Content:
    """Parse a reply's body, once. Every reply, receipt, error and delivery is read here.

    A flaw in one field does not cost the others, because a paid task may depend on them: see `_repaired`. But
    `is_json` is strict. A 503 with JSON proves that no task exists, so its submit is sent again: a wrong yes pays
    twice, a wrong no only reports an ambiguous submit.
    """
    if not is_within(body, bounds):
        return _NOTHING
    try:
        value: object = from_json(body)
    except ValueError:
        return Content(_repaired(body), len(body) <= _SECOND_PARSE_BYTES and _is_strict(body))
    if not isinstance(value, dict):
        return Content(None, True)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _prune(value)
    return Content(cast("Mapping[str, JSON]", value), True)


def _is_strict(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def json_object(body: bytes, bounds: Bounds = _bounds.DELIVERY) -> Mapping[str, JSON] | None:
    """Return the JSON object in `body`, or None; see `read_body`."""
    return read_body(body, bounds).data


_TOO_DEEP = "…"


def _prune(value: dict[str, JSON]) -> None:
    """Take out of a value, in place, what is nested deeper than `MAX_DEPTH`."""
    level: list[dict[str, JSON] | list[JSON]] = [value]
    for _ in range(MAX_DEPTH - 1):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    for node in level:
        places: Iterable[tuple[str | int, JSON]] = node.items() if isinstance(node, dict) else enumerate(node)
        for place in [place for place, child in places if isinstance(child, dict | list)]:
            node[place] = _TOO_DEEP  # type: ignore[index]  # a dict has texts as places, a list numbers


# Bounds the work in Python on a hostile body to a few ms. The rest runs at the speed of C, in linear time.
_MOST_REPAIRS = 10_000


_MOST_ESCAPES = 2_000


# Every Python reads an integer of this many digits; more may raise ValueError, in reading and in writing.
_MOST_DIGITS = 640


def _repaired(body: bytes) -> Mapping[str, JSON] | None:
    """Read an object that is not quite JSON; None if there is no whole object at the start of `body`.

    Bytes that are not UTF-8 become U+FFFD. Control characters and backslashes that begin no escape count as
    themselves. An integer that Python would not read becomes its text. A value nested deeper than `MAX_DEPTH` becomes
    "…". Text after the object is ignored.

    The flaws are repaired in the text, and the repaired text is read by the standard library.
    """
    # JSON is UTF-8 (RFC 8259). A key that a reply repeats in another encoding would also not be found in it.
    text = _decoded(body)
    if text is None or not text.startswith("{"):
        return None
    found = _first_object(text)
    if found is None:
        return None
    try:
        found, repairs = re.subn(_STRAY_BACKSLASHES, _escaped, found, count=_MOST_ESCAPES)
        if repairs == _MOST_ESCAPES:
            return None
        # With a function for integers, reading many of them takes five times as long.
        decoder = _LENIENT if re.search(_LONG_INTEGER, found) is None else _LENIENT_WITH_LONG_INTEGERS
        value: object = decoder.decode(found)
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, JSON]", value)


_DECODED_BYTES = 16 * 2**10


_MOST_BAD_BYTES = 5_000


def _decoded(body: bytes) -> str | None:
    """Return a body as text, with U+FFFD for bytes that are not UTF-8; None if there are too many of those."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    parts: list[str] = []
    bad = 0
    for at in range(0, len(body), _DECODED_BYTES):
        parts.append(decoder.decode(body[at : at + _DECODED_BYTES]))
        bad += parts[-1].count("\ufffd")
        # Replacing a byte takes a hundred times as long as copying one.
        if bad > _MOST_BAD_BYTES:
            return None
    return ("".join(parts) + decoder.decode(b"", final=True)).lstrip()


# These patterns begin with a character, so that the search skips all others in C. The lookbehind says that the run
# begins here: without it, a run would be tried again at each of its characters.
_LONG_INTEGER = rf"[0-9](?<![0-9][0-9])[0-9]{{{_MOST_DIGITS}}}"


# A run of backslashes before a character that makes no escape with them.
_STRAY_BACKSLASHES = r"""\\(?<!\\\\)\\*+(?!["\\/bfnrt]|u[0-9A-Fa-f]{4})"""


_STRING_OR_BRACKETS = r"""["\[{\]}](?:(?<=")[^"]*"?|(?<=[\[{])[\[{]*|[\]}]*)"""


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


_LENIENT = json.JSONDecoder(strict=False)


_LENIENT_WITH_LONG_INTEGERS = json.JSONDecoder(strict=False, parse_int=_integer)


def _escaped(run: re.Match[str]) -> str:
    # The backslashes of an even run escape each other.
    return run[0] + "\\" * (len(run[0]) % 2)


def _first_object(text: str) -> str | None:
    """Return the object at the start of `text`, with "…" for what is nested deeper than `MAX_DEPTH`.

    None if it has no end.
    """
    # The same length, and every quote left is one end of a string.
    outline = text.replace(r"\\", "__").replace(r"\"", "__")
    kept: list[str] = []
    # Where the part begins that is kept next.
    start = 0
    depth = 0
    for token in islice(re.finditer(_STRING_OR_BRACKETS, outline), _MOST_REPAIRS):
        at, end = token.span()
        first, count = outline[at], end - at
        if first == '"':
            continue
        if first in "[{":
            if depth <= MAX_DEPTH < depth + count:
                kept += text[start : at + MAX_DEPTH - depth], f'"{_TOO_DEEP}"'
            depth += count
        else:
            if depth - count <= MAX_DEPTH < depth:
                start = at + depth - MAX_DEPTH
            if depth <= count:
                return "".join((*kept, text[start : at + depth]))
            depth -= count
    return None


def number_of(value: JSON) -> float | None:
    """Return a finite number; None for anything else."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
