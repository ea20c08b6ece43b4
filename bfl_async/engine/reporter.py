"""Tells an observer what happens: makes the events, and keeps what it does wrong from everybody else.

Made and imported only where there is an observer; see `Reports` for where there is none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bfl_async import events
from bfl_async.engine.reports import Reports
from bfl_async.errors import APIStatusError, BFLError, TaskRecord
from bfl_async.protocols.limiter import Limiter
from bfl_async.protocols.observer import Observer, PromptObserver
from bfl_async.types.lifecycle import End
from bfl_async.types.replies import Answered, PollReply, Ready
from bfl_async.types.statistics import PoolStatistics
from bfl_async.wire.json import number_of

if TYPE_CHECKING:
    from bfl_async.engine.entry import Entry
    from bfl_async.results.incoming import Download

_log = logging.getLogger("bfl_async")

# Of the process and not of a client: one observer may serve several clients, and tells their requests apart by it.
_request_ids = itertools.count(1)


class Reporter(Reports):
    """Made in the client's loop. Writes an entry's `request_id`, `queued_at` and `reported_at`."""

    def __init__(self, observer: Observer, limiter: Limiter) -> None:
        self._observer = observer
        self._prompts = isinstance(observer, PromptObserver) and observer.prompts
        self._limiter = limiter
        # The events' `at`. Durations between two of them are true whatever happens to the clock of the machine.
        self._now = asyncio.get_running_loop().time
        # Whether an error of the observer was logged: it may fail at each event of each request.
        self._is_broken = False

    def _emit(self, event: events.Event) -> None:
        try:
            self._observer.on_event(event)
        except (Exception, asyncio.CancelledError) as exc:
            # Called within a step, which must come to its end: whatever the observer raises is its own matter.
            if not self._is_broken:
                self._is_broken = True
                _log.error(
                    "the observer %s raised at %s; it keeps receiving events, and further errors are not logged",
                    type(self._observer).__name__, type(event).__name__, exc_info=exc,
                    extra={"bfl_request_id": event.request_id, "bfl_task_id": event.task_id, "bfl_model": event.model},
                )  # fmt: skip

    def _pools(self) -> Mapping[str, PoolStatistics]:
        return self._limiter.statistics()

    def _begin(self, entry: Entry) -> float:
        entry.request_id = next(_request_ids)
        entry.queued_at = entry.reported_at = now = self._now()
        return now

    def _since(self, entry: Entry) -> tuple[float, float]:
        """Return now, and the seconds since the last event of a request."""
        now = self._now()
        gone_s = now - entry.reported_at
        entry.reported_at = now
        return now, gone_s

    def queued(self, entry: Entry) -> None:
        """A request was admitted. Called in its caller's context."""
        lease = entry.lease
        # Prompts are the users' own texts: only an observer that asks for them gets them.
        prompt = getattr(entry.request, "prompt", None) if self._prompts else None
        self._emit(
            events.Queued(
                at=self._begin(entry),
                request_id=entry.request_id,
                model=entry.model,
                task_id=None,
                priority=lease.priority,
                pools=lease.pools,
                prompt=prompt if isinstance(prompt, str) else None,
            )
        )

    def submitting(self, entry: Entry) -> None:
        """A POST leaves."""
        now, waited_s = self._since(entry)
        self._emit(
            events.Submitting(
                at=now,
                request_id=entry.request_id,
                model=entry.model,
                task_id=None,
                attempt=entry.attempts,
                waited_s=waited_s,
                pools=self._pools(),
            )
        )

    def submitted(self, entry: Entry) -> None:
        """A task was accepted, or attached: then called in its caller's context."""
        took_s: float | None = None
        if entry.attached:
            # It was never queued here, so its first event is this one.
            now = self._begin(entry)
        else:
            now, took_s = self._since(entry)
        self._emit(
            events.Submitted(
                at=now,
                request_id=entry.request_id,
                model=entry.model,
                task_id=entry.task_id,
                attempt=entry.attempts,
                took_s=took_s,
                cost=entry.cost,
                attached=entry.attached,
            )
        )

    def refused(self, entry: Entry, error: BFLError) -> None:
        """The server took nothing."""
        now, took_s = self._since(entry)
        reply = error if isinstance(error, APIStatusError) else None
        self._emit(
            events.Refused(
                at=now,
                request_id=entry.request_id,
                model=entry.model,
                task_id=None,
                attempt=entry.attempts,
                took_s=took_s,
                status_code=None if reply is None else reply.status_code,
                retry_after_s=None if reply is None else reply.retry_after_s,
                error=error,
            )
        )

    def retried(self, entry: Entry, error: BFLError, wait_s: float | None) -> None:
        """An unsent request waits to be sent again."""
        now, _ = self._since(entry)
        self._emit(
            events.Retried(
                at=now,
                request_id=entry.request_id,
                model=entry.model,
                task_id=None,
                attempt=entry.attempts,
                error=error,
                wait_s=wait_s,
                pools=self._pools(),
            )
        )

    def polled(self, entry: Entry, answer: PollReply | None, took_s: float) -> None:
        """A poll came back; without an answer `entry.problem` says why."""
        self._emit(
            events.Polled(
                at=self._now(),
                request_id=entry.request_id,
                model=entry.model,
                task_id=entry.task_id,
                number=entry.polls,
                took_s=took_s,
                status=None if answer is None else answer.status,
                progress=None if answer is None else answer.progress,
                error=entry.problem if answer is None else None,
            )
        )

    def settled(self, entry: Entry, end: End) -> None:
        """A request has ended."""
        settlement = entry.settlement
        assert settlement is not None
        now = self._now()
        error: BFLError | None = None
        lag_s: float | None = None
        if isinstance(settlement, Ready):
            # The beginning of an attached task is not known, nor whether it had ended long before.
            if not entry.attached:
                lag_s = _lag_s(entry, settlement.reply, now)
        elif not isinstance(settlement, Answered):
            error = settlement.error
        self._emit(
            events.Settled(
                at=now,
                request_id=entry.request_id,
                model=entry.model,
                task_id=entry.task_id,
                end=end,
                status=entry.status,
                error=error,
                cost=entry.cost,
                attempts=entry.attempts,
                polls=entry.polls,
                total_s=now - entry.queued_at,
                followed_s=None if entry.task_id is None else now - entry.accepted_at,
                lag_s=lag_s,
                delivered=entry.delivery is not None,
                attached=entry.attached,
                pools=self._pools(),
            )
        )

    def downloaded(
        self, request_id: int, task: TaskRecord, attempts: int, took_s: float, got: Download | BFLError
    ) -> None:
        """A download has ended. Called in its caller's context."""
        error, download = (got, None) if isinstance(got, BFLError) else (None, got)
        self._emit(
            events.Downloaded(
                at=self._now(),
                request_id=request_id,
                model=task["model"],
                task_id=task["task_id"],
                attempts=attempts,
                took_s=took_s,
                size_bytes=None if download is None else download.size,
                media_type=None if download is None else download.media_type,
                error=error,
            )
        )


def _lag_s(entry: Entry, reply: PollReply, now: float) -> float | None:
    """From Ready to the answer that said so: the server's word, within the bounds that the polls prove."""
    ended_at = number_of((reply.result or {}).get("end_time"))
    if ended_at is None:
        return None
    # The server's clock and ours may differ by hours. Two polls of ours bound the true lag: the last one that found the
    # task in flight, and the one that found it ended.
    seen_in_flight_s = entry.readings[-1].elapsed_s if entry.readings else 0.0
    most_s = entry.seen_at - entry.began_at - seen_in_flight_s
    lag_s = time.time() - (now - entry.seen_at) - ended_at
    return max(0.0, min(lag_s, most_s))
