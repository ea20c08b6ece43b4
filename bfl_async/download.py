"""The public path of `bfl_async.results.download`."""

from __future__ import annotations

from bfl_async.results.download import Download as Download
from bfl_async.results.download import Downloads as Downloads
from bfl_async.results.download import closed_error as closed_error
from bfl_async.results.download import save_error as save_error

__all__ = ["Download", "Downloads", "closed_error", "save_error"]
