"""What a request is known by: its fields and the content of its files, and never the way to them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pytest

from bfl_async import AsyncBFL, Batch, BatchOutcome, Fixed, ImageRequest, InvalidRequestError, request
from bfl_async.batch.requests import key_of
from bfl_async.cli.planning import PlanOptions, make_plan
from bfl_async.cli.rows import Rows
from bfl_async.runtime.files import Digests
from tests.fake import FakeAPI
from tests.media import png


def edit(path: Path, prompt: str = "at night") -> ImageRequest:
    return request("flux-2-pro", prompt=prompt, input_image=path)


def key(path: Path) -> str:
    return key_of(edit(path), {})


def make_old(path: Path, seconds: float = 60.0) -> None:
    """Date a file back: its times are not so new that it could change again without a new one."""
    facts = path.stat()
    os.utime(path, (facts.st_atime - seconds, facts.st_mtime - seconds))


async def run(
    folder: Path,
    api: FakeAPI,
    requests: Iterable[ImageRequest],
    *,
    and_earlier: bool = False,
    sends: bool = True,
) -> list[BatchOutcome]:
    async with (
        AsyncBFL(transport=api, limits=4, polling=Fixed(0.01)) as bfl,
        Batch.open(folder / "run.db", bfl, save_to=folder / "out", and_earlier=and_earlier) as batch,
    ):
        await batch.add(requests)
        return [outcome async for outcome in batch.run()] if sends else []


def api() -> FakeAPI:
    return FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.001)


def test_key_does_not_depend_on_the_way_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, absolute, through a symbolic link, from another folder, moved, copied: one request."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = folder / "room.png"
    image.write_bytes(png(64, 96))
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "copy.png").write_bytes(png(64, 96))
    monkeypatch.chdir(tmp_path)
    ways = [image, Path("in/room.png"), Path("in/../in/room.png"), Path("link/room.png"), Path("copy.png")]
    assert len({key(way) for way in ways}) == 1
    monkeypatch.chdir(folder)
    assert key(Path("room.png")) == key(image)
    before = key(image)
    assert key(folder.rename(tmp_path / "moved") / "room.png") == before


def test_other_content_at_the_same_path_is_another_request(tmp_path: Path) -> None:
    """Also of the same size and time, and in a list of keyframes; other fields tell requests apart as before."""
    image, other = tmp_path / "a.png", tmp_path / "b.png"
    image.write_bytes(png(64, 64))
    other.write_bytes(png(96, 64))

    def of_frames() -> str:
        return key_of(
            request("flux-3-video", mode="i2v", prompt="a", keyframes=[(0, image), (2.0, other)]), {}
        )

    before, frames = key(image), of_frames()
    facts = image.stat()
    data = bytearray(image.read_bytes())
    data[-20] ^= 1
    image.write_bytes(data)
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert key(image) != before
    assert of_frames() != frames
    assert key_of(edit(image, "x"), {}) != key_of(edit(image, "y"), {})


async def test_a_replaced_image_is_sent_and_the_old_one_is_not_sent_in_its_place(tmp_path: Path) -> None:
    """A done row with a new image is one image more; a queued entry is never sent with another's bytes."""
    image, server = tmp_path / "a.png", api()
    image.write_bytes(png(64, 64))
    assert len(await run(tmp_path, server, [edit(image)])) == 1
    assert await run(tmp_path, server, [edit(image)]) == []
    image.write_bytes(png(64, 96))
    await run(tmp_path, server, [edit(image)], sends=False)
    image.write_bytes(png(64, 128))
    outcomes = await run(tmp_path, server, [edit(image)], and_earlier=True)
    assert sorted(outcome.state for outcome in outcomes) == ["failed", "saved"]
    assert len(server.posts) == 2
    (error,) = [str(outcome.error) for outcome in outcomes if outcome.error]
    assert "was replaced after this request was added" in error


async def test_a_queued_row_is_sent_from_where_its_image_is_now(tmp_path: Path) -> None:
    """Its folder was moved between the runs."""
    server = api()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(64, 64))
    await run(tmp_path, server, [edit(tmp_path / "in" / "a.png")], sends=False)
    moved = (tmp_path / "in").rename(tmp_path / "elsewhere")
    (outcome,) = await run(tmp_path, server, [edit(moved / "a.png")])
    assert (outcome.state, len(server.posts)) == ("saved", 1)


async def test_large_files_are_read_once_for_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand rows of one image, the plan, and the next run: one reading. A change is read again."""
    readings = 0
    digest = hashlib.file_digest

    def counted(file: BinaryIO, name: str) -> object:
        nonlocal readings
        readings += 1
        return digest(file, name)  # type: ignore[arg-type]  # a file that is open

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr("bfl_async.runtime.files._SETTLED_S", -1.0)
    image = tmp_path / "a.png"
    image.write_bytes(png(64, 64))
    rows = [edit(image, f"{n}") for n in range(50)]
    await run(tmp_path, api(), rows, sends=False)
    assert readings == 1
    await run(tmp_path, api(), rows, sends=False)
    assert readings == 1
    path = tmp_path / "rows.csv"
    path.write_text("prompt,input_image\n" + "".join(f"{n},a.png\n" for n in range(50)))
    table = Rows(
        str(path), "csv", model="flux-2-pro", fields={}, folder=tmp_path, allow_outside=False, columns={},
        prompt=None, repeat=1,
    )  # fmt: skip
    assert make_plan(table, tmp_path / "run.db", PlanOptions()).plan.queued.count == 50
    assert readings == 1
    image.write_bytes(png(64, 96))
    assert make_plan(table, tmp_path / "run.db", PlanOptions()).plan.new.count == 50
    assert readings == 2


def test_a_file_that_has_just_changed_is_not_taken_as_known(tmp_path: Path) -> None:
    """It could change again within the step of the file system's clock."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    digests = Digests()
    digests.of(path)
    assert digests.take_new() == {}


async def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    """Before anything is added for it; what came before is."""
    (tmp_path / "a.png").write_bytes(png(64, 64))
    server = api()
    with pytest.raises(InvalidRequestError, match=r"the file '.*gone\.png' cannot be read"):
        await run(tmp_path, server, [edit(tmp_path / "a.png"), edit(tmp_path / "gone.png")])
    await asyncio.sleep(0)
    assert server.posts == []
