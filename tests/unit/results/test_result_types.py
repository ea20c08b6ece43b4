"""What a result may be is read from its bytes, and bounded: see `bfl_async.results.incoming`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bfl_async import Batch, DownloadError, request
from bfl_async.models.headers import kind_of
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import MediaRule, take
from bfl_async.results.incoming import RESULT_TYPES
from bfl_async.types import Reply
from tests.fake import JPEG, FakeAPI, reply
from tests.media import mp4, png, webp

pytestmark = pytest.mark.looptime(start=0)

MB = 2**20


def boxes(*brands: bytes) -> bytes:
    """A file of boxes, of these brands."""
    head = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (4 + len(head)).to_bytes(4) + head + b"\0\0\0\x10mdat" + bytes(8)


GIF = b"GIF89a" + bytes(7) + b"\x3b"
JXL = b"\xff\x0a" + bytes(20)
JXL_BOXES = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x10jxlc" + bytes(8)

KNOWN = [
    (JPEG, "image/jpeg", ".jpg"),
    (png(8, 8), "image/png", ".png"),
    (webp(8, 8, b"VP8 "), "image/webp", ".webp"),
    (GIF, "image/gif", ".gif"),
    (JXL, "image/jxl", ".jxl"),
    (JXL_BOXES, "image/jxl", ".jxl"),
    (boxes(b"avif", b"mif1"), "image/avif", ".avif"),
    (boxes(b"avis", b"msf1"), "image/avif", ".avif"),
    (boxes(b"mif1", b"miaf", b"avif"), "image/avif", ".avif"),
    (boxes(b"heic", b"mif1", b"MiHB"), "image/heic", ".heic"),
    (boxes(b"heix"), "image/heic", ".heic"),
    (boxes(b"msf1", b"iso8", b"hevc"), "image/heic", ".heic"),
    (boxes(b"mif1", b"miaf"), "image/heif", ".heif"),
    (boxes(b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4", ".mp4"),
    (boxes(b"iso6"), "video/mp4", ".mp4"),
    (boxes(b"XAVC", b"mp42"), "video/mp4", ".mp4"),
    (mp4(64, 64, 1), "video/mp4", ".mp4"),
]

ACTIVE = [
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"<?xml version='1.0'?><svg onload='alert(1)'/>",
    b"\xef\xbb\xbf<!DOCTYPE html><script>alert(1)</script>",
    b"\n \t<HTML><body onload=alert(1)>",
    b"#!/bin/sh\nrm -rf ~\n",
    b"%PDF-1.7\n/JS (app.alert(1))",
    b"PK\x03\x04 a zip, or a document",
    b"MZ\x90\0 a program",
    b"\x7fELF a program",
    b"BM\x36\0\0\0 a bitmap",
    b"II*\0 a raw photo",
    b"\x1f\x8b\x08 gzip of an image",
    boxes(b"qt  "),
    boxes(b"M4A ", b"mp42"),
    boxes(b"crx ", b"isom"),
    boxes(b"none", b"such"),
    # Begins as something else, and is an image or a page further on.
    b"<!--" + JPEG + b"--><script>alert(1)</script>",
    b" " + JPEG,
    b"RIFF\x10\0\0\0WAVE" + bytes(8),
    b"GIF88a" + b"<script>",
    b"\xff\xd8" + b"<html>" + b"\xff\xd9",
]


def answer(api: FakeAPI, body: Reply) -> None:
    """Answer each download from now on with this."""
    api.download_script.clear()
    api.download_script.extend([body] * 100)


@pytest.mark.parametrize("said", ["image/jpeg", "image/svg+xml", "text/html", ""])
@pytest.mark.parametrize(("body", "media_type", "suffix"), KNOWN, ids=range(len(KNOWN)))
async def test_the_bytes_decide_type_and_suffix(
    body: bytes, media_type: str, suffix: str, said: str, tmp_path: Path
) -> None:
    """Whatever the server calls them."""
    assert kind_of(body) == media_type
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        api.download_script.append(reply(200, body, content_type=said))
        saved = await result.save(tmp_path / "cat")
        assert saved == tmp_path / f"cat{suffix}"
        assert saved.read_bytes() == body


@pytest.mark.parametrize(
    "said", ["image/x", "image/svg+xml", "image/png", "video/mp4", "application/octet-stream"]
)
@pytest.mark.parametrize("body", ACTIVE, ids=range(len(ACTIVE)))
async def test_what_is_not_on_the_list_is_no_result_whatever_it_is_called(
    body: bytes, said: str, tmp_path: Path
) -> None:
    """It could be active content where it is opened. Nothing of it is written."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        for padding in (b"", bytes(2 * MB)):
            answer(api, reply(200, body + padding, content_type=said))
            with pytest.raises(DownloadError, match="no image or video"):
                await result.read(timeout=5)
            with pytest.raises(DownloadError):
                await result.save(tmp_path / "cat.svg", timeout=5)
    assert list(tmp_path.iterdir()) == []


async def test_unchecked_bytes_are_saved_as_bytes(tmp_path: Path) -> None:
    """The caller asked for them: their type is not guessed, and what is known is still named."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        for body, name in [(ACTIVE[0], "x.bin"), (b"a format of the future", "x.bin"), (JPEG[:-5], "x.jpg")]:
            answer(api, reply(200, body, content_type="image/svg+xml"))
            saved = await result.save(tmp_path / "x", unchecked=True)
            assert saved == tmp_path / name
            assert saved.read_bytes() == body


async def test_a_batch_saves_nothing_active(tmp_path: Path) -> None:
    """No file of the folder gets its suffix from a header."""
    api = FakeAPI(service_s=0.01, submit_s=0.001, poll_s=0.001)
    api.download_script.extend([reply(200, ACTIVE[1], content_type="image/svg+xml")] * 10_000)
    async with api.client() as bfl, Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch:
        await batch.add([request("flux-dev", prompt="a cat")])
        (outcome,) = [outcome async for outcome in batch.run()]
    assert isinstance(outcome.error, DownloadError)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".svg", ".part", ".bin")]


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("flux-pro-1.1", "flux-pro-1.1.jpg"),
        ("v2.5-final", "v2.5-final.jpg"),
        ("page.html", "page.html.jpg"),
        ("page.svg", "page.svg.jpg"),
        ("2026-01-01 10.30", "2026-01-01 10.30.jpg"),
        ("cat.", "cat..jpg"),
        (".hidden", ".hidden.jpg"),
        ("cat.JPG", "cat.JPG"),
        ("cat.jpeg", "cat.jpeg"),
        ("cat.jfif", "cat.jfif"),
        ("cat.bin", "cat.bin"),
    ],
)
async def test_only_the_suffix_of_a_medium_counts_as_one(name: str, saved: str, tmp_path: Path) -> None:
    """Any other dot is part of the name, and no file can be opened as something that runs."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        assert await result.save(tmp_path / name) == tmp_path / saved


@pytest.mark.parametrize("name", ["cat.gif", "cat.PNG", "a.b.webp", "cat.avif", "cat.mp4"])
async def test_a_name_of_another_format_is_logged(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is written all the same, since the image is paid."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        assert (await result.save(tmp_path / "cat.jpg")).read_bytes() == JPEG
        assert caplog.messages == []
        assert await result.save(tmp_path / name) == tmp_path / name
    assert (tmp_path / name).read_bytes() == JPEG
    assert len(caplog.messages) == 1
    assert "holds image/jpeg, which its name does not say: end the name in .jpg" in caplog.text


@pytest.mark.parametrize(
    ("suffixes", "own"),
    [
        ([".jpg", ".jpeg", ".JPE"], "image/jpeg"),
        ([".png"], "image/png"),
        ([".webp"], "image/webp"),
        ([".avif"], "image/avif"),
        ([".heic", ".heif"], "image/heic"),
        ([".gif"], "image/gif"),
        ([".jxl"], "image/jxl"),
        ([".mp4", ".m4v"], "video/mp4"),
    ],
)
async def test_each_format_has_its_own_suffixes(
    suffixes: list[str], own: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the bytes of all formats, those of one have the name."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        for body, media_type, _ in KNOWN:
            for number, suffix in enumerate(suffixes):
                caplog.clear()
                api.download_script.append(reply(200, body))
                path = tmp_path / f"{number}{suffix}"
                assert (await result.save(path)).read_bytes() == body
                assert (caplog.messages == []) == (media_type.replace("heif", "heic") == own)


# --- bounds -------------------------------------------------------------------------------------------------


def test_bounds_are_stated_for_each_kind() -> None:
    """64 MiB for images, 512 MiB for videos."""
    assert {
        kind: each.max_bytes // MB for kind, each in RESULT_TYPES.items() if not kind.startswith("image/")
    } == {"video/mp4": 512}
    assert {each.max_bytes // MB for kind, each in RESULT_TYPES.items() if kind.startswith("image/")} == {64}


async def test_an_image_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """By what is announced, and by what comes."""
    api = FakeAPI(service_s=0)
    body = JPEG + bytes(64 * MB)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        for headers in ({}, {"content_length": str(len(body))}):
            answer(api, reply(200, body, content_type="image/jpeg", **headers))
            with pytest.raises(DownloadError, match="64 MiB"):
                await result.save(tmp_path / "cat.jpg", timeout=3)
        answer(api, reply(200, JPEG, content_length=str(513 * MB)))
        with pytest.raises(DownloadError, match="announced"):
            await result.save(tmp_path / "cat.jpg", timeout=3)
    await asyncio.sleep(0.1)
    assert list(tmp_path.iterdir()) == []


async def test_a_compressed_download_is_refused() -> None:
    """None was asked for, and inflated it could be of any size."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        for encoding in ("gzip", "br", "zstd, gzip", "\x1b[2J"):
            answer(api, reply(200, JPEG, content_encoding=encoding))
            with pytest.raises(DownloadError, match="compressed") as caught:
                await result.read(timeout=3)
            assert "\x1b" not in str(caught.value)
        answer(api, reply(200, JPEG, content_encoding="identity"))
        assert await result.read() == JPEG


# --- inputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        boxes(b"heic", b"mif1"),
        boxes(b"avif", b"mif1"),
        boxes(b"mif1", b"heix"),
        GIF,
        JXL_BOXES,
    ],
    ids=range(5),
)
def test_photos_in_other_formats_are_named_and_are_no_videos(body: bytes) -> None:
    """HEIC and AVIF have the container of an MP4, and are images."""
    kind = kind_of(body)
    assert kind is not None
    with pytest.raises(MediaProblem, match=f"{kind}: convert it"):
        take(body, MediaRule())
    with pytest.raises(MediaProblem, match=f"is no mp4 but {kind}$"):
        take(body, MediaRule("video"))


def test_videos_of_all_usual_brands_are_taken() -> None:
    """Also in a QuickTime container, of which the server judges."""
    for brands in (
        [b"mp42"],
        [b"isom", b"avc1"],
        [b"qt  "],
        [b"iso5", b"dash"],
        [b"M4V ", b"mp42"],
        [b"odd!", b"mp41"],
    ):
        assert take(boxes(*brands), MediaRule("video")) == boxes(*brands)
        with pytest.raises(MediaProblem, match="video/"):
            take(boxes(*brands), MediaRule())
