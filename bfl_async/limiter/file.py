"""The limiter of the processes of one machine, through a small SQLite database.

A step is one transaction, in a thread of the limiter's own. Nobody can wake another process through a file, so that a
process that waits looks every 30 ms whether the file was written, and reads only if it was. Who does not wait does
not look.

The database holds nothing that outlives the processes, and a crash of the whole machine may take it: so it is never
synced to the disk, and a broken one is made anew. Its journal is no WAL: releases of SQLite up to 3.51.2 can corrupt
one that several processes write (fixed in 3.51.3, and in 3.50.7 and 3.44.6), and most Pythons have one of these.

Times are of the system's monotonic clock, which all processes of a machine share. It starts anew with the machine:
a database from before knows moments that are still to come, and is emptied.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

from bfl_async._config import ACCOUNT, Limits, state_folder
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.limiter.sqlite_book import VERSION, Book, open_book
from bfl_async.limiter.steps import Batch, StepReply, Store, StoreAwayError

# Between looks, while waiting, whether another process has died.
_LIVENESS_S = 0.25
# Between looks, while waiting, whether the file was written.
_LOOK_S = 0.03


class FileLimiter(SharedLimiter):
    """Shares an account's limit between the processes of one machine, through a file.

    ```python
    async with FileLimiter(limits=12) as limiter, AsyncBFL(limiter=limiter) as bfl:
        ...
    ```

    Args:
        path: A folder on a local disk, in which each account has a small database; None: `bfl-async` in the user's
            state folder (`XDG_STATE_HOME`, else `~/.local/state`).
        limits: An int is the account's limit. The last process to open sets it for all; None: as it is, else 12.
        lease_s: So long the slots of a process that died, or that stood still, stay taken.
    Raises:
        ConfigError: A value is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        limits: int | Limits | None = 12,
        *,
        lease_s: float = 60.0,
    ) -> None:
        self._folder = state_folder() if path is None else Path(path)
        super().__init__(limits, lease_s=lease_s)

    def _where(self) -> str:
        return f"the limiter's folder {str(self._folder)!r}"

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        return _FileStore(_file_of(self._folder, account), session, wake)


def found_limit(folder: Path, account: str) -> int | None:
    """Return the limit that limiters in this folder have found for an account; None if none was found. Blocks.

    Args:
        account: Its hash; see `AccountLimiter.use_account`.
    """
    path = _file_of(folder, account)
    try:
        # Read only: a look must not make the file.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as db:
            row = db.execute("SELECT found FROM searches WHERE name = ?", (ACCOUNT,)).fetchone()
    except sqlite3.Error:
        # There is no file, or an earlier release made it.
        return None
    return None if row is None else int(row[0])


def _file_of(folder: Path, account: str) -> Path:
    return folder / f"slots-{VERSION}-{account}.db"


_Work: TypeAlias = "tuple[Batch, asyncio.Future[StepReply]]"


class _FileStore:
    """The book in a file, and the thread that opens it."""

    def __init__(self, path: Path, session: str, wake: Callable[[], None]) -> None:
        # The thread takes from `_work` only, and gives back through call_soon_threadsafe only.
        self._path = path
        self._session = session
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._ended = self._loop.create_future()
        self._thread: threading.Thread | None = None

    async def step(self, batch: Batch) -> StepReply:
        """Make one transaction; see `Store.step`."""
        if self._thread is None:
            # A daemon: a process whose loop died without aclose() must be able to end.
            self._thread = threading.Thread(target=self._run, name="bfl-async-limiter", daemon=True)
            self._thread.start()
        reply: asyncio.Future[StepReply] = self._loop.create_future()
        self._work.put((batch, reply))
        return await reply

    async def aclose(self) -> None:
        """End the thread; it closes the file."""
        if self._thread is not None:
            self._work.put(None)
            # Not the future itself, which a cancellation would end, and the thread with an error.
            await asyncio.wait([self._ended])
            self._thread.join()

    # --- in the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        # The loop may be closed, and then no coroutine waits for an answer any more.
        with suppress(RuntimeError):
            try:
                self._serve()
            finally:
                self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _serve(self) -> None:
        # SQLite's connection stays in this thread: opened, used and closed here.
        book: Book | None = None
        # Whether a lease of this process waits: only then is there something to look for.
        watching = False
        looked_at = 0.0
        try:
            while True:
                try:
                    work = self._work.get(timeout=_LOOK_S if watching else None)
                except queue.Empty:
                    assert book is not None
                    now = time.monotonic()
                    try:
                        if book.has_changed() or (now - looked_at > _LIVENESS_S and book.somebody_died()):
                            watching = False
                            self._loop.call_soon_threadsafe(self._wake)
                    except (sqlite3.Error, OSError):
                        # The next step meets the same error, and its caller hears of it.
                        watching = False
                    if now - looked_at > _LIVENESS_S:
                        looked_at = now
                    continue
                if work is None:
                    return
                batch, reply = work
                try:
                    if book is None:
                        book = open_book(self._path, self._session)
                    answer: StepReply | Exception = book.step(batch, time.monotonic())
                except (sqlite3.Error, OSError) as exc:
                    if book is not None:
                        # The next step opens it again, and makes a broken file anew.
                        book.close()
                        book = None
                    # A file that cannot be made or read will not get better; one that is locked will.
                    hopeless = "locked" not in str(exc)
                    answer = StoreAwayError(f"{type(exc).__name__}: {exc}", hopeless=hopeless)
                    answer.__cause__ = exc
                except Exception as exc:
                    # A bug. It is raised in the coroutine that makes the steps, which fails the requests that wait.
                    answer = exc
                watching = isinstance(answer, StepReply) and batch.waiting > len(answer.grants)
                self._loop.call_soon_threadsafe(_settle, reply, answer)
        finally:
            if book is not None:
                book.close()


def _settle(reply: asyncio.Future[StepReply], answer: StepReply | Exception) -> None:
    # The step was cancelled. What it did is in the book all the same.
    if reply.done():
        return
    if isinstance(answer, Exception):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
