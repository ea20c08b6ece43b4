"""Secrets that do not show: keys, passwords, webhook secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Self

SHOWN = "[key]"
"""What stands in place of a secret."""


class Secret(str):
    """A text whose repr hides it, so that a traceback with local variables shows nothing.

    Everything else works as with any text: what is sent, hashed or formatted is the secret itself. It cannot be
    pickled, and copies are itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class Unusable:
    """Takes the place of a value that cannot be the secret that it was given as, and may contain it."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind: str = kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def conceal(value: object) -> object:
    """Return a value that no traceback shows: a text as a `Secret`, anything else as `Unusable`.

    None and functions are returned as they are.
    """
    if isinstance(value, str):
        return Secret(value)
    if value is None or callable(value) or isinstance(value, Unusable):
        return value
    return Unusable(type(value).__name__)


_ARGUMENTS = ("api_key", "base_url", "proxy")


def conceal_arguments(
    args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments of a client with its secrets concealed. The first one is the key."""
    named: dict[str, object] = {}
    for name, value in kwargs.items():
        if name in ("default_headers", "query") and isinstance(value, Mapping):
            named[name] = {key: conceal(text) for key, text in value.items()}
        else:
            named[name] = conceal(value) if name in _ARGUMENTS else value
    return tuple(conceal(value) if at == 0 else value for at, value in enumerate(args)), named
