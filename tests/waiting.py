"""Waiting for what no event of the loop tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def wait_until(condition: Callable[[], bool], *, timeout: float = 10.0) -> None:
    """Look again and again."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - another process, a server or a database sets no event here
            await asyncio.sleep(0.005)
