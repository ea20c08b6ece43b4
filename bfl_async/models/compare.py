"""What an OpenAPI file of BFL says otherwise than the request classes: endpoints new, gone and changed.

Both sides are JSON schemas; each field is brought into one form, so that only what matters for a request is told:
whether it is required, its default, and the alternatives of type and bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bfl_async.models import CATALOG, request_classes
from bfl_async.models._base import ImageRequest
from bfl_async.models.openapi import body_schema, generating

# JSON as `json.loads` gives it: its shape is looked at, never trusted.
_Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference, as seen from the catalog.

    Attributes:
        model: The path after `/v1/`.
        field: "" where the difference concerns the whole endpoint. Of a model with modes, the mode stands in front.
        what: The difference in words, such as "new field".
    """

    model: str
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.model}: {self.field}: {self.what}" if self.field else f"{self.model}: {self.what}"


def compare(openapi: _Schema) -> list[Difference]:
    """Return where an OpenAPI file differs from this release, by model and field.

    Args:
        openapi: The file's content as Python reads its JSON: `json.loads(Path("openapi.json").read_bytes())`.
    """
    theirs = dict(generating(openapi))
    found = [Difference(name, "", "new endpoint") for name in theirs if name not in CATALOG]
    for name, row in CATALOG.items():
        if name in theirs:
            found += _compare_model(name, openapi, body_schema(theirs[name]))
        elif row.state != "retired":
            found.append(Difference(name, "", "gone"))
    return found


def compare_model(name: str, openapi: _Schema) -> list[Difference]:
    """Return where an OpenAPI file differs from this release in one model that both know."""
    return list(_compare_model(name, openapi, body_schema(dict(generating(openapi))[name])))


def _compare_model(name: str, openapi: _Schema, body: _Schema) -> Iterator[Difference]:
    bodies = _alternatives_of(body, openapi)
    classes = request_classes(name)
    if len(bodies) == len(classes) == 1:
        yield from _compare_body(name, "", bodies[0], openapi, classes[0])
        return
    ours = {str(cls.model_fields["mode"].default): cls for cls in classes if "mode" in cls.model_fields}
    for one in bodies:
        mode = str(_resolved(one.get("properties", {}).get("mode", {}), openapi).get("const", ""))
        if mode in ours:
            yield from _compare_body(name, f"{mode}.", one, openapi, ours.pop(mode))
        else:
            yield Difference(name, "mode", f"new: {mode}")
    for mode in ours:
        yield Difference(name, "mode", f"gone: {mode}")


def _compare_body(
    name: str, prefix: str, theirs: _Schema, openapi: _Schema, cls: type[ImageRequest]
) -> Iterator[Difference]:
    schema = cls.model_json_schema()
    before = _facts(schema, schema)
    for field in cls.always_sent:
        before[field] = {
            "required": True,
            "default": None,
            "of": [{"enum": [cls.model_fields[field].default]}],
        }
    after = _facts(theirs, openapi)
    for field in after.keys() - before.keys():
        yield Difference(name, prefix + field, "new field")
    for field in before.keys() - after.keys():
        yield Difference(name, prefix + field, "gone")
    for field in sorted(before.keys() & after.keys()):
        for fact, value in before[field].items():
            if value != after[field][fact]:
                what = "" if fact == "of" else f"{fact} "
                yield Difference(name, prefix + field, f"{what}{_said(value)} -> {_said(after[field][fact])}")


def _said(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(body: _Schema, root: _Schema) -> dict[str, dict[str, object]]:
    required = body.get("required", ())
    facts: dict[str, dict[str, object]] = {}
    for name, field in body.get("properties", {}).items():
        alternatives = _alternatives_of(field, root)
        default = None if isinstance(field, bool) else field.get("default")
        if default == [] or not any(_allows(one, default) for one in alternatives):
            default = None  # one that its own bounds refuse, such as a width of 0, can only be left out
        facts[name] = {
            "required": name in required, "default": default, "of": _normal(alternatives, root)
        }  # fmt: skip
    return facts


def _allows(one: _Schema, value: object) -> bool:
    """False for a number that an alternative has no room for."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    if one.get("type") not in ("integer", "number"):
        return value in one.get("enum", ())
    return bool(one.get("minimum", value) <= value <= one.get("maximum", value))


def _resolved(schema: _Schema | bool, root: _Schema) -> _Schema:
    # True stands for a schema that takes anything.
    if isinstance(schema, bool):
        return {}
    inner = schema.get("allOf")
    if isinstance(inner, list) and len(inner) == 1 and "properties" not in schema:
        return _resolved(inner[0], root)
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: _Schema = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return _resolved(found, root)


def _alternatives_of(schema: _Schema, root: _Schema) -> list[_Schema]:
    schema = _resolved(schema, root)
    several = schema.get("anyOf", schema.get("oneOf"))
    if several is None:
        return [schema]
    return [one for item in several for one in _alternatives_of(item, root)]


_TELLING = (
    "type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "pattern",
)  # fmt: skip


def _normal(alternatives: list[_Schema], root: _Schema) -> list[dict[str, object]]:
    """The alternatives in one form and order; enumerations and constants are put together."""
    words: list[object] = []
    others: list[dict[str, object]] = []
    for one in alternatives:
        if "const" in one or "enum" in one:
            words += one["enum"] if "enum" in one else [one["const"]]
            continue
        normal: dict[str, object] = {
            key: _number(one[key]) for key in _TELLING if one.get(key) is not None
        }  # fmt: skip
        if "items" in one:
            normal["items"] = _normal(_alternatives_of(one["items"], root), root)
        if "prefixItems" in one:
            normal["prefixItems"] = [
                _normal(_alternatives_of(item, root), root) for item in one["prefixItems"]
            ]
        others.append(normal)
    if words:
        # By their texts: a word may be a list, which no set can hold.
        others.append({"enum": list({str(word): word for word in sorted(words, key=str)}.values())})
    return sorted(others, key=str)


def _number(value: object) -> object:
    """64.0 is told as 64."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
