"""Results that are saved as they arrive: what breaks on the way leaves the target alone, and no `.part` file."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bfl_async import (
    AsyncBFL,
    ClientClosedError,
    DownloadError,
    Fixed,
    SaveError,
    TransportError,
)
from bfl_async.batch.files import NewImage
from bfl_async.integrations.procrastinate import FileStorage, FolderStorage
from bfl_async.results.incoming import Part
from bfl_async.types import Reply, Sink, StreamingTransport
from tests.fake import JPEG, FakeAPI
from tests.integration.contract_server import Say, served
from tests.waiting import wait_until

MB = 2**20
VIDEO = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + (5 * MB - 24).to_bytes(4) + b"mdat" + bytes(5 * MB - 32)


class Streaming(FakeAPI):
    """A transport that hands a video over in pieces, and does something in between."""

    between: Callable[[int], object] = staticmethod(lambda _: None)
    pieces = 10
    begun = 0

    async def download_to(self, url: str, sink: Sink, *, timeout: float) -> Reply:
        del url, timeout
        self.begun += 1
        sink.begin({"content-type": "video/mp4"})
        step = len(VIDEO) // self.pieces
        for number, at in enumerate(range(0, len(VIDEO), step)):
            await sink.write(VIDEO[at : at + step])
            if isinstance(waits := self.between(number), asyncio.Event):
                await waits.wait()
        return Reply(200, {}, b"")


@pytest.fixture
def api() -> Streaming:
    return Streaming(service_s=0.0, submit_s=0.001, poll_s=0.001)


def client(api: FakeAPI) -> AsyncBFL:
    return AsyncBFL(transport=api, polling=Fixed(0.01))


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def test_the_transport_over_http_streams() -> None:
    """Others are asked whether they do."""
    assert isinstance(Streaming(), StreamingTransport)
    assert not isinstance(FakeAPI(), StreamingTransport)


@pytest.mark.parametrize("pieces", [1, 2, 7, 5_000])
async def test_pieces_of_any_size_make_the_same_file(api: Streaming, pieces: int, tmp_path: Path) -> None:
    """And the same bytes in memory."""
    api.pieces = pieces
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        saved = await result.save(tmp_path / "deep" / "film")
        assert saved == tmp_path / "deep" / "film.mp4"
        assert saved.read_bytes() == VIDEO == await result.read()
    assert list((tmp_path / "deep").iterdir()) == [saved]


async def test_a_save_that_is_cancelled_half_way_removes_its_part(api: Streaming, tmp_path: Path) -> None:
    """At once; the old file stays."""
    target = tmp_path / "film.mp4"
    target.write_bytes(b"old")
    never = asyncio.Event()
    api.between = lambda number: never if number == 6 else None
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        saving = asyncio.create_task(result.save(target))
        await wait_until(lambda: len(parts(tmp_path)) == 1)
        assert target.read_bytes() == b"old"
        saving.cancel()
        await asyncio.wait([saving], timeout=1)
        assert saving.cancelled()
        await wait_until(lambda: not parts(tmp_path))
        assert target.read_bytes() == b"old"


async def test_a_client_that_closes_leaves_no_part(api: Streaming, tmp_path: Path) -> None:
    """Its threads end with it, and what they would have removed is removed."""
    never = asyncio.Event()
    api.between = lambda number: never if number == 6 else None
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        saving = asyncio.create_task(result.save(tmp_path / "film.mp4"))
        await wait_until(lambda: len(parts(tmp_path)) == 1)
    with pytest.raises(ClientClosedError):
        await saving
    assert list(tmp_path.iterdir()) == []


async def test_each_attempt_begins_with_a_part_of_its_own(api: Streaming, tmp_path: Path) -> None:
    """What a broken one left is gone, and none of its bytes get into the file."""
    seen: list[int] = []

    def break_twice(number: int) -> None:
        if number == 8 and api.begun <= 2:
            seen.append(len(parts(tmp_path)))
            raise TransportError("reset")

    api.between = break_twice
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        saved = await result.save(tmp_path / "film.mp4")
        assert saved.read_bytes() == VIDEO
    assert seen == [1, 1]
    assert list(tmp_path.iterdir()) == [saved]


async def test_what_is_found_broken_at_its_end_is_not_kept(api: Streaming, tmp_path: Path) -> None:
    """The whole file was on the disk, under no name that counts."""

    found: list[Path] = []

    async def short(url: str, sink: Sink, *, timeout: float) -> Reply:
        if found:
            # The next attempt brings nothing, so the end of the call is its limit.
            await asyncio.Event().wait()
        sink.begin({"content-type": "video/mp4"})
        await sink.write(VIDEO[:-1])
        found.extend(parts(tmp_path))
        return Reply(200, {}, b"")

    api.download_to = short  # type: ignore[method-assign]  # one transport, two ways to fail
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        with pytest.raises(DownloadError, match="cut off"):
            await result.save(tmp_path / "film.mp4", timeout=2)
    assert len(found) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EDQUOT"])
async def test_a_disk_that_fails_half_way_ends_the_save(
    api: Streaming, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its errno, and without another attempt: the host is not to blame."""
    number = getattr(errno, name)
    file_open = Path.open

    def opened(self: Path, mode: str = "r", *args: object, **named: object) -> object:
        if self.suffix == ".part":
            raise OSError(number, os.strerror(number))
        return file_open(self, mode, *args, **named)  # type: ignore[call-overload]  # handed on

    monkeypatch.setattr(Path, "open", opened)
    (tmp_path / "film.mp4").write_bytes(b"old")
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        with pytest.raises(SaveError) as caught:
            await result.save(tmp_path / "film.mp4")
        assert caught.value.errno == number
        assert caught.value.task_id == result.task_id
    assert api.begun == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


async def test_storage_takes_a_file_and_replaces_none(tmp_path: Path) -> None:
    """The same image again is the same file; another one of that name gets a number."""
    storage = FolderStorage(tmp_path)
    assert isinstance(storage, FileStorage)

    def new(data: bytes) -> tuple[Path, str]:
        part = NewImage(storage.parts, "task-0").new_part()
        part.write_bytes(data)
        return part, hashlib.sha256(data).hexdigest()

    first = await storage.save_file("a.jpg", *new(JPEG))
    assert first == await storage.save_file("a.jpg", *new(JPEG)) == await storage.save("a.jpg", JPEG)
    other = await storage.save_file("a.jpg", *new(JPEG + b"other"))
    assert Path(first).read_bytes() == JPEG
    assert (Path(other).name, Path(other).read_bytes()) == ("a-2.jpg", JPEG + b"other")
    assert not parts(tmp_path)


@pytest.mark.slow
async def test_a_disk_that_is_slow_is_no_host_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that a write takes is not taken from the host's: it is not asked again."""
    write = Part.write

    def slow(self: Part, data: bytes) -> None:
        time.sleep(1.8)
        write(self, data)

    monkeypatch.setattr(Part, "write", slow)
    async with served() as (server, bfl):
        server.always_image = Say(200, VIDEO[: 2 * MB], "video/mp4")
        result = await bfl.generate("flux-dev", prompt="x")
        saved = await result.save(tmp_path / "film", timeout=4, unchecked=True)
        assert saved.stat().st_size == 2 * MB
        assert len(server.images) == 1


@pytest.mark.slow
async def test_a_disk_that_hangs_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time of the save is over, and not as a fault of the host."""
    goes_on = threading.Event()
    write = Part.write

    def hanging(self: Part, data: bytes) -> None:
        goes_on.wait(20)
        write(self, data)

    monkeypatch.setattr(Part, "write", hanging)
    async with served() as (server, bfl):
        server.always_image = Say(200, VIDEO, "video/mp4")
        result = await bfl.generate("flux-dev", prompt="x")
        with pytest.raises(SaveError, match="did not take the bytes in time"):
            await result.save(tmp_path / "film", timeout=2.2)
        goes_on.set()
    # The client has closed, and its threads have ended.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_a_disk_that_hangs_hides_no_fault_of_the_host(
    api: Streaming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt before it found the host's file broken, and that is reported."""
    goes_on = threading.Event()
    write = Part.write

    def hanging(self: Part, data: bytes) -> None:
        if api.begun > 1:
            goes_on.wait(20)
        write(self, data)

    def break_once(number: int) -> None:
        if number == 8 and api.begun == 1:
            raise TransportError("reset")

    monkeypatch.setattr(Part, "write", hanging)
    api.between = break_once
    async with client(api) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        with pytest.raises(DownloadError, match="reset"):
            await result.save(tmp_path / "film", timeout=2)
        assert api.begun == 2
        goes_on.set()
    assert list(tmp_path.iterdir()) == []
