"""The steps that change the state of a request, and the order of their effects.

    queued ──granted──> submitting ──accepted──> submitted ──terminal status──> settled
       ^                    │  │                     │
       └──429, 503, no ─────┘  └── refused, unknown ─┴── no longer followed ──> settled
          connection

A slot is taken before the POST leaves. It is freed in the step in which the task is seen terminal, or in which
it is certain that no task exists; when neither is known, it is held for `unknown_s`.

Every step is synchronous: between its first and its last line nobody else sees the client. Each leaves the lists of
`OpenEntries`, the slots, the money and the webhook in agreement, or the entry settled.
"""

from __future__ import annotations

import asyncio
import logging
import random

from bfl_async._config import Timeouts
from bfl_async.engine.counts import Counts, end_of
from bfl_async.engine.deliveries import Deliveries
from bfl_async.engine.ends import closed_unsent, end_by_bug
from bfl_async.engine.entry import Entry
from bfl_async.engine.look_ahead import NoLookAhead
from bfl_async.engine.open_entries import OpenEntries
from bfl_async.engine.poller import Poller
from bfl_async.engine.reports import Reports
from bfl_async.engine.slots import Slots, settled_lease
from bfl_async.engine.spending import Spending
from bfl_async.errors import BFLError, TaskError
from bfl_async.polling.book import TimingsBook
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.protocols.limiter import Limiter
from bfl_async.results.download import Downloads
from bfl_async.results.result import Result
from bfl_async.runtime.time import TimeBudget
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import (
    Answered,
    Busy,
    Lost,
    NotSent,
    Ready,
    Receipt,
    Refused,
    Settlement,
    Unknown,
    Unsent,
)
from bfl_async.wire.submit_verdicts import submit_backoff_s

_log = logging.getLogger("bfl_async")

# A slot whose task is unknown is held for at least so long.
_LEAST_UNKNOWN_S = 10.0
# With less time left an unsent request is not tried again.
_LAST_REPEAT_S = 0.2
# A task that was delivered is taken to have ended after this share of the time.
_PROMPT = 0.9


# What a submit can bring beside a task.
NoTask = Answered | Refused | Busy | NotSent | Unknown


class Steps:
    """The one writer of the shared state of a client's requests.

    Args:
        entries: The lists of open requests. Written here and at admission.
        ahead: Told of what begins and ends, for submits that leave early.
        unknown_s: Seconds for which the slot of an unknown task is held; None: twice what 99 % of the tasks take.
        queue: See `Slots`.
    """

    def __init__(
        self,
        entries: OpenEntries,
        limiter: Limiter,
        ahead: NoLookAhead,
        poller: Poller,
        spending: Spending,
        downloads: Downloads,
        reports: Reports,
        timings: TimingsBook,
        timeouts: Timeouts,
        rng: random.Random,
        *,
        unknown_s: float | None,
        queue: int | None,
    ) -> None:
        self._entries = entries
        self._ahead = ahead
        self._spending = spending
        self._downloads = downloads
        self._reports = reports
        self._timings = timings
        self._timeouts = timeouts
        self._rng = rng
        self._unknown_s = unknown_s
        self.slots: Slots = Slots(limiter, entries, queue, fail=self.fail)
        self.deliveries: Deliveries = Deliveries(poller, entries, finish=self.finish, broken=self.broken)
        self.counts: Counts = Counts()
        # True once nothing more is sent.
        self.closing: bool = False

    # --- accepted ---------------------------------------------------------------------------------------

    def accept(self, entry: Entry, receipt: Receipt, *, began_at: float) -> None:
        """submitting -> submitted: a task exists, and its slot is proved."""
        self.counts.submitted += 1
        entry.began_at = began_at
        self.enter_submitted(entry, receipt)
        self._ahead.accepted(entry)
        entry.lease.task_id = receipt.task_id
        self.slots.confirm(entry)
        # Last: a delivery that came early may end the task here.
        self.deliveries.accepted(entry, receipt.task_id)

    def enter_submitted(self, entry: Entry, receipt: Receipt) -> None:
        entry.task_id = receipt.task_id
        entry.polling_url = receipt.polling_url
        entry.cost = receipt.cost
        entry.problem = None
        entry.accepted_at = asyncio.get_running_loop().time()
        self._spending.charge(entry)
        self._entries.name(entry, receipt.task_id)
        self.move(entry, State.SUBMITTED)
        self._reports.submitted(entry)

    # --- not accepted ---------------------------------------------------------------------------------

    def take_back(self, entry: Entry, answer: NoTask, *, spent_s: float) -> None:
        """Apply an answer that brought no task: try again, or settle."""
        match answer:
            case Answered():
                self.settle(entry, answer)
            case Refused(error):
                self._refuse(entry, error)
            case Busy(error, retry_after_s, no_slot):
                self._postpone(entry, error, retry_after_s, no_slot=no_slot)
            case NotSent(error):
                self._repeat_unsent(entry, error, spent_s=spent_s)
            case Unknown(error):
                self.settle(entry, Lost(error))

    def _refuse(self, entry: Entry, error: BFLError) -> None:
        """A refusal that the next request would meet as well ends all that is queued, and closes the gate."""
        gate = self.slots.gate
        if gate.closes_on(error):
            gate.close(error, asyncio.get_running_loop().time())
            for waiting in list(self._entries.queued):
                self.fail(waiting, error)
        self.fail(entry, error)

    def _postpone(self, entry: Entry, error: BFLError, retry_after_s: float | None, *, no_slot: bool) -> None:
        """429, or 503 with a JSON body: no task exists, the request keeps its place."""
        entry.problem = error
        # A connection was made.
        entry.connecting = None
        if no_slot:
            if self._ahead.refused(entry):
                self.counts.refused_overlap += 1
            else:
                self.counts.refused_429 += 1
            # Also where nobody waits for it any more: what a 429 teaches holds for all.
            self.move(entry, State.QUEUED)
            self.slots.refuse(entry, retry_after_s)
            if not self._ends_unsent(entry):
                self._reports.retried(entry, error, None)
        elif not self._ends_unsent(entry):
            self._requeue_after(entry, error, submit_backoff_s(entry.attempts, retry_after_s, self._rng))

    def _repeat_unsent(self, entry: Entry, error: BFLError, *, spent_s: float) -> None:
        """No connection: nothing was sent, so it is tried again until its time is over.

        Args:
            spent_s: Seconds that this attempt took. The time in which the request waits for a slot does not count: it
                depends on other requests.
        """
        entry.problem = error
        if self._ends_unsent(entry):
            return
        connect_s = self._timeouts.connect
        if entry.connecting is None:
            # The first attempt does not count either, so that there is always a second one.
            entry.connecting = TimeBudget(connect_s if entry.outage_s is None else entry.outage_s)
        else:
            # What an attempt that makes no connection may take, the wait for a key function included.
            entry.connecting.spend(spent_s, allowed_s=2 * connect_s)
        left_s = entry.connecting.left_s
        if entry.deadline is not None:
            left_s = entry.deadline - asyncio.get_running_loop().time()
        if left_s < _LAST_REPEAT_S:
            self.fail(entry, error)
            return
        # Never past the half of what is left, so that the last attempts are made near the end.
        wait_s = min(left_s / 2, submit_backoff_s(entry.attempts, None, self._rng))
        entry.connecting.spend(wait_s, allowed_s=wait_s)
        self._requeue_after(entry, error, wait_s)

    def _ends_unsent(self, entry: Entry) -> bool:
        """Settle an unsent request that must not be sent again, for one of three reasons; True if so."""
        if self.closing:
            self.settle(entry, closed_unsent(entry))
            return True
        if entry.abandoned or entry.stopped:
            # Its caller has left, or wants nothing more to be sent.
            self.move(entry, State.QUEUED)
            return self.withdraw(entry)
        gate = self.slots.gate
        if gate.error is not None and entry is not gate.probe:
            # The gate closed while this one was on its way: it would only meet the same refusal.
            self.fail(entry, gate.error)
            return True
        return False

    def _requeue_after(self, entry: Entry, error: BFLError, wait_s: float) -> None:
        self.move(entry, State.QUEUED)
        self.slots.rest(entry, wait_s)
        self._reports.retried(entry, error, wait_s)

    # --- what callers do ------------------------------------------------------------------------------

    def withdraw(self, entry: Entry) -> bool:
        """Take a request back if nothing was sent for it; True if so."""
        if entry.state is not State.QUEUED:
            settlement = entry.settlement
            return isinstance(settlement, Unsent) and settlement.withdrawn
        error = TaskError("the request was withdrawn before it was sent: no task exists, nothing is paid")
        self.settle(entry, Unsent(error, withdrawn=True))
        return True

    def stop(self, entry: Entry) -> None:
        """Send nothing more for a request: withdrawn if unsent, else followed to its end."""
        entry.stopped = True
        self.withdraw(entry)

    def leave(self, entry: Entry) -> None:
        """Note that a request's only caller has left: withdrawn if unsent, and never sent again."""
        entry.abandoned = True
        entry.heard = True
        if isinstance(entry.settlement, Ready):
            # It became Ready in the very turn of the loop in which its caller left.
            entry.log_ready_unheard()
        self.withdraw(entry)

    # --- the end --------------------------------------------------------------------------------------

    def finish(self, entry: Entry, settlement: Settlement) -> None:
        """End a followed task: the one place for what a poll found and for what was delivered."""
        if entry.settlement is not None:
            return
        if isinstance(settlement, Ready):
            entry.result = self._result_of(entry, settlement)
        self.settle(entry, settlement)
        # The next submit does not wait for what follows.
        if isinstance(settlement, Ready) and not entry.attached:
            self._learn(entry)

    def _result_of(self, entry: Entry, settlement: Ready) -> Result:
        record = entry.record()
        assert record is not None
        return Result.of(
            settlement.reply,
            task=record,
            downloads=self._downloads,
            polled=entry.poll_reply if entry.delivery is None else None,
            request_id=entry.request_id,
        )

    def _learn(self, entry: Entry) -> None:
        """Add a finished task to what is known of its model's times."""
        ready_s = entry.seen_at - entry.began_at
        readings = entry.readings
        if entry.delivery is not None:
            # Taken for prompt: polls that were not needed bound the end from below no more.
            prompt = Reading(_PROMPT * ready_s, None, None)
            readings = sorted([*readings, prompt], key=lambda reading: reading.elapsed_s)
        self._timings.observe(entry.info.name, entry.size, entry.info.prior, readings, ready_s)

    def broken(self, entry: Entry, exc: BaseException) -> None:
        """A bug in a runner: it costs its own request, and no other."""
        _log.error("a runner failed by a bug", exc_info=exc, extra=entry.facts())
        if entry.settlement is None:
            self.settle(entry, end_by_bug(entry, exc))

    def fail(self, entry: Entry, error: BFLError) -> None:
        """Settle a request for which no task exists."""
        self.settle(entry, Unsent(error))

    def settle(self, entry: Entry, settlement: Settlement) -> None:
        """Assign the end, once. The effects and their order:

        1. The entry leaves its state, so that nothing finds it any more.
        2. Its slot is given back or held, and with that the next POST may begin: it waits for no one.
        3. What its webhook and its money are owed.
        4. Those who wait are told.

        The last two come also if a limiter from outside fails: nobody is to wait for ever.
        """
        if entry.settlement is not None:
            return
        entry.settlement = settlement
        self._entries.remove(entry)
        self._ahead.forget(entry)
        self.slots.stop_resting(entry)
        try:
            self.slots.free(entry, after_s=self._held_s(entry) if isinstance(settlement, Lost) else None)
            self.deliveries.end(entry, settlement)
        finally:
            settled_lease(entry.lease)
            self._spending.charge(entry)
            if isinstance(settlement, Unsent | Answered):
                self._spending.give_back(entry)
            end = end_of(settlement)
            self.counts.ends[end] += 1
            if entry.abandoned and isinstance(settlement, Ready):
                entry.log_ready_unheard()
            entry.state = State.SETTLED
            self._reports.settled(entry, end)
            entry.notify_settled()
            self._entries.tell()

    def close(self) -> None:
        """Send nothing more, and withdraw what is queued."""
        self.closing = True
        self._ahead.close()
        self.slots.close()
        for entry in list(self._entries.queued):
            self.settle(entry, closed_unsent(entry))

    # --- what the steps share -------------------------------------------------------------------------

    def move(self, entry: Entry, state: State) -> None:
        """Give an open entry another state, and wake whoever looks for a change."""
        if state is State.QUEUED and entry.journal is not None:
            # No task exists: the mark that it may have been sent is taken back.
            entry.journal.queued()
        self._entries.move(entry, state)
        entry.changed.ring()

    def _held_s(self, entry: Entry) -> float:
        """How long a slot stays taken whose task can no longer be followed."""
        if self._unknown_s is not None:
            return self._unknown_s
        return min(max(_LEAST_UNKNOWN_S, 2.0 * self.timings_of(entry).p99_s), self.task_s(entry))

    def task_s(self, entry: Entry) -> float:
        return self._timeouts.task if self._timeouts.task is not None else entry.info.task_s

    def timings_of(self, entry: Entry) -> Timings:
        return self._timings.of(entry.info.name, entry.size, entry.info.prior)
