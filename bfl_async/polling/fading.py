"""Weights of which the older ones count less and less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Beyond this the weights are scaled down once, before floats lose precision.
_MOST_UNIT = 1e6


class FadingWeights:
    """Weights by bin. The unit grows, instead of all older weights being scaled: an addition takes O(its own bins).

    Args:
        growth: Of the unit with each addition; more than 1.
        weights: In units, to begin with.
    """

    __slots__ = ("_growth", "by_bin", "total", "unit")

    def __init__(self, growth: float, weights: Mapping[int, float]) -> None:
        self._growth = growth
        # Written here only, and read by many: each weight, their sum, and what counts as 1 in them.
        self.by_bin: dict[int, float] = dict(weights)
        self.total: float = sum(weights.values())
        self.unit: float = 1.0

    def fade(self) -> None:
        """Let all weights count less, before something is added."""
        self.unit *= self._growth
        if self.unit > _MOST_UNIT:
            # What is less than a millionth of a unit by now is left out, so that the bins that are in use stay few.
            self.by_bin = {
                at: weight / _MOST_UNIT
                for at, weight in self.by_bin.items()
                if weight > self.unit / _MOST_UNIT
            }
            self.total = sum(self.by_bin.values())
            self.unit /= _MOST_UNIT

    def add(self, first: int, parts: Sequence[float], *, units: float = 1.0) -> None:
        """Spread some units over the bins from `first` on, in proportion to `parts`, whose sum is more than 0."""
        weight = units * self.unit
        scale = weight / sum(parts)
        for at, part in enumerate(parts, first):
            self.by_bin[at] = self.by_bin.get(at, 0.0) + part * scale
        self.total += weight
