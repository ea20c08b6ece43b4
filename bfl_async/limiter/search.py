"""The rule that finds out a pool's true limit (`Limits(account="discover")`): what it tries, and what that proves.

The limit is known to be at least `PoolRule.limit`. While all of it is taken and requests wait, one more is let in now
and then: a *try*. The states of a pool that searches, and what ends them:

| state | may take | ends |
| --- | --- | --- |
| steady: no try is due before `try_at` | `limit` | the time comes, the pool is full and a request waits: trying |
| trying: one more is let in | `limit + 1` | full for a while without a 429: the limit rises by one; a try is due |
| | | a 429 while full: the limit is found; steady for `wait_s`, which then doubles |
| | | not full any more: steady, and the next try is due |
| taught: 429s came below the limit | `working` | `learning.py` raises `working` again, up to `limit` |
| | | if it was half of it or less: a try is due |

One accepted submit does not prove a limit. Slots are taken while a submit and the news of an end travel, and the server
does not count these. Where tasks are as short as that, it would accept several more than it allows, and refuse some
later. So a try must be full for a while: 1 s where so few submits were made that their travel is no part of it,
otherwise longer the more slots there are: 1.3 s at 12, 5.1 s at 24 and 7 s from 28 on. The more slots, the rarer is
the moment in which the server counts all of them. Where tasks are brief, the step before a refused try was usually too
high as well, and is taken back, but never below the limit with which the climb began. So is one more for a second 429
of the same moment. Later a 429 just below the limit, which a submit had proven since the last 429, says that the limit
is still too high by one.

What the search costs: `python -m benchmarks.discover`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FIRST_WAIT_S = 600.0
MAX_WAIT_S = 3600.0
# How long a try must be full where few submits were made meanwhile; no try must be full for less.
_SHORT_S = 1.0
# Where many submits were made: so long from so many slots on, and shorter below by the square of their number.
_LONG_S, _LONG_SLOTS = 7.0, 28
# Tasks are brief if a slot takes so many submits per second.
_BRIEF_PER_S = 0.6
# For so long after a refused try, a 429 may be for a submit that was under way already.
_CLOSE_S = 1.5


def _long_s(limit: int) -> float:
    """Return how long a try must be full: that all slots count at once is rarer the more there are."""
    return max(_SHORT_S, _LONG_S * min(1.0, limit / _LONG_SLOTS) ** 2)


class Found(NamedTuple):
    """Where a search has ended, for one that goes on from there."""

    # At least 1.
    limit: int
    # How long no try is made after the next refusal, in seconds.
    wait_s: float
    # Seconds until the next try may be made; 0: now.
    rest_s: float


@dataclass(eq=False, repr=False, match_args=False, slots=True)
class Search:
    """What a pool that searches for its limit remembers. The moments are those of its owner's clock."""

    # No try before this moment.
    try_at: float = 0.0
    # How long no try is made after the next refusal.
    wait_s: float = FIRST_WAIT_S
    trying: bool = False
    # Since when the try is full; below 0: it is not.
    full_at: float = -1.0
    # Submits that were accepted while the try was full.
    accepted: int = 0
    # Where the climb began.
    floor: int = 1
    # Whether so many submits were accepted in the last step that tasks are about as short as what travels.
    brief: bool = False
    # Whether a submit that took the last slot was accepted since the last 429.
    proven: bool = False
    # Until this moment a 429 may be for a submit that left before a try was refused.
    close_until: float = 0.0
    # Whether 429s have lowered the working limit to half or less, which then has not risen to the limit again.
    fallen: bool = False

    def has_found(self, limit: int) -> bool:
        """Return whether more is known than where the search began."""
        return limit != self.floor or self.trying or self.try_at > 0 or self.wait_s > FIRST_WAIT_S

    def found(self, limit: int, now: float) -> Found:
        """Return where the search is now."""
        return Found(limit, self.wait_s, max(0.0, self.try_at - now))

    def learn(self, limit: int, working: int) -> None:
        """Take the working limit: what 429s have left of it, or what it has risen to."""
        if 2 * working <= limit:
            self.fallen = True
        elif self.fallen and working == limit:
            # The server's limit has changed and is back. The first 429 of its fall was taken for one about the limit
            # itself, and it may be another one now: a try is due.
            self.fallen, self.floor, self.try_at = False, limit, 0.0

    def is_due(self, now: float) -> bool:
        """Return whether one more may be let in."""
        return self.trying or now >= self.try_at

    def begin(self, limit: int) -> None:
        """Begin a try: the pool is full with one more than its limit."""
        self.trying, self.full_at, self.accepted = True, -1.0, 0
        if self.try_at:
            # After a wait. Steps that follow each other are one climb.
            self.floor, self.try_at = limit, 0.0

    def accept(self, now: float) -> None:
        """Take an accepted submit while the try is full."""
        self.accepted += 1
        if self.full_at < 0:
            self.full_at = now

    def next_look(self, now: float, limit: int) -> float | None:
        """Return when a full try may count as proven; None while no try is full."""
        if not self.trying or self.full_at < 0:
            return None
        short = self.full_at + _SHORT_S
        return short if now < short else self.full_at + _long_s(limit)

    def is_proven(self, now: float, limit: int) -> bool:
        """Return whether the try has been full for long enough."""
        if not self.trying or self.full_at < 0:
            return False
        few = 12 * self.accepted <= limit
        return now >= self.full_at + (_SHORT_S if few else _long_s(limit))

    def step_up(self, now: float, limit: int) -> int:
        """End a try that is proven; return the new limit."""
        self.trying, self.proven = False, False
        self.brief = self.accepted >= _BRIEF_PER_S * limit * (now - self.full_at)
        return limit + 1

    def refuse_try(self, now: float, limit: int, retry_after_s: float) -> int:
        """End a try by a 429; return the limit that it has shown."""
        self.trying = False
        # The server's hint lengthens the wait. It pauses nothing: below the limit there is room.
        self.try_at = now + min(MAX_WAIT_S, max(self.wait_s, retry_after_s))
        self.wait_s = min(MAX_WAIT_S, 2 * self.wait_s)
        self.close_until = now + _CLOSE_S
        return limit - 1 if self.brief and limit > self.floor else limit

    def is_about_limit(self, now: float, limit: int, taken: int) -> bool:
        """Return whether a 429 outside of a try says that the limit is too high.

        Args:
            taken: Slots without the refused one.
        """
        if taken < 1:
            return False
        if self.brief and now < self.close_until and limit > self.floor:
            return limit - 1 <= taken <= limit
        return self.proven and taken == limit - 1

    def refuse_below(self, now: float, limit: int) -> int:
        """Take a 429 that says that the limit is too high; return the new limit, at least 1."""
        # A second one of the same moment counts as well, but no third: where the limit falls, many come at once, and
        # the rule for the working limit takes these.
        self.close_until = 0.0 if now < self.close_until else now + _CLOSE_S
        self.proven = False
        self.try_at = max(self.try_at, now + self.wait_s)
        found = max(1, limit - 1)
        self.floor = min(self.floor, found)
        return found
