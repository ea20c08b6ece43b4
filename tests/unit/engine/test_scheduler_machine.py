"""Scheduler and limiter against a perfect server's count, over random steps.

The transport is worked by hand: each POST and each poll waits until a rule answers it. So the machine knows, at
every step, what the server counts, what is on its way and what was lost, and compares the slots with that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from bfl_async import (
    BFLError,
    ClientClosedError,
    ConnectError,
    Fixed,
    FluxPro11,
    Limits,
    QueueFullError,
    Timeouts,
    TransportError,
)
from bfl_async.engine.entry import Entry
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    TaskTimeoutError,
    UntrustedURLError,
)
from bfl_async.limiter import LocalLimiter
from bfl_async.models import PassThroughRequest
from bfl_async.polling.book import TimingsBook
from bfl_async.types import Failed, Lost, Moderated, Ready, Reply, Settlement, State, Unsent
from tests.fake import reply, spin, status
from tests.machines import looptime_runner, run_machine

T = TypeVar("T")

LIMITS = {"account": 3, "narrow": 2, "video": 1}
MODELS = {"flux-pro-1.1": (), "narrow": ("narrow",), "a-video": ("video",)}
UNKNOWN_S = 21.0  # Limits.unknown_s
TASK_S = 300.0  # Timeouts.task
POST_S = 15.0  # how long a POST may take: Timeouts.connect and .reply, and 5 s
STOP_S = 30.0  # invariant 7
QUEUE = 6
ENDS: dict[str, type[Settlement]] = {
    "Ready": Ready,
    "Request Moderated": Moderated,
    "Content Moderated": Moderated,
    "Error": Failed,
}
TICK_S = 0.01
CHANCES = st.integers(1, 8)


@dataclass(eq=False)
class Slot:
    """What takes slots in the model: a POST on its way, a task, or one that was lost."""

    pools: tuple[str, ...]
    life: Life
    until: float | None = None  # of a lost one: when its slots come back


@dataclass(eq=False)
class Post:
    """A POST on its way."""

    life: Life
    answer: asyncio.Future[Reply]
    sent_at: float


@dataclass(eq=False)
class Poll:
    """A poll on its way."""

    life: Life
    answer: asyncio.Future[Reply]


@dataclass(eq=False)
class Life:
    """One request or attached task, and what the model knows of it."""

    owner: Owner
    pools: tuple[str, ...]
    entry: Entry = field(init=False)
    slot: Slot | None = None
    accepted_at: float | None = None
    ends: list[Settlement] = field(default_factory=list)
    expected: type[Settlement] | None = None  # what the server's word must have led to
    left: bool = False  # its only caller has left
    deadline: float | None = None  # of its caller
    may_be_lost: bool = False  # an answer was lost, or the client closes
    not_found: list[float] = field(default_factory=list)  # when polls in a row said so
    cost: float = 0.0
    counted: bool = True  # whether it is in the statistics of costs


@dataclass(eq=False)
class Owner:
    """One scheduler, and what the model knows of its gate and its counts."""

    scheduler: Scheduler = field(init=False)
    stopped_at: float | None = None  # when a 402 closed its gate
    probe: Life | None = None
    proved: bool = False  # a submit was accepted
    accepted: int = 0
    refused_429: int = 0
    closer: asyncio.Task[None] | None = None


class Caught(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage() + (f": {record.exc_info[1]!r}" if record.exc_info else ""))


class SchedulerMachine(RuleBasedStateMachine):
    """Two clients' schedulers on one limiter of 3 slots and two narrower pools."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = looptime_runner()
        self.loop = self.runner.get_loop()
        self.unhandled: list[dict[str, object]] = []
        self.loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.caught = Caught()
        logging.getLogger("bfl_async").addHandler(self.caught)
        self.limits = dict(LIMITS)
        self.limiter = LocalLimiter(self._limits())
        self.lives: list[Life] = []
        self.slots: list[Slot] = []
        self.posts: list[Post] = []
        self.polls: list[Poll] = []
        self.owners = [Owner(), Owner()]
        self.run(self._make_schedulers())

    async def _make_schedulers(self) -> None:
        for owner in self.owners:
            owner.scheduler = Scheduler(
                transport=Hand(self),
                limiter=self.limiter,
                polling=Fixed(0.5),
                submit_s=POST_S,
                longest_poll_s=None,
                max_polls_per_s=None,
                polls_together=False,
                timings=TimingsBook(),
                overlap=None,
                timeouts=Timeouts(connect=5, reply=5, task=TASK_S, close=5),
                unknown_s=UNKNOWN_S,
                queue=QUEUE,
                rng=random.Random(1),
            )

    def _limits(self) -> Limits:
        pools = {name: limit for name, limit in self.limits.items() if name != "account"}
        return Limits(account=self.limits["account"], pools=pools, queue=QUEUE, unknown_s=UNKNOWN_S)

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine and whatever follows from it; only its own sleeps let time pass."""

        async def settle_down() -> T:
            result = await work
            await spin(30)
            return result

        return self.runner.run(settle_down())

    @property
    def now(self) -> float:
        return self.loop.time()

    # --- the model ----------------------------------------------------------------------------------------

    def taken(self, pool: str) -> int:
        """Slots by the model: what is on its way, what the server counts, and what was lost lately."""
        self.slots = [slot for slot in self.slots if slot.until is None or slot.until > self.now]
        return sum(pool in slot.pools for slot in self.slots)

    def free(self, life: Life) -> None:
        assert life.slot is not None
        self.slots.remove(life.slot)
        life.slot = None

    def sent(self, path: str, body: bytes) -> Post:
        """A POST leaves: the moment of truth."""
        life = self.lives[int(json.loads(body)["prompt"])]
        owner = life.owner
        assert path == f"/v1/{life.entry.model}"
        assert life.slot is None, "sent while it has a slot already"
        assert life.ends == [], "sent after its end"
        assert not life.left, "sent for nobody"
        assert life.accepted_at is None, "sent again after it was accepted"
        assert owner.closer is None, "sent by a closed client"
        assert life.deadline is None or self.now < life.deadline, "sent for a caller whose time is up"
        for pool in life.pools:
            assert self.taken(pool) < self.limits[pool], (
                f"no slot is free in {pool}: the server would say 429"
            )
        if owner.stopped_at is not None:
            assert self.now >= owner.stopped_at + STOP_S, "sent while the account has no credits"
            assert owner.probe in (None, life) or owner.probe.ends, "a second probe"
            owner.probe = life
        life.slot = Slot(life.pools, life)
        self.slots.append(life.slot)
        post = Post(life, self.loop.create_future(), self.now)
        self.posts.append(post)
        return post

    def settled(self, life: Life, entry: Entry) -> None:
        settlement = entry.settlement
        assert settlement is not None
        life.ends.append(settlement)
        match settlement:
            case Lost(error):
                assert life.slot is not None, "nothing could have been lost"
                late = life.accepted_at is not None and self.now >= life.accepted_at + TASK_S - TICK_S
                assert life.may_be_lost or (late and isinstance(error, TaskTimeoutError)), repr(error)
                life.slot.until = self.now + UNKNOWN_S
            case Unsent():
                assert life.slot is None, "called unsent, and it has a slot"
                assert life.accepted_at is None
            case _:
                assert life.expected is type(settlement)

    def new_life(self, owner: Owner, model: str) -> Life:
        life = Life(owner, ("account", *MODELS[model]))
        self.lives.append(life)
        return life

    def follow(self, life: Life, entry: Entry) -> None:
        life.entry = entry
        if entry.settlement is None:
            entry.callbacks.add(lambda settled: self.settled(life, settled))
        else:
            self.settled(life, entry)

    # --- requests -------------------------------------------------------------------------------------------

    @rule(
        which=st.integers(0, 1),
        model=st.sampled_from(sorted(MODELS)),
        priority=st.integers(0, 1),
        timeout=st.sampled_from([None, None, 0.0, 40.0]),
        bounded=st.booleans(),
        count=st.integers(1, 4),
    )
    def admit(
        self, which: int, model: str, priority: int, timeout: float | None, bounded: bool, count: int
    ) -> None:
        for _ in range(count):
            self.admit_one(which, model, priority, timeout, bounded=bounded)

    def admit_one(
        self, which: int, model: str, priority: int, timeout: float | None, *, bounded: bool
    ) -> None:
        owner = self.owners[which]
        number = len(self.lives)
        made = (
            FluxPro11(prompt=str(number))
            if model == "flux-pro-1.1"
            else PassThroughRequest.named(model, {"prompt": str(number)})
        )

        async def call() -> None:
            deadline = None if timeout is None else self.now + timeout
            life = self.new_life(owner, model)
            try:
                entry = owner.scheduler.admit(made, priority=priority, deadline=deadline, bounded=bounded)
            except QueueFullError:
                self.lives.pop()
                assert bounded
                return
            except ClientClosedError:
                self.lives.pop()
                assert owner.closer is not None
                return
            except TaskTimeoutError:
                self.lives.pop()
                assert timeout == 0.0
                return
            assert owner.closer is None
            assert timeout != 0.0, "admitted for a caller whose time is up"
            life.deadline = deadline
            self.follow(life, entry)
            if owner.stopped_at is not None and self.now < owner.stopped_at + STOP_S:
                assert isinstance(entry.settlement, Unsent), "new ones fail at once after a 402"

        self.run(call())

    @rule(which=st.integers(0, 1), model=st.sampled_from([None, "narrow"]), known=st.booleans())
    def attach(self, which: int, model: str | None, known: bool) -> None:
        owner = self.owners[which]
        if owner.closer is not None:
            return

        async def call() -> None:
            followed = [
                life
                for life in self.lives
                if life.owner is owner and life.accepted_at is not None and not life.ends
            ]
            if known and followed:
                task_id = followed[0].entry.task_id
                assert task_id is not None
                entry = owner.scheduler.attach(task_id, polling_url=None, model=None, cost=None)
                assert entry is followed[0].entry
                return
            life = self.new_life(owner, model or "flux-pro-1.1")
            life.counted = False
            life.accepted_at = self.now
            life.slot = Slot(life.pools, life)
            self.slots.append(life.slot)
            entry = owner.scheduler.attach(
                f"task-{len(self.lives) - 1}", polling_url=None, model=model, cost=4.0
            )
            self.follow(life, entry)

        self.run(call())

    @precondition(lambda self: any(not life.ends for life in self.lives))
    @rule(data=st.data(), leaves=st.booleans())
    def withdraw(self, data: st.DataObject, leaves: bool) -> None:
        life = data.draw(st.sampled_from([life for life in self.lives if not life.ends]))
        queued = life.entry.state is State.QUEUED

        async def call() -> None:
            if leaves:
                life.left = True
                life.owner.scheduler.leave(life.entry)
            else:
                assert life.owner.scheduler.withdraw(life.entry) == queued

        self.run(call())
        assert bool(life.ends) == queued

    @rule(account=st.integers(1, 4), narrow=st.integers(1, 3))
    def resize(self, account: int, narrow: int) -> None:
        self.limits.update(account=account, narrow=narrow)

        async def call() -> None:
            self.limiter.resize(self._limits())

        self.run(call())

    # --- what the server and the network do -----------------------------------------------------------------

    def open_posts(self) -> list[Post]:
        self.posts = [post for post in self.posts if not post.answer.done()]
        return self.posts

    def open_polls(self) -> list[Poll]:
        self.polls = [poll for poll in self.polls if not poll.answer.done()]
        return self.polls

    @precondition(lambda self: self.open_posts())
    @rule(
        data=st.data(),
        cost=st.sampled_from([None, 4.0, 7.000000000000001]),
        url=st.booleans(),
        all_of_them=st.booleans(),
    )
    def accept(self, data: st.DataObject, cost: float | None, url: bool, all_of_them: bool) -> None:
        posts = list(self.open_posts())
        for post in posts if all_of_them else [data.draw(st.sampled_from(posts))]:
            self.do_accept(post, cost, url=url)

    def do_accept(self, post: Post, cost: float | None, *, url: bool) -> None:
        life, owner = post.life, post.life.owner
        owner.accepted += 1
        owner.proved = True
        if owner.probe is life:
            owner.stopped_at = owner.probe = None
        life.accepted_at = self.now
        life.cost = cost or 0.0
        number = self.lives.index(life)
        receipt: dict[str, object] = {"id": f"task-{number}", "cost": cost}
        if url:
            receipt["polling_url"] = f"https://api.bfl.ai/v1/get_result?id=task-{number}"
        self.deliver(post.answer, reply(200, receipt))

    @precondition(lambda self: self.open_posts())
    @rule(
        data=st.data(),
        answer=st.sampled_from(
            [
                reply(429, {"detail": "no"}),
                reply(429, {"detail": "no"}, retry_after="7"),
                reply(503, {"detail": "busy"}),
                reply(503, {"detail": "busy"}, retry_after="45"),
                ConnectError("no connection"),
                ConnectError("no connection"),
                reply(422, {"detail": "no"}),
                reply(404, {"detail": "no"}),
                reply(302),
            ]
        ),
    )
    def refuse(self, data: st.DataObject, answer: Reply | BFLError) -> None:
        """No task exists."""
        self.do_refuse(data.draw(st.sampled_from(self.open_posts())), answer)

    @precondition(lambda self: self.open_posts())
    @rule(data=st.data(), code=st.sampled_from([402, 403]), chance=CHANCES)
    def stop_spending(self, data: st.DataObject, code: int, chance: int) -> None:
        """Seldom, since it ends all that waits."""
        if chance >= 7:
            self.do_refuse(data.draw(st.sampled_from(self.open_posts())), reply(code, {"detail": "no"}))

    def do_refuse(self, post: Post, answer: Reply | BFLError) -> None:
        life, owner = post.life, post.life.owner
        self.free(life)
        code = answer.status_code if isinstance(answer, Reply) else 0
        owner.refused_429 += code == 429
        stops = code == 402 or (code == 403 and not owner.proved)
        if stops:
            owner.stopped_at, owner.probe = self.now, None
        queued = [each for each in self.lives if each.owner is owner and each.entry.state is State.QUEUED]
        self.deliver(post.answer, answer)
        if code not in (0, 429, 503):
            assert isinstance(life.ends[0], Unsent)
        if stops:
            for each in queued:
                assert isinstance(each.ends[0], Unsent)
                assert isinstance(each.ends[0].error, InsufficientCreditsError | AuthenticationError)

    @precondition(lambda self: self.open_posts())
    @rule(
        data=st.data(),
        answer=st.sampled_from(
            [
                TransportError("reset"),
                reply(502, "<html>"),
                reply(503, "<html>"),
                reply(200, b'{"id": "task'),
                reply(200, {"id": None}),
            ]
        ),
    )
    def lose(self, data: st.DataObject, answer: Reply | BFLError) -> None:
        """A task may exist; the model lets the server end it while its slot is held."""
        post = data.draw(st.sampled_from(self.open_posts()))
        post.life.may_be_lost = True
        self.deliver(post.answer, answer)
        assert isinstance(post.life.ends[0], Lost)

    @precondition(lambda self: self.open_polls())
    @rule(data=st.data(), word=st.sampled_from(list(ENDS)), all_of_them=st.booleans())
    def end(self, data: st.DataObject, word: str, all_of_them: bool) -> None:
        polls = list(self.open_polls())
        for poll in polls if all_of_them else [data.draw(st.sampled_from(polls))]:
            self.do_end(poll, word)

    def do_end(self, poll: Poll, word: str) -> None:
        life = poll.life
        life.expected = ENDS[word]
        self.free(life)
        self.deliver(poll.answer, reply(200, status(word, cost=5.0)))
        life.cost = 5.0
        assert len(life.ends) == 1

    @precondition(lambda self: self.open_polls())
    @rule(
        data=st.data(),
        answer=st.sampled_from(
            [
                reply(200, status("Pending")),
                reply(422, status("Generating", progress=0.4)),
                reply(200, status("a word of tomorrow")),
                reply(200, b'{"status": "Rea'),
                reply(200, {}),
                reply(429, {"detail": "slowly"}, retry_after="20"),
                reply(502, "<html>"),
                TransportError("reset"),
                ConnectError("no connection"),
                OSError("from a transport from outside"),
            ]
        ),
    )
    def go_on(self, data: st.DataObject, answer: Reply | Exception) -> None:
        """A failed poll is not a failed task, and an unknown word is not the end."""
        poll = data.draw(st.sampled_from(self.open_polls()))
        poll.life.not_found.clear()
        self.deliver(poll.answer, answer)

    @precondition(lambda self: self.open_polls())
    @rule(data=st.data())
    def find_nothing(self, data: st.DataObject) -> None:
        poll = data.draw(st.sampled_from(self.open_polls()))
        life = poll.life
        life.not_found.append(self.now)
        over = len(life.not_found) >= 3 and self.now - life.not_found[0] >= 5.0
        if over:
            life.expected = Failed
            self.free(life)
        self.deliver(poll.answer, reply(404, status("Task not found")))
        assert over == bool(life.ends) or (
            life.accepted_at is not None and self.now > life.accepted_at + TASK_S
        )

    @precondition(lambda self: self.open_polls())
    @rule(data=st.data(), chance=CHANCES)
    def distrust(self, data: st.DataObject, chance: int) -> None:
        if chance < 6:
            return
        poll = data.draw(st.sampled_from(self.open_polls()))
        poll.life.may_be_lost = True
        self.deliver(poll.answer, UntrustedURLError("not there"))
        assert isinstance(poll.life.ends[0], Lost)

    def deliver(self, answer: asyncio.Future[Reply], what: Reply | Exception) -> None:
        async def call() -> None:
            if isinstance(what, Reply):
                answer.set_result(what)
            else:
                answer.set_exception(what.fresh() if isinstance(what, BFLError) else what)

        self.run(call())

    # --- time and the end -------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.3, 0.6, 0.6, 2.1, 5.3]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([16.0, 29.5, 301.7, 3_600.0]), chance=CHANCES)
    def wait_long(self, seconds: float, chance: int) -> None:
        """Seldom, since it ends all that is on its way."""
        if chance == 8:
            self.wait(seconds)

    @rule(which=st.integers(0, 1), chance=CHANCES)
    def close(self, which: int, chance: int) -> None:
        """More seldom still: little happens afterwards."""
        if chance == 8 and self.owners[which].closer is None:
            self.do_close(self.owners[which])

    def do_close(self, owner: Owner) -> None:
        async def call() -> None:
            for life in self.lives:
                if life.owner is owner:
                    life.may_be_lost = True
            # A task's first step comes later, and so may a POST; as the client does, it is begun here.
            owner.scheduler.begin_close()
            owner.closer = asyncio.get_running_loop().create_task(owner.scheduler.aclose())

        self.run(call())

    @invariant()
    def slots_are_what_the_server_counts_and_what_is_uncertain(self) -> None:
        """Invariants 1 and 2."""
        for pool, seen in self.limiter.statistics().items():
            assert seen.taken == self.taken(pool)
            assert seen.limit == self.limits[pool]

    @invariant()
    def each_request_is_in_one_state_and_has_one_end(self) -> None:
        """Invariant 8."""
        for owner in self.owners:
            mine = [life for life in self.lives if life.owner is owner]
            now = owner.scheduler.statistics()
            for state, count in (
                (State.QUEUED, now.queued),
                (State.SUBMITTING, now.submitting),
                (State.SUBMITTED, now.active),
            ):
                assert sum(life.entry.state is state for life in mine) == count
            for life in mine:
                assert len(life.ends) == (life.entry.state is State.SETTLED)
                assert life.entry.settlement is (life.ends[0] if life.ends else None)
            ended = now.ready + now.moderated + now.failed + now.ambiguous + now.withdrawn
            assert ended == sum(len(life.ends) for life in mine)
            assert now.ready == sum(isinstance(end, Ready) for life in mine for end in life.ends)
            assert (now.submitted, now.refused_429) == (owner.accepted, owner.refused_429)
            spent = sum(life.cost for life in mine if life.counted)
            assert now.credits_spent == pytest.approx(spent)

    @invariant()
    def nothing_breaks_behind_the_scenes(self) -> None:
        assert self.unhandled == []
        assert self.caught.texts == []

    def teardown(self) -> None:
        try:
            if not self.unhandled and not self.caught.texts:
                self.live_to_the_end()
        finally:
            logging.getLogger("bfl_async").removeHandler(self.caught)
            self.run(self.limiter.aclose())
            self.runner.close()

    def live_to_the_end(self) -> None:
        """With a server that works nobody waits for ever; then the client closes and nothing is left."""
        for _ in range(300):
            if all(life.ends for life in self.lives):
                break
            for post in list(self.open_posts()):
                self.do_accept(post, 4.0, url=True)
            for poll in list(self.open_polls()):
                self.do_end(poll, "Ready")
            self.wait(5.3)
        assert all(life.ends for life in self.lives), "somebody waits for ever"
        for owner in self.owners:
            if owner.closer is None:
                assert self.run(owner.scheduler.drain(0.0))
                self.do_close(owner)
        self.wait(3_600.0)
        for owner in self.owners:
            assert owner.closer is not None
            assert owner.closer.done()
            owner.closer.result()
        self.slots_are_what_the_server_counts_and_what_is_uncertain()
        self.each_request_is_in_one_state_and_has_one_end()
        self.nothing_breaks_behind_the_scenes()
        for pool in self.limiter.statistics().values():
            assert (pool.taken, pool.queued, pool.working) == (0, 0, pool.limit)
        assert asyncio.all_tasks(self.loop) == set()


class Hand:
    """The transport: each call waits for a rule."""

    def __init__(self, machine: SchedulerMachine) -> None:
        self._machine = machine

    async def submit(self, path: str, body: bytes) -> Reply:
        post = self._machine.sent(path, body)
        try:
            return await post.answer
        except asyncio.CancelledError:
            # Its time is over, or the client closes: whether it arrived, nobody knows.
            assert post.life.may_be_lost or self._machine.now >= post.sent_at + POST_S - TICK_S
            post.life.may_be_lost = True
            raise

    async def poll(self, url: str) -> Reply:
        machine = self._machine
        life = machine.lives[int(url.rpartition("task-")[2])]
        assert life.accepted_at is not None
        assert not life.ends, "polled after its end"
        poll = Poll(life, machine.loop.create_future())
        machine.polls.append(poll)
        return await poll.answer

    async def download(self, url: str, *, timeout: float) -> Reply:
        raise AssertionError("nobody reads a result here")

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.timeout(600)  # for shrinking a failure
def test_slots_follow_the_server_through_any_life() -> None:
    """Invariants 1, 2, 3, 7, 8 and 9, for two clients on one limiter."""
    run_machine(SchedulerMachine, 150, 60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_slots_follow_the_server_through_any_life_for_long() -> None:
    """The same, over more and longer lives."""
    run_machine(SchedulerMachine, 900, 80)
