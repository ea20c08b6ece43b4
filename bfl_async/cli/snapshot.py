"""A batch at one moment, as its progress shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is shown, at one moment."""

    counts: Mapping[str, int]
    total: int | None  # of entries that will be; None: not known yet
    taken: int
    slots: int
    spent: float
    balance: float | None
    seconds: float
    note: str = ""  # what the run is waiting for


def done_of(counts: Mapping[str, int]) -> int:
    """Return how many entries have come to an end."""
    return counts["saved"] + counts["failed"] + counts["moderated"] + counts["ambiguous"]
