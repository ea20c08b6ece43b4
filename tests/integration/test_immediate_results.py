"""Hosts that answer a submit with its result, as `docs/howto/other-hosts.md` describes them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import pickle
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from bfl_async import (
    AmbiguousSubmitError,
    AsyncBFL,
    Budget,
    ClientClosedError,
    DownloadError,
    Flux2Pro,
    InvalidRequestError,
    TaskStatus,
    TaskTimeoutError,
    Timeouts,
    sync,
)
from bfl_async.events import Event, Settled, Submitted
from bfl_async.models import ImageRequest
from tests.azure import EXTRA, PATH, TOKEN, Azure, connected
from tests.fake import JPEG
from tests.hosts import host_in_thread
from tests.integration.test_cli import Run, run
from tests.integration.test_contract_key import RecordingResolver
from tests.json_page import check

__all__ = ["run"]  # the fixture

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40_000 + b"IEND"


def a_request(prompt: str = "a cat", **extra: object) -> ImageRequest:
    """A request with what that host needs in its body."""
    return Flux2Pro(prompt=prompt).with_extra_body({**EXTRA, **extra})


async def test_image_in_the_answer_is_the_result(tmp_path: Path) -> None:
    """One POST, nothing else: neither a poll nor a download."""
    azure = Azure()
    async with connected(azure) as bfl:
        result = await bfl.generate(a_request())
        assert await result.read() == JPEG
        assert (await result.save(tmp_path / "cat")).read_bytes() == JPEG
        assert (tmp_path / "cat.jpg").exists()
        statistics = bfl.statistics()
    assert (len(azure.posts), azure.others) == (1, [])
    assert azure.posts[0]["model"] == "FLUX.2-pro"
    assert (statistics.submitted, statistics.ready, statistics.polls, statistics.slots_taken) == (1, 1, 0, 0)
    assert statistics.ambiguous == 0
    assert result.url == ""
    assert result.expires_at is None
    assert "/9j" not in repr(result) + str(result.raw)


async def test_each_way_of_a_request_brings_it() -> None:
    """A handle with its updates, a stream, a gather, and the blocking client."""
    azure = Azure()
    async with connected(azure, slots=3) as bfl:
        handle = await bfl.submit(a_request())
        assert handle.task_id is not None
        assert [update.status async for update in handle.updates()] == [TaskStatus.READY]
        assert await (await handle).read() == JPEG
        assert await handle.accepted() == handle.task_id == (await handle).task_id
        assert handle.submit_reply is not None
        assert len(handle.submit_reply.body) < 400
        outcomes = [outcome async for outcome in bfl.stream(a_request(str(n)) for n in range(8))]
        assert [await outcome.unwrap().read() for outcome in outcomes] == [JPEG] * 8
        assert len({outcome.task_id for outcome in outcomes}) == 8
        results = await bfl.gather([a_request() for _ in range(4)])
        assert [await result.read() for result in results] == [JPEG] * 4

        def blocking() -> bytes:
            with sync.BFL(
                "not-used-there",
                base_url=f"{azure.origin}{PATH}",
                query={"api-version": "preview"},
                default_headers={"Authorization": f"Bearer {TOKEN}"},
            ) as blocking_bfl:
                result = blocking_bfl.generate(a_request())
                assert result.read() == JPEG
            # It is held here, and no host is asked.
            assert pickle.loads(pickle.dumps(result)).read() == JPEG
            return result.read()

        assert await asyncio.to_thread(blocking) == JPEG
    assert azure.others == []


async def test_several_images_of_one_answer(tmp_path: Path) -> None:
    """All of them are paid, so all of them can be had."""
    async with connected(Azure()) as bfl:
        result = await bfl.generate(a_request(n=3))
        assert [await other.read() for other in (result, *result.others)] == [JPEG] * 3
        assert (await result.others[1].save(tmp_path / "third.jpg")).read_bytes() == JPEG


async def test_image_outlives_its_client_and_a_pickle(tmp_path: Path) -> None:
    """No task has it, so nothing could be attached."""
    async with connected(Azure()) as bfl:
        result = await bfl.generate(a_request(n=2))
    assert await result.read() == JPEG
    copied = pickle.loads(pickle.dumps(result))
    assert (await copied.save(tmp_path / "cat.jpg")).read_bytes() == JPEG
    assert await copied.others[0].read() == JPEG
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]


async def test_id_of_such_a_result_is_not_attached() -> None:
    """It is said that nothing can be attached, and the server is not asked for it."""
    azure = Azure()
    async with connected(azure) as bfl:
        handle = await bfl.submit(a_request())
        await handle
        with pytest.raises(InvalidRequestError, match="came with the answer"):
            bfl.attach(**handle.to_dict())
    assert azure.others == []


@pytest.mark.parametrize("shape", ["status body", "data"])
async def test_url_in_the_answer_is_downloaded_without_the_key(shape: str) -> None:
    """By the rules of each download: the host of the image sees neither key nor headers."""

    def answer(_: object) -> object:
        url = f"{azure.origin}/images/a.jpg"
        return (
            {"status": "Ready", "result": {"sample": url, "seed": 7}}
            if shape == "status body"
            else {"data": [{"url": url}]}
        )

    azure = Azure(answer=answer)
    async with connected(azure) as bfl:
        result = await bfl.generate(a_request())
        assert await result.read() == JPEG
    assert result.seed == (7 if shape == "status body" else None)
    (headers,) = azure.downloads
    assert not {"authorization", "x-key"} & {name.lower() for name in headers}
    with pytest.raises(ClientClosedError, match="came without a task"):
        await result.read()


async def test_slot_is_free_with_the_answer() -> None:
    """Held while the host works, and not for a moment longer: there is no task."""
    azure = Azure()
    azure.hold()
    async with connected(azure, slots=2) as bfl:
        handles = [bfl.submit_nowait(a_request(str(n))) for n in range(5)]
        await azure.wait_at_work(2)
        assert bfl.statistics().slots_taken == 2
        assert len(azure.posts) == 2
        azure.release()
        await asyncio.gather(*handles)
        assert bfl.statistics().slots_taken == 0
    assert len(azure.posts) == 5


async def test_budget_counts_what_the_host_states_or_what_was_set_aside() -> None:
    """A paid result keeps its money, and a stated cost takes the estimate's place."""
    async with connected(Azure(), budget=Budget(usd=1.0)) as bfl:
        estimate = bfl.estimate(a_request()).usd
        await bfl.generate(a_request())
        left = bfl.statistics().budget_left_usd
    assert estimate is not None
    assert left == pytest.approx(1.0 - estimate)

    azure = Azure(answer=lambda _: {"cost": 10, "images": [{"url": "https://images.example/a.jpg"}]})
    async with connected(azure, budget=Budget(usd=1.0)) as bfl:
        assert (await bfl.generate(a_request())).cost == 10.0
        statistics = bfl.statistics()
    assert statistics.credits_spent == 10.0
    assert statistics.budget_left_usd == pytest.approx(0.9)


@pytest.mark.parametrize("compresses", [False, True])
async def test_large_image_does_not_hold_up_the_loop(compresses: bool) -> None:
    """10 MB arrive, are decoded and read while other coroutines have their turns."""
    async with connected(Azure(PNG, compresses=compresses)) as bfl:
        gaps: list[float] = []

        async def watch() -> None:
            # CPU of the loop's own thread: neither workers nor other programs count.
            last = time.thread_time()
            while True:
                await asyncio.sleep(0.001)
                gaps.append((now := time.thread_time()) - last)
                last = now

        watcher = asyncio.create_task(watch())
        result = await bfl.generate(a_request())
        assert await result.read() == PNG
        watcher.cancel()
    assert max(gaps[2:]) < 0.25


@pytest.mark.parametrize(
    ("image", "unchecked"), [(b"<html><script>", False), (JPEG[:-2], False), (b"<html><script>", True)]
)
async def test_what_is_no_image_is_refused_as_a_download_is(
    image: bytes, unchecked: bool, tmp_path: Path
) -> None:
    """By its own bytes, and at once: they would be the same next time."""
    async with connected(Azure(image)) as bfl:
        result = await bfl.generate(a_request())
        if unchecked:
            assert (await result.save(tmp_path / "a", unchecked=True)).read_bytes() == image
            return
        for attempt in (result.read(), result.save(tmp_path / "a")):
            with pytest.raises(DownloadError, match="held"):
                await asyncio.wait_for(attempt, 2.0)
    assert list(tmp_path.iterdir()) == []


async def test_nothing_logs_or_reports_the_image(caplog: pytest.LogCaptureFixture) -> None:
    """Events and log records have the facts alone."""
    seen: list[Event] = []

    class Observer:
        def on_event(self, event: Event) -> None:
            seen.append(event)

    caplog.set_level(logging.DEBUG, "bfl_async")
    async with connected(Azure(), observer=Observer()) as bfl:
        await (await bfl.generate(a_request())).read()
    assert [type(event) for event in seen if isinstance(event, Submitted | Settled)] == [Submitted, Settled]
    assert "/9j/" not in caplog.text + repr(seen)


@pytest.mark.parametrize("text", ["a b " * 2**20, "[]," * 2**20], ids=["words", "lists"])
async def test_large_answer_that_holds_no_image_is_not_read_to_its_end(text: str) -> None:
    """What is not base64 has the bound of any other answer."""
    async with connected(Azure(answer=lambda _: {"note": text})) as bfl:
        with pytest.raises(AmbiguousSubmitError, match="larger than 1048576 bytes"):
            await bfl.generate(a_request())


@pytest.mark.parametrize(
    ("host", "is_read"),
    [("api.bfl.ai", False), ("api.eu.bfl.ai", False), ("api.bfl.ml", False), ("bfl.ai.example", True)],
)
async def test_image_of_bfls_own_host_is_not_read_to_its_end(host: str, is_read: bool) -> None:
    """BFL never answers so: whoever does there gets no more memory than any other answer."""
    image = PNG[: 2**21] + b"IEND"
    azure = Azure(image)
    async with TestServer(azure.app()) as server:
        port = server.port
        resolver = RecordingResolver(lambda _host, _port: port)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session,
            AsyncBFL(
                "not-used-there",
                base_url=f"http://{host}{PATH}",
                allow_http=True,
                session=session,
                default_headers={"Authorization": f"Bearer {TOKEN}"},
                query={"api-version": "preview"},
            ) as bfl,
        ):
            if is_read:
                result = await bfl.generate(a_request())
                assert await result.read() == image
                return
            with pytest.raises(AmbiguousSubmitError, match="larger than 1048576 bytes"):
                await bfl.generate(a_request())
    assert len(azure.posts) == 1


async def test_reply_that_cannot_be_read_stays_ambiguous() -> None:
    """Whether it was paid is not known, so it is not sent again."""
    azure = Azure(answer=lambda _: {"created": 1, "data": [{"b64_json": "!" * 600_000}]})
    async with connected(azure, timeouts=Timeouts(task=1.0)) as bfl:
        handle = bfl.submit_nowait(a_request())
        with pytest.raises(Exception, match="names no task") as caught:
            await handle
        assert "!!!!!!!!!!" * 300 not in str(vars(caught.value))
    assert len(azure.posts) == 1


async def test_image_whose_caller_has_left_is_named_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    """And not as one that can be attached."""
    azure = Azure()
    azure.hold()
    async with connected(azure) as bfl:
        with pytest.raises(TaskTimeoutError):
            await bfl.generate(a_request(), timeout=0.3)
        azure.release()
        with caplog.at_level(logging.INFO, "bfl_async"):
            assert await bfl.drain(5.0)
    assert "no server keeps it" in caplog.text
    assert "attach" not in caplog.text


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
async def test_base_url_may_end_before_v1_or_with_it(end: str) -> None:
    """The pages of such hosts show it with `/v1`, as other SDKs have it."""
    azure = Azure()
    async with (
        TestServer(azure.app()) as server,
        AsyncBFL(
            "not-used-there",
            base_url=f"{server.make_url(PATH)}{end}",
            query={"api-version": "preview"},
            default_headers={"Authorization": f"Bearer {TOKEN}"},
        ) as bfl,
    ):
        assert await (await bfl.generate(a_request())).read() == JPEG
    assert azure.others == []


def test_command_line_saves_all_images_of_an_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under numbered names, which replace no other file."""
    body = {"images": [base64.b64encode(JPEG).decode()] * 2}
    Path("cat-2.jpg").write_text("another")
    with host_in_thread(lambda *_: json.dumps(body).encode()) as url:
        monkeypatch.setenv("BFL_API_KEY", "k-12345678")
        monkeypatch.setenv("BFL_BASE_URL", url)
        code, out, err = run("generate", "a cat", "-o", "cat.jpg", "--json")
    assert (code, err) == (0, "")
    check("generate, again, result", [out])
    shown = json.loads(out)
    assert (shown["file"], shown["others"]) == ("cat.jpg", ["cat-3.jpg"])
    assert Path("cat-3.jpg").read_bytes() == JPEG
    assert Path("cat-2.jpg").read_text() == "another"


def test_command_line_promises_no_task_where_there_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words name no command that cannot help."""
    body = {"images": [{"b64_json": base64.b64encode(b"<html>" * 60).decode()}]}
    with host_in_thread(lambda *_: json.dumps(body).encode()) as url:
        monkeypatch.setenv("BFL_API_KEY", "k-12345678")
        monkeypatch.setenv("BFL_BASE_URL", url)
        code, out, err = run("generate", "a cat", "-o", "cat.jpg")
    assert (code, out) == (1, "")
    assert "no server keeps it" in err
    assert "bfl-async result" not in err
