"""How long things may take: one notion of time for connecting, submits, polls, downloads and waits.

A bound on time is a promise to a caller, and it can break in two ways. An end that was computed before the process
stood still (a suspended process, a blocked event loop) has passed by the time the process goes on, and cuts off the
attempt that was promised after it. And time that a request spends behind others counts as if it had been tried.

`TimeBudget` therefore counts the seconds of attempts and pauses, and nothing else. `TimeLimit` ends a call, and when
its timer fires so late that the process must have stood still, it first lets the loop read what has arrived meanwhile.
The clock is always the loop's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

STALL_S = 0.5
"""A timer that fires later than this shows that the process or its loop stood still."""

GRACE_S = 1.0
"""How long a call goes on after such a stall, once: what the server sent meanwhile is in the socket's buffer."""


# A limit of so few seconds looks at the clock every so often, since a stall may be most of it and end before it does.
_SHORT_S, _LOOK_S = 2.0, 0.25


def is_stall(elapsed_s: float, allowed_s: float) -> bool:
    """Return whether something took so much longer than it may that the process must have stood still."""
    return elapsed_s > allowed_s + STALL_S


class TimeBudget:
    """Seconds that may be spent on one thing, counted only while it is worked on.

    Args:
        total_s: Seconds in all.
    """

    __slots__ = ("_forgave", "left_s")

    def __init__(self, total_s: float) -> None:
        self.left_s: float = total_s
        self._forgave = False

    def spend(self, elapsed_s: float, *, allowed_s: float) -> None:
        """Count an attempt or a pause.

        The first attempt in which the process stood still does not count: nothing was really tried. Later ones do,
        so that a process which stalls again and again reaches an end as well.

        Args:
            elapsed_s: Seconds that it took by the loop's clock.
            allowed_s: Seconds that it could take if the process did not stand still.
        """
        if is_stall(elapsed_s, allowed_s) and not self._forgave:
            self._forgave = True
            return
        self.left_s -= min(elapsed_s, allowed_s)


class TimeLimit:
    """Bounds a block of code, like `asyncio.timeout`, without taking away what has arrived during a stall.

    When the limit is reached in time, the block is cancelled and `TimeoutError` is raised. When the timer fires late
    (see `STALL_S`), the block goes on for `GRACE_S`, once.

    Args:
        seconds: From entering the block; None sets no limit.
        on_stall: Called when the block is given its grace, to hurry what it waits for.
    """

    __slots__ = ("_end_at", "_loop", "_on_stall", "_seconds", "_timeout", "_timer", "stalled_s")

    def __init__(self, seconds: float | None, *, on_stall: Callable[[], None] | None = None) -> None:
        self._seconds = seconds
        self._on_stall = on_stall
        self._timeout = asyncio.timeout(None)
        self._end_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # How long the process stood still at the end of the limit; 0.0 if it did not.
        self.stalled_s: float = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._timeout.__aenter__()
        if self._seconds is not None:
            self.restart(self._seconds)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Raises TimeoutError where the limit ended the block.
        await self._timeout.__aexit__(exc_type, exc, tb)

    @property
    def expired(self) -> bool:
        """True once the limit has ended the block."""
        return self._timeout.expired()

    def restart(self, seconds: float) -> None:
        """Let the block take `seconds` from now. Cheap enough for each chunk of a download."""
        self._end_at = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() <= self._end_at:
            # The timer looks at the new end when it fires.
            return
        self._arm(self._end_at)

    @contextlib.contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Do not count the time of a part of the block, up to so many seconds: it waits for something else."""
        left_s = self._end_at - self._loop.time()
        self.restart(max(left_s, seconds))
        try:
            yield
        finally:
            self.restart(max(0.0, left_s))

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._seconds is not None and self._seconds <= _SHORT_S:
            at = min(at, self._loop.time() + _LOOK_S)
        self._timer = self._loop.call_at(at, self._due, at)

    def _due(self, planned_at: float) -> None:
        self._timer = None
        now = self._loop.time()
        late_s = now - planned_at
        if late_s > STALL_S and not self.stalled_s:
            self.stalled_s = late_s
            self._end_at = max(self._end_at, now + GRACE_S)
            if self._on_stall is not None:
                self._on_stall()
        if self._end_at > now:
            self._arm(self._end_at)
        else:
            # By way of `call_soon`: whatever arrived in this turn of the loop is handed over first.
            self._timeout.reschedule(now)
