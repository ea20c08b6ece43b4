"""The aiohttp transport where a socket adds nothing: proxies, causes, headers."""

from __future__ import annotations

import secrets
import traceback

import aiohttp
import pytest

from bfl_async import ConnectError, Timeouts, TransportError
from bfl_async.transport.http import HTTPTransport, user_agent
from bfl_async.transport.proxies import Proxies


def a_transport(base_url: str, session: aiohttp.ClientSession | None = None) -> HTTPTransport:
    return HTTPTransport(
        key="bfl_secret-key",
        base_url=base_url,
        timeouts=Timeouts(connect=1, reply=1),
        connections=10,
        agent=user_agent("0"),
        session=session,
    )


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


def test_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 5: over plain http a proxy would read the key."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3129")
    monkeypatch.setenv("no_proxy", "direct.example")
    proxies = Proxies(None, session_has_own=False)
    assert proxies.find("https://api.bfl.ai/v1/x") == "http://proxy.example:3129"
    assert proxies.find("https://direct.example/x") is None
    for local in ("http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:1/x"):
        assert proxies.find(local) is None


async def test_errors_of_the_wire_hold_no_url_and_no_header() -> None:
    """The key and signed queries stay out of the whole chain, not only of the message."""
    signature = secrets.token_hex(16)
    transport = a_transport("http://127.0.0.1:9")
    await transport.open()
    try:
        with pytest.raises(ConnectError) as caught:
            await transport.poll(f"http://127.0.0.1:9/v1/get_result?id=x&sig={signature}")
    finally:
        await transport.aclose()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
    assert signature not in shown
    assert "bfl_secret-key" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_closed_session_of_the_callers_is_told_as_such() -> None:
    """Nothing was sent, and what to do is plain."""
    session = aiohttp.ClientSession()
    await session.close()
    transport = a_transport("http://127.0.0.1:9", session)
    await transport.open()
    with pytest.raises(Exception, match="session is closed") as caught:
        await transport.submit("/v1/flux-dev", b"{}")
    assert not isinstance(caught.value, TransportError)
