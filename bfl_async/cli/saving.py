"""Saving a result, and naming what is left at the server."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TypeAlias

import click

from bfl_async.batch.files import name_new
from bfl_async.cli.output import (
    print_json,
    print_line,
    say,
)
from bfl_async.cli.target import Target
from bfl_async.errors import SaveError
from bfl_async.results.download import save_error
from bfl_async.results.suffixes import is_as_named
from bfl_async.results.writing import Beside
from bfl_async.types.held import is_own_id

if TYPE_CHECKING:
    from bfl_async import TaskHandle
    from bfl_async.results.result import Result

# Seconds for the download of a result.
_DOWNLOAD_S = 60.0


@dataclass(frozen=True, slots=True)
class Saved:
    """A result whose file is written.

    Attributes:
        result: What was saved.
        path: Its file.
        sha256: The digest of its bytes, in hexadecimal.
        size: How many bytes they are.
        others: Further images of the same answer, of hosts that make several.
    """

    result: Result
    path: Path
    sha256: str
    size: int
    others: tuple[Saved, ...] = ()


async def save(result: Result, target: Target, *, number: int = 1) -> Saved:
    """Save a result, and the further images of its answer.

    Args:
        number: Which of the target's results it is, from 1.
    Raises:
        DownloadError, SaveError: It was not saved. How to fetch it is written to stderr.
    """
    try:
        first = await _save_one(result, target, number, force=target.force)
        # A further image takes the next free number.
        others = [await _save_one(other, target, number, force=False) for other in result.others]
    except BaseException:
        # The image is paid and stays on the server for minutes: name what brings it home.
        say_how_to_attach(result.task_id, result.polling_url, result.model, target.option(number))
        raise
    return replace(first, others=tuple(others))


async def _save_one(result: Result, target: Target, number: int, *, force: bool) -> Saved:
    download = await result._fetch(
        _DOWNLOAD_S, Beside(target.folder / (target.name or "result"), result.task_id)
    )
    try:
        path = target.path_of(result, download.suffix, number)
        part, sha256 = await asyncio.to_thread(download.finish, hand_over=True)
        path = await asyncio.to_thread(
            _name, part, path, sha256, result.task_id, force=force, is_ours=not target.name
        )
    finally:
        # What was not moved to its name is removed, whatever has failed.
        result._discard(download)
    if not is_as_named(target.name, download.suffix):
        say(f"warning: the result is not what the name {target.name!r} says, and is saved as {str(path)!r}")
    return Saved(result, path, sha256, download.size)


def _name(part: Path, path: Path, sha256: str, task_id: str, *, force: bool, is_ours: bool) -> Path:
    """Give a file that is whole its name; one that exists is replaced by force alone, and else a number is added.

    Args:
        is_ours: The name is made of the task's id, so that a file with these very bytes is this result.
    """
    try:
        if not force:
            return path.parent / name_new(
                path.parent, part, path.name, sha256, adopt=is_ours, task_id=task_id
            )
        part.replace(path)
    except SaveError as exc:
        raise save_error(
            path, exc.__cause__ if isinstance(exc.__cause__, Exception) else exc, task_id
        ) from exc
    except (OSError, ValueError) as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise save_error(path, exc, task_id) from exc
    return path


def print_saved(saved: Saved, *, as_json: bool, prompt: str | None) -> None:
    """Print the names of a result's files, or a JSON object."""
    result = saved.result
    if not as_json:
        for each in (saved, *saved.others):
            print_line(str(each.path))
        return
    print_json(
        {
            "file": str(saved.path),
            **({"others": [str(other.path) for other in saved.others]} if saved.others else {}),
            "task_id": result.task_id,
            "model": result.model,
            "prompt": prompt if prompt is not None else result.prompt,
            "seed": result.seed,
            "cost": result.cost,
            "duration": result.duration,
        }
    )


def open_file(path: Path) -> None:
    """Open a file with the system's viewer; where there is none, that is a warning."""
    # Absolute, so that no name is taken for an option.
    if click.launch(str(path.absolute())):
        say(f"warning: no viewer could be started for {str(path)!r}")


Left: TypeAlias = "list[tuple[TaskHandle | Result, int]]"
"""Tasks that go on and results that were not saved, each with its number among the target's results."""


def name_what_is_left(stack: AsyncExitStack, target: Target, *, sandbox: bool) -> Left:
    """Return a list for what is left of a command's work; each is named once the client has closed.

    Pushed before the client: closing it lets submits on their way end, and these are named as well.
    """
    left: Left = []

    def say_them() -> None:
        for each, number in left:
            if each.task_id is not None:
                say_how_to_attach(each.task_id, each.polling_url, each.model, target.option(number))

    if not sandbox:  # an embedded server ends with this run, and its tasks with it
        stack.callback(say_them)
    return left


def say_how_to_attach(task_id: str, polling_url: str | None, model: str | None, output: str) -> None:
    """Say how a task that goes on is brought home; `output` is the option that says where its image goes."""
    if is_own_id(task_id):
        say("paid and not saved: the image came with the answer to the request, and no server keeps it")
        return
    say(f"paid and not saved; fetch it with: {_command(task_id, polling_url, model)}{output}")


def say_how_to_fetch(task_id: str, polling_url: str | None, model: str | None) -> None:
    """Say how a task that was submitted is brought home."""
    say(f"accepted; fetch it with: {_command(task_id, polling_url, model)}")


def _command(task_id: str, polling_url: str | None, model: str | None) -> str:
    url = f" --polling-url {quote(polling_url)}" if polling_url else ""
    name = f" -m {quote(model)}" if model else ""
    return f"bfl-async result {quote(task_id)}{name}{url}"
