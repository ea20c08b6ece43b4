"""How answers are worded: the API's JSON, a gateway's HTML, the image host's XML, and what each fault sends."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from bfl_async.sandbox.broken import Cut, Hang, Larger, Reset, Slow
from bfl_async.sandbox.rules import Json

AUTHENTICATION_REFUSED = "Not authenticated - Invalid Authentication"
_STRANGE_STATUS = "Composing"  # a word that the API may bring one day
_TRICKLE_S = 1.0

_KEY_PREFIX = "bfl_"
_KEY = re.compile(r"[A-Za-z0-9_-]+")


def is_key(text: str, *, like: str) -> bool:
    """Whether a text has the form of an API key.

    Which form the API requires was not captured, only its answer. Here a key consists of letters, digits, `_` and
    `-`, and begins with `bfl_` if the right one does.

    Args:
        text: What was sent.
        like: The right key.
    """
    if like.startswith(_KEY_PREFIX) and not text.startswith(_KEY_PREFIX):
        return False
    return _KEY.fullmatch(text.removeprefix(_KEY_PREFIX)) is not None


def json_response(status: int, body: Json, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer in JSON, its text as it is and not escaped."""
    try:
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair in a prompt: only an escape can carry it
        raw = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=raw, content_type="application/json", headers=headers)


async def spare_browsers(request: web.Request, response: web.StreamResponse) -> None:
    """Leave `Strict-Transport-Security` out by https, where a browser would believe it.

    It would then want https of every other server on this machine's name, for a year.
    """
    if request.secure:
        response.headers.pop("Strict-Transport-Security", None)


def gateway_page(status: int) -> web.Response:
    """What a gateway in front of the API says in its place."""
    title = web.Response(status=status).reason
    text = f"<html><head><title>{status} {title}</title></head><body><h1>{status} {title}</h1></body></html>"
    return web.Response(status=status, text=text, content_type="text/html")


def blob_error(status: int, code: str, message: str, detail: str = "") -> web.Response:
    """An error as the image host words it, in XML."""
    tail = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
        f"<Message>{message}</Message>{tail}</Error>"
    )
    return web.Response(
        status=status, body=text.encode(), content_type="application/xml", headers={"X-Ms-Error-Code": code}
    )


def blob_refused(reason: str) -> web.Response:
    """The image host's answer to a URL whose signature is no good, or no longer."""
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is "
        "formed correctly including the signature."
    )
    return blob_error(403, "AuthenticationFailed", message, reason)


def ranged(blob: web.Response, request: web.Request) -> web.Response:
    """A file, or the part of it that a `Range` header names: the image host says that it takes ranges.

    How it answers one was not recorded; this is what HTTP requires. A header that names no range is ignored.
    """
    if blob.status != 200 or not isinstance(blob.body, bytes):
        return blob
    try:
        asked = request.http_range
    except ValueError:
        return blob
    if asked.start is None and asked.stop is None:
        return blob
    size = len(blob.body)
    start, stop, _ = asked.indices(size)
    if start >= stop:
        answer = blob_error(416, "InvalidRange", "The range specified is invalid for the current size.")
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    # The checksum is the whole file's.
    headers = {
        name: value for name, value in blob.headers.items() if name not in ("Content-Md5", "Content-Length")
    }
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return web.Response(status=206, body=blob.body[start:stop], headers=headers)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault's answer is made from."""

    path: str  # of the request, with its query
    foreign_url: str
    closing: asyncio.Event  # ends what hangs
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """What a poll would be told."""

    status: int
    body: dict[str, Json]
    headers: dict[str, str]


def _redirect(url: str) -> web.Response:
    return web.Response(status=302, headers={"Location": url})


def _without_id(receipt: dict[str, Json]) -> web.Response:
    # The polling URL names the task as well.
    return json_response(
        200, {name: value for name, value in receipt.items() if name not in ("id", "polling_url")}
    )


def _cut(answer: web.Response) -> web.Response:
    return Cut(status=answer.status, body=answer.body, headers=answer.headers)


# By what stands between "submit-" and "-before" or "-after"; made from the receipt, of which nobody is told where
# there is no task.
_SUBMIT: dict[str, Callable[[dict[str, Json], Scene], web.StreamResponse]] = {
    "reset": lambda _, __: Reset(),
    "500": lambda _, __: gateway_page(500),
    "502": lambda _, __: gateway_page(502),
    "503": lambda _, __: gateway_page(503),
    "504": lambda _, __: gateway_page(504),
    "hang": lambda _, scene: Hang(scene.closing),
    "html": lambda _, __: gateway_page(200),
    "truncated": lambda receipt, _: _cut(json_response(200, receipt)),
    "no-id": lambda receipt, _: _without_id(receipt),
}
_SUBMIT_BY_API = {
    "submit-500-before": lambda: json_response(500, {"detail": "Internal Server Error"}),
    "submit-503-before": lambda: json_response(503, {"detail": "Service Unavailable"}, {"Retry-After": "1"}),
}
_POLL: dict[str, Callable[[PollAnswer, Scene], web.StreamResponse]] = {
    "poll-reset": lambda _, __: Reset(),
    "poll-500": lambda _, __: json_response(500, {"detail": "Internal Server Error"}),
    "poll-502": lambda _, __: gateway_page(502),
    "poll-503": lambda _, __: gateway_page(503),
    "poll-504": lambda _, __: gateway_page(504),
    "poll-429": lambda true, _: json_response(429, {"detail": "Too many requests"}, true.headers),
    "poll-hang": lambda _, scene: Hang(scene.closing),
    "poll-html": lambda _, __: gateway_page(200),
    "poll-truncated": lambda true, _: _cut(json_response(true.status, true.body, true.headers)),
    "poll-not-found": lambda true, _: json_response(
        404, poll_body(str(true.body["id"]), "Task not found"), true.headers
    ),
    "poll-403": lambda _, __: json_response(403, {"detail": AUTHENTICATION_REFUSED}),
    "poll-no-status": lambda true, _: json_response(200, {"id": true.body["id"]}, true.headers),
    "poll-state": lambda true, _: json_response(true.status, _as_state(true.body), true.headers),
    "poll-unknown-status": lambda true, _: json_response(
        200, {**true.body, "status": _STRANGE_STATUS}, true.headers
    ),
    "poll-body-422": lambda true, _: json_response(422, true.body, true.headers),
    "poll-body-503": lambda true, _: json_response(503, true.body, true.headers),
    "poll-redirect-self": lambda _, scene: _redirect(scene.path),
    "poll-redirect-foreign": lambda _, scene: _redirect(scene.foreign_url + scene.path),
}
_TELL_THE_STATUS = ("poll-state", "poll-body-422", "poll-body-503")
_IMAGE: dict[str, Callable[[web.Response, Scene], web.StreamResponse]] = {
    "image-500": lambda _, __: blob_error(500, "InternalError", "Server encountered an internal error."),
    "image-reset": lambda _, __: Reset(),
    "image-truncated": lambda image, _: _cut(image),
    "image-type": lambda _, __: web.Response(body=gateway_page(200).body, content_type="image/jpeg"),
    "image-expired": lambda _, __: blob_refused(
        "Signature not valid in the specified time frame: Expiry [2025-01-01T00:00:00Z]"
    ),
    "image-slow": lambda image, scene: Slow(image, _TRICKLE_S / scene.speed),
    "image-larger": lambda image, _: Larger(body=image.body, headers=image.headers),
    "image-redirect-foreign": lambda _, scene: _redirect(scene.foreign_url + scene.path),
}


def submit_fault(dial: str, receipt: dict[str, Json], scene: Scene) -> web.StreamResponse:
    """What a submit is told in place of its receipt."""
    by_api = _SUBMIT_BY_API.get(dial)
    if by_api is not None:
        return by_api()
    return _SUBMIT[dial.removeprefix("submit-").rpartition("-")[0]](receipt, scene)


def poll_fault(dial: str, true: PollAnswer, scene: Scene) -> tuple[web.StreamResponse, bool]:
    """What a poll is told, and whether the true status is in it."""
    return _POLL[dial](true, scene), dial in _TELL_THE_STATUS


def image_fault(dial: str, image: web.Response, scene: Scene) -> web.StreamResponse:
    """What a download is sent."""
    return _IMAGE[dial](image, scene)


def poll_body(
    task_id: str,
    status: str,
    *,
    result: dict[str, Json] | None = None,
    progress: float | None = None,
    details: dict[str, Json] | None = None,
) -> dict[str, Json]:
    """A status, as a poll is told it."""
    return {
        "id": task_id,
        "status": status,
        "result": result,
        "progress": progress,
        "details": details,
        "preview": None,
    }


def _as_state(body: dict[str, Json]) -> dict[str, Json]:
    return {"state" if name == "status" else name: value for name, value in body.items()}
