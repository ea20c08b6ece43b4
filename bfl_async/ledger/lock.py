"""The lock of a ledger: a byte of its own file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from bfl_async.errors import LedgerError, LedgerLockedError
from bfl_async.ledger.rows import read_all_notes

if TYPE_CHECKING:
    from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover - Windows
    import msvcrt

    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl


# Looking for the holder of a lock takes the lock for a moment.
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.05


# SQLite's own locks are in the 512 bytes from 0x40000000 on.
_LOCK_BYTE = 0x40000000 + 1024


# What the systems answer for a lock that is held elsewhere.
_TAKEN_BY_OTHERS = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})


# How long to wait for the name of a ledger's holder, while that may be committing.
_LOOK_S = 1.0


# The note that tells the run that opened the ledger last: its process, and a token.
RUN = "ledger.run"


class LedgerLock:
    """A lock of the operating system on the ledger's own file; see the module."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._file: _FileId | None = None

    def acquire(self, shown: str) -> None:
        """Take the lock; the file is made if it is missing, with mode 0600.

        Raises:
            LedgerLockedError: Another run has it.
            OSError: The file cannot be opened or locked.
        """
        for left in reversed(range(_LOCK_TRIES)):
            if self._try_acquire():
                return
            if left:
                time.sleep(_LOCK_PAUSE_S)
        holder = _noted_holder(self._path)
        raise LedgerLockedError(
            f"the ledger {shown!r} is held by another run (process {holder}): wait for it, or stop it"
        )

    def _try_acquire(self) -> bool:
        with _opening:
            if _file_id(self._path) in _held:
                return False
            fd = _open_file(self._path, os.O_RDWR | os.O_CREAT)
            file = _file_id(fd)
            try:
                # SQLite opens the file by its name: the name must still lead to the file that is locked.
                if not _lock(fd) or file != _file_id(self._path):
                    os.close(fd)
                    return False
            except OSError:
                os.close(fd)
                raise
            self._fd, self._file = fd, file
            _held.add(file)
            return True

    def release(self) -> None:
        """Give the lock back, once SQLite has closed the file. Idempotent."""
        with _opening:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
                _held.discard(self._file)


_FileId: TypeAlias = tuple[int, int]


# The files that are locked in this process. A descriptor of one of them must not even be opened here: closing it would
# release the locks that SQLite itself holds on that file, as POSIX has it.
_held: set[_FileId | None] = set()


_opening = threading.Lock()


def _file_id(file: Path | int) -> _FileId | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _open_file(path: Path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o600)


def _lock(fd: int) -> bool:
    """Lock a ledger for as long as the descriptor is open; False if another run has locked it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        if fcntl is None:  # pragma: no cover - Windows
            os.lseek(fd, _LOCK_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # typed for Windows only
        elif not _lock_open_file(fd):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_BYTE)
    except OSError as exc:
        if exc.errno in _TAKEN_BY_OTHERS:
            return False
        raise
    return True


def _lock_open_file(fd: int) -> bool:
    """Take the lock of Linux that belongs to the open file; False if the system has none such."""
    if fcntl is None or sys.platform != "linux":
        return False
    # struct flock: type, whence, start, length, and a process id that must be 0.
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTE, 1, 0)
    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_OFD_SETLK", 37), wanted)
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            # Linux before 3.15, or something that only looks like Linux.
            return False
        raise
    return True


def holder_of(path: Path) -> str | None:
    """Return the process that holds a ledger; None when no run does."""
    with _opening:
        try:
            if _file_id(path) in _held:
                return str(os.getpid())
            fd = _open_file(path, os.O_RDWR)
        except OSError:
            return None
        try:
            if _lock(fd):
                return None
        except OSError:
            return None
        finally:
            os.close(fd)
    return _noted_holder(path)


def _noted_holder(path: Path) -> str:
    """Return the process that a ledger names as its last run's, for people to read."""
    name = quote(str(path.absolute()))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=_LOOK_S)) as db:
            return (read_all_notes(db, own=True).get(RUN) or "unknown").partition(" ")[0]
    except sqlite3.Error:
        return "unknown"


def resolve(answers: Iterable[tuple[asyncio.Future[object], object]]) -> None:
    for done, answer in answers:
        if done.done():
            continue  # who waited was cancelled
        if isinstance(answer, LedgerError):
            done.set_exception(answer)
        else:
            done.set_result(answer)
