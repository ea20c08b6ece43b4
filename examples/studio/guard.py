"""What keeps other web sites out of an application that runs on the user's own machine, and scripts out of its page."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
_BODY_MAX_BYTES = 64_000
_WITH_A_BODY = ("POST", "PUT", "PATCH")

# `blob:` is for previews of files that were dropped on the page: they are not sent before they are shown.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guarded:
    """An ASGI layer: every answer forbids what the page does not need, and no other site may request anything.

    A browser lets any site send requests here. `Host` is compared with the names that lead here: a site can give a
    name of its own this address, and would then be of the same origin. `Origin` keeps the scripts of other sites out,
    and the demand for JSON their forms, which cannot send it.

    Args:
        hosts: The names, without a port.
        open_path: Beneath it come deliveries, which prove where they come from, and no browsers.
        body_bytes: The largest body of each path that has a bound of its own.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], open_path: str, body_bytes: Mapping[str, int]
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._open_path = open_path
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["path"].startswith(self._open_path):
            await self._app(scope, receive, guarded)
            return
        most = self._body_bytes.get(scope["path"], _BODY_MAX_BYTES)
        body = _Body(receive, most)
        refusal = self._refusal(scope, most)
        if refusal is None:
            try:
                await self._app(scope, body.receive, guarded)
            except _TooLargeError:
                refusal = Response("the request is too large", 413)
        if refusal is not None:
            await refusal(scope, receive, guarded)

    def _refusal(self, scope: Scope, most: int) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if re.sub(r":[0-9]*$", "", host).lower() not in self._hosts:
            return Response("this server has another name", 421)
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return Response("another site may not draw here", 403)
        kind = headers.get("content-type", "").partition(";")[0]
        if scope["method"] in _WITH_A_BODY and kind != "application/json":
            return Response("use Content-Type: application/json", 415)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return Response("the request is too large", 413)
        return None


class _TooLargeError(Exception):
    """The body of a request is longer than any that the page sends."""


class _Body:
    """Receives a body up to its bound."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            raise _TooLargeError
        return message
