"""Following a task: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest

from bfl_async import (
    BFLError,
    ReplyTimeoutError,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    UntrustedURLError,
    request,
)
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
