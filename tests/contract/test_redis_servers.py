"""What a Redis that has moved, or that is not what the URL says, does to the limiter on it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from benchmarks.redis_server import MISSING, RedisServer
from bfl_async import LimiterError
from bfl_async.limiter import RedisLimiter
from tests.contract.limiters import Book, Owner, redis_server
from tests.contract.ways import way_to
from tests.tls import Certificate, certificate_in
from tests.waiting import wait_until

__all__ = ["redis_server"]  # a fixture


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two empty ones."""
    if not RedisServer.is_there():
        pytest.skip(MISSING)
    with ExitStack() as stack:
        made = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            server = RedisServer(tmp_path / name)
            server.start()
            stack.callback(server.kill)
            made.append(server)
        yield made[0], made[1]


# --- whom it talks to -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stale", ["yes", "no"], ids=["READONLY", "MASTERDOWN"])
async def test_a_server_that_is_no_longer_the_one_is_left(
    stale: str, servers: tuple[RedisServer, RedisServer]
) -> None:
    """After a failover the name leads elsewhere, and the old node keeps its connections and refuses to write."""
    old, new = servers
    async with way_to(old.port) as way:
        book = Book("redis", way.url)
        limiter = await book.limiter(2)
        first = Owner("first", [])
        limiter.enqueue(first.lease)
        await wait_until(first.has_slot)
        # A master that is not there: a replica then has only stale data, if it may tell it.
        old.command("config", "set", "replica-serve-stale-data", stale)
        old.command("replicaof", "127.0.0.1", "1")
        way.target = new.port
        later = Owner("later", [])
        limiter.enqueue(later.lease)
        await wait_until(later.has_slot, timeout=8)
        woken = await Book("redis", new.url, account=book.account).limiter(2)
        # It is woken through the new server too.
        waiting = Owner("waiting", [])
        limiter.enqueue(waiting.lease)
        await limiter.flush()
        began = time.monotonic()
        limiter.release(later.lease)
        await wait_until(waiting.has_slot)
        assert time.monotonic() - began < 1
        await book.aclose()
        await woken.aclose()


async def answer_always(line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each command of a client with the same line."""
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            words = int((await reader.readline())[1:] or b"0")
            if not words:
                break
            for _ in range(words):
                length = int((await reader.readline())[1:])
                await reader.readexactly(length + 2)
            writer.write(line + b"\r\n")
    writer.close()


@pytest.mark.parametrize(
    "line",
    [
        b"-MOVED 866 127.0.0.1:7002",
        b"-ASK 866 127.0.0.1:7002",
        b"-CROSSSLOT Keys in request don't hash to the same slot",
        b"-CLUSTERDOWN Hash slot not served",
    ],
    ids=lambda line: line.split()[0].decode(),
)
async def test_a_node_of_a_cluster_is_told_at_the_opening(line: bytes) -> None:
    """Waiting does not help: it is named, and the opening ends."""
    server = await asyncio.start_server(
        lambda reader, writer: answer_always(line, reader, writer), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        limiter = RedisLimiter(f"redis://127.0.0.1:{port}", 2)
        limiter.use_account("account")
        async with asyncio.timeout(10):
            with pytest.raises(LimiterError, match="Redis Cluster"):
                await limiter.open()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A self-signed certificate."""
    return certificate_in(tmp_path)


@pytest.mark.parametrize(
    ("scheme", "has_tls", "named"),
    [
        ("rediss", True, "certificate cannot be verified"),
        ("rediss", False, "does not speak TLS"),
        ("redis", True, "speaks TLS"),
    ],
)
@pytest.mark.slow
async def test_a_mistake_about_tls_is_told_at_the_opening(
    scheme: str, has_tls: bool, named: str, certificate: Certificate, redis_server: RedisServer
) -> None:
    """Of a certificate, of TLS to a plain port, and of plain text to a port with TLS."""
    port = redis_server.port
    server: asyncio.Server | None = None
    if has_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
    limiter = RedisLimiter(f"{scheme}://127.0.0.1:{port}", 2)
    limiter.use_account("account")
    async with asyncio.timeout(15):
        with pytest.raises(LimiterError, match=named):
            await limiter.open()
    if server is not None:
        server.close()
