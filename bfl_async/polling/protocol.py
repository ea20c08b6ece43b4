"""What a polling policy is, and what it may declare about itself.

`Polling` is all that a policy needs. `PollingTraits` is a second, optional protocol: the client reads each trait by
its name and falls back to a default. No code asks for the class of a policy, so one that wraps `Adaptive` and passes
its traits on is treated like `Adaptive`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from bfl_async.errors import ConfigError
from bfl_async.polling.readings import Reading
from bfl_async.polling.timings import Timings
from bfl_async.types.common import JSON


class Polling(Protocol):
    """Decides when the next poll is sent."""

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        """Return the seconds from now to the next poll.

        Args:
            elapsed_s: Seconds since the server had the submit: from the middle of its round trip.
            readings: What earlier polls found, oldest first; of many the first few and the newest.
            timings: What is known of the model's times.
            rng: For jitter.
        """
        ...


class PollingTraits(Protocol):
    """What a policy may declare about itself. Each trait is optional and is read once, when the client is made.

    A policy that wraps another should pass on the traits of the other one.
    """

    @property
    def max_polls_per_s(self) -> float | None:
        """Maximum number of polls per second, all tasks of a client together. None, the default, sets no limit."""
        ...

    @property
    def may_be_shifted(self) -> bool:
        """Whether a poll may move by a sixth of the gap before it, so that polls of several tasks leave together.

        That saves a third of the wake-ups. By default False: polls leave exactly when the policy says.
        """
        ...

    @property
    def learns(self) -> bool:
        """Whether the policy reads `timings`. By default True. False saves 0.1 ms per task."""
        ...

    @property
    def kept_timings(self) -> Mapping[str, JSON] | None:
        """What `AsyncBFL.timings()` returned in an earlier run. None, the default, starts without any."""
        ...


class Traits(NamedTuple):
    """The traits of one policy, checked. The defaults are those of a policy that declares none."""

    max_polls_per_s: float | None = None
    may_be_shifted: bool = False
    learns: bool = True
    kept_timings: Mapping[str, JSON] | None = None


def traits_of(policy: Polling) -> Traits:
    """Return the traits of a policy, each with its default.

    Raises:
        ConfigError: A trait has a value that it cannot have.
    """
    declared = {name: getattr(policy, name) for name in Traits._fields if hasattr(policy, name)}
    owner = type(policy).__name__
    if declared.get("max_polls_per_s") is not None:
        check_positive(f"{owner}: max_polls_per_s", declared["max_polls_per_s"])
    for name in ("may_be_shifted", "learns"):
        # Any other object would count as true, a text such as "no" among them.
        if not isinstance(declared.get(name, True), bool):
            raise ConfigError(f"{owner}: {name} must be True or False, not {declared[name]!r}")
    if not isinstance(declared.get("kept_timings"), Mapping | None):
        raise ConfigError(f"{owner}: kept_timings takes what AsyncBFL.timings() returned")
    return Traits(**declared)


def check_positive(what: str, value: object) -> None:
    """Raise a ConfigError unless the value is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{what} must be a positive number, not {value!r}")
