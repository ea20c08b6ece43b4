"""One suite for every limiter: grants, order, release, refusal. New limiters join `LIMITERS`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bfl_async import ConfigError, Limits, QueueFullError
from bfl_async.limiter import LocalLimiter
from bfl_async.types import Lease, Limiter

pytestmark = pytest.mark.looptime(start=0)

MakeLimiter = Callable[[Limits], Limiter]
LIMITERS: dict[str, MakeLimiter] = {"local": LocalLimiter}


@pytest.fixture(params=LIMITERS)
def make_limiter(request: pytest.FixtureRequest) -> MakeLimiter:
    return LIMITERS[request.param]


class Owner:
    """Asks for a lease and notes its grants."""

    def __init__(self, name: str, grants: list[str], *pools: str, priority: int = 0) -> None:
        self.lease = Lease(("account", *pools), priority=priority, on_granted=lambda: grants.append(name))


def limits(account: int, queue: int | None = None, **pools: int) -> Limits:
    return Limits(account=account, pools=pools, queue=queue)


async def test_grants_up_to_the_limit_and_then_in_order_of_arrival(make_limiter: MakeLimiter) -> None:
    """First come, first served, one grant for each release."""
    limiter, grants = make_limiter(limits(2)), list[str]()
    owners = [Owner(str(n), grants) for n in range(5)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    assert grants == ["0", "1"]
    assert [limiter.position(owner.lease) for owner in owners] == [None, None, 0, 1, 2]
    limiter.release(owners[1].lease)
    limiter.release(owners[0].lease)
    assert grants == ["0", "1", "2", "3"]
    account = limiter.statistics()["account"]
    assert (account.taken, account.queued, account.limit) == (2, 1, 2)
    await limiter.aclose()


async def test_lower_priority_number_goes_first(make_limiter: MakeLimiter) -> None:
    """Priorities are strict."""
    limiter, grants = make_limiter(limits(1)), list[str]()
    holder = Owner("holder", grants)
    limiter.enqueue(holder.lease)
    owners = [Owner(f"p{p}", grants, priority=p) for p in (5, 0, -1)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    for owner in (holder, owners[2], owners[1], owners[0]):
        limiter.release(owner.lease)
    assert grants == ["holder", "p-1", "p0", "p5"]
    await limiter.aclose()


async def test_all_pools_are_taken_in_one_step_or_none(make_limiter: MakeLimiter) -> None:
    """A request whose narrower pool is full is passed over, takes nothing, and keeps its place."""
    limiter, grants = make_limiter(limits(3, narrow=1)), list[str]()
    first, second, third = (Owner(f"narrow{n}", grants, "narrow") for n in range(3))
    wide = Owner("wide", grants)
    for owner in (first, second, wide, third):
        limiter.enqueue(owner.lease)
    assert grants == ["narrow0", "wide"]
    assert limiter.statistics()["account"].taken == 2
    limiter.release(first.lease)
    assert grants == ["narrow0", "wide", "narrow1"]
    limiter.release(second.lease)
    assert grants[-1] == "narrow2"
    await limiter.aclose()


async def test_pool_without_a_limit_is_no_limit(make_limiter: MakeLimiter) -> None:
    """A model's pool that `Limits` does not name counts nothing."""
    limiter, grants = make_limiter(limits(2)), list[str]()
    for n in range(2):
        limiter.enqueue(Owner(str(n), grants, "unnamed").lease)
    assert len(grants) == 2
    await limiter.aclose()


async def test_second_release_changes_nothing(make_limiter: MakeLimiter) -> None:
    """A slot is given back once."""
    limiter, grants = make_limiter(limits(1)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.release(owners[0].lease)
    limiter.release(owners[0].lease)
    limiter.release(owners[2].lease)
    assert grants == ["0", "1"]
    assert limiter.statistics()["account"].taken == 1
    await limiter.aclose()


async def test_withdrawn_lease_is_never_granted(make_limiter: MakeLimiter) -> None:
    """Also in the step of the release that would have granted it, and also twice."""
    limiter, grants = make_limiter(limits(1)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.withdraw(owners[1].lease)
    limiter.withdraw(owners[1].lease)
    limiter.release(owners[0].lease)
    assert grants == ["0", "2"]
    assert limiter.statistics()["account"].queued == 0
    await limiter.aclose()


async def test_many_withdrawals_leave_nothing_behind(make_limiter: MakeLimiter) -> None:
    """Callers that come and go while nothing is released do not pile up, and the order stays."""
    limiter, grants = make_limiter(limits(1)), list[str]()
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
        limiter.release(owner.lease)
    assert grants == ["holder", "kept0", "kept1", "kept2"]
    await limiter.aclose()


async def test_delayed_release_holds_the_slot_for_its_time(make_limiter: MakeLimiter) -> None:
    """Invariant 2: the slot of a task that can no longer be followed."""
    limiter, grants = make_limiter(limits(1)), list[str]()
    lost, waiting = Owner("lost", grants), Owner("waiting", grants)
    limiter.enqueue(lost.lease)
    limiter.enqueue(waiting.lease)
    limiter.release(lost.lease, after_s=30)
    await asyncio.sleep(29.9)
    assert grants == ["lost"]
    await asyncio.sleep(0.2)
    assert grants == ["lost", "waiting"]
    await limiter.aclose()


async def test_taking_passes_the_limit_and_holds_back_grants(make_limiter: MakeLimiter) -> None:
    """Attached tasks run already: they are counted, whatever the limit says."""
    limiter, grants = make_limiter(limits(1)), list[str]()
    attached = [Owner(str(n), grants) for n in range(3)]
    for owner in attached:
        limiter.take(owner.lease)
    waiting = Owner("waiting", grants)
    limiter.enqueue(waiting.lease)
    assert limiter.statistics()["account"].taken == 3
    for owner in attached:
        assert grants == []
        limiter.release(owner.lease)
    assert grants == ["waiting"]
    await limiter.aclose()


async def test_full_queue_refuses_new_leases_only(make_limiter: MakeLimiter) -> None:
    """A lease that comes back after a 429 is never refused; one that is granted at once does not wait."""
    limiter, grants = make_limiter(limits(2, queue=1)), list[str]()
    first, second, third = (Owner(str(n), grants) for n in range(3))
    for owner in (first, second, third):
        limiter.enqueue(owner.lease)
    with pytest.raises(QueueFullError):
        limiter.enqueue(Owner("one too many", grants).lease)
    unbounded = Lease(("account",), bounded=False)
    limiter.enqueue(unbounded)
    limiter.refuse(first.lease, retry_after_s=None)
    assert limiter.statistics()["account"].queued == 3
    await limiter.aclose()


async def test_refusal_lowers_the_narrowest_pool_to_what_is_held(make_limiter: MakeLimiter) -> None:
    """Invariant 6: in one step slots freed, place kept, working limit lowered."""
    limiter, grants = make_limiter(limits(6, narrow=4)), list[str]()
    owners = [Owner(str(n), grants, "narrow") for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    later = Owner("later", grants, "narrow")
    limiter.enqueue(later.lease)
    limiter.refuse(owners[1].lease, retry_after_s=None)
    pools = limiter.statistics()
    assert (pools["narrow"].working, pools["narrow"].taken) == (3, 3)
    assert (pools["account"].working, pools["account"].taken) == (6, 3)
    assert limiter.position(owners[1].lease) == 0
    assert limiter.position(later.lease) == 1
    limiter.release(owners[0].lease)
    assert grants == ["0", "1", "2", "3", "1"]
    await limiter.aclose()


async def test_working_limit_rises_by_a_timer_and_its_interval_learns(make_limiter: MakeLimiter) -> None:
    """Invariant 6: +1 after 2 s; the interval doubles with each refused raise, and falls back after a success."""
    limiter, grants = make_limiter(limits(4)), list[str]()
    owners = [Owner(str(n), grants) for n in range(4)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.refuse(owners[3].lease, retry_after_s=None)

    def working() -> int:
        return limiter.statistics()["account"].working

    assert working() == 3
    await asyncio.sleep(1.9)
    assert working() == 3
    await asyncio.sleep(0.2)
    assert working() == 4
    assert grants[-1] == "3", "the raise lets the refused one try again"
    limiter.refuse(owners[3].lease, retry_after_s=None)
    await asyncio.sleep(3.9)
    assert working() == 3
    await asyncio.sleep(0.2)
    assert working() == 4
    limiter.confirm(owners[3].lease)
    limiter.refuse(owners[3].lease, retry_after_s=None)
    await asyncio.sleep(2.1)
    assert working() == 4
    await limiter.aclose()


async def test_retry_after_pauses_the_refused_pool_only(make_limiter: MakeLimiter) -> None:
    """Invariant 6: `Retry-After` is honoured, and requests of other pools go on."""
    limiter, grants = make_limiter(limits(4, narrow=2)), list[str]()
    first, second = (Owner(f"narrow{n}", grants, "narrow") for n in range(2))
    limiter.enqueue(first.lease)
    limiter.enqueue(second.lease)
    limiter.refuse(second.lease, retry_after_s=20)
    limiter.release(first.lease)
    wide = Owner("wide", grants)
    limiter.enqueue(wide.lease)
    assert grants == ["narrow0", "narrow1", "wide"]
    await asyncio.sleep(19.9)
    assert len(grants) == 3
    await asyncio.sleep(0.2)
    assert grants[-1] == "narrow1"
    await limiter.aclose()


async def test_closing_stops_all_timers(make_limiter: MakeLimiter) -> None:
    """Invariant 9: afterwards nothing of ours is left in the loop."""
    limiter, grants = make_limiter(limits(2)), list[str]()
    owners = [Owner(str(n), grants) for n in range(3)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.release(owners[0].lease, after_s=5)
    limiter.refuse(owners[1].lease, retry_after_s=3)
    await limiter.aclose()
    await asyncio.sleep(100)
    assert grants == ["0", "1"]


async def test_limit_changed_while_held() -> None:
    """A lower limit takes nothing back and holds grants back; a higher one grants at once."""
    limiter, grants = LocalLimiter(limits(3)), list[str]()
    owners = [Owner(str(n), grants) for n in range(6)]
    for owner in owners:
        limiter.enqueue(owner.lease)
    limiter.resize(1)
    limiter.release(owners[0].lease)
    limiter.release(owners[1].lease)
    assert grants == ["0", "1", "2"]
    limiter.release(owners[2].lease)
    assert grants == ["0", "1", "2", "3"]
    limiter.resize(3)
    assert grants == ["0", "1", "2", "3", "4", "5"]
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
