"""How one entry of a batch ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bfl_async.errors import (
    BFLError,
)
from bfl_async.models import ImageRequest
from bfl_async.results.outcome import ResultOrError
from bfl_async.results.result import Result
from bfl_async.types.entries import EntryState


@dataclass(frozen=True, slots=True)
class BatchOutcome(ResultOrError[Result]):
    """How one entry of a batch ended in this run.

    Attributes:
        index: Its place in the ledger, from 0.
        key: Its key in the ledger.
        name: The caller's own id, where one was given.
        state: Where it stands now. `saved` (without a folder: `ready`) is a success; `submitted` and `ready`
            beside an error are tried again by the next run, at no cost.
        request: The request.
        task_id: The server's id.
        result: The result; None if the request did not end with one.
        file: The image, where it was saved.
        error: What went wrong.
    """

    index: int
    key: str
    name: str | None
    state: EntryState
    request: ImageRequest = field(repr=False)
    task_id: str | None
    result: Result | None
    file: Path | None
    error: BFLError | None
