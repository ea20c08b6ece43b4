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
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/outpainting-v1"

    input_image: Image
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    width: SidePx
    """Width of the result in px. Range: from 64. Required."""
    height: SidePx
    """Height of the result in px. Range: from 64. Required."""
    auto_crop: bool = False
    """Whether the server crops the input image. Default: False."""
    safety_tolerance: Tolerance5 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    output_format: OutputFormat | None = "png"
    """File format of the result. Default: png."""
    prompt: str | None = None
    """What to make, in words."""
    reference_offset_x: int | None = None
    """Where the input image lies in the new one, from the left, in px."""
    reference_offset_y: int | None = None
    """Where the input image lies in the new one, from the top, in px."""
    mode: Literal["high", "fast"] = "high"
    """Which kind of request it is. Default: high."""


class _Seeded(Webhook):
    seed: int | None = None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    safety_tolerance: Tolerance5 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""


class EraseV1(_Seeded, Masked):
    """Erase what is white in the mask; it is widened by `dilate_pixels` px, up to 25.

    Source: BFL OpenAPI, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/erase-v1"

    image: Image
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    mask: Image
    """White where the image is changed, black where it stays. It has the size of the image. Files: jpeg, png
    or webp, at most 20 MB and 20 MP. Required.
    """
    dilate_pixels: Annotated[int, Field(ge=0, le=25)] = 10
    """By how many pixels the mask is widened. Range: 0 to 25. Default: 10."""
    output_format: OutputFormat | None = "png"
    """File format of the result. Default: png."""


class DeblurV1(_Seeded):
    """Sharpen an image of up to 4 MP.

    Source: BFL OpenAPI, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/deblur-v1"

    image: Image
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    output_format: OutputFormat | None = "png"
    """File format of the result. Default: png."""


class _VirtualTryOn(_Seeded):
    prompt: str
    """What to make, in words. Required."""
    person: Image
    """The image of the person. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    garment: Image
    """The image of the garment. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    output_format: OutputFormat | None = "jpeg"
    """File format of the result. Default: jpeg."""


class VirtualTryOnV1(_VirtualTryOn):
    """Dress a person in a garment; an input of more than 2 MP is scaled down.

    Source: BFL OpenAPI, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/vto-v1"


class VirtualTryOnV2(_VirtualTryOn):
    """Dress a person in a garment, up to 4 MP.

    Source: BFL OpenAPI, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/vto-v2"


class VideoEditV1(User):
    """Edit a video by a prompt. Its result's URL lasts about an hour.

    Source: BFL's page on video edit, read 2026-09-25.
    Price: 3 credits per second of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/video-edit-v1"

    video: Video
    """The video to edit. Files: mp4, at most 200 MB. Required. The price depends on it. Price: 3 credits per
    second of the input.
    """
    prompt: Annotated[str, Field(min_length=1, max_length=4096)]
    """What to make, in words. Range: 1 to 4096 long. Required."""
    safety_tolerance: Tolerance4 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""


class VideoUpscaleV1(Webhook):
    """Enlarge a video by a factor from 1.5 to 3; `creativity` 0 is precise, 1 creative.

    Source: BFL OpenAPI, read 2026-09-19.
    Price: at least 7 or 10 credits per megapixel and second, by creativity.
    """

    endpoint: ClassVar[str] = "/v1/flux-tools/video-upscale-v1"

    input_video: Video
    """The video to enlarge. Files: mp4, at most 200 MB. Required. The price depends on it. Price: at least 7
    or 10 credits per megapixel and second, by creativity.
    """
    prompt: str = ""
    """What to make, in words."""
    creativity: Annotated[Literal[0, 1], BeforeValidator(_no_bool)] = 1
    """How freely details are added: 0 is precise, 1 is creative. Default: 1. The price depends on it. Price:
    at least 7 or 10 credits per megapixel and second, by creativity.
    """
    upscale_factor: Annotated[float, Field(ge=1.5, le=3)] = 2
    """By how much each side grows. Range: 1.5 to 3. Default: 2. The price depends on it. Price: at least 7
    or 10 credits per megapixel and second, by creativity.
    """
    safety_tolerance: Tolerance4 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
