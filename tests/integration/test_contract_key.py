"""Invariant 5: the key stays home."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bfl_async import AsyncBFL, DownloadError, Fixed, Limits, RefusedError, TaskError, UntrustedURLError
from tests.integration.contract_server import (
    JPEG,
    KEY,
    SIGNATURE,
    Answer,
    ContractServer,
    Say,
    a_request,
    no_secret_in,
    redirect,
    say,
    served,
    status_body,
    until,
)


def no_key_at(server: ContractServer) -> None:
    """Not one header, target or body that arrived here holds the key."""
    for seen in server.seen:
        text = f"{seen.target} {dict(seen.headers)} {seen.body!r}"
        assert KEY not in text, f"the key went to {seen.method} {seen.target}"
        assert "x-key" not in seen.headers


# ---- where it goes


async def test_5_the_key_goes_with_submits_polls_and_credits_and_nowhere_else() -> None:
    """Invariant 5: base URL's own origin yes; the image host, another port of the same machine, no."""
    async with ContractServer() as images, served() as (server, bfl):
        server.image_url = lambda task_id: f"{images.url}/image/{task_id}.jpeg?sig={SIGNATURE}"
        result = await bfl.generate(a_request())
        await bfl.credits()
        assert await result.read(timeout=5) == JPEG
        assert len(images.images) == 1
        no_key_at(images)
        assert [seen.headers.get("x-key") for seen in server.seen] == [KEY] * len(server.seen)
        assert len(server.seen) >= 3


async def test_5_an_image_at_the_apis_own_origin_is_fetched_without_the_key() -> None:
    """Invariant 5: "the image host never sees the key", even where it is the API's own host."""
    async with served() as (server, bfl):
        result = await bfl.generate(a_request())
        await result.read(timeout=5)
        assert len(server.images) == 1
        assert "x-key" not in server.images[0].headers
        assert KEY not in str(dict(server.images[0].headers))


async def test_5_the_key_is_never_put_on_the_session() -> None:
    """Invariant 5: set per request; the caller's session is left as it was, and open."""
    async with ContractServer() as server, aiohttp.ClientSession(headers={"x-mine": "1"}) as session:
        async with server.client(session=session) as bfl:
            await bfl.generate(a_request())
            assert KEY not in str(dict(session.headers))
            async with session.get(f"{server.url}/plain") as response:
                await response.read()
        assert not session.closed
        assert "x-key" not in server.at("/plain")[0].headers
        assert server.submits[0].headers["x-key"] == KEY


async def test_5_the_image_host_gets_no_session_wide_secrets_of_ours() -> None:
    """Invariant 5: cookies that the API sets do not travel to another host either."""
    async with ContractServer() as images, served() as (server, bfl):
        server.image_url = lambda task_id: f"{images.url}/image/{task_id}.jpeg"
        server.script_submits(
            lambda _seen: Say(
                200,
                server.accepted().body,
                headers={"Set-Cookie": f"session={KEY}; Path=/; Domain=127.0.0.1"},
            )
        )
        result = await bfl.generate(a_request())
        await result.read(timeout=5)
        no_key_at(images)


# ---- a polling URL elsewhere


def hostile_urls(port: int) -> dict[str, str]:
    """URLs that look like the API's, or are read differently by different parsers. The server is at `port`."""
    return {
        "other-port": "http://127.0.0.1:{other}/v1/get_result?id=1",
        "default-port": "http://127.0.0.1/v1/get_result?id=1",
        "other-scheme": f"https://127.0.0.1:{port}/v1/get_result?id=1",
        "other-name": f"http://localhost:{port}/v1/get_result?id=1",
        "other-loopback": "http://127.0.0.2:{other}/v1/get_result?id=1",
        "user-info": f"http://127.0.0.1:{port}@127.0.0.1:{{other}}/v1/get_result?id=1",
        "user-info-own": f"http://user:secret@127.0.0.1:{port}/v1/get_result?id=1",
        "backslash": f"http://127.0.0.1:{{other}}\\@127.0.0.1:{port}/v1/get_result?id=1",
        "fragment": f"http://127.0.0.1:{{other}}#@127.0.0.1:{port}/v1/get_result?id=1",
        "scheme-relative": "//127.0.0.1:{other}/v1/get_result?id=1",
        "triple-slash": "http:///127.0.0.1:{other}/v1/get_result?id=1",
        "evil-suffix": "https://bfl.ai.evil.example/v1/get_result?id=1",
        "evil-prefix": "https://evilbfl.ai/v1/get_result?id=1",
        "evil-dash": "https://api-bfl.ai/v1/get_result?id=1",
        "bfl-http": "http://api.bfl.ai/v1/get_result?id=1",
        "bfl-port": "https://api.bfl.ai:8443/v1/get_result?id=1",
        "bfl-user-info": "https://api.bfl.ai@evil.example/v1/get_result?id=1",
        "bfl-user-info-port": "https://api.bfl.ai:443@evil.example/v1/get_result?id=1",
        "bfl-backslash": "https://evil.example\\.bfl.ai/v1/get_result?id=1",
        "bfl-percent": "https://evil.example%2F.bfl.ai/v1/get_result?id=1",
        "bfl-percent-hash": "https://evil.example%23.bfl.ai/v1/get_result?id=1",
        "bfl-space": "https://evil.example .bfl.ai/v1/get_result?id=1",
        "bfl-tab": "https://evil.example\t/.bfl.ai/v1/get_result?id=1",
        "bfl-newline": "https://api.bfl.ai\n.evil.example/v1/get_result?id=1",
        "bfl-null": "https://evil.example\x00.bfl.ai/v1/get_result?id=1",
        "bfl-unicode-slash": "https://evil.example\uff0f.bfl.ai/v1/get_result?id=1",
        "bfl-unicode-dot": "https://evil.example\u3002bfl.ai.evil.example/v1/get_result?id=1",
        "bfl-ml": "https://api.bfl.ml/v1/get_result?id=1",
        "bfl-ai-com": "https://bfl.ai.com/v1/get_result?id=1",
        "no-scheme": "evil.example/v1/get_result?id=1",
        "file": "file:///etc/passwd",
        "ftp": "ftp://api.bfl.ai/x",
        "javascript": "javascript:alert(1)",
        "ipv6": "http://[::1]:{other}/v1/get_result?id=1",
        "bad-port": "https://api.bfl.ai:99999/v1/get_result?id=1",
        "bad-bracket": "https://[api.bfl.ai/v1/get_result?id=1",
    }


class RecordingResolver(AbstractResolver):
    """Looks up any name at `ports`, records who was asked for."""

    def __init__(self, ports: Callable[[str, int], int | None]) -> None:
        self.asked: list[str] = []
        self.ports = ports

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        target = self.ports(host, port)
        if target is None:
            raise OSError(f"no such name: {host}")
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=target, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("name", list(hostile_urls(1)))
@pytest.mark.parametrize("way", ["receipt", "attach"])
async def test_5_a_polling_url_elsewhere_gets_neither_the_key_nor_a_connection(name: str, way: str) -> None:
    """Invariant 5: `UntrustedURLError` that keeps the task id; the slot is kept for `unknown_s`."""
    async with ContractServer() as other, ContractServer() as server:
        other_port, port = other.url.rpartition(":")[2], int(server.url.rpartition(":")[2])
        url = hostile_urls(port)[name].replace("{other}", other_port)
        resolver = RecordingResolver(lambda _host, _port: int(other_port))
        connector = aiohttp.TCPConnector(resolver=resolver)
        limits = Limits(account=3, unknown_s=60)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            server.client(limits=limits, session=session) as bfl,
        ):
            if way == "receipt":
                server.polling_url = lambda _task_id: url
                handle = bfl.submit_nowait(a_request())
            else:
                handle = bfl.attach("task-0", polling_url=url)
            with pytest.raises(UntrustedURLError) as caught:
                await asyncio.wait_for(handle.result(), 1.5)
            assert caught.value.task_id == "task-0"
            assert bfl.statistics().slots_taken == 1
            assert handle.task_id == "task-0"
            assert handle.polling_url == url
            assert server.polls == []
            no_secret_in(caught.value, repr(caught.value), pickle.dumps(caught.value), also=["user:secret"])
        assert other.seen == []
        assert resolver.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_5_a_poll_redirected_elsewhere_never_arrives(status: int) -> None:
    """Invariant 5: each hop is guarded; `UntrustedURLError` keeps the task id."""
    async with ContractServer() as other, served(limits=Limits(unknown_s=60)) as (server, bfl):
        server.always_poll = redirect(status, f"{other.url}/v1/get_result?id=task-0&sig={SIGNATURE}")
        with pytest.raises(UntrustedURLError) as caught:
            await bfl.generate(a_request(), timeout=5)
        assert caught.value.task_id == "task-0"
        assert other.seen == []
        assert bfl.statistics().slots_taken == 1
        no_secret_in(caught.value, repr(caught.value))


async def test_5_a_redirect_elsewhere_behind_a_good_hop_is_guarded_too() -> None:
    """Invariant 5: "each hop guarded", not only the first."""
    async with ContractServer() as other, served() as (server, bfl):
        server.always_poll = redirect(302, "/hop")
        server.routes["/hop"] = redirect(302, f"{other.url}/steal")
        with pytest.raises(UntrustedURLError):
            await bfl.generate(a_request(), timeout=5)
        assert len(server.at("/hop")) == 1
        assert other.seen == []


@pytest.mark.parametrize("hops", [1, 5])
async def test_5_a_poll_follows_up_to_five_hops_at_home(hops: int) -> None:
    """Invariant 5: "at most 5 hops by hand"; relative and absolute ones, each with the key."""
    async with served() as (server, bfl):
        server.always_poll = redirect(307, "/hop/1?id=task-0")
        for n in range(1, hops):
            target = f"/hop/{n + 1}?a=%2F" if n % 2 else f"{server.url}/hop/{n + 1}?b=%2f"
            server.routes[f"/hop/{n}"] = redirect(302, target)
        server.routes[f"/hop/{hops}"] = lambda _seen: say(200, server.ready("task-0"))
        result = await bfl.generate(a_request(), timeout=5)
        assert result.task_id == "task-0"
        for n in range(1, hops + 1):
            (seen,) = server.at(f"/hop/{n}")
            assert seen.headers["x-key"] == KEY
            if n > 1:
                assert seen.target.endswith("%2F" if n % 2 == 0 else "%2f")


async def test_5_the_sixth_hop_is_not_taken_and_the_task_goes_on() -> None:
    """Invariants 3 and 5: too many redirects are a failed poll, not a failed task."""
    async with served() as (server, bfl):
        server.script_polls(redirect(302, "/hop/1"))
        for n in range(1, 9):
            server.routes[f"/hop/{n}"] = redirect(302, f"/hop/{n + 1}")
        result = await bfl.generate(a_request(), timeout=10)
        assert result.task_id == "task-0"
        assert len(server.at("/hop/5")) == 1
        assert server.at("/hop/6") == []


async def test_5_a_redirect_loop_is_a_failed_poll() -> None:
    """Invariants 3 and 5: a loop ends after its hops, and the next poll is as good as any."""
    async with served() as (server, bfl):
        server.script_polls(*[redirect(302, "/v1/get_result?id=task-0")] * 6)
        result = await bfl.generate(a_request(), timeout=10)
        assert result.task_id == "task-0"


@pytest.mark.parametrize("location", ["", None, "http://[bad", "http://", "\\\\evil.example\\x"])
async def test_5_a_redirect_to_nowhere_loses_no_task(location: str | None) -> None:
    """Invariants 3 and 5: a `Location` that is none is a failed poll, or a URL that is refused; the id is kept."""
    async with served() as (server, bfl):
        bad = Say(302) if location is None else redirect(302, location)
        server.script_polls(bad)
        (end,) = await bfl.gather([a_request()], return_exceptions=True, timeout=10)
        assert getattr(end, "task_id", None) == "task-0"
        assert not isinstance(end, TaskError) or isinstance(end, UntrustedURLError)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_5_a_submit_follows_no_redirect(status: int) -> None:
    """Invariants 2 and 5: neither elsewhere nor at home."""
    async with ContractServer() as other, served() as (server, bfl):
        for location in (f"{other.url}/v1/flux-pro-1.1", "/v1/flux-dev", f"{server.url}/v1/flux-dev"):
            server.script_submits(redirect(status, location))
            with pytest.raises(RefusedError) as caught:
                await bfl.submit(a_request())
            assert caught.value.status_code == status
        assert other.seen == []
        assert len(server.seen) == 3
        assert bfl.statistics().slots_taken == 0


async def test_5_credits_follow_no_redirect_elsewhere() -> None:
    """Invariant 5: the key does not leave with `credits()` either."""
    async with ContractServer() as other, served() as (server, bfl):
        server.routes["/v1/credits"] = redirect(302, f"{other.url}/v1/credits")
        (end,) = await asyncio.gather(bfl.credits(), return_exceptions=True)
        assert isinstance(end, Exception)
        assert other.seen == []


# ---- downloads


async def test_5_a_download_follows_redirects_without_the_key() -> None:
    """Invariant 5: at most 5 hops, and none of them sees the key, not even the API's own host."""
    async with ContractServer() as images, served() as (server, bfl):
        server.image_url = lambda task_id: f"{images.url}/image/{task_id}.jpeg"
        images.script_images(redirect(302, "/hop/1"))
        images.routes["/hop/1"] = redirect(307, f"{server.url}/hop/2")
        server.routes["/hop/2"] = redirect(301, f"{images.url}/image/real.jpeg?x=%2F")
        result = await bfl.generate(a_request())
        assert await result.read(timeout=5) == JPEG
        assert images.images[-1].target == "/image/real.jpeg?x=%2F"
        no_key_at(images)
        assert "x-key" not in server.at("/hop/2")[0].headers


async def test_5_a_download_takes_at_most_five_hops() -> None:
    """Invariant 5: the sixth is not taken; the download fails, with the task's id."""
    async with served() as (server, bfl):
        server.always_image = redirect(302, "/hop/1")
        for n in range(1, 9):
            server.routes[f"/hop/{n}"] = redirect(302, f"/hop/{n + 1}")
        result = await bfl.generate(a_request())
        with pytest.raises((DownloadError, UntrustedURLError)) as caught:
            await result.read(timeout=0.3)
        assert caught.value.task_id == "task-0"
        assert server.at("/hop/5")
        assert server.at("/hop/6") == []


# ---- bfl.ai and its subdomains, by a name service and a certificate of our own


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    hosts = ["bfl.ai", "bfl.ml", "delivery.example"]
    hosts += ["*." + name for name in ("bfl.ai", "eu.bfl.ai", "eu2.bfl.ai", "eu4.bfl.ai", "us1.bfl.ai")]
    hosts += ["*.bfl.ml", "*.eu1.bfl.ml"]
    names = ",".join(f"DNS:{name}" for name in hosts)
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=bfl.ai",
            "-addext", f"subjectAltName={names}",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


class Internet:
    """A TLS server that stands for every host at port 443, and the session that finds it there."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.requests: list[tuple[str, str, str | None]] = []  # host, path, key
        self.answers: dict[str, Answer] = {}
        self._certificate = certificate

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._certificate)
        trusting = ssl.create_default_context(cafile=str(self._certificate[0]))
        listener = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        resolver = RecordingResolver(lambda _host, wanted: port if wanted == 443 else None)
        connector = aiohttp.TCPConnector(resolver=resolver, ssl=trusting)
        try:
            async with aiohttp.ClientSession(connector=connector) as session:
                yield session
        finally:
            listener.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            target = lines[0].split(" ")[1]
            headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
            if "content-length" in headers:
                await reader.readexactly(int(headers["content-length"]))
            self.requests.append((headers["host"], target, headers.get("x-key")))
            answer = self.answers.get(headers["host"] + target.partition("?")[0])
            assert isinstance(answer, Say | None)
            if answer is None:
                answer = say(404, {"detail": "Not Found"})
            extra = "".join(f"{k}: {v}\r\n" for k, v in answer.headers.items())
            writer.write(
                f"HTTP/1.1 {answer.status} X\r\nContent-Type: {answer.media_type}\r\nConnection: close\r\n"
                f"{extra}Content-Length: {len(answer.body)}\r\n\r\n".encode()
                + answer.body
            )
            await writer.drain()
        finally:
            writer.close()

    def keys_at(self, host: str) -> list[str | None]:
        return [key for at, _, key in self.requests if at == host]


@pytest.mark.parametrize(
    "host",
    ["api.eu4.bfl.ai", "api.us1.bfl.ai", "bfl.ai", "API.EU2.BFL.AI", "api.eu.bfl.ai:443", "a.eu.bfl.ai"],
)
async def test_5_the_key_goes_to_bfl_ai_and_its_subdomains(host: str, certificate: tuple[Path, Path]) -> None:
    """Invariant 5: over https, port 443, to `bfl.ai` and its subdomains; the image host sees none."""
    internet = Internet(certificate)
    plain = host.lower().removesuffix(":443")
    sample = "https://delivery.example/x.jpeg?sig=a%2Fb"
    done = say(200, status_body("task-0", "Ready", result={"sample": sample}))
    internet.answers = {
        "api.bfl.ai/v1/flux-pro-1.1": say(
            200, {"id": "task-0", "polling_url": f"https://{host}/poll?id=task-0"}
        ),
        f"{plain}/poll": done,
        f"{host}/poll": done,
        "delivery.example/x.jpeg": Say(200, JPEG, "image/jpeg"),
    }
    async with (
        internet.session() as session,
        AsyncBFL(KEY, base_url="https://api.bfl.ai", session=session, polling=Fixed(0.02)) as bfl,
    ):
        result = await bfl.generate(a_request(), timeout=2)
        assert await result.read(timeout=2) == JPEG
    assert [key for _, target, key in internet.requests if target.startswith("/poll")] == [KEY]
    assert internet.keys_at("delivery.example") == [None]
    assert ("delivery.example", "/x.jpeg?sig=a%2Fb", None) in internet.requests


@pytest.mark.parametrize(("base", "polled", "allowed"), [
    ("https://api.bfl.ai", "https://api.bfl.ml/poll", False),
    ("https://api.bfl.ml", "https://api.eu1.bfl.ml/poll", True),
    ("https://api.bfl.ml", "https://bfl.ml/poll", True),
    ("https://api.bfl.ml", "https://api.bfl.ai/poll", True),
])  # fmt: skip
async def test_5_bfl_ml_only_if_the_base_url_is_there(
    base: str, polled: str, allowed: bool, certificate: tuple[Path, Path]
) -> None:
    """Invariant 5: "`bfl.ml` only if the base URL is there"."""
    internet = Internet(certificate)
    host = polled.removeprefix("https://").removesuffix("/poll")
    home = base.removeprefix("https://")
    internet.answers = {
        f"{home}/v1/flux-pro-1.1": say(200, {"id": "task-0", "polling_url": polled}),
        f"{host}/poll": say(200, status_body("task-0", "Ready", result={"sample": "https://d.example/x"})),
    }
    async with (
        internet.session() as session,
        AsyncBFL(KEY, base_url=base, session=session, polling=Fixed(0.02)) as bfl,
    ):
        (end,) = await bfl.gather([a_request()], return_exceptions=True, timeout=5)
        assert isinstance(end, UntrustedURLError) == (not allowed), end
    assert internet.keys_at(home)[0] == KEY
    assert (len([key for _, target, key in internet.requests if target == "/poll"]) == 1) == allowed


async def test_5_a_redirect_from_bfl_ai_to_elsewhere_gets_no_key(certificate: tuple[Path, Path]) -> None:
    """Invariant 5: "each hop guarded", across hosts."""
    internet = Internet(certificate)
    internet.answers = {
        "api.bfl.ai/v1/flux-pro-1.1": say(200, {"id": "task-0", "polling_url": "https://eu.bfl.ai/poll"}),
        "eu.bfl.ai/poll": redirect(302, "https://us.bfl.ai/poll2"),
        "us.bfl.ai/poll2": redirect(302, "https://delivery.example/steal"),
        "delivery.example/steal": say(200, status_body("task-0", "Error")),
    }
    async with (
        internet.session() as session,
        AsyncBFL(KEY, base_url="https://api.bfl.ai", session=session, polling=Fixed(0.02)) as bfl,
    ):
        with pytest.raises(UntrustedURLError):
            await bfl.generate(a_request(), timeout=5)
    assert internet.keys_at("us.bfl.ai") == [KEY]
    assert internet.keys_at("delivery.example") == []


async def test_5_a_key_refused_elsewhere_is_not_tried_at_another_name() -> None:
    """Invariants 3 and 5: 403 on a poll is a failed poll at the same URL; no other URL is made up."""
    async with served() as (server, bfl):
        server.polling_url = lambda task_id: f"{server.url}/own/path?id={task_id}"
        answers = iter([say(403, {"detail": "Not authenticated"}), say(200, server.ready("task-0"))])
        server.routes["/own/path"] = lambda _seen: next(answers)
        await bfl.generate(a_request(), timeout=5)
        assert len(server.at("/own/path")) == 2
        assert server.polls == []
        await until(lambda: bfl.statistics().slots_taken == 0)
