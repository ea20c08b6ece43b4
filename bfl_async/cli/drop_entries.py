"""The drop command's work: entries that a ledger should forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bfl_async.cli.files import InputError
from bfl_async.cli.output import say
from bfl_async.ledger import SQLiteLedger
from bfl_async.runtime.cancellation import shielded
from bfl_async.types.entries import EntryState

# What may be removed. The others are paid images, or tasks that a run will fetch.
_REMOVABLE = (EntryState.QUEUED, EntryState.FAILED, EntryState.MODERATED, EntryState.AMBIGUOUS)


async def drop_entries(path: Path, wanted: Mapping[str, bool], indexes: Sequence[int]) -> int:
    """Remove entries, all or none; return the exit code.

    Args:
        path: A ledger.
        wanted: By state, whether all entries in it are meant.
        indexes: Entries that are meant, by their numbers.
    Raises:
        click.UsageError: None is meant.
        InputError: There is no such entry, or it must not be removed.
        LedgerError: The ledger is held by a run, or cannot be used.
    """
    states = [EntryState(state) for state, is_wanted in wanted.items() if is_wanted]
    if not (states or indexes):
        raise click.UsageError(
            "say what to remove: --queued, --failed, --moderated, --ambiguous or --index N"
        )
    ledger = SQLiteLedger(path)
    try:
        await ledger.open()
        ids = sorted({index + 1 for index in indexes})
        for entry_id in ids:
            await _check_removable(ledger, entry_id)
        removed = await ledger.remove(states) if states else 0
        removed += await ledger.remove(_REMOVABLE, ids) if ids else 0
        counts = await ledger.counts()
    finally:
        with shielded():
            await ledger.aclose()
    left = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    say(
        f"removed {removed} {'entry' if removed == 1 else 'entries'} from {str(path)!r}; left: {left or 'none'}"
    )
    return 0


async def _check_removable(ledger: SQLiteLedger, entry_id: int) -> None:
    rows = await ledger.read(tuple(EntryState), after=entry_id - 1, most=1)
    if not rows or rows[0].id != entry_id:
        raise InputError(f"there is no entry {entry_id - 1} in {ledger.shown!r}: nothing was removed")
    state = rows[0].state
    if state not in _REMOVABLE:
        reason = (
            "and what is paid and saved stays in the ledger"
            if state is EntryState.SAVED
            else "and its task may run: the same batch again fetches it"
        )
        raise InputError(f"nothing was removed: entry {entry_id - 1} is {state.value}, {reason}")
