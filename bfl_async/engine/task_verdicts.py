"""What a poll says of a task: whether it has ended, and how."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bfl_async.engine.entry import Entry
from bfl_async.errors import (
    BFLError,
    ReplyShapeError,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
)
from bfl_async.status import TaskStatus
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import Failed, Moderated, PollReply, Ready, Reply, Settlement
from bfl_async.wire.errors import status_error
from bfl_async.wire.json import Content
from bfl_async.wire.redaction import HiddenTexts, hide, request_id_of
from bfl_async.wire.replies import (
    draft_cache_url,
    moderation_reasons,
    sample_url,
    shown_status,
)

if TYPE_CHECKING:
    pass

# So many "Task not found" in a row end a task, with so many seconds from the first to the last of them: the API also
# says it of tasks that live.
_NOT_FOUND_POLLS = 3
_NOT_FOUND_S = 5.0


def settlement_of(reply: PollReply, task_id: str, request: object = None) -> Settlement | None:
    """Return the settlement that a poll's reply ends the task with; None while it is in flight.

    `Task not found` is None here: one such answer proves nothing, see `NotFoundRow`.

    Args:
        request: What was asked for, whose texts no reason may show; None where it is not known.
    """
    status = reply.status
    if status == TaskStatus.READY:
        return Ready(reply)
    if not isinstance(status, TaskStatus):
        # Newer than this release. Taken for an end, it would free the slot of a task that runs on.
        return None
    if status.is_moderation:
        # The server may repeat the prompt in its reasons.
        reasons = moderation_reasons(reply.details, HiddenTexts.of(request))
        stage = "request" if status is TaskStatus.REQUEST_MODERATED else "content"
        refused = "the prompt or an input" if stage == "request" else "the output"
        why = f" ({', '.join(reasons)})" if reasons else ""
        return Moderated(
            TaskModeratedError(
                f"moderation refused {refused} of task {task_id}{why}: change the request before another try",
                task_id=task_id,
                status=status.value,
                stage=stage,
                reasons=reasons,
            )
        )
    if status.is_failure:
        return Failed(
            TaskFailedError(
                f"task {task_id} failed on the server with status {status.value!r}: another try may succeed",
                task_id=task_id,
                status=status.value,
                details=reply.details,
            )
        )
    # Pending, or "Task not found".
    return None


def name_exchange(settlement: Settlement, reply: Reply | None, request: object) -> Settlement:
    """Give the error of a settlement the server's name for the poll that brought it, and return the settlement."""
    if reply is not None and isinstance(settlement, Moderated | Failed):
        settlement.error.request_id = request_id_of(reply.headers, HiddenTexts.of(request))
    return settlement


class NotFoundRow:
    """Counts `Task not found` answers in a row: three, at least 5 s from first to last, end a task."""

    def __init__(self) -> None:
        self._first_at = 0.0
        self._count = 0

    def add(self, now: float) -> bool:
        """Count one answer; True when the row is long enough."""
        if self._count == 0:
            self._first_at = now
        self._count += 1
        return self._count >= _NOT_FOUND_POLLS and now - self._first_at >= _NOT_FOUND_S

    def interrupt(self) -> None:
        """Note any other answer."""
        self._count = 0


def has_result(settlement: Settlement) -> bool:
    """Return whether an end is complete: Ready needs the URL of a result, other ends need nothing."""
    if not isinstance(settlement, Ready):
        return True
    result = settlement.reply.result
    return bool(sample_url(result) or draft_cache_url(result))


def problem_of(reply: Reply, content: Content, entry: Entry) -> BFLError:
    # A good code without a status is a fault of the server's answer, and not a refusal.
    if reply.status_code >= 300:
        error: BFLError = status_error(
            reply, what="a poll", now=time.time(), hidden=HiddenTexts.of(entry.request), content=content
        )
    else:
        error = ReplyShapeError("a poll's answer holds no status that can be read")
        error.request_id = request_id_of(reply.headers, HiddenTexts.of(entry.request))
    error.task_id = entry.task_id
    return error


def deadline_error(entry: Entry) -> TaskTimeoutError:
    status = "" if entry.status is None else str(entry.status)
    # In the message only a plain word. The attribute has it as it came, without the request's texts.
    shown = shown_status(status) if status else None
    error = TaskTimeoutError(
        f"task {entry.task_id} was not finished by its deadline (last status {shown!r}): it may go on and "
        f"can be attached; Timeouts(task=...) sets the deadline{entry.last_failure()}",
        task_id=entry.task_id,
        status=hide(status, HiddenTexts.of(entry.request)) or None,
        state=State.SUBMITTED.value,
        polling_url=entry.polling_url,
    )
    error.__cause__ = entry.problem
    error.request_id = None if entry.problem is None else entry.problem.request_id
    return error
