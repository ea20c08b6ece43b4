"""Whole clients that are told by webhook, on real sockets: what it saves, and that nothing is lost with it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bfl_async import AsyncBFL, BFLError, Flux2Klein4B, Limits, Result, TaskModeratedError
from bfl_async.sandbox import Sandbox
from bfl_async.webhooks import Scheme, WebhookReceiver
from tests.web import listening

REQUESTS = 400
DELAY_S = 0.05


def service_s(_: str, number: int) -> float:
    return 0.10 + 0.02 * (number * 7 % 11)


async def run(
    bfl: AsyncBFL, sandbox: Sandbox, prompts: list[str]
) -> tuple[list[Result | BFLError], dict[str, float]]:
    """All requests at once: their ends, and by task id the seconds from its end at the server to ours."""
    lags: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    async def one(prompt: str) -> Result | BFLError:
        handle = bfl.submit_nowait(Flux2Klein4B(prompt=prompt, width=64, height=64))
        try:
            result: Result | BFLError = await handle
        except BFLError as exc:
            result = exc
        if handle.task_id is not None:
            lags[handle.task_id] = loop.time() - sandbox.tasks[handle.task_id].ready_at
        return result

    return list(await asyncio.gather(*map(one, prompts))), lags


@asynccontextmanager
async def delivered_to(scheme: Scheme) -> AsyncIterator[tuple[AsyncBFL, Sandbox, WebhookReceiver]]:
    """A client whose sandbox delivers everything, after `DELAY_S`."""
    async with (
        Sandbox(
            limit=24, service_s=service_s, webhook_scheme=scheme, webhook_delay_s=DELAY_S, polls_per_s=10_000
        ) as sandbox,
        listening(scheme=scheme) as receiver,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=24, webhook=receiver) as bfl,
    ):
        yield bfl, sandbox, receiver


@pytest.mark.parametrize("scheme", ["secret", "signature"])
@pytest.mark.slow
async def test_webhooks_need_hardly_a_poll(scheme: Scheme) -> None:
    """400 requests: at most 0.1 polls per task, and no delivery is lost."""
    async with delivered_to(scheme) as (bfl, sandbox, receiver):
        ends, _ = await run(bfl, sandbox, [f"prompt {n}" for n in range(REQUESTS)])
        assert [type(end) for end in ends] == [Result] * REQUESTS
        now, told = bfl.statistics(), receiver.statistics()
        assert now.polls / REQUESTS <= 0.1
        assert sandbox.statistics().polls == now.polls
        assert (told.delivered, told.rejected, told.missed) == (REQUESTS, 0, 0)
        assert now.ready == sandbox.statistics().accepted == REQUESTS
        assert now.slots_taken == now.refused_429 == 0


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("scheme", ["secret", "signature"])
async def test_a_delivery_settles_its_task_at_once(scheme: Scheme) -> None:
    """On average within 0.03 s beyond the delivery's own delay."""
    async with delivered_to(scheme) as (bfl, sandbox, _):
        _, lags = await run(bfl, sandbox, [f"prompt {n}" for n in range(REQUESTS)])
        assert statistics.fmean(lags.values()) <= DELAY_S + 0.03


@pytest.mark.slow
async def test_lost_doubled_late_and_forged_deliveries_cost_latency_and_no_outcome() -> None:
    """30 % lost, 20 % doubled, 10 % late and 10 % forged: one outcome each, the one of the server's own task."""
    # One after the other is asked: these come to the shares above.
    dials = {"webhook-lost": 0.3, "webhook-doubled": 0.2 / 0.7, "webhook-late": 0.2, "webhook-forged": 0.25}
    prompts = [f"prompt {n}" + (" [moderate-output]" if n % 10 == 0 else "") for n in range(REQUESTS)]
    async with (
        Sandbox(limit=48, service_s=service_s, webhook_late_s=1.0, faults=dials, seed=3) as sandbox,
        listening(poll_s=0.8) as receiver,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=Limits(account=48), webhook=receiver) as bfl,
    ):
        ends, _ = await run(bfl, sandbox, prompts)
        for number, end in enumerate(ends):
            if number % 10 == 0:
                assert isinstance(end, TaskModeratedError)
            else:
                assert isinstance(end, Result)
            assert end.task_id is not None
            assert sandbox.tasks[end.task_id].prompt == prompts[number]
        assert len({end.task_id for end in ends}) == REQUESTS
        now, told, fired = bfl.statistics(), receiver.statistics(), sandbox.faults.fired
        assert all(fired[dial] > REQUESTS / 20 for dial in dials)
        assert (now.ready, now.moderated, now.failed, now.ambiguous) == (360, 40, 0, 0)
        assert now.slots_taken == now.refused_429 == 0
        assert told.rejected == 3 * fired["webhook-forged"]
        assert told.missed > 0
        assert sandbox.statistics().accepted == REQUESTS


@pytest.mark.slow
async def test_sandbox_that_delivers_nothing_still_brings_every_result_home() -> None:
    """With a URL that nobody serves any more the client falls back to polling, after three slow polls."""
    async with Sandbox(limit=12, service_s=0.2) as sandbox:
        async with listening(poll_s=1.0) as receiver:
            pass  # its server is gone again
        async with AsyncBFL(sandbox.key, base_url=sandbox.url, webhook=receiver) as bfl:
            began = asyncio.get_running_loop().time()
            ends, _ = await run(bfl, sandbox, [f"prompt {n}" for n in range(60)])
            assert [type(end) for end in ends] == [Result] * 60
            assert asyncio.get_running_loop().time() - began < 4.5, (
                "five rounds of 1 s each without the fallback"
            )
            assert not receiver.comes_through
