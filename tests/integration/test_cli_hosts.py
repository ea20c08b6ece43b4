"""`--query` and `--trusted-host`: the commands against a host beside BFL's."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    with host_in_thread(found.answer) as url, host_in_thread(found.answer) as polls:
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
        assert {"--query", "--trusted-host"} <= options, name


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
