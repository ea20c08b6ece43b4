"""Waiting for requests that run together: all of them, or up to the first error."""

from __future__ import annotations

import asyncio

from bfl_async.engine.entry import Entry
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import BFLError
from bfl_async.results.result import Result


async def wait_all(
    entries: list[Entry], deadline: float | None, scheduler: Scheduler, *, stop_at_error: bool
) -> None:
    """Wait for all entries; with `stop_at_error` raise the first error as it comes."""
    loop = asyncio.get_running_loop()
    left = sum(entry.settlement is None for entry in entries)
    failed: list[Entry] = []
    waiter: asyncio.Future[None] = loop.create_future()

    def settled(entry: Entry) -> None:
        nonlocal left
        left -= 1
        if entry.result is None:
            failed.append(entry)
            if stop_at_error and len(failed) == 1:
                # In the step of the failure itself: the slot that it frees is not for the next one of us.
                for other in entries:
                    if other.settlement is None:
                        scheduler.leave(other)
        if (left == 0 or (failed and stop_at_error)) and not waiter.done():
            waiter.set_result(None)

    for entry in entries:
        if entry.settlement is None:
            entry.callbacks[settled] = None
        elif entry.result is None:
            failed.append(entry)
    if left == 0 or (failed and stop_at_error):
        waiter.set_result(None)

    def timed_out() -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if deadline is None else loop.call_at(deadline, timed_out)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
    if stop_at_error:
        if failed:
            failed[0].value()
        if left:
            raise next(entry for entry in entries if entry.settlement is None).timeout_error()


def value_of(entry: Entry | BFLError, scheduler: Scheduler) -> Result | BFLError:
    """Return the result or the error of one place; an entry that the deadline overtook is left."""
    if isinstance(entry, BFLError):
        return entry
    if entry.settlement is None:
        error = entry.timeout_error()
        scheduler.leave(entry)
        return error
    failed = entry.error()
    if failed is not None:
        return failed
    assert entry.result is not None
    return entry.result


def result_of(entry: Entry | BFLError) -> Result:
    """Return the result of one place, or raise its error."""
    assert isinstance(entry, Entry)
    return entry.value()
