"""What the command line keeps between runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bfl_async.cli import cache
from bfl_async.types import JSON

HERE = "http://127.0.0.1:1"
KEPT: dict[str, JSON] = {"version": 1, "models": {}}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_timings_are_kept_by_host(folder: Path) -> None:
    """A sandbox's times are not the API's."""
    assert cache.load_timings(HERE) is None
    cache.save_timings(HERE, KEPT)
    assert cache.load_timings(HERE) == KEPT
    assert cache.load_timings("https://api.bfl.ai") is None
    assert [path.suffix for path in folder.iterdir()] == [".json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_garbage_in_the_cache_is_as_nothing(folder: Path, text: str) -> None:
    """Also what another program has put there."""
    cache.save_timings(HERE, KEPT)
    (path,) = folder.iterdir()
    path.write_text(text)
    assert cache.load_timings(HERE) is None


def test_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    """The next run starts without it."""
    folder.write_text("a file in the way")
    cache.save_timings(HERE, KEPT)
    assert cache.load_timings(HERE) is None
