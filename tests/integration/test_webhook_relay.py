"""Deliveries that come to one process and are waited for in another, through a real Redis."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks.redis_server import RedisServer
from bfl_async import AsyncBFL, ConfigError, Flux2Klein4B, Limits, TransportError
from bfl_async.integrations.aiohttp import webhook_app
from bfl_async.sandbox import Sandbox
from bfl_async.types import Delivery
from bfl_async.webhooks import RedisRelay, WebhookReceiver
from tests.redis import redis_or_skip
from tests.web import SECRET, free_socket, serving_aiohttp, url_of

REQUESTS = 100


redis = pytest.fixture(scope="module")(redis_or_skip)


@asynccontextmanager
async def two_receivers(
    redis: RedisServer, poll_s: float
) -> AsyncIterator[tuple[WebhookReceiver, WebhookReceiver]]:
    """One that deliveries come to, and one that shares nothing with it but the URL, the secret and Redis."""
    bound = free_socket()
    takes, waits = (
        WebhookReceiver(f"{url_of(bound)}/bfl", SECRET, poll_s=poll_s, relay=RedisRelay(redis.url))
        for _ in "12"
    )
    app = web.Application()
    app.add_subapp("/bfl", webhook_app(takes))
    async with serving_aiohttp(app, bound), takes, waits:
        yield takes, waits


async def test_delivery_to_another_process_ends_the_request_without_a_poll(redis: RedisServer) -> None:
    async with (
        Sandbox(limit=24, service_s=0.2) as sandbox,
        two_receivers(redis, 30.0) as (takes, waits),
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=Limits(account=24), webhook=waits) as bfl,
    ):
        prompts = [f"prompt {n}" for n in range(REQUESTS)]
        results = await asyncio.gather(*(bfl.generate(Flux2Klein4B(prompt=prompt)) for prompt in prompts))
        for prompt, result in zip(prompts, results, strict=True):
            assert sandbox.tasks[result.task_id].prompt == prompt
        assert bfl.statistics().polls == sandbox.statistics().polls == 0
        assert (waits.statistics().delivered, waits.statistics().missed) == (REQUESTS, 0)
        assert (takes.statistics().delivered, takes.statistics().unmatched) == (0, REQUESTS)


@pytest.mark.slow
async def test_redis_that_is_away_costs_polls_and_no_result(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "bfl_async")
    async with (
        Sandbox(service_s=0.2) as sandbox,
        two_receivers(redis, 1.0) as (_, waits),
        AsyncBFL(sandbox.key, base_url=sandbox.url, webhook=waits) as bfl,
    ):
        await bfl.generate(Flux2Klein4B(prompt="before"))
        assert waits.statistics().delivered == 1
        redis.kill()
        try:
            await bfl.generate(Flux2Klein4B(prompt="away"))
            assert (waits.statistics().delivered, waits.statistics().missed) == (1, 1)
        finally:
            redis.start()
        assert sum("Redis on" in record.getMessage() for record in caplog.records) == 2, (
            "one warning a receiver"
        )
        async with asyncio.timeout(20):
            while waits.statistics().delivered == 1:  # it subscribes again by itself
                await bfl.generate(Flux2Klein4B(prompt="after"))


async def test_message_that_is_no_delivery_is_passed_over(redis: RedisServer) -> None:
    came: asyncio.Queue[Delivery] = asyncio.Queue()
    relay = RedisRelay(redis.url)
    await relay.open(came.put_nowait)
    right = '{"body": {"id": "t", "status": "Ready"}, "scheme": "secret", "nonce": "n"}'
    wrong = [
        "",
        "[]",
        "{}",
        '{"body": 5, "scheme": "secret"}',
        right.replace("secret", "x"),
        right.replace('"n"', "7"),
    ]
    try:
        for message in [*wrong, right]:
            redis.command("publish", "bfl-async:deliveries", message)
        async with asyncio.timeout(10):
            delivery = await came.get()
        assert (delivery.task_id, delivery.nonce) == ("t", "n")
        assert came.empty()
    finally:
        await relay.aclose()
        await relay.aclose()
    with pytest.raises(TransportError, match="not open"):
        await relay.publish(delivery)


async def test_nobody_is_told_of_an_unreachable_redis_but_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The opening does not fail, what cannot be passed on does, and a password is never shown."""
    bound = free_socket()  # nobody listens on it
    relay = RedisRelay(url_of(bound).replace("http://", "redis://:pass-word@"))
    await relay.open(lambda _: None)
    try:
        delivery = Delivery("t", "Ready", None, None, None, {"id": "t", "status": "Ready"}, "secret")
        with pytest.raises(TransportError, match="away"):
            await relay.publish(delivery)
    finally:
        await relay.aclose()
        bound.close()
    assert "is away" in caplog.text
    assert "pass-word" not in caplog.text + repr(relay)


async def test_opening_that_is_cancelled_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        relay = RedisRelay(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        before = asyncio.all_tasks()
        opening = asyncio.create_task(relay.open(lambda _: None))
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks() - before) > 1
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize(("url", "namespace"), [("http://x", "n"), ("redis://[", "n"), ("redis://x", "")])
def test_relay_refuses_what_it_cannot_use(url: str, namespace: str) -> None:
    with pytest.raises(ConfigError):
        RedisRelay(url, namespace=namespace)
