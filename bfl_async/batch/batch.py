"""`Batch`: many requests that survive anything and are paid once.

A batch is a ledger, a client, and a folder for the images. Requests are added to the ledger first and sent from
there, so that a run and its resumption are the same code: read what is queued, send it; read what is in flight,
follow it.

What is durable before what:

    entry queued  ->  "submitting" durable  ->  POST leaves  ->  task id durable  ->  first poll  ->  Ready
                  ->  image flushed, gets its name  ->  "saved" durable  ->  line in the manifest

So a process that is killed leaves each entry in one of four ways. Queued: nothing was sent. Submitting: it may have
been sent, and the server cannot be asked; it is reported as ambiguous and left alone. Submitted or ready: it is
attached, and paid once. Saved: it is done.

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
import json
import os
from collections import Counter, deque
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from bfl_async.batch.counting import CHUNK, count_asked, count_left, each_request, reserved_names, with_listed
from bfl_async.batch.files import Manifest, remove_parts
from bfl_async.batch.home import check_home, home_of
from bfl_async.batch.lister import LISTED_BEFORE, Lister, read_listed, saved_facts
from bfl_async.batch.naming import DEFAULT_TEMPLATE, NameTemplate
from bfl_async.batch.plan import Plan, Planner, is_due
from bfl_async.batch.requests import FILE_NOTE, PATH, Given, Source, given_to, known_files, new_entry
from bfl_async.batch.run import BatchRun
from bfl_async.batch.shelf import READ, Shelf
from bfl_async.batch.verdicts import KILLED
from bfl_async.client.client import AsyncBFL
from bfl_async.errors import (
    ClientClosedError,
    ConfigError,
    LedgerError,
    SaveError,
)
from bfl_async.ledger.sqlite import SQLiteLedger
from bfl_async.models import ImageRequest, as_request
from bfl_async.protocols.ledger import Ledger
from bfl_async.runtime.cancellation import foreign_cancellation_as, shielded
from bfl_async.runtime.files import Digests
from bfl_async.runtime.tasks import new_task
from bfl_async.types.common import JSON
from bfl_async.types.entries import EntryState, NewEntry

# Of a live source, requests that are added and not yet durable.
_UNFLUSHED = 256


# A request of so many characters or more is worked on in a thread, and written by itself.
_LARGE_CHARS = 256 * 1024


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
        self._bfl = bfl
        self._shelf = Shelf(
            ledger,
            bfl._life.settings.catalog,
            folder=save_to,
            template=name,
            retry=retry,
            downloads=downloads,
            and_earlier=and_earlier,
        )
        self._lister: Lister | None = None
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
            retry_ambiguous: Send ambiguous requests again: the server may have taken them already. Some are then
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

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a batch cannot be pickled or copied: open its ledger again, with a client of that process"
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
        # Raises where the client is not open.
        self._bfl.statistics()
        try:
            await self._shelf.ledger.open()
            await self._prepare()
        except BaseException:
            with shielded():
                await self._shelf.ledger.aclose()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _prepare(self) -> None:
        ledger = self._shelf.ledger
        with self._shelf.reading():
            notes = await ledger.notes()
        home = home_of(self._bfl._life.settings.base_url)
        check_home(notes, home, ledger.shown)
        if self._shelf.folder is not None:
            self._shelf.listed = await self._shelf.in_thread(read_listed, self._shelf.folder, notes)
        if "home" not in notes:
            listed = {} if self._shelf.listed is None else {LISTED_BEFORE: str(self._shelf.listed.size)}
            await self._shelf.durable(ledger.note({"home": home, **listed}))
        self._shelf.killed = await self._shelf.durable(
            ledger.reset(EntryState.SUBMITTING, EntryState.AMBIGUOUS, KILLED)
        )
        self._shelf.digests = Digests(known_files(notes))
        with self._shelf.reading():
            self._shelf.counts = Counter(await ledger.counts())
        if self._shelf.folder is not None:
            name = Path(ledger.shown).name
            self._shelf.parts = self._shelf.folder / f".parts-{name}"
            await self._shelf.in_thread(_prepare_folder, self._shelf.folder, self._shelf.parts)
            self._lister = Lister(self._shelf, Manifest(self._shelf.folder), self._fail)
            await self._lister.open(notes)

    async def aclose(self) -> None:
        """Stop; let POSTs on their way end, and write what they brought. Idempotent, from any coroutine.

        Tasks in flight stay in the ledger as submitted: the next run attaches them.

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
                        await self._shelf.ledger.aclose()
                        if self._shelf.parts is not None:
                            await self._shelf.in_thread(remove_parts, self._shelf.parts)

    def _check(self) -> None:
        if not self._is_open:
            raise ClientClosedError("the batch is not open: use `async with Batch.open(...)`")
        # Raises where the client is closed, or this is not its loop and thread.
        _ = self._bfl._engine

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
        self._shelf.adding += 1
        try:
            # What else of ours is awaited within has errors of its own.
            with foreign_cancellation_as(lambda: RuntimeError("the source of the requests was cancelled")):
                return await self._add(requests, {})
        finally:
            self._shelf.adding -= 1
            self._shelf.wake_run()

    async def _add(self, requests: Source, seen: dict[int, int]) -> int:
        if isinstance(requests, AsyncIterable):
            return await self._add_live(requests, seen)
        new = 0
        chunk: list[NewEntry] = []
        for item in requests:
            chunk.append(await self._make_entry(item, seen))
            if len(chunk) >= CHUNK or sum(len(one.fields) for one in chunk[-2:]) >= _LARGE_CHARS:
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
            given = list(given_to(wanted).values())
            size = sum(len(value) for value in given if isinstance(value, str | bytes))
            if size >= _LARGE_CHARS or wanted.has_files:
                return await self._shelf.in_thread(new_entry, item, seen, self._shelf.digests.of)
        return new_entry(item, seen, self._shelf.digests.of)

    async def _put(self, entries: list[NewEntry]) -> int:
        await self._adopt(entries)
        adding = self._shelf.ledger.add(entries)
        # A callback, since the entries are added also when the caller is cancelled meanwhile.
        adding.add_done_callback(self._note_added)
        added = await self._shelf.durable(adding)
        if not self._shelf.and_earlier or any(PATH in entry.fields for entry in entries):
            await self._ask_for(entries)
        if learnt := self._shelf.digests.take_new():
            await self._shelf.durable(
                self._shelf.ledger.note({FILE_NOTE + name: facts for name, facts in learnt.items()})
            )
        return added

    async def _ask_for(self, entries: list[NewEntry]) -> None:
        """Let a run take up the entries of these requests, as far as they are due."""
        with self._shelf.reading():
            found = await self._shelf.ledger.find([entry.key for entry in entries])
        again: dict[EntryState, list[int]] = {}
        for entry in entries:
            entry_id, state = found.get(entry.key, (0, EntryState.SAVED))
            if not entry_id or entry_id in self._shelf.attached or not is_due(state, self._shelf.retry):
                continue
            if not self._shelf.asked.add(entry_id):
                continue
            if PATH in entry.fields:
                self._shelf.places[entry_id] = json.loads(entry.fields)
            if self._shelf.and_earlier:
                continue
            if state is EntryState.QUEUED:
                self._shelf.wanted.append(entry_id)
            else:
                again.setdefault(state, []).append(entry_id)
        for state, ids in again.items():
            self._shelf.wanted.extend(await self._shelf.requeue(state, ids))
        self._shelf.additions += 1
        self._shelf.wake_run()

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
        retry = () if self._shelf.and_earlier and self._shelf.has_requeued else self._shelf.retry
        planner = Planner(retry, and_earlier=self._shelf.and_earlier)
        seen: dict[int, int] = {}
        chunk: list[tuple[str, ImageRequest]] = []

        async def ask() -> None:
            with self._shelf.reading():
                found = await self._shelf.ledger.find([key for key, _ in chunk])
            found = with_listed(found, await self._find_listed([key for key, _ in chunk]))
            await self._shelf.in_thread(count_asked, planner, chunk, found, self._shelf.spent)
            chunk.clear()

        with foreign_cancellation_as(lambda: RuntimeError("the source of the requests was cancelled")):
            async for item in each_request(requests):
                entry = await self._make_entry(item, seen)
                chunk.append((entry.key, as_request(item[1] if isinstance(item, tuple) else item)))
                if len(chunk) >= CHUNK:
                    await ask()
            if chunk:
                await ask()
        after = 0
        while True:
            with self._shelf.reading():
                rows = await self._shelf.ledger.read(planner.states, after=after, most=READ)
            if not rows:
                break
            after = rows[-1].id
            await self._shelf.in_thread(
                count_left, planner, rows, self._shelf.digests, self._shelf.asked, (self._shelf.attached,)
            )
        return planner.plan(sum(self._shelf.counts[state] for state in self._shelf.flying))

    async def _adopt(self, entries: list[NewEntry]) -> None:
        """Add those as saved whose image was made and listed before this ledger began: they are paid."""
        rows = await self._find_listed([entry.key for entry in entries])
        made = [replace(entry, saved=saved_facts(rows[entry.key])) for entry in entries if entry.key in rows]
        if made:
            self._shelf.counts[EntryState.SAVED] += await self._shelf.durable(self._shelf.ledger.add(made))

    async def _find_listed(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, JSON]]:
        """Return the manifest's lines of these requests, as far as they were made before this ledger began."""
        return await self._shelf.in_thread(self._shelf.listed.find, keys) if self._shelf.listed else {}

    def _note_added(self, adding: asyncio.Future[int]) -> None:
        if not adding.cancelled() and adding.exception() is None and (added := adding.result()):
            self._shelf.counts[EntryState.QUEUED] += added
            self._shelf.additions += 1
            self._shelf.wake_run()

    def counts(self) -> Mapping[str, int]:
        """Return how many entries stand in each state."""
        return {state.value: self._shelf.counts[state] for state in EntryState}

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
        self._run = BatchRun(self._shelf, self._bfl, self._lister, sends_after, is_first=self._run is None)
        return self._run

    def stop(self) -> None:
        """Send nothing more; go on iterating for what was sent. Idempotent."""
        if self._run is not None:
            self._run.stop()

    def _fail(self, error: LedgerError | SaveError) -> None:
        if self._run is not None:
            self._run.fail(error)


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
