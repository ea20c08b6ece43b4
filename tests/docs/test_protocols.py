"""Whoever writes a part of their own finds its protocol, and all that passes through it, under a public name."""

from __future__ import annotations

import inspect
import typing

import pytest

import bfl_async
from bfl_async import errors, events, types
from tests.docs.pages import ROOT

PROTOCOLS = [name for name in types.__all__ if getattr(getattr(types, name), "_is_protocol", False)]
PUBLIC = [
    (name, getattr(module, name))
    for module in (bfl_async, errors, types, events)
    for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
]


def classes_in(hint: object) -> set[type]:
    """Those of ours that an annotation names."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return {hint} if hint.__module__.startswith("bfl_async") else set()
    return {cls for part in typing.get_args(hint) for cls in classes_in(part)}


def functions_of(cls: type) -> list[object]:
    """Its methods, and what computes its properties."""
    found = [getattr(each, "fget", each) for each in vars(cls).values()]
    return [each for each in found if inspect.isfunction(each) and each.__module__ == cls.__module__]


def test_there_is_a_protocol_for_each_part() -> None:
    """A rename is seen here."""
    assert {"Ledger", "Limiter", "Observer", "Polling", "PollingTraits", "Transport", "Webhook"} <= set(
        PROTOCOLS
    )


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_passes_through_a_protocol_has_a_public_name(name: str) -> None:
    """Its type can be written down without a private module."""
    private = {
        cls.__qualname__
        for function in functions_of(getattr(types, name))
        for hint in typing.get_type_hints(function, localns=dict(PUBLIC)).values()
        for cls in classes_in(hint)
        if cls not in [each for _, each in PUBLIC]
    }
    assert private == set()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol_stands_in_the_reference(name: str) -> None:
    """With all of its methods."""
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    assert f"::: bfl_async.types.{name}\n" in pages or f"::: bfl_async.webhooks.{name}\n" in pages
