"""A million prompts through `stream`: the memory stays flat, and an item costs little beside its HTTP calls.

    python -m benchmarks.stream                       # 1,000,000 items, about 3 minutes
    python -m benchmarks.stream --items 50000 --profile

The transport is scripted: it answers each submit with a receipt and each poll with Ready, at once and from memory,
so that all the time is the client's own: admission, limiter, runner, parsing, settlement, outcome. 12 slots, the
default window, a policy that polls at once.

Expected:

    peak memory    < 40 MB over what the process has after its imports
    flat           the peak of the last tenth <= 1 MB over the peak of the second tenth
    CPU            <= 12 x that of a bare loop, which makes the same requests and reads the same replies and does
                   no more: the fastest tenth of the stream against the fastest of ten such loops, half of them
                   run before the stream and half after it

The exit code is 1, and a line says why, where it is not so.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.process import Meter
from bfl_async import AsyncBFL, ImageRequest, request
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.types import Reply

ITEMS = 1_000_000
SLOTS = 12
MOST_MB = 40.0
MOST_GROWTH_MB = 1.0
MOST_CPU = 12.0
_PARTS = 10
_BARE_ITEMS = 10_000


class Scripted:
    """The `Transport` protocol over nothing."""

    def __init__(self) -> None:
        self._tasks = 0

    async def submit(self, path: str, body: bytes) -> Reply:  # noqa: ARG002 - the protocol's signature
        """Answer with a receipt."""
        self._tasks += 1
        text = (
            f'{{"id": "{self._tasks:036d}", "polling_url": '
            f'"https://api.bfl.ai/v1/get_result?id={self._tasks:036d}", "cost": 4.0}}'
        )
        return Reply(200, {}, text.encode())

    async def poll(self, url: str) -> Reply:
        """Answer Ready."""
        task_id = url.rpartition("=")[2]
        text = (
            f'{{"id": "{task_id}", "status": "Ready", "progress": null, "result": {{"sample": '
            f'"https://delivery.bfl.ai/results/{task_id}/sample.jpeg?se=2030-01-01T00%3A00%3A00Z&sig=x", '
            '"prompt": "a cat", "seed": 42, "start_time": 1.0, "end_time": 2.0, "duration": 1.0}}'
        )
        return Reply(200, {}, text.encode())

    async def download(self, url: str, *, timeout: float) -> Reply:
        """Not called: what is measured is the stream, and nothing is downloaded."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close nothing."""


class AtOnce:
    """A policy that never waits."""

    def wait_s(
        self,
        elapsed_s: float,  # noqa: ARG002 - the protocol's signature
        readings: Sequence[Reading],  # noqa: ARG002 - the same
        timings: Timings,  # noqa: ARG002 - the same
        rng: random.Random,  # noqa: ARG002 - the same
    ) -> float:
        """Return no time."""
        return 0.0


async def bare(items: int) -> None:
    """Make the items, send them and read the replies, with as many workers as slots."""
    transport = Scripted()
    requests = (request("flux-pro-1.1", prompt=f"prompt {number}") for number in range(items))

    async def work() -> None:
        for each in requests:
            receipt = json.loads(
                (await transport.submit(each.endpoint, json.dumps(each.body()).encode())).body
            )
            reply = json.loads((await transport.poll(receipt["polling_url"])).body)
            if reply["status"] != "Ready":
                raise RuntimeError(reply["status"])

    async with asyncio.TaskGroup() as workers:
        for _ in range(SLOTS):
            workers.create_task(work())


def bare_cpu_s(times: int) -> float:
    """Run the bare loop so many times; return the CPU seconds of one item in the fastest."""
    spent: list[float] = []
    for _ in range(times):
        before_s = time.process_time()
        asyncio.run(bare(_BARE_ITEMS))
        spent.append((time.process_time() - before_s) / _BARE_ITEMS)
    return min(spent)


class Tenths(NamedTuple):
    """A stream by its tenths: the CPU seconds of an item in each, and the peak memory in MB after each."""

    cpu_s: list[float]
    peaks_mb: list[float]


async def run(items: int, meter: Meter) -> Tenths:
    """Stream the items."""
    requests: Iterator[ImageRequest] = (
        request("flux-pro-1.1", prompt=f"prompt {number}") for number in range(items)
    )
    tenths = Tenths([], [])
    part = max(1, items // _PARTS)
    seen = 0
    async with (
        AsyncBFL(transport=Scripted(), limits=SLOTS, polling=AtOnce()) as bfl,
        bfl.stream(requests) as outcomes,
    ):
        before_s = meter.cpu_s()
        async for outcome in outcomes:
            outcome.unwrap()
            seen += 1
            if seen % part == 0:
                now_s = meter.cpu_s()
                tenths.cpu_s.append((now_s - before_s) / part)
                tenths.peaks_mb.append(meter.peak_mb())
                before_s = now_s
    if seen != items:
        raise RuntimeError(f"{seen} outcomes for {items} requests")
    return tenths


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"default: {ITEMS:,}")
    parser.add_argument("--profile", action="store_true", help="print where the time goes; the rate falls")
    arguments = parser.parse_args(argv)
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, run(arguments.items, Meter()))
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return 0
    meter = Meter()
    bare_s = bare_cpu_s(_PARTS // 2)
    meter.restart()
    tenths = asyncio.run(run(arguments.items, meter))
    rate = arguments.items / meter.cpu_s()
    times = min(tenths.cpu_s) / min(bare_s, bare_cpu_s(_PARTS // 2))
    peaks = tenths.peaks_mb
    sys.stdout.write(
        f"items {arguments.items:,}, slots {SLOTS}, python {sys.version.split()[0]}\n"
        f"{rate:,.0f} items a CPU second, {times:.1f} x the CPU of a bare loop, peak memory over import: "
        f"{' '.join(f'{peak:.1f}' for peak in peaks)} MB\n"
    )
    faults: list[str] = []
    if peaks[-1] >= MOST_MB:
        faults.append(f"peak memory {peaks[-1]:.1f} MB, less than {MOST_MB:g} expected")
    if len(peaks) > 1 and peaks[-1] - peaks[1] > MOST_GROWTH_MB:
        faults.append(f"memory grew by {peaks[-1] - peaks[1]:.1f} MB, at most {MOST_GROWTH_MB:g} expected")
    if times > MOST_CPU:
        faults.append(f"{times:.1f} x the CPU of a bare loop, at most {MOST_CPU:g} expected")
    sys.stdout.writelines(f"not as expected: {fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
