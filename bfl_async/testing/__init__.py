"""Fixtures for tests of code that uses this package. They reach no network and cost nothing.

pytest finds them by itself once the package is installed; pytest-asyncio runs the tests:

```python
async def test_my_app(bfl, bfl_sandbox):
    result = await bfl.generate("flux-dev", prompt="a cat")
```

`bfl_sandbox` is the embedded fake of the API on a real socket (`bfl_async.sandbox.Sandbox`). While it runs,
`BFL_API_KEY` and `BFL_BASE_URL` name it, so that also a client which your code makes by itself talks to it and
never to the real API. `bfl` is an open `AsyncBFL` on it that polls every 10 ms.

Tasks end at once, so nothing is waited for. What a test wants otherwise, it says:

```python
bfl_sandbox.script(["Content Moderated", 402, "submit-reset-after"])  # how the next submits end
bfl_sandbox.settle(handle.task_id, "Error")  # the end of one task
bfl_sandbox.faults.set("poll-500", 0.3)  # see `bfl_async.sandbox.DIALS`

@pytest.mark.bfl_sandbox(service_s=math.inf, limit=2, credits=50)  # arguments of `Sandbox`
```

With `service_s=math.inf` only `settle` ends a task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

# Its names are imported on first use: pytest loads this module in every run.
import bfl_async

if TYPE_CHECKING:
    from bfl_async.sandbox import Sandbox

_POLL_S = 0.01


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "bfl_sandbox(**arguments): how the fixture bfl_sandbox makes its bfl_async.sandbox.Sandbox"
    )


def _async_fixture(function: Callable[..., AsyncIterator[object]]) -> object:
    """The fixture that pytest-asyncio makes of a function; where that is missing, one that says so."""
    try:
        from pytest_asyncio import fixture
    except ImportError:

        def missing() -> None:
            raise pytest.UsageError(
                "the fixtures of bfl-async need pytest-asyncio: pip install pytest-asyncio"
            )

        return pytest.fixture(name=function.__name__)(missing)
    made: object = fixture(function)
    return made


@_async_fixture
async def bfl_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sandbox]:
    """The embedded fake of the API, named by `BFL_API_KEY` and `BFL_BASE_URL`; tasks end at once."""
    from bfl_async.sandbox import Sandbox

    marker = request.node.get_closest_marker("bfl_sandbox")
    async with Sandbox(**{"service_s": 0.0, **(marker.kwargs if marker is not None else {})}) as sandbox:
        monkeypatch.setenv("BFL_API_KEY", sandbox.key)
        monkeypatch.setenv("BFL_BASE_URL", sandbox.url)
        yield sandbox


@_async_fixture
async def bfl(bfl_sandbox: Sandbox) -> AsyncIterator[bfl_async.AsyncBFL]:
    """An open client on `bfl_sandbox`."""
    limits = bfl_async.Limits(account=bfl_sandbox.limit, pools=bfl_sandbox.pools)
    polling = bfl_async.Fixed(_POLL_S)
    async with bfl_async.AsyncBFL(
        bfl_sandbox.key, base_url=bfl_sandbox.url, limits=limits, polling=polling
    ) as client:
        yield client
