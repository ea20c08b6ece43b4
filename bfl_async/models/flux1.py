"""FLUX.1 request classes. Source of every bound: BFL OpenAPI, read 2026-09-19."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bfl_async.models._base import ImageRequest

OutputFormat = Literal["jpeg", "png", "webp"]

SidePx = Annotated[int, Field(ge=256, le=1440, multiple_of=32)]  # both ends count
WebhookURL = Annotated[str, Field(min_length=1, max_length=2083)]
UserId = Annotated[str, Field(min_length=1, max_length=256)]
ImageText = Annotated[str | None, Field(repr=False)]  # base64: megabytes that no log should hold


class _Flux1(ImageRequest):
    """Fields that the text-to-image models of FLUX.1 share."""

    image_prompt: ImageText = None
    width: SidePx = 1024
    height: SidePx = 768
    prompt_upsampling: bool = False
    seed: int | None = None
    safety_tolerance: Annotated[int, Field(ge=0, le=6)] = 2
    output_format: OutputFormat | None = "jpeg"
    webhook_url: WebhookURL | None = None
    webhook_secret: Annotated[str | None, Field(repr=False)] = None
    user: UserId | None = None


class FluxPro11(_Flux1):
    """Generate an image with FLUX1.1 [pro]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxPro11Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1"

    prompt: str | None = ""


class FluxDev(_Flux1):
    """Generate an image with FLUX.1 [dev]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxDevInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-dev"

    prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=50)] | None = 28
    guidance: Annotated[float, Field(ge=1.5, le=5)] | None = 3.0


class FluxPro(_Flux1):
    """Generate an image with FLUX.1 [pro], the model of BFL's first guide.

    Source: BFL's Python SDK, read 2025-11-14; the endpoint left the OpenAPI file on 2025-10-31.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro"

    prompt: str | None = ""
    steps: Annotated[int, Field(ge=1, le=50)] | None = 40
    guidance: Annotated[float, Field(ge=1.5, le=5)] | None = 2.5
    interval: Annotated[float, Field(ge=1, le=4)] | None = 2.0
