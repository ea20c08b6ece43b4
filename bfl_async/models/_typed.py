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
    """Fields of `flux-pro-1.1`."""

    prompt: str | None
    image_prompt: MediaSource | None
    width: int
    height: int
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxPro11UltraFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra`."""

    prompt: str | None
    image_prompt: MediaSource | None
    aspect_ratio: str
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt_upsampling: bool
    image_prompt_strength: float
    raw: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxDevFields(TypedDict, total=False):
    """Fields of `flux-dev`."""

    prompt: str
    image_prompt: MediaSource | None
    width: int
    height: int
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxKontextProFields(TypedDict, total=False):
    """Fields of `flux-kontext-pro`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    aspect_ratio: str | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxKontextMaxFields(TypedDict, total=False):
    """Fields of `flux-kontext-max`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    aspect_ratio: str | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProFillFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill`."""

    image: Required[MediaSource]
    prompt: str | None
    mask: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    prompt_upsampling: bool | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProExpandFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-expand`."""

    image: Required[MediaSource]
    prompt: str | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    top: int | None
    bottom: int | None
    left: int | None
    right: int | None
    prompt_upsampling: bool | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxPro11UltraFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra-finetuned`."""

    finetune_id: Required[str]
    prompt: str | None
    image_prompt: MediaSource | None
    aspect_ratio: str
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt_upsampling: bool
    image_prompt_strength: float
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProFillFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill-finetuned`."""

    finetune_id: Required[str]
    image: Required[MediaSource]
    prompt: str
    mask: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int
    guidance: float
    finetune_strength: float
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProFields(TypedDict, total=False):
    """Fields of `flux-pro`."""

    prompt: str | None
    image_prompt: MediaSource | None
    width: int
    height: int
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    prompt_upsampling: bool
    interval: float | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProCannyFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny`."""

    prompt: str | None
    control_image: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int
    guidance: float
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    canny_low_threshold: int | None
    canny_high_threshold: int | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProDepthFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth`."""

    prompt: str | None
    control_image: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int
    guidance: float
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-finetuned`."""

    finetune_id: Required[str]
    prompt: str | None
    image_prompt: MediaSource | None
    width: int
    height: int
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    prompt_upsampling: bool
    interval: float | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProCannyFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny-finetuned`."""

    finetune_id: Required[str]
    prompt: str | None
    control_image: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int
    guidance: float
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    canny_low_threshold: int | None
    canny_high_threshold: int | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class FluxProDepthFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth-finetuned`."""

    finetune_id: Required[str]
    prompt: str | None
    control_image: MediaSource | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int
    guidance: float
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2ProFields(TypedDict, total=False):
    """Fields of `flux-2-pro`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    disable_pup: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2ProPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-pro-preview`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    disable_pup: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2MaxFields(TypedDict, total=False):
    """Fields of `flux-2-max`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    disable_pup: bool
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2FlexFields(TypedDict, total=False):
    """Fields of `flux-2-flex`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    guidance: float | None
    prompt_upsampling: bool | None
    input_image_blob_path: str | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein4BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein9BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein9BPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-preview`."""

    prompt: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein9BKVFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2Klein9BKVBF16FinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-bf16-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2KleinBase4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-4b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux2KleinBase9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-9b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class Flux3ImageFields(TypedDict, total=False):
    """Fields of `flux-3-image`."""

    prompt: Required[str]
    images: MediaSource | Sequence[MediaSource]
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
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"]
    grounding: bool
    version: str
    safety_tolerance: int


class Flux3ImageKleinFields(TypedDict, total=False):
    """Fields of `flux-3-image-klein`."""

    prompt: Required[str]
    images: MediaSource | Sequence[MediaSource]
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
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] | None
    width: int | None
    height: int | None
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    steps: int | None
    safety_tolerance: int | None


class Flux3VideoT2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["t2v", "text-to-video"]]
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    duration: int | Literal["auto"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    safety_tolerance: int
    user: str | None


class Flux3VideoI2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["i2v", "image-continuation"]]
    keyframes: Required[Keyframes]
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    duration: int | Literal["auto"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    safety_tolerance: int
    user: str | None


class Flux3VideoV2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["v2v", "video-continuation"]]
    start_video: Required[MediaSource]
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    duration: int | Literal["auto"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    safety_tolerance: int
    user: str | None


class Flux3VideoDraftEnhanceFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    mode: Required[Literal["draft_enhance", "draft-enhance"]]
    draft_cache: Required[str]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    safety_tolerance: int
    user: str | None


class OutpaintingV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/outpainting-v1`."""

    input_image: Required[MediaSource]
    width: Required[int]
    height: Required[int]
    prompt: str | None
    mode: Literal["high", "fast"]
    output_format: Literal["jpeg", "png", "webp"] | None
    auto_crop: bool
    reference_offset_x: int | None
    reference_offset_y: int | None
    safety_tolerance: int
    user: str | None


class EraseV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/erase-v1`."""

    image: Required[MediaSource]
    mask: Required[MediaSource]
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    dilate_pixels: int
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class DeblurV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/deblur-v1`."""

    image: Required[MediaSource]
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class VirtualTryOnV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v1`."""

    prompt: Required[str]
    person: Required[MediaSource]
    garment: Required[MediaSource]
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class VirtualTryOnV2Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v2`."""

    prompt: Required[str]
    person: Required[MediaSource]
    garment: Required[MediaSource]
    seed: int | None
    output_format: Literal["jpeg", "png", "webp"] | None
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


class VideoEditV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-edit-v1`."""

    prompt: Required[str]
    video: Required[MediaSource]
    safety_tolerance: int
    user: str | None


class VideoUpscaleV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-upscale-v1`."""

    input_video: Required[MediaSource]
    prompt: str
    upscale_factor: float
    creativity: Literal[0, 1]
    safety_tolerance: int
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None


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
