"""Faults that were found in the core, each with the test that would have found it."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    FluxPro11,
    ImageRequest,
    InsufficientCreditsError,
    InvalidRequestError,
    Limits,
    Outcome,
    QueueFullError,
    ReplyShapeError,
    ServerError,
    TaskError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
)
from bfl_async.engine import submitting
from bfl_async.limiter import LocalLimiter
from bfl_async.types import JSON, Lease, Reply
from bfl_async.wire.encoding import encode_body
from bfl_async.wire.redaction import body_text, detail_of
from tests.fake import JPEG, FakeAPI, prompts, reply, spin, status

pytestmark = pytest.mark.looptime(start=0)


def a_request(prompt: str = "a cat") -> FluxPro11:
    return FluxPro11(prompt=prompt)


async def test_opening_the_spending_gate_never_refuses_who_waited() -> None:
    """Invariants 2 and 7: a full queue must not forget the task that reopened spending."""
    api = FakeAPI(limit=1, service_s=5)
    async with api.client(limits=Limits(account=1, queue=2)) as bfl:
        api.script_submits(reply(402, {"detail": "no credits"}))
        with pytest.raises(InsufficientCreditsError):
            await bfl.generate(a_request())
        await asyncio.sleep(31)
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(3)]
        with pytest.raises(QueueFullError):
            bfl.submit_nowait(a_request("one too many"))
        assert len(await asyncio.gather(*handles)) == 3


async def test_stream_that_outlives_its_client_sends_nothing() -> None:
    """Invariant 9: after `aclose()` nothing is sent, whoever still holds a stream."""
    api = FakeAPI()
    async with api.client() as bfl:
        late = bfl.stream([a_request()])
        begun = bfl.stream([a_request()])
        waiting = asyncio.create_task(anext(begun))
    with pytest.raises(ClientClosedError):
        await anext(late)
    with pytest.raises(ClientClosedError):
        await waiting
    assert api.posts == []


async def test_source_that_swallows_its_cancellation_is_read_no_further() -> None:
    """Invariant 9: leaving a stream ends in bounded time, and pays for nothing that comes after."""
    api = FakeAPI(service_s=1)
    queue: asyncio.Queue[FluxPro11] = asyncio.Queue()

    async def stubborn() -> AsyncIterator[ImageRequest]:
        while True:
            try:
                yield await queue.get()
            except asyncio.CancelledError:
                yield a_request("after the end")

    async with api.client() as bfl:
        async with bfl.stream(stubborn()) as outcomes:
            queue.put_nowait(a_request("first"))
            await anext(outcomes)
            await spin()
        other = bfl.stream(stubborn())
        queue.put_nowait(a_request("second"))
        await anext(other)
    assert asyncio.get_running_loop().time() < 60
    assert prompts(api.posts) == ["first", "second"]


async def test_number_beyond_all_floats_hangs_nobody() -> None:
    """Invariant 8: whatever a reply holds, each waiter gets an answer."""
    api = FakeAPI(service_s=0)
    body = status("Ready")
    body["result"] = {"sample": "https://delivery.bfl.ai/x", "duration": 10**400, "end_time": -(10**400)}
    api.script_polls(reply(200, body))
    async with api.client() as bfl:
        result = await bfl.generate(a_request(), timeout=60)
        assert result.duration is None


@pytest.mark.parametrize("priority", [b"0", "high", 1.5])
async def test_odd_priority_is_refused_and_poisons_nothing(priority: object) -> None:
    """One caller's mistake is its own."""
    api = FakeAPI(limit=1, service_s=5)
    async with api.client() as bfl:
        first = bfl.submit_nowait(a_request("first"))
        second = bfl.submit_nowait(a_request("second"))
        with pytest.raises(ConfigError):
            bfl.submit_nowait(a_request(), priority=priority)  # type: ignore[call-overload]  # on purpose
        third = bfl.submit_nowait(a_request("third"))
        await asyncio.gather(first, second, third)
        assert bfl.statistics().pools["account"].queued == 0


@pytest.mark.parametrize("timeout", ["soon", float("nan"), True])
async def test_odd_timeout_is_refused_before_anything_is_sent(timeout: object) -> None:
    """A timeout is a number of seconds; infinity is no bound; what is past ends at once."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:
        with pytest.raises(ConfigError):
            await bfl.generate(a_request(), timeout=timeout)  # type: ignore[call-overload]  # on purpose
        assert api.posts == []
        await bfl.generate(a_request(), timeout=float("inf"))
        with pytest.raises(TaskTimeoutError):
            await bfl.generate(a_request(), timeout=-1)


async def test_cancelling_everything_during_the_close_still_names_open_tasks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A second Ctrl-C cancels all coroutines of the loop: every handle still gets its answer."""
    api = FakeAPI(service_s=100, submit_s=5)
    bfl = await api.client().open()
    running = await bfl.submit(a_request())
    posting = bfl.submit_nowait(a_request())
    await asyncio.sleep(1)
    closing = asyncio.create_task(bfl.aclose())
    await asyncio.sleep(1)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait([closing])
    with pytest.raises(ClientClosedError) as caught:
        await running
    assert [task["task_id"] for task in caught.value.tasks] == ["task-0"]
    with pytest.raises(AmbiguousSubmitError):
        await posting
    assert "task-0" in caplog.text


async def test_close_from_within_a_streams_source_does_not_wait_for_itself() -> None:
    """`aclose()` may be called from any coroutine of the loop."""
    api = FakeAPI(service_s=1)
    bfl = await api.client().open()

    async def source() -> AsyncIterator[ImageRequest]:
        yield a_request()
        await bfl.aclose()

    async with asyncio.timeout(100):
        with pytest.raises(ClientClosedError):
            async for _ in bfl.stream(source()):
                pass
        await bfl.aclose()


async def test_close_sends_nothing_that_had_not_left() -> None:
    """A slot that was granted in this very turn is given back unsent."""
    api = FakeAPI()
    bfl = await api.client().open()
    handle = bfl.submit_nowait(a_request())
    await bfl.aclose()
    assert api.posts == []
    with pytest.raises(ClientClosedError):
        await handle
    assert bfl.statistics().withdrawn == 1
    assert bfl.statistics().slots_taken == 0


async def test_item_that_breaks_in_an_unforeseen_way_is_an_outcome() -> None:
    """Invariant 8: a request class without an endpoint does not hang the stream."""

    class Mine(ImageRequest):
        prompt: str

    class Sound(ImageRequest):
        endpoint: ClassVar[str] = "/v1/my-model"
        prompt: str

    api = FakeAPI()
    async with api.client() as bfl:
        source = [a_request(), Mine(prompt="x"), Sound(prompt="y")]
        outcomes = [outcome async for outcome in bfl.stream(source, ordered=True)]
        assert [outcome.ok for outcome in outcomes] == [True, False, True]
        assert isinstance(outcomes[1].error, InvalidRequestError)
        assert api.posts[-1][0] == "/v1/my-model"


async def test_source_that_is_cancelled_by_itself_is_not_called_a_closed_client() -> None:
    """The error says what happened."""
    api = FakeAPI()
    other = asyncio.create_task(asyncio.sleep(100))

    async def source() -> AsyncIterator[ImageRequest]:
        yield a_request()
        other.cancel()
        await other

    async with api.client() as bfl:
        stream = bfl.stream(source())
        assert (await anext(stream)).ok
        with pytest.raises(RuntimeError, match="source was cancelled"):
            await anext(stream)


async def test_failed_outcomes_are_no_reference_cycles() -> None:
    """A stream of many failures needs no garbage collector to stay small."""
    api = FakeAPI(submit_s=0, poll_s=0)
    api.script_submits(*[reply(422, {"detail": "no"})] * 50)
    async with api.client() as bfl:
        gc.collect()
        # Other tests may keep errors of theirs.
        before = {id(each) for each in gc.get_objects() if isinstance(each, InvalidRequestError)}
        gc.disable()
        try:
            last: Outcome | None = None
            async for outcome in bfl.stream([a_request(str(n)) for n in range(50)]):
                last = outcome
            del outcome
            await spin()
            errors = [each for each in gc.get_objects() if isinstance(each, InvalidRequestError)]
            alive = [each for each in errors if id(each) not in before]
        finally:
            gc.enable()
        assert last is not None
        assert len(alive) <= 4


async def test_many_open_tasks_share_one_list_at_the_close() -> None:
    """Closing is not quadratic in what is open."""
    api = FakeAPI()
    bfl = await api.client().open()
    handles = [bfl.attach(f"task-{n}") for n in range(300)]
    await bfl.aclose()
    errors = await asyncio.gather(*handles, return_exceptions=True)
    assert all(isinstance(error, ClientClosedError) and len(error.tasks) == 300 for error in errors)
    assert len({id(error.tasks) for error in errors if isinstance(error, ClientClosedError)}) == 1


async def test_wait_for_a_slot_is_not_time_spent_on_connecting() -> None:
    """A request that met one bad connection, then waited for its slot, is tried again at the next."""
    api = FakeAPI(limit=1, service_s=100)
    async with api.client() as bfl:
        api.script_submits(ConnectError("no connection"))
        first = bfl.submit_nowait(a_request("first"))
        await asyncio.sleep(0.2)
        await bfl.submit(a_request("other"))
        api.script_submits(ConnectError("no connection"))
        await first
        assert prompts(api.posts) == ["first", "other", "first", "first"]


async def test_limiter_of_another_loop_leaves_no_session_open() -> None:
    """`open()` that fails leaves nothing behind; warnings are errors here."""
    limiter = LocalLimiter(3)
    other = asyncio.new_event_loop()
    await asyncio.to_thread(other.run_until_complete, limiter.open())
    with pytest.raises(ConfigError):
        await AsyncBFL("key", limiter=limiter).open()
    other.close()


@pytest.mark.parametrize("url", ["https://api.bfl.ai.", "https://a..b", "https://a;b", "https://a%20b"])
def test_base_url_that_the_key_guard_cannot_read_is_refused(url: str) -> None:
    """Before any I/O, and as one of our errors."""
    with pytest.raises(ConfigError):
        AsyncBFL("key", base_url=url)


async def test_refusal_of_an_abandoned_request_teaches_too() -> None:
    """Invariant 6: what a 429 says holds for all, also where nobody waits for that request any more."""
    api = FakeAPI(limit=1, service_s=100)
    async with api.client(limits=4) as bfl:
        await bfl.submit(a_request())
        for n in range(10):
            caller = asyncio.create_task(bfl.generate(a_request(str(n))))
            await asyncio.sleep(0.01)
            caller.cancel()
            await asyncio.sleep(0.15)
        assert bfl.statistics().pools["account"].working == 1
        assert api.refused_429 == 1


async def test_cancelled_readers_of_a_stream_leave_nothing_behind() -> None:
    """Waiting with a timeout, again and again, does not grow."""
    api = FakeAPI(service_s=1_000)
    async with api.client() as bfl, bfl.stream([a_request()]) as outcomes:
        for _ in range(100):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(outcomes), 0.1)
        assert len(outcomes._core._consumers) == 0


async def test_caller_who_leaves_while_a_large_body_is_encoded_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invariant 1: until the POST begins, the request is queued and can be withdrawn."""
    api = FakeAPI(submit_s=0)
    entered, go_on = threading.Event(), threading.Event()

    def slow(body: dict[str, JSON]) -> bytes:
        entered.set()
        go_on.wait(10)
        return encode_body(body)

    monkeypatch.setattr(submitting, "encode_body", slow)
    async with api.client() as bfl:
        caller = asyncio.create_task(bfl.generate(FluxPro11(prompt="x", image_prompt="A" * 300_000)))
        await asyncio.to_thread(entered.wait, 10)
        caller.cancel()
        await asyncio.wait([caller])
        go_on.set()
        assert await bfl.drain(10)
    assert api.posts == []
    assert bfl.statistics().withdrawn == 1


async def test_drain_waits_for_what_is_admitted_meanwhile() -> None:
    """True means that nothing is left at that moment."""
    api = FakeAPI(service_s=1)
    async with api.client() as bfl:

        async def chain() -> None:
            for n in range(3):
                await bfl.generate(a_request(str(n)))

        chained = asyncio.create_task(chain())
        await spin()
        assert await bfl.drain()
        assert chained.done()
        assert len(api.posts) == 3


@pytest.mark.parametrize("error", [AmbiguousSubmitError("lost"), ServerError("x", status_code=502)])
async def test_transport_that_is_not_sure_is_not_believed_to_have_sent_nothing(error: BFLError) -> None:
    """Invariant 2: where it is not certain that no task exists, the slot is held."""
    api = FakeAPI()
    api.script_submits(error)
    async with api.client() as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate(a_request())
        assert bfl.statistics().slots_taken == 1


async def test_builtin_timeout_of_a_transport_is_a_failed_poll() -> None:
    """Invariant 3, for transports from outside."""

    class Late(FakeAPI):
        async def poll(self, url: str) -> Reply:
            if len(self.polled) < 2:
                self.polled.append((self.now(), url))
                raise TimeoutError
            return await super().poll(url)

    api = Late(service_s=1)
    async with api.client() as bfl:
        assert (await bfl.generate(a_request())).task_id == "task-0"


async def test_wrong_clock_here_does_not_end_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset, on a machine whose clock is ahead, is a passing fault."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate(a_request())
        assert result.expires_at is not None
        ahead = result.expires_at + 60
        monkeypatch.setattr("bfl_async.results.download.time.time", lambda: ahead)
        api.download_script.append(TransportError("reset"))
        assert await result.read() == JPEG


async def test_results_can_be_copied_and_hashed() -> None:
    """A copy of a frozen value reads as the value does."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate(a_request())
        for twin in (copy.copy(result), copy.deepcopy(result)):
            assert await twin.read() == JPEG
            assert {twin, result} == {result}


async def test_long_names_are_cut_in_bytes(tmp_path: Path) -> None:
    """A name of 84 characters can have 244 bytes."""
    name = "猫" * 80 + ".jpg"
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        result = await bfl.generate(a_request())
        assert (await result.save(tmp_path / name)).read_bytes() == JPEG
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_request_that_breaks_before_it_is_sent_holds_no_slot() -> None:
    """Invariant 8: a bug in a request class costs its own request, which was never sent."""

    class Broken(FluxPro11):
        def body(self) -> dict[str, JSON]:
            raise ZeroDivisionError

    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.raises(TaskError, match="before it was sent"):
            await bfl.generate(Broken(prompt="x"))
        assert bfl.statistics().slots_taken == 0
        assert api.posts == []


@pytest.mark.parametrize("balance", ["1" + "0" * 400, "NaN", "Infinity", "1e400", "true", "null"])
async def test_balance_that_is_no_number_is_an_error_of_ours(balance: str) -> None:
    """What a reply holds never raises an error that is not in the tree, and no balance is infinite."""
    api = FakeAPI()
    async with api.client() as bfl:

        async def poll(url: str) -> Reply:
            return reply(200, f'{{"credits": {balance}}}')

        api.poll = poll  # type: ignore[method-assign]  # the fake has no script for credits
        with pytest.raises(ReplyShapeError):
            await bfl.credits()


async def test_task_id_that_has_no_bytes_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Invariant 8: an id is data; with one that cannot be asked for, a task may exist that no poll can find."""
    api = FakeAPI()
    api.script_submits(reply(200, {"id": "\ud800"}))
    async with api.client() as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate(a_request())
        with pytest.raises(TaskNotFoundError):
            await bfl.attach("\udfff")
    assert "bug" not in caplog.text


@pytest.mark.timeout(20)
def test_long_error_text_does_not_hold_up_the_loop() -> None:
    """Invariant 10: what an error says is read in one pass, also where it is a megabyte of URLs."""
    said, _ = detail_of({"detail": "https://" * 125_000 + " https://h.example/x?sig=1"})
    assert len(said) == 300
    assert body_text(b"at https://h.example/x?sig=1, https://h.example/y") == (
        "at https://h.example/x?… https://h.example/y"
    )


@pytest.mark.parametrize("code", [404, 422, 503])
async def test_wait_beside_a_status_is_bounded_like_any_other_polls(code: int) -> None:
    """Invariant 3: a poll is free, so no header makes us miss the ten minutes in which a result can be fetched."""
    api = FakeAPI(service_s=1)
    api.script_polls(reply(code, status("Pending"), retry_after="3600"))
    async with api.client() as bfl:
        await bfl.generate(a_request())
        assert asyncio.get_running_loop().time() < 62


async def test_answer_of_the_server_ends_the_time_spent_on_connecting() -> None:
    """Timeouts.connect is for making a connection: one that was made in between begins it anew."""
    api = FakeAPI()
    api.script_submits(
        ConnectError("no"),
        reply(503, {"detail": "busy"}, retry_after="30"),
        ConnectError("no"),
        ConnectError("no"),
    )
    async with api.client() as bfl:
        await bfl.generate(a_request())


class OddLimiter(LocalLimiter):
    """A limiter from outside, with a bug."""

    broken = True

    def enqueue(self, lease: Lease) -> None:
        if self.broken:
            raise RuntimeError("a limiter's bug")
        super().enqueue(lease)


async def test_request_that_the_limiter_broke_on_is_not_kept() -> None:
    """Invariant 9: what could not be taken in is not waited for."""
    limiter = OddLimiter()
    async with AsyncBFL(limiter=limiter, transport=FakeAPI()) as bfl:
        with pytest.raises(RuntimeError):
            bfl.submit_nowait(a_request())
        assert await bfl.drain(1)


async def test_request_of_a_stream_that_the_limiter_broke_on_is_an_outcome() -> None:
    """Invariant 8: one outcome each, whatever breaks, and a failing item never ends the stream."""
    limiter = OddLimiter()
    async with AsyncBFL(limiter=limiter, transport=FakeAPI()) as bfl, asyncio.timeout(100):
        stream = bfl.stream([a_request("first"), a_request("second")], window=1)
        first = await anext(stream)
        assert isinstance(first.error, TaskError)
        assert isinstance(first.error.__cause__, RuntimeError)
        limiter.broken = False
        assert (await anext(stream)).ok


@pytest.mark.parametrize(
    "prompt",
    [b'"caf\xe9 \x80"', b'"a\ncat"', rb'"C:\images"', b"8" * 9_000, b"[" * 500 + b"]" * 500],
    ids=["no UTF-8", "line end", "backslash", "long integer", "nested"],
)
async def test_flaws_in_an_unneeded_field_do_not_cost_a_paid_task(prompt: bytes) -> None:
    """Invariant 2: neither the receipt nor the result is lost for them, and the submit is sent once."""
    api = FakeAPI()
    flawed = b'"prompt": ' + prompt
    ready = json.dumps(status("Ready", result={"sample": "https://delivery.bfl.ai/x.jpeg", "prompt": "@"}))
    receipt = '{"id": "task-0", "polling_url": "https://api.bfl.ai/poll/task-0", "prompt": "@"}'
    api.script_submits(reply(200, receipt.encode().replace(b'"prompt": "@"', flawed)))
    api.script_polls(reply(200, ready.encode().replace(b'"prompt": "@"', flawed)))
    async with api.client() as bfl:
        result = await bfl.generate(a_request(), timeout=60)
        assert await result.read() == JPEG
        assert (result.url, len(api.posts), len(api.polled)) == ("https://delivery.bfl.ai/x.jpeg", 1, 1)


@pytest.mark.parametrize("side", [10**400, 2**1024, -1, True, 1e308, "wide", None])
async def test_no_size_of_an_unknown_models_request_is_taken_for_a_lost_submit(side: JSON) -> None:
    """Its fields are checked by the server alone, so whatever JSON can hold is sent."""
    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.warns(UserWarning, match="new-model"):
            await bfl.generate("new-model", prompt="a cat", **{"width": side, "height": side})
        assert [body["width"] for _, body in api.posts] == [side]
