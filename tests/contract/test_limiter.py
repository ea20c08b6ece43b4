"""One suite for every limiter: grants, order, release, refusal. New limiters join `make_limiter`.

What a shared limiter is told has its effect after a step of its book, so each look waits for that: `settled`.
"""

from __future__ import annotations

import asyncio

import pytest

from bfl_async import (
    AsyncBFL,
    BFLError,
    ConfigError,
    LimiterError,
    Limits,
    QueueFullError,
    TaskTimeoutError,
    Timeouts,
)
from bfl_async import limiter as limiter_package
from bfl_async.limiter import LocalLimiter
from bfl_async.limiter._shared import SharedLimiter
from bfl_async.types import EarlyGrants, Lease, Limiter
from tests.contract.limiters import (
    LIMITERS,
    MakeLimiter,
    Owner,
    make_limiter,
    redis_server,
    say_all_of,
    settled,
)
from tests.fake import FakeAPI
from tests.waiting import wait_until

__all__ = ["make_limiter", "redis_server"]  # fixtures


def limits(account: int, queue: int | None = None, **pools: int) -> Limits:
    return Limits(account=account, pools=pools, queue=queue)


def test_every_limiter_is_in_this_suite() -> None:
    """Also one that is added later: what is public keeps the same promises."""
    assert {each.__name__ for each in LIMITERS.values()} == set(limiter_package.__all__)


async def test_grants_up_to_the_limit_and_then_in_order_of_arrival(make_limiter: MakeLimiter) -> None:
    """First come, first served, one grant for each release."""
    limiter, grants = await make_limiter(limits(2)), list[str]()
    owners = [Owner(str(n), grants) for n in range(5)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    assert grants == ["0", "1"]
    assert [limiter.position(owner.lease) for owner in owners] == [None, None, 0, 1, 2]
    limiter.release(owners[1].lease)
    limiter.release(owners[0].lease)
    await settled(limiter)
    assert grants == ["0", "1", "2", "3"]
    account = limiter.statistics()["account"]
    assert (account.taken, account.queued, account.limit) == (2, 1, 2)
    await limiter.aclose()


async def test_lower_priority_number_goes_first(make_limiter: MakeLimiter) -> None:
    """Priorities are strict."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    holder = Owner("holder", grants)
    limiter.enqueue(holder.lease)
    await settled(limiter)
    owners = [Owner(f"p{p}", grants, priority=p) for p in (5, 0, -1)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    for owner in (holder, owners[2], owners[1], owners[0]):
        await settled(limiter)
        limiter.release(owner.lease)
    await settled(limiter)
    assert grants == ["holder", "p-1", "p0", "p5"]
    await limiter.aclose()


async def test_all_pools_are_taken_in_one_step_or_none(make_limiter: MakeLimiter) -> None:
    """A request whose narrower pool is full is passed over, takes nothing, and keeps its place."""
    limiter, grants = await make_limiter(limits(3, narrow=1)), list[str]()
    first, second, third = (Owner(f"narrow{n}", grants, "narrow") for n in range(3))
    wide = Owner("wide", grants)
    for owner in (first, second, wide, third):
        limiter.enqueue(owner.lease)
    await settled(limiter)
    assert grants == ["narrow0", "wide"]
    assert limiter.statistics()["account"].taken == 2
    limiter.release(first.lease)
    await settled(limiter)
    assert grants == ["narrow0", "wide", "narrow1"]
    limiter.release(second.lease)
    await settled(limiter)
    assert grants[-1] == "narrow2"
    await limiter.aclose()


async def test_pool_without_a_limit_is_no_limit(make_limiter: MakeLimiter) -> None:
    """A model's pool that `Limits` does not name counts nothing."""
    limiter, grants = await make_limiter(limits(2)), list[str]()
    for n in range(2):
        limiter.enqueue(Owner(str(n), grants, "unnamed").lease)
    await settled(limiter)
    assert len(grants) == 2
    await limiter.aclose()


async def test_second_release_changes_nothing(make_limiter: MakeLimiter) -> None:
    """A slot is given back once."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    limiter.release(owners[0].lease)
    limiter.release(owners[0].lease)
    limiter.release(owners[2].lease)
    await settled(limiter)
    assert grants == ["0", "1"]
    assert limiter.statistics()["account"].taken == 1
    await limiter.aclose()


async def test_withdrawn_lease_is_never_granted(make_limiter: MakeLimiter) -> None:
    """Also in the step of the release that would have granted it, and also twice."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    limiter.withdraw(owners[1].lease)
    limiter.withdraw(owners[1].lease)
    limiter.release(owners[0].lease)
    await settled(limiter)
    assert grants == ["0", "2"]
    assert limiter.statistics()["account"].queued == 0
    await limiter.aclose()


async def test_many_withdrawals_leave_nothing_behind(make_limiter: MakeLimiter) -> None:
    """Callers that come and go while nothing is released do not pile up, and the order stays."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    holder = Owner("holder", grants)
    limiter.enqueue(holder.lease)
    kept = [Owner(f"kept{n}", grants) for n in range(3)]
    for n in range(3_000):
        passing = Owner("passing", grants)
        limiter.enqueue(passing.lease)
        if n % 1_000 == 0:
            limiter.enqueue(kept[n // 1_000].lease)
        limiter.withdraw(passing.lease)
    for owner in (holder, *kept):
        await settled(limiter)
        limiter.release(owner.lease)
    await settled(limiter)
    assert grants == ["holder", "kept0", "kept1", "kept2"]
    await limiter.aclose()


async def test_delayed_release_holds_the_slot_for_its_time(make_limiter: MakeLimiter) -> None:
    """Invariant 2: the slot of a task that can no longer be followed. The first word on its time counts."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    lost, waiting = Owner("lost", grants), Owner("waiting", grants)
    limiter.enqueue(lost.lease)
    limiter.enqueue(waiting.lease)
    await settled(limiter)
    began = asyncio.get_running_loop().time()
    limiter.release(lost.lease, after_s=0.6)
    limiter.release(lost.lease, after_s=100)
    await settled(limiter)
    assert grants == ["lost"]
    assert limiter.statistics()["account"].taken == 1
    await wait_until(lambda: len(grants) == 2)
    assert grants == ["lost", "waiting"]
    assert 0.55 < asyncio.get_running_loop().time() - began < 3
    await limiter.aclose()


async def test_held_slot_can_be_freed_before_its_time(make_limiter: MakeLimiter) -> None:
    """Whoever learns the task's end after all frees its slot."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    lost, waiting = Owner("lost", grants), Owner("waiting", grants)
    limiter.enqueue(lost.lease)
    limiter.enqueue(waiting.lease)
    await settled(limiter)
    limiter.release(lost.lease, after_s=600)
    limiter.release(lost.lease)
    await settled(limiter)
    assert grants == ["lost", "waiting"]
    await limiter.aclose()


async def test_taking_passes_the_limit_and_holds_back_grants(make_limiter: MakeLimiter) -> None:
    """Attached tasks run already: they are counted, whatever the limit says."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    attached = [Owner(str(n), grants) for n in range(3)]
    for owner in attached:
        limiter.take(owner.lease)
    waiting = Owner("waiting", grants)
    limiter.enqueue(waiting.lease)
    await settled(limiter)
    assert limiter.statistics()["account"].taken == 3
    for owner in attached:
        await settled(limiter)
        assert grants == []
        limiter.release(owner.lease)
    await settled(limiter)
    assert grants == ["waiting"]
    await limiter.aclose()


# --- one slot for each task -----------------------------------------------------------------------------


async def confirmed(limiter: Limiter, owner: Owner, task_id: str) -> Owner:
    """Let an owner's request be granted and accepted."""
    limiter.enqueue(owner.lease)
    await settled(limiter)
    assert owner.has_slot()
    owner.lease.task_id = task_id
    limiter.confirm(owner.lease)
    await settled(limiter)
    return owner


async def taken(limiter: Limiter) -> dict[str, int]:
    """The slots that each pool counts, but for pools that are empty."""
    await settled(limiter)
    return {name: pool.taken for name, pool in limiter.statistics().items() if pool.taken}


@pytest.mark.parametrize("gives_up", ["before", "after", "both"])
async def test_a_task_that_is_attached_after_its_owner_gave_up_takes_one_slot(
    make_limiter: MakeLimiter, gives_up: str
) -> None:
    """Invariant 1: whichever comes first, one slot is taken, it is not freed by time, and the end frees it."""
    limiter, grants = await make_limiter(limits(2)), list[str]()
    lost = await confirmed(limiter, Owner("lost", grants), "task")
    attached = Owner("attached", grants, task_id="task")
    if gives_up != "after":
        limiter.release(lost.lease, after_s=0.3)
        await settled(limiter)
    limiter.take(attached.lease)
    if gives_up != "before":
        limiter.release(lost.lease, after_s=0.3)
    await settled(limiter)
    assert (attached.lease.taken, lost.lease.taken) == (True, False)
    await asyncio.sleep(0.5)
    assert await taken(limiter) == {"account": 1}
    limiter.release(attached.lease)
    assert await taken(limiter) == {}
    limiter.release(lost.lease)
    assert await taken(limiter) == {}
    await limiter.aclose()


async def test_the_end_of_a_task_frees_its_slot_for_all_that_follow_it(make_limiter: MakeLimiter) -> None:
    """Each handle of the task sees the end; the later ones free nothing that is a stranger's by then."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    first = await confirmed(limiter, Owner("first", grants), "task")
    others = [Owner(f"other{n}", grants, task_id="task") for n in range(3)]
    for owner in others:
        limiter.take(owner.lease)
    waiting = [Owner(f"waiting{n}", grants) for n in range(2)]
    for owner in waiting:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    assert grants == ["first"]
    limiter.release(others[1].lease)
    await settled(limiter)
    assert grants == ["first", "waiting0"]
    for owner in (first, *others):
        assert not owner.lease.taken
        limiter.release(owner.lease)
        limiter.release(owner.lease, after_s=60)
        limiter.confirm(owner.lease)
    await settled(limiter)
    assert grants == ["first", "waiting0"]
    assert await taken(limiter) == {"account": 1}
    await limiter.aclose()


async def test_the_last_owner_that_gives_up_decides_how_long_the_slot_is_held(
    make_limiter: MakeLimiter,
) -> None:
    """The slot stays with those that follow the task; without them, it is a matter of time."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    owners = [Owner(str(n), grants, task_id="task") for n in range(3)]
    for owner in owners:
        limiter.take(owner.lease)
    for owner in owners[:2]:
        limiter.release(owner.lease, after_s=0.2)
    waiting = Owner("waiting", grants)
    limiter.enqueue(waiting.lease)
    await settled(limiter)
    await asyncio.sleep(0.4)
    await settled(limiter)
    assert grants == []
    began = asyncio.get_running_loop().time()
    limiter.release(owners[2].lease, after_s=0.6)
    await settled(limiter)
    assert grants == []
    await wait_until(lambda: grants == ["waiting"])
    assert 0.55 < asyncio.get_running_loop().time() - began < 3
    await limiter.aclose()


async def test_a_task_counts_once_in_each_pool_that_any_of_its_leases_names(
    make_limiter: MakeLimiter,
) -> None:
    """`attach` without a model names the account only; the server counts the model's pool as well."""
    limiter = await make_limiter(limits(4, narrow=2, video=2))
    task = [
        Owner(str(n), [], *pools, task_id="task") for n, pools in enumerate([(), ("narrow",), ("video",)])
    ]
    limiter.take(task[0].lease)
    assert await taken(limiter) == {"account": 1}
    limiter.take(task[1].lease)
    assert await taken(limiter) == {"account": 1, "narrow": 1}
    limiter.release(task[1].lease, after_s=60)
    limiter.take(task[2].lease)
    assert await taken(limiter) == {"account": 1, "narrow": 1, "video": 1}
    limiter.release(task[0].lease)
    assert await taken(limiter) == {}
    await limiter.aclose()


async def test_a_task_that_was_attached_before_its_submit_was_answered_takes_one_slot(
    make_limiter: MakeLimiter,
) -> None:
    """A delivery may name the task first. The POST has a slot of its own, until its answer says which task it is."""
    limiter, grants = await make_limiter(limits(3, narrow=2)), list[str]()
    submitting = Owner("submitting", grants, "narrow")
    limiter.enqueue(submitting.lease)
    attached = Owner("attached", grants, task_id="task")
    limiter.take(attached.lease)
    assert await taken(limiter) == {"account": 2, "narrow": 1}
    waiting = [Owner(f"waiting{n}", grants) for n in range(2)]
    for owner in waiting:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    assert grants == ["submitting", "waiting0"]
    submitting.lease.task_id = "task"
    limiter.confirm(submitting.lease)
    await settled(limiter)
    assert grants == ["submitting", "waiting0", "waiting1"], "the slot that was counted twice is free"
    assert await taken(limiter) == {"account": 3, "narrow": 1}
    limiter.release(submitting.lease)
    assert await taken(limiter) == {"account": 2}
    assert not attached.lease.taken
    await limiter.aclose()


async def test_a_task_may_be_attached_again_after_its_end(make_limiter: MakeLimiter) -> None:
    """Until a poll shows the end again, it counts as any task that is attached."""
    limiter = await make_limiter(limits(2))
    for n in range(3):
        follower, other = (Owner(f"{name}{n}", [], task_id="task") for name in ("follower", "other"))
        limiter.take(follower.lease)
        limiter.take(other.lease)
        assert await taken(limiter) == {"account": 1}
        limiter.release(follower.lease)
        assert await taken(limiter) == {}
    await limiter.aclose()


async def test_leases_without_a_task_are_on_their_own(make_limiter: MakeLimiter) -> None:
    """A POST in flight, and a task whose id is not known."""
    limiter, grants = await make_limiter(limits(4)), list[str]()
    owners = [Owner(str(n), grants) for n in range(4)]
    for owner in owners[:2]:
        limiter.enqueue(owner.lease)
    for owner in owners[2:]:
        limiter.take(owner.lease)
    assert await taken(limiter) == {"account": 4}
    await confirmed_all(limiter, owners)
    assert await taken(limiter) == {"account": 4}
    for left, owner in zip((3, 2, 1), owners, strict=False):
        limiter.release(owner.lease)
        assert await taken(limiter) == {"account": left}
    await limiter.aclose()


async def confirmed_all(limiter: Limiter, owners: list[Owner]) -> None:
    for owner in owners:
        limiter.confirm(owner.lease)
    await settled(limiter)


@pytest.mark.looptime(start=0)
async def test_clients_that_follow_one_task_take_one_slot() -> None:
    """Invariant 1 through the client: timed out and attached again, and followed by another client as well."""
    limiter, api = LocalLimiter(Limits(account=2, unknown_s=30)), FakeAPI(limit=2, service_s=5.0)
    timeouts = Timeouts(task=1)

    def taken_of(bfl: AsyncBFL) -> tuple[int, int]:
        return bfl.statistics().slots_taken, api.active

    async with (
        AsyncBFL("key", transport=api, limiter=limiter, timeouts=timeouts) as one,
        AsyncBFL("key", transport=api, limiter=limiter) as two,
    ):
        handle = await one.submit("flux-dev", prompt="a cat")
        assert handle.task_id is not None
        attached = two.attach(handle.task_id, model="flux-dev")
        assert taken_of(two) == (1, 1)
        with pytest.raises(TaskTimeoutError):
            await handle
        again = one.attach(handle.task_id)
        assert taken_of(one) == (1, 1)
        with pytest.raises(TaskTimeoutError):
            await again
        assert taken_of(one) == (1, 1)
        await attached
        assert taken_of(one) == (0, 0)


async def test_full_queue_refuses_new_leases_only(make_limiter: MakeLimiter) -> None:
    """A lease that comes back after a 429 is never refused; one that is granted at once does not wait."""
    limiter, grants = await make_limiter(limits(2, queue=1)), list[str]()
    first, second, third = (Owner(str(n), grants) for n in range(3))
    for owner in (first, second, third):
        limiter.enqueue(owner.lease)
    with pytest.raises(QueueFullError):
        limiter.enqueue(Owner("one too many", grants).lease)
    unbounded = Lease(("account",), bounded=False)
    limiter.enqueue(unbounded)
    await settled(limiter)
    limiter.refuse(first.lease, retry_after_s=None)
    await settled(limiter)
    assert limiter.statistics()["account"].queued == 3
    await limiter.aclose()


async def test_refusal_lowers_the_narrowest_pool_to_what_is_held(make_limiter: MakeLimiter) -> None:
    """Invariant 6: in one step slots freed, place kept, working limit lowered."""
    limiter, grants = await make_limiter(limits(6, narrow=4)), list[str]()
    owners = [Owner(str(n), grants, "narrow") for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    later = Owner("later", grants, "narrow")
    limiter.enqueue(later.lease)
    await settled(limiter)
    limiter.refuse(owners[1].lease, retry_after_s=None)
    await settled(limiter)
    pools = limiter.statistics()
    assert (pools["narrow"].working, pools["narrow"].taken) == (3, 3)
    assert (pools["account"].working, pools["account"].taken) == (6, 3)
    assert limiter.position(owners[1].lease) == 0
    assert limiter.position(later.lease) == 1
    limiter.release(owners[0].lease)
    await settled(limiter)
    assert grants == ["0", "1", "2", "3", "1"]
    await limiter.aclose()


async def test_working_limit_rises_after_a_quiet_interval(make_limiter: MakeLimiter) -> None:
    """Invariant 6: +1 after 2 s without a refusal, and the refused one tries again."""
    limiter, grants = await make_limiter(limits(4)), list[str]()
    owners = [Owner(str(n), grants) for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    began = asyncio.get_running_loop().time()
    await settled(limiter)
    limiter.refuse(owners[3].lease, retry_after_s=None)
    await settled(limiter)
    assert limiter.statistics()["account"].working == 3
    await wait_until(lambda: len(grants) == 5)
    assert 1.9 < asyncio.get_running_loop().time() - began < 4
    assert grants[-1] == "3"
    assert limiter.statistics()["account"].working == 4
    await limiter.aclose()


SLOW_SHARED = [
    pytest.param("local", marks=pytest.mark.looptime(start=0)),
    pytest.param("file", marks=[pytest.mark.slow, pytest.mark.alone, pytest.mark.waits]),
    pytest.param("redis", marks=[pytest.mark.slow, pytest.mark.alone, pytest.mark.waits]),
]


@pytest.mark.parametrize("make_limiter", SLOW_SHARED, indirect=True)
async def test_quiet_interval_learns(make_limiter: MakeLimiter) -> None:
    """Invariant 6: it doubles with each refused raise, and falls back after a success."""
    limiter, grants = await make_limiter(limits(4)), list[str]()
    owners = [Owner(str(n), grants) for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)

    async def refused_for() -> float:
        began, before = asyncio.get_running_loop().time(), len(grants)
        limiter.refuse(owners[3].lease, retry_after_s=None)
        await wait_until(lambda: len(grants) > before)
        return asyncio.get_running_loop().time() - began

    assert 1.9 < await refused_for() < 3.5
    assert 3.9 < await refused_for() < 5.5
    limiter.confirm(owners[3].lease)
    assert 1.9 < await refused_for() < 3.5
    await limiter.aclose()


async def test_retry_after_pauses_the_refused_pool_only(make_limiter: MakeLimiter) -> None:
    """Invariant 6: `Retry-After` is honoured, and requests of other pools go on."""
    limiter, grants = await make_limiter(limits(4, narrow=2)), list[str]()
    first, second = (Owner(f"narrow{n}", grants, "narrow") for n in range(2))
    limiter.enqueue(first.lease)
    limiter.enqueue(second.lease)
    await settled(limiter)
    began = asyncio.get_running_loop().time()
    limiter.refuse(second.lease, retry_after_s=1.0)
    limiter.release(first.lease)
    wide = Owner("wide", grants)
    limiter.enqueue(wide.lease)
    await settled(limiter)
    assert grants == ["narrow0", "narrow1", "wide"]
    await wait_until(lambda: len(grants) == 4)
    assert grants[-1] == "narrow1"
    assert 0.95 < asyncio.get_running_loop().time() - began < 3
    await limiter.aclose()


@pytest.mark.parametrize("hint_s", [0.0, 0.3])
@pytest.mark.slow
async def test_a_short_retry_after_leaves_our_own_pause_as_it_is(
    make_limiter: MakeLimiter, hint_s: float
) -> None:
    """Invariant 6: the header is a lower bound. Where nothing is held, only time opens the pool: 2 s."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    only = Owner("only", grants)
    limiter.enqueue(only.lease)
    await settled(limiter)
    began = asyncio.get_running_loop().time()
    limiter.refuse(only.lease, retry_after_s=hint_s)
    await wait_until(lambda: len(grants) == 2)
    assert 1.9 < asyncio.get_running_loop().time() - began < 4
    await limiter.aclose()


async def test_a_later_shorter_hint_does_not_end_a_pause(make_limiter: MakeLimiter) -> None:
    """Of two refusals of one pool, the longer pause counts, whichever comes last."""
    limiter, grants = await make_limiter(limits(3)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    began = asyncio.get_running_loop().time()
    limiter.refuse(owners[0].lease, retry_after_s=1.0)
    limiter.refuse(owners[1].lease, retry_after_s=0.0)
    limiter.release(owners[2].lease)
    await settled(limiter)
    assert grants == ["0", "1", "2"]
    await wait_until(lambda: len(grants) > 3)
    assert 0.95 < asyncio.get_running_loop().time() - began < 3
    await limiter.aclose()


@pytest.mark.parametrize("make_limiter", SLOW_SHARED, indirect=True)
async def test_a_long_retry_after_does_not_restore_the_limit(make_limiter: MakeLimiter) -> None:
    """Invariant 6: a pause tries nothing, so the working limit rises by one in it, however long it is."""
    limiter, grants = await make_limiter(limits(6)), list[str]()
    owners = [Owner(str(n), grants) for n in range(6)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    del grants[:]
    for owner in owners[1:]:
        limiter.refuse(owner.lease, retry_after_s=None)
    limiter.refuse(owners[0].lease, retry_after_s=9.0)
    began = asyncio.get_running_loop().time()
    await wait_until(lambda: len(grants) >= 2, timeout=15)
    assert 8.9 < asyncio.get_running_loop().time() - began < 11
    assert (len(grants), limiter.statistics()["account"].working) == (2, 2)
    await limiter.aclose()


async def test_limit_changed_while_held(make_limiter: MakeLimiter) -> None:
    """A lower limit takes nothing back and holds grants back; a higher one grants at once."""
    limiter, grants = await make_limiter(limits(3)), list[str]()
    if not isinstance(limiter, LocalLimiter | SharedLimiter):
        pytest.skip("`resize` is not part of the protocol")
    owners = [Owner(str(n), grants) for n in range(6)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    await settled(limiter)
    limiter.resize(1)
    limiter.release(owners[0].lease)
    limiter.release(owners[1].lease)
    await settled(limiter)
    assert grants == ["0", "1", "2"]
    limiter.release(owners[2].lease)
    await settled(limiter)
    assert grants == ["0", "1", "2", "3"]
    limiter.resize(3)
    await settled(limiter)
    assert grants == ["0", "1", "2", "3", "4", "5"]
    await limiter.aclose()


async def test_lease_that_is_granted_and_withdrawn_in_one_turn_frees_its_slot(
    make_limiter: MakeLimiter,
) -> None:
    """Whether the grant or the withdrawal comes first, nobody keeps the slot."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    for turns in range(6):  # of the loop, between the two: the grant of a shared limiter takes some
        owner = Owner("brief", grants)
        limiter.enqueue(owner.lease)
        for _ in range(turns):
            await asyncio.sleep(0)
        limiter.withdraw(owner.lease)
        limiter.release(owner.lease)
    await settled(limiter)
    await settled(limiter)  # a grant that crossed the withdrawal is given back in the step after
    after = Owner("after", grants)
    limiter.enqueue(after.lease)
    await settled(limiter)
    assert grants[-1] == "after"
    assert limiter.statistics()["account"].taken == 1
    await limiter.aclose()


# --- closed before its client ---------------------------------------------------------------------------


async def closed_limiter(make_limiter: MakeLimiter) -> tuple[Limiter, Owner, Owner, Owner]:
    """A closed limiter of two slots, and what it had: two held leases, and one that waited."""
    limiter = await make_limiter(limits(2))
    one, two, waiting = (Owner(name, []) for name in ("one", "two", "waiting"))
    for owner in (one, two, waiting):
        limiter.enqueue(owner.lease)
    await settled(limiter)
    await limiter.aclose()
    return limiter, one, two, waiting


async def test_closing_fails_every_request_that_waits(make_limiter: MakeLimiter) -> None:
    """No request may wait for a grant that no longer comes; one owner that fails does not spare the next."""
    limiter, failed = await make_limiter(limits(1)), list[str]()
    limiter.enqueue(Lease(("account",)))

    def fail_in_turn(error: BFLError) -> None:
        failed.append("first")
        limiter.enqueue(Lease(("account",)))

    first = Lease(("account",), on_failed=fail_in_turn)
    second = Lease(("account",), on_failed=lambda error: failed.append(type(error).__name__))
    limiter.enqueue(first)
    limiter.enqueue(second)
    await settled(limiter)
    await limiter.aclose()
    assert failed == ["first", "LimiterError"]
    assert [limiter.position(lease) for lease in (first, second)] == [None, None]


async def test_a_closed_limiter_refuses_what_is_new_and_says_why(make_limiter: MakeLimiter) -> None:
    """It was open, so the message is not that it has to be opened."""
    limiter, *_ = await closed_limiter(make_limiter)
    for step in (limiter.enqueue, limiter.take):
        lease = Lease(("account",))
        with pytest.raises(LimiterError, match="was closed before its client"):
            step(lease)
        assert (lease.taken, lease.place) == (False, None)


async def test_the_end_of_a_request_may_come_after_the_limiter_was_closed(make_limiter: MakeLimiter) -> None:
    """Whatever a client says of leases that it has: nothing raises, so each of its requests is settled."""
    limiter, one, two, waiting = await closed_limiter(make_limiter)
    one.lease.task_id = "task"
    limiter.confirm(one.lease)
    limiter.release(one.lease, after_s=60)
    limiter.release(two.lease)
    limiter.release(two.lease)
    limiter.withdraw(waiting.lease)
    limiter.release(waiting.lease)
    assert [limiter.position(owner.lease) for owner in (one, two, waiting)] == [None] * 3
    assert limiter.statistics()["account"].limit == 2
    assert repr(limiter)
    await limiter.aclose()


async def test_a_request_that_is_refused_after_the_limiter_was_closed_fails(
    make_limiter: MakeLimiter,
) -> None:
    """A 429 sends it back to a queue that is gone. It fails in a later turn, not within the call."""
    limiter, one, two, _ = await closed_limiter(make_limiter)
    for owner, hint_s in ((one, None), (two, 30.0)):
        limiter.refuse(owner.lease, retry_after_s=hint_s)
        assert owner.failed is None
    await wait_until(lambda: one.has_failed() and two.has_failed())
    for owner in (one, two):
        assert isinstance(owner.failed, LimiterError)
        assert "closed" in str(owner.failed)
        assert (owner.lease.taken, owner.lease.place) == (False, None)


async def test_a_closed_limiter_can_be_opened_again(make_limiter: MakeLimiter) -> None:
    """It then grants as before; a slot that is held for a while is freed in its time, whichever comes first."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    lost = Owner("lost", grants)
    limiter.enqueue(lost.lease)
    await settled(limiter)
    limiter.release(lost.lease, after_s=0.5)
    await settled(limiter)
    await limiter.aclose()
    await limiter.open()
    after = Owner("after", grants)
    limiter.enqueue(after.lease)
    await settled(limiter)
    assert grants == ["lost"]
    await wait_until(lambda: grants == ["lost", "after"])
    await limiter.aclose()


async def test_what_a_429_taught_outlives_the_closing(make_limiter: MakeLimiter) -> None:
    """A pause goes on, and ends: the timers of a limiter that is opened again are set again."""
    limiter, grants = await make_limiter(limits(1)), list[str]()
    only = Owner("only", grants)
    limiter.enqueue(only.lease)
    await settled(limiter)
    began = asyncio.get_running_loop().time()
    limiter.refuse(only.lease, retry_after_s=None)
    await settled(limiter)
    await limiter.aclose()
    await limiter.open()
    after = Owner("after", grants)
    limiter.enqueue(after.lease)
    await wait_until(lambda: grants[1:] == ["after"])
    assert 1.9 < asyncio.get_running_loop().time() - began < 4
    await limiter.aclose()


@pytest.mark.looptime(start=0)
async def test_closing_a_local_limiter_stops_all_timers() -> None:
    """Invariant 9: afterwards nothing of ours is left in the loop."""
    limiter, grants = LocalLimiter(limits(2)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.release(owners[0].lease, after_s=5)
    limiter.refuse(owners[1].lease, retry_after_s=3)
    await limiter.aclose()
    limiter.release(owners[1].lease, after_s=5)
    await asyncio.sleep(100)
    assert grants == ["0", "1"]
    assert limiter.statistics()["account"].taken == 1, "time alone frees nothing in a closed limiter"


async def early_limiter(make_limiter: MakeLimiter, given: Limits) -> tuple[Limiter, EarlyGrants]:
    """A limiter that can grant early; others are skipped."""
    limiter = await make_limiter(given)
    if not isinstance(limiter, EarlyGrants):
        pytest.skip("this limiter grants nothing early")
    return limiter, limiter


async def test_early_grant_counts_as_a_slot_and_the_release_it_waited_for_grants_nothing(
    make_limiter: MakeLimiter,
) -> None:
    """Invariant 1: slots follow the server, and who left early has had the freed one."""
    limiter, early = await early_limiter(make_limiter, limits(2))
    grants = list[str]()
    owners = [Owner(str(n), grants) for n in range(5)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    early.grant_early({"account": 1})
    assert grants == ["0", "1", "2"]
    assert [owner.lease.early for owner in owners] == [False, False, True, False, False]
    assert limiter.statistics()["account"].taken == 3
    early.grant_early({"account": 1})
    assert grants == ["0", "1", "2"], "the one slot that is expected is promised already"
    limiter.confirm(owners[2].lease)
    assert not owners[2].lease.early
    limiter.release(owners[0].lease)
    assert grants == ["0", "1", "2"]
    limiter.release(owners[1].lease)
    assert grants == ["0", "1", "2", "3"]
    assert not owners[3].lease.early
    await limiter.aclose()


async def test_refused_early_grant_keeps_its_place_and_teaches_nothing(make_limiter: MakeLimiter) -> None:
    """The slot was not free yet: that says nothing of the account's limit."""
    limiter, early = await early_limiter(make_limiter, limits(2))
    grants = list[str]()
    owners = [Owner(str(n), grants) for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    early.grant_early({"account": 1})
    limiter.refuse(owners[2].lease, retry_after_s=30)
    account = limiter.statistics()["account"]
    assert (account.working, account.taken, account.queued) == (2, 2, 2)
    assert limiter.position(owners[2].lease) == 0
    limiter.release(owners[0].lease)
    assert grants == ["0", "1", "2", "2"], "with the freed slot, without a pause"
    assert not owners[2].lease.early
    limiter.refuse(owners[2].lease, retry_after_s=None)
    assert limiter.statistics()["account"].working == 1, "a refusal of any other grant teaches"
    await limiter.aclose()


async def test_refused_early_grant_goes_at_once_where_a_slot_was_freed_meanwhile(
    make_limiter: MakeLimiter,
) -> None:
    """A refusal that comes back after the slot is free."""
    limiter, early = await early_limiter(make_limiter, limits(1))
    grants = list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    early.grant_early({"account": 1})
    limiter.release(owners[0].lease)
    assert grants == ["0", "1"]
    limiter.refuse(owners[1].lease, retry_after_s=None)
    assert grants == ["0", "1", "1"]
    assert limiter.statistics()["account"].working == 1
    await limiter.aclose()


async def test_early_grant_needs_every_pool_to_be_free(make_limiter: MakeLimiter) -> None:
    """A request whose narrower pool will not be free is passed over and keeps its place."""
    limiter, early = await early_limiter(make_limiter, limits(3, narrow=1))
    grants = list[str]()
    holders = [Owner("holder", grants, "narrow"), *(Owner(f"h{n}", grants) for n in range(2))]
    narrow, wide = Owner("narrow", grants, "narrow"), Owner("wide", grants)
    for owner in (*holders, narrow, wide):
        limiter.enqueue(owner.lease)
    del grants[:]
    early.grant_early({"account": 1})
    assert grants == ["wide"]
    early.grant_early({"account": 2, "narrow": 1})
    assert grants == ["wide", "narrow"]
    await limiter.aclose()


async def test_no_early_grant_from_a_pool_whose_limit_was_lowered(make_limiter: MakeLimiter) -> None:
    """Invariant 6: others use the account, and who gets the freed slot is not certain."""
    limiter, early = await early_limiter(make_limiter, limits(3))
    grants = list[str]()
    owners = [Owner(str(n), grants) for n in range(5)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.refuse(owners[2].lease, retry_after_s=None)
    del grants[:]
    early.grant_early({"account": 3})
    assert grants == []
    await limiter.aclose()


def test_local_limiter_belongs_to_one_loop() -> None:
    """Two loops cannot share one; a loop that is gone leaves a clean one behind."""
    limiter = LocalLimiter(1)
    lease = Lease(("account",))

    async def use() -> int:
        limiter.enqueue(Lease(("account",)))
        return limiter.statistics()["account"].taken

    async def nest() -> None:
        limiter.enqueue(lease)
        with pytest.raises(ConfigError):
            await asyncio.to_thread(asyncio.run, use())

    asyncio.run(nest())
    assert asyncio.run(use()) == 1


def test_leases_of_a_loop_that_is_gone_count_for_nothing() -> None:
    """A limiter that is used again in a new loop knows nothing of them; whatever is said of them is ignored."""
    limiter = LocalLimiter(1)
    held, waiting = Lease(("account",)), Lease(("account",))

    async def use_and_leave() -> None:
        limiter.enqueue(held)
        limiter.enqueue(waiting)
        assert held.taken

    async def use_again() -> None:
        await limiter.open()
        say_all_of(limiter, held, waiting)
        assert limiter.statistics()["account"].taken == 0

    asyncio.run(use_and_leave())
    asyncio.run(use_again())
