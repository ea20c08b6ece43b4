"""Where the images of a cluster's workers go: a small protocol, and a folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import anyio
import anyio.to_thread

from bfl_async.batch.files import name_new, save_new
from bfl_async.runtime.files import remove_old_parts

# Files that are written at a time. The threads are the storage's own: those of anyio's default limiter may all be
# taken by calls that wait for an image.
_THREADS = 8
# Files that are being written. What killed workers left there is removed when it is a day old.
_PARTS = ".parts"


class Storage(Protocol):
    """Keeps images. What `save` returns stands in the record as the image's `file`."""

    async def save(self, name: str, data: bytes) -> str:
        """Return where the bytes are, once they are durable there.

        A worker may be killed before it has noted that; another then saves the same bytes under the same name
        again. A name holds the job's and the task's id, so no two images share one.

        Raises:
            Exception: Anything: the job stays submitted, and it is tried again until the result's URL ends.
        Cancellation: As an exception; the same bytes may be saved again.
        """
        ...


@runtime_checkable
class FileStorage(Protocol):
    """What a `Storage` has besides, if images and videos are not to be held in memory whole.

    Attributes:
        parts: A folder of this machine for files that are being written; made when it is missing.
    """

    parts: Path

    async def save_file(self, name: str, file: Path, sha256: str) -> str:
        """As `Storage.save`, of a file in `parts` that is whole and flushed. It may be moved; it is removed afterwards.

        Args:
            sha256: Of the file, in hexadecimal.
        Raises:
            Exception: As `Storage.save`.
        Cancellation: As `Storage.save`.
        """
        ...


class FolderStorage:
    """Images in a folder, local or shared: each is whole, and none replaces another.

    Args:
        folder: Made when it is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Path = Path(folder)
        self.parts: Path = self.folder / _PARTS
        self._is_tidy = False
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def save(self, name: str, data: bytes) -> str:
        """See `Storage.save`; the result is the path.

        Raises:
            SaveError: The operating system refused.
        Cancellation: A write that began ends, whole.
        """
        return await anyio.to_thread.run_sync(self._save, name, data, limiter=self._threads)

    async def save_file(self, name: str, file: Path, sha256: str) -> str:
        """See `FileStorage.save_file`; the result is the path.

        Raises:
            SaveError: The operating system refused.
        Cancellation: A move that began ends.
        """
        return await anyio.to_thread.run_sync(self._save_file, name, file, sha256, limiter=self._threads)

    def _save(self, name: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        digest = hashlib.sha256(data).hexdigest()
        chosen = save_new(self.folder, self.parts, name, data, digest, adopt=True, task_id="")
        return str(self.folder / chosen)

    def _save_file(self, name: str, file: Path, sha256: str) -> str:
        self._tidy()
        return str(self.folder / name_new(self.folder, file, name, sha256, adopt=True, task_id=""))

    def _tidy(self) -> None:
        if not self._is_tidy:
            self._is_tidy = True
            remove_old_parts(self.parts)


__all__ = ["FileStorage", "FolderStorage", "Storage"]
