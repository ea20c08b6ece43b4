"""What is to be known of the size of a request. Importing it takes the time that pydantic takes."""

from __future__ import annotations

from bfl_async.models import ImageRequest
from bfl_async.models._base import field_of
from bfl_async.models.sizes import step_of


def size_note(request: ImageRequest) -> str | None:
    """Return what is to be known of a size that the server may change; None for any other.

    A multiple that the API's schema states is checked before, so that this is one of BFL's other pages.
    """
    step = step_of(request.model)
    sides = [side for name in ("width", "height") if isinstance(side := field_of(request, name), int)]
    if not any(side % step for side in sides):
        return None
    shown = " and ".join(str(side) for side in sides if side % step)
    return f"{request.model} takes sides that are multiples of {step} px: the server may round {shown}"
