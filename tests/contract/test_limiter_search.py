"""Finding out the account's limit, in all limiters alike (`Limits(account="discover")`)."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from bfl_async import Limits
from bfl_async.limiter.redis_store import RedisStore
from bfl_async.limiter.sqlite_book import Book
from bfl_async.limiter.steps import Batch, Op
from bfl_async.runtime.secrets import Secret
from bfl_async.types import Limiter
from tests.contract.limiters import Book as Meeting
from tests.contract.limiters import MakeLimiter, Owner, book, make_limiter, redis_server, settled
from tests.contract.test_limiter_books import LIMITS, QUEUES, Talker, shifted, shown
from tests.waiting import wait_until

__all__ = ["book", "make_limiter", "redis_server"]  # fixtures

SEARCH = Limits(account="discover", pools={})


async def let_in(limiter: Limiter, owners: list[Owner]) -> None:
    """Enqueue, wait for the grants, and have the tasks accepted."""
    for owner in owners:
        limiter.enqueue(owner.lease)
    await wait_until(lambda: all(owner.has_slot() for owner in owners))
    for owner in owners:
        limiter.confirm(owner.lease)
    await settled(limiter)


def owners(*numbers: int) -> list[Owner]:
    return [Owner(f"{n}", [], task_id=f"task-{n}-{uuid.uuid4().hex}") for n in numbers]


async def test_a_try_that_is_full_for_a_while_raises_the_limit(make_limiter: MakeLimiter) -> None:
    """And the next try follows at once."""
    limiter = await make_limiter(SEARCH)
    await limiter.open()
    await let_in(limiter, owners(*range(12)))
    assert limiter.statistics()["account"].limit == 12
    await let_in(limiter, owners(12))
    (following,) = owners(13)
    limiter.enqueue(following.lease)
    await settled(limiter)
    assert not following.has_slot()
    await wait_until(following.has_slot)
    assert limiter.statistics()["account"].limit == 13
    await limiter.aclose()


async def test_a_try_that_is_refused_shows_the_limit(make_limiter: MakeLimiter) -> None:
    """Nothing fails, nothing is lowered, and no try follows."""
    limiter = await make_limiter(SEARCH)
    await limiter.open()
    held = owners(*range(12))
    await let_in(limiter, held)
    (refused,) = owners(12)
    limiter.enqueue(refused.lease)
    await wait_until(refused.has_slot)
    limiter.refuse(refused.lease, retry_after_s=30.0)
    await settled(limiter)
    await asyncio.sleep(0.3)
    pool = limiter.statistics()["account"]
    assert (pool.limit, pool.working, pool.taken, pool.queued) == (12, 12, 12, 1)
    assert not refused.has_failed()
    # The server's hint was for the try: a slot that is freed is used.
    limiter.release(held[0].lease)
    await wait_until(refused.has_slot)
    await limiter.aclose()


@pytest.mark.slow
async def test_a_limit_that_fell_and_came_back_is_tried_again(make_limiter: MakeLimiter) -> None:
    """It takes 2 s for each step by which the working limit rises."""
    limiter = await make_limiter(SEARCH)
    await limiter.open()
    held, more = owners(*range(12)), owners(*range(12, 25))
    await let_in(limiter, held)
    limiter.enqueue(more[0].lease)
    await wait_until(more[0].has_slot)
    limiter.refuse(more[0].lease, retry_after_s=None)
    for owner in more[1:]:
        limiter.enqueue(owner.lease)
    for owner in held[:7]:
        limiter.release(owner.lease)
    await wait_until(lambda: sum(owner.has_slot() for owner in more) == 7)
    for owner in more[:7]:
        limiter.refuse(owner.lease, retry_after_s=None)
    await settled(limiter)
    pool = limiter.statistics()["account"]
    assert 2 * pool.working <= pool.limit
    await wait_until(lambda: limiter.statistics()["account"].taken > pool.limit, timeout=30)
    await limiter.aclose()


async def test_no_try_is_made_with_a_request_of_a_narrower_pool(make_limiter: MakeLimiter) -> None:
    limiter = await make_limiter(Limits(account="discover", pools={"narrow": 6}))
    await limiter.open()
    await let_in(limiter, owners(*range(12)))
    narrow = Owner("narrow", [], "narrow")
    limiter.enqueue(narrow.lease)
    await settled(limiter)
    await asyncio.sleep(0.2)
    assert not narrow.has_slot()
    await limiter.aclose()


async def test_what_was_found_is_kept_for_the_next_process(book: Meeting) -> None:
    """Also while a fixed limit holds."""
    first = await book.limiter(SEARCH)
    await let_in(first, owners(*range(12)))
    await let_in(first, owners(12))
    (waiting,) = owners(13)
    first.enqueue(waiting.lease)
    await wait_until(waiting.has_slot)
    await first.aclose()
    for limits, expected in ((SEARCH, 13), (Limits(account=7, pools={}), 7), (SEARCH, 13)):
        limiter = await book.limiter(limits)
        await limiter.flush()
        assert limiter.statistics()["account"].limit == expected
        await limiter.aclose()


@pytest.mark.parametrize("seed", range(8))
async def test_both_books_search_alike(seed: int, tmp_path: Path, redis_server: RedisServer) -> None:
    """Over random lives of three sessions; for less time than it takes to prove a try, as clocks differ."""
    rng = random.Random(seed)
    numbers = iter(range(10_000))
    talkers = [Talker(f"s{n}", rng, QUEUES, lambda: f"lease{next(numbers)}") for n in range(3)]
    base = f"books:{{{uuid.uuid4().hex}}}"
    in_file = {talker.name: Book(tmp_path / "book.db", talker.name) for talker in talkers}
    in_redis = {
        talker.name: RedisStore(Secret(redis_server.url), base, talker.name, lambda: None)
        for talker in talkers
    }
    by = steps = past_the_start = 0
    began = time.monotonic()
    try:
        while steps < 150 and time.monotonic() - began < 0.8:
            talker = rng.choice(talkers)
            batch = replace(talker.batch(""), limits={**LIMITS, "account": 2}, discovers=("account",))
            of_file = in_file[talker.name].step(batch, 100.0 + steps * 1e-4)
            of_redis = await in_redis[talker.name].step(shifted(batch, by))
            if not by and of_file.arrivals:
                by = of_redis.arrivals[0][1] - of_file.arrivals[0][1]
            assert shown(of_file) == shown(of_redis, by), (steps, batch)
            past_the_start += of_file.pools["account"].taken > of_file.pools["account"].limit
            talker.hear(of_file)
            steps += 1
    finally:
        for each in in_file.values():
            each.close()
        for store in in_redis.values():
            await store.aclose()
    assert steps > 10
    assert past_the_start > 0


def test_a_found_limit_outlives_a_restart_of_the_machine(tmp_path: Path) -> None:
    """The clock starts anew, and with it the wait."""
    numbers = count(1)

    def step(book: Book, now: float, ops: list[Op], *, full: bool = False) -> int:
        batch = Batch("s", next(numbers), full, "", {"account": 12}, 60.0, ops, 1, discovers=("account",))
        return book.step(batch, now).pools["account"].limit

    with closing(Book(tmp_path / "book.db", "s")) as before:
        step(before, 5000.0, [["w", f"{n}", 0, 0, ["account"]] for n in range(13)], full=True)
        step(before, 5000.1, [["c", f"{n}", f"task{n}"] for n in range(13)])
        assert step(before, 5003.0, []) == 13
    with closing(Book(tmp_path / "book.db", "s")) as after:
        assert step(after, 7.0, [], full=True) == 13
