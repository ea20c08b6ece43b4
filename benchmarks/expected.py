"""The figures that the benchmark is to reach. Those of a scenario hold for its own number of tasks and more."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from benchmarks.measure import Summary


class Expected(NamedTuple):
    """One bound on one figure of one row."""

    scenario: str
    client: str
    figure: str
    sign: Literal["<=", ">="]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a measured value is within the bound."""
        return value <= self.bound if self.sign == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.scenario}, {self.client}: {NAMES[self.figure]} {self.sign} {self.bound:g}"


NAMES = {
    "efficiency": "efficiency",
    "lag_s": "lag s",
    "lag_p95_s": "p95 lag s",
    "polls": "polls a task",
    "cost_s": "lag + 0.01 x polls",
    "cpu_ms": "CPU ms a task",
    "cpu_vs_hand": "CPU, by hand = 1",
    "cpu_vs_12_slots": "CPU, 12 slots = 1",
    "peak_mb": "peak MB",
    "refused": "429s",
    "refused_early": "early 429s a task",
    "back_after": "back after",
}

# fmt: off
EXPECTED = [
    # scenario         client     figure             bound
    Expected("flux1",         "ours",    "lag_s",           "<=", 0.09),
    Expected("flux1",         "ours",    "polls",           "<=", 5),
    Expected("flux1",         "ours",    "efficiency",      ">=", 0.925),
    Expected("flux2",         "ours",    "lag_s",           "<=", 0.20),
    Expected("flux2",         "ours",    "polls",           "<=", 24),
    Expected("flux2",         "ours",    "cost_s",          "<=", 0.42),
    Expected("klein",         "ours",    "lag_s",           "<=", 0.08),
    Expected("klein",         "ours",    "polls",           "<=", 5.5),
    Expected("klein",         "ours",    "cost_s",          "<=", 0.13),
    Expected("klein",         "ours",    "efficiency",      ">=", 0.73),
    Expected("flux1",         "overlap", "efficiency",      ">=", 0.945),
    Expected("flux1",         "overlap", "refused_early",   "<=", 0.03),
    Expected("klein",         "overlap", "efficiency",      ">=", 0.79),
    Expected("klein",         "overlap", "refused_early",   "<=", 0.03),
    Expected("slots1000",     "ours",    "efficiency",      ">=", 0.94),
    Expected("slots1000",     "overlap", "efficiency",      ">=", 0.94),
    Expected("slots1000",     "ours",    "cpu_vs_12_slots", "<=", 1.3),
    Expected("slots1000",     "overlap", "cpu_vs_12_slots", "<=", 1.3),
    Expected("flux1",         "fixed",   "cpu_vs_hand",     "<=", 1.2),
    Expected("flux2",         "fixed",   "cpu_vs_hand",     "<=", 1.2),
    Expected("klein",         "fixed",   "cpu_vs_hand",     "<=", 1.2),
    Expected("flux1",         "ours",    "cpu_vs_hand",     "<=", 1.0),
    Expected("doubles",       "ours",    "back_after",      "<=", 20),
    Expected("klein-doubles", "ours",    "back_after",      "<=", 20),
]
# fmt: on


class Judged(NamedTuple):
    """An expected figure beside the measured one."""

    expected: Expected
    value: float

    @property
    def reached(self) -> bool:
        """Whether the figure was reached."""
        return self.expected.holds(self.value)


def judge(rows: Sequence[Summary]) -> list[Judged]:
    """Set the expected figures beside the measured ones, where there are any; no client is to earn a 429."""
    judged: list[Judged] = []
    for row in rows:
        if row.why_skipped is not None or len(row.runs[0].rows) < row.scenario.tasks:
            continue
        none_refused = Expected(row.scenario.name, row.client.name, "refused", "<=", 0)
        for expected in (*EXPECTED, none_refused):
            if (expected.scenario, expected.client) == (row.scenario.name, row.client.name):
                value = row.mean(expected.figure)
                if value is not None:
                    judged.append(Judged(expected, value))
    return judged
