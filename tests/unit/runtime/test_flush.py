"""Flushing to the disk: a file system without `fsync` loses no image, and a disk that fails is an error."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, SaveError, request
from bfl_async.batch.files import Manifest, save_new
from bfl_async.cli.gallery import write_gallery
from bfl_async.integrations.storage import FolderStorage
from bfl_async.runtime.files import flush_folder, flush_to_disk
from tests.fake import JPEG, FakeAPI

MISSING = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]
FAILED = ["EIO", "ENOSPC", "EDQUOT", "EROFS"]


def break_fsync(
    patch: pytest.MonkeyPatch, name: str, of: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """Let `os.fsync` fail with this error; return a list that gets an item at each failure."""
    failures: list[int] = []
    fsync = os.fsync

    def failing(fd: int) -> None:
        if not of(fd):
            return fsync(fd)
        failures.append(fd)
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    patch.setattr(os, "fsync", failing)
    return failures


def is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def save_an_image(folder: Path) -> Path:
    name = save_new(
        folder,
        folder / "parts",
        "a.jpg",
        JPEG,
        hashlib.sha256(JPEG).hexdigest(),
        adopt=False,
        task_id="task-0",
    )
    return folder / name


@pytest.mark.parametrize("name", MISSING)
def test_file_system_without_fsync_keeps_working(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place that flushes: an image with its folder, the manifest, and the gallery."""
    failures = break_fsync(monkeypatch, name)
    assert save_an_image(tmp_path).read_bytes() == JPEG
    assert len(failures) == 2
    assert Manifest(tmp_path).append([b"{}\n"]) == 3
    assert len(failures) == 3
    assert write_gallery(tmp_path).is_file()
    assert len(failures) == 4


@pytest.mark.parametrize("name", FAILED)
def test_disk_that_fails_is_an_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is reported as saved, and no half-written file keeps its name."""
    break_fsync(monkeypatch, name)
    with pytest.raises(SaveError) as caught:
        save_an_image(tmp_path)
    assert caught.value.errno == getattr(errno, name)
    assert not (tmp_path / "a.jpg").exists()
    with pytest.raises(SaveError):
        Manifest(tmp_path).append([b"{}\n"])
    with pytest.raises(OSError, match=os.strerror(getattr(errno, name))):
        write_gallery(tmp_path)
    assert not (tmp_path / "gallery.html").exists()


@pytest.mark.parametrize("name", MISSING)
def test_folder_that_cannot_be_flushed_keeps_its_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems flush files and not folders."""
    failures = break_fsync(monkeypatch, name, is_folder)
    assert save_an_image(tmp_path).read_bytes() == JPEG
    assert len(failures) == 1


@pytest.mark.parametrize("name", FAILED)
def test_folder_that_fails_is_an_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's name may be lost with it."""
    break_fsync(monkeypatch, name, is_folder)
    with pytest.raises(OSError, match=os.strerror(getattr(errno, name))):
        flush_folder(tmp_path)
    with pytest.raises(SaveError):
        save_an_image(tmp_path)


def test_descriptor_of_nothing_is_an_error() -> None:
    """Only the file system's missing function is ignored, not a mistake of ours."""
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        flush_to_disk(1_000_000)


@pytest.mark.parametrize("name", MISSING)
async def test_batch_and_storage_save_without_fsync(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: ledger, image, manifest; and the storage of a cluster's workers."""
    break_fsync(monkeypatch, name)
    api = FakeAPI(service_s=0.01, submit_s=0.001, poll_s=0.001)
    async with (
        AsyncBFL(transport=api, polling=Fixed(0.01)) as bfl,
        Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
    ):
        await batch.add([request("flux-dev", prompt="a cat")])
        outcomes = [outcome async for outcome in batch.run()]
    assert [outcome.state for outcome in outcomes] == ["saved"]
    assert len((tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()) == 1
    assert Path(await FolderStorage(tmp_path / "store").save("a.jpg", JPEG)).read_bytes() == JPEG
