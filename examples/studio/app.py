"""The studio's server: one client for all browsers, and one stream per page for all that goes on.

A page opens a single stream: browsers allow six connections to a host, and a user has several tabs and
dozens of pictures. Every change of a picture has a number; a page that comes back names the last one that it has
seen, and is sent the present state of whatever changed since. Images are fetched here: the API's URLs
end after ten minutes, and browsers may not read them.

Whoever reaches the studio sees all pictures and spends the account's credits: it knows no users. What keeps the sites
that its user visits out is in `guard.py`. An application with users of its own needs authentication as well, and
shows each of them their own pictures alone.

`models.py` has what the page offers, and `pictures.py` what becomes of a wish.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import Base64Bytes, BaseModel

from bfl_async import AsyncBFL, InvalidRequestError
from bfl_async.integrations.fastapi import (
    Client,
    ClientHandles,
    install_errors,
    lifespan,
    sse,
    webhook_app,
)
from bfl_async.webhooks import WebhookReceiver
from examples.studio.guard import HOSTS, Guarded
from examples.studio.models import Entry, as_json, entries
from examples.studio.pictures import MOST_PICTURES, Picture, Studio
from examples.studio.wishes import Wish, WishError

__all__ = ["HOSTS", "create_app"]

_STATIC = Path(__file__).parent / "static"
# An image of 20 MB, which is what the API takes, as base64.
_INPUT_BODY_BYTES = 28_000_000
# What is shown in a page. Anything else that a server may have sent is only downloaded.
_SHOWN_AS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
}

router = APIRouter()


class Input(BaseModel):
    """A file that was dropped on a page."""

    data: Base64Bytes


class Mark(BaseModel):
    """What a page changes of a picture."""

    favourite: bool


def get_studio(request: Request) -> Studio:
    """Return the application's studio."""
    studio: Studio = request.app.state.studio
    return studio


InStudio = Annotated[Studio, Depends(get_studio)]


def get_picture(picture_id: str, studio: InStudio) -> Picture:
    """Return a picture. Raises the 404 of one that is not there."""
    picture = studio.pictures.get(picture_id)
    if picture is None:
        raise HTTPException(404, "There is no such picture, or no longer.")
    return picture


OnePicture = Annotated[Picture, Depends(get_picture)]


def shown(picture: Picture) -> dict[str, object]:
    """Return what pages show of a picture now."""
    return picture.shown(asyncio.get_running_loop().time())


@router.get("/events")
async def events(request: Request, studio: InStudio, after: str = "") -> StreamingResponse:
    """Stream all changes to a page."""
    last_id = request.headers.get("Last-Event-ID") or after
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(studio.stream(last_id), headers=headers, media_type="text/event-stream")


@router.post("/inputs", status_code=201)
async def add_input(given: Input, studio: InStudio) -> dict[str, str]:
    """Keep a file for wishes, which name it by its id."""
    return {"id": await studio.add_input(given.data)}


@router.post("/price")
async def price(wish: Wish, studio: InStudio, bfl: Client) -> dict[str, object]:
    """Return what a wish would cost, and how large its picture will be where that is known; or what is wrong with it.

    Pages ask while a wish is still being put together, so that a lack is an answer and not an error.
    """
    try:
        wanted = studio.request_of(wish)
    except (WishError, InvalidRequestError) as exc:
        return {"problem": str(exc)}
    estimate = await asyncio.to_thread(bfl.estimate, wanted)
    size = [getattr(wanted, name, None) for name in ("width", "height")]
    return {"credits": estimate.credits, "basis": estimate.basis, "size": size if all(size) else None}


@router.post("/pictures", status_code=202)
async def draw(wish: Wish, studio: InStudio) -> dict[str, object]:
    """Queue a wish."""
    return shown(studio.draw(wish))


@router.get("/pictures/{picture_id}")
async def one_picture(picture: OnePicture) -> dict[str, object]:
    """Return what is known of a picture."""
    return shown(picture)


@router.get("/pictures/{picture_id}/events")
async def picture_events(request: Request, picture_id: str, handles: ClientHandles) -> Response:
    """Stream the changes of one picture."""
    handle = handles.get(picture_id)
    if handle is None:
        raise HTTPException(404, "There is no such picture, or no longer.")
    return sse(request, handle)


@router.get("/pictures/{picture_id}/image")
async def image(picture: OnePicture) -> FileResponse:
    """Send a picture's file."""
    if picture.file is None:
        raise HTTPException(404, "This picture is not finished yet.")
    kind = _SHOWN_AS.get(picture.file.suffix)
    return FileResponse(
        picture.file,
        media_type=kind or "application/octet-stream",
        # With a name it is downloaded, and not opened.
        filename=picture.file.name if kind is None else None,
        headers={"Cache-Control": "private, max-age=31536000, immutable"},
    )


@router.post("/pictures/{picture_id}/cancel")
async def cancel(picture: OnePicture) -> dict[str, object]:
    """Take a picture out of the queue. One that was sent cannot be cancelled: the API has no way."""
    return {"cancelled": picture.handle.withdraw()}


@router.patch("/pictures/{picture_id}")
async def change(mark: Mark, picture: OnePicture, studio: InStudio) -> dict[str, object]:
    """Make a picture a favourite, or an ordinary one."""
    studio.mark(picture, mark.favourite)
    return shown(picture)


@router.delete("/pictures/{picture_id}", status_code=204)
async def delete(picture: OnePicture, studio: InStudio) -> None:
    """Delete a finished picture and its file."""
    await studio.delete(picture)


@router.get("/credits")
async def credits(bfl: Client) -> float:
    """Return the account's balance."""
    return await bfl.credits()


async def refuse_unread(_request: Request, _error: Exception) -> Response:
    """Answer a request that cannot be read. Nothing of it is repeated: it may hold what cannot be written."""
    return JSONResponse(
        {"detail": "This request cannot be read: a field is missing, wrong or too long."}, 422
    )


async def refuse_wish(_request: Request, error: Exception) -> Response:
    """Answer a wish that cannot be drawn."""
    return JSONResponse({"detail": str(error)}, 422)


def page_of(models: Mapping[str, Entry]) -> str:
    """Return the page. The models are part of it: a fast typist would be ahead of a script that fetches them."""
    options = ""
    for group, members in groupby(models.values(), key=lambda entry: entry.group):
        lines = "".join(f"<option>{html.escape(entry.id)}</option>" for entry in members)
        options += f'<optgroup label="{html.escape(group)}">{lines}</optgroup>'
    text = (_STATIC / "index.html").read_text("utf-8")
    return text.replace("<!-- models -->", options).replace("<!-- entries -->", as_json(models))


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
    models = entries()
    text = page_of(models)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(make_client, drain=0.0, handles=MOST_PICTURES)(app):
            bfl, handles = app.state.bfl_client, app.state.bfl_handles
            app.state.studio = studio = Studio(bfl, handles, models, folder, save_s)
            try:
                yield
            finally:
                await studio.finish(finish_s)

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    install_errors(app)
    app.add_exception_handler(RequestValidationError, refuse_unread)
    app.add_exception_handler(WishError, refuse_wish)
    app.add_middleware(Guarded, hosts=hosts, open_path="/bfl/", body_bytes={"/inputs": _INPUT_BODY_BYTES})
    if receiver is not None:
        app.mount("/bfl", webhook_app(receiver))
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.include_router(router)

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    return app
