"""Connections, proxies, silent hosts and cancellations from elsewhere, on real sockets: what each means for money."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    BFLError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    DownloadError,
    Fixed,
    FluxKontextPro,
    Result,
    Timeouts,
)
from bfl_async.limiter import LocalLimiter
from tests.integration.contract_server import (
    JPEG,
    KEY,
    ContractServer,
    Cut,
    Hold,
    Say,
    a_request,
    an_image,
    until,
)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(talk: Talk) -> AsyncIterator[int]:
    """A TCP server that does what `talk` says with each connection; gives its port."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()


# --- proxies -------------------------------------------------------------------------------------------------


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def close_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def close_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def reset_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)


def saying(text: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        await asyncio.sleep(0.05)

    return talk


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


FAILURES: dict[str, Talk] = {
    "closes at once": close_at_once,
    "closes after CONNECT": close_after_reading,
    "resets": reset_after_reading,
    "garbage": saying(b"\x16\x03\x01 what is this?\r\n\r\n"),
    "half a reply": saying(b"HTTP/1.1 200 Conn"),
    "half its headers": saying(b"HTTP/1.1 200 OK\r\nVia: 1.1 x\r\nX-"),
    "407": saying(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
    "502": saying(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n"),
    "a redirect": saying(
        b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n"
    ),
    "a tunnel without TLS in it": saying(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n"),
    "a tunnel that closes": saying(b"HTTP/1.1 200 OK\r\n\r\n"),
    "silence": silence,
}


@pytest.mark.parametrize("failure", list(FAILURES))
async def test_2_whatever_a_proxy_does_before_the_tunnel_stands_nothing_was_sent(failure: str) -> None:
    """Invariant 2: not a byte of the submit had left, so it is repeated, and ends as `ConnectError`."""
    async with (
        listener(FAILURES[failure]) as port,
        AsyncBFL(
            KEY,
            base_url="https://api.example",
            proxy=f"http://me:secret@127.0.0.1:{port}",
            timeouts=Timeouts(connect=0.4, reply=5),
        ) as bfl,
    ):
        with pytest.raises(ConnectError, match="nothing was sent") as caught:
            await bfl.generate(a_request())
        assert f"proxy http://127.0.0.1:{port}" in str(caught.value)
        assert "secret" not in repr(caught.value) + str(caught.value)
        now = bfl.statistics()
        assert (now.ambiguous, now.slots_taken) == (0, 0)


@pytest.mark.parametrize("scheme", ["https"])
async def test_2_a_proxy_that_should_speak_tls_and_does_not_is_a_connect_error(scheme: str) -> None:
    """TLS to the proxy itself."""
    async with (
        listener(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port,
        AsyncBFL(
            KEY,
            base_url="https://api.example",
            proxy=f"{scheme}://127.0.0.1:{port}",
            timeouts=Timeouts(connect=0.3),
        ) as bfl,
    ):
        with pytest.raises(ConnectError, match="nothing was sent"):
            await bfl.generate(a_request())
        assert bfl.statistics().slots_taken == 0


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", ["socks5://127.0.0.1:1", "socks4a://me:secret@h:1", "ftp://h:2", "http://h:port"]
)
async def test_a_variable_that_names_no_usable_proxy_is_found_when_the_client_opens(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """A setting is checked wherever it comes from, and the error names the variable and not its value."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable) as caught:
        await AsyncBFL(KEY, base_url="https://api.example").open()
    assert "secret" not in str(caught.value)
    # What is on this machine needs no proxy.
    async with ContractServer() as server, server.client() as bfl:
        assert isinstance(await bfl.generate(a_request()), Result)


async def test_a_variable_without_a_scheme_is_used_as_curl_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the error says through which proxy it went."""
    async with listener(FAILURES["502"]) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        async with AsyncBFL(KEY, base_url="https://api.example", timeouts=Timeouts(connect=0.3)) as bfl:
            with pytest.raises(ConnectError, match=f"proxy http://127.0.0.1:{port}.*502"):
                await bfl.generate(a_request())


# --- a connection that ends, before and after the request left -----------------------------------------------------


async def test_2_once_a_byte_has_left_a_lost_answer_is_ambiguous() -> None:
    """Invariant 2: the same closed connection, after the request was read."""
    for talk in (close_after_reading, reset_after_reading, saying(b"HTTP/1.1 2"), saying(b"garbage\r\n\r\n")):
        async with (
            listener(talk) as port,
            AsyncBFL(
                KEY, base_url=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=1, reply=0.5)
            ) as bfl,
        ):
            with pytest.raises(AmbiguousSubmitError):
                await bfl.generate(a_request())
            assert bfl.statistics().slots_taken == 1


async def test_2_a_host_that_accepts_and_is_silent_is_ambiguous_after_the_time_for_a_reply() -> None:
    """The POST left; the error names what the host did."""
    async with (
        listener(silence) as port,
        AsyncBFL(KEY, base_url=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=5, reply=0.4)) as bfl,
    ):
        began = time.monotonic()
        with pytest.raises(AmbiguousSubmitError, match="in time"):
            await bfl.generate(a_request())
        assert time.monotonic() - began < 3


async def test_2_a_session_closed_by_its_owner_sends_nothing_for_what_waits_in_it() -> None:
    """A request that waits for one of the session's connections is cancelled by aiohttp, and not by us."""
    async with ContractServer() as server:
        hold = Hold(asyncio.Event())
        server.script_submits(hold)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            bfl = await server.client(session=session).open()
            calls = [asyncio.create_task(bfl.generate(a_request())) for _ in range(3)]
            await server.wait_submits(1)
            await session.close()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            await bfl.aclose()
        kinds = sorted(type(end).__name__ for end in ends)
        assert kinds.count("AmbiguousSubmitError") <= len(server.submits) == 1
        assert all(isinstance(end, AmbiguousSubmitError | ConfigError | ConnectError) for end in ends), ends


# --- one kind of work does not starve another ----------------------------------------------------------------------


async def test_submits_and_polls_go_on_while_every_download_hangs() -> None:
    """Downloads have connections of their own."""
    async with ContractServer() as server, server.client(limits=200, timeouts=Timeouts(connect=2)) as bfl:
        results = await bfl.gather([a_request() for _ in range(150)])
        server.always_image = Hold(asyncio.Event())
        reads = [asyncio.create_task(result.read(timeout=60)) for result in results]
        await until(lambda: len(server.images) > 10)
        began = time.monotonic()
        assert isinstance(await bfl.generate(a_request()), Result)
        assert time.monotonic() - began < 2
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_each_slot_of_a_limiter_has_a_connection() -> None:
    """The number of connections follows the limiter that was given, and not a setting that does not apply."""
    release = asyncio.Event()
    async with ContractServer() as server:

        async def slow(_: object) -> None:
            await release.wait()

        server.always_submit = slow
        async with AsyncBFL(
            KEY,
            base_url=server.url,
            limiter=LocalLimiter(250),
            polling=Fixed(0.02),
            timeouts=Timeouts(connect=5),
        ) as bfl:
            calls = [asyncio.create_task(bfl.generate(a_request())) for _ in range(250)]
            await until(lambda: len(server.submits) == 250, timeout=20)
            release.set()
            await asyncio.gather(*calls)
            assert bfl.statistics().ready == 250


async def test_nothing_waits_for_threads_that_the_program_has_filled(tmp_path: Path) -> None:
    """40 threads of anyio and all of asyncio's own wait for us: names, files and encoding have threads of ours."""
    release = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    blocked = [loop.run_in_executor(None, release.wait) for _ in range(8)]
    source = tmp_path / "in.png"
    source.write_bytes(an_image("PNG"))
    try:
        async with ContractServer() as server, asyncio.timeout(20):
            server.url = server.url.replace("127.0.0.1", "localhost")
            async with AsyncBFL(
                KEY, base_url=server.url, polling=Fixed(0.02), timeouts=Timeouts(connect=3)
            ) as bfl:

                async def work(number: int) -> Path:
                    result = await bfl.generate(FluxKontextPro(prompt="x", input_image=source))
                    return await result.save(tmp_path / str(number))

                saved = await asyncio.gather(
                    *(anyio.to_thread.run_sync(anyio.from_thread.run, work, n) for n in range(40))
                )
                assert len({*saved}) == 40
    finally:
        release.set()
        await asyncio.gather(*blocked)


async def test_after_the_close_no_thread_of_ours_is_left(tmp_path: Path) -> None:
    """Invariant 9: no task, thread or socket."""
    before = set(threading.enumerate())
    async with ContractServer() as server:
        source = tmp_path / "in.png"
        source.write_bytes(an_image("PNG"))
        server.url = server.url.replace("127.0.0.1", "localhost")
        async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.02)) as bfl:
            result = await bfl.generate(FluxKontextPro(prompt="x", input_image=source))
            await result.save(tmp_path / "out")
            assert set(threading.enumerate()) - before
        # One of another test's may end meanwhile.
        assert set(threading.enumerate()) - before == set()


# --- downloads ------------------------------------------------------------------------------------------------------


class Stalling:
    """An image host that falls silent in its first answers, at some byte, and is well afterwards."""

    def __init__(self, after_bytes: int | None, times: int) -> None:
        self.after_bytes = after_bytes  # None: not even a header
        self.times = times
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG)
        if self.asked > self.times:
            writer.write(head + JPEG)
        elif self.after_bytes is not None:
            writer.write(head + JPEG[: self.after_bytes])
        await reader.read()


@pytest.mark.parametrize("after_bytes", [None, 0, 1, 700])
@pytest.mark.parametrize(("timeout", "times"), [(7.0, 1), (12.0, 2)])
@pytest.mark.slow
async def test_a_download_that_falls_silent_is_given_up_and_tried_again(
    after_bytes: int | None, timeout: float, times: int
) -> None:
    """A download costs nothing: no single attempt may use up all the time."""
    host = Stalling(after_bytes, times)
    async with ContractServer() as server, listener(host) as port:
        server.image_url = lambda task_id: f"http://127.0.0.1:{port}/image/{task_id}.jpeg"
        async with server.client() as bfl:
            result = await bfl.generate(a_request())
            assert await result.read(timeout=timeout) == JPEG
            assert host.asked == times + 1


class Slow:
    """An image host that needs some time for each answer, or sends it byte by byte."""

    def __init__(self, wait_s: float, *, trickles: int = 0) -> None:
        self.wait_s = wait_s
        self.trickles = trickles  # answers that come a byte at a time
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG))
        if self.asked <= self.trickles:
            for byte in JPEG:
                writer.write(bytes([byte]))
                await asyncio.sleep(self.wait_s)
        await asyncio.sleep(self.wait_s)
        writer.write(JPEG)
        await reader.read()


@pytest.mark.parametrize(("latency_s", "timeout"), [(1.4, 3.0), (2.4, 6.0), (5.5, 20.0)])
@pytest.mark.slow
async def test_a_host_that_is_slow_and_not_silent_is_given_more_time(
    latency_s: float, timeout: float
) -> None:
    """Each attempt may take longer than the one before, and the last one all that is left."""
    async with ContractServer() as server, listener(Slow(latency_s)) as port:
        server.image_url = lambda task_id: f"http://127.0.0.1:{port}/image/{task_id}.jpeg"
        async with server.client() as bfl:
            result = await bfl.generate(a_request())
            assert await result.read(timeout=timeout) == JPEG


@pytest.mark.slow
async def test_a_download_that_only_trickles_is_given_up_and_tried_again() -> None:
    """A byte now and then does not show that it will ever be whole."""
    host = Slow(0.3, trickles=1)
    async with ContractServer() as server, listener(host) as port:
        server.image_url = lambda task_id: f"http://127.0.0.1:{port}/image/{task_id}.jpeg"
        async with server.client() as bfl:
            result = await bfl.generate(a_request())
            assert await result.read(timeout=9) == JPEG
            assert host.asked == 2


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.slow
async def test_a_session_with_few_connections_serves_all_requests_one_after_the_other(limit: int) -> None:
    """The wait for one of the session's connections is no time that is spent on connecting."""
    async with ContractServer() as server:

        async def slow(_: object) -> None:
            await asyncio.sleep(0.25)

        server.always_submit = slow
        connector = aiohttp.TCPConnector(limit=limit)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            server.client(session=session, timeouts=Timeouts(connect=0.6)) as bfl,
        ):
            results = await bfl.gather([a_request() for _ in range(10)])
            assert [await result.read() for result in results] == [JPEG] * 10
            assert bfl.statistics().ambiguous == 0


async def test_2_a_submit_does_not_use_a_connection_that_was_closed_while_the_loop_stood_still() -> None:
    """The loop has not seen the end of the connection yet; the system has."""
    async with ContractServer() as server, server.client(timeouts=Timeouts(connect=3)) as bfl:
        for _ in range(3):
            await bfl.generate(a_request())
            server.close_connections(delay_s=0.05)
            time.sleep(0.3)  # noqa: ASYNC251 - the loop stands still on purpose
        assert bfl.statistics().ambiguous == 0


async def test_image_hosts_without_an_address_hold_up_no_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of image hosts are looked up in threads of their own."""
    release = threading.Event()
    lookup = socket.getaddrinfo

    def hanging(host: str, *more: object, **named: object) -> object:
        if host.startswith("images"):
            release.wait(20)
        return lookup(host, *more, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    async with ContractServer() as server:
        server.image_url = lambda task_id: f"https://images-{task_id}.example/x.jpeg"
        server.url = server.url.replace("127.0.0.1", "localhost")
        async with server.client(timeouts=Timeouts(connect=2), limits=20) as bfl:
            results = await bfl.gather([a_request() for _ in range(12)])
            reads = [asyncio.create_task(result.read(timeout=10)) for result in results]
            await asyncio.sleep(0.3)
            async with server.client(timeouts=Timeouts(connect=2)) as other:
                assert isinstance(await other.generate(a_request()), Result)
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
            release.set()


async def test_saves_that_wait_for_a_thread_when_the_client_closes_end_with_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Written, or `ClientClosedError`; never a bare `CancelledError`."""
    fsync = os.fsync

    def slow(fd: int) -> None:
        time.sleep(0.3)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    async with ContractServer() as server:
        bfl = await server.client(limits=60).open()
        results = await bfl.gather([a_request() for _ in range(40)])
        saves = [asyncio.create_task(result.save(tmp_path / str(n))) for n, result in enumerate(results)]
        await until(lambda: any(tmp_path.iterdir()))
        await bfl.aclose()
        ends = await asyncio.gather(*saves, return_exceptions=True)
        assert {type(end) for end in ends} <= {ClientClosedError, type(tmp_path)}, ends
        assert sum(isinstance(end, Path) for end in ends) == len([*tmp_path.glob("*.jpg")])
        assert not [*tmp_path.glob("*.part")]


async def test_17_a_strange_date_of_the_image_host_is_no_error_of_its_own() -> None:
    """Whatever the header says, the download ends with an error of ours."""
    for date in (
        "Thu, 01 Jan 2020 00:00:00 +99999999999999999",
        "yesterday",
        "",
        "Thu, 32 Jan 99999 00:00:00 GMT",
    ):
        async with ContractServer() as server, server.client() as bfl:
            result = await bfl.generate(a_request())
            server.always_image = Say(403, headers={"Date": date})
            with pytest.raises(DownloadError):
                await result.read(timeout=0.5)


async def test_17_reading_ends_in_time_though_the_poll_for_a_fresh_url_hangs() -> None:
    """The timeout covers every wait beneath it."""
    async with ContractServer() as server, server.client() as bfl:
        result = await bfl.generate(a_request())
        server.always_image = Say(403)
        server.always_poll = Hold(asyncio.Event())
        began = time.monotonic()
        with pytest.raises(DownloadError, match="HTTP 403"):
            await result.read(timeout=0.5)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("timeout", [None, float("inf"), 10**400, 30, 2.5])
async def test_17_reading_takes_the_timeouts_that_every_call_takes(
    timeout: float | None, tmp_path: Path
) -> None:
    """None and infinity set no bound."""
    async with ContractServer() as server, server.client() as bfl:
        result = await bfl.generate(a_request())
        assert await result.read(timeout=timeout) == JPEG
        assert (await result.save(tmp_path / "x", timeout=timeout)).read_bytes() == JPEG


@pytest.mark.parametrize("timeout", [float("nan"), "30", True])
async def test_17_reading_refuses_what_is_no_timeout(timeout: float) -> None:
    """As every call does."""
    async with ContractServer() as server, server.client() as bfl:
        result = await bfl.generate(a_request())
        with pytest.raises(ConfigError):
            await result.read(timeout=timeout)
        assert server.images == []


@pytest.mark.parametrize("timeout", [0, -1])
async def test_11_reading_without_time_asks_nothing(timeout: float, tmp_path: Path) -> None:
    """`timeout <= 0` sends nothing."""
    async with ContractServer() as server, server.client() as bfl:
        result = await bfl.generate(a_request())
        for call in (result.read(timeout=timeout), result.save(tmp_path / "x", timeout=timeout)):
            with pytest.raises(DownloadError):
                await call
        assert server.images == []


async def test_callers_that_read_when_the_client_closes_get_an_error_of_ours() -> None:
    """Never a bare `CancelledError`, which a task group takes for success."""
    async with ContractServer() as server:
        bfl = await server.client(limits=150).open()
        results = await bfl.gather([a_request() for _ in range(150)])
        server.always_image = Hold(asyncio.Event())
        reads = [asyncio.create_task(result.read(timeout=None)) for result in results]
        await until(lambda: len(server.images) > 20)
        await bfl.aclose()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(end) for end in ends} == {ClientClosedError}


async def test_a_read_that_waits_before_its_next_attempt_ends_when_the_client_closes() -> None:
    """The wait is not waited out."""
    async with ContractServer() as server:
        bfl = await server.client().open()
        result = await bfl.generate(a_request())
        server.always_image = Say(503, headers={"Retry-After": "3000"})
        read = asyncio.create_task(result.read(timeout=5_000))
        await until(lambda: len(server.images) == 1)
        await bfl.aclose()
        async with asyncio.timeout(2):
            with pytest.raises(ClientClosedError):
                await read


async def test_an_account_call_that_is_open_when_the_client_closes_says_so() -> None:
    """A call that outlives its client does not blame the caller's settings."""
    async with ContractServer() as server:
        bfl = await server.client().open()
        server.routes["/v1/credits"] = Hold(asyncio.Event())
        server.routes["/v1/my_finetunes"] = Cut(b"{", 100)
        calls = [
            asyncio.create_task(call) for call in (bfl.credits(), bfl.finetunes(), bfl.get("/v1/credits"))
        ]
        await until(lambda: len(server.at("/v1/credits")) == 2)
        await bfl.aclose()
        for end in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(end, ClientClosedError), repr(end)


# --- cancellations that are not ours ---------------------------------------------------------------------------------


class SharedRefresh:
    """A key that all calls wait for together, as secret managers do; the refresh may be cancelled."""

    def __init__(self) -> None:
        self.refresh: asyncio.Future[str] | None = None
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.refresh is None:
            return KEY
        return await self.refresh


async def test_a_cancelled_refresh_of_the_key_is_a_failed_connection_and_a_failed_poll() -> None:
    """The submit is repeated, the paid task is followed on, and the client stays open."""
    keys = SharedRefresh()
    async with (
        ContractServer(hold_tasks=True) as server,
        AsyncBFL(keys, base_url=server.url, polling=Fixed(0.02), timeouts=Timeouts(connect=3)) as bfl,
    ):
        polled = asyncio.create_task(bfl.generate(a_request()))
        await server.wait_polls(2)
        keys.refresh = asyncio.get_running_loop().create_future()
        asked = keys.asked
        submitted = asyncio.create_task(bfl.generate(a_request()))
        await until(lambda: keys.asked >= asked + 2)
        refresh, keys.refresh = keys.refresh, None
        refresh.cancel()
        await server.wait_submits(2)
        for task_id in ("task-0", "task-1"):
            server.settle(task_id)
        assert {type(end) for end in await asyncio.gather(polled, submitted)} == {Result}
        assert (len(server.submits), bfl.statistics().ambiguous) == (2, 0)


async def test_a_cancelled_refresh_during_an_account_call_is_repeated() -> None:
    """It counts as a connection that failed."""
    keys = SharedRefresh()
    async with ContractServer() as server, AsyncBFL(keys, base_url=server.url) as bfl:
        keys.refresh = asyncio.get_running_loop().create_future()
        call = asyncio.create_task(bfl.credits())
        await until(lambda: keys.asked == 1)
        refresh, keys.refresh = keys.refresh, None
        refresh.cancel()
        assert await call == 123.5


async def test_a_read_whose_wait_was_cancelled_from_elsewhere_is_not_cancelled() -> None:
    """A session that closes under it, as its owner may do at any time."""
    async with (
        ContractServer() as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session,
        server.client(session=session) as bfl,
    ):
        results = await bfl.gather([a_request() for _ in range(6)])
        server.always_image = Hold(asyncio.Event())
        reads = [asyncio.create_task(result.read(timeout=20)) for result in results]
        await until(lambda: len(server.images) >= 1)
        await session.close()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(end, BFLError) for end in ends), ends
