"""Errors name the exchange that they are about, as the server does."""

from __future__ import annotations

import pytest

from bfl_async import (
    AmbiguousSubmitError,
    AuthenticationError,
    BFLError,
    DownloadError,
    InvalidRequestError,
    Reply,
    TaskFailedError,
    TaskModeratedError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from tests.fake import FakeAPI, reply, status

pytestmark = pytest.mark.looptime(start=0)

NAMED = {"x_request_id": "7f3a"}


@pytest.mark.parametrize(
    ("submits", "polls", "expected"),
    [
        ([reply(422, {"detail": "no"}, **NAMED)], [], InvalidRequestError),
        ([reply(403, {"detail": "no"}, **NAMED)], [], AuthenticationError),
        ([reply(500, "<html>", **NAMED)], [], AmbiguousSubmitError),
        ([reply(200, "<html>", **NAMED)], [], AmbiguousSubmitError),
        ([reply(429, {"detail": "no"}, **NAMED)] * 50, [], TaskTimeoutError),
        ([], [reply(200, status("Error"), **NAMED)], TaskFailedError),
        ([], [reply(200, status("Request Moderated"), **NAMED)], TaskModeratedError),
        ([], [reply(404, status("Task not found"), **NAMED)] * 50, TaskNotFoundError),
        ([], [reply(500, "<html>", **NAMED)] * 50, TaskTimeoutError),
        ([], [reply(200, "<html>", **NAMED)] * 50, TaskTimeoutError),
    ],
)
async def test_every_error_of_a_reply_names_its_exchange(
    submits: list[Reply], polls: list[Reply], expected: type[BFLError]
) -> None:
    """Refused, ambiguous, moderated, failed or in vain: the server's id is where support looks first."""
    api = FakeAPI(service_s=30)
    api.script_submits(*submits)
    api.script_polls(*polls)
    async with api.client() as bfl:
        with pytest.raises(expected) as caught:
            await bfl.generate("flux-dev", prompt="x", timeout=20)
    assert caught.value.request_id == "7f3a"
    assert "request_id='7f3a'" in repr(caught.value)


async def test_download_error_names_its_exchange() -> None:
    """The image host has an id of its own."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await bfl.generate("flux-dev", prompt="x")
        api.download_script.extend([reply(500, b"", x_ms_request_id="7f3a")] * 50)
        with pytest.raises(DownloadError) as caught:
            await result.read(timeout=5)
    assert caught.value.request_id == "7f3a"
