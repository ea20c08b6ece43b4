"""Results: the value, its download, its display."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.results.display import card as card

# Imported at its first use, in a notebook. The rest is imported by its modules.
_HOMES = {
    "card": "results.display",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)
