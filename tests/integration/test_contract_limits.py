"""Invariants 6 and 7: 429 teaches, 402 (and a key that never worked) stops spending."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

import pytest

from bfl_async import (
    AsyncBFL,
    AuthenticationError,
    BFLError,
    Fixed,
    InsufficientCreditsError,
    Limits,
    RateLimitedError,
    TaskTimeoutError,
)
from bfl_async.sandbox import Sandbox
from bfl_async.types import Reply
from tests.integration.contract_server import (
    ScriptedTransport,
    a_request,
    reply,
    say,
    served,
    spin,
    until,
)

BUSY = reply(429, {"detail": "Too many active tasks"})
EMPTY = reply(402, {"detail": "Insufficient credits"})
FORBIDDEN = reply(403, {"detail": "Not authenticated - Invalid Authentication"})

# ---- invariant 6


@pytest.mark.looptime
async def test_6_a_429_lowers_the_working_limit_to_what_is_held() -> None:
    """Invariant 6: `max(1, slots still held there)`, submits on their way counted; the request waits again."""
    fake = ScriptedTransport(limit=3, service_s=100.0)
    async with fake.client(limits=8) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(8)]
        await asyncio.sleep(0.5)
        counts = bfl.statistics()
        account = counts.pools["account"]
        assert counts.refused_429 == fake.refused_429 == 5
        assert (account.limit, account.working, account.taken) == (8, 3, 3)
        assert (counts.slots_taken, counts.queued, counts.active) == (3, 5, 3)
        assert not any(handle.done() for handle in handles)
        assert await bfl.drain(timeout=2000)
        assert bfl.statistics().ready == 8


@pytest.mark.looptime
async def test_6_the_working_limit_never_falls_below_one() -> None:
    """Invariant 6: also when another program holds every slot: one probes on."""
    fake = ScriptedTransport(limit=2, service_s=1.0, foreign=2)
    async with fake.client(limits=4) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(4)]
        await asyncio.sleep(1)
        assert bfl.statistics().pools["account"].working == 1
        await asyncio.sleep(300)
        assert not any(handle.done() for handle in handles)
        assert bfl.statistics().slots_taken <= 1
        posts = len(fake.posts)
        fake.foreign = 0
        await asyncio.gather(*handles)
        assert len(fake.posts) > posts
        # While it was full the probes were few: quiet intervals of 2 s, doubling to 60 s.
        assert posts <= 4 + 15


@pytest.mark.looptime
async def test_6_the_working_limit_rises_by_one_after_quiet_with_nothing_in_flight() -> None:
    """Invariant 6: 2 s after the refusal, one at a time, up to the configured limit, by a timer."""
    fake = ScriptedTransport(limit=1, service_s=0.5)
    async with fake.client(limits=4) as bfl:
        await asyncio.gather(*(bfl.generate(a_request(str(n))) for n in range(2)))
        fake.limit = 100
        seen = [bfl.statistics().pools["account"].working]
        for _ in range(1200):
            await asyncio.sleep(0.1)
            seen.append(bfl.statistics().pools["account"].working)
        assert seen[-1] == 4
        assert max(seen) <= 4
        assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(seen))


@pytest.mark.looptime
async def test_6_the_first_raise_comes_after_two_quiet_seconds() -> None:
    """Invariant 6: "a quiet interval (2 s ...)"."""
    fake = ScriptedTransport(limit=2, service_s=1000.0)
    async with fake.client(limits=3) as bfl:
        for n in range(3):
            bfl.submit_nowait(a_request(str(n)))
        await asyncio.sleep(0.3)
        counts = bfl.statistics().pools["account"]
        assert (counts.working, counts.taken) == (2, 2)
        posts = len(fake.posts)
        await asyncio.sleep(1.5)
        assert len(fake.posts) == posts
        fake.limit = 3
        await asyncio.sleep(1.0)
        assert len(fake.posts) == posts + 1
        assert bfl.statistics().slots_taken == 3
        await bfl.aclose()


@pytest.mark.looptime
@pytest.mark.slow
async def test_6_the_interval_doubles_each_time_the_raise_is_refused_up_to_a_minute() -> None:
    """Invariant 6: 2 s, doubling to 60 s."""
    fake = ScriptedTransport(limit=2, service_s=1e6)
    async with fake.client(limits=3) as bfl:
        for n in range(3):
            bfl.submit_nowait(a_request(str(n)))
        await asyncio.sleep(500)
        probes = [at for at, _, _ in fake.posts][2:]
        waits = [later - earlier for earlier, later in itertools.pairwise(probes)]
        for wait, wanted in zip(waits, [2, 4, 8, 16, 32, 60, 60], strict=False):
            assert wanted - 0.1 <= wait <= wanted * 1.2 + 0.5, waits
        assert bfl.statistics().pools["account"].working == 2
        await bfl.aclose()


@pytest.mark.looptime
@pytest.mark.filterwarnings("ignore::UserWarning")  # the model may be new to the catalog
async def test_6_a_429_of_a_narrow_pool_leaves_other_pools_alone() -> None:
    """Invariant 6: the working limit of its narrowest pool; requests of other pools go on."""

    def narrow(path: str, _body: Mapping[str, object]) -> Reply | None:
        return BUSY if path.endswith("flux-kontext-max") else None

    fake = ScriptedTransport(service_s=1.0, always_submit=narrow)
    async with fake.client(limits=8) as bfl:
        kontext = bfl.submit_nowait("flux-kontext-max", prompt="x")
        await asyncio.sleep(0.5)
        counts = bfl.statistics()
        assert (counts.pools["flux-kontext-max"].limit, counts.pools["flux-kontext-max"].working) == (6, 1)
        assert counts.pools["account"].working == 8
        begun = fake.now()
        await asyncio.gather(*(bfl.generate(a_request(str(n))) for n in range(16)))
        assert fake.now() - begun < 5
        assert not kontext.done()
        fake.always_submit = None
        assert (await kontext).model == "flux-kontext-max"
        await asyncio.sleep(1000)
        assert bfl.statistics().pools["flux-kontext-max"].working == 6


@pytest.mark.looptime
async def test_6_a_429_lets_the_callers_timeout_end_with_the_refusal_as_cause() -> None:
    """Invariant 6: nothing fails for it unless the caller's timeout ends; the cause says why."""
    fake = ScriptedTransport(limit=0)
    async with fake.client(limits=2) as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request(), timeout=20)
        assert caught.value.state in ("queued", "submitting")
        assert caught.value.task_id is None
        assert isinstance(caught.value.__cause__, RateLimitedError)
        assert caught.value.__cause__.status_code == 429
        await bfl.drain(timeout=5)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.looptime
async def test_6_a_refused_request_may_be_withdrawn_and_cancelled() -> None:
    """Invariants 1 and 6: back in the queue it is unsent again."""
    fake = ScriptedTransport(limit=0)
    async with fake.client(limits=2) as bfl:
        handle = bfl.submit_nowait(a_request())
        caller = asyncio.create_task(bfl.generate(a_request("x")))
        await asyncio.sleep(1)
        await until(lambda: handle.state == "queued")
        assert handle.withdraw()
        for _ in range(1000):
            if bfl.statistics().submitting == 0:
                break
            await asyncio.sleep(0.01)
        caller.cancel()
        await spin()
        assert caller.cancelled()
        counts = bfl.statistics()
        assert (counts.queued, counts.slots_taken, counts.withdrawn) == (0, 0, 2)


@pytest.mark.looptime
async def test_6_priorities_hold_through_refusals() -> None:
    """Invariant 6: the head of its queue is by priority, then by arrival."""
    fake = ScriptedTransport(limit=1, service_s=10.0, foreign=1)
    async with fake.client(limits=1) as bfl:
        low = bfl.submit_nowait(a_request("low"), priority=5)
        await asyncio.sleep(0.5)
        high = bfl.submit_nowait(a_request("high"), priority=0)
        fake.foreign = 0
        await high
        await low
        accepted = [prompt for prompt in fake.prompts if prompt in ("high", "low")]
        assert accepted[-2:] == ["high", "low"]


async def test_6_another_program_on_the_account_only_slows_us_down() -> None:
    """Invariant 6 against the sandbox: a client that believes in more slots than there are serves everyone."""
    async with (
        Sandbox(limit=3, service_s=0.02) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=6, polling=Fixed(0.02)) as bfl,
    ):
        results = await bfl.gather([a_request(str(n)) for n in range(12)], timeout=20)
        assert len(results) == 12
        told, counts = sandbox.statistics(), bfl.statistics()
        assert counts.refused_429 == told.refused_429 >= 1
        assert told.accepted == counts.submitted == 12


# ---- invariant 7


@pytest.mark.looptime
async def test_7_402_fails_what_waits_and_what_comes_within_30_s_without_io() -> None:
    """Invariant 7: the refused request and those waiting fail; for 30 s new ones at once without I/O; then a probe."""
    fake = ScriptedTransport(service_s=20.0)
    async with fake.client(limits=2) as bfl:
        flying = await bfl.submit(a_request("flying"))
        fake.submit_script.append(EMPTY)
        refused = bfl.submit_nowait(a_request("refused"))
        waiting = [bfl.submit_nowait(a_request(f"waiting {n}")) for n in range(3)]
        for handle in (refused, *waiting):
            with pytest.raises(InsufficientCreditsError) as caught:
                await handle
            assert caught.value.status_code == 402
            assert caught.value.task_id is None
        assert len(fake.posts) == 2
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.queued, counts.failed) == (1, 0, 4)

        begun = fake.now()
        for _ in range(5):
            with pytest.raises(InsufficientCreditsError):
                await bfl.generate(a_request("new"))
            with pytest.raises(InsufficientCreditsError):
                await bfl.submit(a_request("new"))
        assert fake.now() - begun < 0.01
        assert len(fake.posts) == 2
        # Tasks in flight are still collected.
        assert (await flying).task_id == "task-0"

        await asyncio.sleep(max(0.0, begun + 28.0 - fake.now()))
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request("too early"))
        assert len(fake.posts) == 2
        await asyncio.sleep(3.0)
        await bfl.generate(a_request("probe"))
        assert fake.prompts[2:] == ["probe"]
        await bfl.generate(a_request("after"))
        assert len(fake.posts) == 4


@pytest.mark.looptime
@pytest.mark.parametrize("refusal", [EMPTY, FORBIDDEN], ids=["402", "403"])
async def test_7_only_one_goes_as_a_probe(refusal: Reply) -> None:
    """Invariant 7: "then one goes as a probe": the others wait for its end, and share its fate."""
    fake = ScriptedTransport(always_submit=lambda _path, _body: refusal)
    async with fake.client() as bfl:
        with pytest.raises(BFLError):
            await bfl.generate(a_request())
        await asyncio.sleep(31)
        ends = await asyncio.gather(
            *(bfl.generate(a_request(str(n))) for n in range(10)), return_exceptions=True
        )
        assert all(isinstance(end, InsufficientCreditsError | AuthenticationError) for end in ends)
        assert len(fake.posts) == 2
        # The probe was refused: another 30 s of silence.
        await asyncio.sleep(20)
        with pytest.raises(BFLError):
            await bfl.generate(a_request())
        assert len(fake.posts) == 2
        await asyncio.sleep(11)
        fake.always_submit = None
        results = await asyncio.gather(*(bfl.generate(a_request(str(n))) for n in range(10)))
        assert len(results) == 10
        assert len(fake.posts) == 12


@pytest.mark.looptime
async def test_7_a_probe_that_goes_well_lets_those_beside_it_go_at_once() -> None:
    """Invariant 7: nobody who came with the probe fails when it was accepted."""
    fake = ScriptedTransport()
    fake.submit_script.append(EMPTY)
    async with fake.client() as bfl:
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request())
        await asyncio.sleep(30.5)
        begun = fake.now()
        await bfl.gather([a_request(str(n)) for n in range(6)])
        assert fake.now() - begun < 5


@pytest.mark.looptime
@pytest.mark.parametrize("status", [401, 403])
async def test_7_a_key_that_never_worked_stops_the_others(status: int) -> None:
    """Invariant 7: the same for 401 and 403 on submit until a first submit has been accepted."""
    fake = ScriptedTransport()
    fake.submit_script.append(reply(status, {"detail": "Not authenticated"}))
    async with fake.client(limits=1) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(4)]
        for handle in handles:
            with pytest.raises(AuthenticationError) as caught:
                await handle
            assert caught.value.status_code == status
        with pytest.raises(AuthenticationError):
            await bfl.generate(a_request("new"))
        assert len(fake.posts) == 1
        await asyncio.sleep(31)
        await bfl.generate(a_request("probe"))
        assert len(fake.posts) == 2


@pytest.mark.looptime
@pytest.mark.parametrize("status", [401, 403])
async def test_7_once_a_submit_was_accepted_a_403_is_of_its_own_request(status: int) -> None:
    """Invariant 7: afterwards it may be a lacking permission for one model: only its own request fails."""
    fake = ScriptedTransport()
    fake.submit_script.extend([None, reply(status, {"detail": "Not authenticated"})])
    async with fake.client(limits=1) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(4)]
        ends = await asyncio.gather(*handles, return_exceptions=True)
        assert [isinstance(end, AuthenticationError) for end in ends] == [False, True, False, False]
        assert len(fake.posts) == 4


@pytest.mark.looptime
async def test_7_402_after_success_stops_all_the_same() -> None:
    """Invariant 7: 402 stops spending whenever it comes; a stream gets an outcome for each request."""
    fake = ScriptedTransport()
    fake.submit_script.extend([None, EMPTY])
    async with fake.client(limits=1) as bfl:
        outcomes = [
            outcome async for outcome in bfl.stream([a_request(str(n)) for n in range(50)], ordered=True)
        ]
        assert [outcome.index for outcome in outcomes] == list(range(50))
        assert outcomes[0].ok
        assert all(isinstance(outcome.error, InsufficientCreditsError) for outcome in outcomes[1:])
        assert len(fake.posts) == 2


@pytest.mark.looptime
@pytest.mark.parametrize("status", [400, 404, 422])
async def test_7_other_refusals_concern_their_own_request_only(status: int) -> None:
    """Invariants 2 and 7: a request that is wrong does not stop those behind it."""
    fake = ScriptedTransport()
    fake.submit_script.append(reply(status, {"detail": "no"}))
    async with fake.client(limits=1) as bfl:
        ends = await bfl.gather([a_request(str(n)) for n in range(3)], return_exceptions=True)
        assert [isinstance(end, BFLError) for end in ends] == [True, False, False]


async def test_7_an_empty_account_over_the_socket() -> None:
    """Invariant 7 against the sandbox: what is in flight is collected, one POST finds the account empty."""
    async with (
        Sandbox(credits=9.0, service_s=0.05) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=1, polling=Fixed(0.02)) as bfl,
    ):
        ends = await bfl.gather([a_request(str(n)) for n in range(6)], return_exceptions=True)
        broke = [end for end in ends if isinstance(end, InsufficientCreditsError)]
        assert (len(ends), len(broke)) == (6, 4)
        assert sandbox.statistics().refused_402 == 1
        assert await bfl.credits() == 1.0


async def test_a_429_to_credits_is_raised_as_it_does_not_wait() -> None:
    """Errors: `RateLimitedError` for "calls that do not wait, such as credits", with `Retry-After`."""
    async with served(limits=Limits()) as (server, bfl):
        server.routes["/v1/credits"] = say(429, {"detail": "slow"}, Retry_After="3")
        with pytest.raises(RateLimitedError) as caught:
            await bfl.credits()
        assert (caught.value.status_code, caught.value.retry_after_s) == (429, 3.0)
