"""`Catalog`: the models of this release, and those that a description knows besides."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bfl_async.errors import ConfigError, InvalidRequestError
from bfl_async.models import ImageRequest, check_model_name, request
from bfl_async.models.catalog import CATALOG, ModelInfo, model_info
from bfl_async.models.compare import Difference, compare_model
from bfl_async.models.describe import FieldInfo, describe
from bfl_async.models.described import described_request
from bfl_async.models.openapi import MAX_BYTES, Description, ModelSchema, read
from bfl_async.models.schema import Node
from bfl_async.models.schema_text import fields_of_schema
from bfl_async.models.sizes import (
    Bounds,
    Size,
    bounds_of_sides,
    fields_within,
    size_fields,
    size_for,
    size_within,
)
from bfl_async.runtime.text import printable


class Catalog:
    """The models that a client knows: those of this release, and those of an OpenAPI description of BFL.

    Immutable. Made by `bfl_async.catalog.load(path)`; `AsyncBFL(catalog=...)` uses it. Iterating over it yields the
    models' names, those of the release first. A model that only the description knows is checked against its schema,
    takes files in its fields for images and videos, and has no known price.

    Args:
        description: What the description says; None: the release's models alone.
    """

    def __init__(self, description: Description | None = None) -> None:
        self._described: dict[str, ModelSchema] = {} if description is None else dict(description.models)
        self._description = description
        # By model, when it was asked for.
        self._changed: dict[str, frozenset[str]] = {}

    @property
    def described(self) -> tuple[str, ...]:
        """The names of the models that only the description knows."""
        return tuple(name for name in self._described if name not in CATALOG)

    def __iter__(self) -> Iterator[str]:
        yield from CATALOG
        yield from self.described

    def __len__(self) -> int:
        return len(CATALOG) + len(self.described)

    def __contains__(self, name: object) -> bool:
        return name in CATALOG or name in self._described

    def __repr__(self) -> str:
        return f"<Catalog of {len(self)} models, {len(self.described)} of them from a description>"

    def request(self, model: str, /, **fields: object) -> ImageRequest:
        """Make a request by its model's name, as `bfl_async.request` does.

        Where the description says otherwise of a model of the release, what either of the two takes is sent.

        Args:
            model: The path after `/v1/`, such as `flux-pro-1.1`.
            fields: The model's fields; those left out are not sent. `extra_body` as in `bfl_async.request`.
        Raises:
            InvalidRequestError: The name is not a model's, or a field does not fit; nothing was sent.
        """
        schema = self._described.get(model) if isinstance(model, str) else None
        if schema is None:
            return request(model, **fields)
        if model not in CATALOG:
            return described_request(schema, fields)
        try:
            return request(model, **fields)
        except InvalidRequestError as exc:
            refused = {path.partition(".")[0] for path, _ in exc.errors}
            if not refused <= self._changed_fields(model):
                raise
        return described_request(schema, fields)

    def _changed_fields(self, model: str) -> frozenset[str]:
        if model not in self._changed:
            assert self._description is not None
            found = compare_model(model, self._description.document)
            # The fields of a model with modes have the mode in front.
            self._changed[model] = frozenset(one.field.rpartition(".")[2] for one in found)
        return self._changed[model]

    def describe(self, model: str) -> tuple[FieldInfo, ...]:
        """Return a model's fields, those that must be given first.

        Of a model of the release these are its own, and those that only the description has.

        Raises:
            InvalidRequestError: Neither the release nor the description knows the model.
        """
        schema = self._described.get(check_model_name(model))
        if schema is None:
            return describe(model)
        fields = fields_of_schema(schema)
        if model not in CATALOG:
            return fields
        own = describe(model)
        names = {(field.mode, field.name) for field in own}
        return (*own, *(field for field in fields if (field.mode, field.name) not in names))

    def size_fields(
        self, model: str, aspect_ratio: str | None = None, megapixels: float | None = None
    ) -> Mapping[str, object]:
        """Return the fields that give a request this size: `width` and `height`, or the model's own `aspect_ratio`.

        Where `size_for` refuses a model that has no width and height, this returns the ratio.

        Args:
            model: The path after `/v1/`. One that neither the release nor the description knows is sent the ratio.
            aspect_ratio: Width to height, such as `16:9`. None: 1:1 where megapixels are given.
            megapixels: The size will have at most so many, of 1,048,576 px.
        Raises:
            InvalidRequestError: The model cannot be asked for that.
        """
        schema = self._described.get(model)
        if schema is None or model in CATALOG:
            return size_fields(model, aspect_ratio, megapixels)
        has_ratio = any("aspect_ratio" in shape.fields for shape in schema.shapes)
        return fields_within(model, aspect_ratio, megapixels, _bounds_of(schema), has_ratio=has_ratio)

    def size_for(self, model: str, aspect_ratio: str, megapixels: float | None = None) -> Size:
        """Return a width and a height in px, as `bfl_async.size_for` does, for the models of the description as well.

        Args:
            model: The path after `/v1/`.
            aspect_ratio: Width to height, such as `16:9`.
            megapixels: The size will have at most so many, of 1,048,576 px. None: about 1.
        Raises:
            InvalidRequestError: The model has no such fields, or no size fits.
        """
        schema = self._described.get(model)
        if schema is None or model in CATALOG:
            return size_for(model, aspect_ratio, megapixels)
        return size_within(model, aspect_ratio, megapixels, _bounds_of(schema))

    def info(self, model: str) -> ModelInfo:
        """Return the row of a model: a careful guess of pools and times, and no price, for what has no row here."""
        row = model_info(model)
        schema = self._described.get(model)
        if schema is None or row.state != "unknown":
            return row
        return row._replace(
            family=_family(model), state="deprecated" if schema.is_deprecated else "described"
        )

    def changes(self, newer: Description) -> list[Difference]:
        """Return what another description has new, changed or gone, as seen from this catalog."""
        found = [Difference(name, "", "new model") for name in newer.models if name not in self]
        for name in self:
            if name in newer.models:
                found += self._changes_of(name, newer)
            elif name not in CATALOG or CATALOG[name].state != "retired":
                found.append(Difference(name, "", "gone"))
        return found

    def _changes_of(self, name: str, newer: Description) -> Iterator[Difference]:
        before = self._described.get(name)
        if before is None:
            yield from compare_model(name, newer.document)
            return
        old = {(field.mode, field.name): field for field in fields_of_schema(before)}
        new = {(field.mode, field.name): field for field in fields_of_schema(newer.models[name])}
        for key in dict.fromkeys([*old, *new]):
            shown = f"{key[0]}.{key[1]}" if key[0] else key[1]
            if key not in old or key not in new:
                yield Difference(name, shown, "new field" if key in new else "gone")
            elif old[key] != new[key]:
                yield Difference(name, shown, f"{_words(old[key])} -> {_words(new[key])}")


def _bounds_of(schema: ModelSchema) -> Bounds | None:
    """Return what the description says of a model's width and height; None if it has not both."""
    fields = {name: node for shape in schema.shapes for name, node in shape.fields.items()}
    return bounds_of_sides(*_side(fields["width"])) if {"width", "height"} <= fields.keys() else None


def _side(node: Node) -> tuple[int, int, int]:
    """Return the least and the largest side, and their step, in px; 0 where the schema does not say."""
    least, most, step = node.minimum or 0, node.maximum or 0, node.multiple_of or 0
    for part in (*node.any_of, *node.one_of, *node.all_of):
        inner = _side(part)
        least, most, step = least or inner[0], most or inner[1], step or inner[2]
    return math.ceil(least), int(most), int(step)


def _words(field: FieldInfo) -> str:
    parts = [
        field.type,
        field.bounds,
        "required" if field.required else "",
        "" if field.default is None else f"default {field.default!r}",
    ]
    return printable(", ".join(part for part in parts if part))


_FAMILY = re.compile(r"flux-(\d+)(?=[-.]|\Z)")


def _family(name: str) -> str:
    if name.startswith("flux-tools/"):
        return "FLUX tools"
    match = _FAMILY.match(name)
    return f"FLUX.{match[1]}" if match is not None else "other"


def load(path: Path | str) -> Catalog:
    """Return the catalog of this release together with what an OpenAPI description of BFL says. Blocks: reads a file.

    Args:
        path: BFL's OpenAPI file, such as `https://api.bfl.ai/openapi.json` saved to a file.
    Raises:
        ConfigError: The file cannot be read, or is not an OpenAPI description that can be used.
    """
    shown = f"'{printable(str(path))}'"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError, TypeError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise ConfigError(f"{shown} cannot be read: {reason}") from exc
    return Catalog(read(data, source=shown))
