"""A value of a wrong type.

Both checkers mark the field. Checked by mypy and pyright, never run.

After each error code: the checker whose message names the field, and the name.
"""

from __future__ import annotations

from bfl_async import AsyncBFL, Flux2Pro, request, sync


async def wrong(bfl: AsyncBFL) -> None:
    await bfl.generate("flux-dev", prompt="x", width="3")  # type: ignore[arg-type]  # both: "width"
    await bfl.submit("flux-3-image", prompt="x", resolution="8k")  # type: ignore[arg-type]  # both: "resolution"
    bfl.submit_nowait("flux-2-pro", prompt=3)  # type: ignore[arg-type]  # both: "prompt"
    request("flux-dev", prompt="x", guidance="much")  # type: ignore[arg-type]  # both: "guidance"
    await bfl.generate("flux-dev", prompt="x", priority="high")  # type: ignore[arg-type]  # both: "priority"
    Flux2Pro(prompt="x", width="3")  # type: ignore[arg-type]  # both: "width"


def wrong_and_blocking(bfl: sync.BFL) -> None:
    bfl.generate("flux-dev", prompt="x", seed="3")  # type: ignore[arg-type]  # both: "seed"
