"""The picture behind a sandbox result: a card that shows which prompt it stands for.

Imported with the first picture: Pillow is an extra, which may not be installed.
"""

import colorsys
import hashlib
import io
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as _exc:
    raise ImportError("the sandbox draws with Pillow: pip install 'bfl-async[images]'") from _exc

from bfl_async.sandbox.fonts import Face, Font, system_fonts

_MAX_CHARACTERS = 400  # more would be too small to read, and slow to fit
_MIN_FONT_PX = 9
_CLOSING = ("Po", "Pe", "Pf")
_WHOLE_WORD_CHARACTERS = 20  # a longer word may be cut, so that it does not make all letters small


def draw_card(prompt: str, *, model: str, seed: int, width: int, height: int, output_format: str) -> bytes:
    """Draw the card and encode it; the same arguments give the same bytes on one machine.

    Args:
        prompt: Shown in large letters on a colour of its own; any text will do. Scripts beside Latin need a font of
            this machine; what none of them has is boxes, and is logged once.
        model: Named in the footer.
        seed: Named in the footer.
        width: Pixels.
        height: Pixels.
        output_format: `jpeg`, `png` or `webp`.
    """
    image = Image.new("RGB", (width, height), _background(prompt))
    canvas = ImageDraw.Draw(image)
    margin = max(4, min(width, height) // 16)
    footer_font = system_fonts().built_in.at(max(_MIN_FONT_PX, min(width, height) // 32))
    footer_px = _line_px(footer_font)
    box_width, box_height = width - 2 * margin, height - 3 * margin - footer_px

    text = system_fonts().showable(" ".join(prompt.split())[: 2 * _MAX_CHARACTERS])
    words = _words_of(text[:_MAX_CHARACTERS]) or _words_of("(no prompt)")
    if len(text) > _MAX_CHARACTERS:
        words.append(_Word("…"))
    letters = _largest_letters(words, box_width, box_height, max(_MIN_FONT_PX, height // 6))
    line_px = letters.line_px
    lines = _wrap(words, letters, box_width, box_height).lines
    room = max(1, box_height // line_px)
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1].rstrip() + " …"]

    top = margin + max(0, (box_height - len(lines) * line_px) // 2)
    for number, line in enumerate(lines):
        letters.draw(canvas, margin, top + number * line_px, line)
    footer = f"{model}   seed {seed}   {width} x {height}"
    canvas.text((margin, height - margin - footer_px), footer, fill=(215, 215, 215), font=footer_font)

    encoded = io.BytesIO()
    image.save(encoded, format=output_format)
    return encoded.getvalue()


def _background(prompt: str) -> tuple[int, int, int]:
    """A colour of the prompt's own, dark enough for white letters."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    hue, saturation = digest[0] / 256, 0.45 + digest[1] / 256 * 0.4
    red, green, blue = colorsys.hls_to_rgb(hue, 0.27, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


class _Word(NamedTuple):
    text: str
    gap: str = " "  # before it, unless it begins a line


def _words_of(text: str) -> list[_Word]:
    """The pieces between which a line may end: words, and each character of scripts that have no spaces."""
    words: list[_Word] = []
    for word in text.split():
        gap, piece = " ", ""
        for character in word:
            if unicodedata.east_asian_width(character) in "WF":
                # No line begins with what ends a clause or a bracket.
                if unicodedata.category(character) in _CLOSING and words and not piece and not gap:
                    words[-1] = _Word(words[-1].text + character, words[-1].gap)
                    continue
                if piece:
                    words.append(_Word(piece, gap))
                    gap, piece = "", ""
                words.append(_Word(character, gap))
                gap = ""
            else:
                piece += character
        if piece:
            words.append(_Word(piece, gap))
    return words


class _Letters:
    """Letters of one size, in as many faces as the text needs."""

    def __init__(self, faces: Sequence[Face], px: int) -> None:
        self._px = px
        self._lengths: dict[str, float] = {}
        self._fonts = {face: face.at(px) for face in faces}
        self._one = self._fonts[faces[0]] if len(faces) == 1 else None
        self.line_px: int = max(_line_px(font) for font in self._fonts.values())

    def length(self, text: str) -> float:
        """In pixels."""
        length = self._lengths.get(text)
        if length is None:
            if self._one is not None:
                length = self._one.getlength(text)
            else:
                runs = system_fonts().runs_of(text)
                length = sum(run.face.at(self._px).getlength(run.text) for run in runs)
            self._lengths[text] = length
        return length

    def draw(self, canvas: ImageDraw.ImageDraw, left: float, top: float, text: str) -> None:
        """Draw one line in white."""
        if self._one is not None:
            canvas.text((left, top), text, fill="white", font=self._one)
            return
        runs = [(run.face.at(self._px), run.text) for run in system_fonts().runs_of(text)]
        # On one baseline, however high the letters of each are.
        baseline = top + max((_ascent_px(font) for font, _ in runs), default=0)
        for font, piece in runs:
            canvas.text((left, baseline - _ascent_px(font)), piece, fill="white", font=font)
            left += font.getlength(piece)


def _ascent_px(font: Font) -> int:
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else 0


def _line_px(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ápgj")
    # The marks of some scripts reach above and beneath these letters: within what their font states.
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (0, 0)
    return max(round((bottom - min(0, top)) * 1.15) + 1, ascent + descent)


def _largest_letters(words: list[_Word], width: int, height: int, most_px: int) -> _Letters:
    """The largest letters, up to `most_px`, in which the words fit; the smallest if they fit in none."""
    text = "".join(word.gap + word.text for word in words)
    faces = [*dict.fromkeys(run.face for run in system_fonts().runs_of(text))]
    low, high = _MIN_FONT_PX, most_px
    while low < high:
        middle = (low + high + 1) // 2
        if _wrap(words, _Letters(faces, middle), width, height).fits:
            low = middle
        else:
            high = middle - 1
    return _Letters(faces, low)


class _Wrapped(NamedTuple):
    lines: list[str]  # no more of them than show that they are too many
    fits: bool  # in height, and no word of common length was cut


def _wrap(words: list[_Word], letters: _Letters, width: int, height: int) -> _Wrapped:
    room = height // letters.line_px
    lines: list[str] = []
    line, used_px = "", 0.0
    cut_common_word = False
    for word, gap in words:
        if len(lines) > room:
            break
        joined = f"{line}{gap}{word}" if line else word
        # Characters that stand alone are as wide beside others: the line is not measured anew for each.
        joined_px = used_px + letters.length(word) if line and not gap else letters.length(joined)
        if joined_px <= width:
            line, used_px = joined, joined_px
            continue
        if line:
            lines.append(line)
        line = word
        while len(line) > 1 and len(lines) <= room and (length := letters.length(line)) > width:
            cut_common_word = cut_common_word or len(word) <= _WHOLE_WORD_CHARACTERS
            cut = max(1, int(len(line) * width / length) + 1)  # about right, then exactly
            while cut > 1 and letters.length(line[:cut]) > width:
                cut -= 1
            lines.append(line[:cut])
            line = line[cut:]
        used_px = letters.length(line)
    if line:
        lines.append(line)
    return _Wrapped(lines, len(lines) <= room and not cut_common_word)
