"""Flushing files to the disk, as far as the file system can; and knowing a file by its content."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

# What `fsync` answers where a file system has no such function: some FUSE and network mounts. The write itself has
# succeeded there, and there is nothing that could make it more durable. Every other error (EIO, ENOSPC, EDQUOT) says
# that the data may be lost, and stays an error.
_NO_SUCH_FUNCTION = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


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
            OSError: It cannot be read.
            ValueError: The name is not one that a file can have.
        """
        with path.open("rb") as file:
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


__all__ = ["Digests", "flush_folder", "flush_to_disk"]
