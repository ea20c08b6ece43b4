"""Requests for models that BFL retired on 2025-10-31: out of its OpenAPI file, and sent as before.

Source: BFL's Python SDK, read 2025-11-14.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bfl_async.models._fields import (
    ControlGuidance,
    FinetuneStrength,
    Guidance5,
    OptionalImage,
    Steps1,
    Steps15,
    Threshold,
)
from bfl_async.models.flux1 import Finetuned, Flux1, Sized


class FluxPro(Sized):
    """Generate an image with FLUX.1 [pro], the model of BFL's first guide. Retired on 2025-10-31.

    Source: BFL's Python SDK, read 2025-11-14.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro"

    prompt: str | None = ""
    """What to make, in words."""
    steps: Steps1 | None = 40
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 40."""
    guidance: Guidance5 | None = 2.5
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 5. Default:
    2.5.
    """
    interval: Annotated[float, Field(ge=1, le=4)] | None = 2.0
    """Trades how closely the prompt is followed for variety. Range: 1 to 4. Default: 2.0."""


class FluxProFinetuned(Finetuned, FluxPro):
    """Generate an image with a finetune of FLUX.1 [pro]. Retired on 2025-10-31.

    Source: the fields of `flux-pro`, and those that all finetunes have.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-finetuned"

    finetune_strength: FinetuneStrength = 1.1
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""


class _Control(Flux1):
    """An image that guides the structure, plain or as the edge or depth image made from it."""

    prompt: str | None = ""
    """What to make, in words."""
    control_image: OptionalImage = None
    """The image whose structure is followed; its edges or depths are found by the server. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    preprocessed_image: OptionalImage = None
    """The edge or depth image itself, instead of `control_image`. Files: jpeg, png or webp, at most 20 MB
    and 20 MP.
    """
    prompt_upsampling: bool = False
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    steps: Steps15 = 50
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: ControlGuidance = 30
    """How closely the image follows the prompt. High values look less natural. Range: 1 to 100. Default: 30."""

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        if self.control_image is None and self.preprocessed_image is None:
            raise PydanticCustomError("missing", "control_image or preprocessed_image is required")
        return self


class FluxProCanny(_Control):
    """Generate an image along the edges of another. Retired on 2025-10-31.

    Source: BFL's Python SDK, read 2025-11-14.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-canny"

    canny_low_threshold: Threshold | None = 50
    """Lower threshold of the edge detection. Range: 0 to 500. Default: 50."""
    canny_high_threshold: Threshold | None = 200
    """Upper threshold of the edge detection. Range: 0 to 500. Default: 200."""


class FluxProDepth(_Control):
    """Generate an image along the depths of another. Retired on 2025-10-31.

    Source: BFL's Python SDK, read 2025-11-14.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-depth"


class FluxProCannyFinetuned(Finetuned, FluxProCanny):
    """Generate an image along the edges of another with a finetune. Retired on 2025-10-31.

    Source: the fields of `flux-pro-1.0-canny`, and those that all finetunes have.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-canny-finetuned"

    finetune_strength: FinetuneStrength = 1.1
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""


class FluxProDepthFinetuned(Finetuned, FluxProDepth):
    """Generate an image along the depths of another with a finetune. Retired on 2025-10-31.

    Source: the fields of `flux-pro-1.0-depth`, and those that all finetunes have.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-depth-finetuned"

    finetune_strength: FinetuneStrength = 1.1
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
