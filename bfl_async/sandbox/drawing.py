"""The picture behind a sandbox result: a card that shows which prompt it stands for.

Imported with the first picture: Pillow is an extra, which may not be installed.
"""

import colorsys
import hashlib
import io
import unicodedata
from typing import NamedTuple, TypeAlias

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as _exc:
    raise ImportError("the sandbox draws with Pillow: pip install 'bfl-async[images]'") from _exc

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MAX_CHARACTERS = 400  # more would be too small to read, and slow to fit
_MIN_FONT_PX = 9
_WHOLE_WORD_CHARACTERS = 20  # a longer word may be cut, so that it does not make all letters small


def draw_card(prompt: str, *, model: str, seed: int, width: int, height: int, output_format: str) -> bytes:
    """Draw the card and encode it; the same arguments give the same bytes.

    Args:
        prompt: Shown in large letters on a colour of its own; any text will do.
        model: Named in the footer.
        seed: Named in the footer.
        width: Pixels.
        height: Pixels.
        output_format: `jpeg`, `png` or `webp`.
    """
    image = Image.new("RGB", (width, height), _background(prompt))
    canvas = ImageDraw.Draw(image)
    margin = max(4, min(width, height) // 16)
    footer_font = ImageFont.load_default(size=max(_MIN_FONT_PX, min(width, height) // 32))
    footer_px = _line_px(footer_font)
    box_width, box_height = width - 2 * margin, height - 3 * margin - footer_px

    text = _printable(prompt)
    words = text[:_MAX_CHARACTERS].split() or ["(no", "prompt)"]
    if len(text) > _MAX_CHARACTERS:
        words.append("…")
    font = _largest_font(words, box_width, box_height, max(_MIN_FONT_PX, height // 6))
    line_px = _line_px(font)
    lines = _wrap(words, font, box_width, box_height).lines
    room = max(1, box_height // line_px)
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1].rstrip() + " …"]

    top = margin + max(0, (box_height - len(lines) * line_px) // 2)
    for number, line in enumerate(lines):
        canvas.text((margin, top + number * line_px), line, fill="white", font=font)
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


def _printable(text: str) -> str:
    """The text as the built-in font can show it: no control characters, letters without their accents.

    The font knows little beyond ASCII; other scripts come out as boxes, their colour still tells them apart.
    """
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split())[: 2 * _MAX_CHARACTERS])
    return "".join(
        character if character.isprintable() else " "
        for character in decomposed
        if not unicodedata.combining(character)
    )


def _line_px(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ápgj")
    return round((bottom - min(0, top)) * 1.15) + 1


def _largest_font(words: list[str], width: int, height: int, most_px: int) -> Font:
    """The largest font, up to `most_px`, in which the words fit; the smallest if they fit in none."""
    low, high = _MIN_FONT_PX, most_px
    while low < high:
        middle = (low + high + 1) // 2
        if _wrap(words, ImageFont.load_default(size=middle), width, height).fits:
            low = middle
        else:
            high = middle - 1
    return ImageFont.load_default(size=low)


class _Wrapped(NamedTuple):
    lines: list[str]  # no more of them than show that they are too many
    fits: bool  # in height, and no word of common length was cut


def _wrap(words: list[str], font: Font, width: int, height: int) -> _Wrapped:
    room = height // _line_px(font)
    lines: list[str] = []
    line = ""
    cut_common_word = False
    for word in words:
        if len(lines) > room:
            break
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while len(line) > 1 and len(lines) <= room and (length := font.getlength(line)) > width:
            cut_common_word = cut_common_word or len(word) <= _WHOLE_WORD_CHARACTERS
            cut = max(1, int(len(line) * width / length) + 1)  # about right, then exactly
            while cut > 1 and font.getlength(line[:cut]) > width:
                cut -= 1
            lines.append(line[:cut])
            line = line[cut:]
    if line:
        lines.append(line)
    return _Wrapped(lines, len(lines) <= room and not cut_common_word)
