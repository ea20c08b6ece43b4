"""`AsyncBFL`: the public face. It checks, hands over to the scheduler, and waits."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import warnings
from collections.abc import AsyncIterable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, overload

from bfl_async import __version__
from bfl_async._config import (
    ACCOUNT,
    Limits,
    Timeouts,
    check_timeout,
    limits_from,
    resolve_base_url,
    resolve_key,
)
from bfl_async._handle import Entry, TaskHandle
from bfl_async._polling import Fixed, Polling
from bfl_async._scheduler import Scheduler
from bfl_async._stream import OutcomeStream, open_stream
from bfl_async._wire import body_text, json_object, status_error
from bfl_async.errors import (
    BFLError,
    ClientClosedError,
    ConfigError,
    InvalidRequestError,
    ReplyShapeError,
    TransportError,
)
from bfl_async.limiter.local import LocalLimiter
from bfl_async.models import ImageRequest, as_request, check_model_name, request
from bfl_async.result import Result
from bfl_async.transport.guard import origin_of
from bfl_async.types import Limiter, Reply, Statistics, Transport

if TYPE_CHECKING:
    import aiohttp

_CREDITS_ATTEMPTS = 3
_CREDITS_PAUSE_S = 0.5
_LEAST_CONNECTIONS = 100


class AsyncBFL:
    """The Black Forest Labs FLUX image API, for asyncio.

    One client serves a whole program: it holds the account's active tasks to the limit, follows every task
    that the server accepted to its end, and pays for nothing twice. It belongs to one event loop.

    ```python
    async with AsyncBFL() as bfl:
        result = await bfl.generate("flux-pro-1.1", prompt="a cat", width=1024, height=768)
        await result.save("cat.jpg")
    ```

    Args:
        api_key: The key; None: `BFL_API_KEY`.
        base_url: The API; None: `BFL_BASE_URL`, else `https://api.bfl.ai`. "eu" and "us" are the regions.
        limits: Active tasks that the account may have, or `Limits` with pools and bounds.
        limiter: Who grants slots; None: one of this client's own, made from `limits`. Clients that share an
            account in one process share one limiter, whose limits then count instead of `limits`.
        polling: When polls are sent; None: `Fixed(0.5)`, the interval of BFL's guide.
        timeouts: See `Timeouts`.
        transport: Carries the HTTP calls; None: aiohttp.
        session: A session to use, which is never closed here. It should drop connections that idle for 15 s,
            as ours does: a submit on a stale connection ends as `AmbiguousSubmitError`.
        allow_http: Let `base_url` be plain http on another machine: the key then travels unencrypted.
    Raises:
        ConfigError: A value is wrong or the key is missing. No I/O is done here and no loop is needed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        limits: int | Limits = 12,
        limiter: Limiter | None = None,
        polling: Polling | None = None,
        timeouts: Timeouts | None = None,
        transport: Transport | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_http: bool = False,
    ) -> None:
        self._state: Literal["new", "open", "closing", "closed"] = "new"  # first: __del__ reads it
        if transport is not None and session is not None:
            raise ConfigError("pass transport= or session=, not both: a transport has its own connections")
        self._base_url = resolve_base_url(base_url, allow_http=allow_http)
        if origin_of(self._base_url) is None:
            raise ConfigError("base_url names a host that cannot be read: use https://host[:port]")
        self._key = resolve_key(api_key) if transport is None else ""
        self._limits = limits_from(limits)
        self._limiter: Limiter = LocalLimiter(self._limits) if limiter is None else limiter
        self._owns_limiter = limiter is None
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        if not isinstance(self._timeouts, Timeouts):
            raise ConfigError(f"timeouts takes Timeouts(...), not {timeouts!r}")
        self._given_transport = transport
        self._session = session
        self._polling: Polling = polling if polling is not None else Fixed(0.5)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = self._pid = 0
        self._transport: Transport | None = None
        self._scheduler: Scheduler | None = None
        self._closer: asyncio.Task[None] | None = None

    # --- opening and closing ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def open(self) -> Self:
        """Open the client in the running loop, where an `async with` does not fit. Idempotent.

        Raises:
            ClientClosedError: It was closed; a closed client stays closed.
            ConfigError: It is open in another loop.
        Cancellation: Leaves the client unopened.
        """
        if self._state == "open":
            self._check()
            return self
        if self._state != "new":
            raise ClientClosedError("the client is closed: make a new one")
        await self._limiter.open()
        transport = self._given_transport
        if transport is None:
            from bfl_async.transport.http import HTTPTransport, user_agent

            made = HTTPTransport(
                key=self._key,
                base_url=self._base_url,
                timeouts=self._timeouts,
                connections=max(_LEAST_CONNECTIONS, 4 * self._limits.account),
                agent=user_agent(__version__),
                session=self._session,
            )
            await made.open()
            transport = made
        self._transport = transport
        self._scheduler = Scheduler(
            transport=transport,
            limiter=self._limiter,
            polling=self._polling,
            timeouts=self._timeouts,
            unknown_s=self._limits.unknown_s,
            queue=self._limits.queue,
            rng=random.Random(),
        )
        self._loop = asyncio.get_running_loop()
        self._thread, self._pid = threading.get_ident(), os.getpid()
        self._state = "open"
        return self

    async def aclose(self, *, drain: float | None = 0.0) -> None:
        """Close the client. Idempotent, from any coroutine of its loop.

        What is queued is withdrawn; submits on their way end, for at most `Timeouts.close`; pollers are ended.
        Open handles then raise `ClientClosedError`, whose `.tasks` can be attached later, and one WARNING
        names their ids. Afterwards nothing of ours runs.

        Args:
            drain: Seconds to let queued and running requests end first; None: until they have.
        Raises:
            ConfigError: Called from another loop, thread or process.
        Cancellation: Ends the drain at once; the closing itself is carried through, then the cancellation is
            raised. It takes at most `Timeouts.close`.
        """
        if self._scheduler is None or self._state == "closed":
            self._state = "closed"
            return
        self._check_place()
        if self._closer is None:
            self._state = "closing"
            try:
                if drain is None or drain > 0:
                    await self._scheduler.drain(drain)
            finally:
                await self._wait_closed()
        else:
            await self._wait_closed()

    async def _wait_closed(self) -> None:
        assert self._scheduler is not None
        if self._closer is None:
            self._scheduler.begin_close()
            self._closer = asyncio.get_running_loop().create_task(self._close())
        if self._scheduler.owns(asyncio.current_task()):
            return  # called by a stream's source: the closing waits for that coroutine, and not the reverse
        cancelled: asyncio.CancelledError | None = None
        while not self._closer.done():
            try:
                await asyncio.wait([self._closer])
            except asyncio.CancelledError as exc:
                cancelled = exc
        if cancelled is not None:
            raise cancelled
        if not self._closer.cancelled():
            self._closer.result()

    async def _close(self) -> None:
        assert self._scheduler is not None
        assert self._transport is not None
        try:
            await self._scheduler.aclose()
        finally:
            self._state = "closed"
            if self._owns_limiter:
                await self._limiter.aclose()
            if self._given_transport is None:
                await self._transport.aclose()

    def __del__(self) -> None:
        if self._state in ("open", "closing"):
            warnings.warn(
                f"{self!r} was not closed: use `async with`, or await aclose()", ResourceWarning, stacklevel=2
            )

    def _check_place(self) -> None:
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if os.getpid() != self._pid:
            raise ConfigError("the client was opened before a fork: each process needs a client of its own")
        if loop is not self._loop or threading.get_ident() != self._thread:
            raise ConfigError("the client belongs to the event loop and thread in which it was opened")

    def _check(self) -> Scheduler:
        if self._state == "new":
            raise ClientClosedError("the client is not open: use `async with`, or await open()")
        if self._state != "open":
            raise ClientClosedError("the client is closed: make a new one")
        self._check_place()
        assert self._scheduler is not None
        return self._scheduler

    # --- one request ------------------------------------------------------------------------------------

    def submit_nowait(
        self, request_or_model: ImageRequest | str, /, *, priority: int = 0, **fields: object
    ) -> TaskHandle:
        """Queue one request and return its handle at once; `.task_id` is None until it is accepted.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            priority: Lower goes first, strictly: a steady stream of urgent requests starves later ones.
            fields: The model's fields, where a name was given.
        Raises:
            InvalidRequestError: The request fails its local checks.
            QueueFullError: As many requests are waiting as `Limits.queue` allows.
            ClientClosedError, ConfigError: The client is not open here.
        """
        scheduler = self._check()
        return self._handle_of(scheduler.admit(_request(request_or_model, fields), priority=priority))

    async def submit(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **fields: object,
    ) -> TaskHandle:
        """Send one request and return its handle once the server has accepted it.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for the slot and the reply together; None: not bounded by the caller.
            priority: Lower goes first.
            fields: The model's fields, where a name was given.
        Raises:
            TaskTimeoutError: The timeout ended first; `.state` says whether anything was sent.
            RefusedError: The server refused: no task exists. `InvalidRequestError` also for local checks.
            AmbiguousSubmitError: The answer was lost: a task may exist and be paid.
            ConnectError: No connection could be made; nothing was sent.
            QueueFullError, ClientClosedError, ConfigError: See `submit_nowait`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained:
            its slot stays taken until the server settles it.
        """
        scheduler = self._check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(_request(request_or_model, fields), priority=priority, give_up_at=deadline)
        try:
            await entry.wait_changed(
                lambda: entry.task_id is not None or entry.settlement is not None, deadline
            )
        except BaseException:
            scheduler.leave(entry)
            raise
        if entry.task_id is None:
            entry.value()
        return self._handle_of(entry)

    async def generate(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        **fields: object,
    ) -> Result:
        """Send one request and return its result.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for everything; None: not bounded by the caller. Following the task has a deadline
                of its own, `Timeouts.task`.
            priority: Lower goes first.
            fields: The model's fields, where a name was given.
        Raises:
            TaskModeratedError, TaskFailedError, TaskNotFoundError, UntrustedURLError: How the task ended.
            TaskTimeoutError: The timeout or the task's deadline ended first. A task goes on and can be attached.
            RefusedError, AmbiguousSubmitError, ConnectError, QueueFullError, ClientClosedError, ConfigError:
                See `submit`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained.
        """
        scheduler = self._check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(_request(request_or_model, fields), priority=priority, give_up_at=deadline)
        try:
            await entry.wait_settled(deadline)
        except BaseException:
            scheduler.leave(entry)
            raise
        return entry.value()

    def attach(
        self,
        task_id: str,
        *,
        polling_url: str | None = None,
        model: str | None = None,
        cost: float | None = None,
    ) -> TaskHandle:
        """Follow a task of another process or an earlier run; `handle.to_dict()` has these parameters.

        It takes its slots at once, past the limit if need be: the server counts it already. The same id gives
        the same handle.

        Args:
            task_id: The server's id.
            polling_url: As received with the receipt; None: the base URL's own `/v1/get_result?id=`. One that
                must not be sent the key ends the handle with `UntrustedURLError`.
            model: For its pools and deadline; None: the account's pool alone.
            cost: Credits stated in the receipt.
        Raises:
            InvalidRequestError: The id or the model is none.
            ClientClosedError, ConfigError: The client is not open here.
        """
        scheduler = self._check()
        if not isinstance(task_id, str) or not task_id.strip():
            raise InvalidRequestError("attach needs a task id", errors=[("task_id", "is empty")])
        if model is not None:
            check_model_name(model)
        return self._handle_of(
            scheduler.attach(task_id, polling_url=polling_url or None, model=model, cost=cost)
        )

    # --- many requests ----------------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[ImageRequest] | AsyncIterable[ImageRequest],
        *,
        ordered: bool = False,
        priority: int = 10,
        window: int | None = None,
        timeout: float | None = None,
    ) -> OutcomeStream:
        """Run many requests; yield exactly one `Outcome` for each, as they complete.

        Args:
            requests: Any iterable or async iterable, read lazily.
            ordered: Yield in input order instead.
            priority: Lower goes first; a stream stands behind single requests unless told otherwise.
            window: At most so many requests are read and not yet handed out; None: twice the slots.
            timeout: Seconds for each item from when it is read; None: not bounded.
        Raises:
            ClientClosedError, ConfigError: The client is not open here, or `window` is not positive.
        """
        scheduler = self._check()
        if window is None:
            pool = self._limiter.statistics().get(ACCOUNT)
            window = 2 * (self._limits.account if pool is None else pool.limit)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"stream: window must be a whole number from 1 up, not {window!r}")
        if isinstance(requests, str | bytes | Mapping | ImageRequest) or not isinstance(
            requests, Iterable | AsyncIterable
        ):
            raise ConfigError(
                "stream takes an iterable of requests, such as [request('flux-dev', prompt=...)]"
            )
        return open_stream(
            scheduler,
            requests,
            ordered=ordered,
            priority=priority,
            window=window,
            timeout=check_timeout(timeout),
            make_handle=self._handle_of,
        )

    @overload
    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: Literal[False] = False,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[Result]: ...

    @overload
    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[Result | BFLError]: ...

    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool = False,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[Result] | list[Result | BFLError]:
        """Run requests together; return their results in input order.

        Args:
            requests: All are taken in at once; for more than some thousands use `stream`.
            return_exceptions: Put errors in their places instead of raising the first.
            priority: Lower goes first.
            timeout: Seconds for all of it; None: not bounded.
        Raises:
            BFLError: The first error, at once: unsent requests are withdrawn, sent ones are drained. A request
                that fails its local checks is found before anything is sent.
        Cancellation: Unsent requests are withdrawn, sent ones are drained.
        """
        scheduler = self._check()
        checked: list[ImageRequest | BFLError] = []
        for item in requests:
            try:
                checked.append(as_request(item))
            except InvalidRequestError as exc:
                if not return_exceptions:
                    raise
                checked.append(exc)
        deadline = self._deadline(timeout)
        entries: list[Entry | BFLError] = []
        try:
            for one in checked:
                if isinstance(one, BFLError):
                    entries.append(one)
                    continue
                try:
                    entries.append(scheduler.admit(one, priority=priority, give_up_at=deadline))
                except BFLError as exc:  # the queue is full
                    if not return_exceptions:
                        raise
                    entries.append(exc)
            waiting = [entry for entry in entries if isinstance(entry, Entry)]
            await _wait_all(waiting, deadline, scheduler, stop_at_error=not return_exceptions)
            return [_value(entry, scheduler) if return_exceptions else _result(entry) for entry in entries]
        except BaseException:
            for entry in entries:
                if isinstance(entry, Entry) and entry.settlement is None:
                    scheduler.leave(entry)
                elif isinstance(entry, Entry):
                    entry.heard = True
            raise

    # --- the account, the client --------------------------------------------------------------------------

    async def credits(self) -> float:
        """Ask for the account's balance, in credits (1 credit = 0.01 USD).

        Raises:
            AuthenticationError, RateLimitedError, RefusedError, ServerError: The server's answer.
            ConnectError, ReplyTimeoutError, TransportError: No answer, three times in a row.
            ReplyShapeError: An answer that cannot be read.
            ClientClosedError, ConfigError: The client is not open here.
        Cancellation: Ends the call.
        """
        self._check()
        transport = self._transport
        assert transport is not None
        for attempt in range(1, _CREDITS_ATTEMPTS + 1):
            last = attempt == _CREDITS_ATTEMPTS
            try:
                reply = await transport.poll("/v1/credits")
            except TransportError:
                if last:
                    raise
            else:
                if reply.status_code < 500 or last:
                    return _credits_of(reply)
            await asyncio.sleep(_CREDITS_PAUSE_S * attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of queue, slots and counts. Works on a closed client as well.

        Raises:
            ClientClosedError: The client was never opened.
        """
        if self._scheduler is None:
            raise ClientClosedError("the client is not open: use `async with`, or await open()")
        return self._scheduler.statistics()

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is queued or in flight; True if so.

        Args:
            timeout: Seconds; None: not bounded by the caller.
        Raises:
            ClientClosedError, ConfigError: The client is not open here.
        Cancellation: Ends this wait and nothing else.
        """
        return await self._check().drain(check_timeout(timeout))

    def _handle_of(self, entry: Entry) -> TaskHandle:
        assert self._scheduler is not None
        known = entry.handle() if entry.handle is not None else None
        return known if known is not None else TaskHandle(entry, self._scheduler)

    def _deadline(self, timeout: float | None) -> float | None:
        assert self._loop is not None
        return None if (checked := check_timeout(timeout)) is None else self._loop.time() + checked

    def __repr__(self) -> str:
        if self._scheduler is None:
            return f"<AsyncBFL {self._base_url} {self._state}>"
        now = self._scheduler.statistics()
        return (
            f"<AsyncBFL {self._base_url} {self._state}: {now.queued} queued, {now.submitting} submitting, "
            f"{now.active} active, {now.slots_taken} slots taken>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be pickled: it holds a key, connections and an event loop")


def _request(request_or_model: ImageRequest | str, fields: dict[str, object]) -> ImageRequest:
    if isinstance(request_or_model, str):
        return request(request_or_model, **fields)
    if fields:
        names = ", ".join(fields)
        raise InvalidRequestError(
            f"fields go with a model's name, not with a request: {names}",
            errors=[(name, "given beside a request") for name in fields],
        )
    return as_request(request_or_model)


async def _wait_all(
    entries: list[Entry], deadline: float | None, scheduler: Scheduler, *, stop_at_error: bool
) -> None:
    """Wait for all entries; with `stop_at_error` raise the first error as it comes."""
    loop = asyncio.get_running_loop()
    left = sum(entry.settlement is None for entry in entries)
    failed: list[Entry] = []
    waiter: asyncio.Future[None] = loop.create_future()

    def settled(entry: Entry) -> None:
        nonlocal left
        left -= 1
        if entry.result is None:
            failed.append(entry)
            if stop_at_error and len(failed) == 1:
                # In the step of the failure itself: the slot that it frees is not for the next one of us.
                for other in entries:
                    if other.settlement is None:
                        scheduler.leave(other)
        if (left == 0 or (failed and stop_at_error)) and not waiter.done():
            waiter.set_result(None)

    for entry in entries:
        if entry.settlement is None:
            entry.callbacks[settled] = None
        elif entry.result is None:
            failed.append(entry)
    if left == 0 or (failed and stop_at_error):
        waiter.set_result(None)

    def timed_out() -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if deadline is None else loop.call_at(deadline, timed_out)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
    if stop_at_error:
        if failed:
            failed[0].value()
        if left:
            raise next(entry for entry in entries if entry.settlement is None).timeout_error()


def _value(entry: Entry | BFLError, scheduler: Scheduler) -> Result | BFLError:
    if isinstance(entry, BFLError):
        return entry
    if entry.settlement is None:
        error = entry.timeout_error()
        scheduler.leave(entry)
        return error
    failed = entry.error()
    if failed is not None:
        return failed
    assert entry.result is not None
    return entry.result


def _result(entry: Entry | BFLError) -> Result:
    assert isinstance(entry, Entry)
    return entry.value()


def _credits_of(reply: Reply) -> float:
    if not 200 <= reply.status_code < 300:
        raise status_error(reply, what="the question for credits", now=time.time())
    data = json_object(reply.body)
    balance = None if data is None else data.get("credits")
    if isinstance(balance, bool) or not isinstance(balance, int | float):
        raise ReplyShapeError(
            "the answer to the question for credits cannot be read", body=body_text(reply.body)
        )
    return float(balance)
