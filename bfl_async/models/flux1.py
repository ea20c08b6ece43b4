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
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    safety_tolerance: Tolerance6 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    output_format: OutputFormat | None = "jpeg"
    """File format of the result. Default: jpeg."""


class Sized(Flux1):
    """Text to image at a given size in px, 256 to 1440, multiples of 32."""

    image_prompt: OptionalImage = None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: Flux1SidePx = 1024
    """Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024."""
    height: Flux1SidePx = 768
    """Height of the result in px. Range: 256 to 1440, multiple of 32. Default: 768."""
    prompt_upsampling: bool = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""


class Finetuned(ImageRequest):
    """A finetune of the account's own: its id, and how strongly it works."""

    finetune_id: str
    """The id of a finetune of your account, or of a public LoRA. Required."""


class FluxPro11(Sized):
    """Generate an image with FLUX1.1 [pro]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxPro11Inputs`, read 2026-09-19.
    Price: 4 credits.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1"

    prompt: str | None = ""
    """What to make, in words."""


class FluxDev(Sized):
    """Generate an image with FLUX.1 [dev]. Sizes in px, 256 to 1440, multiples of 32.

    Source: BFL OpenAPI `FluxDevInputs`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-dev"

    prompt: str = ""
    """What to make, in words."""
    steps: Steps1 | None = 28
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 28."""
    guidance: Guidance5 | None = 3.0
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 5. Default:
    3.0.
    """


class _Ultra(Flux1):
    prompt: str | None = ""
    """What to make, in words."""
    prompt_upsampling: bool = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    aspect_ratio: Ratio = "16:9"
    """Width to height, such as `16:9`. Default: 16:9."""
    image_prompt: OptionalImage = None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    image_prompt_strength: Share = 0.1
    """Weight of the image prompt against the text. Range: 0 to 1. Default: 0.1."""


class FluxPro11Ultra(_Ultra):
    """Generate an image of about 4 MP with FLUX1.1 [pro] ultra; ratios from 21:9 to 9:21.

    Source: BFL OpenAPI `FluxUltraInput`, read 2026-09-19.
    Price: 6 credits.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1-ultra"

    raw: bool = False
    """Whether the image looks less processed. Default: False."""


class FluxPro11UltraFinetuned(Finetuned, _Ultra):
    """Generate an image with a finetune of FLUX1.1 [pro] ultra.

    Source: BFL OpenAPI `FinetuneFluxUltraInput`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.1-ultra-finetuned"

    finetune_strength: FinetuneStrength = 1.2
    """How strongly the finetune works. Range: 0 to 2. Default: 1.2."""
