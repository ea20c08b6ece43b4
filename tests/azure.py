"""A stand-in for Azure AI Foundry's FLUX endpoints: it answers a submit with the images themselves.

Source of its shape: public clients of that host, read in November 2026. It was never compared with the host.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from bfl_async import AsyncBFL, Limits
from tests.fake import JPEG

TOKEN = "a-token-of-the-resource"
PATH = "/providers/blackforestlabs"
EXTRA: dict[str, Any] = {"model": "FLUX.2-pro", "n": 1}


class Azure:
    """Serves `POST {PATH}/v1/{model}?api-version=preview`, with a bearer token, and no polls.

    Args:
        image: The bytes of each image.
        compresses: Whether answers are compressed.
        answer: What a body of the request is answered with; None: its images in base64.
    """

    def __init__(
        self,
        image: bytes = JPEG,
        answer: Callable[[dict[str, Any]], object] | None = None,
        *,
        compresses: bool = False,
    ) -> None:
        self._image = image
        self._compresses = compresses
        self._answer = answer
        self._gate = asyncio.Event()
        self._gate.set()
        self.posts: list[dict[str, Any]] = []
        self.downloads: list[dict[str, str]] = []
        self.others: list[str] = []
        self.at_work = 0
        self._changed = asyncio.Event()
        self.origin = ""

    def hold(self) -> None:
        """Answer nothing until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Answer everything."""
        self._gate.set()

    async def wait_at_work(self, count: int) -> None:
        """Wait until so many requests are waiting for their answers."""
        while self.at_work < count:
            self._changed.clear()
            await self._changed.wait()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"{PATH}/v1/{{model}}", self._submit)
        app.router.add_get("/images/{name}", self._download)
        app.router.add_route("*", "/{path:.*}", self._other)
        return app

    async def _other(self, request: web.Request) -> web.Response:
        self.others.append(f"{request.method} {request.path_qs}")
        return web.json_response({"error": {"code": "404"}}, status=404)

    async def _download(self, request: web.Request) -> web.Response:
        self.downloads.append(dict(request.headers))
        return web.Response(body=self._image, content_type="image/jpeg")

    async def _submit(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": "401"}}, status=401)
        if request.query.get("api-version") != "preview":
            return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)
        body = await request.json()
        if "Content-Length" not in request.headers or not {"model", "n"} <= body.keys():
            return web.json_response({"error": {"code": "BadRequest"}}, status=400)
        self.posts.append(body)
        self.at_work += 1
        self._changed.set()
        await self._gate.wait()
        self.at_work -= 1
        if self._answer is not None:
            return web.json_response(self._answer(body))
        text = base64.b64encode(self._image).decode()
        data = [{"b64_json": text, "revised_prompt": None, "url": None}] * body["n"]
        # As .NET writes it.
        raw = json.dumps({"created": 1_700_000_000, "data": data}).replace("+", r"\u002B")
        response = web.Response(text=raw, content_type="application/json")
        if self._compresses:
            response.enable_compression(web.ContentCoding.gzip)
        return response


@asynccontextmanager
async def connected(azure: Azure, *, slots: int = 12, **settings: Any) -> AsyncIterator[AsyncBFL]:
    """Open a client of the stand-in."""
    async with TestServer(azure.app()) as server:
        azure.origin = str(server.make_url("")).rstrip("/")
        async with AsyncBFL(
            "not-used-there",
            base_url=f"{azure.origin}{PATH}",
            query={"api-version": "preview"},
            default_headers={"Authorization": f"Bearer {TOKEN}"},
            limits=Limits(account=slots),
            **settings,
        ) as bfl:
            yield bfl
