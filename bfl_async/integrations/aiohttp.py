"""For aiohttp.web: one client a process, errors as HTTP answers, server-sent events, and the webhook's route.

```python
app = web.Application(middlewares=[errors])
app.cleanup_ctx.append(client_context())
app.router.add_post("/images", create)  # request.app[CLIENT].generate(...)
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

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

__all__ = ["CLIENT", "HANDLES", "Handles", "client_context", "errors", "sse", "webhook_app"]

CLIENT = web.AppKey("bfl_client", AsyncBFL)
"""The application's client."""

HANDLES = web.AppKey("bfl_handles", Handles)
"""The handles that its browsers may ask for."""


def client_context(
    make: Callable[[], AsyncBFL] = AsyncBFL, *, drain: float = DRAIN_S, handles: int = MOST_HANDLES
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a `cleanup_ctx` that opens a client when the application starts, and drains and closes it.

    Args:
        make: Makes the client.
        drain: Seconds that running requests get at the end.
        handles: At most so many handles are kept.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        client = make()
        await client.open()
        app[CLIENT], app[HANDLES] = client, Handles(handles)
        try:
            yield
        finally:
            await client.aclose(drain=drain)

    return context


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with 402, 409, 422, 429, 502, 503 or 504 where a handler lets one of our errors out.

    Raises:
        Exception: What else the handler raises.
    Cancellation: The handler's.
    """
    try:
        return await handler(request)
    except BFLError as exc:
        answer = answer_of(exc)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)


async def sse(request: web.Request, handle: TaskHandle) -> web.StreamResponse:
    """Send a handle's changes as server-sent events, to the terminal one; resumes by `Last-Event-ID`.

    A browser that leaves ends this answer and nothing else.

    Raises:
        RuntimeError: The answer had begun already.
    Cancellation: Ends this answer and nothing else.
    """
    events = Events(handle, request.headers.get("Last-Event-ID"))
    if events.is_over:
        return web.Response(status=204)
    response = web.StreamResponse(headers=SSE_HEADERS)
    await response.prepare(request)
    try:
        async for event in events:
            await response.write(event)
    except ConnectionResetError:  # the browser left
        pass
    return response


def webhook_app(receiver: WebhookReceiver) -> web.Application:
    """Return an application that takes the receiver's deliveries: `app.add_subapp("/bfl", webhook_app(receiver))`."""

    async def deliver(request: web.Request) -> web.Response:
        nonce, headers = request.match_info["nonce"], request.headers
        broken = (ConnectionResetError, web.RequestPayloadError)
        status = await take_delivery(receiver, nonce, headers, request.content.iter_any(), broken)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/{nonce}", deliver)
    return app
