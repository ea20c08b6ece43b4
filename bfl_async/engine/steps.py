"""The steps that change the state of a request, and the order of their effects.

    queued ──slot, begins──> submitting ──accepted──> submitted ──terminal status──> settled
      ^ │                       │  │                      │
      │ └─ withdrawn, late ─────┼──┼──────────────────────┼────────────────────────> settled
      └── 429, 503, no ─────────┘  └── refused, unknown ──┴── no longer followed ──> settled
          connection

An answer to the POST that holds the result itself goes from submitting to settled by way of submitted.

`State` (`types.lifecycle`) has the table: per state, which step moves a request in and out.

A slot is taken before the POST leaves. It is freed in the step in which the task is seen terminal, or in which
it is certain that no task exists; when neither is known, it is held for `unknown_s`.

Every step is synchronous: between its first and its last line no other code sees the client, except the callbacks that
a step calls itself. Each leaves the lists of `OpenEntries`, the slots, the money and the webhook in agreement, or
the entry settled. `settle` has the order of the effects with which a request ends; every end goes through it.
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
from bfl_async.status import TaskStatus
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import (
    Answered,
    Busy,
    Immediate,
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
        ahead: Notified of what begins and ends, for submits that leave early.
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
        # Both need a step for what goes wrong in them: they are given the step, and do not know this class.
        self.slots: Slots = Slots(limiter, entries, queue, fail=self.fail)
        self.deliveries: Deliveries = Deliveries(poller, entries, finish=self.finish, broken=self.broken)
        self.counts: Counts = Counts()
        # True once nothing more is sent. Written by `close` only.
        self.closing: bool = False

    # --- accepted ---------------------------------------------------------------------------------------

    def accept(self, entry: Entry, receipt: Receipt, *, began_at: float) -> None:
        """submitting -> submitted: a task exists, and its slot is proved."""
        self.counts.submitted += 1
        # Before the forecast below, which counts from it.
        entry.began_at = began_at
        self.enter_submitted(entry, receipt)
        self._ahead.accepted(entry)
        # Before the confirmation: by the id the limiter knows whether another lease stands for the same task.
        entry.lease.task_id = receipt.task_id
        # Also opens the gate if this was the probe. The requests behind it are queued in this very step.
        self.slots.confirm(entry)
        # Last: a delivery that came early may end the task here.
        self.deliveries.accepted(entry, receipt.task_id)

    def enter_submitted(self, entry: Entry, receipt: Receipt) -> None:
        """Note the task of a request. Shared by an accepted submit and by `attach`, which has no submit."""
        entry.task_id = receipt.task_id
        entry.polling_url = receipt.polling_url
        entry.cost = receipt.cost
        # What an earlier attempt met is over, and must not be shown as the cause of a timeout.
        entry.problem = None
        entry.accepted_at = asyncio.get_running_loop().time()
        self._spending.charge(entry)
        self._entries.name(entry, receipt.task_id)
        self.move(entry, State.SUBMITTED)
        self._reports.submitted(entry)

    # --- not accepted ---------------------------------------------------------------------------------

    def end_attempt(self, entry: Entry, answer: NoTask, *, spent_s: float) -> None:
        """End an attempt that brought no task: the request is tried again, or settled."""
        match answer:
            case Answered():
                self.settle(entry, answer)
            case Refused(error):
                self._refuse(entry, error)
            # No task exists in the next two, and the same request may be taken later.
            case Busy(error, retry_after_s, no_slot):
                self._postpone(entry, error, retry_after_s, no_slot=no_slot)
            case NotSent(error):
                self._repeat_unsent(entry, error, spent_s=spent_s)
            case Unknown(error):
                # A task may exist and be paid, so the request is never sent again here. Its slot is held for a while,
                # since the server may count it.
                self.settle(entry, Lost(error))

    def _refuse(self, entry: Entry, error: BFLError) -> None:
        """A refusal that the next request would meet as well ends all that is queued, and closes the gate."""
        gate = self.slots.gate
        if gate.closes_on(error):
            # The gate first: an owner that hears of a failure may send its next request in that very step, and it must
            # find the gate closed.
            gate.close(error, asyncio.get_running_loop().time())
            # A copy, as each failure takes its entry out of the list.
            for waiting in list(self._entries.queued):
                self.fail(waiting, error)
        self.fail(entry, error)

    def _postpone(self, entry: Entry, error: BFLError, retry_after_s: float | None, *, no_slot: bool) -> None:
        """429, or 503 with a JSON body: no task exists, the request keeps its place."""
        entry.problem = error
        # A connection was made: the time for an outage begins anew with the next one.
        entry.connecting = None
        if no_slot:
            # A refused early submit is the price of the overlap. It is counted apart, and lowers no limit.
            if self._ahead.refused(entry):
                self.counts.refused_overlap += 1
            else:
                self.counts.refused_429 += 1
            # Also where no caller waits for it any more: what a 429 teaches holds for all requests. The state goes
            # first, as the limiter may grant the slot again within `refuse`, or fail the request.
            self.move(entry, State.QUEUED)
            self.slots.refuse(entry, retry_after_s)
            if not self._ends_unsent(entry):
                self._reports.retried(entry, error, None)
        elif not self._ends_unsent(entry):
            # A 503 says nothing about slots. So the limiter learns nothing, and the request waits outside of it.
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
        # A caller with a deadline has said how long it waits; the general bound on outages is for the others.
        if entry.deadline is not None:
            left_s = entry.deadline - asyncio.get_running_loop().time()
        if left_s < _LAST_REPEAT_S:
            self.fail(entry, error)
            return
        # Never past the half of what is left, so that the last attempts are made near the end.
        wait_s = min(left_s / 2, submit_backoff_s(entry.attempts, None, self._rng))
        # The pause counts as it was planned. What follows it, the wait for a slot, depends on other requests.
        entry.connecting.spend(wait_s, allowed_s=wait_s)
        self._requeue_after(entry, error, wait_s)

    def _ends_unsent(self, entry: Entry) -> bool:
        """Settle an unsent request that must not be sent again, for one of three reasons; True if so."""
        if self.closing:
            self.settle(entry, closed_unsent(entry))
            return True
        if entry.abandoned or entry.stopped:
            # Its caller has left, or wants nothing more to be sent. By way of "queued", the one state in which a
            # request may be withdrawn, and in which its journal takes the mark of a possible submit back.
            self.move(entry, State.QUEUED)
            return self.withdraw(entry)
        gate = self.slots.gate
        # The probe itself goes on trying: what it meets opens the gate or closes it for another while.
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
            # Too late, or done before. A second call gives the answer of the first.
            settlement = entry.settlement
            return isinstance(settlement, Unsent) and settlement.withdrawn
        error = TaskError("the request was withdrawn before it was sent: no task exists, nothing is paid")
        self.settle(entry, Unsent(error, withdrawn=True))
        return True

    def stop(self, entry: Entry) -> None:
        """Send nothing more for a request: withdrawn if unsent, else followed to its end."""
        # Kept for the case that its POST is on its way and comes back without a task: see `_ends_unsent`.
        entry.stopped = True
        self.withdraw(entry)

    def leave(self, entry: Entry) -> None:
        """Note that a request's only caller has left: withdrawn if unsent, and never sent again."""
        entry.abandoned = True
        # No warning for an error that the caller chose not to wait for.
        entry.heard = True
        if isinstance(entry.settlement, Ready):
            # It became Ready in the very turn of the loop in which its caller left.
            entry.log_ready_unheard()
        self.withdraw(entry)

    # --- the end --------------------------------------------------------------------------------------

    def finish(self, entry: Entry, settlement: Settlement) -> None:
        """End a followed task: the one place for what a poll found and for what was delivered."""
        if entry.settlement is not None:
            # The delivery and a poll may both bring the end; the first one counts.
            return
        if isinstance(settlement, Ready):
            # Before the end is assigned: who is notified of it reads the result.
            entry.result = self._result_of(entry, settlement)
        self.settle(entry, settlement)
        # The next submit does not wait for what follows.
        if isinstance(settlement, Ready) and not entry.attached:
            self._learn(entry)

    def finish_at_once(self, entry: Entry, answer: Immediate) -> None:
        """End a request whose submit was answered with its result. Its slot is free: the server has no task."""
        entry.status = TaskStatus.READY
        entry.seen_at = asyncio.get_running_loop().time()
        self.finish(entry, Ready(answer.poll, answer.images))

    def _result_of(self, entry: Entry, settlement: Ready) -> Result:
        record = entry.record()
        assert record is not None
        # Its `Date` says how long the result's URL lasts. A poll from before a delivery would be too old for that.
        source = entry.poll_reply if entry.delivery is None else None
        return Result.of(
            settlement.reply,
            task=record,
            downloads=self._downloads,
            polled=entry.submit_reply if settlement.images else source,
            request_id=entry.request_id,
            images=settlement.images,
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
        """Assign the end, once. No other code ends a request. The effects, in this order:

        1. The end is assigned, and the entry leaves the lists: no later step finds it, and a second end is ignored.
        2. Its slot is given back or held. With that the next POST may begin, before anything else is done.
        3. Its webhook expects nothing more.
        4. Its money is settled: what a task costs is charged; without a task, or one that is free, nothing is.
        5. The end is counted, then reported: an observer reads statistics that agree with its event.
        6. Those who wait are notified, the request's own callers first, then a drain.

        Effects 4 to 6 come also if a limiter or a webhook from outside fails in 2 or 3: no caller may wait forever.
        """
        if entry.settlement is not None:
            return
        entry.settlement = settlement
        self._leave_lists(entry)
        try:
            # A task may go on where the end is `Lost`, and the server then counts its slot: it is held for a while.
            self.slots.free(entry, after_s=self._held_s(entry) if isinstance(settlement, Lost) else None)
            self.deliveries.end(entry, settlement)
        finally:
            # The limiter keeps the lease of a slot that is held, and one with a bug may keep any. Neither may reach the
            # entry again, or keep it in memory.
            settled_lease(entry.lease)
            self._settle_money(entry, settlement)
            self._notify_end(entry, settlement)

    def _leave_lists(self, entry: Entry) -> None:
        """Take an entry out of everything that could still act on it: the lists, the look-ahead, its timer."""
        self._entries.remove(entry)
        self._ahead.forget(entry)
        self.slots.stop_resting(entry)

    def _settle_money(self, entry: Entry, settlement: Settlement) -> None:
        # The newest cost counts: a poll may have stated another one than the receipt.
        self._spending.charge(entry)
        # Not after `Lost`: its task may be paid, so the budget keeps what was set aside for it.
        if isinstance(settlement, Unsent | Answered) or entry.is_free:
            self._spending.give_back(entry)

    def _notify_end(self, entry: Entry, settlement: Settlement) -> None:
        """Count, report and announce an end. It comes last: each caller may begin its next request within it."""
        end = end_of(settlement)
        self.counts.ends[end] += 1
        if entry.abandoned and isinstance(settlement, Ready):
            # Paid, and no caller is left: the log is the only place that still names the task.
            entry.log_ready_unheard()
        # Only now: until here it says in which list the entry was.
        entry.state = State.SETTLED
        self._reports.settled(entry, end)
        entry.notify_settled()
        # Behind the callers: see `OpenEntries.notify_waiters`.
        self._entries.notify_waiters()

    def close(self) -> None:
        """Send nothing more, and withdraw what is queued."""
        # From here on a request whose POST comes back without a task is not tried again.
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
        # Long enough for nearly every task of this model to have ended, and never longer than one may take.
        return min(max(_LEAST_UNKNOWN_S, 2.0 * self.timings_of(entry).p99_s), self.task_s(entry))

    def task_s(self, entry: Entry) -> float:
        """Seconds for which a task is followed: the caller's setting, else the model's."""
        return self._timeouts.task if self._timeouts.task is not None else entry.info.task_s

    def timings_of(self, entry: Entry) -> Timings:
        """What is known of the times of this model and size."""
        return self._timings.of(entry.info.name, entry.size, entry.info.prior)
