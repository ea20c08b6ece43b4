"""`WebhookReceiver`: finds the request that a delivery belongs to.

The task's id is known only after the submit, and a delivery may overtake the submit's own answer. So each submit
names a URL of its own, `<url>/<nonce>`, and a secret of its own, the HMAC of the user's secret with that nonce.
Any process that has the user's secret can check any delivery, and nothing has to be stored for it.

A delivery that is not genuine changes nothing and is counted. A genuine one is handed over in one synchronous step.
Its proof belongs to one submit, so it counts for the task of that submit alone. A task that was attached has no proof
of its own: a delivery that names it is only a reason to poll it at once. What nobody here waits for goes to the relay,
if there is one. Whatever becomes of deliveries, the client also polls slowly, and where several in a row do not come,
it polls as without a webhook until one comes again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self, cast
from urllib.parse import urlsplit

from bfl_async._config import is_loopback
from bfl_async.errors import ConfigError, ReplayError, SignatureError, TransportError, WebhookError
from bfl_async.protocols.webhook import Expectation, Relay
from bfl_async.runtime.cancellation import foreign_cancellation_as
from bfl_async.runtime.secrets import Secret, conceal
from bfl_async.runtime.text import printable
from bfl_async.status import TaskStatus
from bfl_async.types.replies import Delivery
from bfl_async.webhooks.verify import Scheme, verify

_log = logging.getLogger("bfl_async")

_NONCE_BYTES = 16
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LEAST_SECRET_CHARS = 16
# Was the default of the page on webhooks. Whoever has read the page could sign deliveries with it.
_PRINTED_SECRETS = frozenset({"at least 16 characters"})
_URL_MAX_CHARS = 2_083 - 65  # the API's bound, less a nonce
# Ended tasks that are remembered, to recognise a delivery that comes again.
_SEEN = 10_000
_MISSED_IN_A_ROW = 3
_PUBLISH_S = (
    10.0  # the API waits 30 s for an answer. Source: BFL skills, webhook-integration, read 2026-09-25
)


@dataclass(frozen=True, slots=True)
class WebhookStatistics:
    """Counts of a receiver since its start.

    `delivered` were handed to a request, `unmatched` were genuine and nobody here waited for them, `duplicates`
    had come before or came after a poll had seen the end, `rejected` were not genuine or could not be read. `missed`
    tasks were seen to end by a poll before their delivery came.
    """

    delivered: int
    unmatched: int
    duplicates: int
    rejected: int
    missed: int


class WebhookReceiver:
    """Takes deliveries for the clients that it is given to: `AsyncBFL(webhook=receiver)`.

    Put its route into your web application: `bfl_async.integrations.aiohttp.webhook_app(receiver)` or
    `bfl_async.integrations.fastapi.webhook_app(receiver)`, mounted where `url` leads to. Behind another
    framework call `receive`.

    Args:
        url: What the API is told, https (http on this machine), without a query. A part of the path is added.
        secret: At least 16 characters, the same in all processes; the API is never told it, only what is
            derived from it.
        scheme: The one proof that is accepted, "secret" or "signature"; None: either, as BFL's texts differ.
        poll_s: Seconds between the polls of a task whose delivery is expected.
        relay: Hands deliveries on to the process that waits for them; None: there is one process.
    Raises:
        ConfigError: A value is wrong.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        scheme: Scheme | None = None,
        poll_s: float = 30.0,
        relay: Relay | None = None,
    ) -> None:
        # An error passes through this frame, and tracebacks may show local variables.
        secret = cast("str", conceal(secret))
        self._url = _checked_url(url)
        if not isinstance(secret, str) or len(secret.strip()) < _LEAST_SECRET_CHARS:
            raise ConfigError(f"the webhook's secret needs at least {_LEAST_SECRET_CHARS} characters")
        if " ".join(secret.split()).lower() in _PRINTED_SECRETS:
            raise ConfigError(
                "the webhook's secret is the example of the documentation: choose one of your own"
            )
        if scheme not in (None, "secret", "signature"):
            raise ConfigError(f"scheme must be 'secret', 'signature' or None, not {scheme!r}")
        if isinstance(poll_s, bool) or not isinstance(poll_s, int | float) or not 0 < poll_s < math.inf:
            raise ConfigError(f"poll_s must be a positive number of seconds, not {poll_s!r}")
        self._key = secret.encode("utf-8", "surrogatepass")
        self._scheme: Scheme | None = scheme
        self._poll_s = float(poll_s)
        self._relay = relay
        # Whether the relay is subscribed. None after an opening or a closing that failed or was cancelled: the relay
        # may be in any state between. Written by open() and aclose() alone, one call at a time.
        self._relay_is_open: bool | None = False
        self._relay_lock = asyncio.Lock()
        # Written by the expectations; read by _hand_over:
        self._by_nonce: dict[str, _Expected] = {}
        # Attached tasks alone.
        self._by_task: dict[str, _Expected] = {}
        # Nonce and task id of each end that was delivered, or that a poll saw first. Oldest first.
        self._seen: OrderedDict[tuple[str | None, str], None] = OrderedDict()
        self._missed_in_a_row = 0
        self._warned = False
        self._delivered = self._unmatched = self._duplicates = self._rejected = self._missed = 0

    # --- what the client asks -----------------------------------------------------------------------------

    @property
    def poll_s(self) -> float:
        """Seconds between the polls of a task whose delivery is expected."""
        return self._poll_s

    @property
    def comes_through(self) -> bool:
        """False while deliveries stay out, several in a row: tasks are then polled as without a webhook."""
        return self._missed_in_a_row < _MISSED_IN_A_ROW

    def expect(
        self, on_delivery: Callable[[Delivery], None], *, attached_id: str | None = None
    ) -> Expectation:
        """Expect the deliveries of one request; see `bfl_async.protocols.webhook.Webhook`."""
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        expected = _Expected(self, nonce, f"{self._url}/{nonce}", self._secret_of(nonce), on_delivery)
        if attached_id is None:
            self._by_nonce[nonce] = expected
        else:
            expected.name(attached_id)
            self._by_task[attached_id] = expected
        return expected

    async def open(self) -> None:
        """Subscribe to the relay, if there is one. Idempotent; each client that has this receiver calls it.

        Several coroutines may call it, and `aclose`, at the same time: the calls take effect one after the other.

        Raises:
            Exception: What the relay's `open` raises, or `TransportError`. The next call tries again.
        Cancellation: May leave the receiver without its subscription; call it again.
        """
        if self._relay is None:
            return
        async with self._relay_lock:
            if self._relay_is_open:
                return
            if self._relay_is_open is None:
                await self._relay.aclose()
            self._relay_is_open = None
            with foreign_cancellation_as(_relay_failed):
                await self._relay.open(self._relayed)
            self._relay_is_open = True

    async def aclose(self) -> None:
        """End the subscription, whoever opened it. Idempotent; without a relay there is nothing to close.

        Cancellation: The relay may stay open; call it again.
        """
        if self._relay is None:
            return
        async with self._relay_lock:
            if self._relay_is_open is not False:
                self._relay_is_open = None
                await self._relay.aclose()
                self._relay_is_open = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- what comes in ------------------------------------------------------------------------------------

    async def receive(self, nonce: str, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Take one delivery: check it, and hand it to who waits for it.

        Without a relay nothing is waited for. A request that it ends has ended when this returns.

        Args:
            nonce: What the URL's path has after the receiver's own.
            headers: In any case of letters.
            body: As it came, byte for byte; at most 1 MB is read.
        Raises:
            SignatureError: It is not genuine: answer 401.
            ReplayError: It came before, or no request waits for it and it is too old: answer 2xx, so that it is
                not sent again.
            WebhookError: It cannot be read, or names another task than its URL: answer 400.
            Exception: The relay failed, by its own error: answer 5xx, so that it is sent again.
        Cancellation: What was not handed on to the relay is lost here; the poll finds it.
        """
        try:
            if not _NONCE.fullmatch(nonce):
                raise SignatureError("the delivery came to a URL that no submit named")
            expected = self._by_nonce.get(nonce)
            # A request that is waited for is younger than any of its deliveries could be stale, here or in the process
            # that the relay reaches. Comparing the server's time with this machine's clock would only lose the delivery
            # where that clock is wrong.
            is_awaited = expected is not None or self._relay is not None
            now = None if is_awaited else time.time()
            delivery = verify(body, headers, self._secret_of(nonce), now=now, scheme=self._scheme)
            if expected is not None and not expected.may_be_of(delivery):
                raise WebhookError("the delivery names another task than its URL", task_id=delivery.task_id)
        except WebhookError:
            self._rejected += 1
            raise
        self._missed_in_a_row = 0
        delivery = delivery.came_to(nonce)
        if (nonce, delivery.task_id) in self._seen:
            self._duplicates += 1
            raise ReplayError(
                "the delivery was received before, or a poll was faster", task_id=delivery.task_id
            )
        if not self._hand_over(delivery):
            await self._pass_on(delivery)
        return delivery

    def statistics(self) -> WebhookStatistics:
        """Return the counts as they stand now."""
        return WebhookStatistics(
            self._delivered, self._unmatched, self._duplicates, self._rejected, self._missed
        )

    def _relayed(self, delivery: Delivery) -> None:
        self._missed_in_a_row = 0
        if (delivery.nonce, delivery.task_id) not in self._seen:
            self._hand_over(delivery)

    def _hand_over(self, delivery: Delivery) -> bool:
        """Give a genuine delivery to the request that waits for it; False if none does.

        The proof is that of the nonce. What it says of a task that another submit made proves nothing.
        """
        expected = self._by_nonce.get(delivery.nonce or "")
        if expected is None:
            expected = self._by_task.get(delivery.task_id)
        elif not expected.may_be_of(delivery):
            self._rejected += 1
            return False
        if expected is None:
            return False
        self._delivered += 1
        self._note_seen(delivery)
        expected.on_delivery(delivery)
        return True

    async def _pass_on(self, delivery: Delivery) -> None:
        if self._relay is not None:
            with foreign_cancellation_as(_relay_failed):
                async with asyncio.timeout(_PUBLISH_S):
                    await self._relay.publish(delivery)
        else:
            _log.info(
                "a delivery names task %s, which no request of this process waits for: it can be attached",
                printable(delivery.task_id),
                extra={
                    "bfl_task_id": printable(delivery.task_id),
                    "bfl_status": printable(str(delivery.status)),
                },
            )
        self._unmatched += 1
        self._note_seen(delivery)

    def _note_seen(self, delivery: Delivery) -> None:
        """Remember a task that has ended; one that goes on is delivered again."""
        status = delivery.status
        if not isinstance(status, TaskStatus) or not (
            status is TaskStatus.READY or status.is_moderation or status.is_failure
        ):
            return
        self._remember(delivery.nonce, delivery.task_id)

    def _remember(self, nonce: str | None, task_id: str) -> None:
        self._seen[nonce, task_id] = None
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)

    def _secret_of(self, nonce: str) -> Secret:
        return Secret(hmac.new(self._key, b"bfl-async webhook " + nonce.encode(), hashlib.sha256).hexdigest())

    # --- called by expectations ---------------------------------------------------------------------------

    def _end(self, expected: _Expected, *, missed: bool) -> None:
        self._by_nonce.pop(expected.nonce, None)
        if expected.task_id is not None and self._by_task.get(expected.task_id) is expected:
            del self._by_task[expected.task_id]
        if missed:
            if expected.task_id is not None:
                self._remember(expected.nonce, expected.task_id)
            self._missed += 1
            self._missed_in_a_row += 1
            if self._missed_in_a_row == _MISSED_IN_A_ROW and not self._warned:
                self._warned = True
                _log.warning(
                    "%d tasks in a row ended without their webhook delivery: is the URL reachable? "
                    "They are polled until one comes",
                    _MISSED_IN_A_ROW,
                    extra={"bfl_missed": _MISSED_IN_A_ROW},
                )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a receiver cannot be pickled or copied: it holds a secret; make one in each process")

    def __repr__(self) -> str:
        if not hasattr(self, "_delivered"):
            # Its constructor failed.
            return "<WebhookReceiver>"
        expected = len(self._by_nonce) + len(self._by_task)
        return f"<WebhookReceiver {self._url} expected={expected} delivered={self._delivered}>"


class _Expected:
    """One request's place with a receiver; see `bfl_async.protocols.webhook.Expectation`."""

    __slots__ = ("_receiver", "nonce", "on_delivery", "secret", "task_id", "url")

    def __init__(
        self,
        receiver: WebhookReceiver,
        nonce: str,
        url: str,
        secret: str,
        on_delivery: Callable[[Delivery], None],
    ) -> None:
        self._receiver = receiver
        self.nonce = nonce
        self.url = url
        self.secret = secret
        self.on_delivery = on_delivery
        self.task_id: str | None = None

    def name(self, task_id: str) -> None:
        self.task_id = task_id

    def may_be_of(self, delivery: Delivery) -> bool:
        """Return whether a delivery that came to this URL can be this request's; its task may not be known yet."""
        return self.task_id is None or self.task_id == delivery.task_id

    def end(self, *, missed: bool) -> None:
        self._receiver._end(self, missed=missed)


def _relay_failed() -> TransportError:
    return TransportError("the webhook's relay failed: something that it waited for was cancelled")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError) as exc:
        raise ConfigError("the webhook's url is not a URL") from exc
    plain = isinstance(url, str) and url.isascii() and url.isprintable() and " " not in url
    if not plain or not host or len(url) > _URL_MAX_CHARS or parts.username is not None:
        raise ConfigError("the webhook's url is not a URL that the API can call")
    if parts.query or parts.fragment:
        raise ConfigError("the webhook's url must have no query: a part of the path is added to it")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError("the webhook's url must be https (http on this machine alone)")
    return url.rstrip("/")
