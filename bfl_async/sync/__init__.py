"""The client without asyncio: `BFL`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.sync.client import BFL as BFL
    from bfl_async.sync.stream import OutcomeStream as OutcomeStream
    from bfl_async.sync.values import Outcome as Outcome
    from bfl_async.sync.values import Result as Result
    from bfl_async.sync.values import TaskHandle as TaskHandle

# Imported when they are used: most commands need one small module of this package.
_HOMES = {
    "BFL": "sync.client",
    "Outcome": "sync.values",
    "OutcomeStream": "sync.stream",
    "Result": "sync.values",
    "TaskHandle": "sync.values",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)

__all__ = ["BFL", "Outcome", "OutcomeStream", "Result", "TaskHandle"]
