"""What crosses processes, and what does not: every public name is one or the other."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import bfl_async
from bfl_async import (
    Adaptive,
    AsyncBFL,
    Batch,
    BatchOutcome,
    BFLError,
    Budget,
    ClientClosedError,
    DeletedFinetune,
    Estimate,
    Finetune,
    Fixed,
    FluxDev,
    ImageRequest,
    Limits,
    Outcome,
    Result,
    Size,
    Statistics,
    TaskFailedError,
    TaskStatus,
    Timeouts,
    Update,
    UsageReport,
    events,
    request,
    types,
)
from bfl_async.types import (
    Answered,
    EntryState,
    Failed,
    LatencyStatistics,
    Lost,
    Moderated,
    NotSent,
    PoolStatistics,
    Ready,
    Refused,
    State,
    Unknown,
)
from tests.fake import FakeAPI, reply, status

ERROR = TaskFailedError("it failed", task_id="t", status="Error", details={"a": [1]})
RESULT = Result(
    task_id="t", model="flux-dev", url="https://x.bfl.ai/a?sig=s", seed=2**40, prompt="a cat", cost=4.0,
    expires_at=1.5, duration=2.0, raw={"id": "t"}, reply=reply(200, {"id": "t"}),
)  # fmt: skip

VALUES: dict[str, object] = {
    "Adaptive": Adaptive(poll_cost_s=0.02, timings={"a": [1]}),
    "BatchOutcome": BatchOutcome(
        0, "k", "n", EntryState.SAVED, FluxDev(prompt="a"), "t", RESULT, Path("a.jpg"), None
    ),
    "Budget": Budget(usd=5),
    "DeletedFinetune": DeletedFinetune("f", "ok", "gone", None, {"a": 1}),
    "Estimate": Estimate(4.0, 0.04, True, "a price"),
    "Finetune": Finetune("f", {"a": 1}),
    "Fixed": Fixed(0.25),
    "Limits": Limits(account=3, queue=4),
    "Outcome": Outcome(0, FluxDev(prompt="a"), "t", None, ERROR),
    "Reply": reply(200, status("Ready"), x_a="b"),
    "Size": Size(1024, 768),
    "Result": RESULT,
    "Statistics": Statistics(
        1, 2, 3, 4, {"account": PoolStatistics(12, 12, 4, 1)}, 1, 2, 3, 4, 5, 6, 7, 8, 9.0,
        latency={"a": LatencyStatistics(1, 2, 3, 4)},
    ),
    "TaskStatus": TaskStatus.READY,
    "Timeouts": Timeouts(task=60),
    "Update": Update(State.SUBMITTED, "Reasoning", 0.5, "t"),
    "UsageReport": UsageReport("done", {"a": 1}),
}  # fmt: skip
BOUND_TO_A_LOOP = {"AsyncBFL", "Batch", "OutcomeStream", "TaskHandle"}
NO_CLASSES = {"Flux3Video", "MediaSource", "request", "show", "size_for", "__version__"}


def test_every_public_name_is_a_value_or_bound_to_a_loop() -> None:
    """A new one has to say which: users send values to other processes."""
    for name in bfl_async.__all__:
        public = getattr(bfl_async, name)
        if inspect.isclass(public) and issubclass(public, BFLError | ImageRequest):
            continue  # test_errors.py and below
        assert (name in VALUES) + (name in BOUND_TO_A_LOOP) + (name in NO_CLASSES) == 1, name


@pytest.mark.parametrize("union", [types.SubmitAnswer, types.Settlement])
def test_every_member_of_a_public_union_is_public(union: object) -> None:
    """Code that matches on an answer has to be able to name each of them."""
    members = get_args(union)
    assert len(members) > 2
    for member in members:
        assert member.__name__ in types.__all__
        assert getattr(types, member.__name__) is member


@pytest.mark.parametrize("name", VALUES)
def test_values_pickle_and_copy(name: str) -> None:
    """Equal twins, in this process and in others."""
    value = VALUES[name]
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert type(twin) is type(value)
        if name in ("BatchOutcome", "Outcome"):  # errors are equal to themselves alone
            assert repr(twin) == repr(value)
        else:
            assert twin == value


def test_requests_pickle_and_copy() -> None:
    """Also those of models that this release does not know, which keep their names."""
    for made in (FluxDev(prompt="a cat"), _unknown()):
        for twin in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
            assert (twin, twin.model, twin.body()) == (made, made.model, made.body())


def _unknown() -> ImageRequest:
    with pytest.warns(UserWarning, match="flux-new"):
        return request("flux-new", prompt="a cat", **{"count": [1]})


async def test_a_pickled_result_keeps_its_facts_and_lets_go_of_its_client() -> None:
    """The reply as well; its headers are looked up by lower-case names."""
    async with FakeAPI(service_s=0).client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a cat")
        twin = pickle.loads(pickle.dumps(result))
        assert (twin.reply, twin.raw, twin.url) == (result.reply, result.raw, result.url)
        assert await result.read()
        with pytest.raises(ClientClosedError):
            await twin.read()


async def test_what_is_bound_to_a_loop_refuses_and_says_what_to_do() -> None:
    """A handle's `to_dict()` is what crosses."""
    async with FakeAPI(service_s=0).client() as bfl:
        handle = await bfl.submit("flux-dev", prompt="a cat")
        attempts: tuple[Callable[[object], object], ...] = (pickle.dumps, copy.copy, copy.deepcopy)
        for attempt in attempts:
            with pytest.raises(TypeError, match=r"handle\.to_dict\(\)"):
                attempt(handle)
            with pytest.raises(TypeError, match="client cannot be pickled"):
                attempt(bfl)
        for one in (Batch.open("run.db", bfl), bfl.stream([])):
            with pytest.raises((TypeError, AttributeError)):
                pickle.dumps(one)
        await handle
    assert isinstance(bfl, AsyncBFL)


async def test_details_that_are_nested_without_end_are_cut_and_pickle() -> None:
    """A hostile reply may fail a task; it may not break whoever passes the error on."""
    deep: object = "bottom"
    for _ in range(400):
        deep = {"a": [deep]}
    api = FakeAPI()
    api.script_polls(reply(200, status("Error") | {"details": deep}))
    async with api.client(interval=0.01) as bfl:
        with pytest.raises(TaskFailedError) as caught:
            await bfl.generate("flux-dev", prompt="a cat")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert twin.details == caught.value.details
    assert copy.deepcopy(caught.value).details == twin.details
    assert "…" in repr(twin.details)


NAMED_TUPLES = [
    each
    for module in (types, events)
    for name in module.__all__
    if inspect.isclass(each := getattr(module, name)) and issubclass(each, tuple)
]
WITH_ERRORS = [Refused, NotSent, Unknown, Moderated, Failed, Lost]


@pytest.mark.parametrize("cls", NAMED_TUPLES)
def test_values_of_different_classes_are_not_equal(cls: type[tuple[object, ...]]) -> None:
    """Two endings that hold the same are two endings. A plain tuple compares as with any named tuple."""
    items = [1] * len(getattr(cls, "_fields"))  # noqa: B009 - `tuple` has none
    value = tuple.__new__(cls, items)
    assert value == tuple.__new__(cls, items)
    assert value == tuple(items)
    assert hash(value) == hash(tuple(items))
    assert value != tuple.__new__(cls, [2] * len(items))
    assert value != object()
    for other in NAMED_TUPLES:
        if other is not cls:
            twin = tuple.__new__(other, items)
            assert value != twin
            assert not value == twin  # noqa: SIM201 - the other operator
            assert len({value, twin}) == 2


def test_values_that_hold_one_error_are_equal_in_their_class_alone() -> None:
    """One dataclass stands behind them."""
    values = [cls(ERROR) for cls in WITH_ERRORS]
    for value in values:
        assert value == type(value)(ERROR)
        assert [other for other in values if other == value] == [value]
    assert Ready(1) != Answered(1)  # type: ignore[arg-type] # the case of the report


@pytest.mark.parametrize(
    ("update", "shown"),
    [
        (Update(State.QUEUED, None, None, None), "queued"),
        (Update(State.SUBMITTED, None, None, "t"), "submitted"),
        (Update(State.SUBMITTED, TaskStatus.PENDING, 0.5, "t"), "Pending, 50%"),
        (Update(State.SUBMITTED, "Reasoning", 0, "t"), "Reasoning, 0%"),
        (Update(State.SETTLED, TaskStatus.READY, 0.9, "t"), "Ready"),
        (Update(State.SETTLED, None, None, None), "settled"),
        (Update(State.SUBMITTED, "\x1b[2J" + "x" * 1000, None, "t"), ascii("\x1b[2J" + "x" * 56)),
    ],
)
def test_an_update_prints_as_people_read_it(update: Update, shown: str) -> None:
    """From the first one on, which no poll has brought."""
    assert str(update) == shown
