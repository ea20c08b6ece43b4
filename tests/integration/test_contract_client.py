"""The client's life, its configuration, its statistics, its errors, and what it shows."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import re
import threading
import traceback
import warnings
from collections.abc import Mapping
from typing import cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import bfl_async
from bfl_async import (
    AmbiguousSubmitError,
    APIStatusError,
    AsyncBFL,
    AuthenticationError,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    DownloadError,
    Fixed,
    FluxPro11,
    InsufficientCreditsError,
    InvalidRequestError,
    LimiterError,
    Limits,
    QueueFullError,
    RateLimitedError,
    RefusedError,
    ReplyShapeError,
    ReplyTimeoutError,
    ResultExpiredError,
    SaveError,
    ServerError,
    TaskError,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskTimeoutError,
    Timeouts,
    TransportError,
    UntrustedURLError,
    request,
)
from bfl_async.sandbox import Sandbox
from tests.integration.contract_server import (
    KEY,
    PROMPT,
    RESET,
    SIGNATURE,
    ContractServer,
    Hold,
    Say,
    ScriptedTransport,
    a_request,
    html,
    no_secret_in,
    other_tasks,
    reply,
    say,
    served,
    spin,
    status_body,
    until,
)

# ---- opening and closing


def test_no_loop_and_no_io_in_init() -> None:
    """AsyncBFL: "No I/O and no loop in `__init__`"; one that was never opened needs no close."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bfl = AsyncBFL(KEY)
        no_secret_in(repr(bfl))
        del bfl
        gc.collect()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_use_before_or_after_is_a_client_closed_error(when: str) -> None:
    """AsyncBFL: "Use before or after raises `ClientClosedError`", every call of it, before any I/O."""
    async with ContractServer() as server:
        bfl = server.client()
        if when == "after":
            async with bfl:
                pass
        with pytest.raises(ClientClosedError):
            bfl.submit_nowait(a_request())
        with pytest.raises(ClientClosedError):
            await bfl.submit(a_request())
        with pytest.raises(ClientClosedError):
            await bfl.generate(a_request())
        with pytest.raises(ClientClosedError):
            await bfl.gather([a_request()])
        with pytest.raises(ClientClosedError):
            bfl.stream([a_request()])
        with pytest.raises(ClientClosedError):
            bfl.attach("task-0")
        with pytest.raises(ClientClosedError):
            await bfl.credits()
        with pytest.raises(ClientClosedError):
            await bfl.drain()
        if when == "after":
            with pytest.raises(ClientClosedError):
                await bfl.open()
        assert server.seen == []


async def test_open_and_aclose_do_what_the_with_block_does() -> None:
    """AsyncBFL: opened "by `await bfl.open()` ... `await bfl.aclose()`"; both idempotent."""
    async with ContractServer() as server:
        bfl = server.client()
        assert await bfl.open() is bfl
        assert await bfl.open() is bfl
        await bfl.generate(a_request())
        await bfl.aclose()
        await bfl.aclose()
        await bfl.aclose(drain=1.0)


async def test_a_client_that_was_never_opened_closes() -> None:
    """aclose: idempotent also where `open` was never reached, as in a start-up that failed."""
    bfl = AsyncBFL(KEY)
    await bfl.aclose()
    with pytest.raises(ClientClosedError):
        await bfl.open()


async def test_use_from_another_thread_is_a_config_error() -> None:
    """AsyncBFL: "from another loop, thread or after a fork `ConfigError`"."""
    async with served() as (server, bfl):
        errors: list[BaseException] = []

        def elsewhere() -> None:
            async def use() -> None:
                await bfl.generate(a_request())

            for call in (lambda: bfl.submit_nowait(a_request()), lambda: asyncio.run(use())):
                try:
                    call()
                except BaseException as error:
                    errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await until(lambda: not thread.is_alive())
        thread.join()
        assert [type(error) for error in errors] == [ConfigError, ConfigError]
        assert server.seen == []
        await bfl.generate(a_request())


def test_use_from_another_loop_is_a_config_error() -> None:
    """AsyncBFL: a client belongs to one event loop."""
    fake = ScriptedTransport()
    bfl = fake.client()
    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(bfl.open())

        async def use() -> None:
            with pytest.raises(ConfigError):
                await bfl.generate(a_request())
            with pytest.raises(ConfigError):
                bfl.submit_nowait(a_request())
            with pytest.raises(ConfigError):
                bfl.attach("task-0")
            with pytest.raises(ConfigError):
                await bfl.aclose()

        asyncio.run(use())
        first.run_until_complete(bfl.aclose())
    finally:
        first.close()


async def test_a_forgotten_close_is_a_resource_warning() -> None:
    """AsyncBFL: "a forgotten close is a `ResourceWarning`"."""
    fake = ScriptedTransport()
    bfl = await fake.client().open()
    await bfl.generate(a_request())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del bfl
        gc.collect()
        await spin()
        gc.collect()
    ours = [warning for warning in caught if issubclass(warning.category, ResourceWarning)]
    assert any("AsyncBFL" in str(warning.message) for warning in ours), [str(w.message) for w in caught]
    no_secret_in(*[warning.message for warning in caught])


async def test_9_after_aclose_nothing_runs() -> None:
    """Invariant 9 and aclose: "After it nothing of ours runs: no task, thread or socket"."""
    before_tasks = {task for task in asyncio.all_tasks() if not task.done()}
    async with ContractServer(hold_tasks=True) as server:
        tasks_of_server = other_tasks(before_tasks)
        del tasks_of_server
        threads = set(threading.enumerate())
        bfl = await server.client(limits=3, timeouts=Timeouts(close=0.3)).open()
        for n in range(6):
            bfl.submit_nowait(a_request(str(n)))
        await server.wait_polls(4)
        closing = len(server.seen)
        await bfl.aclose()
        mine = {
            task
            for task in other_tasks(before_tasks)
            if "aiohttp/web" not in repr(task)
            and "web_protocol" not in repr(task)
            and "start()" not in repr(task)
        }
        assert mine == set()
        assert set(threading.enumerate()) <= threads | {
            thread for thread in threading.enumerate() if thread.name.startswith(("asyncio_", "uvloop_"))
        }
        await asyncio.sleep(0.1)
        assert len(server.seen) <= closing + 3


@pytest.mark.looptime
async def test_aclose_tells_open_handles_what_to_attach(caplog: pytest.LogCaptureFixture) -> None:
    """aclose: withdraws the queue; open handles raise `ClientClosedError` with `.tasks`; one WARNING names the ids."""
    fake = ScriptedTransport(service_s=100.0)
    bfl = await fake.client(limits=2).open()
    handles = [await bfl.submit(a_request()) for _ in range(2)]
    queued = bfl.submit_nowait(a_request())
    waiter = asyncio.create_task(handles[0].result())
    records = [handle.to_dict() for handle in handles]
    await spin()
    caplog.set_level(logging.INFO)
    await bfl.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await asyncio.wait_for(waiter, 1)
    assert sorted(task["task_id"] for task in caught.value.tasks) == ["task-0", "task-1"]
    assert list(caught.value.tasks) == records
    assert caught.value.task_id == "task-0"
    with pytest.raises(BFLError) as unsent:
        await queued
    assert unsent.value.task_id is None
    assert bfl.statistics().withdrawn == 1
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "task-0" in told[0].getMessage()
    assert "task-1" in told[0].getMessage()
    no_secret_in(caplog.text, caught.value, repr(caught.value))
    for handle in handles:
        with pytest.raises(ClientClosedError):
            await handle
        assert handle.done()


@pytest.mark.looptime
async def test_aclose_lets_posts_on_their_way_end() -> None:
    """aclose: "lets POSTs on their way end (at most `Timeouts.close`)": the id is not lost."""
    fake = ScriptedTransport(service_s=100.0, submit_s=4.0)
    bfl = await fake.client(timeouts=Timeouts(close=10)).open()
    handle = bfl.submit_nowait(a_request())
    await asyncio.sleep(3)
    begun = fake.now()
    await bfl.aclose()
    assert fake.now() - begun == pytest.approx(1.0, abs=0.3)
    with pytest.raises(ClientClosedError) as caught:
        await handle
    assert [task["task_id"] for task in caught.value.tasks] == ["task-0"]


@pytest.mark.looptime
async def test_aclose_waits_at_most_timeouts_close() -> None:
    """aclose: a POST that does not end is ended; its handle says that a task may exist."""
    fake = ScriptedTransport(submit_s=1000.0)
    bfl = await fake.client(timeouts=Timeouts(close=3, reply=1e6)).open()
    handle = bfl.submit_nowait(a_request())
    await asyncio.sleep(1)
    begun = fake.now()
    await bfl.aclose()
    assert fake.now() - begun <= 3.5
    with pytest.raises((AmbiguousSubmitError, ClientClosedError)):
        await handle


@pytest.mark.looptime
async def test_a_cancelled_close_is_carried_through() -> None:
    """aclose: "at most `Timeouts.close`, also when the closing coroutine is cancelled"; the id is kept."""
    before = {task for task in asyncio.all_tasks() if not task.done()}
    fake = ScriptedTransport(service_s=100.0, submit_s=4.0)
    bfl = await fake.client(timeouts=Timeouts(close=10)).open()
    handle = bfl.submit_nowait(a_request())
    await asyncio.sleep(3)
    closing = asyncio.create_task(bfl.aclose())
    await asyncio.sleep(0.1)
    closing.cancel()
    begun = fake.now()
    await asyncio.wait({closing}, timeout=20)
    assert closing.cancelled()
    assert fake.now() - begun <= 10.5
    assert len(fake.ends_at) == 1
    with pytest.raises(ClientClosedError) as caught:
        await handle
    assert [task["task_id"] for task in caught.value.tasks] == ["task-0"]
    await spin()
    assert other_tasks(before) == set()


@pytest.mark.looptime
async def test_aclose_with_drain_lets_everything_end_first() -> None:
    """aclose(drain=): queued and running requests end first, for so many seconds; 0 is the default."""
    fake = ScriptedTransport(service_s=3.0)
    bfl = await fake.client(limits=2).open()
    handles = [bfl.submit_nowait(a_request(str(n))) for n in range(6)]
    await bfl.aclose(drain=60.0)
    assert fake.now() < 20
    assert [(await handle).task_id for handle in handles] == [f"task-{n}" for n in range(6)]

    fake = ScriptedTransport(service_s=3.0)
    bfl = await fake.client(limits=2).open()
    handles = [bfl.submit_nowait(a_request(str(n))) for n in range(6)]
    begun = fake.now()
    await bfl.aclose(drain=5.0)
    assert fake.now() - begun <= 6.5
    ends = await asyncio.gather(*handles, return_exceptions=True)
    assert sum(isinstance(end, BFLError) for end in ends) in (2, 3, 4)
    assert bfl.statistics().queued == 0


@pytest.mark.looptime
async def test_several_may_close_at_once() -> None:
    """aclose: "Idempotent, from any coroutine of the loop"; each returns when it is closed."""
    fake = ScriptedTransport(service_s=100.0, submit_s=4.0)
    bfl = await fake.client().open()
    bfl.submit_nowait(a_request())
    await asyncio.sleep(1)
    await asyncio.gather(*(bfl.aclose() for _ in range(5)))
    assert bfl.statistics().submitting == 0


@pytest.mark.looptime
async def test_a_with_block_left_by_an_error_closes_and_raises_it() -> None:
    """AsyncBFL: the caller's own error is not hidden."""
    fake = ScriptedTransport(service_s=100.0)
    with pytest.raises(ZeroDivisionError):
        async with fake.client() as bfl:
            await bfl.submit(a_request())
            raise ZeroDivisionError
    with pytest.raises(ClientClosedError):
        bfl.submit_nowait(a_request())


@pytest.mark.looptime
async def test_drain_says_whether_everything_ended() -> None:
    """drain: waits until nothing is queued or in flight; True if so; its timeout ends the wait only."""
    fake = ScriptedTransport(service_s=5.0)
    async with fake.client(limits=1) as bfl:
        assert await bfl.drain() is True
        for n in range(3):
            bfl.submit_nowait(a_request(str(n)))
        assert await bfl.drain(timeout=2) is False
        assert await bfl.drain(timeout=0) is False
        assert await bfl.drain() is True
        assert bfl.statistics().ready == 3
        assert await bfl.drain(timeout=0) is True


async def test_the_callers_session_is_never_closed() -> None:
    """session: "the caller's `aiohttp.ClientSession`, never closed by us"."""
    async with ContractServer() as server, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with server.client(session=session) as bfl:
                await bfl.generate(a_request())
            assert not session.closed


async def test_a_session_that_raises_for_status_changes_nothing() -> None:
    """session and invariants 2 and 3: a caller's session with settings of its own must not turn a refusal into a
    lost answer, nor a bad poll into a lost task."""
    async with (
        ContractServer() as server,
        aiohttp.ClientSession(raise_for_status=True, headers={"accept": "text/plain"}) as session,
        server.client(session=session) as bfl,
    ):
        server.script_submits(say(503, {"detail": "busy"}), None, say(422, {"detail": "no"}))
        server.script_polls(html(500), say(422, server.ready("task-0")))
        assert (await bfl.generate(a_request(), timeout=10)).task_id == "task-0"
        with pytest.raises(InvalidRequestError):
            await bfl.generate(a_request())
        assert len(server.submits) == 3


async def test_a_session_with_a_short_timeout_of_its_own_does_not_cut_a_submit() -> None:
    """session and `Timeouts`: how long a reply may take is the client's setting."""
    async with (
        ContractServer() as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as session,
        server.client(session=session) as bfl,
    ):

        async def late(_seen: object) -> None:
            await asyncio.sleep(0.15)

        server.script_submits(late)
        assert (await bfl.generate(a_request(), timeout=10)).task_id == "task-0"


# ---- configuration


@pytest.mark.parametrize("raw", [f'"{KEY}"', f"'{KEY}'", f"  {KEY}\n", f'\t"{KEY}"\r\n', f"' {KEY} '"])
@pytest.mark.parametrize("source", ["argument", "environment"])
async def test_the_key_is_stripped_of_white_space_and_quotes(
    raw: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AsyncBFL: "stripped of white space and quotes", as keys come from .env files."""
    async with ContractServer() as server:
        monkeypatch.setenv("BFL_API_KEY", raw if source == "environment" else "another")
        monkeypatch.setenv("BFL_BASE_URL", server.url)
        async with AsyncBFL(raw if source == "argument" else None, polling=Fixed(0.02)) as bfl:
            await bfl.generate(a_request())
        assert {seen.headers["x-key"] for seen in server.seen} == {KEY}


@pytest.mark.parametrize("raw", [None, "", "   ", '""', "'\n'"])
def test_a_missing_key_names_the_variable(raw: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """AsyncBFL: "missing: `ConfigError` that names the variable"."""
    monkeypatch.delenv("BFL_API_KEY", raising=False)
    if raw is not None:
        monkeypatch.setenv("BFL_API_KEY", raw)
    with pytest.raises(ConfigError, match="BFL_API_KEY"):
        AsyncBFL()


@pytest.mark.parametrize(
    "key", [f"{KEY}\r\nx-evil: 1", f"{KEY}\nHost: evil", f"{KEY}\x00", f"{KEY}é", f"{KEY} {KEY}"]
)
def test_a_key_that_no_header_can_carry_is_a_config_error(key: str) -> None:
    """AsyncBFL: found before any I/O, and not shown."""
    with pytest.raises(ConfigError) as caught:
        AsyncBFL(key)
    no_secret_in(caught.value, repr(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.bfl.ai", "http://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
        "http://127.0.0.1@evil.example", "http://evil.example#127.0.0.1", "http://evil.example?x=127.0.0.1",
        "ftp://api.bfl.ai", "api.bfl.ai", "https://", "https:///v1", "https://user:pass@api.bfl.ai",
        "https://api.bfl.ai?x=1", "https://api.bfl.ai#x", "https://api.bfl.ai:99999", "https://[::1", "asia",
        "http://0177.0.0.1.nip.io", "https://api.bfl.ai\n.evil.example", "http://[::2]",
    ],
)  # fmt: skip
def test_a_base_url_that_would_give_the_key_away_is_a_config_error(url: str) -> None:
    """base_url: https, or http on a loopback address; nothing but scheme, host, port and path."""
    with pytest.raises(ConfigError) as caught:
        AsyncBFL(KEY, base_url=url)
    no_secret_in(caught.value, also=["user:pass"])


@pytest.mark.parametrize(
    "url",
    [
        "eu", "us", "https://api.bfl.ai", "https://api.bfl.ai/", "http://127.0.0.1:8080", "http://127.8.9.1",
        "http://localhost:1", "http://[::1]:80", "https://proxy.example/bfl", "HTTPS://API.BFL.AI",
    ],
)  # fmt: skip
def test_a_base_url_that_is_safe_is_taken(url: str) -> None:
    """base_url: the regions, https, and http on loopback."""
    AsyncBFL(KEY, base_url=url)


def test_allow_http_is_for_other_machines() -> None:
    """base_url: "other http only with `allow_http=True`"."""
    AsyncBFL(KEY, base_url="http://10.0.0.1:8080", allow_http=True)
    with pytest.raises(ConfigError):
        AsyncBFL(KEY, base_url="ftp://10.0.0.1", allow_http=True)


def test_a_bad_base_url_in_the_environment_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """base_url: argument, else `BFL_BASE_URL`."""
    monkeypatch.setenv("BFL_BASE_URL", "http://evil.example")
    with pytest.raises(ConfigError):
        AsyncBFL(KEY)
    AsyncBFL(KEY, base_url="eu")


async def test_a_base_url_with_a_path_keeps_it() -> None:
    """base_url: a proxy of one's own may live under a path; the key guard is by origin."""
    async with ContractServer() as server:
        server.routes["/proxy/v1/flux-pro-1.1"] = lambda _seen: server.accepted()
        async with AsyncBFL(KEY, base_url=f"{server.url}/proxy/", polling=Fixed(0.02)) as bfl:
            await bfl.generate(a_request())
        assert server.submits[0].target == "/proxy/v1/flux-pro-1.1"


@pytest.mark.parametrize("limits", [0, -1, True, 1.5, "12"])
def test_limits_are_checked_at_once(limits: object) -> None:
    """limits: "an int (account limit) or `Limits`"."""
    with pytest.raises(ConfigError):
        AsyncBFL(KEY, limits=cast(int, limits))


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", ["connect", "reply", "task", "close"])
def test_timeouts_are_checked_at_once(name: str, value: float) -> None:
    """Timeouts: only the queue may wait without a bound."""
    with pytest.raises(ConfigError):
        Timeouts(**{name: value})


# ---- requests


async def test_a_request_is_sent_as_it_was_given() -> None:
    """Request models: by class or by name, the path after `/v1/`, the JSON of the fields that were given."""
    async with served() as (server, bfl):
        await bfl.generate("flux-pro-1.1", prompt=PROMPT, width=512, seed=2**40)
        await bfl.generate(FluxPro11(prompt=PROMPT, width=512, seed=2**40))
        await bfl.generate(request("flux-pro-1.1", prompt=PROMPT, width=512, seed=2**40))
        assert {seen.target for seen in server.submits} == {"/v1/flux-pro-1.1"}
        for seen in server.submits:
            assert seen.json() == {"prompt": PROMPT, "width": 512, "seed": 2**40}
            assert seen.headers["content-type"].startswith("application/json")


async def test_local_checks_come_before_any_io() -> None:
    """Request models: the class raises pydantic's `ValidationError`, the calls `InvalidRequestError` from it."""
    with pytest.raises(ValidationError):
        FluxPro11(prompt=PROMPT, width=250)
    async with served() as (server, bfl):
        for make in (
            lambda: request("flux-pro-1.1", prompt=PROMPT, width=250),
            lambda: bfl.submit_nowait("flux-pro-1.1", prompt=PROMPT, width=250),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                make()
            assert caught.value.status_code is None
            assert [path for path, _ in caught.value.errors] == ["width"]
            assert isinstance(caught.value.__cause__, ValidationError)
            no_secret_in(caught.value, repr(caught.value))
        with pytest.raises(InvalidRequestError):
            await bfl.generate("flux-pro-1.1", colour=PROMPT)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidRequestError):
            await bfl.submit("flux-pro-1.1", prompt=PROMPT, safety_tolerance=9)
        assert server.seen == []
        assert bfl.statistics().queued == 0


async def test_a_bad_value_is_not_shown_in_the_error() -> None:
    """Errors: "None shows the key, a signed URL's query or an image", nor a prompt, also in the cause's text."""
    image = "iVBORw0KGgo" * 50
    for fields in (
        {"prompt": PROMPT, "image_prompt": image, "width": 1},
        {"prompt": [PROMPT], "extra": image},
    ):
        with pytest.raises(InvalidRequestError) as caught:
            request("flux-pro-1.1", **fields)
        text = "".join(traceback.format_exception(caught.value))
        no_secret_in(caught.value, repr(caught.value), caught.value.errors, also=[image])
        assert image not in text
        # The source line of this test holds no prompt: what is shown comes from the error.
        assert PROMPT not in text


def test_a_request_shows_no_image() -> None:
    """A repr with megabytes of base64 in it helps nobody."""
    image = "iVBORw0KGgo" * 500
    assert image[:100] not in repr(FluxPro11(prompt="x", image_prompt=image))


@pytest.mark.parametrize("name", ["flux-9-ultra", "flux-tools/erase-v9", "a", "x.y_z-1/2/3"])
async def test_an_unknown_model_is_sent_as_it_is_with_one_warning(name: str) -> None:
    """Request models: "one that the catalog does not know is sent as it is, with one warning"."""
    async with served() as (server, bfl):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = await bfl.generate(name, prompt=PROMPT, **{"anything": {"deep": [1, None]}})
            await bfl.generate(name, prompt=PROMPT)
        ours = [warning for warning in caught if name in str(warning.message)]
        assert len(ours) == 1
        no_secret_in(*[warning.message for warning in ours])
        assert result.model == name
        assert server.submits[0].target == f"/v1/{name}"
        assert server.submits[0].json() == {"prompt": PROMPT, "anything": {"deep": [1, None]}}


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "../credits", "flux/../credits", "Flux-Pro", "flux pro", "flux?x=1", "flux#x", "//evil.example/x",
        "http://evil.example", "flux\n", "flux/", "/flux", "flux//x", "flüx", ".flux", "-flux", "flux%2f..", "flux\\x",
    ],
)  # fmt: skip
async def test_a_name_that_no_model_can_have_is_refused_here(name: str) -> None:
    """Request models: names match `[a-z0-9][a-z0-9._-]*(/[a-z0-9._-]+)*`: nothing is sent to another path."""
    async with served() as (server, bfl):
        with pytest.raises(InvalidRequestError):
            await bfl.generate(name, prompt="x")
        with pytest.raises(InvalidRequestError):
            bfl.attach("task-0", model=name)
        assert server.seen == []
        assert bfl.statistics().slots_taken == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["flux/..", "a/./b", "a/../../b"])
async def test_a_name_with_dots_does_not_leave_its_folder(name: str) -> None:
    """Request models: the pattern allows dots in a part; the path sent is then verbatim, or refused here."""
    async with served() as (server, bfl):
        try:
            await bfl.generate(name, prompt="x", timeout=2)
        except BFLError:
            assert server.submits == []
        else:
            assert server.submits[0].target == f"/v1/{name}"


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}(/[a-z0-9_-]{1,8}){0,2}", fullmatch=True),
    prompt=st.text(max_size=30),
)
def test_any_good_name_and_text_makes_a_request(name: str, prompt: str) -> None:
    """Request models: the name is the path after `/v1/`, whatever the text."""
    made = request(name, prompt=prompt)
    assert made.model == name
    assert made.body()["prompt"] == prompt


async def test_odd_prompts_arrive_as_they_are() -> None:
    """Request models: emoji, quotes, nulls and half surrogates are JSON's matter, not a crash of a runner."""
    async with served() as (server, bfl):
        prompts = ["", "\u2603 \U0001f98a", '"quotes" \\ and \n lines', "\x00", "x" * 100_000]
        for prompt in prompts:
            await bfl.generate(a_request(prompt), timeout=5)
        assert [seen.json()["prompt"] for seen in server.submits] == prompts


async def test_a_half_surrogate_is_sent_or_refused_here() -> None:
    """Invariants 2 and 8: text that is no UTF-8 must not end as a lost, maybe paid task."""
    async with served() as (server, bfl):
        (end,) = await asyncio.gather(bfl.generate("flux-pro-1.1", prompt="\ud83d"), return_exceptions=True)
        assert not isinstance(end, Exception) or isinstance(end, InvalidRequestError), repr(end)
        assert len(server.submits) == (0 if isinstance(end, Exception) else 1)
        assert bfl.statistics().slots_taken == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "value", [object(), b"bytes", float("nan"), {1, 2}], ids=["object", "bytes", "nan", "set"]
)
async def test_a_field_that_is_no_json_is_refused_here(value: object) -> None:
    """Request models: pass-through fields that no JSON can hold are local errors, without a slot or a POST."""
    async with served() as (server, bfl):
        (end,) = await asyncio.gather(bfl.generate("flux-next", **{"odd": value}), return_exceptions=True)
        if isinstance(end, Exception):
            assert isinstance(end, InvalidRequestError), repr(end)
            assert server.submits == []
        assert bfl.statistics().slots_taken == 0


# ---- statistics


@pytest.mark.looptime
async def test_statistics_every_request_ends_in_exactly_one_count() -> None:
    """Statistics: every request ends in exactly one of ready, moderated, failed, ambiguous and withdrawn."""
    fake = ScriptedTransport()
    ends: dict[str, object] = {
        "refused": reply(422, {"detail": "no"}),
        "lost": reply(500, b""),
        "no connection": ConnectError("no"),
    }

    def submit(_path: str, body: Mapping[str, object]) -> object:
        return ends.get(str(body["prompt"]))

    def poll(url: str) -> object:
        words = {"task-1": "Error", "task-2": "Request Moderated", "task-3": "Task not found"}
        task_id = url.rpartition("=")[2]
        return reply(200, status_body(task_id, words[task_id])) if task_id in words else None

    fake.always_submit = submit  # type: ignore[assignment]  # on purpose: what a caller must not do, or a stand-in
    fake.always_poll = poll  # type: ignore[assignment]  # on purpose: what a caller must not do, or a stand-in
    async with fake.client(limits=Limits(account=12, unknown_s=5)) as bfl:
        assert bfl.statistics().latency == {}
        for name in ("ready", "error", "moderated", "not found", *ends):
            await asyncio.gather(bfl.generate(a_request(name)), return_exceptions=True)
        handle = bfl.submit_nowait(a_request("withdrawn"))
        assert handle.withdraw()
        counts = bfl.statistics()
        assert (counts.ready, counts.moderated, counts.ambiguous, counts.withdrawn) == (1, 1, 1, 1)
        assert counts.failed == 4
        assert counts.submitted == 4
        assert counts.credits_spent == 16.0
        assert counts.polls == len(fake.polled)
        assert counts.latency["flux-pro-1.1"].count == 1
        assert 0.9 <= counts.latency["flux-pro-1.1"].p50 <= 1.6
        with pytest.raises(AttributeError):
            counts.ready = 7  # type: ignore[misc]  # on purpose: what a caller must not do, or a stand-in
        await asyncio.sleep(6)
        assert bfl.statistics().slots_taken == 0
    assert bfl.statistics().ready == 1


@pytest.mark.looptime
async def test_statistics_at_any_moment_account_for_every_request() -> None:
    """Statistics: queued + submitting + active + ended = asked for, and slots never pass the limit."""
    fake = ScriptedTransport(limit=4, service_s=1.0)
    async with fake.client(limits=4) as bfl:
        for n in range(30):
            bfl.submit_nowait(a_request(str(n)))
        while True:
            counts = bfl.statistics()
            ended = counts.ready + counts.moderated + counts.failed + counts.ambiguous + counts.withdrawn
            assert counts.queued + counts.submitting + counts.active + ended == 30
            # A slot is taken before the POST: for a moment its request is still queued.
            assert counts.submitting + counts.active <= counts.slots_taken <= 4
            assert counts.pools["account"].taken == counts.slots_taken
            if ended == 30:
                break
            await asyncio.sleep(0.013)


# ---- credits


async def test_credits_is_the_balance() -> None:
    """credits: in credits; a failed call is repeated, an answer that cannot be read is a `ReplyShapeError`."""
    async with served() as (server, bfl):
        assert await bfl.credits() == 123.5
        assert server.at("/v1/credits")[0].headers["x-key"] == KEY
        for unreadable in (say(200, {"balance": 1}), say(200, {"credits": "many"}), html(200), say(200, [])):
            server.routes["/v1/credits"] = unreadable
            with pytest.raises(ReplyShapeError) as caught:
                await bfl.credits()
            no_secret_in(caught.value)
        for status, error in ((401, AuthenticationError), (403, AuthenticationError), (404, RefusedError)):
            server.routes["/v1/credits"] = say(status, {"detail": "no"})
            with pytest.raises(error) as refused:
                await bfl.credits()
            assert refused.value.status_code == status


async def test_credits_of_a_server_that_is_down_are_an_error_in_time() -> None:
    """credits: "`ConnectError`, `ReplyTimeoutError`, `TransportError`: no answer, three times in a row"."""
    async with served() as (server, bfl):
        server.routes["/v1/credits"] = RESET
        with pytest.raises(TransportError):
            await asyncio.wait_for(bfl.credits(), 10)
        answers = iter([RESET, say(200, {"credits": 7})])
        server.routes["/v1/credits"] = lambda _seen: cast(Say, next(answers))
        assert await bfl.credits() == 7.0


# ---- errors

ERRORS: list[BFLError] = [
    BFLError("m", task_id="t"),
    ConfigError("m"),
    ClientClosedError(
        "m", task_id="t", tasks=[{"task_id": "t", "polling_url": None, "model": "x", "cost": 1.5}]
    ),
    ConnectError("m"),
    ReplyTimeoutError("m", task_id="t"),
    APIStatusError("m", status_code=418, body="b", retry_after_s=1.5),
    InsufficientCreditsError("m", status_code=402, body="b"),
    InvalidRequestError("m", status_code=422, errors=[("width", "too wide")]),
    RateLimitedError("m", status_code=429, retry_after_s=5.0),
    ServerError("m", status_code=500),
    AmbiguousSubmitError("m", status_code=500, body="b"),
    ReplyShapeError("m", body="b"),
    TaskModeratedError("m", task_id="t", status="Request Moderated", stage="request", reasons=["a", "b"]),
    TaskFailedError("m", task_id="t", status="Error", details={"a": [1]}),
    TaskNotFoundError("m", task_id="t", status="Task not found"),
    UntrustedURLError("m", task_id="t"),
    TaskTimeoutError("m", task_id="t", state="submitted", polling_url="https://api.bfl.ai/x"),
    DownloadError("m", task_id="t"),
    ResultExpiredError("m", task_id="t"),
    SaveError("m", task_id="t", errno=28, filename="/x/y"),
    QueueFullError("m"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", ["pickle", "pickle-2", "copy", "deepcopy"])
def test_errors_pickle_and_copy_with_their_facts(error: BFLError, way: str) -> None:
    """Errors: "all pickle", with message, attributes and class."""
    if way.startswith("pickle"):
        twin = pickle.loads(pickle.dumps(error, 2 if way == "pickle-2" else pickle.HIGHEST_PROTOCOL))
    else:
        twin = copy.copy(error) if way == "copy" else copy.deepcopy(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, twin.__dict__) == (str(error), error.args, error.__dict__)
    assert repr(twin) == repr(error)
    if isinstance(error, SaveError):
        assert isinstance(twin, SaveError)
        assert (twin.errno, twin.filename) == (28, "/x/y")


def test_the_error_tree_is_as_it_is_documented() -> None:
    """Errors: the tree of the style guide, section 5; timeouts are also `TimeoutError`, `SaveError` also `OSError`."""
    text = bfl_async.errors.__doc__
    assert text is not None
    stack: list[type[BaseException]] = []
    names = []
    for line in text.split("```text\n")[1].split("```")[0].splitlines():
        name = re.search(r"\w+Error", line)
        assert name is not None
        depth = name.start() // 3
        error = getattr(bfl_async, name[0])
        names.append(name[0])
        stack[depth:] = [error]
        if depth:
            assert stack[depth - 1] in error.__mro__[1:2] or issubclass(error, stack[depth - 1])
    assert {name for name in bfl_async.__all__ if name.endswith("Error")} == set(names)
    assert issubclass(TaskTimeoutError, TimeoutError)
    assert issubclass(ReplyTimeoutError, TimeoutError)
    assert issubclass(SaveError, OSError)
    assert issubclass(QueueFullError, LimiterError)
    assert not issubclass(ConnectError, TimeoutError)


SECRET_BODY = f'{{"detail": "bad request: {PROMPT}"}}'


@pytest.mark.parametrize(
    "trouble",
    [
        "refused",
        "echo prompt",
        "echo key",
        "echo url",
        "lost",
        "moderated",
        "failed",
        "poll timeout",
        "untrusted",
        "download",
        "redirect",
        "closed",
    ],
)
async def test_nothing_secret_is_shown_by_errors_reprs_or_logs(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors: neither messages, reprs, causes nor logs at DEBUG show the key, a signature or the prompt."""
    caplog.set_level(logging.DEBUG)
    async with ContractServer() as server:
        secret = f"{server.url}/image/x.jpeg?sig={SIGNATURE}"
        async with server.client(limits=Limits(unknown_s=1), timeouts=Timeouts(close=0.2)) as bfl:
            match trouble:
                case "refused":
                    server.script_submits(
                        say(422, {"detail": [{"loc": ["body"], "msg": "no", "input": PROMPT}]})
                    )
                case "echo prompt":
                    server.script_submits(Say(400, SECRET_BODY.encode()))
                case "echo key":
                    server.script_submits(say(403, {"detail": f"Not authenticated: {KEY} is no key"}))
                case "echo url":
                    detail = [{"loc": ["body", "input_image"], "msg": f"cannot load {secret}", "type": "url"}]
                    server.script_submits(say(422, {"detail": detail}))
                case "lost":
                    server.script_submits(Say(500, SECRET_BODY.encode()))
                case "moderated":
                    server.script_polls(say(200, status_body("task-0", "Request Moderated", prompt=PROMPT)))
                case "failed":
                    server.script_polls(say(200, status_body("task-0", "Error", details={"prompt": PROMPT})))
                case "poll timeout":
                    server.always_poll = html(500, f"<html>{secret} {KEY}</html>")
                case "untrusted":
                    server.polling_url = lambda _id: f"https://evil.example/x?sig={SIGNATURE}&key={KEY}"
                case "download":
                    server.always_image = html(500, f"{secret} {KEY}")
                case "redirect":
                    server.always_poll = Say(
                        302, headers={"Location": f"https://evil.example/?sig={SIGNATURE}"}
                    )
                case "closed":
                    server.hold_tasks = True
            error: BaseException | None = None
            try:
                if trouble == "closed":
                    handle = await bfl.submit(a_request())
                    await bfl.aclose()
                    await handle
                else:
                    result = await bfl.generate(a_request(), timeout=0.4)
                    await result.read(timeout=0.3)
            except BFLError as caught:
                error = caught
            assert error is not None
            seen: BaseException | None = error
            while seen is not None:
                no_secret_in(str(seen), repr(seen))
                seen = seen.__cause__
            no_secret_in(repr(bfl), str(bfl), repr(bfl.statistics()))
    ours = [record for record in caplog.records if record.name.split(".")[0] == "bfl_async"]
    no_secret_in(*[record.getMessage() for record in ours])


async def test_errors_of_a_task_carry_its_id() -> None:
    """Errors: "Every error that concerns a task carries `.task_id` (None when nothing was accepted)"."""
    async with served() as (server, bfl):
        server.always_poll = lambda seen: say(200, status_body(seen.task_id, "Error"))
        with pytest.raises(TaskError) as caught:
            await bfl.generate(a_request())
        assert caught.value.task_id == "task-0"
        server.script_submits(say(422, {"detail": "no"}))
        with pytest.raises(RefusedError) as refused:
            await bfl.generate(a_request())
        assert refused.value.task_id is None


def test_a_client_does_not_pickle() -> None:
    """It holds a key and a loop."""
    with pytest.raises(TypeError):
        pickle.dumps(AsyncBFL(KEY))


# ---- all of it once against the embedded server


async def test_the_examples_of_the_design_run_against_the_sandbox() -> None:
    """Public API: generate, submit with updates, stream, gather, credits, drain."""
    async with (
        Sandbox(service_s=0.05, limit=4) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, limits=4, polling=Fixed(0.02)) as bfl,
    ):
        await bfl.generate("flux-pro-1.1", prompt="a cat", width=1024, height=768)
        handle = await bfl.submit(FluxPro11(prompt="a cat"))
        assert handle.cost == 4.0
        words = [update.status async for update in handle.updates()]
        assert words[-1] == "Ready"
        assert (await handle).task_id == handle.task_id
        outcomes = [outcome async for outcome in bfl.stream(a_request(str(n)) for n in range(8))]
        assert len(outcomes) == 8
        ends = await bfl.gather(
            [
                a_request("[moderate-prompt]"),
                a_request("[moderate-output]"),
                a_request("[fail]"),
                a_request("x"),
            ],
            return_exceptions=True,
        )
        assert [type(end).__name__ for end in ends] == [
            "TaskModeratedError", "TaskModeratedError", "TaskFailedError", "Result",
        ]  # fmt: skip
        assert await bfl.drain(timeout=5)
        assert await bfl.credits() == sandbox.credits
        counts, told = bfl.statistics(), sandbox.statistics()
        assert (counts.submitted, counts.refused_429) == (told.accepted, 0)
        assert counts.credits_spent == pytest.approx(told.credits_spent)
        assert counts.polls == told.polls


async def test_a_wrong_key_is_an_authentication_error_over_the_socket() -> None:
    """Errors: 401/403, against the sandbox."""
    async with Sandbox() as sandbox, AsyncBFL("wrong", base_url=sandbox.url, polling=Fixed(0.02)) as bfl:
        with pytest.raises(AuthenticationError):
            await bfl.generate(a_request())
        with pytest.raises(AuthenticationError):
            await bfl.credits()


async def test_a_hold_that_is_never_released_does_not_stop_the_close() -> None:
    """aclose: a poll that hangs is ended with its poller."""
    async with ContractServer() as server:
        bfl = await server.client().open()
        server.script_polls(Hold(asyncio.Event()))
        handle = await bfl.submit(a_request())
        await until(lambda: server.polls)
        await asyncio.wait_for(bfl.aclose(), 3)
        with pytest.raises(ClientClosedError):
            await handle
