"""What a check is, and what it is given: a client, the same transport with another key, and what came in deliveries."""

from __future__ import annotations

import json
import math
import re
import secrets
import string
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bfl_async import AsyncBFL, ImageRequest, request
from bfl_async.models.pricing import quote_of
from bfl_async.types import Reply
from tests.live.exchanges import Recorder

SIDE_PX = 256
CHEAPEST = "flux-2-klein-4b"
# Seconds for one end. The sandbox takes less than a second.
WAIT_S = 120.0
# A key that no account has by its form: the keys that BFL gives out begin with bfl_.
MALFORMED_KEY = "not-a-key"
# What a request counts for, in credits, where no price is published. The older prices are 2.5 to 5.
UNKNOWN_CREDITS = 5.0

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Delivered:
    """A delivery as it came, before anything checked it."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Visit:
    """A check's time at a server.

    Attributes:
        ask: Sends one call with the key of that name ("right", "unknown", "malformed"), outside of the client. A body
            makes it a POST.
        error_with: What this release raises for a key, by its name: the class, and whether it carries a request id.
        deliveries: What came to the webhook, in order.
        lag_s: Seconds after which a balance counts as final.
    """

    bfl: AsyncBFL
    recorder: Recorder
    ask: Callable[[str, str, Mapping[str, object] | None], Awaitable[Reply]]
    error_with: Callable[[str], Awaitable[tuple[str, bool]]]
    deliveries: list[Delivered] = field(default_factory=list)
    lag_s: float = 0.0


@dataclass(frozen=True)
class Check:
    """One thing to try.

    Attributes:
        requests: What it sends at the most. None of them: it is free.
        work: Sends it, and returns what came of it.
        slots: What the client believes it has.
        webhook: The client learns of ends from deliveries.
        service_s: Of the sandbox's tasks.
    """

    name: str
    requests: tuple[ImageRequest, ...]
    work: Callable[[Visit, tuple[ImageRequest, ...]], Awaitable[Facts]] = field(repr=False)
    slots: int = 12
    webhook: bool = False
    service_s: float = 0.2

    @property
    def usd(self) -> float:
        """What it may cost at the most, where sources contradict each other by the highest."""
        return math.fsum(_most_credits(each) for each in self.requests) / 100


def _most_credits(wanted: ImageRequest) -> float:
    quote = quote_of(wanted)
    return max(quote.credits or 0.0, quote.most or 0.0) or UNKNOWN_CREDITS


def small(model: str, prompt: str, **fields: object) -> ImageRequest:
    """A request for a small image."""
    return request(model, prompt=prompt, **{"width": SIDE_PX, "height": SIDE_PX, **fields})


def unknown_key(like: str) -> str:
    """A key of the same form as the right one that no account has: of no use to whoever sees it."""
    start = "bfl_" if like.startswith("bfl_") else ""
    return start + re.sub("[A-Za-z0-9]", lambda _: secrets.choice(string.ascii_letters), like[len(start) :])


def said(reply: Reply) -> str:
    """An answer in a few words: the HTTP code, and the status, the refusal's text or the fields that were wrong."""
    data = object_of(reply)
    detail = data.get("detail")
    if isinstance(detail, list):
        return f"{reply.status_code} about {', '.join(sorted(errors_of(reply)))}"
    return f"{reply.status_code} {data.get('status') or detail or '-'}"


def object_of(reply: Reply) -> Mapping[str, object]:
    """The JSON object in a body; an empty one if there is none."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def errors_of(reply: Reply) -> dict[str, Mapping[str, object]]:
    """The errors of a 422 by the field that they are about; of several the first."""
    detail = object_of(reply).get("detail")
    found: dict[str, Mapping[str, object]] = {}
    for error in detail if isinstance(detail, list) else []:
        place = error.get("loc") if isinstance(error, dict) else None
        if isinstance(place, list) and place:
            found.setdefault(str(place[min(1, len(place) - 1)]), error)
    return found


def bound_of(reply: Reply, name: str) -> object:
    """The bound that a field has broken, in the words of the 422; "accepted" if it is not among its errors."""
    error = errors_of(reply).get(name)
    return "accepted" if error is None else error.get("msg")
