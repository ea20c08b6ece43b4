"""Invariant 2: money is spent once. Each row of its table, over a real socket."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    APIStatusError,
    AsyncBFL,
    AuthenticationError,
    BFLError,
    ConnectError,
    Fixed,
    InsufficientCreditsError,
    InvalidRequestError,
    Limits,
    RefusedError,
    ReplyTimeoutError,
    TaskTimeoutError,
    Timeouts,
)
from tests.integration.contract_server import (
    KEY,
    PROMPT,
    RESET,
    ContractServer,
    Cut,
    Hold,
    Say,
    ScriptedTransport,
    Step,
    Wire,
    a_request,
    html,
    no_secret_in,
    redirect,
    reply,
    say,
    served,
    spin,
    until,
)

FAST = Timeouts(connect=0.4, reply=0.15, close=0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


# ---- row 1: no connection


async def test_2_a_refused_connection_is_repeated_until_the_connect_timeout_and_nothing_is_held() -> None:
    """Invariant 2, row 1: no task, slot freed, repeated with back-off, then `ConnectError`."""
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncBFL(KEY, base_url=url, timeouts=FAST, polling=Fixed(0.02)) as bfl:
        with pytest.raises(ConnectError) as caught:
            await bfl.generate(a_request())
        assert caught.value.task_id is None
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.submitting, counts.queued) == (0, 0, 0)
        assert (counts.failed, counts.ambiguous) == (1, 0)
        no_secret_in(caught.value, repr(caught.value))


async def test_2_a_name_that_cannot_be_looked_up_is_a_connect_error() -> None:
    """Invariant 2, row 1: DNS counts as no connection."""
    async with AsyncBFL(KEY, base_url="https://nowhere.invalid", timeouts=FAST) as bfl:
        with pytest.raises(ConnectError):
            await bfl.submit(a_request())
        assert bfl.statistics().slots_taken == 0


async def test_2_a_tls_handshake_that_fails_is_a_connect_error() -> None:
    """Invariant 2, row 1: TLS counts as no connection; not one byte of the request left in the clear."""
    received = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with AsyncBFL(KEY, base_url=f"https://127.0.0.1:{port}", timeouts=FAST) as bfl:
            with pytest.raises(ConnectError):
                await bfl.submit(a_request())
            assert bfl.statistics().slots_taken == 0
    finally:
        listener.close()
        await listener.wait_closed()
    assert received
    assert KEY.encode() not in received


async def test_2_a_server_that_comes_up_later_gets_the_request_exactly_once() -> None:
    """Invariant 2, row 1: what was never sent is sent again, once a connection can be made."""
    port = free_port()
    got = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST ")
        got += 1
        body = b'{"id": "task-late", "polling_url": null, "cost": 4.0}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with AsyncBFL(
        KEY, base_url=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=8, close=0.2), polling=Fixed(5)
    ) as bfl:
        handle = bfl.submit_nowait(a_request())
        await asyncio.sleep(0.03)  # the first attempt is refused meanwhile; were it not, the rest holds too
        listener = await asyncio.start_server(talk, "127.0.0.1", port)
        try:
            assert await handle.accepted() == "task-late"
            assert got == 1
        finally:
            listener.close()


@pytest.mark.looptime
async def test_2_not_sent_is_repeated_with_growing_waits_and_then_sent() -> None:
    """Invariant 2, row 1: repeated with back-off; while it waits the request is not counted as sent."""
    fake = ScriptedTransport()
    fake.submit_script.extend(
        [ConnectError("refused"), ConnectError("refused"), ConnectError("refused"), None]
    )
    async with fake.client() as bfl:
        result = await bfl.generate(a_request())
        assert result.task_id == "task-0"
        waits = [later[0] - earlier[0] for earlier, later in zip(fake.posts, fake.posts[1:], strict=False)]
        assert len(fake.posts) == 4
        assert waits[-1] > waits[0] - 0.05
        assert bfl.statistics().ready == 1


@pytest.mark.looptime
async def test_2_a_callers_timeout_while_there_is_no_connection_has_that_as_its_cause() -> None:
    """Invariant 2, row 1, and Errors: a `TaskTimeoutError` that was never sent, caused by the last failure,
    or the `ConnectError` itself; never a word of a task."""
    fake = ScriptedTransport(always_submit=lambda _path, _body: ConnectError("refused"))
    async with fake.client(timeouts=Timeouts(connect=100)) as bfl:
        with pytest.raises((TaskTimeoutError, ConnectError)) as caught:
            await bfl.generate(a_request(), timeout=3.0)
        assert caught.value.task_id is None
        if isinstance(caught.value, TaskTimeoutError):
            assert isinstance(caught.value.__cause__, ConnectError)
        await bfl.drain(timeout=200)
        sent = len(fake.posts)
        await asyncio.sleep(200)
        assert len(fake.posts) == sent
        assert bfl.statistics().slots_taken == 0


# ---- row 2: come again


async def test_2_a_503_in_json_is_sent_again_by_itself() -> None:
    """Invariant 2, row 2: no task exists, so the same bytes go out again and the caller sees no error."""
    async with served() as (server, bfl):
        server.script_submits(say(503, {"detail": "maintenance"}))
        result = await bfl.generate(a_request(), timeout=10)
        assert result.task_id == "task-0"
        assert len({seen.body for seen in server.submits}) == 1
        assert len(server.submits) == 2
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.refused_429) == (0, 0)
        assert (counts.ready, counts.ambiguous, counts.failed) == (1, 0, 0)


ODD_REFUSALS = {
    "429-html": reply(429, b"slow down", content_type="text/html"),
    "429-empty": reply(429, b""),
    "429-other-shape": reply(429, {"error": "rate_limit", "message": "x", "retry_after": 3}),
    "429-after-0": reply(429, {"detail": "wait"}, retry_after="0"),
    "429-after-word": reply(429, {"detail": "wait"}, retry_after="soon"),
    "429-after-past": reply(429, {"detail": "wait"}, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "503-json": reply(503, {"detail": "wait"}),
    "503-json-empty": reply(503, {}),
    "503-json-list": reply(503, ["maintenance"]),
    "503-json-null": reply(503, None),
    "503-json-text": reply(503, "maintenance"),
    "503-json-number": reply(503, 7),
    "503-after-negative": reply(503, {"detail": "wait"}, retry_after="-5"),
    "503-after-nan": reply(503, {"detail": "wait"}, retry_after="nan"),
    "503-after-infinite": reply(503, {"detail": "wait"}, retry_after="1e400"),
}


@pytest.mark.looptime
@pytest.mark.parametrize("name", list(ODD_REFUSALS))
async def test_2_a_429_in_any_form_and_a_503_with_any_json_come_again(name: str) -> None:
    """Invariant 2, row 2: whatever they hold, and however odd the `Retry-After`, one more POST follows soon."""
    fake = ScriptedTransport()
    fake.submit_script.append(ODD_REFUSALS[name])
    async with fake.client() as bfl:
        await bfl.generate(a_request(), timeout=30)
        assert len(fake.posts) == 2
        assert bfl.statistics().slots_taken == 0


async def test_2_retry_after_is_honoured() -> None:
    """Invariant 2, row 2: not before `Retry-After`."""
    async with served() as (server, bfl):
        server.script_submits(say(503, {"detail": "wait"}, Retry_After="1"))
        handle = bfl.submit_nowait(a_request())
        await server.wait_submits(1)
        await until(lambda: bfl.statistics().queued == 1)
        counts = bfl.statistics()
        assert (counts.slots_taken, handle.state) == (0, "queued")
        await handle.accepted()
        assert server.submits[1].at - server.submits[0].at >= 0.97


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 503])
async def test_2_a_long_retry_after_is_honoured(status: int) -> None:
    """Invariant 2, row 2: also when it is longer than any back-off of our own."""
    fake = ScriptedTransport()
    fake.submit_script.append(reply(status, {"detail": "wait"}, retry_after="45"))
    async with fake.client() as bfl:
        await bfl.generate(a_request())
        assert len(fake.posts) == 2
        assert 44.9 <= fake.posts[1][0] - fake.posts[0][0] <= 60


@pytest.mark.looptime
async def test_2_a_refused_request_goes_back_to_the_head_of_its_queue() -> None:
    """Invariant 2, row 2: those that came later do not overtake it."""
    fake = ScriptedTransport()
    fake.submit_script.append(reply(429, {"detail": "Too many active tasks"}))
    async with fake.client(limits=1) as bfl:
        handles = [bfl.submit_nowait(a_request(name)) for name in ("first", "second", "third")]
        for handle in handles:
            await handle
        assert fake.prompts == ["first", "first", "second", "third"]


@pytest.mark.looptime
async def test_2_503_in_json_forever_ends_in_the_callers_timeout_with_the_refusal_as_cause() -> None:
    """Invariant 2, row 2, and Errors: nothing was sent that counts; the cause is the last refusal."""
    fake = ScriptedTransport(always_submit=lambda _path, _body: reply(503, {"detail": "maintenance"}))
    async with fake.client() as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(a_request(), timeout=30)
        assert caught.value.task_id is None
        assert caught.value.state in ("queued", "submitting")
        assert isinstance(caught.value.__cause__, APIStatusError)
        assert caught.value.__cause__.status_code == 503
        await bfl.drain(timeout=1)
        assert bfl.statistics().slots_taken == 0


# ---- row 3: refused

REFUSALS: list[tuple[Say, type[RefusedError]]] = [
    (say(400, {"detail": "bad format"}), InvalidRequestError),
    (say(401, {"detail": "no"}), AuthenticationError),
    (say(402, {"detail": "Insufficient credits"}), InsufficientCreditsError),
    (say(403, {"detail": "Not authenticated - Invalid Authentication"}), AuthenticationError),
    (say(404, {"detail": "Not Found"}), RefusedError),
    (say(405, {"detail": "Method Not Allowed"}), RefusedError),
    (say(408, {"detail": "timeout"}), RefusedError),
    (say(409, {"detail": "conflict"}), RefusedError),
    (html(413, "<html>too large</html>"), RefusedError),
    (say(418, {}), RefusedError),
    (
        say(422, {"detail": [{"loc": ["body", "width"], "msg": "too wide", "type": "less_than"}]}),
        InvalidRequestError,
    ),
    (html(422, "<html>no</html>"), InvalidRequestError),
    (say(451, None), RefusedError),
    (redirect(301, "/v1/elsewhere"), RefusedError),
    (redirect(302, "/v1/elsewhere"), RefusedError),
    (redirect(303, "/v1/elsewhere"), RefusedError),
    (redirect(307, "/v1/elsewhere"), RefusedError),
    (redirect(308, "/v1/elsewhere"), RefusedError),
    (Say(304), RefusedError),
]


@pytest.mark.parametrize(
    ("refusal", "error"), REFUSALS, ids=[f"{n}-{refusal.status}" for n, (refusal, _) in enumerate(REFUSALS)]
)
async def test_2_other_refusals_raise_at_once_and_free_the_slot(
    refusal: Say, error: type[RefusedError]
) -> None:
    """Invariant 2, row 3: one POST, no task, slot freed, its `RefusedError`; a redirect is followed never."""
    async with served() as (server, bfl):
        server.script_submits(refusal)
        with pytest.raises(error) as caught:
            await bfl.generate(a_request())
        assert caught.value.status_code == refusal.status
        assert caught.value.task_id is None
        assert len(server.submits) == 1
        assert len(server.seen) == 1
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.submitting, counts.failed, counts.ambiguous) == (0, 0, 1, 0)
        no_secret_in(caught.value, repr(caught.value))


async def test_2_a_422_lists_its_errors() -> None:
    """Errors: `.errors` of (path, message), `.body` is the reply's text."""
    async with served() as (server, bfl):
        detail = [{"loc": ["body", "width"], "msg": "too wide", "type": "less_than"}]
        server.script_submits(say(422, {"detail": detail}))
        with pytest.raises(InvalidRequestError) as caught:
            await bfl.submit(a_request())
        assert len(caught.value.errors) == 1
        path, message = caught.value.errors[0]
        assert "width" in path
        assert message == "too wide"
        assert caught.value.body is not None
        assert "too wide" in caught.value.body


async def test_2_a_404_names_the_model() -> None:
    """Invariant 2, row 3: 404 names the model."""
    async with served() as (server, bfl):
        server.script_submits(say(404, {"detail": "Not Found"}))
        with pytest.raises(RefusedError, match=r"flux-pro-1\.1"):
            await bfl.submit(a_request())


# ---- row 4: unknown

AMBIGUOUS: dict[str, tuple[Step, int | None]] = {
    "500-json": (say(500, {"detail": "oops"}), 500),
    "500-html": (html(500), 500),
    "502": (html(502), 502),
    "502-json": (say(502, {"detail": "bad gateway"}), 502),
    "504": (html(504), 504),
    "504-json": (say(504, {"detail": "gateway timeout"}), 504),
    "503-html": (html(503), 503),
    "503-empty": (Say(503), 503),
    "503-html-retry-after": (html(503, Retry_After="1"), 503),
    "503-json-type-html-body": (Say(503, b"<html>", "application/json"), 503),
    "200-html": (html(200), 200),
    "200-empty": (Say(200), 200),
    "204": (Say(204, b""), 204),
    "200-no-id": (say(200, {"polling_url": "https://api.bfl.ai/v1/get_result?id=1", "cost": 4}), 200),
    "200-id-null": (say(200, {"id": None}), 200),
    "200-id-empty": (say(200, {"id": ""}), 200),
    "200-list": (say(200, ["task-0"]), 200),
    "200-null": (say(200, None), 200),
    "200-cut-json": (Say(200, b'{"id": "task-'), 200),
    "200-bad-utf8": (Say(200, b'{"id": "\xff\xfe'), 200),
    "200-huge-nesting": (Say(200, b"[" * 100_000), 200),
    "reset": (RESET, None),
    "cut-body": (Cut(b'{"id": "task-0"', 4000), None),
    "garbage": (Wire(b"\x00\x01 this is no HTTP \r\n\r\n"), None),
    "half-a-head": (Wire(b"HTTP/1.1 200 OK\r\nContent-Le"), None),
}


@pytest.mark.parametrize("name", list(AMBIGUOUS))
async def test_2_a_lost_answer_is_reported_never_repeated_and_holds_its_slot(name: str) -> None:
    """Invariant 2, row 4: `AmbiguousSubmitError` with the facts of the reply, exactly one POST, slot held."""
    step, status = AMBIGUOUS[name]
    async with served(limits=Limits(account=2, unknown_s=60)) as (server, bfl):
        server.script_submits(step)
        with pytest.raises(AmbiguousSubmitError) as caught:
            await bfl.generate(a_request(), timeout=5)
        assert caught.value.status_code == status
        assert (caught.value.body is None) == (status is None)
        assert caught.value.task_id is None
        assert len(server.submits) == 1
        counts = bfl.statistics()
        assert (counts.slots_taken, counts.ambiguous, counts.failed) == (1, 1, 0)
        no_secret_in(caught.value, repr(caught.value))
        # The other slot works, and not even then is the lost request sent again.
        await bfl.generate(a_request("other"), timeout=5)
        assert len(server.submits) == 2
        assert [seen.json()["prompt"] for seen in server.submits].count(PROMPT) == 1


async def test_2_a_reply_that_never_comes_is_ambiguous_after_the_reply_timeout() -> None:
    """Invariant 2, row 4: a timeout after the first byte left; the late acceptance changes nothing."""
    async with ContractServer() as server:
        release = asyncio.Event()
        server.script_submits(Hold(release))
        limits = Limits(account=1, unknown_s=60)
        async with server.client(limits=limits, timeouts=FAST) as bfl:
            with pytest.raises(AmbiguousSubmitError) as caught:
                await bfl.submit(a_request())
            assert caught.value.status_code is None
            assert isinstance(caught.value.__cause__, ReplyTimeoutError | None)
            release.set()
            assert bfl.statistics().slots_taken == 1
            assert len(server.submits) == 1


async def test_2_a_reset_before_the_body_is_read_is_ambiguous() -> None:
    """Invariant 2, row 4: once bytes have left nobody can tell what the server did."""
    posts = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        posts += (await reader.read(64)).startswith(b"POST")
        writer.transport.abort()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        limits = Limits(account=2, unknown_s=60)
        async with AsyncBFL(KEY, base_url=f"http://127.0.0.1:{port}", limits=limits, timeouts=FAST) as bfl:
            with pytest.raises(AmbiguousSubmitError):
                await bfl.submit("flux-pro-1.1", prompt="x", image_prompt="A" * 900_000)
            assert bfl.statistics().slots_taken == 1
            assert posts == 1
    finally:
        listener.close()


async def test_2_an_idle_connection_that_the_server_closed_does_not_make_a_request_ambiguous() -> None:
    """Invariant 2: a keep-alive connection that ended while idle is not used for a submit."""
    async with served() as (server, bfl):
        await bfl.generate(a_request())
        # Close every idle connection from the server's side, as a gateway does.
        server.routes["/v1/credits"] = Wire(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"credits": 1.0}')
        assert await bfl.credits() == 1.0
        await asyncio.sleep(0.05)
        for _ in range(3):
            await bfl.generate(a_request())
        assert bfl.statistics().ambiguous == 0


@pytest.mark.parametrize("answer", [RESET, Wire(b"HTTP/1.1 200")], ids=["reset", "half-a-head"])
async def test_2_a_reset_on_a_used_connection_is_not_repeated_by_any_layer(answer: Wire) -> None:
    """Invariant 2, row 4: an HTTP library that repeats a request on a stale connection would pay twice."""
    async with served(limits=Limits(account=2, unknown_s=60)) as (server, bfl):
        await bfl.generate(a_request("warm"))
        server.script_submits(answer)
        with pytest.raises(AmbiguousSubmitError):
            await bfl.submit(a_request())
        await spin()
        assert [seen.json()["prompt"] for seen in server.submits] == ["warm", PROMPT]


async def test_2_an_ambiguous_slot_is_freed_after_unknown_s_and_not_before() -> None:
    """Invariant 2: the slot is held for `Limits.unknown_s`, then the next request goes."""
    async with served(limits=Limits(account=1, unknown_s=0.3)) as (server, bfl):
        server.script_submits(RESET)
        lost = bfl.submit_nowait(a_request("lost"))
        following = bfl.submit_nowait(a_request("next"))
        with pytest.raises(AmbiguousSubmitError):
            await lost
        assert (following.state, bfl.statistics().slots_taken) == ("queued", 1)
        await following
        assert len(server.submits) == 2
        assert server.submits[1].at - server.submits[0].at >= 0.28
        await until(lambda: bfl.statistics().slots_taken == 0)


@pytest.mark.looptime
async def test_2_unknown_s_is_at_least_ten_seconds_by_default_and_at_most_the_tasks_deadline() -> None:
    """Invariant 2: twice the 99th percentile, at least 10 s, at most the task's deadline."""
    fake = ScriptedTransport()
    fake.submit_script.append(reply(500, {"detail": "oops"}))
    async with fake.client() as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.submit("flux-2-klein-4b", prompt="x")
        await asyncio.sleep(9.5)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(600)
        assert bfl.statistics().slots_taken == 0

    fake = ScriptedTransport()
    fake.submit_script.append(reply(500, {"detail": "oops"}))
    async with fake.client(timeouts=Timeouts(task=3.0)) as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.submit(a_request())
        await asyncio.sleep(2.5)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(1.0)
        assert bfl.statistics().slots_taken == 0


async def test_2_a_large_body_is_sent_whole_and_without_a_warning() -> None:
    """Invariants 2 and 10: images of several MB travel as base64 within the body; warnings are errors here."""
    image = "A" * 6_000_000
    async with served() as (server, bfl):
        await bfl.submit("flux-pro-1.1", prompt="x", image_prompt=image)
        assert server.submits[0].json()["image_prompt"] == image


@pytest.mark.looptime
async def test_2_unknown_s_follows_what_was_learnt() -> None:
    """Invariant 2: "from the catalog's prior until learnt": a model that takes 100 s holds about 200 s."""
    fake = ScriptedTransport(service_s=100.0)
    async with fake.client(interval=5.0) as bfl:
        for _ in range(12):
            await bfl.gather([a_request() for _ in range(12)])
        fake.submit_script.append(reply(500, {"detail": "oops"}))
        with pytest.raises(AmbiguousSubmitError):
            await bfl.submit(a_request())
        await asyncio.sleep(180)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(420)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.looptime
async def test_2_a_deadline_that_passes_keeps_the_slot_for_unknown_s() -> None:
    """Invariant 2: a task that we can no longer follow keeps its slot for `unknown_s`, then frees it."""
    fake = ScriptedTransport(service_s=10_000.0)
    async with fake.client(limits=Limits(account=1, unknown_s=7.0), timeouts=Timeouts(task=20.0)) as bfl:
        loop = asyncio.get_running_loop()
        handle = await bfl.submit(a_request())
        begun = loop.time()
        with pytest.raises(TaskTimeoutError) as caught:
            await handle
        assert 19.5 <= loop.time() - begun <= 21
        assert (caught.value.state, caught.value.task_id) == ("submitted", "task-0")
        assert caught.value.polling_url == handle.polling_url
        await asyncio.sleep(6.5)
        assert bfl.statistics().slots_taken == 1
        await asyncio.sleep(1.0)
        assert bfl.statistics().slots_taken == 0


async def test_2_the_cost_counts_once_in_the_statistics() -> None:
    """Statistics: `credits_spent` is what the receipts state, `submitted` counts acceptances."""
    async with served() as (server, bfl):
        server.script_submits(say(503, {"detail": "busy"}), None, say(422, {"detail": "no"}))
        await bfl.generate(a_request())
        with pytest.raises(BFLError):
            await bfl.generate(a_request())
        counts = bfl.statistics()
        assert counts.credits_spent == 4.0
        assert counts.ready + counts.moderated + counts.failed + counts.ambiguous + counts.withdrawn == 2


@pytest.mark.parametrize(
    "body",
    [
        {"id": "task-x"},
        {"id": "task-x", "polling_url": None, "cost": None, "input_mp": None},
        {"id": "task-x", "polling_url": "", "cost": "free", "surprise": {"a": [1]}},
        {"id": "task-x", "cost": 7.000000000000001, "status": "Queued"},
    ],
    ids=["only-id", "nulls", "odd-types", "extra"],
)
async def test_2_a_receipt_with_an_id_is_an_acceptance_whatever_else_it_holds(
    body: dict[str, object],
) -> None:
    """Invariant 2: only a 2xx without a readable id is ambiguous; money with an id is never lost."""
    async with served() as (server, bfl):
        server.script_submits(say(200, body))
        result = await bfl.generate(a_request(), timeout=5)
        assert result.task_id == "task-x"
        assert server.polls[0].target == "/v1/get_result?id=task-x"
        await spin()
        assert bfl.statistics().slots_taken == 0


async def test_2_any_2xx_with_an_id_is_an_acceptance() -> None:
    """Invariant 2: 201 and 202 are as good as 200."""
    async with served() as (server, bfl):
        for status in (201, 202):
            server.script_submits(say(status, {"id": f"task-{status}"}))
            assert (await bfl.generate(a_request(), timeout=5)).task_id == f"task-{status}"
