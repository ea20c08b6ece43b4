"""Entries of a ledger, and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    TypeAlias,
)

from bfl_async.types.common import JSON

if TYPE_CHECKING:
    pass


class EntryState(StrEnum):
    """Where an entry of a ledger stands. A process that is killed at any moment leaves one that is true.

    `submitting`: it may have been sent. `submitted`: the server has it. `ready`: there is an image, whose file
    is not written. `ambiguous`: it may have been sent and nobody knows, so it is never sent again unasked.
    """

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    READY = "ready"
    SAVED = "saved"
    MODERATED = "moderated"
    FAILED = "failed"
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
