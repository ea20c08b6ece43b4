"""The limiter of many processes, on any number of machines, that reach one Redis.

`redis_store.py` has the book in Redis, and needs redis-py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bfl_async._config import Limits
from bfl_async.errors import ConfigError
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.limiter.steps import Store
from bfl_async.runtime.lazy import lazy_names
from bfl_async.runtime.redis_url import host_of
from bfl_async.runtime.secrets import Secret

# Release 0.1.0 had these here. They need the extra, so they are imported on first use.
_FORMER = {name: "runtime.redis" for name in ("close_quietly", "connect", "listen")}
_former = lazy_names(__name__, _FORMER)


def __getattr__(name: str) -> object:
    return _former(name)


class RedisLimiter(SharedLimiter):
    """Shares an account's limit between processes on any number of machines, through one Redis.

    ```python
    async with RedisLimiter("redis://localhost", limits=12) as limiter, AsyncBFL(limiter=limiter) as bfl:
        ...
    ```

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        limits: An int is the account's limit. The last process to open sets it for all; None: as it is, else 12.
        lease_s: So long the slots of a process that died, or that stood still, stay taken.
        away: While Redis cannot be reached nothing new is granted, and what runs goes on. "wait": requests wait
            until it is back; "fail": those that wait fail at once, with `LimiterError`.
        namespace: Begins all keys. Limiters of one account with different namespaces know nothing of each other.
    Raises:
        ConfigError: A value is wrong; at the opening, that the extra `redis` is not installed.
    """

    def __init__(
        self,
        url: str,
        limits: int | Limits | None = 12,
        *,
        lease_s: float = 60.0,
        away: Literal["wait", "fail"] = "wait",
        namespace: str = "bfl-async",
    ) -> None:
        # It may hold a password.
        url = Secret(url)
        self._host = host_of(url)
        if not namespace or not namespace.isprintable() or set(namespace) & set("{}"):
            raise ConfigError(f"namespace must be printable text without braces, not {namespace!r}")
        self._url = url
        self._namespace = namespace
        super().__init__(limits, lease_s=lease_s, away=away)

    def _where(self) -> str:
        return f"Redis on {self._host}"

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        # Only at the opening: it needs the extra.
        from bfl_async.limiter.redis_store import RedisStore

        return RedisStore(self._url, f"{self._namespace}:{{{account}}}", session, wake)
