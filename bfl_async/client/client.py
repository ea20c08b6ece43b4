"""`AsyncBFL`: the public face. It checks, hands over to the scheduler, and waits."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import threading
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypeVar, cast, overload

from bfl_async._config import (
    ACCOUNT,
    Budget,
    KeyFunction,
    Limits,
    Timeouts,
    account_hash,
    check_headers,
    check_proxy,
    check_session,
    check_timeout,
    limits_from,
    resolve_base_url,
    resolve_key,
)
from bfl_async._version import __version__
from bfl_async.client.gather import result_of, value_of, wait_all
from bfl_async.client.handle import TaskHandle
from bfl_async.client.stream import OutcomeStream, open_stream, refill_of
from bfl_async.engine.entry import Entry
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import (
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    InvalidRequestError,
    TransportError,
)
from bfl_async.limiter.local import LocalLimiter
from bfl_async.models import ImageRequest, as_request, check_model_name, endpoint_request, request
from bfl_async.polling.book import TimingsBook
from bfl_async.polling.policies import Adaptive, Fixed, Polling
from bfl_async.protocols.limiter import AccountLimiter, Limiter
from bfl_async.protocols.observer import Observer
from bfl_async.protocols.transport import Transport
from bfl_async.protocols.webhook import Webhook
from bfl_async.results.result import Result
from bfl_async.runtime.cancellation import shielded
from bfl_async.runtime.secrets import conceal
from bfl_async.runtime.tasks import check_loop, new_task
from bfl_async.transport.guard import origin_of
from bfl_async.types.common import JSON
from bfl_async.types.lifecycle import Estimate
from bfl_async.types.replies import Reply
from bfl_async.types.statistics import Statistics

if TYPE_CHECKING:
    import aiohttp

    from bfl_async.client._overloads import Calls, NowaitCalls
    from bfl_async.client.account import DeletedFinetune, Finetune, UsageReport
    from bfl_async.transport.http import HTTPTransport

Answer = TypeVar("Answer")

_LEAST_CONNECTIONS = 100


# What type checkers and editors see of these calls: one overload a model, generated into _overloads.py.
def typed(method: Callable[..., Answer]) -> Calls[Answer]:
    """Give `generate` or `submit` its typed face."""
    return cast("Calls[Answer]", method)


def typed_nowait(method: Callable[..., Answer]) -> NowaitCalls[Answer]:
    """Give `submit_nowait` its typed face."""
    return cast("NowaitCalls[Answer]", method)


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
        api_key: The key; None: `BFL_API_KEY`. For keys that rotate a function, plain or async, that returns the
            key: it is called before each call that carries it and must not block. While it fails, nothing is
            sent; that counts as a connection that could not be made.
        base_url: The API; None: `BFL_BASE_URL`, else `https://api.bfl.ai`. "eu" and "us" are the regions.
        limits: Active tasks that the account may have, or `Limits` with pools and bounds.
        limiter: Who grants slots; None: one of this client's own, made from `limits`. Clients that share an
            account in one process share one limiter, whose limits then count instead of `limits`. For several
            processes there are `RedisLimiter` and `FileLimiter`. The client opens it; who made it closes it.
        polling: When polls are sent; None: `Adaptive()`, which learns each model's times. `Fixed(0.5)` is the
            interval of BFL's guide.
        timeouts: See `Timeouts`.
        budget: What may be spent from the opening on; None: no cap.
        observer: Is told what happens to each request, see `bfl_async.events`; None: nothing is told or made.
        webhook: Where the server delivers finished tasks, such as `bfl_async.webhooks.WebhookReceiver`. None:
            tasks are polled. With one they are polled slowly besides: a delivery that is lost costs time only.
        transport: Carries the HTTP calls; None: aiohttp.
        session: A session to use, which is never closed here. It should drop connections that idle for 15 s,
            as ours does: a submit on a stale connection ends as `AmbiguousSubmitError`.
        default_headers: Sent along wherever the key is sent, and not with downloads; taken for as secret as the key.
            Headers that make the exchange itself, such as `x-key`, `Host` and `Content-*`, are not for them to set.
        proxy: `http[s]://[user:password@]host[:port]` for all calls but those to this machine. None: the
            environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), checked when the client opens.
        account: Any name for the account, the same in each process that shares it; None: the key is the name.
            A shared limiter needs one where keys rotate.
        allow_http: Let `base_url` be plain http on another machine: the key then travels unencrypted.
    Raises:
        ConfigError: A value is wrong or the key is missing. No I/O is done here and no loop is needed.
    """

    _usual_timeout: float | None = None  # of calls that state none; see with_options()
    _usual_priority: int | None = None

    def __init__(
        self,
        api_key: str | KeyFunction | None = None,
        *,
        base_url: str | None = None,
        limits: int | Limits = 12,
        limiter: Limiter | None = None,
        polling: Polling | None = None,
        timeouts: Timeouts | None = None,
        budget: Budget | None = None,
        observer: Observer | None = None,
        webhook: Webhook | None = None,
        transport: Transport | None = None,
        session: aiohttp.ClientSession | None = None,
        default_headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        account: str | None = None,
        allow_http: bool = False,
    ) -> None:
        # An error passes through this frame, and tracebacks may show local variables.
        api_key = cast("str | KeyFunction | None", conceal(api_key))
        proxy = cast("str | None", conceal(proxy))
        base_url = cast("str | None", conceal(base_url))
        if isinstance(default_headers, Mapping):
            default_headers = {name: cast("str", conceal(value)) for name, value in default_headers.items()}
        self._state: Literal["new", "open", "closing", "closed"] = "new"
        if transport is not None and any(given is not None for given in (session, proxy, default_headers)):
            raise ConfigError(
                "transport= goes with none of session=, proxy=, default_headers=: it has its own connections"
            )
        if session is not None and proxy is not None:
            raise ConfigError("pass session= or proxy=, not both: ClientSession(proxy=...) has its own")
        self._base_url = resolve_base_url(base_url, allow_http=allow_http)
        if origin_of(self._base_url) is None:
            raise ConfigError("base_url names a host that cannot be read: use https://host[:port]")
        self._key: str | KeyFunction = ""
        if transport is None:
            self._key = api_key if callable(api_key) else resolve_key(api_key)
        if session is not None:
            check_session(session)
        self._headers = None if default_headers is None else check_headers(default_headers)
        self._proxy = None if proxy is None else check_proxy(proxy)
        self._limits = limits_from(limits)
        self._limiter: Limiter = LocalLimiter(self._limits) if limiter is None else limiter
        self._owns_limiter = limiter is None
        if account is not None and (not isinstance(account, str) or not account):
            raise ConfigError("account takes a name for the account: a text that is not empty")
        if account is None and callable(self._key) and isinstance(self._limiter, AccountLimiter):
            raise ConfigError(
                "a shared limiter must know the account, and keys that rotate do not name it: pass account='...', "
                "the same in every process"
            )
        self._account = account
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        if not isinstance(self._timeouts, Timeouts):
            raise ConfigError(f"timeouts takes Timeouts(...), not {timeouts!r}")
        if budget is not None and not isinstance(budget, Budget):
            raise ConfigError(f"budget takes Budget(usd=...), not {budget!r}")
        self._budget = budget
        told = getattr(observer, "on_event", None)
        if observer is not None and (not callable(told) or inspect.iscoroutinefunction(told)):
            raise ConfigError(
                f"observer takes an object with a method on_event(event) that is no coroutine function, not "
                f"{type(observer).__name__}"
            )
        self._observer = observer
        if webhook is not None and not callable(getattr(webhook, "expect", None)):
            raise ConfigError(f"webhook takes a WebhookReceiver(url, secret), not {type(webhook).__name__}")
        self._webhook = webhook
        self._given_transport = transport
        self._session = session
        self._polling: Polling = polling if polling is not None else Adaptive()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = self._pid = 0
        self._transport: Transport | None = None
        self._scheduler: Scheduler | None = None
        # The coroutines that open and close it, whoever waits for them. Written by open() and _wait_closed().
        self._opener: asyncio.Task[None] | None = None
        self._opening_callers = 0
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
        while self._state != "open":
            if self._state != "new":
                raise ClientClosedError("the client is closed: make a new one")
            opener = self._opener
            if opener is None or opener.done():
                opener = self._opener = new_task(self._open())
            elif opener.get_loop() is not asyncio.get_running_loop():
                raise ConfigError("the client is being opened in another event loop")
            elif opener.cancelling():
                # Those who waited for it have left. It cleans up before another one may begin.
                await asyncio.wait([opener])
                continue
            await self._wait_opened(opener)
        self._check()
        return self

    async def _wait_opened(self, opener: asyncio.Task[None]) -> None:
        """Wait for an opening that several callers may share; the last one that leaves ends it."""
        self._opening_callers += 1
        try:
            await asyncio.wait([opener])
        finally:
            self._opening_callers -= 1
            if not self._opening_callers:
                # Without effect on one that has ended.
                opener.cancel()
        if self._state == "closed":
            raise ClientClosedError("the client was closed while it was being opened: make a new one")
        if opener.cancelled():
            raise TransportError("the client could not be opened: something that it waited for was cancelled")
        error = opener.exception()
        if error is not None:
            raise error.fresh() if isinstance(error, BFLError) else error

    async def _open(self) -> None:
        """Open all parts; where one fails, those that are this client's own are closed again."""
        transport: HTTPTransport | None = None
        try:
            await self._open_limiter()
            if self._webhook is not None:
                await self._webhook.open()
            if self._given_transport is None:
                transport = self._new_transport()
                await transport.open()
            self._start(transport)
        except BaseException:
            if transport is not None:
                await transport.aclose()
            if self._owns_limiter:
                await self._limiter.aclose()
            raise

    async def _open_limiter(self) -> None:
        if isinstance(self._limiter, AccountLimiter):
            name = self._account if self._account is not None else self._key
            assert isinstance(name, str)
            self._limiter.use_account(account_hash(name, self._base_url))
        await self._limiter.open()

    def _new_transport(self) -> HTTPTransport:
        from bfl_async.transport.http import HTTPTransport, user_agent

        # The limiter that was given knows the account's limit; `limits` is then not used.
        pool = self._limiter.statistics().get(ACCOUNT)
        limit = self._limits.account if pool is None else pool.limit
        return HTTPTransport(
            key=self._key,
            base_url=self._base_url,
            timeouts=self._timeouts,
            connections=max(_LEAST_CONNECTIONS, 4 * limit),
            agent=user_agent(__version__),
            session=self._session,
            headers=self._headers,
            proxy=self._proxy,
        )

    def _start(self, made: HTTPTransport | None) -> None:
        """Bind to the running loop and begin to take requests. Synchronous: nothing can come between."""
        transport = self._given_transport if made is None else made
        assert transport is not None
        purse = None
        if self._budget is not None:
            from bfl_async.engine.budget import Purse

            purse = Purse(self._budget)
        reporter = None
        if self._observer is not None:
            from bfl_async.engine.reporter import Reporter

            reporter = Reporter(self._observer, self._limiter)
        self._transport = transport
        adaptive = self._polling if isinstance(self._polling, Adaptive) else None
        self._scheduler = Scheduler(
            transport=transport,
            limiter=self._limiter,
            polling=self._polling,
            max_polls_per_s=adaptive.max_polls_per_s if adaptive else None,
            polls_together=adaptive is not None,  # who chose moments of their own gets these
            timings=TimingsBook(
                adaptive.timings if adaptive else None,
                # A fixed interval asks nothing of what could be learnt; what predicts ends does.
                learns=not isinstance(self._polling, Fixed) or self._limits.overlap is not None,
            ),
            timeouts=self._timeouts,
            # A transport from outside may have no timeouts of its own.
            submit_s=None
            if self._given_transport is None
            else self._timeouts.connect + self._timeouts.reply + 5.0,
            longest_poll_s=None if made is None else made.longest_poll_s,
            unknown_s=self._limits.unknown_s,
            overlap=self._limits.overlap,
            queue=self._limits.queue,
            webhook=self._webhook,
            rng=random.Random(),
            purse=purse,
            reporter=reporter,
        )
        self._loop = asyncio.get_running_loop()
        self._thread, self._pid = threading.get_ident(), os.getpid()
        self._state = "open"

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
        if self._scheduler is None:
            opener = self._opener
            if opener is not None and not opener.done():
                check_loop(opener.get_loop(), "the client")
            self._state = "closed"
            if opener is not None and not opener.done():
                opener.cancel()
                with shielded():
                    await asyncio.wait([opener])
            return
        if self._state == "closed" and (self._closer is None or self._closer.done()):
            return
        self._check_place()
        if self._closer is None:
            self._state = "closing"
            try:
                # From here on nothing new is taken in, by whatever way: what drains must come to an end.
                self._scheduler.stop_admission()
                drain = check_timeout(drain)
                if drain is None or drain > 0:
                    self._scheduler.rely_on_polls()
                    await self._scheduler.drain(drain)
            finally:
                await self._wait_closed()
        else:
            await self._wait_closed()

    async def _wait_closed(self) -> None:
        assert self._scheduler is not None
        if self._closer is None:
            self._scheduler.begin_close()
            self._closer = new_task(self._close())
        if self._scheduler.owns(asyncio.current_task()):
            return  # called by a stream's source: the closing waits for that coroutine, and not the reverse
        cancelled: asyncio.CancelledError | None = None
        with shielded():
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
            try:
                if self._given_transport is None:
                    await self._transport.aclose()
            finally:
                if self._owns_limiter:
                    await self._limiter.aclose()

    def __del__(self) -> None:
        # Without one, the constructor was not even called.
        if self.__dict__.get("_state") in ("open", "closing"):
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

    @typed_nowait
    def submit_nowait(
        self, request_or_model: ImageRequest | str, /, *, priority: int | None = None, **fields: object
    ) -> TaskHandle:
        """Queue one request and return its handle at once; `.task_id` is None until it is accepted.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            priority: Lower goes first, strictly: a steady stream of urgent requests starves later ones. None: 0.
            fields: The model's fields, where a name was given.
        Raises:
            InvalidRequestError: The request fails its local checks.
            QueueFullError: As many requests are waiting as `Limits.queue` allows.
            BudgetExceededError: The request could cost more than the budget has left.
            ClientClosedError, ConfigError: The client is not open here.
        """
        scheduler = self._check()
        return self._handle_of(
            scheduler.admit(_request(request_or_model, fields), priority=self._rank(priority))
        )

    @typed
    async def submit(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        **fields: object,
    ) -> TaskHandle:
        """Send one request and return its handle once the server has accepted it.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for the slot and the reply together; None: not bounded by the caller.
            priority: Lower goes first. None: 0.
            fields: The model's fields, where a name was given.
        Raises:
            TaskTimeoutError: The timeout ended first; `.state` says whether anything was sent.
            RefusedError: The server refused: no task exists. `InvalidRequestError` also for local checks.
            AmbiguousSubmitError: The answer was lost: a task may exist and be paid.
            ConnectError: No connection could be made; nothing was sent.
            QueueFullError, BudgetExceededError, ClientClosedError, ConfigError: See `submit_nowait`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained:
            its slot stays taken until the server settles it.
        """
        self._check()
        return self._handle_of(await self._send(_request(request_or_model, fields), timeout, priority))

    async def _send(
        self,
        request: ImageRequest,
        timeout: float | None,
        priority: int | None,
        *,
        any_endpoint: bool = False,
    ) -> Entry:
        """Admit a request and wait until the server has answered its submit; a refusal is raised."""
        scheduler = self._check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(
            request, priority=self._rank(priority), deadline=deadline, any_endpoint=any_endpoint
        )
        try:
            await entry.wait_changed(
                lambda: entry.task_id is not None or entry.settlement is not None, deadline
            )
        except BaseException:
            scheduler.leave(entry)
            raise
        if entry.task_id is None and (error := entry.error()) is not None:
            raise error
        return entry

    @typed
    async def generate(
        self,
        request_or_model: ImageRequest | str,
        /,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        **fields: object,
    ) -> Result:
        """Send one request and return its result.

        Check a model's name that a user of your application supplies against `CATALOG` first: names of models that
        this release does not know are sent as they are. What makes no image or video is refused. Fields of a user are
        to be checked as well: `webhook_url` says where the result goes, and `user` in whose name it is made.

        Args:
            request_or_model: A request, or a model's name with the fields as keywords.
            timeout: Seconds for everything; None: not bounded by the caller. Following the task has a deadline
                of its own, `Timeouts.task`.
            priority: Lower goes first. None: 0.
            fields: The model's fields, where a name was given.
        Raises:
            TaskModeratedError, TaskFailedError, TaskNotFoundError, UntrustedURLError: How the task ended.
            TaskTimeoutError: The timeout or the task's deadline ended first. A task goes on and can be attached.
            RefusedError, AmbiguousSubmitError, ConnectError, QueueFullError, BudgetExceededError,
            ClientClosedError, ConfigError: See `submit`.
        Cancellation: While queued, the request is withdrawn. Later, the POST ends and the task is drained.
        """
        scheduler = self._check()
        deadline = self._deadline(timeout)
        entry = scheduler.admit(
            _request(request_or_model, fields), priority=self._rank(priority), deadline=deadline
        )
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
        priority: int | None = None,
        window: int | None = None,
        timeout: float | None = None,
    ) -> OutcomeStream:
        """Run many requests; yield exactly one `Outcome` for each, as they complete.

        Args:
            requests: Any iterable or async iterable, read lazily.
            ordered: Yield in input order instead.
            priority: Lower goes first. None: 10, so that a stream stands behind single requests.
            window: At most so many requests are read and not yet handed out; None: twice the slots.
            timeout: Seconds for each item from when it is read; None: not bounded.
        Raises:
            ClientClosedError, ConfigError: The client is not open here, or `window` is not positive.
        """
        scheduler = self._check()
        refill = 1  # a window of the caller's choice is kept full
        if window is None:
            pool = self._limiter.statistics().get(ACCOUNT)
            window = 2 * (self._limits.account if pool is None else pool.limit)
            refill = refill_of(window)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"stream: window must be a whole number from 1 up, not {window!r}")
        check_many(requests)
        return open_stream(
            scheduler,
            requests,
            ordered=ordered,
            priority=self._rank(priority, 10),
            window=window,
            refill=refill,
            timeout=check_timeout(self._bound(timeout)),
            make_handle=self._handle_of,
        )

    @overload
    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: Literal[False] = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result]: ...

    @overload
    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result | BFLError]: ...

    async def gather(
        self,
        requests: Iterable[ImageRequest],
        *,
        return_exceptions: bool = False,
        priority: int | None = None,
        timeout: float | None = None,
    ) -> list[Result] | list[Result | BFLError]:
        """Run requests together; return their results in input order.

        Args:
            requests: All are taken in at once; for more than some thousands use `stream`.
            return_exceptions: Put errors in their places instead of raising the first.
            priority: Lower goes first. None: 0.
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
                    entries.append(scheduler.admit(one, priority=self._rank(priority), deadline=deadline))
                except BFLError as exc:  # the queue is full
                    if not return_exceptions:
                        raise
                    entries.append(exc)
            waiting = [entry for entry in entries if isinstance(entry, Entry)]
            await wait_all(waiting, deadline, scheduler, stop_at_error=not return_exceptions)
            return [
                value_of(entry, scheduler) if return_exceptions else result_of(entry) for entry in entries
            ]
        except BaseException:
            for entry in entries:
                if isinstance(entry, Entry):
                    scheduler.leave(entry)
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
        with _loading():
            from bfl_async.client import account as _account

        return await _account.credits(self._calls())

    async def finetunes(self) -> list[Finetune]:
        """Ask for the account's finetunes.

        Raises:
            BFLError: As `credits`.
        Cancellation: Ends the call.
        """
        with _loading():
            from bfl_async.client import account as _account

        return await _account.finetunes(self._calls())

    async def finetune_details(self, finetune_id: str) -> Finetune:
        """Ask what is known of one finetune.

        Raises:
            InvalidRequestError: The id is empty.
            BFLError: As `credits`.
        Cancellation: Ends the call.
        """
        with _loading():
            from bfl_async.client import account as _account

        return await _account.finetune_details(self._calls(), finetune_id)

    async def delete_finetune(self, finetune_id: str) -> DeletedFinetune:
        """Delete a finetune. It is asked for once: when the answer is lost, look at `finetunes()`.

        Raises:
            InvalidRequestError: The id is empty.
            ConnectError: No connection could be made, three times in a row; nothing was sent.
            ReplyTimeoutError, TransportError: The answer was lost: it may be deleted.
            BFLError: Else as `credits`.
        Cancellation: Ends the call; whether it was deleted is then unknown.
        """
        with _loading():
            from bfl_async.client import account as _account

        return await _account.delete_finetune(self._calls(), finetune_id)

    async def report_usage(self, model_slug: str, generations: int = 1) -> UsageReport:
        """Report the use of a licensed model that runs on your own machines. It is sent once.

        Args:
            model_slug: The license's name for the model, such as `flux-1-dev`.
            generations: How many images were made, from 1.
        Raises:
            InvalidRequestError: A value is wrong, or the server supports no such model.
            AuthenticationError: The account has not licensed the model.
            ConnectError: No connection could be made, three times in a row; nothing was sent.
            ReplyTimeoutError, TransportError: The answer was lost: it may be counted.
            BFLError: Else as `credits`.
        Cancellation: Ends the call; whether it was counted is then unknown.
        """
        with _loading():
            from bfl_async.client import account as _account

        return await _account.report_usage(self._calls(), model_slug, generations)

    # --- endpoints that this release does not know --------------------------------------------------------

    async def get(self, path: str, *, timeout: float | None = None) -> Reply:
        """Ask the API a question that this release has no method for. It changes nothing, so it is repeated.

        Args:
            path: Of the API, such as `/v1/credits`; a query is quoted by the caller.
            timeout: Seconds for all attempts together; None: not bounded by the caller.
        Raises:
            InvalidRequestError: The path is none of the API's; nothing was sent.
            BFLError: As `credits`, where the answer is not 2xx or none came.
        Cancellation: Ends the call.
        """
        with _loading():
            from bfl_async.client import account as _account

        return await _account.get(self._calls(), path, check_timeout(self._bound(timeout)))

    async def post(
        self,
        path: str,
        *,
        json: Mapping[str, JSON] | None = None,
        timeout: float | None = None,
        priority: int | None = None,
    ) -> Reply:
        """POST to an endpoint that this release has no method or model for, by the rules of a submit.

        It waits for a slot, is repeated only where it is certain that nothing was sent or taken, and has the pools
        of the model that the path names. A reply with an id and a polling URL tells of a task: the slot stays taken
        until that task ends, and `attach(id)` gives its handle. Any other reply frees the slot.

        Args:
            path: Of the API, such as `/v1/flux-new-model`.
            json: The body; None: an empty object.
            timeout: Seconds for the slot and the reply together; None: not bounded by the caller.
            priority: Lower goes first. None: 0.
        Raises:
            InvalidRequestError: The path or the body is none; nothing was sent. Or the server said so.
            AmbiguousSubmitError: The answer was lost, or is no JSON: it may have been taken, a task may exist.
            BFLError: Else as `submit`.
        Cancellation: As `submit`.
        """
        self._check()
        request = endpoint_request(path, {} if json is None else json)
        entry = await self._send(request, timeout, priority, any_endpoint=True)
        assert entry.submit_reply is not None
        return entry.submit_reply

    def _calls(self) -> Transport:
        self._check()
        assert self._transport is not None
        return self._transport

    def estimate(self, request: ImageRequest) -> Estimate:
        """Return what a request will cost, as far as it can be known before it is sent. Needs no open client.

        Of images and videos that are given as files the headers are read, to know their sizes.

        Raises:
            InvalidRequestError: It is no request.
        """
        with _loading():
            from bfl_async.models.pricing import estimate

        return estimate(as_request(request))

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of queue, slots and counts. Works on a closed client as well.

        Raises:
            ClientClosedError: The client was never opened.
        """
        if self._scheduler is None:
            raise ClientClosedError("the client is not open: use `async with`, or await open()")
        return self._scheduler.statistics()

    def timings(self) -> dict[str, JSON]:
        """Return what was learnt of the models' times, as values of JSON: `Adaptive(timings=...)` starts with it.

        Works on a closed client as well.

        Raises:
            ClientClosedError: The client was never opened.
        """
        if self._scheduler is None:
            raise ClientClosedError("the client is not open: use `async with`, or await open()")
        return self._scheduler.timings.to_dict()

    def with_options(self, *, timeout: float | None = None, priority: int | None = None) -> AsyncBFL:
        """Return a view of this client whose calls have other defaults: same slots, connections and state.

        A view costs nothing, may be made before the client is opened, and has views of its own, which keep what
        they do not change. It is opened and closed with the client.

        Args:
            timeout: Seconds, for each call that has such a parameter and states none. `math.inf`: no bound.
            priority: For each call that has such a parameter and states none.
        Raises:
            ConfigError: A value is wrong.
        """
        check_timeout(timeout)
        if priority is not None and not isinstance(priority, int):
            raise ConfigError(f"priority must be a whole number, not {priority!r}")
        return _View(
            self._client if isinstance(self, _View) else self,
            self._bound(timeout),
            self._usual_priority if priority is None else priority,
        )

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
        return known if isinstance(known, TaskHandle) else TaskHandle(entry, self._scheduler)

    def _deadline(self, timeout: float | None) -> float | None:
        assert self._loop is not None
        checked = check_timeout(self._bound(timeout))
        return None if checked is None else self._loop.time() + checked

    def _bound(self, timeout: float | None) -> float | None:
        return self._usual_timeout if timeout is None else timeout

    def _rank(self, priority: int | None, usual: int = 0) -> int:
        if priority is not None:
            return priority
        return usual if self._usual_priority is None else self._usual_priority

    def __repr__(self) -> str:
        if "_scheduler" not in self.__dict__:
            # Its constructor failed, and a traceback with local variables shows it.
            return f"<{type(self).__name__}>"
        if self._scheduler is None:
            return f"<AsyncBFL {self._base_url} {self._state}>"
        now = self._scheduler.statistics()
        return (
            f"<AsyncBFL {self._base_url} {self._state}: {now.queued} queued, {now.submitting} submitting, "
            f"{now.active} active, {now.slots_taken} slots taken>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client cannot be pickled or copied: it holds a key, connections and an event loop; make one in each "
            "process, and use with_options() for other defaults"
        )


class _View(AsyncBFL):
    """A client with other defaults for its calls; all else is the client's own, whatever it has become."""

    def __init__(self, client: AsyncBFL, timeout: float | None, priority: int | None) -> None:
        self._client = client
        self._usual_timeout = timeout
        self._usual_priority = priority

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    async def open(self) -> Self:
        """Refuse: the client is opened, and its views with it."""
        raise ConfigError("a view of with_options() is opened with its client: use `async with` on that")

    async def aclose(self, *, drain: float | None = 0.0) -> None:  # noqa: ARG002 - the client's signature
        """Refuse: the client is closed, and its views with it."""
        raise ConfigError("a view of with_options() is closed with its client")

    def __repr__(self) -> str:
        return f"<view of {self._client!r}: timeout={self._usual_timeout}, priority={self._usual_priority}>"

    def __del__(self) -> None:
        """Do nothing: the client tells when it was not closed."""


@contextmanager
def _loading() -> Iterator[None]:
    """Let what goes wrong while a module of ours is loaded on first use end in an error of ours."""
    try:
        yield
    except OSError as exc:
        raise ConnectError(f"a part of bfl_async could not be loaded: {exc}; nothing was sent") from exc


def check_many(requests: object) -> None:
    """Check that these can be the requests of a stream.

    Raises:
        ConfigError: They are one, or something else.
    """
    if isinstance(requests, str | bytes | Mapping | ImageRequest) or not isinstance(
        requests, Iterable | AsyncIterable
    ):
        raise ConfigError("stream takes an iterable of requests, such as [request('flux-dev', prompt=...)]")


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
