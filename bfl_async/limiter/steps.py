"""What a limiter says to its book, and what the book answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from bfl_async.types.statistics import PoolStatistics

FETCH_S = 1.0
"""So long a grant waits to be fetched. Who sleeps longer is out of the line, and comes back to its old places."""


ENDED_S = 600.0
"""For so long the book remembers that a task has ended which other processes still follow."""


Op: TypeAlias = "list[str | int | float | list[str] | dict[str, int]]"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process says in one step."""

    session: str
    seq: int
    full: bool
    epoch: str  # of the book that this process knows; "": none
    limits: Mapping[str, int]  # for pools that the book does not have
    lease_s: float
    ops: list[Op]
    waiting: int  # after it, and before what it is granted: while something waits, wake me


@dataclass(frozen=True, slots=True)
class StepReply:
    """What the book answers. `next_s`: until something may change by time alone."""

    epoch: str
    resync: bool  # the book does not know this session: nothing was done, send a full batch
    grants: list[tuple[str, int]]  # id and arrival
    arrivals: list[tuple[str, int]]
    lost: list[str]  # leases of this process that had run out
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
