"""The work of the commands for single images. Imported when one of them runs: help does without it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import click

from bfl_async.batch.requests import fields_of
from bfl_async.cli.again import fields_again, free_name
from bfl_async.cli.asked import Asked
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.fields import GivenFields
from bfl_async.cli.files import read_prompt
from bfl_async.cli.input_images import say_what_images_are_for
from bfl_async.cli.live_line import live_line
from bfl_async.cli.opening import open_client
from bfl_async.cli.output import print_json, print_line, say
from bfl_async.cli.reaching import Reaching
from bfl_async.cli.records import read_record, record
from bfl_async.cli.requesting import (
    check_model,
    format_for,
    format_of,
    make_request,
    make_with_input,
    say_size,
    variations_of,
)
from bfl_async.cli.running import say_failure
from bfl_async.cli.saving import (
    Left,
    Saved,
    name_what_is_left,
    open_file,
    print_saved,
    save,
    say_how_to_fetch,
)
from bfl_async.cli.submitted import Submitted, read_submitted
from bfl_async.client.handle import TaskHandle
from bfl_async.errors import BFLError, RefusedError
from bfl_async.models import ImageRequest
from bfl_async.results.result import Result
from bfl_async.runtime.files import Digests
from bfl_async.types.common import JSON
from bfl_async.types.held import is_own_id


async def run_generate(
    prompt: str | None,
    model: str,
    fields: GivenFields,
    asked: Asked,
    *,
    images: Sequence[str],
    count: int,
    no_prompt: bool,
) -> int:
    """Send a request, or several variations of it, wait for the results and save them."""
    check_model(model)
    target = replace(asked.target, count=count)
    text = read_prompt() if prompt == "-" else prompt
    request = make_request(model, text, fields, target=target, images=images, no_prompt=no_prompt)
    say_what_images_are_for(model, images)
    return await _produce(request, replace(asked, target=target))


async def run_again(
    file: Path,
    prompt: str | None,
    model: str | None,
    given: GivenFields,
    asked: Asked,
    *,
    images: Sequence[str],
    count: int,
) -> int:
    """Make a recorded image again, with the changes that the options say."""
    recorded = read_record(file)
    name = recorded.model if model is None else model
    if model is not None:
        check_model(model)
    text = read_prompt() if prompt == "-" else prompt
    fields = fields_again(recorded, name, text, given, images=images, new_seed=count > 1)
    target = replace(asked.target, count=count)
    if not target.is_given:
        keeps_format = "output_format" not in given.of(name) and name == recorded.model
        target = replace(target, folder=file.parent, name=free_name(file, keeps_format=keeps_format))
    else:
        # The suffix that is given now counts, unless an option says the format.
        fields = {key: fields[key] for key in fields if key != "output_format" or key in given.of(name)}
    if (wanted := format_for(name, target, fields)) is not None:
        fields["output_format"] = wanted
    request = make_with_input(name, fields, allow_unknown=given.allow_unknown)
    return await _produce(request, replace(asked, target=target))


async def _produce(request: ImageRequest, asked: Asked) -> int:
    """Send a request, or variations of it, and save, record and print each result."""
    target = asked.target
    target.check(format_of(request.model, getattr(request, "output_format", None)))
    say_size(request)
    requests = variations_of(request, target.count)
    kept = [fields_of(each, Digests().of) for each in requests]
    async with AsyncExitStack() as stack:
        left = name_what_is_left(stack, target, sandbox=asked.sandbox)
        reaching = Reaching()
        bfl = await open_client(stack, sandbox=asked.sandbox, observer=reaching)
        handles = [bfl.submit_nowait(each) for each in requests]
        ended = await _finish_all(handles, kept, asked, left, reaching)
    return _report(ended, asked)


async def _finish_all(
    handles: Sequence[TaskHandle],
    kept: Sequence[Mapping[str, JSON] | None],
    asked: Asked,
    left: Left,
    reaching: Reaching,
) -> list[Saved | BaseException]:
    """Wait for tasks and save their results; return these, or errors in their place."""
    async with live_line(handles, reaching, verbose=asked.verbose):
        return await asyncio.gather(
            *(
                _finish(handle, fields, number, asked, left)
                for number, (handle, fields) in enumerate(zip(handles, kept, strict=True), 1)
            ),
            return_exceptions=True,
        )


async def _finish(
    handle: TaskHandle,
    fields: Mapping[str, JSON] | None,
    number: int,
    asked: Asked,
    left: Left,
) -> Saved:
    """Wait for a result; save, record and print it."""
    try:
        result = await handle.result(timeout=asked.timeout)
    except BaseException:
        if not handle.done():
            left.append((handle, number))
        raise
    return await _save(result, fields, asked, number)


async def _save(result: Result, fields: Mapping[str, JSON] | None, asked: Asked, number: int = 1) -> Saved:
    saved = await save(result, asked.target, number=number)
    record(saved, fields)
    prompt = (fields or {}).get("prompt")
    print_saved(saved, as_json=asked.as_json, prompt=prompt if isinstance(prompt, str) else None)
    if asked.opens:
        open_file(saved.path)
    return saved


def _code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a request's error; a 404 means that the server does not know its model."""
    unknown = isinstance(error, RefusedError) and error.status_code == HTTPStatus.NOT_FOUND
    return ExitCode.USAGE if unknown else exit_code_of(error)


def _report(ended: Sequence[Saved | BaseException], asked: Asked) -> int:
    """Report the seeds of several results and the errors of those that failed; return the exit code."""
    errors = [one for one in ended if isinstance(one, BaseException)]
    saved = [one for one in ended if isinstance(one, Saved)]
    if len(ended) > 1 and saved:
        _say_seeds(saved, in_order=not errors and (bool(asked.target.name) or asked.as_json))
    for number, error in enumerate(ended, 1):
        if isinstance(error, Saved):
            continue
        if not isinstance(error, BFLError):
            raise error
        say_failure(error, f"image {number}: " if len(ended) > 1 else "")
    if not errors:
        return ExitCode.DONE
    return _code_of(errors[0]) if len(errors) == len(ended) else ExitCode.PARTIAL


def _say_seeds(saved: Sequence[Saved], *, in_order: bool) -> None:
    """Say of which seed each image is.

    Args:
        in_order: The files have numbers in the order of the seeds, or each is printed with its own.
    """
    seeds = ["not stated" if one.result.seed is None else str(one.result.seed) for one in saved]
    if in_order:
        say(f"seeds: {', '.join(seeds)}")
        return
    for seed, one in zip(seeds, saved, strict=True):
        say(f"seed {seed}: {one.path}")


async def run_submit(
    prompt: str | None,
    model: str,
    fields: GivenFields,
    *,
    images: Sequence[str],
    no_prompt: bool,
    as_json: bool,
) -> int:
    """Send a request, and print its task as soon as the server has accepted it."""
    check_model(model)
    text = read_prompt() if prompt == "-" else prompt
    request = make_request(model, text, fields, images=images, no_prompt=no_prompt)
    say_what_images_are_for(model, images)
    say_size(request)
    kept = fields_of(request, Digests().of)
    async with AsyncExitStack() as stack:
        reaching = Reaching()
        bfl = await open_client(stack, sandbox=False, observer=reaching)
        handle = bfl.submit_nowait(request)
        async with live_line([handle], reaching, verbose=False):
            await handle.accepted()
        task_id = handle.task_id
        assert task_id is not None
        if is_own_id(task_id):
            # Some hosts answer with the image itself, which nobody could fetch later.
            say("the image came with the answer, and is saved at once")
            await _save(await handle.result(), kept, Asked.by_default(as_json=as_json))
            return ExitCode.DONE
        task = Submitted(task_id, handle.polling_url, request.model, handle.cost, kept)
        if as_json:
            print_json(task.facts())
        else:
            print_line(task_id)
            say_how_to_fetch(task_id, task.polling_url, task.model)
    return ExitCode.DONE


async def run_result(task_id: str, asked: Asked, *, polling_url: str | None, model: str | None) -> int:
    """Wait for a task that was submitted before, or for those of standard input, and save the results."""
    if task_id == "-" and (polling_url is not None or model is not None):
        raise click.UsageError("--polling-url and --model are of one task: leave them out with -")
    tasks = read_submitted() if task_id == "-" else [Submitted(task_id, polling_url, model)]
    asked = replace(asked, target=replace(asked.target, count=len(tasks)))
    asked.target.check()
    async with AsyncExitStack() as stack:
        reaching = Reaching()
        bfl = await open_client(stack, sandbox=asked.sandbox, observer=reaching)
        handles = [
            bfl.attach(task.task_id, polling_url=task.polling_url, model=task.model, cost=task.cost)
            for task in tasks
        ]
        ended = await _finish_all(handles, [task.fields for task in tasks], asked, [], reaching)
    return _report(ended, asked)
