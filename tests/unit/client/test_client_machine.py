"""The whole client through hours of random use against random faults; failures shrink to the few steps that matter.

The server of `tests/fake.py` does its work by the clock; the rules start callers, cancel them, let things go wrong and
let time pass. What the server counts and what was lost is compared with the slots after each step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bfl_async import (
    AsyncBFL,
    BFLError,
    ConnectError,
    Fixed,
    FluxPro11,
    Limits,
    TaskHandle,
    Timeouts,
    TransportError,
)
from bfl_async.limiter import LocalLimiter
from bfl_async.models import ImageRequest, PassThroughRequest
from bfl_async.types import JSON, Reply
from tests.fake import FakeAPI, reply, seed, spin, status
from tests.machines import looptime_runner, run_machine

T = TypeVar("T")

LIMIT = 3
UNKNOWN_S = 12.0
CLOSE_S = 3.0
CHANCES = st.integers(1, 8)
TASK_S = 3_000.0  # longer than all faults of a life together

Fault = Reply | BFLError | Literal["lost after"]
TAKEN_BACK: list[Fault] = [
    reply(429, {"detail": "no"}),
    reply(429, {"detail": "no"}, retry_after="7"),
    reply(503, {"detail": "busy"}),
    reply(503, {"detail": "busy"}, retry_after="7"),
    ConnectError("no connection"),
]
LOST: list[Fault] = ["lost after", TransportError("lost before"), reply(502, "<html>"), reply(200, b'{"id"')]
POLL_FAULTS: list[Fault] = [
    reply(502, "<html>"),
    reply(429, {"detail": "slowly"}, retry_after="7"),
    reply(200, b"\xff"),
    reply(200, status("a word of tomorrow")),
    reply(422, status("Pending", progress=0.5)),
    TransportError("reset"),
    ConnectError("no connection"),
]


@dataclass
class Server(FakeAPI):
    """A server with faults in the order in which the rules ask for them."""

    faults: deque[Fault] = field(default_factory=deque)
    services_s: deque[float] = field(default_factory=deque)
    words: deque[str] = field(default_factory=deque)  # how the next tasks end
    lost_until: list[float] = field(default_factory=list)  # when slots of lost submits come back
    on_their_way: int = 0

    async def submit(self, path: str, body: bytes) -> Reply:
        self.on_their_way += 1
        try:
            answer = await super().submit(path, body)
        except TransportError as exc:
            if not isinstance(exc, ConnectError):
                self.lost_until.append(self.now() + UNKNOWN_S)
            raise
        finally:
            self.on_their_way -= 1
        if answer.status_code == 502 or answer.body == b'{"id"':
            self.lost_until.append(self.now() + UNKNOWN_S)
        return answer

    def _accept(self, path: str, body: dict[str, JSON]) -> Reply:
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, BFLError):
            raise fault.fresh()
        if isinstance(fault, Reply):
            return fault
        answer = super()._accept(path, body)
        if answer.status_code == 200:
            task = list(self.tasks.values())[-1]
            service_s = self.services_s.popleft() if self.services_s else 1.0
            # A lost one is over before its slot comes back, as the default of `unknown_s` hopes.
            task.ready_at = task.accepted_at + (min(service_s, 5.0) if fault else service_s)
            task.status = self.words.popleft() if self.words else "Ready"
        if fault == "lost after":
            raise TransportError("lost after")
        return answer

    async def poll(self, url: str) -> Reply:
        if url == "/v1/credits" and self.poll_script:
            answer = self.poll_script.popleft()
            if isinstance(answer, BFLError):
                raise answer.fresh()
            assert answer is not None
            return answer
        return await super().poll(url)


@dataclass(eq=False)
class Caller:
    """A coroutine of the user's program."""

    work: asyncio.Task[None]
    cancelled: bool = False


class Caught(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage() + (f": {record.exc_info[1]!r}" if record.exc_info else ""))


def followed_by(client: AsyncBFL) -> list[str]:
    """The ids of the tasks that a client follows: it lists them in public only once it is closed."""
    assert client._life.scheduler is not None
    return [*client._life.scheduler._entries.by_task]


class ClientMachine(RuleBasedStateMachine):
    """One client, or two on one limiter, and a program that uses them in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = looptime_runner()
        self.loop = self.runner.get_loop()
        self.unhandled: list[dict[str, object]] = []
        self.loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.caught = Caught()
        logging.getLogger("bfl_async").addHandler(self.caught)
        self.api = Server(limit=LIMIT)
        self.limiter = LocalLimiter(Limits(account=LIMIT, pools={"narrow": 1}))
        self.clients: list[AsyncBFL] = []
        self.closers: dict[int, list[Caller]] = {}  # a client may be closed by several at a time
        self.callers: list[Caller] = []
        self.handles: list[TaskHandle] = []
        self.requests = 0
        # Two clients follow, or followed, one task.
        self.shared = False
        self.blameless = True  # nothing that lets a server answer 429 against our count has happened

    def run(self, work: Coroutine[object, object, T]) -> T:
        async def settle_down() -> T:
            result = await work
            await spin(30)
            return result

        return self.runner.run(settle_down())

    @initialize(count=st.integers(1, 2))
    def open(self, count: int) -> None:
        async def call() -> None:
            for _ in range(count):
                client = AsyncBFL(
                    limiter=self.limiter,
                    limits=Limits(account=LIMIT, unknown_s=UNKNOWN_S, queue=12),
                    polling=Fixed(0.5),
                    transport=self.api,
                    timeouts=Timeouts(connect=5, reply=5, task=TASK_S, close=CLOSE_S),
                )
                self.clients.append(await client.open())
                seed(client, len(self.clients))

        self.run(call())

    # --- what a program does ------------------------------------------------------------------------------

    def request(self) -> ImageRequest:
        self.requests += 1
        prompt = str(self.requests)
        if self.requests % 3:
            return FluxPro11(prompt=prompt)
        return PassThroughRequest.named("narrow", {"prompt": prompt})

    def start(self, work: Coroutine[object, object, None]) -> Caller:
        """Let a caller run beside all others."""

        async def call() -> Caller:
            return Caller(asyncio.get_running_loop().create_task(work))

        caller = self.run(call())
        self.callers.append(caller)
        return caller

    which = st.integers(0, 1)
    timeouts = st.sampled_from([None, None, 0.0, 0.05, 2.0, 30.0])

    def client(self, which: int) -> AsyncBFL:
        return self.clients[which % len(self.clients)]

    @rule(which=which, timeout=timeouts, priority=st.integers(0, 2))
    def generate(self, which: int, timeout: float | None, priority: int) -> None:
        async def call() -> None:
            result = await self.client(which).generate(self.request(), timeout=timeout, priority=priority)
            assert await result.read()

        self.start(call())

    @rule(which=which, timeout=timeouts)
    def submit(self, which: int, timeout: float | None) -> None:
        async def call() -> None:
            handle = await self.client(which).submit(self.request(), timeout=timeout)
            assert handle.task_id in self.api.tasks
            self.handles.append(handle)
            states = [update.state async for update in handle.updates()]
            assert states.count(states[-1]) == 1
            assert handle.done()
            await handle

        self.start(call())

    @rule(which=which, count=st.integers(1, 4))
    def submit_several(self, which: int, count: int) -> None:
        for _ in range(count):
            self.submit_nowait(which)

    def submit_nowait(self, which: int) -> None:
        async def call() -> None:
            handle = self.client(which).submit_nowait(self.request())
            self.handles.append(handle)
            await asyncio.gather(handle, handle.accepted(), handle.result())

        self.start(call())

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(self.handles))
        unsent = handle.state == "queued"

        async def call() -> None:
            withdrawn = handle.withdraw()
            assert withdrawn or not unsent

        self.run(call())

    @rule(which=which, timeout=timeouts, count=st.integers(0, 5), keep=st.booleans())
    def gather(self, which: int, timeout: float | None, count: int, keep: bool) -> None:
        async def call() -> None:
            requests = [self.request() for _ in range(count)]
            results = await self.client(which).gather(requests, timeout=timeout, return_exceptions=keep)
            assert len(results) == count

        self.start(call())

    @rule(
        which=which,
        timeout=timeouts,
        count=st.integers(0, 8),
        window=st.integers(1, 4),
        ordered=st.booleans(),
        stop=st.integers(1, 12),
        lazy=st.booleans(),
    )
    def stream(
        self, which: int, timeout: float | None, count: int, window: int, ordered: bool, stop: int, lazy: bool
    ) -> None:
        def source() -> Iterator[ImageRequest]:
            for _ in range(count):
                yield self.request()

        async def slow_source() -> AsyncIterator[ImageRequest]:
            for each in source():
                await asyncio.sleep(0.7)
                yield each

        async def call() -> None:
            given = slow_source() if lazy else source()
            outcomes = self.client(which).stream(given, window=window, ordered=ordered, timeout=timeout)
            seen: list[int] = []
            async with outcomes:
                async for outcome in outcomes:
                    assert (outcome.result is None) != (outcome.error is None)
                    seen.append(outcome.index)
                    if len(seen) == stop:
                        return
            assert sorted(seen) == list(range(count))
            assert not ordered or seen == sorted(seen)

        self.start(call())

    @rule(which=which, data=st.data())
    def attach(self, which: int, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(["a ghost", *self.api.tasks]))
        others = [client for client in self.clients if client is not self.client(which)]
        self.shared = self.shared or any(task_id in followed_by(client) for client in others)

        async def call() -> None:
            handle = self.client(which).attach(task_id, polling_url=f"https://api.bfl.ai/poll/{task_id}")
            assert handle.task_id == task_id
            await handle

        self.start(call())

    @rule(
        which=which,
        answer=st.sampled_from([None, reply(502), reply(403), reply(200, "{"), TransportError("x")]),
    )
    def ask_for_credits(self, which: int, answer: Reply | BFLError | None) -> None:
        async def call() -> None:
            if answer is not None:
                self.api.poll_script.append(answer)
            assert await self.client(which).credits() >= 0

        self.start(call())

    @rule(which=which, timeout=st.sampled_from([None, 0.0, 5.0]))
    def drain(self, which: int, timeout: float | None) -> None:
        async def call() -> None:
            began = self.loop.time()
            drained = await self.client(which).drain(timeout)
            assert drained or (timeout is not None and self.loop.time() >= began + timeout - 0.001)

        self.start(call())

    def running(self) -> list[Caller]:
        return [caller for caller in self.callers if not caller.work.done() and not caller.cancelled]

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.running()))
        caller.cancelled = True

        async def call() -> None:
            caller.work.cancel()

        self.run(call())
        closes = any(caller in closers for closers in self.closers.values())
        assert caller.work.done() or closes, "cancellation returns at once"

    @rule(which=which, drain=st.sampled_from([0.0, 4.0, None]), chance=CHANCES)
    def close(self, which: int, drain: float | None, chance: int) -> None:
        if chance < 8:
            return  # seldom: little happens afterwards
        self.blameless = False  # what the client no longer follows the server still counts
        closer = self.start(self.client(which).aclose(drain=drain))
        self.closers.setdefault(which % len(self.clients), []).append(closer)

    # --- what the server and the network do -----------------------------------------------------------------

    @rule(fault=st.sampled_from(TAKEN_BACK + LOST + LOST), times=st.integers(1, 2))
    def let_submits_fail(self, fault: Fault, times: int) -> None:
        self.api.faults.extend([fault] * times)

    @rule(code=st.sampled_from([422, 404, 402, 403]), chance=CHANCES)
    def let_submits_be_refused(self, code: int, chance: int) -> None:
        """Seldom: 402 ends all that waits, and what comes within 30 s."""
        if chance >= 7:
            self.api.faults.append(reply(code, {"detail": "no"}))

    @rule(fault=st.sampled_from(POLL_FAULTS), times=st.integers(1, 4))
    def let_polls_fail(self, fault: Fault, times: int) -> None:
        if not isinstance(fault, str):
            self.api.poll_script.extend([fault] * times)

    @rule(
        service_s=st.sampled_from([0.0, 0.4, 3.0, 40.0]),
        word=st.sampled_from(["Ready", "Ready", "Request Moderated", "Content Moderated", "Error"]),
    )
    def plan_task(self, service_s: float, word: str) -> None:
        self.api.services_s.append(service_s)
        self.api.words.append(word)

    @precondition(lambda self: self.api.tasks)
    @rule(data=st.data())
    def forget_task(self, data: st.DataObject) -> None:
        """The server loses a task: it neither counts nor knows it any more."""
        task = self.api.tasks[data.draw(st.sampled_from(sorted(self.api.tasks)))]
        self.run(self._forget(task.task_id))

    async def _forget(self, task_id: str) -> None:
        self.api.end(task_id, "Task not found")

    @rule(count=st.integers(0, 2))
    def let_others_use_the_account(self, count: int) -> None:
        self.api.foreign_active = count
        self.blameless = self.blameless and count == 0

    @rule(seconds=st.sampled_from([0.03, 0.06, 0.2, 1.1, 2.6, 6.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([31.0, 700.0]), chance=CHANCES)
    def wait_long(self, seconds: float, chance: int) -> None:
        """Seldom, since it ends all that is on its way."""
        if chance == 8:
            self.wait(seconds)

    # --- what must hold after each step -----------------------------------------------------------------------

    @invariant()
    def slots_are_what_is_on_its_way_followed_or_lost(self) -> None:
        """Invariants 1 and 2; exact while no client has closed, which leaves slots to time.

        A task that is followed twice takes one slot, until the first of them sees its end.
        """
        now = [client.statistics() for client in self.clients]
        # One client may follow a task twice: for a caller who has left, and because it was attached again.
        tasks = {task_id for client in self.clients for task_id in followed_by(client)}
        self.shared = self.shared or sum(each.active for each in now) > len(tasks)
        taken = self.limiter.statistics()["account"].taken
        least = most = sum(each.submitting + each.active for each in now)
        if self.shared:
            running = [
                task_id
                for task_id in tasks & {*self.api.tasks}
                if self.api.tasks[task_id].active(self.loop.time())
            ]
            least, most = (sum(each.submitting for each in now) + len(each) for each in (running, tasks))
        lost = sum(until > self.loop.time() for until in self.api.lost_until)
        if not self.closers:
            assert least + lost <= taken <= most + lost
            assert self.api.on_their_way == sum(each.submitting for each in now)
        else:
            assert taken >= least
        if self.blameless:
            assert self.api.refused_429 == 0, "a 429 of our own making"

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        """Invariant 2."""
        paid = [task.body["prompt"] for task in self.api.tasks.values()]
        assert len(paid) == len(set(paid))

    @invariant()
    def callers_end_with_errors_of_ours(self) -> None:
        """Invariant 8."""
        for caller in [caller for caller in self.callers if caller.work.done()]:
            self.callers.remove(caller)
            if caller.work.cancelled():
                assert caller.cancelled
            elif (exc := caller.work.exception()) is not None and not isinstance(exc, BFLError):
                raise exc

    @invariant()
    def nothing_breaks_behind_the_scenes(self) -> None:
        assert self.unhandled == []
        assert self.caught.texts == []

    def teardown(self) -> None:
        try:
            if self.clients:
                self.live_to_the_end()
        finally:
            logging.getLogger("bfl_async").removeHandler(self.caught)
            self.run(self.limiter.aclose())
            self.runner.close()

    def live_to_the_end(self) -> None:
        """Once the faults are over everybody gets an end, drain() drains, and after the close nothing runs."""
        self.api.foreign_active = 0
        self.api.faults.clear()
        self.api.poll_script.clear()
        for _ in range(20):
            self.wait(31.0)
        self.check()
        assert [caller.work for caller in self.callers] == [], "somebody waits for ever"
        self.handles.clear()
        for which, client in enumerate(self.clients):
            if which not in self.closers:
                assert self.run(client.drain(0.0)), "something is left, and nobody waits for it"
                self.run(client.aclose())
            seen = client.statistics()
            assert (seen.queued, seen.submitting, seen.active) == (0, 0, 0)
            assert seen.submitted <= seen.ready + seen.moderated + seen.failed + seen.ambiguous
        done = len(self.api.posts), len(self.api.polled)
        self.wait(700.0)
        assert done == (len(self.api.posts), len(self.api.polled))
        assert asyncio.all_tasks(self.loop) == set()
        for pool in self.limiter.statistics().values():
            assert (pool.taken, pool.queued, pool.working) == (0, 0, pool.limit)
        self.check()

    def check(self) -> None:
        self.slots_are_what_is_on_its_way_followed_or_lost()
        self.nothing_is_paid_twice()
        self.callers_end_with_errors_of_ours()
        self.nothing_breaks_behind_the_scenes()


@pytest.mark.timeout(600)  # for shrinking a failure
def test_client_keeps_its_word_through_any_use() -> None:
    """Invariants 1, 2, 3, 6, 7, 8 and 9 together."""
    run_machine(ClientMachine, 100, 60)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_client_keeps_its_word_through_any_use_for_long() -> None:
    """The same, over more and longer lives."""
    run_machine(ClientMachine, 500, 80)
