"""Results in a notebook: escaped, and without a network."""

from __future__ import annotations

import html
import io
import pickle
import sys
import time
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from bfl_async import ImageRequest, Result, request, show
from bfl_async.results.sheet import Sheet
from tests.fake import FakeAPI, reply
from tests.media import png

EVIL = '<script>alert("1")</script>'


def a_result(**facts: object) -> Result:
    given: dict[str, object] = {
        "task_id": f"t{EVIL}", "model": f"flux-dev{EVIL}", "url": "https://x.bfl.ai/a.jpg?se=2099&sig=secret",
        "seed": 2**40, "prompt": f"a cat {EVIL}", "cost": 4.0, "expires_at": 0.0, "duration": 1.0, "raw": {},
        **facts,
    }  # fmt: skip
    return Result(**given)  # type: ignore[arg-type]  # a table of facts


def test_a_card_has_the_facts_escaped_and_no_url_that_has_ended() -> None:
    """What comes from outside is text and never markup."""
    shown = a_result()._repr_html_()
    assert "<script" not in shown
    assert "a cat &lt;script&gt;" in shown
    for fact in (str(2**40), "4 credits", "1970-01-01 00:00:00 UTC"):
        assert fact in shown
    for absent in ("http", "sig", "secret", "<img"):
        assert absent not in shown


def test_a_card_leaves_out_what_is_not_known() -> None:
    """Also where a time is out of every calendar."""
    shown = a_result(seed=None, cost=None, prompt=None, model=None, expires_at=1e300)._repr_html_()
    assert "None" not in shown
    assert "seed" not in shown
    assert "? UTC" in shown


def test_a_long_prompt_is_cut() -> None:
    """A card is a card."""
    assert len(a_result(prompt="x" * 100_000)._repr_html_()) < 2_000


def test_a_result_that_was_not_saved_is_shown_by_its_url_while_that_lasts() -> None:
    """The browser fetches it; afterwards there is nothing to fetch."""
    url = 'https://x.bfl.ai/a.jpg?se=2099&sig=a"><script>'
    shown = a_result(url=url, expires_at=time.time() + 60)._repr_html_()
    assert f'src="{html.escape(url)}"' in shown
    assert "<script" not in shown
    assert "<img" not in a_result(url=url, expires_at=time.time() - 1)._repr_html_()


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "x"])
def test_only_urls_of_the_web_are_shown(url: str) -> None:
    """A URL is the server's word."""
    shown = a_result(url=url, expires_at=None)._repr_html_()
    assert "src=" not in shown


def test_a_video_is_shown_as_a_video() -> None:
    """By its URL."""
    shown = a_result(url="https://x.bfl.ai/a.mp4?se=1", expires_at=time.time() + 60)._repr_html_()
    assert "<video controls" in shown
    assert "<img" not in shown


def large_png() -> bytes:
    """Return an image of more than 1 MiB."""
    picture = io.BytesIO()
    Image.effect_noise((1500, 1200), 100).save(picture, "PNG")
    assert picture.tell() > 2**20
    return picture.getvalue()


async def saved(picture: bytes, folder: Path) -> Result:
    """Return a result that was saved in a folder."""
    api = FakeAPI(service_s=0)
    api.download_script.append(reply(200, picture, content_type="image/png"))
    async with api.client(interval=0.01) as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        await result.save(folder / "cat")
        assert len(api.downloaded) == 1
        result._repr_html_()
        assert len(api.downloaded) == 1
    return result


async def test_a_saved_image_is_shown_as_it_is(tmp_path: Path) -> None:
    """Its bytes are on this machine: nothing is downloaded again, and nothing decoded."""
    result = await saved(png(64, 48), tmp_path)
    shown = result._repr_html_()
    assert 'src="data:image/png;base64,' in shown
    assert "64 x 48 px" in shown
    assert "cat.png" in shown
    assert "sig=" not in shown
    (tmp_path / "cat.png").unlink()
    assert "<img" not in result._repr_html_()
    assert pickle.loads(pickle.dumps(result)) == result


async def test_a_large_image_is_scaled_down(tmp_path: Path) -> None:
    """A notebook is a file that people pass on."""
    result = await saved(large_png(), tmp_path)
    shown = result._repr_html_()
    assert "data:image/webp;base64," in shown
    assert "1500 x 1200 px" in shown
    assert len(shown) < 2**19


async def test_a_large_image_is_shown_by_its_file_without_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the page stays small."""
    result = await saved(large_png(), tmp_path)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    shown = result._repr_html_()
    assert f'src="{(tmp_path / "cat.png").as_uri()}"' in shown
    assert len(shown) < 2_000


@pytest.mark.parametrize("data", [b"no image", b"", b"<svg><script/></svg>"])
async def test_what_is_no_image_is_not_put_into_the_page(data: bytes, tmp_path: Path) -> None:
    """A file that changed since is no reason to fail."""
    result = await saved(png(64, 48), tmp_path)
    (tmp_path / "cat.png").write_bytes(data)
    shown = result._repr_html_()
    assert "<img" not in shown
    assert "cat.png" in shown


async def test_gather_returns_a_list_that_is_a_contact_sheet() -> None:
    """Results and errors in their places; a list in all else."""
    api = FakeAPI(service_s=0)
    async with api.client(interval=0.01) as bfl:
        requests = [request("flux-dev", prompt=f"cat {EVIL} {n}") for n in range(3)]
        found = await bfl.gather([*requests, cast("ImageRequest", 3)], return_exceptions=True)
        shown = cast("Sheet[object]", found)._repr_html_()
    assert isinstance(found, list)
    assert found == list(found)
    assert shown.count("<figure") == 4
    assert shown.count("<img") == 3
    assert "InvalidRequestError" in shown
    assert "<script" not in shown


async def test_outcomes_are_shown_as_a_contact_sheet() -> None:
    """Each by its own place."""
    api = FakeAPI(service_s=0)
    async with api.client(interval=0.01) as bfl:
        requests = [request("flux-dev", prompt=f"cat {n}") for n in range(3)]
        outcomes = [outcome async for outcome in bfl.stream([*requests, cast("ImageRequest", 3)])]
        shown = show(reversed(outcomes))._repr_html_()
        assert shown.count("<img") == 3
        assert all(f"<small>{outcome.index}" in shown for outcome in outcomes)
        assert "<img" in next(outcome for outcome in outcomes if outcome.ok)._repr_html_()
    failed = next(outcome for outcome in outcomes if not outcome.ok)
    assert "InvalidRequestError" in failed._repr_html_()


def test_a_contact_sheet_of_many_shows_the_first_ones() -> None:
    """And what it does not know by its repr, escaped."""
    shown = show([a_result(), EVIL, *range(1_000)])._repr_html_()
    assert shown.count("<figure") == 60
    assert "and 942 more" in shown
    assert "<script" not in shown
