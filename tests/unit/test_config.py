"""What a user sets, as an argument or in the environment: checked before any I/O, by the same rules."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import pytest
import yarl
from aiohttp.helpers import strip_auth_from_url
from hypothesis import given, settings
from hypothesis import strategies as st

from bfl_async import AsyncBFL, Budget, ConfigError, Limits, Timeouts
from bfl_async._config import (
    check_timeout,
    resolve_base_url,
    resolve_key,
    state_folder,
)
from bfl_async.transport.certificates import environment_ssl_context
from bfl_async.transport.proxies import check_proxy, environment_proxy, proxy_source

NUMBERS = st.integers() | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False)
TOO_LARGE = [10**309, 10**400, 10**5_000, 2**1024, math.inf]


def named(value: object) -> str:
    """The id of a test's parameter: pytest writes no integer of 5,000 digits."""
    try:
        return repr(value)[:20]
    except ValueError:
        return "huge"


# --- timeouts ---------------------------------------------------------------------------------------------


@given(NUMBERS)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_every_number_is_a_timeout_that_a_clock_can_take(timeout: float) -> None:
    """A finite float from 0 up, or None for no bound."""
    checked = check_timeout(timeout)
    if checked is None:
        assert timeout > 1e300
    else:
        assert type(checked) is float
        assert 0 <= checked + 1e9 < math.inf
        assert checked == (float(timeout) if timeout > 0 else 0.0)


@pytest.mark.parametrize("timeout", [None, *TOO_LARGE], ids=named)
def test_timeout_beyond_every_clock_is_no_bound(timeout: float | None) -> None:
    """As infinity is."""
    assert check_timeout(timeout) is None


@pytest.mark.parametrize("timeout", [0, -1, -0.0, -5.5, -math.inf, -(10**400), -(10**5_000)], ids=named)
def test_timeout_that_is_already_up_is_zero(timeout: float) -> None:
    """The callers then send nothing."""
    assert check_timeout(timeout) == 0.0


@pytest.mark.parametrize(
    "timeout",
    [True, False, math.nan, -math.nan, "3", "", b"3", [], 1j, Fraction(1, 2), asyncio, "x" * 10_000],
)
def test_what_is_not_a_number_is_not_a_timeout(timeout: object) -> None:
    """One error class, in a message that stays readable."""
    with pytest.raises(ConfigError, match="timeout must be a number of seconds or None, not ") as caught:
        check_timeout(timeout)  # type: ignore[arg-type]  # on purpose
    assert len(str(caught.value)) < 200


# --- other numbers ----------------------------------------------------------------------------------------

SETTINGS: dict[str, Callable[[object], object]] = {
    "connect": lambda value: Timeouts(connect=value),  # type: ignore[arg-type]  # on purpose
    "reply": lambda value: Timeouts(reply=value),  # type: ignore[arg-type]  # on purpose
    "task": lambda value: Timeouts(task=value),  # type: ignore[arg-type]  # on purpose
    "close": lambda value: Timeouts(close=value),  # type: ignore[arg-type]  # on purpose
    "unknown_s": lambda value: Limits(unknown_s=value),  # type: ignore[arg-type]  # on purpose
    "overlap": lambda value: Limits(overlap=value),  # type: ignore[arg-type]  # on purpose
    "usd": lambda value: Budget(value),  # type: ignore[arg-type]  # on purpose
    "unknown_credits": lambda value: Budget(1, unknown_credits=value),  # type: ignore[arg-type]  # on purpose
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [*TOO_LARGE, -(10**400), -math.inf, math.nan, True, "3"], ids=named)
def test_setting_that_no_clock_or_account_can_take_is_refused(name: str, value: object) -> None:
    """Arithmetic with it would fail later, in the middle of a submit."""
    with pytest.raises(ConfigError, match=name) as caught:
        SETTINGS[name](value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [-(10**5_000), 1.5, "12", True], ids=named)
def test_count_that_is_not_a_count_is_refused(value: int) -> None:
    """Whatever its length, the message is short."""
    makers: list[Callable[[], object]] = [
        lambda: Limits(account=value),
        lambda: Limits(pools={"video": value}),
        lambda: Limits(queue=value),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match="whole number") as caught:
            make()
        assert len(str(caught.value)) < 250


# --- key, host and folder -----------------------------------------------------------------------------------

SECRET = "s3cr3t-of-the-test"


@pytest.mark.parametrize(
    "key", ["", "  ", "''", "two words", "caf\u00e9", "line\nend", "tab\tin", "nul\x7f", "\u2028x"]
)
def test_key_is_checked_by_the_same_rules_wherever_it_comes_from(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the argument or the variable, and never shows the key."""
    given = f"{SECRET} {key}" if key.strip(" '") else key
    for source in ("api_key", "BFL_API_KEY"):
        monkeypatch.delenv("BFL_API_KEY", raising=False)
        if source == "BFL_API_KEY":
            monkeypatch.setenv("BFL_API_KEY", given)
        with pytest.raises(ConfigError, match=source) as caught:
            AsyncBFL(given if source == "api_key" else None)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("around", ["{}", " {}\n", "'{}'", '"{}" '])
def test_key_is_read_alike_wherever_it_comes_from(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes and line ends of a copied key are removed from both."""
    monkeypatch.setenv("BFL_API_KEY", around.format("bfl_key"))
    assert resolve_key(None) == resolve_key(around.format("bfl_key")) == "bfl_key"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense", "ftp://host.example", "https://", "https://host.example:port", "https://host.example:99999", "https://[::1",
        "http://host.example", "https://caf\u00e9.example", "https://a b.example", "https://host.example\t.x",
        f"https://user:{SECRET}@host.example", f"https://user:{SECRET}?@host.example", f"https://{SECRET}#x@host.example",
        f"https://host.example?key={SECRET}", f"https://host.example/v1?email=a@{SECRET}", f"https://host.example#{SECRET}",
        "x" * 10_000,
    ],
)  # fmt: skip
def test_base_url_is_checked_by_the_same_rules_wherever_it_comes_from(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the argument or the variable; it stays short, and shows nothing that may be secret."""
    messages = []
    for source in ("base_url", "BFL_BASE_URL"):
        monkeypatch.delenv("BFL_BASE_URL", raising=False)
        if source == "BFL_BASE_URL":
            monkeypatch.setenv("BFL_BASE_URL", url)
        with pytest.raises(ConfigError, match=source) as caught:
            AsyncBFL("bfl_key", base_url=url if source == "base_url" else None)
        messages.append(str(caught.value).replace(source, "@"))
        assert SECRET not in messages[-1]
        assert len(messages[-1]) < 300
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "url", ["eu", "us", " https://host.example/bfl/ ", "'https://host.example'", "http://127.0.0.1:80"]
)
def test_base_url_is_read_alike_wherever_it_comes_from(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions, quotes and slashes too."""
    monkeypatch.setenv("BFL_BASE_URL", url)
    assert resolve_base_url(None, allow_http=False) == resolve_base_url(url, allow_http=False)


@pytest.mark.parametrize("url", [3, b"https://host.example", ["eu"]])
def test_base_url_that_is_not_a_text_is_a_config_error(url: object) -> None:
    """One error class, before any I/O."""
    with pytest.raises(ConfigError, match="base_url"):
        AsyncBFL("bfl_key", base_url=url)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("folder", [None, "", "state", "./state", "~/state", "../x"])
def test_relative_state_folder_is_ignored(
    folder: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs in two working directories would each have a limit of their own, and pass the account's together."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if folder is not None:
        monkeypatch.setenv("XDG_STATE_HOME", folder)
    assert state_folder() == tmp_path / ".local" / "state" / "bfl-async"


def test_absolute_state_folder_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It need not exist yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none yet"))
    assert state_folder() == tmp_path / "none yet" / "bfl-async"


def test_missing_home_folder_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that no list knows. The message names the way out."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        state_folder()


# --- proxies ------------------------------------------------------------------------------------------------

HOST = "api.bfl.ai"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "https", "http"),
    [
        ({}, None, None),
        ({"https_proxy": "http://a:1"}, "https_proxy", None),
        ({"HTTPS_PROXY": "http://a:1"}, "HTTPS_PROXY", None),
        ({"HTTP_PROXY": "http://a:1"}, None, "HTTP_PROXY"),
        ({"ALL_PROXY": "http://a:1"}, "ALL_PROXY", "ALL_PROXY"),
        ({"all_proxy": "http://a:1", "ALL_PROXY": "http://b:1"}, "all_proxy", "all_proxy"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https_proxy", None),
        ({"HTTPS_PROXY": "http://a:1", "all_proxy": "http://b:1"}, "HTTPS_PROXY", "all_proxy"),
        ({"http_proxy": "http://a:1", "ALL_PROXY": "http://b:1"}, "ALL_PROXY", "http_proxy"),
        ({"HTTPS_PROXY": ""}, None, None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://a:1"}, None, None),
        ({"https_proxy": " ", "ALL_PROXY": "http://b:1"}, "ALL_PROXY", "ALL_PROXY"),
        ({"ALL_PROXY": "", "http_proxy": "http://a:1"}, None, "http_proxy"),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "", "all_proxy": "http://b:1"}, "all_proxy", "all_proxy"),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, None, "http_proxy"),
        ({"HTTPS_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "HTTPS_PROXY", None),
        ({"ftp_proxy": "http://a:1", "no_proxy": "x"}, None, None),
    ],
    ids=range(18),
)  # fmt: skip
@pytest.mark.skipif(os.name == "nt", reason="names of variables have no case there")
def test_variables_of_proxies_are_those_of_curl_and_urllib(
    variables: dict[str, str], https: str | None, http: str | None, environ: pytest.MonkeyPatch
) -> None:
    """Lower case counts first, then the scheme's own before the one for all; an empty value is no proxy."""
    for name, value in variables.items():
        environ.setenv(name, value)
    for scheme, expected in (("https", https), ("http", http)):
        assert proxy_source(scheme) == expected
        assert environment_proxy(scheme, HOST) == (None if expected is None else variables[expected])


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("bfl.ai", True), (".bfl.ai", True), ("api.bfl.ai", True), ("other.example, api.bfl.ai", True), ("*", True),
        ("", False), ("bfl", False), ("i.bfl.ai", False), ("other.example", False), ("eu.bfl.ai", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_exempt_host_has_no_proxy(
    no_proxy: str, exempt: bool, name: str, environ: pytest.MonkeyPatch
) -> None:
    """And a value that is not used cannot be wrong."""
    environ.setenv(name, no_proxy)
    environ.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert environment_proxy("https", HOST) == (None if exempt else "http://proxy.example:3128")
    if exempt:
        environ.setenv("ALL_PROXY", "socks5://proxy.example")
        assert environment_proxy("https", HOST) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "app.localhost"])
def test_this_machine_has_no_proxy(host: str, environ: pytest.MonkeyPatch) -> None:
    """Invariant 5: over plain http a proxy would read the key."""
    environ.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert environment_proxy("http", host) is None


@pytest.mark.parametrize("value", ["http://system.example:80", "system.example:80"])
def test_settings_of_the_system_count_where_no_variable_is_set(
    value: str, environ: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows; a wrong one is called what it is."""
    environ.setattr("urllib.request.getproxies", lambda: {"https": value, "http": "socks://system.example"})
    assert environment_proxy("https", HOST) == "http://system.example:80"
    with pytest.raises(ConfigError, match="the system's proxy setting takes "):
        environment_proxy("http", HOST)
    environ.setenv("https_proxy", "http://a:1")
    assert environment_proxy("https", HOST) == "http://a:1"


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("127.0.0.1:3128", "http://127.0.0.1:3128"),
        ("proxy.example", "http://proxy.example"),
        ("localhost:8080/", "http://localhost:8080/"),
        ("user:pass%40word@proxy.example:3128", "http://user:pass%40word@proxy.example:3128"),
        ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        (" https://proxy.example\n", "https://proxy.example"),
        ("HTTP://proxy_1.example.:80", "HTTP://proxy_1.example.:80"),
        ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
    ],
)
def test_proxy_is_read_alike_as_argument_and_from_the_environment(
    value: str, url: str, environ: pytest.MonkeyPatch
) -> None:
    """A value without a scheme is for http, as it is for curl."""
    environ.setenv("HTTPS_PROXY", value)
    assert environment_proxy("https", HOST) == check_proxy(value) == url


@pytest.mark.parametrize(
    "value",
    [
        f"socks5://user:{SECRET}@proxy.example:1080", f"SOCKS5H://{SECRET}", f"socks4://{SECRET}:1", f"socks://{SECRET}:1",
        f"ftp://{SECRET}:21", f"htp://{SECRET}", f"://{SECRET}", f"file:///{SECRET}", f"{SECRET}:a://b@proxy.example",
        f"http://user:{SECRET}@", f"http://{SECRET}:port", f"http://{SECRET}:0", f"http://{SECRET}:99999",
        f"[::1{SECRET}", f"http://[{SECRET}]:1", f"http://proxy.example/{SECRET}", f"http://proxy.example?{SECRET}",
        f"{SECRET}#proxy.example", f"http://b\u00fccher.{SECRET}",
        f"user:pa/{SECRET}@proxy.example", f"user:pa?{SECRET}@proxy.example", f"a%3Ab:{SECRET}@proxy.example",
        f"user:\u20ac{SECRET}@proxy.example", f"http:/{SECRET}", f"//{SECRET}", f"http:{SECRET}", f"{SECRET}..example",
        f"{SECRET} example", f"{SECRET}\x7f", f"{SECRET}\ttab", f"{'x' * 64}{SECRET}", f"http://{SECRET}<>", f"'http://{SECRET}'",
    ],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_unusable_proxy_is_an_error_that_names_its_source(
    value: str, variable: str, environ: pytest.MonkeyPatch
) -> None:
    """Before any I/O, and without the value: it may hold a password."""
    with pytest.raises(ConfigError, match=r"^proxy takes ") as argument:
        AsyncBFL("bfl_key", proxy=value)
    environ.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"^{variable} takes ") as variables:
        environment_proxy("https", HOST)
    assert str(argument.value).partition(" ")[2] == str(variables.value).partition(" ")[2]
    for caught in (argument, variables):
        assert SECRET.lower() not in str(caught.value).lower()
        assert caught.value.__cause__ is caught.value.__context__ is None


HOSTS = (
    st.sampled_from(
        ["proxy.example", "10.0.0.1", "[::1]", "[fe80::1%25eth0]", "PROXY", "a..b", "[::g]", "x" * 64]
    )
    | st.text("ab.-_~%:[]@ \u00e9\u00df\u3002", max_size=8)
    | st.text(max_size=8)
)


@given(
    st.none() | st.text(max_size=6),
    st.none() | st.text(max_size=6),
    HOSTS,
    st.none() | st.integers(-1, 70_000),
)
@settings(max_examples=1_000, deadline=None, derandomize=True)
def test_proxy_that_passes_the_check_can_be_tried(
    user: str | None, password: str | None, host: str, port: int | None
) -> None:
    """The HTTP library can read it: else each attempt would fail as if there were no connection."""
    login = (
        ""
        if user is None
        else quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}") + "@"
    )
    try:
        url = check_proxy(f"http://{login}{host}" + ("" if port is None else f":{port}"))
    except ConfigError:
        return
    bare, auth = strip_auth_from_url(yarl.URL(url))
    assert bare.host
    assert bare.port
    if auth is not None:
        assert (auth.login, auth.password) == (user or "", password or "")
        auth.encode()


# --- certificates -------------------------------------------------------------------------------------------

# Of an authority called "Test authority" that has never signed anything. Its key was thrown away.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUHXo5btJyCRsi/ojZpWXQCSXKBDMwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOVGVzdCBhdXRob3JpdHkwIBcNMjYxMTI5MjI1OTA0WhgPMjEy
NjExMDUyMjU5MDRaMBkxFzAVBgNVBAMMDlRlc3QgYXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEKy0curtQ1bt/WknbN2bYmg70FhF7cg1dviwTnh4v
VN2rhBf3RPidW/INf3K8UkT4uPiqEfhpR5uxb5GOdxU1I6NTMFEwHQYDVR0OBBYE
FKlBttJh4jhrTVP6ieDJGvsYXcueMB8GA1UdIwQYMBaAFKlBttJh4jhrTVP6ieDJ
GvsYXcueMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgdlXU/0LT
4F/nQIRIPIBvhMg7QHAIsunghORSI1NKzqQCIDFmUV+AokJ+rl+HzpHUwcqyQUze
lXgjnwNpdJBkNieU
-----END CERTIFICATE-----
"""
HASH_NAME = "f20e0b1e.0"


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without certificates, and an empty working directory."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.mark.parametrize("value", [None, ""])
def test_without_variables_the_certificates_are_the_usual_ones(
    value: str | None, tls: pytest.MonkeyPatch
) -> None:
    """Those of the HTTP library; an empty variable is as good as none."""
    if value is not None:
        tls.setenv("SSL_CERT_FILE", value)
        tls.setenv("SSL_CERT_DIR", value)
    assert environment_ssl_context() is None


def test_certificates_of_the_environment_are_trusted_and_checked(tls: pytest.MonkeyPatch) -> None:
    """The variable counts although the HTTP library was imported before it was set."""
    Path("own.pem").write_text(CERTIFICATE)
    tls.setenv("SSL_CERT_FILE", "own.pem")
    context = environment_ssl_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    subjects = [certificate["subject"] for certificate in context.get_ca_certs()]
    assert subjects == [((("commonName", "Test authority"),),)]


FILES = {
    "empty": b"",
    "text": b"certificates go here\n",
    "cut": CERTIFICATE[:200].encode(),
    "changed": CERTIFICATE.replace("MIIB", "MIIC").encode(),
    "binary": bytes(range(256)) * 10,
    "another kind": CERTIFICATE.replace("CERTIFICATE", "PUBLIC KEY").encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_file_without_certificates_is_an_error_that_names_its_variable(
    content: bytes, tls: pytest.MonkeyPatch
) -> None:
    """Each submit would fail as if there were no connection, and be tried again until its timeout."""
    Path("own.pem").write_bytes(content)
    tls.setenv("SSL_CERT_FILE", "own.pem")
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: 'own\.pem' holds no certificates"):
        environment_ssl_context()


@pytest.mark.parametrize(
    "name", ["missing.pem", "folder", os.devnull, "folder/missing.pem", "\x1b[31mred", "x" * 5_000]
)
def test_what_is_not_a_file_of_certificates_is_an_error_that_names_its_variable(
    name: str, tls: pytest.MonkeyPatch
) -> None:
    """At once, and in a message that a terminal can show."""
    Path("folder").mkdir()
    tls.setenv("SSL_CERT_FILE", name)
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: .* (does not exist|is not a file);") as caught:
        environment_ssl_context()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipe_is_not_waited_for(tls: pytest.MonkeyPatch) -> None:
    """A read that never ends would hold the client's opening."""
    os.mkfifo("pipe")
    tls.setenv("SSL_CERT_FILE", "pipe")
    with pytest.raises(ConfigError, match="is not a file"):
        environment_ssl_context()


def test_file_that_may_not_be_read_is_an_error_that_names_its_variable(tls: pytest.MonkeyPatch) -> None:
    """With the reason that the system gives."""
    Path("own.pem").write_text(CERTIFICATE)
    tls.setenv("SSL_CERT_FILE", "own.pem")

    class Unreadable(ssl.SSLContext):
        def load_verify_locations(self, *_args: object, **_kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

    tls.setattr(ssl, "SSLContext", Unreadable)
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: 'own\.pem' cannot be read \(Permission denied\)"):
        environment_ssl_context()


def a_folder(name: str, files: dict[str, str]) -> None:
    Path(name).mkdir()
    for file, content in files.items():
        Path(name, file).write_text(content)


def test_folder_of_certificates_is_used(tls: pytest.MonkeyPatch) -> None:
    """Of several folders, one with certificates is enough: distributions list those of all others as well."""
    a_folder("certs", {HASH_NAME: CERTIFICATE, "README": "text"})
    for value in ("certs", f"missing{os.pathsep}certs", f"certs{os.pathsep}"):
        tls.setenv("SSL_CERT_DIR", value)
        assert environment_ssl_context() is not None


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"own.pem": CERTIFICATE},
        {HASH_NAME: ""},
        {HASH_NAME: "text"},
        {HASH_NAME.replace(".0", ".r0"): CERTIFICATE},
    ],
    ids=["empty", "no hash name", "empty file", "text", "revocations"],
)
def test_folder_without_certificates_is_an_error_that_names_its_variable(
    files: dict[str, str], tls: pytest.MonkeyPatch
) -> None:
    """OpenSSL would silently find nothing there."""
    a_folder("certs", files)
    for value in ("certs", "missing", f"missing{os.pathsep}certs", "certs/own.pem", os.pathsep):
        tls.setenv("SSL_CERT_DIR", value)
        with pytest.raises(ConfigError, match=r"^SSL_CERT_DIR: .*`openssl rehash`"):
            environment_ssl_context()
