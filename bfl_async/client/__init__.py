"""The client: what an application calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.client.account import Account as Account
    from bfl_async.client.gather import checked_requests as checked_requests
    from bfl_async.client.gather import run_together as run_together
    from bfl_async.client.stream import check_many as check_many
    from bfl_async.client.stream import open_stream as open_stream
    from bfl_async.models.pricing import estimate as estimate

# What many programs never call is imported at its first use. The rest is imported by its modules.
_HOMES = {
    "Account": "client.account",
    "check_many": "client.stream",
    "checked_requests": "client.gather",
    "estimate": "models.pricing",
    "open_stream": "client.stream",
    "run_together": "client.gather",
}
__getattr__: Callable[[str], object] = lazy_names(__name__, _HOMES)
