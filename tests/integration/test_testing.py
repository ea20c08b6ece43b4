"""The pytest fixtures, as somebody else's suite uses them."""

from __future__ import annotations

import math
import textwrap

import anyio
import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    FluxDev,
    InsufficientCreditsError,
    TaskFailedError,
    TaskModeratedError,
)
from bfl_async.sandbox import Sandbox


async def test_cancelled_caller_keeps_its_slot(bfl: AsyncBFL, bfl_sandbox: Sandbox) -> None:
    """A slot stays taken until the server settles the task, whoever is still waiting."""
    handle = await bfl.submit(FluxDev(prompt="a cat"))
    with anyio.move_on_after(0):
        await handle
    assert bfl.statistics().slots_taken == 1

    bfl_sandbox.settle(str(handle.task_id), "Ready")
    await bfl.drain()
    assert bfl.statistics().slots_taken == 0


async def test_scripted_submits_end_as_the_script_says(bfl: AsyncBFL, bfl_sandbox: Sandbox) -> None:
    """One item a submit, in order; no sleep and no chance."""
    bfl_sandbox.script(["Ready", "Content Moderated", "submit-reset-after", 429, 402])
    outcomes = bfl.stream((FluxDev(prompt=str(n)) for n in range(4)), ordered=True, window=1)
    ends = [outcome.error if outcome.error is None else type(outcome.error) async for outcome in outcomes]
    assert ends == [None, TaskModeratedError, AmbiguousSubmitError, InsufficientCreditsError]
    assert bfl_sandbox.statistics().accepted == 3


@pytest.mark.bfl_sandbox(service_s=math.inf, limit=1)
async def test_held_task_ends_as_it_is_settled(bfl: AsyncBFL, bfl_sandbox: Sandbox) -> None:
    """The marker's arguments make the server, and the client has its limit."""
    handle = await bfl.submit(FluxDev(prompt="a cat"))
    waiting = bfl.submit_nowait(FluxDev(prompt="another"))
    assert waiting.queue_position == 0
    bfl_sandbox.settle(str(handle.task_id), "Error")
    with pytest.raises(TaskFailedError):
        await handle
    bfl_sandbox.settle(await waiting.accepted(), "Ready")
    assert (await waiting).task_id == waiting.task_id


async def test_client_of_the_code_under_test_talks_to_the_sandbox(bfl_sandbox: Sandbox) -> None:
    """An app makes its own client from the environment."""
    async with AsyncBFL() as made_by_the_app:
        assert await made_by_the_app.credits() == bfl_sandbox.credits


@pytest.mark.parametrize("mode", ["auto", "strict"])
@pytest.mark.slow
def test_two_lines_are_enough_in_another_suite(pytester: pytest.Pytester, mode: str) -> None:
    """A fresh folder, no conftest, warnings as errors, either mode of pytest-asyncio."""
    mark = "" if mode == "auto" else "@__import__('pytest').mark.asyncio"
    pytester.makepyfile(
        textwrap.dedent(
            f"""
            {mark}
            async def test_app(bfl):
                assert (await bfl.generate("flux-dev", prompt="a cat")).cost == 2.5
            """
        )
    )
    pytester.makeini(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\naddopts = --strict-markers"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_missing_pytest_asyncio_is_told_in_one_line(pytester: pytest.Pytester) -> None:
    """The fixtures need it, and say so."""
    pytester.makepyfile("def test_app(bfl): pass")
    pytester.makeconftest("")
    pytester.path.joinpath("pytest_asyncio.py").write_text("raise ImportError")
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:looptime")
    result.stdout.fnmatch_lines(["*need pytest-asyncio: pip install pytest-asyncio*"])
