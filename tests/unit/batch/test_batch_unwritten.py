"""Batches whose ledger refuses some changes: every later run continues, and no paid task is misreported."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, BatchOutcome, BFLError, Fixed, ImageRequest, LedgerError, request
from bfl_async.ledger import SQLiteLedger
from bfl_async.types import EntryState, Fact
from tests.fake import FakeAPI, prompts

COUNT = 8
Refuses = Callable[[EntryState, Mapping[str, Fact]], bool]


class Refusing(SQLiteLedger):
    """A ledger that refuses those changes for which `refuses` returns True, and writes the others."""

    def __init__(self, path: Path, refuses: Refuses) -> None:
        super().__init__(path)
        self._refuses = refuses

    def change(
        self, entry_id: int, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> asyncio.Future[None]:
        if not self._refuses(state, facts or {}):
            return super().change(entry_id, state, facts)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(LedgerError("there is no space left on the disk"))
        return future


def fake() -> FakeAPI:
    return FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.002)


def dogs() -> list[ImageRequest]:
    return [request("flux-dev", prompt=f"dog {n}") for n in range(COUNT)]


async def run(
    folder: Path, api: FakeAPI, refuses: Refuses | None = None, *, retry_ambiguous: bool = False
) -> tuple[list[BatchOutcome], BFLError | None, Mapping[str, int]]:
    """Do one run; return its outcomes, the error that stopped it, and the last counts."""
    path = folder / "run.db"
    ledger = SQLiteLedger(path) if refuses is None else Refusing(path, refuses)
    outcomes: list[BatchOutcome] = []
    error: BFLError | None = None
    async with asyncio.timeout(20), AsyncBFL(transport=api, limits=3, polling=Fixed(0.005)) as bfl:
        batch = Batch.open(ledger, bfl, save_to=folder / "out", retry_ambiguous=retry_ambiguous)
        async with batch:
            await batch.add(dogs())
            try:
                async for outcome in batch.run():
                    outcomes.append(outcome)  # noqa: PERF401 - a comprehension loses those before an error
            except BFLError as exc:
                error = exc
        return outcomes, error, batch.counts()


def rows(folder: Path) -> list[tuple[str, str | None]]:
    """Return the state and the task of each entry, as another process reads them."""
    db = sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)
    try:
        return db.execute("SELECT state, task_id FROM entries ORDER BY id").fetchall()
    finally:
        db.close()


async def check_next_run(folder: Path, api: FakeAPI) -> None:
    """Whatever was refused, the next run finishes, and the one after it has nothing left but what it was told."""
    sent = len(api.posts)
    outcomes, error, counts = await run(folder, api)
    assert error is None
    assert counts["saved"] + counts["ambiguous"] == COUNT
    assert len(set(map(str, prompts(api.posts)))) == len(api.posts), "no request was sent twice"
    unknown = [outcome for outcome in outcomes if outcome.state is EntryState.AMBIGUOUS]
    assert all(type(outcome.error).__name__ == "AmbiguousSubmitError" for outcome in unknown)
    _, error, counts = await run(folder, api, retry_ambiguous=True)
    assert (error, counts["saved"]) == (None, COUNT)
    assert len(api.posts) >= sent


REFUSED: dict[str, Refuses] = {
    "the task's id": lambda state, _: state is EntryState.SUBMITTED,
    "all that has an id": lambda _, facts: "task_id" in facts,
    "all that has a file": lambda _, facts: "file" in facts,
    "all that has a cost": lambda _, facts: "cost" in facts,
    "ready": lambda state, _: state is EntryState.READY,
    "all but the marks": lambda state, _: state is not EntryState.SUBMITTING,
}


@pytest.mark.parametrize("refuses", REFUSED.values(), ids=REFUSED)
async def test_no_refused_change_leaves_a_ledger_that_cannot_be_continued(
    refuses: Refuses, tmp_path: Path
) -> None:
    """A task in flight has its id in the ledger, whichever change was refused; the next run goes on."""
    api = fake()
    await run(tmp_path, api, refuses)
    assert api.posts
    for state, task_id in rows(tmp_path):
        assert (task_id is not None) or state not in ("submitted", "ready", "saved")
    await check_next_run(tmp_path, api)


@pytest.mark.parametrize("seed", range(12))
async def test_changes_refused_at_random_lose_no_request(seed: int, tmp_path: Path) -> None:
    """Any of the changes may fail, in several runs one after another."""
    rng = random.Random(seed)
    api = fake()
    for _ in range(3):
        await run(tmp_path, api, lambda _state, _facts: rng.random() < 0.25)
        assert all(
            task_id or state not in ("submitted", "ready", "saved") for state, task_id in rows(tmp_path)
        )
    await check_next_run(tmp_path, api)


async def test_a_later_change_records_what_an_earlier_one_could_not(tmp_path: Path) -> None:
    """The change to "submitted" fails, the one to "ready" succeeds: no task is in doubt."""
    api = fake()
    outcomes, error, counts = await run(tmp_path, api, REFUSED["the task's id"])
    assert isinstance(error, LedgerError)
    assert counts["ambiguous"] == counts["submitting"] == 0
    assert counts["saved"] == len(api.posts) > 0
    assert all(outcome.ok for outcome in outcomes)
    assert [task_id for state, task_id in rows(tmp_path) if state == "saved"] == list(api.tasks)


async def test_a_task_that_cannot_be_recorded_is_reported_as_such(tmp_path: Path) -> None:
    """Neither the counts nor the outcome promise that the next run fetches it; the outcome has what is known."""
    api = fake()
    outcomes, error, counts = await run(tmp_path, api, REFUSED["all that has an id"])
    assert isinstance(error, LedgerError)
    assert counts["ambiguous"] == len(api.posts) == len(outcomes) > 0
    assert counts["saved"] == counts["ready"] == counts["submitted"] == counts["submitting"] == 0
    for outcome in outcomes:
        assert (outcome.state, type(outcome.error)) == (EntryState.AMBIGUOUS, LedgerError)
        assert str(outcome.task_id) in str(outcome.error)
        assert "paid twice" not in str(outcome.error)
        assert outcome.file is not None
        assert outcome.file.is_file()
    _, _, counts = await run(tmp_path, api)
    assert counts["ambiguous"] == len(outcomes)


@pytest.mark.parametrize("state", ["submitted", "ready"])
@pytest.mark.parametrize("task_id", [None, ""])
async def test_an_entry_in_flight_without_an_id_is_ambiguous_and_stops_nothing(
    state: str, task_id: str | None, tmp_path: Path
) -> None:
    """Whatever an earlier release or a failed run left in the file."""
    ledger = SQLiteLedger(tmp_path / "run.db")
    await ledger.open()
    await ledger.aclose()
    api = fake()
    async with AsyncBFL(transport=api) as bfl, Batch.open(tmp_path / "run.db", bfl) as batch:
        await batch.add(dogs())
    with closing(sqlite3.connect(tmp_path / "run.db")) as db, db:
        db.execute("UPDATE entries SET state = ?, task_id = ? WHERE id IN (1, 4, 5)", (state, task_id))
    db.close()
    outcomes, error, counts = await run(tmp_path, api)
    assert error is None
    assert (counts["ambiguous"], counts["saved"], len(api.posts)) == (3, COUNT - 3, COUNT - 3)
    assert sorted(outcome.index for outcome in outcomes if not outcome.ok) == [0, 3, 4]
    _, _, counts = await run(tmp_path, api, retry_ambiguous=True)
    assert counts["saved"] == COUNT
