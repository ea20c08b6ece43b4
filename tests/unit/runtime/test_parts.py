"""Half-written files of killed processes are removed by the next one, and those of running ones are not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bfl_async.cli.gallery import write_gallery
from bfl_async.integrations.storage import FolderStorage
from bfl_async.runtime.files import remove_old_parts
from tests.fake import JPEG

DAY_S = 24 * 3600.0


def part(path: Path, age_s: float) -> Path:
    """Leave a part that was last written to so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


async def test_storage_removes_the_parts_of_killed_workers_and_no_others(tmp_path: Path) -> None:
    """Workers on other machines may be writing theirs; other files are not ours."""
    old = [part(tmp_path / ".parts" / f"{n}.part", (2 + n) * DAY_S) for n in range(3)]
    young = [part(tmp_path / ".parts" / f"young{n}.part", n * 3600.0) for n in range(3)]
    foreign = part(tmp_path / ".parts" / "notes.txt", 30 * DAY_S)
    storage = FolderStorage(tmp_path)
    saved = [Path(await storage.save(f"{n}.jpg", JPEG)) for n in range(2)]
    assert not [path for path in old if path.exists()]
    assert all(path.exists() for path in [*young, foreign, *saved])


def test_gallery_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """Only parts of the same page."""
    old = part(tmp_path / ".gallery.html.0123abcd.part", 2 * DAY_S)
    young = part(tmp_path / ".gallery.html.89abcdef.part", 60.0)
    other = part(tmp_path / ".other.html.0123abcd.part", 2 * DAY_S)
    write_gallery(tmp_path)
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)
    os.utime(path, (0, 0), follow_symlinks=False)


def _folder(path: Path, _: Path) -> None:
    path.mkdir()
    os.utime(path, (0, 0))


@pytest.mark.parametrize("make", [_link, _folder])
def test_only_plain_files_are_parts(make: Callable[[Path, Path], None], tmp_path: Path) -> None:
    """A link or a folder with such a name stays, and so does what it leads to."""
    target = part(tmp_path / "target", 9 * DAY_S)
    make(tmp_path / "x.part", target)
    remove_old_parts(tmp_path)
    assert target.exists()
    assert (tmp_path / "x.part").exists()
    remove_old_parts(tmp_path / "missing")


@pytest.mark.parametrize("wrong_s", [-900 * DAY_S, 900 * DAY_S])
def test_a_wrong_clock_removes_no_young_part(
    wrong_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages are measured by the clock of the file system, which other machines share."""
    young, old = part(tmp_path / "young.part", 60.0), part(tmp_path / "old.part", 2 * DAY_S)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + wrong_s)
    remove_old_parts(tmp_path)
    assert (young.exists(), old.exists()) == (True, False)
