"""Invariants 3 and 4: a failed poll is not a failed task, and an unknown status is not terminal."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable

import pytest

from bfl_async import (
    ConnectError,
    Limits,
    ReplyTimeoutError,
    Result,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
    TransportError,
)
from bfl_async.types import Reply
from tests.integration.contract_server import (
    RESET,
    SIGNATURE,
    Answer,
    Cut,
    Hold,
    Say,
    ScriptedTransport,
    TransportAnswer,
    Wire,
    a_request,
    html,
    no_secret_in,
    reply,
    say,
    served,
    status_body,
)

READY = {"sample": f"https://delivery.bfl.ai/x.jpeg?se=2099-01-01T00%3A00%3A00Z&sig={SIGNATURE}", "seed": 1}

# ---- over a socket: what a poll may bring


SOCKET_FAILURES: dict[str, Answer] = {
    "reset": RESET,
    "half-a-head": Wire(b"HTTP/1.1 200 OK\r\nConte"),
    "garbage": Wire(b"\x16\x03\x01 no http\r\n\r\n"),
    "cut": Cut(json.dumps(status_body("task-0", "Ready", result=READY)).encode()[:40], 5000),
    "cut-but-whole-json": Cut(json.dumps(status_body("task-0", "Error")).encode(), 5000),
    "500": html(500),
    "502": html(502),
    "403": html(403, "<html>firewall</html>"),
    "404-html": html(404, "<html>no</html>"),
    "200-html": html(200),
    "200-cut-json": Say(200, b'{"id": "task-0", "status": "Rea'),
    "bad-gzip": Say(200, b"\x1f\x8bnot gzip at all", headers={"Content-Encoding": "gzip"}),
}


async def test_3_a_paid_image_comes_home_through_every_kind_of_failed_poll() -> None:
    """Invariant 3: none of these ends a task; all of them together on twelve tasks, and each one is Ready."""
    async with served(limits=len(SOCKET_FAILURES)) as (server, bfl):
        answers = dict(enumerate(SOCKET_FAILURES.values()))
        failed: set[str] = set()

        def poll(seen: object) -> Answer:
            task_id: str = seen.task_id  # type: ignore[attr-defined]  # both kinds of value have one
            if task_id in failed:
                return None
            failed.add(task_id)
            return answers[int(task_id.removeprefix("task-"))]

        server.always_poll = poll
        results = await bfl.gather([a_request(str(n)) for n in answers], timeout=20)
        assert {result.task_id for result in results} == failed
        assert len(server.submits) == len(answers)
        assert len(server.polls) >= 2 * len(answers)
        counts = bfl.statistics()
        assert (counts.ready, counts.failed, counts.slots_taken) == (len(answers), 0, 0)


async def test_3_a_poll_that_hangs_is_given_up_and_sent_again() -> None:
    """Invariant 3: a timeout of a poll is a failed poll."""
    async with served(timeouts=Timeouts(reply=0.1)) as (server, bfl):
        server.script_polls(Hold(asyncio.Event()))
        result = await bfl.generate(a_request(), timeout=10)
        assert result.task_id == "task-0"
        assert len(server.polls) == 2


async def test_3_a_deadline_ends_a_poll_that_hangs_on_the_wire() -> None:
    """Invariants 3 and 9: at the task's deadline a poll has one second, and not the 10 s that it has else."""
    async with served(timeouts=Timeouts(task=1)) as (server, bfl):
        server.script_polls(*[Hold(asyncio.Event())] * 3)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TaskTimeoutError):
            await bfl.generate(a_request())
        assert 1 <= asyncio.get_running_loop().time() - begun < 8


@pytest.mark.parametrize("status", [200, 202, 404, 422, 500, 503])
@pytest.mark.parametrize("word", ["Ready", "Error", "Request Moderated"])
async def test_3_the_body_is_read_before_the_http_code(status: int, word: str) -> None:
    """Invariant 3: a status body under 422 or 503 counts, at the first poll."""
    async with served() as (server, bfl):

        def poll(seen: object) -> Answer:
            del seen
            return say(status, status_body("task-0", word, result=READY if word == "Ready" else None))

        server.script_polls(poll)
        handle = await bfl.submit(a_request())
        if word == "Ready":
            assert (await handle).url == READY["sample"]
        else:
            with pytest.raises(TaskFailedError if word == "Error" else TaskModeratedError):
                await handle
        assert len(server.polls) == 1
        assert bfl.statistics().slots_taken == 0


# ---- under looptime: sequences and waits

TRANSPORT_FAILURES: dict[str, TransportAnswer] = {
    "connect": ConnectError("refused"),
    "timeout": ReplyTimeoutError("no reply"),
    "transport": TransportError("reset"),
    "400": reply(400, {"detail": "bad"}),
    "401": reply(401, {"detail": "no"}),
    "402": reply(402, {"detail": "no credits"}),
    "403": reply(403, {"detail": "Not authenticated"}),
    "404": reply(404, {"detail": "Not Found"}),
    "409": reply(409, None),
    "422": reply(422, {"detail": [{"loc": ["query", "id"], "msg": "x", "type": "y"}]}),
    "429": reply(429, {"detail": "Too many requests"}),
    "500": reply(500, {"detail": "oops"}),
    "502": reply(502, b"<html>"),
    "503": reply(503, {"detail": "maintenance"}),
    "504": reply(504, b""),
    "301": reply(301, b""),
    "200-empty": reply(200, b""),
    "200-null": reply(200, None),
    "200-list": reply(200, [status_body("task-0", "Error")]),
    "200-text": reply(200, "Error"),
    "200-no-status": reply(200, {"id": "task-0"}),
    "200-status-null": reply(200, {"id": "task-0", "status": None}),
    "200-status-number": reply(200, {"id": "task-0", "status": 3}),
    "200-status-list": reply(200, {"id": "task-0", "status": ["Error"]}),
    "200-status-empty": reply(200, {"id": "task-0", "status": ""}),
    "200-bad-utf8": reply(200, b'{"status": "Err\xff"}'),
    "200-nested": reply(200, b"[" * 200_000),
    "200-nan": reply(200, b'{"status": "Pending", "progress": NaN}'),
    "204": reply(204, b""),
}


@pytest.mark.looptime
@pytest.mark.parametrize("name", list(TRANSPORT_FAILURES))
async def test_3_polls_may_fail_for_minutes_and_the_task_is_still_ready(name: str) -> None:
    """Invariant 3: they back off, at most 10 s apart, and no number of them ends the task."""
    fake = ScriptedTransport()
    answer = TRANSPORT_FAILURES[name]
    async with fake.client(limits=1) as bfl:
        fake.always_poll = lambda _url: answer
        handle = await bfl.submit(a_request())
        await asyncio.sleep(300)
        assert not handle.done()
        assert bfl.statistics().slots_taken == 1
        fake.always_poll = None
        before = asyncio.get_running_loop().time()
        assert (await handle).task_id == "task-0"
        assert asyncio.get_running_loop().time() - before <= 11
        times = [at for at, _ in fake.polled]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(waits) <= 10.2
        if name != "200-nan":  # a status that can be read may be polled on as usual
            assert len(times) <= 100, "failed polls did not back off"
        assert len(fake.posts) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 500, 503, 403, 200])
async def test_3_retry_after_of_a_poll_is_honoured(status: int) -> None:
    """Invariant 3: "`Retry-After` honoured", on a poll that failed."""
    fake = ScriptedTransport()
    async with fake.client() as bfl:
        fake.poll_script.append(reply(status, b"<html>", retry_after="7"))
        await bfl.generate(a_request())
        times = [at for at, _ in fake.polled]
        assert 6.9 <= times[1] - times[0] <= 10.2


@pytest.mark.looptime
async def test_3_a_retry_after_that_is_too_long_does_not_lose_the_image() -> None:
    """Invariant 3: back-off is at most 10 s; whatever a server asks for, the image is found before the deadline."""
    fake = ScriptedTransport()
    async with fake.client() as bfl:
        fake.poll_script.append(reply(503, {"detail": "x"}, retry_after="86400"))
        result = await bfl.generate(a_request())
        assert result.task_id == "task-0"
        assert asyncio.get_running_loop().time() < 600


@pytest.mark.looptime
async def test_3_the_tasks_deadline_ends_the_polls_with_the_last_failure_as_cause() -> None:
    """Invariant 3 and Errors: until the task's deadline, 600 s for images; then `TaskTimeoutError` with its cause."""
    fake = ScriptedTransport(always_poll=lambda _url: reply(502, b"<html>bad gateway</html>"))
    async with fake.client(limits=Limits(account=1, unknown_s=10)) as bfl:
        handle = await bfl.submit(a_request())
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TaskTimeoutError) as caught:
            await handle
        assert 595 <= asyncio.get_running_loop().time() - begun <= 615
        error = caught.value
        assert (error.state, error.task_id) == ("submitted", "task-0")
        assert error.polling_url == "https://api.bfl.ai/v1/get_result?id=task-0"
        assert getattr(error.__cause__, "status_code", None) == 502
        polled = len(fake.polled)
        await asyncio.sleep(100)
        assert len(fake.polled) == polled
        assert bfl.statistics().slots_taken == 0


@pytest.mark.looptime
async def test_3_a_deadline_ends_a_poll_that_hangs() -> None:
    """Invariants 3 and 9: every wait has a deadline."""
    fake = ScriptedTransport(service_s=1e9)
    async with fake.client(timeouts=Timeouts(task=5)) as bfl:
        fake.poll_s = 1e6
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TaskTimeoutError):
            await bfl.generate(a_request())
        assert asyncio.get_running_loop().time() - begun <= 7


# ---- Task not found


def not_found(_url: str = "") -> Reply:
    return reply(404, status_body("task-0", "Task not found"))


@pytest.mark.looptime
async def test_3_task_not_found_ends_a_task_after_three_polls_and_five_seconds() -> None:
    """Invariant 3: three in a row, at least 5 s from first to last; the slot is freed."""
    fake = ScriptedTransport(always_poll=not_found)
    async with fake.client() as bfl:
        with pytest.raises(TaskNotFoundError) as caught:
            await bfl.generate(a_request())
        times = [at for at, _ in fake.polled]
        assert len(times) >= 3
        assert times[-1] - times[0] >= 5
        assert times[-1] - times[0] <= 20
        assert caught.value.task_id == "task-0"
        assert caught.value.status == TaskStatus.TASK_NOT_FOUND
        assert bfl.statistics().failed == 1
        await asyncio.sleep(601)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.looptime
@pytest.mark.parametrize("interval", [0.1, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("status", [200, 404])
async def test_3_task_not_found_is_given_a_chance_at_any_interval(interval: float, status: int) -> None:
    """Invariant 3: fewer than three, or within less than 5 s, is a hiccup, whatever the interval."""
    fake = ScriptedTransport()
    words = iter(["Task not found", "Task not found"])

    def poll(_url: str) -> Reply | None:
        word = next(words, None)
        return None if word is None else reply(status, status_body("task-0", word))

    fake.always_poll = poll
    async with fake.client(interval=interval) as bfl:
        assert (await bfl.generate(a_request())).task_id == "task-0"


@pytest.mark.looptime
async def test_3_many_task_not_found_within_five_seconds_end_nothing() -> None:
    """Invariant 3: at least 5 s from first to last."""
    fake = ScriptedTransport()
    begun: list[float] = []

    def poll(_url: str) -> Reply | None:
        begun.append(fake.now())
        return not_found() if fake.now() - begun[0] < 4.8 else None

    fake.always_poll = poll
    async with fake.client(interval=0.1) as bfl:
        assert (await bfl.generate(a_request())).task_id == "task-0"
        assert len(begun) > 3


@pytest.mark.looptime
@pytest.mark.parametrize(
    "between",
    [reply(200, status_body("task-0", "Pending")), reply(200, status_body("task-0", "Sharpening"))],
    ids=["Pending", "unknown"],
)
async def test_3_another_status_between_begins_the_count_anew(between: Reply) -> None:
    """Invariant 3: "three polls in a row"."""
    fake = ScriptedTransport()
    answers = itertools.cycle([not_found(), not_found(), between])
    fake.always_poll = lambda _url: next(answers)
    async with fake.client(interval=3.0) as bfl:
        handle = await bfl.submit(a_request())
        await asyncio.sleep(120)
        assert not handle.done()
        fake.always_poll = None
        assert (await handle).task_id == "task-0"


@pytest.mark.looptime
async def test_3_task_not_found_after_minutes_of_pending_keeps_the_rule() -> None:
    """Invariant 3: the 5 s count from the first `Task not found`, not from the acceptance."""
    fake = ScriptedTransport(service_s=1e9)
    async with fake.client(interval=0.5) as bfl:
        handle = await bfl.submit(a_request())
        await asyncio.sleep(60)
        first = fake.now()
        fake.always_poll = not_found
        with pytest.raises(TaskNotFoundError):
            await handle
        assert fake.now() - first >= 5


# ---- invariant 4


@pytest.mark.looptime
@pytest.mark.parametrize(
    "word",
    [
        "Queued",
        "Reasoning",
        "Generating",
        "Almost Ready",
        "ready?",
        "Completed",
        "Not Ready",
        "Upscaling \u2728",
        "None",
    ],
)
async def test_4_an_unknown_status_is_in_flight_and_kept_as_it_came(word: str) -> None:
    """Invariant 4: in flight, however much it looks like an end, and kept verbatim."""
    fake = ScriptedTransport(always_poll=lambda _url: reply(200, status_body("task-0", word)))
    async with fake.client() as bfl:
        handle = await bfl.submit(a_request())
        await asyncio.sleep(20)
        assert not handle.done()
        assert handle.status == word
        fake.always_poll = None
        await handle


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("ready", None),
        (" READY\n", None),
        ("FAILED", TaskFailedError),
        ("error ", TaskFailedError),
        ("content moderated", TaskModeratedError),
    ],
)
async def test_4_a_known_status_ends_a_task_in_any_case_of_letters(
    word: str, error: type[TaskError] | None
) -> None:
    """Invariant 4: a known word cannot mean anything else, so it is not unknown."""
    fake = ScriptedTransport()
    result = {"sample": "https://delivery.bfl.ai/x.jpeg"}
    fake.always_poll = lambda _url: reply(200, status_body("task-0", word, result=result))
    async with fake.client() as bfl:
        handle = await bfl.submit(a_request())
        if error is None:
            assert (await handle).raw["status"] == word
        else:
            with pytest.raises(error):
                await handle


@pytest.mark.looptime
async def test_4_an_unknown_status_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Style 1.5: "an unknown status means still in flight, is kept verbatim and logged once"."""
    caplog.set_level(logging.DEBUG, logger="bfl_async")
    fake = ScriptedTransport(always_poll=lambda _url: reply(200, status_body("task-0", "Sharpening")))
    async with fake.client() as bfl:
        handle = await bfl.submit(a_request())
        await asyncio.sleep(20)
        fake.always_poll = None
        await handle
    assert sum("Sharpening" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("word", ["Error", "Failed"])
async def test_4_failures_name_what_the_server_said(word: str) -> None:
    """Invariant 3: a parsed terminal status ends the task, `Failed` too; details are kept."""
    async with served() as (server, bfl):
        server.script_polls(say(200, status_body("task-0", word, details={"error": "boom", "more": [1, 2]})))
        with pytest.raises(TaskFailedError) as caught:
            await bfl.generate(a_request())
        assert caught.value.status == word
        assert caught.value.details == {"error": "boom", "more": [1, 2]}
        no_secret_in(caught.value, repr(caught.value))


async def test_4_unknown_fields_are_kept() -> None:
    """Invariant 4: "unknown fields are kept": at the top and within the result."""
    async with served() as (server, bfl):
        body = {**server.ready("task-0", blur=0.25, nested={"deep": [None]}), "tier": {"name": "gold"}}
        server.script_polls(say(200, body))
        result = await bfl.generate(a_request())
        assert result.raw["tier"] == {"name": "gold"}
        kept = result.raw["result"]
        assert isinstance(kept, dict)
        assert (kept["blur"], kept["nested"]) == (0.25, {"deep": [None]})
        assert result.seed == 2**40 + 1


ODD_RESULTS: dict[str, Callable[[str], object]] = {
    "seed-text": lambda sample: {"sample": sample, "seed": "many"},
    "seed-float": lambda sample: {"sample": sample, "seed": 1.5},
    "prompt-number": lambda sample: {"sample": sample, "prompt": 3},
    "duration-text": lambda sample: {"sample": sample, "duration": "long", "start_time": "now"},
    "only-sample": lambda sample: {"sample": sample},
}


@pytest.mark.parametrize("name", list(ODD_RESULTS))
async def test_4_odd_types_beside_the_sample_do_not_lose_it(name: str) -> None:
    """Invariant 4, API section 3: "Only `sample` may be relied upon"."""
    async with served() as (server, bfl):
        sample = server.image_url("task-0")
        server.script_polls(
            say(200, status_body("task-0", "Ready", result=ODD_RESULTS[name](sample), progress="all"))
        )
        result = await bfl.generate(a_request(), timeout=3)
        assert result.url == sample
        assert len(await result.read(timeout=3)) > 100


@pytest.mark.parametrize("ready", [None, {}, {"sample": None}, {"sample": 5}, [], "https://x.y/z"])
@pytest.mark.slow
async def test_3_ready_without_a_sample_settles_the_task_one_way_or_the_other(ready: object) -> None:
    """Invariants 3 and 8: Ready is terminal: the slot is freed and the caller is told, never left waiting."""
    async with served() as (server, bfl):
        server.always_poll = say(200, status_body("task-0", "Ready", result=ready))
        (end,) = await bfl.gather([a_request()], return_exceptions=True, timeout=3)
        assert not isinstance(end, TaskTimeoutError)
        assert isinstance(end, TaskError | Result)
        assert end.task_id == "task-0"
        assert bfl.statistics().slots_taken == 0


async def test_the_settled_cost_wins_over_the_receipts() -> None:
    """API section 6: "The settled `cost` of the final poll wins over the submit's"."""
    async with served() as (server, bfl):
        server.script_polls(say(200, {**server.ready("task-0"), "cost": 2.5}))
        result = await bfl.generate(a_request())
        assert result.cost == 2.5
        assert bfl.statistics().credits_spent == 2.5


async def test_polls_use_the_polling_url_byte_for_byte() -> None:
    """Invariant 5 and style 3: the polling URL is used verbatim, quoting included."""
    async with served() as (server, bfl):
        target = "/v1/get_result?id=task%2D0&sig=a%2Fb+c%3D&x=%c3%a9&empty=&~=1"
        server.polling_url = lambda _task_id: server.url + target
        server.script_polls(say(200, server.ready("task-0")))
        await bfl.generate(a_request(), timeout=5)
        assert server.polls[0].target == target
