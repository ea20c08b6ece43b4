"""Follows one task to its settlement.

A failed poll is not a failed task: whatever breaks on the way, only a parsed terminal status ends a task, or
its deadline. The body is read before the HTTP code, since a status may stand under 422 and 503.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.engine.entry import Entry
from bfl_async.engine.pacing import TOGETHER_S, Pacer, aligned_s
from bfl_async.engine.reports import Reports
from bfl_async.engine.task_verdicts import (
    NotFoundRow,
    deadline_error,
    has_result,
    name_exchange,
    problem_of,
    settlement_of,
)
from bfl_async.errors import (
    BFLError,
    ReplyTimeoutError,
    TaskNotFoundError,
    TransportError,
    UntrustedURLError,
)
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.time import TimeLimit, is_stall
from bfl_async.status import TaskStatus
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Delivery, Failed, Lost, PollReply, Reply, Settlement
from bfl_async.wire.errors import retry_after_s
from bfl_async.wire.json import Content, read_body
from bfl_async.wire.replies import (
    poll_of,
    result_path,
    shown_status,
)
from bfl_async.wire.submit_verdicts import poll_backoff_s

if TYPE_CHECKING:
    from bfl_async.polling.protocol import Polling
    from bfl_async.protocols.transport import Transport
    from bfl_async.protocols.webhook import Webhook

_log = logging.getLogger("bfl_async")

# Maximum number of unknown statuses that are logged, each once: a server that invents them must not fill a disk.
_STRANGE = 100
# Polls are at most so far apart while a caller reads updates().
_READ_SPACING_S = 1.0
# What the last poll may take, from when it is sent. Where no answer comes it is repeated until then.
_LAST_POLL_S = 1.0
_LAST_BACKOFF_S = 0.1
# A round trip that is known may take so much more than usual in the last poll.
_ROUND_TRIPS = 3.0
# Ready without the URL of a result: so many more polls, so far apart, until that is taken for all that will come.
_URL_WAITS_S = (0.2, 0.4, 0.6, 0.8)
_URL_POLL_S = 5.0
# What of a `Retry-After` beside a good answer is obeyed at most.
_MOST_HINT_S = 1.0


class _Course:
    """The polls of one task, as far as one depends on those before it. Written by its poller alone."""

    __slots__ = ("_has_stood_still", "deadline", "last_by", "not_found", "url")

    def __init__(self, url: str, deadline: float) -> None:
        self.url = url
        # On the loop's clock: the last poll is sent then.
        self.deadline = deadline
        self.not_found = NotFoundRow()
        # When the last poll must be answered; None until it is sent.
        self.last_by: float | None = None
        # Whether the one more last poll was granted that a process gets which stood still.
        self._has_stood_still = False

    def stood_still(self, sent_at: float, now: float) -> bool:
        """True once, if the process stood still during the last poll: the next one is the one that was promised."""
        assert self.last_by is not None
        if self._has_stood_still or not is_stall(now - sent_at, self.last_by - sent_at):
            return False
        self._has_stood_still, self.last_by = True, None
        return True


class Poller:
    """What all pollers of a client share.

    Args:
        together: Whether a poll may be moved by some hundredths of a second, to leave together with another.
        longest_poll_s: Seconds after which the transport itself ends a poll; None: it may not.
    """

    def __init__(
        self,
        transport: Transport,
        polling: Polling,
        rng: random.Random,
        *,
        max_polls_per_s: float | None = None,
        together: bool = False,
        longest_poll_s: float | None = None,
        on_pending: Callable[[Entry], None] | None = None,
        webhook: Webhook | None = None,
        reports: Reports | None = None,
    ) -> None:
        self._transport = transport
        self._polling = polling
        self._rng = rng
        self._pacer = None if max_polls_per_s is None else Pacer(max_polls_per_s)
        self._together = together
        # Of the moments: a client's own, so that those of all workers of a machine do not fall together.
        self._phase_s = rng.random() * TOGETHER_S
        self._longest_poll_s = math.inf if longest_poll_s is None else longest_poll_s
        # Told of each answer that found a task in flight.
        self._on_pending = _ignore if on_pending is None else on_pending
        self._reports = Reports() if reports is None else reports
        # None also once the client drains: its web server may listen no more.
        self.webhook: Webhook | None = webhook
        # How many were sent since the start.
        self.polls: int = 0
        # Unknown statuses that were logged.
        self._strange: set[str] = set()

    async def follow(self, entry: Entry, *, deadline: float, timings: Timings) -> Settlement:
        """Poll an accepted task until it is settled or its deadline has passed.

        Args:
            deadline: On the loop's clock. A last poll is sent at that moment.
        Cancellation: Ends the following; nothing is changed on the server.
        """
        # How many are polled now decides how far a poll may be moved to leave with another.
        timings.round_trips.followed += 1
        try:
            return await self._poll_until_settled(entry, deadline, timings)
        finally:
            timings.round_trips.followed -= 1

    async def _poll_until_settled(self, entry: Entry, deadline: float, timings: Timings) -> Settlement:
        """Poll again and again; each turn of the loop is one poll.

        A failed poll is followed by a back-off, and any other by what the policy plans. The last poll is sent at the
        deadline, and is repeated for a moment if it brings no answer.
        """
        assert entry.task_id is not None
        loop = asyncio.get_running_loop()
        # The receipt's URL as it came. With a webhook the receipt has none, and the task is asked for by its id.
        course = _Course(entry.polling_url or result_path(entry.task_id), deadline)
        now = loop.time()
        wait_s = 0.0 if entry.attached else self._plan(entry, now, timings)
        while True:
            sent_at, paced_s = await self._wait_turn(entry, course, now, wait_s, timings)
            reply = await self._ask(entry, course.url, sent_at, deadline, course.last_by)
            now = loop.time()
            if isinstance(reply, UntrustedURLError):
                # Asked again, it would lead elsewhere again, and the caller must know of it at once. The task goes on.
                return Lost(reply)
            if reply is not None:
                timings.round_trips.note_poll(now - sent_at, paced_s=paced_s)
            answer, retry_after = self._read_reply(entry, reply)
            self._count_poll(entry, answer, now - sent_at)
            if answer is None:
                # A failed poll says nothing of the task, so it ends nothing, and a row of "Task not found" is broken.
                entry.failed_polls += 1
                course.not_found.interrupt()
                wait_s = poll_backoff_s(entry.failed_polls, retry_after, self._rng)
            else:
                entry.failed_polls = 0
                # What an answer says was so in the middle of its round trip.
                entry.seen_at = (sent_at + now) / 2
                settlement = self._settlement_of(entry, answer, course.not_found, now)
                if settlement is not None and has_result(settlement):
                    return name_exchange(settlement, reply, entry.request)
                if settlement is not None:
                    # Ready without a URL. Its end is certain by now, so no deadline applies to what follows.
                    return await self._wait_url(entry, course.url, settlement)
                self._note_pending(entry, answer)
                wait_s = max(self._plan(entry, now, timings), min(retry_after or 0.0, _MOST_HINT_S))
            if course.last_by is None:
                continue
            # The deadline has passed. Without any reply the last poll is repeated while its time lasts; one reply that
            # finds the task in flight is the answer to it.
            if reply is None and now + _LAST_BACKOFF_S < course.last_by:
                await asyncio.sleep(_LAST_BACKOFF_S)
            elif reply is not None or not course.stood_still(sent_at, now):
                return Lost(deadline_error(entry))

    async def _wait_turn(
        self, entry: Entry, course: _Course, now: float, wait_s: float, timings: Timings
    ) -> tuple[float, float]:
        """Sleep until the next poll is due; return when it is sent, and for how long the bound on polls held it up.

        Args:
            now: When the poll before came back, from which `wait_s` counts.
        """
        loop = asyncio.get_running_loop()
        # By the policy: it is no back-off.
        planned = entry.failed_polls == 0
        if planned and self._together:
            # A back-off is not moved: its random half keeps clients from coming back together.
            trips = timings.round_trips
            wait_s = aligned_s(
                wait_s, now - self._phase_s, followed=trips.followed, round_trip_s=trips.poll_s or 0.0
            )
        last = await self._sleep(entry, now, wait_s, course.deadline, planned=planned)
        sent_at = loop.time()
        paced_s = 0.0 if self._pacer is None else self._pacer.delay_s(sent_at)
        if paced_s > 0:
            # The place in the pacer's line is taken by now, so this wait is not ended early.
            await asyncio.sleep(paced_s)
            sent_at = loop.time()
        if last and course.last_by is None:
            # Counted from when it is sent: a process that was busy at the deadline still gets its last answer.
            course.last_by = max(course.deadline, sent_at) + self._last_poll_s(timings)
        return sent_at, paced_s

    def _read_reply(self, entry: Entry, reply: Reply | None) -> tuple[PollReply | None, float | None]:
        """Return what a poll's reply says of the task, and the seconds after which to ask again; None: nothing.

        Writes `poll_reply`, and `problem` where the reply says nothing.
        """
        if reply is None:
            return None, None
        # Parsed once, and read twice: for a status first, whatever the HTTP code, and then for what is wrong.
        entry.poll_reply = reply
        content = read_body(reply.body, _bounds.POLL)
        answer = self._answer_of(reply, content, entry.task_id)
        if answer is None:
            entry.problem = problem_of(reply, content, entry)
        elif reply.status_code < 400:
            # Beside a good answer the header is routine, and waiting for it would miss the end.
            return answer, None
        return answer, retry_after_s(reply.headers, now=time.time())

    def _count_poll(self, entry: Entry, answer: PollReply | None, took_s: float) -> None:
        self.polls += 1
        entry.polls += 1
        self._reports.polled(entry, answer, took_s)

    def _note_pending(self, entry: Entry, answer: PollReply) -> None:
        """Keep what an answer says of a task in flight, for the policy and for who looks ahead."""
        # The beginning of an attached task is not known, and its progress means nothing without it.
        progress = None if entry.attached else answer.progress
        entry.note_reading(Reading(entry.seen_at - entry.began_at, progress, answer.status))
        self._on_pending(entry)

    async def _wait_url(self, entry: Entry, url: str, ready: Settlement) -> Settlement:
        """Poll on a task that is Ready without the URL of its result: polls are free, and the image is paid.

        Returns the settlement with the URL, or the first one where no better comes.
        """
        assert entry.task_id is not None
        loop = asyncio.get_running_loop()
        for wait_s in _URL_WAITS_S:
            await asyncio.sleep(wait_s)
            sent_at = loop.time()
            reply = await self._ask(entry, url, sent_at, sent_at, sent_at + _URL_POLL_S)
            answer = None
            if isinstance(reply, Reply):
                answer = self._answer_of(reply, read_body(reply.body, _bounds.POLL), entry.task_id)
            self._count_poll(entry, answer, loop.time() - sent_at)
            if isinstance(reply, Reply) and answer is not None:
                entry.poll_reply = reply
                settlement = settlement_of(answer, entry.task_id, entry.request)
                if settlement is not None and has_result(settlement):
                    return settlement
        return ready

    async def _ask(
        self, entry: Entry, url: str, sent_at: float, deadline: float, last_by: float | None
    ) -> Reply | UntrustedURLError | None:
        """Send a poll; None where no complete answer came: see `entry.problem`."""
        try:
            return await self._poll_by(url, sent_at, deadline, last_by)
        except UntrustedURLError as exc:
            exc.task_id = entry.task_id
            entry.problem = exc
            return exc
        except BFLError as exc:
            entry.problem = exc
        except OSError as exc:
            # Of a transport from outside, which lets errors of the system through; TimeoutError is one of them.
            entry.problem = TransportError(f"a poll failed: {type(exc).__name__}")
            entry.problem.__cause__ = exc
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # Of a transport from outside: what it waited for was cancelled.
            entry.problem = TransportError("a poll was cancelled, and not by this client")
            entry.problem.__cause__ = exc
        return None

    async def _poll_by(self, url: str, sent_at: float, deadline: float, last_by: float | None) -> Reply:
        """Send a poll that ends at the deadline, or at `last_by` if it is the last one.

        Raises:
            ReplyTimeoutError: It had no answer by then.
        """
        if sent_at + self._longest_poll_s <= deadline:
            # Nearly all polls: the transport itself ends them before the deadline. A timer for each would cost a task
            # some hundredths of a millisecond.
            return await self._transport.poll(url)
        # One that could outlast the deadline ends there, so that the last poll is sent.
        limit = TimeLimit((deadline if last_by is None else last_by) - sent_at)
        try:
            async with limit:
                return await self._transport.poll(url)
        except TimeoutError as exc:
            # The transport's own `ReplyTimeoutError` says more.
            if isinstance(exc, BFLError) or not limit.expired:
                raise
            raise ReplyTimeoutError("a poll was not answered in time") from exc

    @staticmethod
    def _last_poll_s(timings: Timings) -> float:
        return max(_LAST_POLL_S, _ROUND_TRIPS * (timings.round_trips.poll_s or 0.0))

    @staticmethod
    def _answer_of(reply: Reply, content: Content, task_id: str | None) -> PollReply | None:
        """Return what a poll's answer says, whatever its HTTP code; None where it says nothing that counts.

        A status body under 422 and 503 is the API's own. Under another 5xx it may be a gateway's: there only one that
        names this task ends it.
        """
        answer = poll_of(content.data)
        # Anything may stand in front of the API and answer in its place, with a JSON body and a `status` of its own.
        if answer is None or reply.status_code < 500 or reply.status_code == 503:
            return answer
        return answer if answer.raw.get("id") == task_id else None

    def _plan(self, entry: Entry, now: float, timings: Timings) -> float:
        return self._polling.wait_s(now - entry.began_at, entry.readings, timings, self._rng)

    def judge_delivery(self, entry: Entry, delivery: Delivery, now: float) -> Settlement | None:
        """Read a verified delivery as a poll's answer; return the settlement if it ends the task."""
        entry.seen_at = now
        # A row of its own: one delivered "Task not found" proves as little as one polled.
        return self._settlement_of(entry, delivery.reply, NotFoundRow(), now)

    def _settlement_of(
        self, entry: Entry, answer: PollReply, not_found: NotFoundRow, now: float
    ) -> Settlement | None:
        """Note what an answer says; return the settlement if it ends the task."""
        assert entry.task_id is not None
        word = answer.status
        # Logged once, so that a new status of the API is noticed. It ends nothing: anything unknown is in flight.
        if not isinstance(word, TaskStatus) and word not in self._strange and len(self._strange) < _STRANGE:
            self._strange.add(word)
            _log.info(
                "the server uses a status that this release does not know: %r, read as in flight",
                shown_status(word),
                extra={**entry.facts(), "bfl_status": shown_status(word)},
            )
        changed = (answer.status, answer.progress) != (entry.status, entry.progress)
        entry.status, entry.progress = answer.status, answer.progress
        entry.settled_cost = answer.cost
        if answer.cost is not None:
            # Newer than the receipt's. It is charged when the task ends.
            entry.cost = answer.cost
        if answer.status == TaskStatus.TASK_NOT_FOUND:
            error = TaskNotFoundError(
                f"the server does not know task {entry.task_id}, or no longer does: records expire; check the id and "
                "the host",
                task_id=entry.task_id,
                status=answer.status,
            )
            entry.problem = error
            if not_found.add(now):
                return Failed(error)
        else:
            not_found.interrupt()
        settlement = settlement_of(answer, entry.task_id, entry.request)
        # An end is not rung here: `settle` does so, once the slot is free.
        if settlement is None and changed:
            entry.changed.ring()
        return settlement

    async def _sleep(
        self, entry: Entry, now: float, wait_s: float, deadline: float, *, planned: bool
    ) -> bool:
        """Sleep until the next poll is due; True if it is the last one, at the deadline.

        A reader of updates, or a webhook that fails, ends the sleep early, to have the next poll planned anew.

        Args:
            planned: The wait was chosen by the policy, and is no back-off.
        """
        loop = asyncio.get_running_loop()
        while True:
            # A flag beside the wake-up, since it may be set while a poll is on its way.
            if entry.poll_now:
                entry.poll_now = False
                return loop.time() >= deadline
            due = now + (self._spacing(entry, wait_s) if planned else wait_s)
            last = due >= deadline
            due = min(due, deadline)
            if due <= loop.time():
                return last
            entry.sleeper = sleeper = loop.create_future()
            timer = loop.call_at(due, _set, sleeper, True)
            try:
                # The timer's word counts, not the clock: timers may fire a clock tick early.
                if await sleeper:
                    return last
            finally:
                timer.cancel()
                entry.sleeper = None

    def _spacing(self, entry: Entry, wait_s: float) -> float:
        # A reader of updates() wants to see progress, which no webhook brings.
        if entry.readers:
            return min(wait_s, _READ_SPACING_S)
        webhook = self.webhook
        if webhook is None or entry.expectation is None or entry.attached or not webhook.comes_through:
            return wait_s
        # Deliveries come through, so polls are only the net beneath them.
        return max(wait_s, webhook.poll_s)


def _set(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _ignore(_: Entry) -> None:
    """Do nothing."""
