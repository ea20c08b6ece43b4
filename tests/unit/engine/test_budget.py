"""A budget: what could pass it is refused before it is sent, and nothing is forgotten that may be paid."""

from __future__ import annotations

import asyncio
import random

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    Budget,
    BudgetExceededError,
    ConfigError,
    Fixed,
    InvalidRequestError,
    Limits,
    QueueFullError,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    UntrustedURLError,
    request,
)
from tests.fake import FakeAPI, reply, spin, status
from tests.media import png

pytestmark = pytest.mark.looptime(start=0)


def client(api: FakeAPI, budget: Budget, limits: Limits | None = None) -> AsyncBFL:
    return AsyncBFL(transport=api, limits=limits or 12, polling=Fixed(0.25), budget=budget)


async def test_request_that_could_pass_the_cap_is_not_sent() -> None:
    """What is in flight counts with its estimate, before the server has said anything."""
    api = FakeAPI()
    async with client(api, Budget(usd=0.11)) as bfl:
        assert bfl.statistics().budget_left_usd == 0.11
        handles = [bfl.submit_nowait("flux-pro-1.1", prompt="x") for _ in range(2)]
        with pytest.raises(BudgetExceededError, match=r"0\.04 USD.*0\.03 USD remain"):
            bfl.submit_nowait("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.03
        await asyncio.gather(*handles)
        with pytest.raises(BudgetExceededError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        await bfl.generate("flux-2-pro", prompt="x", width=64, height=64)
        assert bfl.statistics().budget_left_usd == 0, (
            "the server's 4 credits count, not the 3 of the estimate"
        )
    assert len(api.posts) == 3


async def test_servers_cost_takes_the_estimates_place() -> None:
    """In the receipt, and in the settled poll."""
    api = FakeAPI(cost=1.0)
    async with client(api, Budget(usd=1)) as bfl:
        handle = await bfl.submit("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.99
        api.script_polls(reply(200, status("Ready", cost=2.5)))
        await handle
        assert bfl.statistics().budget_left_usd == 0.975
        assert bfl.statistics().credits_spent == 2.5


async def test_what_may_be_paid_stays_counted() -> None:
    """Ambiguous, lost and not found: the account may have been charged."""
    api = FakeAPI(cost=None)
    async with client(api, Budget(usd=1), Limits(unknown_s=1)) as bfl:
        api.script_submits(reply(500, "oops"))
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.96
        api.script_polls(*[reply(404, status("Task not found"))] * 40)
        with pytest.raises(TaskNotFoundError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.92
        api.poll_script.clear()
        api.script_submits(
            reply(200, {"id": "x", "polling_url": "https://elsewhere.example/v1/get_result?id=x"})
        )
        api.script_polls(UntrustedURLError("elsewhere"))
        with pytest.raises(UntrustedURLError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.88


FREE_ENDS = ["Request Moderated", "Content Moderated", "Error", "Failed"]


@pytest.mark.parametrize("cost", [None, 4.0, 7.0])
@pytest.mark.parametrize("word", FREE_ENDS)
async def test_moderated_and_failed_tasks_give_their_share_back(word: str, cost: float | None) -> None:
    """Whatever the receipt stated: that is the price of a result, and there is none."""
    api = FakeAPI(cost=cost)
    async with client(api, Budget(usd=0.07)) as bfl:
        for _ in range(3):
            api.script_polls(reply(200, status("Pending", cost=cost)), reply(200, status(word)))
            with pytest.raises(TaskError):
                await bfl.generate("flux-pro-1.1", prompt="x")
            assert bfl.statistics().budget_left_usd == 0.07
        await bfl.generate("flux-pro-1.1", prompt="x")


@pytest.mark.parametrize("cost", [None, 4.0])
@pytest.mark.parametrize("stated", [0.0, 2.5, 4.0])
@pytest.mark.parametrize("word", FREE_ENDS)
async def test_cost_that_is_stated_with_the_end_counts(word: str, stated: float, cost: float | None) -> None:
    """The server's own figure always wins."""
    api = FakeAPI(cost=cost)
    async with client(api, Budget(usd=1)) as bfl:
        api.script_polls(reply(200, status(word, cost=stated)))
        with pytest.raises(TaskError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        counts = bfl.statistics()
        assert (counts.budget_left_usd, counts.credits_spent) == (1 - stated / 100, stated)


async def test_what_was_not_sent_gives_its_share_back() -> None:
    """Withdrawn, refused, cancelled while queued, turned away by a full queue."""
    api = FakeAPI(limit=1, service_s=10)
    async with client(api, Budget(usd=0.20), Limits(account=1, queue=2)) as bfl:
        running = await bfl.submit("flux-pro-1.1", prompt="x")
        queued = bfl.submit_nowait("flux-pro-1.1", prompt="x")
        caller = asyncio.create_task(bfl.generate("flux-pro-1.1", prompt="x"))
        await spin()
        assert bfl.statistics().budget_left_usd == 0.08
        with pytest.raises(QueueFullError):
            bfl.submit_nowait("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.08
        queued.withdraw()
        caller.cancel()
        await asyncio.wait([caller])
        assert bfl.statistics().budget_left_usd == 0.16
        await running
        api.script_submits(reply(422, {"detail": "no"}))
        with pytest.raises(InvalidRequestError):
            await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.16


async def test_request_behind_a_closed_gate_gives_its_share_back() -> None:
    """Invariant 7: after a 402 nothing is sent, so nothing is counted."""
    api = FakeAPI()
    async with client(api, Budget(usd=0.08)) as bfl:
        api.script_submits(reply(402, {"detail": "no credits"}))
        for _ in range(5):
            with pytest.raises(Exception, match="402"):
                await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0.08


async def test_a_429_counts_once() -> None:
    """The request goes back to its queue with what was set aside for it."""
    api = FakeAPI()
    async with client(api, Budget(usd=0.04)) as bfl:
        api.script_submits(reply(429, {"detail": "busy"}))
        await bfl.generate("flux-pro-1.1", prompt="x")
        assert bfl.statistics().budget_left_usd == 0


async def test_unknown_prices_count_or_are_refused() -> None:
    """As the budget says; a video whose length the server chooses counts with the longest."""
    api = FakeAPI(cost=None)
    async with client(api, Budget(usd=10, unknown_credits=25)) as bfl:
        bfl.submit_nowait("flux-dev", prompt="x")
        assert bfl.statistics().budget_left_usd == 9.75
        bfl.submit_nowait("flux-3-video", prompt="x", mode="t2v")
        assert bfl.statistics().budget_left_usd == pytest.approx(6.35)
    async with client(api, Budget(usd=10, on_unknown="refuse")) as bfl:
        with pytest.raises(BudgetExceededError, match="no price of flux-dev"):
            bfl.submit_nowait("flux-dev", prompt="x")
        bfl.submit_nowait("flux-2-pro", prompt="x", input_image=png(1024, 1024), width=1024, height=1024)
        assert bfl.statistics().budget_left_usd == 9.955


async def test_attached_tasks_do_not_count() -> None:
    """Others paid for them."""
    api = FakeAPI()
    async with client(api, Budget(usd=1)) as bfl:
        task = await bfl.submit("flux-pro-1.1", prompt="x")
        record = task.to_dict()
    async with client(api, Budget(usd=0.01)) as bfl:
        await bfl.attach(**record)
        assert bfl.statistics().budget_left_usd == 0.01


async def test_stream_goes_on_past_a_request_that_is_too_dear() -> None:
    """Invariant 8: one outcome each."""
    api = FakeAPI()
    requests = [
        request("flux-pro-1.1", prompt="x"),
        request("flux-2-max", prompt="x"),
        request("flux-pro-1.1", prompt="x", seed=1),
    ]
    async with client(api, Budget(usd=0.08)) as bfl:
        outcomes = [outcome async for outcome in bfl.stream(requests, ordered=True)]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), BudgetExceededError, type(None)]


async def test_no_budget_is_no_cap() -> None:
    """And says so."""
    async with FakeAPI().client() as bfl:
        assert bfl.statistics().budget_left_usd is None


@pytest.mark.parametrize(
    "fields", [{"usd": -1}, {"usd": float("nan")}, {"usd": True}, {"usd": "1"}, {"usd": 1, "unknown_credits": -1},
               {"usd": 1, "on_unknown": "ask"}]
)  # fmt: skip
def test_wrong_budget_is_a_config_error(fields: dict[str, object]) -> None:
    """Before any I/O."""
    with pytest.raises(ConfigError, match="Budget"):
        Budget(**fields)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="budget takes"):
        AsyncBFL("key", budget=3)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_the_budget_is_the_sum_of_what_may_be_paid(seed: int) -> None:
    """Random fates: at the end each request counts with its cost, its estimate, or nothing."""
    rng = random.Random(seed)
    api = FakeAPI(limit=3, service_s=lambda n: rng.uniform(0, 2), cost=None)
    async with client(api, Budget(usd=100), Limits(account=3)) as bfl:

        async def fate() -> None:
            api.cost = rng.choice([None, 2.5, 7.0])
            if rng.random() < 0.3:
                api.script_submits(reply(rng.choice([422, 429, 500, 503]), {"detail": "x"}))
            if rng.random() < 0.2:
                api.script_polls(reply(200, status(rng.choice(["Error", "Content Moderated"]))))

        api.before_submit = fate
        handles = []
        for n in range(40):
            handles.append(bfl.submit_nowait("flux-pro-1.1", prompt=str(n)))
            if rng.random() < 0.3:
                rng.choice(handles).withdraw()
            await asyncio.sleep(rng.uniform(0, 1))
        assert await bfl.drain(1000)
        expected = 0.0
        for handle in handles:
            error = (await asyncio.gather(handle.result(), return_exceptions=True))[0]
            may_be_paid = handle.task_id is not None or isinstance(error, AmbiguousSubmitError)
            if may_be_paid and not isinstance(error, TaskModeratedError | TaskFailedError):
                expected += 4.0 if handle.cost is None else handle.cost
        assert bfl.statistics().budget_left_usd == pytest.approx(100 - expected / 100)
        assert 0 < expected < 40 * 7
