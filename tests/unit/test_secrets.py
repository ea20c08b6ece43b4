"""Secrets: not in a traceback with local variables, a repr, a pickle, or another object's headers."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
import warnings
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

import bfl_async
from bfl_async import AsyncBFL, BFLError, ConfigError, Limits, request
from bfl_async.limiter import FileLimiter, LocalLimiter, RedisLimiter
from bfl_async.models.passthrough import PassThroughRequest
from bfl_async.runtime.secrets import Secret, conceal
from bfl_async.sandbox import Sandbox
from bfl_async.sync import BFL
from bfl_async.webhooks import RedisRelay, WebhookReceiver, verify

KEY = "bfl_s3cr3t-0f-th1s-t3st"
# A port of this machine on which nothing listens.
NOWHERE = "http://127.0.0.1:9"


def shown(error: BaseException) -> str:
    """Return what an error tracker that captures local variables keeps, the frames of this file left out."""
    kept: list[str] = []
    captured: traceback.TracebackException | None = traceback.TracebackException.from_exception(
        error, capture_locals=True
    )
    while captured is not None:
        kept += [f"{frame.name} {frame.locals}" for frame in captured.stack if frame.filename != __file__]
        captured = captured.__cause__ or captured.__context__
    return "\n".join(kept)


async def _credits(bfl: AsyncBFL) -> None:
    await bfl.credits()


async def _generate(bfl: AsyncBFL) -> None:
    await bfl.generate("flux-dev", prompt="a cat", timeout=0.3)


async def _get(bfl: AsyncBFL) -> None:
    await bfl.get("/v1/x", timeout=0.3)


@pytest.mark.parametrize("call", [_credits, _generate, _get])
@pytest.mark.parametrize("rotates", [False, True])
async def test_no_frame_of_a_failed_call_shows_the_key(
    call: Callable[[AsyncBFL], Awaitable[None]], *, rotates: bool
) -> None:
    """Invariant 5: error trackers capture local variables."""
    async with AsyncBFL(
        (lambda: KEY) if rotates else KEY,
        base_url=NOWHERE,
        default_headers={"X-Team": KEY + KEY},
        account="a",
    ) as bfl:
        with pytest.raises(BFLError) as caught:
            await call(bfl)
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"api_key": f"{KEY} with spaces"},
        {"api_key": f"{KEY}\u20ac"},
        {"api_key": KEY.encode()},
        {"api_key": [KEY]},
        {"api_key": KEY, "limits": 0},
        {"api_key": KEY, "base_url": "nonsense"},
        {"api_key": KEY, "base_url": KEY},
        {"api_key": "k", "base_url": f"https://{KEY}@h"},
        {"api_key": "k", "base_url": f"https://h/?k={KEY}"},
        {"api_key": "k", "base_url": [KEY]},
        {"api_key": "k", "base_url": f"http://{KEY}.example"},
        {"api_key": KEY, "proxy": f"http://user:{KEY}@"},
        {"api_key": KEY, "proxy": f"socks5://user:{KEY}@h:1"},
        {"api_key": KEY, "default_headers": {"X-A": f"{KEY}\n"}},
        {"api_key": KEY, "session": aiohttp.ClientSession, "proxy": f"http://u:{KEY}@h:1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("cls", [AsyncBFL, BFL])
def test_no_frame_of_a_refused_setting_shows_the_key(
    cls: Callable[..., object], arguments: dict[str, object]
) -> None:
    """A key or password that is wrong, or that is right next to another wrong setting."""
    with pytest.raises(ConfigError) as caught:
        cls(**arguments)
    assert KEY not in shown(caught.value) + str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\x00", "", "  ", KEY.encode(), 5])
async def test_no_frame_shows_what_the_key_function_returned(key: object) -> None:
    """It may be a key with a flaw."""
    async with AsyncBFL(lambda: key, base_url=NOWHERE, account="a") as bfl:  # type: ignore[arg-type, return-value]
        with pytest.raises(ConfigError) as caught:
            await bfl.credits()
    assert KEY not in shown(caught.value) + str(caught.value)


def test_no_frame_shows_a_webhooks_secret() -> None:
    """Neither the user's own nor one that is derived from it."""
    with pytest.raises(BFLError) as caught:
        verify(b"{}", {"X-Webhook-Secret": "wrong"}, KEY, now=None)
    assert KEY not in shown(caught.value)
    with pytest.raises(ConfigError) as refused:
        WebhookReceiver("nonsense", KEY)
    assert KEY not in shown(refused.value)


@pytest.mark.parametrize("make", [RedisLimiter, RedisRelay])
@pytest.mark.parametrize("url", [f"redis//user:{KEY}@h", f"rediss://u:{KEY}@[h"])
def test_no_frame_shows_the_password_of_redis(make: Callable[[str], object], url: str) -> None:
    """A URL with a slip still holds the password."""
    with pytest.raises(ConfigError) as caught:
        make(url)
    assert KEY not in shown(caught.value) + str(caught.value)


async def test_no_frame_shows_the_password_of_a_redis_that_is_away() -> None:
    """redis-py's own frames included: its errors are the cause of ours."""
    limiter = RedisLimiter(f"redis://user:{KEY}@127.0.0.1:9", away="fail")
    limiter.use_account("a")
    with pytest.raises(BFLError) as caught:
        await limiter.open()
    assert KEY not in shown(caught.value) + str(caught.value)
    await limiter.aclose()


def test_secret_is_a_text_whose_repr_hides_it() -> None:
    """What is sent or hashed is the secret; what is shown is not."""
    secret = Secret(KEY)
    assert (secret, f"{secret}", secret.encode()) == (KEY, KEY, KEY.encode())
    assert KEY not in f"{secret!r} {[secret]} { {'a': secret} } {(secret,)!s}"
    assert copy.deepcopy([secret])[0] is secret
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    assert KEY not in repr(conceal(KEY.encode()))


# ---- pickles and reprs


@pytest.mark.parametrize(
    "make",
    [
        lambda: AsyncBFL(KEY),
        lambda: BFL(KEY),
        lambda: WebhookReceiver("https://app.example/hooks", KEY),
        lambda: RedisRelay(f"redis://:{KEY}@h"),
        lambda: RedisLimiter(f"redis://:{KEY}@h"),
    ],
)
def test_what_holds_a_secret_is_not_pickled_and_does_not_show_it(make: Callable[[], object]) -> None:
    """A pickle goes to other processes and to disk."""
    holder = make()
    assert KEY not in repr(holder)
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            take(holder)


@pytest.mark.parametrize("name", ["webhook_secret", "api_key", "auth_token", "Password"])
def test_request_for_an_unknown_model_does_not_show_secrets(name: str) -> None:
    """Its fields are not known, so their names decide."""
    made = PassThroughRequest.named("flux-9", {"prompt": "a cat", name: KEY})
    assert KEY not in repr(made)
    assert made.body()[name] == KEY


# ---- settings that are quoted back


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres//bfl:{}@db/x",
        "postgresql:/bfl:{}@db/x",
        "bfl:{}@db/x",
        "postgresql://bfl:a@{}@db/x",
        "postgresql://bfl:a/{}@db/x",
        "postgresql://bfl:{}%zz@db/x",
        "host=db password={} more",
        "{}",
        None,
    ],
)
def test_malformed_connection_string_is_not_quoted_back(dsn: str | None) -> None:
    """The driver repeats it, or takes a part of the password for a host or a database."""
    from bfl_async.integrations.database import check_dsn

    with pytest.raises(ConfigError) as caught:
        check_dsn(None if dsn is None else dsn.format(KEY))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p@db/x",
        "postgresql://u:p%40x@127.0.0.1:5432/my-db",
        "postgresql://u@[::1]:5432/x",
        "postgresql://u@a,b/x",
        "postgresql:///x?host=/tmp/s",
        "host=/var/run/postgresql dbname=x",
    ],
)
def test_sound_connection_string_is_taken(dsn: str) -> None:
    """In each form that the driver knows."""
    from bfl_async.integrations.database import check_dsn

    check_dsn(dsn)


# ---- a caller's session


@pytest.mark.parametrize("name", ["x-key", "X-KEY", "Authorization", "Cookie", "proxy-authorization"])
async def test_session_with_a_secret_of_its_own_is_refused(name: str) -> None:
    """Invariant 5: a session's headers go to the image host as well."""
    async with aiohttp.ClientSession(headers={"Accept-Language": "de", name: KEY}) as session:
        with pytest.raises(ConfigError, match="header") as caught:
            AsyncBFL(KEY, session=session)
    assert KEY not in str(caught.value) + shown(caught.value)


async def test_session_with_a_login_of_its_own_is_refused() -> None:
    """Invariant 5."""
    with warnings.catch_warnings():
        # Newer releases of aiohttp warn of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", KEY))
    async with session:
        with pytest.raises(ConfigError, match="auth=") as caught:
            AsyncBFL(KEY, session=session)
    assert KEY not in str(caught.value) + shown(caught.value)


async def test_session_that_was_given_a_secret_later_is_refused() -> None:
    """It is looked at again when the client opens."""
    async with aiohttp.ClientSession(headers={"Accept-Language": "de"}) as session:
        bfl = AsyncBFL(KEY, session=session)
        session.headers["x-key"] = KEY
        with pytest.raises(ConfigError, match="header"):
            await bfl.open()


# ---- half-built objects

HANDWRITTEN: list[type[object]] = [
    cls
    for cls in {
        *(value for value in (getattr(bfl_async, name) for name in bfl_async.__all__) if inspect.isclass(value)),
        BFL, FileLimiter, LocalLimiter, PassThroughRequest, RedisLimiter, RedisRelay, Sandbox, WebhookReceiver,
    }
    # A generated repr is that of a dataclass, whose fields are all set before anything of it can fail.
    if not hasattr(cls.__dict__.get("__repr__"), "__wrapped__")
]  # fmt: skip


@pytest.mark.parametrize("cls", sorted(HANDWRITTEN, key=str))
def test_repr_of_a_half_built_object_does_not_fail(cls: type[object]) -> None:
    """Its constructor failed, and a traceback with local variables shows it."""
    try:
        half = object.__new__(cls) if not issubclass(cls, BaseException) else cls.__new__(cls)
    except TypeError:
        pytest.skip("is not made without arguments")
    assert repr(half)
    assert isinstance(str(half), str)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AsyncBFL(KEY, limits=Limits(account=2), timeouts="x"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: BFL(KEY, account=""),
        lambda: request("flux-dev", prompt=7),  # type: ignore[arg-type]  # wrong on purpose
        lambda: RedisLimiter("redis://h", namespace="{"),
        lambda: RedisRelay("redis://h", namespace=""),
        lambda: WebhookReceiver("https://h/x", KEY, poll_s=-1),
        lambda: LocalLimiter(Limits(account=1, queue=-1)),
    ],
)
def test_traceback_of_a_failed_constructor_can_be_captured(make: Callable[[], object]) -> None:
    """On Python 3.11, a repr that fails ends the capture."""
    with pytest.raises(BFLError) as caught:
        make()
    assert "repr" not in shown(caught.value).lower().replace("__repr__", "")
