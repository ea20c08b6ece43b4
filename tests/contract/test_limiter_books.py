"""The two books, one in SQL and one in Lua, are one and the same: they answer any batch alike.

Clocks differ, so that nothing ends by time here but what is said to: what time brings is tested through the
limiters, and for the file with a clock of the test's own.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from bfl_async.limiter.redis_store import RedisStore
from bfl_async.limiter.sqlite_book import Book
from bfl_async.limiter.steps import FETCH_S, Batch, Op, StepReply
from bfl_async.runtime.secrets import Secret
from tests.contract.limiters import redis_server

__all__ = ["redis_server"]  # a fixture

LIMITS = {"account": 4, "narrow": 2, "video": 1}
POOLS = [["account"], ["account", "narrow"], ["account", "video", "unnamed"], ["account", "narrow", "video"]]

# The kinds of operations, by weight: above all requests that come and go, or tasks that several sessions follow.
QUEUES = "wwwwwwwwxxrrrrrrrrrrrrrrrrnncctkklh"
TASKS = "wwxccttttttkkkkkkkkrrrhhl"


class Talker:
    """One session's random operations. It knows what a process would know: what it holds, what waits."""

    def __init__(self, name: str, rng: random.Random, kinds: str, ids: Callable[[], str]) -> None:
        self.name, self.rng, self.kinds, self.ids = name, rng, kinds, ids
        self.seq = 0
        self.full = True
        self.waiting: dict[str, tuple[int, list[str]]] = {}
        self.arrivals: dict[str, int] = {}
        self.held: dict[str, list[str]] = {}

    def ops(self) -> list[Op]:
        said: list[Op] = []
        if self.full:
            for name, pools in self.held.items():
                said.append(["k", name, pools])
            said.append(["o", list(self.held)])
            for name, (priority, pools) in self.waiting.items():
                said.append(["w", name, priority, self.arrivals.get(name, 0), pools])
        return said + [self.op() for _ in range(self.rng.randrange(5))]

    def op(self) -> Op:
        rng = self.rng
        kind = rng.choice(self.kinds)
        held = rng.choice([*self.held, ""])
        if kind == "x" and self.waiting:
            name = rng.choice([*self.waiting])
            del self.waiting[name]
            return ["x", name]
        if kind == "r" and held:
            del self.held[held]
            return ["r", held]
        if kind == "h" and held:
            return ["h", held, 1_000.0, self.held.pop(held)]
        # A task was accepted: no 429 comes for it.
        if kind == "n" and held.startswith("lease"):
            priority = rng.randrange(3)
            self.waiting[held] = (priority, self.held.pop(held))
            # A pause ends by time; one of 1,000 s does not in this test.
            retry_after_s = 1_000.0 if rng.random() < 0.05 else -1.0
            return ["n", held, retry_after_s, priority, self.arrivals.get(held, 0), self.waiting[held][1]]
        if kind == "c" and held:
            task = self.task()
            self.held[task] = self.held.pop(held)
            return ["c", held, task]
        if kind == "t":
            task = self.task()
            self.held[task] = rng.choice(POOLS)
            return ["t", task, self.held[task]]
        if kind == "k" and held:
            return ["k", held, self.held[held]]
        if kind == "l":
            return ["l", {"account": rng.randrange(1, 7), "narrow": rng.randrange(1, 4)}, rng.randrange(2)]
        name = self.ids()
        self.waiting[name] = (rng.randrange(-1, 3), rng.choice(POOLS))
        return ["w", name, self.waiting[name][0], 0, self.waiting[name][1]]

    def task(self) -> str:
        """A task of this session's own, or one of a few that several sessions follow, end and follow again."""
        return self.ids() if self.rng.random() < 0.3 else f"task{self.rng.randrange(3)}"

    def batch(self, epoch: str) -> Batch:
        self.seq += 1 if self.rng.random() < 0.97 else 2  # a step that never came
        full = self.full or self.rng.random() < 0.05
        self.full = full
        return Batch(self.name, self.seq, full, epoch, LIMITS, 500.0, self.ops(), waiting=1)

    def hear(self, reply: StepReply) -> None:
        self.full = reply.resync
        for name in reply.ended:
            self.held.pop(name, None)
        self.arrivals.update(reply.arrivals)
        for name, arrival in reply.grants:
            if name in self.waiting:
                self.held[name] = self.waiting.pop(name)[1]
                self.arrivals[name] = arrival


ARRIVAL = {"w": 3, "n": 4}
"""Where the operations have a number of arrival; 0 means that the book gives one."""


def shifted(batch: Batch, by: int) -> Batch:
    """Return the batch for a book whose numbers of arrival are higher: each book begins with its own clock."""
    ops = [list(op) for op in batch.ops]
    for op in ops:
        place = ARRIVAL.get(str(op[0]))
        if place is not None and (arrival := op[place]) and isinstance(arrival, int):
            op[place] = arrival + by
    return replace(batch, ops=ops)


def shown(reply: StepReply, lower: int = 0) -> object:
    """All of a reply except what is random or depends on the clock."""
    return replace(
        reply,
        epoch="",
        next_s=None,
        lost=sorted(reply.lost),
        ended=sorted(reply.ended),
        grants=[(name, arrival - lower) for name, arrival in reply.grants],
        arrivals=[(name, arrival - lower) for name, arrival in reply.arrivals],
    )


@pytest.mark.parametrize(
    ("seed", "kinds"), [*((seed, QUEUES) for seed in range(12)), *((seed, TASKS) for seed in range(8))]
)
async def test_both_books_answer_alike(
    seed: int, kinds: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    """Over random lives of three sessions, with lost steps and full batches among them."""
    rng = random.Random(seed)
    numbers = iter(range(10_000))
    talkers = [Talker(f"s{n}", rng, kinds, lambda: f"lease{next(numbers)}") for n in range(3)]
    base = f"books:{{{uuid.uuid4().hex}}}"
    in_file = {talker.name: Book(tmp_path / "book.db", talker.name) for talker in talkers}
    in_redis = {
        talker.name: RedisStore(Secret(redis_server.url), base, talker.name, lambda: None)
        for talker in talkers
    }
    granted, ended = 0, 0
    by = 0
    try:
        for step in range(120):
            talker = rng.choice(talkers)
            batch = talker.batch("")
            of_file = in_file[talker.name].step(batch, 100.0 + step * 1e-4)
            of_redis = await in_redis[talker.name].step(shifted(batch, by))
            if not by and of_file.arrivals:
                by = of_redis.arrivals[0][1] - of_file.arrivals[0][1]
            assert shown(of_file) == shown(of_redis, by), (step, batch)
            for pool in of_file.pools.values():
                assert pool.taken >= 0
                assert pool.queued >= 0
                assert 1 <= pool.working <= pool.limit
            granted += len(of_file.grants)
            ended += len(of_file.ended)
            talker.hear(of_file)
    finally:
        for book in in_file.values():
            book.close()
        for store in in_redis.values():
            await store.aclose()
    assert granted > 10 or kinds is TASKS
    assert ended > 0 or kinds is QUEUES


@pytest.mark.parametrize("kind", ["file", "redis"])
async def test_a_place_in_a_lost_book_is_before_all_places_in_the_new_one(
    kind: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    """Also for the process that comes back last, and with more new requests than the lost book had ever seen."""
    pools = ["account"]

    @asynccontextmanager
    async def new_book() -> AsyncIterator[Callable[..., Awaitable[StepReply]]]:
        name = uuid.uuid4().hex
        async with AsyncExitStack() as stack:
            stores: dict[str, Book | RedisStore] = {}
            for session in ("one", "two"):
                if kind == "file":
                    book = Book(tmp_path / name, session)
                    stack.callback(book.close)
                    stores[session] = book
                else:
                    store = RedisStore(Secret(redis_server.url), f"lost:{{{name}}}", session, lambda: None)
                    stack.push_async_callback(store.aclose)
                    stores[session] = store

            async def step(session: str, seq: int, *ops: Op) -> StepReply:
                batch = Batch(session, seq, seq == 1, "", {"account": 1}, 60.0, list(ops), waiting=1)
                store = stores[session]
                return (
                    store.step(batch, time.monotonic())
                    if isinstance(store, Book)
                    else await store.step(batch)
                )

            yield step

    async with new_book() as step:
        assert names(await step("one", 1, ["w", "held", 0, 0, pools])) == ["held"]
        waiting = await step("two", 1, ["w", "second", 0, 0, pools], ["w", "third", 0, 0, pools])
    waits: list[Op] = [["w", name, 0, arrival, pools] for name, arrival in waiting.arrivals]
    async with new_book() as step:
        late: list[Op] = [["w", f"late{n}", 0, 0, pools] for n in range(5)]
        await step("one", 1, ["k", "held", pools], *late)
        await step("two", 1, *waits)
        await step("one", 2, ["r", "held"])
        assert names(await step("two", 2)) == ["second"]
        assert names(await step("two", 3, ["r", "second"])) == ["third"]
        await step("two", 4, ["r", "third"])
        assert names(await step("one", 3)) == ["late0"]


# --- what time brings, on a clock of our own ------------------------------------------------------------------


class Steps:
    """Steps of sessions on one file, at moments that the test names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.books: dict[str, Book] = {}
        self.seqs: dict[str, int] = {}

    def __call__(
        self, session: str, at: float, *ops: Op, full: bool = False, lease_s: float = 60.0, limit: int = 2
    ) -> StepReply:
        if session not in self.books:
            self.books[session] = Book(self.path, session)
            full = True
        self.seqs[session] = self.seqs.get(session, 0) + 1
        batch = Batch(
            session, self.seqs[session], full, "", {"account": limit}, lease_s, list(ops), waiting=0
        )
        return self.books[session].step(batch, at)

    def close(self) -> None:
        for book in self.books.values():
            book.close()


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    with closing(Steps(tmp_path / "book.db")) as steps:
        yield steps


def names(reply: StepReply) -> list[str]:
    return [name for name, _ in reply.grants]


def test_a_lease_runs_out_unless_it_is_kept(steps: Steps) -> None:
    """And comes back past the limit, told as lost."""
    pools = ["account"]
    assert names(steps("a", 0, ["w", "one", 0, 0, pools], ["w", "two", 0, 0, pools])) == ["one", "two"]
    steps("a", 40, ["k", "one", pools])
    assert names(steps("b", 59, ["w", "three", 0, 0, pools])) == []
    assert names(steps("b", 61)) == ["three"]
    reply = steps("a", 62, ["k", "one", pools], ["k", "two", pools])
    assert reply.lost == ["two"]
    assert reply.pools["account"].taken == 3


def test_a_session_that_does_not_fetch_its_grant_leaves_the_line(steps: Steps) -> None:
    """It is asked to come anew, and then stands where it stood."""
    pools = ["account"]
    steps("a", 0, ["w", "held", 0, 0, pools], limit=1)
    asleep = steps("b", 1, ["w", "first", 0, 0, pools], ["w", "second", 0, 0, pools])
    steps("c", 2, ["w", "third", 0, 0, pools])
    steps("a", 3, ["r", "held"])
    assert names(steps("c", 3 + FETCH_S - 0.1)) == []
    assert names(steps("c", 3 + FETCH_S + 0.1)) == ["third"]
    reply = steps("b", 20)
    assert (reply.resync, reply.grants) == (True, [])
    waits: list[Op] = [["w", name, 0, arrival, pools] for name, arrival in asleep.arrivals]
    steps("b", 21, *waits, full=True)
    steps("c", 22, ["w", "fourth", 0, 0, pools], ["r", "third"])
    assert names(steps("b", 22.5)) == ["first"]


def test_raises_that_nobody_saw_are_made_up_for(steps: Steps) -> None:
    """Invariant 6 by looking back: the working limit is what timers would have made it."""
    pools = ["account"]
    ids = [f"l{n}" for n in range(6)]
    waits: list[Op] = [["w", name, 0, 0, pools] for name in ids]
    steps("a", 0, *waits, limit=6)
    for name in ids[2:]:
        reply = steps("a", 1, ["n", name, -1.0, 0, 0, pools])
    assert reply.pools["account"].working == 2
    assert reply.next_s == pytest.approx(2)
    assert steps("a", 2.9).pools["account"].working == 2
    reply = steps("a", 7.1)
    assert reply.pools["account"].working == 5
    assert names(reply) == ["l2", "l3", "l4"]


def test_a_machine_that_started_anew_has_an_empty_book(steps: Steps) -> None:
    """Its clock began again, and nobody from before is alive."""
    steps("a", 5_000, ["t", "task", ["account"]])
    reply = steps("b", 10, ["w", "one", 0, 0, ["account"]])
    assert (names(reply), reply.pools["account"].taken) == (["one"], 1)


def test_a_broken_file_is_made_anew(tmp_path: Path) -> None:
    """It holds nothing that the processes do not know."""
    from bfl_async.limiter.sqlite_book import open_book

    path = tmp_path / "deep" / "book.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    book = open_book(path, "a")
    assert book.step(Batch("a", 1, True, "", LIMITS, 60.0, [], waiting=0), 1.0).pools["account"].limit == 4
    book.close()
