"""The studio of the examples: its server with many clients, and its page in a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from PIL import Image

from bfl_async import AsyncBFL, Limits
from bfl_async.sandbox import Sandbox
from bfl_async.webhooks import WebhookReceiver
from tests.web import SECRET, free_socket, serving_aiohttp, serving_asgi, url_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from playwright.async_api import Page, Route

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHOTS = os.environ.get("BFL_SHOTS")  # a folder for screenshots, to be looked at

in_browser = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.timeout(90),
]


@dataclass
class Place:
    """A studio that is served, and the sandbox that draws for it."""

    url: str
    sandbox: Sandbox
    app: FastAPI

    @property
    def client(self) -> AsyncBFL:
        client: AsyncBFL = self.app.state.bfl_client
        return client


Serve = Callable[[Sandbox], Awaitable[Place]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve a studio that draws with the given sandbox and is told by webhook."""
    from examples.studio.app import create_app

    async with AsyncExitStack() as stack:

        async def serve_it(sandbox: Sandbox) -> Place:
            await stack.enter_async_context(sandbox)
            bound = free_socket()
            receiver = WebhookReceiver(f"{url_of(bound)}/bfl", SECRET)
            limits = Limits(account=sandbox.limit, queue=500)
            app = create_app(
                lambda: AsyncBFL(sandbox.key, base_url=sandbox.url, limits=limits, webhook=receiver),
                tmp_path / "images",
                receiver=receiver,
                finish_s=0.5,
            )
            url = await stack.enter_async_context(serving_asgi(app, bound))
            return Place(url, sandbox, app)

        yield serve_it


def a_session() -> ClientSession:
    return ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60))


async def draw(session: ClientSession, place: Place, prompt: str, model: str = "flux-2-klein-4b") -> str:
    async with session.post(f"{place.url}/pictures", json={"model": model, "prompt": prompt}) as reply:
        assert reply.status == 202, await reply.text()
        return str((await reply.json())["id"])


async def watch(session: ClientSession, place: Place, picture_id: str) -> list[dict[str, object]]:
    """Read a picture's events to the end."""
    async with session.get(f"{place.url}/pictures/{picture_id}/events") as reply:
        assert reply.status == 200
        return [json.loads(line[6:]) async for line in reply.content if line.startswith(b"data: ")]


# --- the server -------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_hundred_watchers_each_see_the_end_of_their_own_task(serve: Serve) -> None:
    """One process, 12 slots: nobody is told another's, and a watcher who leaves frees nothing but its wait."""

    def service_s(_: str, number: int) -> float:
        return 0.1 + 0.02 * (number % 5)

    place = await serve(Sandbox(limit=12, service_s=service_s))
    async with a_session() as session:

        async def one(number: int) -> None:
            prompt = f"number {number}" + (" [moderate-output]" if number % 20 == 0 else "")
            picture_id = await draw(session, place, prompt)
            if number % 10 == 5:  # leaves at once
                leaver = asyncio.create_task(watch(session, place, picture_id))
                await asyncio.sleep(0.01 * (number % 40))
                leaver.cancel()
                return
            told = await watch(session, place, picture_id)
            end = told[-1]
            assert [item["state"] for item in told].count("settled") == 1
            assert end["state"] == "settled"
            assert ("error" in end) == (number % 20 == 0)
            task_id = str(end["task_id"])
            assert place.sandbox.tasks[task_id].prompt == prompt

        await asyncio.gather(*map(one, range(200)))
        assert await place.client.drain(20)
        now, served = place.client.statistics(), place.sandbox.statistics()
        assert (now.ready, now.moderated, now.slots_taken) == (190, 10, 0)
        assert (served.accepted, served.peak_active, served.refused_429) == (200, 12, 0)


async def test_browser_that_comes_back_is_told_what_it_missed_and_no_more(serve: Serve) -> None:
    """By `Last-Event-ID`: nothing that it has seen, then what is new; after the end 204 keeps it away."""
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        picture_id = await draw(session, place, "x")
        url = f"{place.url}/pictures/{picture_id}/events"
        await place.sandbox.wait_accepted(1)

        async def read(last_id: str, until: str) -> tuple[list[str], str]:
            ids: list[str] = []
            async with session.get(url, headers={"Last-Event-ID": last_id} if last_id else {}) as reply:
                assert reply.status == 200
                async for line in reply.content:
                    if line.startswith(b"id: "):
                        ids.append(line[4:].decode().strip())
                        if ids[-1].startswith(until):
                            return ids, ids[-1]
            raise AssertionError("it ended before")

        _, last = await read("", "submitted.50656e64696e67")  # Pending
        (task_id,) = place.sandbox.tasks
        asyncio.get_running_loop().call_later(0.2, place.sandbox.settle, task_id)
        ids, end = await read(last, "settled")
        assert last not in ids
        async with session.get(url, headers={"Last-Event-ID": end}) as reply:
            assert reply.status == 204
        ids, _ = await read("", "settled")
        assert len(ids) == 1


async def test_page_that_comes_back_gets_what_changed_since(serve: Serve) -> None:
    """The stream of all pictures resumes by its number; one of another process starts anew."""
    place = await serve(Sandbox(service_s=math.inf))
    async with a_session() as session:
        for number in range(3):
            await draw(session, place, f"number {number}")
        await place.sandbox.wait_accepted(3)

        async def read(after: str, count: int) -> tuple[list[str], list[str]]:
            kinds: list[str] = []
            ids: list[str] = []
            async with session.get(f"{place.url}/events", params={"after": after}) as reply:
                async for line in reply.content:
                    if line.startswith(b"event: "):
                        kinds.append(line[7:].decode().strip())
                    if line.startswith(b"id: "):
                        ids.append(line[4:].decode().strip())
                    if line == b"\n" and len(kinds) >= count:
                        return kinds, ids
            raise AssertionError("it ended")

        kinds, ids = await read("", 4)
        assert kinds.count("picture") >= 3
        assert "reset" not in kinds
        task_id = next(iter(place.sandbox.tasks))
        place.sandbox.settle(task_id, "Error")
        kinds, later = await read(ids[-1], 1)
        assert not {*ids} & {*later}
        kinds, _ = await read("0badc0de-17", 4)
        assert kinds[0] == "reset"
        assert kinds.count("picture") >= 3


async def test_server_refuses_what_it_must(serve: Serve) -> None:
    """Other sites, wrong wishes, strange pictures; and every answer has the strict policy."""
    place = await serve(Sandbox(service_s=0.0))
    async with a_session() as session:
        wish = {"model": "flux-dev", "prompt": "x"}
        for headers, body, status in (
            ({"Origin": "https://evil.example"}, wish, 403),
            ({"Origin": place.url}, wish, 202),
            ({}, {"model": "flux-9", "prompt": "x"}, 422),
            ({}, {"model": "flux-dev", "prompt": ""}, 422),
            ({}, {"model": "flux-dev", "prompt": "x" * 5000}, 422),
            ({}, {"model": "flux-dev", "prompt": "half a pair \ud83e"}, 422),
        ):
            async with session.post(f"{place.url}/pictures", json=body, headers=headers) as reply:
                assert reply.status == status
                assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        # What a form of another site can send:
        async with session.post(
            f"{place.url}/pictures", data=json.dumps(wish), headers={"Content-Type": "text/plain"}
        ) as reply:
            assert reply.status == 415
        for path in (
            "pictures/none",
            "pictures/none/events",
            "pictures/none/image",
            "pictures/..%2f..%2fapp.py/image",
        ):
            async with session.get(f"{place.url}/{path}") as reply:
                assert reply.status == 404
        await place.client.drain(10)
        assert place.sandbox.statistics().accepted == 1


async def test_no_other_site_gets_an_answer_of_the_studio(serve: Serve) -> None:
    """Not by a name of its own that leads here, not by a script, and not by any form; whatever the method."""
    place = await serve(Sandbox(service_s=0.0))
    port = urlsplit(place.url).port
    wish = json.dumps({"model": "flux-dev", "prompt": "x"})
    async with a_session() as session:
        for path in ("/", "/events", "/static/studio.js", "/pictures/none", "/credits"):
            for name in (
                "evil.example",
                f"evil.example:{port}",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
                "2130706433",
            ):
                async with session.get(place.url + path, headers={"Host": name}) as reply:
                    assert reply.status == 421, (path, name)
            for origin in (
                "https://evil.example",
                "null",
                f"http://localhost:{port}",
                f"http://127.0.0.1:{1 + (port or 0)}",
            ):
                async with session.get(place.url + path, headers={"Origin": origin}) as reply:
                    assert reply.status == 403, (path, origin)
        for kind in (
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
        ):
            async with session.post(
                f"{place.url}/pictures", data=wish, headers={"Content-Type": kind}
            ) as reply:
                assert reply.status == 415, kind
        as_json = {"Content-Type": "application/json; charset=utf-8"}
        async with session.post(
            f"{place.url}/pictures", data=b" " * 70_000 + wish.encode(), headers=as_json
        ) as reply:
            assert reply.status == 413

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(1_000):
                yield b" " * 10_000

        with contextlib.suppress(OSError, ClientError):
            async with session.post(f"{place.url}/pictures", data=pieces(), headers=as_json) as reply:
                assert reply.status in (400, 413)
        async with session.get(place.url, headers={"Host": f"localhost:{port}"}) as reply:
            assert reply.status == 200
    assert place.sandbox.statistics().accepted == 0


async def test_server_chooses_no_name_and_no_type_of_a_file(tmp_path: Path) -> None:
    """Ids that are paths, and results that are anything: files lie in the folder, and only images are shown."""
    from examples.studio.app import create_app

    folder = tmp_path / "a" / "b" / "images"
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    results = {
        "../../escaped.desktop": (picture.getvalue(), "image/png"),
        str(tmp_path / "absolute"): (picture.getvalue(), "text/html"),
        "x\0y": (svg, "image/svg+xml"),
        "..": (b"<script>alert(1)</script>", "image/x"),
        "page.html": (b"GIF89a<script>alert(1)</script>", "image/gif"),
    }
    ids = iter(results)

    async def submit(request: web.Request) -> web.Response:
        return web.json_response({"id": next(ids), "polling_url": None})

    async def poll(request: web.Request) -> web.Response:
        number = [*results].index(request.query["id"])
        return web.json_response(
            {
                "id": request.query["id"],
                "status": "Ready",
                "result": {"sample": f"http://{request.host}/r/{number}"},
            }
        )

    async def result(request: web.Request) -> web.Response:
        data, kind = [*results.values()][int(request.match_info["number"])]
        return web.Response(body=data, headers={"Content-Type": kind})

    api = web.Application()
    api.router.add_post("/v1/{model}", submit)
    api.router.add_get("/v1/get_result", poll)
    api.router.add_get("/r/{number}", result)
    async with serving_aiohttp(api, free_socket()) as base_url:
        # What is no image is downloaded again until the time is over, so the time is short.
        app = create_app(lambda: AsyncBFL("a-key", base_url=base_url), folder, finish_s=0.5, save_s=1.0)
        async with serving_asgi(app, free_socket()) as url, a_session() as session:
            place = Place(url, Sandbox(), app)
            shown = []
            for number in range(len(results)):
                picture_id = await draw(session, place, f"number {number}")
                _, unfinished = await asyncio.wait([*app.state.studio._followers], timeout=20)
                assert not unfinished
                told = app.state.studio.pictures[picture_id].told()
                if told["state"] == "saved":
                    async with session.get(f"{url}/pictures/{picture_id}/image") as reply:
                        as_file = "attachment" in reply.headers.get("Content-Disposition", "")
                        assert reply.headers["X-Content-Type-Options"] == "nosniff"
                        assert as_file or reply.content_type in ("image/png", "image/jpeg", "image/webp")
                        shown.append(number)
    assert shown[:2] == [0, 1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(shown)
    assert all(
        path.parent == folder and re.fullmatch(r"[0-9a-f]{32}\.[a-z0-9]+", path.name) for path in files
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.alone
async def test_hundreds_of_pictures_leave_memory_flat(serve: Serve) -> None:
    """What is kept of pictures is bounded: the last ones take no more than those before."""
    import gc
    import tracemalloc

    place = await serve(Sandbox(limit=48, service_s=0.0, retain=50))
    async with a_session() as session:

        async def some(count: int) -> None:
            async def worker(numbers: list[int]) -> None:
                for number in numbers:
                    await watch(session, place, await draw(session, place, f"number {number}"))

            await asyncio.gather(*(worker(list(range(at, count, 16))) for at in range(16)))

        # Somebody looks on all the time. A look that timed out would leave what comes in its buffer.
        async with session.get(f"{place.url}/events", timeout=ClientTimeout(total=None)) as page:

            async def look() -> None:
                async for _ in page.content.iter_any():
                    pass

            looker = asyncio.create_task(look())
            tracemalloc.start()
            await some(800)  # fills whatever is kept, and takes the place of what caches had before
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await some(400)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert not looker.done()
            looker.cancel()
        # Ids of ended tasks are remembered, up to 10,000. A picture has 40 KB, so 400 that stay are 16 MB.
        assert after - before < 2_000_000
        assert len(place.app.state.studio.pictures) == 300
        assert len(place.app.state.bfl_handles) <= 300
        assert place.client.statistics().ready == 1_200


# --- the page ---------------------------------------------------------------------------------------------


@dataclass
class Visit:
    """A browser that notes every complaint."""

    new_page: Callable[..., Awaitable[Page]]
    trouble: list[str] = field(default_factory=list)


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        contexts: dict[str, object] = {}

        async def new_page(url: str, *, width: int = 1200, height: int = 900, scheme: str = "light") -> Page:
            if scheme not in contexts:
                contexts[scheme] = await browser.new_context(color_scheme=scheme)
            page: Page = await contexts[scheme].new_page()  # type: ignore[attr-defined]  # of playwright
            await page.set_viewport_size({"width": width, "height": height})
            page.on("console", lambda message: made.trouble.append(message.text))
            page.on("pageerror", lambda error: made.trouble.append(str(error)))
            page.on("dialog", lambda dialog: made.trouble.append(f"dialog: {dialog.message}"))
            await page.goto(url)
            return page

        made = Visit(new_page)
        yield made
        await browser.close()
    assert made.trouble == []


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


class TestPage:
    """In a real browser, through the keyboard where a person could use it."""

    pytestmark = in_browser

    @pytest.mark.slow
    async def test_prompt_becomes_a_picture_with_progress_on_the_way(
        self, serve: Serve, visit: Visit
    ) -> None:
        """Typed with the keyboard alone; progress is seen to change; the image is the one of this prompt."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=3.0))
        page = await visit.new_page(place.url)
        await page.keyboard.press("Tab")
        await page.keyboard.type("a lighthouse in a storm")
        await page.keyboard.press("Tab")
        await page.keyboard.press("ArrowDown")  # flux-dev
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        card = page.locator("#pictures .picture")
        await expect(card).to_have_count(1)
        await expect(page.locator("#message")).to_have_text("")
        seen: set[str] = set()
        async with asyncio.timeout(20):
            while await card.get_attribute("data-state") != "saved":
                seen.add(await card.locator(".frame").inner_text())
        assert len({text for text in seen if "%" in text}) >= 2
        image = card.locator("img")
        await expect(image).to_have_attribute("alt", "a lighthouse in a storm")
        (task,) = place.sandbox.tasks.values()
        assert (task.model, task.prompt) == ("flux-dev", "a lighthouse in a storm")
        async with asyncio.timeout(10):
            while not await image.evaluate("(i) => i.complete && i.naturalWidth"):
                await page.evaluate("new Promise(requestAnimationFrame)")
        size = await image.evaluate("(i) => [i.naturalWidth, i.naturalHeight]")
        assert size == [task.width, task.height]
        await expect(page.locator("#spent")).to_contain_text("credits")
        await expect(page.locator("#news")).to_have_text("Drawn: a lighthouse in a storm")
        await expect(page.locator("#prompt")).to_be_focused()
        assert await page.locator("#prompt").input_value() == ""
        await shot(page, "desktop-one")

    async def test_reload_amid_a_generation_still_gets_it_and_so_does_a_second_tab(
        self, serve: Serve, visit: Visit
    ) -> None:
        """The server keeps what goes on; a page only looks."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=math.inf, limit=1))
        page = await visit.new_page(place.url)
        await page.get_by_label("What shall be drawn?").fill("the first")
        await page.keyboard.press("Control+Enter")
        await place.sandbox.wait_accepted(1)
        await page.get_by_label("What shall be drawn?").fill("the second")
        await page.get_by_role("button", name="Draw", exact=True).click()
        await expect(page.locator(".picture")).to_have_count(2)
        await expect(page.locator(".picture").first).to_contain_text("Waiting, next in line")
        await page.reload()
        other = await visit.new_page(place.url)
        for each in (page, other):
            await expect(each.locator(".picture")).to_have_count(2)
            await expect(each.locator("#running")).to_have_text("1 of 1")
            await expect(each.locator("#queued")).to_have_text("1")
        (task_id,) = place.sandbox.tasks
        place.sandbox.settle(task_id)
        for each in (page, other):
            await expect(each.locator(".picture").nth(1).locator("img")).to_have_count(1)
        await place.sandbox.wait_accepted(2)
        place.sandbox.settle([*place.sandbox.tasks][1], "Content Moderated", reasons=["Violence"])
        for each in (page, other):
            await expect(each.locator(".picture").first).to_contain_text(
                "Moderation refused this (Violence)."
            )

    async def test_what_is_typed_while_a_wish_is_sent_stays(self, serve: Serve, visit: Visit) -> None:
        """The field is emptied of what was sent, and of nothing else."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=math.inf))
        page = await visit.new_page(place.url)
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def hold(route: Route) -> None:
            asked.set()
            await go_on.wait()
            await route.continue_()

        await page.route("**/pictures", hold)
        field = page.get_by_label("What shall be drawn?")
        await field.fill("the first")
        await page.keyboard.press("Control+Enter")
        await asked.wait()
        await field.fill("the second")
        go_on.set()
        await expect(page.locator("#news")).to_have_text("Waiting to be drawn.")
        await expect(field).to_have_value("the second")

    async def test_prompt_with_html_stays_text(self, serve: Serve, visit: Visit) -> None:
        """Whatever a prompt smuggles in is shown as it was typed, and runs nowhere."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=0.2))
        page = await visit.new_page(place.url)
        evil = "<img src=x onerror=alert(1)><script>alert(2)</script> & \"quotes\" 'too'"
        await page.get_by_label("What shall be drawn?").fill(evil)
        await page.keyboard.press("Control+Enter")
        card = page.locator(".picture")
        await expect(card.locator("img")).to_have_attribute("alt", evil)
        assert await card.locator(".prompt").inner_text() == evil
        assert await page.locator(".prompt img, .prompt script").count() == 0

    async def test_queued_wish_is_withdrawn_and_used_again(self, serve: Serve, visit: Visit) -> None:
        """By keyboard: withdrawn sends nothing; "Use again" fills the form."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=math.inf, limit=1))
        page = await visit.new_page(place.url)
        for prompt in ("the first", "the second"):
            await page.get_by_label("What shall be drawn?").fill(prompt)
            await page.keyboard.press("Control+Enter")
            await expect(page.locator("#prompt")).to_have_value("")
            await place.sandbox.wait_accepted(1)
        await page.get_by_role("button", name="Withdraw: the second").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".picture").first).to_contain_text("Withdrawn.")
        await expect(page.get_by_role("button", name="Use again: the second")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#prompt")).to_have_value("the second")
        await expect(page.locator("#prompt")).to_be_focused()
        assert place.sandbox.statistics().accepted == 1

    @pytest.mark.slow
    async def test_page_fits_a_phone_and_tells_errors(self, serve: Serve, visit: Visit) -> None:
        """Nothing is cut off sideways, every field has its label, targets are large; errors are announced."""
        expect = pytest.importorskip("playwright.async_api").expect
        place = await serve(Sandbox(service_s=0.1, limit=3))
        phone = await visit.new_page(place.url, width=375, height=740)
        prompts = [
            "a lighthouse in a storm, oil on canvas", "unbroken" * 30, "a quiet harbour at dawn [moderate-output]",
            "an owl made of paper", "[fail]", "a red bicycle against a white wall, early morning, long shadows",
        ]  # fmt: skip
        async with a_session() as session:
            for prompt in prompts:
                await draw(session, place, prompt, "flux-dev")
        await expect(phone.locator(".picture[data-state=saved]")).to_have_count(4)
        await expect(phone.locator(".picture[data-state=failed]")).to_have_count(2)
        place.sandbox.service_s = math.inf
        async with a_session() as session:
            for prompt in (
                "a fox in the snow",
                "a city of glass",
                "a whale above the clouds",
                "a garden at night",
            ):
                await draw(session, place, prompt, "flux-pro-1.1")
        await expect(phone.locator(".picture")).to_have_count(10)
        await expect(phone.locator(".picture").nth(2)).to_contain_text("Pending")
        assert await phone.evaluate("document.documentElement.scrollWidth") <= 375
        unlabelled = (
            "[...document.querySelectorAll('textarea, select')].filter((i) => !i.labels.length).length"
        )
        assert await phone.evaluate(unlabelled) == 0
        targets = "[...document.querySelectorAll('button, select, .actions a')]"
        small = f"{targets}.filter((b) => b.offsetParent && b.offsetHeight < 44).length"
        assert await phone.evaluate(small) == 0
        await shot(phone, "phone")
        dark = await visit.new_page(place.url, scheme="dark")
        await expect(dark.locator(".picture")).to_have_count(10)
        await expect(dark.locator(".picture img").first).to_be_visible()
        await shot(dark, "desktop-dark")
        light = await visit.new_page(place.url)
        await expect(light.locator(".picture")).to_have_count(10)
        await shot(light, "desktop")
        await light.get_by_label("What shall be drawn?").fill("   ")
        await light.keyboard.press("Control+Enter")
        await expect(light.get_by_role("alert")).to_have_text("Say what shall be drawn.")
        place.sandbox.service_s = 0.1
        for task_id, task in place.sandbox.tasks.items():
            if not task.ended:
                place.sandbox.settle(task_id)
