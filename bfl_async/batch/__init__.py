"""Batches: durable runs over many requests. `Batch` is the way in."""

from __future__ import annotations

from bfl_async.batch.batch import Batch as Batch
from bfl_async.batch.files import MANIFEST as MANIFEST
from bfl_async.batch.outcome import BatchOutcome as BatchOutcome
from bfl_async.batch.plan import Plan as Plan
from bfl_async.batch.plan import Share as Share
from bfl_async.batch.run import BatchRun as BatchRun
