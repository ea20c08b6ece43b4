"""Every public name of release 0.1.0 can be imported from where it was."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

# Written by public_names.py in the tree of 575a6ae, of release 0.1.0.
STORED: dict[str, list[str]] = json.loads(Path(__file__).with_name("public_names.json").read_text())

# How a result's bytes were checked and written, when they came in one piece.
GONE = {"bfl_async.download": {"check", "write_file"}}


@pytest.mark.parametrize("path", STORED)
def test_public_names_can_be_imported(path: str) -> None:
    """The layout inside the package is ours to change, the paths that users import are not."""
    module = importlib.import_module(path)
    missing = [name for name in STORED[path] if not hasattr(module, name)]
    assert set(missing) == GONE.get(path, set())


def test_the_stored_names_are_many() -> None:
    """An empty file would promise nothing."""
    assert len(STORED) > 80
    assert {"AsyncBFL", "FluxDev", "Result"} <= set(STORED["bfl_async"])
