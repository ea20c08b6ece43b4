"""A field that another model has.

pyright marks the field; mypy marks the model's name on the same line. Checked by mypy and pyright, never run.

After each error code: the checker whose message names the field, and the name.
"""

from __future__ import annotations

from bfl_async import AsyncBFL, request, sync


async def wrong(bfl: AsyncBFL) -> None:
    await bfl.generate("flux-pro-1.1", prompt="x", steps=3)  # type: ignore[arg-type]  # pyright: "steps"
    await bfl.submit("flux-2-pro", prompt="x", aspect_ratio="1:1")  # type: ignore[arg-type]  # pyright: "aspect_ratio"
    bfl.submit_nowait("flux-3-image", prompt="x", width=3)  # type: ignore[arg-type]  # pyright: "width"
    request("flux-kontext-pro", prompt="x", width=512)  # type: ignore[arg-type]  # pyright: "width"


def wrong_and_blocking(bfl: sync.BFL) -> None:
    bfl.generate("flux-kontext-pro", prompt="x", height=512)  # type: ignore[arg-type]  # pyright: "height"
