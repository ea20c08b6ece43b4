"""What an end means for an entry, and which errors stop a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    BudgetExceededError,
    ClientClosedError,
    ConnectError,
    InsufficientCreditsError,
    LedgerError,
    ResultExpiredError,
    UntrustedURLError,
)


def ended_from_elsewhere() -> ClientClosedError:
    """Return the error of a run whose coroutine was cancelled by something that is not the run."""
    return ClientClosedError(
        "the run was stopped: one of its coroutines was cancelled from elsewhere; run the same again to go on"
    )


STOPS = (
    InsufficientCreditsError, AuthenticationError, BudgetExceededError, ConnectError, LedgerError, ClientClosedError
)  # fmt: skip
"""What the next request would meet as well: it stays queued, and the run stops."""


HOPELESS = (ResultExpiredError, UntrustedURLError)
"""Errors of a download that no repetition mends."""


def error_text(error: BFLError) -> str:
    return f"{type(error).__name__}: {error}"


def unrecorded(task_id: str | None, file: Path | None, error: BFLError | None) -> LedgerError:
    """Return the error of an entry whose task exists, and whose id the ledger could not record."""
    place = "" if file is None else f"; its image was saved as {str(file)!r}"
    found = LedgerError(
        f"task {task_id} was accepted and paid, and its id could not be recorded{place}: the next run reports this "
        f"request as ambiguous; keep the id, `bfl-async result {task_id}` fetches the image while the server has it"
    )
    found.__cause__ = error
    return found


def wake_future(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Look at an error that is told in another way, or that the next change will meet."""
    if not future.cancelled():
        future.exception()
