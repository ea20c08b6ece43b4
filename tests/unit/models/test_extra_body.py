"""`extra_body`: what this release does not know, or would refuse, is sent as it is by every way to make a request."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, FluxDev, FluxPro11, ImageRequest, InvalidRequestError, request
from bfl_async.batch.requests import key_of, rebuild, sent_fields_of
from bfl_async.sync import BFL
from bfl_async.types import EntryState, LedgerEntry
from tests.fake import FakeAPI, reply
from tests.media import png


def api() -> FakeAPI:
    return FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.001)


def make(model: str, **fields: object) -> ImageRequest:
    """A request whose fields no type checker knows."""
    return request(model, **fields)


EXTRA = {"safety_tolerance": 99, "new_field": {"a": [1, None, True]}, "text": "input.png"}
SENT = {"prompt": "x", "seed": 1, **EXTRA}


@pytest.mark.parametrize(
    "make",
    [
        lambda: FluxDev(prompt="x", seed=1, safety_tolerance=2, extra_body=EXTRA),
        lambda: request("flux-dev", prompt="x", seed=1, extra_body=EXTRA),
        lambda: FluxDev.model_validate({"prompt": "x", "seed": 1, "extra_body": EXTRA}),
        lambda: FluxDev(prompt="x", seed=1).with_extra_body(EXTRA),
        lambda: FluxDev(prompt="x", seed=1, extra_body={"text": 1}).with_extra_body(EXTRA),
    ],
)
def test_it_is_merged_last_and_unchanged(make: Callable[[], FluxDev]) -> None:
    """A field of it replaces one of the class, whatever its bounds; a text in it is not a file's name."""
    made = make()
    assert made.body() == SENT
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), made.model_copy()):
        assert (twin, hash(twin), twin.body()) == (made, hash(made), SENT)


async def test_every_call_takes_it() -> None:
    """With a name, and beside a request, whose own it completes."""
    server = api()
    mine = FluxDev(prompt="x", extra_body={"a": 1, "b": 1})
    async with AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl:
        await bfl.generate("flux-dev", prompt="x", extra_body={"a": 2})
        await (await bfl.submit("flux-dev", prompt="x", extra_body={"a": 3}))
        await bfl.submit_nowait("flux-dev", prompt="x", extra_body={"a": 4})
        await bfl.generate(mine, extra_body={"b": 5})
        await bfl.gather([mine])
        async with bfl.stream([mine]) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True]
        await bfl.generate("flux-dev", prompt="x", extra_body={})
        await bfl.generate("flux-dev", prompt="x", extra_body=None)
        await bfl.post("/v1/flux-dev", json={"extra_body": {"a": 6}})
    x = {"prompt": "x"}
    assert [body for _, body in server.posts] == [
        {**x, "a": 2}, {**x, "a": 3}, {**x, "a": 4}, {**x, "a": 1, "b": 5}, {**x, "a": 1, "b": 1},
        {**x, "a": 1, "b": 1}, x, x, {"extra_body": {"a": 6}},
    ]  # fmt: skip


def test_calls_without_asyncio_take_it() -> None:
    """As those of the asynchronous client."""
    server = api()
    with BFL(transport=server, polling=Fixed(0.01)) as bfl:
        bfl.generate("flux-dev", prompt="x", extra_body={"a": 1})
        bfl.submit("flux-dev", prompt="x", extra_body={"a": 2}).result()
        bfl.submit_nowait(FluxDev(prompt="x"), extra_body={"a": 3}).result()
    assert [body["a"] for _, body in server.posts] == [1, 2, 3]


def test_a_required_field_may_come_from_it_alone() -> None:
    """In a form that the class does not know; what else is given is still checked."""
    made = make("flux-3-video", mode="i2v", prompt="x", extra_body={"keyframes": {"first": "u"}})
    assert made.body() == {"mode": "i2v", "prompt": "x", "keyframes": {"first": "u"}}
    assert make("flux-3-video", prompt="x", extra_body={"mode": "x2v"}).body() == {
        "prompt": "x",
        "mode": "x2v",
    }
    assert make("flux-3-video", prompt="x", extra_body={"mode": "t2v"}).body() == {
        "prompt": "x",
        "mode": "t2v",
    }
    with pytest.raises(InvalidRequestError, match="draft"):
        make("flux-3-video", mode="i2v", prompt="x", draft="maybe", extra_body={"keyframes": {}})


def test_files_in_it_are_sent_as_base64(tmp_path: Path) -> None:
    """A field for an image that came after this release."""
    file = tmp_path / "a.png"
    file.write_bytes(png(8, 8))
    made = FluxDev(prompt="x", extra_body={"image_9": file, "more": [file.read_bytes()]})
    text = base64.b64encode(png(8, 8)).decode()
    assert made.has_files
    assert made.body() == {"prompt": "x", "image_9": text, "more": [text]}
    file.unlink()
    with pytest.raises(InvalidRequestError, match=r"extra_body\.image_9"):
        made.body()


@pytest.mark.parametrize("given", [[1], "a", 1, {1: 2}, {"a": object()}, {"a": [float("nan")]}])
def test_what_it_cannot_be_is_refused_by_its_name(given: object) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequestError, match="extra_body") as caught:
        request("flux-dev", prompt="x", extra_body=given)
    assert caught.value.errors[0][0].startswith("extra_body")


def test_later_changes_of_the_callers_do_not_change_it() -> None:
    """A request is frozen."""
    mine = {"list": [1]}
    made = FluxDev(prompt="x", extra_body=mine)
    mine["list"].append(2)
    assert made.body()["list"] == [1]


async def test_the_servers_refusal_names_it_and_shows_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """What was sent without our checks is the first suspect; its values may be secrets."""
    server = api()
    detail = [{"loc": ["body", "hook"], "msg": "got hunter22-hunter22-hunter22", "type": "x"}]
    server.script_submits(reply(422, {"detail": detail}))
    extra = {"hook": {"token": ["hunter22-hunter22-hunter22"]}}
    with caplog.at_level(logging.DEBUG):
        async with AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl:
            with pytest.raises(InvalidRequestError, match="extra_body: hook") as caught:
                await bfl.generate("flux-dev", prompt="x", extra_body=extra)
    made = FluxDev(prompt="x", extra_body=extra)
    shown = [
        str(caught.value),
        str(caught.value.body),
        str(caught.value.errors),
        repr(made),
        str(made),
        caplog.text,
    ]
    assert not any("hunter22" in text for text in shown)
    assert "hook" in repr(made)


async def test_a_batch_keeps_it(tmp_path: Path) -> None:
    """In its ledger, from one session to the next, and as a part of what a row is known by."""
    file = tmp_path / "a.png"
    file.write_bytes(png(8, 8))
    server = api()
    rows = [FluxPro11(prompt="x", extra_body={"a": 1}), FluxPro11(prompt="x", extra_body={"b": file})]
    for sends in (False, True, True):
        async with (
            AsyncBFL(transport=server, polling=Fixed(0.01)) as bfl,
            Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
        ):
            await batch.add(rows)
            if sends:
                assert all([outcome.ok async for outcome in batch.run()])
    bodies = sorted((body for _, body in server.posts), key=list)
    assert bodies == [{"prompt": "x", "a": 1}, {"prompt": "x", "b": base64.b64encode(png(8, 8)).decode()}]


def test_it_is_part_of_a_rows_identity() -> None:
    """A changed one is another request; an empty one, or another form of the same number, is not."""

    def key(**fields: object) -> str:
        return key_of(make("flux-dev", prompt="x", **fields), {})

    assert key() == key(extra_body={}) == key(extra_body=None)
    assert key(extra_body={"a": 1}) == key(extra_body={"a": 1.0})
    keys = [key(), key(seed=1), *(key(extra_body={"a": a}) for a in (1, 2, True, "1", [1]))]
    assert len(set(keys)) == len(keys)


def test_a_price_is_that_of_what_is_sent() -> None:
    """Also where a field of it replaces one that the price hangs on."""
    bfl = AsyncBFL(api_key="k")
    small = bfl.estimate(request("flux-2-pro", prompt="x", width=1024, height=1024))
    large = bfl.estimate(request("flux-2-pro", prompt="x", width=2048, height=1024))
    replaced = request("flux-2-pro", prompt="x", width=1024, height=1024, extra_body={"width": 2048.0})
    assert bfl.estimate(replaced).credits == large.credits != small.credits


def test_a_request_can_be_made_anew_from_what_is_kept_of_it(tmp_path: Path) -> None:
    """By a job on another machine, which has no files of this one, and by who dumps it for himself."""
    file = tmp_path / "a.png"
    file.write_bytes(png(8, 8))
    made = FluxDev(prompt="x", extra_body={"steps": 99, "image_9": [file], "extra_body": {"a": 1}})
    kept = json.loads(json.dumps(sent_fields_of(made)))
    again = rebuild(LedgerEntry(1, "k", EntryState.QUEUED, made.model, kept))
    assert type(again) is FluxDev
    dumped = FluxDev.model_validate_json(made.model_dump_json(exclude_unset=True))
    assert again.body() == made.body() == dumped.body()
    assert FluxDev.model_validate(made.model_dump()) == made
    assert "extra_body" not in FluxDev(prompt="x").model_dump(exclude_unset=True)
