"""The one table that says what an end means for an entry of a ledger or a job's record."""

from __future__ import annotations

from typing import get_args

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AuthenticationError,
    BFLError,
    BudgetExceededError,
    ClientClosedError,
    ConnectError,
    InsufficientCreditsError,
    InvalidRequestError,
    LedgerError,
    ServerError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskTimeoutError,
    UntrustedURLError,
)
from bfl_async.batch.verdicts import entry_state_of
from bfl_async.types import (
    Answered,
    EntryState,
    Failed,
    Lost,
    Moderated,
    PollReply,
    Ready,
    Reply,
    Settlement,
    Unsent,
)

STOPS = (
    AuthenticationError("x"), BudgetExceededError("x"), ClientClosedError("x"), ConnectError("x"),
    InsufficientCreditsError("x"), LedgerError("x"),
)  # fmt: skip

# By settlement: the state of a new entry, and that of an entry whose task was in flight when the run began.
TABLE: list[tuple[Settlement, EntryState | None, EntryState | None]] = [
    # Its image comes first.
    (Ready(PollReply("Ready", None, {}, None, None, {})), None, None),
    (Answered(Reply(200, {}, b"")), None, None),
    (Moderated(TaskModeratedError("x", stage="request")), EntryState.MODERATED, EntryState.MODERATED),
    (Failed(TaskFailedError("x")), EntryState.FAILED, EntryState.FAILED),
    (Failed(TaskNotFoundError("x")), EntryState.FAILED, EntryState.FAILED),
    (Lost(AmbiguousSubmitError("x")), EntryState.AMBIGUOUS, EntryState.AMBIGUOUS),
    (Lost(ClientClosedError("x")), None, None),
    (Lost(UntrustedURLError("x")), EntryState.FAILED, EntryState.SUBMITTED),
    (Lost(TaskTimeoutError("x", state="submitted")), EntryState.SUBMITTED, EntryState.SUBMITTED),
    (Unsent(InvalidRequestError("x")), EntryState.FAILED, EntryState.FAILED),
    (Unsent(ServerError("x")), EntryState.FAILED, EntryState.FAILED),
    (Unsent(InvalidRequestError("x"), withdrawn=True), None, None),
    *((Unsent(error), None, None) for error in STOPS),
]


def text_of(row: object) -> str | None:
    """Name a row by its settlement and its error."""
    error = getattr(row, "error", None)
    return f"{type(row).__name__}-{type(error).__name__}" if isinstance(row, get_args(Settlement)) else None


@pytest.mark.parametrize(("settlement", "new", "attached"), TABLE, ids=text_of)
def test_each_end_gives_its_entry_one_state(
    settlement: Settlement, new: EntryState | None, attached: EntryState | None
) -> None:
    """None: the entry stays as it is, and is taken up again."""
    assert entry_state_of(settlement, is_attached=False) is new
    assert entry_state_of(settlement, is_attached=True) is attached


def test_each_kind_of_end_stands_in_the_table() -> None:
    """A new one has to say what it means for an entry."""
    assert {type(settlement) for settlement, _, _ in TABLE} == set(get_args(Settlement))
    assert all(issubclass(type(error), BFLError) for error in STOPS)
