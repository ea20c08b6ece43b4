"""What a Redis that is far away, or whose clock is set, does to the limiter on it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from bfl_async.limiter import redis_store
from bfl_async.limiter.sqlite_book import Book as FileBook
from bfl_async.limiter.steps import Batch, Op
from tests.contract.limiters import Book, Owner, redis_server
from tests.contract.ways import way_to
from tests.waiting import wait_until

__all__ = ["redis_server"]  # a fixture


# --- how far it is ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.waits
async def test_a_redis_that_is_far_away_serves_all_processes(redis_server: RedisServer) -> None:
    """Round trips of 1.1 s: a grant waits for its process to fetch it, as long as that one needs."""
    async with way_to(redis_server.port, delay_s=0.55) as way:
        book = Book("redis", way.url)
        limiters = await asyncio.gather(*(book.limiter(2) for _ in range(3)))
        grants: list[str] = []
        served = {n: 0 for n in range(3)}

        async def work(n: int) -> None:
            while True:
                owner = Owner(str(n), grants)
                limiters[n].enqueue(owner.lease)
                await wait_until(owner.has_slot, timeout=25)
                await asyncio.sleep(0.5)
                limiters[n].release(owner.lease)
                served[n] += 1

        workers = [asyncio.create_task(work(n)) for n in range(3) for _ in range(2)]
        await asyncio.sleep(20)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await book.aclose()
    assert min(served.values()) >= 1, served


# --- what its clock does ------------------------------------------------------------------------------------


@dataclass
class BentClock:
    """The clock of a server, for the limiters of one test."""

    server: RedisServer
    key: str

    def step(self, seconds: float) -> None:
        self.server.command("incrbyfloat", self.key, str(seconds))


@pytest.fixture
def clock(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BentClock:
    """The script asks this clock in place of the true one."""
    key = f"clock:{tmp_path.name}"
    text = Path(redis_store.__file__).with_name("book.lua").read_text("utf-8")
    line = "local now = tonumber(time[1])"
    assert line in text
    tmp_path.joinpath("book.lua").write_text(
        text.replace(line, f"{line} + tonumber(call('GET', '{key}') or '0')"), "utf-8"
    )
    monkeypatch.setattr(redis_store, "files", lambda _: tmp_path)
    return BentClock(redis_server, key)


@pytest.mark.slow
@pytest.mark.parametrize("step_s", [-7_200.0, -30.0, 50.0, 7_200.0])
async def test_a_step_of_the_clock_of_redis_neither_stops_nor_floods_the_line(
    step_s: float, clock: BentClock
) -> None:
    """Quiet holders keep their slots, and those of a dead process come free in time."""
    book = Book("redis", clock.server.url)
    holder, other = await book.limiter(2), await book.limiter(2, lease_s=60)
    held, doomed = Owner("held", []), Owner("doomed", [])
    holder.enqueue(held.lease)
    await holder.flush()
    peer = await book.peer(2, lease_s=60)
    peer.do("flush")
    await peer.wait_for("flushed")
    clock.step(step_s)
    other.enqueue(doomed.lease)
    await wait_until(doomed.has_slot, timeout=6)
    waiting = Owner("waiting", [])
    other.enqueue(waiting.lease)
    await asyncio.sleep(4)
    assert not waiting.has_slot()
    assert other.statistics()["account"].taken == 2
    holder.release(held.lease)
    await wait_until(waiting.has_slot)
    await book.aclose()


@pytest.mark.slow
async def test_a_pause_ends_though_the_clock_steps_back_within_it(clock: BentClock) -> None:
    """The pause after a 429 is as long as it was, and not by the step longer."""
    book = Book("redis", clock.server.url)
    limiter = await book.limiter(1)
    owner = Owner("refused", [])
    limiter.enqueue(owner.lease)
    await limiter.flush()
    limiter.refuse(owner.lease, retry_after_s=1.0)
    await limiter.flush()
    clock.step(-5_000)
    await wait_until(owner.has_slot, timeout=6)
    await book.aclose()


@pytest.mark.slow
async def test_a_dead_process_gives_its_slot_back_though_the_clock_steps_back(clock: BentClock) -> None:
    """Within one lease time."""
    book = Book("redis", clock.server.url)
    limiter = await book.limiter(1)
    peer = await book.peer(1, lease_s=4)
    await peer.hold("task")
    peer.kill()
    waiting = Owner("waiting", [])
    limiter.enqueue(waiting.lease)
    await limiter.flush()
    clock.step(-10_000)
    await wait_until(waiting.has_slot, timeout=8)
    await book.aclose()


def test_a_pause_lasts_an_hour_at_most(tmp_path: Path) -> None:
    """In a file too, whatever a server asks for: a moment that is stored is bounded."""
    batch = Batch("a", 1, True, "", {"account": 1}, 10_000.0, [["w", "one", 0, 0, ["account"]]], waiting=1)
    refused: Op = ["n", "one", 1e9, 0, 0, ["account"]]
    with closing(FileBook(tmp_path / "book.db", "a")) as book:
        book.step(batch, 1.0)
        reply = book.step(replace(batch, seq=2, full=False, ops=[refused]), 1.0)
        assert reply.next_s == 3_600
        assert book.step(replace(batch, seq=3, full=False, ops=[]), 3_602.0).grants


async def test_a_pause_that_was_stored_too_long_is_cut_to_an_hour(redis_server: RedisServer) -> None:
    """By whatever it was written: the other side of the same rule."""
    book = Book("redis", redis_server.url)
    limiter = await book.limiter(1)
    (key,) = [key for key in redis_server.command("keys", "bfl-async:*:pools") if book.account in key]
    pool = json.loads(redis_server.command("hget", key, "account")[0])
    redis_server.command(
        "hset", key, "account", json.dumps(pool | {"paused": time.time() + 1e9, "raise": 9e9})
    )
    limiter.resize(1)
    await limiter.flush()
    pool = json.loads(redis_server.command("hget", key, "account")[0])
    assert 3_590 < pool["paused"] - time.time() <= 3_600
    assert pool["raise"] - time.time() <= 3_660
    await book.aclose()
