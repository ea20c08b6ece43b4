"""Credits, finetunes and reports of use: lenient readers, and nothing is told twice."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine

import pytest

from bfl_async import (
    AsyncBFL,
    AuthenticationError,
    BFLError,
    ConnectError,
    DeletedFinetune,
    Finetune,
    InvalidRequestError,
    RateLimitedError,
    ReplyShapeError,
    ReplyTimeoutError,
    ServerError,
    UsageReport,
)
from bfl_async.types import JSON, Reply
from tests.fake import reply

pytestmark = pytest.mark.looptime(start=0)


class Calls:
    """A transport that answers what it is told to."""

    def __init__(self, *answers: Reply | BFLError) -> None:
        self.answers = deque(answers)
        self.seen: list[tuple[str, object]] = []

    async def submit(self, path: str, body: bytes) -> Reply:
        return self._answer(path, json.loads(body))

    async def poll(self, url: str) -> Reply:
        return self._answer(url, None)

    def _answer(self, path: str, body: object) -> Reply:
        self.seen.append((path, body))
        answer = self.answers.popleft()
        if isinstance(answer, BFLError):
            raise answer
        return answer

    async def download(self, url: str, *, timeout: float) -> Reply:
        raise AssertionError("nothing is downloaded here")

    async def aclose(self) -> None:
        pass


async def test_finetunes_are_listed_whatever_their_shape() -> None:
    """The API says "any": ids, or objects that hold one."""
    calls = Calls(reply(200, {"finetunes": ["a", {"finetune_id": "b", "x": 1}, {"id": "c"}, {}, None, 7]}))
    async with AsyncBFL(transport=calls) as bfl:
        found = await bfl.finetunes()
    assert found[:2] == [Finetune("a", {}), Finetune("b", {"finetune_id": "b", "x": 1})]
    assert [one.finetune_id for one in found] == ["a", "b", "c", "", "", "7"]
    assert calls.seen == [("/v1/my_finetunes", None)]


async def test_finetune_details_are_kept_whole() -> None:
    """The id is quoted: it becomes part of a URL."""
    calls = Calls(reply(200, {"finetune_details": {"mode": "style", "new": [1]}}))
    async with AsyncBFL(transport=calls) as bfl:
        assert await bfl.finetune_details("org/a&b") == Finetune("org/a&b", {"mode": "style", "new": [1]})
    assert calls.seen == [("/v1/finetune_details?finetune_id=org%2Fa%26b", None)]


async def test_deletion_and_report_say_what_the_server_said() -> None:
    """Unknown fields are kept in `raw`."""
    said: dict[str, JSON] = {
        "status": "ok",
        "message": "gone",
        "deleted_finetune_id": "f",
        "timestamp": "2026-01-01",
        "x": 1,
    }
    calls = Calls(
        reply(200, said), reply(200, {}), reply(200, {"message": "Usage recorded successfully"})
    )  # fmt: skip
    async with AsyncBFL(transport=calls) as bfl:
        assert await bfl.delete_finetune("f") == DeletedFinetune("f", "ok", "gone", "2026-01-01", said)
        assert await bfl.delete_finetune("g") == DeletedFinetune("g", "", "", None, {})
        report = await bfl.report_usage("flux-1-dev", 3)
        assert report == UsageReport(
            "Usage recorded successfully", {"message": "Usage recorded successfully"}
        )
    assert calls.seen == [
        ("/v1/delete_finetune", {"finetune_id": "f"}),
        ("/v1/delete_finetune", {"finetune_id": "g"}),
        ("/v1/licenses/models/flux-1-dev/usage", {"number_of_generations": 3}),
    ]


ASKING: list[Callable[[AsyncBFL], Coroutine[object, object, object]]] = [
    lambda bfl: bfl.credits(),
    lambda bfl: bfl.finetunes(),
    lambda bfl: bfl.finetune_details("f"),
]
TELLING: list[Callable[[AsyncBFL], Coroutine[object, object, object]]] = [
    lambda bfl: bfl.delete_finetune("f"),
    lambda bfl: bfl.report_usage("flux-1-dev"),
]


@pytest.mark.parametrize("call", ASKING)
async def test_questions_are_repeated(call: Callable[[AsyncBFL], Coroutine[object, object, object]]) -> None:
    """They change nothing."""
    good = {"credits": 1, "finetunes": [], "finetune_details": {}}
    calls = Calls(reply(500, "oops"), ReplyTimeoutError("late"), reply(200, good))
    async with AsyncBFL(transport=calls) as bfl:
        await call(bfl)
    calls = Calls(*[ReplyTimeoutError("late")] * 3)
    async with AsyncBFL(transport=calls) as bfl:
        with pytest.raises(ReplyTimeoutError):
            await call(bfl)
    assert len(calls.seen) == 3


@pytest.mark.parametrize("call", TELLING)
async def test_what_changes_something_is_sent_once(
    call: Callable[[AsyncBFL], Coroutine[object, object, object]],
) -> None:
    """A lost answer is told and not tried again; without a connection nothing was sent, so that is tried again."""
    for lost, expected in ((ReplyTimeoutError("late"), ReplyTimeoutError), (reply(502, "x"), ServerError)):
        calls = Calls(lost)
        async with AsyncBFL(transport=calls) as bfl:
            with pytest.raises(expected):
                await call(bfl)
        assert len(calls.seen) == 1
    calls = Calls(ConnectError("refused"), ConnectError("refused"), reply(200, {"message": "done"}))
    async with AsyncBFL(transport=calls) as bfl:
        await call(bfl)
        calls.answers.extend([ConnectError("refused")] * 3)
        with pytest.raises(ConnectError):
            await call(bfl)
    assert len(calls.seen) == 6


@pytest.mark.parametrize("call", [*ASKING, *TELLING])
async def test_refusals_and_odd_answers_are_errors_of_their_kind(
    call: Callable[[AsyncBFL], Coroutine[object, object, object]],
) -> None:
    """403, 429, 422; and a 2xx that is no object."""
    for answer, expected in (
        (reply(403, {"detail": "You have not licensed this model."}), AuthenticationError),
        (reply(429, {"detail": "busy"}), RateLimitedError),
        (reply(422, {"detail": "no"}), InvalidRequestError),
        (reply(200, "<html>"), ReplyShapeError),
        (reply(200, [1]), ReplyShapeError),
    ):
        async with AsyncBFL(transport=Calls(answer)) as bfl:
            with pytest.raises(expected):
                await call(bfl)
    if call in ASKING:
        async with AsyncBFL(transport=Calls(reply(200, {"credits": "1", "finetunes": 1}))) as bfl:
            with pytest.raises(ReplyShapeError):
                await call(bfl)


async def test_wrong_arguments_are_found_before_anything_is_sent() -> None:
    """Empty ids, and numbers that count nothing."""
    calls = Calls()
    async with AsyncBFL(transport=calls) as bfl:
        for call in (
            lambda: bfl.finetune_details(""),
            lambda: bfl.delete_finetune(" "),
            lambda: bfl.report_usage(".."),
            lambda: bfl.report_usage("flux-1-dev", 0),
            lambda: bfl.report_usage("flux-1-dev", True),
        ):
            with pytest.raises(InvalidRequestError):
                await call()
    assert calls.seen == []
    assert asyncio.get_running_loop().time() == 0
