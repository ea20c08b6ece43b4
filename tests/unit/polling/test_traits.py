"""What a policy declares about itself counts, and its class does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import pytest

from bfl_async import Adaptive, AsyncBFL, ConfigError, Fixed, Limits, request
from bfl_async.types import JSON, Polling, PollingTraits, Reading, Timings
from tests.fake import FakeAPI

pytestmark = pytest.mark.looptime(start=0)


class Delegating:
    """A policy that passes on whatever it does not have itself."""

    def __init__(self, inner: Polling) -> None:
        self._inner = inner

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        return self._inner.wait_s(elapsed_s, readings, timings, rng)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class Declaring:
    """A policy that declares each trait."""

    def __init__(self, inner: Adaptive) -> None:
        self.inner = inner
        traits: PollingTraits = self
        assert traits.may_be_shifted

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        return self.inner.wait_s(elapsed_s, readings, timings, rng)

    @property
    def max_polls_per_s(self) -> float:
        return self.inner.max_polls_per_s

    @property
    def may_be_shifted(self) -> bool:
        return True

    @property
    def learns(self) -> bool:
        return True

    @property
    def kept_timings(self) -> Mapping[str, JSON] | None:
        return self.inner.timings


class Bare:
    """A policy without traits, which polls ten times per second."""

    def wait_s(
        self, elapsed_s: float, readings: Sequence[Reading], timings: Timings, rng: random.Random
    ) -> float:
        return 0.1


async def polled_by(
    policy: Polling, monkeypatch: pytest.MonkeyPatch, *, limits: int | Limits = 40
) -> tuple[list[float], dict[str, JSON]]:
    """Return the moments of the polls of 16 tasks, and what their client has learnt."""
    source = random.Random(7)
    with monkeypatch.context() as patch:
        patch.setattr("bfl_async.client.opening.random.Random", lambda: source)
        api = FakeAPI(limit=40, service_s=6.0, submit_s=0.0, poll_s=0.05)
        async with AsyncBFL(limits=limits, transport=api, polling=policy) as bfl:
            # The moments that polls share repeat, so each run begins at the same one of them.
            await asyncio.sleep(24 - api.now() % 24)
            began = api.now()
            await bfl.gather([request("flux-2-pro", prompt="x")] * 16)
            return [round(at - began, 5) for at, _ in api.polled], bfl.timings()


@pytest.mark.parametrize("wrap", [Delegating, Declaring])
async def test_policy_that_wraps_adaptive_polls_and_learns_as_adaptive_does(
    wrap: Callable[[Adaptive], Polling], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit per second, the shared moments and the kept timings: the polls are the same, each to the moment."""
    _, kept = await polled_by(Adaptive(), monkeypatch)
    policy = Adaptive(max_polls_per_s=20, timings=kept)
    moments, learnt = await polled_by(policy, monkeypatch)
    assert await polled_by(wrap(policy), monkeypatch) == (moments, learnt)
    exact = Delegating(policy)
    exact.__dict__["may_be_shifted"] = False
    for changed in (Adaptive(timings=kept), Adaptive(max_polls_per_s=20), exact):
        assert await polled_by(changed, monkeypatch) != (moments, learnt), "the test sees a lost trait"


@pytest.mark.parametrize("wrap", [Delegating, Declaring])
async def test_kept_timings_of_a_wrapped_policy_are_where_the_client_begins(
    wrap: Callable[[Adaptive], Polling], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first request."""
    _, kept = await polled_by(Adaptive(), monkeypatch)
    async with AsyncBFL(transport=FakeAPI(), polling=wrap(Adaptive(timings=kept))) as bfl:
        assert bfl.timings() == kept


async def test_policy_without_traits_gets_its_moments_and_may_read_timings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No limit per second, no shared moments, fresh timings, and they learn."""
    moments, learnt = await polled_by(Bare(), monkeypatch)
    assert sum(1 <= at < 2 for at in moments) > 100
    apart, _ = await polled_by(Fixed(0.1), monkeypatch)
    assert moments == apart
    assert learnt["models"]


async def test_wrapped_fixed_interval_learns_nothing_unless_ends_are_predicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `Fixed` itself; with `overlap` the client predicts ends, whatever the policy reads."""
    for policy in (Fixed(0.5), Delegating(Fixed(0.5))):
        _, learnt = await polled_by(policy, monkeypatch)
        assert learnt["models"] == {}
        _, learnt = await polled_by(policy, monkeypatch, limits=Limits(40, overlap=0.01))
        assert learnt["models"] != {}


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("max_polls_per_s", 0),
        ("max_polls_per_s", "600"),
        ("max_polls_per_s", True),
        ("may_be_shifted", "no"),
        ("learns", None),
        ("kept_timings", [1]),
    ],
)
def test_trait_that_cannot_be_is_refused_before_anything_is_opened(trait: str, value: object) -> None:
    """The error names the policy and the trait."""
    policy = Bare()
    setattr(policy, trait, value)
    with pytest.raises(ConfigError, match=f"Bare: {trait}"):
        AsyncBFL(transport=FakeAPI(), polling=policy)
