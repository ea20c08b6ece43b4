"""A program whose worker threads are all taken."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread

from tests.waiting import wait_until


@asynccontextmanager
async def all_threads_taken() -> AsyncIterator[None]:
    """Within: every thread of anyio's default limiter and of asyncio's default executor waits for the end.

    Such threads are the synchronous endpoints of a web application that call back into the loop and wait for us.
    """
    end = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[bool]] = [
        asyncio.ensure_future(anyio.to_thread.run_sync(end.wait)) for _ in range(int(limiter.total_tokens))
    ]
    # More than the executor has threads: the rest stands in its queue.
    waiting += [loop.run_in_executor(None, end.wait) for _ in range(2 * (os.cpu_count() or 1) + 40)]
    try:
        await wait_until(lambda: limiter.available_tokens == 0)
        yield
    finally:
        end.set()
        await asyncio.gather(*waiting)
