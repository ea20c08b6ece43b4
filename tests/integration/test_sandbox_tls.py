"""The sandbox by https, as clients need it that take no other base URL."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from bfl_async import AsyncBFL
from bfl_async.sandbox import Sandbox


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own for this machine, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_everything_is_served_by_https(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submit, poll and download; every URL that is told begins with https."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with Sandbox(tls=server_side(certificate), service_s=0.0) as sandbox:
        assert sandbox.url.startswith("https://127.0.0.1:")
        assert sandbox.foreign.url.startswith("https://127.0.0.1:")
        async with AsyncBFL(sandbox.key, base_url=sandbox.url) as bfl:
            result = await bfl.generate("flux-2-klein-4b", prompt="a fox", width=64, height=64)
            assert result.url.startswith(f"{sandbox.url}/results/")
            assert (await result.read())[:2] == b"\xff\xd8"


async def test_the_page_takes_settings_of_its_own_origin_alone(certificate: tuple[Path, Path]) -> None:
    """By https, an origin of http is another one, and the header that would bind a browser is left out."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with (
        Sandbox(tls=server_side(certificate)) as sandbox,
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
