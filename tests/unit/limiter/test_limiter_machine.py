"""The local limiter against a model so simple that it is plainly right, over random steps and hours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bfl_async import Limits
from bfl_async.limiter import LocalLimiter
from bfl_async.types import Lease
from tests.machines import looptime_runner

POOLS = {"narrow": 2, "video": 1}
# Each step takes a moment that divides no interval of the limiter: no two of its timers ever end together,
# so the model needs no rule for which of them comes first.
STEP_S = 0.0137
NONE_SOON: Mapping[str, int] = MappingProxyType({})
# No sum of these is a round number: what ends at the very moment at which a wait does may end before or after it.
WAITS = st.sampled_from([0.3137, 1.0391, 2.5731, 10.1773, 70.3319, 3_701.7713])


# Few ids, so that leases often meet in one task.
TASKS = st.sampled_from([None, "a", "b", "c"])


@dataclass(eq=False)
class Asked:
    """One lease, and what the model says of it. Its state is queued, held, or gone."""

    pools: tuple[str, ...]
    priority: int
    arrival: int
    state: str = "queued"
    early: bool = False  # held for a slot that is only expected
    # What it is held for: the key of a task or, before one is known, its own.
    key: str = ""
    grants: int = 0
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = Lease(("account", *self.pools), priority=self.priority, on_granted=self.granted)

    def granted(self) -> None:
        self.grants += 1


@dataclass
class ModelPool:
    """One pool by the words of invariant 6."""

    limit: int
    working: int
    quiet_s: float = 2.0
    probing: bool = False
    paused_until: float = 0.0
    raises_at: float | None = None


class LimiterMachine(RuleBasedStateMachine):
    """Steps on a limiter of 3 slots and two narrower pools; the model repeats each by brute force."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = looptime_runner()
        self.limiter = LocalLimiter(Limits(account=3, pools=POOLS))
        self.pools = {name: ModelPool(limit, limit) for name, limit in {"account": 3, **POOLS}.items()}
        self.all: list[Asked] = []
        # By key: the pools in which it counts, and when it is freed if no lease follows it.
        self.counted: dict[str, set[str]] = {}
        self.frees_at: dict[str, float] = {}
        self.expected: dict[Asked, int] = {}

    def teardown(self) -> None:
        self.do("aclose")
        self.runner.close()

    def do(self, method: str, *args: object, **kwargs: object) -> None:
        """Call a method of the limiter within its loop; no time passes there."""

        async def call() -> None:
            result = getattr(self.limiter, method)(*args, **kwargs)
            if method == "aclose":
                await result

        self.runner.run(call())

    @property
    def now(self) -> float:
        return self.runner.get_loop().time()

    # --- the model --------------------------------------------------------------------------------------

    def mine(self, asked: Asked) -> tuple[str, ...]:
        return ("account", *asked.pools)

    def taken(self, pool: str) -> int:
        return sum(pool in pools for pools in self.counted.values())

    def holders(self, key: str) -> list[Asked]:
        return [each for each in self.all if each.state == "held" and each.key == key]

    def model_holds(self, asked: Asked, key: str, pools: Iterable[str]) -> None:
        """Let a lease count for a key; it takes over from one that is held by time alone."""
        if self.frees_at.pop(key, None) is not None:
            for former in self.holders(key):
                former.state = "gone"
        asked.state, asked.key = "held", key
        self.counted.setdefault(key, set()).update(pools)

    def model_frees(self, key: str) -> None:
        for each in self.holders(key):
            each.state = "gone"
        del self.counted[key]
        self.frees_at.pop(key, None)

    def has_room(self, name: str, now: float, soon: Mapping[str, int] = NONE_SOON) -> bool:
        pool = self.pools[name]
        # What 429s have taught is no ground for expectations.
        expected = soon.get(name, 0) if pool.working == pool.limit else 0
        return self.taken(name) < pool.working + expected and now >= pool.paused_until

    def model_assigns(self, now: float, soon: Mapping[str, int] = NONE_SOON) -> None:
        """Grant, one by one, the best queued lease whose pools all have room; slots that are free soon count."""
        while True:
            fitting = [
                each
                for each in self.all
                if each.state == "queued" and all(self.has_room(pool, now, soon) for pool in self.mine(each))
            ]
            if not fitting:
                return
            best = min(fitting, key=lambda each: (each.priority, each.arrival))
            self.model_holds(best, f"request {best.arrival}", self.mine(best))
            best.early = any(self.taken(pool) > self.pools[pool].working for pool in self.mine(best))
            self.expected[best] = self.expected.get(best, 0) + 1

    def model_passes(self, until: float) -> None:
        """Let the model's timers end, one by one."""
        while True:
            ends = [*self.frees_at.values()]
            ends += [pool.raises_at for pool in self.pools.values() if pool.raises_at is not None]
            ends += [pool.paused_until for pool in self.pools.values() if pool.paused_until > 0]
            now = min(ends, default=until)
            if now >= until:
                return
            for key in [key for key, at in self.frees_at.items() if at == now]:
                self.model_frees(key)
            for pool in self.pools.values():
                if pool.paused_until == now:
                    pool.paused_until = 0.0
                if pool.raises_at == now:
                    pool.working, pool.probing = pool.working + 1, True
                    pool.raises_at = now + pool.quiet_s if pool.working < pool.limit else None
            self.model_assigns(now)

    # --- the steps --------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))
        self.model_passes(self.now)

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(
        target=leases,
        pools=st.sampled_from([(), ("narrow",), ("video",), ("narrow", "video")]),
        priority=st.integers(0, 2),
    )
    def enqueue(self, pools: tuple[str, ...], priority: int) -> Asked:
        self.pass_time(STEP_S)
        asked = Asked(pools, priority, len(self.all))
        self.all.append(asked)
        self.model_assigns(self.now)
        self.do("enqueue", asked.lease)
        return asked

    @rule(target=leases, pools=st.sampled_from([(), ("narrow",), ("video",)]), task_id=TASKS)
    def take(self, pools: tuple[str, ...], task_id: str | None) -> Asked:
        asked = Asked(pools, 0, len(self.all))
        asked.lease.task_id = task_id
        self.all.append(asked)
        self.model_holds(asked, task_id or f"attached {asked.arrival}", self.mine(asked))
        self.do("take", asked.lease)
        return asked

    @rule(asked=consumes(leases))
    def withdraw(self, asked: Asked) -> None:
        self.do("withdraw", asked.lease)
        if asked.state == "queued":
            asked.state = "gone"

    @rule(asked=leases)
    def release(self, asked: Asked) -> None:
        """Free the slot of its task now, also one that is held for a while, for all leases that share it."""
        self.pass_time(STEP_S)
        if asked.state == "held":
            self.model_frees(asked.key)
        self.model_assigns(self.now)
        self.do("release", asked.lease)

    @rule(asked=leases, after_s=st.sampled_from([0.5, 8.0, 600.0]))
    def lose(self, asked: Asked, after_s: float) -> None:
        """Follow a task no more: its slot is held for a while, or by the leases that still follow it.

        The first word about the time counts.
        """
        self.pass_time(STEP_S)
        after_s += 0.0011
        if asked.state == "held" and asked.key not in self.frees_at:
            if len(self.holders(asked.key)) > 1:
                asked.state = "gone"
            else:
                self.frees_at[asked.key] = self.now + after_s
        self.do("release", asked.lease, after_s=after_s)

    @rule(account=st.integers(0, 3), narrow=st.integers(0, 2))
    def grant_early(self, account: int, narrow: int) -> None:
        soon = {"account": account, "narrow": narrow}
        if account or narrow:
            self.model_assigns(self.now, soon)
        self.do("grant_early", soon)

    @rule(asked=leases, task_id=TASKS)
    def confirm(self, asked: Asked, task_id: str | None) -> None:
        """Accept a request as a task: one that is new, or one that other leases follow already."""
        if asked.lease.task_id is not None:
            task_id = asked.lease.task_id
        asked.early = False
        if asked.state == "held":
            asked.lease.task_id = task_id
            for name in self.counted[asked.key]:
                pool = self.pools[name]
                if pool.probing and self.taken(name) >= pool.working:
                    pool.probing, pool.quiet_s = False, 2.0
            if task_id is not None and task_id != asked.key:
                self.model_accepts(asked, task_id)
        self.do("confirm", asked.lease)

    def model_accepts(self, asked: Asked, task_id: str) -> None:
        pools = self.counted.pop(asked.key)
        held_until = self.frees_at.pop(asked.key, None)
        is_known = task_id in self.counted
        self.model_holds(asked, task_id, pools)
        if is_known:
            self.model_assigns(self.now)
        elif held_until is not None:
            self.frees_at[task_id] = held_until

    @rule(asked=leases, retry_after_s=st.sampled_from([None, None, 0.0, 5.0, 90.0]))
    def refuse(self, asked: Asked, retry_after_s: float | None) -> None:
        if asked.key != f"request {asked.arrival}" or asked.state != "held" or asked.key in self.frees_at:
            # What was accepted, attached or lost is never submitted again, so never refused.
            return
        self.pass_time(STEP_S)
        now = self.now
        if asked.early:
            # It says that the expectation was wrong, and nothing about the limit.
            self.model_frees(asked.key)
            asked.state, asked.early = "queued", False
            self.model_assigns(now)
            self.do("refuse", asked.lease, retry_after_s=retry_after_s)
            return
        name = min(self.mine(asked), key=lambda each: self.pools[each].limit)
        pool = self.pools[name]
        self.model_frees(asked.key)
        asked.state = "queued"
        left = self.taken(name)
        pool.working = max(1, min(pool.working, left))
        if retry_after_s is not None:
            retry_after_s += 0.0029
        own_s = pool.quiet_s if left == 0 else 0.0
        if left == 0 or retry_after_s is not None:
            pool.paused_until = max(pool.paused_until, now + max(own_s, retry_after_s or 0.0, 0.05))
        if pool.probing or left == 0:
            pool.quiet_s = min(60.0, 2 * pool.quiet_s)
        pool.probing = False
        raises_at = max(now + pool.quiet_s, pool.paused_until)
        pool.raises_at = raises_at if pool.working < pool.limit else None
        self.model_assigns(now)
        self.do("refuse", asked.lease, retry_after_s=retry_after_s)

    @rule(account=st.integers(1, 5), narrow=st.integers(1, 3))
    def resize(self, account: int, narrow: int) -> None:
        self.pass_time(STEP_S)
        for name, limit in (("account", account), ("narrow", narrow)):
            pool = self.pools[name]
            if pool.limit != limit:
                self.pools[name] = ModelPool(limit, limit)
        self.model_assigns(self.now)
        self.do("resize", Limits(account=account, pools={**POOLS, "narrow": narrow}))

    # --- what must hold after each ------------------------------------------------------------------------

    @invariant()
    def limiter_agrees_with_the_model(self) -> None:
        """Who holds, who waits, in what order, and what each pool counts."""
        statistics = self.limiter.statistics()
        for name, pool in self.pools.items():
            queued = sum(each.state == "queued" for each in self.all if name in self.mine(each))
            seen = statistics[name]
            assert (seen.limit, seen.working, seen.taken, seen.queued) == (
                pool.limit, pool.working, self.taken(name), queued
            )  # fmt: skip
        for each in self.all:
            assert each.lease.taken == (each.state == "held")
            assert each.lease.early == (each.early and each.state == "held")
            assert each.grants == self.expected.get(each, 0)
        waiting = sorted(
            (each for each in self.all if each.state == "queued"), key=lambda e: (e.priority, e.arrival)
        )
        assert [self.limiter.position(each.lease) for each in waiting] == list(range(len(waiting)))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Where requests wait, something is there that will let one of them go."""
        for each in self.all:
            if each.state == "queued":
                full = [pool for pool in self.mine(each) if not self.has_room(pool, self.now)]
                assert full
                for pool in full:
                    assert self.taken(pool) > 0 or self.pools[pool].paused_until > self.now


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        LimiterMachine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


@pytest.mark.timeout(600)  # for shrinking a failure
def test_limiter_agrees_with_its_model() -> None:
    """Invariant 6, the order of the queue, and slots that are held for a while."""
    run(200, 40)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_limiter_agrees_with_its_model_for_long() -> None:
    """The same, over more and longer lives."""
    run(900, 80)
