"""Progress that a server reports, and when it says a task ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bfl_async.polling.fading import FadingWeights
from bfl_async.polling.numbers import number_from
from bfl_async.polling.readings import Reading
from bfl_async.types.common import JSON

# The grid of the offsets, in steps, and its step in medians: 0.02 s of 4.5 s.
_LEAST_OFFSET, _MOST_OFFSET = -40, 120
_GRID = range(_LEAST_OFFSET, _MOST_OFFSET)
_OFFSET_STEP = 0.0045
# The share of all weight that one task has, by which all others fade.
_OFFSET_FADES = 0.03
_OFFSET_GROWTH = 1 / (1 - _OFFSET_FADES)
_FLOOR = 1e-4
# The share of the offsets' weight that is below the low end, and as much above the high one.
ENDS = 0.16
WITHIN = 1 - 2 * ENDS
# Less progress says nothing of the end.
_LEAST_PROGRESS = 0.05


class Offsets:
    """How long after the end of its progress a task becomes Ready: weights over a grid, old ones fading."""

    __slots__ = ("_ends", "_weights", "step_s")

    def __init__(self, median_s: float) -> None:
        self.step_s: float = max(0.005, _OFFSET_STEP * median_s)
        # Before the first: no more than is seen of most, and more likely little.
        prior = {at: math.exp(-0.03 * at) * 0.06 for at in range(_MOST_OFFSET)}
        self._weights = FadingWeights(_OFFSET_GROWTH, prior)
        self._ends: tuple[float, float] | None = None

    def observe(self, low_s: float, high_s: float, after_s: float, by_s: float) -> None:
        """Learn from a computing that ended in (low_s, high_s] and a task that was Ready in (after_s, by_s]."""
        # The difference of two moments, each even over its interval: a trapezoid.
        step_s, floor = self.step_s, _FLOOR * self._weights.unit
        first, last = after_s - high_s - step_s / 2, by_s - low_s + step_s / 2
        side = max(min(high_s - low_s, by_s - after_s), step_s)
        begin = max(_LEAST_OFFSET, math.floor(first / step_s))
        end = min(_MOST_OFFSET, math.ceil(last / step_s))
        parts: list[float] = []
        for at in range(begin, end):
            at_s = (at + 0.5) * step_s
            height = min(at_s - first, last - at_s, side)
            parts.append((self._weight(at) + floor) * height if height > 0 else 0.0)
        if sum(parts) <= 0:
            # Far off the grid: the trust in progress falls for it.
            return
        self._weights.fade()
        self._weights.add(begin, parts, units=_OFFSET_FADES)
        self._ends = None

    def ends_s(self) -> tuple[float, float]:
        """Return the seconds between which most tasks become Ready after their computing."""
        if self._ends is None:
            # Each place of the grid has a little, so that one outlier finds it possible.
            floor = _FLOOR * self._weights.unit
            total = self._weights.total + floor * len(_GRID)
            self._ends = self._quantile(ENDS * total, floor), self._quantile((1 - ENDS) * total, floor)
        return self._ends

    def _weight(self, at: int) -> float:
        return self._weights.by_bin.get(at, 0.0)

    def _quantile(self, wanted: float, floor: float) -> float:
        below = 0.0
        for at in _GRID:
            weight = self._weight(at) + floor
            if below + weight >= wanted:
                return (at + (wanted - below) / weight) * self.step_s
            below += weight
        return _MOST_OFFSET * self.step_s

    def to_dict(self) -> dict[str, JSON]:
        """Return what `load` takes."""
        weights: list[JSON] = [round(self._weight(at) / self._weights.unit, 5) for at in _GRID]
        return {"step_s": self.step_s, "weights": weights}

    def load(self, data: JSON) -> bool:
        """Take over what was kept; False, and nothing is changed, if it cannot be."""
        if not isinstance(data, Mapping):
            return False
        step_s, kept = number_from(data.get("step_s"), 0.001, 100.0), data.get("weights")
        if step_s is None or not isinstance(kept, Sequence) or isinstance(kept, str):
            return False
        weights = [number_from(weight, 0.0, 100.0) for weight in kept]
        if len(weights) != len(_GRID) or None in weights:
            return False
        self.step_s, self._ends = step_s, None
        self._weights = FadingWeights(
            _OFFSET_GROWTH, {at: weight or 0.0 for at, weight in zip(_GRID, weights, strict=True)}
        )
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
