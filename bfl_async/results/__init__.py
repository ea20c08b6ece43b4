"""Results: the value, its download, its display."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.results.display import Source as Source
    from bfl_async.results.display import card as card
    from bfl_async.results.display import contact_sheet as contact_sheet
    from bfl_async.results.display import tile as tile
    from bfl_async.results.progress import LiveBar as LiveBar
    from bfl_async.results.progress import Progress as Progress
    from bfl_async.results.progress import bar as bar

# Imported at its first use, in a notebook. The rest is imported by its modules.
_HOMES = {
    "LiveBar": "results.progress",
    "Progress": "results.progress",
    "Source": "results.display",
    "bar": "results.progress",
    "card": "results.display",
    "contact_sheet": "results.display",
    "tile": "results.display",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)
