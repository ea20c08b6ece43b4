"""Where a check is tried: the API, or a sandbox in its place. What it spends is bounded over all checks."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from bfl_async import AsyncBFL, Budget, Fixed, Limits, Timeouts, __version__
from bfl_async._config import resolve_base_url, resolve_key
from bfl_async.integrations.aiohttp import webhook_app
from bfl_async.sandbox import Sandbox
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.webhooks import WebhookReceiver
from tests.live.checks import BUDGET_USD, Check, Facts
from tests.live.exchanges import Exchange, Recorder
from tests.web import free_socket, serving_aiohttp, url_of

POLL_S = 0.05


@dataclass
class Site:
    """A server, and what may still be spent there.

    Attributes:
        public_url: Where it can deliver to; None: to a port of this machine, as a sandbox can.
        public_port: The port of this machine that the public URL leads to.
    """

    base_url: str
    key: str
    public_url: str | None = None
    public_port: int = 0
    poll_s: float = POLL_S
    left_usd: float = BUDGET_USD

    async def run(self, check: Check) -> tuple[Facts, list[Exchange]]:
        """Try one thing with a client of its own."""
        inner = HTTPTransport(
            key=self.key,
            base_url=self.base_url,
            timeouts=Timeouts(),
            connections=4 * check.slots,
            agent=user_agent(__version__),
        )
        await inner.open()
        recorder = Recorder(inner)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(inner.aclose)
            receiver = await stack.enter_async_context(self._listening()) if check.webhook else None
            bfl = await stack.enter_async_context(
                AsyncBFL(
                    base_url=self.base_url,
                    transport=recorder,
                    limits=Limits(account=check.slots),
                    polling=Fixed(self.poll_s),
                    budget=Budget(usd=self.left_usd, on_unknown="refuse"),
                    webhook=receiver,
                )
            )
            facts = dict(await check.work(bfl, check.requests))
            if receiver is not None:
                told = receiver.statistics()
                facts |= {"deliveries": told.delivered, "refused deliveries": told.rejected}
            left_usd = bfl.statistics().budget_left_usd
            assert left_usd is not None
            self.left_usd = left_usd
        return facts, recorder.exchanges

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[WebhookReceiver]:
        if self.public_url is None:
            bound = free_socket()
            url = url_of(bound)
        else:
            bound = socket.create_server(("", self.public_port))
            url = self.public_url
        receiver = WebhookReceiver(f"{url.rstrip('/')}/bfl", secrets.token_urlsafe(24))
        app = web.Application()
        app.add_subapp("/bfl", webhook_app(receiver))
        async with serving_aiohttp(app, bound):
            yield receiver


@asynccontextmanager
async def a_sandbox() -> AsyncIterator[Site]:
    """A sandbox of its own, in the place of the API."""
    async with Sandbox(service_s=0.2) as sandbox:
        yield Site(sandbox.url, sandbox.key)


def the_api() -> Site:
    """The API, or what else BFL_BASE_URL names."""
    return Site(
        resolve_base_url(None, allow_http=False),
        resolve_key(None),
        public_url=os.environ.get("BFL_PUBLIC_URL"),
        public_port=int(os.environ.get("BFL_PUBLIC_PORT", "8080")),
        poll_s=0.5,
    )
