"""The sandbox by https, as clients need it that take no other base URL."""

from __future__ import annotations

import ssl

import pytest
from aiohttp import ClientSession, TCPConnector

from bfl_async import AsyncBFL
from bfl_async.sandbox import Sandbox
from tests.tls import Certificate, certificate_in


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate_in(tmp_path_factory.mktemp("tls"))


async def test_everything_is_served_by_https(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submit, poll and download; every URL that is told begins with https."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))
    async with Sandbox(tls=certificate.server_side(), service_s=0.0) as sandbox:
        assert sandbox.url.startswith("https://127.0.0.1:")
        assert sandbox.foreign.url.startswith("https://127.0.0.1:")
        async with AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
            result = await bfl.generate("flux-2-klein-4b", prompt="a fox", width=64, height=64)
            assert result.url.startswith(f"{sandbox.url}/results/")
            assert (await result.read())[:2] == b"\xff\xd8"


async def test_the_page_takes_settings_of_its_own_origin_alone(certificate: Certificate) -> None:
    """By https, an origin of http is another one, and the header that would bind a browser is left out."""
    context = ssl.create_default_context(cafile=str(certificate.cert))
    async with (
        Sandbox(tls=certificate.server_side()) as sandbox,
        ClientSession(connector=TCPConnector(ssl=context)) as session,
    ):
        codes = []
        for origin in (sandbox.url, sandbox.url.replace("https", "http")):
            headers = {"Origin": origin}
            async with session.post(f"{sandbox.url}/sandbox/faults", json={}, headers=headers) as reply:
                codes.append(reply.status)
        assert codes == [200, 403]
        for path in ("/", "/v1/credits", "/v1/get_result?id=none"):
            async with session.get(sandbox.url + path) as reply:
                assert "Strict-Transport-Security" not in reply.headers
