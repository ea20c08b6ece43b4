"""The size and shape of the package, in figures: `python -m benchmarks.house` prints them.

`tests/docs/test_house.py` holds them to their bounds, so that a module or a function that has grown too large, or an
import that closes a cycle, is seen when it is made.
"""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

PACKAGE = "bfl_async"
FOLDER = Path(__file__).parents[1] / PACKAGE
# Written by `bfl_async.models._generate`: one overload, or one signature, for each model.
GENERATED = frozenset({"bfl_async.models._typed", "bfl_async.client._overloads"})
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class House:
    """What was measured, each with the places: lines by module or function, names by module."""

    modules: Mapping[str, int]
    functions: Mapping[str, int]
    inner_imports: Mapping[str, int]
    cycles: tuple[tuple[str, ...], ...]
    top_level: tuple[str, ...] = field(default=())
    # By folder, or module at the top level: lines with a comment alone, and lines of code.
    comments: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    # The longest chain of folders and top-level modules that import each other, from the top down.
    layers: tuple[str, ...] = field(default=())

    @property
    def p90(self) -> int:
        """So many lines 90 % of the functions have at most."""
        lengths = sorted(self.functions.values())
        return lengths[len(lengths) * 9 // 10]

    def comments_per_100(self, folder: str) -> float:
        """Return how many lines of comment a folder has per 100 lines of code."""
        comments, code = self.comments[folder]
        return 100 * comments / code


def measure() -> House:
    """Read the package's source."""
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in modules()}
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules()}
    functions = {
        f"{name}:{function.name} (line {function.lineno})": _length(function)
        for name, tree in trees.items()
        if name not in GENERATED
        for function in _functions(tree)
    }
    inner = {
        name: count
        for name, tree in trees.items()
        if name not in GENERATED and (count := len(_inner_imports(tree)))
    }
    comments: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for name, path in modules():
        if name not in GENERATED:
            folder = name.split(".")[1] if "." in name else name
            alone, lines_of_code = comments_and_code(path.read_text("utf-8"))
            comments[folder] += alone
            code[folder] += lines_of_code
    top = tuple(path.stem for path in sorted(FOLDER.glob("*.py")))
    imports = import_graph()
    folders = _folder_graph(imports)
    cycles = (*_cycles(imports), *_cycles(folders))
    return House(
        {name: count for name, count in lines.items() if name not in GENERATED},
        functions,
        inner,
        cycles,
        top,
        {folder: (comments[folder], count) for folder, count in code.items() if count},
        # In a circle there is no top.
        () if cycles else _longest_chain(folders),
    )


def import_graph() -> dict[str, set[str]]:
    """Return which modules of the package each of its modules imports, for type checkers and in functions included."""
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in modules()}
    return {name: _imports(name, tree, trees) for name, tree in trees.items()}


def modules() -> Iterator[tuple[str, Path]]:
    """All modules of the package by their dotted names."""
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def comments_and_code(source: str) -> tuple[int, int]:
    """Count the lines with a comment alone, and those of code: neither blank, nor a comment alone, nor a docstring."""
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            texts.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [
        line.strip()
        for number, line in enumerate(source.splitlines(), 1)
        if number not in texts and line.strip()
    ]
    comments = sum(line.startswith("#") for line in lines)
    return comments, len(lines) - comments


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _inner_imports(tree: ast.Module) -> set[tuple[int, str]]:
    """Names that are imported inside functions, each once, with the line."""
    return {
        (node.lineno, alias.name)
        for function in _functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _imports(name: str, tree: ast.Module, known: Mapping[str, object]) -> set[str]:
    """Modules of the package that a module names in imports, those for type checkers and in functions included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {each for each in found if each in known and each != name}


def _folder_graph(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which folders and top-level modules import which others."""
    exceptions = _layer_exceptions()
    graph: dict[str, set[str]] = {_folder_of(name): set() for name in imports}
    for name, others in imports.items():
        for other in others:
            edge = (_folder_of(name), _folder_of(other))
            if edge[0] != edge[1] and edge not in exceptions:
                graph[edge[0]].add(edge[1])
    return graph


def _folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _layer_exceptions() -> set[tuple[str, str]]:
    """Return the imports that the contract of layers leaves out; pyproject.toml says why."""
    settings = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (ignored,) = (each["ignore_imports"] for each in contracts if each["type"] == "layers")
    pairs = (each.split(" -> ") for each in ignored)
    return {(_folder_of(importer), _folder_of(imported)) for importer, imported in pairs}


def _longest_chain(graph: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return the longest way through a graph without circles; of several, the first by name."""

    @functools.cache
    def chain_from(name: str) -> tuple[str, ...]:
        return (name, *max(map(chain_from, sorted(graph[name])), key=len, default=()))

    return max(map(chain_from, sorted(graph)), key=len)


def _cycles(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Sets of modules that can all be reached from each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[tuple[str, ...]]:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                yield from visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            found = tuple(sorted(stack[at:]))
            del stack[at:]
            if len(found) > 1:
                yield found

    for name in graph:
        if name not in index:
            yield from visit(name)


def main() -> int:
    """Print the figures, with the largest of each kind."""
    house = measure()
    lines = [
        f"modules            {len(house.modules)}, over 500 lines: {_over(house.modules, 500)}",
        f"functions          {len(house.functions)}, over 50 lines: {_over(house.functions, 50)}",
        f"90 % of functions  {house.p90} lines at most",
        f"import cycles      {len(house.cycles)}",
        f"layers             {len(house.layers)}: {' > '.join(house.layers)}",
        f"top-level modules  {len(house.top_level)}",
        f"imports inside     {sum(house.inner_imports.values())}, in {len(house.inner_imports)} modules",
    ]
    for title, counts in (
        ("modules", house.modules),
        ("functions", house.functions),
        ("imports inside", house.inner_imports),
    ):
        lines += ["", f"most lines or names, {title}:"]
        largest = sorted(counts.items(), key=lambda each: -each[1])[:12]
        lines += [f"  {count:>5}  {name}" for name, count in largest]
    lines += ["", "lines of comment per 100 of code, by folder:"]
    lines += [f"  {house.comments_per_100(name):>5.1f}  {name}" for name in sorted(house.comments)]
    lines += ["\ncycle: " + ", ".join(cycle) for cycle in house.cycles]
    sys.stdout.writelines(line + "\n" for line in lines)
    return 0


def _over(counts: Mapping[str, int], most: int) -> int:
    return sum(count > most for count in counts.values())


if __name__ == "__main__":
    sys.exit(main())
