"""Background coroutines under task factories of the application's own."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from bfl_async.runtime.tasks import new_task

_VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("_VARIABLE", default="unset")


def refuse_every_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], **_: object
) -> asyncio.Task[Any]:
    """A task factory that must not be reached."""
    coro.close()
    raise AssertionError("the application's task factory was used")


@pytest.fixture(
    params=[
        pytest.param(None, id="no factory"),
        pytest.param(refuse_every_task, id="a factory that must not be reached"),
        pytest.param(
            getattr(asyncio, "eager_task_factory", None),
            id="eager",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12"),
        ),
    ]
)
async def task_factory(request: pytest.FixtureRequest) -> Any:
    """Each kind of task factory that an application may set. The test sets and resets it."""
    return request.param


async def test_a_new_task_starts_only_after_the_step_that_made_it(task_factory: Any) -> None:
    """A step may finish its bookkeeping first; the result and the name are the task's own."""
    order: list[str] = []

    async def run() -> str:
        order.append("coroutine")
        return "result"

    loop = asyncio.get_running_loop()
    loop.set_task_factory(task_factory)
    task = new_task(run(), name="a name")
    loop.set_task_factory(None)
    order.append("step")
    assert await task == "result"
    assert order == ["step", "coroutine"]
    assert task.get_name() == "a name"


async def test_a_new_task_sees_the_given_context_or_a_copy_of_the_callers() -> None:
    """A coroutine that is started for one request must not see the variables of another."""

    async def read() -> str:
        return _VARIABLE.get()

    given = contextvars.copy_context()
    _VARIABLE.set("the caller's")
    copied, inherited = new_task(read(), context=given), new_task(read())
    _VARIABLE.set("changed after")
    assert [await copied, await inherited] == ["unset", "the caller's"]
