"""FLUX.1 request classes. Source: BFL OpenAPI, read 2026-09-19. Those that it no longer has: retired.py."""

from typing import ClassVar

from bfl_async.models._base import ImageRequest
from bfl_async.models._fields import (
    FinetuneStrength,
    Flux1SidePx,
    Guidance5,
    OptionalImage,
    OutputFormat,
    Ratio,
    Share,
    Steps1,
    Tolerance6,
    Webhook,
)


class Flux1(Webhook):
    """What all models of FLUX.1 take."""

    seed: int | None = None
    safety_tolerance: Tolerance6 = 2
    output_format: OutputFormat | None = "jpeg"


class Sized(Flux1):
    """Text to image at a given size in px, 256 to 1440, multiples of 32."""

    image_prompt: OptionalImage = None
    width: Flux1SidePx = 1024
    height: Flux1SidePx = 768
    prompt_upsampling: bool = False


class Finetuned(ImageRequest):
    """A finetune of the account's own: its id, and how strongly it works."""

    finetune_id: str


class FluxPro11(Sized):
    """Generate an image with FLUX1.1 [pro]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxPro11Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1"

    prompt: str | None = ""


class FluxDev(Sized):
    """Generate an image with FLUX.1 [dev]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxDevInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-dev"

    prompt: str = ""
    steps: Steps1 | None = 28
    guidance: Guidance5 | None = 3.0


class _Ultra(Flux1):
    prompt: str | None = ""
    prompt_upsampling: bool = False
    aspect_ratio: Ratio = "16:9"
    image_prompt: OptionalImage = None
    image_prompt_strength: Share = 0.1


class FluxPro11Ultra(_Ultra):
    """Generate an image of about 4 MP with FLUX1.1 [pro] ultra; ratios from 21:9 to 9:21.

    Source: BFL OpenAPI `FluxUltraInput`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1-ultra"

    raw: bool = False


class FluxPro11UltraFinetuned(Finetuned, _Ultra):
    """Generate an image with a finetune of FLUX1.1 [pro] ultra.

    Source: BFL OpenAPI `FinetuneFluxUltraInput`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1-ultra-finetuned"

    finetune_strength: FinetuneStrength = 1.2
