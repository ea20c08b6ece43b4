"""What it saves that polls leave together: wake-ups of the process, and what the shift costs.

    python -m benchmarks.wakeups

Tasks are polled in simulated time. Each poll is planned some time after the answer of the one before, evenly spread
around the gap of its policy, and then moved by `engine/pacing.py`. Polls that leave in the same millisecond share a
wake-up. The seed is fixed, so the figures are the same on every machine.

Expected, wake-ups per poll and the mean shift:

    gap s  tasks  each alone  together  shift s
      0.5      1       1.000     1.000    0.000
      0.5     12       0.983     0.378    0.038
      0.5    100       0.846     0.200    0.007
      1.5      1       1.000     1.000    0.000
      1.5     12       0.994     0.477    0.060
      1.5    100       0.940     0.455    0.008

The answers wake the process as well, and are not counted here.
"""

import heapq
import itertools
import random
import sys

from bfl_async.engine.pacing import aligned_s

SEED = 7
TASKS = (1, 12, 100)
GAPS_S = (0.5, 1.5)
ROUND_TRIP_S = 0.1
POLLS = 20_000
_SAME_S = 0.001


def measure(tasks: int, gap_s: float, *, together: bool) -> tuple[float, float]:
    """Return the wake-ups per poll, and the mean of the seconds by which a poll was moved."""
    rng = random.Random(SEED)
    answers = [(rng.random() * gap_s, number) for number in range(tasks)]
    heapq.heapify(answers)
    sent: list[float] = []
    shifts_s = 0.0
    while len(sent) < POLLS:
        now, number = heapq.heappop(answers)
        wait_s = gap_s * rng.uniform(0.5, 1.5)
        moved_s = wait_s
        if together:
            moved_s = aligned_s(wait_s, now, followed=tasks, round_trip_s=ROUND_TRIP_S)
        shifts_s += abs(moved_s - wait_s)
        sent.append(now + moved_s)
        heapq.heappush(answers, (now + moved_s + ROUND_TRIP_S * rng.uniform(0.8, 1.2), number))
    sent.sort()
    wakeups = 1 + sum(later - before > _SAME_S for before, later in itertools.pairwise(sent))
    return wakeups / POLLS, shifts_s / POLLS


def main() -> int:
    """Print a line for each gap and number of tasks."""
    sys.stdout.write("gap s  tasks  each alone  together  shift s\n")
    for gap_s in GAPS_S:
        for tasks in TASKS:
            alone, _ = measure(tasks, gap_s, together=False)
            together, shift_s = measure(tasks, gap_s, together=True)
            sys.stdout.write(f"{gap_s:>5}  {tasks:>5}  {alone:>10.3f}  {together:>8.3f}  {shift_s:>7.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
