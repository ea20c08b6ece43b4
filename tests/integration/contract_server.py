"""Two servers that say what a test tells them to: one on a real socket, one on the loop's own clock.

`ContractServer` answers over loopback and records every request. `ScriptedTransport` is the `Transport`
protocol for tests in which hours pass under looptime. Both are written from the API's description alone and
share no code with the package or its sandbox.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import aiohttp
from aiohttp import web
from PIL import Image

from bfl_async import AsyncBFL, BFLError, Fixed, FluxPro11, Limits, Timeouts
from bfl_async.types import Reply
from tests.waiting import wait_until

KEY = "key-0123456789-do-not-show"
PROMPT = "a heron that nobody may read of"
SIGNATURE = "sIgNaTuRe%2Fdo%2Bnot%3Dshow"
"""As it stands in signed URLs: quoted characters that a careless client would quote anew."""


def a_request(prompt: str = PROMPT) -> FluxPro11:
    return FluxPro11(prompt=prompt)


async def until(condition: Callable[[], object], *, timeout: float = 5.0) -> None:
    """Wait for a condition; fail when it does not come."""
    await wait_until(lambda: bool(condition()), timeout=timeout)


async def spin(turns: int = 30) -> None:
    """Let everything that is ready run, without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


def other_tasks(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Tasks of this loop that came since `before`."""
    return {task for task in asyncio.all_tasks() if not task.done()} - before


# ---- answers of the socket server


@dataclass(frozen=True)
class Say:
    """One HTTP reply."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """A reply that promises `length` bytes, sends `body`, and resets."""

    body: bytes
    length: int
    media_type: str = "application/json"


@dataclass(frozen=True)
class Wire:
    """These bytes in place of an HTTP reply, then the end of the connection."""

    data: bytes = b""


@dataclass(frozen=True)
class Hold:
    """Nothing until the event is set (or the server ends), then the answer; None: a reset."""

    release: asyncio.Event
    then: Say | None = None


RESET = Wire()

Answer: TypeAlias = Say | Cut | Wire | Hold | None
"""None: what the server would answer by itself."""
Step: TypeAlias = Answer | Callable[["Seen"], Answer] | Callable[["Seen"], Awaitable[Answer]]


def say(status: int, body: object, **headers: str) -> Say:
    """A JSON reply; header names with `_` for `-`."""
    return Say(
        status, json.dumps(body).encode(), headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def html(status: int, text: str = "<html><body>Service Unavailable</body></html>", **headers: str) -> Say:
    """What a gateway in front of the API says."""
    return Say(status, text.encode(), "text/html", {k.replace("_", "-"): v for k, v in headers.items()})


def redirect(status: int, location: str) -> Say:
    return Say(status, b"", "text/plain", {"Location": location})


def status_body(task_id: str, word: str, **more: object) -> dict[str, object]:
    """A poll's body in the recorded shape."""
    return {
        "id": task_id,
        "status": word,
        "result": None,
        "progress": None,
        "details": None,
        "preview": None,
        **more,
    }


def an_image(kind: str = "JPEG", size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((size, size), 60).save(buffer, kind)
    return buffer.getvalue()


JPEG = an_image("JPEG")
PNG = an_image("PNG")
WEBP = an_image("WEBP")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    at: float  # the loop's clock
    method: str
    target: str  # path and query, byte for byte
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def task_id(self) -> str:
        return self.target.rpartition("=")[2]

    def json(self) -> dict[str, object]:
        body = json.loads(self.body)
        assert isinstance(body, dict)
        return body


class ContractServer:
    """A scriptable fake of the API and of its image host.

    By itself it accepts every submit and finds every task Ready at the first poll, unless `hold_tasks` is
    set: then only `settle` ends one. Scripts come first, one answer for each request of their kind;
    `routes` answers a path always.
    """

    def __init__(self, *, hold_tasks: bool = False) -> None:
        self.hold_tasks = hold_tasks
        self.seen: list[Seen] = []
        self.routes: dict[str, Step] = {}
        self.always_submit: Step = None
        self.always_poll: Step = None
        self.always_image: Step = None
        self.image_url: Callable[[str], str] = self._image_url
        self.polling_url: Callable[[str], str] = self._polling_url
        self.ended: dict[str, dict[str, object]] = {}  # task id: the poll's body that ends it
        self.task_ids: list[str] = []
        self.url = ""
        self._submits: deque[Step] = deque()
        self._polls: deque[Step] = deque()
        self._images: deque[Step] = deque()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing.set()
        assert self._runner is not None
        await self._runner.cleanup()

    # ---- scripts

    def script_submits(self, *steps: Step) -> None:
        self._submits.extend(steps)

    def script_polls(self, *steps: Step) -> None:
        self._polls.extend(steps)

    def script_images(self, *steps: Step) -> None:
        self._images.extend(steps)

    def settle(self, task_id: str, word: str = "Ready", **more: object) -> None:
        """End a task: from now on its polls say so."""
        self.ended[task_id] = (
            self.ready(task_id) if word == "Ready" and not more else status_body(task_id, word, **more)
        )

    def ready(self, task_id: str, **more: object) -> dict[str, object]:
        result = {"sample": self.image_url(task_id), "prompt": PROMPT, "seed": 2**40 + 1}
        return status_body(task_id, "Ready", result={**result, **more})

    def accepted(self, task_id: str | None = None, **more: object) -> Say:
        if task_id is None:
            task_id = f"task-{len(self.task_ids)}"
        self.task_ids.append(task_id)
        return say(
            200,
            {
                "id": task_id,
                "polling_url": self.polling_url(task_id),
                "cost": 4.0,
                "input_mp": 0.0,
                "output_mp": 0.75,
                **more,
            },
        )

    def _image_url(self, task_id: str) -> str:
        # Colons quoted and a slash not, as recorded: no other quoting gives the same bytes.
        return f"{self.url}/image/{task_id}.jpeg?se=2099-12-18T15%3A49%3A07Z&sp=r&sr=b&rsct=image/jpeg&sig={SIGNATURE}"

    def _polling_url(self, task_id: str) -> str:
        return f"{self.url}/v1/get_result?id={task_id}"

    # ---- records

    @property
    def submits(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    @property
    def polls(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == "/v1/get_result"]

    @property
    def images(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.startswith("/image/")]

    def at(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    async def wait_submits(self, n: int) -> None:
        await until(lambda: len(self.submits) >= n)

    async def wait_polls(self, n: int) -> None:
        await until(lambda: len(self.polls) >= n)

    def close_connections(self, *, delay_s: float) -> None:
        """Close all connections from this side, after a while and while nobody looks: in a thread."""
        assert self._runner is not None
        assert self._runner.server is not None
        sockets = [
            connection.transport.get_extra_info("socket").fileno()
            for connection in self._runner.server.connections
            if connection.transport is not None
        ]

        def close() -> None:
            time.sleep(delay_s)
            for fd in sockets:
                copy = socket.socket(fileno=os.dup(fd))
                copy.shutdown(socket.SHUT_WR)
                copy.close()

        threading.Thread(target=close).start()

    # ---- a client of this server

    def client(
        self,
        *,
        limits: int | Limits = 12,
        timeouts: Timeouts | None = None,
        session: aiohttp.ClientSession | None = None,
        interval: float = 0.02,
        key: str = KEY,
    ) -> AsyncBFL:
        return AsyncBFL(
            key,
            base_url=self.url,
            limits=limits,
            polling=Fixed(interval),
            timeouts=timeouts,
            session=session,
        )

    # ---- answering

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(
            asyncio.get_running_loop().time(),
            request.method,
            request.raw_path,
            {name.lower(): value for name, value in request.headers.items()},
            body,
        )
        self.seen.append(seen)
        answer = await self._decide(seen)
        if isinstance(answer, Hold):
            closing = asyncio.ensure_future(self._closing.wait())
            release = asyncio.ensure_future(answer.release.wait())
            try:
                await asyncio.wait({closing, release}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                closing.cancel()
                release.cancel()
            answer = answer.then if answer.then is not None else RESET
        if isinstance(answer, Cut):
            response = web.StreamResponse(headers={"Content-Type": answer.media_type})
            response.content_length = answer.length
            await response.prepare(request)
            await response.write(answer.body)
            assert request.transport is not None
            request.transport.close()
            return response
        if isinstance(answer, Wire):
            if request.transport is not None:
                if answer.data:
                    request.transport.write(answer.data)
                    request.transport.close()
                else:
                    request.transport.abort()
            return web.Response()
        assert isinstance(answer, Say)
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Content-Type": answer.media_type, **answer.headers},
        )

    async def _decide(self, seen: Seen) -> Answer:
        step: Step = None
        default: Callable[[Seen], Answer] = self._not_found
        if seen.path in self.routes:
            step = self.routes[seen.path]
        elif seen.method == "POST":
            step = self._submits.popleft() if self._submits else self.always_submit
            default = self._accept
        elif seen.path == "/v1/get_result":
            step = self._polls.popleft() if self._polls else self.always_poll
            default = self._poll
        elif seen.path.startswith("/image/"):
            step = self._images.popleft() if self._images else self.always_image
            default = self._image
        elif seen.path == "/v1/credits":
            default = self._credits
        if callable(step):
            made = step(seen)
            answer = await made if inspect.isawaitable(made) else made
        else:
            answer = step
        return answer if answer is not None else default(seen)

    def _accept(self, seen: Seen) -> Answer:
        return self.accepted()

    def _poll(self, seen: Seen) -> Answer:
        task_id = seen.task_id
        if task_id in self.ended:
            return say(200, self.ended[task_id])
        if self.hold_tasks:
            return say(200, status_body(task_id, "Pending"))
        return say(200, self.ready(task_id))

    def _image(self, seen: Seen) -> Answer:
        return Say(200, JPEG, "image/jpeg")

    def _credits(self, seen: Seen) -> Answer:
        return say(200, {"credits": 123.5})

    def _not_found(self, seen: Seen) -> Answer:
        return say(404, {"detail": "Not Found"})


@asynccontextmanager
async def served(
    *, hold_tasks: bool = False, **options: object
) -> AsyncIterator[tuple[ContractServer, AsyncBFL]]:
    """A server and an open client of it."""
    server = ContractServer(hold_tasks=hold_tasks)
    async with server, server.client(**options) as bfl:  # type: ignore[arg-type]  # options of AsyncBFL, passed through
        yield server, bfl


# ---- the Transport protocol, for time that passes at once


TransportAnswer: TypeAlias = Reply | BFLError


def reply(status: int, body: object = None, **headers: str) -> Reply:
    """A reply with a JSON body, or with the given bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-").lower(): text for name, text in headers.items()}, raw)


@dataclass
class ScriptedTransport:
    """A server with `limit` slots whose tasks take `service_s`, or what the scripts say instead."""

    limit: int = 10_000
    service_s: float = 1.0
    submit_s: float = 0.1
    poll_s: float = 0.02
    submit_script: deque[TransportAnswer | None] = field(default_factory=deque)
    poll_script: deque[TransportAnswer | None] = field(default_factory=deque)
    always_submit: Callable[[str, Mapping[str, object]], TransportAnswer | None] | None = None
    always_poll: Callable[[str], TransportAnswer | None] | None = None
    posts: list[tuple[float, str, dict[str, object]]] = field(default_factory=list)
    polled: list[tuple[float, str]] = field(default_factory=list)
    ends_at: dict[str, float] = field(default_factory=dict)
    refused_429: int = 0
    peak: int = 0
    foreign: int = 0  # slots that another program holds

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def active(self) -> int:
        now = self.now()
        return self.foreign + sum(end > now for end in self.ends_at.values())

    @property
    def prompts(self) -> list[object]:
        return [body.get("prompt") for _, _, body in self.posts]

    async def submit(self, path: str, body: bytes) -> Reply:
        await asyncio.sleep(self.submit_s / 2)
        fields = json.loads(body)
        self.posts.append((self.now(), path, fields))
        answer = self.submit_script.popleft() if self.submit_script else None
        if answer is None and self.always_submit is not None:
            answer = self.always_submit(path, fields)
        if answer is None:
            answer = self._accept()
        await asyncio.sleep(self.submit_s / 2)
        return _given(answer)

    def _accept(self) -> Reply:
        if self.active >= self.limit:
            self.refused_429 += 1
            return reply(429, {"detail": "Too many active tasks"})
        task_id = f"task-{len(self.ends_at)}"
        self.ends_at[task_id] = self.now() + self.service_s
        self.peak = max(self.peak, self.active)
        return reply(
            200, {"id": task_id, "polling_url": f"https://api.bfl.ai/v1/get_result?id={task_id}", "cost": 4.0}
        )

    async def poll(self, url: str) -> Reply:
        await asyncio.sleep(self.poll_s / 2)
        self.polled.append((self.now(), url))
        answer = self.poll_script.popleft() if self.poll_script else None
        if answer is None and self.always_poll is not None:
            answer = self.always_poll(url)
        if answer is None:
            task_id = url.rpartition("=")[2]
            if task_id not in self.ends_at:
                answer = reply(404, status_body(task_id, "Task not found"))
            elif self.ends_at[task_id] > self.now():
                answer = reply(200, status_body(task_id, "Pending"))
            else:
                sample = f"https://delivery.bfl.ai/{task_id}.jpeg?se=2099-01-01T00%3A00%3A00Z&sig={SIGNATURE}"
                answer = reply(200, status_body(task_id, "Ready", result={"sample": sample, "seed": 1}))
        await asyncio.sleep(self.poll_s / 2)
        return _given(answer)

    async def download(self, url: str, *, timeout: float) -> Reply:
        del url, timeout
        await asyncio.sleep(0)
        return Reply(200, {"content-type": "image/jpeg"}, JPEG)

    async def aclose(self) -> None:
        pass

    def client(
        self,
        *,
        limits: int | Limits = 12,
        timeouts: Timeouts | None = None,
        interval: float = 0.25,
    ) -> AsyncBFL:
        return AsyncBFL(KEY, transport=self, limits=limits, timeouts=timeouts, polling=Fixed(interval))


def _given(answer: TransportAnswer) -> Reply:
    if isinstance(answer, BFLError):
        raise answer.fresh()
    return answer


def no_secret_in(*texts: object, also: Sequence[str] = ()) -> None:
    """Neither the key, nor a signature, nor the prompt stands in any of these."""
    for text in texts:
        for secret in (KEY, SIGNATURE, PROMPT, *also):
            assert secret not in str(text), f"{secret!r} is shown in {text!r}"
