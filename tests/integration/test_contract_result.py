"""Result: reading and saving, what may break on the way to the disk, and what a result shows."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import pickle
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bfl_async import (
    AsyncBFL,
    BFLError,
    ClientClosedError,
    DownloadError,
    Fixed,
    Result,
    ResultExpiredError,
    SaveError,
    UntrustedURLError,
)
from bfl_async.sandbox import Sandbox
from tests.integration.contract_server import (
    JPEG,
    KEY,
    PNG,
    RESET,
    SIGNATURE,
    WEBP,
    Answer,
    ContractServer,
    Cut,
    Hold,
    Say,
    a_request,
    an_image,
    html,
    no_secret_in,
    say,
    served,
    spin,
    until,
)

GONE = Say(403, b"<Error><Code>AuthenticationFailed</Code></Error>", "application/xml")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def signed_until(seconds: float) -> str:
    """The `se` of a URL that ends so many seconds from now, up to the next whole one, quoted as recorded."""
    end = datetime.fromtimestamp(math.ceil(time.time() + seconds), UTC)
    return f"{end:%Y-%m-%dT%H:%M:%SZ}".replace(":", "%3A")


async def a_result(server: ContractServer, bfl: AsyncBFL) -> Result:
    return await bfl.generate(a_request(), timeout=10)


# ---- the value


async def test_a_result_tells_what_the_server_said() -> None:
    """Result: `.task_id .model .url .seed .prompt .cost .expires_at .duration .raw`."""
    async with served() as (server, bfl):
        server.script_polls(say(200, server.ready("task-0", duration=2.5)))
        result = await a_result(server, bfl)
        assert (result.task_id, result.model) == ("task-0", "flux-pro-1.1")
        assert (result.seed, result.cost, result.duration) == (2**40 + 1, 4.0, 2.5)
        assert result.prompt is not None
        assert result.url == server.image_url("task-0")
        assert result.expires_at == datetime(2099, 12, 18, 15, 49, 7, tzinfo=UTC).timestamp()
        assert result.raw["status"] == "Ready"
        no_secret_in(repr(result), str(result))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?se=never&sig=x",
        "?se=2099-12-18T15%3A49%3A07Z&se=2001-01-01T00%3A00%3A00Z",
        "?se=2099-12-18",
        "?SE=2001-01-01T00%3A00%3A00Z",
        "?se=2099-12-18T15:49:07.1234567Z",
        "?se=99999-12-18T15:49:07Z",
        "?a=%zz&b=%&c=%c3%28&d=;&e",
        "?x=a+b%20c%2Bd%2fe%2F~!*'()",
    ],
)
async def test_a_signed_url_is_requested_byte_for_byte_as_received(query: str) -> None:
    """Result.url "string as received": no other quoting, or the signature would not match."""
    async with served() as (server, bfl):
        server.image_url = lambda _id: f"{server.url}/image/%7Ea%2fb/x.jpeg{query}"
        result = await a_result(server, bfl)
        assert result.url == f"{server.url}/image/%7Ea%2fb/x.jpeg{query}"
        assert await result.read(timeout=3) == JPEG
        assert server.images[0].target == f"/image/%7Ea%2fb/x.jpeg{query}"


# ---- reading


async def test_read_gives_the_bytes_and_may_be_called_again() -> None:
    """read: the bytes as they came; a download costs nothing."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        assert await result.read() == JPEG
        assert (await asyncio.gather(result.read(), result.read()))[1] == JPEG
        assert len(server.images) == 3


@pytest.mark.parametrize(
    "bad",
    [
        html(500),
        html(503),
        Say(429, b"slow"),
        Say(404, b"<Error><Code>BlobNotFound</Code></Error>", "application/xml"),
        RESET,
        Cut(JPEG[:100], len(JPEG), "image/jpeg"),
        Say(200, JPEG[: len(JPEG) // 2], "image/jpeg"),
        Say(200, PNG[: len(PNG) // 2], "image/png"),
        Say(200, WEBP[: len(WEBP) // 2], "image/webp"),
        Say(200, b"", "image/jpeg"),
        html(200, "<html>captive portal</html>"),
        Say(200, b"<html>captive portal</html>", "image/jpeg"),
        say(200, {"detail": "no"}),
    ],
    ids=[
        "500", "503", "429", "404", "reset", "cut", "short-jpeg", "short-png", "short-webp", "empty", "html",
        "html-as-jpeg", "json",
    ],
)  # fmt: skip
async def test_a_bad_download_is_repeated_until_it_is_good(bad: Answer) -> None:
    """read: "repeated with back-off (first 0.1 s)"; the content is checked, so half an image is none."""
    async with served() as (server, bfl):
        server.script_images(bad)
        result = await a_result(server, bfl)
        assert await result.read(timeout=5) == JPEG
        assert len(server.images) == 2
        if bad is not RESET:  # a connection that ended while idle may be replaced at once
            assert server.images[1].at - server.images[0].at >= 0.04


@pytest.mark.parametrize(
    "bad",
    [html(500), RESET, html(200), Say(200, JPEG[:200], "image/jpeg"), Hold(asyncio.Event())],
    ids=["500", "reset", "html", "short", "hang"],
)
async def test_a_download_that_stays_bad_is_a_download_error_in_time(bad: Answer) -> None:
    """read(timeout=): for all attempts together, then `DownloadError` with the task's id; the result stays."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        server.always_image = bad
        begun = time.monotonic()
        with pytest.raises(DownloadError) as caught:
            await result.read(timeout=0.25)
        assert 0.1 <= time.monotonic() - begun <= 1.5
        assert not isinstance(caught.value, ResultExpiredError)
        assert caught.value.task_id == "task-0"
        no_secret_in(caught.value, repr(caught.value), pickle.dumps(caught.value))
        cause = caught.value.__cause__
        no_secret_in(cause, repr(cause))
        server.always_image = None
        assert await result.read(timeout=5) == JPEG


async def test_a_download_does_not_take_a_slot() -> None:
    """Invariant 1: the slot is free when the task is seen terminal, not when the image is here."""
    async with served(limits=1) as (server, bfl):
        first = await a_result(server, bfl)
        gate = asyncio.Event()
        server.script_images(Hold(gate, Say(200, JPEG, "image/jpeg")))
        reading = asyncio.create_task(first.read())
        await until(lambda: server.images)
        assert bfl.statistics().slots_taken == 0
        await a_result(server, bfl)
        gate.set()
        assert await reading == JPEG


async def test_a_cancelled_read_ends_at_once_and_leaves_nothing() -> None:
    """read: "Cancellation: ends the download; nothing is kept"."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        server.script_images(Hold(asyncio.Event()))
        reading = asyncio.create_task(result.read())
        await until(lambda: server.images)
        reading.cancel()
        await asyncio.wait({reading}, timeout=0.5)
        assert reading.cancelled()
        assert await result.read() == JPEG


# ---- expiry


async def test_an_expired_url_that_is_signed_anew_is_read() -> None:
    """Result: "on expiry one poll looks whether the server signs anew"."""
    async with served() as (server, bfl):
        old = f"/image/old.jpeg?se={signed_until(-60)}&sig=old"
        server.image_url = lambda _id: server.url + old
        result = await a_result(server, bfl)
        server.routes["/image/old.jpeg"] = GONE
        server.image_url = lambda _id: f"{server.url}/image/new.jpeg?se={signed_until(600)}&sig=new%2F"
        polls = len(server.polls)
        assert await result.read(timeout=5) == JPEG
        assert len(server.polls) == polls + 1
        assert server.images[-1].target.startswith("/image/new.jpeg?se=")


async def test_an_expired_url_that_is_not_signed_anew_is_an_expired_error() -> None:
    """Result: then `ResultExpiredError`, a `DownloadError`, at once: no time is spent on what is gone."""
    async with served() as (server, bfl):
        url = f"/image/old.jpeg?se={signed_until(-60)}&sig={SIGNATURE}"
        server.image_url = lambda _id: server.url + url
        server.always_image = GONE
        result = await a_result(server, bfl)
        polls = len(server.polls)
        begun = time.monotonic()
        with pytest.raises(ResultExpiredError) as caught:
            await result.read(timeout=30)
        assert time.monotonic() - begun < 3
        assert isinstance(caught.value, DownloadError)
        assert caught.value.task_id == "task-0"
        assert len(server.polls) == polls + 1
        no_secret_in(caught.value, repr(caught.value), pickle.dumps(caught.value))


@pytest.mark.parametrize("code", [403, 500])
@pytest.mark.parametrize("left_s", [-3600.0, 1.0], ids=["ended", "ends meanwhile"])
async def test_a_download_is_repeated_only_until_it_expires(left_s: float, code: int) -> None:
    """Result: "repeated with back-off until `timeout` or expiry": what has ended is not asked for on and on."""
    async with served() as (server, bfl):
        url = f"/image/old.jpeg?se={signed_until(left_s)}&sig=x"
        server.image_url = lambda _id: server.url + url
        result = await a_result(server, bfl)
        server.always_image = html(code)
        begun = time.monotonic()
        with pytest.raises(ResultExpiredError):
            await result.read(timeout=2.7)
        assert time.monotonic() - begun < 2.5


async def test_a_result_of_the_sandbox_and_its_end() -> None:
    """Result, against the sandbox: good for its 600 s, and refused after its time."""
    async with (
        Sandbox(service_s=0.0, result_ttl_s=600.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.02)) as bfl,
    ):
        result = await bfl.generate(a_request())
        assert len(await result.read(timeout=10)) > 100
        assert result.expires_at is not None
        assert 500 < result.expires_at - time.time() < 700
    async with (
        Sandbox(service_s=0.0, result_ttl_s=0.0) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.02)) as bfl,
    ):
        result = await bfl.generate(a_request())
        with pytest.raises(ResultExpiredError):
            await result.read(timeout=5)


# ---- saving


@pytest.mark.parametrize(
    ("image", "media_type", "suffix"),
    [(JPEG, "image/jpeg", {".jpg", ".jpeg"}), (PNG, "image/png", {".png"}), (WEBP, "image/webp", {".webp"})],
    ids=["jpeg", "png", "webp"],
)
async def test_save_adds_the_suffix_of_the_media_type(
    image: bytes, media_type: str, suffix: set[str], tmp_path: Path
) -> None:
    """save: "adds the suffix of the media type when there is none", makes missing folders, returns the path."""
    async with served() as (server, bfl):
        server.always_image = Say(200, image, media_type)
        result = await a_result(server, bfl)
        path = await result.save(tmp_path / "deep" / "er" / "cat")
        assert path.suffix in suffix
        assert path.stem == "cat"
        assert path.read_bytes() == image
        assert files_in(tmp_path) == [str(path.relative_to(tmp_path))]
        other = await result.save(str(tmp_path / "named.bin"))
        assert other == tmp_path / "named.bin"
        assert isinstance(other, Path)
        assert other.read_bytes() == image


@pytest.mark.parametrize("name", ["v1.1", ".hidden", "a.b/cat", "cat.", "ünïcode ☂"])
async def test_save_to_odd_names_writes_one_file_where_it_says(name: str, tmp_path: Path) -> None:
    """save: whatever the name, the returned path is the one file written."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        path = await result.save(tmp_path / name)
        assert path.read_bytes() == JPEG
        assert files_in(tmp_path) == [str(path.relative_to(tmp_path))]
        assert path.name.startswith((tmp_path / name).name)


async def test_save_replaces_an_existing_file(tmp_path: Path) -> None:
    """save: "replaces an existing file", whole: the old bytes or the new ones."""
    target = tmp_path / "cat.jpg"
    target.write_bytes(b"old" * 100_000)
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        assert await result.save(target) == target
        assert target.read_bytes() == JPEG
        assert files_in(tmp_path) == ["cat.jpg"]


async def test_save_leaves_the_target_untouched_when_the_download_fails(tmp_path: Path) -> None:
    """save: "writes `*.part` first and moves it": the target is whole or untouched, no `.part` is left."""
    target = tmp_path / "cat.jpg"
    target.write_bytes(b"old")
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        server.always_image = Cut(JPEG[:300], len(JPEG), "image/jpeg")
        with pytest.raises(DownloadError):
            await result.save(target, timeout=0.15)
        assert target.read_bytes() == b"old"
        assert files_in(tmp_path) == ["cat.jpg"]


async def test_a_cancelled_save_leaves_the_target_whole_or_untouched(tmp_path: Path) -> None:
    """save: "before the write begins nothing is written; a write that began ends, whole"."""
    target = tmp_path / "cat.jpg"
    target.write_bytes(b"old")
    image = an_image("JPEG", 700)
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        server.always_image = Say(200, image, "image/jpeg")
        for turns in (0, 1, 5, 10, 20, 40, 80):
            saving = asyncio.create_task(result.save(target))
            await spin(turns)
            saving.cancel()
            await asyncio.wait({saving}, timeout=5)
            assert saving.done()
            await until(lambda: files_in(tmp_path) == ["cat.jpg"])
            assert target.read_bytes() in (b"old", image)


async def test_two_saves_to_one_path_leave_one_whole_file(tmp_path: Path) -> None:
    """save: several writers of one path do not mix their bytes."""
    async with served() as (server, bfl):
        results = await bfl.gather([a_request(str(n)) for n in range(6)])
        images = [an_image("JPEG", 200 + n) for n in range(6)]
        server.script_images(*[Say(200, image, "image/jpeg") for image in images])
        await asyncio.gather(*(one.save(tmp_path / "cat.jpg") for one in results if isinstance(one, Result)))
        assert (tmp_path / "cat.jpg").read_bytes() in images
        assert files_in(tmp_path) == ["cat.jpg"]


async def test_a_folder_in_the_way_is_a_save_error_with_its_errno(tmp_path: Path) -> None:
    """Errors: `SaveError`, also `OSError`, `.errno` kept; nothing is left beside it."""
    (tmp_path / "cat.jpg").mkdir()
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        with pytest.raises(SaveError) as caught:
            await result.save(tmp_path / "cat.jpg")
        assert isinstance(caught.value, OSError)
        assert caught.value.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EACCES)
        assert caught.value.task_id == "task-0"
        assert files_in(tmp_path) == []


async def test_a_file_in_place_of_a_folder_is_a_save_error_with_its_errno(tmp_path: Path) -> None:
    """Errors: a missing folder that cannot be made."""
    (tmp_path / "folder").write_bytes(b"a file")
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        with pytest.raises(SaveError) as caught:
            await result.save(tmp_path / "folder" / "cat.jpg")
        assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
        twin = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(twin, SaveError)
        assert (twin.errno, twin.task_id, str(twin)) == (caught.value.errno, "task-0", str(caught.value))
        # The result is still good for another place.
        assert (await result.save(tmp_path / "cat.jpg")).exists()


async def test_a_name_that_is_too_long_is_a_save_error(tmp_path: Path) -> None:
    """Errors: ENAMETOOLONG comes out as a `SaveError` too."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        with pytest.raises(SaveError) as caught:
            await result.save(tmp_path / ("x" * 300 + ".jpg"))
        assert caught.value.errno == errno.ENAMETOOLONG


async def test_a_long_name_that_the_file_system_takes_is_saved(tmp_path: Path) -> None:
    """save: the `.part` file's longer name must not refuse what the target's own name allows."""
    name = "x" * 251 + ".jpg"
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        path = await result.save(tmp_path / name)
        assert path.name == name
        assert files_in(tmp_path) == [name]


async def test_a_null_in_the_path_is_an_error_of_ours(tmp_path: Path) -> None:
    """Errors: `except BFLError` catches what `save` raises for a path that cannot be."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        with pytest.raises((BFLError, ValueError)):
            await result.save(f"{tmp_path}/a\x00b.jpg")
        assert files_in(tmp_path) == []


async def test_10_a_save_does_not_block_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 10: files go through worker threads: a slow disk stops nobody else."""
    main = threading.get_ident()
    blocked: list[str] = []
    real_open, real_replace, real_fsync, real_mkdir = os.open, os.replace, os.fsync, os.mkdir

    def watch(name: str) -> None:
        if threading.get_ident() == main:
            blocked.append(name)

    def open_(*args: object, **kwargs: object) -> int:
        if str(tmp_path) in str(args[0]):
            watch("open")
        return real_open(*args, **kwargs)  # type: ignore[arg-type]  # passed through

    def replace(*args: object, **kwargs: object) -> None:
        watch("replace")
        real_replace(*args, **kwargs)  # type: ignore[arg-type]  # passed through

    def fsync(fd: int) -> None:
        watch("fsync")
        real_fsync(fd)

    def mkdir(*args: object, **kwargs: object) -> None:
        watch("mkdir")
        real_mkdir(*args, **kwargs)  # type: ignore[arg-type]  # passed through

    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", open_)
            patched.setattr(os, "replace", replace)
            patched.setattr(os, "fsync", fsync)
            patched.setattr(os, "mkdir", mkdir)
            path = await result.save(tmp_path / "new" / "cat.jpg")
        assert path.exists()
        assert blocked == []


# ---- urls that a result cannot have


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "data:image/jpeg;base64,AAAA", "", "/etc/passwd"]
)
async def test_a_url_that_no_result_can_have_is_refused(url: str, tmp_path: Path) -> None:
    """Errors: `UntrustedURLError` or `DownloadError` with the task's id, and no file is written."""
    async with served() as (server, bfl):
        server.image_url = lambda _id: url
        (end,) = await bfl.gather([a_request()], return_exceptions=True, timeout=5)
        if isinstance(end, Result):
            with pytest.raises((UntrustedURLError, DownloadError)) as caught:
                await end.save(tmp_path / "cat.jpg", timeout=1)
            assert caught.value.task_id == "task-0"
        else:
            assert end.task_id == "task-0"
        assert files_in(tmp_path) == []


# ---- closed and pickled


async def test_after_close_a_result_says_how_to_attach(tmp_path: Path) -> None:
    """Result: "Works while the client is open; afterwards `ClientClosedError` that says how to attach"."""
    async with ContractServer() as server:
        async with server.client() as bfl:
            result = await a_result(server, bfl)
        with pytest.raises(ClientClosedError, match="attach") as caught:
            await result.read()
        assert caught.value.task_id == "task-0"
        with pytest.raises(ClientClosedError):
            await result.save(tmp_path / "cat.jpg")
        assert files_in(tmp_path) == []
        no_secret_in(caught.value, repr(caught.value))
        # The way it names works.
        async with server.client() as again:
            attached = await again.attach("task-0", polling_url=server.polling_url("task-0"))
            assert await attached.read() == JPEG


async def test_a_result_pickles_without_its_client_and_without_the_key() -> None:
    """Result: after unpickling the facts are there, `read` is a `ClientClosedError` that says how to attach."""
    async with served() as (server, bfl):
        result = await a_result(server, bfl)
        data = pickle.dumps(result)
        assert KEY.encode() not in data
        twin = pickle.loads(data)
        assert isinstance(twin, Result)
        assert (twin.task_id, twin.url, twin.cost, twin.seed) == (
            result.task_id,
            result.url,
            4.0,
            result.seed,
        )
        assert dict(twin.raw) == dict(result.raw)
        assert twin == result
        with pytest.raises(ClientClosedError, match="attach"):
            await twin.read()


async def test_a_read_on_its_way_ends_when_the_client_closes() -> None:
    """Invariant 9: after `aclose()` nothing runs; who reads is told and not left waiting."""
    async with ContractServer() as server:
        bfl = await server.client().open()
        result = await a_result(server, bfl)
        server.script_images(Hold(asyncio.Event()))
        reading = asyncio.create_task(result.read(timeout=30))
        await until(lambda: server.images)
        await bfl.aclose()
        with pytest.raises((ClientClosedError, DownloadError)):
            await asyncio.wait_for(reading, 3)


async def test_save_through_the_sandbox_end_to_end(tmp_path: Path) -> None:
    """The first example of the design, against the embedded server."""
    async with (
        Sandbox(service_s=0.01) as sandbox,
        AsyncBFL(sandbox.key, base_url=sandbox.url, polling=Fixed(0.02)) as bfl,
    ):
        result = await bfl.generate("flux-pro-1.1", prompt="a cat", width=1024, height=768)
        path = await result.save(tmp_path / "cat.jpg")
        assert path.read_bytes().startswith(b"\xff\xd8\xff")
        assert sandbox.statistics().downloads == 1
