"""The rule that finds out a limit: what holds in each of its states, and what the search costs in simulated time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.discover import SERVICES, Simulation, falling, searching
from bfl_async import ConfigError, Limits
from bfl_async.limiter import LocalLimiter
from bfl_async.limiter.learning import PoolRule
from bfl_async.limiter.search import Found
from bfl_async.types import Lease

SEEDS = 8


def runs(limit: int, service: str) -> list[tuple[float, int, float]]:
    """Return throughput against the true limit given, refusals, and when the limit was found, for each seed."""
    found = []
    for seed in range(SEEDS):
        given_run = Simulation(PoolRule(limit, limit), lambda _: limit, SERVICES[service], seed).simulate()
        run = Simulation(searching(), lambda _: limit, SERVICES[service], seed).simulate()
        found.append((run.ended / given_run.ended, len(run.refused), run.reached(limit)))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_limit_of_24_is_found_within_a_minute(service: str) -> None:
    """With at most 3 refusals in 10 minutes, and 0.95 of the throughput of a limit that is given."""
    for share, refused, reached in runs(24, service):
        assert share >= 0.95
        assert refused <= 3
        assert reached <= 60


@pytest.mark.slow
def test_brief_tasks_rarely_cost_more_than_three_refusals() -> None:
    """With tasks as short as what travels, a limit that is too high by a few is hardly ever refused at once."""
    counts = [
        len(Simulation(searching(), lambda _: 24, SERVICES["klein"], seed).simulate().refused)
        for seed in range(500, 540)
    ]
    assert sum(count <= 3 for count in counts) >= 38
    assert max(counts) <= 4


@pytest.mark.parametrize("service", SERVICES)
def test_a_search_costs_an_account_of_12_next_to_nothing(service: str) -> None:
    for share, refused, _ in runs(12, service):
        assert share >= 0.99
        assert refused <= 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_limit_that_falls_and_rises_is_followed(service: str) -> None:
    """Down at once, and up again within the quiet intervals of the rule for 429s."""
    run = Simulation(searching(), falling, SERVICES[service], 1).simulate()
    assert max(run.limits[:170]) >= 24
    # Slots of tasks that still run are no proof of a limit.
    assert run.limits[350] <= 10
    assert run.limits[-1] >= 23


@pytest.mark.parametrize("submit_s", [0.0, 0.02, 0.1])
def test_where_nothing_travels_the_limit_is_found_exactly(submit_s: float) -> None:
    run = Simulation(
        searching(), lambda _: 20, (2.0, 0.3), 3, submit_s=submit_s, lag_s=submit_s / 4
    ).simulate()
    assert run.limits[-1] in (19, 20)
    assert len(run.refused) <= 2


def full(rule: PoolRule, now: float) -> None:
    """Grant and accept until there is no room."""
    while rule.has_room(now, alone=True):
        rule.taken += 1
        rule.granted()
        rule.confirmed()
        rule.accepted(now)


def test_no_try_is_made_while_there_is_room_or_for_a_request_that_is_in_two_pools() -> None:
    rule = searching()
    rule.taken = 11
    assert rule.has_room(0.0)
    rule.taken = 12
    assert not rule.has_room(0.0)
    assert rule.has_room(0.0, alone=True)


def test_a_limit_that_is_given_is_never_passed() -> None:
    rule = PoolRule(12, 12)
    full(rule, 0.0)
    assert rule.taken == 12


def test_a_try_that_is_not_full_any_more_proves_nothing() -> None:
    rule = searching()
    full(rule, 1.0)
    rule.taken = 5
    rule.look(10.0)
    assert rule.limit == 12
    assert not rule.is_trying


def test_a_refused_try_lowers_nothing_and_the_wait_for_the_next_one_doubles() -> None:
    rule = searching()
    waits = []
    now = 1.0
    for _ in range(4):
        full(rule, now)
        assert rule.taken == 13
        rule.taken -= 1
        assert rule.refused(now, None) is None
        assert (rule.limit, rule.working) == (12, 12)
        assert rule.has_room(now) is False
        assert rule.search is not None
        waits.append(rule.search.try_at - now)
        assert not rule.has_room(rule.search.try_at - 1, alone=True)
        now = rule.search.try_at
    assert waits == [600.0, 1200.0, 2400.0, 3600.0]


def test_brief_tasks_that_refuse_a_try_take_the_last_step_back() -> None:
    """And one more for a 429 of a submit that was under way, but never below the limit that was known."""
    rule = searching()
    full(rule, 1.0)
    for number in range(100):
        rule.accepted(1.0 + number / 50)
    rule.look(3.0)
    assert rule.limit == 13
    full(rule, 3.0)
    rule.taken -= 1
    rule.refused(3.2, None)
    assert rule.limit == 12
    rule.taken -= 1
    rule.refused(3.3, None)
    assert (rule.limit, rule.working) == (12, 12)


def test_many_429s_at_once_lower_the_limit_by_two_at_most() -> None:
    """They show that the server's limit fell. What was known is kept for its return; the working limit learns."""
    rule, now = searching(), 1.0
    for _ in range(12):
        full(rule, now)
        for number in range(300):
            rule.accepted(now + number / 60)
        now += 10
        rule.look(now)
    found = rule.limit
    assert found == 24
    rule.taken = found
    rule.confirmed()
    rule.accepted(now)
    for number in range(18):
        rule.taken -= 1
        rule.refused(now + number / 100, None)
    assert rule.limit >= found - 2
    assert rule.working == 6


def test_the_servers_hint_lengthens_the_wait_and_pauses_nothing() -> None:
    rule = searching()
    full(rule, 1.0)
    rule.taken -= 1
    rule.refused(1.0, 1e9)
    assert rule.search is not None
    assert rule.search.try_at == 3601.0
    rule.taken -= 1
    assert rule.has_room(1.0)


def test_a_limit_that_fell_and_came_back_is_tried_again_at_once() -> None:
    """It may be another one now. A few 429s that lower the working limit by less do not count."""
    for left, tries in ((6, True), (20, False)):
        rule = searching()
        rule.resume(Found(24, 1200.0, 500.0), 0.0)
        full(rule, 1.0)
        while rule.taken > left:
            rule.taken -= 1
            rule.refused(1.0, None)
        assert rule.working == left
        while rule.working < rule.limit:
            rule.raise_limit()
        full(rule, 100.0)
        assert (rule.taken > rule.limit) is tries


def test_what_an_earlier_run_has_found_is_taken_before_anything_was_found() -> None:
    """And not afterwards: this one is newer."""
    rule = searching()
    assert rule.found(0.0, 12) is None
    rule.resume(Found(20, 1200.0, 300.0), 100.0)
    assert (rule.limit, rule.working) == (20, 20)
    rule.resume(Found(17, 600.0, 0.0), 100.0)
    assert rule.found(150.0, 12) == Found(20, 1200.0, 250.0)
    full(rule, 399.0)
    assert rule.taken == 20
    full(rule, 400.0)
    assert rule.taken == 21


def test_a_given_limit_takes_nothing_from_an_earlier_search() -> None:
    rule = PoolRule(9, 9)
    rule.resume(Found(20, 1200.0, 0.0), 0.0)
    assert (rule.limit, rule.found(0.0, 12)) == (9, None)


STEPS = st.lists(st.tuples(st.sampled_from("gggaarrfl"), st.floats(0.0, 400.0)), max_size=200)


@given(STEPS)
def test_the_numbers_of_a_rule_that_searches_stay_in_their_ranges(steps: list[tuple[str, float]]) -> None:
    """Whatever is granted, accepted, refused, freed and looked at, in any order."""
    rule, now, refused = searching(), 0.0, 0
    for kind, seconds in steps:
        now += seconds
        before = rule.limit
        if kind == "g" and rule.has_room(now, alone=True):
            rule.taken += 1
            rule.granted()
        elif kind == "a" and rule.taken:
            rule.confirmed()
            rule.accepted(now)
        elif kind == "r" and rule.taken:
            rule.taken -= 1
            refused += 1
            rule.refused(now, None)
            assert rule.limit <= before
        elif kind == "f" and rule.taken:
            rule.taken -= 1
        elif kind == "l":
            rule.look(now)
            assert rule.limit <= before + 1
        assert 1 <= rule.working <= rule.limit
        assert rule.taken <= rule.limit + 1 + refused
        assert rule.search is not None
        assert rule.search.try_at <= now + 3600


def test_other_words_for_a_limit_are_refused() -> None:
    with pytest.raises(ConfigError, match="discover"):
        Limits(account="all")  # type: ignore[arg-type]  # what a user may write


@pytest.mark.looptime(start=0)
async def test_a_local_limiter_finds_the_limit_in_time() -> None:
    """Tasks that never end are the hardest case: each step is proven by a timer alone."""
    limiter = LocalLimiter(Limits(account="discover"))
    await limiter.open()
    leases = [Lease(("account",)) for _ in range(40)]
    loop, active, refused = asyncio.get_running_loop(), 0, 0

    def answer(lease: Lease) -> None:
        nonlocal active, refused
        if active >= 24:
            refused += 1
            limiter.refuse(lease, retry_after_s=None)
        else:
            active += 1
            lease.task_id = f"task {active}"
            limiter.confirm(lease)

    def send(lease: Lease) -> None:
        loop.call_later(0.5, answer, lease)

    for lease in leases:
        lease.on_granted = partial(send, lease)
        limiter.enqueue(lease)
    await asyncio.sleep(60)
    assert (active, refused) == (24, 1)
    assert limiter.statistics()["account"].limit == 24
    await asyncio.sleep(539)
    assert refused == 1
    await limiter.aclose()


class Account:
    """A server behind a `LocalLimiter` with a full queue: a submit takes 0.5 s, and an end is seen after 0.15 s."""

    def __init__(self, limiter: LocalLimiter, limit: int, service: tuple[float, float], seed: int) -> None:
        self.limiter, self.limit, self.service = limiter, limit, service
        self.active = self.ended = self.refused = 0
        self._services, self._trips = random.Random(seed), random.Random(seed + 1)
        self._loop = asyncio.get_running_loop()

    def add(self) -> None:
        """Let one more request wait."""
        lease = Lease(("account",))
        lease.on_granted = lambda: self._after(self._trip_s(), self._arrive, lease)
        self.limiter.enqueue(lease)

    def _after(self, seconds: float, step: Callable[[Lease], None], lease: Lease) -> None:
        self._loop.call_later(seconds, step, lease)

    def _trip_s(self) -> float:
        return 0.25 * self._trips.uniform(0.8, 1.2)

    def _arrive(self, lease: Lease) -> None:
        back_s = self._trip_s()
        if self.active >= self.limit:
            self._after(back_s, self._refuse, lease)
            return
        self.active += 1
        service_s = self._services.lognormvariate(math.log(self.service[0]), self.service[1])
        self._after(back_s, self.limiter.confirm, lease)
        self._after(service_s, self._end, lease)
        self._after(max(back_s, service_s) + 0.15, self._see_end, lease)

    def _end(self, lease: Lease) -> None:
        self.active -= 1

    def _see_end(self, lease: Lease) -> None:
        self.ended += 1
        self.add()
        self.limiter.release(lease)

    def _refuse(self, lease: Lease) -> None:
        self.refused += 1
        self.limiter.refuse(lease, retry_after_s=None)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.looptime(start=0)
@pytest.mark.parametrize("service", ["klein", "flux1", "kontext"])
@pytest.mark.parametrize(("limit", "least", "most"), [(12, 0.99, 1), (24, 0.95, 3)])
async def test_ten_minutes_of_a_local_limiter_that_searches(
    limit: int, least: float, most: int, service: str
) -> None:
    """With its timers and its queue, beside one that was given the limit."""
    accounts = [
        Account(LocalLimiter(limits), limit, SERVICES[service], seed=1)
        for limits in (Limits(account=limit), Limits(account="discover"))
    ]
    for account in accounts:
        await account.limiter.open()
        for _ in range(40):
            account.add()
    await asyncio.sleep(60)
    assert accounts[1].limiter.statistics()["account"].limit >= limit
    await asyncio.sleep(540)
    given_limit, found = accounts
    assert found.ended >= least * given_limit.ended
    assert given_limit.refused == 0
    assert found.refused <= most
    for account in accounts:
        await account.limiter.aclose()
