"""The web toolkit on real sockets, the same tests for each framework; and the examples that use it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    AuthenticationError,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    DownloadError,
    Fixed,
    InsufficientCreditsError,
    InvalidRequestError,
    LeaseLostError,
    Limits,
    QueueFullError,
    RateLimitedError,
    ServerError,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
)
from bfl_async.integrations import aiohttp as for_aiohttp
from bfl_async.integrations import web as for_any
from bfl_async.integrations.web import Events, Handles, answer_of
from bfl_async.sandbox import Sandbox
from bfl_async.webhooks import WebhookReceiver
from tests.fake import FakeAPI
from tests.web import SECRET, free_socket, serving_aiohttp, serving_asgi, url_of

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from fastapi import FastAPI, Request, Response

from bfl_async.integrations import fastapi as for_fastapi
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
Serving = AbstractAsyncContextManager[str]
Make = Callable[[], AsyncBFL]


def in_aiohttp(make: Make, receiver: WebhookReceiver, drain: float) -> web.Application:
    app = web.Application(middlewares=[for_aiohttp.errors])
    app.cleanup_ctx.append(for_aiohttp.client_context(make, drain=drain))

    async def create(request: web.Request) -> web.Response:
        fields = await request.json()
        result = await request.app[for_aiohttp.CLIENT].generate("flux-dev", **fields)
        return web.json_response({"task": result.task_id})

    async def submit(request: web.Request) -> web.Response:
        handle = request.app[for_aiohttp.CLIENT].submit_nowait("flux-dev", **await request.json())
        return web.json_response(request.app[for_aiohttp.HANDLES].add(handle))

    async def events(request: web.Request) -> web.StreamResponse:
        handle = request.app[for_aiohttp.HANDLES].get(request.match_info["id"])
        if handle is None:
            raise web.HTTPNotFound
        return await for_aiohttp.sse(request, handle)

    app.router.add_post("/images", create)
    app.router.add_post("/submit", submit)
    app.router.add_get("/events/{id}", events)
    app.add_subapp("/bfl", for_aiohttp.webhook_app(receiver))
    return app


def in_fastapi(make: Make, receiver: WebhookReceiver, drain: float) -> FastAPI:
    app = FastAPI(lifespan=for_fastapi.lifespan(make, drain=drain))
    for_fastapi.install_errors(app)

    @app.post("/images")
    async def create(request: Request, bfl: for_fastapi.Client) -> dict[str, str]:
        return {"task": (await bfl.generate("flux-dev", **await request.json())).task_id}

    @app.post("/submit")
    async def submit(request: Request, bfl: for_fastapi.Client, handles: for_fastapi.ClientHandles) -> str:
        return handles.add(bfl.submit_nowait("flux-dev", **await request.json()))

    @app.get("/events/{any_id}")
    async def events(request: Request, any_id: str, handles: for_fastapi.ClientHandles) -> Response:
        handle = handles.get(any_id)
        return Response(status_code=404) if handle is None else for_fastapi.sse(request, handle)

    app.mount("/bfl", for_fastapi.webhook_app(receiver))
    return app


@dataclass
class App:
    """An application that is served, and all around it."""

    url: str
    sandbox: Sandbox
    receiver: WebhookReceiver
    session: ClientSession
    clients: list[AsyncBFL]
    find_handles: Callable[[], Handles]

    @property
    def handles(self) -> Handles:
        return self.find_handles()

    @property
    def client(self) -> AsyncBFL:
        return self.clients[-1]

    async def post(self, path: str, **fields: object) -> tuple[int, dict[str, str], object]:
        async with self.session.post(self.url + path, json=fields) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.json()

    async def events(
        self, any_id: object, last_id: str = "", began: asyncio.Event | None = None
    ) -> list[dict[str, object]]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with self.session.get(f"{self.url}/events/{any_id}", headers=headers) as reply:
            assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            told = []
            async for line in reply.content:
                if line.startswith(b"data: "):
                    told.append(json.loads(line[6:]))
                    if began is not None:
                        began.set()
            return told


@asynccontextmanager
async def serving(
    framework: str, sandbox: Sandbox, *, limits: Limits | None = None, drain: float = 0.0
) -> AsyncIterator[App]:
    """Serve the same application in one of the frameworks."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sandbox)
        bound = free_socket()
        receiver = WebhookReceiver(f"{url_of(bound)}/bfl", SECRET)
        clients: list[AsyncBFL] = []

        def make() -> AsyncBFL:
            made = AsyncBFL(
                sandbox.key,
                base_url=sandbox.url,
                limits=limits or Limits(account=sandbox.limit),
                webhook=receiver,
            )
            clients.append(made)
            return made

        if framework == "aiohttp":
            app = in_aiohttp(make, receiver, drain)
            serve: Serving = serving_aiohttp(app, bound)
        else:
            asgi = in_fastapi(make, receiver, drain)
            serve = serving_asgi(asgi, bound)

        def find_handles() -> Handles:
            if framework == "aiohttp":
                return app[for_aiohttp.HANDLES]
            handles: Handles = asgi.state.bfl_handles
            return handles

        url = await stack.enter_async_context(serve)
        session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=30)))
        yield App(url, sandbox, receiver, session, clients, find_handles)


NAMES = ["aiohttp", "fastapi"]
FRAMEWORKS = pytest.mark.parametrize("framework", NAMES)


def test_every_framework_is_in_this_suite() -> None:
    """Also one that is added later."""
    folder = ROOT / "bfl_async" / "integrations"
    modules = {path.stem for path in folder.glob("*.py") if "def webhook_app(" in path.read_text("utf-8")}
    assert modules == set(NAMES)


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InsufficientCreditsError("x", status_code=402), 402),
        (TaskModeratedError("x", task_id="t", stage="content", reasons=["Violence"]), 409),
        (InvalidRequestError("x", errors=[("width", "too wide")]), 422),
        (QueueFullError("x"), 429),
        (TaskTimeoutError("x", task_id="t", state="submitted"), 504),
        (ClientClosedError("x"), 503),
        (ConnectError("x"), 503),
        (RateLimitedError("x", retry_after_s=2.5), 503),
        (LeaseLostError("x"), 503),
        (ConfigError("x"), 503),
        (AuthenticationError("the key is wrong", status_code=403), 502),
        (ServerError("x", status_code=500), 502),
        (AmbiguousSubmitError("x"), 502),
        (TaskFailedError("x", task_id="t"), 502),
        (DownloadError("x", task_id="t"), 502),
        (BFLError("x"), 502),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BFLError) else str(value),
)
def test_each_error_has_its_http_answer(error: BFLError, status: int) -> None:
    """Only what concerns the browser's own request is told in words; the task's id always is."""
    answer = answer_of(error)
    assert answer.status == status
    assert answer.body["error"] == type(error).__name__
    assert answer.body["task_id"] == error.task_id
    assert (answer.body["detail"] == "x") == (status in (409, 422))
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    if isinstance(error, RateLimitedError):
        assert answer.headers["Retry-After"] == "3"
    assert "key" not in str(answer.body["detail"])
    json.dumps(answer.body)


@FRAMEWORKS
async def test_errors_of_a_handler_become_http_answers(framework: str) -> None:
    """402, 409, 422, 504 with the task's id, and 429 with `Retry-After` when the queue is full."""
    sandbox = Sandbox(service_s=0.0, limit=1)
    async with serving(framework, sandbox, limits=Limits(account=1, queue=0)) as app:
        assert (await app.post("/images", prompt="x"))[0] == 200
        status, _, told = await app.post("/images", prompt="x [moderate-output]")
        assert isinstance(told, dict)
        assert (status, told["stage"], told["reasons"]) == (409, "content", ["Derivative Works Filter"])
        assert (await app.post("/images", prompt="x", width=77))[0] == 422
        assert (await app.post("/images", prompt="x [fail]"))[0] == 502
        sandbox.service_s = math.inf
        status, _, told = await app.post("/images", prompt="x", timeout=0.2)
        assert isinstance(told, dict)
        assert (status, told["task_id"]) == (504, [*sandbox.tasks][-1])
        status, headers, _ = await app.post("/images", prompt="x")
        assert (status, int(headers["retry-after"]) > 0) == (429, True)
        sandbox.settle([*sandbox.tasks][-1])
        await app.client.drain(10)
        sandbox.credits = 0
        assert (await app.post("/images", prompt="x"))[0] == 402


# --- the client's life ------------------------------------------------------------------------------------


@FRAMEWORKS
async def test_application_drains_its_client_when_it_stops(framework: str) -> None:
    """What runs is carried to its end, and nothing runs afterwards."""
    sandbox = Sandbox(service_s=0.5)
    before = asyncio.all_tasks()
    async with serving(framework, sandbox, drain=10) as app:
        for _ in range(3):
            await app.post("/submit", prompt="x")
        await sandbox.wait_accepted(3)
    assert app.client.statistics().ready == 3
    with pytest.raises(ClientClosedError):
        app.client.submit_nowait("flux-dev", prompt="x")
    assert len(app.clients) == 1
    assert asyncio.all_tasks() - before == set()


# --- server-sent events -----------------------------------------------------------------------------------


@FRAMEWORKS
async def test_events_tell_of_queue_status_and_end(framework: str) -> None:
    """From the place in the queue to the end; the id is ours or the task's; others get 404."""
    sandbox = Sandbox(service_s=math.inf, limit=1)
    async with serving(framework, sandbox) as app:
        ids = [(await app.post("/submit", prompt=str(n)))[2] for n in range(3)]
        began = [asyncio.Event() for _ in ids]
        watchers = [
            asyncio.create_task(app.events(each, began=event)) for each, event in zip(ids, began, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in began))
        for number in range(3):
            await sandbox.wait_accepted(number + 1)
            sandbox.settle([*sandbox.tasks][number], "Error" if number == 1 else "Ready")
        told = await asyncio.gather(*watchers)
        assert told[2][0]["state"] == "queued"
        assert told[2][0]["queue_position"] == 1
        for number, each in enumerate(told):
            end = each[-1]
            assert (end["state"], end["task_id"]) == ("settled", [*sandbox.tasks][number])
            error = end.get("error")
            assert (error is not None) == (number == 1)
            if isinstance(error, dict):
                assert (error["http_status"], error["error"]) == (502, "TaskFailedError")
            else:
                assert end["seed"] == sandbox.tasks[str(end["task_id"])].seed
                assert end["cost"] == 2.5
        assert (await app.events(next(iter(sandbox.tasks))))[-1]["state"] == "settled"
        async with app.session.get(f"{app.url}/events/nobody") as reply:
            assert reply.status == 404


@FRAMEWORKS
async def test_browser_that_leaves_ends_its_wait_and_nothing_else(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot stays taken, another browser is still told, and the one who left is soon noticed."""
    monkeypatch.setattr(for_any, "_KEEP_ALIVE_S", 0.1)
    sandbox = Sandbox(service_s=math.inf)
    async with serving(framework, sandbox) as app:
        own_id = (await app.post("/submit", prompt="x"))[2]
        stays = asyncio.create_task(app.events(own_id))
        leaver = await app.session.get(f"{app.url}/events/{own_id}")
        await leaver.content.readline()
        await sandbox.wait_accepted(1)
        assert isinstance(own_id, str)
        handle = app.handles.get(own_id)
        assert handle is not None
        await wait_until(lambda: handle._entry.readers == 2)
        leaver.close()
        await wait_until(lambda: handle._entry.readers == 1)
        assert app.client.statistics().slots_taken == 1
        sandbox.settle(next(iter(sandbox.tasks)))
        assert (await stays)[-1]["state"] == "settled"
        assert app.client.statistics().slots_taken == 0


@FRAMEWORKS
async def test_browser_that_comes_back_after_the_end_is_sent_away(framework: str) -> None:
    """204 is what ends an EventSource for good; one that missed the end is told it."""
    async with serving(framework, Sandbox(service_s=0.0)) as app:
        own_id = (await app.post("/submit", prompt="x"))[2]
        url = f"{app.url}/events/{own_id}"
        async with app.session.get(url) as reply:
            text = await reply.text()
        end = re.findall(r"id: (\S+)", text)[-1]
        assert text.startswith("retry: 2000\n\n")
        assert re.search(rf"event: settled\nid: {re.escape(end)}\ndata: \{{.*\}}\n\n$", text)
        async with app.session.get(url, headers={"Last-Event-ID": end}) as reply:
            assert (reply.status, await reply.read()) == (204, b"")
        assert (await app.events(own_id, "submitted.50656e64696e67.0.5."))[-1]["state"] == "settled"


@pytest.mark.looptime(start=0)
async def test_waiting_browser_is_told_of_its_place_and_that_the_connection_lives() -> None:
    """Places by the second, a comment each 15 s, in any state."""
    api = FakeAPI(limit=1, service_s=math.inf)
    async with api.client(interval=1.0) as bfl:
        await bfl.submit("flux-dev", prompt="first")
        second, third = (bfl.submit_nowait("flux-dev", prompt=str(n)) for n in (2, 3))
        events = Events(third)
        assert await anext(events) == b"retry: 2000\n\n"
        assert b'"queue_position": 1' in await anext(events)
        assert await anext(events) == b": still here\n\n"
        assert asyncio.get_running_loop().time() == pytest.approx(15.1, abs=0.2)
        second.withdraw()
        assert b'"queue_position": 0' in await anext(events)
        assert asyncio.get_running_loop().time() == pytest.approx(16.1, abs=0.2)
        third.withdraw()
        assert b"event: settled" in await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.looptime(start=0)
async def test_handles_are_kept_within_bounds_and_running_ones_longest() -> None:
    """Settled ones go first, the oldest first; both kinds of id lead to a handle, and no others do."""
    api = FakeAPI(limit=12, service_s=math.inf)
    async with api.client(interval=0.1) as bfl:
        handles = Handles(most=20)
        running = [await bfl.submit("flux-dev", prompt=str(n)) for n in range(5)]
        ids = [handles.add(handle) for handle in running]
        for _ in range(100):
            handle = await bfl.submit("flux-dev", prompt="x")
            handles.add(handle)
            api.end(str(handle.task_id))
            await handle
            assert len(handles) <= 20
        assert [handles.get(each) for each in ids] == running
        assert handles.get("task-3") is running[3]
        assert handles.get("task-104") is handle
        assert handles.get("task-20") is handles.get("") is handles.get("none") is None
        few = Handles(most=3)
        kept = [few.add(handle) for handle in running]
        assert len(few) == 3
        assert [few.get(each) is not None for each in kept] == [False, False, True, True, True]


# --- the webhook's route ----------------------------------------------------------------------------------


@FRAMEWORKS
async def test_webhook_route_answers_as_the_server_needs_it(framework: str) -> None:
    """2xx for what is taken or known, 401, 400 and 413 for what is not; a genuine one ends its handle."""
    sandbox = Sandbox(service_s=math.inf)
    async with serving(framework, sandbox) as app:
        await app.post("/submit", prompt="x")
        await sandbox.wait_accepted(1)
        (task,) = sandbox.tasks.values()
        assert task.webhook is not None
        secret = task.webhook.secret

        async def call(body: bytes, headers: dict[str, str], *, chunked: bool = False) -> int:
            async def pieces() -> AsyncIterator[bytes]:
                for at in range(0, len(body), 65_536):
                    yield body[at : at + 65_536]

            assert task.webhook is not None
            data = pieces() if chunked else body
            async with app.session.post(task.webhook.url, data=data, headers=headers) as reply:
                return reply.status

        genuine = {"X-Webhook-Secret": secret}
        ready = json.dumps(
            {"id": task.id, "status": "Ready", "result": {"sample": "https://x.bfl.ai/y"}}
        ).encode()
        assert await call(ready, {}) == 401
        assert await call(ready, {"X-Webhook-Secret": SECRET}) == 401
        assert await call(b"{}", genuine) == 400
        assert await call(ready + b" " * 1_100_000, genuine, chunked=True) == 413
        assert await call(b'{"id": "another", "status": "Error"}', genuine) == 400
        assert app.client.statistics().active == 1
        digest = hmac.new(secret.encode(), ready, hashlib.sha256).hexdigest()
        assert await call(ready, {"X-BFL-Signature": f"sha256={digest}"}) == 200
        assert app.client.statistics().ready == 1
        assert await call(ready, genuine) == 200
        told = app.receiver.statistics()
        assert (told.delivered, told.duplicates, told.rejected) == (1, 1, 4)
        async with app.session.get(task.webhook.url) as reply:
            assert reply.status == 405


@FRAMEWORKS
async def test_delivery_that_does_not_end_is_not_waited_for(
    framework: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who calls may be anybody: a body has a deadline, and one that breaks off is no error of the server."""
    monkeypatch.setattr(for_any, "_BODY_S", 0.2)
    async with serving(framework, Sandbox()) as app:
        held = asyncio.Event()

        async def trickle() -> AsyncIterator[bytes]:
            yield b"{"
            await held.wait()

        async with app.session.post(f"{app.url}/bfl/nonce", data=trickle()) as reply:
            assert reply.status == 408
        monkeypatch.setattr(for_any, "_BODY_S", 30.0)
        host, _, port = app.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /bfl/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        assert await reader.read() == b""
        async with app.session.post(f"{app.url}/bfl/nonce", data=b"{}") as reply:
            assert reply.status == 401
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# --- the examples -----------------------------------------------------------------------------------------


def module_text(name: str) -> str:
    """An example without its docstring."""
    return (ROOT / "examples" / name).read_text("utf-8").partition('"""\n\n')[2]


@pytest.mark.parametrize(
    ("name", "page"), [("web_fastapi.py", "README.md"), ("web_aiohttp.py", "docs/howto/web.md")]
)
def test_page_shows_the_example_as_it_is_run(name: str, page: str) -> None:
    """Word for word, and in no more than 15 lines."""
    text = module_text(name)
    assert f"```python\n{text}```" in (ROOT / page).read_text("utf-8")
    assert len([line for line in text.splitlines() if line]) <= 15


@asynccontextmanager
async def environment(sandbox: Sandbox) -> AsyncIterator[None]:
    """The sandbox, named by the two variables."""
    async with sandbox:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BFL_API_KEY", sandbox.key)
            patch.setenv("BFL_BASE_URL", sandbox.url)
            yield


async def test_fastapi_example_draws() -> None:
    """As it stands in the README."""
    names: dict[str, object] = {"__name__": "example"}
    exec(module_text("web_fastapi.py"), names)
    sandbox = Sandbox(service_s=0.0)
    app = names["app"]
    assert isinstance(app, FastAPI)
    async with environment(sandbox), serving_asgi(app, free_socket()) as url, ClientSession() as session:
        async with session.post(f"{url}/images", json={"prompt": "a cat"}) as reply:
            assert reply.status == 200
            told = await reply.json()
            assert told["task"] in sandbox.tasks
            assert told["url"].startswith(sandbox.url)
        async with session.post(f"{url}/images", json={"prompt": "a cat [moderate-output]"}) as reply:
            assert reply.status == 409


async def test_aiohttp_example_draws() -> None:
    """As docs/howto/web.md shows it."""
    names: dict[str, object] = {"__name__": "example"}
    exec(module_text("web_aiohttp.py"), names)
    sandbox = Sandbox(service_s=0.0)
    app = names["app"]
    assert isinstance(app, web.Application)
    async with (
        environment(sandbox),
        serving_aiohttp(app, free_socket()) as url,
        ClientSession() as session,
        session.post(f"{url}/images", json={"prompt": "a cat"}) as reply,
    ):
        assert (reply.status, reply.content_type) == (200, "image/jpeg")
        assert (await reply.read()).startswith(b"\xff\xd8")


@pytest.mark.parametrize("name", ["web_fastapi.py", "web_aiohttp.py"])
async def test_no_form_of_another_site_makes_an_example_spend(name: str) -> None:
    """What a browser sends without asking first is refused, and nothing is submitted."""
    names: dict[str, object] = {"__name__": "example"}
    exec(module_text(name), names)
    sandbox, app = Sandbox(service_s=0.0), names["app"]
    body = json.dumps({"prompt": "a cat"}).encode()
    async with environment(sandbox), AsyncExitStack() as stack:
        serving = (
            serving_aiohttp(app, free_socket())
            if isinstance(app, web.Application)
            else (serving_asgi(cast("FastAPI", app), free_socket()))
        )
        url = await stack.enter_async_context(serving)
        session = await stack.enter_async_context(ClientSession(skip_auto_headers=["Content-Type"]))
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            None,
        ):
            headers = {} if kind is None else {"Content-Type": kind}
            async with session.post(f"{url}/images?prompt=a+cat", data=body, headers=headers) as reply:
                assert reply.status in (415, 422), kind
        assert sandbox.statistics().accepted == 0


async def test_pipeline_example_stores_what_its_queue_brings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each prompt once; one that is moderated costs no other; the queue is read no faster than images come."""
    from examples.pipeline import draw_all

    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=5)

    async def produce() -> None:
        for number in range(40):
            await queue.put(f"number {number}" + (" [moderate-output]" if number == 7 else ""))
        await queue.put(None)

    async with (
        Sandbox(service_s=0.02, limit=4) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=4, polling=Fixed(0.01)) as bfl,
    ):
        producer = asyncio.create_task(produce())
        stored = [path.name async for path in draw_all(bfl, queue, tmp_path)]
        await producer
    assert sorted(stored) == [f"{number:05}.jpg" for number in range(40) if number != 7]
    assert sorted(stored) == sorted(path.name for path in tmp_path.iterdir())
    assert capsys.readouterr().err.startswith("7: moderation refused")


async def run_example(sandbox: Sandbox, arguments: list[str], stdin: bytes, folder: Path) -> str:
    """Run an example as a process of its own; what it wrote to stdout."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BFL_API_KEY": sandbox.key, "BFL_BASE_URL": sandbox.url},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(stdin)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_pipeline_example_runs_from_the_shell(tmp_path: Path) -> None:
    """Lines in, paths out."""
    async with Sandbox(service_s=0.0) as sandbox:
        out = await run_example(sandbox, ["examples.pipeline", "out"], b"a cat\n\na dog\n", tmp_path)
    assert sorted(out.split()) == ["out/00000.jpg", "out/00001.jpg"]
    assert (tmp_path / "out" / "00001.jpg").exists()


async def test_studio_runs_from_the_shell_with_the_sandbox(tmp_path: Path) -> None:
    """The command of docs/howto/studio.md: it says where it is, draws, and ends when it is told to."""
    with free_socket() as bound:
        port = bound.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.studio", "--sandbox", "--port", str(port), cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1]
        async with asyncio.timeout(30), ClientSession() as session:
            while True:
                try:
                    reply = await session.post(
                        f"{url}/pictures", json={"model": "flux-2-klein-4b", "prompt": "a cat"}
                    )
                except OSError:  # not up yet
                    await asyncio.sleep(0.05)
                    continue
                break
            assert reply.status == 202
            picture_id = (await reply.json())["id"]
            async with session.get(f"{url}/pictures/{picture_id}/events") as events:
                assert b"event: settled" in await events.read()
    finally:
        process.terminate()
        await process.communicate()
    assert [path.suffix for path in (tmp_path / "studio-images").iterdir()] == [".jpg"]
