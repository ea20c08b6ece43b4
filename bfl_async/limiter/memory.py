"""What the search for a limit has found, kept in the user's cache folder between the runs of a program.

Shared limiters keep it in their books; this is for the limiter of one process. It is written each time the search has
found something, so that a killed process forgets nothing, and when the client is closed. It only saves the first
minute of the next search, so nothing that goes wrong here is an error, and nothing is waited for longer than a moment.
The file is named after the account's hash. It holds numbers and no key.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from bfl_async.limiter.local import LocalLimiter
from bfl_async.limiter.search import FIRST_WAIT_S, MAX_WAIT_S, Found
from bfl_async.runtime.tasks import new_task
from bfl_async.runtime.threads import Threads

_Args = TypeVarTuple("_Args")
_Value = TypeVar("_Value")

_MAX_BYTES = 4096
# A limit beyond this was not found by a search, which takes seconds for each step.
_MAX_LIMIT = 10_000
# A stand-in for the API has another port each time, and is another account.
_KEPT_S = 30 * 86400.0
# A folder on a network may hang.
_MAX_BLOCKED_S = 2.0


class Memory:
    """Keeps what a limiter finds out in a file, from `recall` to `aclose`.

    Args:
        path: The account's own file; see `memory_file`. It and its folder need not exist.
    """

    def __init__(self, path: Path, limiter: LocalLimiter) -> None:
        self._path = path
        self._limiter = limiter
        # One: a folder that hangs takes no more.
        self._threads = Threads("bfl-limit", 1)
        # Runs while something is written, and ends by itself. Written by _found only.
        self._saver: asyncio.Task[None] | None = None
        # Whether more was found since the saver has read it. Written by _found and _save_found.
        self._is_behind = False

    async def recall(self) -> None:
        """Let the limiter's search go on from where an earlier run has ended, if that is known.

        Cancellation: Returns at once.
        """
        found = await self._run(_load, self._path)
        if found is not None:
            self._limiter.resume_search(found)
        self._limiter.search_watchers.add(self._found)

    async def aclose(self) -> None:
        """Write what the limiter has found, if anything. Of two runs that end together the later one counts.

        Cancellation: Returns at once. The file is whole or the old one.
        """
        self._limiter.search_watchers.discard(self._found)
        saver = self._saver
        try:
            async with asyncio.timeout(_MAX_BLOCKED_S):
                if saver is not None:
                    await asyncio.wait([saver])
                await self._save()
        except TimeoutError:
            # The folder hangs: nothing more is kept.
            pass
        finally:
            if saver is not None:
                saver.cancel()
                await asyncio.wait([saver])
            await self._threads.aclose(_MAX_BLOCKED_S)

    def _found(self) -> None:
        """Take that the search has found something. Synchronous: it is called within the limiter's steps."""
        self._is_behind = True
        if self._saver is None or self._saver.done():
            self._saver = new_task(self._save_found(), name="bfl-limit")

    async def _save_found(self) -> None:
        while self._is_behind:
            self._is_behind = False
            await self._save()

    async def _save(self) -> None:
        found = self._limiter.found()
        if found is not None:
            await self._run(_save, self._path, found)

    async def _run(self, function: Callable[[*_Args], _Value], *args: *_Args) -> _Value | None:
        """Call what blocks in a thread; return None if it fails or takes too long."""
        try:
            async with asyncio.timeout(_MAX_BLOCKED_S):
                return await self._threads.run(function, *args)
        except (OSError, TimeoutError):
            return None


def memory_file(folder: Path, account: str) -> Path:
    """Return the file of an account.

    Args:
        folder: The user's cache folder.
        account: Its hash; see `AccountLimiter.use_account`.
    """
    return folder / f"limit-{account}.json"


def remembered_limit(folder: Path, account: str) -> int | None:
    """Return the limit that clients of one process have found for an account; None if none was found. Blocks."""
    found = _load(memory_file(folder, account))
    return None if found is None else found.limit


def _load(path: Path) -> Found | None:
    """Return what is kept in a file; None if that is not usable."""
    try:
        # A named pipe would block without the flag. Windows has neither.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            # Not by `open`, which leaves the descriptor of a folder open.
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return _found_in(json.loads(os.read(descriptor, _MAX_BYTES)))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return None


def _found_in(kept: object) -> Found | None:
    if not isinstance(kept, dict):
        return None
    limit, wait_s, try_at = kept.get("limit"), kept.get("wait_s"), kept.get("try_at")
    # The ranges let no NaN pass, and no number that is too large for a float.
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MAX_LIMIT:
        return None
    if not isinstance(wait_s, int | float) or not FIRST_WAIT_S <= wait_s <= MAX_WAIT_S:
        return None
    # Up to the year 318000.
    if not isinstance(try_at, int | float) or not 0 <= try_at <= 1e13:
        return None
    # The wall clock may have been set meanwhile.
    return Found(limit, float(wait_s), min(MAX_WAIT_S, max(0.0, try_at - time.time())))


def _save(path: Path, found: Found) -> None:
    kept = {"limit": found.limit, "wait_s": found.wait_s, "try_at": round(time.time() + found.rest_s, 3)}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # For this user only, and with a name of its own.
    descriptor, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(json.dumps(kept).encode())
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            os.unlink(part)
        raise
    _clean(path.parent)


def _clean(folder: Path) -> None:
    """Remove what was written long ago, and parts that a killed process has left."""
    oldest = time.time() - _KEPT_S
    for each in folder.glob("limit-*.json*"):
        with suppress(OSError):
            if each.lstat().st_mtime < oldest:
                each.unlink()
