"""What a misspelt name was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Less alike are names that a reader would not take for each other.
_LEAST_LIKENESS = 0.7


def close_to(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to a misspelt one; None if none is close."""
    names = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold()[:100], names, 1, _LEAST_LIKENESS)
    return names[found[0]] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the words that ask for the name that was meant; "" if none is close."""
    near = close_to(name, known)
    return "" if near is None else f": did you mean {near!r}?"
