"""Calls that end as they promise: opening, closing, other loops, cancellations from elsewhere, and what is logged."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    BFLError,
    ClientClosedError,
    ConfigError,
    Fixed,
    FluxPro11,
    LimiterError,
    Limits,
    Result,
    SaveError,
    TaskTimeoutError,
    Timeouts,
)
from bfl_async.events import Event, Settled
from bfl_async.limiter import LocalLimiter
from bfl_async.types import Lease, Reply, State
from bfl_async.webhooks import WebhookReceiver
from tests.fake import JPEG, FakeAPI, reply, spin

looptime = pytest.mark.looptime(start=0)


def now() -> float:
    return asyncio.get_running_loop().time()


# --- opening -----------------------------------------------------------------------------------------------


class SlowLimiter(LocalLimiter):
    """Takes a second to open."""

    def __init__(self) -> None:
        super().__init__(4)
        self.opened = self.closed = 0

    async def open(self) -> None:
        await asyncio.sleep(1)
        self.opened += 1
        await super().open()

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


@looptime
async def test_opening_many_times_at_once_opens_once() -> None:
    """One scheduler and one set of connections, whoever waits for them."""
    limiter = SlowLimiter()
    bfl = AsyncBFL(limiter=limiter, transport=FakeAPI(), polling=Fixed(0.1))
    opened = await asyncio.gather(*(bfl.open() for _ in range(5)))
    assert {*map(id, opened)} == {id(bfl)}
    assert limiter.opened == 1
    await bfl.generate("flux-dev", prompt="x")
    await bfl.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@looptime
@pytest.mark.parametrize("closers", [1, 3])
async def test_a_client_that_is_closed_while_it_opens_stays_closed(closers: int) -> None:
    """The state is looked at again after each wait."""
    bfl = AsyncBFL(limiter=SlowLimiter(), transport=FakeAPI())
    openings = [asyncio.create_task(bfl.open()) for _ in range(2)]
    await asyncio.sleep(0.5)
    await asyncio.gather(*(bfl.aclose() for _ in range(closers)))
    for end in await asyncio.gather(*openings, return_exceptions=True):
        assert isinstance(end, ClientClosedError)
    with pytest.raises(ClientClosedError):
        await bfl.open()
    await asyncio.sleep(2)
    assert "closed" in repr(bfl)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@looptime
async def test_an_opening_whose_callers_left_can_be_begun_again() -> None:
    """One of two leaves: it goes on. Both leave: it ends, and the client is as new."""
    limiter = SlowLimiter()
    bfl = AsyncBFL(limiter=limiter, transport=FakeAPI())
    one, two = (asyncio.create_task(bfl.open()) for _ in range(2))
    await asyncio.sleep(0.3)
    one.cancel()
    await asyncio.sleep(0.3)
    assert not two.done()
    two.cancel()
    await asyncio.gather(one, two, return_exceptions=True)
    assert limiter.opened == 0
    async with bfl:
        assert limiter.opened == 1


@looptime
async def test_an_opening_that_fails_closes_what_it_had_opened() -> None:
    """And says why, to each of its callers; it may be tried again."""

    class Receiver(WebhookReceiver):
        failures = 1

        async def open(self) -> None:
            await asyncio.sleep(1)
            if self.failures:
                self.failures -= 1
                raise LimiterError("not yet")

    bfl = AsyncBFL(transport=FakeAPI(), webhook=Receiver("https://app.example/bfl", "s" * 20))
    ends = await asyncio.gather(bfl.open(), bfl.open(), return_exceptions=True)
    assert [type(end) for end in ends] == [LimiterError, LimiterError]
    assert ends[0] is not ends[1], "each has an exception of its own"
    async with bfl:
        pass


# --- closing and the end of the loop -----------------------------------------------------------------------


def test_a_loop_that_ends_without_a_close_sends_nothing_more() -> None:
    """The slots that the cancelled requests free send no others."""
    api = FakeAPI(limit=2, service_s=math.inf, submit_s=0.02)
    clients: list[AsyncBFL] = []

    async def main() -> None:
        clients.append(await api.client().open())
        for n in range(12):
            clients[0].submit_nowait("flux-dev", prompt=str(n))
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert len(api.posts) + 0 <= 2
    assert len(api.tasks) <= 2
    assert clients[0].statistics().queued == 0
    with pytest.warns(ResourceWarning, match="was not closed"):
        clients.clear()


def test_a_loop_that_ends_while_a_caller_leaves_sends_nothing_for_the_next_one() -> None:
    """The caller's request frees the slot before its own runner is cancelled."""
    api = FakeAPI(limit=1)
    clients: list[AsyncBFL] = []

    async def main() -> None:
        clients.append(await api.client().open())
        call = asyncio.create_task(clients[0].generate("flux-dev", prompt="a"))
        await asyncio.sleep(0)
        clients[0].submit_nowait("flux-dev", prompt="b")
        assert not call.done()

    asyncio.run(main())
    assert api.posts == []

    def drop() -> None:
        clients.clear()
        # Coroutines that the loop's end has cancelled may refer to each other.
        gc.collect()

    with pytest.warns(ResourceWarning, match="was not closed"):
        drop()


@looptime
async def test_a_runner_cancelled_from_outside_stops_admission() -> None:
    """A program that cancels all tasks tears the client down as well."""
    api = FakeAPI(limit=1, service_s=5)
    bfl = await api.client().open()
    handles = [bfl.submit_nowait("flux-dev", prompt=str(n)) for n in range(3)]
    await asyncio.sleep(1)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(20)
    assert len(api.posts) == 1
    assert all(handle.done() for handle in handles)
    with pytest.raises(ClientClosedError):
        await bfl.generate("flux-dev", prompt="x")
    await bfl.aclose()


# --- a limiter that fails ----------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("error", [LimiterError("closed"), ConfigError("not open"), RuntimeError("a bug")])
async def test_requests_end_where_the_limiter_fails(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing call into the limiter leaves no entry without an end."""

    class Failing(LocalLimiter):
        fails = False

        def enqueue(self, lease: Lease) -> None:
            if self.fails:
                raise error
            super().enqueue(lease)

    limiter = Failing(2)
    api = FakeAPI(limit=2)
    api.script_submits(*[reply(503, {"detail": "busy"}), reply(429, {"detail": "no"})] * 3)
    async with AsyncBFL(limiter=limiter, transport=api, polling=Fixed(0.1)) as bfl:
        calls = [asyncio.create_task(bfl.generate("flux-dev", prompt=str(n))) for n in range(4)]
        await asyncio.sleep(0.12)
        limiter.fails = True
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, BFLError | Result) for end in ends), ends
        assert any(isinstance(end, BFLError) for end in ends)
        assert bfl.statistics().queued == 0


# --- cancellations that are not ours -----------------------------------------------------------------------


class Cancelling(FakeAPI):
    """A transport in which something that it waits for is cancelled, as often as asked."""

    submits_cancelled = polls_cancelled = downloads_cancelled = 0

    async def submit(self, path: str, body: bytes) -> Reply:
        if self.submits_cancelled:
            self.submits_cancelled -= 1
            raise asyncio.CancelledError
        return await super().submit(path, body)

    async def poll(self, url: str) -> Reply:
        if self.polls_cancelled:
            self.polls_cancelled -= 1
            shared: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            shared.cancel()
            return await shared
        return await super().poll(url)

    async def download(self, url: str, *, timeout: float) -> Reply:
        if self.downloads_cancelled:
            self.downloads_cancelled -= 1
            raise asyncio.CancelledError
        return await super().download(url, timeout=timeout)


@looptime
async def test_a_cancellation_in_a_poll_is_a_failed_poll() -> None:
    """The paid task is followed on."""
    api = Cancelling()
    api.polls_cancelled = 4
    async with api.client() as bfl:
        assert isinstance(await bfl.generate("flux-dev", prompt="x"), Result)


@looptime
async def test_a_cancellation_in_a_submit_of_a_foreign_transport_is_ambiguous_and_ends_nothing_else() -> None:
    """Whether anything was sent is for that transport to say; the client stays open."""
    api = Cancelling()
    api.submits_cancelled = 1
    async with api.client() as bfl:
        one, two = await asyncio.gather(
            bfl.generate("flux-dev", prompt="a"), bfl.generate("flux-dev", prompt="b"), return_exceptions=True
        )
        assert {type(one), type(two)} == {AmbiguousSubmitError, Result}
        assert not any("closed" in str(end) for end in (one, two))


@looptime
async def test_a_cancellation_in_a_download_or_an_account_call_is_repeated() -> None:
    """Both cost nothing."""
    api = Cancelling()
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="a")
        api.downloads_cancelled = 3
        assert await result.read() == JPEG
        api.polls_cancelled = 2
        assert await bfl.credits() == 1_000


# --- handles, results and streams in another loop ----------------------------------------------------------


async def test_objects_of_a_client_say_in_another_loop_that_they_belong_to_one() -> None:
    """A wait there would not be woken."""
    api = FakeAPI(service_s=0)
    bfl = await api.client().open()
    result = await bfl.generate("flux-dev", prompt="x")
    api.service_s = math.inf
    handle = await bfl.submit("flux-dev", prompt="x")
    stream = bfl.stream([FluxPro11(prompt="y")])
    ends: list[object] = []

    async def elsewhere() -> None:
        waits: list[Callable[[], object]] = [
            lambda: handle.result(timeout=1),
            lambda: handle.__await__().__next__(),
            lambda: anext(handle.updates()),
            lambda: result.read(timeout=1),
            lambda: result.save("x", timeout=1),
            lambda: anext(stream),
            lambda: stream.aclose(),
            lambda: bfl.generate("flux-dev", prompt="z"),
            lambda: bfl.drain(0),
            handle.withdraw,
            stream.stop,
        ]
        for wait in waits:
            try:
                made = wait()
                ends.append(await made if asyncio.iscoroutine(made) else made)
            except Exception as exc:
                ends.append(exc)

    await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(elsewhere()))
    assert [type(end) for end in ends] == [ConfigError] * len(ends), ends
    await bfl.aclose()
    assert not os.path.exists("x")


@looptime
async def test_one_iterator_of_updates_may_be_read_by_several_coroutines() -> None:
    """Each ends with the task; no reader waits for a change that has happened."""
    api = FakeAPI(service_s=3)
    async with api.client() as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        updates = handle.updates()
        seen: list[State] = []

        async def follow() -> None:
            seen.extend([update.state async for update in updates])

        async with asyncio.timeout(60):
            await asyncio.gather(*(follow() for _ in range(4)))
        assert seen.count(State.SETTLED) == 1


# --- streams -----------------------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("how", ["stop", "aclose", "leave"])
async def test_a_source_that_ends_its_own_stream_sends_nothing_more(how: str) -> None:
    """A synchronous source is looked after like an asynchronous one."""
    api = FakeAPI(limit=20, service_s=1)
    async with api.client() as bfl:

        def source() -> Iterator[FluxPro11]:
            for n in range(12):
                if n == 3:
                    if how == "stop":
                        stream.stop()
                    elif how == "aclose":
                        closing.append(asyncio.ensure_future(stream.aclose()))
                        stream.stop()
                    else:
                        stream._core.leave()
                yield FluxPro11(prompt=str(n))

        closing: list[asyncio.Future[None]] = []
        stream = bfl.stream(source(), window=20)
        async for _ in stream:
            pass
        await asyncio.gather(*closing)
        await bfl.drain()
        assert len(api.posts) <= 3


# --- one task, one slot ------------------------------------------------------------------------------------


@looptime
async def test_a_task_that_is_attached_after_its_deadline_takes_one_slot_and_frees_it() -> None:
    """Invariant 1: the slot follows the task, however many handles it has."""
    api = FakeAPI(limit=1, service_s=4)
    async with api.client(limits=Limits(account=1, unknown_s=500), timeouts=Timeouts(task=2)) as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate("flux-dev", prompt="x")
        assert caught.value.task_id is not None
        handle = bfl.attach(caught.value.task_id, polling_url=caught.value.polling_url)
        assert bfl.statistics().slots_taken == 1
        assert isinstance(await bfl.attach(caught.value.task_id), Result)
        assert handle.done()
        assert bfl.statistics().slots_taken == 0
        began = now()
        await bfl.submit("flux-dev", prompt="y")
        assert now() - began < 1


# --- what no caller received -------------------------------------------------------------------------------


@looptime
@pytest.mark.parametrize("call", ["generate", "submit", "gather"])
async def test_a_result_whose_caller_leaves_in_the_turn_of_its_end_is_logged(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A paid result that no caller received has a line, as one that came a little later."""
    caplog.set_level(logging.INFO, logger="bfl_async")
    task: asyncio.Task[object]

    class Leaving:
        def on_event(self, event: Event) -> None:
            if isinstance(event, Settled):
                asyncio.get_running_loop().call_soon(task.cancel)

    api = FakeAPI(service_s=1)
    async with api.client(observer=Leaving()) as bfl:
        if call == "generate":
            task = asyncio.create_task(bfl.generate("flux-dev", prompt="x"))
        elif call == "gather":
            task = asyncio.create_task(bfl.gather([FluxPro11(prompt="x")]))
        else:
            task = asyncio.create_task(_submit_and_wait(bfl))
        with pytest.raises(asyncio.CancelledError):
            await task
    lines = [record.getMessage() for record in caplog.records if "attach() brings" in record.getMessage()]
    assert len(lines) == 1


async def _submit_and_wait(bfl: AsyncBFL) -> Result:
    # The handle is lost together with its caller.
    return await (await bfl.submit("flux-dev", prompt="x"))


@looptime
async def test_results_that_a_failing_gather_or_a_left_stream_drops_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are paid, and attach() brings them."""
    caplog.set_level(logging.INFO, logger="bfl_async")
    api = FakeAPI(limit=4, service_s=lambda n: (1, 3, 3, 3)[n % 4])
    async with api.client() as bfl:
        call = asyncio.create_task(bfl.gather([FluxPro11(prompt=str(n)) for n in range(4)]))
        await asyncio.sleep(2)
        api.end("task-1", "Error")
        with pytest.raises(BFLError):
            await call
        assert sum("task-0" in record.getMessage() for record in caplog.records) == 1
        await bfl.drain()
        caplog.clear()
        async with bfl.stream([FluxPro11(prompt=str(n)) for n in range(4)], ordered=True):
            await asyncio.sleep(10)
        assert sum("attach() brings" in record.getMessage() for record in caplog.records) == 4


@looptime
async def test_a_result_whose_handle_was_dropped_is_logged_and_one_that_was_awaited_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, whether the handle is lost before its end or after it."""
    caplog.set_level(logging.INFO, logger="bfl_async")
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:
        kept = await bfl.submit("flux-dev", prompt="a")
        await kept
        del kept
        await bfl.submit("flux-dev", prompt="b")
        late = bfl.submit_nowait("flux-dev", prompt="c")
        await bfl.drain()
        del late
        gc.collect()
    lines = [record.getMessage() for record in caplog.records if "attach() brings" in record.getMessage()]
    assert sorted(line.split()[1] for line in lines) == ["task-1", "task-2"]


# --- what fails late ---------------------------------------------------------------------------------------


def test_without_file_descriptors_calls_end_with_errors_of_ours(tmp_path: Path) -> None:
    """Whatever is loaded or started on first use: an `OSError` of the system's is none of our tree."""
    code = textwrap.dedent(
        """
        import asyncio, os, resource, sys
        from bfl_async import AsyncBFL, BFLError, Fixed
        from tests.fake import FakeAPI

        async def main():
            api = FakeAPI(service_s=0)
            async with AsyncBFL(transport=api, polling=Fixed(0.1)) as bfl:
                results = await bfl.gather([__import__("bfl_async").FluxPro11(prompt="x")] * 3)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
                saves = [result.save(sys.argv[1]) for result in results[:2]]
                for call in (saves[0], bfl.credits(), bfl.finetunes(), saves[1]):
                    try:
                        await call
                        print("ok")
                    except BaseException as exc:
                        print(type(exc).__name__, isinstance(exc, BFLError), getattr(exc, "errno", None))

        asyncio.run(main())
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.jpg")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[0] == lines[3] == "SaveError True 24"
    assert all(line == "ok" or " True " in line for line in lines), lines


@looptime
async def test_a_thread_that_cannot_be_started_is_a_save_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also an `OSError`; the result stays, and can be saved later."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    api = FakeAPI()
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(SaveError, match="cannot start a thread"):
                await result.save(tmp_path / "x.jpg")


# --- eager tasks -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks since Python 3.12")
@looptime
async def test_eager_tasks_change_no_order() -> None:
    """A synchronous step is over before anything that it started runs."""
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - since 3.12
    names: list[str] = []

    class Notes:
        def on_event(self, event: Event) -> None:
            names.append(type(event).__name__)

    api = FakeAPI(limit=1)
    async with api.client(observer=Notes()) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        assert handle.withdraw(), "nothing was sent yet"
        names.clear()
        await bfl.generate("flux-dev", prompt="y")
        assert names[:3] == ["Queued", "Submitting", "Submitted"]
        api.script_submits(reply(422, {"detail": "no"}))
        before = len(api.posts)
        with pytest.raises(BFLError):
            await bfl.gather([FluxPro11(prompt=str(n)) for n in range(4)])
        await bfl.drain()
        assert len(api.posts) == before + 1
        api.script_submits(reply(402, {"detail": "no credits"}))
        with pytest.raises(BFLError):
            await bfl.generate("flux-dev", prompt="z")
        await asyncio.sleep(31)
        with pytest.raises(BFLError):
            await bfl.generate(
                "flux-pro-1.0-fill", prompt="a probe that this side refuses", image=b"no image"
            )
        assert isinstance(await bfl.generate("flux-dev", prompt="z"), Result)
        await spin()


# --- large results -----------------------------------------------------------------------------------------


async def test_checking_a_large_result_does_not_hold_the_loop() -> None:
    """A video may consist of thousands of boxes, at most 10,000: how many is for the server to choose."""
    box = b"\0\0\0\x08free"
    head = b"\0\0\0\x18ftypisom\0\0\0\0isomiso2"
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        too_many = reply(200, head + box * 3_000_000, content_type="video/mp4")
        video = head + box * 9_999
        api.download_script.extend([too_many, reply(200, video, content_type="video/mp4")])
        longest = 0.0

        async def count() -> None:
            nonlocal longest
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, time.perf_counter() - began)

        counting = asyncio.create_task(count())
        await asyncio.sleep(0.01)
        longest = 0.0
        assert await result.read() == video
        counting.cancel()
        assert len(api.downloaded) == 2
        assert longest < 0.25
