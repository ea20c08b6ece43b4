"""What every engine's job does: one record, delivered at least once, paid at most once.

An engine (procrastinate here) brings a record's id to some worker, perhaps twice, perhaps late, perhaps after the first
worker was killed. `Deliverer.deliver` looks at the record and goes on from there:

    queued      send it: "submitting" is committed before the POST leaves, the task's id before the first poll
    submitting  a worker died with the POST on its way: nobody can ask what became of it, so it is ambiguous
    submitted   attach the task and bring its image home; nothing is paid again
    an end      nothing
    held        by another delivery whose lease runs: come back later

So an engine has to promise one thing: to bring an id again whose delivery ended with `DeliverLater`, or did not end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import os
import socket
from collections.abc import Mapping
from functools import partial

import anyio
import anyio.to_thread

from bfl_async.batch.files import NewImage
from bfl_async.batch.naming import NameTemplate
from bfl_async.batch.requests import rebuild
from bfl_async.batch.saving import download_timeout_s
from bfl_async.batch.verdicts import HOPELESS, NOT_KEPT, entry_state_of, error_text
from bfl_async.client.client import AsyncBFL
from bfl_async.engine.entry import Entry
from bfl_async.engine.entry_point import Engine
from bfl_async.errors import (
    AuthenticationError,
    BFLError,
    ClientClosedError,
    DownloadError,
    LedgerError,
    RefusedError,
    UntrustedURLError,
)
from bfl_async.jobs.one_delivery import Delivery, text_of
from bfl_async.jobs.records import OPEN, JobRecord, Records
from bfl_async.jobs.storage import FileStorage, Storage
from bfl_async.results.result import Result
from bfl_async.runtime.cancellation import foreign_cancellation_as, is_cancelled, shielded
from bfl_async.runtime.tasks import new_task
from bfl_async.types.entries import EntryState, Fact, LedgerEntry
from bfl_async.types.held import is_own_id
from bfl_async.types.replies import Answered, Lost, Ready, Settlement, Unsent
from bfl_async.wire.json import json_object

_log = logging.getLogger("bfl_async")

_PRIORITY = 10  # a batch stands behind single requests of the same client
_DOWNLOADS = 8
# Between attempts to write down an end, and to store an image that no server has.
_WRITE_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
# Tasks of dead workers that are followed at a time. More than one account has slots: none waits for another.
_MOST_TAKEN_OVER = 2_000
_PROBE_S = 10.0  # for the answer to a probe of the key
_DENIED_S = 600.0  # before a request is sent again that a good key may not send
# How long the server keeps a result after its task's end.
_RESULT_S = 600.0
_NAME = NameTemplate("{index:08}-{task_id}.{ext}")
_KILLED = (
    "its worker was killed when this request may have been sent: a task may exist and be paid; it is sent again only "
    "with retry_ambiguous"
)


class DeliverLater(Exception):
    """The job is not at its end: the engine is to bring it again after `seconds`.

    Attributes:
        rest_s: The place at this worker is to take no other job for so long, as the next one would meet the same: no
            credits, no connection. The job itself does not wait: another worker may do it.
    """

    def __init__(self, seconds: float, reason: str, *, rest_s: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.rest_s = rest_s


class Deliverer:
    """Works on records with one client. Belongs to the client's loop.

    Args:
        lease_s: How long a record stays this worker's without a sign of life; `renew` gives one.
        pause_s: How long a place at the worker rests before what stopped a delivery is tried again: no credits, no
            connection, a full disk. Else the whole queue would go round and round, and images would be paid that
            nobody can save.

    Attributes:
        refusal: Why the server refuses the key; None: it does not. A worker whose key is refused ends, as it could
            only hold jobs that others can do.
    """

    def __init__(
        self, bfl: AsyncBFL, records: Records, storage: Storage, *, lease_s: float, pause_s: float = 30.0
    ) -> None:
        self.records = records
        self.storage = storage
        self.lease_s = lease_s
        self.worker: str = f"{socket.gethostname()}:{os.getpid()}"
        self.engine: Engine = bfl._engine
        self._bfl = bfl
        self._downloads = asyncio.Semaphore(_DOWNLOADS)
        # Threads of its own: those of anyio's default limiter may all be taken by calls that wait for a job.
        self._threads = anyio.CapacityLimiter(_DOWNLOADS)
        self._open: dict[int, Delivery] = {}
        # Deliveries that no job of the engine stands for, by their record.
        self._taken_over: dict[int, asyncio.Task[None]] = {}
        self._pause_s = pause_s
        self._stopped = asyncio.Event()
        self.refusal: AuthenticationError | None = None
        self._refused = asyncio.Event()
        self._probing = asyncio.Lock()
        self._probed_at = -math.inf

    async def renew(self) -> None:
        """Give a sign of life for all that is being worked on.

        Raises:
            LedgerError: It could not be written.
        """
        if self._open:
            await self.records.renew([each.claim for each in self._open.values()], self.lease_s)

    async def probe(self) -> bool:
        """Ask the server whether it takes the key, which costs nothing; return False if it refuses it.

        A submit's 403 alone does not say so: it may refuse one model. Where the question has no answer, the key
        counts as good.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._probing:
            # One that began later than this call was made answers it as well.
            if self.refusal is None and self._probed_at < asked_at:
                self._probed_at = loop.time()
                try:
                    await self._bfl.get("/v1/credits", timeout=_PROBE_S)
                except RefusedError as exc:
                    # A malformed key is a 422, whatever its words: this call has nothing else to be wrong about. What
                    # is no JSON is the word of a gateway, not of the API.
                    is_of_api = json_object((exc.body or "").encode()) is not None
                    if is_of_api and (isinstance(exc, AuthenticationError) or exc.status_code == 422):
                        self.refusal = AuthenticationError(
                            f"the worker's key is refused, so it takes no job: {exc}",
                            status_code=exc.status_code,
                            body=exc.body,
                        )
                        self.refusal.request_id = exc.request_id
                        self._refused.set()
                        self.stop()
                except BFLError:
                    pass
        return self.refusal is None

    async def probe_if_polls_are_refused(self) -> None:
        """Probe the key where the polls of a task were refused: a worker that sends nothing would not learn it."""
        entries = [each.entry for each in self._open.values()]
        if any(entry is not None and isinstance(entry.problem, AuthenticationError) for entry in entries):
            await self.probe()

    async def wait_refused(self) -> None:
        """Wait until the server was found to refuse the key."""
        await self._refused.wait()

    async def take_over(self) -> None:
        """Begin to bring home what workers left that died, beside the engine's jobs and in none of their places.

        The places may all be taken by jobs that wait for slots, and these slots may be those of the tasks to be
        brought home. Call it again and again: each call begins with what nobody holds at that moment.

        Raises:
            LedgerError: The database cannot be used.
        """
        room = _MOST_TAKEN_OVER - len(self._taken_over)
        for record_id in await self.records.abandoned(_MOST_TAKEN_OVER):
            if room <= 0 or self._stopped.is_set():
                return
            if record_id not in self._open and record_id not in self._taken_over:
                room -= 1
                task = self._taken_over[record_id] = new_task(self._deliver_taken_over(record_id))
                task.add_done_callback(partial(self._forget, record_id))

    async def _deliver_taken_over(self, record_id: int) -> None:
        try:
            await self.deliver(record_id)
        except (DeliverLater, LedgerError):
            # Whoever looks next goes on with it.
            pass
        except Exception:
            _log.exception("the delivery of a record failed by a bug", extra={"bfl_job": record_id})

    def _forget(self, record_id: int, _: asyncio.Task[None]) -> None:
        del self._taken_over[record_id]

    async def wait_taken_over(self) -> None:
        """Wait until the deliveries that `take_over` began have ended."""
        while self._taken_over:
            await asyncio.wait(list(self._taken_over.values()))

    def stop(self) -> None:
        """Send nothing more; what was sent is brought home."""
        self._stopped.set()
        for each in list(self._open.values()):
            if each.entry is not None:
                self.engine.stop(each.entry)

    def abandon(self) -> None:
        """End all deliveries; see the cancellation of `deliver`."""
        for each in self._open.values():
            each.runner.cancel()

    async def deliver(self, record_id: int) -> EntryState | None:
        """Bring one record as far as it goes; return the state in which it ended, None if there is no record.

        Raises:
            DeliverLater: It is not at its end.
            LedgerError: The database cannot be used.
        Cancellation: What is not sent is withdrawn. A POST on its way ends, and the task's id is committed,
            before this returns.
        """
        if record_id in self._open:
            raise DeliverLater(self.lease_s / 2, "it is being worked on in this process")
        runner = asyncio.current_task()
        assert runner is not None
        delivery = self._open[record_id] = Delivery(self.records, self.lease_s, record_id, runner)
        try:
            record = await self.records.claim(record_id, delivery.claim, self.worker, self.lease_s)
            if record is not None:
                return await self._go_on(delivery, record)
        finally:
            del self._open[record_id]
            if delivery.noting is not None:
                delivery.noting.cancel()
        known = await self.records.read([record_id])
        if known and known[0].state in OPEN:
            raise DeliverLater(self.lease_s / 2, f"it is being worked on by {known[0].worker}")
        return known[0].state if known else None

    async def _go_on(self, delivery: Delivery, record: JobRecord) -> EntryState:
        delivery.state = record.state
        if record.state is EntryState.SUBMITTING:
            return await self._end(delivery, EntryState.AMBIGUOUS, {"error": _KILLED})
        try:
            settlement = await self._settlement(delivery, record)
        except BaseException:
            if not delivery.is_on_its_way:  # else its lease ends by itself, after its POST
                with shielded():
                    await self._leave(delivery, delivery.state, delivery.facts())
            raise
        # After a cancellation this writes down what is known, and does nothing else.
        with shielded() if is_cancelled() else contextlib.nullcontext():
            return await self._settled(delivery, record, settlement)

    async def _settlement(self, delivery: Delivery, record: JobRecord) -> Settlement:
        """Send the request, or attach its task, and wait for the end."""
        if self._stopped.is_set():
            raise DeliverLater(0.0, "the worker is stopping")
        if record.task_id is not None:
            entry = self.engine.attach(
                record.task_id, polling_url=record.polling_url, model=record.model, cost=record.cost
            )
            delivery.is_noted = True
        else:
            row = LedgerEntry(record.id, "", record.state, record.model, record.fields)
            request = rebuild(row, catalog=self._bfl._life.settings.catalog)
            try:
                entry = self.engine.admit(request, priority=_PRIORITY, bounded=False, journal=delivery)
            except BFLError as exc:
                return Unsent(exc)
        delivery.entry = entry
        entry.heard = True  # the record tells
        try:
            await entry.wait_settled(None)
        except asyncio.CancelledError:
            self.engine.stop(entry)
            with shielded():
                await entry.wait_changed(lambda: not delivery.is_on_its_way)
                await delivery.flush()
            if entry.settlement is None:
                raise
            if isinstance(entry.settlement, Ready) and not is_own_id(entry.task_id or ""):
                raise
        assert entry.settlement is not None
        return entry.settlement

    async def _settled(self, delivery: Delivery, record: JobRecord, settlement: Settlement) -> EntryState:
        await delivery.flush()
        entry, facts = delivery.entry, delivery.facts()
        if isinstance(settlement, Ready):
            assert entry is not None
            return await self._bring_home(delivery, record, entry, facts)
        assert not isinstance(settlement, Answered)  # a job's request makes a task
        error = settlement.error
        facts["error"] = error_text(error)
        is_untrusted = isinstance(settlement, Lost) and isinstance(error, UntrustedURLError)
        if is_untrusted and await self._is_of_others(delivery, record, facts):
            raise DeliverLater(self._pause_s, str(error))
        # A URL that no client may follow is an end here, also of a task that was attached: its time is over.
        state = entry_state_of(settlement, is_attached=False)
        if state is not None and state not in OPEN:
            return await self._end(delivery, state, facts)
        if isinstance(settlement, Unsent):
            await self._leave(delivery, EntryState.QUEUED, None if settlement.withdrawn else facts)
            if not (settlement.withdrawn or is_cancelled()):
                raise await self._postponed(error, was_sent=entry is not None and entry.attempts > 0)
        else:
            # It goes on unfollowed: the next delivery asks again.
            await self._leave(delivery, delivery.state, facts)
            if not isinstance(error, ClientClosedError):
                await self.rest(self._pause_s)
        raise DeliverLater(0.0, str(error))

    async def _postponed(self, error: BFLError, *, was_sent: bool) -> DeliverLater:
        """Decide when a request is sent again that the server did not take, or that could not reach it."""
        if isinstance(error, AuthenticationError):
            if not await self.probe():
                return DeliverLater(0.0, str(error))
            if was_sent:
                # The key is good and may not do this: other jobs go on.
                return DeliverLater(_DENIED_S, str(error))
        return DeliverLater(0.0, str(error), rest_s=self._pause_s)

    async def _is_of_others(self, delivery: Delivery, record: JobRecord, facts: Mapping[str, Fact]) -> bool:
        """Leave a task whose URL this client must not follow; False: nobody can follow it any more.

        The mistake may lie in the settings of this worker. So it stays in flight as long as its result can exist,
        without a rest in which this worker would hold it.
        """
        entry = delivery.entry
        assert entry is not None
        if await self.records.is_older(record.id, entry.info.task_s + _RESULT_S):
            return False
        await self._leave(delivery, EntryState.SUBMITTED, facts)
        return True

    async def rest(self, seconds: float) -> None:
        """Sleep, unless the worker is stopped."""
        if is_cancelled():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _bring_home(
        self, delivery: Delivery, record: JobRecord, entry: Entry, facts: dict[str, Fact]
    ) -> EntryState:
        result = entry.result
        assert result is not None
        if is_own_id(result.task_id):
            return await self._keep(delivery, record, result, facts)
        loop = asyncio.get_running_loop()
        seen_at = loop.time()
        timeout = download_timeout_s(result.url, result.reply, waited_s=0.0)
        try:
            # A cancellation inside a storage or a download is one of their failures.
            async with self._downloads:
                with foreign_cancellation_as(_cut_off):
                    waited_s = loop.time() - seen_at
                    timeout = download_timeout_s(result.url, result.reply, waited_s=waited_s)
                    facts["file"], facts["sha256"] = await self._save(record, result, timeout)
        except HOPELESS as exc:
            facts["error"] = error_text(exc)
            if isinstance(exc, UntrustedURLError) and await self._is_of_others(delivery, record, facts):
                raise DeliverLater(self._pause_s, str(exc)) from exc
            return await self._end(delivery, EntryState.FAILED, facts)
        except Exception as exc:  # of the download, or whatever a storage raises
            _log.warning(
                "the image of task %s is not saved yet: %s",
                result.task_id,
                type(exc).__name__,
                extra={
                    "bfl_task_id": result.task_id,
                    "bfl_model": result.model,
                    "bfl_error": type(exc).__name__,
                },
            )
            await self._leave(delivery, EntryState.SUBMITTED, {**facts, "error": text_of(exc)})
            if not isinstance(exc, ClientClosedError):
                await self.rest(min(self._pause_s, timeout / 10))
            raise DeliverLater(0.0, "its image is not saved yet") from exc
        except BaseException:
            with shielded():
                await self._leave(delivery, EntryState.SUBMITTED, facts)
            raise
        return await self._end(delivery, EntryState.SAVED, facts)

    async def _keep(
        self, delivery: Delivery, record: JobRecord, result: Result, facts: dict[str, Fact]
    ) -> EntryState:
        """Store an image that came with the answer to its submit, and that no server keeps.

        A cancellation waits for that. After a kill the record is found as one that may have been sent.
        """
        keeping = new_task(self._keep_now(delivery, record, result, facts))
        try:
            await asyncio.wait([keeping])
        except asyncio.CancelledError:
            with shielded():
                await asyncio.wait([keeping])
            with contextlib.suppress(LedgerError, DeliverLater):
                keeping.result()
            raise
        return keeping.result()

    async def _keep_now(
        self, delivery: Delivery, record: JobRecord, result: Result, facts: dict[str, Fact]
    ) -> EntryState:
        if result.others:
            _log.warning(
                "a job keeps one image, and the answer to job %s had %d: send one job for each",
                record.id,
                1 + len(result.others),
                extra={"bfl_task_id": result.task_id, "bfl_model": result.model},
            )
        for pause_s in (*_WRITE_PAUSES_S, None):
            try:
                async with self._downloads:
                    with foreign_cancellation_as(_cut_off):
                        facts["file"], facts["sha256"] = await self._save(record, result, _RESULT_S)
                break
            # Of the bytes, which stay as they are, or whatever a storage raises.
            except Exception as exc:
                if pause_s is None or isinstance(exc, DownloadError):
                    facts["error"] = f"{text_of(exc)}; {NOT_KEPT}"
                    return await self._end(delivery, EntryState.FAILED, facts)
                await asyncio.sleep(pause_s)
        return await self._end(delivery, EntryState.SAVED, facts)

    async def _save(self, record: JobRecord, result: Result, timeout: float) -> tuple[str, str]:
        """Fetch an image and store it; return where it is, and its SHA-256."""
        storage = self.storage
        place = NewImage(storage.parts, result.task_id) if isinstance(storage, FileStorage) else None
        download = await result._fetch(timeout, place)
        name = _NAME.render(
            index=record.id, prompt="", model=record.model, seed=None, key="",
            task_id=result.task_id, suffix=download.suffix,
        )  # fmt: skip
        if not isinstance(storage, FileStorage):
            file = await storage.save(name, download.data)
            return file, await anyio.to_thread.run_sync(_sha256, download.data, limiter=self._threads)
        try:
            part, sha256 = await anyio.to_thread.run_sync(download.finish, limiter=self._threads)
            return await storage.save_file(name, part, sha256), sha256
        finally:
            result._discard(download)

    async def _end(self, delivery: Delivery, state: EntryState, facts: Mapping[str, Fact]) -> EntryState:
        """Write down an end; what cannot be written is brought again."""
        for pause_s in (*_WRITE_PAUSES_S, None):
            try:
                if await self._write(delivery, state, facts):
                    return state
                raise DeliverLater(self.lease_s / 2, "another worker took it over")
            except LedgerError:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError  # pragma: no cover

    async def _leave(self, delivery: Delivery, state: EntryState, facts: Mapping[str, Fact] | None) -> None:
        """Give a record back that is not at its end. Not written: its lease ends by itself."""
        with contextlib.suppress(LedgerError):
            await self._write(delivery, state, facts)

    async def _write(self, delivery: Delivery, state: EntryState, facts: Mapping[str, Fact] | None) -> bool:
        """Give a record its state. A cancellation waits for that: else what is known would be lost again."""
        writing = new_task(self.records.leave(delivery.record_id, delivery.claim, state, facts))
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError:
            with shielded():
                await asyncio.wait([writing])
            with contextlib.suppress(LedgerError):
                writing.result()
            raise
        return writing.result()


def _cut_off() -> RuntimeError:
    return RuntimeError("something that it waited for was cancelled")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


__all__ = ["DeliverLater", "Deliverer"]
