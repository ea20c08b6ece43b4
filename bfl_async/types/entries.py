"""Entries of a ledger, and their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    TypeAlias,
)

from bfl_async.types.common import JSON

if TYPE_CHECKING:
    pass


class EntryState(StrEnum):
    """The state of a ledger's entry, or of a job's record. A process that is killed at any moment leaves a true one.

    `submitting`: it may have been sent. `submitted`: the server has it. `ready`: there is an image, whose file
    is not written. `ambiguous`: it may have been sent and nobody knows, so it is never sent again unasked.
    """

    # What follows is a batch's. A job moves its record in the same way, without `ready`: its image goes from the server
    # to its storage within one delivery.

    # No task exists. In: `Batch.add`; from `submitting` when no task was made (429, no connection) or the run was
    # stopped; from `failed`, `moderated` and `ambiguous` when the caller retries these. Out: `submitting`; `failed`, if
    # it cannot be sent as it was added.
    QUEUED = "queued"
    # It may have been sent. In: the run, which makes it durable before the POST leaves. Out: `submitted` with the
    # task's id; `queued`, see there; `failed` by a refusal; `ambiguous` when the answer was lost, and when the next
    # session opens the ledger of a run that was killed.
    SUBMITTING = "submitting"
    # A task exists, and its id is durable, before the first poll. In: the receipt; a run that stops to follow it leaves
    # it here. Out: `ready`, `moderated` or `failed` by the task's end; `ambiguous` if no id was recorded.
    SUBMITTED = "submitted"
    # The image exists at the server, for some minutes. In: the task's end; a download that failed leaves it here. Out:
    # `saved`; `failed`, when the URL has ended or leads elsewhere. Without an output folder it is the end.
    READY = "ready"
    # The image is whole on the disk, under its name. In: the run, once the file is flushed; `Batch.add`, for an image
    # that the folder's manifest lists. Out: nothing.
    SAVED = "saved"
    # Moderation refused it. In: the task's end. Out: `queued` by `retry_moderated`.
    MODERATED = "moderated"
    # In: a refusal, a task that failed or is not known any more, a result that cannot be fetched. Out: `queued` by
    # `retry_failed`.
    FAILED = "failed"
    # Paid or not, and the API cannot be asked. In: from `submitting` and `submitted`, see there. Out: `queued` by
    # `retry_ambiguous`, which may pay twice; `submitted`, if its receipt can be recorded after all.
    AMBIGUOUS = "ambiguous"


Fact: TypeAlias = "str | int | float | None"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A request to be kept. `fields` is JSON text; entries of one `key` are one.

    Attributes:
        name: The caller's own id.
        saved: Facts of its image, if an earlier run made it and listed it in the manifest: the entry is then saved.
            None for a request that is to be sent.
    """

    key: str
    model: str
    fields: str = field(repr=False)
    name: str | None = None
    saved: Mapping[str, Fact] | None = field(default=None, repr=False)

    def __setstate__(self, state: Sequence[object]) -> None:
        # What release 0.1.0 pickled has no `saved`.
        for each, value in zip(fields(self), (*state, None), strict=False):
            object.__setattr__(self, each.name, value)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An entry as it was read. `fields` and `result` are JSON, `file` is relative to the output folder."""

    id: int  # from 1, in the order of arrival
    key: str
    state: EntryState
    model: str
    fields: Mapping[str, JSON] = field(repr=False)
    name: str | None = None
    task_id: str | None = None
    polling_url: str | None = field(default=None, repr=False)
    cost: float | None = None
    file: str | None = None
    result: Mapping[str, JSON] | None = field(default=None, repr=False)
    error: str | None = None
