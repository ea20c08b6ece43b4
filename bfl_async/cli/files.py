"""Names and contents of files that the commands read and write. All of it is checked before anything is paid."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import click

_SLUG_CHARS = 40
_MAX_LINE_BYTES = 1_000_000


class InputError(click.ClickException):
    """An input or a folder that cannot be used."""

    exit_code = 2

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's signature
        """Write the error as one line."""
        click.echo(f"error: {self.message}", err=True)


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
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(
            f"cannot write to the folder {str(folder)!r}: {reason}; choose another with -o"
        ) from exc


def folder_of(output: Path | None) -> Path:
    """Return the folder that an output option writes to: it may name a file, a folder, or nothing."""
    if output is None:
        return Path()
    return output if output.is_dir() else output.parent


def read_prompts(name: str) -> Iterable[str] | AsyncIterator[str]:
    """Return the prompts of a file, one a line, empty lines left out; `-` is standard input.

    A file is read to its end once before, so that a bad line is found before anything is paid. Standard input
    and other pipes can be read only once, and are read as they come.

    Raises:
        InputError: The file cannot be read, is no text, or holds no prompt.
    """
    if name == "-":
        return _pipe_prompts(os.dup(sys.stdin.fileno()), "standard input")
    path = Path(name)
    if path.is_fifo() or path.is_char_device():
        try:
            return _pipe_prompts(os.open(path, os.O_RDONLY), repr(name))
        except OSError as exc:
            raise InputError(f"cannot read {name!r}: {exc.strerror}") from exc
    if sum(1 for _ in _file_prompts(path)) == 0:
        raise InputError(f"{name!r} holds no prompt: write one a line")
    return _file_prompts(path)


def _file_prompts(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES + 1), b""), start=1):
                prompt = decode_prompt(line, number, repr(str(path)))
                if prompt:
                    yield prompt
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise InputError(f"cannot read {str(path)!r}: {reason}") from exc


def decode_prompt(line: bytes, number: int, name: str) -> str:
    """Return the prompt on one line.

    Raises:
        InputError: It is no UTF-8 text.
    """
    if len(line) > _MAX_LINE_BYTES:
        raise InputError(f"line {number} of {name} is longer than {_MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(
            f"line {number} of {name} is not UTF-8 text: give a text file with one prompt a line"
        )
    return text.strip()


async def _pipe_prompts(fd: int, name: str) -> AsyncIterator[str]:
    """Lines of a pipe as they come. A daemon thread reads, unbuffered: a blocked read cannot be cancelled, and a
    buffer's lock that it held would abort the interpreter at its end.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)  # one piece ahead: a pipe's writer is held back by who reads the outcomes

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
    number = 0
    found = False
    rest = b""
    ended = False
    while not ended:
        chunk = await chunks.get()
        ended = not chunk
        *lines, rest = (rest + chunk).split(b"\n")
        if ended or len(rest) > _MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            number += 1
            prompt = decode_prompt(line, number, name)
            if prompt:
                found = True
                yield prompt
        wanted.release()
    if not found:
        raise InputError(f"{name} held no prompt: write one a line")


def slug(text: str) -> str:
    """Return a short file name part of a prompt: lower case letters, digits and hyphens, nothing else."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:_SLUG_CHARS].strip("-") or "image"


def result_name(model: str | None, task_id: str) -> str:
    """Return the file name, without suffix, of a result that was given none. Ids are not trusted as names."""
    return f"{slug((model or 'result').replace('.', '-'))}-{slug(task_id)[:12]}"
