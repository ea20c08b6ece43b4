"""For FastAPI and Starlette: one client a process, errors as HTTP answers, server-sent events, the webhook's route.

```python
app = FastAPI(lifespan=lifespan())
install_errors(app)

@app.post("/images")
async def create(bfl: Client, prompt: str) -> str:
    return (await bfl.generate("flux-pro-1.1", prompt=prompt)).url
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated

from fastapi import Depends
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bfl_async.client.client import AsyncBFL
from bfl_async.client.handle import TaskHandle
from bfl_async.errors import BFLError
from bfl_async.integrations.web import (
    DRAIN_S,
    MOST_HANDLES,
    SSE_HEADERS,
    Events,
    Handles,
    answer_of,
    take_delivery,
)
from bfl_async.webhooks import WebhookReceiver

__all__ = [
    "Client",
    "ClientHandles",
    "Handles",
    "get_client",
    "get_handles",
    "install_errors",
    "lifespan",
    "sse",
    "webhook_app",
]


def lifespan(
    make: Callable[[], AsyncBFL] = AsyncBFL, *, drain: float = DRAIN_S, handles: int = MOST_HANDLES
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that opens a client when the application starts, and drains and closes it at the end.

    Args:
        make: Makes the client.
        drain: Seconds that running requests get at the end.
        handles: At most so many handles are kept.
    """

    @asynccontextmanager
    async def context(app: Starlette) -> AsyncIterator[None]:
        client = make()
        await client.open()
        app.state.bfl_client, app.state.bfl_handles = client, Handles(handles)
        try:
            yield
        finally:
            await client.aclose(drain=drain)

    return context


def get_client(connection: HTTPConnection) -> AsyncBFL:
    """Return the application's client."""
    client: AsyncBFL = connection.app.state.bfl_client
    return client


def get_handles(connection: HTTPConnection) -> Handles:
    """Return the handles that the application's browsers may ask for."""
    handles: Handles = connection.app.state.bfl_handles
    return handles


Client = Annotated[AsyncBFL, Depends(get_client)]
"""A dependency: the application's client."""

ClientHandles = Annotated[Handles, Depends(get_handles)]
"""A dependency: the handles that the application's browsers may ask for."""


def install_errors(app: Starlette) -> None:
    """Answer with 402, 409, 422, 429, 502, 503 or 504 where an endpoint lets one of our errors out."""

    async def answer(request: Request, exc: Exception) -> Response:
        del request
        assert isinstance(exc, BFLError)
        answer = answer_of(exc)
        return JSONResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))

    app.add_exception_handler(BFLError, answer)


def sse(request: Request, handle: TaskHandle) -> Response:
    """Return a handle's changes as server-sent events, to the terminal one; resumes by `Last-Event-ID`.

    A browser that leaves ends this answer and nothing else.
    """
    events = Events(handle, request.headers.get("Last-Event-ID"))
    if events.is_over:
        return Response(status_code=204)
    return StreamingResponse(events, headers=SSE_HEADERS)


def webhook_app(receiver: WebhookReceiver) -> Starlette:
    """Return an application that takes the receiver's deliveries: `app.mount("/bfl", webhook_app(receiver))`."""

    async def deliver(request: Request) -> Response:
        nonce, headers = request.path_params["nonce"], request.headers
        status = await take_delivery(receiver, nonce, headers, request.stream(), ClientDisconnect)
        return Response(status_code=status)

    return Starlette(routes=[Route("/{nonce}", deliver, methods=["POST"])])
