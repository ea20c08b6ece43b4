"""Fetching a result's bytes, checking them, and writing them to a file.

A download costs nothing, so it is repeated until its timeout. A result URL is signed and ends after 10 minutes
(images); the end is judged by the server's clock where its reply states one.

Checking and writing happen in threads that the client owns (see `Threads`), as the bytes come in (see `incoming.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias, TypeVar, TypeVarTuple, cast

from bfl_async._config import check_timeout
from bfl_async.errors import (
    BFLError,
    ClientClosedError,
    DownloadError,
    ResultExpiredError,
    SaveError,
    TaskRecord,
    TransportError,
    UntrustedURLError,
)
from bfl_async.protocols.transport import StreamingTransport, Transport
from bfl_async.results.held import check_held
from bfl_async.results.incoming import Download, Incoming, Part, Place
from bfl_async.results.writing import Beside, move_to, save_error, too_slow_error
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.tasks import check_loop, new_task
from bfl_async.runtime.threads import Threads
from bfl_async.runtime.time import TimeLimit
from bfl_async.status import TaskStatus
from bfl_async.types.held import HeldImage, is_own_id
from bfl_async.types.replies import Reply
from bfl_async.wire.errors import http_date, retry_after_s
from bfl_async.wire.redaction import request_id_of
from bfl_async.wire.replies import expiry_of, parse_poll, result_path, sample_url
from bfl_async.wire.submit_verdicts import download_backoff_s, repeats_download

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MAX_SIGNED_ANEW = 3  # a server that signs anew and refuses again is not asked for ever
# Where the caller sets no bound and the URL states no end: as long as BFL keeps a result (10 minutes).
_UNBOUNDED_S = 600.0
_FILE_THREADS = 8
_MIN_WRITE_S = 1.0

OnEnded: TypeAlias = "Callable[[int, TaskRecord, int, float, Download | BFLError], None]"
"""Told the request's id, the task, attempts, seconds, and what came of it."""


class _Tries:
    """What one fetch has tried so far."""

    def __init__(self) -> None:
        # Downloads that were begun.
        self.count = 0
        # Why the newest one failed.
        self.problem: BFLError | None = None
        # What the newest one brings.
        self.incoming: Incoming | None = None


class Downloads:
    """Fetches results for one client, and writes them to files. Belongs to the client's event loop."""

    def __init__(self, transport: Transport, rng: random.Random, *, on_ended: OnEnded | None = None) -> None:
        self._transport = transport
        self._streaming = transport if isinstance(transport, StreamingTransport) else None
        self._rng = rng
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("bfl-files", _FILE_THREADS)
        # Set when the client closes: whoever waits before another attempt need not wait any longer.
        self._closed = asyncio.Event()
        # Calls of the transport that are on their way; ended by close().
        self._calls: set[asyncio.Task[Reply]] = set()
        # Removals of `.part` files.
        self._removals: set[asyncio.Task[None]] = set()

    @classmethod
    def without_client(cls) -> Self:
        """Return one for images that are held already, closed from the beginning: it has no transport to ask."""
        made = cls(cast("Transport", None), random.Random())
        made.close()
        return made

    @property
    def closed(self) -> bool:
        """True once the client is closed."""
        return self._closed.is_set()

    def close(self) -> None:
        """Fetch nothing more; calls that are on their way, or wait, end with `ClientClosedError`."""
        self._closed.set()
        for call in self._calls:
            call.cancel()

    async def wait_closed(self, timeout: float) -> None:
        """End the threads, once the files that are being written are whole."""
        for running in (self._calls, self._removals):
            if running:
                await asyncio.wait(running, timeout=timeout)
        await self._threads.aclose(timeout)

    async def fetch(
        self,
        task: TaskRecord,
        url: str,
        *,
        expires_at: float | None,
        timeout: float | None,
        request_id: int,
        place: Place | None = None,
        unchecked: bool = False,
        held: HeldImage | None = None,
    ) -> Download:
        """Return what is behind a result's URL; see `Result.read`.

        Args:
            held: The image itself, where it came with the answer to the submit: nothing is asked of the network, and
                the client may be closed.
            place: Chooses the file for the bytes. The caller must then call `discard` at the end, whatever came of it.
                None keeps them in memory.
            unchecked: Take bytes of any type, whole or not.
        """
        check_loop(self._loop, "the result")
        timeout = check_timeout(timeout)
        tries = _Tries()
        began_at = self._loop.time()
        got: Download | BFLError | None = None
        try:
            if held is None:
                got = await self._fetch_within(task, url, expires_at, timeout, tries, place, unchecked)
            else:
                check = partial(check_held, unchecked=unchecked)
                got = await self._in_thread(check, held, place, task["task_id"])
        except BFLError as exc:
            got = exc
            raise
        finally:
            if not isinstance(got, Download):
                await self._discard_newest(tries)
            if self._on_ended is not None and got is not None:
                self._on_ended(request_id, task, tries.count, self._loop.time() - began_at, got)
        return got

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run work in a thread of the client's, or in one of the loop's once the client is closed."""
        if self.closed:
            return await asyncio.to_thread(work, *args)
        return await self._threads.run(work, *args)

    async def _discard_newest(self, tries: _Tries) -> None:
        part = None if tries.incoming is None else tries.incoming.part
        removal = self._discard(part)
        if removal is not None and not is_cancelled():
            await asyncio.wait([removal])

    def discard(self, download: Download) -> None:
        """Remove the `.part` file of a download, as far as it was not moved.

        From now on nothing is moved any more, also if a thread is at it.
        """
        self._discard(download.part)

    def _discard(self, part: Part | None) -> asyncio.Task[None] | None:
        if part is None:
            return None
        part.is_abandoned = True
        if not part.is_open:
            # There is nothing to remove yet; a thread that is about to open it sees that.
            return None
        removal = new_task(self._remove(part))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        return removal

    async def _remove(self, part: Part) -> None:
        try:
            await self._in_thread(part.abandon)
        except (OSError, asyncio.CancelledError):
            # There are no threads any more.
            part.abandon()

    async def save(
        self,
        task: TaskRecord,
        url: str,
        path: Path,
        *,
        expires_at: float | None,
        timeout: float | None,
        request_id: int,
        unchecked: bool = False,
        held: HeldImage | None = None,
    ) -> Path:
        """Fetch and write; return the path written; see `Result.save`."""
        began_at = self._loop.time()
        download = await self.fetch(
            task,
            url,
            expires_at=expires_at,
            timeout=timeout,
            request_id=request_id,
            place=Beside(path, task["task_id"]),
            unchecked=unchecked,
            held=held,
        )
        bound = check_timeout(timeout)
        # The bytes have arrived, so the write gets a second of its own even if the download took all of the time.
        left_s = None if bound is None else max(_MIN_WRITE_S, bound - (self._loop.time() - began_at))
        limit = TimeLimit(left_s)
        is_written = False
        try:
            async with limit:
                written = await self._in_thread(move_to, path, download, task["task_id"])
                is_written = True
                return written
        except TimeoutError as exc:
            if not limit.expired:
                raise
            raise too_slow_error(path, task) from exc
        except OSError as exc:
            if isinstance(exc, SaveError):
                raise
            if self.closed and held is None:
                raise closed_error(task) from exc
            raise save_error(path, exc, task["task_id"]) from exc
        finally:
            if not is_written:
                self.discard(download)

    async def _fetch_within(
        self,
        task: TaskRecord,
        url: str,
        expires_at: float | None,
        timeout: float | None,
        tries: _Tries,
        place: Place | None,
        unchecked: bool,
    ) -> Download:
        bound_s = _UNBOUNDED_S if timeout is None else timeout
        if timeout is None and expires_at is not None:
            bound_s = max(bound_s, expires_at - time.time())
        limit = TimeLimit(bound_s)

        def incoming() -> Incoming:
            return Incoming(self._threads, place, unchecked=unchecked)

        try:
            if bound_s > 0:
                async with limit:
                    return await self._fetch(
                        task, url, expires_at, self._loop.time() + bound_s, tries, incoming
                    )
        except TimeoutError as exc:
            # The limit's: all others are errors of ours by now.
            if not limit.expired:
                raise
            # What an attempt before this one found out about the host says more than a disk that was at work just then.
            if tries.problem is None and tries.incoming is not None and tries.incoming.is_writing:
                raise _disk_error(tries.incoming) from exc
        problem = tries.problem
        last = "no time was left to try"
        if problem is not None:
            last = str(problem)
        elif tries.count:
            last = "the image host was still sending"
        error = DownloadError(
            f"the result could not be downloaded within {bound_s:g} s: {last}", task_id=task["task_id"]
        )
        error.request_id = None if problem is None else problem.request_id
        raise error from problem

    async def _fetch(
        self,
        task: TaskRecord,
        url: str,
        expires_at: float | None,
        deadline: float,
        tries: _Tries,
        new_incoming: Callable[[], Incoming],
    ) -> Download:
        signed_anew = 0  # polls that were sent for a URL that works
        while True:
            if self.closed:
                raise closed_error(task) from tries.problem
            tries.count += bool(url)
            tries.incoming = new_incoming()
            answer = await self._attempt(url, deadline - self._loop.time(), task, tries.incoming)
            if isinstance(answer, Download):
                return answer
            await self._discard_newest(tries)
            problem, reply = answer
            tries.problem = problem
            if reply is not None:
                problem.request_id = request_id_of(reply.headers)
            refused = not url or (reply is not None and not repeats_download(reply.status_code))
            past = _is_past(expires_at, reply, refused=refused)
            if past or (refused and (signed_anew == 0 or not url)):
                # A signed URL ends, and the server may sign another one when it is asked again.
                signed_anew += 1
                fresh = await self._signed_anew(task)
                if fresh and fresh != url and signed_anew <= _MAX_SIGNED_ANEW:
                    url, expires_at = fresh, expiry_of(fresh)
                    continue
                if not url and (fresh is None or signed_anew > _MAX_SIGNED_ANEW):
                    raise problem
                if past or fresh is None:
                    expired = ResultExpiredError(
                        "the result's URL has expired and the server signs no new one: results must be fetched "
                        "within 10 minutes",
                        task_id=task["task_id"],
                    )
                    expired.request_id = problem.request_id
                    raise expired from problem
            retry_after = None if reply is None else retry_after_s(reply.headers, now=time.time())
            await self._pause(download_backoff_s(max(1, tries.count), retry_after, self._rng))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, or until the client closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def _attempt(
        self, url: str, left_s: float, task: TaskRecord, incoming: Incoming
    ) -> Download | tuple[BFLError, Reply | None]:
        """Fetch once: the checked bytes, or what went wrong and the reply if there was one."""
        task_id = task["task_id"]
        if not url:
            return DownloadError(
                "the task's answer holds no URL of a result: see .raw", task_id=task_id
            ), None
        try:
            reply = await self._call(url, left_s, incoming)
        except UntrustedURLError as exc:
            exc.task_id = task_id
            raise
        except DownloadError as exc:
            exc.task_id = task_id
            return exc, Reply(200, incoming.headers, b"")
        except TransportError as exc:
            if incoming.is_writing:
                raise _disk_error(incoming) from exc
            return exc, None
        except BFLError as exc:
            if self.closed:
                raise closed_error(task) from exc
            raise
        except OSError as exc:  # of a transport from outside; TimeoutError is one
            error = TransportError(f"the download failed: {type(exc).__name__}")
            error.__cause__ = exc
            return error, None
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            if self.closed:
                raise closed_error(task) from exc
            error = TransportError("the download was cancelled, and not by its caller")
            error.__cause__ = exc
            return error, None
        if not 200 <= reply.status_code < 300:
            return DownloadError(f"the image host answered HTTP {reply.status_code}", task_id=task_id), reply
        return await self._checked(reply, task, incoming)

    async def _checked(
        self, reply: Reply, task: TaskRecord, incoming: Incoming
    ) -> Download | tuple[BFLError, Reply | None]:
        """End an attempt whose bytes all came: the checked bytes, or what is wrong with them and the reply."""
        try:
            return await incoming.end()
        except DownloadError as exc:
            exc.task_id = task["task_id"]
            return exc, reply
        except SaveError as exc:
            if self.closed:
                raise closed_error(task) from exc
            raise
        except (OSError, ValueError) as exc:
            # No thread could be started, or the file cannot be read back.
            if self.closed:
                raise closed_error(task) from exc
            return DownloadError(f"the result could not be checked: {exc}", task_id=task["task_id"]), reply

    async def _call(self, url: str, left_s: float, incoming: Incoming) -> Reply:
        """Ask the transport, in a coroutine that close() can end."""
        call = new_task(self._pull(url, max(0.0, left_s), incoming))
        self._calls.add(call)
        try:
            return await call
        finally:
            self._calls.discard(call)

    async def _pull(self, url: str, timeout: float, incoming: Incoming) -> Reply:
        if self._streaming is not None:
            return await self._streaming.download_to(url, incoming, timeout=timeout)
        reply = await self._transport.download(url, timeout=timeout)
        if 200 <= reply.status_code < 300:
            incoming.begin(reply.headers)
            await incoming.write(reply.body)
        return reply

    async def _signed_anew(self, task: TaskRecord) -> str | None:
        """Poll once: the URL that the server gives now, "" if it did not say, None if the task is gone."""
        if is_own_id(task["task_id"]):
            # There never was one.
            return None
        try:
            reply = await self._transport.poll(task["polling_url"] or result_path(task["task_id"]))
        except (BFLError, OSError):
            if self.closed:
                raise closed_error(task) from None
            return ""
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return ""
        answer = parse_poll(reply.body)
        if answer is None:
            return ""
        if answer.status == TaskStatus.TASK_NOT_FOUND:
            return None
        return sample_url(answer.result)


def closed_error(task: TaskRecord) -> ClientClosedError:
    """Return the error of a result whose client is closed."""
    if is_own_id(task["task_id"]):
        return ClientClosedError(
            f"the client of {task['task_id']} is closed: the result came without a task, so nothing can be attached; "
            "its URL is in .url",
            task_id=task["task_id"],
        )
    return ClientClosedError(
        f"the client of task {task['task_id']} is closed: open one and await "
        "bfl.attach(task_id, polling_url=...), see .tasks, to get a result that can be read",
        task_id=task["task_id"],
        tasks=[task],
    )


def _is_past(expires_at: float | None, reply: Reply | None, *, refused: bool) -> bool:
    """True when a URL has ended, by the server's clock: this machine's may be wrong.

    A reply without a date is believed where it is a refusal, and the end has passed here.
    """
    if expires_at is None or reply is None:
        return False
    now = http_date(reply.headers.get("date", ""))
    if now is None:
        if not refused:
            return False
        now = time.time()
    return now >= expires_at - 1.0  # `Date` and `se` count whole seconds


def _disk_error(incoming: Incoming) -> SaveError:
    assert incoming.part is not None
    return incoming.part.place.error(OSError(errno.ETIMEDOUT, "the disk did not take the bytes in time"))


__all__ = ["Download", "Downloads", "closed_error", "save_error"]
