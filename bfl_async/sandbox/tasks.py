"""Tasks of the sandbox, and its counts."""

import math
from collections import Counter
from dataclasses import dataclass, field

from bfl_async.sandbox.models import Model, Order
from bfl_async.sandbox.rules import Json
from bfl_async.sandbox.webhooks import Webhook

IN_FLIGHT = "Pending"


@dataclass(slots=True)
class SandboxTask:
    """One accepted task. Times are the loop's clock in seconds."""

    id: str
    model: str
    body: dict[str, Json]  # as it was sent; empty once forgotten
    accepted_at: float
    ready_at: float  # the end, whatever status it brings; inf: only `settle` ends it
    status: str  # "Pending", then the status it ended with
    cost: float  # credits, charged on acceptance; 0 once they are given back
    cost_told: bool  # in the reply to the submit; otherwise it stands in the last poll
    order: Order  # the result to make
    facts: Model  # what the sandbox knows of `model`
    polls: int = 0
    seen_at: float | None = None  # the server's decision in the first poll that saw the end, or its delivery
    prompt: str = ""
    seed: int = 0  # the asked one, or one made up
    computed_at: float = 0.0  # FLUX.1 uploads from here to `ready_at`; progress stands at 1.0 meanwhile
    ends_as: str = "Ready"  # the status it comes to by itself
    details: dict[str, Json] | None = None  # of the end
    settled: bool = False  # by `settle`, and not by itself
    given_back: float = 0.0  # credits of a task that was moderated or failed
    webhook: Webhook | None = None  # where its end is delivered to

    @property
    def ended(self) -> bool:
        """Whether it has come to its end and holds no slot any more."""
        return self.status != IN_FLIGHT

    @property
    def width(self) -> int:
        """Pixels of the result."""
        return self.order.width

    @property
    def height(self) -> int:
        """Pixels of the result."""
        return self.order.height

    @property
    def output_format(self) -> str:
        """Of the result: jpeg, png, webp or mp4."""
        return self.order.output_format


@dataclass(frozen=True, slots=True)
class SandboxStatistics:
    """Counts since the start; `active` is the count of this moment. `refused_*` count submits."""

    accepted: int
    active: int
    peak_active: int
    refused_429: int
    refused_402: int
    refused_403: int
    refused_404: int
    refused_422: int
    polls: int
    polls_429: int  # of `polls`, those refused for being too many in one second
    downloads: int
    downloads_with_key: int  # of images that were asked for with an `x-key`, which is nobody's business there
    credits_spent: float
    deliveries: int  # by webhook, those that were taken with a 2xx
    deliveries_failed: int  # attempts that were not


@dataclass(slots=True)
class TaskCounts:
    accepted: int = 0
    peak_active: int = 0
    refused: Counter[int] = field(default_factory=Counter)  # submits by HTTP status
    polls: int = 0
    polls_429: int = 0
    downloads: int = 0
    downloads_with_key: int = 0
    credits_spent: float = 0.0


def media_type_of(output_format: str) -> str:
    return f"{'video' if output_format == 'mp4' else 'image'}/{output_format}"


def share_of(task: SandboxTask, now: float) -> float:
    """The share of the computing that is done."""
    if task.computed_at == math.inf:
        return 0.0
    if now >= task.computed_at:
        return 1.0
    return (now - task.accepted_at) / (task.computed_at - task.accepted_at)


def progress_of(task: SandboxTask, now: float) -> float | None:
    """The share of the computing that is done, rounded down to the model's steps; None before the first step."""
    steps = task.facts.progress_steps
    if not steps:
        return None
    return int(share_of(task, now) * steps) / steps or None
