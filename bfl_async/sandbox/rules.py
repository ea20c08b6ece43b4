"""The fields of each endpoint, and the 422 answer to a body that breaks their rules.

The API runs on FastAPI: a refused body comes back as pydantic's list of errors. The conversions below are
pydantic's lax ones (the string "512" is a fine width, 512.5 is not), in its order of checks and its words.
Fields that an endpoint does not know are ignored, as the real one ignores them.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Kind = Literal["int", "float", "bool", "str", "url", "format"]

OUTPUT_FORMATS = ("jpeg", "png", "webp")
# Guides say that FLUX.2 draws 4 MP at most; the spec has no upper bound. How a larger size is refused was
# not recorded; the sandbox needs the bound, since it would have to draw the image.
FLUX_2_MAX_PX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """What one field may hold; bounds include their ends."""

    kind: Kind
    nullable: bool = False
    required: bool = False
    ge: float | None = None
    le: float | None = None
    multiple_of: int | None = None
    min_length: int | None = None
    max_length: int | None = None


class RulesBroken(Exception):
    """A body that gets a 422; `.detail` is the list of errors for the answer."""

    def __init__(self, detail: list[Json]) -> None:
        super().__init__(f"{len(detail)} errors in the body")
        self.detail = detail


class _Broken(Exception):
    """One value that breaks its rule."""

    def __init__(self, kind: str, message: str, context: dict[str, Json] | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.context = kind, message, context


_TEXT_OR_NULL = Rule("str", nullable=True)
_COMMON = {
    "seed": Rule("int", nullable=True),
    "output_format": Rule("format", nullable=True),
    "webhook_url": Rule("url", nullable=True),
    "webhook_secret": _TEXT_OR_NULL,
    "user": Rule("str", nullable=True, min_length=1, max_length=256),
}
_FLUX_1 = {
    "prompt": _TEXT_OR_NULL,
    "image_prompt": _TEXT_OR_NULL,
    "width": Rule("int", ge=256, le=1440, multiple_of=32),
    "height": Rule("int", ge=256, le=1440, multiple_of=32),
    "prompt_upsampling": Rule("bool"),
    "safety_tolerance": Rule("int", ge=0, le=6),
    **_COMMON,
}
_STEPS_AND_GUIDANCE = {
    "steps": Rule("int", nullable=True, ge=1, le=50),
    "guidance": Rule("float", nullable=True, ge=1.5, le=5.0),
}
_FLUX_2 = {
    "prompt": Rule("str", required=True),
    "width": Rule("int", nullable=True, ge=64),
    "height": Rule("int", nullable=True, ge=64),
    "safety_tolerance": Rule("int", ge=0, le=5),
    **_COMMON,
}


def _input_images(count: int) -> dict[str, Rule]:
    names = ["input_image", *(f"input_image_{n}" for n in range(2, count + 1))]
    return dict.fromkeys(names, _TEXT_OR_NULL)


RULES: dict[str, dict[str, Rule]] = {
    "flux-pro-1.1": _FLUX_1,
    "flux-pro": {**_FLUX_1, **_STEPS_AND_GUIDANCE, "interval": Rule("float", nullable=True, ge=1, le=4)},
    "flux-dev": {**_FLUX_1, **_STEPS_AND_GUIDANCE, "prompt": Rule("str")},
    "flux-2-pro": {**_FLUX_2, **_input_images(8), "disable_pup": Rule("bool")},
    "flux-2-klein-4b": {**_FLUX_2, **_input_images(4)},
}


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


def check(model: str, body: Mapping[str, Json]) -> dict[str, Json]:
    """The body's known fields, converted to their types.

    Raises:
        RulesBroken: At least one field breaks its rule.
    """
    checked: dict[str, Json] = {}
    errors: list[Json] = []
    for name, rule in RULES[model].items():
        if name not in body:
            if rule.required:
                errors.append(
                    {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": dict(body)}
                )
            continue
        value = body[name]
        if value is None and rule.nullable:
            continue
        try:
            checked[name] = _READ[rule.kind](value, rule)
        except _Broken as broken:
            error: dict[str, Json] = {
                "type": broken.kind,
                "loc": ["body", name],
                "msg": broken.message,
                "input": value,
            }
            if broken.context is not None:
                error["ctx"] = broken.context
            errors.append(error)
    if not errors and RULES[model]["width"].le is None:
        width, height = checked.get("width", 1024), checked.get("height", 1024)
        if isinstance(width, int) and isinstance(height, int) and width * height > FLUX_2_MAX_PX:
            reason = "width x height exceeds 4 megapixels"
            errors.append(
                {
                    "type": "value_error",
                    "loc": ["body"],
                    "msg": f"Value error, {reason}",
                    "input": dict(body),
                    "ctx": {"error": reason},
                }
            )
    if errors:
        raise RulesBroken(errors)
    return checked


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _read_int(value: Json, rule: Rule) -> int:
    number: int
    if isinstance(value, int):  # True counts as 1
        number = int(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Broken("finite_number", "Input should be a finite number")
        if not value.is_integer():
            raise _Broken(
                "int_from_float", "Input should be a valid integer, got a number with a fractional part"
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
            raise _Broken(
                "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
            )
    else:
        raise _Broken("int_type", "Input should be a valid integer")
    _check_bounds(number, rule)
    return number


def _read_float(value: Json, rule: Rule) -> float:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError as exc:
            raise _Broken(
                "float_parsing", "Input should be a valid number, unable to parse string as a number"
            ) from exc
    elif isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.copysign(math.inf, value)
    else:
        raise _Broken("float_type", "Input should be a valid number")
    _check_bounds(number, rule)
    return number


def _check_bounds(number: float, rule: Rule) -> None:
    if rule.multiple_of is not None and number % rule.multiple_of:
        message = f"Input should be a multiple of {rule.multiple_of}"
        raise _Broken("multiple_of", message, {"multiple_of": rule.multiple_of})
    if rule.le is not None and not number <= rule.le:
        raise _Broken(
            "less_than_equal", f"Input should be less than or equal to {rule.le:g}", {"le": rule.le}
        )
    if rule.ge is not None and not number >= rule.ge:
        raise _Broken(
            "greater_than_equal", f"Input should be greater than or equal to {rule.ge:g}", {"ge": rule.ge}
        )


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
        raise _Broken("bool_type", "Input should be a valid boolean")
    if word not in _WORDS_FOR_BOOL:
        raise _Broken("bool_parsing", "Input should be a valid boolean, unable to interpret input")
    return _WORDS_FOR_BOOL[word]


def _read_str(value: Json, rule: Rule) -> str:
    if not isinstance(value, str):
        raise _Broken("string_type", "Input should be a valid string")
    if rule.min_length is not None and len(value) < rule.min_length:
        plural = "" if rule.min_length == 1 else "s"
        message = f"String should have at least {rule.min_length} character{plural}"
        raise _Broken("string_too_short", message, {"min_length": rule.min_length})
    if rule.max_length is not None and len(value) > rule.max_length:
        message = f"String should have at most {rule.max_length} characters"
        raise _Broken("string_too_long", message, {"max_length": rule.max_length})
    return value


def _read_url(value: Json, rule: Rule) -> str:
    del rule  # the API bounds every such URL alike
    if not isinstance(value, str):
        raise _Broken("url_type", "URL input should be a string or URL")
    if len(value) > 2083:
        message = f"Value should have at most 2083 items after validation, not {len(value)}"
        context: dict[str, Json] = {"field_type": "Value", "max_length": 2083, "actual_length": len(value)}
        raise _Broken("too_long", message, context)
    try:
        parts = urlsplit(value)
        reason = "" if parts.scheme else "relative URL without a base"
        if parts.scheme in ("http", "https") and not parts.hostname:
            reason = "empty host"
    except ValueError:
        reason = "invalid IPv6 address"
    if not value:
        reason = "input is empty"
    if reason:
        raise _Broken("url_parsing", f"Input should be a valid URL, {reason}", {"error": reason})
    return value


def _read_format(value: Json, rule: Rule) -> str:
    del rule  # every model offers the same formats
    if not isinstance(value, str) or value not in OUTPUT_FORMATS:
        expected = "'jpeg', 'png' or 'webp'"
        raise _Broken("enum", f"Input should be {expected}", {"expected": expected})
    return value


_READ: dict[Kind, Callable[[Json, Rule], Json]] = {
    "int": _read_int,
    "float": _read_float,
    "bool": _read_bool,
    "str": _read_str,
    "url": _read_url,
    "format": _read_format,
}
