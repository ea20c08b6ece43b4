"""Foreign text, made harmless for the place where it is shown.

Text of a server, a row, a file name or an environment variable is data. Whatever shows it (a terminal, a log record, an
error message, a span, a page) passes it through `printable` first. Nothing else in the package escapes or shortens
such text.
"""

from __future__ import annotations

import re

MAX_TEXT = 200
"""Characters of a foreign text that are shown where nothing else is said."""

# What could move a cursor, end a line, change the order of the text, or not be encoded at all: the control characters
# (C0, DEL, C1), line and paragraph separators, marks and overrides of direction, invisible operators and tags,
# non-characters, and halves of surrogate pairs.
_UNSAFE = (
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    """Return the text with each unsafe character as a visible escape, such as `\\x1b` or `\\u202e`."""
    return re.sub(_UNSAFE, _escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Return one line of at most `limit` characters that is safe to show: white space collapsed, the rest escaped.

    Ordinary white space (line ends and tabs included) becomes single spaces. What is cut off is marked with an
    ellipsis. The time that this takes depends on `limit` alone.
    """
    # Only a text that begins with very much white space shows less than it could.
    part = text[: 4 * limit]
    line = escaped(" ".join(part.split()))
    if len(line) <= limit and len(part) == len(text):
        return line
    return line[: max(limit - 1, 0)].rstrip() + "…"
