"""A result in a notebook: escaped, without a network, without the signed URL."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bfl_async import Result
from tests.fake import JPEG, FakeAPI, reply
from tests.media import png

EVIL = '<script>alert("1")</script>'


def a_result(**facts: object) -> Result:
    given: dict[str, object] = {
        "task_id": f"t{EVIL}", "model": f"flux-dev{EVIL}", "url": "https://x.bfl.ai/a.jpg?se=2099&sig=secret",
        "seed": 2**40, "prompt": f"a cat {EVIL}", "cost": 4.0, "expires_at": 0.0, "duration": 1.0, "raw": {},
        **facts,
    }  # fmt: skip
    return Result(**given)  # type: ignore[arg-type]  # a table of facts


def test_a_card_has_the_facts_escaped_and_no_url() -> None:
    """What comes from outside is text and never markup; what is signed stays out of a notebook."""
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


async def test_a_saved_image_is_shown_as_it_is(tmp_path: Path) -> None:
    """Its bytes are on this machine: nothing is downloaded again, and nothing decoded."""
    api = FakeAPI(service_s=0)
    picture = png(64, 48)
    api.download_script.append(reply(200, picture, content_type="image/png"))
    async with api.client(interval=0.01) as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        assert "<img" not in result._repr_html_()
        path = await result.save(tmp_path / "cat")
        shown = result._repr_html_()
        assert 'src="data:image/png;base64,' in shown
        assert "64 x 48 px" in shown
        assert "cat.png" in shown
        assert len(api.downloaded) == 1
        path.unlink()
        assert "<img" not in result._repr_html_()
        assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("data", [png(8, 8) + bytes(2**20), JPEG, b"no image", b""])
async def test_what_is_large_or_no_image_is_not_put_into_the_page(data: bytes, tmp_path: Path) -> None:
    """A notebook is a file that people pass on; a file that changed since is no reason to fail."""
    api = FakeAPI(service_s=0)
    api.download_script.append(reply(200, png(64, 48), content_type="image/png"))
    async with api.client(interval=0.01) as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        path = await result.save(tmp_path / "cat")
    path.write_bytes(data)
    shown = result._repr_html_()
    assert "<img" not in shown
    assert "cat.png" in shown
    assert ("8 x 8 px" in shown) is data.startswith(b"\x89PNG")
