"""A hundred thousand generations through one client, with callers who leave and a server with faults."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bfl_async import AsyncBFL, BFLError, Fixed, Limits, Result, Timeouts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GENERATIONS = 100_000
SLOTS = 64
CALLERS = 128
FAULTS = {
    "submit-reset-before": 0.001,
    "submit-reset-after": 0.001,
    "submit-502-after": 0.001,
    "submit-503-before": 0.002,
    "poll-500": 0.005,
    "poll-reset": 0.002,
    "poll-html": 0.005,
    "poll-not-found": 0.002,
}


@dataclass(frozen=True)
class Server:
    """A sandbox in a process of its own."""

    url: str
    key: str

    def statistics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.url}/sandbox/statistics") as reply:
            found: dict[str, float] = json.load(reply)
            return found

    def post(self, path: str, body: dict[str, float]) -> None:
        urllib.request.urlopen(
            urllib.request.Request(
                self.url + path,
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
        ).close()


@pytest.fixture
def server() -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox", "--speed", "200", "--limit", str(SLOTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    variables = dict(
        process.stdout.readline().strip().removeprefix("export ").split("=", 1) for _ in range(2)
    )
    yield Server(variables["BFL_BASE_URL"], variables["BFL_API_KEY"])
    process.terminate()
    process.communicate(timeout=10)


def resident_mb() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Callers:
    """Callers who come one after the other; a tenth of them leaves within 50 ms."""

    def __init__(self, bfl: AsyncBFL, seed: int) -> None:
        self.bfl = bfl
        self.rng = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.most_slots = 0
        self.resident: list[float] = []  # MB, at each fifth of the way
        self.begun = 0

    async def work(self) -> None:
        while self.begun < GENERATIONS:
            self.begun += 1
            if self.begun % (GENERATIONS // 5) == 0:
                self.resident.append(resident_mb())
            self.ends[await self.one(self.begun)] += 1
            self.most_slots = max(self.most_slots, self.bfl.statistics().slots_taken)

    async def one(self, number: int) -> str:
        call = asyncio.ensure_future(self.bfl.generate("flux-2-klein-4b", prompt=f"prompt number {number}"))
        if self.rng.random() < 0.1:
            asyncio.get_running_loop().call_later(self.rng.random() * 0.05, call.cancel)
        (end,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(end, Result):
            return "ready"
        assert isinstance(end, BFLError | asyncio.CancelledError), repr(end)
        return type(end).__name__


async def test_a_hundred_thousand_generations_leave_memory_flat_slots_exact_and_the_log_quiet(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Invariants 1, 2, 8 and 9, for as long as a busy web worker lives."""
    server.post("/sandbox/faults", FAULTS)
    server.post("/sandbox/settings", {"credits": 10.0 * GENERATIONS})
    seed = random.SystemRandom().getrandbits(32)
    sys.stdout.write(f"seed {seed}\n")  # shown where the test fails
    limits = Limits(account=SLOTS, unknown_s=2.0)  # a task's time at this speed is some ms
    client = AsyncBFL(
        server.key, base_url=server.url, limits=limits, polling=Fixed(0.02), timeouts=Timeouts(reply=20)
    )
    with caplog.at_level(logging.WARNING):
        async with client as bfl:
            callers = Callers(bfl, seed)
            await asyncio.gather(*(callers.work() for _ in range(CALLERS)))
            assert await bfl.drain(60)
            await asyncio.sleep(limits.unknown_s or 0.0)
            ours, theirs = bfl.statistics(), server.statistics()
    assert sum(callers.ends.values()) == callers.begun >= GENERATIONS
    assert ours.slots_taken == theirs["active"] == 0
    assert callers.most_slots <= SLOTS
    assert (ours.refused_429, theirs["refused_429"]) == (0, 0)
    assert theirs["accepted"] <= ours.submitted + ours.ambiguous <= callers.begun
    assert ours.ready + ours.moderated + ours.failed + ours.ambiguous + ours.withdrawn == callers.begun
    assert callers.ends["ready"] > 0.85 * callers.begun
    assert callers.resident[-1] - callers.resident[0] < 10, callers.resident
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
