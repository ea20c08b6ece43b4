"""What is known of each model before the first request: class, pools, price, and how long it takes.

One row a model. Prices are in credits (1 credit = 0.01 USD) as published, None where there is none. Latency
priors are the median and the sigma of the logarithm of the seconds from accepted to Ready; they serve until a
client has seen times of its own.

Sources: `SOURCES`, by the letters in a row's `source`. Older prices than those, such as 2.5 credits for flux-dev, are
not trusted. Where sources contradict each other, a row names both, and an estimate is the least of them and says so.

Endpoints: BFL OpenAPI, read 2026-09-19, see the request classes. Pools: BFL errors and FLUX 3 pages, read
2026-09-25. Latency: recorded traffic and BFL's own words, see docs/explanation/architecture.md; rows without a
measurement of their own have their family's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

SOURCES: Mapping[str, str] = {
    "P": "BFL's pricing page, read 2026-09-25",
    # They agree with P where both speak.
    "S": "BFL's skill pages (first and further megapixels), read 2026-02-01",
    "C": "a third party's figures, read 2026-10-01",
    "G": "a gateway's model page (1k) and a reseller's list (2k and 4k), read 2026-10-16",
    "O": "against that, BFL's overview page still has 6 for each megapixel, read 2026-09-25",
    "W": "against that, a client counts whole megapixels, rounded up (October 2026)",
    "L": "against that, a capture shows 7.5 and 10.5, rounded up to whole credits (August 2026)",
}
"""Where prices are from, by letter, each with its date."""

_IMAGE_TASK_S = 600.0
_VIDEO_TASK_S = 3_600.0


class Flat(NamedTuple):
    """So much an image; by the field `resolution` where `by_resolution` has its value."""

    credits: float | None
    by_resolution: Mapping[str, float] | None = None


class PerMegapixel(NamedTuple):
    """`first + max(0, output - 1) * further + input * further`, in megapixels of 1,048,576 px.

    Whether BFL rounds the output up to whole megapixels is not documented.

    Attributes:
        highest: What another source has for the two prices. None where no source contradicts.
    """

    first: float
    further: float
    highest: tuple[float, float] | None = None


class PerSecond(NamedTuple):
    """So much a second of the video, by mode and resolution; drafts have a price of their own."""

    by_mode: Mapping[str, Mapping[str, float]]


class PerInputSecond(NamedTuple):
    """So much a second of the video that is edited."""

    credits: float


class PerMegapixelSecond(NamedTuple):
    """So much a megapixel of the output and second, by the field `creativity`.

    Attributes:
        captured: What a bill showed against that, in whole credits. None where no source contradicts.
    """

    by_creativity: Mapping[int, float]
    captured: Mapping[int, float] | None = None


Price: TypeAlias = Flat | PerMegapixel | PerSecond | PerInputSecond | PerMegapixelSecond


class ModelInfo(NamedTuple):
    """One row of the catalog.

    Attributes:
        name: The path after `/v1/`.
        family: The product line, for people.
        classes: The request classes; several where a field tells them apart.
        median_s: Median seconds from accepted to Ready.
        sigma: Spread of the logarithm of that time.
        price: How its price is found; None where none is published.
        source: Where the price is from: a letter of `SOURCES`, or several where they contradict each other.
        pools: Narrower limits that the model counts in, besides the account's.
        task_s: Seconds after which a task is no longer followed.
        result_s: Seconds that a result's URL lasts, where the URL itself does not say.
        state: "current"; "beta", "deprecated" by BFL's own words; "retired": out of BFL's OpenAPI file; "described":
            known from a description alone; "unknown": known from its name alone.
        replaced_by: What to use instead of a retired model.
    """

    name: str
    family: str
    classes: tuple[str, ...]
    median_s: float
    sigma: float
    price: Price | None = None
    source: str = ""
    pools: tuple[str, ...] = ()
    task_s: float = _IMAGE_TASK_S
    result_s: float = 600.0
    state: Literal["current", "beta", "deprecated", "retired", "described", "unknown"] = "current"
    replaced_by: str = ""

    @property
    def endpoint(self) -> str:
        """The path of a submit."""
        return f"/v1/{self.name}"

    @property
    def prior(self) -> tuple[float, float]:
        """Median and sigma of the seconds from accepted to Ready."""
        return self.median_s, self.sigma


_VIDEO_A_SECOND = {"hd": 17.0, "fhd": 29.0, "qhd": 40.0, "uhd": 80.0, "draft": 6.0}
_CONTINUED_A_SECOND = {"hd": 41.0, "fhd": 53.0, "qhd": 65.0, "uhd": 95.0, "draft": 12.0}
_UPSCALED = PerMegapixelSecond({0: 7.0, 1: 10.0}, {0: 7.5, 1: 10.5})
_VIDEO = ("video",)
_KONTEXT = ("flux-kontext-max",)


def _flux1(
    name: str, cls: str, median_s: float, sigma: float, credits: float | None = None, **more: object
) -> ModelInfo:
    price = None if credits is None else Flat(credits)
    return ModelInfo(name, "FLUX.1", (cls,), median_s, sigma, price, "P" if price else "", **more)  # type: ignore[arg-type]  # a row's other columns, by name


def _flux1_edit(
    name: str, cls: str, median_s: float, sigma: float, credits: float | None = None, **more: object
) -> ModelInfo:
    return _flux1(name, cls, median_s, sigma, credits, **more)._replace(family="FLUX.1 editing")


def _flux2(
    name: str, cls: str, median_s: float, sigma: float, price: PerMegapixel | None = None, **more: object
) -> ModelInfo:
    return ModelInfo(name, "FLUX.2", (cls,), median_s, sigma, price, "SW" if price else "", **more)  # type: ignore[arg-type]  # a row's other columns, by name


def _retired(name: str, cls: str, replaced_by: str) -> ModelInfo:
    return ModelInfo(name, "FLUX.1", (cls,), 5.0, 0.40, state="retired", replaced_by=replaced_by)


def _tool(name: str, cls: str, median_s: float) -> ModelInfo:
    return ModelInfo(f"flux-tools/{name}", "FLUX tools", (cls,), median_s, 0.45)


def _video(name: str, classes: tuple[str, ...], price: Price, result_s: float) -> ModelInfo:
    family = "FLUX.3" if name == "flux-3-video" else "FLUX tools"
    source = "PL" if isinstance(price, PerMegapixelSecond) else "P"
    return ModelInfo(name, family, classes, 180.0, 0.5, price, source, _VIDEO, _VIDEO_TASK_S, result_s)


_LORA = "flux-2-klein-9b-finetuned"
_EDIT = "flux-2-pro"

CATALOG: dict[str, ModelInfo] = {
    row.name: row
    for row in (
        # name, class, median, sigma, credits
        _flux1("flux-pro-1.1", "FluxPro11", 4.5, 0.40, 4.0),
        _flux1("flux-pro-1.1-ultra", "FluxPro11Ultra", 10.0, 0.35, 6.0),
        _flux1("flux-dev", "FluxDev", 5.0, 0.35),
        _flux1_edit("flux-kontext-pro", "FluxKontextPro", 6.0, 0.40, 4.0, state="deprecated"),
        _flux1_edit("flux-kontext-max", "FluxKontextMax", 9.0, 0.40, 8.0, pools=_KONTEXT, state="deprecated"),
        _flux1_edit("flux-pro-1.0-fill", "FluxProFill", 6.0, 0.40, 5.0),
        _flux1_edit("flux-pro-1.0-expand", "FluxProExpand", 6.0, 0.40),
        _flux1("flux-pro-1.1-ultra-finetuned", "FluxPro11UltraFinetuned", 10.0, 0.35, state="deprecated"),
        _flux1_edit("flux-pro-1.0-fill-finetuned", "FluxProFillFinetuned", 6.0, 0.40, state="deprecated"),
        # name, class, what takes its place
        _retired("flux-pro", "FluxPro", "flux-pro-1.1"),
        _retired("flux-pro-1.0-canny", "FluxProCanny", _EDIT),
        _retired("flux-pro-1.0-depth", "FluxProDepth", _EDIT),
        _retired("flux-pro-finetuned", "FluxProFinetuned", _LORA),
        _retired("flux-pro-1.0-canny-finetuned", "FluxProCannyFinetuned", _LORA),
        _retired("flux-pro-1.0-depth-finetuned", "FluxProDepthFinetuned", _LORA),
        # name, class, median, sigma, first and further megapixels
        _flux2("flux-2-pro", "Flux2Pro", 10.0, 0.45, PerMegapixel(3.0, 1.5)),
        _flux2("flux-2-pro-preview", "Flux2ProPreview", 5.0, 0.45),
        _flux2("flux-2-max", "Flux2Max", 20.0, 0.45, PerMegapixel(7.0, 3.0)),
        _flux2("flux-2-flex", "Flux2Flex", 12.0, 0.45, PerMegapixel(5.0, 5.0, (6.0, 6.0)))._replace(source="SOW"),
        _flux2("flux-2-klein-4b", "Flux2Klein4B", 1.0, 0.35, PerMegapixel(1.4, 0.1)),
        _flux2("flux-2-klein-9b", "Flux2Klein9B", 1.5, 0.35, PerMegapixel(1.5, 0.2)),
        _flux2("flux-2-klein-9b-preview", "Flux2Klein9BPreview", 1.5, 0.35),
        _flux2("flux-2-klein-4b-finetuned", "Flux2Klein4BFinetuned", 1.0, 0.35, state="beta"),
        _flux2(_LORA, "Flux2Klein9BFinetuned", 1.5, 0.35, PerMegapixel(1.5, 0.2), state="beta"),
        _flux2("flux-2-klein-9b-kv-finetuned", "Flux2Klein9BKVFinetuned", 1.5, 0.35, state="beta"),
        _flux2("flux-2-klein-9b-kv-bf16-finetuned", "Flux2Klein9BKVBF16Finetuned", 1.5, 0.35, state="beta"),
        _flux2("flux-2-klein-base-4b-finetuned", "Flux2KleinBase4BFinetuned", 1.0, 0.35, state="beta"),
        _flux2("flux-2-klein-base-9b-finetuned", "Flux2KleinBase9BFinetuned", 1.5, 0.35, state="beta"),
        ModelInfo(
            "flux-3-image", "FLUX.3", ("Flux3Image",), 12.0, 0.45,
            Flat(None, {"768sq": 4.1, "1k": 4.8, "2k": 10.0, "4k": 60.7}), "C", result_s=3_600.0,
        ),
        ModelInfo(
            "flux-3-image-klein", "FLUX.3", ("Flux3ImageKlein",), 1.5, 0.35,
            Flat(None, {"1k": 0.9, "2k": 1.4, "4k": 3.6}), "G", result_s=3_600.0,
        ),
        _video(
            "flux-3-video",
            ("Flux3VideoT2V", "Flux3VideoI2V", "Flux3VideoV2V", "Flux3VideoDraftEnhance"),
            PerSecond({"t2v": _VIDEO_A_SECOND, "i2v": _VIDEO_A_SECOND, "v2v": _CONTINUED_A_SECOND}),
            7_200.0,
        ),
        _tool("outpainting-v1", "OutpaintingV1", 10.0),
        _tool("erase-v1", "EraseV1", 6.0),
        _tool("deblur-v1", "DeblurV1", 6.0),
        _tool("vto-v1", "VirtualTryOnV1", 6.0),
        _tool("vto-v2", "VirtualTryOnV2", 6.0),
        _video("flux-tools/video-edit-v1", ("VideoEditV1",), PerInputSecond(3.0), 3_600.0),
        _video("flux-tools/video-upscale-v1", ("VideoUpscaleV1",), _UPSCALED, 3_600.0),
    )
}  # fmt: skip


def model_info(name: str | None) -> ModelInfo:
    """Return the row of a model; a careful guess for one that the catalog does not know.

    The guess counts the model in the pool of its own name, where `Limits.pools` has one, and in "video" when
    its name says so.
    """
    known = CATALOG.get(name or "")
    if known is not None:
        return known
    if name is not None and "video" in name:
        return ModelInfo(
            name, "unknown", (), 180.0, 0.5, pools=(name, "video"), task_s=_VIDEO_TASK_S, result_s=3_600.0,
            state="unknown",
        )  # fmt: skip
    pools = (name,) if name else ()
    return ModelInfo(name or "unknown", "unknown", (), 10.0, 0.5, pools=pools, state="unknown")
