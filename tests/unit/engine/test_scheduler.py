"""Slots, money and cancellation, on the loop's clock. Each test names the invariant of the design it holds."""

from __future__ import annotations

import asyncio
import math
import warnings

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AuthenticationError,
    BFLError,
    ClientClosedError,
    ConnectError,
    FluxDev,
    FluxPro11,
    InsufficientCreditsError,
    InvalidRequestError,
    Limits,
    QueueFullError,
    RateLimitedError,
    RefusedError,
    ReplyTimeoutError,
    TaskError,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    request,
)
from bfl_async.types import Reply
from tests.fake import FakeAPI, prompts, reply, spin, status

pytestmark = pytest.mark.looptime(start=0)


def a_request(prompt: str = "a cat") -> FluxPro11:
    return FluxPro11(prompt=prompt)


async def cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- invariant 1: slots follow the server -----------------------------------------------------------------


async def test_one_client_is_never_refused_and_fills_all_slots() -> None:
    """Invariant 1: with one client on the account and no lost answers the server never answers 429."""
    api = FakeAPI(limit=5, service_s=lambda n: 0.3 + (n * 7 % 11) / 5)
    async with api.client() as bfl:
        results = await bfl.gather([a_request(str(n)) for n in range(60)])
        assert len(results) == 60
        assert api.refused_429 == 0
        assert api.peak_active == 5
        assert bfl.statistics().slots_taken == 0


async def test_cancelled_caller_keeps_its_slot() -> None:
    """Invariant 1: a slot stays taken until the server settles the task, whoever is still waiting."""
    api = FakeAPI(limit=1, service_s=10)
    async with api.client() as bfl:
        caller = asyncio.create_task(bfl.generate(a_request("first")))
        await asyncio.sleep(1)
        await cancel(caller)
        later = bfl.submit_nowait(a_request("second"))
        await asyncio.sleep(5)
        assert bfl.statistics().slots_taken == 1
        assert prompts(api.posts) == ["first"]
        await later.accepted()
        assert asyncio.get_running_loop().time() >= 10
        assert api.refused_429 == 0


@pytest.mark.parametrize("method", ["generate", "submit"])
async def test_caller_cancelled_while_queued_sends_nothing(method: str) -> None:
    """Invariant 1: cancelled while queued, a request is withdrawn unsent."""
    api = FakeAPI(limit=1, service_s=10)
    async with api.client() as bfl:
        await bfl.submit(a_request("first"))
        caller = asyncio.create_task(getattr(bfl, method)(a_request("second")))
        await spin()
        assert bfl.statistics().queued == 1
        await cancel(caller)
        assert bfl.statistics().queued == 0
        assert bfl.statistics().withdrawn == 1
        await bfl.drain()
        assert prompts(api.posts) == ["first"]


async def test_caller_cancelled_in_the_turn_of_its_grant_sends_nothing() -> None:
    """Invariant 1: grant and cancel in the same loop turn neither send nor leak a slot."""
    api = FakeAPI(limit=1)
    async with api.client() as bfl:
        handle = bfl.submit_nowait(a_request("first"))
        assert handle.withdraw()
        assert bfl.statistics().slots_taken == 0
        with pytest.raises(TaskError, match="withdrawn"):
            await handle
        await bfl.generate(a_request("second"))
        assert prompts(api.posts) == ["second"]


@pytest.mark.parametrize("method", ["generate", "submit"])
async def test_caller_cancelled_during_the_post_lets_it_end_and_drains_the_task(method: str) -> None:
    """Invariant 1: cancelled during the POST, the POST ends, the id is kept, the task is drained."""
    api = FakeAPI(limit=1, service_s=3, submit_s=1)
    async with api.client() as bfl:
        caller = asyncio.create_task(getattr(bfl, method)(a_request()))
        await asyncio.sleep(0.2)
        assert bfl.statistics().submitting == 1
        began = asyncio.get_running_loop().time()
        await cancel(caller)
        assert asyncio.get_running_loop().time() == began, "cancellation returns at once"
        assert bfl.statistics().slots_taken == 1
        assert await bfl.drain()
        now = bfl.statistics()
        assert (now.submitted, now.ready, now.slots_taken) == (1, 1, 0)


async def test_cancelled_at_any_moment_slots_equal_what_the_server_counts() -> None:
    """Invariant 1: at every await that holds a slot, a cancelled caller changes nothing about it."""
    for step in range(0, 150, 3):
        api = FakeAPI(limit=2, service_s=1.0)
        async with api.client() as bfl:
            callers = [asyncio.create_task(bfl.generate(a_request(str(n)))) for n in range(4)]
            await asyncio.sleep(step / 100)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
            assert bfl.statistics().slots_taken >= api.active
            await asyncio.gather(*[bfl.generate(a_request("later")) for _ in range(6)])
            await bfl.drain()
            assert api.refused_429 == 0
            assert bfl.statistics().slots_taken == 0
            assert len(api.posts) == bfl.statistics().submitted


async def test_closed_at_any_moment_no_task_is_forgotten() -> None:
    """Invariants 2 and 8: whenever the client closes, each accepted task has a result or stands in `.tasks`."""
    for step in range(0, 200, 3):
        api = FakeAPI(limit=2, service_s=0.7)
        bfl = await api.client().open()
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(4)]
        await asyncio.sleep(step / 100)
        await bfl.aclose()
        known: set[str | None] = set()
        for handle in handles:
            assert handle.done()
            try:
                known.add((await handle).task_id)
            except ClientClosedError as exc:
                known.update(task["task_id"] for task in exc.tasks)
        assert set(api.tasks) <= known
        assert len(asyncio.all_tasks()) == 1


async def test_cancelling_one_waiter_leaves_the_others_waiting() -> None:
    """Invariant 1: a handle's waiters wait and own nothing."""
    api = FakeAPI(service_s=2)
    async with api.client() as bfl:
        handle = await bfl.submit(a_request())
        waiters = [asyncio.create_task(handle.result()) for _ in range(3)]
        await spin()
        await cancel(waiters[0])
        assert await waiters[1] is await waiters[2] is await handle


async def test_abandoned_request_is_not_sent_again_after_a_refusal() -> None:
    """Invariant 2: nobody waits for it any more, so a request that came back unsent is not paid for."""
    api = FakeAPI(submit_s=1)
    api.script_submits(reply(503, {"detail": "maintenance"}))
    async with api.client() as bfl:
        caller = asyncio.create_task(bfl.generate(a_request()))
        await asyncio.sleep(0.5)
        await cancel(caller)
        assert await bfl.drain()
        assert len(api.posts) == 1
        assert bfl.statistics().withdrawn == 1


async def test_timeout_says_where_the_request_stood() -> None:
    """A `TaskTimeoutError` tells queued, submitting and submitted apart, and the task goes on."""
    api = FakeAPI(limit=1, service_s=5, submit_s=1)
    async with api.client() as bfl:
        with pytest.raises(TaskTimeoutError) as on_its_way:
            await bfl.generate(a_request("first"), timeout=0.5)
        assert (on_its_way.value.state, on_its_way.value.task_id) == ("submitting", None)
        with pytest.raises(TimeoutError) as queued:
            await bfl.submit(a_request("second"), timeout=0.2)
        assert isinstance(queued.value, TaskTimeoutError)
        assert queued.value.state == "queued"
        await bfl.drain()
        with pytest.raises(TaskTimeoutError) as running:
            await bfl.generate(a_request("third"), timeout=2)
        assert running.value.state == "submitted"
        assert running.value.task_id == "task-1"
        assert running.value.polling_url == "https://api.bfl.ai/poll/task-1"
        handle = bfl.attach("task-1")
        assert (await handle).task_id == "task-1"
        assert prompts(api.posts) == ["first", "third"]


# --- invariant 2: money is spent once -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, {"detail": "no"}),
        reply(502, "<html>"),
        reply(504, ""),
        reply(503, "<html>maintenance</html>"),
        reply(200, "not json"),
        reply(200, {"polling_url": "https://api.bfl.ai/poll/x"}),
        TransportError("the connection was reset"),
        ReplyTimeoutError("late"),
    ],
    ids=["500", "502", "504", "503 html", "garbage", "no id", "reset", "timeout"],
)
async def test_ambiguous_submit_is_never_repeated_and_holds_its_slot(answer: Reply | BFLError) -> None:
    """Invariant 2: where a task may exist the POST is never repeated and the slot is held for `unknown_s`."""
    api = FakeAPI()
    api.submit_script.append(answer)
    async with api.client(limits=Limits(account=12, unknown_s=30)) as bfl:
        began = asyncio.get_running_loop().time()
        with pytest.raises(AmbiguousSubmitError) as caught:
            await bfl.generate(a_request())
        assert caught.value.task_id is None
        if not isinstance(answer, BFLError):
            assert caught.value.status_code == answer.status_code
        assert bfl.statistics().ambiguous == 1
        await asyncio.sleep(began + 29 - asyncio.get_running_loop().time())
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(2)
        assert bfl.statistics().slots_taken == 0
        assert len(api.posts) == 1


async def test_unknown_slot_is_held_for_twice_the_prior_until_times_are_learnt() -> None:
    """Invariant 2: the default hold is twice the 99th percentile, at least 10 s, at most the task's deadline."""
    api = FakeAPI(submit_s=0.0)
    api.script_submits(reply(500, ""))
    async with api.client() as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate(a_request())  # p99 of the prior: 11.4 s
        await asyncio.sleep(22)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(1)
        assert bfl.statistics().slots_taken == 0
        await bfl.gather([a_request() for _ in range(30)])  # about 1 s each
        api.script_submits(reply(500, ""))
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate(a_request())
        await asyncio.sleep(9.8)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(0.4)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, InsufficientCreditsError),
        (403, AuthenticationError),
        (404, RefusedError),
        (409, RefusedError),
        (422, InvalidRequestError),
        (302, RefusedError),
    ],
)
async def test_refusal_frees_the_slot_at_once_and_is_not_repeated(
    code: int, expected: type[BFLError]
) -> None:
    """Invariant 2: a 3xx or 4xx means that no task exists."""
    api = FakeAPI()
    api.script_submits(reply(code, {"detail": "no"}, location="https://api.bfl.ai/elsewhere"))
    async with api.client() as bfl:
        with pytest.raises(expected) as caught:
            await bfl.generate(a_request())
        assert type(caught.value) is expected
        assert caught.value.status_code == code  # type: ignore[attr-defined]  # every RefusedError has one
        assert bfl.statistics().slots_taken == 0
        assert len(api.posts) == 1
        if code == 404:
            assert "flux-pro-1.1" in str(caught.value)


async def test_unsent_request_is_repeated_until_the_callers_timeout() -> None:
    """Invariant 2: no connection means nothing was sent: repeated with back-off, then `ConnectError`."""
    api = FakeAPI(submit_s=0.0)
    refused = ConnectError("no connection")
    api.script_submits(*[refused] * 500)
    async with api.client() as bfl:
        with pytest.raises(ConnectError):
            await bfl.generate(a_request(), timeout=100)
        assert 99 < asyncio.get_running_loop().time() <= 100
        assert 10 < len(api.posts) < 50
        assert bfl.statistics().slots_taken == 0
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectError):
            await bfl.generate(a_request())
        assert 9 < asyncio.get_running_loop().time() - began <= 10, "bounded also without a timeout"


async def test_unsent_request_goes_through_once_there_is_a_connection() -> None:
    """Invariant 2: the repeat is the same request, accepted once."""
    api = FakeAPI()
    api.script_submits(ConnectError("no connection"), ConnectError("no connection"))
    async with api.client() as bfl:
        await bfl.generate(a_request())
        assert len(api.tasks) == 1


async def test_503_with_a_json_body_is_sent_again_after_retry_after() -> None:
    """Invariant 2: the server says that it took nothing; `Retry-After` is honoured and the slot is free."""
    api = FakeAPI(submit_s=0.0)
    api.script_submits(reply(503, {"detail": "busy"}, retry_after="20"))
    async with api.client() as bfl:
        handle = bfl.submit_nowait(a_request())
        await asyncio.sleep(10)
        assert handle.state == "queued"
        assert bfl.statistics().slots_taken == 0
        await handle
        assert asyncio.get_running_loop().time() >= 20
        assert bfl.statistics().refused_429 == 0


async def test_accepted_task_that_is_lost_by_its_deadline_can_be_attached() -> None:
    """Invariant 2: a task past its deadline keeps its slot for `unknown_s` and is not sent again."""
    api = FakeAPI(service_s=50)
    async with api.client(limits=Limits(unknown_s=30), timeouts=Timeouts(task=20)) as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request())
        assert caught.value.task_id == "task-0"
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(31)
        assert bfl.statistics().slots_taken == 0
        assert (await bfl.attach("task-0", polling_url=caught.value.polling_url)).task_id == "task-0"
        assert len(api.posts) == 1


# --- invariant 6: 429 teaches ---------------------------------------------------------------------------------


async def test_429_fails_nothing_and_lowers_the_working_limit() -> None:
    """Invariant 6: another program holds 8 of 12 slots: all requests get through, on the 4 that are left."""
    api = FakeAPI(limit=12, service_s=5, foreign_active=8)
    async with api.client() as bfl:
        results = asyncio.create_task(bfl.gather([a_request(str(n)) for n in range(12)]))
        await asyncio.sleep(1)
        account = bfl.statistics().pools["account"]
        assert (account.limit, account.working, account.taken) == (12, 4, 4)
        assert len(await results) == 12
        assert bfl.statistics().refused_429 == api.refused_429 < 20


async def test_refused_request_goes_back_to_the_head_of_its_queue() -> None:
    """Invariant 6: a refused request keeps its place."""
    api = FakeAPI(limit=3, service_s=4, foreign_active=2)
    async with api.client(limits=3) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(6)]
        await asyncio.gather(*handles)
        accepted = [task.body["prompt"] for task in api.tasks.values()]
        assert accepted == [str(n) for n in range(6)]


async def test_working_limit_rises_again_by_a_timer_with_nothing_in_flight() -> None:
    """Invariant 6: it rises by one after a quiet interval of 2 s, up to the configured limit."""
    api = FakeAPI(limit=12, service_s=1, foreign_active=11)
    async with api.client() as bfl:
        await bfl.gather([a_request(str(n)) for n in range(3)])
        api.foreign_active = 0
        low = bfl.statistics().pools["account"].working
        assert low < 12
        await asyncio.sleep(120)
        assert bfl.statistics().pools["account"].working == 12


async def test_refused_raises_double_the_quiet_interval() -> None:
    """Invariant 6: while the other program stays, few submits are wasted on asking."""
    api = FakeAPI(limit=12, service_s=3, foreign_active=10)
    async with api.client() as bfl:
        await bfl.gather([a_request(str(n)) for n in range(200)])
        assert asyncio.get_running_loop().time() > 280
        assert api.refused_429 < 10 + 12


async def test_429_without_own_tasks_waits_instead_of_hammering() -> None:
    """Invariant 6: with nothing of ours held, no release can tell that there is room: 2, 4, ... 60 s."""
    api = FakeAPI(limit=1, foreign_active=1)
    async with api.client() as bfl:
        handle = bfl.submit_nowait(a_request())
        await asyncio.sleep(300)
        assert len(api.posts) < 12
        api.foreign_active = 0
        await handle.result(timeout=70)


async def test_timeout_of_a_refused_request_has_the_429_as_its_cause() -> None:
    """Invariant 6: nothing fails for a 429 unless the caller's timeout ends."""
    api = FakeAPI(limit=1, foreign_active=1)
    async with api.client() as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request(), timeout=5)
        assert caught.value.state == "queued"
        assert isinstance(caught.value.__cause__, RateLimitedError)


async def test_requests_of_other_pools_go_on_after_a_429() -> None:
    """Invariant 6: the narrowest pool of the refused request is limited, not the account."""
    api = FakeAPI(service_s=5)
    with warnings.catch_warnings(action="ignore"):  # of a model that the catalog does not know
        narrow = request("flux-kontext-max", prompt="narrow")
    async with api.client() as bfl:
        api.script_submits(reply(429, {"detail": "no"}, retry_after="50"))
        refused = bfl.submit_nowait(narrow)
        await asyncio.sleep(1)
        assert bfl.statistics().pools["flux-kontext-max"].working == 1
        assert bfl.statistics().pools["account"].working == 12
        await bfl.generate(a_request("wide"))
        assert asyncio.get_running_loop().time() < 10
        await refused
        assert asyncio.get_running_loop().time() >= 50


# --- invariant 7: 402 stops spending ------------------------------------------------------------------------


async def test_402_fails_what_waits_and_collects_what_runs() -> None:
    """Invariant 7: the refused request and those waiting fail; tasks in flight are still collected."""
    api = FakeAPI(limit=2, service_s=5)
    async with api.client() as bfl:
        running = await bfl.submit(a_request("running"))
        api.script_submits(reply(402, {"detail": "Insufficient credits"}))
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(5)]
        errors = await asyncio.gather(*handles, return_exceptions=True)
        assert all(isinstance(error, InsufficientCreditsError) for error in errors)
        assert len({id(error) for error in errors}) == 5, "each waiter has an exception of its own"
        assert len(api.posts) == 2
        assert (await running).task_id == "task-0"


async def test_after_a_402_nothing_is_sent_for_30_s_then_one_probe() -> None:
    """Invariant 7: new requests fail without I/O for 30 s; then one goes, and the others wait for it."""
    api = FakeAPI(submit_s=1)
    api.script_submits(reply(402, {"detail": "Insufficient credits"}))
    async with api.client() as bfl:
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request("empty"))
        await asyncio.sleep(28)
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request("too early"))
        assert prompts(api.posts) == ["empty"]
        await asyncio.sleep(3)
        api.script_submits(reply(402, {"detail": "still empty"}))
        probes = [bfl.submit_nowait(a_request(f"probe {n}")) for n in range(3)]
        errors = await asyncio.gather(*probes, return_exceptions=True)
        assert all(isinstance(error, InsufficientCreditsError) for error in errors)
        assert prompts(api.posts) == ["empty", "probe 0"]
        await asyncio.sleep(31)
        await bfl.gather([a_request(f"topped up {n}") for n in range(3)])
        assert len(api.tasks) == 3


async def test_probe_that_brings_no_answer_about_money_hands_on() -> None:
    """Invariant 7: a probe that ends as invalid or withdrawn does not strand those behind it."""
    api = FakeAPI(submit_s=1)
    api.script_submits(reply(402, {}))
    async with api.client() as bfl:
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request())
        await asyncio.sleep(31)
        api.script_submits(reply(422, {"detail": "invalid"}))
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(4)]
        handles[1].withdraw()
        with pytest.raises(InvalidRequestError):
            await handles[0]
        await asyncio.gather(handles[2], handles[3])


@pytest.mark.parametrize("code", [401, 403, 422])
async def test_wrong_key_stops_all_until_a_first_submit_was_accepted(code: int) -> None:
    """Invariant 7: before any success a refusal of the key stops all; afterwards it is that request's.

    A malformed key is a 422 with a text.
    """
    api = FakeAPI()
    api.script_submits(reply(code, {"detail": "Invalid API key format"}))
    async with api.client(limits=1) as bfl:
        errors = await asyncio.gather(
            *[bfl.submit_nowait(a_request()) for _ in range(3)], return_exceptions=True
        )
        assert all(isinstance(error, AuthenticationError) for error in errors)
        assert len(api.posts) == 1
        await asyncio.sleep(31)
        await bfl.generate(a_request())
        api.script_submits(reply(code, {"detail": "API key is not valid for this"}))
        refused, fine = bfl.submit_nowait(a_request()), bfl.submit_nowait(a_request())
        with pytest.raises(AuthenticationError):
            await refused
        await fine


# --- invariant 8, 9 -----------------------------------------------------------------------------------------


async def test_bug_in_a_runner_costs_its_own_request_only(caplog: pytest.LogCaptureFixture) -> None:
    """Invariant 8: one outcome each; a runner that fails by a bug touches no other."""

    class Buggy(FakeAPI):
        async def poll(self, url: str):  # type: ignore[no-untyped-def]  # the signature is the parent's
            if url.endswith("task-1"):
                raise ZeroDivisionError
            return await super().poll(url)

    api = Buggy()
    async with api.client(limits=Limits(unknown_s=60)) as bfl:
        outcomes = await bfl.gather([a_request(str(n)) for n in range(4)], return_exceptions=True)
        [error] = [outcome for outcome in outcomes if isinstance(outcome, BFLError)]
        assert isinstance(error, TaskError)
        assert error.task_id == "task-1"
        assert bfl.statistics().slots_taken == 1, "its task may go on"
    assert "bug" in caplog.text


async def test_full_queue_refuses_at_once_and_streams_bound_themselves() -> None:
    """Invariant 9: `Limits.queue` bounds the callers that wait."""
    api = FakeAPI(limit=1, service_s=5)
    async with api.client(limits=Limits(account=1, queue=2)) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(3)]
        with pytest.raises(QueueFullError):
            bfl.submit_nowait(a_request("one too many"))
        with pytest.raises(QueueFullError):
            await bfl.generate(a_request("one too many"))
        async with bfl.stream([a_request("a"), a_request("b"), a_request("c")]) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True] * 3
        await asyncio.gather(*handles)


async def test_priorities_are_strict_and_arrival_decides_among_equals() -> None:
    """Lower goes first; equals go in order of arrival."""
    api = FakeAPI(limit=1, service_s=1)
    async with api.client() as bfl:
        first = bfl.submit_nowait(a_request("first"))
        await first.accepted()
        handles = [
            bfl.submit_nowait(a_request(f"{priority}-{n}"), priority=priority)
            for n in range(2)
            for priority in (5, 0)
        ]
        assert [handle.queue_position for handle in handles] == [2, 0, 3, 1]
        await asyncio.gather(*handles)
        assert prompts(api.posts) == ["first", "0-0", "0-1", "5-0", "5-1"]


async def test_next_submit_starts_in_the_step_that_frees_the_slot() -> None:
    """Between Ready seen and the next POST no time passes."""
    api = FakeAPI(limit=1, service_s=0.5, submit_s=0.0, poll_s=0.0)
    async with api.client(interval=1.0) as bfl:
        moments: list[float] = []

        async def note() -> None:
            moments.append(asyncio.get_running_loop().time())

        api.before_submit = note
        await bfl.gather([a_request(str(n)) for n in range(3)])
        assert moments == pytest.approx([0.0, 1.0, 2.0], abs=0.01)


# --- closing ------------------------------------------------------------------------------------------------


async def test_close_withdraws_the_queue_lets_posts_end_and_names_what_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Invariant 9: after `aclose()` nothing runs; each open task can be attached elsewhere."""
    api = FakeAPI(limit=2, service_s=math.inf, submit_s=1)
    before = asyncio.all_tasks()
    bfl = await api.client().open()
    running = await bfl.submit(a_request("running"))
    posting = bfl.submit_nowait(a_request("posting"))
    queued = bfl.submit_nowait(a_request("queued"))
    await asyncio.sleep(0.2)
    await bfl.aclose()
    assert asyncio.all_tasks() == before
    assert api.closed is False, "a transport from outside is its owner's to close"
    assert prompts(api.posts) == ["running", "posting"]
    with pytest.raises(ClientClosedError) as caught:
        await running
    assert {task["task_id"] for task in caught.value.tasks} == {"task-0", "task-1"}
    assert posting.task_id == "task-1", "the POST on its way has ended"
    with pytest.raises(ClientClosedError):
        await queued
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "task-0" in warnings[0].message
    assert "task-1" in warnings[0].message
    async with api.client() as other:
        handles = [other.attach(**task) for task in caught.value.tasks]
        assert other.statistics().slots_taken == 2
        api.end("task-0")
        api.end("task-1")
        assert [(await handle).task_id for handle in handles] == [
            task["task_id"] for task in caught.value.tasks
        ]


async def test_close_cuts_a_post_that_does_not_end_and_calls_it_ambiguous() -> None:
    """Invariant 2: a POST that is cut off may have made a task."""
    api = FakeAPI(submit_s=1_000)
    bfl = await api.client(timeouts=Timeouts(close=5)).open()
    handle = bfl.submit_nowait(a_request())
    await asyncio.sleep(1)
    await bfl.aclose()
    assert asyncio.get_running_loop().time() == pytest.approx(6, abs=0.1)
    with pytest.raises(AmbiguousSubmitError):
        await handle


async def test_cancelled_close_still_lets_posts_end() -> None:
    """`aclose()` carries the closing through, then raises its cancellation."""
    api = FakeAPI(submit_s=2, service_s=math.inf)
    bfl = await api.client().open()
    handle = bfl.submit_nowait(a_request())
    await asyncio.sleep(1)
    closing = asyncio.create_task(bfl.aclose())
    await asyncio.sleep(0.1)
    await cancel(closing)
    assert handle.task_id == "task-0"
    with pytest.raises(ClientClosedError):
        await handle
    await bfl.aclose()


async def test_close_with_drain_lets_requests_end_first() -> None:
    """`aclose(drain=...)` collects what it can in that time."""
    api = FakeAPI(limit=1, service_s=2)
    bfl = await api.client().open()
    handles = [bfl.submit_nowait(a_request(str(n))) for n in range(2)]
    closers = [asyncio.create_task(bfl.aclose(drain=None)) for _ in range(1)]
    await asyncio.sleep(1)
    with pytest.raises(ClientClosedError):
        await bfl.generate(a_request("too late"))
    await asyncio.wait(closers)
    assert [handle.done() for handle in handles] == [True, True]
    assert bfl.statistics().ready == 2


async def test_attach_takes_its_slots_past_the_limit_and_new_submits_wait() -> None:
    """An attached task is counted by the server already."""
    api = FakeAPI(limit=2, service_s=math.inf)
    async with api.client() as first:
        records = [(await first.submit(FluxDev(prompt=str(n)))).to_dict() for n in range(2)]
        async with api.client(limits=1) as second:
            handles = [second.attach(**record) for record in records]
            assert second.attach(**records[0]) is handles[0]
            assert second.statistics().slots_taken == 2
            waiting = second.submit_nowait(a_request())
            api.end("task-0")
            await handles[0]
            await asyncio.sleep(1)
            assert waiting.state == "queued"
            api.end("task-1")
            await waiting.accepted()
            assert api.refused_429 == 0
            api.end("task-2")
            await second.drain()
        await first.drain()


async def test_settled_cost_takes_the_place_of_the_receipts() -> None:
    """`credits_spent` counts what the server settled, also for tasks that were moderated."""
    api = FakeAPI(service_s=0.1, cost=4.0)
    async with api.client() as bfl:
        api.script_polls(reply(200, status("Ready", cost=2.0000000001)))
        result = await bfl.generate(a_request())
        assert result.cost == 2.0
        api.script_polls(reply(200, status("Request Moderated", "task-1", cost=0.0)))
        with pytest.raises(TaskError):
            await bfl.generate(a_request())
        await bfl.generate(a_request())
        assert bfl.statistics().credits_spent == 6.0
