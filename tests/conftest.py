"""What all tests share."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    """Keep looptime from making an event loop for each synchronous test, which nobody would close."""
    asyncio.set_event_loop(None)
