"""FLUX.3 request classes: images, and videos in four modes.

Source: BFL OpenAPI, read 2026-09-19, where the modes `t2v` and `v2v` are inferred from `i2v`; FLUX 3 image as
third parties describe it, read 2026-10-01, and a digest of BFL's pages of 2026-10-08; its klein as the release notes of
a client name its fields, read 2026-10-16. Unknown fields are refused by the server as well.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field

from bfl_async.models._base import ImageRequest
from bfl_async.models._fields import (
    Flux3Images,
    KeyframesField,
    OpenTolerance,
    OutputFormat,
    Tolerance4,
    User,
    Video,
)

Flux3ImageRatio = Literal[
    "auto", "21:9", "2:1", "16:9", "3:2", "7:5", "4:3", "5:4", "1:1", "4:5", "3:4", "5:7", "2:3", "9:16", "1:2",
    "9:21",
]  # fmt: skip
Flux3ImageSize = Literal["768sq", "1k", "1.5k", "2k", "4k"]
Flux3VideoRatio = Literal["21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21", "auto"]
Flux3VideoSize = Literal["hd", "fhd", "qhd", "uhd"]


class _Flux3Image(ImageRequest):
    prompt: Annotated[str, Field(min_length=1)]
    images: Flux3Images = ()
    aspect_ratio: Flux3ImageRatio = "auto"


class Flux3Image(_Flux3Image):
    """Generate an image, or edit up to 10, with FLUX.3; images from 256 px a side, up to 16 MP.

    The result is a PNG, whose URL lasts about an hour. The upper end of `safety_tolerance` is not checked here: 4 by
    BFL's pages of 2026-10-08, 7 by a client's release notes of 2026-10-15.

    Source: third parties' descriptions, read 2026-10-01, and a digest of BFL's pages of 2026-10-08.
    """

    endpoint: ClassVar[str] = "/v1/flux-3-image"

    resolution: Flux3ImageSize = "1k"
    safety_tolerance: OpenTolerance = 2
    grounding: bool = True
    version: str = "latest"


class Flux3ImageKlein(_Flux3Image):
    """Generate an image, or edit several, with FLUX.3 [klein]; `width` and `height` in px, or `resolution`.

    Its schema is not published. The fields are those that the release notes of a client name (AI SDK, 2026-10-15 and
    2026-10-16), and their bounds are left to the server.
    """

    endpoint: ClassVar[str] = "/v1/flux-3-image-klein"

    resolution: Flux3ImageSize | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    safety_tolerance: OpenTolerance | None = None
    output_format: OutputFormat | None = None


class _Flux3Video(User):
    """What the modes share; `mode` is always sent. Its longer names are turned into the short ones."""

    endpoint: ClassVar[str] = "/v1/flux-3-video"
    always_sent: ClassVar[tuple[str, ...]] = ("mode",)

    safety_tolerance: Tolerance4 = 2


class _Generating(_Flux3Video):
    # `draft` is for hd alone by a digest of BFL's pages of 2026-10-08; the server checks it.
    prompt: str
    aspect_ratio: Flux3VideoRatio = "auto"
    resolution: Flux3VideoSize = "hd"
    version: Literal["latest"] = "latest"
    generate_audio: bool = True
    draft: bool = False


VideoSeconds = Annotated[int, Field(ge=5, le=20)] | Literal["auto"]
ContinuedSeconds = Annotated[int, Field(ge=5, le=15)] | Literal["auto"]


class Flux3VideoT2V(_Generating):
    """Generate a video of 5 to 20 s from a prompt.

    Source: BFL OpenAPI, read 2026-09-19, inferred from the mode `i2v`.
    """

    mode: Annotated[Literal["t2v", "text-to-video"], AfterValidator(lambda _: "t2v")] = "t2v"
    duration: VideoSeconds = "auto"


class Flux3VideoI2V(_Generating):
    """Generate a video of 5 to 20 s from one image or several.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    mode: Annotated[Literal["i2v", "image-continuation"], AfterValidator(lambda _: "i2v")] = "i2v"
    duration: VideoSeconds = "auto"
    keyframes: KeyframesField


class Flux3VideoV2V(_Generating):
    """Continue a video by 5 to 15 s.

    Source: BFL OpenAPI, read 2026-09-19, inferred from the mode `i2v`.
    """

    mode: Annotated[Literal["v2v", "video-continuation"], AfterValidator(lambda _: "v2v")] = "v2v"
    duration: ContinuedSeconds = "auto"
    start_video: Video


class Flux3VideoDraftEnhance(_Flux3Video):
    """Make a draft into a full video: `draft_cache` is the draft's `Result.draft_cache`.

    Source: BFL OpenAPI, read 2026-09-19.
    """

    mode: Annotated[Literal["draft_enhance", "draft-enhance"], AfterValidator(lambda _: "draft_enhance")] = (
        "draft_enhance"
    )
    draft_cache: Annotated[str, Field(repr=False)]  # a signed URL
    resolution: Flux3VideoSize = "fhd"


Flux3Video: TypeAlias = Flux3VideoT2V | Flux3VideoI2V | Flux3VideoV2V | Flux3VideoDraftEnhance
"""A request for `flux-3-video`, told apart by `mode`."""
