"""`BFL`: the client for code without asyncio, a blocking face of `AsyncBFL`.

```python
with BFL() as bfl:
    result = bfl.generate("flux-pro-1.1", prompt="a cat")
    result.save("cat.jpg")
```

The client's loop runs in one thread of its own, and each call waits for what it does there: so all that is promised
of `AsyncBFL` holds here as well, from several threads at a time, and where the calling thread has a loop of its
own (a notebook). Ctrl-C ends a wait as a cancellation does: what was not sent is withdrawn, what was sent is followed
to its end.

Each call hands over to that of `AsyncBFL`, and a test compares their names, parameters and defaults. Why the thread is
not anyio's blocking portal: that one cancels by scope, again and again until a coroutine ends, where the client is
written for asyncio's single cancellation; and a client that was forgotten must be closed without waiting, also when
the collector runs in that very thread.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Literal,
    NoReturn,
    Self,
    cast,
    overload,
)

from bfl_async.client.client import AsyncBFL
from bfl_async.client.request_calls import typed, typed_nowait
from bfl_async.client.stream import check_many
from bfl_async.errors import BFLError, ConfigError
from bfl_async.models import ImageRequest
from bfl_async.results.sheet import Sheet
from bfl_async.runtime.secrets import conceal_arguments
from bfl_async.sync.portal import HOW_TO_OPEN, P, Portal
from bfl_async.sync.stream import OutcomeStream, ThreadSource
from bfl_async.sync.values import Result, TaskHandle

if TYPE_CHECKING:
    from bfl_async.client.account import DeletedFinetune, Finetune, UsageReport
    from bfl_async.client.handle import TaskHandle as AsyncTaskHandle
    from bfl_async.client.stream import OutcomeStream as AsyncOutcomeStream
    from bfl_async.results.result import Result as AsyncResult
    from bfl_async.types.common import JSON
    from bfl_async.types.lifecycle import Estimate
    from bfl_async.types.replies import Reply
    from bfl_async.types.statistics import Statistics

__all__ = ["BFL"]


def _parameters_of(
    init: Callable[Concatenate[AsyncBFL, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[BFL, P], None]]:
    """Give a constructor the parameters of the client's."""

    def give(made: Callable[..., None]) -> Callable[Concatenate[BFL, P], None]:
        return cast("Callable[Concatenate[BFL, P], None]", functools.wraps(init)(made))

    return give


class BFL:
    """The Black Forest Labs FLUX image API, for code without asyncio. Parameters and calls are those of `AsyncBFL`.

    Usable from any number of threads, which share its slots. It starts one thread when it is opened, and ends it
    when it is closed. There is no `session=`, and a stream takes iterables, not async ones.
    """

    _bfl: AsyncBFL
    _portal: Portal
    _client: BFL | None  # of a view: what is opened and closed

    @_parameters_of(AsyncBFL.__init__)
    def __init__(self, *args: object, **kwargs: object) -> None:
        # An error passes through this frame, and tracebacks may show local variables.
        args, kwargs = conceal_arguments(args, kwargs)
        self._client = None
        # Held by the thread that opens it; others wait, and find it open.
        self._opening = threading.Lock()
        self._portal = Portal()
        self._bfl = cast("Callable[..., AsyncBFL]", AsyncBFL)(*args, **kwargs)
        self._bfl._life.how_to_open = HOW_TO_OPEN
        if self._bfl._life.settings.session is not None:
            raise ConfigError("session= belongs to an event loop of your own: use AsyncBFL there")

    # --- opening and closing ----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Open the client, where a `with` does not fit. Idempotent.

        Raises:
            ClientClosedError: It was closed; a closed client stays closed.
            ConfigError: It is a view, which is opened with its client.
        """
        self._check_client("opened")
        self._portal.check_place()
        with self._opening:
            self._portal.open(self._bfl.open)
        return self

    def close(self, *, drain: float | None = 0.0) -> None:
        """Close the client and end its thread; see `AsyncBFL.aclose`. Idempotent, from any thread.

        Ctrl-C ends the drain; the closing is carried through, for at most `Timeouts.close`.

        Args:
            drain: Seconds to let queued and running requests end first; None: until they have.
        Raises:
            ConfigError: It is a view, which is closed with its client.
        """
        self._check_client("closed")
        self._portal.check_place()
        try:
            self._portal.close(lambda: self._bfl.aclose(drain=drain))
        except BaseException:
            try:
                self._portal.close(self._bfl.aclose)
            except BaseException:
                # A second Ctrl-C leaves at once.
                self._portal.abandon(None)
                raise
            raise

    def _check_client(self, verb: str) -> None:
        if self._client is not None:
            raise ConfigError(f"a view of with_options() is {verb} with its client")

    def __del__(self) -> None:
        # Nothing is waited for: at the interpreter's end the thread stands still.
        if "_bfl" in self.__dict__ and self._client is None and self._portal.is_running:
            warnings.warn(
                "a BFL client was not closed: use `with`, or call close()", ResourceWarning, stacklevel=2
            )
            self._portal.abandon(self._bfl.aclose)

    # --- one request ------------------------------------------------------------------------------------

    @typed_nowait
    def submit_nowait(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Queue one request and return its handle at once; see `AsyncBFL.submit_nowait`."""

        async def submit() -> AsyncTaskHandle:
            submit_nowait = cast("Callable[..., AsyncTaskHandle]", self._bfl.submit_nowait)
            return submit_nowait(request_or_model, priority=priority, extra_body=extra_body, **fields)

        return TaskHandle(self._portal.call(submit), self._portal)

    @typed
    def submit(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Send one request and return its handle once the server has accepted it; see `AsyncBFL.submit`."""
        submit = cast("Callable[..., Awaitable[AsyncTaskHandle]]", self._bfl.submit)
        handle = self._portal.call(
            lambda: submit(
                request_or_model, timeout=timeout, priority=priority, extra_body=extra_body, **fields
            )
        )
        return TaskHandle(handle, self._portal)

    @typed
    def generate(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        extra_body: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Result:
        """Send one request and return its result; see `AsyncBFL.generate`."""
        generate = cast("Callable[..., Awaitable[AsyncResult]]", self._bfl.generate)
        result = self._portal.call(
            lambda: generate(
                request_or_model, timeout=timeout, priority=priority, extra_body=extra_body, **fields
            )
        )
        return Result._of(result, self._portal)

    def attach(
        self,
        task_id: str,
        *,
        polling_url: str | None = None,
        model: str | None = None,
        cost: float | None = None,
    ) -> TaskHandle:
        """Follow a task of another process or an earlier run; see `AsyncBFL.attach`."""

        async def attach() -> AsyncTaskHandle:
            return self._bfl.attach(task_id, polling_url=polling_url, model=model, cost=cost)

        return TaskHandle(self._portal.call(attach), self._portal)

    # --- many requests ----------------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[ImageRequest],
        *,
        ordered: bool = False,
        priority: int | None = None,
        window: int | None = None,
        timeout: float | None = None,
    ) -> OutcomeStream:
        """Run many requests; yield exactly one `Outcome` for each, as they complete. See `AsyncBFL.stream`."""
        check_many(requests)
        if not isinstance(requests, Iterable):
            raise ConfigError("here a stream takes no async iterable: use AsyncBFL")

        def begin(source: ThreadSource) -> AsyncOutcomeStream:
            return self._bfl.stream(
                source, ordered=ordered, priority=priority, window=window, timeout=timeout
            )

        return OutcomeStream(requests, begin, self._portal)

    @overload
    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: Literal[False] = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result]: ...

    @overload
    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result | BFLError]: ...

    def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result] | list[Result | BFLError]:
        """Run requests together; return their results in input order. See `AsyncBFL.gather`."""
        taken = list(requests)
        found = self._portal.call(
            lambda: self._bfl.gather(
                taken, return_exceptions=return_exceptions, priority=priority, timeout=timeout
            )
        )
        return Sheet(one if isinstance(one, BFLError) else Result._of(one, self._portal) for one in found)

    # --- the account, the client --------------------------------------------------------------------------

    def credits(self) -> float:
        """Ask for the account's balance, in credits (1 credit = 0.01 USD); see `AsyncBFL.credits`."""
        return self._portal.call(self._bfl.credits)

    def finetunes(self) -> list[Finetune]:
        """Ask for the account's finetunes; see `AsyncBFL.finetunes`."""
        return self._portal.call(self._bfl.finetunes)

    def finetune_details(self, finetune_id: str) -> Finetune:
        """Ask what is known of one finetune; see `AsyncBFL.finetune_details`."""
        return self._portal.call(lambda: self._bfl.finetune_details(finetune_id))

    def delete_finetune(self, finetune_id: str) -> DeletedFinetune:
        """Delete a finetune; see `AsyncBFL.delete_finetune`."""
        return self._portal.call(lambda: self._bfl.delete_finetune(finetune_id))

    def report_usage(self, model_slug: str, generations: int = 1) -> UsageReport:
        """Report the use of a licensed model; see `AsyncBFL.report_usage`."""
        return self._portal.call(lambda: self._bfl.report_usage(model_slug, generations))

    def get(self, path: str, *, timeout: float | None = None) -> Reply:
        """Ask the API a question that this release has no method for; see `AsyncBFL.get`."""
        return self._portal.call(lambda: self._bfl.get(path, timeout=timeout))

    def post(
        self,
        path: str,
        *,
        json: Mapping[str, JSON] | None = None,
        timeout: float | None = None,
        priority: int | None = None,
    ) -> Reply:
        """POST to an endpoint that this release does not know; see `AsyncBFL.post`."""
        return self._portal.call(lambda: self._bfl.post(path, json=json, timeout=timeout, priority=priority))

    def estimate(self, request: ImageRequest) -> Estimate:
        """Return what a request will cost, as far as it can be known; see `AsyncBFL.estimate`."""
        return self._bfl.estimate(request)

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of queue, slots and counts; see `AsyncBFL.statistics`."""
        return self._portal.run(self._bfl.statistics)

    def timings(self) -> dict[str, JSON]:
        """Return what was learnt of the models' times; see `AsyncBFL.timings`."""
        return self._portal.run(self._bfl.timings)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is queued or in flight; True if so. See `AsyncBFL.drain`."""
        return self._portal.call(lambda: self._bfl.drain(timeout))

    def with_options(self, *, timeout: float | None = None, priority: int | None = None) -> BFL:
        """Return a view of this client whose calls have other defaults; see `AsyncBFL.with_options`."""
        view = object.__new__(BFL)
        view._client = self._client or self
        view._portal = self._portal
        view._bfl = self._bfl.with_options(timeout=timeout, priority=priority)
        return view

    def __repr__(self) -> str:
        if "_bfl" not in self.__dict__:
            # Its constructor failed.
            return "<BFL>"
        return self._portal.run(lambda: repr(self._bfl)).replace("AsyncBFL", "BFL")

    def __reduce__(self) -> NoReturn:
        self._bfl.__reduce__()
