"""Studios on real sockets of this machine, each with a sandbox that draws for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from bfl_async import AsyncBFL, Limits
from bfl_async.sandbox import Sandbox
from bfl_async.webhooks import WebhookReceiver
from tests.web import SECRET, free_socket, serving_asgi, url_of

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass
class Place:
    """A studio that is served, and the sandbox that draws for it."""

    url: str
    sandbox: Sandbox
    app: FastAPI

    @property
    def client(self) -> AsyncBFL:
        client: AsyncBFL = self.app.state.bfl_client
        return client


Serve = Callable[[Sandbox], Awaitable[Place]]


@asynccontextmanager
async def serving_studios(folder: Path) -> AsyncIterator[Serve]:
    """Yield what serves a studio that draws with a sandbox and gets its deliveries; at the end all of them stop."""
    from examples.studio.app import create_app

    async with AsyncExitStack() as stack:

        async def serve_one(sandbox: Sandbox) -> Place:
            await stack.enter_async_context(sandbox)
            bound = free_socket()
            receiver = WebhookReceiver(f"{url_of(bound)}/bfl", SECRET)
            limits = Limits(account=sandbox.limit, queue=500)
            app = create_app(
                lambda: AsyncBFL(sandbox.key, base_url=sandbox.url, limits=limits, webhook=receiver),
                folder,
                receiver=receiver,
                finish_s=0.5,
            )
            url = await stack.enter_async_context(serving_asgi(app, bound))
            return Place(url, sandbox, app)

        yield serve_one


def a_session() -> ClientSession:
    return ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60))


async def draw(
    session: ClientSession, place: Place, prompt: str, model: str = "flux-2-klein-4b", **more: object
) -> str:
    """Send a wish; return the id of its picture."""
    wish = {"model": model, "prompt": prompt, **more}
    async with session.post(f"{place.url}/pictures", json=wish) as reply:
        assert reply.status == 202, await reply.text()
        return str((await reply.json())["id"])
