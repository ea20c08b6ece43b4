"""Many requests through one client: memory stays flat, and work a request does not grow with their number."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator

import pytest

from bfl_async import AsyncBFL, Fixed, FluxDev, Limits
from bfl_async.types import Reply
from tests.fake import reply

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Instant:
    """A transport whose tasks are Ready at the first poll."""

    def __init__(self) -> None:
        self.accepted = 0

    async def submit(self, path: str, body: bytes) -> Reply:
        self.accepted += 1
        await asyncio.sleep(0)
        return reply(200, {"id": f"t{self.accepted}", "polling_url": "https://api.bfl.ai/x", "cost": 1})

    async def poll(self, url: str) -> Reply:
        await asyncio.sleep(0)
        return reply(200, {"id": "t", "status": "Ready", "result": {"sample": "https://delivery.bfl.ai/x"}})

    async def download(self, url: str, *, timeout: float) -> Reply:
        raise AssertionError("nothing is downloaded here")

    async def aclose(self) -> None:
        pass


def max_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def requests(count: int) -> Iterator[FluxDev]:
    for n in range(count):
        yield FluxDev(prompt=f"prompt number {n}, and some words to make it as long as prompts are")


async def test_stream_of_a_hundred_thousand_prompts_has_flat_memory() -> None:
    """Invariant 9: a stream holds only its window."""
    transport = Instant()
    async with AsyncBFL(transport=transport, polling=Fixed(1e-4)) as bfl:
        async for outcome in bfl.stream(requests(5_000)):
            assert outcome.ok
        before = max_rss_mb()
        began = time.perf_counter()
        count = 0
        async for outcome in bfl.stream(requests(100_000)):
            assert outcome.ok
            count += 1
        assert count == 100_000
        assert max_rss_mb() - before < 10
        assert bfl.statistics().ready == 105_000
        assert time.perf_counter() - began < 300, "not a measurement: a bound against quadratic work"


@pytest.mark.parametrize("slots", [12, 1_000])
async def test_work_a_request_does_not_grow_with_the_queue(slots: int) -> None:
    """A queue of 50,000 costs no more a request than one of 2,000, but for the heap's logarithm."""

    async def seconds_a_request(count: int) -> float:
        transport = Instant()
        async with AsyncBFL(transport=transport, polling=Fixed(1e-4), limits=Limits(account=slots)) as bfl:
            began = time.perf_counter()
            await bfl.gather(list(requests(count)))
            return (time.perf_counter() - began) / count

    await seconds_a_request(2_000)
    small = await seconds_a_request(2_000)
    large = await seconds_a_request(50_000)
    assert large < 4 * small, "linear growth would be a factor of 25"
