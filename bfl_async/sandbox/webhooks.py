"""Deliveries: an ended task is told to the URL that its submit named, as the API does.

A delivery is a poll's answer, sent by POST. What proves it is told in two ways by the API's texts, so both can be
had. One that is not taken with a 2xx within 30 s is sent again after 1, 5 and 30 s, then dropped. Source: BFL
skills, webhook-integration, read 2026-09-25.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar
from yarl import URL

from bfl_async.sandbox.faults import Faults
from bfl_async.sandbox.rules import Json

WebhookScheme = Literal["secret", "signature", "both"]

_REPEATS_S = (0.0, 1.0, 5.0, 30.0)
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """What a submit said of its webhook."""

    url: str
    secret: str  # "" without one


def webhook_of(fields: Mapping[str, Json]) -> Webhook | None:
    """The webhook that a checked body names, if it names one."""
    url, secret = fields.get("webhook_url"), fields.get("webhook_secret")
    if not isinstance(url, str):
        return None
    return Webhook(url, secret if isinstance(secret, str) else "")


class Webhooks:
    """Sends the deliveries of one sandbox, and owns the coroutines that do.

    Attributes:
        taken: Deliveries that were answered with a 2xx.
        failed: Attempts that were not.
    """

    def __init__(self, faults: Faults, *, scheme: WebhookScheme) -> None:
        if scheme not in ("secret", "signature", "both"):
            raise ValueError(f"webhook_scheme is 'secret', 'signature' or 'both', not {scheme!r}")
        self._faults = faults
        self._scheme = scheme
        self._session: ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self.taken: int = 0
        self.failed: int = 0

    def send(
        self,
        webhook: Webhook,
        body_of: Callable[[], dict[str, Json]],
        *,
        delay_s: float,
        late_s: float,
        speed: float,
    ) -> None:
        """Tell of an ended task.

        Args:
            webhook: Where to. Whatever is not on this machine is left alone.
            body_of: Makes the body when it is sent, as a poll of that moment would be told.
            delay_s: Seconds before it is sent.
            late_s: What the dial for late ones adds.
            speed: Of the pauses between repeats.
        """
        if self._closed:
            return
        fault = self._faults.draw("webhook")
        if fault == "webhook-lost" or not _is_here(webhook.url):
            return
        if fault == "webhook-late":
            delay_s += late_s
        for _ in range(2 if fault == "webhook-doubled" else 1):
            work = self._deliver(webhook, body_of, delay_s, speed, forged_first=fault == "webhook-forged")
            task = asyncio.get_running_loop().create_task(work)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        """Send nothing more."""
        self._closed = True
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if self._session is not None:
            await self._session.close()

    async def _deliver(
        self,
        webhook: Webhook,
        body_of: Callable[[], dict[str, Json]],
        delay_s: float,
        speed: float,
        *,
        forged_first: bool,
    ) -> None:
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        body = body_of()
        if forged_first:
            lie: dict[str, Json] = {**body, "status": "Error", "result": None, "details": {"error": "forged"}}
            nothing: dict[str, str] = {}
            for headers in (nothing, self._proof(Webhook(webhook.url, "a guess"), _text(lie))):
                await self._post(webhook.url, _text(lie), headers)
            await self._post(webhook.url, _text(lie), {"X-BFL-Signature": "sha256=" + 64 * "0"})
        raw = _text(body)
        for pause_s in _REPEATS_S:
            await asyncio.sleep(pause_s / speed)
            if await self._post(webhook.url, raw, self._proof(webhook, raw)):
                self.taken += 1
                return
            self.failed += 1

    def _proof(self, webhook: Webhook, raw: bytes) -> dict[str, str]:
        if not webhook.secret:
            return {}
        headers = {}
        if self._scheme in ("secret", "both"):
            headers["X-Webhook-Secret"] = webhook.secret
        if self._scheme in ("signature", "both"):
            digest = hmac.new(
                webhook.secret.encode("utf-8", "surrogatepass"), raw, hashlib.sha256
            ).hexdigest()
            headers["X-BFL-Signature"] = f"sha256={digest}"
        return headers

    async def _post(self, url: str, raw: bytes, headers: Mapping[str, str]) -> bool:
        """Send it once; whether it was taken."""
        if self._session is None:
            self._session = ClientSession(
                timeout=ClientTimeout(total=_ANSWER_S), cookie_jar=DummyCookieJar(), trust_env=False
            )
        try:
            async with self._session.post(
                URL(url, encoded=True),
                data=raw,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
            ) as response:
                return 200 <= response.status < 300
        except (ClientError, OSError, ValueError):  # ValueError: a secret that no header can carry
            return False


def _text(body: dict[str, Json]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _is_here(url: str) -> bool:
    """Whether a URL can only lead to this machine: names are not looked up, so only localhost is believed."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
