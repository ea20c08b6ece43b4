"""What type checkers see. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never, assert_type

from bfl_async import (
    Adaptive,
    AsyncBFL,
    Batch,
    BatchOutcome,
    BFLError,
    FluxPro11,
    ImageRequest,
    Limits,
    Outcome,
    Reply,
    Result,
    TaskHandle,
    Timeouts,
    Update,
    request,
    sync,
)
from bfl_async.events import (
    Downloaded,
    Event,
    Polled,
    Queued,
    Refused,
    Retried,
    Settled,
    Submitted,
    Submitting,
)
from bfl_async.webhooks import Delivery, WebhookReceiver, verify


async def use_webhooks() -> None:
    receiver = WebhookReceiver("https://app.example/bfl", "secret", scheme="signature", poll_s=60)
    client = AsyncBFL(webhook=receiver)
    assert_type(client, AsyncBFL)
    assert_type(await receiver.receive("nonce", {}, b"{}"), Delivery)
    delivery = verify(b"{}", {}, "secret", now=0.0)
    assert_type(delivery, Delivery)
    assert_type(delivery.task_id, str)
    assert_type(delivery.scheme, Literal["secret", "signature"])
    verify(b"{}", {}, "secret", now=0.0, scheme="none")  # type: ignore[arg-type]  # there are two schemes


def use_sync() -> None:
    with sync.BFL("a-key", limits=Limits(account=3)) as bfl:
        assert_type(bfl, sync.BFL)
        result = bfl.generate("flux-dev", prompt="x")
        assert_type(result, sync.Result)
        assert_type(result.read(), bytes)
        assert_type(bfl.submit(FluxPro11(prompt="x"), timeout=5), sync.TaskHandle)
        assert_type(bfl.gather([FluxPro11(prompt="x")]), list[sync.Result])
        assert_type(bfl.gather([FluxPro11(prompt="x")], return_exceptions=True), list[sync.Result | BFLError])
        for outcome in bfl.stream([FluxPro11(prompt="x")]):
            assert_type(outcome, sync.Outcome)
            assert_type(outcome.unwrap(), sync.Result)
        assert_type(bfl.credits(), float)
        assert_type(bfl.post("/v1/flux-new", json={"a": 1}), Reply)
        bfl.generate("flux-dev", colour=3).save("x")  # type: ignore[arg-type]  # a wrong field is a type error
        bfl.drain(timeout="x")  # type: ignore[arg-type]  # and so is a wrong type
    sync.BFL(limit=3)  # type: ignore[call-arg]  # parameters are those of AsyncBFL


class Counting:
    """An observer needs one method, and no base class."""

    def on_event(self, event: Event) -> None:
        match event:
            case Settled(end=end, cost=cost):
                assert_type(
                    end, Literal["ready", "moderated", "failed", "ambiguous", "withdrawn", "answered"]
                )
                assert_type(cost, float | None)
            case Downloaded(size_bytes=size_bytes):
                assert_type(size_bytes, int | None)
            case Queued() | Submitting() | Submitted() | Polled() | Refused() | Retried():
                assert_type(event.request_id, int)
            case _:
                assert_never(event)


def use_an_observer() -> None:
    assert_type(AsyncBFL(observer=Counting()), AsyncBFL)
    AsyncBFL(observer=print)  # type: ignore[arg-type]  # it needs a method on_event


async def use() -> None:
    async with AsyncBFL(limits=Limits(account=24), timeouts=Timeouts(task=60)) as bfl:
        assert_type(bfl, AsyncBFL)
        result = await bfl.generate("flux-pro-1.1", prompt="a cat", width=1024)
        assert_type(result, Result)
        assert_type(await result.save("cat.jpg"), Path)
        assert_type(await result.read(timeout=5), bytes)
        handle = await bfl.submit(FluxPro11(prompt="a cat"), timeout=5)
        assert_type(handle, TaskHandle)
        assert_type(await handle, Result)
        assert_type(await handle.accepted(), str)
        assert_type(bfl.attach(**handle.to_dict()), TaskHandle)
        async for update in handle.updates():
            assert_type(update, Update)
        requests = (request("flux-dev", prompt=str(n)) for n in range(3))
        async with bfl.stream(requests, ordered=True) as outcomes:
            async for outcome in outcomes:
                assert_type(outcome, Outcome)
                assert_type(outcome.error, BFLError | None)
                assert_type(outcome.unwrap(), Result)
        assert_type(await bfl.gather([FluxPro11(prompt="x")]), list[Result])
        several: list[ImageRequest] = [request("flux-dev", prompt="x")]
        assert_type(await bfl.gather(several, return_exceptions=True), list[Result | BFLError])
        assert_type(Adaptive(poll_cost_s=0.02, timings=bfl.timings()), Adaptive)
        assert_type(bfl.statistics().refused_overlap, int)
        async with Batch.open("run.db", bfl, save_to=Path("out")) as batch:
            assert_type(await batch.add(several), int)
            assert_type(await batch.add([("one", several[0])]), int)
            async for ended in batch.run():
                assert_type(ended, BatchOutcome)
                assert_type(ended.file, Path | None)
            assert_type(batch.counts()["ambiguous"], int)
        assert_type(await bfl.post("/v1/flux-new", json={"prompt": "x", "n": [1]}), Reply)
        assert_type(await bfl.get("/v1/credits", timeout=3), Reply)
        assert_type(handle.submit_reply, Reply | None)
        view = bfl.with_options(timeout=3, priority=-1)
        assert_type(await view.generate("flux-dev", prompt="x"), Result)
        FluxPro11(prompt="x", colour=3)  # type: ignore[call-arg]  # a wrong field is a type error
        FluxPro11(prompt="x", width="3")  # type: ignore[arg-type]  # and so is a wrong type
        await bfl.generate(3)  # type: ignore[call-overload]  # neither a name nor a request
