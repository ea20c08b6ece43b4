"""The policy without anything learnt: the loop of BFL's guide. Sleep, poll, sleep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bfl_async.polling.protocol import check_positive

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from bfl_async.polling.readings import Reading
    from bfl_async.polling.timings import Timings


@dataclass(frozen=True, slots=True)
class Fixed:
    """Poll every so many seconds, counted from the answer of the poll before. BFL's guide uses 0.5.

    Args:
        interval: Seconds, more than 0.
    Raises:
        ConfigError: The interval is not a positive number.
    """

    interval: float = 0.5
    # A trait, see `PollingTraits`: a fixed interval uses nothing that could be learnt.
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("Fixed: the interval in seconds", self.interval)

    def wait_s(
        self,
        elapsed_s: float,  # noqa: ARG002 - part of the protocol
        readings: Sequence[Reading],  # noqa: ARG002 - part of the protocol
        timings: Timings,  # noqa: ARG002 - part of the protocol
        rng: random.Random,  # noqa: ARG002 - part of the protocol
    ) -> float:
        """Return the interval."""
        return self.interval
