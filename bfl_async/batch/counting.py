"""What a run will find in a ledger, counted before it begins."""

from __future__ import annotations

import contextlib
import os
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from pathlib import Path

from bfl_async.batch.files import GALLERY, MANIFEST
from bfl_async.batch.plan import IdSet, Planner
from bfl_async.batch.requests import Given, Source, files_of, given_of, rebuild, replaced_file
from bfl_async.models import ImageRequest
from bfl_async.protocols.ledger import Ledger
from bfl_async.runtime.files import Digests
from bfl_async.types.entries import EntryState, LedgerEntry

# Requests that are added in one step of the loop.
CHUNK = 64


def count_asked(
    planner: Planner,
    chunk: Sequence[tuple[str, ImageRequest]],
    found: Mapping[str, tuple[int, EntryState]],
    spent: Sequence[IdSet] = (),
) -> None:
    """Count requests of the input in a plan. Blocks: it may read the headers of files.

    Args:
        chunk: Each with its key.
        found: The ids and states of those that the ledger holds.
        spent: Entries that this session has worked on: they are not retried again.
    """
    for key, wanted in chunk:
        known = found.get(key)
        is_spent = known is not None and any(known[0] in ids for ids in spent)
        planner.ask(wanted, known, is_spent=is_spent)


def with_listed(
    found: Mapping[str, tuple[int, EntryState]], listed: Iterable[str]
) -> Mapping[str, tuple[int, EntryState]]:
    """Return what a ledger knows of some keys, together with those whose image the manifest lists as saved."""
    return {**{key: (0, EntryState.SAVED) for key in listed}, **found}


def count_left(
    planner: Planner,
    rows: Iterable[LedgerEntry],
    digests: Digests,
    asked_before: IdSet | None = None,
    spent: Sequence[IdSet] = (),
) -> None:
    """Count entries of the ledger in a plan, as far as the input does not ask for them. Blocks.

    Args:
        asked_before: Entries that this session has asked for.
        spent: Entries that were in flight when this session took them up: they are not retried.
    """
    for row in rows:
        if row.state is not EntryState.QUEUED and any(row.id in ids for ids in spent):
            continue
        if not planner.is_asked(row.id):
            is_asked = asked_before is not None and row.id in asked_before
            is_replaced = replaced_file(files_of(row.fields), digests) is not None
            planner.leave(row.state, rebuild(row, given=given_of), is_asked=is_asked, is_replaced=is_replaced)


async def each_request(requests: Source) -> AsyncIterator[Given]:
    if isinstance(requests, AsyncIterable):
        async for one in requests:
            yield one
    else:
        for one in requests:
            yield one


def reserved_names(folder: Path | None, ledger: str | os.PathLike[str] | Ledger) -> list[str]:
    """Return the names within an output folder that a run needs for itself."""
    names = [MANIFEST, f"{MANIFEST}.old", GALLERY]
    path = Path(ledger) if isinstance(ledger, str | os.PathLike) else Path(ledger.shown)
    with contextlib.suppress(OSError, ValueError):
        if folder is not None and (file := path.absolute()).is_relative_to(folder.absolute()):
            name = file.relative_to(folder.absolute()).as_posix()
            names += [name + end for end in ("", ".lock", "-journal", "-wal", "-shm")]
    return names
