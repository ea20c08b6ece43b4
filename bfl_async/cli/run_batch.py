"""The batch command's work: a stream of prompts, saved as they come home."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path

from bfl_async import AsyncBFL, TaskHandle
from bfl_async.cli.app import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    exit_code_of,
    say,
)
from bfl_async.cli.files import slug
from bfl_async.cli.screen import Screen, open_screen
from bfl_async.errors import BFLError, RefusedError, TaskModeratedError
from bfl_async.models import ImageRequest
from bfl_async.result import Result
from bfl_async.types import Outcome

_STOPS = (401, 402, 403, 404)  # the next prompt would meet the same: key, credits, model
_SAVING = 16  # results that are downloaded and written at a time


class _Run:
    """One run: what is shared between the source, the savers and the screen."""

    def __init__(self, output: Path, make: Callable[[str], ImageRequest], screen: Screen) -> None:
        self.output = output
        self.make = make
        self.screen = screen
        self.prompts: dict[int, str] = {}  # by index, until the outcome is printed
        self.unsaved: dict[int, Result] = {}  # by index: results whose file is not written
        self.counts: Counter[str] = Counter()
        self.stopped_by: BFLError | None = None  # the account's refusal: nothing more is sent

    async def source(self, prompts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[ImageRequest]:
        """Requests, until the account refuses."""
        index = 0
        async for prompt in _each(prompts):
            if self.stopped_by is not None:
                return
            self.prompts[index] = prompt
            index += 1
            yield self.make(prompt)

    async def finish(self, outcome: Outcome) -> None:
        """Save an outcome's image and print its line."""
        prompt = self.prompts.pop(outcome.index)
        error: BFLError | None = outcome.error
        line: dict[str, object] = {
            "index": outcome.index, "prompt": prompt, "task_id": outcome.task_id, "status": "ready"
        }  # fmt: skip
        if outcome.result is not None:
            line |= {"seed": outcome.result.seed, "cost": outcome.result.cost}
            try:
                path = await outcome.result.save(self.output / f"{outcome.index + 1:05}-{slug(prompt)}")
                line["file"] = str(path)
                del self.unsaved[outcome.index]
            except BFLError as exc:
                error = exc
        if error is not None:
            line["status"] = "moderated" if isinstance(error, TaskModeratedError) else "failed"
            line["error"] = {"type": type(error).__name__, "message": str(error)}
            if isinstance(error, RefusedError) and error.status_code in _STOPS:
                self.stopped_by = error
        status = str(line["status"])
        self.counts[status] += 1
        self.screen.print_line(json.dumps(line, ensure_ascii=False))
        self.screen.show(
            self.counts, prompt if error is None else f"{prompt[:60]}: {error}", failed=error is not None
        )


async def _each(prompts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(prompts, AsyncIterable):
        async for prompt in prompts:
            yield prompt
    else:
        for prompt in prompts:
            yield prompt


async def run_batch(
    bfl: AsyncBFL,
    prompts: Iterable[str] | AsyncIterable[str],
    output: Path,
    make: Callable[[str], ImageRequest],
    left: list[TaskHandle | Result],
    *,
    timeout: float | None = None,
) -> int:
    """Run all prompts; return the exit code. An interrupted run puts what goes on without it into `left`."""
    began = time.monotonic()
    with open_screen() as screen:
        run = _Run(output, make, screen)
        saving: set[asyncio.Task[None]] = set()
        async with bfl.stream(run.source(prompts), timeout=timeout) as outcomes:
            try:
                async for outcome in outcomes:
                    if outcome.result is not None:
                        run.unsaved[outcome.index] = outcome.result
                    saving.add(asyncio.create_task(run.finish(outcome)))
                    if len(saving) >= _SAVING:
                        await asyncio.wait(saving, return_when=asyncio.FIRST_COMPLETED)
                    saving = await _collect(saving, wait=False)
                await _collect(saving, wait=True)
            except BaseException:
                left.extend(outcomes.in_flight)
                for task in saving:
                    task.cancel()
                await asyncio.gather(*saving, return_exceptions=True)
                left.extend(run.unsaved.values())
                _report(run, bfl, time.monotonic() - began)
                left.extend([outcome.result for outcome in outcomes.waiting if outcome.result is not None])
                raise
    sys.stdout.flush()
    return _report(run, bfl, time.monotonic() - began)


async def _collect(saving: set[asyncio.Task[None]], *, wait: bool) -> set[asyncio.Task[None]]:
    """Return those still at work; raise what one of the others met."""
    if wait and saving:
        await asyncio.wait(saving)
    done = {task for task in saving if task.done()}
    for task in done:
        task.result()
    return saving - done


def _report(run: _Run, bfl: AsyncBFL, seconds: float) -> int:
    total = sum(run.counts.values())
    ready = run.counts["ready"]
    parts = ", ".join(f"{count} {status}" for status, count in sorted(run.counts.items()))
    spent = bfl.statistics().credits_spent
    where = f"; images in {run.output}" if ready else ""
    say(f"{total} prompts in {seconds:.1f} s: {parts or 'none done'}; {spent:g} credits{where}")
    if run.stopped_by is not None:
        say(f"stopped: {run.stopped_by}")
        return exit_code_of(run.stopped_by)
    if ready == total:
        return 0
    return EXIT_PARTIAL if ready else EXIT_FAILED
