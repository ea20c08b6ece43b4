"""What is logged under `bfl_async`: by whom it is shown, with which fields, and never a secret."""

from __future__ import annotations

import ast
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bfl_async
from bfl_async import BFLError, Timeouts
from tests.fake import FakeAPI, reply, spin

PACKAGE = Path(bfl_async.__file__).parent
KEEPERS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every log call of the package, with its place."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))):
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}", node


def test_every_field_of_a_record_has_the_prefix() -> None:
    """So that none clashes with an attribute of `LogRecord`, which raises, or with a field of the program's own."""
    found = dict(calls())
    assert len(found) > 20
    for place, call in found.items():
        given = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
        for part in (node for value in given for node in ast.walk(value) if isinstance(node, ast.Dict)):
            names = [key.value for key in part.keys if isinstance(key, ast.Constant)]
            assert all(str(name).startswith("bfl_") for name in names), place
    assert not any(name.startswith("bfl_") for name in KEEPERS)


def test_nothing_is_printed_unless_the_program_configures_logging() -> None:
    """A library adds no handler but the one that does nothing."""
    program = "import logging, bfl_async; logging.getLogger('bfl_async').error('shown')"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stderr == ""


@pytest.mark.looptime(start=0)
async def test_records_of_a_request_name_its_task_model_and_state(caplog: pytest.LogCaptureFixture) -> None:
    """What a search in a log store goes by."""
    api = FakeAPI(service_s=math.inf)
    caplog.set_level(logging.INFO, "bfl_async")
    api.script_submits(reply(422, {"detail": "no a-prompt-of-mine here"}))
    async with api.client(timeouts=Timeouts(task=5)) as bfl:
        bfl.submit_nowait("flux-dev", prompt="a-prompt-of-mine")
        await spin()
        with pytest.raises(BFLError):
            await bfl.generate("flux-dev", prompt="x", timeout=1)
        api.end("task-0")
        await bfl.drain()
        await bfl.submit("flux-dev", prompt="y")
    unheard, ready, closed = (vars(record) for record in caplog.records)
    assert (unheard["levelname"], unheard["bfl_model"], unheard["bfl_error"]) == (
        "WARNING", "flux-dev", "InvalidRequestError",
    )  # fmt: skip
    assert (unheard["bfl_task_id"], unheard["bfl_state"]) == (None, "settled")
    assert (ready["levelname"], ready["bfl_task_id"], ready["bfl_model"]) == ("INFO", "task-0", "flux-dev")
    assert (closed["levelname"], closed["bfl_task_ids"]) == ("WARNING", ["task-1"])
    assert not any("a-prompt-of-mine" in str(vars(record)) for record in caplog.records)
