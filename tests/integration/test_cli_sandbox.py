"""The options of `bfl-async sandbox`: what the server in its process then does."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, cast

import pytest

from bfl_async.cli import main
from tests.tls import certificate_in

HOOK = "http://127.0.0.1:9/hook"


@contextmanager
def serving(*options: str) -> Iterator[dict[str, str]]:
    """The command in a process of its own; the variables that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox", "--speed", "100", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip().removeprefix("export ") for _ in range(2)]
        yield dict(cast("tuple[str, str]", tuple(line.split("=", 1))) for line in lines)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None
        process.stdout.close()


def test_lines_that_are_pasted_into_a_shell_count_for_its_commands() -> None:
    """Without `export` a shell would keep them to itself."""
    with subprocess.Popen(
        [sys.executable, "-m", "bfl_async", "sandbox"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        pasted = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    named = {name: value for name, value in os.environ.items() if not name.startswith("BFL_")}
    child = f'{pasted}{sys.executable} -c \'import os; print(os.environ["BFL_BASE_URL"], os.environ["BFL_API_KEY"])\''
    done = subprocess.run(["bash", "-c", child], env=named, capture_output=True, check=True, text=True)
    url, key = done.stdout.split()
    assert url.startswith("http://127.0.0.1:")
    assert key == "sandbox-key"


def call(
    url: str, *, key: str = "", body: dict[str, object] | None = None, context: ssl.SSLContext | None = None
) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-key": key, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), context=context) as reply:
        return cast("dict[str, Any]", json.loads(reply.read()))


def result_of(variables: dict[str, str], body: dict[str, object]) -> dict[str, Any]:
    url, key = variables["BFL_BASE_URL"], variables["BFL_API_KEY"]
    receipt = call(f"{url}/v1/flux-2-pro", key=key, body=body)
    deadline = time.monotonic() + 30
    while (reply := call(receipt["polling_url"]))["status"] != "Ready":
        assert time.monotonic() < deadline
    return cast("dict[str, Any]", reply["result"])


def test_key_prompts_and_webhooks_are_as_the_options_say() -> None:
    """The key that is printed is taken; the prompt is kept; a submit with a webhook names a polling URL."""
    with serving("--key", "bfl_mine", "--keep-prompts", "--webhook-polling-url") as variables:
        assert variables["BFL_API_KEY"] == "bfl_mine"
        body: dict[str, object] = {"prompt": "a fox", "webhook_url": HOOK}
        assert result_of(variables, body)["prompt"] == "a fox"


@pytest.mark.parametrize(("scheme", "has"), [("secret", (True, False)), ("both", (True, True))])
def test_deliveries_are_proved_as_the_option_says(scheme: str, has: tuple[bool, bool]) -> None:
    """By the secret itself, by a signature, or by both."""
    taken: Queue[tuple[bool, bool]] = Queue()

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            taken.put(("X-Webhook-Secret" in self.headers, "X-BFL-Signature" in self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the requests are in the queue."""

    with (
        HTTPServer(("127.0.0.1", 0), Listener) as listener,
        serving("--webhook-scheme", scheme) as variables,
    ):
        thread = Thread(target=listener.handle_request)
        thread.start()
        hook = {"webhook_url": f"http://127.0.0.1:{listener.server_port}/", "webhook_secret": "s"}
        url = f"{variables['BFL_BASE_URL']}/v1/flux-2-pro"
        call(url, key=variables["BFL_API_KEY"], body={"prompt": "a fox", **hook})
        assert taken.get(timeout=30) == has
        thread.join(30)


def test_prompts_are_rewritten_unless_told_otherwise() -> None:
    """As the API was seen to do."""
    with serving() as variables:
        assert variables["BFL_API_KEY"] == "sandbox-key"
        assert result_of(variables, {"prompt": "a fox"})["prompt"] != "a fox"


def test_round_trips_take_their_time() -> None:
    """Divided by the speed, which is 100 here."""
    with serving("--submit-rtt", "40", "--poll-rtt", "20") as variables:
        started = time.monotonic()
        receipt = call(
            f"{variables['BFL_BASE_URL']}/v1/flux-dev", key=variables["BFL_API_KEY"], body={"prompt": "x"}
        )
        submitted = time.monotonic()
        call(receipt["polling_url"])
        assert submitted - started >= 0.4
        assert time.monotonic() - submitted >= 0.2


def test_https_is_served_with_the_given_certificate(tmp_path: Path) -> None:
    """Under the name that the certificate has."""
    cert, key = certificate_in(tmp_path)
    context = ssl.create_default_context(cafile=str(cert))
    with serving("--tls-cert", str(cert), "--tls-key", str(key)) as variables:
        assert variables["BFL_BASE_URL"].startswith("https://127.0.0.1:")
        url = f"{variables['BFL_BASE_URL']}/v1/credits"
        assert call(url, key=variables["BFL_API_KEY"], context=context) == {"credits": 10000.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert", "empty.pem"], "not a certificate"),
        (["--tls-cert", "missing.pem"], "No such file"),
        (["--tls-key", "empty.pem"], "needs --tls-cert"),
        (["--key", "a key"], "--key"),
        (["--key", "$(id)"], "--key"),
        (["--key", ""], "--key"),
        (["--host", "local\nhost"], "--host"),
        (["--webhook-scheme", "none"], "none"),
        (["--poll-rtt", "-1"], "-1"),
    ],
)
def test_what_cannot_be_served_is_a_usage_error(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 and a reason, before anything listens."""
    monkeypatch.chdir(tmp_path)
    Path("empty.pem").touch()
    assert main(["sandbox", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
