"""The order in which the fields of a model are listed: those that people set most come first."""

from __future__ import annotations

from collections.abc import Iterable

_FIRST = (
    *("prompt", "mode", "finetune_id", "image", "input_image", "images", "person", "garment", "mask"),
    *("input_video", "video", "start_video", "keyframes", "draft_cache", "image_prompt", "control_image"),
    *("aspect_ratio", "resolution", "width", "height", "duration", "upscale_factor", "creativity"),
    *("seed", "output_format", "steps", "guidance"),
)
_LAST = ("safety_tolerance", "user", "webhook_url", "webhook_secret")


def place_of(name: str) -> int:
    """Return a number by which the names of fields are sorted; others keep their order between first and last ones."""
    if name in _LAST:
        return len(_FIRST) + 1 + _LAST.index(name)
    # `input_image_2` stands with `input_image`.
    base = name.rstrip("0123456789").rstrip("_") if name[-1:].isdigit() else name
    return _FIRST.index(base) if base in _FIRST else len(_FIRST)


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of fields in the order in which they are listed."""
    return sorted(names, key=place_of)
