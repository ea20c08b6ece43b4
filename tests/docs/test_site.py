"""The built site in a real browser: on a phone and on a desk, its search, and that it needs no other host."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.axe import violations_of
from tests.docs.pages import PAGES, ROOT

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.timeout(300),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "bfl_async").symlink_to(ROOT / "bfl_async")
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [zensical, "build", "--clean", "--strict"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert (done.returncode, "No issues found" in done.stdout) == (0, True), done.stdout
    # A docstring that names what is not in a signature is no issue for the strict mode.
    assert "griffe:" not in done.stdout, done.stdout
    return folder / "site"


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


def address_of(page: Path) -> str:
    """A page's path in the site."""
    relative = page.relative_to("docs")
    folder = relative.parent if page.stem == "index" else relative.with_suffix("")
    return "" if folder == Path() else f"{folder.as_posix()}/"


IN_SITE = [address_of(page) for page in PAGES if page.parts[0] == "docs"]


async def watched(
    browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]
) -> tuple[Page, list[str]]:
    """A page, and what its console and its network complain of."""
    page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"{page.url}: {error}"))
    page.on(
        "response",
        lambda response: (
            trouble.append(f"{page.url}: {response.status} {response.url}")
            if response.status >= 400
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            trouble.append(f"{page.url} asks {asked.url}")
            if not asked.url.startswith((url, "data:", "blob:"))
            else None
        ),
    )
    return page, trouble


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
async def test_no_page_is_wider_than_the_screen_complains_or_asks_another_host(
    browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """Each page of the site; wide tables and code scroll within themselves."""
    page, trouble = await watched(browser, url, width, scheme)
    for address in IN_SITE:
        await page.goto(url + address, wait_until="load")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            trouble.append(f"{address} is {wide} px wide")
    assert trouble == []


# Pages that differ in what is on them: code, pictures, wide tables, names of an API, many entries in the contents.
KINDS = ["", "tutorial/", "coming-from/loop/", "reference/models/", "reference/events/", "benchmarks/"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "light"), (1280, "dark")])
async def test_axe_finds_no_barrier(
    browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """Contrast, landmarks, headers of tables, and what the keyboard reaches."""
    page, trouble = await watched(browser, url, width, scheme)
    for address in KINDS:
        await page.goto(url + address, wait_until="load")
        trouble += [f"{page.url} {each}" for each in await violations_of(page)]
    assert trouble == []


def test_navigation_is_collapsed_except_where_the_reader_is(site: Path) -> None:
    """Eighty open entries hide the one that is looked for."""
    toggle = re.compile(r'<input class="md-nav__toggle[^>]* id="__nav_[^>]*>')
    first = toggle.findall((site / "index.html").read_text("utf-8"))
    assert len(first) >= 8
    assert [each for each in first if "checked" in each] == []
    within = toggle.findall((site / "howto" / "limits" / "index.html").read_text("utf-8"))
    assert len([each for each in within if "checked" in each]) == 2


async def test_copying_a_console_takes_its_commands_alone(browser: Browser, url: str) -> None:
    """With prompts and output, what was copied cannot be pasted into a shell."""
    page, trouble = await watched(browser, url, 1280, "light")
    await page.goto(f"{url}tutorial/")
    code = page.locator(".language-console code").first
    assert "$ bfl-async doctor" in await code.inner_text()
    # The button sets this attribute while it reads the text.
    await code.evaluate("code => code.setAttribute('data-md-copying', '')")
    lines = (await code.inner_text()).split("\n")
    assert [line for line in lines if line] == ["bfl-async doctor", "bfl-async credits"]
    assert trouble == []


async def test_tables_fit_their_column_on_a_desk(browser: Browser, url: str) -> None:
    """What is cut off on the right is not read, for nothing shows that a table can be scrolled."""
    page, trouble = await watched(browser, url, 1280, "light")
    for address in IN_SITE:
        await page.goto(url + address, wait_until="load")
        wide = await page.evaluate(
            """[...document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset__table, article table")]
               .filter(each => each.scrollWidth > each.clientWidth + 1)
               .map(each => `${each.scrollWidth} px in ${each.clientWidth}: ${each.innerText.slice(0, 60)}`)"""
        )
        trouble += [f"{address}: {each}" for each in wide]
    assert trouble == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("429", "howto/limits/"),
        ("moderated", "howto/errors/"),
        ("resume", "howto/resuming/"),
    ],
)
async def test_search_finds(browser: Browser, url: str, words: str, found: str) -> None:
    """What people look for in trouble is among the hits."""
    page, trouble = await watched(browser, url, 1280, "light")
    await page.goto(url)
    await page.get_by_role("button", name="Search").first.click()
    await page.keyboard.type(words)
    # Hits come in one by one, and their order is the search's matter.
    await page.locator(f'[role="option"][href^="{url}{found}"]').first.wait_for()
    assert trouble == []


def test_links_of_the_built_site_lead_to_something(site: Path, url: str) -> None:
    """Also those that the reference makes between names."""
    texts = {address: (site / address / "index.html").read_text("utf-8") for address in IN_SITE}
    anchors = {address: set(re.findall(r'\bid="([^"]+)"', text)) for address, text in texts.items()}
    broken = []
    for address, text in texts.items():
        for link in re.findall(r'<a\b[^>]*? href="([^"]+)"', text):
            target = urlsplit(urljoin(url + address, link))
            if not target.geturl().startswith(url):
                continue
            there, anchor = target.path.lstrip("/"), unquote(target.fragment)
            if there not in anchors or (anchor and anchor not in anchors[there]):
                broken.append(f"{address}: {link}")
    assert broken == []
