"""Batches: durable runs over many requests. `Batch` is the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.batch.batch import Batch as Batch
    from bfl_async.batch.files import MANIFEST as MANIFEST
    from bfl_async.batch.outcome import BatchOutcome as BatchOutcome
    from bfl_async.batch.plan import Plan as Plan
    from bfl_async.batch.plan import Share as Share
    from bfl_async.batch.run import BatchRun as BatchRun

# Imported when they are used: most commands need one small module of this package.
_HOMES = {
    "Batch": "batch.batch",
    "BatchOutcome": "batch.outcome",
    "BatchRun": "batch.run",
    "MANIFEST": "batch.files",
    "Plan": "batch.plan",
    "Share": "batch.plan",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)

__all__ = ["MANIFEST", "Batch", "BatchOutcome", "BatchRun", "Plan", "Share"]
