"""What more than one of the other modules needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"

_TupleT = TypeVar("_TupleT", bound="tuple[Any, ...]")


def distinct(cls: type[_TupleT]) -> type[_TupleT]:
    """Let a named tuple equal no named tuple of another class: two different endings are not one.

    A plain tuple with the same items stays equal, as for every named tuple.
    """
    for name, method in (("__eq__", _equals), ("__ne__", _differs)):
        setattr(cls, name, method)
    return cls


def _equals(value: tuple[Any, ...], other: object) -> bool:
    if type(other) is type(value) or type(other) is tuple:
        return tuple.__eq__(value, other)
    return False if isinstance(other, tuple) else NotImplemented


def _differs(value: tuple[Any, ...], other: object) -> bool:
    is_equal = _equals(value, other)
    return is_equal if is_equal is NotImplemented else not is_equal
