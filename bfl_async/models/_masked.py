"""What models that take an image and its mask share."""

from typing import ClassVar

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from bfl_async.models._base import ImageRequest, size_problem


class Masked(ImageRequest):
    """An image and its mask, which must have the same size."""

    same_size: ClassVar[tuple[str, str] | None] = ("image", "mask")

    @field_validator("mask", check_fields=False)
    @classmethod
    def _check_size(cls, mask: object, info: ValidationInfo) -> object:
        image = info.data.get("image")
        # A text may be 20 MB long, and a path is read when it is sent: `body` looks at all of them.
        if isinstance(mask, bytes) and isinstance(image, bytes) and (problem := size_problem(image, mask)):
            raise PydanticCustomError("media", "{problem}", {"problem": problem})
        return mask
