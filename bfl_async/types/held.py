"""Images that came with the answer to a submit, and the ids of such answers."""

from __future__ import annotations

import re
import uuid


class HeldImage:
    """The bytes of an image that the answer to a submit held. Its repr shows their number only."""

    __slots__ = ("data",)

    data: bytes

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"HeldImage({len(self.data)} bytes)"


_PREFIX = "immediate-"
_OWN_ID = rf"{_PREFIX}[0-9a-f]{{32}}"


def new_own_id() -> str:
    """Return an id for a result that came without a task: `immediate-` and 32 hexadecimal digits."""
    return f"{_PREFIX}{uuid.uuid4().hex}"


def is_own_id(task_id: str) -> bool:
    """Return whether an id was made here: the server has no task of that name, and nothing can be attached.

    An id of the server that looks like one is never kept as it came, see `wire.replies.task_id_of`.
    """
    return re.fullmatch(_OWN_ID, task_id) is not None
