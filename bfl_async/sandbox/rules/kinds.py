"""The kinds of rule that a field may have, and how pydantic reads a value by each of them."""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Place = list[Json]  # of a value in the body: names and numbers from outside to inside
_URL_MAX = 2083
_URL_SCHEMES = ("http", "https")
Kind = Literal["int", "float", "bool", "str", "url", "enum", "literal", "list", "pair", "either"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What one field may hold; bounds include their ends, but for `gt`.

    An `enum` and a `literal` differ in the words of their refusal only: the first is a type that the
    schema names, the second stands in the field itself.
    """

    kind: Kind
    nullable: bool = False
    required: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    multiple_of: int | None = None
    min_length: int | None = None  # characters of a text, items of a list
    max_length: int | None = None
    choices: tuple[str | int, ...] = ()  # of an enum or a literal
    parts: tuple["Rule", ...] = ()  # a list's one item, a pair's two, the options of an either

    def label(self) -> str:
        """What pydantic calls it where it tells the options of an either apart."""
        if self.kind == "literal":
            return f"literal[{','.join(map(repr, self.choices))}]"
        inner = ", ".join(part.label() for part in self.parts)
        if self.kind in ("list", "pair"):
            return f"{'tuple' if self.kind == 'pair' else 'list'}[{inner}]"
        return f"constrained-{self.kind}" if self.ge is not None or self.le is not None else self.kind


TEXT = Rule("str")
TEXT_OR_NULL = Rule("str", nullable=True)
FLAG = Rule("bool")
USER = Rule("str", nullable=True, min_length=1, max_length=256)
OUTPUT_FORMAT = Rule("enum", nullable=True, choices=("jpeg", "png", "webp"))
COMMON = {
    "seed": Rule("int", nullable=True),
    "output_format": OUTPUT_FORMAT,
    "webhook_url": Rule("url", nullable=True),
    "webhook_secret": TEXT_OR_NULL,
    "user": USER,
}


class RulesBroken(Exception):
    """A body that is refused with `status`; `.detail` stands in the answer: a list of errors, or a text."""

    def __init__(self, detail: list[Json] | str, *, status: int = 422) -> None:
        super().__init__(detail if isinstance(detail, str) else f"{len(detail)} errors in the body")
        self.detail = detail
        self.status = status


@dataclass(frozen=True, slots=True)
class _Fault:
    """One reason for a refusal, at a place beneath the value that was read."""

    kind: str
    message: str
    value: Json
    context: dict[str, Json] | None = None
    place: Place = field(default_factory=list)

    def within(self, *place: Json) -> "_Fault":
        return _Fault(self.kind, self.message, self.value, self.context, [*place, *self.place])

    def told(self) -> Json:
        error: dict[str, Json] = {
            "type": self.kind,
            "loc": self.place,
            "msg": self.message,
            "input": self.value,
        }
        return error if self.context is None else {**error, "ctx": self.context}


class _Broken(Exception):
    """A value that breaks its rule."""

    def __init__(self, *faults: _Fault) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a body, in the order in which their errors are listed."""

    fields: Mapping[str, Rule]
    strict: bool = False  # a field that it does not name is refused; otherwise it is ignored

    def check(self, body: Mapping[str, Json], *place: Json) -> dict[str, Json]:
        """The known fields, converted; those that are null are left out.

        Args:
            body: What was sent.
            place: Where it stands beneath the body, for the errors.
        Raises:
            RulesBroken: At least one field breaks its rule.
        """
        checked: dict[str, Json] = {}
        faults: list[_Fault] = []
        for name, rule in self.fields.items():
            if name not in body:
                if rule.required:
                    faults.append(_Fault("missing", "Field required", dict(body), place=[name]))
                continue
            value = body[name]
            if value is None and rule.nullable:
                continue
            try:
                checked[name] = _READ[rule.kind](value, rule)
            except _Broken as broken:
                faults += [fault.within(name) for fault in broken.faults]
        if self.strict:
            faults += [
                _Fault("extra_forbidden", "Extra inputs are not permitted", value, place=[name])
                for name, value in body.items()
                if name not in self.fields
            ]
        if faults:
            raise RulesBroken([fault.within("body", *place).told() for fault in faults])
        return checked


@dataclass(frozen=True, slots=True)
class Modes:
    """Bodies of several shapes, told apart by the value of one field."""

    tag: str
    shapes: Mapping[str, Shape]
    aliases: Mapping[str, str]  # other words for a tag's values

    def check(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Check the body by the shape that its tag names, its alias replaced. As `Shape.check`."""
        if self.tag not in body:
            message = f"Unable to extract tag using discriminator '{self.tag}'"
            missing = _Fault("union_tag_not_found", message, dict(body), {"discriminator": f"'{self.tag}'"})
            raise RulesBroken([missing.within("body").told()])
        said = body[self.tag]
        mode = self.aliases.get(said, said) if isinstance(said, str) else None
        shape = None if mode is None else self.shapes.get(mode)
        if shape is None:
            expected = ", ".join(f"'{name}'" for name in self.shapes)
            message = f"Input tag '{said}' found using '{self.tag}' does not match any of the expected tags: {expected}"
            context: dict[str, Json] = {
                "discriminator": f"'{self.tag}'",
                "tag": str(said),
                "expected_tags": expected,
            }
            raise RulesBroken(
                [_Fault("union_tag_invalid", message, dict(body), context).within("body").told()]
            )
        return shape.check({**body, self.tag: mode}, mode)


def parse(raw: bytes, content_type: str | None) -> dict[str, Json]:
    """Read a request body as FastAPI does.

    Args:
        raw: The body's bytes.
        content_type: The media type that the request names, or None when it names none.
    Raises:
        RulesBroken: It is not a JSON object.
    """
    if not raw:
        raise RulesBroken([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    body: Json = None
    if content_type is None or content_type == "application/json" or content_type.endswith("+json"):
        try:
            body = json.loads(raw, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            position = exc.pos if isinstance(exc, json.JSONDecodeError) else 0
            reason = exc.msg if isinstance(exc, json.JSONDecodeError) else "Expecting value"
            raise RulesBroken(
                [
                    {
                        "type": "json_invalid",
                        "loc": ["body", position],
                        "msg": "JSON decode error",
                        "input": {},
                        "ctx": {"error": reason},
                    }
                ]
            ) from exc
    else:
        body = raw.decode("utf-8", "replace")
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise RulesBroken([{"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": body}])
    return body


def _broken(value: Json, kind: str, message: str, context: dict[str, Json] | None = None) -> _Broken:
    return _Broken(_Fault(kind, message, value, context))


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _read_int(value: Json, rule: Rule) -> int:
    number: int
    if isinstance(value, int):  # True counts as 1
        number = int(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _broken(value, "finite_number", "Input should be a finite number")
        if not value.is_integer():
            raise _broken(
                value,
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            )
        number = int(value)
    elif isinstance(value, str):
        whole, point, fraction = value.strip().partition(".")
        try:
            number = int(whole)
        except ValueError:
            fraction = "x"
            number = 0
        if fraction.strip("0") or (point and not fraction):
            raise _broken(
                value, "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
            )
    else:
        raise _broken(value, "int_type", "Input should be a valid integer")
    _check_bounds(number, value, rule)
    return number


def _read_float(value: Json, rule: Rule) -> float:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError as exc:
            raise _broken(
                value, "float_parsing", "Input should be a valid number, unable to parse string as a number"
            ) from exc
    elif isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.copysign(math.inf, value)
    else:
        raise _broken(value, "float_type", "Input should be a valid number")
    _check_bounds(number, value, rule)
    return number


def _check_bounds(number: float, value: Json, rule: Rule) -> None:
    if rule.multiple_of is not None and number % rule.multiple_of:
        message = f"Input should be a multiple of {rule.multiple_of}"
        raise _broken(value, "multiple_of", message, {"multiple_of": rule.multiple_of})
    bounds = (
        ("less_than_equal", "less than or equal to", "le", rule.le, operator.le),
        ("greater_than", "greater than", "gt", rule.gt, operator.gt),
        ("greater_than_equal", "greater than or equal to", "ge", rule.ge, operator.ge),
    )
    for kind, words, name, bound, holds in bounds:
        if bound is not None and not holds(number, bound):
            # Pydantic keeps a bound in the field's own type: 3.0 for a float field, 3 for a whole number.
            shown = float(bound) if rule.kind == "float" else int(bound)
            raise _broken(value, kind, f"Input should be {words} {bound:g}", {name: shown})


_WORDS_FOR_BOOL = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


def _read_bool(value: Json, rule: Rule) -> bool:
    del rule  # a bool has none beyond its type
    if isinstance(value, bool):
        return value
    word: str | None = None
    if isinstance(value, str):
        word = value.lower()
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        word = str(int(value))
    if word is None:
        raise _broken(value, "bool_type", "Input should be a valid boolean")
    if word not in _WORDS_FOR_BOOL:
        raise _broken(value, "bool_parsing", "Input should be a valid boolean, unable to interpret input")
    return _WORDS_FOR_BOOL[word]


def _read_str(value: Json, rule: Rule) -> str:
    if not isinstance(value, str):
        raise _broken(value, "string_type", "Input should be a valid string")
    if rule.min_length is not None and len(value) < rule.min_length:
        plural = "" if rule.min_length == 1 else "s"
        message = f"String should have at least {rule.min_length} character{plural}"
        raise _broken(value, "string_too_short", message, {"min_length": rule.min_length})
    if rule.max_length is not None and len(value) > rule.max_length:
        message = f"String should have at most {rule.max_length} characters"
        raise _broken(value, "string_too_long", message, {"max_length": rule.max_length})
    return value


def _read_url(value: Json, rule: Rule) -> str:
    """Read the address of a webhook, which the schema describes as pydantic's `HttpUrl`."""
    del rule  # the API bounds every such URL alike
    if not isinstance(value, str):
        raise _broken(value, "url_type", "URL input should be a string or URL")
    if len(value) > _URL_MAX:
        message = f"URL should have at most {_URL_MAX} characters"
        raise _broken(value, "url_too_long", message, {"max_length": _URL_MAX})
    reason, scheme = _url_problem(value.strip())
    if reason:
        raise _broken(value, "url_parsing", f"Input should be a valid URL, {reason}", {"error": reason})
    if scheme not in _URL_SCHEMES:
        message = "URL scheme should be 'http' or 'https'"
        raise _broken(value, "url_scheme", message, {"expected_schemes": "'http' or 'https'"})
    return value


def _url_problem(text: str) -> tuple[str, str]:
    """What is wrong with an address, "" if nothing is, and its scheme."""
    if not text:
        return "input is empty", ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "invalid IPv6 address", ""
    if not parts.scheme:
        return "relative URL without a base", ""
    # An address without its slashes is complete: `http:example.org` names the host example.org.
    if parts.scheme in _URL_SCHEMES and not (parts.hostname or parts.path.strip("/")):
        return "empty host", parts.scheme
    try:
        _ = parts.port
    except ValueError:
        return "invalid port number", parts.scheme
    return "", parts.scheme


def _read_choice(value: Json, rule: Rule) -> str | int:
    for choice in rule.choices:
        # True and 1.0 are the number 1, but no text is a number here.
        if value == choice:
            return choice
    *others, last = [repr(choice) for choice in rule.choices]
    expected = f"{', '.join(others)} or {last}" if others else last
    kind = "enum" if rule.kind == "enum" else "literal_error"
    raise _broken(value, kind, f"Input should be {expected}", {"expected": expected})


def _read_list(value: Json, rule: Rule) -> list[Json]:
    if not isinstance(value, list):
        raise _broken(value, "list_type", "Input should be a valid list")
    if rule.max_length is not None and len(value) > rule.max_length:
        raise _wrong_length(value, "List", "too_long", rule.max_length)
    items = _read_items(value, [rule.parts[0]] * len(value))
    if rule.min_length is not None and len(value) < rule.min_length:
        raise _wrong_length(value, "List", "too_short", rule.min_length)
    return items


def _read_pair(value: Json, rule: Rule) -> list[Json]:
    if not isinstance(value, list):
        raise _broken(value, "tuple_type", "Input should be a valid tuple")
    if len(value) > len(rule.parts):
        raise _wrong_length(value, "Tuple", "too_long", len(rule.parts))
    return _read_items(value, rule.parts)


def _read_items(values: list[Json], rules: Sequence[Rule]) -> list[Json]:
    items: list[Json] = []
    faults: list[_Fault] = []
    for number, (value, rule) in enumerate(zip(values, rules, strict=False)):
        try:
            items.append(_READ[rule.kind](value, rule))
        except _Broken as broken:
            faults += [fault.within(number) for fault in broken.faults]
    faults += [_Fault("missing", "Field required", values, place=[n]) for n in range(len(values), len(rules))]
    if faults:
        raise _Broken(*faults)
    return items


def _wrong_length(value: list[Json], what: str, kind: str, bound: int) -> _Broken:
    side, name = ("most", "max_length") if kind == "too_long" else ("least", "min_length")
    items = "item" if bound == 1 else "items"
    message = f"{what} should have at {side} {bound} {items} after validation, not {len(value)}"
    return _broken(value, kind, message, {"field_type": what, name: bound, "actual_length": len(value)})


def _read_either(value: Json, rule: Rule) -> Json:
    """The value as the first option that takes it without a conversion, else as the first that takes it."""
    taken: list[Json] = []
    faults: list[_Fault] = []
    for part in rule.parts:
        try:
            read = _READ[part.kind](value, part)
        except _Broken as broken:
            faults += [fault.within(part.label()) for fault in broken.faults]
        else:
            if read == value:
                return read
            taken.append(read)
    if not taken:
        raise _Broken(*faults)
    return taken[0]


_READ: dict[Kind, Callable[[Json, Rule], Json]] = {
    "int": _read_int,
    "float": _read_float,
    "bool": _read_bool,
    "str": _read_str,
    "url": _read_url,
    "enum": _read_choice,
    "literal": _read_choice,
    "list": _read_list,
    "pair": _read_pair,
    "either": _read_either,
}
