"""What is public is documented, as CONTRIBUTING says it should be."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

MODULES = (
    "bfl_async",
    "bfl_async.batch",
    "bfl_async.catalog",
    "bfl_async.errors",
    "bfl_async.events",
    "bfl_async.integrations.aiohttp",
    "bfl_async.integrations.fastapi",
    "bfl_async.integrations.otel",
    "bfl_async.integrations.procrastinate",
    "bfl_async.integrations.web",
    "bfl_async.ledger",
    "bfl_async.limiter",
    "bfl_async.sandbox",
    "bfl_async.sync",
    "bfl_async.testing",
    "bfl_async.types",
    "bfl_async.webhooks",
)


def public_objects() -> Iterator[tuple[str, object]]:
    """Modules, and what they export, with the methods of classes; those of other packages left out."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield module_name, module
        own = [
            name
            for name, each in list(vars(module).items())
            if getattr(each, "__module__", None) == module_name
        ]
        for name in getattr(module, "__all__", own):
            each = getattr(module, name)
            if name.startswith("_") or not is_ours(each):
                continue
            if inspect.isclass(each):
                yield f"{module_name}.{name}", each
                for method, function in methods_of(each):
                    yield f"{module_name}.{name}.{method}", function
            elif inspect.isfunction(each):
                yield f"{module_name}.{name}", each


def is_ours(each: object) -> bool:
    return getattr(each, "__module__", "").startswith("bfl_async")


def methods_of(cls: type) -> Iterator[tuple[str, object]]:
    """Its public methods and properties, inherited ones of ours included."""
    for base in filter(is_ours, cls.__mro__):
        for name, found in list(vars(base).items()):
            function = getattr(found, "fget", getattr(found, "__func__", found))
            if not name.startswith("_") and inspect.isfunction(function) and is_ours(function):
                yield name, function


OBJECTS = dict(public_objects())
COROUTINES = [name for name, each in OBJECTS.items() if inspect.iscoroutinefunction(each)]


def test_everything_public_has_a_docstring() -> None:
    """In words of its own: what `inspect` would inherit does not count."""
    assert len(OBJECTS) > 300
    assert [name for name, each in OBJECTS.items() if not each.__doc__] == []


def test_every_public_coroutine_tells_its_errors() -> None:
    """Closing raises nothing, and needs no section to say so."""
    asked = [name for name in COROUTINES if not name.endswith(".aclose")]
    assert len(asked) > 50
    assert [name for name in asked if "Raises:" not in (OBJECTS[name].__doc__ or "")] == []


def test_every_public_coroutine_tells_what_cancelling_it_does() -> None:
    """By itself, or its class does for all."""
    owners = {name: OBJECTS.get(name.rpartition(".")[0]) for name in COROUTINES}
    told = {name: f"{OBJECTS[name].__doc__}{owner.__doc__}" for name, owner in owners.items()}
    assert [name for name in COROUTINES if "Cancellation:" not in told[name]] == []
