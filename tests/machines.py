"""Running the state machines of hypothesis, and the loops that they step through."""

from __future__ import annotations

import asyncio

import looptime
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_machine(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run a machine whose steps simulate a whole client, which takes long to make and to choose."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def looptime_runner() -> asyncio.Runner:
    """Return a runner on looptime's clock. It needs a loop of asyncio, also where the tests run on uvloop."""
    return asyncio.Runner(
        loop_factory=lambda: looptime.patch_event_loop(asyncio.SelectorEventLoop(), noop_cycles=1)
    )
