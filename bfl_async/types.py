"""The values that pass between the layers, and the protocols that can be implemented outside.

What the server may add is data: statuses are open, unknown fields of a reply are kept in `raw`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import (
    TYPE_CHECKING,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from bfl_async.errors import BFLError, ReplyShapeError
from bfl_async.status import TaskStatus

if TYPE_CHECKING:
    from bfl_async.events import Event
    from bfl_async.result import Result

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"


class State(StrEnum):
    """Our own lifecycle of a request; the server's word is its `status`."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    SETTLED = "settled"


class Update(NamedTuple):
    """One change of a request, as `TaskHandle.updates()` yields it.

    `progress` is the server's share done, from 0 to 1; None where the model reports none.
    """

    state: State
    status: TaskStatus | str | None
    progress: float | None
    task_id: str | None


ResultT = TypeVar("ResultT")


class ResultOrError(Generic[ResultT]):
    """What an outcome has: a result or an error."""

    __slots__ = ()

    result: ResultT | None
    error: BFLError | None

    @property
    def ok(self) -> bool:
        """True when there is a result."""
        return self.error is None

    def unwrap(self) -> ResultT:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error.fresh()
        assert self.result is not None
        return self.result


@dataclass(frozen=True, slots=True)
class Outcome(ResultOrError["Result"]):
    """One item of a stream: the request as it was given, with its result or its error."""

    index: int
    request: object = field(repr=False)  # it holds the prompt
    task_id: str | None
    result: Result | None
    error: BFLError | None


class Estimate(NamedTuple):
    """What a request will cost, before it is sent. The server's own figure, when it comes, always wins.

    `credits` (1 credit = 0.01 USD) and `usd` are None, and `known` is False, where the price is not known;
    `basis` says in words how it was reckoned, or what is missing.
    """

    credits: float | None
    usd: float | None
    known: bool
    basis: str


class PoolStatistics(NamedTuple):
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

    Every request ends in exactly one of `ready`, `moderated`, `failed`, `ambiguous` and `withdrawn`; a `post` that
    made no task counts in none.
    `refused_overlap` counts 429 answers to submits that left early (`Limits.overlap`); `refused_429` all others.
    `budget_left_usd` is what may still be asked for; None where no budget was set.
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
    refused_overlap: int = 0
    budget_left_usd: float | None = None


# --- what the wire says -------------------------------------------------------------------------------


class Reply(NamedTuple):
    """One complete HTTP reply, as it came. Headers are looked up by lower-case names.

    The body of a poll holds the prompt and a signed URL, so the repr shows neither headers nor body.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> JSON:
        """Return what the body says.

        Raises:
            ReplyShapeError: It is not JSON, or has so many parts that parsing it would hold up the event loop.
        """
        # Only when it is needed.
        import json

        from bfl_async._bounds import ACCOUNT, is_within

        if not is_within(self.body, ACCOUNT):
            raise ReplyShapeError(
                f"the reply (HTTP {self.status_code}) is too large to be parsed here: {len(self.body)} bytes, see .body"
            )
        try:
            value: JSON = json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            raise ReplyShapeError(f"the reply (HTTP {self.status_code}) is no JSON that can be read") from exc
        return value

    def __repr__(self) -> str:
        return f"Reply(status_code={self.status_code}, {len(self.body)} bytes)"

    def __reduce__(self) -> tuple[type[Reply], tuple[int, dict[str, str], bytes]]:
        # The headers of the HTTP client do not pickle.
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Reply, (self.status_code, headers, self.body)


class Receipt(NamedTuple):
    """The server's answer to an accepted submit. `cost` is in credits, None where it is not stated."""

    task_id: str
    polling_url: str | None
    cost: float | None


class PollReply(NamedTuple):
    """A poll's answer that holds a status."""

    status: TaskStatus | str
    progress: float | None
    result: Mapping[str, JSON] | None
    details: Mapping[str, JSON] | None
    cost: float | None
    raw: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class _WithError:
    # One dataclass for all that hold an error and nothing else: each costs half a millisecond at import.
    error: BFLError


class Accepted(NamedTuple):
    """A task exists and has a slot."""

    receipt: Receipt


class Refused(_WithError):
    """No task exists, and the same request would be refused again."""

    __slots__ = ()


class Busy(NamedTuple):
    """No task exists; the same request may be sent later. `no_slot`: the server counts too many tasks (429)."""

    error: BFLError
    retry_after_s: float | None
    no_slot: bool


class NotSent(_WithError):
    """No connection was made."""

    __slots__ = ()


class Unknown(_WithError):
    """A task may exist."""

    __slots__ = ()


class Answered(NamedTuple):
    """The answer to a POST that makes no task, and how that ends."""

    reply: Reply


SubmitAnswer: TypeAlias = Accepted | Refused | Busy | NotSent | Unknown | Answered


# --- webhooks ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook call whose secret or signature was right.

    Attributes:
        scheme: What vouched for it: "secret" (`X-Webhook-Secret`) or "signature" (`X-BFL-Signature`).
        nonce: The end of the URL that it came to, which names the submit; None where it names none.
    """

    task_id: str
    status: TaskStatus | str
    result: Mapping[str, JSON] | None
    details: Mapping[str, JSON] | None
    cost: float | None
    raw: Mapping[str, JSON] = field(repr=False)  # it holds the prompt and a signed URL
    scheme: Literal["secret", "signature"]
    progress: float | None = None
    nonce: str | None = field(default=None, repr=False)

    def as_poll(self) -> PollReply:
        """The answer of a poll that says the same."""
        return PollReply(self.status, self.progress, self.result, self.details, self.cost, self.raw)


# --- how a request ends -------------------------------------------------------------------------------


class Ready(NamedTuple):
    """The server has a result."""

    reply: PollReply


class Moderated(_WithError):
    """Moderation refused the prompt or the output."""

    __slots__ = ()


class Failed(_WithError):
    """The server tried and failed, or knows nothing of the task."""

    __slots__ = ()


class Lost(_WithError):
    """A task may be running, and we no longer follow it: its slot stays taken for a while."""

    __slots__ = ()


class Unsent(NamedTuple):
    """No task exists: refused, or withdrawn before anything was sent."""

    error: BFLError
    withdrawn: bool = False


Settlement: TypeAlias = Ready | Moderated | Failed | Lost | Unsent | Answered

End: TypeAlias = Literal["ready", "moderated", "failed", "ambiguous", "withdrawn", "answered"]
"""In which count of `Statistics` a request ends; "answered" is a `post` that made no task, and has none."""


# --- what a ledger holds ------------------------------------------------------------------------------


class EntryState(StrEnum):
    """Where an entry of a ledger stands. A process that is killed at any moment leaves one that is true.

    `submitting`: it may have been sent. `submitted`: the server has it. `ready`: there is an image, whose file
    is not written. `ambiguous`: it may have been sent and nobody knows, so it is never sent again unasked.
    """

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    READY = "ready"
    SAVED = "saved"
    MODERATED = "moderated"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"


Fact: TypeAlias = "str | int | float | None"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A request to be kept. `fields` is JSON text; entries of one `key` are one.

    Attributes:
        name: The caller's own id.
        saved: Facts of its image, if an earlier run made it and listed it in the manifest: the entry is then saved.
            None for a request that is to be sent.
    """

    key: str
    model: str
    fields: str = field(repr=False)
    name: str | None = None
    saved: Mapping[str, Fact] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An entry as it was read. `fields` and `result` are JSON, `file` is relative to the output folder."""

    id: int  # from 1, in the order of arrival
    key: str
    state: EntryState
    model: str
    fields: Mapping[str, JSON] = field(repr=False)
    name: str | None = None
    task_id: str | None = None
    polling_url: str | None = field(default=None, repr=False)
    cost: float | None = None
    file: str | None = None
    result: Mapping[str, JSON] | None = field(default=None, repr=False)
    error: str | None = None


# --- protocols ----------------------------------------------------------------------------------------


class Request(Protocol):
    """What the scheduler needs of a request. The classes of `bfl_async.models` are the usual ones."""

    @property
    def model(self) -> str:
        """The model's name: its path after `/v1/`."""
        ...

    @property
    def has_files(self) -> bool:
        """True when `body` reads or encodes files: it is then called in a worker thread."""
        ...

    def media(self) -> Mapping[str, object]:
        """The images and videos that were given, by field: what a price may hang on."""
        ...

    def body(self) -> Mapping[str, JSON]:
        """The JSON body of the submit, made anew for each attempt.

        Raises:
            InvalidRequestError: A file cannot be read or does not fit.
        """
        ...


class Transport(Protocol):
    """Carries HTTP calls. It judges nothing: replies of any status are returned as they came.

    Cancellation: A cancelled call ends at once; whether its request had left is then unknown.
    """

    async def submit(self, path: str, body: bytes) -> Reply:
        """POST a JSON body to `path` of the base URL, once, following no redirect.

        Raises:
            ConnectError: Nothing was sent.
            TransportError: The request may have been sent.
        """
        ...

    async def poll(self, url: str) -> Reply:
        """GET a URL of the API, exactly as given; a path starting with `/v1/` is one of the base URL's.

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


class Sink(Protocol):
    """Takes the bytes of a result as they come."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take the headers of a reply of 2xx; called once, before the first bytes. They are looked up as a `Reply`'s.

        Raises:
            BFLError: The reply is not wanted. It passes through the transport.
        """
        ...

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. The transport reads no further before this returns.

        Raises:
            BFLError: No more are wanted. It passes through the transport.
        Cancellation: Ends the wait; the sink is used no more.
        """
        ...


@runtime_checkable
class StreamingTransport(Protocol):
    """What a transport has besides, if results are not to be held in memory whole."""

    async def download_to(self, url: str, sink: Sink, *, timeout: float) -> Reply:
        """As `Transport.download`, but the body of a reply of 2xx goes to the sink, as it is on the wire.

        No encoding is asked for, and none is undone. The reply that is returned has no body.

        Raises:
            UntrustedURLError, TransportError: As `Transport.download`.
            BFLError: Of the sink.
        Cancellation: Ends the call, and that of the sink.
        """
        ...


class Lease:
    """The right to hold one slot in each of `pools`, owned by a request and not by its caller.

    A limiter alone writes `taken`, `early`, `arrival` and `place`; the owner reads them. The owner writes `task_id`
    before it calls `confirm` or `take`: by it the limiter knows which leases share a slot, in all processes.

    Args:
        pools: Pools in which to hold a slot; those that the limiter does not know have no limit.
        priority: Lower goes first.
        bounded: Whether the limiter's bound on the queue holds for it. A stream bounds itself.
        on_granted: Called in the loop at each grant; must neither raise nor block.
        on_failed: Called in the loop when the limiter gives up on a lease that waits, which is then
            out of the queue; must neither raise nor block.
    """

    __slots__ = (
        "arrival", "bounded", "early", "on_failed", "on_granted", "place", "pools", "priority", "taken", "task_id",
    )  # fmt: skip

    def __init__(
        self,
        pools: tuple[str, ...],
        *,
        priority: int = 0,
        bounded: bool = True,
        on_granted: Callable[[], None] = lambda: None,
        on_failed: Callable[[BFLError], None] = lambda _: None,
    ) -> None:
        self.pools: tuple[str, ...] = pools
        self.priority: int = priority
        self.bounded: bool = bounded
        self.on_granted: Callable[[], None] = on_granted
        self.on_failed: Callable[[BFLError], None] = on_failed
        self.task_id: str | None = None
        self.taken: bool = False
        self.early: bool = (
            False  # granted past the limit for a slot that is expected to be free, and not confirmed yet
        )
        self.arrival: int | None = None  # the order of arrival, kept when the request goes back to its queue
        self.place: object | None = None  # the limiter's own mark while the lease is queued


@runtime_checkable
class AccountLimiter(Protocol):
    """What a limiter has besides, if other processes share its account: it must know which one that is."""

    def use_account(self, account: str) -> None:
        """Name the account, by a hash of key and host. Each client does so before it opens the limiter.

        Raises:
            ConfigError: The limiter serves another account.
        """
        ...


@runtime_checkable
class EarlyGrants(Protocol):
    """What a limiter has besides, if it can grant slots that are expected to be free soon."""

    def grant_early(self, free_slots: Mapping[str, int]) -> None:
        """Grant past the limits: by pool, so many of the slots that are taken will be freed very soon.

        Such a lease is `early` until it is confirmed. When it is refused, no limit is lowered.
        """
        ...


class Limiter(Protocol):
    """Grants leases. Every method is synchronous and changes the state in one step.

    The limiter is the queue: requests of all clients that share it wait here, in order of priority
    (lower first), then of arrival. One whose narrower pool is full is passed over and keeps its place.

    Cancellation: Of opening and closing; `aclose` ends all of it.
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
        """Stop counting the lease; nothing happens when it is not taken.

        Without `after_s` the task has ended, or never existed: its slots are free at once, and all other leases of the
        task count for nothing. With `after_s` the owner only stops following the task: its slots stay with the other
        leases of the task. If there are none, they are freed after so many seconds, unless `take` comes before.
        """
        ...

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """The server counts no free slot (429): free the slots, queue the lease again, lower the limit.

        `retry_after_s` is a lower bound for the pause after it. It never shortens one.
        """
        ...

    def confirm(self, lease: Lease) -> None:
        """The server accepted the task that the lease stands for. If the task has slots already, it shares them."""
        ...

    def take(self, lease: Lease) -> None:
        """Take the slots at once, past the limit if need be: the task already runs.

        A task takes one slot in each pool that any of its leases names. So the lease shares the slots that the task has
        already. It takes them over if they are held by time alone: they are then not freed by time.
        """
        ...

    def position(self, lease: Lease) -> int | None:
        """How many leases are before this one in the queue; None when it is not queued."""
        ...

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """The pools by name."""
        ...

    async def open(self) -> None:
        """Make ready for the running loop. Idempotent.

        Raises:
            ConfigError: It is open in another loop.
            LimiterError: What it needs is away.
        """
        ...

    async def aclose(self) -> None:
        """Stop all timers and connections of the limiter, and fail the leases that wait.

        A client may outlive its limiter. Then `enqueue` and `take` raise a `LimiterError`, a lease that is refused
        fails through `on_failed`, and all other calls change nothing.
        """
        ...


class Observer(Protocol):
    """Is told what happens to each request, see `bfl_async.events`. One may serve several clients of a loop."""

    def on_event(self, event: Event, /) -> None:
        """Take one event.

        Called in the loop, amid the client's own steps: nothing goes on before it returns, so what takes longer
        than some microseconds belongs into a queue, and that is yours to see to. It must not call the client, except
        for `statistics()`. What it raises is logged once for each client, and changes nothing.
        """
        ...


@runtime_checkable
class PromptObserver(Protocol):
    """What an observer has besides, if it wants prompts: no event holds one unless `prompts` is true."""

    @property
    def prompts(self) -> bool:
        """Whether `Queued.prompt` is to be set. Read when the client is opened."""
        ...


class Journal(Protocol):
    """Keeps a durable record of one request while the scheduler works on it.

    Cancellation: The scheduler cancels it only when the client is closed; what was begun may be written.
    """

    async def submitting(self) -> None:
        """Return once it is durable that the request may have been sent; only then it is.

        Raises:
            BFLError: It could not be written. The request is settled with this error, unsent.
        """
        ...

    def queued(self) -> None:
        """Note that no task exists: nothing was sent, or the server took nothing. It will be sent again."""
        ...

    async def submitted(self, receipt: Receipt) -> None:
        """Return once the task's id is durable; only then it is polled.

        Raises:
            Nothing: the task exists, whether or not that could be written.
        """
        ...


class Ledger(Protocol):
    """Durable entries. Changes take effect in the order of the calls, each whole or not at all.

    A future that a method returns is done once the change is durable. Every failure is a `LedgerError`.

    Cancellation: Ends the wait; what was asked for may still be done.
    """

    @property
    def shown(self) -> str:
        """What the ledger is called in messages."""
        ...

    async def open(self) -> None:
        """Open for writing, alone.

        Raises:
            LedgerLockedError: Another run holds it.
            LedgerVersionError: A newer release wrote it.
            LedgerError: It cannot be read or written, or is none.
        """
        ...

    def add(self, entries: Sequence[NewEntry]) -> asyncio.Future[int]:
        """Add those whose key is new, as queued, or as saved and listed; the result is how many."""
        ...

    def change(
        self, entry_id: int, state: EntryState, facts: Mapping[str, Fact] | None = None
    ) -> asyncio.Future[None]:
        """Give an entry a state and facts: `task_id polling_url cost file result error *_at`."""
        ...

    def reset(self, state: EntryState, to: EntryState, error: str | None = None) -> asyncio.Future[list[int]]:
        """Move all entries of one state to another; what was paid for them stays counted.

        A task's facts are forgotten when they go back to the queue. The result is their ids.
        """
        ...

    def requeue(self, state: EntryState, ids: Sequence[int]) -> asyncio.Future[list[int]]:
        """Put these entries back into the queue, as far as they are in this state, as `reset` does for all.

        The result is the ids that were moved.
        """
        ...

    def remove(self, states: Sequence[EntryState], ids: Sequence[int] | None = None) -> asyncio.Future[int]:
        """Remove entries in these states; what was paid for them stays counted.

        `ids`: Only these, as far as they are in one of the states. None removes all. The result is how many.
        """
        ...

    def note(self, facts: Mapping[str, str], listed: Sequence[int] = ()) -> asyncio.Future[None]:
        """Keep facts of the ledger as a whole, and that these entries stand in the manifest."""
        ...

    def unlist(self) -> asyncio.Future[None]:
        """Forget which entries stand in the manifest."""
        ...

    async def read(
        self, states: Sequence[EntryState], *, after: int, most: int, unlisted: bool = False
    ) -> list[LedgerEntry]:
        """Return at most so many entries in these states, by id, from the one behind `after`.

        `unlisted`: the saved ones that do not stand in the manifest, whatever `states`. Fewer come where they
        are large; none is the end.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def find(self, keys: Sequence[str]) -> Mapping[str, tuple[int, EntryState]]:
        """Return the id and state of each of these keys that is there.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def counts(self) -> Mapping[EntryState, int]:
        """Count the entries by state.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def notes(self) -> Mapping[str, str]:
        """Return the facts of the ledger as a whole.

        Raises:
            LedgerError: They cannot be read.
        """
        ...

    async def aclose(self) -> None:
        """Write what is left, and let go. Idempotent."""
        ...


class Expectation(Protocol):
    """One request's place with a `Webhook`, from before its submit to its end.

    `url` and `secret` go into the submit.
    """

    @property
    def url(self) -> str:
        """Where the task's deliveries are to come."""
        ...

    @property
    def secret(self) -> str:
        """What they are to prove."""
        ...

    def name(self, task_id: str) -> None:
        """Tell the task's id, once the submit is answered. From here on a delivery that names another is refused."""
        ...

    def end(self, *, missed: bool) -> None:
        """Expect nothing more.

        Args:
            missed: The task ended, and its delivery did not come.
        """
        ...


class Webhook(Protocol):
    """Where deliveries come in; `bfl_async.webhooks.WebhookReceiver` is one."""

    @property
    def poll_s(self) -> float:
        """Seconds between the polls of a task whose delivery is expected."""
        ...

    @property
    def comes_through(self) -> bool:
        """False while deliveries stay out: tasks are then polled as without a webhook."""
        ...

    def expect(
        self, on_delivery: Callable[[Delivery], None], *, attached_id: str | None = None
    ) -> Expectation:
        """Expect the deliveries of one request; `on_delivery` is called in the loop, with verified ones only.

        A delivery's proof belongs to the URL that it came to, and a submit's URL to one task: only what came to it is
        handed over.

        Args:
            attached_id: The id of a task that was submitted before, by this process or another. Deliveries that name
                it are handed over whichever URL they came to. The client polls the task then, and does not believe
                what they say.
        """
        ...

    async def open(self) -> None:
        """Make ready for the running loop. Idempotent.

        Raises:
            Exception: It cannot take deliveries; the client is then not opened.
        Cancellation: Call it again.
        """
        ...


class Relay(Protocol):
    """Carries verified deliveries from the process that received them to the one that waits.

    An implementation over a broker publishes to all processes that share the receiver's secret. Losing one
    costs latency and no result: tasks are polled as well.

    Cancellation: Ends the call; `aclose` ends what was begun.
    """

    async def open(self, on_delivery: Callable[[Delivery], None]) -> None:
        """Subscribe: `on_delivery` is called in this loop with what other processes publish.

        Raises:
            Exception: It can never be done; what may come back is waited for within.
        """
        ...

    async def publish(self, delivery: Delivery) -> None:
        """Hand a delivery over that nobody in this process waits for.

        Raises:
            Exception: It could not be handed over; the server is then asked to send it again.
        """
        ...

    async def aclose(self) -> None:
        """End the subscription."""
        ...
