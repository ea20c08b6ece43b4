"""Which URLs may be asked, and which of them may be sent the API key. Pure functions.

URLs come out of answers, so they are untrusted. A URL is checked as the HTTP client will read it: what
different parsers read differently (user names, backslashes, white space, control characters, names that are
not plain ASCII) is refused rather than interpreted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from bfl_async._config import is_loopback

_PLAIN = re.compile(
    r"[!-~]+"
)  # printable ASCII without the blank: nothing can be smuggled into a request line
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port of a URL, lower case."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL; None when it has none that every parser would agree on."""
    if len(url) > 16_384 or not _PLAIN.fullmatch(url) or "\\" in url:
        return None
    # Scheme, host and port end before the query, and without it all polling URLs of a host are the same text. So the
    # few entries of this cache serve all tasks, and it is the only one: whether the key may go to a URL is decided anew
    # for each call.
    return _origin_before_query(url.partition("?")[0])


@lru_cache(maxsize=256)
def _origin_before_query(head: str) -> Origin | None:
    try:
        parts = urlsplit(head)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or ".." in host:
        return None
    if not _HOST.fullmatch(host):
        return None
    return Origin(scheme, host, port if port is not None else _DEFAULT_PORTS[scheme])


class TrustedHost(NamedTuple):
    """A host that a caller trusts with the key, beside that of the base URL."""

    host: str
    # None: 443, and on this machine any.
    port: int | None
    # All names below `host` are meant, and not `host` itself.
    has_names_below: bool

    @classmethod
    def of(cls, text: str) -> TrustedHost | None:
        """Return the host that `text` names: `host`, `host:port`, or `*.domain`; None if it names none."""
        below = text.startswith("*.")
        origin = origin_of(f"https://{text.removeprefix('*.')}")
        if origin is None or any(mark in text for mark in "/?#@"):
            return None
        if below and ("." not in origin.host or ":" in origin.host):
            # All of a top-level domain is a slip.
            return None
        has_port = re.search(r":[0-9]+$", text) is not None
        return cls(origin.host, origin.port if has_port else None, below)

    def includes(self, origin: Origin) -> bool:
        """True for an origin of this host: over https, on this machine over http as well."""
        is_local = is_loopback(origin.host)
        is_host = origin.host.endswith(f".{self.host}") if self.has_names_below else origin.host == self.host
        is_port = origin.port == self.port or (self.port is None and (is_local or origin.port == 443))
        return is_host and is_port and (origin.scheme == "https" or is_local)


class KeyGuard:
    """The rule of invariant 5 for one base URL.

    Args:
        trusted: Hosts that the caller trusts as well.
    """

    def __init__(self, base_url: str, trusted: Iterable[TrustedHost] = ()) -> None:
        base = origin_of(base_url)
        if base is None:
            raise ValueError("a base URL has an origin")
        self._base = base
        self._trusted = tuple(trusted)
        domains: list[str] = []
        is_former = _within(base.host, "bfl.ml")
        self._is_bfl = is_former or _within(base.host, "bfl.ai")
        if self._is_bfl or is_loopback(base.host):
            domains.append("bfl.ai")
        if is_former:
            domains.append("bfl.ml")  # the API's former name
        # None with a foreign base URL: its key is not BFL's to see, and a gateway may pass on BFL's polling URLs.
        self._domains = tuple(domains)

    @property
    def is_bfl(self) -> bool:
        """True where the base URL is BFL's own, under one of its names."""
        return self._is_bfl

    @property
    def trusts_bfl(self) -> bool:
        """False with a foreign base URL."""
        return bool(self._domains)

    def may_carry_key(self, url: str) -> bool:
        """True for the base URL's own origin, and for what the caller trusts.

        Unless the base URL is foreign, also over https, port 443, for bfl.ai and its subdomains.
        """
        origin = origin_of(url)
        if origin is None:
            return False
        if origin == self._base or any(host.includes(origin) for host in self._trusted):
            return True
        return (
            origin.scheme == "https"
            and origin.port == 443
            and any(_within(origin.host, domain) for domain in self._domains)
        )

    def may_download(self, url: str) -> bool:
        """True for a URL that a result can have: https, port 443, under a public name; or what the base URL itself is.

        An answer must not make this machine ask its neighbours. So plain http, addresses, names of a local network and
        other ports are only for the host of the base URL, where that is of this kind. All of this machine counts as one
        host. A public name may still lead inside: `may_lead_inside` and `is_public` are for its addresses.
        """
        origin = origin_of(url)
        if origin is None:
            return False
        if self._is_base_host(origin.host):
            if self._base.scheme == "http":
                # The caller allowed a server that is not BFL's, such as a sandbox. Its images may have their own port.
                return True
            return origin.scheme == "https" and (
                origin.port in (443, self._base.port) or is_loopback(origin.host)
            )
        return origin.scheme == "https" and origin.port == 443 and not _may_be_inside(origin.host)

    def may_lead_inside(self, host: str) -> bool:
        """True for a host whose addresses are the caller's own choice: that of the base URL."""
        return self._is_base_host(host)

    def _is_base_host(self, host: str) -> bool:
        return host == self._base.host or (is_loopback(host) and is_loopback(self._base.host))


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


# Names that are for use inside a network: of RFC 6762 (with its appendix), RFC 8375, RFC 6761, and ICANN's `.internal`.
_PRIVATE = frozenset(
    {
        "local",
        "localdomain",
        "localhost",
        "internal",
        "intranet",
        "private",
        "corp",
        "home",
        "lan",
        "arpa",
        "onion",
    }
    | {"localdomain4", "localdomain6", "localhost4", "localhost6", "invalid"}
)


def _may_be_inside(host: str) -> bool:
    """True for this machine, names without a public domain, and addresses: results are served under public names."""
    if is_loopback(host) or ":" in host or "." not in host or host.rpartition(".")[2] in _PRIVATE:
        return True
    # Digits and dots, or hexadecimal, are read as addresses by some resolvers.
    return bool(re.fullmatch(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+))*", host))


# Addresses of IPv6 that carry one of IPv4 at their end: those of NAT64 are made by the network's name service.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """True for an address that can be reached from anywhere, and so is no machine inside a network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def without_query(url: str) -> str:
    """Return a URL that may be shown: queries may be signed, user names may be secrets."""
    origin = origin_of(url)
    if origin is None:
        return "a URL that cannot be read"
    return f"{origin}{urlsplit(url).path}"[:200]
