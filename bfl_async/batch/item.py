"""One entry while a run works on it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from bfl_async.batch.requests import given_of, rebuild
from bfl_async.batch.verdicts import retrieve
from bfl_async.errors import (
    LedgerError,
    SaveError,
)
from bfl_async.types.entries import EntryState, Fact, LedgerEntry
from bfl_async.types.held import is_own_id
from bfl_async.types.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import (
        Mapping,
    )
    from pathlib import Path

    from bfl_async.batch.shelf import Shelf
    from bfl_async.engine.entry import Entry
    from bfl_async.models import ImageRequest
    from bfl_async.results.result import Result
    from bfl_async.types.common import JSON
    from bfl_async.types.replies import Receipt

_log = logging.getLogger("bfl_async")


class Marks(Protocol):
    """Who works on entries: a run. Every call is synchronous, in the step in which it became true."""

    def reached(self, item: Item, /) -> None:
        """A request has its slot: mark it as submitting."""

    def note_flush(self, seconds: float, /) -> None:
        """A mark took this long to be durable."""

    def note_accepted(self) -> None:
        """The server took a request."""

    def settled(self, item: Item, entry: Entry, /) -> None:
        """The scheduler is through with an entry."""

    def fail(self, error: LedgerError | SaveError, /) -> None:
        """Something cannot be written."""

    def touched(self) -> None:
        """Something changed that a wait of the run may depend on."""


class Item:
    """One entry while a run works on it. It is the scheduler's journal of it."""

    __slots__ = (
        "_durable_state",
        "_is_accepted",
        "_last_change",
        "_marked_at",
        "_marks",
        "_shelf",
        "_unwritten",
        "entry",
        "fields",
        "file",
        "is_attached",
        "mark",
        "request",
        "row",
        "state",
    )

    def __init__(self, marks: Marks, shelf: Shelf, row: LedgerEntry) -> None:
        self._marks = marks
        self._shelf = shelf
        self.row: LedgerEntry = row
        # Its files may have moved since it was added.
        self.fields: Mapping[str, JSON] = shelf.places.pop(row.id, row.fields)
        self.request: ImageRequest = rebuild(row, self.fields, given=given_of, catalog=shelf.catalog)
        self.entry: Entry | None = None
        # As the ledger has it once it is through with its queue.
        self.state: EntryState = row.state
        self.is_attached: bool = row.task_id is not None
        # Done when "submitting" is durable; None while no attempt is marked. Written by `mark_submitting` and `queued`.
        self.mark: asyncio.Future[None] | None = None
        self._marked_at = 0.0
        self.file: Path | None = None
        # The state of the newest change that is durable.
        self._durable_state: EntryState = row.state
        # Facts of changes that are not durable, or not yet: each later change writes them as well.
        self._unwritten: dict[str, Fact] = {}
        # The newest change, durable or not: only its failure says what the ledger has in the end.
        self._last_change: asyncio.Future[None] | None = None
        # The server has taken the request in this run, whatever could be recorded of it.
        self._is_accepted = False

    @property
    def index(self) -> int:
        """The entry's place in the ledger, from 0."""
        return self.row.id - 1

    @property
    def prompt(self) -> str:
        """The prompt as it was asked for."""
        prompt = self.row.fields.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    @property
    def is_on_its_way(self) -> bool:
        """True while a POST is out, or what it brought is not durable."""
        if self.entry is None:
            return False
        return self.entry.state is State.SUBMITTING or (
            self.entry.state is State.SUBMITTED and not (self._is_accepted or self.is_attached)
        )

    @property
    def is_unrecorded(self) -> bool:
        """True if the task exists and the ledger does not have its id."""
        return self._is_accepted and "task_id" in self._unwritten

    def change(self, state: EntryState, facts: Mapping[str, Fact] | None = None) -> asyncio.Future[None]:
        """Give the entry a state, and write all facts that are not durable yet.

        A change builds on those before it, and each may fail alone. A later state without the facts of an earlier
        one, such as "ready" without the task's id, could not be continued by any run.
        """
        # Counted at once, and taken back if it fails: the counts are those of the ledger with what is in its queue.
        self._move_to(state)
        self._unwritten |= facts or {}
        # A copy, since later changes add to the facts while this one is being written.
        written = dict(self._unwritten)
        change = self._shelf.ledger.change(self.row.id, state, written)
        self._last_change = change
        if change.done():
            self._note_written(change, state, written)
        else:
            change.add_done_callback(lambda done: self._note_written(done, state, written))
        return change

    def _note_written(
        self, change: asyncio.Future[None], state: EntryState, facts: Mapping[str, Fact]
    ) -> None:
        if change.cancelled() or change.exception() is not None:
            if change is self._last_change:
                # The counts and the outcome report what the ledger has, not what it should have.
                self._move_to(self._durable_state)
            return
        self._durable_state = state
        self._unwritten = {
            name: value for name, value in self._unwritten.items() if facts.get(name, self) is not value
        }

    def note_ready(self, result: Result, *, is_end: bool) -> None:
        """Note that there is an image.

        Args:
            is_end: It is not saved, and the caller makes the last change.
        """
        facts: dict[str, Fact] = {"ready_at": time.time(), "cost": result.cost}
        if is_own_id(result.task_id):
            # Not as "ready", from which the next run would fetch it: until it is saved, it is nowhere else.
            facts |= {"task_id": result.task_id, "submitted_at": time.time()}
            is_end = True
        if is_end:
            # Written with the state that it gets.
            self._unwritten |= facts
        elif self.state is not EntryState.READY:
            # Not waited for: if it is lost, the next run polls once more. The image must not wait for a flush.
            self.change(EntryState.READY, facts)

    def _move_to(self, state: EntryState) -> None:
        counts = self._shelf.counts
        counts[self.state] -= 1
        counts[state] += 1
        self.state = state

    async def wait_written(self) -> None:
        """Wait until it is known which of the changes are durable."""
        if self._last_change is not None and not self._last_change.done():
            await asyncio.wait([self._last_change])

    def show_doubt(self) -> None:
        """Count the entry as the next run will find it, if the ledger knows no more than that it may be sent."""
        # The next session turns it into that when it opens the ledger.
        if self.state is EntryState.SUBMITTING:
            self._durable_state = EntryState.AMBIGUOUS
            self._move_to(EntryState.AMBIGUOUS)

    def settled(self, entry: Entry) -> None:
        """Pass on that the scheduler is through with it."""
        self._marks.settled(self, entry)

    def mark_submitting(self) -> None:
        """Begin to write that it may have been sent."""
        # It may have been marked ahead of its slot; a second mark would only cost a flush.
        if self.mark is None:
            self._marked_at = time.perf_counter()
            self.mark = self.change(EntryState.SUBMITTING)
            self.mark.add_done_callback(self._flushed)

    def _flushed(self, mark: asyncio.Future[None]) -> None:
        retrieve(mark)
        self._marks.note_flush(time.perf_counter() - self._marked_at)

    async def submitting(self) -> None:
        """See `Journal.submitting`."""
        self._marks.reached(self)
        mark = self.mark
        assert mark is not None
        try:
            # Meanwhile a stop may withdraw the request, which takes the mark back.
            await self._shelf.durable(mark)
        except LedgerError as exc:
            # One failed flush is shared by all requests that waited for it; each raises an error of its own.
            raise exc.fresh() from exc.__cause__

    def queued(self) -> None:
        """See `Journal.queued`."""
        # Not waited for: a kill before it is durable leaves a doubt that is too careful, and never one too few.
        self.mark = None
        self.change(EntryState.QUEUED)

    async def submitted(self, receipt: Receipt) -> None:
        """See `Journal.submitted`."""
        self._marks.note_accepted()
        # Before the wait: from here on a failed change means a paid task that the ledger does not know.
        self._is_accepted = True
        written = self.change(
            EntryState.SUBMITTED,
            {
                "task_id": receipt.task_id,
                "polling_url": receipt.polling_url,
                "cost": receipt.cost,
                "submitted_at": time.time(),
                "error": None,
            },
        )
        try:
            await self._shelf.durable(written)
        except LedgerError as error:
            # It is followed all the same, and a later change may still record it; otherwise it is ambiguous.
            self.show_doubt()
            _log.warning(
                "task %s was accepted and could not be recorded: %s",
                receipt.task_id,
                error,
                extra={"bfl_task_id": receipt.task_id, "bfl_error": type(error).__name__},
            )
            self._marks.fail(error)
        finally:
            self._marks.touched()
