"""The engine: every request, its slots, its money and its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.engine.budget import Purse as Purse
    from bfl_async.engine.reporter import Reporter as Reporter

# What many clients go without is imported when one is opened with it. The rest is imported by its modules.
_HOMES = {
    "Purse": "engine.budget",
    "Reporter": "engine.reporter",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)
