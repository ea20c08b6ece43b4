"""Who may submit now: slots by pool, priorities, arrival order, and what 429s have taught.

`LocalLimiter` serves one process, `FileLimiter` those of one machine, `RedisLimiter` those of many. The shared ones
are imported on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bfl_async.limiter.local import LocalLimiter

if TYPE_CHECKING:
    from bfl_async.limiter.file import FileLimiter
    from bfl_async.limiter.redis import RedisLimiter

__all__ = ["FileLimiter", "LocalLimiter", "RedisLimiter"]


def __getattr__(name: str) -> object:
    if name == "FileLimiter":
        from bfl_async.limiter.file import FileLimiter

        return FileLimiter
    if name == "RedisLimiter":
        from bfl_async.limiter.redis import RedisLimiter

        return RedisLimiter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
