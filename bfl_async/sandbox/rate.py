"""How the API counts polls: a window of one second, and the headers that tell of it."""

import math


class PollWindow:
    """Counts polls in windows of one second, the first poll after one opening the next.

    The recorded headers follow from this: `Retry-After` is the rest of the window rounded to whole
    seconds, `Reset` the date of the answer plus that.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._ends_at = -math.inf
        self._count = 0

    def count(self, now: float, date: float) -> tuple[bool, dict[str, str]]:
        """Count one poll.

        Args:
            now: The moment of the poll.
            date: The same moment in seconds since 1970.

        Returns:
            Whether it is within the limit, and the headers of its answer.
        """
        if now >= self._ends_at:
            self._ends_at, self._count = now + 1.0, 0
        self._count += 1
        within = self._count <= self.limit
        rest_s = self._ends_at - now
        # What a refused poll is told was not recorded; rounding down would make it come back too early.
        retry_after_s = round(rest_s) if within else math.ceil(rest_s)
        return within, {
            "Retry-After": str(retry_after_s),
            "X-Ratelimit-Limit": str(self.limit),
            "X-Ratelimit-Remaining": str(max(0, self.limit - self._count)),
            "X-Ratelimit-Reset": str(date + retry_after_s),
        }
