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
    """

    endpoint: ClassVar[str] = "/v1/flux-pro"

    prompt: str | None = ""
    steps: Steps1 | None = 40
    guidance: Guidance5 | None = 2.5
    interval: Annotated[float, Field(ge=1, le=4)] | None = 2.0


class FluxProFinetuned(Finetuned, FluxPro):
    """Generate an image with a finetune of FLUX.1 [pro]. Retired on 2025-10-31.

    Source: the fields of `flux-pro`, and those that all finetunes have.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-finetuned"

    finetune_strength: FinetuneStrength = 1.1


class _Control(Flux1):
    """An image that guides the structure, plain or as the edge or depth image made from it."""

    prompt: str | None = ""
    control_image: OptionalImage = None
    preprocessed_image: OptionalImage = None
    prompt_upsampling: bool = False
    steps: Steps15 = 50
    guidance: ControlGuidance = 30

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        if self.control_image is None and self.preprocessed_image is None:
            raise PydanticCustomError("missing", "control_image or preprocessed_image is required")
        return self


class FluxProCanny(_Control):
    """Generate an image along the edges of another. Retired on 2025-10-31.

    Source: BFL's Python SDK, read 2025-11-14.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-canny"

    canny_low_threshold: Threshold | None = 50
    canny_high_threshold: Threshold | None = 200


class FluxProDepth(_Control):
    """Generate an image along the depths of another. Retired on 2025-10-31.

    Source: BFL's Python SDK, read 2025-11-14.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-depth"


class FluxProCannyFinetuned(Finetuned, FluxProCanny):
    """Generate an image along the edges of another with a finetune. Retired on 2025-10-31.

    Source: the fields of `flux-pro-1.0-canny`, and those that all finetunes have.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-canny-finetuned"

    finetune_strength: FinetuneStrength = 1.1


class FluxProDepthFinetuned(Finetuned, FluxProDepth):
    """Generate an image along the depths of another with a finetune. Retired on 2025-10-31.

    Source: the fields of `flux-pro-1.0-depth`, and those that all finetunes have.
    """

    endpoint: ClassVar[str] = "/v1/flux-pro-1.0-depth-finetuned"

    finetune_strength: FinetuneStrength = 1.1
