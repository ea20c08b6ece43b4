"""A request that says nothing of what it wants is not paid for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from bfl_async import AsyncBFL, Batch, FluxPro11, ImageRequest, InvalidRequestError, request
from bfl_async.models.main_input import missing_input
from bfl_async.sandbox import Sandbox


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (256, 256)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("model", "fields", "problem"),
    [
        ("flux-pro-1.1", {}, "is missing"),
        ("flux-pro-1.1", {"width": 512}, "is missing"),
        ("flux-pro-1.1", {"prompt": None}, "is missing"),
        ("flux-dev", {"prompt": ""}, "is blank"),
        ("flux-2-pro", {"prompt": "\u2003\u200b"}, "is blank"),
        ("flux-pro-1.1", {"prompt": " ."}, None),
        ("flux-pro-1.1", {"image_prompt": png()}, None),
        ("flux-pro-1.1", {"extra_body": {"prompt": ""}}, None),
        ("flux-tools/deblur-v1", {"image": png()}, None),
        ("flux-unheard-of", {}, "is missing"),
        ("flux-unheard-of", {"prompt": ""}, "is blank"),
        ("flux-unheard-of", {"text": "a cat"}, None),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the model")
def test_main_input_is_a_prompt_or_an_image(
    model: str, fields: dict[str, object], problem: str | None
) -> None:
    """What a model takes in place of a prompt counts, and so does an empty prompt that was asked for."""
    assert missing_input(request(model, **fields)) == problem


async def test_no_call_sends_a_request_without_its_main_input(tmp_path: Path) -> None:
    """By name or as a request, alone, in a stream, gathered or in a batch."""
    empty: list[ImageRequest] = [FluxPro11(), FluxPro11(width=512)]
    async with Sandbox(speed=50) as sandbox, AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
        for call in (bfl.generate, bfl.submit):
            with pytest.raises(InvalidRequestError, match="prompt: is missing"):
                await call("flux-pro-1.1")
        with pytest.raises(InvalidRequestError, match="prompt: is missing"):
            bfl.submit_nowait(empty[1])
        for outcome in await bfl.gather(empty, return_exceptions=True):
            assert isinstance(outcome, InvalidRequestError)
        async with bfl.stream(empty) as outcomes:
            assert [type(outcome.error) async for outcome in outcomes] == [InvalidRequestError] * 2
        async with Batch.open(tmp_path / "run.db", bfl, save_to=tmp_path) as batch:
            with pytest.raises(InvalidRequestError):
                await batch.add(empty)
        assert bfl.statistics().submitted == 0
        assert (await bfl.generate("flux-pro-1.1", prompt="")).cost == 4.0
        assert (await bfl.generate("flux-pro-1.1", extra_body={"prompt": ""})).cost == 4.0
