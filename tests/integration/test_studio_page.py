"""The page of the studio in a real browser, through the keyboard where a person could use it."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bfl_async.sandbox import Sandbox
from tests.axe import violations_of
from tests.media import png
from tests.studio import Place, Serve, a_session, draw, serving_studios

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
expect = pytest.importorskip("playwright.async_api", reason="playwright is not installed").expect

# A busy machine draws more slowly.
expect.set_options(timeout=20_000)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# A folder for screenshots, to be looked at.
SHOTS = os.environ.get("BFL_SHOTS")
SCREENS = {"desktop": (1280, 860), "phone": (390, 844)}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.timeout(90),
    # The browser is started once for all of them.
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Visit:
    """Windows of a browser, and every complaint of theirs."""

    new_page: Callable[..., Awaitable[Page]]
    trouble: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve a studio that draws with the given sandbox and gets its deliveries."""
    async with serving_studios(tmp_path / "images") as serve_one:
        yield serve_one


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, serve: Serve) -> AsyncIterator[Visit]:
    """Open pages; at the end the console of each must be empty."""
    made = []

    async def new_page(url: str, *, screen: str = "desktop", scheme: str = "light") -> Page:
        width, height = SCREENS[screen]
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": height},
            permissions=["clipboard-read", "clipboard-write"],
            has_touch=screen == "phone",
        )
        made.append(context)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: window.trouble.append(message.text))
        page.on("pageerror", lambda error: window.trouble.append(str(error)))
        page.on("dialog", lambda dialog: window.trouble.append(f"dialog: {dialog.message}"))
        await page.goto(url)
        return page

    window = Visit(new_page)
    yield window
    for context in made:
        await context.close()
    assert window.trouble == []


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png")


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


async def drop(page: Page, selector: str, name: str, kind: str, data: bytes) -> None:
    """Drop a file on an element, as a hand would."""
    text = base64.b64encode(data).decode()
    await page.evaluate(
        """([selector, name, kind, text]) => {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, {type: kind}));
            for (const type of ["dragenter", "dragover", "drop"]) {
                const event = new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer});
                document.querySelector(selector).dispatchEvent(event);
            }
        }""",
        [selector, name, kind, text],
    )


async def drawn(
    place: Place, prompts: list[str], model: str = "flux-2-klein-4b", **more: object
) -> list[str]:
    """Draw pictures without a page, one after the other; return their ids."""
    async with a_session() as session:
        ids = [await draw(session, place, prompt, model, **more) for prompt in prompts]
    await place.client.drain(20)
    return ids


@pytest.mark.slow
async def test_prompt_becomes_a_picture_with_progress_on_the_way(serve: Serve, visit: Visit) -> None:
    """Typed with the keyboard alone; progress is seen to change; the image is the one of this prompt."""
    place = await serve(Sandbox(service_s=3.0))
    page = await visit.new_page(place.url)
    await page.keyboard.press("Tab")
    await page.keyboard.type("a lighthouse in a storm")
    await page.keyboard.press("Tab")
    await page.keyboard.type("flux-dev")
    await tab_to(page, "#draw")
    await page.keyboard.press("Enter")
    card = page.locator("#pictures .picture")
    await expect(card).to_have_count(1)
    await expect(page.locator("#message")).to_have_text("")
    seen: set[str] = set()
    async with asyncio.timeout(20):
        while await card.get_attribute("data-state") != "saved":
            seen.add(await card.locator(".frame").inner_text())
    assert len({text for text in seen if "Drawing" in text and "%" in text}) >= 2
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
    await expect(page.locator("#draw")).to_be_focused()
    await expect(page.locator("#prompt")).to_have_value("a lighthouse in a storm")


async def test_reload_amid_a_generation_still_gets_it_and_so_does_a_second_tab(
    serve: Serve, visit: Visit
) -> None:
    """The server keeps what goes on; a page only looks."""
    place = await serve(Sandbox(service_s=math.inf, limit=1))
    page = await visit.new_page(place.url)
    await page.get_by_label("Prompt", exact=True).fill("the first")
    await page.keyboard.press("Control+Enter")
    await place.sandbox.wait_accepted(1)
    await page.get_by_label("Prompt", exact=True).fill("the second")
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
        await expect(each.locator(".picture").first).to_contain_text("Moderation refused this (Violence).")


async def test_what_is_typed_while_a_wish_is_sent_stays(serve: Serve, visit: Visit) -> None:
    """The field keeps what is in it, and what was sent is what was there when it was sent."""
    place = await serve(Sandbox(service_s=math.inf))
    page = await visit.new_page(place.url)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await go_on.wait()
        await route.continue_()

    await page.route("**/pictures", hold)
    prompt = page.get_by_label("Prompt", exact=True)
    await prompt.fill("the first")
    await page.keyboard.press("Control+Enter")
    await asked.wait()
    await prompt.fill("the second")
    go_on.set()
    await expect(page.locator("#news")).to_have_text("Waiting to be drawn.")
    await expect(prompt).to_have_value("the second")
    await place.sandbox.wait_accepted(1)
    assert [task.prompt for task in place.sandbox.tasks.values()] == ["the first"]


async def test_prompt_with_html_stays_text(serve: Serve, visit: Visit) -> None:
    """Whatever a prompt smuggles in is shown as it was typed, and runs nowhere; in the lightbox as well."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script> & \"quotes\" 'too'"
    await page.get_by_label("Prompt", exact=True).fill(evil)
    await page.keyboard.press("Control+Enter")
    card = page.locator(".picture")
    await expect(card.locator("img")).to_have_attribute("alt", evil)
    assert await card.locator(".prompt").inner_text() == evil
    await card.locator(".open").click()
    assert await page.locator("#details-prompt").inner_text() == evil
    assert await page.locator(".prompt *, #details-prompt *").count() == 0


async def test_queued_wish_is_cancelled_and_used_again(serve: Serve, visit: Visit) -> None:
    """By keyboard: cancelled sends nothing; "Use again" fills the form."""
    place = await serve(Sandbox(service_s=math.inf, limit=1))
    page = await visit.new_page(place.url)
    await drawn_nowait(place, ["the first", "the second"])
    await page.get_by_role("button", name="Cancel: the second").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".picture").first).to_contain_text("Cancelled. Nothing was sent or paid.")
    await expect(page.get_by_role("button", name="Use again: the second")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#prompt")).to_have_value("the second")
    await expect(page.locator("#prompt")).to_be_focused()
    assert place.sandbox.statistics().accepted == 1


async def drawn_nowait(place: Place, prompts: list[str]) -> None:
    """Ask for pictures without a page, and wait only for the first to be accepted."""
    async with a_session() as session:
        for prompt in prompts:
            await draw(session, place, prompt)
            await place.sandbox.wait_accepted(1)


@pytest.mark.slow
async def test_variations_have_their_price_before_and_their_seeds_after(serve: Serve, visit: Visit) -> None:
    """Shape, size, seed and count are what the sandbox gets; the price of all of them is read before they are sent."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    price = page.locator("#price")
    await page.get_by_label("Prompt", exact=True).fill("an owl made of paper")
    await page.get_by_label("Model").select_option("flux-2-pro")
    await page.get_by_text("16:9", exact=True).click()
    await page.get_by_label("Size").select_option(label="2 MP")
    await page.get_by_label("Seed").fill("9007199254740993")
    await page.locator("#variations").get_by_text("3", exact=True).click()
    await expect(price).to_contain_text("for 3")
    text = await price.inner_text()
    assert place.sandbox.statistics().accepted == 0
    await page.get_by_role("button", name="Draw", exact=True).click()
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(3)
    tasks = list(place.sandbox.tasks.values())
    # More than JavaScript's numbers can hold.
    assert [task.body["seed"] for task in tasks] == [9007199254740993 + number for number in range(3)]
    assert all(task.width / task.height == pytest.approx(16 / 9, rel=0.03) for task in tasks)
    assert all(1.8 * 2**20 < task.width * task.height <= 2 * 2**20 for task in tasks)
    assert f"{tasks[0].width} \u00d7 {tasks[0].height} px" in text
    told = float(text.removeprefix("At least ").split()[0])
    assert told == pytest.approx(sum(task.cost for task in tasks), abs=0.01)
    # All that was wanted comes back, the seed of this one included.
    await page.locator(".open").first.click()
    await page.get_by_role("button", name="Use again").click()
    await expect(page.get_by_label("Seed")).to_have_value("9007199254740995")
    await expect(page.locator("input[name=ratio]:checked")).to_have_value("16:9")
    await expect(page.get_by_label("Size")).to_have_value("2")


async def test_dropped_image_is_sent_with_the_prompt(serve: Serve, visit: Visit) -> None:
    """On its place or anywhere else; a model that takes none gives way to one that does; other files are refused."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    await drop(page, ".drop", "cat.png", "image/png", png(640, 512))
    await expect(page.locator(".thumb img")).to_have_attribute("alt", "cat.png")
    await expect(page.locator("#price")).to_contain_text("credits")
    await drop(page, "body", "notes.txt", "text/plain", b"x")
    await expect(page.get_by_role("alert")).to_contain_text("notes.txt cannot be used.")
    await expect(page.locator(".thumb")).to_have_count(1)
    await page.get_by_label("Model").select_option("flux-3-video#t2v")
    await expect(page.locator("#slots")).to_contain_text("1 file is not used")
    await drop(page, "body", "dog.png", "image/png", png(320, 256))
    await expect(page.get_by_label("Model")).to_have_value("flux-2-pro")
    await expect(page.locator(".thumb")).to_have_count(2)
    await page.get_by_role("button", name="Remove cat.png").press("Enter")
    await expect(page.locator(".thumb")).to_have_count(1)
    await page.get_by_label("Prompt", exact=True).fill("give it a hat")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(1)
    (task,) = place.sandbox.tasks.values()
    assert task.body["input_image"] == base64.b64encode(png(320, 256)).decode()
    assert "input_image_2" not in task.body
    # The server still has the file when the page has forgotten it.
    await page.reload()
    await page.locator(".open").click()
    await page.get_by_role("button", name="Use again").click()
    await expect(page.locator(".thumb")).to_contain_text("added image")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(2)
    first, again = place.sandbox.tasks.values()
    assert again.body["input_image"] == first.body["input_image"]
    assert (again.body["prompt"], again.body["seed"]) == (first.prompt, first.seed)


async def test_file_that_only_claims_to_be_an_image_is_refused(serve: Serve, visit: Visit) -> None:
    """By its bytes, on the server; the page then has it no more, and nothing is drawn without it."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await go_on.wait()
        await route.continue_()

    await page.route("**/inputs", hold)
    await page.get_by_label("Prompt", exact=True).fill("give it a hat")
    await drop(page, ".drop", "cat.png", "image/png", b"<script>alert(1)</script>")
    await asked.wait()
    await page.keyboard.press("Control+Enter")
    go_on.set()
    await expect(page.get_by_role("alert")).to_contain_text("This file cannot be used.")
    await expect(page.locator(".thumb")).to_have_count(0)
    assert place.sandbox.statistics().accepted == 0
    assert place.app.state.studio.pictures == {}
    # What the browser logs of every answer that is no success, and of the preview that is no image.
    visit.trouble[:] = [text for text in visit.trouble if "Failed to load resource" not in text]


async def test_lightbox_has_all_that_can_be_done_with_a_picture(serve: Serve, visit: Visit) -> None:
    """Keys lead from one to the next; prompt, seed and link are copied; the link opens the picture elsewhere."""
    place = await serve(Sandbox(service_s=0.0))
    ids = await drawn(place, ["the first", "the second", "the third"], seed=41)
    page = await visit.new_page(place.url)
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(3)
    box, prompt = page.get_by_role("dialog"), page.locator("#details-prompt")
    await page.get_by_role("button", name="Open: the third").press("Enter")
    await expect(box).to_be_visible()
    await expect(page.locator("#details")).to_contain_text("41")
    for key, seen in (
        ("ArrowRight", "the second"), ("ArrowRight", "the first"), ("ArrowRight", "the first"), ("Home", "the third"),
        ("ArrowLeft", "the third"), ("End", "the first"), ("ArrowLeft", "the second"),
    ):  # fmt: skip
        await page.keyboard.press(key)
        await expect(prompt).to_have_text(seen)
    for name, text in (("prompt", "the second"), ("seed", "41"), ("link", f"{place.url}/#picture-{ids[1]}")):
        await box.get_by_role("button", name=f"Copy {name}").click()
        await expect(page.locator("#lightbox-news")).to_have_text(f"{name.capitalize()} copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == text
    other = await visit.new_page(f"{place.url}/#picture-{ids[1]}")
    await expect(other.locator("#details-prompt")).to_have_text("the second")
    await page.keyboard.press("f")
    await expect(other.get_by_role("button", name="★ Favourite")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Escape")
    await expect(box).to_be_hidden()
    await expect(page.get_by_role("button", name="Open: the second")).to_be_focused()
    assert page.url == f"{place.url}/"


async def test_deleted_picture_is_gone_everywhere(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    """Asked twice; its file is gone, and so is it in every tab; the next one is shown."""
    place = await serve(Sandbox(service_s=0.0))
    await drawn(place, ["the first", "the second"])
    page, other = await visit.new_page(place.url), await visit.new_page(place.url)
    await expect(other.locator(".picture[data-state=saved]")).to_have_count(2)
    await page.get_by_role("button", name="Open: the second").press("Enter")
    await page.keyboard.press("Delete")
    await expect(page.get_by_role("button", name="Delete for good?")).to_be_focused()
    assert len(list((tmp_path / "images").iterdir())) == 2
    await page.keyboard.press("Delete")
    await expect(page.locator("#details-prompt")).to_have_text("the first")
    for each in (page, other):
        await expect(each.locator(".picture")).to_have_count(1)
    assert len(list((tmp_path / "images").iterdir())) == 1
    await page.reload()
    await expect(page.locator(".picture")).to_have_count(1)


@pytest.mark.slow
async def test_picture_is_edited_and_enlarged_from_the_lightbox(serve: Serve, visit: Visit) -> None:
    """Both fill the form and send nothing by themselves; the picture itself goes with the request."""
    place = await serve(Sandbox(service_s=0.0))
    await drawn(place, ["a fox in the snow"], model="flux-dev", ratio="16:9")
    page = await visit.new_page(place.url)
    await page.locator(".open").click()
    await page.get_by_role("button", name="Edit this").click()
    await expect(page.locator("#prompt")).to_be_focused()
    await expect(page.locator(".thumb")).to_have_count(1)
    await page.keyboard.type("make it a wolf")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(2)
    await page.locator(".open").last.click()
    await expect(page.locator("#details")).to_contain_text("px")
    await page.get_by_role("button", name="Upscale").click()
    await expect(page.locator("#draw")).to_be_focused()
    await expect(page.locator("#price")).to_contain_text("px")
    assert place.sandbox.statistics().accepted == 2
    await page.keyboard.press("Enter")
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(3)
    first, edited, larger = place.sandbox.tasks.values()
    image = edited.body.get("input_image", edited.body.get("image_prompt"))
    assert isinstance(image, str)
    assert len(image) > 1000
    assert larger.body["input_image"] == image
    assert larger.width * larger.height > 3 * first.width * first.height
    assert larger.width / larger.height == pytest.approx(first.width / first.height, rel=0.02)


@pytest.mark.slow
async def test_search_and_favourites_narrow_what_is_shown(serve: Serve, visit: Visit) -> None:
    """By words of the prompt, model or seed; the keys of the lightbox stay within what is shown."""
    place = await serve(Sandbox(service_s=0.0))
    await drawn(place, ["a red fox", "a red owl", "a blue owl"])
    await drawn(place, ["a whale"], model="flux-dev", seed=777)
    page = await visit.new_page(place.url)
    shown, search, count = (
        page.locator(".picture:visible .prompt"), page.get_by_label("Search pictures"), page.locator("#count")
    )  # fmt: skip
    await expect(count).to_have_text("4")
    for query, found in (
        ("OWL", ["a blue owl", "a red owl"]), ("owl red", ["a red owl"]), ("777", ["a whale"]),
        ("flux-dev", ["a whale"]),
    ):  # fmt: skip
        await search.fill(query)
        await expect(shown).to_have_text(found)
        await expect(count).to_have_text(f"{len(found)} of 4")
    await search.fill("no such thing")
    await page.get_by_role("button", name="Show all").click()
    await expect(shown).to_have_count(4)
    await page.get_by_role("button", name="Favourite: a red fox").press("Enter")
    await page.get_by_role("button", name="Favourites").click()
    await expect(shown).to_have_text(["a red fox"])
    await page.locator(".picture:visible .open").click()
    await expect(page.locator("#place")).to_have_text("1 of 1")
    await expect(page.locator("#next")).to_be_disabled()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model .* is retired:FutureWarning")
async def test_every_model_has_a_form_of_its_own(serve: Serve, visit: Visit) -> None:
    """Grouped by what they do; each shows its price, or in words what it still needs."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    groups = await page.locator("#model optgroup").evaluate_all("(all) => all.map((each) => each.label)")
    assert groups[0] == "Make and edit images"
    assert groups[-1] == "Retired"
    names = await page.locator("#model option").all_inner_texts()
    price = page.locator("#price")
    for name in names[:: 1 if SHOTS else 5]:
        await price.evaluate("(each) => { each.textContent = '' }")
        await page.get_by_label("Model").select_option(name)
        await expect(price).not_to_have_text("")
        assert await page.locator("#about").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", list(SCREENS))
async def test_page_is_for_everyone(serve: Serve, visit: Visit, screen: str, scheme: str) -> None:
    """axe-core finds nothing; on a phone nothing is cut off sideways, and what is pressed is large enough."""
    place = await serve(Sandbox(service_s=math.inf, limit=2))
    page = await visit.new_page(place.url, screen=screen, scheme=scheme)

    async def check(state: str) -> None:
        await shot(page, f"{screen}-{scheme}-{state}")
        assert await violations_of(page) == [], state
        assert await page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen][0]
        targets = "[...document.querySelectorAll('button, select, .actions a')]"
        small = f"{targets}.filter((each) => each.offsetParent && each.offsetHeight < 44).length"
        assert await page.evaluate(small) == 0

    await expect(page.locator("#price")).to_contain_text("credits")
    await check("empty")
    await page.get_by_text("More settings").click()
    await drop(page, ".drop", "cat.png", "image/png", png(640, 512))
    await page.get_by_text("Custom", exact=True).click()
    await check("form")
    async with a_session() as session:
        for prompt in ("an owl made of paper", "unbroken" * 30, "a quiet harbour at dawn"):
            await draw(session, place, prompt, "flux-dev", ratio="16:9")
    await expect(page.locator(".picture[data-state=submitted]")).to_have_count(2)
    await check("running")
    place.sandbox.service_s = 0.0
    for task_id in [*place.sandbox.tasks]:
        place.sandbox.settle(task_id)
    async with a_session() as session:
        await draw(session, place, "a fox in the snow [moderate-output]", "flux-dev")
    await expect(page.locator(".picture[data-state=saved]")).to_have_count(3)
    await expect(page.locator(".picture[data-state=failed]")).to_have_count(1)
    await page.get_by_role("button", name="Favourite: an owl").press("Enter")
    await check("done")
    await page.get_by_role("button", name="Open: an owl").press("Enter")
    await expect(page.locator("#details")).to_contain_text("px")
    await check("lightbox")
    await page.keyboard.press("Escape")
    await page.get_by_label("Search pictures").fill("no such thing")
    await check("nothing")


async def test_errors_are_announced(serve: Serve, visit: Visit) -> None:
    """An empty prompt sends nothing; what the server refuses is said in its words."""
    place = await serve(Sandbox(service_s=0.0))
    page = await visit.new_page(place.url)
    await page.get_by_label("Prompt", exact=True).fill("   ")
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_role("alert")).to_have_text("Describe what you want to see.")
    await expect(page.locator("#prompt")).to_be_focused()
    await page.get_by_label("Prompt", exact=True).fill("x")
    await page.get_by_label("Model").select_option("flux-dev")
    await page.get_by_text("Custom", exact=True).click()
    await page.get_by_label("Width, px").fill("513")
    await page.get_by_label("Height, px").fill("512")
    await expect(page.locator("#price")).to_contain_text("width")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("width")
    assert place.sandbox.statistics().accepted == 0
