"""Counts of a client, frozen at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import (
    TYPE_CHECKING,
    NamedTuple,
)

from bfl_async.types.common import distinct

if TYPE_CHECKING:
    pass


@distinct
class PoolStatistics(NamedTuple):
    """One pool: its configured limit, the working limit that 429s have taught, slots taken, requests queued."""

    limit: int
    working: int
    taken: int
    queued: int


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """Seconds from accepted to Ready as this client saw them, over the newest 256 tasks of a model."""

    count: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a client. The first four are of now, the counts after them since the client's start.

    Every request ends in exactly one of `ready`, `moderated`, `failed`, `ambiguous` and `withdrawn`; a `post` that
    made no task counts in none.
    `refused_overlap` counts 429 answers to submits that left early (`Limits.overlap`); `refused_429` all others.
    `credits_spent` is what the server has stated: the receipts, each replaced by the cost of the task's end where one
    is stated. A moderated or failed task counts in it with its receipt, and in the budget not at all.
    `budget_left_usd` is what may still be asked for; None where no budget was set.
    `slots_full_s` is for how many seconds, from 0 up, requests waited while all slots of the account were taken.
    If it is most of a run, the run was limited by slots: `Limits(account="discover")` finds out whether the account
    may have more of them.
    """

    queued: int
    submitting: int
    active: int
    slots_taken: int
    pools: Mapping[str, PoolStatistics]
    submitted: int
    ready: int
    moderated: int
    failed: int
    ambiguous: int
    withdrawn: int
    polls: int
    refused_429: int
    credits_spent: float
    latency: Mapping[str, LatencyStatistics] = field(default_factory=dict)
    refused_overlap: int = 0
    budget_left_usd: float | None = None
    slots_full_s: float = 0.0

    def __setstate__(self, state: Sequence[object]) -> None:
        # A pickle of an earlier release ends before the newest facts.
        newest = (field.default for field in fields(self)[len(state) :])
        for name, value in zip(self.__slots__, (*state, *newest), strict=True):
            object.__setattr__(self, name, value)
