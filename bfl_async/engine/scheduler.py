"""Admits requests, sends them as slots allow, follows them, and accounts for every slot.

Each admitted request is an `Entry`, owned here. When the limiter grants its lease, one runner (a coroutine of
the client, never of the caller) sends the POST, follows the task and settles the entry. All shared state is
changed in the synchronous steps of `steps.py`, between awaits: read that file first. It has the states, what moves a
request from one to the next, and the order of the effects with which it ends.

What a caller does frees no slot: a cancelled caller's request is withdrawn if it was not sent, and else drained.

The parts do one thing each: `steps` (the states), `open_entries` (which request is in which state), `slots` (the
limiter), `spending` (credits), `submitting` (the POST), `poller` (the polls), `deliveries` (webhooks), `look_ahead`
(early submits), `runners` (coroutines). Here they are put together, and the coroutines walk from one step to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from bfl_async._config import ACCOUNT, Timeouts
from bfl_async.engine.ends import closed_error, closed_unsent, closed_while_submitting, immediate_error
from bfl_async.engine.entry import Entry
from bfl_async.engine.look_ahead import LookAhead, NoLookAhead
from bfl_async.engine.open_entries import OpenEntries
from bfl_async.engine.poller import Poller
from bfl_async.engine.reports import Reports
from bfl_async.engine.runners import Runners
from bfl_async.engine.spending import Spending
from bfl_async.engine.steps import Steps
from bfl_async.engine.submitting import Encoded, Submitter
from bfl_async.errors import BFLError, ClientClosedError, ConfigError
from bfl_async.models import check_makes_task, model_info
from bfl_async.polling.book import TimingsBook, size_of
from bfl_async.protocols.limiter import EarlyGrants, Lease, Limiter
from bfl_async.results.download import Downloads
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.time import TimeLimit
from bfl_async.types.held import is_own_id
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import (
    Accepted,
    Busy,
    Immediate,
    Lost,
    Receipt,
    Refused,
    Unknown,
)
from bfl_async.types.statistics import Statistics

if TYPE_CHECKING:
    from bfl_async.engine.budget import Purse
    from bfl_async.engine.reporter import Reporter
    from bfl_async.polling.protocol import Polling
    from bfl_async.protocols.ledger import Journal
    from bfl_async.protocols.transport import Request, Transport
    from bfl_async.protocols.webhook import Webhook

_log = logging.getLogger("bfl_async")

# How long the closing waits for a thread that hangs in a file.
_CLOSE_THREADS_S = 2.0


class Scheduler:
    """The one owner of a client's requests, and of the coroutines that work on them."""

    def __init__(
        self,
        *,
        transport: Transport,
        limiter: Limiter,
        polling: Polling,
        max_polls_per_s: float | None,
        polls_together: bool,
        timings: TimingsBook,
        timeouts: Timeouts,
        submit_s: float | None,
        longest_poll_s: float | None,
        unknown_s: float | None,
        overlap: float | None,
        queue: int | None,
        webhook: Webhook | None = None,
        rng: random.Random,
        purse: Purse | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.timings: TimingsBook = timings
        self._timeouts = timeouts
        self._entries = OpenEntries()
        self._submitter = Submitter(transport, submit_s)
        self._spending = Spending(purse)
        self._reports = Reports() if reporter is None else reporter
        ended = None if reporter is None else reporter.downloaded
        self.downloads: Downloads = Downloads(transport, rng, on_ended=ended)
        ahead = NoLookAhead()
        if overlap is not None and isinstance(limiter, EarlyGrants):
            ahead = LookAhead(overlap, limiter, self._entries, timings)
        self._poller = Poller(
            transport, polling, rng, max_polls_per_s=max_polls_per_s, together=polls_together,
            longest_poll_s=longest_poll_s, on_pending=ahead.expect, webhook=webhook, reports=self._reports,
        )  # fmt: skip
        self._steps = Steps(
            self._entries, limiter, ahead, self._poller, self._spending, self.downloads, self._reports, timings,
            timeouts, rng, unknown_s=unknown_s, queue=queue,
        )  # fmt: skip
        # The parts belong to the steps; what is read here is only for admission, positions and statistics.
        self._slots = self._steps.slots
        self._runners = Runners(self._interrupted)
        # False from the beginning of a drain at the end: what was admitted goes on, and nothing new is admitted.
        self._admitting = True
        # True while aclose() is at work, which settles what is left itself.
        self._ending = False

    # --- admission ------------------------------------------------------------------------------------

    def admit(
        self,
        request: Request,
        *,
        priority: int,
        deadline: float | None = None,
        outage_s: float | None = None,
        bounded: bool = True,
        journal: Journal | None = None,
        any_endpoint: bool = False,
    ) -> Entry:
        """Take a request in; from here on the client owns it.

        Args:
            deadline: The caller's, on the loop's clock: nothing is sent after it. A request that cannot be sent for
                want of a connection is tried until then.
            outage_s: Seconds for which it is tried without a connection where there is no deadline; None:
                `Timeouts.connect`.
            bounded: Whether `Limits.queue` holds for it.
            journal: Where what happens to it is to be durable before it goes on.
            any_endpoint: The POST may make no task: what it was answered is then all.
        Raises:
            TaskTimeoutError: The deadline has passed already.
            QueueFullError: As many requests are waiting as may.
            BudgetExceededError: It could cost more than the budget has left.
            ClientClosedError: The client is closing.
            ConfigError: The priority is no whole number.
            InvalidRequestError: It is for an endpoint that makes no task.
        """
        self._check_admission(request, priority, any_endpoint=any_endpoint)
        entry = Entry(request, request.model, model_info(request.model), deadline, outage_s)
        if entry.is_late:
            # Before anything is taken for it: there is nothing to give back.
            raise entry.timeout_error()
        entry.journal = journal
        entry.is_bounded = bounded
        entry.any_endpoint = any_endpoint
        entry.lease = self._new_lease(entry, priority, bounded=bounded)
        # Before the queue: a slot may be granted in `_enter`, and money that is in flight must count by then.
        self._spending.reserve(entry, request)
        refusal = self._enter(entry)
        self._reports.queued(entry)
        if refusal is not None:
            # Settled, and not raised: an observer sees each request begin and end, and so does a batch.
            self._steps.fail(entry, refusal)
        return entry

    def _check_admission(self, request: Request, priority: int, *, any_endpoint: bool) -> None:
        if not self._admitting:
            raise ClientClosedError("the client is closed: make a new one")
        # Whatever way a request came, a ledger or a job's record included: a name that comes from outside must not
        # delete a finetune, or report usage of a licensed model.
        if not any_endpoint:
            check_makes_task(request.model)
        if not isinstance(priority, int):
            raise ConfigError(f"priority must be a whole number, not {priority!r}")

    def _new_lease(self, entry: Entry, priority: int, *, bounded: bool) -> Lease:
        # Its runner is to see the caller's variables, and not those of the request that happens to free a slot.
        context = contextvars.copy_context()
        return Lease(
            (ACCOUNT, *entry.info.pools),
            priority=priority,
            bounded=bounded,
            # Still "queued": until the runner begins, a withdrawal costs nothing.
            on_granted=lambda: self._start(entry, context),
            on_failed=lambda error: self._steps.fail(entry, error),
        )

    def _enter(self, entry: Entry) -> BFLError | None:
        """Queue a new request; return the error that it would only meet again, if there is one."""
        self._entries.add(entry)
        try:
            return self._slots.enter(entry)
        except BaseException:
            # The caller gets the error instead of an entry, so nothing of this one may stay behind.
            self._entries.remove(entry)
            self._entries.notify_waiters()
            self._spending.give_back(entry)
            raise

    def attach(
        self, task_id: str, *, polling_url: str | None, model: str | None, cost: float | None
    ) -> Entry:
        """Follow a task that exists already; it takes its slots at once.

        Raises:
            InvalidRequestError: The id is of a result that came without a task.
        """
        if is_own_id(task_id):
            raise immediate_error(task_id)
        known = self._entries.by_task.get(task_id)
        if known is not None:
            # One poller serves all who follow a task.
            return known
        if not self._admitting:
            raise ClientClosedError("the client is closed: make a new one")
        entry = Entry(None, model, model_info(model))
        entry.lease = Lease((ACCOUNT, *entry.info.pools))
        entry.lease.task_id = task_id
        # Before the entry is known: a limiter that is closed raises here, and then there is nothing to take back.
        self._slots.take(entry.lease)
        self._entries.add(entry)
        # Its age is not known: it is polled as one that may end at any moment.
        entry.began_at = asyncio.get_running_loop().time() - self._steps.timings_of(entry).law.quantile_s(0.5)
        self._steps.enter_submitted(entry, Receipt(task_id, polling_url, cost))
        self._steps.deliveries.expect_attached(entry)
        if entry.settlement is None:
            self._runners.start(self._work(entry, self._follow(entry)), entry)
        return entry

    # --- what callers do --------------------------------------------------------------------------------

    def withdraw(self, entry: Entry) -> bool:
        """Take a request back if nothing was sent for it; True if so."""
        return self._steps.withdraw(entry)

    def stop(self, entry: Entry) -> None:
        """Send nothing more for a request: withdrawn if unsent, else followed to its end."""
        self._steps.stop(entry)

    def leave(self, entry: Entry) -> None:
        """Note that a request's only caller has left: withdrawn if unsent, and never sent again."""
        self._steps.leave(entry)

    def position(self, entry: Entry) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._slots.position(entry)

    # --- the runner of one request ----------------------------------------------------------------------

    def _start(self, entry: Entry, context: contextvars.Context) -> None:
        # Called by the limiter within a step. The runner's first line comes in a later turn of the loop, so that it
        # never sees half of that step.
        self._runners.start(self._run(entry), entry, context)

    async def _run(self, entry: Entry) -> None:
        # A caller that was cancelled in this turn of the loop, as by `asyncio.timeout(0)`, withdraws in the next one.
        await asyncio.sleep(0)
        # Without its slot nothing may be sent, whatever the limiter did in that turn.
        if entry.settlement is None and entry.lease.taken:
            await self._work(entry, self._submit_and_follow(entry))

    async def _submit_and_follow(self, entry: Entry) -> None:
        if await self._submit(entry):
            await self._follow(entry)

    async def _work(self, entry: Entry, work: Coroutine[object, object, None]) -> None:
        """Do a runner's work. Unless the request went back to the queue, its entry has an end afterwards."""
        try:
            await work
        except asyncio.CancelledError as exc:
            if not is_cancelled():
                # Other code cancelled something that this request waited for.
                self._steps.broken(entry, exc)
                return
            # By aclose(), by a delivery, or by a loop that shuts down. The end is assigned before the error goes on,
            # for in the last case no other coroutine may run any more.
            self._interrupted(entry)
            raise
        except Exception as exc:
            # A bug of ours, or of a transport or policy from outside.
            self._steps.broken(entry, exc)

    async def _submit(self, entry: Entry) -> bool:
        """Send the POST and apply what it brought; True when the task is to be followed."""
        request = entry.request
        assert request is not None
        # Still "queued": nothing is sent yet, and a withdrawal costs nothing.
        encoded = await self._submitter.encode(request, self._steps.deliveries.fields_for(entry))
        if not isinstance(encoded, Encoded):
            self._steps.end_attempt(entry, encoded, spent_s=0.0)
            return False
        # The polling policy learns by size; an attached task, whose request is not known, has none.
        entry.size = size_of(getattr(request, "width", None), getattr(request, "height", None))
        # All that can fail comes before the state says that something may have been sent.
        if not await self._may_send(entry):
            return False
        # From this line to the next await nothing can fail. A cancellation afterwards counts as a POST that may have
        # been taken: see `_interrupted`.
        self._steps.move(entry, State.SUBMITTING)
        entry.attempts += 1
        self._reports.submitting(entry)
        now = asyncio.get_running_loop().time
        sent_at = now()
        answer = await self._submitter.post(entry, encoded)
        # What was sent is not needed to follow it.
        del encoded
        # Before the answer is applied, which may end the request: an observer gets the events in their order.
        if isinstance(answer, Refused | Busy):
            self._reports.refused(entry, answer.error)
        if isinstance(answer, Accepted):
            self.timings.round_trips.note_submit(now() - sent_at)
            # The server has had it for half of the round trip, as far as can be known here.
            self._steps.accept(entry, answer.receipt, began_at=(sent_at + now()) / 2)
            if entry.journal is not None:
                # Durable before the first poll: a run that is killed from here on finds the task again.
                await entry.journal.submitted(answer.receipt)
        elif isinstance(answer, Immediate):
            await self._take_result(entry, answer, sent_at)
        elif isinstance(answer, Unknown) and entry.delivery is not None:
            # The webhook brought what the answer would have said: nothing is lost.
            known = entry.delivery
            self._steps.accept(entry, Receipt(known.task_id, None, known.cost), began_at=sent_at)
        else:
            self._steps.end_attempt(entry, answer, spent_s=now() - sent_at)
            return False
        # A delivery that overtook the answer may have ended the task in `accept`.
        return entry.settlement is None

    async def _take_result(self, entry: Entry, answer: Immediate, sent_at: float) -> None:
        """Apply an answer that is the result: accepted and Ready, in one step where no task can be asked for."""
        receipt = Receipt(answer.task_id, None, answer.poll.cost)
        self._steps.accept(entry, receipt, began_at=sent_at)
        # An id of ours leads to nothing. A journal keeps the mark of a possible submit until the image is saved.
        if entry.journal is not None and not is_own_id(answer.task_id):
            await entry.journal.submitted(receipt)
        self._steps.finish_at_once(entry, answer)

    async def _may_send(self, entry: Entry) -> bool:
        """Record that the request may have been sent, where that is to be durable; False if it must not be."""
        if entry.journal is not None and entry.settlement is None and not entry.is_late:
            try:
                # A run that is killed between this line and the receipt must find that a task may exist.
                await entry.journal.submitting()
            except BFLError as exc:
                # Nothing is sent that could not be recorded, since it would be paid again after a restart.
                self._steps.fail(entry, exc)
        if entry.settlement is None and entry.is_late:
            # Its slot came in time, and the loop did not, or the encoding took too long.
            self._steps.fail(entry, entry.timeout_error())
        return entry.settlement is None

    async def _follow(self, entry: Entry) -> None:
        deadline = entry.accepted_at + self._steps.task_s(entry)
        settlement = await self._poller.follow(
            entry, deadline=deadline, timings=self._steps.timings_of(entry)
        )
        self._steps.finish(entry, settlement)

    # --- ends that should not happen --------------------------------------------------------------------

    def _interrupted(self, entry: Entry) -> None:
        """The runner was cancelled: by aclose(), or by a loop that is shutting down."""
        if not self._steps.closing and entry.delivery is None:
            # Not by a delivery, which ends the runner of what it settles: the loop ends without aclose(). The slot that
            # this entry frees, or that its caller has freed, must not send the next request.
            self.begin_close()
        if entry.settlement is not None:
            return
        # By what is true of money: a POST on its way may be paid, a queued request cannot be, a task goes on.
        if entry.state is State.SUBMITTING:
            self._steps.settle(entry, closed_while_submitting())
        elif entry.state is State.QUEUED:
            self._steps.settle(entry, closed_unsent(entry))
        elif not self._ending:
            # Else aclose() settles it, with the list of all open tasks.
            self._steps.settle(entry, Lost(closed_error(entry)))

    # --- coroutines of the client's streams, statistics ---------------------------------------------------

    @property
    def closing(self) -> bool:
        """True once nothing more is taken in."""
        return not self._admitting

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a background coroutine that this client owns: it is cancelled and awaited at close."""
        return self._runners.start(work)

    def owns(self, task: asyncio.Task[object] | None) -> bool:
        """True for a coroutine of this client."""
        return task in self._runners

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        pools = self._slots.statistics()
        account = pools.get(ACCOUNT)
        counts, ends = self._steps.counts, self._steps.counts.ends
        return Statistics(
            queued=len(self._entries.queued),
            submitting=len(self._entries.submitting),
            active=len(self._entries.submitted),
            slots_taken=0 if account is None else account.taken,
            pools=pools,
            submitted=counts.submitted,
            ready=ends["ready"],
            moderated=ends["moderated"],
            failed=ends["failed"],
            ambiguous=ends["ambiguous"],
            withdrawn=ends["withdrawn"],
            polls=self._poller.polls,
            refused_429=counts.refused_429,
            refused_overlap=counts.refused_overlap,
            credits_spent=round(self._spending.credits, 6),
            latency=self.timings.statistics(),
            budget_left_usd=self._spending.left_usd,
            slots_full_s=self._slots.full_s(),
        )

    # --- the end ----------------------------------------------------------------------------------------

    def rely_on_polls(self) -> None:
        """Poll as without a webhook from here on: the web server that takes deliveries may listen no more."""
        self._steps.deliveries.close()

    async def drain(self, timeout: float | None) -> bool:
        """Wait until nothing is queued or in flight; True if so."""
        # What ended while the process stood still is found by one more poll.
        limit = TimeLimit(timeout, on_stall=self._poll_now)
        try:
            async with limit:
                await self._entries.wait_empty()
        except TimeoutError:
            # One that is not the limit's own belongs to whoever raised it.
            if not limit.expired:
                raise
        return not self._entries

    def _poll_now(self) -> None:
        for entry in self._entries.submitted:
            entry.poll_soon()

    def stop_admission(self) -> None:
        """Admit nothing more, by whatever way: streams read their sources no further. What was admitted goes on."""
        if self._admitting:
            self._admitting = False
            self._runners.cancel_sources()

    def begin_close(self) -> None:
        """Take nothing more in, and withdraw what is queued."""
        if self._steps.closing:
            return
        # First: the callers of what is withdrawn would otherwise admit their next requests in that very step.
        self.stop_admission()
        self._steps.close()

    async def aclose(self) -> None:
        """Let POSTs end, end the pollers, settle what is open."""
        self.begin_close()
        self._ending = True
        try:
            # A POST that is cut off is ambiguous, and perhaps paid: so each one gets time for its answer. Pollers do
            # not, as their tasks can be attached again.
            if self._entries.submitting:
                with contextlib.suppress(TimeoutError):
                    async with TimeLimit(self._timeouts.close):
                        await self._entries.wait_answered()
            await self._runners.end_all()
        finally:
            # Also when the loop itself is being torn down: every handle gets its answer.
            self._runners.cancel_all()
            self._settle_open()
            self.downloads.close()
        # Behind the answers of all handles: a thread that hangs in a file holds up nothing but the end of this call.
        threads_s = min(_CLOSE_THREADS_S, self._timeouts.close)
        await self._submitter.aclose(threads_s)
        await self.downloads.wait_closed(threads_s)

    def _settle_open(self) -> None:
        for entry in list(self._entries.submitting):
            self._interrupted(entry)
        open_entries = list(self._entries.submitted)
        if not open_entries:
            return
        # Each error lists all open tasks, so that whichever of them the application sees is enough to go on.
        tasks = tuple(record for entry in open_entries if (record := entry.record()) is not None)
        ids = ", ".join(str(task["task_id"]) for task in tasks)
        _log.warning(
            "the client was closed while %d tasks went on: %s; each can be attached",
            len(tasks),
            ids,
            extra={"bfl_task_ids": [task["task_id"] for task in tasks]},
        )
        for entry in open_entries:
            # The record above names it: no further warning for those whose callers have left.
            entry.heard = True
            self._steps.settle(entry, Lost(closed_error(entry, tasks)))
