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

One accepted submit does not prove a limit. Slots are taken while a submit and the news of an end travel, and the server
does not count these. Where tasks are as short as that, it would accept several more than it allows, and refuse some
later. So a try must be full for a while: 2.5 s, or 1 s where so few submits were made that their travel is no part of
it. Where the server accepted many submits of a try and refused a later one, the step before was too high as well and is
taken back, but never below the limit with which the climb began. A 429 just below the limit, which a submit had proven
since the last 429, says that the limit is still too high by one. If it follows another one closely, by two.

Simulated with tasks of 1 s to 60 s (`python -m benchmarks.discover`), it goes from 12 to 24 in 35 s, with 1 to 4
refusals in 10 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_S = 600.0
MAX_WAIT_S = 3600.0
# How long a try must be full: where few submits were made meanwhile, and where many were.
_SHORT_S, _LONG_S = 1.0, 2.5
# Refusals that are closer than this follow each other closely.
_CLOSE_S = 8.0


@dataclass(eq=False, slots=True)
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
    # Until this moment a 429 follows another one closely.
    close_until: float = 0.0

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

    def next_look(self, now: float) -> float | None:
        """Return the moment at which the try may be proven; None if there is none."""
        if not self.trying or self.full_at < 0:
            return None
        short = self.full_at + _SHORT_S
        return short if now < short else self.full_at + _LONG_S

    def is_proven(self, now: float, limit: int) -> bool:
        """Return whether the try has been full for long enough."""
        if not self.trying or self.full_at < 0:
            return False
        few = 12 * self.accepted <= limit
        return now >= self.full_at + (_SHORT_S if few else _LONG_S)

    def step_up(self, limit: int) -> int:
        """End a try that is proven; return the new limit."""
        self.trying, self.proven = False, False
        self.brief = 2 * self.accepted >= 3 * limit
        return limit + 1

    def refuse_try(self, now: float, limit: int, retry_after_s: float) -> int:
        """End a try by a 429; return the limit that it has shown."""
        self.trying = False
        # The server's hint lengthens the wait. It pauses nothing: below the limit there is room.
        self.try_at = now + min(MAX_WAIT_S, max(self.wait_s, retry_after_s))
        self.wait_s = min(MAX_WAIT_S, 2 * self.wait_s)
        self.close_until = now + _CLOSE_S
        was_too_high = self.brief and 4 * self.accepted >= limit and limit > self.floor
        return limit - 1 if was_too_high else limit

    def refuse_below(self, now: float, limit: int) -> int:
        """Take a 429 for the last slot below the limit, which was proven; return the new limit, at least 1."""
        step = 2 if now < self.close_until else 1
        self.proven, self.close_until = False, now + _CLOSE_S
        self.try_at = max(self.try_at, now + self.wait_s)
        found = max(1, min(limit - 1, max(self.floor, limit - step)))
        self.floor = min(self.floor, found)
        return found
