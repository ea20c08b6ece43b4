"""The gallery's page in a real browser, from a file: what is shown, found, opened, and how fast."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import pytest_asyncio
from PIL import Image

from bfl_async.cli import gallery
from bfl_async.cli.gallery import write_gallery
from bfl_async.cli.gallery_rows import Holdings, Row, Totals
from bfl_async.cli.previews import PREVIEW_MAX_BYTES, Preview, preview
from tests.axe import violations_of

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
Open = Callable[[Path], Awaitable["Page"]]
SCREENS = {"desktop": (1280, 860), "phone": (390, 844)}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    # The browser is started once for all of them.
    pytest.mark.asyncio(loop_scope="module"),
]


class _Trouble(list[str]):
    """What the console and the network of the page complained of."""


@pytest.fixture
def trouble() -> _Trouble:
    return _Trouble()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser, trouble: _Trouble) -> AsyncIterator[Open]:
    """Open a page from its file, in a window that notes every complaint; at the end there must be none."""
    context = await browser.new_context(viewport={"width": 1000, "height": 800})

    async def open_it(path: Path) -> Page:
        page: Page = await context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: trouble.append(asked.url) if asked.url.startswith("http") else None)
        await page.goto(path.absolute().as_uri())
        return page

    yield open_it
    await context.close()
    assert trouble == []


async def wait_until(page: Page, condition: str) -> None:
    """Wait for an expression to become true; playwright's own way evaluates strings, which the page forbids."""
    async with asyncio.timeout(20):
        await page.evaluate(
            f"new Promise((go) => {{ const look = () => ({condition}) ? go() : requestAnimationFrame(look); look(); }})"
        )


def a_folder(folder: Path, count: int = 30) -> Path:
    """Entries 0 to `count` - 1: number 3 was moderated, the others are images of two models."""
    lines = []
    for index in range(count):
        line: dict[str, object] = {
            "index": index, "prompt": f"a {'cat' if index % 2 else 'dog'} number {index}", "seed": 1000 + index,
            "model": "flux-dev" if index % 5 else "flux-2-pro", "cost": 4 if index % 5 else 3.5, "task_id": f"t{index}",
        }  # fmt: skip
        if index == 3:
            line |= {"state": "moderated", "error": "moderation refused the prompt"}
        else:
            name = f"{index:05}.png"
            Image.new("RGB", (300, 200), (index % 256, 80, 160)).save(folder / name)
            line |= {"state": "saved", "file": name, "sha256": "ab" * 32}
        lines.append(json.dumps(line))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return write_gallery(folder)


async def test_every_entry_is_shown_with_its_preview(open_page: Open, tmp_path: Path) -> None:
    """30 entries, 29 of them images, and each preview is one that the browser can draw."""
    page = await open_page(a_folder(tmp_path))
    assert await page.text_content("#count") == "30 entries · 117 credits"
    assert await page.locator(".card").count() == 30
    moderated = page.locator(".card").nth(3)
    assert await moderated.locator(".thumb").inner_text() == (
        "Details: a cat number 3, moderated\nmoderated\nmoderation refused the prompt"
    )
    assert await moderated.locator("p").all_inner_texts() == ["a cat number 3", "flux-dev · 4 credits"]
    await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    await wait_until(page, "document.querySelectorAll('.thumb img').length === 29")
    await wait_until(
        page, "[...document.querySelectorAll('.thumb img')].every((i) => i.naturalWidth === 256)"
    )


async def test_filter_and_sort_narrow_and_order(open_page: Open, tmp_path: Path) -> None:
    """By text, state and model; the count is announced; nothing that matches is said."""
    page = await open_page(a_folder(tmp_path))
    cards, count = page.locator(".card"), page.locator("#count")
    expect = pytest.importorskip("playwright.async_api").expect
    await page.get_by_label("Search").fill("CAT number")
    await expect(count).to_have_text("15 of 30 entries · 58.5 credits")
    assert await cards.count() == 15
    await page.get_by_label("Model").select_option("flux-2-pro")
    await expect(count).to_have_text("3 of 30 entries · 10.5 credits")
    await page.get_by_label("Search").fill("no such thing")
    await expect(page.get_by_text("Nothing matches.")).to_be_visible()
    await page.get_by_role("button", name="Clear").click()
    await expect(count).to_have_text("30 entries · 117 credits")
    await page.get_by_label("State").select_option("moderated")
    await expect(count).to_have_text("1 of 30 entries · 4 credits")
    await page.get_by_label("State").select_option("")
    await page.get_by_label("Sort by").select_option("reversed")
    await expect(cards.first).to_contain_text("number 29")
    await page.get_by_label("Sort by").select_option("cost")
    await expect(cards.last).to_contain_text("number 25")
    assert await count.get_attribute("aria-live") == "polite"


async def test_prompt_stays_text(open_page: Open, tmp_path: Path, trouble: _Trouble) -> None:
    """Elements in prompts, models and errors are shown as they were typed, on the card and in the details."""
    evil = '</script><img src=x onerror=alert(1)><a href="javascript:alert(2)">x</a>'
    an_image = tmp_path / "a.png"
    Image.new("RGB", (30, 20)).save(an_image)
    (tmp_path / "manifest.jsonl").write_text(
        json.dumps({"index": 0, "prompt": evil, "model": evil, "state": evil, "error": evil, "file": "a.png"})
        + "\n"
        + json.dumps(
            {"index": 1, "prompt": evil, "file": "javascript:alert(3)", "sha256": evil, "task_id": evil}
        )
    )
    page = await open_page(write_gallery(tmp_path))
    assert await page.locator(".card .caption").all_text_contents() == [evil, evil]
    assert await page.locator("a").count() == 0
    for number in range(2):
        await page.locator(".thumb").nth(number).click()
        assert await page.locator("dd.prompt > span").inner_text() == evil
        assert await page.locator("dialog a[href^='javascript']").count() == 0
        await page.keyboard.press("Escape")
    assert await page.locator("img[src='x']").count() == 0


async def test_policy_stops_a_script_that_got_in(open_page: Open, tmp_path: Path, trouble: _Trouble) -> None:
    """The second wall: even markup that a mistake let in would not run."""
    page = await open_page(a_folder(tmp_path, 2))
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('div'), {innerHTML: '<img src=data:, "
        "onerror=window.broken=1>'}), Object.assign(document.createElement('script'), {text: 'window.broken = 2'}))"
    )
    await wait_until(page, "document.querySelector('div > img').complete")
    assert await page.evaluate("window.broken") is None
    assert trouble
    assert all("Content Security Policy" in text for text in trouble)
    trouble.clear()


async def test_keyboard_alone_reaches_everything(open_page: Open, tmp_path: Path) -> None:
    """Tab to the images, arrows among them, Enter for the details, arrows through those, Escape back."""
    page = await open_page(a_folder(tmp_path))
    name = "document.activeElement.ariaLabel ?? document.activeElement.textContent"
    for _ in range(6):
        await page.keyboard.press("Tab")
    assert await page.evaluate(name) == "Details: a dog number 0"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) == "solid", "the focus is to be seen"
    await page.keyboard.press("ArrowRight")
    assert await page.evaluate(name) == "Details: a cat number 1"
    top = "document.activeElement.getBoundingClientRect().top + scrollY"
    before = await page.evaluate(top)
    await page.keyboard.press("ArrowDown")
    assert await page.evaluate(top) > before
    await page.keyboard.press("ArrowUp")
    assert await page.evaluate(name) == "Details: a cat number 1"
    await page.keyboard.press("Enter")
    place = page.locator("#place")
    assert await place.inner_text() == "2 of 30"
    assert await page.evaluate(name) == "Next"
    assert await page.locator("#picture img").get_attribute("src") == "./00001.png"
    await wait_until(page, "document.querySelector('#picture img').naturalWidth === 300")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    assert await place.inner_text() == "4 of 30"
    assert await page.locator("#picture").inner_text() == "moderated"
    await page.keyboard.press("End")
    await page.keyboard.press("ArrowRight")
    assert await place.inner_text() == "30 of 30"
    assert await page.get_by_role("button", name="Next").get_attribute("aria-disabled") == "true"
    await page.keyboard.press("Escape")
    assert not await page.locator("dialog[open]").count()
    await wait_until(page, f"({name}) === 'Details: a cat number 29'")
    await page.keyboard.press("Tab")
    assert await page.evaluate(name) == "Compare: a cat number 29"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("c")
    await page.locator("#both").wait_for()
    assert await page.evaluate(name) == "Close"
    await page.keyboard.press("Escape")
    await wait_until(page, f"({name}) === 'Details: a dog number 28'")


async def test_rows_are_justified_and_images_keep_their_ratios(open_page: Open, tmp_path: Path) -> None:
    """Images of one row are of one height, rows fill the width, and nothing is cut off or letterboxed."""
    sizes = [(300, 200), (200, 300), (256, 256), (512, 200), (160, 90), (90, 160)] * 5
    for number, size in enumerate(sizes):
        Image.new("RGB", size, "teal").save(tmp_path / f"{number}.png")
    page = await open_page(write_gallery(tmp_path))
    boxes = await page.evaluate(
        "[...document.querySelectorAll('.thumb')].map((each) => each.getBoundingClientRect()).map("
        "({top, left, right, width, height}) => ({top, left, right, width, height}))"
    )
    ratios = [box["width"] / box["height"] for box in boxes]
    assert ratios == pytest.approx([width / height for width, height in sizes], rel=0.02)
    rows: dict[int, list[dict[str, float]]] = {}
    for box in boxes:
        rows.setdefault(round(box["top"]), []).append(box)
    assert len(rows) >= 4
    for row in list(rows.values())[:-1]:
        heights = [box["height"] for box in row]
        assert max(heights) - min(heights) < 1
        assert row[0]["left"] == pytest.approx(16, abs=1)
        assert row[-1]["right"] == pytest.approx(1000 - 16, abs=2)
        assert 200 <= max(heights) <= 400
    # What is not laid out yet has the height that it will have: nothing moves as it comes near the screen.
    await wait_until(
        page,
        "[...document.querySelectorAll('.card')].every((each) => "
        "Math.abs(parseFloat(each.style.containIntrinsicHeight) - each.offsetHeight) < 2)",
    )
    # The last row is not blown up.
    assert max(box["height"] for box in [*rows.values()][-1]) < 210


async def test_details_show_size_and_every_field(open_page: Open, tmp_path: Path) -> None:
    """What the request asked for, and what became of it; a picture is whole beside a long prompt."""
    Image.new("RGB", (1024, 768), "teal").save(tmp_path / "a.png")
    line = {
        "index": 0, "prompt": "a cat " * 600, "model": "flux-dev", "seed": 2**60, "file": "a.png", "cost": 2.5,
        "fields": {"steps": 28, "guidance": 3.5, "width": 1024, "raw": False, "keyframes": [{"second": 1}]},
    }  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    page = await open_page(write_gallery(tmp_path))
    await page.locator(".thumb").click()
    facts = dict(
        await page.evaluate(
            "[...document.querySelectorAll('#facts dt')].map((each) => "
            "[each.textContent, each.nextElementSibling.firstChild.textContent])"
        )
    )
    assert facts["Size"] == "1024 \u00d7 768 px · 0.79 MP · 4:3"
    assert facts["Bytes"] == f"{round((tmp_path / 'a.png').stat().st_size / 1000)} kB"
    assert (facts["Seed"], facts["Cost"], facts["State"]) == (str(2**60), "2.5 credits", "saved")
    assert [facts[name] for name in ("steps", "guidance", "width", "raw", "keyframes")] == [
        "28", "3.5", "1024", "false", '[{"second":1}]'
    ]  # fmt: skip
    await wait_until(page, "document.querySelector('#picture img').naturalWidth === 1024")
    inside = await page.evaluate(
        "(([image, dialog]) => image.top >= dialog.top && image.bottom <= dialog.bottom)"
        "(['#picture img', '#details'].map((each) => document.querySelector(each).getBoundingClientRect()))"
    )
    assert inside


async def test_copy_buttons_fill_the_clipboard(
    open_page: Open, tmp_path: Path, browser: Browser, trouble: _Trouble
) -> None:
    """With the keyboard: one value, or all that makes the image again; also where there is no clipboard to ask."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    line = {"index": 0, "prompt": "a “cat”\nof 2 lines", "model": "flux-dev", "seed": 5, "file": "a.png",
            "fields": {"steps": 28, "prompt": "a “cat”\nof 2 lines"}}  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    page = await open_page(write_gallery(tmp_path))
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect = pytest.importorskip("playwright.async_api").expect
    for has_clipboard in (True, False):
        if not has_clipboard:
            await page.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error()); 0")
        await page.locator(".thumb").click()
        await page.get_by_role("button", name="Copy: Prompt").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".said")).to_have_text("Prompt copied")
        assert await page.evaluate("navigator.clipboard.readText()") == "a “cat”\nof 2 lines"
        await expect(page.get_by_role("button", name="Copy: Prompt")).to_be_focused()
        await page.get_by_role("button", name="Copy all fields").click()
        await expect(page.locator(".said")).to_have_text("All fields copied")
        assert json.loads(await page.evaluate("navigator.clipboard.readText()")) == {
            "model": "flux-dev", "prompt": "a “cat”\nof 2 lines", "steps": 28, "seed": 5
        }  # fmt: skip
        await page.keyboard.press("Escape")


async def test_two_are_compared(open_page: Open, tmp_path: Path) -> None:
    """Picked in the grid or from the details; what differs comes first; swapped, and one laid over the other."""
    page = await open_page(a_folder(tmp_path))
    expect = pytest.importorskip("playwright.async_api").expect
    cards, tray = page.locator(".card"), page.locator("#tray")
    await cards.nth(0).hover()
    await cards.nth(0).locator(".pick").click()
    await expect(tray).to_contain_text("Compare “a dog number 0”")
    await page.get_by_role("button", name="Cancel").click()
    await expect(tray).to_be_hidden()
    await cards.nth(0).locator(".thumb").click()
    await page.locator("#with").click()
    await expect(tray).to_be_visible()
    await expect(cards.nth(0).locator(".pick")).to_have_attribute("aria-pressed", "true")
    await cards.nth(2).locator(".thumb").click()
    await page.locator("#with").click()
    both = page.locator("#both")
    await expect(both.locator("figcaption")).to_have_text(["First: a dog number 0", "Second: a dog number 2"])
    await wait_until(
        page, "[...document.querySelectorAll('#both img')].every((each) => each.naturalWidth === 300)"
    )
    differing = both.locator("tr.differs")
    assert await differing.first.locator("th, td").all_inner_texts() == [
        "Prompt",
        "a dog number 0",
        "a dog number 2",
    ]
    same = both.locator("tr.same")
    assert await both.locator("tbody tr").nth(await differing.count()).locator("th").inner_text() == (
        await same.first.locator("th").inner_text()
    )
    assert "State" in await same.locator("th").all_inner_texts()
    await page.get_by_role("button", name="Swap").click()
    await expect(both.locator("figcaption").first).to_have_text("First: a dog number 2")
    await page.get_by_role("button", name="One over the other").click()
    places = "[...document.querySelectorAll('#both img')].map((each) => JSON.stringify(each.getBoundingClientRect()))"
    first, second = await page.evaluate(places)
    assert first == second
    await page.get_by_label("Show of the second").fill("20")
    assert await page.evaluate(
        "getComputedStyle(document.querySelector('#pair figure:last-child a')).clipPath"
    ) == ("inset(0px 0px 0px 80%)")
    await page.get_by_role("button", name="Close").click()
    await expect(tray).to_be_hidden()
    await expect(cards.nth(2).locator(".thumb")).to_be_focused()


async def test_page_of_a_run_says_what_it_cost_in_all(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier tries and removed rows have no tile and are named."""
    rows: list[Row] = [{"prompt": str(number), "state": "failed", "cost": 10.0} for number in range(3)]
    for totals, says in (
        (Totals(30.0, 0, 0), "3 entries · 30 credits"),
        (Totals(42.5, 0, 0), "3 entries · 42.5 credits, 12.5 of them for earlier tries or removed rows"),
        (Totals(30.0, 1, 12), "3 entries · 30 credits · the cost of 1 task is not known · 12 not sent yet"),
    ):
        monkeypatch.setattr(
            gallery, "read_folder", lambda *_, totals=totals: Holdings(rows, [], True, totals)
        )
        page = await open_page(write_gallery(tmp_path))
        assert await page.text_content("#count") == says


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
async def test_axe_finds_nothing_in_grid_details_and_compare(
    open_page: Open, tmp_path: Path, screen: str, scheme: Literal["light", "dark"]
) -> None:
    """With a moderated row, one without a preview, and prompts of every length."""
    a_folder(tmp_path, 12)
    Image.new("RGB", (200, 400)).save(tmp_path / "00001.png")
    (tmp_path / "00002.png").write_text("no image")
    page = await open_page(write_gallery(tmp_path))
    await page.emulate_media(color_scheme=scheme)
    width, height = SCREENS[screen]
    await page.set_viewport_size({"width": width, "height": height})
    await wait_until(page, "document.querySelectorAll('.thumb img').length === 10")
    found = {"grid": await violations_of(page)}
    for place in (0, 3):
        await page.locator(".thumb").nth(place).click()
        found[f"details {place}"] = await violations_of(page)
        await page.keyboard.press("Escape")
    await page.locator(".thumb").nth(0).press("c")
    found["picked"] = await violations_of(page)
    await page.locator(".thumb").nth(4).press("c")
    found["compare"] = await violations_of(page)
    await page.locator("#over").click()
    found["over"] = await violations_of(page)
    assert {state: each for state, each in found.items() if each} == {}


async def test_page_fits_a_phone(open_page: Open, tmp_path: Path) -> None:
    """Nothing is wider than the screen: grid, details and compare. It has a dark side."""
    a_folder(tmp_path, 5)
    Image.new("RGB", (200, 400)).save(tmp_path / "00001.png")
    page = await open_page(write_gallery(tmp_path))
    await page.set_viewport_size({"width": 360, "height": 740})
    await wait_until(
        page, "document.querySelectorAll('.thumb')[1].querySelector('img')?.naturalHeight === 256"
    )
    width = "document.documentElement.scrollWidth"
    assert await page.evaluate(width) == 360
    await page.locator(".thumb").first.click()
    assert await page.evaluate("document.querySelector('#details').scrollWidth") <= 360
    await page.keyboard.press("Escape")
    for place in (0, 1):
        await page.locator(".thumb").nth(place).press("c")
    assert await page.evaluate("document.querySelector('#both').scrollWidth") <= 360
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(background) != light


async def test_without_previews_the_files_are_shown(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow was missing, or an image could not be read, the browser loads the file; else it says so."""
    monkeypatch.setattr(gallery, "preview", lambda path: Preview())
    (tmp_path / "zzz.png").write_text("no image")
    path = a_folder(tmp_path, 3)
    (tmp_path / "manifest.jsonl").unlink()
    path = write_gallery(tmp_path)
    page = await open_page(path)
    await wait_until(page, "document.querySelectorAll('.thumb img').length === 3")
    await wait_until(
        page, "[...document.querySelectorAll('.thumb img')].every((i) => i.naturalWidth === 300)"
    )
    await wait_until(page, "document.querySelectorAll('.thumb .none').length === 1")
    assert await page.locator(".thumb img").first.get_attribute("loading") == "lazy"
    await wait_until(
        page, "[...document.querySelectorAll('.card')].every((each) => !each.querySelector('img') || "
        "Math.abs(each.style.getPropertyValue('--ratio') - 1.5) < 0.01)"
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_five_thousand_images_open_at_once(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page of 5,000 images with previews of full size: opened, filtered and scrolled to its end in seconds."""
    Image.effect_noise((300, 300), 60).convert("RGB").save(tmp_path / "0.png")
    whole = preview(tmp_path / "0.png")
    monkeypatch.setattr(gallery, "preview", lambda path: whole)  # making them is not what is measured
    lines = []
    for index in range(5000):
        if index:
            os.link(tmp_path / "0.png", tmp_path / f"{index}.png")
        lines.append(
            json.dumps({"index": index, "file": f"{index}.png", "prompt": f"number {index}", "seed": index})
        )
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    path = write_gallery(tmp_path)
    size = path.stat().st_size
    assert size < 5000 * (PREVIEW_MAX_BYTES * 4 / 3 + 400)
    began = time.monotonic()
    page = await open_page(path)
    await wait_until(page, "document.querySelector('.thumb img')?.naturalWidth > 0")
    opened_s = time.monotonic() - began
    assert await page.text_content("#count") == "5,000 entries"
    assert await page.locator(".card").count() < 500, "the rest is made when it is scrolled to"
    began = time.monotonic()
    await page.get_by_label("Search").fill("number 4999")
    await wait_until(page, "document.querySelectorAll('.card').length === 1")
    filtered_s = time.monotonic() - began
    await page.get_by_label("Search").fill("")
    await wait_until(page, "document.querySelectorAll('.card').length > 1")
    began = time.monotonic()
    await page.locator(".thumb").first.focus()
    await page.keyboard.press("End")
    await wait_until(page, "document.activeElement.querySelector('img')?.naturalWidth > 0")
    to_the_end_s = time.monotonic() - began
    assert await page.evaluate("document.activeElement.textContent") == "Details: number 4999"
    with capsys.disabled():
        print(  # noqa: T201 - the figures are for who runs it
            f"\n5,000 images, {size / 1e6:.1f} MB: opened in {opened_s:.2f} s, filtered in {filtered_s:.2f} s, "
            f"at the end in {to_the_end_s:.2f} s"
        )
    assert opened_s < 5
    assert filtered_s < 1
    assert to_the_end_s < 5
