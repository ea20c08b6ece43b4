"""Saving a result, and naming what is left at the server."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from bfl_async.cli.files import result_name
from bfl_async.cli.output import (
    print_json,
    print_line,
    say,
)
from bfl_async.types.held import is_own_id

if TYPE_CHECKING:
    from bfl_async import TaskHandle
    from bfl_async.results.result import Result


async def save_and_print(result: Result, output: Path | None, *, as_json: bool, prompt: str | None) -> None:
    """Save a result, and print its file's name or a JSON object."""
    target = output if output is not None else Path()
    if target.is_dir():
        target /= result_name(result.model, result.task_id)
    try:
        path = await result.save(target)
        others = [await other.save(_numbered(path, number)) for number, other in enumerate(result.others, 2)]
    except BaseException:
        # The image is paid and stays on the server for minutes: name what brings it home.
        say_how_to_attach(result.task_id, result.polling_url, result.model)
        raise
    if not as_json:
        for each in (path, *others):
            print_line(str(each))
        return
    print_json(
        {
            "file": str(path),
            **({"others": [str(other) for other in others]} if others else {}),
            "task_id": result.task_id,
            "model": result.model,
            "prompt": prompt if prompt is not None else result.prompt,
            "seed": result.seed,
            "cost": result.cost,
            "duration": result.duration,
        }
    )


def _numbered(path: Path, number: int) -> Path:
    """Return the path for a further image of the same answer: a number, and no file that exists."""
    names = (path.with_stem(f"{path.stem}-{each}") for each in itertools.count(number))
    return next(name for name in names if not name.exists())


def name_what_is_left(stack: AsyncExitStack, *, sandbox: bool) -> list[TaskHandle | Result]:
    """Return a list for tasks that go on and results that were not saved; each is named once the client has closed.

    Pushed before the client: closing it lets submits on their way end, and these are named as well.
    """
    left: list[TaskHandle | Result] = []

    def say_them() -> None:
        for each in left:
            if each.task_id is not None:
                say_how_to_attach(each.task_id, each.polling_url, each.model)

    if not sandbox:  # an embedded server ends with this run, and its tasks with it
        stack.callback(say_them)
    return left


def say_how_to_attach(task_id: str, polling_url: str | None, model: str | None, *, done: bool = True) -> None:
    """Say how a task that goes on is brought home; `done`: this command waits for it no longer."""
    if is_own_id(task_id):
        say("paid and not saved: the image came with the answer to the request, and no server keeps it")
        return
    what = "paid and not saved; fetch it with" if done else "running; if this is killed, fetch it with"
    url = f" --polling-url {quote(polling_url)}" if polling_url else ""
    name = f" -m {quote(model)}" if model else ""
    say(f"{what}: bfl-async result {quote(task_id)}{name}{url}")
