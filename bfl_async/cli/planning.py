"""What a batch will send, planned and in words, before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import click

from bfl_async.batch.counting import count_asked, count_left, with_listed
from bfl_async.batch.lister import read_listed
from bfl_async.batch.plan import IdSet, Plan, Planner, Share, share_of
from bfl_async.batch.requests import key_of, known_files
from bfl_async.cli.files import InputError, TooDearError
from bfl_async.cli.inputs import Inputs
from bfl_async.cli.missing import missing_images, say_missing
from bfl_async.cli.output import print_json, say
from bfl_async.cli.rows import Rows
from bfl_async.cli.words import counted, them
from bfl_async.ledger.reader import LedgerReader, read_ledger
from bfl_async.models import ImageRequest
from bfl_async.runtime.files import Digests
from bfl_async.types.entries import EntryState

# Requests that are looked up in the ledger at a time.
_CHUNK = 500
_READ = 256
# Names of missing images in JSON.
_SHOWN_MISSING = 100


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a command says of entries that its ledger holds already."""

    retry: tuple[EntryState, ...] = ()
    and_earlier: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class LedgerPlan:
    """A plan, and the state of the ledger from which it was made."""

    plan: Plan
    counts: Mapping[str, int]
    notes: Mapping[str, str] = field(default_factory=dict)
    # Names of saved images that are gone, by entry; and of these entries, those that the run makes again.
    missing: Mapping[int, str] = field(default_factory=dict)
    again: Collection[int] = ()

    def as_queued(self) -> LedgerPlan:
        """Return the plan for the ledger once the images that are made again are back in the queue."""
        moved = len(self.again)
        counts = {**self.counts}
        counts["saved"] -= moved
        counts["queued"] += moved
        return replace(self, counts=counts)

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
    rows: Rows | Inputs,
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
    rows: Rows | Inputs,
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
    missing = {} if folder is None else missing_images(reader, folder)
    again = Remade(missing if options.missing else {})
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
        again.add(chunk, known)
    after = 0
    while found := reader.read(planner.states, after=after, most=_READ):
        if is_stopped():
            raise InputError("stopped while it was planned: nothing was sent")
        after = found[-1].id
        count_left(planner, found, digests, spent=spent)
    plan = planner.plan(counts["submitted"] + counts["ready"])
    if again.entries:
        plan = replace(plan, retried={**plan.retried, EntryState.SAVED: again.share})
    return LedgerPlan(plan, counts, notes, missing, again.entries)


class Remade:
    """Images that are made again, since their files are gone.

    Args:
        missing: Entries whose images are gone.
    """

    def __init__(self, missing: Collection[int]) -> None:
        self._missing = missing
        self.entries: set[int] = set()
        self.share: Share = Share()

    def add(
        self, chunk: Sequence[tuple[str, ImageRequest]], known: Mapping[str, tuple[int, EntryState]]
    ) -> None:
        """Take requests of the input, each with its key, and what the ledger knows of them."""
        for key, wanted in chunk if self._missing else ():
            entry_id, _ = known.get(key, (0, None))
            if entry_id in self._missing:
                self.entries.add(entry_id)
                self.share += share_of(wanted)


def _counts_when_held(reader: LedgerReader) -> dict[str, int]:
    """Count the entries by state as a run will find them: what was being submitted is then ambiguous."""
    counts = {state.value: count for state, count in reader.counts().items()}
    counts["ambiguous"] += counts["submitting"]
    counts["submitting"] = 0
    return counts


def print_plan(
    planned: LedgerPlan, slots: int, rows: Rows | Inputs, folder: Path, *, as_json: bool = True
) -> None:
    """Print what a run would do."""
    plan = planned.plan
    if as_json:
        facts = {**_plan_facts(plan, slots, rows), "missing": list(planned.missing.values())[:_SHOWN_MISSING]}
        print_json({"plan": facts})
    say_missing_of(planned, folder)
    for hint in (*rows.hints, *rows.warnings):
        say(hint)
    say(
        f"{counted(plan.requests, 'request')}, {plan.requests - plan.new.count:,} of them in the ledger; "
        f"{in_words(plan, slots)}"
    )
    say_what_is_left(plan)
    say("nothing was sent")


def say_missing_of(planned: LedgerPlan, folder: Path) -> None:
    """Say which images are gone and are not made again."""
    say_missing(
        {entry: name for entry, name in planned.missing.items() if entry not in planned.again}, folder
    )


def _plan_facts(plan: Plan, slots: int, rows: Rows | Inputs) -> dict[str, object]:
    total = plan.total
    return {
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
        "ignored_columns": list(rows.ignored),
        "repeated_ids": list(rows.repeated_ids),
        "hints": [*rows.hints, *rows.warnings],
    }


def _parts(plan: Plan) -> Iterator[tuple[str, Share]]:
    """Yield the parts of what is sent, by name."""
    yield "new", plan.new
    yield "queued", plan.queued
    for state, share in sorted(plan.retried.items()):
        yield "retry_missing" if state is EntryState.SAVED else f"retry_{state.value}", share
    if plan.earlier.count:
        yield "earlier", plan.earlier


def in_words(plan: Plan, slots: int) -> str:
    """Return what a run will send, in words."""
    total = plan.total
    words = {
        "new": "new",
        "queued": "queued by an earlier run",
        "earlier": "of an earlier input",
        "retry_missing": "missing",
    }
    parts = [
        f"{share.count} {words.get(name) or name.replace('retry_', '') + ' before'}"
        for name, share in _parts(plan)
        if share.count
    ]
    text = f"{total.count} to send" + (f" ({', '.join(parts)})" if parts else "")
    if total.count:
        text += f": cost {cost_of(total)}, about {plan.seconds(slots):.0f} s on {counted(slots, 'slot')}"
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
        f"not sent: {counted(plan.left.count, 'entry', 'entries')} of an earlier input that this one does not "
        f"ask for ({states}; cost {cost_of(plan.left)}); --and-earlier sends {them(plan.left.count)} as "
        f"well, `bfl-async drop` removes {them(plan.left.count)}"
    )


def check_cost(plan: Plan, most_usd: float) -> bool:
    """Ask on a terminal, or stop, where a run may cost too much; return whether the cost is within the bound.

    Raises:
        TooDearError: It must not run.
    """
    total = plan.total
    if round(total.credits, 6) <= round(most_usd * 100, 6) and not total.unpriced:
        return True
    says = f"the cost of {counted(total.count, 'request')} is {cost_of(total)}, and --max-cost is {most_usd:g} USD"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise TooDearError(f"{says}: nothing was sent")
    if not click.confirm(f"{says}. Send {them(total.count)}?", err=True):
        raise TooDearError("nothing was sent")
    return False
