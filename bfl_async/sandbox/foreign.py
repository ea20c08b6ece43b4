"""Another host: where answers may point, and where the API key must never come."""

import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from bfl_async.sandbox.answers import json_response

_REQUESTS = 10_000  # kept, the newest


@dataclass(frozen=True, slots=True)
class ForeignRequest:
    """One request that came to the foreign host. Header names are in lower case."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str]


class ForeignHost:
    """A second listener that serves the sandbox's images to whoever asks, and knows nothing else.

    Args:
        blob: Returns a file of a task by the task's id and the file's name, None where there is none.
        host: The address to listen on.
        tls: What it serves https with; None: it serves http.
    """

    def __init__(
        self,
        blob: Callable[[str, str], Awaitable[web.Response | None]],
        host: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._blob = blob
        self._host = host
        self._tls = tls
        self._requests: deque[ForeignRequest] = deque(maxlen=_REQUESTS)
        self._runner: web.AppRunner | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Its base URL, without a slash at its end."""
        if self._url is None:
            raise RuntimeError("the foreign host has no URL before the sandbox is started")
        return self._url

    @property
    def requests(self) -> list[ForeignRequest]:
        """What it was asked, oldest first: the newest 10,000."""
        return list(self._requests)

    async def start(self) -> None:
        """Listen on a free port.

        Raises:
            OSError: There is none on this address.
        Cancellation: Call `aclose` then.
        """
        app = web.Application()
        app.router.add_get("/results/{id}/{file}", self._answer_image)
        app.router.add_route("*", "/{path:.*}", self._answer_unknown)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0, backlog=4096, ssl_context=self._tls).start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        scheme = "http" if self._tls is None else "https"
        self._url = f"{scheme}://{host}:{self._runner.addresses[0][1]}"

    async def aclose(self) -> None:
        """Stop listening. Idempotent.

        Cancellation: Connections may stay open; call it again.
        """
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _record(self, request: web.Request) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._requests.append(ForeignRequest(request.method, request.path_qs, headers))

    async def _answer_image(self, request: web.Request) -> web.Response:
        self._record(request)
        blob = await self._blob(request.match_info["id"], request.match_info["file"])
        return json_response(404, {"detail": "Not Found"}) if blob is None else blob

    async def _answer_unknown(self, request: web.Request) -> web.Response:
        self._record(request)
        return json_response(404, {"detail": "Not Found"})
