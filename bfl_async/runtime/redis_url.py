"""What may be known of a Redis from its URL alone, without redis-py."""

from __future__ import annotations

from urllib.parse import urlsplit

from bfl_async.errors import ConfigError
from bfl_async.runtime.secrets import Secret


def host_of(url: Secret) -> str:
    """Return the host of a Redis URL, which may be shown: the URL may hold a password.

    Raises:
        ConfigError: It is not such a URL. No part of it is shown.
    """
    host = _host_in(url)
    if host is None:
        raise ConfigError("the url of Redis must begin with redis://, rediss:// or unix://")
    return host


def _host_in(url: Secret) -> str | None:
    # Apart from `host_of`, so that no frame that the error passes through holds the parts.
    try:
        parts = urlsplit(url)
        return (parts.hostname or "a socket") if parts.scheme in ("redis", "rediss", "unix") else None
    except (ValueError, TypeError, AttributeError):
        return None
