"""One session of a shared limiter with its book, from open() to aclose(): what was said, and what was heard.

`_shared.py` begins and ends a session and says things in it, `sending.py` hands them in, `replies.py` applies the
answers. All of it happens in one event loop, between awaits.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, field

from bfl_async._config import ACCOUNT, Limits
from bfl_async.errors import LimiterError
from bfl_async.limiter._leases import fail
from bfl_async.limiter.claims import Claims
from bfl_async.limiter.steps import Op, Store

# What a full batch tells anew. Such an operation need not be kept while the book is away.
_TOLD_IN_FULL = ("w", "x", "k", "o", "h")


@dataclass(eq=False, slots=True)
class Terms:
    """What a limiter was asked for. Written by the limiter, and read by its session."""

    limits: Limits
    lease_s: float
    # Whether requests fail while the book is away. A bug sets it as well, as no later step would come for them.
    fails_away: bool


@dataclass(eq=False, slots=True)
class Session:
    """The state of the talk with the book. Each field has one writer, named where that is not `_shared.py`."""

    loop: asyncio.AbstractEventLoop
    store: Store
    terms: Terms
    claims: Claims
    # The book's name in messages.
    where: str
    # Done once the limiter is open, or has failed to.
    opened: asyncio.Future[None]
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    # Set by whatever calls for a step: the book, a timer, and each thing that is said.
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    # The one coroutine that makes the steps.
    runner: asyncio.Task[None] | None = None
    # Sets `wake` when time alone calls for a step. Written by the replies.
    timer: asyncio.TimerHandle | None = None
    rng: random.Random = field(default_factory=random.Random)

    # The number of the last batch. The book refuses one that does not follow, and then wants a full one.
    seq: int = 0
    # Whether the next batch must tell all that this process holds and waits for.
    full: bool = True
    # Of the book that answered last.
    epoch: str = ""
    # When the leases that are held must be named again. Written by the sending.
    beat_at: float = 0.0

    # Said, and not handed in yet.
    ops: list[Op] = field(default_factory=list)
    # Operations said since the start; of these, those that are in a step; of these, those that the book has answered.
    # heard <= sending <= said.
    said: int = 0
    sending: int = 0
    heard: int = 0
    # Futures that are done once `heard` has reached their number.
    flushes: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)

    # Steps without a reply since the last one with a reply.
    failures: int = 0
    # Why nothing is granted; None while the book answers.
    away: LimiterError | None = None
    # Set once, when the closing begins: from then on nothing new is taken in.
    closer: asyncio.Task[None] | None = None
    # Set by the closing: the coroutine that makes the steps ends, even if its cancellation was swallowed.
    is_over: bool = False
    # Done when the closing must not wait for the last step any longer.
    hurry: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.hurry = self.loop.create_future()

    def say(self, op: Op) -> None:
        """Note an operation for the next step."""
        self.said += 1
        if self.away is not None and op[0] in ("w", "x"):
            # The next batch is full and tells which leases wait. Requests that come and go while the book is away thus
            # do not pile up here.
            return
        self.ops.append(op)
        self.wake.set()

    def say_again(self, ops: list[Op]) -> None:
        """Put operations back that the book may not have heard, before those that were said since."""
        self.ops[:0] = not_told_in_full(ops)

    def when_heard(self) -> asyncio.Future[None]:
        """Return a future that is done once the book has answered all that was said before."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        if self.heard < self.said:
            self.flushes.append((self.said, waiter))
        else:
            waiter.set_result(None)
        return waiter

    def fail_waiting(self, error: LimiterError) -> None:
        """Fail all leases that wait for a slot."""
        # An owner may enqueue or withdraw leases when its own fails: so this goes through a copy, and looks again.
        for lease in list(self.claims.waiting.values()):
            if self.claims.drop_waiting(lease):
                self.say(["x", self.claims.leave(lease)])
                fail(lease, error)


def not_told_in_full(ops: list[Op]) -> list[Op]:
    """Return the operations that a full batch must have besides what it tells anew."""
    return [op for op in ops if op[0] not in _TOLD_IN_FULL]


def by_name(limits: Limits) -> dict[str, int]:
    """Return the limit of each pool, or the one with which finding it out begins."""
    return {ACCOUNT: limits.first_account, **limits.pools}


def searched(limits: Limits) -> tuple[str, ...]:
    """Return the pools whose limit is searched for."""
    return (ACCOUNT,) if limits.discovers else ()
