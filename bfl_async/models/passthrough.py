"""Models that this release does not know: sent as they are, files as base64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, PlainValidator, PrivateAttr

from bfl_async.models._base import EXTRA_BODY, ImageRequest, Shown
from bfl_async.models.media import is_heavy
from bfl_async.models.open_values import files_in, is_secret, load_open, shown_open, take_field
from bfl_async.types.common import JSON


class PassThroughRequest(ImageRequest):
    """A request for a model that the catalog does not know. Its fields are checked by the server alone.

    A `Path`, `bytes`, a binary file or a Pillow image may stand anywhere in a field, and is sent as base64. A text is
    sent unchanged. Made by `request(name, **fields)`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    # Written by pydantic; a field may have any name.
    __pydantic_extra__: dict[str, Annotated[object, PlainValidator(take_field)]]

    _name: str = PrivateAttr(default="")

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        return self._name

    @property
    def has_files(self) -> bool:
        """True when `body` reads or encodes files: it then belongs in a worker thread."""
        return is_heavy(self.__pydantic_extra__) or super().has_files

    @property
    def takes_prompt(self) -> bool:
        """True if it was given a prompt, or nothing at all: what else the model takes is not known."""
        return "prompt" in self.__pydantic_extra__ or not (self.__pydantic_extra__ or self.extra_body)

    @property
    def given_prompt(self) -> object:
        """The prompt that was given; None without one. What `extra_body` has is not looked at."""
        return self.__pydantic_extra__.get("prompt")

    def media(self) -> dict[str, object]:
        """Return the fields that hold files; which texts are URLs of images is not known."""
        return {name: value for name, value in self.__pydantic_extra__.items() if any(files_in(value))}

    def own_body(self) -> Mapping[str, JSON]:
        """Return the body without `extra_body`. Blocks.

        Raises:
            InvalidRequestError: A file cannot be read, or is too large; nothing was sent.
        """
        return self._encoded(self.__pydantic_extra__, lambda _, value: load_open(value))

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        # One that failed its checks has no fields yet, and a traceback with local variables shows its repr.
        fields = getattr(self, "__pydantic_extra__", None)
        if fields is None:
            return
        yield from ((name, Shown(shown_open(value))) for name, value in fields.items() if not is_secret(name))
        if self.extra_body is not None:
            yield EXTRA_BODY, self.extra_body

    @classmethod
    def named(cls, name: str, fields: Mapping[str, object]) -> PassThroughRequest:
        """Return a request for the model `name`.

        Raises:
            pydantic.ValidationError: A field's value is neither JSON nor a file.
        """
        made = cls.model_validate(dict(fields))
        made._name = name
        return made
