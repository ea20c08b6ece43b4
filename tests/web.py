"""Web applications on real sockets of this machine, for the tests that need them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from bfl_async.integrations.aiohttp import webhook_app
from bfl_async.webhooks import Scheme, WebhookReceiver

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SECRET = "a secret of some length"


def free_socket() -> socket.socket:
    """A socket that is bound, so that its port is known before who listens on it."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def serving_aiohttp(app: web.Application, bound: socket.socket) -> AsyncIterator[str]:
    """Serve an aiohttp application; its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, bound, backlog=1024).start()
        yield url_of(bound)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_asgi(app: ASGIApp, bound: socket.socket) -> AsyncIterator[str]:
    """Serve an ASGI application with uvicorn, in this loop; its URL."""
    import uvicorn

    # h11 and no websockets: nothing that has to be installed besides.
    config = uvicorn.Config(
        app, log_level="error", lifespan="on", http="h11", ws="none", timeout_graceful_shutdown=1
    )
    up = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            up.set()

    server = Server(config)
    serving = asyncio.create_task(server._serve([bound]))  # without the signal handlers of `serve`
    try:
        async with asyncio.timeout(10):
            await up.wait()
        yield url_of(bound)
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def listening(*, poll_s: float = 30.0, scheme: Scheme | None = None) -> AsyncIterator[WebhookReceiver]:
    """A receiver whose route is served."""
    bound = free_socket()
    receiver = WebhookReceiver(f"{url_of(bound)}/bfl", SECRET, poll_s=poll_s, scheme=scheme)
    app = web.Application()
    app.add_subapp("/bfl", webhook_app(receiver))
    async with serving_aiohttp(app, bound):
        yield receiver
