"""A sandbox that serves what an OpenAPI description describes: its models, each body checked against its schema.

The judge below reads the schema as it is written, by JSON Schema 2020-12. It shares nothing with the client's reading
of the same file, so that one mistake cannot hide in both. Of models that the sandbox knows besides, its own rules work
out size, price and time; for others these are made up.

A refusal has the form of pydantic's; its words are this sandbox's.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bfl_async.sandbox import images, orders, rules
from bfl_async.sandbox.images import ImageBroken, Size
from bfl_async.sandbox.models import MEGAPIXEL_PX, MODELS, Model, Order, flat
from bfl_async.sandbox.rules import Json, RulesBroken

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 64
_OUTPUT_MAX_PX = 4 * MEGAPIXEL_PX
_SIDE_MAX_PX = 4_096
_VIDEO_S = 5.0
_FORMATS = ("jpeg", "png", "webp")
# Nobody publishes prices and times of a model that is known from its description alone.
_MADE_UP = flat(5.0)

# A schema, or a part of the file, as `json.loads` gave it.
Schema = Mapping[str, Any]


class DescribedAPI:
    """The models of an OpenAPI description.

    Args:
        path: The file.
    Raises:
        ValueError: It cannot be read, or describes no model; the text says why.

    Attributes:
        models: By name, those that the sandbox knows and those that it does not.
        data: The file, as it is served.
    """

    def __init__(self, path: Path | str) -> None:
        self.data: bytes = _read(path)
        try:
            document = json.loads(self.data)
        except (ValueError, RecursionError) as exc:
            raise ValueError("the OpenAPI description is not JSON, or is nested too deeply") from exc
        self._document: Schema = document if isinstance(document, dict) else {}
        self._schemas = dict(self._generating())
        self.models: dict[str, Model] = {name: MODELS.get(name) or _model(name) for name in self._schemas}
        if not self.models:
            raise ValueError("the OpenAPI description has no path that makes an image or a video")

    def _generating(self) -> Iterator[tuple[str, Schema]]:
        for path, calls in _part(self._document, "paths").items():
            post = _part(calls, "post")
            schema = _part(post, "requestBody", "content", "application/json", "schema")
            answers = [
                self._followed(one, 0)
                for code, answer in _part(post, "responses").items()
                for one in _alternatives(_part(answer, "content", "application/json", "schema"))
                if str(code).startswith("2")
            ]
            makes_task = any("polling_url" in _part(one, "properties") for one in answers)
            if path.startswith("/v1/") and schema and makes_task:
                yield path.removeprefix("/v1/"), schema

    def check(self, name: str, body: Mapping[str, Json]) -> None:
        """Check a body against the schema of its model.

        Raises:
            RulesBroken: It does not fit, or with status 500 the schema cannot be used.
        """
        try:
            faults = self._faults(dict(body), self._schemas[name], ["body"], 0)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
            re.error,
        ) as exc:
            # Of a file that anybody may have written; the sandbox goes on with its other models.
            raise RulesBroken(
                f"the schema of {name} cannot be used: {type(exc).__name__}", status=500
            ) from exc
        if faults:
            raise RulesBroken(faults)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The file itself, for clients that learn the models from it."""
        del request  # there is one file
        return web.Response(body=self.data, content_type="application/json")

    def _followed(self, schema: Any, depth: int) -> Schema:
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        if depth > _MAX_DEPTH:
            raise ValueError("the OpenAPI description has a reference that leads to itself")
        found = _part(self._document, *reference.removeprefix("#/").split("/"))
        return self._followed(found, depth + 1)

    # --- the judge ---------------------------------------------------------------------------------------------

    def _faults(self, value: Json, schema: Any, place: list[Json], depth: int) -> list[Json]:
        """The errors of a value, as the answer lists them; empty if it fits."""
        if depth > _MAX_DEPTH:
            return [_fault("recursion_loop", "The schema is nested too deeply", place, value)]
        if isinstance(schema, bool) or not isinstance(schema, dict):
            return [_fault("no_such_value", "No value fits", place, value)] if schema is False else []
        faults: list[Json] = []
        if "$ref" in schema:
            faults += self._faults(value, self._followed(schema, 0), place, depth + 1)
        faults += [_fault("value_error", problem, place, value) for problem in _problems(value, schema)]
        if isinstance(value, list):
            faults += self._list_faults(value, schema, place, depth)
        if isinstance(value, dict):
            faults += self._object_faults(value, schema, place, depth)
        return faults + self._combined_faults(value, schema, place, depth)

    def _list_faults(self, value: list[Json], schema: Schema, place: list[Json], depth: int) -> list[Json]:
        first = schema.get("prefixItems", [])
        faults: list[Json] = []
        for at, item in enumerate(value):
            rule = first[at] if at < len(first) else schema.get("items", True)
            faults += self._faults(item, rule, [*place, at], depth + 1)
        return faults

    def _object_faults(
        self, value: dict[str, Json], schema: Schema, place: list[Json], depth: int
    ) -> list[Json]:
        faults: list[Json] = [
            _fault("missing", "Field required", [*place, name], value)
            for name in schema.get("required", [])
            if name not in value
        ]
        fields, others = _part(schema, "properties"), schema.get("additionalProperties", True)
        for name, inner in value.items():
            if name not in fields and others is False:
                faults.append(
                    _fault("extra_forbidden", "Extra inputs are not permitted", [*place, name], inner)
                )
            else:
                faults += self._faults(inner, fields.get(name, others), [*place, name], depth + 1)
        return faults

    def _combined_faults(self, value: Json, schema: Schema, place: list[Json], depth: int) -> list[Json]:
        faults = [
            fault for part in schema.get("allOf", []) for fault in self._faults(value, part, place, depth + 1)
        ]
        for key in ("anyOf", "oneOf"):
            if key not in schema:
                continue
            told: list[list[Json]] = [self._faults(value, part, place, depth + 1) for part in schema[key]]
            fitting = sum(not each for each in told)
            if not fitting:
                fewest: list[Json] = min(told, key=len)
                faults += fewest
            elif key == "oneOf" and fitting > 1:
                faults.append(_fault("value_error", "Value fits more than one alternative", place, value))
        if "not" in schema and not self._faults(value, schema["not"], place, depth + 1):
            faults.append(_fault("value_error", "Value is one of those that are excluded", place, value))
        return faults


def _read(path: Path | str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise ValueError(f"the OpenAPI description cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_BYTES:
        raise ValueError(f"the OpenAPI description has more than {_MAX_BYTES // 2**20} MB")
    return data


def _part(value: Any, *names: str) -> Schema:
    """A part of the file, by the names that lead to it; empty where it is missing or is no object."""
    for name in names:
        value = value.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _alternatives(schema: Schema) -> list[Any]:
    return [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]


def _fault(kind: str, message: str, place: list[Json], value: Json) -> Json:
    shown = value if not isinstance(value, str) or len(value) < 1_000 else f"{value[:1_000]}..."
    return {"type": kind, "loc": place, "msg": message, "input": shown}


# --- one value ---------------------------------------------------------------------------------------------------


def _is_of(value: Json, kind: str) -> bool:
    match kind:
        case "integer":
            return isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return kind == "null" and value is None


def _problems(value: Json, schema: Schema) -> Iterator[str]:
    """What is wrong with a value by itself."""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind] if kind else []
    if schema.get("nullable") is True and kinds:
        kinds = [*kinds, "null"]
    if kinds and not any(_is_of(value, one) for one in kinds):
        yield f"Input should be of type {' or '.join(map(str, kinds))}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"Input should be one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"Input should be {schema['const']}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_problems(value, schema)
    elif isinstance(value, str):
        yield from _text_problems(value, schema)
    elif isinstance(value, list):
        yield from _count_problems(len(value), schema, "Items")
        if schema.get("uniqueItems") is True and len(
            {json.dumps(one, sort_keys=True) for one in value}
        ) < len(value):
            yield "Items should differ"


def _same(value: Json, other: Json) -> bool:
    # To JSON 1 is 1.0, and not true.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _number_problems(value: float, schema: Schema) -> Iterator[str]:
    least: Any = schema.get("minimum")
    most: Any = schema.get("maximum")
    above: Any = schema.get("exclusiveMinimum")
    below: Any = schema.get("exclusiveMaximum")
    # Before OpenAPI 3.1, an exclusive bound was a mark beside the bound.
    if above is True:
        least, above = None, least
    if below is True:
        most, below = None, most
    if least is not None and value < least:
        yield f"Input should be greater than or equal to {least:g}"
    if most is not None and value > most:
        yield f"Input should be less than or equal to {most:g}"
    if above not in (None, False) and value <= above:
        yield f"Input should be greater than {above:g}"
    if below not in (None, False) and value >= below:
        yield f"Input should be less than {below:g}"
    step = schema.get("multipleOf")
    if (
        step
        and math.fmod(value, step) != 0
        and not math.isclose(value / step, round(value / step), rel_tol=1e-12)
    ):
        yield f"Input should be a multiple of {step:g}"


def _text_problems(value: str, schema: Schema) -> Iterator[str]:
    yield from _count_problems(len(value), schema, "Length")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"String should match the pattern {schema['pattern']}"
    if schema.get("format") == "uri":
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if not parts.scheme or (parts.scheme in ("http", "https") and not parts.hostname):
            yield "Input should be a valid URL"


def _count_problems(count: int, schema: Schema, what: str) -> Iterator[str]:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least is not None and count < least:
        yield f"{what} should be at least {least:g}, not {count}"
    if most is not None and count > most:
        yield f"{what} should be at most {most:g}, not {count}"


# --- what a body asks for ----------------------------------------------------------------------------------------


def understand(
    api: DescribedAPI | None,
    model: Model,
    body: dict[str, Json],
    drafted: Callable[[dict[str, Json]], Order | None],
) -> tuple[dict[str, Json], Order]:
    """The checked fields of a body, and what it asks for.

    Args:
        api: What is served; None: what the sandbox knows.
        drafted: Returns the order of the draft that the fields name, if they name one.
    Raises:
        RulesBroken: It is refused.
    """
    if api is not None:
        api.check(model.name, body)
        if not _is_known(model.name, body):
            fields: dict[str, Json] = {name: value for name, value in body.items() if value is not None}
            return fields, order_of(model, fields)
    checked = rules.check(model.name, body)
    return checked, orders.take(model, checked, drafted=drafted(checked))


def _is_known(name: str, body: Mapping[str, Json]) -> bool:
    """Whether the sandbox's own rules know all that a body asks for."""
    if name not in MODELS:
        return False
    try:
        return rules.check(name, body).keys() == {key for key, value in body.items() if value is not None}
    except RulesBroken:
        return False


def _model(name: str) -> Model:
    if "video" in name:
        return Model(name, 60.0, 0.50, _MADE_UP, "video", default_format="mp4", shared_pool="video")
    return Model(name, 5.0, 0.40, _MADE_UP, "flux2")


def order_of(model: Model, fields: Mapping[str, Json]) -> Order:
    """Work out what a checked body asks for where no rules of the sandbox know it, from the fields most models have."""
    sizes = [size for value in fields.values() for size in _sizes_in(value)]
    default = sizes[0] if sizes else Size(1024, 1024)
    if (ratio := _ratio(fields.get("aspect_ratio"))) is not None:
        default = Size(round(1024 * math.sqrt(ratio)), round(1024 / math.sqrt(ratio)))
    size = _drawn(
        Size(_whole(fields.get("width"), default.width), _whole(fields.get("height"), default.height))
    )
    is_video = model.default_format == "mp4"
    asked, duration = fields.get("output_format"), fields.get("duration")
    prompt = fields.get("prompt")
    return Order(
        prompt=prompt if isinstance(prompt, str) else "",
        width=size.width,
        height=size.height,
        output_format=asked
        if isinstance(asked, str) and asked in _FORMATS and not is_video
        else model.default_format,
        input_mp=sum((each.px / MEGAPIXEL_PX for each in sizes), 0.0),
        seconds=float(duration)
        if isinstance(duration, int | float) and 0 < duration < 60
        else _VIDEO_S * is_video,
    )


def _sizes_in(value: Json) -> Iterator[Size]:
    """The sizes of the images that a value holds, at any depth."""
    if isinstance(value, str):
        if images.is_url(value):
            yield Size(1024, 1024)
        elif len(value) >= 64:
            try:
                yield images.size_of(images.decode(value))
            except ImageBroken:
                return
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _sizes_in(inner)


def _whole(value: Json, default: int) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value <= _SIDE_MAX_PX else default


def _ratio(value: Json) -> float | None:
    match = re.fullmatch(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})", value) if isinstance(value, str) else None
    return None if match is None else min(4.0, max(0.25, int(match[1]) / int(match[2])))


def _drawn(size: Size) -> Size:
    """The size scaled down to what the sandbox draws, both sides even."""
    scale = min(1.0, math.sqrt(_OUTPUT_MAX_PX / size.px), _SIDE_MAX_PX / max(size))
    return Size(*(max(2, int(side * scale) // 2 * 2) for side in size))
