"""How a result looks in a notebook: a card of facts, and the image where it was saved.

Nothing is asked of the network, and nothing is decoded: of a file its header is read, and a small image is put into
the page as it is. The signed URL stays out, as notebooks are passed on.
"""

from __future__ import annotations

import base64
import html
from datetime import UTC, datetime
from pathlib import Path

from bfl_async.models.headers import image_size, kind_of

_MOST_BYTES = 2**20  # of an image that is put into the page
_HEAD_BYTES = 64 * 1024  # of a larger one, for its size
_PROMPT_CHARS = 500


def card(
    *,
    task_id: str,
    model: str | None,
    seed: int | None,
    prompt: str | None,
    cost: float | None,
    expires_at: float | None,
    file: Path | None,
) -> str:
    """Return the facts of a result as HTML.

    Args:
        file: Where it was saved; None: nowhere yet.
    """
    size, image = (None, "") if file is None else _image(file)
    rows = {
        "model": model,
        "task": task_id,
        "size": None if size is None else f"{size[0]} x {size[1]} px",
        "seed": seed,
        "cost": None if cost is None else f"{cost:g} credits",
        "URL ends": None if expires_at is None else f"{_time(expires_at)} UTC",
        "saved to": file,
        "prompt": _cut(prompt),
    }
    cells = "".join(
        f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in rows.items()
        if value is not None
    )
    return f"<div>{image}<table>{cells}</table></div>"


def _time(moment: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _cut(prompt: str | None) -> str | None:
    if prompt is None or len(prompt) <= _PROMPT_CHARS:
        return prompt
    return prompt[:_PROMPT_CHARS] + "…"


def _image(file: Path) -> tuple[tuple[int, int] | None, str]:
    """An image's size in px, and the image as HTML; neither where there is none that can be shown."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError:
        return None, ""
    size, kind = image_size(data[:_HEAD_BYTES]), kind_of(data)
    if size is None or kind is None or len(data) > _MOST_BYTES:
        return size, ""
    text = base64.b64encode(data).decode("ascii")
    return size, f'<img alt="" style="max-width:384px;max-height:384px" src="data:{kind};base64,{text}">'
