"""Fetching a result's bytes, checking them, and writing them to a file.

A download costs nothing, so it is repeated until its timeout. A result URL is signed and ends after 10 minutes
(images); the end is judged by the server's clock where its reply states one.

Checking and writing happen in threads that the client owns (see `Threads`).
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bfl_async._cancellation import is_cancelled
from bfl_async._config import check_timeout
from bfl_async._files import flush_to_disk
from bfl_async._retry import download_backoff_s, repeats_download
from bfl_async._tasks import check_loop, new_task
from bfl_async._threads import Threads
from bfl_async._time import TimeLimit
from bfl_async._wire import expiry_of, http_date, parse_poll, result_path, retry_after_s, sample_url
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
from bfl_async.models.media import kind_of
from bfl_async.status import TaskStatus
from bfl_async.types import Reply, Transport

_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "video/mp4": ".mp4"}
_MAX_SIGNED_ANEW = 3  # a server that signs anew and refuses again is not asked for ever
# Where the caller sets no bound and the URL states no end: as long as BFL keeps a result (10 minutes).
_UNBOUNDED_S = 600.0
_FILE_THREADS = 8
_MIN_WRITE_S = 1.0
# From here on a body is looked at in a thread: a video may consist of millions of boxes.
_THREAD_FROM_BYTES = 2**20
_TAIL_BYTES = 4_096  # a JPEG's end mark is looked for in so much: some writers put padding behind it


class Download(NamedTuple):
    """Bytes that passed their checks, and the media type that they are."""

    data: bytes
    media_type: str

    @property
    def suffix(self) -> str:
        """The usual file name suffix of the media type."""
        return _SUFFIXES.get(self.media_type) or mimetypes.guess_extension(self.media_type) or ".bin"


OnEnded: TypeAlias = "Callable[[int, TaskRecord, int, float, Download | BFLError], None]"
"""Told the request's id, the task, attempts, seconds, and what came of it."""


class _Tries:
    """What one fetch has tried so far."""

    def __init__(self) -> None:
        # Downloads that were begun.
        self.count = 0
        # Why the newest one failed.
        self.problem: BFLError | None = None


class Downloads:
    """Fetches results for one client, and writes them to files. Belongs to the client's event loop."""

    def __init__(self, transport: Transport, rng: random.Random, *, on_ended: OnEnded | None = None) -> None:
        self._transport = transport
        self._rng = rng
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("bfl-files", _FILE_THREADS)
        # Set when the client closes: whoever waits before another attempt need not wait any longer.
        self._closed = asyncio.Event()
        # Calls of the transport that are on their way; ended by close().
        self._calls: set[asyncio.Task[Reply]] = set()

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
        if self._calls:
            await asyncio.wait(self._calls, timeout=timeout)
        await self._threads.aclose(timeout)

    async def fetch(
        self, task: TaskRecord, url: str, *, expires_at: float | None, timeout: float | None, request_id: int
    ) -> Download:
        """Return the bytes behind a result's URL; see `Result.read`."""
        check_loop(self._loop, "the result")
        timeout = check_timeout(timeout)
        tries = _Tries()
        on_ended = self._on_ended
        if on_ended is None:
            return await self._fetch_within(task, url, expires_at, timeout, tries)
        began_at = self._loop.time()
        try:
            got = await self._fetch_within(task, url, expires_at, timeout, tries)
        except BFLError as exc:
            on_ended(request_id, task, tries.count, self._loop.time() - began_at, exc)
            raise
        on_ended(request_id, task, tries.count, self._loop.time() - began_at, got)
        return got

    async def save(
        self,
        task: TaskRecord,
        url: str,
        path: Path,
        *,
        expires_at: float | None,
        timeout: float | None,
        request_id: int,
    ) -> Path:
        """Fetch and write; return the path written; see `Result.save`."""
        began_at = self._loop.time()
        download = await self.fetch(task, url, expires_at=expires_at, timeout=timeout, request_id=request_id)
        bound = check_timeout(timeout)
        # The bytes have arrived, so the write gets a second of its own even if the download took all of the time.
        left_s = None if bound is None else max(_MIN_WRITE_S, bound - (self._loop.time() - began_at))
        writing = Write()
        limit = TimeLimit(left_s)
        try:
            async with limit:
                return await self._threads.run(write_file, path, download, task["task_id"], writing)
        except TimeoutError as exc:
            if not limit.expired:
                raise
            raise SaveError(
                f"cannot write {str(path)!r}: the disk did not finish in time; choose another folder with -o or "
                "save(path)",
                task_id=task["task_id"],
                filename=str(path),
            ) from exc
        except OSError as exc:
            if isinstance(exc, SaveError):
                raise
            if self.closed:
                raise closed_error(task) from exc
            raise save_error(path, exc, task["task_id"]) from exc
        finally:
            # Without effect on a write that has ended.
            writing.is_abandoned = True

    async def _fetch_within(
        self,
        task: TaskRecord,
        url: str,
        expires_at: float | None,
        timeout: float | None,
        tries: _Tries,
    ) -> Download:
        bound_s = _UNBOUNDED_S if timeout is None else timeout
        if timeout is None and expires_at is not None:
            bound_s = max(bound_s, expires_at - time.time())
        limit = TimeLimit(bound_s)
        try:
            if bound_s > 0:
                async with limit:
                    return await self._fetch(task, url, expires_at, self._loop.time() + bound_s, tries)
        except TimeoutError:
            # The limit's: all others are errors of ours by now.
            if not limit.expired:
                raise
        problem = tries.problem
        last = "no time was left to try"
        if problem is not None:
            last = str(problem)
        elif tries.count:
            last = "the image host was still sending"
        raise DownloadError(
            f"the result could not be downloaded within {bound_s:g} s: {last}", task_id=task["task_id"]
        ) from problem

    async def _fetch(
        self,
        task: TaskRecord,
        url: str,
        expires_at: float | None,
        deadline: float,
        tries: _Tries,
    ) -> Download:
        signed_anew = 0  # polls that were sent for a URL that works
        while True:
            if self.closed:
                raise closed_error(task) from tries.problem
            tries.count += bool(url)
            answer = await self._attempt(url, deadline - self._loop.time(), task)
            if isinstance(answer, Download):
                return answer
            problem, reply = answer
            tries.problem = problem
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
                    raise ResultExpiredError(
                        "the result's URL has expired and the server signs no new one: results must be fetched "
                        "within 10 minutes",
                        task_id=task["task_id"],
                    ) from problem
            retry_after = None if reply is None else retry_after_s(reply.headers, now=time.time())
            await self._pause(download_backoff_s(max(1, tries.count), retry_after, self._rng))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, or until the client closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def _attempt(
        self, url: str, left_s: float, task: TaskRecord
    ) -> Download | tuple[BFLError, Reply | None]:
        """Fetch once: the checked bytes, or what went wrong and the reply if there was one."""
        task_id = task["task_id"]
        if not url:
            return DownloadError(
                "the task's answer holds no URL of a result: see .raw", task_id=task_id
            ), None
        try:
            reply = await self._call(url, left_s)
        except UntrustedURLError as exc:
            exc.task_id = task_id
            raise
        except TransportError as exc:
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
        try:
            found = (
                check(reply)
                if len(reply.body) < _THREAD_FROM_BYTES
                else await self._threads.run(check, reply)
            )
        except OSError as exc:  # no thread could be started
            if self.closed:
                raise closed_error(task) from exc
            return DownloadError(f"the result could not be checked: {exc}", task_id=task_id), reply
        return found if isinstance(found, Download) else (DownloadError(found, task_id=task_id), reply)

    async def _call(self, url: str, left_s: float) -> Reply:
        """Ask the transport, in a coroutine that close() can end."""
        call = new_task(self._transport.download(url, timeout=max(0.0, left_s)))
        self._calls.add(call)
        try:
            return await call
        finally:
            self._calls.discard(call)

    async def _signed_anew(self, task: TaskRecord) -> str | None:
        """Poll once: the URL that the server gives now, "" if it did not say, None if the task is gone."""
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


def check(reply: Reply) -> Download | str:
    """Return the bytes of a 2xx reply if they are a whole image or video, else what is wrong with them."""
    data = reply.body
    if not data:
        return "the image host sent nothing"
    announced = reply.headers.get("content-length", "")
    if announced.isdigit() and "content-encoding" not in reply.headers and int(announced) != len(data):
        return f"the image host announced {announced} bytes and sent {len(data)}"
    said = reply.headers.get("content-type", "").split(";")[0].strip().lower()
    kind = kind_of(data)
    if kind is None:
        if said in _SUFFIXES or not said.startswith(("image/", "video/")):
            return f"the image host sent {said or 'bytes of no stated type'}, which are no image or video"
        return Download(data, said)  # a format that is newer than this release
    if not _is_whole(kind, data):
        return f"the image host sent an {kind} that is cut off"
    return Download(data, kind)


def _is_whole(kind: str, data: bytes) -> bool:
    if kind == "image/jpeg":
        return data.rfind(b"\xff\xd9", max(0, len(data) - _TAIL_BYTES)) >= 0
    if kind == "image/png":
        return data.rfind(b"IEND", max(0, len(data) - _TAIL_BYTES)) >= 0
    if kind == "image/webp":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return _mp4_is_whole(data)


def _mp4_is_whole(data: bytes) -> bool:
    """True when the outermost boxes end where the file does."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 0:  # to the end of the file
            return True
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:
            return False
        at += size
    return at == len(data)


class Write:
    """One write to a file, which its caller may give up while a thread is at it."""

    def __init__(self) -> None:
        # Written by the caller, read by the thread: the target is then left as it is.
        self.is_abandoned = False


def write_file(path: Path, download: Download, task_id: str, write: Write | None = None) -> Path:
    """Write the bytes whole or not at all: to a `.part` beside the target, flushed, then moved.

    Blocks: called in a worker thread.

    Raises:
        SaveError: The operating system refused.
    """
    if not path.suffix:
        path = path.with_name(path.name + download.suffix) if path.name else path
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stem = path.name.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")  # names are bytes
        part = path.with_name(f"{stem}.{secrets.token_hex(4)}.part")
        with part.open("xb") as file:
            file.write(download.data)
            file.flush()
            flush_to_disk(file.fileno())
        if write is not None and write.is_abandoned:
            part.unlink(missing_ok=True)
        else:
            part.replace(path)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        if part is not None:
            with contextlib.suppress(OSError, ValueError):
                part.unlink(missing_ok=True)
        raise save_error(path, exc, task_id) from exc
    return path


def save_error(path: Path, exc: Exception, task_id: str) -> SaveError:
    """Return the error of a file that could not be written."""
    reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return SaveError(
        f"cannot write {str(path)!r}: {reason}; choose another folder with -o or save(path)",
        task_id=task_id,
        errno=getattr(exc, "errno", None),
        filename=str(path),
    )


__all__ = ["Download", "Downloads", "Write", "check", "closed_error", "save_error", "write_file"]
