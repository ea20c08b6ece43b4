"""The values that pass between the layers, and the protocols that can be implemented outside.

What the server may add is data: statuses are open, unknown fields of a reply are kept in `raw`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from bfl_async.errors import BFLError
from bfl_async.status import TaskStatus

if TYPE_CHECKING:
    from bfl_async.result import Result

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"


class State(StrEnum):
    """Our own lifecycle of a request; the server's word is its `status`."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Update:
    """One change of a request, as `TaskHandle.updates()` yields it.

    `progress` is the server's share done, from 0 to 1; None where the model reports none.
    """

    state: State
    status: TaskStatus | str | None
    progress: float | None
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item of a stream: the request as it was given, with its result or its error."""

    index: int
    request: object = field(repr=False)  # it holds the prompt
    task_id: str | None
    result: Result | None
    error: BFLError | None

    @property
    def ok(self) -> bool:
        """True when there is a result."""
        return self.error is None

    def unwrap(self) -> Result:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error.fresh()
        assert self.result is not None
        return self.result


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """One pool: its configured limit, the working limit that 429s have taught, slots taken, requests queued."""

    limit: int
    working: int
    taken: int
    queued: int


@dataclass(frozen=True, slots=True)
class LatencyStatistics:
    """Seconds from accepted to Ready as this client saw them, over the newest 256 tasks of a model."""

    count: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a client. The first four are of now, the counts after them since the client's start.

    Every request ends in exactly one of `ready`, `moderated`, `failed`, `ambiguous` and `withdrawn`.
    """

    queued: int
    submitting: int
    active: int
    slots_taken: int
    pools: Mapping[str, PoolStatistics]
    submitted: int
    ready: int
    moderated: int
    failed: int
    ambiguous: int
    withdrawn: int
    polls: int
    refused_429: int
    credits_spent: float
    latency: Mapping[str, LatencyStatistics] = field(default_factory=dict)


# --- what the wire says -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete HTTP reply. Headers are looked up by lower-case names."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's answer to an accepted submit. `cost` is in credits, None where it is not stated."""

    task_id: str
    polling_url: str | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class PollReply:
    """A poll's answer that holds a status."""

    status: TaskStatus | str
    progress: float | None
    result: Mapping[str, JSON] | None
    details: Mapping[str, JSON] | None
    cost: float | None
    raw: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task exists and has a slot."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Refused:
    """No task exists, and the same request would be refused again."""

    error: BFLError


@dataclass(frozen=True, slots=True)
class Busy:
    """No task exists; the same request may be sent later. `no_slot`: the server counts too many tasks (429)."""

    error: BFLError
    retry_after_s: float | None
    no_slot: bool


@dataclass(frozen=True, slots=True)
class NotSent:
    """No connection was made."""

    error: BFLError


@dataclass(frozen=True, slots=True)
class Unknown:
    """A task may exist."""

    error: BFLError


SubmitAnswer: TypeAlias = Accepted | Refused | Busy | NotSent | Unknown


# --- how a request ends -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The server has a result."""

    reply: PollReply


@dataclass(frozen=True, slots=True)
class Moderated:
    """Moderation refused the prompt or the output."""

    error: BFLError


@dataclass(frozen=True, slots=True)
class Failed:
    """The server tried and failed, or knows nothing of the task."""

    error: BFLError


@dataclass(frozen=True, slots=True)
class Lost:
    """A task may be running, and we no longer follow it: its slot stays taken for a while."""

    error: BFLError


@dataclass(frozen=True, slots=True)
class Unsent:
    """No task exists: refused, or withdrawn before anything was sent."""

    error: BFLError
    withdrawn: bool = False


Settlement: TypeAlias = Ready | Moderated | Failed | Lost | Unsent


# --- protocols ----------------------------------------------------------------------------------------


class Request(Protocol):
    """What the scheduler needs of a request. The classes of `bfl_async.models` are the usual ones."""

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        ...

    def body(self) -> Mapping[str, JSON]:
        """The JSON body of the submit."""
        ...


class Transport(Protocol):
    """Carries HTTP calls. It judges nothing: replies of any status are returned as they came.

    Cancellation: a cancelled call ends at once; whether its request had left is then unknown.
    """

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST a JSON body to `path` of the base URL, once, following no redirect.

        Raises:
            ConnectError: Nothing was sent.
            TransportError: The request may have been sent.
        """
        ...

    async def poll(self, url: str) -> Reply:
        """GET a URL of the API, exactly as given; a path starting with `/v1/` is one of the base URL.

        Raises:
            UntrustedURLError: The URL, or one it redirects to, must not be sent the key.
            TransportError: No complete reply.
        """
        ...

    async def download(self, url: str, *, timeout: float) -> Reply:
        """GET a result, without the key.

        Raises:
            UntrustedURLError: The URL, or one it redirects to, is none that a result can have.
            TransportError: No complete reply within `timeout` seconds.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class Lease:
    """The right to hold one slot in each of `pools`, owned by a request and not by its caller.

    A limiter alone writes `taken`, `arrival` and `place`; the owner reads them.

    Args:
        pools: Pools in which to hold a slot; those that the limiter does not know have no limit.
        priority: Lower goes first.
        bounded: Whether the limiter's bound on the queue holds for it. A stream bounds itself.
        on_granted: Called in the loop at each grant; must neither raise nor block.
    """

    __slots__ = ("arrival", "bounded", "on_granted", "place", "pools", "priority", "taken")

    def __init__(
        self,
        pools: tuple[str, ...],
        *,
        priority: int = 0,
        bounded: bool = True,
        on_granted: Callable[[], None] = lambda: None,
    ) -> None:
        self.pools = pools
        self.priority = priority
        self.bounded = bounded
        self.on_granted = on_granted
        self.taken = False
        self.arrival: int | None = None  # the order of arrival, kept when the request goes back to its queue
        self.place: object | None = None  # the limiter's own mark while the lease is queued


class Limiter(Protocol):
    """Grants leases. Every method is synchronous and changes the state in one step.

    The limiter is the queue: requests of all clients that share it wait here, in order of priority
    (lower first), then of arrival. One whose narrower pool is full is passed over and keeps its place.
    """

    def enqueue(self, lease: Lease) -> None:
        """Let the lease wait for its slots; `on_granted` is called when it has them, maybe at once.

        One that waited before keeps its place, and is never refused.

        Raises:
            QueueFullError: As many wait as may.
        """
        ...

    def withdraw(self, lease: Lease) -> None:
        """Take the lease out of the queue; nothing happens when it is not there."""
        ...

    def release(self, lease: Lease, *, after_s: float = 0.0) -> None:
        """Free the slots, now or after so many seconds; nothing happens when they are not held."""
        ...

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """The server counts no free slot (429): free the slots, queue the lease again, lower the limit."""
        ...

    def confirm(self, lease: Lease) -> None:
        """The server accepted the task that the lease stands for."""
        ...

    def take(self, lease: Lease) -> None:
        """Take the slots at once, past the limit if need be: the task already runs."""
        ...

    def position(self, lease: Lease) -> int | None:
        """How many leases are before this one in the queue; None when it is not queued."""
        ...

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """The pools by name."""
        ...

    async def open(self) -> None:
        """Make ready for the running loop. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Stop all timers and connections of the limiter."""
        ...
