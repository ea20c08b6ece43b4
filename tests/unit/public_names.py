"""Writes the public names of the release that runs it.

    cd OTHER_TREE && PYTHONPATH=. python THIS_TREE/tests/unit/public_names.py > THIS_TREE/tests/unit/public_names.json

A module is public if nothing in its path begins with an underscore. Its public names are those of its `__all__`, or
without one those that it defines or exports (`import name as name`) and that begin with no underscore. The modules of
the command line have a public path, and no names: its interface is the shell.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import bfl_async


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module."""
    listed: list[str] | None = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    if module.__name__.startswith("bfl_async.cli."):
        return []
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__ or "").read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names.update(target.id for target in node.targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.ImportFrom():
                names.update(each.name for each in node.names if each.asname == each.name)
    return sorted(name for name in names if not name.startswith("_"))


def public_modules() -> list[str]:
    """Return the paths of the public modules."""
    found = pkgutil.walk_packages(bfl_async.__path__, "bfl_async.")
    paths = ["bfl_async", *(each.name for each in found)]
    return [path for path in paths if not any(part.startswith("_") for part in path.split("."))]


if __name__ == "__main__":
    names = {path: public_names(importlib.import_module(path)) for path in public_modules()}
    lines = [f"{json.dumps(path)}: {json.dumps(names[path])}" for path in sorted(names)]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
