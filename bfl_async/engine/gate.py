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

# Invariant 7: how long nothing is sent after a 402.
_STOP_S = 30.0


class SpendingGate:
    """Invariant 7: after a 402 nothing is sent for 30 s, then one request goes as a probe.

    The same for a 401, a 403 and a 422 about the key until a first submit was accepted: a wrong key is wrong for all.
    Written by the scheduler, in synchronous steps.
    """

    def __init__(self) -> None:
        # Why the gate is closed; None: it is open. Only an accepted probe opens it. Time alone does not: it lets the
        # probe go.
        self.error: BFLError | None = None
        # On the loop's clock. Until then every request is refused.
        self.closed_until: float = 0.0
        # The one request that is out while the gate is closed. Written by `Slots`, which chooses it.
        self.probe: Entry | None = None
        # Those that wait for what the probe brings, in the order in which they came. The limiter does not know them.
        self.parked: OrderedSet[Entry] = OrderedSet()
        # A submit was accepted, so the key is good. From then on such a refusal is about one request, not about all.
        self._proved = False

    def closes_on(self, error: BFLError) -> bool:
        """True for a refusal that the next request would meet as well."""
        if isinstance(error, InsufficientCreditsError):
            return True
        # By the class: a malformed key is a 422.
        return isinstance(error, AuthenticationError) and not self._proved

    def close(self, error: BFLError, now: float) -> None:
        """Stop sending."""
        self.error = error
        self.closed_until = now + _STOP_S
        # Whichever request was the probe, this refusal is newer: the first request after the pause is the next probe.
        self.probe = None

    def accept(self, entry: Entry) -> list[Entry]:
        """Note an accepted submit; return those who may go if it was the probe."""
        self._proved = True
        if entry is not self.probe:
            return []
        # Emptied before the caller queues them: whichever of them fails in that finds a gate that is open.
        self.error = self.probe = None
        parked = list(self.parked)
        self.parked.clear()
        return parked
