"""Counting the turns of the running loop: what spins shows in them, however fast the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def turns_of_the_loop() -> Iterator[list[None]]:
    """Within: the list gets an item in each turn of the running loop."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("the turns of uvloop cannot be counted")
    turns: list[None] = []
    # The one function that every loop of asyncio's own runs in each turn; there is no public one.
    run_once = loop._run_once

    def counted() -> None:
        turns.append(None)
        run_once()

    loop._run_once = counted
    try:
        yield turns
    finally:
        del loop._run_once
