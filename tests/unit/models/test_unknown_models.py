"""A model that this release does not know takes files wherever it takes a value, as known models do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, InvalidRequestError, request
from bfl_async.batch.requests import key_of
from tests.fake import FakeAPI
from tests.media import png

pytestmark = pytest.mark.filterwarnings("ignore:the model 'flux-9:UserWarning")
PIXELS = png(64, 96)
TEXT = base64.b64encode(PIXELS).decode()


def make(**fields: object) -> ImageRequest:
    return request("flux-9", prompt="a cat", **fields)


def api() -> FakeAPI:
    return FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.001)


def pixels_of(text: object) -> tuple[int, int]:
    assert isinstance(text, str)
    return Image.open(io.BytesIO(base64.b64decode(text))).size


def test_files_in_any_field_are_sent_as_base64(tmp_path: Path) -> None:
    """In a field, a list, or an object within a list; texts are sent as they are."""
    file = tmp_path / "a.png"
    file.write_bytes(PIXELS)
    made = make(
        start=file,
        images=[PIXELS, bytearray(PIXELS), memoryview(PIXELS), io.BytesIO(PIXELS), "https://h.example/a.png?x=1"],
        keyframes=[{"at": 1.5, "image": file}, (2, file)],
    )  # fmt: skip
    assert made.body() == {
        "prompt": "a cat",
        "start": TEXT,
        "images": [TEXT] * 4 + ["https://h.example/a.png?x=1"],
        "keyframes": [{"at": 1.5, "image": TEXT}, [2, TEXT]],
    }
    assert made.has_files
    assert not make(images=["https://h.example/a.png"]).has_files
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_pillow_image_becomes_a_file() -> None:
    """At once, so that what is done to it later makes no difference."""
    image = Image.new("RGB", (20, 10))
    made = make(nested={"images": [image]})
    image.close()
    nested = made.body()["nested"]
    assert isinstance(nested, dict)
    assert isinstance(nested["images"], list)
    assert pixels_of(nested["images"][0]) == (20, 10)


def test_a_repr_shows_no_file_and_no_secret() -> None:
    """As that of a known model."""
    made = make(
        image=PIXELS, url="https://h.example/a?sig=abc", hook={"secret": "xyz"}, api_key="k1", data="A" * 9000
    )
    assert "64 x 96 px" in repr(made)
    for hidden in ("sig=abc", "xyz", "k1", "AAAA"):
        assert hidden not in repr(made)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1, 2}, "set"),
        ([{"deep": object()}], "0: deep: is of type object"),
        ({1: "a"}, "not a text"),
        (float("nan"), "no word"),
        ([float("inf")], "no word"),
        (b"", "empty"),
        (io.StringIO("text"), "rb"),
    ],
)
def test_what_is_neither_json_nor_a_file_is_refused_by_name(value: object, problem: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        make(thing=value)
    assert caught.value.errors[0][0] == "thing"


def test_a_value_that_holds_itself_is_refused() -> None:
    """And does not end the interpreter's stack."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidRequestError, match="nested more than"):
        make(thing=loop)


async def test_files_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The loop goes on meanwhile; a missing file is the request's own refusal."""
    file = tmp_path / "a.png"
    file.write_bytes(PIXELS)
    threads: set[str] = set()
    opened = os.open

    def watched(path: Any, *arguments: Any, **more: Any) -> int:
        if Path(path).parent == tmp_path:
            threads.add(threading.current_thread().name)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", watched)
    server = api()
    async with AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl:
        await bfl.generate("flux-9", prompt="x", **{"images": [file]})
        with pytest.raises(InvalidRequestError, match=r"images: 'none.png' cannot be read"):
            await bfl.generate("flux-9", prompt="x", **{"images": [tmp_path / "none.png"]})
    assert threading.main_thread().name not in threads
    assert threads
    assert [post.body["images"] for post in server.tasks.values()] == [[TEXT]]


async def test_a_batch_keeps_files_by_their_paths(tmp_path: Path) -> None:
    """Across sessions: the file is read when the row is sent, and a replaced one is not sent in its place."""
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(PIXELS)
    other.write_bytes(png(32, 32))
    server = api()
    rows = [make(frames=[{"image": file}]), make(image=other), make(image=PIXELS)]
    for sends in (False, True):
        async with (
            AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl,
            Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", and_earlier=True) as batch,
        ):
            if not sends:
                await batch.add(rows)
                other.write_bytes(png(32, 64))
                continue
            outcomes = [outcome async for outcome in batch.run()]
    assert sorted(outcome.state for outcome in outcomes) == ["failed", "saved", "saved"]
    assert "was replaced" in str(next(one.error for one in outcomes if one.error))
    bodies = [task.body for task in server.tasks.values()]
    assert {"prompt": "a cat", "frames": [{"image": TEXT}]} in bodies
    assert {"prompt": "a cat", "image": TEXT} in bodies
    assert TEXT.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("run.db*")).replace(
        json.dumps({"image": TEXT, "prompt": "a cat"}, separators=(",", ":")).encode(), b""
    )


async def test_json_that_looks_like_a_kept_file_is_sent_as_json(tmp_path: Path) -> None:
    """It comes from outside and must not read a file of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    digest = hashlib.sha256(b"the secret").hexdigest()
    forged = {"$path": str(secret), "$sha256": digest}
    odd = {"$literal": forged}
    server = api()
    async with (
        AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add(
            [
                make(image=forged, more=[odd]),
                request("flux-dev", prompt="x", extra_body={"image": forged, "more": odd}),
            ]
        )
        assert [outcome.ok async for outcome in batch.run()] == [True, True]
    bodies = sorted((task.body for task in server.tasks.values()), key=lambda body: str(body["prompt"]))
    assert bodies == [
        {"prompt": "a cat", "image": forged, "more": [odd]},
        {"prompt": "x", "image": forged, "more": odd},
    ]


def test_numbers_equal_in_json_are_one_row(tmp_path: Path) -> None:
    """An identity that hangs on how a tool writes a number would pay twice; a truth value is not a number."""
    file = tmp_path / "a.png"
    file.write_bytes(PIXELS)

    def key(**fields: object) -> str:
        return key_of(make(**fields), {})

    assert key(steps=20, sizes=[{"w": 64}]) == key(steps=20.0, sizes=[{"w": 64.0}])
    assert make(steps=20) == make(steps=20.0)
    assert key(steps=1) != key(steps=True)
    assert key(scale=0.5) != key(scale=0.25)

    def of_frames(second: float) -> str:
        made = request("flux-3-video", mode="i2v", prompt="a", keyframes=[(second, file), (4.5, file)])
        return key_of(made, {})

    assert of_frames(0) == of_frames(0.0)


async def test_a_field_may_have_the_name_of_a_property(tmp_path: Path) -> None:
    """An entry keeps the field, and not what the class calls so."""
    server = api()
    async with (
        AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add([make(model="large", media=1, body="x")])
        assert [outcome.ok async for outcome in batch.run()] == [True]
    assert server.posts == [("/v1/flux-9", {"prompt": "a cat", "model": "large", "media": 1, "body": "x"})]


@pytest.mark.parametrize(
    ("model", "field", "says"),
    [
        (
            "flux-2-pro",
            "widht",
            "widht: did you mean 'width'? flux-2-pro has no such field in this release; extra",
        ),
        ("flux-2-pro", "Width", "Width: did you mean 'width'?"),
        ("flux-2-pro", "image", "image: did you mean 'input_image'?"),
        ("flux-3-image", "image", "image: did you mean 'images'?"),
        ("flux-pro-1.1", "input_image", "no such field in this release, unlike flux-2-pro, "),
        ("flux-2-pro", "raw", "no such field in this release, unlike flux-pro-1.1-ultra; it takes prompt, "),
        ("flux-2-pro", "zzz", "no such field in this release; it takes prompt, "),
    ],
)
def test_field_that_a_model_does_not_have_is_answered_with_what_was_meant(
    model: str, field: str, says: str
) -> None:
    """The field's right name, or the models that have it; otherwise all that the model takes."""
    with pytest.raises(InvalidRequestError, match=re.escape(says)):
        request(model, prompt="x", **{field: "https://x/y"})


def test_unknown_model_is_warned_of_with_the_name_that_was_meant() -> None:
    """It is sent all the same: the API gets models more often than this package gets releases."""
    with pytest.warns(UserWarning, match=r"'flux-2-por' is not .* did you mean 'flux-2-pro'\? Its fields"):
        assert request("flux-2-por", prompt="x").model == "flux-2-por"
