"""The request classes as a whole: what is imported when, what is warned of, what can be asked about them."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import pytest
from pydantic import ValidationError

import bfl_async
from bfl_async import (
    FluxPro,
    FluxProCanny,
    InvalidRequestError,
    request,
)
from bfl_async.catalog import CATALOG, describe, main, model_info
from bfl_async.engine.submitting import read_and_encode
from bfl_async.models import as_request, request_classes
from bfl_async.models.headers import kind_of
from tests.fake import FakeAPI, reply
from tests.media import mp4, png


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_family_is_imported_when_a_class_of_it_is_used() -> None:
    """Importing stays cheap, however many models there are."""
    families = "[m for m in ('flux1', 'flux2', 'flux3', 'tools') if 'bfl_async.models.' + m in sys.modules]"
    out = in_a_new_process(
        f"import sys, bfl_async\nbfl_async.AsyncBFL\nprint({families})\n"
        f"bfl_async.request('flux-dev', prompt='x')\nprint({families})\n"
        f"bfl_async.Flux3Image\nprint({families})\n"
        "print('bfl_async.models._typed' in sys.modules, 'bfl_async.client._overloads' in sys.modules)"
    )
    assert out.splitlines() == ["[]", "['flux1']", "['flux1', 'flux3']", "False False"]


def test_every_class_is_exported_at_the_top() -> None:
    """And is the class of the model that it names."""
    for name in CATALOG:
        for cls in request_classes(name):
            assert getattr(bfl_async, cls.__name__) is cls
            assert cls.endpoint == f"/v1/{name}"
            assert cls.__doc__
    assert set(bfl_async.__all__) >= {"Budget", "Estimate", "Finetune", "Flux3Video", "ImageRequest"}


def test_retired_model_works_and_warns_once() -> None:
    """The warning names what took its place, at the line that named the model."""
    with pytest.warns(FutureWarning, match=r"'flux-pro' is retired .* use 'flux-pro-1.1'") as caught:
        made = request("flux-pro", prompt="x", interval=1.5)
    assert caught[0].filename == __file__
    assert made.body() == {"prompt": "x", "interval": 1.5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request("flux-pro", prompt="x")
        as_request(FluxPro(prompt="x"))
    with pytest.warns(FutureWarning, match="flux-2-pro"):
        as_request(FluxProCanny(prompt="x", control_image=png(64, 64)))


def test_canny_needs_one_of_its_images() -> None:
    """Source: BFL's Python SDK."""
    with pytest.raises(ValidationError, match="control_image or preprocessed_image"):
        FluxProCanny(prompt="x")
    FluxProCanny(prompt="x", preprocessed_image=png(64, 64))


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("flux-pro-finetuned", {"finetune_id": "f", "steps": 50}),
        ("flux-pro-1.0-depth", {"control_image": "https://x/y", "guidance": 100.0}),
        ("flux-pro-1.0-canny-finetuned", {"finetune_id": "f", "control_image": "https://x/y"}),
        ("flux-pro-1.0-depth-finetuned", {"finetune_id": "f", "preprocessed_image": "https://x/y"}),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_retired_models_take_what_they_took(model: str, fields: dict[str, object]) -> None:
    """No schema describes them any more."""
    assert request(model, **fields).body() == fields
    for wrong in ({"guidance": 0.5}, {"steps": 51}, {"colour": 1}):
        with pytest.raises(InvalidRequestError):
            request(model, **{**fields, **wrong})


def test_mode_of_a_video_is_always_sent_and_has_longer_names() -> None:
    """The server tells the modes apart by it; the class says it already."""
    assert bfl_async.Flux3VideoT2V(prompt="x").body() == {"prompt": "x", "mode": "t2v"}
    assert request("flux-3-video", prompt="x", mode="text-to-video").body()["mode"] == "t2v"
    enhanced = request("flux-3-video", mode="draft-enhance", draft_cache="https://x/y?sig=secret")
    assert enhanced.body() == {"mode": "draft_enhance", "draft_cache": "https://x/y?sig=secret"}
    assert "secret" not in repr(enhanced)
    with pytest.raises(ValidationError):
        bfl_async.Flux3VideoT2V(prompt="x", mode="v2v")  # type: ignore[arg-type]  # on purpose
    for fields, said in (
        ({}, "is required: one of t2v"),
        ({"mode": "x"}, "is not one of"),
        ({"mode": 1}, "is not one of"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            request("flux-3-video", prompt="x", **fields)


@pytest.mark.parametrize("model", CATALOG)
def test_fields_that_people_set_most_are_listed_first(model: str) -> None:
    """What few people set comes last."""
    last = ["safety_tolerance", "user", "webhook_url", "webhook_secret"]
    for mode in {row.mode for row in describe(model)}:
        names = [row.name for row in describe(model) if row.mode == mode and not row.required]
        late = [name for name in last if name in names]
        assert names[len(names) - len(late) :] == late
        if "prompt" in names:
            assert names[0] == "prompt"


def test_an_error_lists_the_fields_that_people_set_most_first() -> None:
    """The advice is read from its beginning."""
    with pytest.raises(InvalidRequestError, match="it takes prompt, image_prompt, width, height, seed, "):
        request("flux-dev", prompt="x", unheard=3)  # type: ignore[arg-type]  # wrong on purpose


def test_fields_of_a_model_can_be_listed() -> None:
    """For editors, commands and people: names, types, bounds, defaults, and what is required."""
    rows = {row.name: row for row in describe("flux-2-klein-9b")}
    assert next(iter(rows)) == "prompt"
    assert rows["prompt"].required
    assert (rows["width"].type, rows["width"].bounds, rows["width"].default) == (
        "int | None",
        "from 64",
        None,
    )
    assert (rows["safety_tolerance"].bounds, rows["safety_tolerance"].default) == ("0 to 5", 2)
    assert rows["user"].bounds == "1 to 256 long"
    assert rows["input_image"].type == "MediaSource | None"
    assert rows["input_image"].bounds == "jpeg, png or webp, at most 20 MB and 20 MP"
    sides = {row.name: row.bounds for row in describe("flux-dev")}
    assert sides["width"] == "256 to 1440, multiple of 32"
    assert {row.mode for row in describe("flux-3-video")} == {"t2v", "i2v", "v2v", "draft_enhance"}
    frames = next(row for row in describe("flux-3-video") if row.name == "keyframes")
    assert (frames.type, frames.mode, frames.required) == ("Keyframes", "i2v", True)
    with pytest.raises(InvalidRequestError):
        describe("flux-9")


def test_catalog_has_a_row_for_each_model_with_what_the_client_needs() -> None:
    """Pools, deadlines, priors, and what replaces a retired one."""
    for name, row in CATALOG.items():
        assert row.median_s > 0
        assert 0.2 < row.sigma < 1
        assert row.median_s * math.exp(2.33 * row.sigma) < row.task_s  # the 99th percentile
        assert ("video" in row.pools) == ("video" in name)
        assert row.task_s == (3_600 if "video" in name else 600)
        assert (row.state == "retired") == bool(row.replaced_by)
        assert not row.replaced_by or CATALOG[row.replaced_by].state != "retired"
    assert model_info("flux-kontext-max").pools == ("flux-kontext-max",)
    assert model_info("flux-3-video").result_s == 7_200
    assert model_info("flux-9-video").pools == ("flux-9-video", "video")


def test_catalog_can_be_listed_and_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m bfl_async.catalog`."""
    assert main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CATALOG)
    for text in ("no JSON", "[]", "{}"):
        (tmp_path / "x.json").write_text(text)
        assert main(["--compare", str(tmp_path / "x.json")]) == 2
    assert main(["--compare", str(tmp_path / "missing.json")]) == 2


def test_encoding_holds_a_file_about_three_times_at_most(tmp_path: Path) -> None:
    """Its base64 has 4/3 of its size, and stands there twice while the body is put together."""
    file = tmp_path / "a.png"
    file.write_bytes(png(64, 64) + bytes(8_000_000))
    for image in (file, file.read_bytes()):
        made = request("flux-2-pro", prompt="x", input_image=image)
        made.body()
        tracemalloc.start()
        try:
            encoded, texts = read_and_encode(made, {})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(encoded) > 10_000_000
        assert texts == {}
        assert peak < 3 * 8_000_000


async def test_draft_cache_of_a_video_is_handed_on() -> None:
    """Both spellings of the API; everything else is in `raw`."""
    for result in (
        {"sample": "https://delivery.bfl.ai/a.mp4", "draft_cache": "https://delivery.bfl.ai/cache"},
        {"samples": ["https://delivery.bfl.ai/a.mp4"], "draft_caches": ["https://delivery.bfl.ai/cache"]},
    ):
        api = FakeAPI(service_s=0, submit_s=0)
        api.script_polls(reply(200, {"id": "t", "status": "Ready", "result": result}))
        api.download_script.append(reply(200, mp4(64, 64, 1), content_type="video/mp4"))
        async with api.client(interval=0.01) as bfl:
            before = time.time()
            found = await bfl.generate("flux-3-video", mode="t2v", prompt="x", draft=True)
            assert found.draft_cache == "https://delivery.bfl.ai/cache"
            assert found.raw["result"] == result
            assert found.expires_at is not None
            assert found.expires_at >= before + 7_200, "a video's URL lasts two hours where it does not say"
            assert kind_of(await found.read()) == "video/mp4"
    api = FakeAPI(service_s=0, submit_s=0)
    async with api.client(interval=0.01) as bfl:
        assert (await bfl.generate("flux-dev", prompt="x")).draft_cache is None
