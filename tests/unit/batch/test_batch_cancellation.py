"""Batches and cancellations that are not theirs: a failed call stops a run with an error, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from bfl_async import (
    AsyncBFL,
    Batch,
    BatchOutcome,
    BFLError,
    ClientClosedError,
    Fixed,
    ImageRequest,
    LedgerError,
    request,
)
from bfl_async.ledger import SQLiteLedger
from bfl_async.types import EntryState, Fact, LedgerEntry, NewEntry, Reply
from tests.fake import FakeAPI
from tests.waiting import wait_until

T = TypeVar("T")

COUNT = 6


def cats(count: int = COUNT) -> list[ImageRequest]:
    return [request("flux-dev", prompt=f"cat {n}") for n in range(count)]


def fake(**options: object) -> FakeAPI:
    return FakeAPI(**{"service_s": 0.01, "submit_s": 0.002, "poll_s": 0.002, **options})  # type: ignore[arg-type]  # options by name


class CutOff(SQLiteLedger):
    """A ledger whose calls are cut off, from the nth that fits on, as by a pool that is closed beneath it."""

    def __init__(self, path: Path, fits: Callable[[str, object], bool], after: int = 0) -> None:
        super().__init__(path)
        self._fits = fits
        self._left = after

    def _is_cut(self, call: str, what: object = None) -> bool:
        if not self._fits(call, what):
            return False
        self._left -= 1
        return self._left < 0

    def add(self, entries: Sequence[NewEntry]) -> asyncio.Future[int]:
        return _given_up() if self._is_cut("add") else super().add(entries)

    def change(
        self, entry_id: int, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> asyncio.Future[None]:
        return _given_up() if self._is_cut("change", state) else super().change(entry_id, state, facts)

    def note(self, facts: Mapping[str, str], listed: Sequence[int] = ()) -> asyncio.Future[None]:
        return _given_up() if self._is_cut("note") else super().note(facts, listed)

    def reset(self, state: EntryState, to: EntryState, error: str | None = None) -> asyncio.Future[list[int]]:
        return _given_up() if self._is_cut("reset") else super().reset(state, to, error)

    async def read(
        self, states: Sequence[EntryState], *, after: int, most: int, unlisted: bool = False
    ) -> list[LedgerEntry]:
        if self._is_cut("read", states):
            raise asyncio.CancelledError
        return await super().read(states, after=after, most=most, unlisted=unlisted)


def _given_up() -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def run(
    folder: Path, api: FakeAPI, ledger: SQLiteLedger, during: Callable[[Batch], object] | None = None
) -> tuple[list[BatchOutcome], BFLError | None]:
    """One run; its outcomes, and the error that stopped it."""
    outcomes: list[BatchOutcome] = []
    async with asyncio.timeout(20), AsyncBFL(transport=api, limits=2, polling=Fixed(0.005)) as bfl:
        try:
            async with Batch.open(ledger, bfl, save_to=folder / "out", retry_ambiguous=True) as batch:
                await batch.add(cats())
                async for outcome in batch.run():
                    outcomes.append(outcome)
                    if during is not None:
                        during(batch)
        except BFLError as exc:
            return outcomes, exc
    return outcomes, None


async def run_to_its_end(folder: Path, api: FakeAPI) -> None:
    """The next run: it finishes everything, and every image is there once."""
    _, error = await run(folder, api, SQLiteLedger(folder / "run.db"))
    assert error is None
    async with AsyncBFL(transport=api) as bfl, Batch.open(folder / "run.db", bfl) as batch:
        assert batch.counts()["saved"] == sum(batch.counts().values()) == COUNT
    lines = (folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(list((folder / "out").glob("*.jpg"))) == COUNT


def changes_to(state: EntryState) -> Callable[[str, object], bool]:
    return lambda call, what: call == "change" and what is state


CALLS: dict[str, Callable[[str, object], bool]] = {
    "reading the queue": lambda call, what: call == "read" and what == [EntryState.QUEUED],
    "adding": lambda call, _: call == "add",
    "opening": lambda call, _: call == "reset",
    "listing": lambda call, _: call == "note",
    "noting that it may be sent": changes_to(EntryState.SUBMITTING),
    "noting the task": changes_to(EntryState.SUBMITTED),
    "noting the image": changes_to(EntryState.SAVED),
}


@pytest.mark.parametrize(
    ("call", "after"),
    [(call, 0) for call in CALLS] + [(call, 2) for call in CALLS if call.startswith(("noting", "listing"))],
)
async def test_ledger_call_that_is_cut_off_stops_the_run_with_an_error(
    call: str, after: int, tmp_path: Path
) -> None:
    """It is a failed call: the run neither hangs nor ends as if it were complete, and the next one goes on."""
    api = fake()
    outcomes, error = await run(tmp_path, api, CutOff(tmp_path / "run.db", CALLS[call], after))
    assert isinstance(error, LedgerError), (outcomes, error)
    assert "cancelled" in str(error)
    await run_to_its_end(tmp_path, api)


@pytest.mark.parametrize("state", ["Content Moderated", "Error"])
async def test_end_that_cannot_be_noted_is_an_outcome_and_stops_the_run(state: str, tmp_path: Path) -> None:
    """Of a request that brought no image."""

    class Ends(FakeAPI):
        def _status(self, task_id: str) -> Reply:
            self.end(task_id, state)
            return super()._status(task_id)

    ends = (EntryState.MODERATED, EntryState.FAILED)
    ledger = CutOff(tmp_path / "run.db", lambda call, what: call == "change" and what in ends)
    outcomes, error = await run(tmp_path, Ends(submit_s=0.002, poll_s=0.002), ledger)
    assert isinstance(error, LedgerError)
    assert outcomes
    assert all(outcome.error is not None for outcome in outcomes)


@pytest.mark.parametrize("name", ["feed", "_bring_home", "_work"])
async def test_coroutine_that_is_cancelled_from_elsewhere_stops_the_run(name: str, tmp_path: Path) -> None:
    """As by a program that cancels all tasks that it finds: the run has an error, and the next one goes on."""
    api = fake(service_s=0.03)

    async def cancel_all_of_them() -> None:
        while True:
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__name__", "") == name:
                    task.cancel()
            await asyncio.sleep(0)

    cancelling = asyncio.ensure_future(cancel_all_of_them())
    outcomes, error = await run(tmp_path, api, SQLiteLedger(tmp_path / "run.db"))
    cancelling.cancel()
    await asyncio.wait([cancelling])
    assert isinstance(error, ClientClosedError), (outcomes, error)
    assert "from elsewhere" in str(error)
    await run_to_its_end(tmp_path, api)


async def test_download_that_is_cut_off_is_tried_again(tmp_path: Path) -> None:
    """By this run or by the next; the run does not wait for it for ever."""

    class Cut(FakeAPI):
        async def download(self, url: str, *, timeout: float) -> Reply:
            reply = await super().download(url, timeout=timeout)
            if len(self.downloaded) in (1, 3):
                raise asyncio.CancelledError
            return reply

    api = Cut(service_s=0.01, submit_s=0.002, poll_s=0.002)
    outcomes, error = await run(tmp_path, api, SQLiteLedger(tmp_path / "run.db"))
    assert error is None
    assert len(outcomes) == COUNT
    assert {outcome.state for outcome in outcomes} <= {EntryState.READY, EntryState.SAVED}
    await run_to_its_end(tmp_path, api)
    assert len(api.posts) == COUNT


# --- sources --------------------------------------------------------------------------------------------


def iterable() -> Iterator[ImageRequest]:
    yield from cats(2)
    raise asyncio.CancelledError


async def live() -> AsyncIterator[ImageRequest]:
    for one in cats(2):
        yield one
    raise asyncio.CancelledError


@pytest.mark.parametrize("source", [iterable, live])
async def test_source_that_is_cancelled_is_an_error_of_add(
    source: Callable[[], Iterator[ImageRequest] | AsyncIterator[ImageRequest]], tmp_path: Path
) -> None:
    """Else a task that adds would count as cancelled by its owner, and the batch as complete."""
    async with AsyncBFL(transport=fake()) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        adding = asyncio.ensure_future(batch.add(source()))
        with pytest.raises(RuntimeError, match="source of the requests was cancelled"):
            await adding
        assert not adding.cancelled()


@pytest.mark.parametrize("kind", ["iterable", "live"])
async def test_add_that_is_cancelled_while_it_writes_is_counted_and_sent(kind: str, tmp_path: Path) -> None:
    """What was written stays, so a run must know of it."""
    api = fake()
    ledger = SQLiteLedger(tmp_path / "run.db")
    handed_over = asyncio.Event()
    add = ledger.add

    def noted(entries: Sequence[NewEntry]) -> asyncio.Future[int]:
        handed_over.set()
        return add(entries)

    ledger.add = noted  # type: ignore[method-assign] # looked at
    async with AsyncBFL(transport=api, polling=Fixed(0.005)) as bfl, Batch.open(ledger, bfl) as batch:

        async def source() -> AsyncIterator[ImageRequest]:
            for one in cats():
                yield one
            await asyncio.Event().wait()

        adding = asyncio.ensure_future(batch.add(cats() if kind == "iterable" else source()))
        await handed_over.wait()
        adding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await adding
        await wait_until(lambda: batch.counts()["queued"] > 0)
        known = await ledger.counts()
        assert batch.counts()["queued"] == known[EntryState.QUEUED]
        outcomes = [outcome async for outcome in batch.run()]
        assert len(outcomes) == len(api.posts) == known[EntryState.QUEUED]
        assert batch.counts()["ready"] == len(outcomes)
        assert batch.counts()["queued"] == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before")
async def test_eager_tasks_change_nothing(tmp_path: Path) -> None:
    """Neither a whole run with a live source, nor a stop and the run that goes on."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore] # since 3.12
    api = fake()

    def stop(batch: Batch) -> None:
        batch.stop()

    outcomes, error = await run(tmp_path, api, SQLiteLedger(tmp_path / "run.db"), during=stop)
    assert error is None
    assert 0 < len(outcomes) <= COUNT
    await run_to_its_end(tmp_path, api)
    assert len(api.posts) == COUNT

    async def source() -> AsyncIterator[ImageRequest]:
        for n in range(5):
            await asyncio.sleep(0)
            yield request("flux-dev", prompt=f"live {n}")

    async with (
        AsyncBFL(transport=api, polling=Fixed(0.005)) as bfl,
        Batch.open(tmp_path / "live.db", bfl, save_to=tmp_path / "live") as batch,
    ):
        adding = asyncio.create_task(batch.add(source()))
        seen = [outcome.index async for outcome in batch.run()]
        assert await adding == 5
    assert sorted(seen) == list(range(5))
