"""How much of the slots a client uses: efficiency, polls, lag, 429s and CPU of three clients.

    python -m benchmarks.throughput                        # all scenarios, all clients, about 5 minutes
    python -m benchmarks.throughput --scenario flux1 --tasks 240 --rounds 3 --json flux1.json
    python -m benchmarks.throughput --clients handwritten,ours --seed 7
    python -m benchmarks.throughput --quick                # a check that it runs, under 30 s

Each client sends the same tasks through 12 slots, in a process of its own against a fresh server in another
one, in real time: 0.115 s a poll and 0.5 s a submit, the recorded round trips, half before the server decides
and half before it answers. Downloads are not part of it. A first task, Ready at once, warms each client up
(imports and first use); then it starts anew, without connections, and the clock with it.

    guide        the loop of BFL's guide: `requests` in 12 threads, POST, then sleep 0.5 s and GET until Ready
    handwritten  the same loop over aiohttp, under `asyncio.Semaphore(12)`
    ours         `bfl.stream(...)` with `Fixed(0.5)`

    efficiency   span of the same tasks on the same slots with no client at all (each starts, in submit order,
                 when a slot is free) / span from the client's start to its last Ready, by the client's clock
    lag          from Ready at the server to the server's answer to the poll that saw it; mean over the tasks
    429          submits that the server refused
    CPU          of the client's process, user and system
    vs hand.     CPU a task, the hand-written loop's = 1

The clients of a round run at the same time; `--one-by-one` runs them one after another. They wait far more than
they work, so on 2 cores efficiency, polls and lag come out the same (to 0.002 and 0.005 s). CPU seconds depend on
how busy the machine is, by a third and more in either way of running: compare those of one moment, which is what
"vs hand." does, and over several rounds.

Expected, from the design (section 6). With the fixed interval:

    | scenario                                       | efficiency | lag    | polls a task | CPU a task         |
    | flux1: log-normal, 4.5 s, sigma 0.40, progress | 0.895      | 0.32 s | 7.9          | ours <= 1.2 x the  |
    | flux2: log-normal, 10 s, sigma 0.45            | 0.95       | 0.32 s | 17.4         | hand-written       |
    | klein: log-normal, 1.0 s, sigma 0.35           | 0.63       | 0.31 s | 1.9 to 2.2   | loop's             |

The fewer the tasks, the more the last ones weigh on the efficiency: 0.937 for flux2 with 120 tasks, 0.60 to 0.65
for klein with 60.

To be reached by learning when to poll, and by overlapping submits, once there are such policies:

    | scenario | efficiency | with overlap | lag and polls a task         |
    | flux1    | >= 0.925   | >= 0.945     | <= 0.09 s at <= 5 polls      |
    | flux2    |            |              | lag + 0.01 x polls <= 0.42 s |
    | klein    | >= 0.73    | >= 0.79      | lag + 0.01 x polls <= 0.13 s |

No client is to see a 429: each one frees a slot only when it has seen the task's end.
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

from benchmarks.baselines import Body, run_guide, run_handwritten
from benchmarks.server import KEY, PROCESSES, START_S, RoundTrips, Row, Scenario, ideal_span_s, serving
from bfl_async import AsyncBFL, Fixed, ImageRequest, request

SLOTS = 12
INTERVAL_S = 0.5
ROUND_TRIPS = RoundTrips(submit_s=0.5, poll_s=0.115)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("flux1", "FLUX.1-like", "flux-pro-1.1", 4.5, 0.40, tasks=180),
        Scenario("flux2", "FLUX.2-like", "flux-2-pro", 10.0, 0.45, tasks=96),
        Scenario("klein", "klein-like", "flux-2-klein-4b", 1.0, 0.35, tasks=480),
    )
}
QUICK_TASKS = 60


class Client(Protocol):
    """Sends all bodies and returns the moment at which it saw the last Ready, on the monotonic clock."""

    def __call__(
        self, url: str, key: str, model: str, bodies: list[Body], /, *, slots: int, interval_s: float
    ) -> float: ...


def run_ours(url: str, key: str, model: str, bodies: list[Body], *, slots: int, interval_s: float) -> float:
    """Run the package's stream with a fixed interval; return the moment of the last Ready."""
    return asyncio.run(_run_ours(url, key, model, bodies, slots, interval_s))


async def _run_ours(
    url: str, key: str, model: str, bodies: list[Body], slots: int, interval_s: float
) -> float:
    requests: Iterator[ImageRequest] = (request(model, **body) for body in bodies)
    last_at = 0.0
    async with (
        AsyncBFL(key, base_url=url, limits=slots, polling=Fixed(interval_s)) as bfl,
        bfl.stream(requests) as outcomes,
    ):
        async for outcome in outcomes:
            outcome.unwrap()
            last_at = time.monotonic()
    return last_at


CLIENTS: dict[str, Client] = {"guide": run_guide, "handwritten": run_handwritten, "ours": run_ours}


class Measured(NamedTuple):
    """What a client's process found out about itself, in seconds."""

    span_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """One client's run through one round of a scenario."""

    scenario: str
    client: str
    round: int
    seed: int
    ideal_s: float
    span_s: float
    cpu_s: float
    refused_429: int
    rows: list[Row]

    @property
    def efficiency(self) -> float:
        """The ideal span over the measured one."""
        return self.ideal_s / self.span_s

    @property
    def polls_per_task(self) -> float:
        """Polls that the server answered for the tasks."""
        return statistics.fmean(row.polls for row in self.rows)

    @property
    def lag_s(self) -> float:
        """Mean seconds from Ready to the poll that saw it."""
        return statistics.fmean(
            row.seen_at - row.ready_at
            for row in self.rows
            if row.seen_at is not None and row.ready_at is not None
        )

    @property
    def cpu_ms_per_task(self) -> float:
        """CPU milliseconds of the client's process."""
        return self.cpu_s / len(self.rows) * 1000


def measure(scenario: Scenario, client: str, service_s: Sequence[float], number: int, seed: int) -> Run:
    """Run one client against a fresh server, each in its own process.

    Raises:
        RuntimeError: The client failed, or left a task unseen.
    """
    with serving(service_s, SLOTS, ROUND_TRIPS) as server:
        here, there = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(
            target=_client_process,
            args=(there, client, server.url, scenario.model, len(service_s)),
            name=client,
            daemon=True,
        )
        process.start()
        there.close()
        # Three times the worst that the baselines need: a client that hangs is not waited for.
        worst_s = START_S + 3 * (ideal_span_s(service_s, SLOTS) + 1.5 * len(service_s) / SLOTS)
        try:
            if not here.poll(worst_s):
                raise RuntimeError(f"{client} was not through after {worst_s:.0f} s")
            measured = Measured(*here.recv())
        except EOFError:
            raise RuntimeError(f"{client} failed; its own message stands above") from None
        finally:
            process.join(5.0)
            if process.is_alive():
                process.kill()
        record = server.record()
    unseen = sum(row.status != "Ready" or row.seen_at is None for row in record.rows)
    if unseen or len(record.rows) != len(service_s) or record.polls_429:
        raise RuntimeError(
            f"{client}: {len(record.rows)} tasks of {len(service_s)} accepted, {unseen} not seen Ready, "
            f"{record.polls_429} polls refused"
        )
    ideal_s = ideal_span_s(service_s, SLOTS)
    return Run(
        scenario.name, client, number, seed, ideal_s, measured.span_s, measured.cpu_s,
        record.refused_429, record.rows,
    )  # fmt: skip


def _client_process(pipe: Connection, client: str, url: str, model: str, tasks: int) -> None:
    run = CLIENTS[client]
    warm_up, *bodies = (
        Body(prompt=f"task {number} of a benchmark", width=1024, height=768, seed=number)
        for number in range(tasks + 1)
    )
    run(url, KEY, model, [warm_up], slots=SLOTS, interval_s=INTERVAL_S)
    started_at, cpu_before_s = time.monotonic(), time.process_time()
    last_at = run(url, KEY, model, bodies, slots=SLOTS, interval_s=INTERVAL_S)
    pipe.send(Measured(last_at - started_at, time.process_time() - cpu_before_s))


def measure_all(
    scenarios: Sequence[Scenario],
    clients: Sequence[str],
    *,
    tasks: int | None,
    rounds: int,
    seed: int,
    one_by_one: bool,
    report: Callable[[str], None],
) -> list[Run]:
    """Run every client through every round of every scenario."""
    runs: list[Run] = []
    with ThreadPoolExecutor(1 if one_by_one else len(clients)) as threads:
        for scenario in scenarios:
            for number in range(rounds):
                service_s = scenario.draw(scenario.tasks if tasks is None else tasks, seed + number)
                ideal_s = ideal_span_s(service_s, SLOTS)
                report(f"{scenario.name}, round {number + 1} of {rounds}: at least {ideal_s:.0f} s ...")
                started = [
                    threads.submit(measure, scenario, client, service_s, number, seed + number)
                    for client in clients
                ]
                runs.extend(future.result() for future in started)
    return runs


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean, and over several rounds their standard deviation."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ±{statistics.stdev(values):.{digits}f}"


def table(runs: Sequence[Run]) -> str:
    """Return a row per scenario and client."""
    head = (
        "scenario", "client", "tasks", "efficiency", "polls/task", "lag s", "429s", "CPU ms/task", "vs hand."
    )  # fmt: skip
    lines = [head]
    for scenario, client in dict.fromkeys((run.scenario, run.client) for run in runs):
        of_row = [run for run in runs if (run.scenario, run.client) == (scenario, client)]
        by_hand = {
            run.round: run.cpu_ms_per_task
            for run in runs
            if (run.scenario, run.client) == (scenario, "handwritten")
        }
        lines.append(
            (
                SCENARIOS[scenario].title,
                client,
                str(len(of_row[0].rows)) if len(of_row) == 1 else f"{len(of_row)} x {len(of_row[0].rows)}",
                _spread([run.efficiency for run in of_row], 3),
                _spread([run.polls_per_task for run in of_row], 2),
                _spread([run.lag_s for run in of_row], 3),
                str(sum(run.refused_429 for run in of_row)),
                _spread([run.cpu_ms_per_task for run in of_row], 2),
                _spread([run.cpu_ms_per_task / by_hand[run.round] for run in of_row], 2) if by_hand else "-",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in chain((head, rule), lines[1:])
    )


def parameters(seed: int, rounds: int, *, one_by_one: bool) -> dict[str, str | int | float | bool]:
    """Return what a reader needs to repeat the run."""
    return {
        "seed": seed,
        "rounds": rounds,
        "slots": SLOTS,
        "poll_interval_s": INTERVAL_S,
        "poll_round_trip_s": ROUND_TRIPS.poll_s,
        "submit_round_trip_s": ROUND_TRIPS.submit_s,
        "one_by_one": one_by_one,
        "python": platform.python_version(),
        "cores": os.cpu_count() or 0,
        **{name.replace("-", "_"): version(name) for name in ("bfl-async", "aiohttp", "requests")},
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    def names(known: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            chosen = list(known) if text == "all" else [name.strip() for name in text.split(",")]
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
            return list(dict.fromkeys(chosen))

        return parse

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError(f"{number} is not positive")
        return number

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--scenario", type=names([*SCENARIOS]), default=None, help="one, several or 'all' (default)"
    )
    parser.add_argument(
        "--clients", type=names([*CLIENTS]), default=[*CLIENTS], help=f"of {','.join(CLIENTS)}"
    )
    parser.add_argument("--tasks", type=positive, help="tasks a round; default: each scenario's own number")
    parser.add_argument("--rounds", type=positive, default=1, help="each with draws of its own; default: 1")
    parser.add_argument("--seed", type=int, help="of the service times; default: drawn anew")
    parser.add_argument("--one-by-one", action="store_true", help="never two clients at the same time")
    parser.add_argument("--quick", action="store_true", help=f"klein, {QUICK_TASKS} tasks: it runs at all")
    parser.add_argument("--json", metavar="FILE", help="write the raw results, a row per task included")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.scenario = arguments.scenario or ["klein"]
        arguments.tasks = arguments.tasks or QUICK_TASKS
    arguments.scenario = arguments.scenario or [*SCENARIOS]
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(1_000_000)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the parameters and the table."""
    arguments = _arguments(argv)
    facts = parameters(arguments.seed, arguments.rounds, one_by_one=arguments.one_by_one)
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    sys.stdout.flush()
    runs = measure_all(
        [SCENARIOS[name] for name in arguments.scenario],
        arguments.clients,
        tasks=arguments.tasks,
        rounds=arguments.rounds,
        seed=arguments.seed,
        one_by_one=arguments.one_by_one,
        report=_report,
    )
    spread = "" if arguments.rounds == 1 else "; mean and standard deviation over the rounds"
    sys.stdout.write(f"\n{table(runs)}\n\nspans and lag by the wall clock, CPU by process time{spread}\n")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"parameters": facts, "runs": [_raw(run) for run in runs]}, file, indent=1)
            file.write("\n")
    return 0


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _raw(run: Run) -> dict[str, object]:
    return {
        **asdict(run),
        "efficiency": run.efficiency,
        "polls_per_task": run.polls_per_task,
        "lag_s": run.lag_s,
        "cpu_ms_per_task": run.cpu_ms_per_task,
        "rows": [row._asdict() for row in run.rows],
    }


if __name__ == "__main__":
    sys.exit(main())
