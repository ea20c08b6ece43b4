"""The public path of `bfl_async.results.result`."""

from __future__ import annotations

from bfl_async.results.result import Result as Result
from bfl_async.results.result import ResultFacts as ResultFacts

__all__ = ["Result", "ResultFacts"]
