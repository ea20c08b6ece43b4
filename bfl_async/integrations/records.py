"""The public path of `bfl_async.jobs.records`."""

from __future__ import annotations

from bfl_async.jobs.records import MIGRATIONS as MIGRATIONS
from bfl_async.jobs.records import OPEN as OPEN
from bfl_async.jobs.records import JobRecord as JobRecord
from bfl_async.jobs.records import Records as Records

__all__ = ["MIGRATIONS", "OPEN", "JobRecord", "Records"]
