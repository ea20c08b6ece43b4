"""Calls that are right: no type checker has a word to say. Checked by mypy and pyright, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

from bfl_async import AsyncBFL, Flux2Pro, FluxDev, ImageRequest, Result, TaskHandle, request, sync


async def known_models(bfl: AsyncBFL) -> None:
    assert_type(
        await bfl.generate("flux-dev", prompt="x", steps=20, guidance=3, timeout=5, priority=1), Result
    )
    assert_type(await bfl.submit("flux-2-pro", prompt="x", input_image=Path("a.png"), width=None), TaskHandle)
    assert_type(bfl.submit_nowait("flux-tools/erase-v1", image=b"x", mask="https://x/y"), TaskHandle)
    assert_type(request("flux-dev", prompt="x"), FluxDev)
    assert_type(request("flux-2-pro", prompt="x", extra_body={"new": [1]}), Flux2Pro)
    assert_type(await bfl.generate(request("flux-2-pro", prompt="x")), Result)
    await bfl.generate("flux-3-video", mode="i2v", prompt="x", keyframes=[(0, b"x"), (1.5, Path("b.png"))])
    await bfl.generate("flux-3-video", mode="draft-enhance", draft_cache="https://x/y")
    await bfl.generate("flux-3-image", prompt="x", images=[Path("a.png"), b"x"], resolution="2k")
    assert_type(
        bfl.stream([request("flux-dev", prompt="x"), Flux2Pro(prompt="y")]).in_flight, tuple[TaskHandle, ...]
    )


def blocking_calls(bfl: sync.BFL, name: str, fields: dict[str, object]) -> None:
    assert_type(bfl.generate("flux-dev", prompt="x", steps=20), sync.Result)
    assert_type(bfl.submit("flux-dev", prompt="x"), sync.TaskHandle)
    assert_type(bfl.submit_nowait(name, **fields), sync.TaskHandle)


async def names_known_at_run_time(
    bfl: AsyncBFL, name: str, fields: dict[str, object], loose: dict[str, Any]
) -> None:
    assert_type(await bfl.generate(name, prompt="x", seed=1, output_format="png"), Result)
    assert_type(await bfl.generate(name, extra_body=fields), Result)
    assert_type(await bfl.submit(name, timeout=3, **fields), TaskHandle)
    assert_type(request(name, **fields), ImageRequest)
    assert_type(request(name, **loose), ImageRequest)
    assert_type(request(name, prompt="x", **fields), ImageRequest)


async def newer_than_this_release(bfl: AsyncBFL) -> None:
    assert_type(await bfl.generate("flux-9", prompt="x"), Result)
    assert_type(await bfl.generate("flux-9", prompt="x", extra_body={"anything": 1}), Result)
