"""`get` and `post`: any endpoint of the API, by the rules of slots and money; and the raw replies that are kept."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    AuthenticationError,
    BFLError,
    Budget,
    BudgetExceededError,
    ConnectError,
    InvalidRequestError,
    RefusedError,
    Reply,
    ReplyShapeError,
    ReplyTimeoutError,
    TaskTimeoutError,
)
from tests.fake import FakeAPI, reply, status

pytestmark = pytest.mark.looptime(start=0)

ANSWER = {"message": "done", "id": "an-id-of-no-task"}


# ---- post


async def test_1_a_post_that_makes_a_task_holds_its_slot_until_the_task_ends() -> None:
    """Invariant 1: slots follow the server, whoever sent the submit; the task's handle is there to be had."""
    api = FakeAPI(limit=1, service_s=5)
    async with api.client() as bfl:
        answer = await bfl.post("/v1/flux-new", json={"prompt": "a cat", "count": 3})
        assert api.posts == [("/v1/flux-new", {"prompt": "a cat", "count": 3})]
        assert answer.json() == {
            "id": "task-0",
            "polling_url": "https://api.bfl.ai/poll/task-0",
            "cost": 4.0,
        }
        assert bfl.statistics().slots_taken == 1
        next_one = bfl.submit_nowait("flux-dev", prompt="a dog")
        handle = bfl.attach("task-0")
        assert handle.model == "flux-new"
        assert (await handle).task_id == "task-0"
        await next_one
        assert api.refused_429 == 0
        assert bfl.statistics().credits_spent == 8.0
        assert bfl.statistics().ready == 2


async def test_1_a_post_that_makes_no_task_frees_its_slot_with_the_answer() -> None:
    """Invariant 1: an id alone is no task; no count of tasks is touched."""
    api = FakeAPI(limit=1)
    api.script_submits(reply(200, ANSWER, x_request_id="7"), reply(204), reply(200, [1]))
    async with api.client() as bfl:
        answer = await bfl.post("/v1/licenses/models/flux-1-dev/usage", json={"number_of_generations": 1})
        assert (answer.status_code, answer.json(), answer.headers["x-request-id"]) == (200, ANSWER, "7")
        assert (await bfl.post("/v1/delete_finetune")).body == b"null"
        assert (await bfl.post("/v1/delete_finetune")).json() == [1]
        assert api.posts[1:] == [("/v1/delete_finetune", {})] * 2
        now = bfl.statistics()
        assert (now.slots_taken, now.submitted, now.ready, now.failed) == (0, 0, 0, 0)
        assert api.polled == []


async def test_1_a_post_with_a_webhook_makes_a_task_as_well() -> None:
    """Invariant 1: its reply has no polling URL; the slot stays taken all the same, and the task is polled."""
    api = FakeAPI(service_s=5)
    async with api.client() as bfl:
        answer = await bfl.post("/v1/flux-new", json={"webhook_url": "https://app.example/bfl"})
        assert b"polling_url" not in answer.body
        assert bfl.statistics().slots_taken == 1
        assert (await bfl.attach("task-0")).task_id == "task-0"


async def test_1_a_post_waits_for_its_slot_and_in_the_pool_of_its_model() -> None:
    """Invariant 1: never the thirteenth task; a caller who leaves the queue has sent nothing."""
    api = FakeAPI(limit=1, service_s=10)
    async with api.client() as bfl:
        await bfl.submit("flux-dev", prompt="a cat")
        with pytest.raises(TaskTimeoutError, match="nothing was sent"):
            await bfl.post("/v1/flux-new", timeout=1)
        waiting = asyncio.create_task(bfl.post("/v1/flux-new"))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert bfl.statistics().withdrawn == 2
        assert len(api.posts) == 1


async def test_1_a_post_whose_caller_leaves_ends_and_its_task_is_drained() -> None:
    """Invariant 1: the slot stays taken until the server is done."""
    api = FakeAPI(service_s=5)
    async with api.client() as bfl:
        sending = asyncio.create_task(bfl.post("/v1/flux-new"))
        await asyncio.sleep(api.submit_s / 4)
        sending.cancel()
        await asyncio.wait([sending])
        assert bfl.statistics().slots_taken == 1
        assert await bfl.drain()
        assert bfl.statistics().ready == 1


@pytest.mark.parametrize(
    "lost",
    [
        ReplyTimeoutError("late"),
        reply(500, "x"),
        reply(503, "<html>"),
        reply(200, "<html>"),
        reply(200, b'{"id": "t", "poll'),
    ],
)
async def test_2_a_post_whose_answer_is_lost_is_never_sent_again(lost: Reply | BFLError) -> None:
    """Invariant 2: it may have been taken, and a task may exist: the slot stays taken for a while."""
    api = FakeAPI()
    api.script_submits(lost)
    async with api.client() as bfl:
        with pytest.raises(AmbiguousSubmitError):
            await bfl.post("/v1/flux-new")
        assert len(api.posts) == 1
        assert bfl.statistics().slots_taken == 1


async def test_2_a_post_is_sent_again_only_where_nothing_was_taken() -> None:
    """Invariant 2: no connection, 429, 503 of the API itself."""
    api = FakeAPI()
    api.script_submits(
        ConnectError("refused"), reply(429, {"detail": "busy"}), reply(503, {"detail": "busy"})
    )
    async with api.client() as bfl:
        assert (await bfl.post("/v1/flux-new")).status_code == 200
        assert len(api.posts) == 4


async def test_a_refused_post_raises_the_error_of_its_status() -> None:
    """As any submit; the slot is free."""
    api = FakeAPI()
    api.script_submits(reply(404, {"detail": "Not Found"}), reply(422, {"detail": "no"}))
    async with api.client() as bfl:
        with pytest.raises(RefusedError, match=r"the submit was refused \(HTTP 404\): Not Found"):
            await bfl.post("/v1/flux-new")
        with pytest.raises(InvalidRequestError):
            await bfl.post("/v1/flux-new")
        assert bfl.statistics().slots_taken == 0


async def test_a_post_counts_with_the_budget_until_it_turns_out_to_cost_nothing() -> None:
    """Nobody knows before what an unknown endpoint costs."""
    api = FakeAPI()
    api.script_submits(reply(200, ANSWER))
    async with AsyncBFL(transport=api, budget=Budget(usd=0.15)) as bfl:
        await bfl.post("/v1/some_call")
        assert bfl.statistics().budget_left_usd == 0.15
        await bfl.post("/v1/flux-new")  # a task of 4 credits
        assert bfl.statistics().budget_left_usd == 0.11
        with pytest.raises(BudgetExceededError):
            await asyncio.gather(bfl.post("/v1/flux-new"), bfl.post("/v1/flux-new"))


@pytest.mark.parametrize(
    "path",
    [
        "flux-dev",
        "/v2/flux-dev",
        "//evil.example/v1/x",
        "https://evil.example/v1/x",
        "/v1/",
        "/v1/../x",
        "/v1/x?y=1",
        "/v1/x#y",
        "/v1/x\r\nx-key: a",
        "/v1/@evil.example",
        "/v1\\x",
        3,
        None,
    ],
)
async def test_5_paths_that_could_lead_elsewhere_are_refused_unsent(path: object) -> None:
    """Invariant 5: what is beneath the base URL's origin, from `/v1/` on, and nothing else."""
    api = FakeAPI()
    async with api.client() as bfl:
        with pytest.raises(InvalidRequestError):
            await bfl.post(path)  # type: ignore[arg-type]  # on purpose
        if path != "/v1/x?y=1" and path != "/v1/@evil.example":
            with pytest.raises(InvalidRequestError):
                await bfl.get(path)  # type: ignore[arg-type]  # on purpose
    assert api.posts == []
    assert api.polled == []


async def test_a_body_that_is_no_json_is_refused_unsent() -> None:
    """Found where it was given."""
    api = FakeAPI()
    async with api.client() as bfl:
        for body in ({"x": object()}, {"x": float("nan")}, [1], [], "text", ""):
            with pytest.raises(InvalidRequestError):
                await bfl.post("/v1/flux-new", json=body)  # type: ignore[arg-type]  # on purpose
    assert api.posts == []


# ---- get


async def test_get_returns_the_reply_and_is_repeated() -> None:
    """A question changes nothing."""
    api = FakeAPI()
    api.script_polls(reply(500, "x"), ReplyTimeoutError("late"), reply(200, {"news": [1]}, x_a="b"))
    async with api.client() as bfl:
        answer = await bfl.get("/v1/news?since=2026-11-24&of=a%20cat")
        assert answer.json() == {"news": [1]}
        assert answer.headers["x-a"] == "b"
        assert [url for _, url in api.polled] == ["/v1/news?since=2026-11-24&of=a%20cat"] * 3


async def test_get_raises_the_error_of_its_status_and_of_its_timeout() -> None:
    """Errors come from the same tree."""
    api = FakeAPI(poll_s=30)
    api.script_polls(reply(403, {"detail": "no"}))
    async with api.client() as bfl:
        with pytest.raises(AuthenticationError, match="GET /v1/news"):
            await bfl.get("/v1/news?token=secret")
        with pytest.raises(ReplyTimeoutError, match=r"GET /v1/news was not answered within 2 s"):
            await bfl.get("/v1/news", timeout=2)


# ---- raw replies


async def test_handles_and_results_keep_the_newest_replies() -> None:
    """For who looks into what went on: status, headers and bytes, refusals and failed polls included."""
    api = FakeAPI()
    api.script_submits(reply(429, {"detail": "busy"}, retry_after="1", x_request_id="s1"))
    api.script_polls(reply(502, "<html>", via="a gateway"))
    async with api.client() as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="a cat")
        assert (handle.submit_reply, handle.poll_reply) == (None, None)
        await asyncio.sleep(0.15)
        assert handle.submit_reply is not None
        assert handle.submit_reply.status_code == 429
        assert handle.submit_reply.headers["x-request-id"] == "s1"
        await handle.accepted()
        await asyncio.sleep(0.3)
        assert handle.poll_reply is not None
        assert (handle.submit_reply.status_code, handle.poll_reply.headers["via"]) == (200, "a gateway")
        result = await handle
        assert result.reply is handle.poll_reply
        assert result.reply is not None
        assert result.reply.json() == result.raw


async def test_a_refused_submit_leaves_its_reply_with_the_handle() -> None:
    """The error tells it in words; this is what came."""
    api = FakeAPI()
    api.script_submits(reply(403, {"detail": "bad key"}, x_request_id="7"))
    async with api.client() as bfl:
        handle = bfl.submit_nowait("flux-dev", prompt="a cat")
        with pytest.raises(AuthenticationError):
            await handle
        assert handle.submit_reply is not None
        assert handle.submit_reply.headers["x-request-id"] == "7"
        assert handle.poll_reply is None


def test_a_reply_shows_neither_headers_nor_body() -> None:
    """They hold prompts and signed URLs; both are there to be read."""
    answer = reply(200, status("Ready"), set_cookie="secret")
    assert repr(answer) == f"Reply(status_code=200, {len(answer.body)} bytes)"
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_a_reply_that_is_no_json_says_so() -> None:
    """An error of the tree, without the text."""
    for body in ("<html>secret", b"[" * 100_000):
        with pytest.raises(ReplyShapeError) as caught:
            reply(502, body).json()
        assert "secret" not in str(caught.value)
