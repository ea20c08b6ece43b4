"""The adaptive policy in simulated time: how near the optimum, how soon, and whatever the server says."""

from __future__ import annotations

import json
import math
import random
import secrets
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policy import (
    CHANGE_AT,
    COLD_UNTIL,
    LAWS,
    POLL_S,
    STEADY_FROM,
    SUBMIT_S,
    Progress,
    Task,
    in_tenths,
    log_normal,
    mean_of,
    means,
    optimum,
    simulate,
    uniform,
)
from bfl_async import Adaptive, ConfigError
from bfl_async.polling.book import TimingsBook, size_of
from bfl_async.polling.curve import Curve
from bfl_async.polling.law import Law
from bfl_async.polling.readings import Reading, RoundTrips
from bfl_async.polling.timings import Timings
from bfl_async.types import JSON

COST_S = 0.01
FIXED_SEEDS = (11, 12)


@pytest.fixture(params=["fixed", "drawn"])
def seeds(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Two seeds; the drawn ones are shown when a test fails."""
    chosen = FIXED_SEEDS if request.param == "fixed" else (secrets.randbelow(10**6), secrets.randbelow(10**6))
    print(f"seeds {chosen}")  # noqa: T201 - pytest shows it with a failure
    return chosen


# --- lag against polls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flux1, silent", "flux2", "klein", "bimodal", "uniform"])
@pytest.mark.slow
def test_cost_is_near_the_optimum_of_the_known_law(name: str, seeds: tuple[int, ...]) -> None:
    """Tasks 201 to 2,000: within 10 %, and the noise of two seeds; a log-normal alone fails for two humps."""
    best = optimum(LAWS[name], COST_S)
    found = mean_of(
        [means(simulate(LAWS[name], Adaptive(), seed=s), COST_S, after=STEADY_FROM) for s in seeds]
    )
    assert found.cost_s < 1.13 * best.cost_s
    assert found.cost_s > 0.9 * best.cost_s, "better than the best: the measure is wrong"


@pytest.mark.parametrize("prior", [2.0, 0.5])
@pytest.mark.parametrize("name", [*LAWS])
def test_first_tasks_stand_a_prior_that_is_wrong_by_a_factor_of_two(name: str, prior: float) -> None:
    """Tasks 1 to 50 cost at most twice the optimum."""
    best = optimum(LAWS[name], COST_S)
    runs = [simulate(LAWS[name], Adaptive(), seed=s, tasks=60, prior=prior) for s in range(4)]
    assert mean_of([means(rows, COST_S, until=COLD_UNTIL) for rows in runs]).cost_s < 2 * best.cost_s


@pytest.mark.parametrize("change", [2.0, 0.5])
@pytest.mark.parametrize("name", ["flux1", "flux2", "klein", "bimodal"])
@pytest.mark.slow
def test_change_of_the_service_time_is_learnt_in_20_tasks(name: str, change: float) -> None:
    """The lag is back near its new level for tasks 21 to 40 after it, the 12 that were in flight included."""
    runs = [simulate(LAWS[name], Adaptive(), seed=s, tasks=700, change=change) for s in range(8)]
    learnt = mean_of([means(rows, COST_S, after=CHANGE_AT + 100) for rows in runs])
    soon = mean_of([means(rows, COST_S, after=CHANGE_AT + 20, until=CHANGE_AT + 40) for rows in runs])
    assert soon.lag_s < (1.5 if change > 1 else 2.2) * learnt.lag_s
    assert soon.polls < 2 * learnt.polls


@pytest.mark.parametrize(
    ("name", "lag_s", "polls", "cost_s"),
    [("flux1", 0.09, 5.0, 0.14), ("flux2", 0.205, 24.0, 0.42), ("klein", 0.08, 5.5, 0.13)],
)
@pytest.mark.slow
def test_figures_of_the_design_are_reached(
    name: str, lag_s: float, polls: float, cost_s: float, seeds: tuple[int, ...]
) -> None:
    """DESIGN section 6, in simulated time."""
    found = mean_of(
        [means(simulate(LAWS[name], Adaptive(), seed=s), COST_S, after=STEADY_FROM) for s in seeds]
    )
    assert found.lag_s <= lag_s
    assert found.polls <= polls
    assert found.cost_s <= cost_s


def test_cost_of_a_poll_weighs_lag_against_polls() -> None:
    """A dear poll is spent less, and the lag grows."""
    dear, cheap = (
        means(simulate(LAWS["flux2"], Adaptive(poll_cost_s=cost), seed=1, tasks=500), COST_S, after=100)
        for cost in (0.05, 0.005)
    )
    assert dear.polls < 0.6 * cheap.polls
    assert dear.lag_s > 1.5 * cheap.lag_s


def test_plan_is_no_worse_than_any_other_schedule() -> None:
    """The dynamic programme against schedules that were moved at random, by their exact cost."""
    law, rng = uniform("x", 2.0, 4.0), random.Random(5)
    best = optimum(law, COST_S)

    def cost_of(schedule: list[float]) -> float:
        before_s, total = law.least_s, 0.0
        for at_s in schedule:
            done = law.cdf(before_s)
            total += COST_S * (1 - done)
            low_s, high_s = max(before_s, 2.0), min(at_s, 4.0)
            if high_s > low_s:  # each end in between waits for at_s
                total += (high_s - low_s) / 2.0 * (at_s - (low_s + high_s) / 2)
            before_s = at_s
        return total

    for _ in range(300):
        polls = rng.randrange(6, 16)
        step_s = 2.0 / polls
        schedule = sorted(2.0 + step_s * (number + rng.uniform(0.2, 1.8)) for number in range(polls))
        assert cost_of([*schedule, 4.5, 5.0]) > 0.99 * best.cost_s


# --- what the server says -------------------------------------------------------------------------------

_noise = random.Random(1)


def _curved(task: Task, elapsed_s: float) -> float | None:
    return (
        1.0 if elapsed_s >= task.computed_s else int((elapsed_s / task.computed_s) ** 1.3 * 10) / 10 or None
    )


LIES: dict[str, Progress] = {
    "random": lambda task, elapsed_s: _noise.random(),
    "always half": lambda task, elapsed_s: 0.5,
    "always done": lambda task, elapsed_s: 1.0,
    "zero": lambda task, elapsed_s: 0.0,
    "nearly zero": lambda task, elapsed_s: 1e-12,
    "NaN": lambda task, elapsed_s: math.nan,
    "infinite": lambda task, elapsed_s: math.inf,
    "above one": lambda task, elapsed_s: 7.0,
    "below zero": lambda task, elapsed_s: -1.0,
    "backwards": lambda task, elapsed_s: 1 - int(elapsed_s / task.ready_s * 10) / 10,
    "slow, then fast": _curved,
}


@pytest.mark.parametrize("lie", LIES)
def test_progress_that_lies_costs_little(lie: str) -> None:
    """It counts only as far as it has proved right: the cost is that of no progress, or not much more."""
    law = LAWS["flux1"]
    rows = [simulate(law, Adaptive(), seed=s, tasks=800, progress=LIES[lie]) for s in (1, 2)]
    steady = mean_of([means(each, COST_S, after=STEADY_FROM) for each in rows])
    assert steady.cost_s < 1.3 * optimum(law, COST_S).cost_s
    assert mean_of([means(each, COST_S, until=COLD_UNTIL) for each in rows]).lag_s < 0.6


@pytest.mark.parametrize("grain", [10, 100])
def test_progress_that_is_right_is_worth_polls(grain: int) -> None:
    """In tenths, and in finer steps: less than half of what is possible without it."""

    def progress(task: Task, elapsed_s: float) -> float | None:
        return (
            1.0 if elapsed_s >= task.computed_s else int(elapsed_s / task.computed_s * grain) / grain or None
        )

    rows = simulate(LAWS["flux1"], Adaptive(), seed=4, progress=progress)
    assert means(rows, COST_S, after=STEADY_FROM).cost_s < 0.55 * optimum(LAWS["flux1"], COST_S).cost_s


def test_status_words_are_hints() -> None:
    """`Generating` that begins at any time and ends 2 s later makes polls cheaper than the whole alone can."""
    law = replace(uniform("late", 6.0, 30.0), median_s=14.0, sigma=0.5)

    def word(task: Task, elapsed_s: float) -> str:
        return "Generating" if elapsed_s > task.ready_s - 3.0 else "Pending"

    plain = means(simulate(law, Adaptive(), seed=2, tasks=800), COST_S, after=STEADY_FROM)
    told = means(simulate(law, Adaptive(), seed=2, tasks=800, status=word), COST_S, after=STEADY_FROM)
    assert told.cost_s < 0.9 * plain.cost_s


reading = st.builds(
    Reading,
    st.floats(0, 1e4),
    st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.1, 0.2, 0.9, 1.0]),
    st.sampled_from([None, "Pending", "Generating", "Reasoning", "a word of next year"]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(reading, max_size=8), st.floats(allow_nan=True, allow_infinity=True)), max_size=12
    ),
    st.lists(reading, max_size=8),
    st.floats(0, 1e4),
    st.booleans(),
)
def test_no_reading_breaks_or_stalls_the_policy(
    seen: list[tuple[list[Reading], float]], readings: list[Reading], elapsed_s: float, overlaps: bool
) -> None:
    """Whatever was learnt and is read: the wait is a number, not negative, and bounded by what is likely."""
    timings = Timings(4.5, 0.4, RoundTrips(0.5, 0.1))
    timings.round_trips.overlaps = overlaps
    for earlier, ready_s in seen:
        timings.observe(sorted(earlier, key=lambda each: each.elapsed_s), ready_s)
    ordered = sorted(readings, key=lambda each: each.elapsed_s)
    wait_s = Adaptive().wait_s(elapsed_s, ordered, timings, random.Random(0))
    assert 0 <= wait_s < 2e5
    pending_s = ordered[-1].elapsed_s if ordered else 0.0
    likely_s = max(
        law.curve(poll_cost_s=0.0085, gap_s=0.1).end_s for law in (timings.law, *timings.words.values())
    )
    assert wait_s <= 1.1 * (max(likely_s, 2 * pending_s) + 10.5), "no reading more than doubles a task's age"
    forecast = timings.forecast(ordered)
    if forecast is not None:
        assert 0 <= forecast.done_by(elapsed_s) <= 1
        assert math.isfinite(forecast.soonest_s())


def test_stuck_task_is_polled_at_most_every_10_s() -> None:
    """Past all expectation polls back off, and still find the end soon."""
    timings, policy, rng = Timings(1.0, 0.35, RoundTrips(0.5, 0.1)), Adaptive(), random.Random(0)
    readings: list[Reading] = []
    at_s = 0.25
    waits = []
    while at_s < 600:
        wait_s = policy.wait_s(at_s, readings, timings, rng)
        waits.append(wait_s)
        readings.append(Reading(at_s + wait_s + 0.05, 0.5, "Pending"))
        at_s += wait_s + 0.1
    assert max(waits) <= 10.5
    assert len(waits) < 160


def test_polls_are_a_round_trip_apart_and_not_all_alike() -> None:
    """The next poll is sent after the answer, half a round trip early; tasks that began together drift apart."""
    timings, policy, rng = Timings(1.0, 0.35, RoundTrips(SUBMIT_S, POLL_S)), Adaptive(), random.Random(0)
    firsts = {round(policy.wait_s(0.25, [], timings, rng), 6) for _ in range(20)}
    assert len(firsts) > 10
    arrivals = [0.9]
    readings = [Reading(0.9, None, "Pending")]
    for _ in range(20):
        now_s = arrivals[-1] + POLL_S / 2
        wait_s = policy.wait_s(now_s, readings, timings, rng)
        arrivals.append(now_s + wait_s + POLL_S / 2)
        readings.append(Reading(arrivals[-1], None, "Pending"))
    assert all(later - earlier >= POLL_S - 1e-9 for earlier, later in pairwise(arrivals))


def test_policy_is_pure() -> None:
    """The same question has the same answer."""
    timings = Timings(4.5, 0.4)
    readings = [Reading(2.0, 0.4, "Pending")]
    answers = {Adaptive().wait_s(2.05, readings, timings, random.Random(3)) for _ in range(5)}
    assert len(answers) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"poll_cost_s": 0},
        {"poll_cost_s": math.nan},
        {"max_polls_per_s": -1},
        {"max_polls_per_s": True},
        {"timings": []},
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, object]) -> None:
    """Before any poll is planned."""
    with pytest.raises(ConfigError):
        Adaptive(**fields)  # type: ignore[arg-type] # that is what is tested


# --- what is learnt -------------------------------------------------------------------------------------


def test_tables_are_made_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 10: a table costs a millisecond, so it is made for some per cent more tasks, not for each."""
    made = 0
    plan = Curve.plan

    def counted(
        times: list[float], cdf: list[float], *, poll_cost_s: float, gap_s: float
    ) -> tuple[list[float], float]:
        nonlocal made
        made += 1
        return plan(times, cdf, poll_cost_s=poll_cost_s, gap_s=gap_s)

    monkeypatch.setattr(Curve, "plan", staticmethod(counted))
    simulate(LAWS["klein"], Adaptive(), seed=1)
    assert made < 120


def test_law_keeps_the_share_of_time_below_any_moment() -> None:
    """What is learnt from intervals is the law that they came from, humps included."""
    law, rng, true = Law(4.0, 0.5), random.Random(2), LAWS["bimodal"]
    for _ in range(1_000):
        end_s = true.draw(rng)
        after_s = math.floor(end_s / 0.2) * 0.2
        law.observe(after_s, after_s + 0.2)
        assert law.count > 0  # asked all the time, as by a policy
    moments = [2.5, 3.0, 3.5, 5.0, 7.0, 8.0, 9.0]
    learnt = [law.curve(poll_cost_s=COST_S, gap_s=0.1).cdf(each) for each in moments]
    assert learnt == pytest.approx([true.cdf(each) for each in moments], abs=0.07)


@pytest.mark.parametrize(("name", "least", "most"), [("flux2", 0.0, 0.35), ("bimodal", 0.8, 1.0)])
def test_the_histogram_counts_where_it_foretells_better(name: str, least: float, most: float) -> None:
    """Of a log-normal it only shows the noise of few tasks; two humps nothing else shows."""
    rng = random.Random(5)
    law = Law(10.0, 0.45)
    for _ in range(400):
        ready_s = LAWS[name].draw(rng)
        law.observe(0.97 * ready_s, 1.01 * ready_s)
    assert least <= law._shares()[1] <= most


@pytest.mark.parametrize(("name", "most_lag_s"), [("flux1", 0.09), ("flux1, silent", 0.15), ("klein", 0.09)])
def test_many_that_begin_together_are_taken_for_no_change(name: str, most_lag_s: float) -> None:
    """Their shortest end first, then longer and longer ones; taken for a slow hour that doubled the lag of all."""
    rows = simulate(LAWS[name], Adaptive(), seed=5, tasks=2_000, slots=600)
    assert means(rows, COST_S, until=2_000).lag_s < most_lag_s


def test_trust_in_progress_stands_while_the_shortest_of_many_end_first() -> None:
    """For a while the law then knows when the next one ends as well as progress does, and of others nothing."""
    rng = random.Random(3)
    timings = Timings(4.5, 0.4, RoundTrips(SUBMIT_S, POLL_S))
    timings.round_trips.followed = 900
    trusted = []
    for ready_s in sorted(LAWS["flux1"].draw(rng) for _ in range(900)):
        task = Task(0, 0.0, ready_s, ready_s - 0.4)
        at_s = (0.55 * ready_s, 0.8 * ready_s, ready_s - 0.05)
        timings.observe([Reading(at, in_tenths(task, at)) for at in at_s], ready_s + 0.1)
        trusted.append(timings.believes_progress)
    assert all(trusted)


def test_timings_learn_the_same_whenever_they_are_asked() -> None:
    """To take a task in costs nothing until somebody asks: a policy may never do so."""
    rng, true = random.Random(5), LAWS["flux1"]
    often, late = Timings(4.0, 0.5), Timings(4.0, 0.5)
    for number in range(100):
        end_s = true.draw(rng)
        for timings in (often, late):
            timings.observe([Reading(end_s - 0.1, None)], end_s + 0.1)
        count = often.law.count
        assert min(number + 1, 80) - 3 <= count <= min(number + 1, 80), "a few are learnt together"
        assert count == number + 1 or number >= 40
    assert late.to_dict() == often.to_dict()


def test_timings_that_nobody_asks_keep_the_newest_tasks_alone() -> None:
    """What waits to be learnt is bounded, and the newest tasks are what counts."""
    newest = [9.0 + 0.01 * number for number in range(300)]
    timings, fresh = Timings(4.0, 0.5), Timings(4.0, 0.5)
    for seconds in [4.0] * 10_000 + newest:
        timings.observe([Reading(seconds - 0.1, None)], seconds)
    for seconds in newest:
        fresh.observe([Reading(seconds - 0.1, None)], seconds)
    assert timings.to_dict() == fresh.to_dict()


def test_timings_survive_being_kept() -> None:
    """A run that starts with what an earlier one learnt has no cold start."""
    law = LAWS["bimodal"]
    before = Timings(law.median_s, law.sigma, RoundTrips(SUBMIT_S, POLL_S))
    simulate(law, Adaptive(), seed=1, timings=before)
    kept = json.loads(json.dumps(before.to_dict()))
    after = Timings(2 * law.median_s, law.sigma, RoundTrips(SUBMIT_S, POLL_S))
    after.load(kept)
    assert 8.5 < after.p99_s < 11, "the 99th percentile of what was kept, until enough is seen anew"
    warm = means(simulate(law, Adaptive(), seed=2, tasks=60, timings=after), COST_S, until=COLD_UNTIL)
    cold = means(simulate(law, Adaptive(), seed=2, tasks=60, prior=2.0), COST_S, until=COLD_UNTIL)
    assert warm.cost_s < 0.9 * cold.cost_s


@pytest.mark.parametrize(
    ("overlaps", "followed", "halves"), [(True, 12, True), (False, 12, False), (True, 200, False)]
)
def test_with_overlap_a_poll_halves_what_is_open_of_the_end_before_it_can_be(
    overlaps: bool, followed: int, halves: bool
) -> None:
    """Who sends early goes by that; among hundreds of tasks the sum of ends is known anyway."""
    trips = RoundTrips(SUBMIT_S, POLL_S)
    trips.overlaps, trips.followed = overlaps, followed
    timings = Timings(4.5, 0.4, trips)
    seen = (Reading(3.0, 0.6),)  # so the computing takes from 4.29 s to 5 s
    assert timings.progress_ends(seen) is not None
    at_s = 3.0 + POLL_S / 2 + Adaptive().wait_s(3.0, seen, timings, random.Random(1))
    next_tenth_s = 0.7 * (3.0 / 0.7 + 3.0 / 0.6) / 2  # of a computing that ends in the middle
    assert (at_s == pytest.approx(next_tenth_s, abs=0.03)) is halves
    assert halves or at_s > 3.0 / 0.7


def test_progress_of_the_first_tasks_counts_before_any_of_them_has_ended() -> None:
    """A thousand tasks that begin together would else all be polled by the catalog's guess."""
    timings = Timings(4.5, 0.4)
    assert timings.progress_ends([Reading(1.0, None)]) is None
    ends = timings.progress_ends([Reading(2.0, 0.5)])
    assert ends is not None
    assert 3.0 < ends[0] < 3.6
    assert 4.0 < ends[1] < 5.5


def test_progress_and_words_survive_being_kept() -> None:
    """All that was learnt comes back as it was."""
    timings = Timings(4.5, 0.4)
    for number in range(40):
        computed_s = 3.0 + number % 10 / 2
        shares = [Reading(at_s, int(10 * at_s / computed_s) / 10, "Pending") for at_s in (1.5, 2.5)]
        done = Reading(computed_s + 0.2, 1.0, "Generating")
        timings.observe([*shares, done], computed_s + 0.4)
    kept = timings.to_dict()
    again = Timings(4.5, 0.4)
    again.load(json.loads(json.dumps(kept)))
    assert again.to_dict() == kept
    told, kept_told = (each.progress_ends([Reading(2.0, 0.5)]) for each in (timings, again))
    assert told is not None
    assert kept_told == pytest.approx(told, abs=0.01)


json_values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
kept_law = st.fixed_dictionaries(
    {
        "mean": json_values | st.floats(-10, 20),
        "variance": json_values | st.floats(-1, 3),
        "count": json_values | st.floats(-1, 100),
        "bins": json_values
        | st.dictionaries(st.sampled_from(["1", "-3", "x", "99999", "²"]), json_values, max_size=4),
    }
)
kept_model = st.fixed_dictionaries(
    {"law": json_values | kept_law, "offsets": json_values, "gain": json_values, "words": json_values}
)


@settings(max_examples=300, deadline=None)
@given(
    json_values
    | st.fixed_dictionaries(
        {"version": st.just(1), "models": json_values | st.fixed_dictionaries({"m": kept_model})}
    )
)
def test_garbage_among_kept_timings_is_left_out(kept: JSON) -> None:
    """A file of an earlier run may hold anything; then the model starts fresh."""
    book = TimingsBook(kept if isinstance(kept, dict) else None)
    timings = book.of("m", None, (4.5, 0.4))
    assert 0 <= Adaptive().wait_s(0.1, [], timings, random.Random(0)) < 1e5
    book.observe("m", 0, (4.5, 0.4), [Reading(3.0, 0.5, "Pending")], 4.0)
    json.dumps(book.to_dict(), allow_nan=False)


def test_kept_sizes_count_from_the_first_task() -> None:
    """A size that was learnt in an earlier run need not be learnt again."""
    book, prior = TimingsBook(), (4.5, 0.4)
    for _ in range(30):
        book.observe("m", 2, prior, [Reading(7.9, None)], 8.0)
        book.observe("m", 0, prior, [Reading(1.9, None)], 2.0)
    again = TimingsBook(json.loads(json.dumps(book.to_dict())))
    assert again.of("m", 2, prior).law.quantile_s(0.5) == pytest.approx(8.0, rel=0.1)
    assert again.to_dict() == book.to_dict()


def test_only_words_that_say_something_are_learnt() -> None:
    """Neither `Pending`, nor a grace answer, nor a text without end."""
    timings = Timings(4.5, 0.4)
    words = [None, "Pending", "Task not found", "x" * 1_000, "Generating", *map(str, range(50))]
    timings.observe([Reading(1.0 + number / 100, None, word) for number, word in enumerate(words)], 4.0)
    assert next(iter(timings.words)) == "Generating"
    assert len(timings.words) == 8


def test_sizes_are_learnt_apart_once_they_have_been_seen() -> None:
    """Until a size has tasks of its own the model's timings count for it."""
    book, prior = TimingsBook(), (4.5, 0.4)
    for _ in range(30):
        book.observe("m", 0, prior, [Reading(1.9, None)], 2.0)
        book.observe("m", 2, prior, [Reading(7.9, None)], 8.0)
    book.observe("m", 1, prior, [Reading(1.9, None)], 2.0)
    small, large, whole = (book.of("m", size, prior) for size in (0, 2, None))
    assert small.law.quantile_s(0.5) == pytest.approx(2.0, rel=0.1)
    assert large.law.quantile_s(0.5) == pytest.approx(8.0, rel=0.1)
    assert book.of("m", 1, prior) is whole
    assert [*book.statistics()] == ["m"]
    again = TimingsBook(json.loads(json.dumps(book.to_dict())))
    again.observe("m", 2, prior, [Reading(7.9, None)], 8.0)
    assert again.of("m", None, prior).law.count > 30


def test_sizes_are_classes_by_powers_of_two() -> None:
    """Of the megapixels asked for; a request without a size has none."""
    assert size_of(1024, 1024) == 0
    assert size_of(1024, 768) == 0
    assert size_of(2048, 2048) == 2
    assert size_of(512, 512) == -2
    assert size_of(None, 1024) is None
    assert size_of("1024", 0) is None


SIDES = (
    st.integers()
    | st.integers(min_value=0, max_value=10**400)
    | st.sampled_from([2**1023, 2**1024, 10**309, 10**5_000])
    | st.floats()
    | st.booleans()
    | st.text(max_size=5)
    | st.none()
    | st.lists(st.integers(), max_size=2)
)


@given(SIDES, SIDES)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_no_size_of_a_request_breaks_its_submit(width: object, height: object) -> None:
    """A request for an unknown model may hold any values: an error here would be taken for a lost submit."""
    states_a_size = all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (width, height)
    )
    assert isinstance(size_of(width, height), int) == states_a_size
    assert size_of(width, height) == size_of(height, width)


@given(st.integers(1, 2**40), st.integers(1, 2**40))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_size_class_is_the_nearest_power_of_two(width: int, height: int) -> None:
    """Timings that were kept by an earlier release keep their meaning."""
    assert size_of(width, height) == round(math.log2(width * height / 1e6))


def test_memory_of_timings_is_bounded() -> None:
    """Invariant 9: model names come from the caller, and there may be any number of them."""
    book = TimingsBook()
    for number in range(2_000):
        book.observe(f"m{number}", 0, (4.5, 0.4), [], 4.0)
    models = book.to_dict()["models"]
    assert isinstance(models, dict)
    assert len(models) <= 500


def test_one_slow_answer_is_no_new_round_trip() -> None:
    """The running mean moves by little for it, and follows a lasting change."""
    trips = RoundTrips()
    for _ in range(20):
        trips.note_poll(0.1)
    trips.note_poll(9.0)
    assert trips.poll_s == pytest.approx(0.12, abs=0.01)
    for _ in range(60):
        trips.note_poll(0.4)
    assert trips.poll_s == pytest.approx(0.4, abs=0.02)


def test_outliers_do_not_make_it_forget() -> None:
    """Single tasks that take ten times as long leave the law as it was."""
    base = log_normal("x", 4.5, 0.4)
    strange = replace(base, draw=lambda source: base.draw(source) * (10 if source.random() < 0.02 else 1))
    timings = Timings(4.5, 0.4, RoundTrips(SUBMIT_S, POLL_S))
    simulate(strange, Adaptive(), seed=1, timings=timings, tasks=1_000)
    assert timings.law.quantile_s(0.5) == pytest.approx(4.6, rel=0.15)
    assert timings.law.count > 70, "nothing was forgotten"


def test_in_tenths_is_the_sandboxs_progress() -> None:
    """The harness reads progress as the sandbox writes it."""
    task = Task(1, 0.0, 5.0, 4.5)
    assert [in_tenths(task, elapsed_s) for elapsed_s in (0.1, 0.5, 2.3, 4.4, 4.6)] == [
        None,
        0.1,
        0.5,
        0.9,
        1.0,
    ]
