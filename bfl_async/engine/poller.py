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
from bfl_async.engine.task_verdicts import (
    PENDING,
    NotFoundRow,
    deadline_error,
    has_result,
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
from bfl_async.polling.policies import Polling
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.protocols.transport import Transport
from bfl_async.protocols.webhook import Webhook
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.time import TimeLimit, is_stall
from bfl_async.status import TaskStatus
from bfl_async.types import bounds as _bounds
from bfl_async.types.replies import Delivery, Failed, Lost, PollReply, Reply, Settlement
from bfl_async.wire.errors import retry_after_s
from bfl_async.wire.json import Content, read_body
from bfl_async.wire.redaction import HiddenTexts
from bfl_async.wire.replies import (
    poll_of,
    result_path,
    shown_status,
)
from bfl_async.wire.submit_verdicts import poll_backoff_s

if TYPE_CHECKING:
    from bfl_async.engine.reporter import Reporter

_log = logging.getLogger("bfl_async")

_STRANGE = 100  # unknown statuses that are logged, once each
_READ_SPACING_S = 1.0  # polls are at most so far apart while somebody reads updates()
# What the last poll may take, from when it is sent. Where no answer comes it is repeated until then.
_LAST_POLL_S = 1.0
_LAST_BACKOFF_S = 0.1
# A round trip that is known may take so much more than usual in the last poll.
_ROUND_TRIPS = 3.0
# Ready without the URL of a result: so many more polls, so far apart, until that is taken for all that will come.
_URL_WAITS_S = (0.2, 0.4, 0.6, 0.8)
_URL_POLL_S = 5.0
_MOST_HINT_S = 1.0  # of a `Retry-After` beside a good answer


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
        reporter: Reporter | None = None,
    ) -> None:
        self._transport = transport
        self._polling = polling
        self._rng = rng
        self._pacer = None if max_polls_per_s is None else Pacer(max_polls_per_s)
        self._together = together
        # Of the moments: a client's own, so that those of all workers of a machine do not fall together.
        self._phase_s = rng.random() * TOGETHER_S
        self._longest_poll_s = math.inf if longest_poll_s is None else longest_poll_s
        self._on_pending = on_pending  # told of each answer that found a task in flight
        self._reporter = reporter
        self.webhook = webhook  # None also once the client drains: its web server may listen no more
        self.polls = 0  # since the start
        self._strange: set[str] = set()  # unknown statuses that were logged

    async def follow(self, entry: Entry, *, deadline: float, timings: Timings) -> Settlement:
        """Poll an accepted task until it is settled or its deadline has passed.

        Args:
            deadline: On the loop's clock. A last poll is sent at that moment.
        Cancellation: Ends the following; nothing is changed on the server.
        """
        timings.round_trips.followed += 1
        try:
            return await self._poll_until_settled(entry, deadline, timings)
        finally:
            timings.round_trips.followed -= 1

    async def _poll_until_settled(self, entry: Entry, deadline: float, timings: Timings) -> Settlement:
        assert entry.task_id is not None
        loop = asyncio.get_running_loop()
        url = entry.polling_url or result_path(entry.task_id)
        not_found = NotFoundRow()
        failures = 0
        stood_still = False
        # When the last poll, which is sent at the deadline, must be answered.
        last_by: float | None = None
        now = loop.time()
        wait_s = 0.0 if entry.attached else self._plan(entry, now, timings)
        while True:
            planned = failures == 0  # by the policy: it is no back-off
            if planned and self._together:
                trips = timings.round_trips
                wait_s = aligned_s(
                    wait_s, now - self._phase_s, followed=trips.followed, round_trip_s=trips.poll_s or 0.0
                )
            last = await self._sleep(entry, now, wait_s, deadline, planned=planned)
            sent_at = loop.time()
            paced_s = 0.0 if self._pacer is None else self._pacer.delay_s(sent_at)
            if paced_s > 0:
                await asyncio.sleep(paced_s)
                sent_at = loop.time()
            retry_after: float | None = None
            answer: PollReply | None = None
            if last and last_by is None:
                last_by = max(deadline, sent_at) + self._last_poll_s(timings)
            reply = await self._ask(entry, url, sent_at, deadline, last_by)
            now = loop.time()
            if isinstance(reply, UntrustedURLError):
                return Lost(reply)
            if reply is not None:
                timings.round_trips.note_poll(now - sent_at, paced_s=paced_s)
                entry.poll_reply = reply
                content = read_body(reply.body, _bounds.POLL)
                answer = self._answer_of(reply, content, entry.task_id)
                if answer is None:
                    entry.problem = problem_of(reply, content, entry)
                if answer is None or reply.status_code >= 400:
                    # Beside a good answer the header is routine, and waiting for it would miss the end.
                    retry_after = retry_after_s(reply.headers, now=time.time())
            self.polls += 1
            entry.polls += 1
            if self._reporter is not None:
                self._reporter.polled(entry, answer, now - sent_at)
            if answer is None:
                failures += 1
                not_found.interrupt()
                wait_s = poll_backoff_s(failures, retry_after, self._rng)
            else:
                failures = 0
                # What an answer says was so in the middle of its round trip.
                entry.seen_at = (sent_at + now) / 2
                settlement = self._read(entry, answer, not_found, now)
                if settlement is not None:
                    return (
                        settlement if has_result(settlement) else await self._wait_url(entry, url, settlement)
                    )
                progress = None if entry.attached else answer.progress  # of an unknown beginning
                entry.note_reading(Reading(entry.seen_at - entry.began_at, progress, answer.status))
                if self._on_pending is not None:
                    self._on_pending(entry)
                wait_s = max(self._plan(entry, now, timings), min(retry_after or 0.0, _MOST_HINT_S))
            if last_by is None:
                continue
            if reply is not None or now + _LAST_BACKOFF_S >= last_by:
                if reply is None and not stood_still and is_stall(now - sent_at, last_by - sent_at):
                    # The process stood still during the last poll: the next one is the one that was promised.
                    stood_still, last_by = True, None
                    continue
                return Lost(deadline_error(entry))
            await asyncio.sleep(_LAST_BACKOFF_S)

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
            self.polls += 1
            entry.polls += 1
            if self._reporter is not None:
                self._reporter.polled(entry, answer, loop.time() - sent_at)
            if isinstance(reply, Reply) and answer is not None:
                entry.poll_reply = reply
                settlement = settlement_of(answer, entry.task_id, HiddenTexts.of(entry.request))
                if settlement is not None and has_result(settlement):
                    return settlement
        return ready

    async def _ask(
        self, entry: Entry, url: str, sent_at: float, deadline: float, last_by: float | None
    ) -> Reply | UntrustedURLError | None:
        """Send a poll; None where no complete answer came: see `entry.problem`."""
        limit: TimeLimit | None = None
        try:
            if sent_at + self._longest_poll_s <= deadline:  # most polls: they need no timer
                return await self._transport.poll(url)
            # One that could outlast the deadline ends there, so that the last poll is sent.
            by = deadline if last_by is None else last_by
            limit = TimeLimit(by - sent_at)
            async with limit:
                return await self._transport.poll(url)
        except UntrustedURLError as exc:
            exc.task_id = entry.task_id
            entry.problem = exc
            return exc
        except BFLError as exc:
            entry.problem = exc
        except OSError as exc:  # TimeLimit's, or that of a transport from outside; TimeoutError is one
            timed_out = isinstance(exc, TimeoutError) and limit is not None and limit.expired
            entry.problem = (
                ReplyTimeoutError("a poll was not answered in time")
                if timed_out
                else TransportError(f"a poll failed: {type(exc).__name__}")
            )
            entry.problem.__cause__ = exc
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # Of a transport from outside: what it waited for was cancelled.
            entry.problem = TransportError("a poll was cancelled, and not by this client")
            entry.problem.__cause__ = exc
        return None

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
        if answer is None or reply.status_code < 500 or reply.status_code == 503:
            return answer
        return answer if answer.raw.get("id") == task_id else None

    def _plan(self, entry: Entry, now: float, timings: Timings) -> float:
        return self._polling.wait_s(now - entry.began_at, entry.readings, timings, self._rng)

    def judge_delivery(self, entry: Entry, delivery: Delivery, now: float) -> Settlement | None:
        """Read a verified delivery as a poll's answer; return the settlement if it ends the task."""
        entry.seen_at = now
        # A row of its own: one delivered "Task not found" proves as little as one polled.
        return self._read(entry, delivery.as_poll(), NotFoundRow(), now)

    def _read(self, entry: Entry, answer: PollReply, not_found: NotFoundRow, now: float) -> Settlement | None:
        """Note what an answer says; return the settlement if it ends the task."""
        assert entry.task_id is not None
        word = answer.status
        if not isinstance(word, TaskStatus) and word not in self._strange and len(self._strange) < _STRANGE:
            self._strange.add(word)
            _log.info(
                "the server uses a status that this release does not know: %r, read as in flight",
                shown_status(word),
                extra={**entry.facts(), "bfl_status": shown_status(word)},
            )
        changed = (answer.status, answer.progress) != (entry.status, entry.progress)
        entry.status, entry.progress = answer.status, answer.progress
        if answer.cost is not None:
            entry.cost = answer.cost
        if answer.status == TaskStatus.TASK_NOT_FOUND:
            error = TaskNotFoundError(
                f"the server knows no task {entry.task_id}, or no longer: task records expire",
                task_id=entry.task_id,
                status=answer.status,
            )
            entry.problem = error
            if not_found.add(now):
                return Failed(error)
        else:
            not_found.interrupt()
        # Most answers find the task pending, and have nothing to hide.
        hidden = None if answer.status is PENDING else HiddenTexts.of(entry.request)
        settlement = settlement_of(answer, entry.task_id, hidden)
        if settlement is None and changed:
            entry.touch()
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
        if entry.readers:
            return min(wait_s, _READ_SPACING_S)
        webhook = self.webhook
        if webhook is None or entry.expectation is None or entry.attached or not webhook.comes_through:
            return wait_s
        return max(wait_s, webhook.poll_s)


def _set(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
