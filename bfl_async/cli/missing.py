"""Images that a ledger has as saved and that are gone from their folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from bfl_async.cli.output import say
from bfl_async.cli.row_names import listed
from bfl_async.cli.words import counted, them
from bfl_async.ledger import SQLiteLedger
from bfl_async.ledger.reader import LedgerReader
from bfl_async.runtime.cancellation import shielded
from bfl_async.types.entries import EntryState

# Entries that are read at a time: with a rollback journal, a run that writes waits for each read.
_READ = 20_000


def missing_images(reader: LedgerReader, folder: Path) -> dict[int, str]:
    """Return the names of images that are saved and not in the folder any more, by entry. Blocks."""
    missing: dict[int, str] = {}
    after = 0
    while found := reader.files(after=after, most=_READ):
        after = found[-1][0]
        for entry_id, name in found:
            try:
                is_there = (folder / name).is_file()
            except (OSError, ValueError):
                is_there = False
            if not is_there:
                missing[entry_id] = name
    return missing


def missing_in_words(missing: Mapping[int, str], folder: Path) -> str:
    """Return what is missing, and how to have it again."""
    count = len(missing)
    return (
        f"{counted(count, 'image')} {'is' if count == 1 else 'are'} missing in {str(folder)!r}: "
        f"{listed(list(missing.values())[:21])}; `batch` with --retry-missing makes {them(count)} again, and pays again"
    )


async def queue_again(ledger: Path, entries: Collection[int]) -> None:
    """Put saved entries back into the queue; what they have cost stays counted.

    Raises:
        LedgerError: The ledger is held by a run, or cannot be written.
    """
    opened = SQLiteLedger(ledger)
    try:
        await opened.open()
        await opened.requeue(EntryState.SAVED, sorted(entries))
    finally:
        with shielded():
            await opened.aclose()


def say_missing(missing: Mapping[int, str], folder: Path) -> None:
    """Say which images are missing, if any."""
    if missing:
        say(missing_in_words(missing, folder))
