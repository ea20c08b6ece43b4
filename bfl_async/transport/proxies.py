"""The proxy of each call: ours, else the environment's, found once per origin."""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from urllib.parse import unquote, urlsplit

from bfl_async._config import is_loopback
from bfl_async.errors import ConfigError
from bfl_async.runtime.secrets import Secret
from bfl_async.transport.guard import Origin, origin_of

# Origins whose proxy is kept.
_MAX_ORIGINS = 1_000


class Proxies:
    """Finds the proxy for a URL.

    Args:
        proxy: Takes the place of the environment's.
        session_has_own: The session is the caller's, which has its own proxies.
    """

    def __init__(self, proxy: str | None, *, session_has_own: bool) -> None:
        self._proxy = None if proxy is None else Secret(proxy)
        self._session_has_own = session_has_own
        # Written by find() only.
        self._found: dict[Origin, str | None] = {}

    def find(self, url: str) -> str | None:
        """Return the proxy for a URL: ours, else the environment's (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).

        Raises:
            ConfigError: A variable of the environment names one that cannot be used.
        """
        if self._session_has_own:
            return None
        origin = origin_of(url)
        if origin is None:
            return None
        if origin not in self._found:
            if len(self._found) >= _MAX_ORIGINS:
                self._found.clear()
            # What is on this machine stays on it: over plain http a proxy would read the key.
            if is_loopback(origin.host):
                self._found[origin] = None
            elif self._proxy is not None:
                self._found[origin] = self._proxy
            else:
                self._found[origin] = environment_proxy(origin.scheme, origin.host)
        return self._found[origin]

    def includes(self, host: str) -> bool:
        """True if one of the proxies found so far is this host."""
        proxies = [proxy for proxy in self._found.values() if proxy is not None]
        return any(urlsplit(proxy).hostname == host for proxy in proxies)


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy that the environment names for URLs of `scheme` on `host`; None if there is none.

    A host that `NO_PROXY` lists has none, nor has this machine itself: over plain http a proxy would read the key.

    Raises:
        ConfigError: The value cannot be used. The message names the variable and does not show the value.
    """
    setting = _proxy_setting(scheme)
    if setting is None or is_loopback(host):
        return None
    if urllib.request.proxy_bypass(host):
        return None
    source, value = setting
    return check_proxy(value, source)


def proxy_source(scheme: str) -> str | None:
    """Return the name of the variable that `environment_proxy` reads for `scheme`; None if none is set."""
    setting = _proxy_setting(scheme)
    return None if setting is None else setting[0]


def _proxy_setting(scheme: str) -> tuple[str, str] | None:
    """Return where the proxy for URLs of `scheme` is set, and the value. The variables are those of curl and urllib."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if (
                name == "http_proxy"
                and "REQUEST_METHOD" in os.environ
                and (variable != name or os.name == "nt")
            ):
                # In a CGI script, anyone can set HTTP_PROXY with a header called "Proxy".
                continue
            value = os.environ.get(variable)
            if value is None:
                continue
            if value.strip():
                return variable, value
            # Set but empty: there is no such proxy, whatever the variable in capitals says.
            break
    # Outside Linux the system may have settings of its own; they count if no variable is set.
    value = urllib.request.getproxies().get(scheme, "")
    return ("the system's proxy setting", value) if value.strip() else None


def check_proxy(proxy: str, source: str = "proxy") -> str:
    """Return the URL of an HTTP proxy, which may hold a user name and a password.

    A value without a scheme gets http://, as in curl.

    Args:
        source: Where the value comes from, for the message.
    Raises:
        ConfigError: The value cannot be used. It is not shown.
    """
    proxy = Secret(proxy.strip() if isinstance(proxy, str) else "")
    url = proxy if "://" in proxy else Secret(f"http://{proxy}")
    scheme = url.partition("://")[0].lower()
    if scheme.startswith("socks"):
        problem = "SOCKS is not supported (in Python, pass session= with a connector that speaks it)"
    elif scheme not in ("http", "https"):
        problem = "other schemes are not supported"
    elif not _is_proxy(url):
        problem = "this value cannot be read (special characters in a password must be percent-encoded)"
    else:
        return Secret(url)
    raise ConfigError(f"{source} takes [http[s]://][user:password@]host[:port]; {problem}")


_HOST_NAME = r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?"


def _is_proxy(url: str) -> bool:
    """Return whether a connection to the proxy can be tried with this URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        user = unquote(parts.username or "")
        # The header of HTTP's Basic scheme is written in Latin-1.
        (user + unquote(parts.password or "")).encode("latin-1")
        is_host = bool(ipaddress.IPv6Address(host)) if ":" in host else bool(re.fullmatch(_HOST_NAME, host))
    except ValueError:
        return False
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    is_plain = url.isascii() and url.isprintable() and " " not in url
    return is_host and port != 0 and ":" not in user and is_bare and is_plain
