"""Deliveries: what is genuine, and what they do to the request that they belong to."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import hmac
import json
import logging
import math
import pickle
import time
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bfl_async import (
    Adaptive,
    AmbiguousSubmitError,
    AsyncBFL,
    ConfigError,
    FluxDev,
    ReplayError,
    ReplyTimeoutError,
    SignatureError,
    TaskFailedError,
    TaskModeratedError,
    TaskStatus,
    Timeouts,
    TransportError,
    WebhookError,
    request,
)
from bfl_async.polling.book import TimingsBook
from bfl_async.types import JSON, Delivery, PollReply
from bfl_async.webhooks import BODY_MAX_BYTES, Scheme, WebhookReceiver, verify
from tests.fake import FakeAPI, FakeTask, spin, status

SECRET = "a secret of some length"
NOW = 1_790_000_000.0
URL = "https://app.example/bfl"

looptime = pytest.mark.looptime(start=0)


def body_of(word: str = "Ready", task_id: str = "task-0", **more: object) -> bytes:
    return json.dumps(status(word, task_id, **more)).encode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-BFL-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def check(
    body: bytes, headers: dict[str, str], scheme: Scheme | None = None, secret: str = SECRET
) -> Delivery:
    return verify(body, headers, secret, now=NOW, scheme=scheme)


# --- verify -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X-Webhook-Secret", "x-webhook-secret", "X-WEBHOOK-SECRET"])
def test_secret_in_its_header_vouches(name: str) -> None:
    """The scheme of BFL's parameter tables, in any case of letters."""
    delivery = check(body_of(cost=4.000000000001), {name: SECRET})
    assert (delivery.task_id, delivery.status, delivery.cost) == ("task-0", TaskStatus.READY, 4.0)
    assert delivery.scheme == "secret"
    assert delivery.result is not None
    assert "sample" in delivery.result


@pytest.mark.parametrize("change", [str, str.upper, lambda text: f" {text} "])
def test_signature_of_the_raw_body_vouches(change: Callable[[str], str]) -> None:
    """The scheme of BFL's skill page; hex digits may be large."""
    body = body_of()
    assert check(body, {"X-BFL-Signature": change(signed(body)["X-BFL-Signature"])}).scheme == "signature"


def test_pinned_scheme_alone_vouches() -> None:
    """Who knows what the API sends accepts nothing else."""
    body = body_of()
    secret, signature = {"X-Webhook-Secret": SECRET}, signed(body)
    assert check(body, secret, "secret").scheme == "secret"
    assert check(body, signature, "signature").scheme == "signature"
    assert check(body, secret | signature, "signature").scheme == "signature"
    for headers, scheme in ((secret, "signature"), (signature, "secret")):
        with pytest.raises(SignatureError):
            check(body, headers, cast("Scheme", scheme))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Secret": ""},
        {"X-Webhook-Secret": SECRET + " "},
        {"X-Webhook-Secret": SECRET[:-1]},
        {"X-Webhook-Secret": "sécret\udc80"},
        {"X-BFL-Signature": ""},
        {"X-BFL-Signature": "sha256="},
        {"X-BFL-Signature": "sha1=" + signed(body_of())["X-BFL-Signature"][7:]},
        {"X-BFL-Signature": signed(body_of())["X-BFL-Signature"][7:]},
        signed(body_of(), "another secret"),
        signed(body_of() + b" "),
    ],
    ids=str,
)
def test_wrong_or_missing_proof_is_refused(headers: dict[str, str]) -> None:
    """Neither part of a proof nor a proof of something else counts."""
    with pytest.raises(SignatureError):
        check(body_of(), headers)


def test_empty_secret_vouches_for_nothing() -> None:
    """Else an empty header would match a set-up that forgot its secret."""
    with pytest.raises(SignatureError):
        check(body_of(), {"X-Webhook-Secret": ""}, secret="")


def test_every_changed_byte_breaks_the_signature() -> None:
    """It is of the raw body, byte for byte."""
    body = body_of()
    headers = signed(body)
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(SignatureError):
            check(changed, headers)


def test_oversize_body_is_refused_before_it_is_read() -> None:
    """1 MiB is the most."""
    body = body_of(pad="x" * BODY_MAX_BYTES)
    with pytest.raises(WebhookError, match=f"more than {BODY_MAX_BYTES}"):
        check(body, {"X-Webhook-Secret": SECRET})
    fits = body_of(pad="x" * (BODY_MAX_BYTES - 1_000))
    assert check(fits, {"X-Webhook-Secret": SECRET}).task_id == "task-0"


@pytest.mark.parametrize(
    ("data", "task_id", "word"),
    [
        ({"id": "a", "status": "Ready"}, "a", TaskStatus.READY),
        ({"task_id": "a", "status": "SUCCESS"}, "a", TaskStatus.READY),
        ({"task_id": "a", "status": "FAILED"}, "a", TaskStatus.FAILED),
        ({"task_id": "a", "status": "ERROR"}, "a", TaskStatus.ERROR),
        ({"id": None, "task_id": "a", "status": "Content Moderated"}, "a", TaskStatus.CONTENT_MODERATED),
        ({"id": 7, "state": "Pending"}, "7", TaskStatus.PENDING),
        ({"id": "a", "status": "Composing"}, "a", "Composing"),
    ],
)
def test_both_names_of_the_id_and_both_spellings_of_the_status_are_read(
    data: dict[str, JSON], task_id: str, word: str
) -> None:
    """The payload changed on 2026-02-17; both forms are about."""
    delivery = check(json.dumps(data).encode(), {"X-Webhook-Secret": SECRET})
    assert (delivery.task_id, delivery.status) == (task_id, word)
    assert delivery.raw == data


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b'"Ready"', b"{", b'{"id": "a"}', b'{"status": "Ready"}', b'{"id": "", "status": "Ready"}',
        b'{"id": true, "status": "Ready"}', b'{"id": ["a"], "status": "Ready"}', b'{"id": "a", "status": 3}',
        b"[" * 100_000, b"\xff\xfe",
    ],
)  # fmt: skip
def test_genuine_body_that_says_nothing_is_refused(body: bytes) -> None:
    """A proof does not make sense of it."""
    with pytest.raises(WebhookError):
        check(body, {"X-Webhook-Secret": SECRET})


@pytest.mark.parametrize("prompt", [b"\xfc\x9f", b"two\nlines", rb"C:\images", b"]}"])
def test_flaw_in_a_field_costs_no_genuine_delivery(prompt: bytes) -> None:
    """The signature is over the raw bytes; what is needed is read from them."""
    body = body_of(note="@").replace(b"@", prompt) + b"\x00"
    delivery = check(body, signed(body))
    assert (delivery.task_id, delivery.status) == ("task-0", TaskStatus.READY)


@pytest.mark.parametrize(
    ("stamp", "fresh"),
    [
        (NOW - 599, True), (NOW - 601, False), (NOW + 601, False), ((NOW - 60) * 1000, True),
        ((NOW - 900) * 1000, False), (str(NOW - 5), True), ("2026-09-21T14:13:20Z", True),
        ("2026-09-21T13:13:20Z", False), ("2026-09-21T14:13:20", True),
        ("soon", True), (None, True), (0, True), (-5, True), (True, True), ([], True), (10**400, True),
    ],
)  # fmt: skip
def test_delivery_whose_timestamp_is_off_is_a_replay(stamp: object, fresh: bool) -> None:
    """Where it carries one that can be read; the schema has none."""
    body = body_of(timestamp=stamp)
    if fresh:
        assert check(body, signed(body)).task_id == "task-0"
    else:
        with pytest.raises(ReplayError):
            check(body, signed(body))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["id", "task_id", "status", "state", "result", "details", "cost", "progress", "timestamp", "detail"]
)


@given(
    body=st.binary(max_size=200)
    | st.dictionaries(FIELDS, JSONS, max_size=6).map(lambda d: json.dumps(d).encode()),
    headers=st.dictionaries(st.sampled_from(["X-Webhook-Secret", "X-BFL-Signature"]), st.text(), max_size=2),
)
def test_garbage_is_refused_by_an_error_of_ours(body: bytes, headers: dict[str, str]) -> None:
    """Whatever comes: without the proof nothing passes, with it nothing but errors of ours or a delivery."""
    with pytest.raises(WebhookError):
        check(body, headers)
    for proof in ({"X-Webhook-Secret": SECRET}, signed(body)):
        try:
            delivery = check(body, proof)
        except WebhookError:
            continue
        assert delivery.task_id
        assert delivery.status
        assert delivery.as_poll().raw == json.loads(body) or b"NaN" in body


# What 0.1.0 wrote for `DELIVERY`, when a delivery had nine fields of its own.
OF_AN_EARLIER_RELEASE = (
    b"\x80\x02cbfl_async.types\nDelivery\nq\x00)\x81q\x01]q\x02(X\x01\x00\x00\x00tq\x03cbfl_async.status\nTaskStatus\nq"
    b"\x04X\x05\x00\x00\x00Readyq\x05\x85q\x06Rq\x07}q\x08X\x06\x00\x00\x00sampleq\tX\x01\x00\x00\x00uq\nsNG@\x10\x00\x00"
    b"\x00\x00\x00\x00}q\x0bX\x02\x00\x00\x00idq\x0ch\x03sX\x06\x00\x00\x00secretq\rG?\xe0\x00\x00\x00\x00\x00\x00X\x01\x00\x00"
    b"\x00nq\x0eeb."
)
DELIVERY = Delivery("t", TaskStatus.READY, {"sample": "u"}, None, 4.0, {"id": "t"}, "secret", 0.5, "n")


def test_delivery_holds_what_a_poll_would_have_answered() -> None:
    """Its facts are those of the answer, and it is made of the facts or of the answer."""
    reply = PollReply(TaskStatus.READY, 0.5, {"sample": "u"}, None, 4.0, {"id": "t"})
    assert DELIVERY.reply == DELIVERY.as_poll() == reply
    assert Delivery.of("t", reply, "secret", "n") == DELIVERY
    assert DELIVERY.came_to(None) == Delivery.of("t", reply, "secret")
    named = Delivery(
        task_id="t", status="Ready", result={"sample": "u"}, details=None, cost=4.0, raw={"id": "t"},
        scheme="secret", progress=0.5, nonce="n",
    )  # fmt: skip
    assert named == DELIVERY
    match DELIVERY:
        case Delivery(task_id, status, result, details, cost, raw, scheme, progress, nonce):
            assert (task_id, scheme, nonce) == ("t", "secret", "n")
            assert PollReply(status, progress, result, details, cost, raw) == reply
    for name in ("reply", "nonce"):
        with pytest.raises(AttributeError):
            setattr(DELIVERY, name, None)


def test_delivery_crosses_processes_and_releases() -> None:
    """A pickle that an earlier release made is read, and the repr holds neither prompt nor nonce."""
    twins = [pickle.loads(pickle.dumps(DELIVERY)), copy.copy(DELIVERY), copy.deepcopy(DELIVERY)]
    for twin in (*twins, pickle.loads(OF_AN_EARLIER_RELEASE)):
        assert type(twin) is Delivery
        assert twin == DELIVERY
    assert repr(DELIVERY) == (
        "Delivery(task_id='t', status=<TaskStatus.READY: 'Ready'>, result={'sample': 'u'}, details=None, cost=4.0, "
        "scheme='secret', progress=0.5)"
    )


# --- the receiver -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "secret", "more"),
    [
        ("http://app.example/x", SECRET, {}),
        ("https://app.example/x?y=1", SECRET, {}),
        ("https://", SECRET, {}),
        ("ftp://app.example", SECRET, {}),
        ("https://user@app.example", SECRET, {}),
        ("https://app.example/" + "x" * 2100, SECRET, {}),
        ("https://[", SECRET, {}),
        (URL, "short", {}),
        (URL, " " * 20, {}),
        (URL, " At  least 16 CHARACTERS\n", {}),
        (URL, SECRET, {"poll_s": 0}),
        (URL, SECRET, {"poll_s": math.inf}),
        (URL, SECRET, {"scheme": "none"}),
    ],
)
def test_wrong_receiver_is_a_config_error(url: str, secret: str, more: dict[str, object]) -> None:
    """Before any I/O, and without showing the secret."""
    with pytest.raises(ConfigError) as caught:
        WebhookReceiver(url, secret, **more)  # type: ignore[arg-type]  # wrong on purpose
    assert SECRET not in str(caught.value)


def test_client_takes_a_receiver_and_no_url() -> None:
    """A likely mistake is told."""
    with pytest.raises(ConfigError, match="WebhookReceiver"):
        AsyncBFL("key", webhook=URL)  # type: ignore[arg-type]  # wrong on purpose


def a_receiver(*, poll_s: float = 30) -> WebhookReceiver:
    return WebhookReceiver(URL, SECRET, poll_s=poll_s)


async def deliver(
    receiver: WebhookReceiver, api: FakeAPI, number: int = 0, word: str = "Ready", task_id: str | None = None
) -> Delivery:
    """Deliver as the server would, for the POST of this number."""
    posted = api.posts[number][1]
    url, secret = str(posted["webhook_url"]), str(posted["webhook_secret"])
    body = body_of(word, f"task-{number}" if task_id is None else task_id)
    return await receiver.receive(url.rpartition("/")[2], {"X-Webhook-Secret": secret}, body)


@looptime
async def test_each_submit_has_a_url_and_a_secret_of_its_own() -> None:
    """Neither of them is the user's secret, and no two are the same."""
    api = FakeAPI(service_s=math.inf)
    async with api.client(webhook=a_receiver()) as bfl:
        await asyncio.gather(bfl.submit("flux-dev", prompt="x"), bfl.submit("flux-2-pro", prompt="y"))
    bodies = [body for _, body in api.posts]
    urls = [str(body["webhook_url"]) for body in bodies]
    assert all(url.startswith(f"{URL}/") for url in urls)
    assert len({*urls}) == len({str(body["webhook_secret"]) for body in bodies}) == 2
    assert SECRET not in json.dumps(bodies)


@looptime
async def test_delivery_ends_the_handle_and_frees_the_slot_in_its_own_step() -> None:
    """The next submit leaves in the loop turn of the delivery; not one poll was needed."""
    api, receiver = FakeAPI(limit=1, service_s=2), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        first = await bfl.submit("flux-dev", prompt="x")
        second = bfl.submit_nowait("flux-dev", prompt="y")
        await asyncio.sleep(2)
        assert not first.done()
        delivered = await deliver(receiver, api)
        assert first.done()  # without a turn of the loop in between
        assert bfl.statistics().active == 0
        assert bfl.statistics().queued == 1
        assert bfl.statistics().slots_taken == 1, "the slot is the next one's already"
        assert delivered.scheme == "secret"
        result = await first
        assert (result.task_id, result.cost) == ("task-0", 4.0)
        assert (await result.read()).startswith(b"\xff\xd8")
        await second.accepted()
        assert api.refused_429 == 0
        await asyncio.sleep(2)
        await deliver(receiver, api, 1)
        assert (await second).task_id == "task-1"
        assert api.polled == []
        assert bfl.statistics().ready == 2


@looptime
@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("Request Moderated", TaskModeratedError), ("Content Moderated", TaskModeratedError),
        ("Error", TaskFailedError), ("Failed", TaskFailedError), ("FAILED", TaskFailedError),
    ],
)  # fmt: skip
async def test_delivered_end_is_judged_as_a_polled_one(word: str, error: type[Exception]) -> None:
    """The same function reads both."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await deliver(receiver, api, word=word)
        with pytest.raises(error):
            await handle
        assert api.polled == []
        assert bfl.statistics().slots_taken == 0


@looptime
@pytest.mark.parametrize("word", ["Pending", "Generating", "Composing", "Task not found"])
async def test_delivered_word_that_ends_nothing_is_shown_and_ends_nothing(word: str) -> None:
    """Invariant 4 holds for deliveries as well; the end is still delivered afterwards."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        for _ in range(5):
            await deliver(receiver, api, word=word)
        assert (handle.status, handle.done()) == (word, False)
        await deliver(receiver, api)
        assert handle.done()


@looptime
async def test_lost_delivery_costs_latency_and_no_result() -> None:
    """The slow poll finds the task."""
    api, receiver = FakeAPI(service_s=5), a_receiver(poll_s=30)
    async with api.client(webhook=receiver) as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        assert result.task_id == "task-0"
        ((at, url),) = api.polled
        assert at == pytest.approx(30.1, abs=0.1)
        assert url == "/v1/get_result?id=task-0"
        assert receiver.statistics().missed == 1


@looptime
async def test_where_deliveries_stay_out_tasks_are_polled_until_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A URL that nobody can reach costs three slow polls and a warning, not the throughput."""
    api, receiver = FakeAPI(service_s=2), a_receiver(poll_s=30)
    async with api.client(limits=5, webhook=receiver) as bfl:
        began = asyncio.get_running_loop().time()
        with caplog.at_level(logging.WARNING, "bfl_async"):
            results = await bfl.gather([FluxDev(prompt=str(n)) for n in range(20)])
        assert len(results) == 20
        assert asyncio.get_running_loop().time() - began < 30.2 + 5 * 2.6
        stays_out = not receiver.comes_through
        assert stays_out
        assert [r.message for r in caplog.records if "webhook" in r.message] != []
        polls = len(api.polled)
        handle = await bfl.submit("flux-dev", prompt="x")
        await deliver(receiver, api, 20)
        assert receiver.comes_through
        assert handle.done()
        assert len(api.polled) == polls
        again = await bfl.submit("flux-dev", prompt="y")
        await asyncio.sleep(10)
        assert len(api.polled) == polls
        await deliver(receiver, api, 21)
        assert again.done()


@looptime
async def test_delivery_before_the_submits_own_answer_finds_its_handle() -> None:
    """It is matched by what its URL names, and waits for the receipt, which has the cost."""
    api, receiver = FakeAPI(service_s=0, submit_s=1.0), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(0.6)
        assert handle.task_id is None
        await deliver(receiver, api)
        assert not handle.done()
        result = await handle
        assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=0.01)
        assert result.cost == 4.0
        assert api.polled == []
        assert bfl.statistics().credits_spent == 4.0


@looptime
@pytest.mark.parametrize("problem", [TransportError("reset"), ReplyTimeoutError("late")], ids=str)
async def test_delivery_tells_what_a_lost_answer_would_have(problem: TransportError) -> None:
    """The answer to the submit is lost after its delivery came: the task is known, and nothing is ambiguous."""
    api, receiver = FakeAPI(service_s=math.inf, submit_s=2.0), a_receiver()
    api.script_submits(problem)
    async with api.client(webhook=receiver) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(1.5)
        await deliver(receiver, api)
        assert (await handle).task_id == "task-0"
        now = bfl.statistics()
        assert (now.submitted, now.ready, now.ambiguous, now.slots_taken) == (1, 1, 0, 0)
        assert len(api.posts) == 1


@looptime
@pytest.mark.parametrize("wrong_s", [-90_000.0, 90_000.0])
async def test_wrong_clock_refuses_no_delivery_that_is_awaited(
    wrong_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the submit's answer is lost as well, the delivery is all that is known of a paid image."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + wrong_s)
    api, receiver = FakeAPI(service_s=1.0), a_receiver()
    api.script_submits(ReplyTimeoutError("lost"))
    async with api.client(webhook=receiver) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(0.06)
        posted = api.posts[0][1]
        nonce = str(posted["webhook_url"]).rpartition("/")[2]
        body = body_of("Ready", "task-9", timestamp=now)
        await receiver.receive(nonce, {"X-Webhook-Secret": str(posted["webhook_secret"])}, body)
        assert (await handle).task_id == "task-9"
    assert receiver.statistics().delivered == 1
    with pytest.raises(ReplayError, match="10 minutes off"):
        await receiver.receive(nonce, {"X-Webhook-Secret": str(posted["webhook_secret"])}, body)


@looptime
async def test_wrong_clock_keeps_no_delivery_from_the_process_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process that takes it cannot know how old the request is; the one that waits does."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 90_000.0)
    api, bus = FakeAPI(service_s=math.inf), Bus()
    waits = WebhookReceiver(URL, SECRET, relay=bus)
    async with WebhookReceiver(URL, SECRET, relay=bus) as takes, api.client(webhook=waits) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        posted = api.posts[0][1]
        nonce = str(posted["webhook_url"]).rpartition("/")[2]
        body = body_of("Ready", "task-0", timestamp=now)
        await takes.receive(nonce, {"X-Webhook-Secret": str(posted["webhook_secret"])}, body)
        assert handle.done()


@looptime
async def test_without_a_delivery_a_lost_answer_stays_ambiguous(caplog: pytest.LogCaptureFixture) -> None:
    """Invariant 2 holds; a delivery that comes later names the task in the log, so that it can be attached."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    api.script_submits(TransportError("reset"))
    caplog.set_level(logging.INFO, "bfl_async")
    async with api.client(webhook=receiver) as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.generate("flux-dev", prompt="x")
        await deliver(receiver, api)
        assert receiver.statistics().unmatched == 1
        assert "task-0" in caplog.text
        api.tasks["task-0"] = FakeTask("task-0", "/v1/flux-dev", {}, 0.0, 0.0)
        assert (await bfl.attach("task-0", model="flux-dev")).task_id == "task-0"
        assert len(api.polled) == 1


@looptime
async def test_delivery_ends_a_poll_that_is_on_its_way() -> None:
    """A poll that hangs does not keep a delivered result."""
    api, receiver = FakeAPI(service_s=math.inf, poll_s=9.0), a_receiver(poll_s=1)
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await asyncio.sleep(3)
        await deliver(receiver, api)
        assert (await handle).task_id == "task-0"
        assert asyncio.get_running_loop().time() == pytest.approx(3.1, abs=0.01)
        await spin()
        assert bfl.statistics().polls == 0


@looptime
async def test_a_delivered_result_has_no_reply_of_a_poll() -> None:
    """One that found the task in flight is not what the result was made of."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver(poll_s=1)
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await asyncio.sleep(3)
        await deliver(receiver, api)
        assert (await handle).reply is None
        assert handle.poll_reply is not None


@looptime
async def test_forged_delivery_changes_nothing_and_is_counted() -> None:
    """Without the secret of its own URL; that of another submit does not do either."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        other = await bfl.submit("flux-dev", prompt="y")
        nonce = str(api.posts[0][1]["webhook_url"]).rpartition("/")[2]
        others_secret = str(api.posts[1][1]["webhook_secret"])
        for secret in ("", "guess", SECRET, others_secret):
            with pytest.raises(SignatureError):
                await receiver.receive(nonce, {"x-webhook-secret": secret}, body_of("Error"))
        with pytest.raises(SignatureError):
            await receiver.receive("no/nonce", {}, body_of())
        with pytest.raises(WebhookError):  # its own secret, and another's task
            await deliver(receiver, api, 0, "Error", task_id="task-1")
        assert not handle.done()
        assert not other.done()
        assert handle.status is None
        assert receiver.statistics().rejected == 6
        assert receiver.statistics().delivered == 0
        await deliver(receiver, api)
        assert (await handle).task_id == "task-0"


@looptime
async def test_delivery_that_overtook_its_submit_and_names_another_task_is_left_out() -> None:
    """Only the receipt can tell; the poll then finds the task."""
    api, receiver = FakeAPI(service_s=0, submit_s=1.0), a_receiver(poll_s=5)
    async with api.client(webhook=receiver) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(0.6)
        await deliver(receiver, api, 0, "Error", task_id="another")
        assert (await handle).task_id == "task-0"
        assert len(api.polled) == 1


@looptime
async def test_delivery_that_comes_again_is_a_replay_and_changes_nothing() -> None:
    """Duplicates are known by the task's id."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        await deliver(receiver, api)
        result = await handle
        for word in ("Ready", "Error"):
            with pytest.raises(ReplayError):
                await deliver(receiver, api, word=word)
        assert await handle is result
        assert receiver.statistics().duplicates == 2
        assert bfl.statistics().ready == 1


@looptime
async def test_request_whose_schema_has_no_webhook_is_polled() -> None:
    """An unknown model's fields are nobody's business; a webhook of the caller's own is left alone."""
    api, receiver = FakeAPI(service_s=1), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        with pytest.warns(UserWarning, match="not in this release's catalog"):
            unknown = request("flux-9-ultra", prompt="x")
        await bfl.generate(unknown)
        await bfl.generate("flux-dev", prompt="x", webhook_url="https://own.example/hook")
        assert "webhook_url" not in api.posts[0][1]
        assert api.posts[1][1]["webhook_url"] == "https://own.example/hook"
        await bfl.generate("flux-dev", prompt="x", extra_body={"webhook_url": "https://own.example/2"})
        assert api.posts[2][1] == {"prompt": "x", "webhook_url": "https://own.example/2"}
        assert asyncio.get_running_loop().time() < 6
        assert receiver.statistics().missed == 0


@looptime
async def test_refused_submit_keeps_its_place_with_the_receiver() -> None:
    """A 429 made no task: the next attempt carries the same URL, and its delivery arrives."""
    api, receiver = FakeAPI(service_s=math.inf, limit=12, foreign_active=12), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="x")
        await asyncio.sleep(0.5)
        api.foreign_active = 0
        await handle.accepted()
        assert len({str(body["webhook_url"]) for _, body in api.posts}) == 1
        assert len(api.posts) > 1
        await deliver(receiver, api, 0)
        assert handle.done()


@looptime
async def test_reader_of_updates_still_sees_progress_by_polls() -> None:
    """Deliveries tell the end only; while updates are read, polls are at most 1 s apart."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver(poll_s=30)
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        seen: list[object] = []

        async def read() -> None:
            seen.extend([(update.state, update.status) async for update in handle.updates()])

        reader = asyncio.create_task(read())
        await asyncio.sleep(2.5)
        assert 2 <= len(api.polled) <= 12
        assert handle.status == "Pending"
        await deliver(receiver, api)
        await reader
        assert seen[-1] == ("settled", "Ready")


@looptime
async def test_draining_client_relies_on_polls() -> None:
    """At shutdown the web server stops before the client has drained: deliveries find nobody."""
    api, receiver = FakeAPI(service_s=2), a_receiver(poll_s=300)
    bfl = await api.client(webhook=receiver).open()
    handles = [await bfl.submit("flux-dev", prompt="x"), bfl.submit_nowait("flux-dev", prompt="y")]
    await asyncio.sleep(1)
    await bfl.aclose(drain=30)
    assert asyncio.get_running_loop().time() < 4
    for handle in handles:
        assert (await handle).task_id


@looptime
async def test_closed_client_expects_nothing_more() -> None:
    """What was open can be attached by another client with the same receiver; its delivery has it polled at once."""
    api, receiver = FakeAPI(service_s=20), a_receiver()
    async with api.client(webhook=receiver) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
    assert "expected=0" in repr(receiver)
    async with api.client(webhook=receiver, interval=300) as bfl:
        attached = bfl.attach(**handle.to_dict())
        assert "expected=1" in repr(receiver)
        await asyncio.sleep(20)
        assert not attached.done()
        began = asyncio.get_running_loop().time()
        await deliver(receiver, api)
        assert (await attached).task_id == "task-0"
        assert asyncio.get_running_loop().time() - began < 1
    assert "expected=0" in repr(receiver)


@looptime
@pytest.mark.parametrize("word", ["Ready", "SUCCESS", "Error", "Failed", "Content Moderated", "Pending"])
@pytest.mark.parametrize("first_ends", ["by its delivery", "by a poll", "not at all"])
async def test_proof_of_one_submit_says_nothing_of_anothers_task(word: str, first_ends: str) -> None:
    """Whatever became of the first request, and whatever the forged delivery says; the genuine one still counts."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver(poll_s=3)
    async with api.client(webhook=receiver) as bfl:
        first = await bfl.submit("flux-dev", prompt="x")
        second = await bfl.submit("flux-2-pro", prompt="y")
        if first_ends == "by its delivery":
            await deliver(receiver, api, 0)
        elif first_ends == "by a poll":
            api.end("task-0")
            await first
        with contextlib.suppress(WebhookError):
            await deliver(receiver, api, 0, word, task_id="task-1")
        assert (second.done(), second.status) in ((False, None), (False, "Pending"))
        assert bfl.statistics().slots_taken == (2 if first_ends == "not at all" else 1)
        await deliver(receiver, api, 1)
        assert second.done()
        assert (await second).task_id == "task-1"


@looptime
@pytest.mark.parametrize("relayed", [False, True])
async def test_delivery_for_an_attached_task_is_a_reason_to_poll_and_nothing_else(relayed: bool) -> None:
    """Its proof may be that of any submit: neither the forged end nor a forged progress is shown, to anybody."""
    api, bus = FakeAPI(service_s=math.inf), Bus()
    receiver = WebhookReceiver(URL, SECRET, relay=bus if relayed else None)
    takes = WebhookReceiver(URL, SECRET, relay=bus) if relayed else receiver
    async with takes, api.client(webhook=receiver, interval=300) as bfl:
        await bfl.submit("flux-dev", prompt="x")
        attached = bfl.attach("task-of-another-process")
        api.tasks["task-of-another-process"] = FakeTask(
            "task-of-another-process", "/v1/flux-dev", {}, 0.0, math.inf
        )
        await asyncio.sleep(1)
        polls = len(api.polled)
        for word in ("Error", "Ready", "Content Moderated", "Generating"):
            with contextlib.suppress(WebhookError):
                await deliver(takes, api, 0, word, task_id="task-of-another-process")
        await asyncio.sleep(1)
        assert (attached.done(), attached.status) == (False, "Pending")
        # Submitted requests refuse what names another task, so the only proof here is that of an open submit.
        assert len(api.polled) == polls


@looptime
async def test_one_proof_has_an_attached_task_polled_once() -> None:
    """Whoever has it cannot make the client poll without end."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver, interval=300) as bfl:
        ended = await bfl.submit("flux-dev", prompt="x")
        await deliver(receiver, api)
        await ended
        other = await bfl.submit("flux-dev", prompt="y")
        attached_id = "task-9"
        api.tasks[attached_id] = FakeTask(attached_id, "/v1/flux-dev", {}, 0.0, math.inf)
        attached = bfl.attach(attached_id)
        await asyncio.sleep(1)
        polls = len(api.polled)
        for _ in range(20):
            with contextlib.suppress(ReplayError):
                await deliver(receiver, api, 0, "Error", task_id=attached_id)
            with contextlib.suppress(ReplayError):
                await deliver(receiver, api, 0, "Generating", task_id=attached_id)
            await asyncio.sleep(1)
        assert len(api.polled) == polls + 1
        assert (attached.done(), attached.status, other.done()) == (False, "Pending", False)


@looptime
async def test_what_nobody_waits_for_is_known_when_it_comes_again() -> None:
    """It is counted, and a task that is attached later is polled at once anyway."""
    api, receiver = FakeAPI(service_s=2, limit=1000), a_receiver()
    async with api.client(limits=1000, webhook=receiver) as bfl:
        handles = await asyncio.gather(*(bfl.submit("flux-dev", prompt="x") for _ in range(30)))
    for number in range(30):
        await deliver(receiver, api, number)
    assert receiver.statistics().unmatched == 30
    with pytest.raises(ReplayError):
        await deliver(receiver, api, 7)
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    async with api.client(limits=1000, webhook=receiver) as bfl:
        await asyncio.gather(*(bfl.attach(**handle.to_dict()) for handle in handles))
    assert asyncio.get_running_loop().time() - began < 1


class Bus:
    """A relay between receivers of one test, as a broker is between processes."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Delivery], None]] = []
        self.broken = False

    async def open(self, on_delivery: Callable[[Delivery], None]) -> None:
        self.listeners.append(on_delivery)

    async def publish(self, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("the broker is gone")
        for listener in self.listeners:
            listener(delivery)

    async def aclose(self) -> None:
        self.listeners.clear()


@looptime
async def test_another_processs_delivery_comes_by_the_relay() -> None:
    """Any process with the secret can check it; who waits gets it. One that fails is sent again by the server."""
    api, bus = FakeAPI(service_s=math.inf), Bus()
    waits = WebhookReceiver(URL, SECRET, relay=bus)
    async with WebhookReceiver(URL, SECRET, relay=bus) as takes, api.client(webhook=waits) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")
        bus.broken = True
        with pytest.raises(ConnectionError):
            await deliver(takes, api)
        bus.broken = False
        await deliver(takes, api)
        assert handle.done()
        with pytest.raises(ReplayError):
            await deliver(takes, api)
        assert waits.statistics().delivered == 1
        assert api.polled == []


@looptime
async def test_relayed_proof_of_one_submit_says_nothing_of_anothers_task() -> None:
    """The process that received it knows neither request; the one that is told compares nonce and task."""
    api, bus = FakeAPI(service_s=math.inf), Bus()
    waits = WebhookReceiver(URL, SECRET, relay=bus)
    async with WebhookReceiver(URL, SECRET, relay=bus) as takes, api.client(webhook=waits) as bfl:
        first = await bfl.submit("flux-dev", prompt="x")
        second = await bfl.submit("flux-dev", prompt="y")
        await deliver(takes, api, 0, "Failed", task_id="task-1")
        await deliver(takes, api, 0)
        await first
        with contextlib.suppress(ReplayError):
            await deliver(takes, api, 0, "Ready", task_id="task-1")
        assert (second.done(), second.status) == (False, None)
        await deliver(takes, api, 1)
        assert second.done()


@looptime
async def test_delivered_times_teach_the_policy_about_what_polls_would() -> None:
    """Without one poll, the median that is learnt is near the true one, also where deliveries are all there is."""
    api, receiver = FakeAPI(service_s=8.0), a_receiver()
    async with AsyncBFL(polling=Adaptive(), transport=api, webhook=receiver) as bfl:

        async def one(number: int) -> None:
            handle = await bfl.submit("flux-dev", prompt="x")
            await asyncio.sleep(8.0)
            await deliver(receiver, api, number)
            await handle

        for number in range(40):
            await one(number)
        latency = bfl.statistics().latency["flux-dev"]
        assert latency.p50 == pytest.approx(8.05, abs=0.1)
        law = TimingsBook(bfl.timings()).of("flux-dev", None, (5.0, 0.35)).law
        assert 7.0 < law.quantile_s(0.5) < 8.3


@looptime
async def test_broken_callback_of_a_delivery_costs_its_own_request_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invariant 8: a bug while a delivered result is made settles its entry as lost, with its task id."""
    api, receiver = FakeAPI(service_s=math.inf), a_receiver()
    async with api.client(webhook=receiver, timeouts=Timeouts(task=60)) as bfl:
        handle = await bfl.submit("flux-dev", prompt="x")

        def broken(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("bfl_async.engine.steps.Result.of", broken)
        await deliver(receiver, api)
        monkeypatch.undo()
        with pytest.raises(Exception, match="a bug ended this request") as caught:
            await handle
        assert getattr(caught.value, "task_id", None) == "task-0"


@looptime
async def test_delivery_that_comes_after_a_poll_saw_the_end_is_nothing_new() -> None:
    """It shows that deliveries come through, and is counted with those that come again."""
    api, receiver = FakeAPI(service_s=2), a_receiver(poll_s=3)
    async with api.client(webhook=receiver) as bfl:
        await bfl.gather([FluxDev(prompt=str(n)) for n in range(4)])
        assert (receiver.comes_through, receiver.statistics().missed) == (False, 4)
        with pytest.raises(ReplayError):
            await deliver(receiver, api)
        assert (receiver.comes_through, receiver.statistics().duplicates) == (True, 1)
        assert receiver.statistics().unmatched == 0


@looptime
async def test_those_who_wait_are_polled_as_soon_as_deliveries_are_known_to_stay_out() -> None:
    """Not only at the end of their own slow interval."""
    api, receiver = FakeAPI(service_s=2), a_receiver(poll_s=30)
    async with api.client(webhook=receiver) as bfl:
        early = [await bfl.submit("flux-dev", prompt=str(n)) for n in range(3)]
        await asyncio.sleep(20)
        late = [await bfl.submit("flux-dev", prompt=str(n)) for n in range(3)]
        await asyncio.gather(*early)
        assert 30 < asyncio.get_running_loop().time() < 31
        await asyncio.gather(*late)
        assert asyncio.get_running_loop().time() < 32
