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
    """Our own lifecycle of a request; the server's word is its `status`.

    `engine/steps.py` has the steps that move a request, and the order of their effects.
    """

    # Nothing is on its way, and no task exists: a withdrawal costs nothing. In: admission; from `submitting` by a 429,
    # a 503 of the API, or a connection that was not made. Out: to `submitting` by its runner, once it has its slot; to
    # `settled` when it is withdrawn or late, when a refusal of the whole account ends all that is queued, when the
    # limiter or the journal fails, and when the client closes.
    QUEUED = "queued"
    # The POST is on its way, so a task may exist and be paid. In: its runner, right before the POST; where there is a
    # journal, after that has made it durable. Out: to `submitted` by a receipt, or by a delivery that names the task;
    # to `queued`, see there; to `settled` by a refusal (its slot is freed) or by an answer that was lost (it is held).
    SUBMITTING = "submitting"
    # The server has the task. In: an accepted submit; `attach`, which has no submit. Out: to `settled` by a terminal
    # status of a poll or a delivery (its slot is freed), or because it is no longer followed: its deadline has passed,
    # its URL leads elsewhere, the client closes (its slot is held).
    SUBMITTED = "submitted"
    # It has its settlement, which never changes. In: `Steps.settle` alone. Out: nothing.
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

    def __str__(self) -> str:
        """Return the state or the server's word, and the share done: `submitted`, `Pending, 50%`, `Ready`."""
        # The server's words are data: one that this release does not know may hold anything.
        word = self.state.value if self.status is None else str(self.status)
        shown = word if word.isprintable() and len(word) <= 60 else ascii(word[:60])
        is_open = self.state is not State.SETTLED
        return f"{shown}, {self.progress:.0%}" if is_open and self.progress is not None else shown


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
