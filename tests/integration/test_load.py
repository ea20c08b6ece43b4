"""Many requests through one client: memory stays flat, and work a request does not grow with their number."""

from __future__ import annotations

import time

import pytest

from bfl_async import AsyncBFL, Fixed, Limits
from tests.load import Instant, max_rss_mb, requests

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]


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
