"""Keys that rotate, headers of the caller's own, and proxies: what goes where, and what a failure means for money."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from bfl_async import (
    AsyncBFL,
    ConfigError,
    ConnectError,
    Fixed,
    RefusedError,
    Timeouts,
    UntrustedURLError,
)
from bfl_async.limiter import FileLimiter
from tests.fake import FakeAPI
from tests.integration.contract_server import JPEG, KEY, ContractServer, a_request, no_secret_in, say

ROTATED = "bfl_another-key-of-the-same-account"


class Rotating:
    """Returns the next of its answers each time, the last one for ever; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0

    def _next(self) -> str:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]  # what is no text is what some tests are about

    def __call__(self) -> str:
        return self._next()

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self._next()


def client(server: ContractServer, key: Callable[[], str | Awaitable[str]], connect: float = 5) -> AsyncBFL:
    return AsyncBFL(key, base_url=server.url, polling=Fixed(0.01), timeouts=Timeouts(connect=connect))


# ---- the key


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_key_function_is_asked_at_each_call(is_async: bool) -> None:
    """Rotation needs no restart: each call carries the key of its moment, stripped as any key is."""
    keys = Rotating(f" {KEY}\n", ROTATED)
    async with ContractServer() as server, client(server, keys.later if is_async else keys) as bfl:
        result = await bfl.generate(a_request())
        assert await bfl.credits() == 123.5
        assert await result.read() == JPEG
        sent = [seen.headers.get("x-key") for seen in server.seen]
        assert sent == [KEY, ROTATED, ROTATED, None]
        assert keys.asked == 3


async def test_2_a_key_that_cannot_be_had_sends_nothing_and_is_asked_for_again() -> None:
    """Invariant 2: like a connection that cannot be made: repeated with back-off, and sent once."""
    keys = Rotating(OSError("the vault is away"), KEY)
    async with ContractServer() as server, client(server, keys) as bfl:
        await bfl.generate(a_request())
        assert len(server.submits) == 1


async def test_2_a_key_that_never_comes_is_a_connect_error() -> None:
    """Invariant 2: after `Timeouts.connect` the request fails, with the reason as its cause; its slot is free."""
    keys = Rotating(OSError("the vault is away"))
    async with ContractServer() as server, client(server, keys, connect=0.3) as bfl:
        with pytest.raises(
            ConnectError, match=r"api_key function failed \(OSError\): nothing was sent"
        ) as caught:
            await bfl.generate(a_request())
        assert isinstance(caught.value.__cause__, OSError)
        assert server.seen == []
        assert bfl.statistics().slots_taken == 0


async def test_a_key_function_that_hangs_is_given_up() -> None:
    """Every wait has a deadline: `Timeouts.connect` holds for it."""

    async def hang() -> str:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with ContractServer() as server, client(server, hang, connect=0.2) as bfl:
        with pytest.raises(ConnectError, match="took too long"):
            await bfl.generate(a_request())
        assert server.seen == []


@pytest.mark.parametrize("wrong", ["", "two words", "a\r\nx-evil: 1", None, 7])
async def test_what_is_no_key_is_refused_at_once(wrong: object) -> None:
    """Nothing is sent, and what was returned is not shown."""
    async with ContractServer() as server, client(server, Rotating(wrong)) as bfl:
        with pytest.raises(ConfigError) as caught:
            await bfl.generate(a_request())
        assert server.seen == []
        assert not wrong or str(wrong) not in str(caught.value)


async def test_3_a_poll_without_a_key_is_only_a_failed_poll() -> None:
    """Invariant 3: it is repeated, and the paid image comes home."""
    keys = Rotating(KEY, "no key at all", KEY)
    async with ContractServer() as server, client(server, keys) as bfl:
        result = await bfl.generate(a_request())
        assert result.task_id == "task-0"
        assert len(server.submits) == len(server.polls) == 1


async def test_5_a_rotated_key_shows_in_no_error_and_no_repr() -> None:
    """Invariant 5: an error reply that repeats the key of its call is masked like any other."""
    async with ContractServer() as server, client(server, Rotating(ROTATED)) as bfl:
        server.script_submits(lambda seen: say(403, {"detail": f"bad key {seen.headers['x-key']}"}))
        with pytest.raises(RefusedError) as caught:
            await bfl.generate(a_request())
        no_secret_in(caught.value, caught.value.body, repr(bfl), also=[ROTATED])
        assert "[key]" in str(caught.value)


def test_a_shared_limiter_needs_a_name_for_the_account_of_keys_that_rotate(tmp_path: Path) -> None:
    """Else each process would count slots under the key that it was given first."""
    with pytest.raises(ConfigError, match="account="):
        AsyncBFL(Rotating(KEY), limiter=FileLimiter(tmp_path))
    with pytest.raises(ConfigError, match="account"):
        AsyncBFL(KEY, account="")


async def test_clients_of_one_account_name_share_its_slots_whatever_their_keys(tmp_path: Path) -> None:
    """`account=` takes the key's place as the account's name; the name itself is not in the folder."""
    async with ContractServer() as server:
        for key, account in ((Rotating(KEY), "production"), (Rotating(ROTATED), "production"), (KEY, None)):
            async with (
                FileLimiter(tmp_path) as limiter,
                AsyncBFL(key, base_url=server.url, limiter=limiter, account=account),
            ):
                pass
    books = [path.name for path in tmp_path.glob("*.db")]
    assert len(books) == 2
    assert "production" not in str(books)


# ---- headers


async def test_5_default_headers_go_where_the_key_goes_and_nowhere_else() -> None:
    """Invariant 5: they may be secrets as well."""
    secret = "a-secret-of-the-gateway"
    async with ContractServer() as images, ContractServer() as server:
        server.image_url = lambda task_id: f"{images.url}/image/{task_id}.jpeg"
        headers = {"X-Gateway": secret, "User-Agent": "my-app/1"}
        async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01), default_headers=headers) as bfl:
            headers.clear()  # a copy was taken
            result = await bfl.generate(a_request())
            await bfl.credits()
            await result.read()
            assert [seen.headers.get("x-gateway") for seen in server.seen] == [secret] * 3
            assert {seen.headers["user-agent"] for seen in server.seen} == {"my-app/1"}
            assert all(seen.headers["x-key"] == KEY for seen in server.seen)
            assert "x-gateway" not in images.images[0].headers
            server.script_submits(say(403, {"detail": f"no {secret}"}))
            with pytest.raises(RefusedError) as caught:
                await bfl.generate(a_request())
            no_secret_in(caught.value, caught.value.body, repr(bfl), also=[secret])


async def test_5_query_goes_to_the_base_url_and_nowhere_else() -> None:
    """Invariant 5: it may hold a secret as well; a polling URL and a result's are used as they came."""
    secret = "a-secret/of the+gateway"
    query = {"api-version": "preview", "code": secret}
    added = "api-version=preview&code=a-secret%2Fof%20the%2Bgateway"
    async with ContractServer() as images, ContractServer() as server:
        server.image_url = lambda task_id: f"{images.url}/image/{task_id}.jpeg"
        async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01), query=query) as bfl:
            query.clear()  # a copy was taken
            result = await bfl.generate(a_request())
            await result.read()
            await bfl.credits()
            with pytest.raises(RefusedError, match="404"):
                await bfl.get("/v1/finetune_details?finetune_id=x")
            submit, poll, credits, details = [seen.target for seen in server.seen]
            assert submit == f"/v1/flux-pro-1.1?{added}"
            assert "api-version" not in poll
            assert credits == f"/v1/credits?{added}"
            assert details == f"/v1/finetune_details?finetune_id=x&{added}"
            assert "api-version" not in images.images[0].target
            server.script_submits(say(403, {"detail": f"no {secret}, {added}"}, X_Request_Id=secret))
            with pytest.raises(RefusedError) as caught:
                await bfl.generate(a_request())
            no_secret_in(caught.value, caught.value.body, repr(bfl), also=[secret, added[-20:]])


@pytest.mark.parametrize(
    "query",
    [{"": "x"}, {"a": 3}, {"a": None}, {3: "a"}, {"id": "x"}, {"a\n": "x"}, {"a": "x\r\ny"}, {"a": "\u00e9"},
     {"a": "x" * 3_000}, [("a", "b")], "a=b"],
)  # fmt: skip
def test_query_that_cannot_be_sent_is_refused(query: object) -> None:
    """Before any I/O; and a transport of one's own has its URLs."""
    with pytest.raises(ConfigError, match="query"):
        AsyncBFL(KEY, query=query)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="transport="):
        AsyncBFL(transport=FakeAPI(), query={"a": "b"})


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_5_trusted_hosts_get_the_key_and_no_others(is_trusted: bool) -> None:
    """Invariant 5: a host that `trusted_hosts` names is polled with the key and the headers; any other is not asked."""
    async with ContractServer() as polls, ContractServer() as server:
        hosts = [urlsplit(polls.url if is_trusted else server.url).netloc]
        server.script_submits(
            say(200, {"id": "task-0", "polling_url": f"{polls.url}/v1/get_result?id=task-0"})
        )
        polls.script_polls(say(200, server.ready("task-0")))
        async with AsyncBFL(
            KEY, base_url=server.url, polling=Fixed(0.01), default_headers={"X-A": "a"}, trusted_hosts=hosts
        ) as bfl:
            if is_trusted:
                assert (await bfl.generate(a_request())).task_id == "task-0"
                assert [(seen.headers["x-key"], seen.headers["x-a"]) for seen in polls.seen] == [(KEY, "a")]
            else:
                with pytest.raises(UntrustedURLError) as caught:
                    await bfl.generate(a_request())
                assert caught.value.task_id == "task-0"
                assert polls.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "other"},
        {"host": "evil.example"},
        {"Content-Type": "text/plain"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Expect": "100-continue"},
        {"Proxy-Authorization": "Basic x"},
        {"X-A": "a\r\nx-key: b"},
        {"X A": "a"},
        {"": "a"},
        {"X-A": 3},
        [("X-A", "a")],
        "X-A: a",
    ],
)
def test_default_headers_that_make_the_exchange_are_refused(headers: object) -> None:
    """`x-key`, `Host`, the body's headers; names and values that are none."""
    with pytest.raises(ConfigError, match="default_headers"):
        AsyncBFL(KEY, default_headers=headers)  # type: ignore[arg-type]  # on purpose


def test_a_transport_brings_its_own_connections_and_headers() -> None:
    """What could not take effect is refused instead of forgotten."""
    with pytest.raises(ConfigError, match="transport="):
        AsyncBFL(transport=FakeAPI(), default_headers={"X-A": "a"})
    with pytest.raises(ConfigError, match="transport="):
        AsyncBFL(transport=FakeAPI(), proxy="http://proxy.example")


# ---- proxies

PASSWORD = "pass-of-the-proxy"


@asynccontextmanager
async def forward_proxy(
    server: ContractServer, refuse: bytes = b""
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that sends each request on to `server`, whatever its host; and the heads that it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        if refuse:
            writer.write(refuse)
        else:
            lines = head.split(b"\r\n")
            method, target, version = lines[0].split()
            lines[0] = b" ".join((method, b"/" + target.split(b"/", 3)[3], version))
            length = next(
                (int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0
            )
            lines[1:] = [b"Connection: close", *(x for x in lines[1:] if not x.lower().startswith(b"proxy-"))]
            upstream, to_server = await asyncio.open_connection(
                "127.0.0.1", int(server.url.rpartition(":")[2])
            )
            to_server.write(b"\r\n".join(lines) + await reader.readexactly(length))
            writer.write(await upstream.read())
            to_server.close()
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        yield f"http://user:{PASSWORD}@127.0.0.1:{port}", heads


async def test_a_proxy_is_used_with_its_password_and_shows_it_nowhere() -> None:
    """Polls, submits and downloads go through it; the password is for the proxy alone."""
    async with ContractServer() as server, forward_proxy(server) as (proxy, heads):
        server.polling_url = lambda task_id: f"http://api.test/v1/get_result?id={task_id}"
        server.image_url = lambda task_id: f"http://api.test/image/{task_id}.jpeg"
        async with AsyncBFL(
            KEY, base_url="http://api.test", polling=Fixed(0.01), allow_http=True, proxy=proxy
        ) as bfl:
            result = await bfl.generate(a_request())
            assert await result.read() == JPEG
            no_secret_in(repr(bfl), also=[PASSWORD])
        told = base64.b64encode(f"user:{PASSWORD}".encode())
        assert len(heads) == 3
        assert all(b"Proxy-Authorization: Basic " + told in head for head in heads)
        assert not any("proxy-authorization" in seen.headers for seen in server.seen)


async def test_5_what_is_on_this_machine_never_goes_through_a_proxy() -> None:
    """Invariant 5: over plain http it would read the key."""
    async with ContractServer() as server, forward_proxy(server) as (proxy, heads):
        async with AsyncBFL(KEY, base_url=server.url, polling=Fixed(0.01), proxy=proxy) as bfl:
            await bfl.generate(a_request())
        assert heads == []


async def test_2_a_proxy_that_refuses_has_sent_nothing_on() -> None:
    """Invariant 2: no tunnel, no submit; the error names the proxy's answer and not its password."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with ContractServer() as server, forward_proxy(server, refusal) as (proxy, _):
        async with AsyncBFL(
            KEY, base_url="https://api.test", proxy=proxy, timeouts=Timeouts(connect=0.2)
        ) as bfl:
            with pytest.raises(ConnectError, match="the proxy answered HTTP 407") as caught:
                await bfl.generate(a_request())
            no_secret_in(caught.value, also=[PASSWORD])
        assert server.seen == []


async def test_a_proxy_that_is_away_is_told_as_such() -> None:
    """Neither its password nor the host that it stands before is blamed."""
    proxy = f"http://user:{PASSWORD}@127.0.0.1:9"
    async with AsyncBFL(KEY, base_url="https://api.test", proxy=proxy, timeouts=Timeouts(connect=0.2)) as bfl:
        with pytest.raises(ConnectError, match="the proxy cannot be reached") as caught:
            await bfl.generate(a_request())
        no_secret_in(caught.value, also=[PASSWORD])


@pytest.mark.parametrize(
    "proxy",
    [
        f"socks5://user:{PASSWORD}@proxy.example",
        f"http://user:{PASSWORD}@",
        f"http://user:{PASSWORD}@proxy.example:x",
        f"http://user:{PASSWORD}@proxy.example/path",
        f"http://user:{PASSWORD}@proxy.example?x",
        f"http://user:{PASSWORD}@proxy\n.example",
        "",
        3,
    ],
)
def test_what_is_no_proxy_is_refused_and_not_shown(proxy: object) -> None:
    """A password may stand in it."""
    with pytest.raises(ConfigError, match="proxy takes") as caught:
        AsyncBFL(KEY, proxy=proxy)  # type: ignore[arg-type]  # on purpose
    assert PASSWORD not in str(caught.value)


async def test_a_session_has_its_own_proxy() -> None:
    """Two would leave open which one counts."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match="session= or proxy="):
            AsyncBFL(KEY, session=session, proxy="http://proxy.example")
