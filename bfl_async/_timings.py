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
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from bfl_async.types import JSON, LatencyStatistics

_KEPT = 256  # newest times a model, for the statistics
_LEARNT = 20  # times from which on our own quantiles count more than the prior

MOST_OVERRUN_STEP_S = 10.0  # between polls of a task that is past all expectation
_SHORTEST_S, _LONGEST_S = 1e-3, 1e5
_ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2.0 * math.pi)

_BIN = 0.04  # of the histogram, in the logarithm of the time
_MEMORY = 80.0  # tasks that the log-normal remembers
_HISTOGRAM_MEMORY = 300.0
_HISTOGRAM_HALF = 25.0  # tasks after which the histogram has half of the weight that its lead gives it
_LEAD_FADES, _MOST_LEAD = 0.01, 6.0  # of its lead: a task; in log-likelihood
_ROUGH = 0.85  # of a histogram's forecast counts: a bin may be empty by chance
_PRIOR_TASKS = 0.6  # what the prior's median is worth: it may be wrong by a factor of two
_PRIOR_SIGMA_TASKS = 5.0
_LEAST_SIGMA, _MOST_SIGMA = 0.02, 1.5
_WIDE = 2.5  # the wide log-normal's sigma, the narrow one's = 1
_SHORT_MEMORY = 6.0
_EVIDENCE = 6.0  # log-likelihood by which a law of short memory must win
_LEAST_LIKELIHOOD = 1e-4
_SURPRISE = 3.0  # of it at most for one task: an outlier or two are no change
_OUTLIER = 3.0  # sigmas by which one task moves a mean at most
_RECENT = 12  # tasks from which a changed law starts
_MOST_UNLEARNT = 300  # tasks that wait for somebody to ask: of older ones the histogram keeps little anyway
_LEARNT_TOGETHER = 4  # tasks: together they cost a third of what they cost one by one, after a sleep each
_SETTLED, _SUSPICIOUS = 40.0, 1.0  # tasks, evidence of a change: where each task is learnt from at once

_OFFSET_STEP = 0.0045  # of the offsets' grid, in medians: 0.02 s of 4.5 s
_LEAST_OFFSET, _MOST_OFFSET = -40, 120  # ends of the grid, in steps
_OFFSET_FADES = 0.03  # a task
_FLOOR = 1e-4
_ENDS = 0.16  # of the offsets' weight is below the low end, and as much above the high one
_WITHIN = 1 - 2 * _ENDS
_MISLED = -1.5  # the gain of progress that contradicts itself
_LEAST_GAIN, _MOST_GAIN = 0.2, 2.0
_LEAST_PROGRESS = 0.05  # less tells nothing of the end
_WORDS = 8  # status words of which a law is kept
_LEARNT_WORD = 8
_LEARNT_SIZE = 12
_LEARNT_FORECAST = 8
_MOST_TIMINGS = 500  # models and sizes of which anything is kept
_VERSION = 1
_PLAIN = (None, "Pending", "Task not found")  # words that say nothing
_MOST_WORD = 40  # characters of a word that is kept


class Reading(NamedTuple):
    """One poll that found the task in flight.

    Attributes:
        elapsed_s: Seconds since the server had the submit, at the moment the server answered.
        progress: As reported, None where there is none.
        status: The server's word.
    """

    elapsed_s: float
    progress: float | None
    status: str | None = None


class RoundTrips:
    """Running means of the seconds that a submit and a poll take. Written by a client's pollers and runners."""

    __slots__ = ("followed", "overlaps", "paced_s", "poll_s", "submit_s")

    def __init__(self, submit_s: float | None = None, poll_s: float | None = None) -> None:
        self.submit_s = submit_s
        self.poll_s = poll_s
        self.paced_s: float = 0.0  # for which a poll waits for the bound on their rate
        self.followed: int = 0  # tasks now
        self.overlaps: bool = False  # submits may leave early, by when a task is likely to end

    def note_submit(self, seconds: float) -> None:
        """Note a submit that was answered."""
        self.submit_s = _running(self.submit_s, seconds)

    def note_poll(self, seconds: float, *, paced_s: float = 0.0) -> None:
        """Note a poll that was answered."""
        self.poll_s = _running(self.poll_s, seconds)
        self.paced_s += 0.1 * (paced_s - self.paced_s)


def _running(mean: float | None, value: float) -> float:
    if mean is None:
        return value
    return mean + 0.1 * (min(value, 3 * mean + 0.01) - mean)  # one slow answer is no new mean


def _within(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def _phi(z: float) -> float:
    """The normal distribution function."""
    return 0.5 * math.erfc(-z / _ROOT_2)


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / _ROOT_2_PI


class Curve:
    """When to look next at a task that was pending at a moment, and how likely it is done by another.

    A snapshot of a law on a grid even in the logarithm of the time; it does not change.
    """

    __slots__ = ("_cdf", "_from", "_gap_s", "_next", "_step", "end_s", "first_s")

    POINTS = 200

    def __init__(self, times: list[float], cdf: list[float], *, poll_cost_s: float, gap_s: float) -> None:
        self._cdf = cdf
        self._from = math.log(times[0])
        self._step = (math.log(times[-1]) - self._from) / (len(times) - 1)
        self._gap_s = gap_s
        self.end_s: float = times[-1]
        self.first_s: float
        self._next, self.first_s = self.plan(times, cdf, poll_cost_s=poll_cost_s, gap_s=gap_s)

    @staticmethod
    def plan(
        times: list[float], cdf: list[float], *, poll_cost_s: float, gap_s: float
    ) -> tuple[list[float], float]:
        """Return for each time the next poll's, and the first poll's: least E[lag] + poll_cost_s E[polls].

        Backwards over the grid. With F the distribution function and A its integral, a poll at t_j after one
        at t_i that found the task pending costs `poll_cost_s (1 - F_i)`, and in lag the integral of F - F_i
        from t_i to t_j, which is `A_j - A_i - F_i (t_j - t_i)`; then comes what t_j itself costs. As soon as
        the lag alone is past the best sum, no later t_j can be better.
        """
        count = len(times)
        area = [0.0] * count
        for i in range(1, count):
            area[i] = area[i - 1] + 0.5 * (cdf[i] + cdf[i - 1]) * (times[i] - times[i - 1])
        ahead = [0.0] * count
        following = [0.0] * count
        last = times[-1]
        following[-1] = last + max(gap_s, 0.05 * last)
        ahead[-1] = (1.0 - cdf[-1]) * (3 * poll_cost_s + 0.1 * last)
        earliest = count
        for i in range(count - 2, -1, -1):
            now, done = times[i], cdf[i]
            while times[earliest - 1] >= now + gap_s:
                earliest -= 1
            base = poll_cost_s * (1.0 - done) - area[i] + done * now
            best, chosen = math.inf, -1
            for j in range(max(earliest, i + 1), count):
                lag = area[j] - done * times[j] + base
                if lag >= best:
                    break
                cost = lag + ahead[j]
                if cost < best:
                    best, chosen = cost, j
            if chosen < 0:  # the gap leads past the grid
                best, chosen = base + area[-1] - done * last + ahead[-1], count - 1
            ahead[i] = best
            following[i] = max(times[chosen], now + gap_s)
        first, best = times[0], math.inf
        for j in range(count):
            if area[j] >= best:
                break
            if area[j] + ahead[j] < best:
                best, first = area[j] + ahead[j], times[j]
        return following, first

    def next_s(self, elapsed_s: float) -> float:
        """Return when to look next at a task that was pending at `elapsed_s`."""
        if elapsed_s >= self.end_s:
            # Past all expectation: back off by a part of the overrun, so that a stuck task costs few polls.
            overrun_s = elapsed_s - self.end_s
            return elapsed_s + min(max(self._gap_s, 0.05 * elapsed_s, overrun_s / 3), MOST_OVERRUN_STEP_S)
        earliest = elapsed_s + self._gap_s
        if earliest <= self.first_s:
            return self.first_s
        place = (math.log(max(elapsed_s, _SHORTEST_S)) - self._from) / self._step
        if place <= 0:
            return max(earliest, self._next[0])
        index = int(place)
        if index >= len(self._next) - 1:
            return max(earliest, self._next[-1])
        part = place - index
        return max(earliest, self._next[index] * (1 - part) + self._next[index + 1] * part)

    def cdf(self, elapsed_s: float) -> float:
        """Return how likely a task is done by `elapsed_s`."""
        if elapsed_s <= 0:
            return 0.0
        place = (math.log(elapsed_s) - self._from) / self._step
        if place <= 0:
            return self._cdf[0] * max(0.0, 1 + 0.1 * place)
        index = int(place)
        if index >= len(self._cdf) - 1:
            # A thin tail beyond the grid.
            return 1 - (1 - self._cdf[-1]) * (self.end_s / elapsed_s) ** 2
        part = place - index
        return self._cdf[index] * (1 - part) + self._cdf[index + 1] * part

    def quantile_s(self, q: float) -> float:
        """Return a time by which the share `q` is done, to one step of the grid, and not later."""
        return math.exp(self._from + self._step * max(0, bisect_left(self._cdf, q) - 1))


class Law:
    """The distribution of one duration, learnt from intervals."""

    __slots__ = (
        "_bins", "_bins_total", "_bins_unit", "_curve", "_curve_at", "_curve_for", "_evidence", "_lead", "_mean",
        "_recent", "_short", "_since", "_variance", "count", "observed",
    )  # fmt: skip

    def __init__(self, median_s: float, sigma: float) -> None:
        self._mean = math.log(_clamped(median_s))
        self._variance = min(max(sigma, _LEAST_SIGMA), _MOST_SIGMA) ** 2
        self.count: float = 0.0  # tasks that the log-normal stands for; old ones fade
        self.observed: int = 0  # tasks since it was made
        self._since = 0  # tasks learnt since it began, or began anew
        self._bins: dict[int, float] = {}  # weight by bin, in units that grow instead of all others fading
        self._bins_total = 0.0
        self._bins_unit = 1.0
        self._lead = 0.0  # of the histogram over the log-normal, in log-likelihood of what they foretold
        self._short = self._mean
        self._evidence = 0.0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._curve: Curve | None = None
        self._curve_at = 0.0
        self._curve_for = (0.01, 0.1)  # cost of a poll and gap between polls that the curve is for

    @property
    def is_settled(self) -> bool:
        """Whether one task more or less teaches little: it has seen many, and nothing looks like a change."""
        return self.count >= _SETTLED and self._evidence < _SUSPICIOUS

    @property
    def spread_s(self) -> float:
        """Spread in seconds."""
        return math.exp(self._mean) * self._sigma

    def quantile_s(self, q: float) -> float:
        """Return a quantile, the histogram left out."""
        low, high = self._mean - 12 * self._sigma, self._mean + 12 * self._sigma
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cdf_at(middle) < q else (low, middle)
        return math.exp(high)

    # --- the mixture ----------------------------------------------------------------------------------

    @property
    def _sigma(self) -> float:
        """Spread of the logarithm, a little wider while few tasks were seen."""
        return math.sqrt(self._variance * (1.0 + 1.0 / (self.count + _PRIOR_TASKS)))

    def _shares(self) -> tuple[float, float, float]:
        """Weights of the log-normal, the histogram and the wide log-normal."""
        seen = self._bins_total / self._bins_unit
        wide = 0.5 / (self.count + 12.0)
        histogram = (1 - wide) * seen / (seen + _HISTOGRAM_HALF) / (1 + math.exp(-self._lead))
        return 1 - wide - histogram, histogram, wide

    def _cdf_at(self, x: float) -> float:
        """The distribution function at a logarithm, without the histogram."""
        narrow, histogram, wide = self._shares()
        z = (x - self._mean) / self._sigma
        return (narrow + histogram) * _phi(z) + wide * _phi(z / _WIDE)

    def _cdf_on(self, points: list[float]) -> list[float]:
        """The distribution function at rising logarithms of times."""
        narrow, histogram, wide = self._shares()
        mean, sigma = self._mean, self._sigma
        root, wide_root = _ROOT_2 * sigma, _ROOT_2 * sigma * _WIDE
        erfc = math.erfc
        half, wide_half = narrow / 2, wide / 2
        smooth = [half * erfc((mean - x) / root) + wide_half * erfc((mean - x) / wide_root) for x in points]
        if not self._bins:
            return smooth
        # The histogram, each bin's weight spread over its neighbours, summed up.
        first = min(self._bins) - 1
        count = max(self._bins) - first + 2
        sums = [0.0] * (count + 1)
        scale = histogram / self._bins_total
        total = 0.0
        for place, near in enumerate(self._smoothed(first, first + count - 1)):
            total += scale * near
            sums[place + 1] = total
        start = first * _BIN
        for number, x in enumerate(points):
            where = (x - start) / _BIN
            if where >= count:
                smooth[number] += total
            elif where > 0:
                place = int(where)
                smooth[number] += sums[place] + (sums[place + 1] - sums[place]) * (where - place)
        return smooth

    def _masses(self, low: float, high: float) -> tuple[float, float, float]:
        """What the log-normal, the histogram and the wide log-normal give to an interval of logarithms.

        For a narrow one it is cheaper than two values of the cdf.
        """
        a, b = (low - self._mean) / self._sigma, (high - self._mean) / self._sigma
        inside = 0.0
        if self._bins:
            first = max(math.floor(low / _BIN), min(self._bins) - 1)
            last = min(math.floor(high / _BIN), max(self._bins) + 1)
            for at, near in enumerate(self._smoothed(first, last), first):
                overlap = (min(high, (at + 1) * _BIN) - max(low, at * _BIN)) / _BIN
                inside += overlap * near
            inside /= self._bins_total
        return _phi(b) - _phi(a), inside, _phi(b / _WIDE) - _phi(a / _WIDE)

    def _smoothed(self, first: int, last: int) -> list[float]:
        """The weights of the bins from first to last, each with a quarter of its neighbours' in its place."""
        weights = [self._bins.get(at, 0.0) for at in range(first - 1, last + 2)]
        return [
            0.25 * before + 0.5 * here + 0.25 * after
            for before, here, after in zip(weights, weights[1:], weights[2:], strict=False)
        ]

    def cdf_at(self, *seconds: float) -> list[float]:
        """The distribution function at rising times."""
        return self._cdf_on([math.log(_clamped(each)) for each in seconds])

    def curve(self, *, poll_cost_s: float, gap_s: float) -> Curve:
        """Return the present curve; it is made anew when the law has seen some per cent more tasks."""
        known = self._fresh_curve()
        wanted_cost, wanted_gap = self._curve_for
        if known is not None and wanted_cost == poll_cost_s and wanted_gap / 1.5 <= gap_s <= wanted_gap * 1.5:
            return known
        low, high = self._mean - 5 * self._sigma, self._mean + 5 * self._sigma
        if self._bins:
            low, high = min(low, min(self._bins) * _BIN), max(high, (max(self._bins) + 1) * _BIN)
        rough = _even(low, high, 80)
        cdf = self._cdf_on(rough)
        low = max((x for x, done in zip(rough, cdf, strict=True) if done < 0.001), default=low)
        high = min((x for x, done in zip(rough, cdf, strict=True) if done > 0.999), default=high)
        points = _even(low, high, Curve.POINTS)
        made = Curve(
            [math.exp(x) for x in points], self._cdf_on(points), poll_cost_s=poll_cost_s, gap_s=gap_s
        )
        self._curve = made
        self._curve_at = self.observed + max(1.0, 0.2 * self._bins_total / self._bins_unit)
        self._curve_for = (poll_cost_s, gap_s)
        return made

    def _fresh_curve(self) -> Curve | None:
        return self._curve if self.observed < self._curve_at else None

    def present_curve(self) -> Curve:
        """Return the curve that was asked for last, or one of usual costs."""
        known = self._fresh_curve()
        if known is not None:
            return known
        poll_cost_s, gap_s = self._curve_for
        return self.curve(poll_cost_s=poll_cost_s, gap_s=gap_s)

    # --- learning -------------------------------------------------------------------------------------

    def observe(self, after_s: float, by_s: float, *, beside: int = 0) -> None:
        """Learn from one duration that lies in (after_s, by_s].

        Args:
            beside: Tasks that were followed besides and have not ended.
        """
        by_s = _clamped(by_s)
        after_s = min(max(after_s, 0.0), by_s)
        self.observed += 1
        self._look_for_change(after_s, by_s, beside)
        self._learn(after_s, by_s)

    def _learn(self, after_s: float, by_s: float) -> None:
        centre, width_variance = self._moments(after_s, by_s)
        self._lay_out(after_s, by_s)
        self._since += 1
        self.count = min(_MEMORY, self.count + 1.0)
        away = _within(centre - self._mean, _OUTLIER * self._sigma)
        self._mean += away / (self.count + _PRIOR_TASKS)
        # With the new mean on one side and the old on the other the running variance is unbiased.
        square = min(away * (centre - self._mean), 9 * self._variance) + width_variance
        self._variance += (square - self._variance) / (self.count + _PRIOR_SIGMA_TASKS)
        self._variance = min(max(self._variance, _LEAST_SIGMA**2), _MOST_SIGMA**2)

    def _moments(self, after_s: float, by_s: float) -> tuple[float, float]:
        """Mean and variance of the logarithm within the interval, as the log-normal has it."""
        sigma = math.sqrt(self._variance)
        high = math.log(by_s)
        low = math.log(after_s) if after_s > _SHORTEST_S else min(high, self._mean) - 6 * sigma
        if high - low < 0.3 * sigma:
            return (low + high) / 2, (high - low) ** 2 / 12
        a, b = (low - self._mean) / sigma, (high - self._mean) / sigma
        mass = _phi(b) - _phi(a)
        if mass < 1e-6:  # far out: the nearer end
            return (low, 0.0) if a > 0 else (high, 0.0)
        slope = (_density(a) - _density(b)) / mass
        variance = 1 + (a * _density(a) - b * _density(b)) / mass - slope * slope
        return self._mean + sigma * slope, self._variance * max(variance, 0.0)

    def _lay_out(self, after_s: float, by_s: float) -> None:
        """Lay one task's weight out over the bins of its interval, as the present law has it."""
        self._bins_unit *= 1 + 1 / _HISTOGRAM_MEMORY
        if self._bins_unit > 1e6:
            keep = {at: weight / 1e6 for at, weight in self._bins.items() if weight > 1.0}
            self._bins, self._bins_unit = keep, self._bins_unit / 1e6
            self._bins_total = sum(keep.values())
        unit, sigma = self._bins_unit, self._sigma
        high = math.log(by_s)
        low = math.log(after_s) if after_s > _SHORTEST_S else min(high - _BIN, self._mean - 4 * sigma)
        low = max(low, high - 8.0)
        first, last = math.floor(low / _BIN), math.floor(high / _BIN)
        parts: list[float] = []
        for at, near in enumerate(self._smoothed(first, last), first):
            overlap = min(high, (at + 1) * _BIN) - max(low, at * _BIN)
            z = ((at + 0.5) * _BIN - self._mean) / sigma
            density = _HISTOGRAM_HALF * _density(min(abs(z), 6.0)) / sigma + near / (unit * _BIN)
            parts.append(max(overlap, 1e-9) * density)
        scale = unit / sum(parts)
        for at, part in enumerate(parts, first):
            self._bins[at] = self._bins.get(at, 0.0) + part * scale
        self._bins_total += unit

    def _look_for_change(self, after_s: float, by_s: float, beside: int) -> None:
        """Sum the evidence for a law of short memory; where it is enough, start anew."""
        high = math.log(by_s)
        low = math.log(after_s) if after_s > _SHORTEST_S else self._mean - 12 * _MOST_SIGMA
        sigma = math.sqrt(self._variance * (1 + 1 / _SHORT_MEMORY))
        short = _phi((high - self._short) / sigma) - _phi((low - self._short) / sigma)
        narrow, histogram, wide = self._masses(low, high)
        shares = self._shares()
        mixed = shares[0] * narrow + shares[1] * histogram + shares[2] * wide
        gain = math.log((short + _LEAST_LIKELIHOOD) / (mixed + _LEAST_LIKELIHOOD))
        if self._bins:
            rough = _ROUGH * histogram + (1 - _ROUGH) * narrow
            lead = math.log((rough + _LEAST_LIKELIHOOD) / (narrow + _LEAST_LIKELIHOOD))
            self._lead = _within((1 - _LEAD_FADES) * self._lead + lead, _MOST_LEAD)
        self._evidence += min(gain, _SURPRISE)
        if self._evidence <= 0 or self._since < beside:
            self._evidence = 0.0
            self._recent.clear()
        self._recent.append((after_s, by_s))
        centre, _ = self._moments(after_s, by_s)
        away = _within(centre - self._short, _OUTLIER * sigma)
        self._short += away / min(self.count + 1, _SHORT_MEMORY)
        if self._evidence > _EVIDENCE and self.count > _SHORT_MEMORY:
            self._start_anew()

    def _start_anew(self) -> None:
        recent = list(self._recent)[:-1]  # the newest is learnt by the caller
        self._bins.clear()
        self._bins_total, self._bins_unit = 0.0, 1.0
        self._mean = self._short
        self.count, self._since = 0.0, 0
        self._curve = None
        self._lead = self._evidence = 0.0
        self._recent.clear()
        for after_s, by_s in recent:
            self._learn(after_s, by_s)
        self._short = self._mean

    # --- keeping --------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, JSON]:
        """Return what `load` takes."""
        return {
            "mean": round(self._mean, 4),
            "variance": round(self._variance, 6),
            "count": round(self.count, 1),
            "lead": round(self._lead, 2),
            "bins": {
                str(at): round(weight / self._bins_unit, 3)
                for at, weight in sorted(self._bins.items())
                if weight > 0.001 * self._bins_unit
            },
        }

    def load(self, data: JSON) -> bool:
        """Take over what was kept; False, and nothing is changed, if it cannot be."""
        if not isinstance(data, Mapping):
            return False
        mean = _number(data.get("mean"), -7.0, 12.0)
        variance = _number(data.get("variance"), _LEAST_SIGMA**2, _MOST_SIGMA**2)
        count = _number(data.get("count"), 0.0, _MEMORY)
        lead = _number(data.get("lead", 0.0), -_MOST_LEAD, _MOST_LEAD)  # earlier versions kept none
        bins = _bins(data.get("bins"))
        if mean is None or variance is None or count is None or lead is None or bins is None:
            return False
        self._mean = self._short = mean
        self._variance, self.count, self._lead, self._bins, self._since = variance, count, lead, bins, 0
        self._bins_total, self._bins_unit = sum(bins.values()), 1.0
        if self._bins_total <= 0:
            self._bins, self._bins_total = {}, 0.0
        self._curve = None
        return True


class Forecast:
    """When one pending task is likely to be done: between two seconds, or by a curve, given its last answer."""

    __slots__ = ("_began_s", "_curve", "_done", "_low_s", "_pending_s", "_width_s")

    def __init__(
        self, pending_s: float, curve: Curve, began_s: float, ends: tuple[float, float] | None
    ) -> None:
        self._pending_s = pending_s
        self._curve, self._began_s = curve, began_s
        self._low_s = self._width_s = 0.0
        if ends is not None:
            # Their ends are quantiles: the even distribution that has them is a little wider.
            spare_s = (ends[1] - ends[0]) * _ENDS / _WITHIN
            self._low_s, self._width_s = ends[0] - spare_s, ends[1] - ends[0] + 2 * spare_s
        self._done = self._cdf(pending_s)
        if ends is not None and self._done > 0.97:
            self._width_s = 0.0  # the progress was wrong about this one
            self._done = self._cdf(pending_s)

    def _cdf(self, elapsed_s: float) -> float:
        if self._width_s > 0:
            return min(1.0, max(0.0, (elapsed_s - self._low_s) / self._width_s))
        return self._curve.cdf(elapsed_s - self._began_s)

    def done_by(self, elapsed_s: float) -> float:
        """Return the probability that the task is done by then."""
        if elapsed_s <= self._pending_s:
            return 0.0
        return max(0.0, (self._cdf(elapsed_s) - self._done) / max(1 - self._done, 1e-9))

    def soonest_s(self) -> float:
        """Return a second before which the task is hardly done."""
        wanted = self._done + 0.02 * (1 - self._done)
        if self._width_s > 0:
            return max(self._pending_s, self._low_s + wanted * self._width_s)
        return max(self._pending_s, self._began_s + self._curve.quantile_s(wanted))


class Offsets:
    """How long after the end of its progress a task becomes Ready: weights over a grid, old ones fading."""

    __slots__ = ("_ends", "_unit", "_weights", "step_s")

    def __init__(self, median_s: float) -> None:
        self.step_s: float = max(0.005, _OFFSET_STEP * median_s)
        # Before the first: no more than is seen of most, and more likely little.
        self._weights = [
            math.exp(-0.03 * at) * 0.06 if at >= 0 else 0.0 for at in range(_LEAST_OFFSET, _MOST_OFFSET)
        ]
        self._unit = 1.0  # it grows, instead of all older weights fading
        self._ends: tuple[float, float] | None = None

    def observe(self, low_s: float, high_s: float, after_s: float, by_s: float) -> None:
        """Learn from a computing that ended in (low_s, high_s] and a task that was Ready in (after_s, by_s]."""
        # The difference of two moments, each even over its interval: a trapezoid.
        step_s, floor = self.step_s, _FLOOR * self._unit
        first, last = after_s - high_s - step_s / 2, by_s - low_s + step_s / 2
        side = max(min(high_s - low_s, by_s - after_s), step_s)
        begin = max(0, math.floor(first / step_s) - _LEAST_OFFSET)
        end = min(len(self._weights), math.ceil(last / step_s) - _LEAST_OFFSET)
        parts: list[float] = []
        for number in range(begin, end):
            at_s = (number + _LEAST_OFFSET + 0.5) * step_s
            height = min(at_s - first, last - at_s, side)
            parts.append((self._weights[number] + floor) * height if height > 0 else 0.0)
        total = sum(parts)
        if total <= 0:
            return  # far off the grid: the trust in progress falls for it
        self._unit /= 1 - _OFFSET_FADES
        scale = _OFFSET_FADES * self._unit / total
        for number, part in enumerate(parts, begin):
            self._weights[number] += scale * part
        if self._unit > 1e6:
            self._weights = [weight / self._unit for weight in self._weights]
            self._unit = 1.0
        self._ends = None

    def ends_s(self) -> tuple[float, float]:
        """Return the seconds between which most tasks become Ready after their computing."""
        if self._ends is None:
            floor = _FLOOR * self._unit
            total = sum(self._weights) + floor * len(self._weights)
            self._ends = self._quantile(_ENDS * total, floor), self._quantile((1 - _ENDS) * total, floor)
        return self._ends

    def _quantile(self, wanted: float, floor: float) -> float:
        below = 0.0
        for number, weight in enumerate(self._weights):
            if below + weight + floor >= wanted:
                part = (wanted - below) / (weight + floor)
                return (number + _LEAST_OFFSET + part) * self.step_s
            below += weight + floor
        return _MOST_OFFSET * self.step_s

    def to_dict(self) -> dict[str, JSON]:
        """Return what `load` takes."""
        weights: list[JSON] = [round(weight / self._unit, 5) for weight in self._weights]
        return {"step_s": self.step_s, "weights": weights}

    def load(self, data: JSON) -> bool:
        """Take over what was kept; False, and nothing is changed, if it cannot be."""
        if not isinstance(data, Mapping):
            return False
        step_s, kept = _number(data.get("step_s"), 0.001, 100.0), data.get("weights")
        if step_s is None or not isinstance(kept, Sequence) or isinstance(kept, str):
            return False
        weights = [_number(weight, 0.0, 100.0) for weight in kept]
        if len(weights) != len(self._weights) or None in weights:
            return False
        self.step_s = step_s
        self._weights, self._unit, self._ends = [weight or 0.0 for weight in weights], 1.0, None
        return True


def computing_ends(readings: Sequence[Reading]) -> tuple[float, float] | None:
    """Return within what seconds the computing ends that the readings tell of, if progress is even in time.

    None where they tell nothing, or contradict each other: no progress, one that jumps back or stands still,
    one that is no share.
    """
    low, high = 0.0, math.inf
    for reading in readings:
        progress, elapsed_s = reading.progress, reading.elapsed_s
        if progress is None:
            continue
        if not 0.0 <= progress <= 1.0:
            return None
        if progress == 1.0:
            high = min(high, elapsed_s)
            continue
        tenths = progress * 10
        grain = 0.1 if abs(tenths - round(tenths)) < 1e-6 else 0.01
        low = max(low, elapsed_s, elapsed_s / (progress + grain))
        if progress >= _LEAST_PROGRESS:
            high = min(high, elapsed_s / progress)
    if high == math.inf or low > 1.05 * high + 0.05:
        return None
    return min(low, high), max(low, high)


class Timings:
    """All that is learnt of one model: a law of the whole, and what progress and status words are worth.

    It is learnt when somebody asks: it costs some 0.2 ms a task, and a policy may never ask.
    """

    __slots__ = (
        "_count", "_gain", "_law", "_offsets", "_seen", "_start_p99_s", "_unlearnt", "_words", "prior_median_s",
        "round_trips",
    )  # fmt: skip

    def __init__(self, median_s: float, sigma: float, round_trips: RoundTrips | None = None) -> None:
        self.round_trips: RoundTrips = RoundTrips() if round_trips is None else round_trips  # of the client
        self.prior_median_s: float = median_s
        # Of each task that has ended: its readings, when it was Ready, the tasks that were followed besides.
        self._unlearnt: deque[tuple[Sequence[Reading], float, int]] = deque(maxlen=_MOST_UNLEARNT)
        self._law = Law(median_s, sigma)
        self._offsets: Offsets | None = None  # since the first progress
        # Of what progress tells over what the law does: a running mean of log-likelihoods.
        self._gain = 0.5
        self._words: dict[str, Law] = {}  # of the time left when the word was first seen
        self._start_p99_s = median_s * math.exp(2.3263 * sigma)
        self._seen: deque[float] = deque(maxlen=_KEPT)  # written by note() only
        self._count = 0

    def note(self, ready_s: float) -> float:
        """Count a task for the quantiles, and learn nothing else from it; return its time as it is counted."""
        ready_s = _clamped(ready_s)
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
        plain = (by_ready - by_after + _LEAST_LIKELIHOOD) / (1 - by_first + _LEAST_LIKELIHOOD)
        overlap_s = min(high_s, ready_s) - max(low_s, after_s)
        inside = max(0.0, overlap_s) / max(high_s - low_s, 1e-6)
        return math.log((_WITHIN * min(inside, 1.0) + (1 - _WITHIN) * plain) / plain)

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
        return _quantile(sorted(self._seen), 0.99)

    def statistics(self) -> LatencyStatistics | None:
        """The quantiles of what was seen; None before the first."""
        if not self._seen:
            return None
        ranked = sorted(self._seen)
        return LatencyStatistics(self._count, *(round(_quantile(ranked, q), 3) for q in (0.5, 0.9, 0.99)))

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
            self._gain = _number(data.get("gain"), -_MOST_GAIN, _MOST_GAIN) or 0.0
        words = data.get("words")
        if isinstance(words, Mapping):
            for word, kept in list(words.items())[:_WORDS]:
                law = Law(self.prior_median_s, 0.8)
                if isinstance(word, str) and law.load(kept):
                    law.observed = _LEARNT_WORD
                    self._words[word] = law


class TimingsBook:
    """The timings of a client: by model, and by model and size of the image. Written by the scheduler.

    Larger images take longer. A size's own timings count once they have seen some tasks; until then, the model's.

    Args:
        kept: What `to_dict` returned in an earlier run. What cannot be read is left out.
        learns: False where nobody asks the laws: to learn costs some 0.1 ms a task.
    """

    def __init__(self, kept: Mapping[str, JSON] | None = None, *, learns: bool = True) -> None:
        self._learns = learns
        self.round_trips: RoundTrips = RoundTrips()
        self._timings: dict[tuple[str, int | None], Timings] = {}
        self._sizes: dict[str, set[int]] = {}  # that were seen of each model
        self._kept: Mapping[str, JSON] = {}
        if kept is not None and kept.get("version") == _VERSION and isinstance(kept.get("models"), Mapping):
            self._kept = _readable(cast("Mapping[str, JSON]", kept["models"]))

    def of(self, model: str, size: int | None, prior: tuple[float, float]) -> Timings:
        """Return what a task of a model, and of a size if it has one, goes by."""
        whole = self._find(model, None, prior)
        if size is None:
            return whole
        if (model, size) not in self._timings and _key(model, size) not in self._kept:
            return whole
        own = self._find(model, size, prior)
        return own if own.law.count >= _LEARNT_SIZE else whole

    def observe(
        self,
        model: str,
        size: int | None,
        prior: tuple[float, float],
        readings: Sequence[Reading],
        ready_s: float,
    ) -> None:
        """Learn from a task that was found Ready; see `Timings.observe`."""
        whole = self._find(model, None, prior)
        if not self._learns:
            whole.note(ready_s)
            return
        whole.observe(readings, ready_s)
        if size is None or (model, None) not in self._timings:
            return
        sizes = self._sizes.setdefault(model, set())
        sizes.add(size)
        if len(sizes) == 1 and _key(model, size) not in self._kept:
            return  # all of one size so far: its own timings would be the model's once more
        if (model, size) in self._timings or len(self._timings) < _MOST_TIMINGS:
            self._find(model, size, (whole.law.quantile_s(0.5), prior[1])).observe(readings, ready_s)

    def _find(self, model: str, size: int | None, prior: tuple[float, float]) -> Timings:
        known = self._timings.get((model, size))
        if known is None:
            known = Timings(*prior, self.round_trips)
            known.load(self._kept.get(_key(model, size)))
            if len(self._timings) < _MOST_TIMINGS:
                self._timings[model, size] = known
        return known

    def statistics(self) -> dict[str, LatencyStatistics]:
        """Return the quantiles by model."""
        return {
            model: seen
            for (model, size), timings in self._timings.items()
            if size is None and (seen := timings.statistics()) is not None
        }

    def to_dict(self) -> dict[str, JSON]:
        """Return all of it, as values of JSON; models of an earlier run that were not used are kept."""
        mine = {
            _key(*key): timings.to_dict() for key, timings in self._timings.items() if timings.law.count >= 1
        }
        return {"version": _VERSION, "models": {**self._kept, **mine}}


def _readable(models: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what can be read of kept timings, and nothing else."""
    readable: dict[str, JSON] = {}
    for key, data in list(models.items())[:_MOST_TIMINGS]:
        timings = Timings(1.0, 1.0)
        timings.load(data)
        if isinstance(key, str) and timings.law.count > 0:
            readable[key] = timings.to_dict()
    return readable


def _key(model: str, size: int | None) -> str:
    return model if size is None else f"{model} {size}"


_LOG2_OF_A_MEGAPIXEL = math.log2(1e6)


def size_of(width: object, height: object) -> int | None:
    """Return a request's size class: the power of two nearest to its megapixels. None if it states no size.

    It never raises, whatever a request for an unknown model holds: it is called when the request is about to leave.
    """
    if not isinstance(width, int) or not isinstance(height, int) or width <= 0 or height <= 0:
        return None
    if isinstance(width, bool) or isinstance(height, bool):
        return None
    # Unlike a division, the logarithm takes integers beyond the range of a float.
    return round(math.log2(width) + math.log2(height) - _LOG2_OF_A_MEGAPIXEL)


def _quantile(ranked: Sequence[float], q: float) -> float:
    return ranked[min(len(ranked) - 1, math.ceil(q * len(ranked)) - 1)]


def _even(low: float, high: float, count: int) -> list[float]:
    step = (max(high, low + 0.01) - low) / (count - 1)
    return [low + step * number for number in range(count)]


def _clamped(seconds: float) -> float:
    return min(max(seconds, _SHORTEST_S), _LONGEST_S) if seconds == seconds else 1.0


def _number(value: JSON, least: float, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return float(value)


def _bins(value: JSON) -> dict[int, float] | None:
    if not isinstance(value, Mapping) or len(value) > 1_000:
        return None
    bins: dict[int, float] = {}
    for at, weight in value.items():
        number = _number(weight, 0.0, 1e4)
        if number is None or not isinstance(at, str) or not at.lstrip("-").isdecimal() or len(at) > 5:
            return None
        if abs(int(at)) > 12 / _BIN:
            return None
        bins[int(at)] = number
    return bins
