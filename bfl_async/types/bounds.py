"""How much of a reply is read: the one table of bounds, by kind of reply.

A reply is parsed in the event loop, so its size decides how long everything else waits. A status is about 1 KB, and an
account's lists are some 10 KB; what is far beyond that is a mistake or an attack. The size alone says too little: 1 MB
of empty lists takes a hundred times as long to parse, and as much memory, as one text of 1 MB. So the parts of a value
(brackets and commas) are counted before anything is parsed.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Bounds(NamedTuple):
    """How much of a reply is read."""

    # After decompression.
    max_bytes: int
    # Brackets and commas outside of texts.
    max_parts: int


_SMALL = Bounds(256 * 2**10, 6_000)
_LARGE = Bounds(2**20, 10_000)

POLL = _SMALL
RECEIPT = _SMALL
ERROR = _SMALL
CREDITS = _SMALL
ACCOUNT = _LARGE
"""Answers of `get` and `post`, and those about finetunes and reports of use."""
DELIVERY = _LARGE
"""The body of a webhook call."""

SUBMIT_BYTES = 88 * 2**20
"""Of a good answer to a POST, which may hold the result itself where the base URL is not BFL's: an image of 64 MiB in
base64, and some escapes. Only what is left without the base64 is parsed, within `RECEIPT`."""

MAX_ERROR_PAIRS = 100
"""(path, message) pairs that are kept of a validation error."""
MAX_DEPTH = 64
"""Levels of nesting that are kept of a value. No reply of the API comes near it."""

_STRING = rb'"[^"]*"?'


def is_within(body: bytes, bounds: Bounds) -> bool:
    """Return whether a body may be parsed. Runs at the speed of C, in linear time."""
    if len(body) > bounds.max_bytes:
        return False
    if _parts(body) <= bounds.max_parts:
        return True
    # What stands in texts, such as a prompt with very many commas, costs nothing.
    outline = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return _parts(re.sub(_STRING, b"", outline, count=bounds.max_parts)) <= bounds.max_parts


def _parts(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{") + body.count(b",")
