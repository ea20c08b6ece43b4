"""The pictures show what the sandbox draws, and each page that needs one has it."""

from __future__ import annotations

import io
import re
import sys

import pytest
from PIL import Image

from tests.docs.pages import PAGES, ROOT

sys.path.insert(0, str(ROOT / "docs"))
from draw_pictures import COLUMNS, GAP_PX, THUMBNAIL_PX, drawn, prompts

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 200_000
MOST_BYTES_OF_ALL = 1_200_000


def colours(name: str, image: Image.Image) -> list[object]:
    """The colour at the upper left of each card, where it has no letter."""
    shown = image.convert("RGBA")
    if name != "batch.png":
        return [shown.getpixel((4, 4))]
    wide, high = THUMBNAIL_PX[0] + GAP_PX, THUMBNAIL_PX[1] + GAP_PX
    columns, rows = (shown.width + GAP_PX) // wide, (shown.height + GAP_PX) // high
    assert (columns, columns * rows) == (COLUMNS, len(prompts()))
    return [
        shown.getpixel((column * wide + 4, row * high + 4))
        for row in range(rows)
        for column in range(columns)
    ]


@pytest.mark.slow
def test_pictures_are_those_of_the_script() -> None:
    """Size and colours, not bytes: another release of Pillow may compress or draw letters in another way."""
    for name, picture in drawn().items():
        with Image.open(PICTURES / name) as kept, Image.open(io.BytesIO(picture)) as made:
            assert kept.size == made.size, f"{name}: run python docs/draw_pictures.py"
            assert colours(name, kept) == colours(name, made), f"{name}: run python docs/draw_pictures.py"


def test_pictures_are_small_and_shown() -> None:
    """A page that loads slowly is left; a picture that no page shows is not kept up to date."""
    kept = {path.name: path.stat().st_size for path in PICTURES.glob("*")}
    assert {name: size for name, size in kept.items() if size > MOST_BYTES} == {}
    assert sum(kept.values()) <= MOST_BYTES_OF_ALL
    text = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)
    shown = set(re.findall(r"!\[[^\]]+\]\((?:\.\./|docs/)?pictures/([\w.-]+)\)", text))
    assert shown == kept.keys()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/tutorial.md",
        "docs/howto/batch.md",
        "docs/howto/gallery.md",
        "docs/howto/studio.md",
    ],
)
def test_page_has_a_picture(page: str) -> None:
    """An image is what the reader comes for."""
    assert re.search(r"!\[[^\]]+\]\((?:\.\./|docs/)?pictures/", (ROOT / page).read_text("utf-8"))
