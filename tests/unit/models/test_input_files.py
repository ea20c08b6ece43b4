"""Files as input: where they may lie, who may name them, and what a picture keeps on its way."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import pickle
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from bfl_async import AsyncBFL, Batch, Fixed, InvalidRequestError, request
from bfl_async.batch.requests import rebuild
from bfl_async.cli.rows import Rows
from bfl_async.models import ImageRequest
from bfl_async.models._base import size_problem
from bfl_async.models.headers import image_size, is_turned, video_facts
from bfl_async.models.input_files import FileWithin, MediaProblem
from bfl_async.models.media import MediaRule, load, take
from bfl_async.types import EntryState, LedgerEntry
from tests.fake import FakeAPI
from tests.media import jpeg, png

ANY = MediaRule()
INSIDE, OUTSIDE = png(300, 300), png(301, 301)


def edit(image: object) -> ImageRequest:
    fields: dict[str, Any] = {"input_image": image}
    made: ImageRequest = request("flux-kontext-pro", prompt="x", **fields)
    return made


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- a file that must lie in a folder ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An input folder with an image, beside one that is not to be sent."""
    drop = tmp_path / "drop"
    (drop / "deep" / "er").mkdir(parents=True)
    (drop / "deep" / "er" / "a.png").write_bytes(INSIDE)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.png").write_bytes(OUTSIDE)
    return drop


def link_the_file(drop: Path) -> None:
    (drop / "deep" / "er" / "a.png").unlink()
    (drop / "deep" / "er" / "a.png").symlink_to(drop.parent / "outside" / "a.png")


def link_its_folder(drop: Path) -> None:
    (drop / "deep" / "er").rename(drop / "deep" / "old")
    (drop / "deep" / "er").symlink_to("../../outside")


def link_a_folder_above(drop: Path) -> None:
    (drop.parent / "outside" / "er").mkdir()
    (drop.parent / "outside" / "er" / "a.png").write_bytes(OUTSIDE)
    (drop / "deep").rename(drop / "old")
    (drop / "deep").symlink_to(drop.parent / "outside", target_is_directory=True)


def link_in_a_circle(drop: Path) -> None:
    (drop / "deep" / "er" / "a.png").unlink()
    (drop / "deep" / "er" / "a.png").symlink_to("a.png")


SWAPS = [link_the_file, link_its_folder, link_a_folder_above, link_in_a_circle]


@pytest.mark.parametrize("swap", SWAPS)
def test_a_file_is_checked_again_when_it_is_read(swap: Callable[[Path], None], folder: Path) -> None:
    """By every function that opens it."""
    file = FileWithin(folder / "deep" / "er" / "a.png", folder)
    made = edit(file)
    assert made.body()["input_image"] == b64(INSIDE)
    swap(folder)
    with pytest.raises(InvalidRequestError, match=r"'a\.png' cannot be read"):
        made.body()
    with pytest.raises(MediaProblem):
        load(file, ANY)
    assert size_problem(file, png(1, 1)) is None


def test_links_that_stay_inside_are_followed(folder: Path, tmp_path: Path) -> None:
    """Also where the folder itself is reached by a link, or `..` leads back into it."""
    (folder / "latest").symlink_to("deep/er")
    (folder / "b.png").symlink_to(folder / "latest" / "a.png")
    (tmp_path / "alias").symlink_to(folder)
    alias = tmp_path / "alias"
    for path in (
        folder / "b.png",
        folder / "latest" / "a.png",
        alias / "b.png",
        folder / "deep" / ".." / "b.png",
    ):
        assert load(FileWithin(path, folder), ANY) == b64(INSIDE)
        assert load(FileWithin(path, alias), ANY) == b64(INSIDE)


def test_what_is_swapped_between_the_look_and_the_opening_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders on the way are opened one in the other, so none can come to mean another."""
    file = FileWithin(folder / "deep" / "er" / "a.png", folder)
    resolve = Path.resolve
    for swap in SWAPS[:2]:

        def late(self: Path, strict: bool = False, swap: Callable[[Path], None] = swap) -> Path:
            found = resolve(self, strict)
            if self.name == "a.png":
                swap(folder)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Path, "resolve", late)
            with pytest.raises(MediaProblem):
                load(file, ANY)
        link = folder / "deep" / "er"
        if link.is_symlink():
            link.unlink()
            (folder / "deep" / "old").rename(link)
        (link / "a.png").unlink()
        (link / "a.png").write_bytes(INSIDE)


def test_without_descriptors_of_folders_a_swap_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    file = FileWithin(folder / "deep" / "er" / "a.png", folder)
    assert load(file, ANY) == b64(INSIDE)
    system_open = os.open

    def late(path: Path, *args: int, **named: int) -> int:
        handle = system_open(folder.parent / "outside" / "a.png", *args, **named)
        return handle

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(MediaProblem, match="replaced"):
        load(file, ANY)


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "nul", "itself"])
def test_what_is_no_file_is_refused(kind: str, folder: Path) -> None:
    """Without waiting for anything."""
    path = folder / "x"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "nul":
            path = folder / "a\0b"
        case "itself":
            path = folder
    with pytest.raises(MediaProblem):
        load(FileWithin(path, folder), ANY)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
async def test_a_batch_takes_no_other_thing_for_a_file(kind: str, tmp_path: Path) -> None:
    """A pipe might never end, and a device neither."""
    path = tmp_path / "x.png"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    async with (
        asyncio.timeout(10),
        AsyncBFL(transport=FakeAPI(), polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            await batch.add([edit(path)])


def test_it_travels_with_its_folder(folder: Path) -> None:
    """A request may be pickled for another process."""
    made = edit(FileWithin(folder / "deep" / "er" / "a.png", folder))
    twin = pickle.loads(pickle.dumps(made))
    assert twin == made
    assert str(folder / "deep") in repr(made)
    link_the_file(folder)
    with pytest.raises(InvalidRequestError):
        twin.body()


@pytest.mark.parametrize("allow_outside", [False, True])
def test_rows_name_files_within_their_folder(allow_outside: bool, folder: Path) -> None:
    """Of a CSV and of JSON Lines; a flag allows others."""
    for name, text in [
        ("rows.csv", "prompt,input_image\nx,deep/er/a.png\n"),
        ("rows.jsonl", json.dumps({"prompt": "x", "input_image": "deep/er/a.png"}) + "\n"),
    ]:
        (folder / name).write_text(text)
        rows = Rows(
            str(folder / name),
            "csv" if name.endswith("csv") else "jsonl",
            model="flux-kontext-pro",
            fields={},
            folder=folder,
            columns={},
            prompt=None,
            repeat=1,
            allow_outside=allow_outside,
        )
        (given,) = rows.check()
        assert not isinstance(given, tuple)
        image = given.media()["input_image"]
        assert image == (
            folder / "deep" / "er" / "a.png"
            if allow_outside
            else FileWithin(folder / "deep" / "er" / "a.png", folder)
        )


async def test_a_resumed_batch_checks_the_file_again(folder: Path, tmp_path: Path) -> None:
    """The ledger knows the folder; what is replaced by a link to the outside is not sent."""
    api = FakeAPI(service_s=0.01, submit_s=0.001, poll_s=0.001)
    path = folder / "deep" / "er" / "a.png"
    database = tmp_path / "run.db"

    async def run(*requests: object) -> list[EntryState]:
        async with (
            AsyncBFL(transport=api, polling=Fixed(0.01)) as bfl,
            Batch.open(database, bfl, save_to=tmp_path / "out") as batch,
        ):
            await batch.add(requests)  # type: ignore[arg-type]  # one way to call it
            return [outcome.state async for outcome in batch.run()] if not requests else []

    await run(edit(FileWithin(path, folder)))
    # The same image, elsewhere: only the place tells it from the one that was added.
    (tmp_path / "outside" / "a.png").write_bytes(INSIDE)
    link_the_file(folder)
    assert await run() == ["failed"]
    assert api.posts == []
    with closing(sqlite3.connect(database)) as connection, connection:
        assert str(folder) in "".join(str(row) for row in connection.execute("SELECT * FROM entries"))


async def test_where_a_file_must_lie_is_no_part_of_what_is_paid_for(folder: Path, tmp_path: Path) -> None:
    """The same content is the same request."""
    api = FakeAPI(service_s=0.01, submit_s=0.001, poll_s=0.001)
    path = folder / "deep" / "er" / "a.png"
    async with (
        AsyncBFL(transport=api, polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        for image in (path, FileWithin(path, folder), FileWithin(path, path.parent)):
            added = await batch.add([edit(image)])
            assert added == (1 if image is path else 0)


# --- a batch's own words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"$path": "FILE"},
        {"$path": "FILE", "$sha256": "0" * 64},
        {"$path": "FILE", "$within": "/"},
        [{"$path": "FILE"}],
        "FILE",
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("model", "field"), [("flux-kontext-pro", "input_image"), ("flux-2-pro", "input_image_3")]
)
def test_only_a_batch_reads_files_that_a_record_names(
    model: str, field: str, value: object, folder: Path
) -> None:
    """Whoever can write the records of a cluster does not read the disks of its workers."""
    file = str(folder / "deep" / "er" / "a.png")
    fields = json.loads(json.dumps({"prompt": "x", field: value}).replace("FILE", file))
    made = rebuild(LedgerEntry(1, "k", EntryState.QUEUED, model, fields))
    try:
        sent = json.dumps(made.body())
    except InvalidRequestError:
        return
    assert b64(INSIDE) not in sent


# --- what a picture keeps --------------------------------------------------------------------------------------


def photo(orientation: int | None, *, profile: bytes | None = None, form: str = "JPEG") -> Image.Image:
    """An image of 64 x 32 px, its upper left corner red, opened from a file with these tags."""
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, form, exif=exif, icc_profile=profile, quality=95)
    buffer.seek(0)
    return Image.open(buffer)


def sent(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(load(take(image, ANY), ANY))))


# Where the red corner is when the picture is shown upright, and whether it is shown on its side.
CORNERS = {
    1: ("left", "top", False),
    2: ("right", "top", False),
    3: ("right", "bottom", False),
    4: ("left", "bottom", False),
    5: ("left", "top", True),
    6: ("right", "top", True),
    7: ("right", "bottom", True),
    8: ("left", "bottom", True),
}


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_pillow_image_is_sent_as_it_is_shown(orientation: int, form: str) -> None:
    """Its tag would be lost, or not be read: the pixels are turned, once."""
    column, row, is_on_side = CORNERS[orientation]
    given = photo(orientation, form=form)
    assert given.size == (64, 32)
    made = sent(given)
    assert made.size == ((32, 64) if is_on_side else (64, 32))
    at = (4 if column == "left" else made.width - 5, 4 if row == "top" else made.height - 5)
    red, _, blue = made.convert("RGB").getpixel(at)  # type: ignore[misc]  # three bands
    assert red > 150 > 100 > blue
    assert made.getexif().get(0x0112, 1) == 1
    # The caller's image is as it was.
    assert given.size == (64, 32)


def test_a_pillow_image_keeps_its_colour_profile() -> None:
    """Turned or not."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for orientation in (None, 1, 6):
        assert sent(photo(orientation, profile=profile)).info["icc_profile"] == profile


def test_broken_tags_say_nothing() -> None:
    """The picture is sent as it is stored."""
    image = Image.new("RGB", (64, 32))
    image.info["exif"] = b"Exif\0\0II*\0\xff\xff\xff\xff rubbish"
    assert sent(image).size == (64, 32)


def test_a_mask_fits_a_photo_as_it_is_stored_or_as_it_is_shown() -> None:
    """Which one, the server knows. Any other size is a mistake."""
    for form in ("JPEG", "PNG"):
        for orientation in CORNERS:
            buffer = io.BytesIO()
            exif = Image.Exif()
            exif[0x010F] = "a maker"
            exif[0x0112] = orientation
            Image.new("RGB", (512, 256)).save(buffer, form, exif=exif)
            data = buffer.getvalue()
            assert is_turned(data) is CORNERS[orientation][2]
            assert size_problem(data, png(512, 256)) is None
            assert (size_problem(data, png(256, 512)) is None) is CORNERS[orientation][2]
            assert size_problem(data, png(512, 255)) is not None
            assert size_problem(png(256, 512), png(512, 256)) is not None


@pytest.mark.parametrize(
    "tags", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0"]
)
def test_tags_of_any_form_are_no_error(tags: bytes) -> None:
    """Whatever a stranger sends."""
    block = b"Exif\0\0" + tags
    data = jpeg(64, 32, before=b"\xff\xe1" + (len(block) + 2).to_bytes(2) + block)
    assert is_turned(data) is False
    assert not is_turned(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\xff" * 20_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\x02" * 5_000_000,
        b"\xff\xd8\xff" + b"\x01\xff" * 10_000_000,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 1_500_000,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 2_500_000,
    ],
    ids=range(5),
)
def test_no_header_takes_long_to_read(data: bytes) -> None:
    """How many marks or boxes there are, is for the sender to choose."""
    began = time.process_time()
    image_size(data)
    is_turned(data)
    video_facts(data)
    assert time.process_time() - began < 0.25


# --- what is almost a file ------------------------------------------------------------------------------------


class Upload:
    """As FastAPI's, Starlette's and anyio's."""

    async def read(self, size: int = -1) -> bytes:
        return b"x"[:size]


class Wrapped:
    """As those of aiofiles, whose functions only return something to await."""

    def __init__(self) -> None:
        self.inner = Upload()

    def read(self, size: int = -1) -> object:
        return self.inner.read(size)


class Future:
    """As of a thread."""

    def read(self, size: int = -1) -> object:
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("made", [Upload, Wrapped, Future])
async def test_an_asynchronous_file_is_told_to_be_awaited(made: Callable[[], object]) -> None:
    """And there is no warning of something that was never awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidRequestError, match=r"await its read\(\), and pass the bytes"):
            edit(made())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_a_pillow_image_after_verify_is_to_be_opened_again(form: str) -> None:
    """Where Pillow can read it no more; where it can, it is sent."""
    image = photo(1, form=form)
    image.verify()
    try:
        edit(image)
    except InvalidRequestError as exc:
        assert "open it again after verify()" in str(exc)  # noqa: PT017  # some formats can still be read


def test_a_pillow_image_that_is_closed_says_so() -> None:
    """Not "Assertion failed"."""
    image = photo(None, form="PNG")
    image.verify()
    with pytest.raises(InvalidRequestError, match=r"open it again after verify\(\)"):
        edit(image)
