"""Models that this release does not know: sent as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from pydantic import ConfigDict, JsonValue, PrivateAttr

from bfl_async.models._base import ImageRequest


class PassThroughRequest(ImageRequest):
    """A request for a model that the catalog does not know. Its fields are checked by the server alone.

    Made by `request(name, **fields)`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, JsonValue]

    _name: str = PrivateAttr(default="")

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        return self._name

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        return ((name, value) for name, value in super().__repr_args__() if not _is_secret(name))

    @classmethod
    def named(cls, name: str, fields: dict[str, object]) -> PassThroughRequest:
        """Return a request for the model `name`.

        Raises:
            pydantic.ValidationError: A field's value cannot be JSON.
        """
        made = cls.model_validate(fields)
        made._name = name
        return made


_SECRETS = re.compile(r"secret|token|password|credential|api_?key|signature", re.IGNORECASE)


def _is_secret(name: str | None) -> bool:
    """Return whether a field's name says that its value must not be shown."""
    return name is not None and _SECRETS.search(name) is not None
