"""FLUX.2 request classes. Source of every bound: BFL OpenAPI, read 2026-09-19."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bfl_async.models._base import ImageRequest
from bfl_async.models.flux1 import ImageText, OutputFormat, UserId, WebhookURL

# The schema's default of 0 is below its own minimum of 64: a side is either left out or at least 64.
SidePx = Annotated[int, Field(ge=64)]


class _Flux2(ImageRequest):
    """Fields that the FLUX.2 models share. Images: an http(s) URL or base64."""

    prompt: str
    input_image: ImageText = None
    input_image_2: ImageText = None
    input_image_3: ImageText = None
    input_image_4: ImageText = None
    seed: int | None = None
    width: SidePx | None = None
    height: SidePx | None = None
    safety_tolerance: Annotated[int, Field(ge=0, le=5)] = 2
    output_format: OutputFormat | None = "jpeg"
    webhook_url: WebhookURL | None = None
    webhook_secret: Annotated[str | None, Field(repr=False)] = None
    user: UserId | None = None


class Flux2Pro(_Flux2):
    """Generate or edit an image with FLUX.2 [pro]; up to 8 input images. Sizes in px, from 64.

    The server rewrites the prompt unless `disable_pup` is True; `Result.prompt` is the rewritten one.
    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-pro"

    input_image_5: ImageText = None
    input_image_6: ImageText = None
    input_image_7: ImageText = None
    input_image_8: ImageText = None
    disable_pup: bool = False


class Flux2Klein4B(_Flux2):
    """Generate or edit an image with FLUX.2 [klein] 4B; up to 4 input images. Sizes in px, from 64.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-4b"
