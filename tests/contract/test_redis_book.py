"""The book in Redis is true again after the loss of any part of it, and says what it needs of its server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from bfl_async import LimiterError
from bfl_async.limiter import RedisLimiter
from bfl_async.limiter import redis as redis_module
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.limiter.redis_store import RIGHTS
from tests.contract.limiters import Book, Owner, redis_server
from tests.waiting import wait_until

__all__ = ["redis_server"]  # a fixture


@pytest.fixture
async def book(redis_server: RedisServer) -> AsyncIterator[Book]:
    made = Book("redis", redis_server.url)
    try:
        yield made
    finally:
        await made.aclose()


def keys_of(server: RedisServer, book: Book) -> list[str]:
    return [key for key in server.command("keys", "bfl-async:*") if book.account in key]


async def taken(limiter: SharedLimiter) -> int:
    """The account's slots that the book counts."""
    limiter.resize(4)  # changes nothing, and brings the newest numbers
    await limiter.flush()
    return limiter.statistics()["account"].taken


class Crowd:
    """Requests of several limiters on four slots: who holds one, and the most that did so at a time."""

    def __init__(self, limiters: list[SharedLimiter], *, each: int) -> None:
        self.limiters = limiters
        self.grants: list[str] = []
        self.most = 0
        self.owners = [(limiter, Owner(f"{n}", self.grants)) for n in range(each) for limiter in limiters]
        for limiter, owner in self.owners:
            limiter.enqueue(owner.lease)

    def held(self) -> list[tuple[SharedLimiter, Owner]]:
        holders = [(limiter, owner) for limiter, owner in self.owners if owner.lease.taken]
        self.most = max(self.most, len(holders))
        return holders

    async def end_one(self) -> None:
        await wait_until(lambda: bool(self.held()), timeout=15)
        limiter, owner = self.held()[0]
        limiter.release(owner.lease)
        self.owners.remove((limiter, owner))

    async def end_all(self) -> None:
        while self.owners:
            await self.end_one()
            await asyncio.sleep(0)
        for limiter in self.limiters:
            await limiter.flush()


KEYS = ["meta", "pools", "leases", "expiry", "tickets", "queues", "seen", "alive", "q:account", "t"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", KEYS)
async def test_a_book_that_lost_a_key_is_true_again(lost: str, book: Book, redis_server: RedisServer) -> None:
    """Whichever was evicted: the limit holds, all that wait are served, and the counters come back to nothing."""
    limiters = [await book.limiter(4, lease_s=6), await book.limiter(4, lease_s=6)]
    crowd = Crowd(limiters, each=6)
    for limiter in limiters:
        await limiter.flush()
    await wait_until(lambda: len(crowd.held()) == 4)
    doomed = [key for key in keys_of(redis_server, book) if f"}}:{lost}" in key]
    assert doomed
    redis_server.command("del", *doomed)
    await asyncio.gather(*(taken(limiter) for limiter in limiters))
    began = time.monotonic()
    await crowd.end_all()
    # Full speed returns within the time of a lease.
    assert time.monotonic() - began < 6
    assert crowd.most == 4
    assert len(crowd.grants) == 12
    assert [await taken(limiter) for limiter in limiters] == [0, 0]
    again = Crowd([await book.limiter(4, lease_s=6)], each=5)
    await wait_until(lambda: len(again.held()) == 4)
    await again.end_all()


async def test_tickets_of_a_dead_process_that_no_list_names_hold_nobody_up(
    book: Book, redis_server: RedisServer
) -> None:
    """The list of a session's tickets is lost, then the session: each of its tickets goes when it is the first."""
    limiter = await book.limiter(1)
    held = Owner("held", [])
    limiter.enqueue(held.lease)
    await limiter.flush()
    peer = await book.peer(1)
    for n in range(3):
        peer.do("enqueue", name=f"doomed{n}")
    peer.do("flush")
    await peer.wait_for("flushed")
    waiting = Owner("waiting", [])
    limiter.enqueue(waiting.lease)
    await limiter.flush()
    redis_server.command("del", *(key for key in keys_of(redis_server, book) if "}:t:" in key))
    peer.kill()
    await peer.process.wait()
    limiter.release(held.lease)
    await wait_until(waiting.has_slot, timeout=5)


@pytest.mark.slow
async def test_a_step_that_stops_half_way_leaves_a_book_that_counts_right(
    book: Book, redis_server: RedisServer
) -> None:
    """Each command in turn is refused to one process in the midst of its work; the other one goes on."""
    redis_server.command(
        "acl", "setuser", "half", "on", ">pw", "~bfl-async:*", "&bfl-async:*", *RIGHTS.split()
    )
    url = redis_server.url.replace("://", "://half:pw@")
    other = await book.limiter(4, lease_s=6)
    for command in ("zadd", "hdel", "zrem", "rpush", "publish", "lrange", "zrange"):
        limiter = RedisLimiter(url, 4, lease_s=6)
        limiter.use_account(book.account)
        await limiter.open()
        redis_server.command("acl", "setuser", "half", f"-{command}")
        crowd = Crowd([limiter, other], each=4)
        await asyncio.sleep(0.2)
        for _, owner in crowd.held():
            assert owner.lease.taken
        redis_server.command("acl", "setuser", "half", f"+{command}")
        await crowd.end_all()
        assert crowd.most <= 4, command
        assert await taken(other) == 0, command
        await limiter.aclose()


async def test_the_rights_that_the_page_names_are_enough_and_a_missing_one_is_named(
    book: Book, redis_server: RedisServer
) -> None:
    """At the opening, with what to grant, before anything is written."""
    user = ["acl", "setuser", "some", "reset", "on", ">pw", "~bfl-async:*", "&bfl-async:*", *RIGHTS.split()]
    redis_server.command(*user)
    limiter = RedisLimiter(redis_server.url.replace("://", "://some:pw@"), 4)
    limiter.use_account(book.account)
    await limiter.open()
    owner = Owner("one", [])
    limiter.enqueue(owner.lease)
    await limiter.flush()
    assert owner.has_slot()
    await limiter.aclose()
    (meta,) = [key for key in keys_of(redis_server, book) if key.endswith(":meta")]
    before = redis_server.command("hgetall", meta)
    script = Path(redis_module.__file__).with_name("book.lua").read_text("utf-8")
    commands = set(re.findall(r"call\('([A-Z]+)'", script)) - {"INFO", "TIME"}
    assert len(commands) > 20
    missing = [f"-{command.lower()}" for command in sorted(commands)]
    for right in [*missing, "-subscribe", "-evalsha", "resetchannels", "resetkeys"]:
        redis_server.command(*user, right)
        limiter = RedisLimiter(redis_server.url.replace("://", "://some:pw@"), 4)
        limiter.use_account(book.account)
        with pytest.raises(LimiterError, match="lacks rights") as caught:
            await limiter.open()
        assert "ACL SETUSER" in str(caught.value), right
        assert "&bfl-async:*" in str(caught.value), right
        await limiter.aclose()
    assert redis_server.command("hgetall", meta) == before


@pytest.mark.slow
async def test_info_is_not_needed(book: Book, redis_server: RedisServer) -> None:
    """Many hosted servers hide it."""
    redis_server.command("acl", "setuser", "blind", "on", ">pw", "~*", "&*", "+@all", "-info")
    limiter = RedisLimiter(redis_server.url.replace("://", "://blind:pw@"), 4)
    limiter.use_account(book.account)
    await limiter.open()
    owner = Owner("one", [])
    limiter.enqueue(owner.lease)
    await wait_until(owner.has_slot)
    await limiter.aclose()


async def test_a_redis_that_may_evict_keys_is_told_of_once(
    book: Book, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With the setting to choose."""
    redis_server.command("config", "set", "maxmemory", "200mb")
    redis_server.command("config", "set", "maxmemory-policy", "volatile-lru")
    try:
        limiter = await book.limiter(4)
        redis_server.command("client", "kill", "type", "normal")
        await taken(limiter)
        assert caplog.text.count("noeviction") == 1
        assert "volatile-lru" in caplog.text
    finally:
        redis_server.command("config", "set", "maxmemory-policy", "noeviction")
        redis_server.command("config", "set", "maxmemory", "0")
    caplog.clear()
    await book.limiter(4)
    assert "noeviction" not in caplog.text


@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.slow
async def test_a_quiet_holder_is_asked_when_the_book_was_lost(
    first: str, book: Book, redis_server: RedisServer
) -> None:
    """A process that waits for nothing speaks every 20 s; whoever comes first, its slots are counted before a grant."""
    holder, other = await book.limiter(4), await book.limiter(4)
    crowd = Crowd([holder], each=4)
    await wait_until(lambda: len(crowd.held()) == 4)
    await holder.flush()
    redis_server.command("del", *keys_of(redis_server, book))
    limiter = other if first == "old" else await book.limiter(4)
    crowd.owners += Crowd([limiter], each=2).owners
    await asyncio.sleep(4.5)
    assert len(crowd.held()) == 4
    assert await taken(limiter) == 4
    await crowd.end_all()
