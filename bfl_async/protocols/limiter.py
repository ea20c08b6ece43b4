"""The limiter: who may submit now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Protocol,
    runtime_checkable,
)

from bfl_async.errors import BFLError
from bfl_async.types.statistics import PoolStatistics

if TYPE_CHECKING:
    pass


class Lease:
    """The right to hold one slot in each of `pools`, owned by a request and not by its caller.

    It waits, is taken, or is neither. `enqueue` lets it wait. A grant ends the wait (`taken`), and so do `withdraw` and
    `on_failed` (neither). `take` makes it taken at once. `release` ends that, now or later; `refuse` lets it
    wait again.

    A limiter alone writes `taken`, `early`, `arrival` and `place`; the owner reads them. The owner writes `task_id`
    before it calls `confirm` or `take`: by it the limiter knows which leases share a slot, in all processes.

    Args:
        pools: Pools in which to hold a slot; those that the limiter does not know have no limit.
        priority: Lower goes first.
        bounded: Whether the limiter's bound on the queue holds for it. A stream bounds itself.
        on_granted: Called in the loop at each grant; must neither raise nor block.
        on_failed: Called in the loop when the limiter gives up on a lease that waits, which is then
            out of the queue; must neither raise nor block.
    """

    __slots__ = (
        "arrival", "bounded", "early", "on_failed", "on_granted", "place", "pools", "priority", "taken", "task_id",
    )  # fmt: skip

    def __init__(
        self,
        pools: tuple[str, ...],
        *,
        priority: int = 0,
        bounded: bool = True,
        on_granted: Callable[[], None] = lambda: None,
        on_failed: Callable[[BFLError], None] = lambda _: None,
    ) -> None:
        self.pools: tuple[str, ...] = pools
        self.priority: int = priority
        self.bounded: bool = bounded
        self.on_granted: Callable[[], None] = on_granted
        self.on_failed: Callable[[BFLError], None] = on_failed
        self.task_id: str | None = None
        self.taken: bool = False
        # Granted past the limit for a slot that is expected to be free, and not confirmed yet.
        self.early: bool = False
        # The order of arrival, kept when the request goes back to its queue.
        self.arrival: int | None = None
        # The limiter's own mark while the lease is queued.
        self.place: object | None = None


@runtime_checkable
class AccountLimiter(Protocol):
    """What a limiter has besides, if other processes share its account: it must know which one that is."""

    def use_account(self, account: str) -> None:
        """Name the account, by a hash of key and host. Each client does so before it opens the limiter.

        Raises:
            ConfigError: The limiter serves another account.
        """
        ...


@runtime_checkable
class EarlyGrants(Protocol):
    """What a limiter has besides, if it can grant slots that are expected to be free soon."""

    def grant_early(self, free_slots: Mapping[str, int]) -> None:
        """Grant past the limits: by pool, so many of the slots that are taken will be freed very soon.

        Such a lease is `early` until it is confirmed. When it is refused, no limit is lowered.
        """
        ...


class Limiter(Protocol):
    """Grants leases. Every method is synchronous and changes the state in one step.

    The limiter is the queue: requests of all clients that share it wait here, in order of priority
    (lower first), then of arrival. One whose narrower pool is full is passed over and keeps its place.

    Cancellation: Of opening and closing; `aclose` ends all of it.
    """

    def enqueue(self, lease: Lease) -> None:
        """Let the lease wait for its slots; `on_granted` is called when it has them, maybe at once.

        One that waited before keeps its place, and is never refused.

        Raises:
            QueueFullError: As many wait as may.
        """
        ...

    def withdraw(self, lease: Lease) -> None:
        """Take the lease out of the queue; nothing happens when it is not there."""
        ...

    def release(self, lease: Lease, *, after_s: float = 0.0) -> None:
        """Stop counting the lease; nothing happens when it is not taken.

        Without `after_s` the task has ended, or never existed: its slots are free at once, and all other leases of the
        task count for nothing. With `after_s` the owner only stops following the task: its slots stay with the other
        leases of the task. If there are none, they are freed after so many seconds, unless `take` comes before.
        """
        ...

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """The server counts no free slot (429): free the slots, queue the lease again, lower the limit.

        `retry_after_s` is a lower bound for the pause after it. It never shortens one.
        """
        ...

    def confirm(self, lease: Lease) -> None:
        """The server accepted the task that the lease stands for. If the task has slots already, it shares them."""
        ...

    def take(self, lease: Lease) -> None:
        """Take the slots at once, past the limit if need be: the task already runs.

        A task takes one slot in each pool that any of its leases names. So the lease shares the slots that the task has
        already. It takes them over if they are held by time alone: they are then not freed by time.
        """
        ...

    def position(self, lease: Lease) -> int | None:
        """How many leases are before this one in the queue; None when it is not queued."""
        ...

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """The pools by name."""
        ...

    async def open(self) -> None:
        """Make ready for the running loop. Idempotent.

        Raises:
            ConfigError: It is open in another loop.
            LimiterError: What it needs is away.
        """
        ...

    async def aclose(self) -> None:
        """Stop all timers and connections of the limiter, and fail the leases that wait.

        A client may outlive its limiter. Then `enqueue` and `take` raise a `LimiterError`, a lease that is refused
        fails through `on_failed`, and all other calls change nothing.
        """
        ...
