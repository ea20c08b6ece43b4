"""What the parts of an open batch share: the ledger, its counts, and the folder.

`Batch` adds to it, `BatchRun` takes from it, `Item` and `Lister` write through it; none of them has to know another.
All of it belongs to the client's loop, and every change of a shared field happens between two awaits.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from bfl_async.batch.files import ListedImages
from bfl_async.batch.naming import NameTemplate
from bfl_async.batch.plan import IdSet
from bfl_async.batch.verdicts import retrieve, wake_future
from bfl_async.errors import LedgerError
from bfl_async.protocols.ledger import Ledger
from bfl_async.runtime.cancellation import foreign_cancellation_as
from bfl_async.runtime.files import Digests
from bfl_async.types.common import JSON
from bfl_async.types.entries import EntryState, LedgerEntry

if TYPE_CHECKING:
    from bfl_async.models.known import Catalog

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Entries that are read from the ledger at a time: each holds a prompt, and a batch may have a million.
READ = 256


class Shelf:
    """The ledger of a batch with what this session knows of its entries."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog | None,
        *,
        folder: Path | None,
        template: NameTemplate,
        retry: tuple[EntryState, ...],
        downloads: int,
        and_earlier: bool,
    ) -> None:
        self.ledger: Ledger = ledger
        # That of the client: what entries name is made into requests by it.
        self.catalog: Catalog | None = catalog
        self.folder: Path | None = folder
        self.template: NameTemplate = template
        self.retry: tuple[EntryState, ...] = retry
        self.and_earlier: bool = and_earlier
        # True once all entries of the states in `retry` went back to the queue, which happens once per batch.
        self.has_requeued: bool = False
        # Entries that were asked for with add(), and of these, in order, those that a run has to take up. Written by
        # Batch._ask_for; a run takes from `wanted`. Both are used only where earlier input is not sent as well.
        self.asked: IdSet = IdSet()
        self.wanted: deque[int] = deque()
        # Entries that were in flight when a run of this session took them up. One that ends as failed or moderated
        # here is not sent again here. Written by a run.
        self.attached: IdSet = IdSet()
        # Fields of entries as they were given last: their files may have moved. Only of entries that will be sent.
        self.places: dict[int, Mapping[str, JSON]] = {}
        self.digests: Digests = Digests()
        self.downloads: asyncio.Semaphore = asyncio.Semaphore(downloads)
        # Threads of the batch's own: those of anyio's default limiter may all be taken by calls that wait for this
        # batch. One for each image that is saved, and one each for the manifest and for large requests.
        self._threads = anyio.CapacityLimiter(downloads + 2)
        self.parts: Path | None = None
        # Images of a lost ledger, or of another one in the same folder.
        self.listed: ListedImages | None = None
        # Entries in each state, as the ledger has them. Changed with each change of the ledger, in the same step.
        self.counts: Counter[EntryState] = Counter()
        # Ids that were found as submitting, until a run has reported them.
        self.killed: list[int] = []
        # Calls of add() that go on, and how often something was added: a run ends when there is no more of either.
        self.adding: int = 0
        self.additions: int = 0
        # A run's wait for more.
        self._added: asyncio.Future[None] | None = None

    @property
    def spent(self) -> Sequence[IdSet]:
        """Entries that this session has worked on, which a plan does not count as retried."""
        return (self.asked, self.attached)

    @property
    def flying(self) -> list[EntryState]:
        """The states of entries that are fetched at no cost."""
        return [EntryState.SUBMITTED] if self.folder is None else [EntryState.SUBMITTED, EntryState.READY]

    def reading(self) -> AbstractContextManager[None]:
        """Within: a call to the ledger that ends as cancelled, though the caller is not, is a failed call."""
        return foreign_cancellation_as(self._cut_off)

    async def read(self, states: Sequence[EntryState], after: int, most: int = READ) -> list[LedgerEntry]:
        """Return the next entries behind `after` that are in these states.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        with self.reading():
            return await self.ledger.read(states, after=after, most=most)

    async def durable(self, change: asyncio.Future[T]) -> T:
        """Wait until a change of the ledger is durable; return its result.

        Raises:
            LedgerError: It was not written, or the ledger has given it up.
        Cancellation: Ends the wait. The change is written all the same, so the future is left alone.
        """
        change.add_done_callback(retrieve)
        if not change.done():
            await asyncio.wait([change])
        if change.cancelled():
            raise self._cut_off()
        return change.result()

    def _cut_off(self) -> LedgerError:
        return LedgerError(f"the ledger {self.ledger.shown!r} cannot be used: a call to it was cancelled")

    async def in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run blocking work in one of the batch's own threads."""
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)

    async def requeue(self, state: EntryState, ids: list[int] | None = None) -> list[int]:
        """Put entries back into the queue: these, or all of the state."""
        if ids is None:
            moved = await self.durable(self.ledger.reset(state, EntryState.QUEUED))
        else:
            moved = await self.durable(self.ledger.requeue(state, ids))
        self.counts[state] -= len(moved)
        self.counts[EntryState.QUEUED] += len(moved)
        if state is EntryState.AMBIGUOUS and self.killed:
            again = set(moved)
            self.killed = [entry_id for entry_id in self.killed if entry_id not in again]
        return moved

    async def requeue_earlier(self) -> None:
        """Put all entries of the states that are retried back into the queue, where earlier input is sent as well.

        Those that were in flight when this session took them up stay as they are.
        """
        if not self.and_earlier or self.has_requeued:
            return
        for state in self.retry:
            if not self.attached:
                await self.requeue(state)
                continue
            after = 0
            while True:
                with self.reading():
                    rows = await self.ledger.read([state], after=after, most=READ)
                if not rows:
                    break
                after = rows[-1].id
                await self.requeue(state, [row.id for row in rows if row.id not in self.attached])
        self.has_requeued = True

    async def wait_added(self) -> None:
        """Wait until something was added, or no call of add() goes on."""
        self._added = asyncio.get_running_loop().create_future()
        await self._added

    def wake_run(self) -> None:
        """Let a run look again for what it has to take up."""
        if self._added is not None:
            wake_future(self._added)
