"""Five hundred requests on real sockets, through random faults of hosts, proxies, keys, clocks and callers.

Whatever happens, each call ends in time with a result or an error of ours, nothing is accepted twice, nothing is sent
by a closed client, and in the end slots, tasks and threads are back.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import pytest

from bfl_async import AsyncBFL, BFLError, ConnectError, Fixed, FluxPro11, Limits, Result, Timeouts
from tests.integration.contract_server import (
    KEY,
    RESET,
    Answer,
    ContractServer,
    Cut,
    Hold,
    Say,
    Seen,
    Wire,
    html,
    other_tasks,
    say,
)
from tests.integration.test_connections import FAILURES, listener

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEEDS = 5
REQUESTS = 92
BY_PROXY = 8  # of each seed: together a hundred requests
SLOTS = 6
UNKNOWN_S = 1.5
TIMEOUTS = Timeouts(connect=1.0, reply=1.5, task=8, close=2)
# A request waits for others: each of them holds a slot for at most this long.
LONGEST_S = 120.0


@dataclass
class Storm:
    """What goes wrong, drawn from a seed."""

    rng: random.Random
    accepted: Counter[str] = field(default_factory=Counter)
    closed: bool = False
    late_posts: int = 0

    def submit(self, seen: Seen) -> Answer:
        self.late_posts += self.closed
        draw = self.rng.random()
        if draw < 0.03:
            return RESET
        if draw < 0.05:
            return Hold(asyncio.Event())
        if draw < 0.08:
            return html(502)
        if draw < 0.13:
            return say(503, {"detail": "busy"})
        if draw < 0.15:
            return Wire(b"HTTP/1.1 2")
        if draw < 0.17:
            return say(422, {"detail": "no"})
        self.accepted[str(seen.json()["prompt"])] += 1
        if draw < 0.20:
            return Cut(b'{"id": "', 200)
        return None

    def poll(self, _: Seen) -> Answer:
        draw = self.rng.random()
        if draw < 0.06:
            return RESET
        if draw < 0.10:
            return html(500)
        if draw < 0.12:
            return Hold(asyncio.Event())
        if draw < 0.16:
            return Cut(b'{"status": "Rea', 300)
        if draw < 0.20:
            return say(200, {"id": "x", "status": "Ready", "result": None})
        if draw < 0.25:
            return say(200, {"status": "a word of tomorrow"})
        return None

    def image(self, _: Seen) -> Answer:
        draw = self.rng.random()
        if draw < 0.06:
            return Hold(asyncio.Event())
        if draw < 0.12:
            return Cut(b"\xff\xd8\xff", 5_000, "image/jpeg")
        if draw < 0.16:
            return Say(503, headers={"Retry-After": "0"})
        return None


class Keys:
    """A key that all calls wait for together at times, which fails, is late, or whose refresh is cancelled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.refresh: asyncio.Future[str] | None = None

    async def __call__(self) -> str:
        draw = self.rng.random()
        if self.refresh is None and draw < 0.03:
            loop = asyncio.get_running_loop()
            self.refresh = loop.create_future()
            loop.call_later(0.05, self.end, self.rng.random() < 0.5)
        if draw < 0.06:
            raise OSError("the vault is away")
        if draw < 0.08:
            await asyncio.sleep(1.5)
        return KEY if self.refresh is None else await self.refresh

    def end(self, cancelled: bool) -> None:
        refresh, self.refresh = self.refresh, None
        assert refresh is not None
        if cancelled:
            refresh.cancel()
        elif not refresh.done():
            refresh.set_result(KEY)


async def one(bfl: AsyncBFL, rng: random.Random, prompt: str) -> object:
    """Make one request in some way, and end it in some way; return the end."""
    await asyncio.sleep(rng.random() * 4)
    timeout = rng.choice([None, None, None, 0.0, 0.3, 3.0])
    made = FluxPro11(prompt=prompt)
    way = rng.randrange(4)

    async def call() -> object:
        if way == 0:
            handle = await bfl.submit(made, timeout=timeout)
            return await handle.result(timeout=timeout)
        if way == 1:
            (outcome,) = [outcome async for outcome in bfl.stream([made], timeout=timeout)]
            return outcome.unwrap()
        if way == 2:
            (result,) = await bfl.gather([made], timeout=timeout)
            await result.read(timeout=4)
            return result
        result = await bfl.generate(made, timeout=timeout)
        await result.read(timeout=4)
        return result

    running = asyncio.create_task(call())
    leaves = rng.random() < 0.2
    if leaves:
        asyncio.get_running_loop().call_later(rng.random() * 2, running.cancel)
    (end,) = await asyncio.gather(running, return_exceptions=True)
    return None if leaves and isinstance(end, asyncio.CancelledError) else end


@pytest.mark.parametrize("number", range(SEEDS))
async def test_whatever_happens_each_call_ends_and_nothing_is_paid_twice(number: int) -> None:
    """Invariants 1, 2, 3, 5, 8, 9 and 11, on sockets."""
    seed = secrets.randbits(32) * SEEDS + number
    rng, storm = random.Random(seed), Storm(random.Random(seed + 1))
    before_tasks, before_threads = asyncio.all_tasks(), set(threading.enumerate())
    loop = asyncio.get_running_loop()
    unhandled: list[object] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    async with ContractServer() as server:
        server.always_submit, server.always_poll, server.always_image = storm.submit, storm.poll, storm.image
        session = None
        if number % 3 == 2:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=rng.randint(1, 8)))
        bfl = await AsyncBFL(
            KEY if session is not None else Keys(rng),
            base_url=server.url,
            limits=Limits(account=SLOTS, unknown_s=UNKNOWN_S),
            polling=Fixed(0.05),
            timeouts=TIMEOUTS,
            session=session,
        ).open()
        calls = [asyncio.create_task(one(bfl, rng, f"{seed}-{n}")) for n in range(REQUESTS)]
        for _ in range(4):
            # The loop stands still, as a process that is suspended or a program that computes.
            loop.call_later(rng.random() * 6, time.sleep, 0.6 + rng.random() * 0.6)
        closes = number % 2 == 1
        if closes:
            await asyncio.sleep(rng.uniform(1, 4))
            if session is not None and rng.random() < 0.5:
                await session.close()
            drain = rng.choice([0.0, 1.0])
            began = loop.time()
            await bfl.aclose(drain=drain)
            assert loop.time() - began < drain + TIMEOUTS.close + 8, seed
            storm.closed = True
        async with asyncio.timeout(LONGEST_S):
            ends = await asyncio.gather(*calls)
        assert [end for end in ends if end is not None and not isinstance(end, Result | BFLError)] == [], seed
        if not closes:
            assert await bfl.drain(30), seed
            await asyncio.sleep(UNKNOWN_S + 0.2)
            now = bfl.statistics()
            assert (now.slots_taken, now.queued, now.active) == (0, 0, 0), seed
            assert sum(isinstance(end, Result) for end in ends) > REQUESTS / 4, seed
            await bfl.aclose()
        assert max(storm.accepted.values(), default=0) <= 1, seed
        assert storm.late_posts == 0, seed
        if session is not None:
            await session.close()
    await asyncio.sleep(0.1)
    assert other_tasks(before_tasks | {*calls}) == set(), seed
    assert unhandled == [], seed
    left = {thread.name for thread in set(threading.enumerate()) - before_threads}
    assert not any(name.startswith("bfl") for name in left), seed


@pytest.mark.parametrize("number", range(SEEDS))
async def test_through_a_failing_proxy_nothing_is_ever_sent(number: int) -> None:
    """Invariant 2: each ends as `ConnectError`, and nothing is held."""
    rng = random.Random(secrets.randbits(32))
    talk = FAILURES[rng.choice(sorted(FAILURES))]
    async with (
        listener(talk) as port,
        AsyncBFL(
            KEY,
            base_url="https://api.example",
            proxy=f"http://127.0.0.1:{port}",
            limits=3,
            timeouts=Timeouts(connect=0.3, reply=1),
        ) as bfl,
    ):
        calls = [bfl.generate(FluxPro11(prompt=f"{number} {n}")) for n in range(BY_PROXY)]
        async with asyncio.timeout(30):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {ConnectError}
        now = bfl.statistics()
        assert (now.slots_taken, now.ambiguous, now.submitted) == (0, 0, 0)
