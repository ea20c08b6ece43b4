"""What every engine's job stands on: a record that is brought twice, late, or after a kill is paid once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import LiteralString

import anyio
import procrastinate
import psycopg
import pytest

from bfl_async import AsyncBFL, AuthenticationError, Fixed, request
from bfl_async.integrations.database import fetch, transaction
from bfl_async.integrations.delivery import Deliverer, DeliverLater
from bfl_async.integrations.procrastinate import (
    FolderStorage,
    JobRecord,
    defer,
    records_of,
    results,
    retry_jobs,
)
from bfl_async.integrations.records import Records
from bfl_async.sandbox import Sandbox
from bfl_async.types import EntryState, Receipt, Reply
from tests.fake import JPEG, FakeAPI, reply, status
from tests.integration.postgres import app, dsn, postgres
from tests.threads import all_threads_taken
from tests.turns import turns_of_the_loop
from tests.waiting import wait_until

__all__ = ["app", "dsn", "postgres"]

LEASE_S = 30.0


async def one_job(app: procrastinate.App, prompt: str = "a cat") -> int:
    (job,) = await defer(app, [request("flux-2-klein-4b", prompt=prompt, width=256, height=256)])
    return job


async def record_of(app: procrastinate.App, job: int) -> JobRecord:
    (record,) = await results(app, [job])
    return record


async def until_record(app: procrastinate.App, job: int, holds: Callable[[JobRecord], bool]) -> None:
    async with asyncio.timeout(10.0):
        while True:
            if holds(await record_of(app, job)):
                return
            await asyncio.sleep(0.005)


async def end_lease(dsn: str) -> None:
    """As if the worker that holds it had given no sign of life for long."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("UPDATE bfl_jobs.records SET claimed_until = now() - interval '1 second'")


def deliverer(bfl: AsyncBFL, app: procrastinate.App, folder: Path) -> Deliverer:
    return Deliverer(bfl, records_of(app), FolderStorage(folder), lease_s=LEASE_S)


async def test_a_job_is_sent_saved_and_recorded(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """The thin path: one image, and all that is known of it."""
    job = await one_job(app)
    assert (await record_of(app, job)).state is EntryState.QUEUED
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    record = await record_of(app, job)
    assert record.ok
    assert record.task_id in bfl_sandbox.tasks
    assert record.polling_url is not None
    assert record.cost == bfl_sandbox.tasks[record.task_id].cost
    assert record.file is not None
    assert hashlib.sha256(Path(record.file).read_bytes()).hexdigest() == record.sha256
    assert [path.name for path in tmp_path.glob("*.jpg")] == [Path(record.file).name]
    assert record.submitted_at is not None
    assert record.ended_at is not None


async def test_a_job_is_deferred_and_saved_while_all_default_threads_are_taken(
    app: procrastinate.App, bfl: AsyncBFL, tmp_path: Path
) -> None:
    """Calls of the program's own that wait for the job must not be what it waits for."""
    async with all_threads_taken(), asyncio.timeout(20):
        job = await one_job(app)
        assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED


async def test_a_late_delivery_does_nothing(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A job that is at its end is skipped, by the same worker and by another."""
    job = await one_job(app)
    for _ in range(2):
        for each in (deliverer(bfl, app, tmp_path), deliverer(bfl, app, tmp_path)):
            assert await each.deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1
    assert await deliverer(bfl, app, tmp_path).deliver(job + 1000) is None


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_of_two_deliveries_at_once_one_goes_on(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """In one worker or in several: the others are told to come back, and one task is paid."""
    job = await one_job(app)
    desk, other = deliverer(bfl, app, tmp_path), deliverer(bfl, app, tmp_path)
    deliveries = [asyncio.create_task(each.deliver(job)) for each in (desk, desk, other, other)]
    await bfl_sandbox.wait_accepted(1)
    (task_id,) = bfl_sandbox.tasks
    bfl_sandbox.settle(task_id, "Ready")
    ends = await asyncio.gather(*deliveries, return_exceptions=True)
    assert sum(isinstance(end, DeliverLater) for end in ends) >= 2
    assert EntryState.SAVED in ends
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_a_task_of_a_dead_worker_is_attached_and_paid_once(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """Its id was committed before the first poll, so whoever comes next brings the image home."""
    job = await one_job(app)
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, polling=Fixed(0.01)) as dying:
        lost = asyncio.create_task(deliverer(dying, app, tmp_path).deliver(job))
        await bfl_sandbox.wait_accepted(1)
        await until_record(app, job, lambda record: record.state is EntryState.SUBMITTED)
        with pytest.raises(DeliverLater, match="is being worked on by"):
            await deliverer(bfl, app, tmp_path).deliver(job)
        await end_lease(dsn)
        second = asyncio.create_task(deliverer(bfl, app, tmp_path).deliver(job))
        await wait_until(lambda: bfl.statistics().active > 0)
        (task_id,) = bfl_sandbox.tasks
        bfl_sandbox.settle(task_id, "Ready")
        assert await second is EntryState.SAVED
        with pytest.raises(
            DeliverLater, match="took it over"
        ):  # it was only slow: it writes nothing any more
            await lost
    assert bfl_sandbox.statistics().accepted == 1
    assert len(list(tmp_path.glob("*.jpg"))) == 1, "both saved the same bytes under the same name"


async def test_what_a_dead_worker_may_have_sent_is_ambiguous_until_asked_for(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """Killed between POST and commit: reported, never sent again unasked."""
    job = await one_job(app)
    records = records_of(app)
    assert await records.claim(job, "of the dead", "elsewhere:1", LEASE_S) is not None
    assert await records.submitting(job, "of the dead")
    await end_lease(dsn)
    for _ in range(2):
        assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.AMBIGUOUS
    record = await record_of(app, job)
    assert record.error is not None
    assert "may exist and be paid" in record.error
    assert bfl_sandbox.statistics().accepted == 0
    assert await retry_jobs(app, EntryState.AMBIGUOUS) == [job]
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1


async def test_a_worker_that_lost_its_claim_before_the_post_sends_nothing(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """A stall between claim and POST: the token of the newer claim is what counts."""
    job = await one_job(app)
    records = records_of(app)
    assert await records.claim(job, "slow", "elsewhere:1", LEASE_S) is not None
    await end_lease(dsn)
    assert await records.claim(job, "newer", "elsewhere:2", LEASE_S) is not None
    assert not await records.submitting(job, "slow")
    assert await records.submitting(job, "newer")
    assert bfl_sandbox.statistics().accepted == 0


async def test_who_has_the_answer_after_all_is_believed(app: procrastinate.App, dsn: str) -> None:
    """Another had to call it ambiguous while this worker stalled with its POST out: now the task is known."""
    job = await one_job(app)
    records = records_of(app)
    assert await records.claim(job, "slow", "elsewhere:1", LEASE_S) is not None
    assert await records.submitting(job, "slow")
    await end_lease(dsn)
    assert await records.claim(job, "newer", "elsewhere:2", LEASE_S) is not None
    assert await records.leave(job, "newer", EntryState.AMBIGUOUS)
    assert await records.submitted(job, "slow", Receipt("the task", None, 1.0), LEASE_S)
    record = await record_of(app, job)
    assert (record.state, record.task_id) == (EntryState.SUBMITTED, "the task")
    assert await records.claim(job, "third", "elsewhere:3", LEASE_S) is None
    assert await records.leave(job, "slow", EntryState.SAVED, {"file": "1.jpg"})
    assert not await records.submitted(job, "newer", Receipt("another", None, 1.0), LEASE_S)


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_a_sign_of_life_keeps_what_is_being_worked_on(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """However long a task takes: its lease is prolonged."""
    job = await one_job(app)
    desk = deliverer(bfl, app, tmp_path)
    running = asyncio.create_task(desk.deliver(job))
    await until_record(app, job, lambda record: record.state is EntryState.SUBMITTED)
    await end_lease(dsn)
    await desk.renew()
    with pytest.raises(DeliverLater, match="is being worked on by"):
        await deliverer(bfl, app, tmp_path).deliver(job)
    (task_id,) = bfl_sandbox.tasks
    bfl_sandbox.settle(task_id, "Ready")
    assert await running is EntryState.SAVED


async def test_a_lost_answer_is_ambiguous(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """The API has no idempotency key."""
    bfl_sandbox.script(["submit-reset-after"])
    job = await one_job(app)
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.AMBIGUOUS
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.AMBIGUOUS
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(credits=0.0)
async def test_without_credits_a_job_stays_queued(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """402 is no end of a job: it is brought again, and the record says why."""
    job = await one_job(app)
    with pytest.raises(DeliverLater) as caught:
        await deliverer(bfl, app, tmp_path).deliver(job)
    assert caught.value.rest_s > 0, "its place rests: the next job would meet the same refusal"
    assert await records_of(app).claim(job, "another", "elsewhere:1", LEASE_S) is not None, "the job does not"
    record = await record_of(app, job)
    assert record.state is EntryState.QUEUED
    assert record.error is not None
    assert "InsufficientCreditsError" in record.error


@pytest.mark.parametrize(
    ("word", "state"),
    [("Content Moderated", EntryState.MODERATED), ("Error", EntryState.FAILED), (422, EntryState.FAILED)],
)
async def test_an_end_without_an_image_is_recorded(
    app: procrastinate.App,
    bfl: AsyncBFL,
    bfl_sandbox: Sandbox,
    tmp_path: Path,
    word: str | int,
    state: EntryState,
) -> None:
    """Moderated, failed, refused."""
    bfl_sandbox.script([word])
    job = await one_job(app)
    assert await deliverer(bfl, app, tmp_path).deliver(job) is state
    record = await record_of(app, job)
    assert record.error
    assert record.file is None


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (OSError("the bucket is away"), "OSError: the bucket is away"),
        (asyncio.CancelledError(), "RuntimeError: something that it waited for was cancelled"),
    ],
    ids=repr,
)
async def test_an_image_that_cannot_be_stored_is_tried_again_and_paid_once(
    failure: BaseException,
    text: str,
    app: procrastinate.App,
    bfl: AsyncBFL,
    bfl_sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """Whatever a storage raises: the task stays submitted, and the next delivery attaches it."""

    class Broken:
        async def save(self, name: str, data: bytes) -> str:
            raise failure

    job = await one_job(app)
    with pytest.raises(DeliverLater):
        await Deliverer(bfl, records_of(app), Broken(), lease_s=LEASE_S, pause_s=0.01).deliver(job)
    record = await record_of(app, job)
    assert (record.state, record.error) == (EntryState.SUBMITTED, text)
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(service_s=math.inf, limit=1)
async def test_a_stopped_worker_gives_back_what_it_has_not_sent(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """What was sent is brought home, the rest is free for others at once."""
    first, second = await one_job(app), await one_job(app, "a dog")
    desk = deliverer(bfl, app, tmp_path)
    running = asyncio.create_task(desk.deliver(first))
    await bfl_sandbox.wait_accepted(1)
    waiting = asyncio.create_task(desk.deliver(second))
    await wait_until(lambda: bfl.statistics().queued > 0)
    desk.stop()
    with pytest.raises(DeliverLater):
        await waiting
    assert await records_of(app).claim(second, "another", "elsewhere:1", LEASE_S) is not None
    (task_id,) = bfl_sandbox.tasks
    bfl_sandbox.settle(task_id, "Ready")
    assert await running is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(submit_rtt_s=0.2)
async def test_a_cancelled_delivery_commits_the_task_of_a_post_on_its_way(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Cancellation loses no id."""
    job = await one_job(app)
    delivery = asyncio.create_task(deliverer(bfl, app, tmp_path).deliver(job))
    await wait_until(lambda: bfl.statistics().submitting > 0)
    delivery.cancel()
    await asyncio.wait([delivery])
    record = await record_of(app, job)
    assert record.task_id is not None
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(submit_rtt_s=0.2)
async def test_a_delivery_in_a_cancelled_scope_commits_the_task_of_a_post_on_its_way(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """anyio cancels again in each turn of the loop, which is no second cancellation; and the wait does not spin."""
    job = await one_job(app)
    with turns_of_the_loop() as turns:
        async with anyio.create_task_group() as group:
            group.start_soon(deliverer(bfl, app, tmp_path).deliver, job)
            await wait_until(lambda: bfl.statistics().submitting > 0)
            group.cancel_scope.cancel()
        record = await record_of(app, job)
    assert record.task_id is not None
    assert len(turns) < 1_000
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(limit=1, service_s=math.inf)
async def test_an_unsent_job_is_free_at_once_when_its_scope_is_cancelled(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its record is given back before the delivery ends."""
    await bfl.submit("flux-2-klein-4b", prompt="takes the slot")
    job = await one_job(app)
    scope = anyio.CancelScope()

    async def end() -> None:
        await wait_until(lambda: bfl.statistics().queued > 0)
        scope.cancel()

    ending = asyncio.create_task(end())
    with pytest.raises(DeliverLater), scope:
        await deliverer(bfl, app, tmp_path).deliver(job)
    await ending
    assert await records_of(app).claim(job, "another", "elsewhere:1", LEASE_S) is not None


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_what_a_dead_worker_left_is_taken_over_without_a_job(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """The record alone says so: what was sent comes home, what may have been sent is ambiguous, the rest stays."""
    sent, unclear, unsent = await one_job(app), await one_job(app, "a dog"), await one_job(app, "a bird")
    records = records_of(app)
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url, polling=Fixed(0.01)) as dying:
        lost = asyncio.create_task(deliverer(dying, app, tmp_path).deliver(sent))
        await until_record(app, sent, lambda record: record.state is EntryState.SUBMITTED)
        assert await records.claim(unclear, "of the dead", "elsewhere:1", LEASE_S) is not None
        assert await records.submitting(unclear, "of the dead")
        desk = deliverer(bfl, app, tmp_path)
        await desk.take_over()
        await desk.wait_taken_over()
        assert (await record_of(app, unclear)).state is EntryState.SUBMITTING, "its worker still lives"
        await end_lease(dsn)
        await desk.take_over()
        await wait_until(lambda: bfl.statistics().active > 0)
        await desk.take_over()
        assert bfl.statistics().active == 1, "it is followed once"
        (task_id,) = bfl_sandbox.tasks
        bfl_sandbox.settle(task_id, "Ready")
        await desk.wait_taken_over()
        with pytest.raises(DeliverLater):
            await lost
    found = {record.id: record.state for record in await results(app, [sent, unclear, unsent])}
    assert found == {sent: EntryState.SAVED, unclear: EntryState.AMBIGUOUS, unsent: EntryState.QUEUED}
    assert bfl_sandbox.statistics().accepted == 1


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_an_abandoned_takeover_leaves_the_task_to_others(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """It ends as any other delivery does, and nothing is taken over by a worker that stops."""
    job = await one_job(app)
    async with AsyncBFL(bfl_sandbox.key, base_url=bfl_sandbox.url) as dying:
        delivery = asyncio.create_task(deliverer(dying, app, tmp_path).deliver(job))
        await until_record(app, job, lambda record: record.state is EntryState.SUBMITTED)
        delivery.cancel()
        await asyncio.wait([delivery])
    desk = deliverer(bfl, app, tmp_path)
    await desk.take_over()
    await wait_until(lambda: bfl.statistics().active > 0)
    desk.stop()
    desk.abandon()
    await desk.wait_taken_over()
    assert await records_of(app).abandoned(10) == [job]
    await desk.take_over()
    await desk.wait_taken_over()
    assert await records_of(app).abandoned(10) == [job]


@pytest.mark.bfl_sandbox(service_s=0.05)
async def test_a_task_of_another_server_stays_in_flight_for_those_who_can_follow_it(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A mistake in one worker's settings ends no paid task, and does not hold it."""
    handle = await bfl.submit("flux-2-klein-4b", prompt="a cat")
    job = await sent_job(app, await handle.accepted(), handle.polling_url)
    async with (
        Sandbox() as elsewhere,
        AsyncBFL(elsewhere.key, base_url=elsewhere.url, polling=Fixed(0.01)) as wrong,
    ):
        for _ in range(2):
            with pytest.raises(DeliverLater):
                await deliverer(wrong, app, tmp_path).deliver(job)
            record = await record_of(app, job)
            assert record.state is EntryState.SUBMITTED
            assert record.error is not None
            assert "UntrustedURLError" in record.error
    assert await records_of(app).abandoned(10) == [job], "it is free for others"
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED


async def test_a_task_that_nobody_can_follow_fails_when_no_result_can_exist_any_more(
    app: procrastinate.App, bfl: AsyncBFL, tmp_path: Path, dsn: str
) -> None:
    """Every open record has a way to its end."""
    job = await sent_job(app, "a task", "https://elsewhere.example/v1/get_result?id=1")
    with pytest.raises(DeliverLater):
        await deliverer(bfl, app, tmp_path).deliver(job)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("UPDATE bfl_jobs.records SET submitted_at = now() - interval '1 day'")
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.FAILED


async def sent_job(app: procrastinate.App, task_id: str, polling_url: str | None) -> int:
    """A record of a task that a worker sent, which is gone."""
    job = await one_job(app)
    records = records_of(app)
    assert await records.claim(job, "of the dead", "elsewhere:1", LEASE_S) is not None
    assert await records.submitting(job, "of the dead")
    assert await records.submitted(job, "of the dead", Receipt(task_id, polling_url, 1.0), LEASE_S)
    assert await records.leave(job, "of the dead", EntryState.SUBMITTED)
    return job


async def test_a_worker_whose_key_is_refused_holds_no_job(
    app: procrastinate.App, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """It says so, sends nothing more, and leaves the job to others."""
    job = await one_job(app)
    async with AsyncBFL("a-wrong-key", base_url=bfl_sandbox.url) as wrong:
        desk = deliverer(wrong, app, tmp_path)
        for _ in range(2):
            with pytest.raises(DeliverLater) as caught:
                await desk.deliver(job)
            assert caught.value.rest_s == 0
    assert desk.refusal is not None
    assert "refused" in str(desk.refusal)
    assert bfl_sandbox.statistics().refused_403 == 1
    assert (await record_of(app, job)).state is EntryState.QUEUED
    assert await records_of(app).claim(job, "another", "elsewhere:1", LEASE_S) is not None


class MalformedKey(FakeAPI):
    """A server that answers as the API answers a malformed key."""

    async def submit(self, path: str, body: bytes) -> Reply:
        await super().submit(path, body)
        return reply(422, {"detail": "Invalid API key format"})

    async def poll(self, url: str) -> Reply:
        return reply(422, {"detail": "Invalid API key format"})


async def test_a_worker_whose_key_is_malformed_fails_no_job(app: procrastinate.App, tmp_path: Path) -> None:
    """A 422 about the key is treated as a 403: the job stays queued, and the worker ends."""
    job = await one_job(app)
    api = MalformedKey(submit_s=0.01)
    async with api.client() as bfl:
        desk = deliverer(bfl, app, tmp_path)
        with pytest.raises(DeliverLater):
            await desk.deliver(job)
    assert isinstance(desk.refusal, AuthenticationError)
    assert desk.refusal.status_code == 422
    assert len(api.posts) == 1
    assert (await record_of(app, job)).state is EntryState.QUEUED


async def test_a_request_that_a_good_key_may_not_send_waits_apart(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A 403 for one model ends no worker and takes no place from other jobs."""
    desk = deliverer(bfl, app, tmp_path)
    assert await desk.deliver(await one_job(app)) is EntryState.SAVED
    bfl_sandbox.script([403])
    denied = await one_job(app, "a dog")
    with pytest.raises(DeliverLater) as caught:
        await desk.deliver(denied)
    assert (caught.value.rest_s, desk.refusal) == (0, None)
    assert caught.value.seconds > 60
    assert (await record_of(app, denied)).state is EntryState.QUEUED
    assert await desk.deliver(await one_job(app, "a bird")) is EntryState.SAVED


async def look_always(desk: Deliverer) -> None:
    while True:
        await desk.probe_if_polls_are_refused()
        await asyncio.sleep(0.01)


@pytest.mark.bfl_sandbox(service_s=math.inf)
async def test_a_key_that_is_revoked_is_noticed_by_its_polls(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A worker that sends nothing would else hold what it can never fetch."""
    job = await one_job(app)
    desk = deliverer(bfl, app, tmp_path)
    running = asyncio.create_task(desk.deliver(job))
    await until_record(app, job, lambda record: record.state is EntryState.SUBMITTED)
    await desk.probe_if_polls_are_refused()
    assert desk.refusal is None
    bfl_sandbox.revoked = True
    looking = asyncio.create_task(look_always(desk))
    async with asyncio.timeout(10.0):
        await desk.wait_refused()
    looking.cancel()
    desk.abandon()
    await asyncio.wait([running])
    assert await records_of(app).abandoned(10) == [job]


@pytest.mark.parametrize(("answer", "state"), [(422, EntryState.FAILED), (402, EntryState.QUEUED)])
async def test_a_delivery_that_is_cancelled_while_it_writes_loses_nothing_it_knows(
    answer: int,
    state: EntryState,
    app: procrastinate.App,
    bfl: AsyncBFL,
    bfl_sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """A request that was refused does not count as one that may have been sent."""
    writing, may_write = asyncio.Event(), asyncio.Event()

    async def ask(sql: LiteralString, **arguments: object) -> Sequence[Mapping[str, object]]:
        if "state" in arguments:
            writing.set()
            await may_write.wait()
        async with transaction(app) as connection:
            return await fetch(connection, sql, **arguments)

    bfl_sandbox.script([answer])
    job = await one_job(app)
    desk = Deliverer(bfl, Records(ask), FolderStorage(tmp_path), lease_s=LEASE_S)
    delivery = asyncio.create_task(desk.deliver(job))
    await writing.wait()
    delivery.cancel()
    await asyncio.wait([delivery], timeout=0.05)
    may_write.set()
    await asyncio.wait([delivery])
    assert delivery.cancelled()
    assert (await record_of(app, job)).state is state


async def test_what_was_spent_before_a_retry_is_kept(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path
) -> None:
    """However often a job is sent again, and however it ended: the sum is what the account paid.

    That is nothing for what failed or was moderated.
    """
    job = await one_job(app)
    desk, records = deliverer(bfl, app, tmp_path), records_of(app)
    for word, state in (("Error", EntryState.FAILED), ("Content Moderated", EntryState.MODERATED)):
        bfl_sandbox.script([word])
        assert await desk.deliver(job) is state
        assert await retry_jobs(app, state) == [job]
        queued = await record_of(app, job)
        assert queued.cost is None
        assert queued.cost_before == bfl_sandbox.statistics().credits_spent == 0
    assert await desk.deliver(job) is EntryState.SAVED
    spent = bfl_sandbox.statistics().credits_spent
    record = await record_of(app, job)
    assert record.cost is not None
    assert record.cost + record.cost_before == pytest.approx(spent)
    counts = await records.counts()
    assert list(counts) == [EntryState.SAVED]
    assert counts[EntryState.SAVED][1] == pytest.approx(spent)


async def test_what_the_server_charges_for_a_failure_is_kept(app: procrastinate.App, tmp_path: Path) -> None:
    """The cost that is stated with the end counts, also when the job is sent again."""
    job = await one_job(app)
    api = FakeAPI(submit_s=0.01, service_s=0.01, cost=1.4)
    async with api.client(interval=0.01) as bfl:
        desk = deliverer(bfl, app, tmp_path)
        for number, cost in enumerate((2.5, 0.5), 1):
            api.script_polls(reply(200, status("Error", cost=cost)))
            assert await desk.deliver(job) is EntryState.FAILED
            assert (await record_of(app, job)).cost == cost
            assert await retry_jobs(app, EntryState.FAILED) == [job]
            assert (await record_of(app, job)).cost_before == (2.5, 3.0)[number - 1]
        assert await desk.deliver(job) is EntryState.SAVED
    record = await record_of(app, job)
    assert (record.cost, record.cost_before) == (1.4, 3.0)


@pytest.mark.bfl_sandbox(submit_rtt_s=0.2)
async def test_a_task_that_came_too_late_for_its_job_is_counted(
    app: procrastinate.App, bfl: AsyncBFL, bfl_sandbox: Sandbox, tmp_path: Path, dsn: str
) -> None:
    """Its worker stalled with the POST out, the job was called ambiguous and sent again: both were paid."""
    job = await one_job(app)
    slow = asyncio.create_task(deliverer(bfl, app, tmp_path).deliver(job))
    await wait_until(lambda: bfl.statistics().submitting > 0)
    await end_lease(dsn)
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.AMBIGUOUS
    assert await retry_jobs(app, EntryState.AMBIGUOUS) == [job]
    with pytest.raises(DeliverLater):
        await slow
    assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.SAVED
    assert bfl_sandbox.statistics().accepted == 2
    counts = await records_of(app).counts()
    assert counts[EntryState.SAVED][1] == pytest.approx(bfl_sandbox.statistics().credits_spent)


def an_answer() -> Reply:
    """An answer to a submit that holds the image."""
    return reply(200, {"data": [{"b64_json": base64.b64encode(JPEG).decode()}], "cost": 3})


async def test_an_image_that_came_with_the_answer_is_stored_before_it_is_recorded(
    app: procrastinate.App, tmp_path: Path
) -> None:
    """No server keeps it: until it is stored, the record says that the request may have been sent."""
    seen: list[EntryState] = []

    class Watched(FolderStorage):
        async def save_file(self, name: str, part: Path, sha256: str) -> str:
            seen.append((await record_of(app, job)).state)
            if len(seen) == 1:
                raise OSError("not now")
            return await super().save_file(name, part, sha256)

    job = await one_job(app)
    api = FakeAPI(submit_s=0.01)
    api.script_submits(an_answer())
    async with api.client(interval=0.01) as bfl:
        desk = Deliverer(bfl, records_of(app), Watched(tmp_path), lease_s=LEASE_S)
        assert await desk.deliver(job) is EntryState.SAVED
        assert await desk.deliver(job) is EntryState.SAVED
    assert seen == [EntryState.SUBMITTING] * 2
    record = await record_of(app, job)
    assert record.file is not None
    assert Path(record.file).read_bytes() == JPEG
    assert record.cost == 3.0
    assert (len(api.posts), api.polled) == (1, [])


async def test_a_cancelled_delivery_stores_the_image_that_comes_with_the_answer(
    app: procrastinate.App, tmp_path: Path
) -> None:
    """A worker that stops while a host works brings home what is paid."""
    job = await one_job(app)
    api = FakeAPI(submit_s=0.3)
    api.script_submits(an_answer())
    async with api.client(interval=0.01) as bfl:
        delivery = asyncio.create_task(deliverer(bfl, app, tmp_path).deliver(job))
        await wait_until(lambda: bfl.statistics().submitting > 0)
        delivery.cancel()
        await asyncio.wait([delivery])
    assert (await record_of(app, job)).state is EntryState.SAVED
    assert len(list(tmp_path.glob("*.jpg"))) == 1


async def test_an_image_that_came_with_the_answer_and_is_none_ends_as_failed(
    app: procrastinate.App, tmp_path: Path
) -> None:
    """It is said to be paid, and is made again only by `retry_jobs`."""
    job = await one_job(app)
    api = FakeAPI(submit_s=0.01)
    api.script_submits(reply(200, {"data": [{"b64_json": base64.b64encode(b"<html>" * 60).decode()}]}))
    async with api.client(interval=0.01) as bfl:
        assert await deliverer(bfl, app, tmp_path).deliver(job) is EntryState.FAILED
    assert "no server keeps it" in str((await record_of(app, job)).error)
