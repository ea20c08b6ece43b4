"""Calls by a model's name, as type checkers see them. Checked by mypy, never run.

`tests/unit/test_typing.py` holds that the lines with an ignore are refused with that error, and no others.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from bfl_async import AsyncBFL, Flux2Pro, FluxDev, ImageRequest, Result, TaskHandle, request


async def right(bfl: AsyncBFL, name: str, fields: dict[str, object]) -> None:
    assert_type(
        await bfl.generate("flux-dev", prompt="x", steps=20, guidance=3, timeout=5, priority=1), Result
    )
    assert_type(await bfl.submit("flux-2-pro", prompt="x", input_image=Path("a.png"), width=None), TaskHandle)
    assert_type(bfl.submit_nowait("flux-tools/erase-v1", image=b"x", mask="https://x/y"), TaskHandle)
    assert_type(request("flux-dev", prompt="x"), FluxDev)
    assert_type(await bfl.generate(request("flux-2-pro", prompt="x")), Result)
    await bfl.generate("flux-3-video", mode="i2v", prompt="x", keyframes=[(0, b"x"), (1.5, Path("b.png"))])
    await bfl.generate("flux-3-video", mode="draft-enhance", draft_cache="https://x/y")
    await bfl.generate("flux-3-image", prompt="x", images=[Path("a.png"), b"x"], resolution="2k")
    assert_type(await bfl.generate(name, prompt="x", anything=1), Result)  # known only at run time
    assert_type(await bfl.generate("flux-9", prompt="x"), Result)  # newer than this release
    assert_type(request(name, **fields), ImageRequest)
    assert_type(
        bfl.stream([request("flux-dev", prompt="x"), Flux2Pro(prompt="y")]).in_flight, tuple[TaskHandle, ...]
    )


async def wrong(bfl: AsyncBFL) -> None:
    await bfl.generate("flux-pro-1.1", prompt="x", colour=3)  # type: ignore[misc]  # a field that no model has
    await bfl.generate("flux-pro-1.1", prompt="x", steps=3)  # type: ignore[misc]  # a field of another model
    await bfl.generate("flux-dev", prompt="x", width="3")  # type: ignore[misc]  # a wrong type
    await bfl.generate("flux-2-pro", width=512)  # type: ignore[misc]  # prompt is required
    await bfl.submit("flux-3-video", prompt="x")  # type: ignore[misc]  # mode is required
    await bfl.submit("flux-3-image", prompt="x", resolution="8k")  # type: ignore[misc]  # none of its words
    bfl.submit_nowait("flux-dev", colour=3).done()  # type: ignore[attr-defined]  # a field that no model has
    await bfl.generate(request("flux-dev", colour=3))  # type: ignore[call-overload]  # a field that no model has
    await bfl.generate("flux-dev", prompt="x", priority="high")  # type: ignore[call-overload]  # the call's own parameters, too
    await bfl.generate(Flux2Pro(prompt="x"), width=3)  # type: ignore[call-overload]  # fields beside a request
