"""Fields that several models share: each bound of the API stands here once, or in the one class that has it.

Source: BFL OpenAPI, read 2026-09-19. Both ends of every range count.

Here and in the families' modules annotations are no texts (no `from __future__ import annotations`): pydantic would
compile each of them at import.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, PydanticCustomError, Url, core_schema

from bfl_async.models._base import ImageRequest
from bfl_async.models._numbers import is_number, plain_number, ratio_of
from bfl_async.models.input_files import MediaProblem
from bfl_async.models.media import Media, MediaRule, MediaSource, take

OutputFormat = Literal["jpeg", "png", "webp"]


def _check_url(text: str) -> str:
    problem = "Input should be a URL that begins with http:// or https://"
    try:
        url = Url(text)
    except ValidationError as exc:
        raise PydanticCustomError("url", "{problem}", {"problem": problem}) from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise PydanticCustomError("url", "{problem}", {"problem": problem})
    # As it was given: an escape or a slash more would make it another one for a strict receiver.
    return text


def _check_ratio(text: str) -> str:
    if ratio_of(text) is None:
        problem = "Input should be a ratio of width to height, such as 16:9"
        raise PydanticCustomError("ratio", "{problem}", {"problem": problem})
    return text


WebhookURL = Annotated[str, Field(min_length=1, max_length=2083), AfterValidator(_check_url)]
# Which ratios are drawn is the server's to say: the documented ends are rounded.
Ratio = Annotated[str, AfterValidator(_check_ratio)]
UserId = Annotated[str, Field(min_length=1, max_length=256)]
Secret = Annotated[str | None, Field(repr=False)]

# How much the moderation lets pass: 0 is the strictest. Its upper end is the family's.
# The FLUX 3 image models have 0 to 4 in a digest of BFL's pages of 2026-10-08, and 0 to 7 in a client's release notes
# of 2026-10-15: the upper end is left to the server.
OpenTolerance = Annotated[int, Field(ge=0)]
Tolerance4 = Annotated[int, Field(ge=0, le=4)]
Tolerance5 = Annotated[int, Field(ge=0, le=5)]
Tolerance6 = Annotated[int, Field(ge=0, le=6)]

Flux1SidePx = Annotated[int, Field(ge=256, le=1440, multiple_of=32)]
SidePx = Annotated[int, Field(ge=64)]
ExpandPx = Annotated[int, Field(ge=0, le=2048)]

Steps1 = Annotated[int, Field(ge=1, le=50)]
Steps15 = Annotated[int, Field(ge=15, le=50)]
Guidance5 = Annotated[float, Field(ge=1.5, le=5)]
Guidance10 = Annotated[float, Field(ge=1.5, le=10)]
Guidance100 = Annotated[float, Field(ge=1.5, le=100)]
ControlGuidance = Annotated[float, Field(ge=1, le=100)]
Threshold = Annotated[int, Field(ge=0, le=500)]
Share = Annotated[float, Field(ge=0, le=1)]
FinetuneStrength = Annotated[float, Field(ge=0, le=2)]

# Images and videos. `repr=False`: `ImageRequest` shows them in its own way.
IMAGE = MediaRule()
EXPAND_IMAGE = MediaRule(min_side_px=256)
FLUX3_IMAGE = MediaRule(max_mp=16, min_side_px=256, max_chars=20_000_000)
# 200 MB: no bound of the API's is known; this one keeps a wrong file out of the memory.
VIDEO = MediaRule("video", max_bytes=200 * 1024 * 1024)

Image = Annotated[MediaSource, IMAGE, Field(repr=False)]
OptionalImage = Annotated[Annotated[MediaSource, IMAGE] | None, Field(repr=False)]
ExpandImage = Annotated[MediaSource, EXPAND_IMAGE, Field(repr=False)]
Video = Annotated[MediaSource, VIDEO, Field(repr=False)]


class _OneOrSeveral:
    """Takes one image or several, and keeps them as a tuple, whose errors name the place of the image."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        several = Annotated[
            Sequence[Annotated[MediaSource, FLUX3_IMAGE]],
            BeforeValidator(_listed),
            AfterValidator(tuple),
        ]
        return handler.generate_schema(several)


def _listed(value: object) -> object:
    is_one = not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray | memoryview)
    return (value,) if is_one else value


# Both forms are the API's, by a digest of BFL's pages of 2026-10-08; a list is what it always took, and is sent.
Flux3Images = Annotated[
    Annotated[MediaSource, FLUX3_IMAGE] | Sequence[Annotated[MediaSource, FLUX3_IMAGE]],
    _OneOrSeveral(),
    Field(min_length=1, max_length=10, repr=False),
]

Keyframes: TypeAlias = (
    MediaSource | tuple[float, MediaSource] | Sequence[MediaSource | tuple[float, MediaSource]]
)
"""One image, or several, all or none with their second in the video: `[(0.0, first), (4.5, last)]`."""


class KeyframesRule(MediaRule):
    """Checks `Keyframes`."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: object) -> object:
            try:
                return _keyframes(value, self)
            except MediaProblem as exc:
                raise PydanticCustomError("media", "{problem}", {"problem": str(exc)}) from None

        return core_schema.no_info_plain_validator_function(check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        text = {"type": "string"}
        timed = {"type": "array", "prefixItems": [{"type": "number"}, text], "minItems": 2, "maxItems": 2}
        several = [{"type": "array", "items": item} for item in (text, timed)]
        return {"anyOf": [text, timed, *several]}


def _keyframes(value: object, rule: MediaRule) -> object:
    if not isinstance(value, list | tuple):
        return take(value, rule)
    if _is_timed(value):
        return _timed(value, rule)
    if value and all(isinstance(item, list | tuple) for item in value):
        return tuple(_timed(item, rule) for item in value)
    return tuple(take(item, rule) for item in value)


def _is_timed(value: Sequence[object]) -> bool:
    return len(value) == 2 and is_number(value[0])


def _timed(value: Sequence[object], rule: MediaRule) -> tuple[float, Media]:
    second = plain_number(value[0], whole=False) if _is_timed(value) else None
    if not isinstance(second, int | float) or not abs(second) < float("inf"):
        raise MediaProblem("is no pair of a second and an image")
    # One form, so that 0 and 0.0 are one second in the identity of a row as well.
    return float(second), take(value[1], rule)


KeyframesField = Annotated[Keyframes, KeyframesRule(), Field(repr=False)]


class User(ImageRequest):
    """An opaque id of the end user, for BFL's abuse reports."""

    user: UserId | None = None
    """An opaque id of your end user, for BFL's abuse reports. Range: 1 to 256 long."""


class Webhook(User):
    """Where the server reports the end of the task, besides the polls."""

    webhook_url: WebhookURL | None = None
    """http(s) URL that the server calls when the task ends. Range: 1 to 2083 long."""
    webhook_secret: Secret = None
    """Secret that the server sends with, or signs, the webhook's call."""
