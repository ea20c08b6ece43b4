"""The server of a benchmark: a sandbox in a process of its own, and the tasks that it is given.

The service times are drawn here, from a seed and in submit order: every client of a round gets the same ones.
"""

import asyncio
import heapq
import json
import math
import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

from bfl_async.sandbox import Sandbox

KEY = "sandbox-key"
START_S = 30.0  # for a process to start, its imports included

# A spawned process inherits no loop, no thread and no import of its parent.
PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Tasks of one kind: log-normal seconds from acceptance to Ready."""

    name: str
    title: str
    model: str
    median_s: float
    sigma: float  # of the time's logarithm
    tasks: int  # unless told otherwise

    def draw(self, tasks: int, seed: int) -> list[float]:
        """Draw the service times of one round, in submit order."""
        rng = random.Random(f"{self.name} {seed}")
        return [self.median_s * rng.lognormvariate(0.0, self.sigma) for _ in range(tasks)]


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Artificial round trips, half before the server decides and half before it answers."""

    submit_s: float
    poll_s: float


class Row(NamedTuple):
    """One task, as the server saw it. Times are the server's clock in seconds."""

    id: str
    model: str
    accepted_at: float
    ready_at: float | None
    seen_at: float | None
    polls: int
    status: str


class Record(NamedTuple):
    """What the server has counted, the warm-up left out."""

    rows: list[Row]
    refused_429: int
    polls_429: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str

    def record(self) -> Record:
        """Ask for the tasks, all but the first, which was the warm-up."""
        # Without the environment's proxy, which is for other hosts than this one.
        with build_opener(ProxyHandler({})).open(f"{self.url}/sandbox/statistics?tasks=1") as reply:
            data = json.load(reply)
        rows = [Row(*row) for row in data["tasks"]]
        return Record(rows[1:], data["refused_429"], data["polls_429"])


def ideal_span_s(service_s: Sequence[float], slots: int) -> float:
    """Return the span of the tasks with no client at all: each starts, in order, as soon as a slot is free."""
    free_at = [0.0] * slots
    for seconds in service_s:
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)


@contextmanager
def serving(service_s: Sequence[float], slots: int, round_trips: RoundTrips) -> Iterator[Server]:
    """Run a fresh server. Its first task is the warm-up, which is Ready at once; the drawn times follow."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(
        target=_serve, args=(there, list(service_s), slots, round_trips), name="server", daemon=True
    )
    process.start()
    there.close()
    try:
        if not here.poll(START_S):
            raise TimeoutError("the server did not start in time")
        yield Server(here.recv())
    finally:
        here.close()
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(pipe: Connection, service_s: list[float], slots: int, round_trips: RoundTrips) -> None:
    asyncio.run(_serve_until_closed(pipe, service_s, slots, round_trips))


async def _serve_until_closed(
    pipe: Connection, service_s: list[float], slots: int, round_trips: RoundTrips
) -> None:
    async with Sandbox(
        key=KEY,
        limit=slots,
        pools={},
        credits=math.inf,
        service_s=_in_order(service_s),
        submit_rtt_s=round_trips.submit_s,
        poll_rtt_s=round_trips.poll_s,
        retain=len(service_s) + 1,
    ) as sandbox:
        pipe.send(sandbox.url)
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()
        loop.add_reader(pipe.fileno(), closed.set)  # nothing is ever sent: readable means closed
        await closed.wait()
        loop.remove_reader(pipe.fileno())


def _in_order(service_s: list[float]) -> Callable[[str, int], float]:
    def seconds(_model: str, number: int) -> float:
        return 0.0 if number == 0 else service_s[number - 1]

    return seconds
