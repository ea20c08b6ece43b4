"""Requests that run together: all of them end, or the first error withdraws the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bfl_async.engine.entry import Entry
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import BFLError, InvalidRequestError
from bfl_async.models import ImageRequest
from bfl_async.models.main_input import sendable_request
from bfl_async.results.result import Result
from bfl_async.results.sheet import Sheet


def checked_requests(
    requests: Iterable[ImageRequest], *, return_exceptions: bool
) -> list[ImageRequest | BFLError]:
    """Return the requests, or their errors, before any of them is admitted.

    Raises:
        InvalidRequestError: One is not a request, and errors are not to be returned.
    """
    checked: list[ImageRequest | BFLError] = []
    for item in requests:
        try:
            checked.append(sendable_request(item))
        except InvalidRequestError as exc:
            if not return_exceptions:
                raise
            checked.append(exc)
    return checked


async def run_together(
    scheduler: Scheduler,
    requests: list[ImageRequest | BFLError],
    *,
    return_exceptions: bool,
    priority: int,
    deadline: float | None,
) -> list[Result] | list[Result | BFLError]:
    """Run requests together; see `AsyncBFL.gather`. Whatever ends it early, no entry is left without an owner."""
    entries: list[Entry | BFLError] = []
    try:
        for one in requests:
            if isinstance(one, BFLError):
                entries.append(one)
                continue
            try:
                entries.append(scheduler.admit(one, priority=priority, deadline=deadline))
            except BFLError as exc:
                # The queue is full, for example.
                if not return_exceptions:
                    raise
                entries.append(exc)
        waiting = [entry for entry in entries if isinstance(entry, Entry)]
        await _wait_all(waiting, deadline, scheduler, stop_at_error=not return_exceptions)
        if return_exceptions:
            return Sheet(_value_of(entry, scheduler) for entry in entries)
        return Sheet(_result_of(entry) for entry in entries)
    except BaseException:
        for entry in entries:
            if isinstance(entry, Entry):
                scheduler.leave(entry)
        raise


async def _wait_all(
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
            entry.callbacks.add(settled)
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


def _value_of(entry: Entry | BFLError, scheduler: Scheduler) -> Result | BFLError:
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


def _result_of(entry: Entry | BFLError) -> Result:
    """Return the result of one place, or raise its error."""
    assert isinstance(entry, Entry)
    return entry.value()
