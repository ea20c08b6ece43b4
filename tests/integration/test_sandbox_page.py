"""The sandbox's page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import Browser, Page, async_playwright, expect

from bfl_async import AsyncBFL, Fixed, Flux2Klein4B, FluxDev
from bfl_async.sandbox import DIALS, Sandbox
from tests.axe import violations_of

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
    # The browser is started once for all of them.
    pytest.mark.asyncio(loop_scope="module"),
]

_HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@dataclass
class Watched:
    """A page, and what its console said and where it went."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(limit=8, service_s=float("inf")) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(loop_scope="module")
async def watched(browser: Browser, sandbox: Sandbox) -> AsyncIterator[Watched]:
    """The page, opened; at the end nothing has gone wrong in it and it has asked its own server only."""
    page = await browser.new_page(viewport={"width": 1280, "height": 1000})
    watched = Watched(page)
    page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("request", lambda request: watched.urls.append(request.url))
    await page.goto(f"{sandbox.url}/sandbox")
    await expect(page.locator("#dials details")).to_have_count(5)
    yield watched
    await page.close()
    assert watched.complaints == []
    assert [url for url in watched.urls if not url.startswith((sandbox.url, "data:"))] == []


async def test_slots_and_tasks_appear_while_a_client_works(watched: Watched, sandbox: Sandbox) -> None:
    """What the account holds now, another client's slots apart, and the newest tasks with their state."""
    page = watched.page
    await expect(page.locator("#no-tasks")).to_be_visible()
    async with AsyncBFL(sandbox.key, base_url=sandbox.url, limits=8, polling=Fixed(0.05)) as bfl:
        handles = [await bfl.submit(FluxDev(prompt=f"cat {number}")) for number in range(3)]
        sandbox.foreign_active = 2
        await expect(page.locator("#slots-text")).to_have_text("5 of 8 taken, 2 by another client")
        await expect(page.locator("#tasks tr")).to_have_count(3)
        ours, others = await page.evaluate(
            "['ours', 'others'].map((id) => document.getElementById(id).getBoundingClientRect().width)"
        )
        assert ours > others > 0
        first = page.locator("#tasks tr").last
        await expect(first).to_contain_text("cat 0")
        await expect(first).to_contain_text("Pending")
        assert handles[0].task_id is not None
        sandbox.settle(handles[0].task_id)
        await handles[0]
        await expect(first).to_contain_text("Ready")
        await expect(page.locator("#slots-text")).to_have_text("4 of 8 taken, 2 by another client")
        await expect(page.locator("#count-accepted")).to_have_text("3")
        for handle in handles[1:]:
            assert handle.task_id is not None
            sandbox.settle(handle.task_id, "Error")
        await expect(page.locator("#tasks .bad")).to_have_count(2)


async def test_a_dial_set_in_the_page_fires(watched: Watched, sandbox: Sandbox) -> None:
    """With the keyboard alone; the page then says how often it fired, and turns all of them off."""
    page = watched.page
    assert await page.locator("#dials input").count() == len(DIALS)
    summary = page.locator("summary", has_text="Poll")
    await summary.focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("poll-502", exact=False).focus()
    await page.keyboard.type("1")
    await page.keyboard.press("Tab")
    await expect(page.locator("#dial-poll-502")).to_have_class("dial on")
    assert sandbox.faults.settings() == {"poll-502": 1.0}
    await expect(summary).to_have_text("Poll (19)1 on")
    async with AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.05)) as bfl:
        handle = await bfl.submit(Flux2Klein4B(prompt="a cat"))
        await expect(page.locator("#fired-poll-502")).not_to_have_text("0")
        await page.get_by_role("button", name="All off").click()
        await expect(page.locator("#set-poll-502")).to_have_value("0")
        assert sandbox.faults.settings() == {}
        assert handle.task_id is not None
        sandbox.settle(handle.task_id)
        await handle


async def test_dials_are_collapsed_by_kind(watched: Watched, sandbox: Sandbox) -> None:
    """Each kind says how many it has and how many are on, also when they were set elsewhere; code is set as code."""
    page = watched.page
    assert await page.locator("#dials details[open]").count() == 0
    sandbox.faults.set_all({"image-500": 0.5, "image-slow": 0.1})
    await expect(page.locator("summary", has_text="Image")).to_have_text("Image (8)2 on")
    await page.locator("summary", has_text="Webhook").click()
    await expect(page.locator("#dial-webhook-late code")).to_have_text("webhook_late_s")
    assert "`" not in await page.locator("#dials").inner_text()


async def test_results_are_shown_small(watched: Watched, sandbox: Sandbox) -> None:
    """In their ratio, loaded once, and without counting as a download; what is not ready has no picture."""
    page = watched.page
    async with AsyncBFL(sandbox.key, base_url=sandbox.url, limits=8) as bfl:
        handles = [
            await bfl.submit(FluxDev(prompt=f"cat {number}", width=1024, height=512)) for number in range(2)
        ]
        await expect(page.locator("#tasks tr")).to_have_count(2)
        assert await page.locator("#tasks img").count() == 0
        for handle, status in zip(handles, ("Ready", "Error"), strict=True):
            assert handle.task_id is not None
            sandbox.settle(handle.task_id, status)
        image = page.locator("#tasks tr").last.locator("img")
        await expect(image).to_be_visible()
        async with ClientSession() as session, session.get(f"{sandbox.url}/sandbox/statistics") as reply:
            assert (await reply.json())["downloads"] == 0
        await page.evaluate("new Promise((go) => setTimeout(go, 1200))")
        sizes = await image.evaluate("(i) => [i.naturalWidth, i.naturalHeight, i.width, i.height]")
        assert sizes == [192, 96, 64, 32]
        assert await page.locator("#tasks img").count() == 1
        assert len([url for url in watched.urls if url.endswith("/thumbnail")]) == 1


async def test_thumbnail_of_nothing_is_404(sandbox: Sandbox) -> None:
    """An unknown task, and one that has not ended."""
    async with AsyncBFL(sandbox.key, base_url=sandbox.url, limits=8) as bfl, ClientSession() as session:
        handle = await bfl.submit(FluxDev(prompt="cat"))
        assert handle.task_id is not None
        for task_id in ("no-such-task", "..%2F..%2Fetc%2Fpasswd", handle.task_id):
            async with session.get(f"{sandbox.url}/sandbox/tasks/{task_id}/thumbnail") as reply:
                assert reply.status == 404
        sandbox.settle(handle.task_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 1000), (390, 844)], ids=["desktop", "phone"])
async def test_axe_finds_nothing(
    watched: Watched, sandbox: Sandbox, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    """At rest, with tasks of every state, and with the dials open and on."""
    page = watched.page
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    found = {"at rest": await violations_of(page)}
    async with AsyncBFL(sandbox.key, base_url=sandbox.url, limits=8) as bfl:
        handles = [await bfl.submit(FluxDev(prompt=f"cat {number}")) for number in range(3)]
        for handle, status in zip(handles, ("Ready", "Error", "Content Moderated"), strict=True):
            assert handle.task_id is not None
            sandbox.settle(handle.task_id, status)
        await bfl.submit(FluxDev(prompt="cat"))
        await expect(page.locator("#tasks img")).to_be_visible()
        found["with tasks"] = await violations_of(page)
        sandbox.faults.set("poll-502", 0.5)
        for summary in await page.locator("summary").all():
            await summary.click()
        await expect(page.locator("#dial-poll-502")).to_have_class("dial on")
        found["with dials"] = await violations_of(page)
        sandbox.faults.clear()
        for task in sandbox.newest(9):
            if not task.ended:
                sandbox.settle(task.id)
    assert {state: each for state, each in found.items() if each} == {}


async def test_the_account_is_set_in_the_page(watched: Watched, sandbox: Sandbox) -> None:
    """Each field as it is left; what is refused is said, and the field shows what holds."""
    page = watched.page
    for label, value in (("limit (active tasks)", "3"), ("slots of another client", "1"), ("credits", "5.5")):
        await page.get_by_label(label, exact=True).fill(value)
        await page.keyboard.press("Tab")
    await page.get_by_label("key revoked").check()
    await expect(page.locator("#slots-text")).to_have_text("1 of 3 taken, 1 by another client")
    await expect(page.locator("#count-credits")).to_have_text("5.5")
    assert (sandbox.limit, sandbox.foreign_active, sandbox.credits, sandbox.revoked) == (3, 1, 5.5, True)
    await page.get_by_label("speed", exact=True).fill("0")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("alert")).to_contain_text("speed cannot be 0")
    await expect(page.get_by_label("speed", exact=True)).to_have_value("1")
    watched.complaints[:] = [text for text in watched.complaints if "400 (Bad Request)" not in text]


async def test_a_prompt_stays_text(watched: Watched, sandbox: Sandbox) -> None:
    """Markup in a prompt is shown as it was written, and does nothing."""
    page = watched.page
    async with AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
        handle = await bfl.submit(Flux2Klein4B(prompt=_HOSTILE))
        await expect(page.locator("#tasks td.prompt")).to_have_text(_HOSTILE)
        assert await page.locator("#tasks td.prompt *, #tasks script").count() == 0
        assert await page.title() == "bfl-async sandbox"
        assert handle.task_id is not None
        sandbox.settle(handle.task_id)
        await handle


async def test_what_is_smuggled_into_the_page_cannot_run(watched: Watched) -> None:
    """The policy allows the page's own script by its hash, and no other, nor any other host."""
    page = watched.page
    await page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    )
    blocked = await page.evaluate("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'blocked')")
    assert (await page.title(), blocked) == ("bfl-async sandbox", "blocked")
    assert all("Content Security Policy" in text for text in watched.complaints)
    assert len(watched.complaints) >= 2
    watched.complaints.clear()
    watched.urls[:] = [url for url in watched.urls if ":1/" not in url]


async def test_the_page_fits_a_phone(watched: Watched, sandbox: Sandbox) -> None:
    """At 380 px nothing is cut off sideways, whatever a prompt holds; every field has its label."""
    page = watched.page
    await page.set_viewport_size({"width": 380, "height": 800})
    async with AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
        handle = await bfl.submit(Flux2Klein4B(prompt="unbroken" * 40))
        await expect(page.locator("#tasks tr")).to_have_count(1)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 380
        unlabelled = await page.evaluate(
            "[...document.querySelectorAll('input')].filter((i) => !i.labels.length).map((i) => i.id)"
        )
        assert unlabelled == []
        assert handle.task_id is not None
        sandbox.settle(handle.task_id)
        await handle


async def test_the_page_says_when_the_sandbox_is_gone(browser: Browser) -> None:
    """It keeps asking, and says that nobody answers."""
    page = await browser.new_page()
    async with Sandbox() as sandbox:
        await page.goto(f"{sandbox.url}/sandbox")
        await expect(page.get_by_role("alert")).to_have_text("")
    await expect(page.get_by_role("alert")).to_have_text("The sandbox does not answer.")
    await page.close()
