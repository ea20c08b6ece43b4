"""What a manifest keeps of a request, so that its image can be made again. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from bfl_async.models.open_values import is_secret
from bfl_async.types.common import JSON

OMITTED = "$omitted"
"""The name under which a record has the SHA-256 of a text that it does not hold."""

# A longer text is the base64 of a file that was given as bytes. A file that was given by its path is kept by that.
_MOST_CHARS = 20_000
# Where the result is announced says nothing about the image.
_LEFT_OUT = frozenset({"webhook_url"})


def recorded_fields(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the fields of a request as a manifest has them: without secrets, and with digests of embedded files."""
    return {
        name: _recorded(value)
        for name, value in fields.items()
        if name not in _LEFT_OUT and not is_secret(name)
    }


def omitted_in(value: JSON | Mapping[str, JSON]) -> bool:
    """Return whether a recorded value lacks a text that the request had."""
    if isinstance(value, Mapping):
        return OMITTED in value or any(map(omitted_in, value.values()))
    return isinstance(value, list) and any(map(omitted_in, value))


def _recorded(value: JSON) -> JSON:
    if isinstance(value, str) and len(value) > _MOST_CHARS:
        digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
        return {OMITTED: digest, "chars": len(value)}
    if isinstance(value, Mapping):
        return recorded_fields(value)
    return [_recorded(one) for one in value] if isinstance(value, list) else value
