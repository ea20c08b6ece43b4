"""What a request will cost, from the catalog's price and the request's own fields. Reads files' headers only.

What the server says later always wins. Where something is not known, the basis says so: a URL's size is never
looked up, and counts as 1 MP.

Source of the formulas: BFL's pricing and skill pages, read 2026-09-25. The rounding of megapixels is not documented,
and sources contradict each other on it, on FLUX.2 [flex] and on the price of upscaling: the lowest figure counts, the
basis begins with "at least", and the highest one is what a budget sets aside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bfl_async.models._base import field_of
from bfl_async.models._numbers import plain_number
from bfl_async.models.catalog import (
    Flat,
    PerInputSecond,
    PerMegapixel,
    PerMegapixelSecond,
    PerSecond,
    model_info,
)
from bfl_async.models.headers import VideoFacts
from bfl_async.models.media import MP, Media, facts_of, size_of
from bfl_async.protocols.transport import Request
from bfl_async.types.lifecycle import Estimate

_MAX_OUTPUT_MP = 4.0  # of FLUX.2. Source: BFL's skill pages, read 2026-02-01
_LONGEST_S = {"v2v": 15, "t2v": 20, "i2v": 20}


class Quote(NamedTuple):
    """A price; `most` is an upper bound where the price itself is not known, or not for certain."""

    credits: float | None
    basis: str
    most: float | None = None


def estimate(request: Request) -> Estimate:
    """Return what a request will cost, as far as it can be known; opens files, but reads their headers only."""
    quote = quote_of(request)
    credits = quote.credits
    usd = None if credits is None else round(credits / 100, 8)
    return Estimate(credits, usd, credits is not None, quote.basis)


def quote_of(request: Request) -> Quote:
    """Return a request's price, or what bounds it."""
    info = model_info(request.model)
    price = info.price
    match price:
        case None:
            if info.state == "unknown":
                return Quote(None, f"no price is known: {request.model} is not in this release's catalog")
            return Quote(None, f"no price of {request.model} is published")
        case Flat():
            return _flat(request, price)
        case PerMegapixel():
            return _per_megapixel(request, price)
        case PerSecond():
            return _per_second(request, price)
        case PerInputSecond(credits):
            facts = _facts(request, "video")
            if facts is None:
                return Quote(None, f"{credits:g} a second of a video whose length is not known here")
            return _quoted(credits * facts.seconds, f"{credits:g} a second x {facts.seconds:g} s")
        case PerMegapixelSecond():
            return _per_megapixel_second(request, price)


def _quoted(credits: float, basis: str) -> Quote:
    return Quote(round(credits, 6), basis)


def _least(credits: float, most: float, basis: str, otherwise: str) -> Quote:
    """Return the lower of two prices, of which it is not known which one is billed; they may be equal."""
    credits, most = round(credits, 6), round(most, 6)
    if most <= credits:
        return Quote(credits, basis)
    return Quote(credits, f"at least: {basis}; {most:g} {otherwise}", most=most)


def _field(request: Request, name: str) -> object:
    """Return what is sent in a field, or what the server takes when it is left out."""
    return plain_number(field_of(request, name), whole=True)


def _facts(request: Request, name: str) -> VideoFacts | None:
    video = _field(request, name)
    return facts_of(video) if isinstance(video, Media) else None


_SIDE_PX = {"1k": 1024, "2k": 2048, "4k": 4096}


def _flat(request: Request, price: Flat) -> Quote:
    if price.by_resolution is None:
        return Quote(price.credits, "flat price of an image")
    resolution = _field(request, "resolution")
    width, height = _field(request, "width"), _field(request, "height")
    if isinstance(width, int) and isinstance(height, int):
        return _by_size(request, price.by_resolution, width, height)
    if resolution is None:
        # Which size such a model draws by default is not published.
        least, most = min(price.by_resolution.values()), max(price.by_resolution.values())
        return Quote(least, f"at least {least:g}: no resolution given, and at most {most:g}", most=most)
    found = price.by_resolution.get(str(resolution))
    if found is None:
        return Quote(None, f"no price of {request.model} at {resolution} is published")
    return Quote(found, f"price of an image at {resolution}, as third parties publish it")


def _by_size(request: Request, prices: Mapping[str, float], width: int, height: int) -> Quote:
    """Quote a size in px: its own price is not published, so that the next larger one that is counts."""
    for tier, credits in prices.items():
        if width * height <= _SIDE_PX[tier] ** 2:
            return Quote(
                credits,
                f"price of an image at {tier}, the smallest published one that holds {width} x {height} px",
            )
    return Quote(None, f"no price of {request.model} at {width} x {height} px is published")


def _per_megapixel(request: Request, price: PerMegapixel) -> Quote:
    notes: list[str] = []
    given = list(_images(request))
    sizes = [size_of(image) for image in given]
    unseen = sum(size is None for size in sizes)
    in_mp = sum(1.0 if size is None else size[0] * size[1] / MP for size in sizes)
    if unseen:
        notes.append(f"{unseen} input image{'s' if unseen > 1 else ''} of unknown size counted as 1 MP each")
    out_mp, note = _output_mp(request, sizes[0] if sizes else None)
    if note:
        notes.append(note)
    credits = _megapixel_credits(price.first, price.further, out_mp, in_mp)
    basis = f"{price.first:g} for the first MP, {price.further:g} a further one: {out_mp:.2f} MP out, {in_mp:.2f} MP in"
    # As one client counts it, October 2026.
    whole_mp = float(math.ceil(round(out_mp, 6)))
    first, further = price.highest or (price.first, price.further)
    most = _megapixel_credits(first, further, whole_mp, in_mp)
    doubts = []
    if price.highest is not None:
        doubts.append(f"a megapixel costs {further:g}, as another page has it")
    if whole_mp > out_mp > 1.0:
        doubts.append("the output is rounded up to whole megapixels")
    return _least(credits, most, "; ".join([basis, *notes]), f"if {', and '.join(doubts)}")


def _megapixel_credits(first: float, further: float, out_mp: float, in_mp: float) -> float:
    return first + max(0.0, out_mp - 1.0) * further + in_mp * further


def _output_mp(request: Request, first: tuple[int, int] | None) -> tuple[float, str]:
    """Return the megapixels of the output, and what was assumed for it; `first` is the size of an input, in px."""
    width, height = _field(request, "width"), _field(request, "height")
    if isinstance(width, int) and isinstance(height, int):
        return width * height / MP, ""
    if first is not None:
        out_mp = min(_MAX_OUTPUT_MP, first[0] * first[1] / MP)
        return out_mp, "no whole size given: counted as the first input image's"
    return 1.0, "no whole size given: counted as 1 MP"


def _images(request: Request) -> Iterator[Media]:
    extra = getattr(request, "extra_body", None) or {}
    given = {name: value for name, value in request.media().items() if name not in extra}
    # Which texts of fields that are not known are URLs of images, is not known either.
    added = {name: value for name, value in extra.items() if not isinstance(value, str)}
    for value in (given | added).values():
        if isinstance(value, Media):
            yield value


def _per_second(request: Request, price: PerSecond) -> Quote:
    mode = str(_field(request, "mode"))
    rates = price.by_mode.get(mode)
    kind = "draft" if _field(request, "draft") is True else str(_field(request, "resolution"))
    if rates is None or kind not in rates:
        return Quote(None, f"no price of {request.model} in the mode {mode} is published")
    rate = rates[kind]
    seconds = _field(request, "duration")
    if not isinstance(seconds, int):
        longest = _LONGEST_S[mode]
        basis = (
            f"{rate:g} a second ({mode}, {kind}) for a duration that the server chooses, at most {longest} s"
        )
        return Quote(None, basis, most=rate * longest)
    return _quoted(rate * seconds, f"{rate:g} a second ({mode}, {kind}) x {seconds} s")


def _per_megapixel_second(request: Request, price: PerMegapixelSecond) -> Quote:
    factor = _field(request, "upscale_factor")
    creativity = 0 if _field(request, "creativity") == 0 else 1
    rate = price.by_creativity[creativity]
    facts = _facts(request, "input_video")
    if facts is None or not isinstance(factor, int | float):
        return Quote(None, f"{rate:g} a MP and second of a video whose size and length are not known here")
    mp = facts.width * facts.height * factor * factor / MP
    credits = rate * mp * facts.seconds
    basis = f"{rate:g} a MP and second x {mp:.2f} MP out x {facts.seconds:g} s"
    if price.captured is None:
        return _quoted(credits, basis)
    billed = price.captured[creativity]
    most = float(math.ceil(round(billed * mp * facts.seconds, 6)))
    return _least(
        credits, most, basis, f"if it is billed at {billed:g} in whole credits, as captured in August 2026"
    )
