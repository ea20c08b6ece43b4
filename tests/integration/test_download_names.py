"""Where the name of a result leads counts, and not only how it is spelt."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bfl_async import AsyncBFL, DownloadError, Fixed, UntrustedURLError
from tests.integration.contract_server import JPEG, KEY, ContractServer, a_request, redirect
from tests.integration.test_keys_and_proxies import forward_proxy


@contextmanager
def names(patch: pytest.MonkeyPatch, **addresses: list[str]) -> Iterator[list[str]]:
    """Let names lead to these addresses (`_` stands for a dot); yield those that were looked up."""
    getaddrinfo = socket.getaddrinfo
    asked: list[str] = []

    def found(host: str, port: int, *args: object, **named: object) -> list[tuple[object, ...]]:
        given = addresses.get(host.replace(".", "_"))
        if given is None:
            return getaddrinfo(host, port, *args, **named)  # type: ignore[return-value, arg-type]  # handed on
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in given
        ]

    patch.setattr(socket, "getaddrinfo", found)
    yield asked


@contextmanager
def connections(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the addresses that are connected to."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    seen: list[str] = []

    async def noted(sock: socket.socket, address: tuple[str, int]) -> None:
        seen.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError(111, "Connection refused")
        await connect(sock, address)

    patch.setattr(loop, "sock_connect", noted)
    yield seen


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.7"],
        ["169.254.169.254", "192.168.0.1"],
        ["::1"],
        ["fd00::1"],
        ["::ffff:10.0.0.1"],
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["url", "redirect"])
async def test_a_public_name_that_leads_inside_is_not_connected_to(
    way: str, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a name of ours tomorrow: so the result stays, and is asked for again until its time is over."""
    url = "https://images.example.com/x.jpeg"
    async with ContractServer() as server:
        if way == "url":
            server.image_url = lambda _: url
        else:
            server.always_image = redirect(302, url)
        with names(monkeypatch, images_example_com=addresses) as asked, connections(monkeypatch) as connected:
            async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01)) as bfl:
                result = await bfl.generate(a_request())
                with pytest.raises(DownloadError, match="no public address"):
                    await result.read(timeout=0.4)
        assert asked
        assert not set(connected) - {"127.0.0.1"}


async def test_only_the_public_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have one of each kind."""
    async with ContractServer() as server:
        server.image_url = lambda _: "https://images.example.com/x.jpeg"
        found = names(monkeypatch, images_example_com=["10.9.9.9", "93.184.216.34", "127.0.0.2"])
        with found, connections(monkeypatch) as connected:
            async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01)) as bfl:
                result = await bfl.generate(a_request())
                with pytest.raises(DownloadError):
                    await result.read(timeout=0.4)
        assert set(connected) == {"127.0.0.1", "93.184.216.34"}


@pytest.mark.parametrize(
    "url",
    [
        "https://vault:8200/x",
        "https://localhost6/x",
        "https://images.example.com:8443/x",
        "https://db.internal/x",
    ],
)
@pytest.mark.parametrize("way", ["url", "redirect"])
async def test_names_and_ports_inside_a_network_are_not_even_looked_up(
    way: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, in a redirect as well."""
    async with ContractServer() as server:
        if way == "url":
            server.image_url = lambda _: url
        else:
            server.always_image = redirect(307, url)
        everywhere = {
            host: ["127.0.0.1"] for host in ("vault", "localhost6", "images_example_com", "db_internal")
        }
        with names(monkeypatch, **everywhere) as asked:
            async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01)) as bfl:
                with pytest.raises(UntrustedURLError):
                    await (await bfl.generate(a_request())).read(timeout=3)
        assert asked == []


async def test_results_of_a_local_server_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox, also as `localhost`: the base URL's own host may lead anywhere."""
    async with ContractServer() as server:
        port = server.url.rpartition(":")[2]
        server.image_url = lambda _: f"http://localhost:{port}/image/x.jpeg"
        async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01)) as bfl:
            assert await (await bfl.generate(a_request())).read(timeout=3) == JPEG
        server.polling_url = lambda task_id: f"http://gateway.corp:{port}/v1/get_result?id={task_id}"
        server.image_url = lambda _: f"http://gateway.corp:{port}/image/x.jpeg"
        with names(monkeypatch, gateway_corp=["127.0.0.1"]):
            base = f"http://gateway.corp:{port}"
            async with AsyncBFL(KEY, base_url=base, polling=Fixed(0.01), allow_http=True) as bfl:
                assert await (await bfl.generate(a_request())).read(timeout=3) == JPEG


async def test_a_proxy_inside_the_network_is_used_and_looks_names_up_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it leads is the user's choice. Of the result only the name can be judged then."""
    async with ContractServer() as server, forward_proxy(server) as (proxy, heads):
        server.polling_url = lambda task_id: f"http://api.test/v1/get_result?id={task_id}"
        server.image_url = lambda task_id: f"http://api.test/image/{task_id}.jpeg"
        proxy = proxy.replace("127.0.0.1", "proxy.corp")
        with names(monkeypatch, proxy_corp=["127.0.0.1"], api_test=["10.0.0.1"]) as asked:
            async with AsyncBFL(
                KEY, base_url="http://api.test", polling=Fixed(0.01), allow_http=True, proxy=proxy
            ) as bfl:
                assert await (await bfl.generate(a_request())).read(timeout=3) == JPEG
        assert set(asked) == {"proxy.corp"}
        assert len(heads) == 3
