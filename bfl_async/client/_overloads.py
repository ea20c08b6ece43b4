"""The typed face of the client's calls that take a model's name.

Written by `python -m bfl_async.models._generate`, never by hand. Imported by type checkers only.
"""

# mypy: disable-error-code="overload-overlap, overload-cannot-match"
# pyright: reportOverlappingOverload=false
# The overload for fields that do not fit overlaps the others on purpose: see _generate.py.

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeVar, Unpack, overload

from bfl_async.models import ImageRequest
from bfl_async.models._typed import (
    DeblurV1Fields,
    EraseV1Fields,
    FieldsDoNotFitTheModel,
    Flux2FlexFields,
    Flux2Klein4BFields,
    Flux2Klein4BFinetunedFields,
    Flux2Klein9BFields,
    Flux2Klein9BFinetunedFields,
    Flux2Klein9BKVBF16FinetunedFields,
    Flux2Klein9BKVFinetunedFields,
    Flux2Klein9BPreviewFields,
    Flux2KleinBase4BFinetunedFields,
    Flux2KleinBase9BFinetunedFields,
    Flux2MaxFields,
    Flux2ProFields,
    Flux2ProPreviewFields,
    Flux3ImageFields,
    Flux3ImageKleinFields,
    Flux3VideoDraftEnhanceFields,
    Flux3VideoI2VFields,
    Flux3VideoT2VFields,
    Flux3VideoV2VFields,
    FluxDevFields,
    FluxKontextMaxFields,
    FluxKontextProFields,
    FluxPro11Fields,
    FluxPro11UltraFields,
    FluxPro11UltraFinetunedFields,
    FluxProCannyFields,
    FluxProCannyFinetunedFields,
    FluxProDepthFields,
    FluxProDepthFinetunedFields,
    FluxProExpandFields,
    FluxProFields,
    FluxProFillFields,
    FluxProFillFinetunedFields,
    FluxProFinetunedFields,
    KnownModel,
    OutpaintingV1Fields,
    VideoEditV1Fields,
    VideoUpscaleV1Fields,
    VirtualTryOnV1Fields,
    VirtualTryOnV2Fields,
)

Answer = TypeVar("Answer", covariant=True)


class Calls(Protocol[Answer]):
    """`generate` and `submit`, by what they answer."""

    @overload
    def __call__(
        self,
        request: ImageRequest,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11UltraFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-dev"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxDevFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-pro"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxKontextProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-max"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxKontextMaxFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFillFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-expand"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProExpandFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11UltraFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFillFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProCannyFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProDepthFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProCannyFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProDepthFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2ProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro-preview"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2ProPreviewFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-max"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2MaxFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-flex"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2FlexFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein4BFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-preview"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BPreviewFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein4BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BKVFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-bf16-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BKVBF16FinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-4b-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2KleinBase4BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-9b-finetuned"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2KleinBase9BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3ImageFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image-klein"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3ImageKleinFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoT2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoI2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoV2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoDraftEnhanceFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/outpainting-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[OutpaintingV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/erase-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[EraseV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/deblur-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[DeblurV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VirtualTryOnV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v2"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VirtualTryOnV2Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-edit-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VideoEditV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-upscale-v1"],
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VideoUpscaleV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: KnownModel,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> FieldsDoNotFitTheModel: ...
    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Answer: ...


class NowaitCalls(Protocol[Answer]):
    """`submit_nowait`, by what it answers."""

    @overload
    def __call__(
        self,
        request: ImageRequest,
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11UltraFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-dev"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxDevFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-pro"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxKontextProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-kontext-max"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxKontextMaxFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFillFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-expand"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProExpandFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.1-ultra-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxPro11UltraFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-fill-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFillFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProCannyFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProDepthFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-canny-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProCannyFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-pro-1.0-depth-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[FluxProDepthFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2ProFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-pro-preview"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2ProPreviewFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-max"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2MaxFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-flex"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2FlexFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein4BFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-preview"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BPreviewFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-4b-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein4BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BKVFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-9b-kv-bf16-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2Klein9BKVBF16FinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-4b-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2KleinBase4BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-2-klein-base-9b-finetuned"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux2KleinBase9BFinetunedFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3ImageFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-image-klein"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3ImageKleinFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoT2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoI2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoV2VFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-3-video"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[Flux3VideoDraftEnhanceFields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/outpainting-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[OutpaintingV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/erase-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[EraseV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/deblur-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[DeblurV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VirtualTryOnV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/vto-v2"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VirtualTryOnV2Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-edit-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VideoEditV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: Literal["flux-tools/video-upscale-v1"],
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: Unpack[VideoUpscaleV1Fields],
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        model: KnownModel,
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> FieldsDoNotFitTheModel: ...
    @overload
    def __call__(
        self,
        model: str,
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Answer: ...
