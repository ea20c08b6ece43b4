"""Values that an earlier release has pickled: they load, as what they were.

`pickles/write.py` says how a file of them is made.
"""

from __future__ import annotations

import base64
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from bfl_async import errors, types
from bfl_async.errors import BFLError
from bfl_async.models import CATALOG
from tests.unit.pickles.write import facts

STORED: dict[str, dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(__file__).with_name("pickles").glob("*.json"))
}


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
    """A file without one of them would prove nothing about it."""
    values = {
        name for name, cls in vars(types).items()
        if inspect.isclass(cls) and (hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields"))
        # Those of protocols and policies are found here when they were used before.
        and cls.__module__.startswith(types.__name__)
    }  # fmt: skip
    raised = {
        name for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, BFLError)
    }
    requests = {cls for row in CATALOG.values() for cls in row.classes}
    assert values | raised | requests <= {name for release in STORED.values() for name in release}
