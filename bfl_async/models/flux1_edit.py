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
    mask: OptionalImage = None


class FluxProFill(_Fill):
    """Fill the white part of a mask, or an image's transparent part, with FLUX.1 Fill [pro].

    Source: BFL OpenAPI `FluxProFillInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-fill"

    prompt: str | None = ""
    steps: Steps15 | None = 50
    prompt_upsampling: bool | None = False
    guidance: Guidance100 | None = 60


class FluxProFillFinetuned(Finetuned, _Fill):
    """Fill a masked part of an image with a finetune.

    Source: BFL OpenAPI `FinetuneFluxProFillInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-fill-finetuned"

    finetune_strength: FinetuneStrength = 1.1
    prompt: str = ""
    steps: Steps15 = 50
    prompt_upsampling: bool = False
    guidance: Guidance100 = 60


class FluxProExpand(Flux1):
    """Grow an image, from 256 px a side, by so many px at each side, up to 2048.

    Source: BFL OpenAPI `FluxProExpandInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-expand"

    image: ExpandImage
    top: ExpandPx | None = 0
    bottom: ExpandPx | None = 0
    left: ExpandPx | None = 0
    right: ExpandPx | None = 0
    prompt: str | None = ""
    steps: Steps15 | None = 50
    prompt_upsampling: bool | None = False
    guidance: Guidance100 | None = 60


class _Kontext(Flux1):
    prompt: str
    input_image: OptionalImage = None
    input_image_2: OptionalImage = None
    input_image_3: OptionalImage = None
    input_image_4: OptionalImage = None
    aspect_ratio: Ratio | None = None
    output_format: OutputFormat | None = "png"
    prompt_upsampling: bool = False


class FluxKontextPro(_Kontext):
    """Generate or edit an image of about 1 MP with FLUX.1 Kontext [pro]; ratios from 3:7 to 7:3.

    Source: BFL OpenAPI `FluxKontextProInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-kontext-pro"


class FluxKontextMax(_Kontext):
    """Generate or edit an image of about 1 MP with FLUX.1 Kontext [max]; ratios from 3:7 to 7:3.

    Source: BFL OpenAPI `FluxKontextProInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-kontext-max"
