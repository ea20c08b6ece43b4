"""Streams whose source is read in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from bfl_async import results
from bfl_async.sync.portal import Call, Portal, wait_for_end
from bfl_async.sync.values import Outcome, TaskHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from bfl_async.client.stream import OutcomeStream as AsyncOutcomeStream
    from bfl_async.models import ImageRequest
    from bfl_async.results.outcome import Outcome as AsyncOutcome


class _End:
    """The end of a source."""


_END = _End()


class ThreadSource:
    """A stream's source as the loop sees it: each item is asked of the thread that iterates the stream.

    So a generator runs where it was made, and may wait, read a database, or use the client itself.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        # Items that the loop waits for. The loop appends to it and the iterating thread takes from it, so that neither
        # ever overwrites what the other has written; both operations are atomic, also without the GIL.
        self.wanted: deque[asyncio.Future[ImageRequest | _End]] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImageRequest:
        wanted: asyncio.Future[ImageRequest | _End] = asyncio.get_running_loop().create_future()
        self.wanted.append(wanted)
        self._wake()
        item = await wanted
        if isinstance(item, _End):
            raise StopAsyncIteration
        return item


class _Read(NamedTuple):
    """What the source gave for the item that the loop waits for."""

    wanted: asyncio.Future[ImageRequest | _End]
    item: ImageRequest | _End | Exception

    def answer(self) -> None:
        """Give it to the loop. Called in the loop. Idempotent."""
        if self.wanted.done():
            return
        if isinstance(self.item, Exception):
            self.wanted.set_exception(self.item)
        else:
            self.wanted.set_result(self.item)


class OutcomeStream:
    """Exactly one `Outcome` for each request of a source; an iterator and a context manager.

    The source is read, lazily, in the thread that iterates. Several threads may iterate one stream; each outcome
    goes to one of them. Leaving the `with`, `close()` or losing the last reference withdraws what is queued.
    A notebook that displays a stream shows a progress bar.
    """

    def __init__(
        self,
        requests: Iterable[ImageRequest],
        begin: Callable[[ThreadSource], AsyncOutcomeStream],
        portal: Portal,
    ) -> None:
        self._requests = iter(requests)
        # Tells the thread that iterates to look again: an item is wanted, or the outcome has come. It holds no
        # fact, so that nothing is lost with a word that Ctrl-C swallows.
        self._news = threading.Event()
        self._source = ThreadSource(self._news.set)
        self._portal = portal
        self._outcomes = portal.run(lambda: begin(self._source))
        self._outcomes._core.total = len(requests) if isinstance(requests, list | tuple) else None
        self._awaited: Call[AsyncOutcome | _End] | None = None
        self._read: _Read | None = None
        self._lock = threading.Lock()  # of who iterates

    @property
    def in_flight(self) -> tuple[TaskHandle, ...]:
        """Handles of the requests that were sent and have no outcome yet."""
        handles = self._portal.run(lambda: self._outcomes.in_flight)
        return tuple(TaskHandle(handle, self._portal) for handle in handles)

    @property
    def waiting(self) -> tuple[Outcome, ...]:
        """Outcomes that stand and were not handed out: what a consumer that stops would leave behind."""
        waiting = self._portal.run(lambda: self._outcomes.waiting)
        return tuple(Outcome._of(outcome, self._portal) for outcome in waiting)

    def _repr_html_(self) -> str:
        """Return a progress bar for a notebook. Uses no network."""
        return results.bar(self._progress())

    def _ipython_display_(self) -> None:
        """Show a progress bar in a notebook, redrawn while the stream works."""
        live = self._outcomes._live_bar()
        # Here, so that it appears in the cell of this thread.
        live.show_once(self._progress())
        self._portal.post(live.changed)

    def _progress(self) -> results.Progress:
        return self._portal.run(self._outcomes._core.progress)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome:
        """Wait for the next outcome, and give the stream the requests that it has room for meanwhile.

        Ctrl-C ends this wait; no outcome is lost, the next call returns it.
        """
        with self._lock:
            if self._awaited is None:
                self._awaited = self._ask()
            awaited = self._awaited
            if not awaited.future.done():
                self._portal.begin(awaited)
            while not awaited.future.done():
                if self._source.wanted:
                    self._answer(self._source.wanted[0])
                else:
                    wait_for_end(self._news)
                    # Before the next look, which therefore misses nothing.
                    self._news.clear()
            try:
                found = awaited.result()
            except Exception:
                self._awaited = None
                raise
            if isinstance(found, _End):
                self._awaited = None
                raise StopIteration
            outcome = Outcome._of(found, self._portal)
            self._awaited = None
            return outcome

    def _ask(self) -> Call[AsyncOutcome | _End]:
        outcomes, news = self._outcomes, self._news
        call = Call(lambda: anext(outcomes, _END))
        call.future.add_done_callback(lambda _: news.set())
        return call

    def _answer(self, wanted: asyncio.Future[ImageRequest | _End]) -> None:
        """Read the source once, for the loop. Ctrl-C while the source is read leaves the item wanted."""
        if self._read is None or self._read.wanted is not wanted:
            try:
                self._read = _Read(wanted, _END if wanted.done() else next(self._requests, _END))
            except Exception as exc:
                # The source's own: raised when the outcomes of what was read are handed out.
                self._read = _Read(wanted, exc)
            except asyncio.CancelledError as exc:
                # Nobody can cancel this thread: something that the source waited for was cancelled.
                error = RuntimeError("the stream's source was cancelled")
                error.__cause__ = exc
                self._read = _Read(wanted, error)
        self._portal.post(self._read.answer)
        self._source.wanted.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Read the source no further and send nothing more; go on iterating for what was sent. Idempotent."""
        self._portal.run(self._outcomes.stop)

    def close(self) -> None:
        """Withdraw what is queued and stop reading the source. Idempotent, from any thread.

        Ctrl-C ends the wait for the source to close; all else is done.
        """
        call = Call(self._outcomes.aclose)
        try:
            # A client that is closed, or closes meanwhile, has closed its streams.
            if self._portal.offer(call):
                call.wait()
        except BaseException:
            call.future.cancel()
            raise
