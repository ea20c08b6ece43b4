"""The gate that stops spending after a refusal of the whole account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfl_async.engine.entry import Entry
from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    InsufficientCreditsError,
)
from bfl_async.runtime.ordered import OrderedSet

if TYPE_CHECKING:
    pass

_STOP_S = 30.0  # invariant 7: how long nothing is sent after a 402


class SpendingGate:
    """Invariant 7: after a 402 nothing is sent for 30 s, then one request goes as a probe.

    The same for 401 and 403 until a first submit was accepted: a wrong key is wrong for all.
    Written by the scheduler, in synchronous steps.
    """

    def __init__(self) -> None:
        self.error: BFLError | None = None  # why the gate is closed; None: open
        self.closed_until = 0.0
        self.probe: Entry | None = None  # the one request that is out while the gate is closed
        self.parked: OrderedSet[Entry] = OrderedSet()  # those that wait for what the probe brings
        self._proved = False  # a submit was accepted, so the key is good

    def closes_on(self, error: BFLError) -> bool:
        """True for a refusal that the next request would meet as well."""
        if isinstance(error, InsufficientCreditsError):
            return True
        return isinstance(error, AuthenticationError) and error.status_code in (401, 403) and not self._proved

    def close(self, error: BFLError, now: float) -> None:
        """Stop sending."""
        self.error = error
        self.closed_until = now + _STOP_S
        self.probe = None

    def accept(self, entry: Entry) -> list[Entry]:
        """Note an accepted submit; return those who may go if it was the probe."""
        self._proved = True
        if entry is not self.probe:
            return []
        self.error = self.probe = None
        parked = list(self.parked)
        self.parked.clear()
        return parked
