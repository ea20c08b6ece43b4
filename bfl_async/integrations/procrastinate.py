"""The public path of `bfl_async.jobs.procrastinate`."""

from __future__ import annotations

from bfl_async.jobs.procrastinate import FileStorage as FileStorage
from bfl_async.jobs.procrastinate import FolderStorage as FolderStorage
from bfl_async.jobs.procrastinate import JobRecord as JobRecord
from bfl_async.jobs.procrastinate import Storage as Storage
from bfl_async.jobs.procrastinate import apply_schema as apply_schema
from bfl_async.jobs.procrastinate import defer as defer
from bfl_async.jobs.procrastinate import records_of as records_of
from bfl_async.jobs.procrastinate import results as results
from bfl_async.jobs.procrastinate import retry_jobs as retry_jobs
from bfl_async.jobs.procrastinate import worker as worker
from bfl_async.jobs.recovery import QUEUE as QUEUE
from bfl_async.jobs.recovery import recover as recover

__all__ = [
    "QUEUE",
    "FileStorage",
    "FolderStorage",
    "JobRecord",
    "Storage",
    "apply_schema",
    "defer",
    "records_of",
    "recover",
    "results",
    "retry_jobs",
    "worker",
]
