"""The studio's server: one client for all browsers, and one stream a page for all that goes on.

A page opens a single stream: browsers allow six connections to a host, and a user has several tabs and
dozens of pictures. Every change of a picture has a number; a page that comes back says the last one that it has
seen, and is sent the present state of whatever changed since. Images are fetched here: the API's URLs
end after ten minutes, and browsers may not read them.

Whoever reaches the studio sees all pictures and spends the account's credits: it knows no users. What keeps the sites
that its user visits out stands in `Guarded`. An application with users of its own needs authentication as well, and
shows each of them their own pictures alone.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bfl_async import AsyncBFL, BFLError, TaskHandle, TaskModeratedError
from bfl_async.integrations.fastapi import (
    Client,
    ClientHandles,
    Handles,
    install_errors,
    lifespan,
    sse,
    webhook_app,
)
from bfl_async.types import State
from bfl_async.webhooks import WebhookReceiver

MODELS = ("flux-pro-1.1", "flux-dev", "flux-2-pro", "flux-2-klein-4b")
MOST_PICTURES = 300  # shown; the files of older ones stay in the folder
_STATIC = Path(__file__).parent / "static"
_QUEUE_LOOK_S = 1.0
_BATCH_S = 0.1  # between two bursts of changes to a page
_KEEP_ALIVE_S = 15.0
_BODY_MAX_BYTES = 64_000
HOSTS = ("127.0.0.1", "localhost", "[::1]")
# What is shown in a page. Anything else that a server may have sent is only downloaded.
_SHOWN_AS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log = logging.getLogger("studio")


class Wish(BaseModel):
    """What a page asks for."""

    model: str
    prompt: Annotated[str, Field(min_length=1, max_length=4_000)]


@dataclass(eq=False)
class Picture:
    """One wish, and what became of it."""

    id: str
    model: str
    prompt: str
    handle: TaskHandle
    number: int  # the order of wishes
    version: int = 0  # of its newest change
    position: int | None = None  # in the queue
    file: Path | None = None
    problem: str | None = None

    def told(self) -> dict[str, object]:
        """What pages are told."""
        handle = self.handle
        state = handle.state.value
        if handle.done():
            state = "saved" if self.file is not None else "failed" if self.problem is not None else "saving"
        return {
            "id": self.id,
            "number": self.number,
            "model": self.model,
            "prompt": self.prompt,
            "state": state,
            "status": None if handle.status is None else str(handle.status),
            "progress": handle.progress,
            "position": self.position,
            "cost": handle.cost,
            "problem": self.problem,
        }


class Studio:
    """The pictures, who follows them, and who looks."""

    def __init__(self, bfl: AsyncBFL, handles: Handles, folder: Path, save_s: float = 60.0) -> None:
        self._bfl = bfl
        self._handles = handles
        self._folder = folder
        self._save_s = save_s
        self._epoch = secrets.token_hex(4)  # versions of an earlier process mean nothing
        self._version = 0
        self._wishes = 0
        self.pictures: dict[str, Picture] = {}  # oldest first
        self._followers: set[asyncio.Task[None]] = set()
        self._queue_watch: asyncio.Task[None] | None = None
        self._changed: set[asyncio.Event] = set()  # one for each page

    def draw(self, wish: Wish) -> Picture:
        """Queue a wish. Raises the client's errors, such as `QueueFullError`."""
        handle = self._bfl.submit_nowait(wish.model, prompt=wish.prompt)
        self._wishes += 1
        picture = Picture(self._handles.add(handle), wish.model, wish.prompt, handle, self._wishes)
        picture.position = handle.queue_position
        self.pictures[picture.id] = picture
        while len(self.pictures) > MOST_PICTURES:
            del self.pictures[next(iter(self.pictures))]
        self._publish(picture)
        follower = asyncio.get_running_loop().create_task(self._follow(picture))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        if self._queue_watch is None:
            self._queue_watch = asyncio.get_running_loop().create_task(self._watch_queue())
        return picture

    async def finish(self, timeout: float) -> None:
        """Let what runs end and be saved, for a while."""
        if self._followers:
            await asyncio.wait(self._followers, timeout=timeout)
        rest = [*self._followers, *([self._queue_watch] if self._queue_watch is not None else [])]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    async def stream(self, last_id: str) -> AsyncIterator[bytes]:
        """Yield what changed after `last_id`, for ever, as server-sent events."""
        epoch, _, number = last_id.partition("-")
        seen = int(number) if epoch == self._epoch and number.isascii() and number.isdigit() else 0
        changed = asyncio.Event()
        self._changed.add(changed)
        account = ""
        try:
            yield b"retry: 1000\n\n"
            if seen == 0 and last_id:
                yield _event("reset", {})
            while True:
                news = sorted(
                    (p for p in self.pictures.values() if p.version > seen), key=lambda p: p.version
                )
                for picture in news:
                    seen = picture.version
                    yield _event("picture", picture.told(), f"{self._epoch}-{seen}")
                if (now := json.dumps(self._account())) != account:
                    account = now
                    yield _event("account", self._account())
                changed.clear()
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                await asyncio.sleep(_BATCH_S)
        finally:
            self._changed.discard(changed)

    def _account(self) -> dict[str, object]:
        now = self._bfl.statistics()
        return {
            "queued": now.queued,
            "running": now.submitting + now.active,
            "limit": now.pools["account"].limit,
            "credits": now.credits_spent,
        }

    def _publish(self, picture: Picture) -> None:
        self._version += 1
        picture.version = self._version
        for changed in self._changed:
            changed.set()

    async def _follow(self, picture: Picture) -> None:
        """Publish a picture's changes, and keep its image."""
        try:
            async for update in picture.handle.updates():
                if update.state is not State.QUEUED:
                    picture.position = None
                self._publish(picture)
            result = await picture.handle
            # Under an id of our own: the server's could be any text, a path among them.
            target = self._folder / secrets.token_hex(16)
            picture.file = await result.save(target, timeout=self._save_s)
        except TaskModeratedError as exc:
            why = f" ({', '.join(exc.reasons)})" if exc.reasons else ""
            picture.problem = f"Moderation refused this{why}. Other words may pass."
        except BFLError as exc:
            _log.warning("picture %s: %s", picture.id, exc)
            picture.problem = (
                "Withdrawn." if picture.handle.withdraw() else "This could not be drawn. Try again."
            )
        self._publish(picture)

    async def _watch_queue(self) -> None:
        """Tell those who wait of their places, at most once a second."""
        while True:
            await asyncio.sleep(_QUEUE_LOOK_S)
            for picture in list(self.pictures.values()):
                if picture.handle.state is State.QUEUED:
                    position = picture.handle.queue_position
                    if position != picture.position:
                        picture.position = position
                        self._publish(picture)


def _event(kind: str, data: dict[str, object], event_id: str | None = None) -> bytes:
    name = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {kind}\n{name}data: {json.dumps(data)}\n\n".encode()


class Guarded:
    """An ASGI layer: every answer forbids what the page does not need, and no other site may ask for anything.

    A browser lets any site send requests here. `Host` is compared with the names that lead here: a site can give a
    name of its own this address, and would then be of the same origin. `Origin` keeps the scripts of other sites out,
    and the demand for JSON their forms, which cannot send it.

    Args:
        hosts: The names, without a port.
        open_path: Beneath it no browser asks: deliveries, which prove where they come from.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], open_path: str) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._open_path = open_path

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
        body = _Body(receive)
        refusal = self._refusal(scope)
        if refusal is None:
            try:
                await self._app(scope, body.receive, guarded)
            except _TooLargeError:
                refusal = Response("the request is too large", 413)
        if refusal is not None:
            await refusal(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        asked = Headers(scope=scope)
        host = asked.get("host", "")
        if re.sub(r":[0-9]*$", "", host).lower() not in self._hosts:
            return Response("this server has another name", 421)
        origin = asked.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return Response("another site may not draw here", 403)
        if (
            scope["method"] == "POST"
            and asked.get("content-type", "").partition(";")[0] != "application/json"
        ):
            return Response("use Content-Type: application/json", 415)
        length = asked.get("content-length", "0")
        if not length.isdecimal() or int(length) > _BODY_MAX_BYTES:
            return Response("the request is too large", 413)
        return None


class _TooLargeError(Exception):
    """The body of a request is longer than any that the page sends."""


class _Body:
    """Receives a body up to its bound."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > _BODY_MAX_BYTES:
            raise _TooLargeError
        return message


def get_studio(request: Request) -> Studio:
    """Return the application's studio."""
    studio: Studio = request.app.state.studio
    return studio


InStudio = Annotated[Studio, Depends(get_studio)]


async def refuse_wish(_request: Request, _error: Exception) -> Response:
    """Answer a request that cannot be read. Nothing of it is repeated: it may hold what cannot be written."""
    return JSONResponse({"detail": "This wish cannot be read: it needs a model and a prompt."}, 422)


def find(studio: Studio, picture_id: str) -> Picture:
    """Return a picture. Raises the 404 of one that is not there."""
    picture = studio.pictures.get(picture_id)
    if picture is None:
        raise HTTPException(404, "there is no such picture, or no longer")
    return picture


def create_app(
    make_client: Callable[[], AsyncBFL],
    folder: Path,
    *,
    receiver: WebhookReceiver | None = None,
    finish_s: float = 10.0,
    save_s: float = 60.0,
    hosts: Collection[str] = HOSTS,
) -> FastAPI:
    """Make the application.

    Args:
        make_client: Makes the client that all browsers share.
        folder: Where images are kept.
        receiver: The client's webhook, served beneath `/bfl`.
        finish_s: Seconds for what runs when the server ends.
        save_s: Seconds for the download of one image, which is repeated where it fails.
        hosts: The names under which browsers reach this server, without a port.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(make_client, drain=0.0, handles=MOST_PICTURES)(app):
            app.state.studio = studio = Studio(app.state.bfl_client, app.state.bfl_handles, folder, save_s)
            try:
                yield
            finally:
                await studio.finish(finish_s)

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    install_errors(app)
    app.add_exception_handler(RequestValidationError, refuse_wish)
    app.add_middleware(Guarded, hosts=hosts, open_path="/bfl/")
    if receiver is not None:
        app.mount("/bfl", webhook_app(receiver))
    app.mount("/static", StaticFiles(directory=_STATIC))
    # The models stand in the page itself: a fast typist would be ahead of a script that fetches them.
    options = "".join(f"<option>{html.escape(name)}</option>" for name in MODELS)
    shown = (_STATIC / "index.html").read_text("utf-8").replace("<!-- models -->", options)

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(shown, headers={"Cache-Control": "no-cache"})

    @app.get("/events")
    async def events(request: Request, studio: InStudio, after: str = "") -> StreamingResponse:
        last_id = request.headers.get("Last-Event-ID") or after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(studio.stream(last_id), headers=headers, media_type="text/event-stream")

    @app.post("/pictures", status_code=202)
    async def draw(wish: Wish, studio: InStudio) -> dict[str, object]:
        if wish.model not in MODELS:
            raise HTTPException(422, "there is no such model")
        return studio.draw(wish).told()

    @app.get("/pictures/{picture_id}")
    async def picture(picture_id: str, studio: InStudio) -> dict[str, object]:
        return find(studio, picture_id).told()

    @app.get("/pictures/{picture_id}/events")
    async def picture_events(request: Request, picture_id: str, handles: ClientHandles) -> Response:
        handle = handles.get(picture_id)
        if handle is None:
            raise HTTPException(404, "there is no such picture, or no longer")
        return sse(request, handle)

    @app.get("/pictures/{picture_id}/image")
    async def image(picture_id: str, studio: InStudio) -> FileResponse:
        file = find(studio, picture_id).file
        if file is None:
            raise HTTPException(404, "the picture is not drawn yet")
        kind = _SHOWN_AS.get(file.suffix)
        return FileResponse(
            file,
            media_type=kind or "application/octet-stream",
            filename=file.name if kind is None else None,  # downloaded, and not opened
            headers={"Cache-Control": "private, max-age=31536000, immutable"},
        )

    @app.delete("/pictures/{picture_id}")
    async def withdraw(picture_id: str, studio: InStudio) -> dict[str, object]:
        return {"withdrawn": find(studio, picture_id).handle.withdraw()}

    @app.get("/credits")
    async def credits(bfl: Client) -> float:
        return await bfl.credits()

    return app
