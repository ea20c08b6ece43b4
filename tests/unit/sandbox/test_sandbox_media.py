"""Reading the size of input images, and writing videos."""

import base64
import contextlib
import io
import struct
from collections.abc import Iterator

import pytest
from PIL import Image

from bfl_async.sandbox import orders
from bfl_async.sandbox.images import ImageBroken, Size, decode, is_url, size_of
from bfl_async.sandbox.models import MODELS
from bfl_async.sandbox.rules import RulesBroken
from bfl_async.sandbox.video import make_mp4
from tests.media import png

SIZES = [(1, 1), (300, 7), (1024, 768), (16383, 2)]


def encoded(size: tuple[int, int], form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format=form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0 a marker within a comment", "exif": bytes(500)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": bytes(500)}),
    ],
)
def test_the_header_tells_the_size(size: tuple[int, int], form: str, options: dict[str, object]) -> None:
    """Whatever the format and its variant, as another decoder reads it."""
    assert size_of(encoded(size, form, **options)) == Size(*size)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_cut_or_foreign_file_is_no_image(form: str) -> None:
    """However little of it came: its size or a reason, and no other exception."""
    whole = encoded((40, 30), form)
    told = []
    for length in range(len(whole)):
        with contextlib.suppress(ImageBroken):
            told.append(size_of(whole[:length]))
    assert set(told) == {Size(40, 30)}
    for other in (b"", b"hi", b"GIF89a" + bytes(20), whole[:12], encoded((4, 4), "BMP"), png(0, 5)):
        with pytest.raises(ImageBroken):
            size_of(other)


def test_base64_comes_plain_or_as_a_data_url() -> None:
    """With line breaks or without."""
    text = base64.b64encode(b"content").decode()
    for sent in (text, f" {text[:4]}\r\n{text[4:]}\n", f"data:image/png;base64,{text}"):
        assert decode(sent) == b"content"
    for wrong in ("data:image/png,fox", "é", "a", "a fox!", "\ud800", text[:-1]):
        with pytest.raises(ImageBroken, match="neither a URL nor base64"):
            decode(wrong)


def test_a_file_of_more_than_20_mb_is_refused() -> None:
    """To the byte, whether told by the length of the text or after decoding."""
    assert len(decode("AAAA" * (20_000_000 // 3) + "AAA=")) == 20_000_000
    for text in ("AAAA" * (20_000_000 // 3 + 1), "AAAA" * 10_000_000):
        with pytest.raises(ImageBroken, match="exceeds 20 MB"):
            decode(text)


def test_flux_3_image_counts_the_characters_of_base64() -> None:
    """One beyond 20,000,000 is refused unread; the image itself may be smaller than other models' bound."""
    with pytest.raises(RulesBroken) as caught:
        orders.take(MODELS["flux-3-image"], {"prompt": "a fox", "images": ["A" * 20_000_001]})
    assert "20,000,000 characters" in str(caught.value.detail)


def test_only_http_addresses_are_urls() -> None:
    """In any case of letters; a path or another scheme is none."""
    assert all(map(is_url, ("http://x", "https://x/y", "HTTPS://x")))
    assert not any(map(is_url, ("", "ftp://x", "file:///etc/passwd", "data:image/png;base64,", "httpx")))


# ---- videos


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each box; together they are all of the bytes."""
    at = 0
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        assert 8 <= length <= len(content) - at
        yield kind, content[at + 8 : at + length]
        at += length


def box(content: bytes, *path: bytes) -> bytes:
    for kind in path:
        (content,) = (inner for name, inner in boxes(content) if name == kind)
    return content


@pytest.mark.parametrize(
    ("width", "height", "seconds"), [(1280, 720, 5.0), (64, 64, 0.5), (3840, 2160, 20.0)]
)
def test_a_video_is_one_image_in_whole_boxes(width: int, height: int, seconds: float) -> None:
    """Boxes nest without a gap; its tables lead to the image; size and length stand where they belong."""
    jpeg = encoded((width, height), "JPEG")
    video = make_mp4(jpeg, width=width, height=height, seconds=seconds)
    assert [kind for kind, _ in boxes(video)] == [b"ftyp", b"moov", b"mdat"]
    assert video[4:8] == b"ftyp"
    assert len(box(video, b"moov", b"mvhd")) == 100
    per_s, length = struct.unpack_from(">II", box(video, b"moov", b"mvhd"), 12)
    assert length / per_s == seconds

    track = box(video, b"moov", b"trak")
    assert [kind for kind, _ in boxes(track)] == [b"tkhd", b"mdia"]
    assert len(box(track, b"tkhd")) == 84
    assert struct.unpack_from(">II", box(track, b"tkhd"), 76) == (width << 16, height << 16)
    media = box(track, b"mdia")
    assert [kind for kind, _ in boxes(media)] == [b"mdhd", b"hdlr", b"minf"]
    assert box(media, b"hdlr")[8:12] == b"vide"
    per_s, length = struct.unpack_from(">II", box(media, b"mdhd"), 12)
    assert length / per_s == seconds

    table = box(media, b"minf", b"stbl")
    assert [kind for kind, _ in boxes(table)] == [b"stsd", b"stts", b"stsc", b"stsz", b"stco"]
    count, offset = struct.unpack_from(">II", box(table, b"stco"), 4)
    sizes = struct.unpack_from(">III", box(table, b"stsz"), 4)
    assert (count, sizes) == (1, (0, 1, len(jpeg)))
    assert video[offset : offset + len(jpeg)] == jpeg

    ((kind, entry),) = boxes(box(table, b"stsd")[8:])
    assert kind == b"mp4v"
    assert struct.unpack_from(">HH", entry, 24) == (width, height)
    ((kind, stream),) = boxes(entry[78:])
    assert kind == b"esds"
    # The stream's descriptor ends with the box; within it, the decoder's names the object type of JPEG.
    assert (stream[4], stream[5]) == (3, len(stream) - 6)
    assert (stream[9], stream[11]) == (4, 0x6C)
