"""The states of a request, and what is said of them while it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    Literal,
    NamedTuple,
    TypeAlias,
)

from bfl_async.status import TaskStatus
from bfl_async.types.common import distinct

if TYPE_CHECKING:
    pass


class State(StrEnum):
    """Our own lifecycle of a request; the server's word is its `status`."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    SETTLED = "settled"


@distinct
class Update(NamedTuple):
    """One change of a request, as `TaskHandle.updates()` yields it.

    `progress` is the server's share done, from 0 to 1; None where the model reports none.
    """

    state: State
    status: TaskStatus | str | None
    progress: float | None
    task_id: str | None


@distinct
class Estimate(NamedTuple):
    """What a request will cost, before it is sent. The server's own figure, when it comes, always wins.

    `credits` (1 credit = 0.01 USD) and `usd` are None, and `known` is False, where the price is not known;
    `basis` says in words how it was reckoned, or what is missing.
    """

    credits: float | None
    usd: float | None
    known: bool
    basis: str


End: TypeAlias = Literal["ready", "moderated", "failed", "ambiguous", "withdrawn", "answered"]
"""In which count of `Statistics` a request ends; "answered" is a `post` that made no task, and has none."""
