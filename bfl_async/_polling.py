"""When the next poll is sent: policies, and what they know of a model's times.

A policy is a pure function of the seconds since acceptance, the readings so far, the model's timings and a
random source; it waits for nothing and keeps nothing. `Fixed` is the loop of BFL's guide: sleep, poll, sleep.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bfl_async.errors import ConfigError
from bfl_async.types import LatencyStatistics

_KEPT = 256  # newest times a model
_LEARNT = 20  # times from which on our own quantiles count more than the catalog's prior


@dataclass(frozen=True, slots=True)
class Reading:
    """One poll that found the task in flight: seconds since acceptance, and the progress if any."""

    elapsed_s: float
    progress: float | None


class Timings:
    """The seconds from accepted to Ready of one model, as this client saw them, and a prior before that."""

    def __init__(self, prior_p99_s: float) -> None:
        self._prior_p99_s = prior_p99_s
        self._seen: deque[float] = deque(maxlen=_KEPT)  # written by observe() only
        self._count = 0

    def observe(self, seconds: float) -> None:
        """Note the time of one task that became Ready."""
        self._seen.append(seconds)
        self._count += 1

    @property
    def p99_s(self) -> float:
        """The 99th percentile: of what was seen, or of the prior until enough was."""
        if len(self._seen) < _LEARNT:
            return self._prior_p99_s
        return _quantile(sorted(self._seen), 0.99)

    def statistics(self) -> LatencyStatistics | None:
        """The quantiles of what was seen; None before the first."""
        if not self._seen:
            return None
        ranked = sorted(self._seen)
        return LatencyStatistics(self._count, *(round(_quantile(ranked, q), 3) for q in (0.5, 0.9, 0.99)))


def _quantile(ranked: Sequence[float], q: float) -> float:
    return ranked[min(len(ranked) - 1, math.ceil(q * len(ranked)) - 1)]


class Polling(Protocol):
    """Decides when the next poll is sent."""

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        """Return the seconds from now to the next poll.

        Args:
            elapsed_s: Seconds since the task was accepted.
            readings: What earlier polls found, oldest first; the newest few.
            timings: What is known of the model's times.
            rng: For jitter.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Poll every so many seconds, counted from the answer of the poll before. BFL's guide uses 0.5.

    Args:
        interval: Seconds, more than 0.
    Raises:
        ConfigError: The interval is not a positive number.
    """

    interval: float = 0.5

    def __post_init__(self) -> None:
        if not (isinstance(self.interval, int | float) and 0 < self.interval < math.inf):
            raise ConfigError(
                f"Fixed: the interval must be a positive number of seconds, not {self.interval!r}"
            )

    def wait_s(
        self,
        elapsed_s: float,  # noqa: ARG002 - part of the protocol
        readings: Sequence[Reading],  # noqa: ARG002 - part of the protocol
        timings: Timings,  # noqa: ARG002 - part of the protocol
        rng: random.Random,  # noqa: ARG002 - part of the protocol
    ) -> float:
        """Return the interval."""
        return self.interval
