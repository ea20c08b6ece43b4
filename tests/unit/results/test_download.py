"""Results: read, check, save, expire."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import struct
import zlib
from pathlib import Path

import pytest

from bfl_async import (
    AsyncBFL,
    ClientClosedError,
    DownloadError,
    Result,
    ResultExpiredError,
    SaveError,
    TransportError,
    UntrustedURLError,
)
from bfl_async.results.incoming import Download, Incoming
from bfl_async.runtime.threads import Threads
from bfl_async.types import Reply
from tests.fake import JPEG, Answer, FakeAPI, reply, status
from tests.media import mp4

pytestmark = pytest.mark.looptime(start=0)


async def arrived(reply: Reply) -> Download:
    """Take a reply in, byte by byte at first."""
    threads = Threads("test", 1)
    try:
        incoming = Incoming(threads, None)
        incoming.begin(reply.headers)
        for at in range(min(20, len(reply.body))):
            await incoming.write(reply.body[at : at + 1])
        await incoming.write(reply.body[20:])
        return await incoming.end()
    finally:
        await threads.aclose(1.0)


def png(cut: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", bytes(50)) + chunk(b"IEND", b"")
    return whole[: len(whole) - cut]


WEBP = b"RIFF" + (20).to_bytes(4, "little") + b"WEBP" + bytes(16)
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(30)


@pytest.mark.parametrize(
    ("body", "said", "media_type", "suffix"),
    [
        (JPEG, "image/jpeg", "image/jpeg", ".jpg"),
        (JPEG + bytes(100), "image/jpeg", "image/jpeg", ".jpg"),
        (JPEG, "application/octet-stream", "image/jpeg", ".jpg"),
        (JPEG, "", "image/jpeg", ".jpg"),
        (png(), "image/png", "image/png", ".png"),
        (png(), "image/jpeg", "image/png", ".png"),
        (WEBP, "image/webp", "image/webp", ".webp"),
        (MP4, "video/mp4", "video/mp4", ".mp4"),
    ],
)
async def test_whole_images_pass_under_what_they_are(
    body: bytes, said: str, media_type: str, suffix: str
) -> None:
    """The bytes decide, not the header."""
    found = await arrived(reply(200, body, content_type=said))
    assert (found.data, found.media_type, found.suffix) == (body, media_type, suffix)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {"content_type": "image/jpeg"}),
        (JPEG[:-2], {"content_type": "image/jpeg"}),
        (png(cut=13), {"content_type": "image/png"}),
        (WEBP[:-1], {"content_type": "image/webp"}),
        (JPEG, {"content_type": "image/jpeg", "content_length": "100000"}),
        (b"<html>", {"content_type": "text/html"}),
        (b"<html>", {"content_type": "image/jpeg"}),
        (b'{"detail": "no"}', {"content_type": "application/json"}),
        (b"something", {}),
    ],
    ids=range(9),
)
async def test_what_is_no_whole_image_is_refused(body: bytes, headers: dict[str, str]) -> None:
    """Truncated, empty, of another type."""
    with pytest.raises(DownloadError):
        await arrived(reply(200, body, **headers))


async def a_result(bfl: AsyncBFL) -> Result:
    return await bfl.generate("flux-dev", prompt="a secret prompt")


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, b""),
        reply(503, b"", retry_after="1"),
        TransportError("reset"),
        reply(200, JPEG[:-10], content_type="image/jpeg"),
        reply(200, b"<html>", content_type="text/html"),
        reply(404, b""),
        reply(403, b""),
    ],
    ids=str,
)
async def test_download_is_repeated_until_it_is_whole(answer: Answer) -> None:
    """A download costs nothing: also a 403 or 404 of a URL that has not ended is tried again."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await a_result(bfl)
        api.download_script.extend([answer] * 3)
        assert await result.read() == JPEG
        assert len(api.downloaded) == 4


async def test_download_error_names_the_last_problem_at_the_timeout() -> None:
    """`timeout` bounds all attempts together."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await a_result(bfl)
        api.download_script.extend([reply(500, b"")] * 1_000)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DownloadError, match="HTTP 500") as caught:
            await result.read(timeout=30)
        assert asyncio.get_running_loop().time() - began == pytest.approx(30, abs=0.1)
        assert caught.value.task_id == "task-0"
        assert len(api.downloaded) < 30


def expired(url: str = "https://delivery.bfl.ai/x?se=2020-01-01T00%3A00%3A00Z&sig=a") -> Reply:
    return reply(200, status("Ready") | {"result": {"sample": url}})


async def test_expired_url_is_asked_for_once_more() -> None:
    """On expiry one poll looks whether the server signs anew."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(expired())
        result = await a_result(bfl)
        api.download_script.append(reply(403, b"<Error>AuthenticationFailed</Error>"))
        api.script_polls(expired("https://delivery.bfl.ai/new?se=2099-01-01T00%3A00%3A00Z&sig=b"))
        assert await result.read() == JPEG
        assert api.downloaded[-1][0] == "https://delivery.bfl.ai/new?se=2099-01-01T00%3A00%3A00Z&sig=b"
        assert result.expires_at == 1577836800.0


@pytest.mark.parametrize("again", [expired(), reply(404, status("Task not found")), TransportError("reset")])
async def test_expired_result_is_an_error_of_its_own(again: Answer) -> None:
    """No endless download of what is gone; a clock that is wrong here does not decide it."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(expired())
        result = await a_result(bfl)
        api.download_script.append(reply(403, b"", date="Thu, 02 Jan 2020 00:00:00 GMT"))
        api.script_polls(again)
        with pytest.raises(ResultExpiredError) as caught:
            await result.read()
        assert caught.value.task_id == "task-0"
        assert len(api.downloaded) == 1


async def test_servers_clock_decides_whether_a_url_has_ended() -> None:
    """A 403 before the end, by the server's own date, is a passing fault."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(expired())
        result = await a_result(bfl)
        api.download_script.append(reply(403, b"", date="Tue, 31 Dec 2019 23:00:00 GMT"))
        api.script_polls(expired())
        assert await result.read() == JPEG


async def test_untrusted_result_url_is_not_fetched() -> None:
    """The error keeps the task id; nothing is repeated."""

    class Guarded(FakeAPI):
        async def download(self, url: str, *, timeout: float) -> Reply:
            await super().download(url, timeout=timeout)
            raise UntrustedURLError("not there")

    api = Guarded()
    async with api.client() as bfl:
        result = await a_result(bfl)
        with pytest.raises(UntrustedURLError) as caught:
            await result.read()
        assert caught.value.task_id == "task-0"
        assert len(api.downloaded) == 1


async def test_answer_that_never_has_a_url_is_a_download_error() -> None:
    """The task is paid and Ready; what it brought stands in `.raw`."""
    api = FakeAPI(service_s=0)
    async with api.client() as bfl:
        api.script_polls(*[reply(200, status("Ready") | {"result": {"draft_cache": "https://x/y"}})] * 20)
        result = await a_result(bfl)
        assert len(api.polled) == 1, "a draft's cache is what its task promises"
        assert result.url == ""
        with pytest.raises(DownloadError, match="no URL"):
            await result.read()
        assert result.raw["result"] == {"draft_cache": "https://x/y"}


async def test_save_makes_folders_adds_the_suffix_and_replaces(tmp_path: Path) -> None:
    """The target is whole or untouched, and no part file stays."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await a_result(bfl)
        saved = await result.save(tmp_path / "a" / "b" / "cat")
        assert saved == tmp_path / "a" / "b" / "cat.jpg"
        assert saved.read_bytes() == JPEG
        saved.write_bytes(b"old")
        assert await result.save(str(saved)) == saved
        assert saved.read_bytes() == JPEG
        assert (await result.save(tmp_path / "cat.jpeg")).name == "cat.jpeg"
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["cat.jpg"]


async def test_save_error_keeps_errno_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Also an `OSError`, with the reason and what to do."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await a_result(bfl)
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="choose another folder") as caught:
            await result.save(tmp_path / "file" / "cat.jpg")
        assert isinstance(caught.value, SaveError)
        assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
        (tmp_path / "folder.jpg").mkdir()
        with pytest.raises(SaveError):
            await result.save(tmp_path / "folder.jpg")
        with pytest.raises(SaveError):
            await result.save("nul\0byte.jpg")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.jpg"]


async def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part file is removed, the target untouched, the errno kept."""
    api = FakeAPI()
    target = tmp_path / "cat.jpg"
    target.write_bytes(b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with api.client() as bfl:
        result = await a_result(bfl)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SaveError) as caught:
            await result.save(target)
        assert caught.value.errno == errno.ENOSPC
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]


async def test_result_after_close_and_after_pickling_says_how_to_attach() -> None:
    """A result needs an open client to be read; its facts travel."""
    api = FakeAPI()
    async with api.client() as bfl:
        result = await a_result(bfl)
        twin = pickle.loads(pickle.dumps(result))
        assert twin == result
        with pytest.raises(ClientClosedError, match="attach"):
            await twin.read()
    for each in (result, twin):
        with pytest.raises(ClientClosedError) as caught:
            await each.read()
        assert caught.value.tasks == (
            {
                "task_id": "task-0",
                "polling_url": "https://api.bfl.ai/poll/task-0",
                "model": "flux-dev",
                "cost": 4.0,
            },
        )
    assert "sig" not in repr(result)


async def test_result_carries_what_the_server_said() -> None:
    """Seeds beyond 32 bits, rewritten prompts, durations; `raw` keeps the rest."""
    api = FakeAPI(service_s=0)
    body = status("Ready", new_field=[1]) | {
        "result": {
            "sample": "https://delivery.bfl.ai/x?se=2025-12-18T15%3A49%3A07Z&sig=%2Fa+b",
            "prompt": "rewritten",
            "seed": 1752479754028,
            "start_time": 100.0,
            "end_time": 102.5,
        }
    }
    async with api.client() as bfl:
        api.script_polls(reply(200, body))
        result = await a_result(bfl)
        assert result.url == "https://delivery.bfl.ai/x?se=2025-12-18T15%3A49%3A07Z&sig=%2Fa+b"
        assert (result.seed, result.prompt, result.duration) == (1752479754028, "rewritten", 2.5)
        assert (result.expires_at, result.cost, result.model) == (1766072947.0, 4.0, "flux-dev")
        assert result.raw["new_field"] == [1]


@pytest.mark.parametrize("moov_last", [False, True])
async def test_video_that_is_cut_off_is_refused(moov_last: bool) -> None:
    """An mp4's outermost boxes end where the file does."""
    whole = mp4(64, 64, 1, moov_last=moov_last)
    assert (await arrived(reply(200, whole, content_type="video/mp4"))).data == whole
    for length in range(24, len(whole) - 1, 50):
        with pytest.raises(DownloadError, match="cut off"):
            await arrived(reply(200, whole[: length + 1], content_type="video/mp4"))
