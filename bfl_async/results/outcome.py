"""How one request of a stream ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Generic,
    TypeVar,
)

from bfl_async import results
from bfl_async.errors import BFLError

if TYPE_CHECKING:
    from bfl_async.results.result import Result, ResultFacts

ResultT = TypeVar("ResultT", bound="ResultFacts")


class ResultOrError(Generic[ResultT]):
    """What an outcome has: a result or an error."""

    __slots__ = ()

    result: ResultT | None
    error: BFLError | None

    @property
    def ok(self) -> bool:
        """True when there is a result."""
        return self.error is None

    def unwrap(self) -> ResultT:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error.fresh()
        assert self.result is not None
        return self.result

    def _repr_html_(self) -> str:
        """Return the picture or the error for a notebook. Uses no network."""
        return results.contact_sheet([self._tile(None)], 0)

    def _tile(self, place: int | None) -> str:
        place = getattr(self, "index", place)
        if self.result is not None:
            return self.result._tile(place, getattr(self, "file", None))
        return results.tile(place, type(self.error).__name__, str(self.error))


@dataclass(frozen=True, slots=True)
class Outcome(ResultOrError["Result"]):
    """One item of a stream: the request as it was given, with its result or its error."""

    index: int
    request: object = field(repr=False)  # it holds the prompt
    task_id: str | None
    result: Result | None
    error: BFLError | None
