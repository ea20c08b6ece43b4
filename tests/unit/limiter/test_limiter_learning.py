"""What a pool learns from 429s: `PoolRule`, without a clock and without a limiter."""

from __future__ import annotations

import pytest

from bfl_async.limiter.learning import PoolRule


def pool_with(taken: int, *, limit: int = 12) -> PoolRule:
    """A pool in which the refused slot is free already."""
    rule = PoolRule(limit, limit)
    rule.taken = taken
    return rule


def test_a_refusal_limits_a_pool_to_what_is_still_held() -> None:
    """It needs no pause then: a release tries the next submit."""
    rule = pool_with(5)
    assert rule.refused(100.0, None) is None
    assert (rule.working, rule.has_room(100.0), rule.next_raise(100.0)) == (5, False, 102.0)


@pytest.mark.parametrize(("hint_s", "until"), [(None, 102.0), (0.0, 102.0), (5.0, 105.0), (1e9, 3_700.0)])
def test_a_pool_that_holds_nothing_pauses_at_least_for_the_quiet_interval(
    hint_s: float | None, until: float
) -> None:
    """The server's hint may make the pause longer, up to an hour. Nothing is raised within it."""
    rule = pool_with(0)
    assert rule.refused(100.0, hint_s) == until
    assert (rule.working, rule.quiet_s) == (1, 4.0)
    assert (rule.has_room(until - 0.1), rule.has_room(until)) == (False, True)
    assert rule.next_raise(100.0) == max(104.0, until)


def test_a_later_refusal_never_shortens_a_pause() -> None:
    """A hint of less is no news."""
    rule = pool_with(3)
    assert rule.refused(100.0, 30.0) == 130.0
    assert rule.refused(101.0, 1.0) is None
    assert rule.paused_until == 130.0


def test_the_interval_doubles_with_each_refused_raise_and_falls_back_with_a_used_one() -> None:
    """A raise that no submit has used proves nothing."""
    rule = pool_with(3)
    rule.refused(0.0, None)
    for quiet_s in (4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        rule.raise_limit()
        rule.refused(0.0, None)
        assert (rule.working, rule.quiet_s) == (3, quiet_s)

    rule.raise_limit()
    rule.confirmed()
    assert (rule.probing, rule.quiet_s) == (True, 60.0)
    rule.taken = 4
    rule.confirmed()
    assert (rule.probing, rule.quiet_s) == (False, 2.0)


def test_a_raise_ends_at_the_configured_limit_and_a_resize_forgets_what_was_learnt() -> None:
    """A pool at its limit has no raise to come."""
    rule = pool_with(0, limit=2)
    rule.refused(0.0, 9.0)
    rule.raise_limit()
    assert (rule.working, rule.next_raise(0.0)) == (2, None)

    rule.resize(7)
    assert (rule.limit, rule.working, rule.quiet_s, rule.probing, rule.has_room(0.0)) == (
        7,
        7,
        2.0,
        False,
        True,
    )


def test_slots_that_are_soon_free_count_only_where_no_429_has_lowered_the_limit() -> None:
    """Otherwise other programs use the account, and may get the slot."""
    rule = pool_with(12)
    assert (rule.has_room(0.0), rule.has_room(0.0, 1)) == (False, True)
    rule.taken = 11
    rule.refused(0.0, None)
    assert not rule.has_room(0.0, 1)
