"""What a client of one process finds out of its account's limit is kept for the next one."""

from __future__ import annotations

import asyncio
import json
import math
import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from bfl_async import AsyncBFL, Fixed, Limits
from bfl_async._config import account_hash
from bfl_async.limiter import LocalLimiter
from bfl_async.sandbox import Sandbox
from tests.waiting import wait_until

NOWHERE = "http://127.0.0.1:9"
KEY = "a-key-that-no-file-may-hold"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder of this test, which is not made yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bfl-async"


def file_of(cache: Path, base_url: str = NOWHERE) -> Path:
    return cache / f"limit-{account_hash(KEY, base_url)}.json"


def kept(**changes: object) -> str:
    return json.dumps({"limit": 17, "wait_s": 1200.0, "try_at": time.time() + 500, **changes})


async def limit_of(limiter: LocalLimiter | None = None, limits: Limits | None = None) -> int:
    """Open and close a client; return the limit that it begins with."""
    limits = limits if limits is not None else Limits(account="discover")
    async with AsyncBFL(KEY, base_url=NOWHERE, limits=limits, limiter=limiter) as bfl:
        return bfl.statistics().pools["account"].limit


async def refusals(server: Sandbox, *, at_least: int = 1) -> int:
    """Open a client of a sandbox, take all slots of the account, and return how many submits were refused."""
    async with AsyncBFL(
        server.key, base_url=server.url, limits=Limits(account="discover"), polling=Fixed(0.05)
    ) as bfl:
        handles = [bfl.submit_nowait("flux-2-klein-4b", prompt="a cat") for _ in range(20)]
        await wait_until(
            lambda: bfl.statistics().active == server.limit and bfl.statistics().refused_429 >= at_least
        )
        # Long enough for the answer to another try.
        await asyncio.sleep(0.3)
        refused = bfl.statistics().refused_429
        await bfl.aclose(drain=0)
    for handle in handles:
        if handle.task_id is not None:
            server.settle(handle.task_id, "Ready")
    return refused


async def test_the_next_client_does_not_try_again_what_was_refused(cache: Path) -> None:
    async with Sandbox(limit=12, service_s=math.inf) as server:
        assert await refusals(server) == 1
    (file,) = cache.iterdir()
    found = json.loads(file.read_text())
    assert found["limit"] == 12
    assert found["try_at"] > time.time() + 500
    assert server.key not in file.read_text() + file.name
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    file.rename(file_of(cache))
    assert await limit_of() == 12
    assert json.loads(file_of(cache).read_text())["try_at"] == pytest.approx(found["try_at"], abs=2)


@pytest.mark.parametrize("shares", [False, True])
async def test_a_client_begins_with_what_was_found(cache: Path, shares: bool) -> None:
    """Also with a limiter that several clients share. A limit that is given is not changed by it."""
    cache.mkdir(parents=True)
    file_of(cache).write_text(kept())
    limiter = LocalLimiter(Limits(account="discover")) if shares else None
    assert await limit_of(limiter) == 17
    assert await limit_of(limiter) == 17
    assert await limit_of(limits=Limits(account=9)) == 9
    assert await limit_of(LocalLimiter(9)) == 9
    # Other keys and other hosts are other accounts.
    async with AsyncBFL("another", base_url=NOWHERE, limits=Limits(account="discover")) as bfl:
        assert bfl.statistics().pools["account"].limit == 12


async def test_what_the_wall_clock_says_does_not_stop_the_search_for_ever(cache: Path) -> None:
    cache.mkdir(parents=True)
    file_of(cache).write_text(kept(try_at=1e12))
    assert await limit_of() == 17
    assert json.loads(file_of(cache).read_text())["try_at"] < time.time() + 3601


async def test_accounts_that_were_not_used_for_a_month_are_forgotten(cache: Path) -> None:
    """A stand-in for the API has another port each time."""
    cache.mkdir(parents=True)
    file_of(cache).write_text(kept())
    names = {"limit-1.json": 31, "limit-2.json.x.part": 31, "limit-3.json": 29, "timings-4.json": 31}
    for name, days in names.items():
        (cache / name).write_text("{}")
        os.utime(cache / name, times=(time.time() - days * 86400,) * 2)
    assert await limit_of() == 17
    assert {each.name for each in cache.iterdir()} == {
        file_of(cache).name,
        "limit-3.json",
        "timings-4.json",
    }


UNUSABLE = {
    "nothing": b"",
    "half a file": kept().encode()[:-9],
    "other JSON": b"[12]",
    "null": b"null",
    "other keys": b'{"slots": 24}',
    "no text": bytes(range(256)),
    "deep": b"[" * 4096,
    "large": b'{"limit": 17, "pad": "' + b"x" * 2**22 + b'"}',
    "many digits": b'{"limit": ' + b"9" * 4000 + b', "wait_s": 600, "try_at": 0}',
    "limit 0": kept(limit=0).encode(),
    "limit -1": kept(limit=-1).encode(),
    "limit true": kept(limit=True).encode(),
    "limit as a text": kept(limit="17").encode(),
    "half a slot": kept(limit=17.5).encode(),
    "limit of a million": kept(limit=10**6).encode(),
    "no limit": kept(limit=float("inf")).encode(),
    "NaN": kept(limit=float("nan")).encode(),
    "short wait": kept(wait_s=0).encode(),
    "endless wait": kept(wait_s=float("inf")).encode(),
    "NaN wait": kept(wait_s=float("nan")).encode(),
    "NaN moment": kept(try_at=float("nan")).encode(),
    "endless moment": kept(try_at=float("inf")).encode(),
    "huge moment": b'{"limit": 17, "wait_s": 600, "try_at": 1' + b"0" * 400 + b"}",
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
async def test_a_file_that_cannot_be_used_is_not_there(cache: Path, content: bytes) -> None:
    cache.mkdir(parents=True)
    file_of(cache).write_bytes(content)
    assert await limit_of() == 12


async def test_other_things_in_the_files_place_are_not_there_either(cache: Path) -> None:
    """A named pipe without a writer would block whoever opens it."""
    cache.mkdir(parents=True)
    path = file_of(cache)
    path.mkdir()
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    assert await limit_of() == 12
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before
    path.rmdir()
    path.symlink_to(path)
    assert await limit_of() == 12
    path.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        began = time.monotonic()
        assert await limit_of() == 12
        assert time.monotonic() - began < 1.5


async def test_a_place_that_cannot_be_written_to_breaks_nothing(cache: Path) -> None:
    """It is a file, or another program's folder has the file's name."""
    cache.parent.mkdir()
    cache.write_text("not a folder")
    async with Sandbox(limit=12, service_s=math.inf) as server:
        assert await refusals(server) == 1
        assert cache.read_text() == "not a folder"
        cache.unlink()
        file = file_of(cache, server.url)
        file.with_name(f"limit-{account_hash(server.key, server.url)}.json").mkdir(parents=True)
        assert await refusals(server) == 1
    # No part of a file is left behind.
    assert [each.is_dir() for each in cache.iterdir()] == [True]


async def test_nothing_is_kept_where_nothing_was_found_or_the_account_has_no_name(cache: Path) -> None:
    assert await limit_of() == 12
    async with Sandbox(limit=12, service_s=math.inf) as server:

        async def key() -> str:
            return server.key

        limits = Limits(account="discover")
        async with AsyncBFL(key, base_url=server.url, limits=limits, polling=Fixed(0.05)) as bfl:
            for _ in range(14):
                bfl.submit_nowait("flux-2-klein-4b", prompt="a cat")
            await wait_until(lambda: bfl.statistics().refused_429 == 1)
            await bfl.aclose(drain=0)
    assert not cache.exists()


async def test_what_was_found_is_kept_at_once(cache: Path) -> None:
    """A process may be killed: nothing is left for its end."""
    async with (
        Sandbox(limit=12, service_s=math.inf) as server,
        AsyncBFL(
            server.key, base_url=server.url, limits=Limits(account="discover"), polling=Fixed(0.05)
        ) as bfl,
    ):
        for _ in range(14):
            bfl.submit_nowait("flux-2-klein-4b", prompt="a cat")
        await wait_until(lambda: list(cache.glob("limit-*.json")) != [])
        (file,) = cache.glob("limit-*.json")
        found = json.loads(file.read_text())
        assert found["limit"] == 12
        assert found["try_at"] > time.time() + 500
        await bfl.aclose(drain=0)


async def test_a_folder_that_hangs_holds_up_no_request(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written in a thread, of which there is one; it has ended when the client is closed."""
    goes_on, threads = threading.Event(), list[threading.Thread]()
    replace = os.replace

    def hang(source: str, target: str) -> None:
        threads.append(threading.current_thread())
        goes_on.wait(10)
        replace(source, target)

    monkeypatch.setattr("os.replace", hang)
    tasks = asyncio.all_tasks()
    async with Sandbox(limit=12, service_s=math.inf) as server:
        async with AsyncBFL(
            server.key, base_url=server.url, limits=Limits(account="discover"), polling=Fixed(0.05)
        ) as bfl:
            handles = [bfl.submit_nowait("flux-2-klein-4b", prompt="a cat") for _ in range(14)]
            await wait_until(lambda: threads != [])
            task_id = handles[0].task_id
            assert task_id is not None
            server.settle(task_id, "Ready")
            await asyncio.wait_for(handles[0].result(), 10)
            await wait_until(lambda: handles[12].task_id is not None)
            assert not goes_on.is_set()
            goes_on.set()
            await bfl.aclose(drain=0)
        assert threading.main_thread() not in threads
        assert not any(thread.is_alive() for thread in threads)
        assert len(list(cache.glob("limit-*.json"))) == 1
    assert asyncio.all_tasks() == tasks


@pytest.mark.slow
async def test_a_climb_goes_on_where_it_has_ended(cache: Path) -> None:
    async with Sandbox(limit=14, service_s=math.inf) as server:
        assert await refusals(server) == 1
        (file,) = cache.iterdir()
        assert json.loads(file.read_text())["limit"] == 14
        assert await refusals(server, at_least=0) == 0
