"""The ledger and the journal: what is durable before what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Protocol,
)

from bfl_async.types.entries import EntryState, Fact, LedgerEntry, NewEntry
from bfl_async.types.replies import Receipt

if TYPE_CHECKING:
    pass


class Journal(Protocol):
    """Keeps a durable record of one request while the scheduler works on it.

    Cancellation: The scheduler cancels it only when the client is closed; what was begun may be written.
    """

    async def submitting(self) -> None:
        """Return once it is durable that the request may have been sent; only then it is.

        Raises:
            BFLError: It could not be written. The request is settled with this error, unsent.
        """
        ...

    def queued(self) -> None:
        """Note that no task exists: nothing was sent, or the server took nothing. It will be sent again."""
        ...

    async def submitted(self, receipt: Receipt) -> None:
        """Return once the task's id is durable; only then it is polled.

        Raises:
            Nothing: the task exists, whether or not that could be written.
        """
        ...


class Ledger(Protocol):
    """Durable entries. Changes take effect in the order of the calls, each whole or not at all.

    A future that a method returns is done once the change is durable. Every failure is a `LedgerError`.

    Cancellation: Ends the wait; what was asked for may still be done.
    """

    @property
    def shown(self) -> str:
        """What the ledger is called in messages."""
        ...

    async def open(self) -> None:
        """Open for writing, alone.

        Raises:
            LedgerLockedError: Another run holds it.
            LedgerVersionError: A newer release wrote it.
            LedgerError: It cannot be read or written, or is none.
        """
        ...

    def add(self, entries: Sequence[NewEntry]) -> asyncio.Future[int]:
        """Add those whose key is new, as queued, or as saved and listed; the result is how many."""
        ...

    def change(
        self, entry_id: int, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> asyncio.Future[None]:
        """Give an entry a state and facts: `task_id polling_url cost file result error *_at`."""
        ...

    def reset(self, state: EntryState, to: EntryState, error: str | None = None) -> asyncio.Future[list[int]]:
        """Move all entries of one state to another; what was paid for them stays counted.

        A task's facts are forgotten when they go back to the queue. The result is their ids.
        """
        ...

    def requeue(self, state: EntryState, ids: Sequence[int]) -> asyncio.Future[list[int]]:
        """Put these entries back into the queue, as far as they are in this state, as `reset` does for all.

        The result is the ids that were moved.
        """
        ...

    def remove(self, states: Sequence[EntryState], ids: Sequence[int] | None = None) -> asyncio.Future[int]:
        """Remove entries in these states; what was paid for them stays counted.

        `ids`: Only these, as far as they are in one of the states. None removes all. The result is how many.
        """
        ...

    def note(self, facts: Mapping[str, str], listed: Sequence[int] = ()) -> asyncio.Future[None]:
        """Keep facts of the ledger as a whole, and that these entries stand in the manifest."""
        ...

    def unlist(self) -> asyncio.Future[None]:
        """Forget which entries stand in the manifest."""
        ...

    async def read(
        self, states: Sequence[EntryState], *, after: int, most: int, unlisted: bool = False
    ) -> list[LedgerEntry]:
        """Return at most so many entries in these states, by id, from the one behind `after`.

        `unlisted`: the saved ones that do not stand in the manifest, whatever `states`. Fewer come where they
        are large; none is the end.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def find(self, keys: Sequence[str]) -> Mapping[str, tuple[int, EntryState]]:
        """Return the id and state of each of these keys that is there.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def counts(self) -> Mapping[EntryState, int]:
        """Count the entries by state.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def notes(self) -> Mapping[str, str]:
        """Return the facts of the ledger as a whole.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def aclose(self) -> None:
        """Write what is left, and let go. Idempotent."""
        ...
