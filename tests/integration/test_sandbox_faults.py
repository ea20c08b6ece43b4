"""Each fault dial over its socket, with a plain HTTP client: what it sends, and what it leaves in the accounts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from bfl_async.sandbox import DIALS, Sandbox
from bfl_async.sandbox.faults import Setting
from tests.integration.test_sandbox_webhooks import WEBHOOK_DIALS

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_HANG_S = 0.15


@dataclass(frozen=True)
class Seen:
    """What came over the wire: a reply, or `status` 0 and what broke in `error`."""

    status: int
    media_type: str = ""
    body: bytes = b""
    headers: dict[str, str] | None = None
    error: str = ""

    @property
    def data(self) -> dict[str, Json]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def header(self) -> dict[str, str]:
        assert self.headers is not None
        return self.headers


class Client:
    """A client with no cleverness of its own."""

    def __init__(self, session: ClientSession, sandbox: Sandbox) -> None:
        self.session = session
        self.sandbox = sandbox

    async def call(
        self, method: str, url: str, *, data: bytes | None = None, timeout: float = 10, **headers: str
    ) -> Seen:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        begun: tuple[int, dict[str, str]] = (0, {})
        try:
            async with self.session.request(
                method,
                URL(url, encoded=True),
                data=data,
                headers=named,
                allow_redirects=False,
                timeout=ClientTimeout(total=timeout),
            ) as response:
                begun = response.status, {k.lower(): v for k, v in response.headers.items()}
                body = await response.read()
                return Seen(response.status, response.content_type, body, begun[1])
        except TimeoutError:
            return Seen(0, error="timeout")
        except (ClientError, OSError) as exc:
            return Seen(0, headers=begun[1], error="cut" if begun[0] else type(exc).__name__)

    async def submit(self, prompt: str = "a fox", *, timeout: float = 10) -> Seen:
        data = json.dumps({"prompt": prompt, "width": 64, "height": 64}).encode()
        return await self.call(
            "POST",
            f"{self.sandbox.url}/v1/flux-2-klein-4b",
            data=data,
            timeout=timeout,
            x_key=self.sandbox.key,
            Content_Type="application/json",
        )

    async def accepted(self) -> str:
        return str((await self.submit()).data["id"])

    async def poll(self, task_id: str, *, timeout: float = 10) -> Seen:
        return await self.call("GET", f"{self.sandbox.url}/v1/get_result?id={task_id}", timeout=timeout)

    async def sample_url(self, task_id: str) -> str:
        result = (await self.poll(task_id)).data["result"]
        assert isinstance(result, dict)
        return str(result["sample"])

    async def post(self, path: str, body: object, **headers: str) -> Seen:
        headers.setdefault("Content_Type", "application/json")
        return await self.call(
            "POST", self.sandbox.url + path, data=json.dumps(body).encode(), timeout=10, **headers
        )


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose tasks end when the test says so."""
    async with Sandbox(service_s=math.inf, speed=20) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session, sandbox)


def is_gateway(seen: Seen, status: int) -> bool:
    return (seen.status, seen.media_type) == (status, "text/html") and b"<html>" in seen.body


def is_api(seen: Seen, status: int) -> bool:
    return seen.status == status and list(seen.data) == ["detail"]


def is_reset(seen: Seen) -> bool:
    return seen.status == 0 and seen.error in ("ClientOSError", "ServerDisconnectedError")


def is_cut(seen: Seen) -> bool:
    return seen.error == "cut"


def is_hang(seen: Seen) -> bool:
    return seen.error == "timeout"


Check = Callable[[Seen], bool]

SUBMITS: dict[str, Check] = {
    "reset": is_reset,
    "502": lambda seen: is_gateway(seen, 502),
    "504": lambda seen: is_gateway(seen, 504),
    "hang": is_hang,
    "html": lambda seen: is_gateway(seen, 200),
    "truncated": is_cut,
    "no-id": lambda seen: seen.status == 200 and "id" not in seen.data and "polling_url" not in seen.data,
}
SUBMITS_BEFORE: dict[str, Check] = {
    **SUBMITS,
    "500": lambda seen: is_api(seen, 500),
    "503": lambda seen: is_api(seen, 503) and seen.header["retry-after"] == "1",
}
SUBMITS_AFTER: dict[str, Check] = {
    **SUBMITS,
    "500": lambda seen: is_gateway(seen, 500),
    "503": lambda seen: is_gateway(seen, 503),  # its JSON would say that no task exists
}
POLLS: dict[str, Check] = {
    "poll-reset": is_reset,
    "poll-500": lambda seen: is_api(seen, 500),
    "poll-502": lambda seen: is_gateway(seen, 502),
    "poll-503": lambda seen: is_gateway(seen, 503),
    "poll-504": lambda seen: is_gateway(seen, 504),
    "poll-429": lambda seen: is_api(seen, 429),
    "poll-hang": is_hang,
    "poll-html": lambda seen: is_gateway(seen, 200),
    "poll-truncated": is_cut,
    "poll-not-found": lambda seen: (seen.status, seen.data["status"]) == (404, "Task not found"),
    "poll-403": lambda seen: is_api(seen, 403),
    "poll-no-status": lambda seen: seen.status == 200 and list(seen.data) == ["id"],
    "poll-state": lambda seen: seen.data["state"] == "Pending" and "status" not in seen.data,
    "poll-unknown-status": lambda seen: seen.status == 200 and seen.data["status"] == "Composing",
    "poll-body-422": lambda seen: (seen.status, seen.data["status"]) == (422, "Pending"),
    "poll-body-503": lambda seen: (seen.status, seen.data["status"]) == (503, "Pending"),
    "poll-redirect-self": lambda seen: seen.status == 302 and seen.header["location"].startswith("/v1/get_r"),
    "poll-redirect-foreign": lambda seen: (
        seen.status == 302 and "/v1/get_result?id=" in seen.header["location"]
    ),
}
IMAGES: dict[str, Check] = {
    "image-500": lambda seen: seen.status == 500 and b"<Code>InternalError</Code>" in seen.body,
    "image-reset": is_reset,
    "image-truncated": is_cut,
    "image-type": lambda seen: (
        (seen.status, seen.media_type) == (200, "image/jpeg") and b"<html>" in seen.body
    ),
    "image-expired": lambda seen: seen.status == 403 and b"Expiry [" in seen.body,
    "image-slow": lambda seen: seen.status == 200 and seen.body.startswith(b"\xff\xd8"),
    "image-larger": lambda seen: seen.body.startswith(b"\xff\xd8") or seen.error != "",  # as aiohttp reads it
    "image-redirect-foreign": lambda seen: seen.status == 302 and "/results/" in seen.header["location"],
}


def sent(dial: str) -> int:
    """How often one call of ours is sent: aiohttp repeats a GET that is reset, once."""
    return 2 if dial in ("poll-reset", "image-reset") else 1


def test_each_dial_is_tested_here() -> None:
    """A new dial needs a row in one of the tables above."""
    tested = {f"submit-{kind}-before" for kind in SUBMITS_BEFORE}
    tested |= {f"submit-{kind}-after" for kind in SUBMITS_AFTER}
    tested |= {*POLLS, *IMAGES, "submit-429", "foreign-polling-url", "foreign-sample", *WEBHOOK_DIALS}
    assert set(DIALS) == tested
    assert all(text and "\n" not in text for text in DIALS.values())


@pytest.mark.parametrize("kind", SUBMITS_BEFORE)
async def test_fault_before_acceptance_leaves_no_task(sandbox: Sandbox, client: Client, kind: str) -> None:
    """The submit is told so, nothing is charged, and the next one is accepted."""
    dial = f"submit-{kind}-before"
    sandbox.faults.set(dial, [True])
    assert SUBMITS_BEFORE[kind](await client.submit(timeout=_HANG_S if kind == "hang" else 10))
    assert (sandbox.tasks, sandbox.credits) == ({}, 10_000)
    await client.accepted()
    assert sandbox.faults.fired == {dial: 1}
    assert sandbox.faults.settings() == {}


@pytest.mark.parametrize("kind", SUBMITS_AFTER)
async def test_fault_after_acceptance_leaves_a_paid_task(sandbox: Sandbox, client: Client, kind: str) -> None:
    """The submit is told so, and a task runs that is charged; a submit that is refused is no opportunity."""
    dial = f"submit-{kind}-after"
    sandbox.faults.set(dial, [True])
    sandbox.limit = 0
    assert (await client.submit()).status == 429
    sandbox.limit = 1
    assert SUBMITS_AFTER[kind](await client.submit(timeout=_HANG_S if kind == "hang" else 10))
    (task,) = sandbox.tasks.values()
    assert sandbox.statistics().active == 1
    assert sandbox.credits == pytest.approx(10_000 - task.cost)
    assert sandbox.faults.fired == {dial: 1}


async def test_submit_429_refuses_though_there_is_room(sandbox: Sandbox, client: Client) -> None:
    """It is counted like any other 429, and names no time."""
    sandbox.faults.set("submit-429", 1.0)
    seen = await client.submit()
    assert is_api(seen, 429)
    assert "retry-after" not in seen.header
    assert (sandbox.statistics().accepted, sandbox.statistics().refused_429) == (0, 1)


@pytest.mark.parametrize("dial", POLLS)
async def test_fault_of_a_poll_changes_nothing(sandbox: Sandbox, client: Client, dial: str) -> None:
    """One poll is told so, the next one is told the truth."""
    task_id = await client.accepted()
    sandbox.faults.set(dial, [True] * sent(dial))
    seen = await client.poll(task_id, timeout=_HANG_S if dial == "poll-hang" else 10)
    assert POLLS[dial](seen), seen
    assert sandbox.faults.fired == {dial: sent(dial)}
    assert (await client.poll(task_id)).data["status"] == "Pending"
    assert (sandbox.tasks[task_id].polls, sandbox.statistics().active) == (sent(dial) + 1, 1)
    assert "redirect-foreign" not in dial or sandbox.foreign.url in seen.header["location"]


@pytest.mark.parametrize("dial", ["poll-state", "poll-body-422", "poll-body-503"])
async def test_a_true_status_in_a_strange_place_is_an_end_that_was_seen(
    sandbox: Sandbox, client: Client, dial: str
) -> None:
    """`seen_at` is the first poll that told the end; a poll whose answer was spoilt told nothing."""
    task_id = await client.accepted()
    sandbox.settle(task_id)
    sandbox.faults.set("poll-no-status", [True])
    sandbox.faults.set("poll-unknown-status", 1.0)  # only while in flight
    await client.poll(task_id)
    assert sandbox.tasks[task_id].seen_at is None
    sandbox.faults.set(dial, [True])
    seen = await client.poll(task_id)
    assert "Ready" in (seen.data.get("status"), seen.data.get("state"))
    assert sandbox.tasks[task_id].seen_at is not None


@pytest.mark.parametrize("dial", IMAGES)
async def test_fault_of_the_image_host_passes(sandbox: Sandbox, client: Client, dial: str) -> None:
    """One download goes wrong, the next one brings the image."""
    task_id = await client.accepted()
    sandbox.settle(task_id)
    url = await client.sample_url(task_id)
    sandbox.faults.set(dial, [True] * sent(dial))
    began = asyncio.get_running_loop().time()
    seen = await client.call("GET", url)
    assert IMAGES[dial](seen), seen
    assert dial != "image-slow" or asyncio.get_running_loop().time() - began > 0.9 / sandbox.speed
    assert sandbox.faults.fired == {dial: sent(dial)}
    assert (await client.call("GET", url)).status == 200
    if dial == "image-redirect-foreign":
        assert (await client.call("GET", seen.header["location"])).status == 200
        assert [request.path for request in sandbox.foreign.requests] == [URL(url, encoded=True).raw_path_qs]


async def test_larger_image_really_is_larger(sandbox: Sandbox, client: Client) -> None:
    """Read from the socket itself: HTTP clients stop at what was announced."""
    task_id = await client.accepted()
    sandbox.settle(task_id)
    url = URL(await client.sample_url(task_id), encoded=True)
    sandbox.faults.set("image-larger", [True])
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    announced = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"Content-Length" in line)
    assert announced < len(body)


async def test_answers_that_name_another_host(sandbox: Sandbox, client: Client) -> None:
    """The receipt's polling URL, and the result's; the foreign host serves the image and notes who came."""
    sandbox.faults.set("foreign-polling-url", [True])
    receipt = (await client.submit()).data
    assert str(receipt["polling_url"]).startswith(sandbox.foreign.url + "/v1/get_result?id=")
    asked = await client.call("GET", str(receipt["polling_url"]), x_key="leaked")
    assert (asked.status, asked.data) == (404, {"detail": "Not Found"})
    assert sandbox.foreign.requests[0].headers["x-key"] == "leaked"

    task_id = str(receipt["id"])
    sandbox.settle(task_id)
    sandbox.faults.set("foreign-sample", [True])
    url = await client.sample_url(task_id)
    assert url.startswith(sandbox.foreign.url)
    assert (await client.call("GET", url)).body.startswith(b"\xff\xd8")
    assert [request.method for request in sandbox.foreign.requests] == ["GET", "GET"]
    assert (await client.sample_url(task_id)).startswith(sandbox.url)
    gone = await client.call("GET", f"{sandbox.foreign.url}/results/nobody/sample.jpeg")
    assert gone.status == 404


async def test_key_at_the_image_host_is_counted(sandbox: Sandbox, client: Client) -> None:
    """So that a test can assert that it never came."""
    task_id = await client.accepted()
    sandbox.settle(task_id)
    url = await client.sample_url(task_id)
    await client.call("GET", url)
    assert sandbox.statistics().downloads_with_key == 0
    await client.call("GET", url, x_key="leaked")
    assert sandbox.statistics().downloads_with_key == 1


# ---- turning the dials


async def test_dials_are_checked(sandbox: Sandbox) -> None:
    """A wrong name lists the right ones; a probability is from 0 to 1; nothing is set of a set that is wrong."""
    faults = sandbox.faults
    with pytest.raises(ValueError, match=r"submit-reset-before.*image-redirect-foreign"):
        faults.set("submit-rest", 0.1)
    for setting in (-0.1, 1.1, math.nan, True, "1", None, [1, 0]):
        with pytest.raises(ValueError, match="poll-500 takes a probability"):
            faults.set_all({"poll-502": 0.5, "poll-500": cast(Setting, setting)})
    assert faults.settings() == {}
    faults.set_all({"poll-502": 0.5, "poll-500": iter([True, False])})
    assert faults.settings() == {"poll-502": 0.5, "poll-500": [True, False]}
    faults.clear("poll-502")
    faults.set("poll-500", [])
    assert faults.settings() == {}
    with pytest.raises(ValueError, match="no dial"):
        faults.clear("nothing")
    faults.set("poll-500", 1)
    faults.clear()
    assert faults.settings() == {}


def test_dials_of_the_constructor() -> None:
    """They are checked there as well, and those that point at the foreign host need it."""
    assert Sandbox(faults={"submit-429": 0.5}).faults.settings() == {"submit-429": 0.5}
    with pytest.raises(ValueError, match="no dial"):
        Sandbox(faults={"no": 0.5})
    with pytest.raises(ValueError, match="foreign host"):
        Sandbox(faults={"foreign-sample": 0.5}, foreign=False)
    with pytest.raises(RuntimeError, match="foreign=False"):
        _ = Sandbox(foreign=False).foreign


async def test_script_of_a_dial_goes_by_opportunities(sandbox: Sandbox, client: Client) -> None:
    """One bool for each poll; afterwards the dial is off."""
    task_id = await client.accepted()
    sandbox.faults.set("poll-502", [True, False, True])
    assert [(await client.poll(task_id)).status for _ in range(5)] == [502, 200, 502, 200, 200]


async def test_faults_do_not_change_what_tasks_draw() -> None:
    """One seed gives the same service times whatever the dials do, and the same faults again."""
    seen = []
    for probability in (0.0, 0.5, 0.5):
        async with Sandbox(seed=3, faults={"poll-502": probability}) as sandbox, ClientSession() as session:
            client = Client(session, sandbox)
            task_ids = [await client.accepted() for _ in range(4)]
            polls = [(await client.poll(task_ids[0])).status for _ in range(20)]
            tasks = sandbox.tasks.values()
            seen.append((polls, [round(task.ready_at - task.accepted_at, 6) for task in tasks]))
    assert seen[0][1] == seen[1][1]
    assert seen[1] == seen[2]
    assert set(seen[1][0]) == {200, 502}


async def test_closing_ends_what_hangs() -> None:
    """A client that waits for ever does not hold up the close."""
    async with ClientSession() as session:
        async with Sandbox(faults={"submit-hang-before": 1.0}) as sandbox:
            waiting = asyncio.create_task(Client(session, sandbox).submit())
            while not sandbox.faults.fired:  # noqa: ASYNC110 - a fault that fires sets no event
                await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 0.9  # aiohttp's own patience is one second
        assert (await waiting).status == 0


# ---- scripts, settlements, the account


async def test_script_says_what_happens_to_the_next_submits(sandbox: Sandbox, client: Client) -> None:
    """One item for each submit as it arrives; the dials wait meanwhile."""
    sandbox.service_s = 0.0
    sandbox.faults.set("submit-429", 1.0)
    codes = [400, 402, 403, 404, 422, 429, 500, 502, 503, 504]
    ends = ["Ready", "Request Moderated", "Content Moderated", "Error", "Failed"]
    sandbox.script([*codes, "submit-html-before", "submit-no-id-after", *ends, "Task not found"])
    assert [(await client.submit()).status for _ in codes] == codes
    assert is_gateway(await client.submit(), 200)
    assert sandbox.tasks == {}
    assert "id" not in (await client.submit()).data
    assert len(sandbox.tasks) == 1
    ids = [await client.accepted() for _ in ends]
    assert [(await client.poll(task_id)).data["status"] for task_id in ids] == ends
    assert (await client.poll(await client.accepted())).status == 404
    assert sandbox.faults.fired["submit-429"] == 0
    assert (await client.submit()).status == 429
    assert sandbox.statistics().refused_422 == 1


@pytest.mark.parametrize("item", ["Pending", "poll-500", "nothing", 200, 418])
async def test_script_refuses_what_it_does_not_know(
    sandbox: Sandbox, client: Client, item: str | int
) -> None:
    """At once, and nothing is queued."""
    with pytest.raises(ValueError, match="a script cannot hold"):
        sandbox.script([402, item])
    await client.accepted()


async def test_a_task_whose_end_nobody_saw_can_be_settled() -> None:
    """Its own end may have come first: nobody can know. What was seen or settled stands."""
    async with Sandbox(service_s=0.0) as sandbox, ClientSession() as session:
        client = Client(session, sandbox)
        task_id = await client.accepted()
        assert sandbox.tasks[task_id].status == "Ready"
        sandbox.settle(task_id, "Error", detail="late")
        assert sandbox.statistics().active == 0
        with pytest.raises(ValueError, match="ended already"):
            sandbox.settle(task_id)
        assert (await client.poll(task_id)).data["details"] == {"error": "late"}
        seen = await client.accepted()
        await client.poll(seen)
        with pytest.raises(ValueError, match="ended already"):
            sandbox.settle(seen)


async def test_a_revoked_key_is_refused_everywhere(sandbox: Sandbox, client: Client) -> None:
    """Submits, polls and the balance, until it is good again."""
    task_id = await client.accepted()
    sandbox.revoked = True
    balance = await client.call("GET", f"{sandbox.url}/v1/credits", x_key=sandbox.key)
    assert [seen.status for seen in (await client.submit(), await client.poll(task_id), balance)] == [403] * 3
    sandbox.revoked = False
    assert (await client.poll(task_id)).status == 200


async def test_slots_of_another_client_count_in_the_limit(sandbox: Sandbox, client: Client) -> None:
    """They take room, and are in no statistics."""
    sandbox.foreign_active = sandbox.limit - 1
    await client.accepted()
    assert (await client.submit()).status == 429
    assert (sandbox.statistics().active, sandbox.statistics().peak_active) == (1, 1)
    sandbox.foreign_active = 0
    await client.accepted()


# ---- from another process


async def test_dials_are_turned_over_http(sandbox: Sandbox, client: Client) -> None:
    """What is set, what there is, and what has fired."""
    answer = await client.post("/sandbox/faults", {"poll-502": 0.5, "poll-500": [True, False]})
    assert answer.data["settings"] == {"poll-502": 0.5, "poll-500": [True, False]}
    await client.post("/sandbox/faults", {"poll-502": 0, "poll-500": [True]})
    assert (await client.poll("nobody")).status == 500
    told = (await client.call("GET", f"{sandbox.url}/sandbox/faults")).data
    assert told == {"settings": {}, "dials": dict(DIALS), "fired": {"poll-500": 1}}


async def test_settings_are_set_over_http(sandbox: Sandbox, client: Client) -> None:
    """The account and the speed."""
    wanted = {"limit": 3, "credits": 7.5, "revoked": True, "foreign_active": 1, "speed": 2}
    assert (await client.post("/sandbox/settings", wanted)).data == wanted
    assert (sandbox.limit, sandbox.credits, sandbox.revoked) == (3, 7.5, True)
    assert (sandbox.foreign_active, sandbox.speed) == (1, 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/faults", {"poll-502": 0.5, "no": 1}),
        ("/sandbox/faults", {"poll-502": 2}),
        ("/sandbox/faults", {"poll-502": None}),
        ("/sandbox/faults", ["poll-502"]),
        ("/sandbox/settings", {"limit": -1}),
        ("/sandbox/settings", {"limit": 1, "key": "mine"}),
        ("/sandbox/settings", {"limit": 1, "speed": 0}),
        ("/sandbox/settings", {"limit": 1, "credits": 10**400}),
        ("/sandbox/settings", {"limit": True}),
        ("/sandbox/settings", {"revoked": 1}),
        ("/sandbox/settings", 3),
    ],
)
async def test_what_cannot_be_set_is_refused_as_a_whole(
    sandbox: Sandbox, client: Client, path: str, body: object
) -> None:
    """400 with a reason, and nothing is set."""
    seen = await client.post(path, body)
    assert is_api(seen, 400)
    assert (sandbox.faults.settings(), sandbox.limit, sandbox.key) == ({}, 12, "sandbox-key")


@pytest.mark.parametrize("path", ["/sandbox/faults", "/sandbox/settings"])
async def test_pages_of_other_origins_set_nothing(sandbox: Sandbox, client: Client, path: str) -> None:
    """Neither by a form, nor by a script, nor under a name that leads here; our own page may."""
    port = URL(sandbox.url).port
    assert (await client.post(path, {}, Content_Type="text/plain")).status == 415
    for origin in ("http://evil.example", "null", f"http://localhost:{port}", f"https://127.0.0.1:{port}"):
        seen = await client.post(path, {}, Origin=origin)
        assert (seen.status, seen.media_type) == (403, "application/json"), origin
    rebound = f"evil.example:{port}"
    assert (await client.post(path, {}, Origin=f"http://{rebound}", Host=rebound)).status == 421
    assert (await client.post(path, {}, Origin=sandbox.url)).status == 200
    assert (
        await client.post(path, {}, Origin=f"http://localhost:{port}", Host=f"localhost:{port}")
    ).status == 200


async def test_the_newest_tasks_are_told_to_the_page(sandbox: Sandbox, client: Client) -> None:
    """At most 50, the newest first, with what the account is set to."""
    sandbox.limit = 60
    ids = [await client.accepted() for _ in range(53)]
    told = (await client.call("GET", f"{sandbox.url}/sandbox/statistics?newest=99")).data
    newest = cast(list[dict[str, Json]], told["newest"])
    assert [task["id"] for task in newest] == ids[:-51:-1]
    facts = {"id", "model", "status", "progress", "age_s", "polls", "prompt", "picture", "width", "height"}
    assert set(newest[0]) == facts
    settings = cast(dict[str, Json], told["settings"])
    assert settings["limit"] == 60
    plain = (await client.call("GET", f"{sandbox.url}/sandbox/statistics?newest=%C2%B2")).data
    assert "newest" not in plain


async def test_the_page_is_one_file_that_asks_nobody_else(sandbox: Sandbox, client: Client) -> None:
    """Its policy names its own script and style by their hashes, and it names no other host."""
    seen = await client.call("GET", f"{sandbox.url}/sandbox")
    assert (seen.status, seen.media_type) == (200, "text/html")
    policy = seen.header["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for mark in (b"http://", b"https://", b"//cdn", b"innerHTML", b" style="):
        assert mark not in seen.body


async def test_no_name_of_a_stranger_leads_to_the_sandbox() -> None:
    """A site can give its name this address: refused everywhere, before key and body; names that are told are not."""
    async with Sandbox(service_s=0.0, hosts=["API.test"]) as sandbox, ClientSession() as session:
        port = sandbox.url.rpartition(":")[2]
        paths = [
            "/sandbox",
            "/sandbox/statistics?tasks=1",
            "/sandbox/faults",
            "/v1/credits",
            "/v1/get_result?id=x",
            "/",
            "/x",
        ]
        for path in paths:
            for name in (
                "evil.example",
                f"evil.example:{port}",
                "localhost.evil.example",
                "x]",
                "127.0.0.1.evil.example",
            ):
                async with session.get(
                    sandbox.url + path, headers={"Host": name, "x-key": sandbox.key}
                ) as reply:
                    assert reply.status in (400, 421), (path, name)
            for name in (
                f"localhost:{port}",
                f"127.0.0.1:{port}",
                "[::1]",
                "a.localhost",
                f"api.test:{port}",
            ):
                async with session.get(
                    sandbox.url + path, headers={"Host": name, "x-key": sandbox.key}
                ) as reply:
                    assert reply.status in (200, 404), (path, name)
        async with session.post(
            f"{sandbox.url}/v1/flux-dev",
            json={"prompt": "x"},
            headers={"Host": "evil.example", "x-key": sandbox.key},
        ) as reply:
            assert reply.status == 421
        assert sandbox.statistics().accepted == 0
