"""Invariant 1: slots follow the server, never the caller. Cancellation, timeouts, withdrawal, handles."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import math
import random
from collections.abc import Mapping

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    Fixed,
    FluxDev,
    InvalidRequestError,
    Limits,
    QueueFullError,
    ReplyTimeoutError,
    Result,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
    Update,
)
from bfl_async.sandbox import Sandbox
from bfl_async.types import State
from tests.integration.contract_server import (
    PROMPT,
    RESET,
    ContractServer,
    Hold,
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


async def cancelled(task: asyncio.Task[object]) -> None:
    """Cancel and require that it ends within a few turns of the loop: nothing is waited for."""
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
        if task.done():
            break
    assert task.done(), "cancellation did not return at once"
    assert task.cancelled()


# ---- cancelled callers


@pytest.mark.parametrize("call", ["generate", "submit", "accepted", "result", "await"])
async def test_1_a_caller_cancelled_on_the_way_keeps_the_id_and_drains_the_task(call: str) -> None:
    """Invariant 1: the POST ends, the task is followed to its end, its slot is held until then."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        gate = asyncio.Event()

        async def accept_late(_seen: object) -> None:
            await gate.wait()

        server.script_submits(accept_late)
        caller: asyncio.Task[object]
        if call == "generate":
            caller = asyncio.create_task(bfl.generate(a_request()))
        elif call == "submit":
            caller = asyncio.create_task(bfl.submit(a_request()))
        else:
            handle = bfl.submit_nowait(a_request())

            async def wait() -> object:
                if call == "accepted":
                    return await handle.accepted()
                return await (handle.result() if call == "result" else handle)

            caller = asyncio.create_task(wait())
        await server.wait_submits(1)
        await cancelled(caller)
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.submitting) == (1, 1)

        gate.set()
        await server.wait_polls(1)
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.active, counts.submitted) == (1, 1, 1)
        assert server.polls[0].task_id == "task-0"

        queued = bfl.submit_nowait(a_request("next"))
        await spin()
        assert (queued.state, len(server.submits)) == ("queued", 1)
        server.settle("task-0")
        await queued.accepted()
        server.settle("task-1")
        assert await bfl.drain(timeout=5)
        counts = bfl.statistics()
        assert (counts.ready, counts.withdrawn, counts.slots_taken) == (2, 0, 0)


@pytest.mark.parametrize("call", ["generate", "submit"])
async def test_1_a_caller_cancelled_in_the_queue_is_withdrawn_unsent(call: str) -> None:
    """Invariant 1: cancelled while queued, its request is withdrawn unsent."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        await bfl.submit(a_request("first"))
        work = bfl.generate(a_request()) if call == "generate" else bfl.submit(a_request())
        caller: asyncio.Task[object] = asyncio.create_task(work)
        await until(lambda: bfl.statistics().queued == 1)
        await cancelled(caller)
        counts = bfl.statistics()
        assert (counts.queued, counts.withdrawn, counts.slots_taken) == (0, 1, 1)
        server.settle("task-0")
        assert await bfl.drain(timeout=5)
        assert len(server.submits) == 1


async def test_1_a_cancelled_wait_for_a_handle_withdraws_nothing() -> None:
    """TaskHandle: cancelling a wait ends this wait and nothing else, also in the queue."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        await bfl.submit(a_request("first"))
        handle = bfl.submit_nowait(a_request())

        async def wait() -> object:
            return await handle

        caller: asyncio.Task[object] = asyncio.create_task(wait())
        await spin()
        await cancelled(caller)
        assert handle.state == "queued"
        server.settle("task-0")
        await handle.accepted()
        server.settle("task-1")
        assert (await handle).task_id == "task-1"


async def test_1_a_caller_cancelled_after_acceptance_leaves_the_slot_taken() -> None:
    """Invariant 1: cancelled later, the task is drained; the slot is freed when the task is seen terminal."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        caller: asyncio.Task[object] = asyncio.create_task(bfl.generate(a_request()))
        await server.wait_polls(2)
        await cancelled(caller)
        assert bfl.statistics().slots_taken == 1
        seen = len(server.polls)
        await server.wait_polls(seen + 2)
        server.settle("task-0", "Error")
        assert await bfl.drain(timeout=5)
        counts = bfl.statistics()
        assert (counts.failed, counts.slots_taken) == (1, 0)


async def test_1_a_caller_cancelled_at_once_sends_nothing_or_is_followed() -> None:
    """Invariant 1: at whichever turn of the loop the caller is cancelled, no POST is left without its slot."""
    async with served(hold_tasks=True, limits=4) as (server, bfl):
        for turns in range(1, 41):
            caller = asyncio.create_task(bfl.generate(a_request()))
            for _ in range(turns):
                await asyncio.sleep(0)
            await cancelled(caller)
            await until(lambda: bfl.statistics().submitting == 0)
            counts = bfl.statistics()
            assert counts.slots_taken == counts.active == len(server.submits) - counts.ready
            for task_id in server.task_ids:
                server.settle(task_id)
            assert await bfl.drain(timeout=5)
        counts = bfl.statistics()
        assert counts.ready + counts.withdrawn == 40
        assert counts.ready == len(server.submits)


@pytest.mark.looptime
@pytest.mark.slow
async def test_1_no_429_of_our_own_making_however_many_callers_give_up() -> None:
    """Invariant 1: with one client on the account and no lost answers, the server never answers 429."""
    rng = random.Random(7)
    fake = ScriptedTransport(limit=12, service_s=4.0, submit_s=0.5, poll_s=0.115)
    async with fake.client() as bfl:

        async def caller(number: int) -> str:
            await asyncio.sleep(rng.random() * 20)
            try:
                if number % 3 == 0:
                    async with asyncio.timeout(rng.random() * 60):
                        await bfl.generate(a_request())
                elif number % 3 == 1:
                    await bfl.generate(a_request(), timeout=30 + rng.random() * 60)
                else:
                    await bfl.generate(a_request())
            except TimeoutError:
                return "gave up"
            return "served"

        ends = await asyncio.gather(*(caller(number) for number in range(200)))
        assert await bfl.drain()
        counts = bfl.statistics()
    assert fake.refused_429 == 0
    assert counts.refused_429 == 0
    assert fake.peak == 12
    assert "gave up" in ends
    assert all(end == "served" for end in ends[2::3])
    assert len(fake.posts) == counts.ready == 200 - counts.withdrawn
    assert counts.slots_taken == 0


async def test_1_no_429_against_the_sandbox() -> None:
    """Invariant 1, over a socket and against the embedded server's own count."""
    async with (
        Sandbox(limit=5, service_s=0.03, submit_rtt_s=0.01, poll_rtt_s=0.005) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=5, polling=Fixed(0.02)) as bfl,
    ):
        results = await bfl.gather([a_request(str(n)) for n in range(20)])
        assert len({result.task_id for result in results}) == 20
        served_counts = sandbox.statistics()
        assert (served_counts.refused_429, served_counts.accepted, served_counts.peak_active) == (0, 20, 5)


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(3))
async def test_1_in_a_storm_every_request_ends_once_and_every_slot_comes_back(seed: int) -> None:
    """Invariants 1, 2, 6, 8 and 9 together: callers that give up at random, a server that fails at random, another
    program on the account; in the end the counts agree with the server's own and nothing is held."""
    rng = random.Random(seed)
    before = {task for task in asyncio.all_tasks() if not task.done()}
    lost: list[str] = []

    def submit(_path: str, body: Mapping[str, object]) -> TransportAnswer | None:
        draw = rng.random()
        if draw < 0.05:
            lost.append(str(body["prompt"]))
            return _one_of(
                rng, [reply(500, b""), reply(200, b"<html>"), ReplyTimeoutError("lost"), reply(503, b"")]
            )
        if draw < 0.10:
            return _one_of(
                rng, [reply(429, {"detail": "busy"}), reply(503, {"detail": "busy"}), ConnectError("no")]
            )
        return reply(422, {"detail": "no"}) if draw < 0.13 else None

    def poll(url: str) -> TransportAnswer | None:
        draw = rng.random()
        if draw < 0.15:
            return _one_of(
                rng, [reply(500, b""), ConnectError("no"), reply(200, b"{"), reply(404, {"detail": "x"})]
            )
        words = ("Error", "Content Moderated", "Sharpening")
        return reply(200, status_body(url.rpartition("=")[2], rng.choice(words))) if draw < 0.2 else None

    fake = ScriptedTransport(limit=8, service_s=3.0, submit_s=0.5, poll_s=0.1)
    fake.always_submit, fake.always_poll = submit, poll
    async with fake.client(limits=Limits(account=8, unknown_s=20)) as bfl:

        async def caller(number: int) -> None:
            await asyncio.sleep(rng.random() * 60)
            name, way = f"n{number}", rng.randrange(5)
            if way == 0:
                await bfl.generate(a_request(name))
            elif way == 1:
                async with asyncio.timeout(rng.random() * 30):
                    await bfl.generate(a_request(name), priority=rng.randrange(3))
            elif way == 2:
                await bfl.generate(a_request(name), timeout=rng.random() * 30)
            elif way == 3:
                handle = await bfl.submit(a_request(name))
                async with asyncio.timeout(rng.random() * 5):
                    await handle
            else:
                handle = bfl.submit_nowait(a_request(name))
                await asyncio.sleep(rng.random() * 10)
                handle.withdraw()
                await handle

        callers = [asyncio.create_task(caller(number)) for number in range(150)]
        while not all(task.done() for task in callers):
            counts = bfl.statistics()
            assert counts.submitting + counts.active <= counts.slots_taken <= 8
            fake.foreign = rng.choice([0, 0, 0, 2])
            await asyncio.sleep(0.3)
        ends = [task.exception() for task in callers]
        assert all(end is None or isinstance(end, BFLError | TimeoutError) for end in ends)
        fake.foreign = 0
        assert await bfl.drain(timeout=2000)
        counts = bfl.statistics()
        ended = counts.ready + counts.moderated + counts.failed + counts.ambiguous + counts.withdrawn
        assert ended == 150
        assert counts.submitted == len(fake.ends_at)
        assert counts.ambiguous == len(lost) == len(set(lost))
        assert counts.credits_spent == 4.0 * counts.submitted
        await asyncio.sleep(21)
        assert bfl.statistics().slots_taken == 0
    await spin()
    assert other_tasks(before) == set()


def _one_of(rng: random.Random, answers: list[TransportAnswer]) -> TransportAnswer:
    return rng.choice(answers)


# ---- withdraw


async def test_1_withdraw_takes_back_only_what_was_not_sent() -> None:
    """TaskHandle: True when nothing was sent, False afterwards; waiters of a withdrawn handle get an error."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        first = await bfl.submit(a_request("first"))
        second = bfl.submit_nowait(a_request("second"))
        third = bfl.submit_nowait(a_request("third"))
        assert (second.queue_position, third.queue_position) == (0, 1)
        waiter = asyncio.create_task(second.result())
        await spin()
        assert second.withdraw() is True
        assert third.queue_position == 0
        with pytest.raises(TaskError) as caught:
            await waiter
        assert caught.value.task_id is None
        assert second.done()
        assert second.withdraw() in (True, False)
        assert first.withdraw() is False
        server.settle("task-0")
        await first
        assert first.withdraw() is False
        await third.accepted()
        assert third.withdraw() is False
        assert [seen.json()["prompt"] for seen in server.submits] == ["first", "third"]
        assert bfl.statistics().withdrawn == 1


async def test_1_withdraw_is_refused_while_the_post_is_on_its_way() -> None:
    """TaskHandle: once the POST left there is no way back, and the slot stays taken."""
    async with served(hold_tasks=True) as (server, bfl):
        gate = asyncio.Event()

        async def accept_late(_seen: object) -> None:
            await gate.wait()

        server.script_submits(accept_late)
        handle = bfl.submit_nowait(a_request())
        await server.wait_submits(1)
        assert handle.state == "submitting"
        assert handle.withdraw() is False
        assert bfl.statistics().slots_taken == 1
        gate.set()
        assert await handle.accepted() == "task-0"


# ---- timeouts


@pytest.mark.parametrize("call", ["generate", "submit", "result"])
async def test_1_a_timeout_in_the_queue_says_so(call: str) -> None:
    """Errors: a `TaskTimeoutError`, also `TimeoutError`, with `.state` queued and no task."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        await bfl.submit(a_request("first"))
        with pytest.raises(TaskTimeoutError) as caught:
            if call == "generate":
                await bfl.generate(a_request(), timeout=0.05)
            elif call == "submit":
                await bfl.submit(a_request(), timeout=0.05)
            else:
                handle = bfl.submit_nowait(a_request())
                try:
                    await handle.result(timeout=0.05)
                finally:
                    assert handle.withdraw()
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert (error.state, error.task_id, error.polling_url) == ("queued", None, None)
        no_secret_in(error, repr(error))
        server.settle("task-0")
        assert await bfl.drain(timeout=5)
        assert len(server.submits) == 1
        assert bfl.statistics().withdrawn == 1


@pytest.mark.parametrize("call", ["generate", "submit"])
async def test_1_a_timeout_on_the_way_says_so_and_the_task_goes_on(call: str) -> None:
    """Errors: `.state` is submitting; the POST still ends, and the task is followed."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        gate = asyncio.Event()

        async def accept_late(_seen: object) -> None:
            await gate.wait()

        server.script_submits(accept_late)
        with pytest.raises(TaskTimeoutError) as caught:
            if call == "generate":
                await bfl.generate(a_request(), timeout=0.1)
            else:
                await bfl.submit(a_request(), timeout=0.1)
        assert (caught.value.state, caught.value.task_id) == ("submitting", None)
        assert bfl.statistics().slots_taken == 1
        gate.set()
        await server.wait_polls(1)
        server.settle("task-0")
        assert await bfl.drain(timeout=5)
        assert bfl.statistics().ready == 1


async def test_1_a_timeout_of_a_submitted_task_names_what_attach_needs() -> None:
    """Errors: `.state` submitted, `.task_id`, `.polling_url`; the same id attaches to the same handle."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request(), timeout=0.15)
        error = caught.value
        assert (error.state, error.task_id) == ("submitted", "task-0")
        assert error.polling_url == server.polling_url("task-0")
        assert bfl.statistics().slots_taken == 1
        handle = bfl.attach("task-0", polling_url=error.polling_url)
        assert bfl.statistics().slots_taken == 1
        server.settle("task-0")
        assert (await handle).task_id == "task-0"
        assert bfl.statistics().slots_taken == 0
        assert len(server.submits) == 1


async def test_1_a_timeout_carries_the_last_failed_poll_as_its_cause() -> None:
    """Errors: "the last refusal or failed poll as its cause"."""
    async with served() as (server, bfl):
        server.always_poll = say(500, {"detail": "oops"})
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request(), timeout=0.3)
        assert caught.value.__cause__ is not None
        assert getattr(caught.value.__cause__, "status_code", None) == 500


async def test_1_a_timeout_of_zero_or_less_ends_at_once_and_sends_nothing_twice() -> None:
    """`timeout` bounds the caller's wait, whatever small number it is."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        await bfl.submit(a_request("first"))
        for timeout in (0, 0.0, -1):
            with pytest.raises(TaskTimeoutError):
                await bfl.generate(a_request(), timeout=timeout)
        assert bfl.statistics().queued == 0
        assert len(server.submits) == 1


@pytest.mark.looptime
@pytest.mark.slow
async def test_1_only_the_queue_may_wait_without_a_bound() -> None:
    """Timeouts: without a caller's timeout the queue waits for hours, the task for its deadline: 600 s."""
    fake = ScriptedTransport(service_s=math.inf)
    loop = asyncio.get_running_loop()
    async with fake.client(limits=Limits(account=1, unknown_s=10)) as bfl:
        started = loop.time()
        first = bfl.submit_nowait(a_request("first"))
        second = bfl.submit_nowait(a_request("second"))
        with pytest.raises(TaskTimeoutError) as caught:
            await first
        assert caught.value.state == "submitted"
        assert 599 <= loop.time() - started <= 612
        assert second.state == "queued"
        await second.accepted()
        assert 608 <= loop.time() - started <= 625


# ---- limits


async def test_1_the_account_limit_holds_and_the_queue_keeps_its_order() -> None:
    """limits: priority (lower first), then arrival."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        await bfl.submit(a_request("first"))
        wanted = [("late", 5), ("b", 0), ("c", 0), ("urgent", -1), ("later", 5)]
        handles = [bfl.submit_nowait(a_request(name), priority=priority) for name, priority in wanted]
        assert [handle.queue_position for handle in handles] == [3, 1, 2, 0, 4]
        for n in range(6):
            await server.wait_submits(n + 1)
            await until(lambda n=n: len(server.task_ids) == n + 1)  # type: ignore[misc]  # on purpose: a wrong argument
            assert bfl.statistics().slots_taken == 1
            server.settle(f"task-{n}")
        assert await bfl.drain(timeout=5)
        assert [seen.json()["prompt"] for seen in server.submits] == [
            "first", "urgent", "b", "c", "late", "later",
        ]  # fmt: skip


async def test_1_a_full_queue_refuses_at_once() -> None:
    """Limits.queue: at most so many waiting, then `QueueFullError` at once; nothing is counted twice."""
    async with served(hold_tasks=True, limits=Limits(account=1, queue=1)) as (server, bfl):
        await bfl.submit(a_request("first"))
        second = bfl.submit_nowait(a_request("second"))
        with pytest.raises(QueueFullError):
            bfl.submit_nowait(a_request("third"))
        with pytest.raises(QueueFullError):
            await bfl.generate(a_request("fourth"))
        assert bfl.statistics().queued == 1
        assert second.withdraw()
        third = bfl.submit_nowait(a_request("fifth"))
        server.settle("task-0")
        await third.accepted()
        assert len(server.submits) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")  # the model may be new to the catalog
async def test_1_a_full_narrow_pool_is_passed_over_and_keeps_its_place() -> None:
    """limits: flux-kontext-max has 6 slots of its own; other models go on past it; all or nothing is taken."""
    async with served(hold_tasks=True, limits=8) as (server, bfl):
        kontext = [bfl.submit_nowait("flux-kontext-max", prompt=str(n)) for n in range(8)]
        others = [bfl.submit_nowait(a_request(str(n))) for n in range(3)]
        await server.wait_submits(8)
        await until(lambda: bfl.statistics().active == 8)
        counts = bfl.statistics()
        assert counts.slots_taken == 8
        assert counts.pools["flux-kontext-max"].taken == 6
        assert counts.pools["flux-kontext-max"].queued == 2
        assert counts.pools["account"].taken == 8
        assert counts.pools["account"].queued == 3
        assert [handle.state for handle in others] == ["submitted", "submitted", "queued"]
        # A slot of the account alone is free: the next in line is passed over, as its own pool is full.
        assert others[0].task_id is not None
        server.settle(others[0].task_id)
        await others[2].accepted()
        assert kontext[6].state == "queued"
        assert kontext[0].task_id is not None
        server.settle(kontext[0].task_id)
        await kontext[6].accepted()
        assert kontext[7].state == "queued"
        kontext[7].withdraw()


@pytest.mark.looptime
async def test_1_two_clients_of_one_limiter_share_its_slots() -> None:
    """limits: "two clients given one `limiter` share it"."""
    from bfl_async.limiter import LocalLimiter

    fake = ScriptedTransport(limit=3, service_s=5.0)
    limiter = LocalLimiter(Limits(account=3))
    async with (
        AsyncBFL("k", transport=fake, limiter=limiter, polling=Fixed(0.5)) as one,
        AsyncBFL("k", transport=fake, limiter=limiter, polling=Fixed(0.5)) as two,
    ):
        await asyncio.gather(*(client.generate(a_request()) for client in (one, two) for _ in range(6)))
        assert (fake.peak, fake.refused_429) == (3, 0)
        assert one.statistics().ready == two.statistics().ready == 6


# ---- handles


async def test_a_handle_tells_its_life() -> None:
    """TaskHandle: its properties at each stage, over a socket."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        blocker = await bfl.submit(a_request("first"))
        handle = bfl.submit_nowait(FluxDev(prompt=PROMPT))
        assert (handle.task_id, handle.polling_url, handle.cost, handle.status) == (None, None, None, None)
        assert (handle.state, handle.done(), handle.queue_position) == ("queued", False, 0)
        assert handle.model == "flux-dev"
        with pytest.raises(ConfigError):
            handle.to_dict()
        server.settle(str(blocker.task_id))
        assert await handle.accepted() == "task-1"
        assert (handle.task_id, handle.state, handle.queue_position) == ("task-1", "submitted", None)
        assert handle.polling_url == server.polling_url("task-1")
        assert handle.cost == 4.0
        assert handle.to_dict() == {
            "task_id": "task-1",
            "polling_url": server.polling_url("task-1"),
            "model": "flux-dev",
            "cost": 4.0,
        }
        server.ended["task-1"] = status_body("task-1", "Pending", progress=0.4)
        await until(lambda: handle.progress == 0.4)
        assert handle.status == TaskStatus.PENDING
        server.settle("task-1")
        await handle
        assert (handle.done(), handle.state, handle.status) == (True, "settled", TaskStatus.READY)
        no_secret_in(repr(handle), repr(bfl), repr(blocker))


async def test_a_handle_may_be_awaited_by_many_and_again() -> None:
    """TaskHandle: awaitable many times from many coroutines; each gets the same value."""
    async with served(hold_tasks=True) as (server, bfl):
        handle = await bfl.submit(a_request())

        async def wait() -> Result:
            return await handle

        waiters = [asyncio.create_task(wait()) for _ in range(5)]
        await spin()
        server.settle("task-0")
        results = await asyncio.gather(*waiters)
        assert all(result == results[0] for result in results)
        assert await handle == results[0]
        assert await handle.result(timeout=0.5) == results[0]
        assert await handle.accepted() == "task-0"


async def test_each_waiter_gets_an_exception_of_its_own() -> None:
    """TaskHandle: it stores a settlement (a value): each waiter gets an exception of its own."""
    async with served() as (server, bfl):
        server.script_polls(say(200, status_body("task-0", "Error", details={"why": "bad luck"})))
        handle = await bfl.submit(a_request())
        errors = []
        for _ in range(3):
            with pytest.raises(TaskFailedError) as caught:
                await handle
            errors.append(caught.value)
        assert len({id(error) for error in errors}) == 3
        assert {str(error) for error in errors} == {str(errors[0])}
        assert {error.task_id for error in errors} == {"task-0"}
        assert errors[0].details == {"why": "bad luck"}


async def test_an_unawaited_failure_is_logged_once_and_shows_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TaskHandle: "an unawaited failure is logged once"; one that was awaited is not."""
    gc.collect()
    caplog.set_level(logging.DEBUG)
    async with served() as (server, bfl):
        server.script_submits(server.accepted("nobody-cares"), server.accepted("somebody-cares"))
        server.always_poll = lambda seen: say(200, status_body(seen.task_id, "Error"))
        unheard = await bfl.submit(a_request())
        await until(unheard.done)
        task_id = str(unheard.task_id)
        del unheard
        heard = await bfl.submit(a_request())
        with pytest.raises(TaskFailedError):
            await heard
        heard_id = str(heard.task_id)
        del heard
        gc.collect()
        await spin()
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum(task_id in record.getMessage() for record in loud) == 1
    assert not any(heard_id in record.getMessage() for record in loud)
    no_secret_in(caplog.text)


# ---- settlements and updates


@pytest.mark.parametrize(
    ("word", "stage"), [("Request Moderated", "request"), ("Content Moderated", "content")]
)
async def test_moderation_is_an_error_of_its_own(word: str, stage: str) -> None:
    """Errors: `TaskModeratedError` with `.stage` and `.reasons`, counted as moderated; the slot is freed."""
    async with served() as (server, bfl):
        details = {"Moderation Reasons": ["Violence", "Self Harm"]}
        server.script_polls(say(200, status_body("task-0", word, details=details)))
        with pytest.raises(TaskModeratedError) as caught:
            await bfl.generate(a_request())
        error = caught.value
        assert (error.stage, error.reasons, error.task_id) == (stage, ("Violence", "Self Harm"), "task-0")
        assert error.status == word
        counts = bfl.statistics()
        assert (counts.moderated, counts.failed, counts.slots_taken) == (1, 0, 0)
        no_secret_in(error, repr(error))


@pytest.mark.parametrize(
    "details", [None, {}, {"Moderation Reasons": None}, {"Moderation Reasons": "Violence"}, []]
)
async def test_moderation_without_readable_reasons_is_still_moderation(details: object) -> None:
    """Invariant 4: what the server may add or leave out is data."""
    async with served() as (server, bfl):
        server.script_polls(say(200, status_body("task-0", "Request Moderated", details=details)))
        with pytest.raises(TaskModeratedError):
            await bfl.generate(a_request(), timeout=3)


async def test_updates_start_with_the_present_and_end_with_the_terminal_state() -> None:
    """updates(): on change only; starts with the present state, yields the terminal one and ends."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        blocker = await bfl.submit(a_request("first"))
        handle = bfl.submit_nowait(a_request())
        seen: list[Update] = []

        async def read() -> None:
            async for update in handle.updates():
                seen.append(update)  # noqa: PERF401 - read while it grows

        reader = asyncio.create_task(read())
        await until(lambda: len(seen) == 1)
        assert (seen[0].state, seen[0].task_id, seen[0].status) == (State.QUEUED, None, None)
        server.settle(str(blocker.task_id))
        await handle.accepted()
        for progress in (0.2, 0.7):
            server.ended["task-1"] = status_body("task-1", "Pending", progress=progress)
            await until(lambda progress=progress: seen[-1].progress == progress)  # type: ignore[misc]  # on purpose: a wrong argument
        polls = len(server.polls)
        await server.wait_polls(polls + 3)
        server.settle("task-1")
        await asyncio.wait_for(reader, 5)
        assert seen[-1].status == TaskStatus.READY
        assert seen[-1].state == State.SETTLED
        assert all(earlier != later for earlier, later in itertools.pairwise(seen))
        # The result is there at once.
        assert (await handle.result(timeout=0.5)).task_id == "task-1"
        # Asked for again, it yields the terminal one alone.
        assert [update async for update in handle.updates()] == [seen[-1]]


async def test_updates_keep_the_newest_for_a_slow_reader() -> None:
    """updates(): a slow reader gets the newest state and the terminal one, not a backlog."""
    async with served(hold_tasks=True) as (server, bfl):
        handle = await bfl.submit(a_request())
        updates = handle.updates()
        await anext(updates)
        for progress in (0.1, 0.2, 0.3):
            server.ended["task-0"] = status_body("task-0", "Pending", progress=progress)
            await until(lambda progress=progress: handle.progress == progress)  # type: ignore[misc]  # on purpose: a wrong argument
        assert (await anext(updates)).progress == 0.3
        server.settle("task-0")
        await handle
        rest = [update async for update in updates]
        assert [update.status for update in rest] == [TaskStatus.READY]


@pytest.mark.parametrize("end", ["Request Moderated", "Error", "refused", "lost", "withdrawn"])
async def test_updates_end_however_the_task_ends(end: str) -> None:
    """updates(): the terminal one comes and the iterator ends, also without a task; it raises nothing."""
    async with served(limits=Limits(account=1, unknown_s=60)) as (server, bfl):
        gate = asyncio.Event()
        if end == "refused":
            server.script_submits(Hold(gate, say(422, {"detail": "no"})))
        elif end == "lost":
            server.script_submits(Hold(gate, None))
        else:
            server.script_polls(say(200, status_body("task-0", end)))
        handle = bfl.submit_nowait(a_request())
        target = handle
        if end == "withdrawn":
            server.script_submits(Hold(gate, None))
            target = bfl.submit_nowait(a_request())
        reader = asyncio.create_task(_read(target))
        await spin()
        if end == "withdrawn":
            assert target.withdraw()
        gate.set()
        updates = await asyncio.wait_for(reader, 5)
        assert updates[-1].state == State.SETTLED
        for one in {handle, target}:
            with pytest.raises((TaskError, InvalidRequestError, AmbiguousSubmitError)):
                await one


async def _read(handle: object) -> list[Update]:
    return [update async for update in handle.updates()]  # type: ignore[attr-defined]  # on purpose: a wrong argument


@pytest.mark.looptime
async def test_updates_make_polls_at_most_a_second_apart() -> None:
    """updates(): "while it is read, polls are at most 1 s apart"."""
    fake = ScriptedTransport(service_s=30.0)
    async with fake.client(interval=20.0) as bfl:
        handle = await bfl.submit(a_request())
        await asyncio.sleep(0.5)
        async for update in handle.updates():
            if update.status == TaskStatus.READY:
                break
        times = [at for at, _ in fake.polled]
        assert len(times) >= 25
        assert max(b - a for a, b in itertools.pairwise(times)) <= 1.1


# ---- attach


async def test_a_task_attaches_in_another_client_with_its_to_dict() -> None:
    """attach: `.to_dict()` = exactly `attach`'s parameters; the round trip gives an equal record."""
    async with ContractServer(hold_tasks=True) as server:
        async with server.client() as first:
            handle = await first.submit(a_request())
            record = handle.to_dict()
        with pytest.raises(ClientClosedError):
            await handle
        async with server.client() as second:
            attached = second.attach(**record)
            assert attached.to_dict() == record
            assert (attached.state, second.statistics().slots_taken) == ("submitted", 1)
            assert await attached.accepted() == "task-0"
            server.settle("task-0")
            result = await attached
            assert (result.task_id, result.model, result.cost) == ("task-0", "flux-pro-1.1", 4.0)
        assert len(server.submits) == 1


async def test_the_same_id_gives_the_same_handle() -> None:
    """attach: also for a task of this client's own, and after it has ended while the handle lives."""
    async with served(hold_tasks=True) as (server, bfl):
        own = await bfl.submit(a_request())
        assert bfl.attach("task-0") is own
        foreign = bfl.attach("task-x")
        assert bfl.attach("task-x", model="flux-dev") is foreign
        assert bfl.statistics().slots_taken == 2
        server.settle("task-0")
        server.settle("task-x")
        await own
        await foreign


async def test_attach_takes_slots_past_the_limit_and_new_submits_wait_longer() -> None:
    """attach: "takes its slots at once, past the limit if need be (new submits then wait longer)"."""
    async with served(hold_tasks=True, limits=1) as (server, bfl):
        handles = [bfl.attach(f"old-{n}") for n in range(3)]
        assert bfl.statistics().slots_taken == 3
        assert bfl.statistics().pools["account"].taken == 3
        queued = bfl.submit_nowait(a_request())
        for n in range(3):
            await spin()
            assert queued.state == "queued"
            server.settle(f"old-{n}")
            await handles[n]
        await queued.accepted()
        assert bfl.statistics().slots_taken == 1


async def test_attach_without_a_polling_url_asks_the_base_url() -> None:
    """attach: the base URL's own `/v1/get_result?id=`, the id quoted."""
    async with served() as (server, bfl):
        await bfl.attach("plain-id")
        await bfl.attach("a b&c=d/é")
        assert server.polls[0].target == "/v1/get_result?id=plain-id"
        assert server.polls[1].target.startswith("/v1/get_result?id=a%20b%26c%3Dd") or server.polls[
            1
        ].target.startswith("/v1/get_result?id=a+b%26c%3Dd")


@pytest.mark.parametrize("task_id", ["", "   "])
async def test_attach_refuses_an_id_that_is_none(task_id: str) -> None:
    """attach: checked here, before any I/O."""
    async with served() as (server, bfl):
        with pytest.raises(InvalidRequestError):
            bfl.attach(task_id)
        assert bfl.statistics().slots_taken == 0
        assert server.seen == []


async def test_a_lost_submit_is_not_attached_by_accident() -> None:
    """Invariant 2: an ambiguous handle has no id, so `to_dict` has nothing to give."""
    async with served() as (server, bfl):
        server.script_submits(RESET)
        handle = bfl.submit_nowait(a_request())
        with pytest.raises(AmbiguousSubmitError):
            await handle.accepted()
        assert (handle.task_id, handle.done()) == (None, True)
        with pytest.raises(ConfigError):
            handle.to_dict()


@pytest.mark.looptime
async def test_1_a_handle_result_timeout_leaves_the_task_running() -> None:
    """TaskHandle.result(timeout=): "the timeout ended; the task goes on"."""
    fake = ScriptedTransport(service_s=30.0)
    async with fake.client(timeouts=Timeouts(task=100)) as bfl:
        handle = await bfl.submit(a_request())
        with pytest.raises(TaskTimeoutError) as caught:
            await handle.result(timeout=5)
        assert (caught.value.state, caught.value.task_id) == ("submitted", "task-0")
        assert not handle.done()
        assert (await handle).task_id == "task-0"
