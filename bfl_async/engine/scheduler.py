"""Admits requests, sends them as slots allow, follows them, and accounts for every slot.

Each admitted request is an `Entry`, owned here. When the limiter grants its lease, one runner (a coroutine of
the client, never of the caller) sends the POST, follows the task and settles the entry. All shared state is
changed in synchronous methods, between awaits:

    queued ──granted──> submitting ──accepted──> submitted ──terminal status──> settled
       ^                    │  │                     │
       └──429, 503, no ─────┘  └── refused, unknown ─┴── no longer followed ──> settled
          connection

A slot is taken before the POST leaves. It is freed in the step in which the task is seen terminal, or in which
it is certain that no task exists; when neither is known, it is held for `unknown_s`. What a caller does
frees nothing: a cancelled caller's request is withdrawn if it was not sent, and else drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, assert_never, get_args

from bfl_async._config import ACCOUNT, Timeouts
from bfl_async.engine.entry import Entry
from bfl_async.engine.gate import SpendingGate
from bfl_async.engine.overlap import Overlap
from bfl_async.engine.poller import Poller
from bfl_async.engine.task_verdicts import has_result, settlement_of
from bfl_async.errors import (
    AmbiguousSubmitError,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    InvalidRequestError,
    LimiterError,
    QueueFullError,
    ReplyTimeoutError,
    TaskError,
    TaskRecord,
    TransportError,
)
from bfl_async.models import check_makes_task, model_info, takes_webhook
from bfl_async.polling.book import TimingsBook, size_of
from bfl_async.polling.policies import Polling
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.protocols.ledger import Journal
from bfl_async.protocols.limiter import EarlyGrants, Lease, Limiter
from bfl_async.protocols.transport import Request, Transport
from bfl_async.protocols.webhook import Webhook
from bfl_async.results.download import Downloads
from bfl_async.results.result import Result
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.tasks import new_task
from bfl_async.runtime.threads import Threads
from bfl_async.runtime.time import TimeBudget, TimeLimit
from bfl_async.types.common import JSON
from bfl_async.types.lifecycle import End, State
from bfl_async.types.replies import (
    Accepted,
    Answered,
    Busy,
    Delivery,
    Failed,
    Lost,
    Moderated,
    NotSent,
    Ready,
    Receipt,
    Refused,
    Settlement,
    SubmitAnswer,
    Unknown,
    Unsent,
)
from bfl_async.types.statistics import Statistics
from bfl_async.wire.encoding import chars_of, dump_json, encode_body
from bfl_async.wire.redaction import HiddenTexts, texts_in
from bfl_async.wire.submit_verdicts import judge_submit, judge_submit_error, submit_backoff_s

if TYPE_CHECKING:
    from bfl_async.engine.budget import Purse
    from bfl_async.engine.reporter import Reporter

_log = logging.getLogger("bfl_async")

_LEAST_UNKNOWN_S = 10.0
_LAST_REPEAT_S = 0.2  # with less time left an unsent request is not tried again
_CANCELS = 5  # how often a coroutine is told to end, so many seconds apart
_CANCEL_S = 0.5
_PROMPT = 0.9  # a task that was delivered is taken to have ended after this share of the time
_LARGE_BODY_CHARS = 256 * 1024  # from here on JSON encoding goes to a worker thread
_ENCODERS = 4  # bodies that are encoded at a time: each holds a few times its files' size
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
        self._transport = transport
        self._limiter = limiter
        self._timeouts = timeouts
        self._submit_s = submit_s  # what a submit may take; None: the transport itself sees to it
        self._unknown_s = unknown_s
        self._queue = queue  # the limiter's bound, which holds for parked requests as well
        self._rng = rng
        self._purse = purse
        self._reporter = reporter
        self._encoders = Threads("bfl-encoding", _ENCODERS)
        self.timings = timings
        self._overlap: Overlap | None = None
        if overlap is not None and isinstance(limiter, EarlyGrants):
            self._overlap = Overlap(overlap)
            self.timings.round_trips.overlaps = True
            self._early = limiter
        self._overlap_timer: asyncio.TimerHandle | None = None
        self._poller = Poller(
            transport,
            polling,
            rng,
            max_polls_per_s=max_polls_per_s,
            together=polls_together,
            longest_poll_s=longest_poll_s,
            on_pending=None if self._overlap is None else self._expect,
            webhook=webhook,
            reporter=reporter,
        )
        self.downloads: Downloads = Downloads(
            transport, rng, on_ended=None if reporter is None else reporter.downloaded
        )
        # Every entry that is not settled is in exactly one of these; written by _move() only.
        self._by_state: dict[State, dict[Entry, None]] = {
            State.QUEUED: {}, State.SUBMITTING: {}, State.SUBMITTED: {}
        }  # fmt: skip
        self._tasks: dict[str, Entry] = {}  # by task id, while followed
        self._runners: dict[asyncio.Task[None], Entry | None] = {}
        self._gate = SpendingGate()
        self._idle: set[asyncio.Future[None]] = set()  # of drain(): woken when nothing is left
        self._left_submitting: asyncio.Future[None] | None = None  # of aclose(): woken at the last POST's end
        # False from the beginning of a drain at the end: what was admitted goes on, and nothing new is admitted.
        self._admitting = True
        self._closing = False
        self._ending = False  # aclose() is at work
        self._resting = 0  # entries that wait for their next attempt after a failure
        # What an attempt that makes no connection may take, the wait for a key function included.
        self._attempt_s = 2 * timeouts.connect
        self._submitted = self._refused_429 = self._refused_overlap = 0
        self._ends: dict[End, int] = dict.fromkeys(get_args(End), 0)
        self._credits = 0.0

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
        if not self._admitting:
            raise ClientClosedError("the client is closed: make a new one")
        # Whatever way a request came, a ledger or a job's record included.
        if not any_endpoint:
            check_makes_task(request.model)
        if not isinstance(priority, int):
            raise ConfigError(f"priority must be a whole number, not {priority!r}")
        entry = Entry(request, request.model, model_info(request.model), deadline, outage_s)
        if deadline is not None and deadline <= asyncio.get_running_loop().time():
            raise entry.timeout_error()
        entry.journal = journal
        entry.is_bounded = bounded
        entry.any_endpoint = any_endpoint
        # Its runner is to see the caller's variables, and not those of the request that happens to free a slot.
        context = contextvars.copy_context()
        entry.lease = Lease(
            (ACCOUNT, *entry.info.pools),
            priority=priority,
            bounded=bounded,
            on_granted=lambda: self._granted(entry, context),
            on_failed=lambda error: self._settle(entry, Unsent(error)),
        )
        if self._purse is not None:
            entry.reserved = self._purse.reserve(request)
        try:
            refusal = self._enter_queue(entry)
        except BaseException:
            self._give_back(entry)
            raise
        if self._reporter is not None:
            self._reporter.queued(entry)
        if refusal is not None:
            self._settle(entry, Unsent(refusal))
        return entry

    def _enter_queue(self, entry: Entry) -> BFLError | None:
        """Queue a new request; return the error that it would only meet again, if there is one."""
        gate = self._gate
        queued = self._by_state[State.QUEUED]
        queued[entry] = None
        try:
            if gate.error is None:
                self._limiter.enqueue(entry.lease)
            elif asyncio.get_running_loop().time() < gate.closed_until:
                return gate.error
            elif gate.probe is None:
                gate.probe = entry
                self._limiter.enqueue(entry.lease)
            else:
                gate.parked[entry] = None
            self._check_queue(entry)
        except BaseException:
            # The queue is full, or a limiter from outside has a bug.
            del queued[entry]
            self._tell_limiter(self._limiter.withdraw, entry.lease)
            self._tell_limiter(self._limiter.release, entry.lease)
            self._leave_gate(entry)
            raise
        if entry in gate.parked:
            # It is counted here; the limiter does not refuse it later, when the gate opens.
            entry.lease.bounded = False
        return None

    def _check_queue(self, entry: Entry) -> None:
        """Hold `Limits.queue` for what the limiter does not see: what waits after a failure, or behind the probe.

        Raises:
            QueueFullError: As many requests are waiting as may.
        """
        if self._queue is None or not entry.lease.bounded:
            return
        if not (self._resting or self._gate.parked):
            # All of them wait in the limiter, which counts them itself.
            return
        queued = self._by_state[State.QUEUED]
        if len(queued) <= self._queue:
            return
        # One that has a slot does not wait, but if it fails it will.
        waiting = sum(each.is_bounded and not each.lease.taken for each in queued)
        if waiting > self._queue:
            raise QueueFullError(
                f"{self._queue} requests are waiting, as many as Limits(queue={self._queue}) allows: try again later"
            )

    def attach(
        self, task_id: str, *, polling_url: str | None, model: str | None, cost: float | None
    ) -> Entry:
        """Follow a task that exists already; it takes its slots at once."""
        known = self._tasks.get(task_id)
        if known is not None:
            return known
        if not self._admitting:
            raise ClientClosedError("the client is closed: make a new one")
        entry = Entry(None, model, model_info(model), None)
        entry.lease = Lease((ACCOUNT, *entry.info.pools))
        entry.lease.task_id = task_id
        self._limiter.take(entry.lease)
        self._by_state[State.QUEUED][entry] = None
        # Its age is not known: it is polled as one that may end at any moment.
        entry.began_at = asyncio.get_running_loop().time() - self._timings_of(entry).law.quantile_s(0.5)
        self._enter_submitted(entry, Receipt(task_id, polling_url, cost))
        webhook = self._poller.webhook
        if webhook is not None:  # who submitted it may have had the same webhook
            entry.expectation = webhook.expect(
                functools.partial(self._delivered_attached, entry), attached_id=task_id
            )
        if entry.settlement is None:
            self._spawn(self._run_attached(entry), entry)
        return entry

    def withdraw(self, entry: Entry) -> bool:
        """Take a request back if nothing was sent for it; True if so."""
        if entry.state is not State.QUEUED:
            settlement = entry.settlement
            return isinstance(settlement, Unsent) and settlement.withdrawn
        self._settle(
            entry,
            Unsent(
                TaskError("the request was withdrawn before it was sent: no task exists, nothing is paid"),
                withdrawn=True,
            ),
        )
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

    def position(self, entry: Entry) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._limiter.position(entry.lease)

    # --- the runner of one request ----------------------------------------------------------------------

    def _granted(self, entry: Entry, context: contextvars.Context) -> None:
        # Still "queued": until the runner begins, a withdrawal costs nothing.
        self._spawn(self._run(entry), entry, context)

    async def _run(self, entry: Entry) -> None:
        # A caller that was cancelled in this turn of the loop, as by `asyncio.timeout(0)`, withdraws in the next one.
        await asyncio.sleep(0)
        if entry.settlement is None and entry.lease.taken:
            await self._work(entry, self._submit_and_follow(entry))

    async def _run_attached(self, entry: Entry) -> None:
        await self._work(entry, self._follow(entry))

    async def _submit_and_follow(self, entry: Entry) -> None:
        if await self._submit(entry):
            await self._follow(entry)

    async def _work(self, entry: Entry, steps: Coroutine[object, object, None]) -> None:
        """Do a runner's work; however it ends, its entry gets an end."""
        try:
            await steps
        except asyncio.CancelledError as exc:
            if not is_cancelled():
                # Other code cancelled something that this request waited for.
                self._broken(entry, exc)
                return
            self._interrupted(entry)
            raise
        except Exception as exc:  # a bug of ours, or of a transport or policy from outside
            self._broken(entry, exc)

    async def _submit(self, entry: Entry) -> bool:
        """Send the POST and apply what it brought; True when the task is to be followed."""
        request = entry.request
        assert request is not None
        try:
            # Still "queued": nothing is sent yet, and a withdrawal costs nothing.
            encoded, texts = await self._encode(request, self._webhook_fields(entry))
        except InvalidRequestError as exc:  # a file that cannot be read, or does not fit
            self._refuse(entry, exc)
            return False
        except (ValueError, TypeError) as exc:
            unfit = InvalidRequestError(f"the request for {request.model} cannot be written as JSON: {exc}")
            unfit.__cause__ = exc
            self._refuse(entry, unfit)
            return False
        except OSError as exc:  # no thread could be started
            unsent = ConnectError(f"the request could not be encoded: {exc}; nothing was sent")
            unsent.__cause__ = exc
            self._repeat_unsent(entry, unsent, spent_s=0.0)
            return False
        # All that can fail comes before the state says that something may have been sent.
        entry.size = size_of(getattr(request, "width", None), getattr(request, "height", None))
        if entry.journal is not None and entry.settlement is None and not self._is_late(entry):
            try:
                await entry.journal.submitting()
            except BFLError as exc:
                self._settle(entry, Unsent(exc))
        if entry.settlement is not None:
            return False
        if self._is_late(entry):
            # Its slot came in time, and the loop did not, or the encoding took too long.
            self._settle(entry, Unsent(entry.timeout_error()))
            return False
        self._move(entry, State.SUBMITTING)
        entry.attempts += 1
        if self._reporter is not None:
            self._reporter.submitting(entry)
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        answer = await self._post(entry, encoded, texts)
        del encoded  # what was sent is not needed to follow it
        if self._reporter is not None and isinstance(answer, Refused | Busy):
            self._reporter.refused(entry, answer.error)
        match answer:
            case Accepted(receipt):
                now = loop.time()
                self.timings.round_trips.note_submit(now - sent_at)
                self._accept(entry, receipt, began_at=(sent_at + now) / 2)
                if entry.journal is not None:
                    await entry.journal.submitted(receipt)
                return entry.settlement is None
            case Answered():
                self._settle(entry, answer)
            case Refused(error):
                self._refuse(entry, error)
            case Busy(error, retry_after_s, no_slot):
                self._postpone(entry, error, retry_after_s, no_slot=no_slot)
            case NotSent(error):
                self._repeat_unsent(entry, error, spent_s=loop.time() - sent_at)
            case Unknown(error):
                known = entry.delivery
                if known is None:
                    self._settle(entry, Lost(error))
                else:  # the server told by webhook what its answer would have: nothing is lost
                    self._accept(entry, Receipt(known.task_id, None, known.cost), began_at=sent_at)
                    return entry.settlement is None
            case _:  # pragma: no cover
                assert_never(answer)
        return False

    async def _encode(self, request: Request, more: Mapping[str, JSON]) -> tuple[bytes, HiddenTexts]:
        """Return the JSON text of a submit with `more` fields, and the texts that no error may show."""
        if request.has_files:
            return await self._encoders.run(_body_and_texts, request, more)
        body = {**request.body(), **more} if more else request.body()
        if chars_of(body) < _LARGE_BODY_CHARS:
            return dump_json(body), HiddenTexts(body)
        return await self._encoders.run(encode_body, body), HiddenTexts(texts_in(body))

    @staticmethod
    def _is_late(entry: Entry) -> bool:
        """Return whether the caller's time is up, so that nothing may be sent for it any more."""
        return entry.deadline is not None and asyncio.get_running_loop().time() >= entry.deadline

    async def _post(self, entry: Entry, encoded: bytes, texts: HiddenTexts) -> SubmitAnswer:
        info = entry.info
        entry.submit_reply = None
        try:
            if self._submit_s is None:
                reply = await self._transport.submit(info.endpoint, encoded)
            else:
                async with TimeLimit(self._submit_s):
                    reply = await self._transport.submit(info.endpoint, encoded)
        except BFLError as exc:
            return judge_submit_error(exc)
        except TimeoutError as exc:
            within = "in time" if self._submit_s is None else f"within {self._submit_s:g} s"
            return judge_submit_error(_caused(ReplyTimeoutError(f"no reply {within}"), exc))
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # A transport from outside: whether anything was sent is for it to say, and it does not.
            return judge_submit_error(_caused(TransportError("the call was cancelled, and not by us"), exc))
        entry.submit_reply = reply
        return judge_submit(
            reply, model=info.name, now=time.time(), hidden=texts, any_endpoint=entry.any_endpoint
        )

    async def _follow(self, entry: Entry) -> None:
        task_s = self._timeouts.task if self._timeouts.task is not None else entry.info.task_s
        settlement = await self._poller.follow(
            entry, deadline=entry.accepted_at + task_s, timings=self._timings_of(entry)
        )
        self._finish(entry, settlement)

    # --- the steps: synchronous, each leaves slots and states in order -----------------------------------

    def _finish(self, entry: Entry, settlement: Settlement) -> None:
        """End a followed task: the one place for what a poll found and for what was delivered."""
        if entry.settlement is not None:
            return
        if isinstance(settlement, Ready):
            record = entry.record()
            assert record is not None
            polled = entry.poll_reply if entry.delivery is None else None
            entry.result = Result.of(
                settlement.reply,
                task=record,
                downloads=self.downloads,
                polled=polled,
                request_id=entry.request_id,
            )
        self._settle(entry, settlement)
        if isinstance(settlement, Ready) and not entry.attached:  # the next submit does not wait for this
            ready_s = entry.seen_at - entry.began_at
            readings = entry.readings
            if entry.delivery is not None:
                # Taken for prompt: polls that were not needed bound the end from below no more.
                prompt = Reading(_PROMPT * ready_s, None, None)
                readings = sorted([*readings, prompt], key=lambda reading: reading.elapsed_s)
            self.timings.observe(entry.info.name, entry.size, entry.info.prior, readings, ready_s)

    def _webhook_fields(self, entry: Entry) -> Mapping[str, JSON]:
        """Return a webhook's fields for a submit, where the model has them and the caller set none."""
        webhook, request = self._poller.webhook, entry.request
        if webhook is None or not takes_webhook(request) or getattr(request, "webhook_url", None) is not None:
            return {}
        if entry.journal is not None:
            return {}  # its records have an order of their own, which a delivery would overtake
        if entry.expectation is None:  # else of an attempt that made no task
            entry.expectation = webhook.expect(functools.partial(self._delivered, entry))
        expected = entry.expectation
        return {"webhook_url": expected.url, "webhook_secret": expected.secret}

    def _delivered(self, entry: Entry, delivery: Delivery) -> None:
        """Take a verified delivery; what ends the task ends it in this very step."""
        if entry.settlement is not None:
            return
        if entry.task_id is None:
            entry.delivery = delivery  # it overtook the submit's own answer
            return
        entry.delivery = None
        if delivery.task_id != entry.task_id:
            _log.warning(
                "a delivery for task %s names another task: it is left out",
                entry.task_id,
                extra=entry.facts(),
            )
            return
        settlement = self._poller.judge_delivery(entry, delivery, asyncio.get_running_loop().time())
        if settlement is None:
            return
        if not has_result(settlement):
            entry.poll_now = True
            entry.nudge_poller()
            return
        entry.delivery = delivery
        try:
            self._finish(entry, settlement)
        except Exception as exc:
            self._broken(entry, exc)
        runner = entry.runner
        if runner is not None and runner is not asyncio.current_task():
            runner.cancel()  # it sleeps, or polls for what is known now

    def _delivered_attached(self, entry: Entry, delivery: Delivery) -> None:
        """Poll at once when a delivery says that an attached task has ended.

        Its proof may belong to any submit, so nothing that it says is believed.
        """
        if entry.settlement is None and settlement_of(delivery.as_poll(), delivery.task_id) is not None:
            entry.poll_now = True
            entry.nudge_poller()

    def rely_on_polls(self) -> None:
        """Poll as without a webhook from here on: the web server that takes deliveries may listen no more."""
        if self._poller.webhook is not None:
            self._poller.webhook = None
            self._replan_polls()

    def _replan_polls(self) -> None:
        for entry in self._by_state[State.SUBMITTED]:
            entry.nudge_poller()

    def _accept(self, entry: Entry, receipt: Receipt, *, began_at: float) -> None:
        self._submitted += 1
        entry.began_at = began_at
        self._enter_submitted(entry, receipt)
        if self._overlap is not None:
            if self._by_state[State.QUEUED]:  # without a queue nothing leaves early, and nothing is earned
                self._overlap.accepted()
            self._expect(entry)
        entry.lease.task_id = receipt.task_id
        self._tell_limiter(self._limiter.confirm, entry.lease)
        for parked in self._gate.accept(entry):
            self._enqueue(parked)
        if entry.expectation is not None:
            entry.expectation.name(receipt.task_id)
        if entry.delivery is not None:
            self._delivered(entry, entry.delivery)

    def _enter_submitted(self, entry: Entry, receipt: Receipt) -> None:
        entry.task_id = receipt.task_id
        entry.polling_url = receipt.polling_url
        entry.cost = receipt.cost
        entry.problem = None
        entry.accepted_at = asyncio.get_running_loop().time()
        self._charge(entry)
        self._tasks.setdefault(receipt.task_id, entry)
        self._move(entry, State.SUBMITTED)
        if self._reporter is not None:
            self._reporter.submitted(entry)

    def _refuse(self, entry: Entry, error: BFLError) -> None:
        if self._gate.closes_on(error):
            self._gate.close(error, asyncio.get_running_loop().time())
            for waiting in list(self._by_state[State.QUEUED]):
                self._settle(waiting, Unsent(error))
        self._settle(entry, Unsent(error))

    def _postpone(self, entry: Entry, error: BFLError, retry_after_s: float | None, *, no_slot: bool) -> None:
        """429, or 503 with a JSON body: no task exists, the request keeps its place."""
        entry.problem = error
        # A connection was made.
        entry.connecting = None
        if no_slot:
            if entry.lease.early and self._overlap is not None:
                self._refused_overlap += 1
                self._overlap.refused(asyncio.get_running_loop().time())
            else:
                self._refused_429 += 1
            # Also where nobody waits for it any more: what a 429 teaches holds for all.
            self._move(entry, State.QUEUED)
            self._refuse_lease(entry, retry_after_s)
            if not self._ends_unsent(entry) and self._reporter is not None:
                self._reporter.retried(entry, error, None)
        elif not self._ends_unsent(entry):
            self._move(entry, State.QUEUED)
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
        if entry.connecting is None:
            # The first attempt does not count either, so that there is always a second one.
            entry.connecting = TimeBudget(
                entry.outage_s if entry.outage_s is not None else self._timeouts.connect
            )
        else:
            entry.connecting.spend(spent_s, allowed_s=self._attempt_s)
        left_s = entry.connecting.left_s
        if entry.deadline is not None:
            left_s = entry.deadline - asyncio.get_running_loop().time()
        if left_s < _LAST_REPEAT_S:
            self._settle(entry, Unsent(error))
            return
        self._move(entry, State.QUEUED)
        # Never past the half of what is left, so that the last attempts are made near the end.
        wait_s = min(left_s / 2, submit_backoff_s(entry.attempts, None, self._rng))
        entry.connecting.spend(wait_s, allowed_s=wait_s)
        self._requeue_after(entry, error, wait_s)

    def _ends_unsent(self, entry: Entry) -> bool:
        """Settle an unsent request that must not be sent again: its caller has left, or the client closes."""
        if self._closing:
            self._settle(entry, Unsent(_closed(entry), withdrawn=True))
            return True
        if entry.abandoned or entry.stopped:
            self._move(entry, State.QUEUED)
            return self.withdraw(entry)
        gate = self._gate
        if gate.error is not None and entry is not gate.probe:
            # The gate closed while this one was on its way: it would only meet the same refusal.
            self._settle(entry, Unsent(gate.error))
            return True
        return False

    def _requeue_after(self, entry: Entry, error: BFLError, wait_s: float) -> None:
        self._tell_limiter(self._limiter.release, entry.lease)
        loop = asyncio.get_running_loop()
        entry.requeue_timer = loop.call_later(wait_s, self._requeue, entry)
        self._resting += 1
        if self._reporter is not None:
            self._reporter.retried(entry, error, wait_s)

    def _requeue(self, entry: Entry) -> None:
        entry.requeue_timer = None
        self._resting -= 1
        self._enqueue(entry)

    # --- calls of the limiter: one that fails must leave no entry without an end ----------------------------

    def _enqueue(self, entry: Entry) -> None:
        """Let an admitted request wait for a slot again."""
        try:
            self._limiter.enqueue(entry.lease)
        except Exception as exc:
            self._limiter_failed(entry, exc)

    def _refuse_lease(self, entry: Entry, retry_after_s: float | None) -> None:
        try:
            self._limiter.refuse(entry.lease, retry_after_s=retry_after_s)
        except Exception as exc:
            self._limiter_failed(entry, exc)

    def _limiter_failed(self, entry: Entry, exc: Exception) -> None:
        """The limiter takes a request no more: it was closed before its client, or has a bug."""
        if isinstance(exc, BFLError):
            error: BFLError = exc
        else:
            error = LimiterError(f"the limiter failed by a bug ({type(exc).__name__}): nothing was sent")
            error.__cause__ = exc
            _log.error("the limiter failed by a bug", exc_info=exc, extra=entry.facts())
        self._settle(entry, Unsent(error))

    def _tell_limiter(self, step: Callable[[Lease], None], lease: Lease) -> None:
        """Tell the limiter of a step that it cannot refuse; if it fails, the request goes on all the same."""
        try:
            step(lease)
        except Exception:
            _log.exception("the limiter failed by a bug")

    def _next_probe(self, entry: Entry) -> None:
        """The probe ended without an answer about money: the next one in line becomes the probe."""
        gate = self._gate
        if gate.probe is not entry:
            return
        gate.probe = None
        if gate.parked and not self._closing:
            following = next(iter(gate.parked))
            del gate.parked[following]
            gate.probe = following
            self._enqueue(following)

    def _leave_gate(self, entry: Entry) -> None:
        self._gate.parked.pop(entry, None)
        self._next_probe(entry)

    def _settle(self, entry: Entry, settlement: Settlement) -> None:
        """Assign the end, once, and give the slot back or hold it. Slots first: the next POST waits for no one."""
        if entry.settlement is not None:
            return
        entry.settlement = settlement
        self._leave(entry)
        if self._overlap is not None:
            self._overlap.forget(entry)
        if entry.requeue_timer is not None:
            entry.requeue_timer.cancel()
            entry.requeue_timer = None
            self._resting -= 1
        if entry.task_id is not None and self._tasks.get(entry.task_id) is entry:
            del self._tasks[entry.task_id]
        try:
            if isinstance(settlement, Lost):
                self._limiter.release(entry.lease, after_s=self._held_s(entry))
            else:
                self._limiter.withdraw(entry.lease)
                self._limiter.release(entry.lease)
            self._leave_gate(entry)
            self._end_expectation(entry, settlement)
        finally:
            # Also if a limiter from outside fails: nobody is to wait for ever.
            entry.lease.on_granted = _ignore  # these two alone lead back from the lease to the entry
            entry.lease.on_failed = _ignore
            self._charge(entry)
            if isinstance(settlement, Unsent | Answered):
                self._give_back(entry)
            end = self._count(settlement)
            if entry.abandoned and isinstance(settlement, Ready):
                entry.log_ready_unheard()
            entry.state = State.SETTLED
            if self._reporter is not None:
                self._reporter.settled(entry, end)
            entry.notify_settled()
            if not any(self._by_state.values()):
                for waiter in self._idle:
                    _wake(waiter)

    def _end_expectation(self, entry: Entry, settlement: Settlement) -> None:
        expectation, webhook = entry.expectation, self._poller.webhook
        if expectation is None:
            return
        entry.expectation = None
        came_through = webhook is None or webhook.comes_through
        seen = isinstance(settlement, Ready | Moderated) and not entry.attached
        expectation.end(missed=seen and entry.delivery is None)
        if came_through and webhook is not None and not webhook.comes_through:
            self._replan_polls()

    def _charge(self, entry: Entry) -> None:
        """Count what a task costs; a settled cost takes the place of the receipt's. Others paid for attached ones."""
        if entry.cost is not None and not entry.attached:
            self._credits += entry.cost - entry.charged
            entry.charged = entry.cost
            if self._purse is not None:
                self._purse.replace(entry.reserved, entry.cost)
                entry.reserved = entry.cost

    def _give_back(self, entry: Entry) -> None:
        """No task exists, so nothing has to be paid."""
        if self._purse is not None:
            self._purse.replace(entry.reserved, 0.0)
            entry.reserved = 0.0

    def _count(self, settlement: Settlement) -> End:
        end: End
        match settlement:
            case Ready():
                end = "ready"
            case Moderated():
                end = "moderated"
            case Lost(AmbiguousSubmitError()):
                end = "ambiguous"
            case Answered():
                end = "answered"
            case Unsent(withdrawn=True):
                end = "withdrawn"
            case Failed() | Lost() | Unsent():
                end = "failed"
        self._ends[end] += 1
        return end

    def _move(self, entry: Entry, state: State) -> None:
        self._leave(entry)
        if state is State.QUEUED and entry.journal is not None:
            entry.journal.queued()
        self._by_state[state][entry] = None
        entry.state = state
        entry.touch()

    def _leave(self, entry: Entry) -> None:
        self._by_state[entry.state].pop(entry, None)
        left = self._left_submitting
        if left is not None and not self._by_state[State.SUBMITTING] and not left.done():
            left.set_result(None)

    def _held_s(self, entry: Entry) -> float:
        """How long a slot stays taken whose task can no longer be followed."""
        if self._unknown_s is not None:
            return self._unknown_s
        task_s = self._timeouts.task if self._timeouts.task is not None else entry.info.task_s
        return min(max(_LEAST_UNKNOWN_S, 2.0 * self._timings_of(entry).p99_s), task_s)

    def _timings_of(self, entry: Entry) -> Timings:
        return self.timings.of(entry.info.name, entry.size, entry.info.prior)

    # --- overlap ----------------------------------------------------------------------------------------

    def _expect(self, entry: Entry) -> None:
        """Note when a task in flight is likely to end."""
        assert self._overlap is not None
        # What is attached has an unknown beginning, and so an unknown end.
        forecast = None if entry.attached else self._timings_of(entry).forecast(entry.readings)
        if forecast is not None:
            self._overlap.expect(entry, entry.lease.pools, entry.began_at, forecast)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Look again and again, while requests wait, whether a submit may leave early."""
        assert self._overlap is not None
        if self._overlap_timer is None and self._by_state[State.QUEUED] and not self._closing:
            loop = asyncio.get_running_loop()
            self._overlap_timer = loop.call_later(self._overlap.look_again_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._overlap is not None
        self._overlap_timer = None
        submit_s = self.timings.round_trips.submit_s
        if submit_s is not None and self._by_state[State.QUEUED] and not self._closing:
            self._early.grant_early(self._overlap.free_slots(loop.time(), submit_s / 2))
        self._look_ahead()

    # --- ends that should not happen --------------------------------------------------------------------

    def _broken(self, entry: Entry, exc: BaseException) -> None:
        """A bug in a runner: it costs its own request, and no other."""
        _log.error("a runner failed by a bug", exc_info=exc, extra=entry.facts())
        if entry.settlement is not None:
            return
        what = f"a bug ended this request ({type(exc).__name__})"
        if isinstance(exc, asyncio.CancelledError):
            what = "something that this request waited for was cancelled"
        error: BFLError
        if entry.state is State.QUEUED:
            error = TaskError(f"{what} before it was sent: no task exists, nothing is paid")
        elif entry.task_id is None:
            error = AmbiguousSubmitError(f"{what} while it was submitted: a task may exist and be paid")
        else:
            error = TaskError(f"{what}: the task goes on and can be attached", task_id=entry.task_id)
        error.__cause__ = exc
        self._settle(entry, Unsent(error) if entry.state is State.QUEUED else Lost(error))

    def _interrupted(self, entry: Entry) -> None:
        """The runner was cancelled: by aclose(), or by a loop that is shutting down."""
        if not self._closing and entry.delivery is None:
            # Not by a delivery, which ends the runner of what it settles: the loop ends without aclose(). The slot that
            # this entry frees, or that its caller has freed, must not send the next request.
            self.begin_close()
        if entry.settlement is not None:
            return
        if entry.state is State.SUBMITTING:
            self._settle(
                entry,
                Lost(
                    AmbiguousSubmitError(
                        "the client was closed before the submit was answered: a task may exist and be paid"
                    )
                ),
            )
        elif entry.state is State.QUEUED:
            self._settle(entry, Unsent(_closed(entry), withdrawn=True))
        elif not self._ending:  # else aclose() settles it, with the list of all open tasks
            self._settle(entry, Lost(_closed(entry)))

    # --- coroutines, statistics, the end ----------------------------------------------------------------

    def _spawn(
        self,
        work: Coroutine[object, object, None],
        entry: Entry | None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[None]:
        runner = new_task(work, context=context)
        self._runners[runner] = entry
        if entry is not None:
            entry.runner = runner
        runner.add_done_callback(self._runner_ended)
        return runner

    def _runner_ended(self, runner: asyncio.Task[None]) -> None:
        entry = self._runners.pop(runner, None)
        if entry is not None and entry.runner is runner:
            entry.runner = None
        if runner.cancelled():
            if entry is not None:
                self._interrupted(entry)  # cancelled before its first step
        elif (exc := runner.exception()) is not None:
            facts = None if entry is None else entry.facts()
            _log.error("a background coroutine failed by a bug", exc_info=exc, extra=facts)

    @property
    def closing(self) -> bool:
        """True once nothing more is taken in."""
        return not self._admitting

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a background coroutine that this client owns: it is cancelled and awaited at close."""
        return self._spawn(work, None)

    def owns(self, task: asyncio.Task[object] | None) -> bool:
        """True for a coroutine of this client."""
        return task in self._runners

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        pools = dict(self._limiter.statistics())
        account = pools.get(ACCOUNT)
        return Statistics(
            queued=len(self._by_state[State.QUEUED]),
            submitting=len(self._by_state[State.SUBMITTING]),
            active=len(self._by_state[State.SUBMITTED]),
            slots_taken=0 if account is None else account.taken,
            pools=pools,
            submitted=self._submitted,
            ready=self._ends["ready"],
            moderated=self._ends["moderated"],
            failed=self._ends["failed"],
            ambiguous=self._ends["ambiguous"],
            withdrawn=self._ends["withdrawn"],
            polls=self._poller.polls,
            refused_429=self._refused_429,
            refused_overlap=self._refused_overlap,
            credits_spent=round(self._credits, 6),
            latency=self.timings.statistics(),
            budget_left_usd=None if self._purse is None else self._purse.left_usd,
        )

    async def drain(self, timeout: float | None) -> bool:
        """Wait until nothing is queued or in flight; True if so."""
        loop = asyncio.get_running_loop()
        # What ended while the process stood still is found by one more poll.
        limit = TimeLimit(timeout, on_stall=self._poll_now)
        try:
            async with limit:
                while any(self._by_state.values()):
                    waiter: asyncio.Future[None] = loop.create_future()
                    self._idle.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._idle.discard(waiter)
        except TimeoutError:
            if not limit.expired:
                raise
        return not any(self._by_state.values())

    def _poll_now(self) -> None:
        for entry in self._by_state[State.SUBMITTED]:
            entry.poll_now = True
            entry.nudge_poller()

    def stop_admission(self) -> None:
        """Admit nothing more, by whatever way: streams read their sources no further. What was admitted goes on."""
        if not self._admitting:
            return
        self._admitting = False
        for runner, entry in list(self._runners.items()):
            # Streams' pumps: a source that is waited for might never come.
            if entry is None:
                runner.cancel()

    def begin_close(self) -> None:
        """Take nothing more in, and withdraw what is queued."""
        if self._closing:
            return
        self.stop_admission()
        self._closing = True
        if self._overlap_timer is not None:
            self._overlap_timer.cancel()
            self._overlap_timer = None
        for entry in list(self._by_state[State.QUEUED]):
            self._settle(entry, Unsent(_closed(entry), withdrawn=True))

    async def aclose(self) -> None:
        """Let POSTs end, end the pollers, settle what is open."""
        self.begin_close()
        self._ending = True
        try:
            if self._by_state[State.SUBMITTING]:
                self._left_submitting = asyncio.get_running_loop().create_future()
                with contextlib.suppress(TimeoutError):
                    async with TimeLimit(self._timeouts.close):
                        await self._left_submitting
            await self._end_runners()
        finally:
            # Also when the loop itself is being torn down: every handle gets its answer.
            for runner in list(self._runners):
                runner.cancel()
            self._settle_open()
            self.downloads.close()
        threads_s = min(_CLOSE_THREADS_S, self._timeouts.close)
        await self._encoders.aclose(threads_s)
        await self.downloads.wait_closed(threads_s)

    async def _end_runners(self) -> None:
        """Cancel the runners and wait for them. A source of a stream may swallow that, so it is said again."""
        for _ in range(_CANCELS):
            if not self._runners:
                return
            for runner in self._runners:
                runner.cancel()
            await asyncio.wait(list(self._runners), timeout=_CANCEL_S)
        if self._runners:
            _log.error(
                "%d coroutines do not end when they are cancelled: a stream's source?",
                len(self._runners),
                extra={"bfl_coroutines": len(self._runners)},
            )

    def _settle_open(self) -> None:
        for entry in list(self._by_state[State.SUBMITTING]):
            self._interrupted(entry)
        open_entries = list(self._by_state[State.SUBMITTED])
        if not open_entries:
            return
        tasks = tuple(record for entry in open_entries if (record := entry.record()) is not None)
        ids = ", ".join(str(task["task_id"]) for task in tasks)
        _log.warning(
            "the client was closed while %d tasks went on: %s; each can be attached",
            len(tasks),
            ids,
            extra={"bfl_task_ids": [task["task_id"] for task in tasks]},
        )
        for entry in open_entries:
            entry.heard = True
            self._settle(entry, Lost(_closed(entry, tasks)))


def _closed(entry: Entry, tasks: tuple[TaskRecord, ...] | None = None) -> ClientClosedError:
    record = entry.record()
    if tasks is None:
        tasks = () if record is None else (record,)
    where = (
        "nothing was sent"
        if record is None
        else f"task {entry.task_id} goes on and can be attached, see .tasks"
    )
    return ClientClosedError(f"the client was closed: {where}", task_id=entry.task_id, tasks=tasks)


def _body_and_texts(request: Request, more: Mapping[str, JSON]) -> tuple[bytes, HiddenTexts]:
    """Read, encode: called in a worker thread."""
    body = {**request.body(), **more}
    texts = HiddenTexts(texts_in(body))
    encoding = [body]
    del body
    return encode_body(encoding.pop()), texts


def _ignore(_: BFLError | None = None) -> None:
    """Do nothing: a settled request is granted nothing, and cannot fail."""


def _caused(error: BFLError, cause: BaseException) -> BFLError:
    error.__cause__ = cause
    return error


def _wake(future: asyncio.Future[None]) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        future.set_result(None)
