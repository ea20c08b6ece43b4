"""What has happened since a client's start, in numbers."""

from __future__ import annotations

from typing import get_args

from bfl_async.errors import AmbiguousSubmitError
from bfl_async.types.lifecycle import End
from bfl_async.types.replies import Answered, Failed, Lost, Moderated, Ready, Settlement, Unsent


def end_of(settlement: Settlement) -> End:
    """Return the one word for how a request ended."""
    match settlement:
        case Ready():
            return "ready"
        case Moderated():
            return "moderated"
        # Apart from other lost tasks: this one may have been paid, and nobody can look it up.
        case Lost(AmbiguousSubmitError()):
            return "ambiguous"
        case Answered():
            return "answered"
        case Unsent(withdrawn=True):
            return "withdrawn"
        case Failed() | Lost() | Unsent():
            return "failed"


class Counts:
    """Counts of a client's requests. Written by the scheduler's steps, read by `statistics()`."""

    def __init__(self) -> None:
        # Each count only rises, so that the difference of two snapshots says what happened between them.
        self.submitted: int = 0
        self.refused_429: int = 0
        # 429 answers to submits that left early. They are the price of overlap, and no news about the account.
        self.refused_overlap: int = 0
        self.ends: dict[End, int] = dict.fromkeys(get_args(End), 0)
