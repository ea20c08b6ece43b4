"""A field that no model has.

Both checkers mark the field. Checked by mypy and pyright, never run.

After each error code: the checker whose message names the field, and the name.
"""

from __future__ import annotations

from bfl_async import AsyncBFL, request, sync


async def wrong(bfl: AsyncBFL, name: str) -> None:
    await bfl.generate("flux-pro-1.1", prompt="x", sede=3)  # type: ignore[arg-type]  # both: "sede"
    await bfl.submit("flux-2-pro", prompt="x", colour="red")  # type: ignore[arg-type]  # both: "colour"
    bfl.submit_nowait("flux-dev", promt="x")  # type: ignore[arg-type]  # both: "promt"
    request("flux-2-pro", prompt="x", widht=512)  # type: ignore[arg-type]  # both: "widht"
    await bfl.generate(request("flux-dev", hieght=3))  # type: ignore[arg-type]  # both: "hieght"
    request(name, prompt="x", widht=512)  # type: ignore[arg-type]  # both: "widht"
    bfl.stream([request("flux-2-pro", prompt="x", widht=512)])  # type: ignore[arg-type]  # both: "widht"


def wrong_and_blocking(bfl: sync.BFL) -> None:
    bfl.generate("flux-dev", colour=3)  # type: ignore[arg-type]  # both: "colour"
    bfl.submit("flux-kontext-pro", prompt="x", imput_image=b"x")  # type: ignore[arg-type]  # both: "imput_image"
    bfl.submit_nowait("flux-3-image", prompt="x", sed=3)  # type: ignore[arg-type]  # both: "sed"
