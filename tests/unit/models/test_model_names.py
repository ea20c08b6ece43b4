"""A name from outside chooses a model, and never another endpoint of the account."""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, InvalidRequestError, request
from bfl_async.catalog import CATALOG
from bfl_async.models import PassThroughRequest
from bfl_async.models._endpoints import NO_TASK, check_model_name
from tests.fake import FakeAPI

OTHERS = [
    *NO_TASK,
    "delete_finetune/my-style",
    "licenses/models/flux-1-dev/usage",
    "licenses/models/flux-kontext-dev/usage/all",
    "licenses",
    "get_result/of",
    "my_finetunes/x/y",
]


class OwnClass(ImageRequest):
    """As a caller may write it."""

    endpoint: ClassVar[str] = "/v1/delete_finetune"
    finetune_id: str = "my-style"


async def _stream(bfl: AsyncBFL, item: ImageRequest) -> None:
    async for outcome in bfl.stream([item]):
        outcome.unwrap()


FIELDS = {"finetune_id": "x"}
WAYS: list[Callable[[AsyncBFL, str], Awaitable[object]]] = [
    lambda bfl, name: bfl.generate(name, **FIELDS),
    lambda bfl, name: bfl.submit(name, **FIELDS),
    lambda bfl, name: bfl.submit_nowait(name, **FIELDS).result(),
    lambda bfl, name: bfl.generate(PassThroughRequest.named(name, {"finetune_id": "x"})),
    lambda bfl, name: bfl.gather([PassThroughRequest.named(name, {})]),
    lambda bfl, name: _stream(bfl, PassThroughRequest.named(name, {})),
]


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("name", OTHERS)
async def test_no_call_that_makes_images_reaches_another_endpoint(name: str) -> None:
    """Nothing is sent, and the message names what does reach it."""
    api = FakeAPI()
    async with api.client() as bfl:
        for way in WAYS:
            with pytest.raises(InvalidRequestError, match=r"use the client's \w+\(\)") as caught:
                await way(bfl, name)
            assert caught.value.errors[0][0] == "model"
    with pytest.raises(InvalidRequestError):
        request(name, **FIELDS)
    assert api.posts == []


@pytest.mark.looptime(start=0)
async def test_a_class_of_the_callers_own_reaches_no_other_endpoint_either() -> None:
    """Its name may have come from outside as well; `post` says that it is meant."""
    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.raises(InvalidRequestError, match=r"delete_finetune\(\)"):
            await bfl.generate(OwnClass())
        assert api.posts == []
        await bfl.post("/v1/delete_finetune", json={"finetune_id": "x"})
        await bfl.post("/v1/licenses/models/flux-1-dev/usage", json={})
        assert [path for path, _ in api.posts] == [
            "/v1/delete_finetune", "/v1/licenses/models/flux-1-dev/usage"
        ]  # fmt: skip


async def test_an_entry_of_a_ledger_reaches_no_other_endpoint(tmp_path: Path) -> None:
    """An earlier release, or somebody else, may have written it. It fails by itself, and the others are sent."""
    api = FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.002)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        added = [request("flux-next", **FIELDS), request("flux-dev", prompt="a cat")]
    async with AsyncBFL(transport=api, limits=3, polling=Fixed(0.005)) as bfl:
        async with Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
            await batch.add(added)
        with closing(sqlite3.connect(tmp_path / "run.db")) as database, database:
            database.execute("UPDATE entries SET model = 'delete_finetune' WHERE model = 'flux-next'")
        database.close()
        async with Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
            await batch.add([request("flux-dev", prompt="a cat")])
            outcomes = {outcome.request.model: outcome async for outcome in batch.run()}
    assert isinstance(outcomes["delete_finetune"].error, InvalidRequestError)
    assert outcomes["flux-dev"].ok
    assert [path for path, _ in api.posts] == ["/v1/flux-dev"]


def test_known_models_and_new_ones_are_taken() -> None:
    """New ones are those without a folder, or in one that is known."""
    for name in (*CATALOG, "flux-4", "flux-9-max-preview", "flux-tools/sharpen-v1"):
        assert check_model_name(name) == check_model_name(name, is_foreign=True) == name


@pytest.mark.parametrize("name", ["accounts/keys", "flux-dev/usage", "flux-toolz/erase-v1", "v2/flux-dev"])
def test_a_foreign_name_stays_in_folders_that_are_known(name: str) -> None:
    """Nobody can say what is below others; the caller's own word is taken."""
    assert check_model_name(name) == name
    with pytest.raises(InvalidRequestError, match=r"use the client's post\(\)"):
        check_model_name(name, is_foreign=True)


@pytest.mark.parametrize(
    "name", ["", "Flux-Dev", "a b", "../x", "flux-dev?x", "\x1b]0;x\x07", "x\n", "é", None]
)
def test_what_is_not_a_name_is_refused_in_safe_words(name: object) -> None:
    """A terminal may show the message."""
    with pytest.raises(InvalidRequestError, match="is not a model name") as caught:
        check_model_name(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.skipif(not os.environ.get("BFL_OPENAPI"), reason="BFL_OPENAPI names no OpenAPI file of BFL's")
def test_every_other_endpoint_of_the_openapi_file_is_refused() -> None:
    """Whatever its method."""
    paths = json.loads(Path(os.environ["BFL_OPENAPI"]).read_text())["paths"]
    for path in paths:
        name = path.removeprefix("/v1/").replace("{model_slug}", "flux-1-dev")
        if name not in CATALOG:
            with pytest.raises(InvalidRequestError, match="use the client's"):
                check_model_name(name)
