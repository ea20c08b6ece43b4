"""What the tests of many requests share: a transport that takes no time, and requests without end."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator

from bfl_async import FluxDev
from bfl_async.types import Reply
from tests.fake import reply


class Instant:
    """A transport whose tasks are Ready at the first poll."""

    def __init__(self) -> None:
        self.accepted = 0
        self.first_at: float | None = None

    async def submit(self, path: str, body: bytes) -> Reply:
        self.first_at = self.first_at or time.perf_counter()
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
