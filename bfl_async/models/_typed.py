"""The fields of each model, and the typed face of `request`.

Written by `python -m bfl_async.models._generate`, never by hand. Imported by type checkers only.
"""

# mypy: disable-error-code="overload-overlap, overload-cannot-match, override"
# pyright: reportOverlappingOverload=false, reportIncompatibleMethodOverride=false
# The overloads overlap, and protocols differ from `object`, on purpose: see _generate.py.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Required, TypedDict, TypeVar, overload

from typing_extensions import deprecated

from bfl_async.models._base import ImageRequest
from bfl_async.models._fields import Keyframes
from bfl_async.models.flux1 import FluxDev, FluxPro11, FluxPro11Ultra, FluxPro11UltraFinetuned
from bfl_async.models.flux1_edit import (
    FluxKontextMax,
    FluxKontextPro,
    FluxProExpand,
    FluxProFill,
    FluxProFillFinetuned,
)
from bfl_async.models.flux2 import (
    Flux2Flex,
    Flux2Klein4B,
    Flux2Klein4BFinetuned,
    Flux2Klein9B,
    Flux2Klein9BFinetuned,
    Flux2Klein9BKVBF16Finetuned,
    Flux2Klein9BKVFinetuned,
    Flux2Klein9BPreview,
    Flux2KleinBase4BFinetuned,
    Flux2KleinBase9BFinetuned,
    Flux2Max,
    Flux2Pro,
    Flux2ProPreview,
)
from bfl_async.models.flux3 import (
    Flux3Image,
    Flux3ImageKlein,
    Flux3VideoDraftEnhance,
    Flux3VideoI2V,
    Flux3VideoT2V,
    Flux3VideoV2V,
)
from bfl_async.models.media import MediaSource
from bfl_async.models.retired import (
    FluxPro,
    FluxProCanny,
    FluxProCannyFinetuned,
    FluxProDepth,
    FluxProDepthFinetuned,
    FluxProFinetuned,
)
from bfl_async.models.tools import (
    DeblurV1,
    EraseV1,
    OutpaintingV1,
    VideoEditV1,
    VideoUpscaleV1,
    VirtualTryOnV1,
    VirtualTryOnV2,
)


class FluxPro11Fields(TypedDict, total=False):
    """Fields of `flux-pro-1.1`. Price: 4 credits."""

    prompt: str | None
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int
    """Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024."""
    height: int
    """Height of the result in px. Range: 256 to 1440, multiple of 32. Default: 768."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxPro11UltraFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra`. Price: 6 credits."""

    prompt: str | None
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    aspect_ratio: str
    """Width to height, such as `16:9`. Default: 16:9."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    image_prompt_strength: float
    """Weight of the image prompt against the text. Range: 0 to 1. Default: 0.1."""
    raw: bool
    """Whether the image looks less processed. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxDevFields(TypedDict, total=False):
    """Fields of `flux-dev`. Its price is not published."""

    prompt: str
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int
    """Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024."""
    height: int
    """Height of the result in px. Range: 256 to 1440, multiple of 32. Default: 768."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 28."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 5. Default:
    3.0.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxKontextProFields(TypedDict, total=False):
    """Fields of `flux-kontext-pro`. Price: 4 credits."""

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    aspect_ratio: str | None
    """Width to height, such as `16:9`."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: png."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxKontextMaxFields(TypedDict, total=False):
    """Fields of `flux-kontext-max`. Price: 8 credits."""

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    aspect_ratio: str | None
    """Width to height, such as `16:9`."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: png."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProFillFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill`. Price: 5 credits."""

    image: Required[MediaSource]
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    prompt: str | None
    """What to make, in words."""
    mask: MediaSource | None
    """White where the image is changed, black where it stays. It has the size of the image. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """
    prompt_upsampling: bool | None
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProExpandFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-expand`. Its price is not published."""

    image: Required[MediaSource]
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP, sides from 256 px. Required."""
    prompt: str | None
    """What to make, in words."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """
    top: int | None
    """Pixels to add at the top. Range: 0 to 2048. Default: 0."""
    bottom: int | None
    """Pixels to add at the bottom. Range: 0 to 2048. Default: 0."""
    left: int | None
    """Pixels to add at the left. Range: 0 to 2048. Default: 0."""
    right: int | None
    """Pixels to add at the right. Range: 0 to 2048. Default: 0."""
    prompt_upsampling: bool | None
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxPro11UltraFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra-finetuned`. Its price is not published."""

    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    prompt: str | None
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    aspect_ratio: str
    """Width to height, such as `16:9`. Default: 16:9."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    image_prompt_strength: float
    """Weight of the image prompt against the text. Range: 0 to 1. Default: 0.1."""
    finetune_strength: float
    """How strongly the finetune works. Range: 0 to 2. Default: 1.2."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProFillFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill-finetuned`. Its price is not published."""

    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    image: Required[MediaSource]
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    prompt: str
    """What to make, in words."""
    mask: MediaSource | None
    """White where the image is changed, black where it stays. It has the size of the image. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 100. Default:
    60.
    """
    finetune_strength: float
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProFields(TypedDict, total=False):
    """Fields of `flux-pro`. Its price is not published."""

    prompt: str | None
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int
    """Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024."""
    height: int
    """Height of the result in px. Range: 256 to 1440, multiple of 32. Default: 768."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 40."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 5. Default:
    2.5.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    interval: float | None
    """Trades how closely the prompt is followed for variety. Range: 1 to 4. Default: 2.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProCannyFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny`. Its price is not published."""

    prompt: str | None
    """What to make, in words."""
    control_image: MediaSource | None
    """The image whose structure is followed; its edges or depths are found by the server. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float
    """How closely the image follows the prompt. High values look less natural. Range: 1 to 100. Default: 30."""
    preprocessed_image: MediaSource | None
    """The edge or depth image itself, instead of `control_image`. Files: jpeg, png or webp, at most 20 MB
    and 20 MP.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    canny_low_threshold: int | None
    """Lower threshold of the edge detection. Range: 0 to 500. Default: 50."""
    canny_high_threshold: int | None
    """Upper threshold of the edge detection. Range: 0 to 500. Default: 200."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProDepthFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth`. Its price is not published."""

    prompt: str | None
    """What to make, in words."""
    control_image: MediaSource | None
    """The image whose structure is followed; its edges or depths are found by the server. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float
    """How closely the image follows the prompt. High values look less natural. Range: 1 to 100. Default: 30."""
    preprocessed_image: MediaSource | None
    """The edge or depth image itself, instead of `control_image`. Files: jpeg, png or webp, at most 20 MB
    and 20 MP.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-finetuned`. Its price is not published."""

    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    prompt: str | None
    """What to make, in words."""
    image_prompt: MediaSource | None
    """An image to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int
    """Width of the result in px. Range: 256 to 1440, multiple of 32. Default: 1024."""
    height: int
    """Height of the result in px. Range: 256 to 1440, multiple of 32. Default: 768."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 40."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 5. Default:
    2.5.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    interval: float | None
    """Trades how closely the prompt is followed for variety. Range: 1 to 4. Default: 2.0."""
    finetune_strength: float
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProCannyFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny-finetuned`. Its price is not published."""

    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    prompt: str | None
    """What to make, in words."""
    control_image: MediaSource | None
    """The image whose structure is followed; its edges or depths are found by the server. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float
    """How closely the image follows the prompt. High values look less natural. Range: 1 to 100. Default: 30."""
    preprocessed_image: MediaSource | None
    """The edge or depth image itself, instead of `control_image`. Files: jpeg, png or webp, at most 20 MB
    and 20 MP.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    canny_low_threshold: int | None
    """Lower threshold of the edge detection. Range: 0 to 500. Default: 50."""
    canny_high_threshold: int | None
    """Upper threshold of the edge detection. Range: 0 to 500. Default: 200."""
    finetune_strength: float
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class FluxProDepthFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth-finetuned`. Its price is not published."""

    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    prompt: str | None
    """What to make, in words."""
    control_image: MediaSource | None
    """The image whose structure is followed; its edges or depths are found by the server. Files: jpeg, png
    or webp, at most 20 MB and 20 MP.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int
    """Number of denoising steps. More are slower, and may be finer. Range: 15 to 50. Default: 50."""
    guidance: float
    """How closely the image follows the prompt. High values look less natural. Range: 1 to 100. Default: 30."""
    preprocessed_image: MediaSource | None
    """The edge or depth image itself, instead of `control_image`. Files: jpeg, png or webp, at most 20 MB
    and 20 MP.
    """
    prompt_upsampling: bool
    """Whether the server rewrites the prompt into a richer one. Default: False."""
    finetune_strength: float
    """How strongly the finetune works. Range: 0 to 2. Default: 1.1."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 6. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2ProFields(TypedDict, total=False):
    """Fields of `flux-2-pro`. Price: 3 credits for the first megapixel, 1.5 for each further one and for
    each of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_5: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_6: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_7: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    input_image_8: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 3 credits for the first megapixel, 1.5 for each further one and for each of the
    input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: 3 credits for the first
    megapixel, 1.5 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: 3 credits for the first
    megapixel, 1.5 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    disable_pup: bool
    """Whether the prompt is used as it is. By default the server rewrites it. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2ProPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-pro-preview`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_5: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_6: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_7: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_8: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    disable_pup: bool
    """Whether the prompt is used as it is. By default the server rewrites it. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2MaxFields(TypedDict, total=False):
    """Fields of `flux-2-max`. Price: 7 credits for the first megapixel, 3 for each further one and for each
    of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_5: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_6: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_7: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    input_image_8: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 7 credits for the first megapixel, 3 for each further one and for each of the
    input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: 7 credits for the first
    megapixel, 3 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: 7 credits for the first
    megapixel, 3 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    disable_pup: bool
    """Whether the prompt is used as it is. By default the server rewrites it. Default: False."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2FlexFields(TypedDict, total=False):
    """Fields of `flux-2-flex`. Price: at least 5 credits for the first megapixel, 5 for each further one and
    for each of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_5: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_6: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_7: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    input_image_8: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: at least 5 credits for the first megapixel, 5 for each further one and for each
    of the input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: at least 5 credits for the
    first megapixel, 5 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: at least 5 credits for the
    first megapixel, 5 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: 1 to 50. Default: 50."""
    guidance: float | None
    """How closely the image follows the prompt. High values look less natural. Range: 1.5 to 10. Default:
    5.0.
    """
    prompt_upsampling: bool | None
    """Whether the server rewrites the prompt into a richer one. Default: True."""
    input_image_blob_path: str | None
    """Where an input image is stored at BFL. Not described in BFL's pages."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein4BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b`. Price: 1.4 credits for the first megapixel, 0.1 for each further one and
    for each of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.4 credits for the first megapixel, 0.1 for each further one and for each of
    the input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.4 credits for the first megapixel, 0.1 for each further one and for each of
    the input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.4 credits for the first megapixel, 0.1 for each further one and for each of
    the input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.4 credits for the first megapixel, 0.1 for each further one and for each of
    the input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: 1.4 credits for the first
    megapixel, 0.1 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: 1.4 credits for the first
    megapixel, 0.1 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein9BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b`. Price: 1.5 credits for the first megapixel, 0.2 for each further one and
    for each of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: 1.5 credits for the first
    megapixel, 0.2 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: 1.5 credits for the first
    megapixel, 0.2 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein9BPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-preview`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b-finetuned`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-finetuned`. Price: 1.5 credits for the first megapixel, 0.2 for each
    further one and for each of the input.
    """

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. The price
    depends on it. Price: 1.5 credits for the first megapixel, 0.2 for each further one and for each of
    the input.
    """
    width: int | None
    """Width of the result in px. Range: from 64. The price depends on it. Price: 1.5 credits for the first
    megapixel, 0.2 for each further one and for each of the input.
    """
    height: int | None
    """Height of the result in px. Range: from 64. The price depends on it. Price: 1.5 credits for the first
    megapixel, 0.2 for each further one and for each of the input.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein9BKVFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-finetuned`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2Klein9BKVBF16FinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-bf16-finetuned`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2KleinBase4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-4b-finetuned`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux2KleinBase9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-9b-finetuned`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    finetune_id: Required[str]
    """The id of a finetune of your account, or of a public LoRA. Required."""
    input_image: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_2: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_3: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    input_image_4: MediaSource | None
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP."""
    width: int | None
    """Width of the result in px. Range: from 64."""
    height: int | None
    """Height of the result in px. Range: from 64."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    finetune_strength: float
    """How strongly the finetune works. Default: 1.0."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class Flux3ImageFields(TypedDict, total=False):
    """Fields of `flux-3-image`. Price in credits by resolution: 768sq 4.1, 1k 4.8, 2k 10, 4k 60.7."""

    prompt: Required[str]
    """What to make, in words. Range: at least 1 long. Required."""
    images: MediaSource | Sequence[MediaSource]
    """One image or several to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 16 MP,
    sides from 256 px, 1 to 10 long.
    """
    aspect_ratio: Literal[
        "auto",
        "21:9",
        "2:1",
        "16:9",
        "3:2",
        "7:5",
        "4:3",
        "5:4",
        "1:1",
        "4:5",
        "3:4",
        "5:7",
        "2:3",
        "9:16",
        "1:2",
        "9:21",
    ]
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"]
    """Size class of the result. Default: 1k. The price depends on it. Price in credits by resolution: 768sq
    4.1, 1k 4.8, 2k 10, 4k 60.7.
    """
    grounding: bool
    """Whether the model may look up what the prompt names. Default: True."""
    version: str
    """Version of the model. Default: latest."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: from 0. Default: 2."""


class Flux3ImageKleinFields(TypedDict, total=False):
    """Fields of `flux-3-image-klein`. Price in credits by resolution: 1k 0.9, 2k 1.4, 4k 3.6."""

    prompt: Required[str]
    """What to make, in words. Range: at least 1 long. Required."""
    images: MediaSource | Sequence[MediaSource]
    """One image or several to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 16 MP,
    sides from 256 px, 1 to 10 long.
    """
    aspect_ratio: Literal[
        "auto",
        "21:9",
        "2:1",
        "16:9",
        "3:2",
        "7:5",
        "4:3",
        "5:4",
        "1:1",
        "4:5",
        "3:4",
        "5:7",
        "2:3",
        "9:16",
        "1:2",
        "9:21",
    ]
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] | None
    """Size class of the result. The price depends on it. Price in credits by resolution: 1k 0.9, 2k 1.4, 4k
    3.6.
    """
    width: int | None
    """Width of the result in px. Range: from 1. The price depends on it. Price in credits by resolution: 1k
    0.9, 2k 1.4, 4k 3.6.
    """
    height: int | None
    """Height of the result in px. Range: from 1. The price depends on it. Price in credits by resolution: 1k
    0.9, 2k 1.4, 4k 3.6.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result."""
    steps: int | None
    """Number of denoising steps. More are slower, and may be finer. Range: from 1."""
    safety_tolerance: int | None
    """How much the moderation lets pass: 0 is the strictest. Range: from 0."""


class Flux3VideoT2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`. Price: 6 to 95 credits per second, by mode and resolution."""

    prompt: Required[str]
    """What to make, in words. Required."""
    mode: Required[Literal["t2v", "text-to-video"]]
    """Which kind of request it is. Required. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    """Size class of the result. Default: hd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    duration: int | Literal["auto"]
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 20. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    version: Literal["latest"]
    """Version of the model. Default: latest."""
    generate_audio: bool
    """Whether the video gets a sound track. Default: True."""
    draft: bool
    """Whether to make a draft: cheaper, and the base of a full video. Default: False. The price depends on
    it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class Flux3VideoI2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`. Price: 6 to 95 credits per second, by mode and resolution."""

    prompt: Required[str]
    """What to make, in words. Required."""
    mode: Required[Literal["i2v", "image-continuation"]]
    """Which kind of request it is. Required. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    keyframes: Required[Keyframes]
    """One image of the video, or several, all or none with their second. Files: jpeg, png or webp, at most
    20 MB and 20 MP. Required.
    """
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    """Size class of the result. Default: hd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    duration: int | Literal["auto"]
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 20. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    version: Literal["latest"]
    """Version of the model. Default: latest."""
    generate_audio: bool
    """Whether the video gets a sound track. Default: True."""
    draft: bool
    """Whether to make a draft: cheaper, and the base of a full video. Default: False. The price depends on
    it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class Flux3VideoV2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`. Price: 6 to 95 credits per second, by mode and resolution."""

    prompt: Required[str]
    """What to make, in words. Required."""
    mode: Required[Literal["v2v", "video-continuation"]]
    """Which kind of request it is. Required. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    start_video: Required[MediaSource]
    """The video to continue. Files: mp4, at most 200 MB. Required."""
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    """Size class of the result. Default: hd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    duration: int | Literal["auto"]
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 15. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    version: Literal["latest"]
    """Version of the model. Default: latest."""
    generate_audio: bool
    """Whether the video gets a sound track. Default: True."""
    draft: bool
    """Whether to make a draft: cheaper, and the base of a full video. Default: False. The price depends on
    it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class Flux3VideoDraftEnhanceFields(TypedDict, total=False):
    """Fields of `flux-3-video`. Price: 6 to 95 credits per second, by mode and resolution."""

    mode: Required[Literal["draft_enhance", "draft-enhance"]]
    """Which kind of request it is. Required. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    draft_cache: Required[str]
    """The draft's `Result.draft_cache`. Required."""
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    """Size class of the result. Default: fhd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class OutpaintingV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/outpainting-v1`. Its price is not published."""

    input_image: Required[MediaSource]
    """The image to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    width: Required[int]
    """Width of the result in px. Range: from 64. Required."""
    height: Required[int]
    """Height of the result in px. Range: from 64. Required."""
    prompt: str | None
    """What to make, in words."""
    mode: Literal["high", "fast"]
    """Which kind of request it is. Default: high."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: png."""
    auto_crop: bool
    """Whether the server crops the input image. Default: False."""
    reference_offset_x: int | None
    """Where the input image lies in the new one, from the left, in px."""
    reference_offset_y: int | None
    """Where the input image lies in the new one, from the top, in px."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class EraseV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/erase-v1`. Its price is not published."""

    image: Required[MediaSource]
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    mask: Required[MediaSource]
    """White where the image is changed, black where it stays. It has the size of the image. Files: jpeg, png
    or webp, at most 20 MB and 20 MP. Required.
    """
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: png."""
    dilate_pixels: int
    """By how many pixels the mask is widened. Range: 0 to 25. Default: 10."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class DeblurV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/deblur-v1`. Its price is not published."""

    image: Required[MediaSource]
    """The image to work on. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: png."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class VirtualTryOnV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v1`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    person: Required[MediaSource]
    """The image of the person. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    garment: Required[MediaSource]
    """The image of the garment. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class VirtualTryOnV2Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v2`. Its price is not published."""

    prompt: Required[str]
    """What to make, in words. Required."""
    person: Required[MediaSource]
    """The image of the person. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    garment: Required[MediaSource]
    """The image of the garment. Files: jpeg, png or webp, at most 20 MB and 20 MP. Required."""
    seed: int | None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    output_format: Literal["jpeg", "png", "webp"] | None
    """File format of the result. Default: jpeg."""
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 5. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


class VideoEditV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-edit-v1`. Price: 3 credits per second of the input."""

    prompt: Required[str]
    """What to make, in words. Range: 1 to 4096 long. Required."""
    video: Required[MediaSource]
    """The video to edit. Files: mp4, at most 200 MB. Required. The price depends on it. Price: 3 credits per
    second of the input.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class VideoUpscaleV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-upscale-v1`. Price: at least 7 or 10 credits per megapixel and second, by
    creativity.
    """

    input_video: Required[MediaSource]
    """The video to enlarge. Files: mp4, at most 200 MB. Required. The price depends on it. Price: at least 7
    or 10 credits per megapixel and second, by creativity.
    """
    prompt: str
    """What to make, in words."""
    upscale_factor: float
    """By how much each side grows. Range: 1.5 to 3. Default: 2. The price depends on it. Price: at least 7
    or 10 credits per megapixel and second, by creativity.
    """
    creativity: Literal[0, 1]
    """How freely details are added: 0 is precise, 1 is creative. Default: 1. The price depends on it. Price:
    at least 7 or 10 credits per megapixel and second, by creativity.
    """
    safety_tolerance: int
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""
    user: str | None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""
    webhook_url: str | None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: str | None
    """Secret that the server sends with, or signs, the webhook's call."""


KnownModel = Literal[
    "flux-pro-1.1",
    "flux-pro-1.1-ultra",
    "flux-dev",
    "flux-kontext-pro",
    "flux-kontext-max",
    "flux-pro-1.0-fill",
    "flux-pro-1.0-expand",
    "flux-pro-1.1-ultra-finetuned",
    "flux-pro-1.0-fill-finetuned",
    "flux-pro",
    "flux-pro-1.0-canny",
    "flux-pro-1.0-depth",
    "flux-pro-finetuned",
    "flux-pro-1.0-canny-finetuned",
    "flux-pro-1.0-depth-finetuned",
    "flux-2-pro",
    "flux-2-pro-preview",
    "flux-2-max",
    "flux-2-flex",
    "flux-2-klein-4b",
    "flux-2-klein-9b",
    "flux-2-klein-9b-preview",
    "flux-2-klein-4b-finetuned",
    "flux-2-klein-9b-finetuned",
    "flux-2-klein-9b-kv-finetuned",
    "flux-2-klein-9b-kv-bf16-finetuned",
    "flux-2-klein-base-4b-finetuned",
    "flux-2-klein-base-9b-finetuned",
    "flux-3-image",
    "flux-3-image-klein",
    "flux-3-video",
    "flux-tools/outpainting-v1",
    "flux-tools/erase-v1",
    "flux-tools/deblur-v1",
    "flux-tools/vto-v1",
    "flux-tools/vto-v2",
    "flux-tools/video-edit-v1",
    "flux-tools/video-upscale-v1",
]


class FieldsDoNotFitTheModel:
    """The answer to a known model's name with fields that it does not have: it has no use."""


_T_co = TypeVar("_T_co", covariant=True)


class NoSuchField(Protocol[_T_co]):
    """`NoSuchField[str]` is the type of a field that the model does not have: no value fits it."""

    def __sizeof__(self) -> _T_co: ...


class WrongType(Protocol[_T_co]):
    """`WrongType[str]` stands beside the types that a field takes in some model; no value fits it."""

    def __sizeof__(self) -> _T_co: ...


class NoModelTakesTheseFields(Protocol[_T_co]):
    """`NoModelTakesTheseFields[str]` is the type of a name that does not go with the fields; no text fits it."""

    def __len__(self) -> _T_co: ...


class RequestCalls(Protocol):
    """`request`."""

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None = ...,
        image_prompt: MediaSource | None = ...,
        aspect_ratio: str = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt_upsampling: bool = ...,
        image_prompt_strength: float = ...,
        raw: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11Ultra: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-dev"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxDev: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-pro"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        aspect_ratio: str | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxKontextPro: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-max"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        aspect_ratio: str | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxKontextMax: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        image: MediaSource,
        prompt: str | None = ...,
        mask: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        prompt_upsampling: bool | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProFill: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-expand"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        image: MediaSource,
        prompt: str | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        top: int | None = ...,
        bottom: int | None = ...,
        left: int | None = ...,
        right: int | None = ...,
        prompt_upsampling: bool | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProExpand: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        finetune_id: str,
        prompt: str | None = ...,
        image_prompt: MediaSource | None = ...,
        aspect_ratio: str = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt_upsampling: bool = ...,
        image_prompt_strength: float = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11UltraFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        finetune_id: str,
        image: MediaSource,
        prompt: str = ...,
        mask: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int = ...,
        guidance: float = ...,
        finetune_strength: float = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProFillFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        prompt_upsampling: bool = ...,
        interval: float | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int = ...,
        guidance: float = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        canny_low_threshold: int | None = ...,
        canny_high_threshold: int | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProCanny: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int = ...,
        guidance: float = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProDepth: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        finetune_id: str,
        prompt: str | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        prompt_upsampling: bool = ...,
        interval: float | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        finetune_id: str,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int = ...,
        guidance: float = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        canny_low_threshold: int | None = ...,
        canny_high_threshold: int | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProCannyFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        finetune_id: str,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int = ...,
        guidance: float = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProDepthFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        disable_pup: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Pro: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro-preview"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        disable_pup: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2ProPreview: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-max"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        disable_pup: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Max: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-flex"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        prompt_upsampling: bool | None = ...,
        input_image_blob_path: str | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Flex: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein4B: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein9B: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-preview"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein9BPreview: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein4BFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein9BFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein9BKVFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-bf16-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2Klein9BKVBF16Finetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-4b-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2KleinBase4BFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-9b-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        finetune_id: str,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux2KleinBase9BFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        images: MediaSource | Sequence[MediaSource] = ...,
        aspect_ratio: Literal[
            "auto",
            "21:9",
            "2:1",
            "16:9",
            "3:2",
            "7:5",
            "4:3",
            "5:4",
            "1:1",
            "4:5",
            "3:4",
            "5:7",
            "2:3",
            "9:16",
            "1:2",
            "9:21",
        ] = ...,
        resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] = ...,
        grounding: bool = ...,
        version: str = ...,
        safety_tolerance: int = ...,
        **fields: NoSuchField[str],
    ) -> Flux3Image: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image-klein"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        images: MediaSource | Sequence[MediaSource] = ...,
        aspect_ratio: Literal[
            "auto",
            "21:9",
            "2:1",
            "16:9",
            "3:2",
            "7:5",
            "4:3",
            "5:4",
            "1:1",
            "4:5",
            "3:4",
            "5:7",
            "2:3",
            "9:16",
            "1:2",
            "9:21",
        ] = ...,
        resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        steps: int | None = ...,
        safety_tolerance: int | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux3ImageKlein: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        mode: Literal["t2v", "text-to-video"],
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        duration: int | Literal["auto"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux3VideoT2V: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        mode: Literal["i2v", "image-continuation"],
        keyframes: Keyframes,
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        duration: int | Literal["auto"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux3VideoI2V: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        mode: Literal["v2v", "video-continuation"],
        start_video: MediaSource,
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        duration: int | Literal["auto"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux3VideoV2V: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        mode: Literal["draft_enhance", "draft-enhance"],
        draft_cache: str,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> Flux3VideoDraftEnhance: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/outpainting-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        input_image: MediaSource,
        width: int,
        height: int,
        prompt: str | None = ...,
        mode: Literal["high", "fast"] = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        auto_crop: bool = ...,
        reference_offset_x: int | None = ...,
        reference_offset_y: int | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> OutpaintingV1: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/erase-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        image: MediaSource,
        mask: MediaSource,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        dilate_pixels: int = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> EraseV1: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/deblur-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        image: MediaSource,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> DeblurV1: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        person: MediaSource,
        garment: MediaSource,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> VirtualTryOnV1: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v2"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        person: MediaSource,
        garment: MediaSource,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> VirtualTryOnV2: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-edit-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str,
        video: MediaSource,
        safety_tolerance: int = ...,
        user: str | None = ...,
        **fields: NoSuchField[str],
    ) -> VideoEditV1: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-upscale-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        input_video: MediaSource,
        prompt: str = ...,
        upscale_factor: float = ...,
        creativity: Literal[0, 1] = ...,
        safety_tolerance: int = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        **fields: NoSuchField[str],
    ) -> VideoUpscaleV1: ...

    @overload
    @deprecated("this model does not take one of these fields, or needs another one")
    def __call__(
        self,
        model: KnownModel,
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int | None = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
    ) -> FieldsDoNotFitTheModel: ...

    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        prompt: str | None,
        seed: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        safety_tolerance: int | None = ...,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
    ) -> ImageRequest: ...

    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        prompt: object = ...,
        seed: object = ...,
        output_format: object = ...,
        safety_tolerance: object = ...,
        user: object = ...,
        webhook_url: object = ...,
        webhook_secret: object = ...,
        extra_body: object,
    ) -> ImageRequest: ...

    @overload
    def __call__(
        self,
        model: NoModelTakesTheseFields[str],
        /,
        *,
        extra_body: Mapping[str, object] | WrongType[str] | None = None,
        prompt: str | WrongType[str] | None = ...,
        image_prompt: MediaSource | WrongType[str] | None = ...,
        width: int | WrongType[str] | None = ...,
        height: int | WrongType[str] | None = ...,
        seed: int | WrongType[str] | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | WrongType[str] | None = ...,
        prompt_upsampling: bool | WrongType[str] | None = ...,
        safety_tolerance: int | WrongType[str] | None = ...,
        user: str | WrongType[str] | None = ...,
        webhook_url: str | WrongType[str] | None = ...,
        webhook_secret: str | WrongType[str] | None = ...,
        aspect_ratio: str
        | Literal[
            "auto",
            "21:9",
            "2:1",
            "16:9",
            "3:2",
            "7:5",
            "4:3",
            "5:4",
            "1:1",
            "4:5",
            "3:4",
            "5:7",
            "2:3",
            "9:16",
            "1:2",
            "9:21",
        ]
        | Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
        | WrongType[str]
        | None = ...,
        image_prompt_strength: float | WrongType[str] = ...,
        raw: bool | WrongType[str] = ...,
        steps: int | WrongType[str] | None = ...,
        guidance: float | WrongType[str] | None = ...,
        input_image: MediaSource | WrongType[str] | None = ...,
        input_image_2: MediaSource | WrongType[str] | None = ...,
        input_image_3: MediaSource | WrongType[str] | None = ...,
        input_image_4: MediaSource | WrongType[str] | None = ...,
        image: MediaSource | WrongType[str] = ...,
        mask: MediaSource | WrongType[str] | None = ...,
        top: int | WrongType[str] | None = ...,
        bottom: int | WrongType[str] | None = ...,
        left: int | WrongType[str] | None = ...,
        right: int | WrongType[str] | None = ...,
        finetune_id: str | WrongType[str] = ...,
        finetune_strength: float | WrongType[str] = ...,
        interval: float | WrongType[str] | None = ...,
        control_image: MediaSource | WrongType[str] | None = ...,
        preprocessed_image: MediaSource | WrongType[str] | None = ...,
        canny_low_threshold: int | WrongType[str] | None = ...,
        canny_high_threshold: int | WrongType[str] | None = ...,
        input_image_5: MediaSource | WrongType[str] | None = ...,
        input_image_6: MediaSource | WrongType[str] | None = ...,
        input_image_7: MediaSource | WrongType[str] | None = ...,
        input_image_8: MediaSource | WrongType[str] | None = ...,
        disable_pup: bool | WrongType[str] = ...,
        input_image_blob_path: str | WrongType[str] | None = ...,
        images: MediaSource | Sequence[MediaSource] | WrongType[str] = ...,
        resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"]
        | Literal["hd", "fhd", "qhd", "uhd"]
        | WrongType[str]
        | None = ...,
        grounding: bool | WrongType[str] = ...,
        version: str | Literal["latest"] | WrongType[str] = ...,
        mode: Literal["t2v", "text-to-video"]
        | Literal["i2v", "image-continuation"]
        | Literal["v2v", "video-continuation"]
        | Literal["draft_enhance", "draft-enhance"]
        | Literal["high", "fast"]
        | WrongType[str] = ...,
        duration: int | Literal["auto"] | WrongType[str] = ...,
        generate_audio: bool | WrongType[str] = ...,
        draft: bool | WrongType[str] = ...,
        keyframes: Keyframes | WrongType[str] = ...,
        start_video: MediaSource | WrongType[str] = ...,
        draft_cache: str | WrongType[str] = ...,
        auto_crop: bool | WrongType[str] = ...,
        reference_offset_x: int | WrongType[str] | None = ...,
        reference_offset_y: int | WrongType[str] | None = ...,
        dilate_pixels: int | WrongType[str] = ...,
        person: MediaSource | WrongType[str] = ...,
        garment: MediaSource | WrongType[str] = ...,
        video: MediaSource | WrongType[str] = ...,
        input_video: MediaSource | WrongType[str] = ...,
        upscale_factor: float | WrongType[str] = ...,
        creativity: Literal[0, 1] | WrongType[str] = ...,
        **fields: NoSuchField[str],
    ) -> ImageRequest: ...
