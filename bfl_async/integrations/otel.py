"""Traces and metrics by OpenTelemetry: an observer like any other. Extra `otel`.

```python
from bfl_async import AsyncBFL
from bfl_async.integrations.otel import OpenTelemetry

async with AsyncBFL(observer=OpenTelemetry()) as bfl:
    await bfl.generate("flux-dev", prompt="a cat")
```

| span | from | to |
| --- | --- | --- |
| `bfl.generate` | the call; its parent is the span in which it was made | the end of the task |
| `bfl.submit` | each POST that leaves | its answer |
| `bfl.poll` | the server's acceptance | the end; an event for each poll that failed |
| `bfl.download` | each `read()` or `save()` | its end; beneath `bfl.generate`, which may have ended long before |

| metric | kind, unit | attributes beside `gen_ai.request.model` |
| --- | --- | --- |
| `gen_ai.client.operation.duration` | histogram, s | `bfl.end`, `error.type`; attached tasks left out |
| `bfl.queue.wait` | histogram, s: before each POST | |
| `bfl.lag` | histogram, s: from Ready to the answer that told so, where it is known | |
| `bfl.polls` | counter: of tasks that have ended | |
| `bfl.refused` | counter: submits that the server did not take | `http.response.status_code`, such as 429 |
| `bfl.credits` | counter: 1 credit = 0.01 USD; attached tasks left out | |
| `bfl.download.duration` | histogram, s | `error.type` |
| `bfl.slots.taken`, `bfl.slots.limit`, `bfl.queue.length` | gauges | `bfl.pool` alone |

Names follow the semantic conventions (`gen_ai.*`, `http.*`, `error.type`) where these have one. No span and no metric
holds the key, a URL or, unless asked for, a prompt.

A span costs the SDK some 15 µs and a measurement 5. So a task has three spans, whatever its polls; a request whose span
is not sampled has none beneath it; and counts are added up here and read when metrics are exported.
`python -m benchmarks.telemetry` measures it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry import metrics, trace
from opentelemetry.context import get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from bfl_async._version import __version__
from bfl_async.errors import APIStatusError, BFLError
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
from bfl_async.types.statistics import PoolStatistics

if TYPE_CHECKING:
    from opentelemetry.context import Context

_SCOPE = "bfl_async"
_OPERATION = {"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "black_forest_labs"}
_REMEMBERED = 1_024  # ended requests beneath whose span a download still finds its place
_BATCH, _BATCH_S = 64, 2.0  # requests that have ended, and seconds, after which their spans are made
_SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
)  # fmt: skip

_Attributes: TypeAlias = dict[str, str | int | float | bool]


class _Request:
    """What is kept of a request until it has ended."""

    __slots__ = ("context", "events")

    def __init__(self, first: Queued | Submitted) -> None:
        self.context = get_current()  # of who asked: events of a request's beginning are told there
        self.events: list[Event] = [first]  # all but polls that were answered


class _Count:
    """A counter that is added up in the loop, and read by the exporter's thread."""

    def __init__(self, meter: metrics.Meter, name: str, unit: str, description: str) -> None:
        self._totals: defaultdict[tuple[str | None, int | None], float] = defaultdict(float)
        meter.create_observable_counter(name, [self._observe], unit, description)

    def add(self, amount: float, model: str | None, status_code: int | None = None) -> None:
        self._totals[model, status_code] += amount

    def _observe(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        # A copy, made in one step: the loop's thread may add a key meanwhile.
        for (model, status_code), total in self._totals.copy().items():
            attributes = _of_model(model)
            if status_code is not None:
                attributes["http.response.status_code"] = status_code
            yield metrics.Observation(total, attributes)


class OpenTelemetry:
    """An observer that makes spans and metrics. Make one for a process; it may serve several clients of a loop.

    Args:
        tracer_provider: None: the one that the program has set.
        meter_provider: None: the one that the program has set.
        prompts: Put each prompt into its span, as `gen_ai.input.messages`.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        prompts: bool = False,
    ) -> None:
        self.prompts = prompts
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._open: dict[int, _Request] = {}
        self._ended: list[tuple[_Request, Settled, int]] = []  # with what makes Unix ns of the loop's seconds
        self._timer: asyncio.TimerHandle | None = None
        self._parents: OrderedDict[int, Context] = OrderedDict()  # of downloads
        self._pools: Mapping[str, PoolStatistics] = {}  # as last told; read by the exporter's thread
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)

        def seconds(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
            )

        self._duration = seconds("gen_ai.client.operation.duration", "From the call to the end of the task")
        self._wait = seconds("bfl.queue.wait", "Wait for a slot, before each submit")
        self._lag = seconds("bfl.lag", "From Ready at the server to the answer that told so")
        self._download = seconds("bfl.download.duration", "Downloads, their repeats included")
        self._polls = _Count(meter, "bfl.polls", "{poll}", "Polls of tasks that have ended")
        self._refused = _Count(meter, "bfl.refused", "{submit}", "Submits that the server did not take")
        self._credits = _Count(meter, "bfl.credits", "{credit}", "Credits spent; 1 credit = 0.01 USD")
        for name, unit, field, description in (
            ("bfl.slots.taken", "{slot}", "taken", "Slots that are taken"),
            ("bfl.slots.limit", "{slot}", "working", "Slots that may be taken now, by what 429s have taught"),
            ("bfl.queue.length", "{request}", "queued", "Requests that wait for a slot"),
        ):
            meter.create_observable_gauge(name, [self._gauge(field)], unit, description)

    def _gauge(self, field: str) -> metrics.CallbackT:
        def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            for name, pool in self._pools.items():
                yield metrics.Observation(getattr(pool, field), {"bfl.pool": name})

        return observe

    def on_event(self, event: Event, /) -> None:
        """Take one event; see `Observer.on_event`."""
        match event:
            case Polled():
                if event.error is not None:
                    self._keep(event)
            case Queued():
                self._open[event.request_id] = _Request(event)
            case Submitting() | Retried():
                self._pools = event.pools
                self._keep(event)
            case Submitted():
                if event.attached:
                    self._open[event.request_id] = _Request(event)
                else:
                    self._keep(event)
            case Refused():
                self._refused.add(1, event.model, event.status_code)
                self._keep(event)
            case Settled():
                self._pools = event.pools
                self._settled(event)
            case Downloaded():
                self._downloaded(event)

    def _keep(self, event: Event) -> None:
        request = self._open.get(event.request_id)
        if request is not None:
            request.events.append(event)

    def _settled(self, event: Settled) -> None:
        self._polls.add(event.polls, event.model)
        if event.cost is not None and not event.attached:  # what is attached was paid before
            self._credits.add(event.cost, event.model)
        request = self._open.pop(event.request_id, None)
        if request is None:
            return
        self._ended.append((request, event, time.time_ns() - round(event.at * 1e9)))
        if not self._open or len(self._ended) >= _BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_BATCH_S, self._flush)

    def _flush(self) -> None:
        """Make spans and measurements of the requests that have ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ended, self._ended = self._ended, []
        for request, settled, unix_ns in ended:
            self._measure(request, settled)
            self._trace(request, settled, unix_ns)

    # --- spans ------------------------------------------------------------------------------------------

    def _trace(self, request: _Request, settled: Settled, unix_ns: int) -> None:
        def unix(event: Event) -> int:
            return unix_ns + round(event.at * 1e9)

        first = request.events[0]
        attributes: _Attributes = {**_OPERATION, **_of_model(settled.model), "bfl.end": settled.end}
        if isinstance(first, Queued) and first.prompt is not None:
            attributes["gen_ai.input.messages"] = _messages(first.prompt)
        if settled.attached:
            attributes["bfl.attached"] = True
        if settled.task_id is not None:
            attributes["gen_ai.response.id"] = settled.task_id
        if settled.cost is not None:
            attributes["bfl.credits"] = settled.cost
        if settled.lag_s is not None:
            attributes["bfl.lag_s"] = settled.lag_s
        generate = self._start("bfl.generate", request.context, unix(first), attributes)
        context = set_span_in_context(generate, request.context)
        if settled.error is None:
            self._parents[settled.request_id] = context
            if len(self._parents) > _REMEMBERED:
                self._parents.popitem(last=False)
        if not generate.is_recording():
            return
        error = None if settled.end == "withdrawn" else settled.error
        submit: Span | None = None
        poll: Span | None = None
        for event in (*request.events, settled):
            if submit is not None:  # whatever follows it, ends it
                _end(submit, unix(event), getattr(event, "error", None))
                submit = None
            match event:
                case Submitting():
                    submit = self._start("bfl.submit", context, unix(event), _of_attempt(event.attempt))
                case Submitted():
                    poll = self._start("bfl.poll", context, unix(event), {"bfl.polls": settled.polls})
                case Polled(error=BFLError() as failure) if poll is not None:
                    poll.add_event("failed poll", {"error.type": type(failure).__name__}, unix(event))
        if poll is not None:
            _end(poll, unix(settled), error)
        _end(generate, unix(settled), error)

    def _start(self, name: str, context: Context | None, at_ns: int, attributes: _Attributes) -> Span:
        return self._tracer.start_span(name, context, SpanKind.CLIENT, attributes, start_time=at_ns)

    def _downloaded(self, event: Downloaded) -> None:
        if self._ended:
            self._flush()  # its parent may be among them
        measured = _of_model(event.model)
        if event.error is not None:
            measured["error.type"] = type(event.error).__name__
        self._download.record(event.took_s, measured)
        attributes: _Attributes = {"http.request.method": "GET", "bfl.attempts": event.attempts}
        if event.size_bytes is not None:
            attributes["http.response.body.size"] = event.size_bytes
        now_ns = time.time_ns()
        parent = self._parents.get(event.request_id)
        span = self._start("bfl.download", parent, now_ns - round(event.took_s * 1e9), attributes)
        _end(span, now_ns, event.error)

    # --- metrics ----------------------------------------------------------------------------------------

    def _measure(self, request: _Request, settled: Settled) -> None:
        model = _of_model(settled.model)
        for event in request.events:
            if isinstance(event, Submitting):
                self._wait.record(event.waited_s, model)
        if settled.lag_s is not None:
            self._lag.record(settled.lag_s, model)
        if not settled.attached:  # it began elsewhere
            attributes: _Attributes = {**_OPERATION, **model, "bfl.end": settled.end}
            if settled.error is not None:
                attributes["error.type"] = type(settled.error).__name__
            self._duration.record(settled.total_s, attributes)


def _of_model(model: str | None) -> _Attributes:
    return {} if model is None else {"gen_ai.request.model": model}


def _of_attempt(attempt: int) -> _Attributes:
    attributes: _Attributes = {"http.request.method": "POST"}
    if attempt > 1:
        attributes["http.request.resend_count"] = attempt - 1
    return attributes


def _messages(prompt: str) -> str:
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": prompt}]}], ensure_ascii=False)


def _end(span: Span, at_ns: int, error: BFLError | None) -> None:
    if error is not None:
        if isinstance(error, APIStatusError) and error.status_code is not None:
            span.set_attribute("http.response.status_code", error.status_code)
        span.set_attribute("error.type", type(error).__name__)
        # Not its message, which may repeat what the server said.
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    span.end(at_ns)
