"""What blocks, done in threads that a signal leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do what blocks in a thread of its own, which a signal leaves behind."""
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


async def in_thread_until_stopped(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Do work that blocks in a thread; a signal makes the function that it is given return True, which ends it."""
    stopped = threading.Event()
    try:
        return await in_thread(lambda: work(stopped.is_set))
    finally:
        stopped.set()
