"""Every request that is not settled, by its state and by its task."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bfl_async.engine.entry import Entry
from bfl_async.runtime.bell import Bell
from bfl_async.runtime.ordered import OrderedSet
from bfl_async.types.lifecycle import State


class OpenEntries:
    """The lists behind the scheduler's state table.

    Invariant: an entry that is not settled is in exactly one of the three states' lists, and its `state` says in
    which. Only `add`, `move` and `remove` change them, and the scheduler alone calls these.
    """

    def __init__(self) -> None:
        self._by_state: dict[State, OrderedSet[Entry]] = {
            State.QUEUED: OrderedSet(),
            State.SUBMITTING: OrderedSet(),
            State.SUBMITTED: OrderedSet(),
        }
        # Only entries whose task is known. An id that two requests share leads to the first one.
        self._by_task: dict[str, Entry] = {}
        # A drain waits until nothing is left, closing for the last POST.
        self._changed = Bell()

    @property
    def queued(self) -> Collection[Entry]:
        """Those for which nothing is on its way."""
        return self._by_state[State.QUEUED]

    @property
    def submitting(self) -> Collection[Entry]:
        """Those whose POST is on its way."""
        return self._by_state[State.SUBMITTING]

    @property
    def submitted(self) -> Collection[Entry]:
        """Those whose task is followed."""
        return self._by_state[State.SUBMITTED]

    @property
    def by_task(self) -> Mapping[str, Entry]:
        """Those whose task is followed, by its id."""
        return self._by_task

    def __bool__(self) -> bool:
        """True while there is any."""
        return any(self._by_state.values())

    def add(self, entry: Entry) -> None:
        """Take in a new entry, as queued."""
        self._by_state[State.QUEUED].add(entry)

    def move(self, entry: Entry, state: State) -> None:
        """Give an open entry another of the three states."""
        # At the end of its new list: one that goes back to the queue is behind others here, and keeps its place in the
        # limiter, which alone decides who is next.
        self._by_state[entry.state].discard(entry)
        self._by_state[state].add(entry)
        entry.state = state
        self._changed.ring()

    def name(self, entry: Entry, task_id: str) -> None:
        """Note whose task it is. Two requests for one task share the first one's entry."""
        self._by_task.setdefault(task_id, entry)

    def remove(self, entry: Entry) -> None:
        """Let go of an entry, which keeps the state that it has. `notify_waiters` must follow."""
        self._by_state[entry.state].discard(entry)
        # Not if another entry was first with this id: it is still followed.
        if entry.task_id is not None and self._by_task.get(entry.task_id) is entry:
            del self._by_task[entry.task_id]

    def notify_waiters(self) -> None:
        """Wake those who wait for an empty list.

        After a removal this comes last, when the entry's own callers were notified: one of them may begin its next
        request in that turn of the loop, and a drain must wait for that as well.
        """
        self._changed.ring()

    async def wait_empty(self) -> None:
        """Wait until nothing is queued or in flight."""
        await self._changed.wait_until(lambda: not self)

    async def wait_answered(self) -> None:
        """Wait until no POST is on its way."""
        await self._changed.wait_until(lambda: not self.submitting)
