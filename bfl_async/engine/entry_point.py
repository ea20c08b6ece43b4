"""The engine as batches and jobs see it: they hand requests in, follow tasks, and stop both.

A client has it as `_engine`. Whoever admits a request without a handle owns its entry: it must set `heard` when the
request's end is noted elsewhere, or a failure is logged as one that no caller awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bfl_async.engine.entry import Entry
    from bfl_async.protocols.ledger import Journal
    from bfl_async.protocols.transport import Request
    from bfl_async.types.statistics import Statistics


class Engine(Protocol):
    """Admits requests, and follows each one to its end. `Scheduler` is the one engine; see there for all arguments."""

    def admit(
        self,
        request: Request,
        *,
        priority: int,
        outage_s: float | None = None,
        bounded: bool = True,
        journal: Journal | None = None,
    ) -> Entry:
        """Take a request in. From here on the engine owns it."""
        ...

    def attach(
        self, task_id: str, *, polling_url: str | None, model: str | None, cost: float | None
    ) -> Entry:
        """Follow a task that exists already. It takes its slots at once."""
        ...

    def stop(self, entry: Entry) -> None:
        """Send nothing more for a request: withdrawn if unsent, else followed to its end."""
        ...

    def statistics(self) -> Statistics:
        """Return the counts of now and since the start."""
        ...
