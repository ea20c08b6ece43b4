"""What an observer is told: frozen events, in the order in which things happen.

```text
Queued ─> Submitting ─┬─> Submitted ─> Polled … Polled ─> Settled ─> Downloaded …
   ^                  ├─> Refused ──────────────────────> Settled
   │                  └─> Refused, or no connection
   │                         │
   └───── (waits) <─ Retried ┘
```

The events of one request have one `request_id`. They begin with `Queued`, or with `Submitted(attached=True)` where
a task was attached, and there is exactly one `Settled`. It can come at any point: a withdrawn request has no
`Submitting`, and an ambiguous one no `Submitted`. A request that the client does not take in (invalid, queue full, over
the budget, client closed) is raised to the caller and has no events. `Downloaded` follows `Settled`, once for each
`read()` or `save()` that came to an end.

Every event has

- `at`: the moment, in seconds of the loop's clock (`loop.time()`);
- `request_id`: unique in the process, and of no meaning outside of it;
- `model`: the model's name; None for an attached task whose model was not given;
- `task_id`: the server's id; None before the server has accepted the request.

No event holds the key or a signed URL, and none a prompt unless the observer asks for it, see `PromptObserver`. They
are named tuples: a frozen dataclass takes four times as long to make, and a task has about ten of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from bfl_async.errors import BFLError
from bfl_async.status import TaskStatus
from bfl_async.types.common import distinct
from bfl_async.types.lifecycle import End
from bfl_async.types.statistics import PoolStatistics


@distinct
class Queued(NamedTuple):
    """The client has taken a request in. Told in the context (`contextvars`) of the call that asked for it.

    Attributes:
        priority: Lower goes first.
        pools: The pools in which it needs a slot.
        prompt: None unless the observer asks for prompts.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    priority: int
    pools: tuple[str, ...]
    prompt: str | None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items() if name != "prompt")
        return f"Queued({shown})"


@distinct
class Submitting(NamedTuple):
    """A request has its slots, and its POST leaves now.

    Attributes:
        attempt: Which POST of this request it is, from 1.
        waited_s: Since `Queued`, or since the last `Retried`.
        pools: All pools as they are now: slots taken, requests queued, limits.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    attempt: int
    waited_s: float
    pools: Mapping[str, PoolStatistics]


@distinct
class Submitted(NamedTuple):
    """The server has accepted a request, or a task was attached: it is followed from here on.

    Attributes:
        attempt: The POST that was accepted; 0 for an attached task.
        took_s: The POST's round trip; None for an attached task.
        cost: Credits, as far as the server has stated them.
        attached: Through `AsyncBFL.attach`: it has no `Queued`. Told in the context of that call.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    attempt: int
    took_s: float | None
    cost: float | None
    attached: bool


@distinct
class Polled(NamedTuple):
    """A poll was answered, or failed: a failed poll ends nothing.

    Attributes:
        number: Which poll of this task it is, from 1.
        took_s: Its round trip.
        status: What the answer says; None when it failed.
        progress: The share done, 0 to 1; None where the answer tells none.
        error: Why it failed; None when it was answered.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    number: int
    took_s: float
    status: TaskStatus | str | None
    progress: float | None
    error: BFLError | None


@distinct
class Refused(NamedTuple):
    """The server took nothing: no task exists. `Retried` follows, or `Settled`.

    Attributes:
        attempt: The POST that was refused.
        took_s: Its round trip.
        status_code: Of the reply, such as 402 or 429; None where the transport itself refused.
        retry_after_s: What the server asked for; None where it did not.
        error: With the server's words.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    attempt: int
    took_s: float
    status_code: int | None
    retry_after_s: float | None
    error: BFLError


@distinct
class Retried(NamedTuple):
    """An unsent request waits to be sent again: there was no slot (429), the server was away, or no connection.

    Attributes:
        attempt: The POST that came to nothing.
        error: What it met.
        wait_s: Seconds until it may be sent; None: as soon as it is granted a slot.
        pools: As in `Submitting`; after a 429 with the limit that it has taught.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    attempt: int
    error: BFLError
    wait_s: float | None
    pools: Mapping[str, PoolStatistics]


@distinct
class Settled(NamedTuple):
    """A request has ended.

    Attributes:
        end: "ready", "moderated", "failed", "ambiguous" or "withdrawn"; "answered" for a `post` that made no task.
        status: The server's last word; None where it never said one.
        error: What is raised to those who wait; None when there is a result.
        cost: Credits, as far as the server has stated them. Attached tasks were paid before.
        attempts: POSTs that left.
        polls: Polls that were sent.
        total_s: Since `Queued`, or since the task was attached.
        followed_s: Since the server accepted it; None where it did not.
        lag_s: From Ready at the server to the answer that told so. Known for models whose results have an
            `end_time`. That is the server's clock, so the figure is kept within what the polls prove: it is
            neither negative nor longer than the gap since the poll before.
        delivered: A webhook's delivery told the end, and not a poll.
        attached: As in `Submitted`.
        pools: As in `Submitting`.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    end: End
    status: TaskStatus | str | None
    error: BFLError | None
    cost: float | None
    attempts: int
    polls: int
    total_s: float
    followed_s: float | None
    lag_s: float | None
    delivered: bool
    attached: bool
    pools: Mapping[str, PoolStatistics]


@distinct
class Downloaded(NamedTuple):
    """A download has ended. Told in the context of the `read()` or `save()`; one that is cancelled is not told.

    Attributes:
        attempts: GETs that were made.
        took_s: All of them, with the pauses between.
        size_bytes: Of the image or video; None when there is none.
        media_type: Such as "image/jpeg"; None when there is none.
        error: What is raised; None when it succeeded.
    """

    at: float
    request_id: int
    model: str | None
    task_id: str | None
    attempts: int
    took_s: float
    size_bytes: int | None
    media_type: str | None
    error: BFLError | None


Event: TypeAlias = Queued | Submitting | Submitted | Polled | Refused | Retried | Settled | Downloaded

__all__ = [
    "Downloaded", "End", "Event", "Polled", "Queued", "Refused", "Retried", "Settled", "Submitted", "Submitting",
]  # fmt: skip
