"""Runs of scenarios, and the figures that follow from what server and client have recorded."""

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.baselines import Body, Job
from benchmarks.clients import Client, Measured, run_client
from benchmarks.server import FLUX1, FLUX2, KLEIN, RoundTrips, Row, Scenario, Work, ideal_span_s, serving

SLOTS = 12
ROUND_TRIPS = RoundTrips(submit_s=0.5, poll_s=0.115)
POLL_COST_S = 0.01
BACK_OVER = 20, 80  # tasks over which the lag is averaged to say that it is back, and that it stays so
BACK_WITHIN = 1.25  # of the level
QUICK_TASKS = 60
AT_ONCE = 4  # clients: more of them take the cores' caches from each other, which their CPU shows

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("flux1", "FLUX.1-like", (FLUX1,), tasks=480),
        Scenario("flux2", "FLUX.2-like", (FLUX2,), tasks=240),
        Scenario("klein", "klein-like", (KLEIN,), tasks=1_200),
        Scenario("mixed", "mixed models", (FLUX1, FLUX2, KLEIN), tasks=360),
        Scenario("doubles", "FLUX.1-like, doubles", (FLUX1,), tasks=240, doubles=True),
        Scenario("klein-doubles", "klein-like, doubles", (KLEIN,), tasks=600, doubles=True),
        Scenario("slots1000", "FLUX.1-like, 1,000 slots", (FLUX1,), tasks=5_000, slots=1_000),
    )
}


@dataclass(frozen=True, slots=True)
class Run:
    """One client's run through one round of a scenario."""

    scenario: Scenario
    client: Client
    round: int
    seed: int
    ideal_s: float
    measured: Measured
    refused_429: int  # all that the server counted
    rows: list[Row]  # in the order of acceptance

    def figures(self) -> dict[str, float]:
        """Every figure of this run by name; `back_after` only where the service time doubles."""
        lags = [_lag_s(row) for row in self.rows]
        tasks = len(self.rows)
        found = {
            "efficiency": self.ideal_s / self.measured.span_s,
            "lag_s": statistics.fmean(lags),
            "lag_p95_s": sorted(lags)[math.ceil(0.95 * tasks) - 1],
            "polls": statistics.fmean(row.polls for row in self.rows),
            "cpu_ms": self.measured.cpu_s / tasks * 1_000,
            "peak_mb": self.measured.peak_mb,
            "refused": self.refused_429 - self.measured.refused_overlap,
            "refused_early": self.measured.refused_overlap / tasks,
        }
        found["cost_s"] = found["lag_s"] + POLL_COST_S * found["polls"]
        if self.scenario.doubles:
            found["back_after"] = back_after(lags)
        return found


def _lag_s(row: Row) -> float:
    assert row.seen_at is not None
    assert row.ready_at is not None
    return row.seen_at - row.ready_at


def back_after(lags: Sequence[float]) -> float:
    """How many tasks, in the order of acceptance, after the doubling until the lag is back to its level; inf: never.

    The level is the mean lag before the doubling, its first 20 tasks left out, times the root of two: the gap
    between well-placed polls grows with the root of the service time. The lag is back after k tasks if both the mean of
    the 20 that follow and that of the 80 that follow are at most 1.25 times the level.
    """
    middle = len(lags) // 2
    before, after = lags[min(BACK_OVER[0], middle // 2) : middle], lags[middle:]
    most = BACK_WITHIN * math.sqrt(2.0) * statistics.fmean(before)
    for k in range(max(1, len(after) - BACK_OVER[0] + 1)):
        if all(statistics.fmean(after[k : k + over]) <= most for over in BACK_OVER):
            return k
    return math.inf


class Skipped(NamedTuple):
    """A row that could not be measured."""

    scenario: Scenario
    client: Client
    why: str


def measure(
    scenario: Scenario, client: Client, work: Sequence[Work], number: int, seed: int
) -> Run | Skipped:
    """Run one client against a fresh server, each in its own process.

    Raises:
        RuntimeError: The client failed, or left a task unseen.
    """
    why = client.skipped(scenario)
    if why is not None:
        return Skipped(scenario, client, why)
    jobs = [_job(work[0].model, 0), *(_job(task.model, 1 + index) for index, task in enumerate(work))]
    ideal_s = ideal_span_s(work, scenario.slots)
    # Three times the worst that any needs: a client that hangs is not waited for.
    worst_s = 3 * (ideal_s + 2.0 * (1 + len(work) / scenario.slots))
    with serving(work, scenario.slots, ROUND_TRIPS) as server:
        measured = run_client(client, server.url, jobs, scenario.slots, worst_s=worst_s)
        record = server.record()
    unseen = sum(row.status != "Ready" or row.seen_at is None for row in record.rows)
    if unseen or len(record.rows) != len(work) or record.polls_429:
        raise RuntimeError(
            f"{client.name}: {len(record.rows)} tasks of {len(work)} accepted, {unseen} not seen Ready, "
            f"{record.polls_429} polls refused"
        )
    return Run(scenario, client, number, seed, ideal_s, measured, record.refused_429, record.rows)


def _job(model: str, number: int) -> Job:
    return Job(model, Body(prompt=f"task {number} of a benchmark", width=1024, height=768, seed=number))


def measure_all(
    scenarios: Sequence[Scenario],
    clients: Sequence[Client],
    *,
    tasks: int | None,
    rounds: int,
    seed: int,
    one_by_one: bool,
    report: Callable[[str], None],
) -> list[Run | Skipped]:
    """Run every client through every round of every scenario."""
    runs: list[Run | Skipped] = []
    for scenario in scenarios:
        # A thousand slots keep a core busy, and the server another one.
        at_a_time = 1 if one_by_one or scenario.slots > SLOTS else AT_ONCE
        for number in range(rounds):
            work = scenario.draw(scenario.tasks if tasks is None else tasks, seed + number)
            ideal_s = ideal_span_s(work, scenario.slots)
            report(f"{scenario.name}, round {number + 1} of {rounds}: at least {ideal_s:.0f} s ...")
            with ThreadPoolExecutor(at_a_time) as threads:
                # The newest first: what is compared most closely runs side by side.
                started = {
                    client.name: threads.submit(measure, scenario, client, work, number, seed + number)
                    for client in reversed(clients)
                }
                runs.extend(started[client.name].result() for client in clients)
    return runs


@dataclass(frozen=True, slots=True)
class Summary:
    """A row of the table: one client in one scenario, over the rounds."""

    scenario: Scenario
    client: Client
    runs: list[Run]
    figures: dict[str, list[float]]  # by name, a value a round
    why_skipped: str | None = None

    def mean(self, name: str) -> float | None:
        """The mean of a figure over the rounds; None where there is none."""
        values = self.figures.get(name)
        return statistics.fmean(values) if values else None


def summarise(runs: Sequence[Run | Skipped]) -> list[Summary]:
    """Return a row per scenario and client, CPU beside others of the same round included."""
    rows: dict[tuple[str, str], Summary] = {}
    cpu_ms = {
        (run.scenario.name, run.client.name, run.round): run.figures()["cpu_ms"]
        for run in runs
        if isinstance(run, Run)
    }
    for run in runs:
        key = run.scenario.name, run.client.name
        if isinstance(run, Skipped):
            rows[key] = Summary(run.scenario, run.client, [], {}, run.why)
            continue
        row = rows.setdefault(key, Summary(run.scenario, run.client, [], {}))
        figures = run.figures()
        by_hand = cpu_ms.get((run.scenario.name, "handwritten", run.round))
        if by_hand is not None:
            figures["cpu_vs_hand"] = figures["cpu_ms"] / by_hand
        few_slots = cpu_ms.get(("flux1", run.client.name, run.round))
        if run.scenario.name == "slots1000" and few_slots is not None:
            figures["cpu_vs_12_slots"] = figures["cpu_ms"] / few_slots
        row.runs.append(run)
        for name, value in figures.items():
            row.figures.setdefault(name, []).append(value)
    return list(rows.values())
