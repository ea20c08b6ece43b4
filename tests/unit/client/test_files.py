"""Requests with files through the client: read in worker threads, when they are sent, a few at a time."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from bfl_async import (
    AsyncBFL,
    Batch,
    ClientClosedError,
    Fixed,
    Flux2Pro,
    FluxDev,
    InvalidRequestError,
    Limits,
    TaskTimeoutError,
    request,
)
from bfl_async.limiter import FileLimiter
from bfl_async.types import JSON
from tests.fake import FakeAPI, reply
from tests.load import Instant, max_rss_mb
from tests.media import png
from tests.waiting import wait_until


def sent(api: FakeAPI) -> list[JSON]:
    return [body["input_image"] for _, body in api.posts]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_path_is_read_anew_for_each_attempt(tmp_path: Path) -> None:
    """A request that was refused for want of a slot holds no image while it waits."""
    api = FakeAPI(submit_s=0, service_s=0)
    api.script_submits(reply(429, {"detail": "busy"}, retry_after="0"))
    file = tmp_path / "a.png"
    file.write_bytes(png(64, 64))

    async def changed() -> None:
        if api.posts:
            file.write_bytes(png(64, 64))
        else:
            file.write_bytes(png(32, 32))

    api.before_submit = changed
    async with api.client(interval=0.01) as bfl:
        await bfl.generate("flux-2-pro", prompt="x", input_image=file)
    assert sent(api) == [b64(png(64, 64)), b64(png(32, 32))]


async def test_missing_file_ends_its_request_unsent(tmp_path: Path) -> None:
    """The field and the file are named, the slot is free, nothing was posted; the others go on."""
    api = FakeAPI(submit_s=0, service_s=0, limit=1)
    async with api.client(interval=0.01) as bfl:
        with pytest.raises(InvalidRequestError, match=r"input_image: 'missing.png' cannot be read") as caught:
            await bfl.generate("flux-2-pro", prompt="x", input_image=tmp_path / "missing.png")
        assert caught.value.status_code is None
        assert caught.value.task_id is None
        assert bfl.statistics().slots_taken == 0
        assert bfl.statistics().failed == 1
        await bfl.generate("flux-2-pro", prompt="x", input_image=png(64, 64))
    assert len(api.posts) == 1


class Slow(Flux2Pro):
    """Takes its time to read its files."""

    def body(self) -> Mapping[str, JSON]:
        with _lock:
            _threads.add(threading.get_ident())
            _running.append(threading.get_ident())
            _peak.append(len(_running))
        time.sleep(0.05)
        with _lock:
            _running.remove(threading.get_ident())
        return super().body()


_lock = threading.Lock()
_running: list[int] = []
_peak: list[int] = []
_threads: set[int] = set()


async def test_files_are_read_off_the_loop_and_four_at_a_time() -> None:
    """Invariant 10, and a bound on the memory of encoding."""
    _peak.clear()
    _threads.clear()
    api = FakeAPI(submit_s=0, service_s=0, limit=20)
    async with api.client(limits=20, interval=0.01) as bfl:
        await bfl.gather([Slow(prompt=str(n), input_image=png(64, 64)) for n in range(20)])
    assert len(api.posts) == 20
    assert max(_peak) == 4
    assert threading.get_ident() not in _threads, "the loop's own thread read nothing"


async def test_caller_who_leaves_while_a_file_is_read_sends_nothing() -> None:
    """Invariant 1: until the POST begins, the request is queued and can be withdrawn."""
    api = FakeAPI(submit_s=0, service_s=0)
    async with api.client(limits=Limits(account=1), interval=0.01) as bfl:
        with pytest.raises(TaskTimeoutError) as caught:
            await bfl.generate(Slow(prompt="x", input_image=png(64, 64)), timeout=0.01)
        assert caught.value.state == "queued"
        assert await bfl.drain(5)
        assert bfl.statistics().withdrawn == 1
        assert bfl.statistics().slots_taken == 0
    assert api.posts == []


class Held(Flux2Pro):
    """Its files come when the test says so."""

    def body(self) -> Mapping[str, JSON]:
        _began.set()
        assert _may_end.wait(30)
        return super().body()


_began, _may_end = threading.Event(), threading.Event()


async def test_client_closes_while_files_are_read() -> None:
    """Invariant 9: what was not sent is withdrawn; the closing does not wait for a disk."""
    api = FakeAPI(submit_s=0, service_s=0)
    try:
        async with api.client(interval=0.01) as bfl:
            handles = [bfl.submit_nowait(Held(prompt="x", input_image=png(64, 64))) for _ in range(8)]
            await wait_until(_began.is_set)
    finally:
        _may_end.set()
    for handle in handles:
        with pytest.raises(ClientClosedError):
            await handle
    assert bfl.statistics().slots_taken == 0
    assert bfl.statistics().withdrawn == 8
    assert api.posts == []


async def test_error_that_repeats_an_image_does_not_show_it() -> None:
    """Errors: none shows an image, whoever encoded it."""
    api = FakeAPI(submit_s=0)
    data = png(64, 64) + bytes(range(256)) * 10
    async with api.client() as bfl:
        detail = [{"loc": ["body", "input_image"], "msg": f"cannot load {b64(data)}", "input": b64(data)}]
        api.script_submits(reply(422, {"detail": detail}))
        with pytest.raises(InvalidRequestError) as caught:
            await bfl.generate("flux-2-pro", prompt="x", input_image=data)
    assert b64(data)[:60] not in str(caught.value)
    assert b64(data)[:60] not in str(caught.value.body)
    assert "cannot load" in str(caught.value)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_stream_of_edits_holds_no_image(tmp_path: Path) -> None:
    """Invariant 9: 2,000 edits with a file of 2 MB each; what is queued holds a path, what is sent is let go."""
    file = tmp_path / "a.png"
    file.write_bytes(png(1024, 1024) + bytes(2_000_000))
    longest = 0.0
    ended = False

    async def watch() -> None:
        nonlocal longest
        while not ended:
            before = time.thread_time()  # of the loop alone: neither workers nor other programs count
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    gc.freeze()  # a collection of what other tests left is not the client's
    watcher = asyncio.create_task(watch())
    async with AsyncBFL(transport=Instant(), polling=Fixed(1e-4)) as bfl:
        await bfl.generate("flux-2-pro", prompt="x")
        before = max_rss_mb()
        requests = [request("flux-2-pro", prompt=str(n), input_image=file) for n in range(2_000)]
        handles = [bfl.submit_nowait(one) for one in requests]  # all of them are queued at once
        await asyncio.sleep(0.01)
        longest = 0.0  # making 2,000 requests in one go is the test's own hold
        await asyncio.gather(*handles)
        grown = max_rss_mb() - before
    ended = True
    await watcher
    gc.unfreeze()
    assert bfl.statistics().ready == 2_001
    assert grown < 150
    assert longest < 0.06


async def test_files_that_hold_prompts_or_task_ids_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    """The ledger, the manifest, the limiter's database and the folder it is made in, whatever the umask."""
    before = os.umask(0)
    try:
        api = FakeAPI()
        async with (
            FileLimiter(tmp_path / "state") as limiter,
            AsyncBFL("a-key", limiter=limiter, transport=api) as bfl,
            Batch.open(tmp_path / "out/run.db", bfl, save_to=tmp_path / "out") as batch,
        ):
            await batch.add([FluxDev(prompt="a cat")])
            assert [outcome.state async for outcome in batch.run()] == ["saved"]
    finally:
        os.umask(before)
    private = [tmp_path / "out/run.db", tmp_path / "out/manifest.jsonl", *(tmp_path / "state").glob("*.db")]
    assert len(private) == 3
    assert [oct(path.stat().st_mode & 0o777) for path in private] == ["0o600"] * 3
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_limiters_database_of_an_earlier_release_is_made_private(tmp_path: Path) -> None:
    """Without opening it a second time, which would release the locks that a process holds on it."""
    for _ in range(2):
        async with (
            FileLimiter(tmp_path) as limiter,
            AsyncBFL("a-key", limiter=limiter, transport=FakeAPI()) as bfl,
        ):
            await bfl.generate("flux-dev", prompt="x")
        (database,) = tmp_path.glob("*.db")
        assert database.stat().st_mode & 0o777 == 0o600
        database.chmod(0o644)
