"""The gallery's page in a real browser, from a file: what is shown, found, opened, and how fast."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from bfl_async.cli import gallery
from bfl_async.cli.gallery import write_gallery

if TYPE_CHECKING:
    from playwright.async_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
Open = Callable[[Path], Awaitable["Page"]]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


class _Trouble(list[str]):
    """What the console and the network of the page complained of."""


@pytest.fixture
def trouble() -> _Trouble:
    return _Trouble()


@pytest.fixture
async def open_page(trouble: _Trouble) -> AsyncIterator[Open]:
    """Open a page from its file, in a browser that notes every complaint; at the end there must be none."""
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        async def open_it(path: Path) -> Page:
            page: Page = await browser.new_page(viewport={"width": 1000, "height": 800})
            page.on("console", lambda message: trouble.append(message.text))
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
            page.on(
                "request", lambda asked: trouble.append(asked.url) if asked.url.startswith("http") else None
            )
            await page.goto(path.absolute().as_uri())
            return page

        yield open_it
        await browser.close()
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
    assert await page.locator(".card").nth(3).inner_text() == (
        "moderated\n\na cat number 3\n\nflux-dev · seed\u00a01003 · 4\u00a0credits\n\nmoderation refused the prompt"
    )
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
    assert await page.locator(".card .prompt").all_inner_texts() == [evil, evil]
    assert await page.locator("a").count() == 1, "the one to the file"
    for number in range(2):
        await page.locator(".thumb").nth(number).click()
        assert await page.locator("dd.prompt").inner_text() == evil
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
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    assert await page.evaluate(name) == "Details: a cat number 1"
    await page.keyboard.press("Enter")
    place = page.locator("#place")
    assert await place.inner_text() == "2 of 30"
    assert await page.evaluate(name) == "Next →"
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
    assert not await page.locator("dialog").is_visible()
    await wait_until(page, f"({name}) === 'Details: a cat number 29'")
    await page.keyboard.press("Tab")
    assert await page.evaluate(name) == "Open the file 00029.png"
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/00029.png")


async def test_page_fits_a_phone(open_page: Open, tmp_path: Path) -> None:
    """Nothing is wider than the screen, neither in the grid nor in the details, and it has a dark side."""
    a_folder(tmp_path, 5)
    Image.new("RGB", (200, 400)).save(tmp_path / "00001.png")
    page = await open_page(write_gallery(tmp_path))
    await page.set_viewport_size({"width": 360, "height": 740})
    await wait_until(
        page, "document.querySelectorAll('.thumb')[1].querySelector('img')?.naturalHeight === 256"
    )
    assert await page.evaluate(
        "(([, thumb]) => thumb.querySelector('img').offsetHeight <= thumb.clientHeight)"
        "(document.querySelectorAll('.thumb'))"
    ), "an upright image is whole as well"
    width = "document.documentElement.scrollWidth"
    assert await page.evaluate(width) == 360
    await page.locator(".thumb").first.click()
    assert await page.evaluate("document.querySelector('dialog').scrollWidth") <= 360
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(background) != light


async def test_without_previews_the_files_are_shown(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow was missing, or an image could not be read, the browser loads the file; else it says so."""
    monkeypatch.setattr(gallery, "preview", lambda path: "")
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


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_five_thousand_images_open_at_once(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page of 5,000 images with previews of full size: opened, filtered and scrolled to its end in seconds."""
    Image.effect_noise((300, 300), 60).convert("RGB").save(tmp_path / "0.png")
    whole = gallery.preview(tmp_path / "0.png")
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
    assert size < 5000 * (gallery.PREVIEW_MAX_BYTES * 4 / 3 + 400)
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
    assert await page.evaluate("document.activeElement.ariaLabel") == "Details: number 4999"
    with capsys.disabled():
        print(  # noqa: T201 - the figures are for who runs it
            f"\n5,000 images, {size / 1e6:.1f} MB: opened in {opened_s:.2f} s, filtered in {filtered_s:.2f} s, "
            f"at the end in {to_the_end_s:.2f} s"
        )
    assert opened_s < 5
    assert filtered_s < 1
    assert to_the_end_s < 5
