"""How many polls all tasks may take, and which of them wake together.

Shared moments are an optimisation: `python -m benchmarks.wakeups` shows what they save and what the shift costs. With
12 tasks half of the wake-ups for polls are saved, and a poll is 0.04 to 0.06 s early or late.
"""

from __future__ import annotations

# So much of the bound's time may be used at once: a few polls that fall together are not held up.
_BURST_S = 0.1

# A poll that leaves together with another costs half of one for which the process has to wake. So polls leave at
# moments that are this far apart: a third of the gap before the poll at most, which moves it by a sixth, and less
# where tasks are so many that they would wait for each other.
TOGETHER_S, _LEAST_TOGETHER_S = 0.24, 0.002
_OF_GAP, _FOR_ALL_TASKS_S = 1 / 3, 4.0


class Pacer:
    """Holds polls to a rate: in order of asking, without drift, and with no delay below the rate.

    Args:
        per_s: Polls a second.
    """

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        # When the next poll would be sent if all were spaced evenly. It moves by whole intervals, and not from when a
        # poll was really sent: late timers would otherwise lower the rate.
        self._due = 0.0

    def delay_s(self, now: float) -> float:
        """Return how long a poll has to wait that could be sent now; its place is taken with it."""
        due = max(self._due, now - _BURST_S)
        self._due = due + self._interval_s
        return max(0.0, due - now)


def aligned_s(wait_s: float, now: float, *, followed: int, round_trip_s: float) -> float:
    """Return a wait that ends at one of the moments at which polls leave, near the end of `wait_s`.

    Args:
        now: On the clock that has one of the moments at 0.
        followed: Tasks that are polled now. A single one has none to leave with.
    """
    most_s = min((wait_s + round_trip_s) * _OF_GAP, _FOR_ALL_TASKS_S / max(1, followed))
    # A single task has none to leave with. Very many would wait for each other.
    if followed < 2 or most_s < _LEAST_TOGETHER_S:
        return wait_s
    step_s = TOGETHER_S
    # Halved, so that a moment of the wider steps is one of the narrower ones too.
    while step_s > most_s:
        step_s /= 2
    # The nearest moment, before or after: on average the poll is as prompt as the policy wanted.
    return max(0.0, round((now + wait_s) / step_s) * step_s - now)
