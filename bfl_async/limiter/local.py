"""The limiter of one process: occupancy by pool, changed in synchronous steps only.

The queue. Leases wait in one heap for each distinct set of pools (there are two or three of these), ordered
by priority, then arrival. Each step grants the best head among the heaps whose pools all have room, so a
request whose narrower pool is full is passed over without a search and keeps its place. A grant is a callback
and no future: it happens in the step that made the room, so no cancelled waiter can swallow it, and the next
submit starts in the loop turn in which a slot was freed.

The working limit. A 429 is about the narrowest pool of the refused lease. In one step the slots of the lease are
freed, the pool's rule (`learning.py`) lowers the working limit, and the lease goes back to its place. The moments that
the rule gives, the end of a pause and the next raise, are timers here.

One slot for each task. The server counts a task once in each of its pools, however many leases name it: one whose
caller gave up on it and one that was attached later, or those of several clients. All leases of a task share its
slot. The end of the task frees it, whichever lease reports that; a lease whose owner only stops following the task
leaves the slot to the others. A slot whose task is not followed any more is held for a while, and a lease that
attaches the task meanwhile takes it over.

Early grants. Who knows the tasks may say how many slots will be free in a moment. A lease that is granted for one
counts from then on as any other, so that the pool holds more than its limit until the slot is freed, and that
release grants nothing. Its refusal only says that the slot was not free yet.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from bfl_async._config import ACCOUNT, Limits, limits_from
from bfl_async.errors import ConfigError, QueueFullError
from bfl_async.limiter._leases import closed_before_grant, closed_first, fail
from bfl_async.limiter.local_state import Place, Pool, Slot
from bfl_async.protocols.limiter import Lease
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.types.statistics import PoolStatistics

if TYPE_CHECKING:
    from bfl_async.limiter.search import Found

_NOTHING: Mapping[str, int] = MappingProxyType({})


class LocalLimiter:
    """Grants leases within one event loop. Give one to several clients of an account to share its limit.

    Args:
        limits: An int is the account's limit.
    Raises:
        ConfigError: Used from a second event loop.
    """

    def __init__(self, limits: int | Limits = 12) -> None:
        self._limits = limits_from(limits)
        # Called each time the search for the limit has found something. They must not use the limiter.
        self.search_watchers: OrderedSet[Callable[[], None]] = OrderedSet()
        self._pools: dict[str, Pool] = {}
        self._queues: dict[tuple[str, ...], list[Place]] = {}
        # Places marked dead, by queue. Written by withdraw and _next.
        self._dead: dict[tuple[str, ...], int] = {}
        self._queued = 0
        # Of the queued, those that the bound on the queue holds for.
        self._bounded = 0
        self._arrivals = 0
        # The slot of each taken lease, and of each task that is known by its id.
        # Written by _hold, _share, _name, _drop and _free only.
        self._held: dict[Lease, Slot] = {}
        self._tasks: dict[str, Slot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        # Set by aclose; open() ends it.
        self._closed = False
        self._apply(self._limits)

    def __repr__(self) -> str:
        if not hasattr(self, "_pools"):
            # Its constructor failed.
            return "<LocalLimiter>"
        pools = ", ".join(f"{pool.name} {pool.taken}/{pool.working}" for pool in self._pools.values())
        return f"<LocalLimiter {pools}, {self._queued} queued>"

    async def open(self) -> None:
        """Bind to the running loop, and start again what `aclose` stopped. Idempotent.

        Raises:
            ConfigError: It is bound to another loop that still runs.
        Cancellation: Nothing is waited for.
        """
        loop = self._bind()
        if not self._closed:
            return
        self._closed = False
        now = loop.time()
        # Each timer fires at its old moment, or at once if that passed meanwhile. A slot may have several leases.
        for slot in set(self._held.values()):
            if slot.expiry is not None:
                slot.expiry = loop.call_at(slot.expiry.when(), self._expire, slot)
        for pool in self._pools.values():
            if pool.paused_until > now:
                pool.pause_timer = loop.call_at(pool.paused_until, self._resume, loop, pool)
            self._schedule_raise(loop, pool)
            self._schedule_look(loop, pool)

    async def aclose(self) -> None:
        """Stop all timers. Idempotent.

        Requests that wait for a slot fail with a `LimiterError`, and so does each later one, until the limiter is
        opened again. Slots that are held stay held.

        Cancellation: Nothing is waited for.
        """
        self._closed = True
        for slot in self._held.values():
            if slot.expiry is not None:
                slot.expiry.cancel()
        for pool in self._pools.values():
            for handle in (pool.pause_timer, pool.raise_timer, pool.look_timer):
                if handle is not None:
                    handle.cancel()
            pool.pause_timer = pool.raise_timer = pool.look_timer = None
        # By priority, then arrival. The copy is needed, as an owner may withdraw others when its own lease fails.
        for place in sorted(self._places()):
            lease = place.lease
            if lease is not None:
                self.withdraw(lease)
                fail(lease, closed_before_grant(self))

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise ConfigError("a LocalLimiter belongs to one event loop: make one for each")
            # A loop that is gone took its requests with it.
            self._forget()
        self._loop = loop
        return loop

    def _forget(self) -> None:
        for lease in self._held:
            lease.taken = lease.early = False
        for place in self._places():
            if place.lease is not None:
                place.lease.place = None
        self._held.clear()
        self._tasks.clear()
        self._queues.clear()
        self._dead.clear()
        self._queued = self._bounded = 0
        self._pools.clear()
        self._apply(self._limits)

    def _check_open(self) -> None:
        if self._closed:
            raise closed_first(self)

    # --- the steps ------------------------------------------------------------------------------------

    def enqueue(self, lease: Lease) -> None:
        """Let a lease wait; see `Limiter.enqueue`."""
        loop = self._bind()
        self._check_open()
        if lease.taken or lease.place is not None:
            raise ValueError("the lease is already queued or taken")
        # One that comes back after a 429 has its number, and so goes back to its place.
        is_new = lease.arrival is None
        if lease.arrival is None:
            self._arrivals += 1
            lease.arrival = self._arrivals
        pools = self._known(lease.pools)
        place = Place(lease, pools, (lease.priority, lease.arrival))
        lease.place = place
        heapq.heappush(self._queues.setdefault(pools, []), place)
        self._count_queued(lease, place, +1)
        self._assign(loop.time())
        # After the grants: a request for which there is room does not count as waiting.
        most = self._limits.queue
        if most is not None and is_new and lease.bounded and lease.place is not None and self._bounded > most:
            self.withdraw(lease)
            raise QueueFullError(
                f"{most} requests are waiting, as many as Limits(queue={most}) allows: try again later"
            )

    def withdraw(self, lease: Lease) -> None:
        """Take a lease out of the queue; see `Limiter.withdraw`."""
        place = lease.place
        if not isinstance(place, Place):
            return
        # The place stays in the heap, as its removal would take O(queued).
        place.lease = None
        lease.place = None
        self._count_queued(lease, place, -1)
        queue = self._queues[place.pools]
        dead = self._dead.get(place.pools, 0) + 1
        # Cleaned once more than half of it is dead. So a heap is at most about twice what waits, and each withdrawal
        # pays for its share of the cleaning.
        if dead > 32 and dead > len(queue) // 2:
            queue[:] = [kept for kept in queue if kept.lease is not None]
            heapq.heapify(queue)
            dead = 0
        self._dead[place.pools] = dead

    def release(self, lease: Lease, *, after_s: float = 0.0) -> None:
        """Free the slots of a lease's task, now or later; see `Limiter.release`."""
        slot = self._held.get(lease)
        if slot is None:
            return
        loop = self._bind()
        if after_s <= 0:
            self._free(slot)
            self._assign(loop.time())
        elif slot.expiry is not None:
            # On hold already; the first time given is the one that counts.
            return
        elif len(slot.leases) > 1:
            self._drop(lease)
        else:
            slot.expiry = loop.call_later(after_s, self._expire, slot)
            if self._closed:
                # Kept for its moment: open() starts it again.
                slot.expiry.cancel()

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """Take a 429 for a lease; see `Limiter.refuse`. Once the limiter is closed, the lease fails in a later turn."""
        slot = self._held.get(lease)
        if slot is None:
            return
        if self._closed:
            self._free(slot)
            # In a later turn: its owner is in the middle of its own step.
            self._bind().call_soon(fail, lease, closed_before_grant(self))
            return
        if lease.early:
            # The slot was not free yet, and that says nothing about the limit.
            self._free(slot)
            self.enqueue(lease)
            return
        loop = self._bind()
        # A 429 does not name its pool. The narrowest one is taken to be full.
        pool = min((self._pools[name] for name in slot.pools), key=lambda candidate: candidate.limit)
        # First: the rule counts what the server accepted.
        self._free(slot)
        until = pool.refused(loop.time(), retry_after_s)
        if until is not None:
            self._set_pause_timer(loop, pool, until)
        self._schedule_raise(loop, pool)
        # Last: its grants must see the lower limit and the pause.
        self.enqueue(lease)

    def confirm(self, lease: Lease) -> None:
        """Note that a task was accepted; see `Limiter.confirm`."""
        # Accepted: the slot that it was granted for is free by now. A later 429 of its request is one like any other.
        lease.early = False
        slot = self._held.get(lease)
        if slot is None:
            return
        loop = self._bind()
        for name in slot.pools:
            pool = self._pools[name]
            pool.confirmed()
            pool.accepted(loop.time())
            if pool.look_timer is None:
                self._schedule_look(loop, pool)
        self._name(slot, lease.task_id)

    def grant_early(self, free_slots: Mapping[str, int]) -> None:
        """Grant for slots that are expected to be free; see `EarlyGrants.grant_early`."""
        if self._queued and any(free_slots.values()):
            self._assign(self._bind().time(), free_slots)

    def take(self, lease: Lease) -> None:
        """Take slots past the limit; see `Limiter.take`."""
        self._bind()
        self._check_open()
        self.withdraw(lease)
        slot = self._held.get(lease)
        if slot is None and lease.task_id is not None:
            slot = self._tasks.get(lease.task_id)
        if slot is None:
            slot = self._hold(lease, self._known(lease.pools))
            self._name(slot, lease.task_id)
        else:
            self._share(slot, lease, self._known(lease.pools))

    def resize(self, limits: int | Limits) -> None:
        """Change the limits while leases are held.

        A lower limit takes nothing back: grants wait until enough leases are released. What 429s have
        taught is forgotten for a pool whose limit changes. A pool that is not named keeps its limit; a new
        one counts the requests that arrive from now on.
        """
        loop = self._bind()
        self._limits = limits_from(limits)
        self._apply(self._limits)
        self._assign(loop.time())

    @property
    def discovers(self) -> bool:
        """True if this limiter searches for the account's limit."""
        return self._limits.discovers

    def resume_search(self, found: Found) -> None:
        """Go on from where an earlier search has ended; nothing changes if this one has found anything itself."""
        loop = self._bind()
        self._pools[ACCOUNT].resume(found, loop.time())
        self._assign(loop.time())

    def found(self) -> Found | None:
        """Return what the search has found; None without a search, or if it is where it began."""
        return self._pools[ACCOUNT].found(self._bind().time(), self._limits.first_account)

    def position(self, lease: Lease) -> int | None:
        """Return how many leases are before this one; see `Limiter.position`. Takes O(queued)."""
        place = lease.place
        if not isinstance(place, Place):
            return None
        return sum(other.lease is not None and other < place for other in self._places())

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """Return the pools by name."""
        return {
            pool.name: PoolStatistics(pool.limit, pool.working, pool.taken, pool.queued)
            for pool in self._pools.values()
        }

    # --- the state behind them ------------------------------------------------------------------------

    def _apply(self, limits: Limits) -> None:
        for name, limit in ((ACCOUNT, limits.first_account), *limits.pools.items()):
            pool = self._pools.setdefault(name, Pool(limit, name=name, search_watchers=self.search_watchers))
            # Its timers go on: each finds nothing to do when it fires.
            if name == ACCOUNT and limits.discovers:
                pool.discover(limit)
            else:
                pool.fix(limit)

    def _places(self) -> Iterator[Place]:
        for queue in self._queues.values():
            yield from queue

    def _count_queued(self, lease: Lease, place: Place, change: int) -> None:
        self._queued += change
        self._bounded += change if lease.bounded else 0
        for name in place.pools:
            self._pools[name].queued += change

    def _known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self._pools)

    def _hold(self, lease: Lease, pools: tuple[str, ...]) -> Slot:
        slot = self._held[lease] = Slot(pools)
        slot.leases.add(lease)
        lease.taken = True
        for name in pools:
            self._pools[name].taken += 1
        return slot

    def _share(self, slot: Slot, lease: Lease, pools: tuple[str, ...]) -> None:
        """Let a lease count as this slot, which it takes over if no other lease follows the task."""
        if slot.expiry is not None:
            slot.expiry.cancel()
            slot.expiry = None
            for former in list(slot.leases):
                self._drop(former)
        lease.taken = True
        slot.leases.add(lease)
        self._held[lease] = slot
        # The server counts the task in each of its pools, whichever lease names them.
        more = tuple(name for name in pools if name not in slot.pools)
        slot.pools += more
        for name in more:
            self._pools[name].taken += 1

    def _name(self, slot: Slot, task_id: str | None) -> None:
        """Note whose task a slot stands for. If the task has a slot already, it keeps that one only."""
        if task_id is None or task_id == slot.task_id:
            return
        first = self._tasks.get(task_id)
        if first is None:
            if slot.task_id is not None:
                del self._tasks[slot.task_id]
            slot.task_id = task_id
            self._tasks[task_id] = slot
            return
        # The server counts one task: the slot that this one had is free again.
        leases, pools = list(slot.leases), slot.pools
        self._free(slot)
        for lease in leases:
            self._share(first, lease, pools)
        self._assign(self._bind().time())

    def _drop(self, lease: Lease) -> None:
        """Let a lease count for nothing any more; its slot stays."""
        lease.taken = lease.early = False
        self._held.pop(lease).leases.remove(lease)

    def _free(self, slot: Slot) -> None:
        for lease in slot.leases:
            lease.taken = lease.early = False
            del self._held[lease]
        slot.leases.clear()
        for name in slot.pools:
            self._pools[name].taken -= 1
        if slot.expiry is not None:
            slot.expiry.cancel()
        if slot.task_id is not None:
            del self._tasks[slot.task_id]

    def _expire(self, slot: Slot) -> None:
        self._free(slot)
        self._assign(self._bind().time())

    def _assign(self, now: float, free_slots: Mapping[str, int] = _NOTHING) -> None:
        """Grant what there is room for, best first. Every change of the state ends here."""
        while (place := self._next(now, free_slots)) is not None:
            lease = place.lease
            # `_next` passes over the dead.
            assert lease is not None
            lease.place = None
            self._count_queued(lease, place, -1)
            self._hold(lease, place.pools)
            pools = [self._pools[name] for name in place.pools]
            for pool in pools:
                if not free_slots.get(pool.name):
                    pool.granted()
            lease.early = bool(free_slots) and any(
                pool.taken > pool.working and not pool.is_trying for pool in pools
            )
            # Last, when the state is whole again: the owner may enqueue, withdraw or release leases in it.
            lease.on_granted()

    def _next(self, now: float, free_slots: Mapping[str, int]) -> Place | None:
        # O(number of heaps), and that is the number of distinct sets of pools: two or three.
        best: list[Place] | None = None
        for pools, queue in self._queues.items():
            while queue and queue[0].lease is None:
                heapq.heappop(queue)
                self._dead[pools] -= 1
            # A head that is behind the best one cannot win, so its pools need no look.
            if not queue or (best is not None and best[0] < queue[0]):
                continue
            for name in pools:
                if not self._pools[name].has_room(now, free_slots.get(name, 0), alone=len(pools) == 1):
                    break
            else:
                best = queue
        return None if best is None else heapq.heappop(best)

    def _set_pause_timer(self, loop: asyncio.AbstractEventLoop, pool: Pool, until: float) -> None:
        if pool.pause_timer is not None:
            pool.pause_timer.cancel()
        pool.pause_timer = loop.call_at(until, self._resume, loop, pool)

    def _resume(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        pool.pause_timer = None
        # Timers may fire a clock tick early, and then the moment itself is still to come.
        pool.paused_until = 0.0
        self._assign(loop.time())

    def _schedule_raise(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        if pool.raise_timer is not None:
            pool.raise_timer.cancel()
            pool.raise_timer = None
        at = pool.next_raise(loop.time())
        if at is not None and not self._closed:
            pool.raise_timer = loop.call_at(at, self._raise, loop, pool)

    def _raise(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        pool.raise_timer = None
        # A resize may have restored the limit since the timer was set.
        if pool.working < pool.limit:
            pool.raise_limit()
            self._schedule_raise(loop, pool)
            self._assign(loop.time())

    def _schedule_look(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        if pool.look_timer is not None:
            pool.look_timer.cancel()
            pool.look_timer = None
        at = pool.next_look(loop.time())
        if at is not None and not self._closed:
            pool.look_timer = loop.call_at(at, self._look, loop, pool, at)

    def _look(self, loop: asyncio.AbstractEventLoop, pool: Pool, at: float) -> None:
        pool.look_timer = None
        # Timers may fire a clock tick early.
        now = max(loop.time(), at)
        pool.look(now)
        following = pool.next_look(now)
        if following is not None and following > now:
            pool.look_timer = loop.call_at(following, self._look, loop, pool, following)
        self._assign(now)
