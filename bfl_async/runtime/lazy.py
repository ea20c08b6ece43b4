"""Names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from bfl_async.errors import BFLError


def load(module: str) -> ModuleType:
    """Import a module of this package in the middle of a call.

    Args:
        module: Its name without the leading `bfl_async.`.
    Raises:
        BFLError: Its file cannot be read now; mostly the process has too many files open.
    """
    try:
        return importlib.import_module(f"bfl_async.{module}")
    except OSError as exc:
        raise BFLError(f"bfl_async.{module} cannot be loaded: {exc.strerror or exc}") from exc


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose names stand in other modules.

    Args:
        package: The package's `__name__`.
        homes: By name, the module that defines it, without the leading `bfl_async.`.
    """

    def resolve(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(load(home), name)
        # From now on the name is found without a call.
        setattr(sys.modules[package], name, value)
        return value

    return resolve
