"""Lists that show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from bfl_async import results
from bfl_async.results.outcome import ResultOrError
from bfl_async.results.result import ResultFacts

ItemT = TypeVar("ItemT")

_MOST_TILES = 60


class Sheet(list[ItemT]):
    """A list that a notebook shows as a contact sheet: results, outcomes and errors."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the tiles of the contact sheet. Uses no network."""
        tiles = [_tile(place, item) for place, item in enumerate(self[:_MOST_TILES])]
        return results.contact_sheet(tiles, len(self) - len(tiles))


def _tile(place: int, item: object) -> str:
    if isinstance(item, ResultFacts | ResultOrError):
        return item._tile(place)
    if isinstance(item, BaseException):
        return results.tile(place, type(item).__name__, str(item))
    return results.tile(place, repr(item))


def show(items: Iterable[ItemT]) -> Sheet[ItemT]:
    """Return the items as a list that a notebook shows as a contact sheet.

    `gather` returns such a list. This function is for the outcomes of a stream or a batch:
    `show([outcome async for outcome in bfl.stream(requests)])`. At most 60 tiles are shown.

    Args:
        items: Results, outcomes and errors, of asynchronous or blocking clients.
    """
    return Sheet(items)
