"""What holds between processes: order, death, sleep, clocks, and a book that goes away."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from benchmarks.redis_server import MISSING, RedisServer
from bfl_async import AsyncBFL, ConfigError, LimiterError
from bfl_async.limiter import FileLimiter, RedisLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.limiter.steps import FETCH_S, Batch, StepReply, Store, StoreAwayError
from bfl_async.runtime.redis import listen
from bfl_async.types import Lease, PoolStatistics
from tests.contract.limiters import (
    Book,
    Owner,
    book,
    redis_server,
    say_all_of,
)
from tests.fake import FakeAPI
from tests.waiting import wait_until

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["book", "redis_server"]  # fixtures


def now() -> float:
    return time.monotonic()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """The largest number of spans that overlap."""
    moments = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = level = 0
    for _, step in moments:
        level += step
        most = max(most, level)
    return most


async def spans_of(told: dict[str, object]) -> list[tuple[float, float]]:
    spans = told["spans"]
    assert isinstance(spans, list)
    return [(float(start), float(end)) for start, end in spans]


# --- order ----------------------------------------------------------------------------------------------


async def test_first_come_first_served_across_limiters(book: Book) -> None:
    """Each waits in one line, by priority, then by arrival; a slot that one frees wakes the other."""
    one, two = await book.limiter(1), await book.limiter(1)
    grants: list[str] = []
    owners = [Owner(str(n), grants, priority=1) for n in range(4)]
    urgent = Owner("urgent", grants)
    for limiter, owner in zip((one, two, one, two, two), (*owners, urgent), strict=True):
        limiter.enqueue(owner.lease)
        await limiter.flush()
    for limiter, owner in zip((one, two, two, one, two), (owners[0], urgent, *owners[1:]), strict=True):
        await wait_until(owner.has_slot)
        limiter.release(owner.lease)
    assert grants == ["0", "urgent", "1", "2", "3"]


async def test_a_freed_slot_wakes_another_process_at_once(book: Book) -> None:
    """Not only by looking now and then: within the file's 30 ms, and at once through Redis."""
    one, two = await book.limiter(1), await book.limiter(1)
    grants: list[str] = []
    waits: list[float] = []
    for _ in range(20):
        first, second = Owner("first", grants), Owner("second", grants)
        one.enqueue(first.lease)
        await one.flush()
        two.enqueue(second.lease)
        await two.flush()
        began = now()
        one.release(first.lease)
        await wait_until(second.has_slot)
        waits.append(now() - began)
        two.release(second.lease)
        await two.flush()
    assert sorted(waits)[len(waits) // 2] < 0.1, waits


async def churned(
    book: Book, slots: int, *, tasks: int, window: int, task_s: float
) -> list[list[tuple[float, float]]]:
    """Let two processes run tasks side by side: all of them, and never more than the slots."""
    peers = [await book.peer(slots), await book.peer(slots)]
    for peer in peers:
        peer.do("churn", tasks=tasks, window=window, task_s=task_s)
    spans = [await spans_of(await peer.wait_for("churned", timeout=50)) for peer in peers]
    assert [len(each) for each in spans] == [tasks, tasks]
    assert most_at_once(spans[0] + spans[1]) <= slots
    return spans


@pytest.mark.slow
async def test_two_processes_share_fairly_and_never_pass_the_limit(book: Book) -> None:
    """Who comes anew stands behind all who wait, in whichever process."""
    spans = await churned(book, 4, tasks=150, window=8, task_s=0.03)
    first_done = min(max(end for _, end in each) for each in spans)
    shares = [sum(end <= first_done for _, end in each) for each in spans]
    assert min(shares) > 0.8 * max(shares), shares


async def test_a_thousand_waiters_in_two_processes_are_all_served_once(book: Book) -> None:
    """A long line costs no more than a short one."""
    await churned(book, 12, tasks=500, window=500, task_s=0.01)


# --- what is shared ---------------------------------------------------------------------------------------


async def test_a_429_teaches_all_processes(book: Book) -> None:
    """Invariant 6: the working limit is the account's; so is its rise."""
    one, two = await book.limiter(4), await book.limiter(4)
    grants: list[str] = []
    owners = [Owner(str(n), grants) for n in range(4)]
    for limiter, owner in zip((one, one, two, two), owners, strict=True):
        limiter.enqueue(owner.lease)
        await limiter.flush()
    two.refuse(owners[3].lease, retry_after_s=None)
    await two.flush()
    waiting = Owner("waiting", grants)
    one.enqueue(waiting.lease)
    await one.flush()
    assert one.statistics()["account"].working == 3
    one.release(owners[0].lease)
    await wait_until(lambda: len(grants) == 5)
    assert grants[-1] == "3", "the refused one kept its place"
    await wait_until(lambda: len(grants) == 6)  # the raise, after 2 s
    assert one.statistics()["account"].working == 4


def task_owner(name: str, *pools: str) -> Owner:
    return Owner(name, [], *pools, task_id="task")


async def told(book: Book) -> dict[str, int]:
    """The slots that the book counts, as a limiter that has no part in them is told."""
    for limiter in book.limiters:
        await limiter.flush()
    stranger = book.limiters[-1]
    # It changes nothing, and brings the newest numbers.
    stranger.resize(4)
    await stranger.flush()
    return {name: pool.taken for name, pool in stranger.statistics().items() if pool.taken}


async def test_one_task_takes_one_slot_whichever_processes_follow_it(book: Book) -> None:
    """Invariant 1, over processes: the first that sees the end frees the slot, and the last that gives up holds it."""
    one, two, _ = [await book.limiter(4) for _ in range(3)]
    submitted, attached = Owner("submitted", []), task_owner("attached", "narrow")
    one.enqueue(submitted.lease)
    await one.flush()
    submitted.lease.task_id = "task"
    one.confirm(submitted.lease)
    await one.flush()
    two.take(attached.lease)
    assert await told(book) == {"account": 1}
    one.release(submitted.lease, after_s=0.1)
    await asyncio.sleep(0.3)
    assert await told(book) == {"account": 1}
    again = task_owner("again")
    one.take(again.lease)
    assert await told(book) == {"account": 1}
    two.release(attached.lease)
    assert await told(book) == {}
    one.release(again.lease)
    assert await told(book) == {}


async def test_a_slot_that_is_held_for_a_while_goes_to_whichever_process_attaches_its_task(
    book: Book,
) -> None:
    """The hold of the process that gave up neither ends the slot nor comes back."""
    one, two, _ = [await book.limiter(4) for _ in range(3)]
    lost, attached = task_owner("lost"), task_owner("attached")
    one.take(lost.lease)
    await one.flush()
    one.release(lost.lease, after_s=0.3)
    await one.flush()
    two.take(attached.lease)
    assert await told(book) == {"account": 1}
    await asyncio.sleep(0.5)
    assert await told(book) == {"account": 1}
    two.release(attached.lease, after_s=0.3)
    assert await told(book) == {"account": 1}
    await asyncio.sleep(0.5)
    assert await told(book) == {}


async def test_a_process_that_still_follows_an_ended_task_takes_no_slot_for_it_again(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told when it next says that it keeps the lease: that is no lease that was lost."""
    one, two = await book.limiter(4, lease_s=1), await book.limiter(4, lease_s=1)
    first, second = task_owner("first"), task_owner("second")
    one.take(first.lease)
    await one.flush()
    two.take(second.lease)
    await two.flush()
    two.release(second.lease)
    await two.flush()
    await wait_until(lambda: not first.lease.taken, timeout=3)
    assert await told(book) == {}
    await asyncio.sleep(1.2)
    assert await told(book) == {}
    one.release(first.lease)
    assert await told(book) == {}
    assert "ran out" not in caplog.text


async def test_a_slot_is_kept_by_any_process_that_follows_its_task(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """One that attached the task and died takes nothing with it, nor does one that gave up."""
    limiter = await book.limiter(4, lease_s=1)
    mine = task_owner("mine")
    limiter.take(mine.lease)
    await limiter.flush()
    peer = await book.peer(4, lease_s=1)
    peer.do("take", name="task")
    peer.do("flush")
    await peer.wait_for("flushed")
    peer.kill()
    await peer.process.wait()
    leaver = await book.limiter(4, lease_s=1)
    theirs = task_owner("theirs")
    leaver.take(theirs.lease)
    await leaver.flush()
    leaver.release(theirs.lease, after_s=0.1)
    await leaver.aclose()
    book.limiters.remove(leaver)
    await asyncio.sleep(1.5)
    assert await told(book) == {"account": 1}
    assert mine.lease.taken
    assert "ran out" not in caplog.text
    limiter.release(mine.lease)
    assert await told(book) == {}


@pytest.mark.slow
async def test_a_hold_lasts_although_a_dead_process_seemed_to_follow_the_task(book: Book) -> None:
    """Invariant 2: its time is what the process said that gave up last, and not the dead one's lease."""
    peer = await book.peer(4, lease_s=1)
    peer.do("take", name="task")
    peer.do("flush")
    await peer.wait_for("flushed")
    one, _ = await book.limiter(4, lease_s=1), await book.limiter(4, lease_s=1)
    lost = task_owner("lost")
    one.take(lost.lease)
    await one.flush()
    began = now()
    peer.kill()
    one.release(lost.lease, after_s=2.5)
    while now() - began < 2.3:
        assert await told(book) == {"account": 1}
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)
    assert await told(book) == {}


async def test_resize_reaches_all_processes(book: Book) -> None:
    """Up grants at once, down holds back."""
    one, two = await book.limiter(1), await book.limiter(1)
    grants: list[str] = []
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        two.enqueue(owner.lease)
    await two.flush()
    assert grants == ["0"]
    one.resize(2)
    await wait_until(lambda: grants == ["0", "1"])
    one.resize(1)
    await one.flush()
    two.release(owners[0].lease)
    await two.flush()
    assert grants == ["0", "1"]
    assert two.statistics()["account"].limit == 1


async def test_limits_none_takes_what_others_have_set(book: Book) -> None:
    """Alone it is 12."""
    alone = await book.limiter(None)
    assert alone.statistics()["account"].limit == 12
    await book.limiter(3)
    third = await book.limiter(None)
    assert third.statistics()["account"].limit == 3


async def test_one_limiter_serves_one_account(book: Book) -> None:
    """Two keys, or two hosts, are two accounts."""
    limiter = FileLimiter(book.where) if book.kind == "file" else RedisLimiter(book.where)
    api = FakeAPI()
    async with AsyncBFL(limiter=limiter, transport=api, base_url="https://api.bfl.ai"):
        with pytest.raises(ConfigError, match="one account"):
            await AsyncBFL(limiter=limiter, transport=api, base_url="eu").open()
    await limiter.aclose()


async def test_the_key_is_not_in_the_book(book: Book, redis_server: RedisServer) -> None:
    """Names are hashes."""
    limiter = FileLimiter(book.where) if book.kind == "file" else RedisLimiter(book.where, namespace="look")
    async with AsyncBFL("very-secret-key", base_url="https://api.bfl.ai", limiter=limiter):
        names = (
            [path.name for path in Path(book.where).iterdir()]
            if book.kind == "file"
            else redis_server.command("keys", "look:*")
        )
    assert names
    assert not any("secret" in name or "bfl.ai" in name for name in names)
    await limiter.aclose()


async def test_closing_leaves_nothing_running(book: Book) -> None:
    """Invariant 9: no coroutine, no thread; and those who wait are told."""
    before = asyncio.all_tasks()
    limiter = await book.limiter(1)
    grants: list[str] = []
    held, waiting = Owner("held", grants), Owner("waiting", grants)
    limiter.enqueue(held.lease)
    limiter.enqueue(waiting.lease)
    await limiter.flush()
    await limiter.aclose()
    await limiter.aclose()
    assert asyncio.all_tasks() == before
    assert not limiter_threads()
    assert isinstance(waiting.failed, LimiterError)
    assert not held.lease.taken
    with pytest.raises(LimiterError, match="was closed before its client"):
        limiter.enqueue(Lease(("account",)))


# --- opening and closing at the same time ---------------------------------------------------------------


async def test_opening_twice_at_once_opens_once(book: Book) -> None:
    """All callers return once it is open, and one close ends all of it."""
    before = asyncio.all_tasks()
    limiter, grants = await book.limiter(1, opened=False), list[str]()
    await asyncio.gather(*(limiter.open() for _ in range(3)))
    limiter.enqueue(Owner("only", grants).lease)
    await limiter.flush()
    await limiter.aclose()
    assert grants == ["only"]
    assert asyncio.all_tasks() == before
    assert not limiter_threads()


async def test_closing_while_it_opens_ends_both(book: Book) -> None:
    """The callers of `open` are told that it was closed; nothing is left running."""
    before = asyncio.all_tasks()
    limiter = await book.limiter(1, opened=False)
    opening = [asyncio.create_task(limiter.open()) for _ in range(2)]
    await asyncio.sleep(0)
    await limiter.aclose()
    results = await asyncio.gather(*opening, return_exceptions=True)
    for result in results:
        assert isinstance(result, LimiterError)
        assert "closed while it was being opened" in str(result)
    assert asyncio.all_tasks() == before
    assert not limiter_threads()


async def test_opening_while_it_closes_waits_and_opens_it_again(book: Book) -> None:
    """The caller gets an open limiter, never one that is about to be closed."""
    limiter, grants = await book.limiter(1), list[str]()
    held = Owner("held", grants)
    limiter.enqueue(held.lease)
    await limiter.flush()
    limiter.release(held.lease)
    closing = asyncio.create_task(limiter.aclose())
    await asyncio.sleep(0)
    await asyncio.gather(limiter.open(), limiter.open())
    assert closing.done()
    limiter.enqueue(Owner("after", grants).lease)
    await limiter.flush()
    assert grants == ["held", "after"]


async def test_closing_twice_at_once_ends_both_after_the_work(book: Book) -> None:
    """Whichever returns first, nothing is running any more."""
    before = asyncio.all_tasks()
    limiter = await book.limiter(1)
    left: list[int] = []

    async def close() -> None:
        await limiter.aclose()
        left.append(len(asyncio.all_tasks() - before - set(closers)) + len(limiter_threads()))

    closers = [asyncio.create_task(close()) for _ in range(2)]
    await asyncio.gather(*closers)
    assert left == [0, 0]


def limiter_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bfl-async-limiter"]


async def test_a_task_factory_of_the_applications_own_changes_nothing(book: Book) -> None:
    """The limiter's coroutines start after the step that made them, so no factory is asked for them."""
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **arguments: Any) -> asyncio.Task[Any]:
        made.append(coro.cr_code.co_filename)
        return asyncio.Task(coro, loop=loop, **arguments)

    asyncio.get_running_loop().set_task_factory(factory)
    limiter, grants = await book.limiter(1), list[str]()
    limiter.enqueue(Owner("only", grants).lease)
    assert grants == [], "a shared limiter grants in a later turn of the loop"
    await limiter.flush()
    await limiter.aclose()
    assert grants == ["only"]
    # redis-py makes tasks of its own.
    assert [name for name in made if "bfl_async" in name] == []


# --- death and sleep ----------------------------------------------------------------------------------------


async def test_a_killed_holder_gives_its_slot_back_when_its_lease_runs_out(book: Book) -> None:
    """Not before, also where the death can be seen: the server still counts its task."""
    peer = await book.peer(1, lease_s=2)
    await peer.hold("task")
    limiter = await book.limiter(1, lease_s=2)
    grants: list[str] = []
    limiter.enqueue(Owner("waiting", grants).lease)
    await limiter.flush()
    assert grants == []
    began = now()
    peer.kill()
    await wait_until(lambda: grants == ["waiting"])
    assert 1 < now() - began < 3.5


async def test_a_killed_waiter_holds_nobody_up(book: Book) -> None:
    """All that it waited for leaves the line at once: Redis sees its connection cut, a file sees it die."""
    limiter = await book.limiter(1)
    grants: list[str] = []
    holder, behind = Owner("holder", grants), Owner("behind", grants)
    limiter.enqueue(holder.lease)
    await limiter.flush()
    peer = await book.peer(1)
    for n in range(20):
        peer.do("enqueue", name=f"dead{n}")
    peer.do("flush")
    await peer.wait_for("flushed")
    limiter.enqueue(behind.lease)
    await limiter.flush()
    peer.kill()
    await peer.process.wait()
    limiter.release(holder.lease)
    await wait_until(lambda: len(grants) == 2, timeout=FETCH_S / 2)


async def test_attaching_a_dead_processs_task_takes_its_slot_over(book: Book) -> None:
    """The same lease id: no slot is counted twice, and no lease has to run out first."""
    peer = await book.peer(1)
    await peer.hold("task-1")
    peer.kill()
    await peer.process.wait()
    limiter = await book.limiter(1)
    grants: list[str] = []
    attached, waiting = Owner("attached", grants, task_id="task-1"), Owner("waiting", grants)
    limiter.take(attached.lease)
    limiter.enqueue(waiting.lease)
    await limiter.flush()
    assert (limiter.statistics()["account"].taken, grants) == (1, [])
    limiter.release(attached.lease)
    await limiter.flush()
    assert grants == ["waiting"]


async def test_a_paused_process_takes_its_slot_again_past_the_limit_and_warns_once(book: Book) -> None:
    """Its lease ran out and went to another one; its task is still counted by the server."""
    peer = await book.peer(1, lease_s=1)
    await peer.hold("task")
    limiter = await book.limiter(1, lease_s=1)
    grants: list[str] = []
    waiting = Owner("waiting", grants)
    limiter.enqueue(waiting.lease)
    peer.signal(signal.SIGSTOP)
    await wait_until(lambda: grants == ["waiting"])
    peer.signal(signal.SIGCONT)
    warning = await peer.wait_for("logged")
    assert (warning["level"], str(warning["message"])[:9]) == ("WARNING", "1 leases ")
    peer.do("flush")
    assert (await peer.wait_for("flushed"))["held"] == 1
    await wait_until(lambda: limiter.statistics()["account"].taken == 2)
    peer.do("release", name="task")
    await wait_until(lambda: limiter.statistics()["account"].taken == 1)
    limiter.release(waiting.lease)


async def test_a_paused_waiter_comes_back_to_its_line(book: Book) -> None:
    """A grant that it slept through went to the next one; later it is served all the same."""
    limiter = await book.limiter(1)
    grants: list[str] = []
    holder, behind = Owner("holder", grants), Owner("behind", grants)
    limiter.enqueue(holder.lease)
    await limiter.flush()
    peer = await book.peer(1)
    peer.do("enqueue", name="sleeper")
    peer.do("flush")
    await peer.wait_for("flushed")
    limiter.enqueue(behind.lease)
    await limiter.flush()
    peer.signal(signal.SIGSTOP)
    limiter.release(holder.lease)
    await wait_until(lambda: len(grants) == 2, timeout=FETCH_S + 3)
    peer.signal(signal.SIGCONT)
    peer.do("flush")
    await peer.wait_for("flushed")
    limiter.release(behind.lease)
    assert (await peer.wait_for("granted"))["name"] == "sleeper"


@pytest.mark.slow
async def test_leases_outlive_lease_s_while_their_process_lives(book: Book) -> None:
    """They are renewed; a clock that is wrong by an hour, in either direction, changes nothing."""
    for skew_s in (3_600.0, -3_600.0):
        peer = await book.peer(2, lease_s=1, skew_s=skew_s)
        await peer.hold(f"task {skew_s}")
    limiter = await book.limiter(2, lease_s=1)
    grants: list[str] = []
    limiter.enqueue(Owner("waiting", grants).lease)
    began = now()
    while now() - began < 2.5:
        await limiter.flush()
        assert grants == []
        await asyncio.sleep(0.1)
    book.peers[0].do("release", name="task 3600.0")
    await wait_until(lambda: grants == ["waiting"])


async def test_a_slot_held_for_an_unknown_task_outlives_its_process(book: Book) -> None:
    """Invariant 2: also when the process that lost the answer has ended."""
    peer = await book.peer(1)
    await peer.hold("task")
    began = now()
    peer.do("release", name="task", after_s=1.5)
    peer.do("close")
    await peer.wait_for("closed")
    peer.kill()
    await peer.process.wait()
    limiter = await book.limiter(1)
    grants: list[str] = []
    limiter.enqueue(Owner("waiting", grants).lease)
    await limiter.flush()
    assert grants == []
    await wait_until(lambda: grants == ["waiting"])
    assert 1.4 < now() - began < 4


# --- Redis goes away ------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may start and kill."""
    if not RedisServer.is_there():
        pytest.skip(MISSING)
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def own_book(own_redis: RedisServer) -> AsyncIterator[Book]:
    book = Book("redis", own_redis.url)
    yield book
    await book.aclose()


@pytest.mark.slow
async def test_redis_may_die_and_come_back_empty(
    own_redis: RedisServer, own_book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs goes on and is counted again before anything new is granted; no request and no slot is lost."""
    own_redis.start()
    one, two = await own_book.limiter(4), await own_book.limiter(4)
    grants: list[str] = []
    held = [Owner(f"held{n}", grants) for n in range(4)]
    waiting = [Owner(f"waiting{n}", grants) for n in range(4)]
    for limiter, owner in zip((one, two, one, two), held, strict=True):
        limiter.enqueue(owner.lease)
    for limiter, owner in zip((one, two, one, two), waiting, strict=True):
        limiter.enqueue(owner.lease)
    for limiter in (one, two):
        # A place in the line is known to both sides when the book has answered.
        await limiter.flush()
    await wait_until(lambda: len(grants) == 4)
    running = [owner for owner in (*held, *waiting) if owner.lease.taken]
    own_redis.kill()
    # While it is away one task ends, one is held for a while, one caller leaves, and one comes.
    gone, unsure = running[0], running[1]
    limiter_of = {owner: (one, two)[n % 2] for n, owner in enumerate((*held, *waiting))}
    limiter_of[gone].release(gone.lease)
    limiter_of[unsure].release(unsure.lease, after_s=300)
    left = next(owner for owner in (*held, *waiting) if not owner.lease.taken and owner is not gone)
    limiter_of[left].withdraw(left.lease)
    late = Owner("late", grants)
    two.enqueue(late.lease)
    await wait_until(lambda: sum("reached" in record.message for record in caplog.records) == 2)
    assert len(grants) == 4
    own_redis.start()
    await wait_until(lambda: len(grants) == 5, timeout=15)
    for limiter in (one, two):
        limiter.resize(4)  # changes nothing, and brings the newest numbers
        await limiter.flush()
        pool = limiter.statistics()["account"]
        assert (pool.taken, pool.queued) == (4, 3)
    assert "late" not in grants, "who waited before is served before"
    for owner in running[2:]:
        limiter_of[owner].release(owner.lease)
    await wait_until(lambda: len(grants) == 7)
    assert "had lost its data" in caplog.text


@pytest.mark.slow
async def test_a_redis_that_came_back_empty_waits_for_those_who_hold_slots(
    own_redis: RedisServer, own_book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is back first takes no slot of one that comes a second later."""
    own_redis.start()
    peer = await own_book.peer(2)
    await peer.hold("one")
    await peer.hold("two")
    limiter = await own_book.limiter(2)
    grants: list[str] = []
    limiter.enqueue(Owner("waiting", grants).lease)
    await limiter.flush()
    own_redis.kill()
    peer.signal(signal.SIGSTOP)
    own_redis.start()
    limiter.resize(2)  # changes nothing, and makes a step
    await limiter.flush()
    assert limiter.statistics()["account"].taken == 0
    peer.signal(signal.SIGCONT)
    await wait_until(lambda: limiter.statistics()["account"].taken == 2)
    assert grants == []
    peer.do("release", name="one")
    await wait_until(lambda: grants == ["waiting"])


@pytest.mark.slow
async def test_away_fail_tells_those_who_wait(own_redis: RedisServer) -> None:
    """With `away="fail"` nobody waits for a Redis that is not there; what runs goes on."""
    own_redis.start()
    limiter = RedisLimiter(own_redis.url, 1, away="fail")
    api = FakeAPI(service_s=0.3)
    async with AsyncBFL(limiter=limiter, transport=api, base_url="https://api.bfl.ai") as bfl:
        running = await bfl.submit("flux-dev", prompt="a cat")
        waiting = asyncio.create_task(bfl.generate("flux-dev", prompt="a dog"))
        await asyncio.sleep(0)
        own_redis.kill()
        with pytest.raises(LimiterError, match="cannot be reached"):
            await asyncio.wait_for(waiting, 10)
        began = now()
        with pytest.raises(LimiterError):
            await asyncio.wait_for(bfl.generate("flux-dev", prompt="a bird"), 10)
        assert now() - began < 1
        assert (await running).task_id == running.task_id
        own_redis.start()
        assert await wait_served(bfl)
    await limiter.aclose()


async def wait_served(bfl: AsyncBFL) -> bool:
    """Ask until Redis is found again."""
    async with asyncio.timeout(15):
        while True:
            try:
                await bfl.generate("flux-dev", prompt="a fish")
            except LimiterError:
                await asyncio.sleep(0.1)
            else:
                return True


@pytest.mark.slow
async def test_opening_without_redis_waits_or_fails_as_asked(
    own_redis: RedisServer, own_book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """A process may start before its Redis does."""
    with pytest.raises(LimiterError, match="cannot be reached"):
        await own_book.limiter(away="fail")
    with caplog.at_level(logging.WARNING):
        waiting = await own_book.limiter()
    assert "requests wait" in caplog.text
    grants: list[str] = []
    waiting.enqueue(Owner("early", grants).lease)
    own_redis.start()
    await wait_until(lambda: grants == ["early"], timeout=15)


async def test_a_connection_that_is_cut_loses_nothing(redis_server: RedisServer) -> None:
    """Both of its connections, again and again, in the midst of work."""
    book = Book("redis", redis_server.url)
    limiter = await book.limiter(3)
    grants: list[str] = []
    served = 0
    for round_ in range(10):
        owners = [Owner(str(n), grants) for n in range(6)]
        for owner in owners:
            limiter.enqueue(owner.lease)
        if round_ % 2:
            await limiter.flush()
        redis_server.command("client", "kill", "type", "normal")
        redis_server.command("client", "kill", "type", "pubsub")
        for owner in owners:
            await wait_until(owner.has_slot)
            limiter.release(owner.lease)
            served += 1
    await limiter.flush()
    assert served == len(grants) == 60
    assert limiter.statistics()["account"].taken == 0
    await book.aclose()


Answer = Callable[[Batch], StepReply]


def answer(batch: Batch, *, resync: bool = False, grants: list[tuple[str, int]] | None = None) -> StepReply:
    """What a book would say of one slot."""
    return StepReply("epoch", resync, grants or [], [], [], {"account": PoolStatistics(1, 1, 0, 0)}, None)


class ScriptedStore:
    """A book whose answers the test writes, one for each step; the last one stands for all that follow."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers
        self.batches: list[Batch] = []

    async def step(self, batch: Batch) -> StepReply:
        self.batches.append(batch)
        return self.answers[min(len(self.batches), len(self.answers)) - 1](batch)

    async def aclose(self) -> None:
        return None


class ScriptedLimiter(SharedLimiter):
    """A limiter on it."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(1, lease_s=60)
        self.store = ScriptedStore([answer, *answers])
        self.use_account("account")

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        return self.store

    def _where(self) -> str:
        return "the test"


def grant_all(batch: Batch) -> StepReply:
    return answer(batch, grants=[(str(op[1]), n) for n, op in enumerate(batch.ops) if op[0] == "w"])


def fails(_: Batch) -> StepReply:
    raise ZeroDivisionError


def is_lost(_: Batch) -> StepReply:
    raise StoreAwayError("the reply was lost")


async def test_a_bug_lets_nobody_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """Those who wait, and those who come later, are told."""
    async with ScriptedLimiter(fails) as limiter:
        for _ in range(2):
            waiting = Owner("waiting", [])
            limiter.enqueue(waiting.lease)
            await wait_until(waiting.has_failed)
            assert isinstance(waiting.failed, LimiterError)
    assert "failed by a bug" in caplog.text


class SlowStore(ScriptedStore):
    """A book that answers no step before the test lets it."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__(answers)
        self.answering = asyncio.Event()
        self.is_closed = False
        # The number of cancellations that a step ignores.
        self.swallows = 0

    async def step(self, batch: Batch) -> StepReply:
        while not self.answering.is_set():
            try:
                await self.answering.wait()
            except asyncio.CancelledError:
                if self.swallows == 0:
                    raise
                self.swallows -= 1
        return await super().step(batch)

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.is_closed = True


class SlowLimiter(ScriptedLimiter):
    """A limiter on such books: one for each time that it is opened."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(*answers)
        self.stores: list[SlowStore] = []

    def _make_store(self, account: str, session: str, wake: Callable[[], None]) -> Store:
        self.stores.append(SlowStore(self.store.answers))
        return self.stores[-1]


@pytest.mark.looptime(start=0)
async def test_closing_ends_the_callers_of_open_and_flush_whose_step_hangs() -> None:
    """After 2 s for the last step. Each gets an error of our own and not a bare CancelledError."""
    before = asyncio.all_tasks()
    limiter = SlowLimiter()
    waiters = [asyncio.create_task(limiter.open()) for _ in range(2)]
    await asyncio.sleep(0)
    waiters.append(asyncio.create_task(limiter.flush()))
    await asyncio.sleep(1)
    await limiter.aclose()
    assert asyncio.get_running_loop().time() == pytest.approx(3)
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(error) for error in errors] == [LimiterError] * 3
    assert len({id(error) for error in errors}) == 3
    assert all("closed" in str(error) for error in errors)
    assert [store.is_closed for store in limiter.stores] == [True]
    assert asyncio.all_tasks() == before


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("times", [1, 3])
async def test_closing_ends_a_step_that_swallows_its_cancellation(times: int) -> None:
    """`asyncio.wait_for` did so in Python 3.11, and clients of stores use it: the close must not hang."""
    limiter = SlowLimiter()
    opening = asyncio.create_task(limiter.open())
    await asyncio.sleep(0)
    limiter.stores[0].swallows = times
    await limiter.aclose()
    assert asyncio.get_running_loop().time() < 2.1 + times
    assert limiter.stores[0].is_closed
    with pytest.raises(LimiterError):
        await opening


@pytest.mark.looptime(start=0)
async def test_opening_that_is_cancelled_goes_on_for_the_others() -> None:
    """One caller that leaves neither ends nor repeats the opening."""
    limiter = SlowLimiter()
    first, second = (asyncio.create_task(limiter.open()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    limiter.stores[0].answering.set()
    await second
    assert first.cancelled()
    assert len(limiter.stores) == 1
    await limiter.aclose()


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("cancel", ["once", "thrice", "scope"])
async def test_a_cancelled_close_says_nothing_more_and_ends_all_that_runs(cancel: str) -> None:
    """Its caller is cancelled only then, in an anyio scope too, which cancels each wait anew."""
    before = asyncio.all_tasks()
    limiter = SlowLimiter()
    opening = asyncio.create_task(limiter.open())
    await asyncio.sleep(0)
    if cancel == "scope":
        with anyio.move_on_after(1) as scope:
            await limiter.aclose()
        assert scope.cancelled_caught
    else:
        closing = asyncio.create_task(limiter.aclose())
        await asyncio.sleep(1)
        for _ in range(1 if cancel == "once" else 3):
            closing.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.1)
    assert limiter.stores[0].is_closed
    with pytest.raises(LimiterError, match="closed while it was being opened"):
        await opening
    assert asyncio.all_tasks() == before


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("turns", range(5))
async def test_the_end_of_the_loop_leaves_nothing_of_a_limiter_that_is_closing(turns: int) -> None:
    """`asyncio.run` cancels every coroutine once, wherever it is, also one that has not begun."""
    before = asyncio.all_tasks()
    limiter = SlowLimiter()
    limiter_opening = asyncio.create_task(limiter.open())
    await asyncio.sleep(0)
    closing = [asyncio.create_task(limiter.aclose()) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    ours = asyncio.all_tasks() - before
    for task in ours:
        task.cancel()
    await asyncio.wait([*ours])
    assert limiter_opening.done()
    assert all(task.done() for task in closing)
    # An aclose() that had not begun closes nothing.
    assert turns == 0 or limiter.stores[0].is_closed
    assert asyncio.all_tasks() == before


@pytest.mark.looptime(start=0)
async def test_a_request_that_comes_back_while_the_limiter_closes_fails() -> None:
    """Its 429 arrives during the last step: no request is left in a queue that is gone."""
    limiter = SlowLimiter(grant_all)
    opening = asyncio.create_task(limiter.open())
    await asyncio.sleep(0)
    limiter.stores[0].answering.set()
    await opening
    refused = Owner("refused", [])
    limiter.enqueue(refused.lease)
    await limiter.flush()
    assert refused.has_slot()
    limiter.stores[0].answering.clear()
    closing = asyncio.create_task(limiter.aclose())
    await asyncio.sleep(1)
    limiter.refuse(refused.lease, retry_after_s=None)
    with pytest.raises(LimiterError, match="was closed before its client"):
        limiter.enqueue(Lease(("account",)))
    await closing
    assert isinstance(refused.failed, LimiterError)
    assert (refused.lease.taken, refused.lease.place) == (False, None)


async def test_callers_of_an_opening_that_fails_each_get_an_error_of_their_own() -> None:
    """And it can be opened later."""
    limiter = ScriptedLimiter()
    limiter.store.answers = [fails, answer]
    errors = await asyncio.gather(*(limiter.open() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in errors] == [LimiterError] * 3
    assert len({id(error) for error in errors}) == 3
    await limiter.open()
    await limiter.aclose()


def test_shared_leases_of_a_loop_that_is_gone_count_for_nothing() -> None:
    """As with a local limiter: it is opened again in a new loop, and knows nothing of them."""
    limiter = ScriptedLimiter(grant_all, answer)
    held, waiting = Lease(("account",)), Lease(("account",))

    async def use_and_leave() -> None:
        await limiter.open()
        limiter.enqueue(held)
        await limiter.flush()
        limiter.enqueue(waiting)
        assert held.taken

    async def use_again() -> None:
        await limiter.open()
        say_all_of(limiter, held, waiting)
        await limiter.aclose()

    asyncio.run(use_and_leave())
    asyncio.run(use_again())


def is_cancelled_elsewhere(_: Batch) -> StepReply:
    raise asyncio.CancelledError("from a pool of connections that was closed")


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancellation_from_elsewhere_is_a_step_that_failed(times: int) -> None:
    """Only the limiter itself ends its coroutine: the requests that wait are served by a later step."""
    async with ScriptedLimiter(*[is_cancelled_elsewhere] * times, grant_all) as limiter:
        waiting = Owner("waiting", [])
        limiter.enqueue(waiting.lease)
        await wait_until(waiting.has_slot)


class CancelledChannel:
    """A client and its channel in one, whose calls are cancelled by something else before they work."""

    def __init__(self, broken: list[str]) -> None:
        self.broken = broken
        self.calls: list[str] = []

    def pubsub(self) -> CancelledChannel:
        return self

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            self.broken.remove(name)
            raise asyncio.CancelledError

    async def subscribe(self, channel: str) -> None:
        await self._call("subscribe")

    async def get_message(self, timeout: float | None) -> dict[str, str]:
        await self._call("get_message")
        await asyncio.sleep(1)
        return {"type": "message", "data": "news"}

    async def aclose(self) -> None:
        await self._call("aclose")


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("broken", [["subscribe"], ["get_message"], ["get_message", "aclose"]], ids=str)
async def test_a_listener_survives_a_cancellation_from_elsewhere(broken: list[str]) -> None:
    """It counts as a cut: the listener subscribes again. Its own cancellation ends it."""
    channel, news, cuts = CancelledChannel(broken), list[str | None](), list[int]()
    listener = asyncio.create_task(
        listen(cast("Redis", channel), "channel", heard=news.append, cut=lambda: cuts.append(1))
    )
    await asyncio.sleep(5)
    assert len(cuts) == 1
    assert news
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    assert channel.calls[-1] == "aclose"


async def test_a_grant_that_nobody_waits_for_is_given_back() -> None:
    """It is from a step that was thought to be lost."""
    async with ScriptedLimiter(lambda batch: answer(batch, grants=[("nobody's", 1)]), answer) as limiter:
        limiter.resize(1)
        await limiter.flush()
        await limiter.flush()
        assert limiter.store.batches[2].ops == [["x", "nobody's"]]


@pytest.mark.parametrize(
    "trouble", [is_lost, lambda batch: answer(batch, resync=True)], ids=["lost", "resync"]
)
async def test_what_a_step_said_in_vain_is_said_again_with_all_that_is_held(trouble: Answer) -> None:
    """A lesson of a 429 and a new limit are told again; what is held and waits is told in full."""

    async with ScriptedLimiter(grant_all, trouble, answer) as limiter:
        kept, refused, unsure = (Owner(name, []) for name in ("kept", "refused", "unsure"))
        for owner in (kept, refused, unsure):
            limiter.enqueue(owner.lease)
        await limiter.flush()
        limiter.refuse(refused.lease, retry_after_s=None)
        limiter.resize(1)
        limiter.release(unsure.lease, after_s=60)
        await limiter.flush()
        again = limiter.store.batches[3]
        assert again.full
        assert [op[0] for op in again.ops] == ["n", "l", "k", "o", "h", "w"]


@pytest.mark.parametrize("url", ["http://host", "localhost:6379", "redis://[", ""])
def test_a_wrong_url_is_told_at_once(url: str) -> None:
    """Before any I/O, and without the URL, which may hold a password."""
    with pytest.raises(ConfigError, match="url of Redis"):
        RedisLimiter(url)
