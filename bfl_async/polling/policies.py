"""When the next poll is sent: the usual policy.

A policy is a pure function of the seconds since the submit, the readings so far, what was learnt of the model
(`timings.py`) and a random source; it waits for nothing and keeps nothing. The other one is in `fixed.py`.

How `Adaptive` decides. A slot idles from Ready to the poll that sees it, so polls are worth something where the
end is likely and nothing where it is not. `poll_cost_s` weighs the two, and the sum of lag and polls' cost is made
least. Without progress the best next poll follows from the learnt distribution by dynamic programming, and is looked
up in a table. With progress in tenths, one reading already bounds the end: at elapsed e, progress p says that the
computing takes between e / (p + 0.1) and e / p; each further poll narrows that; what comes after the computing
is learnt apart. The interval is then walked through in even steps. A first poll a little earlier than without
progress is worth its price for what it tells. Where submits leave before a slot is free, they go by the same
interval, long before its end: there polls between, which only halve it, are worth their price.

What was tried: such polls without overlap (no gain: those of the walk narrow it as well); the rule "step =
sqrt(2 cost / hazard)" in place of the table (some per cent worse, and blind to gaps in the distribution); polls of all
tasks on one coarse grid of time (polls fewer, lag higher; the poller moves them by a sixth of a gap at most); waiting
for progress before the first poll. A log-normal alone costs a third more where times have two humps.
`python -m benchmarks.policy` measures a change in seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bfl_async.errors import ConfigError
from bfl_async.polling.numbers import MOST_OVERRUN_STEP_S
from bfl_async.polling.progress import computing_ends
from bfl_async.polling.protocol import check_positive
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.types.common import JSON

# Taken for a round trip until the first poll was answered.
_GUESSED_ROUND_TRIP_S = 0.1
# Between two polls of a task, also where round trips are shorter.
_LEAST_GAP_S = 0.02
# The share of a poll's cost that counts: a learnt law is wider than the true one, which would make polls too rare.
_LEAN = 0.85
# The part of a step by which it is varied, so that hundreds of tasks that began together do not poll together.
_JITTER = 0.06
# The share of the first step after which a task is polled where a reading says more than "not yet".
_FIRST_WITH_PROGRESS = 0.85
# In costs of a poll: the width from which on, with overlap, a poll that halves it pays.
_WORTH_HALVING = 15.0
# Among more tasks so many are about to end that their sum is known well enough without halving.
_MOST_HALVED = 64


@dataclass(frozen=True)
class Adaptive:
    """Poll when a task is likely to be done: late at first, then tightly, by what was learnt of its model.

    Args:
        poll_cost_s: What a poll is worth in seconds of a slot's time, more than 0: fewer polls when it is larger.
        max_polls_per_s: Bound on the polls of a client, all tasks together. The API allows 1,200 a second.
        timings: What `AsyncBFL.timings()` of an earlier run returned: a start for the models in it. What cannot
            be read is left out.
    Raises:
        ConfigError: A number is not positive, or `timings` is no mapping.
    """

    poll_cost_s: float = 0.01
    max_polls_per_s: float = 600.0
    timings: Mapping[str, JSON] | None = field(default=None, repr=False)
    # Traits, see `PollingTraits`; `max_polls_per_s` is a third one.
    may_be_shifted: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    @property
    def kept_timings(self) -> Mapping[str, JSON] | None:
        """`timings`, by the name of its trait."""
        return self.timings

    def __post_init__(self) -> None:
        for name in ("poll_cost_s", "max_polls_per_s"):
            check_positive(f"Adaptive: {name}", getattr(self, name))
        if self.timings is not None and not isinstance(self.timings, Mapping):
            raise ConfigError("Adaptive: timings takes what AsyncBFL.timings() returned")

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        """Return the seconds to the next poll, which is sent half a round trip before it is to be answered."""
        round_trip_s = timings.round_trips.poll_s
        if round_trip_s is None:
            round_trip_s = _GUESSED_ROUND_TRIP_S
        gap_s = max(round_trip_s + timings.round_trips.paced_s, _LEAST_GAP_S)
        pending_s = readings[-1].elapsed_s if readings else 0.0
        law, began_s = timings.law_of(readings)
        curve = law.curve(poll_cost_s=_LEAN * self.poll_cost_s, gap_s=gap_s)
        ends = timings.progress_ends(readings)
        if ends is not None:
            step_s = self._step_by_progress(pending_s, *ends, gap_s)
            if timings.round_trips.overlaps and timings.round_trips.followed <= _MOST_HALVED:
                step_s = min(step_s, self._step_to_halve(readings, ends[0], gap_s))
            # Progress that lies must not put a poll off for long.
            step_s = min(step_s, max(began_s + curve.end_s - pending_s, pending_s))
        else:
            step_s = curve.next_s(pending_s - began_s) - (pending_s - began_s)
            if not readings and timings.believes_progress:
                step_s *= _FIRST_WITH_PROGRESS
        step_s *= 1 + _JITTER * (rng.random() - 0.5)
        return max(0.0, pending_s + step_s - round_trip_s / 2 - elapsed_s)

    def _step_by_progress(self, pending_s: float, low_s: float, high_s: float, gap_s: float) -> float:
        """Return the seconds between a task's last answer and its next, when it likely ends in (low_s, high_s]."""
        if pending_s >= high_s:
            return min(max(gap_s, (pending_s - high_s) / 3, 0.02 * pending_s), MOST_OVERRUN_STEP_S)
        begin_s = max(low_s, pending_s)
        width_s = high_s - begin_s
        # A width of W in n even steps costs W / 2n in lag and n / 2 polls: least for n = sqrt(W / cost). The end
        # is likelier in the middle of W than at its ends, which makes it less.
        steps = max(1, round(0.65 * math.sqrt(width_s / self.poll_cost_s)))
        return max(begin_s - pending_s + max(gap_s, width_s / steps), gap_s)

    def _step_to_halve(self, readings: Sequence[Reading], low_s: float, gap_s: float) -> float:
        """Return the seconds to a poll that halves what is left open of a task's end, before that can be.

        At the moment at which a computing that ends in the middle of its interval comes to its next tenth, the answer
        says in which half it ends. inf: there is no such moment before `low_s`, or it is not worth a poll.
        """
        computing = computing_ends(readings)
        if computing is None or computing[1] - computing[0] < _WORTH_HALVING * self.poll_cost_s:
            return math.inf
        pending_s, middle_s = readings[-1].elapsed_s, sum(computing) / 2
        tenth = math.ceil(10 * (pending_s + gap_s) / middle_s)
        at_s = tenth / 10 * middle_s
        return at_s - pending_s if tenth < 10 and at_s < low_s else math.inf
