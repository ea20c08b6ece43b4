"""What a server answered, and what that means: receipts, polls, deliveries, settlements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

from bfl_async.errors import BFLError, ReplyShapeError
from bfl_async.status import TaskStatus
from bfl_async.types.bounds import ACCOUNT, is_within
from bfl_async.types.common import JSON, distinct
from bfl_async.types.held import HeldImage


@distinct
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
        if not is_within(self.body, ACCOUNT):
            raise ReplyShapeError(
                f"the reply (HTTP {self.status_code}) is too large to be parsed here: {len(self.body)} bytes, see .body"
            )
        try:
            value: JSON = json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            raise ReplyShapeError(f"the reply (HTTP {self.status_code}) is not readable JSON") from exc
        return value

    def __repr__(self) -> str:
        return f"Reply(status_code={self.status_code}, {len(self.body)} bytes)"

    def __reduce__(self) -> tuple[type[Reply], tuple[int, dict[str, str], bytes]]:
        # The headers of the HTTP client do not pickle.
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Reply, (self.status_code, headers, self.body)


@distinct
class Receipt(NamedTuple):
    """The server's answer to an accepted submit. `cost` is in credits, None where it is not stated."""

    task_id: str
    polling_url: str | None
    cost: float | None


@distinct
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


@distinct
class Accepted(NamedTuple):
    """A task exists and has a slot."""

    receipt: Receipt


class Refused(_WithError):
    """No task exists, and the same request would be refused again."""

    __slots__ = ()


@distinct
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


@distinct
class Answered(NamedTuple):
    """The answer to a POST that makes no task, and how that ends."""

    reply: Reply


@distinct
class Immediate(NamedTuple):
    """The answer to a submit is the result itself.

    Attributes:
        task_id: The server's where it named one that can be asked for, else one of `types.held.new_own_id`.
        poll: What a poll would have answered. `raw` has no base64.
        images: Their bytes, or their URLs; at least one.
        reply: The HTTP reply without the base64.
    """

    task_id: str
    poll: PollReply
    images: tuple[HeldImage | str, ...]
    reply: Reply

    def __repr__(self) -> str:
        # Neither signed URLs nor prompts.
        return f"Immediate(task_id={self.task_id!r}, {len(self.images)} images)"


SubmitAnswer: TypeAlias = Accepted | Immediate | Refused | Busy | NotSent | Unknown | Answered


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Delivery:
    """One webhook call whose secret or signature was right. It holds what a poll would have answered.

    Attributes:
        scheme: What vouched for it: "secret" (`X-Webhook-Secret`) or "signature" (`X-BFL-Signature`).
        nonce: The end of the URL that it came to, which names the submit; None where it names none.
    """

    task_id: str
    reply: PollReply
    scheme: Literal["secret", "signature"]
    nonce: str | None

    __match_args__: ClassVar[tuple[str, ...]] = (
        "task_id", "status", "result", "details", "cost", "raw", "scheme", "progress", "nonce"
    )  # fmt: skip

    # The facts one by one: calls and pickles of earlier releases have them so.
    def __init__(
        self,
        task_id: str,
        status: TaskStatus | str,
        result: Mapping[str, JSON] | None,
        details: Mapping[str, JSON] | None,
        cost: float | None,
        raw: Mapping[str, JSON],
        scheme: Literal["secret", "signature"],
        progress: float | None = None,
        nonce: str | None = None,
    ) -> None:
        self.__setstate__([task_id, status, result, details, cost, raw, scheme, progress, nonce])

    @classmethod
    def of(
        cls, task_id: str, reply: PollReply, scheme: Literal["secret", "signature"], nonce: str | None = None
    ) -> Self:
        """Return the delivery that says the same as a poll's answer."""
        return cls(
            task_id,
            reply.status,
            reply.result,
            reply.details,
            reply.cost,
            reply.raw,
            scheme,
            reply.progress,
            nonce,
        )

    def came_to(self, nonce: str | None) -> Self:
        """Return the same delivery, with the end of the URL that it came to."""
        return type(self).of(self.task_id, self.reply, self.scheme, nonce)

    @property
    def status(self) -> TaskStatus | str:
        """The server's word."""
        return self.reply.status

    @property
    def progress(self) -> float | None:
        """The share done, from 0 to 1. None where the model reports none."""
        return self.reply.progress

    @property
    def result(self) -> Mapping[str, JSON] | None:
        """What the task made, or None."""
        return self.reply.result

    @property
    def details(self) -> Mapping[str, JSON] | None:
        """Why the task ended without a result, or None."""
        return self.reply.details

    @property
    def cost(self) -> float | None:
        """In credits. None where it is not stated."""
        return self.reply.cost

    @property
    def raw(self) -> Mapping[str, JSON]:
        """The body of the call, whole."""
        return self.reply.raw

    def as_poll(self) -> PollReply:
        """The answer of a poll that says the same."""
        return self.reply

    def __repr__(self) -> str:
        # `raw` and `nonce` are left out: they hold the prompt and name a secret URL.
        facts = ("task_id", "status", "result", "details", "cost", "scheme", "progress")
        return f"Delivery({', '.join(f'{name}={getattr(self, name)!r}' for name in facts)})"

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)

    def __setstate__(self, state: Sequence[Any]) -> None:
        # Also the state in pickles of earlier releases.
        task_id, status, result, details, cost, raw, scheme, progress, nonce = state
        reply = PollReply(status, progress, result, details, cost, raw)
        for name, value in (("task_id", task_id), ("reply", reply), ("scheme", scheme), ("nonce", nonce)):
            # The class is frozen.
            object.__setattr__(self, name, value)


@distinct
class Ready(NamedTuple):
    """The server has a result. `images`: those that came with the answer to the submit, see `Immediate`."""

    reply: PollReply
    images: tuple[HeldImage | str, ...] = ()


class Moderated(_WithError):
    """Moderation refused the prompt or the output."""

    __slots__ = ()


class Failed(_WithError):
    """The server tried and failed, or knows nothing of the task."""

    __slots__ = ()


class Lost(_WithError):
    """A task may be running, and we no longer follow it: its slot stays taken for a while."""

    __slots__ = ()


@distinct
class Unsent(NamedTuple):
    """No task exists: refused, or withdrawn before anything was sent."""

    error: BFLError
    withdrawn: bool = False


Settlement: TypeAlias = Ready | Moderated | Failed | Lost | Unsent | Answered
