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
task share one entry (`_Slot`), so that the process speaks to the book with one voice.

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
import logging
import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Self

from anyio import CancelScope

from bfl_async._config import Limits, limits_from
from bfl_async.errors import ConfigError, LeaseLostError, LimiterError, QueueFullError
from bfl_async.limiter._leases import closed_before_grant, closed_first, fail
from bfl_async.limiter.steps import Batch, Op, StepReply, Store, StoreAwayError
from bfl_async.protocols.limiter import Lease
from bfl_async.runtime.cancellation import is_cancelled
from bfl_async.runtime.tasks import CANCEL_AGAIN_S, END_S, end_task, new_task
from bfl_async.types.statistics import PoolStatistics

_log = logging.getLogger("bfl_async")


_NET_S = 2.0  # a process that waits looks at least so often, should a wake-up be lost
_LAST_STEP_S = 2.0  # for what is left to say when the limiter is closed
# Longer than two attempts at a first step, each with a connection to set up.
_OPEN_S = 20.0
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 1.0

_TOLD_IN_FULL = ("w", "x", "k", "o", "h")  # what a full batch tells anew


@dataclass(slots=True)
class _Pool:
    """The newest word of the book on a pool, and what this process has said since."""

    limit: int
    working: int
    taken: int = 0
    queued: int = 0

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(self.limit, self.working, max(0, self.taken), max(0, self.queued))


@dataclass(eq=False, slots=True)
class _Slot:
    """A slot in each of `pools`, known to the book by `name`, and the leases of this process that share it."""

    name: str
    pools: tuple[str, ...] = ()
    leases: dict[Lease, None] = field(default_factory=dict)
    # Set while no owner in this process follows the task: there is one lease then.
    hold: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class _Session:
    """From open() to aclose()."""

    loop: asyncio.AbstractEventLoop
    store: Store
    opened: asyncio.Future[None]
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    runner: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    seq: int = 0
    full: bool = True
    epoch: str = ""
    beat_at: float = 0.0
    said: int = 0  # operations noted since the start
    heard: int = 0  # of these, those that the book has answered
    sending: int = 0  # of these, those that are on their way
    flushes: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    failures: int = 0
    away: LimiterError | None = None
    # Set once, by _end: from then on nothing new is taken in.
    closer: asyncio.Task[None] | None = None
    # Set by _close: the coroutine that makes the steps ends, even if its cancellation was swallowed.
    is_over: bool = False
    # Done when the closing must not wait for the last step any longer.
    hurry: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.hurry = self.loop.create_future()


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
        self._limits = limits_from(12 if limits is None else limits)
        self._lease_s = float(lease_s)
        self._fails_away = away == "fail"
        self._account: str | None = None
        self._session: _Session | None = None
        self._was_open = False
        self._ids: dict[Lease, str] = {}
        self._rng = random.Random()
        self._forget()

    def _forget(self) -> None:
        for lease in self._ids:
            lease.taken, lease.place = False, None
        self._waiting: dict[str, Lease] = {}  # by id; written by enqueue, _drop_waiting and _apply
        self._slots: dict[str, _Slot] = {}  # by id; of all leases that are taken
        self._ids = {}  # of all leases that are waiting or taken
        self._ops: list[Op] = []  # said, and not handed in yet
        self._bounded = 0  # of those waiting, those that the bound on the queue holds for
        self._arrivals = 0  # orders those to which the book has given no number yet
        self._order: dict[Lease, int] = {}
        self._pools = {name: _Pool(limit, limit) for name, limit in _by_name(self._limits).items()}

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a limiter cannot be pickled or copied: it holds slots, and may hold a password; make one in each process"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_pools"):
            # Its constructor failed.
            return f"<{type(self).__name__}>"
        pools = ", ".join(f"{name} {pool.taken}/{pool.working}" for name, pool in self._pools.items())
        held = len(self._followed())
        return f"<{type(self).__name__} {pools}; {held} held and {len(self._waiting)} queued here>"

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
                self._go_without(
                    session, LimiterError(f"{self._where()} did not answer within {_OPEN_S:g} s")
                )
            session.opened.result()
            if session.closer is not None:
                raise _closed_while_opening(self)
        except LimiterError as exc:
            await self._end(session)
            raise exc.fresh() from exc.__cause__

    def _start(self, loop: asyncio.AbstractEventLoop, account: str) -> _Session:
        name = uuid.uuid4().hex
        wake = asyncio.Event()
        opened: asyncio.Future[None] = loop.create_future()
        # Each caller of `open` raises an error of its own; without a caller, it was logged.
        opened.add_done_callback(lambda future: future.exception())
        session = _Session(loop, self._make_store(account, name, wake.set), opened, name, wake)
        self._session = session
        self._say_limits(unless_others=not self._asks_for_limits)
        session.runner = new_task(self._run(session))
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

    async def _end(self, session: _Session) -> None:
        """Close a session, or wait until whoever closes it has done so."""
        closer = session.closer
        if closer is None:
            self._fail_waiting(closed_before_grant(self))
            self._say(["e"])
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

    async def _close(self, session: _Session) -> None:
        try:
            if session.away is None:
                await asyncio.wait(
                    [self._when_heard(session), session.hurry],
                    timeout=_LAST_STEP_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            if session.timer is not None:
                session.timer.cancel()
            for slot in self._slots.values():
                if slot.hold is not None:
                    slot.hold.cancel()
            try:
                session.is_over = True
                if session.runner is not None:
                    await end_task(session.runner)
                closing = new_task(session.store.aclose())
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
                    self._fail_waiting(closed_before_grant(self))
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
        await self._when_heard(self._opened())

    def _when_heard(self, session: _Session) -> asyncio.Future[None]:
        """Return a future that is done once the book has answered all that was said before."""
        waiter: asyncio.Future[None] = session.loop.create_future()
        if session.heard < session.said:
            session.flushes.append((session.said, waiter))
        else:
            waiter.set_result(None)
        return waiter

    def _opened(self) -> _Session:
        if self._session is not None and self._session.closer is None:
            return self._session
        if self._session is not None or self._was_open:
            raise closed_first(self)
        raise ConfigError(f"the {type(self).__name__} is not open: its client opens it, or await open()")

    # --- the steps of this process ----------------------------------------------------------------------

    def enqueue(self, lease: Lease) -> None:
        """Let a lease wait; see `Limiter.enqueue`. It is granted in a later turn of the loop."""
        session = self._opened()
        if lease.taken or lease.place is not None:
            raise ValueError("the lease is already queued or taken")
        most = self._limits.queue
        if most is not None and lease.bounded and lease not in self._order and self._bounded >= most:
            room = min((pool.working - pool.taken for pool in self._known(lease.pools)), default=most + 1)
            if self._bounded - max(0, room) >= most:
                raise QueueFullError(
                    f"{most} requests are waiting, as many as Limits(queue={most}) allows: try again later"
                )
        self._wait(lease, uuid.uuid4().hex)
        self._say(["w", self._ids[lease], lease.priority, lease.arrival or 0, list(lease.pools)])
        if session.away is not None and self._fails_away:
            session.loop.call_soon(self._fail_waiting, session.away)

    def withdraw(self, lease: Lease) -> None:
        """Take a lease out of the queue; see `Limiter.withdraw`."""
        if self._drop_waiting(lease):
            self._say(["x", self._leave(lease)])

    def release(self, lease: Lease, *, after_s: float = 0.0) -> None:
        """Free the slots of a lease's task, now or later; see `Limiter.release`."""
        session, slot = self._session, self._slot_of(lease)
        if session is None or slot is None:
            return
        if after_s <= 0:
            self._end_slot(slot)
            self._say(["r", slot.name])
        elif slot.hold is not None:
            return
        elif len(slot.leases) > 1:
            self._drop(slot, lease)
        else:
            # The book ends it by itself.
            slot.hold = session.loop.call_later(after_s, self._end_slot, slot)
            self._say(["h", slot.name, after_s, list(slot.pools)])

    def refuse(self, lease: Lease, *, retry_after_s: float | None) -> None:
        """Take a 429 for a lease; see `Limiter.refuse`. Once the limiter is closed, the lease fails in a later turn."""
        session = self._session
        if session is None or session.closer is not None:
            asyncio.get_running_loop().call_soon(self._fail_refused, lease)
        slot = self._slot_of(lease)
        if slot is None:
            return
        order = self._order.get(lease)
        self._end_slot(slot)
        if order is not None:
            self._order[lease] = order
        told = -1.0 if retry_after_s is None else max(0.0, retry_after_s)
        self._wait(lease, slot.name)
        self._say(["n", slot.name, told, lease.priority, lease.arrival or 0, list(lease.pools)])

    def confirm(self, lease: Lease) -> None:
        """Note that a task was accepted; see `Limiter.confirm`."""
        slot = self._slot_of(lease)
        if slot is None:
            return
        task_id = lease.task_id if lease.task_id is not None else slot.name
        self._say(["c", slot.name, task_id])
        if task_id == slot.name:
            return
        first = self._slots.get(task_id)
        leases = list(slot.leases)
        self._free(slot)
        if first is None:
            first = self._slots[task_id] = _Slot(task_id)
        for each in leases:
            self._share(first, each, slot.pools)

    def take(self, lease: Lease) -> None:
        """Take slots past the limit; see `Limiter.take`."""
        self._opened()
        self.withdraw(lease)
        slot = self._slot_of(lease)
        if slot is None:
            name = lease.task_id if lease.task_id is not None else uuid.uuid4().hex
            slot = self._slots.setdefault(name, _Slot(name))
        self._share(slot, lease, lease.pools)
        self._say(["t", slot.name, list(slot.pools)])

    def resize(self, limits: int | Limits) -> None:
        """Change the limits of all processes while leases are held; a lower one takes nothing back.

        What 429s have taught is forgotten for a pool whose limit changes. A pool that is not named keeps its limit.
        """
        self._limits = limits_from(limits)
        if self._session is not None:
            self._say_limits(unless_others=False)

    def position(self, lease: Lease) -> int | None:
        """Return how many leases of this process are before this one. Takes O(queued)."""
        if lease.place is None:
            return None
        rank = (lease.priority, self._order[lease])
        return sum((other.priority, self._order[other]) < rank for other in self._waiting.values())

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """Return the account's pools by name, over all processes."""
        return {name: pool.statistics() for name, pool in self._pools.items()}

    # --- the state behind them ------------------------------------------------------------------------

    def _known(self, names: tuple[str, ...]) -> Iterator[_Pool]:
        return (self._pools[name] for name in names if name in self._pools)

    def _wait(self, lease: Lease, name: str) -> None:
        if lease not in self._order:
            self._arrivals += 1
            self._order[lease] = self._arrivals
        lease.place = name
        self._waiting[name] = lease
        self._ids[lease] = name
        self._bounded += lease.bounded
        for pool in self._known(lease.pools):
            pool.queued += 1

    def _drop_waiting(self, lease: Lease) -> bool:
        name = self._ids.get(lease)
        if name is None or self._waiting.get(name) is not lease:
            return False
        del self._waiting[name]
        lease.place = None
        self._bounded -= lease.bounded
        for pool in self._known(lease.pools):
            pool.queued -= 1
        return True

    def _leave(self, lease: Lease) -> str:
        self._order.pop(lease, None)
        return self._ids.pop(lease)

    def _slot_of(self, lease: Lease) -> _Slot | None:
        return self._slots.get(self._ids[lease]) if lease.taken and lease in self._ids else None

    def _followed(self) -> list[_Slot]:
        return [slot for slot in self._slots.values() if slot.hold is None]

    def _share(self, slot: _Slot, lease: Lease, pools: tuple[str, ...]) -> None:
        """Let a lease count as this slot, which it takes over if no other lease follows the task here."""
        if slot.hold is not None:
            slot.hold.cancel()
            slot.hold = None
            for former in list(slot.leases):
                self._drop(slot, former)
        lease.taken = True
        slot.leases[lease] = None
        self._ids[lease] = slot.name
        more = tuple(name for name in pools if name not in slot.pools)
        slot.pools += more
        for pool in self._known(more):
            pool.taken += 1

    def _drop(self, slot: _Slot, lease: Lease) -> None:
        """Let a lease count for nothing any more; its slot stays."""
        lease.taken = False
        del slot.leases[lease]
        self._leave(lease)

    def _free(self, slot: _Slot) -> None:
        del self._slots[slot.name]
        for pool in self._known(slot.pools):
            pool.taken -= 1
        if slot.hold is not None:
            slot.hold.cancel()

    def _end_slot(self, slot: _Slot) -> None:
        self._free(slot)
        for lease in list(slot.leases):
            self._drop(slot, lease)

    def _fail_waiting(self, error: LimiterError) -> None:
        for lease in list(self._waiting.values()):
            if self._drop_waiting(lease):
                self._say(["x", self._leave(lease)])
                fail(lease, error)

    def _fail_refused(self, lease: Lease) -> None:
        """Fail a lease whose 429 came to a limiter that grants nothing any more."""
        if self._drop_waiting(lease):
            self._say(["x", self._leave(lease)])
        if not lease.taken and lease.place is None:
            fail(lease, closed_before_grant(self))

    def _say_limits(self, *, unless_others: bool) -> None:
        self._say(["l", _by_name(self._limits), int(unless_others)])

    def _say(self, op: Op) -> None:
        session = self._session
        assert session is not None
        session.said += 1
        if session.away is not None and op[0] in ("w", "x"):
            return  # the next batch is full and tells who waits
        self._ops.append(op)
        session.wake.set()

    # --- the coroutine --------------------------------------------------------------------------------

    async def _run(self, session: _Session) -> None:
        try:
            # A store may swallow the cancellation that is to end this: wait_for does so in Python 3.11.
            while not session.is_over and not is_cancelled():
                await session.wake.wait()
                session.wake.clear()
                batch = self._next_batch(session)
                try:
                    reply = await _step(session.store, batch)
                except StoreAwayError as exc:
                    self._not_heard(session, batch, exc)
                    if session.failures > 1:  # a connection that was cut is no reason to wait
                        await asyncio.sleep(self._backoff_s(session.failures))
                    session.wake.set()
                else:
                    self._apply(session, batch, reply)
        except Exception as exc:  # a bug: nobody is to wait for ever
            _log.error("the limiter failed by a bug", exc_info=exc, extra={"bfl_limiter": self._where()})
            session.away = LimiterError(f"the limiter failed by a bug ({type(exc).__name__})")
            session.away.__cause__ = exc
            self._fails_away = True
            self._fail_waiting(session.away)
            if not session.opened.done():
                session.opened.set_exception(session.away)

    def _next_batch(self, session: _Session) -> Batch:
        now = session.loop.time()
        ops, self._ops = self._ops, []
        session.sending = session.said
        if session.full:
            ops = [op for op in ops if op[0] not in _TOLD_IN_FULL]
        if session.full or now >= session.beat_at:
            ops.extend(["k", slot.name, list(slot.pools)] for slot in self._followed())
            session.beat_at = now + self._lease_s / 3
        if session.full:
            ops.append(["o", [slot.name for slot in self._followed()]])
            ops.extend(
                ["h", slot.name, max(0.001, slot.hold.when() - now), list(slot.pools)]
                for slot in self._slots.values()
                if slot.hold is not None
            )
            ops.extend(
                ["w", name, lease.priority, lease.arrival or 0, list(lease.pools)]
                for name, lease in self._waiting.items()
            )
        session.seq += 1
        if session.closer is not None:
            ops = [op for op in ops if op[0] != "e"]
            ops.append(["e"])
        return Batch(
            session.name, session.seq, session.full, session.epoch, _by_name(self._limits), self._lease_s, ops,
            waiting=len(self._waiting),
        )  # fmt: skip

    def _not_heard(self, session: _Session, batch: Batch, exc: StoreAwayError) -> None:
        """No reply: what was said may or may not stand in the book. The next batch tells everything."""
        session.failures += 1
        session.full = True
        self._ops[:0] = [op for op in batch.ops if op[0] not in _TOLD_IN_FULL]
        if session.failures < 2 and not exc.hopeless:
            return
        error = LimiterError(f"{self._where()} cannot be {'used' if exc.hopeless else 'reached'}: {exc}")
        error.__cause__ = exc.__cause__
        self._go_without(session, error, hopeless=exc.hopeless)

    def _go_without(self, session: _Session, error: LimiterError, *, hopeless: bool = False) -> None:
        """Tell the requests and the callers of `open` that the book is away."""
        if session.away is None:
            self._ops = [op for op in self._ops if op[0] not in _TOLD_IN_FULL]
            _log.warning(
                "%s; %s",
                error,
                "requests fail" if self._fails_away else "requests wait until it is back",
                extra={"bfl_limiter": self._where(), "bfl_queued": len(self._waiting)},
            )
        session.away = error
        if not session.opened.done():
            if self._fails_away or hopeless:
                session.opened.set_exception(error)
            else:
                session.opened.set_result(None)
        if self._fails_away:
            self._fail_waiting(error)

    def _backoff_s(self, failures: int) -> float:
        longest: float = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (min(failures, 10) - 2))
        return longest * self._rng.uniform(0.5, 1.0)

    def _apply(self, session: _Session, batch: Batch, reply: StepReply) -> None:
        session.failures = 0
        if session.away is not None:
            session.away = None
            _log.warning("%s is back", self._where(), extra={"bfl_limiter": self._where()})
        if reply.resync:
            session.full = True
            self._ops[:0] = [op for op in batch.ops if op[0] not in _TOLD_IN_FULL]
            session.wake.set()
            return
        same_book = session.epoch == reply.epoch
        session.full = False
        session.epoch = reply.epoch
        self._tell_of_lost(reply.lost, same_book=same_book)
        for name in reply.ended:
            self._end_elsewhere(name)
        self._pools = {
            name: _Pool(pool.limit, pool.working, pool.taken, pool.queued)
            for name, pool in reply.pools.items()
        }
        for name, arrival in reply.arrivals:
            if (lease := self._waiting.get(name)) is not None:
                lease.arrival = arrival
        for name, arrival in reply.grants:
            waiting = self._waiting.get(name)
            if waiting is None:
                # Withdrawn in this very moment: that stands in the next batch. Or from a step that was
                # thought to be lost, and is nobody's.
                if not any(op[0] == "x" and op[1] == name for op in self._ops):
                    self._say(["x", name])
                continue
            del self._waiting[name]
            waiting.place = None
            self._bounded -= waiting.bounded
            waiting.arrival = arrival
            waiting.taken = True
            # The book's numbers of the pools count it.
            self._slots[name] = _Slot(name, waiting.pools, {waiting: None})
            waiting.on_granted()
        session.heard = max(session.heard, session.sending)
        if not session.opened.done():
            session.opened.set_result(None)
        still: list[tuple[int, asyncio.Future[None]]] = []
        for number, waiter in session.flushes:
            if number > session.heard:
                still.append((number, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        session.flushes = still
        self._set_timer(session, reply.next_s)

    def _tell_of_lost(self, lost: list[str], *, same_book: bool) -> None:
        lost = [name for name in lost if name in self._slots]
        if not lost:
            return
        facts = {"bfl_limiter": self._where(), "bfl_leases": len(lost)}
        if same_book:
            _log.warning(
                "%s",
                LeaseLostError(
                    f"{len(lost)} leases ran out while their tasks went on: was the process paused for more "
                    f"than {self._lease_s:g} s? Their slots are taken again, past the limit if need be"
                ),
                extra=facts,
            )
        else:
            _log.warning(
                "%s had lost its data: %d leases stand there again", self._where(), len(lost), extra=facts
            )

    def _end_elsewhere(self, name: str) -> None:
        """Free a slot of this process whose task another one has seen end."""
        slot = self._slots.get(name)
        if slot is None or slot.hold is not None:
            return
        # What was said since the step may follow the task again.
        if not any(op[0] in ("t", "c") and name in op[1:3] for op in self._ops):
            self._end_slot(slot)

    def _set_timer(self, session: _Session, next_s: float | None) -> None:
        """Look again by time: to keep what is held, and while something waits also for what time may bring."""
        now = session.loop.time()
        at = session.beat_at
        if self._waiting:
            at = min(at, now + _NET_S * self._rng.uniform(0.75, 1.0))
            if next_s is not None:
                # A little late, and not all processes at once.
                at = min(at, now + max(0.001, next_s) + self._rng.uniform(0.001, 0.01))
        if session.timer is not None:
            session.timer.cancel()
        session.timer = session.loop.call_at(at, session.wake.set)


def _closed_while_opening(limiter: SharedLimiter) -> LimiterError:
    return LimiterError(f"the {type(limiter).__name__} was closed while it was being opened: open it again")


async def _step(store: Store, batch: Batch) -> StepReply:
    try:
        return await store.step(batch)
    except asyncio.CancelledError as exc:
        if is_cancelled():
            raise
        raise StoreAwayError("the call was cancelled, and not by this limiter") from exc


def _by_name(limits: Limits) -> dict[str, int]:
    return {"account": limits.account, **limits.pools}
