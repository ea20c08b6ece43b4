"""What an observer is told, in which order, and that it can break nothing."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import math
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from bfl_async import (
    AsyncBFL,
    Batch,
    BFLError,
    ConfigError,
    ConnectError,
    DownloadError,
    Fixed,
    Limits,
    QueueFullError,
    Timeouts,
    TransportError,
    events,
    request,
)
from bfl_async.events import (
    Downloaded,
    Event,
    Polled,
    Queued,
    Refused,
    Retried,
    Settled,
    Submitted,
    Submitting,
)
from bfl_async.sandbox import Sandbox
from bfl_async.types import PoolStatistics
from tests.fake import Answer, FakeAPI, reply, spin, status

looptime = pytest.mark.looptime(start=0)


class Notes:
    """Keeps all that it is told, and asks for no prompts."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        self.events.append(event)

    def of(self, request_id: int) -> list[Event]:
        return [event for event in self.events if event.request_id == request_id]

    def names(self, request_id: int | None = None) -> list[str]:
        """The events' names in order, polls in a row as one."""
        told = self.events if request_id is None else self.of(request_id)
        names = [type(event).__name__ for event in told]
        return [
            name
            for before, name in zip([None, *names], names, strict=False)
            if (before, name) != ("Polled",) * 2
        ]

    def one(self, kind: type[Any]) -> Any:
        (event,) = (event for event in self.events if isinstance(event, kind))
        return event


@contextmanager
def raised(kind: type[BaseException] | None) -> Iterator[None]:
    if kind is None:
        yield
    else:
        with pytest.raises(kind):
            yield


SENT = ["Queued", "Submitting"]
FOLLOWED = [*SENT, "Submitted", "Polled", "Settled"]


@looptime
@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("Ready", "ready"),
        ("Request Moderated", "moderated"),
        ("Content Moderated", "moderated"),
        ("Error", "failed"),
    ],
)
async def test_a_task_is_told_from_queued_to_settled(word: str, end: str) -> None:
    """Each step once, under one id, with the moment, the model and the task."""
    api, notes = FakeAPI(service_s=1.0, submit_s=0.1, poll_s=0.02), Notes()
    async with api.client(observer=notes) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        api.tasks["task-0"].status = word
        with raised(None if end == "ready" else BFLError):
            await handle
    assert notes.names() == FOLLOWED
    assert len({event.request_id for event in notes.events}) == 1
    assert {event.model for event in notes.events} == {"flux-dev"}
    assert [event.task_id for event in notes.events][:3] == [None, None, "task-0"]
    moments = [event.at for event in notes.events]
    assert moments == sorted(moments)
    submitted, settled = notes.one(Submitted), notes.one(Settled)
    assert submitted.took_s == pytest.approx(0.1)
    assert (submitted.attempt, submitted.cost, submitted.attached) == (1, 4.0, False)
    assert (settled.end, settled.status, settled.attempts) == (end, word, 1)
    assert (settled.error is None) == (end == "ready")
    polls = [event for event in notes.events if isinstance(event, Polled)]
    assert [poll.number for poll in polls] == list(range(1, settled.polls + 1))
    assert [poll.status for poll in polls] == ["Pending"] * (settled.polls - 1) + [word]
    assert all(poll.took_s == pytest.approx(0.02) for poll in polls)
    assert settled.total_s == pytest.approx(settled.followed_s + 0.1)


@looptime
@pytest.mark.parametrize(
    ("answer", "error", "names", "end"),
    [
        (reply(422, {"detail": "x"}), BFLError, [*SENT, "Refused", "Settled"], "failed"),
        (reply(402, {"detail": "x"}), BFLError, [*SENT, "Refused", "Settled"], "failed"),
        (reply(429, {"detail": "x"}), None, [*SENT, "Refused", "Retried", *FOLLOWED[1:]], "ready"),
        (reply(503, {"detail": "x"}), None, [*SENT, "Refused", "Retried", *FOLLOWED[1:]], "ready"),
        (ConnectError("no route"), None, [*SENT, "Retried", *FOLLOWED[1:]], "ready"),
        (reply(500, b""), BFLError, [*SENT, "Settled"], "ambiguous"),
        (TransportError("reset"), BFLError, [*SENT, "Settled"], "ambiguous"),
    ],
    ids=["422", "402", "429", "503", "no connection", "500", "reset"],
)
async def test_what_a_submit_meets_is_told(
    answer: Answer, error: type[BFLError] | None, names: list[str], end: str
) -> None:
    """Refused where the server said no, Retried where it will be sent again."""
    api, notes = FakeAPI(), Notes()
    api.script_submits(answer)
    async with api.client(observer=notes) as bfl:
        with raised(error):
            await bfl.generate("flux-dev", prompt="x")
    assert notes.names() == names
    assert notes.one(Settled).end == end
    if "Retried" in names:
        assert [event.attempt for event in notes.events if isinstance(event, Submitting)] == [1, 2]
        assert notes.one(Retried).attempt == 1
        assert notes.one(Settled).attempts == 2
        assert isinstance(notes.one(Retried).error, BFLError)


@looptime
async def test_a_429_is_told_with_what_it_teaches() -> None:
    """The code and the header with Refused; the lowered limit with Retried; the wait with the next Submitting."""
    api, notes = FakeAPI(limit=12), Notes()
    api.script_submits(reply(429, {"detail": "x"}, retry_after="7"))
    async with api.client(observer=notes) as bfl:
        await bfl.generate("flux-dev", prompt="x")
    refused = notes.one(Refused)
    assert (refused.status_code, refused.retry_after_s, refused.took_s) == (429, 7.0, pytest.approx(0.1))
    assert notes.one(Retried).pools["account"].working == 1
    assert [event.waited_s for event in notes.events if isinstance(event, Submitting)] == pytest.approx(
        [0, 7]
    )


@looptime
async def test_slots_and_queue_are_told_with_each_step_that_changes_them() -> None:
    """Taken before the POST, free when settled: what `Statistics.pools` says at that moment."""
    api, notes = FakeAPI(limit=1), Notes()
    async with api.client(observer=notes) as bfl:
        await bfl.gather([request("flux-dev", prompt=str(n)) for n in range(2)])

    def now(event: Any) -> tuple[str, int, int]:
        pool: PoolStatistics = event.pools["account"]
        return type(event).__name__, pool.taken, pool.queued

    told = [now(event) for event in notes.events if isinstance(event, Submitting | Settled)]
    assert told[:2] == [("Submitting", 1, 1), ("Settled", 1, 0)], "the next one has the slot"
    assert told[2:] == [("Submitting", 1, 0), ("Settled", 0, 0)]
    waits = [event.waited_s for event in notes.events if isinstance(event, Submitting)]
    assert waits[0] == 0
    assert waits[1] > 1, "as long as the first one took"


@looptime
async def test_withdrawn_requests_settle_without_a_submit() -> None:
    """Exactly one Settled for each Queued, also where nothing was sent."""
    api, notes = FakeAPI(limit=1, service_s=math.inf), Notes()
    async with api.client(observer=notes) as bfl:
        await bfl.submit("flux-dev", prompt="x")
        waiting = bfl.submit_nowait("flux-dev", prompt="y")
        assert waiting.withdraw()
        left = asyncio.create_task(bfl.generate("flux-dev", prompt="z"))
        await spin()
        left.cancel()
        await spin()
        assert notes.names()[-4:] == ["Queued", "Settled", "Queued", "Settled"]
        assert [event.end for event in notes.events if isinstance(event, Settled)] == ["withdrawn"] * 2
        bfl.submit_nowait("flux-dev", prompt="closed")
    ends = Counter(event.end for event in notes.events if isinstance(event, Settled))
    assert ends == {"withdrawn": 3, "failed": 1}, "the client's close ends the queue and the followed task"


@looptime
async def test_a_request_that_was_not_taken_in_is_not_told() -> None:
    """What is raised to the caller at once never was in the client."""
    api, notes = FakeAPI(limit=1, service_s=math.inf), Notes()
    async with api.client(limits=Limits(1, queue=0), observer=notes) as bfl:
        await bfl.submit("flux-dev", prompt="x")
        with pytest.raises(QueueFullError):
            bfl.submit_nowait("flux-dev", prompt="y")
        assert notes.names() == [*SENT, "Submitted"]


@looptime
async def test_a_request_that_meets_a_closed_gate_is_queued_and_settled() -> None:
    """Invariant 7: after a 402 requests fail at once, which is told in the usual order."""
    api, notes = FakeAPI(), Notes()
    api.script_submits(reply(402, {"detail": "x"}))
    async with api.client(observer=notes) as bfl:
        for _ in range(2):
            with pytest.raises(BFLError):
                await bfl.generate("flux-dev", prompt="x")
    assert notes.names() == [*SENT, "Refused", "Settled", "Queued", "Settled"]
    assert len(api.posts) == 1


@looptime
async def test_the_callers_timeout_ends_nothing_and_the_tasks_deadline_settles() -> None:
    """A caller that stops to wait is no event: the task goes on, until its own deadline."""
    api, notes = FakeAPI(service_s=math.inf), Notes()
    async with api.client(observer=notes, timeouts=Timeouts(task=10)) as bfl:
        with pytest.raises(TimeoutError):
            await bfl.generate("flux-dev", prompt="x", timeout=1)
        assert notes.names() == FOLLOWED[:-1]
        await bfl.drain()
    settled = notes.one(Settled)
    assert (settled.end, settled.status, type(settled.error).__name__) == (
        "failed",
        "Pending",
        "TaskTimeoutError",
    )


@looptime
async def test_failed_polls_are_told_with_their_error() -> None:
    """Invariant 3: they end nothing, and are counted."""
    api, notes = FakeAPI(), Notes()
    api.script_polls(reply(500, b""), TransportError("reset"), reply(200, "<html>"))
    async with api.client(observer=notes) as bfl:
        await bfl.generate("flux-dev", prompt="x")
    polls = [event for event in notes.events if isinstance(event, Polled)]
    assert [type(poll.error).__name__ for poll in polls] == [
        "ServerError", "TransportError", "ReplyShapeError", "NoneType",
    ]  # fmt: skip
    assert [poll.status for poll in polls] == [None, None, None, "Ready"]
    assert notes.one(Settled).polls == 4


@looptime
async def test_an_attached_task_begins_with_submitted() -> None:
    """It was never queued; the same id is the same request and is told once."""
    api, notes = FakeAPI(), Notes()
    async with api.client() as bfl:
        record = (await bfl.submit("flux-dev", prompt="x")).to_dict()
        async with api.client(observer=notes) as other:
            handle = other.attach(**record)
            assert other.attach(**record) is handle
            await handle
    assert notes.names() == ["Submitted", "Polled", "Settled"]
    submitted, settled = notes.one(Submitted), notes.one(Settled)
    assert (submitted.attached, submitted.attempt, submitted.took_s) == (True, 0, None)
    assert (settled.attached, settled.lag_s) == (True, None)


@looptime
async def test_streams_and_batches_of_requests_are_told_like_single_ones() -> None:
    """One Queued and one Settled each, whatever comes of them; the counts are those of `Statistics`."""
    api, notes = FakeAPI(limit=2), Notes()
    api.script_submits(
        reply(429, {}), None, reply(422, {"detail": "x"}), reply(500, b""), None, reply(503, {})
    )
    requests = [request("flux-dev", prompt=str(n)) for n in range(12)]
    async with api.client(observer=notes) as bfl:
        outcomes = [outcome async for outcome in bfl.stream(requests)]
        now = bfl.statistics()
    assert len(outcomes) == 12
    queued = [event.request_id for event in notes.events if isinstance(event, Queued)]
    settled = [event.request_id for event in notes.events if isinstance(event, Settled)]
    assert sorted(queued) == sorted(settled) == sorted(set(queued))
    assert len(queued) == 12
    ends = Counter(event.end for event in notes.events if isinstance(event, Settled))
    assert ends == {"ready": now.ready, "failed": now.failed, "ambiguous": now.ambiguous}
    assert sum(isinstance(event, Polled) for event in notes.events) == now.polls
    refused = [event.status_code for event in notes.events if isinstance(event, Refused)]
    assert refused.count(429) == now.refused_429
    for request_id in queued:
        names = notes.names(request_id)
        assert names[0] == "Queued"
        assert names[-1] == "Settled"


async def test_the_requests_of_a_batch_are_told_with_their_downloads(tmp_path: Path) -> None:
    """A durable run is observed like everything else."""
    api, notes = FakeAPI(service_s=0.01, submit_s=0.01, poll_s=0.01), Notes()
    async with (
        api.client(observer=notes, interval=0.01) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add([request("flux-dev", prompt=str(n)) for n in range(3)])
        outcomes = [outcome async for outcome in batch.run()]
    assert len(outcomes) == 3
    assert len({event.request_id for event in notes.events}) == 3
    for request_id in {event.request_id for event in notes.events}:
        assert notes.names(request_id) == [*FOLLOWED, "Downloaded"]


@looptime
async def test_downloads_are_told_once_each() -> None:
    """After the settlement, under the request's id, with what came of them."""
    api, notes = FakeAPI(), Notes()
    async with api.client(observer=notes) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        api.download_script.append(reply(500, b""))
        data = await result.read()
        api.script_polls(*[reply(200, status("Ready") | {"result": None})] * 20)
        with pytest.raises(DownloadError):
            await dataclasses.replace(result, url="").read()
    good, bad = (event for event in notes.events if isinstance(event, Downloaded))
    assert notes.names()[-3:] == ["Settled", "Downloaded", "Downloaded"]
    assert good.request_id == bad.request_id == notes.one(Settled).request_id
    assert (good.attempts, good.size_bytes, good.media_type, good.error) == (2, len(data), "image/jpeg", None)
    assert 0.05 <= good.took_s <= 0.1, "the pause before the second attempt"
    assert (bad.attempts, bad.size_bytes, type(bad.error)) == (0, None, DownloadError)


async def test_lag_is_told_where_the_result_says_when_it_ended() -> None:
    """FLUX.1's results do; the figure is within what the polls prove."""
    notes = Notes()
    async with (
        Sandbox(service_s=0.3) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.1), observer=notes) as bfl,
    ):
        await bfl.generate("flux-pro-1.1", prompt="x")
        await bfl.generate("flux-2-pro", prompt="x")
    flux1, flux2 = (event for event in notes.events if isinstance(event, Settled))
    assert flux1.lag_s is not None
    pending = [
        event
        for event in notes.events
        if isinstance(event, Polled) and event.request_id == flux1.request_id and event.status == "Pending"
    ]
    # The task had not ended when that poll was sent.
    assert 0 <= flux1.lag_s <= flux1.at - (pending[-1].at - pending[-1].took_s)
    assert flux2.lag_s is None


asked_for = contextvars.ContextVar("asked_for", default="nobody")


@looptime
async def test_requests_run_in_the_context_that_asked_for_them() -> None:
    """Whoever frees the slot: traces and log records of a request are those of its caller."""
    seen: list[tuple[str, str]] = []

    class Contexts:
        def on_event(self, event: Event, /) -> None:
            if isinstance(event, Queued | Submitting | Submitted | Polled):
                seen.append((type(event).__name__, asked_for.get()))

    api = FakeAPI(limit=1)

    async def ask(who: str) -> None:
        asked_for.set(who)
        await bfl.generate("flux-dev", prompt=who)

    api.script_submits(None, reply(503, {}))  # b is sent twice: the second time by a timer
    async with api.client(observer=Contexts()) as bfl:
        await asyncio.gather(ask("a"), ask("b"), ask("c"))
    assert {who for name, who in seen if name == "Queued"} == {"a", "b", "c"}
    by = Counter(who for name, who in seen if name == "Submitting")
    assert by == {"a": 1, "b": 2, "c": 1}
    assert Counter(who for name, who in seen if name == "Submitted") == {"a": 1, "b": 1, "c": 1}
    assert {who for name, who in seen if name == "Polled"} == {"a", "b", "c"}


@looptime
@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_an_observer_that_raises_breaks_nothing_and_is_logged_once(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """At each event of every kind; the client goes on, and so does the telling."""
    told: list[str] = []

    class Broken:
        def on_event(self, event: Event, /) -> None:
            told.append(type(event).__name__)
            raise error("of the observer's own")

    api = FakeAPI(limit=1)
    api.script_submits(reply(429, {}), reply(503, {}))
    with caplog.at_level(logging.INFO, "bfl_async"):
        async with api.client(observer=Broken()) as bfl:
            results = await bfl.gather([request("flux-dev", prompt=str(n)) for n in range(3)])
            await results[0].read()
            await bfl.attach("task-0").result()
            assert bfl.statistics().slots_taken == 0
            assert bfl.statistics().ready == 4
    assert set(told) == {kind.__name__ for kind in get_args(Event)}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "Broken" in record.getMessage()


@looptime
async def test_without_an_observer_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made, and the modules are not even asked for."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("an event was made")

    for kind in get_args(Event):
        monkeypatch.setattr(kind, "__new__", forbidden)
    monkeypatch.setattr("bfl_async.engine.reporter.Reporter.__init__", forbidden)
    api = FakeAPI()
    api.script_submits(reply(429, {}))
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        await result.read()
        await bfl.attach(result.task_id)


PROMPT = "a cat that nobody may read of"


def test_events_show_no_secret_in_reprs_fields_and_pickles() -> None:
    """The key, queries of URLs and prompts are in no event of any kind of end, unless prompts are asked for."""
    told: list[Event] = asyncio.run(_all_kinds(Notes()))
    assert {type(event) for event in told} == set(get_args(Event))
    for event in told:
        shown = f"{event!r} {event._asdict()} {pickle.dumps(event)!r}"
        for secret in ("secret-key-of-mine", "sig=", "se=2", PROMPT):
            assert secret not in shown, f"{type(event).__name__} shows {secret}"


async def _all_kinds(notes: Notes) -> list[Event]:
    async with (
        Sandbox(key="secret-key-of-mine", service_s=0.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.01), observer=notes) as bfl,
    ):
        ends = ("Content Moderated", "Request Moderated", "Error", 422, 400, 404, "submit-reset-after")
        sandbox.script([*ends, 503])
        for _ in ends:
            with pytest.raises(BFLError):
                await bfl.generate("flux-pro-1.1", prompt=PROMPT)
        result = await bfl.generate("flux-pro-1.1", prompt=PROMPT)
        await result.read()
    return notes.events


@looptime
@pytest.mark.parametrize("prompts", [True, False])
async def test_an_observer_gets_prompts_only_if_it_asks_for_them(*, prompts: bool) -> None:
    """And even then no repr shows them."""

    class Asks(Notes):
        def __init__(self) -> None:
            super().__init__()
            self.prompts = prompts

    notes = Asks()
    async with FakeAPI().client(observer=notes) as bfl:
        await bfl.generate("flux-dev", prompt=PROMPT)
    queued = notes.one(Queued)
    assert queued.prompt == (PROMPT if prompts else None)
    assert PROMPT not in repr(queued)


class _Coroutine:
    async def on_event(self, event: Event, /) -> None: ...


@pytest.mark.parametrize(
    "given", [object(), _Coroutine(), print], ids=["no method", "a coroutine function", "a function"]
)
def test_what_is_no_observer_is_refused(given: Any) -> None:
    """A coroutine function would be called and never awaited."""
    with pytest.raises(ConfigError, match="on_event"):
        AsyncBFL("key", observer=given)


@looptime
async def test_one_observer_serves_several_clients() -> None:
    """Ids are the process's, so that requests of two clients are not taken for one."""
    notes, api = Notes(), FakeAPI()
    async with api.client(observer=notes) as one, api.client(observer=notes) as two:
        await asyncio.gather(one.generate("flux-dev", prompt="x"), two.generate("flux-dev", prompt="y"))
    ids = {event.request_id for event in notes.events}
    assert len(ids) == 2
    for each in ids:
        assert notes.names(each) == FOLLOWED


def test_events_are_frozen_and_slotted() -> None:
    """What one observer is told, no other code can change."""
    event = Queued(
        at=0.0, request_id=1, model=None, task_id=None, priority=0, pools=("account",), prompt="a cat"
    )
    assert "cat" not in repr(event)
    with pytest.raises(AttributeError):
        event.model = "other"  # type: ignore[misc]  # it is frozen
    for kind in get_args(events.Event):
        assert "__dict__" not in dir(kind)


@looptime
async def test_a_webhooks_end_is_told_as_delivered() -> None:
    """Without a poll, and in the same order."""
    from bfl_async.webhooks import WebhookReceiver

    api, notes = FakeAPI(service_s=math.inf), Notes()
    receiver = WebhookReceiver("https://app.example/bfl", "a-secret-of-some-length")
    async with api.client(observer=notes, webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        body = api.posts[0][1]
        nonce = str(body["webhook_url"]).rpartition("/")[2]
        told = reply(200, status("Ready", str(handle.task_id)))
        await receiver.receive(nonce, {"X-Webhook-Secret": str(body["webhook_secret"])}, told.body)
        await handle
    assert notes.names() == [*SENT, "Submitted", "Settled"]
    assert notes.one(Settled).delivered
