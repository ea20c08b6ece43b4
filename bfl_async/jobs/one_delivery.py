"""One delivery of one record, and what it has to have written before it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import Any

from bfl_async.batch.verdicts import error_text
from bfl_async.engine.entry import Entry
from bfl_async.errors import BFLError, LedgerError
from bfl_async.jobs.records import Records
from bfl_async.runtime.tasks import new_task
from bfl_async.types.entries import EntryState, Fact
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import Receipt

_log = logging.getLogger("bfl_async")


_NOTE_PAUSE_S = 1.0  # between attempts to note a task


def text_of(exc: Exception) -> str:
    """Return what a record says of an error, which may be a storage's own."""
    return error_text(exc) if isinstance(exc, BFLError) else f"{type(exc).__name__}: {exc}"


class Delivery:
    """One delivery of one record. It is the scheduler's journal of the request."""

    def __init__(self, records: Records, lease_s: float, record_id: int, runner: asyncio.Task[Any]) -> None:
        self._records = records
        self._lease_s = lease_s
        self.record_id: int = record_id
        # The coroutine that delivers it.
        self.runner: asyncio.Task[Any] = runner
        self.claim: str = uuid.uuid4().hex
        # As it was written last.
        self.state: EntryState = EntryState.QUEUED
        self.entry: Entry | None = None
        self._writing: asyncio.Task[None] | None = None
        self.noting: asyncio.Task[None] | None = None
        # The task's id is committed, or was tried to be.
        self.is_noted: bool = False

    @property
    def is_on_its_way(self) -> bool:
        """True while a POST is out, or what it brought is not committed."""
        entry = self.entry
        return entry is not None and (
            entry.state is State.SUBMITTING or (entry.state is State.SUBMITTED and not self.is_noted)
        )

    def facts(self) -> dict[str, Fact]:
        """What is known of the task: also written at the end, for it may not have been when it came."""
        entry = self.entry
        if entry is None:
            return {}
        return {"task_id": entry.task_id, "polling_url": entry.polling_url, "cost": entry.paid}

    async def submitting(self) -> None:
        """See `Journal.submitting`."""
        await self.flush()
        if not await self._records.submitting(self.record_id, self.claim):
            raise LedgerError("another worker took the job over; nothing was sent")
        self.state = EntryState.SUBMITTING

    def queued(self) -> None:
        """See `Journal.queued`."""
        self.state = EntryState.QUEUED
        self._writing = new_task(self._write_queued())

    async def _write_queued(self) -> None:
        with contextlib.suppress(LedgerError):  # after a kill it is then ambiguous, for nothing
            await self._records.queued(self.record_id, self.claim)

    async def flush(self) -> None:
        """Wait for what is being written: changes reach the table in their order."""
        if self.noting is not None:
            self.noting.cancel()
            await asyncio.wait([self.noting])
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def submitted(self, receipt: Receipt) -> None:
        """See `Journal.submitted`."""
        try:
            await self._note(receipt)
        except LedgerError as exc:
            # It is followed all the same, and noted when the database is back; after a kill it is ambiguous.
            _log.warning(
                "task %s was accepted and could not be noted: %s",
                receipt.task_id,
                exc,
                extra={"bfl_task_id": receipt.task_id, "bfl_error": type(exc).__name__},
            )
            self.noting = new_task(self._note_later(receipt))
        finally:
            self.is_noted = True
            if self.entry is not None:
                self.entry.changed.ring()

    async def _note(self, receipt: Receipt) -> None:
        self.state = EntryState.SUBMITTED
        if not await self._records.submitted(self.record_id, self.claim, receipt, self._lease_s):
            _log.warning(
                "task %s was accepted for a job that another worker has",
                receipt.task_id,
                extra={"bfl_task_id": receipt.task_id},
            )
            if receipt.cost is not None:
                await self._records.add_cost(self.record_id, receipt.cost)

    async def _note_later(self, receipt: Receipt) -> None:
        while True:  # until the delivery ends, which writes the id as well
            await asyncio.sleep(_NOTE_PAUSE_S)
            with contextlib.suppress(LedgerError):
                return await self._note(receipt)
