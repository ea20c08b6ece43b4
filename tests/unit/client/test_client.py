"""Opening, closing, and using the client where it may not be used."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

import bfl_async
from bfl_async import (
    AsyncBFL,
    AuthenticationError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    Fixed,
    FluxDev,
    InvalidRequestError,
    Limits,
    RateLimitedError,
    ReplyShapeError,
    ServerError,
    Timeouts,
    request,
)
from bfl_async.limiter import LocalLimiter
from bfl_async.types import Reply
from tests.fake import FakeAPI, reply

KEY = "bfl_secret-key"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BFL_API_KEY", raising=False)
    monkeypatch.delenv("BFL_BASE_URL", raising=False)


def test_missing_key_names_the_variable() -> None:
    """The first error that everybody meets says what to do."""
    with pytest.raises(ConfigError, match="BFL_API_KEY"):
        AsyncBFL()
    with pytest.raises(ConfigError, match="api_key"):
        AsyncBFL("  ")


@pytest.mark.parametrize("raw", [KEY, f" {KEY}\n", f'"{KEY}"', f"'{KEY}' "])
def test_key_is_stripped_of_white_space_and_quotes(raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A common cause of 403."""
    monkeypatch.setenv("BFL_API_KEY", raw)
    assert AsyncBFL()._life.settings.key == KEY
    assert KEY not in repr(AsyncBFL())


@pytest.mark.parametrize("raw", ["a\r\nx-evil: 1", "schlüssel", "two words"])
def test_key_that_cannot_be_a_header_is_refused(raw: str) -> None:
    """Nothing can be smuggled into the request, and the key is not shown."""
    with pytest.raises(ConfigError) as caught:
        AsyncBFL(raw)
    assert raw not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "https://api.bfl.ai"),
        ("eu", "https://api.eu.bfl.ai"),
        ("us", "https://api.us.bfl.ai"),
        ("https://api.us1.bfl.ai/", "https://api.us1.bfl.ai"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_base_url(given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, else the variable, else the API; regions by name."""
    assert repr(AsyncBFL(KEY, base_url=given)).startswith(f"<AsyncBFL {expected} ")
    if given is not None:
        monkeypatch.setenv("BFL_BASE_URL", given)
        assert repr(AsyncBFL(KEY)).startswith(f"<AsyncBFL {expected} ")


@pytest.mark.parametrize(
    "given",
    [
        "api.bfl.ai",
        "ftp://x",
        "http://api.bfl.ai",
        "https://",
        "https://u:p@h",
        "https://h?x=1",
        "https://h:x",
        "a b",
    ],
)
def test_wrong_base_url_is_refused_before_any_io(given: str) -> None:
    """Plain http would send the key unencrypted; the rest is no base URL."""
    with pytest.raises(ConfigError):
        AsyncBFL(KEY, base_url=given)


def test_plain_http_elsewhere_must_be_asked_for() -> None:
    """`allow_http=True` says that the key may travel unencrypted."""
    bfl = AsyncBFL(KEY, base_url="http://10.0.0.1", allow_http=True)
    assert repr(bfl).startswith("<AsyncBFL http://10.0.0.1 ")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(account=0),
        lambda: Limits(account=1.5),  # type: ignore[arg-type]  # on purpose
        lambda: Limits(pools={"video": 0}),
        lambda: Limits(pools={"account": 3}),
        lambda: Limits(queue=-1),
        lambda: Limits(unknown_s=float("inf")),
        lambda: Timeouts(connect=0),
        lambda: Timeouts(task=-1),
        lambda: Timeouts(reply=float("nan")),
        lambda: Fixed(0),
        lambda: AsyncBFL(KEY, limits=0),
        lambda: AsyncBFL(KEY, limits=True),
    ],
)
def test_wrong_settings_are_refused_where_they_are_made(make: object) -> None:
    """One error class, before any I/O."""
    assert callable(make)
    with pytest.raises(ConfigError):
        make()


async def test_use_before_open_and_after_close() -> None:
    """Neither hangs; both say what to do."""
    bfl = FakeAPI().client()
    for state in ("not open", "closed"):
        with pytest.raises(ClientClosedError, match=state):
            await bfl.generate("flux-dev", prompt="x")
        with pytest.raises(ClientClosedError, match=state):
            bfl.submit_nowait("flux-dev", prompt="x")
        with pytest.raises(ClientClosedError, match=state):
            bfl.stream([])
        with pytest.raises(ClientClosedError, match=state):
            await bfl.gather([])
        with pytest.raises(ClientClosedError, match=state):
            bfl.attach("x")
        with pytest.raises(ClientClosedError, match=state):
            await bfl.credits()
        await bfl.aclose()
    with pytest.raises(ClientClosedError):
        await bfl.open()


async def test_open_and_aclose_are_idempotent() -> None:
    """Start-up hooks and notebooks call them more than once."""
    bfl = FakeAPI().client()
    assert await bfl.open() is await bfl.open()
    await asyncio.gather(bfl.aclose(), bfl.aclose())
    await bfl.aclose()


def test_another_loop_or_thread_is_refused() -> None:
    """The client's state belongs to one loop."""
    api = FakeAPI()
    bfl = api.client()

    async def use() -> None:
        await bfl.generate("flux-dev", prompt="x")

    async def open_it() -> None:
        await bfl.open()
        with pytest.raises(ConfigError, match="event loop and thread"):
            await asyncio.to_thread(asyncio.run, use())
        with pytest.raises(ConfigError, match="event loop and thread"):
            await asyncio.to_thread(bfl.submit_nowait, FluxDev(prompt="x"))
        await bfl.aclose()

    asyncio.run(open_it())


def _use_in_child(bfl: AsyncBFL, answers: multiprocessing.SimpleQueue[str]) -> None:
    try:
        bfl.submit_nowait("flux-dev", prompt="x")
    except BaseException as exc:
        answers.put(f"{type(exc).__name__}: {exc}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_use_after_a_fork_is_refused() -> None:
    """A child must not use its parent's connections and slots."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    async with FakeAPI().client() as bfl:
        child = context.Process(target=_use_in_child, args=(bfl, answers))
        child.start()
        child.join(20)
        assert answers.get().startswith("ConfigError: the client was opened before a fork")


async def test_forgotten_close_is_a_resource_warning() -> None:
    """And a client that was never opened warns of nothing."""
    bfl: AsyncBFL | None = await FakeAPI().client().open()
    with pytest.warns(ResourceWarning, match="not closed"):  # noqa: PT031 - losing it takes two statements
        del bfl
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AsyncBFL(KEY)
        gc.collect()


def test_client_refuses_to_be_pickled() -> None:
    """The key never travels."""
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(AsyncBFL(KEY))


async def test_clients_that_share_a_limiter_share_its_slots() -> None:
    """Two clients on one account, one limit."""
    api = FakeAPI(limit=3, service_s=0.05, submit_s=0, poll_s=0)
    limiter = LocalLimiter(3)
    first = AsyncBFL(transport=api, limiter=limiter, polling=Fixed(0.01))
    second = AsyncBFL(transport=api, limiter=limiter, polling=Fixed(0.01))
    async with first, second:
        await asyncio.gather(*[bfl.gather([FluxDev(prompt="x")] * 10) for bfl in (first, second)])
        assert first.statistics().pools == second.statistics().pools
    assert api.refused_429 == 0
    assert api.peak_active == 3
    await limiter.aclose()


@pytest.mark.looptime(start=0)
async def test_credits_are_asked_for_three_times_at_most() -> None:
    """A passing fault is not an error; an answer is."""

    class Bank(FakeAPI):
        def __init__(self, *answers: object) -> None:
            super().__init__()
            self.answers = list(answers)

        async def poll(self, url: str) -> Reply:
            answer = self.answers.pop(0)
            if isinstance(answer, Reply):
                return answer
            raise ConnectError("no connection")

    async def ask(*answers: object) -> float:
        async with Bank(*answers).client() as bfl:
            return await bfl.credits()

    assert await ask(None, reply(503, b""), reply(200, {"credits": 12.5})) == 12.5
    with pytest.raises(ConnectError):
        await ask(None, None, None)
    with pytest.raises(ServerError):
        await ask(*[reply(500, b"")] * 3)
    with pytest.raises(AuthenticationError):
        await ask(reply(403, {"detail": "no"}))
    with pytest.raises(RateLimitedError):
        await ask(reply(429, b""))
    for odd in (b"<html>", b"{}", b'{"credits": "many"}', b'{"credits": true}'):
        with pytest.raises(ReplyShapeError):
            await ask(reply(200, odd))


async def test_fields_go_with_a_name_and_names_are_checked() -> None:
    """A typo costs nothing."""
    async with FakeAPI().client() as bfl:
        calls: list[Callable[[], object]] = [
            lambda: bfl.submit_nowait("flux-dev", colour="x"),  # type: ignore[arg-type]  # wrong on purpose
            lambda: bfl.submit_nowait(FluxDev(prompt="x"), width=256),  # type: ignore[call-overload]  # on purpose
            lambda: bfl.submit_nowait("../credits"),  # type: ignore[arg-type]  # wrong on purpose
            lambda: bfl.submit_nowait(7),  # type: ignore[call-overload]  # on purpose
            lambda: bfl.attach(""),
            lambda: bfl.attach("x", model="No Such"),
        ]
        for call in calls:
            with pytest.raises(InvalidRequestError) as caught:
                call()
            assert caught.value.status_code is None
            assert caught.value.errors


def test_unknown_model_is_sent_as_it_is_with_one_warning() -> None:
    """The API gets models more often than this package gets releases."""
    with pytest.warns(UserWarning, match="flux-test-only-1") as caught:
        made = [request("flux-test-only-1", prompt="x", **{"new_field": [1, {"a": None}]}) for _ in range(3)]
    assert len(caught) == 1
    assert made[0].body() == {"prompt": "x", "new_field": [1, {"a": None}]}
    assert made[0].model == "flux-test-only-1"


def test_left_out_fields_are_not_sent_and_prompts_stay_out_of_errors() -> None:
    """A default of the API is the API's to apply."""
    assert FluxDev(prompt="x").body() == {"prompt": "x"}
    assert FluxDev(prompt="x", seed=None).body() == {"prompt": "x", "seed": None}
    with pytest.raises(InvalidRequestError) as caught:
        request("flux-dev", prompt=["a secret"], width=1000, steps=99, guidance="x")  # type: ignore[arg-type]  # wrong on purpose
    assert "secret" not in str(caught.value)
    assert [path for path, _ in caught.value.errors] == ["width", "prompt", "steps", "guidance"]


def test_import_is_lean() -> None:
    """`import bfl_async` and the command's help load neither aiohttp nor rich nor pydantic."""
    code = (
        "import sys, bfl_async; from bfl_async.cli import main; main(['--help']);"
        "print([m for m in ('aiohttp', 'rich', 'pydantic', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert (
        bfl_async.__version__
        in subprocess.run(
            [sys.executable, "-m", "bfl_async", "--version"], capture_output=True, text=True, check=True
        ).stdout
    )


def test_a_first_use_loads_nothing_that_few_programs_need() -> None:
    """Modules cost time at every start, those with dataclasses most of all: `python -m benchmarks.startup`."""
    rare = {
        *("batch.batch", "client.account", "client.gather", "client.stream", "engine.reporter", "events"),
        *(
            "limiter.memory",
            "models.passthrough",
            "models.pricing",
            "polling.fixed",
            "protocols.ledger",
            "results.display",
        ),
        *("results.outcome", "types.entries"),
    }
    code = (
        "import asyncio, sys\nfrom bfl_async import AsyncBFL, request\n"
        "async def main():\n    request('flux-pro-1.1', prompt='a cat')\n"
        "    async with AsyncBFL('a-key', base_url='http://127.0.0.1:9'):\n        pass\n"
        "asyncio.run(main())\nprint(*(name for name in sys.modules if name.startswith('bfl_async.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("bfl_async.") for name in done.stdout.split()}
    assert {"client.client", "results.result"} <= loaded
    assert loaded & rare == set()
