"""The forecast for one task."""

from __future__ import annotations

from bfl_async.polling.curve import Curve
from bfl_async.polling.progress import ENDS, WITHIN


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
            spare_s = (ends[1] - ends[0]) * ENDS / WITHIN
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
