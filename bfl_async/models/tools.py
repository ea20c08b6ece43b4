"""Requests for `flux-tools`. Source: BFL OpenAPI, read 2026-09-19; video edit: BFL's page, read 2026-09-25."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from bfl_async.models._fields import (
    Image,
    OutputFormat,
    SidePx,
    Tolerance4,
    Tolerance5,
    User,
    Video,
    Webhook,
)
from bfl_async.models._masked import Masked


def _no_bool(value: object) -> object:
    """True equals 1 in Python, and not in JSON."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be 0 or 1, and no bool")
    return value


class OutpaintingV1(User):
    """Grow an image to `width` x `height` px, up to 4 MP in all. It takes no seed.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/outpainting-v1"

    input_image: Image
    width: SidePx
    height: SidePx
    auto_crop: bool = False
    safety_tolerance: Tolerance5 = 2
    output_format: OutputFormat | None = "png"
    prompt: str | None = None
    reference_offset_x: int | None = None
    reference_offset_y: int | None = None
    mode: Literal["high", "fast"] = "high"


class _Seeded(Webhook):
    seed: int | None = None
    safety_tolerance: Tolerance5 = 2


class EraseV1(_Seeded, Masked):
    """Erase what is white in the mask; it is widened by `dilate_pixels` px, up to 25.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/erase-v1"

    image: Image
    mask: Image
    dilate_pixels: Annotated[int, Field(ge=0, le=25)] = 10
    output_format: OutputFormat | None = "png"


class DeblurV1(_Seeded):
    """Sharpen an image of up to 4 MP.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/deblur-v1"

    image: Image
    output_format: OutputFormat | None = "png"


class _VirtualTryOn(_Seeded):
    prompt: str
    person: Image
    garment: Image
    output_format: OutputFormat | None = "jpeg"


class VirtualTryOnV1(_VirtualTryOn):
    """Dress a person in a garment; an input of more than 2 MP is scaled down.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/vto-v1"


class VirtualTryOnV2(_VirtualTryOn):
    """Dress a person in a garment, up to 4 MP.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/vto-v2"


class VideoEditV1(User):
    """Edit a video by a prompt. Its result's URL lasts about an hour.

    Source: BFL's page on video edit, read 2026-09-25.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/video-edit-v1"

    video: Video
    prompt: Annotated[str, Field(min_length=1, max_length=4096)]
    safety_tolerance: Tolerance4 = 2


class VideoUpscaleV1(Webhook):
    """Enlarge a video by a factor from 1.5 to 3; `creativity` 0 is precise, 1 creative.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/video-upscale-v1"

    input_video: Video
    prompt: str = ""
    creativity: Annotated[Literal[0, 1], BeforeValidator(_no_bool)] = 1
    upscale_factor: Annotated[float, Field(ge=1.5, le=3)] = 2
    safety_tolerance: Tolerance4 = 2
