"""The public path of `bfl_async.jobs.storage`."""

from __future__ import annotations

from bfl_async.jobs.storage import FileStorage as FileStorage
from bfl_async.jobs.storage import FolderStorage as FolderStorage
from bfl_async.jobs.storage import Storage as Storage

__all__ = ["FileStorage", "FolderStorage", "Storage"]
