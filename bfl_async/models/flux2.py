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
    """What to make, in words. Required."""
    input_image: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_2: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_3: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_4: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    seed: int | None = None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    width: SidePx | None = None
    """Width of the result in px. Range: from 64. The price depends on it."""
    height: SidePx | None = None
    """Height of the result in px. Range: from 64. The price depends on it."""
    safety_tolerance: Tolerance5 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    output_format: OutputFormat | None = "jpeg"
    """File format of the result. Default: jpeg."""


class _EightImages(_Flux2):
    """Up to 8 images."""

    input_image_5: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_6: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_7: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """
    input_image_8: OptionalImage = None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it.
    """


class _Flux2Pro(_EightImages):
    disable_pup: bool = False
    """Whether the prompt is used as it is. By default the server rewrites it. Default: False."""


class Flux2Pro(_Flux2Pro):
    """Generate or edit an image with FLUX.2 [pro]; up to 8 input images. Sizes in px, from 64.

    The server rewrites the prompt unless `disable_pup` is True; `Result.prompt` is the rewritten one.
    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-pro"


class Flux2ProPreview(_Flux2Pro):
    """Generate or edit an image with the preview of the next FLUX.2 [pro]; see `Flux2Pro`.

    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-pro-preview"


class Flux2Max(_Flux2Pro):
    """Generate or edit an image with FLUX.2 [max]; see `Flux2Pro`.

    Source: BFL OpenAPI `Flux2Inputs`, read 2026-09-19.
    Price: 7 credits for the first megapixel, 3 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-max"


class Flux2Flex(_EightImages):
    """Generate or edit an image with FLUX.2 [flex]; up to 8 input images. Sizes in px, from 64.

    The server rewrites the prompt unless `prompt_upsampling` is False.
    Source: BFL OpenAPI `Flux2FlexInputs`, read 2026-09-19.
    Price: at least 5 credits for the first megapixel, 5 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-flex"

    prompt_upsampling: bool | None = True
    """Whether the server rewrites the prompt into a richer one. Default: True."""
    input_image_blob_path: str | None = None
    """Where an input image is stored at BFL. Not described in BFL's pages."""
    guidance: Guidance10 | None = 5.0
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 10. Default:
    5.0.
    """
    steps: Steps1 | None = 50
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 50."""


class Flux2Klein4B(_Flux2):
    """Generate or edit an image with FLUX.2 [klein] 4B; up to 4 input images. Sizes in px, from 64.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    Price: 1.4 credits for the first megapixel, 0.1 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-4b"


class Flux2Klein9B(_Flux2):
    """Generate or edit an image with FLUX.2 [klein] 9B; up to 4 input images. Sizes in px, from 64.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b"


class Flux2Klein9BPreview(_Flux2):
    """Generate or edit an image with the preview of FLUX.2 [klein] 9B; up to 4 input images.

    Source: BFL OpenAPI `Flux2KleinInputs`, read 2026-09-19.
    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-preview"


class _Finetuned(_Flux2):
    """A LoRA of the account's own, or `organisation/name`. No bounds of its strength are documented.

    Source: BFL's page on inference with a LoRA of FLUX.2, read 2026-09-19; a public beta since 2026-04-23.
    """

    finetune_id: str
    """The id of a finetune of your account, or of a public LoRA. Required."""
    finetune_strength: float = 1.0
    """How strongly the finetune works. Default: 1.0."""


class Flux2Klein4BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 4B.

    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-4b-finetuned"


class Flux2Klein9BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B.

    Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of the input.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-finetuned"


class Flux2Klein9BKVFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B with a key-value cache.

    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-kv-finetuned"


class Flux2Klein9BKVBF16Finetuned(_Finetuned):
    """Generate or edit an image with a LoRA of FLUX.2 [klein] 9B with a key-value cache, in bfloat16.

    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-9b-kv-bf16-finetuned"


class Flux2KleinBase4BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of the base model of FLUX.2 [klein] 4B.

    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-base-4b-finetuned"


class Flux2KleinBase9BFinetuned(_Finetuned):
    """Generate or edit an image with a LoRA of the base model of FLUX.2 [klein] 9B.

    Its price is not published.
    """

    endpoint: ClassVar[str] = "/v1/flux-2-klein-base-9b-finetuned"
