"""Flushing files to the disk, as far as the file system can."""

from __future__ import annotations

import errno
import os
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


__all__ = ["flush_folder", "flush_to_disk"]
