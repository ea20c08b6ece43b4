"""Flushing files to the disk, as far as the file system can; and knowing a file by its content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

# What `fsync` answers where a file system has no such function: some FUSE and network mounts. The write itself has
# succeeded there, and there is nothing that could make it more durable. Every other error (EIO, ENOSPC, EDQUOT) says
# that the data may be lost, and stays an error.
_NO_SUCH_FUNCTION = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""For `os.open` of a file that somebody else named. Without O_NONBLOCK, opening a pipe would wait for a writer."""


def flush_to_disk(fd: int) -> None:
    """Return once the file or folder behind a descriptor is on the disk, as far as its file system can promise it.

    Raises:
        OSError: The data could not be written.
    """
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_SUCH_FUNCTION:
            raise


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file for `open(..., opener=)`; one that this makes can be read by its owner alone."""
    return os.open(path, flags, 0o600)


def flush_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk; does nothing where folders cannot be opened (Windows).

    Raises:
        OSError: They could not be written.
    """
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        flush_to_disk(fd)
    finally:
        os.close(fd)


# A file that changed so recently could change again without a new time: file systems keep times of up to 2 s.
_SETTLED_S = 3.0


class Digests:
    """SHA-256 of files by their content, each read only once for as long as it does not change.

    A file is taken as unchanged while its device, inode, size and times are the same. All methods block; they may be
    called from several threads.

    Args:
        known: What `take_new` returned earlier.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = dict(known or {})
        self._new: dict[str, str] = {}

    def of(self, path: Path) -> str:
        """Return a file's digest in hexadecimal.

        Raises:
            OSError: It cannot be read, or is no file: a folder, or a pipe, which might never end.
            ValueError: The name is not one that a file can have.
        """
        handle = os.open(path, READ_FLAGS)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "Not a file")
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(file.fileno())
            name = f"{facts.st_dev}:{facts.st_ino}"
            version = f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"
            kept, _, digest = self._known.get(name, "").rpartition(" ")
            if kept == version:
                return digest
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if facts.st_ino and time.time() - max(facts.st_mtime, facts.st_ctime) > _SETTLED_S:
            self._known[name] = self._new[name] = f"{version} {digest}"
        return digest

    def take_new(self) -> dict[str, str]:
        """Return what was learnt since the last call, to keep it for another run."""
        new, self._new = self._new, {}
        return new


# A part that has not been written to for so long is of a process that was killed: writing one takes seconds.
_OLD_S = 24 * 3600.0


def remove_old_parts(folder: Path, pattern: str = "*.part") -> None:
    """Remove half-written files that killed processes left in a folder.

    Files that another process may still be writing stay: none is removed before it is a day old. Errors are ignored;
    the next caller tries again.

    Args:
        pattern: The names of the parts, as for `Path.glob`.
    """
    # The file system's own clock: the one of this machine may differ from it, and only a difference counts.
    try:
        found = [(path, path.lstat()) for path in folder.glob(pattern)]
        if not found:
            return
        now = _time_of(folder)
    except OSError:
        return
    for path, status in found:
        if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _OLD_S:
            with contextlib.suppress(OSError):
                path.unlink()


def _time_of(folder: Path) -> float:
    """Return the time by the clock that gives the files of a folder their times.

    Raises:
        OSError: No file can be made there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


__all__ = ["Digests", "flush_folder", "flush_to_disk", "remove_old_parts"]
