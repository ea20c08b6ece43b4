"""Whether a request says what it wants. A request without its main input is accepted by the API and paid for.

Source: BFL's OpenAPI description, read 2026-09-19: the prompt of FLUX.1 models may be left out, and one that is
required may be blank. A call of `flux-pro-1.1` without any field costs 4 credits.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from bfl_async.errors import InvalidRequestError
from bfl_async.models import as_request
from bfl_async.models._base import ImageRequest

# Separators, controls and invisible marks: a text of these alone says nothing.
_INVISIBLE = ("Z", "C")


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    return all(unicodedata.category(char)[0] in _INVISIBLE for char in text)


def missing_input(request: ImageRequest) -> str | None:
    """Return what is wrong where a request has neither a prompt nor an image or video; None if it says what it wants.

    A model without a prompt needs none. A prompt in `extra_body` counts, even if it is blank: the options of the
    command line put it there where a person asks for an image without a prompt.
    """
    if not request.takes_prompt:
        return None
    if isinstance(request.extra_body, Mapping) and "prompt" in request.extra_body:
        return None
    prompt = request.given_prompt
    if prompt is not None and not (isinstance(prompt, str) and is_blank(prompt)):
        return None
    if any(_has_content(value) for value in request.media().values()):
        return None
    return "is missing" if prompt is None else "is blank"


def _has_content(value: object) -> bool:
    """Return whether a field for images and videos holds one."""
    return value is not None and value not in ("", b"", (), [])


def check_main_input(request: ImageRequest) -> None:
    """Refuse a request without its main input, which would cost money.

    In code, a prompt that is given counts even if it is blank: `prompt=""` asks for an image without one.

    Raises:
        InvalidRequestError: It has neither a prompt nor an image or video.
    """
    if request.given_prompt is None and (problem := missing_input(request)) is not None:
        raise InvalidRequestError(
            f"invalid request for {request.model}: prompt: {problem}; prompt='' asks for an image without one",
            errors=[("prompt", problem)],
        )


def sendable_request(item: object) -> ImageRequest:
    """Return `item` if it is a request that says what it wants.

    Raises:
        InvalidRequestError: It is something else, or lacks its main input.
    """
    wanted = as_request(item)
    check_main_input(wanted)
    return wanted
