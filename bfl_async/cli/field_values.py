"""Values of `--set` and of columns, as the fields of a model take them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bfl_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from bfl_async.models.describe import FieldInfo

_URLS = ("http://", "https://", "data:")


@lru_cache(maxsize=64)
def fields_by_name(model: str) -> dict[str, FieldInfo]:
    """Return a model's fields; none for a name that the catalog does not know, which goes as it is."""
    from bfl_async.models.describe import describe

    try:
        return {field.name: field for field in describe(model)}
    except InvalidRequestError:
        return {}


def is_media(field: FieldInfo | None) -> bool:
    """True for a field that takes images or videos."""
    return field is not None and ("Media" in field.type or field.type == "Keyframes")


def is_url(text: str) -> bool:
    """True for what a media field's text can be besides a file's name."""
    return text.startswith(_URLS)


def value_of_text(text: str, field: FieldInfo | None) -> object:
    """What `--set` says, in the field's type."""
    kind = "" if field is None else field.type
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
