"""The sandbox over its socket, with a plain HTTP client."""

import asyncio
import io
import json
import math
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple, cast

import pytest
import pytest_asyncio
from aiohttp import ClientConnectionError, ClientSession
from PIL import Image
from yarl import URL

from bfl_async.sandbox import Sandbox, SandboxStatistics, accounting
from bfl_async.sandbox.drawing import draw_card
from bfl_async.sandbox.models import MODELS, draw
from tests.media import png_text

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Reply(NamedTuple):
    status: int
    body: dict[str, Json]
    headers: dict[str, str]


class Client:
    """A client with no cleverness of its own."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def call(
        self,
        method: str,
        url: str,
        *,
        key: str | None = None,
        data: bytes | None = None,
        media_type: str = "application/json",
    ) -> Reply:
        headers = {"Content-Type": media_type} if data is not None else {}
        if key is not None:
            headers["x-key"] = key
        async with self.session.request(method, url, data=data, headers=headers) as response:
            body = cast(dict[str, Json], await response.json(content_type="application/json"))
            return Reply(response.status, body, {k.lower(): v for k, v in response.headers.items()})

    async def submit(self, sandbox: Sandbox, model: str = "flux-2-klein-4b", **fields: Json) -> Reply:
        data = json.dumps({"prompt": "a fox", **fields}).encode()
        return await self.call("POST", f"{sandbox.url}/v1/{model}", key=sandbox.key, data=data)

    async def accepted(self, sandbox: Sandbox, model: str = "flux-2-klein-4b", **fields: Json) -> str:
        """Submit, and the id of the task it must have become."""
        reply = await self.submit(sandbox, model, **fields)
        assert reply.status == 200, reply
        return str(reply.body["id"])

    async def poll(self, sandbox: Sandbox, task_id: str) -> Reply:
        return await self.call("GET", f"{sandbox.url}/v1/get_result?id={task_id}")

    async def poll_to_end(self, sandbox: Sandbox, task_id: str) -> Reply:
        """Poll without a pause until the status is another than Pending."""
        while (reply := await self.poll(sandbox, task_id)).body["status"] == "Pending":
            pass
        return reply

    async def sample_url(self, sandbox: Sandbox, task_id: str) -> str:
        result = (await self.poll_to_end(sandbox, task_id)).body["result"]
        assert isinstance(result, dict)
        return str(result["sample"])

    async def download(self, url: str) -> tuple[int, str, bytes]:
        async with self.session.get(URL(url, encoded=True)) as response:
            return response.status, response.content_type, await response.read()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session)


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose tasks end when the test says so."""
    async with Sandbox(service_s=math.inf) as sandbox:
        yield sandbox


# ---- slots and credits


async def test_the_account_limit_refuses_the_next_submit(sandbox: Sandbox, client: Client) -> None:
    """As many tasks are active as the limit says; the next submit gets 429 until one of them ends."""
    ids = [await client.accepted(sandbox) for _ in range(sandbox.limit)]
    refused = await client.submit(sandbox)
    assert (refused.status, refused.body) == (429, {"detail": "Too many active tasks"})
    assert "retry-after" not in refused.headers

    sandbox.settle(ids[5])
    await client.accepted(sandbox)
    assert (await client.submit(sandbox)).status == 429
    counts = sandbox.statistics()
    assert (counts.accepted, counts.active, counts.peak_active, counts.refused_429) == (13, 12, 12, 2)


async def test_a_task_frees_its_slot_at_its_end_though_nobody_polls(client: Client) -> None:
    """A slot is the server's: it is free as soon as the time of its task has come."""
    async with Sandbox(limit=1, service_s=0.05) as sandbox:
        first = await client.accepted(sandbox)
        while (await client.submit(sandbox)).status == 429:
            pass
        second = [*sandbox.tasks.values()][1]
        assert second.accepted_at >= sandbox.tasks[first].ready_at
        assert sandbox.tasks[first].polls == 0
        assert sandbox.statistics().peak_active == 1


async def test_a_pool_refuses_within_the_account_limit(client: Client) -> None:
    """A model whose own pool is full is refused while others go on."""
    async with Sandbox(service_s=math.inf, pools={"flux-dev": 1}) as sandbox:
        task_id = await client.accepted(sandbox, "flux-dev")
        assert (await client.submit(sandbox, "flux-dev")).status == 429
        await client.accepted(sandbox, "flux-pro")
        sandbox.settle(task_id)
        await client.accepted(sandbox, "flux-dev")


async def test_the_limit_may_be_set_at_run_time(sandbox: Sandbox, client: Client) -> None:
    """Lowered under what is active it refuses all; raised it accepts at once; zero accepts nothing."""
    task_id = await client.accepted(sandbox)
    await client.accepted(sandbox)
    sandbox.limit = 1
    sandbox.settle(task_id)
    assert (await client.submit(sandbox)).status == 429
    sandbox.limit = 2
    await client.accepted(sandbox)
    sandbox.limit = 0
    assert (await client.submit(sandbox)).status == 429


async def test_active_tasks_are_counted_right_in_any_order_of_ends(client: Client) -> None:
    """Whether tasks end by time or by hand, before or after one another: the count is exact."""
    rng = random.Random(1)

    def service(_model: str, _n: int) -> float:
        return rng.choice([0.0, 0.01, 0.1, math.inf])

    async with Sandbox(limit=50, service_s=service) as sandbox:
        tasks = sandbox.tasks
        for _ in range(300):
            if (await client.submit(sandbox)).status == 429:
                held = [task.id for task in tasks.values() if task.ready_at == math.inf]
                for task_id in rng.sample(held, min(2, len(held))):
                    sandbox.settle(task_id)
            counts = sandbox.statistics()
            # The dict stands as of that moment: asking for `sandbox.tasks` again would end more.
            assert counts.active == sum(1 for task in tasks.values() if not task.ended)
            assert counts.active <= 50
        assert sandbox.statistics().peak_active == 50


@pytest.mark.parametrize(
    ("model", "fields", "told", "charged"),
    [
        ("flux-pro-1.1", {}, (4.0, 0.0, 0.75), 4.0),
        ("flux-pro", {}, (5.0, 0.0, 0.75), 5.0),
        ("flux-dev", {}, (None, None, None), 2.5),
        ("flux-2-pro", {}, (3.0, 0.0, 1.0), 3.0),
        ("flux-2-pro", {"width": 2048, "height": 1024}, (4.5, 0.0, 2.0), 4.5),
        ("flux-2-pro", {"input_image": png_text(1024, 1024)}, (4.5, 1.0, 1.0), 4.5),
        ("flux-2-klein-4b", {"width": 2048, "height": 1024}, (1.5, 0.0, 2.0), 1.5),
        ("flux-2-klein-4b", {"width": 64, "height": None}, (1.4, 0.0, 0.06), 1.4),
    ],
)
async def test_an_accepted_task_is_charged(
    sandbox: Sandbox,
    client: Client,
    model: str,
    fields: dict[str, Json],
    told: tuple[float | None, ...],
    charged: float,
) -> None:
    """The submit tells the price, the balance falls by it; flux-dev tells it in the last poll only."""
    reply = await client.submit(sandbox, model, **fields)
    assert tuple(reply.body[name] for name in ("cost", "input_mp", "output_mp")) == told
    credits = await client.call("GET", f"{sandbox.url}/v1/credits", key=sandbox.key)
    assert credits.body == {"credits": pytest.approx(10_000 - charged)}
    assert sandbox.statistics().credits_spent == pytest.approx(charged)

    task_id = str(reply.body["id"])
    assert "cost" not in (await client.poll(sandbox, task_id)).body
    sandbox.settle(task_id)
    assert (await client.poll(sandbox, task_id)).body.get("cost") == (2.5 if told[0] is None else None)


async def test_an_empty_account_is_refused_before_its_slots_are_counted(client: Client) -> None:
    """402 and no charge when the balance is below the price, also with no slot free; topped up it goes on."""
    async with Sandbox(credits=5.0, limit=1, service_s=math.inf) as sandbox:
        await client.accepted(sandbox, "flux-pro-1.1")
        refused = await client.submit(sandbox, "flux-pro-1.1")
        assert (refused.status, refused.body) == (402, {"detail": "Insufficient credits"})
        assert sandbox.credits == 1.0
        sandbox.credits, sandbox.limit = 4.0, 2
        await client.accepted(sandbox, "flux-pro-1.1")
        assert sandbox.statistics().refused_402 == 1


# ---- refusals


async def test_refusals_come_in_the_order_of_the_real_checks(sandbox: Sandbox, client: Client) -> None:
    """Path, key, body, credits, slots: the first that fails answers, and none of them makes a task."""
    sandbox.credits, sandbox.limit = 0.0, 0
    good, bad = b'{"prompt":"a fox"}', b'{"prompt":1}'
    unknown, known = f"{sandbox.url}/v1/flux-9", f"{sandbox.url}/v1/flux-dev"
    answers = [
        await client.call("POST", unknown, data=bad),
        await client.call("POST", unknown, data=bad, key="other"),
        await client.call("POST", unknown, data=bad, key="no key at all"),
        await client.call("POST", known, data=bad),
        await client.call("POST", known, data=bad, key="other"),
        await client.call("POST", known, data=bad, key=sandbox.key),
        await client.call("POST", known, data=good, key=sandbox.key),
    ]
    sandbox.credits = 100.0
    answers.append(await client.call("POST", known, data=good, key=sandbox.key))
    assert [answer.status for answer in answers] == [404, 404, 404, 403, 403, 422, 402, 429]
    assert [answer.body["detail"] for answer in answers[2:5]] == [
        "Not Found",
        "Not authenticated",
        "Not authenticated - Invalid Authentication",
    ]
    counts = sandbox.statistics()
    assert (counts.refused_403, counts.refused_404, counts.refused_422) == (2, 3, 1)
    assert (counts.refused_402, counts.refused_429, counts.accepted) == (1, 1, 0)


@pytest.mark.parametrize(
    ("right", "wrong", "status"),
    [
        *(("sandbox-key", text, 403) for text in ("other", "sandbox-key2", "bfl_other", "0" * 36)),
        *(
            ("sandbox-key", text, 422)
            for text in ("", "a key", "'sandbox-key'", "Bearer sandbox-key", "bfl_", "k\xe9y")
        ),
        *(("bfl_right", text, 403) for text in ("bfl_other", "bfl_right2")),
        *(("bfl_right", text, 422) for text in ("other", "right", "BFL_right", "bfl_ right", "bfl_")),
    ],
)
async def test_a_key_without_the_form_of_one_is_a_422_with_a_text(
    client: Client, right: str, wrong: str, status: int
) -> None:
    """A submit, the balance and the utilities refuse it in the captured words (August 2026); a wrong key is 403."""
    detail = "Invalid API key format" if status == 422 else "Not authenticated - Invalid Authentication"
    async with Sandbox(key=right) as sandbox:
        for method, path, data in (
            ("POST", "/v1/flux-dev", b"{}"),
            ("GET", "/v1/credits", None),
            ("GET", "/v1/my_finetunes", None),
        ):
            reply = await client.call(method, sandbox.url + path, key=wrong, data=data)
            assert (reply.status, reply.body) == (status, {"detail": detail})
        assert sandbox.statistics().accepted == 0


async def test_other_paths_answer_in_json(sandbox: Sandbox, client: Client) -> None:
    """404 with the API's body, wherever."""
    for path in ("/", "/v1/nothing", "/results"):
        reply = await client.call("GET", sandbox.url + path, key=sandbox.key)
        assert (reply.status, reply.body) == (404, {"detail": "Not Found"})


async def test_the_balance_needs_the_key(sandbox: Sandbox, client: Client) -> None:
    """403 in the same words as a submit."""
    url = f"{sandbox.url}/v1/credits"
    assert (await client.call("GET", url)).body == {"detail": "Not authenticated"}
    wrong = await client.call("GET", url, key="other")
    assert (wrong.status, wrong.body) == (403, {"detail": "Not authenticated - Invalid Authentication"})


@pytest.mark.parametrize(
    ("model", "fields", "where", "kind"),
    [
        ("flux-pro-1.1", {"width": 250}, "width", "multiple_of"),
        ("flux-pro-1.1", {"height": 1472}, "height", "less_than_equal"),
        ("flux-pro-1.1", {"safety_tolerance": 7}, "safety_tolerance", "less_than_equal"),
        ("flux-pro", {"steps": 51}, "steps", "less_than_equal"),
        ("flux-pro", {"interval": 0.5}, "interval", "greater_than_equal"),
        ("flux-dev", {"guidance": 1}, "guidance", "greater_than_equal"),
        ("flux-dev", {"prompt": None}, "prompt", "string_type"),
        ("flux-dev", {"steps": "many"}, "steps", "int_parsing"),
        ("flux-2-pro", {"width": 0}, "width", "greater_than_equal"),
        ("flux-2-pro", {"safety_tolerance": 6}, "safety_tolerance", "less_than_equal"),
        ("flux-2-pro", {"input_image_8": 1}, "input_image_8", "string_type"),
        ("flux-2-klein-4b", {"output_format": "gif"}, "output_format", "enum"),
        ("flux-2-klein-4b", {"width": 512.5}, "width", "int_from_float"),
        ("flux-2-klein-4b", {"user": ""}, "user", "string_too_short"),
    ],
)
async def test_a_field_out_of_its_rules_is_named(
    sandbox: Sandbox, client: Client, model: str, fields: dict[str, Json], where: str, kind: str
) -> None:
    """422 with the place, the kind, a message and the value, in pydantic's form."""
    reply = await client.submit(sandbox, model, **fields)
    assert reply.status == 422
    detail = reply.body["detail"]
    assert isinstance(detail, list)
    assert len(detail) == 1
    error = detail[0]
    assert isinstance(error, dict)
    assert (error["loc"], error["type"], error["input"]) == (["body", where], kind, fields[where])
    assert error["msg"]


@pytest.mark.parametrize(
    ("data", "media_type", "kind"),
    [
        (b"", "application/json", "missing"),
        (b"{", "application/json", "json_invalid"),
        (b"\xff", "application/json", "json_invalid"),
        (b'{"seed":NaN}', "application/json", "json_invalid"),
        (b"[" * 100_000, "application/json", "json_invalid"),
        (b"[]", "application/json", "model_attributes_type"),
        (b'"text"', "application/json", "model_attributes_type"),
        (b'{"prompt":"a fox"}', "text/plain", "model_attributes_type"),
        (b"{}", "application/json", "missing"),
        (b'{"prompt":"x","width":4096,"height":4096}', "application/json", "value_error"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    sandbox: Sandbox, client: Client, data: bytes, media_type: str, kind: str
) -> None:
    """Whatever is sent, the answer is a 422 that can be read."""
    url = f"{sandbox.url}/v1/flux-2-pro"
    reply = await client.call("POST", url, key=sandbox.key, data=data, media_type=media_type)
    detail = reply.body["detail"]
    assert isinstance(detail, list)
    assert isinstance(detail[0], dict)
    assert (reply.status, detail[0]["type"]) == (422, kind)


# ---- time


async def test_one_seed_gives_the_same_tasks(client: Client) -> None:
    """Ids, made-up seeds and times of the n-th accepted task depend on the seed and the model alone."""

    async def run(seed: int, limit: int) -> list[tuple[str, str, float]]:
        async with Sandbox(seed=seed, limit=limit) as sandbox:
            for model in ("flux-dev", "flux-2-pro", "flux-2-klein-4b", "flux-pro-1.1"):
                await client.accepted(sandbox, model)
                if limit == 4:  # refusals must not shift the draws
                    await client.submit(sandbox, model, width=1)
            return [
                (task.id, str(task.seed), round(task.ready_at - task.accepted_at, 6))
                for task in sandbox.tasks.values()
            ]

    assert await run(5, 12) == await run(5, 4)
    assert await run(5, 12) != await run(6, 12)


@pytest.mark.parametrize("name", list(MODELS))
def test_times_follow_the_model(name: str) -> None:
    """Log-normal about the model's median, the upload between 0.3 and 0.6 s."""
    rng = random.Random(0)
    draws = [draw(MODELS[name], rng) for _ in range(4000)]
    logs = [math.log(drawn.service_s) for drawn in draws]
    assert statistics.fmean(logs) == pytest.approx(math.log(MODELS[name].median_s), abs=0.03)
    assert statistics.stdev(logs) == pytest.approx(MODELS[name].sigma, rel=0.05)
    assert all(0.3 <= drawn.upload_s <= 0.6 for drawn in draws)


async def test_service_time_is_what_the_caller_says(client: Client) -> None:
    """A number is fixed, a function is asked with the model and the number; the speed divides both."""
    asked: list[tuple[str, int]] = []

    def service(model: str, n: int) -> float:
        asked.append((model, n))
        return 10.0 * (n + 1)

    async with Sandbox(service_s=service, speed=4.0) as sandbox:
        for model in ("flux-dev", "flux-2-pro"):
            await client.accepted(sandbox, model)
        times = [task.ready_at - task.accepted_at for task in sandbox.tasks.values()]
    assert times == [pytest.approx(2.5), pytest.approx(5.0)]
    assert asked == [("flux-dev", 0), ("flux-2-pro", 1)]

    async with Sandbox(service_s=3.0, speed=0.5) as sandbox:
        task = sandbox.tasks[await client.accepted(sandbox)]
        assert task.ready_at - task.accepted_at == pytest.approx(6.0)


async def test_a_task_becomes_ready_by_itself(client: Client) -> None:
    """Pending until its time has come, Ready from then on; the first poll that saw it is kept."""
    async with Sandbox(service_s=10.0, speed=100.0) as sandbox:
        task_id = await client.accepted(sandbox, "flux-dev", seed=7)
        assert (await client.poll(sandbox, task_id)).body["status"] == "Pending"
        ready = await client.poll_to_end(sandbox, task_id)
        task = sandbox.tasks[task_id]
        seen_at = task.seen_at
        assert seen_at is not None
        assert seen_at >= task.ready_at
        result = ready.body["result"]
        assert isinstance(result, dict)
        assert (result["seed"], result["prompt"]) == (7, "a fox")

        again = await client.poll(sandbox, task_id)
        assert again.body == ready.body
        assert task.seen_at == seen_at
        assert task.polls == sandbox.statistics().polls


async def test_progress_rises_in_tenths_and_waits_at_one(client: Client) -> None:
    """FLUX.1 tells the share of its computing rounded down, 1.0 while it uploads; FLUX.2 tells nothing."""
    async with Sandbox(service_s=1000.0) as sandbox:
        for model in ("flux-dev", "flux-2-pro"):
            task = sandbox.tasks[await client.accepted(sandbox, model)]
            accepted_at, ready_at, computed_at = task.accepted_at, task.ready_at, task.computed_at
            if model == "flux-dev":
                assert 0.3 <= ready_at - computed_at <= 0.6
            told: list[Json] = []
            for elapsed_s in (0, 95, 105, 205, 333, 555, 777, 995, 999.8):
                # The task is moved in time instead of waiting for it.
                task.accepted_at = accepted_at - elapsed_s
                task.computed_at = computed_at - elapsed_s
                reply = await client.poll(sandbox, task.id)
                assert reply.body["status"] == "Pending"
                told.append(reply.body["progress"])
            if model == "flux-dev":
                assert told == [None, None, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]
            else:
                assert told == [None] * 9


async def test_round_trips_pass_half_before_and_half_after_the_decision(client: Client) -> None:
    """The task begins in the middle of the submit's round trip and is seen in the middle of the poll's."""
    loop = asyncio.get_running_loop()
    async with Sandbox(submit_rtt_s=0.4, poll_rtt_s=0.2, speed=2.0, service_s=0.0) as sandbox:
        sent_at = loop.time()
        task = sandbox.tasks[await client.accepted(sandbox)]
        assert task.accepted_at - sent_at >= 0.099
        assert loop.time() - task.accepted_at >= 0.099
        sent_at = loop.time()
        await client.poll(sandbox, task.id)
        assert task.seen_at is not None
        # The clock of uvloop counts whole milliseconds.
        assert task.seen_at - sent_at >= 0.049
        assert loop.time() - task.seen_at >= 0.049


async def test_polls_beyond_the_rate_are_refused(client: Client) -> None:
    """429 with the time to wait; the task is unaffected."""
    async with Sandbox(service_s=math.inf, polls_per_s=1) as sandbox:
        task_id = await client.accepted(sandbox)
        replies = await asyncio.gather(*(client.poll(sandbox, task_id) for _ in range(20)))
        refused = [reply for reply in replies if reply.status == 429]
        assert refused
        assert all(reply.headers["retry-after"] == "1" for reply in refused)
        assert {reply.status for reply in replies} == {200, 429}
        counts = sandbox.statistics()
        assert (counts.polls, counts.polls_429) == (20, len(refused))
        assert sandbox.tasks[task_id].polls == 20 - len(refused)


# ---- ends


@pytest.mark.parametrize(
    ("mark", "status", "key"),
    [
        ("[moderate-prompt]", "Request Moderated", "Moderation Reasons"),
        ("[moderate-output]", "Content Moderated", "Moderation Reasons"),
        ("[fail]", "Error", "error"),
    ],
)
async def test_a_mark_in_the_prompt_chooses_the_end(client: Client, mark: str, status: str, key: str) -> None:
    """HTTP 200, no result, and the reason in `details`."""
    async with Sandbox(speed=100.0) as sandbox:
        task_id = await client.accepted(sandbox, prompt=f"a fox {mark}")
        reply = await client.poll_to_end(sandbox, task_id)
        assert (reply.status, reply.body["status"], reply.body["result"]) == (200, status, None)
        details = reply.body["details"]
        assert isinstance(details, dict)
        assert list(details) == [key]
        assert details[key]
        task = sandbox.tasks[task_id]
        if mark == "[moderate-prompt]":
            assert 0.005 <= task.ready_at - task.accepted_at <= 0.02


async def test_tasks_that_only_the_test_ends_keep_still(sandbox: Sandbox, client: Client) -> None:
    """With an infinite service time not even a moderated prompt ends by itself."""
    task_id = await client.accepted(sandbox, prompt="[moderate-prompt]")
    assert sandbox.tasks[task_id].ready_at == math.inf
    sandbox.settle(task_id)
    assert (await client.poll(sandbox, task_id)).body["status"] == "Ready"


async def test_settle_ends_a_task_now(sandbox: Sandbox, client: Client) -> None:
    """The next poll sees the status with its reasons; a status of the future is passed on as it is."""
    cases: list[tuple[str, list[str], str | None, Json]] = [
        ("Content Moderated", ["Violence", "Image 2"], None, {"Moderation Reasons": ["Violence", "Image 2"]}),
        ("Request Moderated", [], None, None),
        ("Error", [], "out of memory", {"error": "out of memory"}),
        ("Failed", [], None, None),
    ]
    for status, reasons, detail, details in cases:
        task_id = await client.accepted(sandbox, "flux-2-pro")
        sandbox.settle(task_id, status, reasons=reasons, detail=detail)
        reply = await client.poll(sandbox, task_id)
        assert (reply.status, reply.body["status"], reply.body["details"]) == (200, status, details)
        assert (reply.body["cost"], sandbox.credits, sandbox.statistics().credits_spent) == (0.0, 10_000, 0)
    gone = await client.accepted(sandbox)
    sandbox.settle(gone, "Task not found")
    assert (await client.poll(sandbox, gone)).status == 404
    assert sandbox.statistics().active == 0


async def test_an_end_that_is_changed_is_charged_as_it_is_at_last(client: Client) -> None:
    """A task that ended by itself and that no poll has seen may be settled otherwise."""
    async with Sandbox(service_s=0.0) as sandbox:
        moderated = await client.accepted(sandbox, "flux-pro-1.1", prompt="[moderate-output]")
        ready = await client.accepted(sandbox, "flux-pro-1.1")
        assert sandbox.statistics().active == 0
        assert (sandbox.tasks[moderated].status, sandbox.credits) == ("Content Moderated", 10_000 - 4)
        sandbox.settle(moderated, "Ready")
        assert sandbox.credits == 10_000 - 8
        sandbox.settle(ready, "Error")
        assert (sandbox.credits, sandbox.statistics().credits_spent) == (10_000 - 4, 4)
        assert "cost" not in (await client.poll(sandbox, moderated)).body
        assert (await client.poll(sandbox, ready)).body["cost"] == 0


async def test_settle_refuses_what_makes_no_sense(sandbox: Sandbox, client: Client) -> None:
    """An unknown task, one that has ended, a status that ends nothing."""
    task_id = await client.accepted(sandbox)
    with pytest.raises(ValueError, match="does not end"):
        sandbox.settle(task_id, "Generating")
    sandbox.settle(task_id)
    with pytest.raises(ValueError, match="ended already"):
        sandbox.settle(task_id)
    with pytest.raises(KeyError):
        sandbox.settle("nobody")


async def test_old_tasks_are_forgotten(client: Client) -> None:
    """The newest ended tasks are remembered, active ones always; a forgotten one is not found."""
    async with Sandbox(service_s=math.inf, retain=2) as sandbox:
        held = await client.accepted(sandbox)
        ids = [await client.accepted(sandbox) for _ in range(3)]
        for task_id in ids:
            sandbox.settle(task_id)
        assert list(sandbox.tasks) == [held, *ids[1:]]
        reply = await client.poll(sandbox, ids[0])
        assert (reply.status, reply.body["status"]) == (404, "Task not found")
        sandbox.retain = 0
        sandbox.settle(held)
        assert sandbox.tasks == {}
        assert sandbox.statistics().accepted == 4


async def test_kept_bodies_are_bounded(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, client: Client
) -> None:
    """The oldest bodies go first; their tasks stay, and so do their images."""
    monkeypatch.setattr(accounting, "_BODIES_MAX_BYTES", 2500)
    ids = [await client.accepted(sandbox, ignored="x" * 1000) for _ in range(3)]
    assert [bool(sandbox.tasks[task_id].body) for task_id in ids] == [False, True, True]
    sandbox.settle(ids[0])
    assert (await client.download(await client.sample_url(sandbox, ids[0])))[0] == 200


async def test_a_poll_without_an_id_is_refused(sandbox: Sandbox, client: Client) -> None:
    """422, naming the query."""
    reply = await client.call("GET", f"{sandbox.url}/v1/get_result")
    missing = {"type": "missing", "loc": ["query", "id"], "msg": "Field required", "input": None}
    assert (reply.status, reply.body) == (422, {"detail": [missing]})


# ---- images


@pytest.mark.parametrize(
    ("model", "fields", "size", "form"),
    [
        ("flux-dev", {}, (1024, 768), "JPEG"),
        ("flux-pro-1.1", {"width": 256, "height": 1440, "output_format": "png"}, (256, 1440), "PNG"),
        ("flux-2-pro", {}, (1024, 1024), "JPEG"),
        ("flux-2-klein-4b", {"width": 100, "height": 64, "output_format": "webp"}, (100, 64), "WEBP"),
    ],
)
async def test_the_image_has_the_asked_size_and_format(
    sandbox: Sandbox,
    client: Client,
    model: str,
    fields: dict[str, Json],
    size: tuple[int, int],
    form: str,
) -> None:
    """It opens, also on a second download, and needs no key."""
    task_id = await client.accepted(sandbox, model, **fields)
    sandbox.settle(task_id)
    url = await client.sample_url(sandbox, task_id)
    first, second = [await client.download(url) for _ in range(2)]
    assert first == second
    status, media_type, content = first
    assert (status, media_type) == (200, f"image/{form.lower()}")
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert (image.size, image.format) == (size, form)
    assert sandbox.statistics().downloads == 2


async def test_a_tampered_url_is_refused(sandbox: Sandbox, client: Client) -> None:
    """403 in XML whatever part of the signed URL was changed or left out."""
    task_id = await client.accepted(sandbox)
    other = await client.accepted(sandbox)
    sandbox.settle(task_id)
    url = await client.sample_url(sandbox, task_id)
    for wrong in (
        url.replace(task_id, other),
        url.replace(".jpeg?", ".png?"),
        url.replace("?se=2", "?se=3"),
        url.replace("sp=r", "sp=w"),
        url.replace("rsct=image/jpeg", "rsct=text/html"),
        url[: url.index("&sig=")],
        url[: url.index("?")],
        url[: url.index("&sig=")] + "&sig=%C3%A9",
    ):
        assert wrong != url
        status, media_type, content = await client.download(wrong)
        assert (status, media_type) == (403, "application/xml")
        assert b"<Code>AuthenticationFailed</Code>" in content
    assert (await client.download(url))[0] == 200


async def test_a_url_expires(client: Client) -> None:
    """Past `se` the right signature is refused."""
    async with Sandbox(service_s=0.0, result_ttl_s=0.0) as sandbox:
        task_id = await client.accepted(sandbox)
        url = await client.sample_url(sandbox, task_id)
        status, _, content = await client.download(url)
        assert status == 403
        assert b"not valid in the specified time frame" in content


async def test_a_later_poll_gets_a_freshly_signed_url(sandbox: Sandbox, client: Client) -> None:
    """The first `se` lies 600 s after the end, each later one 600 s after its own poll (captured, August 2026)."""
    task_id = await client.accepted(sandbox)
    sandbox.settle(task_id)
    # The task is moved in time instead of waiting for it.
    sandbox.tasks[task_id].computed_at -= 700.0
    expired = await client.sample_url(sandbox, task_id)
    assert (await client.download(expired))[0] == 403
    before = time.time()
    fresh = await client.sample_url(sandbox, task_id)
    expiry = datetime.fromisoformat(URL(fresh, encoded=True).query["se"]).timestamp()
    assert before - 1.0 <= expiry - 600.0 <= time.time()
    assert (await client.download(fresh))[0] == 200


async def test_a_signature_keeps_its_slashes(client: Client) -> None:
    """`/` stays as it is in `sig=` (captured, August 2026); plus and equal signs are escaped, as recorded."""
    async with Sandbox(service_s=0.0, limit=100) as sandbox:
        ids = [await client.accepted(sandbox) for _ in range(40)]
        urls = [await client.sample_url(sandbox, task_id) for task_id in ids]
        signatures = [url.partition("&sig=")[2] for url in urls]
        # Of 43 characters from 64, each is a slash or a plus sign now and then.
        assert any("/" in signature for signature in signatures)
        assert any("%2B" in signature for signature in signatures)
        assert all(re.fullmatch(r"([A-Za-z0-9/]|%2B){43}%3D", signature) for signature in signatures)
        slashed = next(url for url in urls if "/" in url.partition("&sig=")[2])
        assert (await client.download(slashed))[0] == 200


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=3-99999999", 206, slice(3, None)),
        ("bytes=99999999-", 416, slice(0)),
        ("lines=1-2", 200, slice(None)),
    ],
)
async def test_the_image_host_takes_the_ranges_that_it_announces(
    sandbox: Sandbox, client: Client, asked: str, status: int, part: slice
) -> None:
    """A part is told with its place in the whole and without the whole's checksum."""
    task_id = await client.accepted(sandbox, width=64, height=64)
    sandbox.settle(task_id)
    url = URL(await client.sample_url(sandbox, task_id), encoded=True)
    async with client.session.get(url) as response:
        whole = await response.read()
        assert response.headers["Accept-Ranges"] == "bytes"
    async with client.session.get(url, headers={"Range": asked}) as response:
        assert response.status == status
        content = await response.read()
        told = response.headers.get("Content-Range")
        assert ("Content-Md5" in response.headers) == (status == 200)
    if status == 416:
        assert told == f"bytes */{len(whole)}"
        return
    assert content == whole[part]
    start = part.indices(len(whole))[0]
    expected = f"bytes {start}-{start + len(content) - 1}/{len(whole)}"
    assert told == (expected if status == 206 else None)


async def test_the_image_of_a_forgotten_task_is_gone(client: Client) -> None:
    """A good signature for what is not there any more: 404 in XML."""
    async with Sandbox(service_s=0.0, retain=1) as sandbox:
        url = await client.sample_url(sandbox, await client.accepted(sandbox))
        await client.sample_url(sandbox, await client.accepted(sandbox))
        status, media_type, content = await client.download(url)
        assert (status, media_type) == (404, "application/xml")
        assert b"<Code>BlobNotFound</Code>" in content


PROMPTS = [
    "a portrait of a red fox in the snow",
    "",
    "   \n\t ",
    "x" * 5000,
    "many words " * 500,
    "東京の夜 🦊🦊 naïve Ωmega",
    "\u202eright to left\x00\x07 \ud800 \U0010ffff",
    "e\u0301" * 300,
]


@pytest.mark.parametrize("size", [(64, 64), (64, 2048), (1440, 256)])
@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_any_prompt_can_be_drawn(prompt: str, size: tuple[int, int]) -> None:
    """No text crashes the drawing, in any shape of image; the same card has the same bytes."""
    width, height = size
    cards = [
        draw_card(prompt, model="flux-dev", seed=1, width=width, height=height, output_format="png")
        for _ in range(2)
    ]
    assert cards[0] == cards[1]
    with Image.open(io.BytesIO(cards[0])) as image:
        assert image.size == size
        assert len(image.convert("RGB").getcolors(width * height) or []) > 1  # letters on a ground


async def test_half_a_character_survives_the_round_trip(sandbox: Sandbox, client: Client) -> None:
    """A prompt with a lone surrogate comes back as it was sent, and its image can be fetched."""
    task_id = await client.accepted(sandbox, "flux-dev", prompt="half \ud800 a pair, é whole")
    sandbox.settle(task_id)
    result = (await client.poll(sandbox, task_id)).body["result"]
    assert isinstance(result, dict)
    assert result["prompt"] == "half \ud800 a pair, é whole"
    assert (await client.download(str(result["sample"])))[0] == 200


def test_different_prompts_look_different() -> None:
    """The ground's colour is the prompt's own."""
    grounds = set()
    for prompt in ("a fox", "a wolf", "a bear"):
        card = draw_card(prompt, model="m", seed=1, width=64, height=64, output_format="png")
        with Image.open(io.BytesIO(card)) as image:
            grounds.add(image.getpixel((0, 0)))
    assert len(grounds) == 3


async def test_without_pillow_the_error_names_the_package(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, client: Client
) -> None:
    """The server runs without it; a download says what to install."""
    task_id = await client.accepted(sandbox)
    sandbox.settle(task_id)
    url = await client.sample_url(sandbox, task_id)
    monkeypatch.setitem(sys.modules, "PIL", None)
    # It may have drawn for another test.
    monkeypatch.delitem(sys.modules, "bfl_async.sandbox.drawing", raising=False)
    monkeypatch.delattr("bfl_async.sandbox.drawing", raising=False)
    status, _, content = await client.download(url)
    assert (status, content) == (500, b"the sandbox draws with Pillow: pip install 'bfl-async[images]'")


def test_the_sandbox_is_imported_without_pillow() -> None:
    """Nor does it load anything of the client."""
    code = (
        "import sys, bfl_async.sandbox as _; "
        "print([m for m in sys.modules if m == 'PIL' or m == 'pydantic' or "
        "m.startswith('bfl_async.') and not m.startswith(('bfl_async.sandbox', 'bfl_async._version'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- reading it


async def test_statistics_can_be_asked_over_http(sandbox: Sandbox, client: Client) -> None:
    """The same counts as in the process, and a row for each task, endless times as null."""
    first, second = await client.accepted(sandbox), await client.accepted(sandbox, "flux-dev")
    sandbox.settle(first)
    await client.poll(sandbox, first)
    reply = await client.call("GET", f"{sandbox.url}/sandbox/statistics")
    counts = sandbox.statistics()
    assert SandboxStatistics(**cast(dict[str, int], reply.body)) == counts
    assert (counts.accepted, counts.active, counts.polls) == (2, 1, 1)

    listed = (await client.call("GET", f"{sandbox.url}/sandbox/statistics?tasks=1")).body["tasks"]
    task, other = sandbox.tasks[first], sandbox.tasks[second]
    assert listed == [
        [first, "flux-2-klein-4b", task.accepted_at, task.ready_at, task.seen_at, 1, "Ready"],
        [second, "flux-dev", other.accepted_at, None, None, 0, "Pending"],
    ]


async def test_wait_accepted_returns_with_the_nth_task(sandbox: Sandbox, client: Client) -> None:
    """Not before, at once when they are there, and a cancelled wait leaves nothing behind."""
    waiting = asyncio.create_task(sandbox.wait_accepted(2))
    cancelled = asyncio.create_task(sandbox.wait_accepted(2))
    await client.accepted(sandbox)
    assert not waiting.done()
    cancelled.cancel()
    await client.accepted(sandbox)
    await waiting
    assert cancelled.cancelled()
    await sandbox.wait_accepted(1)


async def test_closing_ends_every_wait(client: Client) -> None:
    """A waiter is told, the port is closed, the counts stay; closing twice is once."""
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = sandbox.url
    await sandbox.start()
    with pytest.raises(RuntimeError, match="starts once"):
        await sandbox.start()
    task_id = await client.accepted(sandbox)
    waiting = asyncio.create_task(sandbox.wait_accepted(5))
    await asyncio.sleep(0)  # lets it begin to wait
    await sandbox.aclose()
    await sandbox.aclose()
    with pytest.raises(RuntimeError, match="closed before"):
        await waiting
    with pytest.raises(RuntimeError, match="not running"):
        await sandbox.wait_accepted(5)
    with pytest.raises(ClientConnectionError):
        await client.poll(sandbox, task_id)
    assert sandbox.statistics().accepted == 1
    assert "accepted=1" in repr(sandbox)


async def test_a_taken_port_is_an_error_at_the_start(sandbox: Sandbox) -> None:
    """`OSError`, and nothing stays open."""
    port = URL(sandbox.url).port
    assert port is not None
    second = Sandbox(port=port)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.aclose()


def test_a_speed_must_be_positive() -> None:
    """Zero would be a sandbox in which nothing ever ends."""
    with pytest.raises(ValueError, match="speed"):
        Sandbox(speed=0)
