"""The arithmetic of the benchmarks: figures that would be wrong without anybody noticing."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from benchmarks import wakeups
from benchmarks.clients import CLIENTS, Measured
from benchmarks.expected import judge
from benchmarks.measure import SCENARIOS, Run, Skipped, back_after, summarise
from benchmarks.plot import svg
from benchmarks.report import table, verdict
from benchmarks.server import Row, Work, ideal_span_s


def a_run(client: str, *, lag_s: float, cpu_s: float = 1.0, tasks: int = 480, span_s: float = 200.0) -> Run:
    rows = [Row(str(n), "flux-pro-1.1", n, n + 1.0, n + 1.0 + lag_s, 4, "Ready") for n in range(tasks)]
    return Run(SCENARIOS["flux1"], CLIENTS[client], 0, 1, 190.0, Measured(span_s, cpu_s, 1.0, 0), 0, rows)


def test_ideal_span_fills_the_slots_in_submit_order() -> None:
    """Each task starts when a slot is free, in order: 3 and 1 run, then 1 follows the 1, then 2."""
    assert ideal_span_s([Work("m", seconds) for seconds in (3.0, 1.0, 1.0, 2.0)], 2) == 4.0


def test_draws_are_the_same_for_a_seed_and_double_from_the_middle_on() -> None:
    scenario = SCENARIOS["doubles"]
    first = scenario.draw(2_000, 5)
    assert first == scenario.draw(2_000, 5) != scenario.draw(2_000, 6)
    early, late = (sum(task.service_s for task in half) for half in (first[:1_000], first[1_000:]))
    assert 1.8 < late / early < 2.2


@pytest.mark.parametrize("slow", [0, 7, 30])
def test_lag_is_back_once_the_tasks_that_follow_have_its_level(slow: int) -> None:
    """So many slow tasks after the doubling put the means of what follows above the level, until they are past."""
    lags = [0.1] * 100 + [5.0] * slow + [0.1] * (100 - slow)
    assert back_after(lags) == slow


def test_a_short_good_moment_does_not_count_as_back() -> None:
    """The first dozen after the doubling say nothing of what was learnt: the 80 that follow must be good as well."""
    assert back_after([0.1] * 200 + [0.1] * 25 + [0.4] * 55 + [0.1] * 120) > 25


def test_lag_that_stays_high_is_never_back() -> None:
    assert back_after([0.1] * 100 + [0.5] * 100) == math.inf


def test_a_missed_figure_gets_a_line_and_a_reached_one_none() -> None:
    """Bounds of a scenario hold from its own number of tasks on; CPU is judged beside the loop of the same round."""
    runs = [
        a_run("handwritten", lag_s=0.3),
        a_run("ours", lag_s=0.2, cpu_s=0.9),
        a_run("fixed", lag_s=0.3, cpu_s=1.3),
    ]
    assert verdict(judge(summarise(runs))) == [
        "not as expected: flux1, ours: lag s <= 0.09, measured 0.200",
        "not as expected: flux1, fixed: CPU, by hand = 1 <= 1.2, measured 1.300",
    ]
    assert judge(summarise([a_run("ours", lag_s=0.2, tasks=60)])) == []


def test_a_client_that_was_left_out_is_named_with_its_reason() -> None:
    rows = summarise(
        [a_run("ours", lag_s=0.1), Skipped(SCENARIOS["klein"], CLIENTS["official"], "it knows no klein")]
    )
    assert "left out: klein, official: it knows no klein" in table(rows)
    assert judge(rows[1:]) == []


def test_the_plot_is_well_formed_and_shows_each_row() -> None:
    drawn = svg(summarise([a_run("handwritten", lag_s=0.3), a_run("ours", lag_s=0.06)]))
    texts = [
        element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"handwritten", "ours", "0.30", "0.06", "0.950"} <= set(texts)


def test_polls_that_leave_together_save_half_of_the_wake_ups() -> None:
    """What keeps the shared moments in the code: with 12 tasks, at a shift of less than a tenth of a second."""
    for gap_s in wakeups.GAPS_S:
        alone, _ = wakeups.measure(12, gap_s, together=False)
        together, shift_s = wakeups.measure(12, gap_s, together=True)
        assert together < 0.55 * alone
        assert shift_s < 0.1
