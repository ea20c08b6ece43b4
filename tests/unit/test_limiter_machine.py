"""The local limiter against a model so simple that it is plainly right, over random steps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bfl_async import Limits
from bfl_async.limiter import LocalLimiter
from bfl_async.types import Lease

POOLS = {"narrow": 2, "video": 1}


@dataclass(eq=False)
class Asked:
    """One lease, and what the model says of it."""

    pools: tuple[str, ...]
    priority: int
    arrival: int
    state: str = "queued"
    attached: bool = False
    grants: int = 0
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = Lease(("account", *self.pools), priority=self.priority, on_granted=self.granted)

    def granted(self) -> None:
        self.grants += 1


class LimiterMachine(RuleBasedStateMachine):
    """Steps on a limiter of 3 slots and two narrower pools; the model repeats each by brute force."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.limiter = LocalLimiter(Limits(account=3, pools=POOLS))
        self.limits = {"account": 3, **POOLS}
        self.working = dict(self.limits)
        self.all: list[Asked] = []
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

    def taken(self, pool: str) -> int:
        return sum(each.state == "held" for each in self.all if pool in ("account", *each.pools))

    def model_assigns(self) -> None:
        """Grant, one by one, the best queued lease whose pools all have room."""
        while True:
            queued = sorted(
                (each for each in self.all if each.state == "queued"), key=lambda e: (e.priority, e.arrival)
            )
            fitting = [
                each
                for each in queued
                if all(self.taken(pool) < self.working[pool] for pool in ("account", *each.pools))
            ]
            if not fitting:
                return
            fitting[0].state = "held"
            self.expected[fitting[0]] = self.expected.get(fitting[0], 0) + 1

    @rule(
        target=leases,
        pools=st.sampled_from([(), ("narrow",), ("video",), ("narrow", "video")]),
        priority=st.integers(0, 2),
    )
    def enqueue(self, pools: tuple[str, ...], priority: int) -> Asked:
        asked = Asked(pools, priority, len(self.all))
        self.all.append(asked)
        self.model_assigns()
        self.do("enqueue", asked.lease)
        return asked

    @rule(
        target=leases,
        pools=st.sampled_from([(), ("narrow",)]),
    )
    def take(self, pools: tuple[str, ...]) -> Asked:
        asked = Asked(pools, 0, len(self.all), state="held", attached=True)
        self.all.append(asked)
        self.do("take", asked.lease)
        return asked

    @rule(asked=consumes(leases))
    def withdraw(self, asked: Asked) -> None:
        self.do("withdraw", asked.lease)
        if asked.state == "queued":
            asked.state = "gone"

    @rule(asked=leases)
    def release(self, asked: Asked) -> None:
        if asked.state == "held":
            asked.state = "gone"
        self.model_assigns()
        self.do("release", asked.lease)

    @rule(asked=leases)
    def refuse(self, asked: Asked) -> None:
        if asked.state != "held" or asked.attached:
            return  # what was attached is never submitted, so never refused
        mine = ("account", *asked.pools)
        narrowest = min(mine, key=lambda pool: self.limits[pool])
        if self.taken(narrowest) == 1:
            return  # with nothing left the pool pauses, which is time's business
        asked.state = "queued"
        self.working[narrowest] = max(1, min(self.working[narrowest], self.taken(narrowest)))
        self.model_assigns()
        self.do("refuse", asked.lease, retry_after_s=None)

    @rule(account=st.integers(1, 5))
    def resize(self, account: int) -> None:
        if account != self.limits["account"]:
            self.limits["account"] = self.working["account"] = account
        self.model_assigns()
        self.do("resize", Limits(account=account, pools=POOLS))

    @invariant()
    def limiter_agrees_with_the_model(self) -> None:
        """Who holds, who waits, in what order, and what each pool counts."""
        statistics = self.limiter.statistics()
        for pool, limit in self.limits.items():
            queued = sum(each.state == "queued" for each in self.all if pool in ("account", *each.pools))
            seen = statistics[pool]
            assert (seen.limit, seen.working, seen.taken, seen.queued) == (
                limit, self.working[pool], self.taken(pool), queued
            )  # fmt: skip
        for each in self.all:
            assert each.lease.taken == (each.state == "held")
            assert each.grants == self.expected.get(each, 0)
        waiting = sorted(
            (each for each in self.all if each.state == "queued"), key=lambda e: (e.priority, e.arrival)
        )
        assert [self.limiter.position(each.lease) for each in waiting] == list(range(len(waiting)))


LimiterMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLimiterAgreesWithItsModel = LimiterMachine.TestCase
