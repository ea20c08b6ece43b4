"""The root of all request classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from bfl_async.errors import InvalidRequestError
from bfl_async.types import JSON

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9._-]+)*")


class ImageRequest(BaseModel):
    """One generation, checked on this side. Frozen; fields left out are not sent.

    Raises:
        pydantic.ValidationError: A field is unknown, of the wrong type, or out of its bounds. The client's
            calls and `request()` raise `InvalidRequestError` from it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,  # an error's text must not show prompts and images
        protected_namespaces=(),
    )

    endpoint: ClassVar[str]

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        return self.endpoint.removeprefix("/v1/")

    def body(self) -> Mapping[str, JSON]:
        """Return the JSON body: the fields that were given, as they were given."""
        return cast("Mapping[str, JSON]", self.model_dump(mode="json", exclude_unset=True))

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        given = self.model_fields_set
        return [(name, value) for name, value in super().__repr_args__() if name in given]


def check_model_name(name: object) -> str:
    """Return a model's name.

    Raises:
        InvalidRequestError: It is none: names become part of a URL, so nothing else may stand in them.
    """
    if not isinstance(name, str) or len(name) > 200 or not _NAME.fullmatch(name) or _has_dots(name):
        shown = repr(name[:60]) if isinstance(name, str) else type(name).__name__
        raise InvalidRequestError(
            f"{shown} is not a model name: it is the path after /v1/, such as 'flux-pro-1.1'",
            errors=[("model", "not a model name")],
        )
    return name


def _has_dots(name: str) -> bool:
    return any(part in (".", "..") for part in name.split("/"))


def invalid_request(model: str, exc: ValidationError, known: Iterable[str]) -> InvalidRequestError:
    """Translate pydantic's error; its input values stay out of the text."""
    errors: list[tuple[str, str]] = []
    for item in exc.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in item["loc"]) or "request"
        message = item["msg"]
        if item["type"] == "extra_forbidden":
            message = f"{model} has no such field; it takes {', '.join(known)}"
        errors.append((path, message))
    text = "; ".join(f"{path}: {message}" for path, message in errors)
    return InvalidRequestError(f"invalid request for {model}: {text}", errors=errors)
