"""What every limiter does alike with a lease that it gives up on."""

from __future__ import annotations

import logging

from bfl_async.errors import LimiterError
from bfl_async.protocols.limiter import Lease

_log = logging.getLogger("bfl_async")


def fail(lease: Lease, error: LimiterError) -> None:
    """Call `on_failed`. Its owner may fail in turn; that must not keep the next lease from failing."""
    try:
        lease.on_failed(error)
    except Exception as exc:
        _log.error(
            "the owner of a lease failed when the limiter gave up on it",
            exc_info=exc,
            extra={"bfl_error": type(exc).__name__},
        )


def closed_first(limiter: object) -> LimiterError:
    """Return the error of a call that needs an open limiter, after the limiter was closed."""
    return LimiterError(
        f"the {type(limiter).__name__} was closed before its client: close it after the client, or open it again"
    )


def closed_before_grant(limiter: object) -> LimiterError:
    """Return the error of a lease that was waiting when the limiter was closed."""
    return LimiterError(f"the {type(limiter).__name__} was closed before the request had a slot")
