"""Models that are known from a description alone: what is read of it, and how their requests are checked and sent."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bfl_async import AsyncBFL, ConfigError, InvalidRequestError, RefusedError, request
from bfl_async.catalog import CATALOG, Catalog, load
from bfl_async.sandbox import Sandbox
from tests.media import mp4, png

RECEIPT = {"type": "object", "properties": {"id": {"type": "string"}, "polling_url": {"type": "string"}}}
FIELDS: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 1},
    "width": {"type": "integer", "minimum": 64, "maximum": 2048, "multipleOf": 16, "default": 1024},
    "strength": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "style": {"enum": ["plain", "rich"], "default": "plain"},
    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "tag": {"type": "string", "pattern": "^[a-z]+$"},
    "webhook_url": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
    "webhook_secret": {"type": "string"},
    "reference_images": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    "start_video": {"type": "string"},
    "layers": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"image": {"type": "string"}, "share": {"type": "number"}},
            "required": ["image"],
            "additionalProperties": False,
        },
    },
    "model": {"type": "string"},
}


def describe_api(body: Any, *, path: str = "/v1/flux-9", schemas: Any = None, **post: Any) -> bytes:
    """An OpenAPI file with one endpoint that makes a task."""
    call = {
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {"200": {"content": {"application/json": {"schema": RECEIPT}}}},
        **post,
    }
    return json.dumps({"paths": {path: {"post": call}}, "components": {"schemas": schemas or {}}}).encode()


def body_of(fields: Any, *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required), **more}


def catalog_of(tmp_path: Path, data: bytes) -> Catalog:
    file = tmp_path / "openapi.json"
    file.write_bytes(data)
    return load(file)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return catalog_of(tmp_path, describe_api(body_of(FIELDS, "prompt")))


# --- what is known of a model ---------------------------------------------------------------------------------------


def test_a_catalog_has_the_models_of_both(catalog: Catalog) -> None:
    """The release's models are all there, and the description's stand behind them."""
    assert list(catalog) == [*CATALOG, "flux-9"]
    assert catalog.described == ("flux-9",)
    assert "flux-9" in catalog
    assert "flux-pro-1.1" in catalog
    assert "flux-8" not in catalog
    assert len(catalog) == len(CATALOG) + 1


def test_fields_are_described_in_the_words_of_the_release(catalog: Catalog) -> None:
    """Types, bounds, defaults, and what is required."""
    found = {field.name: (field.type, field.bounds, field.default) for field in catalog.describe("flux-9")}
    assert found["width"] == ("int", "64 to 2048, multiple of 16", 1024)
    assert found["style"] == ('Literal["plain", "rich"]', "", "plain")
    assert found["seed"] == ("int | None", "", None)
    assert found["reference_images"] == ("Sequence[MediaSource]", "0 to 3 long, jpeg, png or webp", None)
    assert found["start_video"] == ("MediaSource", "mp4", None)
    assert [field.name for field in catalog.describe("flux-9") if field.required] == ["prompt"]


def test_the_price_is_unknown(catalog: Catalog) -> None:
    """A description states none, and nothing is guessed."""
    row = catalog.info("flux-9")
    assert (row.price, row.state, row.family) == (None, "described", "FLUX.9")


def test_a_size_is_computed_within_the_bounds_of_the_description(tmp_path: Path) -> None:
    """As for the release's models; one with a ratio of its own is sent that."""
    catalog = catalog_of(tmp_path, describe_api(body_of({**FIELDS, "height": FIELDS["width"]}, "prompt")))
    size = catalog.size_fields("flux-9", "16:9", 2)
    catalog.request("flux-9", prompt="x", **size)
    width, height = size["width"], size["height"]
    assert isinstance(width, int)
    assert isinstance(height, int)
    assert 1.8 * 1024 * 1024 < width * height <= 2 * 1024 * 1024
    assert abs(width / height - 16 / 9) < 0.1
    assert (width % 16, height % 16) == (0, 0)
    with pytest.raises(InvalidRequestError, match="megapixels"):
        catalog.size_fields("flux-9", "1:1", 9)
    ratios = {"prompt": {"type": "string"}, "aspect_ratio": {"enum": ["1:1", "16:9"]}}
    catalog = catalog_of(tmp_path, describe_api(body_of(ratios)))
    assert catalog.size_fields("flux-9", "16:9") == {"aspect_ratio": "16:9"}
    assert catalog.size_fields("flux-pro-1.1", "1:1") == {"width": 1024, "height": 1024}


# --- verdicts -------------------------------------------------------------------------------------------------------

GOOD: tuple[dict[str, Any], ...] = (
    {"prompt": "x"},
    {"prompt": "x", "width": 1024.0},
    {"prompt": "x", "seed": None},
    {"prompt": "x", "strength": 1},
    {"prompt": "x", "tag": "abc"},
    {"prompt": "x", "webhook_url": "https://example.com/hook?x=1"},
    {"prompt": "x", "reference_images": []},
    {"prompt": "x", "layers": [{"image": "https://example.com/a.png", "share": 1}]},
    {"prompt": "x", "model": "y"},
)
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": "x", "width": 48}, "width"),
    ({"prompt": "x", "width": 1000}, "width"),
    ({"prompt": "x", "width": 64.5}, "width"),
    ({"prompt": "x", "width": True}, "width"),
    ({"prompt": "x", "width": "64"}, "width"),
    ({"prompt": "x", "strength": 0}, "strength"),
    ({"prompt": "x", "style": "other"}, "style"),
    ({"prompt": "x", "tag": "a1"}, "tag"),
    ({"prompt": "x", "reference_images": "https://example.com/a.png"}, "reference_images"),
    ({"prompt": "x", "reference_images": ["a"] * 4}, "reference_images"),
    ({"prompt": "x", "layers": [{"share": 1}]}, "layers.0.image"),
    ({"prompt": "x", "layers": [{"image": "a", "colour": 1}]}, "layers.0.colour"),
)


@pytest.mark.parametrize("body", GOOD)
def test_what_the_schema_takes_is_sent_as_it_is(catalog: Catalog, body: dict[str, Any]) -> None:
    """Fields that were left out are not sent."""
    assert jsonschema.Draft202012Validator(body_of(FIELDS, "prompt")).is_valid(body)
    made = catalog.request("flux-9", **body)
    assert made.model == "flux-9"
    assert made.body() == body


@pytest.mark.parametrize(("body", "path"), BAD)
def test_what_the_schema_refuses_is_refused(catalog: Catalog, body: dict[str, Any], path: str) -> None:
    """The error names the field."""
    assert not jsonschema.Draft202012Validator(body_of(FIELDS, "prompt")).is_valid(body)
    with pytest.raises(InvalidRequestError) as caught:
        catalog.request("flux-9", **body)
    assert [name for name, _ in caught.value.errors] == [path]


@pytest.mark.parametrize("webhook_url", ["abc", "", "https://", "example.com/hook", "https://a b"])
def test_a_url_is_a_url(catalog: Catalog, webhook_url: str) -> None:
    """The server would refuse it: JSON Schema leaves formats to the validator."""
    with pytest.raises(InvalidRequestError, match="webhook_url: Input should be a valid URL"):
        catalog.request("flux-9", prompt="x", webhook_url=webhook_url)


def test_an_unknown_field_is_refused_with_those_that_there_are(catalog: Catalog) -> None:
    """As by the release's own classes: a typing mistake would cost an image."""
    with pytest.raises(
        InvalidRequestError, match=r"promt: did you mean 'prompt'\? flux-9 has no such field; extra_body"
    ):
        catalog.request("flux-9", promt="x", prompt="x")


def test_extra_body_is_sent_unchecked(catalog: Catalog, tmp_path: Path) -> None:
    """Merged last, with its files; what it holds is not missing."""
    file = tmp_path / "a.png"
    file.write_bytes(png(64, 64))
    made = catalog.request("flux-9", width=64, extra_body={"prompt": 3, "width": 1, "glow": file})
    assert made.has_files
    assert made.body() == {"width": 1, "prompt": 3, "glow": base64.b64encode(png(64, 64)).decode()}
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(InvalidRequestError, match="width"):
        catalog.request("flux-9", prompt="x", width=1, extra_body={"glow": 1})
    with pytest.raises(InvalidRequestError, match="extra_body"):
        catalog.request("flux-9", prompt="x", extra_body=3)


def test_a_number_that_json_cannot_write_is_refused(catalog: Catalog) -> None:
    """Infinity and NaN are within no schema's bounds."""
    with pytest.raises(InvalidRequestError, match="finite"):
        catalog.request("flux-9", prompt="x", strength=float("nan"))


def test_a_request_can_be_pickled_and_compared(catalog: Catalog) -> None:
    """Workers in other processes get it so; it takes its schema along."""
    made = catalog.request("flux-9", prompt="x", model="y")
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert (again.model, again.body()) == ("flux-9", {"prompt": "x", "model": "y"})


def test_a_secret_is_not_shown(catalog: Catalog) -> None:
    """Nor by the error that another field causes."""
    made = catalog.request("flux-9", prompt="x", webhook_secret="hush-hush")
    assert "hush-hush" not in repr(made)
    with pytest.raises(InvalidRequestError) as caught:
        catalog.request("flux-9", prompt="x", webhook_secret=["hush-hush"])
    assert "hush-hush" not in str(caught.value)


# --- forms told apart by a field -----------------------------------------------------------------------------------


def with_modes() -> bytes:
    draw = body_of({"mode": {"const": "draw"}, "prompt": {"type": "string"}}, "mode", "prompt")
    mend = body_of({"mode": {"const": "mend"}, "image": {"type": "string"}}, "mode", "image")
    schemas = {"Draw": draw, "Mend": mend}
    references = [{"$ref": f"#/components/schemas/{name}"} for name in schemas]
    return describe_api({"oneOf": references}, schemas=schemas)


def test_the_mode_chooses_the_form(tmp_path: Path) -> None:
    """Fields of another mode are refused, and the errors are those of the one that was meant."""
    catalog = catalog_of(tmp_path, with_modes())
    assert catalog.request("flux-9", mode="draw", prompt="x").body() == {"mode": "draw", "prompt": "x"}
    assert {(field.mode, field.name) for field in catalog.describe("flux-9")} == {
        ("draw", "mode"), ("draw", "prompt"), ("mend", "mode"), ("mend", "image"),
    }  # fmt: skip
    for fields, message in (
        ({"mode": "mend", "prompt": "x", "image": "a"}, "prompt: flux-9 has no such field"),
        ({"mode": "mend"}, "image: Field required"),
        ({"mode": "x"}, "mode: is not one of draw, mend"),
        ({"prompt": "x"}, "mode: is required: one of draw, mend"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            catalog.request("flux-9", **fields)


def test_a_mode_that_the_description_does_not_know_can_be_sent(tmp_path: Path) -> None:
    """In `extra_body`: nothing is checked then."""
    catalog = catalog_of(tmp_path, with_modes())
    sent = catalog.request("flux-9", colour="red", extra_body={"mode": "melt"}).body()
    assert sent == {"colour": "red", "mode": "melt"}
    assert catalog.request("flux-9", prompt="x", extra_body={"mode": "draw"}).body()["mode"] == "draw"


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pillow"])
def test_fields_for_images_take_files(catalog: Catalog, tmp_path: Path, kind: str) -> None:
    """Alone, in lists and in objects; they are sent as base64."""
    from PIL import Image

    data, text = png(64, 64), base64.b64encode(png(64, 64)).decode()
    file = tmp_path / "a.png"
    file.write_bytes(data)
    given: dict[str, Any] = {
        "path": file, "bytes": data, "file": file.open("rb"), "pillow": Image.new("1", (64, 64)),
    }  # fmt: skip
    made = catalog.request(
        "flux-9", prompt="x", reference_images=[given[kind], "https://example.com/b.png"],
        layers=[{"image": file}],
    )  # fmt: skip
    given["file"].close()
    assert made.has_files
    body = made.body()
    images = body["reference_images"]
    assert isinstance(images, list)
    assert images[1] == "https://example.com/b.png"
    if kind != "pillow":
        assert images[0] == text
    assert body["layers"] == [{"image": text}]


def test_fields_for_videos_take_files(catalog: Catalog, tmp_path: Path) -> None:
    """An image in their place is refused, when the file is read."""
    film, image = tmp_path / "a.mp4", tmp_path / "a.png"
    film.write_bytes(mp4(64, 64, 1.0))
    image.write_bytes(png(64, 64))
    sent = catalog.request("flux-9", prompt="x", start_video=film).body()["start_video"]
    assert sent == base64.b64encode(film.read_bytes()).decode()
    with pytest.raises(InvalidRequestError, match=r"start_video: 'a\.png' is no mp4 but image/png"):
        catalog.request("flux-9", prompt="x", start_video=image).body()


def test_other_fields_take_no_files(catalog: Catalog) -> None:
    """What is not JSON is refused before anything is sent."""
    for field in ("prompt", "tag", "seed"):
        with pytest.raises(InvalidRequestError):
            catalog.request("flux-9", **{"prompt": "x", field: png(64, 64)})


# --- a model of the release ------------------------------------------------------------------------------------------


def test_a_newer_field_of_a_known_model_is_sent(tmp_path: Path) -> None:
    """Where the description says otherwise, what either of the two takes is sent; the release's checks stay."""
    fields = {
        "prompt": {"type": "string"},
        "safety_tolerance": {"type": "integer", "minimum": 0, "maximum": 9},
        "glow": {"type": "number"},
    }
    catalog = catalog_of(tmp_path, describe_api(body_of(fields), path="/v1/flux-pro-1.1"))
    assert catalog.request("flux-pro-1.1", prompt="x", glow=0.5).body() == {"prompt": "x", "glow": 0.5}
    assert catalog.request("flux-pro-1.1", prompt="x", safety_tolerance=9).body()["safety_tolerance"] == 9
    # The description no longer has it, and the release's class still does.
    assert catalog.request("flux-pro-1.1", prompt="x", width=512) == request(
        "flux-pro-1.1", prompt="x", width=512
    )
    for wrong in ({"safety_tolerance": 10}, {"glow": "x"}, {"image_prompt": "cat.png"}):
        with pytest.raises(InvalidRequestError):
            catalog.request("flux-pro-1.1", prompt="x", **wrong)
    assert [field.name for field in catalog.describe("flux-pro-1.1")][-1] == "glow"
    assert catalog.info("flux-pro-1.1") == CATALOG["flux-pro-1.1"]


@pytest.mark.parametrize(
    "odd",
    [
        True, {"enum": [{"a": 1}, [2], None]}, {"const": {"a": 1}}, {"default": {"a": [1]}},
        {"type": ["string", "null"]}, {"minimum": 1, "exclusiveMinimum": True}, {"allOf": [{"type": "string"}]},
        {"items": True}, {"prefixItems": [True]}, {"anyOf": [True]}, {"anyOf": []},
        {"default": 5, "enum": [5]}, {"default": 5, "minimum": True},
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["glow", "width", "output_format"])
def test_odd_schemas_of_a_known_model_are_compared(tmp_path: Path, odd: Any, field: str) -> None:
    """Whatever a description that can be read says of a field, and in whatever form."""
    from bfl_async.models.openapi import read

    fields = {"prompt": {"type": "string"}, field: odd}
    for body in (body_of(fields), {"allOf": [body_of(fields)]}):
        data = describe_api(body, path="/v1/flux-pro-1.1")
        catalog = catalog_of(tmp_path, data)
        assert Catalog().changes(read(data))
        assert catalog.describe("flux-pro-1.1")
        with pytest.raises(InvalidRequestError):
            catalog.request("flux-pro-1.1", prompt="x", blur=1)


def test_changes_name_what_is_new_changed_and_gone(tmp_path: Path) -> None:
    """Between two descriptions, by model and field."""
    from bfl_async.models.openapi import read

    before = catalog_of(tmp_path, describe_api(body_of(FIELDS, "prompt")))
    fields = {**FIELDS, "width": {**FIELDS["width"], "maximum": 4096}, "glow": {"type": "number"}}
    del fields["tag"]
    found = [str(one) for one in before.changes(read(describe_api(body_of(fields, "prompt"))))]
    assert [line for line in found if line.startswith("flux-9")] == [
        "flux-9: width: int, 64 to 2048, multiple of 16, default 1024 -> "
        "int, 64 to 4096, multiple of 16, default 1024",
        "flux-9: tag: gone",
        "flux-9: glow: new field",
    ]
    assert "flux-pro-1.1: gone" in found
    other = read(describe_api(body_of(FIELDS), path="/v1/flux-10"))
    assert {"flux-9: gone", "flux-10: new model"} <= {str(one) for one in before.changes(other)}


# --- descriptions that are none -------------------------------------------------------------------------------------


def _nested(levels: int) -> Any:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _bomb() -> bytes:
    """References that are four times as many at each level."""
    schemas: dict[str, Any] = {"L0": {"type": "string"}}
    for level in range(1, 10):
        schemas[f"L{level}"] = {"anyOf": [{"$ref": f"#/components/schemas/L{level - 1}"}] * 4}
    return describe_api(body_of({"x": {"$ref": "#/components/schemas/L9"}}), schemas=schemas)


_CYCLE = {
    "A": {"anyOf": [{"$ref": "#/components/schemas/B"}]},
    "B": {"items": {"$ref": "#/components/schemas/A"}},
}
_ITSELF = {"$ref": "#/components/schemas/A"}
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"\x00\x01", "is not JSON"),
    "a web page": (b"<html></html>", "is not JSON"),
    "a list": (b"[]", "has no paths"),
    "no paths": (b"{}", "has no paths"),
    "paths that are a list": (b'{"paths": []}', "has no paths"),
    "no models": (b'{"paths": {"/v1/credits": {"get": {}}}}', "describes no model"),
    "nested JSON": (b'{"paths":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "is not JSON"),
    "megabytes": (b'{"paths": {}, "x": "' + b"x" * 5_000_000 + b'"}', "more than 4 MB"),
    "nested schemas": (describe_api(body_of({"x": _nested(40)})), "nested more than"),
    "a circle": (describe_api(body_of({"x": {"$ref": "#/components/schemas/A"}}), schemas=_CYCLE), "itself"),
    "itself": (describe_api(_ITSELF, schemas={"A": _ITSELF}), "itself"),
    "a bomb": (_bomb(), "more than 5000 parts"),
    "a foreign reference": (describe_api(body_of({"x": {"$ref": "https://example.com/x"}})), "leads out of"),
    "a file's reference": (describe_api(body_of({"x": {"$ref": "file:///etc/passwd"}})), "leads out of"),
    "a reference to nothing": (describe_api({"$ref": "#/components/schemas/X"}), "leads to nothing"),
    "a field's name": (describe_api(body_of({"a\x1b[31m": {}})), "is not a name"),
    "a required name": (describe_api(body_of({}, "a\nb")), "not a list of names"),
    "a model's name": (describe_api(body_of({}), path="/v1/flux\x1b[2J"), "is not one that a model can have"),
    "a model elsewhere": (describe_api(body_of({}), path="/v1/../admin"), "is not one that a model can have"),
    "many fields": (describe_api(body_of({f"f{n}": {} for n in range(1_000)})), "more than 300 fields"),
    "a text for a bound": (describe_api(body_of({"x": {"minimum": "1"}})), "is not a number"),
    "a step of none": (describe_api(body_of({"x": {"multipleOf": 0}})), "not above 0"),
    "an unknown type": (describe_api(body_of({"x": {"type": "picture"}})), "a type that JSON Schema"),
    "a schema that is none": (describe_api(body_of({"x": 3})), "is not a schema"),
    "a body that is none": (describe_api({"type": "string"}), "not an object"),
    "an endless number": (describe_api(body_of({"x": {"minimum": 7}})).replace(b"7", b"1e999"), "is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_description_is_a_clear_error(tmp_path: Path, case: str) -> None:
    """At once, and its own characters are harmless in the message."""
    data, message = HOSTILE[case]
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        catalog_of(tmp_path, data)
    assert time.monotonic() - began < 5.0
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("path", ["/v1/delete_finetune", "/v1/licenses/models/x/usage", "/other/flux-9"])
def test_a_description_makes_no_model_of_an_endpoint_of_the_account(tmp_path: Path, path: str) -> None:
    """Whatever it says that such an endpoint answers."""
    both = json.loads(describe_api(body_of(FIELDS)))
    both["paths"].update(json.loads(describe_api(body_of({}), path=path))["paths"])
    assert catalog_of(tmp_path, json.dumps(both).encode()).described == ("flux-9",)


def test_a_pattern_cannot_stop_the_program(tmp_path: Path) -> None:
    """Foreign patterns run in linear time; one that the engine does not know is left to the server."""
    fields = {
        "slow": {"type": "string", "pattern": "^(a+)+$"},
        "odd": {"type": "string", "pattern": "(?<=x)y"},
    }
    catalog = catalog_of(tmp_path, describe_api(body_of(fields)))
    began = time.monotonic()
    with pytest.raises(InvalidRequestError, match="pattern"):
        catalog.request("flux-9", slow="a" * 5_000 + "b")
    assert time.monotonic() - began < 5.0
    assert catalog.request("flux-9", odd="z").body() == {"odd": "z"}


@pytest.mark.parametrize("name", ["missing.json", "with\0nul"])
def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path, name: str) -> None:
    """The message names it."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / name)


# --- the client -----------------------------------------------------------------------------------------------------


async def test_a_client_sends_what_its_catalog_knows(catalog: Catalog, tmp_path: Path) -> None:
    """Files are encoded, and a field that does not fit is refused before anything is sent."""
    file = tmp_path / "a.png"
    file.write_bytes(png(64, 64))
    async with Sandbox() as server, AsyncBFL(server.key, base_url=server.url, catalog=catalog) as bfl:
        with pytest.raises(InvalidRequestError, match="width"):
            await bfl.generate("flux-9", prompt="x", **{"width": 1})
        assert server.statistics().accepted == 0
        assert not bfl.estimate(catalog.request("flux-9", prompt="x")).known
        handle = bfl.submit_nowait("flux-9", prompt="x", **{"reference_images": [file]})
        assert handle.model == "flux-9"
        with pytest.raises(RefusedError, match="404"):
            # This sandbox does not know the model.
            await asyncio.wait_for(handle.accepted(), 10)


def test_a_catalog_is_a_catalog() -> None:
    """A path in its place is an error at once."""
    with pytest.raises(ConfigError, match=r"catalog takes bfl_async\.catalog\.load"):
        AsyncBFL("key", catalog="openapi.json")  # type: ignore[arg-type]  # what is tested
