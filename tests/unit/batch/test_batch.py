"""Batches: paid once, brought home, resumed; what a killed run leaves is the truth."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, cast

import anyio
import pytest

from bfl_async import (
    AsyncBFL,
    Batch,
    BatchOutcome,
    ClientClosedError,
    ConfigError,
    ConnectError,
    Fixed,
    ImageRequest,
    InsufficientCreditsError,
    InvalidRequestError,
    LedgerError,
    LedgerLockedError,
    ReplyTimeoutError,
    SaveError,
    UntrustedURLError,
    request,
)
from bfl_async.batch.home import home_of
from bfl_async.batch.requests import fields_of, rebuild
from bfl_async.batch.saving import download_timeout_s
from bfl_async.ledger import SQLiteLedger
from bfl_async.ledger.lock import holder_of
from bfl_async.ledger.view import inspect_ledger
from bfl_async.types import EntryState, LedgerEntry, Reply
from tests.fake import JPEG, FakeAPI, prompts, reply, status
from tests.turns import turns_of_the_loop
from tests.waiting import wait_until

SAVED, READY, QUEUED = EntryState.SAVED, EntryState.READY, EntryState.QUEUED


def cats(*prompts: str) -> list[ImageRequest]:
    """Requests of these prompts."""
    return [request("flux-dev", prompt=prompt) for prompt in prompts]


def fake(**settings: object) -> FakeAPI:
    """A quick server: these tests are in real time, since the ledger's thread is."""
    return FakeAPI(**{"service_s": 0.02, "submit_s": 0.004, "poll_s": 0.002, **settings})  # type: ignore[arg-type]  # settings by name


def client(api: FakeAPI, limit: int | None = None) -> AsyncBFL:
    """A client that polls often."""
    return api.client(interval=0.01, limits=limit)


async def run(
    folder: Path,
    api: FakeAPI,
    requests: Iterable[ImageRequest] = (),
    *,
    limit: int | None = None,
    retry_ambiguous: bool = False,
    retry_failed: bool = False,
    retry_moderated: bool = False,
) -> list[BatchOutcome]:
    """One whole run: client, ledger, folder; its outcomes by index."""
    async with (
        client(api, limit) as bfl,
        Batch.open(
            folder / "run.db",
            bfl,
            save_to=folder / "out",
            retry_ambiguous=retry_ambiguous,
            retry_failed=retry_failed,
            retry_moderated=retry_moderated,
        ) as batch,
    ):
        await batch.add(requests)
        return sorted([outcome async for outcome in batch.run()], key=lambda outcome: outcome.index)


def rows(folder: Path) -> list[dict[str, object]]:
    """The ledger as another process sees it."""
    db = sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in db.execute("SELECT * FROM entries ORDER BY id")]
    finally:
        db.close()


def states(folder: Path) -> list[object]:
    """The entries' states, in order."""
    return [row["state"] for row in rows(folder)]


def manifest(folder: Path) -> list[dict[str, object]]:
    """The manifest's lines."""
    return [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]


def images(folder: Path) -> list[str]:
    """The names of the images."""
    return sorted(path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*.jpg"))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so: what the ledger's thread does is real time, and gives no event."""
    while not condition():  # noqa: ASYNC110 - see there
        await asyncio.sleep(0.005)


async def leave_in_flight(folder: Path, api: FakeAPI, requests: Iterable[ImageRequest], count: int) -> None:
    """Run until so many tasks are accepted and durable, then close with them in flight."""
    async with client(api) as bfl, Batch.open(folder / "run.db", bfl, save_to=folder / "out") as batch:
        await batch.add(requests)
        outcomes = batch.run()
        waiting = asyncio.ensure_future(anext(outcomes))
        await until(lambda: batch.counts()["submitted"] >= count)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


# --- the usual life -------------------------------------------------------------------------------------


async def test_images_come_home_with_a_manifest(tmp_path: Path) -> None:
    """Bytes as they came; a line for each image; nothing is left half-written."""
    api = fake()
    outcomes = await run(tmp_path, api, cats("a cat", "a dog"))
    assert [(outcome.index, outcome.state, outcome.ok) for outcome in outcomes] == [
        (0, SAVED, True),
        (1, SAVED, True),
    ]
    assert [path.read_bytes() for outcome in outcomes if (path := outcome.file)] == [JPEG, JPEG]
    assert images(tmp_path) == ["00000-a-cat.jpg", "00001-a-dog.jpg"]
    lines = sorted(manifest(tmp_path), key=lambda line: cast("int", line["index"]))
    assert [line["prompt"] for line in lines] == ["a cat", "a dog"]
    for line, outcome in zip(lines, outcomes, strict=True):
        assert line["sha256"] == hashlib.sha256(JPEG).hexdigest()
        assert (line["state"], line["model"], line["cost"]) == ("saved", "flux-dev", 4.0)
        assert (line["task_id"], line["key"]) == (outcome.task_id, outcome.key)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*images(tmp_path), "manifest.jsonl"]


async def test_the_same_again_does_nothing(tmp_path: Path) -> None:
    """Neither posts nor outcomes nor files."""
    api = fake()
    await run(tmp_path, api, cats("a", "b", "a"))
    assert len(api.posts) == 3, "the same prompt twice is two images"
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert await run(tmp_path, api, cats("a", "b", "a")) == []
    assert len(api.posts) == 3
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert [outcome.index for outcome in await run(tmp_path, api, cats("a", "a", "a", "c"))] == [3, 4]


async def test_an_id_of_the_callers_own_makes_a_request_another_one(tmp_path: Path) -> None:
    """The same prompt under two ids is two images, and the outcome names the id."""
    api = fake()
    (cat,) = cats("a")
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        assert await batch.add([("one", cat), ("two", cat), cat]) == 3
        assert await batch.add([("two", cat)]) == 0
        with pytest.raises(InvalidRequestError):
            await batch.add(cast("list[ImageRequest]", [("one", cat, cat)]))
        names = {outcome.index: outcome.name async for outcome in batch.run()}
    assert names == {0: "one", 1: "two", 2: None}


async def test_a_live_source_is_sent_as_it_comes(tmp_path: Path) -> None:
    """The run ends when the source has, and not before."""
    api = fake()
    second = asyncio.Event()

    async def source() -> object:
        yield cats("first")[0]
        await second.wait()
        yield cats("second")[0]

    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        adding = asyncio.create_task(batch.add(source()))  # type: ignore[arg-type] # an async generator
        reads = 0
        read = batch._shelf.ledger.read

        async def counted(*args: object, **options: object) -> object:
            nonlocal reads
            reads += 1
            return await read(*args, **options)  # type: ignore[arg-type] # passed on

        batch._shelf.ledger.read = counted  # type: ignore[method-assign,assignment] # to count
        outcomes = batch.run()
        assert (await anext(outcomes)).index == 0
        before = reads
        with anyio.move_on_after(0.2):
            await anext(outcomes)
        assert reads - before <= 2, "a silent source is waited for, not asked all the time"
        second.set()
        assert [outcome.index async for outcome in outcomes] == [1]
        assert await adding == 2


async def test_without_a_folder_ready_is_the_end(tmp_path: Path) -> None:
    """Nothing is downloaded; a later run with a folder fetches what is still there, and pays nothing."""
    api = fake()
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a"))
        (outcome,) = [outcome async for outcome in batch.run()]
        assert (outcome.state, outcome.ok) == (READY, True)
        assert outcome.unwrap().url.startswith("https://delivery.bfl.ai/")
        assert [outcome async for outcome in batch.run()] == []
    assert api.downloaded == []
    (outcome,) = await run(tmp_path, api)
    assert (outcome.state, len(api.posts)) == (SAVED, 1)


# --- what is durable before what ------------------------------------------------------------------------


async def test_submitting_is_durable_before_the_post_and_the_id_before_the_poll(tmp_path: Path) -> None:
    """Another process sees it at those moments."""

    class Watched(FakeAPI):
        async def submit(self, path: str, body: bytes) -> object:  # type: ignore[override] # the reply goes through
            prompt = json.loads(body)["prompt"]
            seen.append(next(row["state"] for row in rows(tmp_path) if prompt in str(row["fields"])))
            return await super().submit(path, body)

        async def poll(self, url: str) -> object:  # type: ignore[override]  # what a broken transport may return
            task_id = url.rpartition("/")[2]
            polled.append([row["polling_url"] for row in rows(tmp_path) if row["task_id"] == task_id])
            return await super().poll(url)

    seen: list[object] = []
    polled: list[list[object]] = []
    api = Watched(service_s=0.02, submit_s=0.004, poll_s=0.002)
    await run(tmp_path, api, cats(*(f"prompt-{n:02}" for n in range(20))), limit=3)
    assert seen == ["submitting"] * 20
    assert all(len(urls) == 1 and urls[0] for urls in polled)


async def test_a_429_makes_a_request_queued_again(tmp_path: Path) -> None:
    """The server took nothing: a kill while it waits leaves nothing in doubt."""
    api = fake()
    api.script_submits(reply(429, {"detail": "too many"}))
    api.service_s = 5.0
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await until(lambda: bfl.statistics().refused_429 != 0)
        assert batch.counts()["queued"] == 1
        await batch._shelf.ledger.counts()  # whatever was put before is written
        assert states(tmp_path) == ["queued"]
        waiting.cancel()
    assert states(tmp_path) == ["queued"]


@pytest.mark.parametrize("is_slow", [True, False], ids=["slow disk", "fast disk"])
async def test_one_request_is_marked_ahead_on_slow_disks_and_a_clean_stop_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """There a freed slot finds its request marked; a kill would leave one in doubt, a stop leaves none."""
    monkeypatch.setattr("bfl_async.batch.run._SLOW_FLUSH_S", -1.0 if is_slow else 60.0)
    api = fake(service_s=60.0)
    async with client(api, 2) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a", "b", "c", "d"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await until(lambda: batch.counts()["submitted"] >= 2)
        await batch._shelf.ledger.counts()  # whatever was put before is written
        third = "submitting" if is_slow else "queued"
        assert states(tmp_path) == ["submitted", "submitted", third, "queued"]
        waiting.cancel()
    assert states(tmp_path) == ["submitted", "submitted", "queued", "queued"]
    assert len(api.posts) == 2


async def test_how_long_a_mark_takes_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gets slow is noticed within some requests."""
    api = fake()
    async with client(api, 1) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        run = batch.run()
        for _ in range(3):
            run.note_flush(0.001)
        assert run._flush_s < 0.001
        for _ in range(3):
            run.note_flush(0.040)
        assert run._flush_s > 0.010


async def test_what_was_killed_on_its_way_is_ambiguous_and_left_alone(tmp_path: Path) -> None:
    """It is told once, never sent unasked, and sent again with retry_ambiguous."""
    api = fake()
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a", "b"))
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    # And then the power is cut.
    await ledger.change(1, EntryState.SUBMITTING)
    await ledger.aclose()
    first, second = await run(tmp_path, api, cats("a", "b"))
    assert (first.state, type(first.error).__name__) == (EntryState.AMBIGUOUS, "AmbiguousSubmitError")
    assert second.state is SAVED
    assert prompts(api.posts) == ["b"]
    assert await run(tmp_path, api) == []
    assert prompts(api.posts) == ["b"]
    (again,) = await run(tmp_path, api, retry_ambiguous=True)
    assert (again.state, prompts(api.posts)) == (SAVED, ["b", "a"])


async def test_a_lost_answer_is_ambiguous(tmp_path: Path) -> None:
    """The task may exist: it is not sent again by the next run."""
    api = fake()
    api.script_submits(ReplyTimeoutError("lost"))
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert outcome.state is EntryState.AMBIGUOUS
    assert await run(tmp_path, api, cats("a")) == []
    assert len(api.posts) == 1


async def test_tasks_in_flight_are_attached_and_paid_once(tmp_path: Path) -> None:
    """A run that was left goes on in the next."""
    api = fake(service_s=0.3)
    await leave_in_flight(tmp_path, api, cats("a", "b", "c"), 3)
    assert states(tmp_path) == ["submitted"] * 3
    outcomes = await run(tmp_path, api, cats("a", "b", "c"))
    assert [outcome.state for outcome in outcomes] == [SAVED] * 3
    assert len(api.posts) == 3


async def test_an_attached_task_whose_poll_leads_elsewhere_stays_as_it_is(tmp_path: Path) -> None:
    """It is paid, and a wrong setting may be the cause: the outcome says so, and the next run asks again."""
    api = fake(service_s=0.3)
    await leave_in_flight(tmp_path, api, cats("a"), 1)
    api.script_polls(UntrustedURLError("a redirect to another host"))
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert isinstance(outcome.error, UntrustedURLError)
    assert states(tmp_path) == ["submitted"]
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert (outcome.state, len(api.posts)) == (SAVED, 1)


async def test_a_post_on_its_way_is_noted_when_the_batch_is_closed(tmp_path: Path) -> None:
    """Closing waits for its answer: the id is durable."""
    api = fake(submit_s=0.3, service_s=60.0)
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await until(lambda: bfl.statistics().submitting != 0)
        waiting.cancel()
    (row,) = rows(tmp_path)
    assert (row["state"], row["task_id"]) == ("submitted", "task-0")


# --- ends other than images -----------------------------------------------------------------------------


async def test_failed_and_moderated_are_told_once_and_retried_when_asked(tmp_path: Path) -> None:
    """Each with its own option."""
    api = fake()
    api.script_polls(reply(200, status("Error")), reply(200, status("Content Moderated")))
    failed, moderated = await run(tmp_path, api, cats("a", "b"), limit=1)
    assert (failed.state, moderated.state) == (EntryState.FAILED, EntryState.MODERATED)
    assert "TaskFailedError" in str(rows(tmp_path)[0]["error"])
    assert await run(tmp_path, api) == []
    (outcome,) = await run(tmp_path, api, retry_failed=True)
    assert (outcome.index, outcome.state) == (0, SAVED)
    (outcome,) = await run(tmp_path, api, retry_moderated=True)
    assert (outcome.index, outcome.state) == (1, SAVED)
    assert inspect_ledger(tmp_path / "run.db").spent_credits == 8.0, "only images were paid"


@pytest.mark.parametrize(("stated", "spent"), [(None, 0.0), (0.0, 0.0), (2.5, 5.0)])
@pytest.mark.parametrize("cost", [None, 4.0])
async def test_ledger_counts_for_a_refused_task_what_its_end_states(
    tmp_path: Path, cost: float | None, stated: float | None, spent: float
) -> None:
    """The receipt's cost is that of an image, and there is none: no task is left without a price either."""
    api = fake(cost=cost)
    api.script_polls(*[reply(200, status(word, cost=stated)) for word in ("Error", "Request Moderated")])
    await run(tmp_path, api, cats("a", "b"), limit=1)
    view = inspect_ledger(tmp_path / "run.db")
    assert (view.spent_credits, view.unpriced) == (spent, 0)


async def test_an_invalid_request_fails_alone(tmp_path: Path) -> None:
    """422: no task exists, the others go on."""
    api = fake()
    api.script_submits(reply(422, {"detail": "no"}))
    outcomes = await run(tmp_path, api, cats("a", "b"), limit=1)
    assert [outcome.state for outcome in outcomes] == [EntryState.FAILED, SAVED]


async def test_402_leaves_the_rest_queued_and_collects_what_runs(tmp_path: Path) -> None:
    """The error comes after the outcomes and says how to go on; a top-up and the same again finish it."""
    api = fake()
    api.script_submits(None, None, reply(402, {"detail": "empty"}))
    outcomes: list[BatchOutcome] = []
    async with client(api, 1) as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        await batch.add(cats("a", "b", "c", "d", "e"))
        with pytest.raises(InsufficientCreditsError, match="run the same again to go on"):
            async for outcome in batch.run():
                outcomes += [outcome]
    assert [outcome.state for outcome in outcomes] == [SAVED, SAVED]
    assert sorted(map(str, states(tmp_path))) == ["queued"] * 3 + ["saved"] * 2
    await run(tmp_path, api, cats("a", "b", "c", "d", "e"))
    assert states(tmp_path) == ["saved"] * 5
    assert len(api.tasks) == 5


@pytest.mark.parametrize("code", [401, 403, 422])
async def test_a_refused_key_fails_nothing(tmp_path: Path, code: int) -> None:
    """Also in the middle of a run, where it was revoked, and where a malformed key is a 422."""
    api = fake()
    api.script_submits(None, *[reply(code, {"detail": "Invalid API key format"})] * 3)
    with pytest.raises(Exception, match="BFL_API_KEY"):
        await run(tmp_path, api, cats("a", "b", "c"), limit=1)
    assert states(tmp_path) == ["saved", "queued", "queued"]


async def test_no_connection_at_the_start_is_an_error_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong host is told after `Timeouts.connect`, and not after an hour."""
    api = fake()
    api.script_submits(*[ConnectError("no route")] * 50)
    from bfl_async import Timeouts

    async with (
        AsyncBFL(limits=2, polling=Fixed(0.01), transport=api, timeouts=Timeouts(connect=0.3)) as bfl,
        Batch.open(tmp_path / "run.db", bfl) as batch,
    ):
        await batch.add(cats("a", "b", "c"))
        with pytest.raises(ConnectError, match="run the same again"):
            async for _ in batch.run():
                raise AssertionError("nothing can come")
    assert states(tmp_path) == ["queued"] * 3


@pytest.mark.slow
async def test_an_outage_in_the_middle_is_waited_out(tmp_path: Path) -> None:
    """Once the server has taken a request, no connection means patience, past `Timeouts.connect`."""
    api = fake()
    api.script_submits(None, *[ConnectError("no route")] * 3)
    from bfl_async import Timeouts

    async with (
        AsyncBFL(limits=1, polling=Fixed(0.01), transport=api, timeouts=Timeouts(connect=0.1)) as bfl,
        Batch.open(tmp_path / "run.db", bfl) as batch,
    ):
        await batch.add(cats("a", "b"))
        assert [outcome.ok async for outcome in batch.run()] == [True, True]


async def test_stop_sends_nothing_more_and_hands_out_what_was_sent(tmp_path: Path) -> None:
    """The rest stays queued, and a second run in the same batch does it."""
    api = fake(service_s=0.1)
    async with client(api, 2) as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        await batch.add(cats("a", "b", "c", "d", "e"))
        outcomes = []
        async for outcome in batch.run():
            batch.stop()
            outcomes.append(outcome)
        assert len(outcomes) == len(api.posts)
        assert batch.counts()["queued"] == 5 - len(outcomes)
        rest = [outcome async for outcome in batch.run()]
        assert len(outcomes) + len(rest) == 5
        assert batch.counts()["saved"] == 5


@pytest.mark.slow
async def test_a_consumer_that_stops_stops_the_submits(tmp_path: Path) -> None:
    """What is finished and not taken is bounded."""
    api = fake(service_s=0.0)
    async with client(api, 4) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats(*map(str, range(400))))
        outcomes = batch.run()
        await anext(outcomes)
        await asyncio.sleep(0.5)  # however long it waits
        assert len(api.posts) < 100
        assert len([outcome async for outcome in outcomes]) == 399


async def test_closing_the_batch_tells_who_still_iterates(tmp_path: Path) -> None:
    """An end that is none must not look like one."""
    api = fake(service_s=60.0)
    async with client(api, 2) as bfl:
        async with Batch.open(tmp_path / "run.db", bfl) as batch:
            await batch.add(cats("a", "b", "c"))
            waiting = asyncio.ensure_future(anext(batch.run()))
            await until(lambda: batch.counts()["submitted"] == 2)
        with pytest.raises(ClientClosedError, match="run the same again"):
            await waiting
        with pytest.raises(ClientClosedError, match="not open"):
            await batch.add(cats("d"))


async def test_batch_is_refused_where_its_client_cannot_be_used(tmp_path: Path) -> None:
    """In another loop and thread, and after the client was closed: before anything is written."""
    async with client(fake(), 2) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        with pytest.raises(ConfigError, match="event loop and thread"):
            await asyncio.to_thread(lambda: asyncio.run(batch.add(cats("a"))))
        await bfl.aclose()
        with pytest.raises(ClientClosedError, match="the client is closed"):
            await batch.add(cats("a"))
        with pytest.raises(ClientClosedError, match="the client is closed"):
            batch.run()
    assert states(tmp_path) == []


async def test_closing_the_client_first_loses_nothing(tmp_path: Path) -> None:
    """What was in flight stays submitted, and the run says why it ended."""
    api = fake(service_s=60.0)
    bfl = await client(api, 2).open()
    async with Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(cats("a", "b", "c", "d"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await until(lambda: batch.counts()["submitted"] >= 2)
        await bfl.aclose()
        with pytest.raises(Exception, match="closed"):
            await waiting
    assert states(tmp_path) == ["submitted", "submitted", "queued", "queued"]


# --- the ledger and the disk ----------------------------------------------------------------------------


async def test_a_run_can_be_looked_at_while_it_goes_on(tmp_path: Path) -> None:
    """Another process's view: counts, money, the holder, and the newest errors first; the run is not disturbed."""
    api = fake(service_s=0.05)
    api.script_polls(reply(200, status("Error")))
    async with client(api, 2) as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        await batch.add(cats(*map(str, range(12))))
        seen = [await asyncio.to_thread(inspect_ledger, tmp_path / "run.db") async for _ in batch.run()]
    assert all(view.holder == str(os.getpid()) for view in seen)
    assert [sum(view.counts.values()) for view in seen] == [12] * 12
    ended = [view.counts[SAVED] + view.counts[EntryState.FAILED] for view in seen]
    assert ended == sorted(ended)
    assert (seen[-1].spent_credits, seen[-1].recent, seen[-1].unpriced) == (44.0, 12, 0)
    assert "TaskFailedError" in str(seen[-1].errors[0].error)
    assert seen[-1].first_at is not None
    assert seen[-1].last_at is not None
    assert seen[-1].first_at < seen[-1].last_at


async def test_a_full_ledger_sends_nothing_more(tmp_path: Path) -> None:
    """What cannot be noted is not done; with room again the same goes on, and each is paid once."""
    api = fake()
    async with client(api, 2) as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        await batch.add(cats(*map(str, range(30))))
        ledger = cast("SQLiteLedger", batch._shelf.ledger)
        failing = _fail_writes(ledger, after=20)
        with pytest.raises(LedgerError, match="no space"):
            async for outcome in batch.run():
                assert outcome.task_id is not None
        sent = len(api.posts)
        assert 0 < sent < 30
        failing["off"] = 1
    outcomes = await run(tmp_path, api, cats(*map(str, range(30))))
    ambiguous = [outcome for outcome in outcomes if outcome.state is EntryState.AMBIGUOUS]
    assert len(ambiguous) <= 2, "POSTs that were out when the disk was full"
    assert len(api.posts) == 30 - len(ambiguous) + sum(_is_sent(api, outcome) for outcome in ambiguous)
    assert len(set(map(str, prompts(api.posts)))) == len(api.posts), "nothing was sent twice"


def _is_sent(api: FakeAPI, outcome: BatchOutcome) -> bool:
    return outcome.request.body()["prompt"] in prompts(api.posts)


def _fail_writes(ledger: SQLiteLedger, *, after: int) -> dict[str, int]:
    """Let commits with changes fail, from the nth change on, as a full disk does."""
    seen = {"changes": 0, "off": 0}
    change = ledger.change

    def failing(entry_id: int, state: EntryState, facts: object = None) -> asyncio.Future[None]:
        seen["changes"] += 1
        if seen["changes"] <= after or seen["off"]:
            return change(entry_id, state, facts)  # type: ignore[arg-type] # passed on

        def work(_: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("no space left on device")

        return ledger._put(work)

    ledger.change = failing  # type: ignore[method-assign] # the disk's part
    return seen


async def test_a_full_folder_stops_the_run_and_the_next_one_saves_what_was_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image stays ready, and is fetched again at no cost."""
    api = fake()

    def no_space(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(SaveError, match="run the same again") as caught:
        patch.setattr("bfl_async.results.incoming.flush_to_disk", no_space)
        await run(tmp_path, api, cats("a", "b", "c", "d"), limit=1)
    assert caught.value.errno == errno.ENOSPC
    assert "ready" in states(tmp_path)
    assert images(tmp_path) == []
    await run(tmp_path, api, cats("a", "b", "c", "d"))
    assert states(tmp_path) == ["saved"] * 4
    assert len(api.posts) == 4
    assert len(manifest(tmp_path)) == 4


async def test_a_download_that_fails_is_repeated_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs nothing; one whose URL has ended is failed."""
    api = fake()
    monkeypatch.setattr("bfl_async.batch.saving._LEAST_DOWNLOAD_S", 0.2)
    monkeypatch.setattr("bfl_async.batch.saving._MOST_DOWNLOAD_S", 0.2)
    api.download_script.extend([reply(500, "no")] * 30)
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert (outcome.state, type(outcome.error).__name__) == (READY, "DownloadError")
    api.download_script.clear()
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert (outcome.state, len(api.posts)) == (SAVED, 1)


async def test_an_expired_result_is_failed_and_told(tmp_path: Path) -> None:
    """The server has forgotten the image: only retry_failed pays for another."""
    api = fake()
    gone = {"date": "Fri, 02 Jan 2099 00:00:00 GMT"}
    api.download_script.append(reply(403, "expired", **gone))
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert (outcome.state, type(outcome.error).__name__) == (EntryState.FAILED, "ResultExpiredError")
    assert await run(tmp_path, api, cats("a")) == []


DATE = "Fri, 02 Jan 2099 00:00:00 GMT"


@pytest.mark.parametrize(
    ("ends", "date", "waited_s", "timeout_s"),
    [
        ("2099-01-02T00%3A05%3A00Z", DATE, 0.0, 300.0),
        ("2099-01-02T00%3A05%3A00Z", DATE, 100.0, 200.0),
        ("2099-01-02T00%3A05%3A00Z", DATE, 290.0, 60.0),
        ("2099-01-01T23%3A00%3A00Z", DATE, 0.0, 60.0),
        ("2099-01-02T09%3A00%3A00Z", DATE, 0.0, 600.0),
        ("2099-01-02T00%3A05%3A00Z", None, 0.0, 600.0),
        ("2099-01-02T00%3A05%3A00Z", "no date", 0.0, 600.0),
        (None, DATE, 0.0, 600.0),
    ],
)
def test_download_lasts_as_long_as_its_url_by_the_servers_clock(
    ends: str | None, date: str | None, waited_s: float, timeout_s: float
) -> None:
    """At least a minute, at most ten; ten where the server states no time."""
    url = "https://delivery.bfl.ai/a.jpeg?sig=s" + (f"&se={ends}" if ends else "")
    polled = reply(200, {}, **({"date": date} if date else {}))
    assert download_timeout_s(url, polled, waited_s=waited_s) == timeout_s
    assert download_timeout_s(url, None, waited_s=waited_s) == 600.0


@pytest.mark.parametrize("wrong_s", [-90_000.0, 0.0, 90_000.0])
async def test_wrong_clock_shortens_no_download(
    wrong_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine takes the time to be: the server says how long the URL lasts."""

    class Dated(FakeAPI):
        def _status(self, task_id: str) -> Reply:
            found = super()._status(task_id)
            body = json.loads(found.body)
            if body["result"] is not None:
                body["result"]["sample"] = "https://delivery.bfl.ai/a.jpeg?se=2099-01-02T00%3A05%3A00Z&sig=s"
            return reply(found.status_code, body, date=DATE)

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + wrong_s)
    api = Dated(service_s=0.02, submit_s=0.004, poll_s=0.002)
    api.download_script.append(reply(500, "not yet"))
    (outcome,) = await run(tmp_path, api, cats("a"))
    assert outcome.state == SAVED
    assert [290.0 < timeout <= 300.0 for _, timeout in api.downloaded] == [True, True]


async def test_slow_downloads_hold_up_neither_polls_nor_submits(tmp_path: Path) -> None:
    """Only so many are fetched at a time, and slots are used meanwhile."""
    fetching = most = 0
    go_on = asyncio.Event()

    class Slow(FakeAPI):
        async def download(self, url: str, *, timeout: float) -> object:  # type: ignore[override]  # what a broken transport may return
            nonlocal fetching, most
            fetching += 1
            most = max(most, fetching)
            await go_on.wait()
            # The others get their turn while this one still counts.
            await asyncio.sleep(0)
            fetching -= 1
            return await super().download(url, timeout=timeout)

    api = Slow(service_s=0.01, submit_s=0.004, poll_s=0.002)
    async with client(api, 2) as bfl:
        batch = Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", downloads=3)
        async with batch:
            await batch.add(cats(*map(str, range(20))))
            outcomes = batch.run()
            first = asyncio.create_task(anext(outcomes))
            await wait_until(lambda: len(api.posts) == 20 and bfl.statistics().ready == 20)
            assert fetching == 3
            go_on.set()
            await first
            assert len([outcome async for outcome in outcomes]) == 19
    assert most == 3


# --- files ----------------------------------------------------------------------------------------------


async def test_files_of_others_are_never_overwritten(tmp_path: Path) -> None:
    """A number is added."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000-a.jpg").write_bytes(b"mine")
    (outcome,) = await run(tmp_path, fake(), cats("a"))
    assert outcome.file == tmp_path / "out" / "00000-a-2.jpg"
    assert (tmp_path / "out" / "00000-a.jpg").read_bytes() == b"mine"
    assert manifest(tmp_path)[0]["file"] == "00000-a-2.jpg"


async def test_a_kill_between_file_and_ledger_makes_no_second_file(tmp_path: Path) -> None:
    """The file that was written and not noted is found again by its bytes; `.part`s are removed."""
    api = fake()
    await leave_in_flight(tmp_path, api, cats("a"), 1)
    parts = tmp_path / "out" / ".parts-run.db"
    parts.mkdir(parents=True)
    (parts / "x.part").write_bytes(b"half")
    (tmp_path / "out" / "00000-a.jpg").write_bytes(JPEG)
    (outcome,) = await run(tmp_path, api)
    assert outcome.file == tmp_path / "out" / "00000-a.jpg"
    assert images(tmp_path) == ["00000-a.jpg"]
    assert not parts.exists()


@pytest.mark.parametrize(
    "evil", ["../../etc/passwd", "/etc/passwd", "..", "a/b\0c", "\ud800", "<script>", "x" * 3000]
)
async def test_no_prompt_leads_out_of_the_folder(tmp_path: Path, evil: str) -> None:
    """Nor does it break the ledger or the manifest."""
    if evil == "\ud800":
        with pytest.raises(Exception, match=r"surrogate|str"):
            cats(evil)[0].model_dump_json()
        return
    (outcome,) = await run(tmp_path, fake(), cats(evil))
    assert outcome.file is not None
    assert outcome.file.parent == tmp_path / "out"
    assert manifest(tmp_path)[0]["prompt"] == evil


async def test_a_folder_behind_a_link_is_not_written_to(tmp_path: Path) -> None:
    """A template's folder that is a link elsewhere."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "flux-dev").symlink_to(tmp_path / "elsewhere")
    async with (
        client(fake()) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", name="{model}/{index}.{ext}") as batch,
    ):
        await batch.add(cats("a"))
        with pytest.raises(SaveError, match="leads out"):
            async for _ in batch.run():
                pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("damage", ["torn", "missing", "cut", "unnoted"])
async def test_a_torn_manifest_is_mended_from_the_ledger(tmp_path: Path, damage: str) -> None:
    """Each image has its line once."""
    api = fake()
    await run(tmp_path, api, cats("a", "b", "c"))
    path = tmp_path / "out" / "manifest.jsonl"
    whole = path.read_bytes()
    if damage == "torn":
        path.write_bytes(whole + b'{"index": 3, "sta')
    elif damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(whole[:-20])
    else:  # written, and killed before that was noted
        db = sqlite3.connect(tmp_path / "run.db")
        size = len(whole.splitlines(keepends=True)[0])
        db.execute("UPDATE notes SET value = ? WHERE name = 'manifest_bytes'", (str(size),))
        db.execute(
            "UPDATE entries SET listed = 0 WHERE key <> ?", (json.loads(whole.splitlines()[0])["key"],)
        )
        db.commit()
        db.close()
    await run(tmp_path, api, cats("d"))
    lines = manifest(tmp_path)
    assert sorted(str(line["prompt"]) for line in lines) == ["a", "b", "c", "d"]


async def test_two_ledgers_share_a_folder_and_its_manifest(tmp_path: Path) -> None:
    """Neither takes the other's lines away."""
    api = fake()
    for name in ("one.db", "two.db", "one.db"):
        async with client(api) as bfl, Batch.open(tmp_path / name, bfl, save_to=tmp_path / "out") as batch:
            await batch.add(cats(f"{name} {len(api.posts)}"))
            assert [outcome.ok async for outcome in batch.run()] == [True]
    assert len(manifest(tmp_path)) == 3
    assert len(images(tmp_path)) == 3


# --- mistakes -------------------------------------------------------------------------------------------


async def test_mistakes_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    """A second run on a ledger, a second run of a batch, another API, a wrong value."""
    api = fake()
    async with client(api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        with pytest.raises(LedgerLockedError, match=str(os.getpid())):
            async with Batch.open(tmp_path / "run.db", bfl):
                pass
        first = batch.run()
        with pytest.raises(ConfigError, match="has a run"):
            batch.run()
        assert [outcome async for outcome in first] == []
        with pytest.raises(ConfigError, match="once"):
            async with batch:
                pass
    with pytest.raises(ConfigError):
        Batch.open(tmp_path / "x.db", bfl, downloads=0)
    with pytest.raises(ConfigError):
        Batch.open(tmp_path / "x.db", bfl, name="{nope}")
    other = AsyncBFL(base_url="http://127.0.0.1:1", transport=api)
    async with other as here:
        with pytest.raises(ConfigError, match=r"begun with bfl\.ai"):
            async with Batch.open(tmp_path / "run.db", here):
                pass
    assert api.posts == []


def test_regions_are_one_api_and_servers_of_this_machine_another() -> None:
    """A ledger of the sandbox is not gone on with against the API: its images are none."""
    homes = [
        home_of(url)
        for url in (
            "https://api.bfl.ai",
            "https://api.eu.bfl.ai",
            "http://127.0.0.1:80",
            "http://localhost:9",
        )
    ]
    assert homes == ["bfl.ai", "bfl.ai", "this machine", "this machine"]
    assert home_of("https://proxy.example") == "proxy.example"


def test_requests_are_made_anew_as_they_were() -> None:
    """Also those of models that the catalog does not know."""
    with pytest.warns(UserWarning, match="not in this release"):
        unknown = request("flux-next", prompt="a", **{"extra": {"$path": "/etc/passwd"}})
    for made in (*cats("a"), unknown, request("flux-2-pro", prompt="a", seed=2**40, width=64)):
        fields = json.loads(json.dumps(fields_of(made)))
        again = rebuild(LedgerEntry(1, "k", QUEUED, made.model, fields))
        assert (again.model, again.body()) == (made.model, made.body())


def test_files_are_kept_by_their_paths() -> None:
    """Not their bytes: ten thousand edits of one image are ten thousand names."""

    class Edit(ImageRequest):
        endpoint: ClassVar[str] = "/v1/flux-dev"
        prompt: str
        image: Path | bytes

    edit = Edit(prompt="a", image=Path("cat.png"))
    assert fields_of(edit) == {"prompt": "a", "image": {"$path": str(Path("cat.png").absolute())}}

    class Unknown(Edit):
        endpoint: ClassVar[str] = "/v1/flux-mine"

    with pytest.raises(InvalidRequestError, match="bytes"):
        fields_of(Unknown(prompt="a", image=Path("cat.png")))


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    """After the batch and the client are closed in the middle of everything."""
    api = fake(service_s=0.05)
    await leave_in_flight(tmp_path, api, cats(*map(str, range(40))), 3)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert others == []


@pytest.mark.slow
async def test_cancelled_close_still_closes_the_ledger(tmp_path: Path) -> None:
    """The lock is given back, and what was noted stands."""
    api = fake(submit_s=30.0)
    bfl = await client(api, 1).open()
    batch = Batch.open(tmp_path / "run.db", bfl)
    await batch.__aenter__()
    await batch.add(cats("a"))
    waiting = asyncio.ensure_future(anext(batch.run()))
    await until(lambda: bfl.statistics().submitting != 0)
    with anyio.move_on_after(0.05):
        await batch.aclose()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert states(tmp_path) == ["submitting"], "nobody knows what became of it"
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    await ledger.aclose()
    await asyncio.wait_for(_close_hard(bfl), 20)


@pytest.mark.parametrize("kind", ["scope", "task group"])
async def test_closing_inside_a_cancelled_scope_is_complete_and_does_not_spin(
    tmp_path: Path, kind: str
) -> None:
    """Such a scope interrupts every await: the ledger is free, and nothing runs when it has been left."""
    api, answered = fake(), asyncio.Event()

    async def no_answer() -> None:
        await answered.wait()

    api.before_submit = no_answer

    async def run_it() -> None:
        async with Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
            await batch.add(cats("a", "b", "c"))
            async for _ in batch.run():
                pass

    async def end(scope: anyio.CancelScope) -> None:
        await until(lambda: bfl.statistics().submitting == 2)
        scope.cancel()

    async with client(api, 2) as bfl:
        before = asyncio.all_tasks()
        with turns_of_the_loop() as turns:
            if kind == "scope":
                with anyio.CancelScope() as scope:
                    ending = asyncio.ensure_future(end(scope))
                    await run_it()
                await ending
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(run_it)
                    await end(group.cancel_scope)
            assert holder_of(tmp_path / "run.db") is None
            assert not [task for task in asyncio.all_tasks() - before if "Batch" in repr(task)]
            assert not [one for one in threading.enumerate() if one.name == "bfl-async-ledger"]
            assert not list((tmp_path / "out").glob(".parts*"))
        assert len(turns) < 500
        assert states(tmp_path) == ["submitting", "submitting", "queued"]
        answered.set()


async def test_opening_inside_a_cancelled_scope_leaves_the_ledger_free(tmp_path: Path) -> None:
    """Whatever it had begun."""
    async with client(fake()) as bfl:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with Batch.open(tmp_path / "run.db", bfl):
                pass
        assert holder_of(tmp_path / "run.db") is None
        assert not [one for one in threading.enumerate() if one.name == "bfl-async-ledger"]


async def test_every_close_returns_when_the_batch_is_closed(tmp_path: Path) -> None:
    """Also where several coroutines close it at once."""
    api = fake(submit_s=0.3)
    async with client(api, 1) as bfl:
        batch = Batch.open(tmp_path / "run.db", bfl)
        await batch.__aenter__()
        await batch.add(cats("a"))
        waiting = asyncio.ensure_future(anext(batch.run()))
        await until(lambda: bfl.statistics().submitting == 1)

        async def close() -> str | None:
            await batch.aclose()
            return holder_of(tmp_path / "run.db")

        assert set(await asyncio.gather(close(), close(), close())) == {None}
        assert states(tmp_path) == ["submitted"]
        with pytest.raises(ClientClosedError):
            await waiting


async def _close_hard(bfl: AsyncBFL) -> None:
    task = asyncio.ensure_future(bfl.aclose())
    await asyncio.sleep(0)
    await task
