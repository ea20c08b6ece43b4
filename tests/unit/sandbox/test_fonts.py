"""The fonts of the sandbox's pictures: what they have, what is chosen, and what is said of scripts that none has."""

from __future__ import annotations

import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from bfl_async.sandbox.drawing import draw_card
from bfl_async.sandbox.fonts import Face, Fonts, font_folders

CYRILLIC, THAI = "Кошка у окна", "แมวไทย"  # noqa: RUF001 - letters that look like Latin ones are meant


def cyrillic() -> Fonts:
    """The fonts of this machine; the test is skipped where they have no Cyrillic letters."""
    fonts = Fonts(font_folders())
    if fonts.face_of(CYRILLIC) is None:
        pytest.skip("no font of this machine has Cyrillic letters")
    return fonts


def is_drawn(face: Face, character: str) -> bool:
    """Whether a face draws something else for a character than for one that is none."""
    font = face.at(32)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))


def test_what_a_font_is_said_to_have_is_what_it_draws() -> None:
    """For Pillow's own font, over the letters of Europe."""
    face = Fonts([]).built_in
    for code in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x530)]:
        assert face.has(chr(code)) == is_drawn(face, chr(code)), hex(code)


def test_what_fonts_of_the_system_are_said_to_have_is_what_they_draw() -> None:
    """Letters of the script, and one that is none."""
    face = cyrillic().face_of(CYRILLIC)
    assert face is not None
    assert not face.has("\U0010fffe")
    for letter in set(CYRILLIC) - {" "}:
        assert is_drawn(face, letter)
    pictures = {bytes(getattr(face.at(32), "getmask")(letter)) for letter in "Кошау"}  # noqa: B009 - of both kinds
    assert len(pictures) == 5


def test_plain_text_keeps_pillows_own_font() -> None:
    """Whatever the machine has, so that such cards look the same everywhere; no font file is read for it."""
    fonts = Fonts([Path("/no/such/folder")])
    assert [(run.face, run.text) for run in fonts.runs_of("a plain cat")] == [(fonts.built_in, "a plain cat")]
    assert fonts.showable("a plain cat") == "a plain cat"


def test_one_face_sets_a_whole_text_if_it_can() -> None:
    """Words of one script stay in one run with the spaces between them, and Latin words beside them as well."""
    fonts = cyrillic()
    assert [run.text for run in fonts.runs_of(CYRILLIC)] == [CYRILLIC]
    assert [run.text for run in fonts.runs_of(f"cat {CYRILLIC} cat")] == [f"cat {CYRILLIC} cat"]


def test_missing_script_is_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    """With what to install; the text stays as it is, and other threads and prompts do not repeat it."""
    fonts = Fonts([])
    with caplog.at_level(logging.WARNING):
        assert fonts.showable(THAI) == THAI
        with ThreadPoolExecutor(4) as pool:
            assert [*pool.map(fonts.showable, ["кот", THAI, "東京 🦊"])] == ["кот", THAI, "東京 🦊"]
    (record,) = caplog.records
    assert "shows Thai" in record.getMessage()
    assert "fonts-noto" in record.getMessage()
    assert THAI not in record.getMessage()


def test_accents_are_kept_where_a_font_has_them_and_dropped_elsewhere() -> None:
    """A letter is better than a box. A decomposed letter is the same as a composed one."""
    bare = Fonts([])
    shown = bare.showable("naïve façade, e\u0301, Ǻ ǹ ẗ")
    assert bare.built_in.has(shown)
    assert len(shown) == len("naïve façade, é, Ǻ ǹ ẗ")
    assert cyrillic().showable("naïve façade ñ Łódź e\u0301") == "naïve façade ñ Łódź é"


def test_what_is_not_to_be_seen_is_not_drawn() -> None:
    """Nothing in a prompt turns the direction of a line, ends it, or leaves a box for a joiner."""
    fonts = Fonts([])
    assert fonts.showable("a\x07b\u202ec\u200dd\ufe0fe\ud800f") == "a bcde f"


@pytest.mark.parametrize(
    "kind", ["empty", "text", "collection", "cut", "pipe", "folder", "dangling", "huge counts"]
)
def test_file_that_is_not_a_font_is_passed_over(tmp_path: Path, kind: str) -> None:
    """Whatever lies in a folder of fonts, it is neither waited for nor an error."""
    path = tmp_path / "a.ttf"
    built_in = getattr(ImageFont.load_default(size=10), "font_bytes", b"\0\1\0\0" * 99)
    contents = {
        "empty": b"",
        "text": b"not a font " * 99,
        "collection": b"ttcf\0\1\0\0\xff\xff\xff\xff" + b"\0" * 400,
        "cut": built_in[: len(built_in) // 3],
        "huge counts": b"\0\1\0\0\xff\xff" + b"\xff" * 9_000,
    }
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(contents[kind])
    assert Fonts([tmp_path]).face_of(THAI) is None


def test_cards_are_drawn_in_several_threads() -> None:
    """As the server does, with the fonts found on the way: each prompt's card is the same in all of them."""
    prompts = [CYRILLIC, THAI, "東京の夜、静かな朝", "a cat", "שלום cat", "한국어"] * 4

    def draw(prompt: str) -> bytes:
        return draw_card(prompt, model="m", seed=1, width=192, height=128, output_format="png")

    with ThreadPoolExecutor(8) as pool:
        cards = [*pool.map(draw, prompts)]
    assert len(set(cards)) == 6
    with Image.open(io.BytesIO(cards[0])) as image:
        assert image.size == (192, 128)
