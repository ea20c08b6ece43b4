"""An attribute that an answer does not have.

An answer keeps its type; with mypy also where a field was wrong. Checked by mypy and pyright, never run.

After each error code: the checker whose message holds the word, and the word.
"""

from __future__ import annotations

from bfl_async import AsyncBFL, request, sync


async def wrong(bfl: AsyncBFL) -> None:
    repr((await bfl.generate("flux-dev", prompt="x")).imgae)  # type: ignore[attr-defined]  # both: "imgae"
    repr((await bfl.submit("flux-dev", prompt="x")).taskid)  # type: ignore[attr-defined]  # both: "taskid"
    repr(request("flux-dev", prompt="x").promt)  # type: ignore[attr-defined]  # both: "promt"
    repr((await bfl.generate("flux-dev", colour=3)).imgae)  # type: ignore[arg-type,attr-defined]  # mypy: "imgae"


def wrong_and_blocking(bfl: sync.BFL) -> None:
    repr(bfl.generate("flux-dev", prompt="x").imgae)  # type: ignore[attr-defined]  # both: "imgae"
    bfl.submit_nowait("flux-dev", colour=3).dnoe()  # type: ignore[arg-type,attr-defined]  # mypy: "dnoe"
