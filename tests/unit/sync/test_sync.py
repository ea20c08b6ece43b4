"""`bfl_async.sync.BFL`: the same client for code without asyncio."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import itertools
import linecache
import math
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

import aiohttp
import pytest

import bfl_async
import bfl_async.sync
from bfl_async import (
    AsyncBFL,
    ClientClosedError,
    ConfigError,
    Fixed,
    ImageRequest,
    InvalidRequestError,
    TaskModeratedError,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    request,
)
from bfl_async.results.sheet import Sheet
from bfl_async.sync import BFL, Outcome, OutcomeStream, Result, TaskHandle
from bfl_async.types import Reply, State
from bfl_async.webhooks import WebhookReceiver
from tests.fake import JPEG, FakeAPI

if TYPE_CHECKING:
    from _typeshed import TraceFunction

API_S = 0.002  # a round trip
SYNC = f"{Path(bfl_async.sync.__file__).parent}{os.sep}"


def api(**options: object) -> FakeAPI:
    return FakeAPI(**{"service_s": 0.01, "submit_s": API_S, "poll_s": API_S, **options})  # type: ignore[arg-type]  # options, by name


def client(fake: FakeAPI) -> BFL:
    return BFL(limits=fake.limit, polling=Fixed(0.005), transport=fake)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "bfl-async"]


def cats(count: int) -> list[ImageRequest]:
    return [request("flux-dev", prompt=f"cat {n}") for n in range(count)]


# ---- parity


# What is meant to differ; everything else is the same name with the same parameters.
RENAMED = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
LEFT_OUT = {"__await__"}
OTHER_TYPES = {("stream", "requests")}


def public(cls: type) -> dict[str, object]:
    return {
        name: inspect.getattr_static(cls, name)
        for name in dir(cls)
        if not name.startswith("_") or name in RENAMED or name in RENAMED.values() or name in LEFT_OUT
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BFL, AsyncBFL),
        (TaskHandle, bfl_async.TaskHandle),
        (OutcomeStream, bfl_async.OutcomeStream),
        (Result, bfl_async.Result),
        (Outcome, bfl_async.Outcome),
    ],
)
def test_the_same_names_with_the_same_parameters(ours: type, theirs: type) -> None:
    """What is added to the client must be added here, or the list above says why not."""
    names = {RENAMED.get(name, name) for name in public(theirs)} - LEFT_OUT
    names -= {"of"}  # how the client makes a result
    assert set(public(ours)) == names
    for name, member in public(theirs).items():
        here = inspect.getattr_static(ours, RENAMED.get(name, name), None)
        assert isinstance(member, property) == isinstance(here, property), name
        if not inspect.isfunction(member) or name in LEFT_OUT | {"of"}:
            continue
        assert inspect.isfunction(here), name
        mine, original = inspect.signature(here).parameters, inspect.signature(member).parameters
        assert list(mine) == list(original), name
        for parameter in original.values():
            other = mine[parameter.name]
            assert (other.kind, other.default) == (parameter.kind, parameter.default), (name, parameter)
            if (name, parameter.name) not in OTHER_TYPES:
                assert other.annotation == parameter.annotation, (name, parameter)
        assert name.startswith("_") or inspect.getdoc(here), name


def test_the_same_constructor_and_the_same_fields() -> None:
    """Parameters come from the client's own, fields of outcomes are written twice."""
    assert inspect.signature(BFL) == inspect.signature(AsyncBFL)
    assert [one.name for one in fields(Outcome)] == [one.name for one in fields(bfl_async.Outcome)]


# ---- one request


def test_one_image_in_four_lines(tmp_path: Path) -> None:
    """As in the README."""
    with client(api()) as bfl:
        result = bfl.generate("flux-dev", prompt="a cat")
        assert result.read() == JPEG
        assert result.url.partition("?")[0] in result._repr_html_()
        assert result.save(tmp_path / "cat") == tmp_path / "cat.jpg"
        assert "data:image/jpeg" in result._repr_html_()
        assert "cat.jpg" in result._repr_html_()
        assert (
            "<figure" in cast("Sheet[object]", bfl.gather([bfl_async.FluxDev(prompt="a cat")]))._repr_html_()
        )
    assert result.task_id == "task-0"
    assert result.reply is not None
    twin = pickle.loads(pickle.dumps(result))
    assert twin == result
    assert copy.deepcopy(result) is result
    for closed in (result, twin):
        with pytest.raises(ClientClosedError, match="attach"):
            closed.read()


async def test_it_works_where_a_loop_runs() -> None:
    """A notebook's cell: the caller's loop stands still meanwhile, the client's does not."""
    with client(api()) as bfl:
        assert bfl.generate("flux-dev", prompt="a cat").task_id == "task-0"
        assert bfl.credits() == 1000.0


def test_errors_are_the_clients_own() -> None:
    """Raised in the calling thread."""
    with client(api()) as bfl:
        with pytest.raises(InvalidRequestError):
            bfl.generate("flux-dev", prompt=3)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(InvalidRequestError):
            bfl.attach("")
        with pytest.raises(TaskTimeoutError):
            bfl.with_options(timeout=0).generate("flux-dev", prompt="a cat")


def test_a_handle_waits_tells_and_withdraws() -> None:
    """Any number of times, also when the client is closed, as far as what it knows goes."""
    # Long enough that the first request still runs when the second has been looked at.
    fake = api(limit=1, service_s=1.5)
    with client(fake) as bfl:
        handle = bfl.submit("flux-dev", prompt="a cat")
        queued = bfl.submit_nowait("flux-dev", prompt="a dog", priority=3)
        assert (queued.task_id, queued.queue_position, handle.queue_position) == (None, 0, None)
        assert queued.withdraw()
        assert not handle.withdraw()
        states = [(update.state, update.status) for update in handle.updates()]
        assert states[0][0] is State.SUBMITTED
        assert states[-1] == (State.SETTLED, "Ready")
        assert handle.accepted() == "task-0"
        assert handle.result(timeout=5) == handle.result()
        assert bfl.attach(**handle.to_dict()).model == "flux-dev"
        with pytest.raises(TypeError, match="to_dict"):
            pickle.dumps(handle)
    assert handle.done()
    assert handle.result().task_id == "task-0"
    assert handle.submit_reply is not None
    assert "Ready" in repr(handle)


# ---- many requests


def test_a_stream_brings_one_outcome_for_each_request() -> None:
    """Read lazily, with no more than its window ahead."""
    read = []

    def source() -> Iterator[ImageRequest]:
        for one in cats(40):
            read.append(one)
            yield one

    fake = api(limit=4)
    with client(fake) as bfl, bfl.stream(source(), window=8) as outcomes:
        first = next(outcomes)
        assert isinstance(first, Outcome)
        assert len(read) <= 9
        seen = {first.index, *(outcome.index for outcome in outcomes)}
        assert seen == set(range(40))
        assert first.unwrap().read() == JPEG
    assert fake.peak_active == 4
    assert "prompt" not in repr(first)


def test_a_streams_source_runs_in_the_thread_that_iterates() -> None:
    """So it may read a database that is bound to its thread, and use the client itself."""
    database = sqlite3.connect(":memory:")
    database.execute("create table prompts (text)")
    database.executemany("insert into prompts values (?)", [(f"cat {n}",) for n in range(5)])
    with client(api()) as bfl:

        def source() -> Iterator[ImageRequest]:
            for (text,) in database.execute("select text from prompts"):
                assert bfl.credits() > 0
                yield request("flux-dev", prompt=text)

        outcomes = list(bfl.stream(source(), ordered=True))
    assert [outcome.index for outcome in outcomes] == list(range(5))
    assert all(outcome.ok for outcome in outcomes)
    database.close()


def test_an_error_of_the_source_comes_after_what_was_read() -> None:
    """As with the client's own streams."""

    def source() -> Iterator[ImageRequest]:
        yield from cats(2)
        raise ZeroDivisionError("the source's own")

    with client(api()) as bfl:
        outcomes = bfl.stream(source())
        assert len({next(outcomes).index, next(outcomes).index}) == 2
        with pytest.raises(ZeroDivisionError):
            next(outcomes)
        with pytest.raises(StopIteration):
            next(outcomes)


def test_ctrl_c_in_a_source_or_a_wait_loses_no_outcome() -> None:
    """The next call goes on where it was."""
    pressed = iter([True, False])

    class Source:
        def __init__(self) -> None:
            self.rest = iter(cats(2))

        def __iter__(self) -> Source:
            return self

        def __next__(self) -> ImageRequest:
            if next(pressed, False):
                raise KeyboardInterrupt
            return next(self.rest)

    with client(api()) as bfl:
        outcomes = bfl.stream(Source())
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
        assert {outcome.index for outcome in outcomes} == {0, 1}


def test_a_stream_can_be_stopped_and_left() -> None:
    """Nothing more is sent; what was sent is named and brought home."""
    fake = api(limit=2, service_s=0.05)
    with client(fake) as bfl:
        with bfl.stream(cats(50)) as outcomes:
            next(outcomes)
            outcomes.stop()
            rest = list(outcomes)
            assert len(rest) in (3, 4)  # of a window of four, which one was handed out of
            assert outcomes.waiting == ()
        with bfl.stream(cats(50)) as outcomes:
            next(outcomes)
            assert all(isinstance(one, TaskHandle) for one in outcomes.in_flight)
        sent = len(fake.posts)
        assert bfl.drain(timeout=5)
        assert len(fake.posts) <= sent + 2
        outcomes.close()
    outcomes.close()


def test_what_is_no_source_is_refused() -> None:
    """Also an async one, which has no thread to run in."""

    class Later:
        def __aiter__(self) -> Later:
            return self

    with client(api()) as bfl:
        for source in ("text", {"a": 1}, 3, Later()):
            with pytest.raises(ConfigError):
                bfl.stream(source)  # type: ignore[arg-type]  # on purpose


def test_gather_returns_in_input_order() -> None:
    """And raises the first error, or puts errors in their places."""
    fake = api()
    with client(fake) as bfl:
        results = bfl.gather(iter(cats(3)))
        assert [type(one) for one in results] == [Result] * 3
        fake.poll_script.clear()
        fake.service_s = 0.05
        handle_count = len(fake.tasks)

        def moderate() -> None:
            while len(fake.tasks) == handle_count:
                time.sleep(0.001)
            fake.tasks[f"task-{handle_count}"].status = "Content Moderated"

        moderator = threading.Thread(target=moderate)
        moderator.start()
        mixed = bfl.gather(cats(2), return_exceptions=True)
        moderator.join()
        assert [type(one) for one in mixed] == [TaskModeratedError, Result]


def test_many_threads_share_one_clients_slots() -> None:
    """Each waits for its own; the limit holds for all."""
    fake = api(limit=3)
    with client(fake) as bfl, ThreadPoolExecutor(12) as pool:
        ids = list(pool.map(lambda n: bfl.generate("flux-dev", prompt=str(n)).task_id, range(30)))
        assert len(set(ids)) == 30
        assert bfl.statistics().ready == 30
    # That all of them are in use at a time is a matter of speed; that no more are is the rule.
    assert fake.peak_active <= 3
    assert fake.refused_429 == 0


def test_threads_may_iterate_one_stream() -> None:
    """Each outcome goes to one of them."""
    with client(api()) as bfl, bfl.stream(cats(30)) as outcomes, ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: [outcome.index for outcome in outcomes], range(3)))
    assert sorted(itertools.chain(*parts)) == list(range(30))


# ---- opening and closing


def test_open_and_close_by_hand_in_threads() -> None:
    """Idempotent; a closed client stays closed; its thread is gone."""
    bfl = client(api())
    assert "new" in repr(bfl)
    with pytest.raises(ClientClosedError, match="open"):
        bfl.credits()
    with ThreadPoolExecutor(4) as pool:
        assert {id(one) for one in pool.map(lambda _: bfl.open(), range(4))} == {id(bfl)}
    assert bfl.credits() == 1000.0
    assert repr(bfl).startswith("<BFL https://api.bfl.ai open: 0 queued")
    bfl.close()
    bfl.close()
    assert bfl.statistics().submitted == 0
    assert bfl.timings()["models"] == {}
    for call in (bfl.open, bfl.credits, lambda: bfl.submit_nowait("flux-dev", prompt="a")):
        with pytest.raises(ClientClosedError):
            call()
    never = client(api())
    never.close()
    with pytest.raises(ClientClosedError):
        never.open()


def test_views_share_the_thread_and_close_nothing() -> None:
    """As views of the client do."""
    with client(api()) as bfl:
        view = bfl.with_options(timeout=5).with_options(priority=2)
        assert view.generate("flux-dev", prompt="a cat").task_id == "task-0"
        for refused in (view.open, view.close, view.__enter__):
            with pytest.raises(ConfigError, match="with its client"):
                refused()
        assert "timeout=5" in repr(view)
        del view
        gc.collect()
        assert bfl.credits() == 1000.0
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(bfl)


def test_a_close_ends_the_waits_of_other_threads() -> None:
    """They are raised what the client raises; none hangs."""
    fake = api(service_s=math.inf)
    with ThreadPoolExecutor(4) as pool:
        with client(fake) as bfl:
            calls = [pool.submit(lambda: bfl.generate("flux-dev", prompt="a cat")) for _ in range(3)]
            streaming = pool.submit(lambda: next(bfl.stream(cats(1))))
            while bfl.statistics().active < 4:
                time.sleep(0.001)
        for call in calls:
            assert isinstance(call.exception(timeout=5), ClientClosedError)
        assert isinstance(streaming.result(timeout=5).error, ClientClosedError)


def test_a_forgotten_close_warns_and_ends_the_thread() -> None:
    """The collector waits for nothing; connections are closed all the same."""
    fake = api()
    open_clients = [client(fake).open()]
    (thread,) = (one for one in threading.enumerate() if one.name == "bfl-async")
    with pytest.warns(ResourceWarning, match="BFL client was not closed: use `with`"):
        open_clients.clear()
    thread.join(5)
    assert not thread.is_alive()


def test_a_blocking_call_in_the_clients_own_thread_is_refused() -> None:
    """It would wait for itself for ever."""
    caught: list[Exception] = []

    def key() -> str:
        try:
            bfl.credits()
        except ConfigError as exc:
            caught.append(exc)
        return "a-key-of-ours"

    bfl = BFL(key, base_url="http://127.0.0.1:9", timeouts=Timeouts(connect=0.1))
    with bfl, pytest.raises(bfl_async.ConnectError):
        bfl.generate("flux-dev", prompt="a cat")
    assert "own thread" in str(caught[0])


def test_a_session_of_another_loop_is_refused() -> None:
    """Its connections could not be used."""
    with pytest.raises(ConfigError, match="session="):
        BFL("a-key", session=object.__new__(aiohttp.ClientSession))


def test_a_thread_without_a_loop_tells_who_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a process has no file left to open: nobody waits for ever."""

    def fail() -> asyncio.AbstractEventLoop:
        raise OSError(24, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio.events, "new_event_loop", fail)
        with pytest.raises(OSError, match="too many open files"):
            client(api()).open()


def test_a_system_without_another_thread_tells_who_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The opening can be repeated."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bfl = client(api())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            bfl.open()
    with bfl:
        assert bfl.credits() == 1000.0


def at_once(*calls: Callable[[], object]) -> list[BaseException | None]:
    """Make each call in a thread of its own, all at the same moment; return what each has raised."""
    barrier = threading.Barrier(len(calls))

    def make(call: Callable[[], object]) -> object:
        barrier.wait(5)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(make, call) for call in calls]
        return [future.exception(timeout=10) for future in futures]


def the_thread() -> threading.Thread | None:
    """The thread of the one client of a test."""
    return next((one for one in threading.enumerate() if one.name == "bfl-async"), None)


@pytest.fixture
def _busy_switching() -> Iterator[None]:
    """Let threads alternate far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_busy_switching")
@pytest.mark.parametrize("drain", [0.0, 0.001, None])
def test_any_number_of_threads_may_close_at_once(drain: float | None) -> None:
    """None of them fails, and when one has returned, the client is closed and its thread has ended."""
    left: list[threading.Thread | None] = []
    for _ in range(40):
        bfl = client(api(service_s=0.003)).open()
        bfl.submit_nowait("flux-dev", prompt="a cat")

        def close(bfl: BFL = bfl) -> None:
            bfl.close(drain=drain)
            left.append(the_thread())
            bfl.close()

        assert at_once(*[close] * 6) == [None] * 6
    assert left == [None] * 240


def test_a_close_cuts_the_drain_of_another_thread_short() -> None:
    """As two coroutines of the client do."""
    bfl = client(api(service_s=math.inf)).open()
    bfl.submit("flux-dev", prompt="a cat")
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(bfl.close, drain=None)
        wait_until(lambda: "closing" in repr(bfl))
        pool.submit(bfl.close).result(timeout=10)
        assert patient.result(timeout=10) is None
        assert the_thread() is None


@pytest.mark.usefixtures("_busy_switching")
def test_a_client_may_be_opened_and_closed_at_once() -> None:
    """Whoever opens it finds it open or closed; no close fails, and at the end it is closed."""
    for n in range(60):
        bfl = client(api())
        if n % 2:
            bfl.open()
        errors = at_once(bfl.open, bfl.close, bfl.open, bfl.close, bfl.open)
        assert [errors[1], errors[3]] == [None, None]
        assert all(error is None or isinstance(error, ClientClosedError) for error in errors)
        wait_until(lambda: the_thread() is None)
        with pytest.raises(ClientClosedError):
            bfl.open()


@pytest.mark.usefixtures("_busy_switching")
def test_what_needs_no_open_client_works_while_it_is_being_closed() -> None:
    """Looking at a client, a handle or a stream, withdrawing, stopping and closing a stream, before as after."""
    for _ in range(30):
        fake = api(limit=1, service_s=math.inf)
        bfl = client(fake).open()
        view = bfl.with_options(timeout=5)
        handle, queued = bfl.submit("flux-dev", prompt="a"), bfl.submit_nowait("flux-dev", prompt="b")
        stream = bfl.stream(cats(5))
        looks: list[Callable[[], object]] = [
            bfl.statistics,
            view.__repr__,
            bfl.timings,
            queued.withdraw,
            lambda: handle.queue_position,  # noqa: B023 - called in this round
            stream.stop,
            stream.close,
            stream.close,
            lambda: (stream.in_flight, stream.waiting),  # noqa: B023 - called in this round
        ]
        assert at_once(bfl.close, *looks) == [None] * (len(looks) + 1)
        assert [look() is None or True for look in looks] == [True] * len(looks)


def test_calls_that_wait_when_the_client_is_closed_are_told_so() -> None:
    """Whatever they wait for, and however many threads close it."""
    bfl = client(api(limit=1, service_s=math.inf)).open()
    handle = bfl.submit("flux-dev", prompt="a cat")
    queued = bfl.submit_nowait("flux-dev", prompt="a dog")
    waits: list[Callable[[], object]] = [
        bfl.drain,
        handle.result,
        queued.accepted,
        lambda: list(handle.updates())[-1].state,
        lambda: bfl.with_options(priority=1).generate("flux-dev", prompt="a bird"),
    ]
    with ThreadPoolExecutor(len(waits) + 3) as pool:
        calls = [pool.submit(wait) for wait in waits]
        wait_until(lambda: bfl.statistics().queued == 2)
        for closing in [pool.submit(bfl.close) for _ in range(3)]:
            assert closing.exception(timeout=10) is None
        for call in calls:
            error = call.exception(timeout=10)
            assert isinstance(error, ClientClosedError) or call.result() in (True, State.SETTLED)


def test_opening_or_closing_in_the_clients_own_thread_is_refused_and_ends_nothing() -> None:
    """It would wait for itself; the client goes on."""
    refused: list[str] = []

    def key() -> str:
        for call in (bfl.open, bfl.close, stream.close):
            with pytest.raises(ConfigError, match="own thread"):
                call()
            refused.append(call.__name__)
        return "a-key-of-ours"

    with BFL(key, base_url="http://127.0.0.1:9", timeouts=Timeouts(connect=0.05)) as bfl:
        stream = bfl.stream(cats(1))
        for _ in range(2):
            with pytest.raises(bfl_async.ConnectError):
                bfl.generate("flux-dev", prompt="a cat")
    assert refused[:3] == ["open", "close", "close"]


def test_an_opening_that_fails_ends_the_thread_and_can_be_repeated() -> None:
    """As with the client's own `open`."""
    failures = iter([OSError("not yet"), asyncio.CancelledError()])

    class Receiver(WebhookReceiver):
        async def open(self) -> None:
            for failure in failures:
                raise failure

    bfl = BFL(transport=api(), webhook=Receiver("https://app.example/bfl", "a secret of some length"))
    for error in (OSError, TransportError):
        with pytest.raises(error):
            bfl.open()
        assert the_thread() is None
    with bfl:
        assert bfl.credits() == 1000.0


def test_a_cancellation_inside_a_call_is_a_failed_call() -> None:
    """Nobody has closed the client, or cancelled the call: a task that is shared with others was cancelled."""

    class Shared(FakeAPI):
        async def poll(self, url: str) -> Reply:
            if url == "/v1/credits" and len(self.polled) < 3:
                self.polled.append((0.0, url))
                raise asyncio.CancelledError
            return await super().poll(url)

    with client(Shared()) as bfl:
        with pytest.raises(TransportError):
            bfl.credits()
        assert bfl.credits() == 1000.0


def test_a_cancellation_in_a_source_is_an_error_of_the_source() -> None:
    """The outcomes of what was read come first; the stream does not end as if the source had."""

    def source() -> Iterator[ImageRequest]:
        yield from cats(2)
        raise asyncio.CancelledError

    with client(api()) as bfl:
        outcomes = bfl.stream(source(), ordered=True)
        assert [next(outcomes).index, next(outcomes).index] == [0, 1]
        with pytest.raises(RuntimeError, match="source was cancelled"):
            next(outcomes)


@pytest.mark.parametrize("line", range(1, 20))
def test_no_item_of_a_stream_is_lost_wherever_its_thread_rests(line: int) -> None:
    """The loop may ask for the next item at any step of the thread that has just given one."""
    function = OutcomeStream._answer.__code__

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if frame.f_code is not function:
            return None
        if event == "line" and frame.f_lineno == function.co_firstlineno + line:
            time.sleep(0.01)
        return trace

    def iterate() -> list[int]:
        sys.settrace(trace)
        try:
            return [outcome.index for outcome in outcomes]
        finally:
            sys.settrace(None)

    with client(api(limit=4)) as bfl, ThreadPoolExecutor(1) as pool:
        outcomes = bfl.stream(cats(6), ordered=True)
        iterating = pool.submit(iterate)
        try:
            assert iterating.result(timeout=5) == list(range(6))
        finally:
            bfl.close()
            outcomes._news.set()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before")
def test_eager_tasks_change_nothing() -> None:
    """A factory that an observer or a transport has set in the client's loop."""

    class Eager(FakeAPI):
        async def poll(self, url: str) -> Reply:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore] # since 3.12
            return await super().poll(url)

    with client(Eager(service_s=0.01, submit_s=API_S, poll_s=API_S)) as bfl:
        bfl.credits()
        assert bfl.generate("flux-dev", prompt="a cat").task_id == "task-0"
        assert [outcome.index for outcome in bfl.stream(cats(5), ordered=True)] == list(range(5))
        with pytest.raises(TaskTimeoutError):
            bfl.generate("flux-dev", prompt="a dog", timeout=0.001)
        assert at_once(bfl.close, bfl.close) == [None, None]


def _used_in_a_child(bfl: BFL) -> None:
    try:
        bfl.credits()
    except ConfigError as exc:
        is_told = "fork" in str(exc) and "BFL" in repr(bfl)
        with suppress(ConfigError):
            bfl.close()
        os._exit(7 if is_told else 1)
    os._exit(2)


def test_a_fork_of_an_open_client_says_what_to_do() -> None:
    """The thread is not there: waiting for it would hang."""
    with client(api()) as bfl:
        child = multiprocessing.get_context("fork").Process(target=_used_in_a_child, args=[bfl])
        child.start()
        child.join(10)
        assert child.exitcode == 7
        assert bfl.credits() == 1000.0


CTRL_C = """
import _thread, logging, os, signal, sys, threading, time
from bfl_async import request
from bfl_async.sync import BFL
logging.basicConfig()
from tests.fake import FakeAPI

PRESS = {
    "signal": lambda: os.kill(os.getpid(), signal.SIGINT),
    # As a signal that arrives before the thread blocks: the wait is not interrupted.
    "noted": _thread.interrupt_main,
}

def generate():
    bfl.generate("flux-dev", prompt="queued")

def stream():
    with bfl.stream([request("flux-dev", prompt="queued")]) as outcomes:
        next(outcomes)

api = FakeAPI(service_s=60, limit=1)
with BFL(limits=1, transport=api) as bfl:
    bfl.submit("flux-dev", prompt="in flight")

    def press():
        while bfl.statistics().queued == 0:
            time.sleep(0.001)
        PRESS[sys.argv[1]]()

    threading.Thread(target=press).start()
    try:
        {"generate": generate, "stream": stream}[sys.argv[2]]()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    while bfl.statistics().queued:
        time.sleep(0.001)
    now = bfl.statistics()
    print(now.withdrawn, now.active, len(api.posts))
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize("wait", ["generate", "stream"])
@pytest.mark.parametrize("press", ["signal", "noted"])
def test_ctrl_c_withdraws_the_wait_and_the_with_block_closes(press: str, wait: str) -> None:
    """What was not sent is not sent; what was sent is named by the closing; no thread is left.

    This also holds for a Ctrl-C that Python has noted and that does not interrupt the wait.
    """
    run = subprocess.run(
        [sys.executable, "-c", CTRL_C, press, wait], capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stdout.splitlines() == ["interrupted", "1 1 1", "['MainThread']"]
    assert "task-0; each can be attached" in run.stderr


def wait_until(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait for another thread to get so far."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def is_collected(frame: FrameType | None) -> bool:
    """True within `__del__`, which the collector may call at any step: an error there reaches no caller."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@contextmanager
def ctrl_c_at(step: int) -> Iterator[None]:
    """Press Ctrl-C at the so-many-eth step that this thread makes in `bfl_async.sync`: a line, or a return."""
    steps = itertools.count(1)

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        name = frame.f_code.co_filename
        # A wait that looks again and again has steps without end.
        if not name.startswith(SYNC) or is_collected(frame) or frame.f_code.co_name == "wait_for_end":
            return None
        # At the end of a `with` and at a `try` within one the interpreter looks at no signal, where a trace could
        # raise and leave the lock taken; and what is being returned was handed out.
        if event == "line":
            code = linecache.getline(name, frame.f_lineno).lstrip()
            counts = not code.startswith(("with ", "try:", "return outcome"))
        else:
            counts = event == "return" and frame.f_code.co_name != "__next__"
        if counts and next(steps) == step:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.slow
def test_ctrl_c_at_any_step_of_a_call_withdraws_what_was_not_sent() -> None:
    """Also in the moment between the handing over and the waiting."""
    with client(api(limit=1, service_s=60.0)) as bfl:
        bfl.submit("flux-dev", prompt="in flight")
        for step in itertools.count(1):
            end = threading.Timer(5.0, bfl.close)  # of the call that has no more steps, and waits
            end.start()
            try:
                with ctrl_c_at(step):
                    bfl.generate("flux-dev", prompt="queued")
            except KeyboardInterrupt:
                end.cancel()
                wait_until(lambda: bfl.statistics().queued == 0)
            except ClientClosedError:
                break
        end.join()
        assert step > 10


def test_ctrl_c_at_any_step_of_a_stream_loses_no_outcome() -> None:
    """The next call returns what this one waited for."""
    with client(api()) as bfl:
        for step in itertools.count(1):
            outcomes = bfl.stream(cats(2))
            found: list[Outcome] = []
            pressed = False
            try:
                with ctrl_c_at(step):
                    found.append(next(outcomes))
            except KeyboardInterrupt:
                pressed = True
            found += outcomes
            assert sorted(outcome.index for outcome in found) == [0, 1]
            if not pressed:
                break
        assert step > 10


@pytest.mark.parametrize("drain", [0.0, 60.0])
def test_ctrl_c_at_any_step_of_a_close_leaves_no_thread(drain: float) -> None:
    """The closing is carried through; a close that follows finds it closed."""
    for step in itertools.count(1):
        bfl = client(api(limit=1, service_s=0.02)).open()
        bfl.submit_nowait("flux-dev", prompt="in flight")
        pressed = False
        try:
            with ctrl_c_at(step):
                bfl.close(drain=drain)
        except KeyboardInterrupt:
            pressed = True
        bfl.close()
        assert the_thread() is None
        if not pressed:
            break
    assert step > 10


def test_ctrl_c_at_any_step_of_an_opening_leaves_a_client_that_can_be_closed() -> None:
    """It is open or it is not; closing it ends the thread."""
    for step in itertools.count(1):
        bfl = client(api())
        pressed = False
        try:
            with ctrl_c_at(step):
                bfl.open()
        except KeyboardInterrupt:
            pressed = True
        bfl.close()
        assert the_thread() is None
        if not pressed:
            break
    assert step > 10


def test_a_program_that_forgot_to_close_ends() -> None:
    """Its thread is a daemon."""
    code = "from bfl_async.sync import BFL; BFL('a-key', base_url='http://127.0.0.1:9').open().statistics()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert run.returncode == 0


def test_messages_of_a_client_that_is_not_open_are_about_this_client() -> None:
    """Nothing here is awaited."""
    bfl = BFL("a-key")
    calls: list[Callable[[], object]] = [
        bfl.statistics,
        bfl.timings,
        bfl.credits,
        bfl.drain,
        bfl.with_options(timeout=1).statistics,
        lambda: bfl.generate("flux-dev", prompt="a cat"),
        lambda: bfl.stream([]),
        lambda: bfl.attach("a-task"),
    ]
    for call in calls:
        with pytest.raises(
            ClientClosedError, match=r"the client is not open: use `with BFL\(\) as bfl`, or open"
        ):
            call()
    bfl.open().close()
    for call in (bfl.credits, bfl.open):
        with pytest.raises(ClientClosedError, match="the client is closed: make a new one"):
            call()
