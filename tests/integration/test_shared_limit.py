"""Whole clients in several processes on one account, against a server in a process of its own, in real time."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from benchmarks.redis_server import MISSING, RedisServer
from benchmarks.shared_limit import SLOTS, Run, idle_percent, measure_row, operations_per_s
from bfl_async import AsyncBFL, request
from bfl_async.limiter import FileLimiter, RedisLimiter
from bfl_async.sandbox import Sandbox
from tests.redis import redis_or_skip

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(400)]

PROCESSES, TASKS, KILL_TASKS, SEED = 4, 250, 110, 11


redis = pytest.fixture(scope="module")(redis_or_skip)


def run_row(row: str, redis: RedisServer | None, folder: Path) -> Run:
    return measure_row(
        row, redis, str(folder), processes=PROCESSES, tasks=TASKS, kill_tasks=KILL_TASKS, seed=SEED
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process with all the tasks."""
    return run_row("one", None, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("kind", ["redis", "file"])
def test_four_processes_use_one_account_as_well_and_as_politely_as_one(
    kind: str, alone: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No 429 of our own making, at most 5 % less efficient, and a fair share for each."""
    run = run_row(kind, request.getfixturevalue("redis") if kind == "redis" else None, tmp_path)
    assert sum(map(len, run.ends)) == PROCESSES * TASKS
    assert (run.refused_429, run.peak) == (0, SLOTS)
    assert run.efficiency >= 0.95 * alone.efficiency, (run, alone)
    assert run.share >= 0.8


def test_killed_processes_never_make_the_others_pass_the_limit(redis: RedisServer, tmp_path: Path) -> None:
    """One is killed each 5 s; what it held stays taken until its task is attached again, or its lease has run out."""
    undisturbed = run_row("redis, no kills", redis, tmp_path)
    run = run_row("redis, kills", redis, tmp_path)
    assert run.kills >= 5
    assert run.peak <= SLOTS
    assert run.efficiency >= 0.8 * undisturbed.efficiency, (run, undisturbed)


@pytest.mark.waits
async def test_redis_killed_in_mid_run_loses_no_request_and_passes_no_limit(tmp_path: Path) -> None:
    """It comes back empty: nothing new is granted before all have said what they hold."""
    if not RedisServer.is_there():
        pytest.skip(MISSING)
    redis = RedisServer(tmp_path)
    redis.start()
    limiters = [RedisLimiter(redis.url, SLOTS) for _ in range(3)]
    try:
        # The server's own limit is out of the way: its peak shows what we would have done to it.
        async with (
            Sandbox(limit=1_000, service_s=lambda *_: 0.5) as sandbox,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = []
            for limiter in limiters:
                await stack.enter_async_context(limiter)
                clients.append(
                    await stack.enter_async_context(
                        AsyncBFL(sandbox.key, base_url=sandbox.url, limiter=limiter)
                    )
                )
            runs = [
                asyncio.ensure_future(bfl.gather([request("flux-dev", prompt=str(n)) for n in range(80)]))
                for bfl in clients
            ]
            for _ in range(3):
                await asyncio.sleep(2)
                redis.kill()
                await asyncio.sleep(1)
                redis.start()
                await asyncio.sleep(3)
            results = [result for results in await asyncio.gather(*runs) for result in results]
            counts = sandbox.statistics()
    finally:
        redis.kill()
    assert len({result.task_id for result in results}) == 240
    assert counts.accepted == 240
    assert counts.peak_active <= SLOTS


@pytest.mark.parametrize("kind", ["redis", "file"])
async def test_a_limiter_is_fast_and_waiting_costs_next_to_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At least 3,000 lease operations a second with 50 waiters; under 1 % of a core to hold a slot and to wait."""

    def make() -> FileLimiter | RedisLimiter:
        return FileLimiter(tmp_path) if kind == "file" else RedisLimiter(request.getfixturevalue("redis").url)

    assert await operations_per_s(make(), 3) >= 3_000
    assert await idle_percent(make(), make(), 10) < 1
