"""What the sandbox knows of each model: how long it takes, what it costs, how its replies look.

Times are simulator defaults: log-normal around a median, guessed from the few measured runs that are
public, at about one megapixel and not scaled by size. Prices are the published ones (pricing page
of docs.bfl.ml, September 2026; flux-3-image: October 2026, as its clients tell them); those that are
nowhere published are marked so, and taken from the nearest kin or from what clients of old carried along.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

MEGAPIXEL_PX = 1024 * 1024
IMAGE_TTL_S = 600.0

Family = Literal["flux1", "flux2", "flux3-image", "video"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a request comes to: the result to make, and all that its price is counted from."""

    prompt: str
    width: int  # px, of the result
    height: int
    output_format: str  # of the result: jpeg, png, webp or mp4
    input_mp: float = 0.0  # of all input images, masks excepted; one that is a URL counts as 1.0
    ratio: float = 1.0  # of a video: width by height as it was asked for, before its sides were rounded
    seconds: float = 0.0  # of a video
    tier: str = ""  # the word that chooses among a model's prices
    upsampled: bool = False  # the result tells a rewritten prompt
    draft: bool = False  # the result comes with a draft cache
    length_known: bool = True  # False: the price of a video is known when it is made

    @property
    def output_mp(self) -> float:
        """Megapixels of the result, or of one frame of it."""
        return self.width * self.height / MEGAPIXEL_PX


Price = Callable[[Order], float]


def per_megapixel(first: float, further: float) -> Price:
    """The first megapixel costs `first` credits however little of it is used; all others their share.

    Not rounded: the API's own answers carry the noise of float sums.
    """
    return lambda order: first + further * (max(0.0, order.output_mp - 1.0) + order.input_mp)


def flat(credits: float) -> Price:
    """One price whatever the size."""
    return lambda _order: credits


def by_tier(credits: Mapping[str, float]) -> Price:
    """One price for each resolution."""
    return lambda order: credits[order.tier]


def per_second(credits: Mapping[str, float]) -> Price:
    """A price for each second of the video, by tier."""
    return lambda order: order.seconds * credits[order.tier]


def per_megapixel_second(credits: Mapping[str, float]) -> Price:
    """A price for each megapixel of each second, by tier, in whole credits: 9.75 of them were billed with 74.0."""
    # The small share keeps the noise of float sums from costing a credit.
    return lambda order: float(math.ceil(order.seconds * order.output_mp * credits[order.tier] - 1e-9))


@dataclass(frozen=True, slots=True)
class Model:
    """One model's facts."""

    name: str
    median_s: float  # accepted to Ready
    sigma: float  # of the time's logarithm
    price: Price
    family: Family
    cost_at_submit: bool = True  # False: the submit says null, the final poll reports the settled cost
    default_format: str = "jpeg"
    result_ttl_s: float = IMAGE_TTL_S  # how long the result's URL is good for
    progress_steps: int = 0  # in which its polls tell its progress; 0: they tell none
    upsamples: bool = False  # the prompt is rewritten where the body does not say
    shared_pool: str = ""  # the pool, where it does not bear the model's own name

    @property
    def flux1(self) -> bool:
        """FLUX.1 uploads for a while and tells end_time; the others do neither."""
        return self.family == "flux1"

    @property
    def pool(self) -> str:
        """The name of the limit that its tasks share beneath the account's."""
        return self.shared_pool or self.name

    def cost(self, order: Order) -> float:
        """The price in credits."""
        return self.price(order)

    def status_in_flight(self, share: float) -> str:
        """The status of a task that has done this share of its work, from 0 to 1.

        The two words came into the API with FLUX 3 video; when each of them shows is not documented.
        """
        if self.family != "video" or share < 0.05:
            return "Pending"
        return "Reasoning" if share < 0.15 else "Generating"


def _flux1(name: str, median_s: float, sigma: float, price: Price, *, form: str = "jpeg") -> Model:
    return Model(name, median_s, sigma, price, "flux1", default_format=form, progress_steps=10)


def _flux2(
    name: str, median_s: float, sigma: float, price: Price, *, form: str = "jpeg", upsamples: bool = False
) -> Model:
    return Model(name, median_s, sigma, price, "flux2", default_format=form, upsamples=upsamples)


def _video(
    name: str, median_s: float, sigma: float, price: Price, ttl_s: float, *, progress_steps: int = 0
) -> Model:
    return Model(
        name,
        median_s,
        sigma,
        price,
        "video",
        default_format="mp4",
        result_ttl_s=ttl_s,
        progress_steps=progress_steps,
        shared_pool="video",
    )


_KLEIN_4B, _KLEIN_9B = per_megapixel(1.4, 0.1), per_megapixel(1.5, 0.2)
_PRO = per_megapixel(3.0, 1.5)
_NOT_PUBLISHED = flat(5.0)

_MODELS = (
    # FLUX.1
    _flux1("flux-pro-1.1", 4.5, 0.40, flat(4.0)),
    # No published price, only one that clients of old carried along; recorded: the submit tells none either.
    Model("flux-dev", 5.0, 0.35, flat(2.5), "flux1", cost_at_submit=False, progress_steps=10),
    _flux1("flux-pro-1.1-ultra", 10.0, 0.35, flat(6.0)),
    _flux1("flux-kontext-pro", 6.0, 0.40, flat(4.0), form="png"),
    _flux1("flux-kontext-max", 9.0, 0.40, flat(8.0), form="png"),
    _flux1("flux-pro-1.0-fill", 6.0, 0.40, flat(5.0)),
    _flux1("flux-pro-1.0-expand", 6.0, 0.40, _NOT_PUBLISHED),
    # Finetuned: no published prices, those of the models beneath them.
    _flux1("flux-pro-1.1-ultra-finetuned", 10.0, 0.35, flat(6.0)),
    _flux1("flux-pro-1.0-fill-finetuned", 6.0, 0.40, flat(5.0)),
    # Retired in October 2025.
    _flux1("flux-pro", 4.5, 0.40, _NOT_PUBLISHED),
    _flux1("flux-pro-1.0-canny", 6.0, 0.40, _NOT_PUBLISHED),
    _flux1("flux-pro-1.0-depth", 6.0, 0.40, _NOT_PUBLISHED),
    _flux1("flux-pro-finetuned", 4.5, 0.40, _NOT_PUBLISHED),
    _flux1("flux-pro-1.0-canny-finetuned", 6.0, 0.40, _NOT_PUBLISHED),
    _flux1("flux-pro-1.0-depth-finetuned", 6.0, 0.40, _NOT_PUBLISHED),
    # FLUX.2
    _flux2("flux-2-pro", 10.0, 0.45, _PRO, upsamples=True),
    _flux2("flux-2-pro-preview", 5.0, 0.45, _PRO, upsamples=True),  # price not published
    _flux2("flux-2-max", 20.0, 0.45, per_megapixel(7.0, 3.0), upsamples=True),
    # The pricing page of September 2026. The overview page of that time still has 6.
    _flux2("flux-2-flex", 12.0, 0.45, per_megapixel(5.0, 5.0), upsamples=True),
    _flux2("flux-2-klein-4b", 1.0, 0.35, _KLEIN_4B),
    _flux2("flux-2-klein-9b", 1.5, 0.35, _KLEIN_9B),
    _flux2("flux-2-klein-9b-preview", 1.5, 0.35, _KLEIN_9B),  # price not published
    _flux2("flux-2-klein-9b-finetuned", 1.5, 0.35, _KLEIN_9B),
    # Prices of these five: not published.
    _flux2("flux-2-klein-4b-finetuned", 1.0, 0.35, _KLEIN_4B),
    _flux2("flux-2-klein-9b-kv-finetuned", 1.5, 0.35, _KLEIN_9B),
    _flux2("flux-2-klein-9b-kv-bf16-finetuned", 1.5, 0.35, _KLEIN_9B),
    _flux2("flux-2-klein-base-4b-finetuned", 1.0, 0.35, _KLEIN_4B),
    _flux2("flux-2-klein-base-9b-finetuned", 1.5, 0.35, _KLEIN_9B),
    # Tools for images: neither prices nor times are published.
    _flux2("flux-tools/outpainting-v1", 6.0, 0.40, _NOT_PUBLISHED, form="png"),
    _flux2("flux-tools/erase-v1", 4.0, 0.40, _NOT_PUBLISHED, form="png"),
    _flux2("flux-tools/deblur-v1", 4.0, 0.40, _NOT_PUBLISHED, form="png"),
    _flux2("flux-tools/vto-v1", 4.0, 0.40, _NOT_PUBLISHED),
    _flux2("flux-tools/vto-v2", 6.0, 0.40, _NOT_PUBLISHED),
    # FLUX 3
    Model(
        "flux-3-image",
        12.0,
        0.45,
        by_tier({"768sq": 4.1, "1k": 4.8, "1.5k": 7.0, "2k": 10.0, "4k": 60.7}),  # 1.5k: not published
        "flux3-image",
        # Not jpeg: by a digest of BFL's pages of 2026-10-08, and by a client.
        default_format="png",
        result_ttl_s=3600.0,
        upsamples=True,
    ),
    # 1k by a gateway's model page of October 2026, 2k and 4k by a reseller's list; the other two are not published.
    # No time is published either, nor whether it rewrites prompts or which format it answers with.
    Model(
        "flux-3-image-klein",
        1.5,
        0.35,
        by_tier({"768sq": 0.9, "1k": 0.9, "1.5k": 1.4, "2k": 1.4, "4k": 3.6}),
        "flux3-image",
        default_format="png",
        result_ttl_s=3600.0,
    ),
    _video(
        "flux-3-video",
        180.0,
        0.50,
        per_second(
            {
                **{"hd": 17.0, "fhd": 29.0, "qhd": 40.0, "uhd": 80.0, "draft": 6.0},
                **{"v2v hd": 41.0, "v2v fhd": 53.0, "v2v qhd": 65.0, "v2v uhd": 95.0, "v2v draft": 12.0},
            }
        ),
        7200.0,
    ),
    # Tools for video. No times are published; nor is how long an upscaled video can be fetched.
    _video("flux-tools/video-edit-v1", 60.0, 0.50, per_second({"": 3.0}), 3600.0),
    _video(
        "flux-tools/video-upscale-v1",
        60.0,
        0.50,
        # Captured in August 2026. The pricing page of September 2026 has 7 and 10; the capture is what was billed.
        per_megapixel_second({"precise": 7.5, "creative": 10.5}),
        3600.0,
        # Captured as numbers from 0 to 1; in which steps they come is not known.
        progress_steps=100,
    ),
)
MODELS = {model.name: model for model in _MODELS}


@dataclass(frozen=True, slots=True)
class Draw:
    """One task's share of chance. Always the same number of draws, whatever the model and its prompt."""

    service_s: float
    upload_s: float
    moderation_s: float


def draw(model: Model, rng: random.Random) -> Draw:
    """Draw one task's times, in seconds at speed 1."""
    return Draw(
        service_s=model.median_s * rng.lognormvariate(0.0, model.sigma),
        upload_s=rng.uniform(0.3, 0.6),
        moderation_s=rng.uniform(0.5, 2.0),
    )
