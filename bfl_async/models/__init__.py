"""Request classes by family, and the catalog."""

from __future__ import annotations

import sys
import warnings

from pydantic import ValidationError

from bfl_async.errors import InvalidRequestError
from bfl_async.models._base import ImageRequest, check_model_name, invalid_request
from bfl_async.models.catalog import CATALOG, ModelInfo, model_info
from bfl_async.models.flux1 import FluxDev, FluxPro, FluxPro11
from bfl_async.models.flux2 import Flux2Klein4B, Flux2Pro
from bfl_async.models.passthrough import PassThroughRequest

__all__ = [
    "CATALOG",
    "Flux2Klein4B",
    "Flux2Pro",
    "FluxDev",
    "FluxPro",
    "FluxPro11",
    "ImageRequest",
    "ModelInfo",
    "PassThroughRequest",
    "as_request",
    "check_model_name",
    "model_info",
    "request",
]

_CLASSES: dict[str, type[ImageRequest]] = {
    cls.endpoint.removeprefix("/v1/"): cls for cls in (FluxPro11, FluxPro, FluxDev, Flux2Pro, Flux2Klein4B)
}

_OURS = frozenset(_CLASSES.values())

_warned: set[str] = set()  # unknown names that were warned of; written by request() only


def request(model: str, /, **fields: object) -> ImageRequest:
    """Make a request by its model's name.

    A name that the catalog does not know is sent as it is, with one warning: the API gets new models more
    often than this package gets releases.

    Args:
        model: The path after `/v1/`, such as `flux-pro-1.1`.
        fields: The model's fields; those left out are not sent.
    Raises:
        InvalidRequestError: The name is none, or a field does not fit; nothing was sent.
    """
    name = check_model_name(model)
    cls = _CLASSES.get(name)
    try:
        if cls is not None:
            return cls.model_validate(fields)
        made = PassThroughRequest.named(name, fields)
    except ValidationError as exc:
        raise invalid_request(name, exc, cls.model_fields if cls is not None else ()) from exc
    if name not in _warned and len(_warned) < 1000:
        _warned.add(name)
        warnings.warn(
            f"the model {name!r} is not in this release's catalog: its fields are sent unchecked",
            stacklevel=_frames_to_the_caller(),
        )
    return made


def _frames_to_the_caller() -> int:
    """Return the `stacklevel` of the first frame outside this package: the line that named the model."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "bfl_async":
        frame = frame.f_back
        level += 1
    return level


def as_request(item: object) -> ImageRequest:
    """Return `item` if it is a request.

    Raises:
        InvalidRequestError: It is something else.
    """
    if isinstance(item, ImageRequest):
        if type(item) in _OURS:
            return item
        check_model_name(getattr(item, "model", None))  # a class of the caller's own
        return item
    raise InvalidRequestError(
        f"not a request but {type(item).__name__}: pass a request class, or request('flux-pro-1.1', prompt=...)",
        errors=[("request", f"is a {type(item).__name__}")],
    )
