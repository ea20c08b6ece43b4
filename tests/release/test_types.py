"""What type checkers say of the installed wheel."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.release.dist import ROOT, Dist, Environment, make_environment, run

pytestmark = [pytest.mark.release, pytest.mark.timeout(180)]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="pyright needs node")


@pytest.fixture(scope="module")
def user(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A user's environment, with every extra."""
    return make_environment(tmp_path_factory.mktemp("user") / "venv", sys.executable, f"{dist.wheel}[all]")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a user's programs: right calls, and wrong ones that say that they are."""
    for path in (ROOT / "tests" / "typing").glob("[!_]*.py"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_mypy_accepts_a_users_program(user: Environment, code: Path) -> None:
    """Strict, without our settings or the plugin of pydantic."""
    done = run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(user.python), "."], cwd=code
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_pyright_accepts_a_users_program(user: Environment, code: Path) -> None:
    """Strict as well."""
    (code / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    done = run([sys.executable, "-m", "pyright", "--pythonpath", str(user.python), "."], cwd=code)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_every_public_type_is_known(user: Environment, tmp_path: Path) -> None:
    """`pyright --verifytypes`: all of the package's symbols, at 100 %."""
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--verifytypes",
        "bfl_async",
        "--ignoreexternal",
        "--outputjson",
    ]
    done = run(command, cwd=tmp_path, variables={"PATH": f"{user.python.parent}:{os.environ['PATH']}"})
    report = json.loads(done.stdout)["typeCompleteness"]
    assert Path(report["packageRootDirectory"]).is_relative_to(user.folder)
    unknown = {
        symbol["name"]: [each["message"] for each in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }
    assert not unknown
    assert report["completenessScore"] == 1.0
