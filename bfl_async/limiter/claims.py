"""What one process holds of an account's slots, and what it waits for.

This is the state behind the methods of `SharedLimiter`, changed in synchronous steps only. Nothing here speaks to the
book. A lease is waiting (in `waiting`), taken (in the `leases` of one slot of `slots`), or neither; `ids` and `order`
have exactly those that are waiting or taken. Only within one step may this not hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bfl_async.protocols.limiter import Lease
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.types.statistics import PoolStatistics


@dataclass(slots=True)
class Pool:
    """The newest numbers of the book on a pool, changed by what this process has said since."""

    limit: int
    working: int
    taken: int = 0
    queued: int = 0

    def statistics(self) -> PoolStatistics:
        """Return a snapshot."""
        # What was said while a step was under way is not in its answer. Taking that back falls below zero until the
        # next answer.
        return PoolStatistics(self.limit, self.working, max(0, self.taken), max(0, self.queued))


@dataclass(eq=False, slots=True)
class Slot:
    """A slot in each of `pools`, known to the book by `name`, and the leases of this process that share it."""

    name: str
    pools: tuple[str, ...] = ()
    leases: OrderedSet[Lease] = field(default_factory=OrderedSet)
    # Set while no owner in this process follows the task: there is one lease then.
    hold: asyncio.TimerHandle | None = None


class Claims:
    """The leases of one process, and the pools as the process knows them."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        # By id. Written by `wait`, `drop_waiting` and `grant`.
        self.waiting: dict[str, Lease] = {}
        # By id; those of all leases that are taken. Written by `grant`, `slot_for`, `free` and `end_slot`.
        self.slots: dict[str, Slot] = {}
        # The ids of all leases that are waiting or taken.
        self.ids: dict[Lease, str] = {}
        # Of those waiting, those that the bound on the queue holds for.
        self.bounded: int = 0
        # In which order the leases came to this process. The book's numbers come only with its answer.
        self.order: dict[Lease, int] = {}
        self._arrivals = 0
        # Replaced by each answer of the book.
        self.pools: dict[str, Pool] = {name: Pool(limit, limit) for name, limit in limits.items()}

    def forget_leases(self) -> None:
        """Let no lease count any more, without a word to the book or to the owners."""
        for lease in self.ids:
            lease.taken, lease.place = False, None

    def known(self, names: tuple[str, ...]) -> Iterator[Pool]:
        """Return the pools that have a limit."""
        return (self.pools[name] for name in names if name in self.pools)

    # --- those that wait ------------------------------------------------------------------------------

    def wait(self, lease: Lease, name: str) -> None:
        """Let a lease wait under this id. One whose order is known keeps its place in it."""
        if lease not in self.order:
            self._arrivals += 1
            self.order[lease] = self._arrivals
        lease.place = name
        self.waiting[name] = lease
        self.ids[lease] = name
        self.bounded += lease.bounded
        for pool in self.known(lease.pools):
            pool.queued += 1

    def drop_waiting(self, lease: Lease) -> bool:
        """Take a lease out of those that wait; return False if it is not there. The caller must call `leave` too."""
        name = self.ids.get(lease)
        if name is None or self.waiting.get(name) is not lease:
            return False
        del self.waiting[name]
        lease.place = None
        self.bounded -= lease.bounded
        for pool in self.known(lease.pools):
            pool.queued -= 1
        return True

    def leave(self, lease: Lease) -> str:
        """Forget a lease that neither waits nor is taken any more, and return the id it had."""
        self.order.pop(lease, None)
        return self.ids.pop(lease)

    def grant(self, name: str, arrival: int) -> Lease | None:
        """Give a waiting lease the slot that the book has granted; None if it does not wait any more."""
        lease = self.waiting.pop(name, None)
        if lease is None:
            return None
        lease.place = None
        self.bounded -= lease.bounded
        lease.arrival = arrival
        lease.taken = True
        # The pools are not changed here: the book's numbers, which came with the grant, count it.
        self.slots[name] = Slot(name, lease.pools, OrderedSet({lease: None}))
        return lease

    # --- those that are taken -------------------------------------------------------------------------

    def slot_of(self, lease: Lease) -> Slot | None:
        """Return the slot that a taken lease shares."""
        return self.slots.get(self.ids[lease]) if lease.taken and lease in self.ids else None

    def slot_for(self, name: str) -> Slot:
        """Return the slot of this id, and make it if it is missing."""
        return self.slots.setdefault(name, Slot(name))

    def followed(self) -> list[Slot]:
        """Return the slots that the book must keep for this process. One on hold ends in the book by its time."""
        return [slot for slot in self.slots.values() if slot.hold is None]

    def share(self, slot: Slot, lease: Lease, pools: tuple[str, ...]) -> None:
        """Let a lease count as this slot, which it takes over if no other lease follows the task here."""
        if slot.hold is not None:
            slot.hold.cancel()
            slot.hold = None
            for former in list(slot.leases):
                self.drop(slot, former)
        lease.taken = True
        slot.leases.add(lease)
        self.ids[lease] = slot.name
        # The server counts the task in each of its pools, whichever lease names them.
        more = tuple(name for name in pools if name not in slot.pools)
        slot.pools += more
        for pool in self.known(more):
            pool.taken += 1

    def drop(self, slot: Slot, lease: Lease) -> None:
        """Let a lease count for nothing any more; its slot stays."""
        lease.taken = False
        slot.leases.remove(lease)
        self.leave(lease)

    def free(self, slot: Slot) -> None:
        """Remove a slot. Its leases still name it: the caller must move or drop them in the same step."""
        del self.slots[slot.name]
        for pool in self.known(slot.pools):
            pool.taken -= 1
        if slot.hold is not None:
            slot.hold.cancel()

    def end_slot(self, slot: Slot) -> None:
        """Remove a slot and all its leases: its task has ended, or was refused."""
        self.free(slot)
        for lease in list(slot.leases):
            self.drop(slot, lease)
