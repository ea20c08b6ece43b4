"""Every fault of the sandbox against a whole client: one outcome each, nothing paid twice, every slot back.

The faults come from a seed, new in each run. One that fails names the command that brings its faults again.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    AuthenticationError,
    BFLError,
    DownloadError,
    Fixed,
    Flux2Klein4B,
    InsufficientCreditsError,
    Limits,
    Result,
    TaskNotFoundError,
    TaskTimeoutError,
    Timeouts,
    UntrustedURLError,
)
from bfl_async.limiter import learning
from bfl_async.sandbox import DIALS, Sandbox
from tests.web import listening

pytestmark = pytest.mark.timeout(120)

SEED = int(os.environ.get("BFL_FAULT_SEED") or random.SystemRandom().randrange(2**32))
LIMIT = 16
UNKNOWN_S = 0.5
_REFUSED_FOR_EVER = (
    "submit-429",
    "submit-503-before",
)  # certain refusals: only the caller's timeout ends them

Change = Callable[[Sandbox, int], None]
"""Called at each acceptance with the task's number, from 0: changes the account under the client."""


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a 429 teaches be forgotten within a second; it is minutes elsewhere."""
    monkeypatch.setattr(learning, "FIRST_QUIET_S", 0.1)
    monkeypatch.setattr(learning, "_MAX_QUIET_S", 0.5)


@asynccontextmanager
async def replayable(node_id: str) -> AsyncIterator[None]:
    """Say with any failure how to bring its faults again."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(f"replay with: BFL_FAULT_SEED={SEED} python -m pytest -m 'slow or not slow' '{node_id}'")
        raise


def a_request(number: int) -> Flux2Klein4B:
    return Flux2Klein4B(prompt=f"prompt {number}", width=64, height=64)


@asynccontextmanager
async def world(
    dials: Mapping[str, float], *, task_s: float = 20.0, change: Change | None = None
) -> AsyncIterator[tuple[AsyncBFL, Sandbox]]:
    """A client and a sandbox with faults; whatever was done with them, at the end all that is promised holds."""
    tasks_before, threads_before = asyncio.all_tasks(), set(threading.enumerate())

    def service_s(_: str, number: int) -> float:
        if change is not None:
            change(sandbox, number)
        return 3.0  # divided by the speed: a few polls go by, and `UNKNOWN_S` is longer

    sandbox = Sandbox(limit=LIMIT, service_s=service_s, speed=20, seed=SEED, faults=dials)
    with_webhook = any(dial.startswith("webhook") for dial in dials)
    async with sandbox, AsyncExitStack() as stack:
        bfl = AsyncBFL(
            sandbox.key,
            base_url=sandbox.url,
            limits=Limits(account=LIMIT, unknown_s=UNKNOWN_S),
            polling=Fixed(0.04),
            timeouts=Timeouts(connect=2, reply=0.4, task=task_s, close=2),
            webhook=await stack.enter_async_context(listening(poll_s=0.2)) if with_webhook else None,
        )
        async with bfl:
            yield bfl, sandbox
        paid = [task.prompt for task in sandbox.tasks.values()]
        assert len(paid) == len(set(paid)) == sandbox.statistics().accepted  # no request was sent twice
        if change is None:  # the account is ours alone: every 429 is one of the dial's
            assert sandbox.statistics().refused_429 == sandbox.faults.fired["submit-429"]
        assert [request for request in sandbox.foreign.requests if "x-key" in request.headers] == []
        assert sandbox.statistics().downloads_with_key == 0
    # Now that the server's own coroutines have ended as well:
    assert asyncio.all_tasks() - tasks_before == set()
    # The sandbox draws in threads of the loop's executor, which the loop keeps.
    threads = set(threading.enumerate()) - threads_before
    assert [
        thread.name
        for thread in threads
        if not thread.name.startswith(("asyncio_", "uvloop_", "AnyIO worker thread"))
    ] == []


class Run(NamedTuple):
    """What came of one set of requests."""

    results: list[Result]
    errors: list[BFLError]
    unread: list[DownloadError]
    sandbox: Sandbox


async def run_requests(
    bfl: AsyncBFL, count: int, *, timeout: float | None
) -> tuple[list[Result], list[BFLError]]:
    """Half of the requests by hand and half through a stream: the results, and the errors."""
    half = count // 2
    results: list[Result] = []
    errors: list[BFLError] = []

    async def generate(number: int) -> None:
        try:
            results.append(await bfl.generate(a_request(number), timeout=timeout))
        except BFLError as exc:
            errors.append(exc)

    async def stream() -> None:
        indexes = []
        requests = (a_request(number) for number in range(half, count))
        async with bfl.stream(requests, timeout=timeout) as outcomes:
            async for outcome in outcomes:
                indexes.append(outcome.index)
                if outcome.error is None:
                    results.append(outcome.unwrap())
                else:
                    errors.append(outcome.error)
        assert sorted(indexes) == list(range(count - half))

    await asyncio.gather(stream(), *(generate(number) for number in range(half)))
    return results, errors


async def read(result: Result, timeout: float) -> DownloadError | None:
    """Download once: a whole image, or the error that says why not."""
    try:
        data = await result.read(timeout=timeout)
    except DownloadError as exc:
        return exc
    assert data.startswith(b"\xff\xd8\xff")
    return None


async def check_slots_come_back(bfl: AsyncBFL, count: int) -> None:
    """Nothing stays queued or in flight, held slots run out in their time, and each request has one end."""
    assert await bfl.drain(timeout=5)
    async with asyncio.timeout(UNKNOWN_S + 2):
        while bfl.statistics().slots_taken:  # noqa: ASYNC110 - a slot that runs out sets no event
            await asyncio.sleep(0.02)
    counts = bfl.statistics()
    assert counts.queued == counts.submitting == counts.active == 0
    assert all(pool.queued == pool.taken == 0 for pool in counts.pools.values())
    ends = counts.ready, counts.moderated, counts.failed, counts.ambiguous, counts.withdrawn
    assert sum(ends) == count


async def hold_the_contract(
    dials: Mapping[str, float],
    count: int,
    *,
    download_s: float | None = None,
    task_s: float = 20.0,
    timeout: float | None = None,
    change: Change | None = None,
) -> Run:
    """Let `count` requests meet the faults: each gets one outcome, and the accounts of both sides agree.

    Args:
        download_s: Download each result, within so many seconds; None: none of them.
        timeout: Of each request; a caller may then have left before the end that is counted.
    """
    async with world(dials, task_s=task_s, change=change) as (bfl, sandbox):
        results, errors = await run_requests(bfl, count, timeout=timeout)
        assert len(results) + len(errors) == count
        unread: list[DownloadError] = []
        if download_s is not None:
            ends = await asyncio.gather(*(read(result, download_s) for result in results))
            unread = [end for end in ends if end is not None]
        await check_slots_come_back(bfl, count)
        counts = bfl.statistics()
        ambiguous = [error for error in errors if isinstance(error, AmbiguousSubmitError)]
        assert (counts.ready, counts.ambiguous) == (len(results), len(ambiguous))
        assert len({result.task_id for result in results}) == len(results)
        # Every accepted task has come back under its name, or is one of those reported as ambiguous.
        named = {result.task_id for result in results} | {error.task_id for error in errors}
        followed = [task for task in sandbox.tasks.values() if task.id in named]
        lost = len(sandbox.tasks) - len(followed)
        assert lost <= len(ambiguous)
        assert counts.submitted == len(followed)
        # Where a delivery told what a lost answer would have, it did not tell the cost.
        untold = {result.task_id for result in results if result.cost is None}
        told = [task.cost for task in followed if task.id not in untold]
        assert counts.credits_spent == pytest.approx(sum(told))
        assert not untold or any(dial.startswith("webhook") for dial in dials)
    return Run(results, errors, unread, sandbox)


def has_downloads(dial: str) -> bool:
    return dial.startswith("image") or dial == "foreign-sample"


@pytest.mark.slow
@pytest.mark.parametrize("dial", DIALS)
async def test_a_frequent_fault_breaks_no_promise(dial: str, request: pytest.FixtureRequest) -> None:
    """Invariants 1, 2, 3, 5, 8 and 9, with one fault at one opportunity of five."""
    async with replayable(request.node.nodeid):
        run = await hold_the_contract(
            # Time for ten failures in a row of one task, which then is no luck any more.
            {dial: 0.2},
            50,
            task_s=60,
            download_s=30 if has_downloads(dial) else None,
        )
        assert run.sandbox.faults.fired[dial] > 0
        if not dial.startswith("submit") and dial not in ("poll-redirect-foreign", "foreign-polling-url"):
            assert (len(run.results), run.errors, run.unread) == (50, [], [])  # what is paid comes home


@pytest.mark.slow
@pytest.mark.parametrize("dial", DIALS)
async def test_a_fault_that_stays_breaks_no_promise(dial: str, request: pytest.FixtureRequest) -> None:
    """The same, with a fault that never passes: every wait has an end."""
    async with replayable(request.node.nodeid):
        run = await hold_the_contract(
            {dial: 1.0},
            6,
            download_s=1 if has_downloads(dial) else None,
            task_s=7 if dial == "poll-not-found" else 1.5,  # the row of answers that is believed takes 5 s
            timeout=2 if dial in _REFUSED_FOR_EVER else None,
        )
        assert run.sandbox.faults.fired[dial] > 0
        ends = {type(error) for error in (*run.errors, *run.unread)}
        expected = end_of(dial)
        assert ends == ({expected} if expected is not None else set())
        assert len(run.errors) + len(run.unread) == (6 if expected is not None else 0)


def end_of(dial: str) -> type[BFLError] | None:
    """How a request ends whose fault never passes; None: with its image."""
    if dial in _REFUSED_FOR_EVER:
        return TaskTimeoutError
    if dial.startswith("submit"):
        return AmbiguousSubmitError
    if dial in ("poll-state", "poll-body-422", "poll-body-503", "poll-unknown-status"):
        return None  # the status is there for who looks
    if dial in ("poll-redirect-foreign", "foreign-polling-url"):
        return UntrustedURLError
    if dial.startswith("webhook"):
        return None  # the poll is there
    if dial == "poll-not-found":
        return TaskNotFoundError
    if dial.startswith("poll"):
        return TaskTimeoutError
    if dial in ("image-slow", "image-redirect-foreign", "foreign-sample"):
        return None
    return DownloadError


async def test_all_faults_together_break_no_promise(request: pytest.FixtureRequest) -> None:
    """Each of them now and then."""
    async with replayable(request.node.nodeid):
        await hold_the_contract(dict.fromkeys(DIALS, 0.015), 80, download_s=10)


async def test_callers_who_leave_amid_faults_break_no_promise(request: pytest.FixtureRequest) -> None:
    """Invariant 1: whoever is cancelled, and wherever its request stands, slots follow the server."""
    rng = random.Random(SEED)
    async with (
        replayable(request.node.nodeid),
        world(dict.fromkeys(DIALS, 0.01)) as (bfl, _),
    ):
        callers = [asyncio.create_task(bfl.generate(a_request(number))) for number in range(80)]
        for caller in callers:
            if rng.random() < 0.5:
                asyncio.get_running_loop().call_later(rng.random() * 0.5, caller.cancel)
        ends = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(end) for end in ends if not isinstance(end, BFLError)} <= {
            Result,
            asyncio.CancelledError,
        }
        await check_slots_come_back(bfl, 80)


async def test_closing_amid_faults_ends_everything(request: pytest.FixtureRequest) -> None:
    """Invariant 9: everybody gets an end within `Timeouts.close`, and nothing runs afterwards."""
    async with (
        replayable(request.node.nodeid),
        world(dict.fromkeys(DIALS, 0.02)) as (bfl, sandbox),
    ):
        callers = [asyncio.create_task(bfl.generate(a_request(number))) for number in range(80)]
        await sandbox.wait_accepted(20)
        async with asyncio.timeout(3):
            await bfl.aclose()
            ends = await asyncio.gather(*callers, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, Result | BFLError)] == []
        counts = bfl.statistics()
        assert counts.ready + counts.failed + counts.ambiguous + counts.withdrawn == 80


def lower_the_limit(sandbox: Sandbox, number: int) -> None:
    if number == 20:
        sandbox.limit = 5


def run_out_of_credits(sandbox: Sandbox, number: int) -> None:
    if number == 20:
        sandbox.credits = 7.0


def revoke_the_key(sandbox: Sandbox, number: int) -> None:
    def restore() -> None:
        sandbox.revoked = False

    if number == 20:
        sandbox.revoked = True
        asyncio.get_running_loop().call_later(1, restore)


def use_the_account_elsewhere(sandbox: Sandbox, number: int) -> None:
    if number == 20:
        sandbox.foreign_active = sandbox.limit - 2
    elif number == 30:
        sandbox.foreign_active = 0


CHANGES: dict[Change, type[BFLError] | None] = {
    lower_the_limit: None,
    run_out_of_credits: InsufficientCreditsError,
    revoke_the_key: AuthenticationError,
    use_the_account_elsewhere: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_the_account_breaks_no_promise(
    change: Change, request: pytest.FixtureRequest
) -> None:
    """The same, while the account changes under a running client."""
    async with replayable(request.node.nodeid):
        run = await hold_the_contract({}, 50, change=change)
        refused = CHANGES[change]
        assert {type(error) for error in run.errors} == ({refused} if refused is not None else set())
        assert len(run.results) == run.sandbox.statistics().accepted
