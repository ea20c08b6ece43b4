"""Tasks in flight are fetched first: a long plan does not hold them up, and a signal ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, request
from bfl_async.cli.files import InputError
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.planning import LedgerPlan, PlanOptions, make_plan
from bfl_async.cli.rows import Rows
from bfl_async.cli.run_batch import run_batch
from tests.fake import FakeAPI, prompts

COUNT = 8


def api() -> FakeAPI:
    return FakeAPI(service_s=0.05, submit_s=0.002, poll_s=0.001, limit=3)


def client(server: FakeAPI) -> AsyncBFL:
    return AsyncBFL(transport=server, limits=3, polling=Fixed(0.01))


def cats() -> Iterator[ImageRequest]:
    return (request("flux-dev", prompt=f"cat {n}") for n in range(COUNT))


async def leave_in_flight(folder: Path, server: FakeAPI) -> int:
    """Leave a run with tasks at the server; return how many."""
    async with client(server) as bfl, Batch.open(folder / "run.db", bfl, save_to=folder / "out") as batch:
        await batch.add(cats())
        waiting = asyncio.ensure_future(anext(batch.run()))
        while batch.counts()["submitted"] < 3:  # noqa: ASYNC110 - the ledger's thread gives no event
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    return len(server.tasks)


async def test_a_run_sends_nothing_before_it_may_and_fetches_meanwhile(tmp_path: Path) -> None:
    """What ends as failed meanwhile is not sent again by this run, although failed ones are."""
    server = api()
    sent = await leave_in_flight(tmp_path, server)
    server.end("task-1", "Error")
    async with (
        client(server) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", retry_failed=True) as batch,
    ):
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run = batch.run(sends_after=accepted)
        states = sorted([(await anext(run)).state for _ in range(sent)])
        assert states == ["failed", "saved", "saved"]
        assert len(server.posts) == sent
        plan = await batch.plan(cats())
        assert (plan.queued.count, plan.total.count) == (COUNT - sent, COUNT - sent)
        accepted.set_result(None)
        assert len([outcome async for outcome in run]) == COUNT - sent
    assert len(server.posts) == COUNT


@pytest.mark.parametrize("is_refused", [False, True])
async def test_command_plans_beside_the_tasks_in_flight(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], is_refused: bool
) -> None:
    """They come home while it plans, also if the plan is then refused; nothing is sent before it was accepted."""
    server = api()
    sent = await leave_in_flight(tmp_path, server)
    path = tmp_path / "p.txt"
    path.write_text("".join(f"cat {n}\n" for n in range(COUNT)))
    rows = Rows(
        str(path), "text", model="flux-dev", fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
        repeat=1,
    )  # fmt: skip

    async def plan_beside(opened: Batch) -> LedgerPlan:
        while opened.counts()["saved"] < sent:  # noqa: ASYNC110 - the ledger's thread gives no event
            await asyncio.sleep(0.005)
        assert len(server.posts) == sent
        if is_refused:
            raise InputError("too dear")
        return make_plan(rows, tmp_path / "run.db", PlanOptions(), spent=opened._shelf.spent)

    async with client(server) as bfl:
        batch = Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out", and_earlier=False)
        code = await run_batch(
            bfl, batch, rows, planned=None, plan_beside=plan_beside, interrupts=Interrupts()
        )
    assert code == (2 if is_refused else 0)
    assert len(server.posts) == (sent if is_refused else COUNT)
    assert len(set(prompts(server.posts))) == len(server.posts)
    assert ("stopped: too dear" in capfd.readouterr().err) == is_refused


def test_a_signal_ends_the_planning(tmp_path: Path) -> None:
    """After the chunk that it is at, not after the file."""
    path = tmp_path / "p.txt"
    path.write_text("a\n" * 20_000)
    read = 0

    class Counted(Rows):
        def check(self) -> Iterator[object]:  # type: ignore[override]  # requests
            nonlocal read
            for one in super().check():
                read += 1
                yield one

    rows = Counted(
        str(path), "text", model="flux-dev", fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
        repeat=1,
    )  # fmt: skip
    with pytest.raises(InputError, match="nothing was sent"):
        make_plan(rows, tmp_path / "run.db", PlanOptions(), lambda: read > 2_000)
    assert read < 4_000
