"""The dependencies' bounds: the lowest and the newest that the wheel allows pass the core's tests."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.release.dist import ROOT, VERSIONS, Dist, interpreter, make_environment

pytestmark = [pytest.mark.release, pytest.mark.timeout(300)]

# What the tests below need beside the package, in the versions that all tests are run with.
TOOLS = (
    "aioresponses", "hypothesis", "jsonschema", "looptime", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist"
)  # fmt: skip
CORE = (
    "unit/client/test_client.py", "unit/results/test_download.py", "unit/test_errors.py",
    "unit/transport/test_http.py", "unit/ledger/test_ledger.py", "unit/models/test_models.py",
    "unit/engine/test_poller.py", "unit/cli/test_rows.py", "unit/engine/test_scheduler.py",
    "unit/cli/test_screen.py", "unit/client/test_stream.py", "unit/webhooks/test_webhooks.py",
    "unit/wire/test_wire.py",
    "integration/test_cli_help.py::test_help_has_a_purpose_in_one_line_and_two_examples",
    "integration/test_cli_help.py::test_example_parses",
    "integration/test_cli_help.py::test_exit_code_is_produced",
)  # fmt: skip


def pinned(names: tuple[str, ...]) -> list[str]:
    """The tools with their versions."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    return [f"{name}=={pins[name]}" for name in names]


@pytest.mark.parametrize(
    ("resolution", "version"), [("lowest-direct", VERSIONS[0]), ("highest", VERSIONS[-1])]
)
def test_core_passes_with(dist: Dist, tmp_path: Path, resolution: str, version: str) -> None:
    """The oldest dependencies on the oldest Python, the newest on the newest; the tests see the wheel alone."""
    python = interpreter(version) or sys.executable
    wanted = [f"{dist.wheel}[all]", *dist.requirements(), *pinned(TOOLS)]
    made = make_environment(tmp_path / "venv", python, "--resolution", resolution, *wanted)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    files = [f"tests/{name}" for name in CORE]
    done = made.run("python", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
