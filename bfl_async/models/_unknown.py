"""What is said of a field or a model that is not known. Imported when one is named."""

from __future__ import annotations

from collections.abc import Sequence

from bfl_async.models import request_classes
from bfl_async.models._base import known_names
from bfl_async.models.catalog import CATALOG
from bfl_async.runtime.near import close_to

# What people call the image to edit, whatever the model's field is called.
_IMAGE_WORDS = frozenset({"image", "images", "img", "photo", "picture", "image_url", "init_image", "input"})
_NAMED = 2


def no_such_field(model: str, name: str, known: Sequence[str], *, where: str = "") -> str:
    """Return the message for a field that a model does not have.

    Args:
        known: The fields that it has, those that people set most first.
        where: Where it does not have it, such as " in this release".
    """
    meant = close_to(name, known)
    if meant is None and name.lower() in _IMAGE_WORDS:
        meant = next((each for each in known if "image" in each), None)
    if meant is not None:
        return f"did you mean {meant!r}? {model} has no such field{where}; extra_body sends others"
    taken = ", ".join(known)
    return f"{model} has no such field{where}{_who_has(name)}; it takes {taken}; extra_body sends others"


def _who_has(name: str) -> str:
    found = [
        model
        for model, row in CATALOG.items()
        if row.state == "current" and any(name in known_names(cls) for cls in request_classes(model))
    ]
    if not found:
        return ""
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f", unlike {', '.join(found[:_NAMED])}{more}"
