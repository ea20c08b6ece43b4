"""JSON Schema as an OpenAPI description writes it: nodes, and what they say of a value.

The verdict is that of JSON Schema 2020-12 for the keywords of `Node`: 1024.0 is an integer, True is not a number.
A keyword that is not among them restricts nothing here and is judged by the server. `format` counts for "uri" alone.

A node with `media` stands where the API takes the text of a file. It also takes the file itself: a `Path`, bytes, a
binary file or a Pillow image. A text is sent unchanged, bounded by the schema alone, because which fields take files
is a guess from their names.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from bfl_async.models._numbers import plain_number
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import MediaRule, take
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

Kind: TypeAlias = Literal["null", "boolean", "integer", "number", "string", "array", "object"]
MediaKind: TypeAlias = Literal["image", "video"]
Place: TypeAlias = "tuple[str | int, ...]"
Fault: TypeAlias = "tuple[Place, str]"

# A description states no bounds for files, so only memory is protected here, and the file's kind is checked.
_MAX_FILE_BYTES = 200 * 1024 * 1024
_MEDIA_RULES: Mapping[MediaKind, MediaRule] = {
    "image": MediaRule(max_bytes=_MAX_FILE_BYTES, max_mp=10_000),
    "video": MediaRule("video", max_bytes=_MAX_FILE_BYTES),
}
_SHOWN_CHOICES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One schema, its references resolved. None and () mean that nothing is said."""

    kinds: tuple[Kind, ...] = ()
    choices: tuple[JSON, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str = ""
    format: str = ""
    items: Node | None = None
    prefix: tuple[Node, ...] = ()
    min_items: int | None = None
    max_items: int | None = None
    is_unique: bool = False
    fields: Mapping[str, Node] | None = None
    required: tuple[str, ...] = ()
    # Whether an object takes fields that it does not name, and what they may hold.
    is_closed: bool = False
    others: Node | None = None
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    all_of: tuple[Node, ...] = ()
    default: JSON = None
    text: str = ""
    media: MediaKind | None = None

    @property
    def is_combined(self) -> bool:
        """Whether other schemas judge the same value as well."""
        return bool(self.any_of or self.one_of or self.all_of)

    def parts(self) -> Iterator[Node]:
        """Yield the nodes directly beneath this one."""
        yield from (*self.prefix, *self.any_of, *self.one_of, *self.all_of)
        yield from (self.fields or {}).values()
        for one in (self.items, self.others):
            if one is not None:
                yield one

    def holds_media(self) -> bool:
        """Return whether a file may stand here or anywhere beneath."""
        return self.media is not None or any(part.holds_media() for part in self.parts())


class Mismatch(Exception):
    """A value that does not fit; `.faults` has at least one place and what is wrong there."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults[0][1])
        self.faults: list[Fault] = faults


def media_rule(kind: MediaKind) -> MediaRule:
    """Return what a file must be where a description takes one."""
    return _MEDIA_RULES[kind]


def judge(value: object, node: Node, place: Place = ()) -> object:
    """Return the value as it is kept: numbers as Python's own, files as `take` returns them.

    Raises:
        Mismatch: The value does not fit the schema.
    """
    if node.media is not None and not _is_json(value):
        try:
            return take(value, _MEDIA_RULES[node.media])
        except MediaProblem as exc:
            raise Mismatch([(place, str(exc))]) from None
    value = plain_number(value, whole="integer" in node.kinds and "number" not in node.kinds)
    faults = [(place, problem) for problem in _problems(value, node)]
    if faults:
        raise Mismatch(faults)
    if isinstance(value, list | tuple):
        value = _judged_list(list(value), node, place)
    elif isinstance(value, Mapping):
        value = _judged_object(value, node, place)
    elif not (_is_json(value) or node.is_combined):
        raise Mismatch([(place, "Input was not a valid JSON value")])
    return _combined(value, node, place)


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float | list | tuple | Mapping)


# --- one value -------------------------------------------------------------------------------------------------

_IS_OF: Mapping[Kind, Callable[[object], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}
_KIND_WORDS: Mapping[Kind, str] = {
    "null": "None",
    "boolean": "a valid boolean",
    "integer": "a valid integer",
    "number": "a valid number",
    "string": "a valid string",
    "array": "a valid list",
    "object": "a valid object",
}


def _problems(value: object, node: Node) -> Iterator[str]:
    """Yield what is wrong with a value, what is within it left out."""
    if isinstance(value, float) and not math.isfinite(value):
        yield "Input should be a finite number"
        return
    if node.kinds and not any(_IS_OF[kind](value) for kind in node.kinds):
        words = [_KIND_WORDS[kind] for kind in node.kinds]
        yield f"Input should be {' or '.join(words)}"
        return
    if node.choices is not None and not any(_same(value, choice) for choice in node.choices):
        yield f"Input should be {choice_text(node.choices)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_problems(value, node)
    elif isinstance(value, str):
        yield from _text_problems(value, node)
    elif isinstance(value, list | tuple):
        yield from _list_problems(value, node)


def choice_text(choices: tuple[JSON, ...]) -> str:
    """Return the values that a field takes, for a message."""
    shown = [printable(repr(choice), 80) for choice in choices[:_SHOWN_CHOICES]]
    more = [f"{len(choices) - _SHOWN_CHOICES} others"] if len(choices) > _SHOWN_CHOICES else []
    *first, last = [*shown, *more] or ["nothing"]
    return f"{', '.join(first)} or {last}" if first else last


def _same(value: object, other: object) -> bool:
    """Return whether two values are one to JSON: numbers by their size, and True is not 1."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(_same(value[name], other[name]) for name in value)
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return value == other


def _number_problems(value: float, node: Node) -> Iterator[str]:
    if node.minimum is not None and not value >= node.minimum:
        yield f"Input should be greater than or equal to {node.minimum:g}"
    if node.maximum is not None and not value <= node.maximum:
        yield f"Input should be less than or equal to {node.maximum:g}"
    if node.above is not None and not value > node.above:
        yield f"Input should be greater than {node.above:g}"
    if node.below is not None and not value < node.below:
        yield f"Input should be less than {node.below:g}"
    if node.multiple_of is not None and not _is_multiple(value, node.multiple_of):
        yield f"Input should be a multiple of {node.multiple_of:g}"


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and step == int(step):
        return value % int(step) == 0
    try:
        return (value / step).is_integer()
    except OverflowError:
        return False


def _text_problems(value: str, node: Node) -> Iterator[str]:
    if node.min_length is not None and len(value) < node.min_length:
        yield f"String should have at least {_counted(node.min_length, 'character')}"
    if node.max_length is not None and len(value) > node.max_length:
        yield f"String should have at most {_counted(node.max_length, 'character')}"
    if node.pattern and not _matches(node.pattern, value):
        yield f"String should match the pattern '{printable(node.pattern, 80)}'"
    if node.format == "uri" and not _URI.match(value):
        yield "Input should be a valid URL"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_URI = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]*:\S+\Z|https?://[^\s/?#:@][^\s]*\Z", re.IGNORECASE)


def is_pattern(pattern: str) -> bool:
    """Return whether the pattern can be used here; others are left to the server."""
    return _adapter(pattern) is not None


@functools.lru_cache(maxsize=256)
def _adapter(pattern: str) -> TypeAdapter[str] | None:
    # pydantic's engine takes linear time. `re` does not, and the pattern is foreign.
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except (SchemaError, ValueError):
        return None


def _matches(pattern: str, value: str) -> bool:
    adapter = _adapter(pattern)
    if adapter is None:
        return True
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


# --- lists, objects, alternatives --------------------------------------------------------------------------------


def _list_problems(value: list[object] | tuple[object, ...], node: Node) -> Iterator[str]:
    if node.min_items is not None and len(value) < node.min_items:
        yield f"List should have at least {_counted(node.min_items, 'item')}, not {len(value)}"
    if node.max_items is not None and len(value) > node.max_items:
        yield f"List should have at most {_counted(node.max_items, 'item')}, not {len(value)}"
    elif node.is_unique and any(_same(one, other) for at, one in enumerate(value) for other in value[:at]):
        yield "List should have no two equal items"


def _judged_list(value: list[object], node: Node, place: Place) -> list[object]:
    faults: list[Fault] = []
    judged: list[object] = []
    for at, item in enumerate(value):
        rule = node.prefix[at] if at < len(node.prefix) else node.items
        try:
            judged.append(_judged_inner(item, rule, node, (*place, at)))
        except Mismatch as exc:
            faults += exc.faults
    if faults:
        raise Mismatch(faults)
    return judged


def _judged_object(value: Mapping[object, object], node: Node, place: Place) -> dict[str, object]:
    faults: list[Fault] = [((*place, name), "Field required") for name in node.required if name not in value]
    judged: dict[str, object] = {}
    for name, inner in value.items():
        if not isinstance(name, str):
            faults.append((place, "Keys should be strings"))
            continue
        rule = (node.fields or {}).get(name)
        if rule is None and node.is_closed:
            faults.append(((*place, name), "Extra inputs are not permitted"))
        else:
            try:
                judged[name] = _judged_inner(inner, rule or node.others, node, (*place, name))
            except Mismatch as exc:
                faults += exc.faults
    if faults:
        raise Mismatch(faults)
    return judged


_ANYTHING = Node()


def _judged_inner(value: object, rule: Node | None, node: Node, place: Place) -> object:
    """Return a value within another; where nothing is said of it here, an alternative may say that it is a file."""
    if rule is None and node.is_combined:
        return value
    return judge(value, rule or _ANYTHING, place)


def _combined(value: object, node: Node, place: Place) -> object:
    for part in node.all_of:
        value = judge(value, part, place)
    for parts, most in ((node.any_of, len(node.any_of)), (node.one_of, 1)):
        if parts:
            value = _one_of(value, parts, most, place)
    return value


def _one_of(value: object, parts: tuple[Node, ...], most: int, place: Place) -> object:
    """Return the value as the first alternative that it fits keeps it."""
    fitting: list[object] = []
    mismatches: list[list[Fault]] = []
    for part in parts:
        try:
            fitting.append(judge(value, part, place))
        except Mismatch as exc:
            mismatches.append(exc.faults)
    if len(fitting) > most:
        raise Mismatch([(place, f"Input fits {len(fitting)} of the alternatives, and exactly 1 is wanted")])
    if fitting:
        return fitting[0]
    raise Mismatch(_nearest(mismatches, place))


def _nearest(mismatches: list[list[Fault]], place: Place) -> list[Fault]:
    """Return the faults of the alternative that was probably meant, or one fault that names them all."""
    deeper = [faults for faults in mismatches if any(len(at) > len(place) for at, _ in faults)]
    if len(deeper) == 1:
        return deeper[0]
    words = list(dict.fromkeys(problem for faults in mismatches for _, problem in faults))
    # "Input should be None" helps nobody beside what the field is for.
    words = [word for word in words if word != f"Input should be {_KIND_WORDS['null']}"] or words
    return [(place, " or ".join(words[:8]))]
