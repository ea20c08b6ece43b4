"""Batches on hosts that answer a submit with the image: saved before it is recorded, since no server keeps it."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from bfl_async import Batch, BatchOutcome, DownloadError, ImageRequest, SaveError, request
from bfl_async.types import EntryState, Reply
from tests.fake import JPEG, FakeAPI, reply
from tests.unit.batch.test_batch import rows

TEXT = base64.b64encode(JPEG).decode()
AMBIGUOUS, FAILED, READY, SAVED = EntryState.AMBIGUOUS, EntryState.FAILED, EntryState.READY, EntryState.SAVED


def answer(count: int = 1, text: str = TEXT, **more: object) -> Reply:
    """An answer with so many images."""
    return reply(200, {"created": 1, "data": [{"b64_json": text}] * count, **more})


def cats(*prompts: str) -> list[ImageRequest]:
    """Requests of these prompts."""
    return [request("flux-dev", prompt=prompt) for prompt in prompts]


async def run(
    folder: Path,
    api: FakeAPI,
    requests: Iterable[ImageRequest] = (),
    *,
    saves: bool = True,
    retry_failed: bool = False,
) -> list[BatchOutcome]:
    """One whole run: client, ledger, folder; its outcomes by index."""
    save_to = folder / "out" if saves else None
    async with (
        api.client(interval=0.01) as bfl,
        Batch.open(folder / "run.db", bfl, save_to=save_to, retry_failed=retry_failed) as batch,
    ):
        await batch.add(requests)
        return sorted([outcome async for outcome in batch.run()], key=lambda outcome: outcome.index)


def manifest(folder: Path) -> list[dict[str, object]]:
    """The manifest's lines."""
    return [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]


def images(folder: Path) -> list[str]:
    """The names of the images; nothing else may be left in the folder but the manifest."""
    return sorted(
        path.name for path in (folder / "out").rglob("*") if path.is_file() and path.suffix != ".jsonl"
    )


async def test_images_are_saved_listed_and_paid_once(tmp_path: Path) -> None:
    """As all others, and the next run has nothing to do."""
    api = FakeAPI()
    api.script_submits(answer(cost=5.0), answer())
    # Saved in threads, so in any order.
    first, second = sorted(await run(tmp_path, api, cats("a", "b")), key=lambda each: each.index)
    assert (first.state, second.state) == (SAVED, SAVED)
    assert images(tmp_path) == ["00000-a.jpg", "00001-b.jpg"]
    assert first.file is not None
    assert first.file.read_bytes() == JPEG
    assert await run(tmp_path, api, cats("a", "b")) == []
    assert len(api.posts) == 2
    assert api.polled == []
    assert {line["task_id"] for line in manifest(tmp_path)} == {first.task_id, second.task_id}
    row = rows(tmp_path)[0]
    assert (row["state"], row["task_id"], row["cost"]) == ("saved", first.task_id, 5.0)
    # In no file of the ledger: its journal included.
    for path in tmp_path.glob("run.db*"):
        assert TEXT[:40].encode() not in path.read_bytes()


async def test_further_images_of_an_answer_are_saved_as_well(tmp_path: Path) -> None:
    """They are paid, and the manifest names them."""
    api = FakeAPI()
    api.script_submits(answer(3))
    await run(tmp_path, api, cats("a"))
    assert images(tmp_path) == ["00000-a-2.jpg", "00000-a-3.jpg", "00000-a.jpg"]
    (line,) = manifest(tmp_path)
    assert (line["file"], line["others"]) == ("00000-a.jpg", ["00000-a-2.jpg", "00000-a-3.jpg"])


async def test_kill_before_the_image_is_saved_leaves_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger says "submitting" until the file is whole, and the next run does not pay again unasked."""
    api = FakeAPI()
    api.script_submits(answer())
    seen: list[object] = []

    def flush(_: int) -> None:
        # The image is about to be whole.
        seen.append([row["state"] for row in rows(tmp_path)])

    with monkeypatch.context() as patch:
        patch.setattr("bfl_async.results.incoming.flush_to_disk", flush)
        await run(tmp_path, api, cats("a"))
    assert seen == [["submitting"]]
    # As a kill at that moment leaves it.
    db = sqlite3.connect(tmp_path / "run.db")
    with db:
        db.execute("UPDATE entries SET state = 'submitting', file = NULL, task_id = NULL")
    db.close()
    (killed,) = await run(tmp_path, api)
    assert killed.state is AMBIGUOUS
    assert await run(tmp_path, api) == []
    assert len(api.posts) == 1


async def test_image_that_cannot_be_saved_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome still holds it; the ledger says that it may be paid, and only a retry makes it again."""
    api = FakeAPI()
    api.script_submits(answer())

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    outcomes: list[BatchOutcome] = []
    async with (
        api.client(interval=0.01) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add(cats("a"))
        with monkeypatch.context() as patch:
            patch.setattr("bfl_async.results.incoming.flush_to_disk", no_space)
            with pytest.raises(SaveError):
                async for outcome in batch.run():
                    outcomes.append(outcome)  # noqa: PERF401 - what came before the error counts
    (outcome,) = outcomes
    assert (outcome.state, type(outcome.error)) == (FAILED, SaveError)
    assert outcome.result is not None
    assert await outcome.result.read() == JPEG
    assert "no server keeps it" in str(rows(tmp_path)[0]["error"])
    assert await run(tmp_path, api) == []
    assert (len(api.posts), api.polled) == (1, [])
    api.script_submits(answer())
    (again,) = await run(tmp_path, api, retry_failed=True)
    assert again.state is SAVED
    assert images(tmp_path) == ["00000-a.jpg"]


async def test_what_is_no_image_ends_as_failed(tmp_path: Path) -> None:
    """Another download would bring the same, and there is none."""
    api = FakeAPI()
    api.script_submits(answer(text=base64.b64encode(b"<html><script>" * 20).decode()), answer())
    first, second = sorted(await run(tmp_path, api, cats("a", "b")), key=lambda each: each.index)
    assert (first.state, type(first.error), second.state) == (FAILED, DownloadError, SAVED)
    assert images(tmp_path) == ["00001-b.jpg"]
    assert await run(tmp_path, api) == []
    assert api.polled == []


async def test_without_a_folder_ready_is_the_end_and_leads_nowhere(tmp_path: Path) -> None:
    """A later run with a folder says that the image is gone, and asks no server for it."""
    api = FakeAPI()
    api.script_submits(answer())
    (outcome,) = await run(tmp_path, api, cats("a"), saves=False)
    assert outcome.state is READY
    assert outcome.result is not None
    assert await outcome.result.read() == JPEG
    (later,) = await run(tmp_path, api)
    assert later.state is FAILED
    assert "came with the answer" in str(later.error)
    assert (len(api.posts), api.polled) == (1, [])


async def test_close_waits_for_an_answer_and_saves_its_image(tmp_path: Path) -> None:
    """The run is left while the host works: what it then sends is paid."""
    api = FakeAPI(submit_s=0.4)
    api.script_submits(answer())
    async with (
        api.client(interval=0.01) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add(cats("a"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await asyncio.sleep(0.2)
        assert batch.counts()["submitting"] == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert images(tmp_path) == ["00000-a.jpg"]
    assert [row["state"] for row in rows(tmp_path)] == ["saved"]


async def test_url_without_a_task_is_fetched_at_once(tmp_path: Path) -> None:
    """Also it has no task that could be asked for another URL."""
    api = FakeAPI()
    api.script_submits(reply(200, {"data": [{"url": "https://delivery.bfl.ai/a.jpg"}]}))
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert outcome.state is SAVED
    assert [url for url, _ in api.downloaded] == ["https://delivery.bfl.ai/a.jpg"]
    assert api.polled == []


async def test_further_image_that_fails_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The entry has its image, and goes on."""
    api = FakeAPI()
    other = base64.b64encode(b"<html><script>" * 20).decode()
    api.script_submits(reply(200, {"data": [{"b64_json": TEXT}, {"b64_json": other}]}))
    with caplog.at_level(logging.WARNING, "bfl_async"):
        (outcome,) = await run(tmp_path, api, cats("a"))
    assert outcome.state is SAVED
    assert "a further image" in caplog.text
    assert images(tmp_path) == ["00000-a.jpg"]
