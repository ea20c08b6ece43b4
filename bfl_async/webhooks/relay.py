"""`RedisRelay`: deliveries reach the process that waits, through Redis's publish and subscribe."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from bfl_async.errors import ConfigError, TransportError, WebhookError
from bfl_async.runtime.redis_url import host_of
from bfl_async.runtime.secrets import Secret
from bfl_async.types.replies import Delivery
from bfl_async.webhooks.verify import read_delivery
from bfl_async.wire.json import json_object

if TYPE_CHECKING:
    from bfl_async.webhooks.relay_link import RelayLink

_log = logging.getLogger("bfl_async")


class RedisRelay:
    """Carries deliveries between the processes that reach one Redis.

    ```python
    receiver = WebhookReceiver(url, secret, relay=RedisRelay("redis://localhost"))
    ```

    A delivery that came to one process is published to all; the one whose request it is ends it. What is published
    while a process is cut off from Redis is lost for it, and its polls find the end. Who can publish in this Redis
    can end requests: it is trusted, as it is with `RedisLimiter`. Messages hold what deliveries hold, the prompt
    and a signed URL among it; Redis does not store them.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        namespace: Begins the channel's name. Receivers with different ones hear nothing of each other.
    Raises:
        ConfigError: A value is wrong; at the opening, that the extra `redis` is not installed.
    """

    def __init__(self, url: str, *, namespace: str = "bfl-async") -> None:
        # It may hold a password.
        url = Secret(url)
        self._host = host_of(url)
        if not isinstance(namespace, str) or not namespace or not namespace.isprintable():
            raise ConfigError(f"namespace must be printable text, not {namespace!r}")
        self._url = url
        self._channel = f"{namespace}:deliveries"
        self._on_delivery: Callable[[Delivery], None] | None = None
        self._link: RelayLink | None = None
        self._is_away = False
        self._is_open = False
        # Held by open() and aclose(): each sees the other's work whole.
        self._lock = asyncio.Lock()

    async def open(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Subscribe; see `Relay.open`. While Redis is away it is tried again, and nothing fails.

        Raises:
            ConfigError: The extra `redis` is missing, the URL cannot be used, or the relay is open already.
        Cancellation: Nothing stays open.
        """
        async with self._lock:
            if self._is_open:
                raise ConfigError("the relay is open already: each receiver needs a relay of its own")
            # What a cancelled aclose() has left.
            await self._close()
            try:
                await self._open(on_delivery)
            except BaseException:
                await self._close()
                raise
            self._is_open = True

    async def _open(self, on_delivery: Callable[[Delivery], None]) -> None:
        # Only at the opening: it needs the extra.
        from bfl_async.webhooks.relay_link import RelayLink

        self._on_delivery = on_delivery
        self._link = RelayLink(self._url, self._host, self._channel, heard=self._heard, cut=self._cut)
        await self._link.open()

    async def publish(self, delivery: Delivery) -> None:
        """Tell all processes; see `Relay.publish`.

        Raises:
            TransportError: Redis cannot be reached, or the relay is not open.
        Cancellation: Ends the call; others may have been told.
        """
        if self._link is None:
            raise TransportError("the relay is not open: open its receiver first")
        message = {"body": dict(delivery.raw), "scheme": delivery.scheme, "nonce": delivery.nonce}
        await self._link.publish(json.dumps(message), task_id=delivery.task_id)

    async def aclose(self) -> None:
        """End the subscription and the connections. Idempotent.

        Cancellation: A connection may stay open; call it again.
        """
        async with self._lock:
            self._is_open = False
            await self._close()

    async def _close(self) -> None:
        if self._link is not None:
            await self._link.aclose()
            self._link = None

    def _heard(self, message: str | None) -> None:
        self._is_away = False
        if message is None or self._on_delivery is None:
            return
        delivery = _read(message)
        if delivery is None:
            _log.warning(
                "a message on the channel %s is no delivery, and is passed over",
                self._channel,
                extra={"bfl_channel": self._channel},
            )
        else:
            self._on_delivery(delivery)

    def _cut(self) -> None:
        if not self._is_away:
            self._is_away = True
            _log.warning(
                "Redis on %s is away: deliveries of other processes do not come, and tasks are polled",
                self._host,
                extra={"bfl_channel": self._channel},
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a relay cannot be pickled or copied: it may hold a password; make one in each process"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_channel"):
            # Its constructor failed.
            return "<RedisRelay>"
        return f"<RedisRelay {self._host} {self._channel}>"


def _read(message: str) -> Delivery | None:
    """The delivery that a message holds; None if it holds none."""
    said = json_object(message.encode("utf-8", "surrogatepass"))
    if said is None:
        return None
    nonce, scheme = said.get("nonce"), said.get("scheme")
    if not isinstance(nonce, str | None) or scheme not in ("secret", "signature"):
        return None
    try:
        # The timestamp is not compared with this machine's clock: see `WebhookReceiver.receive`.
        body = json.dumps(said.get("body")).encode()
        delivery = read_delivery(body, "secret" if scheme == "secret" else "signature", now=None)
    except WebhookError:
        return None
    return delivery.came_to(nonce)
