"""A ledger that is lost or damaged: what the manifest lists is not paid again, and the message names the way on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Batch, Fixed, ImageRequest, LedgerError, request
from bfl_async.batch.files import ListedImages
from bfl_async.batch.lister import read_listed
from bfl_async.ledger import inspect_ledger
from bfl_async.ledger.view import read_notes
from bfl_async.types import EntryState
from tests.fake import FakeAPI

Given = ImageRequest | tuple[str, ImageRequest]


def birds(count: int = 6) -> list[Given]:
    """Requests of every kind of identity: plain, with an id of the caller's own, and one that occurs twice."""
    twice = [request("flux-dev", prompt="the same bird") for _ in range(2)]
    named = [(f"row {n}", request("flux-dev", prompt="a bird with an id")) for n in range(2)]
    return [*twice, *named, *(request("flux-dev", prompt=f"bird {n}") for n in range(count - 4))]


def fake() -> FakeAPI:
    return FakeAPI(service_s=0.01, submit_s=0.002, poll_s=0.002)


async def run(
    folder: Path, api: FakeAPI, requests: Sequence[Given], *, ledger: str = "run.db"
) -> Mapping[str, int]:
    """Do one run to its end; return its counts."""
    async with asyncio.timeout(20), AsyncBFL(transport=api, limits=3, polling=Fixed(0.005)) as bfl:
        async with Batch.open(folder / ledger, bfl, save_to=folder / "out") as batch:
            await batch.add(requests)
            assert all([outcome.ok async for outcome in batch.run()])
        return batch.counts()


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _rename(path: Path) -> None:
    path.rename(path.with_name("damaged.db"))


@pytest.mark.parametrize("lose", [_remove, _empty, _rename])
async def test_what_a_manifest_lists_is_not_paid_again(lose: Callable[[Path], None], tmp_path: Path) -> None:
    """The new ledger knows those images as saved, with their tasks; further rows are sent."""
    api = fake()
    await run(tmp_path, api, birds())
    before = lines(tmp_path)
    lose(tmp_path / "run.db")
    counts = await run(tmp_path, api, birds())
    assert (counts["saved"], len(api.posts)) == (6, 6)
    assert lines(tmp_path) == before
    view = inspect_ledger(tmp_path / "run.db")
    assert (view.counts[EntryState.SAVED], view.spent_credits) == (6, 24.0)
    counts = await run(tmp_path, api, birds(9))
    assert (counts["saved"], len(api.posts), len(lines(tmp_path))) == (9, 9, 9)


async def test_an_image_that_is_gone_or_changed_is_made_again(tmp_path: Path) -> None:
    """The line alone is not the image."""
    api = fake()
    await run(tmp_path, api, birds())
    (tmp_path / "run.db").unlink()
    images = sorted((tmp_path / "out").glob("*.jpg"))
    images[1].unlink()
    images[4].write_bytes(images[4].read_bytes() + b"x")
    counts = await run(tmp_path, api, birds())
    assert (counts["saved"], len(api.posts)) == (6, 8)


async def test_a_run_that_is_killed_as_it_begins_anew_still_knows_the_listed_images(tmp_path: Path) -> None:
    """The new ledger exists by then, with some of its rows or with none."""
    api = fake()
    await run(tmp_path, api, birds())
    assert read_listed(tmp_path / "out", read_notes(tmp_path / "run.db")) is None, "none were there before"
    (tmp_path / "run.db").unlink()
    for count in (0, 2):
        async with (
            AsyncBFL(transport=api) as bfl,
            Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path / "out") as batch,
        ):
            await batch.add(birds()[:count])
        listed = read_listed(tmp_path / "out", read_notes(tmp_path / "run.db"))
        assert listed is not None
        assert len(listed) == 6, "a plan without the lock sees the same"
    counts = await run(tmp_path, api, birds())
    assert (counts["saved"], len(api.posts)) == (6, 6)


async def test_lines_of_others_count_only_for_the_same_request(tmp_path: Path) -> None:
    """Another ledger's images in the same folder are not of this batch."""
    api = fake()
    await run(tmp_path, api, birds())
    counts = await run(tmp_path, api, [request("flux-dev", prompt="a fish")], ledger="fish.db")
    assert (sum(counts.values()), len(api.posts)) == (1, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../secret"}, {"file": "/etc/hostname"}, {"file": "x\0y"}, {"file": None}, {"file": 7},
        {"bytes": "6"}, {"bytes": None}, {"file": "."}, {"key": ["a"]},
    ],
)  # fmt: skip
def test_a_line_that_names_no_image_in_the_folder_is_not_evidence(
    change: dict[str, object], tmp_path: Path
) -> None:
    """Text from a file selects no file outside its folder, and stops nothing."""
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "a.jpg").write_bytes(b"secret")
    good = {"key": "good", "file": "a.jpg", "bytes": 6}
    bad = {"key": "bad", "file": "a.jpg", "bytes": 6, **change}
    text = "".join(json.dumps(line) + "\n" for line in (good, bad)) + "[" * 50_000 + "\n" + '{"key": "half"'
    (folder / "manifest.jsonl").write_text(text)
    assert ListedImages.read(folder).find(["good", "bad", "half", "none"]) == {"good": good}
    assert ListedImages.read(folder, 3).find(["good"]) == {}
    assert ListedImages.read(tmp_path / "missing").find(["good"]) == {}


async def test_a_damaged_ledger_names_the_way_on_and_the_way_works(tmp_path: Path) -> None:
    """Whoever meets the damage, the writer or a reader: rename it, and the same again pays for nothing twice."""
    api = fake()
    await run(tmp_path, api, birds())
    path = tmp_path / "run.db"
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(4096 - 100)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"damaged.*Rename it, leave manifest\.jsonl"):
        await run(tmp_path, api, birds())
    with pytest.raises(LedgerError, match=r"damaged.*Rename it, leave manifest\.jsonl"):
        inspect_ledger(path)
    path.rename(tmp_path / "damaged.db")
    counts = await run(tmp_path, api, birds())
    assert (counts["saved"], len(api.posts)) == (6, 6)
