"""Who may submit now: slots by pool, priorities, arrival order, and what 429s have taught.

`LocalLimiter` serves one process, `FileLimiter` those of one machine, `RedisLimiter` those of many. The shared ones
are imported on first use (PEP 562).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bfl_async.limiter.local import LocalLimiter
from bfl_async.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from bfl_async.limiter.file import FileLimiter
    from bfl_async.limiter.memory import Memory as Memory
    from bfl_async.limiter.memory import memory_file as memory_file
    from bfl_async.limiter.redis import RedisLimiter

__all__ = ["FileLimiter", "LocalLimiter", "RedisLimiter"]


__getattr__: Callable[[str], object] = lazy_names(
    __name__,
    {
        "FileLimiter": "limiter.file",
        "Memory": "limiter.memory",
        "RedisLimiter": "limiter.redis",
        "memory_file": "limiter.memory",
    },
)
