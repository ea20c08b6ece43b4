"""Following a task: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfl_async import (
    Adaptive,
    AsyncBFL,
    BFLError,
    Fixed,
    ReplyTimeoutError,
    TaskError,
    TaskFailedError,
    TaskHandle,
    TaskModeratedError,
    TaskNotFoundError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    UntrustedURLError,
    request,
)
from bfl_async.engine.pacing import Pacer, aligned_s
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.types import Reply
from tests.fake import Answer, FakeAPI, reply, status

pytestmark = pytest.mark.looptime(start=0)


@pytest.mark.parametrize(
    "answer",
    [
        TransportError("reset"),
        ReplyTimeoutError("late"),
        reply(400, {"detail": "x"}),
        reply(401, b""),
        reply(403, "<html>"),
        reply(404, {"detail": "Not Found"}),
        reply(429, {"detail": "x"}),
        reply(500, b""),
        reply(502, "<html>"),
        reply(503, {"detail": "maintenance"}),
        reply(200, "<html>"),
        reply(200, b'{"id": "task-0", "stat'),
        reply(200, b""),
        reply(200, {"id": "task-0"}),
        reply(302, b"", location="/v1/get_result?id=1"),
    ],
    ids=str,
)
async def test_failed_poll_is_not_a_failed_task(answer: Answer) -> None:
    """Invariant 3: only a parsed terminal status ends a task; nothing is submitted again."""
    api = FakeAPI(service_s=0.5)
    api.script_polls(*[answer] * 6)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        assert result.task_id == "task-0"
        assert len(api.posts) == 1
        assert bfl.statistics().polls == 7


async def test_failed_polls_back_off_to_at_most_10_s_and_end_at_the_deadline() -> None:
    """Invariant 3: back-off up to 10 s until the task's deadline, whose error has the last problem as cause."""
    api = FakeAPI(service_s=math.inf, poll_s=0.0)
    api.script_polls(*[reply(500, b"")] * 1_000)
    async with api.client(timeouts=Timeouts(task=300)) as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert caught.value.__cause__ is not None
        assert caught.value.state == "submitted"
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(api.polled)]
        assert 5 <= max(gaps) <= 10
        assert 299 < asyncio.get_running_loop().time() < 302
        assert api.polled[-1][0] == pytest.approx(300, abs=0.2), "a last look at the deadline"


async def test_a_poll_that_hangs_past_the_deadline_is_the_cause_of_the_timeout() -> None:
    """Invariant 3: a last poll has one second, also where the transport would wait for ever."""
    api = FakeAPI(service_s=math.inf)
    async with api.client(timeouts=Timeouts(task=5)) as bfl:
        api.poll_s = math.inf
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert isinstance(caught.value.__cause__, ReplyTimeoutError)
        assert 5 < asyncio.get_running_loop().time() <= 6.2


async def test_retry_after_of_a_failed_poll_is_honoured() -> None:
    """Invariant 3: the server may ask for more time."""
    api = FakeAPI(service_s=1)
    api.script_polls(reply(429, b"", retry_after="30"))
    async with api.client() as bfl:
        await bfl.generate("flux-dev", prompt="x")
        assert asyncio.get_running_loop().time() >= 30


@pytest.mark.parametrize("code", [200, 422, 503, 500])
async def test_body_is_read_before_the_code(code: int) -> None:
    """Invariant 3: a status body under 422 or 503 counts."""
    api = FakeAPI(service_s=math.inf)
    api.script_polls(reply(code, status("Error", details={"error": "out of memory"})))
    async with api.client() as bfl:
        with pytest.raises(TaskFailedError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert caught.value.details == {"error": "out of memory"}
        assert bfl.statistics().slots_taken == 0


@pytest.mark.parametrize("word", ["Reasoning", "Generating", "Pending", "Queued", "a word of next year"])
async def test_unknown_is_not_terminal(word: str) -> None:
    """Invariant 4: a status that this release does not know means in flight, and is shown as it came."""
    api = FakeAPI(service_s=3)
    api.script_polls(*[reply(200, status(word))] * 3)
    async with api.client() as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        seen = [update.status async for update in handle.updates()]
        between = [] if word == "Pending" else [word]
        assert seen == [None, *between, TaskStatus.PENDING, TaskStatus.READY]
        assert (await handle).raw["status"] == "Ready"


@pytest.mark.parametrize(
    ("word", "stage"), [("Request Moderated", "request"), ("Content Moderated", "content")]
)
async def test_moderated_task_ends_with_its_reasons(word: str, stage: str) -> None:
    """A moderated task is not polled for ever."""
    api = FakeAPI(service_s=math.inf)
    api.script_polls(reply(200, status(word, details={"Moderation Reasons": ["Violence"]})))
    async with api.client() as bfl:
        with pytest.raises(TaskModeratedError) as caught:
            await bfl.generate("flux-dev", prompt="a secret prompt")
        assert (caught.value.stage, caught.value.reasons, caught.value.status) == (stage, ("Violence",), word)
        assert "secret" not in str(caught.value)
        assert bfl.statistics().moderated == 1
        assert len(api.polled) == 1


NOT_FOUND = reply(404, status("Task not found"))
PENDING = reply(200, status("Pending"))


async def test_task_not_found_needs_three_polls_over_five_seconds() -> None:
    """Invariant 3: read-after-write lag must not lose a paid task."""
    api = FakeAPI(service_s=4, poll_s=0.0)
    api.script_polls(*[NOT_FOUND] * 10)
    async with api.client(interval=0.5) as bfl:
        await bfl.generate("flux-dev", prompt="x")
    lost = FakeAPI(service_s=math.inf, poll_s=0.0)
    lost.script_polls(*[NOT_FOUND] * 100)
    async with lost.client(interval=0.5) as bfl:
        with pytest.raises(TaskNotFoundError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert caught.value.task_id == "task-0"
        assert lost.polled[-1][0] - lost.polled[0][0] == pytest.approx(5.0, abs=0.6)
        assert bfl.statistics().slots_taken == 0
    slow = FakeAPI(service_s=math.inf, poll_s=0.0)
    slow.script_polls(*[NOT_FOUND] * 100)
    async with slow.client(interval=6) as bfl:
        with pytest.raises(TaskNotFoundError):
            await bfl.generate("flux-dev", prompt="x")
        assert len(slow.polled) == 3


async def test_any_other_answer_breaks_the_row_of_not_found() -> None:
    """Invariant 3: three polls in a row."""
    api = FakeAPI(service_s=math.inf, poll_s=0.0)
    api.script_polls(*[NOT_FOUND, NOT_FOUND, PENDING] * 10, *[NOT_FOUND, NOT_FOUND, reply(500, b"")] * 3)
    async with api.client(interval=3) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await asyncio.sleep(100)
        assert not handle.done()
        api.poll_script.clear()
        api.end("task-0")
        await handle


async def test_untrusted_polling_url_keeps_the_task_id_and_the_slot() -> None:
    """Invariant 5: what may not be asked is not followed, and is not forgotten."""

    class Guarded(FakeAPI):
        async def poll(self, url: str) -> Reply:
            raise UntrustedURLError("not there")

    api = Guarded()
    async with api.client() as bfl:
        with pytest.raises(UntrustedURLError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert caught.value.task_id == "task-0"
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(60)
        assert bfl.statistics().slots_taken == 0


async def test_missing_polling_url_is_the_base_urls_own() -> None:
    """With a webhook the submit's answer has no polling URL."""
    api = FakeAPI(service_s=1)
    api.script_submits(reply(200, {"id": "a b", "status": "Pending", "webhook_url": "https://x"}))
    api.script_polls(reply(200, status("Ready", "a b")))
    async with api.client() as bfl:
        assert (await bfl.generate("flux-dev", prompt="x")).task_id == "a b"
        assert api.polled[0][1] == "/v1/get_result?id=a%20b"


async def test_reader_of_updates_has_polls_at_most_a_second_apart() -> None:
    """While `updates()` is read, a slow policy is hurried, also in the middle of its sleep."""
    api = FakeAPI(service_s=20, poll_s=0.0)
    async with api.client(interval=15) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await asyncio.sleep(4.5)
        assert api.polled == []
        async for _ in handle.updates():
            pass
        assert len(api.polled) >= 15
        assert asyncio.get_running_loop().time() == pytest.approx(20.6, abs=0.7)


async def test_updates_start_now_skip_nothing_terminal_and_end() -> None:
    """A slow reader gets the newest state; a late one gets the terminal one; then it ends."""
    api = FakeAPI(service_s=3)
    for tenth in range(1, 9):
        api.script_polls(reply(200, status("Pending", progress=tenth / 10)))
    async with api.client() as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        seen = []
        async for update in handle.updates():
            seen.append((str(update.state), update.progress))
            if len(seen) == 3:
                await asyncio.sleep(1.2)
        assert seen[0] == ("queued", None)
        assert seen[-1] == ("settled", None)
        assert all(earlier != later for earlier, later in pairwise(seen)), "on change only"
        assert ("submitted", 0.1) not in seen, "a slow reader gets the newest"
        assert [update.state async for update in handle.updates()] == ["settled"]


POLL_FAILURES: list[tuple[Answer, str]] = [
    (reply(401, {"detail": "no"}), "HTTP 401"),
    (reply(403, {"detail": "Not authenticated"}), "HTTP 403.*Not authenticated"),
    (reply(404, {"detail": "Not Found"}), "HTTP 404.*Not Found"),
    (reply(422, {"detail": "Invalid API key format"}), "HTTP 422.*Invalid API key format"),
    (reply(429, {"detail": "slow down"}), "HTTP 429.*slow down"),
    (reply(500, "<html>"), "HTTP 500"),
    (reply(503, {"detail": "maintenance"}), "HTTP 503.*maintenance"),
    (reply(200, "<html>"), "no status that can be read"),
    (TransportError("the connection broke off"), "the connection broke off"),
    (ReplyTimeoutError("no answer in time"), "no answer in time"),
]


@pytest.mark.parametrize(("failure", "says"), POLL_FAILURES)
@pytest.mark.parametrize("of_caller", [True, False])
async def test_timeout_after_failed_polls_names_the_last_failure(
    failure: Answer, says: str, of_caller: bool
) -> None:
    """A cause that only a debugger shows is of no use: the message has it, for either deadline."""
    api = FakeAPI(service_s=1e6)
    api.script_polls(*[TransportError("an earlier one")] * 2, *[failure] * 100)
    async with api.client(timeouts=Timeouts(task=None if of_caller else 20)) as bfl:
        with pytest.raises(TaskTimeoutError, match=rf"all \d+ polls failed: .*{says}") as caught:
            await bfl.generate("flux-dev", prompt="x", timeout=20 if of_caller else None)
        assert str(caught.value.__cause__) in str(caught.value)
        assert caught.value.task_id == "task-0"


@pytest.mark.parametrize("of_caller", [True, False])
async def test_timeout_counts_the_failures_since_the_last_answer(of_caller: bool) -> None:
    """One poll that failed long before is not why there is no result."""
    api = FakeAPI(service_s=1e6)
    pending = reply(200, status("Pending"))
    async with api.client(timeouts=Timeouts(task=None if of_caller else 20)) as bfl:
        for answers, says in (
            ([pending, *[reply(403, {"detail": "no"})] * 100], r"the last \d+ polls failed: .*HTTP 403"),
            ([reply(403, {"detail": "no"}), pending], None),
        ):
            api.poll_script.clear()
            api.script_polls(*answers)
            with pytest.raises(TaskTimeoutError) as caught:
                await bfl.generate("flux-dev", prompt="x", timeout=20 if of_caller else None)
            if says is None:
                assert "failed" not in str(caught.value)
                assert "403" not in str(caught.value)
            else:
                assert re.search(says, str(caught.value))


async def test_timeout_in_the_queue_names_the_last_refusal() -> None:
    """A request that the server turned away all the time did not just wait."""
    api = FakeAPI()
    api.script_submits(*[reply(503, {"detail": "maintenance"})] * 100)
    async with api.client() as bfl:
        with pytest.raises(TaskTimeoutError, match=r"nothing was sent; .*HTTP 503.*maintenance"):
            await bfl.generate("flux-dev", prompt="x", timeout=20)


@pytest.mark.filterwarnings("ignore:the model")  # one that the catalog does not know
async def test_reader_of_updates_hurries_the_adaptive_policy_too() -> None:
    """A policy that would wait for minutes is held to a second while somebody reads."""
    api = FakeAPI(service_s=60, poll_s=0.0)
    async with AsyncBFL(transport=api, polling=Adaptive()) as bfl:
        handle = await bfl.submit("a-video-model", prompt="x")
        async for _ in handle.updates():
            pass
    moments = [at for at, _ in api.polled]
    assert len(moments) >= 59
    assert max(later - earlier for earlier, later in pairwise(moments)) <= 1.01


class Watching:
    """A policy that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, list[float]]] = []

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        self.asked.append((elapsed_s, [reading.elapsed_s for reading in readings]))
        return 1.0


async def test_time_counts_from_the_middle_of_round_trips() -> None:
    """What is learnt is the server's time: half of the submit's and of a poll's round trip are the way."""
    api, policy = FakeAPI(service_s=2.0, submit_s=0.6, poll_s=0.2), Watching()
    async with AsyncBFL(transport=api, polling=policy) as bfl:
        await bfl.generate("flux-dev", prompt="x")
        assert policy.asked[0][0] == pytest.approx(0.3)
        assert policy.asked[0][1] == []
        assert policy.asked[1][0] == pytest.approx(0.3 + 1.2)
        assert policy.asked[1][1] == pytest.approx([0.3 + 1.1])
        latency = bfl.statistics().latency["flux-dev"]
        assert latency.p50 == pytest.approx(0.3 + 1.2 + 1.1, abs=0.01)


async def test_long_task_keeps_its_first_readings_and_the_newest() -> None:
    """Invariant 9: what a policy sees of a task is bounded; where its progress began is part of it."""
    api, policy = FakeAPI(service_s=100, poll_s=0.0), Watching()
    async with AsyncBFL(transport=api, polling=policy) as bfl:
        await bfl.generate("flux-dev", prompt="x")
    seen = policy.asked[-1][1]
    assert len(seen) == 32
    assert seen == sorted(seen)
    assert seen[0] < 2
    assert seen[-1] > 98


@pytest.mark.parametrize("code", [503, 422])
async def test_retry_after_beside_a_status_is_a_hint(code: int) -> None:
    """The end is never missed by seconds for it; without a status it is honoured."""
    api = FakeAPI(service_s=3, poll_s=0.0)
    api.script_polls(*[reply(code, status("Pending"), retry_after="30")] * 2)
    async with api.client() as bfl:
        await bfl.generate("flux-dev", prompt="x")
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(api.polled)]
        assert gaps[:2] == pytest.approx([1.0, 1.0], abs=0.01)
        assert asyncio.get_running_loop().time() < 3.5


async def test_polls_of_all_tasks_keep_below_the_bound() -> None:
    """`max_polls_per_s` holds for the client, and what is held back is sent in order, without drift."""
    api = FakeAPI(limit=40, service_s=30, submit_s=0.0, poll_s=0.01)
    async with AsyncBFL(limits=40, transport=api, polling=Adaptive(max_polls_per_s=50)) as bfl:
        handles = [await bfl.submit("flux-dev", prompt="x") for _ in range(40)]

        async def read(handle: TaskHandle) -> None:
            async for _ in handle.updates():
                pass

        await asyncio.gather(*[read(handle) for handle in handles])
    moments = [at for at, _ in api.polled]
    for window_s in (0.5, 1.0, 5.0):
        for start in range(0, 30, 3):
            seen = sum(start <= at < start + window_s for at in moments)
            assert seen <= 50 * (window_s + 0.1) + 1
    assert len(moments) > 0.75 * 50 * 29


def test_pacer_delays_nothing_below_its_rate_and_is_exact_above() -> None:
    """A poll under the rate goes at once; above it the spacing adds up without drift."""
    pacer = Pacer(100)
    assert [pacer.delay_s(number / 50) for number in range(50)] == [0.0] * 50
    delays = [pacer.delay_s(10.0) for _ in range(1_000)]
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(999 / 100 - 0.1)


@settings(max_examples=300)
@given(st.floats(0, 100), st.floats(0, 1e6), st.integers(2, 2_000), st.floats(0, 2))
def test_polls_that_may_leave_together_are_moved_by_a_sixth_of_their_gap_at_most(
    wait_s: float, now: float, followed: int, round_trip_s: float
) -> None:
    """A poll moves to a common moment only as far as the gap before it allows, and never into the past."""
    moved_s = aligned_s(wait_s, now, followed=followed, round_trip_s=round_trip_s)
    assert moved_s >= 0
    assert abs(moved_s - wait_s) <= min((wait_s + round_trip_s) / 6, 0.12, 2 / followed) + 1e-9


def test_polls_of_several_tasks_leave_together_and_those_of_one_when_they_are_due() -> None:
    """To wake costs more than to poll, so moments are shared; a task alone has none to share."""
    rng = random.Random(1)
    due = [100 + rng.uniform(0.5, 0.8) for _ in range(100)]
    alone = {at + aligned_s(1.0, at, followed=1, round_trip_s=0.1) for at in due}
    together = {round(at + aligned_s(1.0, at, followed=12, round_trip_s=0.1), 6) for at in due}
    many = {round(at + aligned_s(1.0, at, followed=1_000, round_trip_s=0.1), 6) for at in due}
    assert alone == {at + 1.0 for at in due}
    assert len(together) <= 3
    assert len(many) > 50, "a thousand tasks would wait for each other"
    narrow = {round(number * 0.24 / 64, 6) for number in range(28_000)}
    assert together | many <= narrow, "wide moments are narrow ones too"


async def test_adaptive_polls_of_many_tasks_share_moments_and_fixed_ones_do_not() -> None:
    """Who chose an interval gets it to the millisecond."""
    moments: dict[str, set[float]] = {}
    for name, polling in (("adaptive", Adaptive()), ("fixed", Fixed(0.5))):
        api = FakeAPI(limit=12, service_s=6.0, submit_s=0.0, poll_s=0.1)
        async with AsyncBFL(limits=12, transport=api, polling=polling) as bfl:
            handles = []
            for _ in range(12):
                handles.append(await bfl.submit("flux-dev", prompt="x"))
                await asyncio.sleep(0.0137)
            await asyncio.gather(*handles)
        moments[name] = {round(at, 4) for at, _ in api.polled}
        polls = len(api.polled)
        assert len(moments[name]) < 0.6 * polls if name == "adaptive" else len(moments[name]) == polls


async def test_moments_that_polls_share_are_a_clients_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of a machine have one clock: with the same moments they would all wake at once."""
    sources = [random.Random(1), random.Random(2)]
    phases: list[set[float]] = []
    for source in sources:
        monkeypatch.setattr("bfl_async.client.opening.random.Random", lambda source=source: source)
        api = FakeAPI(limit=12, service_s=6.0, submit_s=0.0, poll_s=0.1)
        async with AsyncBFL(limits=12, transport=api) as bfl:
            await bfl.gather([request("flux-dev", prompt="x")] * 12)
        narrowest_s = 0.24 / 64
        phases.append({round(at % narrowest_s, 5) for at, _ in api.polled[12:]})
    assert all(len(of_one) <= 2 for of_one in phases), "one phase, rounded up or down"
    assert not phases[0] & phases[1]


async def test_attached_task_is_polled_as_one_that_may_end_at_any_moment() -> None:
    """Its age is not known: nothing waits for a first quantile, and nothing is learnt of it."""
    api = FakeAPI(service_s=math.inf, poll_s=0.1)
    async with AsyncBFL(transport=api, polling=Adaptive()) as bfl:
        await bfl.submit("flux-2-pro", prompt="x")
        api.polled.clear()
        api.end("task-0")
        api.tasks["task-0"].ready_at = api.now() + 1.5
        await asyncio.sleep(0)
    async with AsyncBFL(transport=api, polling=Adaptive()) as bfl:
        began = api.now()
        await bfl.attach("task-0", model="flux-2-pro")
        assert api.now() - began < 2.6
        assert bfl.statistics().latency == {}


async def test_timings_of_one_client_serve_the_next() -> None:
    """What was learnt can be kept as JSON and given to another client."""
    api = FakeAPI(service_s=2.0, poll_s=0.1)
    async with AsyncBFL(transport=api) as first:
        await first.gather([request("flux-2-pro", prompt="x")] * 120)
    kept = json.loads(json.dumps(first.timings()))
    api.polled.clear()
    async with AsyncBFL(transport=api, polling=Adaptive(timings=kept)) as second:
        began = api.now()
        await second.generate("flux-2-pro", prompt="x")
        assert api.now() - began < 2.6, "the catalog's guess is 10 s, and its first poll would be late"
        assert len(api.polled) <= 5
        assert "flux-2-pro" in second.timings()["models"]  # type: ignore[operator] # a mapping, as JSON goes


async def test_unheard_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A failure that nobody awaits is not silent, and one that was awaited is not logged."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:
        api.script_polls(*[reply(200, status("Error"))] * 3)
        forgotten = bfl.submit_nowait(request("flux-dev", prompt="a secret"))
        del forgotten
        kept = bfl.submit_nowait("flux-dev", prompt="x")
        heard = bfl.submit_nowait("flux-dev", prompt="x")
        with pytest.raises(TaskError):
            await heard
        await bfl.drain()
        assert len([record for record in caplog.records if "nobody awaited" in record.message]) == 1
        del kept
        assert len([record for record in caplog.records if "nobody awaited" in record.message]) == 2
        del heard
        assert len(caplog.records) == 2
        assert "secret" not in caplog.text


async def test_each_waiter_is_raised_an_exception_of_its_own() -> None:
    """A settlement is a value: tracebacks of different waiters do not mix."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:
        api.script_polls(reply(200, status("Error")))
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        errors = await asyncio.gather(*[handle.result() for _ in range(3)], return_exceptions=True)
        assert len({id(error) for error in errors}) == 3
        assert all(isinstance(error, BFLError) for error in errors)
