"""Results, outcomes and handles whose methods block."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Self,
    cast,
)

from bfl_async.client.handle import HandleFacts
from bfl_async.results.download import closed_error
from bfl_async.results.outcome import ResultOrError
from bfl_async.results.result import Result as AsyncResult
from bfl_async.results.result import ResultFacts

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from bfl_async.client.handle import TaskHandle as AsyncTaskHandle
    from bfl_async.errors import BFLError
    from bfl_async.results.outcome import Outcome as AsyncOutcome
    from bfl_async.sync.portal import Portal, T
    from bfl_async.types.lifecycle import Update


class Result(ResultFacts):
    """One finished generation, whose bytes can be fetched while its client is open."""

    @classmethod
    def _of(cls, result: AsyncResult, portal: Portal) -> Self:
        made = cls.__new__(cls)
        others = tuple(cls._of(other, portal) for other in result.others)
        made.__dict__.update(result.__dict__, _source=(result, portal), _others=others)
        return made

    def read(self, *, timeout: float | None = 60.0) -> bytes:
        """Download the image or video and return its bytes as they came; see `bfl_async.Result.read`."""
        return self._fetched(lambda result: result.read(timeout=timeout))

    def save(
        self, path: str | os.PathLike[str], *, timeout: float | None = 60.0, unchecked: bool = False
    ) -> Path:
        """Download and write to `path`; return the path written. See `bfl_async.Result.save`."""
        return self._note_saved(
            self._fetched(lambda result: result.save(path, timeout=timeout, unchecked=unchecked))
        )

    def _fetched(self, fetch: Callable[[AsyncResult], Awaitable[T]]) -> T:
        if self._source is not None:
            result, portal = cast("tuple[AsyncResult, Portal]", self._source)
            if portal.is_running:
                return portal.call(lambda: fetch(result))
        if self._held is None:
            raise closed_error(self._record())
        # After unpickling, or after the close. It asks no host, and needs no more than some loop.
        detached = AsyncResult.__new__(AsyncResult)
        detached.__dict__.update(self.__dict__, _source=None)

        async def fetched() -> T:
            return await fetch(detached)

        with ThreadPoolExecutor(1, "bfl-held") as thread:
            # This thread may run a loop already.
            return thread.submit(asyncio.run, fetched()).result()


@dataclass(frozen=True, slots=True)
class Outcome(ResultOrError[Result]):
    """One item of a stream: the request as it was given, with its result or its error."""

    index: int
    request: object = field(repr=False)  # it holds the prompt
    task_id: str | None
    result: Result | None
    error: BFLError | None

    @classmethod
    def _of(cls, outcome: AsyncOutcome, portal: Portal) -> Self:
        result = None if outcome.result is None else Result._of(outcome.result, portal)
        return cls(outcome.index, outcome.request, outcome.task_id, result, outcome.error)


class TaskHandle(HandleFacts):
    """One request, followed by the client. Any number of threads may wait for it."""

    __slots__ = ("_handle", "_portal")

    def __init__(self, handle: AsyncTaskHandle, portal: Portal) -> None:
        self._entry = handle._entry
        self._handle = handle
        self._portal = portal

    @property
    def queue_position(self) -> int | None:
        """How many requests are before this one; None when it is not queued."""
        return self._portal.run(lambda: self._handle.queue_position)

    def result(self, *, timeout: float | None = None) -> Result:
        """Wait for the result; see `bfl_async.TaskHandle.result`. Ctrl-C ends this wait and nothing else."""
        if self.done():  # also when the client is closed
            return Result._of(self._entry.value(), self._portal)
        return Result._of(self._portal.call(lambda: self._handle.result(timeout=timeout)), self._portal)

    def accepted(self) -> str:
        """Wait until the server has accepted the request; return the task id. See `bfl_async.TaskHandle.accepted`."""
        known = self.task_id
        return known if known is not None else self._portal.call(self._handle.accepted)

    def updates(self) -> Iterator[Update]:
        """Iterate over the changes, from the present state to the terminal one; see `bfl_async.TaskHandle.updates`."""
        changes = self._handle.updates()
        while (update := self._portal.call(lambda: anext(changes, None))) is not None:
            yield update

    def withdraw(self) -> bool:
        """Take the request back if nothing was sent; True if so. See `bfl_async.TaskHandle.withdraw`."""
        return self._portal.run(self._handle.withdraw)
