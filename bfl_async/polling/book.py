"""The book of all timings, and what of it is kept between runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from bfl_async.polling.readings import Reading, RoundTrips
from bfl_async.polling.timings import Timings
from bfl_async.types.common import JSON
from bfl_async.types.statistics import LatencyStatistics

_LOG2_OF_A_MEGAPIXEL = math.log2(1e6)


_LEARNT_SIZE = 12


# Models and sizes of which anything is kept.
_MOST_TIMINGS = 500


_VERSION = 1


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
        # The sizes that were seen of each model.
        self._sizes: dict[str, set[int]] = {}
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
            # All of one size so far: its own timings would be the model's once more.
            return
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
