"""Weights that fade as others are added."""

from __future__ import annotations

import pytest

from bfl_async.polling.fading import FadingWeights


def test_each_addition_lets_the_older_ones_count_less() -> None:
    """After two additions of one unit each, the first one counts as the growth says."""
    weights = FadingWeights(2.0, {})
    for at in (1, 5):
        weights.fade()
        weights.add(at, [1.0, 3.0])
    assert {at: weight / weights.unit for at, weight in weights.by_bin.items()} == {
        1: 0.125, 2: 0.375, 5: 0.25, 6: 0.75
    }  # fmt: skip
    assert weights.total / weights.unit == 1.5


def test_a_unit_that_has_grown_large_changes_nothing_but_what_counts_nothing() -> None:
    """What is left of the first task is forgotten; the sum is that of the bins, and floats stay in range."""
    weights = FadingWeights(1.5, {-1: 1.0})
    largest = 0.0
    for _ in range(1_000):
        weights.fade()
        weights.add(0, [1.0])
        largest = max(largest, weights.unit)
    assert largest <= 1e6
    assert list(weights.by_bin) == [0]
    assert weights.total == pytest.approx(weights.by_bin[0])
    assert weights.total / weights.unit == pytest.approx(3.0)
