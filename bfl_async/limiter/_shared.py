"""What the limiters of several processes have in common: the side of one process.

The state of an account is its *book*: pools, leases, and tickets (who waits), in one place that all processes reach.
The book is changed in atomic steps only. In each step one process hands in a batch of operations, and whatever
there is room for is then granted, to whichever process it belongs. Grants are fetched: the book wakes the
process, which makes a step of its own and is told. A grant that nobody fetches within `FETCH_S` goes to the next
one, and the process that slept is out of the line until it comes again.

Each process has one coroutine that makes the steps, one at a time. What is said meanwhile is handed in with the
next one, so that the busier a process is, the more operations go into a step. The limiter's methods only note what
to say; a grant comes in a later turn of the loop, never within `enqueue`.

The owner of the truth. A process knows best what it holds and what it waits for; the book knows the rest. Whenever the
two may have parted (a step whose reply was lost, a book that was lost, a process that slept) the next batch
is *full*: it tells all that the process holds and waits for, and the book follows. So there is one way back from
everything. A lease that ran out under a task that lives is thereby taken again, past the limit: the server counts
the task in any case.

One slot for each task. The lease of a task is known by the task's id, and several processes may follow one task: the
book then has one lease with several owners, and each of them keeps it. The first that sees the task end frees the slot
for all. The others are told when they next say that they keep it, for `ENDED_S` long. Within a process, all leases of a
task share one entry (`Slot`), so that the process speaks to the book with one voice.

The operations of a batch, each a list:

    w id priority arrival pools   let it wait; arrival 0: behind all
    x id                          it waits no longer, and was never used
    r id                          free its slots, whoever holds them: its task has ended
    h id seconds pools            this process follows its task no more; if no other does, free its slots after so long
    n id retry_after priority arrival pools   429: it waits again; retry_after -1: not told
    c id task_id                  accepted; from here on the lease is known by the task's id
    t id pools                    follow its task too, past the limit if need be
    k id pools                    keep it; if it has run out, take it again, unless its task is known to have ended
    o ids                         (full) of my leases only these are left
    l limits unless_others        set the limits; unless_others 1: only where no other process is
    e                             the end of this process's session
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NoReturn, Self

from anyio import CancelScope

from bfl_async._config import Limits, limits_from
from bfl_async.errors import ConfigError, LimiterError, QueueFullError
from bfl_async.limiter._leases import closed_before_grant, closed_first, fail
from bfl_async.limiter.claims import Claims
from bfl_async.limiter.sending import go_without, make_steps
from bfl_async.limiter.session import Session, Terms, by_name
from bfl_async.limiter.steps import Op, Store
from bfl_async.protocols.limiter import Lease
from bfl_async.runtime.tasks import CANCEL_AGAIN_S, END_S, end_task, new_task
from bfl_async.types.statistics import PoolStatistics

# For what is left to say when the limiter is closed.
_LAST_STEP_S = 2.0
# Longer than two attempts at a first step, each with a connection to set up.
_OPEN_S = 20.0


class SharedLimiter(ABC):
    """The base of `RedisLimiter` and `FileLimiter`. It has no early grants (`Limits.overlap`): each lease waits for
    a slot that is free.

    Its own bound on the queue, `Limits.queue`, and `position` concern the requests of this process; `statistics` is the
    account's, as the book last told it.
    """

    def __init__(self, limits: int | Limits | None, *, lease_s: float, away: str = "wait") -> None:
        if isinstance(lease_s, bool) or not isinstance(lease_s, int | float) or not 1 <= lease_s <= 86_400:
            raise ConfigError(f"lease_s must be seconds from 1 to 86,400, not {lease_s!r}")
        if away not in ("wait", "fail"):
            raise ConfigError(f"away must be 'wait' or 'fail', not {away!r}")
        self._asks_for_limits = limits is not None
        self._terms = Terms(limits_from(12 if limits is None else limits), float(lease_s), away == "fail")
        self._account: str | None = None
        # Written by _start, _close and open. While it is None, nothing waits and nothing is held.
        self._session: Session | None = None
        self._was_open = False
        # One for each session; between sessions it is empty, and gives the statistics.
        self._claims = Claims(by_name(self._terms.limits))

    def _forget(self) -> None:
        """Begin with empty claims: no lease of the session that ended counts any more."""
        self._claims.forget_leases()
        self._claims = Claims(by_name(self._terms.limits))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a limiter cannot be pickled or copied: it holds slots, and may hold a password; make one in each process"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_claims"):
            # Its constructor failed.
            return f"<{type(self).__name__}>"
        pools = ", ".join(f"{name} {pool.taken}/{pool.working}" for name, pool in self._claims.pools.items())
        held = len(self._claims.followed())
        return f"<{type(self).__name__} {pools}; {held} held and {len(self._claims.waiting)} queued here>"

    # --- what a subclass says -------------------------------------------------------------------------

    @abstractmethod
    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        """Return the account's book, not connected yet. `wake` is called in the loop when it has news."""

    @abstractmethod
    def _where(self) -> str:
        """Name the book in messages, without a secret."""

    # --- opening and closing --------------------------------------------------------------------------

    def use_account(self, account: str) -> None:
        """Name the account whose slots these are; see `AccountLimiter.use_account`."""
        if self._account is not None and self._account != account:
            raise ConfigError(
                f"a {type(self).__name__} serves one account (key and host): make one for each of your clients"
            )
        self._account = account

    async def open(self) -> None:
        """Connect, once a client has named its account; see `Limiter.open`. Takes at most 20 s.

        It may be called from several coroutines at once. A call while the limiter is being closed waits for the end
        of that, and opens it again.

        Raises:
            LimiterError: The book cannot be used; with `away="wait"` only where waiting cannot help. Or the
                limiter was closed before it was open.
            ConfigError: It is open in another event loop.
        Cancellation: Leaves it opening; `aclose` ends that.
        """
        loop = asyncio.get_running_loop()
        while True:
            session = self._session
            if session is not None and session.loop is not loop:
                if not session.loop.is_closed():
                    raise ConfigError(f"a {type(self).__name__} belongs to one event loop: make one for each")
                # A loop that is gone took its requests with it.
                self._session = session = None
                self._forget()
            if session is None or session.closer is None:
                break
            await asyncio.wait([session.closer])
            if self._session is session:
                await self._close(session)
        if self._account is None:
            return
        if session is None:
            session = self._start(loop, self._account)
        try:
            await asyncio.wait([session.opened], timeout=_OPEN_S)
            if not session.opened.done():
                go_without(session, LimiterError(f"{session.where} did not answer within {_OPEN_S:g} s"))
            session.opened.result()
            if session.closer is not None:
                raise _closed_while_opening(self)
        except LimiterError as exc:
            await self._end(session)
            raise exc.fresh() from exc.__cause__

    def _start(self, loop: asyncio.AbstractEventLoop, account: str) -> Session:
        name = uuid.uuid4().hex
        wake = asyncio.Event()
        opened: asyncio.Future[None] = loop.create_future()
        # Each caller of `open` raises an error of its own; without a caller, it was logged.
        opened.add_done_callback(lambda future: future.exception())
        store = self._make_store(account, name, wake.set)
        session = Session(loop, store, self._terms, self._claims, self._where(), opened, name, wake)
        self._session = session
        self._say_limits(unless_others=not self._asks_for_limits)
        session.runner = new_task(make_steps(session))
        return session

    async def aclose(self) -> None:
        """Say what is left to say, for at most 2 s, and end all that runs. Takes at most 10 s. Idempotent.

        Leases that are still held run out by themselves, unless their tasks are attached elsewhere. A client that
        still uses the limiter gets a `LimiterError` for each request that has not been sent.

        Cancellation: Says nothing more. All that runs is ended before the cancellation is raised.
        """
        session = self._session
        if session is not None and session.loop is asyncio.get_running_loop():
            await self._end(session)

    async def _end(self, session: Session) -> None:
        """Close a session, or wait until whoever closes it has done so."""
        closer = session.closer
        if closer is None:
            session.fail_waiting(closed_before_grant(self))
            session.say(["e"])
            closer = session.closer = new_task(self._close(session))
        try:
            await asyncio.wait([closer])
        except asyncio.CancelledError:
            if not session.hurry.done():
                session.hurry.set_result(None)
            # anyio delivers the cancellation of a scope again and again; the shield makes this a plain wait.
            with CancelScope(shield=True):
                while not closer.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([closer])
                if self._session is session:
                    # The closer was cancelled before its first line, as the end of `asyncio.run` may do.
                    await self._close(session)
            raise

    async def _close(self, session: Session) -> None:
        try:
            # While the book is away nothing would be heard: its leases run out there by themselves.
            if session.away is None:
                await asyncio.wait(
                    [session.when_heard(), session.hurry],
                    timeout=_LAST_STEP_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            if session.timer is not None:
                session.timer.cancel()
            for slot in self._claims.slots.values():
                if slot.hold is not None:
                    slot.hold.cancel()
            try:
                session.is_over = True
                if session.runner is not None:
                    await end_task(session.runner)
                closing = new_task(session.store.aclose())
                # A store that hangs in its closing is left behind: aclose() must end.
                await asyncio.wait([closing], timeout=END_S)
                await end_task(closing, within_s=CANCEL_AGAIN_S)
            finally:
                if not session.opened.done():
                    session.opened.set_exception(_closed_while_opening(self))
                for _, waiter in session.flushes:
                    if not waiter.done():
                        waiter.set_exception(closed_first(self))
                # Also what came back to the queue while this was closing.
                if self._session is session:
                    session.fail_waiting(closed_before_grant(self))
                    self._session = None
                    self._was_open = True
                    self._forget()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def flush(self) -> None:
        """Wait until the book has answered all that was said before, and its grants were handed out.

        Raises:
            LimiterError: The limiter was closed.
            ConfigError: It is not open.
        Cancellation: Ends the wait.
        """
        await self._opened().when_heard()

    def _opened(self) -> Session:
        if self._session is not None and self._session.closer is None:
            return self._session
        if self._session is not None or self._was_open:
            raise closed_first(self)
        raise ConfigError(f"the {type(self).__name__} is not open: its client opens it, or await open()")

    # --- the steps of this process ----------------------------------------------------------------------

    def enqueue(self, lease: Lease) -> None:
        """Let a lease wait; see `Limiter.enqueue`. It is granted in a later turn of the loop."""
        session, claims = self._opened(), self._claims
        if lease.taken or lease.place is not None:
            raise ValueError("the lease is already queued or taken")
        most = self._terms.limits.queue
        # A lease that comes back after a 429 has its order, and was counted when it first came.
        if most is not None and lease.bounded and lease not in claims.order and claims.bounded >= most:
            # Those for which there is room do not count: their grants only take a step to come.
            room = min((pool.working - pool.taken for pool in claims.known(lease.pools)), default=most + 1)
            if claims.bounded - max(0, room) >= most:
                raise QueueFullError(
                    f"{most} requests are waiting, as many as Limits(queue={most}) allows: try again later"
                )
        claims.wait(lease, uuid.uuid4().hex)
        self._say(["w", claims.ids[lease], lease.priority, lease.arrival or 0, list(lease.pools)])
        if session.away is not None and self._terms.fails_away:
            # In a later turn: no callback comes within `enqueue`.
            session.loop.call_soon(session.fail_waiting, session.away)

    def withdraw(self, lease: Lease) -> None:
        """Take a lease out of the queue; see `Limiter.withdraw`."""
        if self._claims.drop_waiting(lease):
            self._say(["x", self._claims.leave(lease)])

    def release(self, lease: Lease, *, after_s: float = 0.0) -> None:
        """Free the slots of a lease's task, now or later; see `Limiter.release`."""
        session, slot = self._session, self._claims.slot_of(lease)
        if session is None or slot is None:
            return
        if after_s <= 0:
            self._claims.end_slot(slot)
            self._say(["r", slot.name])
        elif slot.hold is not None:
            return
        elif len(slot.leases) > 1:
            self._claims.drop(slot, lease)
        else:
            # The book ends it by itself at the same time. This timer only keeps the numbers here true.
            slot.hold = session.loop.call_later(after_s, self._claims.end_slot, slot)
            self._say(["h", slot.name, after_s, list(slot.pools)])

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """Take a 429 for a lease; see `Limiter.refuse`. Once the limiter is closed, the lease fails in a later turn."""
        session = self._session
        if session is None or session.closer is not None:
            asyncio.get_running_loop().call_soon(self._fail_refused, lease)
        slot = self._claims.slot_of(lease)
        if slot is None:
            return
        order = self._claims.order.get(lease)
        self._claims.end_slot(slot)
        if order is not None:
            # It goes back to its place, before all that came after it.
            self._claims.order[lease] = order
        hint_s = -1.0 if retry_after_s is None else max(0.0, retry_after_s)
        # Under the id of its slot: the book then knows which lease becomes a ticket again.
        self._claims.wait(lease, slot.name)
        self._say(["n", slot.name, hint_s, lease.priority, lease.arrival or 0, list(lease.pools)])

    def confirm(self, lease: Lease) -> None:
        """Note that a task was accepted; see `Limiter.confirm`."""
        slot = self._claims.slot_of(lease)
        if slot is None:
            return
        task_id = lease.task_id if lease.task_id is not None else slot.name
        self._say(["c", slot.name, task_id])
        if task_id == slot.name:
            return
        leases = list(slot.leases)
        self._claims.free(slot)
        # The task may have a slot here already, and then keeps that one only.
        first = self._claims.slot_for(task_id)
        for each in leases:
            self._claims.share(first, each, slot.pools)

    def take(self, lease: Lease) -> None:
        """Take slots past the limit; see `Limiter.take`."""
        self._opened()
        self.withdraw(lease)
        slot = self._claims.slot_of(lease)
        if slot is None:
            name = lease.task_id if lease.task_id is not None else uuid.uuid4().hex
            slot = self._claims.slot_for(name)
        self._claims.share(slot, lease, lease.pools)
        self._say(["t", slot.name, list(slot.pools)])

    def resize(self, limits: int | Limits) -> None:
        """Change the limits of all processes while leases are held; a lower one takes nothing back.

        What 429s have taught is forgotten for a pool whose limit changes. A pool that is not named keeps its limit.
        """
        self._terms.limits = limits_from(limits)
        if self._session is not None:
            self._say_limits(unless_others=False)

    def position(self, lease: Lease) -> int | None:
        """Return how many leases of this process are before this one. Takes O(queued)."""
        if lease.place is None:
            return None
        rank = (lease.priority, self._claims.order[lease])
        order = self._claims.order
        return sum((other.priority, order[other]) < rank for other in self._claims.waiting.values())

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """Return the account's pools by name, over all processes."""
        return {name: pool.statistics() for name, pool in self._claims.pools.items()}

    # --- the state behind them ------------------------------------------------------------------------

    def _fail_refused(self, lease: Lease) -> None:
        """Fail a lease whose 429 came to a limiter that grants nothing any more."""
        if self._claims.drop_waiting(lease):
            self._say(["x", self._claims.leave(lease)])
        if not lease.taken and lease.place is None:
            fail(lease, closed_before_grant(self))

    def _say_limits(self, *, unless_others: bool) -> None:
        self._say(["l", by_name(self._terms.limits), int(unless_others)])

    def _say(self, op: Op) -> None:
        # A lease that waits or is taken implies a session: `_close` leaves none behind.
        assert self._session is not None
        self._session.say(op)


def _closed_while_opening(limiter: SharedLimiter) -> LimiterError:
    return LimiterError(f"the {type(limiter).__name__} was closed while it was being opened: open it again")
