"""The request classes beside BFL's OpenAPI file, which `BFL_OPENAPI` names: fact by fact, and verdict by verdict."""

from __future__ import annotations

import base64
import copy
import json
import os
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import jsonschema
import pytest

from bfl_async import ImageRequest, InvalidRequestError, request
from bfl_async.catalog import CATALOG, ModelInfo, compare, load, main
from bfl_async.models import request_classes
from bfl_async.models._base import media_rules
from tests.media import png

_FILE = os.environ.get("BFL_OPENAPI", "")
pytestmark = pytest.mark.skipif(not _FILE, reason="BFL_OPENAPI names no OpenAPI file of BFL's")

BODIES = 100  # an endpoint

NEWER = {"flux-3-image-klein"}
"""Models that were released after the file."""

MODELS = [name for name, row in CATALOG.items() if row.state != "retired" and name not in NEWER]

KNOWN_DIFFERENCES = {
    *(f"{name}: gone" for name in NEWER),
    # 0 to 7 in a client's release notes of 2026-10-15: the upper end is left to the server.
    "flux-3-image: safety_tolerance: {'type': 'integer', 'minimum': 0} -> "
    "{'type': 'integer', 'minimum': 0, 'maximum': 4}",
}
"""Facts in which a class differs from the file, for a reason. Three things are compared in a weaker sense:

- `images` of flux-3-image: the class also takes one image, which it sends in a list.

- FLUX.2 `width` and `height`: the file's default of 0 is below its own minimum, so there is no default.
- `mode` of flux-3-video: the file's constant is the class's, which also takes the guide's longer names.
"""


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(_FILE).read_text())
    return loaded


@pytest.fixture(scope="module")
def widened(openapi: dict[str, Any]) -> dict[str, Any]:
    """The file without the bound that newer sources contradict."""
    newer = copy.deepcopy(openapi)
    del newer["components"]["schemas"]["Flux3ImageInputs"]["properties"]["safety_tolerance"]["maximum"]
    return newer


def test_every_class_says_what_the_openapi_file_says(openapi: dict[str, Any]) -> None:
    """Fields, types, bounds, defaults, and what is required; endpoints new and gone."""
    assert {str(difference) for difference in compare(openapi)} == KNOWN_DIFFERENCES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schemas: schemas["Flux2Inputs"]["properties"].pop("seed"), "flux-2-max: seed: gone"),
        (lambda schemas: schemas["Flux2Inputs"]["properties"].update(x={}), "flux-2-max: x: new field"),
        (
            lambda schemas: schemas["Flux2Inputs"]["properties"]["safety_tolerance"].update(maximum=6),
            "flux-2-max: safety_tolerance: {'type': 'integer', 'minimum': 0, 'maximum': 5} -> "
            "{'type': 'integer', 'minimum': 0, 'maximum': 6}",
        ),
        (
            lambda schemas: schemas["Flux2Inputs"]["properties"]["safety_tolerance"].update(default=3),
            "flux-2-max: safety_tolerance: default 2 -> 3",
        ),
        (
            lambda schemas: schemas["Flux2Inputs"]["required"].append("seed"),
            "flux-2-max: seed: required False -> True",
        ),
        (
            lambda schemas: schemas["OutputFormat"]["enum"].remove("webp"),
            "flux-2-max: output_format: {'enum': ['jpeg', 'png', 'webp']} or {'type': 'null'} -> "
            "{'enum': ['jpeg', 'png']} or {'type': 'null'}",
        ),
        (
            lambda schemas: schemas["Flux3VideoV2VInputs"]["properties"].pop("draft"),
            "flux-3-video: v2v.draft: gone",
        ),
        (lambda schemas: schemas["Flux3VideoInputsBody"]["oneOf"].pop(0), "flux-3-video: mode: gone: t2v"),
    ],
)
def test_comparison_names_what_has_changed(openapi: dict[str, Any], change: Any, said: str) -> None:
    """A newer file's changes are named by model and field."""
    newer = copy.deepcopy(openapi)
    change(newer["components"]["schemas"])
    assert said in [str(difference) for difference in compare(newer)]


def test_comparison_names_endpoints_new_and_gone(
    openapi: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m bfl_async.catalog --compare FILE` lists them and ends with 1."""
    newer = copy.deepcopy(openapi)
    newer["paths"]["/v1/flux-9"] = newer["paths"].pop("/v1/flux-dev")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(newer))
    assert main(["--compare", str(file)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert set(told) - KNOWN_DIFFERENCES == {"flux-9: new endpoint", "flux-dev: gone"}
    assert main(["--compare", _FILE]) == 1
    assert set(capsys.readouterr().out.splitlines()) == KNOWN_DIFFERENCES


# --- verdict by verdict ---------------------------------------------------------------------------------------

PICTURE = base64.b64encode(png(256, 256)).decode()
VIDEO = base64.b64encode(b"\0\0\0\x14ftypmp42\0\0\0\0mp42").decode()
URL = "https://example.com/a.png?x=1"

# Whole numbers as floats are left out: JSON Schema takes 3.0 for an integer, the classes are strict.
ODD: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 5, 16, 63, 64, 100, 255, 256, 288, 300, 1440, 1441, 10**6,
    0.5, 1.4, 1.5, 2.5, 101.5, -0.1,
    "", "x", "auto", "jpeg", "1:1", "16:9", "hd", "latest", [], {}, [1], [[0.5]], {"a": 1},
)  # fmt: skip


# Texts whose form the schema does not describe, or only by a `format`.
WELL_FORMED = {"webhook_url": "https://example.com/hook", "aspect_ratio": "16:9"}


def is_well_formed(model: str, body: dict[str, Any]) -> bool:
    """Whether a webhook's text is a URL and a ratio's a ratio; FLUX 3 lists its ratios in the schema."""
    url, ratio = body.get("webhook_url"), body.get("aspect_ratio")
    return (not isinstance(url, str) or url == WELL_FORMED["webhook_url"]) and (
        not isinstance(ratio, str) or model.startswith("flux-3") or ":" in ratio
    )


class Bodies:
    """Makes bodies for a schema: most fields as they should be, and then one of them changed or not."""

    def __init__(self, root: dict[str, Any], media: set[str], seed: str) -> None:
        self.root = root
        self.media = media
        self.rng = random.Random(seed)

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            found: Any = self.root
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def body(self, schema: dict[str, Any]) -> dict[str, Any]:
        schema = self.resolve(schema)
        if "oneOf" in schema:
            return self.body(self.rng.choice(schema["oneOf"]))
        required = schema.get("required", ())
        body = {
            name: self.value(field, media=name in self.media)
            for name, field in schema["properties"].items()
            if name in required or self.rng.random() < 0.4
        }
        # Any text would do for the schema.
        body |= {
            name: text
            for name, text in WELL_FORMED.items()
            if isinstance(body.get(name), str) and "enum" not in json.dumps(schema["properties"][name])
        }
        match self.rng.randrange(6):
            case 0 | 1:
                name = self.rng.choice(list(schema["properties"]))
                body[name] = self.odd(media=name in self.media)
            case 2 if body:
                del body[self.rng.choice(list(body))]
            case 3 if not schema.get("additionalProperties", True):
                body["colour"] = 1
        return body

    def value(self, schema: dict[str, Any], *, media: bool) -> object:
        rng = self.rng
        schema = self.resolve(schema)
        if "anyOf" in schema:
            return self.value(rng.choice(schema["anyOf"]), media=media)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        match schema.get("type"):
            case "null":
                return None
            case "boolean":
                return rng.random() < 0.5
            case "integer":
                least, most = int(schema.get("minimum", 0)), int(schema.get("maximum", 5_000))
                step = int(schema.get("multipleOf", 1))
                around = (
                    rng.randint(least - step, most + step) if rng.random() < 0.1 else rng.randint(least, most)
                )
                return around // step * step if rng.random() < 0.95 else around
            case "number":
                least, most = schema.get("minimum", 0), schema.get("maximum", 100)
                return rng.choice([least, most, rng.uniform(least, most) + 0.001, int(least) + 1])
            case "array" if "prefixItems" in schema:
                return [self.value(item, media=media) for item in schema["prefixItems"]]
            case "array":
                return [
                    self.value(schema["items"], media=media) for _ in range(rng.choice((0, 1, 2, 3, 10, 11)))
                ]
            case "string" if media:
                return rng.choice(self.pictures())
            case "string":
                least, most = schema.get("minLength", 0), min(schema.get("maxLength", 50), 5_000)
                return rng.choice("aé猫") * rng.choice((least, most, most + 1, 7))
        raise AssertionError(schema)

    def odd(self, *, media: bool) -> object:
        # A text that is no picture is a string to the schema, and refused here: tests/unit/models/test_media.py.
        odd = [value for value in ODD if not (media and isinstance(value, str))]
        return copy.deepcopy(self.rng.choice(odd))

    def pictures(self) -> tuple[str, ...]:
        return (URL, f"data:image/png;base64,{PICTURE}", PICTURE)


class Videos(Bodies):
    def pictures(self) -> tuple[str, ...]:
        return (URL, f"data:video/mp4;base64,{VIDEO}", VIDEO)


def bodies(openapi: dict[str, Any], model: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Bodies for a model, and whether each is valid by JSON Schema and has texts of the right form."""
    schema = openapi["paths"][f"/v1/{model}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    judge = jsonschema.Draft202012Validator({**schema, "components": openapi["components"]})
    rules = {name: rule for cls in request_classes(model) for name, rule in media_rules(cls).items()}
    videos = {name for name, rule in rules.items() if rule.kind == "video"}
    pictures = Bodies(openapi, set(rules), f"{model} pictures")
    for _ in range(BODIES):
        body = pictures.body(schema)
        for name in videos & body.keys():
            if isinstance(body[name], str):
                body[name] = Videos(openapi, videos, f"{model} {len(body)}").value(
                    {"type": "string"}, media=True
                )
        yield body, judge.is_valid(body) and is_well_formed(model, body)


def judged(
    model: str, body: dict[str, Any], make: Callable[..., ImageRequest] = request
) -> tuple[InvalidRequestError | None, ImageRequest | None]:
    """Our verdict on a body: what is wrong with it, or the request."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            made = make(model, **body)
        except InvalidRequestError as exc:
            return exc, None
    return None, made


@pytest.mark.parametrize("model", MODELS)
def test_classes_judge_as_json_schema_does(widened: dict[str, Any], model: str) -> None:
    """The same bodies pass, and the same are refused."""
    counts = {True: 0, False: 0}
    for body, valid in bodies(widened, model):
        problem, made = judged(model, body)
        assert (problem is None) == valid, (body, problem)
        if made is not None:
            assert made.body().keys() == body.keys(), "a field left out is not sent, and a given one is"
            json.dumps(made.body())
        counts[valid] += 1
    assert min(counts.values()) >= BODIES // 10, counts


# --- models that only the description knows ----------------------------------------------------------------------

_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    if not isinstance(value, str):
        return True
    parts = urlsplit(value)
    return bool(parts.scheme) and bool(parts.netloc)


@pytest.fixture
def cut_catalog() -> Iterator[dict[str, ModelInfo]]:
    """The release's models, from which a test can take some; they come back in their order."""
    with mock.patch.dict(CATALOG):
        yield CATALOG


@pytest.mark.parametrize("model", MODELS)
def test_described_models_judge_as_json_schema_does(
    openapi: dict[str, Any], model: str, cut_catalog: dict[str, ModelInfo]
) -> None:
    """A release that does not know a model checks it by the description alone; any text may stand for a file."""
    del cut_catalog[model]
    catalog = load(_FILE)
    assert catalog.described == (model,)
    schema = openapi["paths"][f"/v1/{model}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    judge = jsonschema.Draft202012Validator(
        {**schema, "components": openapi["components"]}, format_checker=_FORMATS
    )
    maker = Bodies(openapi, set(), f"{model} described")
    counts = {True: 0, False: 0}
    for _ in range(BODIES):
        body = maker.body(schema)
        if maker.rng.random() < 0.2:
            body = {name: float(value) if type(value) is int else value for name, value in body.items()}
        valid = judge.is_valid(body)
        problem, made = judged(model, body, catalog.request)
        assert (problem is None) == valid, (body, problem)
        assert made is None or made.body() == body
        counts[valid] += 1
    assert min(counts.values()) >= BODIES // 10, counts
