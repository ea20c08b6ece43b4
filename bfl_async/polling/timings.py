"""What is learnt of how long a model takes, from polls that only say "not yet" and "done by now".

A `Law` is the distribution of one duration. What is seen of a task is an interval: the end lies between the last
poll that found it pending and the poll that found it Ready. The law is a mixture:

- a log-normal, right from the first tasks on, since two numbers are learnt soon and the catalog has a guess;
- a histogram over the logarithm of the time, whose weight grows with what it has seen, and with how much better than
  the log-normal it has foretold it: it finds two humps and sharp edges, which a log-normal never does (with it
  alone the cost for two humps stays a third above the optimum, instead of 6 %), and is noise where there are none;
- a little of a much wider log-normal, so that no tail is impossible.

Both are updated by one step of expectation-maximisation: the interval's weight is laid out as the present law would
have it. Old tasks fade. A change of the service time (another machine, a busy hour) is found by comparing the
law with one of short memory: their log-likelihood ratio is summed, never below 0, and where the sum grows large
the law starts anew from the tasks since it last stood at 0. So nothing but evidence makes it forget. What looks
like evidence and is none: of many tasks that began together the shortest end first, then longer and longer ones. So
no change is looked for before as many tasks have ended as were followed at once.

A `Curve` is made of a law and says, for a task pending at any moment, when to look next. It is the answer of a
dynamic programme (see `Curve.plan`), costs a millisecond, and is made anew only when some per cent more tasks
have been seen; looking it up costs some microseconds.

Progress and status words mark a moment within a task, and the rest is learnt from there: `Offsets` is what FLUX.1
does between progress 1.0 and Ready, and each word but `Pending` has a law of its own. Progress may lie, so it
counts only as long as it predicts the end well. A wrong reading never raises here: it only predicts nothing.

What would change the choice: a server that said when a task will end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from bfl_async.polling.forecast import Forecast
from bfl_async.polling.law import Law
from bfl_async.polling.numbers import LEAST_LIKELIHOOD, clamp, number_from, quantile_of
from bfl_async.polling.progress import WITHIN, Offsets, computing_ends
from bfl_async.polling.readings import Reading, RoundTrips
from bfl_async.types.common import JSON
from bfl_async.types.statistics import LatencyStatistics

# The newest times of each model, for the statistics.
_KEPT = 256
# Times from which on our own quantiles count more than the prior.
_LEARNT = 20
# Tasks that wait until a policy asks: of older ones the histogram keeps little anyway.
_MOST_UNLEARNT = 300
# Tasks that are learnt in one go: together they cost a third of what they cost one by one, after a sleep each.
_LEARNT_TOGETHER = 4
# The gain of progress that contradicts itself.
_MISLED = -1.5
_LEAST_GAIN, _MOST_GAIN = 0.2, 2.0
# Status words of which a law is kept; a server that invents them must not fill the memory.
_WORDS = 8
_LEARNT_WORD = 8
_LEARNT_FORECAST = 8
# Words that say nothing of how far a task is.
_PLAIN = (None, "Pending", "Task not found")
# Characters of a word that is kept.
_MOST_WORD = 40


class Timings:
    """All that is learnt of one model: a law of the whole, and what progress and status words are worth.

    It is learnt when somebody asks: it costs some 0.2 ms a task, and a policy may never ask.
    """

    __slots__ = (
        "_count", "_gain", "_law", "_offsets", "_seen", "_start_p99_s", "_unlearnt", "_words", "prior_median_s",
        "round_trips",
    )  # fmt: skip

    def __init__(self, median_s: float, sigma: float, round_trips: RoundTrips | None = None) -> None:
        # The client's: all models share one line to the server.
        self.round_trips: RoundTrips = RoundTrips() if round_trips is None else round_trips
        self.prior_median_s: float = median_s
        # Of each task that has ended: its readings, when it was Ready, the tasks that were followed besides.
        self._unlearnt: deque[tuple[Sequence[Reading], float, int]] = deque(maxlen=_MOST_UNLEARNT)
        self._law = Law(median_s, sigma)
        # None until a task has reported progress.
        self._offsets: Offsets | None = None
        # Of what progress tells over what the law does: a running mean of log-likelihoods.
        self._gain = 0.5
        # By word: the law of the time that is left when it is first seen.
        self._words: dict[str, Law] = {}
        self._start_p99_s = median_s * math.exp(2.3263 * sigma)
        # Written by `note` only.
        self._seen: deque[float] = deque(maxlen=_KEPT)
        self._count = 0

    def note(self, ready_s: float) -> float:
        """Count a task for the quantiles, and learn nothing else from it; return its time as it is counted."""
        ready_s = clamp(ready_s)
        self._seen.append(ready_s)
        self._count += 1
        return ready_s

    def observe(self, readings: Sequence[Reading], ready_s: float) -> None:
        """Take in a task that was found Ready; it is learnt from when somebody asks.

        Args:
            readings: Those that found it in flight, oldest first.
            ready_s: When it was found Ready, on the readings' clock.
        """
        self._unlearnt.append((readings, self.note(ready_s), self.round_trips.followed))

    def _catch_up(self) -> None:
        waiting = len(self._unlearnt)
        if waiting and (waiting >= _LEARNT_TOGETHER or not self._law.is_settled):
            self._learn()

    def _learn(self) -> None:
        while self._unlearnt:
            readings, ready_s, beside = self._unlearnt.popleft()
            after_s = min(max(readings[-1].elapsed_s, 0.0), ready_s) if readings else 0.0
            self._learn_progress(readings, after_s, ready_s, beside)
            self._learn_words(readings, after_s, ready_s, beside)
            self._law.observe(after_s, ready_s, beside=beside)

    def _learn_progress(
        self, readings: Sequence[Reading], after_s: float, ready_s: float, beside: int
    ) -> None:
        number = next((n for n, reading in enumerate(readings) if reading.progress is not None), None)
        if number is None:
            return
        first = readings[: number + 1]
        if self._offsets is None:
            self._offsets = Offsets(self.prior_median_s)
        ends = computing_ends(readings)
        told = self._ends_from(computing_ends(first))
        # Of many tasks that began together the law knows for a while when the next one ends, and no more.
        if told is not None and (ends is None or self._law.observed >= beside):
            gain = _MISLED if ends is None else self._gain_of(told, first[-1].elapsed_s, after_s, ready_s)
            self._gain += 0.1 * (min(max(gain, -_MOST_GAIN), _MOST_GAIN) - self._gain)
        if ends is not None:
            self._offsets.observe(*ends, after_s, ready_s)

    def _gain_of(self, told: tuple[float, float], first_s: float, after_s: float, ready_s: float) -> float:
        """Return the logarithm of how much likelier the first progress made what came than the law did."""
        low_s, high_s = told
        by_first, by_after, by_ready = self._law.cdf_at(first_s, max(after_s, first_s), ready_s)
        plain = (by_ready - by_after + LEAST_LIKELIHOOD) / (1 - by_first + LEAST_LIKELIHOOD)
        overlap_s = min(high_s, ready_s) - max(low_s, after_s)
        inside = max(0.0, overlap_s) / max(high_s - low_s, 1e-6)
        return math.log((WITHIN * min(inside, 1.0) + (1 - WITHIN) * plain) / plain)

    def _learn_words(self, readings: Sequence[Reading], after_s: float, ready_s: float, beside: int) -> None:
        before_s = 0.0
        known = None
        for reading in readings:
            word = reading.status
            if word not in _PLAIN and word != known and len(word) <= _MOST_WORD:
                law = self._words.get(word)
                if law is None and len(self._words) < _WORDS:
                    law = self._words[word] = Law(max(0.5 * self.prior_median_s, 0.01), 0.8)
                began_s = (before_s + reading.elapsed_s) / 2
                if law is not None and ready_s > began_s:
                    law.observe(max(after_s - began_s, 0.0), ready_s - began_s, beside=beside)
            known, before_s = word, reading.elapsed_s

    # --- what policies ask ------------------------------------------------------------------------------

    @property
    def law(self) -> Law:
        """The law of the whole."""
        self._catch_up()
        return self._law

    @property
    def words(self) -> Mapping[str, Law]:
        """By status word the law of the time left when it is first seen."""
        self._catch_up()
        return self._words

    def progress_ends(self, readings: Sequence[Reading]) -> tuple[float, float] | None:
        """Return within what seconds a task is Ready by its progress; None where that is not to be believed."""
        if not readings:
            return None
        if self._offsets is None and readings[-1].progress is not None:
            self._offsets = Offsets(self.prior_median_s)
        if not self.believes_progress:
            return None
        return self._ends_from(computing_ends(readings))

    @property
    def believes_progress(self) -> bool:
        """Whether the model reports progress that has told more than the law knows."""
        self._catch_up()
        return self._offsets is not None and self._gain > _LEAST_GAIN

    def _ends_from(self, computing: tuple[float, float] | None) -> tuple[float, float] | None:
        if computing is None or self._offsets is None:
            return None
        low_s, high_s = self._offsets.ends_s()
        return computing[0] + low_s, computing[1] + high_s

    def forecast(self, readings: Sequence[Reading]) -> Forecast | None:
        """Return when a task is likely to be done; None while too little is known of its model."""
        if self.law.count < _LEARNT_FORECAST:
            return None
        law, began_s = self.law_of(readings)
        pending_s = readings[-1].elapsed_s if readings else 0.0
        return Forecast(pending_s, law.present_curve(), began_s, self.progress_ends(readings))

    def law_of(self, readings: Sequence[Reading]) -> tuple[Law, float]:
        """Return the law to go by, and the second at which its time began.

        A word's law, where it has seen enough and knows more than the law of the whole.
        """
        self._catch_up()
        if self._words and readings and (word := readings[-1].status) in self._words:
            law = self._words[word] if word is not None else self._law
            if law.observed >= _LEARNT_WORD and law.spread_s < 0.8 * self._law.spread_s:
                before_s = 0.0
                for reading in readings:
                    if reading.status == word:
                        return law, (before_s + reading.elapsed_s) / 2
                    before_s = reading.elapsed_s
        return self._law, 0.0

    @property
    def p99_s(self) -> float:
        """The 99th percentile: of what was seen, or of the prior until enough was."""
        if len(self._seen) < _LEARNT:
            return self._start_p99_s
        return quantile_of(sorted(self._seen), 0.99)

    def statistics(self) -> LatencyStatistics | None:
        """The quantiles of what was seen; None before the first."""
        if not self._seen:
            return None
        ranked = sorted(self._seen)
        return LatencyStatistics(self._count, *(round(quantile_of(ranked, q), 3) for q in (0.5, 0.9, 0.99)))

    # --- keeping --------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, JSON]:
        """Return what `load` takes."""
        self._learn()
        return {
            "law": self._law.to_dict(),
            "offsets": None if self._offsets is None else self._offsets.to_dict(),
            "gain": round(self._gain, 3),
            "words": {word: law.to_dict() for word, law in self._words.items()},
        }

    def load(self, data: JSON) -> None:
        """Take over what was kept; what cannot be read stays as it is."""
        if not isinstance(data, Mapping) or not self._law.load(data.get("law")):
            return
        self._start_p99_s = self._law.present_curve().quantile_s(0.99)
        offsets = Offsets(self.prior_median_s)
        if offsets.load(data.get("offsets")):
            self._offsets = offsets
            self._gain = number_from(data.get("gain"), -_MOST_GAIN, _MOST_GAIN) or 0.0
        words = data.get("words")
        if isinstance(words, Mapping):
            for word, kept in list(words.items())[:_WORDS]:
                law = Law(self.prior_median_s, 0.8)
                if isinstance(word, str) and law.load(kept):
                    law.observed = _LEARNT_WORD
                    self._words[word] = law
