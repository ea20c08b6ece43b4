"""A million prompts through `stream`: the memory stays flat, and an item costs little beside its HTTP calls.

    python -m benchmarks.stream                       # 1,000,000 items, about 2 minutes
    python -m benchmarks.stream --items 50000 --profile

The transport is scripted: it answers each submit with a receipt and each poll with Ready, at once and from memory,
so that all the time is the client's own: admission, limiter, runner, parsing, settlement, outcome. 12 slots, the
default window, a policy that polls at once.

Expected:

    peak memory    < 40 MB over what the process has after its imports
    flat           the peak of the last tenth <= 1 MB over the peak of the second tenth
    rate           > 5,000 items a second of CPU time, which is what an idle machine does

The exit code is 1, and a line says why, where it is not so.
"""

import argparse
import asyncio
import cProfile
import pstats
import random
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.process import Meter
from bfl_async import AsyncBFL, ImageRequest, request
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.types import Reply

ITEMS = 1_000_000
SLOTS = 12
MOST_MB = 40.0
MOST_GROWTH_MB = 1.0
LEAST_PER_S = 5_000.0
_PARTS = 10


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


async def run(items: int, meter: Meter) -> tuple[float, list[float]]:
    """Stream the items; return the seconds, and the peak memory in MB when each tenth was through."""
    requests: Iterator[ImageRequest] = (
        request("flux-pro-1.1", prompt=f"prompt {number}") for number in range(items)
    )
    peaks: list[float] = []
    seen = 0
    started_at = time.perf_counter()
    async with (
        AsyncBFL(transport=Scripted(), limits=SLOTS, polling=AtOnce()) as bfl,
        bfl.stream(requests) as outcomes,
    ):
        async for outcome in outcomes:
            outcome.unwrap()
            seen += 1
            if seen % max(1, items // _PARTS) == 0:
                peaks.append(meter.peak_mb())
    if seen != items:
        raise RuntimeError(f"{seen} outcomes for {items} requests")
    return time.perf_counter() - started_at, peaks


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"default: {ITEMS:,}")
    parser.add_argument("--profile", action="store_true", help="print where the time goes; the rate falls")
    arguments = parser.parse_args(argv)
    meter = Meter()
    profile = cProfile.Profile()
    if arguments.profile:
        profile.enable()
    seconds, peaks = asyncio.run(run(arguments.items, meter))
    profile.disable()
    rate, cpu_s = arguments.items / seconds, meter.cpu_s()
    sys.stdout.write(
        f"items {arguments.items:,}, slots {SLOTS}, python {sys.version.split()[0]}\n"
        f"{rate:,.0f} items/s ({arguments.items / cpu_s:,.0f} a CPU second), peak memory over import: "
        f"{' '.join(f'{peak:.1f}' for peak in peaks)} MB\n"
    )
    if arguments.profile:
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return 0
    faults: list[str] = []
    if peaks[-1] >= MOST_MB:
        faults.append(f"peak memory {peaks[-1]:.1f} MB, less than {MOST_MB:g} expected")
    if len(peaks) > 1 and peaks[-1] - peaks[1] > MOST_GROWTH_MB:
        faults.append(f"memory grew by {peaks[-1] - peaks[1]:.1f} MB, at most {MOST_GROWTH_MB:g} expected")
    if arguments.items / cpu_s <= LEAST_PER_S:
        faults.append(
            f"{arguments.items / cpu_s:,.0f} items a CPU second, more than {LEAST_PER_S:,.0f} expected"
        )
    sys.stdout.writelines(f"not as expected: {fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
