"""Every model through the client against the sandbox, which was written from the schema by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bfl_async import (
    AsyncBFL,
    AuthenticationError,
    Budget,
    Fixed,
    InvalidRequestError,
    RefusedError,
    TaskError,
    request,
)
from bfl_async.catalog import CATALOG
from bfl_async.models.headers import kind_of
from bfl_async.sandbox import Sandbox
from tests.media import mp4, png

pytestmark = pytest.mark.filterwarnings("ignore:the model .* is retired:FutureWarning")


def fields_of(model: str, folder: Path, finetune_id: str) -> dict[str, object]:
    """What a request for a model needs, with files where it takes some."""
    image, mask, video = folder / "image.png", folder / "mask.png", folder / "video.mp4"
    image.write_bytes(png(512, 512))
    mask.write_bytes(png(512, 512))
    video.write_bytes(mp4(1280, 720, 5))  # what the sandbox takes every video for
    fields: dict[str, object] = {"finetune_id": finetune_id} if model.endswith("finetuned") else {}
    match model.removeprefix("flux-tools/"):
        case "flux-3-video":
            return {
                "mode": "i2v",
                "prompt": "x",
                "keyframes": [(0, image), (4.5, png(256, 256))],
                "duration": 5,
            }
        case "flux-3-image":
            return {"prompt": "x", "images": [image, png(256, 256)]}
        case "flux-3-image-klein":
            return {"prompt": "x", "images": image, "width": 1280, "height": 800}
        case "outpainting-v1":
            return {"input_image": image, "width": 640, "height": 640}
        case "erase-v1":
            return {"image": image, "mask": mask}
        case "deblur-v1":
            return {"image": image}
        case "vto-v1" | "vto-v2":
            return {"prompt": "x", "person": image, "garment": png(300, 300)}
        case "video-edit-v1":
            return {"video": video, "prompt": "x"}
        case "video-upscale-v1":
            return {"input_video": video}
        case name if "fill" in name:
            return fields | {"image": image, "mask": mask}
        case name if "expand" in name:
            return fields | {"image": image, "top": 64}
        case name if "canny" in name or "depth" in name:
            return fields | {"prompt": "x", "control_image": image}
        case name if name.startswith(("flux-2", "flux-kontext")):
            size = {"width": 1024, "height": 1024} if name.startswith("flux-2") else {}
            return fields | size | {"prompt": "x", "input_image": image, "input_image_2": png(256, 256)}
    return fields | {"prompt": "x"}


@pytest.mark.parametrize("model", CATALOG)
async def test_every_model_is_served_at_the_price_that_was_estimated(model: str, tmp_path: Path) -> None:
    """Two readings of the schema and of the price list: the request is taken, costs what was said, and that counts."""
    async with (
        Sandbox(speed=1_000) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.02)) as bfl,
    ):
        finetune_id = (await bfl.finetunes())[0].finetune_id
        made = request(model, **fields_of(model, tmp_path, finetune_id))
        estimate = bfl.estimate(made)
        result = await bfl.generate(made, timeout=50)
        saved = await result.save(tmp_path / "result")
        charged, spent = sandbox.statistics().credits_spent, bfl.statistics().credits_spent
    assert kind_of(saved.read_bytes()) == ("video/mp4" if "video" in model else f"image/{_format(model)}")
    assert saved.suffix in (".mp4", ".jpg", ".png")
    assert result.cost == spent == pytest.approx(charged)
    if estimate.credits is not None and estimate.basis.startswith("at least"):
        assert result.cost is not None
        assert estimate.credits <= result.cost <= 1.1 * estimate.credits + 1.0
    elif estimate.known:
        assert result.cost == pytest.approx(estimate.credits, abs=0.05), estimate.basis


def _format(model: str) -> str:
    """The format that the server chooses, where none is asked for."""
    return (
        "png"
        if any(part in model for part in ("kontext", "outpainting", "erase", "deblur", "flux-3-image"))
        else "jpeg"
    )


async def test_draft_video_is_made_a_full_one() -> None:
    """Its cache is all that it takes."""
    async with (
        Sandbox(speed=1_000) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.02)) as bfl,
    ):
        draft = await bfl.generate("flux-3-video", mode="text-to-video", prompt="x", duration=5, draft=True)
        assert draft.draft_cache is not None
        assert draft.cost == 30
        full = await bfl.generate("flux-3-video", mode="draft-enhance", draft_cache=draft.draft_cache)
        assert full.draft_cache is None
        assert bfl.statistics().credits_spent == pytest.approx(sandbox.statistics().credits_spent)
        assert kind_of(await full.read()) == "video/mp4"


async def test_account_calls_are_answered() -> None:
    """Finetunes and reports of use, over a socket."""
    async with Sandbox(speed=1_000) as sandbox:
        async with AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
            first = (await bfl.finetunes())[0]
            assert (await bfl.finetune_details(first.finetune_id)).details
            deleted = await bfl.delete_finetune(first.finetune_id)
            assert deleted.finetune_id == first.finetune_id
            assert first.finetune_id not in [one.finetune_id for one in await bfl.finetunes()]
            assert (await bfl.report_usage("flux-1-dev", 2)).message
            with pytest.raises(RefusedError):
                await bfl.report_usage("flux-9")
            with pytest.raises((InvalidRequestError, RefusedError)):
                await bfl.finetune_details("none of ours")
        async with AsyncBFL("wrong", base_url=sandbox.url) as bfl:
            with pytest.raises(AuthenticationError):
                await bfl.finetunes()


async def test_moderation_in_the_sandbox_leaves_budget_and_balance_alone() -> None:
    """The example of the budget's page: what is refused costs nothing."""
    async with (
        Sandbox(credits=100, service_s=0.01) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, budget=Budget(usd=0.05), polling=Fixed(0.02)) as bfl,
    ):
        for prompt in ("[moderate-prompt]", "[moderate-output]", "[fail]"):
            with pytest.raises(TaskError):
                await bfl.generate("flux-pro-1.1", prompt=prompt)
        assert (await bfl.credits(), bfl.statistics().credits_spent) == (100, 0)
        await bfl.generate("flux-pro-1.1", prompt="x")
        assert (await bfl.credits(), bfl.statistics().credits_spent) == (96, 4)
