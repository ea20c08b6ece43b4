"""Workers in processes of their own on one database: killed, given jobs twice, and stopped.

What must hold: each job ends, its request is sent at most once unasked, and every image is whole and there once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import LiteralString

import anyio
import procrastinate
import psycopg
import pytest
from procrastinate.types import JSONDict

from benchmarks.redis_server import RedisServer
from bfl_async import (
    AsyncBFL,
    AuthenticationError,
    ConfigError,
    ConnectError,
    Fixed,
    InvalidRequestError,
    LedgerError,
    LedgerVersionError,
    Timeouts,
    request,
)
from bfl_async.integrations.database import transaction
from bfl_async.integrations.procrastinate import (
    FolderStorage,
    apply_schema,
    defer,
    records_of,
    recover,
    results,
    retry_jobs,
    worker,
)
from bfl_async.integrations.records import MIGRATIONS
from bfl_async.limiter import RedisLimiter
from bfl_async.sandbox import Sandbox
from bfl_async.types import EntryState, Reply
from tests.contract.limiters import redis_server
from tests.integration.postgres import app, cluster, dsn, postgres
from tests.integration.test_batch_survival import KEY, SIZE, Server, serving
from tests.json_page import check
from tests.waiting import wait_until

__all__ = ["app", "dsn", "postgres", "redis_server"]

HEARTBEAT_S = 1.0


def environment(server: Server | None, dsn: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BFL_DATABASE_URL": dsn,
        "BFL_BASE_URL": "" if server is None else server.url,
        "BFL_API_KEY": KEY,
    }


def run(folder: Path, dsn: str, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bfl_async", *words],
        cwd=folder,
        env=environment(None, dsn),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def start_worker(folder: Path, server: Server, dsn: str, limit: int, *more: str) -> subprocess.Popen[str]:
    options = ("-o", "out", "--limit", str(limit), "--heartbeat", str(HEARTBEAT_S), *more)
    with (folder / "workers.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bfl_async", "worker", *options],
            cwd=folder,
            env=environment(server, dsn),
            stdout=log,
            stderr=log,
            text=True,
        )


@contextmanager
def ended(workers: list[subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for each in workers:
            each.kill()
            each.wait()


def counts(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT state, count(*) FROM bfl_jobs.records GROUP BY state").fetchall()
    return {str(state): int(count) for state, count in rows}


def wait_for_ends(dsn: str, seconds: float) -> dict[str, int]:
    deadline = time.monotonic() + seconds
    while True:
        found = counts(dsn)
        if not set(found) & {"queued", "submitting", "submitted"}:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def check_images(folder: Path, dsn: str, saved: int) -> None:
    """As many images as records say, each whole."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT file, sha256, task_id FROM bfl_jobs.records WHERE state = 'saved'"
        ).fetchall()
    assert len(rows) == saved
    assert len({task_id for _, _, task_id in rows}) == saved, "no task stands for two images"
    files = {str(path.relative_to(folder)) for path in (folder / "out").glob("*.jpg")}
    assert files == {file for file, _, _ in rows}
    for file, sha256, _ in rows:
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256


# Its own deadlines add up to more than the default.
@pytest.mark.timeout(180)
@pytest.mark.slow
def test_rows_become_images_and_the_same_rows_again_become_none(dsn: str, tmp_path: Path) -> None:
    """enqueue, worker, jobs: the way of a user; SIGTERM stops a worker with 143."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(20)))
    enqueue = ("enqueue", "prompts.txt", "-m", "flux-2-klein-4b", *SIZE)
    code, out, err = run(tmp_path, dsn, *enqueue)
    assert code == 0
    assert "20 jobs in the database" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["index"] for line in lines] == list(range(20))
    check("enqueue", out.splitlines())
    assert run(tmp_path, dsn, *enqueue)[1] == out, "the same rows are the same jobs"
    assert run(tmp_path, dsn, *enqueue, "--run", "again", "--repeat", "2")[0] == 0
    with serving(speed=20.0) as server:
        working = start_worker(tmp_path, server, dsn, 12)
        with ended([working]):
            assert wait_for_ends(dsn, 40.0) == {"saved": 60}
            working.send_signal(signal.SIGTERM)
            assert working.wait(timeout=20) == 143
        assert server.accepted() == 60
    check_images(tmp_path, dsn, 60)
    code, out, _ = run(tmp_path, dsn, "jobs", "--json")
    shown = json.loads(out)
    assert (code, shown["counts"]["saved"], shown["errors"]) == (0, 60, [])
    check("jobs", [out])
    assert shown["credits_spent"] > 0
    code, out, _ = run(tmp_path, dsn, "jobs", str(lines[3]["job"]))
    assert json.loads(out)["prompt"] == "prompt 3"
    check("jobs: job", [out])
    assert run(tmp_path, dsn, "jobs")[1].startswith("60 jobs: 60 saved; ")


def test_mistakes_are_one_line(dsn: str, tmp_path: Path) -> None:
    """No database, no server there, no row."""
    code, _, err = run(tmp_path, "", "jobs")
    assert code == 2
    assert "BFL_DATABASE_URL" in err
    code, _, err = run(tmp_path, "postgresql://nobody@127.0.0.1:1/none", "jobs")
    assert code == 1
    assert "error: the database cannot be used: " in err
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": 5}\n')
    code, out, err = run(tmp_path, dsn, "enqueue", "rows.jsonl")
    assert (code, out) == (2, "")
    assert "line 2" in err


@pytest.mark.slow
def test_workers_share_the_limit_through_redis(tmp_path: Path, dsn: str, redis_server: RedisServer) -> None:
    """Three workers on one account of 12 slots: the server has nothing to refuse."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(60)))
    assert run(tmp_path, dsn, "enqueue", "prompts.txt", "-m", "flux-2-klein-4b", *SIZE)[0] == 0
    with serving(speed=5.0) as server:
        redis = ("--redis", redis_server.url)
        with ended([start_worker(tmp_path, server, dsn, 12, *redis) for _ in range(3)]):
            assert wait_for_ends(dsn, 40.0) == {"saved": 60}
        with urllib.request.urlopen(f"{server.url}/sandbox/statistics") as reply:
            counted = json.load(reply)
    assert (counted["accepted"], counted["refused_429"]) == (60, 0)
    assert counted["peak_active"] <= 12


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_killed_ten_times_and_jobs_brought_twice_pay_once(dsn: str, tmp_path: Path) -> None:
    """500 jobs, 3 workers, SIGKILL at random moments: images or ambiguous, and nothing sent twice unasked."""
    seed = int(os.environ.get("BFL_KILL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"BFL_KILL_SEED={seed}")  # noqa: T201 - shown when it fails: it replays the moments
    rng = random.Random(seed)
    total = 500
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {n}\n" for n in range(total)))
    assert run(tmp_path, dsn, "enqueue", "prompts.txt", "-m", "flux-2-klein-4b", *SIZE)[0] == 0
    with serving(speed=1.5, submit_s=0.1) as server:
        workers = [start_worker(tmp_path, server, dsn, 4) for _ in range(3)]
        with ended(workers):
            for _ in range(10):
                time.sleep(rng.uniform(1.0, 4.0))  # the moment is what is tested
                bring_twice(dsn, rng)
                at = rng.randrange(3)
                workers[at].kill()
                assert workers[at].wait() == -signal.SIGKILL
                workers[at] = start_worker(tmp_path, server, dsn, 4)
            assert counts(dsn).get("queued"), "it was through before the last kill"
            server.set(speed=20.0)
            found = wait_for_ends(dsn, 180.0)
            saved, ambiguous = found.get("saved", 0), found.get("ambiguous", 0)
            assert saved + ambiguous == total, found
            assert server.accepted() <= total, "each was sent at most once"
            check_images(tmp_path, dsn, saved)
            assert run(tmp_path, dsn, "jobs", "--retry", "ambiguous")[0] == 0
            assert wait_for_ends(dsn, 60.0) == {"saved": total}
        accepted = server.accepted()
        print(f"10 kills, {ambiguous} ambiguous, {accepted} accepted")  # noqa: T201 - the figures
        assert accepted <= total + ambiguous
        check_images(tmp_path, dsn, total)
    assert "bug" not in (tmp_path / "workers.log").read_text()


def bring_twice(dsn: str, rng: random.Random) -> None:
    """Bring jobs again that wait, run, or are done; and take some that run from their workers."""

    async def bring() -> None:
        made = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
        async with made.open_async():
            ids = [record.id for record in await records_of(made).list(tuple(EntryState), 500)]
            again = made.configure_task("bfl_async.generate", queue="bfl_async")
            jobs: list[JSONDict] = [{"record": record} for record in rng.sample(ids, 20)]
            await again.batch_defer_async(*jobs)

    asyncio.run(bring())
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE procrastinate_jobs SET status = 'todo' WHERE id IN "
            "(SELECT id FROM procrastinate_jobs WHERE status = 'doing' ORDER BY id LIMIT 5)"
        )


# --- in one process -----------------------------------------------------------------------------------------


@pytest.fixture
async def working(app: procrastinate.App, bfl: AsyncBFL, tmp_path: Path) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this loop."""
    storage = FolderStorage(tmp_path)
    task = asyncio.create_task(worker(app, bfl, storage=storage, heartbeat_s=0.2))
    yield task
    task.cancel()
    await asyncio.wait([task])


async def ends_of(app: procrastinate.App, ids: list[int], seconds: float = 20.0) -> list[EntryState]:
    async with asyncio.timeout(seconds):
        while True:
            states = [record.state for record in await results(app, ids)]
            if not set(states) & {EntryState.QUEUED, EntryState.SUBMITTING, EntryState.SUBMITTED}:
                return states
            await asyncio.sleep(0.05)


async def test_jobs_that_have_ended_leave_the_queue(
    app: procrastinate.App, working: asyncio.Task[None], dsn: str
) -> None:
    """Their records stay, procrastinate's table does not grow."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(5)])
    assert ids == sorted(ids)
    assert await ends_of(app, ids) == [EntryState.SAVED] * 5
    async with asyncio.timeout(10.0):
        while True:
            if not list(await app.job_manager.list_jobs_async()):
                return
            await asyncio.sleep(0.05)


async def test_an_id_stands_for_one_request(app: procrastinate.App) -> None:
    """The same call again gives the same jobs; another request under a known id is a mistake."""
    cat, dog = (request("flux-dev", prompt=name) for name in ("cat", "dog"))
    first = await defer(app, [cat, dog], ids=["a", "b"])
    again = await defer(app, [dog, cat, cat], ids=["b", "a", "c"])
    assert again[:2] == first[::-1]
    assert again[2] not in first
    both = await defer(app, [cat, cat], ids=["d", "d"])
    assert both[0] == both[1]
    with pytest.raises(InvalidRequestError, match="another request"):
        await defer(app, [cat], ids=["b"])
    assert len(await records_of(app).list(tuple(EntryState), 100)) == 4


async def test_a_paid_task_that_no_job_stands_for_gets_one(
    app: procrastinate.App, bfl_sandbox: Sandbox, dsn: str
) -> None:
    """Whoever deleted the queue's rows: what is paid is brought home."""
    (job,) = await defer(app, [request("flux-2-klein-4b", prompt="a cat")])
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE bfl_jobs.records SET state = 'submitted', task_id = 'x'")
        connection.execute("DELETE FROM procrastinate_jobs")
    assert await recover(app, 30.0) == 1
    assert await recover(app, 30.0) == 0
    (brought,) = await app.job_manager.list_jobs_async()
    assert brought.task_kwargs == {"record": job}


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM procrastinate_jobs",
        "UPDATE procrastinate_jobs SET status = 'failed'",
        "UPDATE procrastinate_jobs SET status = 'cancelled'",
        "UPDATE procrastinate_jobs SET status = 'succeeded'",
        "UPDATE procrastinate_jobs SET status = 'aborted'",
        "UPDATE procrastinate_jobs SET queue_name = 'elsewhere'",
        # Of a worker that lives and does nothing about it.
        "WITH made AS (INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id), "
        "aged AS (UPDATE procrastinate_events SET at = now() - interval '1 day') "
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = made.id FROM made",
        # Of a worker that is gone.
        "UPDATE procrastinate_jobs SET status = 'doing'",
    ],
)
@pytest.mark.parametrize("state", ["queued", "submitted"])
async def test_an_open_record_comes_back_however_its_job_was_lost(
    app: procrastinate.App, dsn: str, loss: LiteralString, state: str
) -> None:
    """The record is the truth: each that is not at its end gets one job, and ended ones get none."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(3)])
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE bfl_jobs.records SET state = %s, task_id = 'x'", (state,))
        connection.execute("UPDATE bfl_jobs.records SET state = 'saved' WHERE id = %s", (ids[0],))
        connection.execute(loss)
        if "worker_id" in loss:
            connection.execute("UPDATE procrastinate_events SET at = now() - interval '1 day'")
    assert await recover(app, 30.0) >= 2
    assert await recover(app, 30.0) == 0
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT records.id FROM bfl_jobs.records JOIN procrastinate_jobs AS jobs ON jobs.id = records.job "
            "WHERE status = 'todo' AND queue_name = 'bfl_async' AND state = %s ORDER BY records.id",
            (state,),
        ).fetchall()
    assert [record for (record,) in rows] == ids[1:]


async def test_recovery_looks_at_every_queued_record(
    app: procrastinate.App, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: it goes through them in steps."""
    monkeypatch.setattr("bfl_async.jobs.recovery._STEP", 3)
    await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(10)])
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM procrastinate_jobs WHERE id % 2 = 0")
    assert await recover(app, 30.0) == 5
    assert await recover(app, 30.0) == 0


async def test_recovery_waits_for_no_enqueuer(app: procrastinate.App, dsn: str) -> None:
    """What has a deadline is not behind bulk work, which has none."""
    await defer(app, [request("flux-2-klein-4b", prompt="a cat")])
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
    async with transaction(app, lock=True), asyncio.timeout(5.0):
        assert await recover(app, 30.0) == 1


@pytest.mark.bfl_sandbox(limit=1, service_s=math.inf)
async def test_a_paid_task_is_taken_over_where_all_places_wait_for_its_slot(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """Recovery needs no place: the jobs in the places wait for what only it can free."""
    handle = await bfl.submit("flux-2-klein-4b", prompt="of a worker that died")
    task_id = await handle.accepted()
    (sent, *waiting) = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(4)])
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE bfl_jobs.records SET state = 'submitted', task_id = %s, polling_url = %s WHERE id = %s",
            (task_id, handle.polling_url, sent),
        )
        connection.execute("DELETE FROM procrastinate_jobs WHERE id = %s", (sent,))
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, limits=1, polling=Fixed(0.05)) as other:
        storage = FolderStorage(tmp_path)
        running = asyncio.create_task(worker(app, other, storage=storage, concurrency=2, heartbeat_s=0.2))
        async with asyncio.timeout(20.0):
            while True:
                (record,) = await results(app, [sent])
                if record.worker is not None:
                    break
                await asyncio.sleep(0.02)
        assert [record.state for record in await results(app, waiting)] == [EntryState.QUEUED] * 3
        bfl_sandbox.settle(task_id, "Ready")
        assert await ends_of(app, [sent]) == [EntryState.SAVED]
        running.cancel()
        await asyncio.wait([running], timeout=0.3)
        running.cancel()
        await asyncio.wait([running])


def workers_of(dsn: str) -> int:
    """Return how many workers of the engine are registered."""
    with psycopg.connect(dsn) as connection:
        (row,) = connection.execute("SELECT count(*) FROM procrastinate_workers").fetchall()
        return int(row[0])


@pytest.mark.slow
async def test_a_neighbour_that_works_on_all_queues_is_survived(
    app: procrastinate.App, working: asyncio.Task[None], dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not know our jobs and marks them as failed, for as long as it runs: all come home all the same."""
    neighbour = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with neighbour.open_async():
        theirs = asyncio.create_task(neighbour.run_worker_async(concurrency=4, install_signal_handlers=False))
        # It is at work once it has taken a place beside our own worker.
        async with asyncio.timeout(20.0):
            while workers_of(dsn) < 2:  # noqa: ASYNC110 - a table sets no event
                await asyncio.sleep(0.02)
        ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(60)])
        assert await ends_of(app, ids, 40.0) == [EntryState.SAVED] * 60
        theirs.cancel()
        await asyncio.wait([theirs])
    assert "does one work on all queues?" in caplog.text


async def test_tables_of_an_earlier_release_are_brought_up(dsn: str) -> None:
    """What they hold stays, and a job of that time is worked on."""
    made = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with made.open_async():
        await made.schema_manager.apply_schema_async()
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE SCHEMA bfl_jobs")
            connection.execute("CREATE TABLE bfl_jobs.version (number integer NOT NULL)")
            connection.execute("INSERT INTO bfl_jobs.version VALUES (1)")
            connection.execute(MIGRATIONS[0])
            connection.execute(
                "INSERT INTO bfl_jobs.records (id, job, model, fields, state, cost) "
                "VALUES (7, 7, 'flux-dev', '{}', 'failed', 3.5)"
            )
        await apply_schema(made)
        (record,) = await results(made, [7])
        assert (record.state, record.cost) == (EntryState.FAILED, 3.5)
        assert await recover(made, 30.0) == 0
        assert await retry_jobs(made, EntryState.FAILED) == [7]


async def test_a_worker_refuses_the_jobs_of_another_host_or_account(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """It touches nothing: neither what is queued nor what is paid and in flight."""

    async def work(client: AsyncBFL) -> None:
        await worker(app, client, storage=FolderStorage(tmp_path), heartbeat_s=0.2)

    (first,) = await defer(app, [request("flux-2-klein-4b", prompt="a cat")])
    right = asyncio.create_task(work(bfl))
    assert await ends_of(app, [first]) == [EntryState.SAVED]
    right.cancel()
    await asyncio.wait([right])
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(2)])
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE bfl_jobs.records SET state = 'submitted', task_id = 'x' WHERE id = %s", (ids[0],)
        )
    before = await results(app, ids)
    async with Sandbox() as elsewhere, AsyncBFL(elsewhere.key, base_url=elsewhere.url) as wrong:
        with pytest.raises(ConfigError, match="belong to this machine, port"):
            await work(wrong)
        assert elsewhere.statistics().accepted == 0
    async with AsyncBFL("another-key", base_url=bfl_sandbox.url) as wrong:
        with pytest.raises(ConfigError, match="belong to another account"):
            await work(wrong)
    assert await results(app, ids) == before
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM bfl_jobs.home")
        connection.execute("UPDATE bfl_jobs.records SET state = 'failed' WHERE id = %s", (ids[0],))
    async with AsyncBFL(bfl_sandbox.key, account="ours", base_url=bfl_sandbox.url) as named:
        right = asyncio.create_task(work(named))
        assert await ends_of(app, [ids[1]]) == [EntryState.SAVED]
        right.cancel()
        await asyncio.wait([right])
    async with AsyncBFL("a-renewed-key", account="ours", base_url=bfl_sandbox.url) as renewed:
        with pytest.raises(AuthenticationError):  # of the server: the jobs are its own
            await work(renewed)


async def test_a_worker_whose_key_is_refused_ends_and_takes_no_job(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nor does it say whose the jobs are."""
    (job,) = await defer(app, [request("flux-2-klein-4b", prompt="a cat")])
    async with AsyncBFL("a-wrong-key", base_url=bfl_sandbox.url) as wrong:
        with pytest.raises(AuthenticationError, match="the worker's key is refused"):
            await worker(app, wrong, storage=FolderStorage(tmp_path), heartbeat_s=0.2)
    (record,) = await results(app, [job])
    assert (record.worker, record.error) == (None, None)
    assert await records_of(app).home() is None


@pytest.mark.bfl_sandbox(service_s=math.inf)
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_worker_whose_key_is_revoked_leaves_everything_to_others(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """What is queued and what is paid: both are done by a worker whose key is good."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(2)])
    storage = FolderStorage(tmp_path)
    first = asyncio.create_task(worker(app, bfl, storage=storage, heartbeat_s=0.2))
    await bfl_sandbox.wait_accepted(2)
    bfl_sandbox.revoked = True
    ids += await defer(app, [request("flux-2-klein-4b", prompt=f"dog {n}") for n in range(3)])
    with pytest.raises(AuthenticationError):
        await first
    assert {record.state for record in await results(app, ids)} == {EntryState.SUBMITTED, EntryState.QUEUED}
    bfl_sandbox.revoked = False
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, polling=Fixed(0.05)) as other:
        second = asyncio.create_task(worker(app, other, storage=storage, heartbeat_s=0.2))
        await bfl_sandbox.wait_accepted(5)
        for task_id in list(bfl_sandbox.tasks):
            bfl_sandbox.settle(task_id, "Ready")
        assert await ends_of(app, ids) == [EntryState.SAVED] * 5
        second.cancel()
        await asyncio.wait([second])
    assert bfl_sandbox.statistics().accepted == 5


class CutOff:
    """A transport that reaches nobody."""

    async def submit(self, path: str, body: bytes) -> Reply:
        raise ConnectError("no way there")

    async def poll(self, url: str) -> Reply:
        raise ConnectError("no way there")

    async def download(self, url: str, *, timeout: float) -> Reply:
        raise ConnectError("no way there")

    async def aclose(self) -> None: ...


async def test_a_worker_without_a_connection_holds_no_job_while_it_rests(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its places rest; another worker does the jobs at once."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(4)])
    storage = FolderStorage(tmp_path)
    short = Timeouts(connect=0.1)
    async with AsyncBFL(
        bfl_sandbox.key, base_url=bfl_sandbox.url, transport=CutOff(), timeouts=short
    ) as cut_off:
        alone = asyncio.create_task(worker(app, cut_off, storage=storage, concurrency=4, heartbeat_s=0.2))
        await wait_until(lambda: cut_off.statistics().failed >= 4)  # each place has tried
        good = asyncio.create_task(worker(app, bfl, storage=storage, heartbeat_s=0.2))
        assert await ends_of(app, ids, 15.0) == [EntryState.SAVED] * 4
        for each in (alone, good):
            each.cancel()
        await asyncio.wait([alone, good])


@pytest.mark.parametrize(("workers", "places"), [(0, 120), (1, 60), (99, 48)])
@pytest.mark.bfl_sandbox(limit=60, service_s=math.inf)
async def test_workers_that_share_their_slots_share_the_jobs(
    app: procrastinate.App,
    bfl_sandbox: Sandbox,
    tmp_path: Path,
    dsn: str,
    redis_server: RedisServer,
    workers: int,
    places: int,
) -> None:
    """A hundred workers do not each claim jobs for twice the account's slots."""
    with psycopg.connect(dsn) as connection:
        for _ in range(workers):
            connection.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
    await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(130)])
    limiter = RedisLimiter(redis_server.url, limits=60, namespace=dsn.rpartition("/")[2])
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, limiter=limiter) as sharing:
        running = asyncio.create_task(worker(app, sharing, storage=FolderStorage(tmp_path)))
        await bfl_sandbox.wait_accepted(min(60, places))

        async def taken() -> int:
            return len(list(await app.job_manager.list_jobs_async(status="doing")))

        async with asyncio.timeout(20.0):
            while await taken() < places:  # noqa: ASYNC110 - of the database
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert await taken() == places
        running.cancel()
        await asyncio.wait([running], timeout=0.1)
        running.cancel()
        await asyncio.wait([running])
    await limiter.aclose()


async def test_an_older_release_refuses_newer_tables(app: procrastinate.App, dsn: str) -> None:
    """And the same release applies its schema as often as it likes."""
    await apply_schema(app)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE bfl_jobs.version SET number = 99")
    with pytest.raises(LedgerVersionError, match="99"):
        await apply_schema(app)


@pytest.mark.bfl_sandbox(limit=2, service_s=0.3)
async def test_a_cancelled_worker_brings_home_what_it_has_sent(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """The rest is queued again at once, and another worker does it."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(6)])
    first = asyncio.create_task(worker(app, bfl, storage=FolderStorage(tmp_path), heartbeat_s=5.0))
    await bfl_sandbox.wait_accepted(2)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    states = [record.state for record in await results(app, ids)]
    assert set(states) == {EntryState.SAVED, EntryState.QUEUED}
    assert states.count(EntryState.SAVED) == bfl_sandbox.statistics().accepted == 2, "nothing more was sent"
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, limits=2, polling=Fixed(0.05)) as other:
        second = asyncio.create_task(worker(app, other, storage=FolderStorage(tmp_path), heartbeat_s=5.0))
        assert await ends_of(app, ids) == [EntryState.SAVED] * 6
        second.cancel()
        await asyncio.wait([second])
    assert bfl_sandbox.statistics().accepted == 6


@pytest.mark.bfl_sandbox(limit=2, service_s=0.3)
async def test_a_worker_in_a_cancelled_scope_brings_home_what_it_has_sent(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """anyio cancels again in each turn of the loop: that is one cancellation, and nothing is abandoned."""
    ids = await defer(app, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(4)])
    async with anyio.create_task_group() as group:
        group.start_soon(partial(worker, app, bfl, storage=FolderStorage(tmp_path), heartbeat_s=5.0))
        await bfl_sandbox.wait_accepted(2)
        group.cancel_scope.cancel()
    states = [record.state for record in await results(app, ids)]
    assert states.count(EntryState.SAVED) == bfl_sandbox.statistics().accepted == 2
    assert states.count(EntryState.QUEUED) == 2


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_a_worker_cancelled_twice_leaves_its_tasks_to_others(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """It waits for no task any more, and nothing of it runs on; the next one attaches at once."""
    (job,) = await defer(app, [request("flux-2-klein-4b", prompt="a cat")])
    before = asyncio.all_tasks()
    first = asyncio.create_task(worker(app, bfl, storage=FolderStorage(tmp_path), heartbeat_s=5.0))
    await bfl_sandbox.wait_accepted(1)
    (task_id,) = bfl_sandbox.tasks
    first.cancel()
    await asyncio.wait([first], timeout=0.3)
    assert not first.done(), "it would bring the task home"
    first.cancel()
    await asyncio.wait([first], timeout=10.0)
    assert first.cancelled()
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, polling=Fixed(0.05)) as other:
        second = asyncio.create_task(worker(app, other, storage=FolderStorage(tmp_path), heartbeat_s=5.0))
        async with asyncio.timeout(10.0):
            while True:
                if other.statistics().active:
                    break
                await asyncio.sleep(0.05)
        bfl_sandbox.settle(task_id, "Ready")
        assert await ends_of(app, [job]) == [EntryState.SAVED]
        second.cancel()
        await asyncio.wait([second])
    names = [task.get_name() for task in asyncio.all_tasks() - before]
    assert not [name for name in names if "worker loop" in name or "job" in name]
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.timeout(
    200
)  # PostgreSQL's recovery, and the pool's back-off meanwhile, take long on a busy machine
@pytest.mark.bfl_sandbox(service_s=2.0)
@pytest.mark.slow
async def test_a_crash_of_the_database_loses_nothing(
    bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Tasks run while it is away; the worker ends with an error, and one that is started again brings all home."""
    with cluster() as database:
        made = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database.url))
        async with made.open_async():
            await apply_schema(made)
            ids = await defer(made, [request("flux-2-klein-4b", prompt=f"cat {n}") for n in range(4)])
            storage = FolderStorage(tmp_path)
            first = asyncio.create_task(worker(made, bfl, storage=storage, heartbeat_s=0.5))
            await bfl_sandbox.wait_accepted(4)
            await asyncio.to_thread(database.crash)
            await asyncio.sleep(1.0)  # longer than a heartbeat
            await asyncio.to_thread(database.start)
            with pytest.raises(LedgerError, match="start it again"):
                await first
            second = asyncio.create_task(worker(made, bfl, storage=storage, heartbeat_s=0.5))
            ends = await ends_of(made, ids)
            second.cancel()
            await asyncio.wait([second])
    assert bfl_sandbox.statistics().accepted == 4
    assert set(ends) <= {EntryState.SAVED, EntryState.AMBIGUOUS}, "an id that was not committed is in doubt"
    assert EntryState.SAVED in ends
