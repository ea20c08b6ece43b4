"""Where a check is tried: the API, or a sandbox in its place. What it spends is bounded over all checks."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from bfl_async import AsyncBFL, BFLError, Budget, Fixed, Limits, Timeouts, __version__
from bfl_async._config import resolve_base_url, resolve_key
from bfl_async.integrations.aiohttp import webhook_app
from bfl_async.sandbox import Sandbox
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.types import Delivery, Reply
from bfl_async.webhooks import WebhookReceiver
from tests.live.checks import BUDGET_USD
from tests.live.exchanges import Exchange, Recorder
from tests.live.visit import (
    MALFORMED_KEY,
    UNKNOWN_CREDITS,
    Check,
    Delivered,
    Facts,
    Visit,
    object_of,
    unknown_key,
)
from tests.web import free_socket, serving_aiohttp, url_of

POLL_S = 0.05
LAG_S = 5.0


@dataclass
class Site:
    """A server, and what may still be spent there.

    Attributes:
        public_url: Where it can deliver to; None: to a port of this machine, as a sandbox can.
        public_port: The port of this machine that the public URL leads to.
        lag_s: Seconds after which a balance counts as final.
    """

    base_url: str
    key: str = field(repr=False)
    public_url: str | None = None
    public_port: int = 0
    poll_s: float = POLL_S
    lag_s: float = 0.0
    left_usd: float = BUDGET_USD

    async def run(self, check: Check) -> tuple[Facts, list[Exchange]]:
        """Try one thing with a client of its own. An error of this release is one of the facts."""
        exchanges: list[Exchange] = []
        async with AsyncExitStack() as stack:
            recorders = {
                name: await self._recorder(stack, key, name, exchanges, check.slots)
                for name, key in (
                    ("right", self.key),
                    ("unknown", unknown_key(self.key)),
                    ("malformed", MALFORMED_KEY),
                )
            }
            deliveries: list[Delivered] = []
            receiver = await stack.enter_async_context(self._listening(deliveries)) if check.webhook else None
            bfl = await stack.enter_async_context(
                AsyncBFL(
                    base_url=self.base_url,
                    transport=recorders["right"],
                    limits=Limits(account=check.slots),
                    polling=Fixed(self.poll_s),
                    budget=Budget(usd=self.left_usd, unknown_credits=UNKNOWN_CREDITS),
                    webhook=receiver,
                )
            )
            visit = _visit(bfl, recorders, deliveries, self)
            try:
                facts = dict(await check.work(visit, check.requests))
            except (BFLError, TimeoutError) as exc:
                facts = {"it ended with": f"{type(exc).__name__}: {exc}"}
            if receiver is not None:
                counts = receiver.statistics()
                facts |= {"deliveries": counts.delivered, "refused deliveries": counts.rejected}
            left_usd = bfl.statistics().budget_left_usd
            assert left_usd is not None
            self.left_usd = left_usd
        return facts, exchanges

    async def _recorder(
        self, stack: AsyncExitStack, key: str, name: str, exchanges: list[Exchange], slots: int
    ) -> Recorder:
        inner = HTTPTransport(
            key=key,
            base_url=self.base_url,
            timeouts=Timeouts(),
            connections=4 * slots,
            agent=user_agent(__version__),
        )
        await inner.open()
        stack.push_async_callback(inner.aclose)
        return Recorder(inner, exchanges, named="" if name == "right" else f", with a key that is {name}")

    @asynccontextmanager
    async def _listening(self, deliveries: list[Delivered]) -> AsyncIterator[WebhookReceiver]:
        if self.public_url is None:
            bound = free_socket()
            url = url_of(bound)
        else:
            bound = socket.create_server(("", self.public_port))
            url = self.public_url
        receiver = _Noting(f"{url.rstrip('/')}/bfl", secrets.token_urlsafe(24))
        receiver.deliveries = deliveries
        app = web.Application()
        app.add_subapp("/bfl", webhook_app(receiver))
        async with serving_aiohttp(app, bound):
            yield receiver


class _Noting(WebhookReceiver):
    """A receiver that notes what comes, before it is checked."""

    deliveries: list[Delivered]

    async def receive(self, nonce: str, headers: Mapping[str, str], body: bytes) -> Delivery:
        """See `WebhookReceiver.receive`."""
        self.deliveries.append(Delivered(dict(headers), body))
        return await super().receive(nonce, headers, body)


def _visit(
    bfl: AsyncBFL, recorders: Mapping[str, Recorder], deliveries: list[Delivered], site: Site
) -> Visit:
    async def ask(url: str, key: str, body: Mapping[str, object] | None) -> Reply:
        recorder = recorders[key]
        if body is None:
            return await recorder.poll(url)
        reply = await recorder.submit(url, json.dumps(body).encode())
        # No body that is sent here makes a task. Should one do so after all, it counts.
        if reply.status_code < 300 and "id" in object_of(reply):
            site.left_usd -= UNKNOWN_CREDITS / 100
        return reply

    async def error_with(key: str) -> tuple[str, bool]:
        async with AsyncBFL(base_url=site.base_url, transport=recorders[key].inner) as client:
            try:
                await client.credits()
            except BFLError as exc:
                return type(exc).__name__, exc.request_id is not None
        return "nothing", False

    return Visit(bfl, recorders["right"], ask, error_with, deliveries, site.lag_s)


@asynccontextmanager
async def a_sandbox(service_s: float = 0.2, **settings: object) -> AsyncIterator[Site]:
    """A sandbox of its own, in the place of the API. Its key has the form of BFL's."""
    key = f"bfl_{secrets.token_hex(16)}"
    async with Sandbox(key=key, service_s=service_s, **settings) as sandbox:  # type: ignore[arg-type]  # its settings, by name
        yield Site(sandbox.url, sandbox.key)


def the_api() -> Site:
    """The API, or what else BFL_BASE_URL names."""
    return Site(
        resolve_base_url(None, allow_http=False),
        resolve_key(None),
        public_url=os.environ.get("BFL_PUBLIC_URL"),
        public_port=int(os.environ.get("BFL_PUBLIC_PORT", "8080")),
        poll_s=0.5,
        lag_s=LAG_S,
    )
