"""Spans and metrics, through the real SDK into memory."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from bfl_async import AsyncBFL, BFLError, Fixed, TransportError, request
from bfl_async.integrations import otel
from bfl_async.integrations.otel import OpenTelemetry
from bfl_async.sandbox import Sandbox
from tests.fake import JPEG, FakeAPI, reply, spin

looptime = pytest.mark.looptime(start=0)
PROMPT = "a cat that nobody may read of"


class Telemetry:
    """The SDK, into memory."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, *, prompts: bool = False) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracers = TracerProvider(sampler=sampler)
        self._tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader])
        self.tracer = self._tracers.get_tracer("test")
        self.observer = OpenTelemetry(self._tracers, self._meters, prompts=prompts)

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._spans.get_finished_spans(), key=lambda span: (span.start_time or 0, span.name))

    def one(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def tree(self) -> dict[str, list[str]]:
        """The names of the spans beneath each."""
        names = {span.context.span_id: span.name for span in self.spans}
        beneath: dict[str, list[str]] = {}
        for span in self.spans:
            parent = "" if span.parent is None else names.get(span.parent.span_id, "?")
            beneath.setdefault(parent, []).append(span.name)
        return beneath

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The data points of a metric: attributes, and the value, or of a histogram the count."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            (dict(point.attributes or {}), point.value if isinstance(point, NumberDataPoint) else point.count)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def everything(self) -> str:
        data = self._reader.get_metrics_data()
        return " ".join(span.to_json() for span in self.spans) + ("" if data is None else data.to_json())

    def shutdown(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.shutdown()


@looptime
async def test_a_request_is_a_span_beneath_the_callers_with_its_steps_beneath(telemetry: Telemetry) -> None:
    """generate > submit, poll, download; parents by the context in which the request was made."""
    api = FakeAPI(service_s=1.0, submit_s=0.1)
    async with api.client(observer=telemetry.observer) as bfl:
        with telemetry.tracer.start_as_current_span("handler"):
            result = await bfl.generate("flux-dev", prompt=PROMPT)
            await result.read()
    assert telemetry.tree() == {
        "": ["handler"],
        "handler": ["bfl.generate"],
        "bfl.generate": ["bfl.submit", "bfl.poll", "bfl.download"],
    }
    generate, submit, poll = (telemetry.one(f"bfl.{name}") for name in ("generate", "submit", "poll"))
    assert dict(generate.attributes or {}) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "black_forest_labs",
        "gen_ai.request.model": "flux-dev",
        "gen_ai.response.id": "task-0",
        "bfl.end": "ready",
        "bfl.credits": 4.0,
    }
    assert generate.kind is SpanKind.CLIENT
    assert generate.status.status_code is StatusCode.UNSET
    assert dict(submit.attributes or {}) == {"http.request.method": "POST"}
    assert submit.end_time == poll.start_time
    assert poll.end_time == generate.end_time
    assert _seconds(submit) == pytest.approx(0.1)
    assert 1.0 <= _seconds(generate) <= 1.5
    download = telemetry.one("bfl.download").attributes or {}
    assert download["http.response.body.size"] == len(JPEG)


def _seconds(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / 1e9


@looptime
async def test_each_submit_is_a_span_and_says_what_it_met(telemetry: Telemetry) -> None:
    """429, then no answer: two POSTs, the second one a resend, both failed, and so the whole."""
    api = FakeAPI()
    api.script_submits(reply(429, {"detail": "x"}), TransportError("reset"))
    async with api.client(observer=telemetry.observer) as bfl:
        with pytest.raises(BFLError):
            await bfl.generate("flux-dev", prompt=PROMPT)
    assert telemetry.tree() == {"": ["bfl.generate"], "bfl.generate": ["bfl.submit", "bfl.submit"]}
    first, second = (dict(span.attributes or {}) for span in telemetry.spans if span.name == "bfl.submit")
    assert first == {
        "http.request.method": "POST",
        "http.response.status_code": 429,
        "error.type": "RateLimitedError",
    }
    assert second == {
        "http.request.method": "POST",
        "http.request.resend_count": 1,
        "error.type": "AmbiguousSubmitError",
    }
    generate = telemetry.one("bfl.generate")
    assert (generate.attributes or {})["bfl.end"] == "ambiguous"
    assert generate.status.status_code is StatusCode.ERROR


@looptime
@pytest.mark.parametrize(("word", "end"), [("Content Moderated", "moderated"), ("Error", "failed")])
async def test_a_task_that_fails_fails_its_span(word: str, end: str, telemetry: Telemetry) -> None:
    """With the error's type; a failed poll is an event and fails nothing."""
    api = FakeAPI(service_s=1.0)
    api.script_polls(reply(500, b""))
    async with api.client(observer=telemetry.observer) as bfl:
        handle = await bfl.submit("flux-dev", prompt=PROMPT)
        api.tasks["task-0"].status = word
        with pytest.raises(BFLError) as caught:
            await handle
    generate, poll = telemetry.one("bfl.generate"), telemetry.one("bfl.poll")
    assert (generate.attributes or {})["bfl.end"] == end
    assert (generate.attributes or {})["error.type"] == type(caught.value).__name__
    assert generate.status.status_code is poll.status.status_code is StatusCode.ERROR
    # Not the message, which may repeat what the server said.
    assert generate.status.description == (generate.attributes or {})["error.type"]
    assert [(event.name, dict(event.attributes or {})) for event in poll.events] == [
        ("failed poll", {"error.type": "ServerError"})
    ]


@looptime
async def test_a_withdrawn_request_is_a_span_that_did_not_fail(telemetry: Telemetry) -> None:
    """It was the caller's wish."""
    api = FakeAPI(limit=1, service_s=math.inf)
    async with api.client(observer=telemetry.observer) as bfl:
        await bfl.submit("flux-dev", prompt=PROMPT)
        assert bfl.submit_nowait("flux-dev", prompt=PROMPT).withdraw()
        api.end("task-0")
        await bfl.drain()
    withdrawn = next(s for s in telemetry.spans if (s.attributes or {}).get("bfl.end") == "withdrawn")
    assert withdrawn.status.status_code is StatusCode.UNSET


@looptime
async def test_an_attached_task_has_a_span_without_a_submit(telemetry: Telemetry) -> None:
    """And what was paid before is not counted again."""
    api = FakeAPI()
    async with api.client() as bfl:
        record = (await bfl.submit("flux-dev", prompt=PROMPT)).to_dict()
        async with api.client(observer=telemetry.observer) as other:
            with telemetry.tracer.start_as_current_span("handler"):
                handle = other.attach(**record)
            await handle
    assert telemetry.tree() == {"": ["handler"], "handler": ["bfl.generate"], "bfl.generate": ["bfl.poll"]}
    assert (telemetry.one("bfl.generate").attributes or {})["bfl.attached"] is True
    assert telemetry.points("bfl.credits") == []
    assert telemetry.points("gen_ai.client.operation.duration") == []


@looptime
async def test_metrics_say_what_statistics_say(telemetry: Telemetry) -> None:
    """Queue wait, slots, polls, 429s, credits, downloads, each by model."""
    api = FakeAPI(limit=2)
    model = {"gen_ai.request.model": "flux-dev"}
    async with api.client(observer=telemetry.observer) as bfl:
        requests = [request("flux-dev", prompt=str(n)) for n in range(6)]
        api.script_submits(None, reply(429, {"detail": "x"}), None, reply(422, {"detail": "x"}))
        outcomes = [outcome async for outcome in bfl.stream(requests)]
        for outcome in outcomes:
            if outcome.result is not None:
                await outcome.result.read()
        now = bfl.statistics()
    assert telemetry.points("bfl.polls") == [(model, now.polls)]
    assert telemetry.points("bfl.credits") == [(model, now.credits_spent)]
    refused = {point["http.response.status_code"]: count for point, count in telemetry.points("bfl.refused")}
    assert refused == {429: now.refused_429, 422: 1}
    ((attributes, waits),) = telemetry.points("bfl.queue.wait")
    assert (attributes, waits) == (model, 6 + now.refused_429)
    ends = {point["bfl.end"]: count for point, count in telemetry.points("gen_ai.client.operation.duration")}
    assert ends == {"ready": 5, "failed": 1}
    ((_, downloads),) = telemetry.points("bfl.download.duration")
    assert downloads == 5
    taken = {point["bfl.pool"]: value for point, value in telemetry.points("bfl.slots.taken")}
    assert taken["account"] == 0
    limits = {point["bfl.pool"]: value for point, value in telemetry.points("bfl.slots.limit")}
    assert limits["account"] == now.pools["account"].working


@looptime
async def test_gauges_tell_slots_and_queue_while_they_are_taken(telemetry: Telemetry) -> None:
    """As of the newest event."""
    api = FakeAPI(limit=2, service_s=math.inf)
    async with api.client(observer=telemetry.observer) as bfl:
        for n in range(5):
            bfl.submit_nowait("flux-dev", prompt=str(n))
        await spin()
        taken = {point["bfl.pool"]: value for point, value in telemetry.points("bfl.slots.taken")}
        queued = {point["bfl.pool"]: value for point, value in telemetry.points("bfl.queue.length")}
    assert (taken["account"], queued["account"]) == (2, 3)


@looptime
async def test_unsampled_requests_have_no_spans_and_all_metrics() -> None:
    """Also none for their downloads, which follow the decision for the request."""
    telemetry = Telemetry(ParentBased(ALWAYS_OFF))
    async with FakeAPI().client(observer=telemetry.observer) as bfl:
        result = await bfl.generate("flux-dev", prompt=PROMPT)
        await result.read()
    assert telemetry.spans == []
    assert telemetry.points("bfl.polls")
    telemetry.shutdown()


@looptime
async def test_spans_come_while_others_are_open(telemetry: Telemetry) -> None:
    """They are made some at a time, after two seconds at the latest."""
    api = FakeAPI(service_s=lambda n: math.inf if n == 0 else 0.5)
    async with api.client(observer=telemetry.observer) as bfl:
        await bfl.submit("flux-dev", prompt="runs on")
        await bfl.generate("flux-dev", prompt="ends")
        assert telemetry.spans == []
        await asyncio.sleep(2.1)
        assert telemetry.tree() == {"": ["bfl.generate"], "bfl.generate": ["bfl.submit", "bfl.poll"]}
        result = await bfl.generate("flux-dev", prompt="ends")
        await result.read()
        assert telemetry.tree()["bfl.generate"][-1] == "bfl.download", "a download finds its parent at once"
    assert len([span for span in telemetry.spans if span.name == "bfl.generate"]) == 3


@looptime
async def test_without_a_provider_nothing_is_made_and_nothing_fails() -> None:
    """A program that has the API and no SDK."""
    async with FakeAPI().client(observer=OpenTelemetry()) as bfl:
        result = await bfl.generate("flux-dev", prompt=PROMPT)
        await result.read()
    assert not trace.get_current_span().is_recording()


@pytest.mark.parametrize("prompts", [False, True])
async def test_telemetry_shows_no_secret_and_prompts_only_if_asked(*, prompts: bool) -> None:
    """Neither the key nor a signed URL, at any kind of end."""
    telemetry = Telemetry(prompts=prompts)
    async with (
        Sandbox(key="secret-key-of-mine", service_s=0.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.01), observer=telemetry.observer) as bfl,
    ):
        ends = ("Content Moderated", "Error", 422, 404, "submit-reset-after")
        sandbox.script([*ends])
        for _ in ends:
            with pytest.raises(BFLError):
                await bfl.generate("flux-pro-1.1", prompt=PROMPT)
        result = await bfl.generate("flux-pro-1.1", prompt=PROMPT)
        await result.read()
    shown = telemetry.everything()
    assert len([span for span in telemetry.spans if span.name == "bfl.generate"]) == 6
    for secret in ("secret-key-of-mine", "sig=", "se=2"):
        assert secret not in shown
    assert (PROMPT in shown) is prompts
    if prompts:
        message = json.loads(str((telemetry.spans[0].attributes or {})["gen_ai.input.messages"]))
        assert message == [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
    telemetry.shutdown()


@looptime
async def test_what_is_kept_of_ended_requests_is_bounded(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 9: their events are let go of, and so are all but the newest parents of downloads."""
    monkeypatch.setattr(otel, "_REMEMBERED", 20)
    observer = telemetry.observer
    async with FakeAPI(limit=100, service_s=0.1).client(observer=observer) as bfl:
        async for outcome in bfl.stream(request("flux-dev", prompt=str(n)) for n in range(100)):
            outcome.unwrap()
    assert (len(observer._open), len(observer._ended)) == (0, 0)
    assert len(observer._parents) == 20
