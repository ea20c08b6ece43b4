"""The work of the commands for single images. Imported when one of them runs: help does without it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from bfl_async.batch.requests import fields_of
from bfl_async.cli.again import fields_again, free_name
from bfl_async.cli.asked import Asked
from bfl_async.cli.fields import GivenFields
from bfl_async.cli.files import read_prompt
from bfl_async.cli.live_line import live_line
from bfl_async.cli.opening import open_client
from bfl_async.cli.records import read_record, record
from bfl_async.cli.requesting import format_for, format_of, make_request, make_with_input
from bfl_async.cli.saving import name_what_is_left, print_saved, save
from bfl_async.models import ImageRequest
from bfl_async.runtime.files import Digests


async def run_generate(
    prompt: str | None, model: str, fields: GivenFields, asked: Asked, *, no_prompt: bool
) -> int:
    """Send a request, wait for its result and save it."""
    text = read_prompt() if prompt == "-" else prompt
    return await _produce(make_request(model, text, fields, target=asked.target, no_prompt=no_prompt), asked)


async def run_again(
    file: Path, prompt: str | None, model: str | None, given: GivenFields, asked: Asked
) -> int:
    """Make a recorded image again, with the changes that the options say."""
    recorded = read_record(file)
    name = recorded.model if model is None else model
    text = read_prompt() if prompt == "-" else prompt
    fields = fields_again(recorded, name, text, given, new_seed=False)
    target = asked.target
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
    """Send a request, and save, record and print its result."""
    target = asked.target
    target.check(format_of(request.model, getattr(request, "output_format", None)))
    fields = fields_of(request, Digests().of)
    async with AsyncExitStack() as stack:
        left = name_what_is_left(stack, sandbox=asked.sandbox)
        bfl = await open_client(stack, sandbox=asked.sandbox)
        handle = bfl.submit_nowait(request)
        async with live_line([handle], verbose=asked.verbose):
            try:
                result = await handle.result(timeout=asked.timeout)
            except BaseException:
                if not handle.done():
                    left.append(handle)
                raise
            saved = await save(result, target)
        record(saved, fields)
        prompt = fields.get("prompt")
        print_saved(saved, as_json=asked.as_json, prompt=prompt if isinstance(prompt, str) else None)
    return 0


async def run_result(task_id: str, asked: Asked, *, polling_url: str | None, model: str | None) -> int:
    """Wait for a task that was submitted before, and save its result."""
    asked.target.check()
    async with AsyncExitStack() as stack:
        bfl = await open_client(stack, sandbox=asked.sandbox)
        handle = bfl.attach(task_id, polling_url=polling_url, model=model)
        async with live_line([handle], verbose=asked.verbose):
            saved = await save(await handle.result(timeout=asked.timeout), asked.target)
        record(saved, None)
        print_saved(saved, as_json=asked.as_json, prompt=None)
    return 0
