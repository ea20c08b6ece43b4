"""The error tree: as documented, picklable, and free of secrets."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey

import bfl_async
from bfl_async import (
    BFLError,
    ConnectError,
    ReplyTimeoutError,
    SaveError,
    TaskModeratedError,
    TaskTimeoutError,
    errors,
)
from bfl_async.errors import TransportError
from bfl_async.transport.failures import translate


def all_errors() -> list[type[BFLError]]:
    return [
        value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BFLError)
    ]


def drawn_tree() -> dict[str, str]:
    """Child to parent, read from the drawing in the module's docstring."""
    lines = (errors.__doc__ or "").split("```text\n")[1].split("```")[0].splitlines()
    parents: dict[str, str] = {}
    stack: list[str] = []
    for line in lines:
        name = line.lstrip("│├└─ ").split()[0]
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 3
        del stack[depth:]
        if stack:
            parents[name] = stack[-1]
        stack.append(name)
    return parents


def test_the_documented_tree_is_the_code() -> None:
    """The drawing in the docstring names every class under its parent, and nothing else."""
    code = {cls.__name__: cls.__bases__[0].__name__ for cls in all_errors() if cls is not BFLError}
    assert drawn_tree() == code


def test_every_error_class_is_a_public_name() -> None:
    """`from bfl_async import SomeError` works for all of them."""
    for cls in all_errors():
        assert getattr(bfl_async, cls.__name__) is cls
        assert cls.__name__ in bfl_async.__all__


def example(cls: type[BFLError]) -> BFLError:
    facts: dict[str, object] = {
        "task_id": "t",
        "stage": "request",
        "reasons": ("Violence",),
        "state": "queued",
        "status": "Error",
        "status_code": 422,
        "body": "b",
        "errors": (("width", "no"),),
        "errno": 28,
        "filename": "f",
        "tasks": (),
        "polling_url": "https://api.bfl.ai/x",
        "retry_after_s": 2.0,
        "details": {"a": 1},
    }
    wanted = inspect.signature(cls.__init__).parameters
    make: Callable[..., BFLError] = cls
    return make("what happened", **{name: value for name, value in facts.items() if name in wanted})


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_errors_pickle_and_copy_with_their_facts(cls: type[BFLError]) -> None:
    """Errors cross processes whole."""
    error = example(cls)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), error.fresh()):
        assert type(twin) is cls
        assert str(twin) == "what happened"
        assert vars(twin) == vars(error)
        assert twin is not error
    if isinstance(error, SaveError):
        assert pickle.loads(pickle.dumps(error)).errno == 28


def test_fresh_copies_keep_the_cause() -> None:
    """Each waiter's own exception says why as well."""
    error = BFLError("outer")
    error.__cause__ = ValueError("inner")
    assert error.fresh().__cause__ is error.__cause__


def test_timeouts_are_also_the_builtin_timeout_error() -> None:
    """`except TimeoutError` catches ours."""
    assert issubclass(TaskTimeoutError, TimeoutError)
    assert issubclass(ReplyTimeoutError, TimeoutError)
    assert issubclass(SaveError, OSError)
    assert TaskModeratedError("m", stage="request").reasons == ()


def aiohttp_errors() -> list[type[Exception]]:
    found = [
        value
        for value in vars(aiohttp).values()
        if inspect.isclass(value) and issubclass(value, aiohttp.ClientError)
    ]
    return sorted(set(found), key=lambda cls: cls.__name__)


def an_aiohttp(cls: type[Exception]) -> Exception:
    """An instance, made without its constructor: these have a dozen different ones."""
    error = cls.__new__(cls)
    if isinstance(error, aiohttp.ClientConnectorError):
        error._conn_key = ConnectionKey("api.bfl.ai", 443, True, True, None, None, None)
        error._os_error = OSError(111, "refused")
    if isinstance(error, aiohttp.ClientResponseError):
        error.status = 407
    return error


@pytest.mark.parametrize("cls", aiohttp_errors(), ids=lambda cls: cls.__name__)
def test_every_aiohttp_error_becomes_one_of_ours(cls: type[Exception]) -> None:
    """No foreign exception leaves the transport."""
    url = str(yarl.URL("https://api.bfl.ai/v1/get_result?id=secret"))
    error = translate(an_aiohttp(cls), "GET", url)
    assert isinstance(error, TransportError)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("cls", "sent"),
    [
        (aiohttp.ClientConnectorError, False),
        (aiohttp.ClientConnectorDNSError, False),
        (aiohttp.ClientConnectorCertificateError, False),
        (aiohttp.ClientConnectorSSLError, False),
        (aiohttp.ClientProxyConnectionError, False),
        (aiohttp.ConnectionTimeoutError, False),
        (aiohttp.ServerDisconnectedError, True),
        (aiohttp.ClientOSError, True),
        (aiohttp.ClientPayloadError, True),
        (aiohttp.SocketTimeoutError, True),
        (TimeoutError, True),
        (ConnectionResetError, True),
    ],
)
def test_only_errors_of_connecting_mean_that_nothing_was_sent(cls: type[Exception], sent: bool) -> None:
    """Invariant 2: the line between `ConnectError` and the rest is the line between repeated and never."""
    error = translate(an_aiohttp(cls), "POST", "https://api.bfl.ai/v1/flux-dev")
    assert isinstance(error, TransportError)
    assert isinstance(error, ConnectError) is not sent


def test_what_is_no_error_of_the_wire_is_a_bug() -> None:
    """It is not hidden as a failed call."""
    assert translate(ZeroDivisionError(), "GET", "https://api.bfl.ai/x") is None
