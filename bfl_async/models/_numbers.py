"""Numbers of other libraries as Python's own: JSON knows one kind of number, and data tools have many."""

from __future__ import annotations

import numbers
import operator
import re
from decimal import Decimal
from typing import cast

# Beyond this, a float may stand for several whole numbers.
_MAX_EXACT = 2**53


def plain_number(value: object, *, whole: bool) -> object:
    """Return a number as Python's own `int` or `float`; anything else, `bool` included, as it is.

    JSON knows one kind of number, and tools for data write 42 as 42.0 or as a type of their own. A type is a number
    if it is registered as one, or has `__index__` or `__float__`, as those of numpy have; numpy is not imported. A
    `Decimal` is not one: whoever uses it may rely on digits that a float does not have.

    Args:
        whole: Return a float without a fraction as an `int`.
    """
    # Checked first, since almost every value is one of these.
    if isinstance(value, bool | int | str | bytes | Decimal) or value is None:
        return value
    kind = type(value)
    # An array of one number is not a number, and a foreign bool is not a number in JSON.
    if getattr(value, "ndim", 0) or "bool" in kind.__name__ or _is_foreign_bool(value):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if hasattr(kind, "__index__"):
        try:
            return operator.index(cast("int", value))
        except (TypeError, ValueError, OverflowError):
            pass
    if not hasattr(kind, "__float__"):
        return value
    number = _as_float(value)
    if number is None:
        return value
    return int(number) if whole and abs(number) <= _MAX_EXACT and number.is_integer() else number


def _as_float(value: object) -> float | None:
    try:
        return float(cast("float", value))
    # What other libraries raise here is not known: such a value is left as it is, and refused by its field.
    except Exception:
        return None


def _is_foreign_bool(value: object) -> bool:
    """Return whether a scalar of an array library is a truth value, such as an element of a mask."""
    kind = getattr(value, "dtype", None)
    return kind is not None and "bool" in str(kind)


def is_number(value: object) -> bool:
    """True for what `plain_number` returns as a number, `bool` left out."""
    return not isinstance(value, bool) and isinstance(plain_number(value, whole=False), int | float)


_RATIO = r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*:\s*(\d{1,6}(?:\.\d{1,6})?)\s*"


def ratio_of(text: object) -> float | None:
    """Return the quotient of a text such as `16:9`; None if it is not a ratio."""
    found = re.fullmatch(_RATIO, text) if isinstance(text, str) else None
    if found is None:
        return None
    width, height = float(found[1]), float(found[2])
    return width / height if width and height else None
