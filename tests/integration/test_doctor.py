"""The doctor against servers that are well, ill, late or not there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from bfl_async.cli import doctor, doctor_host, findings, main
from bfl_async.cli.doctor import examine, exit_code_of_findings, folder_finding
from bfl_async.cli.doctor_host import clock_finding, proxy_finding
from bfl_async.cli.findings import Finding, key_finding
from bfl_async.sandbox import Sandbox
from tests.tls import Certificate, certificate_in

CHECKS = [
    "key", "host", "clock", "credits", "proxy", "output folder", "cache folder", "catalog", "sqlite",
    "versions", "extras",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and nothing set that the doctor reads."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("BFL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


async def look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, key: str = "sandbox-key"
) -> tuple[int, dict[str, Finding]]:
    """Run all checks against a server; return the exit code and the findings by name."""
    monkeypatch.setenv("BFL_BASE_URL", url)
    if key:
        monkeypatch.setenv("BFL_API_KEY", key)
    code = await examine(as_json=True, sandbox=False)
    shown = json.loads(capsys.readouterr().out)
    assert shown["exit_code"] == code
    assert shown["ok"] == (code == 0)
    findings = [Finding(**each) for each in shown["checks"]]
    assert [each.name for each in findings] == CHECKS
    return code, {each.name: each for each in findings}


@asynccontextmanager
async def a_server(answer: Callable[[bytes], bytes | None]) -> AsyncIterator[str]:
    """A server that answers every request with these bytes, or with None never; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.read(2**16):
                if request.startswith(b"POST") and not request.endswith(b"{}"):
                    request += await reader.read(2**16)
                reply = answer(request)
                if reply is None:
                    await reader.read()
                    break
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def a_reply(body: bytes, **headers: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines])
    return f"{head}\r\n\r\n".encode() + body


async def test_all_is_well_with_a_sandbox(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every check finds its thing, and the probe of the key made no task."""
    async with Sandbox(credits=123) as sandbox:
        code, found = await look(monkeypatch, capsys, sandbox.url)
        statistics = sandbox.statistics()
    assert code == 0, found
    assert found["credits"] == Finding("credits", "ok", "123")
    assert re.fullmatch(
        r"127\.0\.0\.1 \(1 address\) found in .*, connected in .*, round trip \d+ ms", found["host"].what
    )
    assert found["clock"].level == "ok"
    assert statistics.accepted == 0


def test_embedded_sandbox_needs_neither_key_nor_network(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a check, in order, one about slots, and exit code 0."""
    assert main(["doctor", "--sandbox"]) == 0
    *lines, slots = capsys.readouterr().out.splitlines()
    assert slots.startswith("     slots: runs take 12 active tasks; ")
    assert [re.fullmatch(r"(ok  |warn|FAIL) ([\w ]+): .+", line)[2] for line in lines] == CHECKS  # type: ignore[index]  # None fails the test
    assert lines[0] == "ok   key: that of the embedded sandbox"


async def test_without_a_key_the_rest_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key's line names the variable; the host is reached all the same."""
    async with Sandbox() as sandbox:
        code, found = await look(monkeypatch, capsys, sandbox.url, key="")
    assert code == 4
    assert found["key"].level == "FAIL"
    assert "BFL_API_KEY" in found["key"].what
    assert (found["host"].level, found["clock"].level) == ("ok", "ok")
    assert found["credits"] == Finding("credits", "warn", "not asked without a key")


async def test_wrong_key_fails_with_code_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server's word is told; the key is not."""
    async with Sandbox() as sandbox:
        code, found = await look(monkeypatch, capsys, sandbox.url, key="wrong-key-of-somebody-else")
    assert code == 4
    assert found["credits"] == Finding("credits", "FAIL", "the key is refused (403)", "check BFL_API_KEY")
    assert "somebody" not in str(found)


def a_refusal(code: int, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return f"{head}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (401, "Unauthorized"),
        (403, "Not authenticated"),
        (422, "Invalid API key format"),
        (400, "Bad API key"),
    ],
)
async def test_key_that_cannot_work_fails_by_the_free_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, text: str
) -> None:
    """Also where the balance is answered: what counts is whether the server takes a submit."""

    def answer(head: bytes) -> bytes:
        return a_refusal(code, {"detail": text}) if head.startswith(b"POST") else a_reply(b'{"credits": 99}')

    async with a_server(answer) as url:
        got, found = await look(monkeypatch, capsys, url, key="bfl_Abcdefgh12345678")
    assert (got, found["key"].level, found["credits"].level) == (4, "FAIL", "ok")
    assert str(code) in found["key"].what
    assert "BFL_API_KEY" in found["key"].todo


async def test_malformed_key_fails_where_everything_refuses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The capture of August 2026: 422 and a text, also for the balance."""
    refusal = a_refusal(422, {"detail": "Invalid API key format"})
    async with a_server(lambda _: refusal) as url:
        got, found = await look(monkeypatch, capsys, url, key="of-another-service")
    assert (got, found["key"].level, found["credits"].level) == (4, "FAIL", "FAIL")
    assert "another" not in str(found)


@pytest.mark.parametrize("code", [400, 402, 404, 422, 429, 500, 503])
async def test_probe_that_says_nothing_of_the_key_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    """A full account, an old host, an outage: none of them makes the key wrong."""

    def answer(head: bytes) -> bytes:
        return a_refusal(code, {"detail": "no"}) if head.startswith(b"POST") else a_reply(b'{"credits": 99}')

    async with a_server(answer) as url:
        got, found = await look(monkeypatch, capsys, url)
    assert (got, found["key"].level) == (0, "ok")


async def test_probe_is_an_order_of_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its one POST is an empty object to a model that needs a prompt; a server that takes it is named."""
    posts: list[bytes] = []

    def answer(head: bytes) -> bytes:
        if not head.startswith(b"POST"):
            return a_reply(b'{"credits": 99}')
        posts.append(head)
        return a_reply(b'{"id": "4ca5", "polling_url": "https://api.bfl.ai/v1/get_result?id=4ca5"}')

    async with a_server(answer) as url:
        got, found = await look(monkeypatch, capsys, url)
    (post,) = posts
    assert post.startswith(b"POST /v1/flux-2-pro ")
    assert post.endswith(b"\r\n\r\n{}")
    assert (got, found["key"].level) == (0, "warn")


@pytest.mark.parametrize(
    ("balance", "level", "code"), [(0, "FAIL", 4), (-3, "FAIL", 4), (4, "warn", 0), (50, "ok", 0)]
)
async def test_empty_account_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    balance: float,
    level: str,
    code: int,
) -> None:
    """Nothing left fails; little left warns."""
    async with Sandbox(credits=balance) as sandbox:
        got, found = await look(monkeypatch, capsys, sandbox.url)
    assert (got, found["credits"].level) == (code, level)


async def test_server_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step that failed is named, and what hangs on it is not asked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, found = await look(monkeypatch, capsys, f"http://127.0.0.1:{port}")
    assert code == 1
    assert found["host"].level == "FAIL"
    assert found["host"].what == f"no connection to 127.0.0.1:{port} (Connection refused)"
    assert (found["clock"].level, found["credits"].level) == ("warn", "warn")


async def test_name_that_cannot_be_found_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in the host's name is told as that."""
    code, found = await look(monkeypatch, capsys, "https://api.bfl.invalid")
    assert code == 1
    assert found["host"].what.startswith("the name api.bfl.invalid cannot be found")


async def test_server_without_tls_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """https to a port that speaks http."""
    async with a_server(lambda _: a_reply(b"{}")) as url:
        code, found = await look(monkeypatch, capsys, url.replace("http:", "https:"))
    assert code == 1
    assert found["host"].what.startswith("no TLS with 127.0.0.1:")


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate for this machine that only itself vouches for."""
    return certificate_in(tmp_path)


@asynccontextmanager
async def a_tls_server(certificate: Certificate) -> AsyncIterator[str]:
    """A server that makes TLS and nothing else; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def test_certificates_of_the_environment_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], certificate: Certificate
) -> None:
    """Without them the certificate is refused; with them TLS is made; what cannot be read is named."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    own, key = certificate
    async with a_tls_server(certificate) as url:
        _, found = await look(monkeypatch, capsys, url)
        assert found["host"].what.startswith("the certificate of 127.0.0.1 is refused")
        assert "certificates of this machine" in found["host"].todo
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        _, found = await look(monkeypatch, capsys, url)
        assert "is refused" not in found["host"].what
        monkeypatch.setenv("SSL_CERT_FILE", str(key))
        _, found = await look(monkeypatch, capsys, url)
    assert found["host"].level == "FAIL"
    assert re.fullmatch(r"SSL_CERT_FILE: '.*key\.pem' holds no certificates.*", found["host"].what)


@pytest.mark.parametrize(
    ("ahead_s", "level", "code", "says"),
    [
        (-3600, "FAIL", 1, "behind"),
        (3600, "FAIL", 1, "ahead"),
        (90, "warn", 0, "ahead"),
        (1, "ok", 0, "within"),
    ],
)
async def test_clock_that_is_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ahead_s: float,
    level: str,
    code: int,
    says: str,
) -> None:
    """By the date of the server's reply."""
    reply = lambda _: a_reply(b'{"credits": 99}', Date=formatdate(time.time() - ahead_s, usegmt=True))  # noqa: E731 - one use
    async with a_server(reply) as url:
        got, found = await look(monkeypatch, capsys, url)
    assert (got, found["clock"].level) == (code, level), found
    assert says in found["clock"].what


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT"])
def test_reply_without_a_date_is_no_failure(date: str | None) -> None:
    """Some proxies take it away."""
    assert clock_finding(date, time.time()).level == "warn"


def shorten_checks(patch: pytest.MonkeyPatch) -> None:
    for module in (findings, doctor_host):
        patch.setattr(module, "CHECK_S", 0.3)


async def test_silent_server_takes_bounded_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that accepts and never answers ends its check and no other."""
    shorten_checks(monkeypatch)
    began = time.monotonic()
    async with a_server(lambda _: None) as url:
        code, found = await look(monkeypatch, capsys, url)
    assert time.monotonic() - began < 3
    assert code == 1
    assert (found["host"].level, found["credits"].level, found["sqlite"].level) == ("FAIL", "warn", "ok")


async def test_check_that_hangs_or_breaks_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dead network drive and a bug each cost their own line; nobody waits for the thread."""
    never = threading.Event()
    shorten_checks(monkeypatch)
    monkeypatch.setattr(doctor, "folder_finding", lambda name, folder: never.wait(30))
    monkeypatch.setattr(doctor, "extras_finding", lambda: 1 / 0)
    async with Sandbox() as sandbox:
        code, found = await look(monkeypatch, capsys, sandbox.url)
    never.set()
    assert code == 1
    assert found["output folder"] == Finding("output folder", "FAIL", "no answer within 0.3 s")
    assert found["cache folder"].level == "warn"
    assert found["extras"] == Finding("extras", "warn", "could not be checked (ZeroDivisionError)")
    assert found["credits"].level == "ok"


@pytest.mark.parametrize("url", ["nonsense", "http://api.example", "https://user:secret@api.example"])
async def test_base_url_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    """And nothing is sent anywhere."""
    code, found = await look(monkeypatch, capsys, url)
    assert code == 1
    assert found["host"].todo == "correct BFL_BASE_URL"
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("bfl_Abcdefgh12345678", "ok"),
        ("0b5c5b9e-2f0b-4a1e-9d2a-1c2d3e4f5a6b", "ok"),
        ("sk-proj-0123456789abcdef", "warn"),
        ("short", "warn"),
    ],
)
def test_of_a_key_at_most_four_characters_are_shown(key: str, level: str) -> None:
    """Enough to tell two apart; of a short one none."""
    finding = key_finding(key, "https://api.bfl.ai")
    assert finding.level == level
    shown = str(finding)
    assert not any(key[at : at + 5] in shown for at in range(len(key) - 4))
    assert (key[-4:] in shown) == (len(key) >= 16)


def test_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the client takes, and why another is not taken."""
    api = "https://api.bfl.ai"
    assert proxy_finding(api) == Finding("proxy", "ok", "none for api.bfl.ai")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    assert proxy_finding(api) == Finding("proxy", "ok", "proxy.example:3128 for api.bfl.ai, from HTTPS_PROXY")
    monkeypatch.setenv("no_proxy", "bfl.ai")
    assert "no_proxy exempts" in proxy_finding(api).what
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "me:secret@proxy.example")
    assert proxy_finding(api) == Finding("proxy", "ok", "proxy.example for api.bfl.ai, from ALL_PROXY")
    assert "not used for this machine" in proxy_finding("http://127.0.0.1:80").what


@pytest.mark.parametrize(
    "proxy", ["socks5://me:secret@proxy.example", "me:secret@proxy.example:port", "ftp://secret"]
)
@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY"])
async def test_proxy_that_cannot_be_used_fails_and_is_not_shown(
    proxy: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client does not start with it, and nothing is sent around it."""
    monkeypatch.setenv(name, proxy)
    code, found = await look(monkeypatch, capsys, "https://api.bfl.invalid", key="bfl_Abcdefgh12345678")
    assert code == 1
    for each in ("proxy", "host"):
        assert found[each].level == "FAIL"
        assert name in found[each].what
    assert "secret" not in str(found)


async def test_proxy_that_is_not_there_fails_the_host(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host is tried as the client would, through the proxy."""
    monkeypatch.setenv("https_proxy", "http://me:secret@127.0.0.1:9")
    code, found = await look(monkeypatch, capsys, "https://api.bfl.ai", key="bfl_Abcdefgh12345678")
    assert code == 1
    assert found["host"].level == "FAIL"
    assert "proxy" in found["host"].todo
    assert "secret" not in str(found)


def test_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place, a full disk, one that is to be made: nothing is made by looking."""
    (tmp_path / "file").write_text("")
    assert folder_finding("output folder", tmp_path / "file").level == "FAIL"
    assert folder_finding("cache folder", tmp_path / "file" / "x").level == "warn"
    assert folder_finding("output folder", tmp_path / "a" / "b").level == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert folder_finding("output folder", tmp_path).level == "warn"


@pytest.mark.parametrize(
    ("failed", "code"), [([], 0), (["key"], 4), (["key", "credits"], 4), (["key", "host"], 1), (["clock"], 1)]
)
def test_exit_code_tells_the_account_from_the_rest(failed: list[str], code: int) -> None:
    """4: there is nothing to mend here but the key or the credits."""
    findings = [Finding(name, "FAIL", "x") for name in failed] + [Finding("sqlite", "warn", "x")]
    assert exit_code_of_findings(findings) == code


@pytest.mark.parametrize(
    ("version", "what"), [("3.40.1", "3.40.1, with a rollback journal"), ("3.52.0", "3.52.0")]
)
def test_sqlite_is_one_plain_line(version: str, what: str) -> None:
    """What is dealt with is no reason for alarm."""
    assert doctor.sqlite_finding(version) == Finding("sqlite", "ok", what)
