"""What requests cost, by BFL's published prices; and what is said where they are not known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Budget, BudgetExceededError, Estimate, InvalidRequestError, request
from bfl_async.catalog import CATALOG, SOURCES
from bfl_async.engine.budget import Purse
from tests.media import jpeg, mp4, png

ONE_MP = png(1024, 1024)
HALF_MP = jpeg(512, 1024)
VIDEO = mp4(1024, 1024, 10)


def estimate(model: str, fields: dict[str, object]) -> Estimate:
    return AsyncBFL("key").estimate(request(model, **fields))


@pytest.mark.parametrize(
    ("model", "fields", "credits"),
    [
        ("flux-pro-1.1", {"prompt": "x"}, 4.0),
        ("flux-pro-1.1-ultra", {"prompt": "x", "raw": True}, 6.0),
        ("flux-pro-1.0-fill", {"image": ONE_MP}, 5.0),
        ("flux-kontext-pro", {"prompt": "x"}, 4.0),
        ("flux-kontext-max", {"prompt": "x"}, 8.0),
        # Recorded: 0.06 MP cost 3.0 and 7.0, so the first megapixel is a flat minimum.
        ("flux-2-pro", {"prompt": "x", "width": 256, "height": 256}, 3.0),
        ("flux-2-max", {"prompt": "x", "width": 256, "height": 256}, 7.0),
        ("flux-2-pro", {"prompt": "x", "width": 1024, "height": 1024}, 3.0),
        ("flux-2-pro", {"prompt": "x", "width": 2048, "height": 2048}, 7.5),
        # "Editing from $0.045".
        ("flux-2-pro", {"prompt": "x", "width": 1024, "height": 1024, "input_image": ONE_MP}, 4.5),
        ("flux-2-pro", {"prompt": "x", "width": 1024, "height": 1024, "input_image": HALF_MP}, 3.75),
        ("flux-2-pro", {"prompt": "x", "input_image": png(2048, 1024)}, 7.5),
        ("flux-2-pro", {"prompt": "x", "input_image": png(4096, 4096)}, 31.5),
        ("flux-2-max", {"prompt": "x", "width": 2048, "height": 1024, "input_image": ONE_MP,
                        "input_image_2": "https://example.com/a.png"}, 16.0),
        ("flux-2-flex", {"prompt": "x", "width": 1024, "height": 2048}, 10.0),
        ("flux-2-klein-4b", {"prompt": "x", "width": 2048, "height": 1024}, 1.5),
        ("flux-2-klein-9b", {"prompt": "x", "width": 2048, "height": 1024}, 1.7),
        ("flux-2-klein-9b-finetuned", {"prompt": "x", "finetune_id": "f", "width": 2048, "height": 1024}, 1.7),
        ("flux-3-image", {"prompt": "x"}, 4.8),
        ("flux-3-image", {"prompt": "x", "resolution": "768sq"}, 4.1),
        ("flux-3-image", {"prompt": "x", "resolution": "2k"}, 10.0),
        ("flux-3-image", {"prompt": "x", "resolution": "4k"}, 60.7),
        ("flux-3-image-klein", {"prompt": "x", "resolution": "1k"}, 0.9),
        ("flux-3-image-klein", {"prompt": "x", "resolution": "4k", "images": ONE_MP}, 3.6),
        ("flux-3-image-klein", {"prompt": "x", "width": 1024, "height": 1024}, 0.9),
        ("flux-3-image-klein", {"prompt": "x", "width": 1024, "height": 1025}, 1.4),
        ("flux-3-image-klein", {"prompt": "x", "width": 4096, "height": 4096}, 3.6),
        ("flux-3-video", {"mode": "t2v", "prompt": "x", "duration": 5}, 85.0),
        ("flux-3-video", {"mode": "t2v", "prompt": "x", "duration": 10, "resolution": "uhd"}, 800.0),
        ("flux-3-video", {"mode": "t2v", "prompt": "x", "duration": 10, "resolution": "uhd", "draft": True}, 60.0),
        ("flux-3-video", {"mode": "image-continuation", "prompt": "x", "duration": 10, "resolution": "fhd",
                          "keyframes": ONE_MP}, 290.0),
        ("flux-3-video", {"mode": "v2v", "prompt": "x", "duration": 10, "resolution": "qhd",
                          "start_video": VIDEO}, 650.0),
        ("flux-3-video", {"mode": "v2v", "prompt": "x", "duration": 5, "start_video": VIDEO, "draft": True}, 60.0),
        ("flux-tools/video-edit-v1", {"video": VIDEO, "prompt": "x"}, 30.0),
        ("flux-tools/video-upscale-v1", {"input_video": VIDEO}, 400.0),
        ("flux-tools/video-upscale-v1", {"input_video": VIDEO, "creativity": 0, "upscale_factor": 3}, 630.0),
    ],
)  # fmt: skip
def test_published_prices_come_out(model: str, fields: dict[str, object], credits: float) -> None:
    """The worked examples of BFL's pages, and the formulas around them. 1 credit is 0.01 USD."""
    found = estimate(model, fields)
    assert found.known
    assert found.credits == pytest.approx(credits)
    assert found.usd == pytest.approx(credits / 100)
    assert found.basis


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        ("flux-dev", {"prompt": "x"}, "no price of flux-dev is published"),
        ("flux-pro-1.0-expand", {"image": ONE_MP}, "no price"),
        ("flux-2-pro-preview", {"prompt": "x"}, "no price"),
        ("flux-2-klein-4b-finetuned", {"prompt": "x", "finetune_id": "f"}, "no price"),
        ("flux-tools/erase-v1", {"image": ONE_MP, "mask": ONE_MP}, "no price"),
        ("flux-3-image", {"prompt": "x", "resolution": "1.5k"}, "at 1.5k"),
        ("flux-3-image-klein", {"prompt": "x", "resolution": "768sq"}, "at 768sq"),
        ("flux-3-image-klein", {"prompt": "x", "width": 4097, "height": 4096}, "4097 x 4096"),
        ("flux-3-video", {"mode": "t2v", "prompt": "x"}, "at most 20 s"),
        ("flux-3-video", {"mode": "draft_enhance", "draft_cache": "https://x/y"}, "draft_enhance"),
        ("flux-tools/video-edit-v1", {"video": "https://example.com/a.mp4", "prompt": "x"}, "3 a second"),
        ("flux-tools/video-upscale-v1", {"input_video": "https://example.com/a.mp4"}, "not known here"),
    ],
)
def test_unknown_price_is_said_and_not_guessed(model: str, fields: dict[str, object], said: str) -> None:
    """None, and why."""
    found = estimate(model, fields)
    assert (found.known, found.credits, found.usd) == (False, None, None)
    assert said in found.basis


@pytest.mark.parametrize(
    ("model", "fields", "least", "most"),
    [
        # A client of October 2026 counts 1280 x 1024 as 2 MP.
        ("flux-2-pro", {"prompt": "x", "width": 1280, "height": 1024}, 3.375, 4.5),
        ("flux-2-max", {"prompt": "x", "width": 1024, "height": 1536}, 8.5, 10.0),
        ("flux-2-klein-4b", {"prompt": "x", "width": 1024, "height": 1025}, 1.4 + 0.1 / 1024, 1.5),
        # BFL's pricing page has 5 for a megapixel, its overview page 6.
        ("flux-2-flex", {"prompt": "x", "width": 1024, "height": 1024}, 5.0, 6.0),
        ("flux-2-flex", {"prompt": "x", "width": 2048, "height": 1984, "input_image": HALF_MP}, 21.875, 27.0),
        # A capture of August 2026: 9.75 MP-s were billed with 74.
        ("flux-tools/video-upscale-v1", {"input_video": mp4(512, 512, 9.75), "creativity": 0}, 68.25, 74.0),
        ("flux-tools/video-upscale-v1", {"input_video": VIDEO}, 400.0, 420.0),
    ],
)
def test_estimate_says_where_sources_contradict_each_other(
    model: str, fields: dict[str, object], least: float, most: float
) -> None:
    """The lower price, with "at least" and the higher one in the basis; a budget sets the higher one aside."""
    found = estimate(model, fields)
    assert found.known
    assert found.credits == pytest.approx(least, abs=1e-5)
    assert found.basis.startswith("at least")
    assert f"; {most:g} if " in found.basis
    purse = Purse(Budget(usd=most / 100))
    assert purse.reserve(request(model, **fields)) == pytest.approx(most)
    with pytest.raises(BudgetExceededError):
        Purse(Budget(usd=most / 100 - 0.0001)).reserve(request(model, **fields))


@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (2048, 1024), (2048, 2048)])
def test_price_of_whole_megapixels_is_not_in_doubt(size: tuple[int, int]) -> None:
    """Whatever the rounding is, it changes nothing there."""
    width, height = size
    assert "at least" not in estimate("flux-2-pro", {"prompt": "x", "width": width, "height": height}).basis


def test_price_at_a_size_that_the_server_chooses_is_a_least_one() -> None:
    """Which size klein draws by default is not published: the estimate says "at least"."""
    found = estimate("flux-3-image-klein", {"prompt": "x"})
    assert (found.known, found.credits) == (True, 0.9)
    assert found.basis.startswith("at least 0.9")


def test_model_that_the_catalog_does_not_know_has_no_price() -> None:
    """It is sent; what it costs, the server says."""
    with pytest.warns(UserWarning, match="flux-9"):
        found = estimate("flux-9", {"prompt": "x"})
    assert (found.known, found.credits) == (False, None)


def test_what_is_assumed_stands_in_the_basis(tmp_path: Path) -> None:
    """A URL counts as 1 MP, a size left out is named; a Path's header is read, a missing one is not known."""
    file = tmp_path / "a.png"
    file.write_bytes(png(1024, 2048))
    sized = {"prompt": "x", "width": 1024, "height": 1024}
    url = estimate("flux-2-pro", {**sized, "input_image": "https://example.com/a.png"})
    assert url.credits == 4.5
    assert "unknown size counted as 1 MP" in url.basis
    assert estimate("flux-2-pro", {**sized, "input_image": file}).credits == 6.0
    assert "unknown size" in estimate("flux-2-pro", {**sized, "input_image": tmp_path / "missing.png"}).basis
    assert "counted as 1 MP" in estimate("flux-2-pro", {"prompt": "x"}).basis
    assert "first input image's" in estimate("flux-2-pro", {"prompt": "x", "input_image": file}).basis
    video = tmp_path / "a.mp4"
    for moov_last in (False, True):
        video.write_bytes(mp4(64, 64, 2.5, moov_last=moov_last))
        assert estimate("flux-tools/video-edit-v1", {"video": video, "prompt": "x"}).credits == 7.5


def test_estimate_takes_requests_only() -> None:
    """Whatever else is an error of the caller's."""
    with pytest.raises(InvalidRequestError):
        AsyncBFL("key").estimate("flux-dev")  # type: ignore[arg-type]  # on purpose


def test_each_price_has_its_source() -> None:
    """And where there is none, none is claimed."""
    for row in CATALOG.values():
        assert (row.price is None) == (row.source == ""), row.name
        assert {*row.source} <= {*SOURCES}, row.name


def test_each_source_has_its_date() -> None:
    """A day, or a month where no day is known; none is listed that no row names."""
    for text in SOURCES.values():
        assert re.search(r"20\d\d-\d\d-\d\d|(August|October) 20\d\d", text), text
    assert {letter for row in CATALOG.values() for letter in row.source} == {*SOURCES}
