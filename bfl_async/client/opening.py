"""What a client is made of: its settings, checked once, and the parts that are built from them.

Nothing here does I/O or needs an event loop; `life.py` opens and closes the parts.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bfl_async import engine
from bfl_async import limiter as limiters
from bfl_async._config import (
    ACCOUNT,
    Budget,
    KeyFunction,
    Limits,
    Timeouts,
    account_hash,
    cache_folder,
    resolve_base_url,
    resolve_key,
)
from bfl_async._version import __version__
from bfl_async.engine.scheduler import Scheduler
from bfl_async.errors import ConfigError
from bfl_async.limiter.local import LocalLimiter
from bfl_async.polling.book import TimingsBook
from bfl_async.protocols.limiter import AccountLimiter, Limiter
from bfl_async.runtime.secrets import conceal
from bfl_async.transport.guard import TrustedHost, origin_of
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.transport.options import check_session

if TYPE_CHECKING:
    import aiohttp

    from bfl_async.models.known import Catalog
    from bfl_async.polling.protocol import Polling, Traits
    from bfl_async.protocols.observer import Observer
    from bfl_async.protocols.transport import Transport
    from bfl_async.protocols.webhook import Webhook

# Polls at a time that a small limit gets as well.
_LEAST_CONNECTIONS = 100
# A transport from outside may have no timeouts of its own: its submits get this long beyond those of ours.
_SUBMIT_MARGIN_S = 5.0


# The repr would show headers and the proxy.
@dataclass(slots=True, repr=False, eq=False, match_args=False, kw_only=True)
class Settings:
    """The arguments of `AsyncBFL`, each one checked. Secrets are concealed. Nothing writes to it."""

    # The application's own, or None: then the parts of ours are made.
    transport: Transport | None
    limiter: Limiter | None
    session: aiohttp.ClientSession | None

    base_url: str
    # Empty where `transport` is given, as that one has its own.
    key: str | KeyFunction
    headers: dict[str, str] | None
    # Encoded; empty where there are no parameters.
    query: str
    trusted: tuple[TrustedHost, ...]
    proxy: str | None
    account: str | None
    limits: Limits
    timeouts: Timeouts
    polling: Polling
    # Those of `polling`.
    traits: Traits
    budget: Budget | None
    observer: Observer | None
    webhook: Webhook | None
    catalog: Catalog | None


# --- checks, in the order in which `AsyncBFL.__init__` makes them ---------------------------------------


def check_connections(
    transport: object,
    session: object,
    proxy: object,
    default_headers: object,
    query: object,
    trusted_hosts: object,
) -> None:
    """Check that each setting of the connections has one owner."""
    given = (session, proxy, default_headers, query, trusted_hosts or None)
    if transport is not None and any(each is not None for each in given):
        raise ConfigError(
            "transport= goes with none of session=, proxy=, default_headers=, query= and trusted_hosts=: it has "
            "connections of its own"
        )
    if session is not None and proxy is not None:
        raise ConfigError("pass session= or proxy=, not both: ClientSession(proxy=...) has its own")


def usable_base_url(base_url: str | None, *, allow_http: bool) -> str:
    """Return the API's URL, without a slash at its end."""
    resolved = resolve_base_url(base_url, allow_http=allow_http)
    if origin_of(resolved) is None:
        raise ConfigError("base_url names a host that cannot be read: use https://host[:port]")
    return resolved


def usable_hosts(trusted_hosts: Iterable[str]) -> tuple[TrustedHost, ...]:
    """Return the hosts that may be sent the key beside the base URL's."""
    if isinstance(trusted_hosts, str | bytes) or not isinstance(trusted_hosts, Iterable):
        raise ConfigError("trusted_hosts takes a list of hosts, such as ['api.eu2.bfl.ai']")
    found: list[TrustedHost] = []
    for number, text in enumerate(trusted_hosts, 1):
        host = TrustedHost.of(text) if isinstance(text, str) else None
        if host is None:
            raise ConfigError(
                f"trusted_hosts: entry {number} is not a host: use 'api.example', 'api.example:8443' or '*.example.com'"
            )
        found.append(host)
    return tuple(found)


def usable_key(api_key: str | KeyFunction | None, transport: Transport | None) -> str | KeyFunction:
    """Return the key, or the function that returns it; an empty text where the transport has its own."""
    if transport is not None:
        return ""
    return api_key if callable(api_key) else resolve_key(api_key)


def usable_session(session: aiohttp.ClientSession | None) -> aiohttp.ClientSession | None:
    """Return the session, which must add no secret of its own."""
    if session is not None:
        check_session(session)
    return session


def usable_account(account: object, key: str | KeyFunction, limiter: Limiter | None) -> str | None:
    """Return the name of the account; a shared limiter needs one that is the same in every process."""
    if account is not None and (not isinstance(account, str) or not account):
        raise ConfigError("account takes a name for the account: a text that is not empty")
    if account is None and callable(key) and isinstance(limiter, AccountLimiter):
        raise ConfigError(
            "a shared limiter must know the account, and keys that rotate do not name it: pass account='...', "
            "the same in every process"
        )
    return account


def usable_timeouts(timeouts: Timeouts | None) -> Timeouts:
    """Return the timeouts, or those of a client that states none."""
    usable = timeouts if timeouts is not None else Timeouts()
    if not isinstance(usable, Timeouts):
        raise ConfigError(f"timeouts takes Timeouts(...), not {usable!r}")
    return usable


def usable_budget(budget: Budget | None) -> Budget | None:
    """Return the budget, if there is one."""
    if budget is not None and not isinstance(budget, Budget):
        raise ConfigError(f"budget takes Budget(usd=...), not {budget!r}")
    return budget


def usable_observer(observer: Observer | None) -> Observer | None:
    """Return the observer, whose method must be callable without an `await`."""
    on_event = getattr(observer, "on_event", None)
    if observer is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
        raise ConfigError(
            f"observer takes an object with a method on_event(event) that is no coroutine function, not "
            f"{type(observer).__name__}"
        )
    return observer


def usable_webhook(webhook: Webhook | None) -> Webhook | None:
    """Return the receiver of deliveries, if there is one."""
    if webhook is not None and not callable(getattr(webhook, "expect", None)):
        raise ConfigError(f"webhook takes a WebhookReceiver(url, secret), not {type(webhook).__name__}")
    return webhook


def usable_catalog(catalog: Catalog | None) -> Catalog | None:
    """Return the catalog, if there is one."""
    if catalog is not None and not callable(getattr(catalog, "request", None)):
        raise ConfigError(f"catalog takes bfl_async.catalog.load(path), not {type(catalog).__name__}")
    return catalog


def conceal_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return headers, or parameters of a URL, whose values no traceback shows.

    What is not a mapping is left for the check.
    """
    if not isinstance(headers, Mapping):
        return headers
    return {name: cast("str", conceal(value)) for name, value in headers.items()}


# --- parts ----------------------------------------------------------------------------------------------


def new_limiter(settings: Settings) -> Limiter:
    """Return the limiter that was given, or one of this client's own."""
    return LocalLimiter(settings.limits) if settings.limiter is None else settings.limiter


def name_account(settings: Settings, limiter: Limiter) -> None:
    """Give a shared limiter the account whose slots it grants, as a hash."""
    if isinstance(limiter, AccountLimiter):
        name = settings.account if settings.account is not None else settings.key
        assert isinstance(name, str)
        limiter.use_account(account_hash(name, settings.base_url))


def new_memory(settings: Settings, limiter: Limiter) -> limiters.Memory | None:
    """Return where it is kept what this process finds out; None if it finds out nothing or the account has no name."""
    if not isinstance(limiter, LocalLimiter) or not limiter.discovers:
        return None
    name = settings.account if settings.account is not None else settings.key
    folder = cache_folder()
    # Keys that rotate do not name the account, and a transport from outside has a key of its own.
    if not isinstance(name, str) or not name or folder is None:
        return None
    return limiters.Memory(limiters.memory_file(folder, account_hash(name, settings.base_url)), limiter)


def slots_of(settings: Settings, limiter: Limiter) -> int:
    """Return the account's limit. A limiter that was given knows it; `limits` is then not used."""
    pool = limiter.statistics().get(ACCOUNT)
    return settings.limits.first_account if pool is None else pool.limit


def new_transport(settings: Settings, limiter: Limiter) -> HTTPTransport:
    """Return a transport of this client's own, not yet open."""
    return HTTPTransport(
        key=settings.key,
        base_url=settings.base_url,
        timeouts=settings.timeouts,
        connections=max(_LEAST_CONNECTIONS, 4 * slots_of(settings, limiter)),
        agent=user_agent(__version__),
        session=settings.session,
        headers=settings.headers,
        query=settings.query,
        proxy=settings.proxy,
        trusted=settings.trusted,
    )


def new_scheduler(
    settings: Settings, limiter: Limiter, transport: Transport, longest_poll_s: float | None
) -> Scheduler:
    """Return the scheduler. Called in the loop that it serves.

    Args:
        longest_poll_s: Seconds that a poll of our own transport takes at most; None with one from outside.
    """
    timeouts = settings.timeouts
    traits = settings.traits
    return Scheduler(
        transport=transport,
        limiter=limiter,
        polling=settings.polling,
        max_polls_per_s=traits.max_polls_per_s,
        polls_together=traits.may_be_shifted,
        # Overlap predicts when tasks end, whatever the policy reads.
        timings=TimingsBook(traits.kept_timings, learns=traits.learns or settings.limits.overlap is not None),
        timeouts=timeouts,
        submit_s=None if settings.transport is None else timeouts.connect + timeouts.reply + _SUBMIT_MARGIN_S,
        longest_poll_s=longest_poll_s,
        unknown_s=settings.limits.unknown_s,
        overlap=settings.limits.overlap,
        queue=settings.limits.queue,
        webhook=settings.webhook,
        rng=random.Random(),
        purse=None if settings.budget is None else engine.Purse(settings.budget),
        reporter=None if settings.observer is None else engine.Reporter(settings.observer, limiter),
    )
