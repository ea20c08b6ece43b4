"""Whose a cancellation is, and waits that a cancelled caller still has to make.

A `CancelledError` says that something was cancelled, not what. If the running coroutine was asked to end, the error
must be passed on. Otherwise something that it awaits was cancelled, such as a task that is shared with other code, and
the call has failed like any other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


def is_cancelled() -> bool:
    """Return True if the running coroutine was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def foreign_cancellation_as(error: Callable[[], Exception]) -> Iterator[None]:
    """Within: a cancellation of something that is awaited is raised as `error()`; our own is passed on."""
    try:
        yield
    except asyncio.CancelledError as exc:
        if is_cancelled():
            raise
        raise error() from exc


def shielded() -> AbstractContextManager[object]:
    """Within: a cancelled anyio scope around the caller interrupts nothing, as it would every single await.

    asyncio cancels a task once. A cancelled scope of anyio cancels it again in every turn of the loop until it has left
    the scope: an await that has to be made is never reached, and a loop that waits again spins. Where anyio is not
    loaded, no scope can be cancelled. asyncio's own cancellation is not held off.
    """
    if "anyio._backends._asyncio" not in sys.modules:
        # The part of anyio that cancels. Once it is loaded, the import below reads no file, which could fail.
        return nullcontext()
    from anyio import CancelScope

    return CancelScope(shield=True)


__all__ = ["foreign_cancellation_as", "is_cancelled", "shielded"]
