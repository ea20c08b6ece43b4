"""Every call of the limiter, and what waits outside of it: requests that rest after a failure, or behind the gate.

A limiter may come from outside. A call that fails must leave no entry without an end, and no lease behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from bfl_async._config import ACCOUNT
from bfl_async.engine.entry import Entry
from bfl_async.engine.gate import SpendingGate
from bfl_async.engine.open_entries import OpenEntries
from bfl_async.errors import BFLError, LimiterError, QueueFullError
from bfl_async.protocols.limiter import Lease, Limiter
from bfl_async.types.statistics import PoolStatistics

_log = logging.getLogger("bfl_async")


class Slots:
    """The limiter as the scheduler uses it.

    Args:
        entries: Read only, to count those that wait.
        queue: The limiter's bound, which holds for requests outside of it as well; None: there is none.
        fail: Ends an entry with an error: the limiter takes it no more.
    """

    def __init__(
        self,
        limiter: Limiter,
        entries: OpenEntries,
        queue: int | None,
        *,
        fail: Callable[[Entry, BFLError], None],
    ) -> None:
        self._limiter = limiter
        self._entries = entries
        self._queue = queue
        self._fail = fail
        self.gate: SpendingGate = SpendingGate()
        # How many entries wait for their next attempt after a failure: those with a `requeue_timer`. The limiter does
        # not see them.
        self._resting = 0
        # For how long requests waited for the account's slots, and since when they do; None: none waits for one.
        self._full_s = 0.0
        self._full_since: float | None = None
        self._closed = False

    def close(self) -> None:
        """Send no further probe: the client closes."""
        self._closed = True

    # --- in ---------------------------------------------------------------------------------------------

    def enter(self, entry: Entry) -> BFLError | None:
        """Queue a new request; return the error that it would only meet again, if there is one.

        Raises:
            QueueFullError: As many requests are waiting as may.
        """
        gate = self.gate
        try:
            if gate.error is None:
                self._limiter.enqueue(entry.lease)
            elif asyncio.get_running_loop().time() < gate.closed_until:
                return gate.error
            elif gate.probe is None:
                # The pause is over: this one finds out whether the account pays again. Noted before it is queued, as
                # the limiter may grant its slot at once.
                gate.probe = entry
                self._limiter.enqueue(entry.lease)
            else:
                gate.parked.add(entry)
            self._check_queue(entry)
        except BaseException:
            # The queue is full, or a limiter from outside has a bug.
            self._call(self._limiter.withdraw, entry.lease)
            self._call(self._limiter.release, entry.lease)
            self._leave_gate(entry)
            raise
        self._look()
        if entry in gate.parked:
            # It is counted here; the limiter does not refuse it later, when the gate opens.
            entry.lease.bounded = False
        return None

    def _check_queue(self, entry: Entry) -> None:
        """Hold `Limits.queue` for what the limiter does not see: what rests, or is parked behind the probe.

        Raises:
            QueueFullError: As many requests are waiting as may.
        """
        if self._queue is None or not entry.lease.bounded:
            return
        if not (self._resting or self.gate.parked):
            # All of them wait in the limiter, which counts them itself.
            return
        queued = self._entries.queued
        if len(queued) <= self._queue:
            return
        # One that has a slot does not wait, but if it fails it will.
        waiting = sum(each.is_bounded and not each.lease.taken for each in queued)
        if waiting > self._queue:
            raise QueueFullError(
                f"{self._queue} requests are waiting, as many as Limits(queue={self._queue}) allows: try again later"
            )

    def take(self, lease: Lease) -> None:
        """Count a task that exists already; it takes its slots at once, whatever the limit."""
        self._limiter.take(lease)

    def enqueue(self, entry: Entry) -> None:
        """Let an admitted request wait for a slot again."""
        try:
            self._limiter.enqueue(entry.lease)
        except Exception as exc:
            # It has a runner or a caller that waits, and there is no one to raise this to.
            self._failed(entry, exc)

    def rest(self, entry: Entry, wait_s: float) -> None:
        """Give the slot back, and wait for one again after some seconds."""
        # The server has no task of it, so others may use the slot in the meantime.
        self._call(self._limiter.release, entry.lease)
        loop = asyncio.get_running_loop()
        entry.requeue_timer = loop.call_later(wait_s, self._come_back, entry)
        self._resting += 1

    def _come_back(self, entry: Entry) -> None:
        entry.requeue_timer = None
        self._resting -= 1
        self.enqueue(entry)

    def stop_resting(self, entry: Entry) -> None:
        """Forget the next attempt of a request that has ended."""
        if entry.requeue_timer is not None:
            entry.requeue_timer.cancel()
            entry.requeue_timer = None
            self._resting -= 1

    # --- what the server said ----------------------------------------------------------------------------

    def confirm(self, entry: Entry) -> None:
        """Note an accepted submit. If it was the probe, those that waited for it may go."""
        self._call(self._limiter.confirm, entry.lease)
        self._look()
        for parked in self.gate.accept(entry):
            self.enqueue(parked)

    def refuse(self, entry: Entry, retry_after_s: float | None) -> None:
        """Note a 429: the limiter lowers what it takes for the limit, and queues the request in front again."""
        try:
            self._limiter.refuse(entry.lease, retry_after_s=retry_after_s)
        except Exception as exc:
            self._failed(entry, exc)
        self._look()

    # --- out --------------------------------------------------------------------------------------------

    def free(self, entry: Entry, *, after_s: float | None = None) -> None:
        """Give back what an ended request has: its place in the queue, or its slot.

        Args:
            after_s: Seconds for which the slot stays taken, since a task may exist; None frees it now.
        """
        if after_s is not None:
            self._limiter.release(entry.lease, after_s=after_s)
        else:
            # Both, whatever the state: a lease may have been granted in this very turn, before its runner began.
            self._limiter.withdraw(entry.lease)
            self._limiter.release(entry.lease)
        # Last: the next probe takes the place in the queue that is free by now.
        self._leave_gate(entry)
        self._look()

    def _leave_gate(self, entry: Entry) -> None:
        """Take a request from the gate. If it was the probe, the next one in line becomes the probe."""
        gate = self.gate
        gate.parked.discard(entry)
        if gate.probe is not entry:
            return
        gate.probe = None
        if gate.parked and not self._closed:
            # In the order of arrival. Without a next probe the gate would stay closed until another request comes.
            following = next(iter(gate.parked))
            gate.parked.remove(following)
            gate.probe = following
            self.enqueue(following)

    # --- looks ------------------------------------------------------------------------------------------

    def position(self, entry: Entry) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._limiter.position(entry.lease)

    def full_s(self) -> float:
        """For how many seconds requests have waited while all slots of the account were taken."""
        # A snapshot may be taken outside of the loop; the time since the last change is then not in it.
        with contextlib.suppress(RuntimeError):
            self._look()
        return self._full_s

    def _look(self) -> None:
        """Count the time since the last look, if requests waited for the account's slots then."""
        try:
            pool = self._limiter.statistics().get(ACCOUNT)
        except Exception:
            # A limiter from outside with a bug: whoever needs its numbers meets it.
            pool = None
        now = asyncio.get_running_loop().time()
        if self._full_since is not None:
            self._full_s += now - self._full_since
        is_full = pool is not None and pool.queued > 0 and pool.taken >= pool.working
        self._full_since = now if is_full else None

    def statistics(self) -> dict[str, PoolStatistics]:
        """A snapshot of the pools."""
        return dict(self._limiter.statistics())

    # --- limiters with bugs -------------------------------------------------------------------------------

    def _failed(self, entry: Entry, exc: Exception) -> None:
        """The limiter takes a request no more: it was closed before its client, or has a bug."""
        if isinstance(exc, BFLError):
            error: BFLError = exc
        else:
            error = LimiterError(f"the limiter failed by a bug ({type(exc).__name__}): nothing was sent")
            error.__cause__ = exc
            _log.error("the limiter failed by a bug", exc_info=exc, extra=entry.facts())
        self._fail(entry, error)

    def _call(self, step: Callable[[Lease], None], lease: Lease) -> None:
        """Call a step of the limiter that it cannot refuse; if it fails, the request goes on all the same."""
        try:
            step(lease)
        except Exception:
            _log.exception("the limiter failed by a bug")


def settled_lease(lease: Lease) -> None:
    """Cut the way from a lease back to its entry, which has ended: it is granted nothing, and cannot fail."""
    lease.on_granted = _ignore
    lease.on_failed = _ignore


def _ignore(_: BFLError | None = None) -> None:
    """Do nothing."""


__all__ = ["Slots", "settled_lease"]
