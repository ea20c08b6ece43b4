"""Durable records of batches."""

from __future__ import annotations

from bfl_async.ledger.sqlite import SQLiteLedger
from bfl_async.ledger.view import LedgerView, count_known, inspect_ledger

__all__ = ["LedgerView", "SQLiteLedger", "count_known", "inspect_ledger"]
