"""Takes our secrets out of replies, which may repeat the headers of their requests."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from multidict import CIMultiDict

from bfl_async.runtime.secrets import SHOWN, Secret

# A shorter key is a test's, and occurs in any text.
_LEAST_KEY_CHARS = 8
_SHOWN = SHOWN.encode()
# Of a large body that is looked through at a time, and beyond it what a secret may have, each character escaped.
_PIECE_BYTES = 256 * 2**10
_OVERLAP_BYTES = 64 * 2**10


class Mask:
    """Takes secrets out of replies, escaped as JSON may escape them too.

    A server that repeats its request's headers does so by accident, so other codings are not looked for.

    Args:
        secrets: Texts of ASCII.
    """

    def __init__(self, secrets: list[str]) -> None:
        self._texts = [Secret(secret) for secret in secrets]
        self._plain = [secret.encode() for secret in secrets]
        # The mask of the newest call's key, since keys may rotate.
        self._keyed: Mask | None = None

    def with_key(self, key: str) -> Mask:
        """Return a mask for a call's key as well."""
        if len(key) < _LEAST_KEY_CHARS:
            return self
        if self._keyed is None or self._keyed._texts[0] != key:
            self._keyed = Mask([key, *self._texts])
        return self._keyed

    def body(self, content: bytes) -> bytes:
        """Return a body without the secrets. Runs at the speed of C, in linear time.

        A large one should be masked in a thread. It is looked through in pieces, which hold the interpreter for a
        moment each; only one that has a secret in it, which is rare, is written anew.
        """
        if len(content) <= _PIECE_BYTES:
            return self._masked(content)
        pieces = (
            content[at : at + _PIECE_BYTES + _OVERLAP_BYTES] for at in range(0, len(content), _PIECE_BYTES)
        )
        # Its escapes alone change no piece.
        if all(self._masked(piece) == piece for piece in pieces):
            return content
        return self._masked(content)

    def _masked(self, content: bytes) -> bytes:
        for secret in self._plain:
            if secret in content:
                content = content.replace(secret, _SHOWN)
        if not any(mark in content for mark in _MARKS):
            return content
        # NUL bytes are between the characters in UTF-16 and UTF-32.
        flat = _unescaped(content.translate(None, b"\0").replace(b"\\/", b"/"))
        if flat is None:
            return b""
        found = [secret for secret in self._texts if secret in flat]
        # Without a secret the body stays as it came.
        return functools.reduce(_without, found, flat).encode("raw_unicode_escape") if found else content

    def headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without the secrets."""
        if not any(secret in value for value in headers.values() for secret in self._texts):
            return headers
        masked: CIMultiDict[str] = CIMultiDict()
        for name, value in headers.items():
            masked.add(name, functools.reduce(_without, self._texts, value))
        return masked


# Without one of them, a printable character of ASCII is not escaped.
_MARKS = (b"\\u00", b"\\/", b"\0")
# What JSON does not have, and what the codec below does not take.
_BAD_ESCAPE = rb"\\u(?![0-9A-Fa-f]{4})|\\U"
_MOST_BAD_ESCAPES = 5_000


def _unescaped(content: bytes) -> str | None:
    """Return a body with its escapes resolved, byte by byte otherwise; None for what is not a reply at all."""
    try:
        return content.decode("raw_unicode_escape")
    except UnicodeDecodeError:
        content = re.sub(_BAD_ESCAPE, b"", content, count=_MOST_BAD_ESCAPES)
    try:
        return content.decode("raw_unicode_escape")
    except UnicodeDecodeError:
        return None


def _without(text: str, secret: str) -> str:
    return text.replace(secret, SHOWN)
