"""Values of `--set` and of columns, as the fields of a model take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from bfl_async.models import ImageRequest
    from bfl_async.models.describe import FieldInfo
    from bfl_async.models.known import Catalog

_URLS = ("http://", "https://", "data:")


def fields_by_name(model: str) -> dict[str, FieldInfo]:
    """Return a model's fields; none for a name that the catalog does not know, which goes as it is."""
    return _fields_by_name(current_catalog(), model)


@lru_cache(maxsize=64)
def _fields_by_name(known: Catalog, model: str) -> dict[str, FieldInfo]:
    try:
        return {field.name: field for field in known.describe(model)}
    except InvalidRequestError:
        return {}


def is_media(field: FieldInfo | None) -> bool:
    """True for a field that takes images or videos."""
    return field is not None and ("Media" in field.type or field.type == "Keyframes")


def is_url(text: str) -> bool:
    """True for what a media field's text can be besides a file's name."""
    return text.startswith(_URLS)


# Files that a field of an unknown type may name. The texts of other fields have no such ends.
_FILE_ENDS = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic", ".bmp", ".tif", ".tiff",
    ".mp4", ".mov", ".webm", ".mkv", ".mp3", ".wav", ".m4a", ".safetensors",
)  # fmt: skip
_MOST_NAME_CHARS = 1_000


def names_file(name: str, text: object) -> bool:
    """Return whether a field that this release does not know names a file; what is shown or said is a text."""
    return (
        isinstance(text, str)
        and len(text) <= _MOST_NAME_CHARS
        and text.lower().endswith(_FILE_ENDS)
        and not is_url(text)
        and "\n" not in text
        and "prompt" not in name
        and "text" not in name
    )


def with_named_files(name: str, value: object, file_of: Callable[[str], object]) -> object:
    """Return the value of a field that this release does not know, with files in the place of their names.

    Args:
        file_of: Returns the file that a text names.
    """
    if isinstance(value, list):
        return [with_named_files(name, item, file_of) for item in value]
    if isinstance(value, dict):
        return {key: with_named_files(key, item, file_of) for key, item in value.items()}
    return file_of(value) if isinstance(value, str) and names_file(name, value) else value


def value_of_text(name: str, text: str, field: FieldInfo | None) -> object:
    """What `--set` says, in the field's type; of a field that is not known, a text with a file's end is a file."""
    if field is None:
        # In quotes, as JSON, it stays a text.
        if names_file(name, text) and text[0] not in '[{"':
            return Path(text)
        value = _json(text)
        return with_named_files(name, value, Path) if isinstance(value, list | dict) else value
    kind = field.type
    if is_media(field):
        if text.startswith("["):
            return _with_paths(_json(text))
        return _media(text)
    if "str" in kind or ("Literal" in kind and _json(text) is text):
        return text
    return _json(text)


def _json(text: str) -> object:
    """The JSON value that a text is, or the text: what is wrong with it the model's class says."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _media(text: str) -> object:
    return text if is_url(text) else Path(text)


def _with_paths(value: object) -> object:
    """Keyframes as JSON, such as `["a.png", [2.5, "b.png"]]`, with their names as files."""
    if isinstance(value, list):
        return [_with_paths(item) for item in value]
    return _media(value) if isinstance(value, str) else value


# What pydantic says of a field that is left out, and what a person is told.
_REQUIRED, MISSING = "Field required", "must be given"
ALLOW_UNKNOWN = "--allow-unknown-fields"


def make(model: str, fields: Mapping[str, object], *, allow_unknown: bool) -> ImageRequest:
    """Make a request of fields that a command line or a row gives.

    Args:
        allow_unknown: Send what this release does not know, or would refuse, as it is.
    Raises:
        InvalidRequestError: A field does not fit.
    """
    known = current_catalog()
    try:
        return known.request(model, **fields)
    except InvalidRequestError as exc:
        refused = {path.partition(".")[0] for path, _ in exc.errors} & (fields.keys() - {"extra_body"})
        if not allow_unknown or not refused:
            raise _in_shell(exc) from exc.__cause__
    extra = fields.get("extra_body")
    moved = {name: value for name, value in fields.items() if name in refused}
    kept = {name: value for name, value in fields.items() if name not in refused}
    # What a row itself puts into its `extra_body` goes before a default of the command line.
    return known.request(
        model, **{**kept, "extra_body": {**moved, **(extra if isinstance(extra, Mapping) else {})}}
    )


def _in_shell(exc: InvalidRequestError) -> InvalidRequestError:
    """Return the error in words of the command line."""

    def said(text: str) -> str:
        text = text.replace("extra_body sends others", f"{ALLOW_UNKNOWN} sends others")
        return text.replace(_REQUIRED, MISSING)

    return InvalidRequestError(said(str(exc)), errors=[(path, said(message)) for path, message in exc.errors])
