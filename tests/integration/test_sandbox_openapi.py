"""A sandbox that serves a description, and a client that knows its models from the same description alone."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest

from bfl_async import AsyncBFL, BFLError, InvalidRequestError, RefusedError, request
from bfl_async.catalog import CATALOG, load
from bfl_async.cli import main
from bfl_async.sandbox import Sandbox
from bfl_async.sandbox.described import DescribedAPI
from bfl_async.sandbox.rules import RulesBroken
from tests.contract.test_openapi import Bodies
from tests.media import mp4, png
from tests.unit.models.test_catalog import FIELDS, body_of, describe_api

TODAY = os.environ.get("BFL_OPENAPI", "")
needs_today = pytest.mark.skipif(not TODAY, reason="BFL_OPENAPI names no OpenAPI file of BFL's")
BODIES = 100


def _is_later(name: str) -> bool:
    """Whether a model came after April 2026."""
    return name.startswith(("flux-tools/", "flux-3-")) or (name.startswith("flux-2-") and "finetuned" in name)


LATER = [name for name in CATALOG if _is_later(name) and name != "flux-3-image-klein"]


@pytest.fixture
def april() -> Iterator[None]:
    """Let the release know April's models alone."""
    # Unlike pytest's own way, this brings the models back in their order.
    with mock.patch.dict(CATALOG):
        for name in [name for name in CATALOG if _is_later(name)]:
            del CATALOG[name]
        yield


def _bodies(document: dict[str, Any], model: str) -> Iterator[tuple[dict[str, Any], bool]]:
    schema = document["paths"][f"/v1/{model}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    judge = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    maker = Bodies(document, set(), f"{model} served")
    for _ in range(BODIES):
        body = maker.body(schema)
        # Formats are beyond this validator.
        body.pop("webhook_url", None)
        yield body, judge.is_valid(body)


# --- the description's verdict ---------------------------------------------------------------------------------------


@needs_today
def test_the_sandbox_judges_as_json_schema_does() -> None:
    """Of each model, whether or not the sandbox knows it besides."""
    api = DescribedAPI(TODAY)
    document = json.loads(Path(TODAY).read_bytes())
    assert len(api.models) > 25
    for model in api.models:
        for body, valid in _bodies(document, model):
            try:
                api.check(model, body)
            except RulesBroken:
                assert not valid, (model, body)
            else:
                assert valid, (model, body)


# --- end to end ------------------------------------------------------------------------------------------------------


def _fields_for(catalog_fields: Any, folder: Path, rng: random.Random) -> dict[str, Any]:
    """Every field that takes a file, each with one, and what is required besides."""
    image, film = folder / "a.png", folder / "a.mp4"
    image.write_bytes(png(512, 512))
    film.write_bytes(mp4(512, 512, 5.0))
    fields: dict[str, Any] = {}
    for field in catalog_fields:
        if field.type.startswith("Sequence[Media"):
            fields[field.name] = [image, "https://example.com/b.png"]
        elif field.type == "Keyframes":
            fields[field.name] = [(0, image), (4.5, image)]
        elif "MediaSource" in field.type:
            fields[field.name] = film if field.bounds == "mp4" else image
        elif field.required and field.type == "int":
            fields[field.name] = 1024
        elif field.required and field.type.startswith("Literal"):
            fields[field.name] = field.mode
        elif field.name == "finetune_id":
            fields[field.name] = "sandbox-fox"
        elif field.required:
            fields[field.name] = f"x{rng.random()}"
    return fields


def _files_in(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _files_in(inner)


@needs_today
@pytest.mark.usefixtures("april")
@pytest.mark.parametrize("model", LATER)
async def test_a_later_model_works_by_the_description_alone(model: str, tmp_path: Path) -> None:
    """With a file in each field that takes one; the server gets its bytes."""
    catalog = load(TODAY)
    assert model in catalog.described
    described = catalog.describe(model)
    modes = {field.mode for field in described} - {"draft_enhance"}
    rng = random.Random(model)
    async with (
        Sandbox(openapi=TODAY, service_s=0.0) as server,
        AsyncBFL(server.key, base_url=server.url, catalog=catalog) as bfl,
    ):
        for mode in modes:
            fields = _fields_for([field for field in described if field.mode == mode], tmp_path, rng)
            result = await bfl.generate(model, **fields)
            assert (await result.save(tmp_path / "out")).stat().st_size > 100
            sent = server.tasks[result.task_id].body
            text = json.dumps(sent)
            for file in _files_in(list(fields.values())):
                assert base64.b64encode(file.read_bytes()).decode() in text


@needs_today
@pytest.mark.usefixtures("april")
@pytest.mark.parametrize("model", LATER)
def test_the_description_gives_the_verdicts_of_the_schema(model: str) -> None:
    """Over random bodies; what both take is sent unchanged."""
    catalog = load(TODAY)
    for body, valid in _bodies(json.loads(Path(TODAY).read_bytes()), model):
        try:
            made = catalog.request(model, **body)
        except InvalidRequestError:
            assert not valid, body
        else:
            assert valid, body
            assert made.body() == body


@pytest.fixture
def description(tmp_path: Path) -> Path:
    """A file with one model that neither the release nor the sandbox knows."""
    file = tmp_path / "today.json"
    file.write_bytes(describe_api(body_of(FIELDS, "prompt")))
    return file


async def test_a_model_that_nobody_knows_is_served(description: Path, tmp_path: Path) -> None:
    """Of the size that was asked for; bodies that do not fit are refused by the server as well."""
    catalog = load(description)
    async with (
        Sandbox(openapi=description, service_s=0.0) as server,
        AsyncBFL(server.key, base_url=server.url, catalog=catalog) as bfl,
    ):
        result = await bfl.generate(
            "flux-9", prompt="x", seed=7, **{"width": 512, "reference_images": [png(64, 64)]}
        )
        data = await result.read()
        assert data[:3] == b"\xff\xd8\xff"
        task = server.tasks[result.task_id]
        assert (task.width, task.seed) == (512, 7)
        with pytest.raises(RefusedError) as caught:
            await bfl.post("/v1/flux-9", json={"prompt": "x", "width": 1})
        assert caught.value.status_code == 422
        assert "width" in str(caught.value)
        # The description alone says what is served.
        with pytest.raises(RefusedError, match="404"):
            await bfl.generate(request("flux-pro-1.1", prompt="x"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no", "is not JSON"),
        (b'{"paths": {}}', "has no path"),
        (b"[" * 200_000, "is not JSON"),
        (b" " * 20_000_000, "more than 16 MB"),
    ],
)
def test_a_description_that_cannot_be_served_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    """When the sandbox is made, and as one line of the command."""
    file = tmp_path / "openapi.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        Sandbox(openapi=file)
    assert main(["sandbox", "--openapi", str(file)]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    "field",
    [
        {"anyOf": 3},
        {"enum": 3},
        {"pattern": "("},
        {"minimum": "1"},
        {"multipleOf": "x"},
        {"$ref": "#/a/b"},
        3,
    ],
)
async def test_a_schema_that_cannot_be_used_stops_nothing(tmp_path: Path, field: object) -> None:
    """The sandbox answers, and goes on."""
    file = tmp_path / "openapi.json"
    file.write_bytes(describe_api(body_of({"x": field, "y": {"type": "string", "pattern": "("}})))
    async with Sandbox(openapi=file) as server, AsyncBFL(server.key, base_url=server.url) as bfl:
        with pytest.raises(BFLError) as caught:
            await bfl.post("/v1/flux-9", json={"x": 1, "y": "1"})
        assert getattr(caught.value, "status_code", None) == 500
        assert await bfl.credits() > 0


def test_a_reference_to_itself_does_not_hang_the_sandbox(tmp_path: Path) -> None:
    """A body is refused instead."""
    file = tmp_path / "openapi.json"
    circle = {"anyOf": [{"$ref": "#/components/schemas/A"}]}
    file.write_bytes(describe_api(body_of({"x": circle}), schemas={"A": circle}))
    with pytest.raises(RulesBroken):
        DescribedAPI(file).check("flux-9", {"x": 1})


def test_the_commands_learn_and_use_a_model_from_a_served_description(
    description: Path, tmp_path: Path
) -> None:
    """`sandbox --openapi`, then `models --update` from it, then `generate` and `batch` with files."""
    (tmp_path / "a.png").write_bytes(png(64, 64))
    command = [sys.executable, "-m", "bfl_async"]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    with subprocess.Popen(
        [*command, "sandbox", "--speed", "100", "--openapi", str(description)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        environment |= dict(
            server.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(2)
        )

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [*command, *arguments],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=50,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        try:
            assert "flux-9: new model" in run("models", "--update")
            picture = [
                "--set",
                "reference_images=a.png",
                "--set",
                "reference_images=https://example.com/b.png",
            ]
            run("generate", "-m", "flux-9", *picture, "--width", "512", "a cat", "-o", "cat.jpg")
            row = {"model": "flux-9", "prompt": "a cat", "reference_images": ["a.png"]}
            (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
            run("batch", "rows.jsonl", "-o", "out")
            # Nothing is left to do: the row is known again by its file's content.
            run("batch", "rows.jsonl", "-o", "out", "--max-cost", "0")
        finally:
            server.terminate()
    assert (tmp_path / "cat.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert len(list((tmp_path / "out").glob("*.jpeg")) + list((tmp_path / "out").glob("*.jpg"))) == 1
