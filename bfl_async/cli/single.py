"""The work of the commands for single images. Imported when one of them runs: help does without it."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bfl_async.cli.fields import GivenFields
from bfl_async.cli.files import read_prompt
from bfl_async.cli.live_line import live_line
from bfl_async.cli.opening import open_client
from bfl_async.cli.requesting import format_of, make_request
from bfl_async.cli.saving import name_what_is_left, print_saved, save
from bfl_async.cli.target import Target


async def run_generate(
    prompt: str | None,
    model: str,
    fields: GivenFields,
    target: Target,
    *,
    timeout: float | None,
    as_json: bool,
    sandbox: bool,
    no_prompt: bool,
    verbose: bool,
) -> int:
    """Send a request, wait for its result and save it."""
    asked = read_prompt() if prompt == "-" else prompt
    wanted = make_request(model, asked, fields, target=target, no_prompt=no_prompt)
    target.check(format_of(model, getattr(wanted, "output_format", None)))
    async with AsyncExitStack() as stack:
        left = name_what_is_left(stack, sandbox=sandbox)
        bfl = await open_client(stack, sandbox=sandbox)
        handle = bfl.submit_nowait(wanted)
        async with live_line([handle], verbose=verbose):
            try:
                result = await handle.result(timeout=timeout)
            except BaseException:
                if not handle.done():
                    left.append(handle)
                raise
            saved = await save(result, target)
        print_saved(saved, as_json=as_json, prompt=asked)
    return 0


async def run_result(
    task_id: str,
    target: Target,
    *,
    polling_url: str | None,
    model: str | None,
    timeout: float | None,
    as_json: bool,
    sandbox: bool,
    verbose: bool,
) -> int:
    """Wait for a task that was submitted before, and save its result."""
    target.check()
    async with AsyncExitStack() as stack:
        bfl = await open_client(stack, sandbox=sandbox)
        handle = bfl.attach(task_id, polling_url=polling_url, model=model)
        async with live_line([handle], verbose=verbose):
            saved = await save(await handle.result(timeout=timeout), target)
        print_saved(saved, as_json=as_json, prompt=None)
    return 0
