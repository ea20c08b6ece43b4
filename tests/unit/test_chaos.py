"""Random lives of a client, each from a seed: whatever happens, slots come back and nothing is paid twice."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from bfl_async import AsyncBFL, BFLError, ConnectError, Fixed, FluxPro11, Limits, Timeouts, TransportError
from bfl_async.limiter import LocalLimiter
from bfl_async.models import PassThroughRequest
from bfl_async.types import JSON, Reply
from tests.fake import FakeAPI, reply

pytestmark = pytest.mark.looptime(start=0)


@dataclass
class Chaos(FakeAPI):
    """A server and a network with faults of every kind."""

    rng: random.Random = field(default_factory=random.Random)
    out_of_credits: float = 0.0

    def _accept(self, path: str, body: dict[str, JSON]) -> Reply:
        draw = self.rng.random()
        if draw < 0.04:
            return reply(429, {"detail": "no"}, **({"retry_after": "3"} if draw < 0.01 else {}))
        if draw < 0.07:
            raise ConnectError("no connection")
        if draw < 0.09:
            return reply(503, {"detail": "busy"})
        if draw < 0.11:
            return reply(422, {"detail": "no"})
        if draw < 0.11 + self.out_of_credits:
            return reply(402, {"detail": "no credits"})
        if draw < 0.16:
            raise TransportError("lost before")
        accepted = super()._accept(path, body)
        if draw < 0.18:
            raise TransportError("lost after")
        return accepted

    async def poll(self, url: str) -> Reply:
        draw = self.rng.random()
        if draw < 0.05:
            raise TransportError("reset")
        if draw < 0.1:
            return reply(502, "<html>")
        return await super().poll(url)


class Caller:
    """Uses a client in a random way, and may leave at any moment."""

    def __init__(self, rng: random.Random, bfl: AsyncBFL, name: str) -> None:
        self.rng = rng
        self.bfl = bfl
        self.name = name

    def request(self, part: object = "") -> FluxPro11 | PassThroughRequest:
        prompt = f"{self.name}.{part}"
        if self.rng.random() < 0.7:
            return FluxPro11(prompt=prompt)
        return PassThroughRequest.named("narrow", {"prompt": prompt})

    async def live(self) -> None:
        await asyncio.sleep(self.rng.random() * 60)
        timeout = self.rng.choice([None, 0.05, 1, 10, 100])
        way = self.rng.choice(["generate", "submit", "withdraw", "gather", "stream"])
        try:
            if way == "generate":
                await self.bfl.generate(self.request(), timeout=timeout, priority=self.rng.randint(0, 3))
            elif way == "submit":
                await (await self.bfl.submit(self.request(), timeout=timeout))
            elif way == "withdraw":
                handle = self.bfl.submit_nowait(self.request())
                await asyncio.sleep(self.rng.random() * 5)
                handle.withdraw()
                await handle
            elif way == "gather":
                requests = [self.request(part) for part in range(4)]
                await self.bfl.gather(requests, timeout=timeout, return_exceptions=self.rng.random() < 0.5)
            else:
                await self.read_stream(timeout)
        except BFLError:
            pass

    async def read_stream(self, timeout: float | None) -> None:
        source = (self.request(part) for part in range(8))
        window, ordered = self.rng.randint(1, 5), self.rng.random() < 0.5
        count = 0
        async with self.bfl.stream(source, window=window, timeout=timeout, ordered=ordered) as outcomes:
            async for _ in outcomes:
                count += 1
                if self.rng.random() < 0.05:
                    return
        assert count == 8


@pytest.mark.parametrize("seed", range(20))
async def test_after_any_life_slots_are_back_and_nothing_was_paid_twice(seed: int) -> None:
    """Invariants 1, 2, 6, 7, 8 and 9 together, for one client or two on a shared limiter."""
    rng = random.Random(seed)
    api = Chaos(limit=5, service_s=lambda _: rng.random() * 8, rng=rng, out_of_credits=0.02 * (seed % 3 == 0))
    limiter = LocalLimiter(Limits(account=5, pools={"narrow": 2}))
    clients = [
        await AsyncBFL(limiter=limiter, limits=Limits(unknown_s=7), polling=Fixed(0.3), transport=api).open()
        for _ in range(1 + seed % 2)
    ]
    callers = [asyncio.create_task(Caller(rng, rng.choice(clients), str(n)).live()) for n in range(100)]
    for caller in callers:
        if rng.random() < 0.3:
            asyncio.get_running_loop().call_later(rng.random() * 70, caller.cancel)
    ends = await asyncio.gather(*callers, return_exceptions=True)
    assert [end for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)] == []
    for client in clients:
        assert await client.drain(10_000)
    await asyncio.sleep(800)  # held slots run out, working limits rise again
    for pool in limiter.statistics().values():
        assert (pool.taken, pool.queued, pool.working) == (0, 0, pool.limit)
    paid = [task.body["prompt"] for task in api.tasks.values()]
    assert len(paid) == len(set(paid))
    for client in clients:
        await client.aclose()
    await limiter.aclose()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("seed", range(20))
async def test_closing_at_any_moment_ends_everything(seed: int) -> None:
    """Invariant 9: whoever closes, how often, and whatever is going on, everybody gets an end and nothing runs."""
    rng = random.Random(seed)
    api = Chaos(limit=5, service_s=lambda _: rng.random() * 8, rng=rng, out_of_credits=0.02 * (seed % 3 == 0))
    bfl = await api.client(timeouts=Timeouts(close=3)).open()
    callers = [asyncio.create_task(Caller(rng, bfl, str(n)).live()) for n in range(40)]
    await asyncio.sleep(rng.random() * 60)
    closers = [asyncio.create_task(bfl.aclose(drain=drain)) for drain in rng.sample([0.0, 3.0, 5.0], 3)]
    if rng.random() < 0.5:
        await asyncio.sleep(rng.random() * 2)
        closers[0].cancel()
    await asyncio.gather(*closers, return_exceptions=True)
    sent = len(api.posts)
    async with asyncio.timeout(1_000):
        ends = await asyncio.gather(*callers, return_exceptions=True)
    assert [end for end in ends if end is not None] == []
    assert len(api.posts) == sent
    assert len(asyncio.all_tasks()) == 1
