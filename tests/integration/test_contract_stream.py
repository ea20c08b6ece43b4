"""Invariants 8 and 9: one outcome each, and bounded. `stream` and `gather`."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import cast

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    BFLError,
    ClientClosedError,
    ConfigError,
    ImageRequest,
    InvalidRequestError,
    Limits,
    Outcome,
    Result,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
)
from bfl_async.types import Reply
from tests.integration.contract_server import (
    KEY,
    RESET,
    SIGNATURE,
    Answer,
    ScriptedTransport,
    TransportAnswer,
    a_request,
    no_secret_in,
    other_tasks,
    reply,
    say,
    served,
    spin,
    status_body,
    until,
)


def prompt_of(outcome: Outcome) -> str:
    prompt = getattr(outcome.request, "prompt", None)
    assert isinstance(prompt, str)
    return prompt


class Source:
    """An endless source that counts what is read of it."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[ImageRequest]:
        while True:
            self.read += 1
            yield a_request(f"{self.read - 1}")


# ---- order and completeness


async def test_8_a_stream_gives_each_request_its_outcome_as_they_complete() -> None:
    """Invariant 8, stream: completion order, the index and the request of the input, the task's id."""
    async with served(hold_tasks=True, limits=3) as (server, bfl):
        requests = [a_request(str(n)) for n in range(3)]
        async with bfl.stream(requests) as outcomes:
            reader = asyncio.create_task(_all(outcomes))
            await until(lambda: len(server.task_ids) == 3)
            by_prompt = {seen.json()["prompt"]: f"task-{n}" for n, seen in enumerate(server.submits)}
            for n, prompt in enumerate(("2", "0", "1")):
                server.settle(by_prompt[prompt])
                await until(lambda n=n: bfl.statistics().ready == n + 1)  # type: ignore[misc]  # on purpose: a wrong argument
            seen = await asyncio.wait_for(reader, 5)
        assert [outcome.index for outcome in seen] == [2, 0, 1]
        for outcome in seen:
            assert outcome.request is requests[outcome.index]
            assert outcome.ok
            assert outcome.error is None
            assert outcome.unwrap() is outcome.result
            assert outcome.result is not None
            assert outcome.task_id == outcome.result.task_id == by_prompt[str(outcome.index)]


async def test_8_an_ordered_stream_keeps_the_input_order() -> None:
    """stream(ordered=True): input order, whatever completes first."""
    async with served(hold_tasks=True, limits=3) as (server, bfl):
        outcomes = bfl.stream([a_request(str(n)) for n in range(3)], ordered=True)
        reader = asyncio.create_task(_all(outcomes))
        await until(lambda: len(server.task_ids) == 3)
        for n, seen in reversed(list(enumerate(server.submits))):
            server.settle(f"task-{n}", "Error" if seen.json()["prompt"] == "1" else "Ready")
            await until(lambda n=n: bfl.statistics().active == n)  # type: ignore[misc]  # on purpose: a wrong argument
        result = await asyncio.wait_for(reader, 5)
        assert [(outcome.index, prompt_of(outcome), outcome.ok) for outcome in result] == [
            (0, "0", True),
            (1, "1", False),
            (2, "2", True),
        ]


@pytest.mark.looptime
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "empty"])
async def test_8_n_in_n_out_from_any_iterable(kind: str, ordered: bool) -> None:
    """Invariant 8: any iterable or async iterable; plain `async for` works; then it ends, and stays ended."""
    requests = [a_request(str(n)) for n in range(40)]

    async def asynchronous() -> AsyncIterator[ImageRequest]:
        for request in requests:
            await asyncio.sleep(0.01)
            yield request

    fake = ScriptedTransport(limit=5, service_s=1.0)
    async with fake.client(limits=5) as bfl:
        sources: dict[str, Iterable[ImageRequest] | AsyncIterator[ImageRequest]] = {
            "list": requests,
            "generator": (request for request in requests),
            "async generator": asynchronous(),
            "empty": [],
        }
        stream = bfl.stream(sources[kind], ordered=ordered)
        outcomes = [outcome async for outcome in stream]
        wanted = 0 if kind == "empty" else 40
        assert sorted(outcome.index for outcome in outcomes) == list(range(wanted))
        assert all(prompt_of(outcome) == str(outcome.index) for outcome in outcomes)
        if ordered:
            assert [outcome.index for outcome in outcomes] == list(range(wanted))
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@pytest.mark.looptime
async def test_8_whatever_breaks_there_is_one_outcome_each() -> None:
    """Invariant 8: refusals, lost answers, moderation, failures, busy and bad polls, all in one stream."""
    rng = random.Random(3)
    submits: list[TransportAnswer | None] = [
        None, None, None, None, None, reply(500, b"<html>"), reply(422, {"detail": "no"}), reply(200, {}),
        reply(429, {"detail": "busy"}), reply(503, {"detail": "busy"}), BFLError("a transport with a bug"),
    ]  # fmt: skip

    def submit(_path: str, _body: Mapping[str, object]) -> TransportAnswer | None:
        return rng.choice(submits)

    def poll(url: str) -> TransportAnswer | None:
        words = [None] * 8 + ["Error", "Request Moderated", "html", "Sharpening"]
        word = rng.choice(words)
        if word is None:
            return None
        if word == "html":
            return reply(502, b"<html>")
        return reply(200, status_body(url.rpartition("=")[2], word))

    fake = ScriptedTransport(always_submit=submit, always_poll=poll)
    async with fake.client(limits=Limits(account=6, unknown_s=1)) as bfl:
        outcomes = [outcome async for outcome in bfl.stream([a_request(str(n)) for n in range(150)])]
        assert sorted(outcome.index for outcome in outcomes) == list(range(150))
        assert all((outcome.result is None) != (outcome.error is None) for outcome in outcomes)
        kinds = {type(outcome.error) for outcome in outcomes}
        assert {TaskFailedError, TaskModeratedError, AmbiguousSubmitError, InvalidRequestError} <= kinds
        assert await bfl.drain(timeout=700)
        counts = bfl.statistics()
        ended = counts.ready + counts.moderated + counts.failed + counts.ambiguous + counts.withdrawn
        assert ended == 150
        await asyncio.sleep(2)
        assert bfl.statistics().slots_taken == 0


class Weird(Exception):
    """No error of ours."""


class BrokenTransport(ScriptedTransport):
    """Its third submit and one poll raise what no transport should."""

    async def submit(self, path: str, body: bytes) -> Reply:
        if b"broken submit" in body:
            raise Weird("a bug")
        return await super().submit(path, body)

    async def poll(self, url: str) -> Reply:
        if url.endswith("task-1"):
            raise Weird("a bug")
        return await super().poll(url)


@pytest.mark.looptime
async def test_8_a_bug_settles_its_own_entry_and_touches_no_other() -> None:
    """Invariant 8: "a runner that fails by a bug settles its own entry as `Lost` and touches no other"."""
    fake = BrokenTransport()
    async with fake.client(limits=Limits(account=2, unknown_s=1)) as bfl:
        names = ["a", "b", "broken submit", "c", "d"]
        outcomes = [
            outcome async for outcome in bfl.stream([a_request(n) for n in names], ordered=True, timeout=900)
        ]
        assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4]
        assert [outcome.ok for outcome in outcomes].count(False) == 2
        assert isinstance(outcomes[2].error, BFLError)
        await asyncio.sleep(2)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.looptime
@pytest.mark.parametrize("item", ["flux-pro-1.1", None, 7, {"prompt": "x"}, object(), ImageRequest])
@pytest.mark.parametrize("ordered", [False, True])
async def test_8_an_item_that_is_no_request_gives_an_outcome(item: object, ordered: bool) -> None:
    """stream: "an item that is no request gives an `InvalidRequestError` outcome"; the others go on."""
    fake = ScriptedTransport()
    async with fake.client() as bfl:
        source = cast("list[ImageRequest]", [a_request("0"), item, a_request("2")])
        outcomes = {outcome.index: outcome async for outcome in bfl.stream(source, ordered=ordered)}
        assert sorted(outcomes) == [0, 1, 2]
        assert isinstance(outcomes[1].error, InvalidRequestError)
        assert outcomes[1].error.status_code is None
        assert (outcomes[1].request, outcomes[1].task_id, outcomes[1].ok) == (item, None, False)
        assert outcomes[0].ok
        assert outcomes[2].ok
        with pytest.raises(InvalidRequestError):
            outcomes[1].unwrap()
        assert len(fake.posts) == 2


@pytest.mark.looptime
@pytest.mark.parametrize("ordered", [False, True])
async def test_8_a_source_that_raises_gives_first_what_was_read(ordered: bool) -> None:
    """stream: "if the source raises, the outcomes of what was read come first, then the error"."""

    def source() -> Iterator[ImageRequest]:
        for n in range(5):
            yield a_request(str(n))
        raise Weird("the source is broken")

    fake = ScriptedTransport(service_s=3.0)
    async with fake.client(limits=2) as bfl:
        seen: list[int] = []
        stream = bfl.stream(source(), ordered=ordered)
        with pytest.raises(Weird):
            await _into(seen, stream)
        assert sorted(seen) == [0, 1, 2, 3, 4]
        assert bfl.statistics().ready == 5


@pytest.mark.looptime
async def test_8_an_async_source_that_raises_does_the_same() -> None:
    """stream: the same of an async iterable."""

    async def source() -> AsyncIterator[ImageRequest]:
        yield a_request("0")
        await asyncio.sleep(0.5)
        yield a_request("1")
        raise Weird("the source is broken")

    fake = ScriptedTransport(service_s=3.0)
    async with fake.client(limits=2) as bfl:
        seen: list[int] = []
        with pytest.raises(Weird):
            await _into(seen, bfl.stream(source()))
        assert sorted(seen) == [0, 1]


@pytest.mark.looptime
async def test_8_a_timeout_is_for_each_item() -> None:
    """stream(timeout=): for each item, from when it is read; the outcome says where it stood, the task goes on."""
    fake = ScriptedTransport(service_s=1.0)
    fake.limit = 100
    async with fake.client(limits=1) as bfl:
        outcomes = [
            outcome
            async for outcome in bfl.stream(
                [a_request(str(n)) for n in range(6)], window=6, ordered=True, timeout=2.9
            )
        ]
        assert len(outcomes) == 6
        assert [outcome.ok for outcome in outcomes[:2]] == [True, True]
        late = [outcome.error for outcome in outcomes[2:]]
        assert all(isinstance(error, TaskTimeoutError) for error in late)
        states = [error.state for error in late if isinstance(error, TaskTimeoutError)]
        assert set(states) <= {"queued", "submitting", "submitted"}
        assert "queued" in states
        assert await bfl.drain(timeout=10)
        counts = bfl.statistics()
        assert counts.slots_taken == 0
        assert counts.withdrawn == states.count("queued")
        assert len(fake.posts) == 6 - states.count("queued")


@pytest.mark.looptime
async def test_8_a_timeout_of_each_item_does_not_bound_the_stream() -> None:
    """stream(timeout=): a stream that takes longer than one item's timeout is served whole."""
    fake = ScriptedTransport(service_s=1.0)
    async with fake.client(limits=1) as bfl:
        outcomes = await _all(bfl.stream([a_request(str(n)) for n in range(20)], window=1, timeout=3.0))
        assert [outcome.ok for outcome in outcomes] == [True] * 20


# ---- the window


@pytest.mark.looptime
@pytest.mark.parametrize("window", [1, 3, None])
@pytest.mark.parametrize("ordered", [False, True])
async def test_9_a_stream_is_lazily_read(window: int | None, ordered: bool) -> None:
    """Invariant 9, stream: at most `window` (2 x slots) requests are read and not yet handed out."""
    fake = ScriptedTransport(service_s=1.0)
    source = Source()
    async with fake.client(limits=4) as bfl:
        bound = 8 if window is None else window
        async with bfl.stream(source, window=window, ordered=ordered) as outcomes:
            for taken in range(1, 30):
                await anext(outcomes)
                assert source.read - taken <= bound
            # A consumer that stops stops the submits.
            await asyncio.sleep(100)
            assert source.read - 29 <= bound
            assert len(fake.posts) <= 29 + bound
            posts = len(fake.posts)
            await asyncio.sleep(100)
            assert len(fake.posts) == posts
        assert await bfl.drain(timeout=100)


@pytest.mark.looptime
async def test_9_making_a_stream_reads_and_sends_nothing() -> None:
    """stream is not a coroutine and lazily read: a stream that is never iterated pays for nothing."""
    fake = ScriptedTransport()
    source = Source()
    async with fake.client() as bfl:
        stream = bfl.stream(source)
        await asyncio.sleep(5)
        assert len(fake.posts) <= 24
        assert source.read <= 24
        await stream.aclose()
        del stream


@pytest.mark.looptime
@pytest.mark.parametrize("window", [0, -1])
async def test_9_a_window_is_positive(window: int) -> None:
    """stream(window=): `ConfigError` before anything is read."""
    fake = ScriptedTransport()
    source = Source()
    async with fake.client() as bfl:
        with pytest.raises(ConfigError):
            bfl.stream(source, window=window)
        assert source.read == 0


@pytest.mark.looptime
@pytest.mark.slow
async def test_9_a_stream_of_many_keeps_only_its_window() -> None:
    """Invariant 9: 2,000 prompts through 4 slots; live requests stay within the window."""
    fake = ScriptedTransport(service_s=0.5)

    def source() -> Iterator[ImageRequest]:
        for n in range(2000):
            yield a_request(f"many {n}")

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, ImageRequest) for thing in gc.get_objects())

    # Those of other tests, whose parameters live as long as the process.
    before = alive()
    async with fake.client(limits=4, interval=0.5) as bfl:
        most = count = 0
        async for outcome in bfl.stream(source()):
            count += 1
            del outcome
            if count % 1000 == 0:
                most = max(most, alive() - before)
        assert count == 2000
        assert most < 60


@pytest.mark.looptime
async def test_priorities_a_stream_stands_behind_single_requests() -> None:
    """stream(priority=10): a single call goes first."""
    fake = ScriptedTransport(service_s=1.0)
    async with fake.client(limits=1) as bfl:
        async with bfl.stream([a_request(f"s{n}") for n in range(10)], window=10) as outcomes:
            await anext(outcomes)
            begun = fake.now()
            await bfl.generate(a_request("single"))
            assert fake.now() - begun < 3.5
        await bfl.drain(timeout=60)


# ---- leaving


@pytest.mark.looptime
@pytest.mark.parametrize("way", ["with", "aclose", "reference", "error"])
async def test_9_leaving_withdraws_what_is_queued_and_drains_what_was_sent(way: str) -> None:
    """stream: leaving the `async with`, `aclose()` or losing the last reference; `.in_flight` names what was sent."""
    fake = ScriptedTransport(service_s=5.0)
    source = Source()
    async with fake.client(limits=2) as bfl:
        if way == "with":
            async with bfl.stream(source) as outcomes:
                await anext(outcomes)
            in_flight = list(outcomes.in_flight)
            counts = bfl.statistics()
            assert len(in_flight) == counts.active + counts.submitting > 0
            assert {await handle.accepted() for handle in in_flight} <= set(fake.ends_at)
        elif way == "error":
            with pytest.raises(Weird):
                await _leave_by_error(bfl.stream(source))
        elif way == "aclose":
            stream = bfl.stream(source)
            await anext(stream)
            await stream.aclose()
            await stream.aclose()
        else:
            stream = bfl.stream(source)
            await anext(stream)
            del stream
            gc.collect()
            await spin()
        read = source.read
        await asyncio.sleep(0.2)
        counts = bfl.statistics()
        assert counts.queued == 0
        sent = len(fake.posts)
        assert 2 <= sent <= 4
        assert await bfl.drain(timeout=30)
        counts = bfl.statistics()
        assert (len(fake.posts), source.read) == (sent, read)
        assert (counts.ready, counts.withdrawn) == (sent, read - sent)
        assert counts.slots_taken == 0


async def _leave_by_error(stream: object) -> None:
    async with stream as outcomes:  # type: ignore[attr-defined]  # on purpose: a wrong argument
        await anext(outcomes)
        raise Weird


@pytest.mark.looptime
async def test_9_a_cancelled_consumer_loses_no_outcome() -> None:
    """`__anext__`: "cancellation ends this wait; no outcome is lost, the next call returns it"."""
    fake = ScriptedTransport(service_s=1.0)
    async with fake.client(limits=2) as bfl:
        stream = bfl.stream([a_request(str(n)) for n in range(6)])
        seen: list[int] = []
        rng = random.Random(1)
        while True:
            try:
                async with asyncio.timeout(rng.random()):
                    seen.append((await anext(stream)).index)
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        assert sorted(seen) == [0, 1, 2, 3, 4, 5]


@pytest.mark.looptime
async def test_9_several_consumers_share_one_stream() -> None:
    """OutcomeStream: "each outcome goes to one of them", and all of them end."""
    fake = ScriptedTransport(service_s=1.0)
    async with fake.client(limits=3) as bfl:
        stream = bfl.stream([a_request(str(n)) for n in range(12)])
        groups = await asyncio.wait_for(asyncio.gather(*(_all(stream) for _ in range(4))), 60)
        assert sorted(outcome.index for group in groups for outcome in group) == list(range(12))


@pytest.mark.looptime
async def test_9_closing_the_client_ends_a_stream() -> None:
    """Invariants 8 and 9: a consumer of a closed client is told, and is not left waiting."""
    fake = ScriptedTransport(service_s=1000.0)
    bfl = await fake.client(limits=2).open()
    reader = asyncio.create_task(_all(bfl.stream(Source())))
    await asyncio.sleep(2)
    await bfl.aclose()
    with pytest.raises(ClientClosedError):
        await asyncio.wait_for(reader, 30)


@pytest.mark.looptime
async def test_9_after_leaving_and_closing_no_task_is_left() -> None:
    """Invariant 9: after `aclose()` nothing runs, whatever was on its way."""
    before = {task for task in asyncio.all_tasks() if not task.done()}
    fake = ScriptedTransport(service_s=50.0)
    async with fake.client(limits=3) as bfl:
        async with bfl.stream(Source()) as outcomes:
            reader = asyncio.create_task(_all(outcomes))
            await asyncio.sleep(1)
            reader.cancel()
        bfl.submit_nowait(a_request("late"))
        await asyncio.sleep(0.05)
    await spin()
    assert other_tasks(before) == set()


async def test_9_an_outcome_shows_no_secret() -> None:
    """Errors and style 5: neither an outcome's error nor its result shows what is secret; the request is the
    caller's own, and shows neither key nor image."""
    async with served() as (server, bfl):
        server.script_submits(None, RESET)
        outcomes = await _all(bfl.stream([a_request(), a_request()]))
        for outcome in outcomes:
            no_secret_in(repr(outcome.result), repr(outcome.error), str(outcome.error))
            assert KEY not in repr(outcome)
            assert SIGNATURE not in repr(outcome)


# ---- gather


@pytest.mark.looptime
async def test_gather_keeps_the_input_order() -> None:
    """gather: "list in input order", of any iterable; none gives an empty list."""
    fake = ScriptedTransport(service_s=1.0)
    async with fake.client(limits=3) as bfl:
        results = await bfl.gather(a_request(str(n)) for n in range(10))
        sent = [int(str(prompt)) for prompt in fake.prompts]
        assert [result.task_id for result in results if isinstance(result, Result)] == [
            f"task-{sent.index(n)}" for n in range(10)
        ]
        assert await bfl.gather([]) == []


async def test_gather_raises_the_first_error_withdraws_the_unsent_and_drains_the_sent() -> None:
    """gather: "on the first error unsent requests are withdrawn, sent ones are drained", the error comes at once."""
    async with served(hold_tasks=True, limits=2) as (server, bfl):
        caller = asyncio.create_task(bfl.gather([a_request(str(n)) for n in range(6)]))
        await until(lambda: len(server.task_ids) == 2)
        server.settle("task-1", "Error")
        with pytest.raises(TaskFailedError) as caught:
            await asyncio.wait_for(caller, 3)
        assert caught.value.task_id == "task-1"
        assert bfl.statistics().queued == 0
        server.hold_tasks = False
        assert await bfl.drain(timeout=5)
        counts = bfl.statistics()
        assert counts.ready + counts.failed + counts.withdrawn == 6
        assert len(server.submits) == 6 - counts.withdrawn


@pytest.mark.looptime
async def test_gather_pays_for_nothing_more_once_one_has_failed() -> None:
    """gather: what is unsent at the first error is withdrawn: the slot that the failed one frees is not for it."""
    fake = ScriptedTransport(service_s=1.0)
    fake.always_poll = lambda url: reply(200, status_body(url.rpartition("=")[2], "Error"))
    async with fake.client(limits=1) as bfl:
        with pytest.raises(TaskFailedError):
            await bfl.gather([a_request(str(n)) for n in range(6)])
        await asyncio.sleep(5)
        assert fake.prompts == ["0"]
        assert bfl.statistics().withdrawn == 5


@pytest.mark.looptime
async def test_gather_puts_errors_in_their_places() -> None:
    """gather(return_exceptions=True): each in its place, nothing withdrawn."""
    fake = ScriptedTransport()

    def submit(_path: str, body: Mapping[str, object]) -> TransportAnswer | None:
        return {"1": reply(422, {"detail": "no"}), "3": reply(500, b"")}.get(str(body["prompt"]))

    fake.always_submit = submit
    async with fake.client(limits=Limits(account=2, unknown_s=1)) as bfl:
        ends = await bfl.gather([a_request(str(n)) for n in range(5)], return_exceptions=True)
        assert [type(end) for end in ends] == [
            Result,
            InvalidRequestError,
            Result,
            AmbiguousSubmitError,
            Result,
        ]
        assert bfl.statistics().withdrawn == 0


@pytest.mark.looptime
async def test_gather_finds_a_bad_item_before_anything_is_sent() -> None:
    """gather: "a request that fails its local checks is found before anything is sent"."""
    fake = ScriptedTransport()
    async with fake.client() as bfl:
        items = cast("list[ImageRequest]", [a_request("0"), "not a request", a_request("2")])
        with pytest.raises(InvalidRequestError):
            await bfl.gather(items)
        await asyncio.sleep(5)
        assert fake.posts == []
        ends = await bfl.gather(items, return_exceptions=True)
        assert isinstance(ends[1], InvalidRequestError)
        assert isinstance(ends[0], Result)
        assert isinstance(ends[2], Result)


@pytest.mark.looptime
async def test_gather_with_a_timeout_raises_it_and_drains() -> None:
    """gather(timeout=): `TaskTimeoutError`; what is queued is withdrawn, what was sent is drained."""
    fake = ScriptedTransport(service_s=10.0)
    async with fake.client(limits=2) as bfl:
        begun = fake.now()
        with pytest.raises(TaskTimeoutError):
            await bfl.gather([a_request(str(n)) for n in range(6)], timeout=12)
        assert fake.now() - begun == pytest.approx(12, abs=0.2)
        assert bfl.statistics().queued == 0
        assert await bfl.drain(timeout=30)
        counts = bfl.statistics()
        assert (counts.ready, counts.withdrawn) == (4, 2)


@pytest.mark.looptime
async def test_a_cancelled_gather_withdraws_and_drains() -> None:
    """gather, cancellation: at once; unsent ones are withdrawn, sent ones are drained."""
    fake = ScriptedTransport(service_s=10.0)
    async with fake.client(limits=2) as bfl:
        caller = asyncio.create_task(bfl.gather([a_request(str(n)) for n in range(6)]))
        await asyncio.sleep(3)
        caller.cancel()
        await spin()
        assert caller.cancelled()
        counts = bfl.statistics()
        assert (counts.queued, counts.active, counts.withdrawn) == (0, 2, 4)
        assert await bfl.drain(timeout=30)
        assert bfl.statistics().ready == 2


async def test_a_gather_whose_source_raises_sends_nothing_more() -> None:
    """gather: an iterable that raises raises its own error; nothing is left behind."""

    def source() -> Iterator[ImageRequest]:
        yield a_request("0")
        raise Weird

    async with served() as (_server, bfl):
        with pytest.raises(Weird):
            await bfl.gather(source())
        assert await bfl.drain(timeout=5)
        assert bfl.statistics().slots_taken == 0


# ---- helpers


async def _all(stream: object) -> list[Outcome]:
    return [outcome async for outcome in stream]  # type: ignore[attr-defined]  # on purpose: a wrong argument


async def _into(seen: list[int], stream: object) -> None:
    async for outcome in stream:  # type: ignore[attr-defined]  # on purpose: a wrong argument
        seen.append(outcome.index)  # noqa: PERF401 - what was seen before the error counts


async def test_a_stream_over_the_socket_holds_its_limit() -> None:
    """Invariants 1, 8 and 9 together over a socket: 60 requests, mixed ends, one outcome each."""
    async with served(limits=5) as (server, bfl):

        def poll(seen: object) -> Answer:
            number = int(seen.task_id.removeprefix("task-"))  # type: ignore[attr-defined]  # on purpose: a wrong argument
            if number % 7 == 3:
                return say(200, status_body(f"task-{number}", "Content Moderated"))
            return None

        server.always_poll = poll
        outcomes = await _all(bfl.stream([a_request(str(n)) for n in range(60)]))
        assert sorted(outcome.index for outcome in outcomes) == list(range(60))
        assert sum(isinstance(outcome.error, TaskModeratedError) for outcome in outcomes) == 9
        counts = bfl.statistics()
        assert (counts.ready, counts.moderated, counts.submitted) == (51, 9, 60)
