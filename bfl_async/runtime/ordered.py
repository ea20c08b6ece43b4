"""A set that keeps the order in which its items came."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class OrderedSet(dict[T, None]):
    """The keys of a dict: adding, removing and looking up take O(1), and the oldest item comes first.

    An item that is added again keeps its place.
    """

    __slots__ = ()

    def add(self, item: T) -> None:
        """Add an item behind all others, unless it is there."""
        self[item] = None

    def remove(self, item: T) -> None:
        """Remove an item.

        Raises:
            KeyError: It is not there.
        """
        del self[item]

    def discard(self, item: T) -> None:
        """Remove an item if it is there."""
        self.pop(item, None)
