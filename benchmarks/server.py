"""The server of a benchmark: a sandbox in a process of its own, and the tasks that it is given.

The service times are drawn here, from a seed and in submit order: every client of a round gets the same ones.
"""

import asyncio
import heapq
import json
import math
import multiprocessing
import random
import resource
from collections import defaultdict, deque
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


class Work(NamedTuple):
    """One task before it is sent: its model, and the seconds from acceptance to Ready that it is given."""

    model: str
    service_s: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A model with log-normal service times."""

    model: str
    median_s: float
    sigma: float  # of the time's logarithm


FLUX1 = Kind("flux-pro-1.1", 4.5, 0.40)  # the sandbox reports its progress in tenths
FLUX2 = Kind("flux-2-pro", 10.0, 0.45)
KLEIN = Kind("flux-2-klein-4b", 1.0, 0.35)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Tasks through the slots of an account. With several kinds each task is of one of them, drawn evenly."""

    name: str
    title: str
    kinds: tuple[Kind, ...]
    tasks: int  # unless told otherwise
    slots: int = 12
    doubles: bool = False  # from the middle task on, service times are twice as long

    def draw(self, tasks: int, seed: int) -> list[Work]:
        """Draw one round, in submit order."""
        rng = random.Random(f"{self.name} {seed}")
        drawn: list[Work] = []
        for number in range(tasks):
            kind = self.kinds[0] if len(self.kinds) == 1 else rng.choice(self.kinds)
            factor = 2.0 if self.doubles and number >= tasks // 2 else 1.0
            drawn.append(Work(kind.model, factor * kind.median_s * rng.lognormvariate(0.0, kind.sigma)))
        return drawn


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


def ideal_span_s(work: Sequence[Work], slots: int) -> float:
    """Return the span of the tasks with no client at all: each starts, in order, as soon as a slot is free."""
    free_at = [0.0] * slots
    for task in work:
        heapq.heapreplace(free_at, free_at[0] + task.service_s)
    return max(free_at)


@contextmanager
def serving(work: Sequence[Work], slots: int, round_trips: RoundTrips) -> Iterator[Server]:
    """Run a fresh server. Its first task is the warm-up, which is Ready at once; the drawn times follow."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(
        target=_serve, args=(there, list(work), slots, round_trips), name="server", daemon=True
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


def _serve(pipe: Connection, work: list[Work], slots: int, round_trips: RoundTrips) -> None:
    allow_sockets()
    asyncio.run(_serve_until_closed(pipe, work, slots, round_trips))


def allow_sockets() -> None:
    """Let this process have as many sockets as it may: a thousand slots need some thousands."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve_until_closed(
    pipe: Connection, work: list[Work], slots: int, round_trips: RoundTrips
) -> None:
    async with Sandbox(
        key=KEY,
        limit=slots,
        pools={},
        credits=math.inf,
        service_s=_in_order(work),
        submit_rtt_s=round_trips.submit_s,
        poll_rtt_s=round_trips.poll_s,
        retain=len(work) + 1,
    ) as sandbox:
        pipe.send(sandbox.url)
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()
        loop.add_reader(pipe.fileno(), closed.set)  # nothing is ever sent: readable means closed
        await closed.wait()
        loop.remove_reader(pipe.fileno())


def _in_order(work: list[Work]) -> Callable[[str, int], float]:
    # By model: submits that leave together may arrive in any order.
    by_model: defaultdict[str, deque[float]] = defaultdict(deque)
    for task in work:
        by_model[task.model].append(task.service_s)

    def seconds(model: str, number: int) -> float:
        return 0.0 if number == 0 else by_model[model].popleft()

    return seconds
