"""Reads an OpenAPI description into the schemas of models. Pure: bytes in, values out.

The file is untrusted. It is bounded in bytes, depth, fields and nodes (counted with every reference expanded), its
names have a fixed alphabet, and a reference may lead neither out of the file nor in a circle. It chooses no host:
`servers` is not read. Endpoints that make no image or video never become models.

Source of the form: BFL OpenAPI (`https://api.bfl.ai/openapi.json`), read 2026-09-19.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, cast, get_args

from pydantic_core import from_json

from bfl_async.errors import ConfigError, InvalidRequestError
from bfl_async.models._endpoints import check_makes_task, check_name
from bfl_async.models.schema import Kind, MediaKind, Node, is_pattern
from bfl_async.runtime.text import printable
from bfl_async.types.common import JSON

MAX_BYTES = 4 * 2**20
"""Of a description; BFL's has 90 KB."""

_MAX_DEPTH = 24
_MAX_NODES = 5_000
_MAX_MODELS = 500
_MAX_FIELDS = 300
_MAX_CHOICES = 1_000
_MAX_TEXT = 2_000
_KINDS: tuple[Kind, ...] = get_args(Kind)
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_PREFIX = "/v1/"


@dataclass(frozen=True, slots=True)
class Shape:
    """One form that a model's body may have.

    Args:
        node: The object.
        mode: The value of the model's tag that chooses this form; "" where there is only one.
    """

    node: Node
    mode: str = ""

    @property
    def fields(self) -> Mapping[str, Node]:
        """The fields of the body."""
        return self.node.fields or {}


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What a description says of one model.

    Args:
        name: The path after `/v1/`.
        shapes: The forms of its body; several where a field tells them apart.
        tag: The name of that field; "" where there is none.
        is_deprecated: By the description's own words.
    """

    name: str
    shapes: tuple[Shape, ...]
    tag: str = ""
    is_deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """An OpenAPI description: the models by name, in the file's order, and the JSON that they were read from."""

    models: Mapping[str, ModelSchema]
    document: Mapping[str, object]


def read(data: bytes, *, source: str = "the description") -> Description:
    """Read an OpenAPI description.

    Args:
        data: JSON, at most `MAX_BYTES`.
        source: What errors call it.
    Raises:
        ConfigError: It is not one that can be used; the message says where and why.
    """
    try:
        document = _document(data)
        models: dict[str, ModelSchema] = {}
        for name, schema in generating(document):
            if len(models) == _MAX_MODELS:
                _refuse("paths", f"has more than {_MAX_MODELS} models")
            models[name] = _Reader(document).model(name, schema)
    except _Refused as exc:
        raise ConfigError(f"{printable(source)} cannot be used as an OpenAPI description: {exc}") from None
    if not models:
        raise ConfigError(f"{printable(source)} describes no model: no path in it makes an image or a video")
    return Description(models, document)


class _Refused(Exception):
    pass


def _refuse(place: str, problem: str) -> NoReturn:
    raise _Refused(f"{printable(place, 100)} {problem}")


def _document(data: bytes) -> Mapping[str, object]:
    if len(data) > MAX_BYTES:
        _refuse("the file", f"has more than {MAX_BYTES // 2**20} MB")
    try:
        document: object = from_json(data, allow_inf_nan=False)
    except (ValueError, RecursionError):
        _refuse("the file", "is not JSON, or is nested too deeply")
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        _refuse("the file", "has no paths")
    return cast("Mapping[str, object]", document)


def generating(document: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the names of the models, each with the POST of its path."""
    for path, calls in _mapping(document.get("paths")).items():
        post = _mapping(_mapping(calls).get("post"))
        if not (isinstance(path, str) and path.startswith(_PREFIX) and _makes_task(post, document)):
            continue
        name = path.removeprefix(_PREFIX)
        try:
            check_name(name)
        except InvalidRequestError:
            _refuse(f"the path '{printable(path, 80)}'", "is not one that a model can have")
        try:
            check_makes_task(name)
        except InvalidRequestError:
            # An endpoint of the account, whatever the description says that it answers.
            continue
        yield name, post


def _makes_task(post: Mapping[str, object], document: Mapping[str, object]) -> bool:
    if not body_schema(post):
        return False
    for code, answer in _mapping(post.get("responses")).items():
        content = _mapping(_mapping(_mapping(answer).get("content")).get("application/json"))
        if str(code).startswith("2") and _has_receipt(_mapping(content.get("schema")), document):
            return True
    return False


def _has_receipt(schema: Mapping[str, object], document: Mapping[str, object]) -> bool:
    """Return whether an answer, or one of its alternatives, has an id and a polling URL."""
    alternatives = [schema]
    for key in ("anyOf", "oneOf"):
        listed = schema.get(key)
        if isinstance(listed, list):
            alternatives += map(_mapping, listed)
    for one in alternatives:
        found = _followed(one, document)
        if {"id", "polling_url"} <= _mapping(found.get("properties")).keys():
            return True
    return False


def _followed(schema: Mapping[str, object], document: Mapping[str, object]) -> Mapping[str, object]:
    reference = schema.get("$ref")
    return schema if reference is None else _target(reference, document)


def _target(reference: object, document: Mapping[str, object]) -> Mapping[str, object]:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        _refuse("a reference", "leads out of the file")
    found: object = document
    for part in reference[2:].split("/"):
        found = _mapping(found).get(part.replace("~1", "/").replace("~0", "~"))
    if not isinstance(found, Mapping):
        _refuse(f"the reference '{printable(reference, 80)}'", "leads to nothing")
    return found


def body_schema(post: Mapping[str, object]) -> Mapping[str, object]:
    """Return the schema of a POST's JSON body; empty where there is none."""
    content = _mapping(_mapping(post.get("requestBody")).get("content"))
    return _mapping(_mapping(content.get("application/json")).get("schema"))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


# --- schemas -----------------------------------------------------------------------------------------------------


class _Reader:
    """Reads the schemas of one model. References that are met again give the same node."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self._document = document
        self._known: dict[str, tuple[Node, int]] = {}
        self._open: list[str] = []
        # Nodes of the schema that was read last, those behind references counted each time.
        self._nodes = 0

    def model(self, name: str, post: Mapping[str, object]) -> ModelSchema:
        body = _unwrapped(self._node(body_schema(post), name, 0))
        alternatives = body.one_of or body.any_of
        nodes = [_unwrapped(one) for one in alternatives] if alternatives else [body]
        nodes = [node for node in nodes if node.kinds != ("null",)]
        if not all(node.fields is not None for node in nodes):
            _refuse(name, "has a body that is not an object with fields")
        if len(nodes) == 1:
            return ModelSchema(name, (Shape(nodes[0]),), "", post.get("deprecated") is True)
        tag = _tag_of(nodes)
        shapes = tuple(Shape(node, _mode_of(node, tag)) for node in nodes)
        return ModelSchema(name, shapes, tag, post.get("deprecated") is True)

    def _node(self, schema: object, place: str, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            _refuse(place, f"has more than {_MAX_NODES} parts with its references")
        if depth > _MAX_DEPTH:
            _refuse(place, f"is nested more than {_MAX_DEPTH} levels deep")
        if schema is True:
            return Node()
        if not isinstance(schema, Mapping):
            _refuse(place, "is not a schema")
        if "$ref" in schema:
            return self._behind(schema, place, depth)
        return self._plain(schema, place, depth)

    def _behind(self, schema: Mapping[str, object], place: str, depth: int) -> Node:
        reference = schema["$ref"]
        target = _target(reference, self._document)
        assert isinstance(reference, str)
        if reference in self._open:
            _refuse(place, f"refers to itself through '{printable(reference, 80)}'")
        if (known := self._known.get(reference)) is None:
            before = self._nodes
            self._open.append(reference)
            node = self._node(target, place, depth + 1)
            self._open.pop()
            self._known[reference] = node, self._nodes - before
        else:
            node, count = known
            self._nodes += count
            if self._nodes > _MAX_NODES:
                _refuse(place, f"has more than {_MAX_NODES} parts with its references")
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "title")}
        if "default" in beside:
            node = replace(node, default=_json(beside.pop("default")))
        if "description" in beside:
            node = replace(node, text=_text(beside.pop("description")))
        # Since OpenAPI 3.1, what stands beside a reference counts as well.
        return replace(self._plain(beside, place, depth), all_of=(node,)) if beside else node

    def _plain(self, schema: Mapping[str, object], place: str, depth: int) -> Node:
        def inner(key: str) -> Node | None:
            value = schema.get(key)
            return None if value is None else self._node(value, f"{place}.{key}", depth + 1)

        def several(key: str) -> tuple[Node, ...]:
            value = schema.get(key, [])
            if not isinstance(value, list):
                _refuse(f"{place}.{key}", "is not a list")
            return tuple(self._node(one, place, depth + 1) for one in value)

        closed = schema.get("additionalProperties")
        exclusive = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        node = Node(
            kinds=_kinds(schema, place),
            choices=_choices(schema, place),
            # OpenAPI 3.0 writes true beside the bound.
            minimum=None if exclusive[0] is True else _number(schema, "minimum", place),
            maximum=None if exclusive[1] is True else _number(schema, "maximum", place),
            above=_number(schema, "minimum" if exclusive[0] is True else "exclusiveMinimum", place),
            below=_number(schema, "maximum" if exclusive[1] is True else "exclusiveMaximum", place),
            multiple_of=_step(schema, place),
            min_length=_count(schema, "minLength", place),
            max_length=_count(schema, "maxLength", place),
            pattern=_pattern(schema),
            format=_text(schema.get("format")),
            items=inner("items") if schema.get("items") is not False else None,
            prefix=several("prefixItems"),
            min_items=_count(schema, "minItems", place),
            max_items=_count(schema, "maxItems", place),
            is_unique=schema.get("uniqueItems") is True,
            fields=self._fields(schema, place, depth),
            required=_required(schema, place),
            is_closed=closed is False,
            others=None if isinstance(closed, bool) else inner("additionalProperties"),
            any_of=several("anyOf"),
            one_of=several("oneOf"),
            all_of=several("allOf"),
            default=_json(schema.get("default")),
            text=_text(schema.get("description")) or _text(schema.get("title")),
        )
        if schema.get("nullable") is True and node.kinds:
            node = replace(node, kinds=(*node.kinds, "null"))
        return node

    def _fields(self, schema: Mapping[str, object], place: str, depth: int) -> Mapping[str, Node] | None:
        fields = schema.get("properties")
        if fields is None:
            return None
        if not isinstance(fields, Mapping):
            _refuse(f"{place}.properties", "is not an object")
        if len(fields) > _MAX_FIELDS:
            _refuse(place, f"has more than {_MAX_FIELDS} fields")
        made = {}
        for name, inner in fields.items():
            if not _FIELD_NAME.fullmatch(name):
                _refuse(f"{place}.{printable(name, 60)}", "is not a name that a field can have")
            made[name] = with_media(name, self._node(inner, f"{place}.{name}", depth + 1))
        return made


def _unwrapped(node: Node) -> Node:
    """Return an object's node: of several that all hold, one with the fields of all."""
    if not node.all_of or node.any_of or node.one_of:
        return node
    parts = [_unwrapped(part) for part in node.all_of]
    if len(parts) == 1 and node.fields is None:
        return parts[0]
    fields: dict[str, Node] = {}
    for part in (node, *parts):
        fields.update(part.fields or {})
    required = dict.fromkeys([*node.required, *(name for part in parts for name in part.required)])
    return Node(kinds=("object",), fields=fields, required=tuple(required), is_closed=node.is_closed)


def _tag_of(nodes: list[Node]) -> str:
    """Return the field whose constant value tells the forms apart; "" if no field does."""
    shared = set.intersection(*[set(node.fields or {}) for node in nodes])
    for name in nodes[0].fields or {}:
        modes = [_mode_of(node, name) for node in nodes] if name in shared else []
        if modes and all(modes) and len(set(modes)) == len(modes):
            return name
    return ""


def _mode_of(node: Node, tag: str) -> str:
    field = (node.fields or {}).get(tag)
    choices = () if field is None else field.choices or ()
    return choices[0] if choices and isinstance(choices[0], str) else ""


def _kinds(schema: Mapping[str, object], place: str) -> tuple[Kind, ...]:
    given = schema.get("type")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    kinds = tuple(kind for kind in _KINDS if kind in listed)
    if len(kinds) != len(listed):
        _refuse(place, "has a type that JSON Schema does not know")
    return kinds


def _choices(schema: Mapping[str, object], place: str) -> tuple[JSON, ...] | None:
    if "const" in schema:
        return (_json(schema["const"]),)
    listed = schema.get("enum")
    if listed is None:
        return None
    if not isinstance(listed, list) or len(listed) > _MAX_CHOICES:
        _refuse(f"{place}.enum", f"is not a list of at most {_MAX_CHOICES} values")
    return tuple(map(_json, listed))


def _number(schema: Mapping[str, object], key: str, place: str) -> float | None:
    value = schema.get(key)
    if value is None or isinstance(value, bool):
        return None
    if not isinstance(value, int | float) or abs(value) > 1e300:
        _refuse(f"{place}.{key}", "is not a number")
    return value


def _step(schema: Mapping[str, object], place: str) -> float | None:
    step = _number(schema, "multipleOf", place)
    if step is not None and step <= 0:
        _refuse(f"{place}.multipleOf", "is not above 0")
    return step


def _count(schema: Mapping[str, object], key: str, place: str) -> int | None:
    value = _number(schema, key, place)
    if value is None:
        return None
    if value < 0 or value != int(value):
        _refuse(f"{place}.{key}", "is not a whole number from 0 up")
    return int(value)


def _required(schema: Mapping[str, object], place: str) -> tuple[str, ...]:
    listed = schema.get("required", [])
    # In OpenAPI 2 a field itself could say that it is required.
    listed = [] if isinstance(listed, bool) else listed
    if not isinstance(listed, list) or not all(
        isinstance(name, str) and _FIELD_NAME.fullmatch(name) for name in listed
    ):
        _refuse(f"{place}.required", "is not a list of names")
    return tuple(dict.fromkeys(listed))


def _pattern(schema: Mapping[str, object]) -> str:
    pattern = schema.get("pattern")
    if not isinstance(pattern, str) or len(pattern) > _MAX_TEXT or not is_pattern(pattern):
        return ""
    return pattern


def _json(value: object) -> JSON:
    """Return a value of the document: it was read from JSON."""
    return cast("JSON", value)


def _text(value: object) -> str:
    return printable(value, _MAX_TEXT) if isinstance(value, str) else ""


# --- which fields take files ----------------------------------------------------------------------------------------

# Words of the names of the release's own fields for files, and of their kin.
_IMAGE_WORDS = frozenset(
    {
        *("image", "images", "img", "mask", "masks", "photo", "picture", "person", "garment"),
        *("frame", "frames", "keyframe", "keyframes"),
    }
)
_VIDEO_WORDS = frozenset({"video", "videos"})
# What may follow such a word in a name: a number, or where in the video it stands.
_ENDINGS = frozenset(
    {"prompt", "prompts", "input", "start", "end", "first", "last", "reference", "references"}
)
_SAYS_FILE = re.compile(r"base.?64|data.url|encoded (image|video)|(image|video) (data|bytes)", re.IGNORECASE)


def media_kind(name: str, text: str = "") -> MediaKind | None:
    """Return what a field takes by its name and description; None for a field that takes no file."""
    words = [word for word in re.split(r"[_.-]|(?<=[a-z])(?=[A-Z0-9])", name) if word]
    while words and (words[-1].isdigit() or words[-1].lower() in _ENDINGS):
        if words.pop().lower() in ("reference", "references"):
            return "image"
    last = words[-1].lower() if words else ""
    if last in _VIDEO_WORDS:
        return "video"
    if last in _IMAGE_WORDS:
        return "image"
    if _SAYS_FILE.search(text):
        return "video" if "video" in text.lower() and "image" not in text.lower() else "image"
    return None


def with_media(name: str, node: Node) -> Node:
    """Return a field's node, with its texts marked where the field takes files."""
    kind = media_kind(name, node.text)
    return node if kind is None else _marked(node, kind)


def _marked(node: Node, kind: MediaKind) -> Node:
    if node.choices is not None or node.fields is not None:
        return node
    return replace(
        node,
        media=kind if "string" in node.kinds and node.format != "uri" else None,
        items=None if node.items is None else _marked(node.items, kind),
        prefix=tuple(_marked(one, kind) for one in node.prefix),
        any_of=tuple(_marked(one, kind) for one in node.any_of),
        one_of=tuple(_marked(one, kind) for one in node.one_of),
        all_of=tuple(_marked(one, kind) for one in node.all_of),
    )
