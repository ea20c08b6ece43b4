"""A Redis for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.redis_server import MISSING, RedisServer, running_redis


def redis_or_skip() -> Iterator[RedisServer]:
    """Yield one that is old enough to grant at once; skip where Redis is not installed. To be made a fixture."""
    if not RedisServer.is_there():
        pytest.skip(MISSING)
    with running_redis() as server:
        yield server
