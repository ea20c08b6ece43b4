"""`Batch`: many requests that survive anything and are paid once.

A batch is a ledger, a client, and a folder for the images. Requests are added to the ledger first and sent from
there, so that a run and its resumption are the same code: read what is queued, send it; read what is in flight,
follow it.

What is durable before what:

    entry queued  ->  "submitting" durable  ->  POST leaves  ->  task id durable  ->  first poll  ->  Ready
                  ->  image flushed, gets its name  ->  "saved" durable  ->  line in the manifest

So a process that is killed leaves each entry in one of four ways. Queued: nothing was sent. Submitting: it may have
been sent, and nobody can ask; it is reported as ambiguous and left alone. Submitted or ready: it is attached, and
paid once. Saved: it is done.

"submitting" must be durable before its POST leaves, and a freed slot would idle for the flush. On a fast disk that
is about a millisecond in a slot's cycle of seconds, which is nothing: the mark is written when the request has its
slot, and those that are granted together share one flush. Where flushes take longer (a hard disk: tens of
milliseconds, as measured while the run goes on), the next request in line is marked ahead, while the slots are still
taken: a freed slot then finds its request marked, and the POST leaves in the same turn of the loop. Marking ahead has
a price: a kill makes what was marked and not sent ambiguous as well. So it is one request (`_AHEAD`), not a slot's
worth, and not done without need: forty kills in a row left 36 requests in doubt for nothing when it was
always done, and 1 since. A clean stop takes the mark back.

Marking only what was really sent, by a second and unflushed write, would tell the two apart after a kill, but not
after a power cut, and would need to know which it was: not worth one entry.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeGuard, TypeVar, TypeVarTuple, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from bfl_async._cancellation import foreign_cancellation_as, shielded
from bfl_async._client import AsyncBFL
from bfl_async._config import ACCOUNT, is_loopback
from bfl_async._files import Digests
from bfl_async._handle import Entry
from bfl_async._incoming import Download
from bfl_async._manifest import GALLERY, MANIFEST, ListedImages, Manifest, NewImage, name_new, remove_parts
from bfl_async._naming import DEFAULT_TEMPLATE, NameTemplate
from bfl_async._plan import IdSet, Plan, Planner, Share, is_due
from bfl_async._tasks import new_task
from bfl_async._text import printable
from bfl_async._wire import expiry_of
from bfl_async.errors import (
    AmbiguousSubmitError,
    AuthenticationError,
    BFLError,
    BudgetExceededError,
    ClientClosedError,
    ConfigError,
    ConnectError,
    DownloadError,
    InsufficientCreditsError,
    InvalidRequestError,
    LedgerError,
    ResultExpiredError,
    SaveError,
    UntrustedURLError,
)
from bfl_async.ledger.sqlite import SQLiteLedger
from bfl_async.models import CATALOG, ImageRequest, PassThroughRequest, as_request, request
from bfl_async.models.media import FileWithin
from bfl_async.result import Result
from bfl_async.types import (
    JSON,
    EntryState,
    Fact,
    Failed,
    Ledger,
    LedgerEntry,
    Lost,
    Moderated,
    NewEntry,
    Ready,
    Receipt,
    Reply,
    ResultOrError,
    State,
    Unsent,
)

_log = logging.getLogger("bfl_async")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Given: TypeAlias = "ImageRequest | tuple[str, ImageRequest]"
Source: TypeAlias = "Iterable[Given] | AsyncIterable[Given]"

_AHEAD = 1  # requests that are marked as submitting before they have a slot, where flushes are slow
_SLOW_FLUSH_S = 0.010  # 0.6 % of a slot's cycle with the quickest model
_STEP = 32  # entries that are taken in before others have their turn in the loop
_READ = 256  # entries that are read from the ledger at a time
_CHUNK = 64  # requests that are added in one step of the loop
_LARGE_CHARS = 256 * 1024  # a request from here on is worked on in a thread, and written by itself
_UNFLUSHED = 256  # of a live source, requests that are added and not yet durable
_BACKLOG = 64  # finished entries, beside the window, whose image is on its way or that nobody has taken yet
_PRIORITY = 10  # a batch stands behind single requests, as a stream does
_OUTAGE_S = 3600.0  # for so long no connection can be made before a run that worked gives up
_CLOSE_S = 10.0  # for POSTs on their way when the batch is closed
_LEAST_DOWNLOAD_S, _MOST_DOWNLOAD_S = 60.0, 600.0
# A field that names a file is kept as {"$path": name, "$sha256": digest}. The digest is what it is known by. One that
# must lie in a folder has the folder's name as well, and a run that reads it days later checks it again.
_PATH, _DIGEST, _WITHIN = "$path", "$sha256", "$within"
# How the notes of a ledger name what is known of input files.
_FILE_NOTE = "file "

_KILLED = (
    "the run was killed when this request may have been sent: a task may exist and be paid; it is sent again only "
    "with retry_ambiguous"
)
_UNKNOWN = (
    "the ledger says that this request was accepted, and an earlier run could not record its task: the task may be "
    "paid; the request is sent again only with retry_ambiguous"
)


@dataclass(frozen=True, slots=True)
class BatchOutcome(ResultOrError[Result]):
    """How one entry of a batch ended in this run.

    Attributes:
        index: Its place in the ledger, from 0.
        key: Its key in the ledger.
        name: The caller's own id, where one was given.
        state: Where it stands now. `saved` (without a folder: `ready`) is a success; `submitted` and `ready`
            beside an error are tried again by the next run, at no cost.
        request: The request.
        task_id: The server's id.
        result: The result; None where there is none.
        file: The image, where it was saved.
        error: What went wrong.
    """

    index: int
    key: str
    name: str | None
    state: EntryState
    request: ImageRequest = field(repr=False)
    task_id: str | None
    result: Result | None
    file: Path | None
    error: BFLError | None


class Batch:
    """A durable run of many requests.

    ```python
    async with Batch.open("out/run.db", bfl, save_to="out") as batch:
        await batch.add(request("flux-dev", prompt=line) for line in lines)
        async for outcome in batch.run():
            print(outcome.index, outcome.state, outcome.file)
    ```

    The same again resumes: what is in the ledger is not added twice, what is done is not done again, what is in
    flight is followed to its end.
    """

    def __init__(
        self,
        ledger: Ledger,
        bfl: AsyncBFL,
        *,
        save_to: Path | None,
        name: NameTemplate,
        retry: tuple[EntryState, ...],
        downloads: int,
        and_earlier: bool,
    ) -> None:
        self._ledger = ledger
        self._bfl = bfl
        self._folder = save_to
        self._template = name
        self._retry = retry
        self._and_earlier = and_earlier
        # True once all entries of the states in `_retry` went back to the queue, which happens once per batch.
        self._has_requeued = False
        # Entries that were asked for with add(), and of these, in order, those that a run has to take up. Written by
        # _ask_for; a run takes from `_wanted`. Both are used only where earlier input is not sent as well.
        self._asked = IdSet()
        # Entries that were in flight when a run of this session took them up. One that ends as failed or moderated
        # here is not sent again here. Written by a run.
        self._attached = IdSet()
        self._wanted: deque[int] = deque()
        # Fields of entries as they were given last: their files may have moved. Only of entries that will be sent.
        self._places: dict[int, Mapping[str, JSON]] = {}
        self._digests = Digests()
        self._downloads = asyncio.Semaphore(downloads)
        # Threads of the batch's own: those of anyio's default limiter may all be taken by calls that wait for this
        # batch. One for each image that is saved, and one each for the manifest and for large requests.
        self._threads = anyio.CapacityLimiter(downloads + 2)
        self._parts: Path | None = None
        # Images of a lost ledger, or of another one in the same folder.
        self._listed: ListedImages | None = None
        self._lister: _Lister | None = None
        self._counts: Counter[EntryState] = Counter()
        self._killed: list[int] = []  # ids that were found as submitting, until a run has told of them
        self._adding = 0
        self._additions = 0  # how often something was added
        self._added: asyncio.Future[None] | None = None  # a run's wait for more
        self._run: BatchRun | None = None
        self._is_open = False
        self._opened = False
        # Held while it is closed, so that every call of aclose() returns when it is.
        self._closing = asyncio.Lock()

    @classmethod
    def open(
        cls,
        ledger: str | os.PathLike[str] | Ledger,
        bfl: AsyncBFL,
        *,
        save_to: str | os.PathLike[str] | None = None,
        name: str = DEFAULT_TEMPLATE,
        retry_ambiguous: bool = False,
        retry_failed: bool = False,
        retry_moderated: bool = False,
        and_earlier: bool = True,
        downloads: int = 8,
    ) -> Batch:
        """Return a batch for an `async with`, which opens it.

        Args:
            ledger: The ledger's file, made when it is missing; or a `Ledger`.
            bfl: An open client. The batch shares its slots with whatever else it does.
            save_to: The folder for images and `manifest.jsonl`, made when it is missing. None: nothing is
                downloaded, and an entry ends as `ready`.
            name: The images' names, of `index slug model seed task_id key ext`; see `NameTemplate`. A file that
                is there already is never overwritten: a number is added.
            retry_ambiguous: Send requests again of which nobody knows whether they were taken. Some are then
                paid twice.
            retry_failed: Send failed requests again; those whose result was lost are paid again.
            retry_moderated: Send moderated requests again.
            and_earlier: Send also what is queued in the ledger, or is to be retried, and was not given to `add` in
                this session: what another program, or an earlier version of the input, left there. False sends only
                what `add` is given. Tasks in flight are fetched in both cases, since they cost nothing.
            downloads: Images that are fetched at a time. Each holds at most about 1 MiB of memory.
        Raises:
            ConfigError: A value is wrong.
        """
        if isinstance(downloads, bool) or not isinstance(downloads, int) or downloads < 1:
            raise ConfigError(f"downloads must be a whole number from 1 up, not {downloads!r}")
        folder = None if save_to is None else Path(save_to)
        wanted = {
            EntryState.AMBIGUOUS: retry_ambiguous,
            EntryState.FAILED: retry_failed,
            EntryState.MODERATED: retry_moderated,
        }
        return cls(
            SQLiteLedger(ledger) if isinstance(ledger, str | os.PathLike) else ledger,
            bfl,
            save_to=folder,
            name=NameTemplate(name, reserved=reserved_names(folder, ledger)),
            retry=tuple(state for state, is_wanted in wanted.items() if is_wanted),
            downloads=downloads,
            and_earlier=and_earlier,
        )

    # --- opening and closing ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the ledger, and settle what a killed run left.

        Raises:
            LedgerLockedError: Another run holds the ledger.
            LedgerVersionError, LedgerError: It cannot be used.
            SaveError: The folder cannot be used.
            ConfigError: The ledger was begun with another API; or the batch was opened before.
        """
        if self._opened:
            raise ConfigError("a batch is opened once: make a new one with Batch.open")
        self._opened = True
        self._bfl.statistics()  # raises where the client is not open
        try:
            await self._ledger.open()
            await self._prepare()
        except BaseException:
            with shielded():
                await self._ledger.aclose()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _prepare(self) -> None:
        ledger = self._ledger
        with self._reading():
            notes = await ledger.notes()
        home = home_of(self._bfl._base_url)
        if notes.get("home", home) != home:
            raise ConfigError(
                f"the ledger {ledger.shown!r} was begun with {notes['home']}, and this client talks to {home}: "
                "take another ledger and folder"
            )
        if self._folder is not None:
            self._listed = await self._in_thread(read_listed, self._folder, notes)
        if "home" not in notes:
            listed = {} if self._listed is None else {_LISTED_BEFORE: str(self._listed.size)}
            await self._durable(ledger.note({"home": home, **listed}))
        self._killed = await self._durable(ledger.reset(EntryState.SUBMITTING, EntryState.AMBIGUOUS, _KILLED))
        self._digests = Digests(known_files(notes))
        with self._reading():
            self._counts = Counter(await ledger.counts())
        if self._folder is not None:
            name = Path(ledger.shown).name
            self._parts = self._folder / f".parts-{name}"
            await self._in_thread(_prepare_folder, self._folder, self._parts)
            self._lister = _Lister(self, Manifest(self._folder), self._fail)
            await self._lister.open(notes)

    async def aclose(self) -> None:
        """Stop; let POSTs on their way end, and write what they brought. Idempotent, from any coroutine.

        Tasks in flight stay in the ledger as submitted: the next run brings them home.

        Cancellation: The ledger is closed all the same; a POST on its way is then ambiguous.
        """
        async with self._closing:
            if not self._is_open:
                return
            self._is_open = False
            try:
                if self._run is not None:
                    await self._run.aclose()
            finally:
                # Bounded by the disk, and carried through also where the scope around the caller is cancelled: the
                # lock on the ledger is given back before this returns.
                with shielded():
                    try:
                        if self._lister is not None:
                            await self._lister.aclose()
                    finally:
                        await self._ledger.aclose()
                        if self._parts is not None:
                            await self._in_thread(remove_parts, self._parts)

    def _reading(self) -> AbstractContextManager[None]:
        """Within: a call to the ledger that ends as cancelled, though the caller is not, is a failed call."""
        return foreign_cancellation_as(self._cut_off)

    async def _durable(self, change: asyncio.Future[T]) -> T:
        """Wait until a change of the ledger is durable; return its result.

        Raises:
            LedgerError: It was not written, or the ledger has given it up.
        Cancellation: Ends the wait. The change is written all the same, so the future is left alone.
        """
        change.add_done_callback(_retrieve)
        if not change.done():
            await asyncio.wait([change])
        if change.cancelled():
            raise self._cut_off()
        return change.result()

    def _cut_off(self) -> LedgerError:
        return LedgerError(f"the ledger {self._ledger.shown!r} cannot be used: a call to it was cancelled")

    async def _in_thread(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)

    def _check(self) -> None:
        if not self._is_open:
            raise ClientClosedError("the batch is not open: use `async with Batch.open(...)`")
        self._bfl._check()  # also that this is its loop and thread

    # --- requests ---------------------------------------------------------------------------------------

    async def add(self, requests: Source) -> int:
        """Put requests into the ledger; return how many of them were new.

        A request is known by its model, its fields, and an id of the caller's own where one is given, as in
        `("row 17", request)`. Of a file that is given as a `Path`, the content counts and not the name: another
        image at the same path is another request, and the same image at another path is the same one. The same
        request twice within one call is two images; the same call again adds none. May go on while `run()` is
        iterated, which then ends when this has.

        Args:
            requests: Any iterable or async iterable, read lazily.
        Raises:
            InvalidRequestError: An item is not a request, or names a file that cannot be read; those before it are
                added.
            RuntimeError: The source was cancelled from elsewhere; what it gave before is added.
            LedgerError: They could not be written.
            ClientClosedError: The batch is not open.
        Cancellation: What was written stays.
        """
        self._check()
        self._adding += 1
        try:
            # What else of ours is awaited within has errors of its own.
            with foreign_cancellation_as(lambda: RuntimeError("the source of the requests was cancelled")):
                return await self._add(requests, {})
        finally:
            self._adding -= 1
            self._wake_run()

    async def _add(self, requests: Source, seen: dict[int, int]) -> int:
        if isinstance(requests, AsyncIterable):
            return await self._add_live(requests, seen)
        new = 0
        chunk: list[NewEntry] = []
        for item in requests:
            chunk.append(await self._make_entry(item, seen))
            if len(chunk) >= _CHUNK or sum(len(one.fields) for one in chunk[-2:]) >= _LARGE_CHARS:
                new += await self._put(chunk)
                chunk = []
        return new + (await self._put(chunk) if chunk else 0)

    async def _add_live(self, requests: AsyncIterable[Given], seen: dict[int, int]) -> int:
        """Each is written as it comes: the next may be long in coming."""
        new = 0
        unflushed: deque[asyncio.Task[int]] = deque()
        try:
            async for item in requests:
                entry = await self._make_entry(item, seen)
                unflushed.append(new_task(self._put([entry])))
                while unflushed and (len(unflushed) >= _UNFLUSHED or unflushed[0].done()):
                    new += await unflushed.popleft()
        finally:
            with shielded():
                added = await asyncio.gather(*unflushed)
        return new + sum(added)

    async def _make_entry(self, item: object, seen: dict[int, int]) -> NewEntry:
        """Make the entry of a request; in a thread if its files have to be read, or its JSON takes a while."""
        wanted = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if isinstance(wanted, ImageRequest):
            given = [getattr(wanted, name) for name in wanted.model_fields_set]
            size = sum(len(value) for value in given if isinstance(value, str | bytes))
            if size >= _LARGE_CHARS or any(map(_has_path, given)):
                return await self._in_thread(_new_entry, item, seen, self._digests.of)
        return _new_entry(item, seen, self._digests.of)

    async def _put(self, entries: list[NewEntry]) -> int:
        await self._adopt(entries)
        adding = self._ledger.add(entries)
        # A callback, since the entries are added also when the caller is cancelled meanwhile.
        adding.add_done_callback(self._note_added)
        added = await self._durable(adding)
        if not self._and_earlier or any(_PATH in entry.fields for entry in entries):
            await self._ask_for(entries)
        if learnt := self._digests.take_new():
            await self._durable(
                self._ledger.note({_FILE_NOTE + name: facts for name, facts in learnt.items()})
            )
        return added

    async def _ask_for(self, entries: list[NewEntry]) -> None:
        """Let a run take up the entries of these requests, as far as they are due."""
        with self._reading():
            found = await self._ledger.find([entry.key for entry in entries])
        again: dict[EntryState, list[int]] = {}
        for entry in entries:
            entry_id, state = found.get(entry.key, (0, EntryState.SAVED))
            if not entry_id or entry_id in self._attached or not is_due(state, self._retry):
                continue
            if not self._asked.add(entry_id):
                continue
            if _PATH in entry.fields:
                self._places[entry_id] = json.loads(entry.fields)
            if self._and_earlier:
                continue
            if state is EntryState.QUEUED:
                self._wanted.append(entry_id)
            else:
                again.setdefault(state, []).append(entry_id)
        for state, ids in again.items():
            self._wanted.extend(await self._requeue(state, ids))
        self._additions += 1
        self._wake_run()

    async def _requeue(self, state: EntryState, ids: list[int] | None = None) -> list[int]:
        """Put entries back into the queue: these, or all of the state."""
        if ids is None:
            moved = await self._durable(self._ledger.reset(state, EntryState.QUEUED))
        else:
            moved = await self._durable(self._ledger.requeue(state, ids))
        self._counts[state] -= len(moved)
        self._counts[EntryState.QUEUED] += len(moved)
        if state is EntryState.AMBIGUOUS and self._killed:
            again = set(moved)
            self._killed = [entry_id for entry_id in self._killed if entry_id not in again]
        return moved

    async def _requeue_earlier(self) -> None:
        """Put all entries of the states that are retried back into the queue, where earlier input is sent as well.

        Those that were in flight when this session took them up stay as they are.
        """
        if not self._and_earlier or self._has_requeued:
            return
        for state in self._retry:
            if not self._attached:
                await self._requeue(state)
                continue
            after = 0
            while True:
                with self._reading():
                    rows = await self._ledger.read([state], after=after, most=_READ)
                if not rows:
                    break
                after = rows[-1].id
                await self._requeue(state, [row.id for row in rows if row.id not in self._attached])
        self._has_requeued = True

    async def plan(self, requests: Source = ()) -> Plan:
        """Return what `add(requests)` and then `run()` will send, without changing or sending anything.

        A run sends this and nothing more; a budget, an error or `stop()` can end it before. `plan.total` has the
        number of submits, their cost as far as prices are known, and how many have no known price.

        Args:
            requests: As for `add`. Read to its end, so an iterator cannot be added afterwards; give a list, or make
                it again.
        Raises:
            InvalidRequestError: An item is not a request, or names a file that cannot be read.
            RuntimeError: The source was cancelled from elsewhere.
            LedgerError: The ledger cannot be read.
            ClientClosedError: The batch is not open.
        Cancellation: Nothing was changed.
        """
        self._check()
        retry = () if self._and_earlier and self._has_requeued else self._retry
        planner = Planner(retry, and_earlier=self._and_earlier)
        seen: dict[int, int] = {}
        chunk: list[tuple[str, ImageRequest]] = []

        async def ask() -> None:
            with self._reading():
                found = await self._ledger.find([key for key, _ in chunk])
            found = with_listed(found, await self._find_listed([key for key, _ in chunk]))
            await self._in_thread(count_asked, planner, chunk, found, self._spent)
            chunk.clear()

        with foreign_cancellation_as(lambda: RuntimeError("the source of the requests was cancelled")):
            async for item in _each(requests):
                entry = await self._make_entry(item, seen)
                chunk.append((entry.key, as_request(item[1] if isinstance(item, tuple) else item)))
                if len(chunk) >= _CHUNK:
                    await ask()
            if chunk:
                await ask()
        after = 0
        while True:
            with self._reading():
                rows = await self._ledger.read(planner.states, after=after, most=_READ)
            if not rows:
                break
            after = rows[-1].id
            await self._in_thread(count_left, planner, rows, self._digests, self._asked, (self._attached,))
        return planner.plan(sum(self._counts[state] for state in self._flying))

    @property
    def _spent(self) -> tuple[IdSet, ...]:
        """Entries that this session has worked on, which a plan does not count as retried."""
        return (self._asked, self._attached)

    @property
    def _flying(self) -> list[EntryState]:
        """The states of entries that are fetched at no cost."""
        return [EntryState.SUBMITTED] if self._folder is None else [EntryState.SUBMITTED, EntryState.READY]

    async def _adopt(self, entries: list[NewEntry]) -> None:
        """Add those as saved whose image was made and listed before this ledger began: they are paid."""
        rows = await self._find_listed([entry.key for entry in entries])
        made = [replace(entry, saved=saved_facts(rows[entry.key])) for entry in entries if entry.key in rows]
        if made:
            self._counts[EntryState.SAVED] += await self._durable(self._ledger.add(made))

    async def _find_listed(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, JSON]]:
        """Return the manifest's lines of these requests, as far as they were made before this ledger began."""
        return await self._in_thread(self._listed.find, keys) if self._listed else {}

    def _note_added(self, adding: asyncio.Future[int]) -> None:
        if not adding.cancelled() and adding.exception() is None and (added := adding.result()):
            self._counts[EntryState.QUEUED] += added
            self._additions += 1
            self._wake_run()

    def _wake_run(self) -> None:
        if self._added is not None:
            _wake(self._added)

    def counts(self) -> Mapping[str, int]:
        """Return how many entries stand in each state."""
        return {state.value: self._counts[state] for state in EntryState}

    # --- the run ----------------------------------------------------------------------------------------

    def run(self, *, sends_after: asyncio.Future[None] | None = None) -> BatchRun:
        """Return an async iterator over the outcomes, one for each entry that ends in this run.

        It ends when nothing is queued or in flight. What stopped it before that, such as 402, is raised after
        the last outcome; requests that were not sent stay queued, for the next run.

        Args:
            sends_after: Nothing is sent before this is done. Tasks in flight are fetched meanwhile, since their
                results end after some minutes and cost nothing: so a long plan does not hold them up. To send
                nothing at all, call `stop()`.
        Raises:
            ClientClosedError: The batch is not open.
            ConfigError: It has a run already.
        """
        self._check()
        if self._run is not None and not self._run.ended:
            raise ConfigError("the batch has a run already: iterate that one to its end")
        self._run = BatchRun(self, sends_after)
        return self._run

    def stop(self) -> None:
        """Send nothing more; go on iterating for what was sent. Idempotent."""
        if self._run is not None:
            self._run.stop()

    def _fail(self, error: LedgerError | SaveError) -> None:
        if self._run is not None:
            self._run.fail(error)


class _Item:
    """One entry while a run works on it. It is the scheduler's journal of it."""

    __slots__ = (
        "_durable_state",
        "_is_accepted",
        "_last_change",
        "_marked_at",
        "_unwritten",
        "batch_run",
        "entry",
        "fields",
        "file",
        "is_attached",
        "mark",
        "request",
        "row",
        "state",
    )

    def __init__(self, batch_run: BatchRun, row: LedgerEntry) -> None:
        self.batch_run: BatchRun = batch_run
        self.row: LedgerEntry = row
        # Its files may have moved since it was added.
        self.fields: Mapping[str, JSON] = batch_run.batch._places.pop(row.id, row.fields)
        self.request: ImageRequest = rebuild(row, self.fields, given=_given)
        self.entry: Entry | None = None
        self.state: EntryState = row.state  # as the ledger has it once it is through with its queue
        self.is_attached: bool = row.task_id is not None
        self.mark: asyncio.Future[None] | None = None  # done when "submitting" is durable
        self._marked_at = 0.0
        self.file: Path | None = None
        # The state of the newest change that is durable.
        self._durable_state: EntryState = row.state
        # Facts of changes that are not durable, or not yet: each later change writes them as well.
        self._unwritten: dict[str, Fact] = {}
        self._last_change: asyncio.Future[None] | None = None
        self._is_accepted = False

    @property
    def index(self) -> int:
        """The entry's place in the ledger, from 0."""
        return self.row.id - 1

    @property
    def prompt(self) -> str:
        """The prompt as it was asked for."""
        prompt = self.row.fields.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    @property
    def is_on_its_way(self) -> bool:
        """True while a POST is out, or what it brought is not durable."""
        if self.entry is None:
            return False
        return self.entry.state is State.SUBMITTING or (
            self.entry.state is State.SUBMITTED and not (self._is_accepted or self.is_attached)
        )

    @property
    def is_unrecorded(self) -> bool:
        """True if the task exists and the ledger does not have its id."""
        return self._is_accepted and "task_id" in self._unwritten

    def change(self, state: EntryState, facts: Mapping[str, Fact] | None = None) -> asyncio.Future[None]:
        """Give the entry a state, and write all facts that are not durable yet.

        A change builds on those before it, and each may fail alone. A later state without the facts of an earlier
        one, such as "ready" without the task's id, could not be continued by any run.
        """
        self._move_to(state)
        self._unwritten |= facts or {}
        written = dict(self._unwritten)
        change = self.batch_run.batch._ledger.change(self.row.id, state, written)
        self._last_change = change
        if change.done():
            self._note_written(change, state, written)
        else:
            change.add_done_callback(lambda done: self._note_written(done, state, written))
        return change

    def _note_written(
        self, change: asyncio.Future[None], state: EntryState, facts: Mapping[str, Fact]
    ) -> None:
        if change.cancelled() or change.exception() is not None:
            if change is self._last_change:
                # The counts and the outcome report what the ledger has, not what it should have.
                self._move_to(self._durable_state)
            return
        self._durable_state = state
        self._unwritten = {
            name: value for name, value in self._unwritten.items() if facts.get(name, self) is not value
        }

    def _move_to(self, state: EntryState) -> None:
        counts = self.batch_run.batch._counts
        counts[self.state] -= 1
        counts[state] += 1
        self.state = state

    async def wait_written(self) -> None:
        """Wait until it is known which of the changes are durable."""
        if self._last_change is not None and not self._last_change.done():
            await asyncio.wait([self._last_change])

    def show_doubt(self) -> None:
        """Count the entry as the next run will find it, if the ledger knows no more than that it may be sent."""
        if self.state is EntryState.SUBMITTING:
            self._durable_state = EntryState.AMBIGUOUS
            self._move_to(EntryState.AMBIGUOUS)

    def settled(self, entry: Entry) -> None:
        """Pass on that the scheduler is through with it."""
        self.batch_run.settled(self, entry)

    def mark_submitting(self) -> None:
        """Begin to write that it may have been sent."""
        if self.mark is None:
            self._marked_at = time.perf_counter()
            self.mark = self.change(EntryState.SUBMITTING)
            self.mark.add_done_callback(self._flushed)

    def _flushed(self, mark: asyncio.Future[None]) -> None:
        _retrieve(mark)
        self.batch_run.note_flush(time.perf_counter() - self._marked_at)

    async def submitting(self) -> None:
        """See `Journal.submitting`."""
        self.batch_run.reached(self)
        mark = self.mark
        assert mark is not None
        try:
            # Meanwhile a stop may withdraw the request, which takes the mark back.
            await self.batch_run.batch._durable(mark)
        except LedgerError as exc:
            raise exc.fresh() from exc.__cause__

    def queued(self) -> None:
        """See `Journal.queued`."""
        self.mark = None
        self.change(EntryState.QUEUED)

    async def submitted(self, receipt: Receipt) -> None:
        """See `Journal.submitted`."""
        self.batch_run.note_accepted()
        self._is_accepted = True
        written = self.change(
            EntryState.SUBMITTED,
            {
                "task_id": receipt.task_id,
                "polling_url": receipt.polling_url,
                "cost": receipt.cost,
                "submitted_at": time.time(),
                "error": None,
            },
        )
        try:
            await self.batch_run.batch._durable(written)
        except LedgerError as error:
            # It is followed all the same, and a later change may still record it; otherwise it is ambiguous.
            self.show_doubt()
            _log.warning(
                "task %s was accepted and could not be recorded: %s",
                receipt.task_id,
                error,
                extra={"bfl_task_id": receipt.task_id, "bfl_error": type(error).__name__},
            )
            self.batch_run.fail(error)
        finally:
            self.batch_run._touch()


class BatchRun:
    """The outcomes of one run; an async iterator. See `Batch.run`.

    Every step that changes something is synchronous and on the loop: the feeder takes rows in, the entries'
    callbacks settle them, a coroutine for each finished one writes down what became of it.
    """

    def __init__(self, batch: Batch, sends_after: asyncio.Future[None] | None = None) -> None:
        self.batch = batch
        self._sends_after = sends_after
        self._is_first = batch._run is None
        # Entries that this run has taken from the queue: none is taken twice.
        self._taken_up = IdSet()
        self._scheduler = batch._bfl._check()
        pool = batch._bfl.statistics().pools.get(ACCOUNT)
        self._window = 2 * (pool.limit if pool is not None else 12)
        self._backlog = max(_BACKLOG, self._window)
        self._feeder: asyncio.Task[None] | None = None
        self._feeding = True
        self._open: dict[_Item, None] = {}  # taken in, not settled
        self._line: deque[_Item] = deque()  # of these, in order, those that are not about to be sent
        self._finishing: set[asyncio.Task[None]] = set()
        self._held = 0  # outcomes that were begun and not handed out
        self._ready: deque[BatchOutcome] = deque()
        self._watchers: set[asyncio.Future[None]] = set()
        self._flush_s = 0.0  # how long a mark takes to be durable, the newest weighing most
        self._has_accepted = False
        self._is_stopped = False
        self._is_left = False
        self._error: BaseException | None = None  # raised after the last outcome
        self.ended: bool = False

    # --- the consumer -----------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        """Wait for the next outcome.

        Raises:
            InsufficientCreditsError, AuthenticationError, BudgetExceededError, ConnectError: Why the run stopped
                before its end; what was not sent stays queued.
            LedgerError, SaveError: The ledger or the folder cannot be written.
            ClientClosedError: The client or the batch was closed.
        Cancellation: Ends this wait; no outcome is lost, the next call returns it.
        """
        if self._feeder is None and not (self._is_stopped or self._is_left):
            self._feeder = new_task(self._feed())
            self._feeder.add_done_callback(self._fed)
        while not self._ready:
            if self._is_left or self._is_through():
                await self._end()
            await self._wait_touched()
        self._held -= 1
        outcome = self._ready.popleft()
        self._touch()  # there is room for another
        return outcome

    def _is_through(self) -> bool:
        return not (self._open or self._held or (self._feeding and self._feeder is not None))

    async def _end(self) -> None:
        if not (self.ended or self._is_left) and self.batch._lister is not None:
            try:
                await self.batch._lister.flush()
            except BFLError as exc:
                self._error = self._error or exc
        self.ended = True
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def _wait_touched(self) -> None:
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.add(watcher)
        try:
            await watcher
        finally:
            self._watchers.discard(watcher)

    def _touch(self) -> None:
        for watcher in self._watchers:
            _wake(watcher)

    # --- the feeder -------------------------------------------------------------------------------------

    def _fed(self, feeder: asyncio.Task[None]) -> None:
        # A callback, since a coroutine that is cancelled before its first step never runs.
        self._feeding = False
        if feeder.cancelled():
            if not (self._is_stopped or self._is_left):
                self._halt(_ended_from_elsewhere())
        elif (exc := feeder.exception()) is not None:
            self._halt(exc)
        self._touch()

    async def _feed(self) -> None:
        batch = self.batch
        retries_killed = EntryState.AMBIGUOUS in batch._retry
        if not retries_killed:
            await self._report_killed()
        if self._sends_after is None:
            # Before anything ends in this run: what fails from here on is not sent again by it.
            await batch._requeue_earlier()
        await self._take_rows(batch._flying, self._attach)
        if self._sends_after is not None:
            await asyncio.shield(self._sends_after)
            await batch._requeue_earlier()
        if not (batch._and_earlier or self._is_first):
            # What an earlier run of this batch took up and did not send.
            await self._take_rows([EntryState.QUEUED], self._admit, only=batch._asked)
        after = 0
        while True:
            # Looked at before the reading, so that what is added meanwhile is not missed.
            is_last, additions = batch._adding == 0, batch._additions
            if batch._and_earlier:
                after = await self._take_rows([EntryState.QUEUED], self._admit, after)
            else:
                await self._take_wanted()
            if is_last:
                break
            if batch._adding and batch._additions == additions:
                batch._added = asyncio.get_running_loop().create_future()
                await batch._added
        if retries_killed:
            # Those that this input does not ask for.
            await self._report_killed()

    async def _report_killed(self) -> None:
        """Hand out what may have been sent when an earlier run was killed."""
        batch = self.batch
        while batch._killed:
            await self._wait_room()
            with batch._reading():
                (row,) = await batch._ledger.read(tuple(EntryState), after=batch._killed[0] - 1, most=1)
            del batch._killed[0]
            self._held += 1
            self._hand_out(_Item(self, row), error=AmbiguousSubmitError(row.error or _KILLED))

    async def _take_rows(
        self,
        states: list[EntryState],
        take: Callable[[_Item], Entry],
        after: int = 0,
        *,
        only: IdSet | None = None,
    ) -> int:
        """Take in all entries behind `after` that are in these states; return the last one's id."""
        while rows := await self._read(states, after):
            for row in rows:
                after = row.id
                if only is None or row.id in only:
                    await self._take_row(row, take)
        return after

    async def _take_wanted(self) -> None:
        """Take in the entries that this session has asked for."""
        wanted = self.batch._wanted
        while wanted:
            first = last = wanted.popleft()
            while wanted and wanted[0] == last + 1 and last - first + 1 < _READ:
                last = wanted.popleft()
            after = first - 1
            while after < last and (rows := await self._read([EntryState.QUEUED], after, last - after)):
                after = rows[-1].id
                for row in rows:
                    if row.id <= last:
                        await self._take_row(row, self._admit)

    async def _take_row(self, row: LedgerEntry, take: Callable[[_Item], Entry]) -> None:
        if row.state is EntryState.QUEUED and not self._taken_up.add(row.id):
            return
        await self._wait_room()
        if row.id % _STEP == 0:
            await asyncio.sleep(0)
        if row.state is not EntryState.QUEUED:
            self.batch._attached.add(row.id)
        item = _Item(self, row)
        if row.state is not EntryState.QUEUED and not row.task_id:
            self._finish_with(self._give_up(item))
            return
        if row.state is EntryState.QUEUED and (replaced := await self._replaced_file(item)) is not None:
            self._finish_with(self._refuse(item, InvalidRequestError(replaced)))
            return
        try:
            entry = item.entry = await self._taken(item, take)
        except InvalidRequestError as exc:
            self._finish_with(self._refuse(item, exc))
            return
        self._open[item] = None
        if entry.settlement is None:
            entry.callbacks[item.settled] = None
        else:
            item.settled(entry)

    async def _replaced_file(self, item: _Item) -> str | None:
        """Return what is wrong if a file of an entry has another content than when it was added, else None."""
        files = list(files_of(item.row.model, item.fields))
        if not files:
            return None
        path = await self.batch._in_thread(replaced_file, files, self.batch._digests)
        return path and (
            f"not sent: '{printable(path)}' was replaced after this request was added; the new image is a request of "
            "its own"
        )

    async def _refuse(self, item: _Item, error: InvalidRequestError) -> None:
        """Write down that an entry cannot be sent."""
        facts: dict[str, Fact] = {"error": error_text(error), "ended_at": time.time()}
        try:
            await self.batch._durable(item.change(EntryState.FAILED, facts))
        except LedgerError as exc:
            self._halt(exc)
        self._hand_out(item, error=error)

    async def _read(self, states: list[EntryState], after: int, most: int = _READ) -> list[LedgerEntry]:
        with self.batch._reading():
            return await self.batch._ledger.read(states, after=after, most=most)

    async def _taken(self, item: _Item, take: Callable[[_Item], Entry]) -> Entry:
        while True:
            try:
                return take(item)
            except BudgetExceededError:
                if not self._open:
                    raise
                # What runs may turn out cheaper than it was set aside for, or not be paid at all.
                await self._wait_touched()

    def _attach(self, item: _Item) -> Entry:
        row = item.row
        # The feeder takes in no others.
        assert row.task_id
        return self._scheduler.attach(
            row.task_id, polling_url=row.polling_url, model=row.model, cost=row.cost
        )

    def _admit(self, item: _Item) -> Entry:
        outage_s = _OUTAGE_S if self._has_accepted else None
        entry = self._scheduler.admit(
            item.request, priority=_PRIORITY, outage_s=outage_s, bounded=False, journal=item
        )
        self._line.append(item)
        return entry

    async def _wait_room(self) -> None:
        # Settled ones do not count in the window: images that are slow in coming must not let a slot idle.
        while len(self._open) >= self._window or self._held >= self._backlog:
            await self._wait_touched()

    # --- what the scheduler tells -------------------------------------------------------------------------

    def reached(self, item: _Item) -> None:
        """Mark a request that has its slot as submitting; see the module for the next in line."""
        if item in self._open:
            with contextlib.suppress(ValueError):
                self._line.remove(item)
        item.mark_submitting()
        if self._flush_s > _SLOW_FLUSH_S:
            for following in islice(self._line, _AHEAD):
                following.mark_submitting()

    def note_flush(self, seconds: float) -> None:
        """Note how long a mark took to be durable."""
        self._flush_s += 0.2 * (seconds - self._flush_s)

    def note_accepted(self) -> None:
        """Note that the server can be reached and takes requests: from now on an outage is waited out."""
        if self._has_accepted:
            return
        self._has_accepted = True
        for item in self._open:
            if item.entry is not None:
                item.entry.extend_outage(_OUTAGE_S)

    def settled(self, item: _Item, entry: Entry) -> None:
        """Begin to write down how an entry ended. In the step of its end: the slot is free already."""
        del self._open[item]
        with contextlib.suppress(ValueError):
            self._line.remove(item)
        error = entry.error()
        settlement = entry.settlement
        state: EntryState | None = None  # None: it stays where it is, and this run has no outcome for it
        match settlement:
            case Ready():
                self._finish_with(self._bring_home(item, entry))
            case Moderated():
                state = EntryState.MODERATED
            case Lost(AmbiguousSubmitError()):
                state = EntryState.AMBIGUOUS
            case Failed():
                state = EntryState.FAILED
            case Lost(UntrustedURLError()) if not item.is_attached:
                # Its polling URL leads elsewhere, and will when it is asked for again.
                state = EntryState.FAILED
            case Lost(ClientClosedError()):
                self._halt(error)
            case Lost():
                # It goes on unfollowed: the next run asks again.
                state = EntryState.SUBMITTED
            case Unsent():
                if item.mark is not None:
                    # Also where the mark failed: it may have been written all the same.
                    item.queued()
                if settlement.withdrawn or isinstance(error, STOPS):
                    if not (settlement.withdrawn and self._is_stopped):
                        self._halt(error)
                else:
                    state = EntryState.FAILED
        if state is not None:
            assert error is not None
            self._finish_with(self._write_down(item, entry, state, error))
        self._touch()

    def _finish_with(self, work: Coroutine[object, object, None]) -> None:
        self._held += 1
        task = new_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        if task.cancelled():
            if not self._is_left:
                self._held -= 1
                self._halt(_ended_from_elsewhere())
        elif (exc := task.exception()) is not None:
            _log.error("a batch's coroutine failed by a bug", exc_info=exc)
            self._held -= 1
            self._halt(exc)
        self._touch()

    async def _write_down(self, item: _Item, entry: Entry, state: EntryState, error: BFLError) -> None:
        facts: dict[str, Fact] = {"error": error_text(error), "cost": entry.cost}
        if state is not EntryState.SUBMITTED:
            facts["ended_at"] = time.time()
        try:
            await self.batch._durable(item.change(state, facts))
        except LedgerError as exc:
            self._halt(exc)
        self._hand_out(item, error=error)

    async def _give_up(self, item: _Item) -> None:
        """Report an entry that is in flight and whose task is not known: an earlier run could not record it."""
        error = AmbiguousSubmitError(_UNKNOWN)
        try:
            await self.batch._durable(
                item.change(EntryState.AMBIGUOUS, {"error": error_text(error), "ended_at": time.time()})
            )
        except LedgerError as exc:
            self._halt(exc)
        self._hand_out(item, error=error)

    async def _bring_home(self, item: _Item, entry: Entry) -> None:
        """Fetch, save and list an image."""
        batch, result = self.batch, entry.result
        assert result is not None
        seen_at = asyncio.get_running_loop().time()
        ready: dict[str, Fact] = {"ready_at": time.time(), "cost": result.cost}
        error: BFLError | None = None
        try:
            if batch._folder is None:
                ready |= {"ended_at": time.time(), "result": json.dumps(_kept_result(item, result))}
                await batch._durable(item.change(EntryState.READY, ready))
            else:
                if item.state is not EntryState.READY:
                    item.change(EntryState.READY, ready)
                async with batch._downloads:
                    await self._save(item, result, seen_at)
        except ClientClosedError as exc:
            self._held -= 1
            self._halt(exc)
            return
        except (LedgerError, SaveError) as exc:
            error = exc
            await item.wait_written()
            self._halt(exc)
        except BFLError as exc:  # of the download
            error = exc
            state = EntryState.FAILED if isinstance(exc, HOPELESS) else EntryState.READY
            try:
                await batch._durable(item.change(state, {"error": error_text(exc), "ended_at": time.time()}))
            except LedgerError as worse:
                self._halt(worse)
        self._hand_out(item, result=result, error=error)

    async def _save(self, item: _Item, result: Result, seen_at: float) -> None:
        batch = self.batch
        assert batch._folder is not None
        assert batch._parts is not None
        timeout = download_timeout_s(
            result.url, result.reply, waited_s=asyncio.get_running_loop().time() - seen_at
        )
        with foreign_cancellation_as(
            lambda: DownloadError("the download was cut off: something that it waited for was cancelled")
        ):
            download = await result._fetch(timeout, NewImage(batch._parts, result.task_id))
        try:
            await self._name(item, result, download)
        finally:
            result._discard(download)

    async def _name(self, item: _Item, result: Result, download: Download) -> None:
        """Give an image that has arrived its name, and note it."""
        batch = self.batch
        assert batch._folder is not None
        kept = _kept_result(item, result)
        name = batch._template.render(
            index=item.index,
            prompt=item.prompt,
            model=item.row.model,
            seed=seed if isinstance(seed := kept["seed"], int) else None,
            task_id=result.task_id,
            key=item.row.key,
            suffix=download.suffix,
        )
        file, digest = await batch._in_thread(
            _save_file,
            batch._folder,
            name,
            download,
            item.is_attached,
            result.task_id,
            item.row.key,
        )
        kept |= {"sha256": digest, "bytes": download.size}
        facts = {
            "file": file, "result": json.dumps(kept), "cost": result.cost, "error": None, "ended_at": time.time()
        }  # fmt: skip
        item.file = batch._folder / file
        await batch._durable(item.change(EntryState.SAVED, facts))
        if batch._lister is not None:
            batch._lister.put(item.row.id, manifest_line(item.row, result.task_id, result.cost, file, kept))

    def _hand_out(self, item: _Item, *, result: Result | None = None, error: BFLError | None = None) -> None:
        row = item.row
        task_id = row.task_id
        if item.entry is not None:
            task_id = item.entry.task_id
        item.show_doubt()
        if item.is_unrecorded:
            error = _unrecorded(task_id, item.file, error)
        self._ready.append(
            BatchOutcome(
                row.id - 1, row.key, row.name, item.state, item.request, task_id, result, item.file, error
            )
        )
        self._touch()

    # --- the end ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more; go on iterating for what was sent. Idempotent."""
        if self._is_stopped or self._is_left:
            return
        self._is_stopped = True
        if self._feeder is None:
            self._feeding = False
        else:
            self._feeder.cancel()
        for item in list(self._open):
            if item.entry is not None:
                self._scheduler.stop(item.entry)
        self._touch()

    def _halt(self, error: BaseException | None) -> None:
        """Stop for an error, which is raised after the last outcome."""
        if self._error is None and error is not None:
            self._error = self._going_on(error) if isinstance(error, BFLError) else error
        self.stop()

    def fail(self, error: LedgerError | SaveError) -> None:
        """Stop: something cannot be written."""
        self._halt(error)

    def _going_on(self, error: BFLError) -> BFLError:
        """The error with what it takes to go on."""
        if isinstance(error, ClientClosedError):
            return error
        twin = error.fresh()
        twin.args = (
            f"{error}; what was not sent stays queued in {self.batch._ledger.shown!r}: run the same again to go on",
        )
        return twin

    async def aclose(self) -> None:
        """Stop; wait for POSTs on their way and for files that are being written.

        Cancellation: Ends the wait for POSTs; one whose answer then comes too late is ambiguous.
        """
        if self._feeder is not None and (self._ready or not self._is_through()) and self._error is None:
            self._error = ClientClosedError(
                "the batch was closed before its run had ended: run the same again to go on"
            )
        self.stop()
        self._is_left = True
        self._touch()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    while any(item.is_on_its_way for item in self._open):
                        await self._wait_touched()
        finally:
            for item in list(self._open):
                if item.entry is not None:
                    item.entry.heard = True
                    item.entry.callbacks.pop(item.settled, None)
            self._open.clear()
            tasks = [*self._finishing, *([] if self._feeder is None else [self._feeder])]
            for task in tasks:
                task.cancel()
            with shielded():
                await asyncio.gather(*tasks, return_exceptions=True)
            self._touch()


class _Lister:
    """Writes the manifest, behind the images: what is at hand goes in one flush."""

    def __init__(
        self,
        batch: Batch,
        manifest: Manifest,
        on_error: Callable[[LedgerError | SaveError], None],
    ) -> None:
        self._batch = batch
        self._ledger = batch._ledger
        self._manifest = manifest
        self._on_error = on_error
        self._waiting: list[tuple[int, bytes]] = []
        self._worker: asyncio.Task[None] | None = None
        self._error: BFLError | None = None

    async def open(self, notes: Mapping[str, str]) -> None:
        """Mend the file after a run that was killed."""
        noted = notes.get(_MANIFEST_BYTES)
        if noted is None:  # a new ledger; lines of others may be there
            size = await self._batch._in_thread(self._manifest.size)
            await self._batch._durable(self._ledger.note({_MANIFEST_BYTES: str(size)}))
        else:
            size = int(noted)
        keys = await self._batch._in_thread(self._manifest.mend, size)
        if keys is None:
            keys = set()
            await self._batch._in_thread(self._manifest.begin_anew)
            await self._batch._durable(self._ledger.unlist())
        after = 0
        while True:
            with self._batch._reading():
                rows = await self._ledger.read((), after=after, most=_READ, unlisted=True)
            if not rows:
                return
            after = rows[-1].id
            lines = [
                manifest_line(row, row.task_id, row.cost, row.file, row.result or {})
                for row in rows
                if row.key not in keys
            ]
            await self._list([row.id for row in rows], lines)

    def put(self, entry_id: int, line: bytes) -> None:
        """List an image."""
        self._waiting.append((entry_id, line))
        if self._worker is None or self._worker.done():
            self._worker = new_task(self._work())

    async def _work(self) -> None:
        while self._waiting and self._error is None:
            batch, self._waiting = self._waiting, []
            try:
                await self._list([entry_id for entry_id, _ in batch], [line for _, line in batch])
            except (LedgerError, SaveError) as exc:
                self._error = exc
                self._on_error(exc)

    async def _list(self, ids: list[int], lines: list[bytes]) -> None:
        size = await self._batch._in_thread(self._manifest.append, lines)
        await self._batch._durable(self._ledger.note({_MANIFEST_BYTES: str(size)}, ids))

    async def flush(self) -> None:
        """Wait until all that was put stands in the file.

        Raises:
            SaveError, LedgerError: It could not be written; the next run does.
        """
        if self._worker is not None:
            await asyncio.wait([self._worker])
            if self._worker.cancelled():
                raise _ended_from_elsewhere()
        if self._error is not None:
            raise self._error.fresh()

    async def aclose(self) -> None:
        """Write what is left."""
        if self._worker is not None:
            await asyncio.wait([self._worker])


def _ended_from_elsewhere() -> ClientClosedError:
    """Return the error of a run whose coroutine was cancelled by something that is not the run."""
    return ClientClosedError(
        "the run was stopped: one of its coroutines was cancelled from elsewhere; run the same again to go on"
    )


_MANIFEST_BYTES = "manifest_bytes"
# The note of how much of the manifest was there before the ledger.
_LISTED_BEFORE = "manifest_bytes_before"
STOPS = (
    InsufficientCreditsError, AuthenticationError, BudgetExceededError, ConnectError, LedgerError, ClientClosedError
)  # fmt: skip
"""What the next request would meet as well: it stays queued, and the run stops."""
HOPELESS = (ResultExpiredError, UntrustedURLError)
"""Errors of a download that no repetition mends."""


# --- requests and rows: pure ----------------------------------------------------------------------------


def _new_entry(item: object, seen: dict[int, int], digest_of: Callable[[Path], str]) -> NewEntry:
    """Make the entry of a request; `seen` counts how often each was met. Reads the files that it names."""
    name: str | None = None
    if isinstance(item, tuple):
        if len(item) != 2 or not isinstance(item[0], str):
            raise InvalidRequestError("a batch takes requests, or pairs of an id and a request")
        name, item = item
        try:
            name.encode()
        except UnicodeEncodeError:
            problem = "holds half of a surrogate pair, which is not text"
            raise InvalidRequestError(
                f"the id '{printable(name)}' {problem}", errors=[("id", problem)]
            ) from None
    wanted = as_request(item)
    given = fields_of(wanted, digest_of)
    fields = json.dumps(given, sort_keys=True, separators=(",", ":"))
    # What a file is known by is its content: where it is, and how its folder was reached, is not part of the key.
    known_by = fields
    if _PATH in fields and wanted.model in CATALOG:
        known_by = json.dumps(_without_places(given), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(
        f"{wanted.model}\0{'' if name is None else 'id ' + name}\0{known_by}".encode("utf-8", "replace")
    )
    short = int.from_bytes(digest.digest()[:8])
    occurrence = seen.get(short, 0)
    seen[short] = occurrence + 1
    digest.update(f"\0{occurrence}".encode())
    return NewEntry(digest.hexdigest()[:32], wanted.model, fields, name)


def read_listed(folder: Path, notes: Mapping[str, str]) -> ListedImages | None:
    """Return the images that a folder's manifest listed before a ledger began; None if there were none. Blocks.

    A batch takes them as saved, so they are evidence against paying twice where the ledger was lost. The ledger notes
    how much of the manifest that was: a run that is killed as it adds its requests finds the same again.

    Args:
        notes: The ledger's notes; empty for a ledger that does not exist yet.
    Raises:
        SaveError: The manifest cannot be read.
    """
    size = notes.get(_LISTED_BEFORE, "0" if "home" in notes else None)
    if size is None:
        return ListedImages.read(folder)
    return ListedImages.read(folder, int(size)) if size.isdecimal() and int(size) else None


def saved_facts(row: Mapping[str, JSON]) -> Mapping[str, Fact]:
    """Return the facts of an image from its line in the manifest."""
    facts: dict[str, Fact] = {}
    for name in ("task_id", "file", "cost"):
        value = row.get(name)
        if isinstance(value, str | int | float):
            facts[name] = value
    kept = {name: row[name] for name in ("seed", "used_prompt", "duration", "sha256", "bytes") if name in row}
    return {**facts, "result": json.dumps(kept)}


def key_of(item: Given, seen: dict[int, int], digests: Digests | None = None) -> str:
    """Return the key that a request has in a ledger; `seen` counts how often each was met, beginning empty.

    Args:
        digests: Of the files that requests name; they are read where it does not know them.
    Raises:
        InvalidRequestError: It is not a request, or names a file that cannot be read.
    """
    return _new_entry(item, seen, (digests if digests is not None else Digests()).of).key


def fields_of(wanted: ImageRequest, digest_of: Callable[[Path], str] | None = None) -> Mapping[str, JSON]:
    """Return a request's fields as JSON; a file that is given by its path is kept as its path and its digest.

    Raises:
        InvalidRequestError: A file cannot be read, or would have to be found again for an unknown model.
    """
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    files = {name for name, value in given.items() if _has_path(value)}
    if not files:
        return wanted.body()
    if wanted.model not in CATALOG:
        raise InvalidRequestError(
            f"a batch cannot make a request for {wanted.model} with files anew: give their bytes, not their paths",
            errors=[(name, "is a path") for name in sorted(files)],
        )
    others = {name for name, value in given.items() if name not in files and not isinstance(value, bytes)}
    plain = wanted.model_dump(mode="json", include=others)
    data = {name: value for name, value in given.items() if name not in others}
    return {**plain, **{name: _kept(value, digest_of) for name, value in data.items()}}


def _has_path(value: object) -> bool:
    return isinstance(value, Path | FileWithin) or (
        isinstance(value, list | tuple) and any(map(_has_path, value))
    )


def _kept(value: object, digest_of: Callable[[Path], str] | None) -> JSON:
    if isinstance(value, FileWithin):
        kept = cast("Mapping[str, JSON]", _kept(value.path, digest_of))
        return {**kept, _WITHIN: str(value.folder.absolute())}
    if isinstance(value, Path):
        place: dict[str, JSON] = {_PATH: str(value.absolute())}
        if digest_of is not None:
            try:
                place[_DIGEST] = digest_of(value)
            except (OSError, ValueError) as exc:
                reason = getattr(exc, "strerror", None) or "not a usable name"
                raise InvalidRequestError(
                    f"the file '{printable(str(value))}' cannot be read: {reason}"
                ) from exc
        return place
    if isinstance(value, list | tuple):
        return [_kept(one, digest_of) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return cast("JSON", value)


def _is_place(value: object) -> TypeGuard[Mapping[str, JSON]]:
    return isinstance(value, Mapping) and _PATH in value and set(value) <= {_PATH, _DIGEST, _WITHIN}


def _without_places(value: JSON) -> JSON:
    if _is_place(value):
        return {_DIGEST: value[_DIGEST]}
    if isinstance(value, Mapping):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return value


def _given(value: JSON) -> object:
    if _is_place(value):
        path, folder = Path(str(value[_PATH])), value.get(_WITHIN)
        return path if folder is None else FileWithin(path, Path(str(folder)))
    if isinstance(value, list):
        return [_given(one) for one in value]
    return value


def rebuild(
    row: LedgerEntry,
    fields: Mapping[str, JSON] | None = None,
    *,
    given: Callable[[JSON], object] = lambda value: value,
) -> ImageRequest:
    """Make the request of an entry again.

    Args:
        fields: Those to take in place of the entry's.
        given: Returns what a field was given as. Only a batch has fields that are not what is sent: files, by their
            names. Anything else that keeps requests keeps their bytes, and must not read a file because it says so.
    """
    fields = row.fields if fields is None else fields
    if row.model in CATALOG:
        try:
            return request(row.model, **{name: given(value) for name, value in fields.items()})
        except InvalidRequestError:
            pass  # of a class of the caller's own, or of another release: what was checked then is sent
    return PassThroughRequest.named(row.model, dict(fields))


def files_of(model: str, fields: Mapping[str, JSON]) -> Iterator[tuple[Path, str]]:
    """Yield the files that an entry's fields name, each with the digest that it had."""
    if model in CATALOG:
        yield from _places_in(list(fields.values()))


def _places_in(value: JSON) -> Iterator[tuple[Path, str]]:
    if _is_place(value):
        if isinstance(digest := value.get(_DIGEST), str):
            yield Path(str(value[_PATH])), digest
    elif isinstance(value, list):
        for one in value:
            yield from _places_in(one)


def replaced_file(files: Iterable[tuple[Path, str]], digests: Digests) -> str | None:
    """Return the first file whose content is not the one that it had; None if all are as they were, or are missing.

    A missing file is not replaced: sending the request says what is wrong with it.
    """
    for path, digest in files:
        with contextlib.suppress(OSError, ValueError):
            if digests.of(path) != digest:
                return str(path)
    return None


def known_files(notes: Mapping[str, str]) -> dict[str, str]:
    """Return what a ledger's notes know of input files, for `Digests`."""
    return {
        name.removeprefix(_FILE_NOTE): facts for name, facts in notes.items() if name.startswith(_FILE_NOTE)
    }


def count_asked(
    planner: Planner,
    chunk: Sequence[tuple[str, ImageRequest]],
    found: Mapping[str, tuple[int, EntryState]],
    spent: Sequence[IdSet] = (),
) -> None:
    """Count requests of the input in a plan. Blocks: it may read the headers of files.

    Args:
        chunk: Each with its key.
        found: The ids and states of those that the ledger holds.
        spent: Entries that this session has worked on: they are not retried again.
    """
    for key, wanted in chunk:
        known = found.get(key)
        is_spent = known is not None and any(known[0] in ids for ids in spent)
        planner.ask(wanted, known, is_spent=is_spent)


def with_listed(
    found: Mapping[str, tuple[int, EntryState]], listed: Iterable[str]
) -> Mapping[str, tuple[int, EntryState]]:
    """Return what a ledger knows of some keys, together with those whose image the manifest lists as saved."""
    return {**{key: (0, EntryState.SAVED) for key in listed}, **found}


def count_left(
    planner: Planner,
    rows: Iterable[LedgerEntry],
    digests: Digests,
    asked_before: IdSet | None = None,
    spent: Sequence[IdSet] = (),
) -> None:
    """Count entries of the ledger in a plan, as far as the input does not ask for them. Blocks.

    Args:
        asked_before: Entries that this session has asked for.
        spent: Entries that were in flight when this session took them up: they are not retried.
    """
    for row in rows:
        if row.state is not EntryState.QUEUED and any(row.id in ids for ids in spent):
            continue
        if not planner.is_asked(row.id):
            is_asked = asked_before is not None and row.id in asked_before
            is_replaced = replaced_file(files_of(row.model, row.fields), digests) is not None
            planner.leave(row.state, rebuild(row, given=_given), is_asked=is_asked, is_replaced=is_replaced)


async def _each(requests: Source) -> AsyncIterator[Given]:
    if isinstance(requests, AsyncIterable):
        async for one in requests:
            yield one
    else:
        for one in requests:
            yield one


def reserved_names(folder: Path | None, ledger: str | os.PathLike[str] | Ledger) -> list[str]:
    """Return the names within an output folder that a run needs for itself."""
    names = [MANIFEST, f"{MANIFEST}.old", GALLERY]
    path = Path(ledger) if isinstance(ledger, str | os.PathLike) else Path(ledger.shown)
    with contextlib.suppress(OSError, ValueError):
        if folder is not None and (file := path.absolute()).is_relative_to(folder.absolute()):
            name = file.relative_to(folder.absolute()).as_posix()
            names += [name + end for end in ("", ".lock", "-journal", "-wal", "-shm")]
    return names


def home_of(base_url: str) -> str:
    """Return whom a base URL belongs to: regions are one API, and so are all servers on this machine."""
    host = urlsplit(base_url).hostname or ""
    if is_loopback(host):
        return "this machine"
    return "bfl.ai" if host == "bfl.ai" or host.endswith(".bfl.ai") else host


def download_timeout_s(url: str, polled: Reply | None, *, waited_s: float) -> float:
    """Return how long to try to download a result: until its URL ends, judged by the server's clock alone.

    This machine's clock may be wrong by hours, and must not cut short the attempts to fetch a paid image. Where the
    server states no time, the whole life of a URL is granted: the server itself refuses a URL that has ended.

    Args:
        url: The result's URL, which may state its end.
        polled: The reply that brought the URL, which may state the server's time.
        waited_s: Seconds since that reply.
    """
    ends_at = expiry_of(url)
    try:
        now = None if polled is None else parsedate_to_datetime(polled.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        now = None
    if ends_at is None or now is None:
        return _MOST_DOWNLOAD_S
    return min(max(_LEAST_DOWNLOAD_S, ends_at - now - waited_s), _MOST_DOWNLOAD_S)


def error_text(error: BFLError) -> str:
    return f"{type(error).__name__}: {error}"


def _unrecorded(task_id: str | None, file: Path | None, error: BFLError | None) -> LedgerError:
    """Return the error of an entry whose task exists, and whose id the ledger could not record."""
    place = "" if file is None else f"; its image was saved as {str(file)!r}"
    found = LedgerError(
        f"task {task_id} was accepted and paid, and its id could not be recorded{place}: the next run reports this "
        f"request as ambiguous; keep the id, `bfl-async result {task_id}` fetches the image while the server has it"
    )
    found.__cause__ = error
    return found


def _kept_result(item: _Item, result: Result) -> dict[str, JSON]:
    """What of a result outlives its URL."""
    asked = item.row.fields.get("seed")
    kept: dict[str, JSON] = {"seed": result.seed if result.seed is not None else asked}
    if result.prompt is not None and result.prompt != item.prompt:
        kept["used_prompt"] = result.prompt
    if result.duration is not None:
        kept["duration"] = result.duration
    return kept


def manifest_line(
    row: LedgerEntry, task_id: str | None, cost: float | None, file: str | None, kept: Mapping[str, JSON]
) -> bytes:
    """Return the line of an image."""
    line = {
        "index": row.id - 1,
        "state": EntryState.SAVED.value,
        "file": file,
        "prompt": row.fields.get("prompt"),
        "model": row.model,
        "task_id": task_id,
        "cost": cost,
        **kept,
        "key": row.key,
    }
    if row.name is not None:
        line["id"] = row.name
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


# --- files: in worker threads ---------------------------------------------------------------------------


def _prepare_folder(folder: Path, parts: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise SaveError(
            f"cannot write to the folder {str(folder)!r}: {reason}; choose another",
            errno=getattr(exc, "errno", None),
            filename=str(folder),
        ) from exc
    remove_parts(parts)


def _save_file(
    folder: Path, name: str, download: Download, adopt: bool, task_id: str, key: str
) -> tuple[str, str]:
    # From here on the part is `name_new`'s to move or remove.
    part, digest = download.finish(hand_over=True)
    return name_new(folder, part, name, digest, adopt=adopt, task_id=task_id, key=key), digest


# --- futures --------------------------------------------------------------------------------------------


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at an error that is told in another way, or that the next change will meet."""
    if not future.cancelled():
        future.exception()


__all__ = ["MANIFEST", "Batch", "BatchOutcome", "BatchRun", "Plan", "Share"]
