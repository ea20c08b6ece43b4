"""Pages in a real browser, with whatever a server, a row or a file could smuggle in: nothing of it runs."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, web

from bfl_async import AsyncBFL
from bfl_async.cli.gallery import write_gallery
from bfl_async.sandbox import Sandbox
from tests.media import png
from tests.nasty import NASTY
from tests.web import free_socket, serving_aiohttp, serving_asgi

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


def script(hit: str) -> str:
    """What a script of a stranger would do: it is noticed if it runs, whatever else is forbidden to it."""
    return f"alert(1);new Image().src='{hit}';document.title='taken'"


def payloads(hit: str) -> dict[str, tuple[bytes, str]]:
    """Contents with a script in them, and the types that a server may give them; by a name with a telling suffix."""
    run = script(hit)
    html = f'<!doctype html><body onload="{run}"><script>{run}</script><img src=x onerror="{run}">'.encode()
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"{run}\"><script>{run}</script></svg>".encode()
    xml = (
        "<?xml version='1.0'?><x xmlns:h='http://www.w3.org/1999/xhtml'><h:script>" + run + "</h:script></x>"
    ).encode()
    gif = b"GIF89a/*" + bytes(50) + b"*/=1;" + run.encode() + html
    after_png = png(8, 8) + html
    kinds = {
        "html": (html, "text/html"), "svg": (svg, "image/svg+xml"), "xml": (xml, "application/xml"),
        "xhtml": (b"<html xmlns='http://www.w3.org/1999/xhtml'><script>" + run.encode() + b"</script></html>",
                  "application/xhtml+xml"),
        "gif": (gif, "image/gif"), "png": (after_png, "image/png"), "jpg": (html, "image/jpeg"),
        "webp": (svg, "image/webp"), "mp4": (html, "video/mp4"), "avif": (html, "image/avif"),
        "js": (run.encode(), "text/javascript"), "pdf": (b"%PDF-1.7\n" + html, "application/pdf"),
        "mhtml": (b"Content-Type: text/html\n\n" + html, "multipart/related"), "x": (html, "image/x"), "": (svg, ""),
        "css": (b"@import '" + hit.encode() + b"';", "text/css"), "bin": (html, "application/octet-stream"),
    }  # fmt: skip
    return {f"result.{suffix}" if suffix else "result": each for suffix, each in kinds.items()}


@dataclass
class Watch:
    """A browser, and every sign that a script of a stranger ran in it."""

    context: BrowserContext
    hit: str
    signs: list[str] = field(default_factory=list)

    async def open(self, url: str) -> Page:
        """Open a page; downloads and pages that are refused are as good as any."""
        page: Page = await self.context.new_page()
        page.on("dialog", lambda dialog: asyncio.ensure_future(self._note(dialog)))
        try:
            await page.goto(url, wait_until="load", timeout=10_000)
        except Exception as exc:
            # What the browser saves as a file instead of showing it.
            if "ERR_ABORTED" not in str(exc) and "Download" not in str(exc):
                raise
        return page

    async def _note(self, dialog: object) -> None:
        self.signs.append(f"a dialog of {dialog.page.url}")  # type: ignore[attr-defined]  # of playwright
        await dialog.dismiss()  # type: ignore[attr-defined]  # of playwright

    async def look_at(self, urls: list[str]) -> None:
        """Open each as a page of its own, and see what becomes of it."""
        for url in urls:
            page = await self.open(url)
            await page.evaluate("new Promise((go) => setTimeout(go, 50))")
            if await page.title() == "taken":
                self.signs.append(f"the title of {url}")
            await page.close()


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    hits: list[str] = []

    async def hit(request: web.Request) -> web.Response:
        hits.append(str(request.headers.get("Referer")))
        return web.Response()

    app = web.Application()
    app.router.add_get("/hit", hit)
    async with serving_aiohttp(app, free_socket()) as url, api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        watch = Watch(await browser.new_context(), f"{url}/hit")
        yield watch
        await asyncio.sleep(0.2)
        await browser.close()
    assert watch.signs == []
    assert hits == []


async def test_browser_would_notice_a_script() -> None:
    """The other tests are worth something: the same content, shown without care, runs."""
    with pytest.raises(AssertionError, match=r"a dialog of|the title of"):
        async with watching() as watch:
            data, kind = payloads(watch.hit)["result.svg"]

            async def show(request: web.Request) -> web.Response:
                return web.Response(body=data, content_type=kind)

            app = web.Application()
            app.router.add_get("/x", show)
            async with serving_aiohttp(app, free_socket()) as url:
                await watch.look_at([f"{url}/x"])


@pytest.mark.parametrize("served", [False, True], ids=["file", "http"])
async def test_no_script_runs_from_a_gallery(tmp_path: Path, served: bool) -> None:
    """Neither in the page nor behind its links, whether it is opened as a file or the folder is served."""
    async with watching() as watch:
        files = payloads(watch.hit)
        evil = f'"\'><img src=x onerror="{script(watch.hit)}"><script>{script(watch.hit)}</script>'
        lines: list[dict[str, object]] = []
        for name, (data, _) in files.items():
            for each in (name, f"{name}.png", f"{name[:6]}{len(lines)}.html.jpg"):
                (tmp_path / each).write_bytes(data)
                lines.append(
                    {
                        "file": each,
                        "prompt": evil,
                        "model": evil,
                        "error": evil,
                        "state": evil,
                        "task_id": evil,
                        "fields": {"steps": evil, evil: {evil: [evil]}, "__proto__": {"prompt": evil}},
                    }
                )
        lines += [
            {"file": text[:500], "prompt": text, "error": text, "state": text} for text in [*NASTY, evil]
        ]
        lines.append({"file": "javascript:" + script(watch.hit), "prompt": "x"})
        (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        page_path = write_gallery(tmp_path)
        app = web.Application()
        app.router.add_static("/", tmp_path)
        async with serving_aiohttp(app, free_socket()) as url:
            page = await watch.open(f"{url}/gallery.html" if served else page_path.absolute().as_uri())
            await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
            await page.locator(".card").first.wait_for()
            assert await page.title() != "taken"
            links: set[str] = set()
            await page.locator(".thumb").first.click()
            for _ in lines:
                links |= set(await page.evaluate("[...document.links].map((link) => link.href)"))
                await page.keyboard.press("ArrowRight")
            assert await page.locator("#place").inner_text() == f"{len(lines) - 1} of {len(lines) - 1}"
            await page.keyboard.press("Escape")
            for place in (0, len(lines) - 2):
                await page.locator(".thumb").nth(place).press("c")
            await page.locator("#rows tr").first.wait_for()
            assert await page.title() != "taken"
            assert len(links) >= len(files)
            assert not [link for link in links if link.startswith("javascript")]
            await watch.look_at(sorted(links))


async def test_no_script_runs_from_the_studio(tmp_path: Path) -> None:
    """Whatever a server sends as a result, and whatever stands in prompts and errors."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from examples.studio.app import create_app

    async with watching() as watch:
        results = [*payloads(watch.hit).values()]
        texts = [text[:3_000] for text in NASTY]
        ids = iter(range(10_000))

        async def submit(request: web.Request) -> web.Response:
            return web.json_response({"id": str(next(ids)), "polling_url": None})

        async def poll(request: web.Request) -> web.Response:
            number = int(request.query["id"])
            if number < len(results):
                sample = f"http://{request.host}/r/{number}"
                return web.json_response({"id": str(number), "status": "Ready", "result": {"sample": sample}})
            details = {"Moderation Reasons": [f"<script>{script(watch.hit)}</script>", *NASTY[:3]]}
            return web.json_response({"id": str(number), "status": "Content Moderated", "details": details})

        async def result(request: web.Request) -> web.Response:
            data, kind = results[int(request.match_info["number"])]
            return web.Response(body=data, headers={"Content-Type": kind or "application/x"})

        api = web.Application()
        api.router.add_post("/v1/{model}", submit)
        api.router.add_get("/v1/get_result", poll)
        api.router.add_get("/r/{number}", result)
        async with serving_aiohttp(api, free_socket()) as base_url:
            # What is no image is downloaded again until the time is over, so the time is short.
            app = create_app(
                lambda: AsyncBFL("a-key", base_url=base_url), tmp_path / "images", finish_s=0.5, save_s=3.0
            )
            async with serving_asgi(app, free_socket()) as url, ClientSession() as session:
                pictures = []
                for number in range(len(results) + len(texts)):
                    wish = {"model": "flux-dev", "prompt": texts[number % len(texts)]}
                    async with session.post(f"{url}/pictures", json=wish) as reply:
                        if reply.status == 202:  # half a pair of surrogates is no prompt
                            pictures.append(str((await reply.json())["id"]))
                assert len(pictures) >= len(results)
                while followers := [*app.state.studio._followers]:
                    await asyncio.wait(followers, timeout=20)
                page = await watch.open(url)
                await page.locator(".picture").nth(len(pictures) - 1).wait_for()
                assert await page.title() != "taken"
                await watch.look_at([f"{url}/pictures/{each}/image" for each in pictures])
                await watch.look_at([f"{url}/pictures/{each}" for each in pictures[:3]])


async def test_no_script_runs_from_the_sandboxs_page() -> None:
    """Prompts and names of models as the page shows them, and results behind their URLs."""
    async with watching() as watch, Sandbox(service_s=0.0) as sandbox, ClientSession() as session:
        evil = f'"\'><img src=x onerror="{script(watch.hit)}"><script>{script(watch.hit)}</script>'
        urls = []
        for text in [*NASTY[:-1], evil]:
            body, headers = (
                json.dumps({"prompt": text}),
                {"x-key": sandbox.key, "Content-Type": "application/json"},
            )
            async with session.post(f"{sandbox.url}/v1/flux-dev", data=body, headers=headers) as reply:
                if reply.status != 200:
                    continue
                task_id = (await reply.json())["id"]
            asked = {"id": task_id}
            async with session.get(
                f"{sandbox.url}/v1/get_result", params=asked, headers={"x-key": sandbox.key}
            ) as reply:
                urls.append((await reply.json())["result"]["sample"])
        page = await watch.open(f"{sandbox.url}/sandbox")
        await page.locator("#tasks tr").nth(len(urls) - 1).wait_for()
        assert await page.title() != "taken"
        await watch.look_at(urls[:2])
