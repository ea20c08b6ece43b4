"""The batch command's work: rows into a ledger, and from there to images."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

from bfl_async import AsyncBFL, Batch, BatchOutcome
from bfl_async.cli.batch_summary import advice, summary_line
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.files import InputError
from bfl_async.cli.inputs import Inputs
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.output import can_redraw, discard, json_of, lines_of, print_json, say
from bfl_async.cli.planning import LedgerPlan
from bfl_async.cli.reaching import Reaching
from bfl_async.cli.rows import Rows
from bfl_async.cli.screen import Screen, open_screen
from bfl_async.cli.snapshot import Ended, Manner, Snapshot, problem_of
from bfl_async.cli.words import counted
from bfl_async.errors import BFLError, UntrustedURLError
from bfl_async.types.entries import EntryState

# How often the display asks for the balance, in seconds.
_BALANCE_S = 30.0
# How often a run looks whether it waits for the server or for slots alone, in seconds.
_WATCH_S = 5.0
_STARVED = (
    "waiting for a slot: other programs use all slots of this account, or a run was killed; the slots of a "
    "killed run are free again within a minute"
)


class _Run:
    """One run: what is shared between the outcomes, the screen and the end."""

    def __init__(self, batch: Batch, bfl: AsyncBFL, manner: Manner, reaching: Reaching) -> None:
        self.batch = batch
        self.manner = manner
        self.is_over = False
        self.bfl = bfl
        self.total: int | None = None  # of entries that will be; None: not known
        self.began = time.monotonic()
        # The balance, and what was spent when it was asked for.
        self._asked: tuple[float, float] | None = None
        self.note = ""
        self.reaching = reaching
        # Whether an outage was said, where nothing is drawn.
        self._is_lost = False
        self.done = 0  # in this run
        # Queued entries that this command does not ask for; None: not known.
        self.left: int | None = None
        # Tasks whose polling URL is of a host that must not get the key.
        self.elsewhere: int = 0
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
            note="" if self.is_over else "; ".join(filter(None, (self.note, self._outage()))),
            is_over=self.is_over,
        )

    async def ask_balance(self) -> None:
        """Keep the balance fresh, as far as the server tells it."""
        while True:
            with suppress(BFLError):
                spent = self.bfl.statistics().credits_spent
                self._asked = (await self.bfl.credits(), spent)
            await asyncio.sleep(_BALANCE_S)

    def _outage(self) -> str:
        """Return what is to be said while the server gives no answer; "" while it does."""
        if not self.reaching.is_lost:
            return ""
        return f"trying to reach the server ({self.reaching.reason()})"

    def _say_outage(self, screen: Screen) -> None:
        """Say where nothing is drawn that an outage has begun or ended."""
        if (is_lost := self.reaching.is_lost) != self._is_lost:
            self._is_lost = is_lost
            screen.say(self._outage() if is_lost else "the server answers again")

    async def watch(self, screen: Screen) -> None:
        """Say why nothing moves: the server is away, or others hold all slots of the account."""
        while True:
            await asyncio.sleep(_WATCH_S)
            self._say_outage(screen)
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
            self.note = (
                f"stopping: nothing more is sent; waiting for {counted(running, 'image')} (Ctrl-C again leaves at "
                "once)"
            )
            screen.say(self.note)

    def report(self, screen: Screen, outcome: BatchOutcome) -> None:
        """Print an outcome."""
        # Before what came of the answer.
        self._say_outage(screen)
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
        file = None if outcome.file is None else str(outcome.file)
        if file is not None:
            line["file"] = file
        error = outcome.error
        self.elsewhere += isinstance(error, UntrustedURLError)
        if error is not None:
            line["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "request_id": error.request_id,
            }
        problem = None if error is None else problem_of(error)
        ended = Ended(
            self.done, outcome.state.value, str(prompt or ""), file, problem, outcome.index, outcome.name
        )
        screen.report(json_of(line), ended)

    def summary(self) -> None:
        """Print the last line of stdout, and what a person wants to know."""
        counts = self.batch.counts()
        seconds = time.monotonic() - self.began
        spent = self.bfl.statistics().credits_spent
        if self.manner.as_json:
            line = {**counts, "outcomes": self.done, "credits_spent": spent, "seconds": round(seconds, 3)}
            print_json({"summary": line})
            sys.stdout.flush()
        if not self.manner.is_quiet:
            say(summary_line(counts, outcomes=self.done, spent_credits=spent, seconds=seconds))
        for sentence in advice(counts, left=self.left, ledger=self.manner.ledger, elsewhere=self.elsewhere):
            say(sentence)


async def run_batch(
    bfl: AsyncBFL,
    batch: Batch,
    rows: Rows | Inputs,
    *,
    planned: LedgerPlan | None,
    plan_beside: Callable[[Batch], Awaitable[LedgerPlan]] | None = None,
    interrupts: Interrupts,
    manner: Manner | None = None,
    reaching: Reaching | None = None,
) -> int:
    """Open a batch, run it, and close it; return the exit code.

    Args:
        manner: How its outcomes are written. None: as JSON, with plain lines.
        reaching: The client's observer. None: nothing is said of a server that is away.
        planned: What it will send. None: not known yet, or not to be known, as of a pipe.
        plan_beside: Makes the plan while tasks in flight are fetched; nothing is sent before it has returned, and
            nothing if it raises.
    """
    run = _Run(batch, bfl, manner or Manner(), reaching or Reaching())
    is_open = False
    try:
        # The display is closed after the batch: its last frame shows how that has ended.
        async with AsyncExitStack() as around:
            try:
                async with batch:
                    if planned is not None:
                        # Nothing can change from here on: the batch holds the ledger.
                        planned.check(batch.counts())
                        run.take(planned)
                    is_open = True
                    screen = await around.enter_async_context(open_screen(run.snapshot, run.manner))
                    await _run_open(run, rows, interrupts, plan_beside, screen)
            finally:
                run.is_over = True
    finally:
        if is_open:
            run.summary()  # once POSTs on their way have ended
    return _exit_code(run)


async def _run_open(
    run: _Run,
    rows: Rows | Inputs,
    interrupts: Interrupts,
    plan_beside: Callable[[Batch], Awaitable[LedgerPlan]] | None,
    screen: Screen,
) -> None:
    accepted: asyncio.Future[None] | None = None
    if plan_beside is not None:
        accepted = asyncio.get_running_loop().create_future()
    adding = asyncio.create_task(_add(run, rows, plan_beside, accepted))
    beside: list[asyncio.Task[None]] = []
    outcomes = run.batch.run(sends_after=accepted)
    try:
        beside.append(asyncio.create_task(run.watch(screen)))
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
                                say(f"error: cannot write the output: {exc.strerror or type(exc).__name__}")
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
    rows: Rows | Inputs,
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
        if isinstance(run.stopped_by, InputError):
            for line in lines_of(run.stopped_by, "stopped"):
                say(line)
            return run.stopped_by.exit_code
        say(f"stopped: {run.stopped_by}")
        code = exit_code_of(run.stopped_by)
        return code if code in (ExitCode.USAGE, ExitCode.ACCOUNT) else ExitCode.FAILED
    counts = run.batch.counts()
    if counts["saved"] == sum(counts.values()):
        return ExitCode.DONE
    return ExitCode.PARTIAL if counts["saved"] else ExitCode.FAILED
