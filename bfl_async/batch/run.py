"""One run over the entries of a batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Self

from bfl_async._config import ACCOUNT
from bfl_async.batch.feeder import Feeder
from bfl_async.batch.item import Item
from bfl_async.batch.outcome import BatchOutcome
from bfl_async.batch.plan import IdSet
from bfl_async.batch.requests import files_of, replaced_file
from bfl_async.batch.saving import Saver, kept_result
from bfl_async.batch.verdicts import (
    HOPELESS,
    KILLED,
    NOT_KEPT,
    UNKNOWN,
    ended_from_elsewhere,
    entry_state_of,
    error_text,
    to_go_on,
    unrecorded,
)
from bfl_async.errors import (
    AmbiguousSubmitError,
    BFLError,
    BudgetExceededError,
    ClientClosedError,
    InvalidRequestError,
    LedgerError,
    SaveError,
)
from bfl_async.runtime.bell import Bell
from bfl_async.runtime.cancellation import shielded
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.runtime.tasks import new_task
from bfl_async.runtime.text import printable
from bfl_async.types.entries import EntryState, Fact, LedgerEntry
from bfl_async.types.held import is_own_id
from bfl_async.types.replies import Lost, Ready, Unsent

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bfl_async.batch.lister import Lister
    from bfl_async.batch.shelf import Shelf
    from bfl_async.client.client import AsyncBFL
    from bfl_async.engine.entry import Entry
    from bfl_async.results.result import Result

_log = logging.getLogger("bfl_async")


# Requests that are marked as submitting before they have a slot, where flushes are slow. Each is in doubt after a kill.
_AHEAD = 1
# From so slow a flush on a request is marked ahead: 0.6 % of a slot's cycle with the quickest model.
_SLOW_FLUSH_S = 0.010
# Entries that are taken in before other coroutines have their turn in the loop.
_STEP = 32
# Finished entries, beside the window, whose image is on its way or that no consumer has taken yet. This bounds the
# memory that a slow disk or a slow consumer costs.
_BACKLOG = 64
# A batch goes behind single requests, as a stream does: lower goes first.
_PRIORITY = 10
# For so long no connection can be made before a run that worked gives up. A run that never worked gives up early, since
# its settings are the more likely cause.
_OUTAGE_S = 3600.0
# For POSTs on their way when the batch is closed. One whose answer comes later is ambiguous.
_CLOSE_S = 10.0


class BatchRun:
    """The outcomes of one run; an async iterator. See `Batch.run`.

    Every step that changes something is synchronous and on the loop: the feeder takes rows in, the entries'
    callbacks settle them, a coroutine for each finished one writes down what became of it.
    """

    def __init__(
        self,
        shelf: Shelf,
        bfl: AsyncBFL,
        lister: Lister | None,
        sends_after: asyncio.Future[None] | None = None,
        *,
        is_first: bool,
    ) -> None:
        self._shelf = shelf
        self._lister = lister
        self._saver = Saver(shelf, lister)
        self._source = Feeder(
            shelf, self._take_in, self._report_killed, is_first=is_first, sends_after=sends_after
        )
        # Entries that this run has taken from the queue: none is taken twice.
        self._taken_up = IdSet()
        self._engine = bfl._engine
        # Twice the slots: while one lot is at the server, the next one waits in the limiter, so no slot idles.
        pool = self._engine.statistics().pools.get(ACCOUNT)
        self._window = 2 * (pool.limit if pool is not None else 12)
        self._backlog = max(_BACKLOG, self._window)
        self._feeder: asyncio.Task[None] | None = None
        # False once nothing more is taken in. Written by `_fed`, and by `stop` where the feeder never began.
        self._feeding = True
        # Entries that were taken in and are not settled.
        self._open: OrderedSet[Item] = OrderedSet()
        # Of these, in order, those that are not about to be sent. `reached` looks here for the next one to mark ahead.
        self._line: deque[Item] = deque()
        # Coroutines that write down an end or save an image. Each holds one outcome of `_held`.
        self._finishing: set[asyncio.Task[None]] = set()
        # Of these, the ones that save an image which no server has: a close lets them end.
        self._keeping: set[asyncio.Task[None]] = set()
        # Outcomes that were begun and not handed out. Every way out of a finishing coroutine either hands its outcome
        # out or takes it back, or the run would wait for it forever.
        self._held = 0
        self._ready: deque[BatchOutcome] = deque()
        # Rung when something has changed that the waits of this run look at.
        self._changed = Bell()
        # How long a mark takes to be durable, the newest weighing most.
        self._flush_s = 0.0
        self._has_accepted = False
        # Nothing more is sent, and what was sent is still handed out. Written by `stop` only.
        self._is_stopped = False
        # Nothing more becomes an outcome. Written by `aclose` only.
        self._is_left = False
        # Raised after the last outcome, once. The first one counts: what follows is often its consequence.
        self._error: BaseException | None = None
        self.ended: bool = False

    # --- the consumer -----------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        """Wait for the next outcome.

        Raises:
            InsufficientCreditsError, AuthenticationError, BudgetExceededError, ConnectError: Why the run stopped
                before its end; what was not sent stays queued.
            LedgerError, SaveError: The ledger or the folder cannot be written.
            ClientClosedError: The client or the batch was closed.
        Cancellation: Ends this wait; no outcome is lost, the next call returns it.
        """
        # With the first call, so that a run which is made and not used reads and sends nothing.
        if self._feeder is None and not (self._is_stopped or self._is_left):
            self._feeder = new_task(self._source.feed())
            self._feeder.add_done_callback(self._fed)
        # The outcome is taken in the step in which it is seen: a cancelled wait takes none, and so loses none.
        while not self._ready:
            if self._is_left or self._is_through():
                await self._end()
            await self._changed.wait()
        self._held -= 1
        outcome = self._ready.popleft()
        self.touched()
        return outcome

    def _is_through(self) -> bool:
        return not (self._open or self._held or (self._feeding and self._feeder is not None))

    async def _end(self) -> None:
        # All images are listed before the last call returns: an application may read the manifest next.
        if not (self.ended or self._is_left) and self._lister is not None:
            try:
                await self._lister.flush()
            except BFLError as exc:
                self._error = self._error or exc
        self.ended = True
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    def touched(self) -> None:
        """Wake the waits of this run: something that they look at has changed."""
        self._changed.ring()

    # --- the feeder -------------------------------------------------------------------------------------

    def _fed(self, feeder: asyncio.Task[None]) -> None:
        # A callback, since a coroutine that is cancelled before its first step never runs.
        self._feeding = False
        if feeder.cancelled():
            if not (self._is_stopped or self._is_left):
                self._halt(ended_from_elsewhere())
        elif (exc := feeder.exception()) is not None:
            self._halt(exc)
        self.touched()

    async def _report_killed(self) -> None:
        """Hand out an entry that may have been sent when an earlier run was killed."""
        shelf = self._shelf
        # It holds an outcome like any other: a thousand killed entries must not be in memory at once.
        await self._wait_room()
        (row,) = await shelf.read(tuple(EntryState), shelf.killed[0] - 1, 1)
        del shelf.killed[0]
        self._held += 1
        self._hand_out(Item(self, shelf, row), error=AmbiguousSubmitError(row.error or KILLED))

    async def _take_in(self, row: LedgerEntry) -> None:
        """Begin to work on an entry, once there is room for it."""
        is_queued = row.state is EntryState.QUEUED
        if is_queued and not self._taken_up.add(row.id):
            return
        await self._wait_room()
        if row.id % _STEP == 0:
            await asyncio.sleep(0)
        if not is_queued:
            self._shelf.attached.add(row.id)
        item = Item(self, self._shelf, row)
        if not (is_queued or row.task_id):
            # In flight by the ledger, without an id: it can be neither attached nor sent again.
            self._finish_with(self._give_up(item))
            return
        # The key of an entry is the content of its files. Another content is another request, which was not asked for.
        if is_queued and (replaced := await self._replaced_file(item)) is not None:
            self._finish_with(self._refuse(item, InvalidRequestError(replaced)))
            return
        try:
            entry = item.entry = await self._taken(item)
        except InvalidRequestError as exc:
            self._finish_with(self._refuse(item, exc))
            return
        self._open.add(item)
        # A request that an account's refusal has ended at once, or a task that another handle has seen end, calls no
        # callback any more.
        if entry.settlement is None:
            entry.callbacks.add(item.settled)
        else:
            item.settled(entry)

    async def _replaced_file(self, item: Item) -> str | None:
        """Return what is wrong if a file of an entry has another content than when it was added, else None."""
        files = list(files_of(item.fields))
        if not files:
            return None
        path = await self._shelf.in_thread(replaced_file, files, self._shelf.digests)
        return path and (
            f"not sent: '{printable(path)}' was replaced after this request was added; the new image is a request of "
            "its own"
        )

    async def _refuse(self, item: Item, error: InvalidRequestError) -> None:
        """Write down that an entry cannot be sent."""
        await self._note_end(item, EntryState.FAILED, error_text(error))
        self._hand_out(item, error=error)

    async def _note_end(self, item: Item, state: EntryState, error: str, **facts: Fact) -> None:
        """Write down an end without an image."""
        # A task that goes on has no end yet: the next run follows it.
        if state is not EntryState.SUBMITTED:
            facts["ended_at"] = time.time()
        try:
            await self._shelf.durable(item.change(state, {"error": error, **facts}))
        except LedgerError as exc:
            self._halt(exc)

    async def _taken(self, item: Item) -> Entry:
        """Hand an entry to the engine, as soon as the budget has room for it."""
        while True:
            try:
                return self._admit(item) if item.row.state is EntryState.QUEUED else self._attach(item)
            except BudgetExceededError:
                # With nothing in flight nothing will be given back: the budget is spent.
                if not self._open:
                    raise
                # What runs may turn out cheaper than it was set aside for, or not be paid at all.
                await self._changed.wait()

    def _attach(self, item: Item) -> Entry:
        row = item.row
        # The feeder takes in no others.
        assert row.task_id
        return self._engine.attach(row.task_id, polling_url=row.polling_url, model=row.model, cost=row.cost)

    def _admit(self, item: Item) -> Entry:
        outage_s = _OUTAGE_S if self._has_accepted else None
        # Not bounded by `Limits.queue`, which is for callers that can be refused: the window bounds a run.
        entry = self._engine.admit(
            item.request, priority=_PRIORITY, outage_s=outage_s, bounded=False, journal=item
        )
        self._line.append(item)
        return entry

    async def _wait_room(self) -> None:
        # Settled ones do not count in the window: images that are slow in coming must not let a slot idle.
        while len(self._open) >= self._window or self._held >= self._backlog:
            await self._changed.wait()

    # --- what the engine tells ----------------------------------------------------------------------------

    def reached(self, item: Item) -> None:
        """Mark a request that has its slot as submitting; see the module for the next in line."""
        # Called for each attempt: one that was in the queue again is in the line no more.
        if item in self._open:
            with contextlib.suppress(ValueError):
                self._line.remove(item)
        item.mark_submitting()
        if self._flush_s > _SLOW_FLUSH_S:
            for following in islice(self._line, _AHEAD):
                following.mark_submitting()

    def note_flush(self, seconds: float) -> None:
        """Note how long a mark took to be durable."""
        self._flush_s += 0.2 * (seconds - self._flush_s)

    def note_accepted(self) -> None:
        """Note that the server can be reached and takes requests: from now on an outage is waited out."""
        if self._has_accepted:
            return
        self._has_accepted = True
        # Those that were admitted before got the short time of a run that may have wrong settings.
        for item in self._open:
            if item.entry is not None:
                item.entry.extend_outage(_OUTAGE_S)

    def settled(self, item: Item, entry: Entry) -> None:
        """Begin to write down how an entry ended. In the step of its end: the slot is free already."""
        self._open.remove(item)
        with contextlib.suppress(ValueError):
            self._line.remove(item)
        # Also marks the end as heard: the outcome reports it, so no warning is logged.
        error = entry.error()
        settlement = entry.settlement
        assert settlement is not None
        state = entry_state_of(settlement, is_attached=item.is_attached)
        if isinstance(settlement, Ready):
            saving = self._finish_with(self._bring_home(item, entry))
            if is_own_id(entry.task_id or ""):
                # It came without a receipt, and the image is nowhere else.
                self.note_accepted()
                self._keeping.add(saving)
        elif isinstance(settlement, Lost) and isinstance(settlement.error, ClientClosedError):
            # The ledger has the task's id, and the next run attaches it, so nothing is written.
            self._halt(error)
        elif isinstance(settlement, Unsent):
            if item.mark is not None:
                # Also where the mark failed: it may have been written all the same.
                item.queued()
            # It stays queued for a reason that the next one would meet as well. A withdrawal is the run's own while it
            # stops; otherwise the client has closed.
            if state is None and not (settlement.withdrawn and self._is_stopped):
                self._halt(error)
        if state is not None:
            assert error is not None
            self._finish_with(self._write_down(item, entry, state, error))
        self.touched()

    def _finish_with(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        self._held += 1
        task = new_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        self._keeping.discard(task)
        # In both cases it has handed nothing out.
        if task.cancelled():
            if not self._is_left:
                self._held -= 1
                self._halt(ended_from_elsewhere())
        elif (exc := task.exception()) is not None:
            _log.error("a batch's coroutine failed by a bug", exc_info=exc)
            self._held -= 1
            self._halt(exc)
        self.touched()

    async def _write_down(self, item: Item, entry: Entry, state: EntryState, error: BFLError) -> None:
        await self._note_end(item, state, error_text(error), cost=entry.paid)
        self._hand_out(item, error=error)

    async def _give_up(self, item: Item) -> None:
        """Report an entry that is in flight and whose task is not known: an earlier run could not record it."""
        error = AmbiguousSubmitError(UNKNOWN)
        await self._note_end(item, EntryState.AMBIGUOUS, error_text(error))
        self._hand_out(item, error=error)

    async def _bring_home(self, item: Item, entry: Entry) -> None:
        """Fetch, save and list an image."""
        shelf, result = self._shelf, entry.result
        assert result is not None
        seen_at = asyncio.get_running_loop().time()
        error: BFLError | None = None
        item.note_ready(result, is_end=shelf.folder is None)
        try:
            if shelf.folder is None:
                end: dict[str, Fact] = {
                    "ended_at": time.time(),
                    "result": json.dumps(kept_result(item, result)),
                }
                await shelf.durable(item.change(EntryState.READY, end))
            else:
                async with shelf.downloads:
                    await self._saver.save(item, result, seen_at)
        except BFLError as exc:
            error = exc
            if is_own_id(result.task_id) and item.file is None and not isinstance(exc, LedgerError):
                # No server has it any more, and it may be paid.
                await self._note_end(item, EntryState.FAILED, f"{error_text(exc)}; {NOT_KEPT}")
            elif isinstance(exc, ClientClosedError):
                # The entry stays "ready", which is true, and the next run fetches the image: no outcome to report.
                self._held -= 1
                self._halt(exc)
                return
            elif not isinstance(exc, LedgerError | SaveError):
                # Of the download. Unless a repetition is hopeless, the next run asks for a fresh URL and tries again.
                state = EntryState.FAILED if isinstance(exc, HOPELESS) else EntryState.READY
                await self._note_end(item, state, error_text(exc))
            if isinstance(exc, LedgerError | SaveError):
                await item.wait_written()
                self._halt(exc)
        self._hand_out(item, result=result, error=error)

    def _hand_out(self, item: Item, *, result: Result | None = None, error: BFLError | None = None) -> None:
        row = item.row
        task_id = row.task_id
        if item.entry is not None:
            task_id = item.entry.task_id
        # Last looks, once all that concerns the entry was written or has failed: the outcome says what the ledger has.
        item.show_doubt()
        if item.is_unrecorded:
            error = unrecorded(task_id, item.file, error)
        self._ready.append(
            BatchOutcome(
                row.id - 1, row.key, row.name, item.state, item.request, task_id, result, item.file, error
            )
        )
        self.touched()

    # --- the end ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more; go on iterating for what was sent. Idempotent."""
        if self._is_stopped or self._is_left:
            return
        self._is_stopped = True
        if self._feeder is None:
            self._feeding = False
        else:
            self._feeder.cancel()
        # A copy: what is withdrawn settles in this step, and leaves the set.
        for item in list(self._open):
            if item.entry is not None:
                self._engine.stop(item.entry)
        self.touched()

    def _halt(self, error: BaseException | None) -> None:
        """Stop for an error, which is raised after the last outcome."""
        if self._error is None and error is not None:
            self._error = to_go_on(error, self._shelf.ledger.shown) if isinstance(error, BFLError) else error
        self.stop()

    def fail(self, error: LedgerError | SaveError) -> None:
        """Stop: something cannot be written."""
        self._halt(error)

    async def aclose(self) -> None:
        """Stop; wait for POSTs on their way and for files that are being written.

        Cancellation: Ends the wait for POSTs; one whose answer then comes too late is ambiguous.
        """
        if self._feeder is not None and (self._ready or not self._is_through()) and self._error is None:
            self._error = ClientClosedError(
                "the batch was closed before its run had ended: run the same again to go on"
            )
        self.stop()
        self._is_left = True
        self.touched()
        try:
            # Also for the receipt to be durable: until then a paid task is known to this process alone.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    while self._keeping or any(item.is_on_its_way for item in self._open):
                        await self._changed.wait()
        finally:
            for item in list(self._open):
                # The ledger reports these, so no warning is logged; and this run hears of their ends no more.
                if item.entry is not None:
                    item.entry.heard = True
                    item.entry.callbacks.discard(item.settled)
            self._open.clear()
            tasks = [*self._finishing, *([] if self._feeder is None else [self._feeder])]
            for task in tasks:
                task.cancel()
            # Awaited even if the caller is cancelled: a file that is being written must be whole or gone.
            with shielded():
                await asyncio.gather(*tasks, return_exceptions=True)
            self.touched()
