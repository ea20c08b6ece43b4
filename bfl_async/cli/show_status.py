"""The status command's work: a ledger that another shell may be writing, looked at."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

from bfl_async.batch.files import MANIFEST
from bfl_async.cli.files import InputError
from bfl_async.cli.missing import missing_images, missing_in_words
from bfl_async.cli.output import print_json, print_line
from bfl_async.cli.words import counted
from bfl_async.ledger import LedgerView, inspect_ledger
from bfl_async.ledger.reader import read_ledger
from bfl_async.runtime.text import printable

LEDGER_NAME = "run.db"
# The class of an error, which a ledger keeps before its words.
_ERROR_NAME = re.compile(r"^[A-Za-z]+Error: ")


def ledger_of(run: Path) -> Path:
    """Return the ledger of a run that is named by its folder or its ledger."""
    return run / LEDGER_NAME if run.is_dir() else run


def existing_ledger(run: Path) -> Path:
    """Return a run's ledger.

    Raises:
        InputError: There is none.
    """
    path = ledger_of(run)
    try:
        is_there = path.is_file()
    except ValueError:  # a NUL in the name
        is_there = False
    if not is_there:
        raise InputError(f"there is no ledger {str(path)!r}: name the folder of a batch, or the ledger in it")
    return path


def show_status(run: Path, *, as_json: bool) -> int:
    """Print a run's state; return the exit code.

    Raises:
        InputError: There is none.
        LedgerError: It cannot be read.
    """
    ledger = existing_ledger(run)
    view = inspect_ledger(ledger)
    folder = ledger.parent
    # Where the manifest is not next to the ledger, the images are elsewhere.
    is_beside = (folder / MANIFEST).exists()
    missing = read_ledger(ledger, lambda reader: missing_images(reader, folder)) if is_beside else {}
    if as_json:
        print_json({**_as_dict(view), "missing": len(missing)})
    else:
        for line in _as_lines(view):
            print_line(line)
        if missing:
            print_line(f"  {missing_in_words(missing, folder)}")
    return 0


def _as_dict(view: LedgerView) -> dict[str, object]:
    return {
        "ledger": str(view.path),
        "running": view.holder is not None,
        "pid": None if view.holder is None or not view.holder.isdigit() else int(view.holder),
        "counts": {state.value: count for state, count in view.counts.items()},
        "credits_spent": view.spent_credits,
        "unpriced": view.unpriced,
        "first_at": view.first_at,
        "last_at": view.last_at,
        "last_minute": view.recent,
        "errors": [
            {
                "index": entry.id - 1,
                "state": entry.state.value,
                "task_id": entry.task_id,
                "error": entry.error,
            }
            for entry in view.errors
        ],
    }


def _as_lines(view: LedgerView) -> list[str]:
    counts = {state.value: count for state, count in view.counts.items()}
    total = sum(counts.values())
    runs = "no run holds it" if view.holder is None else f"running (process {view.holder})"
    lines = [
        f"{view.path}: {counted(total, 'request')}, {runs}",
        "  " + ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "saved"),
        f"  {counted(view.spent_credits, 'credit')} spent"
        + (f", and {counted(view.unpriced, 'task')} of unknown cost" if view.unpriced else ""),
    ]
    if view.last_at is not None:
        at = datetime.fromtimestamp(view.last_at).strftime("%Y-%m-%d %H:%M:%S")
        ago = max(0.0, time.time() - view.last_at)
        lines.append(f"  {view.recent} ended in the last active minute; last change {at}, {ago:.0f} s ago")
    lines.extend(
        f"  entry {entry.id - 1} {entry.state.value}: {printable(_ERROR_NAME.sub('', entry.error or ''))}"
        for entry in view.errors
    )
    return lines
