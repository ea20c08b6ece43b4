"""What the sandbox knows of each model: how long it takes, what it costs, how its replies look.

Times are simulator defaults: log-normal around a median, guessed from the few measured runs that are
public, at about one megapixel and not scaled by size. Prices are the published ones; for `flux-dev` and
the retired `flux-pro` there is no published price, only one that clients of old carried along.
"""

import random
from dataclasses import dataclass

MEGAPIXEL_PX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Model:
    """One model's facts."""

    name: str
    median_s: float  # accepted to Ready
    sigma: float  # of the time's logarithm
    first_mp_credits: float  # a flat minimum: the first megapixel costs this however little of it is used
    next_mp_credits: float
    flux1: bool  # FLUX.1 reports progress, uploads for a while and tells end_time; FLUX.2 does none of it
    cost_at_submit: bool = True  # False: the submit says null, the final poll reports the settled cost
    default_width_px: int = 1024
    default_height_px: int = 1024

    def cost(self, output_mp: float, input_mp: float) -> float:
        """The price in credits. Not rounded: the API's own answers carry the noise of float sums."""
        billed_mp = max(0.0, output_mp - 1.0) + input_mp
        return self.first_mp_credits + self.next_mp_credits * billed_mp


_MODELS = (
    Model("flux-pro-1.1", 4.5, 0.40, 4.0, 0.0, flux1=True, default_height_px=768),
    Model("flux-pro", 4.5, 0.40, 5.0, 0.0, flux1=True, default_height_px=768),
    Model("flux-dev", 5.0, 0.35, 2.5, 0.0, flux1=True, cost_at_submit=False, default_height_px=768),
    Model("flux-2-pro", 10.0, 0.45, 3.0, 1.5, flux1=False),
    Model("flux-2-klein-4b", 1.0, 0.35, 1.4, 0.1, flux1=False),
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
