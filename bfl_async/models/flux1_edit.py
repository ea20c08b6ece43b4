"""FLUX.1 request classes that begin with an image: Fill, Expand and Kontext.

They have a module of their own because a class costs a millisecond at import. Source: BFL OpenAPI, read 2026-09-19.
"""

from typing import ClassVar

from bfl_async.models._fields import (
    ExpandImage,
    ExpandPx,
    FinetuneStrength,
    Guidance100,
    Image,
    OptionalImage,
    OutputFormat,
    Ratio,
    Steps15,
)
from bfl_async.models._masked import Masked
from bfl_async.models.flux1 import Finetuned, Flux1


class _Fill(Flux1, Masked):
    image: Image
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    mask: OptionalImage = None
    """White where the image is changed, black where it stays. It has the size of the image. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """


class FluxProFill(_Fill):
    """Fill the white part of a mask, or an image's transparent part, with FLUX.1 Fill [pro].

    Source: BFL OpenAPI `FluxProFillInputs`, read 2026-09-19.
    Price: 5 credits.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-fill"

    prompt: str | None = ""
    """What to make, in words."""
    steps: Steps15 | None = 50
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    prompt_upsampling: bool | None = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    guidance: Guidance100 | None = 60
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """


class FluxProFillFinetuned(Finetuned, _Fill):
    """Fill a masked part of an image with a finetune.

    Source: BFL OpenAPI `FinetuneFluxProFillInputs`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-fill-finetuned"

    finetune_strength: FinetuneStrength = 1.1
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
    prompt: str = ""
    """What to make, in words."""
    steps: Steps15 = 50
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    prompt_upsampling: bool = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    guidance: Guidance100 = 60
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """


class FluxProExpand(Flux1):
    """Grow an image, from 256 px a side, by so many px at each side, up to 2048.

    Source: BFL OpenAPI `FluxProExpandInputs`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-expand"

    image: ExpandImage
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP, sides from 256 px. Required."""
    top: ExpandPx | None = 0
    """Pixels to add at the top. Range: 0 to 2048. Default: 0."""
    bottom: ExpandPx | None = 0
    """Pixels to add at the bottom. Range: 0 to 2048. Default: 0."""
    left: ExpandPx | None = 0
    """Pixels to add at the left. Range: 0 to 2048. Default: 0."""
    right: ExpandPx | None = 0
    """Pixels to add at the right. Range: 0 to 2048. Default: 0."""
    prompt: str | None = ""
    """What to make, in words."""
    steps: Steps15 | None = 50
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    prompt_upsampling: bool | None = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    guidance: Guidance100 | None = 60
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """


class _Kontext(Flux1):
    prompt: str
    """What to make, in words. Required."""
    input_image: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    aspect_ratio: Ratio | None = None
    """Width to height, such as `16:9`."""
    output_format: OutputFormat | None = "png"
    """File format of the result. Default: png."""
    prompt_upsampling: bool = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""


class FluxKontextPro(_Kontext):
    """Generate or edit an image of about 1 MP with FLUX.1 Kontext [pro]; ratios from 3:7 to 7:3.

    Source: BFL OpenAPI `FluxKontextProInputs`, read 2026-09-19.
    Price: 4 credits.
    """

    endpoint: ClassVar[str] = "/v1/flux-kontext-pro"


class FluxKontextMax(_Kontext):
    """Generate or edit an image of about 1 MP with FLUX.1 Kontext [max]; ratios from 3:7 to 7:3.

    Source: BFL OpenAPI `FluxKontextProInputs`, read 2026-09-19.
    Price: 8 credits.
    """

    endpoint: ClassVar[str] = "/v1/flux-kontext-max"
