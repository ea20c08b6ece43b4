"""A result on its way in: bounded, recognised by its first bytes, kept in memory or in a file, and checked.

What the image host says of its bytes is not believed. The first bytes decide what they are, and with that how many
there may be and which suffix a file of them gets. The types are a list: what could be active content where it is opened
(SVG, XML, HTML) is not on it.

Bytes for a file go to a `.part` file, 1 MiB at a time and in a worker thread, so memory does not grow with
their number. A result that is smaller than that does not touch the disk before it was checked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from bfl_async.errors import DownloadError, SaveError
from bfl_async.models.headers import JXL_BOX, kind_of
from bfl_async.runtime.files import flush_to_disk
from bfl_async.runtime.text import printable
from bfl_async.runtime.threads import Threads

_MB = 2**20


class ResultType(NamedTuple):
    """What a result may be: the suffix of its files, and how many bytes it may have."""

    suffix: str
    max_bytes: int


_IMAGE_BYTES, _VIDEO_BYTES = 64 * _MB, 512 * _MB
RESULT_TYPES = {
    "image/jpeg": ResultType(".jpg", _IMAGE_BYTES),
    "image/png": ResultType(".png", _IMAGE_BYTES),
    "image/webp": ResultType(".webp", _IMAGE_BYTES),
    "image/avif": ResultType(".avif", _IMAGE_BYTES),
    "image/heic": ResultType(".heic", _IMAGE_BYTES),
    "image/heif": ResultType(".heif", _IMAGE_BYTES),
    "image/gif": ResultType(".gif", _IMAGE_BYTES),
    "image/jxl": ResultType(".jxl", _IMAGE_BYTES),
    "video/mp4": ResultType(".mp4", _VIDEO_BYTES),
}
"""Everything that a result can be, by its media type."""

ANYTHING = "application/octet-stream"
"""The media type of bytes that were not checked."""
_UNCHECKED = ResultType(".bin", _VIDEO_BYTES)
HEAD_BYTES = 512
"""The first bytes tell the type. The list of brands in an MP4 or AVIF is within so many."""
# A JPEG's end mark is looked for in so much: some writers put padding behind it.
_TAIL_BYTES = 4_096
# Boxes of an MP4 that are looked at. A whole one has about ten, and one in fragments two for each second or so.
_MOST_BOXES = 10_000
_SPILL_BYTES = _MB
# Types that are made of boxes. Looking at those can take milliseconds, and is done in a thread.
_OF_BOXES = frozenset({"image/avif", "image/heic", "image/heif", "video/mp4"})


class Place(Protocol):
    """Chooses the `.part` file of a result. The methods block."""

    def new_part(self) -> Path:
        """Return the path of a file that does not exist, in a folder that does.

        Raises:
            OSError, ValueError: There can be none.
        """
        ...

    def error(self, exc: Exception) -> SaveError:
        """Return the error of a file that could not be written."""
        ...


class Part:
    """A `.part` file, opened when the first bytes are written to it. The methods block, except for `is_open`.

    Its owner may abandon it while a thread writes to it. The thread then removes it at the end of its step.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lock = threading.Lock()
        # Written by the owner, read by the thread: nothing is written or moved any more.
        self.is_abandoned: bool = False
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    @property
    def is_open(self) -> bool:
        """True once bytes were written."""
        return self._path is not None

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[BinaryIO]:
        try:
            with self._lock:
                if self.is_abandoned:
                    raise OSError(errno.ECANCELED, "it was given up")
                if self._file is None:
                    path = self.place.new_part()
                    self._file = path.open("x+b")
                    self._path = path
                yield self._file
        finally:
            if self.is_abandoned:
                self._remove()

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            OSError, ValueError: They could not be written.
        """
        with self._at_work() as file:
            file.write(data)
            self._digest.update(data)

    def problem(self, kind: str, size: int) -> str | None:
        """See `problem_of`."""
        with self._at_work() as file:
            found = problem_of(kind, file, size)
            file.seek(0, io.SEEK_END)
            return found

    def finish(self, rest: bytes, *, hand_over: bool) -> tuple[Path, str]:
        """Add the last bytes, and flush all of it to the disk; return the path, and the SHA-256 in hexadecimal.

        Args:
            hand_over: Whoever asks for it removes it.
        Raises:
            OSError, ValueError: They could not be written.
        """
        with self._at_work() as file:
            finished = self._finish(file, rest)
            if hand_over:
                self._path = None
            return finished

    def move(self, rest: bytes, target: Path) -> None:
        """As `finish`; then move the file to its target, unless it was abandoned meanwhile.

        Raises:
            OSError, ValueError: Something could not be done.
        """
        with self._at_work() as file:
            path, _ = self._finish(file, rest)
            if not self.is_abandoned:
                path.replace(target)
                self._path = None

    def _finish(self, file: BinaryIO, rest: bytes) -> tuple[Path, str]:
        assert self._path is not None
        file.write(rest)
        self._digest.update(rest)
        file.flush()
        flush_to_disk(file.fileno())
        # An open file cannot be renamed everywhere.
        file.close()
        return self._path, self._digest.hexdigest()

    def abandon(self) -> None:
        """Remove the file, as far as it was not moved."""
        self.is_abandoned = True
        self._remove()

    def _remove(self) -> None:
        # Whoever has the lock removes it.
        if not self._lock.acquire(blocking=False):
            return
        try:
            file, self._file = self._file, None
            path, self._path = self._path, None
            with contextlib.suppress(OSError):
                if file is not None:
                    file.close()
            with contextlib.suppress(OSError):
                if path is not None:
                    path.unlink(missing_ok=True)
        finally:
            self._lock.release()


class Download:
    """Bytes that passed their checks, and the media type that they are.

    Args:
        data: All bytes, or those that are not in the part yet.
        size: Bytes in all; None for as many as `data` has.
        part: Where they go; None where they stay in memory.
    """

    __slots__ = ("_data", "_part", "media_type", "size")

    def __init__(
        self, data: bytes, media_type: str, *, size: int | None = None, part: Part | None = None
    ) -> None:
        self._data = data
        self._part = part
        self.media_type: str = media_type
        self.size: int = len(data) if size is None else size

    @property
    def data(self) -> bytes:
        """All bytes, of a download that stays in memory."""
        assert len(self._data) == self.size
        return self._data

    @property
    def suffix(self) -> str:
        """The usual file name suffix of the media type."""
        return RESULT_TYPES.get(self.media_type, _UNCHECKED).suffix

    @property
    def part(self) -> Part | None:
        """Where the bytes go."""
        return self._part

    def finish(self, *, hand_over: bool = False) -> tuple[Path, str]:
        """Return the part, whole and on the disk, and its SHA-256. Blocks.

        Args:
            hand_over: Whoever asks for it removes it.
        Raises:
            SaveError: The operating system refused.
        """
        assert self._part is not None
        try:
            return self._part.finish(self._data, hand_over=hand_over)
        except (OSError, ValueError) as exc:
            raise self._part.place.error(exc) from exc

    def move(self, target: Path) -> None:
        """Write the file whole, and give it its name. Blocks.

        Raises:
            SaveError: The operating system refused.
        """
        assert self._part is not None
        try:
            self._part.move(self._data, target)
        except (OSError, ValueError) as exc:
            self._part.abandon()
            raise self._part.place.error(exc) from exc


class Incoming:
    """One attempt to download: takes the bytes as they come. It is a `Sink`.

    Args:
        place: Chooses the file for the bytes; None keeps them in memory.
        unchecked: Take bytes of any type, whole or not.
    """

    def __init__(self, threads: Threads, place: Place | None, *, unchecked: bool = False) -> None:
        self._threads = threads
        self._unchecked = unchecked
        self._buffer = io.BytesIO()
        self._media_type = ""
        self._max_bytes = _VIDEO_BYTES
        self.part: Part | None = None if place is None else Part(place)
        self.headers: Mapping[str, str] = {}
        self.size: int = 0
        # True while the disk is waited for.
        self.is_writing: bool = False

    def begin(self, headers: Mapping[str, str]) -> None:
        """See `Sink.begin`."""
        self.headers = headers
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise DownloadError(
                f"the image host sent it compressed ({printable(encoding, 40)}), and was asked not to"
            )
        announced = self._announced()
        if announced is not None and announced > _VIDEO_BYTES:
            raise DownloadError(f"the image host announced {announced} bytes, more than any result has")

    def _announced(self) -> int | None:
        said = self.headers.get("content-length", "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else None

    async def write(self, chunk: bytes) -> None:
        """See `Sink.write`."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise DownloadError(
                f"the image host sent more than the {self._max_bytes // _MB} MiB that "
                f"{self._media_type or 'a result'} may have"
            )
        self._buffer.write(chunk)
        if not self._media_type and self.size >= HEAD_BYTES:
            self._recognise()
        if self.part is not None and self._buffer.tell() >= _SPILL_BYTES:
            held, self._buffer = self._buffer, io.BytesIO()
            # Not `getbuffer`: some releases of CPython crash when its view is collected. This copies nothing.
            await self._in_thread(self.part, held.getvalue())

    async def _in_thread(self, part: Part, data: bytes) -> None:
        self.is_writing = True
        try:
            await self._threads.run(part.write, data)
        except (OSError, ValueError) as exc:
            raise part.place.error(exc) from exc
        # Not if the wait was cancelled: it then was the disk that took too long.
        self.is_writing = False

    def _recognise(self) -> None:
        """Judge the first bytes.

        Raises:
            DownloadError: No result is of such a type, or this large.
        """
        self._buffer.seek(0)
        found = kind_of(self._buffer.read(HEAD_BYTES))
        self._buffer.seek(0, io.SEEK_END)
        if found not in RESULT_TYPES:
            if not self._unchecked:
                raise DownloadError(
                    f"the image host sent {self._said()}, which are no image or video that a result is"
                )
            found = ANYTHING
        self._media_type = found
        self._max_bytes = RESULT_TYPES.get(found, _UNCHECKED).max_bytes
        known = max(self.size, self._announced() or 0)
        if known > self._max_bytes:
            raise DownloadError(
                f"the image host has {known} bytes, more than the {self._max_bytes // _MB} MiB that {found} may have"
            )

    def _said(self) -> str:
        said = self.headers.get("content-type", "").split(";")[0].strip().lower()
        return f"bytes it calls {printable(said, 60)}" if said else "bytes of no stated type"

    async def end(self) -> Download:
        """Return the checked bytes.

        Raises:
            DownloadError: They are not a whole image or video.
            SaveError: They cannot be read back.
            OSError: No thread could be started.
        """
        if not self.size:
            raise DownloadError("the image host sent nothing")
        announced = self._announced()
        if announced is not None and announced != self.size:
            raise DownloadError(f"the image host announced {announced} bytes and sent {self.size}")
        if not self._media_type:
            self._recognise()
        problem = None if self._unchecked else await self._problem()
        if problem is not None:
            raise DownloadError(f"the image host sent {_named(self._media_type)} that {problem}")
        return Download(self._buffer.getvalue(), self._media_type, size=self.size, part=self.part)

    async def _problem(self) -> str | None:
        kind, part = self._media_type, self.part
        if part is not None and part.is_open:
            rest, self._buffer = self._buffer, io.BytesIO()
            if rest.tell():
                await self._in_thread(part, rest.getvalue())
            return await self._threads.run(part.problem, kind, self.size)
        if kind in _OF_BOXES:
            return await self._threads.run(problem_of, kind, self._buffer, self.size)
        return problem_of(kind, self._buffer, self.size)


def _named(media_type: str) -> str:
    return f"{'a' if media_type == 'video/mp4' else 'an'} {media_type}"


def problem_of(kind: str, file: BinaryIO, size: int) -> str | None:
    """Return what is wrong with the bytes of an image or video, at most 10,000 boxes; None if it is whole."""
    if kind in _OF_BOXES:
        return _box_problem(file, size)
    file.seek(0)
    head = file.read(len(JXL_BOX))
    if kind == "image/webp":
        is_whole = int.from_bytes(head[4:8], "little") + 8 <= size
    elif kind == "image/jxl":
        # A bare codestream says nothing of its end.
        return _box_problem(file, size) if head == JXL_BOX else None
    else:
        mark = {"image/jpeg": b"\xff\xd9", "image/png": b"IEND"}.get(kind, b"\x3b")
        file.seek(max(0, size - _TAIL_BYTES))
        is_whole = mark in file.read(_TAIL_BYTES)
    return None if is_whole else "is cut off"


def _box_problem(file: BinaryIO, size: int) -> str | None:
    """The outermost boxes of a whole file end where it does."""
    at = 0
    for _ in range(_MOST_BOXES + 1):
        if at + 8 > size:
            return None if at == size else "is cut off"
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4])
        if length == 0:
            # To the end of the file.
            return None
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8:
            return "is cut off"
        at += length
    return f"consists of more than {_MOST_BOXES} boxes"


__all__ = [
    "ANYTHING",
    "HEAD_BYTES",
    "RESULT_TYPES",
    "Download",
    "Incoming",
    "Part",
    "Place",
    "ResultType",
    "problem_of",
]
