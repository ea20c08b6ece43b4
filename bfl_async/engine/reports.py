"""What the engine reports of each request: nothing, unless there is an observer.

`Reporter` passes it on to an observer. It is imported only where there is one, and everything here does nothing, so
that the engine has no case for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bfl_async.engine.entry import Entry
    from bfl_async.errors import BFLError
    from bfl_async.types.lifecycle import End
    from bfl_async.types.replies import PollReply


class Reports:
    """The steps of a request that can be reported. Called in the step itself, after the entry has changed."""

    # Each method is called once per step, with the entry as it is after the step. None of them may raise or wait: they
    # run within the step, and what comes after them in it must happen.

    def queued(self, entry: Entry) -> None:
        """A request was admitted. Called in its caller's context."""

    def submitting(self, entry: Entry) -> None:
        """A POST leaves."""

    def submitted(self, entry: Entry) -> None:
        """A task was accepted, or attached: then called in its caller's context."""

    def refused(self, entry: Entry, error: BFLError) -> None:
        """The server took nothing."""

    def retried(self, entry: Entry, error: BFLError, wait_s: float | None) -> None:
        """An unsent request waits to be sent again."""

    def polled(self, entry: Entry, answer: PollReply | None, took_s: float) -> None:
        """A poll came back; without an answer `entry.problem` says why."""

    def settled(self, entry: Entry, end: End) -> None:
        """A request has ended."""
