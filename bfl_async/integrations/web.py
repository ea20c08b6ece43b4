"""What all web frameworks share: errors as HTTP answers, handles by id, a handle's changes as server-sent events.

No framework is imported here. `fastapi.py` and `aiohttp.py` are made of this, and so can a module for another one be.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from bfl_async.client.handle import TaskHandle
from bfl_async.errors import (
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    InsufficientCreditsError,
    InvalidRequestError,
    LimiterError,
    QueueFullError,
    RateLimitedError,
    ReplayError,
    SignatureError,
    TaskModeratedError,
    TaskTimeoutError,
    WebhookError,
)
from bfl_async.types.common import JSON
from bfl_async.types.lifecycle import State, Update
from bfl_async.webhooks import BODY_MAX_BYTES, WebhookReceiver

__all__ = [
    "DRAIN_S",
    "MOST_HANDLES",
    "SSE_HEADERS",
    "Events",
    "HTTPAnswer",
    "Handles",
    "answer_of",
    "take_delivery",
]

_RETRY_AFTER_S = 5
MOST_HANDLES = 1_000  # a handle keeps its request, which may hold images
DRAIN_S = 30.0  # what most servers grant at shutdown
SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}
_KEEP_ALIVE_S = 15.0  # below the idle timeouts of proxies; it also finds out browsers that left
_QUEUE_LOOK_S = 1.0
_BODY_S = 30.0  # for the whole of a delivery: strangers may call as well


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """An answer in JSON, for a framework to send."""

    status: int
    body: Mapping[str, JSON]
    headers: Mapping[str, str]


def answer_of(error: BFLError) -> HTTPAnswer:
    """Return the HTTP answer that tells a browser of an error.

    What concerns the browser's own request says so in words: 402 no credits, 409 moderated, 422 invalid, 429 too
    many waiting (with `Retry-After`), 504 not done in time, with the task's id. What concerns the key, the set-up
    or the API is 502 or 503 without details, which are for the server's log.
    """
    status, detail = 502, "the image service failed; try again later"
    headers: dict[str, str] = {}
    match error:
        case InsufficientCreditsError():
            status, detail = 402, "the account has no credits left"
        case TaskModeratedError():
            status, detail = 409, str(error)
        case InvalidRequestError():
            status, detail = 422, str(error)
        case QueueFullError():
            status, detail = 429, "too many requests are waiting; try again later"
        case TaskTimeoutError():
            status, detail = 504, "the image was not finished in time"
        case ClientClosedError() | ConfigError() | ConnectError() | LimiterError() | RateLimitedError():
            status, detail = 503, "the image service cannot be used now; try again later"
    if status in (429, 503):
        told_s = getattr(error, "retry_after_s", None)
        headers["Retry-After"] = str(_RETRY_AFTER_S if told_s is None else math.ceil(told_s))
    body: dict[str, JSON] = {"error": type(error).__name__, "detail": detail, "task_id": error.task_id}
    if isinstance(error, InvalidRequestError):
        body["errors"] = [[path, message] for path, message in error.errors]
    if isinstance(error, TaskModeratedError):
        body["stage"], body["reasons"] = error.stage, list(error.reasons)
    return HTTPAnswer(status, body, headers)


async def take_delivery(
    receiver: WebhookReceiver,
    nonce: str,
    headers: Mapping[str, str],
    chunks: AsyncIterator[bytes],
    broken: type[Exception] | tuple[type[Exception], ...],
) -> int:
    """Take one webhook call; return the HTTP status of the answer. What is too large is not read to its end.

    Args:
        broken: What `chunks` raises when the caller leaves amid the body.
    Raises:
        Exception: The relay failed: an answer of 500 lets the server send it again.
    Cancellation: Ends the reading. A delivery that was read may count as received.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in chunks:
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    return 413
    except TimeoutError:
        return 408
    except broken:
        return 400
    try:
        await receiver.receive(nonce, headers, bytes(body))
    except SignatureError:
        return 401
    except ReplayError:
        return 200  # it is known: sending it again would help nobody
    except WebhookError:
        return 400
    return 200


class Handles:
    """The handles of requests that browsers may ask for, by an id that cannot be guessed or by the task's id.

    Args:
        most: At most so many are kept: settled ones are forgotten first, the oldest first.
    """

    def __init__(self, most: int = MOST_HANDLES) -> None:
        self._most = most
        self._by_id: dict[str, TaskHandle] = {}  # oldest first
        self._ids: dict[str, str] = {}  # our ids by task id
        self._unnamed: dict[str, TaskHandle] = {}  # by our id: those whose task's id is not in `_ids`

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, handle: TaskHandle) -> str:
        """Keep a handle; return the id to give to the browser. It is there before the task has one of its own."""
        own_id = secrets.token_urlsafe(12)
        self._by_id[own_id] = self._unnamed[own_id] = handle
        if len(self._by_id) > self._most:
            self._forget_some()
        return own_id

    def get(self, any_id: str) -> TaskHandle | None:
        """Return the handle of an id, ours or the task's; None if there is none, or no longer."""
        found = self._by_id.get(any_id)
        if found is None and any_id not in self._ids:
            for own_id, handle in list(self._unnamed.items()):
                if handle.task_id is not None:
                    self._ids[handle.task_id] = own_id
                    del self._unnamed[own_id]
        return found or self._by_id.get(self._ids.get(any_id, ""))

    def _forget_some(self) -> None:
        # A tenth at a time, so that the walk through those that run is seldom made.
        over = len(self._by_id) - self._most + self._most // 10
        settled = [own_id for own_id, handle in self._by_id.items() if handle.done()][:over]
        left = len(self._by_id) - len(settled) - self._most
        forgotten = {*settled, *(list(self._by_id)[:left] if left > 0 else ())}
        for own_id in forgotten:
            del self._by_id[own_id]
            self._unnamed.pop(own_id, None)
        self._ids = {task_id: own_id for task_id, own_id in self._ids.items() if own_id not in forgotten}


class Events:
    """A handle's changes as server-sent events: bytes to write, from the present state to the terminal one.

    An event's id names the state that it tells, so nothing has to be kept for a browser that comes back: what it
    has seen last is left out, and it is told what is so now. Leaving it ends a wait and nothing else.

    The data is a JSON object: `state`, `status`, `progress`, `queue_position`, `task_id`, and in the last event, of
    type `settled`, `cost` with either `seed` or `error` (the answer that `answer_of` makes of it).

    Args:
        last_event_id: What the browser sent as `Last-Event-ID`; None: it comes for the first time.
    """

    def __init__(self, handle: TaskHandle, last_event_id: str | None = None) -> None:
        self._handle = handle
        self._updates = handle.updates()
        self._last_id = last_event_id
        self._began = self._ended = False

    @property
    def is_over(self) -> bool:
        """True when the browser has seen the end already: an answer of 204 tells it to stay away."""
        return self._handle.done() and self._last_id == _id_of(self._present(), None)

    def _present(self) -> Update:
        handle = self._handle
        return Update(handle.state, handle.status, handle.progress, handle.task_id)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next event, or for the time to show that the connection lives.

        Cancellation: Ends this wait; the next call goes on where it was.
        """
        if self._ended:
            raise StopAsyncIteration
        if not self._began:
            self._began = True
            return b"retry: 2000\n\n"
        waited_s = 0.0
        while waited_s < _KEEP_ALIVE_S:
            queued = self._handle.state is State.QUEUED
            wait_s = _QUEUE_LOOK_S if queued else _KEEP_ALIVE_S
            try:
                async with asyncio.timeout(wait_s):
                    update = await anext(self._updates)
            except TimeoutError:
                waited_s += wait_s
                update = self._present()  # the place in the queue may have changed
            except StopAsyncIteration:
                update = self._present()
            position = self._handle.queue_position
            event_id = _id_of(update, position)
            if event_id != self._last_id:
                self._last_id = event_id
                return await self._event(update, position, event_id)
            if update.state is State.SETTLED:
                self._ended = True
                raise StopAsyncIteration
        return b": still here\n\n"

    async def _event(self, update: Update, position: int | None, event_id: str) -> bytes:
        data: dict[str, JSON] = {
            "state": update.state.value,
            "status": None if update.status is None else str(update.status),
            "progress": update.progress,
            "queue_position": position,
            "task_id": update.task_id,
        }
        if update.state is State.SETTLED:
            self._ended = True
            data["cost"] = self._handle.cost
            try:
                data["seed"] = (await self._handle.result()).seed
            except BFLError as exc:
                answer = answer_of(exc)
                data["error"] = {"http_status": answer.status, **answer.body}
        kind = "settled" if self._ended else "update"
        return f"event: {kind}\nid: {event_id}\ndata: {json.dumps(data)}\n\n".encode()


def _id_of(update: Update, position: int | None) -> str:
    """Name a state in plain letters: an id must hold no line end, and a status may be any word."""
    word = "" if update.status is None else str(update.status).encode("utf-8", "replace").hex()
    progress = "" if update.progress is None else f"{update.progress:g}"
    return f"{update.state.value}.{word}.{progress}.{'' if position is None else position}"
