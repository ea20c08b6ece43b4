"""What an end means for an entry, and which errors stop a run: one table for batches and jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bfl_async.errors import (
    AmbiguousSubmitError,
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
from bfl_async.types.entries import EntryState
from bfl_async.types.replies import Failed, Lost, Moderated, Settlement, Unsent


def ended_from_elsewhere() -> ClientClosedError:
    """Return the error of a run whose coroutine was cancelled by something that is not the run."""
    return ClientClosedError(
        "the run was stopped: one of its coroutines was cancelled from elsewhere; run the same again to go on"
    )


# What a run reports of an entry that was found as submitting.
KILLED = (
    "the run was killed when this request may have been sent: a task may exist and be paid; it is sent again only "
    "with retry_ambiguous"
)
# What it reports of one in flight whose task is not known.
UNKNOWN = (
    "the ledger says that this request was accepted, and an earlier run could not record its task: the task may be "
    "paid; the request is sent again only with retry_ambiguous"
)

# What it adds where the image of such an answer could not be saved.
NOT_KEPT = (
    "the image came with the answer to the submit, and no server keeps it: it may be paid, and is made again only with "
    "retry_failed"
)

_STOPS = (
    InsufficientCreditsError, AuthenticationError, BudgetExceededError, ConnectError, LedgerError, ClientClosedError
)  # fmt: skip
"""What the next request would meet as well: it stays queued, and the run stops."""


HOPELESS = (ResultExpiredError, UntrustedURLError)
"""Errors of a download that another attempt cannot fix."""


def entry_state_of(settlement: Settlement, *, is_attached: bool) -> EntryState | None:
    """Return the state that an entry gets when its request has ended. None: it stays what it is.

    An unsent request that stays queued stops a batch's run, unless it was withdrawn; a job's worker rests.

    Args:
        settlement: How it ended. Ready is None here: its image comes first.
        is_attached: The task was in flight when this run took the entry up.
    """
    # From what is true of money: what was perhaps paid is never put back into the queue by itself.
    match settlement:
        case Moderated():
            return EntryState.MODERATED
        case Failed():
            return EntryState.FAILED
        case Lost(AmbiguousSubmitError()):
            return EntryState.AMBIGUOUS
        case Lost(ClientClosedError()):
            # Its task goes on, and the ledger has it as submitted already.
            return None
        case Lost(UntrustedURLError()) if not is_attached:
            # Its polling URL leads elsewhere, and will when it is asked for again.
            return EntryState.FAILED
        case Lost():
            # It goes on unfollowed: the next run asks again.
            return EntryState.SUBMITTED
        case Unsent(error, withdrawn):
            # What was withdrawn, or what the next request would meet as well, stays queued.
            return None if withdrawn or isinstance(error, _STOPS) else EntryState.FAILED
        case _:
            return None


def error_text(error: BFLError) -> str:
    return f"{type(error).__name__}: {error}"


def to_go_on(error: BFLError, ledger: str) -> BFLError:
    """Return the error that stopped a run, with what it takes to go on."""
    if isinstance(error, ClientClosedError):
        return error
    # The original may be an outcome's as well, whose message must stay as it is.
    twin = error.fresh()
    twin.args = (f"{error}; what was not sent stays queued in {ledger!r}: run the same again to go on",)
    return twin


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
