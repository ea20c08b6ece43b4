"""Invariant 11: every call ends when promised, whatever the network, the clock or a suspended process does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator

import pytest

from bfl_async import (
    BFLError,
    ClientClosedError,
    ConnectError,
    FluxPro11,
    Limits,
    QueueFullError,
    ReplyTimeoutError,
    Result,
    TaskTimeoutError,
    Timeouts,
    request,
)
from bfl_async.runtime.time import TimeBudget, TimeLimit
from bfl_async.types import Reply
from tests.fake import JPEG, Answer, FakeAPI, reply, spin, stall, status

looptime = pytest.mark.looptime(start=0)


def now() -> float:
    return asyncio.get_running_loop().time()


# --- the notion of time itself -----------------------------------------------------------------------------


@looptime
async def test_a_limit_that_is_reached_in_time_ends_the_block() -> None:
    """Like `asyncio.timeout`."""
    limit = TimeLimit(3)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.sleep(10)
    assert now() == pytest.approx(3)
    assert (limit.expired, limit.stalled_s) == (True, 0.0)


@looptime
async def test_a_limit_that_a_stall_has_overrun_lets_what_arrived_be_read() -> None:
    """An end computed before the process stood still must not cut off what came meanwhile."""
    arrived: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(5, arrived.set_result, "answer")
    limit = TimeLimit(3)

    async def handle() -> str:
        # As a protocol does: some turns of the loop lie between the bytes and the reader.
        answer = await arrived
        await spin(5)
        return answer

    async with limit:
        await asyncio.sleep(1)
        stall(60)
        assert await handle() == "answer"
    assert limit.stalled_s > 50


@looptime
async def test_a_limit_gives_grace_after_a_stall_once() -> None:
    """A process that stalls again and again must reach an end as well."""
    with pytest.raises(TimeoutError):
        async with TimeLimit(3):
            for _ in range(100):
                await asyncio.sleep(0.9)
                stall(20)
    assert now() < 100


@looptime
async def test_a_limit_can_be_restarted_and_counts_from_then() -> None:
    """As each chunk of a download does."""
    with pytest.raises(TimeoutError):
        async with TimeLimit(3) as limit:
            for _ in range(4):
                await asyncio.sleep(2)
                limit.restart(3)
            limit.restart(1)
            await asyncio.sleep(10)
    assert now() == pytest.approx(9)


@looptime
async def test_a_cancellation_within_a_limit_stays_a_cancellation() -> None:
    """The limit answers for its own end alone."""

    async def work() -> None:
        async with TimeLimit(10):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_budget_counts_what_is_worked_on_and_forgives_one_stall() -> None:
    """Pure: seconds of attempts and pauses, and no others."""
    budget = TimeBudget(10)
    budget.spend(2, allowed_s=3)
    assert budget.left_s == 8
    budget.spend(100, allowed_s=3)
    assert budget.left_s == 8, "the process stood still: nothing was tried"
    budget.spend(100, allowed_s=3)
    assert budget.left_s == 5, "and again: that must come to an end"


# --- connecting --------------------------------------------------------------------------------------------


class Unreachable(FakeAPI):
    """A host that answers no connection: each attempt takes all the time that it may."""

    attempt_s = 2.0

    async def submit(self, path: str, body: bytes) -> Reply:
        await asyncio.sleep(self.attempt_s)
        raise ConnectError("no connection")


@looptime
@pytest.mark.parametrize(("slots", "callers"), [(1, 4), (3, 40), (5, 5)])
async def test_every_request_ends_though_all_of_them_wait_for_the_same_slots(
    slots: int, callers: int
) -> None:
    """A request's time for connecting goes on where it stopped, however long it waits behind the others."""
    api = Unreachable(limit=slots)
    async with api.client(timeouts=Timeouts(connect=4)) as bfl:
        calls = [bfl.generate("flux-dev", prompt=str(n)) for n in range(callers)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {ConnectError}
        # Each has a first attempt and about 4 s of others, on its slot.
        rounds = math.ceil(callers / slots)
        assert now() <= rounds * (api.attempt_s + 4 + api.attempt_s) + 5


@looptime
async def test_a_stall_while_connecting_does_not_take_away_the_attempts_after_it() -> None:
    """The process stood still in a later attempt; the host is back by the time that it goes on."""

    class Back(Unreachable):
        async def submit(self, path: str, body: bytes) -> Reply:
            if now() > 60:
                return await FakeAPI.submit(self, path, body)
            return await super().submit(path, body)

    api = Back(limit=1)
    async with api.client(timeouts=Timeouts(connect=4)) as bfl:
        call = asyncio.create_task(bfl.generate("flux-dev", prompt="x"))
        await asyncio.sleep(3.2)
        stall(60)
        assert isinstance(await call, Result)


@looptime
async def test_requests_in_back_off_count_in_the_bound_on_the_queue() -> None:
    """`Limits.queue`: back-pressure is needed most while nothing can be sent."""
    for answer in (ConnectError("no connection"), reply(503, {"detail": "busy"})):
        api = FakeAPI(limit=2)
        api.script_submits(*[answer] * 10_000)
        async with api.client(limits=Limits(account=2, queue=5)) as bfl:
            refused = 0
            for _ in range(400):
                try:
                    bfl.submit_nowait("flux-dev", prompt="x")
                except QueueFullError:
                    refused += 1
                await asyncio.sleep(0.02)
                # Those that wait, those that had a slot and wait again, and those that have one and are not sent yet.
                assert bfl.statistics().queued <= 5 + 2 + 2
            assert refused > 300


@looptime
async def test_a_queue_in_good_order_takes_as_many_as_before() -> None:
    """The bound on the queue is for those that wait, and not for those that have a slot."""
    api = FakeAPI(limit=3, service_s=50)
    async with api.client(limits=Limits(account=3, queue=4)) as bfl:
        for _ in range(7):
            bfl.submit_nowait("flux-dev", prompt="x")
        with pytest.raises(QueueFullError):
            bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(1)
        with pytest.raises(QueueFullError):
            bfl.submit_nowait("flux-dev", prompt="x")


# --- the caller's time is up -------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("timeout", [0, 0.0, -0.001, -50])
async def test_a_timeout_that_has_run_out_sends_nothing(timeout: float) -> None:
    """Invariant 11: `timeout <= 0` sends nothing, by whatever call."""
    api = FakeAPI()
    async with api.client() as bfl:
        made = request("flux-dev", prompt="x")
        for call in (
            bfl.generate("flux-dev", prompt="x", timeout=timeout),
            bfl.submit(made, timeout=timeout),
            bfl.gather([made, made], timeout=timeout),
            bfl.with_options(timeout=timeout).generate(made),
            bfl.post("/v1/flux-dev", json={"prompt": "x"}, timeout=timeout),
        ):
            with pytest.raises(TaskTimeoutError) as caught:
                await call
            assert (caught.value.state, caught.value.task_id) == ("queued", None)
        outcomes = [outcome async for outcome in bfl.stream([made, made], timeout=timeout)]
        ends = await bfl.gather([made, made], timeout=timeout, return_exceptions=True)
        for error in (*(outcome.error for outcome in outcomes), *ends):
            assert isinstance(error, TaskTimeoutError)
            assert error.state == "queued"
        with pytest.raises(ReplyTimeoutError):
            await bfl.get("/v1/credits", timeout=timeout)
        await spin()
        assert (api.posts, api.polled) == ([], [])
        assert bfl.statistics().withdrawn == bfl.statistics().failed == 0, "nothing was admitted"


@looptime
async def test_nothing_is_sent_for_a_caller_whose_time_ran_out_while_the_loop_stood_still() -> None:
    """A slot was free in time, and the loop was not."""
    api = FakeAPI(limit=1)
    async with api.client() as bfl:
        call = asyncio.create_task(bfl.generate("flux-dev", prompt="x", timeout=2))
        await asyncio.sleep(0)
        stall(3)
        with pytest.raises(TaskTimeoutError) as caught:
            await call
        assert caught.value.state == "queued"
        await bfl.drain()
        assert api.posts == []


@looptime
async def test_a_call_that_is_cancelled_in_its_first_turn_sends_nothing() -> None:
    """However the caller's time ends at once: by a scope without time, or by a cancellation."""
    import anyio

    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await bfl.generate("flux-dev", prompt="x")
        with anyio.move_on_after(0):
            await bfl.submit("flux-dev", prompt="x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bfl.gather([FluxPro11(prompt="x")]), 0)
        for call in (bfl.generate("flux-dev", prompt="x"), bfl.gather([FluxPro11(prompt="x")] * 3)):
            task = asyncio.create_task(call)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await bfl.drain()
        assert api.posts == []


@looptime
async def test_a_wait_for_a_handle_may_have_no_time_and_pays_nothing_more() -> None:
    """`result(timeout=0)` looks whether it is there."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        with pytest.raises(TaskTimeoutError):
            await handle.result(timeout=0)
        await handle
        assert isinstance(await handle.result(timeout=0), Result)
        assert len(api.posts) == 1


# --- the last poll -----------------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("stall_at", [0.3, 1.1, 2.6, 4.4])
@pytest.mark.parametrize("stall_s", [2.0, 7.0, 3_000.0])
async def test_after_a_stall_a_finished_task_is_found_by_the_poll_that_was_promised(
    stall_at: float, stall_s: float
) -> None:
    """The last poll has its second from when it is sent, wherever the process stood still before."""
    api = FakeAPI(limit=1, service_s=2.2)
    async with api.client(interval=0.7, timeouts=Timeouts(task=4)) as bfl:
        call = asyncio.create_task(bfl.generate("flux-dev", prompt="x"))
        await asyncio.sleep(stall_at)
        if not call.done():
            stall(stall_s)
        assert isinstance(await call, Result)
        assert bfl.statistics().slots_taken == 0


@looptime
@pytest.mark.parametrize("stall_s", [0.8, 1.2, 1.45])
async def test_a_short_stall_during_the_last_poll_does_not_take_it_away(stall_s: float) -> None:
    """A stall may be most of the poll's second, and end before the second does."""
    api = FakeAPI(service_s=1, poll_s=0.1)
    async with api.client(interval=60, timeouts=Timeouts(task=4)) as bfl:
        call = asyncio.create_task(bfl.generate("flux-dev", prompt="x"))
        asyncio.get_running_loop().call_later(4.12, stall, stall_s)
        assert isinstance(await call, Result)


@looptime
async def test_the_last_poll_is_repeated_within_its_second_where_its_connection_breaks() -> None:
    """Connections that the server dropped while the process was suspended cost a try each, and no image."""

    class Dropping(FakeAPI):
        broken = 3

        async def poll(self, url: str) -> Reply:
            if now() >= 4 and self.broken:
                self.broken -= 1
                raise ConnectError("the connection was closed")
            return await super().poll(url)

    api = Dropping(service_s=3.9)
    async with api.client(interval=60, timeouts=Timeouts(task=4)) as bfl:
        assert isinstance(await bfl.generate("flux-dev", prompt="x"), Result)


@looptime
async def test_a_poll_that_is_silent_at_the_deadline_does_not_take_the_last_one_away() -> None:
    """A poll that can outlast the deadline ends there, and the promised one is sent."""

    class Silent(FakeAPI):
        async def poll(self, url: str) -> Reply:
            if now() < 5:
                self.polled.append((now(), url))
                await asyncio.sleep(1_000)
            return await super().poll(url)

    api = Silent(service_s=1)
    async with api.client(interval=0.5, timeouts=Timeouts(task=5)) as bfl:
        assert isinstance(await bfl.generate("flux-dev", prompt="x"), Result)
        assert now() < 6.2


@looptime
async def test_a_submit_whose_answer_came_during_a_stall_is_accepted() -> None:
    """As the last poll, for a call that costs money."""
    api = FakeAPI(submit_s=1.0)
    async with api.client(timeouts=Timeouts(connect=1, reply=1)) as bfl:
        call = asyncio.create_task(bfl.submit("flux-dev", prompt="x"))
        await asyncio.sleep(0.1)
        stall(500)
        handle = await call
        assert handle.task_id == "task-0"


# --- Ready without what it promises ------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("result", [None, {}, {"sample": None}, {"sample": ""}, {"seed": 7}, {"samples": []}])
@pytest.mark.parametrize("times", [1, 3])
async def test_ready_without_a_url_is_asked_again(result: object, times: int) -> None:
    """Polls are free, and the image is paid."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(*[reply(200, status("Ready") | {"result": result})] * times)
        made = await bfl.generate("flux-dev", prompt="x")
        assert await made.read() == JPEG
        assert len(api.polled) == times + 1


@looptime
async def test_ready_that_never_has_a_url_ends_within_seconds() -> None:
    """It is Ready with all that came; reading it asks once more."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(*[reply(200, status("Ready") | {"result": {"seed": 7}})] * 5)
        made = await bfl.generate("flux-dev", prompt="x")
        assert (made.url, made.seed) == ("", 7)
        assert now() < 10
        assert await made.read() == JPEG


@looptime
async def test_ready_stays_ready_where_the_polls_for_its_url_fail() -> None:
    """What was seen terminal is not called a timeout, and its slot is not held."""
    api = FakeAPI(service_s=0)
    async with api.client(timeouts=Timeouts(task=6)) as bfl:
        failures: list[Answer] = [
            ConnectError("no connection"),
            reply(502, "<html>"),
            reply(200, status("Pending")),
        ] * 9
        api.script_polls(reply(200, status("Ready") | {"result": None}), *failures)
        made = await bfl.generate("flux-dev", prompt="x")
        assert (made.url, bfl.statistics().slots_taken) == ("", 0)
        api.poll_script.clear()
        assert await made.read() == JPEG


@looptime
async def test_a_status_body_under_a_gateways_error_ends_only_the_task_that_it_names() -> None:
    """A gateway's own `{"status": "Error"}` is a failed poll; the API's, with the task's id, is an answer."""
    for code in (500, 502, 504, 520):
        api = FakeAPI(service_s=1)
        async with api.client() as bfl:
            api.script_polls(
                reply(code, {"status": "Error"}), reply(code, {"status": "Failed", "id": "another"})
            )
            assert isinstance(await bfl.generate("flux-dev", prompt="x"), Result)
            api.script_polls(reply(code, status("Error", "task-1")))
            with pytest.raises(BFLError, match="failed on the server"):
                await bfl.generate("flux-dev", prompt="x")


# --- closing -----------------------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("drain", [5.0, 500.0, None])
@pytest.mark.parametrize("kind", ["sync", "async", "ordered"])
async def test_closing_with_a_drain_takes_nothing_new_from_an_endless_source(
    drain: float | None, kind: str
) -> None:
    """Once closing begins nothing is admitted by any way; what was taken in has its time."""

    def endless() -> Iterator[FluxPro11]:
        while True:
            yield FluxPro11(prompt="x")

    async def trickling() -> AsyncIterator[FluxPro11]:
        while True:
            await asyncio.sleep(0)
            yield FluxPro11(prompt="x")

    api = FakeAPI(limit=4, service_s=2)
    bfl = await api.client().open()
    source = trickling() if kind == "async" else endless()
    stream = bfl.stream(source, ordered=kind == "ordered", window=8)
    count = 0

    async def consume() -> None:
        nonlocal count
        async for _ in stream:
            count += 1

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(3)
    taken_in = bfl.statistics()
    began = now()
    await bfl.aclose(drain=drain)
    assert now() - began < 6, "what was taken in needs 4 s"
    with pytest.raises(ClientClosedError):
        await consumer
    assert len(api.posts) <= taken_in.submitted + taken_in.submitting + taken_in.queued
    assert bfl.statistics().ready == len(api.posts) == count


@looptime
@pytest.mark.parametrize("interval", [0.3, 50])
@pytest.mark.parametrize("closes", [True, False])
async def test_a_stall_takes_no_finished_task_from_a_drain(closes: bool, interval: float) -> None:
    """What ended while the process stood still is found before the drain gives up."""
    api = FakeAPI(limit=4, service_s=1)
    bfl = await api.client(interval=interval, timeouts=Timeouts(task=900)).open()
    handles = [await bfl.submit("flux-dev", prompt=str(n)) for n in range(4)]
    draining = asyncio.create_task(bfl.aclose(drain=3) if closes else bfl.drain(3))
    await asyncio.sleep(0.1)
    stall(60)
    await draining
    assert [type(await handle) for handle in handles] == [Result] * 4
    await bfl.aclose()


@looptime
async def test_a_post_that_was_answered_during_a_stall_is_accepted_by_a_client_that_closes() -> None:
    """`Timeouts.close` is not over because the process stood still."""
    api = FakeAPI(submit_s=1.5)
    bfl = await api.client(timeouts=Timeouts(close=2)).open()
    handle = bfl.submit_nowait("flux-dev", prompt="x")
    await asyncio.sleep(0.5)
    closing = asyncio.create_task(bfl.aclose())
    await asyncio.sleep(0.5)
    stall(60)
    await closing
    with pytest.raises(ClientClosedError) as caught:
        await handle
    assert caught.value.task_id == "task-0"


@looptime
async def test_nothing_is_admitted_while_the_client_drains() -> None:
    """By no call: each says that the client is closed."""
    api = FakeAPI(limit=2, service_s=5)
    bfl = await api.client().open()
    running = bfl.submit_nowait("flux-dev", prompt="x")
    stream = bfl.stream([FluxPro11(prompt="y")])
    closing = asyncio.create_task(bfl.aclose(drain=50))
    await asyncio.sleep(1)
    with pytest.raises(ClientClosedError):
        bfl.submit_nowait("flux-dev", prompt="x")
    with pytest.raises(ClientClosedError):
        bfl.attach("another-task")
    with pytest.raises(ClientClosedError):
        await anext(stream)
    for call in (bfl.generate("flux-dev", prompt="x"), bfl.gather([FluxPro11(prompt="x")]), bfl.credits()):
        with pytest.raises(ClientClosedError):
            await call
    await closing
    assert isinstance(await running, Result)
    assert len(api.posts) == 1


async def test_closing_in_a_cancelled_scope_of_anyio_waits_without_a_hot_loop() -> None:
    """Level-triggered cancellation is delivered in each turn of the loop; the wait for the closing is shielded."""
    import anyio

    api = FakeAPI(submit_s=math.inf)
    turns = 0
    loop = asyncio.get_running_loop()

    def count() -> None:
        nonlocal turns
        turns += 1
        if not done:
            loop.call_later(0.01, count)

    done = False
    with anyio.move_on_after(0.05) as scope:
        async with api.client(timeouts=Timeouts(close=0.4)) as bfl:
            bfl.submit_nowait("flux-dev", prompt="x")
            deliveries = 0
            original = asyncio.Task.cancel
            current = asyncio.current_task()
            assert current is not None
            await anyio.sleep(0.02)
            handle = loop.call_soon(count)
            await anyio.sleep(10)
    done = True
    handle.cancel()
    del deliveries, original
    assert scope.cancelled_caught
    assert bfl.statistics().submitting == 0
    # Without a shield anyio calls cancel() in each turn, and the counting timer shares some 100,000 turns.
    assert turns < 100
