"""Which entries a run works on, and in which order.

First what costs nothing: entries that were found as submitting are reported, and tasks in flight are attached. Then
what is queued, as long as something is added.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bfl_async.batch.shelf import READ
from bfl_async.types.entries import EntryState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bfl_async.batch.plan import IdSet
    from bfl_async.batch.shelf import Shelf
    from bfl_async.types.entries import LedgerEntry


class Feeder:
    """Reads the ledger in order, and gives its entries to a run.

    Args:
        take_in: Attaches the task of an entry, or queues its request.
        report_killed: Hands out the next of `Shelf.killed`, an entry that may have been sent when an earlier run was
            killed. Both wait until the run has room for another entry.
        is_first: No other run of this batch came before.
        sends_after: What is queued waits for this; what is in flight does not. None: it waits for nothing.
    """

    def __init__(
        self,
        shelf: Shelf,
        take_in: Callable[[LedgerEntry], Awaitable[None]],
        report_killed: Callable[[], Awaitable[None]],
        *,
        is_first: bool,
        sends_after: asyncio.Future[None] | None,
    ) -> None:
        self._shelf = shelf
        self._take_in = take_in
        self._report_one_killed = report_killed
        self._is_first = is_first
        self._sends_after = sends_after

    async def feed(self) -> None:
        """Give all entries, until nothing is added any more.

        Raises:
            LedgerError: The ledger cannot be read.
        Cancellation: Ends the feeding; an entry that was not taken in stays as it is.
        """
        shelf = self._shelf
        retries_killed = EntryState.AMBIGUOUS in shelf.retry
        # First what costs nothing, so that its outcomes do not wait behind hours of sending.
        if not retries_killed:
            await self._report_killed()
        if self._sends_after is None:
            # Before anything ends in this run: what fails from here on is not sent again by it.
            await shelf.requeue_earlier()
        # Tasks in flight next: their results last for minutes only.
        await self._give(shelf.flying)
        if self._sends_after is not None:
            # Shielded, as the run may be stopped while others still wait for the same future.
            await asyncio.shield(self._sends_after)
            await shelf.requeue_earlier()
        if not (shelf.and_earlier or self._is_first):
            # What an earlier run of this batch took up and did not send.
            await self._give([EntryState.QUEUED], only=shelf.asked)
        await self._give_queued()
        if retries_killed:
            # Those that this input does not ask for.
            await self._report_killed()

    async def _give_queued(self) -> None:
        """Give what is queued, and what is added meanwhile."""
        shelf = self._shelf
        after = 0
        while True:
            # Looked at before the reading, so that what is added meanwhile is not missed.
            is_last, additions = shelf.adding == 0, shelf.additions
            if shelf.and_earlier:
                after = await self._give([EntryState.QUEUED], after)
            else:
                await self._give_wanted()
            if is_last:
                return
            if shelf.adding and shelf.additions == additions:
                await shelf.wait_added()

    async def _report_killed(self) -> None:
        while self._shelf.killed:
            await self._report_one_killed()

    async def _give(self, states: list[EntryState], after: int = 0, *, only: IdSet | None = None) -> int:
        """Give all entries behind `after` that are in these states; return the last one's id."""
        while rows := await self._shelf.read(states, after):
            for row in rows:
                after = row.id
                if only is None or row.id in only:
                    await self._take_in(row)
        return after

    async def _give_wanted(self) -> None:
        """Give the entries that this session has asked for, those with neighbouring ids in one read."""
        wanted = self._shelf.wanted
        while wanted:
            first = last = wanted.popleft()
            # What was added in one go has neighbouring ids: one read serves up to 256 of them.
            while wanted and wanted[0] == last + 1 and last - first + 1 < READ:
                last = wanted.popleft()
            after = first - 1
            while after < last and (rows := await self._shelf.read([EntryState.QUEUED], after, last - after)):
                after = rows[-1].id
                for row in rows:
                    if row.id <= last:
                        await self._take_in(row)
