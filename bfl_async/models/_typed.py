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

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    image_prompt: MediaSource | None
    width: int
    height: int
    prompt_upsampling: bool
    prompt: str | None


class FluxPro11UltraFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra`."""

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    prompt_upsampling: bool
    aspect_ratio: str
    image_prompt: MediaSource | None
    image_prompt_strength: float
    raw: bool


class FluxDevFields(TypedDict, total=False):
    """Fields of `flux-dev`."""

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    image_prompt: MediaSource | None
    width: int
    height: int
    prompt_upsampling: bool
    prompt: str
    steps: int | None
    guidance: float | None


class FluxKontextProFields(TypedDict, total=False):
    """Fields of `flux-kontext-pro`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    aspect_ratio: str | None
    prompt_upsampling: bool


class FluxKontextMaxFields(TypedDict, total=False):
    """Fields of `flux-kontext-max`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    aspect_ratio: str | None
    prompt_upsampling: bool


class FluxProFillFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill`."""

    image: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    mask: MediaSource | None
    prompt: str | None
    steps: int | None
    prompt_upsampling: bool | None
    guidance: float | None


class FluxProExpandFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-expand`."""

    image: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    top: int | None
    bottom: int | None
    left: int | None
    right: int | None
    prompt: str | None
    steps: int | None
    prompt_upsampling: bool | None
    guidance: float | None


class FluxPro11UltraFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.1-ultra-finetuned`."""

    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    prompt_upsampling: bool
    aspect_ratio: str
    image_prompt: MediaSource | None
    image_prompt_strength: float
    finetune_strength: float


class FluxProFillFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-fill-finetuned`."""

    image: Required[MediaSource]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    mask: MediaSource | None
    finetune_strength: float
    prompt: str
    steps: int
    prompt_upsampling: bool
    guidance: float


class FluxProFields(TypedDict, total=False):
    """Fields of `flux-pro`."""

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    image_prompt: MediaSource | None
    width: int
    height: int
    prompt_upsampling: bool
    prompt: str | None
    steps: int | None
    guidance: float | None
    interval: float | None


class FluxProCannyFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny`."""

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    control_image: MediaSource | None
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    steps: int
    guidance: float
    canny_low_threshold: int | None
    canny_high_threshold: int | None


class FluxProDepthFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth`."""

    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    control_image: MediaSource | None
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    steps: int
    guidance: float


class FluxProFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-finetuned`."""

    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    image_prompt: MediaSource | None
    width: int
    height: int
    prompt_upsampling: bool
    prompt: str | None
    steps: int | None
    guidance: float | None
    interval: float | None
    finetune_strength: float


class FluxProCannyFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-canny-finetuned`."""

    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    control_image: MediaSource | None
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    steps: int
    guidance: float
    canny_low_threshold: int | None
    canny_high_threshold: int | None
    finetune_strength: float


class FluxProDepthFinetunedFields(TypedDict, total=False):
    """Fields of `flux-pro-1.0-depth-finetuned`."""

    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    control_image: MediaSource | None
    preprocessed_image: MediaSource | None
    prompt_upsampling: bool
    steps: int
    guidance: float
    finetune_strength: float


class Flux2ProFields(TypedDict, total=False):
    """Fields of `flux-2-pro`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    disable_pup: bool


class Flux2ProPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-pro-preview`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    disable_pup: bool


class Flux2MaxFields(TypedDict, total=False):
    """Fields of `flux-2-max`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    disable_pup: bool


class Flux2FlexFields(TypedDict, total=False):
    """Fields of `flux-2-flex`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    input_image_5: MediaSource | None
    input_image_6: MediaSource | None
    input_image_7: MediaSource | None
    input_image_8: MediaSource | None
    prompt_upsampling: bool | None
    input_image_blob_path: str | None
    guidance: float | None
    steps: int | None


class Flux2Klein4BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class Flux2Klein9BFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class Flux2Klein9BPreviewFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-preview`."""

    prompt: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class Flux2Klein4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-4b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


class Flux2Klein9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


class Flux2Klein9BKVFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


class Flux2Klein9BKVBF16FinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-9b-kv-bf16-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


class Flux2KleinBase4BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-4b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


class Flux2KleinBase9BFinetunedFields(TypedDict, total=False):
    """Fields of `flux-2-klein-base-9b-finetuned`."""

    prompt: Required[str]
    finetune_id: Required[str]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    input_image: MediaSource | None
    input_image_2: MediaSource | None
    input_image_3: MediaSource | None
    input_image_4: MediaSource | None
    seed: int | None
    width: int | None
    height: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    finetune_strength: float


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
    safety_tolerance: int
    grounding: bool
    version: str


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
    steps: int | None
    seed: int | None
    safety_tolerance: int | None
    output_format: Literal["jpeg", "png", "webp"] | None


class Flux3VideoT2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["t2v", "text-to-video"]]
    user: str | None
    safety_tolerance: int
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    duration: int | Literal["auto"]


class Flux3VideoI2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["i2v", "image-continuation"]]
    keyframes: Required[Keyframes]
    user: str | None
    safety_tolerance: int
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    duration: int | Literal["auto"]


class Flux3VideoV2VFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    prompt: Required[str]
    mode: Required[Literal["v2v", "video-continuation"]]
    start_video: Required[MediaSource]
    user: str | None
    safety_tolerance: int
    aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
    resolution: Literal["hd", "fhd", "qhd", "uhd"]
    version: Literal["latest"]
    generate_audio: bool
    draft: bool
    duration: int | Literal["auto"]


class Flux3VideoDraftEnhanceFields(TypedDict, total=False):
    """Fields of `flux-3-video`."""

    mode: Required[Literal["draft_enhance", "draft-enhance"]]
    draft_cache: Required[str]
    user: str | None
    safety_tolerance: int
    resolution: Literal["hd", "fhd", "qhd", "uhd"]


class OutpaintingV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/outpainting-v1`."""

    input_image: Required[MediaSource]
    width: Required[int]
    height: Required[int]
    user: str | None
    auto_crop: bool
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None
    prompt: str | None
    reference_offset_x: int | None
    reference_offset_y: int | None
    mode: Literal["high", "fast"]


class EraseV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/erase-v1`."""

    image: Required[MediaSource]
    mask: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    dilate_pixels: int
    output_format: Literal["jpeg", "png", "webp"] | None


class DeblurV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/deblur-v1`."""

    image: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class VirtualTryOnV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v1`."""

    prompt: Required[str]
    person: Required[MediaSource]
    garment: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class VirtualTryOnV2Fields(TypedDict, total=False):
    """Fields of `flux-tools/vto-v2`."""

    prompt: Required[str]
    person: Required[MediaSource]
    garment: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    seed: int | None
    safety_tolerance: int
    output_format: Literal["jpeg", "png", "webp"] | None


class VideoEditV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-edit-v1`."""

    video: Required[MediaSource]
    prompt: Required[str]
    user: str | None
    safety_tolerance: int


class VideoUpscaleV1Fields(TypedDict, total=False):
    """Fields of `flux-tools/video-upscale-v1`."""

    input_video: Required[MediaSource]
    user: str | None
    webhook_url: str | None
    webhook_secret: str | None
    prompt: str
    creativity: Literal[0, 1]
    upscale_factor: float
    safety_tolerance: int


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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        prompt_upsampling: bool = ...,
        prompt: str | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        prompt_upsampling: bool = ...,
        aspect_ratio: str = ...,
        image_prompt: MediaSource | None = ...,
        image_prompt_strength: float = ...,
        raw: bool = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11Ultra: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-dev"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        prompt_upsampling: bool = ...,
        prompt: str = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        aspect_ratio: str | None = ...,
        prompt_upsampling: bool = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        aspect_ratio: str | None = ...,
        prompt_upsampling: bool = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        mask: MediaSource | None = ...,
        prompt: str | None = ...,
        steps: int | None = ...,
        prompt_upsampling: bool | None = ...,
        guidance: float | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        top: int | None = ...,
        bottom: int | None = ...,
        left: int | None = ...,
        right: int | None = ...,
        prompt: str | None = ...,
        steps: int | None = ...,
        prompt_upsampling: bool | None = ...,
        guidance: float | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        prompt_upsampling: bool = ...,
        aspect_ratio: str = ...,
        image_prompt: MediaSource | None = ...,
        image_prompt_strength: float = ...,
        finetune_strength: float = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro11UltraFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill-finetuned"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        image: MediaSource,
        finetune_id: str,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        mask: MediaSource | None = ...,
        finetune_strength: float = ...,
        prompt: str = ...,
        steps: int = ...,
        prompt_upsampling: bool = ...,
        guidance: float = ...,
        **fields: NoSuchField[str],
    ) -> FluxProFillFinetuned: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        prompt_upsampling: bool = ...,
        prompt: str | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        interval: float | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxPro: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        steps: int = ...,
        guidance: float = ...,
        canny_low_threshold: int | None = ...,
        canny_high_threshold: int | None = ...,
        **fields: NoSuchField[str],
    ) -> FluxProCanny: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        steps: int = ...,
        guidance: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        image_prompt: MediaSource | None = ...,
        width: int = ...,
        height: int = ...,
        prompt_upsampling: bool = ...,
        prompt: str | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        interval: float | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        steps: int = ...,
        guidance: float = ...,
        canny_low_threshold: int | None = ...,
        canny_high_threshold: int | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        control_image: MediaSource | None = ...,
        preprocessed_image: MediaSource | None = ...,
        prompt_upsampling: bool = ...,
        steps: int = ...,
        guidance: float = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        disable_pup: bool = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        disable_pup: bool = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        disable_pup: bool = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        input_image_5: MediaSource | None = ...,
        input_image_6: MediaSource | None = ...,
        input_image_7: MediaSource | None = ...,
        input_image_8: MediaSource | None = ...,
        prompt_upsampling: bool | None = ...,
        input_image_blob_path: str | None = ...,
        guidance: float | None = ...,
        steps: int | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        input_image: MediaSource | None = ...,
        input_image_2: MediaSource | None = ...,
        input_image_3: MediaSource | None = ...,
        input_image_4: MediaSource | None = ...,
        seed: int | None = ...,
        width: int | None = ...,
        height: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        finetune_strength: float = ...,
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
        safety_tolerance: int = ...,
        grounding: bool = ...,
        version: str = ...,
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
        steps: int | None = ...,
        seed: int | None = ...,
        safety_tolerance: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        safety_tolerance: int = ...,
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        duration: int | Literal["auto"] = ...,
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
        user: str | None = ...,
        safety_tolerance: int = ...,
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        duration: int | Literal["auto"] = ...,
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
        user: str | None = ...,
        safety_tolerance: int = ...,
        aspect_ratio: Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"] = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
        version: Literal["latest"] = ...,
        generate_audio: bool = ...,
        draft: bool = ...,
        duration: int | Literal["auto"] = ...,
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
        user: str | None = ...,
        safety_tolerance: int = ...,
        resolution: Literal["hd", "fhd", "qhd", "uhd"] = ...,
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
        user: str | None = ...,
        auto_crop: bool = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None = ...,
        reference_offset_x: int | None = ...,
        reference_offset_y: int | None = ...,
        mode: Literal["high", "fast"] = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        dilate_pixels: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        **fields: NoSuchField[str],
    ) -> VirtualTryOnV2: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-edit-v1"],
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        video: MediaSource,
        prompt: str,
        user: str | None = ...,
        safety_tolerance: int = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        prompt: str = ...,
        creativity: Literal[0, 1] = ...,
        upscale_factor: float = ...,
        safety_tolerance: int = ...,
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
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None,
    ) -> FieldsDoNotFitTheModel: ...

    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        extra_body: Mapping[str, object] | None = None,
        user: str | None = ...,
        webhook_url: str | None = ...,
        webhook_secret: str | None = ...,
        seed: int | None = ...,
        safety_tolerance: int | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | None = ...,
        prompt: str | None,
    ) -> ImageRequest: ...

    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        user: object = ...,
        webhook_url: object = ...,
        webhook_secret: object = ...,
        seed: object = ...,
        safety_tolerance: object = ...,
        output_format: object = ...,
        prompt: object = ...,
        extra_body: object,
    ) -> ImageRequest: ...

    @overload
    def __call__(
        self,
        model: NoModelTakesTheseFields[str],
        /,
        *,
        extra_body: Mapping[str, object] | WrongType[str] | None = None,
        user: str | WrongType[str] | None = ...,
        webhook_url: str | WrongType[str] | None = ...,
        webhook_secret: str | WrongType[str] | None = ...,
        seed: int | WrongType[str] | None = ...,
        safety_tolerance: int | WrongType[str] | None = ...,
        output_format: Literal["jpeg", "png", "webp"] | WrongType[str] | None = ...,
        image_prompt: MediaSource | WrongType[str] | None = ...,
        width: int | WrongType[str] | None = ...,
        height: int | WrongType[str] | None = ...,
        prompt_upsampling: bool | WrongType[str] | None = ...,
        prompt: str | WrongType[str] | None = ...,
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
        generate_audio: bool | WrongType[str] = ...,
        draft: bool | WrongType[str] = ...,
        duration: int | Literal["auto"] | WrongType[str] = ...,
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
        creativity: Literal[0, 1] | WrongType[str] = ...,
        upscale_factor: float | WrongType[str] = ...,
        **fields: NoSuchField[str],
    ) -> ImageRequest: ...
