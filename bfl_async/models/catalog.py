"""What is known of each model before the first request: pools, price, and how long it takes.

One row a model. Prices are USD an image as published, None where there is no flat price. Latency priors are
the median and the sigma of the logarithm of the seconds from accepted to Ready; they serve until a client
has seen times of its own.

Sources: BFL pricing page and OpenAPI, read 2026-09-25; `flux-pro` and `flux-dev` prices are older published
ones; latency from recorded traffic and BFL's own words, see docs/architecture.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_IMAGE_TASK_S = 600.0
_VIDEO_TASK_S = 3_600.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One row of the catalog.

    Args:
        name: The path after `/v1/`.
        family: The product line, for people.
        pools: Narrower limits that the model counts in, besides the account's.
        price_usd: Flat price of one image, None where there is none.
        median_s: Median seconds from accepted to Ready.
        sigma: Spread of the logarithm of that time.
        task_s: Seconds after which a task is no longer followed.
    """

    name: str
    family: str
    pools: tuple[str, ...]
    price_usd: float | None
    median_s: float
    sigma: float
    task_s: float = _IMAGE_TASK_S

    @property
    def endpoint(self) -> str:
        """The path of a submit."""
        return f"/v1/{self.name}"

    def latency_quantile_s(self, q: float) -> float:
        """Return the prior's quantile `q` (0 to 1, ends excluded) of the seconds from accepted to Ready."""
        return self.median_s * math.exp(self.sigma * NormalDist().inv_cdf(q))


CATALOG: dict[str, ModelInfo] = {
    row.name: row
    for row in (
        ModelInfo("flux-pro-1.1", "FLUX.1", (), 0.04, 4.5, 0.40),
        ModelInfo("flux-pro", "FLUX.1", (), 0.05, 5.0, 0.40),
        ModelInfo("flux-dev", "FLUX.1", (), 0.025, 5.0, 0.35),
        ModelInfo("flux-2-pro", "FLUX.2", (), None, 10.0, 0.45),
        ModelInfo("flux-2-klein-4b", "FLUX.2", (), None, 1.0, 0.35),
    )
}


def model_info(name: str | None) -> ModelInfo:
    """Return the row of a model; a careful guess for one that the catalog does not know.

    The guess counts the model in the pool of its own name, where `Limits.pools` has one, and in "video" when
    its name says so.
    """
    known = CATALOG.get(name or "")
    if known is not None:
        return known
    if name is not None and "video" in name:
        return ModelInfo(name, "unknown", (name, "video"), None, 180.0, 0.5, _VIDEO_TASK_S)
    return ModelInfo(name or "unknown", "unknown", (name,) if name else (), None, 10.0, 0.5)
