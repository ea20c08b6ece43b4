"""An account's limit is found out over real sockets: by one process, and by four that share it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bfl_async.sandbox import Sandbox
from tests.redis import redis_or_skip

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.waits, pytest.mark.timeout(200)]

TRUE_LIMIT, SPAN_S = 24, 60.0
# Open requests of all processes: more than the account may have active.
OPEN = 40


redis = pytest.fixture(redis_or_skip)


async def run_processes(server: Sandbox, number: int, kind: str, place: str) -> list[dict[str, int]]:
    """Run processes at a time; return what each of them counted."""
    command = [sys.executable, "-m", "tests.integration.discovering", server.url, server.key, kind, place]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, str(OPEN // number), str(SPAN_S), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(number)
    ]
    try:
        outputs = await asyncio.gather(*(process.communicate() for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    return [json.loads(output) for output, _ in outputs]


@pytest.mark.parametrize(("kind", "number"), [("local", 1), ("file", 4), ("redis", 4)])
async def test_a_limit_of_24_is_found_within_a_minute_for_three_refusals_at_most(
    kind: str, number: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The refusals are those of all processes together, and the next one begins with what they have found."""
    place = request.getfixturevalue("redis").url if kind == "redis" else str(tmp_path)
    async with Sandbox(limit=TRUE_LIMIT, submit_rtt_s=0.3, poll_rtt_s=0.1) as server:
        found = await run_processes(server, number, kind, place)
        seen = server.statistics()
    assert seen.peak_active == TRUE_LIMIT
    assert {each["limit"] for each in found} == {TRUE_LIMIT}
    assert 1 <= seen.refused_429 <= 3
    assert seen.refused_429 == sum(each["refused"] for each in found)
    assert seen.accepted == sum(each["ended"] for each in found)
    # Each has had its share.
    assert min(each["ended"] for each in found) >= 0.5 * seen.accepted / number
