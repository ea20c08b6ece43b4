"""Streams and gather: one outcome each, bounded, in order where asked."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Iterator

import pytest

from bfl_async import (
    ClientClosedError,
    ConfigError,
    FluxDev,
    ImageRequest,
    InvalidRequestError,
    Outcome,
    TaskError,
    TaskFailedError,
    TaskTimeoutError,
)
from bfl_async.types import Reply
from tests.fake import FakeAPI, prompts, reply, spin, status

pytestmark = pytest.mark.looptime(start=0)


def requests(count: int) -> list[ImageRequest]:
    return [FluxDev(prompt=str(n)) for n in range(count)]


class Source:
    """Counts what was read of it."""

    def __init__(self, count: int = 10**9) -> None:
        self.read = 0
        self.count = count
        self.closed = False

    def __iter__(self) -> Iterator[ImageRequest]:
        while self.read < self.count:
            self.read += 1
            yield FluxDev(prompt=str(self.read - 1))

    async def slow(self) -> AsyncIterator[ImageRequest]:
        try:
            for request in self:
                await asyncio.sleep(0.01)
                yield request
        finally:
            self.closed = True


async def test_one_outcome_for_each_request_as_they_complete() -> None:
    """Invariant 8: N requests in, exactly N outcomes out, whatever breaks."""
    api = FakeAPI(limit=4, service_s=lambda n: (n * 7 % 5) + 0.5)
    async with api.client() as bfl:
        api.script_submits(None, reply(422, {"detail": "no"}), reply(500, b""), None, reply(429, b""))
        api.script_polls(reply(200, status("Error")), None, reply(500, b""))
        outcomes = [outcome async for outcome in bfl.stream(requests(40))]
        assert sorted(outcome.index for outcome in outcomes) == list(range(40))
        assert [outcome.index for outcome in outcomes] != list(range(40))
        assert sum(not outcome.ok for outcome in outcomes) == 3
        now = bfl.statistics()
        assert now.ready + now.moderated + now.failed + now.ambiguous + now.withdrawn == 40


async def test_ordered_stream_keeps_the_input_order() -> None:
    """`ordered=True` yields in input order, errors in their places."""
    api = FakeAPI(limit=4, service_s=lambda n: (n * 7 % 5) + 0.5)
    async with api.client() as bfl:
        mixed: list[object] = [*requests(5), "not a request", *requests(5)]
        outcomes = [outcome async for outcome in bfl.stream(mixed, ordered=True)]  # type: ignore[arg-type]  # on purpose
        assert [outcome.index for outcome in outcomes] == list(range(11))
        assert isinstance(outcomes[5].error, InvalidRequestError)
        assert outcomes[5].request == "not a request"
        with pytest.raises(InvalidRequestError):
            outcomes[5].unwrap()
        assert outcomes[6].unwrap().task_id == outcomes[6].task_id


@pytest.mark.parametrize("ordered", [False, True])
async def test_consumer_that_stops_stops_the_submits(ordered: bool) -> None:
    """Invariant 9: at most `window` requests are read and not yet handed out; default twice the slots."""
    api = FakeAPI(limit=3, service_s=1)
    source = Source()
    async with api.client() as bfl, bfl.stream(source, ordered=ordered) as outcomes:
        await asyncio.sleep(60)
        assert source.read == 6
        assert len(api.posts) == 6
        for taken in range(1, 10):
            await anext(outcomes)
            await asyncio.sleep(10)
            assert source.read == 6 + taken
    assert bfl.statistics().slots_taken == 0


@pytest.mark.parametrize("window", [None, 24])
async def test_source_is_read_one_by_one_once_the_window_is_full(window: int | None) -> None:
    """Each outcome that is handed out makes room for one request, whoever chose the window."""
    api = FakeAPI(limit=12, service_s=1)
    source = Source()
    async with api.client() as bfl, bfl.stream(source, window=window) as outcomes:
        await asyncio.sleep(0.6)
        read: list[int] = []
        for _ in range(12):
            await anext(outcomes)
            await spin()
            read.append(source.read)
            assert bfl.statistics().slots_taken == 12
        assert read == list(range(25, 37))


async def test_first_requests_leave_before_a_wide_window_is_read() -> None:
    """To read and check two thousand requests takes time, in which the first thousand slots would idle."""
    source = Source()
    read: list[int] = []  # as each POST left

    class Noting(FakeAPI):
        async def submit(self, path: str, body: bytes) -> Reply:
            read.append(source.read)
            return await super().submit(path, body)

    async with Noting(limit=1_000, submit_s=0).client() as bfl, bfl.stream(source):
        await asyncio.sleep(1)
    assert len(read) == 1_000
    assert read[0] < 50
    assert len({*read}) > 50


async def test_stream_reads_nothing_before_it_is_used() -> None:
    """Lazily read; a stream that is never used leaves nothing behind."""
    api = FakeAPI()
    async with api.client() as bfl:
        source = Source()
        stream = bfl.stream(source)
        await spin()
        assert source.read == 0
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_async_source_is_read_while_outcomes_are_handed_out() -> None:
    """A source that waits for its next item does not hold back what is done."""
    api = FakeAPI(service_s=1)
    gate = asyncio.Event()

    async def source() -> AsyncIterator[ImageRequest]:
        yield FluxDev(prompt="first")
        await gate.wait()
        yield FluxDev(prompt="second")

    async with api.client() as bfl:
        stream = bfl.stream(source())
        assert (await anext(stream)).index == 0
        gate.set()
        assert [outcome.index async for outcome in stream] == [1]


async def test_leaving_early_withdraws_the_queue_and_drains_what_was_sent() -> None:
    """Leaving the `async with` sends nothing more; `in_flight` names what was sent; the source is closed."""
    api = FakeAPI(limit=2, service_s=5)
    source = Source()
    async with api.client() as bfl:
        async with bfl.stream(source.slow()) as outcomes:
            await asyncio.sleep(2)
            flying = outcomes.in_flight
            assert {handle.task_id for handle in flying} == {"task-0", "task-1"}
        assert source.closed
        assert bfl.statistics().queued == 0
        assert bfl.statistics().slots_taken == 2
        assert [(await handle).task_id for handle in flying]
        await bfl.drain()
        assert len(api.posts) == 2


async def test_losing_the_last_reference_is_leaving() -> None:
    """`break` out of a plain `async for` is enough."""
    api = FakeAPI(limit=2, service_s=5)
    async with api.client() as bfl:
        async for _ in bfl.stream(Source()):
            break
        gc.collect()
        await spin()
        assert bfl.statistics().queued == 0
        sent = len(api.posts) + bfl.statistics().submitting
        await bfl.drain()
        assert len(api.posts) == sent == 4


async def test_sources_error_comes_after_the_outcomes_of_what_was_read() -> None:
    """If the source raises, nothing that was paid is lost."""
    api = FakeAPI(service_s=2)

    def source() -> Iterator[ImageRequest]:
        yield from requests(3)
        raise RuntimeError("the file is gone")

    async with api.client() as bfl:
        stream = bfl.stream(source())
        seen: list[Outcome] = []
        with pytest.raises(RuntimeError, match="the file is gone"):
            async for outcome in stream:
                seen.append(outcome)  # noqa: PERF401 - the loop ends with an error
        assert len(seen) == 3
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_timeout_is_for_each_item() -> None:
    """An item that is too slow is an outcome; its task is drained; the rest goes on."""
    api = FakeAPI(limit=2, service_s=lambda n: 30 if n == 0 else 1)
    async with api.client() as bfl:
        outcomes = [outcome async for outcome in bfl.stream(requests(6), timeout=10, ordered=True)]
        errors = [outcome for outcome in outcomes if not outcome.ok]
        assert len(errors) == 1
        assert isinstance(errors[0].error, TaskTimeoutError)
        assert errors[0].task_id == errors[0].error.task_id == "task-0"
        assert bfl.statistics().slots_taken == 1
        await bfl.drain()


async def test_cancelled_consumer_loses_no_outcome() -> None:
    """Cancelling `anext` ends the wait and nothing else."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl, bfl.stream(requests(3), ordered=True) as outcomes:
        for _ in range(50):
            waiting = asyncio.ensure_future(anext(outcomes))
            await asyncio.sleep(0.05)
            if waiting.done():
                assert (await waiting).index == 0
                break
            waiting.cancel()
            await asyncio.wait([waiting])
        assert [outcome.index async for outcome in outcomes] == [1, 2]


async def test_several_consumers_share_one_stream() -> None:
    """Each outcome goes to one of them, and all of them end."""
    api = FakeAPI(limit=3, service_s=1)
    async with api.client() as bfl:
        stream = bfl.stream(requests(10))

        async def consume() -> list[int]:
            return [outcome.index async for outcome in stream]

        shares = await asyncio.gather(consume(), consume(), consume())
        assert sorted(index for share in shares for index in share) == list(range(10))


async def test_closing_the_client_ends_a_stream_with_an_error() -> None:
    """A stream that was cut is not one that has ended."""
    api = FakeAPI(limit=1, service_s=math.inf)
    bfl = await api.client().open()
    stream = bfl.stream(Source())
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(1)
    await bfl.aclose()
    outcome = await waiting
    assert isinstance(outcome.error, ClientClosedError)
    with pytest.raises(ClientClosedError):
        async for _ in stream:
            pass


@pytest.mark.parametrize("wrong", ["a cat", FluxDev(prompt="x"), 7, None, {"prompt": "x"}])
async def test_what_is_no_iterable_of_requests_is_refused_at_once(wrong: object) -> None:
    """A string is iterable, and never what was meant."""
    async with FakeAPI().client() as bfl:
        with pytest.raises(ConfigError):
            bfl.stream(wrong)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ConfigError):
            bfl.stream([], window=0)


async def test_streams_stand_behind_single_requests() -> None:
    """Priority 10 against 0: a batch in the background does not delay a web request."""
    api = FakeAPI(limit=1, service_s=1)
    async with api.client() as bfl, bfl.stream(requests(5)) as outcomes:
        await anext(outcomes)
        await bfl.generate("flux-dev", prompt="urgent")
        assert prompts(api.posts).index("urgent") <= 2
        assert len([outcome async for outcome in outcomes]) == 4


async def test_gather_returns_results_in_input_order() -> None:
    """Whatever order they complete in."""
    api = FakeAPI(limit=3, service_s=lambda n: 5 - n % 5)
    async with api.client() as bfl:
        results = await bfl.gather(requests(9))
        by_task = {task_id: task.body["prompt"] for task_id, task in api.tasks.items()}
        assert [by_task[result.task_id] for result in results] == [str(n) for n in range(9)]


async def test_gather_raises_the_first_error_at_once_and_sends_nothing_more() -> None:
    """Unsent requests are withdrawn, sent ones are drained."""
    api = FakeAPI(limit=2, service_s=lambda n: 1 if n == 0 else 20)
    async with api.client() as bfl:
        failing = asyncio.create_task(bfl.gather(requests(10)))
        await asyncio.sleep(0.5)
        api.end("task-0", "Error")
        with pytest.raises(TaskFailedError):
            await failing
        assert asyncio.get_running_loop().time() < 2
        assert bfl.statistics().queued == 0
        assert await bfl.drain()
        assert len(api.posts) <= 3


async def test_gather_checks_every_request_before_it_sends_one() -> None:
    """A mistake in the last item costs nothing."""
    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.raises(InvalidRequestError):
            await bfl.gather([*requests(3), "oops"])  # type: ignore[list-item]  # on purpose
        await spin()
        assert api.posts == []
        results = await bfl.gather([*requests(2), "oops"], return_exceptions=True)  # type: ignore[list-item]  # same
        assert [type(result).__name__ for result in results] == ["Result", "Result", "InvalidRequestError"]
        assert await bfl.gather([]) == []


async def test_gather_with_a_timeout_gives_each_its_place() -> None:
    """`return_exceptions` keeps results that came in time."""
    api = FakeAPI(limit=2, service_s=lambda n: 1 if n == 0 else 100)
    async with api.client() as bfl:
        results = await bfl.gather(requests(4), return_exceptions=True, timeout=10)
        kinds = sorted(type(result).__name__ for result in results)
        assert kinds == ["Result", "TaskTimeoutError", "TaskTimeoutError", "TaskTimeoutError"]
        assert bfl.statistics().queued == 0
        with pytest.raises(TaskTimeoutError):
            await bfl.gather(requests(1), timeout=0.01)


async def test_cancelled_gather_withdraws_what_is_unsent() -> None:
    """Invariant 1 for many."""
    api = FakeAPI(limit=2, service_s=3)
    async with api.client() as bfl:
        gathering = asyncio.create_task(bfl.gather(requests(10)))
        await asyncio.sleep(1)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert bfl.statistics().queued == 0
        await bfl.drain()
        assert len(api.posts) == 2


def test_outcomes_are_plain_values() -> None:
    """An outcome with an error raises a copy each time."""
    error = TaskFailedError("no", task_id="t")
    outcome = Outcome(0, None, "t", None, error)
    with pytest.raises(TaskFailedError) as caught:
        outcome.unwrap()
    assert caught.value is not error
    assert not outcome.ok


@pytest.mark.parametrize("ordered", [False, True])
async def test_stopped_stream_sends_nothing_more_and_hands_out_what_was_sent(ordered: bool) -> None:
    """What runs is paid: it is waited for. What was read and not sent is withdrawn, each with its outcome."""
    api = FakeAPI(limit=3, service_s=10)
    source = Source()
    async with api.client() as bfl, bfl.stream(source.slow(), window=8, ordered=ordered) as outcomes:
        await asyncio.sleep(1)
        assert (len(api.tasks), source.read) == (3, 8)
        outcomes.stop()
        outcomes.stop()
        ends = [outcome async for outcome in outcomes]
        assert sorted(outcome.index for outcome in ends) == list(range(8))
        assert sorted(outcome.index for outcome in ends if outcome.ok) == [0, 1, 2]
        assert all(type(each.error) is TaskError and each.task_id is None for each in ends if not each.ok)
        assert source.closed
        assert (len(api.posts), source.read) == (3, 8)
        assert bfl.statistics().withdrawn == 5


async def test_stopped_stream_does_not_send_a_refused_request_again() -> None:
    """A 429 that comes back after the stop ends its request."""
    api = FakeAPI(limit=3, service_s=10)
    api.script_submits(None, reply(429, b""))
    async with api.client() as bfl, bfl.stream(requests(2)) as outcomes:
        await asyncio.sleep(api.submit_s / 4)
        outcomes.stop()
        ends = [outcome async for outcome in outcomes]
        assert [(outcome.index, outcome.ok) for outcome in ends] == [(1, False), (0, True)]
        assert len(api.posts) == 2
        assert bfl.statistics().slots_taken == 0


async def test_stream_stopped_before_it_is_read_is_empty() -> None:
    """Nothing was read, so nothing is owed; leaving it afterwards is quiet."""
    source = Source()
    async with FakeAPI().client() as bfl:
        stream = bfl.stream(source)
        stream.stop()
        assert [outcome async for outcome in stream] == []
        await stream.aclose()
    assert source.read == 0
