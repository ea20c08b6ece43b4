"""What a run will send, before anything is sent: the one rule for it, and its sum.

A run takes up an entry if it was asked for in this session, or if earlier input is sent as well, and if its state
says that it waits for a submit. `is_due` is that rule; the plan and the run both use it, so that a guard on money
sees what the run will do. Pure: no I/O but the headers of input files, whose sizes hang on a price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bfl_async.models.catalog import model_info
from bfl_async.models.pricing import quote_of
from bfl_async.protocols.transport import Request
from bfl_async.types.entries import EntryState

# A log-normal time's mean over its median, with the catalog's spreads.
_MEAN_OF_MEDIAN = 1.1
# What a task keeps its slot for besides, in seconds: the submit, and the poll that sees its end.
_OVERHEAD_S = 0.6
# Sums of floats stay clean. The same places as those of a budget.
_PLACES = 6


def is_due(state: EntryState | None, retry: Collection[EntryState]) -> bool:
    """Return whether a run submits an entry that it takes up; None is a request that the ledger does not hold.

    An entry that is `submitting` while no run holds the ledger counts as ambiguous: its run was killed.
    """
    if state is None or state is EntryState.QUEUED:
        return True
    return _when_held(state) in retry


def _when_held(state: EntryState) -> EntryState:
    """Return the state in which a run that opens the ledger will find an entry."""
    return EntryState.AMBIGUOUS if state is EntryState.SUBMITTING else state


@dataclass(frozen=True, slots=True)
class Share:
    """A number of requests, with their cost and time.

    Attributes:
        count: How many.
        credits: The sum of the known prices; 0.0 where none is known.
        unpriced: How many of them have no known price. They are not in `credits`.
        slot_seconds: How long they keep slots, all together.
    """

    count: int = 0
    credits: float = 0.0
    unpriced: int = 0
    slot_seconds: float = 0.0

    @property
    def usd(self) -> float | None:
        """The sum of the known prices in USD; None where there are requests and none has a known price."""
        if self.count and self.unpriced == self.count:
            return None
        return round(self.credits / 100, _PLACES + 2)

    def __add__(self, other: Share) -> Share:
        return Share(
            self.count + other.count,
            round(self.credits + other.credits, _PLACES),
            self.unpriced + other.unpriced,
            self.slot_seconds + other.slot_seconds,
        )


def share_of(request: Request) -> Share:
    """Return the share of one request. May read the headers of its input files."""
    credits = quote_of(request).credits
    return Share(
        1,
        0.0 if credits is None else credits,
        int(credits is None),
        model_info(request.model).median_s * _MEAN_OF_MEDIAN + _OVERHEAD_S,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run with these requests and options will send, at most: a budget or a signal can stop it before.

    Attributes:
        requests: How many requests the input asks for.
        new: Those that the ledger does not hold yet.
        queued: Those that an earlier run left unsent.
        retried: Those that are sent again, by the state in which they ended.
        earlier: Entries that the input does not ask for and that are sent, since the caller says so.
        left: Entries that the input does not ask for and that are therefore not sent; their number by state is in
            `left_by_state`.
        attached: Tasks in flight, and finished ones whose image is not saved: they are fetched at no cost.
        replaced: Entries that cannot be sent, since their input image was replaced by another one.
    """

    requests: int = 0
    new: Share = field(default_factory=Share)
    queued: Share = field(default_factory=Share)
    retried: Mapping[EntryState, Share] = field(default_factory=dict)
    earlier: Share = field(default_factory=Share)
    left: Share = field(default_factory=Share)
    left_by_state: Mapping[EntryState, int] = field(default_factory=dict)
    attached: int = 0
    replaced: int = 0

    @property
    def total(self) -> Share:
        """All that is sent: new, queued, retried and earlier."""
        total = self.new + self.queued + self.earlier
        for share in self.retried.values():
            total += share
        return total

    def seconds(self, slots: int) -> float:
        """Return about how long a run takes with this number of slots."""
        total = self.total
        return total.slot_seconds / max(1, min(slots, total.count))


class Planner:
    """Sums up a plan: first every request of the input, then the entries of the ledger.

    Args:
        retry: The states whose entries are sent again.
        and_earlier: Send entries that the input does not ask for as well.
    """

    def __init__(self, retry: Collection[EntryState], *, and_earlier: bool) -> None:
        self._retry = frozenset(retry)
        self._and_earlier = and_earlier
        self._asked = IdSet()
        self._requests = self._attached = self._replaced = 0
        self._new = self._queued = self._earlier = self._left = Share()
        self._retried: dict[EntryState, Share] = {}
        self._left_by_state: Counter[EntryState] = Counter()

    @property
    def states(self) -> tuple[EntryState, ...]:
        """The states of the entries that `take` must be given: those that may be sent or attached."""
        retried = set(self._retry)
        if EntryState.AMBIGUOUS in retried:
            retried.add(EntryState.SUBMITTING)
        return (EntryState.QUEUED, *sorted(retried))

    def ask(self, request: Request, found: tuple[int, EntryState] | None, *, is_spent: bool = False) -> None:
        """Count a request of the input.

        Args:
            found: Its entry in the ledger.
            is_spent: This session has sent it again already.
        """
        self._requests += 1
        if found is not None:
            self._asked.add(found[0])
        state = None if found is None else found[1]
        if not is_due(state, self._retry) or (is_spent and state is not EntryState.QUEUED):
            return
        share = share_of(request)
        if state is None:
            self._new += share
        elif state is EntryState.QUEUED:
            self._queued += share
        else:
            state = _when_held(state)
            self._retried[state] = self._retried.get(state, Share()) + share

    def is_asked(self, entry_id: int) -> bool:
        """Return whether the input asks for an entry."""
        return entry_id in self._asked

    def leave(
        self, state: EntryState, request: Request, *, is_asked: bool = False, is_replaced: bool = False
    ) -> None:
        """Count an entry that the input does not ask for, in one of `states`.

        Args:
            is_asked: This session has asked for it before. It is then sent once, and not retried again.
            is_replaced: Its input image was replaced by another one: it cannot be sent.
        """
        if is_asked and state is not EntryState.QUEUED and not self._and_earlier:
            return
        share = share_of(request)
        if not (self._and_earlier or is_asked):
            self._left += share
            self._left_by_state[_when_held(state)] += 1
        elif is_asked and not is_replaced:
            self._queued += share
        elif is_replaced:
            self._replaced += 1
        else:
            self._earlier += share

    def plan(self, attached: int) -> Plan:
        """Return the plan.

        Args:
            attached: How many tasks are fetched at no cost.
        """
        return Plan(
            self._requests,
            self._new,
            self._queued,
            MappingProxyType(dict(self._retried)),
            self._earlier,
            self._left,
            MappingProxyType(dict(self._left_by_state)),
            attached,
            self._replaced,
        )


class IdSet:
    """A set of entries' ids, at one bit each: ids are counted up from 1."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray()

    def __bool__(self) -> bool:
        return bool(self._bits)

    def __contains__(self, entry_id: int) -> bool:
        at = entry_id >> 3
        return at < len(self._bits) and bool(self._bits[at] >> (entry_id & 7) & 1)

    def add(self, entry_id: int) -> bool:
        """Add an id; return whether it was not there."""
        if entry_id in self:
            return False
        at = entry_id >> 3
        if at >= len(self._bits):
            self._bits.extend(bytes(max(at + 1 - len(self._bits), len(self._bits))))
        self._bits[at] |= 1 << (entry_id & 7)
        return True

    def discard(self, entry_id: int) -> None:
        """Remove an id, if it is there."""
        if entry_id in self:
            self._bits[entry_id >> 3] ^= 1 << (entry_id & 7)


__all__ = ["IdSet", "Plan", "Planner", "Share", "is_due", "share_of"]
