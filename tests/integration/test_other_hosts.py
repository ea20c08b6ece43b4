"""Hosts that speak the API's language behind paths and headers of their own, as `docs/howto/other-hosts.md` shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bfl_async import AsyncBFL, AuthenticationError, Fixed
from tests.fake import JPEG, status

TOKEN = "a-token-of-the-gateway"


class Gateway:
    """A host with BFL's bodies below a path, a bearer token, and a version in the query.

    Args:
        names_poll: Whether its receipts have a polling URL. Some have the id alone.
    """

    def __init__(self, *, names_poll: bool) -> None:
        self._names_poll = names_poll
        self.seen: list[tuple[str, str]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/flux/v1/{model}", self.submit)
        app.router.add_get("/flux/v1/get_result", self.poll)
        app.router.add_get("/image.jpeg", self.image)
        return app

    def _refused(self, request: web.Request) -> web.Response | None:
        self.seen.append((request.method, request.path_qs))
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return web.json_response({"error": "unauthorized"}, status=401)

    async def submit(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        poll = (
            {"polling_url": f"http://{request.host}/flux/v1/get_result?id=task-0"} if self._names_poll else {}
        )
        return web.json_response({"id": "task-0", **poll})

    async def poll(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        body = status("Ready")
        body["result"] = {"sample": f"http://{request.host}/image.jpeg"}
        return web.json_response(body)

    async def image(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path_qs))
        assert "Authorization" not in request.headers
        return web.Response(body=JPEG, content_type="image/jpeg")


@asynccontextmanager
async def connected(gateway: Gateway, token: str = TOKEN) -> AsyncIterator[AsyncBFL]:
    async with TestServer(gateway.app()) as server:
        base_url = str(server.make_url("/flux"))
        async with AsyncBFL(
            "not-used-there",
            base_url=base_url,
            default_headers={"Authorization": f"Bearer {token}"},
            query={"api-version": "preview"},
            polling=Fixed(0.01),
        ) as bfl:
            yield bfl


@pytest.mark.parametrize("names_poll", [True, False])
async def test_gateway_with_the_bodies_of_the_api_makes_images(names_poll: bool) -> None:
    """Submit, poll and download, with its token, its path and its parameters."""
    gateway = Gateway(names_poll=names_poll)
    async with connected(gateway) as bfl:
        result = await bfl.generate("flux-2-pro", prompt="a cat")
        assert await result.read() == JPEG
    poll = "/flux/v1/get_result?id=task-0" + ("" if names_poll else "&api-version=preview")
    assert gateway.seen == [
        ("POST", "/flux/v1/flux-2-pro?api-version=preview"),
        ("GET", poll),
        ("GET", "/image.jpeg"),
    ]


async def test_gateway_that_refuses_the_token_is_told_as_that() -> None:
    """Its body has another shape; the code says enough."""
    gateway = Gateway(names_poll=True)
    async with connected(gateway, "another-token-altogether") as bfl:
        with pytest.raises(AuthenticationError):
            await bfl.generate("flux-2-pro", prompt="a cat")
