"""A receiver's subscription to its relay: opened once and closed once, whoever calls, fails or is cancelled."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from bfl_async import ConfigError, TransportError
from bfl_async.types import Delivery
from bfl_async.webhooks import RedisRelay, WebhookReceiver, relay_link
from tests.fake import FakeAPI, spin

SECRET = "a secret of some length"
URL = "https://app.example/bfl"

looptime = pytest.mark.looptime(start=0)


class StrictRelay:
    """A relay that takes a second and holds its caller to one call at a time, and one opening for each closing."""

    def __init__(self) -> None:
        self.state = "closed"
        self.opened = self.closed = 0
        self.busy = False
        self.failures: list[BaseException] = []  # of the next openings

    async def _step(self, during: str, then: str) -> None:
        assert not self.busy, "two calls at the same time"
        self.busy, self.state = True, during
        try:
            await asyncio.sleep(1.0)
            if self.failures and during == "opening":
                raise self.failures.pop(0)
        finally:
            self.busy = False
        self.state = then

    async def open(self, on_delivery: Callable[[Delivery], None]) -> None:
        assert self.state == "closed", "what was begun was not ended"
        await self._step("opening", "open")
        self.opened += 1

    async def publish(self, delivery: Delivery) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def aclose(self) -> None:
        await self._step("closing", "closed")
        self.closed += 1


def receiver_with(relay: StrictRelay) -> WebhookReceiver:
    return WebhookReceiver(URL, SECRET, relay=relay)


@looptime
async def test_clients_that_open_together_share_one_subscription() -> None:
    """Each finds the relay open, and one close of the receiver ends it."""
    relay = StrictRelay()
    receiver = receiver_with(relay)
    clients = [FakeAPI().client(webhook=receiver) for _ in range(3)]
    await asyncio.gather(*(client.open() for client in clients))
    assert (relay.state, relay.opened) == ("open", 1)
    await asyncio.gather(*(client.aclose() for client in clients))
    await asyncio.gather(receiver.aclose(), receiver.aclose())
    assert (relay.state, relay.opened, relay.closed) == ("closed", 1, 1)


@looptime
async def test_opening_while_it_closes_opens_again() -> None:
    """And closing while it opens closes: the calls take effect in their order."""
    relay = StrictRelay()
    receiver = receiver_with(relay)
    await asyncio.gather(receiver.open(), receiver.aclose(), receiver.open())
    assert (relay.state, relay.opened, relay.closed) == ("open", 2, 1)
    await asyncio.gather(receiver.aclose(), receiver.open(), receiver.aclose())
    assert (relay.state, relay.opened, relay.closed) == ("closed", 3, 3)


@looptime
@pytest.mark.parametrize("waiting", [False, True])
async def test_cancelled_opening_leaves_it_such_that_the_next_one_works(waiting: bool) -> None:
    """Whether the next one waits for its turn already, or comes later."""
    relay = StrictRelay()
    receiver = receiver_with(relay)
    first = asyncio.create_task(receiver.open())
    second = asyncio.create_task(receiver.open()) if waiting else None
    await asyncio.sleep(0.5)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    await (second if second is not None else receiver.open())
    assert (relay.state, relay.opened) == ("open", 1)
    await receiver.aclose()
    assert relay.state == "closed"


@looptime
@pytest.mark.parametrize("failure", [OSError("away"), asyncio.CancelledError()], ids=repr)
async def test_failed_opening_is_raised_and_can_be_repeated(failure: BaseException) -> None:
    """A cancellation of something within the relay is no cancellation of the caller."""
    relay = StrictRelay()
    relay.failures.append(failure)
    receiver = receiver_with(relay)
    client = FakeAPI().client(webhook=receiver)
    with pytest.raises((OSError, TransportError)):
        await client.open()
    async with client:
        assert relay.state == "open"


@looptime
async def test_failed_opening_is_cleared_up_by_a_close() -> None:
    """Also where nobody opens it again."""
    relay = StrictRelay()
    relay.failures.append(OSError("away"))
    receiver = receiver_with(relay)
    with pytest.raises(OSError, match="away"):
        await receiver.open()
    await receiver.aclose()
    await receiver.aclose()
    assert (relay.state, relay.closed) == ("closed", 1)


@looptime
async def test_cancelled_closing_is_completed_by_the_next_call() -> None:
    """By another close, or by an opening, which does not take a half-closed relay for an open one."""
    relay = StrictRelay()
    receiver = receiver_with(relay)
    for _ in range(2):
        await receiver.open()
        with anyio.move_on_after(0.5):
            await receiver.aclose()
        assert relay.state == "closing"
    assert relay.opened == 2
    await receiver.aclose()
    assert relay.state == "closed"


@looptime
@pytest.mark.parametrize("seed", range(20))
async def test_any_order_of_calls_keeps_the_relay_consistent(seed: int) -> None:
    """Opens, closes, failures and cancellations at random moments; then it can still be opened and closed."""
    rng = random.Random(seed)
    relay = StrictRelay()
    receiver = receiver_with(relay)
    calls: list[asyncio.Task[None]] = []
    for _ in range(40):
        call: Callable[[], Awaitable[None]] = rng.choice([receiver.open, receiver.open, receiver.aclose])
        if rng.random() < 0.2:
            relay.failures.append(rng.choice([OSError("away"), asyncio.CancelledError()]))
        calls.append(asyncio.ensure_future(call()))
        await asyncio.sleep(rng.choice([0.0, 0.3, 1.1]))
        if rng.random() < 0.3:
            rng.choice(calls).cancel()
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert error is None or isinstance(error, OSError | TransportError | asyncio.CancelledError), error
    relay.failures.clear()
    await receiver.open()
    assert relay.state == "open"
    await receiver.aclose()
    assert relay.state == "closed"


@looptime
async def test_cancellation_within_a_relay_fails_the_delivery_and_not_the_web_server() -> None:
    """The server is asked to send it again, by an error that a framework answers with 500."""
    relay = StrictRelay()
    receiver = receiver_with(relay)
    async with receiver, FakeAPI().client(webhook=receiver):
        expected = WebhookReceiver(URL, SECRET).expect(lambda _: None)
        relay.failures.append(asyncio.CancelledError())
        body = json.dumps({"id": "task-9", "status": "Ready", "result": {"sample": "https://x"}}).encode()
        nonce = expected.url.rpartition("/")[2]
        with pytest.raises(TransportError, match="relay"):
            await receiver.receive(nonce, {"X-Webhook-Secret": expected.secret}, body)
        delivery = await receiver.receive(nonce, {"X-Webhook-Secret": expected.secret}, body)
        assert delivery.task_id == "task-9"


# --- the relay over Redis -------------------------------------------------------------------------------


# Sent long ago, as it seems to a machine whose clock is wrong.
BODY = {"id": "t", "status": "Ready", "timestamp": 1_700_000_000}
MESSAGE = json.dumps({"body": BODY, "scheme": "secret", "nonce": "n"})


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The URL of a Redis that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


@looptime
@pytest.mark.parametrize("failure", [asyncio.CancelledError(), ValueError("a bug")], ids=repr)
async def test_listener_that_ends_unasked_listens_again(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the relay's own closing ends it: else all later deliveries of other processes would be lost."""
    came: list[str] = []
    starts = 0

    async def listen(
        _: object, __: str, *, heard: Callable[[str | None], None], cut: Callable[[], None]
    ) -> None:
        nonlocal starts
        starts += 1
        heard(None)
        if starts <= 2:
            raise failure
        heard(MESSAGE)
        await asyncio.Event().wait()

    monkeypatch.setattr(relay_link, "listen", listen)
    before = asyncio.all_tasks()
    relay = RedisRelay("redis://127.0.0.1:1")
    await relay.open(lambda delivery: came.append(delivery.task_id))
    await asyncio.sleep(10)
    assert (came, starts) == (["t"], 3)
    assert "is away" in caplog.text
    await relay.aclose()
    assert asyncio.all_tasks() == before


async def test_relay_that_is_open_serves_no_second_receiver(silent: str) -> None:
    """It would lose the first one's deliveries without a word."""
    relay = RedisRelay(silent)
    first = asyncio.create_task(relay.open(lambda _: None))
    await spin()
    with pytest.raises(ConfigError, match="relay of its own"):
        await relay.open(lambda _: None)
    await first
    await relay.aclose()


async def test_relay_closes_whole_inside_a_cancelled_scope(silent: str) -> None:
    """Also the opening that the scope ends; no listener and no connection is left."""
    before = asyncio.all_tasks()
    relay = RedisRelay(silent)
    with anyio.move_on_after(0.05) as scope:
        await relay.open(lambda _: None)
    assert scope.cancelled_caught
    assert asyncio.all_tasks() == before
    await relay.open(lambda _: None)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await relay.aclose()
    assert asyncio.all_tasks() == before
    with pytest.raises(TransportError, match="not open"):
        await relay.publish(Delivery("t", "Ready", None, None, None, {"id": "t"}, "secret"))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before")
async def test_eager_tasks_change_nothing(silent: str) -> None:
    """The listener takes its first step when the opening waits for it."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore] # since 3.12
    before = asyncio.all_tasks()
    relay = RedisRelay(silent)
    receiver = WebhookReceiver(URL, SECRET, relay=relay)
    await asyncio.gather(receiver.open(), receiver.open())
    await receiver.aclose()
    assert asyncio.all_tasks() == before
