"""Names and contents of files that the commands read and write. All of it is checked before anything is paid."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import click

from bfl_async.batch.naming import slug
from bfl_async.cli.exit_codes import ExitCode

_MAX_PROMPT_BYTES = 1_000_000
MAX_LINE_BYTES = 32 * 1024 * 1024  # an input image in base64 may stand in one


class InputError(click.ClickException):
    """An input or a folder that cannot be used."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class TooDearError(InputError):
    """A run that would cost more than was allowed."""

    exit_code: ClassVar[int] = ExitCode.ACCOUNT


def check_folder(folder: Path) -> None:
    """Make sure that files can be written to a folder; make it if it is missing.

    Raises:
        InputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".bfl-async-"):
            pass
    except (OSError, ValueError) as exc:
        raise _not_writable(folder, exc) from exc


def check_place(folder: Path) -> None:
    """As `check_folder`, without making or changing anything: what cannot be known beforehand passes.

    Raises:
        InputError: Files cannot be written there.
    """
    place = folder
    while True:
        try:
            place.lstat()
            break
        except (FileNotFoundError, NotADirectoryError):
            if place == place.parent:
                break
            place = place.parent
        except (OSError, ValueError) as exc:
            raise _not_writable(folder, exc) from exc
    if not place.is_dir():
        raise _not_writable(folder, FileExistsError())
    if not os.access(place, os.W_OK | os.X_OK):
        raise _not_writable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _not_writable(folder: Path, exc: OSError | ValueError) -> InputError:
    reason = getattr(exc, "strerror", None) or "not a usable name"
    if isinstance(exc, FileExistsError | NotADirectoryError):
        reason = "it, or a folder above it, is a file"
    return InputError(f"cannot write to the folder {str(folder)!r}: {reason}; choose another with -o")


def read_prompt() -> str:
    """Return the one prompt that standard input holds, of any number of lines.

    Raises:
        InputError: It is no text, or empty.
    """
    try:
        data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"cannot read standard input: {exc.strerror}") from exc
    if len(data) > _MAX_PROMPT_BYTES:
        raise InputError(f"standard input is longer than {_MAX_PROMPT_BYTES} bytes")
    try:
        prompt = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as exc:
        raise InputError("standard input is not UTF-8 text") from exc
    if not prompt:
        raise InputError("standard input held no prompt")
    return prompt


def folder_of_input(name: str) -> Path:
    """Return the folder of an input file: names in its rows are looked for there."""
    return Path() if name == "-" else Path(name).parent


def is_pipe(name: str) -> bool:
    """True for an input that can be read only once: standard input, or a named pipe."""
    path = Path(name)
    try:
        return name == "-" or path.is_fifo() or path.is_char_device()
    except ValueError:  # a NUL in the name
        return False


def read_lines(name: str) -> Iterator[bytes] | AsyncIterator[bytes]:
    """Return the lines of a file, as they are; `-` is standard input.

    A file can be read again by calling this again. Standard input and other pipes can be read only once, and are
    read as they come: these lines are an async iterator.

    Raises:
        InputError: The file cannot be read.
    """
    if name == "-":
        return _pipe_lines(os.dup(sys.stdin.fileno()))
    path = Path(name)
    if is_pipe(name):
        try:
            return _pipe_lines(os.open(path, os.O_RDONLY))
        except OSError as exc:
            raise InputError(f"cannot read {name!r}: {exc.strerror}") from exc
    return _file_lines(path)


def _file_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(f"cannot read {str(path)!r}: {reason}") from exc


async def _pipe_lines(fd: int) -> AsyncIterator[bytes]:
    """Lines of a pipe as they come. A daemon thread reads, unbuffered: a blocked read cannot be cancelled, and a
    buffer's lock that it held would abort the interpreter at its end.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)  # one piece ahead

    def read() -> None:
        chunk = b"-"
        while chunk:
            wanted.acquire()
            try:
                chunk = os.read(fd, 2**16)
            except OSError:
                chunk = b""
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:
                break  # the loop is closed
        os.close(fd)

    threading.Thread(target=read, name="bfl-async-input", daemon=True).start()
    # The pieces of a line that has not ended, joined once: a long line must not be copied with each of them.
    rest: list[bytes] = []
    rest_bytes = 0
    ended = False
    while not ended:
        chunk = await chunks.get()
        ended = not chunk
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*rest, lines[0]])
            rest, rest_bytes = [], 0
        rest.append(last)
        rest_bytes += len(last)
        if ended or rest_bytes > MAX_LINE_BYTES:
            lines.append(b"".join(rest))
            rest, rest_bytes = [], 0
        for line in lines:
            yield line
        wanted.release()


def result_name(model: str | None, task_id: str) -> str:
    """Return the file name, without suffix, of a result that was given none. Ids are not trusted as names."""
    return f"{slug((model or 'result').replace('.', '-'))}-{slug(task_id)[:12]}"
