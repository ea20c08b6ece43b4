"""What can be done with a model of the release can be done with one that only a description knows.

Its price, its pools and its usual time are not in a description. All else is compared here, operation by operation.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, InvalidRequestError
from bfl_async.catalog import Catalog, load
from tests.fake import FakeAPI
from tests.unit.models.test_catalog import body_of, describe_api

SIDE = {"anyOf": [{"type": "integer", "minimum": 64, "multipleOf": 16}, {"type": "null"}]}
TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}
FIELDS = {
    "prompt": {"type": "string"},
    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "width": SIDE,
    "height": SIDE,
    "input_image": TEXT,
    "webhook_url": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
    "webhook_secret": TEXT,
}
RELEASED, DESCRIBED = "flux-2-pro", "flux-9"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x40\x08\x02\0\0\0"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A catalog with a model of the same fields as one of the release."""
    file = tmp_path_factory.mktemp("catalog") / "openapi.json"
    file.write_bytes(describe_api(body_of(FIELDS, "prompt")))
    return load(file)


Make = Callable[..., ImageRequest]


def path_of(make: Make, **fields: object) -> list[str]:
    """Return which fields are refused."""
    with pytest.raises(InvalidRequestError) as caught:
        make(**fields).body()
    return [path for path, _ in caught.value.errors]


OPERATIONS: dict[str, Callable[[Make], object]] = {
    "body": lambda make: dict(make(prompt="x", seed=7, width=1024.0).body()),
    "body with more": lambda make: dict(make(prompt="x", extra_body={"a": 1}).body()),
    "more later": lambda make: dict(make(prompt="x").with_extra_body({"a": 1}).body()),
    "field": lambda make: (make(prompt="x").prompt, make(prompt="x", seed=7).seed),  # type: ignore[attr-defined]  # of the model's own class
    "field that was left out": lambda make: make(prompt="x").seed,  # type: ignore[attr-defined]  # as above
    "no such field": lambda make: hasattr(make(prompt="x"), "sead"),
    "equal": lambda make: make(prompt="x", width=64) == make(prompt="x", width=64.0),
    "not equal": lambda make: make(prompt="x") == make(prompt="y"),
    "set": lambda make: len({make(prompt="x"), make(prompt="x"), make(prompt="y")}),
    "pickle": lambda make: pickle.loads(pickle.dumps(make(prompt="x"))) == make(prompt="x"),
    "copy": lambda make: copy.deepcopy(make(prompt="x")) == copy.copy(make(prompt="x")),
    "copy, then a field": lambda make: copy.copy(make(prompt="x")).seed,  # type: ignore[attr-defined]  # as above
    "pickle, then a webhook": lambda make: pickle.loads(pickle.dumps(make(prompt="x"))).takes_webhook,
    "dump": lambda make: make(prompt="x", seed=7).model_dump(exclude_unset=True),
    "repr": lambda make: repr(make(prompt="x", webhook_secret="s")).partition("(")[2],
    "bytes": lambda make: dict(make(prompt="x", input_image=PNG).body()),
    "has files": lambda make: [make(prompt="x").has_files, make(prompt="x", input_image=Path("a.png")).has_files],
    "media": lambda make: list(make(prompt="x", input_image="https://a.example/b.png").media()),
    "file that is missing": lambda make: path_of(make, prompt="x", input_image=Path("/nowhere/a.png")),
    "file that is none": lambda make: path_of(make, prompt="x", input_image=b"text"),
    "wrong type": lambda make: path_of(make, prompt="x", seed="a", width=1.5),
    "out of bounds": lambda make: path_of(make, prompt="x", width=10),
    "unknown": lambda make: path_of(make, prompt="x", widht=64),
    "missing": lambda make: path_of(make, seed=7),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_requests_can_do_the_same(catalog: Catalog, name: str) -> None:
    def make(model: str) -> Make:
        return lambda **fields: catalog.request(model, **fields)

    released = OPERATIONS[name](make(RELEASED))
    assert OPERATIONS[name](make(DESCRIBED)) == released


@pytest.mark.parametrize(("ratio", "megapixels"), [("16:9", 2), ("1:1", None), ("9:21", 0.5), ("3:2", 4)])
def test_sizes_are_the_same(catalog: Catalog, ratio: str, megapixels: float | None) -> None:
    """A width and a height by themselves, and as the fields of a request."""
    released = catalog.size_for(RELEASED, ratio, megapixels)
    assert catalog.size_for(DESCRIBED, ratio, megapixels) == released
    assert catalog.size_fields(RELEASED, ratio, megapixels) == catalog.size_fields(
        DESCRIBED, ratio, megapixels
    )


@pytest.mark.parametrize("model", ["flux-kontext-pro", "flux-9-ratio"])
def test_size_of_a_model_without_sides_is_refused(tmp_path: Path, model: str) -> None:
    """It is asked for a ratio, if it has one."""
    file = tmp_path / "openapi.json"
    fields = {"prompt": {"type": "string"}, "aspect_ratio": {"type": "string"}}
    file.write_bytes(describe_api(body_of(fields, "prompt"), path="/v1/flux-9-ratio"))
    catalog = load(file)
    with pytest.raises(InvalidRequestError, match="no width and height"):
        catalog.size_for(model, "16:9")
    assert catalog.size_fields(model, "16:9") == {"aspect_ratio": "16:9"}


async def test_outcomes_of_a_batch_have_requests_of_both(catalog: Catalog, tmp_path: Path) -> None:
    """They are made again from the ledger, by the client's catalog: with the same class, fields and checks."""
    wanted = [catalog.request(name, prompt="x") for name in (RELEASED, DESCRIBED)]
    async with (
        AsyncBFL(transport=FakeAPI(service_s=0.01), catalog=catalog, polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=None) as batch,
    ):
        await batch.add(wanted)
        outcomes = sorted([outcome async for outcome in batch.run()], key=lambda outcome: outcome.index)
    requests = [outcome.request for outcome in outcomes]
    assert requests == wanted
    assert [type(each) for each in requests] == [type(each) for each in wanted]
    assert [getattr(each, "seed", "none") for each in requests] == [None, None]
