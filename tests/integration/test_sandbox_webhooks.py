"""The sandbox's deliveries over its socket, taken by a plain server: what is sent, when, and how often."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import ClientSession, web

from bfl_async.sandbox import Sandbox
from tests.web import free_socket, serving_aiohttp

WEBHOOK_DIALS = ("webhook-lost", "webhook-doubled", "webhook-late", "webhook-forged")


@dataclass
class Listener:
    """A server that takes whatever comes; `answers` are the codes of the next calls, 200 afterwards."""

    url: str = ""
    calls: list[tuple[float, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((asyncio.get_running_loop().time(), headers, await request.read()))
        self.called.set()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def wait_calls(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.calls) < count:
                self.called.clear()
                await self.called.wait()

    def proofs(self) -> list[bool]:
        return [headers.get("x-webhook-secret") == "s3cret" for _, headers, _ in self.calls]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.take)
    async with serving_aiohttp(app, free_socket()) as url:
        made.url = f"{url}/hook"
        yield made


async def submit(sandbox: Sandbox, url: str, secret: str | None = "s3cret") -> dict[str, object]:
    body = {"prompt": "x", "webhook_url": url, "webhook_secret": secret}
    async with (
        ClientSession() as session,
        session.post(f"{sandbox.url}/v1/flux-dev", json=body, headers={"x-key": sandbox.key}) as reply,
    ):
        assert reply.status == 200
        answer: dict[str, object] = await reply.json()
        return answer


async def poll(sandbox: Sandbox, task_id: object) -> dict[str, object]:
    async with ClientSession() as session, session.get(f"{sandbox.url}/v1/get_result?id={task_id}") as reply:
        answer: dict[str, object] = await reply.json()
        return answer


async def test_a_submit_with_a_webhook_names_a_polling_url_where_it_was_asked_to(listener: Listener) -> None:
    """Which of the two the API does is not known: both can be tried, and the URL works."""
    async with Sandbox(service_s=0.0, webhook_polling_url=True) as sandbox:
        answer = await submit(sandbox, listener.url)
        assert answer["polling_url"] == f"{sandbox.url}/v1/get_result?id={answer['id']}"
        assert (answer["status"], answer["webhook_url"]) == ("Pending", listener.url)
        assert (await poll(sandbox, answer["id"]))["status"] == "Ready"
        await listener.wait_calls(1)
        sandbox.webhook_polling_url = False
        assert "polling_url" not in await submit(sandbox, listener.url)


async def test_answer_to_a_submit_with_a_webhook_has_no_polling_url(listener: Listener) -> None:
    """As the schema's AsyncWebhookResponse: id, status, webhook_url, and what it costs."""
    async with Sandbox(service_s=math.inf) as sandbox:
        answer = await submit(sandbox, listener.url)
        assert set(answer) == {"id", "status", "webhook_url", "cost", "input_mp", "output_mp"}
        assert (answer["status"], answer["webhook_url"]) == ("Pending", listener.url)
        assert (await poll(sandbox, answer["id"]))["status"] == "Pending"


@pytest.mark.parametrize("scheme", ["secret", "signature", "both"])
async def test_delivery_is_a_polls_answer_with_its_proof(listener: Listener, scheme: str) -> None:
    """The body of a poll, byte for byte signed; the secret in a header, or both."""
    async with Sandbox(service_s=0.05, webhook_scheme=scheme) as sandbox:  # type: ignore[arg-type]  # a str
        answer = await submit(sandbox, listener.url)
        await listener.wait_calls(1)
        ((_, headers, raw),) = listener.calls
        told: dict[str, Any] = json.loads(raw)
        polled: dict[str, Any] = await poll(sandbox, answer["id"])
        # A poll in the next second has a URL that is signed for a later time.
        told_url, polled_url = (each["result"].pop("sample").partition("?")[0] for each in (told, polled))
        assert (told, told_url) == (polled, polled_url)
        assert told["status"] == "Ready"
        assert ("x-webhook-secret" in headers) == (scheme != "signature")
        assert ("x-bfl-signature" in headers) == (scheme != "secret")
        if scheme != "signature":
            assert headers["x-webhook-secret"] == "s3cret"
        if scheme != "secret":
            digest = hmac.new(b"s3cret", raw, hashlib.sha256).hexdigest()
            assert headers["x-bfl-signature"] == f"sha256={digest}"


async def test_every_end_is_delivered(listener: Listener) -> None:
    """Also one that `settle` brings, and without a secret nothing is proved."""
    async with Sandbox(service_s=math.inf) as sandbox:
        answer = await submit(sandbox, listener.url, secret=None)
        sandbox.settle(str(answer["id"]), "Content Moderated", reasons=["x"])
        await listener.wait_calls(1)
        ((_, headers, raw),) = listener.calls
        assert json.loads(raw)["status"] == "Content Moderated"
        assert json.loads(raw)["details"] == {"Moderation Reasons": ["x"]}
        assert not {"x-webhook-secret", "x-bfl-signature"} & headers.keys()


async def test_delivery_that_is_not_taken_is_repeated_three_times(listener: Listener) -> None:
    """After 1, 5 and 30 s over the speed, then dropped."""
    listener.answers = [500, 302, 404, 503, 200]
    async with Sandbox(service_s=0.0, speed=50) as sandbox:
        await submit(sandbox, listener.url)
        await listener.wait_calls(4)
        times = [at for at, _, _ in listener.calls]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert [gap * 50 >= least - 0.5 for gap, least in zip(gaps, (1, 5, 30), strict=True)] == [True] * 3
        assert sandbox.statistics().deliveries == 0


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook", "http://192.0.2.1/hook", "http://localhost.example/x", "http://[::2]/x"],
)
async def test_nothing_is_delivered_to_other_machines(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox is no way into a network: such a task is polled."""
    async with Sandbox(service_s=0.0) as sandbox:
        monkeypatch.setattr(sandbox._webhooks, "_post", None)  # calling it would fail
        answer = await submit(sandbox, url)
        assert (await poll(sandbox, answer["id"]))["status"] == "Ready"
        assert sandbox._webhooks._running == set()


async def test_lost_delivery_is_not_sent(listener: Listener) -> None:
    """The dial `webhook-lost`."""
    async with Sandbox(service_s=0.0, faults={"webhook-lost": [True, False]}) as sandbox:
        lost = await submit(sandbox, listener.url)
        sent = await submit(sandbox, listener.url)
        await listener.wait_calls(1)
        assert [json.loads(raw)["id"] for _, _, raw in listener.calls] == [sent["id"]]
        assert (await poll(sandbox, lost["id"]))["status"] == "Ready"
        assert sandbox.faults.fired == {"webhook-lost": 1}


async def test_doubled_delivery_is_sent_twice(listener: Listener) -> None:
    """The dial `webhook-doubled`: both genuine, with the same body."""
    async with Sandbox(service_s=0.0, faults={"webhook-doubled": [True]}) as sandbox:
        await submit(sandbox, listener.url)
        await listener.wait_calls(2)
        assert listener.proofs() == [True, True]
        assert len({json.loads(raw)["id"] for _, _, raw in listener.calls}) == 1


async def test_late_delivery_comes_later(listener: Listener) -> None:
    """The dial `webhook-late`, on top of the delay of all."""
    dials = {"webhook-late": [True, False]}
    async with Sandbox(service_s=0.0, speed=10, webhook_delay_s=1, webhook_late_s=3, faults=dials) as sandbox:
        late = await submit(sandbox, listener.url)
        asked_at = asyncio.get_running_loop().time()
        prompt = await submit(sandbox, listener.url)
        await listener.wait_calls(2)
        assert [json.loads(raw)["id"] for _, _, raw in listener.calls] == [prompt["id"], late["id"]]
        assert listener.calls[0][0] - asked_at >= 0.09
        assert listener.calls[1][0] - asked_at >= 0.35


async def test_forged_deliveries_come_before_the_true_one(listener: Listener) -> None:
    """The dial `webhook-forged`: without proof, with a guess, with a wrong signature; each says Error."""
    listener.answers = [401, 401, 401]
    async with Sandbox(service_s=0.0, faults={"webhook-forged": [True]}) as sandbox:
        await submit(sandbox, listener.url)
        await listener.wait_calls(4)
        assert listener.proofs() == [False, False, False, True]
        assert [json.loads(raw)["status"] for _, _, raw in listener.calls] == ["Error"] * 3 + ["Ready"]


async def test_closing_sends_nothing_more(listener: Listener) -> None:
    """Deliveries that wait end with the sandbox."""
    async with Sandbox(service_s=0.0, webhook_delay_s=60) as sandbox:
        await submit(sandbox, listener.url)
        assert len(sandbox._webhooks._running) == 1
    assert sandbox._webhooks._running == set()
    assert listener.calls == []
    async with Sandbox(service_s=0.01) as sandbox:  # one that ends after the sandbox has closed
        await submit(sandbox, listener.url)
    await asyncio.sleep(0.02)
    assert sandbox.statistics().active == 0
    assert sandbox._webhooks._running == set()
    with pytest.raises(ValueError, match="webhook_scheme"):
        Sandbox(webhook_scheme="none")  # type: ignore[arg-type]  # wrong on purpose
