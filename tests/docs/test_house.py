"""The package keeps its shape; `python -m benchmarks.house` prints the figures with their places."""

from __future__ import annotations

import pytest

from benchmarks.house import House, comments_and_code, measure

MOST_LINES = 500
MOST_FUNCTION_LINES = 50
MOST_P90 = 22
MOST_TOP_LEVEL = 10
MOST_LAYERS = 13
MOST_INNER_IMPORTS = 40
LEAST_COMMENTS_PER_100 = 10

# Modules outside of the command line that import in functions, and what for.
INNER_IMPORTS = {
    "bfl_async.limiter.redis": "redis-py is an extra",
    "bfl_async.models.media": "Pillow is an extra; whoever gives an image of it has loaded it",
    "bfl_async.runtime.cancellation": "anyio's part that cancels is used only where a program has loaded it",
    "bfl_async.sandbox.pictures": "Pillow is an extra",
    "bfl_async.testing": "pytest-asyncio may be missing, and pytest loads this module in every run",
    "bfl_async.webhooks.relay": "redis-py is an extra",
}


@pytest.fixture(scope="module")
def house() -> House:
    return measure()


def test_no_module_is_too_large_to_be_read(house: House) -> None:
    """Generated ones aside, which nobody reads."""
    assert {name: lines for name, lines in house.modules.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long_to_be_seen_at_once(house: House) -> None:
    """Its docstring counts, and functions within it."""
    assert {name: lines for name, lines in house.functions.items() if lines > MOST_FUNCTION_LINES} == {}
    assert house.p90 <= MOST_P90


def test_no_module_needs_one_that_needs_it(house: House) -> None:
    """Nor a folder; imports for type checkers count: who reads a module has to read those as well."""
    assert house.cycles == ()


def test_the_layers_are_few(house: House) -> None:
    """Folders and top-level modules, each of which needs the next."""
    assert 0 < len(house.layers) <= MOST_LAYERS, house.layers


def test_the_top_level_is_read_at_a_glance(house: House) -> None:
    """A new module belongs into one of the folders."""
    assert len(house.top_level) <= MOST_TOP_LEVEL, house.top_level


def test_imports_stand_at_the_top(house: House) -> None:
    """Except in commands, which start at once because of it, and where an extra may not be installed."""
    assert sum(house.inner_imports.values()) <= MOST_INNER_IMPORTS, house.inner_imports
    others = {name for name in house.inner_imports if name.split(".")[1] != "cli"}
    assert others == set(INNER_IMPORTS)


@pytest.mark.parametrize("folder", ["engine", "limiter"])
def test_hard_code_says_why(house: House, folder: str) -> None:
    """Where state is shared between awaits, the reason of a line and the owner of a field are not seen in the code."""
    assert house.comments_per_100(folder) >= LEAST_COMMENTS_PER_100


def test_only_lines_of_comment_count() -> None:
    """A docstring is neither comment nor code, and a comment behind code is code."""
    source = '"""One\n# line."""\n\n# Why.\nx = 1  # behind\n\ndef f():\n    """Text."""\n    # Why.\n    return "#"\n'
    assert comments_and_code(source) == (2, 3)
