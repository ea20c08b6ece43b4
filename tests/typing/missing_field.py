"""A field that is missing, and other calls that no model fits.

Both checkers mark the call. Checked by mypy and pyright, never run.

After each error code: the checker whose message holds the word, and the word.
"""

from __future__ import annotations

from bfl_async import AsyncBFL, Flux2Pro, request


async def wrong(bfl: AsyncBFL) -> None:
    await bfl.generate("flux-2-pro", width=512)  # type: ignore[arg-type]  # both: "str|flux-2-pro"
    request("flux-2-pro")  # type: ignore[arg-type]  # both: "str|flux-2-pro"
    request("flux-dv", prompt="x", width=512)  # type: ignore[arg-type]  # both: "str|flux-dv"
    await bfl.submit("flux-3-video", prompt="x")  # type: ignore[misc]  # both: "FieldsDoNotFitTheModel"
    await bfl.generate(Flux2Pro(prompt="x"), width=3)  # type: ignore[call-overload]  # both: "Flux2Pro"
    await bfl.generate(3)  # type: ignore[call-overload]  # both: "int|3"
