"""`--header`, `--query` and `--trusted-host`: the commands against a host beside BFL's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import click
import pytest

from bfl_async.cli.app import cli
from tests.fake import JPEG
from tests.hosts import host_in_thread
from tests.integration.test_cli import Run, run

__all__ = ["run"]  # the fixture


class Host:
    """A host whose polls are on another port, as gateways have them on another name."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.headers: list[tuple[str, Message]] = []
        self.polls_at = ""
        self.url = ""

    def answer(self, method: str, path: str) -> bytes:
        """Return the body for a request."""
        self.seen.append(f"{method} {path}")
        if path.startswith("/image"):
            return JPEG
        if path.startswith("/poll"):
            result = {"sample": f"{self.polls_at}/image.jpg"}
            return json.dumps({"id": "t", "status": "Ready", "result": result}).encode()
        if path.startswith("/v1/credits"):
            return b'{"credits": 7.0}'
        return json.dumps({"id": "t", "polling_url": f"{self.polls_at}/poll?id=t"}).encode()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host, named in the environment."""
    found = Host()

    def heed(path: str, headers: Message) -> None:
        found.headers.append((path.partition("?")[0], headers))

    with host_in_thread(found.answer, heed) as url, host_in_thread(found.answer, heed) as polls:
        found.url, found.polls_at = url, polls
        monkeypatch.setenv("BFL_API_KEY", "k-12345678")
        monkeypatch.setenv("BFL_BASE_URL", url)
        yield found


QUERY = ("--query", "api-version=preview", "--query", "tag=a=b")
SENT = "api-version=preview&tag=a%3Db"


def test_query_is_in_the_url_of_each_call_to_the_base_url(run: Run, host: Host) -> None:
    """And not in those of other hosts, which are as they came."""
    trusted = ("--trusted-host", host.polls_at.removeprefix("http://"))
    code, out, err = run("generate", "a cat", "-m", "flux-2-pro", "-o", "cat", *QUERY, *trusted)
    assert (code, out, err) == (0, "cat.jpg\n", "")
    assert host.seen == [f"POST /v1/flux-2-pro?{SENT}", "GET /poll?id=t", "GET /image.jpg"]


def test_key_goes_to_no_host_that_was_not_named(run: Run, host: Host) -> None:
    """Without the option the poll is refused, and nothing is sent there."""
    code, _, err = run("generate", "a cat", "-m", "flux-2-pro", "-o", "cat")
    assert code == 1
    assert "refused to poll" in err
    assert host.seen == ["POST /v1/flux-2-pro"]


def test_batch_and_credits_take_them_too(run: Run, host: Host) -> None:
    """Every command that asks the API."""
    Path("prompts.txt").write_text("a cat\n")
    trusted = ("--trusted-host", host.polls_at.removeprefix("http://"))
    code, _, _ = run("batch", "prompts.txt", "-m", "flux-2-pro", "-o", "out", *QUERY, *trusted)
    assert code == 0
    assert run("credits", *QUERY)[:2] == (0, "7\n")
    assert host.seen[0] == f"POST /v1/flux-2-pro?{SENT}"
    assert host.seen[-1] == f"GET /v1/credits?{SENT}"


HEADERS = ("--header", "Authorization: Bearer secret-value", "--header", "X-Team:posters")


def test_headers_go_where_the_key_goes(run: Run, host: Host) -> None:
    """Not to the host of the image; and their values are in no output, file or folder of the run."""
    trusted = ("--trusted-host", host.polls_at.removeprefix("http://"))
    Path("prompts.txt").write_text("a cat\n")
    code, out, err = run("batch", "prompts.txt", "-m", "flux-2-pro", "-o", "out", *HEADERS, *trusted)
    assert code == 0
    by_path = dict(host.headers)
    for path in ("/v1/flux-2-pro", "/poll"):
        assert by_path[path]["Authorization"] == "Bearer secret-value"
        assert by_path[path]["X-Team"] == "posters"
        assert by_path[path]["x-key"] == "k-12345678"
    assert by_path["/image.jpg"]["Authorization"] is by_path["/image.jpg"]["X-Team"] is None
    assert "secret-value" not in out + err
    kept = [each.read_bytes() for each in Path().rglob("*") if each.is_file()]
    assert kept
    assert not any(b"secret-value" in each for each in kept)


def test_environment_has_headers_and_parameters_too(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command line says of the same name comes first, whatever its case. A sandbox is another host."""
    monkeypatch.setenv("BFL_HEADERS", "Authorization: Bearer secret-value\n\nX-Team:  posters\n")
    monkeypatch.setenv("BFL_QUERY", "api-version=preview&tag=a%3Db")
    assert run("credits")[:2] == (0, "7\n")
    assert host.seen == [f"GET /v1/credits?{SENT}"]
    (_, headers), *_ = host.headers
    assert (headers["Authorization"], headers["X-Team"]) == ("Bearer secret-value", "posters")
    assert run("credits", "--header", "authorization: other", "--query", "tag=b")[:2] == (0, "7\n")
    assert host.seen[-1] == "GET /v1/credits?api-version=preview&tag=b"
    assert host.headers[-1][1].get_all("Authorization") == ["other"]
    assert host.headers[-1][1]["X-Team"] == "posters"
    seen = len(host.seen)
    assert run("credits", "--sandbox")[0] == 0
    assert len(host.seen) == seen


def test_doctor_asks_with_the_headers(run: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the credits, and with the probe of the key; a variable that cannot be used is a finding."""
    code, out, err = run("doctor", *HEADERS)
    assert code == 0
    asked = [headers for path, headers in host.headers if headers["x-key"] == "k-12345678"]
    assert len(asked) == 2
    assert all(headers["Authorization"] == "Bearer secret-value" for headers in asked)
    assert "secret-value" not in out + err
    seen = len(host.seen)
    monkeypatch.setenv("BFL_HEADERS", "secret-value")
    code, out, err = run("doctor")
    assert (code, len(host.seen)) == (1, seen)
    assert "FAIL host: BFL_HEADERS: number 1" in out
    assert "secret-value" not in out + err


@pytest.mark.parametrize(
    "value",
    [
        "secret-value",
        ": secret-value",
        "a b: secret-value",
        "secret-value words: x",
        "Authorization:",
        "x-key: secret-value",
        "X-KEY : secret-value",
        "Host: secret-value",
        "Content-Length: 3secret-value",
        "Transfer-Encoding: secret-value",
        "A: secret-value\r\n x",
        "A: secret-value\u00e9",
        "Authorization: a\nauthorization: secret-value",
    ],
    ids=repr,
)
def test_headers_that_cannot_be_sent_are_refused(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """As an option and in the environment, where a second line is a second header; no message shows a value."""
    code, out, err = run("credits", "--header", value)
    assert (code, out, host.seen) == (2, "", [])
    assert "--header" in err
    assert "secret-value" not in err
    monkeypatch.setenv("BFL_HEADERS", value)
    code, out, err = run("credits")
    assert (code, out, host.seen) == (2, "", [])
    assert "BFL_HEADERS" in err
    assert "secret-value" not in err


def test_environment_is_bounded(run: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFL_HEADERS", "A: " + "x" * 20_000)
    assert run("credits")[0] == 2
    assert host.seen == []


def test_one_option_is_one_header(run: Run, host: Host) -> None:
    """A line end in it begins no second one."""
    code, _, err = run("credits", "--header", "A: secret-value\nB: c")
    assert (code, host.seen) == (2, [])
    assert "secret-value" not in err


@pytest.mark.parametrize(
    "value",
    ["secret-value", "a=1&secret-value", "a=1&a=secret-value", "id=secret-value", "a=secret-value\u00e9"],
)
def test_parameters_of_the_environment_that_cannot_be_sent_are_refused(
    run: Run, host: Host, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("BFL_QUERY", value)
    code, out, err = run("credits")
    assert (code, out, host.seen) == (2, "", [])
    assert "query" in err.lower()
    assert "secret-value" not in err


def test_header_that_was_not_quoted_is_not_repeated(run: Run, host: Host) -> None:
    """The shell has made three arguments of it."""
    code, _, err = run("generate", "a cat", "--header", "Authorization:", "Bearer", "secret-value")
    assert (code, host.seen) == (2, [])
    assert "secret-value" not in err


def test_each_command_with_a_client_has_both() -> None:
    """Also one that is added later: those with `--sandbox`, and the worker."""

    def commands(group: click.Group) -> Iterator[click.Command]:
        for command in group.commands.values():
            yield command
            if isinstance(command, click.Group):
                yield from commands(command)

    asking = {
        command.name: {name for option in command.params for name in option.opts}
        for command in commands(cli)
        if command.name == "worker" or any("--sandbox" in option.opts for option in command.params)
    }
    assert {"generate", "result", "batch", "worker", "credits", "doctor"} <= asking.keys()
    for name, options in asking.items():
        assert {"--header", "--query", "--trusted-host"} <= options, name


@pytest.mark.parametrize(
    "argv",
    [
        ("--query", "secret-value"),
        ("--query", "=secret-value"),
        ("--query", "a=1", "--query", "a=secret-value"),
        ("--query", "a=secret-value\n"),
        ("--query", "id=secret-value"),
        ("--trusted-host", "https://secret-value/path"),
        ("--trusted-host", "polls.example", "--sandbox"),
        ("--header", "Authorization: secret-value", "--sandbox"),
        ("--header", "A: b", "--header", "a: secret-value"),
    ],
    ids=lambda argv: " ".join(argv),
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(
    run: Run, host: Host, argv: tuple[str, ...]
) -> None:
    """As a use of the command line, and without the value, which may be a secret."""
    code, out, err = run("credits", *argv)
    assert (code, out, host.seen) == (2, "", [])
    assert "secret-value" not in err


def test_host_that_answers_with_the_image_works_in_the_shell(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/howto/other-hosts.md shows it for Azure AI Foundry."""
    heard: list[tuple[str, str | None]] = []
    answer = json.dumps({"data": [{"b64_json": base64.b64encode(JPEG).decode()}]}).encode()

    def heed(path: str, headers: Message) -> None:
        heard.append((path, headers["Authorization"]))

    with host_in_thread(lambda method, path: answer, heed) as url:
        monkeypatch.setenv("BFL_API_KEY", "not-used-there")
        monkeypatch.setenv("BFL_BASE_URL", f"{url}/providers/blackforestlabs/v1")
        monkeypatch.setenv("BFL_HEADERS", "Authorization: Bearer the-token")
        monkeypatch.setenv("BFL_QUERY", "api-version=preview")
        own = ("--set", "model=FLUX.2-pro", "--set", "n=1", "--allow-unknown-fields")
        code, out, _ = run("generate", "a cat", "-m", "flux-2-pro", "-o", "cat", *own)
    assert (code, out) == (0, "cat.jpg\n")
    assert Path("cat.jpg").read_bytes() == JPEG
    path = "/providers/blackforestlabs/v1/flux-2-pro?api-version=preview"
    assert heard == [(path, "Bearer the-token")]
