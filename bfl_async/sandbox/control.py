"""What the sandbox tells of itself and takes from another process: `/sandbox` and the paths beneath it.

The server imports this module, and never the other way: `Controlled` names all that is read of a sandbox here.
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Collection
from dataclasses import asdict
from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from aiohttp import web

from bfl_async.sandbox.answers import json_response
from bfl_async.sandbox.faults import DIALS, Faults, Setting
from bfl_async.sandbox.pictures import Thumbnails, has_picture
from bfl_async.sandbox.rules import Json
from bfl_async.sandbox.tasks import SandboxStatistics, SandboxTask

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

_NEWEST = 50  # tasks that the page is told of
_PROMPT_CHARS = 200


def check_host(names: Collection[str]) -> "Middleware":
    """Refuse requests for a host whose name is not ours.

    A web page can give a name of its own the address of this machine. Its scripts could then read all answers, since
    the browser takes the sandbox for the page's own server.

    Args:
        names: Host names that lead here, beside localhost and addresses.
    """

    @web.middleware
    async def checked(request: web.Request, handler: "Handler") -> web.StreamResponse:
        host = _host_of(request)
        if not _is_own(host) and host not in names:
            detail = "this host name is not the sandbox's: use its address, or name it in Sandbox(hosts=...)"
            return json_response(421, {"detail": detail})
        return await handler(request)

    return checked


class Controlled(Protocol):
    """A sandbox as this page sees it. The attributes that `_SETTINGS` lists are read and set by their names."""

    faults: Faults

    @property
    def tasks(self) -> dict[str, SandboxTask]: ...

    def statistics(self) -> SandboxStatistics: ...

    def newest(self, count: int) -> list[SandboxTask]: ...

    def progress(self, task: SandboxTask) -> float | None: ...

    def age_s(self, task: SandboxTask) -> float: ...


def add_routes(app: web.Application, sandbox: Controlled) -> None:
    """Serve the page, and what it reads and sets."""
    control = _Control(sandbox)
    app.router.add_get("/sandbox", control.answer_page)
    app.router.add_get("/sandbox/statistics", control.answer_statistics)
    app.router.add_get("/sandbox/tasks/{id}/thumbnail", control.answer_thumbnail)
    app.router.add_get("/sandbox/faults", control.answer_faults)
    app.router.add_post("/sandbox/faults", control.set_faults)
    app.router.add_post("/sandbox/settings", control.set_settings)


class _Control:
    def __init__(self, sandbox: Controlled) -> None:
        self._sandbox = sandbox
        self._thumbnails = Thumbnails()
        self._page = files("bfl_async.sandbox").joinpath("page.html").read_text("utf-8")

    async def answer_page(self, request: web.Request) -> web.Response:
        del request
        headers = {
            "Content-Security-Policy": _policy(self._page),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def answer_statistics(self, request: web.Request) -> web.Response:
        """The counts; `tasks=1` adds a row for each task, `newest=N` what the page shows of at most 50."""
        sandbox = self._sandbox
        body: dict[str, Json] = dict(asdict(sandbox.statistics()))
        if request.query.get("tasks") == "1":
            body["tasks"] = [
                [
                    task.id,
                    task.model,
                    task.accepted_at,
                    task.ready_at if task.ready_at < math.inf else None,
                    task.seen_at,
                    task.polls,
                    task.status,
                ]
                for task in sandbox.tasks.values()
            ]
        newest = request.query.get("newest", "")
        if newest.isascii() and newest.isdigit():
            body["settings"] = self._settings()
            body["newest"] = [
                {
                    "id": task.id,
                    "model": task.model,
                    "status": task.status,
                    "progress": sandbox.progress(task),
                    "age_s": round(sandbox.age_s(task), 1),
                    "polls": task.polls,
                    "prompt": task.prompt[:_PROMPT_CHARS],
                    "picture": has_picture(task),
                    "width": task.width,
                    "height": task.height,
                }
                for task in sandbox.newest(min(_NEWEST, int(newest[:4])))
            ]
        return json_response(200, body)

    async def answer_thumbnail(self, request: web.Request) -> web.Response:
        return await self._thumbnails.answer(self._sandbox.tasks, request.match_info["id"])

    async def answer_faults(self, request: web.Request) -> web.Response:
        del request
        faults = self._sandbox.faults
        settings: dict[str, Json] = {
            name: [*setting] if isinstance(setting, list) else setting
            for name, setting in faults.settings().items()
        }
        return json_response(200, {"settings": settings, "dials": dict(DIALS), "fired": {**faults.fired}})

    async def set_faults(self, request: web.Request) -> web.Response:
        """Turn dials: an object of probabilities, or of lists of bools."""
        body = await _object_of(request)
        try:
            # What is no setting is refused there.
            self._sandbox.faults.set_all(cast(dict[str, Setting], body))
        except ValueError as exc:
            return json_response(400, {"detail": str(exc)})
        return await self.answer_faults(request)

    async def set_settings(self, request: web.Request) -> web.Response:
        """Set the account and the speed: all that is named, or nothing if one of them cannot be."""
        body = await _object_of(request)
        for name, value in body.items():
            check = _SETTINGS.get(name)
            if check is None or not check(value):
                known = "limit and foreign_active (whole numbers from 0 up), credits (a number), "
                known += "revoked (true or false), speed (a number above 0)"
                return json_response(400, {"detail": f"{name} cannot be {value!r}: the settings are {known}"})
        for name, value in body.items():
            setattr(self._sandbox, name, value)
        return json_response(200, self._settings())

    def _settings(self) -> dict[str, Json]:
        return {name: getattr(self._sandbox, name) for name in _SETTINGS}


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15


_SETTINGS: dict[str, Callable[[Json], bool]] = {
    "limit": _is_count,
    "credits": _is_number,
    "revoked": lambda value: isinstance(value, bool),
    "foreign_active": _is_count,
    "speed": lambda value: _is_number(value) and cast(float, value) > 0,
}


def _policy(page: str) -> str:
    """Allow the page's own style, script and questions and nothing else: what a prompt smuggles in cannot run."""

    def hashed(tag: str) -> str:
        inner = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return "'sha256-" + base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {hashed('style')}; script-src {hashed('script')}; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def _object_of(request: web.Request) -> dict[str, Json]:
    """The JSON object that was posted.

    A page of another origin is kept out: a form of it cannot send this media type, and a script of it names its
    origin. That the host is our own is checked before, see `check_host`.

    Raises:
        web.HTTPException: Something else was posted, or by somebody else.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        raise _refusal(web.HTTPForbidden, "another origin may not set anything here")
    if request.content_type != "application/json":
        raise _refusal(web.HTTPUnsupportedMediaType, "use Content-Type: application/json")
    try:
        body: Json = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _refusal(web.HTTPBadRequest, "a JSON object is needed")
    return body


def _refusal(kind: type[web.HTTPException], detail: str) -> web.HTTPException:
    return kind(text=json.dumps({"detail": detail}), content_type="application/json")


def _host_of(request: web.Request) -> str | None:
    """Return the host that a request asks for, without its port; None where there is none that can be read."""
    try:
        return urlsplit(f"//{request.host}").hostname
    except ValueError:
        return None


def _is_own(host: str | None) -> bool:
    if host == "localhost" or (host or "").endswith(".localhost"):
        return True
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True
