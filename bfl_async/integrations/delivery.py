"""The public path of `bfl_async.jobs.delivery`."""

from __future__ import annotations

from bfl_async.jobs.delivery import Deliverer as Deliverer
from bfl_async.jobs.delivery import DeliverLater as DeliverLater

__all__ = ["DeliverLater", "Deliverer"]
