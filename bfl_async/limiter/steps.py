"""What a limiter says to its book, and what the book answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from bfl_async.types.statistics import PoolStatistics

# How long a grant waits to be fetched. A process that sleeps longer loses its places in the line, and comes back to the
# same ones.
FETCH_S = 1.0

# How long the book remembers that a task has ended which other processes still follow.
ENDED_S = 600.0

# One operation of a batch; `_shared.py` has the list.
Op: TypeAlias = "list[str | int | float | list[str] | dict[str, int]]"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process says in one step."""

    session: str
    seq: int
    full: bool
    # Of the book that this process knows; "" before its first answer.
    epoch: str
    # For pools that the book does not have.
    limits: Mapping[str, int]
    lease_s: float
    ops: list[Op]
    # Leases that wait after this batch, before what it is granted. While some do, the book must wake the process.
    waiting: int
    # Pools whose limit is searched for. Their number in `limits`, and in the operation "l", is where the search begins.
    discovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepReply:
    """What the book answers. `next_s` is the time until something may change by time alone."""

    epoch: str
    # The book does not know this session, or missed a batch of it: nothing was done, and a full batch must follow.
    resync: bool
    # Id and arrival of each lease that has a slot now.
    grants: list[tuple[str, int]]
    # Id and arrival of each lease that waits since this step.
    arrivals: list[tuple[str, int]]
    # Leases of this process that had run out. They are taken again.
    lost: list[str]
    pools: dict[str, PoolStatistics]
    next_s: float | None
    # Leases of this process whose tasks other processes have seen end.
    ended: list[str] = field(default_factory=list)


class StoreAwayError(Exception):
    """The book cannot be reached; `hopeless` when trying again will not help."""

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class Store(Protocol):
    """Where the book is."""

    async def step(self, batch: Batch) -> StepReply:
        """Make one step.

        Raises:
            StoreAwayError: No reply; whether the step was made is not known.
        """
        ...

    async def aclose(self) -> None:
        """End all that runs. Must not raise."""
        ...
