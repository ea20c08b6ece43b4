"""Images and videos as input: what is taken, what is refused, and what is sent."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import os
import pickle
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from bfl_async import (
    EraseV1,
    Flux2Pro,
    Flux3Image,
    Flux3ImageKlein,
    Flux3VideoI2V,
    FluxPro11,
    FluxProExpand,
    FluxProFill,
    ImageRequest,
    InvalidRequestError,
    VideoEditV1,
    request,
)
from bfl_async.models.headers import image_size, kind_of, video_facts
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import MP, MediaRule, size_of, take
from tests.media import jpeg, mp4, png, webp

ANY = MediaRule()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def edit(image: object) -> Flux2Pro:
    return Flux2Pro.model_validate({"prompt": "x", "input_image": image})


def closed() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


# --- headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        png(640, 480),
        jpeg(640, 480),
        jpeg(640, 480, frame=0xC2),
        jpeg(640, 480, before=b"\xff\xe1\x00\x06\xff\xc0\xff\xc0" + b"\xff\xff\xfe\x00\x03c"),
        webp(640, 480, b"VP8 "),
        webp(640, 480, b"VP8L"),
        webp(640, 480, b"VP8X"),
    ],
)
def test_size_is_read_from_the_header(data: bytes) -> None:
    """Also where marks stand before a JPEG's frame, and look like one."""
    assert image_size(data) == (640, 480)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_sizes_are_those_that_pillow_writes(form: str, mode: str) -> None:
    """A second opinion on the headers."""
    for width, height in ((1, 1), (257, 640), (2000, 3)):
        for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0" + bytes(500)}, {"progressive": True}):
            buffer = io.BytesIO()
            Image.new(mode, (width, height)).save(buffer, form, **options)
            assert image_size(buffer.getvalue()) == (width, height)


@pytest.mark.parametrize(
    "whole",
    [png(640, 480)[:33], jpeg(640, 480), *(webp(640, 480, kind) for kind in (b"VP8 ", b"VP8L", b"VP8X"))],
)
def test_truncated_header_is_a_refusal_and_never_a_crash(whole: bytes) -> None:
    """At every length; a size is found whole or not at all."""
    for length in range(len(whole)):
        assert image_size(whole[:length]) in (None, (640, 480))
        if image_size(whole[:length]) is None:
            with pytest.raises(MediaProblem):
                take(whole[:length], ANY)


def test_header_with_any_byte_changed_never_crashes() -> None:
    """Whatever a stranger sends."""
    for whole in (
        png(640, 480),
        jpeg(640, 480),
        webp(640, 480, b"VP8L"),
        webp(640, 480, b"VP8X"),
        mp4(64, 64, 1),
    ):
        for at in range(min(len(whole), 200)):
            for value in (0, 1, 0x7F, 0xFF):
                data = whole[:at] + bytes([value]) + whole[at + 1 :]
                image_size(data)
                video_facts(data)


def test_video_facts_are_read_from_either_end(tmp_path: Path) -> None:
    """The `moov` box may stand before the pictures or behind them; its times come in two widths."""
    for version in (0, 1):
        for moov_last in (False, True):
            facts = video_facts(mp4(1280, 720, 7.5, version=version, moov_last=moov_last))
            assert facts is not None
            assert (facts.width, facts.height, facts.seconds) == (1280, 720, 7.5)
    assert video_facts(b"\0\0\0\x14ftypmp42\0\0\0\0mp42") is None


# --- what may be given ----------------------------------------------------------------------------------------


def test_every_kind_of_input_is_sent_as_base64(tmp_path: Path) -> None:
    """bytes, files, paths, data URLs and base64 are all the same picture."""
    data = jpeg(640, 480)
    file = tmp_path / "a.jpg"
    file.write_bytes(data)
    with file.open("rb") as opened:
        for given in (data, bytearray(data), memoryview(data), io.BytesIO(data), opened, file, b64(data),
                      f"data:image/jpeg;base64,{b64(data)}", b64(data)[:40] + "\n" + b64(data)[40:]):  # fmt: skip
            made = edit(given)
            assert made.body() == {"prompt": "x", "input_image": b64(data)}
            assert size_of(made.input_image) == (640, 480)  # type: ignore[arg-type]  # what is kept of it


def test_pillow_image_is_sent_without_loss() -> None:
    """As PNG, every pixel as it was."""
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    sent = edit(image).body()["input_image"]
    assert isinstance(sent, str)
    back = Image.open(io.BytesIO(base64.b64decode(sent)))
    assert back.format == "PNG"
    assert back.tobytes() == image.tobytes()


def test_url_is_sent_as_it_is() -> None:
    """The server fetches it."""
    for url in ("https://example.com/a.png?sig=a%2Fb#c", "HTTP://example.com/ä"):
        made = edit(url)
        assert made.body()["input_image"] == url
        assert not made.has_files


def test_data_url_of_a_video_stays_one() -> None:
    """As BFL's own cookbook sends it."""
    text = f"data:video/mp4;base64,{b64(mp4(64, 64, 1))}"
    assert VideoEditV1(video=text, prompt="x").body()["video"] == text


@pytest.mark.parametrize(
    "text",
    ["", "cat.jpg", "/etc/passwd", "/etc", "photos/cat", "cats", "file:///etc/passwd", "ftp://x/y.png", "https://",
     "http://a b", "data:image/png;base64,", "data:image/png,abcd", "é", "AAAA", "A" * 101, "===="],
)  # fmt: skip
def test_text_that_is_no_url_and_no_base64_is_an_error_that_says_so(text: str, tmp_path: Path) -> None:
    """A str is never a path, whatever stands in the folder."""
    with pytest.raises(InvalidRequestError, match=r"URL") as caught:
        request("flux-2-pro", **{"prompt": "x", "input_image": text})
    assert [path for path, _ in caught.value.errors] == ["input_image"]


def test_a_str_is_never_read_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where its name is valid base64."""
    monkeypatch.chdir(tmp_path)
    Path("cats").write_bytes(png(64, 64))
    with pytest.raises(InvalidRequestError, match=r"pathlib\.Path"):
        request("flux-2-pro", prompt="x", input_image="cats")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "is empty"),
        (b"GIF89a" + bytes(20), "is no JPEG, PNG or WebP"),
        (mp4(64, 64, 1), "is no JPEG, PNG or WebP but video/mp4"),
        (png(640, 480)[:20], "header cannot be read"),
        (png(0, 480), "header cannot be read"),
        (png(8192, 8192), "more than 20 MP"),
        (png(65535, 65535, lines=1), "more than 20 MP"),
        (png(64, 64) + bytes(20 * MP), "more than 20 MB"),
        (io.StringIO("text"), "open it with 'rb'"),
        (closed(), "closed file"),
        (Image.new("L", (8192, 8192)), "more than 20 MP"),
        (Image.new("CMYK", (64, 64)), "cannot be written as PNG"),
        (7, "is of type int"),
        ({}, "is of type dict"),
        ([b"x"], "is of type list"),
    ],
)
def test_wrong_input_is_refused_with_its_reason(given: object, said: str) -> None:
    """Before anything is sent, and without showing the data."""
    with pytest.raises(ValidationError, match=said) as caught:
        edit(given)
    assert "\\x" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_base64_is_held_to_the_same_bounds() -> None:
    """A bomb in base64 is a bomb; one that is too long is not decoded."""
    for text in (b64(png(8192, 8192)), "A" * 28_000_000):
        with pytest.raises(ValidationError, match="more than 20 M"):
            edit(text)
    with pytest.raises(ValidationError, match="header cannot be read"):
        edit(b64(png(640, 480)[:20]))
    with pytest.raises(ValidationError, match="nor base64"):
        edit(b64(png(640, 480) + bytes(3000)) + "!!!!")


def test_long_base64_is_checked_to_its_end_when_it_is_sent() -> None:
    """Invariant 10: megabytes of text are not walked through where the request is made."""
    text = b64(png(640, 480) + bytes(2_000_000))
    made = edit(text)
    assert made.has_files
    assert made.body()["input_image"] == text
    broken = edit(text[:-8] + "?" + text[-7:])
    with pytest.raises(InvalidRequestError, match="nor base64"):
        broken.body()


# --- bounds of single models ----------------------------------------------------------------------------------


def test_smallest_sides_are_the_models_own() -> None:
    """Expand and FLUX 3 want 256 px a side; others take what is smaller."""
    for size in ((255, 300), (300, 255)):
        edit(png(*size))
        for make in (
            lambda image: FluxProExpand(image=image),
            lambda image: Flux3Image(prompt="x", images=[image]),
        ):
            with pytest.raises(ValidationError, match="at least 256 px"):
                make(png(*size))
            make(png(256, 256))


def test_flux_3_takes_16_mp_and_20_million_characters() -> None:
    """Its own bounds, tighter than the others'."""
    Flux3Image(prompt="x", images=[png(4096, 4096)])
    edit(png(4096, 4097))
    with pytest.raises(ValidationError, match="more than 16 MP"):
        Flux3Image(prompt="x", images=[png(4096, 4097)])
    large = png(256, 256) + bytes(15_000_000)
    with pytest.raises(ValidationError, match="more than 20,000,000"):
        Flux3Image(prompt="x", images=[large])
    with pytest.raises(ValidationError, match="more than 20,000,000"):
        Flux3Image(prompt="x", images=[b64(large)])


@pytest.mark.parametrize("cls", [Flux3Image, Flux3ImageKlein])
def test_flux_3_takes_one_image_or_several(cls: type[Flux3Image | Flux3ImageKlein], tmp_path: Path) -> None:
    """Either is sent as a list; an error names the image's place, and the number of images is bounded."""
    file = tmp_path / "a.png"
    file.write_bytes(png(256, 256))
    for one in (file, png(256, 256), b64(png(256, 256))):
        for given in (one, [one]):
            assert cls(prompt="x", images=given).body()["images"] == [b64(png(256, 256))]
    assert cls(prompt="x", images="https://example.com/a").body()["images"] == ["https://example.com/a"]
    with pytest.raises(ValidationError, match="at least 256 px") as caught:
        cls(prompt="x", images=[png(256, 256), png(255, 256)])
    assert caught.value.errors()[0]["loc"] == ("images", 1)
    for count in (0, 11):
        with pytest.raises(ValidationError, match=f"not {count}"):
            cls(prompt="x", images=["https://example.com/a"] * count)


@pytest.mark.parametrize("model", ["flux-3-image", "flux-3-image-klein"])
def test_disputed_bound_is_left_to_the_server(model: str) -> None:
    """Sources of October 2026 give 4 and 7 for the same field: whatever is not below 0 is sent."""
    for tolerance in (0, 4, 6, 7, 9):
        assert request(model, prompt="x", safety_tolerance=tolerance).body()["safety_tolerance"] == tolerance
    with pytest.raises(InvalidRequestError, match="safety_tolerance"):
        request(model, prompt="x", safety_tolerance=-1)


def test_mask_must_have_the_images_size(tmp_path: Path) -> None:
    """Bytes are compared when the request is made, paths and texts when it is sent."""
    with pytest.raises(ValidationError, match="the image has 64 x 64 px"):
        FluxProFill(image=png(64, 64), mask=png(64, 65))
    FluxProFill(image=png(64, 64), mask=jpeg(64, 64)).body()
    file = tmp_path / "mask.png"
    file.write_bytes(png(64, 65))
    for mask in (file, b64(png(64, 65))):
        made = EraseV1(image=png(64, 64), mask=mask)
        with pytest.raises(InvalidRequestError, match="the image has 64 x 64 px") as caught:
            made.body()
        assert [path for path, _ in caught.value.errors] == ["mask"]
    EraseV1(image="https://example.com/a.png", mask=file).body()


def test_several_images_keep_their_order_and_times(tmp_path: Path) -> None:
    """Lists and pairs are sent as they were given."""
    file = tmp_path / "b.png"
    file.write_bytes(png(257, 257))
    first, second = b64(png(256, 256)), b64(png(257, 257))
    made = Flux3Image(prompt="x", images=[png(256, 256), file, "https://example.com/c"])
    assert made.body()["images"] == [first, second, "https://example.com/c"]
    frames = Flux3VideoI2V(prompt="x", keyframes=[(0, png(256, 256)), (4.5, file)])
    assert frames.body()["keyframes"] == [[0, first], [4.5, second]]
    assert Flux3VideoI2V(prompt="x", keyframes=(1.5, file)).body()["keyframes"] == [1.5, second]
    assert frames.has_files


# --- paths ----------------------------------------------------------------------------------------------------


def test_path_is_read_at_each_sending(tmp_path: Path) -> None:
    """Nothing is read when the request is made; what the file holds then is what is sent."""
    file = tmp_path / "later.png"
    made = edit(file)
    file.write_bytes(png(64, 64))
    assert made.body()["input_image"] == b64(png(64, 64))
    file.write_bytes(png(32, 32))
    assert made.body()["input_image"] == b64(png(32, 32))


def test_path_that_cannot_be_sent_is_named_with_its_field(tmp_path: Path) -> None:
    """Missing, a folder, a pipe that would block, too large, no picture."""
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "large.png").write_bytes(png(64, 64) + bytes(20 * MP))
    (tmp_path / "text.png").write_bytes(b"hello")
    for name, said in (
        ("missing.png", "No such file"),
        ("folder.png", "is not a file"),
        ("pipe.png", "is not a file"),
        ("large.png", "more than 20 MB"),
        ("text.png", "is no JPEG"),
        ("nul\0.png", "cannot be read"),
    ):
        with pytest.raises(InvalidRequestError, match=said) as caught:
            edit(tmp_path / name).body()
        (pair,) = caught.value.errors
        assert pair[0] == "input_image"
        assert repr(name) in pair[1]
        assert str(tmp_path) not in str(caught.value), "a stranger is not shown the server's folders"


# --- values ---------------------------------------------------------------------------------------------------


def test_requests_with_files_compare_copy_and_pickle(tmp_path: Path) -> None:
    """A request is a value, whatever its images are."""
    for image in (png(64, 64), tmp_path / "a.png", "https://example.com/a.png", b64(png(64, 64))):
        made: ImageRequest = edit(image)
        for twin in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made)), edit(image)):
            assert twin == made
            assert hash(twin) == hash(made)
            assert twin.model_fields_set == made.model_fields_set
        assert made != edit(png(65, 65))


def test_no_repr_and_no_dump_shows_the_data(tmp_path: Path) -> None:
    """What a log line may hold: kind and size, never the picture or a signed query."""
    data = png(64, 64) + b"secret" * 100
    for image in (data, b64(data), "https://example.com/a?sig=secret"):
        shown = repr(edit(image)) + str(edit(image))
        assert "secret" not in shown
        assert b64(data)[:60] not in shown
        assert len(shown) < 500
    assert f"image/png, {len(data)} bytes, 64 x 64 px" in repr(edit(data))
    assert kind_of(data) == "image/png"


def test_dumped_json_is_what_would_be_sent(tmp_path: Path) -> None:
    """pydantic's own dump of a request stays valid JSON."""
    made = FluxPro11(prompt="x", image_prompt=png(64, 64))
    assert made.model_dump(mode="json", exclude_unset=True) == made.body()
    assert FluxPro11.model_json_schema()["properties"]["image_prompt"]["anyOf"][0] == {"type": "string"}


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L",
                             b"RIFF\0\0\0\0WEBPVP8X", b"\0\0\0\x08ftyp"]), st.binary(max_size=200)
        ).map(b"".join),
    )
)  # fmt: skip
def test_bytes_of_any_kind_are_taken_or_refused(data: bytes) -> None:
    """Nothing else comes out of a check, as bytes and as base64, for images and for videos."""
    for rule in (ANY, MediaRule("video")):
        for given in (data, b64(data)):
            with contextlib.suppress(MediaProblem):
                take(given, rule)
    video_facts(data)


@hypothesis.settings(derandomize=True, deadline=None)
@hypothesis.given(st.text(max_size=80))
def test_texts_of_any_kind_are_taken_or_refused(text: str) -> None:
    """A stranger's text is a URL, a picture, or an error; it is never looked for on the disk."""
    try:
        take(text, ANY)
    except MediaProblem:
        return
    assert text.lower().startswith(("http://", "https://", "data:"))
