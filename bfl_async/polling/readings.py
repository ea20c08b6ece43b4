"""What a policy sees of a task: its readings, and the round trips."""

from __future__ import annotations

from typing import NamedTuple

from bfl_async.types.common import distinct


@distinct
class Reading(NamedTuple):
    """One poll that found the task in flight.

    Attributes:
        elapsed_s: Seconds since the server had the submit, at the moment the server answered.
        progress: As reported, None where there is none.
        status: The server's word.
    """

    elapsed_s: float
    progress: float | None
    status: str | None = None


class RoundTrips:
    """Running means of the seconds that a submit and a poll take. Written by a client's pollers and runners."""

    __slots__ = ("followed", "overlaps", "paced_s", "poll_s", "submit_s")

    def __init__(self, submit_s: float | None = None, poll_s: float | None = None) -> None:
        self.submit_s = submit_s
        self.poll_s = poll_s
        # For which a poll waits because of the bound on their rate.
        self.paced_s: float = 0.0
        # Tasks that are followed now. Written by the poller.
        self.followed: int = 0
        # Submits may leave early, by when a task is likely to end. Written by the look-ahead.
        self.overlaps: bool = False

    def note_submit(self, seconds: float) -> None:
        """Note a submit that was answered."""
        self.submit_s = _running(self.submit_s, seconds)

    def note_poll(self, seconds: float, *, paced_s: float = 0.0) -> None:
        """Note a poll that was answered."""
        self.poll_s = _running(self.poll_s, seconds)
        self.paced_s += 0.1 * (paced_s - self.paced_s)


def _running(mean: float | None, value: float) -> float:
    if mean is None:
        return value
    # Cut to three means, since one slow answer is not a new mean.
    return mean + 0.1 * (min(value, 3 * mean + 0.01) - mean)
