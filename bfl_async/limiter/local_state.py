"""What a `LocalLimiter` keeps of pools, of leases that wait, and of slots that are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bfl_async.limiter.learning import PoolRule
from bfl_async.protocols.limiter import Lease
from bfl_async.runtime.ordered import OrderedSet


class Pool(PoolRule):
    """One limit, with the timers for the moments of its rule. Written by `LocalLimiter` only."""

    __slots__ = ("look_timer", "name", "pause_timer", "raise_timer", "search_watchers")

    def __init__(self, limit: int, *, name: str, search_watchers: OrderedSet[Callable[[], None]]) -> None:
        super().__init__(limit, limit)
        self.name: str = name
        # Called each time the search has found something. Shared with the limiter, which others add to.
        self.search_watchers: OrderedSet[Callable[[], None]] = search_watchers
        # Fires at `paused_until`, unless the limiter is closed.
        self.pause_timer: asyncio.TimerHandle | None = None
        # Fires at the next raise, unless the limiter is closed.
        self.raise_timer: asyncio.TimerHandle | None = None
        # Fires when a full try may count as proven, unless the limiter is closed.
        self.look_timer: asyncio.TimerHandle | None = None

    def look(self, now: float) -> None:
        """Raise the limit if a try is proven by now; see `PoolRule.look`."""
        limit = self.limit
        super().look(now)
        if self.limit != limit:
            self._notify()

    def refused(self, now: float, retry_after_s: float | None) -> float | None:
        """Take a 429; see `PoolRule.refused`."""
        search = self.search
        before = (0, 0.0) if search is None else (self.limit, search.try_at)
        until = super().refused(now, retry_after_s)
        if search is not None and (self.limit, search.try_at) != before:
            self._notify()
        return until

    def _notify(self) -> None:
        for watcher in list(self.search_watchers):
            watcher()


class Place:
    """Where a lease stands in a heap. Removal only marks it dead; the heap drops it when it comes up."""

    __slots__ = ("lease", "pools", "rank")

    def __init__(self, lease: Lease, pools: tuple[str, ...], rank: tuple[int, int]) -> None:
        self.lease: Lease | None = lease
        # Those of the lease that have a limit; also the name of its heap.
        self.pools: tuple[str, ...] = pools
        self.rank: tuple[int, int] = rank

    def __lt__(self, other: Place) -> bool:
        return self.rank < other.rank


class Slot:
    """A slot in each of `pools`, and the leases that share it. Written by `LocalLimiter` only."""

    __slots__ = ("expiry", "leases", "pools", "task_id")

    def __init__(self, pools: tuple[str, ...]) -> None:
        self.pools: tuple[str, ...] = pools
        self.leases: OrderedSet[Lease] = OrderedSet()
        self.task_id: str | None = None
        # Set while no owner follows the task: there is one lease then.
        self.expiry: asyncio.TimerHandle | None = None
