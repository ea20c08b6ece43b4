"""Who may submit now: slots by pool, priorities, arrival order, and what 429s have taught."""

from __future__ import annotations

from bfl_async.limiter.local import LocalLimiter

__all__ = ["LocalLimiter"]
