"""Large batches: fast, in little memory, and resumed at once."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed
from bfl_async.ledger import SQLiteLedger
from tests.load import Instant, max_rss_mb, requests

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]


async def test_a_hundred_thousand_requests_are_noted_quickly_in_flat_memory(tmp_path: Path) -> None:
    """Each is added, marked, accepted and ended durably; expected: >= 5,000 such changes a second, < 60 MB."""
    transport = Instant()
    count = 100_000
    async with AsyncBFL(transport=transport, polling=Fixed(1e-4), limits=200) as bfl:
        async with Batch.open(tmp_path / "warm.db", bfl) as batch:
            await batch.add(requests(500))
            assert len([outcome async for outcome in batch.run()]) == 500
        before = max_rss_mb()
        began = time.perf_counter()
        async with Batch.open(tmp_path / "run.db", bfl) as batch:
            assert await batch.add(requests(count)) == count
            done = 0
            async for outcome in batch.run():
                assert outcome.ok
                done += 1
            assert batch.counts()["ready"] == done == count
        seconds = time.perf_counter() - began
    grown = max_rss_mb() - before
    changes = 4 * count / seconds  # added, submitting, submitted, ready
    sys.stdout.write(f"{changes:.0f} durable changes/s ({count / seconds:.0f} requests/s), {grown:.1f} MB\n")
    assert grown < 60
    assert changes > 2_500, "half of what is expected: the machine may be busy"


async def test_a_million_entries_are_resumed_within_two_seconds(tmp_path: Path) -> None:
    """From opening to the first POST; expected: < 2 s."""
    path = tmp_path / "run.db"
    ledger = SQLiteLedger(path)
    await ledger.open()
    await ledger.aclose()
    await asyncio.to_thread(_fill, path, 1_000_000)
    transport = Instant()
    before = max_rss_mb()
    began = time.perf_counter()
    async with (
        AsyncBFL(transport=transport, polling=Fixed(1e-4)) as bfl,
        Batch.open(path, bfl, save_to=tmp_path / "out") as batch,
    ):
        waiting = asyncio.ensure_future(anext(batch.run()))
        while transport.first_at is None:  # noqa: ASYNC110 - the transport has no event
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert transport.first_at is not None
    seconds = transport.first_at - began
    grown = max_rss_mb() - before
    print(f"first POST after {seconds:.2f} s, {grown:.1f} MB")  # noqa: T201 - the figures
    assert seconds < 2.0
    assert grown < 60


def _fill(path: Path, count: int) -> None:
    """Half of the entries are saved, half are queued."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA synchronous = OFF")
    db.executemany(
        "INSERT INTO entries (key, state, model, fields, task_id, cost, listed, file, result) "
        "VALUES (?, ?, 'flux-dev', ?, ?, 2.5, 1, 'x.jpg', '{}')",
        (
            (
                f"{n:032x}",
                "saved" if n < count // 2 else "queued",
                f'{{"prompt": "prompt number {n}, and some words"}}',
                f"task-{n}" if n < count // 2 else None,
            )
            for n in range(count)
        ),
    )
    db.commit()
    db.close()
