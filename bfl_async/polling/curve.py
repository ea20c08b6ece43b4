"""The curve of a model: how likely a task has ended after some seconds."""

from __future__ import annotations

import math
from bisect import bisect_left

from bfl_async.polling.numbers import MOST_OVERRUN_STEP_S, SHORTEST_S


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
            if chosen < 0:
                # The gap leads past the grid.
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
        place = (math.log(max(elapsed_s, SHORTEST_S)) - self._from) / self._step
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
