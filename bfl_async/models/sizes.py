"""A size in px from an aspect ratio, for models that know only `width` and `height`.

A size is never larger than the megapixels that were asked for: a pixel more could cost another megapixel, if the
server rounds up. Its sides are multiples that the model takes, so its ratio is only nearly the one that was asked for.

Source of bounds: BFL OpenAPI, read 2026-09-19; of FLUX.2's multiples of 16 px and 4 MP, BFL's skill pages, read
2026-02-01, since its schema has a minimum alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

import annotated_types

from bfl_async.errors import InvalidRequestError
from bfl_async.models import check_model_name, request_classes
from bfl_async.models._base import ImageRequest
from bfl_async.models._numbers import plain_number, ratio_of
from bfl_async.models.media import MP
from bfl_async.runtime.text import printable

# For models whose schema does not state a multiple.
_STEP_PX = 16
# For models whose schema does not state a largest side.
_MAX_MP = 4.0
_USUAL_MP = 1.0
# A ratio may be missed by so much, as a logarithm: about 6 %.
_MAX_ERROR = 0.06
# How much a smaller image weighs against a ratio that is missed.
_AREA_WEIGHT = 0.25


class Size(NamedTuple):
    """A size in px. It unpacks: `width, height = size`."""

    width: int
    height: int


class Bounds(NamedTuple):
    """What a model takes: sides in px, both ends included, and pixels of the whole image."""

    least: int
    most: int
    step: int
    most_px: int


def size_for(model: str, aspect_ratio: str, megapixels: float | None = None) -> Size:
    """Return a width and a height for a model that has these fields.

        width, height = size_for("flux-2-pro", "16:9", megapixels=2)

    Both are multiples that the model takes, and within its bounds. Models that know aspect ratios, such as
    `flux-3-image`, take `aspect_ratio` instead.

    Args:
        model: The path after `/v1/`, such as `flux-2-pro`.
        aspect_ratio: Width to height, such as `16:9`.
        megapixels: The size will have at most so many (of 1,048,576 px), and about as many. None: 1, or the number
            nearest to it that the model's bounds leave for the ratio.
    Raises:
        InvalidRequestError: The model has no such fields, or no size fits.
    """
    cls = next((cls for cls in request_classes(check_model_name(model)) if _has_sides(cls)), None)
    return size_within(model, aspect_ratio, megapixels, None if cls is None else _bounds_of(cls))


def size_fields(
    model: str, aspect_ratio: str | None = None, megapixels: float | None = None
) -> Mapping[str, object]:
    """Return the fields that give a request this size: `width` and `height`, or the model's own `aspect_ratio`.

    Args:
        model: As `size_for`. One that the catalog does not know is sent the ratio.
        aspect_ratio: None: 1:1 where megapixels are given.
        megapixels: As `size_for`.
    Raises:
        InvalidRequestError: The model cannot be asked for that.
    """
    classes = request_classes(check_model_name(model))
    has_ratio = not classes or any("aspect_ratio" in cls.model_fields for cls in classes)
    bounds = next((_bounds_of(cls) for cls in classes if _has_sides(cls)), None)
    return fields_within(model, aspect_ratio, megapixels, bounds, has_ratio=has_ratio)


def bounds_of_sides(least: int, most: int, step: int) -> Bounds:
    """Return what a model takes, by the schema of its width; 0 where the schema does not say."""
    step = step or _STEP_PX
    # Of the whole image, where a side alone is not bounded.
    most_px = most**2 if most else int(_MAX_MP * MP)
    least = max(1, math.ceil(least / step)) * step
    return Bounds(least, (most or most_px // least) // step * step, step, most_px)


def fields_within(
    model: str, aspect_ratio: str | None, megapixels: float | None, bounds: Bounds | None, *, has_ratio: bool
) -> Mapping[str, object]:
    """Return the fields of `size_fields`, for a model of which these facts are known.

    Args:
        bounds: Of its width and height; None for a model without them.
        has_ratio: Whether it has an `aspect_ratio`.
    Raises:
        InvalidRequestError: The model cannot be asked for that.
    """
    if aspect_ratio is None and megapixels is None:
        return {}
    if bounds is not None and (megapixels is not None or not has_ratio):
        ratio = "1:1" if aspect_ratio is None else aspect_ratio
        width, height = _fitting(model, ratio, _checked(megapixels), bounds)
        return {"width": width, "height": height}
    if megapixels is not None:
        _refuse(model, "megapixels", "this model has no width and height that could be computed from it")
    if not has_ratio:
        _refuse(model, "aspect_ratio", "this model has neither a ratio nor a width and a height")
    return {"aspect_ratio": aspect_ratio}


def size_within(model: str, aspect_ratio: str, megapixels: float | None, bounds: Bounds | None) -> Size:
    """Return the size of `size_for`, for a model of which the bounds are known.

    Args:
        bounds: Of its width and height; None for a model without them.
    Raises:
        InvalidRequestError: The model has no such fields, or no size fits.
    """
    if bounds is None:
        _refuse(model, "width", "this model has no width and height that the catalog knows")
    return _fitting(model, aspect_ratio, _checked(megapixels), bounds)


@functools.lru_cache(maxsize=256)
def _fitting(model: str, aspect_ratio: str, megapixels: float | None, bounds: Bounds) -> Size:
    ratio = ratio_of(aspect_ratio)
    if ratio is None:
        _refuse(model, "aspect_ratio", f"'{printable(str(aspect_ratio), 40)}' is not a ratio such as 16:9")
    px = int((_USUAL_MP if megapixels is None else megapixels) * MP)
    if megapixels is not None:
        _check_room(model, aspect_ratio, ratio, px, bounds)
    else:
        # The nearest number of pixels that the bounds leave for the ratio.
        least, most = _room(ratio, bounds)
        px = min(max(px, math.ceil(least)), math.floor(most))
    size = _best(ratio, px, bounds)
    if size is None:
        _refuse(model, "aspect_ratio", f"{aspect_ratio} does not fit: {_shown(bounds)}")
    return size


def _room(ratio: float, bounds: Bounds) -> tuple[float, float]:
    """Return the smallest and the largest number of pixels at a ratio."""
    long = max(ratio, 1 / ratio)
    return bounds.least**2 * long, min(bounds.most**2 / long, bounds.most_px)


def _check_room(model: str, aspect_ratio: str, ratio: float, px: int, bounds: Bounds) -> None:
    least, most = _room(ratio, bounds)
    if not least <= px <= most:
        # Rounded inwards, so that both ends can be asked for.
        ends = math.ceil(least / MP * 100) / 100, math.floor(most / MP * 100) / 100
        room = f"from {ends[0]:g} to {ends[1]:g} MP" if least <= most else "no size at all"
        _refuse(model, "megapixels", f"at {aspect_ratio} this model takes {room}: {_shown(bounds)}")


def _best(ratio: float, px: int, bounds: Bounds) -> Size | None:
    """Return the size that is nearest to a ratio and a number of pixels, of which it has no more."""
    best: tuple[float, Size] | None = None
    for width in range(bounds.least, min(bounds.most, px // bounds.least) + 1, bounds.step):
        nearest = width / ratio / bounds.step
        for steps in (math.floor(nearest), math.ceil(nearest)):
            height = steps * bounds.step
            if not bounds.least <= height <= bounds.most or width * height > px:
                continue
            error = abs(math.log(width / height / ratio))
            if error > _MAX_ERROR:
                continue
            score = error + _AREA_WEIGHT * math.log(px / (width * height))
            if best is None or score < best[0]:
                best = score, Size(width, height)
    return None if best is None else best[1]


def _has_sides(cls: type[ImageRequest]) -> bool:
    return {"width", "height"} <= cls.model_fields.keys()


def step_of(model: str) -> int:
    """Return of what number in px a model's sides are multiples; 1 where it has no sides that the catalog knows."""
    cls = next((cls for cls in request_classes(model) if _has_sides(cls)), None)
    return 1 if cls is None else _bounds_of(cls).step


@functools.cache
def _bounds_of(cls: type[ImageRequest]) -> Bounds:
    least, most, step = 1, 0, 0
    for item in _metadata_of(cls, "width"):
        match item:
            case annotated_types.Ge(value):
                least = _whole(value)
            case annotated_types.Le(value):
                most = _whole(value)
            case annotated_types.MultipleOf(value):
                step = _whole(value)
    return bounds_of_sides(least, most, step)


def _metadata_of(cls: type[ImageRequest], name: str) -> Iterable[object]:
    field = cls.model_fields[name]
    waiting: list[object] = [*field.metadata, field.annotation]
    # What is added within the loop is looked at as well: the parts of a union and their annotations.
    for item in waiting:
        waiting += (*getattr(item, "__metadata__", ()), *getattr(item, "__args__", ()))
        waiting += getattr(item, "metadata", ())
    return waiting


def _whole(value: object) -> int:
    number = plain_number(value, whole=True)
    assert isinstance(number, int)
    return number


def _shown(bounds: Bounds) -> str:
    sides = f"sides from {bounds.least} to {bounds.most} px in steps of {bounds.step}"
    return f"{sides}, {bounds.most_px / MP:.3g} MP in all"


def _checked(megapixels: object) -> float | None:
    if megapixels is None:
        return None
    number = plain_number(megapixels, whole=False)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < float("inf"):
        problem = "is not a number above 0"
        raise InvalidRequestError(f"megapixels {problem}", errors=[("megapixels", problem)])
    return float(number)


def _refuse(model: str, field: str, problem: str) -> NoReturn:
    raise InvalidRequestError(f"no size for {model}: {field}: {problem}", errors=[(field, problem)])
