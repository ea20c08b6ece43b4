"""Several processes on one account: do they keep to its limit, use it, and share it fairly?

    python -m benchmarks.shared_limit                      # all rows, about 15 minutes
    python -m benchmarks.shared_limit --tasks 100 --rows "one;redis;file"
    python -m benchmarks.shared_limit --quick              # a check that it runs, under a minute

Each process sends its tasks through `bfl.stream(...)` as soon as all are open, against one server in a process of its
own, in real time: log-normal service times (median 0.4 s, sigma 0.35), 0.1 s a submit, 0.03 s a poll. The account has
12 slots, and the server refuses the thirteenth task with 429. Needs `redis-server` for the rows of Redis; it
starts its own.

    one         one process with all the tasks, `LocalLimiter(12)`
    redis       `RedisLimiter(..., 12)` in each
    file        `FileLimiter(..., 12)` in each
    unshared    `LocalLimiter(12)` in each: nobody knows of the others. A plain semaphore would do no better: this one
                at least learns from each 429
    split       `LocalLimiter(3)` in each, for 4 processes: the limit divided by hand
    ..., uneven the first process has 70 % of the tasks: what a divided limit cannot follow
    ..., kills  fewer and longer tasks (median 1 s); every 5 s one process is killed -9 and started again, where
                it attaches what was accepted before; leases of 10 s. The server's own limit is out of the way,
                so that its peak shows what the processes would have done to it

    efficiency  span of the same tasks on the same 12 slots with no client at all / span from the start signal to the
                last end
    peak        active tasks at the server at a time
    share       tasks ended in the slowest process, when the first one was through, against those of the first;
                where all have equally many
    operations  leases granted and freed a second by one process with 50 waiters
    idle        CPU of a process that waits for a slot, and of the one that holds it, in % of a core

Expected: 0 answers 429 in the rows redis and file, efficiency within 5 % of one process, share >= 0.8; with kills the
peak is 12, and the efficiency >= 80 % of the same run without. Operations >= 3,000 a second, idle < 1 %.

Measured with seed 7 on 2 cores: one 0.807, redis 0.799, file 0.794 (share 0.95 both, no 429); unshared 0.742 with 95
answers 429 and a share of 0.14; split 0.806, uneven 0.291 where redis has 0.802. Operations 24,000 (redis) and
23,000 (file) a second; idle 0.04 and 0.4 %. With kills, seed 93317: redis 0.870 and file 0.872 of 0.893 undisturbed,
peak 12.
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple
from urllib.request import ProxyHandler, build_opener

from benchmarks.redis_server import MISSING, RedisServer, running_redis
from benchmarks.server import KEY, PROCESSES, START_S, Kind, RoundTrips, Scenario, Work, ideal_span_s, serving
from bfl_async import AsyncBFL, Limits, TaskHandle, request
from bfl_async.limiter import FileLimiter, LocalLimiter, RedisLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.types import Lease, Limiter

SLOTS = 12
ROUND_TRIPS = RoundTrips(submit_s=0.1, poll_s=0.03)
MODEL = "flux-2-klein-4b"
SHORT = Scenario("short", "short tasks", (Kind(MODEL, 0.4, 0.35),), 400)
LONG = Scenario("long", "longer tasks", (Kind(MODEL, 1.0, 0.35),), 160)
KILL_EVERY_S = 5.0
KILLS_LEASE_S = 10.0
WAITERS = 50

LimiterKind = Literal["local", "redis", "file"]


class Shared(NamedTuple):
    """How a process makes its limiter."""

    kind: LimiterKind
    where: str
    limit: int
    lease_s: float = 60.0

    def make(self) -> Limiter:
        """Make it, in the process that uses it."""
        if self.kind == "redis":
            return RedisLimiter(self.where, Limits(account=self.limit), lease_s=self.lease_s)
        if self.kind == "file":
            return FileLimiter(self.where, Limits(account=self.limit), lease_s=self.lease_s)
        return LocalLimiter(Limits(account=self.limit))


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one row. `ends` holds, for each process, the moments at which its tasks ended."""

    row: str
    tasks: int
    efficiency: float
    refused_429: int
    peak: int
    kills: int
    ends: list[list[float]] = field(repr=False)

    @property
    def share(self) -> float:
        """The slowest process's tasks against the first one's, when that was through."""
        first = min(max(each) for each in self.ends)
        done = [sum(end <= first for end in each) for each in self.ends]
        return min(done) / max(done)


# --- a process --------------------------------------------------------------------------------------------


class Ledger:
    """What a process must not forget when it is killed: which tasks were accepted, and which ended."""

    def __init__(self, path: Path) -> None:
        self.accepted: dict[int, dict[str, object]] = {}
        self.done: set[int] = set()
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                number, record = json.loads(line)
            except ValueError:
                continue  # cut by the kill
            if record is None:
                self.done.add(number)
            else:
                self.accepted[number] = record
        self._file = path.open("a")
        self._file.write("\n")  # behind a line that was cut

    def write(self, number: int, record: object) -> None:
        """Note an accepted task, or the end of one (None)."""
        self._file.write(json.dumps([number, record]) + "\n")
        self._file.flush()


def _process(pipe: Connection, shared: Shared, url: str, model: str, numbers: list[int], ledger: str) -> None:
    asyncio.run(_run_process(pipe, shared, url, model, numbers, ledger))


async def _run_process(
    pipe: Connection, shared: Shared, url: str, model: str, numbers: list[int], ledger: str
) -> None:
    limiter = shared.make()
    ends: list[float] = []
    try:
        async with AsyncBFL(KEY, base_url=url, limiter=limiter) as bfl:
            pipe.send("open")
            await asyncio.to_thread(pipe.recv)
            if ledger:
                await _work_with_ledger(bfl, model, numbers, Ledger(Path(ledger)), ends)
            else:
                requests = (request(model, prompt=f"task {number}") for number in numbers)
                async with bfl.stream(requests) as outcomes:
                    async for outcome in outcomes:
                        outcome.unwrap()
                        ends.append(time.monotonic())
    finally:
        await limiter.aclose()
    pipe.send(ends)


async def _work_with_ledger(
    bfl: AsyncBFL, model: str, numbers: list[int], ledger: Ledger, ends: list[float]
) -> None:
    """Attach what was accepted before, then send the rest, a window at a time, as a durable run does."""
    window = asyncio.Semaphore(2 * SLOTS)

    async def finish(number: int, handle: TaskHandle) -> None:
        await handle
        ends.append(time.monotonic())
        ledger.write(number, None)

    async def send(number: int) -> None:
        try:
            handle = await bfl.submit(model, prompt=f"task {number}", priority=10)
            ledger.write(number, handle.to_dict())
            await finish(number, handle)
        finally:
            window.release()

    async with asyncio.TaskGroup() as group:
        for number in numbers:
            if number in ledger.accepted and number not in ledger.done:
                record = ledger.accepted[number]
                handle = bfl.attach(
                    str(record["task_id"]), polling_url=str(record["polling_url"]), model=str(record["model"])
                )
                group.create_task(finish(number, handle))
        for number in numbers:
            if number not in ledger.accepted and number not in ledger.done:
                await window.acquire()
                group.create_task(send(number))


# --- the processes together ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Worker:
    """One process, and how to start it again."""

    shared: Shared
    url: str
    model: str
    numbers: list[int]
    ledger: str
    process: BaseProcess | None = None
    pipe: Connection | None = None
    ends: list[float] | None = None

    def start(self) -> None:
        """Start it; it opens its client and waits for the signal."""
        self.pipe, there = PROCESSES.Pipe()
        self.process = PROCESSES.Process(
            target=_process,
            args=(there, self.shared, self.url, self.model, self.numbers, self.ledger),
            daemon=True,
        )
        self.process.start()
        there.close()

    def go(self) -> None:
        """Wait until it is open, and give the signal."""
        assert self.pipe is not None
        if not self.pipe.poll(START_S) or self.pipe.recv() != "open":
            raise TimeoutError("a process did not start in time")
        self.pipe.send("go")

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


def measure(
    row: str,
    shared: Shared,
    shares: Sequence[int],
    scenario: Scenario,
    *,
    seed: int,
    kills: bool = False,
    server_limit: int = SLOTS,
) -> Run:
    """Run the processes of one row against a fresh server.

    Args:
        shares: How many tasks each process has.
        kills: Kill one process every 5 s and start it again.
    Raises:
        RuntimeError: A process failed or hung.
    """
    tasks = sum(shares)
    # A killed process may send a task twice: its answer was on the way.
    work = scenario.draw(2 * tasks, seed)
    numbers = iter(range(tasks))
    with TemporaryDirectory() as folder, serving(work, server_limit, ROUND_TRIPS) as server:
        workers = [
            Worker(
                shared, server.url, MODEL, [next(numbers) for _ in range(share)],
                str(Path(folder, f"ledger-{place}")) if kills else "",
            )
            for place, share in enumerate(shares)
        ]  # fmt: skip
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.go()
            began = time.monotonic()
            killed = _wait_all(workers, began, tasks, scenario, kills=kills)
        finally:
            for worker in workers:
                worker.kill()
        with build_opener(ProxyHandler({})).open(f"{server.url}/sandbox/statistics") as reply:
            counts = json.load(reply)
    ends = [worker.ends or [] for worker in workers]
    # The server's first task is Ready at once: the warm-up of other benchmarks.
    ideal_s = ideal_span_s([Work(MODEL, 0.0), *work][: counts["accepted"]], SLOTS)
    span_s = max(max(each) for each in ends if each) - began
    return Run(row, tasks, ideal_s / span_s, counts["refused_429"], counts["peak_active"], killed, ends)


def _wait_all(workers: list[Worker], began: float, tasks: int, scenario: Scenario, *, kills: bool) -> int:
    """Wait for all processes, and kill some if asked; return how many were killed."""
    last = began + 60 + 5 * tasks * (scenario.kinds[0].median_s + 0.3) / min(SLOTS, 3)
    killed, next_kill = 0, began + KILL_EVERY_S
    restarting: list[Worker] = []
    while any(worker.ends is None for worker in workers):
        if time.monotonic() > last:
            raise RuntimeError("the processes were not through in time")
        time.sleep(0.01)
        for worker in workers:
            if worker.ends is not None or worker.pipe is None or not worker.pipe.poll():
                continue
            try:
                told = worker.pipe.recv()
            except EOFError:
                raise RuntimeError("a process failed; its own message stands above") from None
            if told == "open":
                worker.pipe.send("go")
                restarting.remove(worker)
            else:
                worker.ends = told
        if kills and time.monotonic() >= next_kill:
            next_kill += KILL_EVERY_S
            alive = [each for each in workers if each.ends is None and each not in restarting]
            if alive:
                victim = alive[killed % len(alive)]
                victim.kill()
                victim.start()
                restarting.append(victim)
                killed += 1
    return killed


# --- the limiter alone ------------------------------------------------------------------------------------------


async def operations_per_s(limiter: SharedLimiter, seconds: float) -> float:
    """Grant and free leases with 50 waiters; return operations a second, a grant and a release being one each."""
    loop = asyncio.get_running_loop()
    limiter.use_account("operations")
    await limiter.open()
    began, operations = time.monotonic(), 0

    async def wait() -> None:
        nonlocal operations
        while time.monotonic() < began + seconds:
            granted: asyncio.Future[None] = loop.create_future()
            lease = Lease(("account",), on_granted=lambda: granted.set_result(None))  # noqa: B023 - this turn's
            limiter.enqueue(lease)
            await granted
            limiter.release(lease)
            operations += 2

    await asyncio.gather(*(wait() for _ in range(WAITERS)))
    span_s = time.monotonic() - began
    await limiter.aclose()
    return operations / span_s


async def idle_percent(holder: SharedLimiter, waiter: SharedLimiter, seconds: float) -> float:
    """Hold the only slot in one limiter and wait for it in another; return the CPU of both in % of a core."""
    for limiter in (holder, waiter):
        limiter.use_account("idle")
        await limiter.open()
        limiter.resize(1)
        limiter.enqueue(Lease(("account",)))
        await limiter.flush()
    began = time.process_time()
    await asyncio.sleep(seconds)
    spent = time.process_time() - began
    for limiter in (holder, waiter):
        await limiter.aclose()
    return 100 * spent / seconds


# --- the rows -----------------------------------------------------------------------------------------------------

ROWS = (
    "one", "redis", "file", "unshared", "split", "redis, uneven", "file, uneven", "split, uneven",
    "redis, no kills", "redis, kills", "file, kills",
)  # fmt: skip


def measure_row(
    row: str,
    redis: RedisServer | None,
    folder: str,
    *,
    processes: int,
    tasks: int,
    kill_tasks: int,
    seed: int,
) -> Run:
    """Run one row by its name."""
    kind, _, what = row.partition(", ")
    kills = what == "kills"
    lease_s = KILLS_LEASE_S if "kills" in what else 60.0
    if kind == "redis":
        assert redis is not None
        redis.command("flushall")
        shared = Shared("redis", redis.url, SLOTS, lease_s)
        time.sleep(0.1)
    elif kind == "file":
        shared = Shared("file", str(Path(folder, row.replace(", ", "-"))), SLOTS, lease_s)
    else:
        shared = Shared("local", "", max(1, SLOTS // processes) if kind == "split" else SLOTS)
    if "kills" in what:
        return measure(
            row, shared, [kill_tasks] * processes, LONG, seed=seed, kills=kills, server_limit=1_000
        )
    total = processes * tasks
    if row == "one":
        shares = [total]
    elif what == "uneven":
        small = max(1, round(0.3 * total / (processes - 1)))
        shares = [total - small * (processes - 1)] + [small] * (processes - 1)
    else:
        shares = [tasks] * processes
    return measure(row, shared, shares, SHORT, seed=seed)


def table(runs: Sequence[Run]) -> str:
    """Return a row for each run."""
    lines = [("", "tasks", "efficiency", "429s", "peak", "kills", "share")]
    lines += [
        (
            run.row, str(run.tasks), f"{run.efficiency:.3f}", str(run.refused_429), str(run.peak), str(run.kills),
            f"{run.share:.2f}" if len(run.ends) > 1 and not run.kills and "uneven" not in run.row else "-",
        )
        for run in runs
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


@contextmanager
def redis_if_there() -> Iterator[RedisServer | None]:
    """Run a Redis, or say that there is none."""
    if not RedisServer.is_there():
        sys.stderr.write(f"the rows of Redis are left out: {MISSING}\n")
        yield None
        return
    with running_redis() as redis:
        yield redis


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the parameters and the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shared_limit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=SHORT.tasks, help="of each process")
    parser.add_argument("--kill-tasks", type=int, default=LONG.tasks, help="of each process, with kills")
    parser.add_argument("--rows", default=";".join(ROWS), help="separated by semicolons")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="it runs at all")
    arguments = parser.parse_args(argv)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    rows = [row.strip() for row in arguments.rows.split(";")]
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"{unknown[0]!r} is none of the rows: {'; '.join(ROWS)}")
    tasks, kill_tasks, seconds = arguments.tasks, arguments.kill_tasks, 10.0
    if arguments.quick:
        rows, tasks, seconds = ["one", "redis", "file", "unshared"], 25, 2.0
    facts = {
        "seed": seed, "processes": arguments.processes, "tasks": tasks, "slots": SLOTS, "cores": os.cpu_count(),
        "python": platform.python_version(), "redis-py": version("redis"),
    }  # fmt: skip
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    runs: list[Run] = []
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        redis = stack.enter_context(redis_if_there())
        for row in rows:
            if row.startswith("redis") and redis is None:
                continue
            sys.stderr.write(f"{row} ...\n")
            runs.append(
                measure_row(
                    row,
                    redis,
                    folder,
                    processes=arguments.processes,
                    tasks=tasks,
                    kill_tasks=kill_tasks,
                    seed=seed,
                )
            )
        sys.stdout.write(table(runs) + "\n")
        makers: dict[str, Callable[[], SharedLimiter]] = {"file": lambda: FileLimiter(folder)}
        if redis is not None:
            url = redis.url
            makers["redis"] = lambda: RedisLimiter(url)
        for name, make in makers.items():
            speed = asyncio.run(operations_per_s(make(), seconds / 2))
            idle = asyncio.run(idle_percent(make(), make(), seconds))
            sys.stdout.write(f"{name}: {speed:,.0f} operations/s with {WAITERS} waiters, idle {idle:.2f} %\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
