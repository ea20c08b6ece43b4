"""Files as input: how one is opened, safely where its name comes from a stranger, and why it cannot be used.

Invariant: only regular files are read, and a `FileWithin` never from outside its folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bfl_async.runtime.files import READ_FLAGS
from bfl_async.runtime.text import printable

_SHOWN_NAME = 80


class MediaProblem(ValueError):
    """Why an input cannot be used."""


@dataclass(frozen=True, slots=True)
class FileWithin:
    """A file that must lie in a folder, also when it is read, which may be days later.

    It stands where a `Path` can, for names that come from strangers, such as those in the rows of a batch. Links are
    followed as far as they stay in the folder.

    Args:
        path: The file.
        folder: Where it must lie, at any depth.
    """

    path: Path
    folder: Path

    def open(self) -> int:
        """Open the file for reading; return its descriptor.

        Raises:
            OSError, ValueError: It cannot be opened, or lies outside.
        """
        folder, path = self.folder.resolve(), self.path.resolve()
        if not path.is_relative_to(folder):
            raise PermissionError(errno.EPERM, f"it lies outside the folder {folder.name!r}")
        if os.open not in os.supports_dir_fd:
            handle = os.open(path, READ_FLAGS)
            # Without descriptors of folders: at least, it is the file that was looked at.
            if not os.path.samestat(os.fstat(handle), os.lstat(path)):
                os.close(handle)
                raise PermissionError(errno.EPERM, "it was replaced while it was opened")
            return handle
        # From the folder downwards, without following links: no name can come to mean another file meanwhile.
        *above, name = path.relative_to(folder).parts or (".",)
        at = os.open(folder, _FOLDER)
        try:
            for part in above:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
            return os.open(name, READ_FLAGS | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)


# O_PATH: a folder that may be passed through but not listed will do.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)


@contextlib.contextmanager
def opened(path: Path | FileWithin) -> Iterator[BinaryIO]:
    """Open a regular file.

    Raises:
        MediaProblem: It is none, or the operating system refuses.
    """
    try:
        handle = path.open() if isinstance(path, FileWithin) else os.open(path, READ_FLAGS)
    except (OSError, ValueError, RuntimeError) as exc:
        # ValueError: a NUL in the name. RuntimeError: links in a circle.
        raise MediaProblem(unreadable(path, exc)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MediaProblem(f"{shown_name(path)} is not a file")
    with os.fdopen(handle, "rb") as file:
        yield file


def unreadable(path: Path | FileWithin, exc: Exception) -> str:
    return f"{shown_name(path)} cannot be read: {getattr(exc, 'strerror', None) or type(exc).__name__}"


def shown_name(path: Path | FileWithin) -> str:
    if isinstance(path, FileWithin):
        path = path.path
    return f"'{printable(path.name or str(path), _SHOWN_NAME)}'"
