"""`AsyncBFL`: the public face. It checks, hands over to the scheduler, and waits.

The calls that make one task are in `request_calls.py`, those about the account in `account_calls.py`. Opening and
closing are in `life.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, cast, overload

from bfl_async import client
from bfl_async._config import (
    Budget,
    KeyFunction,
    Limits,
    Timeouts,
    check_timeout,
    limits_from,
)
from bfl_async.client import opening
from bfl_async.client.account_calls import AccountCalls
from bfl_async.client.life import Life
from bfl_async.client.request_calls import RequestCalls
from bfl_async.errors import (
    BFLError,
    ConfigError,
)
from bfl_async.models import ImageRequest, as_request
from bfl_async.polling.policies import Adaptive
from bfl_async.polling.protocol import traits_of
from bfl_async.runtime.secrets import conceal
from bfl_async.transport.options import check_headers, check_query
from bfl_async.transport.proxies import check_proxy

if TYPE_CHECKING:
    import aiohttp

    from bfl_async.client.stream import OutcomeStream
    from bfl_async.models.known import Catalog
    from bfl_async.polling.protocol import Polling
    from bfl_async.protocols.limiter import Limiter
    from bfl_async.protocols.observer import Observer
    from bfl_async.protocols.transport import Transport
    from bfl_async.protocols.webhook import Webhook
    from bfl_async.results.result import Result
    from bfl_async.types.common import JSON
    from bfl_async.types.lifecycle import Estimate
    from bfl_async.types.statistics import Statistics


class AsyncBFL(RequestCalls, AccountCalls):
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
        base_url: The API; None: `BFL_BASE_URL`, else `https://api.bfl.ai`. "eu" and "us" are the regions. A `/v1` at
            its end is left out, since each call has it.
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
        catalog: The models that calls may name: `bfl_async.catalog.load(path)` adds those of BFL's OpenAPI file that
            are newer than this release. None: the release's.
        transport: Carries the HTTP calls; None: aiohttp.
        session: A session to use, which is never closed here. It should drop connections that idle for 15 s,
            as ours does: a submit on a stale connection ends as `AmbiguousSubmitError`.
        default_headers: Sent along wherever the key is sent, and not with downloads; taken for as secret as the key.
            Headers that make the exchange itself, such as `x-key`, `Host` and `Content-*`, are not for them to set.
        query: Parameters that are added to the URL of each call to the base URL, such as `{"api-version": "preview"}`;
            not to a polling URL that the server names, or a result's. As secret as the key.
        trusted_hosts: Hosts that may be sent the key and `default_headers` as well: `api.example`, `api.example:8443`,
            or `*.example.com` for all names below a domain; over https. The base URL's own origin always may, and
            `bfl.ai` with its subdomains unless the base URL is another company's.
        proxy: `http[s]://[user:password@]host[:port]` for all calls but those to this machine. None: the
            environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), checked when the client opens.
        account: Any name for the account, the same in each process that shares it; None: the key is the name.
            A shared limiter needs one where keys rotate.
        allow_http: Let `base_url` be plain http on another machine: the key then travels unencrypted.
    Raises:
        ConfigError: A value is wrong or the key is missing. No I/O is done here and no loop is needed.
    """

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
        catalog: Catalog | None = None,
        transport: Transport | None = None,
        session: aiohttp.ClientSession | None = None,
        default_headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        trusted_hosts: Iterable[str] = (),
        proxy: str | None = None,
        account: str | None = None,
        allow_http: bool = False,
    ) -> None:
        # An error passes through this frame, and tracebacks may show local variables.
        api_key = cast("str | KeyFunction | None", conceal(api_key))
        proxy, base_url = cast("str | None", conceal(proxy)), cast("str | None", conceal(base_url))
        default_headers, query = (opening.conceal_headers(each) for each in (default_headers, query))
        # In this order: the first argument that is wrong is the one that is reported.
        opening.check_connections(transport, session, proxy, default_headers, query, trusted_hosts)
        settings = opening.Settings(
            transport=transport,
            limiter=limiter,
            base_url=opening.usable_base_url(base_url, allow_http=allow_http),
            key=(key := opening.usable_key(api_key, transport)),
            session=opening.usable_session(session),
            headers=None if default_headers is None else check_headers(default_headers),
            query="" if query is None else check_query(query),
            trusted=opening.usable_hosts(trusted_hosts),
            proxy=None if proxy is None else check_proxy(proxy),
            limits=limits_from(limits),
            account=opening.usable_account(account, key, limiter),
            timeouts=opening.usable_timeouts(timeouts),
            budget=opening.usable_budget(budget),
            observer=opening.usable_observer(observer),
            webhook=opening.usable_webhook(webhook),
            catalog=opening.usable_catalog(catalog),
            polling=(policy := polling if polling is not None else Adaptive()),
            traits=traits_of(policy),
        )
        # Shared with the client's views: of its state nothing is kept here.
        self._life: Life = Life(settings)

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
        await self._life.open()
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
        await self._life.aclose(drain)

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
        scheduler = self._life.check()
        if window is None:
            window = 2 * opening.slots_of(self._life.settings, self._life.limiter)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"stream: window must be a whole number from 1 up, not {window!r}")
        client.check_many(requests)
        return client.open_stream(
            scheduler,
            requests,
            ordered=ordered,
            priority=self._rank(priority, 10),
            window=window,
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
        scheduler = self._life.check()
        checked = client.checked_requests(requests, return_exceptions=return_exceptions)
        return await client.run_together(
            scheduler,
            checked,
            return_exceptions=return_exceptions,
            priority=self._rank(priority),
            deadline=self._deadline(timeout),
        )

    # --- the client itself ---------------------------------------------------------------------------------

    def estimate(self, request: ImageRequest) -> Estimate:
        """Return what a request will cost, as far as it can be known before it is sent. Needs no open client.

        Of images and videos that are given as files the headers are read, to know their sizes.

        Raises:
            InvalidRequestError: It is no request.
        """
        return client.estimate(as_request(request))

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of queue, slots and counts. Works on a closed client as well.

        Raises:
            ClientClosedError: The client was never opened.
        """
        return self._life.opened().statistics()

    def timings(self) -> dict[str, JSON]:
        """Return what was learnt of the models' times, as values of JSON: `Adaptive(timings=...)` starts with it.

        Works on a closed client as well.

        Raises:
            ClientClosedError: The client was never opened.
        """
        return self._life.opened().timings.to_dict()

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
        return await self._life.check().drain(check_timeout(timeout))

    def __repr__(self) -> str:
        if "_life" not in self.__dict__:
            # Its constructor failed, and a traceback with local variables shows it.
            return f"<{type(self).__name__}>"
        return repr(self._life)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client cannot be pickled or copied: it holds a key, connections and an event loop; make one in each "
            "process, and use with_options() for other defaults"
        )


class _View(AsyncBFL):
    """A client with other defaults for its calls, which shares the life of the client."""

    def __init__(self, viewed: AsyncBFL, timeout: float | None, priority: int | None) -> None:
        self._client = viewed
        self._life = viewed._life
        self._usual_timeout = timeout
        self._usual_priority = priority

    # What a subclass of the client added.
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
