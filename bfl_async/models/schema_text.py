"""A description's fields in the words of `describe`, so that the commands show them as they show the release's own."""

from __future__ import annotations

from collections.abc import Iterator

from bfl_async.models.describe import FieldInfo
from bfl_async.models.openapi import ModelSchema
from bfl_async.models.schema import Kind, MediaKind, Mismatch, Node, judge
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

_TYPES: dict[Kind, str] = {
    "null": "None",
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "string": "str",
    "array": "Sequence",
    "object": "dict",
}
_FILES: dict[MediaKind, str] = {"image": "jpeg, png or webp", "video": "mp4"}
_LITERAL = "Literal["
# As they stand in the text of a type, such as `Literal["a", "b"]`.
_UNFIT = str.maketrans({'"': "'", "[": "(", "]": ")", "|": "/"})


def fields_of_schema(schema: ModelSchema) -> tuple[FieldInfo, ...]:
    """Return a model's fields by its description, those that must be given first."""
    rows: list[FieldInfo] = []
    for shape in schema.shapes:
        fields = [
            FieldInfo(
                name=name,
                type=type_text(node),
                bounds=", ".join(dict.fromkeys(_bounds(node))),
                default=_default(node),
                required=name in shape.node.required,
                mode=shape.mode,
            )
            for name, node in shape.fields.items()
        ]
        rows += sorted(fields, key=lambda field: not field.required)
    return tuple(rows)


def _default(node: Node) -> JSON:
    """Return the default; None for one that the field's own bounds refuse, which can only be left out."""
    try:
        judge(node.default, node)
    except Mismatch:
        return None
    return node.default


def type_text(node: Node) -> str:
    """Return a field's type as Python writes it."""
    if node.holds_media() and any(one.prefix for one in (*node.any_of, *node.one_of)):
        return "Keyframes"
    found = list(dict.fromkeys(_types(node)))
    # "Any of these words, or that one" is one list of words.
    words = [one.removeprefix(_LITERAL).removesuffix("]") for one in found if one.startswith(_LITERAL)]
    literal = [f"{_LITERAL}{', '.join(words)}]"] if words else []
    return " | ".join([*literal, *(one for one in found if not one.startswith(_LITERAL))]) or "Any"


def _types(node: Node) -> Iterator[str]:
    combined = [*node.any_of, *node.one_of, *node.all_of]
    if node.choices is not None:
        yield f"{_LITERAL}{', '.join(_choice(choice) for choice in node.choices)}]"
        return
    for kind in node.kinds:
        if kind == "string" and node.media is not None:
            yield "MediaSource"
        elif kind == "array":
            yield f"Sequence[{type_text(node.items)}]" if node.items is not None else "Sequence[Any]"
        elif not (kind == "null" and combined):
            yield _TYPES[kind]
    if not node.kinds or not combined:
        for part in combined:
            yield from _types(part)


def _choice(choice: JSON) -> str:
    if isinstance(choice, str):
        return f'"{printable(choice, 60).translate(_UNFIT)}"'
    return printable(repr(choice), 60).translate(_UNFIT)


def _bounds(node: Node) -> Iterator[str]:
    if node.media is not None:
        yield _FILES[node.media]
        return
    if node.prefix:
        return
    least, most = node.minimum, node.maximum
    if least is not None and most is not None:
        yield f"{_number(least)} to {_number(most)}"
    elif least is not None:
        yield f"from {_number(least)}"
    elif most is not None:
        yield f"at most {_number(most)}"
    if node.above is not None:
        yield f"above {_number(node.above)}"
    if node.below is not None:
        yield f"below {_number(node.below)}"
    if node.multiple_of is not None:
        yield f"multiple of {_number(node.multiple_of)}"
    yield from _lengths(node.min_length, node.max_length)
    yield from _lengths(node.min_items, node.max_items)
    for part in node.parts():
        yield from _bounds(part)


def _lengths(shortest: int | None, longest: int | None) -> Iterator[str]:
    if longest is not None:
        yield f"{shortest or 0} to {longest} long"
    elif shortest is not None:
        yield f"at least {shortest} long"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
