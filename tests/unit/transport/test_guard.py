"""Invariant 5 as tables: where the key may go, and what may be downloaded."""

from __future__ import annotations

import pytest
import yarl

from bfl_async import AsyncBFL, ConfigError
from bfl_async.transport.guard import KeyGuard, TrustedHost, is_public, origin_of, without_query
from tests.fake import FakeAPI

HOSTILE = [
    "https://bfl.ai.evil.com/x",
    "https://evilbfl.ai/x",
    "https://api.bfl.ai@evil.com/x",
    "https://api.bfl.ai:443@evil.com/x",
    "https://user:pw@api.bfl.ai/x",
    "https://api.bfl.ai\\@evil.com/x",
    "https://evil.com\\.bfl.ai/x",
    "https://evil.com#.bfl.ai/x",
    "https://evil.com?.bfl.ai/x",
    "https://evil.com/.bfl.ai",
    "https://api.bfl.ai:8443/x",
    "https://api.bfl.ai:80/x",
    "http://api.bfl.ai/x",
    "http://api.bfl.ai:443/x",
    "ftp://api.bfl.ai/x",
    "//api.bfl.ai/x",
    "api.bfl.ai/x",
    "https:api.bfl.ai/x",
    "https:///x",
    "https://api.bfl.ai./x",
    "https://.bfl.ai/x",
    "https://api..bfl.ai/x",
    "https://api.bfl.ai\u3002evil.com/x",
    "https://api.bfl\uff0eai/x",
    "https://\u0430pi.bfl.ai/x",
    "https://api.bfl.ai/x\r\nx-evil: 1",
    "https://api.bfl.ai/x y",
    "https://api.bfl.ai/\tx",
    " https://api.bfl.ai/x",
    "https://api.bfl.ai:99999/x",
    "https://api.bfl.ai:/x:",
    "https://[::1]/x",
    "https://[api.bfl.ai/x",
    "https://api.bfl.ml/x",
    "https://127.0.0.1/x",
    "",
    "https://api.bfl.ai/" + "x" * 20_000,
]
HOSTILE.remove("https://api.bfl.ai:/x:")  # an empty port is the default one

TRUSTED = [
    "https://api.bfl.ai/v1/get_result?id=1",
    "https://api.eu4.bfl.ai/v1/get_result?id=1",
    "https://api.us1.bfl.ai:443/v1/get_result?id=1",
    "https://gateway.bfl.ai/x",
    "https://bfl.ai/x",
    "HTTPS://API.EU4.BFL.AI/x",
]


@pytest.mark.parametrize("url", TRUSTED)
def test_key_goes_to_bfl_over_https(url: str) -> None:
    """Invariant 5: the base's own origin, and bfl.ai with its subdomains over https, port 443."""
    assert KeyGuard("https://api.bfl.ai").may_carry_key(url)


@pytest.mark.parametrize("url", HOSTILE)
def test_key_goes_nowhere_else(url: str) -> None:
    """Invariant 5: what parsers could read differently is refused, not interpreted."""
    assert not KeyGuard("https://api.bfl.ai").may_carry_key(url)


@pytest.mark.parametrize("url", [*TRUSTED, *HOSTILE])
def test_guard_reads_a_url_as_the_http_client_does(url: str) -> None:
    """Invariant 5: the host that is checked is the host that is asked."""
    origin = origin_of(url)
    if origin is None:
        return
    asked = yarl.URL(url, encoded=True)
    assert (asked.scheme, (asked.raw_host or "").lower(), asked.port) == (
        origin.scheme,
        origin.host,
        origin.port,
    )
    assert asked.user is None


def test_key_goes_to_a_base_url_of_ones_own() -> None:
    """Invariant 5: the same scheme, host and port, and nothing near it."""
    guard = KeyGuard("http://127.0.0.1:8080/prefix")
    assert guard.may_carry_key("http://127.0.0.1:8080/v1/get_result?id=1")
    for url in (
        "http://127.0.0.1:8081/x",
        "https://127.0.0.1:8080/x",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
    ):
        assert not guard.may_carry_key(url)
    assert guard.may_carry_key("https://api.eu4.bfl.ai/x")


@pytest.mark.parametrize(
    "base_url",
    [
        "https://gateway.example/bfl",
        "https://gateway.example:8443",
        "http://sandbox:8080",
        "https://api.bfl.ai.evil.com",
        "https://notbfl.ai",
        "https://10.0.0.1",
        "https://resource.services.ai.azure.com/providers/blackforestlabs",
    ],
)
def test_key_of_a_foreign_base_url_stays_at_its_origin(base_url: str) -> None:
    """Invariant 5: a gateway passes on BFL's polling URLs, and its key is not BFL's to see."""
    guard = KeyGuard(base_url)
    assert not guard.trusts_bfl
    assert guard.may_carry_key(f"{base_url}/v1/get_result?id=1")
    for url in [*TRUSTED, *HOSTILE, "https://other.gateway.example/x", "https://api.eu1.bfl.ml/x"]:
        assert not guard.may_carry_key(url)


@pytest.mark.parametrize(
    "base_url", ["https://api.eu.bfl.ai", "https://bfl.ai", "http://localhost:1", "http://[::1]:1"]
)
def test_key_of_bfl_goes_to_all_of_bfl(base_url: str) -> None:
    """Invariant 5: also from a sandbox on this machine, whose answers are one's own."""
    assert KeyGuard(base_url).trusts_bfl
    assert all(KeyGuard(base_url).may_carry_key(url) for url in TRUSTED)


def trusting(*hosts: str, base_url: str = "https://gateway.example") -> KeyGuard:
    found = [TrustedHost.of(host) for host in hosts]
    return KeyGuard(base_url, [host for host in found if host is not None])


@pytest.mark.parametrize(
    ("host", "trusted", "others"),
    [
        (
            "api.eu2.bfl.ai",
            ["https://api.eu2.bfl.ai/x", "https://API.EU2.bfl.ai:443/x"],
            ["https://api.eu4.bfl.ai/x", "https://x.api.eu2.bfl.ai/x", "https://api.eu2.bfl.ai:8443/x"],
        ),
        ("Polls.Example:8443", ["https://polls.example:8443/x"], ["https://polls.example/x"]),
        (
            "*.bfl.ai",
            ["https://api.bfl.ai/x", "https://api.eu4.bfl.ai/x"],
            [
                "https://bfl.ai/x",
                "https://evilbfl.ai/x",
                "https://api.bfl.ai:8443/x",
                "https://api.bfl.ai.evil.com/x",
            ],
        ),
        ("*.polls.example:8443", ["https://a.polls.example:8443/x"], ["https://a.polls.example/x"]),
        ("127.0.0.1", ["http://127.0.0.1:8080/x", "https://127.0.0.1/x"], ["http://localhost:8080/x"]),
        ("localhost:8080", ["http://localhost:8080/x"], ["http://localhost:8081/x"]),
        ("[::1]:8080", ["http://[::1]:8080/x"], ["http://[::1]:8081/x"]),
    ],
)
def test_hosts_that_are_named_get_the_key_as_well(host: str, trusted: list[str], others: list[str]) -> None:
    """Invariant 5: exactly these, over https; on this machine over http as well."""
    guard = trusting(host)
    assert all(guard.may_carry_key(url) for url in trusted)
    plain = [url.replace("https:", "http:") for url in trusted if "127." not in url and "[::1]" not in url]
    for url in [*others, *(url for url in plain if "localhost" not in url), *HOSTILE]:
        if url not in trusted:
            assert not guard.may_carry_key(url), url


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "*.ai", "*.localhost", "https://api.example", "api.example/x", "user@api.example", "api.example?x",
     "api.example#x", "api example", "api.example:x", "api.example:99999", "a..b", "\u0430pi.example", "*.*.example",
     "api.*.example", "*.[::1]", "api.example\n"],
)  # fmt: skip
def test_what_is_no_host_is_a_config_error(text: str) -> None:
    """Before anything is sent, and without the value, which may be the key."""
    assert TrustedHost.of(text) is None
    with pytest.raises(ConfigError, match="trusted_hosts: entry 2 is not a host"):
        AsyncBFL("key", trusted_hosts=["api.example", text])


def test_trusted_hosts_are_a_list() -> None:
    """A text is a list of letters; and a transport of one's own decides by itself."""
    for wrong in ("api.example", b"x", 3, None):
        with pytest.raises(ConfigError, match="trusted_hosts takes a list"):
            AsyncBFL("key", trusted_hosts=wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="transport= goes with none of"):
        AsyncBFL(transport=FakeAPI(), trusted_hosts=["api.example"])


def test_former_domain_only_where_the_base_url_is_there() -> None:
    """Invariant 5: bfl.ml is trusted by those who use it."""
    guard = KeyGuard("https://api.bfl.ml")
    assert guard.may_carry_key("https://api.eu1.bfl.ml/x")
    assert guard.may_carry_key("https://api.bfl.ai/x")
    assert not KeyGuard("https://api.bfl.ai").may_carry_key("https://api.eu1.bfl.ml/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://delivery-eu1.bfl.ai/x?sig=1", True),
        ("https://bfldeliveryprodeu4.blob.core.windows.net/x?sig=1", True),
        ("http://delivery-eu1.bfl.ai/x", False),
        ("https://127.0.0.1/x", False),
        ("https://localhost/x", False),
        ("https://10.0.0.1/x", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://2130706433/x", False),
        ("https://0x7f.1/x", False),
        ("https://[::1]/x", False),
        ("https://[::ffff:127.0.0.1]/x", False),
        ("file:///etc/passwd", False),
        ("https://user@host/x", False),
        ("https://delivery-eu1.bfl.ai:443/x", True),
        ("https://delivery-eu1.bfl.ai:8443/x", False),
        ("https://delivery-eu1.bfl.ai:80/x", False),
        ("https://localhost6/x", False),
        ("https://vault/x", False),
        ("https://vault:8200/x", False),
        ("https://kubernetes.default.svc.cluster.local/x", False),
        ("https://metadata.google.internal/x", False),
        ("https://printer.lan/x", False),
        ("https://nas.home.arpa/x", False),
        ("https://1.0.0.127.in-addr.arpa/x", False),
        ("https://git.corp/x", False),
        ("https://router.home/x", False),
        ("https://wiki.intranet/x", False),
        ("https://host.localdomain4/x", False),
        ("https://a.LOCAL/x", False),
        ("https://local.example.com/x", True),
        ("https://internal.example.com/x", True),
    ],
)
def test_results_come_over_https_from_public_hosts(url: str, expected: bool) -> None:
    """An answer must not make this machine ask its neighbours."""
    assert KeyGuard("https://api.bfl.ai").may_download(url) is expected


def test_local_server_may_serve_its_results_from_another_local_port() -> None:
    """The sandbox's image host is a second listener on this machine."""
    guard = KeyGuard("http://127.0.0.1:8080")
    assert guard.may_download("http://127.0.0.1:9090/x")
    assert guard.may_download("http://localhost:9090/x")
    assert guard.may_download("https://delivery.bfl.ai/x")
    assert not guard.may_download("http://delivery.bfl.ai/x")
    assert not guard.may_download("http://10.0.0.1/x")


def test_only_the_base_urls_own_host_may_be_inside() -> None:
    """Over https on its own port, and 443; over plain http, which the caller allowed, on any port."""
    guard = KeyGuard("https://gateway.corp:8443")
    assert guard.may_download("https://gateway.corp:8443/x")
    assert guard.may_download("https://gateway.corp/x")
    assert not guard.may_download("https://gateway.corp:9443/x")
    assert not guard.may_download("http://gateway.corp/x")
    assert not guard.may_download("https://other.corp/x")
    plain = KeyGuard("http://sandbox:8080")
    assert plain.may_download("http://sandbox:9090/x")
    assert not plain.may_download("http://database:9090/x")
    assert guard.may_lead_inside("gateway.corp")
    assert not guard.may_lead_inside("delivery.bfl.ai")
    assert KeyGuard("http://127.0.0.1:1").may_lead_inside("localhost")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("198.18.0.1", False),
        ("224.0.0.251", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:192.168.0.1", False),
        ("::ffff:7f00:1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd12:3456::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("no address", False),
    ],
)
def test_addresses_inside_a_network_are_not_public(address: str, expected: bool) -> None:
    """Also as a part of another address."""
    assert is_public(address) is expected


def test_shown_urls_have_no_query() -> None:
    """Queries may be signed."""
    assert without_query("https://h.example/a/b?sig=secret#f") == "https://h.example:443/a/b"
    assert without_query("not a url") == "a URL that cannot be read"
