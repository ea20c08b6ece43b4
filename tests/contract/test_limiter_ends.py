"""Opening and closing a shared limiter end by a clock of our own, whatever the code beneath them does."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from bfl_async import LimiterError
from bfl_async.limiter import FileLimiter, RedisLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.limiter.steps import Batch, StepReply, Store
from bfl_async.types import PoolStatistics
from tests.contract.limiters import Book, redis_server

__all__ = ["redis_server"]  # a fixture


class StubbornStore:
    """A book whose calls swallow every cancellation, until the test lets them go."""

    def __init__(self, stuck: str) -> None:
        self.stuck = stuck
        self.let_go = asyncio.Event()

    async def _hang(self) -> None:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                # As `asyncio.timeout` does: nothing is left that tells of the cancellation.
                task.uncancel()

    async def step(self, batch: Batch) -> StepReply:
        if self.stuck == "step":
            await self._hang()
        return StepReply("epoch", False, [], [], [], {"account": PoolStatistics(1, 1, 0, 0)}, None)

    async def aclose(self) -> None:
        if self.stuck == "aclose":
            await self._hang()


class StubbornLimiter(SharedLimiter):
    """A limiter on it."""

    def __init__(self, stuck: str, *, away: str = "wait") -> None:
        super().__init__(1, lease_s=60, away=away)
        self.stuck = stuck
        self.stores: list[StubbornStore] = []
        self.use_account("account")

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        self.stores.append(StubbornStore(self.stuck))
        return self.stores[-1]

    def _where(self) -> str:
        return "the test"


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("stuck", ["step", "aclose"])
async def test_closing_ends_within_ten_seconds_though_nothing_ends_that_it_calls(
    stuck: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be ended is left behind and told of; it ends in silence when it can."""
    before = asyncio.all_tasks()
    limiter = StubbornLimiter(stuck)
    opening = asyncio.create_task(limiter.open())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await limiter.aclose()
    assert asyncio.get_running_loop().time() - began <= 10
    await asyncio.gather(opening, return_exceptions=True)
    assert "left behind" in caplog.text
    limiter.stores[0].let_go.set()
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == before
    # It is as good as new.
    limiter.stuck = "nothing"
    await limiter.open()
    await limiter.aclose()


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("away", ["wait", "fail"])
async def test_opening_ends_within_twenty_seconds_though_the_first_step_hangs(away: str) -> None:
    """As when Redis is away: with "wait" the limiter is open, and its requests wait."""
    limiter = StubbornLimiter("step", away=away)
    if away == "wait":
        await limiter.open()
    else:
        with pytest.raises(LimiterError, match="did not answer within 20 s"):
            await limiter.open()
    assert 19 < asyncio.get_running_loop().time() <= 20 + 10
    await limiter.aclose()
    limiter.stores[0].let_go.set()
    await asyncio.sleep(0.1)


@pytest.fixture
def refusing_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """One that answers, and refuses to write."""
    redis_server.command("config", "set", "min-replicas-to-write", "1")
    yield redis_server
    redis_server.command("config", "set", "min-replicas-to-write", "0")


async def test_opening_and_closing_end_where_redis_refuses_each_step(refusing_redis: RedisServer) -> None:
    """redis-py sends within `asyncio.wait_for`, which may swallow a cancellation in Python 3.11."""
    for _ in range(3):
        limiter = RedisLimiter(refusing_redis.url, 4)
        limiter.use_account("account")
        async with asyncio.timeout(10):
            with pytest.raises(LimiterError, match="NOREPLICAS"):
                await limiter.open()
            await limiter.aclose()


@pytest.mark.slow
async def test_closing_a_file_ends_while_another_process_keeps_it_locked(tmp_path: Path) -> None:
    """SQLite waits for the lock in a thread that nobody can interrupt."""
    book = Book("file", str(tmp_path))
    limiter = await book.limiter(1)
    assert isinstance(limiter, FileLimiter)
    (path,) = tmp_path.glob("*.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        began = time.monotonic()
        limiter.resize(2)
        await limiter.aclose()
        assert time.monotonic() - began < 10
    finally:
        other.rollback()
        other.close()
