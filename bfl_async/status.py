"""The server's words for where a task stands.

The set is open: the API has grown statuses before (`Reasoning` and `Generating` in August 2026), so a word
that this release does not know is kept as it came and means "still in flight".

Source: BFL OpenAPI `StatusResponse`, read 2026-09-19; `Failed` is in BFL's own samples, not in the schema.
"""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """A status that this release knows. Compare with `==`; an unknown one arrives as a plain `str`."""

    PENDING = "Pending"
    REASONING = "Reasoning"
    GENERATING = "Generating"
    READY = "Ready"
    REQUEST_MODERATED = "Request Moderated"
    CONTENT_MODERATED = "Content Moderated"
    ERROR = "Error"
    FAILED = "Failed"
    TASK_NOT_FOUND = "Task not found"

    @property
    def is_moderation(self) -> bool:
        """True when the prompt or the output was refused by moderation."""
        return self in (TaskStatus.REQUEST_MODERATED, TaskStatus.CONTENT_MODERATED)

    @property
    def is_failure(self) -> bool:
        """True when the server tried and failed."""
        return self in (TaskStatus.ERROR, TaskStatus.FAILED)


_KNOWN: dict[str, TaskStatus] = {status.value: status for status in TaskStatus}


def status_from(word: str) -> TaskStatus | str:
    """Return the `TaskStatus` of a server's word, or the word itself when it is new to us."""
    return _KNOWN.get(word, word)
