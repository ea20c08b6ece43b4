"""Values of fields that no class describes: JSON in which a file may stand where its base64 belongs.

They are the fields of a model that the catalog does not know, and the values of an `extra_body`. A text is sent
unchanged, whether it is a URL, base64 or a prompt, so a `str` is never a path here either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from pydantic import SerializationInfo
from pydantic_core import PydanticCustomError

from bfl_async.models._numbers import plain_number
from bfl_async.models.input_files import FileWithin, MediaProblem
from bfl_async.models.media import ANY_FILE, Media, is_readable, is_url, load, shown, take
from bfl_async.types.common import JSON

# Python's own recursion ends at about 1,000 levels, and that of many a server much earlier.
_MAX_DEPTH = 100
# A longer text is probably base64, and says nothing to a reader.
_SHOWN_CHARS = 1_000


class ExtraBody(Mapping[str, object]):
    """The value of `extra_body`: a frozen copy of what was given, which can be compared and hashed."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        # Of the names alone: equal mappings have equal names, and a value may be a long list.
        return hash(frozenset(self._values))

    def __repr__(self) -> str:
        # Which of its values are secret is not known here.
        return f"{{{', '.join(f'{name!r}: …' for name in self._values)}}}"


def take_extra_body(value: object) -> ExtraBody | None:
    """Return what a request keeps of an `extra_body`; None if it is empty.

    Raises:
        PydanticCustomError: It is not a mapping, or a value is neither JSON nor a file.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problem = f"is of type {type(value).__name__}: give a mapping of field names to values"
        raise PydanticCustomError("extra_body", "{problem}", {"problem": problem})
    taken = take_field(value)
    return ExtraBody(cast("Mapping[str, object]", taken)) if taken else None


def dump_extra_body(value: Mapping[str, object] | None, info: SerializationInfo) -> object:
    """Return an `extra_body` as a plain mapping: for JSON as it is sent, else with its files as they were given."""
    if value is None:
        return None
    return load_open(value) if info.mode_is_json() else dict(value)


def take_field(value: object) -> object:
    """Return what a request keeps of a field that no class describes.

    Raises:
        PydanticCustomError: It is neither JSON nor a file.
    """
    try:
        return take_open(value)
    except MediaProblem as exc:
        raise PydanticCustomError("open_value", "{problem}", {"problem": str(exc)}) from None


def take_open(value: object, *, depth: int = 0) -> object:
    """Return a copy of a value of JSON, with its files as `media.take` keeps them.

    Raises:
        MediaProblem: A part of it is neither JSON nor a file; its place is named.
    """
    if value is None or isinstance(value, str | bool):
        return value
    number = plain_number(value, whole=False)
    if isinstance(number, int | float):
        if not abs(number) < float("inf"):
            raise MediaProblem("is a number that JSON has no word for")
        return number
    if depth >= _MAX_DEPTH:
        raise MediaProblem(f"is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise MediaProblem("has a name that is not a text")
        return {name: _take_part(name, part, depth) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_take_part(str(at), part, depth) for at, part in enumerate(value)]
    if isinstance(value, bytes | bytearray | memoryview | Path | FileWithin) or is_readable(value):
        return take(value, ANY_FILE)
    raise MediaProblem(
        f"is of type {type(value).__name__}: give a value of JSON, a pathlib.Path, bytes, a binary file or a Pillow "
        "image"
    )


def _take_part(name: str, part: object, depth: int) -> object:
    try:
        return take_open(part, depth=depth + 1)
    except MediaProblem as exc:
        raise MediaProblem(f"{name}: {exc}") from None


def load_open(value: object) -> JSON:
    """Return the value as it is sent, files as base64. Reads each `Path` anew; blocks.

    Raises:
        MediaProblem: A file cannot be read, or is too large.
    """
    if isinstance(value, bytes | Path | FileWithin):
        return load(value, ANY_FILE)
    if isinstance(value, Mapping):
        return {name: load_open(part) for name, part in value.items()}
    if isinstance(value, list):
        return [load_open(part) for part in value]
    return cast("JSON", value)


def files_in(value: object) -> Iterator[Media]:
    """Yield the files in a value; a URL or base64 is a text, and is not among them."""
    if isinstance(value, bytes | Path | FileWithin):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from files_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from files_in(part)


def shown_open(value: object) -> str:
    """Return what a repr shows of a value: no file's data, no base64, and no query of a URL."""
    match value:
        case Mapping():
            parts = (
                f"{name!r}: {'…' if is_secret(name) else shown_open(part)}" for name, part in value.items()
            )
            return f"{{{', '.join(parts)}}}"
        case list() | tuple():
            return f"[{', '.join(map(shown_open, value))}]"
        case str() if len(value) > _SHOWN_CHARS:
            return f"<text, {len(value)} characters>"
        case str() if not is_url(value):
            return repr(value)
    return shown(value)


_SECRETS = r"(?i)secret|token|password|credential|api_?key|signature"


def is_secret(name: str | None) -> bool:
    """Return whether a field's name says that its value must not be shown."""
    return name is not None and re.search(_SECRETS, name) is not None


def canonical_json(value: JSON) -> str:
    """Return a text that is the same for values that are equal in JSON, such as 20 and 20.0."""
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"))


def _canonical(value: JSON) -> JSON:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    return value
