"""The public path of `bfl_async.jobs.database`."""

from __future__ import annotations

from bfl_async.jobs.database import LOCK as LOCK
from bfl_async.jobs.database import Connection as Connection
from bfl_async.jobs.database import apply_schema as apply_schema
from bfl_async.jobs.database import check_dsn as check_dsn
from bfl_async.jobs.database import fetch as fetch
from bfl_async.jobs.database import records_of as records_of
from bfl_async.jobs.database import shown_problem as shown_problem
from bfl_async.jobs.database import transaction as transaction

__all__ = [
    "LOCK",
    "Connection",
    "apply_schema",
    "check_dsn",
    "fetch",
    "records_of",
    "shown_problem",
    "transaction",
]
