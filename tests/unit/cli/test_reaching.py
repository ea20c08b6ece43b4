"""A server that gives no answer, as the commands that wait for it show it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bfl_async import Batch, BFLError, ConnectError, request
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.live_line import line_of
from bfl_async.cli.reaching import Reaching
from bfl_async.cli.rows import Rows
from bfl_async.cli.run_batch import run_batch
from bfl_async.types import Reply
from tests.fake import FakeAPI, reply

DOWN = ConnectError("no connection to https://api.bfl.ai: Connection refused; nothing was sent")
WAITS = "trying to reach the server (no connection to https://api.bfl.ai: Connection refused)"


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(DOWN, "Connection refused"), (reply(502, "<html>"), "HTTP 502"), (reply(200, "<html>"), "no status")],
    ids=["down", "bad gateway", "a page"],
)
async def test_polls_without_answers_are_an_outage_until_one_has_one(
    answer: BFLError | Reply, reason: str
) -> None:
    """A single one among others is not. Whether the task goes on is not known, so the line does not say it."""
    api, reaching = FakeAPI(service_s=60), Reaching()
    async with api.client(observer=reaching) as bfl:
        handles = [await bfl.submit(request("flux-dev", prompt="a cat")) for _ in range(2)]
        api.script_polls(answer)
        await asyncio.sleep(5)
        assert line_of(handles, 5, verbose=False, is_lost=reaching.is_lost) == "2 generating · 5 s"
        api.script_polls(*[answer] * 100)
        await asyncio.sleep(4)
        assert reaching.is_lost
        assert reason in reaching.reason()
        assert "nothing was sent" not in reaching.reason()
        assert (
            line_of(handles, 9, verbose=False, is_lost=reaching.is_lost)
            == "2 trying to reach the server · 9 s"
        )
        api.poll_script.clear()
        await asyncio.sleep(20)
        assert line_of(handles, 29, verbose=False, is_lost=reaching.is_lost) == "2 generating · 29 s"


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize(
    ("answer", "is_lost"), [(DOWN, True), (reply(503, {}), True), (reply(429, {}), False)]
)
async def test_submits_without_answers_are_an_outage(answer: BFLError | Reply, is_lost: bool) -> None:
    """A full account is no outage: the server has answered."""
    api, reaching = FakeAPI(), Reaching()
    async with api.client(observer=reaching) as bfl:
        api.script_submits(*[answer] * 100)
        handle = bfl.submit_nowait(request("flux-dev", prompt="a cat"))
        await asyncio.sleep(5)
        assert reaching.is_lost is is_lost
        handle.withdraw()


async def test_batch_says_that_the_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, and once that it is back; what runs at the server is not lost."""
    monkeypatch.setattr("bfl_async.cli.run_batch._WATCH_S", 0.02)
    monkeypatch.setattr("bfl_async.cli.reaching._MOMENT_S", 0.01)
    api, reaching = FakeAPI(service_s=0.2, submit_s=0.001, poll_s=0.001), Reaching()
    api.script_polls(*[DOWN] * 4)
    path = tmp_path / "p.txt"
    path.write_text("a cat\n")
    rows = Rows(
        str(path), "text", model="flux-dev", fields={}, folder=tmp_path, allow_outside=False, columns={}, prompt=None,
        repeat=1,
    )  # fmt: skip
    async with api.client(interval=0.02, observer=reaching) as bfl:
        batch = Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path)
        code = await run_batch(bfl, batch, rows, planned=None, interrupts=Interrupts(), reaching=reaching)
    assert code == 0
    assert capsys.readouterr().err.splitlines()[:2] == [WAITS, "the server answers again"]
