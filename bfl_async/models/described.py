"""Requests for models that are known from a description alone. Checked by its schema, and sent as any other request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from pydantic import PrivateAttr, ValidationError

from bfl_async.errors import InvalidRequestError
from bfl_async.models._base import EXTRA_BODY, WEBHOOK_FIELDS, ImageRequest, invalid_request
from bfl_async.models.input_files import FileWithin
from bfl_async.models.media import load
from bfl_async.models.openapi import ModelSchema, Shape, media_kind
from bfl_async.models.passthrough import PassThroughRequest
from bfl_async.models.schema import Fault, Mismatch, judge, media_rule
from bfl_async.runtime import lazy
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

_MAX_FAULTS = 20
_SHOWN_FIELDS = 60


class DescribedRequest(PassThroughRequest):
    """A request for a model of a description, such as BFL's OpenAPI file. Frozen; fields left out are not sent.

    Made by `Catalog.request(name, **fields)`, or by the calls of a client that was given a catalog. A batch that
    resumes makes it again as a `PassThroughRequest`, since its fields have been checked.
    """

    _schema: ModelSchema = PrivateAttr()

    @property
    def takes_webhook(self) -> bool:
        """True if the description has the fields of a webhook."""
        return any(shape.fields.keys() >= WEBHOOK_FIELDS for shape in self._schema.shapes)

    @property
    def takes_prompt(self) -> bool:
        """True if the description has a prompt."""
        return any("prompt" in shape.fields for shape in self._schema.shapes)

    if not TYPE_CHECKING:
        # A type checker takes any attribute of a request with fields of its own.

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)
            except AttributeError:
                # As a field of a class that was left out.
                if not name.startswith("_") and any(name in shape.fields for shape in self._schema.shapes):
                    return None
                raise

    def media(self) -> dict[str, object]:
        """Return the images and videos that were given, by field."""
        names = _media_fields(self._schema)
        return {name: value for name, value in self.__pydantic_extra__.items() if name in names}

    def own_body(self) -> Mapping[str, JSON]:
        """Return the body without `extra_body`, files as base64. Reads each `Path` anew; blocks.

        Raises:
            InvalidRequestError: A file cannot be read, or does not fit; nothing was sent.
        """
        return self._encoded(self.__pydantic_extra__, lambda name, value: _sent(value, name))


def described_request(schema: ModelSchema, fields: Mapping[str, object]) -> ImageRequest:
    """Make a request for a model, checked against its schema. What is in `extra_body` is not checked.

    Raises:
        InvalidRequestError: A field is unknown, missing, of the wrong type, or out of its bounds; nothing was sent.
    """
    own = {name: value for name, value in fields.items() if name != EXTRA_BODY}
    given = fields.get(EXTRA_BODY)
    extra: Mapping[str, object] = given if isinstance(given, Mapping) else {}
    try:
        if schema.tag in extra and extra[schema.tag] not in [shape.mode for shape in schema.shapes]:
            # A form that the description does not know: nothing can be said of its fields.
            return PassThroughRequest.named(schema.name, fields)
        kept = _kept(schema, own, extra)
        made = DescribedRequest.model_validate(kept if given is None else {**kept, EXTRA_BODY: given})
    except Mismatch as exc:
        _refuse(schema.name, exc.faults)
    except ValidationError as exc:
        raise invalid_request(schema.name, exc, ()) from exc
    made._name, made._schema = schema.name, schema
    return made


def _refuse(model: str, faults: list[Fault]) -> NoReturn:
    errors = [
        (printable(".".join(map(str, place)), 100) or "request", problem)
        for place, problem in faults[:_MAX_FAULTS]
    ]
    text = "; ".join(f"{path}: {problem}" for path, problem in errors)
    raise InvalidRequestError(f"invalid request for {model}: {text}", errors=errors) from None


def _kept(
    schema: ModelSchema, fields: Mapping[str, object], extra: Mapping[str, object]
) -> dict[str, object]:
    """Return the fields as a request keeps them. Those in `extra` are not missing.

    Raises:
        Mismatch: They do not fit.
    """
    mismatches = []
    for shape in _shapes_for(schema, {**fields, **extra}):
        unknown = [name for name in fields if name not in shape.fields]
        try:
            known = {name: value for name, value in fields.items() if name in shape.fields}
            required = tuple(name for name in shape.node.required if name not in extra)
            kept = cast("dict[str, object]", judge(known, replace(shape.node, required=required)))
        except Mismatch as exc:
            mismatches.append([*_unknown(schema, shape, unknown), *exc.faults])
        else:
            if not unknown:
                return kept
            mismatches.append(_unknown(schema, shape, unknown))
    raise Mismatch(min(mismatches, key=len))


def _unknown(schema: ModelSchema, shape: Shape, names: list[str]) -> list[Fault]:
    """Return the faults of fields that the description does not name: a typing mistake would cost an image."""
    taken = list(shape.fields)
    shown = [*taken[:_SHOWN_FIELDS], *(["..."] if len(taken) > _SHOWN_FIELDS else [])]
    about = lazy.load("models._unknown")
    return [((name,), about.no_such_field(schema.name, name, shown)) for name in names]


def _shapes_for(schema: ModelSchema, fields: Mapping[str, object]) -> tuple[Shape, ...]:
    """Return the forms that the fields may be meant for: one if the tag says which.

    Raises:
        Mismatch: The tag is missing, or is none of those that there are.
    """
    if not schema.tag:
        return schema.shapes
    modes = {shape.mode: shape for shape in schema.shapes}
    if schema.tag not in fields:
        optional = [shape for shape in schema.shapes if schema.tag not in shape.node.required]
        if optional:
            return tuple(optional)
        raise Mismatch([((schema.tag,), f"is required: one of {printable(', '.join(modes))}")])
    mode = fields[schema.tag]
    if not isinstance(mode, str) or mode not in modes:
        raise Mismatch([((schema.tag,), f"is not one of {printable(', '.join(modes))}")])
    return (modes[mode],)


def _media_fields(schema: ModelSchema) -> frozenset[str]:
    return frozenset(
        name for shape in schema.shapes for name, node in shape.fields.items() if node.holds_media()
    )


# --- files at any depth ---------------------------------------------------------------------------------------------


def _sent(value: object, name: str) -> JSON:
    """Return a value as the body has it; `name` is that of the field in which it is."""
    if isinstance(value, Mapping):
        return {key: _sent(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(inner, name) for inner in value]
    if isinstance(value, bytes | Path | FileWithin):
        return load(value, media_rule(media_kind(name) or "image"))
    return cast("JSON", value)
