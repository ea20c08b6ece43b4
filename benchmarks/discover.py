"""Does `Limits(account="discover")` find the account's limit, and what does the search cost?

    python -m benchmarks.discover                # all rows, about a minute
    python -m benchmarks.discover --seeds 3

The rule alone (`bfl_async.limiter.learning`), in simulated time, against a server that counts only tasks which have
arrived and not ended: 10 minutes with a full queue, log-normal service times, a submit of 0.5 s, and a lag of 0.15 s
until the end of a task is seen. The same draws go to `limits=<the true limit>`, with which the throughput is compared.

    limit       the server's; "24-6-24" falls after 3 minutes and rises after 6
    service     median in seconds
    throughput  tasks that ended, against those with the true limit given: mean and least over the seeds
    refused     429 answers: mean and most
    reached     seconds until the limit first was the server's: most

Expected for every seed. With 24: reached within 60 s, throughput >= 0.95 and at most 3 refusals. With 12: throughput
>= 0.99 and at most 1 refusal. Measured, seeds 0 to 7:

    | limit | service | throughput | refused | reached |
    | --- | --- | --- | --- | --- |
    | 12 | 1 | 1.000 0.999 | 1.0 1 | 0 |
    | 12 | 4.5 | 1.000 0.999 | 1.0 1 | 0 |
    | 12 | 6 | 1.000 0.999 | 1.0 1 | 0 |
    | 12 | 10 | 1.000 1.000 | 1.0 1 | 0 |
    | 12 | 60 | 1.000 1.000 | 1.0 1 | 0 |
    | 24 | 1 | 0.994 0.990 | 2.0 3 | 36 |
    | 24 | 4.5 | 0.987 0.986 | 1.0 1 | 38 |
    | 24 | 6 | 0.989 0.988 | 1.0 1 | 39 |
    | 24 | 10 | 0.989 0.987 | 1.0 1 | 39 |
    | 24 | 60 | 0.990 0.982 | 1.0 1 | 19 |
    | 24-6-24 | 1 | 1.002 0.988 | 82.2 85 | 36 |
    | 24-6-24 | 4.5 | 0.970 0.799 | 55.5 60 | 38 |
    | 24-6-24 | 6 | 0.993 0.820 | 52.4 66 | 39 |
    | 24-6-24 | 10 | 0.971 0.879 | 38.5 47 | 39 |
    | 24-6-24 | 60 | 0.985 0.936 | 27.5 32 | 19 |

With tasks of 1 s and 24, 117 of 120 seeds (0 to 59, 500 to 559) have at most 3 refusals and the rest have 4; the least
throughput is 0.950. With a limit that falls, a fixed limit of 24 is refused as often. Throughput is lowest where the
limit rises just after a refusal: the working limit then rests for up to a minute, whether a limit is searched for or
not.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bfl_async.limiter.learning import PoolRule

SPAN_S = 600.0
SUBMIT_S = 0.5
LAG_S = 0.15
# Median and sigma of the logarithm: klein, FLUX.1, Kontext, FLUX.2, video.
SERVICES = {
    "klein": (1.0, 0.35),
    "flux1": (4.5, 0.4),
    "kontext": (6.0, 0.4),
    "flux2": (10.0, 0.45),
    "video": (60.0, 0.2),
}


@dataclass(slots=True)
class Run:
    """What came of one simulated run."""

    ended: int = 0
    refused: list[float] = field(default_factory=list)
    # The limit at each second.
    limits: list[int] = field(default_factory=list)
    # Each highest limit so far, with the moment at which it was found.
    records: list[tuple[int, float]] = field(default_factory=list)

    def reached(self, limit: int) -> float:
        """Return the second at which the limit was found; infinite if it was not."""
        return next((at for found, at in self.records if found >= limit), math.inf)


class Simulation:
    """One pool of one process with a full queue, and its server."""

    def __init__(
        self,
        rule: PoolRule,
        limit_at: Callable[[float], int],
        service: tuple[float, float],
        seed: int,
        *,
        submit_s: float = SUBMIT_S,
        lag_s: float = LAG_S,
    ) -> None:
        self.rule, self.limit_at, self.service = rule, limit_at, service
        self.submit_s, self.lag_s = submit_s, lag_s
        self.run = Run()
        self._services, self._trips = random.Random(seed), random.Random(seed + 1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._now = 0.0
        self._active = 0
        self._raise_at: float | None = None

    def simulate(self, span_s: float = SPAN_S) -> Run:
        """Run it."""
        self._grant()
        self._tick()
        while self._events and self._events[0][0] <= span_s:
            self._now, _, step = heapq.heappop(self._events)
            step()
        return self.run

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + seconds, self._number, step))

    def _trip_s(self) -> float:
        return self.submit_s / 2 * self._trips.uniform(0.8, 1.2)

    def _grant(self) -> None:
        while self.rule.has_room(self._now, alone=True):
            self.rule.taken += 1
            self.rule.granted()
            self._after(self._trip_s(), self._arrive)

    def _arrive(self) -> None:
        back_s = self._trip_s()
        if self._active >= self.limit_at(self._now):
            self._after(back_s, self._refuse)
            return
        self._active += 1
        median_s, sigma = self.service
        service_s = self._services.lognormvariate(math.log(median_s), sigma)
        self._after(back_s, self._accept)
        self._after(service_s, self._end)
        lag_s = self.lag_s * self._trips.uniform(0.5, 1.5)
        self._after(max(back_s, service_s) + lag_s, self._see_end)

    def _end(self) -> None:
        self._active -= 1

    def _see_end(self) -> None:
        self.rule.taken -= 1
        self.run.ended += 1
        self._grant()

    def _accept(self) -> None:
        self.rule.confirmed()
        self.rule.accepted(self._now)
        self._grant()

    def _refuse(self) -> None:
        self.rule.taken -= 1
        self.run.refused.append(self._now)
        self.rule.refused(self._now, None)
        self._raise_at = self.rule.next_raise(self._now)
        self._grant()

    def _tick(self) -> None:
        if self._raise_at is not None and self._now >= self._raise_at:
            self.rule.raise_limit()
            self._raise_at = self.rule.next_raise(self._now)
        self.rule.look(self._now)
        if not self.run.records or self.rule.limit > self.run.records[-1][0]:
            self.run.records.append((self.rule.limit, self._now))
        if self._now >= len(self.run.limits):
            self.run.limits.append(self.rule.working)
        self._grant()
        self._after(0.1, self._tick)


def searching(start: int = 12) -> PoolRule:
    """Return a rule that begins to search."""
    rule = PoolRule(start, start)
    rule.discover(start)
    return rule


def falling(now: float) -> int:
    """Return a limit that falls and rises again."""
    return 6 if SPAN_S * 0.3 <= now < SPAN_S * 0.6 else 24


def measure(name: str, limit_at: Callable[[float], int], true: int, service: str, seeds: int) -> list[str]:
    """Return one row of the table."""
    shares, refusals, reached = [], [], []
    for seed in range(seeds):
        given = Simulation(PoolRule(true, true), limit_at, SERVICES[service], seed).simulate()
        found = Simulation(searching(), limit_at, SERVICES[service], seed).simulate()
        shares.append(found.ended / given.ended)
        refusals.append(len(found.refused))
        reached.append(found.reached(true))
    return [
        name,
        f"{SERVICES[service][0]:g}",
        f"{sum(shares) / seeds:.3f} {min(shares):.3f}",
        f"{sum(refusals) / seeds:.1f} {max(refusals)}",
        f"{max(reached):.0f}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discover")
    parser.add_argument("--seeds", type=int, default=8, help="runs of each row; default: 8")
    seeds = parser.parse_args(argv).seeds
    sys.stdout.write(f"{SPAN_S:g} s, submit {SUBMIT_S:g} s, lag {LAG_S:g} s, seeds 0 to {seeds - 1}\n\n")
    sys.stdout.write(
        "| limit | service | throughput | refused | reached |\n| --- | --- | --- | --- | --- |\n"
    )
    rows: list[tuple[str, Callable[[float], int], int]] = [
        ("12", lambda _: 12, 12),
        ("24", lambda _: 24, 24),
        ("24-6-24", falling, 24),
    ]
    for name, limit_at, true in rows:
        for service in SERVICES:
            cells = measure(name, limit_at, true, service, seeds)
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
