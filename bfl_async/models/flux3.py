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
    """What to make, in words. Range: at least 1 long. Required."""
    images: Flux3Images = ()
    """One image or several to edit, or to take after. Files: jpeg, png or webp, at most 20 MB and 16 MP,
    sides from 256 px, 1 to 10 long.
    """
    aspect_ratio: Flux3ImageRatio = "auto"
    """Width to height, such as `16:9`. Default: auto."""


class Flux3Image(_Flux3Image):
    """Generate an image, or edit up to 10, with FLUX.3; images from 256 px a side, up to 16 MP.

    The result is a PNG, whose URL lasts about an hour. The upper end of `safety_tolerance` is not checked here: 4 by
    BFL's pages of 2026-10-08, 7 by a client's release notes of 2026-10-15.

    Source: third parties' descriptions, read 2026-10-01, and a digest of BFL's pages of 2026-10-08.
    Price in credits by resolution: 768sq 4.1, 1k 4.8, 2k 10, 4k 60.7.
    """

    endpoint: ClassVar[str] = "/v1/flux-3-image"

    resolution: Flux3ImageSize = "1k"
    """Size class of the result. Default: 1k. The price depends on it. Price in credits by resolution: 768sq
    4.1, 1k 4.8, 2k 10, 4k 60.7.
    """
    safety_tolerance: OpenTolerance = 2
    """How much the moderation lets pass: 0 is the strictest. Range: from 0. Default: 2."""
    grounding: bool = True
    """Whether the model may look up what the prompt names. Default: True."""
    version: str = "latest"
    """Version of the model. Default: latest."""


class Flux3ImageKlein(_Flux3Image):
    """Generate an image, or edit several, with FLUX.3 [klein]; `width` and `height` in px, or `resolution`.

    Its schema is not published. The fields are those that the release notes of a client name (AI SDK, 2026-10-15 and
    2026-10-16), and their bounds are left to the server.
    Price in credits by resolution: 1k 0.9, 2k 1.4, 4k 3.6.
    """

    endpoint: ClassVar[str] = "/v1/flux-3-image-klein"

    resolution: Flux3ImageSize | None = None
    """Size class of the result. The price depends on it. Price in credits by resolution: 1k 0.9, 2k 1.4, 4k
    3.6.
    """
    width: Annotated[int, Field(ge=1)] | None = None
    """Width of the result in px. Range: from 1. The price depends on it. Price in credits by resolution: 1k
    0.9, 2k 1.4, 4k 3.6.
    """
    height: Annotated[int, Field(ge=1)] | None = None
    """Height of the result in px. Range: from 1. The price depends on it. Price in credits by resolution: 1k
    0.9, 2k 1.4, 4k 3.6.
    """
    steps: Annotated[int, Field(ge=1)] | None = None
    """Number of denoising steps. More are slower, and may be finer. Range: from 1."""
    seed: int | None = None
    """Start of the random numbers: the same seed and fields give the same image. None: the server chooses."""
    safety_tolerance: OpenTolerance | None = None
    """How much the moderation lets pass: 0 is the strictest. Range: from 0."""
    output_format: OutputFormat | None = None
    """File format of the result."""


class _Flux3Video(User):
    """What the modes share; `mode` is always sent. Its longer names are turned into the short ones."""

    endpoint: ClassVar[str] = "/v1/flux-3-video"
    always_sent: ClassVar[tuple[str, ...]] = ("mode",)

    safety_tolerance: Tolerance4 = 2
    """How much the moderation lets pass: 0 is the strictest. Range: 0 to 4. Default: 2."""


class _Generating(_Flux3Video):
    # `draft` is for hd alone by a digest of BFL's pages of 2026-10-08; the server checks it.
    prompt: str
    """What to make, in words. Required."""
    aspect_ratio: Flux3VideoRatio = "auto"
    """Width to height, such as `16:9`. Default: auto."""
    resolution: Flux3VideoSize = "hd"
    """Size class of the result. Default: hd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """
    version: Literal["latest"] = "latest"
    """Version of the model. Default: latest."""
    generate_audio: bool = True
    """Whether the video gets a sound track. Default: True."""
    draft: bool = False
    """Whether to make a draft: cheaper, and the base of a full video. Default: False. The price depends on
    it. Price: 6 to 95 credits per second, by mode and resolution.
    """


VideoSeconds = Annotated[int, Field(ge=5, le=20)] | Literal["auto"]
ContinuedSeconds = Annotated[int, Field(ge=5, le=15)] | Literal["auto"]


class Flux3VideoT2V(_Generating):
    """Generate a video of 5 to 20 s from a prompt.

    Source: BFL OpenAPI, read 2026-09-19, inferred from the mode `i2v`.
    Price: 6 to 95 credits per second, by mode and resolution.
    """

    mode: Annotated[Literal["t2v", "text-to-video"], AfterValidator(lambda _: "t2v")] = "t2v"
    """Which kind of request it is. Default: t2v. The price depends on it. Price: 6 to 95 credits per second,
    by mode and resolution.
    """
    duration: VideoSeconds = "auto"
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 20. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """


class Flux3VideoI2V(_Generating):
    """Generate a video of 5 to 20 s from one image or several.

    Source: BFL OpenAPI, read 2026-09-19.
    Price: 6 to 95 credits per second, by mode and resolution.
    """

    mode: Annotated[Literal["i2v", "image-continuation"], AfterValidator(lambda _: "i2v")] = "i2v"
    """Which kind of request it is. Default: i2v. The price depends on it. Price: 6 to 95 credits per second,
    by mode and resolution.
    """
    duration: VideoSeconds = "auto"
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 20. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    keyframes: KeyframesField
    """One image of the video, or several, all or none with their second. Files: jpeg, png or webp, at most
    20 MB and 20 MP. Required.
    """


class Flux3VideoV2V(_Generating):
    """Continue a video by 5 to 15 s.

    Source: BFL OpenAPI, read 2026-09-19, inferred from the mode `i2v`.
    Price: 6 to 95 credits per second, by mode and resolution.
    """

    mode: Annotated[Literal["v2v", "video-continuation"], AfterValidator(lambda _: "v2v")] = "v2v"
    """Which kind of request it is. Default: v2v. The price depends on it. Price: 6 to 95 credits per second,
    by mode and resolution.
    """
    duration: ContinuedSeconds = "auto"
    """Seconds of the video. `auto` leaves them to the server. Range: 5 to 15. Default: auto. The price
    depends on it. Price: 6 to 95 credits per second, by mode and resolution.
    """
    start_video: Video
    """The video to continue. Files: mp4, at most 200 MB. Required."""


class Flux3VideoDraftEnhance(_Flux3Video):
    """Make a draft into a full video: `draft_cache` is the draft's `Result.draft_cache`.

    Source: BFL OpenAPI, read 2026-09-19.
    Price: 6 to 95 credits per second, by mode and resolution.
    """

    mode: Annotated[Literal["draft_enhance", "draft-enhance"], AfterValidator(lambda _: "draft_enhance")] = (
        "draft_enhance"
    )
    """Which kind of request it is. Default: draft_enhance. The price depends on it. Price: 6 to 95 credits
    per second, by mode and resolution.
    """
    draft_cache: Annotated[str, Field(repr=False)]  # a signed URL
    """The draft's `Result.draft_cache`. Required."""
    resolution: Flux3VideoSize = "fhd"
    """Size class of the result. Default: fhd. The price depends on it. Price: 6 to 95 credits per second, by
    mode and resolution.
    """


Flux3Video: TypeAlias = Flux3VideoT2V | Flux3VideoI2V | Flux3VideoV2V | Flux3VideoDraftEnhance
"""A request for `flux-3-video`, told apart by `mode`."""
