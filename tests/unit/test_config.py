"""What a user sets, as an argument or in the environment: checked before any I/O, by the same rules."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfl_async import Budget, ConfigError, Limits, Timeouts
from bfl_async._config import check_timeout

NUMBERS = st.integers() | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False)
TOO_LARGE = [10**309, 10**400, 10**5_000, 2**1024, math.inf]


def named(value: object) -> str:
    """The id of a test's parameter: pytest writes no integer of 5,000 digits."""
    try:
        return repr(value)[:20]
    except ValueError:
        return "huge"


# --- timeouts ---------------------------------------------------------------------------------------------


@given(NUMBERS)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_every_number_is_a_timeout_that_a_clock_can_take(timeout: float) -> None:
    """A finite float from 0 up, or None for no bound."""
    checked = check_timeout(timeout)
    if checked is None:
        assert timeout > 1e300
    else:
        assert type(checked) is float
        assert 0 <= checked + 1e9 < math.inf
        assert checked == (float(timeout) if timeout > 0 else 0.0)


@pytest.mark.parametrize("timeout", [None, *TOO_LARGE], ids=named)
def test_timeout_beyond_every_clock_is_no_bound(timeout: float | None) -> None:
    """As infinity is."""
    assert check_timeout(timeout) is None


@pytest.mark.parametrize("timeout", [0, -1, -0.0, -5.5, -math.inf, -(10**400), -(10**5_000)], ids=named)
def test_timeout_that_is_already_up_is_zero(timeout: float) -> None:
    """The callers then send nothing."""
    assert check_timeout(timeout) == 0.0


@pytest.mark.parametrize(
    "timeout",
    [True, False, math.nan, -math.nan, "3", "", b"3", [], 1j, Fraction(1, 2), asyncio, "x" * 10_000],
)
def test_what_is_not_a_number_is_not_a_timeout(timeout: object) -> None:
    """One error class, in a message that stays readable."""
    with pytest.raises(ConfigError, match="timeout must be a number of seconds or None, not ") as caught:
        check_timeout(timeout)  # type: ignore[arg-type]  # on purpose
    assert len(str(caught.value)) < 200


# --- other numbers ----------------------------------------------------------------------------------------

SETTINGS: dict[str, Callable[[object], object]] = {
    "connect": lambda value: Timeouts(connect=value),  # type: ignore[arg-type]  # on purpose
    "reply": lambda value: Timeouts(reply=value),  # type: ignore[arg-type]  # on purpose
    "task": lambda value: Timeouts(task=value),  # type: ignore[arg-type]  # on purpose
    "close": lambda value: Timeouts(close=value),  # type: ignore[arg-type]  # on purpose
    "unknown_s": lambda value: Limits(unknown_s=value),  # type: ignore[arg-type]  # on purpose
    "overlap": lambda value: Limits(overlap=value),  # type: ignore[arg-type]  # on purpose
    "usd": lambda value: Budget(value),  # type: ignore[arg-type]  # on purpose
    "unknown_credits": lambda value: Budget(1, unknown_credits=value),  # type: ignore[arg-type]  # on purpose
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [*TOO_LARGE, -(10**400), -math.inf, math.nan, True, "3"], ids=named)
def test_setting_that_no_clock_or_account_can_take_is_refused(name: str, value: object) -> None:
    """Arithmetic with it would fail later, in the middle of a submit."""
    with pytest.raises(ConfigError, match=name) as caught:
        SETTINGS[name](value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [-(10**5_000), 1.5, "12", True], ids=named)
def test_count_that_is_not_a_count_is_refused(value: int) -> None:
    """Whatever its length, the message is short."""
    makers: list[Callable[[], object]] = [
        lambda: Limits(account=value),
        lambda: Limits(pools={"video": value}),
        lambda: Limits(queue=value),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match="whole number") as caught:
            make()
        assert len(str(caught.value)) < 250
