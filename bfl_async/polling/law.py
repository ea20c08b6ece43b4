"""The law of a model: the distribution of its times, and how it is learnt."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from bfl_async.polling.curve import Curve
from bfl_async.polling.fading import FadingWeights
from bfl_async.polling.numbers import (
    BIN,
    LEAST_LIKELIHOOD,
    ROOT_2,
    SHORTEST_S,
    clamp,
    density_at,
    even,
    is_within,
    number_from,
    phi,
    read_bins,
)
from bfl_async.types.common import JSON

# Tasks that the log-normal remembers. The histogram remembers 300: a shape takes more of them to be seen.
_MEMORY = 80.0
_HISTOGRAM_GROWTH = 1 + 1 / 300.0
# Tasks after which the histogram has half of the weight that its lead gives it.
_HISTOGRAM_HALF = 25.0
# What of the lead fades with each task, and its bound in log-likelihood: an old lead must not outweigh what is seen
# now.
_LEAD_FADES, _MOST_LEAD = 0.01, 6.0
# The share of a histogram's forecast that counts: a bin may be empty by chance.
_ROUGH = 0.85
# Tasks that the prior's median is worth, and its spread: the median may be wrong by a factor of two.
_PRIOR_TASKS = 0.6
_PRIOR_SIGMA_TASKS = 5.0
_LEAST_SIGMA, _MOST_SIGMA = 0.02, 1.5
# The wide log-normal's sigma, where the narrow one's is 1.
_WIDE = 2.5
# Tasks that the law of short memory remembers, and the log-likelihood by which it must win to begin anew.
_SHORT_MEMORY = 6.0
_EVIDENCE = 6.0
# What one task adds to that evidence at most: an outlier or two are not a change.
_SURPRISE = 3.0
# Sigmas by which one task moves a mean at most.
_OUTLIER = 3.0
# Tasks from which a changed law starts.
_RECENT = 12
# A law is settled from so many tasks on, with less evidence of a change than this. Before, each task is learnt at once.
_SETTLED, _SUSPICIOUS = 40.0, 1.0


class Law:
    """The distribution of one duration, learnt from intervals."""

    __slots__ = (
        "_bins", "_curve", "_curve_at", "_curve_for", "_evidence", "_lead", "_mean",
        "_recent", "_short", "_since", "_variance", "count", "observed",
    )  # fmt: skip

    def __init__(self, median_s: float, sigma: float) -> None:
        self._mean = math.log(clamp(median_s))
        self._variance = min(max(sigma, _LEAST_SIGMA), _MOST_SIGMA) ** 2
        # Tasks that the log-normal stands for; old ones fade.
        self.count: float = 0.0
        # Tasks since it was made, and since it began or began anew.
        self.observed: int = 0
        self._since = 0
        # The histogram: tasks by bin, one unit each.
        self._bins = FadingWeights(_HISTOGRAM_GROWTH, {})
        # Of the histogram over the log-normal, in log-likelihood of what they foretold.
        self._lead = 0.0
        self._short = self._mean
        self._evidence = 0.0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._curve: Curve | None = None
        self._curve_at = 0.0
        # The cost of a poll and the gap between polls that the curve is for.
        self._curve_for = (0.01, 0.1)

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
        seen = self._bins.total / self._bins.unit
        wide = 0.5 / (self.count + 12.0)
        histogram = (1 - wide) * seen / (seen + _HISTOGRAM_HALF) / (1 + math.exp(-self._lead))
        return 1 - wide - histogram, histogram, wide

    def _cdf_at(self, x: float) -> float:
        """The distribution function at a logarithm, without the histogram."""
        narrow, histogram, wide = self._shares()
        z = (x - self._mean) / self._sigma
        return (narrow + histogram) * phi(z) + wide * phi(z / _WIDE)

    def _cdf_on(self, points: list[float]) -> list[float]:
        """The distribution function at rising logarithms of times."""
        narrow, histogram, wide = self._shares()
        mean, sigma = self._mean, self._sigma
        root, wide_root = ROOT_2 * sigma, ROOT_2 * sigma * _WIDE
        erfc = math.erfc
        half, wide_half = narrow / 2, wide / 2
        smooth = [half * erfc((mean - x) / root) + wide_half * erfc((mean - x) / wide_root) for x in points]
        if not self._bins.by_bin:
            return smooth
        # The histogram, each bin's weight spread over its neighbours, summed up.
        first = min(self._bins.by_bin) - 1
        count = max(self._bins.by_bin) - first + 2
        sums = [0.0] * (count + 1)
        scale = histogram / self._bins.total
        total = 0.0
        for place, near in enumerate(self._smoothed(first, first + count - 1)):
            total += scale * near
            sums[place + 1] = total
        start = first * BIN
        for number, x in enumerate(points):
            where = (x - start) / BIN
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
        if self._bins.by_bin:
            first = max(math.floor(low / BIN), min(self._bins.by_bin) - 1)
            last = min(math.floor(high / BIN), max(self._bins.by_bin) + 1)
            for at, near in enumerate(self._smoothed(first, last), first):
                overlap = (min(high, (at + 1) * BIN) - max(low, at * BIN)) / BIN
                inside += overlap * near
            inside /= self._bins.total
        return phi(b) - phi(a), inside, phi(b / _WIDE) - phi(a / _WIDE)

    def _smoothed(self, first: int, last: int) -> list[float]:
        """The weights of the bins from first to last, each with a quarter of its neighbours' in its place."""
        weights = [self._bins.by_bin.get(at, 0.0) for at in range(first - 1, last + 2)]
        return [
            0.25 * before + 0.5 * here + 0.25 * after
            for before, here, after in zip(weights, weights[1:], weights[2:], strict=False)
        ]

    def cdf_at(self, *seconds: float) -> list[float]:
        """The distribution function at rising times."""
        return self._cdf_on([math.log(clamp(each)) for each in seconds])

    def curve(self, *, poll_cost_s: float, gap_s: float) -> Curve:
        """Return the present curve; it is made anew when the law has seen some per cent more tasks."""
        known = self._fresh_curve()
        wanted_cost, wanted_gap = self._curve_for
        if known is not None and wanted_cost == poll_cost_s and wanted_gap / 1.5 <= gap_s <= wanted_gap * 1.5:
            return known
        low, high = self._mean - 5 * self._sigma, self._mean + 5 * self._sigma
        if self._bins.by_bin:
            low, high = min(low, min(self._bins.by_bin) * BIN), max(high, (max(self._bins.by_bin) + 1) * BIN)
        rough = even(low, high, 80)
        cdf = self._cdf_on(rough)
        low = max((x for x, done in zip(rough, cdf, strict=True) if done < 0.001), default=low)
        high = min((x for x, done in zip(rough, cdf, strict=True) if done > 0.999), default=high)
        points = even(low, high, Curve.POINTS)
        made = Curve(
            [math.exp(x) for x in points], self._cdf_on(points), poll_cost_s=poll_cost_s, gap_s=gap_s
        )
        self._curve = made
        self._curve_at = self.observed + max(1.0, 0.2 * self._bins.total / self._bins.unit)
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
        by_s = clamp(by_s)
        after_s = min(max(after_s, 0.0), by_s)
        self.observed += 1
        self._look_for_change(after_s, by_s, beside)
        self._learn(after_s, by_s)

    def _learn(self, after_s: float, by_s: float) -> None:
        centre, width_variance = self._moments(after_s, by_s)
        self._lay_out(after_s, by_s)
        self._since += 1
        self.count = min(_MEMORY, self.count + 1.0)
        away = is_within(centre - self._mean, _OUTLIER * self._sigma)
        self._mean += away / (self.count + _PRIOR_TASKS)
        # With the new mean on one side and the old on the other the running variance is unbiased.
        square = min(away * (centre - self._mean), 9 * self._variance) + width_variance
        self._variance += (square - self._variance) / (self.count + _PRIOR_SIGMA_TASKS)
        self._variance = min(max(self._variance, _LEAST_SIGMA**2), _MOST_SIGMA**2)

    def _moments(self, after_s: float, by_s: float) -> tuple[float, float]:
        """Mean and variance of the logarithm within the interval, as the log-normal has it."""
        sigma = math.sqrt(self._variance)
        high = math.log(by_s)
        low = math.log(after_s) if after_s > SHORTEST_S else min(high, self._mean) - 6 * sigma
        if high - low < 0.3 * sigma:
            return (low + high) / 2, (high - low) ** 2 / 12
        a, b = (low - self._mean) / sigma, (high - self._mean) / sigma
        mass = phi(b) - phi(a)
        if mass < 1e-6:
            # So far out that the quotients below lose all digits: the nearer end.
            return (low, 0.0) if a > 0 else (high, 0.0)
        slope = (density_at(a) - density_at(b)) / mass
        variance = 1 + (a * density_at(a) - b * density_at(b)) / mass - slope * slope
        return self._mean + sigma * slope, self._variance * max(variance, 0.0)

    def _lay_out(self, after_s: float, by_s: float) -> None:
        """Lay one task's weight out over the bins of its interval, as the present law has it."""
        self._bins.fade()
        unit, sigma = self._bins.unit, self._sigma
        high = math.log(by_s)
        low = math.log(after_s) if after_s > SHORTEST_S else min(high - BIN, self._mean - 4 * sigma)
        low = max(low, high - 8.0)
        first, last = math.floor(low / BIN), math.floor(high / BIN)
        parts: list[float] = []
        for at, near in enumerate(self._smoothed(first, last), first):
            overlap = min(high, (at + 1) * BIN) - max(low, at * BIN)
            z = ((at + 0.5) * BIN - self._mean) / sigma
            density = _HISTOGRAM_HALF * density_at(min(abs(z), 6.0)) / sigma + near / (unit * BIN)
            parts.append(max(overlap, 1e-9) * density)
        self._bins.add(first, parts)

    def _look_for_change(self, after_s: float, by_s: float, beside: int) -> None:
        """Sum the evidence for a law of short memory; where it is enough, start anew."""
        high = math.log(by_s)
        low = math.log(after_s) if after_s > SHORTEST_S else self._mean - 12 * _MOST_SIGMA
        sigma = math.sqrt(self._variance * (1 + 1 / _SHORT_MEMORY))
        short = phi((high - self._short) / sigma) - phi((low - self._short) / sigma)
        narrow, histogram, wide = self._masses(low, high)
        shares = self._shares()
        mixed = shares[0] * narrow + shares[1] * histogram + shares[2] * wide
        gain = math.log((short + LEAST_LIKELIHOOD) / (mixed + LEAST_LIKELIHOOD))
        if self._bins.by_bin:
            rough = _ROUGH * histogram + (1 - _ROUGH) * narrow
            lead = math.log((rough + LEAST_LIKELIHOOD) / (narrow + LEAST_LIKELIHOOD))
            self._lead = is_within((1 - _LEAD_FADES) * self._lead + lead, _MOST_LEAD)
        self._evidence += min(gain, _SURPRISE)
        if self._evidence <= 0 or self._since < beside:
            self._evidence = 0.0
            self._recent.clear()
        self._recent.append((after_s, by_s))
        centre, _ = self._moments(after_s, by_s)
        away = is_within(centre - self._short, _OUTLIER * sigma)
        self._short += away / min(self.count + 1, _SHORT_MEMORY)
        if self._evidence > _EVIDENCE and self.count > _SHORT_MEMORY:
            self._start_anew()

    def _start_anew(self) -> None:
        # Without the newest, which the caller learns.
        recent = list(self._recent)[:-1]
        self._bins = FadingWeights(_HISTOGRAM_GROWTH, {})
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
                str(at): round(weight / self._bins.unit, 3)
                for at, weight in sorted(self._bins.by_bin.items())
                if weight > 0.001 * self._bins.unit
            },
        }

    def load(self, data: JSON) -> bool:
        """Take over what was kept; False, and nothing is changed, if it cannot be."""
        if not isinstance(data, Mapping):
            return False
        mean = number_from(data.get("mean"), -7.0, 12.0)
        variance = number_from(data.get("variance"), _LEAST_SIGMA**2, _MOST_SIGMA**2)
        count = number_from(data.get("count"), 0.0, _MEMORY)
        # Earlier versions kept no lead.
        lead = number_from(data.get("lead", 0.0), -_MOST_LEAD, _MOST_LEAD)
        bins = read_bins(data.get("bins"))
        if mean is None or variance is None or count is None or lead is None or bins is None:
            return False
        self._mean = self._short = mean
        self._variance, self.count, self._lead, self._since = variance, count, lead, 0
        # Bins without any weight are as good as none.
        self._bins = FadingWeights(_HISTOGRAM_GROWTH, bins if sum(bins.values()) > 0 else {})
        self._curve = None
        return True
