"""Random lives of a client, each from a seed: whatever happens, slots come back and nothing is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import dataclass, field

import pytest

from bfl_async import (
    Adaptive,
    AsyncBFL,
    BFLError,
    ConnectError,
    Fixed,
    FluxPro11,
    Limits,
    TaskFailedError,
    Timeouts,
    TransportError,
    WebhookError,
)
from bfl_async.limiter import LocalLimiter
from bfl_async.models import PassThroughRequest
from bfl_async.types import JSON, Reply
from bfl_async.webhooks import WebhookReceiver
from tests.fake import FakeAPI, FakeTask, reply, spin, status

pytestmark = pytest.mark.looptime(start=0)

# A few seeds run with every test, the others with the slow ones.
SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 20))]


@dataclass
class Chaos(FakeAPI):
    """A server and a network with faults of every kind."""

    rng: random.Random = field(default_factory=random.Random)
    out_of_credits: float = 0.0
    receiver: WebhookReceiver | None = None  # who is told of ends, by fits and starts
    delivered: set[asyncio.Task[None]] = field(default_factory=set)

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
        if self.receiver is not None and accepted.status_code == 200 and "webhook_url" in body:
            self._plan_deliveries(self.receiver, list(self.tasks.values())[-1])
        if draw < 0.18:
            raise TransportError("lost after")
        return accepted

    def _plan_deliveries(self, receiver: WebhookReceiver, task: FakeTask) -> None:
        """A quarter is lost, some come twice, late, or after forged ones."""
        nonce = str(task.body["webhook_url"]).rpartition("/")[2]
        true = {"x-webhook-secret": str(task.body["webhook_secret"])}

        async def deliver(headers: dict[str, str], word: str) -> None:
            body = json.dumps(status(word, task.task_id)).encode()
            with contextlib.suppress(WebhookError):
                await receiver.receive(nonce, headers, body)

        def start(headers: dict[str, str], word: str) -> None:
            running = asyncio.get_running_loop().create_task(deliver(headers, word))
            self.delivered.add(running)
            running.add_done_callback(self.delivered.discard)

        loop, draw = asyncio.get_running_loop(), self.rng.random()
        for at in () if draw < 0.25 else (0.0, 1.0) if draw < 0.4 else (20.0,) if draw < 0.5 else (0.0,):
            loop.call_at(task.ready_at + at, start, true, "Ready")
        if draw > 0.85:
            loop.call_at(self.now(), start, {"x-webhook-secret": "a guess"}, "Error")

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
        except TaskFailedError:
            raise  # no task fails here: only a forged delivery says so
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


@pytest.mark.parametrize("by_webhook", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_life_slots_are_back_and_nothing_was_paid_twice(seed: int, by_webhook: bool) -> None:
    """Invariants 1, 2, 6, 7, 8 and 9 together, for one client or two on a shared limiter."""
    rng = random.Random(seed)
    receiver = WebhookReceiver("https://app.example/bfl", "s" * 20, poll_s=5) if by_webhook else None
    api = Chaos(
        limit=5,
        service_s=lambda _: rng.random() * 8 * (rng.random() < 0.9),
        rng=rng,
        out_of_credits=0.02 * (seed % 3 == 0),
        receiver=receiver,
    )
    limiter = LocalLimiter(Limits(account=5, pools={"narrow": 2}))
    limits = Limits(unknown_s=7, overlap=0.2 if seed % 3 else None)
    polling = Adaptive() if seed % 4 < 2 else Fixed(0.3)
    clients = [
        await AsyncBFL(
            limiter=limiter, limits=limits, polling=polling, transport=api, webhook=receiver
        ).open()
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
    if receiver is not None:
        assert "expected=0" in repr(receiver)
        assert receiver.statistics().delivered > 0


@pytest.mark.parametrize("by_webhook", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
async def test_closing_at_any_moment_ends_everything(seed: int, by_webhook: bool) -> None:
    """Invariant 9: whoever closes, how often, and whatever is going on, everybody gets an end and nothing runs."""
    rng = random.Random(seed)
    receiver = WebhookReceiver("https://app.example/bfl", "s" * 20, poll_s=5) if by_webhook else None
    api = Chaos(
        limit=5,
        service_s=lambda _: rng.random() * 8,
        rng=rng,
        out_of_credits=0.02 * (seed % 3 == 0),
        receiver=receiver,
    )
    limits = Limits(account=5, overlap=0.2 if seed % 2 else None)
    bfl = await api.client(limits=limits, timeouts=Timeouts(close=3), webhook=receiver).open()
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
    await spin()
    assert asyncio.all_tasks() - api.delivered == {asyncio.current_task()}
    assert receiver is None or "expected=0" in repr(receiver)
