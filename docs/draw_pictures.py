"""Makes the pictures of the documentation, in docs/pictures, from what the sandbox draws.

python docs/draw_pictures.py               the contact sheet of a batch, and one image: the same bytes each time
python docs/draw_pictures.py --browser     these, and the gallery and the studio as Chromium shows them

Run it after a change of the sandbox's images, the gallery or the studio, and look at what it made.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from PIL import Image

from bfl_async import AsyncBFL, Batch, request
from bfl_async.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
PROMPTS = ROOT / "examples" / "prompts.txt"

COLUMNS = 6
THUMBNAIL_PX = (200, 150)
GAP_PX = 8
# Ratios that a batch of one's own might mix, so that the gallery shows how it lays them out.
_SIZES_PX = ((1024, 768), (768, 1024), (1024, 1024), (1344, 768))

# As wide as a column of the documentation shows with letters that can be read.
_VIEWPORT_PX = (1120, 760)
_SCALE = 1.5
_STUDIO_IMAGES = 6
_ALL_ARE_SHOWN = """wanted => [...document.images].filter(image => image.naturalWidth > 0).length >= wanted"""


def prompts() -> list[str]:
    """Return the lines of `examples/prompts.txt`."""
    return PROMPTS.read_text("utf-8").splitlines()


async def made_batch(folder: Path, sizes_px: Sequence[tuple[int, int]]) -> None:
    """Save an image for each line of `examples/prompts.txt` in `folder`, as `bfl-async batch` would.

    Args:
        folder: Gets the images, the ledger and the manifest.
        sizes_px: Width and height, taken in turn.
    """
    requests = []
    for number, prompt in enumerate(prompts()):
        width, height = sizes_px[number % len(sizes_px)]
        requests.append(
            request("flux-2-pro", prompt=prompt, width=width, height=height, seed=number, output_format="png")
        )
    async with (
        Sandbox(service_s=0.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl,
        Batch.open(folder / "run.db", bfl, save_to=folder) as batch,
    ):
        await batch.add(requests)
        async for outcome in batch.run():
            if outcome.error is not None:
                raise outcome.error


def contact_sheet(images: Sequence[Path]) -> bytes:
    """Return a PNG of the images in rows of `COLUMNS`; the same images give the same bytes."""
    wide, high = (size + GAP_PX for size in THUMBNAIL_PX)
    rows = -(-len(images) // COLUMNS)
    # What lies between the images is transparent, for pages that are dark.
    sheet = Image.new("RGBA", (COLUMNS * wide - GAP_PX, rows * high - GAP_PX), (0, 0, 0, 0))
    for number, path in enumerate(images):
        with Image.open(path) as image:
            row, column = divmod(number, COLUMNS)
            thumbnail = image.resize(THUMBNAIL_PX, Image.Resampling.LANCZOS)
            sheet.paste(thumbnail, (column * wide, row * high))
    return encoded(sheet)


def encoded(image: Image.Image) -> bytes:
    """Return a PNG with at most 256 colours, which is enough for the sandbox's cards and a third of the bytes."""
    written = io.BytesIO()
    few = image.convert("RGBA").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(written, "PNG", optimize=True)
    return written.getvalue()


async def one_image() -> Image.Image:
    """Return the tutorial's first image."""
    async with Sandbox(service_s=0.0) as sandbox, AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
        result = await bfl.generate(
            "flux-pro-1.1", prompt="a cat in the snow", width=512, height=512, seed=7, output_format="png"
        )
        return Image.open(io.BytesIO(await result.read()))


def drawn() -> dict[str, bytes]:
    """Return the pictures that need no browser, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(made_batch(folder, _SIZES_PX[:1]))
        return {
            "batch.png": contact_sheet(sorted(folder.glob("*.png"))),
            "image.png": encoded(asyncio.run(one_image())),
        }


# --- with a browser -------------------------------------------------------------------------------------


async def photographed() -> dict[str, bytes]:
    """Return screenshots of the gallery and of the studio, by name."""
    # Playwright is only needed here, and takes long to import.
    from playwright.async_api import async_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name:
        page_of_batch = await gallery(Path(name), "pictures")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            try:
                width, height = _VIEWPORT_PX
                page = await browser.new_page(
                    viewport={"width": width, "height": height}, device_scale_factor=_SCALE
                )
                await page.goto(page_of_batch.as_uri(), wait_until="load")
                pictures = {"gallery.png": await page.screenshot()}
                async with studio(Path(name)) as url:
                    await page.goto(url, wait_until="load")
                    for prompt in prompts()[:_STUDIO_IMAGES]:
                        await page.locator("textarea").first.fill(prompt)
                        await page.locator("textarea").first.press("Control+Enter")
                        # The place in the queue shows as the order of the cards.
                        await page.wait_for_timeout(300)
                    await page.wait_for_function(_ALL_ARE_SHOWN, arg=_STUDIO_IMAGES)
                    pictures["studio.png"] = await page.screenshot()
                    # The page's connection would keep the studio from ending.
                    await page.close()
            finally:
                await browser.close()
    return {name: encoded(Image.open(io.BytesIO(picture))) for name, picture in pictures.items()}


async def gallery(parent: Path, name: str) -> Path:
    """Make a batch of mixed sizes and its gallery in a folder, whose name is the page's title; return the page."""
    folder = parent / name
    await made_batch(folder, _SIZES_PX)
    command = [sys.executable, "-m", "bfl_async", "gallery", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise RuntimeError("bfl-async gallery failed")
    return folder / "gallery.html"


@contextlib.asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[str]:
    """Run the studio on the sandbox, with its images in `folder`; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.studio", "--sandbox", "--port", str(port)),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        await asyncio.sleep(2)
        yield url
    finally:
        process.terminate()
        await process.wait()


def changed(pictures: dict[str, bytes]) -> Iterator[Path]:
    """Write the pictures that differ; yield their paths."""
    PICTURES.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        path = PICTURES / name
        if not path.exists() or path.read_bytes() != picture:
            path.write_bytes(picture)
            yield path


def main(arguments: list[str]) -> int:
    """Make the pictures and print the paths of those that changed; return the exit code."""
    pictures = drawn()
    if "--browser" in arguments:
        pictures |= asyncio.run(photographed())
    for path in changed(pictures):
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
