"""`RedisRelay`: deliveries reach the process that waits, through Redis's publish and subscribe."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from bfl_async.errors import ConfigError, TransportError, WebhookError
from bfl_async.runtime.cancellation import is_cancelled, shielded
from bfl_async.runtime.redis import close_quietly, connect, host_of, listen
from bfl_async.runtime.secrets import Secret
from bfl_async.runtime.tasks import end_task, new_task
from bfl_async.types.replies import Delivery
from bfl_async.webhooks.verify import read_delivery
from bfl_async.wire.json import json_object

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log = logging.getLogger("bfl_async")

_SUBSCRIBE_S = 2.0
_LISTEN_AGAIN_S = 1.0
_REPLY_S = 5.0


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
        self._publisher: Redis | None = None
        self._subscriber: Redis | None = None
        self._listener: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()  # to subscribe
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
        self._on_delivery = on_delivery
        self._publisher = connect(self._url, reply_s=_REPLY_S)
        self._subscriber = connect(self._url, reply_s=None)
        self._tried.clear()
        self._listener = new_task(self._listen(self._subscriber))
        try:
            async with asyncio.timeout(_SUBSCRIBE_S):
                await self._tried.wait()
        except TimeoutError:
            self._cut()

    async def _listen(self, subscriber: Redis) -> None:
        """Hear the channel until cancelled, whatever else ends the listening."""
        while not is_cancelled():
            try:
                await listen(subscriber, self._channel, heard=self._heard, cut=self._cut)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
            except Exception:
                _log.exception("the relay's listener failed by a bug", extra={"bfl_channel": self._channel})
            self._cut()
            await asyncio.sleep(_LISTEN_AGAIN_S)

    async def publish(self, delivery: Delivery) -> None:
        """Tell all processes; see `Relay.publish`.

        Raises:
            TransportError: Redis cannot be reached, or the relay is not open.
        Cancellation: Ends the call; others may have been told.
        """
        if self._publisher is None:
            raise TransportError("the relay is not open: open its receiver first")
        from redis.exceptions import RedisError

        message = {"body": dict(delivery.raw), "scheme": delivery.scheme, "nonce": delivery.nonce}
        try:
            await self._publisher.publish(self._channel, json.dumps(message))
        except (RedisError, OSError, TimeoutError) as exc:
            raise TransportError(
                f"the delivery could not be passed on: Redis on {self._host} is away ({type(exc).__name__})",
                task_id=delivery.task_id,
            ) from exc

    async def aclose(self) -> None:
        """End the subscription and the connections. Idempotent.

        Cancellation: A connection may stay open; call it again.
        """
        async with self._lock:
            self._is_open = False
            await self._close()

    async def _close(self) -> None:
        with shielded():
            if self._listener is not None:
                await end_task(self._listener)
                self._listener = None
            if self._subscriber is not None:
                await close_quietly(self._subscriber.aclose)
                self._subscriber = None
            if self._publisher is not None:
                await close_quietly(self._publisher.aclose)
                self._publisher = None

    def _heard(self, message: str | None) -> None:
        self._tried.set()
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
        self._tried.set()
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
