"""Submits that leave early: looks again and again whether a slot is about to be free."""

from __future__ import annotations

import asyncio

from bfl_async.engine.entry import Entry
from bfl_async.engine.open_entries import OpenEntries
from bfl_async.engine.overlap import Overlap
from bfl_async.polling.book import TimingsBook
from bfl_async.protocols.limiter import EarlyGrants


class NoLookAhead:
    """No submit leaves early: `Limits.overlap` is off, or the limiter grants nothing ahead of time."""

    def expect(self, entry: Entry) -> None:
        """Note when a task in flight is likely to end, as its newest poll says."""

    def accepted(self, entry: Entry) -> None:
        """Note an accepted submit."""

    def refused(self, entry: Entry) -> bool:
        """Note a 429; True if it is the price of an early submit, and no news about the account."""
        del entry
        return False

    def forget(self, entry: Entry) -> None:
        """Note that a task has ended, or is no longer followed."""

    def close(self) -> None:
        """Look no more."""


class LookAhead(NoLookAhead):
    """Lets submits leave early, as far as `Overlap` finds slots that will be free when they arrive.

    Args:
        budget: The share of early submits that may be refused.
        limiter: Grants leases ahead of time.
        entries: Read only: without a queue nothing leaves early.
        timings: Forecasts of the models, and the usual round trips.
    """

    def __init__(
        self, budget: float, limiter: EarlyGrants, entries: OpenEntries, timings: TimingsBook
    ) -> None:
        self._overlap = Overlap(budget)
        self._limiter = limiter
        self._entries = entries
        self._timings = timings
        # The polling policy then narrows down when a task ends, before it can have ended: see `RoundTrips`.
        timings.round_trips.overlaps = True
        # One timer for all tasks; None while nothing waits, so that an idle client does not wake.
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def expect(self, entry: Entry) -> None:
        """See `NoLookAhead.expect`."""
        # What is attached has an unknown beginning, and so an unknown end.
        if not entry.attached:
            timings = self._timings.of(entry.info.name, entry.size, entry.info.prior)
            forecast = timings.forecast(entry.readings)
            if forecast is not None:
                self._overlap.expect(entry, entry.lease.pools, entry.began_at, forecast)
        self._plan_look()

    def accepted(self, entry: Entry) -> None:
        """See `NoLookAhead.accepted`."""
        # Without a queue nothing leaves early, and nothing is earned.
        if self._entries.queued:
            self._overlap.accepted()
        self.expect(entry)

    def refused(self, entry: Entry) -> bool:
        """See `NoLookAhead.refused`."""
        # Only a submit that left early was a guess. Any other 429 is news about the account.
        if not entry.lease.early:
            return False
        self._overlap.refused(asyncio.get_running_loop().time())
        return True

    def forget(self, entry: Entry) -> None:
        """See `NoLookAhead.forget`."""
        self._overlap.forget(entry)

    def close(self) -> None:
        """See `NoLookAhead.close`."""
        # For good: polls that come back afterwards still report here, and must not set the timer again.
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan_look(self) -> None:
        """Look again soon, while requests wait."""
        if self._timer is None and self._entries.queued and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._overlap.look_again_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        submit_s = self._timings.round_trips.submit_s
        if submit_s is not None and self._entries.queued and not self._closed:
            # Half of a round trip passes before the server decides. Before the first submit was measured, nothing
            # leaves early: its moment of arrival could not be foretold.
            self._limiter.grant_early(self._overlap.free_slots(loop.time(), submit_s / 2))
        self._plan_look()
