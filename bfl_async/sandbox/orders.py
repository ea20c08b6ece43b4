"""What a request comes to: the size of its result, its megapixels, and the checks beyond the schema.

The schema calls an image a string. Here it is opened as far as its header, so that a reply tells the true
megapixels and a result has the input's size. How the API refuses an image, a mask or a ratio that is none
was not recorded: the status and the form are those of all its refusals, the words are this sandbox's.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bfl_async.sandbox import images
from bfl_async.sandbox.images import ImageBroken, Size
from bfl_async.sandbox.models import MEGAPIXEL_PX, Model, Order
from bfl_async.sandbox.rules import Json, RulesBroken

Fields = Mapping[str, Json]
Place = tuple[str | int, ...]

_IMAGE_MAX_PX = 20 * 1000 * 1000
_FLUX_3_IMAGE_MAX_PX = 16 * MEGAPIXEL_PX
_FLUX_3_MAX_CHARACTERS = 20 * 1000 * 1000
_SIDE_MIN_PX = 256  # for the FLUX 3 image models and for expanding
# Guides say that FLUX.2 and its tools draw 4 MP at most; the spec has no upper bound.
_OUTPUT_MAX_PX = 4 * MEGAPIXEL_PX
_EXPANDED_MAX_PX = 20 * 1000 * 1000  # the sandbox draws no more; what the API does was not recorded
_SIDE_MAX_PX = 16_383  # the most that a WebP image can have
_URL_SIZE = Size(1024, 1024)  # taken for an image that is only named
_VIDEO_SIZE = Size(1280, 720)  # taken for every input video
_VIDEO_S = 5.0  # of every input video, and of one whose length is left to the API

_IMAGE_NAMES = (
    *("image", "mask", "image_prompt", "control_image", "preprocessed_image"),
    *("input_image", *(f"input_image_{n}" for n in range(2, 9))),
    *("person", "garment", "images", "keyframes"),
)
_VIDEO_NAMES = ("video", "start_video", "input_video")
_RESOLUTIONS = {
    **{"768sq": Size(768, 768), "1k": Size(1024, 1024), "1.5k": Size(1536, 1536)},
    **{"2k": Size(2048, 2048), "4k": Size(4096, 4096)},
    **{"hd": Size(1280, 720), "fhd": Size(1920, 1080), "qhd": Size(2560, 1440), "uhd": Size(3840, 2160)},
}

_IMAGE_TIERS = ("768sq", "1k", "1.5k", "2k", "4k")


def refusal(reason: str, value: Json, *place: str | int) -> RulesBroken:
    """The 422 that pydantic makes of a check of the API's own."""
    return RulesBroken(
        [
            {
                "type": "value_error",
                "loc": ["body", *place],
                "msg": f"Value error, {reason}",
                "input": value,
                "ctx": {"error": reason},
            }
        ]
    )


@dataclass(frozen=True, slots=True)
class _Input:
    """One input image."""

    name: str  # of the field in which it came
    size: Size
    is_url: bool


def take(model: Model, fields: Fields, *, drafted: Order | None = None) -> Order:
    """Work out what a checked body asks for.

    Args:
        model: The one that is asked.
        fields: What `rules.check` returned.
        drafted: The order whose draft is to be enhanced.
    Raises:
        RulesBroken: It asks for what cannot be, or brings an image that is none.
    """
    _check_videos(fields)
    inputs = [_open(model, *found) for found in _images_in(fields)]
    sizes = {image.name: image.size for image in reversed(inputs)}
    if drafted is not None:
        return _enhanced(fields, drafted)
    order = Order(
        prompt=_text(fields, "prompt"),
        width=0,
        height=0,
        output_format=_text(fields, "output_format") or model.default_format,
        # From 0.0: the reply tells a float also of no images.
        input_mp=sum(
            (
                1.0 if image.is_url else image.size.px / MEGAPIXEL_PX
                for image in inputs
                if image.name != "mask"
            ),
            0.0,
        ),
        upsampled=_upsampled(model, fields),
    )
    order = _RESULTS.get(model.name, _generated)(order, fields, sizes)
    return replace(order, width=min(order.width, _SIDE_MAX_PX), height=min(order.height, _SIDE_MAX_PX))


# ---- what comes in


def _images_in(fields: Fields) -> Iterator[tuple[str, Place]]:
    for name in _IMAGE_NAMES:
        yield from _texts_in(fields.get(name), (name,))


def _texts_in(value: Json, place: Place) -> Iterator[tuple[str, Place]]:
    """The texts of a value: alone, in a list, beside a number, or a list of such pairs."""
    if isinstance(value, str):
        yield value, place
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts_in(item, (*place, number))


def _open(model: Model, text: str, place: Place) -> _Input:
    if images.is_url(text):
        return _Input(str(place[0]), _URL_SIZE, is_url=True)
    is_flux3 = model.family == "flux3-image"
    try:
        if is_flux3 and len(text) > _FLUX_3_MAX_CHARACTERS:
            raise ImageBroken("the image exceeds 20,000,000 characters of base64")
        # Of FLUX 3, one client says that data URLs are refused (2026-10-01), and another sends them (2026-10-16): what
        # either of them does is taken.
        size = images.size_of(images.decode(text))
        if is_flux3 and size.px > _FLUX_3_IMAGE_MAX_PX:
            # By a digest of BFL's pages of 2026-10-08, which does not give the words.
            raise RulesBroken("the image exceeds 16 megapixels", status=400)
        if size.px > _IMAGE_MAX_PX:
            raise ImageBroken("the image exceeds 20 megapixels")
        if (is_flux3 or model.name == "flux-pro-1.0-expand") and min(size) < _SIDE_MIN_PX:
            raise ImageBroken("the image has a side of less than 256 pixels")
    except ImageBroken as exc:
        # What was sent is left out of the answer, as it may be megabytes.
        raise refusal(str(exc), None, *place) from exc
    return _Input(str(place[0]), size, is_url=False)


def _check_videos(fields: Fields) -> None:
    for name in _VIDEO_NAMES:
        text = _text(fields, name)
        if name in fields and not images.is_url(text):
            try:
                if not images.decode(text):
                    raise ImageBroken("the video is empty")
            except ImageBroken as exc:
                raise refusal(str(exc), None, name) from exc


# ---- what comes out


def _upsampled(model: Model, fields: Fields) -> bool:
    """Whether the prompt is rewritten, by the field of the model that says so or by the model's default."""
    if "disable_pup" in fields:
        return fields["disable_pup"] is not True
    return fields.get("prompt_upsampling", model.upsamples) is True


Sizes = Mapping[str, Size]
Result = Callable[[Order, Fields, Sizes], Order]


def _sized(order: Order, size: Size) -> Order:
    return replace(order, width=size.width, height=size.height)


def _text(fields: Fields, name: str, default: str = "") -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else default


def _number(fields: Fields, name: str, default: float) -> float:
    value = fields.get(name)
    return value if isinstance(value, int | float) else default


def _whole(fields: Fields, name: str, default: int) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else default


def _flux1_size(order: Order, fields: Fields, sizes: Sizes) -> Order:
    del sizes  # an image prompt lends its content, not its size
    return _sized(order, Size(_whole(fields, "width", 1024), _whole(fields, "height", 768)))


def _generated(order: Order, fields: Fields, sizes: Sizes) -> Order:
    """FLUX.2: the size that is asked for, else the first image's, else a square megapixel."""
    default = _at_most(sizes.get("input_image", _URL_SIZE), _OUTPUT_MAX_PX, step=16, least=64)
    size = Size(_whole(fields, "width", default.width), _whole(fields, "height", default.height))
    if size.px > _OUTPUT_MAX_PX:
        raise refusal("width x height exceeds 4 megapixels", dict(fields))
    return _sized(order, size)


def _by_ratio(px: int, default: str, tallest: float) -> Result:
    """About so many pixels at the ratio that is asked for, which lies between 1/tallest and tallest."""

    def result(order: Order, fields: Fields, sizes: Sizes) -> Order:
        del sizes
        text = _text(fields, "aspect_ratio", default)
        ratio = _ratio(text)
        if ratio is None or not 0.999 / tallest < ratio < 1.001 * tallest:  # both ends are drawn
            raise refusal("aspect_ratio is no ratio that this model draws", text, "aspect_ratio")
        return _sized(order, _with_ratio(px, ratio, step=16))

    return result


def _as_input(*names: str, most_px: int = _IMAGE_MAX_PX) -> Result:
    """The size of the image in the first of these fields that is there."""

    def result(order: Order, fields: Fields, sizes: Sizes) -> Order:
        size = next((sizes[name] for name in names if name in sizes), None)
        if size is None:
            raise refusal(f"one of {' and '.join(names)} is required", dict(fields))
        return _sized(order, _at_most(size, most_px, step=1, least=1))

    return result


def _masked(order: Order, fields: Fields, sizes: Sizes) -> Order:
    mask = fields.get("mask")
    # Of images that are only named the sandbox knows no size, so that there is nothing to compare.
    named = any(images.is_url(_text(fields, name)) for name in ("image", "mask"))
    if mask is not None and not named and sizes["mask"] != sizes["image"]:
        raise refusal("the mask and the image differ in size", None, "mask")
    return _sized(order, sizes["image"])


def _expanded(order: Order, fields: Fields, sizes: Sizes) -> Order:
    image = sizes["image"]
    size = Size(
        image.width + _whole(fields, "left", 0) + _whole(fields, "right", 0),
        image.height + _whole(fields, "top", 0) + _whole(fields, "bottom", 0),
    )
    return _sized(order, _at_most(size, _EXPANDED_MAX_PX, step=1, least=1))


def _flux3_image(order: Order, fields: Fields, sizes: Sizes) -> Order:
    if not order.prompt.strip():
        raise refusal("the prompt is blank", order.prompt, "prompt")
    tier = _text(fields, "resolution", "1k")
    text = _text(fields, "aspect_ratio", "auto")
    first = sizes.get("images", _RESOLUTIONS[tier])
    ratio = _ratio(text) or min(21 / 9, max(9 / 21, first.width / first.height))
    return _sized(replace(order, tier=tier), _with_ratio(_RESOLUTIONS[tier].px, ratio, step=16))


def _flux3_klein(order: Order, fields: Fields, sizes: Sizes) -> Order:
    """As its larger sibling, but for an exact width and height; the price is that of the size that holds them."""
    order = _flux3_image(order, fields, sizes)
    size = Size(_whole(fields, "width", order.width), _whole(fields, "height", order.height))
    if size == (order.width, order.height):
        return order
    tier = next((tier for tier in _IMAGE_TIERS if size.px <= _RESOLUTIONS[tier].px), None)
    if tier is None:
        raise refusal("width x height exceeds 4k", dict(fields))
    return _sized(replace(order, tier=tier), size)


def _flux3_video(order: Order, fields: Fields, sizes: Sizes) -> Order:
    resolution = _text(fields, "resolution", "hd")
    draft = fields.get("draft") is True
    base = "draft" if draft else resolution
    first = sizes.get("keyframes", _VIDEO_SIZE)
    ratio = _ratio(_text(fields, "aspect_ratio", "auto")) or min(
        21 / 9, max(9 / 21, first.width / first.height)
    )
    if draft and resolution != "hd":
        # By a digest of BFL's pages of 2026-10-08.
        raise refusal("a draft is hd", resolution, "resolution")
    order = replace(
        order,
        ratio=ratio,
        seconds=_number(fields, "duration", _VIDEO_S),
        tier=f"v2v {base}" if fields["mode"] == "v2v" else base,
        draft=draft,
        length_known="duration" in fields and fields["duration"] != "auto",
    )
    return _sized(order, _video_size(resolution, ratio))


def _video_size(resolution: str, ratio: float) -> Size:
    """Both sides a multiple of 32, as a digest of BFL's pages of 2026-10-08 has them.

    It names 1280x704, 1440x608 and 1088x800 for hd, 1920x1088 for fhd and 3840x2176 for uhd: the nominal size, rounded
    down for hd and to the nearest multiple for the others. The sizes that it does not name follow from that.
    """
    px = _RESOLUTIONS[resolution].px
    # The small share keeps a whole multiple whole, which a root may miss by a little.
    further = 1e-9 if resolution == "hd" else 0.5
    return Size(*(math.floor(math.sqrt(px * share) / 32 + further) * 32 for share in (ratio, 1 / ratio)))


def _enhanced(fields: Fields, drafted: Order) -> Order:
    """The draft's video, in full. Its price is not published: what the video costs without a draft."""
    resolution = _text(fields, "resolution", "fhd")
    size = _video_size(resolution, drafted.ratio)
    tier = f"v2v {resolution}" if drafted.tier.startswith("v2v") else resolution
    return _sized(replace(drafted, tier=tier, draft=False, length_known=True), size)


def _edited_video(order: Order, fields: Fields, sizes: Sizes) -> Order:
    del fields, sizes
    return _sized(replace(order, seconds=_VIDEO_S, length_known=False), _VIDEO_SIZE)


def _upscaled_video(order: Order, fields: Fields, sizes: Sizes) -> Order:
    del sizes
    factor = _number(fields, "upscale_factor", 2.0)
    tier = "precise" if fields.get("creativity") == 0 else "creative"
    size = Size(*(round(side * factor / 2) * 2 for side in _VIDEO_SIZE))
    return _sized(replace(order, seconds=_VIDEO_S, tier=tier, length_known=False), size)


_RESULTS: dict[str, Result] = {
    **dict.fromkeys(("flux-pro-1.1", "flux-dev", "flux-pro", "flux-pro-finetuned"), _flux1_size),
    **dict.fromkeys(
        ("flux-pro-1.1-ultra", "flux-pro-1.1-ultra-finetuned"), _by_ratio(4 * MEGAPIXEL_PX, "16:9", 21 / 9)
    ),
    # Without a ratio the guide promises a square, whatever the input's form.
    **dict.fromkeys(("flux-kontext-pro", "flux-kontext-max"), _by_ratio(MEGAPIXEL_PX, "1:1", 7 / 3)),
    **dict.fromkeys(("flux-pro-1.0-fill", "flux-pro-1.0-fill-finetuned", "flux-tools/erase-v1"), _masked),
    "flux-pro-1.0-expand": _expanded,
    **dict.fromkeys(
        (
            *("flux-pro-1.0-canny", "flux-pro-1.0-canny-finetuned"),
            *("flux-pro-1.0-depth", "flux-pro-1.0-depth-finetuned"),
        ),
        _as_input("control_image", "preprocessed_image"),
    ),
    "flux-tools/deblur-v1": _as_input("image", most_px=_OUTPUT_MAX_PX),
    "flux-tools/vto-v1": _as_input("person", most_px=2 * MEGAPIXEL_PX),
    "flux-tools/vto-v2": _as_input("person", most_px=_OUTPUT_MAX_PX),
    "flux-3-image": _flux3_image,
    "flux-3-image-klein": _flux3_klein,
    "flux-3-video": _flux3_video,
    "flux-tools/video-edit-v1": _edited_video,
    "flux-tools/video-upscale-v1": _upscaled_video,
}


# ---- sizes


def _ratio(text: str) -> float | None:
    """Width by height, of a text such as 16:9."""
    width, colon, height = text.partition(":")
    if not (colon and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        return None
    if len(text) > 20 or not int(width) or not int(height):
        return None
    return int(width) / int(height)


def _with_ratio(px: int, ratio: float, *, step: int) -> Size:
    """About so many pixels at this ratio, both sides a multiple of `step`."""
    return Size(*(round(math.sqrt(px * share) / step) * step for share in (ratio, 1 / ratio)))


def _at_most(size: Size, px: int, *, step: int, least: int) -> Size:
    """The size, scaled down if it has more pixels; both sides a multiple of `step` that is not too small."""
    scale = min(1.0, math.sqrt(px / size.px))
    return Size(*(max(least, int(side * scale) // step * step) for side in size))
