"""What columns and fields of rows may be called, and how a message words what is wrong with a row."""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from bfl_async.cli.field_values import fields_by_name
from bfl_async.cli.files import InputError
from bfl_async.cli.output import SeveralProblems
from bfl_async.cli.stored_catalog import current_catalog
from bfl_async.models._base import EXTRA_BODY
from bfl_async.runtime.text import printable

if TYPE_CHECKING:
    from bfl_async.models.known import Catalog

# A message names what is wrong; it does not repeat a row.
_MAX_MESSAGE_CHARS = 1_000
# Ids that are remembered, and repeated ones that are named.
_MAX_IDS, _MAX_REPEATED = 1_000_000, 100
# How like a field's name a column's name is that was probably meant for it.
_NEAR = 0.75
OPERATORS = "set it for all rows, with --set"


class RowError(InputError):
    """A row that is no request."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _MAX_MESSAGE_CHARS))


class RowsError(InputError, SeveralProblems):
    """Rows of which some are no requests: one line for each, in `message`.

    Attributes:
        problems: What is wrong with the first of them.
        more: How many others there are.
    """

    def __init__(self, problems: Sequence[str], more: int = 0) -> None:
        self.problems: Sequence[str] = problems
        self.more: int = more
        count = len(problems) + more
        head = [f"{count:,} rows cannot be used: nothing was sent"] if count > 1 else []
        rest = [f"and {more:,} more"] if more else []
        super().__init__("\n".join([*head, *problems, *rest]))


class IdCheck:
    """Finds ids that rows repeat: who reads the results by id would take one image for another."""

    def __init__(self) -> None:
        # Hashes: a file may have very many rows, and an id any length.
        self._seen: set[int] = set()
        self.repeated: list[str] = []

    def clear(self) -> None:
        """Begin again: the inputs are read once more."""
        self._seen.clear()
        self.repeated = []

    def add(self, own_id: str) -> None:
        """Take the id of one more row."""
        mark = hash(own_id)
        if mark not in self._seen:
            if len(self._seen) < _MAX_IDS:
                self._seen.add(mark)
        elif len(self.repeated) < _MAX_REPEATED and own_id not in self.repeated:
            self.repeated.append(own_id)


def quoted(text: str) -> str:
    """Return a foreign text in quotes."""
    return f"'{printable(text, 100)}'"


def argument(text: str) -> str:
    """Return a foreign text for a command line that a message proposes: whoever copies it runs nothing else."""
    return shlex.quote(printable(text, 60))


def listed(names: Iterable[str]) -> str:
    """Return foreign names for a message: all of a usual table, and of any other the first ones."""
    shown = [printable(name, 60) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


def is_operators(name: str) -> bool:
    """True for a field that says where results go or in whose name, in any spelling: it is not the row's to say."""
    plain = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name[:100]).casefold()))
    return plain == "user" or plain.startswith("webhook")


def ignoring(name: str) -> str:
    """Return how a command line leaves a column or field out."""
    return f"; --ignore-column {argument(name)} leaves it out"


def field_of(column: str) -> str:
    """Return the field that a column's name may mean."""
    return re.sub(r"[ -]+", "_", column.strip().lower())


def known_fields() -> frozenset[str]:
    """Return what a column may be named for."""
    return _known_fields(current_catalog())


@lru_cache(maxsize=1)
def _known_fields(known: Catalog) -> frozenset[str]:
    names = frozenset({"id", "model", EXTRA_BODY}).union(*(fields_by_name(model) for model in known))
    return frozenset(name for name in names if not is_operators(name))


def near(field: str) -> str | None:
    """Return the field that a name was probably meant for."""
    names = [name for name in known_fields() if abs(len(name) - len(field)) <= 1]
    return next(iter(difflib.get_close_matches(field, sorted(names), 1, _NEAR)), None)
