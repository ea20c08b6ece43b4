"""The manifest: a line for each image, and what it proves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from bfl_async.batch.files import ListedImages, Manifest
from bfl_async.batch.records import recorded_fields
from bfl_async.batch.shelf import READ, Shelf
from bfl_async.batch.verdicts import ended_from_elsewhere
from bfl_async.errors import (
    BFLError,
    LedgerError,
    SaveError,
)
from bfl_async.runtime.tasks import new_task
from bfl_async.types.entries import EntryState, Fact, LedgerEntry

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Mapping,
    )
    from pathlib import Path

    from bfl_async.types.common import JSON


class Lister:
    """Writes the manifest, behind the images: what is at hand goes in one flush."""

    def __init__(
        self,
        shelf: Shelf,
        manifest: Manifest,
        on_error: Callable[[LedgerError | SaveError], None],
    ) -> None:
        self._shelf = shelf
        self._ledger = shelf.ledger
        self._manifest = manifest
        self._on_error = on_error
        self._waiting: list[tuple[int, bytes]] = []
        self._worker: asyncio.Task[None] | None = None
        self._error: BFLError | None = None

    async def open(self, notes: Mapping[str, str]) -> None:
        """Mend the file after a run that was killed."""
        noted = notes.get(_MANIFEST_BYTES)
        if noted is None:
            # A new ledger; lines of others may be there.
            size = await self._shelf.in_thread(self._manifest.size)
            await self._shelf.durable(self._ledger.note({_MANIFEST_BYTES: str(size)}))
        else:
            size = int(noted)
        keys = await self._shelf.in_thread(self._manifest.mend, size)
        if keys is None:
            keys = set()
            await self._shelf.in_thread(self._manifest.begin_anew)
            await self._shelf.durable(self._ledger.unlist())
        after = 0
        while True:
            with self._shelf.reading():
                rows = await self._ledger.read((), after=after, most=READ, unlisted=True)
            if not rows:
                return
            after = rows[-1].id
            lines = [
                manifest_line(row, row.task_id, row.cost, row.file, row.result or {})
                for row in rows
                if row.key not in keys
            ]
            await self._list([row.id for row in rows], lines)

    def put(self, entry_id: int, line: bytes) -> None:
        """List an image."""
        self._waiting.append((entry_id, line))
        if self._worker is None or self._worker.done():
            self._worker = new_task(self._work())

    async def _work(self) -> None:
        while self._waiting and self._error is None:
            batch, self._waiting = self._waiting, []
            try:
                await self._list([entry_id for entry_id, _ in batch], [line for _, line in batch])
            except (LedgerError, SaveError) as exc:
                self._error = exc
                self._on_error(exc)

    async def _list(self, ids: list[int], lines: list[bytes]) -> None:
        size = await self._shelf.in_thread(self._manifest.append, lines)
        await self._shelf.durable(self._ledger.note({_MANIFEST_BYTES: str(size)}, ids))

    async def flush(self) -> None:
        """Wait until all that was put stands in the file.

        Raises:
            SaveError, LedgerError: It could not be written; the next run does.
        """
        if self._worker is not None:
            await asyncio.wait([self._worker])
            if self._worker.cancelled():
                raise ended_from_elsewhere()
        if self._error is not None:
            raise self._error.fresh()

    async def aclose(self) -> None:
        """Write what is left."""
        if self._worker is not None:
            await asyncio.wait([self._worker])


_MANIFEST_BYTES = "manifest_bytes"


# The note of how much of the manifest was there before the ledger.
LISTED_BEFORE = "manifest_bytes_before"


def read_listed(folder: Path, notes: Mapping[str, str]) -> ListedImages | None:
    """Return the images that a folder's manifest listed before a ledger began; None if there were none. Blocks.

    A batch takes them as saved, so they are evidence against paying twice where the ledger was lost. The ledger notes
    how much of the manifest that was: a run that is killed as it adds its requests finds the same again.

    Args:
        notes: The ledger's notes; empty for a ledger that does not exist yet.
    Raises:
        SaveError: The manifest cannot be read.
    """
    size = notes.get(LISTED_BEFORE, "0" if "home" in notes else None)
    if size is None:
        return ListedImages.read(folder)
    return ListedImages.read(folder, int(size)) if size.isdecimal() and int(size) else None


def saved_facts(row: Mapping[str, JSON]) -> Mapping[str, Fact]:
    """Return the facts of an image from its line in the manifest."""
    facts: dict[str, Fact] = {}
    for name in ("task_id", "file", "cost"):
        value = row.get(name)
        if isinstance(value, str | int | float):
            facts[name] = value
    kept = {name: row[name] for name in ("seed", "used_prompt", "duration", "sha256", "bytes") if name in row}
    return {**facts, "result": json.dumps(kept)}


def manifest_line(
    row: LedgerEntry, task_id: str | None, cost: float | None, file: str | None, kept: Mapping[str, JSON]
) -> bytes:
    """Return the line of an image."""
    line = {
        "index": row.id - 1,
        "state": EntryState.SAVED.value,
        "file": file,
        "prompt": row.fields.get("prompt"),
        "model": row.model,
        "task_id": task_id,
        "cost": cost,
        **kept,
        "key": row.key,
        "fields": recorded_fields(row.fields),
    }
    if row.name is not None:
        line["id"] = row.name
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
