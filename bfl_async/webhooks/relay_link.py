"""A relay's connections to Redis while it is open: one publishes, one listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

# First: it says which extra is missing.
from bfl_async.runtime.redis import close_quietly, connect, listen  # isort: skip
from redis.exceptions import RedisError

from bfl_async.errors import TransportError
from bfl_async.runtime.cancellation import is_cancelled, shielded
from bfl_async.runtime.secrets import Secret
from bfl_async.runtime.tasks import end_task, new_task

_log = logging.getLogger("bfl_async")

_SUBSCRIBE_S = 2.0
_LISTEN_AGAIN_S = 1.0
_REPLY_S = 5.0


class RelayLink:
    """Publishes to one channel, and hears it.

    Args:
        host: The URL's host, for messages.
        heard: Is called with each message, and with None whenever the channel is subscribed.
        cut: Is called whenever the channel cannot be heard.
    Raises:
        ConfigError: The URL cannot be read.
    """

    def __init__(
        self,
        url: Secret,
        host: str,
        channel: str,
        *,
        heard: Callable[[str | None], None],
        cut: Callable[[], None],
    ) -> None:
        self._host = host
        self._channel = channel
        self._on_message = heard
        self._on_cut = cut
        self._publisher = connect(url, reply_s=_REPLY_S)
        self._subscriber = connect(url, reply_s=None)
        # Set once the first attempt to subscribe has succeeded or failed.
        self._has_tried = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen; return once the channel is subscribed, or that failed, or takes too long."""
        self._listener = new_task(self._listen())
        try:
            async with asyncio.timeout(_SUBSCRIBE_S):
                await self._has_tried.wait()
        except TimeoutError:
            self._cut()

    async def _listen(self) -> None:
        """Hear the channel until cancelled, whatever else ends the listening."""
        while not is_cancelled():
            try:
                await listen(self._subscriber, self._channel, heard=self._heard, cut=self._cut)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
            except Exception:
                _log.exception("the relay's listener failed by a bug", extra={"bfl_channel": self._channel})
            self._cut()
            await asyncio.sleep(_LISTEN_AGAIN_S)

    def _heard(self, message: str | None) -> None:
        self._has_tried.set()
        self._on_message(message)

    def _cut(self) -> None:
        self._has_tried.set()
        self._on_cut()

    async def publish(self, message: str, *, task_id: str) -> None:
        """Send a message about a task to all who listen.

        Raises:
            TransportError: Redis cannot be reached.
        """
        try:
            await self._publisher.publish(self._channel, message)
        except (RedisError, OSError, TimeoutError) as exc:
            raise TransportError(
                f"the delivery could not be passed on: Redis on {self._host} is away ({type(exc).__name__})",
                task_id=task_id,
            ) from exc

    async def aclose(self) -> None:
        """End the subscription and the connections.

        Cancellation: A connection may stay open; call it again.
        """
        with shielded():
            if self._listener is not None:
                await end_task(self._listener)
                self._listener = None
            await close_quietly(self._subscriber.aclose)
            await close_quietly(self._publisher.aclose)
