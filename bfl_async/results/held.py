"""Images that came with the answer to a submit: checked as downloads are, and fetched from nowhere."""

from __future__ import annotations

import io

from bfl_async.errors import DownloadError
from bfl_async.models.headers import kind_of
from bfl_async.results.incoming import ANYTHING, HEAD_BYTES, RESULT_TYPES, Download, Part, Place, problem_of
from bfl_async.types.held import HeldImage


def check_held(image: HeldImage, place: Place | None, task_id: str, *, unchecked: bool) -> Download:
    """Return an image's bytes, checked. Blocks for some milliseconds at most.

    Args:
        place: Chooses the file for the bytes; nothing is written here. None keeps them in memory.
        unchecked: Take bytes of any type, whole or not.
    Raises:
        DownloadError: They are not a whole image. Another try would find the same.
    """
    data = image.data
    kind = kind_of(data[:HEAD_BYTES])
    known = None if kind is None else RESULT_TYPES.get(kind)
    problem: str | None
    if kind is None or known is None:
        kind, problem = ANYTHING, "bytes which are no image or video that a result is"
    elif len(data) > known.max_bytes:
        problem = f"{len(data)} bytes of {kind}, more than one may have"
    else:
        fault = problem_of(kind, io.BytesIO(data), len(data))
        problem = fault and f"{kind} that {fault}"
    if problem is not None and not unchecked:
        raise DownloadError(f"the answer to the submit held {problem}", task_id=task_id)
    return Download(data, kind, part=None if place is None else Part(place))
