"""The sandbox's rules beside the API's published schema: both must take or refuse the same bodies.

The rules in `sandbox/rules` were written by hand. Here bodies are made from the schema, good ones and ones
with one or two faults, and each is judged twice. The schema is no part of this repository: the variable
BFL_OPENAPI names its file.

What the two may differ in, and why:
- pydantic converts where JSON Schema does not: "512" is a width, 1 is true, "on" is true, true is 1;
- the schema calls a URI any text of that format, which `jsonschema` does not check by itself: bad URLs are
  no faults here (they are compared with pydantic's own verdict in test_sandbox_recordings.py);
- the schema does not know the mode's aliases, nor what stands beyond it (see `sandbox/orders.py`): over the
  socket the images of the bodies can be decoded, and their drafts and finetunes are known.
"""

import functools
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import jsonschema
import pytest
from aiohttp import ClientSession

from bfl_async.sandbox import Sandbox, rules
from bfl_async.sandbox.rules import RULES, Json, RulesBroken, Shape
from bfl_async.sandbox.rules.tools import DELETE_FINETUNE, LICENSE_USAGE
from tests.media import png_text

SCHEMA_FILE = Path(os.environ.get("BFL_OPENAPI") or "/nowhere")
pytestmark = pytest.mark.skipif(not SCHEMA_FILE.is_file(), reason="BFL_OPENAPI names no file with the schema")

BODIES = 300  # at random, for each endpoint; some 100 more go through the fields
OVER_THE_SOCKET = 12
# Answered though the schema has dropped them.
RETIRED = {
    *("flux-pro", "flux-pro-1.0-canny", "flux-pro-1.0-depth", "flux-pro-finetuned"),
    *("flux-pro-1.0-canny-finetuned", "flux-pro-1.0-depth-finetuned"),
}
PNG = png_text(256, 256)
IMAGES = {
    *("image", "mask", "image_prompt", "input_image", *(f"input_image_{n}" for n in range(2, 9))),
    *("person", "garment", "images", "keyframes"),
}
VIDEOS = {"video", "start_video", "input_video"}
# Released after the file, and not in it.
NEWER = {"flux-3-image-klein"}
# What newer texts say of a model that the file knows: a text in the place of a list (a digest of BFL's pages of
# 2026-10-08), and the widest of two ranges (0 to 4 there, 0 to 7 in a client's release notes of 2026-10-15).
WIDENED: dict[str, dict[str, Json]] = {
    "Flux3ImageInputs": {
        "images": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 10},
            ]
        },
        "safety_tolerance": {"type": "integer", "minimum": 0, "maximum": 7, "default": 2},
    }
}
# Texts that mean something beyond the schema, as its rules for them stand in guides.
TEXTS = {
    "finetune_id": "sandbox-fox",
    "aspect_ratio": "16:9",
    "webhook_url": "https://example.org/hook",
    **dict.fromkeys(IMAGES, PNG),
    **dict.fromkeys(VIDEOS, "https://example.org/video.mp4"),
}

Schema = dict[str, Json]


@functools.cache
def document() -> Schema:
    loaded = cast(Schema, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    for name, fields in WIDENED.items():
        at(loaded, "components", "schemas", name, "properties").update(fields)
    return loaded


def at(node: Json, *path: str) -> Schema:
    for name in path:
        assert isinstance(node, dict)
        node = node[name]
    assert isinstance(node, dict)
    return node


def resolved(schema: Schema) -> Schema:
    """The schema with its reference followed."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    return at(document(), *reference.removeprefix("#/").split("/"))


@functools.cache
def endpoints() -> dict[str, Schema]:
    """The body's schema of each POST, by its path beneath /v1/."""
    found = {}
    for path, operations in at(document(), "paths").items():
        if "post" in at(operations):
            body = at(operations, "post", "requestBody", "content", "application/json", "schema")
            found[path.removeprefix("/v1/")] = body
    return found


@functools.cache
def judge(endpoint: str) -> jsonschema.Draft202012Validator:
    schema = {**endpoints()[endpoint], "components": at(document(), "components")}
    return jsonschema.Draft202012Validator(schema)


def is_good(endpoint: str, body: Schema) -> bool:
    return bool(judge(endpoint).is_valid(body))


def is_taken(endpoint: str, body: Schema) -> bool:
    utilities = {"delete_finetune": DELETE_FINETUNE, "licenses/models/{model_slug}/usage": LICENSE_USAGE}
    try:
        if endpoint in utilities:
            utilities[endpoint].check(body)
        else:
            rules.check(endpoint, body)
    except RulesBroken:
        return False
    return True


# ---- bodies


class Maker:
    """Makes bodies from a schema. All its choices come from one seed."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def body(self, schema: Schema) -> Schema:
        schema = resolved(schema)
        if options := schema.get("oneOf"):
            return self.body(at(self.rng.choice(cast(list[Json], options))))
        needed = cast(list[str], schema.get("required", []))
        share = self.rng.choice((0.0, 0.3, 0.7, 1.0))
        return {
            name: self.value(at(field), name)
            for name, field in at(schema, "properties").items()
            if name in needed or self.rng.random() < share
        }

    def value(self, schema: Schema, name: str) -> Json:
        """A value that the schema takes, at its bounds as often as not."""
        schema = resolved(schema)
        if options := schema.get("anyOf"):
            return self.value(at(self.rng.choice(cast(list[Json], options))), name)
        if "const" in schema:
            return schema["const"]
        if choices := schema.get("enum"):
            return self.rng.choice(cast(list[Json], choices))
        match schema["type"]:
            case "null":
                return None
            case "boolean":
                return self.rng.random() < 0.5
            case "integer" | "number" as kind:
                return self.number(schema, whole=kind == "integer")
            case "string":
                return self.text(schema, name)
            case "array":
                if pair := schema.get("prefixItems"):
                    return [self.value(at(item), name) for item in cast(list[Json], pair)]
                least, most = (
                    int(cast(int, schema.get("minItems", 0))),
                    int(cast(int, schema.get("maxItems", 4))),
                )
                length = self.rng.choice((least, most, self.rng.randint(least, most)))
                return [self.value(at(schema, "items"), name) for _ in range(length)]
        raise AssertionError(f"a kind of schema that this test cannot fill: {schema}")

    def number(self, schema: Schema, *, whole: bool) -> Json:
        step = int(cast(float, schema.get("multipleOf", 1)))
        least = cast(
            float, schema.get("minimum", cast(float, schema.get("exclusiveMinimum", -(2.0**40) - 1)) + 1)
        )
        most = cast(
            float, schema.get("maximum", max(least, 0) + (2048 if schema.get("minimum") else 2.0**40))
        )
        if not whole:
            return self.rng.choice((least, most, self.rng.uniform(least, most)))
        low, high = -(-int(least) // step), int(most) // step
        number = step * self.rng.choice((low, high, self.rng.randint(low, high)))
        return float(number) if self.rng.random() < 0.1 else number  # 512.0 is a whole number too

    def text(self, schema: Schema, name: str) -> str:
        if name in TEXTS:
            return TEXTS[name]
        least, most = int(cast(int, schema.get("minLength", 0))), int(cast(int, schema.get("maxLength", 40)))
        length = self.rng.choice((least, most, self.rng.randint(least, most)))
        return "".join(self.rng.choice("a é🦊") for _ in range(length - 1)) + "f" * min(1, length)

    def spoil(self, schema: Schema, body: Schema) -> Schema:
        """The body with one fault or more, or with a change that only looks like one."""
        schema = self.shape_of(schema, body)
        fields = at(schema, "properties")
        body = dict(body)
        for _ in range(self.rng.choice((1, 1, 2))):
            name = self.rng.choice(list(fields))
            match self.rng.randrange(6):
                case 0:
                    body[name] = None
                case 1 if body:
                    del body[self.rng.choice(list(body))]
                case 2:
                    body[f"{name}_"] = 1  # a strict schema refuses it
                case 3 if isinstance(value := body.get(name), list):
                    body[name] = self.spoilt_list(value)
                case _:
                    body[name] = self.rng.choice(tricky_values(at(fields[name]), name))
        return body

    def shape_of(self, schema: Schema, body: Schema) -> Schema:
        schema = resolved(schema)
        for option in cast(list[Json], schema.get("oneOf", [])):
            shape = resolved(at(option))
            if at(shape, "properties", "mode").get("const") == body.get("mode"):
                return shape
        return schema if "properties" in schema else self.shape_of(schema, {"mode": "t2v"})

    def spoilt_list(self, value: list[Json]) -> Json:
        spoilt: list[Json] = [[], [*value, 1], value[:1], [[*value]], value * 6, [*value, None], {"0": "a"}]
        return self.rng.choice(spoilt)

    def each_value(self, schema: Schema) -> Iterator[Schema]:
        """Bodies that are good but for one field, which has each of the values at and beyond its bounds."""
        schema = resolved(schema)
        for option in cast(list[Json], schema.get("oneOf", [schema])):
            shape = resolved(at(option))
            for name, field in at(shape, "properties").items():
                for value in tricky_values(at(field), name):
                    yield {**self.body(shape), name: value}


def tricky_values(schema: Schema, name: str) -> list[Json]:
    """At a bound, beyond it, of another type: nothing that pydantic would convert (see the module's text)."""
    schema = resolved(schema)
    options = [resolved(at(option)) for option in cast(list[Json], schema.get("anyOf", [schema]))]
    values: list[Json] = [[], {}, [[]], {"a": 1}, "none of these", None]
    kinds = {option.get("type") for option in options}
    if "boolean" not in kinds:  # 1 and 0 are converted
        values += [1e30, -1, 2, 0, 0.5]
    for option in options:
        for bound in ("minimum", "maximum"):
            if bound in option:
                at_bound, step = cast(float, option[bound]), cast(float, option.get("multipleOf", 1))
                values += [at_bound + n * step for n in (-1, -0.5, 0, 0.5, 1)]
        if "maxLength" in option:
            values += ["f" * (int(cast(int, option["maxLength"])) + n) for n in (0, 1)]
        if "minLength" in option:
            values += ["", "f"]
        if "maxItems" in option:
            values += [[TEXTS[name]] * (int(cast(int, option["maxItems"])) + n) for n in (0, 1)]
    if name in TEXTS:  # texts that mean something beyond the schema: only those that are too long
        values = [value for value in values if not isinstance(value, str) or len(value) > 2083]
    return values + [choice for option in options for choice in cast(list[Json], option.get("enum", []))]


def bodies(endpoint: str, number: int) -> Iterator[Schema]:
    """Good ones and spoilt ones at random, then those that go through the values of each field."""
    maker = Maker(f"{endpoint} 1")
    schema = endpoints()[endpoint]
    for n in range(number):
        body = maker.body(schema)
        yield body if n % 3 == 0 else maker.spoil(schema, body)
    yield from maker.each_value(schema)


def endpoint_names() -> list[str]:
    return list(endpoints()) if SCHEMA_FILE.is_file() else []


# ---- tests


def test_the_sandbox_serves_what_the_schema_names() -> None:
    """Each generation endpoint of the schema, and beyond it the retired and the newer ones alone."""
    utilities = {"delete_finetune", "licenses/models/{model_slug}/usage"}
    assert set(RULES) - RETIRED - NEWER == set(endpoints()) - utilities


@pytest.mark.parametrize("endpoint", endpoint_names())
def test_bodies_are_judged_as_by_the_schema(endpoint: str) -> None:
    """Taken by the rules if and only if valid by the schema; both verdicts occur often."""
    verdicts = []
    for body in bodies(endpoint, BODIES):
        good = is_good(endpoint, body)
        assert is_taken(endpoint, body) == good, (body, [*judge(endpoint).iter_errors(body)])
        verdicts.append(good)
    assert sum(verdicts) >= BODIES // 4
    assert len(verdicts) - sum(verdicts) >= BODIES // 10


@pytest.mark.parametrize("endpoint", sorted(set(endpoint_names()) & set(RULES)))
def test_the_rules_name_the_fields_of_the_schema(endpoint: str) -> None:
    """No field is missing and none is made up; the required ones and the strict shapes agree."""
    shape = RULES[endpoint]
    schema = resolved(endpoints()[endpoint])
    if isinstance(shape, Shape):
        pairs = [(shape, schema)]
    else:
        modes = at(schema, "discriminator", "mapping")
        assert set(shape.shapes) == set(modes)
        pairs = [(shape.shapes[mode], resolved({"$ref": reference})) for mode, reference in modes.items()]
    for ours, theirs in pairs:
        assert set(ours.fields) == set(at(theirs, "properties"))
        needed = {name for name, rule in ours.fields.items() if rule.required}
        assert needed == set(cast(list[str], theirs.get("required", [])))
        assert ours.strict == (theirs.get("additionalProperties") is False)


async def test_the_server_judges_like_its_rules() -> None:
    """Over the socket: 200 for good bodies and 422 for others, images decoded, drafts and finetunes known."""
    async with (
        Sandbox(limit=10_000, pools={}, credits=1e9, service_s=0.0) as sandbox,
        ClientSession() as session,
    ):
        headers = {"x-key": sandbox.key}

        async def post(endpoint: str, body: Schema) -> tuple[int, Schema]:
            async with session.post(f"{sandbox.url}/v1/{endpoint}", json=body, headers=headers) as reply:
                return reply.status, cast(Schema, await reply.json())

        _, draft = await post("flux-3-video", {"mode": "t2v", "prompt": "a fox", "draft": True})
        async with session.get(str(draft["polling_url"])) as reply:
            draft_cache = at(cast(Schema, await reply.json()), "result")["draft_cache"]
        for endpoint in sorted(set(endpoint_names()) & set(RULES)):
            for body in itertools.islice(bodies(endpoint, OVER_THE_SOCKET), OVER_THE_SOCKET):
                if isinstance(body.get("draft_cache"), str):
                    body["draft_cache"] = draft_cache
                if body.get("draft") is True:  # it has one resolution, beyond the schema
                    body.pop("resolution", None)
                for name in ("width", "height"):  # together they have a bound beyond the schema
                    if isinstance(size := body.get(name), int | float) and size > 2048:
                        body[name] = 2048
                status, answer = await post(endpoint, body)
                assert status == (200 if is_good(endpoint, body) else 422), (endpoint, body, answer)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("flux-2-pro", {"prompt": "a fox", "width": "512"}),
        ("flux-2-pro", {"prompt": "a fox", "disable_pup": 1}),
        ("flux-2-pro", {"prompt": "a fox", "disable_pup": "on"}),
        ("flux-2-pro", {"prompt": "a fox", "seed": True}),
        ("flux-tools/video-upscale-v1", {"input_video": "https://example.org/v.mp4", "creativity": True}),
        ("flux-3-video", {"mode": "text-to-video", "prompt": "a fox"}),
        ("flux-3-video", {"mode": "t2v", "prompt": "a fox", "duration": "7"}),
    ],
)
def test_the_reasoned_differences_are_just_these(endpoint: str, body: Schema) -> None:
    """Taken by the rules, refused by the schema: if one of them agrees some day, its reason has gone."""
    assert is_taken(endpoint, body)
    assert not is_good(endpoint, body)
