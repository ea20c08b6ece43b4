"""The sandbox's clock: that of the event loop, and the dates that are counted from it.

Dates that leave the server (`se`, `start_time`, `end_time`) are counted from the date at the start, so that they move
with the loop's clock also in tests that bend it.
"""

import asyncio
import time
from collections.abc import Callable


class Clock:
    """Moments in seconds of the loop's clock; it stands at 0 until the sandbox is started."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        # The date, in seconds, at which the loop's clock showed 0.
        self._date_at_zero = 0.0

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._loop is not None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._date_at_zero = time.time() - self._loop.time()

    def now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def date(self, moment: float) -> float:
        return self._date_at_zero + moment

    def call_at(self, moment: float, call: Callable[[float], None]) -> None:
        """Call with the moment when it has come; never, if the clock was not started."""
        if self._loop is not None:
            self._loop.call_at(moment, call, moment)
