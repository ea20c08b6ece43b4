"""The one rule that learns a pool's limit from 429s, and grows it again. It has no clock, no timers and no storage.

A 429 says that the server counts more tasks than we do: other programs use the account, or its limit is lower than
configured. The pool is then limited to what is still held there (at least one). After a quiet interval the working
limit rises by one. When the raise is refused, the interval doubles, from 2 s to 60 s; when the raise is used and
accepted, it falls back to 2 s. Where nothing is held, no release of ours can say that there is room again, so the pool
also pauses: for `Retry-After`, and at least for the quiet interval.

The methods take the time and return moments. `local.py` sets timers for these, `sqlite_book.py` stores them, each with
its own clock. `book.lua` has the same rule for Redis; `tests/contract/test_limiter.py` holds all three to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import load

if TYPE_CHECKING:
    from bfl_async.limiter.search import Found, Search

FIRST_QUIET_S = 2.0
_MAX_QUIET_S = 60.0
_LEAST_PAUSE_S = 0.05
# No pause is longer, whatever the server's hint: one that is a mistake must not stop an account for a day.
_MAX_PAUSE_S = 3600.0


@dataclass(eq=False, repr=False, match_args=False, slots=True)
class PoolRule:
    """One limit, and what 429s have taught about it."""

    # As configured.
    limit: int
    # As 429s have taught; 1 <= working <= limit.
    working: int
    # How long no 429 must come before the working limit rises.
    quiet_s: float = FIRST_QUIET_S
    # Whether the working limit was raised since the last refusal, and no submit has used the raise.
    probing: bool = False
    # Nothing is granted before this moment.
    paused_until: float = 0.0
    # Slots and requests, counted by the owner of the rule.
    taken: int = 0
    queued: int = 0
    # Set while the limit is searched for; see `search.py`.
    search: Search | None = None

    def has_room(self, now: float, soon_free: int = 0, *, alone: bool = False) -> bool:
        """Return whether a slot may be granted to a request that waits.

        Args:
            soon_free: So many of the slots that are taken count as free.
            alone: The request is in no other pool. A 429 for it can only be about this one, so it may be a try.
        """
        if soon_free and (self.working < self.limit or self.is_trying):
            # Others use the account: the server may give them the slot that is about to be free. And a try that is
            # refused must not be taken for a slot that was not free yet.
            soon_free = 0
        if now < self.paused_until:
            return False
        if self.taken < self.working + soon_free:
            return True
        if self.search is None or not alone or self.working < self.limit:
            return False
        return self.taken == self.limit and self.search.is_due(now)

    @property
    def is_trying(self) -> bool:
        """Whether one more than the limit is let in."""
        return self.search is not None and self.search.trying

    def granted(self) -> None:
        """Take a grant, which is counted already. One past the limit begins a try."""
        if self.search is not None and not self.search.trying and self.taken == self.limit + 1:
            self.search.begin(self.limit)

    def accepted(self, now: float) -> None:
        """Take the moment of an accepted submit."""
        if self.search is None:
            return
        if self.search.trying and self.taken > self.limit:
            self.search.accept(now)
        if self.taken >= self.working:
            self.search.proven = True

    def next_look(self, now: float) -> float | None:
        """Return when a full try may count as proven; None while no try is full."""
        return None if self.search is None else self.search.next_look(now, self.limit)

    def look(self, now: float) -> None:
        """Raise the limit if a try is proven by now."""
        if self.search is None or not self.search.is_proven(now, self.limit):
            return
        if self.taken > self.limit:
            self.limit = self.working = self.search.step_up(now, self.limit)
        else:
            # Not full any more: nothing is proven.
            self.search.trying = False

    def refused(self, now: float, retry_after_s: float | None) -> float | None:
        """Take a 429. The refused slot must be free already: `taken` is what the server accepted.

        Args:
            retry_after_s: The server's hint. None if it gave none.
        Returns:
            The moment until which the pool is now paused; None if this 429 changes nothing about its pause.
        """
        if self.search is not None and self._refuse_search(self.search, now, retry_after_s or 0.0):
            return None
        refused_probe = self.probing or self.taken == 0
        self.probing = False
        self.working = max(1, min(self.working, self.taken))
        if self.search is not None:
            self.search.learn(self.limit, self.working)
        # Where slots are held, a release or the raise opens the pool. Where none is, only time can.
        own_s = 0.0 if self.taken else self.quiet_s
        until = 0.0
        if own_s or retry_after_s is not None:
            # The server's hint may lengthen our own pause; it never shortens it.
            until = now + min(_MAX_PAUSE_S, max(_LEAST_PAUSE_S, own_s, retry_after_s or 0.0))
        # After the pause was measured: it lasts for the interval that was in force.
        if refused_probe:
            self.quiet_s = min(_MAX_QUIET_S, 2 * self.quiet_s)
        if until <= self.paused_until:
            return None
        self.paused_until = until
        return until

    def _refuse_search(self, search: Search, now: float, retry_after_s: float) -> bool:
        """Take a 429 that shows where the limit is; return whether that is all there is to it."""
        if search.trying:
            found = search.refuse_try(now, self.limit, retry_after_s)
            # With fewer than the limit the server has refused more than the try.
            if self.taken < self.limit:
                return False
        elif self.working == self.limit and search.is_about_limit(now, self.limit, self.taken):
            found = search.refuse_below(now, self.limit)
        else:
            search.proven = False
            return False
        self.limit = self.working = found
        return True

    def confirmed(self) -> None:
        """Take an accepted submit. It proves a raise only if it uses it."""
        if self.probing and self.taken >= self.working:
            self.probing, self.quiet_s = False, FIRST_QUIET_S

    def next_raise(self, now: float) -> float | None:
        """Return the moment of the next raise, counted from a 429 or a raise at `now`; None if none is due."""
        if self.working >= self.limit:
            return None
        # A pause tries nothing, so it proves nothing: a long one must not restore the limit step by step.
        return max(now + self.quiet_s, self.paused_until)

    def raise_limit(self) -> None:
        """Raise the working limit by one, once the moment of the raise has come. The next 429 is about the raise."""
        self.working = min(self.limit, self.working + 1)
        self.probing = True
        if self.search is not None:
            self.search.learn(self.limit, self.working)

    def resize(self, limit: int) -> None:
        """Set another limit, and forget what 429s have taught about the old one."""
        self.search = None
        self.limit = self.working = limit
        self.quiet_s, self.probing, self.paused_until = FIRST_QUIET_S, False, 0.0

    def discover(self, start: int) -> None:
        """Find out the limit, from `start` on; nothing changes if that is under way."""
        if self.search is None:
            self.resize(start)
            self.search = load("limiter.search").Search(floor=start)

    def resume(self, found: Found, now: float) -> None:
        """Go on from where an earlier search has ended; nothing changes if this one has found anything itself."""
        if self.search is not None and not self.search.has_found(self.limit):
            self.limit = self.working = found.limit
            self.search = load("limiter.search").Search(
                try_at=now + found.rest_s if found.rest_s > 0 else 0.0, wait_s=found.wait_s, floor=found.limit
            )

    def found(self, now: float, start: int) -> Found | None:
        """Return where the search is now; None if none is under way, or if it is where it began.

        Args:
            start: Where a search begins of which nothing is known.
        """
        if self.search is None or (self.limit == start and not self.search.has_found(start)):
            return None
        return self.search.found(self.limit, now)

    def fix(self, limit: int) -> None:
        """Take this limit; nothing changes if it is the limit already and none is searched for."""
        if self.search is not None or self.limit != limit:
            self.resize(limit)
