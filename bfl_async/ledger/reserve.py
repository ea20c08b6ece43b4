"""Room on the disk for what must be recorded after money was spent.

A task's id arrives when its credits are spent. If the disk is full by then, SQLite can write neither to the ledger
nor to its journal, and the id would be lost. So a file beside the ledger gets its full size before anything is sent.
A change that the ledger cannot take is written into that file instead: in place, which needs no new room. As soon as
the ledger can be written again, in this run or the next, it takes these changes first, so their order is kept.

Each record is a line of JSON with the ledger's id and the number of its generation. The transaction that takes a
generation into the ledger also notes its number there, and the next record begins again at the file's start. So
nothing is ever erased: records whose generation the ledger has, and what a new record left of an old line, are
skipped.

File systems that write every change to a new place (Btrfs, ZFS, APFS) may refuse on a full disk all the same. The
change then fails, and the batch reports it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bfl_async.runtime.files import flush_folder, flush_to_disk
from bfl_async.types.entries import EntryState, Fact

FACTS = frozenset(
    {"task_id", "polling_url", "cost", "file", "result", "error", "submitted_at", "ready_at", "ended_at"}
)
"""The facts that a change may bring: columns of the ledger."""

# A record takes about 350 bytes: enough for the tasks of 150 slots.
_SIZE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one entry that the ledger has not taken yet."""

    entry_id: int
    state: EntryState
    facts: Mapping[str, Fact] = field(repr=False)


def reserve_path(ledger: Path) -> Path:
    """Return where the reserve of a ledger is."""
    return ledger.with_name(ledger.name + ".reserve")


def read_reserve(path: Path, ledger_id: str) -> tuple[int, list[Change]]:
    """Return a ledger's newest generation in a reserve and its changes, in order; generation 0 if there is none.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0, []
    newest = 0
    changes: list[Change] = []
    # What follows the last line break is filler, or a record that was cut off and never promised.
    for line in data.split(b"\n")[:-1]:
        record = _record_of(line, ledger_id)
        if record is None or record[0] < newest:
            continue
        if record[0] > newest:
            newest, changes = record[0], []
        changes.append(record[1])
    return newest, changes


def _record_of(line: bytes, ledger_id: str) -> tuple[int, Change] | None:
    try:
        owner, generation, entry_id, state, facts = json.loads(line)
        if owner != ledger_id or not isinstance(generation, int) or not isinstance(entry_id, int):
            return None
        if not all(
            name in FACTS and isinstance(fact, str | int | float | None) for name, fact in facts.items()
        ):
            return None
        return generation, Change(entry_id, EntryState(state), cast("Mapping[str, Fact]", facts))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


class Reserve:
    """The reserve of an open ledger. Used by the ledger's thread alone.

    Args:
        path: The file. It exists from `open` to `close`, and longer while the ledger has not taken its records.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        # Changes that are in the file and that the ledger has not taken, in order.
        self.changes: list[Change] = []
        self.generation: int = 0
        self._ledger_id = ""
        self._fd: int | None = None
        self._end = 0

    def load(self, ledger_id: str, taken: int) -> None:
        """Read what an earlier run kept.

        Args:
            ledger_id: Tells the ledger from others that had the same name.
            taken: The newest generation that the ledger has taken.
        Raises:
            OSError: The file cannot be read.
        """
        self._ledger_id = ledger_id
        newest, changes = read_reserve(self.path, ledger_id)
        self.generation = max(newest, taken)
        self.changes = changes if newest > taken else []

    def open(self) -> None:
        """Take the room. The ledger has taken all changes before.

        Raises:
            OSError: There is no room.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self.path, flags, 0o600)
        missing = _SIZE_BYTES - os.fstat(self._fd).st_size
        if missing > 0:
            os.lseek(self._fd, 0, os.SEEK_END)
            _write(self._fd, b" " * missing)
        flush_to_disk(self._fd)
        flush_folder(self.path.parent)
        self.note_taken()

    def keep(self, change: Change) -> None:
        """Write a change durably into the room.

        Raises:
            OSError: It does not fit, or cannot be written.
            TypeError, ValueError: It is not JSON.
        """
        if self._fd is None:
            raise OSError("the reserve is not open")
        record = [self._ledger_id, self.generation, change.entry_id, change.state.value, dict(change.facts)]
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if self._end + len(line) > _SIZE_BYTES:
            raise OSError("the reserve is full")
        os.lseek(self._fd, self._end, os.SEEK_SET)
        _write(self._fd, line)
        flush_to_disk(self._fd)
        self._end += len(line)
        self.changes.append(change)

    def note_taken(self) -> None:
        """Note that the ledger has taken all changes, and that their generation is durable there."""
        self.generation += 1
        self.changes = []
        self._end = 0

    def close(self) -> None:
        """Give the room back, unless there are changes that the ledger has not taken. Idempotent."""
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        if not self.changes:
            with contextlib.suppress(OSError):
                self.path.unlink()


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
