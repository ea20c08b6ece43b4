"""The aiohttp transport against mocked replies: what goes out, what comes back, and which error it is.

Everything about connections, timeouts and cancellation is tested on real sockets instead.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import aiohttp
import aioresponses.core
import pytest
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses as Mocked
from aioresponses.compat import normalize_url
from aioresponses.core import RequestCall
from yarl import URL

from bfl_async import ConnectError, ReplyTimeoutError, Timeouts, TransportError, UntrustedURLError
from bfl_async.transport.http import HTTPTransport

KEY = "bfl_secret-key"
API = "https://api.bfl.ai"
CLUSTER = "https://api.eu4.bfl.ai/v1/get_result?id=a%2Fb"
IMAGE = "https://host.blob.core.windows.net/x.jpeg?se=2025-12-18T15%3A49%3A07Z&sig=a%2Bb%3D"


class _Response(aiohttp.ClientResponse):
    """aiohttp 3.14 wants a stream writer, which aioresponses 0.7.9 does not give (pnuckowski/aioresponses#289)."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # what aioresponses passes on


def _unpaused_reader(loop: asyncio.AbstractEventLoop | None = None) -> aiohttp.StreamReader:
    """A reader that never asks its connection to pause: there is none (pnuckowski/aioresponses#292)."""
    loop = loop or asyncio.get_running_loop()
    return aiohttp.StreamReader(ResponseHandler(loop=loop), limit=2**30, loop=loop)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mocked]:
    """Mocked replies; a URL without one is refused a connection."""
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)
    monkeypatch.setattr(aioresponses.core, "stream_reader_factory", _unpaused_reader)
    with Mocked() as made:
        yield made


@pytest.fixture
async def transport() -> AsyncIterator[HTTPTransport]:
    made = HTTPTransport(
        key=KEY, base_url=API, timeouts=Timeouts(connect=1, reply=1), connections=2, agent="test"
    )
    await made.open()
    yield made
    await made.aclose()


def calls(mocked: Mocked, method: str, url: str) -> list[RequestCall]:
    """The calls that went to a URL, which is taken as it stands there."""
    return [
        call
        for (verb, asked), some in mocked.requests.items()
        for call in some
        if (verb, asked) == (method, normalize_url(URL(url, encoded=True)))
    ]


def carried_key(call: RequestCall) -> bool:
    headers: dict[str, str] = call.kwargs["headers"]
    return any(KEY in value for value in headers.values())


async def test_submit_is_one_post_with_the_key_and_follows_no_redirect(
    mocked: Mocked, transport: HTTPTransport
) -> None:
    """Invariants 2 and 5: whatever the answer, it is handed back and nothing is sent a second time."""
    mocked.post(API + "/v1/flux-dev", status=307, headers={"Location": "https://evil.example/"})
    reply = await transport.submit("/v1/flux-dev", b'{"prompt":"a cat"}')
    assert reply.status_code == 307
    (call,) = calls(mocked, "POST", API + "/v1/flux-dev")
    assert call.kwargs["headers"]["x-key"] == KEY
    assert call.kwargs["headers"]["Content-Type"] == "application/json"
    assert call.kwargs["data"] == b'{"prompt":"a cat"}'
    assert call.kwargs["allow_redirects"] is False
    assert len(mocked.requests) == 1


async def test_key_goes_to_polls_of_bfl_and_never_to_the_image_host(
    mocked: Mocked, transport: HTTPTransport
) -> None:
    """Invariant 5; URLs are asked exactly as they were received."""
    mocked.get(URL(CLUSTER, encoded=True), payload={"status": "Pending"})
    mocked.get(URL(IMAGE, encoded=True), body=b"x" * 500_000)
    assert (await transport.poll(CLUSTER)).status_code == 200
    assert len((await transport.download(IMAGE, timeout=5)).body) == 500_000
    (polled,) = calls(mocked, "GET", CLUSTER)
    (fetched,) = calls(mocked, "GET", IMAGE)
    assert (carried_key(polled), carried_key(fetched)) == (True, False)


async def test_url_that_was_downloaded_is_not_trusted_with_the_key_for_it(
    mocked: Mocked, transport: HTTPTransport
) -> None:
    """Invariant 5: what is kept of a URL that may carry the key is kept of those alone, however often it is asked."""
    mocked.get(URL(IMAGE, encoded=True), body=b"image")
    mocked.get(URL(CLUSTER, encoded=True), payload={"status": "Pending"}, repeat=True)
    await transport.download(IMAGE, timeout=1)
    for _ in range(2):
        await transport.poll(CLUSTER)
        with pytest.raises(UntrustedURLError):
            await transport.poll(IMAGE)
    assert len(calls(mocked, "GET", IMAGE)) == 1


@pytest.mark.parametrize(
    "target", ["https://evil.example/x", "http://api.bfl.ai/x", "https://api.bfl.ai:8443/x"]
)
async def test_redirected_poll_takes_the_key_to_nobody_else(
    mocked: Mocked, transport: HTTPTransport, target: str
) -> None:
    """Each hop is guarded like the first URL; the foreign host is not even asked without the key."""
    mocked.get(URL(CLUSTER, encoded=True), status=302, headers={"Location": target})
    with pytest.raises(UntrustedURLError):
        await transport.poll(CLUSTER)
    assert len(mocked.requests) == 1


async def test_poll_follows_five_redirects_and_no_more(mocked: Mocked, transport: HTTPTransport) -> None:
    """To clusters of BFL it may be sent on; in a circle it must end."""
    for hop in range(5):
        mocked.get(f"{API}/{hop}", status=302, headers={"Location": f"/{hop + 1}"})
    mocked.get(f"{API}/5", payload={"status": "Pending"})
    assert (await transport.poll(f"{API}/0")).status_code == 200

    mocked.get(f"{API}/self", status=302, headers={"Location": "/self"}, repeat=True)
    with pytest.raises(TransportError, match="redirects"):
        await transport.poll(f"{API}/self")
    assert len(calls(mocked, "GET", f"{API}/self")) == 6


async def test_error_reply_does_not_show_the_key_it_repeats(mocked: Mocked, transport: HTTPTransport) -> None:
    """A server that echoes its headers must not put the key into a log."""
    mocked.post(API + "/v1/flux-dev", status=500, body=f"bad header x-key: {KEY}")
    reply = await transport.submit("/v1/flux-dev", b"{}")
    assert reply.body == b"bad header x-key: [key]"


def _key() -> aiohttp.client_reqrep.ConnectionKey:
    return aiohttp.client_reqrep.ConnectionKey("api.bfl.ai", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (aiohttp.ClientConnectorError(_key(), OSError(111, "Connection refused")), ConnectError),
        (aiohttp.ConnectionTimeoutError(), ConnectError),
        (aiohttp.InvalidURL("nonsense"), ConnectError),
        (aiohttp.SocketTimeoutError(), ReplyTimeoutError),
        (TimeoutError(), ReplyTimeoutError),
        (aiohttp.ServerDisconnectedError(), TransportError),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), TransportError),
        (aiohttp.ClientPayloadError("cut"), TransportError),
        (ConnectionResetError(), TransportError),
        (ValueError("garbage"), TransportError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
async def test_errors_of_the_wire_are_ours_and_say_whether_anything_was_sent(
    mocked: Mocked, transport: HTTPTransport, raised: Exception, expected: type[TransportError]
) -> None:
    """Invariant 2 hangs on it: `ConnectError` alone says that nothing was sent."""
    mocked.post(API + "/v1/flux-dev", exception=raised)
    with pytest.raises(TransportError) as caught:
        await transport.submit("/v1/flux-dev", b"{}")
    assert type(caught.value) is expected
    assert caught.value.__cause__ is None
    assert KEY not in str(caught.value)
