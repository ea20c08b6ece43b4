"""Background coroutines that start in a later turn of the loop, whatever the application's task factory does.

A synchronous step that starts a coroutine relies on one thing: the coroutine does not run before the step is over.
`loop.create_task` does not promise that, since an application may set `asyncio.eager_task_factory` (Python 3.12).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from bfl_async.errors import ConfigError

_T = TypeVar("_T")

_log = logging.getLogger("bfl_async")

# Longer than a coroutine needs to close what it has, in seconds.
CANCEL_AGAIN_S = 1.0
# What the end of a coroutine may take.
END_S = 3.0


def new_task(
    coro: Coroutine[Any, Any, _T], *, name: str | None = None, context: contextvars.Context | None = None
) -> asyncio.Task[_T]:
    """Start a coroutine in the running loop; its first line runs in a later turn of the loop.

    The loop's task factory is not used: an eager one would run the coroutine up to its first wait within this call.
    The caller must keep a reference to the task, as with `asyncio.create_task`.

    Args:
        coro: The coroutine to run.
        name: Shown by debuggers. None lets asyncio number the task.
        context: Variables that the coroutine sees. None copies those of the caller.
    """
    return asyncio.Task(coro, loop=asyncio.get_running_loop(), name=name, context=context)


def check_loop(owner: asyncio.AbstractEventLoop, what: str) -> None:
    """Check that an object is used in the event loop that it belongs to.

    Args:
        owner: The object's loop.
        what: The object, for the message.
    Raises:
        ConfigError: It is another loop, or none runs in this thread.
    """
    try:
        if asyncio.get_running_loop() is owner:
            return
    except RuntimeError:
        # No loop runs in this thread.
        pass
    raise ConfigError(
        f"{what} belongs to the event loop in which its client was opened: use it there, from other threads by "
        "asyncio.run_coroutine_threadsafe()"
    )


# Coroutines that ignored every cancellation. Someone must hold them, or they are destroyed while they run.
_left_behind: set[asyncio.Task[None]] = set()


async def end_task(task: asyncio.Task[None], *, within_s: float = END_S) -> None:
    """Cancel a coroutine until it has ended; what it waits for may swallow a cancellation.

    One that is still running after `within_s` is left behind, and ends when it can. The wait itself depends on
    nothing but the loop's clock.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while not task.done() and (left_s := deadline - clock()) > 0:
        task.cancel()
        await asyncio.wait([task], timeout=min(CANCEL_AGAIN_S, left_s))
    if not task.done():
        _left_behind.add(task)
        task.add_done_callback(_end_of_left_behind)
        _log.error(
            "the coroutine %s ignores its cancellation: it is left behind after %g s",
            task.get_name(),
            within_s,
        )
    elif not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the coroutine %s failed at its end", task.get_name(), exc_info=error)


def _end_of_left_behind(task: asyncio.Task[None]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        # Read, so that asyncio does not report it: whoever owned it is long closed.
        task.exception()
