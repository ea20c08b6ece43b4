"""Worker threads that one client owns: for encoding, for files, for name lookups.

The threads of asyncio's default executor and of anyio are shared with the whole program. A program may fill them with
work that waits for this client, such as blocking endpoints of a web application, and the client would then wait for
the threads and the threads for the client. Each class of work has threads of its own for the same reason: a disk that
hangs must not hold up a submit.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from bfl_async.runtime.cancellation import is_cancelled

_Args = TypeVarTuple("_Args")
_Value = TypeVar("_Value")


class Threads:
    """Runs functions in threads, a few at a time; the rest waits in order of arrival.

    Args:
        name: What the threads are called.
        at_once: Maximum number of threads. They are started as they are needed.
    """

    def __init__(self, name: str, at_once: int) -> None:
        self._name = name
        self._at_once = at_once
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False

    async def run(self, function: Callable[[*_Args], _Value], *args: *_Args) -> _Value:
        """Return what the function returns, or raise what it raises.

        Raises:
            OSError: The operating system starts no more threads, or they were closed before the function began.
        Cancellation: Returns at once. A function that has begun runs to its end; one that has not never does.
        """
        if self._is_closed:
            raise _closed()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._at_once, thread_name_prefix=self._name)
        call = functools.partial(contextvars.copy_context().run, function, *args)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, call)
        except RuntimeError as exc:
            raise OSError(f"cannot start a thread: {exc}") from exc
        try:
            return await running
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            # By aclose(), while it waited for a thread.
            raise _closed() from exc

    async def aclose(self, timeout: float) -> bool:
        """End the threads; return whether they ended in time.

        A thread that hangs in the operating system cannot be ended; it is left to itself after `timeout` seconds.
        """
        self._is_closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return True
        pool.shutdown(wait=False, cancel_futures=True)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def wait() -> None:
            pool.shutdown(wait=True)
            try:
                loop.call_soon_threadsafe(_set, ended)
            except RuntimeError:
                # The loop was closed meanwhile, and with it the wait below.
                return

        waiting = threading.Thread(target=wait, name=f"{self._name}-closing", daemon=True)
        try:
            waiting.start()
        except RuntimeError:
            return False
        done, _ = await asyncio.wait([ended], timeout=timeout)
        if not done:
            return False
        waiting.join()
        return True


def _closed() -> OSError:
    return OSError(errno.ESHUTDOWN, "the client's threads are closed")


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
