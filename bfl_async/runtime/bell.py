"""One wake-up for all who wait for a change: `Bell`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def wake(future: asyncio.Future[None]) -> None:
    """End a wait, unless it has ended already."""
    if not future.done():
        future.set_result(None)


class Bell:
    """Rung in a synchronous step after something has changed; every coroutine that waits then looks again.

    A ring wakes those who wait at that moment and nobody later, so a waiter looks first and waits then, without an
    await in between. It belongs to one event loop.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all who wait. They run in a later turn of the loop."""
        for waiter in self._waiters:
            wake(waiter)

    async def wait(self) -> None:
        """Wait for the next ring.

        Cancellation: Ends the wait; nothing is kept.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def wait_until(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Wait until `ready()`, which is asked now and after each ring; False if the deadline came first.

        Args:
            ready: Asked at the deadline once more.
            deadline: On the loop's clock; None waits without an end.
        Cancellation: Ends the wait; nothing is kept.
        """
        is_late = False

        def expire() -> None:
            nonlocal is_late
            is_late = True
            self.ring()

        timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, expire)
        try:
            while not ready():
                if is_late:
                    return False
                await self.wait()
            return True
        finally:
            if timer is not None:
                timer.cancel()
