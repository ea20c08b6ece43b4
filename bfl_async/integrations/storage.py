"""Where the images of a cluster's workers go: a small protocol, and a folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from bfl_async._files import remove_old_parts
from bfl_async._manifest import save_new

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


class FolderStorage:
    """Images in a folder, local or shared: each is whole, and none replaces another.

    Args:
        folder: Made when it is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Path = Path(folder)
        self._is_tidy = False
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def save(self, name: str, data: bytes) -> str:
        """See `Storage.save`; the result is the path.

        Raises:
            SaveError: The operating system refused.
        Cancellation: A write that began ends, whole.
        """
        return await anyio.to_thread.run_sync(self._save, name, data, limiter=self._threads)

    def _save(self, name: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_tidy:
            self._is_tidy = True
            remove_old_parts(self.folder / _PARTS)
        digest = hashlib.sha256(data).hexdigest()
        chosen = save_new(self.folder, self.folder / _PARTS, name, data, digest, adopt=True, task_id="")
        return str(self.folder / chosen)


__all__ = ["FolderStorage", "Storage"]
