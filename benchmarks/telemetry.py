"""What watching costs: CPU of the client for each task, with an observer and without.

    python -m benchmarks.telemetry             # 6 rounds, about 10 minutes
    python -m benchmarks.telemetry --rounds 20

FLUX.1-like tasks at their true speed, through the client as it is by default, on 12 slots. Each kind is a process with
a sandbox in a process of its own, and in each round all kinds run the same tasks at the same time: what else the
machine does disturbs them alike. CPU time of the client's process, user and system, all threads; the figure is the
median over the rounds of the ratio to `off` in the same round.

    off        no observer
    events     an observer that does nothing: what making the events costs
    sampled    `OpenTelemetry` with the SDK: metrics, read at the end, and traces, of which one in ten is sampled
    otel       the same, and each trace is sampled

Spans go through a `BatchSpanProcessor` to an exporter that drops them: what sending costs is the exporter's own.

Expected:

    otel       < 1.05 x off
    checks     the comparisons with None that a task meets without an observer, < 0.001 of its CPU

Measured: otel 1.030, sampled 1.017, events 1.000, checks 0.00006. On 100 slots a task takes less than half of the
client's CPU, since one turn of the loop serves many; otel is 1.05 to 1.06 there, more than half of it three spans and
three measurements inside the SDK.

The exit code is 1, and a line says why, where it is not so.
"""

import argparse
import asyncio
import statistics
import sys
import timeit
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from time import process_time
from typing import TypeAlias

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from benchmarks.measure import ROUND_TRIPS, SCENARIOS
from benchmarks.report import aligned
from benchmarks.server import KEY, PROCESSES, START_S, allow_sockets, serving
from bfl_async import Adaptive, AsyncBFL, request
from bfl_async.events import Event
from bfl_async.integrations.otel import OpenTelemetry
from bfl_async.types import Observer

ROUNDS = 6
TASKS = 240  # of one kind in one round
SLOTS = 12
WORST_S = 300.0  # for a round
MOST_OTEL = 1.05
MOST_CHECKS = 0.001
CHECKS = 12  # a task: admitted, submitting, answered, accepted, polled, settled, and the downloads

Watching: TypeAlias = "tuple[Observer | None, Callable[[], None]]"  # the observer, and what exports the rest


class Nothing:
    """An observer that does nothing."""

    def on_event(self, event: Event, /) -> None:
        """Take an event."""


class Dropping(SpanExporter):
    """An exporter that sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK's signature
        """Take spans."""
        return SpanExportResult.SUCCESS


def _done() -> None:
    """There is nothing to export."""


def _watching(sampler: Sampler) -> Watching:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    tracers = TracerProvider(sampler=sampler)
    tracers.add_span_processor(BatchSpanProcessor(Dropping()))

    def export() -> None:
        reader.collect()
        tracers.force_flush()

    return OpenTelemetry(tracers, meters), export


KINDS: dict[str, Callable[[], Watching]] = {
    "off": lambda: (None, _done),
    "events": lambda: (Nothing(), _done),
    "sampled": lambda: _watching(ParentBased(TraceIdRatioBased(0.1))),
    "otel": lambda: _watching(ALWAYS_ON),
}


async def run(url: str, tasks: int, observer: Observer | None) -> int:
    """Run the tasks; return the number of polls."""
    requests = (request("flux-pro-1.1", prompt="a cat") for _ in range(tasks))
    polling = Adaptive(max_polls_per_s=1_000)
    async with (
        AsyncBFL(KEY, base_url=url, limits=SLOTS, polling=polling, observer=observer) as bfl,
        bfl.stream(requests) as outcomes,
    ):
        async for outcome in outcomes:
            outcome.unwrap()
        return bfl.statistics().polls


def _process(pipe: Connection, kind: str, url: str, tasks: int) -> None:
    allow_sockets()
    observer, export = KINDS[kind]()
    asyncio.run(run(url, 1, observer))
    export()
    pipe.send(None)
    pipe.recv()  # when all are warm
    before_s = process_time()
    polls = asyncio.run(run(url, tasks, observer))
    export()
    pipe.send((process_time() - before_s, polls))


def measure(tasks: int, seed: int) -> dict[str, tuple[float, float]]:
    """Run one round; return by kind the CPU ms and the polls of a task."""
    work = SCENARIOS["flux1"].draw(tasks, seed)
    pipes: dict[str, Connection] = {}
    with ExitStack() as servers:
        for kind in KINDS:
            server = servers.enter_context(serving(work, SLOTS, ROUND_TRIPS))
            pipes[kind], there = PROCESSES.Pipe()
            process = PROCESSES.Process(target=_process, args=(there, kind, server.url, tasks), daemon=True)
            process.start()
            there.close()
        for pipe in pipes.values():
            _receive(pipe, START_S)
        for pipe in pipes.values():
            pipe.send(None)
        used = {kind: _receive(pipe, WORST_S) for kind, pipe in pipes.items()}
    return {kind: (cpu_s / tasks * 1_000, polls / tasks) for kind, (cpu_s, polls) in used.items()}


def _receive(pipe: Connection, longest_s: float) -> tuple[float, int]:
    if not pipe.poll(longest_s):
        raise TimeoutError(f"a client was not through after {longest_s:g} s")
    received: tuple[float, int] = pipe.recv()
    return received


def check_ms() -> float:
    """CPU ms of the comparisons with None of one task."""
    holder = type("Holder", (), {"reporter": None})()
    times = 200_000
    each = min(
        timeit.repeat("holder.reporter is not None", globals={"holder": holder}, number=times, repeat=5)
    )
    return CHECKS * each / times * 1_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument(
        "--tasks", type=int, default=TASKS, help=f"of one kind in one round; default: {TASKS}"
    )
    arguments = parser.parse_args(argv)
    rounds = [measure(arguments.tasks, seed) for seed in range(arguments.rounds)]
    ratios = {kind: statistics.median(each[kind][0] / each["off"][0] for each in rounds) for kind in KINDS}
    lines = [["kind", "median ms", "fastest ms", "slowest ms", "polls", "x off"]]
    for kind in KINDS:
        cpu_ms = [each[kind][0] for each in rounds]
        polls = statistics.fmean(each[kind][1] for each in rounds)
        values = (statistics.median(cpu_ms), min(cpu_ms), max(cpu_ms))
        lines.append([kind, *(f"{value:.3f}" for value in values), f"{polls:.1f}", f"{ratios[kind]:.3f}"])
    checks = check_ms() / statistics.median(each["off"][0] for each in rounds)
    sys.stdout.write(
        f"{arguments.rounds} rounds of {arguments.tasks} tasks, {SLOTS} slots, python {sys.version.split()[0]}\n"
        f"{aligned(lines, texts=1)}\n\nchecks / off = {checks:.6f} ({CHECKS} a task)\n"
    )
    faults = [
        f"not as expected: {what} {value:.4f}, less than {most:g} expected"
        for what, value, most in (("otel / off", ratios["otel"], MOST_OTEL), ("checks", checks, MOST_CHECKS))
        if value >= most
    ]
    sys.stdout.writelines(line + "\n" for line in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
