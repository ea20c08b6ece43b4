"""When a submit may leave before a slot is free: pure decisions, no clock and no loop.

Between Ready at the server and the next submit's arrival a slot idles for the poll's lag, half a poll's round trip
and half a submit's. With overlap the next submit leaves early, when a slot will very probably be free as it
arrives. Each task that is likely to end soon has a probability to be done by then; the number of those that
are is a sum of independent yes-or-no's, and so many submits may leave early as are covered with 90 %.

What keeps refusals to the budget is not that 90 % but a margin on the moment of arrival: what part of a round trip
lies before the server's decision is not known, and predictions may be off. A refusal adds to the margin, an
acceptance takes a share of that away, so that they balance at the budget. Choosing the probability alone did not do
that: with early arrivals refusals rose to one in five. How many may be on their way early at a time moves in
the same way: where there are hundreds of slots, as many would be refused at once before the first refusal is back.

The work a look is proportional to the tasks that are about to end, not to those in flight: the others wait
in a heap for the moment at which they may be.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Sequence

from bfl_async.polling.forecast import Forecast
from bfl_async.runtime.ordered import OrderedSet

# The probability with which a slot must be free for every submit that leaves early, and the normal distribution's
# quantile of it.
_CERTAINTY = 0.9
_CERTAIN_SIGMAS = 1.2816
# Up to so many tasks the sum is computed exactly; the work is quadratic. For more, the normal distribution is close.
_EXACT = 16
# What one refusal adds to the margin. The budget's share of it is taken away by each acceptance.
_MARGIN_STEP_S = 0.04
_LEAST_MARGIN_S, _MOST_MARGIN_S = -0.2, 0.6
# The pause after a refusal, and the longest one after many in a row.
_PAUSE_S, _MAX_PAUSE_S = 0.05, 2.0
# Between looks: where an end is near, and else. From so many expected ends on, a look is worth its cost more often.
_OFTEN_S, _SELDOM_S = 0.02, 0.05
_PROMISING = 0.4
# So many submits may always be on their way early, whatever was refused before.
_FEW = 2.0


def covered(probabilities: Sequence[float]) -> int:
    """Return how many of independent events at least happen, with a certainty of 90 %."""
    if len(probabilities) > _EXACT:
        mean = sum(probabilities)
        variance = sum(each * (1 - each) for each in probabilities)
        return max(0, math.floor(mean + 0.5 - _CERTAIN_SIGMAS * math.sqrt(variance)))
    # The probabilities that 0, 1, 2 ... of them happen, with one event more in each turn of the loop.
    exactly = [1.0]
    for each in probabilities:
        exactly.append(0.0)
        for number in range(len(exactly) - 1, 0, -1):
            exactly[number] += (exactly[number - 1] - exactly[number]) * each
        exactly[0] *= 1 - each
    at_least, number = 1.0, 0
    for number, probability in enumerate(exactly):  # noqa: B007 - read after the loop
        at_least -= probability
        if at_least < _CERTAINTY:
            break
    return number


class Overlap:
    """Which tasks are expected to end, and how many submits may leave for it.

    Args:
        budget: The share of early submits that may be refused.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self.margin_s: float = 0.0
        # So many submits may be on their way early at a time; it rises only where that many were really wanted.
        self._most = _FEW
        self._wants_more = False
        # Until the next look is worth its cost.
        self.look_again_s: float = _OFTEN_S
        self._paused_until = 0.0
        self._refused_in_a_row = 0
        self._places = 0
        # Of each expected task: its pools, when its time began, its forecast, its newest place in the heap.
        self._expected: dict[Hashable, tuple[tuple[str, ...], float, Forecast, int]] = {}
        # A heap by the moment at which a task may end. A newer place of the same task makes the older one void, as
        # taking it out would cost O(expected).
        self._later: list[tuple[float, int, Hashable]] = []
        # Of the expected, those whose moment has come: only these are looked at each time.
        self._soon: OrderedSet[Hashable] = OrderedSet()

    def expect(self, key: Hashable, pools: tuple[str, ...], began_at: float, forecast: Forecast) -> None:
        """Note a task that is in flight, or what its newest poll says."""
        self._places += 1
        self._soon.discard(key)
        self._expected[key] = (pools, began_at, forecast, self._places)
        heapq.heappush(self._later, (began_at + forecast.soonest_s(), self._places, key))
        if len(self._later) > 4 * len(self._expected) + 64:
            # Nobody looks while nothing waits: what is out of date would pile up.
            self._later = [each for each in self._later if self._is_newest(each[2], each[1])]
            heapq.heapify(self._later)

    def forget(self, key: Hashable) -> None:
        """Note that a task has ended, or is no longer followed."""
        self._expected.pop(key, None)
        self._soon.discard(key)

    def _is_newest(self, key: Hashable, place: int) -> bool:
        known = self._expected.get(key)
        return known is not None and known[3] == place

    def free_slots(self, now: float, lead_s: float) -> dict[str, int]:
        """Return by pool how many slots will very probably be freed for a submit that leaves now.

        Args:
            lead_s: From leaving to the server's decision.
        """
        self.look_again_s = _SELDOM_S
        if now < self._paused_until:
            return {}
        at = now + lead_s - self.margin_s
        while self._later and self._later[0][0] <= at:
            _, place, key = heapq.heappop(self._later)
            if self._is_newest(key, place):
                self._soon.add(key)
        chances: dict[str, list[float]] = {}
        for key in self._soon:
            pools, began_at, forecast, _ = self._expected[key]
            chance = forecast.done_by(at - began_at)
            for pool in pools:
                chances.setdefault(pool, []).append(chance)
        free = {pool: covered(each) for pool, each in chances.items()}
        if any(sum(each) > _PROMISING for each in chances.values()):
            self.look_again_s = _OFTEN_S
        self._wants_more = max(free.values(), default=0) > self._most
        return {pool: min(each, int(self._most)) for pool, each in free.items()}

    def accepted(self) -> None:
        """Note that a submit was accepted, early or not: the budget is a share of all."""
        self._refused_in_a_row = 0
        self.margin_s = max(_LEAST_MARGIN_S, self.margin_s - _MARGIN_STEP_S * self._budget)
        if self._wants_more:
            self._most += self._budget

    def refused(self, now: float) -> None:
        """Note that an early submit was refused."""
        self.margin_s = min(_MOST_MARGIN_S, self.margin_s + _MARGIN_STEP_S)
        self._most = max(_FEW, self._most - 1)
        # The forecasts may be wrong for all tasks at once: polls that hang, or another program on the account.
        self._paused_until = now + min(_MAX_PAUSE_S, _PAUSE_S * 2.0 ** min(self._refused_in_a_row, 10))
        self._refused_in_a_row += 1
