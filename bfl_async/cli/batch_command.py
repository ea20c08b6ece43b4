"""The batch command from its options to its exit code: what is planned, asked and opened before rows are sent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from bfl_async import AsyncBFL, Batch, Budget, Timeouts
from bfl_async._config import ACCOUNT, DEFAULT_ACCOUNT, DISCOVER, resolve_base_url, resolve_key
from bfl_async.batch.counting import reserved_names
from bfl_async.batch.home import check_home, home_of
from bfl_async.batch.naming import DEFAULT_TEMPLATE, NameTemplate
from bfl_async.cli.files import InputError, check_folder, check_place
from bfl_async.cli.inputs import Inputs
from bfl_async.cli.interrupts import Interrupts
from bfl_async.cli.limit_option import Limit
from bfl_async.cli.missing import queue_again
from bfl_async.cli.opening import open_client
from bfl_async.cli.output import say
from bfl_async.cli.planning import (
    LedgerPlan,
    PlanOptions,
    check_cost,
    count_in_flight,
    in_words,
    make_plan,
    print_plan,
    say_missing_of,
    say_what_is_left,
)
from bfl_async.cli.reaching import Reaching
from bfl_async.cli.run_batch import run_batch
from bfl_async.cli.show_status import LEDGER_NAME
from bfl_async.cli.snapshot import Manner
from bfl_async.cli.threads import in_thread, in_thread_until_stopped
from bfl_async.errors import ConfigError
from bfl_async.runtime.text import printable
from bfl_async.types.entries import EntryState
from bfl_async.types.statistics import Statistics

_SLOTS = DEFAULT_ACCOUNT
# Any server on this machine is at home there.
_SANDBOX_URL = "http://127.0.0.1"
# From this share of its time on, slots have limited a run.
_LIMITED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the command line says, by the names of its options."""

    rows: Inputs
    output: Path
    ledger: Path | None
    name: str | None
    limit: Limit | None
    retry_ambiguous: bool
    retry_failed: bool
    retry_moderated: bool
    retry_missing: bool
    and_earlier: bool
    dry_run: bool
    max_cost: float | None
    budget: float | None
    timeout: float | None
    as_json: bool
    quiet: bool
    sandbox: bool

    @property
    def where(self) -> Path:
        """The ledger."""
        return self.ledger if self.ledger is not None else self.output / LEDGER_NAME

    @property
    def template(self) -> str:
        """Of the images' names."""
        return self.name if self.name is not None else DEFAULT_TEMPLATE

    @property
    def slots(self) -> int:
        """Active tasks at a time, as far as they are known before the run."""
        return self.limit if isinstance(self.limit, int) else _SLOTS

    @property
    def manner(self) -> Manner:
        """How the outcomes are written: for a person only where stdout is a terminal."""
        ledger = self.output if self.ledger is None else self.ledger
        return Manner(self.as_json or not sys.stdout.isatty(), self.quiet, printable(str(ledger)))

    def batch(self, bfl: AsyncBFL) -> Batch:
        """Return the batch that is run, not open yet."""
        return Batch.open(
            self.where,
            bfl,
            save_to=self.output,
            name=self.template,
            retry_ambiguous=self.retry_ambiguous,
            retry_failed=self.retry_failed,
            retry_moderated=self.retry_moderated,
            and_earlier=self.and_earlier,
        )

    def for_plan(self) -> PlanOptions:
        """Return what they say of entries that the ledger holds already."""
        wanted = {
            EntryState.AMBIGUOUS: self.retry_ambiguous,
            EntryState.FAILED: self.retry_failed,
            EntryState.MODERATED: self.retry_moderated,
        }
        return PlanOptions(
            tuple(state for state, is_wanted in wanted.items() if is_wanted),
            self.and_earlier,
            self.retry_missing,
        )


async def generate_rows(options: BatchOptions, interrupts: Interrupts) -> int:
    """Generate an image for each row; return the exit code.

    Raises:
        InputError: A row, a name or a folder cannot be used, or the run costs too much.
        click.UsageError: The options do not fit a pipe.
    """
    rows = options.rows
    # Before anything is read.
    _check_template(options)
    planning = _Planning(options)
    planned = None
    is_beside = await planning.is_beside()
    if not is_beside and not rows.is_pipe:
        planned = await planning.plan()
        if options.dry_run:
            check_place(options.output)
            print_plan(planned, options.slots, rows, options.output, as_json=options.manner.as_json)
            return 0
        await planning.check(planned)
        if planned.again:
            await queue_again(options.where, planned.again)
            planned = planned.as_queued()
    check_folder(options.output)
    timeouts = None if options.timeout is None else Timeouts(task=options.timeout)
    began = time.monotonic()
    reaching = Reaching()
    async with AsyncExitStack() as stack:
        bfl = await open_client(
            stack,
            sandbox=options.sandbox,
            limit=options.limit,
            timeouts=timeouts,
            budget=planning.budget(),
            observer=reaching,
        )
        beside = planning.plan_beside if is_beside else None
        code = await run_batch(
            bfl,
            options.batch(bfl),
            rows,
            planned=planned,
            plan_beside=beside,
            interrupts=interrupts,
            manner=options.manner,
            reaching=reaching,
        )
        if not options.quiet:
            _say_what_limited(bfl.statistics(), options.limit, time.monotonic() - began)
        return code


def _check_template(options: BatchOptions) -> None:
    try:
        NameTemplate(options.template, reserved=reserved_names(options.output, options.where))
    except ConfigError as exc:
        raise InputError(f"--name: {exc}") from exc


def _say_what_limited(statistics: Statistics, limit: Limit | None, seconds: float) -> None:
    """Report that slots have limited a run, and how to find out whether the account may have more."""
    account = statistics.pools[ACCOUNT]
    share = statistics.slots_full_s / seconds if seconds > 0 else 0.0
    if share < _LIMITED_SHARE:
        return
    says = f"all {account.limit} slots were taken for {share:.0%} of the run"
    if limit == DISCOVER:
        say(f"{says}; the account allows {account.limit}, as far as is known")
    else:
        say(f"{says}: if the account may have more active tasks, --limit discover finds out how many")


class _Planning:
    """The plan of a run, and the bounds of its cost.

    Where tasks of an earlier run are in flight, the plan is made beside the run: their images wait at the server for
    minutes only. Where somebody can be asked about the cost, it comes first all the same.
    """

    def __init__(self, options: BatchOptions) -> None:
        self._options = options
        self._caps_usd = [] if options.budget is None else [options.budget]

    async def is_beside(self) -> bool:
        """Whether the plan is made while the run goes on already; from then on the bound of the cost is a budget.

        Raises:
            click.UsageError: A plan is asked for, and none can be made.
        """
        options = self._options
        if options.rows.is_pipe:
            if options.dry_run or options.max_cost is not None or options.retry_missing:
                raise click.UsageError(
                    "--dry-run, --max-cost and --retry-missing need a file: a pipe can be read only once"
                )
            return False
        can_ask = options.max_cost is not None and sys.stdin.isatty()
        if (
            options.dry_run
            or can_ask
            or options.retry_missing
            or await in_thread(lambda: count_in_flight(options.where)) == 0
        ):
            return False
        self._caps_usd += [] if options.max_cost is None else [options.max_cost]
        return True

    async def plan(self) -> LedgerPlan:
        """Plan before the run.

        Raises:
            ConfigError: The ledger belongs to another API than that of the run.
        """
        planned = await self._make(None)
        self._check_home(planned.notes)
        return planned

    def _check_home(self, notes: Mapping[str, str]) -> None:
        ledger = str(self._options.where)
        if self._options.sandbox:
            check_home(notes, home_of(_SANDBOX_URL), ledger)
            return
        base_url = resolve_base_url(None, allow_http=True)
        try:
            resolve_key(None)
        except ConfigError:
            # A dry run needs no key. Without one, the next run may well be one with --sandbox.
            if notes.get("home", "") == home_of(_SANDBOX_URL) != home_of(base_url):
                say(
                    f"{ledger!r} was begun with the sandbox: add --sandbox to go on with it, or choose another folder"
                )
            return
        check_home(notes, home_of(base_url), ledger)

    async def plan_beside(self, opened: Batch) -> LedgerPlan:
        """Plan while a run goes on, and check the plan."""
        planned = await self._make(opened)
        await self.check(planned)
        return planned

    async def _make(self, opened: Batch | None) -> LedgerPlan:
        options = self._options

        def make(is_stopped: Callable[[], bool]) -> LedgerPlan:
            # What an open batch has taken up is read late: it takes up more meanwhile.
            spent = () if opened is None else opened._shelf.spent
            return make_plan(
                options.rows, options.where, options.for_plan(), is_stopped, spent, options.output
            )

        return await in_thread_until_stopped(make)

    async def check(self, planned: LedgerPlan) -> None:
        """Say what will be sent, and ask or stop where it may cost too much.

        Raises:
            InputError: It must not run.
        """
        say_missing_of(planned, self._options.output)
        plan, most_usd = planned.plan, self._options.max_cost
        for warning in self._options.rows.warnings:
            say(warning)
        say_what_is_left(plan)
        if plan.total.count and plan.total.count != plan.new.count:
            say(in_words(plan, self._options.slots))
        if most_usd is not None and await in_thread(lambda: check_cost(plan, most_usd)):
            # The budget holds the bound also if the file changes from here on.
            self._caps_usd.append(most_usd)

    def budget(self) -> Budget | None:
        """Return what the run may spend, as far as it is known when the client is opened."""
        return Budget(usd=min(self._caps_usd)) if self._caps_usd else None
