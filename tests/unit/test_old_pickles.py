"""Values that an earlier release has pickled: they load, as what they were.

`pickles/write.py` says how a file of them is made.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from bfl_async.errors import BFLError
from bfl_async.models import ImageRequest
from tests.unit.pickles.write import facts

STORED: dict[str, dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(__file__).with_name("pickles").glob("*.json"))
}

PUBLIC: dict[str, list[str]] = json.loads(Path(__file__).with_name("public_names.json").read_text())


@pytest.mark.parametrize(
    ("release", "name"), [(release, name) for release in STORED for name in STORED[release]]
)
def test_old_pickle_loads_with_its_facts(release: str, name: str) -> None:
    """Users keep results and errors in queues and on disks, and update in between."""
    stored = STORED[release][name]
    recorded = stored["facts"]
    value = pickle.loads(base64.b64decode(stored["pickle"]))
    assert type(value).__name__ == recorded["class"]
    if "value" in recorded:
        assert facts(value) == recorded
    else:
        assert facts(value, [each for each in recorded if each != "class"]) == recorded
    again = pickle.loads(pickle.dumps(value))
    assert (type(again), repr(again)) == (type(value), repr(value))


def test_every_kind_of_value_is_stored() -> None:
    """A file without one of them would prove nothing about it. What came after the release is not asked for."""
    paths = ("bfl_async", "bfl_async.types", "bfl_async.errors")
    classes = {
        name for path in paths for name in PUBLIC[path]
        if is_value(getattr(importlib.import_module(path), name))
    }  # fmt: skip
    assert len(classes) > 90
    assert classes <= {name for release in STORED.values() for name in release}


def is_value(value: object) -> bool:
    if not inspect.isclass(value) or value is ImageRequest:
        return False
    is_plain = hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")
    # What is passed through a protocol lives in one process.
    return issubclass(value, BFLError | ImageRequest) or (
        is_plain and value.__module__.startswith("bfl_async.types")
    )
