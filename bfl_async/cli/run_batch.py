"""The batch command's work: rows into a ledger, and from there to images."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from bfl_async import AsyncBFL, Batch, BatchOutcome
from bfl_async.batch import key_of
from bfl_async.cli.exit_codes import ExitCode, exit_code_of
from bfl_async.cli.files import InputError
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.output import can_redraw, discard, json_of, print_json, say
from bfl_async.cli.rows import Rows
from bfl_async.cli.screen import Screen, Snapshot, open_screen
from bfl_async.errors import BFLError
from bfl_async.ledger import count_known
from bfl_async.models import ImageRequest, model_info
from bfl_async.models.pricing import estimate

_BALANCE_S = 30.0  # how often the display asks for the balance
_MEAN_OF_MEDIAN = 1.1  # a log-normal time's mean over its median, with the catalog's spreads


@dataclass(slots=True)
class Plan:
    """What an input asks for, before anything is sent."""

    rows: int = 0
    new: int = 0
    busy_s: float = 0.0  # of slots, for the new ones
    usd: float = 0.0  # for the new ones whose price is known
    unpriced: int = 0  # new ones whose price is not

    @property
    def cost(self) -> str:
        """What the new ones may cost, in words."""
        known = f"about {self.usd:.2f} USD"
        if not self.unpriced:
            return known
        if self.unpriced == self.new:
            return "unknown"
        return f"{known}, and {self.unpriced} of unknown price"

    def seconds(self, slots: int) -> float:
        """Return about how long the new ones take."""
        return self.busy_s / slots


def make_plan(rows: Rows, ledger: Path) -> Plan:
    """Check every row of a file, and count what it asks for.

    Raises:
        InputError: Rows that are none, each named.
    """
    plan = Plan()
    seen: dict[int, int] = {}
    waiting: list[tuple[str, ImageRequest]] = []

    def count_new() -> None:
        keys = [key for key, _ in waiting]
        known = count_known(ledger, keys)
        # Mostly all of them or none: an exact answer for each is asked for where it is neither.
        news = [
            one
            for key, one in waiting
            if known == 0 or (known < len(keys) and not count_known(ledger, [key]))
        ]
        plan.new += len(news)
        for one in news:
            plan.busy_s += model_info(one.model).median_s * _MEAN_OF_MEDIAN + 0.6
            usd = estimate(one).usd
            if usd is None:
                plan.unpriced += 1
            else:
                plan.usd += usd
        waiting.clear()

    for given in rows.check():
        plan.rows += 1
        waiting.append((key_of(given, seen), given[1] if isinstance(given, tuple) else given))
        if len(waiting) >= 500:
            count_new()
    count_new()
    return plan


def tell_plan(plan: Plan, slots: int) -> None:
    """Print what a run would do."""
    known = plan.rows - plan.new
    seconds = plan.seconds(slots)
    line = {
        "requests": plan.rows,
        "new": plan.new,
        "in_ledger": known,
        "usd": round(plan.usd, 4),
        "unpriced": plan.unpriced,
        "seconds": round(seconds, 1),
    }
    print_json({"plan": line})
    say(
        f"{plan.rows} requests, {known} of them in the ledger already; {plan.new} new: cost {plan.cost}, "
        f"about {seconds:.0f} s on {slots} slots; nothing was sent"
    )


def check_cost(plan: Plan, most_usd: float) -> None:
    """Ask on a terminal, or stop, where a run may cost too much.

    Raises:
        InputError: It is not to be run.
    """
    if plan.usd <= most_usd and not plan.unpriced:
        return
    says = f"the cost of {plan.new} new requests is {plan.cost}, and --max-cost is {most_usd:g} USD"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"{says}: nothing was sent")
    if not click.confirm(f"{says}. Send them?", err=True):
        raise InputError("nothing was sent")


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
        self.stopped_by: BFLError | InputError | None = None

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
            line["error"] = {"type": type(error).__name__, "message": str(error)}
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
                f"{counts['ambiguous']} ambiguous: they may have been made and paid, and nobody can ask; "
                "--retry-ambiguous sends them again"
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
        if counts["queued"]:
            say(f"{counts['queued']} were not sent: the same command again goes on with them")


async def run_batch(
    bfl: AsyncBFL, batch: Batch, rows: Rows, *, new: int | None, interrupts: Interrupts
) -> int:
    """Open a batch, run it, and close it; return the exit code.

    Args:
        new: How many requests are not in the ledger yet; None: not known.
    """
    run = _Run(batch, bfl)
    is_open = False
    try:
        async with batch:
            is_open = True
            if new is not None:
                run.total = new + sum(batch.counts().values())
            await _run_open(run, rows, interrupts)
    finally:
        if is_open:
            run.summary()  # once POSTs on their way have ended
    return _exit_code(run)


async def _run_open(run: _Run, rows: Rows, interrupts: Interrupts) -> None:
    adding = asyncio.create_task(run.batch.add(rows.read()))
    balance: asyncio.Task[None] | None = None
    outcomes = run.batch.run()
    try:
        async with open_screen(run.snapshot) as screen:
            if can_redraw(sys.stderr):
                balance = asyncio.create_task(run.ask_balance())
            try:
                with interrupts.stopping_with(lambda: _stop(run, adding, screen)):
                    async for outcome in outcomes:
                        try:
                            run.report(screen, outcome)
                        except BrokenPipeError:
                            # Nobody reads on: what is paid still comes home, and nothing more is.
                            discard(sys.stdout)
                            if interrupts.exit_code is None:
                                interrupts.interrupt(ExitCode.READER_GONE)
            except BFLError as exc:
                run.stopped_by = exc
    finally:
        if balance is not None:
            balance.cancel()
        adding.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([adding])
    if not adding.cancelled() and (problem := adding.exception()) is not None:
        if not isinstance(problem, InputError | BFLError):
            raise problem
        run.stopped_by = run.stopped_by or problem


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
