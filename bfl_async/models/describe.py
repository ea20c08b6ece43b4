"""What a model takes, for people and for the generator of typed calls: names, types, bounds, defaults."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo as PydanticField

from bfl_async.errors import InvalidRequestError
from bfl_async.models import check_model_name, request_classes
from bfl_async.models._base import EXTRA_BODY, ImageRequest
from bfl_async.models._fields import KeyframesRule
from bfl_async.models._order import place_of
from bfl_async.models.media import MediaRule


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a request.

    Args:
        name: As it is given and sent.
        type: Its type, as Python writes it.
        bounds: In words; "" where there are none.
        default: What the server takes when it is left out, as JSON knows it; None where it states none.
        required: Whether it must be given.
        mode: Of `flux-3-video`, the mode that has this field; "" elsewhere.
    """

    name: str
    type: str
    bounds: str
    default: object
    required: bool
    mode: str = ""


def describe(model: str) -> tuple[FieldInfo, ...]:
    """Return a model's fields: those that must be given first, then those that people set most.

    Raises:
        InvalidRequestError: This release's catalog does not know the model.
    """
    classes = request_classes(check_model_name(model))
    if not classes:
        raise InvalidRequestError(
            f"the model {model!r} is not in this release's catalog", errors=[("model", "is not known")]
        )
    rows: list[FieldInfo] = []
    for cls in classes:
        mode = str(cls.model_fields["mode"].default) if len(classes) > 1 else ""
        rows += fields_of(cls, mode=mode)
    return tuple(rows)


def fields_of(cls: type[ImageRequest], *, mode: str = "") -> list[FieldInfo]:
    """Return the fields of a request class: those that must be given first, then those that people set most."""
    rows = [
        FieldInfo(
            name=name,
            type=_field_type(field),
            bounds=", ".join(dict.fromkeys(_bounds(field))),
            default=None if field.is_required() or field.default == () else field.default,
            required=field.is_required() or name in cls.always_sent,
            mode=mode,
        )
        for name, field in cls.model_fields.items()
        if name != EXTRA_BODY
    ]
    return sorted(rows, key=lambda row: (not row.required, place_of(row.name)))


def _field_type(field: PydanticField) -> str:
    return _media_type(field.metadata) or _type(field.annotation)


def _media_type(metadata: Sequence[object]) -> str | None:
    for item in metadata:
        if isinstance(item, MediaRule):
            return "Keyframes" if isinstance(item, KeyframesRule) else "MediaSource"
    return None


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _media_type(args[1:]) or _type(args[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]".replace("'", '"')
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type(arg) for arg in args))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_type(arg) for arg in args)}]"
    return "None" if annotation in (None, type(None)) else str(annotation.__name__)


def _bounds(field: PydanticField) -> Iterator[str]:
    found: dict[str, object] = {}
    for item in _metadata([*field.metadata, field.annotation]):
        match item:
            case MediaRule():
                yield item.text()
            case annotated_types.Ge(value):
                found["least"] = value
            case annotated_types.Le(value):
                found["most"] = value
            case annotated_types.MultipleOf(value):
                found["step"] = value
            case annotated_types.MinLen(value):
                found["shortest"] = value
            case annotated_types.MaxLen(value):
                found["longest"] = value
    if "most" in found:
        yield f"{found['least']} to {found['most']}"
    elif "least" in found:
        yield f"from {found['least']}"
    if "step" in found:
        yield f"multiple of {found['step']}"
    if "longest" in found:
        yield f"{found['shortest']} to {found['longest']} long"
    elif "shortest" in found:
        yield f"at least {found['shortest']} long"


def _metadata(parts: Sequence[object]) -> Iterator[object]:
    for part in parts:
        if isinstance(part, PydanticField):
            yield from part.metadata
        elif get_origin(part) is None:
            yield part
        else:
            yield from _metadata(get_args(part))
