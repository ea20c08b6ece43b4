"""The batch command's work: rows into a ledger, and from there to images."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from bfl_async import AsyncBFL, Batch, BatchOutcome
from bfl_async.batch.counting import count_asked, count_left, with_listed
from bfl_async.batch.lister import read_listed
from bfl_async.batch.plan import IdSet, Plan, Planner, Share
from bfl_async.batch.requests import key_of, known_files
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.files import InputError
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.output import can_redraw, discard, json_of, print_json, say
from bfl_async.cli.rows import Rows
from bfl_async.cli.screen import Screen, open_screen
from bfl_async.cli.snapshot import Snapshot
from bfl_async.errors import BFLError
from bfl_async.ledger.reader import LedgerReader, read_ledger
from bfl_async.runtime.files import Digests
from bfl_async.types.entries import EntryState

# How often the display asks for the balance, in seconds.
_BALANCE_S = 30.0
# How often a run looks whether it waits for slots alone, in seconds.
_STARVED_S = 5.0
_STARVED = (
    "waiting for a slot: other programs, or runs that were killed, hold all of this account; the slots of a killed "
    "run come back within a minute"
)
# Requests that are looked up in the ledger at a time.
_CHUNK = 500
_READ = 256


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a command says of entries that its ledger holds already."""

    retry: tuple[EntryState, ...] = ()
    and_earlier: bool = False


@dataclass(frozen=True, slots=True)
class LedgerPlan:
    """A plan, and the state of the ledger from which it was made."""

    plan: Plan
    counts: Mapping[str, int]

    def check(self, counts: Mapping[str, int]) -> None:
        """Compare with the ledger now that it is held.

        Raises:
            InputError: Another run changed it since.
        """
        if dict(self.counts) != dict(counts):
            raise InputError(
                "another run changed the ledger while this one was planned: nothing was sent; give the command again"
            )


def count_in_flight(ledger: Path) -> int:
    """Return how many tasks of a ledger are in flight, or finished and not saved. Blocks.

    Raises:
        LedgerError: It cannot be read.
    """
    counts = read_ledger(ledger, lambda reader: reader.counts())
    return counts[EntryState.SUBMITTED] + counts[EntryState.READY]


def make_plan(
    rows: Rows,
    ledger: Path,
    options: PlanOptions,
    is_stopped: Callable[[], bool] = lambda: False,
    spent: Sequence[IdSet] = (),
    folder: Path | None = None,
) -> LedgerPlan:
    """Check every row of a file, and sum up what a run will send. Changes nothing, and blocks.

    Args:
        is_stopped: Asked after each chunk: the planning ends early once it returns True.
        spent: Entries that a run which goes on has taken up: they are not retried.
        folder: The output folder. Images that its manifest lists are paid, also where the ledger was lost.
    Raises:
        InputError: Rows that are not requests, each named.
        LedgerError: The ledger cannot be read.
    """
    return read_ledger(ledger, lambda reader: _make_plan(rows, reader, options, is_stopped, spent, folder))


def _make_plan(
    rows: Rows,
    reader: LedgerReader,
    options: PlanOptions,
    is_stopped: Callable[[], bool],
    spent: Sequence[IdSet],
    folder: Path | None,
) -> LedgerPlan:
    planner = Planner(options.retry, and_earlier=options.and_earlier)
    notes = reader.notes()
    digests = Digests(known_files(notes))
    listed = None if folder is None else read_listed(folder, notes)
    seen: dict[int, int] = {}
    counts = _counts_when_held(reader)
    asked = (
        (key_of(given, seen, digests), given[1] if isinstance(given, tuple) else given)
        for given in rows.check()
    )
    while chunk := list(islice(asked, _CHUNK)):
        if is_stopped():
            raise InputError("stopped while it was planned: nothing was sent")
        keys = [key for key, _ in chunk]
        known = with_listed(reader.find(keys), listed.find(keys) if listed else ())
        count_asked(planner, chunk, known, spent)
    after = 0
    while found := reader.read(planner.states, after=after, most=_READ):
        if is_stopped():
            raise InputError("stopped while it was planned: nothing was sent")
        after = found[-1].id
        count_left(planner, found, digests, spent=spent)
    return LedgerPlan(planner.plan(counts["submitted"] + counts["ready"]), counts)


def _counts_when_held(reader: LedgerReader) -> dict[str, int]:
    """Count the entries by state as a run will find them: what was being submitted is then ambiguous."""
    counts = {state.value: count for state, count in reader.counts().items()}
    counts["ambiguous"] += counts["submitting"]
    counts["submitting"] = 0
    return counts


def print_plan(plan: Plan, slots: int, ignored: Sequence[str]) -> None:
    """Print what a run would do."""
    total = plan.total
    print_json(
        {
            "plan": {
                "requests": plan.requests,
                "new": plan.new.count,
                "in_ledger": plan.requests - plan.new.count,
                "send": total.count,
                "usd": total.usd,
                "unpriced": total.unpriced,
                "seconds": round(plan.seconds(slots), 1),
                "parts": [
                    {"part": name, "count": share.count, "usd": share.usd, "unpriced": share.unpriced}
                    for name, share in _parts(plan)
                ],
                "attached": plan.attached,
                "left": {"count": plan.left.count, "usd": plan.left.usd, "unpriced": plan.left.unpriced},
                "ignored_columns": list(ignored),
            }
        }
    )
    say(
        f"{plan.requests} requests, {plan.requests - plan.new.count} of them in the ledger; {in_words(plan, slots)}"
    )
    say_what_is_left(plan)
    say("nothing was sent")


def _parts(plan: Plan) -> Iterator[tuple[str, Share]]:
    """Yield the parts of what is sent, by name."""
    yield "new", plan.new
    yield "queued", plan.queued
    for state, share in sorted(plan.retried.items()):
        yield f"retry_{state.value}", share
    if plan.earlier.count:
        yield "earlier", plan.earlier


def in_words(plan: Plan, slots: int) -> str:
    """Return what a run will send, in words."""
    total = plan.total
    words = {"new": "new", "queued": "queued by an earlier run", "earlier": "of an earlier input"}
    parts = [
        f"{share.count} {words.get(name) or name.replace('retry_', '') + ' before'}"
        for name, share in _parts(plan)
        if share.count
    ]
    text = f"{total.count} to send" + (f" ({', '.join(parts)})" if parts else "")
    if total.count:
        text += f": cost {cost_of(total)}, about {plan.seconds(slots):.0f} s on {slots} slots"
    if plan.attached:
        text += f"; {plan.attached} in flight, fetched at no cost"
    if plan.replaced:
        text += f"; {plan.replaced} of an earlier input whose image was replaced, not sent"
    return text


def cost_of(share: Share) -> str:
    """Return what a share may cost, in words; an unknown price is never a figure."""
    if share.usd is None:
        return "unknown"
    return f"about {share.usd:.2f} USD" + (
        f", and {share.unpriced} of unknown price" if share.unpriced else ""
    )


def say_what_is_left(plan: Plan) -> None:
    """Name the entries that this command does not ask for, and how to send or remove them."""
    if not plan.left.count:
        return
    states = ", ".join(f"{count} {state.value}" for state, count in sorted(plan.left_by_state.items()))
    say(
        f"not sent: {plan.left.count} entries of an earlier input that this one does not ask for ({states}; cost "
        f"{cost_of(plan.left)}); --and-earlier sends them as well, `bfl-async drop` removes them"
    )


def check_cost(plan: Plan, most_usd: float) -> bool:
    """Ask on a terminal, or stop, where a run may cost too much; return whether the cost is within the bound.

    Raises:
        InputError: It must not run.
    """
    total = plan.total
    if round(total.credits, 6) <= round(most_usd * 100, 6) and not total.unpriced:
        return True
    says = f"the cost of {total.count} requests is {cost_of(total)}, and --max-cost is {most_usd:g} USD"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"{says}: nothing was sent")
    if not click.confirm(f"{says}. Send them?", err=True):
        raise InputError("nothing was sent")
    return False


class _Run:
    """One run: what is shared between the outcomes, the screen and the end."""

    def __init__(self, batch: Batch, bfl: AsyncBFL) -> None:
        self.batch = batch
        self.bfl = bfl
        self.total: int | None = None  # of entries that will be; None: not known
        self.began = time.monotonic()
        self._asked: tuple[float, float] | None = (
            None  # the balance, and what was spent when it was asked for
        )
        self.note = ""
        self.done = 0  # in this run
        # Queued entries that this command does not ask for; None: not known.
        self.left: int | None = None
        self.stopped_by: BFLError | InputError | None = None

    def take(self, planned: LedgerPlan) -> None:
        """Take over the figures of a plan."""
        self.total = planned.plan.new.count + sum(self.batch.counts().values())
        self.left = planned.plan.left_by_state.get(EntryState.QUEUED, 0)

    def snapshot(self) -> Snapshot:
        statistics = self.bfl.statistics()
        account = statistics.pools.get("account")
        balance = None
        if self._asked is not None:
            balance = self._asked[0] - (statistics.credits_spent - self._asked[1])
        return Snapshot(
            counts=self.batch.counts(),
            total=self.total,
            taken=statistics.slots_taken,
            slots=account.limit if account is not None else 0,
            spent=statistics.credits_spent,
            balance=balance,
            seconds=time.monotonic() - self.began,
            note=self.note,
        )

    async def ask_balance(self) -> None:
        """Keep the balance fresh, as far as the server tells it."""
        while True:
            with suppress(BFLError):
                spent = self.bfl.statistics().credits_spent
                self._asked = (await self.bfl.credits(), spent)
            await asyncio.sleep(_BALANCE_S)

    async def watch_slots(self, screen: Screen) -> None:
        """Say why nothing moves while others hold all slots of the account."""
        while True:
            await asyncio.sleep(_STARVED_S)
            now = self.bfl.statistics()
            pool = now.pools["account"]
            if not now.queued or now.submitting or now.active or pool.taken < pool.working:
                if self.note == _STARVED:
                    self.note = ""
            elif not self.note:
                self.note = _STARVED
                screen.say(_STARVED)

    def stop(self, screen: Screen) -> None:
        """Take the first signal."""
        self.batch.stop()
        counts = self.batch.counts()
        running = counts["submitted"] + counts["ready"] + self.bfl.statistics().submitting
        if running:
            self.note = f"stopping: nothing more is sent; waiting for {running} that run (again: leave now)"
            screen.say(self.note)

    def report(self, screen: Screen, outcome: BatchOutcome) -> None:
        """Print an outcome's line."""
        self.done += 1
        prompt = getattr(outcome.request, "prompt", None)
        line: dict[str, object] = {"index": outcome.index}
        if outcome.name is not None:
            line["id"] = outcome.name
        line |= {
            "prompt": prompt,
            "model": outcome.request.model,
            "state": outcome.state.value,
            "task_id": outcome.task_id,
        }
        if outcome.result is not None:
            line |= {"seed": outcome.result.seed, "cost": outcome.result.cost}
        if outcome.file is not None:
            line["file"] = str(outcome.file)
        error = outcome.error
        if error is not None:
            line["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "request_id": error.request_id,
            }
        screen.print_line(json_of(line))
        shown = str(prompt or "")
        screen.show(
            self.batch.counts(),
            shown if error is None else f"{shown[:60]}: {error}",
            failed=error is not None,
        )

    def summary(self) -> None:
        """Print the last line of stdout, and what a person wants to know."""
        counts = self.batch.counts()
        seconds = time.monotonic() - self.began
        spent = self.bfl.statistics().credits_spent
        line = {**counts, "outcomes": self.done, "credits_spent": spent, "seconds": round(seconds, 3)}
        print_json({"summary": line})
        sys.stdout.flush()
        parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        say(f"{self.done} prompts in {seconds:.1f} s; in all: {parts or 'none'}; {spent:g} credits")
        if counts["ambiguous"]:
            say(
                f"{counts['ambiguous']} ambiguous: they may have been made and paid; "
                "--retry-ambiguous sends them again, and may pay a second time"
            )
        if counts["failed"] or counts["moderated"]:
            say(
                f"{counts['failed']} failed, {counts['moderated']} moderated: --retry-failed and "
                "--retry-moderated send them again"
            )
        going_on = counts["submitted"] + counts["ready"]
        if going_on:
            say(
                f"{going_on} go on at the server: the same command again brings them home, within 10 minutes of "
                "their end"
            )
        if unsent := counts["queued"] - (self.left or 0):
            which = "them" if self.left is not None else "those that it asks for"
            say(f"{unsent} were not sent: the same command again goes on with {which}")
        if self.left:
            say(
                f"{self.left} queued entries of an earlier input are left: see --and-earlier, and `bfl-async drop`"
            )


async def run_batch(
    bfl: AsyncBFL,
    batch: Batch,
    rows: Rows,
    *,
    planned: LedgerPlan | None,
    plan_beside: Callable[[Batch], Awaitable[LedgerPlan]] | None = None,
    interrupts: Interrupts,
) -> int:
    """Open a batch, run it, and close it; return the exit code.

    Args:
        planned: What it will send. None: not known yet, or not to be known, as of a pipe.
        plan_beside: Makes the plan while tasks in flight are fetched; nothing is sent before it has returned, and
            nothing if it raises.
    """
    run = _Run(batch, bfl)
    is_open = False
    try:
        async with batch:
            if planned is not None:
                # Nothing can change from here on: the batch holds the ledger.
                planned.check(batch.counts())
                run.take(planned)
            is_open = True
            await _run_open(run, rows, interrupts, plan_beside)
    finally:
        if is_open:
            run.summary()  # once POSTs on their way have ended
    return _exit_code(run)


async def _run_open(
    run: _Run,
    rows: Rows,
    interrupts: Interrupts,
    plan_beside: Callable[[Batch], Awaitable[LedgerPlan]] | None,
) -> None:
    accepted: asyncio.Future[None] | None = None
    if plan_beside is not None:
        accepted = asyncio.get_running_loop().create_future()
    adding = asyncio.create_task(_add(run, rows, plan_beside, accepted))
    beside: list[asyncio.Task[None]] = []
    outcomes = run.batch.run(sends_after=accepted)
    try:
        async with open_screen(run.snapshot) as screen:
            beside.append(asyncio.create_task(run.watch_slots(screen)))
            if can_redraw(sys.stderr):
                beside.append(asyncio.create_task(run.ask_balance()))
            try:
                with interrupts.stopping_with(lambda: _stop(run, adding, screen)):
                    async for outcome in outcomes:
                        try:
                            run.report(screen, outcome)
                        except OSError as exc:
                            # Nobody reads on, or nothing can be written: what is paid is still fetched and saved,
                            # and nothing more is sent.
                            discard(sys.stdout)
                            if interrupts.exit_code is None:
                                is_gone = isinstance(exc, BrokenPipeError)
                                if not is_gone:
                                    say(
                                        f"error: cannot write the output: {exc.strerror or type(exc).__name__}"
                                    )
                                interrupts.interrupt(ExitCode.READER_GONE if is_gone else ExitCode.FAILED)
            except BFLError as exc:
                run.stopped_by = exc
    finally:
        for task in (*beside, adding):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([*beside, adding])
    if not adding.cancelled() and (problem := adding.exception()) is not None:
        if not isinstance(problem, InputError | BFLError):
            raise problem
        run.stopped_by = run.stopped_by or problem


async def _add(
    run: _Run,
    rows: Rows,
    plan_beside: Callable[[Batch], Awaitable[LedgerPlan]] | None,
    accepted: asyncio.Future[None] | None,
) -> int:
    """Add the rows, after the plan where one is made beside the run."""
    if plan_beside is not None and accepted is not None:
        try:
            run.take(await plan_beside(run.batch))
        except BaseException:
            run.batch.stop()
            raise
        # The run goes on in a later turn of the loop, when the adding has begun.
        accepted.set_result(None)
    return await run.batch.add(rows.read())


def _stop(run: _Run, adding: asyncio.Task[int], screen: Screen) -> None:
    adding.cancel()
    run.stop(screen)


def _exit_code(run: _Run) -> int:
    if run.stopped_by is not None:
        message = run.stopped_by.message if isinstance(run.stopped_by, InputError) else str(run.stopped_by)
        say(f"stopped: {message}")
        code = ExitCode.USAGE if isinstance(run.stopped_by, InputError) else exit_code_of(run.stopped_by)
        return code if code in (ExitCode.USAGE, ExitCode.ACCOUNT) else ExitCode.FAILED
    counts = run.batch.counts()
    if counts["saved"] == sum(counts.values()):
        return ExitCode.DONE
    return ExitCode.PARTIAL if counts["saved"] else ExitCode.FAILED
