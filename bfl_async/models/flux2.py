"""FLUX.2 request classes. Source: BFL OpenAPI, read 2026-09-19; of the finetuned ones, BFL's LoRA page."""

from typing import ClassVar

from bfl_async.models._fields import (
    Guidance10,
    OptionalImage,
    OutputFormat,
    SidePx,
    Steps1,
    Tolerance5,
    Webhook,
)


class _Flux2(Webhook):
    """What all models of FLUX.2 take: a prompt, and up to 4 images to edit or to look at.

    A side is left out or has at least 64 px: the schema's default of 0 is below its own minimum.
    """

    prompt: str
    input_image: OptionalImage = None
    input_image_2: OptionalImage = None
    input_image_3: OptionalImage = None
    input_image_4: OptionalImage = None
    seed: int | None = None
    width: SidePx | None = None
    height: SidePx | None = None
    safety_tolerance: Tolerance5 = 2
    output_format: OutputFormat | None = "jpeg"


class _EightImages(_Flux2):
    """Up to 8 images."""

    input_image_5: OptionalImage = None
    input_image_6: OptionalImage = None
    input_image_7: OptionalImage = None
    input_image_8: OptionalImage = None


class _Flux2Pro(_EightImages):
    disable_pup: bool = False


class Flux2Pro(_Flux2Pro):
    """Generate or edit an image with FLUX.2 [pro]; up to 8 input images. Sizes in px, from 64.

    The server rewrites the prompt unless `disable_pup` is True; `Result.prompt` is the rewritten one.
    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-pro"


class Flux2ProPreview(_Flux2Pro):
    """Generate or edit an image with the preview of the next FLUX.2 [pro]; see `Flux2Pro`.

    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-pro-preview"


class Flux2Max(_Flux2Pro):
    """Generate or edit an image with FLUX.2 [max]; see `Flux2Pro`.

    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-max"


class Flux2Flex(_EightImages):
    """Generate or edit an image with FLUX.2 [flex]; up to 8 input images. Sizes in px, from 64.

    The server rewrites the prompt unless `prompt_upsampling` is False.
    Source: BFL OpenAPI `Flux2FlexInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-flex"

    prompt_upsampling: bool | None = True
    input_image_blob_path: str | None = None
    guidance: Guidance10 | None = 5.0
    steps: Steps1 | None = 50


class Flux2Klein4B(_Flux2):
    """Generate or edit an image with FLUX.2 [klein] 4B; up to 4 input images. Sizes in px, from 64.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-4b"


class Flux2Klein9B(_Flux2):
    """Generate or edit an image with FLUX.2 [klein] 9B; up to 4 input images. Sizes in px, from 64.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b"


class Flux2Klein9BPreview(_Flux2):
    """Generate or edit an image with the preview of FLUX.2 [klein] 9B; up to 4 input images.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-preview"


class _Finetuned(_Flux2):
    """A LoRA of the account's own, or `organisation/name`. No bounds of its strength are documented.

    Source: BFL's page on inference with a LoRA of FLUX.2, read 2026-09-19; a public beta since 2026-04-23.
    """

    finetune_id: str
    finetune_strength: float = 1.0


class Flux2Klein4BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 4B."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-4b-finetuned"


class Flux2Klein9BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-finetuned"


class Flux2Klein9BKVFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B with a key-value cache."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-kv-finetuned"


class Flux2Klein9BKVBF16Finetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B with a key-value cache, in bfloat16."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-kv-bf16-finetuned"


class Flux2KleinBase4BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of the base model of FLUX.2 [klein] 4B."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-base-4b-finetuned"


class Flux2KleinBase9BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of the base model of FLUX.2 [klein] 9B."""

    endpoint: ClassVar[str] = "/v1/flux-2-klein-base-9b-finetuned"
