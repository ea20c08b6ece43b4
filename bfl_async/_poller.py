"""Follows one task to its settlement.

A failed poll is not a failed task: whatever breaks on the way, only a parsed terminal status ends a task, or
its deadline. The body is read before the HTTP code, since a status may stand under 422 and 503.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque

from bfl_async._handle import Entry
from bfl_async._polling import Polling, Reading, Timings
from bfl_async._retry import poll_backoff_s
from bfl_async._wire import moderation_reasons, parse_poll, result_path, retry_after_s, status_error
from bfl_async.errors import (
    BFLError,
    ReplyShapeError,
    ReplyTimeoutError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
    UntrustedURLError,
)
from bfl_async.status import TaskStatus
from bfl_async.types import Failed, Lost, Moderated, PollReply, Ready, Reply, Settlement, State, Transport

_log = logging.getLogger("bfl_async")

_STRANGE = 100  # unknown statuses that are logged, once each
_READINGS = 32  # newest ones that a policy sees
_READ_SPACING_S = 1.0  # polls are at most so far apart while somebody reads updates()
_NOT_FOUND_POLLS = 3
_NOT_FOUND_S = 5.0
_LAST_POLL_S = 1.0  # what the last poll may take past the task's deadline


def settlement_of(reply: PollReply, task_id: str) -> Settlement | None:
    """Return the settlement that a poll's reply ends the task with; None while it is in flight.

    `Task not found` is None here: one such answer proves nothing, see `NotFoundRow`.
    """
    status = reply.status
    if status == TaskStatus.READY:
        return Ready(reply)
    if not isinstance(status, TaskStatus):
        return None  # newer than this release: in flight
    if status.is_moderation:
        reasons = moderation_reasons(reply.details)
        stage = "request" if status is TaskStatus.REQUEST_MODERATED else "content"
        refused = "the prompt or an input" if stage == "request" else "the output"
        why = f" ({', '.join(reasons)})" if reasons else ""
        return Moderated(
            TaskModeratedError(
                f"moderation refused {refused} of task {task_id}{why}: change the request before another try",
                task_id=task_id,
                status=status.value,
                stage=stage,
                reasons=reasons,
            )
        )
    if status.is_failure:
        return Failed(
            TaskFailedError(
                f"task {task_id} failed on the server with status {status.value!r}: .details says more; "
                "another try may succeed",
                task_id=task_id,
                status=status.value,
                details=reply.details,
            )
        )
    return None


class NotFoundRow:
    """Counts `Task not found` answers in a row: three, at least 5 s from first to last, end a task."""

    def __init__(self) -> None:
        self._first_at = 0.0
        self._count = 0

    def add(self, now: float) -> bool:
        """Count one answer; True when the row is long enough."""
        if self._count == 0:
            self._first_at = now
        self._count += 1
        return self._count >= _NOT_FOUND_POLLS and now - self._first_at >= _NOT_FOUND_S

    def interrupt(self) -> None:
        """Note any other answer."""
        self._count = 0


class Poller:
    """What all pollers of a client share."""

    def __init__(self, transport: Transport, polling: Polling, rng: random.Random) -> None:
        self._transport = transport
        self._polling = polling
        self._rng = rng
        self.polls = 0  # since the start
        self._strange: set[str] = set()  # unknown statuses that were logged

    async def follow(self, entry: Entry, *, deadline: float, timings: Timings) -> Settlement:
        """Poll an accepted task until it is settled or its deadline has passed.

        Args:
            deadline: On the loop's clock. A last poll is sent at that moment.
        Cancellation: Ends the following; nothing is changed on the server.
        """
        try:
            # One timer for all polls: each must end by the same moment.
            async with asyncio.timeout_at(deadline + _LAST_POLL_S):
                return await self._poll_until_settled(entry, deadline, timings)
        except TimeoutError:
            if entry.problem is None:
                entry.problem = ReplyTimeoutError("the last poll was not answered in time")
            return Lost(_deadline_error(entry))

    async def _poll_until_settled(self, entry: Entry, deadline: float, timings: Timings) -> Settlement:
        assert entry.task_id is not None
        loop = asyncio.get_running_loop()
        url = entry.polling_url or result_path(entry.task_id)
        readings: deque[Reading] = deque(maxlen=_READINGS)
        not_found = NotFoundRow()
        failures = 0
        wait_s = 0.0 if entry.attached else self._plan(entry, loop.time(), readings, timings)
        while True:
            last = await self._sleep(entry, loop.time(), wait_s, deadline, readable=failures == 0)
            answer: PollReply | None = None
            retry_after: float | None = None
            try:
                reply = await self._transport.poll(url)
            except UntrustedURLError as exc:
                exc.task_id = entry.task_id
                return Lost(exc)
            except BFLError as exc:
                entry.problem = exc
            except OSError as exc:  # of a transport from outside; TimeoutError is one
                entry.problem = TransportError(f"a poll failed: {type(exc).__name__}")
                entry.problem.__cause__ = exc
            else:
                answer = parse_poll(reply.body)
                if answer is None:
                    entry.problem = _problem(reply, entry.task_id)
                if answer is None or reply.status_code >= 400:
                    # Beside a good answer the header is routine, and waiting for it would miss the end.
                    retry_after = retry_after_s(reply.headers, now=time.time())
            self.polls += 1
            now = loop.time()
            if answer is None:
                failures += 1
                not_found.interrupt()
                wait_s = poll_backoff_s(failures, retry_after, self._rng)
            else:
                failures = 0
                settlement = self._read(entry, answer, not_found, now)
                if settlement is not None:
                    return settlement
                readings.append(Reading(now - entry.accepted_at, answer.progress))
                wait_s = max(self._plan(entry, now, readings, timings), retry_after or 0.0)
            if last:
                return Lost(_deadline_error(entry))

    def _plan(self, entry: Entry, now: float, readings: deque[Reading], timings: Timings) -> float:
        return self._polling.wait_s(now - entry.accepted_at, tuple(readings), timings, self._rng)

    def _read(self, entry: Entry, answer: PollReply, not_found: NotFoundRow, now: float) -> Settlement | None:
        """Note what a poll says; return the settlement if it ends the task."""
        assert entry.task_id is not None
        word = answer.status
        if not isinstance(word, TaskStatus) and word not in self._strange and len(self._strange) < _STRANGE:
            self._strange.add(word)
            _log.info(
                "the server uses a status that this release does not know: %.100r, read as in flight", word
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
        settlement = settlement_of(answer, entry.task_id)
        if settlement is None and changed:
            entry.touch()
        return settlement

    @staticmethod
    async def _sleep(entry: Entry, now: float, wait_s: float, deadline: float, *, readable: bool) -> bool:
        """Sleep until the next poll is due; True if it is the last one, at the deadline.

        A reader of updates ends the sleep early, to have the next poll planned anew.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = now + (min(wait_s, _READ_SPACING_S) if entry.readers and readable else wait_s)
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


def _set(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _problem(reply: Reply, task_id: str) -> BFLError:
    if reply.status_code >= 300:
        error: BFLError = status_error(reply, what="a poll", now=time.time())
    else:
        error = ReplyShapeError("a poll's answer holds no status that can be read")
    error.task_id = task_id
    return error


def _deadline_error(entry: Entry) -> TaskTimeoutError:
    status = None if entry.status is None else str(entry.status)
    error = TaskTimeoutError(
        f"task {entry.task_id} was not finished by its deadline (last status {status!r}): it may go on and "
        "can be attached; Timeouts(task=...) sets the deadline",
        task_id=entry.task_id,
        status=status,
        state=State.SUBMITTED.value,
        polling_url=entry.polling_url,
    )
    error.__cause__ = entry.problem
    return error
