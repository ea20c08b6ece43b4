"""Small functions over numbers that the other modules share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bfl_async.types.common import JSON

# Between polls of a task that is past all expectation.
MOST_OVERRUN_STEP_S = 10.0
SHORTEST_S, _LONGEST_S = 1e-3, 1e5


ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2.0 * math.pi)
# The width of the histogram's bins, in the logarithm of the time.
BIN = 0.04
LEAST_LIKELIHOOD = 1e-4


def is_within(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def phi(z: float) -> float:
    """The normal distribution function."""
    return 0.5 * math.erfc(-z / ROOT_2)


def density_at(z: float) -> float:
    return math.exp(-0.5 * z * z) / _ROOT_2_PI


def quantile_of(ranked: Sequence[float], q: float) -> float:
    return ranked[min(len(ranked) - 1, math.ceil(q * len(ranked)) - 1)]


def even(low: float, high: float, count: int) -> list[float]:
    step = (max(high, low + 0.01) - low) / (count - 1)
    return [low + step * number for number in range(count)]


def clamp(seconds: float) -> float:
    return min(max(seconds, SHORTEST_S), _LONGEST_S) if seconds == seconds else 1.0


def number_from(value: JSON, least: float, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return float(value)


def read_bins(value: JSON) -> dict[int, float] | None:
    if not isinstance(value, Mapping) or len(value) > 1_000:
        return None
    bins: dict[int, float] = {}
    for at, weight in value.items():
        number = number_from(weight, 0.0, 1e4)
        if number is None or not isinstance(at, str) or not at.lstrip("-").isdecimal() or len(at) > 5:
            return None
        if abs(int(at)) > 12 / BIN:
            return None
        bins[int(at)] = number
    return bins
