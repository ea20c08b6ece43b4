"""Ends that are not the server's: a client that closes, a bug, something that was cancelled. Pure."""

from __future__ import annotations

import asyncio

from bfl_async.engine.entry import Entry
from bfl_async.errors import (
    AmbiguousSubmitError,
    BFLError,
    ClientClosedError,
    InvalidRequestError,
    TaskError,
    TaskRecord,
)
from bfl_async.types.lifecycle import State
from bfl_async.types.replies import Lost, Settlement, Unsent


def closed_error(entry: Entry, tasks: tuple[TaskRecord, ...] | None = None) -> ClientClosedError:
    """Return the error of a request whose client closed.

    Args:
        tasks: All tasks that go on; None: that of this request, if it has one.
    """
    record = entry.record()
    # What the error may promise depends on whether a task is known. An entry whose POST is on its way has an end of its
    # own, `closed_while_submitting`, since neither of these sentences would be true of it.
    if tasks is None:
        tasks = () if record is None else (record,)
    where = (
        "nothing was sent"
        if record is None
        else f"task {entry.task_id} goes on and can be attached, see .tasks"
    )
    return ClientClosedError(f"the client was closed: {where}", task_id=entry.task_id, tasks=tasks)


def closed_unsent(entry: Entry) -> Unsent:
    """Return the end of a request that the closing client had not sent."""
    return Unsent(closed_error(entry), withdrawn=True)


def closed_while_submitting() -> Lost:
    """Return the end of a request whose POST was on its way when the client's time to close was over."""
    return Lost(
        AmbiguousSubmitError(
            "the client was closed before the submit was answered: a task may exist and be paid"
        )
    )


def immediate_error(task_id: str) -> InvalidRequestError:
    """Return the error of attaching what came with the answer to its submit."""
    return InvalidRequestError(
        f"{task_id} is not a task: its image came with the answer to the submit, and the server keeps no task that "
        "could be attached; an image that was not saved then is lost",
        errors=[("task_id", "names a result that came without a task")],
    )


def end_by_bug(entry: Entry, exc: BaseException) -> Settlement:
    """Return the end of a request whose runner failed. It says what is true of money in the state it was in.

    Args:
        exc: What the runner raised; a `CancelledError` here is another's, whose wait was cancelled.
    """
    # The cause is not shown, as its text may hold a URL or a prompt. It is chained for the reader of a traceback.
    what = f"a bug ended this request ({type(exc).__name__})"
    if isinstance(exc, asyncio.CancelledError):
        what = "something that this request waited for was cancelled"
    error: BFLError
    # By the state and not by the exception: what is true of money does not depend on what broke.
    if entry.state is State.QUEUED:
        error = TaskError(f"{what} before it was sent: no task exists, nothing is paid")
    elif entry.task_id is None:
        error = AmbiguousSubmitError(f"{what} while it was submitted: a task may exist and be paid")
    else:
        error = TaskError(f"{what}: the task goes on and can be attached", task_id=entry.task_id)
    error.__cause__ = exc
    # `Lost` where a task may exist: its slot is then held, and its price stays set aside.
    return Unsent(error) if entry.state is State.QUEUED else Lost(error)
